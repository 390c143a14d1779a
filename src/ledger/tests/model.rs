//! The counters as a plain model: everything that was ever said is kept,
//! and what counts is worked out from all of it. Slow and simple on purpose.

use std::collections::{BTreeMap, HashMap};

use super::*;

/// A message's key.
pub(super) type Id = (Arc<str>, Arc<str>);
/// A value of a message: the level, its names, the measure.
type Place = (&'static str, Vec<Arc<str>>, Measure);

/// What any amount comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum {
    things: u64,
    /// Money in millionths.
    millionths: i128,
    micros: u64,
    /// Observations up to each bound.
    below: BTreeMap<usize, u64>,
}

impl Sum {
    pub(super) fn of(amount: &Amount) -> Sum {
        match amount {
            Amount::Count(count) => Sum::things(*count),
            Amount::Money(money) => Sum::money(*money),
            Amount::Times(times) => {
                let mut below = BTreeMap::new();
                let mut sum = 0;
                for (place, count) in times.buckets.iter().enumerate() {
                    sum += count;
                    if sum > 0 {
                        below.insert(place, sum);
                    }
                }
                Sum {
                    micros: times.micros,
                    below,
                    ..Sum::things(times.count())
                }
            }
        }
    }

    fn things(things: u64) -> Sum {
        Sum {
            things,
            ..Sum::default()
        }
    }

    fn money(money: rust_decimal::Decimal) -> Sum {
        let millionths = (money * rust_decimal::Decimal::from(1_000_000)).normalize();
        assert_eq!(millionths.scale(), 0, "{money}");
        Sum {
            millionths: millionths.mantissa(),
            ..Sum::default()
        }
    }

    fn time(time: Duration) -> Sum {
        let bounds = LATENCY_BOUNDS.iter().enumerate();
        let mut below: BTreeMap<_, _> = bounds
            .filter(|(_, bound)| time.as_secs_f64() <= **bound)
            .map(|(place, _)| (place, 1))
            .collect();
        below.insert(LATENCY_BOUNDS.len(), 1);
        Sum {
            things: 1,
            micros: u64::try_from(time.as_micros()).unwrap(),
            below,
            ..Sum::default()
        }
    }

    fn add(&mut self, more: &Sum) {
        self.things += more.things;
        self.millionths += more.millionths;
        self.micros += more.micros;
        for (place, count) in &more.below {
            *self.below.entry(*place).or_default() += count;
        }
    }

    /// What is counted and not released, in things.
    pub(super) fn held(&self, shown: &Sum) -> u64 {
        self.things - shown.things + u64::from(self.millionths > shown.millionths)
    }

    /// Whether no part is more than the other's.
    pub(super) fn within(&self, other: &Sum) -> bool {
        self.things <= other.things
            && self.millionths <= other.millionths
            && self.micros <= other.micros
    }
}

/// One counter.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) total: Sum,
    pub(super) shown: Sum,
    pub(super) held_until: Option<i64>,
    changed_at: i64,
}

/// One value of a message, each time that it was told.
#[derive(Clone, Debug, Default)]
struct Track {
    told: Vec<u64>,
    /// The first of them is history.
    baseline: bool,
    /// In the snapshot before, of this process.
    last: Option<u64>,
}

impl Track {
    fn highest(&self) -> u64 {
        self.told.iter().copied().max().unwrap_or(0)
    }

    fn counted(&self) -> u64 {
        let first = self.told.first().filter(|_| self.baseline);
        self.highest() - first.copied().unwrap_or(0)
    }
}

/// A message, from its first sight until it is forgotten.
#[derive(Clone, Debug, Default)]
struct Life {
    first_seen: i64,
    sent_at: Option<i64>,
    campaign: Option<Arc<str>>,
    watched: bool,
    /// The snapshots since its age is known: when they were asked for, and what was sent by then.
    asked: Vec<(i64, u64)>,
    values: BTreeMap<Place, Track>,
    snapshots: u32,
    ended: Vec<u32>,
    answered: Vec<u32>,
    age_unknown: bool,
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

    /// The vendor answered for the message.
    pub(super) fn seen(&mut self, account: &Account, id: &Id, seen: &MessageObservation) {
        self.named(id, &seen.message, seen.first_seen);
        match &seen.snapshot {
            Some(snapshot) => {
                self.snapshot(account, id, &seen.message, snapshot);
                self.ages(account, id, snapshot);
            }
            None => {
                let at = seen.asked_at.as_millisecond();
                let life = self.lives.get_mut(id).unwrap();
                for (age, _, from, to) in windows(account, life) {
                    if (from..=to).contains(&at) {
                        life.answered.push(age);
                    }
                }
            }
        }
    }

    fn snapshot(&mut self, account: &Account, id: &Id, message: &Message, snapshot: &Snapshot) {
        let adopt_age = i64::try_from(self.config.adopt_age.as_millis()).unwrap();
        let mut life = self.lives.remove(id).unwrap();
        let sent_at = snapshot.sent_at.map(|time| time.as_millisecond());
        life.sent_at = life.sent_at.or(sent_at);
        let history = life.snapshots == 0
            && adopt_age > 0
            && life
                .sent_at
                .is_some_and(|sent_at| sent_at < self.birth - adopt_age);
        life.snapshots += 1;
        if life.campaign.is_none() && message.campaign.is_some() {
            life.campaign = message.campaign.clone();
            // "A campaign learned later adds what the message has counted so far, once."
            let values = life.values.iter().filter(|(place, _)| place.0 == "total");
            for ((_, names, measure), track) in values {
                self.campaign(id, &life, &names[0], *measure, track.counted());
            }
        }
        let mut told: Vec<(Place, u64)> = Vec::new();
        for totals in &snapshot.totals {
            self.column(account, &id.0, totals.channel);
            for (measure, count) in &totals.counts {
                let place = ("total", vec![Arc::from(totals.channel)], *measure);
                told.push((place, *count));
            }
        }
        for row in &snapshot.breakdown {
            let names = [&row.message_type, &row.platform, &row.vendor_channel];
            for (measure, count) in &row.counts {
                let names = names.map(Clone::clone).to_vec();
                told.push((("row", names, *measure), *count));
            }
        }
        for totals in &snapshot.types {
            for (measure, count) in &totals.counts {
                let names = vec![totals.message_type.clone()];
                told.push((("type", names, *measure), *count));
            }
        }
        for (place, count) in told {
            let (level, names, measure) = place.clone();
            let track = life.values.entry(place).or_insert_with(|| Track {
                baseline: history,
                ..Track::default()
            });
            let before = track.counted();
            let last = track.last.unwrap_or(track.highest());
            self.own.decreases += u64::from(!track.told.is_empty() && count < last);
            track.told.push(count);
            track.last = Some(count);
            let grown = track.counted() - before;
            if grown == 0 && track.told.len() > 1 {
                continue;
            }
            match level {
                "total" => {
                    let counter = measured(catalog::TOTAL, measure, &[&names[0]]);
                    self.count(&id.0, counter, grown);
                    self.campaign(id, &life, &names[0], measure, grown);
                }
                "row" => {
                    let labels = [
                        self.name("message_type", &names[0]),
                        self.name("platform", &names[1]),
                        self.name("vendor_channel", &names[2]),
                    ];
                    let labels = labels.each_ref().map(AsRef::as_ref);
                    let counter = measured(catalog::TOTAL_BY_CHANNEL, measure, &labels);
                    self.count(&id.0, counter, grown);
                }
                _ => {}
            }
        }
        self.lives.insert(id.clone(), life);
    }

    fn campaign(
        &mut self,
        id: &Id,
        life: &Life,
        channel: &Arc<str>,
        measure: Measure,
        things: u64,
    ) {
        if let Some(campaign) = &life.campaign {
            let campaign = self.name("campaign", campaign);
            let labels = [channel.as_ref(), &campaign];
            let counter = measured(catalog::TOTAL_BY_CAMPAIGN, measure, &labels);
            self.count(&id.0, counter, things);
        }
    }

    fn ages(&mut self, account: &Account, id: &Id, snapshot: &Snapshot) {
        let at = snapshot.asked_at.as_millisecond();
        let mut life = self.lives.remove(id).unwrap();
        let Some(sent_at) = life.sent_at else {
            if !std::mem::replace(&mut life.age_unknown, true) {
                self.own.miss(None, Missed::AgeUnknown);
            }
            self.lives.insert(id.clone(), life);
            return;
        };
        self.close(account, &mut life, at);
        let sums = snapshot.totals.iter().map(|totals| &totals.counts);
        let sents: Vec<u64> = sums
            .filter_map(|counts| get(counts, Measure::Sent))
            .collect();
        let sent = (!sents.is_empty()).then(|| sents.iter().sum::<u64>());
        life.asked.extend(sent.map(|sent| (at, sent)));
        for (age, reached, from, to) in windows(account, &life) {
            if life.ended.contains(&age) || !(from..=to).contains(&at) {
                continue;
            }
            let both = |counts| get(counts, Measure::Sent).zip(get(counts, Measure::Delivered));
            let channels: Vec<_> = snapshot
                .totals
                .iter()
                .filter_map(|totals| Some((totals.channel, both(&totals.counts)?)))
                .filter(|(_, (sent, _))| *sent > 0)
                .collect();
            if channels.is_empty() {
                life.answered.push(age);
                continue;
            }
            life.ended.push(age);
            let half = sent_at + (reached - sent_at) / 2;
            let mut last: Option<(i64, u64)> = None;
            for (at, sent) in &life.asked {
                // The same number again tells nothing: numbers of one message do not swing.
                let newer = last.is_none_or(|last| *at >= last.0 && *sent != last.1);
                if newer && (sent_at..=half).contains(at) {
                    last = Some((*at, *sent));
                }
            }
            if last.is_some_and(|(_, before)| sent.unwrap() * 10 > before * 11) {
                self.own.miss(Some(Age::Seconds(age)), Missed::StillSending);
                continue;
            }
            let age = Age::Seconds(age);
            for (channel, (sent, delivered)) in channels {
                let parts = CohortPart::ALL.into_iter().zip([sent, delivered, 1]);
                for (part, things) in parts {
                    let counter = at_age(catalog::COHORT, part, &[channel], age);
                    self.count(&id.0, counter, things);
                }
            }
            // The message types of a channel are one message.
            let mut rows: BTreeMap<_, (u64, u64)> = BTreeMap::new();
            for row in &snapshot.breakdown {
                if let Some((sent, delivered)) = both(&row.counts) {
                    let platform = self.name("platform", &row.platform);
                    let place = (platform, self.name("vendor_channel", &row.vendor_channel));
                    let sums = rows.entry(place).or_default();
                    *sums = (sums.0 + sent, sums.1 + delivered);
                }
            }
            for ((platform, vendor_channel), (sent, delivered)) in rows {
                let parts = CohortPart::ALL.into_iter().zip([sent, delivered, 1]);
                for (part, things) in parts {
                    let labels = [platform.as_ref(), &vendor_channel];
                    let counter = at_age(catalog::COHORT_BY_CHANNEL, part, &labels, age);
                    self.count(&id.0, counter, things);
                }
            }
        }
        self.lives.insert(id.clone(), life);
    }

    /// Windows that are over.
    fn close(&mut self, account: &Account, life: &mut Life, at: i64) {
        for (age, _, _, to) in windows(account, life) {
            if at > to && !life.ended.contains(&age) {
                life.ended.push(age);
                let reason = if life.answered.contains(&age) {
                    Missed::NoData
                } else {
                    Missed::Late
                };
                self.own.miss(Some(Age::Seconds(age)), reason);
            }
        }
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

    /// A report came, by whatever way.
    pub(super) fn report(&mut self, application: &Arc<str>, report: &Report) {
        let known = self.reports.entry(report.message).or_default();
        if known.iter().any(|own| own.report == report.report) {
            self.own.duplicates += 1;
            return;
        }
        let before = known.clone();
        known.push(report.clone());
        let labels = [
            self.name("status_group", &report.status_group),
            self.name("status", &report.status),
            self.name("error_group", &report.error_group),
            self.name("error", &report.error),
        ];
        let permanent = report.permanent.map(|permanent| permanent.to_string());
        let mut all = vec!["email"];
        all.extend(labels.iter().map(AsRef::as_ref));
        all.push(permanent.as_deref().unwrap_or(""));
        self.count(application, counter(catalog::REPORTS, &all), 1);
        let none = |of: &dyn Fn(&Report) -> bool| !before.iter().any(of);
        let mut measures = Vec::new();
        if before.is_empty() {
            measures.push(Measure::Sent);
        }
        if report.outcome == Outcome::Delivered && none(&|own| own.outcome == Outcome::Delivered) {
            measures.push(Measure::Delivered);
        }
        let is_final = |own: &Report| own.outcome != Outcome::Pending;
        let first_final = is_final(report) && none(&is_final);
        match report.outcome {
            Outcome::Bounced(kind) if first_final => measures.push(Measure::Bounces(kind)),
            Outcome::Failed(reason) if first_final => measures.push(Measure::Errors(reason)),
            _ => {}
        }
        for measure in measures {
            if let Some(campaign) = &report.campaign {
                let campaign = self.name("campaign", campaign);
                let labels = ["email", &campaign];
                let counter = measured(catalog::TOTAL_BY_CAMPAIGN, measure, &labels);
                self.count(application, counter, 1);
            }
            let counter = measured(catalog::TOTAL, measure, &["email"]);
            self.count(application, counter, 1);
        }
        if first_final && let Some(latency) = report.latency {
            let status_group = self.name("status_group", &report.status_group);
            let counter = counter(catalog::REPORT_LATENCY, &["email", &status_group]);
            self.add(application, counter, Sum::time(latency));
        }
        if let Some((money, currency)) = &report.cost
            && none(&|own| own.cost.is_some())
        {
            let currency = self.name("currency", currency);
            let counter = counter(catalog::REPORT_COST, &["email", &currency]);
            self.add(application, counter, Sum::money(*money));
        }
    }
}

fn get(counts: &crate::model::Counts, measure: Measure) -> Option<u64> {
    let own = counts.iter().find(|(own, _)| *own == measure);
    own.map(|(_, count)| *count)
}

/// Each age that is not past when the message is first known: the age in seconds, when it is
/// reached, and from when to when an answer stands for it.
fn windows(account: &Account, life: &Life) -> Vec<(u32, i64, i64, i64)> {
    let Some(sent_at) = life.sent_at else {
        return Vec::new();
    };
    let ages = account.cohort_ages.iter().map(|age| {
        let (age, interval) = (age.as_secs(), account.interval.as_secs());
        // "the age + max(2 x interval, 10 % of the age)"
        let width = (2 * interval * 1000).max(age * 100);
        let [age_millis, width] = [age * 1000, width].map(|own| i64::try_from(own).unwrap());
        let reached = sent_at + age_millis;
        let age = u32::try_from(age).unwrap();
        (age, reached, reached, reached + width)
    });
    ages.filter(|(_, reached, _, _)| life.first_seen <= *reached)
        .collect()
}
