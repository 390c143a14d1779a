//! Alert rules as files: generated, checked by promtool, judged over simulated days, rendered as a mixin,
//! and each with a runbook. What they do with a real Prometheus is in `alerts`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

use serde::Deserialize;
use serde_json::Value;

/// Durations of the rules are divided by this where they run in a real Prometheus.
pub(super) const SCALE: u32 = 60;

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A program of dashboards/.
pub(super) fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(root().join("target/python/bin/python"));
    command
        .args(arguments)
        .current_dir(root().join("dashboards"));
    command
}

pub(super) fn succeeds(command: &mut Command) -> String {
    let done = command.output().expect("it starts");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let problems = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}\n{text}\n{problems}");
    text
}

/// An alert of the rules.
#[derive(Deserialize)]
pub(super) struct Alert {
    pub(super) name: String,
    runbook: String,
    /// It is there only where a setting asks for it.
    pub(super) optional: bool,
    /// What it compares, without the comparisons.
    pub(super) operands: Vec<String>,
}

pub(super) fn alerts() -> Vec<Alert> {
    let scale = SCALE.to_string();
    let text = succeeds(&mut python(&[
        "-m", "source", "--scale", &scale, "--alerts",
    ]));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn dashboards_and_rules_are_what_their_source_makes() {
    succeeds(&mut python(&["-m", "source", "--check"]));
    let stack = root().join("dashboards/stack");
    let rules = root().join("dashboards/alerts/delivery.rules.yml");
    succeeds(Command::new("promtool").args(["check", "rules"]).arg(rules));
    succeeds(
        Command::new("promtool")
            .args(["check", "config", "--syntax-only"])
            .arg(stack.join("prometheus.yml")),
    );
    succeeds(
        Command::new("amtool")
            .arg("check-config")
            .arg(stack.join("alertmanager.yml")),
    );
}

/// promtool of a newer Prometheus than the installed one, if there is one: `PROMTOOL` says where.
fn promtools() -> Vec<PathBuf> {
    let newer = std::env::var_os("PROMTOOL").map(PathBuf::from);
    if newer.is_none() {
        eprintln!(
            "PROMTOOL is not set: the rules are tested with the installed promtool alone; see docs/testing.md"
        );
    }
    [Some(PathBuf::from("promtool")), newer]
        .into_iter()
        .flatten()
        .collect()
}

/// Runs files of unit tests, two at a time.
fn unit_tests_succeed(promtool: &Path, files: Vec<PathBuf>) {
    let files = Mutex::new(files);
    let next = || files.lock().unwrap().pop();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(file) = next() {
                    succeeds(Command::new(promtool).args(["test", "rules"]).arg(file));
                }
            });
        }
    });
}

#[test]
fn every_alert_fires_keeps_silent_at_the_near_miss_and_ends() {
    // The tests of dashboards/alerts/tests, alert by alert and each with no more rules than it needs:
    // promtool takes minutes for all rules.
    let directory = tempfile::tempdir().unwrap();
    succeeds(python(&["-m", "source", "--tests"]).arg(directory.path()));
    let mut files: Vec<PathBuf> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".test.yml"))
        .collect();
    for optional in ["objectives", "limits"] {
        let name = format!("dashboards/alerts/tests/{optional}.test.yml");
        files.push(root().join(name));
    }
    for promtool in promtools() {
        unit_tests_succeed(&promtool, files.clone());
    }
    let cases: String = files
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for Alert { name, .. } in alerts() {
        assert!(cases.contains(&format!("{name} (")), "{name} has no test");
    }
}

#[test]
fn the_mixin_and_the_manifest_are_what_prometheus_reads() {
    let text = succeeds(&mut python(&["mixin/render.py"]));
    let rendered: Value = serde_json::from_str(&text).unwrap();
    let boards = rendered["grafanaDashboards"].as_object().unwrap();
    let shipped: BTreeSet<String> = fs::read_dir(root().join("dashboards"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    assert_eq!(boards.keys().cloned().collect::<BTreeSet<_>>(), shipped);
}

#[test]
fn an_objective_becomes_rules_and_one_that_cannot_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("objectives.yaml");
    let rules = directory.path().join("objectives.rules.yml");
    let generate = |text: &str| {
        fs::write(&file, text).unwrap();
        python(&["-m", "source", "--objectives"])
            .arg(&file)
            .arg("--rules")
            .arg(&rules)
            .output()
            .unwrap()
    };
    let good = generate("objectives: [{name: all-in-an-hour, objective: 0.95}]");
    assert!(good.status.success(), "{good:?}");
    succeeds(
        Command::new("promtool")
            .args(["check", "rules"])
            .arg(&rules),
    );
    let text = fs::read_to_string(&rules).unwrap();
    assert!(text.contains("objective: all-in-an-hour") && text.contains("* 0 + 0.95"));
    for (wrong, told) in [
        ("{name: a, objective: 95}", "between 0 and 1"),
        ("{objective: 0.9}", "needs a name"),
        ("{name: a, objective: 0.9, app: shop}", "has no app"),
        (
            "{name: a, objective: 0.9}, {name: a, objective: 0.8}",
            "two objectives",
        ),
        ("{name: 'a\"', objective: 0.9}", "quotes"),
    ] {
        let refused = generate(&format!("objectives: [{wrong}]"));
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains(told), "{text}");
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let written: BTreeSet<String> = fs::read_dir(root().join("docs/runbooks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut wanted = BTreeSet::new();
    for Alert {
        name,
        runbook: link,
        ..
    } in alerts()
    {
        let file = format!("{name}.md");
        assert!(link.ends_with(&format!("/runbooks/{name}")), "{link}");
        wanted.insert(file);
    }
    // Alerts that the rules have only with a setting of the generator: objectives or limits.
    for name in [
        "ObjectiveBurnsFast",
        "ObjectiveBurnsSlowly",
        "RateBelowLimit",
    ] {
        wanted.insert(format!("Delivery{name}.md"));
    }
    assert_eq!(written, wanted);
}

#[test]
fn three_simulated_days_page_nobody_falsely() {
    succeeds(&mut python(&[
        "simulation/run.py",
        "--days",
        "3",
        "--warm-up",
        "4",
        "--incidents",
        "8",
        "--seeds",
        "1-4",
        "--verbose",
    ]));
}

#[test]
fn the_simulation_evaluates_rules_as_promtool_does() {
    succeeds(&mut python(&["simulation/agreement.py"]));
}

/// A selector of a dashboard with its variables filled in.
fn filled(query: &str) -> String {
    let mut query = query.to_owned();
    for (variable, value) in [
        ("=\"$message\"", "!=\"\""),
        ("$age", "5s"),
        ("$job", ".*"),
        ("$provider", ".*"),
        ("$account", ".*"),
        ("$application", ".*"),
        ("$campaign", ".*"),
    ] {
        query = query.replace(variable, value);
    }
    assert!(!query.contains('$'), "{query}");
    query
}

/// A series that a panel or a variable of a dashboard reads.
#[derive(Deserialize)]
struct Selector {
    place: String,
    selector: String,
}

/// Every series that a dashboard reads. What a panel makes of them is drawn and judged in `boards`.
pub(super) fn panels() -> Vec<(String, String)> {
    let text = succeeds(&mut python(&["-m", "source", "--selectors"]));
    let found: Vec<Selector> = serde_json::from_str(&text).unwrap();
    assert!(found.len() > 100, "{}", found.len());
    // Whether an alert fires is for the rules' own tests.
    let unique: BTreeMap<String, String> = found
        .into_iter()
        .filter(|own| !own.selector.starts_with("ALERTS"))
        .map(|own| (filled(&own.selector), own.place))
        .collect();
    unique
        .into_iter()
        .map(|(selector, place)| (place, selector))
        .collect()
}
