//! When the numbers of a day are published, and which.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Alibaba, lock};
use crate::{
    mood::{Mood, Publication},
    traffic::{Campaign, Way, mix, scale},
};

/// The days are those of Beijing, in seconds ahead of UTC.
pub(super) const BEIJING: i64 = 8 * 3600;
pub(super) const DAY: i64 = 86_400;

/// The numbers of a message.
pub(super) enum Published {
    /// There are none.
    Nothing,
    /// The day is still being counted.
    Counting,
    /// These.
    Numbers(Value),
}

/// How far the nightly job is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Job {
    /// It has not begun to publish.
    Waiting,
    /// Some of the numbers are published.
    Half,
    /// All of them are.
    Done,
}

/// The number of the day in Beijing.
pub(super) fn day_of(time: Timestamp) -> i64 {
    (time.as_second() + BEIJING).div_euclid(DAY)
}

/// When a day in Beijing begins.
pub(super) fn midnight(day: i64) -> Timestamp {
    Timestamp::from_second(day * DAY - BEIJING).unwrap_or_default()
}

/// How far the job of the night in which `now` is, or that was before it, is.
fn job(mood: &Mood, now: Timestamp) -> Job {
    if mood.publication == Publication::Usual {
        return Job::Done;
    }
    let day = day_of(now);
    let luck = mix(mix(mood.seed, 0x006e_6967_6874), day.unsigned_abs());
    // From 00:10 to 05:50.
    let done = 600 + (luck % (340 * 60)).cast_signed();
    let half = match mood.publication {
        Publication::TwoSteps => 60 + ((luck >> 32) % (done.unsigned_abs() - 60)).cast_signed(),
        _ => done,
    };
    match now.duration_since(midnight(day)).as_secs() {
        passed if passed >= done => Job::Done,
        passed if passed >= half => Job::Half,
        _ => Job::Waiting,
    }
}

/// Numbers between two sets of them: three fifths of what came, or all of it.
fn between(was: Option<&Value>, is: &Value) -> Value {
    let mut half = is.clone();
    for (name, value) in half.as_object_mut().into_iter().flatten() {
        let old = was.and_then(|was| was[name.as_str()].as_u64()).unwrap_or(0);
        if let Some(new) = value.as_u64() {
            *value = json!(old + new.saturating_sub(old) * 3 / 5);
        }
    }
    half
}

impl Alibaba {
    /// The numbers of a campaign as of the last midnight in Beijing whose night's job is done.
    pub(super) fn published(&self, campaign: &Campaign, now: Timestamp) -> Published {
        let mood = self.0.acting.mood();
        let days = day_of(now) - day_of(campaign.sent_at);
        if days < 1 {
            return Published::Nothing;
        }
        let last = midnight(day_of(now));
        let complete = |day: i64| numbers_of(campaign, midnight(day));
        let job = job(&mood, now);
        if job != Job::Done {
            self.0.acting.note("publication");
        }
        match (job, days) {
            (Job::Waiting, 1) if mix(mood.seed, campaign.hash(3)).is_multiple_of(2) => {
                Published::Nothing
            }
            (Job::Waiting, 1) => Published::Counting,
            (Job::Waiting, _) => Published::Numbers(complete(day_of(now) - 1)),
            (Job::Half, 1) => Published::Numbers(between(None, &complete(day_of(now)))),
            (Job::Half, _) => {
                let was = complete(day_of(now) - 1);
                Published::Numbers(between(Some(&was), &complete(day_of(now))))
            }
            (Job::Done, 1) => {
                let counting = lock(&self.0.options).counting;
                let counting = SignedDuration::try_from(counting).unwrap_or_default();
                let is_calm = mood.publication == Publication::Usual;
                if is_calm && now.duration_since(last) < counting {
                    return Published::Counting;
                }
                Published::Numbers(numbers_of(campaign, last))
            }
            (Job::Done, _) => Published::Numbers(numbers_of(campaign, last)),
        }
    }

    /// What came to the application's numbers on a day, if it is published.
    pub(super) fn day(&self, day: i64, now: Timestamp) -> Option<Value> {
        let (begin, over) = (midnight(day), midnight(day + 1));
        if over > now {
            return None;
        }
        let job = match day_of(now) == day + 1 {
            true => job(&self.0.acting.mood(), now),
            false => Job::Done,
        };
        if job == Job::Waiting {
            return None;
        }
        let mut sums = std::collections::BTreeMap::<String, u64>::new();
        for campaign in self.campaigns(over).iter() {
            let (was, is) = (numbers_of(campaign, begin), numbers_of(campaign, over));
            for (name, value) in is.as_object().into_iter().flatten() {
                let was = was[name].as_u64().unwrap_or(0);
                let grown = value.as_u64().unwrap_or(0).saturating_sub(was);
                *sums.entry(name.clone()).or_default() += grown;
            }
        }
        let mut row = json!(sums);
        if job == Job::Half {
            self.0.acting.note("publication");
            row = between(None, &row);
        }
        row["Time"] = json!(begin.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        Some(row)
    }
}

/// The numbers of a campaign as of a midnight.
pub(super) fn numbers_of(campaign: &Campaign, midnight: Timestamp) -> Value {
    // The numbers grow for three days.
    let end = campaign.sent_at + SignedDuration::from_hours(72);
    let android = campaign.numbers(ANDROID, midnight.min(end));
    let ios = campaign.numbers(IOS, midnight.min(end));
    let sent = android.sent + ios.sent;
    let mut numbers = json!({
        "AcceptCount": android.targets + ios.targets,
        "SentCount": sent,
        // What APNs takes without an error counts as received.
        "ReceivedCount": android.delivered + ios.sent,
        "OpenedCount": android.opened + ios.opened,
        "DeletedCount": android.opened / 3,
        "SmsSentCount": null,
        "SmsSkipCount": null,
    });
    if campaign.number.is_multiple_of(5) {
        let sms = scale(sent, 0.02);
        numbers["SmsSentCount"] = json!(sms);
        numbers["SmsSkipCount"] = json!(sms / 7);
        numbers["SmsFailedCount"] = json!(sms / 50);
        numbers["SmsReceiveSuccessCount"] = json!(scale(sms, 0.94));
        numbers["SmsReceiveFailedCount"] = json!(scale(sms, 0.03));
    }
    numbers
}

const ANDROID: Way = Way {
    share: 0.7,
    rate: 0.86,
    seconds: 3000.0,
};
const IOS: Way = Way {
    share: 0.3,
    rate: 0.99,
    seconds: 60.0,
};
