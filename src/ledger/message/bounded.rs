//! Limits how much of a vendor's breakdown of a message is stored.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::{
    super::names::{OTHER, shortened},
    numbers::Tables,
};
use crate::model::{Counts, Row, Snapshot, TypeTotals};

/// The maximum number of stored rows per message, ten times as many as any vendor documents.
const MOST_ROWS: usize = 1000;
/// The maximum length of a name in a row, in bytes.
const MOST_OF_NAME: usize = 256;

impl Tables {
    /// The snapshot with its rows and names reduced to the limits; `None` if it is within the limits. Known
    /// rows are kept, and as many new ones as the limit allows; the counts of all others are added up under
    /// `other`. Otherwise a vendor that uses a new name in each answer would let the state, and the time to
    /// compare it, grow without bound.
    pub(super) fn bounded(&self, snapshot: &Snapshot) -> Option<Snapshot> {
        let is_long = |name: &Arc<str>| name.len() > MOST_OF_NAME;
        let rows = &snapshot.breakdown;
        let long_row = |row: &Row| {
            [&row.message_type, &row.platform, &row.vendor_channel]
                .into_iter()
                .any(is_long)
        };
        let few = self.rows.len() + rows.len() <= MOST_ROWS
            && self.types.len() + snapshot.types.len() <= MOST_ROWS;
        if few
            && !rows.iter().any(long_row)
            && !snapshot.types.iter().any(|own| is_long(&own.message_type))
        {
            return None;
        }
        let known = self.rows.iter();
        let known = known.map(|own| [own.0.as_str(), own.1.as_str(), own.2.as_str()]);
        let told = rows.iter().map(|row| {
            let names = [&row.message_type, &row.platform, &row.vendor_channel];
            (names, &row.counts)
        });
        let breakdown = kept(known.collect(), told)
            .into_iter()
            .map(|(names, counts)| {
                let [message_type, platform, vendor_channel] = names;
                Row {
                    message_type,
                    platform,
                    vendor_channel,
                    counts,
                }
            });
        let known = self.types.iter().map(|(own, _)| [own.as_str()]);
        let told = snapshot.types.iter();
        let told = told.map(|totals| ([&totals.message_type], &totals.counts));
        let types = kept(known.collect(), told).into_iter();
        let types = types.map(|([message_type], counts)| TypeTotals {
            message_type,
            counts,
        });
        Some(Snapshot {
            breakdown: breakdown.collect(),
            types: types.collect(),
            ..snapshot.clone()
        })
    }
}

/// Counts by name: the known names, as many new ones as the limit allows (shortened if they are long), and
/// the rest under `other`.
fn kept<'a, const N: usize>(
    known: HashSet<[&str; N]>,
    told: impl Iterator<Item = ([&'a Arc<str>; N], &'a Counts)>,
) -> BTreeMap<[Arc<str>; N], Counts> {
    let other: Arc<str> = Arc::from(OTHER);
    let is_known = |names: [&Arc<str>; N]| known.contains(&names.map(|own| own.as_ref()));
    let mut kept: BTreeMap<[Arc<str>; N], Counts> = BTreeMap::new();
    let mut room = MOST_ROWS.saturating_sub(known.len());
    for (names, counts) in told {
        let place = if is_known(names) {
            names.map(Clone::clone)
        } else {
            let short = names.map(|own| shortened(own, MOST_OF_NAME));
            if kept.contains_key(&short) || is_known(short.each_ref()) {
                short
            } else if room > 0 {
                room -= 1;
                short
            } else {
                names.map(|_| other.clone())
            }
        };
        add_up(kept.entry(place).or_default(), counts);
    }
    kept
}

/// Adds counts to those of the same measures.
fn add_up(counts: &mut Counts, others: &Counts) {
    for (measure, count) in others {
        match counts.iter_mut().find(|(own, _)| own == measure) {
            Some((_, sum)) => *sum = sum.saturating_add(*count),
            None => counts.push((*measure, *count)),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        ledger::{
            Windows,
            message::{Adoption, MessageState},
            sink::CounterSink,
        },
        model::{Measure, Message},
    };

    /// Adds up what grew.
    #[derive(Default)]
    struct Sum {
        rows: u64,
        names: HashSet<String>,
    }

    impl CounterSink for Sum {
        fn total(&mut self, _: &str, _: Measure, _: u64) {}
        fn channel(&mut self, _: &str) {}
        fn campaign(&mut self, _: &str, _: &Arc<str>, _: Measure, _: u64) {}
        fn row(&mut self, names: [&Arc<str>; 3], _: Measure, by: u64) {
            self.rows += by;
            self.names.insert(names[2].to_string());
        }
        fn decreases(&mut self, _: u64) {}
        fn cohort(&mut self, _: crate::ledger::sink::CohortSample) {}
        fn missed(&mut self, _: Option<crate::model::Age>, _: crate::ledger::Missed) {}
    }

    fn rows(names: impl Iterator<Item = String>, count: u64) -> Snapshot {
        let row = |name: String| Row {
            message_type: "notification".into(),
            platform: "android".into(),
            vendor_channel: name.into(),
            counts: vec![(Measure::Sent, count)],
        };
        Snapshot {
            asked: "1".into(),
            id: "1".into(),
            campaign: None,
            sent_at: None,
            asked_at: Timestamp::UNIX_EPOCH,
            totals: Vec::new(),
            breakdown: names.map(row).collect(),
            types: Vec::new(),
        }
    }

    #[test]
    fn a_breakdown_without_end_is_counted_in_full_and_kept_in_part() {
        let message = Message {
            application: "app".into(),
            id: "1".into(),
            campaign: None,
            sent_at: None,
        };
        let adoption = Adoption {
            birth: Timestamp::UNIX_EPOCH,
            age: std::time::Duration::ZERO,
        };
        let mut state = MessageState::new(&message, Timestamp::UNIX_EPOCH);
        let mut sum = Sum::default();
        let mut lower = Vec::new();
        let mut take = |snapshot: &Snapshot, state: &mut MessageState| {
            let windows = Windows::default();
            state.count_snapshot(&message, snapshot, adoption, &windows, &mut lower, &mut sum);
            sum.rows
        };
        // First the vendor's own channels, then a name for every number.
        let own = || ["huawei", "xiaomi"].map(str::to_owned).into_iter();
        assert_eq!(take(&rows(own(), 5), &mut state), 10);
        let many = || (0..50_000).map(|number| format!("new-{number}"));
        assert_eq!(
            take(&rows(own().chain(many()), 5), &mut state),
            10 + 250_000
        );
        assert_eq!(
            take(&rows(own().chain(many()), 5), &mut state),
            10 + 250_000
        );
        assert_eq!(
            take(&rows(own().chain(many()), 6), &mut state),
            12 + 300_000
        );
        // In another order the same rows are kept.
        let reversed: Vec<_> = own().chain(many()).collect();
        let reversed = reversed.into_iter().rev();
        assert_eq!(take(&rows(reversed, 6), &mut state), 12 + 300_000);
        assert!(
            state.numbers.read().rows.len() <= MOST_ROWS + 1,
            "{}",
            state.numbers.read().rows.len()
        );
        // Long names are cut, and stay apart.
        let long = || (0..2).map(|number| format!("{}{number}", "x".repeat(1_000_000)));
        let mut state = MessageState::new(&message, Timestamp::UNIX_EPOCH);
        take(&rows(long(), 1), &mut state);
        take(&rows(long(), 1), &mut state);
        assert_eq!(state.numbers.read().rows.len(), 2);
        assert!(
            state
                .numbers
                .read()
                .rows
                .iter()
                .all(|own| own.2.len() <= MOST_OF_NAME)
        );
    }
}
