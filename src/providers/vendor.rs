//! The declaration of a vendor: everything that the rest of the program asks about it.

use std::{cmp::Ordering, fmt, hash, sync::Arc, time::Duration};

use super::{Provider, ProviderOptions, http::Http};
use crate::model::{Channel, DailyPublication, Dataset, Measure, QueryMethod, RequestLimit};

/// One vendor API: a `type` of the configuration, a value of the label `provider`.
///
/// It is a static value in the vendor's own folder, and one line in [`super::VENDORS`]. The
/// configuration's schema and reference, HELP texts, the counters that exist from the start,
/// webhook routes and the README's table are made from it. Vendors are the same if their names are.
pub struct Vendor {
    /// The name in the configuration and in the label `provider`. It is stored by Prometheus.
    pub name: &'static str,
    /// The vendor, as people call it.
    pub title: &'static str,
    /// A shorter title for HELP texts, where the fields' names follow; often the same.
    pub short_title: &'static str,
    /// Which of its products, for the README.
    pub product: &'static str,
    /// What it tells, for the README.
    pub summary: &'static str,
    /// Where the vendor documents its API.
    pub documentation: &'static str,
    /// An entry of `providers` for the sample configuration, with the vendor's own keys.
    pub sample: &'static str,
    /// The vendor's address.
    pub base_url: BaseUrl,
    /// When a message is forgotten unless the configuration says otherwise.
    pub max_age: Duration,
    /// Why, where it is not [`DEFAULT_MAX_AGE`]: `whose API refuses older ids`.
    pub max_age_reason: &'static str,
    /// The forms of credentials. Exactly one has to be given, with all of its keys, which are
    /// secrets.
    pub credentials: &'static [&'static [ConfigKey]],
    /// Keys that may stand beside any of the forms: secrets and words.
    pub optional_credentials: &'static [ConfigKey],
    /// Whether the vendor has to be told of applications.
    pub applications: Applications,
    /// The vendor's own keys of a provider.
    pub keys: &'static [ConfigKey],
    /// The data sets, in the order of the documentation.
    pub datasets: &'static [Dataset],
    /// The channels, the main one first.
    pub channels: &'static [Channel],
    /// When its numbers appear.
    pub publication: Publication,
    /// Whether it can list the messages that were sent.
    pub can_list: bool,
    /// What its list costs, for the forecast of `check`; `None`: it has none.
    pub list_cost: Option<ListCost>,
    /// What other families are made of in the vendor's answers: the family (or a group of
    /// families, see [`super::help`]) and the vendor's words.
    pub family_fields: &'static [(&'static str, &'static str)],
    /// What a counter means for this vendor beyond its fields: the measure and a sentence.
    pub measure_notes: &'static [(&'static str, &'static str)],
    /// What helps where the vendor is in trouble.
    pub remedies: Remedies,
    /// Makes the provider of an account.
    pub build: fn(ProviderParts) -> Arc<dyn Provider>,
}

/// How a vendor's list of messages is read.
#[derive(Clone, Copy, Debug)]
pub struct ListCost {
    /// The rows of a page.
    pub per_page: u32,
    /// The longest time that one request may ask for.
    pub window: Duration,
    /// Each request asks for so much more before its time.
    pub margin: Duration,
    /// The most requests a second that the vendor takes; `None`: it does not say.
    pub limit: Option<RequestLimit>,
}

/// When a message is forgotten at most vendors.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(30 * 86_400);

/// What a provider is made of.
pub struct ProviderParts {
    /// The client: limits, retries and sizes are those of the account.
    pub http: Http,
    /// The account, as far as vendors see it.
    pub options: ProviderOptions,
}

/// Where a vendor is.
#[derive(Clone, Copy, Debug)]
pub enum BaseUrl {
    /// At this address unless the configuration says otherwise.
    Default(&'static str),
    /// The same, but each customer has an address of its own, which is better: without one there is a warning.
    Shared {
        /// The address that all customers share.
        url: &'static str,
        /// Where a customer finds its own, with an example.
        own: &'static str,
    },
    /// Elsewhere for each customer: the configuration has to say. The text says why, with an
    /// example.
    Required(&'static str),
}

/// Whether an account has applications that the vendor must be told of.
#[derive(Clone, Copy)]
pub enum Applications {
    /// The account is the application.
    One,
    /// One or more, each with its id.
    Several {
        /// What the vendor calls the id.
        id: &'static str,
        /// What an id has to be; `None`: any text.
        check: Option<IdCheck>,
    },
}

/// What an id has to be.
#[derive(Clone, Copy)]
pub struct IdCheck {
    /// Whether an id is one.
    pub is_id: fn(&str) -> bool,
    /// What it is: `an AppKey, which is a number`.
    pub what: &'static str,
}

/// When a vendor's numbers appear.
#[derive(Clone, Copy, Debug)]
pub enum Publication {
    /// All the time.
    Continuous,
    /// Once a day: only ages of a day and more can be told apart. The hour of completeness is a
    /// default (`daily_complete_at`).
    Daily(DailyPublication),
}

/// A configuration key of a vendor's own.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// The key. Vendors may share one, of the same kind.
    pub name: &'static str,
    /// What it holds.
    pub kind: KeyKind,
    /// As it would be written; empty: none.
    pub default: &'static str,
    /// What it is, for the reference; empty: its name says it.
    pub help: &'static str,
    /// Why the key is an error at other vendors: `has no lifecycle of devices`; `None`: it is
    /// ignored there.
    pub lack: Option<&'static str>,
}

impl ConfigKey {
    /// A secret, to be had from a file too.
    pub const fn secret(name: &'static str, help: &'static str) -> ConfigKey {
        ConfigKey {
            name,
            kind: KeyKind::Secret,
            default: "",
            help,
            lack: None,
        }
    }
}

/// What a vendor's own key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A text that is never shown.
    Secret,
    /// A list of such texts.
    Secrets {
        /// What errors call one of them: `a canary`.
        item: &'static str,
    },
    /// A whole number.
    Count,
    /// One of these words.
    Word(&'static [&'static str]),
}

/// What helps where a vendor is in trouble.
#[derive(Clone, Copy, Debug)]
pub struct Remedies {
    /// What to check besides the key when the credentials are refused: a sentence, or empty.
    pub credentials: &'static str,
    /// Vendor channels that may have no deliveries and be well.
    pub no_receipts: &'static [NoReceipts],
}

impl Remedies {
    /// Nothing that is the vendor's own.
    pub const NONE: Remedies = Remedies {
        credentials: "",
        no_receipts: &[],
    };
}

/// Vendor channels of which the vendor does not learn whether a message was delivered.
#[derive(Clone, Copy, Debug)]
pub struct NoReceipts {
    /// All channels of these platforms.
    pub platforms: &'static [&'static str],
    /// These channels of any platform.
    pub vendor_channels: &'static [&'static str],
    /// Why, and what would change it.
    pub why: &'static str,
}

impl BaseUrl {
    /// The address that is taken where the configuration has none.
    pub fn default(self) -> Option<&'static str> {
        match self {
            BaseUrl::Default(url) | BaseUrl::Shared { url, .. } => Some(url),
            BaseUrl::Required(_) => None,
        }
    }
}

impl Vendor {
    /// The vendor's data set of that name.
    pub fn dataset(&self, name: &str) -> Option<Dataset> {
        let mut datasets = self.datasets.iter().copied();
        datasets.find(|dataset| dataset.as_str() == name)
    }

    /// The data set that the vendor hands out once, as delivery reports.
    pub fn reports(&self) -> Option<Dataset> {
        let mut datasets = self.datasets.iter().copied();
        datasets.find(|dataset| dataset.is_drained())
    }

    /// The data set that the vendor pushes, with its path.
    pub fn webhook(&self) -> Option<(Dataset, &'static str)> {
        let mut datasets = self.datasets.iter();
        datasets.find_map(|dataset| Some((*dataset, dataset.webhook_path?)))
    }

    /// How the vendor publishes where it does so once a day.
    pub fn daily(&self) -> Option<DailyPublication> {
        match self.publication {
            Publication::Continuous => None,
            Publication::Daily(daily) => Some(daily),
        }
    }

    /// Whether messages are tracked one by one (and so need a list of them).
    pub fn has_messages(&self) -> bool {
        let mut datasets = self.datasets.iter();
        self.can_list
            || datasets.any(|dataset| matches!(dataset.method, QueryMethod::Messages { .. }))
    }

    /// Whether an account has applications that the vendor must be told of.
    pub fn needs_applications(&self) -> bool {
        matches!(self.applications, Applications::Several { .. })
    }

    /// The vendor's fields for a measure's word, each once; of a field that lies deeper, the outer
    /// name.
    pub fn fields(&self, word: &str) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = Vec::new();
        let fields = self.channels.iter().flat_map(|channel| channel.fields);
        for field in fields.filter(|field| field.measure.as_str() == word) {
            let name = field.name.split('.').next().unwrap_or_default();
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// All measures of all channels.
    pub fn measures(&self) -> impl Iterator<Item = Measure> + use<> {
        let fields = self.channels.iter().flat_map(|channel| channel.fields);
        fields.map(|field| field.measure)
    }
}

impl PartialEq for Vendor {
    fn eq(&self, other: &Vendor) -> bool {
        self.name == other.name
    }
}

impl Eq for Vendor {}

impl Ord for Vendor {
    fn cmp(&self, other: &Vendor) -> Ordering {
        self.name.cmp(other.name)
    }
}

impl PartialOrd for Vendor {
    fn partial_cmp(&self, other: &Vendor) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl hash::Hash for Vendor {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Debug for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
