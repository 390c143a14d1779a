//! Texts of counters as ledgers hold them, written out: a ledger that has them opens and counts on.

use std::sync::Arc;

use super::CounterKey;

/// One of each kind of counter, and of each measure, as it is stored.
pub(crate) const STORED: &[&str] = &[
    "app\u{1f}total\u{1f}push\u{1f}targeted",
    "app\u{1f}total\u{1f}push\u{1f}accepted",
    "app\u{1f}total\u{1f}push\u{1f}sent",
    "app\u{1f}total\u{1f}email\u{1f}delivered",
    "app\u{1f}total\u{1f}push\u{1f}displayed",
    "app\u{1f}total\u{1f}push\u{1f}opened",
    "app\u{1f}total\u{1f}push\u{1f}dismissed",
    "app\u{1f}total\u{1f}push\u{1f}inbox_opened",
    "app\u{1f}total\u{1f}push\u{1f}unshowable",
    "app\u{1f}total\u{1f}email\u{1f}confirmed",
    "app\u{1f}total\u{1f}email\u{1f}unsubscribed",
    "app\u{1f}total\u{1f}email\u{1f}complaints",
    "app\u{1f}total\u{1f}sms\u{1f}skipped",
    "app\u{1f}total\u{1f}push\u{1f}errors\u{1f}registration",
    "app\u{1f}total\u{1f}push\u{1f}errors\u{1f}expired",
    "app\u{1f}total\u{1f}push\u{1f}errors\u{1f}cloud",
    "app\u{1f}total\u{1f}push\u{1f}errors\u{1f}unspecified",
    "app\u{1f}total\u{1f}email\u{1f}errors\u{1f}rejected",
    "app\u{1f}total\u{1f}sms\u{1f}errors\u{1f}send_failed",
    "app\u{1f}total\u{1f}sms\u{1f}errors\u{1f}undelivered",
    "app\u{1f}total\u{1f}email\u{1f}errors\u{1f}suppressed",
    "app\u{1f}total\u{1f}email\u{1f}errors\u{1f}dropped",
    "app\u{1f}total\u{1f}email\u{1f}errors\u{1f}system",
    "app\u{1f}total\u{1f}email\u{1f}errors\u{1f}other",
    "app\u{1f}total\u{1f}email\u{1f}bounces\u{1f}hard",
    "app\u{1f}total\u{1f}email\u{1f}bounces\u{1f}soft",
    // An account that is its one application.
    "\u{1f}campaign\u{1f}email\u{1f}Frühling, 50 %\u{1f}sent",
    "\u{1f}campaign\u{1f}email\u{1f}\u{1f}bounces\u{1f}soft",
    "\u{1f}campaign\u{1f}push\u{1f}other\u{1f}errors\u{1f}cloud",
    "app\u{1f}channel\u{1f}notification\u{1f}\u{1f}fcm\u{1f}sent",
    "app\u{1f}channel\u{1f}\u{1f}ios\u{1f}apns\u{1f}inbox_opened",
    "app\u{1f}channel\u{1f}notification\u{1f}android\u{1f}oppo\u{1f}errors\u{1f}rejected",
    // Of measures that the breakdown shows nothing of.
    "app\u{1f}channel\u{1f}notification\u{1f}android\u{1f}oppo\u{1f}confirmed",
    "app\u{1f}channel\u{1f}notification\u{1f}android\u{1f}oppo\u{1f}bounces\u{1f}hard",
    "app\u{1f}cohort\u{1f}push\u{1f}1h30m\u{1f}messages",
    "app\u{1f}cohort\u{1f}push\u{1f}30s\u{1f}sent",
    "app\u{1f}cohort\u{1f}sms\u{1f}first\u{1f}delivered",
    "app\u{1f}cohort_channel\u{1f}android\u{1f}oppo\u{1f}first\u{1f}delivered",
    "app\u{1f}cohort_channel\u{1f}\u{1f}other\u{1f}72h\u{1f}sent",
    "app\u{1f}cohort_channel\u{1f}ios\u{1f}apns\u{1f}5m\u{1f}messages",
    "app\u{1f}report\u{1f}email\u{1f}PENDING\u{1f}PENDING_ENROUTE\u{1f}\u{1f}\u{1f}",
    "app\u{1f}report\u{1f}email\u{1f}DELIVERED\u{1f}DELIVERED_TO_HANDSET\u{1f}OK\u{1f}NO_ERROR\u{1f}false",
    "app\u{1f}report\u{1f}email\u{1f}UNDELIVERABLE\u{1f}other\u{1f}USER_ERRORS\u{1f}EC_UNKNOWN\u{1f}true",
    "app\u{1f}latency\u{1f}email\u{1f}DELIVERED",
    "app\u{1f}cost\u{1f}email\u{1f}EUR",
    "app\u{1f}log\u{1f}opened\u{1f}ios\u{1f}",
    "app\u{1f}bounced_address\u{1f}hard\u{1f}mailbox_full",
];

/// What no version has written.
const UNREADABLE: &[&str] = &[
    "",
    "app",
    "app\u{1f}total",
    "app\u{1f}total\u{1f}push",
    "app\u{1f}total\u{1f}push\u{1f}lost",
    "app\u{1f}total\u{1f}push\u{1f}errors",
    "app\u{1f}total\u{1f}push\u{1f}errors\u{1f}mood",
    "app\u{1f}total\u{1f}push\u{1f}sent\u{1f}cloud",
    "app\u{1f}campaign\u{1f}push\u{1f}sent",
    "app\u{1f}cohort\u{1f}push\u{1f}soon\u{1f}sent",
    "app\u{1f}cohort\u{1f}push\u{1f}5m\u{1f}opened",
    "app\u{1f}report\u{1f}email\u{1f}DELIVERED",
    "app\u{1f}latency\u{1f}email\u{1f}DELIVERED\u{1f}more",
    "app\u{1f}parcel\u{1f}email",
];

#[test]
fn what_a_ledger_holds_is_read_and_written_again_as_it_is() {
    for text in STORED {
        let key = CounterKey::parse(text).unwrap_or_else(|| panic!("{text:?}"));
        assert_eq!(key.to_text(), *text);
    }
    let keys: std::collections::HashSet<_> =
        STORED.iter().map(|text| CounterKey::parse(text)).collect();
    assert_eq!(keys.len(), STORED.len(), "each is another counter");
}

#[test]
fn what_no_version_has_written_is_no_counter() {
    for text in UNREADABLE {
        assert_eq!(CounterKey::parse(text), None, "{text:?}");
    }
}

#[test]
fn every_counter_has_room_for_its_fields() {
    for family in crate::catalog::all().filter(|family| family.stored.is_some()) {
        assert!(family.counter_labels().count() < super::MAX_FIELDS);
    }
}

/// Counters before and after texts of vendors and customers were cut to nothing but `other`.
const LIMITED: &[[&str; 2]] = &[
    ["a|total|p|errors|cloud", "a|total|p|errors|cloud"],
    ["a|campaign|p|c|sent", "a|campaign|p|OTHER|sent"],
    [
        "a|campaign|p|c|bounces|hard",
        "a|campaign|p|OTHER|bounces|hard",
    ],
    ["a|channel|t|p|v|sent", "a|channel|OTHER|OTHER|OTHER|sent"],
    [
        "a|channel|t|p|v|errors|cloud",
        "a|channel|OTHER|OTHER|OTHER|errors|cloud",
    ],
    ["a|cohort|p|5m|sent", "a|cohort|p|5m|sent"],
    [
        "a|cohort_channel|p|v|5m|sent",
        "a|cohort_channel|OTHER|OTHER|5m|sent",
    ],
    [
        "a|report|p|g|s|h|e|true",
        "a|report|p|OTHER|OTHER|OTHER|OTHER|true",
    ],
    ["a|latency|p|g", "a|latency|p|OTHER"],
    ["a|cost|p|EUR", "a|cost|p|OTHER"],
    ["a|log|a|p|s", "a|log|OTHER|OTHER|OTHER"],
    ["a|bounced_address|k|r", "a|bounced_address|k|r"],
];

#[test]
fn limits_reach_the_texts_of_vendors_and_customers_alone() {
    for [before, after] in LIMITED {
        let key = CounterKey::parse(&before.replace('|', "\u{1f}")).unwrap();
        let key = key.limited(&mut |_, _| Arc::from("OTHER"));
        assert_eq!(key.to_text().replace('\u{1f}', "|"), *after);
    }
}

#[test]
fn counters_are_listed_by_kind_and_then_as_they_are_stored() {
    let sorted = [
        "a|total|email|sent",
        "a|total|push|sent",
        "a|total|push|delivered",
        "a|total|push|errors|registration",
        "a|total|push|errors|expired",
        "a|total|push|bounces|hard",
        "a|campaign|push|a|sent",
        "a|campaign|push|a|errors|cloud",
        "a|campaign|push|b|sent",
        "a|channel|t|p|v|sent",
        "a|cohort|push|first|sent",
        "a|cohort|push|5m|sent",
        "a|cohort|push|5m|messages",
        "a|cohort|push|1h30m|sent",
        "a|report|p|g|s|h|e|",
        "a|report|p|g|s|h|e|false",
        "b|total|email|sent",
    ];
    let mut keys: Vec<_> = sorted
        .iter()
        .map(|text| CounterKey::parse(&text.replace('|', "\u{1f}")).unwrap())
        .collect();
    keys.reverse();
    keys.sort_by(CounterKey::stored_order);
    let texts: Vec<_> = keys
        .iter()
        .map(|key| key.to_text().replace('\u{1f}', "|"))
        .collect();
    assert_eq!(texts, sorted);
}
