//! Adds the increases of a message's snapshot to the counters of a transaction.

use std::{collections::BTreeMap, sync::Arc};

use super::StateTransaction;
use crate::{
    catalog::{self, CohortPart},
    ledger::{
        Missed,
        amount::Amount,
        key::CounterKey,
        sink::{CohortSample, CounterSink},
    },
    model::{Age, Measure},
};

/// Receives the increases for a message of one application.
pub(in crate::ledger) struct MessageCounters<'d, 'i> {
    pub(in crate::ledger) transaction: &'d mut StateTransaction<'i>,
    pub(in crate::ledger) application: Arc<str>,
}

impl MessageCounters<'_, '_> {
    fn add(&mut self, key: CounterKey, count: u64) {
        let key = self.transaction.bounded(key);
        self.transaction.add(key, &Amount::Count(count));
    }
}

impl CounterSink for MessageCounters<'_, '_> {
    fn total(&mut self, channel: &str, measure: Measure, by: u64) {
        let (families, channel) = (catalog::TOTAL, Arc::from(channel));
        let key = CounterKey::measured(&self.application, families, measure, &[&channel]);
        self.add(key, by);
    }

    fn campaign(&mut self, channel: &str, campaign: &Arc<str>, measure: Measure, by: u64) {
        let (families, labels) = (catalog::TOTAL_BY_CAMPAIGN, [&Arc::from(channel), campaign]);
        let key = CounterKey::measured(&self.application, families, measure, &labels);
        self.add(key, by);
    }

    fn row(&mut self, labels: [&Arc<str>; 3], measure: Measure, by: u64) {
        let families = catalog::TOTAL_BY_CHANNEL;
        let key = CounterKey::measured(&self.application, families, measure, &labels);
        self.add(key, by);
    }

    fn channel(&mut self, channel: &str) {
        let application = self.application.clone();
        self.transaction.zero_channel(&application, channel);
    }

    fn decreases(&mut self, count: u64) {
        self.transaction.changes.delta.decreases += count;
    }

    fn cohort(&mut self, taken: CohortSample<'_>) {
        let age = taken.age;
        for (channel, sent, delivered) in taken.channels {
            let channel: Arc<str> = Arc::from(channel);
            for (part, count) in parts(sent, delivered) {
                let (families, labels) = (catalog::COHORT, [&channel]);
                let key = CounterKey::at_age(&self.application, families, part, &labels, age);
                self.add(key, count);
            }
        }
        // Beyond the limit several places become one, and the message counts once there.
        let mut places: BTreeMap<CounterKey, u64> = BTreeMap::new();
        for ((platform, vendor_channel), (sent, delivered)) in taken.rows {
            for (part, count) in parts(sent, delivered) {
                let (families, labels) = (catalog::COHORT_BY_CHANNEL, [&platform, &vendor_channel]);
                let key = CounterKey::at_age(&self.application, families, part, &labels, age);
                let key = self.transaction.bounded(key);
                let sum = places.entry(key).or_default();
                *sum = match part {
                    CohortPart::Messages => 1,
                    _ => sum.saturating_add(count),
                };
            }
        }
        for (key, count) in places {
            self.transaction.add(key, &Amount::Count(count));
        }
    }

    fn missed(&mut self, age: Option<Age>, reason: Missed) {
        self.transaction.changes.delta.missed.push((age, reason));
    }
}

fn parts(sent: u64, delivered: u64) -> [(CohortPart, u64); 3] {
    [
        (CohortPart::Sent, sent),
        (CohortPart::Delivered, delivered),
        (CohortPart::Messages, 1),
    ]
}
