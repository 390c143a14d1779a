//! What any amount comes to, in parts that can be compared.

use std::collections::BTreeMap;

use super::super::*;

/// What any amount comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::ledger::tests) struct Sum {
    pub(super) things: u64,
    /// Money in millionths.
    pub(super) millionths: i128,
    pub(super) micros: u64,
    /// Observations up to each bound.
    pub(super) below: BTreeMap<usize, u64>,
}

impl Sum {
    pub(in crate::ledger::tests) fn of(amount: &Amount) -> Sum {
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

    pub(super) fn things(things: u64) -> Sum {
        Sum {
            things,
            ..Sum::default()
        }
    }

    pub(super) fn money(money: rust_decimal::Decimal) -> Sum {
        let millionths = (money * rust_decimal::Decimal::from(1_000_000)).normalize();
        assert_eq!(millionths.scale(), 0, "{money}");
        Sum {
            millionths: millionths.mantissa(),
            ..Sum::default()
        }
    }

    pub(super) fn time(time: Duration) -> Sum {
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

    pub(super) fn add(&mut self, more: &Sum) {
        self.things += more.things;
        self.millionths += more.millionths;
        self.micros += more.micros;
        for (place, count) in &more.below {
            *self.below.entry(*place).or_default() += count;
        }
    }

    /// What is counted and not released, in things.
    pub(in crate::ledger::tests) fn held(&self, shown: &Sum) -> u64 {
        self.things - shown.things + u64::from(self.millionths > shown.millionths)
    }

    /// Whether no part is more than the other's.
    pub(in crate::ledger::tests) fn within(&self, other: &Sum) -> bool {
        self.things <= other.things
            && self.millionths <= other.millionths
            && self.micros <= other.micros
    }
}
