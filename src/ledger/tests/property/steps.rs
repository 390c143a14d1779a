//! What can happen to an account, and what the vendor's letters mean.

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::super::{faulty::Fault, model::Id, *};

/// Names that a step can use; the first stands for none.
pub(super) const CAMPAIGNS: [&str; 5] = ["", "spring", "summer", "autumn", "other"];
pub(super) const CHANNELS: [&str; 3] = ["push", "email", "sms"];
pub(super) const PLACES: [(&str, &str, &str); 5] = [
    ("notification", "android", "fcm"),
    ("message", "android", "fcm"),
    ("notification", "ios", "apns"),
    ("notification", "harmonyos", "huawei"),
    ("voip", "web", "chrome"),
];
pub(super) const TYPES: [&str; 2] = ["notification", "message"];
pub(super) const MEASURES: [Measure; 4] = [
    Measure::Sent,
    Measure::Delivered,
    Measure::Opened,
    Measure::Bounces(BounceKind::Hard),
];
pub(super) const MESSAGES: [(&str, &str); 4] =
    [("a1", "m1"), ("a1", "m2"), ("a2", "m1"), ("a2", "m3")];

#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// Per channel and per place, what each measure has; `None`: it is not told.
    pub(super) totals: Vec<(usize, Vec<Option<u64>>)>,
    pub(super) rows: Vec<(usize, Vec<Option<u64>>)>,
    pub(super) types: Vec<(usize, Vec<Option<u64>>)>,
}

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) message: usize,
    /// `None`: the vendor has no numbers yet.
    pub(super) numbers: Option<Numbers>,
    /// So many seconds ago.
    pub(super) ago: i64,
    pub(super) campaign: usize,
    /// Whether the source says when the message was sent, and whether the vendor does.
    pub(super) sent_at: bool,
    pub(super) vendor: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Answer(Vec<Asked>),
    /// An answer of before comes again, as old as it was; or the last numbers of a message, anew.
    Stale(usize),
    Same(usize),
    Named {
        message: usize,
        sent_at: bool,
    },
    Forgotten(usize),
    Unwatched(usize),
    Wait(u32),
    /// A process dies, with bodies in its spool; how long the next one takes to come.
    Start(Vec<Vec<u8>>, u32),
    /// The same process takes its account again; everything is held again.
    Reload,
    Bodies(Vec<Vec<u8>>),
}

pub(super) fn values() -> impl Strategy<Value = Vec<Option<u64>>> {
    let count = prop_oneof![
        Just(0),
        0..20_u64,
        100..115_u64,
        0..1000_u64,
        Just((1 << 53) - 1)
    ];
    vec(option::weighted(0.8, count), 1..=MEASURES.len())
}

pub(super) fn numbers() -> impl Strategy<Value = Numbers> {
    let one = |most: usize| {
        vec((0..most, values()), 0..=2).prop_map(|mut own| {
            own.sort_by_key(|(place, _)| *place);
            own.dedup_by_key(|(place, _)| *place);
            own
        })
    };
    (one(CHANNELS.len()), one(PLACES.len()), one(TYPES.len())).prop_map(|(totals, rows, types)| {
        Numbers {
            totals,
            rows,
            types,
        }
    })
}

pub(super) fn asked() -> impl Strategy<Value = Asked> {
    (
        0..MESSAGES.len(),
        option::weighted(0.9, numbers()),
        prop_oneof![3 => Just(0), 1 => 0..400_i64],
        prop_oneof![2 => Just(0), 1 => 0..CAMPAIGNS.len()],
        prop::bool::weighted(0.5),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(message, numbers, ago, campaign, sent_at, vendor)| Asked {
            message,
            numbers,
            ago,
            campaign,
            sent_at,
            vendor,
        })
}

/// A letter per report; a capital one is damage that ends the body.
pub(super) fn body() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![20 => b'a'..=b'x', 1 => Just(b'X')], 0..8)
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![1..90_u32, 90..400_u32, 400..8_000_u32, 86_000..100_000_u32];
    prop_oneof![
        8 => vec(asked(), 1..=3).prop_map(Step::Answer),
        1 => any::<prop::sample::Index>().prop_map(|own| Step::Stale(own.index(8))),
        2 => (0..MESSAGES.len()).prop_map(Step::Same),
        1 => (0..MESSAGES.len(), any::<bool>())
            .prop_map(|(message, sent_at)| Step::Named { message, sent_at }),
        1 => (0..MESSAGES.len()).prop_map(Step::Forgotten),
        1 => (0..MESSAGES.len()).prop_map(Step::Unwatched),
        7 => wait.prop_map(Step::Wait),
        2 => (vec(body(), 0..3), 0..300_u32).prop_map(|(left, away)| Step::Start(left, away)),
        1 => Just(Step::Reload),
        4 => vec(body(), 1..4).prop_map(Step::Bodies),
    ]
}

pub(super) fn fault() -> impl Strategy<Value = Option<Fault>> {
    let faults = vec![Fault::RolledBack, Fault::Unanswered, Fault::Abandoned];
    option::weighted(0.08, select(faults))
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) zero_hold: &'static str,
    pub(super) adopt_age: &'static str,
    /// When each message was sent, in seconds after the first start.
    pub(super) sent: Vec<i64>,
    pub(super) steps: Vec<(Step, Option<Fault>)>,
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let sent = prop_oneof![
        -10_000..-3_600_i64,
        -3_600..0_i64,
        -450..-250_i64,
        -100..100_i64,
        0..2_000_i64
    ];
    (
        select(vec!["0s", "2m", "2m", "2m"]),
        select(vec!["0s", "1h", "1h"]),
        vec(sent, MESSAGES.len()),
        vec((step(), fault()), 1..50),
    )
        .prop_map(|(zero_hold, adopt_age, sent, steps)| Case {
            zero_hold,
            adopt_age,
            sent,
            steps,
        })
}

pub(super) fn id_of(message: usize) -> Id {
    let (application, id) = MESSAGES[message];
    (Arc::from(application), Arc::from(id))
}

/// The report that a letter stands for: one of four messages in one of six states.
pub(super) fn letter(byte: u8) -> Report {
    let (message, state) = ((byte - b'a') / 6, (byte - b'a') % 6);
    let outcomes = [
        Outcome::Pending,
        Outcome::Pending,
        Outcome::Delivered,
        Outcome::Bounced(BounceKind::Hard),
        Outcome::Failed(ErrorReason::Dropped),
        Outcome::Other,
    ];
    let outcome = outcomes[usize::from(state)];
    let campaign = CAMPAIGNS[usize::from(message)];
    let price = format!("0.00{}5", state + 1);
    let currency = if message == 0 { "EUR" } else { "BRL" };
    Report {
        message: [message; 16],
        campaign: (!campaign.is_empty()).then(|| Arc::from(campaign)),
        status_group: Arc::from(["PENDING", "FINAL", "LATE"][usize::from(state) % 3]),
        permanent: (state > 2).then_some(state == 3),
        latency: (outcome != Outcome::Pending && message != 1)
            .then(|| Duration::from_millis(u64::from(byte) * 977)),
        cost: (state % 2 == 1).then(|| (price.parse().unwrap(), Arc::from(currency))),
        ..report(&char::from(byte).to_string(), outcome)
    }
}

pub(super) fn letters(body: &[u8]) -> ReportsRead {
    let good: Vec<u8> = body
        .iter()
        .copied()
        .take_while(|own| *own != b'X')
        .collect();
    ReportsRead {
        reports: good.iter().copied().map(letter).collect(),
        empty: body.is_empty(),
        damage: (good.len() < body.len()).then(|| Damage {
            at: good.len(),
            what: "a capital".into(),
            rest: body[good.len()..].into(),
            sample_of: None,
        }),
        failure: None,
    }
}
