//! Turns: what waits for what, and that nothing slow or refused keeps the rest waiting. The vendor
//! answers after a time of its own, on a clock that the test moves.

use std::time::Duration;

use delivery_clock::{Clock, ManualClock};
use futures_util::{FutureExt, future::BoxFuture};
use jiff::{SignedDuration, Timestamp};

use super::{
    tests::{NoNotes, Record, queried_by, snapshot},
    *,
};
use crate::{
    catalog, config,
    ledger::{AccountLedger, Amount, Ledger, Purpose},
    model::{Measure, Message, QueryMethod},
    providers::{
        Answer, Failure, FailureKind, ListQuery, Listing, MessagesQuery, Observation, Provider,
        Refusal, Scope, WholeQuery,
    },
};

/// By which of its names a message is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Telling {
    OtherName,
    Both,
    Name,
}

/// A vendor with a list that takes its time, and data sets that depend on it.
pub(super) struct Paced {
    clock: Clock,
    /// How long a list takes, and any other query.
    pub(super) list_takes: Duration,
    pub(super) query_takes: Duration,
    pub(super) list_has_numbers: bool,
    /// The ids that are listed.
    pub(super) listed: Vec<String>,
    /// How a message with two names is told by one list after the other.
    tellings: Vec<Telling>,
    /// Ids whose query fails.
    failing: Vec<String>,
    /// Ids of which no request can be made.
    pub(super) unbuildable: Vec<String>,
    /// Ids that are refused, with all that is asked for with them.
    refused: Vec<String>,
    /// While the message 123 is asked for by this name, another answer says that it is called A-1.
    named_meanwhile: bool,
    /// Each message is asked for by itself, and the answer for A-1 says that it is 123 too.
    named_apart: bool,
    /// Every query, with the time at which it began.
    queries: Mutex<Vec<(Timestamp, String)>>,
    /// The `since` of each list, less its `oldest`.
    lists: Mutex<Vec<SignedDuration>>,
    /// How often a log goes on before it is read to its end.
    slices: Mutex<u32>,
}

impl Paced {
    fn new(clock: &Clock) -> Paced {
        Paced {
            clock: clock.clone(),
            list_takes: Duration::ZERO,
            query_takes: Duration::ZERO,
            list_has_numbers: false,
            listed: Vec::new(),
            tellings: Vec::new(),
            failing: Vec::new(),
            unbuildable: Vec::new(),
            refused: Vec::new(),
            named_meanwhile: false,
            named_apart: false,
            queries: Mutex::default(),
            lists: Mutex::default(),
            slices: Mutex::new(0),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut queries = self.queries.lock().unwrap();
        std::mem::take(&mut *queries)
            .into_iter()
            .map(|(_, name)| name)
            .collect()
    }

    pub(super) fn count(&self, name: &str) -> usize {
        let queries = self.queries.lock().unwrap();
        queries.iter().filter(|(_, own)| own == name).count()
    }
}

impl Provider for Paced {
    fn list_has_numbers(&self) -> bool {
        self.list_has_numbers
    }

    fn may_be_another_name(&self, id: &str) -> bool {
        id == "123"
    }

    fn list<'a>(&'a self, query: ListQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let began = self.begin("list".into());
            let past = query.since.duration_since(query.oldest);
            self.lists.lock().unwrap().push(past);
            self.clock.sleep(self.list_takes).await;
            let mut listing = Listing::new(query.max_messages, query.with_numbers);
            let application = &query.application.id;
            let number = self.lists.lock().unwrap().len() - 1;
            let telling = self
                .tellings
                .get(number.min(self.tellings.len().max(1) - 1));
            if let Some(telling) = telling {
                let (alias, name): (Arc<str>, Arc<str>) = (Arc::from("123"), Arc::from("A-1"));
                if *telling == Telling::Both {
                    let (alias, id) = (alias.clone(), name.clone());
                    listing.push(Observation::Named { alias, id });
                }
                let id = match telling {
                    Telling::OtherName => alias,
                    Telling::Both | Telling::Name => name,
                };
                listing.push(Observation::ListedMessage(Message {
                    application: application.clone(),
                    id: id.clone(),
                    campaign: None,
                    sent_at: Some(Timestamp::from_second(START).unwrap()),
                }));
                listing.push(snapshot(&id, &id, 1));
            }
            for id in &self.listed {
                listing.push(Observation::ListedMessage(Message {
                    application: application.clone(),
                    id: Arc::from(id.as_str()),
                    campaign: None,
                    sent_at: Some(began),
                }));
                if self.list_has_numbers {
                    listing.push(snapshot(id, id, 1));
                }
            }
            listing.into_answer(Ok(()))
        }
        .boxed()
    }

    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let ids: Vec<_> = query.messages.iter().map(|own| own.id.as_ref()).collect();
            self.begin(ids.join(","));
            self.clock.sleep(self.query_takes).await;
            if self.failing.iter().any(|own| ids.contains(&own.as_str())) {
                return Answer::failed(Failure::new(FailureKind::Vendor, "broken"));
            }
            let is_in = |own: &String| ids.contains(&own.as_str());
            if self.unbuildable.iter().any(is_in) {
                return Answer::failed(Failure::new(FailureKind::Request, "no URL"));
            }
            let mut observations = Vec::new();
            for id in ids {
                if id == "A-1" && self.named_apart {
                    observations.push(Observation::Named {
                        alias: Arc::from("123"),
                        id: Arc::from(id),
                    });
                }
                if id == "123" && self.named_meanwhile {
                    observations.push(Observation::Named {
                        alias: Arc::from(id),
                        id: Arc::from("A-1"),
                    });
                }
                observations.push(if self.refused.iter().any(|own| own == id) {
                    Observation::MessageRejected {
                        asked: Arc::from(id),
                        reason: Arc::from("not_found"),
                        then: Refusal::UnlessNew,
                    }
                } else {
                    snapshot(id, id, 1)
                });
            }
            Answer::new(observations, Ok(()))
        }
        .boxed()
    }

    fn whole<'a>(&'a self, query: WholeQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            self.begin(query.dataset.to_string());
            match query.dataset.as_str() {
                "links" if query.messages.is_empty() => {
                    Answer::new(vec![Observation::NothingToQuery], Ok(()))
                }
                "log" => {
                    let mut slices = self.slices.lock().unwrap();
                    let goes_on = *slices > 0;
                    *slices = slices.saturating_sub(1);
                    let more = goes_on.then_some(Observation::More);
                    Answer::new(more.into_iter().collect(), Ok(()))
                }
                "bounces" => {
                    let failure = Failure::new(FailureKind::Forbidden, "not in this plan");
                    Answer::failed(failure.of(Scope::Application))
                }
                _ => Answer::new(Vec::new(), Ok(())),
            }
        }
        .boxed()
    }
}

impl Paced {
    /// Notes a query that begins now.
    fn begin(&self, name: String) -> Timestamp {
        let began = self.clock.now();
        self.queries.lock().unwrap().push((began, name));
        began
    }
}

/// A collector with that vendor.
pub(super) struct Bench {
    pub(super) vendor: Arc<Paced>,
    pub(super) record: Arc<Record>,
    pub(super) hand: ManualClock,
    parts: Option<CollectorDeps>,
    ledger: Arc<AccountLedger>,
    _directory: tempfile::TempDir,
    _ledger: Ledger,
}

/// So many messages the benches watch.
pub(super) const MAX_MESSAGES: usize = 60;
pub(super) const START: i64 = 1_700_000_000;

impl Bench {
    pub(super) async fn new(collect: &str, more: &str, change: impl FnOnce(&mut Paced)) -> Bench {
        Bench::at(START, collect, more, change).await
    }

    /// On a clock that starts at so many seconds of Unix time.
    pub(super) async fn at(
        start: i64,
        collect: &str,
        more: &str,
        change: impl FnOnce(&mut Paced),
    ) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let text = format!(
            "collection: {{stale_after: 30m}}\nlimits: {{max_messages_per_account: {MAX_MESSAGES}}}\nproviders: [{{name: a, type: pushwoosh, credentials: {{api_token: t}}, max_concurrency: 2,
              applications: [{{id: app}}], collect: [{collect}], {more}}}]"
        );
        let config = config::parse(&path, &text, &|_| None).unwrap();
        let (clock, hand) = Clock::manual(Timestamp::from_second(start).unwrap());
        let mut vendor = Paced::new(&clock);
        change(&mut vendor);
        let vendor = Arc::new(vendor);
        let ledger = Ledger::open(&config, clock.clone(), Arc::new(NoNotes), Purpose::Serve)
            .await
            .unwrap();
        let mut account = config.accounts[0].clone();
        let batch = if vendor.named_apart { 1 } else { 2 };
        for dataset in account.collect.iter_mut().filter(|own| own.has_snapshots()) {
            *dataset = queried_by(*dataset, QueryMethod::Messages { batch });
        }
        let account = Arc::new(account);
        let own = ledger.account((&config, account.as_ref())).unwrap();
        let record = Arc::new(Record::default());
        let lease = ledger.lease(&account.name);
        let account_ledger = own.clone();
        let parts = CollectorDeps {
            account,
            provider: vendor.clone(),
            recorder: record.clone(),
            ledger: own,
            relabelled: true,
            lease,
            clock,
            progress: Arc::new(()),
        };
        Bench {
            vendor,
            record,
            hand,
            parts: Some(parts),
            ledger: account_ledger,
            _directory: directory,
            _ledger: ledger,
        }
    }

    /// What another process would begin with.
    fn parts_again(&self) -> CollectorDeps {
        let parts = self.parts.as_ref().unwrap();
        CollectorDeps {
            account: parts.account.clone(),
            provider: parts.provider.clone(),
            recorder: parts.recorder.clone(),
            ledger: parts.ledger.clone(),
            relabelled: true,
            lease: parts.lease.clone(),
            clock: parts.clock.clone(),
            progress: Arc::new(()),
        }
    }

    /// What the ledger has counted as sent, of all applications.
    async fn counted(&self) -> u64 {
        let totals = self.ledger.totals().await.unwrap();
        let sent = catalog::TOTAL.of(Measure::Sent);
        let sent = totals.iter().filter(|(key, ..)| key.family == sent);
        sent.map(|(_, total, _)| match total {
            Amount::Count(count) => *count,
            _ => 0,
        })
        .sum()
    }

    pub(super) fn start(&mut self) -> CollectorHandle {
        spawn(self.parts.take().unwrap())
    }

    /// How many messages are watched.
    pub(super) fn tracked(&self) -> usize {
        self.record
            .tracked
            .load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Lets so many seconds go by, one by one.
    pub(super) async fn seconds(&self, seconds: u64) {
        for _ in 0..seconds {
            settle().await;
            self.hand.advance(Duration::from_secs(1));
        }
        settle().await;
    }
}

/// Lets everyone work, the ledger's thread too, which a busy machine may keep waiting.
pub(super) async fn settle() {
    for _ in 0..12 {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn one_pass_ends_and_queries_each_thing_once_however_slow_the_vendor_is() {
    let ids: Vec<String> = (0..10).map(|id| format!("'{id}'")).collect();
    let more = format!("interval: 3s, messages: {{static: [{}]}}", ids.join(", "));
    let mut bench = Bench::new("messages, links, log, bounces", &more, |vendor| {
        vendor.query_takes = Duration::from_secs(4);
        vendor.list_takes = Duration::from_secs(5);
        vendor.listed = vec!["7".into(), "new".into()];
        vendor.slices = Mutex::new(2);
    })
    .await;
    let once = tokio::spawn(run_once(bench.parts.take().unwrap()));
    for _ in 0..200 {
        if once.is_finished() {
            break;
        }
        bench.seconds(1).await;
    }
    assert!(once.is_finished(), "{:?}", bench.vendor.names());
    once.await.unwrap().unwrap_err();
    let mut names = bench.vendor.names();
    let links = names.iter().position(|own| own == "links");
    let list = names.iter().position(|own| own == "list");
    assert!(links > list, "{names:?}");
    names.sort();
    let expected = [
        "0,1", "2,3", "4,5", "6,7", "8,9", "bounces", "links", "list", "log", "log", "log", "new",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_list_that_takes_longer_than_the_interval_starves_nothing() {
    for list_has_numbers in [false, true] {
        let mut bench = Bench::new(
            "messages",
            "interval: 3s, messages: {static: ['1', '2', '3']}",
            |vendor| {
                vendor.list_takes = Duration::from_secs(20);
                vendor.list_has_numbers = list_has_numbers;
            },
        )
        .await;
        let handle = bench.start();
        bench.seconds(70).await;
        let (lists, queries) = (bench.vendor.count("list"), bench.vendor.count("1,2"));
        // A list every 23 seconds, and the messages every 3, or with a pause while a list may
        // bring their numbers.
        assert!(
            (3..=4).contains(&lists),
            "{lists}, numbers: {list_has_numbers}"
        );
        let at_least = if list_has_numbers { 12 } else { 20 };
        assert!(
            queries >= at_least,
            "{queries}, numbers: {list_has_numbers}"
        );
        handle.stop().await;
    }
}

#[tokio::test]
async fn after_a_whole_list_only_what_is_new_is_listed() {
    let mut bench = Bench::new("messages", "messages: {}", |_| {}).await;
    let handle = bench.start();
    bench.seconds(130).await;
    bench.hand.advance(Duration::from_secs(6 * 3600));
    bench.seconds(70).await;
    let lists = bench.vendor.lists.lock().unwrap().clone();
    assert_eq!(lists[0], SignedDuration::ZERO);
    let reach = SignedDuration::from_hours(30 * 24) - lists[1];
    let overlap = SignedDuration::from_mins(59)..SignedDuration::from_mins(63);
    assert!(overlap.contains(&reach), "{reach:#}");
    assert!(lists[2..].contains(&SignedDuration::ZERO), "{lists:?}");
    handle.stop().await;
}

#[tokio::test]
async fn what_depends_on_messages_waits_for_them_and_nothing_to_query_is_no_success() {
    let more = "dataset_intervals: {links: 1h}, messages: {}";
    let mut bench = Bench::new("messages, links", more, |vendor| {
        vendor.list_takes = Duration::from_secs(3);
        vendor.listed = vec!["new".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(15).await;
    let mut names = bench.vendor.names();
    assert_eq!(names.remove(0), "list");
    names.sort();
    assert_eq!(names, ["links", "new"]);
    handle.stop().await;
    // Without a message it is tried every interval, and no request counts as a success.
    let mut bench = Bench::new("links", more, |_| {}).await;
    let handle = bench.start();
    bench.seconds(130).await;
    assert!(bench.vendor.count("links") >= 2);
    let lines = bench.record.take();
    let passes = lines.iter().filter(|line| line.starts_with("pass"));
    assert_eq!(passes.count(), bench.vendor.count("list"), "{lines:?}");
    handle.stop().await;
}

#[tokio::test]
async fn a_refused_message_is_tried_once_a_day_and_fails_no_data_set() {
    let more = "interval: 10m, messages: {list: false, static: ['1', '2', '3']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.refused = vec!["2".into()];
    })
    .await;
    let handle = bench.start();
    for _ in 0..3 * 144 {
        bench.hand.advance(Duration::from_secs(600));
        settle().await;
    }
    let lines = bench.record.take();
    assert_eq!(
        lines
            .iter()
            .filter(|line| *line == "rejected: not_found")
            .count(),
        1
    );
    assert!(
        !lines.iter().any(|line| line.contains("failed")),
        "{lines:?}"
    );
    assert!(lines.iter().all(|line| !line.ends_with("[false]")));
    // With the others at first, alone when it was ten minutes old, and once on each day after.
    let alone = bench.vendor.count("2");
    assert!((2..=4).contains(&alone), "{alone}");
    let now = Timestamp::from_second(START + 3 * 86_400).unwrap();
    assert!(bench.record.due.lock().unwrap().unwrap() > now - SignedDuration::from_mins(20));
    handle.stop().await;
}

#[tokio::test]
async fn what_is_not_in_the_plan_is_queried_at_its_own_interval() {
    let more = "dataset_intervals: {bounces: 10m}, messages: {list: false, static: ['1']}";
    let mut bench = Bench::new("messages, bounces", more, |_| {}).await;
    let handle = bench.start();
    bench.seconds(21 * 60).await;
    assert_eq!(bench.vendor.count("bounces"), 3);
    assert!(bench.vendor.count("1") >= 20);
    handle.stop().await;
}

#[tokio::test]
async fn a_message_with_two_names_counts_once_however_it_is_told() {
    use Telling::{Both, Name, OtherName};
    for tellings in [
        vec![OtherName, Both, Name, OtherName],
        vec![Both, OtherName],
        vec![Name, Both, OtherName],
        vec![OtherName, OtherName, Both],
    ] {
        let what = format!("{tellings:?}");
        let mut bench = Bench::new("messages", "messages: {}", |vendor| {
            vendor.list_has_numbers = true;
            vendor.tellings = tellings;
        })
        .await;
        let again = bench.parts_again();
        let handle = bench.start();
        bench.seconds(4 * 60 + 10).await;
        handle.stop().await;
        assert_eq!(bench.counted().await, 1, "{what}");
        // After a restart the last telling comes first.
        let handle = spawn(again);
        bench.seconds(70).await;
        handle.stop().await;
        assert_eq!(bench.counted().await, 1, "{what}, after a restart");
    }
}

#[tokio::test]
async fn a_message_that_is_told_under_two_names_at_once_counts_once() {
    let more = "interval: 10m, messages: {list: false, static: ['123', 'A-1']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.named_apart = true;
        vendor.query_takes = Duration::from_secs(2);
    })
    .await;
    let handle = bench.start();
    bench.seconds(30).await;
    handle.stop().await;
    let mut names = bench.vendor.names();
    names.sort();
    assert_eq!(names, ["123", "A-1"]);
    assert_eq!(bench.counted().await, 1);
}

#[tokio::test]
async fn a_refusal_of_an_old_name_says_nothing_of_the_new_one() {
    let more = "interval: 10m, messages: {static: ['123']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.refused = vec!["123".into()];
        vendor.named_meanwhile = true;
    })
    .await;
    let handle = bench.start();
    bench.seconds(30).await;
    handle.stop().await;
    let names = bench.vendor.names();
    assert_eq!(
        names.iter().filter(|name| *name == "123").count(),
        1,
        "{names:?}"
    );
    assert_eq!(
        names.iter().filter(|name| *name == "A-1").count(),
        1,
        "{names:?}"
    );
}

#[tokio::test]
async fn what_fails_stays_failed_until_it_is_answered_whatever_else_is_answered() {
    let more = "interval: 7s, messages: {static: ['1']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.list_takes = Duration::from_secs(2);
        vendor.query_takes = Duration::from_secs(3);
        vendor.failing = vec!["1".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(15).await;
    bench.record.take();
    bench.seconds(60).await;
    let lines = bench.record.take();
    let passes: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("pass"))
        .collect();
    assert!(passes.len() > 5, "{lines:?}");
    assert!(
        passes.iter().all(|line| line.ends_with("[false]")),
        "{passes:?}"
    );
    assert!(
        passes.iter().any(|line| line.contains("up true")),
        "the list is good: {passes:?}"
    );
    handle.stop().await;
}

#[tokio::test]
async fn a_message_that_is_listed_and_refused_by_name_is_rejected_once_and_spoils_no_pass() {
    let more = "interval: 2s, messages: {static: ['1', '2']}";
    let mut bench = Bench::new("messages", more, |vendor| {
        vendor.listed = vec!["2".into()];
        vendor.list_has_numbers = true;
        vendor.refused = vec!["2".into()];
    })
    .await;
    let handle = bench.start();
    bench.seconds(12).await;
    bench.record.take();
    bench.seconds(400).await;
    let lines = bench.record.take();
    let rejected = lines.iter().filter(|line| line.starts_with("rejected"));
    assert!(rejected.count() <= 1, "{lines:?}");
    let passes = lines.iter().filter(|line| line.starts_with("pass"));
    assert!(passes.clone().all(|line| line.contains("up true")));
    assert!(passes.clone().all(|line| line.ends_with("[true]")));
    handle.stop().await;
}
