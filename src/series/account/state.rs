//! What has been recorded for an account, and what to expose of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use delivery_clock::Clock;
use jiff::Timestamp;

use super::settings::Settings;
use crate::{
    catalog::{self, FamilyId},
    config::PerMessage,
    ledger::{Amount, CounterKey},
    model::Dataset,
    series::{
        bounds::Bounds,
        chunks::{Chunks, Own},
        groups::{Group, GroupBuilder, OrderKey, Shapes, nanoseconds},
        layout::ViewInput,
        values::{Number, Value, born},
    },
};

pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) messages: Groups,
    /// The messages of [`State::messages`], newest first.
    pub(super) newest: BTreeMap<(OrderKey, Dataset, Arc<str>), Arc<Group>>,
    /// Application metrics by data set, application id and message id (empty for those of the application).
    pub(super) figures: Groups,
    pub(super) builder: GroupBuilder,
    pub(super) shapes: Shapes,
    /// The exporter's own series.
    pub(super) self_metrics: Chunks,
    /// What the ledger has released.
    pub(super) counters: Chunks,
    /// Counters that are added up to one series, because breakdowns have no label for the reason of an error.
    pub(super) parts: HashMap<(FamilyId, Own), BTreeMap<CounterKey, (Amount, Timestamp)>>,
    /// Families with counters whose label values were merged into `other`, until the pass ends.
    pub(super) overflowed: BTreeSet<FamilyId>,
    pub(super) bounds: Bounds,
    /// Whether a pass has ended since the last view, so that series dropped by limits are counted now.
    pub(super) count_drops: bool,
}

/// Groups by data set and application id, and then by message id.
#[derive(Default)]
pub(super) struct Groups(pub(super) HashMap<(Dataset, Arc<str>), ById>);

pub(super) type ById = HashMap<Arc<str>, Arc<Group>>;

/// The value of a counter's series.
fn value(family: FamilyId, amount: &Amount, born_at: Timestamp) -> Value {
    match amount {
        Amount::Count(count) => Value::Counter(Number::Count(*count), born_at),
        Amount::Money(money) => Value::Counter(Number::Decimal(*money), born_at),
        Amount::Times(times) => {
            let Value::Histogram(mut histogram, _) = born(family.family(), born_at) else {
                return Value::Counter(Number::Count(times.count()), born_at);
            };
            for (own, count) in histogram.buckets.iter_mut().zip(&times.buckets) {
                *own = *count;
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "2^53 microseconds are 285 years"
            )]
            let sum = times.micros as f64 / 1e6;
            histogram.sum = sum;
            Value::Histogram(histogram, born_at)
        }
    }
}

impl State {
    /// Adds to a counter, and creates it with the first addition.
    pub(super) fn add(&mut self, family: FamilyId, own: Own, by: Number, now: Timestamp) {
        let born = || born(family.family(), now);
        self.self_metrics.change(family, own, born, |value| {
            if let Value::Counter(number, _) = value {
                *number = match (*number, by) {
                    (Number::Count(a), Number::Count(b)) => Number::Count(a.saturating_add(b)),
                    (Number::Decimal(a), Number::Decimal(b)) => {
                        Number::Decimal(a.saturating_add(b))
                    }
                    // The initial value of a money counter.
                    (Number::Count(0), by) => by,
                    (a, b) => Number::Float(a.as_f64() + b.as_f64()),
                };
            }
        });
    }

    /// Exposes the released value of a counter.
    pub(super) fn show_counter(
        &mut self,
        (family, own): (FamilyId, Own),
        key: &CounterKey,
        amount: &Amount,
        born_at: Timestamp,
    ) {
        if family.summed.is_some() {
            let parts = self.parts.entry((family, own.clone())).or_default();
            parts.insert(key.clone(), (amount.clone(), born_at));
            self.show_parts(family, own);
        } else {
            self.counters
                .insert(family, own, value(family, amount, born_at));
        }
    }

    /// Removes a counter that the ledger has dropped.
    pub(super) fn hide_counter(&mut self, (family, own): (FamilyId, Own), key: &CounterKey) {
        if let Some(parts) = self.parts.get_mut(&(family, own.clone())) {
            parts.remove(key);
            self.show_parts(family, own);
        } else {
            self.counters.remove(family, &own);
        }
    }

    /// Exposes the sum of the counters that form one series, which counts since the earliest of them.
    pub(super) fn show_parts(&mut self, family: FamilyId, own: Own) {
        let parts = self.parts.get(&(family, own.clone()));
        let mut parts = parts.into_iter().flat_map(BTreeMap::values).cloned();
        let first = parts.next();
        let sum = first.map(|first| {
            parts.fold(first, |(mut sum, born_at), (amount, other)| {
                sum.add(&amount);
                (sum, born_at.min(other))
            })
        });
        match sum {
            Some((sum, born_at)) => {
                self.counters
                    .insert(family, own, value(family, &sum, born_at));
            }
            None => {
                self.parts.remove(&(family, own.clone()));
                self.counters.remove(family, &own);
            }
        }
    }

    pub(super) fn clear_counters(&mut self) {
        self.counters = Chunks::default();
        self.parts.clear();
    }

    pub(super) fn observe(&mut self, family: FamilyId, own: Own, value: f64, now: Timestamp) {
        let born = || born(family.family(), now);
        self.self_metrics.change(family, own, born, |histogram| {
            if let Value::Histogram(histogram, _) = histogram {
                histogram.observe(value);
            }
        });
    }

    /// Replaces a message's group.
    pub(super) fn show_message(
        &mut self,
        dataset: Dataset,
        application: &Arc<str>,
        group: Arc<Group>,
    ) {
        let of = self.messages.of(dataset, application);
        if let Some(before) = of.insert(group.id.clone(), group.clone()) {
            self.newest
                .remove(&(before.order(), dataset, application.clone()));
        }
        let place = (group.order(), dataset, application.clone());
        self.newest.insert(place, group);
    }

    /// Removes all series of one message.
    pub(super) fn forget_message(&mut self, application: &Arc<str>, message: &str) {
        for ((dataset, of), own) in &mut self.messages.0 {
            if of == application
                && let Some(gone) = own.remove(message)
            {
                self.newest.remove(&(gone.order(), *dataset, of.clone()));
            }
        }
        for ((_, of), own) in &mut self.figures.0 {
            if of == application {
                own.remove(message);
            }
        }
    }

    /// Removes the messages and application metrics for which `gone` holds.
    pub(super) fn forget(&mut self, gone: impl Fn(&str, &Group) -> bool) {
        for groups in [&mut self.messages, &mut self.figures] {
            for ((_, application), own) in &mut groups.0 {
                own.retain(|_, group| !gone(application, group));
            }
        }
        self.newest
            .retain(|(_, _, application), group| !gone(application, group));
    }

    /// Applies renamed and removed applications.
    pub(super) fn rename(&mut self) {
        let names = self.settings.applications.clone();
        self.forget(|application, _| !names.contains_key(application));
        let mut renamed = Vec::new();
        for groups in [&mut self.messages, &mut self.figures] {
            for ((dataset, application), own) in &mut groups.0 {
                let Some(name) = names.get(application) else {
                    continue;
                };
                for group in own.values_mut().filter(|group| group.application != *name) {
                    *group = Arc::new(group.renamed(name));
                    renamed.push((*dataset, application.clone(), group.clone()));
                }
            }
        }
        for (dataset, application, group) in renamed {
            let place = (group.order(), dataset, application);
            // Application metrics are not in this map.
            if let Some(own) = self.newest.get_mut(&place) {
                *own = group;
            }
        }
    }

    /// Everything recorded, within the limits.
    pub(super) fn view_input(&mut self, clock: &Clock) -> ViewInput {
        let (now, since) = (clock.now(), nanoseconds(clock.monotonic()));
        if self.groups().any(|group| group.stale_at() <= since) {
            self.forget(|_, group| group.stale_at() <= since);
        }
        self.shapes.sweep();
        let mut dropped: BTreeMap<(FamilyId, &'static str), u64> = BTreeMap::new();
        let PerMessage {
            max_messages,
            min_sent,
            channels,
        } = self.settings.per_message;
        // Three series are reserved for reporting the limits themselves.
        let taken = self.self_metrics.len() + self.counters.len() + 3;
        let mut room = self.settings.max_series.saturating_sub(taken);
        let count_drops = std::mem::take(&mut self.count_drops);
        let mut full = false;
        let mut shown = Vec::new();
        let mut show = |group: &Arc<Group>, channels: bool| {
            let len = group.shape.len(channels);
            let mut families = |counts: &mut dyn Iterator<Item = (FamilyId, u64)>, reason| {
                for (family, count) in
                    counts.filter(|(own, _)| channels || !own.is_message_breakdown)
                {
                    *dropped.entry((family, reason)).or_default() += count;
                }
            };
            // The oldest are left out first: once one message does not fit, all older ones are left out too.
            full = full || len > room;
            if full {
                if count_drops {
                    let counts = group.shape.families();
                    families(&mut counts.map(|(own, n)| (own, n as u64)), "max_series");
                }
            } else {
                room -= len;
                shown.push(group.clone());
            }
            if count_drops {
                families(&mut group.lost.iter().copied(), "max_label_values");
            }
        };
        let mut figures: Vec<_> = self.figures.0.values().flat_map(HashMap::values).collect();
        figures.sort_by_cached_key(|group| group.order());
        figures.into_iter().for_each(|group| show(group, true));
        let messages = self.newest.values();
        messages
            .filter(|group| group.sent >= min_sent)
            .take(max_messages)
            .for_each(|group| show(group, channels));
        let messages = shown.split_off(shown.partition_point(|group| !group.of_message));
        if count_drops {
            for family in std::mem::take(&mut self.overflowed) {
                self.bounds.lost(family);
            }
            for (family, count) in self.bounds.take_dropped() {
                *dropped.entry((family, "max_label_values")).or_default() += count;
            }
            let dropped = dropped.into_iter();
            let dropped = dropped.map(|((family, reason), count)| (family.name, reason, count));
            let unplaced = self.bounds.take_unplaced().into_iter();
            let unplaced = unplaced.map(|(family, count)| (family.name, "no_family", count));
            for (family, reason, count) in dropped.chain(unplaced) {
                let own = [Arc::from(family), Arc::from(reason)].into();
                self.add(catalog::SERIES_DROPPED, own, Number::Count(count), now);
            }
        }
        let of_groups = |groups: &[Arc<Group>], channels: bool| {
            let lengths = groups.iter().map(|group| group.shape.len(channels));
            lengths.sum::<usize>()
        };
        // The series that counts series counts itself from the start.
        let own = Own::default();
        let first = || Value::Gauge(Number::Count(0));
        self.self_metrics.init(catalog::SERIES, own.clone(), first);
        let series = of_groups(&messages, channels) + of_groups(&shown, true);
        let series = series + self.self_metrics.len() + self.counters.len();
        let value = Value::Gauge(Number::Count(series as u64));
        self.self_metrics.insert(catalog::SERIES, own, value);
        let chunks = self.self_metrics.chunks().chain(self.counters.chunks());
        ViewInput {
            identity: self.settings.identity.clone(),
            shows_breakdown: channels,
            messages,
            figures: shown,
            chunks: chunks
                .map(|(family, chunk)| (family, chunk.clone()))
                .collect(),
        }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        let figures = self.figures.0.values().flat_map(HashMap::values);
        self.newest.values().chain(figures)
    }
}

impl Groups {
    pub(super) fn of(&mut self, dataset: Dataset, application: &Arc<str>) -> &mut ById {
        self.0.entry((dataset, application.clone())).or_default()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
