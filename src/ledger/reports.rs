//! Counting delivery reports exactly once.

use std::{collections::HashMap, sync::Arc};

use rust_decimal::Decimal;

use super::{
    amount::{Amount, Times},
    key::{CounterKey, Texts},
    state::StateTransaction,
};
use crate::{
    catalog::{self, FamilyId},
    model::Measure,
    providers::{Digest, Outcome, Report},
};

/// The deduplication data of one message: which reports were counted, without addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReportDedup {
    delivered: bool,
    /// Whether a final report was counted; no bounce or error can follow it.
    ended: bool,
    priced: bool,
    /// The counted reports, as the first bytes of their digests.
    reports: Vec<[u8; 8]>,
}

impl ReportDedup {
    /// Reads the stored form.
    pub(super) fn parse(bytes: &[u8]) -> ReportDedup {
        let flags = bytes.first().copied().unwrap_or(0);
        let rest = bytes.get(1..).unwrap_or_default();
        ReportDedup {
            delivered: flags & 1 != 0,
            ended: flags & 2 != 0,
            priced: flags & 4 != 0,
            reports: rest.as_chunks::<8>().0.to_vec(),
        }
    }

    /// The stored form: a byte of flags, then eight bytes per report.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let flags =
            u8::from(self.delivered) | u8::from(self.ended) << 1 | u8::from(self.priced) << 2;
        let mut bytes = Vec::with_capacity(1 + 8 * self.reports.len());
        bytes.push(flags);
        bytes.extend(self.reports.iter().flatten());
        bytes
    }

    /// Merges other deduplication data of the same message, and returns whether it contained anything new.
    pub(super) fn merge(&mut self, other: &ReportDedup) -> bool {
        let before = self.clone();
        self.delivered |= other.delivered;
        self.ended |= other.ended;
        self.priced |= other.priced;
        for report in &other.reports {
            if !self.reports.contains(report) {
                self.reports.push(*report);
            }
        }
        *self != before
    }

    /// Counts a report, unless it was already counted under its digest or under the digest that version 0.1
    /// computed.
    pub(super) fn count(&mut self, report: &Report, bounds: &[f64], tally: &mut Tally) -> Counted {
        let own = first_bytes(&report.report);
        if self.reports.contains(&own) {
            return Counted::Repeat { noted: false };
        }
        let first = self.reports.is_empty();
        self.reports.push(own);
        if let Some((former, _)) = &report.former
            && self.reports.contains(&first_bytes(former))
        {
            return Counted::Repeat { noted: true };
        }
        let permanent = match report.permanent {
            Some(true) => "true",
            Some(false) => "false",
            None => "",
        };
        let channel = report.channel;
        let labels = [
            channel,
            &report.status_group,
            &report.status,
            &report.error_group,
            &report.error,
            permanent,
        ];
        tally.one(Slot::Report, catalog::REPORTS, &labels);
        let mut message = |[total, of_campaign]: [Slot; 2], measure: Measure| {
            let detail = measure.detail();
            let count = 1 + usize::from(detail.is_some());
            let labels = [channel, detail.unwrap_or_default()];
            tally.one(total, catalog::TOTAL.of(measure), &labels[..count]);
            if let Some(campaign) = &report.campaign {
                let labels = [channel, campaign, detail.unwrap_or_default()];
                let family = catalog::TOTAL_BY_CAMPAIGN.of(measure);
                tally.one(of_campaign, family, &labels[..=count]);
            }
        };
        if first {
            message([Slot::Sent, Slot::SentOfCampaign], Measure::Sent);
        }
        match report.outcome {
            // Only a delivery can follow a bounce.
            Outcome::Delivered if !self.delivered => {
                self.delivered = true;
                message(FATE, Measure::Delivered);
            }
            Outcome::Bounced(kind) if !self.ended => message(FATE, Measure::Bounces(kind)),
            Outcome::Failed(reason) if !self.ended => message(FATE, Measure::Errors(reason)),
            _ => {}
        }
        let is_final = report.outcome != Outcome::Pending;
        if is_final
            && !std::mem::replace(&mut self.ended, true)
            && let Some(latency) = report.latency
        {
            let labels = [channel, &report.status_group];
            let zero = || Amount::Times(Times::default());
            let amount = tally.amount(Slot::Latency, catalog::REPORT_LATENCY, &labels, zero);
            if let Amount::Times(times) = amount {
                times.note(latency, bounds);
            }
        }
        if let Some((money, currency)) = &report.cost
            && !std::mem::replace(&mut self.priced, true)
        {
            let labels = [channel, currency.as_ref()];
            let zero = || Amount::Money(Decimal::ZERO);
            tally
                .amount(Slot::Cost, catalog::REPORT_COST, &labels, zero)
                .add(&Amount::Money(*money));
        }
        Counted::New
    }
}

/// The outcome of counting a report.
pub(super) enum Counted {
    /// It was counted now.
    New,
    /// It had already been counted.
    Repeat {
        /// Whether it was stored only under its former digest, and is now also stored under its new one.
        noted: bool,
    },
}

/// The stored part of a report's digest.
fn first_bytes(digest: &Digest) -> [u8; 8] {
    std::array::from_fn(|index| digest[index])
}

/// The slots that a tally checks first.
#[derive(Clone, Copy)]
enum Slot {
    Report,
    Sent,
    SentOfCampaign,
    Fate,
    FateOfCampaign,
    Latency,
    Cost,
}

/// The slots for the outcome of a message.
const FATE: [Slot; 2] = [Slot::Fate, Slot::FateOfCampaign];

/// The sums over the reports of one transaction. Most reports are similar, so each of the ledger's counters
/// is looked up once per kind of report instead of once per report.
pub(super) struct Tally {
    application: Arc<str>,
    /// In the order of first occurrence, so that names are limited as if reports were counted one by one.
    amounts: Vec<(CounterKey, Amount)>,
    places: HashMap<CounterKey, usize>,
    /// The index of the last counter of each slot.
    last: [usize; Slot::Cost as usize + 1],
    texts: Texts,
}

impl Tally {
    /// An empty tally for an application.
    pub(super) fn new(application: Arc<str>) -> Tally {
        Tally {
            application,
            amounts: Vec::new(),
            places: HashMap::new(),
            last: Default::default(),
            texts: Texts::default(),
        }
    }

    fn one(&mut self, slot: Slot, family: FamilyId, labels: &[&str]) {
        if let Amount::Count(count) = self.amount(slot, family, labels, || Amount::Count(0)) {
            *count = count.saturating_add(1);
        }
    }

    fn amount(
        &mut self,
        slot: Slot,
        family: FamilyId,
        labels: &[&str],
        zero: fn() -> Amount,
    ) -> &mut Amount {
        let last = &mut self.last[slot as usize];
        let is_last = |(key, _): &(CounterKey, Amount)| {
            let own = key.labels.iter().map(AsRef::as_ref);
            key.family == family && own.eq(labels.iter().copied())
        };
        if !self.amounts.get(*last).is_some_and(is_last) {
            let key = CounterKey {
                application: self.application.clone(),
                family,
                labels: labels.iter().map(|label| self.texts.share(label)).collect(),
            };
            *last = *self.places.entry(key).or_insert_with_key(|key| {
                self.amounts.push((key.clone(), zero()));
                self.amounts.len() - 1
            });
        }
        &mut self.amounts[*last].1
    }

    /// Adds the tally to the counters.
    pub(super) fn count(self, transaction: &mut StateTransaction<'_>) {
        for (key, amount) in self.amounts {
            let key = transaction.bounded(key);
            transaction.add(key, &amount);
        }
    }
}
