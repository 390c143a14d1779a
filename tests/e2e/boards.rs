//! The dashboards, drawn with Grafana's components in a real Chromium: over a simulated day with incidents, and over
//! the demo. What cannot be read, or misleads, is a failure.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::harness::{Exporter, Process, binary, client, eventually, free_port};

const DAY: u64 = 24 * 3600 * 1000;
/// The demo is looked at once there are some bars to see.
const DEMO_RUNS: Duration = Duration::from_secs(240);
const BOARDS: [&str; 6] = [
    "delivery-channels",
    "delivery-email",
    "delivery-exporter",
    "delivery-messages",
    "delivery-objectives",
    "delivery-overview",
];
/// One Chromium at a time, and one `npm ci`.
static RENDERER: Mutex<()> = Mutex::const_new(());

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a program of the renderer; its output, and whether it ended well.
async fn renderer(arguments: Vec<String>) -> (bool, String) {
    let _alone = RENDERER.lock().await;
    tokio::task::spawn_blocking(move || {
        let done = Command::new(root().join("dashboards/renderer/run"))
            .args(&arguments)
            .output()
            .expect("bash starts");
        let output = String::from_utf8_lossy(&done.stdout).into_owned();
        let problems = String::from_utf8_lossy(&done.stderr);
        // The judge ends with 1 if it has findings; its standard error is empty then.
        assert!(
            problems.is_empty() || done.status.success(),
            "{arguments:?}\n{output}\n{problems}"
        );
        (done.status.success(), output)
    })
    .await
    .unwrap()
}

/// Something that cannot be read, or misleads.
#[derive(Deserialize)]
struct Finding {
    board: String,
    panel: String,
    check: String,
    detail: String,
}

/// What is drawn, from a Prometheus and a time.
struct View {
    prometheus: String,
    from: u64,
    to: u64,
    out: PathBuf,
}

impl View {
    /// Draws dashboards with closed rows opened, unless flags say else.
    async fn draw(&self, boards: &Path, flags: &[&str]) {
        let mut arguments: Vec<String> = [
            "render.mjs",
            "--prometheus",
            &self.prometheus,
            "--boards",
            &boards.display().to_string(),
            "--out",
            &self.out.display().to_string(),
            "--from",
            &self.from.to_string(),
            "--to",
            &self.to.to_string(),
            "--open",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let (good, output) = renderer(arguments).await;
        assert!(good, "{output}");
    }

    /// What a dashboard shows.
    fn report(&self, name: &str) -> Value {
        let file = self.out.join(format!("{name}-light.json"));
        serde_json::from_str(&fs::read_to_string(&file).expect(name)).unwrap()
    }

    /// What is wrong with dashboards.
    async fn findings(&self, names: &[&str]) -> Vec<Finding> {
        let mut arguments: Vec<String> = [
            "judge.mjs",
            "--json",
            "--prometheus",
            &self.prometheus,
            "--from",
            &self.from.to_string(),
            "--to",
            &self.to.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        for name in names {
            let file = self.out.join(format!("{name}-light.json"));
            arguments.push(file.display().to_string());
        }
        serde_json::from_str(&renderer(arguments).await.1).unwrap()
    }

    /// Fails on everything that is wrong.
    async fn is_good(&self, names: &[&str]) {
        let lines: Vec<String> = self
            .findings(names)
            .await
            .iter()
            .map(|own| {
                format!(
                    "{} · {} · {}: {}",
                    own.board, own.panel, own.check, own.detail
                )
            })
            .collect();
        assert!(
            lines.is_empty(),
            "{}\n{}",
            self.out.display(),
            lines.join("\n")
        );
    }
}

fn panel<'a>(report: &'a Value, title: &str) -> &'a Value {
    let panels = report["panels"].as_array().unwrap();
    panels
        .iter()
        .find(|own| own["title"] == title)
        .unwrap_or_else(|| panic!("there is no panel {title}"))
}

/// What the cells of a column say.
fn texts(panel: &Value, column: &str) -> Vec<String> {
    let fields = panel["fields"].as_array().unwrap();
    let field = fields.iter().find(|own| own["name"] == column);
    field.unwrap_or_else(|| panic!("{panel} has no column {column}"))["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair[1].as_str().unwrap().trim().to_owned())
        .collect()
}

/// The addresses that a column's cells link to.
fn links(panel: &Value, header: &str) -> Vec<String> {
    let columns = panel["table"]["columns"].as_array().unwrap();
    let column = columns
        .iter()
        .find(|own| own["header"].as_str().unwrap().starts_with(header));
    column.unwrap_or_else(|| panic!("{panel} has no column {header}"))["links"]
        .as_array()
        .unwrap()
        .iter()
        .map(|link| link.as_str().unwrap().to_owned())
        .collect()
}

fn series(panel: &Value) -> BTreeSet<&str> {
    let fields = panel["fields"].as_array().unwrap();
    fields
        .iter()
        .map(|own| own["name"].as_str().unwrap())
        .collect()
}

/// A Prometheus on data that are there already, or that it scrapes.
async fn prometheus(directory: &Path, config: &str) -> (Process, String) {
    let file = directory.join("prometheus.yml");
    fs::write(&file, config).unwrap();
    let port = free_port();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            directory.join("tsdb").display()
        ))
        .arg("--storage.tsdb.retention.time=100y")
        // Imported series have no end markers: see renderer/day/tsdb.py.
        .arg("--query.lookback-delta=299s")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let process = Process::start(&mut command, &directory.join("prometheus.log"));
    let base = format!("http://127.0.0.1:{port}");
    eventually("Prometheus is ready", async || {
        let answer = client().get(format!("{base}/-/ready")).send().await;
        answer
            .is_ok_and(|own| own.status().is_success())
            .then_some(())
    })
    .await;
    (process, base)
}

/// The rules, with objectives of the simulated applications.
fn rules(directory: &Path) -> PathBuf {
    let file = directory.join("delivery.rules.yml");
    let done = Command::new(root().join("target/python/bin/python"))
        .args(["-m", "source", "--objectives"])
        .arg(root().join("dashboards/renderer/day/objectives.yaml"))
        .arg("--rules")
        .arg(&file)
        .current_dir(root().join("dashboards"))
        .status()
        .expect("Python starts");
    assert!(done.success());
    file
}

/// A day with incidents, as blocks; its end in milliseconds.
fn simulated_day(directory: &Path) -> u64 {
    let done = Command::new(root().join("target/python/bin/python"))
        .args(["-m", "day", "--data"])
        .arg(directory.join("tsdb"))
        .arg("--rules")
        .arg(rules(directory))
        .current_dir(root().join("dashboards/renderer"))
        .output()
        .expect("Python starts");
    let problems = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{problems}");
    let seconds: u64 = String::from_utf8_lossy(&done.stdout)
        .trim()
        .parse()
        .unwrap();
    seconds * 1000
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_day_with_incidents_every_dashboard_can_be_read_and_says_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let to = simulated_day(directory.path());
    let (_process, base) = prometheus(directory.path(), "global: {}\n").await;
    let view = View {
        prometheus: base,
        from: to - DAY,
        to,
        out: root().join("target/boards/incidents"),
    };
    view.draw(&root().join("dashboards"), &[]).await;
    view.is_good(&BOARDS).await;
    // This day has everything: no open panel is empty.
    for name in BOARDS {
        let made = fs::read_to_string(root().join(format!("dashboards/{name}.json"))).unwrap();
        let made: Value = serde_json::from_str(&made).unwrap();
        let report = view.report(name);
        for open in made["panels"].as_array().unwrap() {
            if open["type"] == "row" {
                continue;
            }
            let title = open["title"].as_str().unwrap();
            // A message of another vendor is the first.
            if title == "Channels" && name == "delivery-messages" {
                continue;
            }
            assert_ne!(
                panel(&report, title)["fields"],
                Value::Array(Vec::new()),
                "{name}: {title} is empty"
            );
        }
    }

    // The person on call sees which application, which alerts and since when, and finds the runbooks.
    let overview = view.report("delivery-overview");
    assert!(series(panel(&overview, "Worst application")).contains("asia-news"));
    let alerts = panel(&overview, "Firing alerts");
    let severities = texts(alerts, "Severity");
    assert_eq!(severities[0], "page");
    let names = texts(alerts, "Alert (runbook)");
    for needed in [
        "DeliveryRateDropped",
        "DeliveryVendorChannelDropped",
        "DeliveryHardBounces",
        "DeliveryCredentialsRefused",
    ] {
        assert!(names.iter().any(|own| own == needed), "{needed}: {names:?}");
    }
    for link in links(alerts, "Alert (runbook)") {
        let name = link.rsplit('/').next().unwrap();
        let file = root().join(format!("docs/runbooks/{name}.md"));
        assert!(file.is_file(), "{link}");
    }
    for link in links(alerts, "Dashboard") {
        let name = link.trim_start_matches("/d/").split('?').next().unwrap();
        assert!(BOARDS.contains(&name), "{link}");
    }
    let shown: BTreeSet<&str> = overview["annotations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| own["name"].as_str().unwrap())
        .collect();
    assert_eq!(shown, BTreeSet::from(["Alerts that page", "Reloads"]));

    // Each objective has a budget and a burn rate.
    let objectives = view.report("delivery-objectives");
    assert_eq!(
        texts(
            panel(&objectives, "Objectives and error budgets"),
            "Objective"
        )
        .len(),
        4
    );
    assert_eq!(series(panel(&objectives, "Burn rate over 1h")).len(), 4);

    // The channel that is down is the first.
    let channels = view.report("delivery-channels");
    let table = panel(&channels, "Channels in the last hour");
    let of_usual: f64 = texts(table, "Share of usual")
        .iter()
        .map(|own| own.trim_end_matches('%').parse().unwrap())
        .fold(100.0, f64::min);
    assert!(of_usual < 30.0, "{of_usual}");

    // A click on a message opens it alone.
    let messages = view.report("delivery-messages");
    let largest = panel(&messages, "Largest tracked messages");
    let link = links(largest, "Message").remove(0);
    let chosen: Vec<&str> = link
        .split(['?', '&'])
        .filter_map(|own| own.strip_prefix("var-"))
        .filter(|own| !own.starts_with("datasource") && !own.contains('$'))
        .collect();
    let mut flags = vec!["--board", "delivery-messages", "--prefix", "one-"];
    for pair in &chosen {
        flags.extend(["--var", pair]);
    }
    view.draw(&root().join("dashboards"), &flags).await;
    let one = view.report("one-delivery-messages");
    let id = chosen
        .iter()
        .find_map(|own| own.strip_prefix("message="))
        .unwrap();
    let variable = one["variables"].as_array().unwrap().iter();
    let value = variable
        .clone()
        .find(|own| own["name"] == "message")
        .unwrap();
    assert_eq!(value["value"], id);
    assert_eq!(series(panel(&one, "Delivery rate")).len(), 1);
    let whole = texts(largest, "Message");
    let place = whole.iter().position(|own| own == id).unwrap();
    let sent = &texts(largest, "Sent")[place];
    assert_eq!(&texts(panel(&one, "Counts"), "sent")[0], sent);

    // A provider narrows its accounts, also those of "All".
    let flags = [
        "--board",
        "delivery-exporter",
        "--prefix",
        "chained-",
        "--var",
        "provider=engagelab",
    ];
    view.draw(&root().join("dashboards"), &flags).await;
    let chained = view.report("chained-delivery-exporter");
    let names = series(panel(&chained, "Data sets"));
    assert!(
        !names.is_empty() && names.iter().all(|own| own.starts_with("asia-")),
        "{names:?}"
    );

    // And the judge can say no: a dashboard with every fault once.
    let bad = view.out.join("bad");
    fs::create_dir_all(&bad).unwrap();
    fs::copy(
        root().join("dashboards/renderer/test/delivery-bad.json"),
        bad.join("delivery-bad.json"),
    )
    .unwrap();
    view.draw(&bad, &[]).await;
    let found: BTreeSet<String> = view
        .findings(&["delivery-bad"])
        .await
        .into_iter()
        .map(|own| own.check)
        .collect();
    let every: BTreeSet<String> = [
        "an id as a number",
        "console",
        "cut off",
        "equal names",
        "error",
        "impossible percentage",
        "no data",
        "no legend",
        "operations a second",
        "too many panels",
        "too many points",
        "too many series",
        "unknown variable",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(found, every);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_demo_every_dashboard_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = binary();
    command.arg("demo");
    let exporter = Exporter::spawn_command(command, directory.path()).await;
    let target = exporter.base.trim_start_matches("http://");
    let rules = rules(directory.path());
    let config = format!(
        "global: {{scrape_interval: 5s, evaluation_interval: 5s}}\nrule_files: ['{}']\nscrape_configs:\n- job_name: delivery\n  static_configs: [{{targets: ['{target}']}}]\n",
        rules.display()
    );
    let (_process, base) = prometheus(directory.path(), &config).await;
    tokio::time::sleep(DEMO_RUNS).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let to = u64::try_from(now.as_millis()).unwrap();
    let view = View {
        prometheus: base,
        from: to - 15 * 60 * 1000,
        to,
        out: root().join("target/boards/demo"),
    };
    view.draw(&root().join("dashboards"), &[]).await;
    view.is_good(&BOARDS).await;
    // There is something to see on each of them.
    for name in BOARDS {
        let report = view.report(name);
        let panels = report["panels"].as_array().unwrap();
        let full = panels
            .iter()
            .filter(|own| !own["fields"].as_array().unwrap().is_empty())
            .count();
        let least = if name == "delivery-objectives" { 1 } else { 8 };
        assert!(full >= least, "{name} shows {full} panels");
    }
}

#[tokio::test]
async fn the_judge_reports_each_fault() {
    let (good, output) = renderer(vec!["--test".to_owned()]).await;
    assert!(good, "{output}");
}
