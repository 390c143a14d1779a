//! Traffic like that of real campaigns: when they are sent, to how many, and how their numbers grow.
//!
//! Everything is a pure function of the seed and the time, and no number ever falls: the books can
//! be asked for any moment.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// A source of campaigns.
#[derive(Clone, Debug)]
pub struct Traffic {
    seed: u64,
    begin: Timestamp,
    gap: SignedDuration,
    /// The campaigns that were last asked for: most requests come at one moment.
    last: Arc<Mutex<Last>>,
}

/// The campaigns of one moment.
#[derive(Debug, Default)]
struct Last {
    at: Option<Timestamp>,
    campaigns: Arc<[Campaign]>,
}

/// One campaign: a message to many.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// Its number, from 0.
    pub number: u64,
    /// Its name, which comes again every few days.
    pub name: &'static str,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// To how many.
    pub recipients: u64,
    seed: u64,
}

const NAMES: [&str; 7] = [
    "welcome",
    "spring-sale",
    "basket",
    "price-alert",
    "newsletter",
    "feedback",
    "delivery-news",
];

impl Traffic {
    /// Campaigns from `begin` on, one in every `gap` on the average.
    pub fn new(seed: u64, begin: Timestamp, gap: Duration) -> Traffic {
        let gap = SignedDuration::try_from(gap).unwrap_or(SignedDuration::from_hours(1));
        Traffic {
            seed,
            begin,
            gap,
            last: Arc::default(),
        }
    }

    /// The campaigns that have been sent by `now`, the oldest first.
    pub fn campaigns(&self, now: Timestamp) -> Arc<[Campaign]> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at == Some(now) {
            return last.campaigns.clone();
        }
        let gaps = now
            .duration_since(self.begin)
            .as_secs()
            .div_euclid(self.gap.as_secs().max(1));
        let numbers = 0..=u64::try_from(gaps).unwrap_or(0);
        let campaigns: Arc<[Campaign]> = numbers
            .map(|number| self.campaign(number))
            .filter(|own| own.sent_at <= now)
            .collect();
        *last = Last {
            at: Some(now),
            campaigns: campaigns.clone(),
        };
        campaigns
    }

    /// The campaign of that number, sent or not.
    pub fn campaign(&self, number: u64) -> Campaign {
        let seed = mix(self.seed, number);
        let slot = self.begin + self.gap * i32::try_from(number).unwrap_or(i32::MAX);
        let late = part(seed, 1) * self.gap.as_secs_f64() * 0.9;
        let sent_at = slot + SignedDuration::from_millis((late * 1000.0) as i64);
        // People are written to by day.
        let hour = (sent_at.as_second().rem_euclid(86_400) as f64) / 3600.0;
        let rhythm = 0.55 + 0.45 * ((hour - 13.0) * std::f64::consts::PI / 12.0).cos();
        let recipients = (400.0 + 20_000.0 * rhythm * part(seed, 2).powi(2)) as u64;
        Campaign {
            number,
            name: NAMES[(number % 7) as usize],
            sent_at,
            recipients,
            seed,
        }
    }
}

/// How one way to devices behaves.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The part of the recipients who are reached by it.
    pub share: f64,
    /// The part of the sends that arrive in the end.
    pub rate: f64,
    /// How fast they arrive: after so many seconds, 63 % of them have.
    pub seconds: f64,
}

/// The numbers of a campaign on one way at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Meant to be sent.
    pub targets: u64,
    /// Sent.
    pub sent: u64,
    /// Arrived.
    pub delivered: u64,
    /// Displayed.
    pub displayed: u64,
    /// Opened.
    pub opened: u64,
    /// Failed.
    pub failed: u64,
}

impl Campaign {
    /// A number that is this campaign's own.
    pub fn hash(&self, what: u64) -> u64 {
        mix(self.seed, what)
    }

    /// The numbers on one way at `now`.
    pub fn numbers(&self, way: Way, now: Timestamp) -> Numbers {
        let age = now.duration_since(self.sent_at).as_secs_f64();
        if age < 0.0 {
            return Numbers::default();
        }
        let targets = scale(self.recipients, way.share);
        // Sending takes two minutes.
        let sent = scale(targets, (0.05 + age / 120.0).min(0.985));
        // No campaign goes exactly like another.
        let rate = way.rate * (0.97 + 0.05 * part(self.seed, 3));
        let delivered = scale(
            scale(targets, 0.985 * rate.min(1.0)),
            growth(age, way.seconds),
        );
        let displayed = scale(scale(delivered, 0.8), growth(age, 7200.0));
        let opened = scale(
            scale(delivered, 0.06 + 0.05 * part(self.seed, 4)),
            growth(age, 14_400.0),
        );
        let failed = scale(
            scale(targets, 0.985 * (1.0 - rate).max(0.0)),
            growth(age, way.seconds * 3.0),
        );
        Numbers {
            targets,
            sent,
            delivered: delivered.min(sent),
            displayed,
            opened,
            failed: failed.min(sent),
        }
    }
}

/// The part that has happened after so many seconds.
fn growth(age: f64, seconds: f64) -> f64 {
    1.0 - (-age / seconds).exp()
}

/// A part of a whole, rounded down: it grows as the part grows.
pub(crate) fn scale(whole: u64, part: f64) -> u64 {
    (whole as f64 * part.clamp(0.0, 1.0)) as u64
}

/// A number between 0 and 1.
pub(crate) fn part(seed: u64, what: u64) -> f64 {
    (mix(seed, what) >> 11) as f64 / (1u64 << 53) as f64
}

/// Mixes two numbers into one that looks like chance (the finalizer of SplitMix64).
pub(crate) fn mix(seed: u64, what: u64) -> u64 {
    let mut mixed = seed ^ what.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaigns_do_not_change_and_their_numbers_never_fall() {
        let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let traffic = Traffic::new(7, begin, Duration::from_secs(3600));
        let later = begin + SignedDuration::from_hours(50);
        let campaigns = traffic.campaigns(later);
        assert!(campaigns.len() >= 49, "{}", campaigns.len());
        let early = traffic.campaigns(begin + SignedDuration::from_hours(20));
        assert_eq!(early[..], campaigns[..early.len()]);
        let way = Way {
            share: 0.5,
            rate: 0.9,
            seconds: 300.0,
        };
        let mut before = Numbers::default();
        for minutes in [0, 1, 2, 5, 60, 600, 6000] {
            let now = campaigns[0].sent_at + SignedDuration::from_mins(minutes);
            let numbers = campaigns[0].numbers(way, now);
            assert!(numbers.sent >= before.sent && numbers.delivered >= before.delivered);
            assert!(
                numbers.delivered + numbers.failed <= numbers.sent,
                "{numbers:?}"
            );
            before = numbers;
        }
        assert!(before.delivered > 0 && before.opened > 0 && before.failed > 0);
    }
}
