//! A past for the status page: eight days of what was sent and delivered, in the form that version 1
//! of the history's file has. A change of the form that makes the exporter lose its past fails here.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use jiff::Timestamp;
use serde::Serialize;

const BUCKET_SECONDS: i64 = 900;
const DAY_BUCKETS: i64 = 96;

#[derive(Serialize)]
struct Counts {
    sent: u32,
    delivered: u32,
    cohort_sent: u32,
    cohort_delivered: u32,
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct PartKey {
    channel: String,
    vendor_channel: String,
    platform: String,
}

#[derive(Serialize, Default)]
struct AccountHistory {
    since: i64,
    last_success: i64,
    parts: BTreeMap<PartKey, Vec<(u32, Counts)>>,
}

#[derive(Serialize)]
struct History {
    since: i64,
    accounts: BTreeMap<String, AccountHistory>,
    last: HashMap<u64, u64>,
}

/// A part of an account's traffic: channel, vendor channel and platform.
pub type Part = (&'static str, &'static str, &'static str);

/// How a part went.
pub struct Course {
    pub account: &'static str,
    pub part: Part,
    /// Messages in a quarter of an hour at noon.
    pub volume: f64,
    pub rate: f64,
    /// For so many of the last buckets the rate is multiplied by so much.
    pub incident: Option<(i64, f64)>,
    /// The messages have no ages.
    pub is_counted_alone: bool,
}

/// Writes the history's file into the directory of the spool.
pub fn write(spool: &Path, now: Timestamp, courses: &[Course]) {
    let newest = now.as_second() / BUCKET_SECONDS;
    let since = now.as_second() - 8 * 86_400;
    let mut accounts: BTreeMap<String, AccountHistory> = BTreeMap::new();
    for course in courses {
        let account = accounts.entry(course.account.to_owned()).or_default();
        account.since = since;
        account.last_success = now.as_second() - 40;
        let buckets = (newest - 8 * DAY_BUCKETS + 1..=newest).map(|bucket| {
            // More by day, and a little noise that is the same in every run.
            let hour = (bucket % DAY_BUCKETS) as f64 / DAY_BUCKETS as f64;
            let rhythm = 0.55 - 0.45 * (hour * std::f64::consts::TAU).cos();
            let noise = ((bucket * 7919 + course.volume as i64 * 31) % 1000) as f64 / 1000.0 - 0.5;
            let sent = (course.volume * rhythm * (1.0 + 0.3 * noise)).round();
            let factor = match course.incident {
                Some((length, factor)) if bucket > newest - length => factor,
                _ => 1.0,
            };
            let rate = (course.rate * factor * (1.0 + 0.02 * noise)).clamp(0.0, 1.0);
            let (sent, delivered) = (sent as u32, (sent * rate).round() as u32);
            let in_cohorts = |count: u32| if course.is_counted_alone { 0 } else { count };
            let counts = Counts {
                sent,
                delivered,
                cohort_sent: in_cohorts(sent),
                cohort_delivered: in_cohorts(delivered),
            };
            (u32::try_from(bucket).unwrap(), counts)
        });
        let (channel, vendor_channel, platform) = course.part;
        let key = PartKey {
            channel: channel.to_owned(),
            vendor_channel: vendor_channel.to_owned(),
            platform: platform.to_owned(),
        };
        account.parts.insert(key, buckets.collect());
    }
    let history = History {
        since,
        accounts,
        last: HashMap::new(),
    };
    let body = postcard::to_allocvec(&history).unwrap();
    let mut bytes = b"DELVHIS\x01".to_vec();
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    fs::create_dir_all(spool).unwrap();
    fs::write(spool.join("status.history"), bytes).unwrap();
}

/// A customer with five accounts; `incident` is what Huawei delivers at EngageLab of its usual, for
/// two hours now.
pub fn courses(incident: Option<f64>) -> Vec<Course> {
    let course = |account, part, volume, rate| Course {
        account,
        part,
        volume,
        rate,
        incident: None,
        is_counted_alone: false,
    };
    let android = |channel| ("push", channel, "android");
    let mut all = vec![
        course("push", ("push", "", ""), 2400.0, 0.902),
        course("mail", ("email", "", ""), 3100.0, 0.957),
        course("news", ("push", "", ""), 4300.0, 0.79),
        course("news", android("fcm"), 1300.0, 0.885),
        course("news", android("huawei"), 900.0, 0.823),
        course("news", android("xiaomi"), 700.0, 0.868),
        course("news", android("oppo"), 380.0, 0.854),
        course("news", android("vivo"), 330.0, 0.847),
        course("news", android("honor"), 210.0, 0.812),
        course("news", ("push", "apns", "ios"), 480.0, 0.0),
        course("loyalty", ("push", "", ""), 1500.0, 0.91),
        course("loyalty", android("fcm"), 900.0, 0.931),
        course("loyalty", android("huawei"), 260.0, 0.84),
        course("loyalty", ("push", "apns", "ios"), 350.0, 0.94),
        course("loyalty", ("email", "", ""), 800.0, 0.951),
        course("china", ("push", "", ""), 700.0, 0.89),
    ];
    for course in &mut all {
        course.is_counted_alone = course.account == "mail";
        if course.account == "news" && course.part.1 == "huawei" {
            course.incident = incident.map(|factor| (8, factor));
        }
    }
    all
}
