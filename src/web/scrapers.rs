//! Watches how often Prometheus scrapes. If it scrapes less often than every `zero_hold`, it can miss a
//! counter's initial 0, and with it the first increase. Other clients, such as curl or a browser, compute no
//! increases, so they are ignored.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use delivery_clock::Moment;

/// A scraper is forgotten after this time without a scrape.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// The maximum number of tracked clients.
const MAX_CLIENTS: usize = 1000;

/// A scraper, identified by address and program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Its `User-Agent`.
    pub program: String,
    /// Whether it sent `X-Prometheus-Scrape-Timeout-Seconds`, as Prometheus does: it scrapes on a schedule.
    pub scheduled: bool,
}

#[derive(Clone, Copy)]
struct Visits {
    last: Moment,
    /// The interval between its last two scrapes.
    pause: Option<Duration>,
}

/// All scrapers of this process.
#[derive(Default)]
pub struct Scrapers {
    visits: Mutex<HashMap<Client, Visits>>,
}

impl Scrapers {
    /// Records a scrape, and returns whether all scrapers scrape often enough for `zero_hold`.
    pub fn visit(&self, client: Client, now: Moment, zero_hold: Duration) -> bool {
        let mut visits = self.visits.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = FORGOTTEN.max(zero_hold * 10);
        visits.retain(|_, own| now.since(own.last) < forgotten);
        if client.scheduled {
            if let Some(own) = visits.get_mut(&client) {
                own.pause = Some(now.since(own.last));
                own.last = now;
            } else if visits.len() < MAX_CLIENTS {
                visits.insert(
                    client,
                    Visits {
                        last: now,
                        pause: None,
                    },
                );
            }
        }
        zero_hold.is_zero()
            || visits
                .values()
                .all(|own| own.pause.is_none_or(|pause| pause <= zero_hold))
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
    fn who_sends_no_header_of_prometheus_is_not_judged() {
        let scrapers = Scrapers::default();
        let hold = Duration::from_secs(120);
        for seconds in [0, 1000, 1010, 2000, 3000, 4000] {
            assert!(scrapers.visit(client(1, false), at(seconds), hold));
        }
        // Nor does its visit change what is known of the others.
        assert!(scrapers.visit(client(2, true), at(4000), hold));
        assert!(!scrapers.visit(client(2, true), at(4200), hold));
        assert!(!scrapers.visit(client(1, false), at(4201), hold));
        assert!(scrapers.visit(client(2, true), at(4201), Duration::ZERO));
    }
}
