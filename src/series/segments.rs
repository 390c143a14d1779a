//! The exposed series in segments: immutable runs of series of one family, so that the encoded forms of a
//! segment stay valid.

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

/// The number of an account's newest segments per family that keep their text. For most accounts these are all
/// segments, about 500 KiB per family. The text of older segments is rendered for each reader of plain text,
/// which takes three times as long as sending kept text; with a million series, keeping all texts would take
/// half of the memory.
pub(super) const MAX_SEGMENTS_WITH_TEXT: usize = 30;

/// The number of forms that a segment can be encoded in.
pub const FORMS: usize = 6;

/// A set of forms, one bit each.
pub type FormSet = u8;

/// The CRC-32 of a text, with its length, so that checksums of parts can be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// The CRC-32.
    pub crc: u32,
    /// The factor that appending this text applies to the checksum of the preceding text: x to the power of 8
    /// times the length.
    pub shift: u32,
    /// The length in bytes.
    pub length: u64,
}

/// A segment's series as encoded by an output.
#[derive(Debug)]
pub struct EncodedSegment {
    /// The bytes.
    pub bytes: Bytes,
    /// The checksum of the uncompressed text, for combining.
    pub sum: Checksum,
}

/// Groups of consecutive messages, newest first, whose families are segments.
pub(super) struct Block {
    pub(super) groups: Box<[Arc<Group>]>,
    /// The earliest time at which a group becomes stale, in nanoseconds of the monotonic clock.
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

    /// The earliest time at which a group becomes stale, in nanoseconds.
    pub(super) fn soonest(&self) -> i64 {
        self.soonest.load(Ordering::Relaxed)
    }

    /// Updates `soonest`, because groups are renewed without notifying the block.
    pub(super) fn look(&self) {
        let soonest = self.groups.iter().map(|group| group.stale_at()).min();
        self.soonest
            .store(soonest.unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// The source of a segment's series.
pub(super) enum Rows {
    /// A block, which has other segments too.
    Block(Arc<Block>),
    /// A chunk.
    Chunk(Arc<Chunk>),
}

/// A run of series of one family, of one account or of the process.
pub struct Segment {
    family: FamilyId,
    /// The account of the series; `None` for the process's own series.
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

    /// Whether its text is kept; otherwise it is rendered for each reader.
    pub fn keeps_text(&self) -> bool {
        self.keeps_text
    }

    /// The same series as a segment that does not keep its text, whose forms are `texts`; `None` if it
    /// already keeps none, or if it is not a segment of a block.
    pub(super) fn without_text(&self, texts: FormSet, wanted: FormSet) -> Option<Arc<Segment>> {
        if !self.keeps_text || !matches!(self.rows, Rows::Block(_)) {
            return None;
        }
        let mut bare = self.bare();
        bare.keeps_text = false;
        Some(Arc::new(bare.keep(self, wanted & !texts)))
    }

    /// The same series without any encoded form.
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

    /// Two segments with the same key have the same series, while both exist.
    pub fn key(&self) -> (FamilyId, usize) {
        let address = match &self.rows {
            Rows::Block(block) => Arc::as_ptr(block).cast::<()>(),
            Rows::Chunk(chunk) => Arc::as_ptr(chunk).cast::<()>(),
        };
        (self.family, address as usize)
    }

    /// The same series, with only the wanted forms.
    pub(super) fn only(&self, wanted: FormSet) -> Arc<Segment> {
        Arc::new(self.bare().keep(self, wanted))
    }

    /// A form of it, which `make` encodes at the first call. Concurrent callers wait.
    pub fn form(&self, form: usize, make: impl FnOnce() -> EncodedSegment) -> &Arc<EncodedSegment> {
        self.forms[form].get_or_init(|| Arc::new(make()))
    }

    /// A form of it, if it was encoded.
    pub fn kept(&self, form: usize) -> Option<&Arc<EncodedSegment>> {
        self.forms[form].get()
    }

    /// Takes over the wanted forms of a segment with the same series.
    pub(super) fn keep(mut self, other: &Segment, wanted: FormSet) -> Segment {
        self.keeps_text &= other.keeps_text;
        for (index, (own, form)) in self.forms.iter().zip(&other.forms).enumerate() {
            if let Some(form) = form.get().filter(|_| wanted & (1 << index) != 0) {
                // The segment is new, so the cell is empty.
                let _ = own.set(form.clone());
            }
        }
        self
    }

    /// Whether some of its series are stale at `now`.
    pub fn is_stale(&self, now: Moment) -> bool {
        match &self.rows {
            Rows::Block(block) => block.is_stale(now),
            Rows::Chunk(_) => false,
        }
    }

    /// Visits its series; with `now`, without those that are stale then.
    pub fn visit(&self, now: Option<Moment>, each: &mut dyn FnMut(Labels<'_>, &Value)) {
        let family = self.family.family();
        let identity = self.identity.as_deref();
        let mut own: Vec<&str> = Vec::with_capacity(family.labels.len());
        // The positions of the labels that a group's series do not share.
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

/// The segments of a family, from segments in the order of the families.
pub(super) fn of_family(segments: &[Arc<Segment>], family: FamilyId) -> &[Arc<Segment>] {
    let from = segments.partition_point(|segment| segment.family < family);
    let len = segments[from..].partition_point(|segment| segment.family == family);
    &segments[from..from + len]
}

/// The series that existed at one moment, without encoded forms.
#[derive(Default)]
pub struct Remembered {
    /// In the order of the families.
    segments: Vec<Arc<Segment>>,
    at: Moment,
}

impl Remembered {
    /// The series that are exposed at `at`.
    pub(super) fn new<'a>(
        segments: impl Iterator<Item = &'a Arc<Segment>>,
        at: Moment,
    ) -> Remembered {
        Remembered {
            segments: segments.map(|segment| segment.only(0)).collect(),
            at,
        }
    }

    /// Visits the series of a family that are no longer in `segments` at `now`.
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
