//! Series with historic samples for `backfill`, with the names and labels of the live series.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp};

use super::{
    account::Settings,
    chunks::Own,
    figures,
    values::{Labels, Number},
};
use crate::{
    catalog::{FamilyId, Kind, families},
    config::{Account, Config},
    ledger::Increase,
    model::{AppMetric, Application},
};

/// The interval of samples in seconds: the vendors' history is hourly at best.
const STEP: i64 = 3600;

/// The history of an account's series.
pub struct History {
    settings: Settings,
    from: Timestamp,
    to: Timestamp,
    counters: BTreeMap<(FamilyId, Own), Counted>,
    gauges: BTreeMap<(FamilyId, Own), Vec<Newest>>,
}

/// The history of a counter.
#[derive(Default)]
struct Counted {
    /// When the live counter begins.
    end: Timestamp,
    /// Its increases by time.
    grown: BTreeMap<Timestamp, u64>,
}

/// A gauge's value for a period.
struct Newest {
    from: Timestamp,
    to: Timestamp,
    value: f64,
}

/// A series with its historic samples.
pub struct Dated<'a> {
    /// Its labels.
    pub labels: Labels<'a>,
    /// Its samples, in order of time.
    pub samples: Vec<(Timestamp, Number)>,
}

impl History {
    /// The history of an account between two times. `labels` are what Prometheus adds when it scrapes, `job`
    /// and `instance`.
    pub fn new(
        account: &Account,
        config: &Config,
        labels: &[(Arc<str>, Arc<str>)],
        from: Timestamp,
        to: Timestamp,
    ) -> History {
        let names = &config.label_names;
        let mut settings = Settings::new(account, names, &config.limits);
        let identity = Arc::make_mut(&mut settings.identity);
        identity.extra.extend(labels.iter().cloned());
        History {
            settings,
            from,
            to,
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
        }
    }

    /// Adds an increase of a counter. Its samples end at `end`, when the live counter begins.
    pub fn grown(&mut self, increase: &Increase, end: Timestamp) {
        if increase.began < self.from || increase.at > self.to {
            return;
        }
        if let Ok(place) = self.settings.place(&increase.key) {
            let counted = self.counters.entry(place).or_default();
            counted.end = counted.end.max(end.min(self.to));
            *counted.grown.entry(increase.at).or_default() += increase.by;
        }
    }

    /// Adds application metrics that were the newest ones for a period.
    pub fn newest(
        &mut self,
        application: &Application,
        figures: &[AppMetric],
        from: Timestamp,
        to: Timestamp,
    ) {
        for figure in figures {
            let (family, labels, _) =
                figures::place(&figure.kind, &|_, text| (self.settings.short(text), false));
            let own = [application.name.clone()]
                .into_iter()
                .chain(labels)
                .collect();
            let value = figure.value;
            let newest = self.gauges.entry((family, own)).or_default();
            newest.push(Newest { from, to, value });
        }
    }

    /// The samples of a counter: 0 at the start, the count at the end of each hour, and the total at the end.
    fn counter(&self, counted: &Counted) -> Vec<(Timestamp, Number)> {
        let mut samples = vec![(self.from, Number::Count(0))];
        let mut grown = counted.grown.iter().peekable();
        let mut sum: u64 = 0;
        let steps = steps(self.from, counted.end).filter(|at| *at > self.from);
        for at in steps.chain([counted.end]) {
            while let Some((_, by)) = grown.next_if(|(time, _)| **time <= at) {
                sum = sum.saturating_add(*by);
            }
            samples.push((at, Number::Count(sum)));
        }
        samples
    }

    /// The samples of a gauge, hour by hour.
    fn gauge(&self, newest: &[Newest]) -> Vec<(Timestamp, Number)> {
        let mut samples = BTreeMap::new();
        for own in newest {
            let (from, to) = (own.from.max(self.from), own.to.min(self.to));
            for at in steps(from, to) {
                samples.insert(at, figures::number(own.value));
            }
        }
        samples.into_iter().collect()
    }

    fn of(&self, family: FamilyId, show: &mut dyn FnMut(Dated<'_>)) {
        let range = (family, Own::from([]))..;
        let mut tell = |own: &Own, samples: Vec<(Timestamp, Number)>| {
            let own: Vec<&str> = own.iter().map(AsRef::as_ref).collect();
            let labels = Labels::new(family.family(), Some(&self.settings.identity), &own);
            if !samples.is_empty() {
                show(Dated { labels, samples });
            }
        };
        let counters = self.counters.range(range.clone());
        for ((_, own), counted) in counters.take_while(|((of, _), _)| *of == family) {
            tell(own, self.counter(counted));
        }
        for ((_, own), newest) in self
            .gauges
            .range(range)
            .take_while(|((of, _), _)| *of == family)
        {
            tell(own, self.gauge(newest));
        }
    }
}

/// Visits the history of accounts, family by family.
pub fn walk(all: &[History], show: &mut dyn FnMut(FamilyId, Dated<'_>)) {
    for id in families().filter(|id| !matches!(id.kind, Kind::Histogram(_))) {
        for history in all {
            history.of(id, &mut |dated| show(id, dated));
        }
    }
}

/// The full hours from one time until before another.
fn steps(from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
    let second = from.as_second();
    let whole = from.subsec_nanosecond() == 0 && second.rem_euclid(STEP) == 0;
    let first = (second.div_euclid(STEP) + i64::from(!whole)) * STEP;
    let first = Timestamp::from_second(first).ok();
    let next = |at: &Timestamp| at.checked_add(SignedDuration::from_secs(STEP)).ok();
    std::iter::successors(first, next).take_while(move |at| *at < to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog, config,
        ledger::samples::measured,
        model::{AppMetricKind, Measure},
    };

    fn at(text: &str) -> Timestamp {
        format!("2026-11-{text}Z").parse().unwrap()
    }

    #[test]
    fn counters_go_from_0_to_where_the_living_ones_begin_and_gauges_hold_their_time() {
        let text = "providers: [{name: a, type: pushwoosh, credentials: {api_token: t}, labels: {team: crm}, applications: [{id: X, name: app}], messages: {list: true}}]";
        let config = config::parse("config.yaml".as_ref(), text, &|_| None).unwrap();
        let account = &config.accounts[0];
        let labels = [(Arc::from("job"), Arc::from("j"))];
        let (from, to) = (at("01T00:30:00"), at("01T06:00:00"));
        let mut history = History::new(account, &config, &labels, from, to);
        let key =
            |application: &str| measured(catalog::TOTAL, Measure::Sent, &["push"]).of(application);
        let birth = at("01T03:10:00.5");
        for (began, over, by) in [
            ("01T00:00:00", "01T01:00:00", 5),
            ("01T01:00:00", "01T02:00:00", 7),
            ("01T02:00:00", "01T03:00:00", 1),
            ("01T02:59:00", "01T03:10:00.5", 2),
        ] {
            let increase = Increase {
                key: key("X"),
                began: at(began),
                at: at(over),
                by,
            };
            history.grown(&increase, birth);
        }
        // Of an application that is not configured any more.
        let other = Increase {
            key: key("Y"),
            began: at("01T01:00:00"),
            at: at("01T02:00:00"),
            by: 7,
        };
        history.grown(&other, birth);
        let (platform, time_unit) = (Arc::from("ios"), "day");
        let kind = AppMetricKind::UsersNew {
            platform,
            time_unit,
        };
        let figures = [AppMetric { kind, value: 4.0 }];
        history.newest(
            &account.applications[0],
            &figures,
            at("01T04:00:00"),
            at("03T00:00:00"),
        );
        let mut told = Vec::new();
        walk(&[history], &mut |family, dated| {
            let labels: Vec<_> = dated
                .labels
                .pairs()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let samples: Vec<_> = dated
                .samples
                .iter()
                .map(|(at, number)| format!("{} {}", at.strftime("%H:%M:%S%.f"), number.as_f64()))
                .collect();
            told.push(format!(
                "{} {} {}",
                family.name,
                labels.join(","),
                samples.join(", ")
            ));
        });
        assert_eq!(
            told,
            [
                "delivery_sent_total provider=pushwoosh,account=a,application=app,channel=push,team=crm,job=j 00:30:00 0, 01:00:00 0, 02:00:00 7, 03:00:00 8, 03:10:00.5 10",
                "delivery_app_users_new provider=pushwoosh,account=a,application=app,platform=ios,time_unit=day,team=crm,job=j 04:00:00 4, 05:00:00 4",
            ]
        );
    }
}
