//! Counting what must be counted exactly once: delivery reports, bounces, events.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use jiff::Timestamp;

use super::AccountLedger;
use crate::{
    catalog::{self, LATENCY_BOUNDS},
    ledger::{
        LedgerDelta, Volume,
        amount::Amount,
        key::CounterKey,
        message::Adoption,
        names::LabelLimiter,
        reports::{Counted, ReportDedup, Tally},
        state::{AccountState, Hold, StateChanges, StateTransaction},
        store::{ReadRows, ReadSet, StoreError},
    },
    model::{Application, Dataset, Event, EventKind},
    providers::{Damage, Digest, Pushed, Report, ReportsRead, SpoolError, SpooledBody},
};

/// The maximum number of spooled bodies in one transaction.
const BODIES: usize = 20;

/// The result of replaying a quarantined body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Reports and events that were counted.
    pub counted: u64,
    /// Reports and events that had already been counted.
    pub duplicates: u64,
    /// Why a part remains in quarantine; `None` if nothing does.
    pub left: Option<String>,
}

impl AccountLedger {
    /// Counts the uncounted bodies in the spool: those left by an earlier process, and those that the store
    /// could not accept.
    ///
    /// # Errors
    ///
    /// The store or the spool failed; nothing more may be fetched before this succeeds.
    pub async fn catch_up(
        &self,
        application: &Application,
        read: &(dyn Fn(&[u8]) -> ReportsRead + Sync),
    ) -> Result<LedgerDelta, StoreError> {
        let mut delta = LedgerDelta::default();
        loop {
            let bodies: Vec<SpooledBody> = self.backlog().iter().take(BODIES).cloned().collect();
            if bodies.is_empty() {
                return Ok(delta);
            }
            let mut both = Vec::with_capacity(bodies.len());
            for body in bodies {
                let bytes = self
                    .spool
                    .read(&body)
                    .map_err(|error| StoreError::Failed(error.0))?;
                let read = read(&bytes);
                both.push((body, read));
            }
            let count = both.len();
            let mut more = self.count(application, both, false).await?;
            // Duplicates were already reported by the process that counted the body.
            more.duplicates = 0;
            delta.append(more);
            self.backlog().drain(..count);
        }
    }

    /// Counts the reports in spooled bodies, quarantines what could not be parsed, and removes the bodies
    /// from the spool. If it fails, the bodies are counted later.
    ///
    /// # Errors
    ///
    /// The store or the spool failed.
    pub async fn reports(
        &self,
        application: &Application,
        bodies: Vec<(SpooledBody, ReportsRead)>,
    ) -> Result<LedgerDelta, StoreError> {
        let names: Vec<_> = bodies.iter().map(|(body, _)| body.clone()).collect();
        let counted = self.count(application, bodies, true).await;
        if counted.is_err() {
            self.backlog().extend(names);
        }
        counted
    }

    async fn count(
        &self,
        application: &Application,
        bodies: Vec<(SpooledBody, ReportsRead)>,
        fresh: bool,
    ) -> Result<LedgerDelta, StoreError> {
        let of_spool = |error: SpoolError| StoreError::Failed(error.0);
        for (body, read) in &bodies {
            let Some(Damage {
                at,
                what,
                rest,
                sample_of,
            }) = &read.damage
            else {
                continue;
            };
            let kept = match sample_of {
                Some(kind) => self.spool.keep_sample(kind, rest),
                None => self.spool.quarantine(body, rest),
            };
            if kept.map_err(of_spool)? {
                let body = body.0.as_ref();
                tracing::warn!(
                    account = %self.name, body, at, what,
                    "a body of reports cannot be parsed completely; the rest of it is quarantined"
                );
                self.quarantined.fetch_add(1, Ordering::Relaxed);
            }
        }
        let names: Vec<_> = bodies.iter().map(|(body, _)| body.clone()).collect();
        let reads = bodies.into_iter().map(|(_, read)| read);
        let reports = reads.flat_map(|read| read.reports).collect();
        let mut delta = self.tally(application, reports).await?;
        if !fresh {
            delta.duplicates = 0;
        }
        delta.quarantined = self.quarantined.swap(0, Ordering::Relaxed);
        for body in &names {
            // The body is counted; if it cannot be removed now, its reports will be recognised as duplicates.
            if let Err(error) = self.spool.remove(body) {
                tracing::warn!(account = %self.name, %error, "a counted body cannot be removed from the spool");
            }
        }
        self.measure();
        Ok(delta)
    }

    /// Counts reports exactly once, in one transaction.
    async fn tally(
        &self,
        application: &Application,
        reports: Vec<Report>,
    ) -> Result<LedgerDelta, StoreError> {
        let reports = Arc::new(reports);
        let mut delta = LedgerDelta::default();
        if !reports.is_empty() {
            let mut digests: Vec<Digest> = reports
                .iter()
                .flat_map(|own| {
                    [own.message]
                        .into_iter()
                        .chain(own.former.map(|former| former.1))
                })
                .collect();
            digests.sort_unstable();
            digests.dedup();
            let (asked, own) = (digests.clone(), reports.clone());
            let id = application.id.clone();
            let counted = self.change(
                move |_| ReadSet {
                    digests: asked,
                    ..ReadSet::default()
                },
                move |transaction, told| count_reports(transaction, &id, told, &own),
            );
            delta = match counted.await {
                Ok((delta, ())) => delta,
                // Another replica holds the account, and will release what is counted here.
                Err(StoreError::Fenced) => {
                    let id = application.id.clone();
                    let compute = move |transaction: &mut StateTransaction<'_>, told| {
                        count_reports(transaction, &id, told, &reports)
                    };
                    self.forward_to_holder(digests, compute).await?.0
                }
                Err(error) => return Err(error),
            };
        }
        Ok(delta)
    }

    /// The bodies of which a part is in quarantine.
    ///
    /// # Errors
    ///
    /// The spool failed.
    pub fn quarantine(&self) -> Result<Vec<SpooledBody>, SpoolError> {
        self.spool.quarantined()
    }

    /// Parses the quarantined part of a body again, counts what can be parsed now, and leaves the rest in
    /// quarantine. If the process ends in between, nothing is counted twice, because the next replay
    /// recognises what was counted.
    ///
    /// # Errors
    ///
    /// The store or the spool failed.
    pub async fn replay(
        &self,
        application: &Application,
        dataset: Dataset,
        body: &SpooledBody,
        read: &(dyn Fn(&[u8]) -> Pushed + Sync),
    ) -> Result<Replayed, StoreError> {
        let of_spool = |error: SpoolError| StoreError::Failed(error.0);
        let bytes = self.spool.read_quarantined(body).map_err(of_spool)?;
        let Pushed {
            reports: ReportsRead {
                reports, damage, ..
            },
            events,
            ..
        } = read(&bytes);
        let found = (reports.len() + events.len()) as u64;
        let mut duplicates = self.tally(application, reports).await?.duplicates;
        if !events.is_empty() {
            let told = events.len() as u64;
            let counted = self.happened(application, dataset, events, None);
            duplicates += told - counted.await?.1;
        }
        match &damage {
            None => self.spool.redeem(body).map_err(of_spool)?,
            Some(damage) if *damage.rest != *bytes => {
                self.spool.set_aside(body, &damage.rest).map_err(of_spool)?;
            }
            Some(_) => {}
        }
        Ok(Replayed {
            counted: found - duplicates,
            duplicates,
            left: damage.map(|damage| damage.what),
        })
    }

    /// Counts on behalf of the replica that holds the account, which will release the counts.
    async fn forward_to_holder<R: Send + 'static>(
        &self,
        digests: Vec<Digest>,
        compute: impl FnOnce(&mut StateTransaction<'_>, ReadRows) -> R + Send + 'static,
    ) -> Result<(LedgerDelta, R), StoreError> {
        let ask = ReadSet {
            account: self.name.clone(),
            replica: self.replica.clone(),
            digests,
            ..ReadSet::default()
        };
        let channels = self.policy().channels;
        let now = self.clock.now().as_millisecond();
        let decide = move |rows| {
            let mut transaction = StateTransaction {
                states: HashMap::new(),
                account_state: &AccountState::default(),
                names: &Arc::new(LabelLimiter::unlimited()),
                channels,
                ages: &[],
                now,
                settled: now,
                hold: Hold::Process,
                changes: StateChanges::default(),
            };
            let outcome = compute(&mut transaction, rows);
            let duplicates = transaction.changes.delta.duplicates;
            (transaction.batch_elsewhere(), (duplicates, outcome))
        };
        let done = self.store.transact(ask, decide).await;
        let (duplicates, outcome) = done.inspect_err(|error| self.failed_by(error))?;
        self.notes.up(Volume::Store, true);
        let delta = LedgerDelta {
            duplicates,
            ..LedgerDelta::default()
        };
        Ok((delta, outcome))
    }

    /// Counts what is in the spool while another replica holds the account.
    ///
    /// # Errors
    ///
    /// The store or the spool failed.
    pub async fn forward_spool(
        &self,
        application: &Application,
        read: &(dyn Fn(&[u8]) -> ReportsRead + Sync),
    ) -> Result<LedgerDelta, StoreError> {
        let bodies = self.spool.bodies();
        *self.backlog() = bodies.map_err(|error| StoreError::Failed(error.0))?;
        self.catch_up(application, read).await
    }

    /// Counts events, which a vendor may report repeatedly, exactly once, and stores the time up to which the
    /// data set was read. Returns the number of new events.
    ///
    /// # Errors
    ///
    /// The store failed and nothing was counted; the events can be counted again.
    pub async fn happened(
        &self,
        application: &Application,
        dataset: Dataset,
        events: Vec<Event>,
        until: Option<Timestamp>,
    ) -> Result<(LedgerDelta, u64), StoreError> {
        let mut digests: Vec<Digest> = events
            .iter()
            .flat_map(|own| [own.digest].into_iter().chain(own.former))
            .collect();
        digests.sort_unstable();
        digests.dedup();
        let events = Arc::new(events);
        let adopt_age = self.policy().adopt_age;
        let compute = |events: Arc<Vec<Event>>, id: Arc<str>| {
            move |transaction: &mut StateTransaction<'_>, told: ReadRows| {
                let birth = transaction.birth(&id, dataset);
                let age = adopt_age;
                let adoption = Adoption { birth, age };
                if let Some(until) = until {
                    let dataset = dataset.as_str().to_owned();
                    let at = until.as_millisecond();
                    transaction.changes.cursors.push((id.clone(), dataset, at));
                }
                count_happenings(transaction, &id, &told, &events, adoption)
            }
        };
        let (own, asked) = (events.clone(), digests.clone());
        let ask = move |_: &AccountState| ReadSet {
            digests: asked,
            ..ReadSet::default()
        };
        let id = application.id.clone();
        match self.change(ask, compute(own, id.clone())).await {
            Err(StoreError::Fenced) => self.forward_to_holder(digests, compute(events, id)).await,
            outcome => outcome,
        }
    }

    /// The time up to which a data set of an application was read.
    pub async fn read_until(
        &self,
        application: &Application,
        dataset: Dataset,
    ) -> Option<Timestamp> {
        let key = (application.id.clone(), dataset.as_str().to_owned());
        let account_state = self.account_state.lock().await;
        let at = account_state.cursors.get(&key)?;
        Timestamp::from_millisecond(*at).ok()
    }
}

/// Counts the new ones among events, and returns their number.
fn count_happenings(
    transaction: &mut StateTransaction<'_>,
    application: &Arc<str>,
    told: &ReadRows,
    events: &[Event],
    adoption: Adoption,
) -> u64 {
    let mut new = 0;
    for own in events {
        let remembered = |transaction: &StateTransaction<'_>, digest: &Digest| {
            told.memories.contains_key(digest) || transaction.changes.memories.contains_key(digest)
        };
        if remembered(transaction, &own.digest) {
            continue;
        }
        let counted = own
            .former
            .is_some_and(|former| remembered(transaction, &former));
        // Stores only the event's digest. The vendor may format the row differently next time, so a row that
        // only version 0.1 has stored is also stored under its new digest.
        transaction.changes.memories.insert(own.digest, vec![0]);
        if counted {
            continue;
        }
        new += 1;
        let at = own.at.map(|at| at.as_millisecond());
        let count = u64::from(!adoption.is_history(at));
        for key in counters_of(application, &own.kind) {
            let key = transaction.bounded(key);
            transaction.add(key, &Amount::Count(count));
        }
    }
    new
}

/// The counters for an event.
pub(in crate::ledger) fn counters_of(application: &Arc<str>, kind: &EventKind) -> Vec<CounterKey> {
    match kind {
        EventKind::Log {
            action,
            platform,
            status,
        } => {
            let labels = [action, platform, status];
            vec![CounterKey::new(application, catalog::LOG_EVENTS, &labels)]
        }
        EventKind::BouncedAddress { kind, reason } => {
            let labels = [&Arc::from(*kind), &Arc::from(*reason)];
            vec![CounterKey::new(
                application,
                catalog::BOUNCED_ADDRESSES,
                &labels,
            )]
        }
        EventKind::Tracked { measure, campaign } => {
            let channel: Arc<str> = Arc::from("email");
            let mut counters = Vec::new();
            if let Some(campaign) = campaign {
                let (families, labels) = (catalog::TOTAL_BY_CAMPAIGN, [&channel, campaign]);
                counters.push(CounterKey::measured(
                    application,
                    families,
                    *measure,
                    &labels,
                ));
            }
            counters.push(CounterKey::measured(
                application,
                catalog::TOTAL,
                *measure,
                &[&channel],
            ));
            counters
        }
    }
}

/// Counts reports exactly once.
fn count_reports(
    transaction: &mut StateTransaction<'_>,
    application: &Arc<str>,
    told: ReadRows,
    reports: &[Report],
) {
    let mut memories: HashMap<Digest, (ReportDedup, bool)> = told
        .memories
        .into_iter()
        .map(|(digest, row)| (digest, (ReportDedup::parse(&row), false)))
        .collect();
    let mut tally = Tally::new(application.clone());
    for report in reports {
        // The deduplication data of version 0.1 for the same message is moved to the new digest.
        let former = report.former.filter(|own| own.1 != report.message);
        let former = former.and_then(|own| memories.get(&own.1));
        let former = former.map(|(memory, _)| memory.clone());
        let (memory, changed) = memories.entry(report.message).or_default();
        if let Some(former) = former {
            *changed |= memory.merge(&former);
        }
        match memory.count(report, LATENCY_BOUNDS, &mut tally) {
            Counted::New => *changed = true,
            Counted::Repeat { noted } => {
                *changed |= noted;
                transaction.changes.delta.duplicates += 1;
            }
        }
    }
    tally.count(transaction);
    for (digest, (memory, changed)) in memories {
        if changed {
            transaction
                .changes
                .memories
                .insert(digest, memory.to_bytes());
        }
    }
}
