//! Determines which history precedes an account's counters, for `backfill`. Every increase is either in that
//! history or in a counter, never in both.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use delivery_clock::{Clock, before};
use jiff::Timestamp;

use super::{
    AccountOptions, LabelLimiter, LedgerError, LedgerOptions,
    account::{counters_of, unpack},
    key::CounterKey,
    message::{Adoption, MessageState},
    store::{MessageId, Store, StoreError},
};
use crate::{
    catalog,
    model::{Application, Dataset, Event, Message},
    providers::{Digest, HistoryIncrease},
    store_url::StoreUrl,
};

/// What an account's ledger has counted, read without a lease while another process may be running.
pub struct PreBaseline {
    births: HashMap<(Arc<str>, String), Timestamp>,
    /// Messages with counts from the vendor.
    met: HashMap<MessageId, MessageState>,
    messages: Vec<Message>,
    names: LabelLimiter,
    adopt_age: Duration,
    max_age: Duration,
    now: Timestamp,
    there: bool,
}

/// An increase in a counter's history.
#[derive(Clone, Debug, PartialEq)]
pub struct Increase {
    /// The counter.
    pub key: CounterKey,
    /// The start of the period in which it happened.
    pub began: Timestamp,
    /// The end of the period in which it happened.
    pub at: Timestamp,
    /// The amount of the increase.
    pub by: u64,
}

/// Opens the ledger's store for reading; `None` if there is none yet.
async fn open(options: &LedgerOptions) -> Result<Option<Store>, StoreError> {
    match &options.store {
        StoreUrl::Sqlite(path) => Store::sqlite_to_read(path),
        StoreUrl::Postgres(url) => {
            let replica = options.replica.clone();
            let opened = Store::postgres(url.expose(), options.lease, replica).await;
            opened.map(Some)
        }
    }
}

impl PreBaseline {
    /// Reads the data of these accounts, in their order.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn read(
        options: &LedgerOptions,
        accounts: &[AccountOptions],
        clock: &Clock,
    ) -> Result<Vec<PreBaseline>, LedgerError> {
        let store = open(options).await?;
        let mut all = Vec::new();
        for account in accounts {
            let mut own = PreBaseline {
                births: HashMap::new(),
                met: HashMap::new(),
                messages: Vec::new(),
                names: LabelLimiter::new(&account.limits),
                adopt_age: account.adopt_age,
                max_age: account.max_age,
                now: clock.now(),
                there: store.is_some(),
            };
            if let Some(store) = &store {
                own.load(store, &account.name, &options.replica).await?;
            }
            all.push(own);
        }
        Ok(all)
    }

    async fn load(
        &mut self,
        store: &Store,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> Result<(), StoreError> {
        let time = |at: i64| Timestamp::from_millisecond(at).unwrap_or_default();
        let rows = store.account(account, replica).await?;
        self.names.load(rows.names);
        let births = rows.births.into_iter();
        self.births = births
            .map(|(application, dataset, at)| ((application, dataset), time(at)))
            .collect();
        for row in store.registered(account, 0).await? {
            self.messages.push(Message {
                application: row.id.0,
                id: row.id.1,
                campaign: row.campaign,
                sent_at: Some(time(row.sent_at)),
            });
        }
        for (id, row) in store.states(account).await? {
            let state = unpack(&id, &row)?;
            self.messages.push(Message {
                application: id.0.clone(),
                id: id.1.clone(),
                campaign: state.campaign.as_deref().map(Arc::from),
                sent_at: state.sent_at.map(time),
            });
            if state.met {
                self.met.insert(id, state);
            }
        }
        Ok(())
    }

    /// A message of an application that may have been counted completely, because its send time is unknown.
    pub fn undated(&self, application: &Application) -> Option<&Message> {
        let mut messages = self.messages.iter();
        messages.find(|own| own.application == application.id && own.sent_at.is_none())
    }

    /// Whether the account has a ledger.
    pub fn is_there(&self) -> bool {
        self.there
    }

    /// The known messages: registered ones and tracked ones.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// When the counters of a data set began: at its first query, or now if it was never queried.
    pub fn birth(&self, application: &Application, dataset: Dataset) -> Timestamp {
        let key = (application.id.clone(), dataset.as_str().to_owned());
        self.births.get(&key).copied().unwrap_or(self.now)
    }

    fn adoption(&self, application: &Application, dataset: Dataset) -> Adoption {
        Adoption {
            birth: self.birth(application, dataset),
            age: self.adopt_age,
        }
    }

    fn state(&self, application: &Application, message: &Message) -> Option<&MessageState> {
        self.met.get(&(application.id.clone(), message.id.clone()))
    }

    /// Whether a part of a message's counts is in no counter.
    pub fn has_history(
        &self,
        application: &Application,
        dataset: Dataset,
        message: &Message,
    ) -> bool {
        match self.state(application, message) {
            Some(state) => state.has_base(),
            None => {
                let adoption = self.adoption(application, dataset);
                let sent_at = message.sent_at;
                let never_asked = before(adoption.birth, self.max_age);
                adoption.is_history(sent_at.map(|at| at.as_millisecond()))
                    || sent_at.is_some_and(|at| at < never_asked)
            }
        }
    }

    /// The hourly increases of a message that are in no counter. If its first snapshot was adopted as
    /// history, these are the increases up to that snapshot. If it has no counts yet, or its state was
    /// dropped, these are the hours that had ended when the counters began. Later increases are dated to that
    /// time.
    pub fn of_message(
        &self,
        application: &Application,
        dataset: Dataset,
        message: &Message,
        mut hours: Vec<HistoryIncrease>,
    ) -> Vec<Increase> {
        if !self.has_history(application, dataset, message) {
            return Vec::new();
        }
        let birth = self.birth(application, dataset);
        let state = self.state(application, message);
        let campaign = state.and_then(|state| state.campaign.as_deref().map(Arc::from));
        let campaign = campaign.or_else(|| message.campaign.clone());
        hours.sort_by_key(|hour| hour.to);
        let mut used: HashMap<CounterKey, u64> = HashMap::new();
        let mut increases = Vec::new();
        for hour in hours {
            if state.is_none() && hour.to > birth {
                continue;
            }
            let mut add = |key: CounterKey, base: Option<u64>, count: u64| {
                let used = used.entry(key.clone()).or_default();
                let left = base.map_or(count, |base| base.saturating_sub(*used).min(count));
                *used += left;
                let key = self.bounded(key);
                let at = hour.to.min(birth);
                increases.push(Increase {
                    key,
                    began: hour.from,
                    at,
                    by: left,
                });
                left
            };
            for totals in &hour.totals {
                let channel: Arc<str> = Arc::from(totals.channel);
                for (measure, count) in &totals.counts {
                    let base = state.map(|state| state.base_of_total(&channel, *measure));
                    let key = |families, labels: &[&Arc<str>]| {
                        CounterKey::measured(&application.id, families, *measure, labels)
                    };
                    let by = add(key(catalog::TOTAL, &[&channel]), base, *count);
                    if let Some(campaign) = &campaign {
                        let labels = [&channel, campaign];
                        add(key(catalog::TOTAL_BY_CAMPAIGN, &labels), None, by);
                    }
                }
            }
            for row in &hour.breakdown {
                for (measure, count) in &row.counts {
                    let names = [&row.message_type, &row.platform, &row.vendor_channel];
                    let base = state.map(|state| state.base_of_row(names, *measure));
                    let families = catalog::TOTAL_BY_CHANNEL;
                    let key = CounterKey::measured(&application.id, families, *measure, &names);
                    add(key, base, *count);
                }
            }
        }
        increases
    }

    /// The daily increases of an application that are in no counter: the days that ended before the first
    /// counted message was sent.
    pub fn of_application(
        &self,
        application: &Application,
        dataset: Dataset,
        days: Vec<HistoryIncrease>,
    ) -> Vec<Increase> {
        let birth = self.birth(application, dataset);
        let reach = match self.adopt_age {
            Duration::ZERO => self.max_age,
            age => age,
        };
        let end = before(birth, reach);
        let mut increases = Vec::new();
        for day in days.into_iter().filter(|day| day.to <= end) {
            for totals in day.totals {
                for (measure, by) in totals.counts {
                    let (families, channel) = (catalog::TOTAL, Arc::from(totals.channel));
                    let key = CounterKey::measured(&application.id, families, measure, &[&channel]);
                    let key = self.bounded(key);
                    increases.push(Increase {
                        key,
                        began: day.from,
                        at: day.to,
                        by,
                    });
                }
            }
        }
        increases
    }

    /// The events that are in no counter: those that were history when the counters began, and those before
    /// the period of `reach` that the first query covered. `seen` contains the events that were already
    /// returned.
    pub fn of_happenings(
        &self,
        application: &Application,
        dataset: Dataset,
        events: &[Event],
        reach: Duration,
        seen: &mut HashSet<Digest>,
    ) -> Vec<Increase> {
        let mut adoption = self.adoption(application, dataset);
        // With 0s, every event that is read counts.
        if adoption.age.is_zero() || adoption.age > reach {
            adoption.age = reach;
        }
        let mut increases = Vec::new();
        for own in events {
            let Some(at) = own
                .at
                .filter(|at| adoption.is_history(Some(at.as_millisecond())))
            else {
                continue;
            };
            if !seen.insert(own.digest) {
                continue;
            }
            for key in counters_of(&application.id, &own.kind) {
                let key = self.bounded(key);
                increases.push(Increase {
                    key,
                    began: at,
                    at,
                    by: 1,
                });
            }
        }
        increases
    }

    fn bounded(&self, key: CounterKey) -> CounterKey {
        key.limited(&mut |label, text| self.names.name(label, text))
    }
}
