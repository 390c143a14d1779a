//! How a seed is told, and what has to hold meanwhile and at the end.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use delivery_simulators::{Account, Mood, Moods, Options, World};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    super::moods::{
        judge::{Expectation, Fault, Judge},
        rig::Tuning,
        truth::{CHINA, Facts, MAIL, Source, aliases, campaigns},
    },
    super::seeds::variable,
    increase::Prometheus,
    replicas::{Setup, Universe, ZERO_HOLD},
    sabotage::Sabotage,
    story::{Act, Case, vendor},
};

/// The time goes on in pieces of so much, with a scrape after each: a new counter is seen at zero.
pub const PIECE: Duration = Duration::from_secs(25);
/// E-mails, one in every such time.
const EMAIL_EVERY: Duration = Duration::from_secs(1800);
/// Longer than the longest pause between two queries for an old message.
const ALL_DUE: Duration = Duration::from_secs(7 * 3600);
/// Clocks of replicas are ahead or behind by no more.
const MOST_SKEW: SignedDuration = SignedDuration::from_mins(10);
/// The first query of the log goes back so far, with what the vendor hands out late.
const LOG_BEGINS: SignedDuration = SignedDuration::from_mins(135);
/// The vendors have so much from before the beginning.
const HISTORY: SignedDuration = SignedDuration::from_hours(6);

const _: () = assert!(PIECE.as_secs() < ZERO_HOLD.as_secs());

/// A seed that is being told.
pub struct Telling {
    pub universe: Universe,
    pub prometheus: Prometheus,
    pub judge: Judge,
    pub case: Case,
    birth: Timestamp,
    /// Reports that were pushed: those that a replica has taken, and those of which nobody knows.
    pub pushed: Vec<Value>,
    pub in_doubt: Vec<Value>,
}

impl Telling {
    fn facts(&self, mut source: Source, oldest: Timestamp, reports: &[&[Value]]) -> Facts {
        for more in reports {
            source.reports.extend(more.iter().cloned());
        }
        let campaigns = campaigns(&self.universe.world);
        let mut facts = source.facts(self.universe.now(), &campaigns, oldest);
        // Of gauges, those that are collected here.
        facts
            .gauges
            .retain(|key, _| key.starts_with("delivery_message_"));
        facts.loose.clear();
        facts
    }

    /// The most that can be shown. A body that was cut off may have been read up to there.
    fn most(&self) -> Facts {
        // A cursor of a clock that was ahead is not believed: what the vendor keeps is read, and without
        // `adopt_age` all of it counts.
        let is_set = |own: &(u64, Act)| matches!(own.1, Act::ClockSet { .. });
        let reads_all = self.case.acts.iter().any(is_set);
        let begins = if reads_all { HISTORY } else { LOG_BEGINS };
        let oldest = self.birth - begins - MOST_SKEW;
        let told = self.universe.world.told(Account::InfobipEmail);
        let lost = told["reports_lost"].as_array().cloned().unwrap_or_default();
        let source = Source::books(&self.universe.world);
        self.facts(source, oldest, &[&lost, &self.pushed, &self.in_doubt])
    }

    /// What has to be shown of a source. The log of events begins two hours before the first query that is
    /// answered: with a vendor that fails now and then, that may be after the first hours.
    fn least(&self, source: Source) -> Facts {
        let fails = self
            .case
            .mood
            .is_some_and(|own| own.1.errors > 0 || own.1.throttled > 0);
        let begins = SignedDuration::from_hours(if fails { 24 } else { -2 });
        let oldest = self.birth + begins + MOST_SKEW;
        self.facts(source, oldest, &[&self.pushed])
    }

    /// What is expected of an account at any time. What a vendor has told in a mood stays counted.
    fn expectation(&self, account: &'static str) -> Expectation {
        let mood = self.case.mood.filter(|own| own.0 == account);
        let Some((_, mood)) = mood else {
            return Expectation::default();
        };
        let odd = mood.odd_shapes || mood.single_rows;
        Expectation {
            any_campaign: account == MAIL && mood.absent_fields,
            no_names: mood.absent_fields,
            only_sent: account == MAIL && odd,
            unknown: mood.new_values || odd,
            ..Expectation::default()
        }
    }

    /// Every vendor answers as documented; what is true of a row stays true. Whether one does not
    /// answer quite so.
    fn be_well(&mut self) -> bool {
        let Some((account, was)) = self.case.mood else {
            return true;
        };
        let mut well = Mood {
            skew_seconds: was.skew_seconds,
            new_values: was.new_values,
            unnamed_status: was.unnamed_status,
            ..Mood::calm()
        };
        if !well.is_calm() {
            well.seed = was.seed;
        }
        self.universe.world.set_mood(vendor(account), well);
        well.is_calm()
    }

    /// Scrapes all replicas.
    pub fn observe(&mut self) {
        let when = format!("at {}", self.universe.now());
        let scrapes = self.universe.scrape();
        if let Some(path) = variable("UNIVERSE_DUMP") {
            for (replica, text) in &scrapes {
                let name = format!("{path}-{}-{replica}.txt", self.universe.now());
                std::fs::write(name, text).unwrap();
            }
        }
        self.prometheus.take(&scrapes, &when);
    }

    /// Looks for what must never be: more than the books have.
    pub fn look(&mut self) {
        let accounts = self.case.accounts.iter();
        let expected = accounts.map(|account| (*account, self.expectation(account)));
        let (expected, most) = (expected.collect(), self.most());
        self.judge.aliases = aliases(&self.universe.world);
        self.judge.look(&self.prometheus.merged(), &most, &expected);
    }

    /// So many pieces of time go by.
    pub fn pieces(&mut self, count: u64) {
        for _ in 0..count {
            self.universe.go_on(PIECE);
            self.observe();
        }
    }

    /// Hours go by at once, and the replicas work off what was due.
    fn hours(&mut self, hours: u64) {
        let mut left = hours;
        while left > 0 {
            let step = left.min(12);
            self.universe.jump(Duration::from_secs(step * 3600));
            self.register();
            self.pieces(1);
            left -= step;
        }
        self.look();
    }

    pub fn register(&mut self) {
        let replicas = self.universe.replicas.iter();
        let via = replicas.enumerate().filter(|(_, own)| own.lives());
        let via: Vec<usize> = via.map(|own| own.0).collect();
        if let Some(via) = via.get(self.universe.steps % via.len().max(1)) {
            self.universe.register(*via);
        }
    }

    /// All is well: after a while everything is counted, by whichever replica, and shown.
    fn end_well(&mut self) {
        let calm = self.be_well();
        self.pieces(2);
        self.universe.jump(ALL_DUE);
        self.register();
        self.pieces(4);
        let count = self.universe.replicas.len();
        // What a replica has released and nobody has scraped is seen when it has the account again.
        for alone in 0..count {
            for other in (0..count).filter(|own| *own != alone) {
                self.universe.stop(other);
            }
            if !self.universe.replicas[alone].runs() {
                self.universe.start(alone);
            }
            self.pieces(3);
        }
        self.universe.jump(ALL_DUE);
        self.register();
        if !self.universe.all_are_named() {
            self.broken(
                "registration",
                "",
                "messages could not be registered".into(),
            );
        }
        let told = Rc::new(self.least(Source::told(&self.universe.world)));
        let books = Rc::new(self.least(Source::books(&self.universe.world)));
        self.pieces(4);
        // Leases ended in that jump: what failed for it is over.
        self.look();
        self.pieces(3);
        let expected = self.case.accounts.iter().map(|account| {
            // Reports are handed out whenever they are asked for, and Alibaba counts by day.
            let as_told = *account == MAIL || *account == CHINA;
            let odd = !calm && self.case.mood.is_some_and(|own| own.0 == *account);
            let own = Expectation {
                lower: if as_told || odd { &told } else { &books }.clone(),
                gauges: !as_told,
                calm: true,
                ..self.expectation(account)
            };
            (*account, own)
        });
        let expected: BTreeMap<_, _> = expected.collect();
        let most = self.most();
        let merged = self.prometheus.merged();
        let replicas = self.universe.replicas.iter().find(|own| own.lives());
        let now = replicas.map_or(self.universe.now(), |own| own.now());
        for account in expected.keys() {
            self.judge.due(&merged, account, now);
        }
        self.judge.aliases = aliases(&self.universe.world);
        self.judge.look(&merged, &most, &expected);
    }
}

/// What became of a seed.
pub struct Told {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// A digest of all that was scraped: the same seed has the same.
    pub digest: u64,
    /// How often the time was moved.
    pub steps: usize,
}

/// Tells the story of a case, and gives what went wrong.
pub fn tell(case: &Case, sabotage: Sabotage) -> Told {
    let begin: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
    let begin = begin + SignedDuration::from_secs((case.hour * 3600 + case.seed % 3600) as i64);
    let setup = Setup {
        begin,
        skews: case.skews.clone(),
        accounts: case.accounts.clone(),
        tuning: Tuning {
            default_rate: false,
            concurrency: case.concurrency,
            old_signature: case.old_signature,
        },
        sabotage,
        seed: case.seed,
    };
    let options = Options {
        seed: case.seed,
        history: HISTORY.unsigned_abs(),
        gap: Duration::from_secs(case.gap * 3600),
        record: true,
        moods: case.mood.map_or(Moods::calm(), |(account, mood)| {
            Moods::calm().with(vendor(account), mood)
        }),
        ..Options::default()
    };
    let universe = Universe::new(&setup, async |clock| {
        let world = World::start(options, clock).await.expect("vendors");
        world.infobip.change(|own| own.email_every = EMAIL_EVERY);
        world
    });
    let mut telling = Telling {
        birth: universe.now(),
        universe,
        prometheus: Prometheus::default(),
        judge: Judge::default(),
        case: case.clone(),
        pushed: Vec::new(),
        in_doubt: Vec::new(),
    };
    for index in 0..telling.universe.replicas.len() {
        telling.universe.start(index);
    }
    telling.pieces(3);
    for (hours, act) in &case.acts {
        telling.hours(*hours);
        telling.act(act);
    }
    telling.end_well();
    let Telling {
        universe,
        prometheus,
        judge,
        ..
    } = telling;
    let digest = prometheus.digest;
    let steps = universe.steps;
    universe.end();
    let mut faults = judge.faults;
    faults.extend(prometheus.faults);
    Told {
        faults,
        digest,
        steps,
    }
}
