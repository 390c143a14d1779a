//! How many requests a configuration makes: a week of the queue and the policy that the collector has, with
//! messages that are named or assumed, and without a vendor.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use delivery_clock::{Moment, after};
use jiff::{SignedDuration, Timestamp};

use super::{
    account::LIST_OVERLAP,
    queue::{DatasetQueue, QueuedQuery},
    schedule,
};
use crate::{
    config::Account,
    model::{Dataset, Message, QueryMethod},
    providers::{ListCost, Provider},
};

/// What a week is forecast of.
const WEEK: i64 = 7 * 86_400;
/// So many seconds a list takes. As it is due an interval after it has ended, fresh messages are due before it.
const LIST_TAKES: i64 = 1;
/// So many requests of a data set are simulated; a week that has more is cut there.
const MAX_STEPS: u32 = 20_000;
/// Of more messages a day, every so manieth is simulated.
const MAX_SIMULATED_A_DAY: f64 = 40.0;
/// Of more messages that are named, every so manieth is simulated.
const MAX_SIMULATED: usize = 2000;

/// Messages of an application, for a forecast.
#[derive(Clone, Debug, Default)]
pub struct ExpectedMessages {
    /// When those were sent that the configuration names; `None`: it does not say, and they count as new.
    pub named: Vec<Option<Timestamp>>,
    /// How many more are sent each day, evenly over the day. It has been so for as long as messages are watched.
    pub each_day: f64,
}

/// The requests of an account in a week.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// By data set, in the order of the account.
    pub datasets: Vec<DatasetForecast>,
    /// The requests of the first pass, in which everything is due.
    pub at_start: f64,
    /// The most requests in one interval after the first.
    pub busiest: f64,
}

/// The requests of one data set.
#[derive(Clone, Debug)]
pub struct DatasetForecast {
    /// Which.
    pub dataset: Dataset,
    /// The requests of a day, of all applications, averaged over the week.
    pub each_day: f64,
    /// Those of them for the vendor's list of messages.
    pub for_lists: f64,
    /// The requests for one message in all its life, if it is asked for alone; `None`: the data set is not
    /// asked for by message.
    pub of_message: Option<f64>,
}

impl Forecast {
    /// The requests of a day.
    pub fn each_day(&self) -> f64 {
        self.datasets.iter().map(|own| own.each_day).sum()
    }
}

/// The forecast of an account, from `now` on. `expected` is by application.
pub fn forecast(
    account: &Account,
    provider: &dyn Provider,
    expected: &[ExpectedMessages],
    now: Timestamp,
) -> Forecast {
    let mut forecast = Forecast::default();
    let mut passes: BTreeMap<i64, f64> = BTreeMap::new();
    // One list is enough for all data sets, as in the collector.
    let list_of = account
        .messages
        .list
        .then(|| account.collect.iter().max_by_key(|own| own.has_snapshots()))
        .flatten();
    // Applications of which the same is expected cost the same.
    let mut alike: Vec<(&ExpectedMessages, f64)> = Vec::new();
    for expected in expected {
        let same = |own: &&mut (&ExpectedMessages, f64)| {
            own.0.named.is_empty() && own.0.each_day.total_cmp(&expected.each_day).is_eq()
        };
        match alike
            .iter_mut()
            .find(same)
            .filter(|_| expected.named.is_empty())
        {
            Some((_, count)) => *count += 1.0,
            None => alike.push((expected, 1.0)),
        }
    }
    for dataset in &account.collect {
        let mut own = DatasetForecast {
            dataset: *dataset,
            each_day: 0.0,
            for_lists: 0.0,
            of_message: None,
        };
        for (expected, count) in &alike {
            let list = Some(dataset) == list_of;
            let week = Week::new(account, provider, *dataset, list, now);
            let counted = week.run(expected, *count, &mut passes);
            own.each_day += count * counted.requests / 7.0;
            own.for_lists += count * counted.lists / 7.0;
        }
        if matches!(dataset.method, QueryMethod::Messages { .. }) {
            let week = Week::new(account, provider, *dataset, false, now);
            own.of_message = Some(week.life());
        }
        forecast.datasets.push(own);
    }
    forecast.at_start = passes.remove(&0).unwrap_or_default();
    forecast.busiest = passes.into_values().fold(0.0, f64::max);
    forecast
}

/// What was counted in a week.
#[derive(Debug, Default)]
struct Counted {
    requests: f64,
    lists: f64,
}

/// A message that is watched.
struct Tracked {
    /// In seconds from the begin of the week on; before it, it is negative.
    sent: i64,
    /// The cohort ages that are still to come, in seconds.
    ages: Vec<i64>,
}

/// A week of one data set of one application.
struct Week<'a> {
    account: &'a Account,
    provider: &'a dyn Provider,
    dataset: Dataset,
    interval: Duration,
    list: Option<ListCost>,
    now: Timestamp,
    /// So many messages are one request.
    batch: usize,
    window: Option<schedule::BatchWindow>,
}

fn at(second: i64) -> Moment {
    Moment::from_start(Duration::from_secs(
        u64::try_from(second).unwrap_or_default(),
    ))
}

fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::MAX)
}

impl<'a> Week<'a> {
    fn new(
        account: &'a Account,
        provider: &'a dyn Provider,
        dataset: Dataset,
        has_list: bool,
        now: Timestamp,
    ) -> Week<'a> {
        let interval = account.dataset_interval(dataset);
        let batch = match dataset.method {
            QueryMethod::Messages { batch } => batch,
            QueryMethod::Whole | QueryMethod::Drain => 1,
        };
        Week {
            account,
            provider,
            dataset,
            interval,
            list: account.vendor.list_cost.filter(|_| has_list),
            // The week goes on in whole seconds: within a fraction of one, a message that waits for an hour of
            // the day would be due again at once, without end.
            now: Timestamp::from_second(now.as_second()).unwrap_or(now),
            batch,
            window: (batch > 1).then_some(schedule::BatchWindow {
                origin: at(0),
                interval,
            }),
        }
    }

    /// The requests of the week of one application. For so many applications, they are added to those of each
    /// pass too.
    fn run(
        &self,
        expected: &ExpectedMessages,
        applications: f64,
        passes: &mut BTreeMap<i64, f64>,
    ) -> Counted {
        let mut counted = Counted::default();
        let pass = seconds(self.account.interval).max(1);
        let mut add = |second: i64, requests: f64| {
            *passes.entry(second / pass).or_default() += applications * requests;
        };
        match self.dataset.method {
            QueryMethod::Messages { .. } => self.messages(expected, WEEK, &mut counted, &mut add),
            QueryMethod::Whole | QueryMethod::Drain => {
                let requests = self.of_one_query(expected);
                let step = seconds(self.interval).max(1);
                for second in (0..WEEK).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
                    counted.requests += requests;
                    add(second, requests);
                }
                if self.list.is_some() {
                    self.messages(expected, WEEK, &mut counted, &mut add);
                }
            }
        }
        counted
    }

    /// The requests of one query that is not by message.
    fn of_one_query(&self, expected: &ExpectedMessages) -> f64 {
        let cost = self.dataset.requests;
        let Some(batch) = cost.messages_per_request else {
            return cost.each_query;
        };
        let days = seconds(self.account.messages.max_age) as f64 / 86_400.0;
        let watched = expected.named.len() as f64 + expected.each_day * days;
        cost.each_query * (watched / batch as f64).ceil()
    }

    /// The requests for a message that is sent now, until it is forgotten.
    fn life(&self) -> f64 {
        let mut counted = Counted::default();
        let expected = ExpectedMessages {
            named: vec![Some(self.now)],
            each_day: 0.0,
        };
        let length = seconds(self.account.messages.max_age);
        self.messages(&expected, length, &mut counted, &mut |_, _| {});
        counted.requests
    }

    /// Runs the queue for so many seconds.
    fn messages(
        &self,
        expected: &ExpectedMessages,
        length: i64,
        counted: &mut Counted,
        add: &mut dyn FnMut(i64, f64),
    ) {
        let (mut own_requests, mut for_lists, mut steps) = (0.0, 0.0, 0_u32);
        // Of many messages, one stands for several: a batch holds fewer of them then.
        let by_day = (expected.each_day / MAX_SIMULATED_A_DAY).ceil();
        let by_count = expected.named.len().div_ceil(MAX_SIMULATED);
        let stride = (by_day as usize).max(by_count).max(1);
        let batch = (self.batch / stride).max(1);
        let weight = if self.batch > 1 { 1.0 } else { stride as f64 };
        let mut sends = self.sends(expected, length, stride).into_iter().peekable();
        let mut queue = DatasetQueue::default();
        let mut tracked: HashMap<Arc<str>, Tracked> = HashMap::new();
        // The messages by the time at which they are forgotten, with those that no list has named yet.
        let (mut leaving, mut unlisted) = (BTreeMap::new(), Vec::new());
        let mut lists: Option<(i64, i64)> = None;
        if self.list.is_some() {
            queue.add(QueuedQuery::List, at(0));
        }
        let (mut now, mut number) = (0, 0_u64);
        while now < length {
            while let Some((sent, is_named)) = sends.next_if(|(sent, _)| *sent <= now) {
                number += 1;
                let id: Arc<str> = number.to_string().into();
                let past = |age: &i64| *age < now - sent;
                let ages = self.ages().into_iter().skip_while(past).collect();
                tracked.insert(id.clone(), Tracked { sent, ages });
                leaving.insert((sent.saturating_add(self.max_age()), number), id.clone());
                if self.list.is_some() && !is_named {
                    unlisted.push(id);
                } else {
                    self.begin(&mut queue, &id, sent, now);
                }
            }
            while let Some(entry) = leaving.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let id = entry.remove();
                tracked.remove(&id);
                queue.remove(&QueuedQuery::Message(id));
            }
            loop {
                let jobs = queue.take(at(now), batch);
                let Some(first) = jobs.first() else { break };
                steps += 1;
                if *first == QueuedQuery::List {
                    let requests = self.listed(
                        &mut queue,
                        &mut tracked,
                        &mut unlisted,
                        &mut lists,
                        now,
                        stride,
                    );
                    own_requests += requests;
                    for_lists += requests;
                    add(now, requests);
                    let next = now + seconds(self.interval).max(1) + LIST_TAKES;
                    queue.answered(&QueuedQuery::List, at(next), Duration::ZERO);
                    continue;
                }
                own_requests += weight;
                add(now, weight);
                for job in &jobs {
                    if let QueuedQuery::Message(id) = job
                        && let Some(own) = tracked.get_mut(id)
                    {
                        self.answered(&mut queue, job, own, now);
                    }
                }
            }
            let due = queue.next_try().map_or(i64::MAX, |due| {
                seconds(due.since_start() + Duration::from_millis(999))
            });
            let next_send = sends.peek().map_or(i64::MAX, |(sent, _)| *sent);
            now = due.min(next_send).max(now + 1);
            if steps > MAX_STEPS && now < length {
                // The rest is taken to be like what was.
                let scale = length as f64 / now as f64;
                (own_requests, for_lists) = (own_requests * scale, for_lists * scale);
                break;
            }
        }
        counted.requests += own_requests;
        counted.lists += for_lists;
    }

    fn max_age(&self) -> i64 {
        seconds(self.account.messages.max_age)
    }

    fn ages(&self) -> Vec<i64> {
        if !self.dataset.has_snapshots() {
            return Vec::new();
        }
        let mut ages: Vec<_> = self
            .account
            .cohort_ages
            .iter()
            .map(|own| seconds(*own))
            .collect();
        ages.sort_unstable();
        ages
    }

    /// When messages are sent, in order; the second part says that the configuration names them.
    fn sends(&self, expected: &ExpectedMessages, length: i64, stride: usize) -> Vec<(i64, bool)> {
        let named = expected.named.iter().step_by(stride).map(|sent_at| {
            let sent = sent_at.map_or(0, |sent_at| sent_at.duration_since(self.now).as_secs());
            (sent, true)
        });
        let mut sends: Vec<_> = named.filter(|(sent, _)| *sent > -self.max_age()).collect();
        let each_day = expected.each_day / stride as f64;
        if each_day > 0.0 {
            let gap = 86_400.0 / each_day;
            let first = -(self.max_age() as f64);
            let count = ((length as f64 - first) / gap) as u64;
            let assumed = (0..count).map(|own| (first + (own as f64 + 0.5) * gap) as i64);
            sends.extend(assumed.map(|sent| (sent, false)));
        }
        sends.sort_unstable();
        sends
    }

    /// A message is known from now on.
    fn begin(&self, queue: &mut DatasetQueue, id: &Arc<str>, sent: i64, now: i64) {
        let first = self.first_numbers(sent).map_or(now, |first| first.max(now));
        queue.add(QueuedQuery::Message(id.clone()), at(first));
    }

    /// The first second in which the vendor can have numbers of a message.
    fn first_numbers(&self, sent: i64) -> Option<i64> {
        let message = Message {
            application: Arc::from(""),
            id: Arc::from("1"),
            campaign: None,
            sent_at: Some(self.wall(sent)),
        };
        let first = self.provider.first_numbers(&message)?;
        Some(first.duration_since(self.now).as_secs())
    }

    fn wall(&self, second: i64) -> Timestamp {
        let length = SignedDuration::from_secs(second);
        self.now.checked_add(length).unwrap_or(self.now)
    }

    /// A list of messages was read; the requests that it cost.
    fn listed(
        &self,
        queue: &mut DatasetQueue,
        tracked: &mut HashMap<Arc<str>, Tracked>,
        unlisted: &mut Vec<Arc<str>>,
        lists: &mut Option<(i64, i64)>,
        now: i64,
        stride: usize,
    ) -> f64 {
        let Some(cost) = self.list else { return 0.0 };
        for id in unlisted.drain(..) {
            if let Some(own) = tracked.get(&id) {
                self.begin(queue, &id, own.sent, now);
            }
        }
        let oldest = now - self.max_age();
        let (whole_at, from) = match *lists {
            Some((whole_at, last)) if now - whole_at < seconds(self.account.max_interval) => {
                (whole_at, (last - seconds(LIST_OVERLAP)).max(oldest))
            }
            _ => (now, oldest),
        };
        *lists = Some((whole_at, now));
        let margin = seconds(cost.margin);
        let mut requests = 0.0;
        let window = seconds(cost.window).max(1);
        let mut start = from;
        while start < now {
            let end = (start + window).min(now);
            let rows = tracked.values();
            let rows = rows
                .filter(|own| (start - margin..=end).contains(&own.sent))
                .count()
                * stride;
            // The page behind the last one ends a list.
            requests += (rows as f64 / cost.per_page as f64).ceil() + f64::from(u8::from(rows > 0));
            requests += f64::from(u8::from(rows == 0));
            start = end;
        }
        if self.provider.list_has_numbers() && self.dataset.has_snapshots() {
            for (id, own) in tracked.iter_mut() {
                if own.sent >= from - margin {
                    self.answered(queue, &QueuedQuery::Message(id.clone()), own, now);
                }
            }
        }
        requests
    }

    /// A message has an answer; when it is due again is for the policy to say.
    fn answered(&self, queue: &mut DatasetQueue, job: &QueuedQuery, own: &mut Tracked, now: i64) {
        while own.ages.first().is_some_and(|age| *age <= now - own.sent) {
            own.ages.remove(0);
        }
        let age = SignedDuration::from_secs(now - own.sent);
        let max_interval = self.account.max_interval;
        let (next, early) = schedule::next(at(now), age, self.interval, max_interval, self.window);
        let next = match self.account.daily {
            None => next,
            Some(daily) => {
                let asked = self.wall(now);
                let days = daily
                    .day_of(asked)
                    .duration_since(daily.day_of(self.wall(own.sent)));
                let is_first_day = days < SignedDuration::from_hours(36);
                let has_numbers = !is_first_day || asked >= daily.complete_on_day_of(asked);
                let next = after(self.now, next.since_start());
                let next = schedule::next_daily(asked, next, is_first_day, has_numbers, daily);
                at(next.duration_since(self.now).as_secs())
            }
        };
        let first = self
            .first_numbers(own.sent)
            .map_or(next, |first| at(first).max(next))
            // Never at once: all that is due in a second is worked off, and then time goes on.
            .max(at(now + 1));
        queue.answered(job, first, early);
        if self.account.daily.is_none()
            && let Some(age) = own.ages.first()
        {
            queue.sooner(job, schedule::wanted(at(own.sent + age), self.window));
        }
    }
}
