//! EngageLab in a mood.

use axum::body::Bytes;
use http::{HeaderName, header, request::Parts};
use serde_json::{Map, Value, json};

use super::{Engagelab, more::CANARIES};
use crate::{
    mood::{
        Acting, Call, Mood, Repeats,
        lists::{self, Wanted, named},
        shape, transport,
    },
    server::parameters,
};

const DETAIL: &str = "status_detail";
const USERS: &str = "status_users";
/// The five numbers, in both spellings.
const NUMBERS: [&str; 7] = [
    "targets",
    "target",
    "sent",
    "delivered",
    "impressions",
    "clicks",
    "click",
];

impl transport::Vendor for Engagelab {
    fn books(&self) -> Value {
        Engagelab::books(self)
    }

    fn told(&self) -> Value {
        Engagelab::told(self)
    }

    fn endpoint(&self, parts: &Parts) -> Option<(&'static str, &Acting)> {
        let name = match parts.uri.path() {
            "/v4/status/detail" => DETAIL,
            "/v4/status/users" => USERS,
            "/v4/status/message" => "status_message",
            _ => return None,
        };
        Some((name, &self.0.acting))
    }

    fn request(&self, parts: &Parts, _body: &Bytes) -> Value {
        let parameters = parameters(parts.uri.query().unwrap_or_default());
        let fields = parameters.into_iter();
        fields.map(|(name, value)| (name, json!(value))).collect()
    }

    fn shape(&self, call: &Call, body: Value) -> Value {
        match call.endpoint {
            DETAIL => self.shape_detail(call, body),
            USERS => self.shape_users(call, body),
            _ => self.shape_devices(call, body),
        }
    }

    fn error(&self, status: u16, nested: bool, _luck: u64) -> Value {
        let (code, message) = match status {
            400 => (21009, "Internal system error"),
            403 => (21038, "No permission"),
            404 => (21001, "Request method or URL is wrong"),
            502 => (27000, "Server timeout"),
            503 => (21030, "Internal timeout"),
            _ => (23100, "Server error"),
        };
        let body = json!({"code": code, "message": message});
        if nested { json!({"error": body}) } else { body }
    }

    fn throttle(&self, luck: u64) -> (u16, Value, HeaderName) {
        let body = json!({"code": 23008, "message": "Rate limit exceeded"});
        let nested = json!({"error": body});
        match luck % 4 {
            0 => (429, body, header::RETRY_AFTER),
            1 => (429, nested, header::RETRY_AFTER),
            2 => (400, body, header::RETRY_AFTER),
            _ => (400, nested, header::RETRY_AFTER),
        }
    }
}

fn five(sent: u64) -> Value {
    json!({"targets": sent + 2, "sent": sent, "delivered": sent / 2, "impressions": sent / 3,
        "clicks": sent / 9})
}

/// What the mood adds to the truth about a message: a channel, a platform and a kind of message.
pub(super) fn enrich(id: &str, numbers: &mut Value, mood: &Mood) {
    if !mood.new_values {
        return;
    }
    let sent = named(id) % 90;
    let tv = json!({"newvendor_tv": five(sent / 2)});
    for (place, name, value) in [
        ("/sub/notification/sub_android", "newvendor", five(sent)),
        ("/sub/notification", "sub_tv", tv),
        ("/sub", "new_kind", five(sent / 3)),
    ] {
        if let Some(Value::Object(fields)) = numbers.pointer_mut(place) {
            fields.insert(name.to_owned(), value);
        }
    }
}

/// What the mood adds to the users of a period: a platform.
pub(super) fn enrich_users(item: &mut Value, mood: &Mood) {
    if mood.new_values
        && let Some(fields) = item.as_object_mut()
    {
        let seed = named(
            fields
                .get("time")
                .and_then(Value::as_str)
                .unwrap_or_default(),
        );
        let users = json!({"new": seed % 7, "active": seed % 70, "online": seed % 20});
        fields.insert("tv".to_owned(), users);
    }
}

/// What the mood changes in the lifecycle of a message: a status and a channel.
pub(super) fn enrich_devices(id: &str, devices: &mut Value, mood: &Mood) {
    if mood.new_values
        && named(id).is_multiple_of(2)
        && let Some(row) = devices.get_mut(CANARIES[1])
    {
        row["channel"] = json!("newvendor");
        if row["status"] == "click" {
            row["status"] = json!("dismissed");
        }
    }
}

impl Engagelab {
    fn shape_detail(&self, call: &Call, body: Value) -> Value {
        let Value::Object(messages) = body else {
            return body;
        };
        let mut all = Map::new();
        for (id, mut message) in messages {
            let row = named(&id);
            enrich(&id, &mut message, &call.mood);
            if call.mood.new_values {
                call.note("new_values");
            }
            leave_out(&mut message, call, row);
            let mut said = message.clone();
            odd_message(&mut message, &mut said, call, row);
            if call.records() {
                self.0.told.numbers("messages", &id, &said);
            }
            if message.is_object() {
                shape::nulls(
                    &mut message,
                    &["plan_id", "pushContent", "impressions"],
                    call,
                );
                let kinds = ["live_activity", "inapp_message", "message"];
                if let Some(sub) = message.pointer_mut("/sub") {
                    shape::nulls(sub, &kinds, call);
                }
                shape::new_fields(&mut message, call);
                if let Some(notification) = message.pointer_mut("/sub/notification") {
                    shape::new_fields(notification, call);
                }
            }
            all.insert(id, message);
        }
        if call.mood.new_fields && call.luck("trace").is_multiple_of(4) {
            all.insert("trace".to_owned(), json!("0af7651916cd43dd"));
        }
        Value::Object(all)
    }

    fn shape_users(&self, call: &Call, mut body: Value) -> Value {
        let items = match body["items"].take() {
            Value::Array(items) => items,
            other => {
                body["items"] = other;
                return body;
            }
        };
        let unit = call.text("time_unit").to_owned();
        let time = |item: &Value| item["time"].as_str().map_or(0, named);
        let wanted = Wanted {
            page: 0,
            size: usize::MAX,
        };
        // The items are no pages; their order and their number are the mood's.
        let mut whole = call.clone();
        whole.mood.page_cap = 0;
        if whole.mood.repeats == Repeats::OverPages {
            whole.mood.repeats = Repeats::InPage;
        }
        let place = |item: &Value| {
            let digits = item["time"].as_str().unwrap_or_default();
            let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
            (digits.parse().unwrap_or(0), time(item))
        };
        let page = lists::page(items, &wanted, Some(&whole), place);
        let mut rows = Vec::new();
        for mut item in page.rows {
            let row = time(&item);
            let period = item["time"].as_str().unwrap_or_default().to_owned();
            enrich_users(&mut item, &call.mood);
            if call.mood.new_values {
                call.note("new_values");
            }
            for platform in ["android", "ios", "hmos"] {
                if let Some(numbers) = item.get_mut(platform) {
                    shape::absent(numbers, &["new", "active", "online"], call, row);
                }
            }
            let mut said = item.clone();
            for platform in ["android", "ios"] {
                if let Some(odd) = shape::odd(call, platform, row) {
                    shape::displace(&mut item, &mut said, &[platform], odd);
                }
            }
            if call.records() {
                self.0
                    .told
                    .numbers("users", &format!("{unit} {period}"), &said);
            }
            shape::nulls(&mut item, &["android", "ios", "hmos"], call);
            shape::new_fields(&mut item, call);
            rows.push(item);
        }
        if call.mood.odd_shapes && call.luck("item").is_multiple_of(4) {
            call.note("odd_shapes");
            rows.push(json!({"total": 5, "new": 3, "active": 4}));
            rows.push(json!(5));
        }
        let rows = Value::Array(rows);
        body["items"] = shape::single(&rows, call).unwrap_or(rows);
        shape::new_fields(&mut body, call);
        body
    }

    fn shape_devices(&self, call: &Call, body: Value) -> Value {
        let message = call.text("message_id");
        let mut body = body;
        enrich_devices(message, &mut body, &call.mood);
        if call.mood.new_values {
            call.note("new_values");
        }
        let mut said = body.clone();
        let names: Vec<String> = body
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            let row = named(name) ^ named(message);
            shape::absent(&mut body[name.as_str()], &["error_code"], call, row);
            if let Some(odd) = shape::odd(call, "device", row) {
                shape::displace(&mut body, &mut said, &[name], odd);
                continue;
            }
            let device = &mut body[name.as_str()];
            if let Some(status) = device.get_mut("status") {
                shape::case(status, call, "status", row);
            }
            shape::nulls(device, &["error_message", "status", "channel"], call);
            shape::new_fields(device, call);
        }
        if call.records() {
            self.0.told.numbers("lifecycle", message, &said);
        }
        body
    }
}

/// Leaves out optional fields of a message, and numbers that are 0.
fn leave_out(message: &mut Value, call: &Call, row: u64) {
    if !call.mood.absent_fields {
        return;
    }
    shape::absent(
        message,
        &["plan_id", "pushContent", "impressions"],
        call,
        row,
    );
    for platform in ["sub_android", "sub_ios", "sub_hmos"] {
        let channels = message.pointer_mut(&format!("/sub/notification/{platform}"));
        let channels = channels.and_then(Value::as_object_mut);
        for (name, channel) in channels.into_iter().flatten() {
            shape::absent(channel, &NUMBERS, call, row ^ named(name));
        }
    }
}

/// Puts something odd into a message, in one place.
fn odd_message(message: &mut Value, said: &mut Value, call: &Call, row: u64) {
    if !call.mood.odd_shapes {
        return;
    }
    let odd = || shape::odd(call, "message", row);
    match call.row("odd place", row) % 12 {
        0 => {
            if let Some(odd) = odd() {
                shape::displace(message, said, &["sub"], odd);
            }
        }
        1 => {
            if let Some(odd) = odd() {
                shape::displace(message, said, &["sub", "notification"], odd);
            }
        }
        2 => {
            // As a sibling product of the vendor answers.
            call.note("odd_shapes");
            let direct = json!({"targets": 100, "sent": 90, "delivered": 80, "impressions": 70, "clicks": 1});
            let path = ["sub", "notification", "sub_android"];
            shape::displace(message, said, &path, direct);
        }
        3 => {
            if let Some(Value::Object(kinds)) = message.get_mut("sub") {
                call.note("odd_shapes");
                kinds.insert("total".to_owned(), json!(5));
            }
        }
        4 => {
            if let Some(odd) = odd() {
                let path = ["sub", "notification", "sub_android", "fcm"];
                shape::displace(message, said, &path, odd);
            }
        }
        5 => {
            if let Some(odd) = odd() {
                shape::displace(message, said, &["sub", "voip"], odd);
            }
        }
        6 => {
            call.note("odd_shapes");
            let path = ["sub", "notification", "sub_hmos"];
            shape::displace(message, said, &path, json!({"targets": 5, "sent": 5}));
        }
        7 => {
            if let Some(odd) = odd() {
                *message = odd;
                *said = json!({});
            }
        }
        _ => {}
    }
}
