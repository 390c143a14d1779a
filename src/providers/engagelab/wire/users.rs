//! Users of the application: `GET /v4/status/users`, the newest complete hour, day and month.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{
    Timestamp,
    civil::{Date, DateTime},
    tz::Offset,
};
use serde_json::value::RawValue;

use super::{field_name, platform_name};
use crate::{
    model::{AppMetric, AppMetricKind},
    providers::json::{Count, Object, Text, problem},
};

/// The vendor tells the last 60 days; one less is never refused.
const DAYS_KEPT: i64 = 59;

/// A length of time by which users are counted, and the label `time_unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers::engagelab) enum Unit {
    Hour,
    Day,
    Month,
}

impl Unit {
    pub(in crate::providers::engagelab) const ALL: [Unit; 3] = [Unit::Hour, Unit::Day, Unit::Month];

    /// The label `time_unit`.
    pub(in crate::providers::engagelab) fn label(self) -> &'static str {
        match self {
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Month => "month",
        }
    }

    /// The word of requests.
    fn word(self) -> &'static str {
        match self {
            Unit::Hour => "HOUR",
            Unit::Day => "DAY",
            Unit::Month => "MONTH",
        }
    }

    /// The vendor's form of the period in which a time is. The vendor names no zone: it is UTC.
    fn period(self, at: DateTime) -> String {
        let form = match self {
            Unit::Hour => "%Y-%m-%d %H",
            Unit::Day => "%Y-%m-%d",
            Unit::Month => "%Y-%m",
        };
        at.strftime(form).to_string()
    }

    /// The begin of the period in which a time is.
    fn begin(self, at: DateTime) -> Option<DateTime> {
        match self {
            Unit::Hour => Some(at.date().at(at.hour(), 0, 0, 0)),
            Unit::Day => Some(at.start_of_day()),
            Unit::Month => Some(at.first_of_month().start_of_day()),
        }
    }

    /// The begin of the period that the vendor names: `2026-11-02`, and what is as clear
    /// (`2026-11-2`, `2026-11-02 00:00:00`, `20261102`, Unix seconds). A zone is not looked at:
    /// the name is the vendor's.
    fn parse(self, text: &str) -> Option<DateTime> {
        let numbers = text
            .split(|letter: char| !letter.is_ascii_digit())
            .filter(|digits| !digits.is_empty());
        let mut numbers: Vec<&str> = numbers.collect();
        if let [digits] = numbers[..] {
            match digits.len() {
                6 | 8 | 10 if digits.starts_with("20") => {
                    let begins = [0, 4, 6, 8];
                    let ends = begins.iter().skip(1).copied().chain([10]);
                    let parts = begins.iter().zip(ends);
                    numbers = parts
                        .filter_map(|(begin, end)| digits.get(*begin..end))
                        .collect();
                }
                10 | 13 => {
                    let seconds = digits.get(..10)?.parse().ok()?;
                    let at = Timestamp::from_second(seconds).ok()?;
                    return self.begin(Offset::UTC.to_datetime(at));
                }
                _ => {}
            }
        }
        let number = |place: usize| {
            numbers
                .get(place)
                .and_then(|digits| digits.parse::<i8>().ok())
        };
        let year = numbers
            .first()?
            .parse::<i16>()
            .ok()
            .filter(|year| *year >= 1970)?;
        let day = match self {
            Unit::Month => number(2).unwrap_or(1),
            Unit::Hour | Unit::Day => number(2)?,
        };
        let hour = match self {
            Unit::Hour => number(3)?,
            Unit::Day | Unit::Month => 0,
        };
        let date = Date::new(year, number(1)?, day).ok()?;
        self.begin(
            jiff::civil::Time::new(hour, 0, 0, 0)
                .ok()?
                .to_datetime(date),
        )
    }

    /// The query for the newest complete period and some before it, as items are sparse. `None`:
    /// the first hour of a day, before which the vendor tells no hours.
    pub(in crate::providers::engagelab) fn query(self, now: Timestamp) -> Option<String> {
        let now = Offset::UTC.to_datetime(now);
        let word = self.word();
        let (start, duration) = match self {
            Unit::Hour => (now.start_of_day(), i32::from(now.hour())),
            Unit::Day => (back(now, 3)?, 3),
            Unit::Month => (now.first_of_month().yesterday().ok()?, 1),
        };
        if duration == 0 {
            return None;
        }
        let start = self.period(start).replace(' ', "%20");
        Some(format!(
            "time_unit={word}&start={start}&duration={duration}"
        ))
    }

    /// Whether the vendor's "invalid parameter" is an answer: it may see another day than we do, and
    /// does not say whether it knows months.
    pub(in crate::providers::engagelab) fn may_be_refused(self) -> bool {
        self != Unit::Day
    }
}

fn back(from: DateTime, days: i64) -> Option<DateTime> {
    from.checked_sub(jiff::Span::new().days(days)).ok()
}

/// The query for the complete days whose numbers were the newest from a time to another; `None`:
/// there are none that the vendor still tells.
pub(in crate::providers::engagelab) fn days_query(
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let day = |at: Timestamp| Offset::UTC.to_datetime(at).date();
    let yesterday = |date: jiff::civil::Date| date.yesterday().ok();
    let oldest = back(Offset::UTC.to_datetime(now), DAYS_KEPT)?.date();
    let first = yesterday(day(from))?.max(oldest);
    let last = yesterday(day(to).min(day(now)))?;
    let days = first.until(last).ok()?.get_days() + 1;
    (days > 0).then(|| format!("time_unit=DAY&start={first}&duration={days}"))
}

/// The days of an answer: each with its figures, in order.
pub(in crate::providers::engagelab) fn days(
    answer: &Object<'_>,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<(Timestamp, Vec<AppMetric>)>, String> {
    let mut days = BTreeMap::new();
    for (time, item) in items(answer, Unit::Day, unknown)? {
        let begin = Offset::UTC.to_timestamp(time);
        let begin = begin.map_err(|_| "items.time is no day".to_owned())?;
        days.insert(begin, figures_of(&item, Unit::Day, unknown)?);
    }
    Ok(days.into_iter().collect())
}

/// The figures of the newest complete period in an answer.
pub(in crate::providers::engagelab) fn figures(
    answer: &Object<'_>,
    unit: Unit,
    now: Timestamp,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<AppMetric>, String> {
    let current = unit.begin(Offset::UTC.to_datetime(now));
    // The current period still grows.
    let complete = items(answer, unit, unknown)?
        .into_iter()
        .filter(|(time, _)| Some(*time) < current);
    let newest = complete.max_by_key(|(time, _)| *time);
    match newest {
        Some((_, item)) => figures_of(&item, unit, unknown),
        None => Ok(Vec::new()),
    }
}

/// The items of an answer, each with the begin of its period. They are a list, or one item alone,
/// or an object by period.
fn items<'a>(
    answer: &Object<'a>,
    unit: Unit,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<(DateTime, Object<'a>)>, String> {
    let echo = ["time_unit", "TimeUnit"];
    for name in echo {
        if !is_unit(answer, name, unit) {
            return Err(format!("{name} is not the one that was asked for"));
        }
    }
    for key in answer.keys() {
        if !["items", "start", "duration"]
            .iter()
            .chain(&echo)
            .any(|name| key == name)
        {
            unknown(field_name(key));
        }
    }
    let Some(raw) = answer.get("items").filter(|raw| raw.get() != "null") else {
        // `{}` and an answer about something else are none.
        return match echo.iter().any(|name| answer.contains_key(*name)) {
            true => Ok(Vec::new()),
            false => Err("there are neither items nor a time_unit".to_owned()),
        };
    };
    let mut found: Vec<(Option<String>, &'a RawValue)> = Vec::new();
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
        found.extend(list.into_iter().map(|item| (None, item)));
    } else if let Ok(object) = serde_json::from_str::<Object<'_>>(raw.get()) {
        match object.keys().any(|key| is_time(key)) {
            true => found.push((None, raw)),
            false => found.extend(object.into_iter().map(|(key, item)| (Some(key), item))),
        }
    } else {
        return Err("items is neither a list nor an object".to_owned());
    }
    let mut named = Vec::new();
    let any = !found.is_empty();
    for (key, raw) in found {
        let Ok(item) = serde_json::from_str::<Object<'_>>(raw.get()) else {
            unknown("items");
            continue;
        };
        let own = item.iter().find(|(name, _)| is_time(name));
        let own: Option<Text> = own.and_then(|(_, raw)| serde_json::from_str(raw.get()).ok());
        let time = own.and_then(|own| own.0).or(key);
        match time.and_then(|time| unit.parse(&time)) {
            Some(time) => named.push((time, item)),
            None => unknown("items.time"),
        }
    }
    if any && named.is_empty() {
        return Err("no item of items has a time that fits time_unit".to_owned());
    }
    Ok(named)
}

fn is_time(key: &str) -> bool {
    key.eq_ignore_ascii_case("time")
}

/// Whether the answer's echo of the unit is not that of another unit: those would be other figures.
fn is_unit(answer: &Object<'_>, name: &str, unit: Unit) -> bool {
    let text = answer
        .get(name)
        .map(|raw| serde_json::from_str::<Text>(raw.get()));
    let Some(Ok(Text(Some(text)))) = text else {
        return true;
    };
    let is = |other: &Unit| other.word().eq_ignore_ascii_case(text.trim());
    is(&unit) || !Unit::ALL.iter().any(is)
}

/// The figures of one period. Of a platform under two names the greater number is taken.
fn figures_of(
    item: &Object<'_>,
    unit: Unit,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<AppMetric>, String> {
    let mut figures: BTreeMap<AppMetricKind, u64> = BTreeMap::new();
    for (key, raw) in item.iter().filter(|(key, _)| !is_time(key)) {
        let Ok(users) = serde_json::from_str::<Option<Object<'_>>>(raw.get()) else {
            unknown(&format!("items.{}", field_name(key)));
            continue;
        };
        let platform = platform_name(key);
        for (name, raw) in users.iter().flatten() {
            let kind = |platform: Arc<str>| {
                let time_unit = unit.label();
                Some(match name.as_str() {
                    "new" => AppMetricKind::UsersNew {
                        platform,
                        time_unit,
                    },
                    "active" => AppMetricKind::UsersActive {
                        platform,
                        time_unit,
                    },
                    "online" => AppMetricKind::UsersOnline {
                        platform,
                        time_unit,
                    },
                    _ => return None,
                })
            };
            let path = format!("items.{}.{}", field_name(key), field_name(name));
            let Some(kind) = kind(platform.clone()) else {
                unknown(&path);
                continue;
            };
            let count: Count = serde_json::from_str(raw.get()).map_err(|error| problem(&error))?;
            if let Some(count) = count.get(path)? {
                let greatest = figures.entry(kind).or_default();
                *greatest = count.max(*greatest);
            }
        }
    }
    let figure = |(kind, count)| {
        #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
        let value = count as f64;
        AppMetric { kind, value }
    };
    Ok(figures.into_iter().map(figure).collect())
}

#[cfg(test)]
mod tests;
