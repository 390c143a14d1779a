use std::{io::Read, path::Path, sync::Arc, time::Duration};

use delivery_clock::{Clock, Moment};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;

use super::*;
use crate::{
    catalog::{self, CohortPart, LATENCY_BOUNDS},
    collector::{DatasetOutcome, PassOutcome, Recorder},
    config::{self, Config},
    ledger::{
        Amount, CounterKey, Lease, LedgerDelta, Missed, ShownCounter, Times,
        samples::{at_age, counter, measured},
    },
    model::{Age, BounceKind, ErrorReason, Measure, Message, Row, Snapshot, Totals},
    providers::{Failure, FailureKind, Observer, RequestCode},
    series::AccountSeries,
};

fn configuration(more: &str) -> Config {
    let text = format!(
        "{more}
providers:
- {{name: push, type: infobip_push, credentials: {{api_key: k}}, applications: [{{id: app, name: \"Sh\\\"o\\\\p\"}}], labels: {{team: crm}}}}
- {{name: mail, type: infobip_email, credentials: {{api_key: k}}}}"
    );
    config::parse(Path::new("test"), &text, &|_| None).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn record(series: &AccountSeries, config: &Config, id: &str, sent_at: Timestamp, channel: &str) {
    let application = &config.accounts[0].applications[0];
    let snapshot = Snapshot {
        asked: Arc::from(id),
        id: Arc::from(id),
        campaign: None,
        sent_at: None,
        asked_at: sent_at,
        totals: vec![Totals {
            channel: "push",
            counts: vec![
                (Measure::Sent, 9_007_199_254_740_991),
                (Measure::Delivered, 3),
                (Measure::Errors(ErrorReason::Cloud), 0),
            ],
            reported_ratio: Some(0.9366),
        }],
        breakdown: vec![Row {
            message_type: Arc::from("notification"),
            platform: Arc::from("android"),
            vendor_channel: Arc::from(channel),
            counts: vec![(Measure::Sent, 5)],
        }],
        types: Vec::new(),
    };
    let message = Message {
        application: application.id.clone(),
        id: Arc::from(id),
        campaign: Some(Arc::from("spring\nsale")),
        sent_at: Some(sent_at),
    };
    // The clocks of these tests start at 10:00.
    let stale_at = Moment::from_start(Duration::from_secs(16 * 60));
    series.snapshot(
        crate::providers::dataset("statistics").unwrap(),
        application,
        &message,
        sent_at,
        &snapshot,
        stale_at,
    );
}

fn table(config: &Config) -> (Table, Vec<Arc<AccountSeries>>) {
    let (clock, _) = Clock::manual(at("2026-11-26T10:00:00Z"));
    let (_, table, series) = exposed(config, &clock);
    (table, series)
}

/// The families that do not differ between machines.
fn stable(text: &str) -> String {
    let own = |line: &&str| !line.contains("process_") && !line.contains("build_info");
    text.lines()
        .filter(own)
        .map(|line| format!("{line}\n"))
        .collect()
}

/// `<name>.txt` beside this file is the whole exposition; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, text: &str) {
    crate::golden::assert_current(&format!("src/outputs/exposition/{name}.txt"), text);
}

#[test]
fn both_formats_are_written_as_they_always_were() {
    let config = configuration("");
    let (table, series) = table(&config);
    let now = at("2026-11-26T10:00:00Z");
    record(&series[0], &config, "3813836816344707101", now, "fcm");
    series[0].request(
        crate::providers::dataset("statistics").unwrap(),
        RequestCode::Status(200),
    );
    let application = config.accounts[0].applications[0].clone();
    let failure = Failure::new(FailureKind::Timeout, "late");
    series[0].failed(
        crate::providers::dataset("statistics").unwrap(),
        &application,
        &failure,
    );
    series[0].due(
        crate::providers::dataset("statistics").unwrap(),
        &application,
        Some(at("2026-11-26T10:01:00.5Z")),
    );
    series[0].pass(&PassOutcome {
        at: now,
        up: true,
        datasets: vec![DatasetOutcome {
            dataset: crate::providers::dataset("statistics").unwrap(),
            application,
            success: false,
        }],
        durations: vec![(
            crate::providers::dataset("statistics").unwrap(),
            Duration::from_millis(700),
        )],
    });
    let mail = config.accounts[1].applications[0].id.clone();
    let shown = |counter: CounterKey, amount| ShownCounter {
        key: counter.of(&mail),
        amount,
        born_at: now,
    };
    let times = Times::observe(Duration::from_millis(32_416), LATENCY_BOUNDS);
    let report = [
        "email",
        "DELIVERED",
        "DELIVERED_TO_HANDSET",
        "OK",
        "NO_ERROR",
        "false",
    ];
    let bounces = Measure::Bounces(BounceKind::Hard);
    let delivered = CohortPart::Delivered;
    series[1].delta(&LedgerDelta {
        shown: vec![
            shown(counter(catalog::REPORTS, &report), Amount::Count(1)),
            shown(
                measured(catalog::TOTAL, Measure::Sent, &["email"]),
                Amount::Count(1),
            ),
            shown(
                measured(catalog::TOTAL_BY_CAMPAIGN, bounces, &["email", "c"]),
                Amount::Count(0),
            ),
            shown(
                at_age(
                    catalog::COHORT_BY_CHANNEL,
                    delivered,
                    &["android", "fcm"],
                    Age::Seconds(5400),
                ),
                Amount::Count(7),
            ),
            shown(
                counter(catalog::REPORT_LATENCY, &["email", "DELIVERED"]),
                Amount::Times(times),
            ),
            shown(
                counter(catalog::REPORT_LATENCY, &["email", "EXPIRED"]),
                Amount::Times(Times::default()),
            ),
            shown(
                counter(catalog::REPORT_COST, &["email", "EUR"]),
                Amount::Money("0.0030".parse().unwrap()),
            ),
        ],
        held: Some(3),
        decreases: 2,
        missed: vec![(Some(Age::Seconds(300)), Missed::Late)],
        ..LedgerDelta::default()
    });
    series.iter().for_each(|series| series.publish());
    golden(
        "openmetrics",
        &stable(&render(&table, now, Format::OpenMetrics)),
    );
    golden("classic", &stable(&render(&table, now, Format::Text)));
}

#[test]
fn gauges_leave_when_they_are_stale_and_counters_stay() {
    let config = configuration("");
    let (table, series) = table(&config);
    record(&series[0], &config, "1", at("2026-11-26T10:00:00Z"), "fcm");
    series[0].publish();
    let there = |time: &str| {
        let text = render(&table, at(time), Format::Text);
        assert!(text.contains("delivery_exporter_collect_failures_total{account=\"push\""));
        text.contains("delivery_message_sent{")
    };
    assert!(there("2026-11-26T10:15:59.999Z"));
    assert!(!there("2026-11-26T10:16:00Z"));
}

#[test]
fn limits_keep_the_newest_messages_and_the_first_label_values() {
    let config = configuration("limits: {max_series_per_account: 104, max_label_values: 1}");
    let (table, series) = table(&config);
    for minute in 0..9 {
        let sent_at = at(&format!("2026-11-26T09:0{minute}:00Z"));
        record(
            &series[0],
            &config,
            &format!("m{minute}"),
            sent_at,
            if minute == 8 { "fcm" } else { "other-one" },
        );
    }
    let application = config.accounts[0].applications[0].clone();
    let passed = PassOutcome {
        at: at("2026-11-26T10:00:00Z"),
        up: true,
        datasets: vec![DatasetOutcome {
            dataset: crate::providers::dataset("statistics").unwrap(),
            application,
            success: true,
        }],
        durations: Vec::new(),
    };
    series[0].pass(&passed);
    series[0].publish();
    let text = render(&table, at("2026-11-26T10:00:00Z"), Format::Text);
    let samples = text
        .lines()
        .filter(|line| line.contains("account=\"push\"") && !line.contains("le=\""));
    assert!(
        samples.count() <= 107,
        "two of a histogram's lines are no series of their own"
    );
    assert!(
        text.contains("message_id=\"m8\"") && !text.contains("message_id=\"m0\""),
        "{text}"
    );
    assert!(text.contains("message_id=\"m8\",message_type=\"notification\",platform=\"android\",vendor_channel=\"other\""));
    assert!(text.contains("vendor_channel=\"other-one\""));
    for reason in ["max_series", "max_label_values"] {
        let own = text.lines().find(|line| {
            line.starts_with("delivery_exporter_series_dropped_total") && line.contains(reason)
        });
        assert!(own.is_some(), "{reason}\n{text}");
    }
}

fn accepting(encoding: &'static str, format: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    headers.insert(header::ACCEPT, HeaderValue::from_static(format));
    headers
}

async fn body(parts: Parts) -> Vec<u8> {
    let length = hyper::body::Body::size_hint(&parts).exact().unwrap();
    let body = parts.collect().await.unwrap().to_bytes();
    assert_eq!(body.len() as u64, length);
    body.to_vec()
}

/// The text of a scrape, unpacked.
async fn text_of(scrape: &Scrape) -> String {
    let (headers, parts) = scrape.answer();
    let body = body(parts).await;
    let text = match headers.get(header::CONTENT_ENCODING) {
        None => body,
        Some(name) if name == "gzip" => {
            let mut text = Vec::new();
            // One member: this reader stops after the first.
            let mut reader = flate2::read::GzDecoder::new(body.as_slice());
            reader.read_to_end(&mut text).unwrap();
            text
        }
        Some(_) => zstd::stream::decode_all(body.as_slice()).unwrap(),
    };
    String::from_utf8(text).unwrap()
}

/// A table that an exposition prepares, with the series of its accounts.
fn exposed(config: &Config, clock: &Clock) -> (Arc<Exposition>, Table, Vec<Arc<AccountSeries>>) {
    let exposition = Arc::new(Exposition::new(clock.clone()));
    let table = Table::new(clock.clone(), exposition.clone());
    let series = table.configure(config, &|_| Lease::always(clock.clone()));
    let series = series.into_iter().map(|(own, _)| own).collect();
    (exposition, table, series)
}

#[tokio::test]
async fn every_form_of_a_scrape_holds_the_same() {
    let config = configuration("");
    let (clock, manual) = Clock::manual(at("2026-11-26T10:00:00Z"));
    let (exposition, table, series) = exposed(&config, &clock);
    let forms = [
        ("identity", "text/plain", Format::Text),
        ("gzip", "text/plain", Format::Text),
        ("zstd", "text/plain", Format::Text),
        (
            "identity",
            "application/openmetrics-text",
            Format::OpenMetrics,
        ),
        ("gzip", "application/openmetrics-text", Format::OpenMetrics),
        ("zstd", "application/openmetrics-text", Format::OpenMetrics),
    ];
    for round in 0..40 {
        let id = format!("m{round}");
        record(&series[0], &config, &id, clock.now(), "fcm");
        series[0].publish();
        for (encoding, accepted, format) in forms {
            let scrape = exposition.scrape(&table, &accepting(encoding, accepted));
            // What was read once is ready the next time.
            assert_eq!(scrape.is_ready(), round > 0, "round {round}, {encoding}");
            let plain = render(&table, clock.now(), format);
            assert_eq!(stable(&text_of(&scrape).await), stable(&plain));
        }
        manual.advance(Duration::from_secs(1));
    }
    manual.advance(KEEP);
    let other = exposition.scrape(&table, &accepting("zstd", "text/plain"));
    record(&series[0], &config, "last", clock.now(), "fcm");
    series[0].publish();
    let scrape = exposition.scrape(&table, &accepting("gzip", "text/plain"));
    assert!(!scrape.is_ready(), "what nobody reads is not kept");
    assert!(
        other.is_ready(),
        "a scrape sees what was shown when it began"
    );
    assert!(!text_of(&other).await.contains("message_id=\"last\""));
    assert!(text_of(&scrape).await.contains("message_id=\"last\""));
}

/// The parts of a gzip scrape by their addresses, with their contents.
fn parts_of(exposition: &Exposition, table: &Table) -> Vec<Bytes> {
    let scrape = exposition.scrape(table, &accepting("gzip", "text/plain"));
    scrape.answer().1.into_parts()
}

#[tokio::test]
async fn a_scrape_sends_the_bytes_of_before_where_nothing_has_changed() {
    let config = configuration("");
    let (clock, _) = Clock::manual(at("2026-11-26T10:00:00Z"));
    let (exposition, table, series) = exposed(&config, &clock);
    record(&series[0], &config, "1", clock.now(), "fcm");
    series[0].publish();
    let first = parts_of(&exposition, &table);
    let again = parts_of(&exposition, &table);
    let address = |part: &Bytes| part.as_ptr();
    let kept = |after: &[Bytes], before: &[Bytes]| {
        let there: std::collections::HashSet<_> = before.iter().map(address).collect();
        after
            .iter()
            .filter(|part| there.contains(&address(part)))
            .count()
    };
    // What measures the process, and the end of the body, are of each scrape.
    let own = kept(&again, &first);
    assert!(
        own + 30 > first.len() && own > 40,
        "{own} of {}",
        first.len()
    );

    // One more message: its families and the account's own counts are others, all else is as it was.
    record(&series[0], &config, "2", clock.now(), "fcm");
    series[0].publish();
    let changed = parts_of(&exposition, &table);
    let now_kept = kept(&changed, &again);
    assert!(now_kept < own && now_kept + 12 > own, "{now_kept} of {own}");
    // The other account has changed nothing of them.
    series[1].publish();
    assert_eq!(kept(&parts_of(&exposition, &table), &changed), own);
}

#[tokio::test]
async fn what_was_replaced_is_not_kept_until_the_next_scrape() {
    let config = configuration("");
    let (clock, manual) = Clock::manual(at("2026-11-26T10:00:00Z"));
    let (exposition, table, series) = exposed(&config, &clock);
    record(&series[0], &config, "1", clock.now(), "fcm");
    series[0].publish();
    parts_of(&exposition, &table);
    let weak = |shown: &ShownSeries| {
        let all = shown.accounts()[0].segments(catalog::MESSAGE.of(Measure::Sent));
        Arc::downgrade(&all[0])
    };
    let before = weak(&table.shown());
    assert!(before.upgrade().is_some());
    record(&series[0], &config, "2", clock.now(), "fcm");
    series[0].publish();
    assert!(before.upgrade().is_none());
    // Nor what nobody reads any more.
    parts_of(&exposition, &table);
    let before = weak(&table.shown());
    manual.advance(KEEP);
    record(&series[0], &config, "3", clock.now(), "fcm");
    series[0].publish();
    assert!(before.upgrade().is_none());
}

#[tokio::test]
async fn a_scrape_leaves_out_what_became_stale_since_the_last_pass() {
    let config = configuration("");
    let (clock, manual) = Clock::manual(at("2026-11-26T10:00:00Z"));
    let (exposition, table, series) = exposed(&config, &clock);
    for id in ["1", "2"] {
        record(&series[0], &config, id, clock.now(), "fcm");
    }
    series[0].publish();
    let scrape = || exposition.scrape(&table, &accepting("gzip", "text/plain"));
    assert!(text_of(&scrape()).await.contains("delivery_message_sent{"));
    let application = config.accounts[0].applications[0].clone();
    let renewed = Moment::from_start(Duration::from_secs(3600));
    series[0].renewed(
        crate::providers::dataset("statistics").unwrap(),
        &application,
        "1",
        renewed,
    );
    manual.advance(Duration::from_secs(16 * 60));
    let text = text_of(&scrape()).await;
    assert!(
        text.contains("message_id=\"1\"") && !text.contains("message_id=\"2\""),
        "{text}"
    );
    assert_eq!(
        stable(&text),
        stable(&render(&table, clock.now(), Format::Text))
    );
    manual.advance(Duration::from_secs(3600));
    let text = text_of(&scrape()).await;
    assert!(
        !text.contains("delivery_message_"),
        "no family without a sample: {text}"
    );
}

#[tokio::test]
async fn a_scrape_while_everything_changes_is_one_state() {
    let config = configuration("");
    let clock = Clock::system();
    let (exposition, table, series) = exposed(&config, &clock);
    let own = series[0].clone();
    let application = config.accounts[0].applications[0].clone();
    let writing = std::thread::spawn(move || {
        let stale_at = Moment::MAX;
        for state in 1..200_u64 {
            for id in 0..20 {
                let id: Arc<str> = Arc::from(format!("m{id}"));
                let counts = [Measure::Sent, Measure::Delivered].map(|of| (of, state));
                let totals = Totals {
                    channel: "push",
                    counts: counts.to_vec(),
                    reported_ratio: None,
                };
                let snapshot = Snapshot {
                    asked: id.clone(),
                    id: id.clone(),
                    campaign: None,
                    sent_at: None,
                    asked_at: at("2026-11-26T10:00:00Z"),
                    totals: vec![totals],
                    breakdown: Vec::new(),
                    types: Vec::new(),
                };
                let message = Message {
                    application: application.id.clone(),
                    id,
                    campaign: None,
                    sent_at: Some(at("2026-11-26T10:00:00Z")),
                };
                let now = at("2026-11-26T10:00:00Z");
                own.snapshot(
                    crate::providers::dataset("statistics").unwrap(),
                    &application,
                    &message,
                    now,
                    &snapshot,
                    stale_at,
                );
            }
            own.publish();
        }
    });
    let mut states = std::collections::BTreeSet::new();
    while !writing.is_finished() {
        let scrape = exposition.scrape(&table, &accepting("gzip", "text/plain"));
        let text = text_of(&scrape).await;
        let values: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("delivery_message_") && !line.contains("_ratio"))
            .filter_map(|line| line.rsplit_once(' ').map(|(_, value)| value))
            .collect();
        assert!(values.is_empty() || values.len() == 40);
        assert!(
            values.windows(2).all(|pair| pair[0] == pair[1]),
            "{values:?}"
        );
        states.extend(values.first().map(|value| (*value).to_owned()));
    }
    writing.join().unwrap();
    assert!(states.len() > 1, "{states:?}");
}

/// Messages of some campaigns, channels and applications' names, in the order of a table.
#[tokio::test]
async fn lines_that_are_copied_from_others_are_what_each_would_be_by_itself() {
    let mut config = configuration("limits: {max_label_values: 100}");
    config.accounts[0].per_message.max_messages = 1000;
    let (clock, _) = Clock::manual(at("2026-11-26T10:00:00Z"));
    let (exposition, table, series) = exposed(&config, &clock);
    let application = &config.accounts[0].applications[0];
    // More places than the ends of lines that are remembered, some with what has to be escaped.
    let places: Vec<_> = (0..45_usize)
        .map(|place| ["a\"b", "c\\", "d"][place % 3])
        .collect();
    for number in 0..400_usize {
        let id = format!("m{number}");
        let rows = places
            .iter()
            .enumerate()
            .skip(number % 7)
            .step_by(1 + number % 3);
        let rows = rows.map(|(place, kind)| Row {
            message_type: Arc::from(*kind),
            platform: Arc::from(["android", "ios"][place % 2]),
            vendor_channel: Arc::from(format!("channel {place}")),
            counts: vec![
                (Measure::Sent, (number * place) as u64),
                (Measure::Delivered, 1),
            ],
        });
        let totals = Totals {
            channel: "push",
            counts: vec![(Measure::Sent, number as u64)],
            reported_ratio: None,
        };
        let snapshot = Snapshot {
            asked: Arc::from(id.as_str()),
            id: Arc::from(id.as_str()),
            campaign: None,
            sent_at: None,
            asked_at: clock.now(),
            totals: vec![totals],
            breakdown: rows.collect(),
            types: Vec::new(),
        };
        let message = Message {
            application: application.id.clone(),
            id: Arc::from(id.as_str()),
            campaign: Some(Arc::from(["x\ny", "", "z"][number % 3])),
            sent_at: Some(clock.now() - Duration::from_secs(number as u64 / 2)),
        };
        let dataset = crate::providers::dataset("statistics").unwrap();
        let now = clock.now();
        series[0].snapshot(dataset, application, &message, now, &snapshot, Moment::MAX);
    }
    series[0].publish();
    let family = catalog::MESSAGE_BY_CHANNEL.of(Measure::Sent);
    for round in 0..2 {
        for (accepted, format) in [
            ("text/plain", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
        ] {
            let plain = render(&table, clock.now(), format);
            assert!(plain.len() > 1_000_000, "{}", plain.len());
            for encoding in ["identity", "gzip", "zstd", "identity"] {
                let scrape = exposition.scrape(&table, &accepting(encoding, accepted));
                assert_eq!(stable(&text_of(&scrape).await), stable(&plain));
            }
        }
        let shown = table.shown();
        let segments = shown.accounts()[0].segments(family);
        let without = segments
            .iter()
            .filter(|segment| !segment.keeps_text())
            .count();
        assert!(
            without > 4 && segments.len() - without <= 32,
            "{without} of {}",
            segments.len()
        );
        // What changes in an old message changes nothing of that.
        if round == 0 {
            record(&series[0], &config, "m399", clock.now(), "fcm");
            series[0].publish();
        }
    }
}
