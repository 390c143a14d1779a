//! Users of the application: `GET /v4/status/users`, the newest complete hour, day and month.

use std::sync::Arc;

use jiff::{
    Timestamp,
    civil::{DateTime, Time},
    tz::Offset,
};
use serde_json::value::RawValue;

use super::wire::{object, parse, platform_name};
use crate::{
    model::{Figure, FigureKind},
    providers::json::{Count, Object, Text},
};

/// The vendor tells the last 60 days; one less is never refused.
const DAYS_KEPT: i64 = 59;

/// A length of time by which users are counted, and the label `time_unit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Hour,
    Day,
    Month,
}

impl Unit {
    pub(super) const ALL: [Unit; 3] = [Unit::Hour, Unit::Day, Unit::Month];

    fn label(self) -> &'static str {
        match self {
            Unit::Hour => "hour",
            Unit::Day => "day",
            Unit::Month => "month",
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

    /// The query for the newest complete period and some before it, as items are sparse. `None`:
    /// the first hour of a day, before which the vendor tells no hours.
    pub(super) fn query(self, now: Timestamp) -> Option<String> {
        let now = Offset::UTC.to_datetime(now);
        let (word, start, duration) = match self {
            Unit::Hour => {
                let hours = i32::from(now.hour());
                ("HOUR", now.start_of_day(), hours)
            }
            Unit::Day => ("DAY", back(now, 3)?, 3),
            Unit::Month => ("MONTH", now.first_of_month().yesterday().ok()?, 1),
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
    pub(super) fn may_be_refused(self) -> bool {
        self != Unit::Day
    }
}

fn back(from: DateTime, days: i64) -> Option<DateTime> {
    from.checked_sub(jiff::Span::new().days(days)).ok()
}

/// The query for the complete days whose numbers were the newest from a time to another; `None`:
/// there are none that the vendor still tells.
pub(super) fn days_query(from: Timestamp, to: Timestamp, now: Timestamp) -> Option<String> {
    let day = |at: Timestamp| Offset::UTC.to_datetime(at).date();
    let yesterday = |date: jiff::civil::Date| date.yesterday().ok();
    let oldest = back(Offset::UTC.to_datetime(now), DAYS_KEPT)?.date();
    let first = yesterday(day(from))?.max(oldest);
    let last = yesterday(day(to).min(day(now)))?;
    let days = first.until(last).ok()?.get_days() + 1;
    (days > 0).then(|| format!("time_unit=DAY&start={first}&duration={days}"))
}

/// The days of an answer: each with its figures.
pub(super) fn days(
    body: &[u8],
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<(Timestamp, Vec<Figure>)>, String> {
    let mut days = Vec::new();
    for (time, item) in items(body)? {
        let date = time.parse::<jiff::civil::Date>();
        let begin =
            date.and_then(|date| Offset::UTC.to_timestamp(date.to_datetime(Time::midnight())));
        let begin = begin.map_err(|_| "items.time is no day".to_owned())?;
        days.push((begin, figures_of(&item, Unit::Day, unknown)?));
    }
    Ok(days)
}

/// The figures of the newest complete period in an answer.
pub(super) fn figures(
    body: &[u8],
    unit: Unit,
    now: Timestamp,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<Figure>, String> {
    let current = unit.period(Offset::UTC.to_datetime(now));
    // The current period still grows.
    let complete = items(body)?.into_iter().filter(|(time, _)| *time < current);
    let newest = complete.max_by(|(left, _), (right, _)| left.cmp(right));
    match newest {
        Some((_, item)) => figures_of(&item, unit, unknown),
        None => Ok(Vec::new()),
    }
}

/// The items of an answer, each with the name of its period.
fn items(body: &[u8]) -> Result<Vec<(String, Object<'_>)>, String> {
    let answer: Object<'_> =
        serde_json::from_slice(body).map_err(|error| crate::providers::json::problem(&error))?;
    let items: Vec<&RawValue> = match answer.get("items") {
        Some(raw) => parse::<Option<Vec<&RawValue>>>(raw, "items")?.unwrap_or_default(),
        None => Vec::new(),
    };
    let mut named = Vec::new();
    for raw in items {
        let item = object(raw, "items")?;
        let Some(time) = item.get("time") else {
            continue;
        };
        let time: Text = parse(time, "items.time")?;
        if let Some(time) = time.get().map(str::to_owned) {
            named.push((time, item));
        }
    }
    Ok(named)
}

/// The figures of one period.
fn figures_of(
    item: &Object<'_>,
    unit: Unit,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<Figure>, String> {
    let mut figures = Vec::new();
    for (key, raw) in item.iter().filter(|(key, _)| *key != "time") {
        let users = object(raw, key)?;
        let platform = platform_name(key);
        for (name, raw) in &users {
            let kind = |platform: Arc<str>| {
                let time_unit = unit.label();
                Some(match name.as_str() {
                    "new" => FigureKind::UsersNew {
                        platform,
                        time_unit,
                    },
                    "active" => FigureKind::UsersActive {
                        platform,
                        time_unit,
                    },
                    "online" => FigureKind::UsersOnline {
                        platform,
                        time_unit,
                    },
                    _ => return None,
                })
            };
            let Some(kind) = kind(platform.clone()) else {
                unknown(&format!("items.{key}.{name}"));
                continue;
            };
            let count: Count = parse(raw, key)?;
            if let Some(count) = count.get(format_args!("items.{key}.{name}"))? {
                #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
                let value = count as f64;
                figures.push(Figure { kind, value });
            }
        }
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_complete_period_is_asked_for() {
        let now = at("2026-11-26T10:30:00Z");
        let queries = Unit::ALL.map(|unit| unit.query(now).unwrap());
        assert_eq!(
            queries,
            [
                "time_unit=HOUR&start=2026-11-26%2000&duration=10",
                "time_unit=DAY&start=2026-11-23&duration=3",
                "time_unit=MONTH&start=2026-10&duration=1",
            ]
        );
        assert_eq!(Unit::Hour.query(at("2026-11-26T00:30:00Z")), None);
        assert_eq!(
            Unit::Month.query(at("2026-01-31T00:30:00Z")).unwrap(),
            "time_unit=MONTH&start=2025-12&duration=1"
        );
    }

    #[test]
    fn the_days_of_a_time_are_those_before_it_that_are_over_and_kept() {
        let now = at("2026-11-26T10:30:00Z");
        let query = |from: &str, to: &str| days_query(at(from), at(to), now);
        let days =
            |start: &str, days: u32| Some(format!("time_unit=DAY&start={start}&duration={days}"));
        let (from, to) = ("2026-11-20T00:00:00Z", "2026-11-23T00:00:00Z");
        assert_eq!(query(from, to), days("2026-11-19", 4));
        assert_eq!(
            query("2026-11-25T08:00:00Z", "2026-12-01T00:00:00Z"),
            days("2026-11-24", 2)
        );
        assert_eq!(
            query("2026-01-01T00:00:00Z", "2026-10-01T00:00:00Z"),
            days("2026-09-28", 3)
        );
        assert_eq!(query("2026-01-01T00:00:00Z", "2026-09-01T00:00:00Z"), None);
        let body = br#"{"items":[{"time":"2026-11-24","ios":{"new":4}},{"time":"2026-11-20"}]}"#;
        let days = super::days(body, &mut |_| {}).unwrap();
        let sizes: Vec<_> = days
            .iter()
            .map(|(day, figures)| (day.to_string(), figures.len()))
            .collect();
        let expected = [
            ("2026-11-24T00:00:00Z".to_owned(), 1),
            ("2026-11-20T00:00:00Z".to_owned(), 0),
        ];
        assert_eq!(sizes, expected);
        assert!(super::days(br#"{"items":[{"time":"2026-11"}]}"#, &mut |_| {}).is_err());
    }

    #[test]
    fn items_are_sparse_and_the_current_one_is_left_out() {
        let body = br#"{"TimeUnit":"DAY","items":[
            {"time":"2026-11-26","android":{"new":99,"active":99,"online":99}},
            {"time":"2026-11-24","ios":{"new":"4","active":60,"online":null,"odd":1},"hmos":{"new":0}},
            {"time":"2026-11-23","android":{"new":1}}]}"#;
        let mut unknown = Vec::new();
        let now = at("2026-11-26T10:30:00Z");
        let figures = figures(body, Unit::Day, now, &mut |field| {
            unknown.push(field.to_owned())
        });
        let (ios, harmonyos): (Arc<str>, Arc<str>) = (Arc::from("ios"), Arc::from("harmonyos"));
        let time_unit = "day";
        let mut found = figures.unwrap();
        found.sort_by(|left, right| left.kind.cmp(&right.kind));
        let expected = [
            (
                FigureKind::UsersNew {
                    platform: harmonyos,
                    time_unit,
                },
                0.0,
            ),
            (
                FigureKind::UsersNew {
                    platform: ios.clone(),
                    time_unit,
                },
                4.0,
            ),
            (
                FigureKind::UsersActive {
                    platform: ios,
                    time_unit,
                },
                60.0,
            ),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(kind, value)| Figure { kind, value })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(unknown, ["items.ios.odd"]);
        let none = super::figures(b"{}", Unit::Hour, now, &mut |_| {}).unwrap();
        assert!(none.is_empty());
        let bad = br#"{"items":[{"time":"2026-11-24","ios":{"new":-1}}]}"#;
        assert!(super::figures(bad, Unit::Day, now, &mut |_| {}).is_err());
    }
}
