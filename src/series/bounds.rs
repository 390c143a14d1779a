//! Limits on label values: a text that a vendor or a customer fills must not fill the memory.

use std::{collections::BTreeMap, sync::Arc};

use super::families::{FamilyId, WordKey};
use crate::ledger::{Names, OTHER};

/// The label values that keep their names, and what lost one.
pub(super) struct Bounds {
    names: Arc<Names>,
    /// Series that lost a name since they were last taken.
    dropped: BTreeMap<FamilyId, u64>,
    /// Values that no family holds, since they were last taken.
    unplaced: BTreeMap<WordKey, u64>,
}

impl Bounds {
    /// With names that the ledger's counters have too.
    pub(super) fn new(names: Arc<Names>) -> Bounds {
        Bounds {
            names,
            dropped: BTreeMap::new(),
            unplaced: BTreeMap::new(),
        }
    }

    /// Other names from now on.
    pub(super) fn share(&mut self, names: Arc<Names>) {
        self.names = names;
    }

    /// The names themselves.
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    /// The value to show for `text` as this label of this family.
    pub(super) fn value(&mut self, family: FamilyId, label: &str, text: &Arc<str>) -> Arc<str> {
        let value = self.names.name(label, text);
        if value.as_ref() == OTHER && text.as_ref() != OTHER {
            self.lost(family);
        }
        value
    }

    /// A series of this family lost a name.
    pub(super) fn lost(&mut self, family: FamilyId) {
        *self.dropped.entry(family).or_default() += 1;
    }

    /// A value was dropped that no family holds.
    pub(super) fn unplaced(&mut self, key: WordKey) {
        *self.unplaced.entry(key).or_default() += 1;
    }

    /// How many values no family holds, since this was last asked.
    pub(super) fn take_unplaced(&mut self) -> BTreeMap<WordKey, u64> {
        std::mem::take(&mut self.unplaced)
    }

    /// How many series lost a name, by family, since this was last asked.
    pub(super) fn take_dropped(&mut self) -> BTreeMap<FamilyId, u64> {
        std::mem::take(&mut self.dropped)
    }
}
