//! What whoever runs the exporter as a service needs: flags from the environment, the data directory, health
//! from outside, backups, the manual page, and a supervisor that is told how things are.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use delivery_clock::Clock;
use serde_json::json;

use super::{
    command::run,
    harness::{Exporter, Metrics, binary, eventually, free_port},
    world,
};

const NOBODY: &str = "providers: []\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn with_variables(directory: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = binary();
    command.args(arguments).envs(variables.iter().copied());
    command.current_dir(directory).output().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flag_can_come_from_the_environment_and_the_command_line_wins() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("elsewhere.yaml");
    fs::write(&file, NOBODY).unwrap();
    let port = free_port();
    let mut command = binary();
    command
        .env("DELIVERY_EXPORTER_CONFIG_FILE", &file)
        .env(
            "DELIVERY_EXPORTER_WEB_LISTEN_ADDRESS",
            format!("127.0.0.1:{port},127.0.0.1:0"),
        )
        .env("DELIVERY_EXPORTER_WEB_TELEMETRY_PATH", "/numbers")
        .env("DELIVERY_EXPORTER_WEB_ENABLE_LIFECYCLE", "true")
        .env(
            "DELIVERY_EXPORTER_STORAGE_PATH",
            directory.path().join("store"),
        )
        .env("DELIVERY_EXPORTER_LOG_LEVEL", "error")
        .env("DELIVERY_EXPORTER_WEB_CONFIG_FILE", "")
        .env("DELIVERY_EXPORTER_LOG_FORMAT", "logfmt")
        // The flag is nearer than the variable.
        .arg("--log.level=info");
    let exporter = Exporter::spawn_bare(command, directory.path()).await;
    assert_eq!(exporter.base, format!("http://127.0.0.1:{port}"));
    assert_eq!(exporter.get("/numbers").await.0, 200);
    assert_eq!(exporter.get("/metrics").await.0, 404);
    assert_eq!(exporter.post("/-/reload").await.0, 200);
    assert_eq!(exporter.log().matches("address=127.0.0.1:").count(), 2);
    assert!(directory.path().join("store/delivery.db").exists());
    drop(exporter);

    let said = with_variables(
        directory.path(),
        &["check"],
        &[("DELIVERY_EXPORTER_LOG_LEVEL", "loud")],
    );
    assert_eq!(said.status.code(), Some(2));
    let said = text(&said.stderr);
    assert!(
        said.contains("loud") && said.contains("--log.level"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_directory_is_the_flags_or_systemds_and_is_the_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let [of_flag, of_systemd] = ["flag", "systemd"].map(|own| directory.path().join(own));
    fs::write(directory.path().join("config.yaml"), NOBODY).unwrap();
    let command = || {
        let mut command = binary();
        let several = format!("{}:{}", of_systemd.display(), directory.path().display());
        command.env("STATE_DIRECTORY", several);
        command
    };
    let mut with_flag = command();
    with_flag.arg("--storage.path").arg(&of_flag);
    for (command, data) in [(with_flag, &of_flag), (command(), &of_systemd)] {
        drop(Exporter::spawn_command(command, directory.path()).await);
        assert_eq!(mode(data), 0o700, "{}", data.display());
        assert_eq!(mode(&data.join("delivery.db")), 0o600);
        assert_eq!(mode(&data.join("spool")), 0o700);
    }
    assert!(!directory.path().join("data").exists());

    // What the configuration names holds, whatever the process was given.
    let named = "store: {url: 'sqlite:own.db', spool: own-spool}\nproviders: []\n";
    fs::write(directory.path().join("config.yaml"), named).unwrap();
    drop(Exporter::spawn_command(command(), directory.path()).await);
    assert!(directory.path().join("own.db").exists());
    assert!(directory.path().join("own-spool").exists());
}

#[test]
fn a_ledger_that_a_new_data_directory_leaves_behind_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), NOBODY).unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    fs::write(directory.path().join("data/delivery.db"), "a ledger").unwrap();
    let said = with_variables(
        directory.path(),
        &["check"],
        &[("STATE_DIRECTORY", "/var/lib/nowhere")],
    );
    assert_eq!(said.status.code(), Some(0));
    let said = text(&said.stderr);
    assert!(
        said.contains("data/delivery.db") && said.contains("not used"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_asks_the_exporter_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let address = format!("--web.listen-address=127.0.0.1:{port}");
    let (status, _, said) = run(&["health", &address], directory.path());
    assert_eq!(status, Some(1));
    assert!(said.contains("/-/healthy"), "{said}");
    let exporter = Exporter::start_on(port, directory.path(), NOBODY).await;
    let (status, _, said) = run(&["health", &address], directory.path());
    assert_eq!((status, said.as_str()), (Some(0), ""));
    // It needs no configuration, and no free second address.
    let other = format!("{address},127.0.0.1:1");
    let (status, ..) = run(
        &["--config.file=none.yaml", "health", &other],
        directory.path(),
    );
    assert_eq!(status, Some(0));
    drop(exporter);

    let key = rcgen::generate_simple_self_signed(["exporter.example".to_owned()]).unwrap();
    fs::write(directory.path().join("tls.pem"), key.cert.pem()).unwrap();
    fs::write(
        directory.path().join("tls.key"),
        key.signing_key.serialize_pem(),
    )
    .unwrap();
    let web = directory.path().join("web.yml");
    fs::write(
        &web,
        "tls_server_config: {cert_file: tls.pem, key_file: tls.key}\nbasic_auth_users: {}\n",
    )
    .unwrap();
    let mut command = binary();
    command
        .arg(&address)
        .arg("--web.config.file")
        .arg(&web)
        .arg("--config.file=config.yaml");
    let exporter = Exporter::spawn_bare(command, directory.path()).await;
    let flag = format!("--web.config.file={}", web.display());
    let (status, _, said) = run(&["health", &address, &flag], directory.path());
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let (status, ..) = run(&["health", &address], directory.path());
    assert_eq!(status, Some(1), "it is asked as it is configured");
    drop(exporter);

    // It has no password to give.
    let hash = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay";
    fs::write(&web, format!("basic_auth_users: {{scraper: {hash}}}\n")).unwrap();
    let mut command = binary();
    command
        .arg(&address)
        .arg(&flag)
        .arg("--config.file=config.yaml");
    let exporter = Exporter::spawn_bare(command, directory.path()).await;
    let (status, _, said) = run(&["health", &address, &flag], directory.path());
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let (status, ..) = run(&["health", &address], directory.path());
    assert_eq!(status, Some(1), "nobody said that there are users");
    drop(exporter);
    let (status, ..) = run(&["health", &address, &flag], directory.path());
    assert_eq!(status, Some(1));
}

/// Counters that are about deliveries, whatever the process did since.
fn counted(metrics: &Metrics) -> f64 {
    metrics.sum("delivery_reports_total", &[]) + metrics.sum("delivery_sent_total", &[])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_running_exporter_is_a_ledger_that_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    let config = world::configuration(&world, directory.path(), &json!({}));
    let exporter = Exporter::start(directory.path(), &config).await;
    exporter
        .wait_for("numbers of all vendors", |own| {
            own.sum("delivery_sent_total", &[("account", "china")]) > 0.0
                && own.sum("delivery_reports_total", &[]) > 0.0
        })
        .await;
    let copy = directory.path().join("copy.db");
    let name = copy.display().to_string();
    let before = counted(&exporter.metrics().await);
    let (status, said, wrong) = run(&["backup", &name], directory.path());
    assert_eq!(status, Some(0), "{wrong}");
    // What is durable is shown when a pass shows what it has, a second later at most.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = counted(&exporter.metrics().await);
    assert!(said.contains("copy.db") && said.contains("bytes"), "{said}");
    assert_eq!(mode(&copy), 0o600);
    let (status, _, wrong) = run(&["backup", &name], directory.path());
    assert_eq!(status, Some(1));
    assert!(wrong.contains("already exists"), "{wrong}");
    assert!(copy.exists(), "an earlier backup stays");
    drop(exporter);

    // The vendors are gone: what is shown is what the copy knows.
    drop(world);
    let of_copy = config
        .replace("delivery.db", "copy.db")
        .replace("/spool", "/other-spool");
    assert!(of_copy.contains("copy.db"));
    let exporter = Exporter::start(directory.path(), &of_copy).await;
    // One account after the other is opened.
    let restored = exporter
        .wait_for("the counters of the copy", |own| counted(own) >= before)
        .await;
    let restored = counted(&restored);
    assert!(
        before <= restored && restored <= after,
        "{before} <= {restored} <= {after}"
    );

    let postgres = "store: {url: 'postgres://x@localhost/x'}\nproviders: []\n";
    fs::write(directory.path().join("other.yaml"), postgres).unwrap();
    let arguments = ["backup", "x.db", "--config.file=other.yaml"];
    let (status, _, wrong) = run(&arguments, directory.path());
    assert_eq!(status, Some(1));
    assert!(wrong.contains("pg_dump"), "{wrong}");
    let missing = "store: {url: 'sqlite:none.db'}\nproviders: []\n";
    fs::write(directory.path().join("other.yaml"), missing).unwrap();
    let (status, _, wrong) = run(&arguments, directory.path());
    assert_eq!(status, Some(1));
    assert!(
        wrong.contains("none.db") && wrong.contains("does not exist"),
        "{wrong}"
    );
    assert!(!directory.path().join("x.db").exists());
    assert!(!directory.path().join("none.db").exists());
}

#[test]
fn the_manual_page_and_the_completions_can_be_read_by_their_programs() {
    let directory = tempfile::tempdir().unwrap();
    let (status, page, _) = run(&["man"], directory.path());
    assert_eq!(status, Some(0));
    for part in [".TH delivery", "SYNOPSIS", "EXIT STATUS", "FILES"] {
        assert!(page.contains(part), "{part}");
    }
    let (status, script, _) = run(&["completions", "bash"], directory.path());
    assert_eq!(status, Some(0));
    let file = directory.path().join("completions.bash");
    fs::write(&file, script).unwrap();
    let complete = format!(
        "source {} && COMP_WORDS=(delivery-exporter ba) COMP_CWORD=1 && _delivery__exporter delivery-exporter ba delivery-exporter && echo ${{COMPREPLY[*]}}",
        file.display()
    );
    let output = Command::new("bash")
        .args(["-c", &complete])
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout).trim(), "backfill backup", "{output:?}");
    for shell in ["zsh", "fish"] {
        let (status, script, _) = run(&["completions", shell], directory.path());
        assert_eq!(status, Some(0));
        assert!(
            script.contains("storage.path") && script.contains("backup"),
            "{shell}"
        );
    }
    let (status, ..) = run(&["completions", "powershell"], directory.path());
    assert_eq!(status, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_is_told_of_readiness_life_reloads_and_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let told = || {
        let mut all = String::new();
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            all += &text(&buffer[..length]);
            all.push('\n');
        }
        all
    };
    fs::write(directory.path().join("config.yaml"), NOBODY).unwrap();
    let mut command = binary();
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    let exporter = Exporter::spawn_command(command, directory.path()).await;
    let mut all = String::new();
    eventually("it is ready, and lives", async || {
        all += &told();
        (all.contains("READY=1") && all.matches("WATCHDOG=1").count() > 3).then_some(())
    })
    .await;
    all.clear();
    exporter.signal("HUP");
    eventually("it reloads, and is ready again", async || {
        all += &told();
        let (_, after) = all.split_once("RELOADING=1")?;
        (all.contains("MONOTONIC_USEC=") && after.contains("READY=1")).then_some(())
    })
    .await;
    all.clear();
    exporter.signal("STOP");
    tokio::time::sleep(Duration::from_millis(300)).await;
    told();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(told(), "", "what stands still says nothing");
    exporter.signal("CONT");
    assert!(exporter.terminate().success());
    assert!(told().contains("STOPPING=1"));
}
