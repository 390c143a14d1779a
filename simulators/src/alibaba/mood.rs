//! Alibaba in a mood.

use axum::body::Bytes;
use http::{HeaderName, request::Parts};
use serde_json::{Value, json};

use super::Alibaba;
use crate::{
    mood::{Acting, Call, Repeats, lists::named, shape, transport},
    server::parameters,
};

const STATISTICS: &str = "QueryPushStatByMsg";
const RECORDS: &str = "QueryPushRecords";
const DAYS: &str = "QueryPushStatByApp";
const TEXT_MESSAGES: [&str; 5] = [
    "SmsSentCount",
    "SmsSkipCount",
    "SmsFailedCount",
    "SmsReceiveSuccessCount",
    "SmsReceiveFailedCount",
];

/// The action of a request: a header of the newer signature, a parameter of the older one.
fn action(parts: &Parts) -> Option<String> {
    if let Some(action) = parts.headers.get("x-acs-action") {
        return action.to_str().ok().map(str::to_owned);
    }
    let parameters = parameters(parts.uri.query().unwrap_or_default());
    let found = parameters.into_iter().find(|(name, _)| name == "Action");
    found.map(|(_, action)| action)
}

impl transport::Vendor for Alibaba {
    fn books(&self) -> Value {
        Alibaba::books(self)
    }

    fn told(&self) -> Value {
        Alibaba::told(self)
    }

    fn endpoint(&self, parts: &Parts) -> Option<(&'static str, &Acting)> {
        let action = action(parts)?;
        let known = [STATISTICS, RECORDS, DAYS];
        let name = known.into_iter().find(|name| *name == action)?;
        Some((name, &self.0.acting))
    }

    fn request(&self, parts: &Parts, body: &Bytes) -> Value {
        let mut parameters = parameters(parts.uri.query().unwrap_or_default());
        parameters.extend(crate::server::parameters(&String::from_utf8_lossy(body)));
        let fields = parameters.into_iter();
        fields.map(|(name, value)| (name, json!(value))).collect()
    }

    fn volatile(&self) -> &'static [&'static str] {
        &["Signature", "SignatureNonce", "Timestamp"]
    }

    fn shape(&self, call: &Call, body: Value) -> Value {
        match call.endpoint {
            STATISTICS => self.shape_statistics(call, body),
            RECORDS => self.shape_records(call, body),
            _ => self.shape_days(call, body),
        }
    }

    fn error(&self, status: u16, nested: bool, luck: u64) -> Value {
        let (code, text) = match status {
            403 | 503 => ("ServiceUnavailable", "The service is unavailable."),
            404 => ("InvalidApi.NotFound", "Specified api is not found."),
            502 => ("Timeout", "The request timed out."),
            _ => ("InternalError", "The request processing has failed."),
        };
        let request = "8906582E-6722-409A-A6C4-0E7863B733A5";
        if nested {
            return json!({"RequestId": request, "Error": {"Code": code, "Message": text}});
        }
        match luck % 3 {
            0 => json!({"RequestId": request, "Code": code, "Message": text}),
            1 => json!({"requestId": request, "code": code, "message": text}),
            _ => json!({"RequestId": request, "Code": code, "Message": text, "Description": text,
                "HostId": "cloudpush.aliyuncs.com"}),
        }
    }

    fn throttle(&self, luck: u64) -> (u16, Value, HeaderName) {
        let header = HeaderName::from_static("x-acs-retry-after");
        let text = "Request was denied due to user flow control.";
        let code = ["Throttling.User", "Throttling", "Throttling.Api"][(luck % 3) as usize];
        let mut body = json!({"RequestId": "8906582E-6722-409A-A6C4-0E7863B733A5", "Code": code,
            "Message": text});
        match (luck >> 8) % 3 {
            0 => body["Description"] = json!(text),
            1 => body["Recommend"] = json!("https://api.alibabacloud.com/troubleshoot"),
            _ => {}
        }
        let status = if (luck >> 16).is_multiple_of(4) {
            503
        } else {
            400
        };
        (status, body, header)
    }
}

impl Alibaba {
    fn shape_statistics(&self, call: &Call, mut body: Value) -> Value {
        let id = call.text("MessageId");
        let name = named(id);
        let mut rows = match body.pointer_mut("/PushStats/PushStat").map(Value::take) {
            Some(Value::Array(rows)) => rows,
            _ => Vec::new(),
        };
        for row in &mut rows {
            shape::absent(row, &TEXT_MESSAGES, call, name);
            shape::absent(row, &["DeletedCount", "OpenedCount"], call, name ^ 1);
        }
        let is_good =
            self.odd_or_single(call, &mut body, ["PushStats", "PushStat"], &mut rows, name);
        if call.records() && is_good {
            for row in &rows {
                let mut row = row.clone();
                if let Some(fields) = row.as_object_mut() {
                    fields.remove("MessageId");
                }
                self.0.told.numbers("messages", id, &row);
            }
        }
        if call.mood.repeats != Repeats::Never && !rows.is_empty() && is_good {
            call.note("repeats");
            rows.push(rows[0].clone());
        }
        for row in &mut rows {
            shape::nulls(row, &TEXT_MESSAGES, call);
            shape::nulls(row, &["DeletedCount", "OpenedCount"], call);
            if let Some(id) = row.get_mut("MessageId") {
                shape::id(id, call, name);
            }
            shape::new_fields(row, call);
        }
        self.put_back(call, &mut body, ["PushStats", "PushStat"], rows, is_good);
        shape::new_fields(&mut body, call);
        body
    }

    fn shape_records(&self, call: &Call, mut body: Value) -> Value {
        let mut rows = match body.pointer_mut("/PushInfos/PushInfo").map(Value::take) {
            Some(Value::Array(rows)) => rows,
            _ => Vec::new(),
        };
        let page = named(call.text("Page"));
        let is_good =
            self.odd_or_single(call, &mut body, ["PushInfos", "PushInfo"], &mut rows, page);
        let application = call.text("AppKey");
        for row in &mut rows {
            let id = row["MessageId"].as_str().unwrap_or_default().to_owned();
            let name = named(&id);
            if row["Status"] == "RECALLED" {
                call.note("new_values");
            }
            if call.records() && is_good {
                self.0
                    .told
                    .numbers("listed", application, &json!({id: row.clone()}));
            }
            // All of them are optional in the vendor's own models.
            for optional in [
                "Title",
                "Body",
                "Source",
                "Target",
                "DeviceType",
                "PushType",
            ] {
                let luck = call.fixed(optional, name);
                if call.mood.absent_fields
                    && luck.is_multiple_of(6)
                    && let Some(fields) = row.as_object_mut()
                {
                    call.note("absent_fields");
                    fields.remove(optional);
                }
            }
            shape::nulls(
                row,
                &["Title", "Body", "Source", "Target", "Settings"],
                call,
            );
            if call.mood.new_values && call.fixed("kind", name).is_multiple_of(5) {
                call.note("new_values");
                row["PushType"] = json!("CARD");
                row["DeviceType"] = json!("HARMONY_NEXT");
            }
            if let Some(id) = row.get_mut("MessageId") {
                shape::id(id, call, name);
            }
            if let Some(time) = row.get_mut("PushTime") {
                shape::time(time, call, name);
            }
            if let Some(status) = row.get_mut("Status") {
                shape::case(status, call, "status", name);
            }
            shape::new_fields(row, call);
        }
        self.put_back(call, &mut body, ["PushInfos", "PushInfo"], rows, is_good);
        shape::nulls(&mut body, &["NextToken", "Total"], call);
        shape::new_fields(&mut body, call);
        body
    }

    fn shape_days(&self, call: &Call, mut body: Value) -> Value {
        let path = ["AppPushStats", "AppPushStat"];
        let mut rows = match body
            .pointer_mut("/AppPushStats/AppPushStat")
            .map(Value::take)
        {
            Some(Value::Array(rows)) => rows,
            _ => Vec::new(),
        };
        for row in &mut rows {
            let name = row["Time"].as_str().map_or(0, named);
            shape::absent(row, &TEXT_MESSAGES, call, name);
        }
        let is_good = self.odd_or_single(call, &mut body, path, &mut rows, 1);
        for row in &mut rows {
            let time = row["Time"].as_str().unwrap_or_default().to_owned();
            let name = named(&time);
            if call.records() && is_good {
                self.0.told.numbers("days", &time, row);
            }
            shape::nulls(row, &TEXT_MESSAGES, call);
            if let Some(time) = row.get_mut("Time") {
                shape::time(time, call, name);
            }
            shape::new_fields(row, call);
        }
        self.put_back(call, &mut body, path, rows, is_good);
        shape::new_fields(&mut body, call);
        body
    }

    /// Whether the rows are said where and as they are documented. Where something odd stands in
    /// their place, there are none.
    fn odd_or_single(
        &self,
        call: &Call,
        body: &mut Value,
        path: [&str; 2],
        rows: &mut Vec<Value>,
        row: u64,
    ) -> bool {
        if let Some(odd) = shape::odd(call, path[0], row) {
            if call.row("odd list", row).is_multiple_of(2) {
                body[path[0]] = odd;
            } else {
                body[path[0]] = json!({path[1]: odd});
            }
            rows.clear();
            return false;
        }
        !(call.mood.single_rows && rows.len() == 1)
    }

    /// Puts the rows where they belong.
    fn put_back(
        &self,
        call: &Call,
        body: &mut Value,
        [outer, inner]: [&str; 2],
        rows: Vec<Value>,
        is_good: bool,
    ) {
        if !is_good && rows.is_empty() {
            return;
        }
        if rows.is_empty() && call.mood.absent_fields {
            // An empty list may be no list.
            call.note("absent_fields");
            if call.luck("empty").is_multiple_of(2) {
                body[outer] = json!({});
            } else if let Some(fields) = body.as_object_mut() {
                fields.remove(outer);
            }
            return;
        }
        let rows = Value::Array(rows);
        body[outer] = json!({inner: shape::single(&rows, call).unwrap_or(rows)});
    }
}
