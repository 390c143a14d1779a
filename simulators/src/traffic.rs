//! Traffic like that of real campaigns: when they are sent, to how many, and how their numbers grow.
//!
//! Everything is a pure function of the seed and the time, and no number ever falls: the books can
//! be asked for any moment.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::Clock;
use jiff::{SignedDuration, Timestamp};

use crate::incident::{Incident, Incidents, Period};

/// A source of campaigns.
#[derive(Clone, Debug)]
pub struct Traffic {
    seed: u64,
    begin: Timestamp,
    gap: SignedDuration,
    steady: Option<Steady>,
    incidents: Option<Incidents>,
    /// The campaigns that were last asked for: most requests come at one moment.
    last: Arc<Mutex<Last>>,
}

/// Small messages beside the campaigns, such as confirmations of orders: one in every so long.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    /// When the first one is sent.
    pub begin: Timestamp,
    /// The time from one to the next.
    pub every: SignedDuration,
}

/// The number of the first small message. No campaign's number is as high, nor is that of a message
/// that a mood sends between two pages.
const FIRST_STEADY: u64 = 1_000_000;
const STEADY_NAMES: [&str; 5] = [
    "order-confirmed",
    "order-shipped",
    "order-arrived",
    "reminder",
    "account-news",
];

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
    /// When FCM was down.
    outages: Arc<[Period]>,
    /// Whether it was sent while addresses bounced.
    bounces: bool,
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
            steady: None,
            incidents: None,
            last: Arc::default(),
        }
    }

    /// The same with small messages beside the campaigns.
    #[must_use]
    pub fn with_steady(self, steady: Option<Steady>) -> Traffic {
        Traffic {
            steady,
            last: Arc::default(),
            ..self
        }
    }

    /// The same with incidents that show in the numbers.
    #[must_use]
    pub fn with_incidents(self, incidents: Incidents) -> Traffic {
        Traffic {
            incidents: Some(incidents),
            last: Arc::default(),
            ..self
        }
    }

    /// The incidents; without them nothing goes wrong.
    pub(crate) fn incidents(&self, clock: &Clock) -> Incidents {
        self.incidents
            .clone()
            .unwrap_or_else(|| Incidents::new(clock.clone()))
    }

    /// A number that is this traffic's own.
    pub(crate) fn hash(&self, what: u64) -> u64 {
        mix(self.seed, what)
    }

    /// When it began.
    pub(crate) fn begin(&self) -> Timestamp {
        self.begin
    }

    /// The small messages.
    pub(crate) fn steady(&self) -> Option<Steady> {
        self.steady
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
        let sent = numbers
            .chain(self.steady_numbers(now))
            .map(|number| self.campaign(number))
            .filter(|own| own.sent_at <= now);
        let mut campaigns: Vec<Campaign> = sent.collect();
        if self.steady.is_some() {
            campaigns.sort_by_key(|own| own.sent_at);
        }
        let campaigns: Arc<[Campaign]> = campaigns.into();
        *last = Last {
            at: Some(now),
            campaigns: campaigns.clone(),
        };
        campaigns
    }

    /// The numbers of the small messages that have been sent by `now`.
    fn steady_numbers(&self, now: Timestamp) -> std::ops::Range<u64> {
        let count = self.steady.map_or(0, |steady| {
            let since = now.duration_since(steady.begin).as_secs();
            let every = steady.every.as_secs().max(1);
            u64::try_from(since.div_euclid(every) + 1).unwrap_or(0)
        });
        FIRST_STEADY..FIRST_STEADY + count
    }

    /// The campaign of that number, sent or not.
    pub fn campaign(&self, number: u64) -> Campaign {
        let campaign = match (self.steady, number.checked_sub(FIRST_STEADY)) {
            (Some(steady), Some(place)) => self.small(steady, number, place),
            _ => self.large(number),
        };
        let Some(incidents) = &self.incidents else {
            return campaign;
        };
        Campaign {
            outages: incidents.periods(Incident::FcmOutage),
            bounces: incidents.lasted(Incident::BounceStorm, campaign.sent_at),
            ..campaign
        }
    }

    /// A small message of that number, at its place among them.
    fn small(&self, steady: Steady, number: u64, place: u64) -> Campaign {
        let seed = mix(self.seed, number);
        let slot = steady.begin + steady.every * i32::try_from(place).unwrap_or(i32::MAX);
        let late = part(seed, 1) * steady.every.as_secs_f64() * 0.5;
        Campaign {
            number,
            name: STEADY_NAMES[(mix(seed, 6) % 5) as usize],
            sent_at: slot + SignedDuration::from_millis((late * 1000.0) as i64),
            recipients: (600.0 + 400.0 * part(seed, 2)) as u64,
            seed,
            outages: Arc::default(),
            bounces: false,
        }
    }

    fn large(&self, number: u64) -> Campaign {
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
            outages: Arc::default(),
            bounces: false,
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
    /// Refused by a channel that is down, beside the failed ones.
    pub refused: u64,
}

/// The part of what is sent to a channel that is down and is refused; the rest waits for its end.
const REFUSED: f64 = 0.6;

impl Campaign {
    /// A number that is this campaign's own.
    pub fn hash(&self, what: u64) -> u64 {
        mix(self.seed, what)
    }

    /// Whether it was sent while addresses bounced.
    pub fn bounces(&self) -> bool {
        self.bounces
    }

    /// The numbers on one way at `now`, of which `part` goes through FCM: while that is down it
    /// delivers nothing of it, and refuses part of what is sent.
    pub fn numbers_with_fcm(&self, way: Way, part: f64, now: Timestamp) -> Numbers {
        let mut numbers = self.numbers(way, now);
        let age = |at: Timestamp| at.duration_since(self.sent_at).as_secs_f64();
        // Seconds of the campaign's life, and the part of the sends, that the outages took.
        let (mut stalled, mut sent) = (0.0, 0.0);
        for period in self.outages.iter() {
            let from = age(period.from).max(0.0);
            let to = age(period.to.map_or(now, |to| to.min(now)));
            if to > from {
                stalled += to - from;
                let before = if from > 0.0 { sending(from) } else { 0.0 };
                sent += sending(to) - before;
            }
        }
        if stalled == 0.0 {
            return numbers;
        }
        let well = numbers.delivered - scale(numbers.delivered, part);
        let life = (age(now) - stalled).max(0.0);
        let late = self.delivered(way, numbers.targets, life);
        // What is refused never arrives; what waited arrives after the outage.
        let kept = part * (1.0 - REFUSED * sent);
        let whole = self.delivered(way, numbers.targets, f64::INFINITY);
        let delivered = well + scale(late, part).min(scale(whole, kept));
        numbers.delivered = delivered.min(numbers.sent);
        numbers.refused = scale(whole, part * REFUSED * sent);
        numbers.displayed = numbers.displayed.min(scale(numbers.delivered, 0.8));
        numbers.opened = numbers.opened.min(numbers.delivered);
        numbers
    }

    /// How many of the targets of a way have the message after so many seconds.
    fn delivered(&self, way: Way, targets: u64, age: f64) -> u64 {
        let all = scale(targets, SENT * self.rate(way).min(1.0));
        scale(all, growth(age, way.seconds))
    }

    /// The part of the sends that arrive in the end: no campaign goes exactly like another.
    fn rate(&self, way: Way) -> f64 {
        way.rate * (0.97 + 0.05 * part(self.seed, 3))
    }

    /// The numbers on one way at `now`.
    pub fn numbers(&self, way: Way, now: Timestamp) -> Numbers {
        let age = now.duration_since(self.sent_at).as_secs_f64();
        if age < 0.0 {
            return Numbers::default();
        }
        let targets = scale(self.recipients, way.share);
        let sent = scale(targets, sending(age));
        let rate = self.rate(way);
        let delivered = self.delivered(way, targets, age);
        let displayed = scale(scale(delivered, 0.8), growth(age, 7200.0));
        let opened = scale(
            scale(delivered, 0.06 + 0.05 * part(self.seed, 4)),
            growth(age, 14_400.0),
        );
        let failed = scale(
            scale(targets, SENT * (1.0 - rate).max(0.0)),
            growth(age, way.seconds * 3.0),
        );
        Numbers {
            targets,
            sent,
            delivered: delivered.min(sent),
            displayed,
            opened,
            failed: failed.min(sent),
            refused: 0,
        }
    }
}

/// The part of the targets that is sent in the end.
const SENT: f64 = 0.985;

/// The part that is sent after so many seconds: sending takes two minutes.
fn sending(age: f64) -> f64 {
    (0.05 + age / 120.0).min(SENT)
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

    #[test]
    fn small_messages_are_sent_all_the_time_beside_the_campaigns() {
        let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let steady = Steady {
            begin: begin + SignedDuration::from_hours(24),
            every: SignedDuration::from_mins(1),
        };
        let plain = Traffic::new(7, begin, Duration::from_secs(3600));
        let traffic = plain.clone().with_steady(Some(steady));
        let now = steady.begin + SignedDuration::from_mins(30);
        let all = traffic.campaigns(now);
        assert!(all.is_sorted_by_key(|own| own.sent_at));
        let small: Vec<_> = all
            .iter()
            .filter(|own| own.number >= FIRST_STEADY)
            .collect();
        assert!((30..=31).contains(&small.len()), "{}", small.len());
        assert_eq!(all.len() - small.len(), plain.campaigns(now).len());
        for pair in small.windows(2) {
            let pause = pair[1].sent_at.duration_since(pair[0].sent_at).as_secs();
            assert!((30..=90).contains(&pause), "{pause}");
            assert_eq!(traffic.campaign(pair[0].number), *pair[0]);
        }
    }

    #[test]
    fn an_outage_of_fcm_stalls_deliveries_and_refuses_sends_and_no_number_falls() {
        let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let (clock, hand) = Clock::manual(begin);
        let incidents = Incidents::new(clock.clone());
        let plain = Traffic::new(7, begin, Duration::from_secs(3600));
        let traffic = plain.clone().with_incidents(incidents.clone());
        let way = Way {
            share: 0.6,
            rate: 0.93,
            seconds: 120.0,
        };
        let (mut stalled, mut before) = (0, Numbers::default());
        // The outage comes and goes while the first campaign is being sent.
        let sent_at = plain.campaign(0).sent_at;
        hand.advance(Duration::try_from(sent_at.duration_since(begin)).unwrap());
        for second in (0..1200).step_by(5) {
            let on = (20..60).contains(&second) || (80..400).contains(&second);
            incidents.set(Incident::FcmOutage, on);
            let campaign = traffic.campaign(0);
            let now = clock.now();
            let numbers = campaign.numbers_with_fcm(way, 1.0, now);
            assert!(numbers.sent >= before.sent, "{second}");
            assert!(
                numbers.delivered >= before.delivered,
                "{second}: {numbers:?}"
            );
            assert!(numbers.displayed >= before.displayed, "{second}");
            assert!(numbers.refused >= before.refused, "{second}");
            if on && second > 80 && numbers.delivered == before.delivered {
                stalled += 1;
            }
            // Another part of the traffic goes on.
            let half = campaign.numbers_with_fcm(way, 0.5, now);
            assert!(half.delivered >= numbers.delivered, "{second}");
            before = numbers;
            hand.advance(Duration::from_secs(5));
        }
        let well = plain.campaign(0).numbers(way, clock.now());
        assert!(stalled > 60, "{stalled}");
        assert!(before.refused > well.sent / 4, "{before:?}");
        assert!(before.delivered < well.delivered * 3 / 4, "{before:?}");
        assert!(
            before.delivered > well.delivered / 5,
            "it goes on afterwards"
        );
        assert!(before.delivered + before.failed + before.refused <= before.sent);
    }
}
