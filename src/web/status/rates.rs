//! Computes delivery rates and usual rates from the history. The usual rate is the rate at the same time of
//! day on earlier days, computed for each part, so that a different mix of channels does not look like a
//! problem.

use super::history::{AccountHistory, Counts, DAY_BUCKETS, KEPT_BUCKETS, PartKey};

/// A rate pools buckets until it has this number of messages, up to its longest window.
const ENOUGH_SENT: f64 = 300.0;
/// With fewer messages there is no rate.
const MIN_SENT: f64 = 30.0;
/// The usual rate needs at least this number of past hours.
const MIN_PAST: usize = 5;
/// If there is no earlier day, hours that are older than this are used instead.
const YOUNG_GAP: usize = 12;
/// The minimum width of the band on each side.
const MIN_HALF_WIDTH: f64 = 0.005;

/// What a rate is calculated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// Messages of equal age.
    Cohorts,
    /// All counted messages, including those that are still being delivered.
    Counted,
}

/// The number of buckets that a rate covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    shortest: usize,
    longest: usize,
}

impl Window {
    /// Half an hour to an hour.
    pub(super) const HOUR: Window = Window {
        shortest: 2,
        longest: 4,
    };
    /// A day, for vendors that publish once a day.
    pub(super) const DAY: Window = Window {
        shortest: DAY_BUCKETS,
        longest: DAY_BUCKETS,
    };

    /// The shortest length in buckets over which enough was sent, or else the longest.
    fn length(self, sent_over: impl Fn(usize) -> f64) -> usize {
        (self.shortest..=self.longest)
            .find(|length| sent_over(*length) >= ENOUGH_SENT)
            .unwrap_or(self.longest)
    }

    /// Its name for people.
    pub(super) fn name(self) -> &'static str {
        if self == Window::DAY { "day" } else { "hour" }
    }
}

/// The usual rate at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usual {
    pub(super) low: f64,
    pub(super) middle: f64,
    pub(super) high: f64,
    /// The number of earlier days that it is based on; 0 if it is based on earlier hours of the same day.
    pub(super) days: usize,
}

/// A rate at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    pub(super) sent: f64,
    pub(super) delivered: f64,
    pub(super) usual: Option<Usual>,
    /// The usual number of deliveries for what was sent, summed over the parts.
    pub(super) expected: Option<f64>,
    /// Deliveries as a share of `expected`.
    pub(super) share: Option<f64>,
}

impl Measured {
    pub(super) fn rate(&self) -> f64 {
        self.delivered / self.sent
    }

    /// The number of missing deliveries.
    pub(super) fn missing(&self) -> f64 {
        match (self.expected, self.share) {
            (Some(expected), Some(share)) => (expected * (1.0 - share)).max(0.0),
            _ => 0.0,
        }
    }
}

/// What was sent and delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pair {
    pub(super) sent: f64,
    pub(super) delivered: f64,
}

impl Pair {
    /// Delivered / sent; `None` for too few messages.
    fn rate(self) -> Option<f64> {
        (self.sent >= MIN_SENT).then(|| self.delivered / self.sent)
    }
}

/// A part's buckets as running sums, so that the sum over any window is a difference.
struct Sums(Vec<Pair>);

impl Sums {
    fn new(buckets: &[(u32, Counts)], newest: u32, basis: Basis) -> Sums {
        let oldest = i64::from(newest) + 1 - KEPT_BUCKETS as i64;
        let mut sums = vec![Pair::default(); KEPT_BUCKETS + 1];
        for (bucket, counts) in buckets {
            let place = usize::try_from(i64::from(*bucket) - oldest);
            if let Some(pair) = place.ok().and_then(|place| sums.get_mut(place + 1)) {
                let (sent, delivered) = match basis {
                    Basis::Cohorts => (counts.cohort_sent, counts.cohort_delivered),
                    Basis::Counted => (counts.sent, counts.delivered),
                };
                pair.sent += f64::from(sent);
                pair.delivered += f64::from(delivered);
            }
        }
        for index in 1..sums.len() {
            sums[index].sent += sums[index - 1].sent;
            sums[index].delivered += sums[index - 1].delivered;
        }
        Sums(sums)
    }

    /// The sum over `length` buckets up to the one at `index`.
    fn over(&self, index: usize, length: usize) -> Pair {
        let (from, to) = ((index + 1).saturating_sub(length), index + 1);
        Pair {
            sent: self.0[to].sent - self.0[from].sent,
            delivered: self.0[to].delivered - self.0[from].delivered,
        }
    }

    /// The shortest window up to `index` with enough messages.
    fn window(&self, index: usize, window: Window) -> usize {
        window.length(|length| self.over(index, length).sent)
    }

    fn rate(&self, index: usize, window: Window) -> Option<f64> {
        self.over(index, self.window(index, window)).rate()
    }

    /// The usual rate for the bucket at `index`.
    fn usual(&self, index: usize, window: Window) -> Option<Usual> {
        let is_daily = window == Window::DAY;
        let (mut rates, mut days) = (Vec::new(), 0);
        for day in 1..=7 {
            let before = rates.len();
            let hours = if is_daily { 0..=0 } else { -2..=2_i64 };
            for hour in hours {
                let place = index as i64 - (day * DAY_BUCKETS) as i64 + hour * 4;
                let place = usize::try_from(place).ok();
                rates.extend(place.and_then(|place| self.rate(place, window)));
            }
            days += usize::from(rates.len() > before);
        }
        if rates.len() < if is_daily { 3 } else { MIN_PAST } {
            if is_daily {
                return None;
            }
            let end = index.checked_sub(YOUNG_GAP)?;
            let hours = (0..=end).rev().step_by(4).take(24);
            rates = hours.filter_map(|place| self.rate(place, window)).collect();
            days = 0;
            if rates.len() < MIN_PAST {
                return None;
            }
        }
        rates.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "there are a few dozen"
        )]
        let quantile = |share: f64| rates[((rates.len() - 1) as f64 * share).round() as usize];
        let middle = quantile(0.5);
        Some(Usual {
            low: quantile(0.1).min(middle - MIN_HALF_WIDTH).max(0.0),
            middle,
            high: quantile(0.9).max(middle + MIN_HALF_WIDTH),
            days,
        })
    }
}

/// A vendor channel, or a whole channel if there is no breakdown.
pub(super) struct PartRates {
    pub(super) key: PartKey,
    /// All counts of the last 24 hours.
    pub(super) counted: Pair,
    /// The counts of the last 24 hours that the rate is calculated from.
    pub(super) rated: Pair,
    pub(super) now: Option<Measured>,
}

/// The rates of one account.
pub(super) struct AccountRates {
    pub(super) basis: Basis,
    pub(super) window: Window,
    /// The rate over the last buckets.
    pub(super) now: Option<Measured>,
    /// A point for each bucket of the last 24 hours, oldest first.
    pub(super) rates: Vec<Option<f64>>,
    /// A band for each hour of the last 24, oldest first, 25 of them.
    pub(super) band: Vec<Option<Usual>>,
    pub(super) parts: Vec<PartRates>,
    /// All that was counted in the last 24 hours.
    pub(super) counted: Pair,
}

impl AccountRates {
    /// The rates as of the bucket `newest`.
    pub(super) fn new(history: &AccountHistory, newest: u32, is_daily: bool) -> AccountRates {
        let last = KEPT_BUCKETS - 1;
        let window = if is_daily { Window::DAY } else { Window::HOUR };
        let mut buckets = history.parts.values().flatten();
        let basis = if buckets.any(|(_, counts)| counts.cohort_sent > 0) {
            Basis::Cohorts
        } else {
            Basis::Counted
        };
        let all: Vec<(&PartKey, Sums, Pair)> = history
            .parts
            .iter()
            .map(|(key, buckets)| {
                let day = Sums::new(buckets, newest, Basis::Counted).over(last, DAY_BUCKETS);
                (key, Sums::new(buckets, newest, basis), day)
            })
            .collect();
        // A channel without a breakdown is represented by its total.
        let broken_down: Vec<&str> = all
            .iter()
            .filter(|(key, sums, _)| {
                !key.vendor_channel.is_empty() && sums.over(last, KEPT_BUCKETS).sent > 0.0
            })
            .map(|(key, ..)| key.channel.as_str())
            .collect();
        let mut counted = Pair::default();
        for (_, _, day) in all.iter().filter(|(key, ..)| key.vendor_channel.is_empty()) {
            counted.sent += day.sent;
            counted.delivered += day.delivered;
        }
        let is_rated = |key: &PartKey| {
            key.vendor_channel.is_empty() != broken_down.contains(&key.channel.as_str())
        };
        let parts: Vec<_> = all.into_iter().filter(|(key, ..)| is_rated(key)).collect();
        let sum = |index: usize, length: usize| {
            parts.iter().fold(Pair::default(), |sum, (_, sums, _)| {
                let pair = sums.over(index, length);
                Pair {
                    sent: sum.sent + pair.sent,
                    delivered: sum.delivered + pair.delivered,
                }
            })
        };
        let window_at = |index: usize| window.length(|length| sum(index, length).sent);
        let measure = |index: usize| {
            let length = window_at(index);
            let pair = sum(index, length);
            let of_parts = parts.iter().map(|(_, sums, _)| {
                let pair = sums.over(index, length);
                (
                    pair,
                    (pair.sent > 0.0)
                        .then(|| sums.usual(index, window))
                        .flatten(),
                )
            });
            measured(pair, of_parts)
        };
        let first = KEPT_BUCKETS - DAY_BUCKETS;
        let rates = (first..=last)
            .map(|index| sum(index, window_at(index)).rate())
            .collect();
        let hours = (0..=24).map(|hour| (first + hour * 4).min(last));
        let band = hours
            .map(|index| measure(index).and_then(|measured| measured.usual))
            .collect();
        let now = measure(last);
        let of_part = |(key, sums, counted): &(&PartKey, Sums, Pair)| {
            let pair = sums.over(last, sums.window(last, window));
            let usual = sums.usual(last, window);
            PartRates {
                key: (*key).clone(),
                counted: *counted,
                rated: sums.over(last, DAY_BUCKETS),
                now: measured(pair, std::iter::once((pair, usual))),
            }
        };
        AccountRates {
            basis,
            window,
            now,
            rates,
            band,
            parts: parts.iter().map(of_part).collect(),
            counted,
        }
    }
}

/// The rate of a sum, compared with the usual rates of its parts.
fn measured(sum: Pair, parts: impl Iterator<Item = (Pair, Option<Usual>)>) -> Option<Measured> {
    if sum.sent < MIN_SENT {
        return None;
    }
    let (mut sent, mut delivered) = (0.0, 0.0);
    let (mut low, mut middle, mut high, mut days) = (0.0, 0.0, 0.0, usize::MAX);
    for (pair, usual) in parts {
        if let Some(usual) = usual {
            sent += pair.sent;
            delivered += pair.delivered;
            low += pair.sent * usual.low;
            middle += pair.sent * usual.middle;
            high += pair.sent * usual.high;
            days = days.min(usual.days);
        }
    }
    // If a sum consists mostly of new parts, its usual rate is unknown.
    let is_known = sent >= 0.8 * sum.sent;
    let share = (is_known && middle >= MIN_SENT).then(|| delivered / middle);
    Some(Measured {
        sent: sum.sent,
        delivered: sum.delivered,
        usual: is_known.then(|| Usual {
            low: low / sent,
            middle: middle / sent,
            high: high / sent,
            days,
        }),
        expected: share.map(|_| middle),
        share,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: u32 = 100_000;

    fn part(vendor_channel: &str) -> PartKey {
        PartKey {
            channel: "push".into(),
            vendor_channel: vendor_channel.into(),
            platform: String::new(),
        }
    }

    /// Buckets of `days`, each with what `counts` says of its age in buckets.
    fn buckets(days: u32, counts: impl Fn(u32) -> (u32, u32)) -> Vec<(u32, Counts)> {
        let ages = (0..days * 96).rev();
        ages.map(|age| {
            let (cohort_sent, cohort_delivered) = counts(age);
            let counts = Counts {
                cohort_sent,
                cohort_delivered,
                ..Counts::default()
            };
            (NEWEST - age, counts)
        })
        .collect()
    }

    fn account(parts: Vec<(PartKey, Vec<(u32, Counts)>)>) -> AccountHistory {
        AccountHistory {
            parts: parts.into_iter().collect(),
            ..AccountHistory::default()
        }
    }

    #[test]
    fn an_outage_is_seen_against_the_same_hours_of_the_days_before() {
        // Nights are worse than days, every day; the last hour is worse than any night.
        let rate = |age: u32| {
            if age < 4 {
                300
            } else if age % 96 < 40 {
                900
            } else {
                700
            }
        };
        let history = account(vec![(part("fcm"), buckets(8, |age| (1000, rate(age))))]);
        let rates = AccountRates::new(&history, NEWEST, false);
        let now = rates.now.unwrap();
        let usual = now.usual.unwrap();
        assert_eq!(usual.days, 7);
        assert!((usual.middle - 0.9).abs() < 0.01, "{usual:?}");
        assert!((now.share.unwrap() - 1.0 / 3.0).abs() < 0.01, "{now:?}");
        assert!(now.missing() > 1000.0);
        // The night of yesterday was no trouble.
        let band = rates.band[6].unwrap();
        assert!((band.middle - 0.7).abs() < 0.01, "{band:?}");
        assert_eq!(rates.rates.len(), 96);
        assert_eq!(rates.rates[95], Some(0.3));
    }

    #[test]
    fn another_mix_of_channels_is_no_trouble() {
        // Usually half and half; in the last hour nearly all of it went to the weak channel.
        let strong = buckets(8, |age| if age < 4 { (10, 9) } else { (1000, 900) });
        let weak = buckets(8, |age| if age < 4 { (1990, 995) } else { (1000, 500) });
        let history = account(vec![(part("fcm"), strong), (part("apns"), weak)]);
        let rates = AccountRates::new(&history, NEWEST, false);
        let now = rates.now.unwrap();
        assert!(
            now.rate() < 0.51 && (now.share.unwrap() - 1.0).abs() < 0.01,
            "{now:?}"
        );
        assert!(now.usual.unwrap().low < 0.51, "{now:?}");
    }

    #[test]
    fn without_a_past_there_is_a_rate_and_nothing_usual() {
        let history = account(vec![(
            part(""),
            buckets(1, |age| if age < 8 { (100, 80) } else { (0, 0) }),
        )]);
        let now = AccountRates::new(&history, NEWEST, false).now.unwrap();
        assert_eq!((now.rate(), now.usual, now.share), (0.8, None, None));
        let history = account(vec![(part(""), buckets(1, |_| (5, 4)))]);
        assert!(AccountRates::new(&history, NEWEST, false).now.is_none());
        // After some hours, these are what is usual.
        let history = account(vec![(
            part(""),
            buckets(1, |age| if age < 4 { (100, 40) } else { (100, 80) }),
        )]);
        let now = AccountRates::new(&history, NEWEST, false).now.unwrap();
        assert_eq!(now.usual.unwrap().days, 0);
        assert!((now.share.unwrap() - 0.5).abs() < 0.01, "{now:?}");
    }

    #[test]
    fn a_daily_vendor_is_compared_by_days() {
        let once_a_day = |age: u32| {
            if age % 96 == 20 {
                (5000, if age < 96 { 2500 } else { 4500 })
            } else {
                (0, 0)
            }
        };
        let history = account(vec![(part(""), buckets(8, once_a_day))]);
        let now = AccountRates::new(&history, NEWEST, true).now.unwrap();
        assert_eq!(now.usual.unwrap().days, 7);
        assert!((now.share.unwrap() - 5.0 / 9.0).abs() < 0.01, "{now:?}");
        assert_eq!(
            [Window::DAY, Window::HOUR].map(Window::name),
            ["day", "hour"]
        );
    }
}
