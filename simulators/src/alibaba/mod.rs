//! Alibaba Cloud EMAS Mobile Push: the numbers of one message and the list of pushes, with both
//! signatures verified.

mod lists;
mod mood;
mod publication;
mod verify;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use delivery_clock::Clock;
use http::{StatusCode, header};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    mood::{Acting, Call, Told, Unknown},
    server::{Running, Service, json as answer},
    traffic::{Campaign, Traffic},
};
use publication::Published;
pub use verify::{Refused, Signed};

/// The action that lists the applications, and needs none.
const APPLICATIONS: &str = "ListSummaryApps";
/// How far the clocks may be apart.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);

/// How the account is known, and what the vendor does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which key.
    pub access_key_id: String,
    /// Its secret.
    pub access_key_secret: String,
    /// Requests need this token too.
    pub security_token: Option<String>,
    /// The account's applications.
    pub app_keys: Vec<String>,
    /// For so long after midnight in Beijing the day before is still being counted.
    pub counting: Duration,
    /// Send message ids as numbers.
    pub ids_as_numbers: bool,
}

impl Options {
    /// An account with the vendor's usual behaviour.
    pub fn new(id: &str, secret: &str, app_keys: &[&str]) -> Options {
        Options {
            access_key_id: id.to_owned(),
            access_key_secret: secret.to_owned(),
            security_token: None,
            app_keys: app_keys.iter().map(|&key| key.to_owned()).collect(),
            counting: Duration::from_secs(20 * 60),
            ids_as_numbers: false,
        }
    }
}

/// A simulated account.
#[derive(Clone)]
pub struct Alibaba(Arc<Inner>);

struct Inner {
    clock: Clock,
    traffic: Traffic,
    acting: Acting,
    told: Told,
    options: Mutex<Options>,
    fixed: Mutex<BTreeMap<String, Value>>,
    /// Campaigns that were sent between two pages.
    more: Mutex<Vec<Campaign>>,
    nonces: Mutex<HashSet<String>>,
    /// The times of the calls of the last second, by action.
    calls: Mutex<BTreeMap<String, VecDeque<Timestamp>>>,
}

impl Alibaba {
    /// An account whose traffic began at `begin`.
    pub fn new(
        clock: Clock,
        seed: u64,
        begin: Timestamp,
        gap: Duration,
        options: Options,
    ) -> Alibaba {
        Alibaba::with_traffic(clock, Traffic::new(seed, begin, gap), options)
    }

    /// An account with this traffic.
    pub fn with_traffic(clock: Clock, traffic: Traffic, options: Options) -> Alibaba {
        Alibaba(Arc::new(Inner {
            clock,
            traffic,
            acting: Acting::default(),
            told: Told::default(),
            options: Mutex::new(options),
            fixed: Mutex::default(),
            more: Mutex::default(),
            nonces: Mutex::default(),
            calls: Mutex::default(),
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
        let router = Router::new().fallback(call).with_state(self.clone());
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
        refused.map(message_id).collect()
    }

    /// The vendor's clock.
    fn now(&self) -> Timestamp {
        self.0.acting.clock(self.0.clock.now())
    }

    /// All campaigns, those that were sent between two pages too.
    fn campaigns(&self, now: Timestamp) -> Arc<[Campaign]> {
        let campaigns = self.0.traffic.campaigns(now);
        let more = lock(&self.0.more);
        if more.is_empty() {
            return campaigns;
        }
        let mut all: Vec<Campaign> = campaigns.iter().chain(more.iter()).cloned().collect();
        all.sort_by_key(|campaign| campaign.sent_at);
        all.into()
    }

    /// Changes how the vendor behaves.
    pub fn change(&self, change: impl FnOnce(&mut Options)) {
        change(&mut lock(&self.0.options));
    }

    /// A message whose numbers are exactly these.
    pub fn put_message(&self, id: &str, numbers: Value) {
        lock(&self.0.fixed).insert(id.to_owned(), numbers);
    }

    /// What is published now: the numbers of each message that has any, by its id.
    pub fn books(&self) -> Value {
        let now = self.now();
        let mut messages = lock(&self.0.fixed).clone();
        for campaign in self.campaigns(now).iter() {
            if let Published::Numbers(numbers) = self.published(campaign, now) {
                messages.insert(message_id(campaign), numbers);
            }
        }
        json!({"messages": messages})
    }

    /// Whether one more call of `action` is allowed now, and else for how long not.
    fn throttled(&self, action: &str, now: Timestamp) -> Option<i64> {
        let limit = if action == "QueryPushRecords" { 10 } else { 50 };
        let mut calls = lock(&self.0.calls);
        let calls = calls.entry(action.to_owned()).or_default();
        while calls
            .front()
            .is_some_and(|first| now.duration_since(*first).as_millis() >= 1000)
        {
            calls.pop_front();
        }
        if calls.len() >= limit {
            let first = calls.front().copied().unwrap_or(now);
            return i64::try_from(1000 - now.duration_since(first).as_millis()).ok();
        }
        calls.push_back(now);
        None
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message_id(campaign: &Campaign) -> String {
    // Seventeen digits, as newer ids have.
    format!("7{:016}", campaign.hash(4) % 10_000_000_000_000_000)
}

/// An error in the form that the caller asked for; XML where it asked for none.
fn refuse(xml: bool, refused: &Refused) -> Response {
    let request_id = "8906582E-6722-409A-A6C4-0E7863B733A5";
    let Refused {
        status,
        code,
        message,
    } = refused;
    if xml {
        let body = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><RequestId>{request_id}</RequestId><HostId>cloudpush.aliyuncs.com</HostId><Code>{code}</Code><Message>{message}</Message></Error>"
        );
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST);
        return (status, [(header::CONTENT_TYPE, "text/xml")], body).into_response();
    }
    let recommend = format!("https://api.alibabacloud.com/troubleshoot?q={code}");
    answer(
        *status,
        &json!({"RequestId": request_id, "HostId": "cloudpush.aliyuncs.com", "Code": code,
            "Message": message, "Recommend": recommend}),
    )
}

async fn call(State(own): State<Alibaba>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let accepts_json = parts
        .headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"application/json"));
    let options = lock(&own.0.options).clone();
    let now = own.now();
    let call = parts.extensions.get::<Call>().cloned();
    let call = call.as_ref();
    let signed = match verify::verify(
        &parts,
        &body,
        &options.access_key_id,
        &options.access_key_secret,
    ) {
        Ok(signed) => signed,
        Err(refused) => return refuse(!accepts_json, &refused),
    };
    let format = signed.parameter("Format").map(str::to_ascii_lowercase);
    let xml = match (signed.version_3, format.as_deref()) {
        (true, _) => !accepts_json,
        (false, format) => format != Some("json"),
    };
    if let Err(refused) = admit(&own, &options, &signed, now) {
        return refuse(xml, &refused);
    }
    if let Some(wait) = own.throttled(&signed.action, now) {
        let refused = Refused::new(
            400,
            "Throttling.User",
            "Request was denied due to user flow control.",
        );
        let mut response = refuse(xml, &refused);
        response
            .headers_mut()
            .insert("x-acs-retry-after", wait.into());
        return response;
    }
    let outcome = match signed.action.as_str() {
        "QueryPushStatByMsg" => statistics(&own, &options, &signed, now, call),
        "QueryPushRecords" => lists::records(&own, &signed, now, call),
        "QueryPushStatByApp" => lists::days(&own, &signed, now, call),
        APPLICATIONS => Ok(lists::applications(&options.app_keys)),
        _ => Err(Refused::new(
            404,
            "InvalidApi.NotFound",
            "Specified api is not found.",
        )),
    };
    match outcome {
        Ok(_) if xml => (
            [(header::CONTENT_TYPE, "text/xml")],
            "<Response></Response>",
        )
            .into_response(),
        Ok(value) => answer(200, &value),
        Err(refused) => refuse(xml, &refused),
    }
}

/// What is checked of every request once its signature is right.
fn admit(own: &Alibaba, options: &Options, signed: &Signed, now: Timestamp) -> Result<(), Refused> {
    let Ok(time) = signed.time.parse::<Timestamp>() else {
        return Err(Refused::new(
            400,
            "InvalidTimeStamp.Format",
            "Specified time stamp is no time.",
        ));
    };
    if now.duration_since(time).abs() > MAX_SKEW {
        return Err(Refused::new(
            400,
            "InvalidTimeStamp.Expired",
            "Specified time stamp or date value is expired.",
        ));
    }
    if !lock(&own.0.nonces).insert(signed.nonce.clone()) {
        let text = "Specified signature nonce was used already.";
        return Err(Refused::new(400, "SignatureNonceUsed", text));
    }
    match (&options.security_token, &signed.security_token) {
        (Some(_), None) => Err(Refused::new(
            400,
            "MissingSecurityToken",
            "SecurityToken is mandatory for this action.",
        )),
        (Some(right), Some(given)) if right != given => Err(Refused::new(
            400,
            "InvalidSecurityToken.MismatchWithAccessKey",
            "Specified SecurityToken mismatch with the AccessKey.",
        )),
        _ if signed.action == APPLICATIONS => Ok(()),
        _ => {
            let Some(key) = signed.parameter("AppKey") else {
                return Err(Refused::new(
                    400,
                    "MissingAppKey",
                    "AppKey is mandatory for this action.",
                ));
            };
            if options.app_keys.iter().any(|own| own == key) {
                return Ok(());
            }
            Err(Refused::new(
                400,
                "PermissionDenied",
                "The specified AppKey is not authorized.",
            ))
        }
    }
}

fn statistics(
    own: &Alibaba,
    options: &Options,
    signed: &Signed,
    now: Timestamp,
    call: Option<&Call>,
) -> Result<Value, Refused> {
    let Some(id) = signed.parameter("MessageId") else {
        let text = "MessageId is mandatory for this action.";
        return Err(Refused::new(400, "MissingMessageId", text));
    };
    if !id.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = "The format of MessageId is invalid.";
        return Err(Refused::new(400, "InvalidMessageId.Format", text));
    }
    let fixed = lock(&own.0.fixed).get(id).cloned();
    let found = match fixed {
        Some(fixed) => Published::Numbers(fixed),
        None => {
            let campaigns = own.campaigns(now);
            let campaign = campaigns.iter().find(|campaign| message_id(campaign) == id);
            let unknown = match (call, campaign) {
                (Some(call), Some(campaign)) => call.unknown(campaign, now),
                _ => Unknown::Never,
            };
            match unknown {
                Unknown::Never => {
                    campaign.map_or(Published::Nothing, |campaign| own.published(campaign, now))
                }
                Unknown::Refused => {
                    let text = "The specified MessageId does not exist.";
                    return Err(Refused::new(400, "InvalidMessageId.NotExist", text));
                }
                Unknown::LeftOut => Published::Nothing,
            }
        }
    };
    let rows = match found {
        Published::Counting => {
            return Err(Refused::new(
                400,
                "TaskWaiting",
                "The requested data is processing.",
            ));
        }
        Published::Nothing => Vec::new(),
        Published::Numbers(mut numbers) => {
            numbers["MessageId"] = match id.parse::<u64>() {
                Ok(id) if options.ids_as_numbers => json!(id),
                _ => json!(id),
            };
            vec![numbers]
        }
    };
    let request_id = "CF195C34-98FB-491A-98D7-19CBC1FA880B";
    Ok(json!({"RequestId": request_id, "PushStats": {"PushStat": rows}}))
}
