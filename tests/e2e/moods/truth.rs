//! What the vendors' books say at a moment, in the exporter's series: a plain model that shares no
//! code with the exporter.
//!
//! The same model reads two sources: the books (what is true) and what stood in good answers (what
//! the vendors told, each number at its highest). No number in the books ever falls. So what the
//! exporter shows has to be between the two.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use delivery_simulators::{Account, World, credentials};
use jiff::Timestamp;
use serde_json::Value;

/// Values of series, by their text: the family, and the labels sorted by name.
pub type Series = HashMap<String, f64>;

/// The accounts of the configuration: name, type, and the applications' ids and names.
pub const PUSH: &str = "push";
pub const MAIL: &str = "mail";
pub const NEWS: &str = "news";
pub const LOYALTY: &str = "loyalty";
pub const CHINA: &str = "china";
/// All of them.
pub const ACCOUNTS: [&str; 5] = [PUSH, MAIL, NEWS, LOYALTY, CHINA];

/// Pushwoosh's applications: the id, and the label `application`.
pub const LOYALTY_APPLICATIONS: [(&str, &str); 2] = [
    (credentials::PUSHWOOSH_APPLICATIONS[0], "loyalty"),
    (credentials::PUSHWOOSH_APPLICATIONS[1], "partner"),
];

/// The books at one moment.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// When.
    pub at: Timestamp,
    /// Gauges whose numbers never fall.
    pub gauges: Series,
    /// Gauges that follow the vendor up and down: users and test devices.
    pub loose: Series,
    /// Counters.
    pub counters: Series,
}

/// The text of a series.
pub fn series(family: &str, labels: &[(&str, &str)]) -> String {
    let mut labels = labels.to_vec();
    labels.sort_unstable();
    let mut text = String::with_capacity(200);
    text.push_str(family);
    text.push('{');
    for (name, value) in labels {
        text.push_str(name);
        text.push_str("=\"");
        text.push_str(value);
        text.push_str("\",");
    }
    text.push('}');
    text
}

/// A number in any of the forms in which a vendor writes it.
fn number(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_default()
}

/// Writes the facts of one message.
struct Book<'a> {
    facts: &'a mut Facts,
    provider: &'a str,
    account: &'a str,
    application: &'a str,
    campaign: &'a str,
    id: &'a str,
}

impl Book<'_> {
    fn common(&self) -> Vec<(&str, &str)> {
        vec![
            ("provider", self.provider),
            ("account", self.account),
            ("application", self.application),
        ]
    }

    fn gauge(&mut self, family: &str, more: &[(&str, &str)], value: f64) {
        let mut all = self.common();
        all.extend([("campaign", self.campaign), ("message_id", self.id)]);
        all.extend(more);
        let key = series(family, &all);
        *self.facts.gauges.entry(key).or_default() += value;
    }

    fn count(&mut self, family: &str, more: &[(&str, &str)], value: f64) {
        let all = [&self.common()[..], more].concat();
        let key = series(family, &all);
        *self.facts.counters.entry(key).or_default() += value;
    }

    /// A number of a message as a whole.
    fn total(&mut self, measure: &str, more: &[(&str, &str)], value: &Value) {
        let Some(value) = number(value) else {
            return;
        };
        self.gauge(&format!("delivery_message_{measure}"), more, value);
        self.count(&format!("delivery_{measure}_total"), more, value);
        if !self.campaign.is_empty() {
            let campaign = self.campaign.to_owned();
            let more = [more, &[("campaign", campaign.as_str())]].concat();
            self.count(&format!("delivery_campaign_{measure}_total"), &more, value);
        }
    }

    /// A number of one way to devices.
    fn leaf(&mut self, measure: &str, more: &[(&str, &str)], value: &Value) {
        if let Some(value) = number(value) {
            self.gauge(&format!("delivery_message_channel_{measure}"), more, value);
            self.count(&format!("delivery_channel_{measure}_total"), more, value);
        }
    }
}

/// Infobip's bulks, by their ids, with the campaigns that the customer named.
fn infobip_push(bulks: &Value, campaigns: &HashMap<String, String>, facts: &mut Facts) {
    for (id, numbers) in bulks.as_object().into_iter().flatten() {
        let mut book = Book {
            facts,
            provider: "infobip_push",
            account: PUSH,
            application: "shop",
            campaign: campaigns.get(id).map_or("", String::as_str),
            id,
        };
        let push = ("channel", "push");
        book.total("sent", &[push], &numbers["totalSent"]);
        book.total("delivered", &[push], &numbers["delivered"]);
        book.total("displayed", &[push], &numbers["seen"]);
        for reason in ["registration", "expired", "cloud"] {
            let more = [push, ("reason", reason)];
            book.total("errors", &more, &numbers["errors"][reason]);
        }
    }
}

/// EngageLab's five numbers in either spelling.
const FIVE: [(&str, &str, &str); 5] = [
    ("targeted", "targets", "target"),
    ("sent", "sent", "sent"),
    ("delivered", "delivered", "delivered"),
    ("displayed", "impressions", "impressions"),
    ("opened", "clicks", "click"),
];

fn either<'v>(object: &'v Value, plural: &str, singular: &str) -> &'v Value {
    let own = object.get(plural).or(object.get(singular));
    own.unwrap_or(&Value::Null)
}

/// EngageLab's messages and their lifecycle.
fn engagelab(books: &Value, facts: &mut Facts) {
    for (id, numbers) in books["messages"].as_object().into_iter().flatten() {
        let mut book = Book {
            facts,
            provider: "engagelab",
            account: NEWS,
            application: NEWS,
            campaign: text(numbers, "plan_id"),
            id,
        };
        for (measure, plural, singular) in FIVE {
            let value = either(numbers, plural, singular);
            book.total(measure, &[("channel", "push")], value);
        }
        for (kind, object) in numbers["sub"].as_object().into_iter().flatten() {
            let kind = ("message_type", kind.as_str());
            for (measure, plural, singular) in FIVE {
                if let Some(value) = number(either(object, plural, singular)) {
                    book.gauge(&format!("delivery_message_type_{measure}"), &[kind], value);
                }
            }
            for (key, channels) in object.as_object().into_iter().flatten() {
                let Some(platform) = key.strip_prefix("sub_") else {
                    continue;
                };
                let platform = platform.replace("hmos", "harmonyos");
                for (channel, leaf) in channels.as_object().into_iter().flatten() {
                    let channel = channel.to_lowercase();
                    let more = [
                        kind,
                        ("platform", &platform),
                        ("vendor_channel", channel.as_str()),
                    ];
                    for (measure, plural, singular) in FIVE {
                        book.leaf(measure, &more, either(leaf, plural, singular));
                    }
                }
            }
        }
        let devices = books["lifecycle"][id].as_object();
        for device in devices.into_iter().flatten() {
            let status = device.1["status"]
                .as_str()
                .map_or("error".into(), str::to_lowercase);
            let all = [
                ("provider", "engagelab"),
                ("account", NEWS),
                ("application", NEWS),
                ("message_id", id.as_str()),
                ("status", status.as_str()),
            ];
            let key = series("delivery_canary_devices", &all);
            *facts.loose.entry(key).or_default() += 1.0;
        }
    }
}

/// The users of the newest complete hour, day and month.
fn engagelab_users(users: &Value, facts: &mut Facts) {
    let now = jiff::tz::Offset::UTC.to_datetime(facts.at);
    for (unit, label, form) in [
        ("HOUR", "hour", "%Y-%m-%d %H"),
        ("DAY", "day", "%Y-%m-%d"),
        ("MONTH", "month", "%Y-%m"),
    ] {
        let current = now.strftime(form).to_string();
        let items = users[unit].as_object().into_iter().flatten();
        let complete = items
            .filter(|(time, _)| **time < current)
            .max_by_key(|own| own.0);
        for (platform, users) in complete
            .and_then(|own| own.1.as_object())
            .into_iter()
            .flatten()
        {
            if platform == "time" {
                continue;
            }
            let platform = platform.replace("hmos", "harmonyos");
            for name in ["new", "active", "online"] {
                let all = [
                    ("provider", "engagelab"),
                    ("account", NEWS),
                    ("application", NEWS),
                    ("platform", &platform),
                    ("time_unit", label),
                ];
                let key = series(&format!("delivery_app_users_{name}"), &all);
                if let Some(value) = number(&users[name]) {
                    facts.loose.insert(key, value);
                }
            }
        }
    }
}

/// Pushwoosh's fields and the measures that they are.
const PUSHWOOSH: [(&str, &str); 9] = [
    ("sent", "sends"),
    ("delivered", "deliveries"),
    ("opened", "opens"),
    ("inbox_opened", "inbox_opens"),
    ("unshowable", "unshowable_sends"),
    ("confirmed", "confirmed_sends"),
    ("unsubscribed", "unsubs"),
    ("complaints", "complaints"),
    ("errors", "errors"),
];

/// A platform's code: the channel, the platform, and the way to it.
fn platform(code: u64) -> (&'static str, &'static str, String) {
    match code {
        1 => ("push", "ios", "apns".into()),
        3 => ("push", "android", "fcm".into()),
        7 => ("push", "macos", "apns".into()),
        10 => ("push", "web", "safari".into()),
        11 => ("push", "web", "chrome".into()),
        12 => ("push", "web", "firefox".into()),
        17 => ("push", "android", "huawei".into()),
        18 => ("sms", "", String::new()),
        19 => ("push", "android", "xiaomi".into()),
        21 => ("whatsapp", "", String::new()),
        150 => ("push", "web", "edge".into()),
        other => ("push", "other", other.to_string()),
    }
}

fn pushwoosh_item(book: &mut Book<'_>, item: &Value) {
    let rows = |info: &str| {
        item[info]["metrics"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    for row in rows("push_info") {
        let (channel, platform, vendor_channel) = platform(row["platform"].as_u64().unwrap_or(0));
        for (measure, field) in PUSHWOOSH {
            let mut more = vec![("channel", channel)];
            if measure == "errors" {
                more.push(("reason", "unspecified"));
            }
            book.total(measure, &more, &row[field]);
            if channel == "push" {
                let more = [
                    ("message_type", "notification"),
                    ("platform", platform),
                    ("vendor_channel", vendor_channel.as_str()),
                ];
                book.leaf(measure, &more, &row[field]);
            }
        }
    }
    for row in rows("email_info") {
        let email = ("channel", "email");
        for (measure, field) in PUSHWOOSH {
            let mut more = vec![email];
            if measure == "errors" {
                more.push(("reason", "unspecified"));
            }
            book.total(measure, &more, &row[field]);
        }
        let rejected = [email, ("reason", "rejected")];
        book.total("errors", &rejected, &row["rejects"]);
        for (kind, field) in [("hard", "hard_bounces"), ("soft", "soft_bounces")] {
            book.total("bounces", &[email, ("kind", kind)], &row[field]);
        }
    }
}

/// The class of a bounce's reason. The simulator knows five texts.
fn class(reason: &str) -> &'static str {
    match reason {
        own if own.starts_with("550") => "invalid_recipient",
        own if own.starts_with("452") => "mailbox_full",
        own if own.starts_with("421") => "timeout",
        own if own.starts_with("blocked") => "blocked",
        _ => "other",
    }
}

/// Pushwoosh's messages and what it tells besides, by application; events of the log from `oldest`
/// on.
fn pushwoosh(books: &Value, oldest: Timestamp, facts: &mut Facts) {
    for (code, application) in LOYALTY_APPLICATIONS {
        for item in books[code].as_array().into_iter().flatten() {
            let id = text(item, "code");
            let mut book = Book {
                facts,
                provider: "pushwoosh",
                account: LOYALTY,
                application,
                campaign: "",
                id,
            };
            if text(item, "status").eq_ignore_ascii_case("pending") {
                continue;
            }
            pushwoosh_item(&mut book, item);
            let events = books["conversions"][id]["events"].as_array();
            for event in events.into_iter().flatten() {
                let more = [("event", text(event, "name"))];
                for (family, field) in [
                    ("delivery_conversion_hits", "hits"),
                    ("delivery_conversion_ratio", "conversion"),
                    ("delivery_conversion_revenue", "revenue"),
                ] {
                    if let Some(value) = number(&event[field]) {
                        book.gauge(family, &more, value);
                    }
                }
            }
        }
        pushwoosh_events(books, code, application, oldest, facts);
        let mut devices: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in books["clicks"][code].as_array().into_iter().flatten() {
            let link = text(row, "link").split('?').next().unwrap_or_default();
            let hwid = text(row, "hwid").to_owned();
            devices.entry(link.to_owned()).or_default().insert(hwid);
            let more = [
                ("template", "AAAAA-XXXXX"),
                ("link", link),
                ("title", "Offer"),
            ];
            let key = loyalty("delivery_link_clicks", application, &more);
            *facts.gauges.entry(key).or_default() += 1.0;
        }
        for (link, devices) in devices {
            let more = [("link", link.as_str())];
            let key = loyalty("delivery_link_devices", application, &more);
            facts.gauges.insert(key, devices.len() as f64);
        }
    }
}

fn loyalty(family: &str, application: &str, more: &[(&str, &str)]) -> String {
    let common = [
        ("provider", "pushwoosh"),
        ("account", LOYALTY),
        ("application", application),
    ];
    series(family, &[&common[..], more].concat())
}

/// Bounced e-mails and the events of the log.
fn pushwoosh_events(
    books: &Value,
    code: &str,
    application: &str,
    oldest: Timestamp,
    facts: &mut Facts,
) {
    for row in books["bounces"][code].as_array().into_iter().flatten() {
        let kind = match text(row, "type").to_lowercase().as_str() {
            "hardbounce" => "hard",
            "softbounce" => "soft",
            "complaint" => "complaint",
            _ => "unknown",
        };
        let more = [("kind", kind), ("reason", class(text(row, "reason")))];
        let key = loyalty("delivery_bounced_addresses_total", application, &more);
        *facts.counters.entry(key).or_default() += 1.0;
    }
    for event in books["log"][code].as_array().into_iter().flatten() {
        let at: Timestamp = text(event, "timestamp").parse().unwrap_or_default();
        if at < oldest {
            continue;
        }
        let action = text(event, "action").replace("inbox_delete", "inbox_deleted");
        let platform = match text(event, "platform") {
            "ios" => "ios",
            "android" | "huawei android" => "android",
            "chrome" => "web",
            "email" => "email",
            _ => "other",
        };
        let more = [
            ("action", action.as_str()),
            ("platform", platform),
            ("status", text(event, "status")),
        ];
        let key = loyalty("delivery_log_events_total", application, &more);
        *facts.counters.entry(key).or_default() += 1.0;
    }
}

/// Alibaba's messages, by their ids.
fn alibaba(messages: &Value, facts: &mut Facts) {
    for (id, numbers) in messages.as_object().into_iter().flatten() {
        let mut book = Book {
            facts,
            provider: "alibaba_push",
            account: CHINA,
            application: "cn",
            campaign: "",
            id,
        };
        for (channel, measure, field, reason) in [
            ("push", "accepted", "AcceptCount", None),
            ("push", "sent", "SentCount", None),
            ("push", "delivered", "ReceivedCount", None),
            ("push", "opened", "OpenedCount", None),
            ("push", "dismissed", "DeletedCount", None),
            ("sms", "sent", "SmsSentCount", None),
            ("sms", "delivered", "SmsReceiveSuccessCount", None),
            ("sms", "skipped", "SmsSkipCount", None),
            ("sms", "errors", "SmsFailedCount", Some("send_failed")),
            (
                "sms",
                "errors",
                "SmsReceiveFailedCount",
                Some("undelivered"),
            ),
        ] {
            let mut more = vec![("channel", channel)];
            more.extend(reason.map(|reason| ("reason", reason)));
            book.total(measure, &more, &numbers[field]);
        }
    }
}

/// What the reports that were handed out come to: a plain model of what a report counts.
pub fn reports(handed_out: &[Value]) -> Series {
    let mut counted = Series::new();
    let (mut known, mut sent) = (HashSet::new(), HashSet::new());
    let (mut delivered, mut ended, mut priced) = (HashSet::new(), HashSet::new(), HashSet::new());
    for report in handed_out {
        let get = |pointer: &str| {
            let found = report.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default()
        };
        let id = get("/messageId").to_owned();
        let (group, name) = (get("/status/groupName"), get("/status/name"));
        let (error_group, error) = (get("/error/groupName"), get("/error/name"));
        let permanent = report.pointer("/error/permanent").and_then(Value::as_bool);
        let status_id = report.pointer("/status/id").map(Value::to_string);
        let status_id = status_id.unwrap_or_default();
        // The vendor documents which name a number has.
        let status = match (name, status_id.as_str()) {
            ("", "2") => "DELIVERED_TO_OPERATOR",
            ("", "4") => "UNDELIVERABLE_REJECTED_OPERATOR",
            ("", "5") => "DELIVERED_TO_HANDSET",
            ("", "6") => "REJECTED_NETWORK",
            ("", "7") => "PENDING_ENROUTE",
            ("", "15") => "EXPIRED_EXPIRED",
            ("", other) => other,
            (name, _) => name,
        };
        if !known.insert((id.clone(), status.to_owned())) {
            continue;
        }
        let mut add = |family: &str, more: &[(&str, &str)], value: f64| {
            let common = [
                ("provider", "infobip_email"),
                ("account", MAIL),
                ("application", MAIL),
                ("channel", "email"),
            ];
            let key = series(family, &[&common[..], more].concat());
            *counted.entry(key).or_default() += value;
        };
        let permanent_text = permanent.map(|own| own.to_string()).unwrap_or_default();
        let more = [
            ("status_group", group),
            ("status", status),
            ("error_group", error_group),
            ("error", error),
            ("permanent", permanent_text.as_str()),
        ];
        add("delivery_reports_total", &more, 1.0);
        let campaign = get("/campaignReferenceId");
        let mut count = |measure: &str, more: &[(&str, &str)]| {
            add(&format!("delivery_{measure}_total"), more, 1.0);
            if !campaign.is_empty() {
                let more = [more, &[("campaign", campaign)]].concat();
                add(&format!("delivery_campaign_{measure}_total"), &more, 1.0);
            }
        };
        if sent.insert(id.clone()) {
            count("sent", &[]);
        }
        let is_final = group != "PENDING" && status != "DELIVERED_TO_OPERATOR";
        if is_final && group == "DELIVERED" && delivered.insert(id.clone()) {
            count("delivered", &[]);
        }
        if is_final && ended.insert(id.clone()) {
            let outcome = match (group, error_group, error) {
                ("DELIVERED", ..) => None,
                // Nobody says what went wrong.
                (other, "OK", _) if other != "EXPIRED" && other != "REJECTED" => None,
                // Without the flag, the vendor's table says what kind an error is.
                (_, "USER_ERRORS", own) if permanent.unwrap_or(own == "EC_MAILBOX_UNAVAILABLE") => {
                    Some(("bounces", "kind", "hard"))
                }
                (_, "USER_ERRORS", _) => Some(("bounces", "kind", "soft")),
                (_, "HANDSET_ERRORS", "EC_SUPPRESSED_BOUNCE") => {
                    Some(("errors", "reason", "suppressed"))
                }
                (_, "HANDSET_ERRORS", _) => Some(("errors", "reason", "dropped")),
                (_, "OPERATOR_ERRORS", _) => Some(("errors", "reason", "system")),
                ("EXPIRED", ..) => Some(("errors", "reason", "expired")),
                ("REJECTED", ..) => Some(("errors", "reason", "rejected")),
                _ => Some(("errors", "reason", "other")),
            };
            if let Some((measure, label, value)) = outcome {
                count(measure, &[(label, value)]);
            }
            let time = |name: &str| get(name).parse::<Timestamp>().ok();
            if let (Some(sent), Some(done)) = (time("/sentAt"), time("/doneAt"))
                && done >= sent
            {
                let more = [("status_group", group)];
                add("delivery_report_latency_seconds_count", &more, 1.0);
            }
        }
        let price = report.pointer("/price/pricePerMessage").and_then(number);
        if let Some(price) = price
            && priced.insert(id)
        {
            let more = [("currency", get("/price/currency"))];
            add("delivery_report_cost_total", &more, price);
        }
    }
    counted
}

/// One source of what the vendors know: the books, or what they told.
pub struct Source {
    /// Infobip's bulks, by their ids.
    pub bulks: Value,
    /// EngageLab's `messages`, `users` and `lifecycle`.
    pub news: Value,
    /// Pushwoosh's items by application, and `conversions`, `bounces`, `log` and `clicks`.
    pub loyalty: Value,
    /// Alibaba's messages, by their ids.
    pub china: Value,
    /// E-mail reports.
    pub reports: Vec<Value>,
}

impl Source {
    /// What is true now.
    pub fn books(world: &World) -> Source {
        Source {
            bulks: world.infobip.books()["statistics"].take(),
            news: world.engagelab.books(),
            loyalty: world.pushwoosh.books(),
            china: world.alibaba.books()["messages"].take(),
            // A report in no known form may be understood or not.
            reports: told_reports(world, &["reports", "reports_odd"]),
        }
    }

    /// What stood in good answers until now, each number at its highest.
    pub fn told(world: &World) -> Source {
        let mut loyalty = world.told(Account::Pushwoosh);
        let mut events = loyalty["events"].take();
        for (code, _) in LOYALTY_APPLICATIONS {
            let ids = loyalty["listed"][code].as_object();
            let ids: Vec<String> = ids.into_iter().flatten().map(|own| own.0.clone()).collect();
            let items = ids.iter().filter_map(|id| {
                let mut item = loyalty["messages"].get(id)?.clone();
                item["code"] = Value::from(id.as_str());
                Some(item)
            });
            loyalty[code] = items.collect();
        }
        for kind in ["bounces", "log"] {
            loyalty[kind] = events[kind].take();
        }
        let mut news = world.told(Account::Engagelab);
        // Users that were told once are not those of the newest period.
        news["users"] = Value::Null;
        // Nor are statuses that devices once had.
        news["lifecycle"] = Value::Null;
        Source {
            bulks: world.told(Account::InfobipPush)["messages"].take(),
            news,
            loyalty,
            china: world.told(Account::Alibaba)["messages"].take(),
            reports: told_reports(world, &["reports"]),
        }
    }

    /// What it comes to. `campaigns` are those of Infobip's bulks; events of the log count from
    /// `oldest` on.
    pub fn facts(
        &self,
        at: Timestamp,
        campaigns: &HashMap<String, String>,
        oldest: Timestamp,
    ) -> Facts {
        let mut facts = Facts {
            at,
            ..Facts::default()
        };
        infobip_push(&self.bulks, campaigns, &mut facts);
        engagelab(&self.news, &mut facts);
        engagelab_users(&self.news["users"], &mut facts);
        pushwoosh(&self.loyalty, oldest, &mut facts);
        alibaba(&self.china, &mut facts);
        facts.counters.extend(reports(&self.reports));
        facts
    }
}

/// The other names of Pushwoosh's messages: by their ids, the codes.
pub fn aliases(world: &World) -> HashMap<String, String> {
    let books = world.pushwoosh.books();
    let items = LOYALTY_APPLICATIONS
        .iter()
        .filter_map(|(code, _)| books[*code].as_array());
    let pair = |item: &Value| Some((item["id"].to_string(), item["code"].as_str()?.to_owned()));
    items.flatten().filter_map(pair).collect()
}

/// The e-mail reports that were handed out.
fn told_reports(world: &World, kinds: &[&str]) -> Vec<Value> {
    let told = world.told(Account::InfobipEmail);
    let all = kinds.iter().filter_map(|kind| told[*kind].as_array());
    all.flatten().cloned().collect()
}

/// The campaigns of Infobip's bulks, as the customer names them.
pub fn campaigns(world: &World) -> HashMap<String, String> {
    let all = world.infobip.messages().into_iter();
    all.map(|own| (own.id, own.campaign.unwrap_or_default()))
        .collect()
}
