//! Limits on label values: a text that a vendor or a customer fills must not fill the memory.

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

/// The label values that keep their names, and what lost one.
pub(super) struct Bounds {
    names: Arc<LabelLimiter>,
    /// Series that lost a name since they were last taken.
    dropped: BTreeMap<FamilyId, u64>,
    /// Values that no family holds, since they were last taken.
    unplaced: BTreeMap<FamilyId, u64>,
}

impl Bounds {
    /// With names that the ledger's counters have too.
    pub(super) fn new(names: Arc<LabelLimiter>) -> Bounds {
        Bounds {
            names,
            dropped: BTreeMap::new(),
            unplaced: BTreeMap::new(),
        }
    }

    /// Other names from now on.
    pub(super) fn share(&mut self, names: Arc<LabelLimiter>) {
        self.names = names;
    }

    /// The names themselves.
    pub(super) fn names(&self) -> &LabelLimiter {
        &self.names
    }

    /// The value to show for `text` as this label, and whether it lost its name.
    pub(super) fn value(names: &LabelLimiter, label: &Label, text: &Arc<str>) -> (Arc<str>, bool) {
        let value = names.name(label, text);
        let lost = value.as_ref() == OTHER && text.as_ref() != OTHER;
        (value, lost)
    }

    /// The values to show for texts as a family's own labels.
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

    /// A series of this family lost a name.
    pub(super) fn lost(&mut self, family: FamilyId) {
        *self.dropped.entry(family).or_default() += 1;
    }

    /// A value was dropped that no family holds.
    pub(super) fn unplaced(&mut self, key: FamilyId) {
        *self.unplaced.entry(key).or_default() += 1;
    }

    /// How many values no family holds, since this was last asked.
    pub(super) fn take_unplaced(&mut self) -> BTreeMap<FamilyId, u64> {
        std::mem::take(&mut self.unplaced)
    }

    /// How many series lost a name, by family, since this was last asked.
    pub(super) fn take_dropped(&mut self) -> BTreeMap<FamilyId, u64> {
        std::mem::take(&mut self.dropped)
    }
}
