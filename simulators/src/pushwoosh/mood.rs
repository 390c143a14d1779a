//! Pushwoosh in a mood.

use axum::body::Bytes;
use http::{HeaderName, header, request::Parts};
use serde_json::{Map, Value, json};

use super::{Pushwoosh, messages::NUMBERS};
use crate::mood::{Acting, Call, Mood, lists::named, shape, transport};

const LIST: &str = "messages_list";
const TOTALS: &str = "totals_by_intervals";
const LOG: &str = "message_log";
const LINKS: &str = "links_interactions";
const DEVICES: &str = "links_interactions_devices";
const BOUNCES: &str = "bounced_emails";
/// The numbers of an e-mail.
const EMAIL: [&str; 10] = [
    "sends",
    "opens",
    "deliveries",
    "hard_bounces",
    "soft_bounces",
    "rejects",
    "confirmed_sends",
    "unsubs",
    "complaints",
    "errors",
];
/// A platform that nobody knows yet.
const NEW_PLATFORM: u64 = 777;

impl transport::Vendor for Pushwoosh {
    fn books(&self) -> Value {
        Pushwoosh::books(self)
    }

    fn told(&self) -> Value {
        Pushwoosh::told(self)
    }

    fn endpoint(&self, parts: &Parts) -> Option<(&'static str, &Acting)> {
        let name = match parts.uri.path() {
            "/api/v2/messages:list" => LIST,
            "/api/v2/statistics/messages/totalsByIntervals" => TOTALS,
            "/api/v2/statistics/getMessageLog" => LOG,
            "/api/v2/statistics/emails/linksInteractions" => LINKS,
            "/api/v2/statistics/emails/linksInteractionsDevices" => DEVICES,
            "/api/v2/statistics/emails/bouncedEmails" => BOUNCES,
            _ => return None,
        };
        Some((name, &self.0.acting))
    }

    fn request(&self, _parts: &Parts, body: &Bytes) -> Value {
        serde_json::from_slice(body).unwrap_or_default()
    }

    fn shape(&self, call: &Call, body: Value) -> Value {
        match call.endpoint {
            LIST => self.shape_list(call, body),
            TOTALS => self.shape_totals(call, body),
            LINKS => self.shape_links(call, body),
            LOG => self.shape_events(call, body, "data"),
            BOUNCES => self.shape_events(call, body, "bounced_emails"),
            _ => self.shape_events(call, body, "items"),
        }
    }

    fn error(&self, status: u16, nested: bool, luck: u64) -> Value {
        let (code, text) = match status {
            400 => (3, "bad request"),
            403 => (7, "token restrictions forbid this operation"),
            404 => (5, "not found"),
            503 => (14, "unavailable"),
            _ => (13, "internal error"),
        };
        match (nested, luck % 3) {
            (true, 0) => json!({"error": {"code": code, "message": text}}),
            (true, _) => {
                json!({"status_code": 210, "status_message": text, "response": null})
            }
            (false, 0) => json!({"error": text}),
            (false, 1) => {
                json!({"error": text, "code": code, "message": text, "details": []})
            }
            (false, _) => json!({"code": code, "message": text, "details": []}),
        }
    }

    fn throttle(&self, luck: u64) -> (u16, Value, HeaderName) {
        let text = "too many requests";
        match luck % 3 {
            0 => {
                let body = json!({"code": 8, "message": text, "details": []});
                (429, body, header::RETRY_AFTER)
            }
            1 => (429, json!({"error": text}), header::RETRY_AFTER),
            _ => {
                let body = json!({"code": 14, "message": text, "details": []});
                (503, body, header::RETRY_AFTER)
            }
        }
    }
}

/// What the mood adds to the truth about a message: a platform and a status.
pub(super) fn enrich(item: &mut Value, mood: &Mood) {
    if !mood.new_values {
        return;
    }
    let name = item["code"].as_str().map_or(0, named);
    if let Some(Value::Array(rows)) = item.pointer_mut("/push_info/metrics") {
        let sends = name % 90;
        rows.push(
            json!({"platform": NEW_PLATFORM, "sends": sends, "opens": sends / 9,
            "deliveries": sends / 2, "inbox_opens": 0, "unshowable_sends": 0, "errors": 1}),
        );
    }
    if name.is_multiple_of(3) && item["status"] == "DONE" {
        item["status"] = json!("ARCHIVED");
        item["source"] = json!("AGENT");
    }
}

/// What the mood changes in a bounce: its kind.
pub(super) fn enrich_bounce(row: &mut Value, mood: &Mood) {
    let name = row["email"].as_str().map_or(0, named);
    if mood.new_values && name.is_multiple_of(6) {
        row["type"] = json!("Policybounce");
    }
}

/// What the mood changes in an event: its platform and its action.
pub(super) fn enrich_event(row: &mut Value, mood: &Mood) {
    if !mood.new_values {
        return;
    }
    match named(&row.to_string()) % 12 {
        0 => row["platform"] = json!("tv"),
        1 => row["action"] = json!("snoozed"),
        _ => {}
    }
}

impl Pushwoosh {
    fn shape_list(&self, call: &Call, mut body: Value) -> Value {
        let Some(Value::Array(items)) = body.get_mut("items").map(Value::take) else {
            return body;
        };
        let application = call.request["filters"]["application"].as_str();
        let application = application.unwrap_or_default();
        let is_single = call.mood.single_rows && items.len() == 1;
        let mut rows = Vec::with_capacity(items.len());
        for mut item in items {
            let code = item["code"].as_str().unwrap_or_default().to_owned();
            let row = named(&code);
            enrich(&mut item, &call.mood);
            if call.mood.new_values {
                call.note("new_values");
            }
            for (info, names) in [("push_info", &NUMBERS[..]), ("email_info", &EMAIL[..])] {
                let metrics = item.pointer_mut(&format!("/{info}/metrics"));
                for numbers in metrics.and_then(Value::as_array_mut).into_iter().flatten() {
                    let platform = numbers["platform"].as_u64().unwrap_or(0);
                    shape::absent(numbers, names, call, row ^ platform);
                }
            }
            // A row of numbers without a platform says nothing.
            let mut said = item.clone();
            odd_item(&mut item, &mut said, call, row);
            if call.records() && !is_single {
                self.0.told.numbers("messages", &code, &said);
                self.0
                    .told
                    .numbers("listed", application, &json!({code: said}));
            }
            spell_item(&mut item, call, row);
            rows.push(item);
        }
        self.put_rows(call, &mut body, "items", rows);
        shape::nulls(&mut body, &["total"], call);
        shape::new_fields(&mut body, call);
        body
    }

    fn shape_totals(&self, call: &Call, mut body: Value) -> Value {
        let code = call.text("message_code").to_owned();
        let row = named(&code);
        let mut said = body.clone();
        if let Some(odd) = shape::odd(call, "metrics", row) {
            shape::displace(&mut body, &mut said, &["metrics"], odd);
        }
        if let Some(odd) = shape::odd(call, "conversion", row) {
            shape::displace(&mut body, &mut said, &["conversion"], odd);
        }
        for (list, name) in [("/metrics", "metrics"), ("/conversion/events", "events")] {
            let single = body
                .pointer(list)
                .and_then(|rows| shape::single(rows, call));
            if let (Some(single), Some(place)) = (single, body.pointer_mut(list)) {
                *place = single;
                let parent = if name == "events" { "/conversion" } else { "" };
                if let Some(Value::Object(fields)) = said.pointer_mut(parent) {
                    fields.remove(name);
                }
            }
        }
        if call.records() {
            if let Some(conversion) = said.get("conversion") {
                self.0.told.numbers("conversions", &code, conversion);
            }
            let mut hours = Map::new();
            for numbers in said["metrics"].as_array().into_iter().flatten() {
                let hour = numbers["timestamp"].as_str().unwrap_or_default();
                hours.insert(format!("{hour} {}", numbers["platform"]), numbers.clone());
            }
            self.0.told.numbers("hours", &code, &Value::Object(hours));
        }
        for numbers in body["metrics"].as_array_mut().into_iter().flatten() {
            let name = named(&numbers["platform"].to_string()) ^ row;
            if let Some(time) = numbers.get_mut("timestamp") {
                shape::time(time, call, name);
            }
            shape::new_fields(numbers, call);
        }
        shape::nulls(&mut body, &["conversion"], call);
        if let Some(conversion) = body.get_mut("conversion") {
            shape::new_fields(conversion, call);
        }
        shape::new_fields(&mut body, call);
        body
    }

    fn shape_links(&self, call: &Call, mut body: Value) -> Value {
        let Some(Value::Array(items)) = body.get_mut("items").map(Value::take) else {
            return body;
        };
        let codes = call.request["filters"]["messages_codes"].as_array();
        let mut codes: Vec<&str> = codes
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        codes.sort_unstable();
        let codes = codes.join(",");
        let is_single = call.mood.single_rows && items.len() == 1;
        let mut rows = Vec::new();
        for mut item in items {
            let link = item["link"].as_str().unwrap_or_default().to_owned();
            let row = named(&link);
            if call.records() && !is_single {
                let clicks = json!({link: item["clicks"]});
                self.0.told.numbers("links", &codes, &clicks);
            }
            shape::absent(&mut item, &["template", "title"], call, row);
            shape::nulls(&mut item, &["template", "title", "full_links"], call);
            shape::new_fields(&mut item, call);
            rows.push(item);
        }
        self.put_rows(call, &mut body, "items", rows);
        shape::new_fields(&mut body, call);
        body
    }

    /// Events: of the log, bounces, or clicks on links.
    fn shape_events(&self, call: &Call, mut body: Value, list: &str) -> Value {
        let Some(Value::Array(events)) = body.get_mut(list).map(Value::take) else {
            return body;
        };
        let (kind, application) = match call.endpoint {
            LOG => ("log", call.text("application_code").to_owned()),
            BOUNCES => ("bounces", call.text("application").to_owned()),
            _ => ("clicks", self.application_of_clicks(call)),
        };
        let is_single = call.mood.single_rows && events.len() == 1;
        let mut rows = Vec::with_capacity(events.len());
        for mut event in events {
            let row = named(&event.to_string());
            if call.mood.new_values {
                call.note("new_values");
            }
            if call.records() && !is_single {
                self.0.told.event(kind, &application, &event);
            }
            // What is left out here says nothing about what happened.
            let optional = ["user_id", "push_alerts_enabled", "application_code"];
            shape::absent(&mut event, &optional, call, row);
            shape::nulls(
                &mut event,
                &["campaign_code", "user_id", "status", "reason"],
                call,
            );
            for time in ["timestamp", "date"] {
                if let Some(time) = event.get_mut(time) {
                    shape::time(time, call, row);
                }
            }
            for name in ["email", "type", "platform", "action", "hwid"] {
                let is_device = event[name].as_str().is_some_and(|text| !text.contains('@'));
                if let Some(text) = event.get_mut(name).filter(|_| name != "hwid" || !is_device) {
                    shape::case(text, call, name, row);
                }
            }
            shape::new_fields(&mut event, call);
            rows.push(event);
        }
        self.put_rows(call, &mut body, list, rows);
        shape::nulls(&mut body, &["total", "pagination_token"], call);
        shape::new_fields(&mut body, call);
        body
    }

    /// The application of the e-mails whose clicks are asked for.
    fn application_of_clicks(&self, call: &Call) -> String {
        let code = call.request["filters"]["messages_codes"][0].as_str();
        let applications = super::lock(&self.0.options).applications.clone();
        let of = |application: &String| {
            let messages = self.messages(application, None);
            messages
                .iter()
                .any(|message| message.head["code"].as_str() == code)
        };
        applications.into_iter().find(of).unwrap_or_default()
    }

    /// Puts rows into an answer: as a list, as the one row, with something odd among them, or, where
    /// there are none, not at all.
    fn put_rows(&self, call: &Call, body: &mut Value, list: &str, mut rows: Vec<Value>) {
        if rows.is_empty() && call.mood.absent_fields && call.luck("empty").is_multiple_of(2) {
            call.note("absent_fields");
            if let Some(fields) = body.as_object_mut() {
                fields.remove(list);
            }
            return;
        }
        if call.mood.odd_shapes {
            let luck = call.luck("odd row");
            match (rows.is_empty(), luck % 4) {
                (false, 0) => {
                    call.note("odd_shapes");
                    rows.push(json!(5));
                }
                (false, 1) => {
                    call.note("odd_shapes");
                    rows.push(json!([]));
                }
                (true, 0) => {
                    call.note("odd_shapes");
                    body[list] = json!({});
                    return;
                }
                _ => {}
            }
        }
        let rows = Value::Array(rows);
        body[list] = shape::single(&rows, call).unwrap_or(rows);
    }
}

/// Puts something odd into an item, in one place, or one row of numbers where a list is documented.
fn odd_item(item: &mut Value, said: &mut Value, call: &Call, row: u64) {
    for info in ["push_info", "email_info"] {
        if !item[info].is_object() {
            continue;
        }
        let place = call.row("odd place", row ^ named(info)) % 4;
        let odd = || shape::odd(call, info, row);
        if place == 0
            && let Some(odd) = odd()
        {
            shape::displace(item, said, &[info], odd);
        } else if place == 1
            && let Some(odd) = odd()
        {
            shape::displace(item, said, &[info, "metrics"], odd);
        } else if place == 2
            && call.mood.odd_shapes
            && let Some(Value::Array(rows)) = item[info].get_mut("metrics")
        {
            call.note("odd_shapes");
            rows.push(json!(5));
        } else if let Some(single) = shape::single(&item[info]["metrics"], call) {
            shape::displace(item, said, &[info, "metrics"], single);
        }
    }
}

/// How an item is written.
fn spell_item(item: &mut Value, call: &Call, row: u64) {
    let Some(fields) = item.as_object_mut() else {
        return;
    };
    if call.mood.absent_fields {
        for info in ["push_info", "email_info"] {
            if fields.get(info).is_some_and(Value::is_null) {
                call.note("absent_fields");
                fields.remove(info);
            }
        }
        for name in ["send_date", "source", "platforms"] {
            if call.fixed(name, row).is_multiple_of(8) && fields.remove(name).is_some() {
                call.note("absent_fields");
            }
        }
    }
    if call.mood.respelled && call.row("no code", row).is_multiple_of(3) {
        // Half of the names of a message are enough for the vendor.
        call.note("respelled");
        fields.remove("code");
    }
    for (index, name) in ["send_date", "created_date"].iter().enumerate() {
        if let Some(time) = fields.get_mut(*name) {
            shape::time(time, call, row ^ index as u64);
        }
    }
    if let Some(status) = fields.get_mut("status") {
        shape::case(status, call, "status", row);
    }
    if let Some(id) = fields.get_mut("id") {
        shape::id(id, call, row);
    }
    let optional = ["push_info", "email_info", "send_date", "source", "campaign"];
    shape::nulls(item, &optional, call);
    for (info, names) in [("push_info", &NUMBERS[..]), ("email_info", &EMAIL[..])] {
        let Some(info) = item.get_mut(info) else {
            continue;
        };
        for numbers in info
            .get_mut("metrics")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            shape::nulls(numbers, names, call);
            shape::new_fields(numbers, call);
        }
        shape::new_fields(info, call);
    }
    shape::new_fields(item, call);
}
