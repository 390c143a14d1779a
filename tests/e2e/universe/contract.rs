//! The store of the universe and PostgreSQL are asked the same, and have to answer the same.

use std::{sync::Arc, time::Duration};

use delivery_clock::{Clock, ManualClock};
use delivery_exporter::ledger::{
    Amount,
    store::{
        CounterRow, MessageRow, ReadRows, ReadSet, RegisteredRow, ReleaseRow, Store, StoreError,
        WriteSet,
    },
};

use super::{super::postgres::Postgres, gate::Gate, sabotage::Sabotage, store::Database};

const LEASE: Duration = Duration::from_secs(2);
/// A time of a clock that is set, in milliseconds.
const SET: i64 = 1_700_000_000_000;

/// A store, and the time by which its leases end.
enum Bench {
    Memory(Database, ManualClock),
    Postgres(Postgres),
}

impl Bench {
    /// The store as a new process of a replica sees it.
    async fn connect(&self, replica: &str) -> Store {
        match self {
            Bench::Memory(database, _) => {
                let memory = database.connect(LEASE, replica.into(), Gate::new(1));
                Store::Substitute(Arc::new(memory))
            }
            Bench::Postgres(server) => Store::postgres(&server.url(), LEASE, replica.into())
                .await
                .unwrap(),
        }
    }

    async fn pass(&self, time: Duration) {
        match self {
            Bench::Memory(_, hand) => hand.advance(time),
            Bench::Postgres(_) => tokio::time::sleep(time).await,
        }
    }
}

fn account() -> Arc<str> {
    "mail".into()
}

fn ask(fence: Option<i64>) -> ReadSet {
    ReadSet {
        account: account(),
        replica: "a".into(),
        fence,
        ..ReadSet::default()
    }
}

/// One transaction: what it was told.
async fn change(store: &Store, ask: ReadSet, batch: WriteSet) -> Result<ReadRows, StoreError> {
    store.transact(ask, move |told| (batch, told)).await
}

fn counter(key: &str, total: u64, pending: u64) -> CounterRow {
    CounterRow {
        key: key.into(),
        total: Amount::Count(total),
        pending: Amount::Count(pending),
        changed_at: 7,
    }
}

fn release(key: &str, shown: u64, born_at: i64) -> ReleaseRow {
    ReleaseRow {
        key: key.into(),
        shown: Amount::Count(shown),
        born_at,
    }
}

fn id(text: &str) -> (Arc<str>, Arc<str>) {
    ("app".into(), text.into())
}

fn message(text: &str, state: u8, since: i64) -> MessageRow {
    MessageRow {
        id: id(text),
        state: vec![state],
        since,
    }
}

/// Rows are kept, replaced and forgotten.
async fn keeps_rows(bench: &Bench) {
    let store = bench.connect("a").await;
    store.maintain(0, 1).await.unwrap();
    let first = WriteSet {
        births: vec![("app".into(), "reports".into(), 5)],
        cursors: vec![("app".into(), "log".into(), 5)],
        names: vec![
            ("status".into(), "sent".into()),
            ("status".into(), "gone".into()),
        ],
        counters: vec![counter("c1", 10, 10), counter("c2", 3, 0)],
        releases: vec![release("c1", 0, 1), release("c2", 3, 1)],
        messages: vec![message("m1", 1, 100), message("m2", 2, 200)],
        memories: vec![([1; 16], vec![1]), ([2; 16], vec![2])],
        inbox: vec![("c1".into(), Amount::Count(4))],
        now: 10,
        ..WriteSet::default()
    };
    change(&store, ask(None), first).await.unwrap();
    let second = WriteSet {
        // A birth of a clock that was not set is replaced, any other stays; so does when a series was born.
        births: vec![("app".into(), "reports".into(), SET)],
        cursors: vec![("app".into(), "log".into(), 9)],
        counters: vec![counter("c1", 14, 0)],
        releases: vec![release("c1", 14, 2)],
        messages: vec![message("m1", 3, 100)],
        memories: vec![([2; 16], vec![22])],
        gone_counters: vec!["c2".into()],
        gone_names: vec![("status".into(), "gone".into())],
        now: 11,
        ..WriteSet::default()
    };
    let wanted = ReadSet {
        messages: vec![id("m1"), id("m3")],
        digests: vec![[1; 16], [3; 16]],
        inbox: true,
        ..ask(None)
    };
    let told = change(&store, wanted.clone(), second).await.unwrap();
    assert_eq!(
        told.messages.into_iter().collect::<Vec<_>>(),
        [(id("m1"), vec![1])]
    );
    assert_eq!(
        told.memories.into_iter().collect::<Vec<_>>(),
        [([1; 16], vec![1])]
    );
    let [(row, key, amount)] = &told.inbox[..] else {
        panic!("{:?}", told.inbox);
    };
    assert_eq!((key.as_str(), amount), ("c1", &Amount::Count(4)));
    let third = WriteSet {
        births: vec![("app".into(), "reports".into(), SET + 1)],
        absorbed: vec![*row],
        gone_messages: vec![id("m2")],
        now: 12,
        ..WriteSet::default()
    };
    change(&store, ask(None), third).await.unwrap();
    let nothing = WriteSet::default();
    let wanted = ReadSet {
        digests: vec![[2; 16]],
        ..wanted
    };
    let told = change(&store, wanted, nothing).await.unwrap();
    assert!(told.inbox.is_empty());
    assert_eq!(told.memories[&[2; 16]], [22]);

    let rows = store.account(&account(), &"a".into()).await.unwrap();
    assert_eq!(rows.counters, [counter("c1", 14, 0)]);
    assert_eq!(rows.releases, [release("c1", 14, 1)]);
    assert_eq!(rows.births, [("app".into(), "reports".to_owned(), SET)]);
    assert_eq!(rows.cursors, [("app".into(), "log".to_owned(), 9)]);
    assert_eq!(rows.names, [("status".into(), "sent".into())]);
    // Another replica has shown nothing of it.
    let rows = store.account(&account(), &"b".into()).await.unwrap();
    assert_eq!((rows.counters.len(), rows.releases.len()), (1, 0));
    let rows = store.account(&"other".into(), &"a".into()).await.unwrap();
    assert!(rows.counters.is_empty() && rows.births.is_empty());
    assert_eq!(
        store.states(&account()).await.unwrap(),
        [(id("m1"), vec![3])]
    );
    assert_eq!(store.old_messages(&account(), 100).await.unwrap(), []);
    assert_eq!(
        store.old_messages(&account(), 101).await.unwrap(),
        [id("m1")]
    );
}

/// A lease ends when it is not renewed; who takes the account over shuts the one before out.
async fn fences(bench: &Bench) {
    let (a, b) = (bench.connect("a").await, bench.connect("b").await);
    let accounts = vec![account()];
    let first = a.renew(accounts.clone(), Vec::new(), true).await.unwrap();
    assert_eq!((first.free, first.share), (accounts.clone(), 1));
    let epoch = a.acquire(&account()).await.unwrap().unwrap();
    let other = b.renew(accounts.clone(), Vec::new(), true).await.unwrap();
    assert_eq!((other.free.len(), other.held.len(), other.share), (0, 0, 1));
    let next = other.next_expiry.unwrap();
    assert!(next <= LEASE && next > LEASE / 2, "{next:?}");
    assert_eq!(b.acquire(&account()).await.unwrap(), None);
    let batch = |total| WriteSet {
        counters: vec![counter("fenced", total, 0)],
        ..WriteSet::default()
    };
    change(&a, ask(Some(epoch)), batch(1)).await.unwrap();

    bench.pass(LEASE / 2).await;
    let renewed = a
        .renew(accounts.clone(), vec![(account(), epoch)], true)
        .await
        .unwrap();
    assert_eq!(renewed.held, [(account(), epoch)]);
    assert_eq!(renewed.share, 1);
    bench.pass(LEASE * 2 / 3).await;
    assert_eq!(b.acquire(&account()).await.unwrap(), None, "it was renewed");
    bench.pass(LEASE).await;
    let later = b.acquire(&account()).await.unwrap().unwrap();
    assert!(later > epoch);
    let late = change(&a, ask(Some(epoch)), batch(2)).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    let renewed = a
        .renew(accounts.clone(), vec![(account(), epoch)], true)
        .await
        .unwrap();
    assert_eq!((renewed.held.len(), renewed.free.len()), (0, 0));
    // What is counted for the holder needs no lease.
    change(
        &a,
        ask(None),
        WriteSet {
            inbox: vec![("x".into(), Amount::Count(1))],
            ..WriteSet::default()
        },
    )
    .await
    .unwrap();
    change(&b, ask(Some(later)), batch(3)).await.unwrap();
    let rows = b.account(&account(), &"b".into()).await.unwrap();
    let fenced: Vec<_> = rows
        .counters
        .into_iter()
        .filter(|own| own.key == "fenced")
        .collect();
    assert_eq!(fenced, [counter("fenced", 3, 0)]);

    // Given back, it need not be waited for; only its holder can do that.
    a.give_back(vec![(account(), later)]).await.unwrap();
    assert_eq!(a.acquire(&account()).await.unwrap(), None);
    b.give_back(vec![(account(), later)]).await.unwrap();
    b.leave().await.unwrap();
    let free = a.renew(accounts.clone(), Vec::new(), true).await.unwrap();
    assert_eq!((free.free, free.share), (accounts, 1));
    assert!(a.acquire(&account()).await.unwrap().unwrap() > later);
}

/// A share is of those that live.
async fn shares(bench: &Bench) {
    let accounts: Vec<Arc<str>> = ["s1", "s2", "s3"].map(Arc::from).into();
    let (c, d) = (bench.connect("c").await, bench.connect("d").await);
    c.renew(accounts.clone(), Vec::new(), true).await.unwrap();
    let share = d
        .renew(accounts.clone(), Vec::new(), true)
        .await
        .unwrap()
        .share;
    let before = accounts.len().div_ceil(share);
    assert!(before >= 2, "{share}");
    // One that does not join is none of them.
    let e = bench.connect("e").await;
    assert_eq!(
        e.renew(accounts.clone(), Vec::new(), false)
            .await
            .unwrap()
            .share,
        share
    );
    bench.pass(LEASE * 2).await;
    assert_eq!(d.renew(accounts, Vec::new(), true).await.unwrap().share, 3);
}

/// Registrations have numbers that grow, and are completed once.
async fn registers(bench: &Bench) {
    let store = bench.connect("a").await;
    let row = |text: &str, campaign: Option<&str>| RegisteredRow {
        account: account(),
        id: id(text),
        campaign: campaign.map(Arc::from),
        sent_at: 50,
        sequence: 0,
    };
    store
        .register(vec![row("r1", None), row("r2", Some("x"))])
        .await
        .unwrap();
    let all = store.registered(&account(), 0).await.unwrap();
    assert_eq!(all.len(), 2);
    let last = all[1].sequence;
    // Known already, and without news.
    store
        .register(vec![row("r1", None), row("r2", Some("y"))])
        .await
        .unwrap();
    assert!(store.registered(&account(), last).await.unwrap().is_empty());
    store.register(vec![row("r1", Some("z"))]).await.unwrap();
    let new = store.registered(&account(), last).await.unwrap();
    assert_eq!(new.len(), 1);
    assert_eq!(
        (new[0].id.clone(), new[0].campaign.as_deref()),
        (id("r1"), Some("z"))
    );
    assert!(
        store
            .registered(&"other".into(), 0)
            .await
            .unwrap()
            .is_empty()
    );
    store.unregister(&account(), 50).await.unwrap();
    assert_eq!(store.registered(&account(), 0).await.unwrap().len(), 2);
    store.unregister(&account(), 51).await.unwrap();
    assert!(store.registered(&account(), 0).await.unwrap().is_empty());
}

async fn keeps_the_contract(bench: &Bench) {
    assert!(bench.connect("a").await.shared());
    keeps_rows(bench).await;
    fences(bench).await;
    shares(bench).await;
    registers(bench).await;
}

#[tokio::test]
async fn the_store_in_memory_does_what_a_shared_store_does() {
    let (clock, hand) = Clock::manual("2026-11-01T10:00:00Z".parse().unwrap());
    keeps_the_contract(&Bench::Memory(Database::new(clock, Sabotage::None), hand)).await;
}

#[tokio::test]
async fn postgresql_does_what_a_shared_store_does() {
    keeps_the_contract(&Bench::Postgres(Postgres::start().await)).await;
}
