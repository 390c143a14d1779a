//! Finds the family of a counter that a ledger has stored.

use std::sync::LazyLock;

use super::{FamilyId, all};

/// The families that share one kind of stored counters.
struct StoredKind {
    kind: &'static str,
    /// The number of labels before the word; `None` if there is no word.
    labels_before_word: Option<usize>,
    families: Vec<(&'static str, FamilyId)>,
}

static KINDS: LazyLock<Vec<StoredKind>> = LazyLock::new(|| {
    let mut kinds: Vec<StoredKind> = Vec::new();
    for family in all() {
        let Some(form) = family.stored else { continue };
        let (word, labels) = form.word.unzip();
        let known = kinds.iter_mut().find(|known| known.kind == form.kind);
        let entry = (word.unwrap_or_default(), family);
        match known {
            Some(known) => known.families.push(entry),
            None => kinds.push(StoredKind {
                kind: form.kind,
                labels_before_word: labels,
                families: vec![entry],
            }),
        }
    }
    kinds
});

/// The family of a stored counter, from its first field (`kind`) and the fields after it, and the index of
/// the word among `fields`, if there is one.
pub fn stored_as(kind: &str, fields: &[&str]) -> Option<(FamilyId, Option<usize>)> {
    let known = KINDS.iter().find(|known| known.kind == kind)?;
    let word = match known.labels_before_word {
        Some(place) => *fields.get(place)?,
        None => "",
    };
    let mut families = known.families.iter();
    let (_, family) = families.find(|(own, _)| *own == word)?;
    Some((*family, known.labels_before_word))
}
