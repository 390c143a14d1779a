//! Messages and their numbers.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use bytes::Bytes;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Pushwoosh, Refused, allowed, authorized, lock, mood, per_page, refused};
use crate::{
    mood::{
        Call,
        lists::{self, Wanted, named, within},
    },
    server::json as answer,
    traffic::{Campaign, Numbers, Way, part, scale},
};

/// A message: one that was put in, or a campaign's.
#[derive(Clone)]
pub(super) struct Message {
    /// The item without its numbers; of one that was put in, the whole item.
    pub head: Value,
    campaign: Option<Campaign>,
}

/// The names of the numbers of one platform.
pub(super) const NUMBERS: [&str; 6] = [
    "sends",
    "opens",
    "deliveries",
    "inbox_opens",
    "unshowable_sends",
    "errors",
];

impl Message {
    /// The whole item at a time. One that was put in does not change.
    pub(super) fn item(&self, at: Timestamp) -> Value {
        match &self.campaign {
            Some(campaign) => item_of(campaign, at),
            None => self.head.clone(),
        }
    }

    /// The numbers of each platform at a time.
    pub(super) fn platforms(&self, at: Timestamp) -> Vec<(u64, [u64; 6])> {
        if let Some(campaign) = &self.campaign {
            return if has_push(campaign) {
                rows_of(campaign, at)
            } else {
                Vec::new()
            };
        }
        let rows = self.head["push_info"]["metrics"].as_array();
        let read = |row: &Value| {
            let numbers = NUMBERS.map(|name| row[name].as_u64().unwrap_or(0));
            (row["platform"].as_u64().unwrap_or(0), numbers)
        };
        rows.into_iter().flatten().map(read).collect()
    }

    /// Whether it is an e-mail.
    pub(super) fn is_email(&self) -> bool {
        match &self.campaign {
            Some(campaign) => has_email(campaign),
            None => self.head["email_info"].is_object(),
        }
    }

    /// When it was sent, and what names it.
    fn identity(&self) -> (i64, u64) {
        let date = self.head["send_date"].as_str().unwrap_or_default();
        let at = crate::mood::shape::read_time(date).map_or(0, Timestamp::as_second);
        (at, named(self.head["code"].as_str().unwrap_or_default()))
    }
}

/// The number of the first campaign that is sent between pages: no other one is as high.
const FIRST_MORE: u64 = 50_000;
/// At most so many campaigns are sent between pages.
const MORE: u64 = 12;

impl Pushwoosh {
    /// All campaigns, those that were sent between two pages too.
    pub(super) fn campaigns(&self, now: Timestamp) -> Arc<[Campaign]> {
        let campaigns = self.0.traffic.campaigns(now);
        let more = lock(&self.0.more);
        if more.is_empty() {
            return campaigns;
        }
        let mut all: Vec<Campaign> = campaigns.iter().chain(more.iter()).cloned().collect();
        all.sort_by_key(|campaign| campaign.sent_at);
        all.into()
    }

    /// A campaign of an application is sent between the requests for two pages.
    fn send_one_more(&self, application: &str, call: &Call) {
        let now = self.now();
        let options = lock(&self.0.options).clone();
        let place = options
            .applications
            .iter()
            .position(|own| own == application);
        let count = options.applications.len().max(1) as u64;
        let mut more = lock(&self.0.more);
        let sent = more.len() as u64;
        if sent < MORE && call.happens("new_between_pages", 500) {
            call.note("new_between_pages");
            let round = (FIRST_MORE + sent * count).next_multiple_of(count);
            let mut campaign = self.0.traffic.campaign(round + place.unwrap_or(0) as u64);
            campaign.sent_at = now;
            more.push(campaign);
        }
    }

    /// The message of any application that has a code.
    pub(super) fn message(&self, code: &str) -> Option<Message> {
        let fixed = lock(&self.0.fixed);
        let fixed = fixed.iter().map(|(_, item)| item);
        if let Some(item) = fixed.into_iter().find(|item| item["code"] == code) {
            return Some(Message {
                head: item.clone(),
                campaign: None,
            });
        }
        let now = self.now();
        let campaigns = self.campaigns(now);
        let campaign = campaigns
            .iter()
            .find(|campaign| code_of(campaign) == code)?;
        Some(Message {
            head: head_of(campaign, now),
            campaign: Some(campaign.clone()),
        })
    }

    /// All messages of an application, the newest first.
    pub(super) fn messages(&self, application: &str, call: Option<&Call>) -> Vec<Message> {
        let now = self.now();
        let options = lock(&self.0.options).clone();
        let place = options
            .applications
            .iter()
            .position(|code| code == application);
        let count = options.applications.len().max(1) as u64;
        let mut messages: Vec<Message> = lock(&self.0.fixed)
            .iter()
            .filter(|(own, _)| own == application)
            .map(|(_, item)| Message {
                head: item.clone(),
                campaign: None,
            })
            .collect();
        let campaigns = self.campaigns(now);
        // The next one is scheduled already.
        let last = self.0.traffic.campaigns(now).last().map(|last| last.number);
        let next = last.map(|last| self.0.traffic.campaign(last + 1));
        for campaign in campaigns.iter().chain(&next).rev() {
            if Some(campaign.number % count) == place.map(|place| place as u64)
                && call.is_none_or(|call| call.lists_now(campaign, now))
            {
                messages.push(Message {
                    head: head_of(campaign, now),
                    campaign: Some(campaign.clone()),
                });
            }
        }
        messages
    }

    /// All items of an application, the newest first, with their numbers.
    pub(super) fn items(&self, application: &str) -> Vec<Value> {
        let now = self.now();
        let as_text = lock(&self.0.options).numbers_as_text;
        let mood = self.0.acting.mood();
        let messages = self.messages(application, None);
        let whole = messages.iter().map(|message| {
            let mut item = message.item(now);
            mood::enrich(&mut item, &mood);
            if as_text && message.campaign.is_some() {
                numbers_as_text(&mut item);
            }
            item
        });
        whole.collect()
    }
}

/// The platform that is reached through FCM.
const ANDROID: u64 = 3;

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
        ANDROID,
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

fn row((platform, numbers): (u64, [u64; 6])) -> Value {
    let mut row = json!({"platform": platform});
    for (name, value) in NUMBERS.iter().zip(numbers) {
        row[*name] = json!(value);
    }
    row
}

fn six(numbers: Numbers) -> [u64; 6] {
    [
        numbers.sent,
        numbers.opened,
        numbers.delivered,
        numbers.opened / 20,
        numbers.sent / 9,
        numbers.failed / 10 + numbers.refused,
    ]
}

/// The code of a campaign's message.
pub(super) fn code_of(campaign: &Campaign) -> String {
    let hash = campaign.hash(9);
    format!(
        "{:04X}-{:08X}-{:08X}",
        hash >> 48,
        (hash >> 16) as u32,
        campaign.number
    )
}

fn has_push(campaign: &Campaign) -> bool {
    campaign.number % 4 != 3
}

fn has_email(campaign: &Campaign) -> bool {
    campaign.number % 4 == 3 || campaign.number % 8 == 1
}

fn head_of(campaign: &Campaign, now: Timestamp) -> Value {
    let time = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string();
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
    json!({
        "id": 12_345_000_000_u64 + campaign.number,
        "code": code_of(campaign),
        // A second after it was sent: so the vendor says.
        "created_date": time(campaign.sent_at + SignedDuration::from_secs(1)),
        "send_date": time(campaign.sent_at),
        "status": status,
        "platforms": [1, 3, 17],
        "source": "API",
    })
}

fn rows_of(campaign: &Campaign, now: Timestamp) -> Vec<(u64, [u64; 6])> {
    let numbers = |way: &Way| six(campaign.numbers(*way, now));
    let mut rows: Vec<_> = PLATFORMS
        .iter()
        .map(|(platform, way)| {
            let through_fcm = if *platform == ANDROID { 1.0 } else { 0.0 };
            let numbers = campaign.numbers_with_fcm(*way, through_fcm, now);
            (*platform, six(numbers))
        })
        .collect();
    if campaign.number % 6 == 2 {
        let sms = Way {
            share: 0.01,
            rate: 0.97,
            seconds: 20.0,
        };
        rows.push((18, numbers(&sms)));
        rows.push((21, numbers(&sms)));
    }
    rows
}

fn item_of(campaign: &Campaign, now: Timestamp) -> Value {
    let mut item = head_of(campaign, now);
    if campaign.sent_at > now {
        return item;
    }
    if has_push(campaign) {
        let rows: Vec<Value> = rows_of(campaign, now).into_iter().map(row).collect();
        item["push_info"] = json!({"metrics": rows});
    } else {
        item["push_info"] = Value::Null;
    }
    if has_email(campaign) {
        item["email_info"] = json!({"metrics": [email(campaign, now)]});
    }
    item
}

fn email(campaign: &Campaign, now: Timestamp) -> Value {
    let bounces = campaign.bounces();
    let way = Way {
        share: 0.9,
        rate: if bounces { 0.62 } else { 0.955 },
        seconds: 120.0,
    };
    let numbers = campaign.numbers(way, now);
    let (hard, soft) = if bounces {
        (0.85, 0.08)
    } else {
        (0.25 + 0.2 * part(campaign.hash(2), 1), 0.4)
    };
    json!({
        "sends": numbers.sent,
        "opens": numbers.opened,
        "deliveries": numbers.delivered,
        "hard_bounces": scale(numbers.failed, hard),
        "soft_bounces": scale(numbers.failed, soft),
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

/// The list of the messages of an application.
pub(super) async fn list(
    State(own): State<Pushwoosh>,
    call: Option<Extension<Call>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refused> {
    let call = call.as_ref().map(|Extension(call)| call);
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
            "send_date": own.now().strftime("%Y-%m-%d %H:%M:%S").to_string()});
        lock(&own.0.fixed).insert(0, (application.to_owned(), item));
    }
    if let Some(call) = call.filter(|call| page > 0 && call.mood.new_between_pages) {
        own.send_one_more(application, call);
    }
    let mut found = own.messages(application, call);
    found.retain(|message| fits(filters, &message.head, call));
    let wanted = Wanted {
        page: usize::try_from(page).unwrap_or(usize::MAX),
        size: per_page,
    };
    let cut = lists::page(found, &wanted, call, Message::identity);
    let with_metrics = request["params"]["with_metrics"].as_bool() == Some(true);
    let now = own.now();
    let items: Vec<Value> = cut
        .rows
        .into_iter()
        .map(|message| {
            let mut item = message.item(now);
            if options.numbers_as_text && message.campaign.is_some() {
                numbers_as_text(&mut item);
            }
            for info in ["push_info", "email_info"] {
                // The list names both, if only as `null`.
                if let Some(fields) = item[info].as_object_mut().filter(|_| !with_metrics) {
                    fields.remove("metrics");
                }
            }
            item
        })
        .collect();
    let mut body = json!({"items": items});
    if let Some(total) = lists::total(cut.total, call) {
        body["total"] = total;
    }
    Ok(answer(200, &body))
}

/// Whether an item fits the filters.
fn fits(filters: &Value, item: &Value, call: Option<&Call>) -> bool {
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
    let (from, to) = (range["date_from"].as_str(), range["date_to"].as_str());
    let in_range = day.is_empty() || within(day, from, to, (true, true), call);
    let source = filters["source"]
        .as_str()
        .is_none_or(|own| Some(own) == item["source"].as_str());
    named("messages_ids", "id") && named("messages_codes", "code") && in_range && source
}
