//! The queue of e-mail reports, which are handed out once.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    response::Response,
};
use jiff::{SignedDuration, Timestamp, tz::Offset};
use serde_json::{Value, json};

use super::{Infobip, error, lock};
use crate::{
    incident::{Incident, Incidents},
    mood::{Call, Order, lists},
    server::{json as answer, parameters},
    traffic::{mix, part},
};

/// After so long, at most, an e-mail has its last report.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);
/// How long a report waits to be fetched.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

/// The queue of reports.
pub(super) struct Mail {
    seed: u64,
    begin: Timestamp,
    /// The number of the next e-mail that has not been sent yet.
    next: u64,
    /// Reports that are made later, by the time at which they are.
    coming: BTreeMap<(Timestamp, u64), Value>,
    pub(super) queue: VecDeque<(Timestamp, Value)>,
    /// Every report that was handed out, ever.
    pub(super) handed: Vec<Value>,
    /// How many each answer had.
    pub(super) answers: Vec<usize>,
}

pub(super) async fn reports(State(own): State<Infobip>, request: Request) -> Response {
    let options = lock(&own.0.options).clone();
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let get = |name: &str| {
        parameters
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value)
    };
    let limit = match get("limit").map(|limit| limit.parse::<usize>()) {
        None => 50,
        Some(Ok(limit @ 1..=1000)) => limit,
        Some(_) => {
            let invalid = Some(("limit", "must be less than or equal to 1000"));
            return error(&options, 400, "BAD_REQUEST", "Bad Request", invalid);
        }
    };
    let wanted = |report: &Value| {
        ["bulkId", "messageId"]
            .iter()
            .all(|name| get(name).is_none_or(|value| report[*name].as_str() == Some(value)))
    };
    let now = own.mail_clock();
    let mut mail = lock(&own.0.mail);
    mail.go_on(now, options.email_every, &own.0.incidents);
    let call = request.extensions().get::<Call>();
    let limit = call.map_or(limit, |call| lists::capped(limit, call));
    let mut results = mail.take(limit, wanted, call);
    for report in &mut results {
        let report = report.as_object_mut();
        if let Some(report) = report {
            if !options.bulk_ids && get("bulkId").is_none() {
                report.remove("bulkId");
            }
            if !options.campaigns {
                report.remove("campaignReferenceId");
            }
        }
    }
    if let Some(call) = call {
        super::mood::vary(&mut results, call);
    }
    mail.handed.extend(results.iter().cloned());
    mail.answers.push(results.len());
    if let Some(call) = call {
        super::mood::repeat(&mut results, &mail.handed, call);
    }
    answer(200, &json!({"results": results}))
}

/// The log of messages: what was reported lately, any number of times.
pub(super) async fn logs(State(own): State<Infobip>, request: Request) -> Response {
    let options = lock(&own.0.options).clone();
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let limit = parameters.iter().find(|(name, _)| name == "limit");
    let Some(limit @ 1..=1000) = limit.map_or(Some(50), |(_, limit)| limit.parse::<usize>().ok())
    else {
        let invalid = Some(("limit", "must be less than or equal to 1000"));
        return error(&options, 400, "BAD_REQUEST", "Bad Request", invalid);
    };
    let now = own.mail_clock();
    let mut mail = lock(&own.0.mail);
    mail.go_on(now, options.email_every, &own.0.incidents);
    let waiting = mail.queue.iter().rev().map(|(_, report)| report);
    let all = waiting.chain(mail.handed.iter().rev());
    let results: Vec<&Value> = all.take(limit).collect();
    answer(200, &json!({"results": results}))
}

impl Mail {
    /// A queue with the reports of e-mails that are sent from `begin` on.
    pub(super) fn new(seed: u64, begin: Timestamp) -> Mail {
        Mail {
            seed,
            begin,
            next: 0,
            coming: BTreeMap::new(),
            queue: VecDeque::new(),
            handed: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Takes reports out of the queue: the oldest, or those that the mood takes first.
    fn take(
        &mut self,
        limit: usize,
        wanted: impl Fn(&Value) -> bool,
        call: Option<&Call>,
    ) -> Vec<Value> {
        let order = call.map_or(Order::Usual, |call| call.mood.order);
        let mut results = Vec::new();
        let mut kept = VecDeque::new();
        let mut queue = std::mem::take(&mut self.queue);
        let newest_first = order == Order::Newest;
        while results.len() < limit
            && let Some((at, report)) = if newest_first {
                queue.pop_back()
            } else {
                queue.pop_front()
            }
        {
            if wanted(&report) {
                results.push(report);
            } else if newest_first {
                kept.push_front((at, report));
            } else {
                kept.push_back((at, report));
            }
        }
        // What was looked at and not wanted stays where it was.
        if newest_first {
            queue.append(&mut kept);
            self.queue = queue;
        } else {
            kept.append(&mut queue);
            self.queue = kept;
        }
        if let Some(call) = call
            && order != Order::Usual
            && results.len() > 1
        {
            call.note("order");
            if matches!(order, Order::Shuffled | Order::Reshuffled) {
                let place = |report: &Value| call.row("order", name_of(report));
                results.sort_by_cached_key(place);
            }
        }
        results
    }

    /// Makes the reports that are due, and lets the old ones go.
    fn go_on(&mut self, now: Timestamp, every: Duration, incidents: &Incidents) {
        let every = SignedDuration::try_from(every).unwrap_or_default();
        // What is too old to be handed out need not be made.
        let old = now.duration_since(self.begin) - KEPT - LONGEST;
        if self.next == 0 && !every.is_zero() && !old.is_negative() {
            let skipped = old.as_secs() / every.as_secs().max(1);
            self.next = u64::try_from(skipped).unwrap_or(0);
        }
        while !every.is_zero() {
            let sent_at = self.begin + every * i32::try_from(self.next).unwrap_or(i32::MAX);
            if sent_at > now {
                break;
            }
            let bounces = incidents.lasted(Incident::BounceStorm, sent_at);
            self.send(self.next, sent_at, bounces);
            self.next += 1;
        }
        while let Some(entry) = self.coming.first_entry()
            && entry.key().0 <= now
        {
            let at = entry.key().0;
            self.queue.push_back((at, entry.remove()));
        }
        self.queue.retain(|(at, _)| now.duration_since(*at) <= KEPT);
    }

    /// The reports of one e-mail: intermediate ones for some, and a final one. While addresses
    /// bounce, a third of them do.
    fn send(&mut self, number: u64, sent_at: Timestamp, bounces: bool) {
        let seed = mix(self.seed, number);
        let luck = part(seed, 1);
        let seconds = 2.0 + 400.0 * part(seed, 2).powi(6) + 4.0 * part(seed, 3);
        let done = sent_at + SignedDuration::from_millis((seconds * 1000.0) as i64);
        let ok = ("OK", 0, 0, "NO_ERROR", false);
        let luck = if bounces && part(seed, 5) < 0.35 {
            0.96
        } else {
            luck
        };
        let (status, error) = match luck {
            ..0.955 => ((3, "DELIVERED", 5, "DELIVERED_TO_HANDSET"), ok),
            ..0.970 => (
                UNDELIVERABLE,
                ("USER_ERRORS", 2, 6009, "EC_MAILBOX_UNAVAILABLE", true),
            ),
            ..0.982 => (
                UNDELIVERABLE,
                ("USER_ERRORS", 2, 6010, "EC_STORAGE_LIMIT_EXCEEDED", false),
            ),
            ..0.988 => (
                UNDELIVERABLE,
                ("HANDSET_ERRORS", 1, 6034, "EC_SUPPRESSED_BOUNCE", true),
            ),
            ..0.991 => (
                UNDELIVERABLE,
                ("HANDSET_ERRORS", 1, 6002, "EC_EMAILS_SPAM_CONTENT", false),
            ),
            ..0.994 => (
                UNDELIVERABLE,
                ("OPERATOR_ERRORS", 3, 6015, "EC_EMAIL_GATEWAY_ERROR", false),
            ),
            ..0.997 => ((4, "EXPIRED", 15, "EXPIRED_EXPIRED"), ok),
            ..0.999 => ((5, "REJECTED", 6, "REJECTED_NETWORK"), ok),
            _ => (UNDELIVERABLE, ("NOVEL_ERRORS", 7, 6999, "EC_NOVEL", false)),
        };
        let last = report(seed, number, sent_at, done, status, error);
        self.coming.insert((done, number * 3 + 2), last);
        if part(seed, 4) < 0.1 {
            let at = sent_at + SignedDuration::from_secs(1);
            let status = (1, "PENDING", 7, "PENDING_ENROUTE");
            let first = report(seed, number, sent_at, at, status, ok);
            self.coming.insert((at, number * 3), first);
            if luck < 0.955 {
                let at = done - SignedDuration::from_millis(500);
                let status = (3, "DELIVERED", 2, "DELIVERED_TO_OPERATOR");
                let second = report(seed, number, sent_at, at, status, ok);
                self.coming.insert((at, number * 3 + 1), second);
            }
        }
    }
}

type StatusRow = (u64, &'static str, u64, &'static str);
type ErrorRow = (&'static str, u64, u64, &'static str, bool);

const UNDELIVERABLE: StatusRow = (2, "UNDELIVERABLE", 4, "UNDELIVERABLE_REJECTED_OPERATOR");
const CAMPAIGNS: [&str; 3] = ["invoice", "newsletter", "password-reset"];
/// The account's people live in several time zones.
const ZONES: [i8; 4] = [0, 1, -3, 5];

fn report(
    seed: u64,
    number: u64,
    sent_at: Timestamp,
    done_at: Timestamp,
    status: StatusRow,
    error: ErrorRow,
) -> Value {
    let hours = ZONES[(seed % 4) as usize];
    let time = |time: Timestamp| {
        let local = Offset::constant(hours).to_datetime(time);
        let sign = if hours < 0 { '-' } else { '+' };
        format!(
            "{}{sign}{:02}00",
            local.strftime("%Y-%m-%dT%H:%M:%S%.3f"),
            hours.abs()
        )
    };
    let mut error_body = json!({
        "groupId": error.1, "groupName": error.0, "id": error.2, "name": error.3,
        "description": "", "permanent": error.4,
    });
    if error.3 == "EC_NOVEL"
        && let Some(fields) = error_body.as_object_mut()
    {
        fields.remove("permanent");
    }
    json!({
        "bulkId": format!("bulk-{}", number / 1000),
        "messageId": format!("{seed:016x}-{number}"),
        "to": format!("recipient-{number}@example.com"),
        "sentAt": time(sent_at),
        "doneAt": time(done_at),
        "messageCount": 1,
        "price": {"pricePerMessage": 0.0025, "currency": "EUR"},
        "status": {"groupId": status.0, "groupName": status.1, "id": status.2, "name": status.3, "description": ""},
        "error": error_body,
        "channel": "EMAIL",
        "campaignReferenceId": CAMPAIGNS[(seed % 3) as usize],
    })
}

/// What names a report.
pub(super) fn name_of(report: &Value) -> u64 {
    let message = report["messageId"].as_str().unwrap_or_default();
    lists::named(message) ^ lists::named(&report["status"].to_string()).rotate_left(1)
}
