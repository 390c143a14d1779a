//! Watches how often each scraper comes: one that comes less often than `zero_hold` can miss that a
//! counter was 0, and with it the counter's first increase.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::Moment;

/// A scraper that has not come for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// The most clients that are told apart.
const MAX_CLIENTS: usize = 1000;

/// Who scrapes: an address and a program. Prometheus says so itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Where it is.
    pub address: IpAddr,
    /// Its `User-Agent`.
    pub program: String,
    /// It sent `X-Prometheus-Scrape-Timeout-Seconds`: it comes by a schedule.
    pub scheduled: bool,
}

#[derive(Clone, Copy)]
struct Visits {
    last: Moment,
    /// The last pauses between its visits, the newest first.
    pauses: [Option<Duration>; 2],
}

/// All scrapers of this process.
#[derive(Default)]
pub struct Scrapers {
    visits: Mutex<HashMap<Client, Visits>>,
}

impl Scrapers {
    /// A client comes. Whether all of them come often enough for `zero_hold`.
    pub fn visit(&self, client: Client, now: Moment, zero_hold: Duration) -> bool {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = FORGOTTEN.max(zero_hold * 10);
        visits.retain(|_, own| now.since(own.last) < forgotten);
        if let Some(own) = visits.get_mut(&client) {
            own.pauses = [Some(now.since(own.last)), own.pauses[0]];
            own.last = now;
        } else if visits.len() < MAX_CLIENTS {
            visits.insert(
                client,
                Visits {
                    last: now,
                    pauses: [None; 2],
                },
            );
        }
        if zero_hold.is_zero() {
            return true;
        }
        visits.iter().all(|(client, own)| {
            let interval = match own.pauses {
                [Some(last), _] if client.scheduled => last,
                // A person who looks twice has no interval; one pause too long may be an accident.
                [Some(last), Some(before)] => last.min(before),
                _ => return true,
            };
            interval <= zero_hold
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8, scheduled: bool) -> Client {
        Client {
            address: IpAddr::from([127, 0, 0, last]),
            program: "program".into(),
            scheduled,
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn one_scraper_that_comes_too_seldom_is_enough() {
        let scrapers = Scrapers::default();
        let hold = Duration::from_secs(120);
        let visit = |who, seconds| scrapers.visit(who, at(seconds), hold);
        assert!(visit(client(1, true), 0) && visit(client(1, true), 60));
        assert!(visit(client(2, true), 60));
        assert!(!visit(client(2, true), 200), "140 seconds apart");
        assert!(!visit(client(1, true), 201));
        assert!(!visit(client(1, true), 261), "the other one is no better");
        assert!(visit(client(2, true), 262));
        assert!(!visit(client(2, true), 2262));
        // Hours later its pauses are forgotten.
        assert!(visit(client(1, true), 20_000));
    }

    #[test]
    fn a_person_who_looks_now_and_then_is_no_scraper() {
        let scrapers = Scrapers::default();
        let hold = Duration::from_secs(120);
        assert!(scrapers.visit(client(1, false), at(0), hold));
        assert!(scrapers.visit(client(1, false), at(1000), hold));
        assert!(scrapers.visit(client(1, false), at(1010), hold));
        assert!(scrapers.visit(client(1, false), at(2000), hold));
        assert!(!scrapers.visit(client(1, false), at(3000), hold));
        assert!(scrapers.visit(client(1, false), at(4000), Duration::ZERO));
    }
}
