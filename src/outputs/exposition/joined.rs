//! The older series of a family over all accounts, as one run of bytes: few and large parts are sent
//! faster than many small ones.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use arc_swap::ArcSwapOption;
use bytes::BytesMut;

use super::checksum;
use crate::series::{FORMS, FamilyId, Form, FormSet, ids};

/// Smaller ones are put together with what stands around them.
const LEAST: usize = 32 << 10;
/// Larger ones need not be put together.
const MOST: usize = 256 << 10;

/// What was put together last, by form and family. Whoever finds that an account has changed since
/// puts it together again; nobody waits for that.
pub(super) struct Joined {
    forms: [Box<[ArcSwapOption<Whole>]>; FORMS],
    kept: AtomicU8,
}

struct Whole {
    /// What it is made of.
    runs: Box<[Arc<Form>]>,
    form: Form,
}

impl Joined {
    pub(super) fn new() -> Joined {
        Joined {
            forms: std::array::from_fn(|_| ids().map(|_| ArcSwapOption::empty()).collect()),
            kept: AtomicU8::new(0),
        }
    }

    /// Adds the runs of a family, as few parts.
    pub(super) fn add(
        &self,
        form: usize,
        family: FamilyId,
        runs: &[&Arc<Form>],
        add: &mut dyn FnMut(&Form),
    ) {
        let size: usize = runs.iter().map(|run| run.bytes.len()).sum();
        if runs.len() < 2 || size < LEAST || size > MOST * runs.len() {
            runs.iter().for_each(|run| add(run));
            return;
        }
        let place = &self.forms[form][family.index()];
        let last = place.load();
        let is_same = |whole: &&Arc<Whole>| {
            whole.runs.len() == runs.len()
                && whole
                    .runs
                    .iter()
                    .zip(runs)
                    .all(|(old, new)| Arc::ptr_eq(old, new))
        };
        if let Some(whole) = last.as_ref().filter(is_same) {
            add(&whole.form);
            return;
        }
        let mut bytes = BytesMut::with_capacity(size);
        let mut sum = checksum::EMPTY;
        for run in runs {
            bytes.extend_from_slice(&run.bytes);
            sum = checksum::join(sum, run.sum);
        }
        let form = Form {
            bytes: bytes.freeze(),
            sum,
        };
        add(&form);
        let runs = runs.iter().map(|run| (*run).clone()).collect();
        place.store(Some(Arc::new(Whole { runs, form })));
    }

    /// Forgets what was put together in forms that nobody reads any more.
    pub(super) fn keep(&self, read: FormSet) {
        let gone = self.kept.swap(read, Ordering::Relaxed) & !read;
        for (form, families) in self.forms.iter().enumerate() {
            if gone & (1 << form) != 0 {
                families.iter().for_each(|place| place.store(None));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::series::{Key, id};

    fn run(byte: u8, size: usize) -> Arc<Form> {
        let bytes = vec![byte; size];
        let sum = checksum::of(&bytes);
        let bytes = Bytes::from(bytes);
        Arc::new(Form { bytes, sum })
    }

    fn parts(joined: &Joined, runs: &[&Arc<Form>]) -> Vec<Bytes> {
        let (mut parts, mut sum) = (Vec::new(), checksum::EMPTY);
        joined.add(1, id(Key::LeaseHeld), runs, &mut |form| {
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
        // What is small stands with its neighbours, what is large by itself.
        let small = run(4, 100);
        assert_eq!(parts(&joined, &[&small, &small]).len(), 2);
        let large = run(5, 300 << 10);
        assert_eq!(parts(&joined, &[&large, &large]).len(), 2);
        joined.keep(0b11);
        joined.keep(0b01);
        let four = parts(&joined, &[first, &changed, none]);
        assert_ne!(four[0].as_ptr(), three[0].as_ptr());
    }
}
