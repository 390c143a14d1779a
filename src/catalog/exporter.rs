//! The exporter's own families of each account: how collecting goes.

use super::{
    family::{Family, Zeros},
    label::{
        ACCOUNT, AGE, APPLICATION, CODE, DATASET, DROPPED, FAILURE, FAMILY, FIELD, MISSED,
        PROVIDER, REJECTION, SOURCE, WEBHOOK_OUTCOME,
    },
};

/// The bounds of `delivery_exporter_collect_duration_seconds`, in seconds.
const DURATION_BOUNDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

families! { FAMILIES of Exporter;
    UP = Family::gauge(
        "delivery_up", "delivery.up",
        "1 if the last pass with anything due got at least one successful answer; absent until the first pass has ended.",
    )
    .labels(&[PROVIDER, ACCOUNT]);
    COLLECT_SUCCESS = Family::gauge(
        "delivery_exporter_collect_success", "delivery.exporter.collect_success",
        "1 if no query of the data set failed in the last pass that included it.",
    )
    .labels(&[ACCOUNT, DATASET, APPLICATION]);
    LAST_SUCCESS = Family::gauge(
        "delivery_exporter_last_success_timestamp_seconds", "delivery.exporter.last_success_timestamp",
        "When the data set was last collected without a failure, in Unix time; 0 before the first time.",
    )
    .unit("s")
    .labels(&[ACCOUNT, DATASET, APPLICATION])
    .zeros(Zeros::Always);
    DUE = Family::gauge(
        "delivery_exporter_due_timestamp_seconds", "delivery.exporter.due_timestamp",
        "When the oldest unanswered query was due or, if there is none, when the next query is due, in Unix time. It lies in the future while collecting keeps up.",
    )
    .unit("s")
    .labels(&[ACCOUNT, DATASET, APPLICATION]);
    COLLECT_FAILURES = Family::counter(
        "delivery_exporter_collect_failures_total", "delivery.exporter.collect_failures",
        "Queries that failed after their retries, by reason.",
    )
    .unit("{failure}")
    .labels(&[ACCOUNT, DATASET, APPLICATION, FAILURE])
    .zeros(Zeros::Always);
    COLLECT_DURATION = Family::histogram(
        "delivery_exporter_collect_duration_seconds", "delivery.exporter.collect_duration",
        "How long a pass took for a data set.",
        DURATION_BOUNDS,
    )
    .unit("s")
    .labels(&[ACCOUNT, DATASET])
    .zeros(Zeros::Always);
    API_REQUESTS = Family::counter(
        "delivery_exporter_api_requests_total", "delivery.exporter.api_requests",
        "Requests to the vendor, including retries, by HTTP status or by kind of failure (timeout, dns, connect, tls, body, decode, request).",
    )
    .unit("{request}")
    .labels(&[ACCOUNT, DATASET, CODE]);
    API_RETRIES = Family::counter(
        "delivery_exporter_api_retries_total", "delivery.exporter.api_retries",
        "Requests to the vendor that were retried.",
    )
    .unit("{request}")
    .labels(&[ACCOUNT, DATASET])
    .zeros(Zeros::Always);
    RATE_LIMITED = Family::counter(
        "delivery_exporter_rate_limited_total", "delivery.exporter.rate_limited",
        "Answers in which the vendor refused a request because there were too many.",
    )
    .unit("{request}")
    .labels(&[ACCOUNT, DATASET])
    .zeros(Zeros::Always);
    UNKNOWN_FIELDS = Family::counter(
        "delivery_exporter_unknown_fields_total", "delivery.exporter.unknown_fields",
        "Fields in the vendor's answers that this version does not know: the format of the answers has changed.",
    )
    .unit("{field}")
    .labels(&[ACCOUNT, DATASET, FIELD]);
    TRACKED_MESSAGES = Family::gauge(
        "delivery_exporter_tracked_messages", "delivery.exporter.tracked_messages",
        "Messages that the exporter currently tracks.",
    )
    .unit("{message}")
    .labels(&[ACCOUNT])
    .zeros(Zeros::Always);
    REJECTED_MESSAGES = Family::counter(
        "delivery_exporter_rejected_messages_total", "delivery.exporter.rejected_messages",
        "Messages that were set aside (the vendor's error code; request: no request can be built for them) or never tracked (max_age: sent too long ago; max_messages: the limit was reached; id_too_long).",
    )
    .unit("{message}")
    .labels(&[ACCOUNT, REJECTION]);
    SNAPSHOT_DECREASES = Family::counter(
        "delivery_exporter_snapshot_decreases_total", "delivery.exporter.snapshot_decreases",
        "Values of messages that were lower than in the previous snapshot.",
    )
    .unit("{value}")
    .labels(&[ACCOUNT])
    .zeros(Zeros::Always);
    COHORT_MISSED = Family::counter(
        "delivery_exporter_cohort_missed_total", "delivery.exporter.cohort_missed",
        "Message ages for which nothing was counted, by reason: late (no answer in the window), no_data, still_sending, age_unknown.",
    )
    .unit("{message}")
    .labels(&[ACCOUNT, AGE, MISSED])
    .zeros(Zeros::OfAges);
    SERIES = Family::gauge(
        "delivery_exporter_series", "delivery.exporter.series",
        "Series of the account as of the last pass.",
    )
    .unit("{series}")
    .labels(&[ACCOUNT]);
    SERIES_DROPPED = Family::counter(
        "delivery_exporter_series_dropped_total", "delivery.exporter.series_dropped",
        "Series left out or merged into the value other because of limits (max_series, max_label_values), or dropped because the measure has no family (no_family), counted once per pass.",
    )
    .unit("{series}")
    .labels(&[ACCOUNT, FAMILY, DROPPED]);
    REPORTS_DUPLICATE = Family::counter(
        "delivery_exporter_reports_duplicate_total", "delivery.exporter.reports_duplicate",
        "Delivery reports that had already been counted.",
    )
    .unit("{report}")
    .labels(&[ACCOUNT])
    .zeros(Zeros::Always);
    REPORTS_QUARANTINED = Family::counter(
        "delivery_exporter_reports_quarantined_total", "delivery.exporter.reports_quarantined",
        "Bodies of delivery reports, or parts of them, that could not be parsed and were quarantined.",
    )
    .unit("{body}")
    .labels(&[ACCOUNT])
    .zeros(Zeros::Always);
    HELD_INCREMENTS = Family::gauge(
        "delivery_exporter_held_increments", "delivery.exporter.held_increments",
        "Increments that have been counted but are not exposed yet.",
    )
    .unit("{increment}")
    .labels(&[ACCOUNT])
    .zeros(Zeros::Always);
    LEASE_HELD = Family::gauge(
        "delivery_exporter_lease_held", "delivery.exporter.lease_held",
        "1 if this replica collects the account; always 1 without PostgreSQL.",
    )
    .labels(&[ACCOUNT]);
    WEBHOOK_REQUESTS = Family::counter(
        "delivery_exporter_webhook_requests_total", "delivery.exporter.webhook_requests",
        "Requests to the account's webhook, by outcome: counted, duplicate (they contained nothing new), unsupported, quarantined, refused.",
    )
    .unit("{request}")
    .labels(&[ACCOUNT, WEBHOOK_OUTCOME])
    .zeros(Zeros::OfWebhook);
    DISCOVERY_SUCCESS = Family::gauge(
        "delivery_exporter_discovery_success", "delivery.exporter.discovery_success",
        "1 if the last attempt to read the source of messages succeeded.",
    )
    .labels(&[ACCOUNT, SOURCE])
    .zeros(Zeros::Always);
    DISCOVERY_LAST_SUCCESS = Family::gauge(
        "delivery_exporter_discovery_last_success_timestamp_seconds", "delivery.exporter.discovery_last_success_timestamp",
        "When the source of messages was last read, in Unix time; 0 before the first time.",
    )
    .unit("s")
    .labels(&[ACCOUNT, SOURCE])
    .zeros(Zeros::Always);
    DISCOVERED_MESSAGES = Family::counter(
        "delivery_exporter_discovered_messages_total", "delivery.exporter.discovered_messages",
        "Messages that the source listed for the first time.",
    )
    .unit("{message}")
    .labels(&[ACCOUNT, SOURCE])
    .zeros(Zeros::Always);
}
