//! Levels whose families have no label for what a measure is told apart by.

use std::path::Path;

use super::*;
use crate::{
    collector::{PassOutcome, Recorder},
    config,
    ledger::{News, Shown},
    model::{BounceKind, ErrorReason, Measure, Message, Row, Snapshot},
    series::{Labels, Table, Unprepared, Visitor, values::Number},
};

#[derive(Default)]
struct Found(Vec<(String, Vec<String>, Value)>);

impl Visitor for Found {
    fn family(&mut self, family: &'static crate::series::Family) {
        self.0.push((
            family.name.clone(),
            Vec::new(),
            Value::Gauge(Number::Count(0)),
        ));
    }
    fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        let (family, ..) = self.0.last().unwrap().clone();
        let own = labels.own().iter().map(|own| (*own).to_owned()).collect();
        self.0.push((family, own, value.clone()));
    }
}

struct Bench {
    table: Table,
    series: Arc<AccountSeries>,
    account: Account,
}

impl Bench {
    fn new() -> Bench {
        let text = "providers: [{name: a, type: pushwoosh, credentials: {api_token: t}, applications: [{id: app}]}]";
        let config = config::parse(Path::new("test"), text, &|_| None).unwrap();
        let (clock, _) = Clock::manual("2026-11-26T10:00:00Z".parse().unwrap());
        let table = Table::new(clock.clone(), Arc::new(Unprepared));
        let series = table.configure(&config, &|_| Lease::always(clock.clone()));
        Bench {
            series: series[0].0.clone(),
            account: config.accounts[0].clone(),
            table,
        }
    }

    /// The numbers of a family's series, each with its labels.
    fn numbers(&self, family: &str) -> Vec<(String, f64)> {
        self.series.publish();
        let mut found = Found::default();
        self.table.visit(self.series.clock.now(), &mut found);
        let own = found
            .0
            .into_iter()
            .filter(|(name, own, _)| name == family && !own.is_empty());
        own.map(|(_, own, value)| {
            let number = match value {
                Value::Gauge(number) | Value::Counter(number, _) => number.as_f64(),
                Value::Histogram(..) => f64::NAN,
            };
            (own.join(" "), number)
        })
        .collect()
    }

    fn released(&self, measure: Measure, count: u64) {
        let text = |text: &str| Arc::from(text);
        let key = CounterKey {
            application: text("app"),
            counter: Counter::Channel {
                message_type: text("notification"),
                platform: text("ios"),
                vendor_channel: text("apns"),
                measure,
            },
        };
        let shown = Shown {
            key,
            amount: Amount::Count(count),
            born_at: self.series.clock.now(),
        };
        self.series.news(&News {
            shown: vec![shown],
            ..News::default()
        });
    }

    fn pass(&self) {
        self.series.pass(&PassOutcome {
            up: true,
            datasets: Vec::new(),
            durations: Vec::new(),
            at: self.series.clock.now(),
        });
    }
}

const UNSPECIFIED: Measure = Measure::Errors(ErrorReason::Unspecified);
const REJECTED: Measure = Measure::Errors(ErrorReason::Rejected);

fn snapshot(counts: crate::model::Counts) -> Snapshot {
    Snapshot {
        asked: Arc::from("m"),
        id: Arc::from("m"),
        campaign: None,
        sent_at: None,
        asked_at: Timestamp::UNIX_EPOCH,
        totals: Vec::new(),
        breakdown: vec![Row {
            message_type: Arc::from("notification"),
            platform: Arc::from("ios"),
            vendor_channel: Arc::from("apns"),
            counts,
        }],
        types: Vec::new(),
    }
}

#[test]
fn errors_of_all_reasons_add_up_in_a_breakdown() {
    let bench = Bench::new();
    let family = "delivery_channel_errors_total";
    let labels = "app notification ios apns";
    bench.released(UNSPECIFIED, 100);
    assert_eq!(bench.numbers(family), [(labels.to_owned(), 100.0)]);
    bench.released(REJECTED, 3);
    bench.released(REJECTED, 5);
    assert_eq!(bench.numbers(family), [(labels.to_owned(), 105.0)]);
    bench.released(UNSPECIFIED, 101);
    assert_eq!(bench.numbers(family), [(labels.to_owned(), 106.0)]);
    bench.series.cleared();
    bench.released(UNSPECIFIED, 101);
    assert_eq!(bench.numbers(family), [(labels.to_owned(), 101.0)]);

    let message = Message {
        application: Arc::from("app"),
        id: Arc::from("m"),
        campaign: None,
        sent_at: None,
    };
    let now = bench.series.clock.now();
    let counts = vec![(Measure::Sent, 9), (UNSPECIFIED, 100), (REJECTED, 5)];
    bench.series.snapshot(
        crate::providers::dataset("messages").unwrap(),
        &bench.account.applications[0],
        &message,
        now,
        &snapshot(counts),
        delivery_clock::Moment::MAX,
    );
    let shown = bench.numbers("delivery_message_channel_errors");
    assert_eq!(shown.iter().map(|own| own.1).collect::<Vec<_>>(), [105.0]);
}

#[test]
fn what_no_family_holds_is_dropped_and_counted_and_lands_nowhere_else() {
    let bench = Bench::new();
    let bounces = Measure::Bounces(BounceKind::Hard);
    bench.released(bounces, 7);
    // A number that is 0 says nothing.
    bench.released(Measure::Confirmed, 0);
    let message = Message {
        application: Arc::from("app"),
        id: Arc::from("m"),
        campaign: None,
        sent_at: None,
    };
    let now = bench.series.clock.now();
    let counts = vec![(Measure::Sent, 9), (bounces, 7), (Measure::Complaints, 0)];
    bench.series.snapshot(
        crate::providers::dataset("messages").unwrap(),
        &bench.account.applications[0],
        &message,
        now,
        &snapshot(counts),
        delivery_clock::Moment::MAX,
    );
    bench.pass();
    assert_eq!(bench.numbers("delivery_message_targeted"), []);
    let dropped = [
        ("delivery_channel_bounces_total no_family".to_owned(), 1.0),
        ("delivery_message_channel_bounces no_family".to_owned(), 1.0),
    ];
    assert_eq!(
        bench.numbers("delivery_exporter_series_dropped_total"),
        dropped
    );
    bench.pass();
    assert_eq!(
        bench.numbers("delivery_exporter_series_dropped_total"),
        dropped
    );
}
