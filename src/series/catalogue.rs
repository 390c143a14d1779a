//! What is in the table of families: every family of the contract, with its labels and its help.

use super::families::{DURATION_BOUNDS, FamilyTable, Key, Kind, WordKey};
use crate::{
    ledger::LATENCY_BOUNDS,
    providers::{VENDORS, help},
};

/// L of the contract.
const L: [&str; 3] = ["provider", "account", "application"];
/// The labels of what is collected.
const A: [&str; 3] = ["account", "dataset", "application"];

/// The measures of single messages: word, and what it means.
const MESSAGE: [(&str, &str); 15] = [
    ("targeted", "Recipients that a message was meant for"),
    ("accepted", "Sends that the vendor's server accepted"),
    ("sent", "Sends of a message"),
    ("delivered", "Deliveries of a message"),
    ("displayed", "Displays of a message"),
    ("opened", "Opens or clicks of a message"),
    ("dismissed", "Notifications cleared away unopened"),
    ("inbox_opened", "Opens from the application's inbox"),
    (
        "unshowable",
        "Sends to users who switched notifications off",
    ),
    ("confirmed", "Sends that the receiving server confirmed"),
    ("unsubscribed", "Recipients who unsubscribed"),
    ("complaints", "Recipients who complained"),
    ("skipped", "Text messages not tried"),
    ("errors", "Failed sends of a message, by reason"),
    ("bounces", "Bounces of a message, hard or soft"),
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

/// All families, in the order of the exposition.
pub(super) fn all() -> FamilyTable {
    let mut table = FamilyTable::default();
    of_messages(&mut table);
    of_totals(&mut table);
    of_reports(&mut table);
    of_figures(&mut table);
    of_collection(&mut table);
    of_process(&mut table);
    of_probe(&mut table);
    table
}

fn of_messages(table: &mut FamilyTable) {
    let own = ["channel", "campaign", "message_id"];
    for (word, meaning) in MESSAGE {
        let fields = help::measure_fields(VENDORS, word);
        table.add(
            WordKey::Message(word),
            format!("delivery_message_{word}"),
            Kind::Gauge,
            unit_of(word),
            &[&L, &own, extra(word)],
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
        format!(
            "The vendor's own delivery ratio of a message, as of the last pass ({}).",
            fields_of("delivery_message_reported_delivery_ratio")
        ),
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
            WordKey::Channel(word),
            format!("delivery_message_channel_{word}"),
            Kind::Gauge,
            unit_of(word),
            &[&L, &breakdown],
            format!(
                "{} by vendor channel, as of the last pass ({}). Does not add up to the message's totals.",
                meaning_of(word),
                fields_of("breakdown")
            ),
        );
    }
    for word in TYPE {
        table.add(
            WordKey::Type(word),
            format!("delivery_message_type_{word}"),
            Kind::Gauge,
            unit_of(word),
            &[&L, &["campaign", "message_id", "message_type"]],
            format!(
                "{} by message type, as of the last pass ({}). Does not add up to the message's totals.",
                meaning_of(word),
                fields_of("types")
            ),
        );
    }
}

/// The label of a measure's own.
fn extra(word: &str) -> &'static [&'static str] {
    match word {
        "errors" => &["reason"],
        "bounces" => &["kind"],
        _ => &[],
    }
}

fn meaning_of(word: &str) -> &'static str {
    MESSAGE
        .iter()
        .find(|(own, _)| *own == word)
        .map_or("", |(_, meaning)| meaning)
}

fn unit_of(word: &str) -> &'static str {
    match word {
        "targeted" | "unsubscribed" | "complaints" => "{recipient}",
        "errors" => "{error}",
        "bounces" => "{bounce}",
        _ => "{message}",
    }
}

/// What a family is made of in the vendors' answers.
fn fields_of(family: &str) -> String {
    help::family_fields(VENDORS, family)
}

/// Counters: what accumulates over all messages.
fn of_totals(table: &mut FamilyTable) {
    for (word, meaning) in MESSAGE {
        let fields = help::measure_fields(VENDORS, word);
        table.add(
            WordKey::Total(word),
            format!("delivery_{word}_total"),
            Kind::Counter,
            unit_of(word),
            &[&L, &["channel"], extra(word)],
            format!(
                "{meaning}, added up over all messages ({fields}).{}",
                help::measure_notes(VENDORS, word)
            ),
        );
    }
    for (word, meaning) in MESSAGE {
        let fields = help::measure_fields(VENDORS, word);
        table.add(
            WordKey::Campaign(word),
            format!("delivery_campaign_{word}_total"),
            Kind::Counter,
            unit_of(word),
            &[&L, &["channel", "campaign"], extra(word)],
            format!(
                "{meaning}, added up over the messages of a campaign ({fields}).{}",
                help::measure_notes(VENDORS, word)
            ),
        );
    }
    let row = ["message_type", "platform", "vendor_channel"];
    for word in CHANNEL {
        table.add(
            WordKey::ChannelTotal(word),
            format!("delivery_channel_{word}_total"),
            Kind::Counter,
            unit_of(word),
            &[&L, &row],
            format!(
                "{} by vendor channel, added up over all messages ({}). Does not add up to the totals.",
                meaning_of(word),
                fields_of("breakdown")
            ),
        );
    }
    for (part, meaning) in [
        ("sent", "Sends of messages"),
        ("delivered", "Deliveries of messages"),
        ("messages", "Messages"),
    ] {
        let text = format!(
            "{meaning} that have reached an age, each as of that age. Sent and delivered of the same messages: their ratio is the delivery rate at equal age."
        );
        table.add(
            WordKey::Cohort(part),
            format!("delivery_cohort_{part}_total"),
            Kind::Counter,
            "{message}",
            &[&L, &["channel", "age"]],
            text,
        );
    }
    for (part, meaning) in [
        ("sent", "Sends of messages"),
        ("delivered", "Deliveries of messages"),
        ("messages", "Messages"),
    ] {
        table.add(
            WordKey::CohortChannel(part),
            format!("delivery_cohort_channel_{part}_total"),
            Kind::Counter,
            "{message}",
            &[&L, &["platform", "vendor_channel", "age"]],
            format!("{meaning} by vendor channel that have reached an age, each as of that age."),
        );
    }
}

fn of_reports(table: &mut FamilyTable) {
    table.add(
        Key::Reports,
        "delivery_reports_total",
        Kind::Counter,
        "{report}",
        &[&L, &["channel", "status_group", "status", "error_group", "error", "permanent"]],
        format!(
            "Delivery reports, each counted once ({}). A message can have several, so their sum is no number of messages.",
            fields_of("delivery_reports_total")
        ),
    );
    table.add(
        Key::ReportLatency,
        "delivery_report_latency_seconds",
        Kind::Histogram(LATENCY_BOUNDS),
        "s",
        &[&L, &["channel", "status_group"]],
        format!(
            "Time from sending to a message's first final report ({}).",
            fields_of("delivery_report_latency_seconds")
        ),
    );
    table.add(
        Key::ReportCost,
        "delivery_report_cost_total",
        Kind::Counter,
        "{currency}",
        &[&L, &["channel", "currency"]],
        format!(
            "Cost of messages in their currency ({}).",
            fields_of("delivery_report_cost_total")
        ),
    );
}

/// The rest of what the vendors tell (contract 4.4).
fn of_figures(table: &mut FamilyTable) {
    use Kind::{Counter, Gauge};
    let users = [&L[..], &["platform", "time_unit"]].concat();
    let conversion = [&L[..], &["campaign", "message_id", "event"]].concat();
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        (Key::AppUsersNew, "delivery_app_users_new", Gauge, "{user}", users.clone(),
            "New users of the newest complete period ({fields}). Each time_unit is a view of the same users: never sum over it."),
        (Key::AppUsersActive, "delivery_app_users_active", Gauge, "{user}", users.clone(),
            "Active users of the newest complete period ({fields}). Each time_unit is a view of the same users: never sum over it."),
        (Key::AppUsersOnline, "delivery_app_users_online", Gauge, "{user}", users,
            "Online users of the newest complete period ({fields}). Each time_unit is a view of the same users: never sum over it."),
        (Key::CanaryDevices, "delivery_canary_devices", Gauge, "{device}", [&L[..], &["message_id", "status"]].concat(),
            "Configured test devices in each status of a message, as of the last pass ({fields})."),
        (Key::ConversionHits, "delivery_conversion_hits", Gauge, "{hit}", conversion.clone(),
            "Conversions of a message, as of the last pass ({fields})."),
        (Key::ConversionRatio, "delivery_conversion_ratio", Gauge, "1", conversion.clone(),
            "The vendor's own conversion ratio of a message, as of the last pass ({fields})."),
        (Key::ConversionRevenue, "delivery_conversion_revenue", Gauge, "{currency}", conversion,
            "Revenue of a message's conversions, as of the last pass ({fields})."),
        (Key::LinkClicks, "delivery_link_clicks", Gauge, "{click}", [&L[..], &["template", "link", "title"]].concat(),
            "Clicks on a link in e-mails, as of the last pass ({fields}): the max_links most clicked, the rest under link other."),
        (Key::LinkDevices, "delivery_link_devices", Gauge, "{device}", [&L[..], &["link"]].concat(),
            "Distinct devices that clicked on a link in e-mails, as of the last pass ({fields})."),
        (Key::LogEvents, "delivery_log_events_total", Counter, "{event}", [&L[..], &["action", "platform", "status"]].concat(),
            "Events of the vendor's log, each once ({fields})."),
        (Key::BouncedAddresses, "delivery_bounced_addresses_total", Counter, "{bounce}", [&L[..], &["kind", "reason"]].concat(),
            "Bounced e-mails, each once, by kind and class of reason ({fields})."),
    ];
    for (key, name, kind, unit, labels, help) in rows {
        let help = help.replace("{fields}", &fields_of(name));
        table.add(key, name, kind, unit, &[&labels], help);
    }
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
            "Requests to the vendor, each retry too, by HTTP status or by what went wrong (timeout, dns, connect, tls, body, decode, request)."),
        (Key::ApiRetries, "delivery_exporter_api_retries_total", Counter, "{request}", dataset.to_vec(),
            "Requests to the vendor that were tried again."),
        (Key::RateLimited, "delivery_exporter_rate_limited_total", Counter, "{request}", dataset.to_vec(),
            "Answers of the vendor that said too many requests."),
        (Key::UnknownFields, "delivery_exporter_unknown_fields_total", Counter, "{field}", [dataset, &["field"]].concat(),
            "Fields in the vendor's answers that this version does not know: the answers changed shape."),
        (Key::TrackedMessages, "delivery_exporter_tracked_messages", Gauge, "{message}", account.to_vec(),
            "Messages that are watched."),
        (Key::RejectedMessages, "delivery_exporter_rejected_messages_total", Counter, "{message}", vec!["account", "reason"],
            "Messages that were set aside (the vendor's code; request: none can be built) or not taken to begin with (max_age: sent too long ago; max_messages: no room; id_too_long)."),
        (Key::SnapshotDecreases, "delivery_exporter_snapshot_decreases_total", Counter, "{value}", account.to_vec(),
            "Values of messages that were lower than in the snapshot before."),
        (Key::CohortMissed, "delivery_exporter_cohort_missed_total", Counter, "{message}", vec!["account", "age", "reason"],
            "Ages of messages that were not counted: late (no answer in the window), no_data, still_sending, age_unknown."),
        (Key::Series, "delivery_exporter_series", Gauge, "{series}", account.to_vec(),
            "Series of the account as of the last pass."),
        (Key::SeriesDropped, "delivery_exporter_series_dropped_total", Counter, "{series}", vec!["account", "family", "reason"],
            "Series left out or merged into other because of limits (max_series, max_label_values), or dropped because no family holds the measure (no_family), counted once a pass."),
        (Key::ReportsDuplicate, "delivery_exporter_reports_duplicate_total", Counter, "{report}", account.to_vec(),
            "Delivery reports that had been counted before."),
        (Key::ReportsQuarantined, "delivery_exporter_reports_quarantined_total", Counter, "{body}", account.to_vec(),
            "Bodies of delivery reports, or rests of such, that could not be read and were set aside."),
        (Key::HeldIncrements, "delivery_exporter_held_increments", Gauge, "{increment}", account.to_vec(),
            "What has been counted and is not shown yet."),
        (Key::LeaseHeld, "delivery_exporter_lease_held", Gauge, "", account.to_vec(),
            "1 if this replica collects the account; always 1 without PostgreSQL."),
        (Key::WebhookRequests, "delivery_exporter_webhook_requests_total", Counter, "{request}", vec!["account", "outcome"],
            "Requests to the account's webhook: counted, duplicate (nothing new in it), unsupported, quarantined, refused."),
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

/// Only on `/probe`.
fn of_probe(table: &mut FamilyTable) {
    table.add(
        Key::ProbeSuccess,
        "probe_success",
        Kind::Gauge,
        "",
        &[],
        "1 if the vendor has numbers of the message; only on /probe.",
    );
    table.add(
        Key::ProbeDuration,
        "probe_duration_seconds",
        Kind::Gauge,
        "s",
        &[],
        "How long the vendor took to answer; only on /probe.",
    );
}

fn of_process(table: &mut FamilyTable) {
    use Kind::{Counter, Gauge};
    #[rustfmt::skip]
    let rows: [(&str, Kind, &str, &[&'static str], &str); 19] = [
        ("delivery_exporter_build_info", Gauge, "", &["version", "revision", "rustc"],
            "1, with the version, the source revision and the compiler as labels."),
        ("delivery_exporter_store_up", Gauge, "", &[],
            "1 if the store and the spool could be written to when they were last tried."),
        ("delivery_exporter_store_size_bytes", Gauge, "By", &[],
            "Size of the store."),
        ("delivery_exporter_store_errors_total", Counter, "{error}", &[],
            "Failed reads and writes of the store and the spool."),
        ("delivery_exporter_zero_hold_sufficient", Gauge, "", &[],
            "0 if a scraper comes less often than zero_hold: it can miss that a counter was 0."),
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
        table.add(WordKey::Process(name), name, kind, unit, &[labels], help);
    }
}
