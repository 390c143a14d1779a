//! The configuration as the other rooms see it: checked, complete, secrets hidden.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::Url;

use super::errors::{Position, Problem};
pub use crate::providers::{
    Credentials, VendorKeys,
    http::{RateLimit, Tls},
};
use crate::{
    model::{Application, DailyPublication, Dataset},
    providers::{ProviderOptions, Vendor, Vendors, http::HttpOptions},
    secret::Secret,
    store_url::StoreUrl,
};

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The vendors that were known when it was read.
    pub vendors: Vendors,
    /// Where counters are kept (`store.url`).
    pub store: StoreUrl,
    /// How long an account is held without being renewed (`store.lease`).
    pub lease: Duration,
    /// Where bodies are kept that are handed out once (`store.spool`).
    pub spool: PathBuf,
    /// This replica's identity over restarts (`store.replica`; by default the host name).
    pub replica: Arc<str>,
    /// How long a new counter stands at 0 (`collection.zero_hold`).
    pub zero_hold: Duration,
    /// What is sent so long before the first query is history (`collection.adopt_age`).
    pub adopt_age: Duration,
    /// `limits`.
    pub limits: Limits,
    /// `server.api_token`; `None`: there is no API.
    pub api_token: Option<Secret>,
    /// `otlp`; `None`: no push.
    pub otlp: Option<Otlp>,
    /// The keys of `labels` of all accounts together: every account carries each of them.
    pub label_names: Vec<Arc<str>>,
    /// The accounts, in the order of the file.
    pub accounts: Vec<Account>,
    /// What is odd and no error.
    pub warnings: Vec<Problem>,
}

/// `limits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most series of one account.
    pub max_series_per_account: usize,
    /// The most messages of one account that are watched.
    pub max_messages_per_account: usize,
    /// The most campaigns of one account that keep their names.
    pub max_campaigns_per_account: usize,
    /// The most values of one label that a vendor's or customer's text fills.
    pub max_label_values: usize,
    /// The most bytes of one label's value.
    pub max_label_length: usize,
    /// The most bytes of one answer.
    pub max_response_bytes: u64,
}

/// `otlp`, completed from `OTEL_EXPORTER_OTLP_*` and the defaults.
#[derive(Clone, Debug)]
pub struct Otlp {
    /// Where metrics go: for `http/protobuf` the whole URL with `/v1/metrics`, for `grpc` the
    /// server's.
    pub metrics_endpoint: Url,
    /// Where traces go, in the same form.
    pub traces_endpoint: Url,
    /// How.
    pub protocol: OtlpProtocol,
    /// How often.
    pub interval: Duration,
    /// How long one request may take.
    pub timeout: Duration,
    /// Whether bodies are compressed with gzip.
    pub gzip: bool,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
    /// TLS of the connection.
    pub tls: Tls,
    /// The most points in one request.
    pub max_points_per_request: usize,
    /// Whether spans of passes and vendor requests are sent too.
    pub traces: bool,
}

/// `otlp.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP.
    HttpProtobuf,
    /// gRPC.
    Grpc,
}

/// One entry of `providers`.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where the configuration has it: the place to look at when it is in trouble.
    pub place: Position,
    /// The label `account`.
    pub name: Arc<str>,
    /// Which vendor API.
    pub vendor: &'static Vendor,
    /// The vendor's address.
    pub base_url: Url,
    /// The pause between two queries.
    pub interval: Duration,
    /// The longest pause between two queries for an old message (`collection.max_interval`).
    pub max_interval: Duration,
    /// `dataset_intervals`, where it differs from `interval`.
    pub dataset_intervals: BTreeMap<Dataset, Duration>,
    /// One vendor request.
    pub timeout: Duration,
    /// How long gauges outlive a due and unanswered query.
    pub stale_after: Duration,
    /// How the vendor publishes its numbers, where it does so once a day (`daily_complete_at`).
    pub daily: Option<DailyPublication>,
    /// The ages of its cohorts (`collection.cohort_ages`).
    pub cohort_ages: Vec<Duration>,
    /// A proxy, instead of the environment's. It can hold a password.
    pub proxy_url: Option<Secret>,
    /// TLS to the vendor.
    pub tls: Tls,
    /// The most requests a second, and how many may come at once.
    pub rate_limit: RateLimit,
    /// The most requests in flight.
    pub max_concurrency: usize,
    /// Constant labels; a name of [`Config::label_names`] that is not here is the empty string.
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// What is collected.
    pub collect: Vec<Dataset>,
    /// How the vendor knows us.
    pub credentials: Credentials,
    /// The applications; never empty: where the vendor has none, one with an empty id.
    pub applications: Vec<Application>,
    /// The vendor's own keys.
    pub keys: VendorKeys,
    /// `webhook_token`; `None`: there is no webhook.
    pub webhook_token: Option<Secret>,
    /// `messages`.
    pub messages: Messages,
    /// `per_message`.
    pub per_message: PerMessage,
    /// `limits.max_messages_per_account`.
    pub max_messages: usize,
    /// `limits.max_response_bytes`.
    pub max_response_bytes: u64,
}

impl From<&Account> for HttpOptions {
    fn from(account: &Account) -> HttpOptions {
        HttpOptions {
            account: account.name.clone(),
            base_url: account.base_url.clone(),
            timeout: account.timeout,
            max_response_bytes: account.max_response_bytes,
            rate_limit: account.rate_limit,
            max_concurrency: account.max_concurrency,
            tls: account.tls.clone(),
            proxy_url: account.proxy_url.clone(),
        }
    }
}

impl From<&Account> for &'static Vendor {
    fn from(account: &Account) -> &'static Vendor {
        account.vendor
    }
}

impl From<&Account> for ProviderOptions {
    fn from(account: &Account) -> ProviderOptions {
        ProviderOptions {
            account: account.name.clone(),
            base_url: account.base_url.clone(),
            credentials: account.credentials.clone(),
            keys: account.keys.clone(),
            daily: account.daily,
        }
    }
}

impl Account {
    /// The data set that is queried for the numbers of one message; the first one where none has
    /// such.
    pub fn snapshots(&self) -> Option<Dataset> {
        let mut collect = self.collect.iter().copied();
        let found = collect.find(|dataset| dataset.has_snapshots());
        found.or(self.collect.first().copied())
    }

    /// The pause between two queries for the numbers of a message; `None`: no data set has such.
    pub fn snapshot_interval(&self) -> Option<Duration> {
        let mut collect = self.collect.iter();
        let dataset = collect.find(|dataset| dataset.has_snapshots())?;
        Some(self.dataset_interval(*dataset))
    }

    /// The pause between two queries of a data set.
    pub fn dataset_interval(&self, dataset: Dataset) -> Duration {
        self.dataset_intervals
            .get(&dataset)
            .copied()
            .or(dataset.interval)
            .unwrap_or(self.interval)
    }
}

/// `messages`.
#[derive(Clone, Debug)]
pub struct Messages {
    /// Entries of the configuration itself.
    pub fixed: Vec<MessageEntry>,
    /// Patterns of files with more entries.
    pub files: Vec<PathBuf>,
    /// Addresses with more entries.
    pub http: Vec<HttpList>,
    /// Whether the vendor is asked for its own list.
    pub list: bool,
    /// When a message is forgotten.
    pub max_age: Duration,
}

/// One entry of `messages.http`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpList {
    /// Where the list is. It can hold a password.
    pub url: Url,
    /// How often it is asked for.
    pub refresh_interval: Duration,
}

/// One entry of a list of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageEntry {
    /// The vendor's id.
    pub id: Arc<str>,
    /// The index in [`Account::applications`].
    pub application: usize,
    /// The campaign.
    pub campaign: Option<Arc<str>>,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
}

/// `per_message`: which messages get gauges of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMessage {
    /// The newest so many.
    pub max_messages: usize,
    /// Only of those with at least so many sent.
    pub min_sent: u64,
    /// Whether the breakdown by vendor channel and message type is shown too.
    pub channels: bool,
}
