//! The exporter as a process, over a simulated vendor that has the messages.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::post};
use delivery_clock::Clock;
use delivery_simulators::{Options, World, credentials, faults::Fault};
use flate2::read::GzDecoder;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    client::{Target, cpu_of},
    harness::Exporter,
    render::CHANNELS,
};

/// What the vendor needs for an answer.
pub(super) const LATENCY: Duration = Duration::from_millis(100);

/// Ids in one request.
const BATCH: usize = 100;
/// Requests of an account at once.
const CONCURRENCY: usize = 2;

/// A world whose messages are all asked for in every interval.
pub(super) struct Running {
    pub(super) exporter: Exporter,
    world: World,
    shape: Shape,
    config: Value,
    directory: PathBuf,
    /// Bytes that were pushed by OTLP.
    pub(super) pushed: Arc<AtomicU64>,
}

/// How much there is in a world.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) accounts: usize,
    /// Of each account.
    pub(super) messages: usize,
    /// Every message has gauges, and ten share a campaign; else each has a campaign of its own,
    /// whose counters are all there is.
    pub(super) gauges: bool,
    pub(super) interval: Duration,
}

/// The vendor's name of a channel in its answers.
fn of_vendor((platform, channel): (&str, &str)) -> (String, String) {
    let own = match channel {
        "engagelab" => "engageLab_android",
        other => other,
    };
    (format!("sub_{platform}"), own.to_owned())
}

fn numbers(number: usize, round: u64, campaign: &str, breakdown: bool) -> Value {
    // Counts grow, as counters want it.
    let five = |row: u64| {
        let base = 1000 + (number as u64 * 7 + row * 13) % 9000 + round * 5;
        json!({"targets": base, "sent": base, "delivered": base / 2, "impressions": base / 3, "clicks": base / 4})
    };
    let mut whole = five(0);
    whole["plan_id"] = json!(campaign);
    if breakdown {
        let mut notification = json!({});
        for (row, channel) in (1..).zip(CHANNELS) {
            let (platform, channel) = of_vendor(channel);
            notification[&platform][&channel] = five(row);
        }
        whole["sub"] = json!({"notification": notification});
    }
    whole
}

fn id(account: usize, number: usize) -> String {
    (1_000_000_000 + account * 10_000_000 + number).to_string()
}

/// A receiver that counts what it gets.
async fn receiver(pushed: Arc<AtomicU64>) -> String {
    let take = move |body: Body| {
        let pushed = pushed.clone();
        async move {
            let mut parts = body.into_data_stream();
            while let Some(part) = parts.next().await {
                pushed.fetch_add(part.unwrap().len() as u64, Ordering::Relaxed);
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/metrics", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// New numbers for so many of the newest messages of each account.
fn put(world: &World, shape: Shape, round: u64, messages: usize) {
    let share = if shape.gauges { 10 } else { 1 };
    for account in 0..shape.accounts {
        for number in 0..messages.min(shape.messages) {
            let campaign = format!("plan-{}", number / share);
            let numbers = numbers(number, round, &campaign, shape.gauges);
            world.engagelab.put_message(&id(account, number), numbers);
        }
    }
}

impl Running {
    /// Starts everything, and waits until every message has been answered for.
    pub(super) async fn start(directory: &Path, shape: Shape) -> Running {
        let clock = Clock::system();
        let options = Options {
            history: Duration::from_secs(60),
            ..Options::default()
        };
        let world = World::start(options, &clock).await.unwrap();
        world.servers[1]
            .faults()
            .add("", Fault::Delay(LATENCY), None);
        let pushed = Arc::new(AtomicU64::new(0));
        let now = Timestamp::now();
        let provider = |account: usize| {
            let messages = (0..shape.messages).map(|number| {
                // The newest first; all are fresh for an hour.
                let sent_at = now - SignedDuration::from_millis(number as i64 * 50);
                json!({"id": id(account, number), "sent_at": sent_at.to_string()})
            });
            json!({
                "name": format!("account-{account:02}"), "type": "engagelab",
                "base_url": world.servers[1].base_url(), "collect": ["messages"],
                "max_concurrency": CONCURRENCY,
                "rate_limit": {"requests_per_second": 10_000, "burst": 10_000},
                "credentials": {
                    "app_key": credentials::ENGAGELAB_APP_KEY,
                    "master_secret": credentials::ENGAGELAB_MASTER_SECRET,
                },
                "per_message": {"max_messages": if shape.gauges { 10_000_000 } else { 0 }},
                "messages": {"static": messages.collect::<Vec<_>>()},
            })
        };
        let seconds = shape.interval.as_secs();
        let config = json!({
            "collection": {"interval": format!("{seconds}s"), "stale_after": "1h", "zero_hold": "0s"},
            "limits": {"max_series_per_account": 10_000_000, "max_campaigns_per_account": 10_000_000},
            "store": {
                "url": format!("sqlite:{}", directory.join("delivery.db").display()),
                "spool": directory.join("spool"),
            },
            "providers": (0..shape.accounts).map(provider).collect::<Vec<_>>(),
        });
        put(&world, shape, 0, shape.messages);
        fs::create_dir_all(directory).unwrap();
        let exporter = Exporter::start(directory, &config.to_string()).await;
        let running = Running {
            exporter,
            world,
            shape,
            config,
            directory: directory.to_owned(),
            pushed,
        };
        running.pass().await;
        running
    }

    /// Stops the exporter and starts it again, with an OTLP receiver or with nothing to ask for; how
    /// long the stop took, and when the new process began.
    pub(super) async fn restart(self, otlp: bool) -> (Running, Duration, Instant) {
        let Running {
            exporter,
            mut config,
            directory,
            pushed,
            ..
        } = self;
        let stop = Instant::now();
        exporter.terminate();
        let stopped = stop.elapsed();
        if otlp {
            let endpoint = receiver(pushed.clone()).await;
            let interval = format!("{}s", self.shape.interval.as_secs().max(10));
            config["otlp"] = json!({"endpoint": endpoint, "interval": interval});
        } else {
            for provider in config["providers"].as_array_mut().unwrap() {
                provider["messages"] = json!({});
            }
        }
        let start = Instant::now();
        let exporter = Exporter::start(&directory, &config.to_string()).await;
        let running = Running {
            exporter,
            config,
            directory,
            pushed,
            ..self
        };
        (running, stopped, start)
    }

    /// What is scraped.
    pub(super) fn target(&self) -> Target {
        Target {
            address: self
                .exporter
                .base
                .trim_start_matches("http://")
                .parse()
                .unwrap(),
            path: "/metrics".to_owned(),
            pid: self.exporter.id(),
        }
    }

    /// New numbers for so many of the newest messages of each account.
    pub(super) fn change(&self, round: u64, messages: usize) {
        put(&self.world, self.shape, round, messages);
    }

    /// Waits until every message has been asked for once more.
    pub(super) async fn asked(&self) {
        let vendor = &self.world.servers[1];
        let wanted = self.shape.accounts * self.shape.messages.div_ceil(BATCH);
        let so_far = vendor.received_count();
        let patience = Instant::now() + self.shape.interval * 4 + Duration::from_secs(60);
        while vendor.received_count() < so_far + wanted {
            assert!(
                Instant::now() < patience,
                "a pass does not end: {}",
                self.exporter.log()
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(LATENCY).await;
    }

    /// How long the passes of all accounts took so far, in seconds, and how many they were: what the
    /// exporter says.
    pub(super) async fn passes(&self) -> [f64; 2] {
        let target = self.target();
        tokio::task::spawn_blocking(move || {
            // Plain text is not read, or it would be made ready from then on.
            let mut body = Vec::new();
            target.scrape("gzip", Some(&mut body));
            let lines = BufReader::new(GzDecoder::new(&*body)).lines();
            let mut passes = [0.0; 2];
            for line in lines.map(Result::unwrap) {
                let Some(own) = line.strip_prefix("delivery_exporter_collect_duration_seconds_")
                else {
                    continue;
                };
                let value = || own.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
                match own {
                    own if own.starts_with("sum{") => passes[0] += value(),
                    own if own.starts_with("count{") => passes[1] += value(),
                    _ => {}
                }
            }
            passes
        })
        .await
        .unwrap()
    }

    /// The mean of the passes since then.
    pub(super) async fn mean_since(&self, [sum, count]: [f64; 2]) -> f64 {
        let now = self.passes().await;
        (now[0] - sum) / (now[1] - count)
    }

    /// Waits for one whole pass of every account, and until all of it is counted and shown; the
    /// exporter's CPU time, in seconds.
    pub(super) async fn pass(&self) -> f64 {
        let pid = self.exporter.id();
        let before = cpu_of(pid);
        self.asked().await;
        let mut last = cpu_of(pid);
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = cpu_of(pid);
            if now - std::mem::replace(&mut last, now) < 0.015 {
                return now - before;
            }
        }
    }
}
