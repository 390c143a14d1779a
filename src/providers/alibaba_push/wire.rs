//! What the vendor sends: every list in an object of its own.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::{
    model::{ErrorReason, Measure, Snapshot, Totals},
    providers::{
        Grown,
        decode::decode,
        json::{Count, Skipped, Text, counts, time},
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Statistics {
    request_id: Skipped,
    /// Called `MsgPushStats` in the first edition of the API.
    #[serde(alias = "MsgPushStats")]
    push_stats: Option<PushStats>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PushStats {
    push_stat: Option<Vec<PushStat>>,
}

/// The numbers of one message, as the vendor documents them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PushStat {
    message_id: Text,
    /// Only of days.
    #[serde(alias = "time")]
    time: Text,
    accept_count: Count,
    sent_count: Count,
    received_count: Count,
    opened_count: Count,
    deleted_count: Count,
    sms_sent_count: Count,
    sms_skip_count: Count,
    sms_failed_count: Count,
    sms_receive_success_count: Count,
    sms_receive_failed_count: Count,
}

/// What was counted, by channel.
fn totals(stat: &PushStat) -> Result<Vec<Totals>, String> {
    let push = counts(&[
        (Measure::Accepted, "AcceptCount", &stat.accept_count),
        (Measure::Sent, "SentCount", &stat.sent_count),
        (Measure::Delivered, "ReceivedCount", &stat.received_count),
        (Measure::Opened, "OpenedCount", &stat.opened_count),
        (Measure::Dismissed, "DeletedCount", &stat.deleted_count),
    ])?;
    let sms = counts(&[
        (Measure::Sent, "SmsSentCount", &stat.sms_sent_count),
        (
            Measure::Delivered,
            "SmsReceiveSuccessCount",
            &stat.sms_receive_success_count,
        ),
        (Measure::Skipped, "SmsSkipCount", &stat.sms_skip_count),
        (
            Measure::Errors(ErrorReason::SendFailed),
            "SmsFailedCount",
            &stat.sms_failed_count,
        ),
        (
            Measure::Errors(ErrorReason::Undelivered),
            "SmsReceiveFailedCount",
            &stat.sms_receive_failed_count,
        ),
    ])?;
    Ok([("push", push), ("sms", sms)]
        .into_iter()
        .filter(|(_, counts)| !counts.is_empty())
        .map(|(channel, counts)| Totals {
            channel,
            counts,
            reported_ratio: None,
        })
        .collect())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Days {
    request_id: Skipped,
    app_push_stats: Option<DayStats>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DayStats {
    app_push_stat: Option<Vec<PushStat>>,
}

/// What came to the numbers of an application, day by day. When a day begins is taken as it comes.
pub(super) fn days(body: &[u8], unknown: &mut dyn FnMut(&str)) -> Result<Vec<Grown>, String> {
    let days: Days = decode(body, unknown)?;
    let days = days.app_push_stats.and_then(|days| days.app_push_stat);
    let grown = |stat: &PushStat| {
        let from = stat.time.get().and_then(time).ok_or("Time is no time")?;
        let day = SignedDuration::from_hours(24);
        Ok(Grown {
            from,
            to: from.checked_add(day).unwrap_or(from),
            totals: totals(stat)?,
            breakdown: Vec::new(),
        })
    };
    days.unwrap_or_default().iter().map(grown).collect()
}

/// The state of the message `id`; `None`: there are no numbers (not yet, or no longer).
pub(super) fn snapshot(
    body: &[u8],
    id: &Arc<str>,
    asked_at: Timestamp,
    unknown: &mut dyn FnMut(&str),
) -> Result<Option<Snapshot>, String> {
    let statistics: Statistics = decode(body, unknown)?;
    let stats = statistics
        .push_stats
        .and_then(|stats| stats.push_stat)
        .unwrap_or_default();
    let own = |stat: &&PushStat| stat.message_id.get().is_none_or(|own| own == &**id);
    let Some(stat) = stats.iter().find(own) else {
        return Ok(None);
    };
    let totals = totals(stat)?;
    if totals.is_empty() {
        return Ok(None);
    }
    Ok(Some(Snapshot {
        asked: id.clone(),
        id: id.clone(),
        campaign: None,
        sent_at: None,
        asked_at,
        totals,
        breakdown: Vec::new(),
        types: Vec::new(),
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RecordsAnswer {
    request_id: Skipped,
    /// Deprecated by the vendor, and still sent.
    next_token: Skipped,
    page: Skipped,
    page_size: Skipped,
    total: Count,
    push_infos: Option<PushInfos>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PushInfos {
    push_info: Option<Vec<PushInfo>>,
}

/// A push. `Title` and `Body` are people's texts: skipped.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct PushInfo {
    status: Text,
    message_id: Text,
    push_time: Text,
    app_key: Skipped,
    device_type: Skipped,
    push_type: Skipped,
    body: Skipped,
    title: Skipped,
    source: Skipped,
    target: Skipped,
}

/// A page of records.
#[derive(Debug)]
pub(super) struct Records {
    /// The messages that were sent.
    pub(super) sent: Vec<(Arc<str>, Option<Timestamp>)>,
    /// How many rows there were of any state.
    pub(super) rows: usize,
    total: Count,
}

impl Records {
    /// Whether nothing can follow. Without a total, a short page is the last.
    pub(super) fn is_last(&self, page: usize, size: usize) -> bool {
        match self.total {
            Count::Value(total) => (page * size) as u64 >= total,
            _ => self.rows < size,
        }
    }
}

/// Reads a page of records: only what was sent, not what is scheduled or cancelled.
pub(super) fn records(body: &[u8], unknown: &mut dyn FnMut(&str)) -> Result<Records, String> {
    let answer: RecordsAnswer = decode(body, unknown)?;
    let rows = answer
        .push_infos
        .and_then(|infos| infos.push_info)
        .unwrap_or_default();
    let sent = rows
        .iter()
        .filter(|row| {
            row.status
                .get()
                .is_some_and(|status| status.eq_ignore_ascii_case("SENT"))
        })
        .filter_map(|row| {
            Some((
                row.message_id.get()?.into(),
                row.push_time.get().and_then(time),
            ))
        })
        .collect();
    Ok(Records {
        sent,
        rows: rows.len(),
        total: answer.total,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_where_the_vendor_says() {
        let body = br#"{"RequestId":"9998B3CC","AppPushStats":{"AppPushStat":[
            {"Time":"2016-07-25T00:00:00Z","DeletedCount":10,"OpenedCount":30,"SmsSentCount":0,"ReceivedCount":60,"SentCount":100,"AcceptCount":120},
            {"time":"2016-07-25T16:00:00Z","SentCount":"7"}]}}"#;
        let days = days(body, &mut |field| panic!("{field} is unknown")).unwrap();
        let spans: Vec<_> = days
            .iter()
            .map(|day| format!("{} {}", day.from, day.to))
            .collect();
        assert_eq!(
            spans,
            [
                "2016-07-25T00:00:00Z 2016-07-26T00:00:00Z",
                "2016-07-25T16:00:00Z 2016-07-26T16:00:00Z"
            ]
        );
        assert_eq!(days[0].totals.len(), 2);
        assert_eq!(days[1].totals[0].counts, [(Measure::Sent, 7)]);
        assert!(super::days(br#"{"AppPushStats":{"AppPushStat":[{}]}}"#, &mut |_| {}).is_err());
        assert!(super::days(b"{}", &mut |_| {}).unwrap().is_empty());
    }

    fn read(json: &str) -> Result<Option<Snapshot>, String> {
        snapshot(
            json.as_bytes(),
            &Arc::from("510427"),
            Timestamp::UNIX_EPOCH,
            &mut |_| {},
        )
    }

    #[test]
    fn the_vendors_example_is_read_whole() {
        let json = r#"{"RequestId": "CF195C34", "PushStats": {"PushStat": [{"MessageId": "510427",
            "DeletedCount": 10, "OpenedCount": 30, "SmsReceiveSuccessCount": 0, "SmsSkipCount": 0,
            "SmsReceiveFailedCount": 0, "SmsFailedCount": 0, "ReceivedCount": 60, "SentCount": 100,
            "SmsSentCount": 0, "AcceptCount": 120}]}}"#;
        let snapshot = read(json).unwrap().unwrap();
        assert_eq!(
            snapshot.totals[0].counts,
            [
                (Measure::Accepted, 120),
                (Measure::Sent, 100),
                (Measure::Delivered, 60),
                (Measure::Opened, 30),
                (Measure::Dismissed, 10)
            ]
        );
        assert_eq!(
            (snapshot.totals[1].channel, snapshot.totals[1].counts.len()),
            ("sms", 5)
        );
    }

    #[test]
    fn text_messages_are_there_only_if_one_number_is() {
        let json = r#"{"PushStats": {"PushStat": [{"MessageId": 510427, "SentCount": "7", "SmsSentCount": null}]}}"#;
        let snapshot = read(json).unwrap().unwrap();
        assert_eq!(snapshot.totals.len(), 1);
        assert_eq!(snapshot.totals[0].counts, [(Measure::Sent, 7)]);
    }

    #[test]
    fn an_empty_list_in_any_form_is_not_yet() {
        for json in [
            r#"{"PushStats": {"PushStat": []}}"#,
            r#"{"PushStats": {}}"#,
            r#"{"RequestId": "x"}"#,
            r#"{"PushStats": {"PushStat": [{"MessageId": "1", "SentCount": 5}]}}"#,
        ] {
            assert_eq!(read(json), Ok(None), "{json}");
        }
        assert!(read(r#"{"PushStats": {"PushStat": [{"SentCount": -5}]}}"#).is_err());
    }

    #[test]
    fn only_what_was_sent_is_listed() {
        let json = r#"{"NextToken": "x", "PageSize": 20, "Total": 193, "Page": 2, "PushInfos": {"PushInfo": [
            {"Status": "SENT", "MessageId": "510431", "PushTime": "2021-09-15T02:05:24Z", "Body": "secret"},
            {"Status": "WAITING", "MessageId": "510432"}, {"Status": "CANCELED", "MessageId": "510433"}]}}"#;
        let records = records(json.as_bytes(), &mut |_| {}).unwrap();
        assert_eq!(
            records.sent,
            [(Arc::from("510431"), "2021-09-15T02:05:24Z".parse().ok())]
        );
        assert!(!records.is_last(1, 100) && records.is_last(2, 100));
    }
}
