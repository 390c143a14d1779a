//! What is shown of an account, in pieces: runs of series of one family that are never changed, only
//! replaced, so that whatever was made of a piece stays true of it.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use delivery_clock::Moment;

use super::{
    chunks::Chunk,
    concat::{Concat, Node},
    groups::{Group, nanoseconds},
    values::{Identity, Labels, Value},
};
use crate::catalog::{self, FamilyId, Origin};

/// Where a family has many pieces, so many of the newest stand by themselves.
const NEWEST: usize = 8;

/// So many of an account's newest pieces of a family keep their text. That of older ones is written
/// anew for each reader of plain text: it is nine tenths of the memory of a large table, and writing it
/// into a buffer that is at hand takes no longer than fetching it from memory.
pub(super) const WITH_TEXT: usize = 4;

/// How many forms a piece can be kept in.
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

/// Bytes that an output made of a piece.
#[derive(Debug)]
pub struct EncodedSegment {
    /// The bytes.
    pub bytes: Bytes,
    /// What a reader of the whole has to know of the text that they stand for.
    pub sum: Checksum,
}

/// Groups of consecutive messages, newest first, with their families in pieces.
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

    fn is_stale(&self, now: Moment) -> bool {
        let now = nanoseconds(now);
        self.soonest.load(Ordering::Relaxed) <= now
            && self.groups.iter().any(|group| group.stale_at() <= now)
    }

    /// Looks when the first group becomes stale: they are renewed without the block knowing.
    pub(super) fn look(&self) {
        let soonest = self.groups.iter().map(|group| group.stale_at()).min();
        self.soonest
            .store(soonest.unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Where a piece's series are.
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
    /// Its text is not kept.
    is_light: bool,
    forms: [OnceLock<Arc<EncodedSegment>>; FORMS],
}

impl Segment {
    pub(super) fn new(family: FamilyId, identity: Option<Arc<Identity>>, rows: Rows) -> Segment {
        Segment {
            family,
            identity,
            rows,
            is_light: false,
            forms: Default::default(),
        }
    }

    /// The family of all its series.
    pub fn family(&self) -> FamilyId {
        self.family
    }

    /// Whether its text is not to be kept.
    pub fn is_light(&self) -> bool {
        self.is_light
    }

    /// The same series without their texts, which `texts` are the forms of; `None`: it is so already,
    /// or has too little of it.
    pub(super) fn lightened(&self, texts: FormSet, wanted: FormSet) -> Option<Arc<Segment>> {
        if self.is_light || !matches!(self.rows, Rows::Block(_)) {
            return None;
        }
        let mut light = self.bare();
        light.is_light = true;
        Some(Arc::new(light.keep(self, wanted & !texts)))
    }

    /// The same series, of which nothing was made.
    fn bare(&self) -> Segment {
        let rows = match &self.rows {
            Rows::Block(block) => Rows::Block(block.clone()),
            Rows::Chunk(chunk) => Rows::Chunk(chunk.clone()),
        };
        Segment {
            is_light: self.is_light,
            ..Segment::new(self.family, self.identity.clone(), rows)
        }
    }

    /// Two pieces with the same key have the same series, as long as both are there.
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

    /// Takes over those forms of a piece with the same series that are wanted.
    pub(super) fn keep(mut self, other: &Segment, wanted: FormSet) -> Segment {
        self.is_light |= other.is_light;
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

/// Tells a view from all others of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewNumber(u64);

impl ViewNumber {
    pub(crate) fn next() -> ViewNumber {
        static LAST: AtomicU64 = AtomicU64::new(0);
        ViewNumber(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// What is shown of an account: never changed, only replaced.
pub struct View {
    number: ViewNumber,
    /// In the order of the families.
    pieces: Box<[Arc<Segment>]>,
    /// Instead of its `delivery_exporter_lease_held` while another replica holds the account.
    not_held: Arc<Segment>,
    /// The blocks that pieces are in.
    blocks: Box<[Arc<Block>]>,
    /// No block is stale before then, in nanoseconds.
    soonest: AtomicI64,
    /// The one before it.
    replaces: Option<ViewNumber>,
    /// What each family comes to, by its place.
    families: Arc<[ByAge]>,
    /// The forms in which all of it was made: bit by bit.
    made: AtomicU8,
}

/// A family has its newest pieces, which change most, and the others.
pub const AGES: usize = 2;

/// The pieces of a family, by age.
pub type ByAge = [Arc<Concat>; AGES];

impl View {
    /// A view of pieces in the order of the families. Families whose pieces are those of the view
    /// before go on with what was made of them.
    pub(super) fn new(
        pieces: Box<[Arc<Segment>]>,
        blocks: Box<[Arc<Block>]>,
        not_held: Arc<Segment>,
        before: Option<&View>,
    ) -> View {
        let families = catalog::all().map(|family| {
            let before = before.map(|before| &before.families[family.index()]);
            let by_age = by_age(of_family(&pieces, family));
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
            pieces,
            blocks,
            soonest: AtomicI64::new(i64::MIN),
            not_held,
            made: AtomicU8::new(0),
        }
    }

    /// Which one it is.
    pub fn number(&self) -> ViewNumber {
        self.number
    }

    /// Which one it follows.
    pub fn replaces(&self) -> Option<ViewNumber> {
        self.replaces
    }

    /// All pieces, in the order of the families.
    pub fn pieces(&self) -> &[Arc<Segment>] {
        &self.pieces
    }

    /// The pieces of a family, which `held` tells to be this replica's.
    pub(super) fn family(&self, family: FamilyId, held: bool) -> &[Arc<Segment>] {
        // Everything else belongs to the replica that holds the account.
        if !held && family == catalog::LEASE_HELD {
            return std::slice::from_ref(&self.not_held);
        }
        if !held && family != catalog::WEBHOOK_REQUESTS {
            return &[];
        }
        of_family(&self.pieces, family)
    }

    /// What each family comes to, by its place.
    pub fn families(&self) -> &Arc<[ByAge]> {
        &self.families
    }

    /// Makes all of it in a form, unless that was done before.
    pub fn make(&self, form: usize, make: impl FnOnce(&View)) {
        if !self.is_made(form) {
            make(self);
            self.made.fetch_or(1 << form, Ordering::Release);
        }
    }

    /// Whether all of it was made in a form.
    pub fn is_made(&self, form: usize) -> bool {
        self.made.load(Ordering::Acquire) & (1 << form) != 0
    }

    /// Whether some of its series are not shown at `now`.
    pub(super) fn is_stale(&self, now: Moment) -> bool {
        if self.soonest.load(Ordering::Relaxed) > nanoseconds(now) {
            return false;
        }
        // Blocks are renewed without the view knowing, but only to be stale later.
        let soonest = self
            .blocks
            .iter()
            .map(|block| block.soonest.load(Ordering::Relaxed));
        self.soonest
            .store(soonest.min().unwrap_or(i64::MAX), Ordering::Relaxed);
        self.blocks.iter().any(|block| block.is_stale(now))
    }
}

/// Pieces of a family, the newest by themselves where there are many.
fn by_age(pieces: &[Arc<Segment>]) -> [&[Arc<Segment>]; AGES] {
    let many = pieces.len() > 2 * NEWEST;
    let (newest, others) = pieces.split_at(if many { NEWEST } else { 0 });
    [newest, others]
}

/// The pieces of a family, of pieces in the order of the families.
pub(super) fn of_family(pieces: &[Arc<Segment>], family: FamilyId) -> &[Arc<Segment>] {
    let from = pieces.partition_point(|piece| piece.family < family);
    let len = pieces[from..].partition_point(|piece| piece.family == family);
    &pieces[from..from + len]
}

/// Which series there were at a moment, without what was made of them.
#[derive(Default)]
pub struct Remembered {
    /// In the order of the families.
    pieces: Vec<Arc<Segment>>,
    at: Moment,
}

impl Remembered {
    /// The series that are shown at `at`.
    pub(super) fn new<'a>(
        pieces: impl Iterator<Item = &'a Arc<Segment>>,
        at: Moment,
    ) -> Remembered {
        Remembered {
            pieces: pieces.map(|piece| piece.only(0)).collect(),
            at,
        }
    }

    /// Walks the series of a family that are not among `pieces` at `now`.
    pub fn visit_left(
        &self,
        family: FamilyId,
        pieces: &[&Arc<Segment>],
        now: Moment,
        each: &mut dyn FnMut(Labels<'_>),
    ) {
        let before = of_family(&self.pieces, family);
        let there: HashSet<_> = pieces.iter().map(|piece| piece.key()).collect();
        let changed = |piece: &Arc<Segment>, others: &HashSet<_>| {
            !others.contains(&piece.key()) || piece.is_stale(now)
        };
        let old: Vec<_> = before
            .iter()
            .filter(|piece| changed(piece, &there))
            .collect();
        if old.is_empty() {
            return;
        }
        let were: HashSet<_> = before.iter().map(|piece| piece.key()).collect();
        let hasher = RandomState::new();
        let hash = |labels: Labels<'_>| {
            let pairs = labels.pairs();
            pairs.fold(0, |hash: u64, pair| hasher.hash_one((hash, pair)))
        };
        let mut stay = HashSet::new();
        for piece in pieces.iter().filter(|piece| changed(piece, &were)) {
            piece.visit(Some(now), &mut |labels, _| {
                stay.insert(hash(labels));
            });
        }
        for piece in old {
            piece.visit(Some(self.at), &mut |labels, _| {
                if !stay.contains(&hash(labels)) {
                    each(labels);
                }
            });
        }
    }
}

/// Makes forms of pieces before they are shown.
pub trait Prepare: Send + Sync {
    /// The forms that somebody reads at present.
    fn wanted(&self) -> FormSet;
    /// Those forms that are plain text.
    fn texts(&self) -> FormSet;
    /// Makes those forms of a view that are wanted.
    fn prepare(&self, view: &View);
}

/// Nothing is made beforehand.
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
