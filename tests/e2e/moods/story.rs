//! What happens in one seed, and in which moods the vendors are.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    time::Duration,
};

use delivery_simulators::{Account, Mood, Moods, Options, World};
use jiff::{SignedDuration, Timestamp};

use super::{
    case::{Case, Restart},
    judge::{Expectation, Fault, Judge, Scrape},
    outages::{outages, place, reasons},
    rig::{INTERVAL, Rig, SLOW_BY, Tuning},
    truth::{ACCOUNTS, CHINA, Facts, MAIL, Source, aliases, campaigns},
};

/// A little more than an interval: everything is due at its end.
const STEP: Duration = Duration::from_secs(INTERVAL.as_secs() + 5);
/// So long after a step everything is answered, with the waits of rate limits.
const SETTLE: Duration = Duration::from_secs(30);
/// `collect` must end within this time, with all retries.
const COLLECT: Duration = Duration::from_secs(INTERVAL.as_secs() * 12);
/// E-mails, one in every such time.
const EMAIL_EVERY: Duration = Duration::from_secs(90);

/// What is expected of an account in a mood.
fn expectation(mood: &Mood, due: &Rc<Facts>, told: &Rc<Facts>) -> Expectation {
    let calm = mood.is_calm();
    Expectation {
        lower: if calm { due } else { told }.clone(),
        gauges: true,
        absent: mood.nulls || mood.absent_fields || mood.odd_shapes || mood.single_rows,
        any_campaign: false,
        no_names: false,
        only_sent: false,
        born: false,
        unknown: mood.new_values || mood.odd_shapes,
        calm,
        refuses: mood.errors > 0,
        reasons: (!calm).then(|| reasons(mood)),
    }
}

/// The story while it is told.
struct Telling {
    rig: Rig,
    judge: Judge,
    /// The moods in the middle of the story.
    moods: Moods,
    campaigns: HashMap<String, String>,
    /// What the vendors had told when it was looked at, the newest last.
    told: Vec<Rc<Facts>>,
    /// What the vendors had told before the exporter was killed at work, if it was.
    told_before_kill: Option<Rc<Facts>>,
    /// All vendors are well again.
    well: bool,
    /// The clicks on links that were there a step before: an e-mail is listed first.
    clicks: Vec<(String, f64)>,
    birth: Timestamp,
    /// The log is read from two hours before this on, at the latest: the start of the first process
    /// that has read it, or when it was seen to be read.
    log_birth: Timestamp,
    /// The log has been read once.
    log_is_read: bool,
    /// The exporter's last start.
    started: Timestamp,
    /// The time jumps by hours.
    by_hours: bool,
    /// An account in an outage, and the reasons that fit.
    outage: Option<(&'static str, &'static [&'static str])>,
    /// Whose outage is over, and when.
    over: Option<(&'static str, Timestamp)>,
}

impl Telling {
    /// The most that a source comes to: the log is read from two hours before its first query on, and
    /// a later round begins as much earlier as the vendor's clock may be ahead.
    fn facts(&self, source: &Source) -> Facts {
        let oldest = self.birth - SignedDuration::from_hours(2) - SignedDuration::from_mins(15);
        source.facts(self.rig.now(), &self.campaigns, oldest)
    }

    /// What has to be shown of a source: first queries are spread over five seconds, and the log
    /// begins with the first of its own.
    fn least(&self, source: &Source) -> Facts {
        let oldest = if self.log_is_read || self.log_vendor_is_calm() {
            self.log_birth - SignedDuration::from_hours(2) + SignedDuration::from_secs(6)
        } else {
            self.rig.now()
        };
        source.facts(self.rig.now(), &self.campaigns, oldest)
    }

    /// What is expected of each account, given the books of the last moment at which all of it was
    /// due.
    fn expected(&mut self, due: &Rc<Facts>) -> BTreeMap<&'static str, Expectation> {
        let told = Source::told(&self.rig.world);
        let told = Rc::new(self.least(&told));
        self.told.push(told.clone());
        let two_intervals = SignedDuration::try_from(2 * INTERVAL).unwrap_or_default();
        let now = self.rig.now();
        // Where the time jumps by hours, an interval is a step.
        let steps = self.told.len().saturating_sub(2);
        let mut old = self.told[..steps].iter().rev();
        let told_before = old.find(|own| now.duration_since(own.at) >= two_intervals);
        let told_before = told_before.cloned().unwrap_or_default();
        let just_started = now.duration_since(self.started) < two_intervals;
        let mut all = BTreeMap::new();
        for (index, account) in ACCOUNTS.into_iter().enumerate() {
            let mood = self.rig.world.mood(Account::ALL[index]);
            let mut own = expectation(&mood, due, &told);
            // A vendor that throttles or fails keeps a query waiting between two pages, as long as it
            // wishes within an interval; what the first one told is shown when it ends. A row that
            // comes again on a later page of the same list may tell more than the first time.
            let told = if mood.throttled > 0 || mood.errors > 0 || mood.new_between_pages {
                &told_before
            } else {
                &told
            };
            if !own.calm {
                own.lower = told.clone();
                // A start knows the counters; what it shows of a message it has to be told again.
                let keeps_back = mood.errors > 0 || mood.throttled > 0 || mood.unknown_seconds > 0;
                // Where the time jumps by hours, what is shown grows stale in each jump.
                own.gauges &= !((just_started || self.by_hours) && keeps_back);
            }
            if account == MAIL || account == CHINA {
                // Reports are handed out whenever they are asked for, and Alibaba counts by day.
                own.lower = told.clone();
                own.gauges = false;
            }
            if let Some(before) = &self.told_before_kill
                && !mood.is_calm()
                && !self.well
            {
                // What was told to a process that was killed then may not be told again: a vendor
                // may leave it out, or say it in no known shape, from then on.
                own.lower = before.clone();
            }
            if account == MAIL && self.told_before_kill.is_some() {
                // What was handed out then is lost.
                own.lower = Rc::default();
            }
            own.calm |= self.well;
            let in_outage = self.outage.filter(|(whose, _)| *whose == account);
            let while_it_recovers = SignedDuration::try_from(2 * STEP + SETTLE).unwrap_or_default();
            let recovers = self.over.is_some_and(|(whose, at)| {
                whose == account && self.rig.now().duration_since(at) <= while_it_recovers
            });
            if in_outage.is_some() || recovers {
                own.calm = false;
                own.lower = told.clone();
                own.gauges = false;
                own.reasons.get_or_insert_default();
            }
            if let (Some((_, fitting)), Some(reasons)) = (in_outage, &mut own.reasons) {
                reasons.extend(fitting);
            }
            if recovers {
                // What was in flight when it ended.
                own.reasons = None;
            }
            // What was counted stays counted.
            let was = self.moods.of(Account::ALL[index]);
            own.any_campaign = account == MAIL && was.absent_fields;
            own.no_names = was.absent_fields;
            own.only_sent = account == MAIL && (was.odd_shapes || was.single_rows);
            own.unknown |= was.new_values || was.odd_shapes || was.single_rows;
            all.insert(account, own);
        }
        all
    }

    /// Judges what is shown now.
    fn look(&mut self, mut due: Facts) {
        let is_click = |key: &str| key.starts_with("delivery_link_");
        let all = due.gauges.iter().filter(|(key, _)| is_click(key));
        let clicks = all.map(|(key, value)| (key.clone(), *value)).collect();
        due.gauges.retain(|key, _| !is_click(key));
        due.gauges
            .extend(std::mem::replace(&mut self.clicks, clicks));
        let scrape = self.rig.scrape();
        self.note_log(&scrape);
        let upper = Source::books(&self.rig.world);
        let upper = self.facts(&upper);
        // A device can have left a state since.
        let left = |key: &str, value: f64, now: Option<&f64>| {
            key.starts_with("delivery_canary_devices") && now.is_none_or(|now| *now < value)
        };
        due.gauges
            .retain(|key, value| !left(key, *value, upper.gauges.get(key)));
        due.loose
            .retain(|key, value| !left(key, *value, upper.loose.get(key)));
        let expected = self.expected(&Rc::new(due));
        self.judge.aliases = aliases(&self.rig.world);
        for (account, own) in &expected {
            if own.calm {
                self.judge.due(&scrape, account, self.rig.now());
            }
        }
        self.judge.look(&scrape, &upper, &expected);
    }

    /// A vendor that throttles or fails keeps the first query of its log waiting, and that query's time
    /// is where the log begins.
    fn log_vendor_is_calm(&self) -> bool {
        self.moods.of(Account::Pushwoosh).is_calm()
    }

    /// Notes whether every application's log has been read.
    fn note_log(&mut self, scrape: &Scrape) {
        let family = "delivery_exporter_last_success_timestamp_seconds";
        let mut logs = scrape
            .family(family)
            .filter(|(key, _)| key.contains("dataset=\"log\""))
            .peekable();
        let is_read = logs.peek().is_some() && logs.all(|(_, at)| at > 0.0);
        if is_read && !std::mem::replace(&mut self.log_is_read, true) && !self.log_vendor_is_calm()
        {
            self.log_birth = self.rig.now();
        }
    }

    /// An interval goes by, with all that is due in it.
    fn step(&mut self, by: Duration) {
        self.rig.jump(by);
        self.campaigns = campaigns(&self.rig.world);
        self.rig.register();
        let due = self.least(&Source::books(&self.rig.world));
        self.rig.go_on(SETTLE);
        self.look(due);
    }

    fn begin(&mut self) {
        self.judge.restarted();
        self.started = self.rig.now();
        if !self.log_is_read {
            self.log_birth = self.started;
        }
        self.rig.start();
        self.campaigns = campaigns(&self.rig.world);
        self.rig.register();
        let due = self.least(&Source::books(&self.rig.world));
        self.rig.go_on(SETTLE);
        self.look(due);
    }

    /// Ends the exporter; it knows every message that was sent.
    fn stop(&mut self) {
        self.campaigns = campaigns(&self.rig.world);
        self.rig.register();
        self.rig.stop();
    }

    fn collect(&mut self) {
        let before: BTreeMap<String, usize> = self.requests();
        let due = self.least(&Source::books(&self.rig.world));
        self.judge.restarted();
        self.started = self.rig.now();
        let Some((scrape, all, took)) = self.rig.once(COLLECT) else {
            let text = format!("did not end within {COLLECT:?}");
            self.judge.broken("collect", "", text);
            return;
        };
        self.note_log(&scrape);
        let upper = self.facts(&Source::books(&self.rig.world));
        let mut expected = self.expected(&Rc::new(due));
        let troubled = ACCOUNTS.iter().any(|account| !expected[account].calm);
        if !troubled && !all {
            self.judge
                .broken("collect", "", "fails, and no vendor has a fault".into());
        }
        for own in expected.values_mut() {
            // The command may end before what it waited for last is due again.
            own.reasons = None;
            own.born = true;
        }
        self.judge.look(&scrape, &upper, &expected);
        if !troubled {
            for (what, count) in self.requests() {
                let new = count - before.get(&what).copied().unwrap_or(0);
                if new > 1 && !what.contains("/email/1/reports") {
                    let text = format!("asks {new} times for {what} in {took:?}");
                    self.judge.broken("collect", "", text);
                }
            }
        }
    }

    /// How often the same was asked for.
    fn requests(&self) -> BTreeMap<String, usize> {
        let mut all = BTreeMap::new();
        for request in self.rig.received() {
            let what = format!(
                "{} {} {}",
                request.uri.path(),
                request
                    .uri
                    .query()
                    .unwrap_or_default()
                    .split('&')
                    .filter(|own| !own.starts_with("Signature") && !own.starts_with("Timestamp"))
                    .collect::<Vec<_>>()
                    .join("&"),
                String::from_utf8_lossy(&request.body)
            );
            *all.entry(what).or_default() += 1;
        }
        all
    }

    /// The time of the next midnight in Beijing.
    fn midnight(&self) -> Timestamp {
        let now = self.rig.now().as_second();
        let midnight = (now - 16 * 3600).div_euclid(86_400) * 86_400 + 86_400 + 16 * 3600;
        Timestamp::from_second(midnight).unwrap()
    }
}

/// Tells the story of a case, and gives what went wrong.
pub fn tell(case: &Case) -> Vec<Fault> {
    let begin: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
    let begin = begin + SignedDuration::from_secs((case.hour * 3600 + case.seed % 3600) as i64);
    let tuning = Tuning {
        default_rate: case.default_rate,
        concurrency: case.concurrency,
        old_signature: case.old_signature,
    };
    let options = Options {
        seed: case.seed,
        history: Duration::from_secs(6 * 3600),
        gap: Duration::from_secs(case.gap * 60),
        moods: case.moods,
        slow_by: SLOW_BY,
        ..Options::default()
    };
    let rig = Rig::new(begin, tuning, async |clock| {
        let world = World::start(options, clock).await.expect("vendors");
        world.infobip.change(|own| own.email_every = EMAIL_EVERY);
        for account in Account::ALL {
            // A vendor notes what it tells once it has been in any mood.
            let noting = Mood {
                close: true,
                ..Mood::calm()
            };
            world.set_mood(account, noting);
            world.set_mood(account, *case.moods.of(account));
        }
        world
    });
    let mut telling = Telling {
        campaigns: campaigns(&rig.world),
        judge: Judge::default(),
        moods: case.moods,
        birth: rig.now(),
        log_birth: rig.now(),
        log_is_read: false,
        started: rig.now(),
        by_hours: false,
        rig,
        outage: None,
        over: None,
        told: Vec::new(),
        told_before_kill: None,
        well: false,
        clicks: Vec::new(),
    };
    telling.begin();
    for _ in 0..3 {
        telling.step(STEP);
    }
    // What was handed out is pushed too, and counts no second time.
    let handed_out = Source::told(&telling.rig.world).reports;
    let again: Vec<_> = handed_out.into_iter().take(3).collect();
    if let Err(error) = telling.rig.push(&serde_json::json!({"results": again})) {
        telling.judge.broken("webhook", MAIL, error);
    }
    if let Some((account, kind)) = case.outage {
        let (server, path) = place(account);
        let (_, fault, fitting) = outages().swap_remove(kind);
        let faults = telling.rig.world.servers[server].faults().clone();
        faults.add(path, fault, None);
        telling.outage = Some((ACCOUNTS[account], fitting));
        telling.step(STEP);
        telling.step(STEP);
        if case.collect && case.collect_in_outage {
            telling.stop();
            telling.collect();
            telling.begin();
        }
        faults.clear();
        telling.outage = None;
        telling.over = Some((ACCOUNTS[account], telling.rig.now()));
        for _ in 0..3 {
            telling.step(STEP);
        }
    }
    match case.restart {
        Restart::Never => {}
        Restart::Stop => {
            telling.rig.stop();
            telling.begin();
        }
        Restart::Kill => {
            let told = telling.least(&Source::told(&telling.rig.world));
            telling.told_before_kill = Some(Rc::new(told));
            telling
                .rig
                .jump_into(STEP, Duration::from_millis(case.seed % 12));
            telling.rig.kill();
            telling.begin();
        }
    }
    telling.step(STEP);
    if case.midnight {
        let until = telling.midnight() + SignedDuration::from_hours(7);
        telling.by_hours = true;
        while telling.rig.now() < until {
            telling.step(Duration::from_secs(3600));
        }
        telling.by_hours = false;
    }
    if case.collect {
        telling.stop();
        telling.collect();
        telling.begin();
        telling.step(STEP);
    }
    // All vendors are well again; what was set aside is asked for after a start.
    telling.stop();
    for account in Account::ALL {
        let was = case.moods.of(account);
        // What is true of a row stays true: its time by the vendor's clock, and its values.
        let mut well = Mood {
            skew_seconds: was.skew_seconds,
            new_values: was.new_values,
            unnamed_status: was.unnamed_status,
            ..Mood::calm()
        };
        if !well.is_calm() {
            well.seed = was.seed;
        }
        telling.rig.world.set_mood(account, well);
    }
    telling.well = true;
    telling.begin();
    for _ in 0..3 {
        telling.step(STEP);
    }
    telling.rig.stop();
    let Telling { rig, judge, .. } = telling;
    rig.end();
    judge.faults
}
