//! Gauges that are created and removed together: those of a message, and application metrics from one answer.
//! A value takes eight bytes; groups of the same shape share the description of their values.

use std::{
    cmp::Reverse,
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use delivery_clock::Moment;
use jiff::Timestamp;

use super::{chunks::Own, values::Number};
use crate::{
    catalog::{
        self, FamilyId, Label,
        label::{MESSAGE_TYPE, PLATFORM, VENDOR_CHANNEL},
    },
    model::{Counts, Measure, Snapshot},
};

/// The description of a group's values, in order.
pub(super) struct Shape {
    entries: Box<[Entry]>,
    /// Each family with the range of its values.
    families: Box<[(FamilyId, Range<usize>)]>,
    /// The number of values in breakdowns, which the configuration can hide.
    breakdown: usize,
}

/// The description of one value.
#[derive(Clone, PartialEq)]
pub(super) struct Entry {
    family: FamilyId,
    /// Whether the value is a double instead of a count.
    float: bool,
    /// The values of the labels that the group does not share.
    pub(super) labels: Own,
}

impl Shape {
    /// The families, each with the number of its values.
    pub(super) fn families(&self) -> impl Iterator<Item = (FamilyId, usize)> + '_ {
        self.families
            .iter()
            .map(|(family, places)| (*family, places.len()))
    }

    fn places(&self, family: FamilyId) -> Range<usize> {
        let found = self.families.binary_search_by_key(&family, |(own, _)| *own);
        found.map_or(0..0, |index| self.families[index].1.clone())
    }

    /// The number of series, with or without the breakdown.
    pub(super) fn len(&self, breakdown: bool) -> usize {
        self.entries.len() - if breakdown { 0 } else { self.breakdown }
    }
}

/// The sort key of a message: newest first.
pub(super) type OrderKey = Reverse<(Timestamp, Arc<str>)>;

/// Gauges that belong together.
pub(super) struct Group {
    /// The label `application`.
    pub(super) application: Arc<str>,
    /// The message's id; for application metrics, a name that determines their order.
    pub(super) id: Arc<str>,
    /// The label `message_id`: the id, unless that is too long for a label.
    pub(super) label: Arc<str>,
    /// The message's campaign.
    pub(super) campaign: Arc<str>,
    /// Whether it has the message's labels; application metrics share only those of the application.
    pub(super) of_message: bool,
    /// Orders messages by age.
    pub(super) since: Timestamp,
    /// The number of sends over all channels.
    pub(super) sent: u64,
    pub(super) shape: Arc<Shape>,
    values: Box<[u64]>,
    /// Families, each with the number of series whose label values were merged into `other`.
    pub(super) lost: Box<[(FamilyId, u64)]>,
    /// The approximate length of the text of its largest family.
    pub(super) weight: usize,
    /// When the group becomes stale, in nanoseconds of the monotonic clock.
    stale_at: AtomicI64,
}

impl Group {
    /// When the group becomes stale and is no longer exposed, in nanoseconds.
    pub(super) fn stale_at(&self) -> i64 {
        self.stale_at.load(Ordering::Relaxed)
    }

    /// Postpones the time at which it becomes stale.
    pub(super) fn renew(&self, stale_at: Moment) {
        self.stale_at
            .store(nanoseconds(stale_at), Ordering::Relaxed);
    }

    /// Its sort key: newest first.
    pub(super) fn order(&self) -> OrderKey {
        Reverse((self.since, self.id.clone()))
    }

    /// The values of a family, with their descriptions.
    pub(super) fn values(&self, family: FamilyId) -> impl Iterator<Item = (&Entry, Number)> {
        let places = self.shape.places(family);
        let entries = &self.shape.entries[places.clone()];
        entries
            .iter()
            .zip(&self.values[places])
            .map(|(entry, bits)| {
                let number = if entry.float {
                    Number::Float(f64::from_bits(*bits))
                } else {
                    Number::Count(*bits)
                };
                (entry, number)
            })
    }

    /// Whether a family has equal values in another state of the same group.
    pub(super) fn same(&self, other: &Group, family: FamilyId) -> bool {
        let (own, others) = (self.shape.places(family), other.shape.places(family));
        self.values[own.clone()] == other.values[others.clone()]
            && (Arc::ptr_eq(&self.shape, &other.shape)
                || self.shape.entries[own] == other.shape.entries[others])
            && self.id == other.id
            && self.campaign == other.campaign
            && self.application == other.application
    }

    /// The same group after its application was renamed.
    pub(super) fn renamed(&self, application: &Arc<str>) -> Group {
        Group {
            application: application.clone(),
            id: self.id.clone(),
            label: self.label.clone(),
            campaign: self.campaign.clone(),
            of_message: self.of_message,
            since: self.since,
            sent: self.sent,
            shape: self.shape.clone(),
            values: self.values.clone(),
            lost: self.lost.clone(),
            weight: self.weight,
            stale_at: AtomicI64::new(self.stale_at()),
        }
    }
}

/// A moment in nanoseconds, as groups store it.
pub(super) fn nanoseconds(at: Moment) -> i64 {
    i64::try_from(at.since_start().as_nanos()).unwrap_or(i64::MAX)
}

/// Builds a group.
#[derive(Default)]
pub(super) struct GroupBuilder {
    found: Vec<(Entry, u64)>,
    lost: Vec<(FamilyId, u64)>,
    /// Values without a family.
    unplaced: Vec<FamilyId>,
}

impl GroupBuilder {
    /// Clears the builder, and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.found.clear();
        self.lost.clear();
        self.unplaced.clear();
    }

    /// Adds a value.
    pub(super) fn add(&mut self, family: FamilyId, labels: Own, number: Number) {
        let (float, bits) = match number {
            Number::Count(count) => (false, count),
            other => (true, other.as_f64().to_bits()),
        };
        let entry = Entry {
            family,
            float,
            labels,
        };
        self.found.push((entry, bits));
    }

    /// Adds a count. If its family has no series, it is recorded as dropped, unless it is 0. Returns the
    /// family if it has series.
    fn add_count(&mut self, family: FamilyId, labels: Own, count: u64) -> Option<FamilyId> {
        if family.is_exposed {
            self.add(family, labels, Number::Count(count));
            return Some(family);
        }
        if count > 0 {
            self.unplaced.push(family);
        }
        None
    }

    /// The values without a family.
    pub(super) fn unplaced(&self) -> &[FamilyId] {
        &self.unplaced
    }

    /// Records that a series of this family lost a name.
    pub(super) fn lose(&mut self, family: FamilyId) {
        match self.lost.iter_mut().find(|(own, _)| *own == family) {
            Some((_, count)) => *count += 1,
            None => self.lost.push((family, 1)),
        }
    }

    /// Sorts the values. If labels coincide (both became `other`), counts are added up, and of doubles the
    /// last one is kept.
    fn settle(&mut self) {
        let key = |entry: &Entry| (entry.family, entry.labels.clone());
        let ordered = |pair: &[(Entry, u64)]| {
            let (left, right) = (&pair[0].0, &pair[1].0);
            (left.family, &left.labels) < (right.family, &right.labels)
        };
        if !self.found.windows(2).all(ordered) {
            self.found.sort_by_cached_key(|(entry, _)| key(entry));
            self.found.dedup_by(|next, kept| {
                let same = next.0.family == kept.0.family && next.0.labels == kept.0.labels;
                if same {
                    match (kept.0.float, next.0.float) {
                        (false, false) => kept.1 = kept.1.saturating_add(next.1),
                        _ => *kept = next.clone(),
                    }
                }
                same
            });
        }
    }

    /// Whether a group is equal to what was added.
    fn is(&self, group: &Group) -> bool {
        self.found.len() == group.values.len()
            && self.lost == *group.lost
            && self
                .found
                .iter()
                .zip(group.shape.entries.iter().zip(&group.values))
                .all(|((entry, bits), (own, value))| bits == value && entry == own)
    }
}

/// What identifies a group, independent of its values.
pub(super) struct Head {
    pub(super) application: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) label: Arc<str>,
    pub(super) campaign: Arc<str>,
    pub(super) since: Timestamp,
    pub(super) sent: u64,
    pub(super) of_message: bool,
    /// The length of the labels that all series of the account share.
    pub(super) common: usize,
}

/// The label values and shapes that groups share.
#[derive(Default)]
pub(super) struct Shapes {
    hasher: RandomState,
    tuples: HashMap<u64, Vec<Own>>,
    shapes: HashMap<u64, Vec<Arc<Shape>>>,
    kept: usize,
    sweep_at: usize,
}

impl Shapes {
    /// The shared copy of label values.
    pub(super) fn tuple(&mut self, values: &[&str]) -> Own {
        let mut hasher = self.hasher.build_hasher();
        for value in values {
            hasher.write(value.as_bytes());
            hasher.write_u8(0xff);
        }
        let alike = self.tuples.entry(hasher.finish()).or_default();
        let same = |own: &&Own| {
            own.len() == values.len() && own.iter().zip(values).all(|(a, b)| a.as_ref() == *b)
        };
        if let Some(found) = alike.iter().find(same) {
            return found.clone();
        }
        let new: Own = values.iter().map(|value| Arc::from(*value)).collect();
        alike.push(new.clone());
        self.kept += 1;
        new
    }

    fn shape(&mut self, builder: &GroupBuilder) -> Arc<Shape> {
        let mut hasher = self.hasher.build_hasher();
        for (entry, _) in &builder.found {
            hasher.write_usize(entry.family.index());
            hasher.write_u8(entry.float.into());
            // Equal label values share one tuple.
            hasher.write_usize(Arc::as_ptr(&entry.labels).cast::<()>() as usize);
        }
        let alike = self.shapes.entry(hasher.finish()).or_default();
        let same = |shape: &&Arc<Shape>| {
            shape.entries.len() == builder.found.len()
                && shape
                    .entries
                    .iter()
                    .zip(&builder.found)
                    .all(|(own, (entry, _))| own == entry)
        };
        if let Some(found) = alike.iter().find(same) {
            return found.clone();
        }
        let entries: Box<[Entry]> = builder
            .found
            .iter()
            .map(|(entry, _)| entry.clone())
            .collect();
        let mut families = Vec::new();
        let mut from = 0;
        for part in entries.chunk_by(|left, right| left.family == right.family) {
            families.push((part[0].family, from..from + part.len()));
            from += part.len();
        }
        let breakdown = entries
            .iter()
            .filter(|entry| entry.family.is_message_breakdown)
            .count();
        let new = Arc::new(Shape {
            entries,
            families: families.into(),
            breakdown,
        });
        alike.push(new.clone());
        self.kept += 1;
        new
    }

    /// A group of what was added to the builder; `None` if it equals `before`, which is renewed instead.
    pub(super) fn group(
        &mut self,
        head: Head,
        builder: &mut GroupBuilder,
        stale_at: Moment,
        before: Option<&Group>,
    ) -> Option<Group> {
        builder.settle();
        let same_head = |before: &&Group| {
            before.id == head.id
                && before.since == head.since
                && before.sent == head.sent
                && before.campaign == head.campaign
                && before.application == head.application
        };
        let same = before.filter(same_head).filter(|before| builder.is(before));
        if let Some(before) = same {
            before.renew(stale_at);
            return None;
        }
        let shape = self.shape(builder);
        let common = head.common + head.application.len() + head.label.len() + head.campaign.len();
        let weight = shape.families.iter().map(|(family, places)| {
            let names: usize = family
                .family()
                .labels
                .iter()
                .map(|label| label.name.len() + 4)
                .sum();
            let line = common + family.family().name.len() + names + 12;
            let own = &shape.entries[places.clone()];
            let labels = own.iter().flat_map(|entry| entry.labels.iter());
            line * own.len() + labels.map(|value| value.len()).sum::<usize>()
        });
        let weight = weight.max().unwrap_or(0);
        let values = builder.found.iter().map(|(_, bits)| *bits).collect();
        Some(Group {
            application: head.application,
            id: head.id,
            label: head.label,
            campaign: head.campaign,
            of_message: head.of_message,
            since: head.since,
            sent: head.sent,
            shape,
            values,
            lost: builder.lost.as_slice().into(),
            weight,
            stale_at: AtomicI64::new(nanoseconds(stale_at)),
        })
    }

    /// Periodically drops what no group uses any more.
    pub(super) fn sweep(&mut self) {
        if self.kept < self.sweep_at {
            return;
        }
        // Shapes refer to tuples, so they are dropped first.
        self.shapes.retain(|_, alike| {
            alike.retain(|shape| Arc::strong_count(shape) > 1);
            !alike.is_empty()
        });
        self.tuples.retain(|_, alike| {
            alike.retain(|own| Arc::strong_count(own) > 1);
            !alike.is_empty()
        });
        let shapes: usize = self.shapes.values().map(Vec::len).sum();
        self.kept = shapes + self.tuples.values().map(Vec::len).sum::<usize>();
        self.sweep_at = 2 * self.kept + 1000;
    }
}

/// The number of sends over all channels.
pub(super) fn sent(snapshot: &Snapshot) -> u64 {
    let counts = snapshot.totals.iter();
    counts
        .filter_map(|totals| get(&totals.counts, Measure::Sent))
        .sum()
}

fn get(counts: &Counts, measure: Measure) -> Option<u64> {
    counts
        .iter()
        .find(|(own, _)| *own == measure)
        .map(|(_, count)| *count)
}

/// Returns the label value for a text, and whether a limit replaced it.
pub(super) type Name<'a> = &'a dyn Fn(&Label, &Arc<str>) -> (Arc<str>, bool);

/// Adds the series of a message.
pub(super) fn add(
    builder: &mut GroupBuilder,
    shapes: &mut Shapes,
    snapshot: &Snapshot,
    name: Name<'_>,
    campaign_lost: bool,
) {
    for totals in &snapshot.totals {
        let channel = shapes.tuple(&[totals.channel]);
        for (measure, count) in &totals.counts {
            let labels = match measure.detail() {
                Some(detail) => shapes.tuple(&[totals.channel, detail]),
                None => channel.clone(),
            };
            let family = builder.add_count(catalog::MESSAGE.of(*measure), labels, *count);
            if let Some(family) = family.filter(|_| campaign_lost) {
                builder.lose(family);
            }
        }
        let sent = get(&totals.counts, Measure::Sent).filter(|sent| *sent > 0);
        let delivered = get(&totals.counts, Measure::Delivered);
        let ratio = sent.zip(delivered).map(|(sent, delivered)| {
            Number::Count(delivered).as_f64() / Number::Count(sent).as_f64()
        });
        for (family, ratio) in [
            (catalog::MESSAGE_DELIVERY_RATIO, ratio),
            (catalog::MESSAGE_REPORTED_RATIO, totals.reported_ratio),
        ] {
            if let Some(ratio) = ratio {
                builder.add(family, channel.clone(), Number::Float(ratio));
                if campaign_lost {
                    builder.lose(family);
                }
            }
        }
    }
    for row in &snapshot.breakdown {
        let named = [
            name(&MESSAGE_TYPE, &row.message_type),
            name(&PLATFORM, &row.platform),
            name(&VENDOR_CHANNEL, &row.vendor_channel),
        ];
        let labels = shapes.tuple(&named.each_ref().map(|(value, _)| value.as_ref()));
        let lost = campaign_lost || named.iter().any(|(_, lost)| *lost);
        for (measure, count) in &row.counts {
            // Errors of all reasons are added up, because their labels coincide.
            let key = catalog::MESSAGE_BY_CHANNEL.of(*measure);
            let family = builder.add_count(key, labels.clone(), *count);
            if let Some(family) = family.filter(|_| lost) {
                builder.lose(family);
            }
        }
    }
    for totals in &snapshot.types {
        let (kind, lost) = name(&MESSAGE_TYPE, &totals.message_type);
        let labels = shapes.tuple(&[kind.as_ref()]);
        for (measure, count) in &totals.counts {
            let key = catalog::MESSAGE_BY_TYPE.of(*measure);
            let family = builder.add_count(key, labels.clone(), *count);
            if let Some(family) = family.filter(|_| lost || campaign_lost) {
                builder.lose(family);
            }
        }
    }
}
