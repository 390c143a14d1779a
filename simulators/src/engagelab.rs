//! EngageLab AppPush: the numbers of messages, up to 100 ids a request.

mod mood;
mod more;

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
use http::{Method, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

pub use more::CANARIES;

use crate::{
    Known,
    incident::{Incident, Incidents},
    mood::{Acting, Call, Told, Unknown},
    server::{Running, Service, json as answer, parameters},
    traffic::{Campaign, Numbers, Traffic, Way},
};

/// How long statistics are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What happens later is not counted.
const FINAL: SignedDuration = SignedDuration::from_hours(5 * 24);

/// How the account is known, and what the vendor does.
#[derive(Clone, Debug)]
pub struct Options {
    /// The public half of the credentials.
    pub app_key: String,
    /// The secret half.
    pub master_secret: String,
    /// Answer errors without the object around them.
    pub flat_errors: bool,
    /// Put the singular spellings where the plural ones are, and the other way round.
    pub swap_spelling: bool,
    /// Leave unknown ids out of the answer instead of refusing the request.
    pub leave_out_unknown: bool,
    /// Echo `time_unit` as the documentation has it, and not `TimeUnit` as the libraries do.
    pub documented_time_unit: bool,
}

impl Options {
    /// An account with the vendor's usual behaviour.
    pub fn new(app_key: &str, master_secret: &str) -> Options {
        Options {
            app_key: app_key.to_owned(),
            master_secret: master_secret.to_owned(),
            flat_errors: false,
            swap_spelling: false,
            leave_out_unknown: false,
            documented_time_unit: false,
        }
    }
}

/// A simulated account.
#[derive(Clone)]
pub struct Engagelab(Arc<Inner>);

struct Inner {
    clock: Clock,
    traffic: Traffic,
    incidents: Incidents,
    acting: Acting,
    told: Told,
    options: Mutex<Options>,
    fixed: Mutex<BTreeMap<String, Value>>,
}

impl Engagelab {
    /// An account whose traffic began at `begin`.
    pub fn new(
        clock: Clock,
        seed: u64,
        begin: Timestamp,
        gap: Duration,
        options: Options,
    ) -> Engagelab {
        Engagelab::with_traffic(clock, Traffic::new(seed, begin, gap), options)
    }

    /// An account with this traffic.
    pub fn with_traffic(clock: Clock, traffic: Traffic, options: Options) -> Engagelab {
        Engagelab(Arc::new(Inner {
            incidents: traffic.incidents(&clock),
            clock,
            traffic,
            acting: Acting::default(),
            told: Told::default(),
            options: Mutex::new(options),
            fixed: Mutex::default(),
        }))
    }

    /// Serves the account; an error says that the address cannot be listened on.
    pub async fn start(&self, address: SocketAddr) -> io::Result<Running> {
        Running::start(address, self.service()).await
    }

    /// What answers the account's requests, without a port.
    pub fn service(&self) -> Service {
        let router = Router::new()
            .route("/v4/status/detail", get(detail))
            .route("/v4/status/users", get(more::users))
            .route("/v4/status/message", get(more::lifecycle))
            .fallback(wrong_path)
            .layer(middleware::from_fn_with_state(self.clone(), authorized))
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
        let campaigns = self.0.traffic.campaigns(self.now());
        let refused = campaigns.iter().filter(|own| mood.refuses(own.number));
        refused.map(message_id).collect()
    }

    /// The vendor's clock.
    fn now(&self) -> Timestamp {
        self.0.acting.clock(self.0.clock.now())
    }

    /// Changes how the vendor behaves.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        change(&mut lock(&self.0.options));
    }

    /// A message whose numbers are exactly these.
    pub fn put_message(&self, id: &str, numbers: Value) {
        lock(&self.0.fixed).insert(id.to_owned(), numbers);
    }

    /// The messages that the customer has sent.
    pub fn messages(&self) -> Vec<Known> {
        let now = self.0.clock.now();
        let skew = self.now().duration_since(now);
        let sent = self.0.traffic.campaigns(now + skew);
        sent.iter()
            .map(|campaign| Known {
                application: String::new(),
                id: message_id(campaign),
                campaign: None,
                sent_at: Some(campaign.sent_at - skew),
            })
            .collect()
    }

    /// What is true now: the numbers of each message, by its id.
    pub fn books(&self) -> Value {
        let now = self.now();
        let swap = lock(&self.0.options).swap_spelling;
        let mood = self.0.acting.mood();
        let mut messages = lock(&self.0.fixed).clone();
        let campaigns = self.0.traffic.campaigns(now);
        for campaign in campaigns.iter() {
            messages.insert(message_id(campaign), numbers_of(campaign, now, swap));
        }
        for (id, numbers) in &mut messages {
            mood::enrich(id, numbers, &mood);
        }
        let mut lifecycle = Map::new();
        for id in messages.keys() {
            let mut devices = more::devices(self, id, &more::CANARIES);
            mood::enrich_devices(id, &mut devices, &mood);
            lifecycle.insert(id.clone(), devices);
        }
        json!({"messages": messages, "users": more::books(now, &mood), "lifecycle": lifecycle})
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message_id(campaign: &Campaign) -> String {
    (1_000_000_000 + campaign.hash(5) % 1_000_000_000).to_string()
}

const CHANNELS: [(&str, &str, Way); 14] = [
    (
        "sub_android",
        "engageLab_android",
        Way {
            share: 0.10,
            rate: 0.95,
            seconds: 60.0,
        },
    ),
    (
        "sub_android",
        "huawei",
        Way {
            share: 0.12,
            rate: 0.85,
            seconds: 900.0,
        },
    ),
    (
        "sub_android",
        "honor",
        Way {
            share: 0.05,
            rate: 0.86,
            seconds: 900.0,
        },
    ),
    (
        "sub_android",
        "xiaomi",
        Way {
            share: 0.12,
            rate: 0.90,
            seconds: 300.0,
        },
    ),
    (
        "sub_android",
        "oppo",
        Way {
            share: 0.10,
            rate: 0.89,
            seconds: 300.0,
        },
    ),
    (
        "sub_android",
        "vivo",
        Way {
            share: 0.10,
            rate: 0.88,
            seconds: 400.0,
        },
    ),
    (
        "sub_android",
        "meizu",
        Way {
            share: 0.01,
            rate: 0.70,
            seconds: 1800.0,
        },
    ),
    (
        "sub_android",
        "fcm",
        Way {
            share: 0.15,
            rate: 0.93,
            seconds: 120.0,
        },
    ),
    (
        "sub_android",
        "tecno",
        Way {
            share: 0.01,
            rate: 0.80,
            seconds: 600.0,
        },
    ),
    (
        "sub_ios",
        "engageLab_ios",
        Way {
            share: 0.02,
            rate: 0.95,
            seconds: 30.0,
        },
    ),
    // No receipts without a callback: nothing is ever delivered.
    (
        "sub_ios",
        "apns",
        Way {
            share: 0.18,
            rate: 0.0,
            seconds: 60.0,
        },
    ),
    (
        "sub_hmos",
        "engageLab_hmos",
        Way {
            share: 0.01,
            rate: 0.95,
            seconds: 60.0,
        },
    ),
    (
        "sub_hmos",
        "harmonyos",
        Way {
            share: 0.02,
            rate: 0.90,
            seconds: 200.0,
        },
    ),
    (
        "sub_quickapp",
        "union",
        Way {
            share: 0.01,
            rate: 0.60,
            seconds: 600.0,
        },
    ),
];

/// The five numbers, in one of the two spellings.
fn five(numbers: Numbers, singular: bool) -> Map<String, Value> {
    let (targets, clicks) = if singular {
        ("target", "click")
    } else {
        ("targets", "clicks")
    };
    let fields = [
        (targets, numbers.targets),
        ("sent", numbers.sent),
        ("delivered", numbers.delivered),
        ("impressions", numbers.displayed),
        (clicks, numbers.opened),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect()
}

fn numbers_of(campaign: &Campaign, now: Timestamp, swap: bool) -> Value {
    let now = now.min(campaign.sent_at + FINAL);
    let mut notification = Map::new();
    let mut total = Numbers::default();
    for (platform, channel, way) in CHANNELS {
        let through_fcm = if channel == "fcm" { 1.0 } else { 0.0 };
        let numbers = campaign.numbers_with_fcm(way, through_fcm, now);
        total.targets += numbers.targets;
        total.sent += numbers.sent;
        total.delivered += numbers.delivered;
        total.displayed += numbers.displayed;
        total.opened += numbers.opened;
        let channels = notification.entry(platform).or_insert_with(|| json!({}));
        channels[channel] = Value::Object(five(numbers, swap));
    }
    // The vendor's levels do not add up to each other.
    let whole = campaign.numbers_with_fcm(
        Way {
            share: 1.0,
            rate: 0.72,
            seconds: 300.0,
        },
        0.15 * 0.93 / 0.72, // What the channel has of all deliveries.
        now,
    );
    notification.extend(five(total, !swap));
    let message = campaign.numbers(
        Way {
            share: 0.05,
            rate: 0.9,
            seconds: 60.0,
        },
        now,
    );
    let voip = campaign.numbers(
        Way {
            share: 0.002,
            rate: 0.9,
            seconds: 10.0,
        },
        now,
    );
    let mut body = five(whole, swap);
    body.insert(
        "plan_id".into(),
        json!(if campaign.number.is_multiple_of(5) {
            ""
        } else {
            campaign.name
        }),
    );
    body.insert(
        "pushContent".into(),
        json!({"body": {"notification": {"alert": "Hello"}}}),
    );
    body.insert(
        "sub".into(),
        json!({
            "notification": notification,
            "message": five(message, swap),
            "live_activity": {},
            "voip": five(voip, swap),
            "inapp_message": {},
        }),
    );
    Value::Object(body)
}

fn error(own: &Engagelab, status: u16, code: u32, message: &str) -> Response {
    let body = json!({"code": code, "message": message});
    if lock(&own.0.options).flat_errors {
        return answer(status, &body);
    }
    answer(status, &json!({"error": body}))
}

async fn authorized(State(own): State<Engagelab>, request: Request, next: Next) -> Response {
    let right = {
        let options = lock(&own.0.options);
        let pair = STANDARD.encode(format!("{}:{}", options.app_key, options.master_secret));
        format!("Basic {pair}")
    };
    let given = request.headers().get(header::AUTHORIZATION);
    let has_expired = own.0.incidents.is_on(Incident::KeyExpired);
    if !has_expired && given.is_some_and(|given| given.as_bytes() == right.as_bytes()) {
        return next.run(request).await;
    }
    error(&own, 401, 23001, "Basic authentication failed")
}

async fn wrong_path(State(own): State<Engagelab>) -> Response {
    error(&own, 404, 21001, "Request method or URL is wrong")
}

async fn detail(State(own): State<Engagelab>, request: Request) -> Response {
    if request.method() != Method::GET {
        return wrong_path(State(own)).await;
    }
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let ids: Vec<_> = parameters
        .iter()
        .filter(|(name, _)| name == "message_ids")
        .collect();
    let [(_, ids)] = ids.as_slice() else {
        return error(&own, 400, 23002, "Parameter message_ids is missing");
    };
    let ids: Vec<_> = ids.split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return error(&own, 400, 23002, "Parameter message_ids is missing");
    }
    let digits = |id: &&str| id.bytes().all(|byte| byte.is_ascii_digit());
    if ids.len() > 100 || !ids.iter().all(digits) {
        return error(&own, 400, 21003, "Parameter value is invalid");
    }
    let now = own.now();
    let call = request.extensions().get::<Call>();
    let options = lock(&own.0.options).clone();
    let campaigns = own.0.traffic.campaigns(now);
    let mut found = Map::new();
    for id in ids {
        if let Some(fixed) = lock(&own.0.fixed).get(id) {
            found.insert(id.to_owned(), fixed.clone());
        } else if let Some(campaign) = campaigns.iter().find(|own| message_id(own) == id) {
            if now.duration_since(campaign.sent_at) > KEPT {
                return error(&own, 400, 23007, "The message is older than 30 days");
            }
            match call.map_or(Unknown::Never, |call| call.unknown(campaign, now)) {
                Unknown::Never => {}
                Unknown::Refused => {
                    return error(&own, 400, 27201, "The message id does not exist");
                }
                Unknown::LeftOut => continue,
            }
            found.insert(
                id.to_owned(),
                numbers_of(campaign, now, options.swap_spelling),
            );
        } else if !options.leave_out_unknown {
            return error(&own, 400, 27201, "The message id does not exist");
        }
    }
    answer(200, &Value::Object(found))
}
