//! Implements the collector's recorder for the account's series.

use std::{collections::BTreeMap, sync::Arc};

use delivery_clock::Moment;
use jiff::Timestamp;

use super::{
    super::{
        bounds::Bounds,
        chunks::Own,
        figures,
        groups::{self, Head},
        values::{Number, Value},
    },
    AccountSeries, LastLabels, State, Unplaced,
};
use crate::{
    catalog::{self, FamilyId, Label, label::CAMPAIGN},
    collector::{PassOutcome, Recorder},
    ledger::{LabelLimiter, LedgerDelta, OTHER, ShownCounter},
    model::{AppMetric, Application, Dataset, Message, Snapshot, Source},
    providers::{Failure, Observer, RequestCode},
};

impl State {
    /// The length of the labels that all series of the account share.
    fn common(&self) -> usize {
        let identity = &self.settings.identity;
        let extra = identity.extra.iter();
        let extra = extra.map(|(name, value)| name.len() + value.len() + 4);
        identity.provider.len() + identity.account.len() + extra.sum::<usize>()
    }
}

impl Observer for AccountSeries {
    fn request(&self, dataset: Dataset, code: RequestCode) {
        self.count(
            catalog::API_REQUESTS,
            &[dataset.as_str(), &code.to_string()],
        );
    }

    fn retry(&self, dataset: Dataset) {
        self.count(catalog::API_RETRIES, &[dataset.as_str()]);
    }

    fn rate_limited(&self, dataset: Dataset) {
        self.count(catalog::RATE_LIMITED, &[dataset.as_str()]);
    }

    fn unknown_field(&self, dataset: Dataset, field: &str) {
        let field = if names_a_person(field) { OTHER } else { field };
        self.count(catalog::UNKNOWN_FIELDS, &[dataset.as_str(), field]);
    }
}

/// Whether the name of a field may be an address, a telephone number or a device: a vendor can answer with an
/// object whose names are recipients, and none of them may become a label.
fn names_a_person(field: &str) -> bool {
    let mut digits = 0;
    let many_digits = field.bytes().any(|byte| {
        digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
        digits >= MANY_DIGITS
    });
    many_digits || field.contains('@') || field.to_ascii_lowercase().contains("%40")
}

/// Fewer digits in a row than any telephone number has.
const MANY_DIGITS: u32 = 6;

impl Recorder for AccountSeries {
    fn snapshot(
        &self,
        dataset: Dataset,
        application: &Application,
        message: &Message,
        first_seen: Timestamp,
        snapshot: &Snapshot,
        stale_at: Moment,
    ) {
        let mut state = self.lock();
        let common = state.common();
        let State {
            bounds,
            builder,
            shapes,
            messages,
            ..
        } = &mut *state;
        let names = bounds.names();
        let campaign = message.campaign.clone().unwrap_or_default();
        let (campaign, campaign_lost) = Bounds::value(names, &CAMPAIGN, &campaign);
        builder.clear();
        let name = |label: &Label, text: &Arc<str>| Bounds::value(names, label, text);
        groups::add(builder, shapes, snapshot, &name, campaign_lost);
        let head = Head {
            application: application.name.clone(),
            id: snapshot.id.clone(),
            label: names.short(&snapshot.id),
            campaign,
            since: message.sent_at.unwrap_or(first_seen),
            sent: groups::sent(snapshot),
            of_message: true,
            common,
        };
        for key in builder.unplaced() {
            bounds.unplaced(*key);
        }
        let before = messages.of(dataset, &application.id).get(&snapshot.id);
        if let Some(group) = shapes.group(head, builder, stale_at, before.map(AsRef::as_ref)) {
            state.show_message(dataset, &application.id, Arc::new(group));
        }
    }

    fn renewed(
        &self,
        dataset: Dataset,
        application: &Application,
        message: &str,
        stale_at: Moment,
    ) {
        let mut state = self.lock();
        let State {
            messages, figures, ..
        } = &mut *state;
        for groups in [messages, figures] {
            if let Some(group) = groups.of(dataset, &application.id).get(message) {
                group.renew(stale_at);
            }
        }
    }

    fn figures(
        &self,
        dataset: Dataset,
        application: &Application,
        group: &str,
        figures: Vec<AppMetric>,
        stale_at: Moment,
    ) {
        let key: Arc<str> = Arc::from(group);
        let mut state = self.lock();
        let common = state.common();
        let State {
            bounds,
            builder,
            shapes,
            figures: all,
            ..
        } = &mut *state;
        let names = bounds.names();
        builder.clear();
        let name = |label: &Label, text: &Arc<str>| Bounds::value(names, label, text);
        figures::add(builder, shapes, &figures, &name);
        let head = Head {
            application: application.name.clone(),
            id: Arc::from(format!("{dataset} {} {key}", application.id)),
            label: Arc::from(""),
            campaign: Arc::from(""),
            since: Timestamp::MIN,
            sent: 0,
            of_message: false,
            common,
        };
        let own = all.of(dataset, &application.id);
        let before = own.get(&key);
        if let Some(group) = shapes.group(head, builder, stale_at, before.map(AsRef::as_ref)) {
            own.insert(key, Arc::new(group));
        }
    }

    fn forgotten(&self, application: &Application, message: &str) {
        self.lock().forget_message(&application.id, message);
    }

    fn names(&self, names: &Arc<LabelLimiter>) {
        self.lock().bounds.share(names.clone());
    }

    fn delta(&self, delta: &LedgerDelta) {
        let now = self.clock.now();
        let mut state = self.lock();
        for key in &delta.gone {
            if let Ok(place) = state.settings.place(key) {
                state.hide_counter(place, key);
            }
        }
        let mut places: BTreeMap<FamilyId, Vec<(Own, &ShownCounter)>> = BTreeMap::new();
        let mut last = LastLabels::default();
        for shown in &delta.shown {
            match state.settings.place_after(&mut last, &shown.key) {
                Ok((family, own)) => places.entry(family).or_default().push((own, shown)),
                Err(Unplaced::NoSeries(family)) if shown.amount.things() > 0 => {
                    state.bounds.unplaced(family);
                }
                Err(_) => {}
            }
        }
        // Sorted, so that opening a ledger fills one chunk after another. The sort is stable, so the last
        // update of a counter wins. An opened ledger already returns the counters of a family nearly in
        // order.
        for (family, mut places) in places {
            places.sort_by(|(left, _), (right, _)| left.cmp(right));
            for (own, shown) in places {
                state.show_counter((family, own), &shown.key, &shown.amount, shown.born_at);
            }
        }
        for key in &delta.overflowed {
            if let Ok((family, _)) = state.settings.place(key) {
                state.overflowed.insert(family);
            }
        }
        let counts = [
            (catalog::SNAPSHOT_DECREASES, delta.decreases),
            (catalog::REPORTS_DUPLICATE, delta.duplicates),
            (catalog::REPORTS_QUARANTINED, delta.quarantined),
        ];
        for (family, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            state.add(family, Own::default(), Number::Count(count), now);
        }
        for (age, reason) in &delta.missed {
            let age = age.map(|age| age.to_string()).unwrap_or_default();
            let own = [Arc::from(age), Arc::from(reason.as_str())].into();
            state.add(catalog::COHORT_MISSED, own, Number::Count(1), now);
        }
        if let Some(held) = delta.held {
            let value = Value::Gauge(Number::Count(held));
            let family = catalog::HELD_INCREMENTS;
            state.self_metrics.insert(family, Own::default(), value);
        }
    }

    fn cleared(&self) {
        self.lock().clear_counters();
    }

    fn lost(&self) {
        let mut state = self.lock();
        state.clear_counters();
        state.newest.clear();
        state.messages.clear();
        state.figures.clear();
        for family in [catalog::UP, catalog::COLLECT_SUCCESS, catalog::DUE] {
            state.self_metrics.remove_family(family);
        }
        let never = Value::Gauge(Number::Count(0));
        state.self_metrics.fill(catalog::LAST_SUCCESS, &never);
    }

    fn failed(&self, dataset: Dataset, application: &Application, failure: &Failure) {
        self.count(
            catalog::COLLECT_FAILURES,
            &[dataset.as_str(), &application.name, failure.kind.as_str()],
        );
    }

    fn rejected(&self, reason: &str) {
        self.count(catalog::REJECTED_MESSAGES, &[reason]);
    }

    fn tracked(&self, messages: usize) {
        self.set(
            catalog::TRACKED_MESSAGES,
            &[],
            Number::Count(messages as u64),
        );
    }

    fn due(&self, dataset: Dataset, application: &Application, at: Option<Timestamp>) {
        let own = [dataset.as_str(), &application.name];
        match at {
            Some(at) => self.set(catalog::DUE, &own, seconds(at)),
            None => {
                let own: Own = own.iter().map(|value| Arc::from(*value)).collect();
                self.lock().self_metrics.remove(catalog::DUE, &own);
            }
        }
    }

    fn discovered(&self, source: Source, new: usize, good: bool, at: Timestamp) {
        let own = [source.as_str()];
        self.set(catalog::DISCOVERY_SUCCESS, &own, Number::Count(good.into()));
        if good {
            self.set(catalog::DISCOVERY_LAST_SUCCESS, &own, seconds(at));
        }
        let own = own.iter().map(|value| Arc::from(*value)).collect();
        let family = catalog::DISCOVERED_MESSAGES;
        self.lock().add(family, own, Number::Count(new as u64), at);
    }

    fn pass(&self, outcome: &PassOutcome) {
        self.set(catalog::UP, &[], Number::Count(outcome.up.into()));
        for part in &outcome.datasets {
            let own = [part.dataset.as_str(), part.application.name.as_ref()];
            self.set(
                catalog::COLLECT_SUCCESS,
                &own,
                Number::Count(part.success.into()),
            );
            if part.success {
                self.set(catalog::LAST_SUCCESS, &own, seconds(outcome.at));
            }
        }
        let mut state = self.lock();
        for (dataset, length) in &outcome.durations {
            let own = [Arc::from(dataset.as_str())].into();
            state.observe(
                catalog::COLLECT_DURATION,
                own,
                length.as_secs_f64(),
                outcome.at,
            );
        }
        state.count_drops = true;
    }

    fn publish(&self) {
        AccountSeries::publish(self);
    }
}

/// Unix time.
fn seconds(at: Timestamp) -> Number {
    Number::Float(at.as_duration().as_secs_f64())
}
