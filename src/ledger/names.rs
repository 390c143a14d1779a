//! Limits label values. For each label that contains a vendor's or customer's text, the first values up to
//! the limit keep their names; all others permanently become `other`.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use sha2::{Digest as _, Sha256};

use super::key::clean;
use crate::{
    catalog::{Label, Limit, label::CAMPAIGN},
    redact::masked_label,
};

/// Replaces all values beyond the limit.
pub const OTHER: &str = "other";

/// The limits on the values of an account's labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelLimits {
    /// The maximum number of values of a label that contains a vendor's or customer's text.
    pub max_values: usize,
    /// The maximum number of campaigns that keep their names.
    pub max_campaigns: usize,
    /// The maximum length of a value, in bytes.
    pub max_length: usize,
}

/// The known label values of one account, shared by its counters and its gauges.
#[derive(Default)]
pub struct LabelLimiter {
    state: Mutex<State>,
    /// In bytes.
    max_length: AtomicUsize,
}

/// A text of at most `max` bytes. A longer text is cut at a character boundary and ends in `~` and eight
/// hexadecimal digits of its SHA-256, so that two long texts stay distinct. The same suffix is added to a
/// text in which a vendor quotes a secret, which is removed.
pub fn shortened(text: &Arc<str>, max: usize) -> Arc<str> {
    let masked = masked_label(text);
    if masked.is_none() && text.len() <= max {
        return text.clone();
    }
    let digest = Sha256::digest(text.as_bytes());
    let shown = masked.as_deref().unwrap_or(text);
    let end = shown.floor_char_boundary(max.saturating_sub(9));
    let [a, b, c, d, ..] = digest[..] else {
        return text.clone();
    };
    Arc::from(format!("{}~{a:02x}{b:02x}{c:02x}{d:02x}", &shown[..end]))
}

#[derive(Default)]
struct State {
    max_values: usize,
    max_campaigns: usize,
    known: HashMap<Arc<str>, HashSet<Arc<str>>>,
    /// Names that are not stored yet.
    new: Vec<(Arc<str>, Arc<str>)>,
}

impl LabelLimiter {
    /// No names yet.
    pub fn new(limits: &LabelLimits) -> LabelLimiter {
        let names = LabelLimiter::default();
        names.limit(limits);
        names
    }

    /// Names without a limit, for a process whose names another one limits.
    pub(super) fn unlimited() -> LabelLimiter {
        LabelLimiter {
            state: Mutex::new(State {
                max_values: usize::MAX,
                max_campaigns: usize::MAX,
                ..State::default()
            }),
            max_length: AtomicUsize::new(usize::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the limits; values that already have a name keep it.
    pub fn limit(&self, limits: &LabelLimits) {
        let mut state = self.lock();
        state.max_values = limits.max_values;
        state.max_campaigns = limits.max_campaigns;
        self.max_length.store(limits.max_length, Ordering::Relaxed);
    }

    /// The label value for a text whose number is limited elsewhere, such as a message's id.
    pub fn short(&self, text: &Arc<str>) -> Arc<str> {
        shortened(text, self.max_length.load(Ordering::Relaxed))
    }

    /// The value of a label for a text: the text itself, or `other`. The empty text does not count as a
    /// value.
    pub fn name(&self, label: &Label, text: &Arc<str>) -> Arc<str> {
        if text.is_empty() || text.as_ref() == OTHER {
            return text.clone();
        }
        let limit = match label.origin.limit() {
            Limit::Closed => return text.clone(),
            Limit::Length => return self.short(text),
            limit => limit,
        };
        let label = label.name;
        let text = clean(text);
        let mut state = self.lock();
        let limit = if limit == Limit::Campaigns {
            state.max_campaigns
        } else {
            state.max_values
        };
        if !state.known.contains_key(label) {
            state.known.insert(Arc::from(label), HashSet::new());
        }
        let State { known, new, .. } = &mut *state;
        let Some((label, values)) = known.iter_mut().find(|(own, _)| own.as_ref() == label) else {
            return text;
        };
        if values.contains(&text) {
            return text;
        }
        // A text that an earlier version stored in full keeps its counters, because the lookup above finds
        // it.
        let text = self.short(&text);
        if values.contains(&text) {
            return text;
        }
        if values.len() >= limit {
            return Arc::from(OTHER);
        }
        values.insert(text.clone());
        new.push((label.clone(), text.clone()));
        text
    }

    /// Loads the stored names.
    pub(super) fn load(&self, names: Vec<(Arc<str>, Arc<str>)>) {
        let mut state = self.lock();
        for (label, value) in names {
            state.known.entry(label).or_default().insert(value);
        }
    }

    /// Takes the names that are not stored yet, for a transaction that stores them.
    pub(super) fn take_new(self: &Arc<Self>) -> NewNames {
        NewNames {
            limiter: self.clone(),
            names: std::mem::take(&mut self.lock().new),
        }
    }

    /// Removes a dropped campaign, so that another can take its place.
    pub(super) fn forget_campaign(&self, campaign: &Arc<str>) {
        let mut state = self.lock();
        // Otherwise a returned name would be stored, and would occupy its place after a restart.
        let is_it = |own: &(Arc<str>, Arc<str>)| *own.0 == *CAMPAIGN.name && own.1 == *campaign;
        state.new.retain(|own| !is_it(own));
        if let Some(values) = state.known.get_mut(CAMPAIGN.name) {
            values.remove(campaign);
        }
    }
}

/// Names that a transaction is storing, as label and value. If they are not stored, dropping this value
/// returns them for the next transaction.
pub(super) struct NewNames {
    limiter: Arc<LabelLimiter>,
    names: Vec<(Arc<str>, Arc<str>)>,
}

impl NewNames {
    /// The names.
    pub(super) fn names(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.names
    }

    /// Marks them as stored.
    pub(super) fn stored(mut self) {
        self.names.clear();
    }
}

impl Drop for NewNames {
    fn drop(&mut self) {
        if !self.names.is_empty() {
            self.limiter.lock().new.append(&mut self.names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::label::{ERROR, STATUS};

    fn limits(max_values: usize, max_campaigns: usize) -> LabelLimits {
        LabelLimits {
            max_values,
            max_campaigns,
            max_length: 256,
        }
    }

    #[test]
    fn the_first_values_keep_their_names() {
        let names = Arc::new(LabelLimiter::new(&limits(2, 1)));
        let name = |label: &Label, text: &str| names.name(label, &Arc::from(text)).to_string();
        let statuses = ["a", "b", "c", "a", ""].map(|text| name(&STATUS, text));
        assert_eq!(statuses, ["a", "b", "other", "a", ""]);
        assert_eq!([name(&CAMPAIGN, "x"), name(&CAMPAIGN, "y")], ["x", "other"]);
        assert_eq!(names.take_new().names().len(), 3);
        names.forget_campaign(&Arc::from("x"));
        assert_eq!(name(&CAMPAIGN, "z"), "z");
        assert_eq!(name(&ERROR, "a\u{1f}b"), "a\u{fffd}b");
    }

    #[test]
    fn names_that_are_not_stored_are_given_back() {
        let names = Arc::new(LabelLimiter::new(&limits(2, 1)));
        let name = |text: &str| drop(names.name(&STATUS, &Arc::from(text)));
        name("a");
        let first = names.take_new();
        name("b");
        let second = names.take_new();
        let values = |own: &NewNames| own.names().iter().map(|own| own.1.to_string()).collect();
        let both: [Vec<String>; 2] = [values(&first), values(&second)];
        assert_eq!(both, [["a"], ["b"]]);
        drop(first);
        second.stored();
        let again: Vec<String> = values(&names.take_new());
        assert_eq!(again, ["a"]);
        names.take_new().stored();
        assert!(names.take_new().names().is_empty());
        // A campaign that another replica has forgotten is not stored any more.
        names.name(&CAMPAIGN, &Arc::from("x"));
        drop(names.take_new());
        names.forget_campaign(&Arc::from("x"));
        assert!(names.take_new().names().is_empty());
    }

    #[test]
    fn long_values_are_cut_at_a_character_and_stay_apart() {
        let names = Arc::new(LabelLimiter::new(&limits(10, 10)));
        let name = |text: String| names.name(&ERROR, &Arc::from(text));
        assert_eq!(*name("x".repeat(256)), *"x".repeat(256));
        // Two bytes a character: the cut would be in the middle of one.
        let long = [1, 2].map(|number| name(format!("{}{number}", "é".repeat(3_000_000))));
        assert_ne!(long[0], long[1]);
        for value in &long {
            let (text, digest) = value.rsplit_once('~').unwrap();
            assert_eq!(text, "é".repeat(123));
            assert!(digest.len() == 8 && digest.bytes().all(|own| own.is_ascii_hexdigit()));
        }
        assert_eq!(names.take_new().names().len(), 3);
        let is_short = |own: &(_, Arc<str>)| own.1.len() <= 256;
        assert!(names.take_new().names().iter().all(is_short));
        // The same again is the same.
        assert_eq!(long[1], name(format!("{}2", "é".repeat(3_000_000))));
        // One that an earlier version stored in full keeps its counters.
        let old: Arc<str> = Arc::from("o".repeat(300));
        names.load(vec![(Arc::from("error"), old.clone())]);
        assert_eq!(names.name(&ERROR, &old), old);
    }
}
