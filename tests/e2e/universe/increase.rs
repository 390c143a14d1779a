//! What Prometheus makes of the scrapes of all replicas: `sum without(instance)(increase(…))`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::moods::judge::{ALIKE, Fault, Scrape, family_of, is_counter, label};

/// Shown by every replica, whoever holds the account.
const OF_EVERY_REPLICA: [&str; 2] = [
    "delivery_exporter_lease_held",
    "delivery_exporter_webhook_requests_total",
];

/// Values by the text of their series, as it stands in a scrape.
type Samples = HashMap<String, f64>;

/// The counters of all instances over time.
#[derive(Default)]
pub struct Prometheus {
    /// By instance: the last value of each counter.
    last: BTreeMap<usize, Samples>,
    /// The increase of each counter over all instances.
    sums: Samples,
    /// What was shown last besides counters, by instance.
    others: BTreeMap<usize, Vec<String>>,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// A digest of every line of every scrape, but for what the machine decides.
    pub digest: u64,
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

    /// Takes the scrapes of one moment.
    pub fn take(&mut self, scrapes: &[(usize, String)], when: &str) {
        let mut holders: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        self.others.clear();
        for (instance, text) in scrapes {
            for line in text.lines().filter(|own| own.starts_with("delivery_")) {
                self.digest = line.bytes().fold(self.digest, |all, byte| {
                    (all ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
                });
                let (key, value) = line.rsplit_once(' ').expect("a value");
                let family = family_of(key);
                if is_counter(family) {
                    let value = value.parse().expect("a number");
                    self.sample(*instance, key, value, when);
                } else {
                    let others = self.others.entry(*instance).or_default();
                    others.push(line.to_owned());
                    let account = label(key, "account");
                    if !account.is_empty() && !OF_EVERY_REPLICA.contains(&family) {
                        let holders = holders.entry(account.to_owned()).or_default();
                        holders.insert(*instance);
                    }
                }
            }
        }
        for (account, holders) in holders {
            if holders.len() > 1 {
                let key = format!("{{account=\"{account}\"}}");
                self.fault("shown twice", &key, format!("by {holders:?} {when}"));
            }
        }
    }

    fn sample(&mut self, instance: usize, key: &str, value: f64, when: &str) {
        let last = self.last.entry(instance).or_default();
        let Some(known) = last.get_mut(key) else {
            last.insert(key.to_owned(), value);
            self.sums.entry(key.to_owned()).or_default();
            // The first sample of a series adds nothing.
            if value > ALIKE {
                let text = format!("{key} of {instance} begins at {value} {when}");
                self.fault("born above zero", key, text);
            }
            return;
        };
        let before = std::mem::replace(known, value);
        if value == before {
            return;
        }
        let sum = self.sums.entry(key.to_owned()).or_default();
        if value + ALIKE < before {
            *sum += value;
            let text = format!("{key} of {instance} goes from {before} to {value} {when}");
            self.fault("falls", key, text);
        } else {
            *sum += value - before;
        }
    }

    /// What a judge of one exporter understands: counters are the increases so far, everything else is
    /// as it was shown last.
    pub fn merged(&self) -> Scrape {
        let mut lines: Vec<String> = self.others.values().flatten().cloned().collect();
        // Every replica shows these, and one line is enough of each.
        let key = |line: &String| line.rsplit_once(' ').map(|own| own.0.to_owned());
        lines.sort_unstable_by_key(key);
        lines.dedup_by_key(|line| key(line));
        lines.extend(
            self.sums
                .iter()
                .map(|(key, value)| format!("{key} {value}")),
        );
        Scrape::read(lines.join("\n"))
    }

    /// The value that a replica showed last of something that is no counter.
    pub fn value(&self, instance: usize, family: &str, account: &str) -> Option<f64> {
        let lines = self.others.get(&instance)?;
        let mut lines = lines.iter().filter_map(|line| line.rsplit_once(' '));
        let found =
            lines.find(|(key, _)| family_of(key) == family && label(key, "account") == account);
        found?.1.parse().ok()
    }
}
