//! One exporter and its vendors in this process, on a clock that the test moves: starts, kills,
//! restarts, and steps of time.
//!
//! The clock is moved only once everything is quiet: no request is on its way or with a vendor, and no
//! thread of the process but the test's own is running or waits for a processor. That is exact on Linux as
//! long as nothing else runs in the process, so each row of seeds has a process of its own.

use std::{
    collections::HashSet,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use delivery_clock::{Clock, ManualClock};
use delivery_exporter::{
    app::Exporter,
    config::{self, Config},
    ledger::Registration,
    model::Message,
    outputs::exposition::{Format, render},
    web::Backend,
};
use delivery_simulators::{Known, Received, World, credentials, engagelab};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    super::{
        harness::PATIENCE,
        idle::{directory, others_run, runtime},
        world,
    },
    judge::Scrape,
    truth::{CHINA, LOYALTY, LOYALTY_APPLICATIONS, MAIL, NEWS, PUSH},
};

/// How often each account asks.
pub const INTERVAL: Duration = Duration::from_secs(120);
/// A vendor's answer may take so long, in real time. Far more than a slow one takes: what is handed out
/// once and comes too late is lost, and a busy machine must not decide that.
pub const TIMEOUT: Duration = Duration::from_secs(3);
/// A slow answer takes so much longer, in real time.
pub const SLOW_BY: Duration = Duration::from_millis(100);
/// Sleepers whose times are so close together are woken together.
const GRID: Duration = Duration::from_millis(250);

/// How the exporter is configured, as far as seeds differ in it.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// The vendors' own rate limits instead of none that matters.
    pub default_rate: bool,
    /// Requests in flight.
    pub concurrency: usize,
    /// The older of Alibaba's signatures.
    pub old_signature: bool,
}

/// The exporter, the vendors and the time.
pub struct Rig {
    directory: tempfile::TempDir,
    vendors: Runtime,
    /// The vendors.
    pub world: World,
    clock: Clock,
    hand: ManualClock,
    config: Config,
    running: Option<(Runtime, Arc<Exporter>)>,
    /// Messages that the customer has named.
    named: HashSet<String>,
    /// How often the time was moved.
    pub steps: usize,
    /// How long what is outside this process may work before the time goes on, in real time: a database.
    pub outside: Duration,
}

impl Rig {
    /// The vendors of a world that `start` makes, and an exporter that does not run yet.
    pub fn new(begin: Timestamp, tuning: Tuning, start: impl AsyncFnOnce(&Clock) -> World) -> Rig {
        Rig::changed(begin, tuning, start, |_, _| ())
    }

    /// The same with another configuration: `change` gets it, and the directory of the store.
    pub fn changed(
        begin: Timestamp,
        tuning: Tuning,
        start: impl AsyncFnOnce(&Clock) -> World,
        change: impl FnOnce(&mut Value, &Path),
    ) -> Rig {
        let directory = directory();
        let (clock, hand) = Clock::manual(begin);
        let vendors = runtime("vendors");
        let world = vendors.block_on(start(&clock));
        let urls = world.servers.each_ref().map(|server| server.base_url());
        let mut value = configuration(&world, &urls, tuning);
        value["store"] = world::store(directory.path());
        change(&mut value, directory.path());
        let text = value.to_string();
        let config = config::parse(Path::new("test"), &text, &|_| None);
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let messages = world.infobip.messages().into_iter();
        let messages = messages.chain(world.engagelab.messages());
        let named = messages.map(|own| own.id).collect();
        Rig {
            directory,
            vendors,
            world,
            clock,
            hand,
            config,
            running: None,
            named,
            steps: 0,
            outside: Duration::ZERO,
        }
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The exporter that runs.
    pub fn exporter(&self) -> &Exporter {
        &self.running.as_ref().expect("it runs").1
    }

    /// The directory of the store.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the exporter.
    pub fn start(&mut self) {
        let runtime = runtime("exporter");
        let end = Instant::now() + PATIENCE;
        let exporter = loop {
            // A process that was killed keeps its lock until its last thread has ended.
            match runtime.block_on(Exporter::start(&self.config, self.clock.clone())) {
                Ok(exporter) => break exporter,
                Err(error) => assert!(Instant::now() < end, "it does not start: {error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.running = Some((runtime, Arc::new(exporter)));
        self.quiet();
    }

    /// Ends the exporter as a signal would.
    pub fn stop(&mut self) {
        if let Some((runtime, exporter)) = self.running.take() {
            runtime.block_on(exporter.stop());
            drop(exporter);
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        self.quiet();
    }

    /// Ends it in the middle of whatever it does: no task goes on.
    pub fn kill(&mut self) {
        if let Some((runtime, exporter)) = self.running.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
            drop(exporter);
        }
        self.quiet();
    }

    /// `collect`: the metrics that it prints, whether all went well, and how much simulated time it
    /// took; `None` if it has not ended after `most`.
    pub fn once(&mut self, most: Duration) -> Option<(Scrape, bool, Duration)> {
        let runtime = runtime("collect");
        let began = self.clock.monotonic();
        let (config, clock) = (self.config.clone(), self.clock.clone());
        let task = runtime.spawn(async move {
            loop {
                match Exporter::once(&config, clock.clone()).await {
                    Ok(outcome) => return outcome,
                    // The lock of the one before.
                    Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
        });
        loop {
            self.quiet();
            if task.is_finished() {
                break;
            }
            let passed = self.clock.monotonic().since(began);
            if passed > most {
                runtime.shutdown_background();
                return None;
            }
            let by = self.hand.next_wake().unwrap_or(GRID);
            self.advance(by.max(GRID));
        }
        let (exporter, all) = runtime.block_on(task).expect("collect does not panic");
        let text = render(exporter.table(), self.clock.now(), Format::OpenMetrics);
        runtime.block_on(exporter.stop());
        drop(exporter);
        runtime.shutdown_timeout(Duration::from_secs(5));
        let passed = self.clock.monotonic().since(began);
        Some((Scrape::read(text), all, passed))
    }

    /// Waits until nothing happens any more unless the time goes on.
    pub fn quiet(&self) {
        std::thread::sleep(self.outside);
        let end = Instant::now() + PATIENCE;
        let mut calm = 0;
        while calm < 3 {
            let with_vendors: usize = self.world.servers.iter().map(|own| own.in_flight()).sum();
            // What the kernel still holds of a request or an answer, no thread runs for.
            let with_vendors = with_vendors + self.hand.waiting_outside();
            if with_vendors == 0 && !others_run() {
                calm += 1;
                std::thread::sleep(Duration::from_micros(20));
            } else {
                calm = 0;
                std::thread::sleep(Duration::from_micros(if with_vendors == 0 {
                    50
                } else {
                    150
                }));
            }
            assert!(Instant::now() < end, "it does not become quiet");
        }
    }

    fn advance(&mut self, by: Duration) {
        self.hand.jump(by);
        self.steps += 1;
    }

    /// Lets the time go on by `length`, from one sleeper's time to the next.
    pub fn go_on(&mut self, length: Duration) {
        let end = self.clock.monotonic() + length;
        loop {
            self.quiet();
            let left = end.since(self.clock.monotonic());
            if left.is_zero() {
                return;
            }
            let next = self.hand.next_wake().unwrap_or(left).max(GRID);
            self.advance(next.min(left));
        }
    }

    /// Moves the time on at once: whatever was due in between is due now.
    pub fn jump(&mut self, length: Duration) {
        self.advance(length);
        self.quiet();
    }

    /// Moves the time on at once, and lets the exporter work for so long in real time.
    pub fn jump_into(&mut self, length: Duration, work: Duration) {
        self.advance(length);
        std::thread::sleep(work);
    }

    /// The customer registers what it has sent since.
    pub fn register(&mut self) {
        let mut new: Vec<(&str, Known)> = Vec::new();
        new.extend(
            self.world
                .infobip
                .messages()
                .into_iter()
                .map(|own| (PUSH, own)),
        );
        new.extend(
            self.world
                .engagelab
                .messages()
                .into_iter()
                .map(|own| (NEWS, own)),
        );
        new.retain(|(_, own)| self.named.insert(own.id.clone()));
        if new.is_empty() {
            return;
        }
        let registration = |(account, known): (&str, Known)| Registration {
            account: account.into(),
            message: Message {
                application: known.application.as_str().into(),
                id: known.id.as_str().into(),
                campaign: known.campaign.as_deref().map(Arc::from),
                sent_at: known.sent_at,
            },
        };
        let (runtime, exporter) = self.running.as_ref().expect("it runs");
        let all = new.into_iter().map(registration).collect();
        let taken = runtime.block_on(exporter.register(all));
        taken.expect("the messages are registered");
        self.quiet();
    }

    /// A report or event is pushed to the webhook of the e-mail account.
    pub fn push(&self, body: &Value) -> Result<(), String> {
        let (runtime, exporter) = self.running.as_ref().expect("it runs");
        let body = body.to_string().into();
        let taken = runtime.block_on(exporter.pushed(MAIL, body));
        self.quiet();
        taken.map(|_| ())
    }

    /// A scrape.
    pub fn scrape(&self) -> Scrape {
        let text = render(self.exporter().table(), self.now(), Format::OpenMetrics);
        Scrape::read(text)
    }

    /// Every request so far, of all vendors.
    pub fn received(&self) -> Vec<Received> {
        let all = self.world.servers.iter();
        all.flat_map(|server| server.received()).collect()
    }

    /// Ends everything.
    pub fn end(mut self) {
        self.kill();
        let Rig {
            vendors,
            world,
            directory,
            ..
        } = self;
        drop(world);
        vendors.shutdown_timeout(Duration::from_secs(5));
        drop(directory);
    }
}

/// The customer's configuration but for the store: every data set of all vendors, and every number
/// counts at once. The vendors are at `urls`.
pub fn configuration(world: &World, urls: &[String; 4], tuning: Tuning) -> Value {
    let [infobip, engagelab, pushwoosh, alibaba] = urls;
    let password = json!({
        "username": credentials::INFOBIP_USERNAME,
        "password": credentials::INFOBIP_PASSWORD,
    });
    let sets = [
        "messages",
        "bounces",
        "intervals",
        "log",
        "links",
        "link_devices",
    ];
    let every = |sets: &[&str]| -> Value {
        let seconds = format!("{}s", INTERVAL.as_secs());
        let all = sets.iter().map(|set| ((*set).to_owned(), json!(seconds)));
        Value::Object(all.collect())
    };
    let mut defaults = json!({
        "per_message": {"max_messages": 10_000},
        "max_concurrency": tuning.concurrency,
    });
    if !tuning.default_rate {
        defaults["rate_limit"] = json!({"requests_per_second": 10_000, "burst": 10_000});
    }
    let signature = if tuning.old_signature { "v1" } else { "v3" };
    json!({
        "collection": {
            "interval": format!("{}s", INTERVAL.as_secs()),
            "timeout": format!("{}ms", TIMEOUT.as_millis()),
            "zero_hold": "0s", "adopt_age": "0s", "max_interval": "1s",
        },
        "provider_defaults": defaults,
        "providers": [
            {"name": PUSH, "type": "infobip_push", "base_url": infobip, "credentials": password,
             "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
             "messages": {"static": world::named(&world.infobip.messages(), &[])}},
            {"name": MAIL, "type": "infobip_email", "base_url": infobip, "credentials": password},
            {"name": NEWS, "type": "engagelab", "base_url": engagelab,
             "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
             "collect": ["messages", "users", "lifecycle"], "canaries": engagelab::CANARIES,
             "dataset_intervals": every(&["users", "lifecycle"]),
             "messages": {"static": world::named(&world.engagelab.messages(), &[])}},
            {"name": LOYALTY, "type": "pushwoosh", "base_url": pushwoosh,
             "credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
             "collect": sets, "dataset_intervals": every(&sets),
             "applications": LOYALTY_APPLICATIONS.map(|(id, name)| json!({"id": id, "name": name}))},
            {"name": CHINA, "type": "alibaba_push", "base_url": alibaba,
             "credentials": {"access_key_id": credentials::ALIBABA_KEY_ID,
                 "access_key_secret": credentials::ALIBABA_KEY_SECRET, "signature": signature},
             "applications": [{"id": credentials::ALIBABA_APP_KEY, "name": "cn"}]},
        ],
    })
}
