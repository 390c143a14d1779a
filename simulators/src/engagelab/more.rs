//! Users by hour, day and month, and the lifecycle of messages on test devices.

use axum::{
    extract::{Request, State},
    response::Response,
};
use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime},
    tz::Offset,
};
use serde_json::{Map, Value, json};

use super::{Engagelab, error, lock, message_id};
use crate::{
    mood::{Call, Mood, Unknown},
    server::{json as answer, parameters},
};

/// Test devices of the customer: two that work, one that is another application's, one that is no
/// device at all.
pub const CANARIES: [&str; 4] = [
    "1507bfd3a7c568d4761",
    "1618cfd3a7c568d4762",
    "17259fd3a7c568d4371",
    "illegal",
];
/// The vendor tells of so many days.
const DAYS: i64 = 60;
const PLATFORMS: [&str; 3] = ["android", "ios", "hmos"];

/// A number that is the same whenever it is asked for.
fn hash(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^ (hash >> 31)
}

/// The users of a period, by platform; `None`: nobody was there, and the vendor has no item.
fn item(time: &str, scale: u64) -> Option<Value> {
    if hash(time).is_multiple_of(7) {
        return None;
    }
    let mut item = Map::new();
    item.insert("time".into(), json!(time));
    for platform in PLATFORMS {
        let seed = hash(&format!("{time} {platform}"));
        if seed.is_multiple_of(9) {
            continue;
        }
        let active = scale + seed % (scale * 2);
        let users = json!({"new": active / 20, "active": active, "online": active / 3});
        item.insert(platform.to_owned(), users);
    }
    Some(Value::Object(item))
}

/// The periods that a query names: their names, and whether each has begun.
fn periods(unit: &str, start: &str, duration: u32, now: DateTime) -> Option<Vec<(String, bool)>> {
    let mut names = Vec::new();
    for index in 0..i64::from(duration) {
        let (begin, form) = match unit {
            "HOUR" => {
                let (date, hour) = start.split_once(' ')?;
                let date: Date = date.parse().ok()?;
                let hour: i8 = hour.parse().ok()?;
                let begin = date.to_datetime(jiff::civil::Time::new(hour, 0, 0, 0).ok()?);
                (begin.checked_add(index.hours()).ok()?, "%Y-%m-%d %H")
            }
            "DAY" => {
                let date: Date = start.parse().ok()?;
                (
                    date.checked_add(index.days())
                        .ok()?
                        .to_datetime(jiff::civil::Time::midnight()),
                    "%Y-%m-%d",
                )
            }
            _ => {
                let date: Date = format!("{start}-01").parse().ok()?;
                (
                    date.checked_add(index.months())
                        .ok()?
                        .to_datetime(jiff::civil::Time::midnight()),
                    "%Y-%m",
                )
            }
        };
        names.push((begin.strftime(form).to_string(), begin <= now));
    }
    Some(names)
}

fn scale(unit: &str) -> u64 {
    match unit {
        "HOUR" => 100,
        "DAY" => 1000,
        _ => 20_000,
    }
}

/// What is true: items by unit and period, of the periods that a customer can ask for.
pub(super) fn books(now: Timestamp, mood: &Mood) -> Value {
    let now = Offset::UTC.to_datetime(now);
    let mut books = Map::new();
    let day = now.strftime("%Y-%m-%d").to_string();
    let first = now.first_of_month().yesterday().unwrap_or(now);
    let starts = [
        ("HOUR", format!("{day} 00"), 24),
        ("DAY", (now - 3.days()).strftime("%Y-%m-%d").to_string(), 4),
        ("MONTH", first.strftime("%Y-%m").to_string(), 2),
    ];
    for (unit, start, duration) in starts {
        let periods = periods(unit, &start, duration, now).unwrap_or_default();
        let begun = periods.into_iter().filter(|(_, begun)| *begun);
        let items: Map<String, Value> = begun
            .filter_map(|(time, _)| {
                let mut item = item(&time, scale(unit))?;
                super::mood::enrich_users(&mut item, mood);
                Some((time, item))
            })
            .collect();
        books.insert(unit.to_owned(), Value::Object(items));
    }
    Value::Object(books)
}

pub(super) async fn users(State(own): State<Engagelab>, request: Request) -> Response {
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let get = |name: &str| {
        let found = parameters.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.replace('+', " "))
    };
    let (Some(unit), Some(start), Some(duration)) =
        (get("time_unit"), get("start"), get("duration"))
    else {
        return error(&own, 400, 23002, "A parameter is missing");
    };
    let now = Offset::UTC.to_datetime(own.now());
    let form = match unit.as_str() {
        "HOUR" => start.len() == 13 && start.contains(' '),
        "DAY" => start.len() == 10,
        "MONTH" => start.len() == 7,
        _ => return error(&own, 400, 21003, "Parameter value is invalid"),
    };
    if !form {
        return error(&own, 400, 23004, "start does not fit time_unit");
    }
    let duration: Option<u32> = duration.parse().ok().filter(|own| (1..=60).contains(own));
    let Some(periods) = duration.and_then(|own| periods(&unit, &start, own, now)) else {
        return error(&own, 400, 21003, "Parameter value is invalid");
    };
    let today = now.strftime("%Y-%m-%d").to_string();
    let oldest = (now - DAYS.days()).strftime("%Y-%m-%d").to_string();
    let too_old = match unit.as_str() {
        "HOUR" => !start.starts_with(&today),
        _ => start.as_str() < &oldest[..start.len()],
    };
    if too_old {
        return error(
            &own,
            400,
            21003,
            "Only the last 60 days, and hours of today",
        );
    }
    let items: Vec<Value> = periods
        .iter()
        .filter(|(_, begun)| *begun)
        .filter_map(|(time, _)| item(time, scale(&unit)))
        .collect();
    let echo = if lock(&own.0.options).documented_time_unit {
        "time_unit"
    } else {
        "TimeUnit"
    };
    answer(
        200,
        &json!({echo: unit, "start": start, "duration": duration, "items": items}),
    )
}

/// The lifecycle of a message on some devices, as the vendor answers it.
pub(super) fn devices(own: &Engagelab, message: &str, devices: &[&str]) -> Value {
    let now = own.now();
    let campaigns = own.0.traffic.campaigns(now);
    let sent_at = campaigns
        .iter()
        .find(|own| message_id(own) == message)
        .map(|own| own.sent_at);
    let age = sent_at.map_or(86_400, |sent_at| now.duration_since(sent_at).as_secs());
    let mut rows = Map::new();
    for device in devices {
        let index = CANARIES.iter().position(|own| own == device);
        let row = match index {
            Some(index @ 0..=1) => {
                let speed = if index == 0 { 30 } else { 300 };
                let status = match age / speed {
                    0 => "plan",
                    1 => "sent",
                    2..=5 => "delivered",
                    6..=20 => "Impression",
                    _ => "click",
                };
                json!({"status": status, "error_code": 1, "channel": "engagelab"})
            }
            Some(2) => {
                json!({"error_message": "The `registration_id` does not belong to the appkey"})
            }
            _ => json!({"error_message": "regid illegal"}),
        };
        rows.insert((*device).to_owned(), row);
    }
    Value::Object(rows)
}

pub(super) async fn lifecycle(State(own): State<Engagelab>, request: Request) -> Response {
    let parameters = parameters(request.uri().query().unwrap_or_default());
    let get = |name: &str| parameters.iter().find(|(own, _)| own == name);
    let (Some((_, message)), Some((_, ids))) = (get("message_id"), get("registration_ids")) else {
        return error(&own, 400, 23002, "A parameter is missing");
    };
    let ids: Vec<&str> = ids.split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > 1000 {
        return error(&own, 400, 21003, "Parameter value is invalid");
    }
    let now = own.now();
    let call = request.extensions().get::<Call>();
    let campaigns = own.0.traffic.campaigns(now);
    let campaign = campaigns.iter().find(|own| message_id(own) == *message);
    let known = campaign.map_or_else(
        || lock(&own.0.fixed).contains_key(message),
        |campaign| match call {
            Some(call) => call.unknown(campaign, now) == Unknown::Never,
            None => true,
        },
    );
    if !known {
        return error(&own, 400, 27201, "The message id does not exist");
    }
    answer(200, &devices(&own, message, &ids))
}
