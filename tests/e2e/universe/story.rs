//! What happens in one seed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use delivery_simulators::{Account, Mood, Moods};

use super::{
    super::{
        luck::{Luck, mix},
        moods::{
            outages::outages,
            truth::{ACCOUNTS, CHINA, LOYALTY, MAIL, NEWS, PUSH},
        },
    },
    gate::{Cut, Stop},
};

/// Where a replica stands still: by account, after how many transactions, and where in the next one.
pub type Stops = BTreeMap<&'static str, (u64, Stop)>;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// A replica ends in peace, and comes back after so many pieces of time.
    Stop { replica: usize, away: u64 },
    /// A replica is killed at these operations, and comes back: the one that takes all accounts at the time, or
    /// another.
    Kill {
        replica: usize,
        holder: bool,
        stops: Stops,
        away: u64,
    },
    /// A replica stands still at these operations, longer than its lease, and goes on.
    Pause {
        replica: usize,
        stops: Stops,
        store_first: bool,
    },
    /// A replica does not reach the store.
    StoreCut { replica: usize, cut: Cut },
    /// No replica reaches the store.
    StoreDown { cut: Cut },
    /// So many of 1,000 operations of the store fail, for all replicas.
    StoreFlaky { per_mille: u64 },
    /// A replica does not reach the vendors.
    VendorsCut { replica: usize },
    /// A vendor is in one of [`outages`], for all replicas.
    Outage { account: &'static str, kind: usize },
    /// So many answers of a vendor are cut off.
    Torn {
        account: &'static str,
        at: usize,
        times: u32,
    },
    /// Reports are pushed to a replica, whoever holds the account.
    Pushed { replica: usize },
    /// The wall clock of a replica is set by so many seconds, and right again after a while. Meanwhile the
    /// replica is killed and started, or not.
    ClockSet {
        replica: usize,
        by: i64,
        restart: bool,
    },
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Outage { account, kind } => {
                write!(f, "outage of {account} ({})", outages()[*kind].0)
            }
            Act::ClockSet {
                replica,
                by,
                restart,
            } => {
                let again = if *restart { ", and it starts anew" } else { "" };
                write!(f, "clock of {replica} is set by {} h{again}", by / HOUR)
            }
            other => write!(f, "{other:?}"),
        }
    }
}

/// One seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub seed: u64,
    /// By how many seconds each replica's wall clock is ahead.
    pub skews: Vec<i64>,
    pub accounts: Vec<&'static str>,
    /// The account whose vendor is in a mood, and the mood; the others answer as documented.
    pub mood: Option<(&'static str, Mood)>,
    /// Hours before each act, and the act.
    pub acts: Vec<(u64, Act)>,
    /// Hours between two campaigns of a vendor.
    pub gap: u64,
    /// The hour at which it begins.
    pub hour: u64,
    pub concurrency: usize,
    pub old_signature: bool,
}

const HOUR: i64 = 3600;
/// By how many seconds a wall clock is set.
const CLOCK_STEPS: [i64; 6] = [
    -365 * 24 * HOUR,
    -24 * HOUR,
    -HOUR,
    HOUR,
    24 * HOUR,
    365 * 24 * HOUR,
];

/// The hours of a universe.
const HOURS: u64 = 26 * 24;

impl Case {
    /// The case of a seed.
    pub fn from_seed(seed: u64) -> Case {
        let mut luck = Luck::new(mix(seed, 0x75_6e69));
        let replicas = 2 + luck.below(2) as usize;
        let mut accounts: Vec<&'static str> = ACCOUNTS.to_vec();
        while accounts.len() > 3 || (accounts.len() > 2 && luck.percent(50)) {
            // E-mail is handed out once: there is most to lose.
            let out = luck.below(accounts.len() as u64) as usize;
            if accounts[out] != MAIL || luck.percent(25) {
                accounts.remove(out);
            }
        }
        let skews = (0..replicas).map(|_| luck.one_of(&[0, 0, -240, -61, -5, 5, 61, 240]));
        let skews = skews.collect();
        let count = 6 + luck.below(5);
        let shares: Vec<u64> = (0..count).map(|_| 1 + luck.below(3)).collect();
        let all: u64 = shares.iter().sum();
        let acts = shares.iter().map(|share| {
            let hours = HOURS * share / all;
            (hours, act(&mut luck, replicas, &accounts))
        });
        let acts = acts.collect();
        let moody = luck.one_of(&accounts);
        let mood = *Moods::from_seed(seed).of(vendor(moody));
        Case {
            seed,
            skews,
            mood: luck.percent(50).then_some((moody, mood)),
            acts,
            gap: 18 + luck.below(30),
            hour: luck.below(24),
            concurrency: 1 + luck.below(4) as usize,
            old_signature: luck.percent(30),
            accounts,
        }
    }

    /// The case with changes as in `UNIVERSE_SET`: `only=3,5` keeps these acts, `without=3` leaves them
    /// out (counted from 0), `skews=off` sets the clocks right, `mood=off` lets all vendors answer as documented.
    pub fn changed(mut self, changes: &str) -> Case {
        for word in changes.split_whitespace() {
            let (key, value) = word.split_once('=').expect("key=value");
            let numbers: Vec<usize> = value
                .split(',')
                .filter_map(|own| own.parse().ok())
                .collect();
            // An act that is left out leaves its time.
            let keep = |index: usize| match key {
                "only" => numbers.contains(&index),
                "without" => !numbers.contains(&index),
                _ => true,
            };
            let (mut hours, mut acts) = (0, Vec::new());
            for (index, (before, act)) in self.acts.into_iter().enumerate() {
                hours += before;
                if keep(index) {
                    acts.push((hours, act));
                    hours = 0;
                }
            }
            self.acts = acts;
            match key {
                "skews" => self.skews.iter_mut().for_each(|own| *own = 0),
                "mood" => self.mood = None,
                _ => {}
            }
        }
        self
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} replicas (clocks ahead by {:?} s), accounts {:?}, a campaign every {} h",
            self.seed,
            self.skews.len(),
            self.skews,
            self.accounts,
            self.gap
        )?;
        if let Some((account, mood)) = &self.mood {
            writeln!(f, "    {account}: {mood}")?;
        }
        for (index, (hours, act)) in self.acts.iter().enumerate() {
            writeln!(f, "    {index}: after {hours} h: {act}")?;
        }
        Ok(())
    }
}

fn act(luck: &mut Luck, replicas: usize, accounts: &[&'static str]) -> Act {
    let replica = luck.below(replicas as u64) as usize;
    let account = luck.one_of(accounts);
    let cut = luck.one_of(&[Cut::Refused, Cut::Unanswered]);
    let away = luck.one_of(&[0, 2, 3, 6]);
    match luck.below(19) {
        0 => Act::Stop { replica, away },
        1..=4 => {
            let stops = stops(luck, accounts);
            Act::Kill {
                replica,
                holder: luck.percent(70),
                stops,
                away,
            }
        }
        5..=7 => Act::Pause {
            replica,
            stops: stops(luck, accounts),
            store_first: luck.percent(50),
        },
        8 | 9 => Act::StoreCut { replica, cut },
        10 => Act::StoreDown { cut },
        11 => Act::StoreFlaky {
            per_mille: luck.one_of(&[100, 300, 600]),
        },
        12 => Act::VendorsCut { replica },
        13 => Act::Outage {
            account,
            kind: luck.below(outages().len() as u64) as usize,
        },
        14 => Act::Torn {
            account,
            at: luck.one_of(&[0, 1, 17, 200, 1000, 5000]),
            times: 1 + luck.below(3) as u32,
        },
        15 => Act::Pushed { replica },
        _ => Act::ClockSet {
            replica,
            by: luck.one_of(&CLOCK_STEPS),
            restart: luck.percent(30),
        },
    }
}

fn stops(luck: &mut Luck, accounts: &[&'static str]) -> Stops {
    let mut all = Stops::new();
    for account in accounts {
        // The others end their work.
        if luck.percent(70) {
            let stop = luck.one_of(&[Stop::Before, Stop::After]);
            all.insert(account, (luck.below(4), stop));
        }
    }
    all
}

/// Where an account's vendor is: the server, and the paths of the account.
pub fn place(account: &str) -> (usize, &'static str) {
    match account {
        PUSH => (0, "/push"),
        MAIL => (0, "/email"),
        NEWS => (1, "/"),
        LOYALTY => (2, "/"),
        CHINA => (3, "/"),
        other => panic!("no account {other}"),
    }
}

/// The vendor's account behind an account.
pub fn vendor(account: &str) -> Account {
    let index = ACCOUNTS.iter().position(|own| *own == account);
    Account::ALL[index.expect("an account")]
}

/// The name of an account, as the gate knows it.
pub fn name(account: &str) -> Arc<str> {
    account.into()
}
