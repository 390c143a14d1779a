//! Fifty thousand messages, vendors in moods, hostile connections, garbage at every door. What the process
//! takes must not grow, which is judged by slopes, not by limits.
//!
//! The exporter is the real process, on the real clock (one that runs fast is a clock that is set again and
//! again, which the exporter takes for just that). Time goes fast by short intervals and a short `max_age`.
//!
//! - `cargo test --test e2e soak`: a few minutes.
//! - `SOAK_MINUTES=60 cargo test --test e2e soak -- --nocapture`: every message is forgotten and replaced before
//!   the slopes begin to be taken, and once more while they are.

mod slope;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use delivery_clock::Clock;
use delivery_simulators::{
    Account, Mood, Moods, Options, World, credentials, engagelab, faults::Fault,
};
use jiff::SignedDuration;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    connections::{ATTACKS, one},
    harness::{Exporter, Metrics, binary, client},
    matrix::{descriptors, status},
    world,
};

const MESSAGES: u64 = 50_000;
const TOKEN: &str = "a-token-of-the-api";
const HOOK: &str = "a-token-of-the-hook";
/// The length of the suite's soak.
const SHORT: Duration = Duration::from_secs(100);
/// The most messages that are registered with one request.
const REGISTERED: u64 = 2500;

/// What the process takes at a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// In MiB.
    memory: f64,
    descriptors: f64,
    threads: f64,
    /// In KiB.
    store: f64,
    /// Bodies.
    quarantine: f64,
    /// In KiB, since the measurement before.
    log: f64,
    /// Of `/metrics`, in KiB.
    page: f64,
}

/// A measure, what tells two of its values apart, and how to get it.
type Measure = (&'static str, f64, fn(&Size) -> f64);

const MEASURES: [Measure; 7] = [
    ("memory in MiB", 2.0, |own| own.memory),
    ("descriptors", 2.0, |own| own.descriptors),
    ("threads", 2.0, |own| own.threads),
    ("store in KiB", 256.0, |own| own.store),
    ("bodies in quarantine", 0.5, |own| own.quarantine),
    ("log in KiB between two looks", 1.0, |own| own.log),
    ("/metrics in KiB", 8.0, |own| own.page),
];

/// The lengths of all files below a directory, and how many there are.
fn files(directory: &Path) -> (u64, u64) {
    let (mut bytes, mut count) = (0, 0);
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        let (more, files) = if metadata.is_dir() {
            files(&entry.path())
        } else {
            (metadata.len(), 1)
        };
        bytes += more;
        count += files;
    }
    (bytes, count)
}

fn numbers(sent: u64) -> Value {
    json!({"targets": sent + 5, "sent": sent, "delivered": sent * 9 / 10, "clicks": sent / 50,
        "sub": {"notification": {"sent": sent, "delivered": sent * 9 / 10, "sub_android":
            {"fcm": {"sent": sent / 2, "delivered": sent / 3}, "huawei": {"sent": sent / 4, "delivered": sent / 5}}}}})
}

/// Everything that sends rubbish to the exporter, until `stop`.
async fn attack(address: String, stop: Arc<AtomicBool>) {
    let mut random = StdRng::seed_from_u64(1);
    while !stop.load(Ordering::Relaxed) {
        let kind = ATTACKS[random.random_range(0..ATTACKS.len())];
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let address = address.clone();
            all.spawn(async move {
                if let Ok(stream) = tokio::net::TcpStream::connect(&address).await {
                    let _ = one(kind, Box::new(stream)).await;
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        drop(all);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Bodies that are no reports, with the right token and with a wrong one, and registrations that are none.
async fn rubbish(base: String, stop: Arc<AtomicBool>) {
    let client = client();
    let long = "x".repeat(100_000);
    let bodies = [
        "<reports/>".to_owned(),
        "{\"results\":[{\"messageId\":".to_owned(),
        "{\"results\":[7,null,\"x\"]}".to_owned(),
        "[".repeat(50_000),
        format!("{{\"results\":[{{\"messageId\":\"{long}\"}}]}}"),
        "\u{0}\u{1}\u{2}".to_owned(),
        String::new(),
    ];
    let mut random = StdRng::seed_from_u64(2);
    while !stop.load(Ordering::Relaxed) {
        let body = bodies[random.random_range(0..bodies.len())].clone();
        let (path, token) = match random.random_range(0..4) {
            0 => ("/webhooks/infobip/email/mail", "wrong"),
            1 => ("/api/v1/messages", TOKEN),
            2 => ("/api/v1/messages", "wrong"),
            _ => ("/webhooks/infobip/email/mail", HOOK),
        };
        let request = client.post(format!("{base}{path}")).bearer_auth(token);
        let request = request.timeout(Duration::from_secs(5)).body(body);
        // Whatever the answer is.
        let _ = request.send().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// One vendor after the other goes wrong for a moment.
fn spoil(world: &World, random: &mut StdRng) {
    for server in &world.servers {
        server.faults().clear();
    }
    let which = random.random_range(0..world.servers.len() * 2);
    let Some(server) = world.servers.get(which) else {
        return;
    };
    let page = Fault::Answer {
        status: 502,
        headers: Vec::new(),
        body: "<html>Bad gateway</html>".to_owned(),
    };
    let fault = match random.random_range(0..4) {
        0 => Fault::Hang,
        1 => Fault::Reset,
        // What a queue has handed out and is cut off is kept, and would grow for good reason.
        2 if which > 0 => Fault::Cut(random.random_range(0..2000)),
        _ => page,
    };
    server.faults().add("/", fault, None);
}

/// The vendors, the exporter, and the big account.
struct Soak {
    directory: tempfile::TempDir,
    clock: Clock,
    world: World,
    big: engagelab::Engagelab,
    _server: delivery_simulators::Running,
    exporter: Exporter,
    client: reqwest::Client,
    registered: u64,
}

fn configuration(world: &World, big: &str, directory: &Path, max_age: Duration) -> String {
    let more = json!({
        "server": {"api_token": TOKEN},
        "store": {"url": "sqlite:data/delivery.db", "spool": "data/spool", "replica": "replica-1"},
        "collection": {"zero_hold": "0s", "adopt_age": "0s", "interval": "2s", "max_interval": "2m", "timeout": "3s"},
        "provider_defaults": {"rate_limit": {"requests_per_second": 40, "burst": 40}},
    });
    let text = world::configuration(world, directory, &more);
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let providers = config["providers"].as_array_mut().unwrap();
    for provider in providers.iter_mut() {
        if provider["name"] == "mail" {
            provider["webhook_token"] = json!(HOOK);
        } else {
            // These vendors go on sending: what is sent in the run would be watched to its end.
            provider["messages"]["max_age"] = json!(format!("{}s", max_age.as_secs()));
        }
        if provider["name"] == "news" {
            provider["dataset_intervals"] = json!({"users": "5s", "lifecycle": "5s"});
        }
    }
    providers.push(json!({
        "name": "big", "type": "engagelab", "base_url": big, "collect": ["messages"],
        "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
        "messages": {"max_age": format!("{}s", max_age.as_secs())},
    }));
    config.to_string()
}

impl Soak {
    async fn start(max_age: Duration) -> Soak {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::system();
        let mut moods = Moods::from_seed(7);
        // A mood that hands broken bodies out fills the quarantine, and for good reason.
        *moods.of_mut(Account::InfobipEmail) = Mood::calm();
        let options = Options {
            moods,
            gap: Duration::from_secs(3600),
            steady: Some(Duration::from_secs(30)),
            slow_by: Duration::from_millis(300),
            ..Options::default()
        };
        let world = World::start(options, &clock).await.unwrap();
        let options = engagelab::Options::new(
            credentials::ENGAGELAB_APP_KEY,
            credentials::ENGAGELAB_MASTER_SECRET,
        );
        let hour = Duration::from_secs(3600);
        let big = engagelab::Engagelab::new(clock.clone(), 5, clock.now(), hour, options);
        let server = big.start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let config = configuration(&world, &server.base_url(), directory.path(), max_age);
        fs::write(directory.path().join("config.yaml"), config).unwrap();
        let exporter = Exporter::spawn_command(binary(), directory.path()).await;
        Soak {
            directory,
            clock,
            world,
            big,
            _server: server,
            exporter,
            client: client(),
            registered: 0,
        }
    }

    /// Registers so many more messages, which were sent in the time before now.
    async fn register(&mut self, count: u64, sent_within: Duration) {
        let now = self.clock.now();
        let mut rest = count;
        while rest > 0 {
            let some = rest.min(REGISTERED);
            let messages: Vec<Value> = (0..some)
                .map(|at| {
                    let number = self.registered + at;
                    let id = (1_000_000_000 + number).to_string();
                    self.big.put_message(&id, numbers(number % 900 + 100));
                    let age = sent_within.mul_f64((rest - at) as f64 / count as f64);
                    let sent_at = delivery_clock::before(now, age);
                    let campaign = format!("campaign-{}", number % 60);
                    json!({"account": "big", "id": id, "campaign": campaign, "sent_at": sent_at.to_string()})
                })
                .collect();
            let request = self
                .client
                .post(format!("{}/api/v1/messages", self.exporter.base))
                .bearer_auth(TOKEN)
                .body(Value::Array(messages).to_string());
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let text = answer.text().await.unwrap_or_default();
            assert_eq!(status, 200, "{text}");
            self.registered += some;
            rest -= some;
        }
    }

    /// Numbers of messages that are there grow.
    fn grow(&self, random: &mut StdRng, count: u64) {
        for _ in 0..count {
            let back = random.random_range(0..self.registered.min(MESSAGES));
            let number = self.registered - 1 - back;
            let id = (1_000_000_000 + number).to_string();
            self.big
                .put_message(&id, numbers(number % 900 + random.random_range(100..2000)));
        }
    }

    fn log_length(&self) -> u64 {
        let log: PathBuf = self.directory.path().join("exporter.log");
        fs::metadata(log).map_or(0, |own| own.len())
    }

    fn size(&self, page: usize) -> Size {
        let id = self.exporter.id();
        let data = self.directory.path().join("data");
        let spools = fs::read_dir(data.join("spool"))
            .into_iter()
            .flatten()
            .flatten();
        let quarantined = spools.map(|own| files(&own.path().join("quarantine")).1);
        Size {
            memory: status(id, "VmRSS:") as f64 / 1024.0,
            descriptors: descriptors(id) as f64,
            threads: status(id, "Threads:") as f64,
            store: files(&data).0 as f64 / 1024.0,
            quarantine: quarantined.sum::<u64>() as f64,
            log: 0.0,
            page: page as f64 / 1024.0,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn weeks_of_trouble_leave_nothing_behind() {
    let minutes = std::env::var("SOAK_MINUTES")
        .ok()
        .and_then(|own| own.parse::<u64>().ok());
    let length = minutes.map_or(SHORT, |minutes| Duration::from_secs(60 * minutes));
    // In the long form every message is replaced after half of the time; in the short one, those that
    // are forgotten are few, and as many come.
    let max_age = if minutes.is_some() {
        length / 2
    } else {
        length * 4
    };
    let mut soak = Soak::start(max_age).await;
    soak.register(MESSAGES, max_age.mul_f64(0.98)).await;
    soak.exporter
        .wait_for("all messages are asked for", |metrics| {
            let big = [("account", "big")];
            let asked = metrics.sum("delivery_exporter_api_requests_total", &big);
            let tracked = metrics.sum("delivery_exporter_tracked_messages", &big);
            tracked > MESSAGES as f64 * 0.9 && asked > MESSAGES as f64 / 110.0
        })
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let base = soak.exporter.base.clone();
    let hostile = [
        tokio::spawn(attack(base.replace("http://", ""), stop.clone())),
        tokio::spawn(rubbish(base, stop.clone())),
    ];
    let mut random = StdRng::seed_from_u64(3);
    let began = Instant::now();
    let warm = if minutes.is_some() {
        length / 2
    } else {
        length / 3
    };
    let mut sizes: Vec<Size> = Vec::new();
    let (mut log, mut last, mut slowest) = (soak.log_length(), soak.clock.now(), Duration::ZERO);
    let mut due = 0.0;
    let scraper = client();
    let mut tracked = 0.0;
    while began.elapsed() < length {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = soak.clock.now();
        let passed: SignedDuration = now.duration_since(last);
        last = now;
        // As many as are forgotten meanwhile.
        due += MESSAGES as f64 * passed.as_secs_f64() / max_age.as_secs_f64();
        let count = due as u64;
        due -= count as f64;
        soak.register(count, Duration::try_from(passed).unwrap())
            .await;
        soak.grow(&mut random, 20);
        if random.random_range(0..3) == 0 {
            spoil(&soak.world, &mut random);
        }
        let asked = Instant::now();
        let answer = scraper
            .get(format!("{}/metrics", soak.exporter.base))
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        slowest = slowest.max(asked.elapsed());
        if began.elapsed() >= warm {
            let written = soak.log_length();
            let size = Size {
                log: (written - log) as f64 / 1024.0,
                ..soak.size(text.len())
            };
            sizes.push(size);
            let metrics = Metrics::read(&text);
            let big = [("account", "big")];
            tracked = metrics.sum("delivery_exporter_tracked_messages", &big);
            if sizes.len() % 60 == 1 {
                println!("{now:.0}: {tracked} messages, {size:?}");
            }
        }
        log = soak.log_length();
    }
    stop.store(true, Ordering::Relaxed);
    for task in hostile {
        task.abort();
    }
    let mut grown = Vec::new();
    for (name, resolution, measure) in MEASURES {
        let values: Vec<f64> = sizes.iter().map(measure).collect();
        let trend = slope::trend(&values);
        // In so short a time the store still fills the pages that it took for the first messages: only
        // the hour can tell a slow rise from that.
        let share = if minutes.is_some() { 0.02 } else { 0.1 };
        let resolution = f64::max(resolution, trend.mean * share);
        println!(
            "{name}: {:.1}, {:+.2} by the slope (t {:.1})",
            trend.mean, trend.growth, trend.certainty
        );
        if slope::grows(&values, resolution) {
            grown.push(format!("{name}: {trend:?}"));
        }
    }
    println!(
        "{tracked} messages at the end, {} registered, slowest scrape {slowest:?}",
        soak.registered
    );
    if std::env::var("SOAK_KEEP").is_ok() {
        fs::copy(soak.directory.path().join("exporter.log"), "/tmp/soak.log").unwrap();
    }
    assert!(
        grown.is_empty(),
        "{grown:#?}\n{}",
        tail(&soak.exporter.log())
    );
    // It has worked all the time.
    let most = MESSAGES as f64;
    assert!((most * 0.9..most * 1.1).contains(&tracked), "{tracked}");
    let asked: u64 = Account::ALL
        .iter()
        .map(|own| soak.world.requests(*own).values().sum::<u64>())
        .sum();
    assert!(asked > length.as_secs(), "{asked} requests");
    assert!(soak.exporter.terminate().success());
}

fn tail(log: &str) -> String {
    let mut lines: Vec<&str> = log.lines().rev().take(40).collect();
    lines.reverse();
    lines.join("\n")
}

/// Messages are forgotten in every pass here, while numbers of others are on their way into the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn forgetting_messages_keeps_nothing_waiting() {
    let max_age = Duration::from_secs(120);
    let mut soak = Soak::start(max_age).await;
    soak.register(MESSAGES / 2, max_age.mul_f64(0.9)).await;
    let success = async |soak: &Soak| {
        let big = [("account", "big")];
        let metrics = soak.exporter.metrics().await;
        metrics.get("delivery_exporter_last_success_timestamp_seconds", &big)
    };
    let (mut last, mut changed) = (success(&soak).await, Instant::now());
    let end = Instant::now() + Duration::from_secs(40);
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = success(&soak).await;
        if now != last {
            (last, changed) = (now, Instant::now());
        }
        let pause = changed.elapsed();
        assert!(
            pause < Duration::from_secs(15),
            "no success for {pause:?}\n{}",
            tail(&soak.exporter.log())
        );
    }
}
