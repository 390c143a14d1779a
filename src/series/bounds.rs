//! Limits on label values: a text that a vendor or a customer fills must not fill the memory.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::families::FamilyId;
use crate::config::Limits;

/// The value that stands for all values beyond the limit.
pub(super) const OTHER: &str = "other";

/// The label values that keep their names, first come, first served, for good.
pub(super) struct Bounds {
    max_values: usize,
    max_campaigns: usize,
    kept: HashMap<&'static str, HashSet<Arc<str>>>,
    other: Arc<str>,
    /// Series that lost a name since they were last taken.
    dropped: BTreeMap<FamilyId, u64>,
}

impl Bounds {
    pub(super) fn new(limits: &Limits) -> Bounds {
        Bounds {
            max_values: limits.max_label_values,
            max_campaigns: limits.max_campaigns_per_account,
            kept: HashMap::new(),
            other: Arc::from(OTHER),
            dropped: BTreeMap::new(),
        }
    }

    /// Takes other limits; values that have their names keep them.
    pub(super) fn limit(&mut self, limits: &Limits) {
        self.max_values = limits.max_label_values;
        self.max_campaigns = limits.max_campaigns_per_account;
    }

    /// The value to show for `text` as this label of this family.
    pub(super) fn value(
        &mut self,
        family: FamilyId,
        label: &'static str,
        text: &Arc<str>,
    ) -> Arc<str> {
        let kept = self.kept.entry(label).or_default();
        if text.is_empty() || kept.contains(text) {
            return text.clone();
        }
        let max = if label == "campaign" {
            self.max_campaigns
        } else {
            self.max_values
        };
        if kept.len() < max {
            kept.insert(text.clone());
            return text.clone();
        }
        *self.dropped.entry(family).or_default() += 1;
        self.other.clone()
    }

    /// How many series lost a name, by family, since this was last asked.
    pub(super) fn take_dropped(&mut self) -> BTreeMap<FamilyId, u64> {
        std::mem::take(&mut self.dropped)
    }
}
