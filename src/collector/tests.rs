use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use delivery_clock::{Clock, ManualClock, Moment};
use futures_util::{FutureExt, future::BoxFuture};
use jiff::Timestamp;

use super::*;
use crate::{
    config::{self, Config},
    ledger::{
        AccountLedger, LabelLimiter, Ledger, LedgerDelta, Missed, Purpose, Registration,
        StoreObserver,
    },
    model::{
        Age, Application, Dataset, DatasetSpec, Measure, Message, QueryMethod, Snapshot, Source,
        Totals,
    },
    providers::{
        Answer, Failure, FailureKind, ListQuery, MessagesQuery, Observation, Observer, Provider,
        Refusal, RequestCode, Scope,
    },
};

/// What was recorded, in words.
#[derive(Default)]
pub(super) struct Record {
    lines: Mutex<Vec<String>>,
    pub(super) due: Mutex<Option<Timestamp>>,
    pub(super) missed: Mutex<Vec<(Option<Age>, Missed)>>,
    pub(super) forgotten: AtomicUsize,
    pub(super) tracked: AtomicUsize,
    /// Something was recorded that was not published since.
    hidden: AtomicBool,
}

impl Record {
    fn note(&self, line: String) {
        self.hidden.store(true, Ordering::SeqCst);
        self.lines.lock().unwrap().push(line);
    }

    /// What was recorded since this was last asked, without what begins with `without`.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Observer for Record {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, _: &str) {}
}

impl Recorder for Record {
    fn snapshot(
        &self,
        _: Dataset,
        _: &Application,
        message: &Message,
        _: Timestamp,
        snapshot: &Snapshot,
        stale_at: Moment,
    ) {
        let campaign = message.campaign.as_deref().unwrap_or("-");
        let count = snapshot.totals[0].counts[0].1;
        self.note(format!(
            "{} {campaign} {count} until {}",
            message.id,
            seconds(stale_at)
        ));
    }
    fn renewed(&self, _: Dataset, _: &Application, id: &str, stale_at: Moment) {
        self.note(format!("{id} until {}", seconds(stale_at)));
    }
    fn forgotten(&self, _: &Application, id: &str) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.note(format!("{id} forgotten"));
    }
    fn names(&self, _: &Arc<LabelLimiter>) {}
    fn delta(&self, delta: &LedgerDelta) {
        self.missed.lock().unwrap().extend(&delta.missed);
    }
    fn cleared(&self) {}
    fn lost(&self) {}
    fn figures(
        &self,
        _: Dataset,
        _: &Application,
        _: &str,
        figures: Vec<crate::model::AppMetric>,
        _: Moment,
    ) {
        self.note(format!("{} figures", figures.len()));
    }
    fn failed(&self, _: Dataset, application: &Application, failure: &Failure) {
        self.note(format!(
            "{} failed: {}",
            application.name,
            failure.kind.as_str()
        ));
    }
    fn rejected(&self, reason: &str) {
        self.note(format!("rejected: {reason}"));
    }
    fn tracked(&self, messages: usize) {
        self.tracked.store(messages, Ordering::SeqCst);
    }
    fn due(&self, _: Dataset, _: &Application, at: Option<Timestamp>) {
        *self.due.lock().unwrap() = at;
    }
    fn discovered(&self, source: Source, new: usize, good: bool, _: Timestamp) {
        let new = good.then_some(new);
        self.note(format!("{} names {new:?}", source.as_str()));
    }
    fn pass(&self, outcome: &PassOutcome) {
        let success: Vec<_> = outcome.datasets.iter().map(|part| part.success).collect();
        self.note(format!("pass: up {}, {success:?}", outcome.up));
    }
    fn publish(&self) {
        self.hidden.store(false, Ordering::SeqCst);
    }
}

/// When the bench's clock starts, in seconds of Unix time.
const START: i64 = 1_800_000_000;

/// What the bench's clock says at a moment, counted from 1000 at its start.
fn seconds(at: Moment) -> u64 {
    1000 + at.since_start().as_secs()
}

/// A message whose query takes forty seconds.
const STUCK: &str = "stuck";

/// A vendor that answers by script.
struct Scripted {
    asked: Mutex<Vec<String>>,
    answers: Mutex<VecDeque<Result<Vec<Observation>, Failure>>>,
    together: AtomicUsize,
    most: AtomicUsize,
    slow: bool,
    clock: Clock,
}

impl Provider for Scripted {
    fn list_has_numbers(&self) -> bool {
        true
    }

    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        let ids: Vec<_> = query.messages.iter().map(|own| own.id.as_ref()).collect();
        let what = ids.join(",");
        async move { self.answer(what, query.messages).await }.boxed()
    }

    fn list<'a>(&'a self, query: ListQuery<'a>) -> BoxFuture<'a, Answer> {
        let what = format!("list {}", query.application.name);
        async move { self.answer(what, &[]).await }.boxed()
    }
}

impl Scripted {
    async fn answer(&self, what: String, messages: &[Message]) -> Answer {
        let is_stuck = what == STUCK;
        self.asked.lock().unwrap().push(what);
        if is_stuck {
            self.clock.sleep(Duration::from_secs(40)).await;
        }
        let now = self.together.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        if self.slow {
            self.clock.sleep(Duration::from_secs(1)).await;
        }
        self.together.fetch_sub(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(Ok(observations)) => Answer::new(observations, Ok(())),
            Some(Err(failure)) => Answer::failed(failure),
            // Without a script every message has a number.
            None => {
                let numbers = messages.iter().map(|own| snapshot(&own.id, &own.id, 1));
                Answer::new(numbers.collect(), Ok(()))
            }
        }
    }
}

/// A data set that is queried in another way than its vendor's.
pub(super) fn queried_by(dataset: Dataset, method: QueryMethod) -> Dataset {
    let spec = DatasetSpec { method, ..*dataset };
    Dataset::new(Box::leak(Box::new(spec)))
}

pub(super) fn snapshot(asked: &str, id: &str, sent: u64) -> Observation {
    Observation::MessageSnapshot(Box::new(Snapshot {
        asked: Arc::from(asked),
        id: Arc::from(id),
        campaign: None,
        sent_at: None,
        asked_at: Timestamp::UNIX_EPOCH,
        totals: vec![Totals {
            channel: "push",
            counts: vec![(Measure::Sent, sent)],
            reported_ratio: None,
        }],
        breakdown: Vec::new(),
        types: Vec::new(),
    }))
}

fn refused(asked: &str, then: Refusal) -> Observation {
    Observation::MessageRejected {
        asked: Arc::from(asked),
        reason: Arc::from("27201"),
        then,
    }
}

pub(super) struct NoNotes;

impl StoreObserver for NoNotes {
    fn up(&self, _: crate::ledger::Volume, _: bool) {}
    fn error(&self) {}
    fn size(&self, _: &Arc<str>, _: u64, _: u64) {}
    fn store_size(&self, _: u64) {}
}

/// A collector on a clock that stands still.
struct Bench {
    handle: CollectorHandle,
    hand: ManualClock,
    record: Arc<Record>,
    vendor: Arc<Scripted>,
    account: Arc<AccountLedger>,
    ledger: Ledger,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new(
        messages: &str,
        batch: usize,
        answers: Vec<Result<Vec<Observation>, Failure>>,
        slow: bool,
    ) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let list = if messages.contains("list:") {
            ""
        } else {
            "list: false, "
        };
        let messages = messages.replacen('{', &format!("{{{list}"), 1);
        let text = format!(
            "providers: [{{name: a, type: pushwoosh, credentials: {{api_token: t}}, max_concurrency: 2,
              applications: [{{id: app}}], collect: [messages], messages: {messages}}}]"
        );
        let config: Config = config::parse(&path, &text, &|_| None).unwrap();
        let (clock, hand) = Clock::manual(Timestamp::from_second(START).unwrap());
        let vendor = Arc::new(Scripted {
            asked: Mutex::default(),
            answers: Mutex::new(answers.into()),
            together: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            slow,
            clock: clock.clone(),
        });
        let ledger = Ledger::open(&config, clock.clone(), Arc::new(NoNotes), Purpose::Serve)
            .await
            .unwrap();
        let mut account = config.accounts[0].clone();
        for dataset in &mut account.collect {
            *dataset = queried_by(*dataset, QueryMethod::Messages { batch });
        }
        let account = Arc::new(account);
        let own = ledger.account((&config, account.as_ref())).unwrap();
        let record = Arc::new(Record::default());
        let lease = ledger.lease(&account.name);
        let handle = spawn(CollectorDeps {
            account,
            provider: vendor.clone(),
            recorder: record.clone(),
            ledger: own.clone(),
            relabelled: true,
            lease,
            clock,
            progress: Arc::new(()),
        });
        Bench {
            handle,
            hand,
            record,
            vendor,
            account: own,
            ledger,
            _directory: directory,
        }
    }

    /// Moves the time on in steps of a second, and lets everyone work after each.
    async fn pass(&self, seconds: u64) -> Vec<String> {
        for _ in 0..seconds {
            self.settle().await;
            self.hand.advance(Duration::from_secs(1));
        }
        self.settle().await;
        self.record.take()
    }

    /// Lets everyone work, the ledger's thread too.
    async fn settle(&self) {
        super::bench::settle().await;
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.vendor.asked.lock().unwrap())
    }

    fn due(&self) -> i64 {
        1000 + self.record.due.lock().unwrap().unwrap().as_second() - START
    }
}

#[tokio::test]
async fn messages_are_asked_for_every_interval_in_full_batches_after_at_most_five_seconds() {
    let bench = Bench::new("{static: ['1', '2', '3']}", 2, Vec::new(), false).await;
    bench.pass(5).await;
    let mut asked = bench.asked();
    asked.sort();
    assert_eq!(asked, ["1,2", "3"]);
    assert!(
        bench.due() >= 1060 && bench.due() <= 1065,
        "{}",
        bench.due()
    );
    bench.pass(54).await;
    assert!(bench.asked().is_empty());
    bench.pass(7).await;
    assert_eq!(bench.asked().len(), 2);
}

#[tokio::test]
async fn a_failure_stays_due_and_is_tried_at_the_next_interval() {
    let failure = Failure::new(FailureKind::Vendor, "broken");
    let not_yet = Observation::NotYetAvailable {
        asked: Arc::from("1"),
        asked_at: Timestamp::UNIX_EPOCH,
    };
    let answers = vec![
        Err(failure),
        Ok(vec![not_yet]),
        Ok(vec![snapshot("1", "1", 7)]),
    ];
    let bench = Bench::new("{static: ['1']}", 1, answers, false).await;
    let lines = bench.pass(6).await;
    assert_eq!(
        lines,
        [
            "static names Some(1)",
            "app failed: vendor",
            "pass: up false, [false]"
        ]
    );
    assert!(bench.due() < 1006, "it stays due: {}", bench.due());
    let status = bench.handle.status();
    assert!(status.last_error.unwrap().contains("broken"));
    assert_eq!((status.troubles.len(), status.good_at), (1, None));
    let trouble = &status.troubles[0];
    assert_eq!(
        (trouble.kind, trouble.text.as_str()),
        (FailureKind::Vendor, "broken")
    );
    let lines = bench.pass(60).await;
    // An answer without the message is an answer: what was known holds on.
    let until = bench.due() + 900;
    assert_eq!(
        lines,
        [format!("1 until {until}"), "pass: up true, [true]".into()]
    );
    let status = bench.handle.status();
    assert_eq!(status.last_error, None);
    assert!(status.troubles.is_empty() && status.good_at.is_some());
    let lines = bench.pass(60).await;
    assert_eq!(lines[0], format!("1 - 7 until {}", bench.due() + 900));
}

#[tokio::test]
async fn what_came_is_shown_while_another_query_waits() {
    // The list is answered at once, and then the message is asked for that it did not bring.
    let listed = Observation::ListedMessage(Message {
        application: Arc::from("app"),
        id: Arc::from("A"),
        campaign: None,
        sent_at: None,
    });
    let answers = vec![Ok(vec![listed, snapshot("A", "A", 1)])];
    let messages = "{list: true, static: ['stuck']}";
    let bench = Bench::new(messages, 1, answers, false).await;
    let lines = bench.pass(10).await;
    assert_eq!(bench.asked(), ["list app", STUCK]);
    assert!(
        lines.iter().any(|line| line.starts_with("A - 1")),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("pass")),
        "{lines:?}"
    );
    assert!(!bench.record.hidden.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_failure_of_the_account_spares_the_rest_of_the_pass() {
    let failure = Failure::new(FailureKind::Unauthorized, "no").of(Scope::Account);
    let bench = Bench::new(
        "{static: ['1', '2', '3', '4', '5']}",
        1,
        vec![Err(failure)],
        true,
    )
    .await;
    bench.pass(9).await;
    // Two were in flight together; nobody else was asked for.
    assert_eq!(bench.asked().len(), 2);
    assert_eq!(
        bench.vendor.most.load(Ordering::SeqCst),
        2,
        "max_concurrency"
    );
    bench.pass(70).await;
    assert!(bench.asked().len() >= 5);
}

#[tokio::test]
async fn a_refused_message_is_asked_for_alone_while_it_is_young_and_then_set_aside() {
    let young = Refusal::UnlessNew;
    let mut answers = vec![Ok(vec![snapshot("1", "1", 1), refused("2", young)])];
    for _ in 0..5 {
        answers.push(Ok(vec![snapshot("1", "1", 1)]));
        answers.push(Ok(vec![refused("2", young)]));
    }
    let bench = Bench::new("{static: ['1', '2']}", 100, answers, false).await;
    let lines = bench.pass(66).await;
    assert_eq!(bench.asked(), ["1,2", "1", "2"]);
    assert!(!lines.contains(&"rejected: 27201".into()), "{lines:?}");
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines = bench.pass(60).await;
    }
    assert!(lines.contains(&"rejected: 27201".into()), "{lines:?}");
    assert!(
        lines.contains(&"pass: up true, [true]".into()),
        "no failure: {lines:?}"
    );
    bench.asked();
    bench.pass(60).await;
    assert_eq!(bench.asked(), ["1"]);
}

#[tokio::test]
async fn what_the_list_answers_is_not_asked_for_again_and_two_names_are_one_message() {
    let listed = |id: &str| {
        Observation::ListedMessage(Message {
            application: Arc::from("app"),
            id: Arc::from(id),
            campaign: None,
            sent_at: None,
        })
    };
    let list = || {
        vec![
            listed("A"),
            snapshot("A", "A", 1),
            listed("B"),
            snapshot("B", "B", 1),
        ]
    };
    let answers = vec![Ok(list()), Ok(vec![snapshot("77", "A", 2)]), Ok(list())];
    let messages = "{list: true, static: [{id: '77', campaign: spring}]}";
    let bench = Bench::new(messages, 100, answers, false).await;
    let lines = bench.pass(6).await;
    assert_eq!(bench.asked(), ["list app", "77"]);
    assert!(
        lines.iter().any(|line| line.starts_with("A - 1")),
        "{lines:?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("A spring 2")),
        "{lines:?}"
    );
    assert!(lines.contains(&"list names Some(2)".into()), "{lines:?}");
    let lines = bench.pass(60).await;
    assert_eq!(bench.asked(), ["list app"]);
    assert!(
        lines.iter().any(|line| line.starts_with("A spring 1")),
        "{lines:?}"
    );
    assert!(lines.contains(&"list names Some(0)".into()), "{lines:?}");
}

#[tokio::test]
async fn messages_are_forgotten_at_max_age_and_refused_beyond_it() {
    let messages = "{max_age: 90s, static: ['1', {id: '2', sent_at: '1970-01-01T00:00:00Z'}]}";
    let bench = Bench::new(messages, 100, Vec::new(), false).await;
    let lines = bench.pass(6).await;
    assert!(lines.contains(&"rejected: max_age".into()), "{lines:?}");
    assert_eq!(bench.asked(), ["1"]);
    let lines = bench.pass(130).await;
    assert!(lines.contains(&"1 forgotten".into()), "{lines:?}");
    bench.asked();
    bench.pass(70).await;
    assert!(bench.asked().is_empty());
    assert!(bench.handle.status().answered);
    bench.handle.stop().await;
}

#[tokio::test]
async fn rows_of_forgotten_messages_leave_the_ledger_unless_a_source_names_them_on() {
    let bench = Bench::new("{max_age: 90s, static: ['lasts']}", 100, Vec::new(), false).await;
    bench.pass(6).await;
    let register = async |id: &str, seconds: i64| {
        let sent_at = Timestamp::from_second(START + seconds).unwrap();
        let message = Message {
            application: Arc::from("app"),
            id: Arc::from(id),
            campaign: None,
            sent_at: Some(sent_at),
        };
        let account = Arc::from("a");
        let registered = bench
            .ledger
            .register(vec![Registration { account, message }]);
        registered.await.unwrap();
    };
    register("once", 6).await;
    bench.pass(10).await;
    assert_eq!(bench.asked(), ["lasts", "once"]);
    let rows = async || {
        let later = Timestamp::from_second(START + 86_400).unwrap();
        let rows = bench.account.old_messages(later).await.unwrap();
        let ids = rows.into_iter().map(|(_, id)| id.to_string());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(rows().await, ["lasts", "once"]);
    // It is too old after 90 s, and gone after two times the least pause between two looks.
    bench.pass(90 + 2 * 60).await;
    register("new", 6 + 10 + 90 + 2 * 60).await;
    bench.pass(10).await;
    assert_eq!(rows().await, ["lasts", "new"]);
    bench.handle.stop().await;
}
