//! Three replicas on one PostgreSQL: whatever happens to one of them, or to the database, another
//! goes on, and every report that was received is counted once.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use delivery_simulators::{Running, credentials, faults::Fault, infobip};
use serde_json::{Value, json};

use super::{
    crash::reports,
    harness::{Exporter, Metrics, PATIENCE, eventually, free_port},
    postgres::Postgres,
};

const ACCOUNTS: usize = 3;
const LEASE: Duration = Duration::from_secs(3);
/// So many reports wait for each account at a time, and are handed out in one answer.
const BATCH: usize = 40;

struct World {
    postgres: Postgres,
    vendors: Vec<(infobip::Infobip, Running)>,
    replicas: Vec<Replica>,
    directory: tempfile::TempDir,
    put: usize,
}

struct Replica {
    directory: PathBuf,
    port: u16,
    running: Option<Exporter>,
}

impl World {
    async fn start() -> World {
        let postgres = Postgres::start().await;
        let directory = tempfile::tempdir().unwrap();
        let mut vendors = Vec::new();
        for _ in 0..ACCOUNTS {
            vendors.push(super::crash::vendor().await);
        }
        let mut world = World {
            postgres,
            vendors,
            replicas: Vec::new(),
            directory,
            put: 0,
        };
        for index in 0..3 {
            let directory = world.directory.path().join(format!("replica-{index}"));
            std::fs::create_dir(&directory).unwrap();
            world.replicas.push(Replica {
                directory,
                port: free_port(),
                running: None,
            });
            world.run(index).await;
        }
        world
    }

    async fn run(&mut self, index: usize) {
        let providers: Vec<Value> = self
            .vendors
            .iter()
            .enumerate()
            .map(|(index, (_, server))| {
                json!({
                    "name": format!("mail-{index}"), "type": "infobip_email", "base_url": server.base_url(),
                    "interval": "1s", "timeout": "2s",
                    "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
                })
            })
            .collect();
        let config = json!({
            "store": {
                "url": self.postgres.url(), "lease": "3s", "spool": "spool",
                "replica": format!("replica-{index}"),
            },
            "collection": {"zero_hold": "1s"},
            "providers": providers,
        });
        let replica = &mut self.replicas[index];
        let started =
            Exporter::start_on(replica.port, &replica.directory, &config.to_string()).await;
        replica.running = Some(started);
    }

    fn running(&self) -> impl Iterator<Item = (usize, &Exporter)> {
        let replicas = self.replicas.iter().enumerate();
        replicas.filter_map(|(index, own)| Some((index, own.running.as_ref()?)))
    }

    /// More reports for every account.
    fn put(&mut self) {
        for (vendor, _) in &self.vendors {
            vendor.put_reports(reports(self.put, BATCH));
        }
        self.put += BATCH;
    }

    /// Lets reports flow for so long.
    async fn flow(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.put();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Who holds which account, of the replicas that answer; no account is held twice.
    async fn holders(&self, without: Option<usize>) -> Vec<usize> {
        let mut holders = Vec::new();
        for (index, exporter) in self.running() {
            if Some(index) == without {
                continue;
            }
            let metrics = exporter.metrics().await;
            let held = metrics.find("delivery_exporter_lease_held", &[]);
            for (labels, _) in held.filter(|(_, held)| *held == 1.0) {
                assert!(
                    !holders
                        .iter()
                        .any(|(account, _)| *account == labels["account"]),
                    "{} is held twice",
                    labels["account"]
                );
                holders.push((labels["account"].clone(), index));
            }
        }
        holders.into_iter().map(|(_, index)| index).collect()
    }

    /// Waits until every account is held again, and says how long it took.
    async fn settle(&self, without: Option<usize>) -> Duration {
        let start = Instant::now();
        while self.holders(without).await.len() < ACCOUNTS {
            assert!(start.elapsed() < PATIENCE, "accounts are not taken over");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        start.elapsed()
    }

    /// How many messages the ledger has counted for each account, whoever counted them.
    async fn counted(&self) -> Vec<usize> {
        let query = "SELECT account, total FROM delivery_exporter.counters WHERE key LIKE '%total%email%sent'
                     UNION ALL SELECT account, amount FROM delivery_exporter.inbox WHERE key LIKE '%total%email%sent'";
        let rows = self.postgres.ask(query).await.unwrap();
        (0..ACCOUNTS)
            .map(|index| {
                let name = format!("mail-{index}");
                let own = rows.iter().filter(|row| row[0] == name);
                own.map(|row| row[1][1..].parse::<usize>().unwrap()).sum()
            })
            .collect()
    }

    /// Waits until at least so many are counted for every account, and no more are on the way.
    async fn all_counted(&self, least: usize) -> Vec<usize> {
        let start = Instant::now();
        let mut before = Vec::new();
        loop {
            let counted = self.counted().await;
            if counted.iter().all(|own| *own >= least) && counted == before {
                return counted;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{counted:?} of {} are counted",
                self.put
            );
            before = counted;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_counted_twice_whatever_happens_to_replicas_and_database() {
    let mut world = World::start().await;
    world.settle(None).await;
    world.flow(Duration::from_secs(3)).await;
    // Each replica has its share.
    let mut holders = world.holders(None).await;
    holders.sort_unstable();
    assert_eq!(holders, [0, 1, 2]);

    // Paused past its lease, and woken up in the middle of whatever it did.
    let paused = 0;
    world.replicas[paused]
        .running
        .as_ref()
        .unwrap()
        .signal("STOP");
    let flowing = Instant::now();
    world.flow(Duration::from_secs(1)).await;
    let took = flowing.elapsed() + world.settle(Some(paused)).await;
    println!("takeover from a paused replica: {took:?}");
    assert!(took < LEASE + Duration::from_secs(1), "{took:?}");
    world.flow(Duration::from_secs(2)).await;
    world.replicas[paused]
        .running
        .as_ref()
        .unwrap()
        .signal("CONT");
    // It shows nothing of what others hold: `holders` would find it twice.
    for _ in 0..20 {
        world.holders(None).await;
        world.put();
    }

    // Connections are cut, and the database is gone for a while.
    for _ in 0..3 {
        world.postgres.cut().await;
        world.flow(Duration::from_millis(700)).await;
    }
    world.postgres.restart().await;
    world.flow(Duration::from_secs(1)).await;
    world.settle(None).await;

    // One ends in peace.
    let ended = world.replicas[1].running.take().unwrap();
    assert!(ended.terminate().success());
    let took = world.settle(None).await;
    println!("takeover from a replica that was stopped: {took:?}");
    assert!(took < LEASE + Duration::from_secs(1), "{took:?}");
    world.flow(Duration::from_secs(1)).await;
    world.run(1).await;
    world.flow(Duration::from_secs(2)).await;
    let exact = world.all_counted(world.put).await;
    assert_eq!(
        exact,
        vec![world.put; ACCOUNTS],
        "exactly, in spite of all that"
    );

    // Killed: the answer that was arriving may be missing, for each account that it held.
    let mut may_miss = 0;
    for index in [2, 0, 1] {
        world.flow(Duration::from_millis(1500)).await;
        world.replicas[index].running.take().unwrap().kill();
        may_miss += 1;
        let took = world.settle(None).await;
        println!("takeover from a replica that was killed: {took:?}");
        assert!(took < LEASE + Duration::from_secs(1), "{took:?}");
        world.flow(Duration::from_millis(500)).await;
        world.run(index).await;
    }
    world.flow(Duration::from_secs(1)).await;
    // What waited while nobody asked was handed out in one answer of up to a thousand.
    let least = world.put - may_miss * 1000;
    let counted = world.all_counted(least.max(1)).await;
    let handed: Vec<usize> = world
        .vendors
        .iter()
        .map(|(vendor, _)| vendor.handed_out().len())
        .collect();
    for (counted, handed) in counted.iter().zip(handed) {
        assert!(
            *counted <= handed && handed == world.put,
            "{counted} of {handed}"
        );
        assert!(
            counted + may_miss * 4 * BATCH >= handed,
            "{counted} of {handed}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_holds_no_account_is_ready_when_its_store_is_open() {
    let postgres = Postgres::start().await;
    // The vendor never answers: the account's first answer is still awaited.
    let (_vendor, server) = super::crash::vendor().await;
    server.faults().add("/", Fault::Hang, None);
    let directory = tempfile::tempdir().unwrap();
    let config = |replica: &str| {
        json!({
            "store": {"url": postgres.url(), "lease": "10s", "spool": "spool", "replica": replica},
            "providers": [{
                "name": "mail", "type": "infobip_email", "base_url": server.base_url(), "timeout": "50s",
                "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
            }],
        })
        .to_string()
    };
    let mut replicas = Vec::new();
    for name in ["first", "second"] {
        let own = directory.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let exporter = Exporter::start(&own, &config(name)).await;
        if name == "first" {
            let held =
                |metrics: &Metrics| metrics.get("delivery_exporter_lease_held", &[]) == Some(1.0);
            exporter.wait_for("the first holds the account", held).await;
        }
        replicas.push(exporter);
    }
    let began = Instant::now();
    let ready = async || (replicas[1].get("/-/ready").await.0 == 200).then_some(());
    eventually("the second is ready", ready).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        replicas[0].get("/-/ready").await.0,
        503,
        "it waits for its first answer"
    );
}
