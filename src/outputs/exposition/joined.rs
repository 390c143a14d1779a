//! The series of a family over all accounts, as one run of bytes by age: few and large parts are
//! sent faster than many small ones.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::forms;
use crate::{
    catalog::{self, FamilyId},
    series::{AGES, EncodedSegment, FORMS, FormSet, Run, ViewNumber},
};

/// Larger ones, in the mean, need not be put together.
const MOST: usize = 256 << 10;

/// What was put together last, by form. Whoever finds that an account has changed since puts it
/// together again; nobody waits for that.
pub(super) struct Joined {
    forms: [ArcSwapOption<Families>; FORMS],
}

/// The series of some accounts in one form.
pub(super) struct Families {
    views: Box<[ViewNumber]>,
    /// By place, by age.
    families: Box<[[Arc<Whole>; AGES]]>,
}

struct Whole {
    /// What it is made of, without what is empty.
    runs: Box<[Arc<EncodedSegment>]>,
    /// Where it is worth it.
    joined: Option<EncodedSegment>,
}

impl Joined {
    pub(super) fn new() -> Joined {
        Joined {
            forms: Default::default(),
        }
    }

    /// The views together, each with its runs of the form.
    pub(super) fn of(&self, form: usize, views: &[(ViewNumber, &[Run])]) -> Arc<Families> {
        let last = self.forms[form].load_full();
        let numbers = views.iter().map(|(number, _)| number);
        if let Some(last) = last
            .as_ref()
            .filter(|last| last.views.iter().eq(numbers.clone()))
        {
            return last.clone();
        }
        let whole = |family: FamilyId, age: usize| {
            let runs = views.iter().map(|(_, runs)| &runs[family.index()][age]);
            let runs = runs.filter(|run| run.sum.length > 0);
            let old = last
                .as_ref()
                .map(|last| &last.families[family.index()][age]);
            let is_same = |old: &&Arc<Whole>| {
                old.runs
                    .iter()
                    .map(Arc::as_ptr)
                    .eq(runs.clone().map(Arc::as_ptr))
            };
            match old.filter(is_same) {
                Some(old) => old.clone(),
                None => Arc::new(Whole::new(runs.cloned().collect())),
            }
        };
        let families = catalog::all().map(|family| std::array::from_fn(|age| whole(family, age)));
        let families = Arc::new(Families {
            views: numbers.copied().collect(),
            families: families.collect(),
        });
        self.forms[form].store(Some(families.clone()));
        families
    }

    /// Forgets what was put together in forms that nobody reads any more.
    pub(super) fn keep(&self, read: FormSet) {
        for (form, families) in self.forms.iter().enumerate() {
            if read & (1 << form) == 0 && families.load().is_some() {
                families.store(None);
            }
        }
    }
}

impl Families {
    /// Adds a family, as few parts.
    pub(super) fn add(&self, family: FamilyId, add: &mut impl FnMut(&EncodedSegment)) {
        for whole in &self.families[family.index()] {
            match &whole.joined {
                Some(form) => add(form),
                None => whole.runs.iter().for_each(|run| add(run)),
            }
        }
    }
}

impl Whole {
    fn new(runs: Box<[Arc<EncodedSegment>]>) -> Whole {
        let size: usize = runs.iter().map(|run| run.bytes.len()).sum();
        let worth = runs.len() > 1 && size <= MOST * runs.len();
        let joined = worth.then(|| forms::together(runs.iter().map(|run| &**run)));
        Whole { runs, joined }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::outputs::exposition::checksum;

    fn run(byte: u8, size: usize) -> Arc<EncodedSegment> {
        let bytes = vec![byte; size];
        let sum = checksum::of(&bytes);
        let bytes = Bytes::from(bytes);
        Arc::new(EncodedSegment { bytes, sum })
    }

    /// The parts of a family of which each account has one run; all others are empty.
    fn parts(joined: &Joined, runs: &[&Arc<EncodedSegment>]) -> Vec<Bytes> {
        let (mut parts, mut sum) = (Vec::new(), checksum::EMPTY);
        let family = catalog::LEASE_HELD;
        let empty = run(0, 0);
        let families = runs.iter().map(|run| {
            let mut families: Vec<Run> = catalog::all()
                .map(|_| [empty.clone(), empty.clone()])
                .collect();
            families[family.index()][1] = (*run).clone();
            families
        });
        let families: Vec<_> = families.collect();
        let views = families.iter().map(|runs| (ViewNumber::next(), &**runs));
        let views: Vec<_> = views.collect();
        let whole = joined.of(1, &views);
        assert!(Arc::ptr_eq(&whole, &joined.of(1, &views)));
        whole.add(family, &mut |form: &EncodedSegment| {
            parts.push(form.bytes.clone());
            checksum::append(&mut sum, form.sum);
        });
        let expected: Vec<u8> = runs.iter().flat_map(|run| run.bytes.to_vec()).collect();
        assert_eq!(parts.concat(), expected);
        assert_eq!(sum.crc, checksum::of(&expected).crc);
        parts
    }

    #[test]
    fn runs_are_put_together_once_as_long_as_they_are_the_same() {
        let joined = Joined::new();
        let runs = [run(1, 20 << 10), run(2, 20 << 10), run(3, 0)];
        let [first, second, none] = &runs;
        let one = parts(&joined, &[first, second, none]);
        let two = parts(&joined, &[first, second, none]);
        assert_eq!((one.len(), one[0].as_ptr()), (1, two[0].as_ptr()));
        let changed = run(2, 20 << 10);
        let three = parts(&joined, &[first, &changed, none]);
        assert_ne!(three[0].as_ptr(), one[0].as_ptr());
        // What is large stands by itself.
        let large = run(5, 300 << 10);
        assert_eq!(parts(&joined, &[&large, &large]).len(), 2);
        joined.keep(0b11);
        joined.keep(0b01);
        let four = parts(&joined, &[first, &changed, none]);
        assert_ne!(four[0].as_ptr(), three[0].as_ptr());
    }
}
