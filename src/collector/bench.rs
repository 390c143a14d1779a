//! A collector over a vendor that answers after a time of its own, on a clock that the test moves.

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
        Answer, DrainQuery, Failure, FailureKind, ListQuery, Listing, MessagesQuery, Observation,
        Provider, Refusal, Scope, WholeQuery,
    },
};

/// By which of its names a message is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Telling {
    OtherName,
    Both,
    Name,
}

/// A vendor with a list that takes its time, and data sets that depend on it.
pub(super) struct Paced {
    pub(super) clock: Clock,
    /// How long a list takes, and any other query.
    pub(super) list_takes: Duration,
    pub(super) query_takes: Duration,
    pub(super) list_has_numbers: bool,
    /// The ids that are listed.
    pub(super) listed: Vec<String>,
    /// How a message with two names is told by one list after the other.
    pub(super) tellings: Vec<Telling>,
    /// Ids whose query fails.
    pub(super) failing: Vec<String>,
    /// Ids of which no request can be made.
    pub(super) unbuildable: Vec<String>,
    /// Ids that are refused, with all that is asked for with them.
    pub(super) refused: Vec<String>,
    /// While the message 123 is asked for by this name, another answer says that it is called A-1.
    pub(super) named_meanwhile: bool,
    /// Each message is asked for by itself, and the answer for A-1 says that it is 123 too.
    pub(super) named_apart: bool,
    /// From the second query on, message 123 is answered as A-1, and nothing else says that they are one.
    pub(super) answers_as_other: bool,
    /// Every query, with the time at which it began.
    pub(super) queries: Mutex<Vec<(Timestamp, String)>>,
    /// The `since` of each list, less its `oldest`.
    pub(super) lists: Mutex<Vec<SignedDuration>>,
    /// Data sets without snapshots are handed out once.
    pub(super) drained: bool,
    /// How often a log goes on before it is read to its end.
    pub(super) slices: Mutex<u32>,
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
            answers_as_other: false,
            queries: Mutex::default(),
            lists: Mutex::default(),
            drained: false,
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
                } else if id == "123" && self.answers_as_other && self.count("123") > 1 {
                    snapshot(id, "A-1", 1)
                } else {
                    snapshot(id, id, 1)
                });
            }
            Answer::new(observations, Ok(()))
        }
        .boxed()
    }

    fn drain<'a>(&'a self, _query: DrainQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            self.begin("drain".into());
            self.clock.sleep(self.query_takes).await;
            self.begin("drained".into());
            Answer::new(Vec::new(), Ok(()))
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
    pub(super) parts: Option<CollectorDeps>,
    pub(super) ledger: Arc<AccountLedger>,
    pub(super) _directory: tempfile::TempDir,
    pub(super) _ledger: Ledger,
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
        if vendor.drained {
            for dataset in account
                .collect
                .iter_mut()
                .filter(|own| !own.has_snapshots())
            {
                *dataset = queried_by(*dataset, QueryMethod::Drain);
            }
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
    pub(super) fn parts_again(&self) -> CollectorDeps {
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
    pub(super) async fn counted(&self) -> u64 {
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
