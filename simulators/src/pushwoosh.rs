//! Pushwoosh: the list of messages with their numbers, and what is told besides.

mod more;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use delivery_clock::Clock;
use http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    mood::{Acting, Told},
    server::{Running, json as answer},
    traffic::{Campaign, Numbers, Traffic, Way, part, scale},
};

/// The shapes in which the vendor's errors come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `{"code": 16, "message": …, "details": []}`.
    Gateway,
    /// The same with the text as `error` too.
    OlderGateway,
    /// `{"error": …}`.
    Plain,
    /// `{"error": …}` with HTTP 200.
    PlainWith200,
    /// `{"status_code": 210, …}` with HTTP 200, as in API 1.3.
    Old,
}

/// How the account is known, and what the vendor does.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server token.
    pub api_token: String,
    /// The codes of the applications that the token may see.
    pub applications: Vec<String>,
    /// Codes of applications that exist and that the token may not see.
    pub forbidden: Vec<String>,
    /// The shape of errors.
    pub errors: ErrorShape,
    /// Take only the word that the documentation shows for an endpoint.
    pub strict_word: bool,
    /// Send all numbers as texts.
    pub numbers_as_text: bool,
    /// A new message arrives after each page.
    pub new_between_pages: bool,
}

impl Options {
    /// An account with the vendor's usual behaviour.
    pub fn new(api_token: &str, applications: &[&str]) -> Options {
        Options {
            api_token: api_token.to_owned(),
            applications: applications.iter().map(|&code| code.to_owned()).collect(),
            forbidden: Vec::new(),
            errors: ErrorShape::Gateway,
            strict_word: false,
            numbers_as_text: false,
            new_between_pages: false,
        }
    }
}

/// A simulated account.
#[derive(Clone)]
pub struct Pushwoosh(Arc<Inner>);

struct Inner {
    clock: Clock,
    traffic: Traffic,
    acting: Acting,
    told: Told,
    options: Mutex<Options>,
    /// Items that were put in, with their application.
    fixed: Mutex<Vec<(String, Value)>>,
}

impl Pushwoosh {
    /// An account whose traffic began at `begin`.
    pub fn new(
        clock: Clock,
        seed: u64,
        begin: Timestamp,
        gap: Duration,
        options: Options,
    ) -> Pushwoosh {
        Pushwoosh(Arc::new(Inner {
            clock,
            traffic: Traffic::new(seed, begin, gap),
            acting: Acting::default(),
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
        let router = Router::new()
            .route("/api/v2/messages:list", post(list))
            .route(
                "/api/v2/statistics/messages/totalsByIntervals",
                post(more::totals),
            )
            .route("/api/v2/statistics/getMessageLog", post(more::message_log))
            .route(
                "/api/v2/statistics/emails/linksInteractions",
                post(more::link_clicks),
            )
            .route(
                "/api/v2/statistics/emails/linksInteractionsDevices",
                post(more::link_devices),
            )
            .route(
                "/api/v2/statistics/emails/bouncedEmails",
                post(more::bounced_emails),
            )
            .fallback(unknown)
            .with_state(self.clone());
        let books = self.clone();
        let clock = self.0.clock.clone();
        Running::start(address, router, Arc::new(move || books.books()), clock).await
    }

    /// The account's mood, and what was done in it.
    pub fn acting(&self) -> &Acting {
        &self.0.acting
    }

    /// What was said in good answers: see [`Told`].
    pub fn told(&self) -> Value {
        self.0.told.value()
    }

    /// The ids that are refused for good.
    pub fn refused(&self) -> Vec<String> {
        Vec::new()
    }

    /// Changes how the vendor behaves.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        change(&mut lock(&self.0.options));
    }

    /// A message of an application that is exactly this.
    pub fn put_message(&self, application: &str, item: Value) {
        lock(&self.0.fixed).push((application.to_owned(), item));
    }

    /// What is true now: the items of each application, with their numbers.
    pub fn books(&self) -> Value {
        let applications = lock(&self.0.options).applications.clone();
        let mut books = more::books(self, &applications);
        books.extend(applications.into_iter().map(|code| {
            let items = self.items(&code);
            (code, Value::Array(items))
        }));
        Value::Object(books)
    }

    /// The message as it was at any time, by its code. One that was put in does not change.
    fn message(&self, code: &str) -> Option<impl Fn(Timestamp) -> Value> {
        let fixed = lock(&self.0.fixed).clone();
        let fixed = fixed.into_iter().map(|(_, item)| item);
        let fixed = fixed.into_iter().find(|item| item["code"] == code);
        let now = self.0.clock.now();
        let mut campaigns = self.0.traffic.campaigns(now).into_iter();
        let campaign = campaigns.find(|campaign| item_of(campaign, now)["code"] == code);
        if fixed.is_none() && campaign.is_none() {
            return None;
        }
        Some(move |at| match (&fixed, &campaign) {
            (Some(item), _) => item.clone(),
            (None, Some(campaign)) => item_of(campaign, at),
            (None, None) => Value::Null,
        })
    }

    /// All messages of an application, the newest first.
    fn items(&self, application: &str) -> Vec<Value> {
        let now = self.0.clock.now();
        let options = lock(&self.0.options).clone();
        let place = options
            .applications
            .iter()
            .position(|code| code == application);
        let count = options.applications.len().max(1) as u64;
        let mut items: Vec<Value> = lock(&self.0.fixed)
            .iter()
            .filter(|(own, _)| own == application)
            .map(|(_, item)| item.clone())
            .collect();
        let campaigns = self.0.traffic.campaigns(now);
        // The next one is scheduled already.
        let next = campaigns
            .last()
            .map(|last| self.0.traffic.campaign(last.number + 1));
        for campaign in campaigns.iter().chain(&next).rev() {
            if Some(campaign.number % count) == place.map(|place| place as u64) {
                let mut item = item_of(campaign, now);
                if options.numbers_as_text {
                    numbers_as_text(&mut item);
                }
                items.push(item);
            }
        }
        items
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const PLATFORMS: [(u64, Way); 10] = [
    // Without the application's extension, iOS confirms nothing.
    (
        1,
        Way {
            share: 0.30,
            rate: 0.0,
            seconds: 60.0,
        },
    ),
    (
        3,
        Way {
            share: 0.40,
            rate: 0.88,
            seconds: 180.0,
        },
    ),
    (
        7,
        Way {
            share: 0.02,
            rate: 0.80,
            seconds: 600.0,
        },
    ),
    (
        10,
        Way {
            share: 0.03,
            rate: 0.70,
            seconds: 3600.0,
        },
    ),
    (
        11,
        Way {
            share: 0.08,
            rate: 0.75,
            seconds: 3600.0,
        },
    ),
    (
        12,
        Way {
            share: 0.02,
            rate: 0.70,
            seconds: 3600.0,
        },
    ),
    (
        17,
        Way {
            share: 0.08,
            rate: 0.82,
            seconds: 900.0,
        },
    ),
    (
        19,
        Way {
            share: 0.04,
            rate: 0.85,
            seconds: 300.0,
        },
    ),
    (
        150,
        Way {
            share: 0.02,
            rate: 0.75,
            seconds: 3600.0,
        },
    ),
    (
        99,
        Way {
            share: 0.01,
            rate: 0.50,
            seconds: 600.0,
        },
    ),
];

fn row(platform: u64, numbers: Numbers) -> Value {
    json!({
        "sends": numbers.sent,
        "opens": numbers.opened,
        "deliveries": numbers.delivered,
        "inbox_opens": numbers.opened / 20,
        "unshowable_sends": numbers.sent / 9,
        "errors": numbers.failed / 10,
        "platform": platform,
    })
}

fn item_of(campaign: &Campaign, now: Timestamp) -> Value {
    let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let hash = campaign.hash(9);
    let future = campaign.sent_at > now;
    let age = now.duration_since(campaign.sent_at);
    let status = match (
        future,
        age < SignedDuration::from_mins(3),
        campaign.number % 2,
    ) {
        (true, ..) => "PENDING",
        (_, true, _) => "PROCESSING",
        (.., 0) => "DONE",
        _ => "done",
    };
    let mut item = json!({
        "id": 12_345_000_000_u64 + campaign.number,
        "code": format!("{:04X}-{:08X}-{:08X}", hash >> 48, (hash >> 16) as u32, campaign.number),
        // A second after it was sent: so the vendor says.
        "created_date": time(campaign.sent_at + SignedDuration::from_secs(1)),
        "send_date": time(campaign.sent_at),
        "status": status,
        "platforms": [1, 3, 17],
        "source": "API",
    });
    let rows = || -> Vec<Value> {
        let mut rows: Vec<_> = PLATFORMS
            .iter()
            .map(|(platform, way)| row(*platform, campaign.numbers(*way, now)))
            .collect();
        if campaign.number % 6 == 2 {
            let sms = Way {
                share: 0.01,
                rate: 0.97,
                seconds: 20.0,
            };
            rows.push(row(18, campaign.numbers(sms, now)));
            rows.push(row(21, campaign.numbers(sms, now)));
        }
        rows
    };
    match (future, campaign.number % 4) {
        (true, _) => {}
        (_, 3) => {
            item["push_info"] = Value::Null;
            item["email_info"] = json!({"metrics": [email(campaign, now)]});
        }
        (_, 2) => item["push_info"] = json!({"metrics": rows()}),
        (_, 1) if campaign.number % 8 == 1 => {
            item["push_info"] = json!({"metrics": rows()});
            item["email_info"] = json!({"metrics": [email(campaign, now)]});
        }
        _ => item["push_info"] = json!({"metrics": rows()}),
    }
    item
}

fn email(campaign: &Campaign, now: Timestamp) -> Value {
    let way = Way {
        share: 0.9,
        rate: 0.955,
        seconds: 120.0,
    };
    let numbers = campaign.numbers(way, now);
    let hard = scale(numbers.failed, 0.25 + 0.2 * part(campaign.hash(2), 1));
    json!({
        "sends": numbers.sent,
        "opens": numbers.opened,
        "deliveries": numbers.delivered,
        "hard_bounces": hard,
        "soft_bounces": scale(numbers.failed, 0.4),
        "rejects": scale(numbers.failed, 0.05),
        "confirmed_sends": scale(numbers.sent, 0.99),
        "unsubs": numbers.opened / 60,
        "complaints": numbers.opened / 400,
        "errors": scale(numbers.failed, 0.02),
    })
}

fn numbers_as_text(value: &mut Value) {
    match value {
        Value::Number(number) => *value = Value::String(number.to_string()),
        Value::Array(items) => items.iter_mut().for_each(numbers_as_text),
        Value::Object(fields) => fields.values_mut().for_each(numbers_as_text),
        _ => {}
    }
}

fn error(own: &Pushwoosh, status: u16, code: u32, text: &str) -> Response {
    match lock(&own.0.options).errors {
        ErrorShape::Gateway => answer(
            status,
            &json!({"code": code, "message": text, "details": []}),
        ),
        ErrorShape::OlderGateway => answer(
            status,
            &json!({"error": text, "code": code, "message": text, "details": []}),
        ),
        ErrorShape::Plain => answer(status, &json!({"error": text})),
        ErrorShape::PlainWith200 => answer(200, &json!({"error": text})),
        ErrorShape::Old => answer(
            200,
            &json!({"status_code": 210, "status_message": text, "response": null}),
        ),
    }
}

async fn unknown(State(own): State<Pushwoosh>) -> Response {
    error(&own, 404, 5, "Not Found")
}

/// Why a request is not answered: the vendor's error.
struct Refused(Box<Response>);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The vendor's error, as a refusal.
fn refused(own: &Pushwoosh, status: u16, code: u32, text: &str) -> Refused {
    Refused(Box::new(error(own, status, code, text)))
}

/// How many rows a request wants in a page: at most `max`.
fn per_page(own: &Pushwoosh, wanted: u64, max: u64) -> Result<u64, Refused> {
    if wanted == 0 || wanted > max {
        let text = format!("per_page must be at most {max}");
        return Err(refused(own, 400, 3, &text));
    }
    Ok(wanted)
}

/// The page of the rows that a request asks for.
fn page_of(request: &Value, per_page: u64, rows: Vec<Value>) -> Vec<Value> {
    let page = request["page"].as_u64().unwrap_or(0);
    let skip = usize::try_from(page.saturating_mul(per_page)).unwrap_or(usize::MAX);
    let take = usize::try_from(per_page).unwrap_or(usize::MAX);
    rows.into_iter().skip(skip).take(take).collect()
}

/// The body of a request with the right token, after the word that the documentation shows (or, if
/// the vendor is not strict, any of its words).
fn authorized(
    own: &Pushwoosh,
    headers: &HeaderMap,
    body: &Bytes,
    documented: &str,
) -> Result<Value, Refused> {
    let options = lock(&own.0.options).clone();
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|given| given.to_str().ok());
    let (word, token) = given
        .and_then(|given| given.split_once(' '))
        .unwrap_or_default();
    let known = if options.strict_word {
        word == documented
    } else {
        ["Api", "Key", "Token"].contains(&word)
    };
    if !known || token != options.api_token {
        return Err(refused(own, 401, 16, "invalid auth token"));
    }
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return Err(refused(own, 400, 3, "the body is no JSON"));
    };
    if request.get("request").is_some() {
        let text = "unknown field \"request\"";
        return Err(refused(own, 400, 3, text));
    }
    Ok(request)
}

/// Nothing, if the token may see the application that a request names in `field`.
fn allowed(own: &Pushwoosh, application: &str, field: &str) -> Result<(), Refused> {
    let options = lock(&own.0.options);
    let is_in = |codes: &[String]| codes.iter().any(|code| code == application);
    let (forbidden, known) = (is_in(&options.forbidden), is_in(&options.applications));
    drop(options);
    if forbidden {
        let text = "token restrictions forbid this operation";
        return Err(refused(own, 403, 7, text));
    }
    if !known {
        return Err(refused(own, 400, 3, &format!("{field} not found")));
    }
    Ok(())
}

async fn list(
    State(own): State<Pushwoosh>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let request = authorized(&own, &headers, &body, "Api")?;
    let options = lock(&own.0.options).clone();
    let filters = &request["filters"];
    let Some(application) = filters["application"].as_str() else {
        return Err(refused(&own, 400, 3, "filters.application is required"));
    };
    allowed(&own, application, "application")?;
    let per_page = per_page(&own, request["per_page"].as_u64().unwrap_or(20), 1000)?;
    let page = request["page"].as_u64().unwrap_or(0);
    if options.new_between_pages && page > 0 {
        let code = format!("NEW0-{page:08}-00000000");
        let item = json!({"id": page, "code": code, "status": "DONE",
            "send_date": own.0.clock.now().strftime("%Y-%m-%d %H:%M:%S").to_string()});
        lock(&own.0.fixed).insert(0, (application.to_owned(), item));
    }
    let found: Vec<Value> = own
        .items(application)
        .into_iter()
        .filter(|item| fits(filters, item))
        .collect();
    let total = found.len();
    let with_metrics = request["params"]["with_metrics"].as_bool() == Some(true);
    let items: Vec<Value> = page_of(&request, per_page, found)
        .into_iter()
        .map(|mut item| {
            for info in ["push_info", "email_info"] {
                if let Some(fields) = item[info].as_object_mut().filter(|_| !with_metrics) {
                    fields.remove("metrics");
                }
            }
            item
        })
        .collect();
    Ok(answer(200, &json!({"total": total, "items": items})))
}

/// Whether an item fits the filters.
fn fits(filters: &Value, item: &Value) -> bool {
    let named = |filter: &str, field: &str| {
        let names = filters[filter].as_array().filter(|names| !names.is_empty());
        let text = |value: &Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        names.is_none_or(|names| names.iter().any(|name| text(name) == text(&item[field])))
    };
    let date = item["send_date"].as_str().unwrap_or_default();
    let day = date.get(..10).unwrap_or_default();
    let range = &filters["date_range"];
    let after = range["date_from"]
        .as_str()
        .is_none_or(|from| day.is_empty() || day >= from);
    let before = range["date_to"]
        .as_str()
        .is_none_or(|to| day.is_empty() || day <= to);
    let source = filters["source"]
        .as_str()
        .is_none_or(|own| Some(own) == item["source"].as_str());
    named("messages_ids", "id") && named("messages_codes", "code") && after && before && source
}
