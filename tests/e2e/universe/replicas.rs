//! Replicas of the exporter in this process, their vendors, their store and the time.
//!
//! Each replica has a clock of its own: its wall clock is not the others', and it can stand still. The
//! time goes on in turns: one replica after another wakes at the new time and works until it is quiet. All
//! of it happens on one thread, and nothing waits for a socket, so that a seed is the same in each run.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use delivery_clock::{Clock, ManualClock};
use delivery_exporter::{
    app::{Exporter, Substitutes},
    config::{self, Config},
    ledger::Registration,
    model::Message,
    outputs::exposition::{Format, render},
    web::Backend,
};
use delivery_simulators::{Known, Service, World};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    super::{
        idle::directory,
        luck::mix,
        moods::{
            rig::{Tuning, configuration},
            truth::{MAIL, NEWS, PUSH},
        },
    },
    MOVES,
    gate::Gate,
    network::{answers, base_url},
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
/// So long is waited at a time, on the runtimes' clock, while a request is under way.
const PAUSE: Duration = Duration::from_millis(20);

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
    /// What moves its clock.
    pub hand: ManualClock,
    /// The vendors, as this replica reaches them.
    pub vendors: [Service; 4],
    config: Config,
    spool: PathBuf,
    /// The way to the store.
    pub gate: Arc<Gate>,
    running: Option<(Runtime, Arc<Exporter>, Memory)>,
    /// How often it was started.
    starts: u64,
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

/// A runtime whose tasks run on the thread that asks for it, while it asks. Its timers do not wait: as soon as
/// nothing else is left to do, its time is that of the next one.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

impl Universe {
    /// The vendors of a world that `start` makes, and replicas that do not run yet.
    pub fn new(setup: &Setup, start: impl AsyncFnOnce(&Clock) -> World) -> Universe {
        let directory = directory();
        let (clock, hand) = Clock::manual(setup.begin);
        let runtime = runtime();
        let world = runtime.block_on(start(&clock));
        let database = Database::new(clock.clone(), setup.sabotage);
        let mut replicas = Vec::new();
        for (index, skew) in setup.skews.iter().enumerate() {
            let vendors = [
                world.infobip.service(),
                world.engagelab.service(),
                world.pushwoosh.service(),
                world.alibaba.service(),
            ];
            let name = format!("replica-{index}");
            let urls = [0, 1, 2, 3].map(base_url);
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
        replica.starts += 1;
        let runtime = runtime();
        let connection = self.database.connect(
            // As [`delivery_exporter::ledger::Ledger`] has it of a configured store.
            LEASE - Duration::from_secs(1),
            replica.name.clone(),
            replica.gate.clone(),
        );
        let seed = mix(mix(self.seed, index as u64), replica.starts);
        let substitutes = Substitutes {
            store: Arc::new(connection.clone()),
            answers: answers(replica.vendors.clone(), seed),
        };
        let started = Exporter::start_on(&replica.config, replica.clock.clone(), substitutes);
        let exporter = runtime.block_on(started);
        let exporter = exporter.unwrap_or_else(|error| panic!("it does not start: {error}"));
        replica.running = Some((runtime, Arc::new(exporter), connection));
        self.work(index);
    }

    /// Ends a replica as a signal would.
    pub fn stop(&mut self, index: usize) {
        if let Some((runtime, exporter, _)) = self.replicas[index].running.take() {
            runtime.block_on(exporter.stop());
            drop((exporter, runtime));
        }
    }

    /// Ends a replica in the middle of whatever it does: no task goes on.
    pub fn kill(&mut self, index: usize) {
        let replica = &mut self.replicas[index];
        let Some((runtime, exporter, connection)) = replica.running.take() else {
            return;
        };
        drop(runtime);
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
    }

    /// A replica stands still, clock and all.
    pub fn pause(&mut self, index: usize) {
        self.replicas[index].stopped = Some(Duration::ZERO);
    }

    /// A replica goes on: it wakes at the time that it is now. What stood still at the store goes on
    /// first, or last.
    pub fn resume(&mut self, index: usize, store_first: bool) {
        let missing = self.replicas[index].stopped.take().unwrap_or_default();
        if store_first {
            self.replicas[index].gate.open();
            self.work(index);
        }
        self.replicas[index].hand.jump(missing);
        self.work(index);
        self.replicas[index].gate.open();
        self.work(index);
    }

    /// Lets a replica work until nothing happens any more unless the time goes on.
    fn work(&self, index: usize) {
        MOVES.fetch_add(1, Ordering::Relaxed);
        let replica = &self.replicas[index];
        let Some((runtime, ..)) = &replica.running else {
            return;
        };
        runtime.block_on(async {
            let mut calm = 0;
            while calm < 2 {
                // A timer is over when nothing else is left to do, but for what waits for a timer too: a vendor
                // that is late or does not answer.
                tokio::time::sleep(PAUSE).await;
                calm += 1;
                if replica.hand.waiting_outside() > 0 {
                    calm = 0;
                }
            }
        });
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
                    replica.hand.jump(by);
                    self.work(index);
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
        self.work(via);
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
        self.work(via);
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
        drop((world, replicas, runtime));
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
