//! The one table of all keys: which there are, what they hold, their defaults and what they mean.
//! Validation, defaults and the reference documentation are made from it. Vendors add their own keys
//! (`vendors`).

pub(super) use super::keys::{Holds, Key, Section};
use super::vendors;
use crate::providers::Vendors;

impl Holds {
    /// How the documentation calls it.
    pub(super) fn describe(self, vendors: Vendors) -> String {
        let one_of = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(" or ")
        };
        match self {
            Holds::Text => "text".into(),
            Holds::Secret => "secret".into(),
            Holds::Duration => "duration".into(),
            Holds::Count => "integer".into(),
            Holds::Rate => "number".into(),
            Holds::Truth => "true or false".into(),
            Holds::Time => "RFC 3339 time".into(),
            Holds::Path => "path".into(),
            Holds::Url => "URL".into(),
            Holds::Word(words) => one_of(words),
            Holds::Vendor => one_of(&vendors::names(vendors, |_| true)),
            Holds::Mapping(_) | Holds::Names => "mapping".into(),
            Holds::List => "list".into(),
        }
    }
}

const fn key(
    section: Section,
    name: &'static str,
    holds: Holds,
    default: &'static str,
    text: &'static str,
) -> Key {
    Key {
        section,
        name,
        holds,
        default,
        text,
    }
}

use Holds::{
    Count, Duration, List, Mapping, Names, Path, Rate, Secret, Text, Time, Truth, Url, Word,
};
use Section::{
    Application, Collection, Credentials, HttpList, Limits, Message, Messages, Otlp, PerMessage,
    Provider, RateLimit, Root, Server, Store, Tls,
};

/// All keys.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key(Root, "store", Mapping(Store), "", "Where what must not be lost is kept."),
    key(Root, "collection", Mapping(Collection), "", "How all accounts are collected."),
    key(Root, "limits", Mapping(Limits), "", "What keeps the memory bounded."),
    key(Root, "otlp", Mapping(Otlp), "", "Push by OTLP. It is on only if this section exists; `otlp: {}` is enough."),
    key(Root, "provider_defaults", Mapping(Provider), "", "Any key of a provider but `name` and `type`, merged under each of them key by key."),
    key(Root, "provider_files", List, "", "Patterns of files (`providers.d/*.yaml`) that hold lists of more providers, so that several teams keep their own. A pattern without a file is a warning."),
    key(Root, "providers", List, "", "The accounts."),
    key(Root, "server", Mapping(Server), "", "The exporter's own endpoints."),
    key(Server, "api_token", Secret, "", "The bearer token of `/api/`; without one it answers 404."),
    key(Store, "spool", Path, "data/spool", "The directory of bodies that a vendor hands out once. One per exporter, on a disk that outlives the process."),
    key(Store, "replica", Text, "", "This exporter's identity over restarts, and OTLP's `service.instance.id`. Default: the host name."),
    key(Store, "url", Secret, "sqlite:data/delivery.db", "Where counters are kept: `sqlite:` and a file, relative to this one, or `postgres://user:password@host/database` for several replicas."),
    key(Store, "lease", Duration, "30s", "With PostgreSQL: how soon another replica takes an account over whose holder has died. At least 3s."),
    key(Collection, "interval", Duration, "60s", "How often a message is asked for."),
    key(Collection, "timeout", Duration, "10s", "How long one vendor request may take."),
    key(Collection, "stale_after", Duration, "15m", "Gauges vanish when the query that would renew them has been due and unanswered for this long. At least 2 x `interval`."),
    key(Collection, "max_interval", Duration, "6h", "The longest pause between two queries for an old message: after its first hour a message is asked for after a tenth of its age."),
    key(Collection, "cohort_ages", List, "[5m, 15m, 1h, 6h, 24h, 72h]", "The ages at which messages are compared (`delivery_cohort_*`). `[]`: none."),
    key(Collection, "zero_hold", Duration, "2m", "How long a new counter stands at 0 before what it has is released, so that `rate()` sees its first increase. Longer than the scrape interval, and with `otlp` at least its `interval`; 0s: off."),
    key(Collection, "adopt_age", Duration, "1h", "A message sent so long before its application was first asked for is history: it sets the baseline and counts nothing. 0s: everything counts."),
    key(Limits, "max_series_per_account", Count, "100000", "Beyond it the gauges of the oldest messages are left out."),
    key(Limits, "max_messages_per_account", Count, "200000", "So many messages are watched. Beyond it the oldest that the vendor's list alone names give way, then the oldest of the others; what they have counted stays. Each is counted in `delivery_exporter_rejected_messages_total{reason=\"max_messages\"}`."),
    key(Limits, "max_campaigns_per_account", Count, "200", "So many campaigns keep their names; the rest is `other`."),
    key(Limits, "max_label_values", Count, "100", "So many values of each label that a vendor's or customer's text fills keep their names; the rest is `other`."),
    key(Limits, "max_label_length", Count, "256", "So many bytes of a label's value are shown; a longer one is cut at a character and ends in `~` and eight hexadecimal digits of its SHA-256. At least 32. Another value gives long labels other values, and so other series.")  ,
    key(Limits, "max_response_bytes", Count, "67108864", "Larger answers are refused; a larger body of delivery reports is cut there, and what was read is kept. An answer or pushed body with more than 250,000 values is refused whatever its length (a body that comes once is kept in quarantine)."),
    key(Otlp, "endpoint", Url, "http://localhost:4318", "The receiver's base URL; `/v1/metrics` is added for `http/protobuf`. With `grpc` the default port is 4317. Else `OTEL_EXPORTER_OTLP_ENDPOINT`."),
    key(Otlp, "protocol", Word(&["http/protobuf", "grpc"]), "http/protobuf", "Else `OTEL_EXPORTER_OTLP_PROTOCOL`."),
    key(Otlp, "interval", Duration, "60s", "How often everything is pushed."),
    key(Otlp, "timeout", Duration, "10s", "How long one request may take. Else `OTEL_EXPORTER_OTLP_TIMEOUT` (milliseconds)."),
    key(Otlp, "compression", Word(&["gzip", "none"]), "gzip", "Else `OTEL_EXPORTER_OTLP_COMPRESSION`."),
    key(Otlp, "headers", Names, "", "Sent with every request. Else `OTEL_EXPORTER_OTLP_HEADERS`."),
    key(Otlp, "headers_file", Path, "", "The same from a file, one `Name: value` a line."),
    key(Otlp, "tls", Mapping(Tls), "", "Else `OTEL_EXPORTER_OTLP_CERTIFICATE`, `_CLIENT_CERTIFICATE`, `_CLIENT_KEY`."),
    key(Otlp, "max_points_per_request", Count, "2000", "The most points in one request."),
    key(Otlp, "traces", Truth, "false", "Whether spans of passes and vendor requests are pushed too."),
    key(Tls, "ca_file", Path, "", "Authorities to trust instead of the system's (PEM)."),
    key(Tls, "cert_file", Path, "", "The client's certificate (PEM); with `key_file`."),
    key(Tls, "key_file", Path, "", "The client's key (PEM)."),
    key(Provider, "name", Text, "", "Required. The label `account`: unique, of letters, digits, `_` and `-`."),
    key(Provider, "type", Holds::Vendor, "", "Required. The vendor's API, the label `provider`."),
    key(Provider, "base_url", Url, "", "The vendor's address."),
    key(Provider, "interval", Duration, "", "Instead of `collection.interval`."),
    key(Provider, "timeout", Duration, "", "Instead of `collection.timeout`."),
    key(Provider, "stale_after", Duration, "", "Instead of `collection.stale_after`."),
    key(Provider, "daily_complete_at", Text, "", "the time of day, in the vendor's zone, at which the numbers of the day before are expected to be complete. Cohorts are taken from the first answer after it; until then every message of the day before is asked for once an hour."),
    key(Provider, "dataset_intervals", Names, "", "Another interval for a data set, such as `{messages: 5m}`."),
    key(Provider, "proxy_url", Secret, "", "A proxy. Default: the usual environment variables."),
    key(Provider, "tls", Mapping(Tls), "", "TLS to the vendor."),
    key(Provider, "rate_limit", Mapping(RateLimit), "", "The most requests to the vendor."),
    key(Provider, "max_concurrency", Count, "4", "The most requests in flight."),
    key(Provider, "allow_insecure_http", Truth, "false", "Without it, plain http to anything but loopback is refused."),
    key(Provider, "labels", Names, "", "Constant labels on all series of the account. Every account carries the union of all accounts' keys, empty where unset."),
    key(Provider, "collect", List, "", "Which data sets."),
    key(Provider, "credentials", Mapping(Credentials), "", "How the vendor knows you. Required."),
    key(Provider, "applications", List, "", "The vendor's applications:"),
    key(Provider, "messages", Mapping(Messages), "", "Which messages are watched"),
    key(Provider, "per_message", Mapping(PerMessage), "", "Which messages get gauges of their own."),
    key(Provider, "webhook_token", Secret, "", "the secret of {paths}, where the vendor pushes reports; without one it answers 404."),
    key(RateLimit, "requests_per_second", Rate, "5", "In the long run."),
    key(RateLimit, "burst", Count, "10", "So many may come at once after a pause."),
    key(Application, "id", Text, "", "The vendor's id:"),
    key(Application, "name", Text, "", "The label `application`. Default: the id."),
    key(Messages, "static", List, "", "Messages by id, or with more keys."),
    key(Messages, "list", Truth, "", "Ask the vendor for its own list."),
    key(Messages, "max_age", Duration, "30d", "When a message is forgotten."),
    key(Messages, "files", List, "", "Patterns of files (`messages/*.yaml`) with lists of the same entries as under `static`. They are watched: changes are taken up without a reload."),
    key(Messages, "http", List, "", "Addresses that answer with the same list as JSON."),
    key(HttpList, "url", Url, "", "The address. Required."),
    key(HttpList, "refresh_interval", Duration, "60s", "How often it is asked."),
    key(Message, "id", Text, "", "The vendor's id. Required."),
    key(Message, "application", Text, "", "A name or an id of `applications`; required where there are several."),
    key(Message, "campaign", Text, "", "The label `campaign`."),
    key(Message, "sent_at", Time, "", "When it was sent."),
    key(PerMessage, "max_messages", Count, "50", "The newest so many messages of the account; 0: none."),
    key(PerMessage, "min_sent", Count, "0", "Only of those with at least so many sent."),
    key(PerMessage, "channels", Truth, "true", "Whether the gauges of each message by message type and vendor channel are shown too. Counters by channel stay."),
];

/// The key of that name.
pub(super) fn find(vendors: Vendors, section: Section, name: &str) -> Option<Key> {
    let mut keys = KEYS.iter().copied();
    let found = keys.find(|key| key.section == section && key.name == name);
    found.or_else(|| {
        let mut keys = vendors::keys(vendors, section).into_iter();
        keys.find(|key| key.name == name)
    })
}

/// The keys of a section, secrets' files not named: those of every configuration, then those of
/// vendors.
pub(super) fn keys(vendors: Vendors, section: Section) -> Vec<Key> {
    let own = KEYS.iter().filter(|key| key.section == section).copied();
    own.chain(vendors::keys(vendors, section)).collect()
}

/// The default of a key that every configuration has, as it would be written.
pub(super) fn default(section: Section, name: &str) -> &'static str {
    let mut keys = KEYS.iter();
    let found = keys.find(|key| key.section == section && key.name == name);
    found.map_or("", |key| key.default)
}
