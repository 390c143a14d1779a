//! Replicas of the exporter in this process, their vendors, their store and the time.
//!
//! Each replica has a clock of its own: its wall clock is not the others', and it can stand still. The
//! time goes on in turns: one replica after another wakes at the new time and works until it is quiet. So
//! what happens does not depend on how the machine schedules threads, and a seed repeats.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
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
use delivery_simulators::{Known, Running, World};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    super::{
        harness::PATIENCE,
        idle::{directory, others_run, runtime},
        moods::{
            rig::{Tuning, configuration},
            truth::{MAIL, NEWS, PUSH},
        },
    },
    gate::Gate,
    sabotage::Sabotage,
    store::{Database, Memory},
};

/// How often each account asks.
pub const INTERVAL: Duration = Duration::from_secs(60);
/// How long a lease runs.
pub const LEASE: Duration = Duration::from_secs(30);
/// How long a new counter stands at zero.
pub const ZERO_HOLD: Duration = Duration::from_secs(30);
/// The time goes on in steps of so much: sleepers whose times are closer together are woken together.
const GRID: Duration = Duration::from_secs(5);

/// What a universe is made of.
pub struct Setup {
    /// When it begins.
    pub begin: Timestamp,
    /// By how many seconds each replica's wall clock is ahead.
    pub skews: Vec<i64>,
    /// The accounts that are configured.
    pub accounts: Vec<&'static str>,
    /// How the exporters are configured besides.
    pub tuning: Tuning,
    /// What is broken on purpose.
    pub sabotage: Sabotage,
    /// Where chance comes from.
    pub seed: u64,
}

/// One replica of the exporter.
pub struct Replica {
    name: Arc<str>,
    clock: Clock,
    hand: ManualClock,
    /// The vendors, as this replica reaches them.
    pub vendors: [Running; 4],
    config: Config,
    spool: PathBuf,
    /// The way to the store.
    pub gate: Arc<Gate>,
    running: Option<(Runtime, Arc<Exporter>, Memory)>,
    /// How often it was started.
    starts: usize,
    /// Its clock stands still, and so much is missing.
    stopped: Option<Duration>,
}

impl Replica {
    /// Whether it runs, and its time goes on.
    pub fn lives(&self) -> bool {
        self.running.is_some() && self.stopped.is_none()
    }

    /// The time by its wall clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether its process is there.
    pub fn runs(&self) -> bool {
        self.running.is_some()
    }
}

/// Replicas, vendors, store and time.
pub struct Universe {
    directory: tempfile::TempDir,
    runtime: Runtime,
    /// The vendors.
    pub world: World,
    clock: Clock,
    hand: ManualClock,
    database: Database,
    /// The replicas.
    pub replicas: Vec<Replica>,
    accounts: Vec<&'static str>,
    sabotage: Sabotage,
    seed: u64,
    /// Messages that the customer has named.
    named: HashSet<String>,
    /// How often the time was moved.
    pub steps: usize,
}

/// Lets a vendor serve once more, on a port of its own.
async fn serve(world: &World, vendor: usize) -> Running {
    let address = ([127, 0, 0, 1], 0).into();
    let served = match vendor {
        0 => world.infobip.start(address).await,
        1 => world.engagelab.start(address).await,
        2 => world.pushwoosh.start(address).await,
        _ => world.alibaba.start(address).await,
    };
    served.expect("it listens")
}

/// Keeps the only thread of a runtime busy for as long as what is returned lives: whoever is woken
/// meanwhile runs afterwards, in the order of the wakes.
fn busy(runtime: &Runtime) -> mpsc::Sender<()> {
    let (entered, inside) = mpsc::channel();
    let (free, wait) = mpsc::channel();
    runtime.spawn(async move {
        // The other side waits for it.
        let _ = entered.send(());
        // An error says that it is over.
        let _: Result<(), _> = wait.recv();
    });
    inside.recv().expect("the thread runs");
    free
}

impl Universe {
    /// The vendors of a world that `start` makes, and replicas that do not run yet.
    pub fn new(setup: &Setup, start: impl AsyncFnOnce(&Clock) -> World) -> Universe {
        let directory = directory();
        let (clock, hand) = Clock::manual(setup.begin);
        let runtime = runtime("vendors");
        let world = runtime.block_on(start(&clock));
        let database = Database::new(clock.clone(), setup.sabotage);
        let mut replicas = Vec::new();
        for (index, skew) in setup.skews.iter().enumerate() {
            let vendors = runtime.block_on(async {
                [
                    serve(&world, 0).await,
                    serve(&world, 1).await,
                    serve(&world, 2).await,
                    serve(&world, 3).await,
                ]
            });
            let name = format!("replica-{index}");
            let urls = vendors.each_ref().map(|own| own.base_url());
            let spool = directory.path().join(&name);
            let text = configured(
                configuration(&world, &urls, setup.tuning),
                setup,
                &name,
                &spool,
            );
            let config = config::parse(Path::new("universe"), &text, &|_| None);
            let config = config.unwrap_or_else(|errors| panic!("{errors}"));
            let (clock, hand) = Clock::manual(setup.begin + SignedDuration::from_secs(*skew));
            replicas.push(Replica {
                name: name.into(),
                clock,
                hand,
                vendors,
                config,
                spool,
                gate: Gate::new(setup.seed ^ index as u64),
                running: None,
                starts: 0,
                stopped: None,
            });
        }
        let messages = world.infobip.messages().into_iter();
        let messages = messages.chain(world.engagelab.messages());
        let named = messages.map(|own| own.id).collect();
        Universe {
            directory,
            runtime,
            world,
            clock,
            hand,
            database,
            replicas,
            accounts: setup.accounts.clone(),
            sabotage: setup.sabotage,
            seed: setup.seed,
            named,
            steps: 0,
        }
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Starts a replica.
    pub fn start(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        // A name of its own: see `chance.c`. A process that starts again must not draw the same nonces.
        replica.starts += 1;
        let runtime = runtime(&format!("{index}.{}-{}", replica.starts, self.seed));
        let connection = self.database.connect(
            // As [`delivery_exporter::ledger::Ledger`] has it of a configured store.
            LEASE - Duration::from_secs(1),
            replica.name.clone(),
            replica.gate.clone(),
        );
        let end = Instant::now() + PATIENCE;
        let exporter = loop {
            // A process that was killed keeps its spool until its last thread has ended.
            let store = Arc::new(connection.clone());
            let started = Exporter::start_on(&replica.config, replica.clock.clone(), store);
            match runtime.block_on(started) {
                Ok(exporter) => break exporter,
                Err(error) => assert!(Instant::now() < end, "it does not start: {error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        replica.running = Some((runtime, Arc::new(exporter), connection));
        self.quiet();
    }

    /// Ends a replica as a signal would.
    pub fn stop(&mut self, index: usize) {
        if let Some((runtime, exporter, _)) = self.replicas[index].running.take() {
            runtime.block_on(exporter.stop());
            drop(exporter);
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
        self.quiet();
    }

    /// Ends a replica in the middle of whatever it does: no task goes on.
    pub fn kill(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        let Some((runtime, exporter, connection)) = replica.running.take() else {
            return;
        };
        runtime.shutdown_timeout(Duration::from_secs(5));
        drop(exporter);
        self.database.killed(connection.process());
        if self.sabotage == Sabotage::UnsyncedSpool {
            let pattern = replica.spool.join("*/*.body");
            for body in glob::glob(&pattern.to_string_lossy()).unwrap().flatten() {
                fs::remove_file(body).unwrap();
            }
        }
        if let Some(missing) = replica.stopped.take() {
            replica.hand.jump(missing);
        }
        replica.gate.open();
        self.quiet();
    }

    /// A replica stands still, clock and all.
    pub fn pause(&mut self, index: usize) {
        self.replicas[index].stopped = Some(Duration::ZERO);
    }

    /// A replica goes on: it wakes at the time that it is now. What stood still at the store goes on
    /// first, or last.
    pub fn resume(&mut self, index: usize, store_first: bool) {
        let replica = &mut self.replicas[index];
        let missing = replica.stopped.take().unwrap_or_default();
        if store_first {
            replica.gate.open();
            self.quiet();
        }
        self.replicas[index].hand.jump(missing);
        self.quiet();
        self.replicas[index].gate.open();
        self.quiet();
    }

    /// Waits until nothing happens any more unless the time goes on.
    pub fn quiet(&self) {
        let end = Instant::now() + PATIENCE;
        let mut calm = 0;
        while calm < 2 {
            let vendors = self.replicas.iter().flat_map(|own| &own.vendors);
            let in_flight: usize = vendors.map(Running::in_flight).sum();
            // What the kernel still holds of a request or an answer, no thread runs for.
            let outside = self.replicas.iter().map(|own| own.hand.waiting_outside());
            if in_flight + outside.sum::<usize>() == 0 && !others_run() {
                calm += 1;
                std::thread::sleep(Duration::from_micros(20));
            } else {
                calm = 0;
                std::thread::sleep(Duration::from_micros(50));
            }
            assert!(Instant::now() < end, "it does not become quiet");
        }
    }

    /// The replica that wakes first when the time goes on: where leases are over by then, it takes all.
    pub fn next_to_wake(&self) -> usize {
        (self.steps + 1) % self.replicas.len()
    }

    /// Moves the time on at once, for one replica after another; which one is first changes.
    pub fn jump(&mut self, by: Duration) {
        self.steps += 1;
        self.hand.jump(by);
        let count = self.replicas.len();
        for turn in 0..count {
            let index = (self.steps + turn) % count;
            let replica = &mut self.replicas[index];
            match &mut replica.stopped {
                Some(missing) => *missing += by,
                None => {
                    let busy = replica.running.as_ref().map(|own| busy(&own.0));
                    replica.hand.jump(by);
                    if busy.is_some() {
                        drop(busy);
                        self.quiet();
                    }
                }
            }
        }
    }

    /// Lets the time go on by `length`, from one sleeper's time to the next.
    pub fn go_on(&mut self, length: Duration) {
        let end = self.clock.monotonic() + length;
        loop {
            let left = end.since(self.clock.monotonic());
            if left.is_zero() {
                return;
            }
            let living = self.replicas.iter().filter(|own| own.lives());
            let next = living.filter_map(|own| own.hand.next_wake()).min();
            let steps = next.unwrap_or(left).as_secs().div_ceil(GRID.as_secs());
            let next = GRID * u32::try_from(steps.max(1)).unwrap_or(u32::MAX);
            self.jump(next.min(left));
        }
    }

    /// The customer registers with a replica what it has sent since. If that fails, it does so later.
    pub fn register(&mut self, via: usize) {
        let mut new: Vec<(&str, Known)> = Vec::new();
        for (account, sent) in [
            (PUSH, self.world.infobip.messages()),
            (NEWS, self.world.engagelab.messages()),
        ] {
            if self.accounts.contains(&account) {
                new.extend(sent.into_iter().map(|own| (account, own)));
            }
        }
        new.retain(|(_, own)| !self.named.contains(&own.id));
        if new.is_empty() {
            return;
        }
        let registration = |(account, known): &(&str, Known)| Registration {
            account: (*account).into(),
            message: Message {
                application: known.application.as_str().into(),
                id: known.id.as_str().into(),
                campaign: known.campaign.as_deref().map(Arc::from),
                sent_at: known.sent_at,
            },
        };
        let all = new.iter().map(registration).collect();
        let (runtime, exporter, _) = self.replicas[via].running.as_ref().expect("it runs");
        if runtime.block_on(exporter.register(all)).is_ok() {
            self.named.extend(new.into_iter().map(|(_, own)| own.id));
        }
        self.quiet();
    }

    /// Whether the customer has named all that it has sent.
    pub fn all_are_named(&self) -> bool {
        let push = (PUSH, self.world.infobip.messages());
        let news = (NEWS, self.world.engagelab.messages());
        [push, news].into_iter().all(|(account, sent)| {
            !self.accounts.contains(&account) || sent.iter().all(|own| self.named.contains(&own.id))
        })
    }

    /// Reports are pushed to the webhook of the e-mail account of a replica.
    pub fn push(&self, via: usize, body: &Value) -> Result<(), String> {
        let (runtime, exporter, _) = self.replicas[via].running.as_ref().expect("it runs");
        let taken = runtime.block_on(exporter.pushed(MAIL, body.to_string().into()));
        self.quiet();
        taken.map(|_| ())
    }

    /// A scrape of each replica that answers.
    pub fn scrape(&self) -> Vec<(usize, String)> {
        let living = self.replicas.iter().enumerate().filter(|own| own.1.lives());
        let scrape = |(index, replica): (usize, &Replica)| {
            let (_, exporter, _) = replica.running.as_ref()?;
            let text = render(exporter.table(), replica.clock.now(), Format::OpenMetrics);
            Some((index, text))
        };
        living.filter_map(scrape).collect()
    }

    /// Ends everything.
    pub fn end(mut self) {
        for index in 0..self.replicas.len() {
            self.kill(index);
        }
        let Universe {
            runtime,
            world,
            replicas,
            directory,
            ..
        } = self;
        drop((world, replicas));
        runtime.shutdown_timeout(Duration::from_secs(5));
        drop(directory);
    }
}

/// The configuration of one replica.
fn configured(mut config: Value, setup: &Setup, replica: &str, spool: &Path) -> String {
    let seconds = |length: Duration| format!("{}s", length.as_secs());
    config["store"] = json!({
        // The name of a store that replicas share; what is there is given to the exporter.
        "url": "postgres://universe@localhost/universe",
        "lease": seconds(LEASE), "spool": spool, "replica": replica,
    });
    config["collection"] = json!({
        "interval": seconds(INTERVAL), "timeout": "3s", "zero_hold": seconds(ZERO_HOLD), "adopt_age": "0s",
    });
    let all = config["providers"].as_array_mut().expect("a list");
    all.retain(|own| setup.accounts.iter().any(|name| own["name"] == *name));
    for provider in all {
        let sets: &[&str] = match provider["type"].as_str() {
            Some("engagelab") => &["messages"],
            Some("pushwoosh") => &["messages", "bounces", "log"],
            _ => continue,
        };
        provider["collect"] = json!(sets);
        let each = sets
            .iter()
            .map(|set| ((*set).to_owned(), json!(seconds(INTERVAL))));
        provider["dataset_intervals"] = each.filter(|own| own.0 != "messages").collect();
        provider
            .as_object_mut()
            .expect("an object")
            .remove("canaries");
    }
    config.to_string()
}
