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
use sha2::{Digest, Sha256};

/// A scraper is forgotten after this time without a scrape.
const FORGOTTEN: Duration = Duration::from_secs(3600);
/// The maximum number of tracked clients.
const MAX_CLIENTS: usize = 1000;

/// Identifies a scraper by its address and program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    address: IpAddr,
    /// The first half of a digest of its `User-Agent`, which can be hundreds of kilobytes long.
    program: [u8; 16],
    scheduled: bool,
}

impl Client {
    /// A client by its address and `User-Agent`. It is `scheduled` if it sent
    /// `X-Prometheus-Scrape-Timeout-Seconds`, as Prometheus does.
    pub fn new(address: IpAddr, user_agent: &[u8], scheduled: bool) -> Client {
        let mut program = [0; 16];
        if scheduled {
            // Other clients are not remembered.
            let digest = Sha256::digest(user_agent);
            program.copy_from_slice(&digest[..16]);
        }
        Client {
            address,
            program,
            scheduled,
        }
    }
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
            } else {
                if visits.len() >= MAX_CLIENTS {
                    forget_one(&mut visits);
                }
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

/// Forgets the client that has been away for longest, of the address that has most clients: one address that
/// invents programs does not displace the scrapers of others.
fn forget_one(visits: &mut HashMap<Client, Visits>) {
    let mut clients: HashMap<IpAddr, usize> = HashMap::new();
    for client in visits.keys() {
        *clients.entry(client.address).or_default() += 1;
    }
    let most = clients.into_iter().max_by_key(|(_, count)| *count);
    let Some((address, _)) = most else {
        return;
    };
    let of_address = visits.iter().filter(|(own, _)| own.address == address);
    let oldest = of_address.min_by_key(|(_, own)| own.last);
    if let Some(client) = oldest.map(|(client, _)| client.clone()) {
        visits.remove(&client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8, scheduled: bool) -> Client {
        Client::new(IpAddr::from([127, 0, 0, last]), b"program", scheduled)
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

    #[test]
    fn invented_programs_take_little_memory_and_displace_no_other_scraper() {
        let scrapers = Scrapers::default();
        let hold = Duration::from_secs(120);
        let prometheus = |address| scrapers.visit(client(address, true), at(0), hold);
        assert!(prometheus(1));
        let mut long = vec![b'A'; 100_000];
        for number in 0..3000_u32 {
            long[..4].copy_from_slice(&number.to_be_bytes());
            let address = IpAddr::from([127, 0, 0, 9]);
            assert!(scrapers.visit(Client::new(address, &long, true), at(1), hold));
        }
        // A scraper that comes now still gets an entry.
        assert!(scrapers.visit(client(2, true), at(2), hold));
        assert_eq!(scrapers.visits.lock().unwrap().len(), MAX_CLIENTS);
        assert!(size_of::<(Client, Visits)>() < 200);
        assert!(!scrapers.visit(client(2, true), at(200), hold));
        assert!(!scrapers.visit(client(1, true), at(200), hold));
        let visits = scrapers.visits.lock().unwrap();
        let pause = |address| visits[&client(address, true)].pause;
        assert_eq!(pause(1), Some(Duration::from_secs(200)));
        assert_eq!(pause(2), Some(Duration::from_secs(198)));
    }
}
