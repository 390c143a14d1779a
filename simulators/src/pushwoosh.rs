//! Pushwoosh: the list of messages with their numbers, and what is told besides.

mod messages;
mod mood;
mod more;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use delivery_clock::Clock;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    incident::{Incident, Incidents},
    mood::{Acting, Told},
    server::{Running, Service, json as answer},
    traffic::{Campaign, Traffic},
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
    incidents: Incidents,
    acting: Acting,
    told: Told,
    options: Mutex<Options>,
    /// Items that were put in, with their application.
    fixed: Mutex<Vec<(String, Value)>>,
    /// Campaigns that were sent between two pages.
    more: Mutex<Vec<Campaign>>,
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
        Pushwoosh::with_traffic(clock, Traffic::new(seed, begin, gap), options)
    }

    /// An account with this traffic.
    pub fn with_traffic(clock: Clock, traffic: Traffic, options: Options) -> Pushwoosh {
        Pushwoosh(Arc::new(Inner {
            incidents: traffic.incidents(&clock),
            clock,
            traffic,
            acting: Acting::default(),
            told: Told::default(),
            options: Mutex::new(options),
            fixed: Mutex::default(),
            more: Mutex::default(),
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
            .route("/api/v2/messages:list", post(messages::list))
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
            .layer(middleware::from_fn_with_state(self.clone(), available))
            .with_state(self.clone());
        Service::new(router, Arc::new(self.clone()), self.0.clock.clone())
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
        let mood = self.0.acting.mood();
        let campaigns = self.campaigns(self.now());
        let refused = campaigns.iter().filter(|own| mood.refuses(own.number));
        refused.map(messages::code_of).collect()
    }

    /// The vendor's clock.
    fn now(&self) -> Timestamp {
        self.0.acting.clock(self.0.clock.now())
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
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Nothing is answered while the vendor is down.
async fn available(State(own): State<Pushwoosh>, request: Request, next: Next) -> Response {
    if own.0.incidents.is_on(Incident::VendorDown) {
        return error(&own, 503, 14, "unavailable");
    }
    next.run(request).await
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
fn per_page(own: &Pushwoosh, wanted: u64, max: u64) -> Result<usize, Refused> {
    if wanted == 0 || wanted > max {
        let text = format!("per_page must be at most {max}");
        return Err(refused(own, 400, 3, &text));
    }
    Ok(usize::try_from(wanted).unwrap_or(usize::MAX))
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
