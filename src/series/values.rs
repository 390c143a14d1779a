//! The values and labels of a series, and how outputs visit them.

use std::{ops::Range, sync::Arc};

use jiff::Timestamp;
use rust_decimal::{Decimal, prelude::ToPrimitive};

use crate::catalog::{Family, FamilyId, Kind, Origin};

/// A number that is exposed exactly as it was counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A count.
    Count(u64),
    /// A measurement.
    Float(f64),
    /// An amount of money.
    Decimal(Decimal),
}

impl Number {
    /// The nearest double.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Count(count) => count as f64,
            Number::Float(float) => float,
            Number::Decimal(decimal) => decimal.to_f64().unwrap_or(f64::NAN),
        }
    }
}

/// The value of one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a gauge.
    Gauge(Number),
    /// Of a counter, with the time from which it counts.
    Counter(Number, Timestamp),
    /// Of a histogram, with the time from which it counts.
    Histogram(Box<Histogram>, Timestamp),
}

/// Observations by upper bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The upper bounds, without the infinite one.
    pub bounds: &'static [f64],
    /// The number of observations in each bucket, not cumulative; one more bucket than bounds.
    pub buckets: Vec<u64>,
    /// The sum of the observed values.
    pub sum: f64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new(bounds: &'static [f64]) -> Histogram {
        Histogram {
            bounds,
            buckets: vec![0; bounds.len() + 1],
            sum: 0.0,
        }
    }

    /// Adds an observation.
    pub fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket] += 1;
        self.sum += value;
    }

    /// The number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Each bound with the number of observations up to it, without the infinite one.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let sums = self.buckets.iter().scan(0, |sum, bucket| {
            *sum += bucket;
            Some(*sum)
        });
        self.bounds.iter().copied().zip(sums)
    }
}

/// The labels that all series of an account share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The label `provider`.
    pub provider: &'static str,
    /// The label `account`.
    pub account: Arc<str>,
    /// The labels that the configuration adds.
    pub extra: Vec<(Arc<str>, Arc<str>)>,
}

/// The labels of one series.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    family: &'static Family,
    identity: Option<&'a Identity>,
    own: &'a [&'a str],
}

impl<'a> Labels<'a> {
    /// The labels of a series of `family`: those of the account, and the values of the family's
    /// other labels in order.
    pub fn new(
        family: &'static Family,
        identity: Option<&'a Identity>,
        own: &'a [&'a str],
    ) -> Labels<'a> {
        Labels {
            family,
            identity,
            own,
        }
    }

    /// The values of the labels that differ between series of one family and account.
    pub fn own(self) -> &'a [&'a str] {
        self.own
    }

    /// The positions of those labels among all labels.
    pub fn own_range(self) -> Range<usize> {
        let common = self.family.labels.len() - self.own.len();
        common..self.family.labels.len()
    }

    /// Names and values: the family's labels in order, then those that the configuration adds.
    pub fn pairs(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut own = self.own.iter();
        let identity = self.identity;
        let named = self.family.labels.iter().map(move |label| {
            let value = match (label.origin, identity) {
                (Origin::Provider, Some(identity)) => identity.provider,
                (Origin::Account, Some(identity)) => &identity.account,
                _ => own.next().copied().unwrap_or_default(),
            };
            (label.name, value)
        });
        let extra = identity.filter(|_| self.family.of_account()).into_iter();
        named.chain(extra.flat_map(|identity| {
            identity
                .extra
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_ref()))
        }))
    }

    /// The value of a label; empty if the series has no such label.
    pub fn value(self, name: &str) -> &'a str {
        let found = self.pairs().find(|(own, _)| *own == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Visits all series at one moment: families in the order of the exposition, the series of a family together,
/// accounts in the order of the configuration.
pub trait Visitor {
    /// Whether the visitor wants the samples of a family.
    fn wants(&self, family: FamilyId) -> bool {
        let _ = family;
        true
    }
    /// Starts a family; a family without samples is left out.
    fn family(&mut self, family: FamilyId);
    /// A series of the family.
    fn sample(&mut self, labels: Labels<'_>, value: &Value);
}

/// Passes series to a visitor, and starts the family before its first series.
pub(super) struct Show<'v> {
    visitor: &'v mut dyn Visitor,
    family: FamilyId,
    begun: bool,
}

impl<'v> Show<'v> {
    pub(super) fn new(visitor: &'v mut dyn Visitor, family: FamilyId) -> Show<'v> {
        Show {
            visitor,
            family,
            begun: false,
        }
    }

    pub(super) fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        if !self.begun {
            self.visitor.family(self.family);
            self.begun = true;
        }
        self.visitor.sample(labels, value);
    }
}

/// The initial value of a counter or histogram of `family`.
pub(super) fn born(family: &Family, at: Timestamp) -> Value {
    match family.kind {
        Kind::Gauge => Value::Gauge(Number::Count(0)),
        Kind::Counter => Value::Counter(Number::Count(0), at),
        Kind::Histogram(bounds) => Value::Histogram(Box::new(Histogram::new(bounds)), at),
    }
}
