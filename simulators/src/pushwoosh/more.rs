//! Bounced e-mails, the log of events, conversions, and clicks on links in e-mails.

use std::collections::BTreeMap;

use axum::{Extension, extract::State, response::Response};
use bytes::Bytes;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    Pushwoosh, Refused, allowed, authorized, lock, messages::NUMBERS, mood, per_page, refused,
};
use crate::{
    incident::Incident,
    mood::{
        Call, LastToken, Order, Unknown,
        lists::{self, Wanted, named, within},
        shape::read_time,
    },
    server::json as answer,
};

/// Events are told in pages of at most so many, whatever limit is asked for.
const LOG_PAGE: usize = 40;
/// The log goes back so far.
const LOG_DAYS: i64 = 30;

/// A number that is the same whenever it is asked for.
fn hash(text: &str) -> u64 {
    let spread = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, spread);
    hash ^ (hash >> 29)
}

/// A sent message: its code, when it was sent, and whether it is an e-mail.
fn sent(own: &Pushwoosh, application: &str) -> Vec<(String, Timestamp, bool)> {
    let now = own.now();
    let messages = own.messages(application, None);
    let read = |message: &super::messages::Message| {
        let code = message.head["code"].as_str()?.to_owned();
        let at = message.head["send_date"].as_str()?.replace(' ', "T") + "Z";
        let at: Timestamp = at.parse().ok()?;
        (at <= now).then(|| (code, at, message.is_email()))
    };
    messages.iter().filter_map(read).collect()
}

fn later(at: Timestamp, seconds: u64) -> Timestamp {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    at.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(at)
}

/// The bounced e-mails of an application.
fn bounces(own: &Pushwoosh, application: &str) -> Vec<Value> {
    let now = own.now();
    let mood = own.0.acting.mood();
    let mut rows = Vec::new();
    for (code, at, _) in sent(own, application).iter().filter(|sent| sent.2) {
        let bounces = own.0.incidents.lasted(Incident::BounceStorm, *at);
        let (count, pause) = if bounces { (60, 5) } else { (3, 420) };
        for index in 0..count + hash(code) % 9 {
            let date = later(*at, index * pause);
            let (kind, reason) = match if bounces { 0 } else { index % 5 } {
                0 => (
                    "Hardbounce",
                    format!("550 5.1.1 <person{index}@example.com> unknown user"),
                ),
                1 => ("Softbounce", "452 4.2.2 mailbox full".to_owned()),
                2 => ("Complaint", String::new()),
                3 => ("Somethingelse", "421 4.4.1 timed out".to_owned()),
                _ => ("hardbounce", "blocked by policy".to_owned()),
            };
            if date <= now {
                let mut row = json!({
                    "email": format!("person{index}-{code}@example.com"),
                    "date": date.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string(),
                    "reason": reason, "type": kind,
                });
                mood::enrich_bounce(&mut row, &mood);
                rows.push(row);
            }
        }
    }
    rows
}

/// The events of an application, the oldest first. Every third is told half an hour late.
fn events(own: &Pushwoosh, application: &str) -> Vec<Value> {
    let now = own.now();
    let mood = own.0.acting.mood();
    let mut rows = Vec::new();
    for (code, at, is_email) in sent(own, application) {
        for index in 0..6 + hash(&code) % 20 {
            let time = later(at, index * 90);
            let told = later(time, if index % 3 == 2 { 1800 } else { 0 });
            if told > now {
                continue;
            }
            let platforms = ["ios", "android", "huawei android", "chrome", "toaster"];
            let platform = platforms[(index % 5) as usize];
            let action = ["sent", "delivered", "opened", "inbox_delete"][(index % 4) as usize];
            let mut event = json!({
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "application_code": application, "message_code": code,
                "hwid": format!("device-{index}@example.com"), "user_id": "somebody",
                "platform": if is_email { "email" } else { platform },
                "action": action, "push_alerts_enabled": "true",
            });
            if action == "sent" {
                event["status"] = json!("success");
            }
            mood::enrich_event(&mut event, &mood);
            rows.push((time, event));
        }
    }
    rows.sort_by_key(|(time, _)| *time);
    rows.into_iter().map(|(_, event)| event).collect()
}

/// The conversions of a message; `None`: it has none.
fn conversion(own: &Pushwoosh, code: &str, at: Timestamp) -> Option<Value> {
    if hash(code).is_multiple_of(4) {
        return None;
    }
    let minutes = own.now().duration_since(at).as_secs().unsigned_abs() / 60;
    let hits = (hash(code) % 900).min(minutes);
    Some(json!({
        "sends": "55902", "opens": "772",
        "events": [
            {"name": "cart_add", "hits": hits.to_string(), "conversion": 0.12, "revenue": 0},
            {"name": "checkout", "hits": (hits / 3).to_string(), "conversion": 0.04, "revenue": 12.5},
        ],
    }))
}

/// The clicks on a message's links.
fn clicks(own: &Pushwoosh, code: &str, at: Timestamp) -> Vec<Value> {
    let now = own.now();
    let mut rows = Vec::new();
    for index in 0..hash(code) % 12 {
        let time = later(at, 60 + index * 300);
        if time <= now {
            // Some devices click more than once.
            let device = index % 4;
            rows.push(json!({
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "link": format!("https://example.com/offer-{}?recipient={index}", index % 3),
                "hwid": format!("reader{device}-{code}@example.com"),
            }));
        }
    }
    rows
}

fn links(clicks: &[Value]) -> Vec<Value> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for click in clicks {
        *counts
            .entry(click["link"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    let row = |(link, clicks): (String, u64)| json!({"template": "AAAAA-XXXXX", "link": link, "title": "Offer", "clicks": clicks});
    counts.into_iter().map(row).collect()
}

/// What is true now, of all applications.
pub(super) fn books(own: &Pushwoosh, applications: &[String]) -> Map<String, Value> {
    let mut books = Map::new();
    for (name, rows) in [
        ("bounces", bounces as fn(&Pushwoosh, &str) -> Vec<Value>),
        ("log", events),
        ("clicks", |own, application| {
            let emails = sent(own, application).into_iter().filter(|sent| sent.2);
            emails
                .flat_map(|(code, at, _)| clicks(own, &code, at))
                .collect()
        }),
    ] {
        let of = |code: &String| (code.clone(), Value::Array(rows(own, code)));
        books.insert(
            name.to_owned(),
            Value::Object(applications.iter().map(of).collect()),
        );
    }
    let mut conversions = Map::new();
    for application in applications {
        for (code, at, _) in sent(own, application) {
            if let Some(conversion) = conversion(own, &code, at) {
                conversions.insert(code, conversion);
            }
        }
    }
    books.insert("conversions".to_owned(), Value::Object(conversions));
    books
}

pub(super) async fn bounced_emails(
    State(own): State<Pushwoosh>,
    call: Option<Extension<Call>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = call.as_ref().map(|Extension(call)| call);
    let request = authorized(&own, &headers, &body, "Api")?;
    let application = request["application"].as_str().unwrap_or_default();
    allowed(&own, application, "application")?;
    let (Some(from), Some(to)) = (request["date_from"].as_str(), request["date_to"].as_str())
    else {
        return Err(refused(
            &own,
            400,
            3,
            "message_code, campaign or dates are required",
        ));
    };
    let per_page = per_page(&own, request["per_page"].as_u64().unwrap_or(0), 5000)?;
    let found: Vec<Value> = bounces(&own, application)
        .into_iter()
        .filter(|row| {
            let date = row["date"].as_str().unwrap_or_default();
            within(date, Some(from), Some(to), (true, false), call)
        })
        .collect();
    paged(&request, per_page, found, "date", "bounced_emails", call)
}

/// A page of rows, by the time in a field, and the number of all of them.
fn paged(
    request: &Value,
    size: usize,
    rows: Vec<Value>,
    time: &str,
    list: &str,
    call: Option<&Call>,
) -> Result<Response, Refused> {
    let page = request["page"].as_u64().unwrap_or(0);
    let wanted = Wanted {
        page: usize::try_from(page).unwrap_or(usize::MAX),
        size,
    };
    let cut = lists::page(rows, &wanted, call, |row| when(row, time));
    let mut body = json!({list: cut.rows});
    if let Some(total) = lists::total(cut.total, call) {
        body["total"] = total;
    }
    Ok(answer(200, &body))
}

/// When a row was, by a field, and what names it.
fn when(row: &Value, field: &str) -> (i64, u64) {
    let at = row[field].as_str().and_then(read_time);
    (at.map_or(0, Timestamp::as_second), named(&row.to_string()))
}

pub(super) async fn message_log(
    State(own): State<Pushwoosh>,
    call: Option<Extension<Call>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = call.as_ref().map(|Extension(call)| call);
    let request = authorized(&own, &headers, &body, "Key")?;
    let application = request["application_code"].as_str().unwrap_or_default();
    allowed(&own, application, "application_code")?;
    let time = |field: &str| {
        let text = request[field].as_str()?.replace(' ', "T") + "Z";
        text.parse::<Timestamp>().ok()
    };
    let (Some(from), Some(to)) = (time("date_from"), time("date_to")) else {
        return Err(refused(
            &own,
            400,
            3,
            "one of message_id, message_code, campaign_code, hwid, user_id, or dates is required",
        ));
    };
    let oldest = own.now() - SignedDuration::from_hours(24 * LOG_DAYS);
    if from < oldest {
        return Err(refused(
            &own,
            400,
            3,
            "Interval between dates must be less than 30 days",
        ));
    }
    if request["limit"]
        .as_u64()
        .is_none_or(|limit| limit > 100_000)
    {
        return Err(refused(&own, 400, 3, "limit must be at most 100000"));
    }
    let skip = request["pagination_token"]
        .as_str()
        .and_then(|token| token.parse().ok());
    let skip: usize = skip.unwrap_or(0);
    let is_in = |event: &Value| {
        let at = event["timestamp"].as_str().and_then(read_time);
        at.is_some_and(|at| within(&at, Some(&from), Some(&to), (true, true), call))
    };
    let all: Vec<Value> = events(&own, application)
        .into_iter()
        .filter(is_in)
        .collect();
    // A token goes on where it was given: the order stays, and no row moves.
    let call = call.cloned().map(|mut call| {
        if call.mood.order == Order::Reshuffled {
            call.mood.order = Order::Shuffled;
        }
        call.mood.moving_rows = false;
        call
    });
    let page = lists::page_from(all, skip, LOG_PAGE, call.as_ref(), |row| {
        when(row, "timestamp")
    });
    // The last page has a token too, and the one after it is empty.
    let mut token = Some(json!(page.next.to_string()));
    let last = call
        .as_ref()
        .map_or(LastToken::Usual, |call| call.mood.last_token);
    if page.is_last && last != LastToken::Usual {
        if let Some(call) = &call {
            call.note("last_token");
        }
        token = match last {
            LastToken::Usual | LastToken::Missing => None,
            LastToken::Null => Some(Value::Null),
            LastToken::Empty => Some(json!("")),
            LastToken::Same => Some(request["pagination_token"].clone()),
        };
    }
    let mut body = json!({"data": page.rows});
    if let Some(token) = token {
        body["pagination_token"] = token;
    }
    Ok(answer(200, &body))
}

pub(super) async fn totals(
    State(own): State<Pushwoosh>,
    call: Option<Extension<Call>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = call.as_ref().map(|Extension(call)| call);
    let request = authorized(&own, &headers, &body, "Api")?;
    let code = request["message_code"].as_str().unwrap_or_default();
    let sent = find_sent(&own, code).filter(|_| call.is_none_or(|call| is_known(&own, call, code)));
    let Some((code, at, _)) = sent else {
        return Err(refused(&own, 404, 5, "message not found"));
    };
    let mut body = json!({"metrics": hours(&own, &code, at)});
    if let Some(conversion) = conversion(&own, &code, at) {
        body["conversion"] = conversion;
    }
    Ok(answer(200, &body))
}

/// A sent message of any application.
fn find_sent(own: &Pushwoosh, code: &str) -> Option<(String, Timestamp, bool)> {
    let applications = lock(&own.0.options).applications.clone();
    let mut all = applications
        .iter()
        .flat_map(|application| sent(own, application));
    all.find(|sent| sent.0 == code)
}

/// Whether a message is known to the vendor by its code.
fn is_known(own: &Pushwoosh, call: &Call, code: &str) -> bool {
    let now = own.now();
    let campaigns = own.campaigns(now);
    let campaign = campaigns
        .iter()
        .find(|campaign| super::messages::code_of(campaign) == code);
    campaign.is_none_or(|campaign| call.unknown(campaign, now) == Unknown::Never)
}

/// What came to a message's push numbers, hour by hour and platform by platform; hours in which
/// nothing happened have no row, and the current one still grows.
fn hours(own: &Pushwoosh, code: &str, sent_at: Timestamp) -> Vec<Value> {
    let now = own.now();
    let Some(message) = own.message(code) else {
        return Vec::new();
    };
    let mut begin =
        Timestamp::from_second(sent_at.as_second().div_euclid(3600) * 3600).unwrap_or(sent_at);
    let mut before: BTreeMap<u64, [u64; 6]> = BTreeMap::new();
    let mut rows = Vec::new();
    while begin <= now {
        let end = later(begin, 3600);
        for (platform, numbers) in message.platforms(end.min(now)) {
            let last = before.insert(platform, numbers).unwrap_or_default();
            if numbers.iter().zip(last).all(|(is, was)| *is <= was) {
                continue;
            }
            let mut row = json!({"platform": platform,
                "timestamp": begin.strftime("%Y-%m-%d %H:00:00").to_string()});
            for (name, (is, was)) in NUMBERS.iter().zip(numbers.iter().zip(last)) {
                row[*name] = json!(is.saturating_sub(was).to_string());
            }
            rows.push(row);
        }
        begin = end;
    }
    rows
}

/// The clicks on the e-mails that a request names.
fn asked_clicks(
    own: &Pushwoosh,
    request: &Value,
    call: Option<&Call>,
) -> Result<Vec<Value>, Refused> {
    let filters = &request["filters"];
    let Some(codes) = filters["messages_codes"]
        .as_array()
        .filter(|codes| !codes.is_empty())
    else {
        let text = if filters["application"].is_string() && filters["link_template"].is_null() {
            "link_template is required with application"
        } else {
            "one of application, campaign, messages_ids, messages_codes is required"
        };
        return Err(refused(own, 400, 3, text));
    };
    let is_known = |call: &Call| {
        let mut texts = codes.iter().filter_map(Value::as_str);
        texts.all(|code| is_known(own, call, code))
    };
    if !call.is_none_or(is_known) {
        return Err(refused(own, 400, 3, "message not found"));
    }
    let applications = lock(&own.0.options).applications.clone();
    let all = applications
        .iter()
        .flat_map(|application| sent(own, application));
    let emails = all.filter(|(code, _, is_email)| *is_email && codes.iter().any(|own| own == code));
    Ok(emails
        .flat_map(|(code, at, _)| clicks(own, &code, at))
        .collect())
}

pub(super) async fn link_clicks(
    State(own): State<Pushwoosh>,
    call: Option<Extension<Call>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = call.as_ref().map(|Extension(call)| call);
    let request = authorized(&own, &headers, &body, "Api")?;
    let clicks = asked_clicks(&own, &request, call)?;
    Ok(answer(200, &json!({"items": links(&clicks)})))
}

pub(super) async fn link_devices(
    State(own): State<Pushwoosh>,
    call: Option<Extension<Call>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = call.as_ref().map(|Extension(call)| call);
    let request = authorized(&own, &headers, &body, "Api")?;
    let per_page = per_page(&own, request["per_page"].as_u64().unwrap_or(0), 1000)?;
    let clicks = asked_clicks(&own, &request, call)?;
    paged(&request, per_page, clicks, "timestamp", "items", call)
}
