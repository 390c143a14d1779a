//! The one table of all families: `/metrics`, OTLP and the documentation are made from it.

use std::{collections::HashMap, sync::LazyLock};

use crate::model::Measure;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A value that goes up and down.
    Gauge,
    /// A value that only grows.
    Counter,
    /// Counts of observations by upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The word in `# TYPE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// One family of series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name in Prometheus; a counter's ends in `_total`.
    pub name: String,
    /// What its values are.
    pub kind: Kind,
    /// The unit in UCUM; empty for a state that has none.
    pub unit: &'static str,
    /// What it means, with the vendors' fields.
    pub help: String,
    /// Its labels in order, without those that the configuration adds.
    pub labels: Vec<&'static str>,
}

impl Family {
    /// The name without a counter's suffix, as OpenMetrics calls the family.
    pub fn base_name(&self) -> &str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(&self.name),
            _ => &self.name,
        }
    }

    /// The unit that OpenMetrics states, which the name has to end in.
    pub fn open_metrics_unit(&self) -> Option<&'static str> {
        let unit = match self.unit {
            "s" => "seconds",
            "By" => "bytes",
            "1" => "ratio",
            _ => return None,
        };
        self.base_name()
            .strip_suffix(unit)?
            .ends_with('_')
            .then_some(unit)
    }

    /// Whether its series belong to an account, and so carry the account's own labels.
    pub fn of_account(&self) -> bool {
        self.labels.contains(&"account")
    }

    /// The name in OpenTelemetry (contract 4.6): the suffixes that the translation to Prometheus
    /// adds are taken off, and the words of the longest known prefix are joined by dots.
    pub fn otlp_name(&self) -> String {
        const PREFIXES: [&str; 15] = [
            "delivery",
            "delivery_exporter",
            "delivery_message",
            "delivery_message_channel",
            "delivery_message_type",
            "delivery_campaign",
            "delivery_channel",
            "delivery_cohort",
            "delivery_cohort_channel",
            "delivery_report",
            "delivery_app_users",
            "delivery_conversion",
            "delivery_link",
            "delivery_log",
            "process",
        ];
        let name = self.base_name();
        let name = name
            .strip_suffix("_seconds")
            .or(name.strip_suffix("_bytes"))
            .unwrap_or(name);
        let prefix = PREFIXES
            .iter()
            .filter(|prefix| {
                name.strip_prefix(**prefix)
                    .is_some_and(|rest| rest.starts_with('_'))
            })
            .max_by_key(|prefix| prefix.len());
        match prefix {
            Some(prefix) => {
                format!("{}.{}", prefix.replace('_', "."), &name[prefix.len() + 1..])
            }
            None => name.to_owned(),
        }
    }
}

/// A family's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(u16);

impl FamilyId {
    /// The index in [`families`].
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The family itself.
    pub fn family(self) -> &'static Family {
        &TABLE.families[self.index()]
    }
}

/// What a family holds, for those who put values into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is described by its family's help")]
pub enum Key {
    Message(&'static str),
    MessageDeliveryRatio,
    MessageReportedRatio,
    Channel(&'static str),
    Type(&'static str),
    Total(&'static str),
    Campaign(&'static str),
    Reports,
    ReportLatency,
    ReportCost,
    Up,
    CollectSuccess,
    LastSuccess,
    Due,
    CollectFailures,
    CollectDuration,
    ApiRequests,
    ApiRetries,
    RateLimited,
    UnknownFields,
    TrackedMessages,
    RejectedMessages,
    SnapshotDecreases,
    Series,
    SeriesDropped,
    ReportsDuplicate,
    ReportsQuarantined,
    HeldIncrements,
    LeaseHeld,
    DiscoverySuccess,
    DiscoveryLastSuccess,
    DiscoveredMessages,
    Process(&'static str),
}

/// The id of the family that holds `key`.
///
/// Every key that the code can name is in the table: a test walks them.
pub fn id(key: Key) -> FamilyId {
    TABLE.ids.get(&key).copied().unwrap_or(FamilyId(0))
}

/// The family whose samples are called `name`.
pub(super) fn by_name(name: &str) -> Option<FamilyId> {
    let index = TABLE
        .families
        .iter()
        .position(|family| family.name == name)?;
    index.try_into().ok().map(FamilyId)
}

/// The ids of all families, in the order of the exposition.
pub(super) fn ids() -> impl Iterator<Item = FamilyId> {
    (0..TABLE.families.len()).filter_map(|index| index.try_into().ok().map(FamilyId))
}

/// All families, in the order of the exposition.
pub fn families() -> &'static [Family] {
    &TABLE.families
}

/// The bounds of `delivery_exporter_collect_duration_seconds`.
pub const DURATION_BOUNDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
/// The bounds of `delivery_report_latency_seconds`.
pub const LATENCY_BOUNDS: &[f64] = &[
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0, 43200.0,
    86400.0, 172800.0,
];

struct FamilyTable {
    families: Vec<Family>,
    ids: HashMap<Key, FamilyId>,
}

/// L of the contract.
const L: [&str; 3] = ["provider", "account", "application"];
/// The labels of what is collected.
const A: [&str; 3] = ["account", "dataset", "application"];

/// The measures of single messages: word, what it means, and the vendors' fields.
const MESSAGE: [(&str, &str, &str); 15] = [
    (
        "targeted",
        "Recipients that a message was meant for",
        "EngageLab targets",
    ),
    (
        "accepted",
        "Sends that the vendor's server accepted",
        "Alibaba AcceptCount",
    ),
    (
        "sent",
        "Sends of a message",
        "Infobip totalSent, EngageLab sent, Pushwoosh sends, Alibaba SentCount and SmsSentCount",
    ),
    (
        "delivered",
        "Deliveries of a message",
        "Infobip delivered, EngageLab delivered, Pushwoosh deliveries, Alibaba ReceivedCount and SmsReceiveSuccessCount",
    ),
    (
        "displayed",
        "Displays of a message",
        "Infobip seen, EngageLab impressions",
    ),
    (
        "opened",
        "Opens or clicks of a message",
        "EngageLab clicks, Pushwoosh opens, Alibaba OpenedCount",
    ),
    (
        "dismissed",
        "Notifications cleared away unopened",
        "Alibaba DeletedCount",
    ),
    (
        "inbox_opened",
        "Opens from the application's inbox",
        "Pushwoosh inbox_opens",
    ),
    (
        "unshowable",
        "Sends to users who switched notifications off",
        "Pushwoosh unshowable_sends",
    ),
    (
        "confirmed",
        "Sends that the receiving server confirmed",
        "Pushwoosh confirmed_sends",
    ),
    (
        "unsubscribed",
        "Recipients who unsubscribed",
        "Pushwoosh unsubs",
    ),
    (
        "complaints",
        "Recipients who complained",
        "Pushwoosh complaints",
    ),
    ("skipped", "Text messages not tried", "Alibaba SmsSkipCount"),
    (
        "errors",
        "Failed sends of a message, by reason",
        "Infobip errors, Pushwoosh errors and rejects, Alibaba SmsFailedCount and SmsReceiveFailedCount",
    ),
    (
        "bounces",
        "Bounces of a message, hard or soft",
        "Pushwoosh hard_bounces and soft_bounces",
    ),
];

/// The measures of the breakdown by vendor channel.
const CHANNEL: [&str; 8] = [
    "targeted",
    "sent",
    "delivered",
    "displayed",
    "opened",
    "inbox_opened",
    "unshowable",
    "errors",
];

/// The measures of the totals per message type.
const TYPE: [&str; 5] = ["targeted", "sent", "delivered", "displayed", "opened"];

/// The measures that delivery reports add up to: word, what it means, and its own label.
const REPORTED: [(&str, &str, Option<&str>); 4] = [
    (
        "sent",
        "Messages that the vendor reported on. For Infobip e-mail sent means reported on: an outage shows as missing reports",
        None,
    ),
    (
        "delivered",
        "Messages with a final delivered report (not DELIVERED_TO_OPERATOR)",
        None,
    ),
    (
        "bounces",
        "Messages whose first final report is a bounce, hard or soft by error.permanent",
        Some("kind"),
    ),
    (
        "errors",
        "Messages whose first final report is an error without a bounce",
        Some("reason"),
    ),
];

static TABLE: LazyLock<FamilyTable> = LazyLock::new(|| {
    let mut table = FamilyTable {
        families: Vec::new(),
        ids: HashMap::new(),
    };
    of_messages(&mut table);
    of_reports(&mut table);
    of_collection(&mut table);
    of_process(&mut table);
    table
});

impl FamilyTable {
    fn add(
        &mut self,
        key: Key,
        name: impl Into<String>,
        kind: Kind,
        unit: &'static str,
        labels: &[&[&'static str]],
        help: impl Into<String>,
    ) {
        let id = FamilyId(self.families.len().try_into().unwrap_or(u16::MAX));
        self.ids.insert(key, id);
        let labels = labels.concat();
        self.families.push(Family {
            name: name.into(),
            kind,
            unit,
            help: help.into(),
            labels,
        });
    }
}

fn of_messages(table: &mut FamilyTable) {
    let own = ["channel", "campaign", "message_id"];
    for (word, meaning, fields) in MESSAGE {
        let extra: &[&str] = match word {
            "errors" => &["reason"],
            "bounces" => &["kind"],
            _ => &[],
        };
        table.add(
            Key::Message(word),
            format!("delivery_message_{word}"),
            Kind::Gauge,
            unit_of(word),
            &[&L, &own, extra],
            format!("{meaning}, as of the last pass ({fields})."),
        );
    }
    table.add(
        Key::MessageDeliveryRatio,
        "delivery_message_delivery_ratio",
        Kind::Gauge,
        "1",
        &[&L, &own],
        "Delivered / sent of a message, as of the last pass; not clamped, absent while sent is 0.",
    );
    table.add(
        Key::MessageReportedRatio,
        "delivery_message_reported_delivery_ratio",
        Kind::Gauge,
        "1",
        &[&L, &own],
        "The vendor's own delivery ratio of a message, as of the last pass (Infobip delivery.rate / 100).",
    );
    let breakdown = [
        "campaign",
        "message_id",
        "message_type",
        "platform",
        "vendor_channel",
    ];
    for word in CHANNEL {
        table.add(
            Key::Channel(word),
            format!("delivery_message_channel_{word}"),
            Kind::Gauge,
            unit_of(word),
            &[&L, &breakdown],
            format!(
                "{} by vendor channel, as of the last pass (EngageLab leaves under sub, Pushwoosh metrics rows). Does not add up to the message's totals.",
                meaning_of(word)
            ),
        );
    }
    for word in TYPE {
        table.add(
            Key::Type(word),
            format!("delivery_message_type_{word}"),
            Kind::Gauge,
            unit_of(word),
            &[&L, &["campaign", "message_id", "message_type"]],
            format!(
                "{} by message type, as of the last pass (EngageLab objects under sub). Does not add up to the message's totals.",
                meaning_of(word)
            ),
        );
    }
}

fn meaning_of(word: &str) -> &'static str {
    MESSAGE
        .iter()
        .find(|(own, ..)| *own == word)
        .map_or("", |(_, meaning, _)| meaning)
}

fn unit_of(word: &str) -> &'static str {
    match word {
        "targeted" | "unsubscribed" | "complaints" => "{recipient}",
        "errors" => "{error}",
        "bounces" => "{bounce}",
        _ => "{message}",
    }
}

fn of_reports(table: &mut FamilyTable) {
    table.add(
        Key::Reports,
        "delivery_reports_total",
        Kind::Counter,
        "{report}",
        &[&L, &["channel", "status_group", "status", "error_group", "error", "permanent"]],
        "Delivery reports, each counted once (Infobip status, error). A message can have several, so their sum is no number of messages.",
    );
    for (word, meaning, label) in REPORTED {
        let extra: Vec<&'static str> = label.into_iter().collect();
        table.add(
            Key::Total(word),
            format!("delivery_{word}_total"),
            Kind::Counter,
            unit_of(word),
            &[&L, &["channel"], &extra],
            format!("{meaning}."),
        );
        table.add(
            Key::Campaign(word),
            format!("delivery_campaign_{word}_total"),
            Kind::Counter,
            unit_of(word),
            &[&L, &["channel", "campaign"], &extra],
            format!("{meaning}; of messages whose report names a campaign (Infobip campaignReferenceId)."),
        );
    }
    table.add(
        Key::ReportLatency,
        "delivery_report_latency_seconds",
        Kind::Histogram(LATENCY_BOUNDS),
        "s",
        &[&L, &["channel", "status_group"]],
        "Time from sending to a message's first final report (Infobip doneAt - sentAt).",
    );
    table.add(
        Key::ReportCost,
        "delivery_report_cost_total",
        Kind::Counter,
        "{currency}",
        &[&L, &["channel", "currency"]],
        "Cost of messages in their currency (Infobip pricePerMessage x messageCount of a message's first report with a price).",
    );
}

/// Key, name, kind, unit, labels and help of a family.
type Row = (
    Key,
    &'static str,
    Kind,
    &'static str,
    Vec<&'static str>,
    &'static str,
);

fn of_collection(table: &mut FamilyTable) {
    use Kind::{Counter, Gauge, Histogram};
    let account: &[&str] = &["account"];
    let source: &[&str] = &["account", "source"];
    let dataset: &[&str] = &["account", "dataset"];
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        (Key::Up, "delivery_up", Gauge, "", vec!["provider", "account"],
            "1 if the last pass in which anything was due got at least one good answer; absent until the first has ended."),
        (Key::CollectSuccess, "delivery_exporter_collect_success", Gauge, "", A.to_vec(),
            "1 if nothing of the data set failed in the last pass that asked for it."),
        (Key::LastSuccess, "delivery_exporter_last_success_timestamp_seconds", Gauge, "s", A.to_vec(),
            "When the data set was last collected without a failure, in Unix time; 0 until it was."),
        (Key::Due, "delivery_exporter_due_timestamp_seconds", Gauge, "s", A.to_vec(),
            "When the oldest unanswered query was due, or when the next will be, in Unix time. In the future while all is well."),
        (Key::CollectFailures, "delivery_exporter_collect_failures_total", Counter, "{failure}", [&A[..], &["reason"]].concat(),
            "Queries that failed after their retries, by reason."),
        (Key::CollectDuration, "delivery_exporter_collect_duration_seconds", Histogram(DURATION_BOUNDS), "s", dataset.to_vec(),
            "How long a pass took for a data set."),
        (Key::ApiRequests, "delivery_exporter_api_requests_total", Counter, "{request}", [dataset, &["code"]].concat(),
            "Requests to the vendor, each retry too, by HTTP status or by what went wrong (timeout, dns, connect, tls, body, decode)."),
        (Key::ApiRetries, "delivery_exporter_api_retries_total", Counter, "{request}", dataset.to_vec(),
            "Requests to the vendor that were tried again."),
        (Key::RateLimited, "delivery_exporter_rate_limited_total", Counter, "{request}", dataset.to_vec(),
            "Answers of the vendor that said too many requests."),
        (Key::UnknownFields, "delivery_exporter_unknown_fields_total", Counter, "{field}", [dataset, &["field"]].concat(),
            "Fields in the vendor's answers that this version does not know: the answers changed shape."),
        (Key::TrackedMessages, "delivery_exporter_tracked_messages", Gauge, "{message}", account.to_vec(),
            "Messages that are watched."),
        (Key::RejectedMessages, "delivery_exporter_rejected_messages_total", Counter, "{message}", vec!["account", "reason"],
            "Messages that were set aside (the vendor's code) or refused to begin with (max_age: sent too long ago)."),
        (Key::SnapshotDecreases, "delivery_exporter_snapshot_decreases_total", Counter, "{value}", account.to_vec(),
            "Values of messages that were lower than in the snapshot before."),
        (Key::Series, "delivery_exporter_series", Gauge, "{series}", account.to_vec(),
            "Series of the account as of the last pass."),
        (Key::SeriesDropped, "delivery_exporter_series_dropped_total", Counter, "{series}", vec!["account", "family", "reason"],
            "Series left out or merged into other because of limits (max_series, max_label_values), counted once a pass."),
        (Key::ReportsDuplicate, "delivery_exporter_reports_duplicate_total", Counter, "{report}", account.to_vec(),
            "Delivery reports that had been counted before."),
        (Key::ReportsQuarantined, "delivery_exporter_reports_quarantined_total", Counter, "{body}", account.to_vec(),
            "Bodies of delivery reports, or rests of such, that could not be read and were set aside."),
        (Key::HeldIncrements, "delivery_exporter_held_increments", Gauge, "{increment}", account.to_vec(),
            "What has been counted and is not shown yet."),
        (Key::LeaseHeld, "delivery_exporter_lease_held", Gauge, "", account.to_vec(),
            "1 if this replica collects the account; always 1 without PostgreSQL."),
        (Key::DiscoverySuccess, "delivery_exporter_discovery_success", Gauge, "", source.to_vec(),
            "1 if the source of messages was read when it was last tried."),
        (Key::DiscoveryLastSuccess, "delivery_exporter_discovery_last_success_timestamp_seconds", Gauge, "s", source.to_vec(),
            "When the source of messages was last read, in Unix time; 0 until it was."),
        (Key::DiscoveredMessages, "delivery_exporter_discovered_messages_total", Counter, "{message}", source.to_vec(),
            "Messages that the source named for the first time."),
    ];
    for (key, name, kind, unit, labels, help) in rows {
        table.add(key, name, kind, unit, &[&labels], help);
    }
}

fn of_process(table: &mut FamilyTable) {
    use Kind::{Counter, Gauge};
    #[rustfmt::skip]
    let rows: [(&str, Kind, &str, &[&'static str], &str); 17] = [
        ("delivery_exporter_build_info", Gauge, "", &["version", "revision", "rustc"],
            "1, with the version, the source revision and the compiler as labels."),
        ("delivery_exporter_store_up", Gauge, "", &[],
            "1 if the spool could be written to when it was last tried."),
        ("delivery_exporter_store_errors_total", Counter, "{error}", &[],
            "Failed writes to the spool."),
        ("delivery_exporter_spool_bytes", Gauge, "By", &[],
            "Size of the bodies in the spool, quarantined ones included."),
        ("delivery_exporter_quarantined_bodies", Gauge, "{body}", &[],
            "Bodies, or rests of such, in quarantine."),
        ("delivery_exporter_config_last_reload_successful", Gauge, "", &[],
            "1 if the configuration was taken when it was last read."),
        ("delivery_exporter_config_last_reload_success_timestamp_seconds", Gauge, "s", &[],
            "When a configuration was last taken, in Unix time."),
        ("delivery_exporter_otlp_points_total", Counter, "{point}", &["outcome"],
            "Points pushed by OTLP, by outcome: accepted, rejected by the receiver, failed to arrive."),
        ("process_cpu_seconds_total", Counter, "s", &[], "User and system CPU time spent."),
        ("process_open_fds", Gauge, "{fd}", &[], "Open file descriptors."),
        ("process_max_fds", Gauge, "{fd}", &[], "The most file descriptors that may be open."),
        ("process_virtual_memory_bytes", Gauge, "By", &[], "Virtual memory."),
        ("process_resident_memory_bytes", Gauge, "By", &[], "Resident memory."),
        ("process_start_time_seconds", Gauge, "s", &[], "When the process started, in Unix time."),
        ("process_threads", Gauge, "{thread}", &[], "Threads."),
        ("process_network_receive_bytes_total", Counter, "By", &[], "Bytes received over the network, of the whole network namespace."),
        ("process_network_transmit_bytes_total", Counter, "By", &[], "Bytes sent over the network, of the whole network namespace."),
    ];
    for (name, kind, unit, labels, help) in rows {
        table.add(Key::Process(name), name, kind, unit, &[labels], help);
    }
}

/// The family of a measure's gauge of a single message.
pub fn message(measure: Measure) -> FamilyId {
    id(Key::Message(measure.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_house_rules_hold_for_every_family() {
        let mut names = HashSet::new();
        for family in families() {
            let name = &family.name;
            assert!(names.insert(name), "{name} is there twice");
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(plain), "{name}");
            assert_eq!(
                name.ends_with("_total"),
                family.kind == Kind::Counter,
                "{name}"
            );
            assert!(
                family.help.ends_with('.') && !family.help.contains('\n'),
                "{name}"
            );
            for (unit, suffix) in [("s", "_seconds"), ("By", "_bytes"), ("1", "_ratio")] {
                assert_eq!(
                    family.unit == unit,
                    family.base_name().ends_with(suffix),
                    "{name}"
                );
            }
            let labels: HashSet<_> = family.labels.iter().collect();
            assert_eq!(
                labels.len(),
                family.labels.len(),
                "{name} has a label twice"
            );
        }
    }

    #[test]
    fn every_key_has_its_own_family() {
        let ids: HashSet<_> = TABLE.ids.values().collect();
        assert_eq!(ids.len(), families().len());
        for (word, ..) in MESSAGE {
            assert_eq!(
                id(Key::Message(word)).family().name,
                format!("delivery_message_{word}")
            );
        }
    }

    #[test]
    fn names_in_opentelemetry_are_the_contracts() {
        let name = |name: &str| {
            families()
                .iter()
                .find(|family| family.name == name)
                .unwrap()
                .otlp_name()
        };
        assert_eq!(
            name("delivery_message_inbox_opened"),
            "delivery.message.inbox_opened"
        );
        assert_eq!(
            name("delivery_message_channel_sent"),
            "delivery.message.channel.sent"
        );
        assert_eq!(
            name("delivery_message_type_sent"),
            "delivery.message.type.sent"
        );
        assert_eq!(
            name("delivery_message_delivery_ratio"),
            "delivery.message.delivery_ratio"
        );
        assert_eq!(name("delivery_sent_total"), "delivery.sent");
        assert_eq!(name("delivery_reports_total"), "delivery.reports");
        assert_eq!(
            name("delivery_report_latency_seconds"),
            "delivery.report.latency"
        );
        assert_eq!(name("delivery_up"), "delivery.up");
        assert_eq!(
            name("delivery_exporter_last_success_timestamp_seconds"),
            "delivery.exporter.last_success_timestamp"
        );
        assert_eq!(name("process_cpu_seconds_total"), "process.cpu");
    }
}
