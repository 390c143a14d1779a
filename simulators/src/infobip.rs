//! Infobip: push statistics of a bulk, and e-mail delivery reports that are handed out once.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use delivery_clock::Clock;
use http::header;
use jiff::{SignedDuration, Timestamp, tz::Offset};
use serde_json::{Value, json};

use crate::{
    Known,
    mood::{Acting, Told},
    server::{Running, json as answer, parameters},
    traffic::{Campaign, Numbers, Traffic, Way, mix, part},
};

/// How long a report waits to be fetched.
const KEPT: SignedDuration = SignedDuration::from_hours(48);

/// How the account is known, and what the vendor does.
#[derive(Clone, Debug)]
pub struct Options {
    /// The value of `Authorization` that is right, such as `Basic …` or `App …`.
    pub authorization: String,
    /// The application code of push.
    pub application: String,
    /// Answer errors in the shape of the newer APIs.
    pub new_errors: bool,
    /// Name the bulk in each report.
    pub bulk_ids: bool,
    /// Name the campaign in each report.
    pub campaigns: bool,
    /// One e-mail is sent in every such time; zero: none but those that are put in.
    pub email_every: Duration,
}

impl Options {
    /// An account with user name and password.
    pub fn basic(username: &str, password: &str, application: &str) -> Options {
        let pair = STANDARD.encode(format!("{username}:{password}"));
        Options {
            authorization: format!("Basic {pair}"),
            application: application.to_owned(),
            new_errors: false,
            bulk_ids: false,
            campaigns: true,
            email_every: Duration::from_secs(15),
        }
    }
}

/// A simulated account.
#[derive(Clone)]
pub struct Infobip(Arc<Inner>);

struct Inner {
    clock: Clock,
    traffic: Traffic,
    acting_push: Acting,
    acting_email: Acting,
    told: Told,
    options: Mutex<Options>,
    /// Bulks with numbers that were put in.
    fixed: Mutex<BTreeMap<String, Value>>,
    mail: Mutex<Mail>,
}

/// The queue of reports.
struct Mail {
    seed: u64,
    begin: Timestamp,
    /// The number of the next e-mail that has not been sent yet.
    next: u64,
    /// Reports that are made later, by the time at which they are.
    coming: BTreeMap<(Timestamp, u64), Value>,
    queue: VecDeque<(Timestamp, Value)>,
    /// Every report that was handed out, ever.
    handed: Vec<Value>,
    /// How many each answer had.
    answers: Vec<usize>,
}

impl Infobip {
    /// An account whose traffic began at `begin`.
    pub fn new(
        clock: Clock,
        seed: u64,
        begin: Timestamp,
        gap: Duration,
        options: Options,
    ) -> Infobip {
        let mail = Mail {
            seed: mix(seed, 99),
            begin,
            next: 0,
            coming: BTreeMap::new(),
            queue: VecDeque::new(),
            handed: Vec::new(),
            answers: Vec::new(),
        };
        Infobip(Arc::new(Inner {
            clock,
            traffic: Traffic::new(seed, begin, gap),
            acting_push: Acting::default(),
            acting_email: Acting::default(),
            told: Told::default(),
            options: Mutex::new(options),
            fixed: Mutex::default(),
            mail: Mutex::new(mail),
        }))
    }

    /// Serves the account.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub async fn start(&self, address: SocketAddr) -> io::Result<Running> {
        let router = Router::new()
            .route("/push/1/statistics", get(statistics))
            .route("/email/1/reports", get(reports))
            .fallback(unknown)
            .layer(middleware::from_fn_with_state(self.clone(), authorized))
            .with_state(self.clone());
        let books = self.clone();
        let clock = self.0.clock.clone();
        Running::start(address, router, Arc::new(move || books.books()), clock).await
    }

    /// The mood of the account of push, and what was done in it.
    pub fn acting_push(&self) -> &Acting {
        &self.0.acting_push
    }

    /// The mood of the account of e-mail, and what was done in it.
    pub fn acting_email(&self) -> &Acting {
        &self.0.acting_email
    }

    /// What was said in good answers: see [`Told`].
    pub fn told(&self) -> Value {
        self.0.told.value()
    }

    /// The bulks that are refused for good.
    pub fn refused(&self) -> Vec<String> {
        Vec::new()
    }

    /// Changes how the vendor behaves.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        change(&mut lock(&self.0.options));
    }

    /// A bulk whose statistics are exactly these.
    pub fn put_bulk(&self, bulk: &str, statistics: Value) {
        lock(&self.0.fixed).insert(bulk.to_owned(), statistics);
    }

    /// Reports that wait to be fetched.
    pub fn put_reports(&self, reports: impl IntoIterator<Item = Value>) {
        let now = self.0.clock.now();
        lock(&self.0.mail)
            .queue
            .extend(reports.into_iter().map(|report| (now, report)));
    }

    /// Every report that was handed out, in order.
    pub fn handed_out(&self) -> Vec<Value> {
        lock(&self.0.mail).handed.clone()
    }

    /// How many reports each answer had, in order, the empty ones too.
    pub fn answers(&self) -> Vec<usize> {
        lock(&self.0.mail).answers.clone()
    }

    /// The bulks that the customer has sent.
    pub fn messages(&self) -> Vec<Known> {
        let application = lock(&self.0.options).application.clone();
        let sent = self.0.traffic.campaigns(self.0.clock.now());
        sent.iter()
            .map(|campaign| Known {
                application: application.clone(),
                id: bulk_id(campaign),
                campaign: Some(campaign.name.to_owned()),
                sent_at: Some(campaign.sent_at),
            })
            .collect()
    }

    /// What is true now: the statistics of each bulk, by its id.
    pub fn books(&self) -> Value {
        let now = self.0.clock.now();
        let mut bulks = lock(&self.0.fixed).clone();
        for campaign in self.0.traffic.campaigns(now) {
            bulks.insert(bulk_id(&campaign), statistics_of(&campaign, now));
        }
        json!({"statistics": bulks, "handed_out": self.handed_out()})
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nineteen digits: more than a double can hold.
fn bulk_id(campaign: &Campaign) -> String {
    format!("38{:017}", campaign.hash(1) % 100_000_000_000_000_000)
}

const ANDROID: Way = Way {
    share: 0.62,
    rate: 0.94,
    seconds: 240.0,
};
const IOS: Way = Way {
    share: 0.38,
    rate: 0.91,
    seconds: 90.0,
};

fn statistics_of(campaign: &Campaign, now: Timestamp) -> Value {
    let ways = [ANDROID, IOS].map(|way| campaign.numbers(way, now));
    let sum = |count: fn(&Numbers) -> u64| ways.iter().map(count).sum::<u64>();
    let (sent, delivered, failed) = (sum(|n| n.sent), sum(|n| n.delivered), sum(|n| n.failed));
    let registration = failed * 7 / 10;
    let expired = failed * 2 / 10;
    let rate = if sent == 0 {
        0.0
    } else {
        100.0 * delivered as f64 / sent as f64
    };
    json!({
        "totalSent": sent,
        "delivered": delivered,
        "seen": sum(|n| n.displayed),
        "errors": {
            "registration": registration,
            "expired": expired,
            // Not what is left over: that could fall.
            "cloud": failed / 10,
        },
        "delivery": {"rate": (rate * 100.0).round() / 100.0},
    })
}

fn error(
    options: &Options,
    status: u16,
    id: &str,
    text: &str,
    invalid: Option<(&str, &str)>,
) -> Response {
    if options.new_errors {
        let violations: Vec<_> = invalid
            .iter()
            .map(|(property, violation)| json!({"property": property, "violation": violation}))
            .collect();
        let body = json!({"errorCode": format!("E{status}"), "description": text,
            "action": "Check the request.", "violations": violations, "resources": []});
        return answer(status, &body);
    }
    let mut exception = json!({"messageId": id, "text": text});
    if let Some((field, problem)) = invalid {
        exception["validationErrors"] = json!({field: [problem]});
    }
    answer(
        status,
        &json!({"requestError": {"serviceException": exception}}),
    )
}

async fn authorized(State(own): State<Infobip>, request: Request, next: Next) -> Response {
    let options = lock(&own.0.options).clone();
    let given = request.headers().get(header::AUTHORIZATION);
    if given.is_some_and(|given| given.as_bytes() == options.authorization.as_bytes()) {
        return next.run(request).await;
    }
    error(&options, 401, "UNAUTHORIZED", "Invalid login details", None)
}

async fn unknown(State(own): State<Infobip>) -> Response {
    let options = lock(&own.0.options).clone();
    error(
        &options,
        404,
        "NOT_FOUND",
        "Requested resource not found",
        None,
    )
}

async fn statistics(State(own): State<Infobip>, request: Request) -> Response {
    let options = lock(&own.0.options).clone();
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let get = |name: &str| {
        parameters
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value)
    };
    for name in ["applicationCode", "bulkId"] {
        if get(name).is_none_or(String::is_empty) {
            let invalid = Some((name, "may not be empty"));
            return error(&options, 400, "BAD_REQUEST", "Bad Request", invalid);
        }
    }
    let now = own.0.clock.now();
    let bulk = get("bulkId").cloned().unwrap_or_default();
    let fixed = lock(&own.0.fixed).get(&bulk).cloned();
    let found = fixed.or_else(|| {
        let campaigns = own.0.traffic.campaigns(now);
        let campaign = campaigns
            .iter()
            .find(|campaign| bulk_id(campaign) == bulk)?;
        Some(statistics_of(campaign, now))
    });
    match found {
        Some(found) if get("applicationCode") == Some(&options.application) => answer(200, &found),
        _ => error(
            &options,
            404,
            "NOT_FOUND",
            "Requested resource not found",
            None,
        ),
    }
}

async fn reports(State(own): State<Infobip>, request: Request) -> Response {
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
    let now = own.0.clock.now();
    let mut mail = lock(&own.0.mail);
    mail.go_on(now, options.email_every);
    let mut results = Vec::new();
    let mut kept = VecDeque::new();
    for (at, report) in std::mem::take(&mut mail.queue) {
        if results.len() < limit && wanted(&report) {
            results.push(report);
        } else {
            kept.push_back((at, report));
        }
    }
    mail.queue = kept;
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
    mail.handed.extend(results.iter().cloned());
    mail.answers.push(results.len());
    answer(200, &json!({"results": results}))
}

impl Mail {
    /// Makes the reports that are due, and lets the old ones go.
    fn go_on(&mut self, now: Timestamp, every: Duration) {
        while let Ok(every) = SignedDuration::try_from(every)
            && !every.is_zero()
        {
            let sent_at = self.begin + every * i32::try_from(self.next).unwrap_or(i32::MAX);
            if sent_at > now {
                break;
            }
            self.send(self.next, sent_at);
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

    /// The reports of one e-mail: intermediate ones for some, and a final one.
    fn send(&mut self, number: u64, sent_at: Timestamp) {
        let seed = mix(self.seed, number);
        let luck = part(seed, 1);
        let seconds = 2.0 + 400.0 * part(seed, 2).powi(6) + 4.0 * part(seed, 3);
        let done = sent_at + SignedDuration::from_millis((seconds * 1000.0) as i64);
        let ok = ("OK", 0, 0, "NO_ERROR", false);
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
