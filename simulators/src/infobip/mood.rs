//! Infobip in a mood.

use axum::body::Bytes;
use http::{HeaderName, header, request::Parts};
use serde_json::{Map, Value, json};

use super::{Infobip, mail::name_of};
use crate::{
    mood::{Acting, Call, Mood, Repeats, lists, shape, transport},
    server::parameters,
};

const STATISTICS: &str = "push_statistics";
const REASONS: [&str; 3] = ["registration", "expired", "cloud"];

impl transport::Vendor for Infobip {
    fn books(&self) -> Value {
        Infobip::books(self)
    }

    fn told(&self) -> Value {
        Infobip::told(self)
    }

    fn endpoint(&self, parts: &Parts) -> Option<(&'static str, &Acting)> {
        match parts.uri.path() {
            "/push/1/statistics" => Some((STATISTICS, &self.0.acting_push)),
            "/email/1/reports" => Some((transport::HAND_OUT, &self.0.acting_email)),
            _ => None,
        }
    }

    fn request(&self, parts: &Parts, _body: &Bytes) -> Value {
        let parameters = parameters(parts.uri.query().unwrap_or_default());
        let fields = parameters.into_iter();
        fields.map(|(name, value)| (name, json!(value))).collect()
    }

    fn shape(&self, call: &Call, body: Value) -> Value {
        if call.endpoint == STATISTICS {
            self.shape_statistics(call, body)
        } else {
            self.shape_reports(call, body)
        }
    }

    fn lose(&self, call: &Call, body: &Value) {
        if call.endpoint == transport::HAND_OUT {
            for report in body["results"].as_array().into_iter().flatten() {
                self.0.told.report("reports_lost", report);
            }
        }
    }

    fn error(&self, status: u16, nested: bool, _luck: u64) -> Value {
        let (name, text) = match status {
            400 => ("BAD_REQUEST", "Bad Request"),
            403 => ("UNAUTHORIZED", "Unauthorized access"),
            404 => ("NOT_FOUND", "Requested resource not found"),
            _ => (
                "GENERAL_ERROR",
                "Something went wrong. Please contact support.",
            ),
        };
        if nested {
            let exception = json!({"messageId": name, "text": text});
            return json!({"requestError": {"serviceException": exception}});
        }
        let status = if status == 200 { 500 } else { status };
        json!({"errorCode": format!("E{status}"), "description": text, "action": "Try again.",
            "violations": [], "resources": []})
    }

    fn throttle(&self, luck: u64) -> (u16, Value, HeaderName) {
        let old = json!({"requestError": {"serviceException":
            {"messageId": "TOO_MANY_REQUESTS", "text": "Too many requests"}}});
        let new = json!({"errorCode": "E429", "description": "Too many requests sent.",
            "action": "Check request rate limit.", "violations": [], "resources": []});
        match luck % 3 {
            0 => (429, old, header::RETRY_AFTER),
            1 => (429, new, header::RETRY_AFTER),
            _ => (503, old, header::RETRY_AFTER),
        }
    }
}

/// What the mood adds to the truth about a bulk.
pub(super) fn enrich(bulk: &str, statistics: &mut Value, mood: &Mood) {
    if mood.new_values
        && let Some(Value::Object(errors)) = statistics.get_mut("errors")
    {
        errors.insert("quota".to_owned(), json!(lists::named(bulk) % 9));
    }
}

impl Infobip {
    fn shape_statistics(&self, call: &Call, mut body: Value) -> Value {
        let bulk = call.text("bulkId");
        let row = lists::named(bulk);
        enrich(bulk, &mut body, &call.mood);
        if call.mood.new_values {
            call.note("new_values");
        }
        if let Some(errors) = body.get_mut("errors") {
            shape::absent(errors, &REASONS, call, row);
        }
        shape::absent(&mut body, &["seen", "errors", "delivery"], call, row ^ 1);
        let mut said = body.clone();
        for (name, purpose) in [("errors", "odd errors"), ("delivery", "odd delivery")] {
            let Some(fields) = body.as_object_mut() else {
                break;
            };
            let odd = shape::odd(call, purpose, row);
            if shape::put(fields, name, odd)
                && let Some(said) = said.as_object_mut()
            {
                said.remove(name);
            }
        }
        if call.records() {
            self.0.told.numbers("messages", bulk, &said);
        }
        shape::nulls(&mut body, &["seen", "errors", "delivery"], call);
        if let Some(errors) = body.get_mut("errors") {
            shape::nulls(errors, &REASONS, call);
        }
        shape::new_fields(&mut body, call);
        body
    }

    fn shape_reports(&self, call: &Call, body: Value) -> Value {
        let Value::Array(reports) = body["results"].clone() else {
            return body;
        };
        let is_single = call.mood.single_rows && reports.len() == 1;
        // A report that comes again is spelled in another way.
        let mut again = call.clone();
        again.mood.respelled = true;
        let mut results = Vec::with_capacity(reports.len());
        for mut report in reports {
            let row = name_of(&report);
            let is_again = call.mood.repeated_reports && self.0.told.has_report(&report);
            let mut kind = if is_single { "reports_odd" } else { "reports" };
            let said = report.clone();
            if let Some(fields) = report.as_object_mut() {
                for name in ["status", "error"] {
                    let is_rare = call
                        .row("odd report", row ^ lists::named(name))
                        .is_multiple_of(4);
                    let odd = is_rare.then(|| shape::odd(call, name, row)).flatten();
                    if shape::put(fields, name, odd) {
                        kind = "reports_odd";
                    }
                }
            }
            if call.records() {
                self.0.told.report(kind, &said);
            }
            spell(&mut report, if is_again { &again } else { call }, row);
            if is_again {
                call.note("repeated_reports");
            }
            results.push(report);
        }
        let mut results = Value::Array(results);
        if let Some(single) = shape::single(&results, call) {
            results = single;
        }
        let mut body = json!({"results": results});
        shape::new_fields(&mut body, call);
        body
    }
}

/// How a report is written.
fn spell(report: &mut Value, call: &Call, row: u64) {
    shape::nulls(
        report,
        &[
            "bulkId",
            "doneAt",
            "campaignReferenceId",
            "price",
            "messageCount",
        ],
        call,
    );
    if let Some(error) = report.get_mut("error") {
        shape::nulls(error, &["permanent", "description"], call);
    }
    if let Some(status) = report.get_mut("status") {
        shape::nulls(status, &["name", "description", "action"], call);
        shape::new_fields(status, call);
    }
    let Some(fields) = report.as_object_mut() else {
        return;
    };
    for (index, name) in ["sentAt", "doneAt"].iter().enumerate() {
        if let Some(time) = fields.get_mut(*name) {
            shape::time(time, call, row ^ index as u64);
        }
    }
    for name in ["to", "channel"] {
        if let Some(text) = fields.get_mut(name) {
            shape::case(text, call, name, row);
        }
    }
    shape::new_fields(report, call);
}

/// What reports are like in the mood: this is the truth about them, and the same whenever it is said.
pub(super) fn vary(reports: &mut [Value], call: &Call) {
    for report in reports {
        let row = name_of(report);
        if call.mood.new_values && call.fixed("new status", row).is_multiple_of(16) {
            call.note("new_values");
            let status = if call.fixed("new group", row).is_multiple_of(4) {
                json!({"groupId": 9, "groupName": "DEFERRED", "id": 91, "name": "DEFERRED_LATER",
                    "description": ""})
            } else {
                json!({"groupId": 2, "groupName": "UNDELIVERABLE", "id": 77,
                    "name": "UNDELIVERABLE_NEW_REASON", "description": ""})
            };
            if let Some(fields) = report.as_object_mut() {
                shape::put(fields, "status", Some(status));
            }
        }
        if call.mood.unnamed_status
            && call.fixed("unnamed", row).is_multiple_of(4)
            && let Some(Value::Object(status)) = report.get_mut("status")
        {
            call.note("unnamed_status");
            status.remove("name");
        }
        if !call.mood.absent_fields {
            continue;
        }
        let left_out = |fields: &mut Map<String, Value>, names: &[&str]| {
            for name in names {
                if call.fixed(name, row).is_multiple_of(12) && fields.remove(*name).is_some() {
                    call.note("absent_fields");
                }
            }
        };
        if let Some(Value::Object(error)) = report.get_mut("error") {
            left_out(error, &["permanent", "description", "groupId"]);
        }
        if let Some(fields) = report.as_object_mut() {
            let names = [
                "doneAt",
                "messageCount",
                "price",
                "campaignReferenceId",
                "channel",
            ];
            left_out(fields, &names);
        }
    }
}

/// Says some reports twice: in this answer, or again that were handed out before. An empty answer
/// stays empty.
pub(super) fn repeat(results: &mut Vec<Value>, handed: &[Value], call: &Call) {
    let fresh = results.len();
    if fresh == 0 {
        return;
    }
    if call.mood.repeats != Repeats::Never {
        call.note("repeats");
        results.push(results[(call.luck("repeats") % fresh as u64) as usize].clone());
    }
    let before = &handed[..handed.len() - fresh];
    if call.mood.repeated_reports && !before.is_empty() && call.happens("again", 500) {
        for index in 0..1 + call.luck("how many") % 3 {
            // The last ones most of all.
            let back = call.row("which", index) % 50.min(before.len() as u64);
            results.push(before[before.len() - 1 - back as usize].clone());
        }
    }
}
