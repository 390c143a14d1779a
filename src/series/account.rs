//! The series of one account: what its collector records, and what is exposed.

mod known;
mod recorder;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod webhook;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

pub use settings::NamedCounter;
pub(super) use settings::{LastLabels, Settings, Unplaced};
pub use webhook::WebhookOutcome;

use known::{KnownValues, texts};
use state::{Groups, State};

use arc_swap::ArcSwap;
use delivery_clock::{Clock, Moment};

use super::{
    bounds::Bounds,
    chunks::{Chunks, Own},
    groups::{GroupBuilder, Shapes},
    layout::{Layout, ViewInput},
    segments::Segment,
    values::{Number, Value, born},
    view::{Prepare, View},
};
use crate::{
    catalog::{self, FamilyId, Zeros, combinations},
    config::{Account, Config, Limits},
    ledger::{CounterKey, LabelLimiter, Lease, Missed},
};

/// The series of one account.
pub struct AccountSeries {
    clock: Clock,
    lease: Lease,
    provider: &'static str,
    name: Arc<str>,
    state: Mutex<State>,
    prepare: Arc<dyn Prepare>,
    /// Locked while publishing.
    layout: Mutex<Layout>,
    /// Whether something was recorded that is not yet published.
    unpublished: AtomicBool,
    view: ArcSwap<View>,
}

impl AccountSeries {
    /// The series of a newly configured account.
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

    /// Applies a changed configuration of the same account; counters keep their values. Returns whether
    /// labels of series have changed.
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

    /// The name and labels of a counter of the ledger; `None` if its application is not configured or its
    /// family has no series. Counters of different reasons can have the same name and labels.
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

    /// Creates a series with 0 for every label value that is known in advance, so that `rate()` sees the
    /// first increase.
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

    /// The current view, which does not change while it is read.
    pub(super) fn view(&self) -> AccountView {
        AccountView {
            shown: self.view.load_full(),
            held: self.lease.runs(),
        }
    }

    /// Publishes everything recorded so far, atomically. A call during another call leaves the work to that
    /// call, so that an earlier state never replaces a later one.
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

/// A view of an account while it is being read.
pub struct AccountView {
    shown: Arc<View>,
    /// Whether this replica held the lease when reading began.
    held: bool,
}

impl AccountView {
    /// The whole view, if this replica holds the account and nothing in the view is stale at `now`.
    pub fn whole(&self, now: Moment) -> Option<&View> {
        (self.held && !self.shown.is_stale(now)).then_some(&*self.shown)
    }

    /// The segments of a family.
    pub fn segments(&self, family: FamilyId) -> &[Arc<Segment>] {
        self.shown.family(family, self.held)
    }
}
