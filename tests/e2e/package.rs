//! The Debian package without building it: its unit as systemd judges it, the files it names, and what its scripts
//! and its configuration say. `tests/package/run` builds, installs, upgrades and purges it.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use super::{
    command::run,
    harness::binary,
    rules::{root, succeeds},
};

/// The most that `systemd-analyze security` may say: tenths, from 0 to 100.
const MAX_EXPOSURE: &str = "20";

fn unit() -> String {
    fs::read_to_string(root().join("deploy/debian/delivery-exporter.service")).unwrap()
}

/// The value of a key of the unit that is set once.
fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    let values: Vec<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect();
    assert_eq!(values.len(), 1, "{key}");
    values[0]
}

/// What `systemd-analyze security` says of a unit.
fn exposure(text: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("delivery-exporter.service");
    fs::write(&path, text).unwrap();
    Command::new("systemd-analyze")
        .args(["security", "--no-pager", "--offline=true"])
        .arg(format!("--threshold={MAX_EXPOSURE}"))
        .arg(path)
        .output()
        .expect("tests/run says what to install")
}

#[test]
fn the_unit_is_hardened() {
    let own = exposure(&unit());
    let said = String::from_utf8_lossy(&own.stdout);
    assert!(own.status.success(), "{said}");
    let without: Vec<_> = unit()
        .lines()
        .filter(|line| !line.starts_with("SystemCallFilter") && !line.starts_with("Capability"))
        .map(str::to_owned)
        .collect();
    assert!(!exposure(&without.join("\n")).status.success());
}

#[test]
fn the_unit_is_one_that_systemd_takes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("delivery-exporter.service");
    // The package is not installed here.
    let program = binary();
    let program = program.get_program().to_str().unwrap();
    fs::write(&path, unit().replace("/usr/bin/delivery-exporter", program)).unwrap();
    let said = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output()
        .unwrap();
    let problems = String::from_utf8_lossy(&said.stderr);
    // It also tells of other units of this machine.
    let own = problems
        .lines()
        .find(|line| line.contains("delivery-exporter"));
    assert_eq!(own, None, "{problems}");
}

#[test]
fn the_unit_says_what_the_exporter_does() {
    let unit = unit();
    assert_eq!(setting(&unit, "Type"), "notify");
    for key in ["WatchdogSec", "StateDirectory", "User", "Group"] {
        assert!(!setting(&unit, key).is_empty(), "{key}");
    }
    // Ten seconds are the exporter's promise.
    assert_eq!(setting(&unit, "TimeoutStopSec"), "30s");
    assert_eq!(setting(&unit, "StateDirectoryMode"), "0700");

    // Its command takes the configuration of the package.
    let directory = tempfile::tempdir().unwrap();
    fs::copy(
        root().join("deploy/debian/config.yaml"),
        directory.path().join("config.yaml"),
    )
    .unwrap();
    let command = setting(&unit, "ExecStart");
    let command = command.replace("/etc/delivery-exporter/", "");
    let (program, arguments) = command.split_once(' ').unwrap();
    assert_eq!(program, "/usr/bin/delivery-exporter");
    let mut arguments: Vec<_> = arguments.split(' ').collect();
    arguments.push("check");
    let (status, said, wrong) = run(&arguments, directory.path());
    assert_eq!(status, Some(0), "{said}{wrong}");
    // The example in its comments is one.
    let example = fs::read_to_string(directory.path().join("config.yaml")).unwrap();
    let (head, commented) = example.split_once("providers: []\n").unwrap();
    let example = format!("{head}providers:\n{}", commented.replace("#  ", "  "));
    fs::write(directory.path().join("config.yaml"), &example).unwrap();
    fs::create_dir(directory.path().join("secrets")).unwrap();
    fs::write(directory.path().join("secrets/infobip"), "x").unwrap();
    let (status, said, wrong) = run(&arguments, directory.path());
    assert_eq!(status, Some(0), "{example}{wrong}");
    assert!(said.contains("shop-push: infobip_push"), "{said}");
}

#[test]
fn the_environment_file_names_variables_that_there_are() {
    let text = fs::read_to_string(root().join("deploy/debian/default")).unwrap();
    let (_, manual, _) = run(&["man"], Path::new("."));
    let names: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("#DELIVERY_EXPORTER_")?.split('=').next())
        .collect();
    assert!(names.len() > 2, "{text}");
    for name in names {
        let name = format!("DELIVERY_EXPORTER_{name}");
        assert!(manual.contains(&name), "{name}");
    }
}

#[test]
fn the_package_names_files_that_there_are() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, metadata) = manifest.split_once("[package.metadata.deb]").unwrap();
    let (_, assets) = metadata.split_once("assets = [\n").unwrap();
    let (assets, _) = assets.split_once("\n]").unwrap();
    let mut targets = Vec::new();
    for line in assets.lines().map(str::trim) {
        if line.starts_with('#') {
            continue;
        }
        let [source, target, _mode]: [String; 3] =
            serde_json::from_str(line.trim_end_matches(',')).unwrap();
        // deploy/debian/build makes what is in target/.
        let is_made = source.starts_with("target/package/stage/");
        let is_there = root().join(&source).is_file() || source == "dashboards/delivery-*.json";
        assert!(is_made || is_there, "{source}");
        if let Some(name) = source.strip_prefix("target/package/stage/") {
            let build = fs::read_to_string(root().join("deploy/debian/build")).unwrap();
            let what = name.replace("completions.", "completions ");
            assert!(build.contains(&what), "{name} is not made");
        }
        targets.push(target);
    }
    for file in ["config.yaml", "default/delivery-exporter"] {
        assert!(targets.iter().any(|own| own.ends_with(file)), "{file}");
    }
    // What an administrator changes is not replaced.
    let (_, kept) = metadata.split_once("conf-files = ").unwrap();
    let kept: Vec<String> = serde_json::from_str(kept.lines().next().unwrap()).unwrap();
    let of_etc = targets.iter().filter(|own| own.starts_with("etc/"));
    let mut of_etc: Vec<_> = of_etc.map(|own| format!("/{own}")).collect();
    of_etc.sort();
    assert_eq!(kept, of_etc);
}

#[test]
fn what_the_binary_prints_for_the_package_is_whole() {
    let here = Path::new(".");
    let (status, manual, _) = run(&["man"], here);
    assert_eq!(status, Some(0));
    assert!(manual.contains(".TH delivery-exporter 1"), "{manual}");
    let directory = tempfile::tempdir().unwrap();
    for (shell, check) in [("bash", Some("bash")), ("zsh", None), ("fish", None)] {
        let (status, text, _) = run(&["completions", shell], here);
        assert_eq!(status, Some(0));
        assert!(text.contains("config.file"), "{shell}");
        let Some(program) = check else { continue };
        let path = directory.path().join(shell);
        fs::write(&path, text).unwrap();
        succeeds(Command::new(program).arg("-n").arg(path));
    }
}

#[test]
fn the_scripts_of_the_package_are_shell() {
    for script in ["postinst", "postrm"] {
        let path = root().join("deploy/debian").join(script);
        let text = fs::read_to_string(&path).unwrap();
        // cargo-deb puts what starts and stops the service there.
        assert!(text.contains("\n#DEBHELPER#\n"), "{script}");
        succeeds(Command::new("sh").arg("-n").arg(path));
    }
    for script in [
        "deploy/debian/build",
        "tests/package/run",
        "tests/package/boot",
    ] {
        succeeds(Command::new("bash").arg("-n").arg(root().join(script)));
    }
}
