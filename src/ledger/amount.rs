//! The exact amounts of counters.

use rust_decimal::Decimal;

/// An amount, which only grows.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount {
    /// A number of things.
    Count(u64),
    /// Money, exactly.
    Money(Decimal),
    /// Observations of times.
    Times(Times),
}

/// Observed durations in buckets. The bounds are not stored; there is one more bucket than bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The number of observations in each bucket, not cumulative.
    pub buckets: Vec<u64>,
    /// The sum in microseconds, an integer so that the order of additions does not matter.
    pub micros: u64,
}

impl Times {
    /// One observation, in its bucket of `bounds` (seconds, ascending).
    #[cfg(test)]
    pub fn observe(time: std::time::Duration, bounds: &[f64]) -> Times {
        let mut times = Times::default();
        times.note(time, bounds);
        times
    }

    /// Adds an observation to its bucket of the same bounds.
    pub fn note(&mut self, time: std::time::Duration, bounds: &[f64]) {
        let seconds = time.as_secs_f64();
        self.buckets.resize(bounds.len() + 1, 0);
        self.buckets[bounds.partition_point(|bound| *bound < seconds)] += 1;
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.micros = self.micros.saturating_add(micros);
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        let buckets = self.buckets.iter();
        buckets.fold(0, |sum: u64, count| sum.saturating_add(*count))
    }
}

impl Amount {
    /// Zero, of the same kind as this amount.
    pub fn zero(&self) -> Amount {
        match self {
            Amount::Count(_) => Amount::Count(0),
            Amount::Money(_) => Amount::Money(Decimal::ZERO),
            Amount::Times(_) => Amount::Times(Times::default()),
        }
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        match self {
            Amount::Count(count) => *count == 0,
            Amount::Money(money) => money.is_zero(),
            Amount::Times(times) => times.count() == 0,
        }
    }

    /// Adds an amount of the same kind.
    pub fn add(&mut self, more: &Amount) {
        match (self, more) {
            (Amount::Count(own), Amount::Count(more)) => *own = own.saturating_add(*more),
            (Amount::Money(own), Amount::Money(more)) => *own = own.saturating_add(*more),
            (Amount::Times(own), Amount::Times(more)) => {
                if own.buckets.len() < more.buckets.len() {
                    own.buckets.resize(more.buckets.len(), 0);
                }
                for (own, more) in own.buckets.iter_mut().zip(&more.buckets) {
                    *own = own.saturating_add(*more);
                }
                own.micros = own.micros.saturating_add(more.micros);
            }
            // The kind of a key never changes.
            (own, more) => debug_assert!(false, "{own:?} and {more:?} are of two kinds"),
        }
    }

    /// The number of things or observations that it represents, or for money the number of amounts.
    pub fn things(&self) -> u64 {
        match self {
            Amount::Count(count) => *count,
            Amount::Money(money) => (!money.is_zero()).into(),
            Amount::Times(times) => times.count(),
        }
    }

    /// The stored form: a letter for the kind, then decimal numbers, so that a ledger can be read with any
    /// tool.
    pub fn to_text(&self) -> String {
        match self {
            Amount::Count(count) => format!("c{count}"),
            Amount::Money(money) => format!("m{money}"),
            Amount::Times(times) => {
                let mut text = format!("t{}", times.micros);
                for bucket in &times.buckets {
                    text.push(' ');
                    text.push_str(&bucket.to_string());
                }
                text
            }
        }
    }

    /// Reads the stored form.
    pub fn parse(text: &str) -> Option<Amount> {
        let rest = text.get(1..)?;
        match text.as_bytes().first()? {
            b'c' => rest.parse().ok().map(Amount::Count),
            b'm' => rest.parse().ok().map(Amount::Money),
            b't' => {
                let mut numbers = rest.split(' ').map(str::parse);
                let micros = numbers.next()?.ok()?;
                let buckets = numbers.collect::<Result<_, _>>().ok()?;
                Some(Amount::Times(Times { buckets, micros }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn amounts_survive_being_stored() {
        let amounts = [
            Amount::Count(u64::MAX),
            Amount::Money("0.0025".parse().unwrap()),
            Amount::Times(Times::observe(Duration::from_millis(32_416), &[1.0, 60.0])),
            Amount::Times(Times::default()),
        ];
        for amount in amounts {
            assert_eq!(Amount::parse(&amount.to_text()), Some(amount));
        }
        for text in ["", "c", "x1", "c-1", "t1 x"] {
            assert_eq!(Amount::parse(text), None, "{text}");
        }
    }

    #[test]
    fn money_and_times_add_up_exactly() {
        let mut sum = Amount::Money("0.1".parse().unwrap());
        sum.add(&Amount::Money("0.2".parse().unwrap()));
        assert_eq!(sum, Amount::Money("0.3".parse().unwrap()));
        let mut sum = Amount::Times(Times::default());
        for millis in [100, 2000, 2000] {
            sum.add(&Amount::Times(Times::observe(
                Duration::from_millis(millis),
                &[1.0],
            )));
        }
        let buckets = vec![1, 2];
        assert_eq!(
            sum,
            Amount::Times(Times {
                buckets,
                micros: 4_100_000
            })
        );
    }
}
