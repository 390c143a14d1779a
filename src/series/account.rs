//! The series of one account: what its collector records, and what is shown of it.

mod recorder;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

pub use settings::NamedCounter;
pub(super) use settings::{Settings, Unplaced};

use arc_swap::ArcSwap;
use delivery_clock::{Clock, Moment};
use jiff::Timestamp;

use super::{
    bounds::Bounds,
    chunks::{Chunks, Own},
    groups::{Group, GroupBuilder, OrderKey, Shapes, nanoseconds},
    layout::{Layout, ViewInput},
    segments::Segment,
    values::{Number, Value, born},
    view::{Prepare, View},
};
use crate::{
    catalog::{self, FamilyId, Label, Origin, Zeros, combinations},
    config::{Account, Config, Limits, PerMessage},
    ledger::{Amount, CounterKey, LabelLimiter, Lease, Missed, Windows},
    model::{Age, Dataset, Source},
};

/// The series of one account.
pub struct AccountSeries {
    clock: Clock,
    lease: Lease,
    provider: &'static str,
    name: Arc<str>,
    state: Mutex<State>,
    prepare: Arc<dyn Prepare>,
    /// Held by whoever publishes.
    layout: Mutex<Layout>,
    /// Something was recorded that is not published.
    unpublished: AtomicBool,
    view: ArcSwap<View>,
}

struct State {
    settings: Settings,
    messages: Groups,
    /// The messages of [`State::messages`], newest first.
    newest: BTreeMap<(OrderKey, Dataset, Arc<str>), Arc<Group>>,
    /// Figures by data set, application id and message id (empty: the application's).
    figures: Groups,
    builder: GroupBuilder,
    shapes: Shapes,
    /// The exporter's own series.
    self_metrics: Chunks,
    /// What the ledger has released.
    counters: Chunks,
    /// Counters that add up to one series, as a breakdown has no label for the reason of an error.
    parts: HashMap<(FamilyId, Own), BTreeMap<CounterKey, (Amount, Timestamp)>>,
    /// Families whose counters hold what has lost its name, until the pass ends.
    overflowed: BTreeSet<FamilyId>,
    bounds: Bounds,
    /// A pass has ended since the last view: what limits drop is counted now.
    count_drops: bool,
}

/// Groups by data set and application id, and then by message id.
#[derive(Default)]
struct Groups(HashMap<(Dataset, Arc<str>), ById>);

type ById = HashMap<Arc<str>, Arc<Group>>;

impl AccountSeries {
    /// The series of an account that has just been configured.
    pub(super) fn new(
        account: &Account,
        config: &Config,
        lease: Lease,
        clock: Clock,
        prepare: Arc<dyn Prepare>,
    ) -> AccountSeries {
        let limits = &config.limits;
        let settings = Settings::new(account, &config.label_names, limits);
        let identity = settings.identity.clone();
        let state = State {
            settings,
            messages: Groups::default(),
            newest: BTreeMap::new(),
            figures: Groups::default(),
            builder: GroupBuilder::default(),
            shapes: Shapes::default(),
            self_metrics: Chunks::default(),
            counters: Chunks::default(),
            parts: HashMap::new(),
            overflowed: BTreeSet::new(),
            bounds: Bounds::new(Arc::new(LabelLimiter::new(&limits.into()))),
            count_drops: false,
        };
        let mut layout = Layout::new(identity.clone());
        let view = layout.view(ViewInput::none(identity), prepare.as_ref(), None);
        let series = AccountSeries {
            clock,
            lease,
            provider: account.vendor.name,
            name: account.name.clone(),
            state: Mutex::new(state),
            prepare,
            layout: Mutex::new(layout),
            unpublished: AtomicBool::new(false),
            view: ArcSwap::from_pointee(view),
        };
        series.bear_zeros(account);
        series.publish();
        series
    }

    /// Takes a changed configuration of the same account; counters go on. Whether series have
    /// other labels now.
    pub(super) fn reconfigure(
        &self,
        account: &Account,
        label_names: &[Arc<str>],
        limits: &Limits,
    ) -> bool {
        let relabelled;
        {
            let mut state = self.lock();
            let settings = Settings::new(account, label_names, limits);
            relabelled = settings.identity != state.settings.identity
                || settings.applications != state.settings.applications;
            state.settings = settings;
            state.rename();
        }
        self.bear_zeros(account);
        self.publish();
        relabelled
    }

    /// The name and labels of a counter of the ledger; `None`: its application is not configured, or
    /// no family holds it. Counters of several reasons can have one name and the same labels.
    pub fn named(&self, key: &CounterKey) -> Option<NamedCounter> {
        let (family, own) = self.lock().settings.place(key).ok()?;
        let labels = family.own_labels().iter().map(|label| label.name);
        Some((family.name, labels.zip(own.iter().cloned()).collect()))
    }

    /// The label `account`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The label `provider`.
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every label value that is known beforehand is there with 0, so that the first increase is
    /// seen by `rate()`.
    fn bear_zeros(&self, account: &Account) {
        let now = self.clock.now();
        let mut state = self.lock();
        let mut zero = |family: FamilyId, own: Own| {
            let born = || born(&family, now);
            state.self_metrics.init(family, own, born);
        };
        let known = KnownValues::new(account);
        for family in catalog::families() {
            let wanted = match family.zeros {
                Zeros::None => false,
                Zeros::Always => true,
                Zeros::OfWebhook => account.webhook_token.is_some(),
                Zeros::OfAges => !known.ages.is_empty(),
            };
            if wanted {
                for own in combinations(family.family().own_labels(), |label| known.of(label)) {
                    zero(family, own.into());
                }
            }
        }
        if !known.ages.is_empty() {
            zero(
                catalog::COHORT_MISSED,
                texts(["", Missed::AgeUnknown.as_str()]).into(),
            );
        }
        if account.vendor.has_messages() {
            for reason in ["max_age", "max_messages", "id_too_long", "request"] {
                zero(catalog::REJECTED_MESSAGES, texts([reason]).into());
            }
        }
        let held = Value::Gauge(Number::Count(1));
        let family = catalog::LEASE_HELD;
        state.self_metrics.insert(family, Own::default(), held);
    }

    /// What is shown now; it stays as it is while it is read.
    pub(super) fn view(&self) -> AccountView {
        AccountView {
            shown: self.view.load_full(),
            held: self.lease.runs(),
        }
    }

    /// Makes everything until now visible, at once. Whoever comes while another publishes leaves it
    /// to that one, so that a later state is never followed by an earlier one.
    fn publish(&self) {
        self.unpublished.store(true, Ordering::Release);
        while self.unpublished.load(Ordering::Acquire) {
            let mut layout = match self.layout.try_lock() {
                Ok(layout) => layout,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            if self.unpublished.swap(false, Ordering::AcqRel) {
                let view_input = self.lock().view_input(&self.clock);
                let before = self.view.load();
                let view = layout.view(view_input, self.prepare.as_ref(), Some(&before));
                self.view.store(Arc::new(view));
            }
        }
    }

    /// A request to the account's webhook has ended.
    pub fn webhook(&self, outcome: WebhookOutcome) {
        self.count(catalog::WEBHOOK_REQUESTS, &[outcome.as_str()]);
        self.publish();
    }

    fn set(&self, family: FamilyId, own: &[&str], number: Number) {
        let own: Own = own.iter().map(|value| Arc::from(*value)).collect();
        self.lock()
            .self_metrics
            .insert(family, own, Value::Gauge(number));
    }

    fn count(&self, family: FamilyId, own: &[&str]) {
        let now = self.clock.now();
        let mut state = self.lock();
        let own = state.bounds.values(family, own);
        state.add(family, own, Number::Count(1), now);
    }
}

/// How a request to a webhook ended: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// Something in it was new.
    Counted,
    /// All of it was counted before.
    Duplicate,
    /// It tells something that is not counted.
    Unsupported,
    /// Some of it could not be read, and was set aside.
    Quarantined,
    /// Without the right token, too large, or not durable: the vendor tries again.
    Refused,
}

impl WebhookOutcome {
    #[cfg(test)]
    pub(super) const ALL: [WebhookOutcome; 5] = [
        WebhookOutcome::Counted,
        WebhookOutcome::Duplicate,
        WebhookOutcome::Unsupported,
        WebhookOutcome::Quarantined,
        WebhookOutcome::Refused,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            WebhookOutcome::Counted => "counted",
            WebhookOutcome::Duplicate => "duplicate",
            WebhookOutcome::Unsupported => "unsupported",
            WebhookOutcome::Quarantined => "quarantined",
            WebhookOutcome::Refused => "refused",
        }
    }
}

/// The values of labels that the configuration of an account says beforehand.
struct KnownValues<'a> {
    account: &'a Account,
    ages: Vec<Age>,
    /// Those that are in use; registrations have theirs from the first one on.
    sources: Vec<Source>,
}

impl KnownValues<'_> {
    fn new(account: &Account) -> KnownValues<'_> {
        let sources = [
            (Source::Static, !account.messages.fixed.is_empty()),
            (Source::File, !account.messages.files.is_empty()),
            (Source::Http, !account.messages.http.is_empty()),
            (Source::List, account.messages.list),
        ];
        let in_use = sources.into_iter().filter(|(_, in_use)| *in_use);
        let (ages, interval) = (&account.cohort_ages, account.snapshot_interval());
        let windows = Windows::new(ages, interval, account.daily);
        KnownValues {
            account,
            ages: windows.ages().to_vec(),
            sources: in_use.map(|(source, _)| source).collect(),
        }
    }

    fn of(&self, label: &Label) -> Vec<Arc<str>> {
        let account = self.account;
        match label.origin {
            Origin::Dataset => texts(account.collect.iter().map(|dataset| dataset.as_str())),
            Origin::Application => texts(account.applications.iter().map(|own| own.name.as_ref())),
            Origin::Source => texts(self.sources.iter().map(|source| source.as_str())),
            Origin::Age => self
                .ages
                .iter()
                .map(|age| Arc::from(age.to_string()))
                .collect(),
            Origin::Words(words) => texts(words.iter().copied()),
            _ => Vec::new(),
        }
    }
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Arc<str>> {
    texts.into_iter().map(Arc::from).collect()
}

/// A view of an account that is being read.
pub struct AccountView {
    shown: Arc<View>,
    /// The lease ran when the reading began.
    held: bool,
}

impl AccountView {
    /// The whole view, if the account is this replica's and nothing in it is stale at `now`.
    pub fn whole(&self, now: Moment) -> Option<&View> {
        (self.held && !self.shown.is_stale(now)).then_some(&*self.shown)
    }

    /// The segments of a family.
    pub fn segments(&self, family: FamilyId) -> &[Arc<Segment>] {
        self.shown.family(family, self.held)
    }
}

/// What a counter shows, as a series.
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
    /// Adds to a counter, which is born with the first addition.
    fn add(&mut self, family: FamilyId, own: Own, by: Number, now: Timestamp) {
        let born = || born(family.family(), now);
        self.self_metrics.change(family, own, born, |value| {
            if let Value::Counter(number, _) = value {
                *number = match (*number, by) {
                    (Number::Count(a), Number::Count(b)) => Number::Count(a.saturating_add(b)),
                    (Number::Decimal(a), Number::Decimal(b)) => {
                        Number::Decimal(a.saturating_add(b))
                    }
                    // The birth of a counter of money.
                    (Number::Count(0), by) => by,
                    (a, b) => Number::Float(a.as_f64() + b.as_f64()),
                };
            }
        });
    }

    /// Shows what the ledger has released of a counter.
    fn show_counter(
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

    /// The ledger has forgotten a counter.
    fn hide_counter(&mut self, (family, own): (FamilyId, Own), key: &CounterKey) {
        if let Some(parts) = self.parts.get_mut(&(family, own.clone())) {
            parts.remove(key);
            self.show_parts(family, own);
        } else {
            self.counters.remove(family, &own);
        }
    }

    /// Shows the sum of the counters that are one series; it counts since the first of them did.
    fn show_parts(&mut self, family: FamilyId, own: Own) {
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

    fn clear_counters(&mut self) {
        self.counters = Chunks::default();
        self.parts.clear();
    }

    fn observe(&mut self, family: FamilyId, own: Own, value: f64, now: Timestamp) {
        let born = || born(family.family(), now);
        self.self_metrics.change(family, own, born, |histogram| {
            if let Value::Histogram(histogram, _) = histogram {
                histogram.observe(value);
            }
        });
    }

    /// Shows a message's group instead of the one before.
    fn show_message(&mut self, dataset: Dataset, application: &Arc<str>, group: Arc<Group>) {
        let of = self.messages.of(dataset, application);
        if let Some(before) = of.insert(group.id.clone(), group.clone()) {
            self.newest
                .remove(&(before.order(), dataset, application.clone()));
        }
        let place = (group.order(), dataset, application.clone());
        self.newest.insert(place, group);
    }

    /// Takes out what there is of one message.
    fn forget_message(&mut self, application: &Arc<str>, message: &str) {
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

    /// Takes the messages and figures out for which `gone` holds.
    fn forget(&mut self, gone: impl Fn(&str, &Group) -> bool) {
        for groups in [&mut self.messages, &mut self.figures] {
            for ((_, application), own) in &mut groups.0 {
                own.retain(|_, group| !gone(application, group));
            }
        }
        self.newest
            .retain(|(_, _, application), group| !gone(application, group));
    }

    /// Applications may have other names now, or have left.
    fn rename(&mut self) {
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
            // Figures are not among them.
            if let Some(own) = self.newest.get_mut(&place) {
                *own = group;
            }
        }
    }

    /// All that is recorded, within the limits.
    fn view_input(&mut self, clock: &Clock) -> ViewInput {
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
        // Three series stand for the limits themselves.
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
            // The oldest leave first: what is older than the first without room has none either.
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
        // It is one itself, from the beginning.
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

    fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        let figures = self.figures.0.values().flat_map(HashMap::values);
        self.newest.values().chain(figures)
    }
}

impl Groups {
    fn of(&mut self, dataset: Dataset, application: &Arc<str>) -> &mut ById {
        self.0.entry((dataset, application.clone())).or_default()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
