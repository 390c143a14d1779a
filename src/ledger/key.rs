//! Keys of counters.

use std::{cmp::Ordering, collections::HashSet, sync::Arc};

use crate::{
    catalog::{CohortFamilies, CohortPart, FamilyId, Label, MeasureFamilies, Origin, stored_as},
    model::{Age, Measure},
};

/// A counter of an account.
///
/// ```
/// use std::sync::Arc;
///
/// use delivery_exporter::{catalog, ledger::CounterKey, model::Measure};
///
/// let push: Arc<str> = Arc::from("push");
/// let key = CounterKey::measured(&Arc::from("app"), catalog::TOTAL, Measure::Sent, &[&push]);
/// assert_eq!(key.family.name, "delivery_sent_total");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CounterKey {
    /// The application's id, so that renaming an application counts nothing twice.
    pub application: Arc<str>,
    /// The family of its series.
    pub family: FamilyId,
    /// The values of [`counter_labels`](crate::catalog::Family::counter_labels), in order.
    pub labels: Arc<[Arc<str>]>,
}

impl CounterKey {
    /// A counter of a family, with the values of its labels in order.
    pub fn new(application: &Arc<str>, family: FamilyId, labels: &[&Arc<str>]) -> CounterKey {
        CounterKey {
            application: application.clone(),
            family,
            labels: labels.iter().map(|label| (*label).clone()).collect(),
        }
    }

    /// A counter of a measure; the values of the labels without the measure's reason or kind.
    pub fn measured(
        application: &Arc<str>,
        families: MeasureFamilies,
        measure: Measure,
        labels: &[&Arc<str>],
    ) -> CounterKey {
        let labels = labels.iter().map(|label| (*label).clone());
        CounterKey {
            application: application.clone(),
            family: families.of(measure),
            labels: labels.chain(measure.detail().map(Arc::from)).collect(),
        }
    }

    /// A counter of messages at an age; the values of the labels without the age.
    pub fn at_age(
        application: &Arc<str>,
        families: CohortFamilies,
        part: CohortPart,
        labels: &[&Arc<str>],
        age: Age,
    ) -> CounterKey {
        let labels = labels.iter().map(|label| (*label).clone());
        CounterKey {
            application: application.clone(),
            family: families.of(part),
            labels: labels.chain([Arc::from(age.to_string())]).collect(),
        }
    }

    /// The same counter, with `limit` applied to each text from a vendor or a customer.
    pub(super) fn limited(
        mut self,
        limit: &mut dyn FnMut(&Label, &Arc<str>) -> Arc<str>,
    ) -> CounterKey {
        for (index, label) in self.family.counter_labels().enumerate() {
            if !label.is_limited() {
                continue;
            }
            let Some(text) = self.labels.get(index) else {
                break;
            };
            let value = limit(label, text);
            if value != *text {
                Arc::make_mut(&mut self.labels)[index] = value;
            }
        }
        self
    }

    /// The campaign, if the counter has one.
    pub fn campaign(&self) -> Option<&Arc<str>> {
        let mut labels = self.family.counter_labels();
        let place = labels.position(|label| label.origin == Origin::Campaign)?;
        self.labels.get(place)
    }

    /// The stored form. It consists of words, so that reordering the code does not change it.
    pub(crate) fn to_text(&self) -> String {
        let mut text = self.application.to_string();
        let mut push = |field: &str| {
            text.push(SEPARATOR);
            text.push_str(field);
        };
        // Only families of the ledger have counters, and a test checks that each has a stored form.
        let (kind, word) = self
            .family
            .stored
            .map_or((self.family.name, None), |form| (form.kind, form.word));
        push(kind);
        let (word, place) = word.unzip();
        let (before, behind) = self
            .labels
            .split_at(place.unwrap_or(0).min(self.labels.len()));
        before.iter().for_each(|label| push(label));
        word.into_iter().for_each(&mut push);
        behind.iter().for_each(|label| push(label));
        text
    }

    /// The order in which counters are listed: by application and kind, and then as their fields
    /// are stored.
    pub(super) fn stored_order(&self, other: &CounterKey) -> Ordering {
        let place = |key: &CounterKey| {
            let word = key.family.stored.and_then(|form| form.word);
            word.map_or(key.labels.len(), |(_, place)| place)
        };
        let kind = |key: &CounterKey| key.family.stored.map(|form| form.kind);
        let by_application = self.application.cmp(&other.application);
        if by_application.is_ne() || kind(self) != kind(other) {
            return by_application.then(self.family.cmp(&other.family));
        }
        let place = place(self);
        let pairs = self.labels.iter().zip(other.labels.iter());
        let pairs = self.family.counter_labels().zip(pairs);
        let mut pairs = pairs.map(|(label, (own, others))| label.origin.compare(own, others));
        let before = pairs
            .by_ref()
            .take(place)
            .fold(Ordering::Equal, Ordering::then);
        before
            .then(self.family.cmp(&other.family))
            .then_with(|| pairs.fold(Ordering::Equal, Ordering::then))
    }

    /// Parses the stored form; `None` if no version has written it.
    pub(crate) fn parse(text: &str) -> Option<CounterKey> {
        Texts::default().counter(text)
    }
}

/// The separator between the fields of a stored key; no label contains it.
const SEPARATOR: char = '\u{1f}';

/// An upper bound for the number of fields after a counter's kind; a test checks it.
const MAX_FIELDS: usize = 12;

/// A text without the field separator and without characters that a database refuses.
pub(super) fn clean(text: &Arc<str>) -> Arc<str> {
    if text.contains([SEPARATOR, '\0']) {
        Arc::from(text.replace([SEPARATOR, '\0'], "\u{fffd}"))
    } else {
        text.clone()
    }
}

/// Interns texts that many counters share.
#[derive(Default)]
pub(super) struct Texts {
    texts: HashSet<Arc<str>>,
    /// The label values of the counter that is being parsed.
    labels: Vec<Arc<str>>,
    /// The label values of the previous counter: the counters of a campaign are stored next to each other,
    /// and share them.
    before: Arc<[Arc<str>]>,
}

impl Texts {
    /// The shared copy of a text.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = Arc::from(text);
        self.texts.insert(shared.clone());
        shared
    }

    /// Parses the stored form of a counter; `None` if no version has written it.
    pub(super) fn counter(&mut self, text: &str) -> Option<CounterKey> {
        let mut parts = text.split(SEPARATOR);
        let (application, kind) = (parts.next()?, parts.next()?);
        let mut fields = [""; MAX_FIELDS];
        let mut count = 0;
        for part in parts {
            *fields.get_mut(count)? = part;
            count += 1;
        }
        let fields = &fields[..count];
        let (family, word) = stored_as(kind, fields)?;
        let mut texts = fields.iter().enumerate();
        self.labels.clear();
        let mut same = 0;
        for (index, label) in family.counter_labels().enumerate() {
            let (_, text) = texts.find(|(place, _)| Some(*place) != word)?;
            let value = label.origin.read(text)?;
            let before = self.before.get(index).filter(|before| ***before == *value);
            same += usize::from(before.is_some());
            let value = before.cloned().unwrap_or_else(|| self.share(&value));
            self.labels.push(value);
        }
        if texts.any(|(place, _)| Some(place) != word) {
            return None;
        }
        if same < self.labels.len() || same < self.before.len() {
            self.before = self.labels.as_slice().into();
        }
        Some(CounterKey {
            application: self.share(application),
            family,
            labels: self.before.clone(),
        })
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
pub(crate) mod stored;
