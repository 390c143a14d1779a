//! What Prometheus makes of the scrapes of all replicas: `sum without(instance)(increase(…))`.

use std::collections::{BTreeMap, BTreeSet};

use super::super::moods::{
    judge::{ALIKE, Fault, Scrape, family_of, is_counter, label},
    truth::Series,
};

/// Shown by every replica, whoever holds the account.
const OF_EVERY_REPLICA: [&str; 2] = [
    "delivery_exporter_lease_held",
    "delivery_exporter_webhook_requests_total",
];

/// The counters of all instances over time.
#[derive(Default)]
pub struct Prometheus {
    /// By instance: the last value of each counter.
    last: BTreeMap<usize, Series>,
    /// The increase of each counter over all instances.
    sums: Series,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl Prometheus {
    fn fault(&mut self, promise: &'static str, key: &str, text: String) {
        let (whose, family) = (label(key, "account").to_owned(), family_of(key).to_owned());
        let known = self.faults.iter();
        let known = known.filter(|own| own.promise == promise && own.whose == whose);
        if known.count() < 2 {
            self.faults.push(Fault {
                promise,
                whose,
                family,
                text,
            });
        }
    }

    /// Takes the scrapes of one moment, and gives what a judge of one exporter understands: counters
    /// are the increases so far, everything else is as it is shown.
    pub fn take(&mut self, scrapes: &[(usize, Scrape)], when: &str) -> Scrape {
        let mut text = String::new();
        let mut holders: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let mut others = Series::new();
        for (instance, scrape) in scrapes {
            text.push_str(scrape.text());
            for (key, value) in scrape.samples() {
                let family = family_of(key);
                let account = label(key, "account");
                if !account.is_empty() && !OF_EVERY_REPLICA.contains(&family) {
                    holders.entry(account.to_owned()).or_default().insert(*instance);
                }
                if is_counter(family) {
                    self.sample(*instance, key, *value, when);
                } else {
                    others.insert(key.clone(), *value);
                }
            }
        }
        for (account, holders) in holders {
            if holders.len() > 1 {
                let key = format!("{{account=\"{account}\"}}");
                self.fault("shown twice", &key, format!("by {holders:?} {when}"));
            }
        }
        others.extend(self.sums.iter().map(|(key, value)| (key.clone(), *value)));
        Scrape::merged(text, others)
    }

    fn sample(&mut self, instance: usize, key: &str, value: f64, when: &str) {
        let last = self.last.entry(instance).or_default();
        let before = last.insert(key.to_owned(), value);
        let sum = self.sums.entry(key.to_owned()).or_default();
        match before {
            // The first sample of a series adds nothing.
            None if value > ALIKE => {
                let text = format!("{key} of {instance} begins at {value} {when}");
                self.fault("born above zero", key, text);
            }
            None => {}
            Some(before) if value + ALIKE < before => {
                *sum += value;
                let text = format!("{key} of {instance} goes from {before} to {value} {when}");
                self.fault("falls", key, text);
            }
            Some(before) => *sum += value - before,
        }
    }
}
