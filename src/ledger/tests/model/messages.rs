//! What a message's snapshots count.

use std::collections::BTreeMap;

use super::{super::*, Id, Model};

/// A value of a message: the level, its names, the measure.
type Place = (&'static str, Vec<Arc<str>>, Measure);

/// One value of a message, each time that it was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    pub(super) told: Vec<u64>,
    /// The first of them is history.
    pub(super) baseline: bool,
    /// In the snapshot before, of this process.
    pub(super) last: Option<u64>,
}

impl Track {
    pub(super) fn highest(&self) -> u64 {
        self.told.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn counted(&self) -> u64 {
        let first = self.told.first().filter(|_| self.baseline);
        self.highest() - first.copied().unwrap_or(0)
    }
}

/// A message, from its first sight until it is forgotten.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) first_seen: i64,
    pub(super) sent_at: Option<i64>,
    pub(super) campaign: Option<Arc<str>>,
    pub(super) watched: bool,
    /// The snapshots since its age is known: when they were asked for, and what was sent by then.
    pub(super) asked: Vec<(i64, u64)>,
    pub(super) values: BTreeMap<Place, Track>,
    pub(super) snapshots: u32,
    pub(super) ended: Vec<u32>,
    pub(super) answered: Vec<u32>,
    pub(super) age_unknown: bool,
}

impl Model {
    /// The vendor answered for the message.
    pub(in crate::ledger::tests) fn seen(
        &mut self,
        account: &Account,
        id: &Id,
        seen: &MessageObservation,
    ) {
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

    pub(super) fn snapshot(
        &mut self,
        account: &Account,
        id: &Id,
        message: &Message,
        snapshot: &Snapshot,
    ) {
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

    pub(super) fn campaign(
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

    pub(super) fn ages(&mut self, account: &Account, id: &Id, snapshot: &Snapshot) {
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
    pub(super) fn close(&mut self, account: &Account, life: &mut Life, at: i64) {
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
}

pub(super) fn get(counts: &crate::model::Counts, measure: Measure) -> Option<u64> {
    let own = counts.iter().find(|(own, _)| *own == measure);
    own.map(|(_, count)| *count)
}

/// Each age that is not past when the message is first known: the age in seconds, when it is
/// reached, and from when to when an answer stands for it.
pub(super) fn windows(account: &Account, life: &Life) -> Vec<(u32, i64, i64, i64)> {
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
