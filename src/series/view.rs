//! What is exposed for an account at one moment, and the interface for encoding it in advance.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering},
};

use delivery_clock::Moment;

use super::{
    concat::{Concat, Node},
    groups::nanoseconds,
    segments::{Block, FormSet, Segment, of_family},
};
use crate::catalog::{self, FamilyId};

/// If a family has many segments, this number of the newest ones forms a separate node.
const NEWEST: usize = 8;

/// Identifies a view within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewNumber(u64);

impl ViewNumber {
    pub(crate) fn next() -> ViewNumber {
        static LAST: AtomicU64 = AtomicU64::new(0);
        ViewNumber(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is exposed for an account; immutable.
pub struct View {
    number: ViewNumber,
    /// In the order of the families.
    segments: Box<[Arc<Segment>]>,
    /// Replaces its `delivery_exporter_lease_held` while another replica holds the account.
    not_held: Arc<Segment>,
    /// The blocks that segments are in.
    blocks: Box<[Arc<Block>]>,
    /// The earliest time at which a block becomes stale, in nanoseconds.
    soonest: AtomicI64,
    /// The previous view.
    replaces: Option<ViewNumber>,
    /// What each family comes to, by its place.
    families: Arc<[ByAge]>,
    /// The forms in which all of it is encoded, as a bit set.
    made: AtomicU8,
}

/// The nodes per family: one for the newest segments, which change most often, and one for the others.
pub const AGES: usize = 2;

/// The segments of a family, by age.
pub type ByAge = [Arc<Concat>; AGES];

impl View {
    /// A view of segments in the order of the families. Families with unchanged segments keep their encoded
    /// bytes.
    pub(super) fn new(
        segments: Box<[Arc<Segment>]>,
        blocks: Box<[Arc<Block>]>,
        not_held: Arc<Segment>,
        before: Option<&View>,
    ) -> View {
        let families = catalog::all().map(|family| {
            let before = before.map(|before| &before.families[family.index()]);
            let by_age = by_age(of_family(&segments, family));
            std::array::from_fn(|age| {
                let children = by_age[age].iter().cloned().map(Node::Segment);
                Concat::of(
                    family,
                    children.collect(),
                    before.map(|before| &before[age]),
                )
            })
        });
        View {
            number: ViewNumber::next(),
            replaces: before.map(|before| before.number),
            families: families.collect(),
            segments,
            blocks,
            soonest: AtomicI64::new(i64::MIN),
            not_held,
            made: AtomicU8::new(0),
        }
    }

    /// Its number.
    pub fn number(&self) -> ViewNumber {
        self.number
    }

    /// The number of the view that it replaces.
    pub fn replaces(&self) -> Option<ViewNumber> {
        self.replaces
    }

    /// All segments, in the order of the families.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The segments of a family; `held` says whether this replica holds the account.
    pub(super) fn family(&self, family: FamilyId, held: bool) -> &[Arc<Segment>] {
        // Everything else belongs to the replica that holds the account.
        if !held && family == catalog::LEASE_HELD {
            return std::slice::from_ref(&self.not_held);
        }
        if !held && family != catalog::WEBHOOK_REQUESTS {
            return &[];
        }
        of_family(&self.segments, family)
    }

    /// What each family comes to, by its place.
    pub fn families(&self) -> &Arc<[ByAge]> {
        &self.families
    }

    /// Encodes all of it in a form, unless that was already done.
    pub fn make(&self, form: usize, make: impl FnOnce(&View)) {
        if !self.is_made(form) {
            make(self);
            self.made.fetch_or(1 << form, Ordering::Release);
        }
    }

    /// Whether all of it is encoded in a form.
    pub fn is_made(&self, form: usize) -> bool {
        self.made.load(Ordering::Acquire) & (1 << form) != 0
    }

    /// Whether some of its series are stale at `now`.
    pub(super) fn is_stale(&self, now: Moment) -> bool {
        if self.soonest.load(Ordering::Relaxed) > nanoseconds(now) {
            return false;
        }
        // Blocks are renewed without notifying the view, but renewal only postpones staleness.
        let soonest = self.blocks.iter().map(|block| block.soonest());
        self.soonest
            .store(soonest.min().unwrap_or(i64::MAX), Ordering::Relaxed);
        self.blocks.iter().any(|block| block.is_stale(now))
    }
}

/// The segments of a family, with the newest separated if there are many.
fn by_age(segments: &[Arc<Segment>]) -> [&[Arc<Segment>]; AGES] {
    let many = segments.len() > 2 * NEWEST;
    let (newest, others) = segments.split_at(if many { NEWEST } else { 0 });
    [newest, others]
}

/// Encodes segments before they are exposed.
pub trait Prepare: Send + Sync {
    /// The forms that are currently being read.
    fn wanted(&self) -> FormSet;
    /// The forms that are plain text.
    fn texts(&self) -> FormSet;
    /// Encodes a view in the wanted forms.
    fn prepare(&self, view: &View);
}

/// Encodes nothing in advance.
pub struct Unprepared;

impl Prepare for Unprepared {
    fn wanted(&self) -> FormSet {
        0
    }

    fn texts(&self) -> FormSet {
        0
    }

    fn prepare(&self, _: &View) {}
}
