//! Infobip: push statistics of a bulk, and e-mail delivery reports that are handed out once.

mod mail;
mod mood;

use std::{
    collections::BTreeMap,
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
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::mail::Mail;

use crate::{
    Known,
    incident::Incidents,
    mood::{Acting, Call, Told, Unknown},
    server::{Running, Service, json as answer, parameters},
    traffic::{Campaign, Numbers, Traffic, Way},
};

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
    incidents: Incidents,
    acting_push: Acting,
    acting_email: Acting,
    told: Told,
    options: Mutex<Options>,
    /// Bulks with numbers that were put in.
    fixed: Mutex<BTreeMap<String, Value>>,
    mail: Mutex<Mail>,
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
        Infobip::with_traffic(clock, Traffic::new(seed, begin, gap), options)
    }

    /// An account with this traffic.
    pub fn with_traffic(clock: Clock, traffic: Traffic, options: Options) -> Infobip {
        // Reports of days are many where e-mails are sent every few seconds.
        let begin = match traffic.steady() {
            Some(steady) => steady.begin - MAIL_BEFORE,
            None => traffic.begin(),
        };
        Infobip(Arc::new(Inner {
            mail: Mutex::new(Mail::new(traffic.hash(99), begin)),
            incidents: traffic.incidents(&clock),
            clock,
            traffic,
            acting_push: Acting::default(),
            acting_email: Acting::default(),
            told: Told::default(),
            options: Mutex::new(options),
            fixed: Mutex::default(),
        }))
    }

    /// Serves the account.
    ///
    /// # Errors
    ///
    /// The address cannot be listened on.
    pub async fn start(&self, address: SocketAddr) -> io::Result<Running> {
        Running::start(address, self.service()).await
    }

    /// What answers the account's requests, without a port.
    pub fn service(&self) -> Service {
        let router = Router::new()
            .route("/push/1/statistics", get(statistics))
            .route("/email/1/reports", get(mail::reports))
            .route("/email/1/logs", get(mail::logs))
            .fallback(unknown)
            .layer(middleware::from_fn_with_state(self.clone(), authorized))
            .with_state(self.clone());
        Service::new(router, Arc::new(self.clone()), self.0.clock.clone())
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
        let mood = self.0.acting_push.mood();
        let campaigns = self.0.traffic.campaigns(self.push_clock());
        let refused = campaigns.iter().filter(|own| mood.refuses(own.number));
        refused.map(bulk_id).collect()
    }

    /// The clock of push.
    fn push_clock(&self) -> Timestamp {
        self.0.acting_push.clock(self.0.clock.now())
    }

    /// The clock of e-mail.
    fn mail_clock(&self) -> Timestamp {
        self.0.acting_email.clock(self.0.clock.now())
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
        let now = self.mail_clock();
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
        let now = self.0.clock.now();
        let skew = self.push_clock().duration_since(now);
        let sent = self.0.traffic.campaigns(now + skew);
        sent.iter()
            .map(|campaign| Known {
                application: application.clone(),
                id: bulk_id(campaign),
                campaign: Some(campaign.name.to_owned()),
                sent_at: Some(campaign.sent_at - skew),
            })
            .collect()
    }

    /// What is true now: the statistics of each bulk, by its id.
    pub fn books(&self) -> Value {
        let now = self.push_clock();
        let mood = self.0.acting_push.mood();
        let mut bulks = lock(&self.0.fixed).clone();
        for campaign in self.0.traffic.campaigns(now).iter() {
            bulks.insert(bulk_id(campaign), statistics_of(campaign, now));
        }
        for (bulk, statistics) in &mut bulks {
            mood::enrich(bulk, statistics, &mood);
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

/// E-mails were sent for so long before the first small message.
const MAIL_BEFORE: SignedDuration = SignedDuration::from_mins(30);

/// Before a campaign was sent, its numbers are 0.
const BEFORE: SignedDuration = SignedDuration::from_secs(1);

fn statistics_of(campaign: &Campaign, now: Timestamp) -> Value {
    let ways = [
        // Devices with Android are reached through FCM alone.
        campaign.numbers_with_fcm(ANDROID, 1.0, now),
        campaign.numbers(IOS, now),
    ];
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
            "cloud": failed / 10 + sum(|n| n.refused),
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
    let now = own.push_clock();
    let bulk = get("bulkId").cloned().unwrap_or_default();
    let call = request.extensions().get::<Call>();
    let fixed = lock(&own.0.fixed).get(&bulk).cloned();
    let found = fixed.or_else(|| {
        let campaigns = own.0.traffic.campaigns(now);
        let campaign = campaigns
            .iter()
            .find(|campaign| bulk_id(campaign) == bulk)?;
        match call.map_or(Unknown::Never, |call| call.unknown(campaign, now)) {
            Unknown::Never => Some(statistics_of(campaign, now)),
            Unknown::Refused => None,
            // An unknown bulk has sent nothing.
            Unknown::LeftOut => Some(statistics_of(campaign, campaign.sent_at - BEFORE)),
        }
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
