//! What an earlier version wrote and showed: ledgers that it left behind, which have to open and be counted on,
//! and scrapes and pushes of one world at one moment, which have to come out byte for byte.
//!
//! - `cargo test --test e2e recorded` compares with the files in `tests/data/recorded`.
//! - `UPDATE_GOLDEN=1 cargo test --test e2e recorded` writes the scrapes and pushes anew: only for a change that
//!   users are meant to see.
//! - `RECORD_LEDGERS=1 UPDATE_GOLDEN=1 cargo test --test e2e recorded` writes the ledgers anew too. The ledgers of
//!   a released version stay as they are: add others beside them.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use delivery_exporter::outputs::exposition::{Format, render};
use delivery_simulators::{Options, World, faults::Fault};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{KeyValue, any_value},
    metrics::v1::{Metric, metric::Data, number_data_point},
};
use prost::Message;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    idle::runtime,
    moods::rig::{INTERVAL, Rig, Tuning},
    postgres::Postgres,
    preload,
    seeds::variable,
};

/// When the world begins.
const BEGIN: &str = "2026-11-20T09:00:00Z";
/// How long an exporter has collected when its ledger is kept.
const COLLECTED: Duration = Duration::from_secs(3 * 3600);
/// How long PostgreSQL may work before the time goes on.
const OUTSIDE: Duration = Duration::from_millis(8);
/// The directory that the process of [`scenes`] writes to.
const OUTPUT: &str = "RECORDED_OUTPUT";
/// Families whose values are the machine's.
const OF_THE_MACHINE: [&str; 2] = ["process_", "delivery_exporter_build_info"];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recorded")
}

/// An OTLP receiver over HTTP that writes each point as a line.
#[derive(Clone, Default)]
struct Receiver {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// Receives on a free port of this machine.
    fn start(&self, runtime: &Runtime) -> String {
        let routes = Router::new()
            .route("/v1/metrics", post(Receiver::take))
            .with_state(self.clone());
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move { axum::serve(listener, routes).await });
            format!("http://{address}")
        })
    }

    async fn take(State(own): State<Receiver>, body: Bytes) -> &'static str {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        let scopes = request
            .resource_metrics
            .into_iter()
            .flat_map(|of_resource| of_resource.scope_metrics);
        let mut lines = own.lines.lock().unwrap();
        for metric in scopes.flat_map(|of_scope| of_scope.metrics) {
            describe(&metric, &mut lines);
        }
        ""
    }
}

fn labels(attributes: &[KeyValue]) -> String {
    let label = |own: &KeyValue| {
        let value = own.value.as_ref().and_then(|own| own.value.as_ref());
        let text = match value {
            Some(any_value::Value::StringValue(text)) => text.clone(),
            other => format!("{other:?}"),
        };
        format!("{}={text:?}", own.key)
    };
    let labels: Vec<_> = attributes.iter().map(label).collect();
    labels.join(",")
}

/// A metric and its points, a line each.
fn describe(metric: &Metric, lines: &mut Vec<String>) {
    let Metric {
        name,
        unit,
        description,
        ..
    } = metric;
    let (kind, points) = match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => ("gauge".to_owned(), &gauge.data_points),
        Data::Sum(sum) => {
            let kind = format!(
                "sum temporality={} monotonic={}",
                sum.aggregation_temporality, sum.is_monotonic
            );
            (kind, &sum.data_points)
        }
        other => {
            lines.push(format!("{name} [{unit}] {description} {other:?}"));
            return;
        }
    };
    lines.push(format!("{name} [{unit}] {kind}: {description}"));
    for point in points {
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => format!("{value:?}"),
            Some(number_data_point::Value::AsInt(value)) => format!("{value}"),
            None => "none".to_owned(),
        };
        lines.push(format!(
            "{name}{{{}}} {value} from {} at {} flags {}",
            labels(&point.attributes),
            point.start_time_unix_nano,
            point.time_unix_nano,
            point.flags
        ));
    }
}

fn is_of_the_machine(line: &str) -> bool {
    let name = line
        .trim_start_matches("# HELP ")
        .trim_start_matches("# TYPE ")
        .trim_start_matches("# UNIT ");
    let dotted = name.replace('.', "_");
    OF_THE_MACHINE.iter().any(|own| dotted.starts_with(own))
}

/// Writes the lines that no machine changes.
fn write(name: &str, text: &str, is_compared: fn(&str) -> bool) {
    let directory = PathBuf::from(variable(OUTPUT).unwrap());
    let lines = text
        .lines()
        .filter(|line| !is_of_the_machine(line) && is_compared(line));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    fs::write(directory.join(name), text).unwrap();
}

/// One exporter over the world, with whatever store `change` configures.
fn rig(receiver: &str, change: impl FnOnce(&mut Value, &Path)) -> Rig {
    let begin: Timestamp = BEGIN.parse().unwrap();
    let options = Options {
        seed: 20,
        history: Duration::from_secs(86_400),
        gap: Duration::from_secs(2 * 3600),
        ..Options::default()
    };
    let tuning = Tuning {
        default_rate: false,
        concurrency: 1,
        old_signature: false,
    };
    let start = async |clock: &_| {
        let world = World::start(options, clock).await.unwrap();
        let every = Duration::from_secs(120);
        world.infobip.change(|own| own.email_every = every);
        world
    };
    Rig::changed(begin, tuning, start, |value, directory| {
        // One push, when the exporter stops.
        value["otlp"] = json!({"endpoint": receiver, "interval": "24h", "compression": "none"});
        change(value, directory);
    })
}

/// Collects for some hours; a body of reports is cut on its way.
fn collect(rig: &mut Rig) {
    rig.start();
    rig.go_on(INTERVAL * 3);
    let faults = rig.world.servers[0].faults().clone();
    faults.add("/email/1/reports", Fault::Cut(300), Some(1));
    for _ in 0..(COLLECTED.as_secs() / 1800) {
        rig.go_on(Duration::from_secs(1800));
        rig.register();
    }
}

/// Writes what the exporter shows and pushes, and stops it.
fn show(rig: &mut Rig, receiver: &Receiver, scene: &str, is_compared: fn(&str) -> bool) {
    for (format, name) in [
        (Format::OpenMetrics, "openmetrics"),
        (Format::Text, "classic"),
    ] {
        let text = render(rig.exporter().table(), rig.now(), format);
        write(&format!("{scene}.{name}.txt"), &text, is_compared);
    }
    rig.stop();
    let lines = std::mem::take(&mut *receiver.lines.lock().unwrap());
    write(&format!("{scene}.otlp.txt"), &lines.join("\n"), is_compared);
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

/// The files below a directory, by their paths in it.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let pattern = format!("{}/**/*", directory.display());
    let all = glob::glob(&pattern).unwrap().flatten();
    all.filter(|path| path.is_file())
        .map(|path| {
            let bytes = fs::read(&path).unwrap();
            (path.strip_prefix(directory).unwrap().to_owned(), bytes)
        })
        .collect()
}

/// Keeps the spool that an exporter has left.
fn keep_spool(from: &Path, store: &str) {
    for (path, bytes) in files(from) {
        if path.extension() == Some(OsStr::new("body")) {
            let to = data().join(store).join("spool").join(path);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
    }
}

fn restore_spool(store: &str, to: &Path) {
    for (path, bytes) in files(&data().join(store).join("spool")) {
        let to = to.join("spool").join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
}

fn postgres(program: &str, url: &str, input: Option<Vec<u8>>) -> Vec<u8> {
    let mut command = Command::new(program);
    command
        .arg(format!("--dbname={url}"))
        .stdout(Stdio::piped());
    if program == "pg_dump" {
        command.args(["--no-owner", "--no-privileges"]);
    } else {
        command.args(["--quiet", "--set=ON_ERROR_STOP=1"]);
    }
    command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    if let Some(input) = input {
        pipe.write_all(&input).unwrap();
    }
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} fails");
    output.stdout
}

/// Where an exporter on PostgreSQL has its store.
fn on_postgres(server: &Postgres) -> impl FnOnce(&mut Value, &Path) {
    let url = server.url();
    move |value, directory| {
        value["store"] =
            json!({"url": url, "spool": directory.join("spool"), "replica": "replica-1"});
    }
}

/// The scenes, in a process of their own: the clock moves once nothing else in the process runs.
#[test]
#[ignore = "it is started by the other test"]
fn scenes() {
    if variable(OUTPUT).is_none() {
        return;
    }
    let records = variable("RECORD_LEDGERS").is_some();
    let outside = runtime("receiver");
    let receiver = Receiver::default();
    let url = receiver.start(&outside);

    let mut world = rig(&url, |_, _| ());
    collect(&mut world);
    show(&mut world, &receiver, "world", |_| true);
    if records {
        let ledger = fs::read(world.directory().join("delivery.db")).unwrap();
        fs::create_dir_all(data().join("sqlite")).unwrap();
        fs::write(data().join("sqlite/delivery.db.gz"), packed(&ledger)).unwrap();
        keep_spool(&world.directory().join("spool"), "sqlite");
    }
    world.end();

    // The exporter comes back: the vendors tell once more what they have told, and what is new since.
    let mut restarted = rig(&url, |_, directory| {
        let ledger = unpacked(&data().join("sqlite/delivery.db.gz"));
        fs::write(directory.join("delivery.db"), ledger).unwrap();
        restore_spool("sqlite", directory);
    });
    go_on_after_restart(&mut restarted);
    show(&mut restarted, &receiver, "sqlite", |_| true);
    restarted.end();

    let server = outside.block_on(Postgres::start());
    if records {
        let mut first = rig(&url, on_postgres(&server));
        first.outside = OUTSIDE;
        collect(&mut first);
        first.stop();
        receiver.lines.lock().unwrap().clear();
        let dump = postgres("pg_dump", &server.url(), None);
        fs::create_dir_all(data().join("postgres")).unwrap();
        fs::write(data().join("postgres/delivery.sql.gz"), packed(&dump)).unwrap();
        keep_spool(&first.directory().join("spool"), "postgres");
        first.end();
        drop(server);
    }
    // In which step of the time a database answers is not repeatable, so what is compared is what the ledger
    // alone says: no vendor can be reached.
    let server = outside.block_on(Postgres::start());
    let dump = unpacked(&data().join("postgres/delivery.sql.gz"));
    postgres("psql", &server.url(), Some(dump));
    let change = on_postgres(&server);
    let mut restarted = rig(&url, |value, directory| {
        restore_spool("postgres", directory);
        change(value, directory);
        for provider in value["providers"].as_array_mut().unwrap() {
            provider["base_url"] = json!("http://127.0.0.1:9");
        }
    });
    restarted.outside = OUTSIDE;
    restarted.jump(INTERVAL * 3 + COLLECTED + Duration::from_secs(600));
    restarted.start();
    restarted.go_on(INTERVAL);
    // The database answers in real time: on a busy machine not all accounts may be open yet.
    let is_open = |text: &str| {
        ["push", "mail", "news", "loyalty", "china"]
            .iter()
            .all(|account| {
                let account = format!("account=\"{account}\"");
                let mut lines = text.lines();
                lines
                    .any(|line| line.starts_with("delivery_sent_total{") && line.contains(&account))
            })
    };
    for _ in 0..400 {
        let text = render(restarted.exporter().table(), restarted.now(), Format::Text);
        if is_open(&text) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    restarted.quiet();
    show(&mut restarted, &receiver, "postgres", |line| {
        let of_the_process = [
            "delivery_exporter_",
            "delivery_up",
            "delivery.exporter.",
            "delivery.up",
        ];
        !of_the_process.iter().any(|own| line.contains(own))
    });
    restarted.end();
}

fn go_on_after_restart(rig: &mut Rig) {
    rig.jump(INTERVAL * 3 + COLLECTED + Duration::from_secs(600));
    rig.start();
    rig.register();
    rig.go_on(INTERVAL * 3);
}

/// Without help texts and descriptions: they may be said better, and name each vendor that there is.
fn without_words(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("# HELP "));
    let of_line = |line: &str| match line.split_once("]") {
        // A metric's own line: `name [unit] kind: description`.
        Some((head, rest)) if !head.contains('{') => match rest.split_once(": ") {
            Some((kind, _)) => format!("{head}]{kind}\n"),
            None => format!("{line}\n"),
        },
        _ => format!("{line}\n"),
    };
    lines.map(of_line).collect()
}

/// The first lines that differ.
fn differences(recorded: &str, now: &str) -> String {
    let pairs = recorded.lines().zip(now.lines()).enumerate();
    let different = pairs.filter(|(_, (old, new))| old != new).take(5);
    let mut text: String = different
        .map(|(line, (old, new))| format!("line {}:\n- {old}\n+ {new}\n", line + 1))
        .collect();
    let (old, new) = (recorded.lines().count(), now.lines().count());
    if old != new {
        text += &format!("{old} lines were recorded, now there are {new}\n");
    }
    text
}

#[test]
fn ledgers_of_an_earlier_version_open_and_what_is_shown_is_the_same_byte_for_byte() {
    let output = tempfile::tempdir().unwrap();
    let library = preload::library("chance", output.path());
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "recorded::scenes", "--ignored", "--nocapture"])
        .env(OUTPUT, output.path())
        .env("LD_PRELOAD", library)
        .status()
        .unwrap();
    assert!(status.success());
    let mut problems = String::new();
    for scene in ["world", "sqlite", "postgres"] {
        for form in ["openmetrics", "classic", "otlp"] {
            let name = format!("{scene}.{form}.txt");
            let now = fs::read(output.path().join(&name)).unwrap();
            let file = data().join(format!("{name}.gz"));
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::create_dir_all(data()).unwrap();
                fs::write(&file, packed(&now)).unwrap();
            }
            let recorded = unpacked(&file);
            let [recorded, now] = [recorded, now].map(|own| {
                let text = String::from_utf8(own).unwrap();
                without_words(&text)
            });
            if recorded != now {
                problems += &format!("{name}:\n{}", differences(&recorded, &now));
            }
        }
    }
    assert!(problems.is_empty(), "{problems}");
}
