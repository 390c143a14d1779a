//! A body of a hundred reports that is cut off somewhere: what is whole counts, the rest is kept.

use std::{fmt::Write, ops::Range};

use super::*;
use crate::{
    config::Account,
    providers::{self, Observer, Provider, RequestCode},
};

struct Nobody;

impl Observer for Nobody {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, _: &str) {}
}

fn provider(account: &Account, clock: &Clock) -> Arc<dyn Provider> {
    providers::build(account, clock.clone(), Arc::new(Nobody)).unwrap()
}

/// What customers write where the vendor gives it back: everything that ends an object, or seems to.
const ODD: [&str; 7] = [
    r#","callbackData":"{\"order\":[1,{\"a\":\"}]\"}],\"q\":\"\\\"\"}""#,
    r#","callbackData":"C:\\path\\","browserLink":"""#,
    r#","platform":{"entityId":"a","applicationId":{"n":[[],{},[{"x":"]}"}]]}}"#,
    r#","callbackData":"Grüße 你好 🎉 \u007b\u0022\ud83d\ude00""#,
    r#","error":{"groupId":2,"groupName":"USER_ERRORS","id":6009,"name":"EC_MAILBOX_UNAVAILABLE","permanent":true}"#,
    r#","price":{"pricePerMessage":0.0025,"currency":"EUR"},"messageCount":1"#,
    "",
];

/// The body, and where each of its reports is.
fn body() -> (Vec<u8>, Vec<Range<usize>>) {
    let mut text = String::from("{\"emailResults\": [{\"results\":[1]}], \"results\": [");
    let mut places = Vec::new();
    for number in 0..100 {
        if number > 0 {
            text.push_str([",", ", ", ",\n  "][number % 3]);
        }
        let start = text.len();
        let (group, name) = match number % 3 {
            0 => ("DELIVERED", "DELIVERED_TO_HANDSET"),
            1 => ("UNDELIVERABLE", "UNDELIVERABLE_REJECTED_OPERATOR"),
            _ => ("PENDING", "PENDING_ENROUTE"),
        };
        write!(
            text,
            r#"{{"messageId":"m{number}","to":"ü{number}@example.com","status":{{"groupName":"{group}","name":"{name}"}}{}}}"#,
            ODD[number % ODD.len()]
        )
        .unwrap();
        places.push(start..text.len());
    }
    text.push_str(" ], \"next\": {\"cursor\": \"]}\"}}\n");
    (text.into_bytes(), places)
}

/// How many reports are whole in so many bytes, and where the rest begins.
fn whole(places: &[Range<usize>], cut: usize) -> (usize, usize) {
    let count = places.iter().filter(|place| place.end <= cut).count();
    let rest = count.checked_sub(1).map_or(0, |last| places[last].end);
    (count, rest)
}

#[tokio::test]
async fn the_whole_reports_before_any_cut_are_read() {
    let bench = Bench::new(MAIL, "", "10:00:00");
    let provider = provider(&bench.config.accounts[0], &bench.clock);
    let (body, places) = body();
    let all = provider.read_pushed(&body).reports;
    assert_eq!((all.reports.len(), &all.damage), (100, &None));
    let check = |cut: usize| {
        let read = provider.read_pushed(&body[..cut]).reports;
        let (count, rest) = whole(&places, cut);
        assert!(
            read.reports.len() == count && read.reports.iter().eq(&all.reports[..count]),
            "{cut}"
        );
        assert!(!read.empty, "{cut}");
        let at = read.damage.map(|damage| damage.at);
        // The last byte ends a line, not the body; and of nothing, nothing is left.
        let ended = cut >= body.len() - 1 || cut == 0;
        assert_eq!(at, (!ended).then_some(rest), "{cut}");
    };
    let check = &check;
    std::thread::scope(|scope| {
        for part in 0..4 {
            let cuts = (part..=body.len()).step_by(4);
            scope.spawn(move || cuts.for_each(check));
        }
    });
}

/// What a fresh ledger makes of the first `cut` bytes.
async fn counted(body: &[u8], places: &[Range<usize>], cut: usize, over_a_start: bool) {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let provider = provider(&bench.config.accounts[0], &bench.clock);
    let spooled = spool(&bench.account(), &body[..cut]).await;
    if over_a_start {
        // Nobody got to counting it: the next process does.
        bench.begin().await;
        let read = |body: &[u8]| provider.read_pushed(body).reports;
        let account = bench.account();
        let delta = account.catch_up(&bench.application(), &read).await;
        bench.take(delta.unwrap());
    } else {
        let read = provider.read_pushed(&body[..cut]).reports;
        let account = bench.account();
        let bodies = vec![(spooled, read)];
        let delta = account.reports(&bench.application(), bodies).await;
        bench.take(delta.unwrap());
    }
    let (count, rest) = whole(places, cut);
    let reports = bench.sum(|family| family == catalog::REPORTS);
    let sent = bench.total(Measure::Sent);
    assert_eq!((reports, sent), (count as u64, Some(count as u64)), "{cut}");
    let kept = bench.directory.path().join("data/spool/mail/quarantine");
    let kept: Vec<_> = std::fs::read_dir(kept)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    if cut < body.len() - 1 && cut > 0 {
        // A list of what follows the last whole report; nothing of it was counted.
        let end = body[rest..cut].trim_ascii_start();
        let end = end.strip_prefix(b",").unwrap_or(end);
        let expected = match count {
            0 => end.to_vec(),
            _ => [br#"{"results":["#, end].concat(),
        };
        assert!(kept.len() == 1 && kept[0] == expected, "{cut}");
    } else {
        assert!(kept.is_empty(), "{cut}");
    }
}

#[tokio::test]
async fn the_whole_reports_before_a_cut_are_counted_and_the_rest_is_quarantined() {
    let (body, places) = body();
    let ends = places.iter().step_by(3).map(|place| place.end);
    let before = places.iter().skip(1).step_by(3).map(|place| place.end - 1);
    let after = places.iter().skip(2).step_by(3).map(|place| place.end + 1);
    let sample = (1..=body.len()).step_by(997).chain([body.len()]);
    for cut in ends.chain(before).chain(after).chain(sample) {
        counted(&body, &places, cut, cut % 2 == 0).await;
    }
}
