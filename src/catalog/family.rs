//! What a declaration of a family says.

use super::label::{Label, Origin};

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

/// Which series of one of the exporter's own families an account exposes with 0 from the start, so that
/// `rate()` sees the first increase: one for each label value that is known in advance. The ledger creates
/// its own counters: those of a channel at the start, all others with the first count of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// None: a series appears with its first value.
    None,
    /// All.
    Always,
    /// All, if the account has a webhook.
    OfWebhook,
    /// All, if the account compares messages at ages.
    OfAges,
}

/// How ledgers store the counters of a family: the kind, and among the labels a word that distinguishes the
/// family from others of the same kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredForm {
    /// The first field.
    pub kind: &'static str,
    /// The word, and how many labels stand before it; `None`: the kind has one family.
    pub word: Option<(&'static str, usize)>,
}

/// Where the vendors' declarations list the fields that a help text names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// Under the family's own name.
    OfFamily,
    /// Under the name of a group of families.
    Named(&'static str),
    /// Under this measure.
    Measure(&'static str),
}

/// One family of series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// The name in Prometheus; a counter's ends in `_total`.
    pub name: &'static str,
    /// The name in OpenTelemetry: words with dots, without the suffixes that the translation to
    /// Prometheus adds.
    pub otlp_name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The unit in UCUM; empty for a state that has none.
    pub unit: &'static str,
    /// The help text: `{fields}` stands for the vendors' fields, and `{notes}` for the vendors' remarks on
    /// the measure. [`crate::series::help`] fills them in.
    pub help: &'static str,
    /// Where to find the fields for `{fields}`.
    pub fields: Fields,
    /// Its labels in order, without those that the configuration adds.
    pub labels: &'static [Label],
    /// A label that the ledger keeps and the series do not have: a series is the sum over it.
    pub summed: Option<Label>,
    /// How the ledger stores the family's counters; `None` for other families.
    pub stored: Option<StoredForm>,
    /// The series that exist from the start.
    pub zeros: Zeros,
    /// Whether it breaks down the counts of messages; `per_message.channels` hides such families.
    pub is_message_breakdown: bool,
    /// Whether it has series. Values of other families are dropped, and counted as dropped.
    pub is_exposed: bool,
}

/// The number of leading labels that the ledger does not store with each counter: those for the account and
/// the application.
const COMMON_LABELS: usize = 3;

impl Family {
    const fn new(
        kind: Kind,
        name: &'static str,
        otlp_name: &'static str,
        help: &'static str,
    ) -> Family {
        Family {
            name,
            otlp_name,
            kind,
            unit: "",
            help,
            fields: Fields::OfFamily,
            labels: &[],
            summed: None,
            stored: None,
            zeros: Zeros::None,
            is_message_breakdown: false,
            is_exposed: true,
        }
    }

    pub(super) const fn gauge(
        name: &'static str,
        otlp_name: &'static str,
        help: &'static str,
    ) -> Family {
        Family::new(Kind::Gauge, name, otlp_name, help)
    }

    pub(super) const fn counter(
        name: &'static str,
        otlp_name: &'static str,
        help: &'static str,
    ) -> Family {
        Family::new(Kind::Counter, name, otlp_name, help)
    }

    pub(super) const fn histogram(
        name: &'static str,
        otlp_name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
    ) -> Family {
        Family::new(Kind::Histogram(bounds), name, otlp_name, help)
    }

    pub(super) const fn fields(mut self, fields: Fields) -> Family {
        self.fields = fields;
        self
    }

    pub(super) const fn unit(mut self, unit: &'static str) -> Family {
        self.unit = unit;
        self
    }

    pub(super) const fn labels(mut self, labels: &'static [Label]) -> Family {
        self.labels = labels;
        self
    }

    /// The ledger stores its counters under this kind, which has no other family.
    pub(super) const fn stored(self, kind: &'static str) -> Family {
        self.stored_form(StoredForm { kind, word: None })
    }

    /// The ledger stores its counters under this kind, with a word after this number of labels.
    pub(super) const fn stored_with(
        self,
        kind: &'static str,
        word: &'static str,
        labels: usize,
    ) -> Family {
        self.stored_form(StoredForm {
            kind,
            word: Some((word, labels)),
        })
    }

    const fn stored_form(mut self, form: StoredForm) -> Family {
        self.stored = Some(form);
        self
    }

    pub(super) const fn zeros(mut self, zeros: Zeros) -> Family {
        self.zeros = zeros;
        self
    }

    /// The label that the ledger keeps and the series do not have, if there is one.
    pub(super) const fn summed(mut self, labels: &[Label]) -> Family {
        if let [label] = labels {
            self.summed = Some(*label);
        }
        self
    }

    pub(super) const fn breakdown(mut self) -> Family {
        self.is_message_breakdown = true;
        self
    }

    pub(super) const fn exposed(mut self, is_exposed: bool) -> Family {
        self.is_exposed = is_exposed;
        self
    }

    /// The name without a counter's suffix, as OpenMetrics calls the family.
    pub fn base_name(&self) -> &'static str {
        match self.kind {
            Kind::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            _ => self.name,
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

    /// Whether it has a label of this origin.
    pub fn has(&self, origin: Origin) -> bool {
        self.labels.iter().any(|label| label.origin == origin)
    }

    /// Whether its series belong to an account, and so carry the account's own labels.
    pub fn of_account(&self) -> bool {
        self.has(Origin::Account)
    }

    /// The labels that distinguish its series within one account.
    pub fn own_labels(&self) -> &'static [Label] {
        let identity = |label: &&Label| matches!(label.origin, Origin::Provider | Origin::Account);
        let common = self.labels.iter().take_while(identity).count();
        &self.labels[common..]
    }

    /// The labels of its counters in the ledger, without those for the account and the application.
    pub fn counter_labels(&self) -> impl Iterator<Item = &Label> {
        let shown = self.labels.get(COMMON_LABELS..).unwrap_or_default();
        shown.iter().chain(&self.summed)
    }

    /// How many labels of a counter its series exposes.
    pub fn shown_labels(&self) -> usize {
        self.labels.len().saturating_sub(COMMON_LABELS)
    }
}
