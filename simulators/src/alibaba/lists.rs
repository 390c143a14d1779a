//! The list of pushes, and the numbers of the application by day.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    Alibaba, Refused, Signed, lock, message_id,
    publication::{day_of, midnight},
};
use crate::{
    mood::{
        Call,
        lists::{self, Wanted, named, page, total, within},
    },
    traffic::Campaign,
};

/// The applications of the account.
pub(super) fn applications(app_keys: &[String]) -> Value {
    let of =
        |key: &String| json!({"AppKey": key.parse::<u64>().unwrap_or_default(), "AppName": "shop"});
    let all: Vec<Value> = app_keys.iter().map(of).collect();
    json!({"RequestId": "8906582E-6722-409A-A6C4-0E7863B733A5", "SummaryAppInfos": {"SummaryAppInfo": all}})
}

/// The period that a request names.
fn period(signed: &Signed) -> Result<(Timestamp, Timestamp), Refused> {
    let time = |name: &str| {
        let missing = || Refused::new(400, &format!("Missing{name}"), "A time is missing.");
        let text = signed.parameter(name).ok_or_else(missing)?;
        let invalid = || Refused::new(400, &format!("Invalid{name}.Format"), "It is no time.");
        text.parse::<Timestamp>().map_err(|_| invalid())
    };
    let (start, end) = (time("StartTime")?, time("EndTime")?);
    if end.duration_since(start) > SignedDuration::from_hours(31 * 24) {
        let text = "The period between specified EndTime and StartTime exceeds 31 days.";
        return Err(Refused::new(400, "InvalidPeriod.ExceedDays", text));
    }
    Ok((start, end))
}

/// What came to the application's numbers on each day in Beijing that begins in the period.
pub(super) fn days(
    own: &Alibaba,
    signed: &Signed,
    now: Timestamp,
    call: Option<&Call>,
) -> Result<Value, Refused> {
    let (start, end) = period(signed)?;
    if signed.parameter("Granularity") != Some("DAY") {
        let text = "Granularity is invalid.";
        return Err(Refused::new(400, "InvalidGranularity", text));
    }
    let bounds = |day: &i64| {
        let (from, to) = (Some(&start), Some(&end));
        within(&midnight(*day), from, to, (true, true), call)
    };
    let rows = (day_of(start)..=day_of(end)).filter(bounds);
    let rows: Vec<Value> = rows.filter_map(|day| own.day(day, now)).collect();
    let wanted = Wanted {
        page: 0,
        size: usize::MAX,
    };
    let time = |row: &Value| {
        let time = row["Time"].as_str().unwrap_or_default();
        let at = time.parse::<Timestamp>().map_or(0, Timestamp::as_second);
        (at, named(time))
    };
    let rows = page(rows, &wanted, call, time).rows;
    Ok(
        json!({"RequestId": "9998B3CC-ED9E-4CB3-A8FB-DCC61296BFBC", "AppPushStats": {"AppPushStat": rows}}),
    )
}

pub(super) fn records(
    own: &Alibaba,
    signed: &Signed,
    now: Timestamp,
    call: Option<&Call>,
) -> Result<Value, Refused> {
    let (start, end) = period(signed)?;
    let number = |name: &str, default: usize| {
        signed
            .parameter(name)
            .map_or(Some(default), |text| text.parse().ok())
    };
    let page = number("Page", 1).filter(|page| (1..=10_000).contains(page));
    let size = number("PageSize", 20).filter(|size| (1..=100).contains(size));
    let (Some(page), Some(size)) = (page, size) else {
        return Err(Refused::new(
            400,
            "Invalid.Parameter",
            "Page or PageSize is invalid.",
        ));
    };
    let key: u64 = signed
        .parameter("AppKey")
        .and_then(|key| key.parse().ok())
        .unwrap_or(0);
    if let Some(call) = call.filter(|call| page > 1 && call.mood.new_between_pages) {
        own.send_one_more(now, call);
    }
    let campaigns = own.campaigns(now);
    let listed = campaigns.iter().filter(|campaign| {
        let (from, to) = (Some(&start), Some(&end));
        within(&campaign.sent_at, from, to, (true, true), call)
            && call.is_none_or(|call| call.lists_now(campaign, now))
    });
    let is_new = call.is_some_and(|call| call.mood.new_values);
    let rows = listed.rev().flat_map(|campaign| {
        let id = message_id(campaign);
        let mut rows = vec![(campaign, "SENT", id.clone())];
        match campaign.number % 10 {
            4 => rows.push((campaign, "CANCELED", format!("8{}", &id[1..]))),
            7 => rows.push((campaign, "WAITING", format!("9{}", &id[1..]))),
            2 if is_new => rows.push((campaign, "RECALLED", format!("6{}", &id[1..]))),
            _ => {}
        }
        rows
    });
    let rows: Vec<(&Campaign, &str, String)> = rows.collect();
    let wanted = Wanted {
        page: page - 1,
        size,
    };
    let identity = |row: &(&Campaign, &str, String)| (row.0.sent_at.as_second(), named(&row.2));
    let cut = lists::page(rows, &wanted, call, identity);
    let shown = cut.rows.into_iter().map(|(campaign, status, id)| {
        json!({"Status": status, "MessageId": id, "AppKey": key, "DeviceType": "ALL",
            "PushType": "NOTICE", "Title": "A title", "Body": "A text for one person",
            "Source": "API", "Target": "ALL",
            "PushTime": campaign.sent_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()})
    });
    let shown: Vec<Value> = shown.collect();
    let mut body = json!({"RequestId": "9B24B396", "NextToken": "i91D", "Page": page,
        "PageSize": cut.size, "PushInfos": {"PushInfo": shown}});
    if let Some(total) = total(cut.total, call) {
        body["Total"] = total;
    }
    Ok(body)
}

/// The number of the first campaign that is sent between pages: no other one is as high.
const FIRST_MORE: u64 = 50_000;
/// At most so many campaigns are sent between pages.
const MORE: usize = 12;

impl Alibaba {
    /// A campaign is sent between the requests for two pages.
    fn send_one_more(&self, now: Timestamp, call: &Call) {
        let mut more = lock(&self.0.more);
        if more.len() < MORE && call.happens("new_between_pages", 500) {
            call.note("new_between_pages");
            let mut campaign = self.0.traffic.campaign(FIRST_MORE + more.len() as u64);
            campaign.sent_at = now;
            more.push(campaign);
        }
    }
}
