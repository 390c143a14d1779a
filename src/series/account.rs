//! The series of one account: what its collector records, and what is shown of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use delivery_clock::Clock;
use jiff::Timestamp;

use super::{
    bounds::Bounds,
    families::{FamilyId, Key, families, id},
    figures::{self, Figures},
    groups::{self, Group},
    values::{Identity, Number, Show, Value, born},
};
use crate::{
    collector::{PassOutcome, Recorder},
    config::{Account, Config, Limits, PerMessage},
    ledger::{Amount, Counter, CounterKey, Lease, Missed, Names, News, Windows},
    model::{Application, Dataset, Figure, Measure, Message, ProviderType, Snapshot, Source},
    providers::{Failure, FailureKind, Observer, RequestCode},
};

/// The values of a series' own labels, without those of the account.
pub(super) type Own = Box<[Arc<str>]>;

/// One series as it is shown.
pub(super) struct Sample {
    pub(super) own: Own,
    pub(super) value: Value,
    /// Not shown from then on.
    pub(super) stale_at: Option<Timestamp>,
}

/// What is shown of an account: never changed, only replaced.
struct View {
    identity: Identity,
    /// By the family's place in the table.
    families: Vec<Vec<Arc<Sample>>>,
}

/// The series of one account.
pub struct AccountSeries {
    clock: Clock,
    lease: Lease,
    provider: ProviderType,
    name: Arc<str>,
    state: Mutex<State>,
    view: ArcSwap<View>,
}

struct State {
    settings: Settings,
    groups: HashMap<(Dataset, Arc<str>, Arc<str>), Group>,
    /// Figures by data set, application id and message id (empty: the application's).
    figures: HashMap<(Dataset, Arc<str>, Arc<str>), Figures>,
    /// The exporter's own series.
    lasting: BTreeMap<(FamilyId, Own), Value>,
    /// What the ledger has released.
    counters: BTreeMap<(FamilyId, Own), Value>,
    /// Families whose counters hold what has lost its name, until the pass ends.
    folded: BTreeSet<FamilyId>,
    bounds: Bounds,
    /// A pass has ended since the last view: what limits drop is counted now.
    count_drops: bool,
}

/// What the configuration says about the account's series.
struct Settings {
    identity: Identity,
    per_message: PerMessage,
    max_series: usize,
    applications: HashMap<Arc<str>, Arc<str>>,
}

impl AccountSeries {
    /// The series of an account that has just been configured.
    pub(super) fn new(
        account: &Account,
        config: &Config,
        lease: Lease,
        clock: Clock,
    ) -> AccountSeries {
        let limits = &config.limits;
        let settings = Settings::new(account, &config.label_names, limits);
        let view = View {
            identity: settings.identity.clone(),
            families: Vec::new(),
        };
        let state = State {
            settings,
            groups: HashMap::new(),
            figures: HashMap::new(),
            lasting: BTreeMap::new(),
            counters: BTreeMap::new(),
            folded: BTreeSet::new(),
            bounds: Bounds::new(Arc::new(Names::new(limits))),
            count_drops: false,
        };
        let series = AccountSeries {
            clock,
            lease,
            provider: account.provider,
            name: account.name.clone(),
            state: Mutex::new(state),
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
            let names = state.settings.applications.clone();
            state
                .groups
                .retain(|(_, application, _), group| match names.get(application) {
                    Some(name) => {
                        group.application = name.clone();
                        true
                    }
                    None => false,
                });
            let names = state.settings.applications.clone();
            state
                .figures
                .retain(|(_, application, _), own| match names.get(application) {
                    Some(name) => {
                        own.application = name.clone();
                        true
                    }
                    None => false,
                });
        }
        self.bear_zeros(account);
        self.publish();
        relabelled
    }

    /// The name and labels of a counter of the ledger; `None`: its application is not configured.
    pub fn named(&self, key: &CounterKey) -> Option<NamedCounter> {
        let (family, own) = self.lock().place(key)?;
        let family = family.family();
        // The first two are the account's own.
        let labels = family
            .labels
            .iter()
            .skip(2)
            .copied()
            .zip(own.iter().cloned());
        Some((&family.name, labels.collect()))
    }

    /// The label `account`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The label `provider`.
    pub fn provider(&self) -> ProviderType {
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
        let mut zero = |key: Key, own: &[&str]| {
            let own: Own = own.iter().map(|value| Arc::from(*value)).collect();
            let family = id(key);
            state
                .lasting
                .entry((family, own))
                .or_insert_with(|| born(family.family(), now));
        };
        zero(Key::SnapshotDecreases, &[]);
        zero(Key::TrackedMessages, &[]);
        zero(Key::HeldIncrements, &[]);
        zero(Key::ReportsDuplicate, &[]);
        zero(Key::ReportsQuarantined, &[]);
        if account.webhook_token.is_some() {
            for outcome in WebhookOutcome::ALL {
                zero(Key::WebhookRequests, &[outcome.as_str()]);
            }
        }
        let mut sources = Vec::new();
        if account.provider.has_messages() {
            sources.push(Source::Static);
        }
        for (source, there) in [
            (Source::Api, account.provider.has_messages()),
            (Source::File, !account.messages.files.is_empty()),
            (Source::Http, !account.messages.http.is_empty()),
            (Source::List, account.messages.list),
        ] {
            if there {
                sources.push(source);
            }
        }
        for source in sources {
            zero(Key::DiscoverySuccess, &[source.as_str()]);
            zero(Key::DiscoveryLastSuccess, &[source.as_str()]);
            zero(Key::DiscoveredMessages, &[source.as_str()]);
        }
        for dataset in &account.collect {
            let dataset = dataset.as_str();
            zero(Key::CollectDuration, &[dataset]);
            zero(Key::ApiRetries, &[dataset]);
            zero(Key::RateLimited, &[dataset]);
            for application in &account.applications {
                let application = application.name.as_ref();
                zero(Key::LastSuccess, &[dataset, application]);
                for kind in FailureKind::ALL {
                    zero(Key::CollectFailures, &[dataset, application, kind.as_str()]);
                }
            }
        }
        let windows = Windows::of(account);
        for age in windows.ages() {
            for reason in Missed::OF_AN_AGE {
                zero(Key::CohortMissed, &[&age.to_string(), reason.as_str()]);
            }
        }
        if !windows.is_empty() {
            zero(Key::CohortMissed, &["", Missed::AgeUnknown.as_str()]);
        }
        if account.provider.has_messages() {
            zero(Key::RejectedMessages, &["max_age"]);
        }
        let lease = (id(Key::LeaseHeld), Own::default());
        state.lasting.insert(lease, Value::Gauge(Number::Count(1)));
    }

    /// Shows the account's series of one family.
    pub(super) fn show(
        &self,
        view: &AccountView,
        family: FamilyId,
        now: Timestamp,
        show: &mut Show<'_>,
    ) {
        // Everything else belongs to the replica that holds the account.
        if !view.held && family == id(Key::LeaseHeld) {
            let not = Value::Gauge(Number::Count(0));
            show.sample(Some(&view.shown.identity), &[], &not);
            return;
        }
        if !view.held && family != id(Key::WebhookRequests) {
            return;
        }
        let Some(samples) = view.shown.families.get(family.index()) else {
            return;
        };
        for sample in samples {
            if sample.stale_at.is_none_or(|stale_at| now < stale_at) {
                show.sample(Some(&view.shown.identity), &sample.own, &sample.value);
            }
        }
    }

    /// What is shown now; it stays as it is while it is read.
    pub(super) fn view(&self) -> AccountView {
        AccountView {
            shown: self.view.load_full(),
            held: self.lease.runs(),
        }
    }

    /// A request to the account's webhook has ended.
    pub fn webhook(&self, outcome: WebhookOutcome) {
        self.count(Key::WebhookRequests, &[outcome.as_str()]);
        self.publish();
    }

    fn set(&self, key: Key, own: &[&str], number: Number) {
        let own: Own = own.iter().map(|value| Arc::from(*value)).collect();
        self.lock()
            .lasting
            .insert((id(key), own), Value::Gauge(number));
    }

    fn count(&self, key: Key, own: &[&str]) {
        let own = own.iter().map(|value| Arc::from(*value)).collect();
        let now = self.clock.now();
        self.lock().add(id(key), own, Number::Count(1), now);
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
    const ALL: [WebhookOutcome; 5] = [
        WebhookOutcome::Counted,
        WebhookOutcome::Duplicate,
        WebhookOutcome::Unsupported,
        WebhookOutcome::Quarantined,
        WebhookOutcome::Refused,
    ];

    fn as_str(self) -> &'static str {
        match self {
            WebhookOutcome::Counted => "counted",
            WebhookOutcome::Duplicate => "duplicate",
            WebhookOutcome::Unsupported => "unsupported",
            WebhookOutcome::Quarantined => "quarantined",
            WebhookOutcome::Refused => "refused",
        }
    }
}

/// A view of an account that is being read.
pub(super) struct AccountView {
    shown: Arc<View>,
    /// The lease ran when the reading began.
    held: bool,
}

impl Settings {
    fn new(account: &Account, label_names: &[Arc<str>], limits: &Limits) -> Settings {
        let empty: Arc<str> = Arc::from("");
        let extra = label_names
            .iter()
            .map(|name| {
                (
                    name.clone(),
                    account.labels.get(name).unwrap_or(&empty).clone(),
                )
            })
            .collect();
        Settings {
            identity: Identity {
                provider: account.provider.as_str(),
                account: account.name.clone(),
                extra,
            },
            per_message: account.per_message,
            max_series: limits.max_series_per_account,
            applications: account
                .applications
                .iter()
                .map(|application| (application.id.clone(), application.name.clone()))
                .collect(),
        }
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

/// A counter's name and labels, without those that the configuration adds.
pub type NamedCounter = (&'static str, Vec<(&'static str, Arc<str>)>);

impl State {
    /// Where a counter of the ledger stands; `None`: its application is not configured.
    fn place(&self, key: &CounterKey) -> Option<(FamilyId, Own)> {
        let application = self.settings.applications.get(&key.application)?;
        let mut own = vec![application.clone()];
        let measured = |own: &mut Vec<Arc<str>>, measure: &Measure| {
            own.extend(measure.detail().map(Arc::from));
        };
        let family = match &key.counter {
            Counter::Total { channel, measure } => {
                own.push(channel.clone());
                measured(&mut own, measure);
                Key::Total(measure.as_str())
            }
            Counter::Campaign {
                channel,
                campaign,
                measure,
            } => {
                own.extend([channel.clone(), campaign.clone()]);
                measured(&mut own, measure);
                Key::Campaign(measure.as_str())
            }
            Counter::Channel {
                message_type,
                platform,
                vendor_channel,
                measure,
            } => {
                own.extend([
                    message_type.clone(),
                    platform.clone(),
                    vendor_channel.clone(),
                ]);
                Key::ChannelTotal(measure.as_str())
            }
            Counter::Cohort { channel, age, part } => {
                own.extend([channel.clone(), Arc::from(age.to_string())]);
                Key::Cohort(part.as_str())
            }
            Counter::CohortChannel {
                platform,
                vendor_channel,
                age,
                part,
            } => {
                own.extend([
                    platform.clone(),
                    vendor_channel.clone(),
                    Arc::from(age.to_string()),
                ]);
                Key::CohortChannel(part.as_str())
            }
            Counter::Report {
                channel,
                status_group,
                status,
                error_group,
                error,
                permanent,
            } => {
                let permanent = match permanent {
                    Some(true) => "true",
                    Some(false) => "false",
                    None => "",
                };
                own.extend([
                    channel.clone(),
                    status_group.clone(),
                    status.clone(),
                    error_group.clone(),
                    error.clone(),
                    Arc::from(permanent),
                ]);
                Key::Reports
            }
            Counter::Latency {
                channel,
                status_group,
            } => {
                own.extend([channel.clone(), status_group.clone()]);
                Key::ReportLatency
            }
            Counter::Cost { channel, currency } => {
                own.extend([channel.clone(), currency.clone()]);
                Key::ReportCost
            }
            Counter::Log {
                action,
                platform,
                status,
            } => {
                own.extend([action.clone(), platform.clone(), status.clone()]);
                Key::LogEvents
            }
            Counter::BouncedAddress { kind, reason } => {
                own.extend([kind.clone(), reason.clone()]);
                Key::BouncedAddresses
            }
        };
        Some((id(family), own.into()))
    }

    /// Adds to a counter, which is born with the first addition.
    fn add(&mut self, family: FamilyId, own: Own, by: Number, now: Timestamp) {
        let value = self
            .lasting
            .entry((family, own))
            .or_insert_with(|| born(family.family(), now));
        if let Value::Counter(number, _) = value {
            *number = match (*number, by) {
                (Number::Count(a), Number::Count(b)) => Number::Count(a.saturating_add(b)),
                (Number::Decimal(a), Number::Decimal(b)) => Number::Decimal(a.saturating_add(b)),
                // The birth of a counter of money.
                (Number::Count(0), by) => by,
                (a, b) => Number::Float(a.as_f64() + b.as_f64()),
            };
        }
    }

    fn observe(&mut self, family: FamilyId, own: Own, value: f64, now: Timestamp) {
        let histogram = self
            .lasting
            .entry((family, own))
            .or_insert_with(|| born(family.family(), now));
        if let Value::Histogram(histogram, _) = histogram {
            histogram.observe(value);
        }
    }

    /// A view of all that is recorded, within the limits.
    fn view(&mut self, now: Timestamp) -> View {
        let mut shown: Vec<Vec<Arc<Sample>>> = families().iter().map(|_| Vec::new()).collect();
        let mut dropped: BTreeMap<(FamilyId, &'static str), u64> = BTreeMap::new();
        self.groups.retain(|_, group| now < group.stale_at);
        self.figures.retain(|_, own| now < own.stale_at);
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_cached_key(|group| std::cmp::Reverse((group.age_key(), group.id.clone())));
        // Three series stand for the limits themselves.
        let mut room = self
            .settings
            .max_series
            .saturating_sub(self.lasting.len() + self.counters.len() + 3);
        let mut full = false;
        let per_message = self.settings.per_message;
        let newest = groups
            .into_iter()
            .filter(|group| group.sent() >= per_message.min_sent)
            .take(per_message.max_messages);
        for group in newest {
            let samples = groups::samples(group, per_message.channels, &mut self.bounds);
            full = full || samples.len() > room;
            for (family, sample) in samples {
                if full {
                    *dropped.entry((family, "max_series")).or_default() += 1;
                } else {
                    room -= 1;
                    shown[family.index()].push(Arc::new(sample));
                }
            }
        }
        for own in self.figures.values() {
            for (family, sample) in figures::samples(own, &mut self.bounds) {
                if room == 0 {
                    *dropped.entry((family, "max_series")).or_default() += 1;
                } else {
                    room -= 1;
                    shown[family.index()].push(Arc::new(sample));
                }
            }
        }
        if std::mem::take(&mut self.count_drops) {
            for family in std::mem::take(&mut self.folded) {
                self.bounds.lost(family);
            }
            for (family, count) in self.bounds.take_dropped() {
                *dropped.entry((family, "max_label_values")).or_default() += count;
            }
            for ((family, reason), count) in dropped {
                let own = [Arc::from(family.family().name.as_str()), Arc::from(reason)].into();
                self.add(id(Key::SeriesDropped), own, Number::Count(count), now);
            }
        }
        for ((family, own), value) in self.lasting.iter().chain(&self.counters) {
            let sample = Sample {
                own: own.clone(),
                value: value.clone(),
                stale_at: None,
            };
            shown[family.index()].push(Arc::new(sample));
        }
        let series = shown.iter().map(Vec::len).sum::<usize>() + 1;
        let value = Value::Gauge(Number::Count(series as u64));
        let own = Own::default();
        shown[id(Key::Series).index()] = vec![Arc::new(Sample {
            own,
            value,
            stale_at: None,
        })];
        View {
            identity: self.settings.identity.clone(),
            families: shown,
        }
    }
}

impl Observer for AccountSeries {
    fn request(&self, dataset: Dataset, code: RequestCode) {
        self.count(Key::ApiRequests, &[dataset.as_str(), &code.to_string()]);
    }

    fn retry(&self, dataset: Dataset) {
        self.count(Key::ApiRetries, &[dataset.as_str()]);
    }

    fn rate_limited(&self, dataset: Dataset) {
        self.count(Key::RateLimited, &[dataset.as_str()]);
    }

    fn unknown_field(&self, dataset: Dataset, field: &str) {
        let field = self
            .lock()
            .bounds
            .value(id(Key::UnknownFields), "field", &Arc::from(field));
        self.count(Key::UnknownFields, &[dataset.as_str(), &field]);
    }
}

impl Recorder for AccountSeries {
    fn snapshot(
        &self,
        dataset: Dataset,
        application: &Application,
        message: &Message,
        first_seen: Timestamp,
        snapshot: &Snapshot,
        stale_at: Timestamp,
    ) {
        let mut state = self.lock();
        let key = (dataset, application.id.clone(), snapshot.id.clone());
        let group = Group {
            application: application.name.clone(),
            id: snapshot.id.clone(),
            campaign: message.campaign.clone(),
            sent_at: message.sent_at,
            first_seen,
            snapshot: snapshot.clone(),
            stale_at,
        };
        state.groups.insert(key, group);
    }

    fn renewed(
        &self,
        dataset: Dataset,
        application: &Application,
        message: &str,
        stale_at: Timestamp,
    ) {
        let key = (dataset, application.id.clone(), Arc::from(message));
        let mut state = self.lock();
        if let Some(group) = state.groups.get_mut(&key) {
            group.stale_at = stale_at;
        }
        if let Some(own) = state.figures.get_mut(&key) {
            own.stale_at = stale_at;
        }
    }

    fn figures(
        &self,
        dataset: Dataset,
        application: &Application,
        message: Option<&str>,
        figures: Vec<Figure>,
        stale_at: Timestamp,
    ) {
        let message = Arc::from(message.unwrap_or_default());
        let own = Figures {
            application: application.name.clone(),
            figures,
            stale_at,
        };
        let key = (dataset, application.id.clone(), message);
        self.lock().figures.insert(key, own);
    }

    fn forgotten(&self, application: &Application, message: &str) {
        let mut state = self.lock();
        let other = |of: &Arc<str>, own: &Arc<str>| *of != application.id || **own != *message;
        state.groups.retain(|(_, of, own), _| other(of, own));
        state.figures.retain(|(_, of, own), _| other(of, own));
    }

    fn names(&self, names: &Arc<Names>) {
        self.lock().bounds.share(names.clone());
    }

    fn news(&self, news: &News) {
        let now = self.clock.now();
        let mut state = self.lock();
        for key in &news.gone {
            if let Some(place) = state.place(key) {
                state.counters.remove(&place);
            }
        }
        for shown in &news.shown {
            let Some(place) = state.place(&shown.key) else {
                continue;
            };
            let value = value(place.0, &shown.amount, shown.born_at);
            state.counters.insert(place, value);
        }
        for key in &news.folded {
            if let Some((family, _)) = state.place(key) {
                state.folded.insert(family);
            }
        }
        let counts = [
            (Key::SnapshotDecreases, news.decreases),
            (Key::ReportsDuplicate, news.duplicates),
            (Key::ReportsQuarantined, news.quarantined),
        ];
        for (key, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            state.add(id(key), Own::default(), Number::Count(count), now);
        }
        for (age, reason) in &news.missed {
            let age = age.map(|age| age.to_string()).unwrap_or_default();
            let own = [Arc::from(age), Arc::from(reason.as_str())].into();
            state.add(id(Key::CohortMissed), own, Number::Count(1), now);
        }
        if let Some(held) = news.held {
            let place = (id(Key::HeldIncrements), Own::default());
            let value = Value::Gauge(Number::Count(held));
            state.lasting.insert(place, value);
        }
    }

    fn cleared(&self) {
        self.lock().counters.clear();
    }

    fn lost(&self) {
        let mut state = self.lock();
        state.counters.clear();
        state.groups.clear();
        state.figures.clear();
        let left = [id(Key::Up), id(Key::CollectSuccess), id(Key::Due)];
        state
            .lasting
            .retain(|(family, _), _| !left.contains(family));
        for ((family, _), value) in &mut state.lasting {
            if *family == id(Key::LastSuccess) {
                *value = Value::Gauge(Number::Count(0));
            }
        }
    }

    fn failed(&self, dataset: Dataset, application: &Application, failure: &Failure) {
        self.count(
            Key::CollectFailures,
            &[dataset.as_str(), &application.name, failure.kind.as_str()],
        );
    }

    fn rejected(&self, reason: &str) {
        let reason =
            self.lock()
                .bounds
                .value(id(Key::RejectedMessages), "reason", &Arc::from(reason));
        self.count(Key::RejectedMessages, &[&reason]);
    }

    fn tracked(&self, messages: usize) {
        self.set(Key::TrackedMessages, &[], Number::Count(messages as u64));
    }

    fn due(&self, dataset: Dataset, application: &Application, at: Option<Timestamp>) {
        let own = [dataset.as_str(), &application.name];
        match at {
            Some(at) => self.set(Key::Due, &own, seconds(at)),
            None => {
                let own: Own = own.iter().map(|value| Arc::from(*value)).collect();
                self.lock().lasting.remove(&(id(Key::Due), own));
            }
        }
    }

    fn discovered(&self, source: Source, new: usize, good: bool, at: Timestamp) {
        let own = [source.as_str()];
        self.set(Key::DiscoverySuccess, &own, Number::Count(good.into()));
        if good {
            self.set(Key::DiscoveryLastSuccess, &own, seconds(at));
        }
        let own = own.iter().map(|value| Arc::from(*value)).collect();
        let family = id(Key::DiscoveredMessages);
        self.lock().add(family, own, Number::Count(new as u64), at);
    }

    fn pass(&self, outcome: &PassOutcome) {
        self.set(Key::Up, &[], Number::Count(outcome.up.into()));
        for part in &outcome.datasets {
            let own = [part.dataset.as_str(), part.application.name.as_ref()];
            self.set(
                Key::CollectSuccess,
                &own,
                Number::Count(part.success.into()),
            );
            if part.success {
                self.set(Key::LastSuccess, &own, seconds(outcome.at));
            }
        }
        let mut state = self.lock();
        for (dataset, length) in &outcome.durations {
            let own = [Arc::from(dataset.as_str())].into();
            state.observe(
                id(Key::CollectDuration),
                own,
                length.as_secs_f64(),
                outcome.at,
            );
        }
        state.count_drops = true;
    }

    fn publish(&self) {
        let now = self.clock.now();
        let mut state = self.lock();
        let view = state.view(now);
        self.view.store(Arc::new(view));
    }
}

/// Unix time.
fn seconds(at: Timestamp) -> Number {
    Number::Float(at.as_duration().as_secs_f64())
}
