//! The one table of all families: `/metrics`, OTLP and the documentation are made from it.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

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

/// Declares [`Key`] with the list of all its values.
macro_rules! keys {
    ($($key:ident,)*) => {
        /// A family that is one by itself.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each is described by its family's help")]
        pub enum Key {
            $($key,)*
        }

        impl Key {
            /// Every key.
            const ALL: &[Key] = &[$(Key::$key,)*];
        }
    };
}

keys! {
    MessageDeliveryRatio,
    MessageReportedRatio,
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
    CohortMissed,
    Series,
    SeriesDropped,
    ReportsDuplicate,
    ReportsQuarantined,
    HeldIncrements,
    AppUsersNew,
    AppUsersActive,
    AppUsersOnline,
    CanaryDevices,
    ConversionHits,
    ConversionRatio,
    ConversionRevenue,
    LinkClicks,
    LinkDevices,
    LogEvents,
    BouncedAddresses,
    LeaseHeld,
    WebhookRequests,
    ProbeSuccess,
    ProbeDuration,
    DiscoverySuccess,
    DiscoveryLastSuccess,
    DiscoveredMessages,
}

/// A family of which there is one for each of several words: a measure, a part of a cohort. Not
/// every word has a family on every level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described by its family's help")]
pub enum WordKey {
    Message(&'static str),
    Channel(&'static str),
    Type(&'static str),
    Total(&'static str),
    Campaign(&'static str),
    ChannelTotal(&'static str),
    Cohort(&'static str),
    CohortChannel(&'static str),
    Process(&'static str),
}

impl WordKey {
    /// The name of the family, whether there is one or not.
    pub fn name(self) -> String {
        match self {
            WordKey::Message(word) => format!("delivery_message_{word}"),
            WordKey::Channel(word) => format!("delivery_message_channel_{word}"),
            WordKey::Type(word) => format!("delivery_message_type_{word}"),
            WordKey::Total(word) => format!("delivery_{word}_total"),
            WordKey::Campaign(word) => format!("delivery_campaign_{word}_total"),
            WordKey::ChannelTotal(word) => format!("delivery_channel_{word}_total"),
            WordKey::Cohort(word) => format!("delivery_cohort_{word}_total"),
            WordKey::CohortChannel(word) => format!("delivery_cohort_channel_{word}_total"),
            WordKey::Process(name) => name.to_owned(),
        }
    }
}

/// Where the table has a family.
pub(super) enum TableKey {
    Fixed(Key),
    Word(WordKey),
}

impl From<Key> for TableKey {
    fn from(key: Key) -> TableKey {
        TableKey::Fixed(key)
    }
}

impl From<WordKey> for TableKey {
    fn from(key: WordKey) -> TableKey {
        TableKey::Word(key)
    }
}

/// The family of a key.
pub fn id(key: Key) -> FamilyId {
    TABLE.fixed[key as usize]
}

/// The family of a word on a level; `None`: no family holds it, so that its values have to be
/// dropped, and counted as dropped.
pub fn find(key: WordKey) -> Option<FamilyId> {
    TABLE.words.get(&key).copied()
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
pub fn ids() -> impl Iterator<Item = FamilyId> {
    (0..TABLE.families.len()).filter_map(|index| index.try_into().ok().map(FamilyId))
}

/// Whether a family holds parts of messages' numbers, which `per_message.channels` hides.
pub(super) fn is_breakdown(family: FamilyId) -> bool {
    static BREAKDOWN: LazyLock<HashSet<FamilyId>> = LazyLock::new(|| {
        let keys = TABLE.words.iter();
        let parts = keys.filter(|(key, _)| matches!(key, WordKey::Channel(_) | WordKey::Type(_)));
        parts.map(|(_, id)| *id).collect()
    });
    BREAKDOWN.contains(&family)
}

/// All families, in the order of the exposition.
pub fn families() -> &'static [Family] {
    &TABLE.families
}

/// The bounds of `delivery_exporter_collect_duration_seconds`.
pub const DURATION_BOUNDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];
/// All families, and where each is.
pub(super) struct FamilyTable {
    families: Vec<Family>,
    /// By the number of the key: a test finds keys that the catalogue has forgotten.
    fixed: [FamilyId; Key::ALL.len()],
    words: HashMap<WordKey, FamilyId>,
}

impl Default for FamilyTable {
    fn default() -> FamilyTable {
        FamilyTable {
            families: Vec::new(),
            fixed: [FamilyId(0); Key::ALL.len()],
            words: HashMap::new(),
        }
    }
}

static TABLE: LazyLock<FamilyTable> = LazyLock::new(super::catalogue::all);

impl FamilyTable {
    /// Adds a family at the end.
    pub(super) fn add(
        &mut self,
        key: impl Into<TableKey>,
        name: impl Into<String>,
        kind: Kind,
        unit: &'static str,
        labels: &[&[&'static str]],
        help: impl Into<String>,
    ) {
        let id = FamilyId(self.families.len().try_into().unwrap_or(u16::MAX));
        match key.into() {
            TableKey::Fixed(key) => self.fixed[key as usize] = id,
            TableKey::Word(key) => {
                self.words.insert(key, id);
            }
        }
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

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use crate::{
        model::{ErrorReason, Measure},
        providers::VENDORS,
    };

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
        let fixed = Key::ALL.iter().map(|key| (format!("{key:?}"), id(*key)));
        let words = TABLE.words.iter();
        let words = words.map(|(key, id)| (format!("{key:?}"), *id));
        let mut owners = HashMap::new();
        for (key, id) in fixed.chain(words) {
            if let Some(other) = owners.insert(id, key.clone()) {
                panic!("{key} and {other} have one family, {}", id.family().name);
            }
        }
        assert_eq!(owners.len(), families().len());
        for (key, id) in &TABLE.words {
            assert_eq!(key.name(), id.family().name);
        }
    }

    /// The measures of the breakdown and of the message types that the decoders can give.
    const BREAKDOWN: [(Measure, bool); 8] = [
        (Measure::Targeted, true),
        (Measure::Sent, true),
        (Measure::Delivered, true),
        (Measure::Displayed, true),
        (Measure::Opened, true),
        (Measure::InboxOpened, false),
        (Measure::Unshowable, false),
        (Measure::Errors(ErrorReason::Rejected), false),
    ];

    #[test]
    fn what_the_decoders_give_has_a_family_with_the_labels_that_it_brings() {
        for vendor in VENDORS {
            for measure in vendor.measures() {
                let word = measure.as_str();
                for key in [
                    WordKey::Message(word),
                    WordKey::Total(word),
                    WordKey::Campaign(word),
                ] {
                    let family = find(key)
                        .unwrap_or_else(|| panic!("{vendor}: {key:?}"))
                        .family();
                    let detail = match measure {
                        Measure::Errors(_) => Some(&"reason"),
                        Measure::Bounces(_) => Some(&"kind"),
                        _ => None,
                    };
                    assert_eq!(detail.is_some(), measure.detail().is_some());
                    let has = |label: &str| family.labels.contains(&label);
                    assert_eq!(
                        has("reason") || has("kind"),
                        detail.is_some(),
                        "{}",
                        family.name
                    );
                    assert!(detail.is_none_or(|label| has(label)), "{}", family.name);
                }
            }
        }
        for (measure, of_types) in BREAKDOWN {
            let word = measure.as_str();
            let keys = [WordKey::Channel(word), WordKey::ChannelTotal(word)];
            let types = of_types.then_some(WordKey::Type(word));
            for key in keys.into_iter().chain(types) {
                let family = find(key).unwrap_or_else(|| panic!("{key:?}")).family();
                assert!(!family.labels.contains(&"reason"), "{}", family.name);
            }
        }
        assert_eq!(find(WordKey::Channel("bounces")), None);
        assert_eq!(find(WordKey::Type("errors")), None);
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
