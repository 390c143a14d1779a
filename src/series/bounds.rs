//! Limits on label values: texts from vendors or customers must not exhaust the memory.

use std::{collections::BTreeMap, sync::Arc};

use super::chunks::Own;
use crate::{
    catalog::{FamilyId, Label},
    config::Limits,
    ledger::{LabelLimiter, LabelLimits, OTHER},
};

impl From<&Limits> for LabelLimits {
    fn from(limits: &Limits) -> LabelLimits {
        LabelLimits {
            max_values: limits.max_label_values,
            max_campaigns: limits.max_campaigns_per_account,
            max_length: limits.max_label_length,
        }
    }
}

/// The label values that keep their names, and the number of series that lost one.
pub(super) struct Bounds {
    names: Arc<LabelLimiter>,
    /// Series with a value merged into `other`, since the last call of `take_dropped`.
    dropped: BTreeMap<FamilyId, u64>,
    /// Values without a family, since the last call of `take_unplaced`.
    unplaced: BTreeMap<FamilyId, u64>,
}

impl Bounds {
    /// Shares the names with the ledger's counters.
    pub(super) fn new(names: Arc<LabelLimiter>) -> Bounds {
        Bounds {
            names,
            dropped: BTreeMap::new(),
            unplaced: BTreeMap::new(),
        }
    }

    /// Replaces the names.
    pub(super) fn share(&mut self, names: Arc<LabelLimiter>) {
        self.names = names;
    }

    /// The names themselves.
    pub(super) fn names(&self) -> &LabelLimiter {
        &self.names
    }

    /// The label value for `text`, and whether it was merged into `other`.
    pub(super) fn value(names: &LabelLimiter, label: &Label, text: &Arc<str>) -> (Arc<str>, bool) {
        let value = names.name(label, text);
        let lost = value.as_ref() == OTHER && text.as_ref() != OTHER;
        (value, lost)
    }

    /// The label values for the texts of a family's own labels.
    pub(super) fn values(&mut self, family: FamilyId, texts: &[&str]) -> Own {
        let mut any_lost = false;
        let labels = family.family().own_labels().iter();
        let values = labels.zip(texts).map(|(label, text)| {
            let (value, lost) = Bounds::value(&self.names, label, &Arc::from(*text));
            any_lost |= lost;
            value
        });
        let values = values.collect();
        if any_lost {
            self.lost(family);
        }
        values
    }

    /// Counts a series of this family that lost a name.
    pub(super) fn lost(&mut self, family: FamilyId) {
        *self.dropped.entry(family).or_default() += 1;
    }

    /// Counts a dropped value that has no family.
    pub(super) fn unplaced(&mut self, key: FamilyId) {
        *self.unplaced.entry(key).or_default() += 1;
    }

    /// The number of values without a family since the last call.
    pub(super) fn take_unplaced(&mut self) -> BTreeMap<FamilyId, u64> {
        std::mem::take(&mut self.unplaced)
    }

    /// The number of series that lost a name, by family, since the last call.
    pub(super) fn take_dropped(&mut self) -> BTreeMap<FamilyId, u64> {
        std::mem::take(&mut self.dropped)
    }
}
