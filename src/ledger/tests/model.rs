//! The counters as a plain model: everything that was ever said is kept,
//! and what counts is worked out from all of it. Slow and simple on purpose.

mod messages;
mod reports;
mod sum;

use std::collections::{BTreeMap, HashMap};

use super::*;
use messages::*;
pub(super) use sum::Sum;

/// A message's key.
pub(super) type Id = (Arc<str>, Arc<str>);
/// One counter.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) total: Sum,
    pub(super) shown: Sum,
    pub(super) held_until: Option<i64>,
    changed_at: i64,
}

/// What the exporter counts of itself, per process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Own {
    pub(super) decreases: u64,
    pub(super) missed: BTreeMap<String, u64>,
    pub(super) duplicates: u64,
}

impl Own {
    pub(super) fn miss(&mut self, age: Option<Age>, reason: Missed) {
        let age = age.map(|age| age.to_string()).unwrap_or_default();
        let reason = format!("{age} {}", reason.as_str());
        *self.missed.entry(reason).or_default() += 1;
    }
}

/// One account, as it has to count.
pub(super) struct Model {
    config: Config,
    /// In milliseconds, as all times here.
    now: i64,
    started: i64,
    birth: i64,
    pub(super) counters: BTreeMap<CounterKey, Counted>,
    names: HashMap<&'static str, Vec<Arc<str>>>,
    lives: BTreeMap<Id, Life>,
    /// The reports of each message, in the order in which they were counted.
    reports: HashMap<[u8; 16], Vec<Report>>,
    pub(super) own: Own,
}

impl Model {
    pub(super) fn new(config: &Config, now: Timestamp) -> Model {
        Model {
            config: config.clone(),
            now: now.as_millisecond(),
            started: 0,
            birth: now.as_millisecond(),
            counters: BTreeMap::new(),
            names: HashMap::new(),
            lives: BTreeMap::new(),
            reports: HashMap::new(),
            own: Own::default(),
        }
    }

    pub(super) fn at(&mut self, now: Timestamp) {
        self.now = now.as_millisecond();
    }

    fn hold(&self) -> Option<i64> {
        let hold = i64::try_from(self.config.zero_hold.as_millis()).unwrap();
        (hold > 0).then_some(self.now + hold)
    }

    /// "All counters of the account are held again for `zero_hold`, at their last value."
    pub(super) fn start(&mut self, account: &Account) {
        self.started = self.now;
        self.own = Own::default();
        let hold = self.hold();
        for counted in self.counters.values_mut() {
            counted.held_until = hold;
            if hold.is_none() {
                counted.shown = counted.total.clone();
            }
        }
        for life in self.lives.values_mut() {
            life.watched = false;
            for track in life.values.values_mut() {
                track.last = None;
            }
        }
        for application in &account.applications {
            let channel = account.vendor.channels[0].name;
            self.column(account, &application.id, channel);
        }
    }

    /// "These exist at 0 from the start."
    fn column(&mut self, account: &Account, application: &Arc<str>, channel: &str) {
        let channel: Arc<str> = Arc::from(channel);
        for own in account.vendor.channels {
            if *own.name == *channel {
                for field in own.fields {
                    let counter = measured(catalog::TOTAL, field.measure, &[&channel]);
                    self.count(application, counter, 0);
                }
            }
        }
        let interval = account.snapshot_interval();
        for age in Windows::new(&account.cohort_ages, interval, account.daily).ages() {
            for part in CohortPart::ALL {
                let counter = at_age(catalog::COHORT, part, &[&channel], *age);
                self.count(application, counter, 0);
            }
        }
    }

    fn add(&mut self, application: &Arc<str>, counter: CounterKey, sum: Sum) {
        let (now, hold) = (self.now, self.hold());
        let key = counter.of(application);
        let counted = self.counters.entry(key).or_insert_with(|| Counted {
            total: Sum::default(),
            shown: Sum::default(),
            held_until: hold,
            changed_at: now,
        });
        if sum != Sum::default() {
            counted.total.add(&sum);
            counted.changed_at = now;
        }
        if counted.held_until.is_none() {
            counted.shown = counted.total.clone();
        }
    }

    fn count(&mut self, application: &Arc<str>, counter: CounterKey, things: u64) {
        self.add(application, counter, Sum::things(things));
    }

    /// "The first `max_label_values` values of a text keep their names; the rest is `other`."
    fn name(&mut self, label: &'static str, text: &Arc<str>) -> Arc<str> {
        let limits = &self.config.limits;
        let limit = match label {
            "campaign" => limits.max_campaigns_per_account,
            _ => limits.max_label_values,
        };
        let names = self.names.entry(label).or_default();
        if text.is_empty() || **text == *OTHER || names.contains(text) {
            text.clone()
        } else if names.len() < limit {
            names.push(text.clone());
            text.clone()
        } else {
            Arc::from(OTHER)
        }
    }

    /// A source names the message.
    pub(super) fn named(&mut self, id: &Id, message: &Message, first_seen: Timestamp) {
        let life = self.lives.entry(id.clone()).or_insert_with(|| Life {
            first_seen: first_seen.as_millisecond(),
            ..Life::default()
        });
        life.watched = true;
        let sent_at = message.sent_at.map(|time| time.as_millisecond());
        life.sent_at = life.sent_at.or(sent_at);
    }

    pub(super) fn forgotten(&mut self, id: &Id) {
        self.lives.remove(id);
    }

    pub(super) fn unwatched(&mut self, id: &Id) {
        if let Some(life) = self.lives.get_mut(id) {
            life.watched = false;
            for track in life.values.values_mut() {
                track.last = None;
            }
        }
    }

    pub(super) fn watched(&self) -> Vec<Id> {
        let watched = self.lives.iter().filter(|(_, life)| life.watched);
        watched.map(|(id, _)| id.clone()).collect()
    }

    /// What time brings.
    pub(super) fn tick(&mut self, account: &Account) {
        let now = self.now;
        for counted in self.counters.values_mut() {
            if counted.held_until.is_some_and(|until| until <= now) {
                counted.held_until = None;
                counted.shown = counted.total.clone();
            }
        }
        self.close_windows(account);
        // After a start, messages are met before any campaign is forgotten.
        if now - self.started >= 3_600_000 {
            self.forget_campaigns();
        }
    }

    /// The windows of watched messages that are over now.
    pub(super) fn close_windows(&mut self, account: &Account) {
        for id in self.watched() {
            let mut life = self.lives.remove(&id).unwrap();
            self.close(account, &mut life, self.now);
            self.lives.insert(id, life);
        }
    }

    /// When something was last counted.
    pub(super) fn newest(&self) -> Option<i64> {
        let counters = self.counters.values();
        counters.map(|counted| counted.changed_at).max()
    }

    fn forget_campaigns(&mut self) {
        let of = |key: &CounterKey| key.campaign().cloned();
        let mut last: BTreeMap<Arc<str>, i64> = BTreeMap::new();
        for (key, counted) in &self.counters {
            if let Some(campaign) = of(key) {
                let last = last.entry(campaign).or_default();
                *last = counted.changed_at.max(*last);
            }
        }
        for (campaign, last) in last {
            let tracked = self
                .lives
                .values()
                .any(|life| life.watched && life.campaign.as_ref() == Some(&campaign));
            if !tracked && campaign.as_ref() != OTHER && self.now - last >= 86_400_000 {
                self.counters
                    .retain(|key, _| of(key).as_ref() != Some(&campaign));
                let names = self.names.entry("campaign").or_default();
                names.retain(|name| *name != campaign);
            }
        }
    }
}
