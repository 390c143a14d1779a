//! What is shown, in segments: runs of series of one family that are never changed, only
//! replaced, so that whatever was made of a segment stays true of it.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

use bytes::Bytes;
use delivery_clock::Moment;

use super::{
    chunks::Chunk,
    groups::{Group, nanoseconds},
    values::{Identity, Labels, Value},
};
use crate::catalog::{FamilyId, Origin};

/// So many of an account's newest segments of a family keep their text; that is all of it for most, some
/// 500 KiB of each family. That of older ones is written anew for each reader of plain text, which takes three
/// times as long as sending what is kept: of a million series all texts would be half of the memory.
pub(super) const MAX_SEGMENTS_WITH_TEXT: usize = 30;

/// How many forms a segment can be kept in.
pub const FORMS: usize = 6;

/// A set of forms: bit by bit.
pub type FormSet = u8;

/// The CRC-32 of a text, with its length: sums of parts give the sum of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The CRC-32.
    pub crc: u32,
    /// What the length does to the sum of what stands before: x to the power of eight times it.
    pub shift: u32,
    /// The length in bytes.
    pub length: u64,
}

/// Bytes that an output made of a segment.
#[derive(Debug)]
pub struct EncodedSegment {
    /// The bytes.
    pub bytes: Bytes,
    /// What a reader of the whole has to know of the text that they stand for.
    pub sum: Checksum,
}

/// Groups of consecutive messages, newest first, with their families in segments.
pub(super) struct Block {
    pub(super) groups: Box<[Arc<Group>]>,
    /// No group is stale before then, in nanoseconds of the monotonic clock.
    soonest: AtomicI64,
}

impl Block {
    pub(super) fn new(groups: Box<[Arc<Group>]>) -> Block {
        let block = Block {
            groups,
            soonest: AtomicI64::new(0),
        };
        block.look();
        block
    }

    pub(super) fn is_stale(&self, now: Moment) -> bool {
        let now = nanoseconds(now);
        self.soonest.load(Ordering::Relaxed) <= now
            && self.groups.iter().any(|group| group.stale_at() <= now)
    }

    /// No group is stale before then, in nanoseconds.
    pub(super) fn soonest(&self) -> i64 {
        self.soonest.load(Ordering::Relaxed)
    }

    /// Looks when the first group becomes stale: they are renewed without the block knowing.
    pub(super) fn look(&self) {
        let soonest = self.groups.iter().map(|group| group.stale_at()).min();
        self.soonest
            .store(soonest.unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Where a segment's series are.
pub(super) enum Rows {
    /// In a block, with others.
    Block(Arc<Block>),
    /// In a chunk of their own.
    Chunk(Arc<Chunk>),
}

/// A run of series of one family, of one account or of the process.
pub struct Segment {
    family: FamilyId,
    /// Whose they are; `None`: the process's.
    identity: Option<Arc<Identity>>,
    pub(super) rows: Rows,
    keeps_text: bool,
    forms: [OnceLock<Arc<EncodedSegment>>; FORMS],
}

impl Segment {
    pub(super) fn new(family: FamilyId, identity: Option<Arc<Identity>>, rows: Rows) -> Segment {
        Segment {
            family,
            identity,
            rows,
            keeps_text: true,
            forms: Default::default(),
        }
    }

    /// The family of all its series.
    pub fn family(&self) -> FamilyId {
        self.family
    }

    /// Whether its text is to be kept; if not, it is written anew for each reader.
    pub fn keeps_text(&self) -> bool {
        self.keeps_text
    }

    /// The same series as a segment that does not keep its text, of which `texts` are the forms;
    /// `None`: it does not already, or is no segment of a block.
    pub(super) fn without_text(&self, texts: FormSet, wanted: FormSet) -> Option<Arc<Segment>> {
        if !self.keeps_text || !matches!(self.rows, Rows::Block(_)) {
            return None;
        }
        let mut bare = self.bare();
        bare.keeps_text = false;
        Some(Arc::new(bare.keep(self, wanted & !texts)))
    }

    /// The same series, of which nothing was made.
    fn bare(&self) -> Segment {
        let rows = match &self.rows {
            Rows::Block(block) => Rows::Block(block.clone()),
            Rows::Chunk(chunk) => Rows::Chunk(chunk.clone()),
        };
        Segment {
            keeps_text: self.keeps_text,
            ..Segment::new(self.family, self.identity.clone(), rows)
        }
    }

    /// Two segments with the same key have the same series, as long as both are there.
    pub fn key(&self) -> (FamilyId, usize) {
        let address = match &self.rows {
            Rows::Block(block) => Arc::as_ptr(block).cast::<()>(),
            Rows::Chunk(chunk) => Arc::as_ptr(chunk).cast::<()>(),
        };
        (self.family, address as usize)
    }

    /// The same series, with those forms alone that are wanted.
    pub(super) fn only(&self, wanted: FormSet) -> Arc<Segment> {
        Arc::new(self.bare().keep(self, wanted))
    }

    /// A form of it, which `make` makes if it is not there. Whoever comes meanwhile waits for it.
    pub fn form(&self, form: usize, make: impl FnOnce() -> EncodedSegment) -> &Arc<EncodedSegment> {
        self.forms[form].get_or_init(|| Arc::new(make()))
    }

    /// A form of it, if it is there.
    pub fn kept(&self, form: usize) -> Option<&Arc<EncodedSegment>> {
        self.forms[form].get()
    }

    /// Takes over those forms of a segment with the same series that are wanted.
    pub(super) fn keep(mut self, other: &Segment, wanted: FormSet) -> Segment {
        self.keeps_text &= other.keeps_text;
        for (index, (own, form)) in self.forms.iter().zip(&other.forms).enumerate() {
            if let Some(form) = form.get().filter(|_| wanted & (1 << index) != 0) {
                // It is new: nothing is there.
                let _ = own.set(form.clone());
            }
        }
        self
    }

    /// Whether some of its series are not shown at `now`.
    pub fn is_stale(&self, now: Moment) -> bool {
        match &self.rows {
            Rows::Block(block) => block.is_stale(now),
            Rows::Chunk(_) => false,
        }
    }

    /// Walks its series, at `now` without those that are stale by then.
    pub fn visit(&self, now: Option<Moment>, each: &mut dyn FnMut(Labels<'_>, &Value)) {
        let family = self.family.family();
        let identity = self.identity.as_deref();
        let mut own: Vec<&str> = Vec::with_capacity(family.labels.len());
        // Where the labels are that a group's series do not have in common.
        let mut places: Vec<usize> = Vec::with_capacity(family.labels.len());
        match &self.rows {
            Rows::Chunk(chunk) => {
                for (labels, value) in chunk.iter() {
                    own.clear();
                    own.extend(labels.iter().map(|label| label.as_ref()));
                    each(Labels::new(family, identity, &own), value);
                }
            }
            Rows::Block(block) => {
                let now = now.map_or(i64::MIN, nanoseconds);
                let labels = || family.own_labels().iter().enumerate();
                for group in block.groups.iter().filter(|group| group.stale_at() > now) {
                    let of_message = group.of_message;
                    let of_group = |origin| match origin {
                        Origin::Application => Some(group.application.as_ref()),
                        Origin::Campaign if of_message => Some(group.campaign.as_ref()),
                        Origin::Message if of_message => Some(group.label.as_ref()),
                        _ => None,
                    };
                    own.clear();
                    own.extend(labels().map(|(_, label)| of_group(label.origin).unwrap_or("")));
                    places.clear();
                    let others = labels().filter(|(_, label)| of_group(label.origin).is_none());
                    places.extend(others.map(|(place, _)| place));
                    for (entry, number) in group.values(self.family) {
                        let mut values = entry.labels.iter();
                        for place in &places {
                            own[*place] = values.next().map_or("", |value| value.as_ref());
                        }
                        each(Labels::new(family, identity, &own), &Value::Gauge(number));
                    }
                }
            }
        }
    }
}

/// The segments of a family, of segments in the order of the families.
pub(super) fn of_family(segments: &[Arc<Segment>], family: FamilyId) -> &[Arc<Segment>] {
    let from = segments.partition_point(|segment| segment.family < family);
    let len = segments[from..].partition_point(|segment| segment.family == family);
    &segments[from..from + len]
}

/// Which series there were at a moment, without what was made of them.
#[derive(Default)]
pub struct Remembered {
    /// In the order of the families.
    segments: Vec<Arc<Segment>>,
    at: Moment,
}

impl Remembered {
    /// The series that are shown at `at`.
    pub(super) fn new<'a>(
        segments: impl Iterator<Item = &'a Arc<Segment>>,
        at: Moment,
    ) -> Remembered {
        Remembered {
            segments: segments.map(|segment| segment.only(0)).collect(),
            at,
        }
    }

    /// Walks the series of a family that are not among `segments` at `now`.
    pub fn visit_left(
        &self,
        family: FamilyId,
        segments: &[&Arc<Segment>],
        now: Moment,
        each: &mut dyn FnMut(Labels<'_>),
    ) {
        let before = of_family(&self.segments, family);
        let there: HashSet<_> = segments.iter().map(|segment| segment.key()).collect();
        let changed = |segment: &Arc<Segment>, others: &HashSet<_>| {
            !others.contains(&segment.key()) || segment.is_stale(now)
        };
        let old: Vec<_> = before
            .iter()
            .filter(|segment| changed(segment, &there))
            .collect();
        if old.is_empty() {
            return;
        }
        let were: HashSet<_> = before.iter().map(|segment| segment.key()).collect();
        let hasher = RandomState::new();
        let hash = |labels: Labels<'_>| {
            let pairs = labels.pairs();
            pairs.fold(0, |hash: u64, pair| hasher.hash_one((hash, pair)))
        };
        let mut stay = HashSet::new();
        for segment in segments.iter().filter(|segment| changed(segment, &were)) {
            segment.visit(Some(now), &mut |labels, _| {
                stay.insert(hash(labels));
            });
        }
        for segment in old {
            segment.visit(Some(self.at), &mut |labels, _| {
                if !stay.contains(&hash(labels)) {
                    each(labels);
                }
            });
        }
    }
}
