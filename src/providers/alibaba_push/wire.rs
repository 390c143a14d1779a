//! What the vendor sends: every list in an object of its own. Names are read in any case of their
//! letters, as the vendor's own client and samples have them in two.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::value::RawValue;

use super::{
    errors::{field, text},
    vendor::{PUSH, SMS},
};
use crate::{
    model::{Counts, Field, Snapshot, Totals},
    providers::{
        HistoryIncrease,
        json::{Count, Object, Text, problem, time, whole_digits},
    },
};

fn is_one_of(key: &str, names: &[&str]) -> bool {
    names.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// Notes the fields of an object that have none of these names. A key that is no name (an id, a
/// text) is not shown.
fn note_unknown(
    object: &Object<'_>,
    path: &str,
    known: impl Fn(&str) -> bool,
    unknown: &mut dyn FnMut(&str),
) {
    for key in object.keys().filter(|key| !known(key)) {
        let is_name = key.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && key.len() <= 64
            && key
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let key = if is_name { key } else { "*" };
        match path {
            "" => unknown(key),
            path => unknown(&format!("{path}.{key}")),
        }
    }
}

/// The rows of `outer`'s list `name`: in the list, as the one row in the list's place, or in the
/// place of the object around the list. A list of nothing, `{}` and `null` have none.
fn rows<'a>(
    outer: Option<&'a RawValue>,
    name: &str,
    is_row: impl Fn(&Object<'_>) -> bool,
) -> Result<Vec<Object<'a>>, String> {
    let Some(outer) = outer else {
        return Ok(Vec::new());
    };
    let read = |raw: &'a RawValue| serde_json::from_str::<Object<'a>>(raw.get()).ok();
    let of_list = |raw: &'a RawValue| -> Option<Result<Vec<Object<'a>>, String>> {
        let list: Vec<&RawValue> = serde_json::from_str(raw.get()).ok()?;
        let list = list.into_iter().filter(|raw| raw.get() != "null");
        let row = |raw| read(raw).ok_or_else(|| format!("a row of {name} is no object"));
        Some(list.map(row).collect())
    };
    if let Some(rows) = of_list(outer) {
        return rows;
    }
    let wrong = || format!("{name} is no list");
    let object = read(outer).ok_or_else(wrong)?;
    if object.is_empty() || object.values().all(|raw| raw.get() == "null") {
        return Ok(Vec::new());
    }
    let Some(inner) = field(&object, &[name]) else {
        let is_null = object.keys().any(|key| key.eq_ignore_ascii_case(name));
        return match is_row(&object) {
            true => Ok(vec![object]),
            false if is_null => Ok(Vec::new()),
            false => Err(format!("there is no list {name}")),
        };
    };
    if let Some(rows) = of_list(inner) {
        return rows;
    }
    let row = read(inner).ok_or_else(wrong)?;
    Ok(if row.is_empty() {
        Vec::new()
    } else {
        vec![row]
    })
}

/// Whether an object has one of the counts.
fn has_counts(object: &Object<'_>) -> bool {
    let fields = PUSH.iter().chain(SMS);
    object.keys().any(|key| {
        let mut fields = fields.clone();
        fields.any(|field| key.eq_ignore_ascii_case(field.name))
    })
}

/// The counts of a row that have these names. Of a count in two spellings the greater is taken.
fn counts(row: &Object<'_>, fields: &[Field]) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for Field { name, measure } in fields {
        let mut greatest = None;
        for (_, raw) in row.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)) {
            let count: Count = serde_json::from_str(raw.get()).map_err(|error| problem(&error))?;
            greatest = greatest.max(count.get(name)?);
        }
        counts.extend(greatest.map(|count| (*measure, count)));
    }
    Ok(counts)
}

/// What was counted, by channel.
fn totals(row: &Object<'_>) -> Result<Vec<Totals>, String> {
    let channels = [("push", counts(row, PUSH)?), ("sms", counts(row, SMS)?)];
    Ok(channels
        .into_iter()
        .filter(|(_, counts)| !counts.is_empty())
        .map(|(channel, counts)| Totals {
            channel,
            counts,
            reported_ratio: None,
        })
        .collect())
}

fn is_statistic(key: &str) -> bool {
    let mut fields = PUSH.iter().chain(SMS);
    is_one_of(key, &["MessageId", "Time"])
        || fields.any(|field| key.eq_ignore_ascii_case(field.name))
}

/// What came to the numbers of an application, day by day. When a day begins is taken as it comes.
pub(super) fn days(
    answer: &Object<'_>,
    unknown: &mut dyn FnMut(&str),
) -> Result<Vec<HistoryIncrease>, String> {
    let own = ["RequestId", "AppPushStats"];
    if field(answer, &own).is_none() {
        return Err("there are no AppPushStats".to_owned());
    }
    note_unknown(answer, "", |key| is_one_of(key, &own), unknown);
    let rows = rows(field(answer, &["AppPushStats"]), "AppPushStat", has_counts)?;
    let grown = |row: &Object<'_>| {
        note_unknown(row, "AppPushStats.AppPushStat", is_statistic, unknown);
        let from = text(row, &["Time"]).and_then(|text| time(&text));
        let from = from.ok_or("Time is no time")?;
        let day = SignedDuration::from_hours(24);
        Ok(HistoryIncrease {
            from,
            to: from.checked_add(day).unwrap_or(from),
            totals: totals(row)?,
            breakdown: Vec::new(),
        })
    };
    rows.iter().map(grown).collect()
}

/// The id of a row: `Ok(None)` if it has none.
fn row_id(row: &Object<'_>) -> Result<Option<String>, String> {
    let Some(raw) = field(row, &["MessageId"]) else {
        return Ok(None);
    };
    let id: Text = serde_json::from_str(raw.get()).map_err(|error| problem(&error))?;
    match id.get() {
        Some(id) => Ok(Some(whole_digits(id.trim()).to_owned())),
        None if raw.get() == "\"\"" => Ok(None),
        None => Err("MessageId is no id".to_owned()),
    }
}

/// Two rows of one message as one: they may complete, but not contradict each other.
fn joined(totals: &mut Vec<Totals>, more: Vec<Totals>) -> Result<(), String> {
    for other in more {
        let Some(own) = totals.iter_mut().find(|own| own.channel == other.channel) else {
            totals.push(other);
            continue;
        };
        for (measure, count) in other.counts {
            match own.counts.iter().find(|(known, _)| *known == measure) {
                None => own.counts.push((measure, count)),
                Some((_, known)) if *known == count => {}
                Some(_) => return Err("two rows of the message have other numbers".to_owned()),
            }
        }
    }
    Ok(())
}

/// The state of the message `id`; `None`: there are no numbers (not yet, or no longer). The numbers
/// of another message are never taken for its.
pub(super) fn snapshot(
    answer: &Object<'_>,
    id: &Arc<str>,
    unknown: &mut dyn FnMut(&str),
) -> Result<Option<Snapshot>, String> {
    // Called `MsgPushStats` in the first edition of the API.
    let lists = ["PushStats", "MsgPushStats"];
    let own = ["RequestId", lists[0], lists[1]];
    if field(answer, &own).is_none() && !answer.keys().any(|key| is_one_of(key, &lists)) {
        return Err("there are neither PushStats nor a RequestId".to_owned());
    }
    let known = |key: &str| is_one_of(key, &own) || is_one_of(key, &["Code", "Message", "Success"]);
    note_unknown(answer, "", known, unknown);
    let mut stats = Vec::new();
    for list in lists {
        stats.extend(rows(field(answer, &[list]), "PushStat", has_counts)?);
    }
    if stats.is_empty() {
        return Ok(None);
    }
    let ids: Vec<Option<String>> = stats.iter().map(row_id).collect::<Result<_, _>>()?;
    let own = |row_id: &Option<String>| match row_id {
        Some(row_id) => row_id == whole_digits(id.trim()),
        // A row without an id is the message's if it is the only one.
        None => stats.len() == 1,
    };
    let mut found = None;
    for (row, _) in stats.iter().zip(&ids).filter(|(_, row_id)| own(row_id)) {
        note_unknown(row, "PushStats.PushStat", is_statistic, unknown);
        let is_known = |key: &String| is_statistic(key);
        if !row.is_empty() && !row.keys().any(is_known) {
            return Err("no field of the message is known".to_owned());
        }
        match &mut found {
            None => found = Some(totals(row)?),
            Some(found) => joined(found, totals(row)?)?,
        }
    }
    let Some(totals) = found else {
        return Err("the answer is about other messages".to_owned());
    };
    if totals.is_empty() {
        return Ok(None);
    }
    Ok(Some(Snapshot {
        asked: id.clone(),
        id: id.clone(),
        campaign: None,
        sent_at: None,
        // The caller knows.
        asked_at: Timestamp::UNIX_EPOCH,
        totals,
        breakdown: Vec::new(),
        types: Vec::new(),
    }))
}

/// What a record says of its push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushStatus {
    /// It was sent, or the vendor has a new word for what happened to it: its numbers will say.
    Sent,
    /// It is scheduled: it may be sent later.
    Waiting,
    /// It will never be sent.
    Canceled,
    /// The record has no id.
    Unreadable,
}

/// A push in the list. `Title` and `Body` are people's texts: they are not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PushRecord {
    pub(super) id: Arc<str>,
    pub(super) status: PushStatus,
    pub(super) push_time: Option<Timestamp>,
}

/// A page of records.
#[derive(Debug)]
pub(super) struct Records {
    /// Every row, whatever its status.
    pub(super) rows: Vec<PushRecord>,
    /// How many rows the window has.
    pub(super) total: Option<u64>,
}

/// Reads a page of records.
pub(super) fn records(
    answer: &Object<'_>,
    unknown: &mut dyn FnMut(&str),
) -> Result<Records, String> {
    if field(answer, &["PushInfos", "Total"]).is_none() {
        return Err("there are neither PushInfos nor a Total".to_owned());
    }
    let known = |key: &str| {
        let own = ["PushInfos", "Total", "RequestId", "Page", "PageSize"];
        // `NextToken` is deprecated by the vendor, and still sent.
        is_one_of(key, &own) || is_one_of(key, &["NextToken", "Code", "Message", "Success"])
    };
    note_unknown(answer, "", known, unknown);
    let has_id = |row: &Object<'_>| field(row, &["MessageId"]).is_some();
    let rows = rows(field(answer, &["PushInfos"]), "PushInfo", has_id)?;
    let total = match field(answer, &["Total"]).map(|raw| serde_json::from_str(raw.get())) {
        Some(Ok(Count::Value(total))) => Some(total),
        None | Some(Ok(Count::Absent)) => None,
        Some(_) => {
            unknown("Total");
            None
        }
    };
    Ok(Records {
        rows: rows.iter().map(|row| record(row, unknown)).collect(),
        total,
    })
}

fn record(row: &Object<'_>, unknown: &mut dyn FnMut(&str)) -> PushRecord {
    const PATH: &str = "PushInfos.PushInfo";
    let known = |key: &str| {
        let read = ["Status", "MessageId", "PushTime"];
        let skipped = [
            "AppKey",
            "DeviceType",
            "PushType",
            "Body",
            "Title",
            "Source",
            "Target",
        ];
        is_one_of(key, &read) || is_one_of(key, &skipped)
    };
    note_unknown(row, PATH, known, unknown);
    let own = text(row, &["Status"]).map(|status| status.to_ascii_uppercase());
    let status = match own.as_deref() {
        Some("SENT") | None => PushStatus::Sent,
        Some("WAITING") => PushStatus::Waiting,
        Some("CANCELED" | "CANCELLED") => PushStatus::Canceled,
        Some(_) => {
            unknown("PushInfos.PushInfo.Status");
            PushStatus::Sent
        }
    };
    let push_time = text(row, &["PushTime"]).and_then(|text| time(&text));
    if push_time.is_none() && field(row, &["PushTime"]).is_some() {
        unknown("PushInfos.PushInfo.PushTime");
    }
    match row_id(row) {
        Ok(Some(id)) => PushRecord {
            id: id.into(),
            status,
            push_time,
        },
        // `total` counts it. A message may be lost with it, unless it was never sent.
        _ => PushRecord {
            id: Arc::from(""),
            status: match status {
                PushStatus::Canceled => status,
                _ => PushStatus::Unreadable,
            },
            push_time,
        },
    }
}

#[cfg(test)]
mod tests;
