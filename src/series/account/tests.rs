//! Levels whose families have no label for what a measure is told apart by.

use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::{
    catalog::Origin,
    collector::{PassOutcome, Recorder},
    config,
    ledger::{Amount, LedgerDelta, STORED, ShownCounter, samples::measured},
    model::{BounceKind, ErrorReason, Measure, Message, Row, Snapshot},
    providers::FailureKind,
    series::{Labels, PointOutcome, Table, Unprepared, Visitor, values::Number},
};

#[derive(Default)]
struct Found(Vec<(String, Vec<String>, Value)>);

impl Visitor for Found {
    fn family(&mut self, family: FamilyId) {
        self.0.push((
            family.name.to_owned(),
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
        let labels = ["notification", "ios", "apns"];
        let key = measured(catalog::TOTAL_BY_CHANNEL, measure, &labels).of("app");
        let shown = ShownCounter {
            key,
            amount: Amount::Count(count),
            born_at: self.series.clock.now(),
        };
        self.series.delta(&LedgerDelta {
            shown: vec![shown],
            ..LedgerDelta::default()
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

/// The name and the labels under which each counter of a ledger is shown.
const NAMED: &[&str] = &[
    "delivery_targeted_total application=app,channel=push",
    "delivery_accepted_total application=app,channel=push",
    "delivery_sent_total application=app,channel=push",
    "delivery_delivered_total application=app,channel=email",
    "delivery_displayed_total application=app,channel=push",
    "delivery_opened_total application=app,channel=push",
    "delivery_dismissed_total application=app,channel=push",
    "delivery_inbox_opened_total application=app,channel=push",
    "delivery_unshowable_total application=app,channel=push",
    "delivery_confirmed_total application=app,channel=email",
    "delivery_unsubscribed_total application=app,channel=email",
    "delivery_complaints_total application=app,channel=email",
    "delivery_skipped_total application=app,channel=sms",
    "delivery_errors_total application=app,channel=push,reason=registration",
    "delivery_errors_total application=app,channel=push,reason=expired",
    "delivery_errors_total application=app,channel=push,reason=cloud",
    "delivery_errors_total application=app,channel=push,reason=unspecified",
    "delivery_errors_total application=app,channel=email,reason=rejected",
    "delivery_errors_total application=app,channel=sms,reason=send_failed",
    "delivery_errors_total application=app,channel=sms,reason=undelivered",
    "delivery_errors_total application=app,channel=email,reason=suppressed",
    "delivery_errors_total application=app,channel=email,reason=dropped",
    "delivery_errors_total application=app,channel=email,reason=system",
    "delivery_errors_total application=app,channel=email,reason=other",
    "delivery_bounces_total application=app,channel=email,kind=hard",
    "delivery_bounces_total application=app,channel=email,kind=soft",
    "delivery_campaign_sent_total application=app,channel=email,campaign=Frühling, 50 %",
    "delivery_campaign_bounces_total application=app,channel=email,campaign=,kind=soft",
    "delivery_campaign_errors_total application=app,channel=push,campaign=other,reason=cloud",
    "delivery_channel_sent_total application=app,message_type=notification,platform=,vendor_channel=fcm",
    "delivery_channel_inbox_opened_total application=app,message_type=,platform=ios,vendor_channel=apns",
    "delivery_channel_errors_total application=app,message_type=notification,platform=android,vendor_channel=oppo",
    "-",
    "-",
    "delivery_cohort_messages_total application=app,channel=push,age=1h30m",
    "delivery_cohort_sent_total application=app,channel=push,age=30s",
    "delivery_cohort_delivered_total application=app,channel=sms,age=first",
    "delivery_cohort_channel_delivered_total application=app,platform=android,vendor_channel=oppo,age=first",
    "delivery_cohort_channel_sent_total application=app,platform=,vendor_channel=other,age=72h",
    "delivery_cohort_channel_messages_total application=app,platform=ios,vendor_channel=apns,age=5m",
    "delivery_reports_total application=app,channel=email,status_group=PENDING,status=PENDING_ENROUTE,error_group=,error=,permanent=",
    "delivery_reports_total application=app,channel=email,status_group=DELIVERED,status=DELIVERED_TO_HANDSET,error_group=OK,error=NO_ERROR,permanent=false",
    "delivery_reports_total application=app,channel=email,status_group=UNDELIVERABLE,status=other,error_group=USER_ERRORS,error=EC_UNKNOWN,permanent=true",
    "delivery_report_latency_seconds application=app,channel=email,status_group=DELIVERED",
    "delivery_report_cost_total application=app,channel=email,currency=EUR",
    "delivery_log_events_total application=app,action=opened,platform=ios,status=",
    "delivery_bounced_addresses_total application=app,kind=hard,reason=mailbox_full",
];

#[test]
fn unknown_fields_name_no_people() {
    use crate::providers::Observer;
    let bench = Bench::new();
    let messages = crate::providers::dataset("messages").unwrap();
    for field in [
        "ann@example.com",
        "to.ann%40example.com",
        "+4917612345678",
        "status.newField2",
    ] {
        bench.series.unknown_field(messages, field);
    }
    let numbers = bench.numbers("delivery_exporter_unknown_fields_total");
    let text = format!("{numbers:?}");
    assert!(
        text.contains("status.newField2") && text.contains("other"),
        "{text}"
    );
    assert!(!text.contains("ann") && !text.contains("4917"), "{text}");
}

#[test]
fn every_stored_counter_is_shown_under_its_name_and_labels() {
    let bench = Bench::new();
    let named = STORED.iter().map(|text| {
        let key = CounterKey::parse(text).unwrap().of("app");
        let Some((name, labels)) = bench.series.named(&key) else {
            return "-".to_owned();
        };
        let labels = labels.iter().map(|(name, value)| format!("{name}={value}"));
        format!("{name} {}", labels.collect::<Vec<_>>().join(","))
    });
    assert_eq!(named.collect::<Vec<_>>(), NAMED);
}

#[test]
fn the_words_of_the_catalogue_are_those_of_the_program() {
    let words = |family: FamilyId| {
        let words = family.labels.iter().find_map(|label| match label.origin {
            Origin::Words(words) => Some(words),
            _ => None,
        });
        words.unwrap().to_vec()
    };
    let outcomes = WebhookOutcome::ALL.map(WebhookOutcome::as_str);
    assert_eq!(words(catalog::WEBHOOK_REQUESTS), outcomes);
    let kinds: Vec<_> = FailureKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(words(catalog::COLLECT_FAILURES), kinds);
    let missed = Missed::OF_AN_AGE.map(Missed::as_str);
    assert_eq!(words(catalog::COHORT_MISSED), missed);
    let points = PointOutcome::ALL.map(PointOutcome::as_str);
    assert_eq!(words(catalog::OTLP_POINTS), points);
}
