//! How an account's series are divided into segments. Messages are grouped into blocks by age, with small
//! blocks for the newest, whose counts change most often. So the cost of a change depends on its own size,
//! not on the number of unchanged series.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use jiff::Timestamp;

use super::{
    chunks::Chunk,
    groups::{Group, OrderKey},
    segments::{Block, FormSet, MAX_SEGMENTS_WITH_TEXT, Rows, Segment},
    values::{Identity, Number, Value},
    view::{Prepare, View},
};
use crate::catalog::{self, FamilyId};

/// The minimum size of a block that is divided further, measured by the text of its largest family in bytes.
const LEAST: usize = 8 << 10;
/// Blocks are divided at twice this size, so that a segment has at most 64 KiB of text.
const MOST: usize = 30 << 10;
/// The divisor that limits the size of a block relative to the size of all newer blocks.
const SHARE: usize = 4;

/// The input for a view.
pub(super) struct ViewInput {
    pub(super) identity: Arc<Identity>,
    /// Whether breakdowns of messages are exposed.
    pub(super) shows_breakdown: bool,
    /// Messages, newest first.
    pub(super) messages: Vec<Arc<Group>>,
    /// Other gauges that are removed together.
    pub(super) figures: Vec<Arc<Group>>,
    /// Everything else.
    pub(super) chunks: Vec<(FamilyId, Arc<Chunk>)>,
}

impl ViewInput {
    /// An empty input.
    pub(super) fn none(identity: Arc<Identity>) -> ViewInput {
        ViewInput {
            identity,
            shows_breakdown: true,
            messages: Vec::new(),
            figures: Vec::new(),
            chunks: Vec::new(),
        }
    }
}

/// The segments of the last view, by their source.
pub(super) struct Layout {
    identity: Arc<Identity>,
    shows_breakdown: bool,
    wanted: FormSet,
    messages: Blocks,
    figures: Blocks,
    /// By the chunk's address, which stays valid because the segment holds the chunk.
    chunks: HashMap<usize, Arc<Segment>>,
    not_held: Arc<Segment>,
}

/// Blocks, newest first.
#[derive(Default)]
struct Blocks(Vec<BlockEntry>);

struct BlockEntry {
    block: Arc<Block>,
    /// In the order of the families.
    segments: Vec<Arc<Segment>>,
    /// The lower edge: older messages belong to the next block.
    edge: OrderKey,
    weight: usize,
}

/// A block that is being laid out.
struct BlockRange {
    groups: Vec<Arc<Group>>,
    weight: usize,
    /// The block of the last view with the same range, if there is one.
    before: Option<usize>,
}

fn is_newer(group: &Group, edge: &OrderKey) -> bool {
    let Reverse((since, id)) = edge;
    (group.since, &group.id) >= (*since, id)
}

fn weight(groups: &[Arc<Group>]) -> usize {
    groups.iter().map(|group| group.weight).sum()
}

/// The maximum size of a block after this amount of newer text.
fn allowed(ahead: usize) -> usize {
    (ahead / SHARE).clamp(LEAST, MOST)
}

/// Whether two blocks contain the same groups in the same states.
fn alike(left: &[Arc<Group>], right: &[Arc<Group>]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(a, b)| Arc::ptr_eq(a, b))
}

impl Blocks {
    fn arrange(&mut self, groups: Vec<Arc<Group>>, shared: &Shared<'_>) {
        let cuts = self.cut(groups);
        let mut before: Vec<Option<BlockEntry>> =
            std::mem::take(&mut self.0).into_iter().map(Some).collect();
        let place = |cut: BlockRange| {
            let old = cut.before.and_then(|index| before[index].take());
            BlockEntry::new(cut, old, shared)
        };
        self.0 = cuts.into_iter().map(place).collect();
    }

    /// Divides groups at the edges of the last blocks, then divides blocks that have become large and joins
    /// small ones. A block may grow to twice the allowed size before it is divided, so that edges are stable.
    fn cut(&self, groups: Vec<Arc<Group>>) -> Vec<BlockRange> {
        let mut groups = groups.into_iter().peekable();
        let mut ranges: Vec<BlockRange> = Vec::with_capacity(self.0.len() + 1);
        for (index, placed) in self.0.iter().enumerate() {
            let is_last = index + 1 == self.0.len();
            let mut own = Vec::with_capacity(placed.block.groups.len());
            while let Some(group) = groups.next_if(|group| is_last || is_newer(group, &placed.edge))
            {
                own.push(group);
            }
            ranges.push(BlockRange {
                weight: weight(&own),
                groups: own,
                before: Some(index),
            });
        }
        let rest: Vec<_> = groups.collect();
        ranges.push(BlockRange {
            weight: weight(&rest),
            groups: rest,
            before: None,
        });
        let mut cuts: Vec<BlockRange> = Vec::with_capacity(ranges.len());
        // The text of the newer blocks, except for the last one.
        let mut ahead = 0;
        let mut push = |cut: BlockRange, ahead: &mut usize| {
            if let Some(last) = cuts.last_mut() {
                if last.weight + cut.weight <= allowed(*ahead) {
                    last.groups.extend(cut.groups);
                    last.weight += cut.weight;
                    last.before = None;
                    return;
                }
                *ahead += last.weight;
            }
            cuts.push(cut);
        };
        for range in ranges.into_iter().filter(|range| !range.groups.is_empty()) {
            if range.weight <= 2 * allowed(ahead) || range.groups.len() == 1 {
                push(range, &mut ahead);
                continue;
            }
            let mut part = Vec::new();
            let mut size = 0;
            let mut passed = ahead;
            for group in range.groups {
                if size + group.weight > allowed(passed) && !part.is_empty() {
                    passed += size;
                    let groups = std::mem::take(&mut part);
                    let weight = std::mem::take(&mut size);
                    push(
                        BlockRange {
                            groups,
                            weight,
                            before: None,
                        },
                        &mut ahead,
                    );
                }
                size += group.weight;
                part.push(group);
            }
            let cut = BlockRange {
                groups: part,
                weight: size,
                before: None,
            };
            push(cut, &mut ahead);
        }
        cuts
    }
}

/// What all segments of a view share.
struct Shared<'a> {
    identity: &'a Arc<Identity>,
    shows_breakdown: bool,
    wanted: FormSet,
}

impl BlockEntry {
    fn new(cut: BlockRange, before: Option<BlockEntry>, shared: &Shared<'_>) -> BlockEntry {
        if let Some(before) = before
            .as_ref()
            .filter(|before| alike(&before.block.groups, &cut.groups))
        {
            before.block.look();
            return BlockEntry {
                block: before.block.clone(),
                segments: before.segments.clone(),
                edge: before.edge.clone(),
                weight: before.weight,
            };
        }
        let edge = match (&before, cut.groups.last()) {
            (Some(before), _) => before.edge.clone(),
            (None, Some(oldest)) => oldest.order(),
            (None, None) => Reverse((Timestamp::MIN, Arc::from(""))),
        };
        let mut own: Vec<FamilyId> = Vec::new();
        let mut shape = std::ptr::null();
        for group in &cut.groups {
            // Messages of one application mostly have the same shape.
            if std::mem::replace(&mut shape, Arc::as_ptr(&group.shape)) != shape {
                own.extend(group.shape.families().map(|(family, _)| family));
                own.sort_unstable();
                own.dedup();
            }
        }
        own.retain(|family| shared.shows_breakdown || !family.is_message_breakdown);
        let block = Arc::new(Block::new(cut.groups.into()));
        let segments = own.into_iter().map(|family| {
            let rows = Rows::Block(block.clone());
            let segment = Segment::new(family, Some(shared.identity.clone()), rows);
            let old = before.as_ref().filter(|before| {
                let (old, new) = (&before.block.groups, &block.groups);
                old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.same(b, family))
            });
            let old = old.and_then(|before| {
                let found = before
                    .segments
                    .binary_search_by_key(&family, |old| old.family());
                found.ok().map(|index| &before.segments[index])
            });
            Arc::new(match old {
                Some(old) => segment.keep(old, shared.wanted),
                None => segment,
            })
        });
        BlockEntry {
            segments: segments.collect(),
            block: block.clone(),
            edge,
            weight: cut.weight,
        }
    }
}

impl Layout {
    pub(super) fn new(identity: Arc<Identity>) -> Layout {
        Layout {
            not_held: not_held(&identity),
            identity,
            shows_breakdown: true,
            wanted: 0,
            messages: Blocks::default(),
            figures: Blocks::default(),
            chunks: HashMap::new(),
        }
    }

    /// Builds a view, which reuses the segments of the last view where nothing has changed.
    pub(super) fn view(
        &mut self,
        view_input: ViewInput,
        prepare: &dyn Prepare,
        last: Option<&View>,
    ) -> View {
        let ViewInput {
            identity,
            shows_breakdown,
            messages,
            figures,
            chunks,
        } = view_input;
        if *identity != *self.identity || shows_breakdown != self.shows_breakdown {
            *self = Layout::new(identity);
            self.shows_breakdown = shows_breakdown;
        }
        let wanted = prepare.wanted();
        let identity = self.identity.clone();
        let shared = Shared {
            identity: &identity,
            shows_breakdown,
            wanted,
        };
        if std::mem::replace(&mut self.wanted, wanted) & !wanted != 0 {
            // Drops encoded forms that nobody reads any more.
            let blocks = self.messages.0.iter_mut().chain(&mut self.figures.0);
            let of_blocks = blocks.flat_map(|placed| &mut placed.segments);
            for segment in of_blocks.chain(self.chunks.values_mut()) {
                *segment = segment.only(wanted);
            }
        }
        self.messages.arrange(messages, &shared);
        self.figures.arrange(figures, &shared);
        let mut before = std::mem::take(&mut self.chunks);
        let mut segments: Vec<Vec<Arc<Segment>>> = vec![Vec::new(); FamilyId::COUNT];
        let texts = prepare.texts();
        for placed in self.messages.0.iter_mut().chain(&mut self.figures.0) {
            for segment in &mut placed.segments {
                let of_family = &mut segments[segment.family().index()];
                let without = (of_family.len() >= MAX_SEGMENTS_WITH_TEXT)
                    .then(|| segment.without_text(texts, wanted));
                if let Some(without) = without.flatten() {
                    *segment = without;
                }
                of_family.push(segment.clone());
            }
        }
        for (family, chunk) in chunks {
            let address = Arc::as_ptr(&chunk).cast::<()>() as usize;
            let segment = before.remove(&address).unwrap_or_else(|| {
                Arc::new(Segment::new(
                    family,
                    Some(identity.clone()),
                    Rows::Chunk(chunk),
                ))
            });
            segments[family.index()].push(segment.clone());
            self.chunks.insert(address, segment);
        }
        let segments: Box<[_]> = segments.into_iter().flatten().collect();
        let blocks = self.messages.0.iter().chain(&self.figures.0);
        let blocks = blocks.map(|placed| placed.block.clone()).collect();
        let view = View::new(segments, blocks, self.not_held.clone(), last);
        prepare.prepare(&view);
        view
    }
}

/// The segment that is exposed for an account that another replica holds.
fn not_held(identity: &Arc<Identity>) -> Arc<Segment> {
    let not = (Arc::from([]), Value::Gauge(Number::Count(0)));
    let rows = Rows::Chunk(Arc::new(vec![not]));
    Arc::new(Segment::new(
        catalog::LEASE_HELD,
        Some(identity.clone()),
        rows,
    ))
}

#[cfg(test)]
mod tests;
