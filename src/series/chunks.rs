//! A sorted map of series in chunks that views share (copy on write).

use std::{collections::BTreeMap, sync::Arc};

use super::values::Value;
use crate::catalog::FamilyId;

/// The values of a series' own labels, without those of the account.
pub(super) type Own = Arc<[Arc<str>]>;

/// Series of one family in the order of their labels.
pub(super) type Chunk = Vec<(Own, Value)>;

/// The maximum number of series in a chunk before it is divided, about 30 KiB of text.
const MOST: usize = 128;
/// The maximum length of the label values in a chunk before it is divided, in bytes.
const MOST_TEXT: usize = 24 << 10;

/// Series by family and labels.
#[derive(Default)]
pub(super) struct Chunks {
    families: BTreeMap<FamilyId, Vec<Arc<Chunk>>>,
    len: usize,
}

/// The position of a series, or where to insert it.
enum Slot {
    There(usize, usize),
    Missing(usize, usize),
}

fn find(chunks: &[Arc<Chunk>], own: &[Arc<str>]) -> Slot {
    let before = |chunk: &Arc<Chunk>| chunk.last().is_some_and(|(last, _)| last.as_ref() < own);
    // Series that arrive in order come last.
    if let Some(last) = chunks.last().filter(|chunk| before(chunk)) {
        return Slot::Missing(chunks.len() - 1, last.len());
    }
    let index = chunks.partition_point(before);
    let Some(chunk) = chunks.get(index) else {
        return Slot::Missing(0, 0);
    };
    match chunk.binary_search_by(|(other, _)| other.as_ref().cmp(own)) {
        Ok(place) => Slot::There(index, place),
        Err(place) => Slot::Missing(index, place),
    }
}

impl Chunks {
    /// The number of series.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All chunks, with their families in order.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (FamilyId, &Arc<Chunk>)> {
        let families = self.families.iter();
        families.flat_map(|(family, chunks)| chunks.iter().map(|chunk| (*family, chunk)))
    }

    /// Sets a series. An equal value changes nothing, so that nothing is copied.
    pub(super) fn insert(&mut self, family: FamilyId, own: Own, value: Value) {
        let chunks = self.families.entry(family).or_default();
        match find(chunks, &own) {
            Slot::There(index, place) => {
                if chunks[index][place].1 != value {
                    Arc::make_mut(&mut chunks[index])[place].1 = value;
                }
            }
            Slot::Missing(index, place) => {
                self.len += 1;
                put(chunks, index, place, (own, value));
            }
        }
    }

    /// Changes a series, which is created with `born` if it does not exist.
    pub(super) fn change(
        &mut self,
        family: FamilyId,
        own: Own,
        born: impl FnOnce() -> Value,
        change: impl FnOnce(&mut Value),
    ) {
        let chunks = self.families.entry(family).or_default();
        match find(chunks, &own) {
            Slot::There(index, place) => change(&mut Arc::make_mut(&mut chunks[index])[place].1),
            Slot::Missing(index, place) => {
                let mut value = born();
                change(&mut value);
                self.len += 1;
                put(chunks, index, place, (own, value));
            }
        }
    }

    /// Creates a series that does not exist.
    pub(super) fn init(&mut self, family: FamilyId, own: Own, born: impl FnOnce() -> Value) {
        let chunks = self.families.entry(family).or_default();
        if let Slot::Missing(index, place) = find(chunks, &own) {
            self.len += 1;
            put(chunks, index, place, (own, born()));
        }
    }

    /// Removes a series.
    pub(super) fn remove(&mut self, family: FamilyId, own: &[Arc<str>]) {
        let Some(chunks) = self.families.get_mut(&family) else {
            return;
        };
        if let Slot::There(index, place) = find(chunks, own) {
            self.len -= 1;
            Arc::make_mut(&mut chunks[index]).remove(place);
            if chunks[index].is_empty() {
                chunks.remove(index);
            }
        }
    }

    /// Removes a family.
    pub(super) fn remove_family(&mut self, family: FamilyId) {
        let gone = self.families.remove(&family).unwrap_or_default();
        self.len -= gone.iter().map(|chunk| chunk.len()).sum::<usize>();
    }

    /// Sets every series of a family.
    pub(super) fn fill(&mut self, family: FamilyId, value: &Value) {
        for chunk in self.families.entry(family).or_default() {
            for (_, own) in Arc::make_mut(chunk) {
                *own = value.clone();
            }
        }
    }
}

/// The length of the values of a series' labels.
fn text((own, _): &(Own, Value)) -> usize {
    own.iter().map(|value| value.len()).sum()
}

fn put(chunks: &mut Vec<Arc<Chunk>>, index: usize, place: usize, series: (Own, Value)) {
    let Some(chunk) = chunks.get_mut(index) else {
        chunks.push(Arc::new(vec![series]));
        return;
    };
    let chunk = Arc::make_mut(chunk);
    let is_long = text(&series) > MOST_TEXT / MOST;
    chunk.insert(place, series);
    // While all values are short, the number of series is the limit.
    let has_much = is_long && chunk.len() > 1 && chunk.iter().map(text).sum::<usize>() > MOST_TEXT;
    if has_much {
        let rest = chunk.split_off(chunk.len() / 2);
        chunks.insert(index + 1, Arc::new(rest));
    } else if chunk.len() > MOST {
        // Series that arrive in order fill chunks completely.
        let at = if place == chunk.len() - 1 {
            MOST
        } else {
            MOST / 2
        };
        let rest = chunk.split_off(at);
        chunk.shrink_to_fit();
        chunks.insert(index + 1, Arc::new(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog, series::Number};

    fn own(number: u64) -> Own {
        [Arc::from(format!("{number:08}"))].into()
    }

    fn count(number: u64) -> Value {
        Value::Gauge(Number::Count(number))
    }

    #[test]
    fn it_is_a_sorted_map_whose_parts_are_bounded() {
        let family = catalog::UP;
        let mut chunks = Chunks::default();
        let mut model = BTreeMap::new();
        // A multiplicative walk visits every number below the prime in a scattered order.
        for step in 1..1009 {
            let number = step * 523 % 1009;
            chunks.insert(family, own(number), count(step));
            model.insert(own(number), count(step));
            if step % 3 == 0 {
                let gone = own(step / 2 * 523 % 1009);
                chunks.remove(family, &gone);
                model.remove(&gone);
            }
        }
        assert_eq!(chunks.len(), model.len());
        assert!(
            chunks
                .chunks()
                .all(|(_, chunk)| (1..=MOST).contains(&chunk.len()))
        );
        let all: Vec<_> = chunks
            .chunks()
            .flat_map(|(_, chunk)| chunk.iter().cloned())
            .collect();
        assert_eq!(all, model.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn long_labels_make_short_chunks() {
        let family = catalog::UP;
        let mut chunks = Chunks::default();
        for number in 0..400 {
            let long: Own = [Arc::from(format!("{number:02000}"))].into();
            chunks.insert(family, long, count(1));
        }
        let lengths = chunks
            .chunks()
            .map(|(_, chunk)| chunk.iter().map(text).sum::<usize>());
        let longest = lengths.max().unwrap();
        assert!(longest <= MOST_TEXT, "{longest}");
    }

    #[test]
    fn what_does_not_change_is_not_copied() {
        let family = catalog::UP;
        let mut chunks = Chunks::default();
        (0..500).for_each(|number| chunks.insert(family, own(number), count(1)));
        let view: Vec<Arc<Chunk>> = chunks.chunks().map(|(_, chunk)| chunk.clone()).collect();
        chunks.insert(family, own(7), count(1));
        chunks.insert(family, own(300), count(2));
        let same = chunks
            .chunks()
            .zip(&view)
            .filter(|((_, new), old)| Arc::ptr_eq(new, old));
        assert_eq!(same.count(), view.len() - 1);
    }
}
