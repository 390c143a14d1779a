//! Simulates thirty days of the schedule, minute by minute, with the collector's own queue and policy: the
//! number of queries, the freshness of the counts, and whether there is a query at each cohort age.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use delivery_clock::Moment;
use jiff::SignedDuration;

use super::{
    queue::{DatasetQueue, QueuedQuery},
    schedule,
};
use crate::golden;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
const INTERVAL: Duration = Duration::from_secs(60);
const MAX_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// The default of `cohort_ages`.
const AGES: [i64; 6] = [300, 900, 3600, 6 * 3600, DAY, 3 * DAY];
const MAX_AGE: i64 = 29 * DAY;

/// The traffic of an account.
#[derive(Clone, Copy)]
struct Sender {
    /// A description.
    name: &'static str,
    /// The number of messages per day, spread evenly over these hours.
    daily: i64,
    from: i64,
    to: i64,
    /// The maximum number of ids in one request.
    batch: usize,
}

/// A tracked message.
struct Tracked {
    sent: i64,
    asked: Option<i64>,
    /// The ages that are still ahead.
    ages: &'static [i64],
}

/// The result of the simulation.
#[derive(Debug, Default)]
struct Outcome {
    messages: u64,
    forgotten: u64,
    requests: u64,
    /// The number of requests of a client that queries everything every interval, in full batches.
    fixed: u64,
    /// The longest time between two queries for a message younger than an hour.
    stalest_new: i64,
    /// The longest time between two queries for any message.
    stalest: i64,
    /// The number of ages at which a message was queried within a minute, and of those at which it was not.
    met: u64,
    missed: u64,
}

fn at(second: i64) -> Moment {
    Moment::from_start(Duration::from_secs(second.try_into().unwrap()))
}

fn run(sender: Sender, days: i64) -> Outcome {
    let mut outcome = Outcome::default();
    let mut queue = DatasetQueue::default();
    let window = (sender.batch > 1).then_some(schedule::BatchWindow {
        origin: at(11),
        interval: INTERVAL,
    });
    let mut tracked: BTreeMap<Arc<str>, Tracked> = BTreeMap::new();
    let gap = (sender.to - sender.from) * 3600 / sender.daily;
    let history = MAX_AGE / DAY;
    let mut sends = (-history..days).flat_map(|day| {
        let begin = day * DAY + sender.from * 3600;
        (0..sender.daily).map(move |number| begin + number * gap + number * 7 % 60)
    });
    let mut next_send = sends.next();
    let mut now = 0;
    let mut next_minute = 0;
    while now < days * DAY {
        while let Some(sent) = next_send.filter(|sent| *sent <= now) {
            let id: Arc<str> = format!("{:06}", outcome.messages).into();
            queue.add(QueuedQuery::Message(id.clone()), at(now));
            // Ages that had passed when the message became known do not count.
            let past = AGES.iter().take_while(|age| **age < now - sent).count();
            let ages = &AGES[past..];
            let own = Tracked {
                sent,
                asked: None,
                ages,
            };
            tracked.insert(id, own);
            outcome.messages += 1;
            next_send = sends.next();
        }
        // Ids are assigned in the order of sending, so the first is the oldest.
        while let Some(first) = tracked.first_entry() {
            if now - first.get().sent < MAX_AGE {
                break;
            }
            queue.remove(&QueuedQuery::Message(first.key().clone()));
            first.remove();
            outcome.forgotten += 1;
        }
        if now >= next_minute {
            outcome.fixed += tracked.len().div_ceil(sender.batch) as u64;
            next_minute += MINUTE;
        }
        loop {
            let jobs = queue.take(at(now), sender.batch);
            if jobs.is_empty() {
                break;
            }
            outcome.requests += 1;
            for job in jobs {
                let QueuedQuery::Message(id) = &job else {
                    continue;
                };
                let own = tracked.get_mut(id).unwrap();
                let age = now - own.sent;
                if let Some(before) = own.asked.replace(now) {
                    outcome.stalest = outcome.stalest.max(now - before);
                    if age < 3600 {
                        outcome.stalest_new = outcome.stalest_new.max(now - before);
                    }
                }
                while let Some((first, rest)) = own.ages.split_first()
                    && *first <= age
                {
                    let hit = age - first <= MINUTE;
                    outcome.met += u64::from(hit);
                    outcome.missed += u64::from(!hit);
                    own.ages = rest;
                }
                let age = SignedDuration::from_secs(age);
                let (next, early) = schedule::next(at(now), age, INTERVAL, MAX_INTERVAL, window);
                queue.answered(&job, next, early);
                if let Some(age) = own.ages.first() {
                    queue.sooner(&job, schedule::wanted(at(own.sent + age), window));
                }
            }
        }
        let due = queue.next_try().map_or(i64::MAX, |due| {
            i64::try_from(due.since_start().as_secs()).unwrap()
        });
        now = due
            .min(next_send.unwrap_or(i64::MAX))
            .min(next_minute)
            .max(now + 1);
    }
    outcome
}

/// The senders in the documentation's table.
const SENDERS: [Sender; 2] = [
    Sender {
        name: "40 messages a day, one id a request",
        daily: 40,
        from: 8,
        to: 20,
        batch: 1,
    },
    Sender {
        name: "400 messages a day in the morning, 100 ids a request",
        daily: 400,
        from: 8,
        to: 11,
        batch: 100,
    },
];

#[test]
fn thirty_days_cost_a_hundredth_of_a_fixed_interval_and_miss_no_age() {
    let mut table = String::from(
        "| an account that sends | requests for a message, in all its life | requests a day | at a fixed interval | times fewer |\n\
         |---|---|---|---|---|\n",
    );
    for sender in SENDERS {
        let outcome = run(sender, 30);
        assert_eq!(outcome.messages, u64::try_from(59 * sender.daily).unwrap());
        assert_eq!(outcome.forgotten, u64::try_from(30 * sender.daily).unwrap());
        // The newest hour is as fresh as with a fixed interval, and every age has a query.
        assert!(outcome.stalest_new <= MINUTE, "{outcome:?}");
        let longest = i64::try_from(MAX_INTERVAL.as_secs()).unwrap();
        assert!(outcome.stalest <= longest, "{outcome:?}");
        assert_eq!(outcome.missed, 0, "{outcome:?}");
        assert!(
            outcome.met > 160 * u64::try_from(sender.daily).unwrap(),
            "{outcome:?}"
        );
        let fewer = outcome.fixed / outcome.requests;
        assert!(fewer >= 100, "{}: {fewer} times, {outcome:?}", sender.name);
        let each = outcome.requests * 10 / u64::try_from(30 * sender.daily).unwrap();
        writeln!(
            table,
            "| {} | {}.{} | {} | {} | {fewer} |",
            sender.name,
            each / 10,
            each % 10,
            outcome.requests / 30,
            outcome.fixed / 30,
        )
        .unwrap();
    }
    golden::assert_part_current("docs/messages.md", "schedule", &table);
}
