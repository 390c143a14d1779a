//! The command: subcommands, exit statuses, endpoints, reload and the end.

use std::{fs, time::Instant};

use delivery_clock::Clock;
use delivery_exporter::model::Measure;
use serde_json::json;

use super::{
    harness::{Exporter, Metrics, binary},
    world,
};

const GOOD: &str = "providers: [{name: mail, type: infobip_email, base_url: 'http://127.0.0.1:1', interval: 1s, credentials: {api_key: secret-key}}]\n";

/// Runs the binary to its end: status, standard output, standard error.
pub fn run(arguments: &[&str], directory: &std::path::Path) -> (Option<i32>, String, String) {
    let output = binary()
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn check_says_what_is_wrong_without_a_network_call() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), GOOD).unwrap();
    let (status, said, _) = run(&["check"], directory.path());
    assert_eq!(status, Some(0));
    assert!(
        said.contains("mail: infobip_email, reports, every 1s"),
        "{said}"
    );
    fs::write(
        directory.path().join("bad.yaml"),
        "providers:\n- {name: a b}\n- {typ: x}\n",
    )
    .unwrap();
    let (status, _, said) = run(&["check", "--config.file=bad.yaml"], directory.path());
    assert_eq!(status, Some(1));
    let example = "error: unknown key typ\n --> bad.yaml:3:4\n  |\n3 | - {typ: ***}\n  |    ^^^\n  = help: did you mean type?\n";
    assert!(said.contains(example), "{said}");
    let problems = said.matches("\n --> bad.yaml:").count();
    let end = format!("the configuration is not good: {problems} errors\n");
    assert!(problems >= 4 && said.ends_with(&end), "{said}");
    let (status, _, said) = run(&["check", "--config.file", "none.yaml"], directory.path());
    assert_eq!(status, Some(1));
    assert!(said.starts_with("error: cannot be read: "), "{said}");
    assert!(said.contains(" --> none.yaml:1:1\n"), "{said}");
    assert!(
        !directory.path().join("data").exists(),
        "check writes nothing"
    );
}

#[test]
fn the_version_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (status, said, _) = run(&["--version"], directory.path());
    assert_eq!(status, Some(0));
    assert!(said.contains(env!("CARGO_PKG_VERSION")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn collect_asks_once_and_prints_openmetrics() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    let config = world::configuration(&world, directory.path(), &json!({}));
    fs::write(directory.path().join("config.yaml"), &config).unwrap();
    let path = directory.path().to_owned();
    let once = move |config: String| {
        let path = path.clone();
        async move {
            fs::write(path.join("config.yaml"), config).unwrap();
            tokio::task::spawn_blocking(move || run(&["collect"], &path))
                .await
                .unwrap()
        }
    };
    let (status, printed, said) = once(config.clone()).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(printed.ends_with("# EOF\n"));
    let metrics = Metrics::read(&printed);
    let example = [("message_id", "3813836816344707101")];
    assert_eq!(
        metrics.get("delivery_message_sent", &example),
        Some(31569.0)
    );
    assert_eq!(metrics.sum("delivery_up", &[]), 5.0);
    // What no run has printed before is born at 0.
    assert!(
        metrics
            .find("delivery_reports_total", &[])
            .all(|(_, count)| count == 0.0)
    );
    let held = metrics.get("delivery_exporter_held_increments", &[("account", "mail")]);
    assert!(held > Some(1000.0), "{held:?}");
    let wrong = config.replace("5e987ac6d2e04d95a9d8f0d1", "a-wrong-secret");
    let (status, printed, said) = once(wrong).await;
    assert_eq!(status, Some(2));
    let metrics = Metrics::read(&printed);
    assert!(metrics.sum("delivery_reports_total", &[]) > 1000.0);
    assert_eq!(
        metrics.get("delivery_up", &[("account", "news")]),
        Some(0.0)
    );
    assert_eq!(
        metrics.get("delivery_message_sent", &example),
        Some(31569.0)
    );
    assert!(
        said.contains("23001") && !said.contains("a-wrong-secret"),
        "{said}"
    );
}

/// Runs the binary on a terminal of its own until it ends, or has said `until`; what it wrote there.
fn on_a_terminal(arguments: &[&str], directory: &std::path::Path, until: &str) -> String {
    const TERMINAL: &str = "\
import os, pty, signal, sys
until = sys.argv[1].encode()
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen = b''
while True:
    try:
        part = os.read(terminal, 65536)
    except OSError:
        break
    if not part:
        break
    seen += part
    if until and until in seen:
        os.kill(pid, signal.SIGTERM)
        until = b''
os.waitpid(pid, 0)
sys.stdout.buffer.write(seen)
";
    let exporter = binary();
    let mut command = std::process::Command::new("python3");
    command
        .args(["-c", TERMINAL, until])
        .arg(exporter.get_program())
        .args(arguments)
        .current_dir(directory)
        .env("TERM", "xterm");
    for (name, value) in exporter.get_envs() {
        if value.is_none() {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn long_work_shows_its_progress_on_a_terminal_alone() {
    let directory = tempfile::tempdir().unwrap();
    let world = world::start(&Clock::system()).await;
    let config = world::configuration(&world, directory.path(), &json!({}));
    fs::write(directory.path().join("config.yaml"), &config).unwrap();
    let path = directory.path().to_owned();
    let quarantine = path.join("spool/mail/quarantine");
    fs::create_dir_all(&quarantine).unwrap();
    fs::write(
        quarantine.join("00000000000000000900.body"),
        "{\"results\":[]}",
    )
    .unwrap();
    let (shown, piped, served, others) = tokio::task::spawn_blocking(move || {
        let shown = on_a_terminal(&["collect"], &path, "");
        let (_, _, piped) = run(&["collect"], &path);
        let arguments = ["--web.listen-address=127.0.0.1:0"];
        let served = on_a_terminal(&arguments, &path, "opening the ledger");
        let backfill = [
            "backfill",
            "--from=2026-11-01",
            "--to=2099-01-01",
            "--output=history.om",
        ];
        let others = [&backfill[..], &["replay"]].map(|own| on_a_terminal(own, &path, ""));
        (shown, piped, served, others)
    })
    .await
    .unwrap();
    assert!(shown.contains("querying the vendors"), "{shown}");
    assert!(shown.contains("# EOF"), "{shown}");
    assert!(!piped.contains("asking"), "{piped}");
    assert!(!piped.contains('\u{1b}'), "{piped}");
    assert!(served.contains("opening the ledger"), "{served}");
    assert!(others[0].contains("fetching history"), "{}", others[0]);
    assert!(
        others[1].contains("reading the quarantine"),
        "{}",
        others[1]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_every_family_with_data() {
    let directory = tempfile::tempdir().unwrap();
    let exporter = Exporter::spawn(directory.path(), &["demo".to_owned()]).await;
    let families: Vec<_> = delivery_exporter::catalog::families()
        .map(|family| family.base_name().to_owned())
        .filter(|name| {
            name.starts_with("delivery_message_")
                || name.starts_with("delivery_report")
                || name.starts_with("delivery_channel_")
                || [
                    "delivery_cohort_sent",
                    "delivery_cohort_delivered",
                    "delivery_cohort_messages",
                ]
                .contains(&name.as_str())
                || Measure::ALL
                    .iter()
                    .any(|measure| *name == format!("delivery_{}", measure.as_str()))
                || [
                    "sent",
                    "delivered",
                    "displayed",
                    "opened",
                    "errors",
                    "bounces",
                ]
                .iter()
                .any(|word| *name == format!("delivery_campaign_{word}"))
        })
        .collect();
    let missing = |metrics: &Metrics| -> Vec<String> {
        families
            .iter()
            .filter(|name| !metrics.types.contains_key(*name))
            .cloned()
            .collect()
    };
    exporter
        .wait_for("every family is there", |metrics| {
            missing(metrics).is_empty()
        })
        .await;
    let (status, page) = exporter.get("/").await;
    assert_eq!(status, 200);
    for account in ["shop-push", "shop-mail", "news-push", "loyalty", "china"] {
        assert!(page.contains(account), "{page}");
    }
    assert!(!page.contains("open sesame"), "a secret is on the page");
    assert!(exporter.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_a_good_file_and_leaves_the_old_one_running_for_a_bad_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yaml");
    let flags = [
        "--web.enable-lifecycle",
        "--web.telemetry-path=/own/metrics",
    ];
    let exporter = Exporter::start_with(directory.path(), GOOD, &flags).await;
    let metrics = async || Metrics::read(&exporter.get("/own/metrics").await.1);
    assert_eq!(exporter.get("/metrics").await.0, 404);
    assert_eq!(exporter.get("/-/healthy").await.0, 200);
    fs::write(&file, GOOD.replace("name: mail", "name: other")).unwrap();
    assert_eq!(
        exporter.post("/-/reload").await,
        (200, "reloaded\n".to_owned())
    );
    let tracked = "delivery_exporter_tracked_messages";
    assert!(
        metrics()
            .await
            .get(tracked, &[("account", "other")])
            .is_some()
    );
    assert!(
        metrics()
            .await
            .get(tracked, &[("account", "mail")])
            .is_none()
    );
    fs::write(&file, "providers:\n- {name: third}\n- 7\n").unwrap();
    let (status, said) = exporter.post("/-/reload").await;
    assert_eq!(status, 500);
    assert!(
        said.contains("config.yaml:2:3:") && said.contains("config.yaml:3:3:"),
        "{said}"
    );
    let after = metrics().await;
    assert_eq!(
        after.get("delivery_exporter_config_last_reload_successful", &[]),
        Some(0.0)
    );
    assert!(after.get(tracked, &[("account", "other")]).is_some());
    fs::write(&file, GOOD).unwrap();
    exporter.signal("HUP");
    super::harness::eventually("SIGHUP reloads", async || {
        let metrics = metrics().await;
        let taken =
            metrics.get("delivery_exporter_config_last_reload_successful", &[]) == Some(1.0);
        (taken && metrics.get(tracked, &[("account", "mail")]).is_some()).then_some(())
    })
    .await;
    let begin = Instant::now();
    assert!(exporter.terminate().success());
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_forbidden_unless_enabled_and_ready_waits_for_the_first_answer() {
    let directory = tempfile::tempdir().unwrap();
    let exporter = Exporter::start(directory.path(), GOOD).await;
    assert_eq!(exporter.post("/-/reload").await.0, 403);
    assert_eq!(exporter.get("/-/reload").await.0, 405);
    super::harness::eventually(
        "it is ready after a first answer, though a bad one",
        async || {
            let (status, said) = exporter.get("/-/ready").await;
            assert!(status == 200 || said.contains("mail"), "{said}");
            (status == 200).then_some(())
        },
    )
    .await;
}
