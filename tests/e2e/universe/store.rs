//! The store of the universe: what PostgreSQL does for replicas, in memory and on the universe's clock.
//!
//! A transaction is one step under a lock, as PostgreSQL's transactions about one account are one after
//! another by the lock on the account's row. What differs between PostgreSQL and this is what
//! `contract.rs` would find: it asks the same of both.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use delivery_clock::{Clock, Moment};
use delivery_exporter::ledger::store::{
    AccountRows, CounterRow, MessageId, ReadRows, ReadSet, RegisteredRow, ReleaseRow, Renewal,
    StateRow, StoreError, Substitute, Transaction, WriteSet,
};

use super::{
    gate::Gate,
    rows::{Key, Lease, Process, Rows, Unsynced, apply, register},
    sabotage::Sabotage,
};

/// A replica that nobody has seen for so long is forgotten.
const REPLICA_FORGOTTEN_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// The database that all replicas share.
#[derive(Clone)]
pub struct Database {
    rows: Arc<Mutex<Rows>>,
    clock: Clock,
    sabotage: Sabotage,
}

impl Database {
    /// An empty database whose time is that of `clock`.
    pub fn new(clock: Clock, sabotage: Sabotage) -> Database {
        Database {
            rows: Arc::default(),
            clock,
            sabotage,
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as a new process sees it.
    pub fn connect(&self, lease: Duration, replica: Arc<str>, gate: Arc<Gate>) -> Memory {
        let mut rows = self.rows();
        rows.last_process += 1;
        Memory {
            database: self.clone(),
            process: rows.last_process,
            replica,
            lease,
            gate,
        }
    }

    /// The process is gone. With [`Sabotage::LostCommit`] its last commit has not reached the disk.
    pub fn killed(&self, process: u64) {
        let mut rows = self.rows();
        if let Some(before) = rows.unsynced.remove(&process) {
            rows.tables.insert(before.account, before.table);
            for (digest, memory) in before.memories {
                match memory {
                    Some(memory) => rows.memories.insert(digest, memory),
                    None => rows.memories.remove(&digest),
                };
            }
        }
    }
}

/// The store, as one process of a replica sees it.
#[derive(Clone)]
pub struct Memory {
    database: Database,
    process: u64,
    replica: Arc<str>,
    lease: Duration,
    gate: Arc<Gate>,
}

impl Memory {
    /// The process that the leases of this connection belong to.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// Passes the gate, does `work` on the rows, and passes the gate again.
    async fn on<T: Send>(
        &self,
        whose: &str,
        work: impl FnOnce(&mut Rows) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let passage = self.gate.enter(whose, false);
        passage.before().await?;
        let done = work(&mut self.database.rows());
        passage.after().await?;
        done
    }

    fn execute(
        &self,
        rows: &mut Rows,
        ask: &ReadSet,
        decide: impl FnOnce(ReadRows) -> WriteSet,
    ) -> Result<(), StoreError> {
        let sabotage = self.database.sabotage;
        let epoch = *rows.epochs.entry(ask.account.clone()).or_insert(0);
        let fenced = ask.fence.is_some_and(|fence| fence != epoch);
        if fenced && sabotage != Sabotage::NoFence {
            return Err(StoreError::Fenced);
        }
        let mut told = ReadRows::default();
        let table = rows.tables.entry(ask.account.clone()).or_default();
        for id in &ask.messages {
            if let Some((state, _)) = table.messages.get(id) {
                told.messages.insert(id.clone(), state.clone());
            }
        }
        if ask.inbox {
            let all = table.inbox.iter();
            told.inbox = all
                .map(|(id, (key, amount))| (*id, key.clone(), amount.clone()))
                .collect();
        }
        for digest in &ask.digests {
            if let Some((memory, _)) = rows.memories.get(digest) {
                told.memories.insert(*digest, memory.clone());
            }
        }
        let batch = decide(told);
        if sabotage == Sabotage::LostCommit && !batch.is_empty() {
            let digests = batch.memories.iter().map(|(digest, _)| *digest);
            let before = Unsynced {
                account: ask.account.clone(),
                table: rows.tables[&ask.account].clone(),
                memories: digests
                    .map(|digest| (digest, rows.memories.get(&digest).cloned()))
                    .collect(),
            };
            // What others have committed of the account is on the disk by now.
            rows.unsynced.retain(|_, own| own.account != before.account);
            rows.unsynced.insert(self.process, before);
        }
        apply(rows, ask, batch, sabotage);
        Ok(())
    }
}

impl Memory {
    /// [`Sabotage::EarlyWatermark`]: how far things were read is kept of a transaction that fails.
    fn early_watermark(&self, transaction: &mut dyn Transaction) {
        let mut early = WriteSet::default();
        let ask = transaction.reads().clone();
        let mut rows = self.database.rows();
        let decided = self.execute(&mut rows, &ask, |told| {
            let batch = transaction.decide(told);
            (early.messages, early.cursors) = (batch.messages, batch.cursors);
            early.now = batch.now;
            WriteSet::default()
        });
        if decided.is_ok() {
            apply(&mut rows, &ask, early, Sabotage::None);
        }
    }

    async fn try_transact(&self, transaction: &mut dyn Transaction) -> Result<(), StoreError> {
        let ask = transaction.reads().clone();
        let passage = self.gate.enter(&ask.account, true);
        if let Err(error) = passage.before().await {
            if self.database.sabotage == Sabotage::EarlyWatermark {
                self.early_watermark(transaction);
            }
            return Err(error);
        }
        let done = self.execute(&mut self.database.rows(), &ask, |told| {
            transaction.decide(told)
        });
        passage.after().await?;
        done
    }
}

#[async_trait]
impl Substitute for Memory {
    async fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> Result<AccountRows, StoreError> {
        let (account, replica) = (account.clone(), replica.clone());
        let name = account.clone();
        self.on(&name, move |rows| {
            let table = rows.tables.entry(account).or_default();
            let of = |(key, at): (&Key, &i64)| (key.0.clone(), key.1.clone(), *at);
            let counters = table.counters.iter().map(|(key, own)| CounterRow {
                key: key.clone(),
                total: own.total.clone(),
                pending: own.pending.clone(),
                changed_at: own.changed_at,
            });
            let releases = table.releases.iter().filter(|(key, _)| key.0 == replica);
            let releases = releases.map(|(key, (shown, born_at))| ReleaseRow {
                key: key.1.clone(),
                shown: shown.clone(),
                born_at: *born_at,
            });
            Ok(AccountRows {
                counters: counters.collect(),
                releases: releases.collect(),
                births: table.births.iter().map(of).collect(),
                cursors: table.cursors.iter().map(of).collect(),
                names: table.names.iter().cloned().collect(),
            })
        })
        .await
    }

    async fn transact(&self, mut transaction: Box<dyn Transaction>) {
        let outcome = self.try_transact(&mut *transaction).await;
        transaction.finish(outcome);
    }

    async fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> Result<Vec<MessageId>, StoreError> {
        let account = account.clone();
        let name = account.clone();
        self.on(&name, move |rows| {
            let table = rows.tables.entry(account).or_default();
            let old = table.messages.iter().filter(|(_, own)| own.1 < before);
            Ok(old.map(|(id, _)| id.clone()).collect())
        })
        .await
    }

    async fn states(&self, account: &Arc<str>) -> Result<Vec<StateRow>, StoreError> {
        let account = account.clone();
        let name = account.clone();
        self.on(&name, move |rows| {
            let table = rows.tables.entry(account).or_default();
            let all = table.messages.iter();
            Ok(all.map(|(id, own)| (id.clone(), own.0.clone())).collect())
        })
        .await
    }

    async fn register(&self, registered: Vec<RegisteredRow>) -> Result<(), StoreError> {
        self.on("register", move |rows| {
            register(rows, registered);
            Ok(())
        })
        .await
    }

    async fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> Result<Vec<RegisteredRow>, StoreError> {
        let account = account.clone();
        let name = account.clone();
        self.on(&name, move |rows| {
            let own = |row: &&RegisteredRow| row.account == account && row.sequence > after;
            let mut found: Vec<_> = rows.registered.iter().filter(own).cloned().collect();
            found.sort_by_key(|row| row.sequence);
            Ok(found)
        })
        .await
    }

    async fn unregister(&self, account: &Arc<str>, before: i64) -> Result<(), StoreError> {
        let account = account.clone();
        let name = account.clone();
        self.on(&name, move |rows| {
            let old = |row: &RegisteredRow| row.account == account && row.sent_at < before;
            rows.registered.retain(|row| !old(row));
            Ok(())
        })
        .await
    }

    async fn size(&self) -> Result<u64, StoreError> {
        self.on("size", |rows| Ok(rows.memories.len() as u64)).await
    }

    async fn maintain(&self, before: i64, _: i64) -> Result<(), StoreError> {
        let now = self.database.clock.monotonic();
        self.on("tend", move |rows| {
            rows.memories.retain(|_, (_, at)| *at >= before);
            let mut seen: BTreeMap<Arc<str>, Moment> = BTreeMap::new();
            for own in rows.processes.values() {
                let last = seen.entry(own.replica.clone()).or_default();
                *last = own.seen_at.max(*last);
            }
            let is_old = |at: Moment| now.since(at) > REPLICA_FORGOTTEN_AFTER;
            for table in rows.tables.values_mut() {
                let forgotten = |own: &Arc<str>| seen.get(own).is_some_and(|at| is_old(*at));
                table.releases.retain(|(replica, _), _| !forgotten(replica));
            }
            rows.processes.retain(|_, own| !is_old(own.seen_at));
            Ok(())
        })
        .await
    }

    fn shared(&self) -> bool {
        true
    }

    async fn renew(
        &self,
        accounts: Vec<Arc<str>>,
        held: Vec<(Arc<str>, i64)>,
        joins: bool,
    ) -> Result<Renewal, StoreError> {
        let now = self.database.clock.monotonic();
        self.on("renew", move |rows| {
            let mut renewed = Vec::new();
            for (account, epoch) in held {
                let lease = rows.leases.get_mut(&account);
                let own = |own: &&mut Lease| own.process == self.process && own.epoch == epoch;
                if let Some(lease) = lease.filter(own) {
                    lease.expires_at = now + self.lease;
                    renewed.push((account, epoch));
                }
            }
            if joins {
                let own = Process {
                    replica: self.replica.clone(),
                    seen_at: now,
                    lives: true,
                };
                rows.processes.insert(self.process, own);
            }
            let lives = |own: &&Process| own.lives && own.seen_at + self.lease > now;
            let living = rows.processes.values().filter(lives).count().max(1);
            let others = |account: &Arc<str>| {
                let lease = rows.leases.get(account)?;
                (lease.process != self.process).then_some(lease.expires_at)
            };
            let runs = |end: &Moment| *end > now;
            let free = |account: &&Arc<str>| {
                let steals = self.database.sabotage == Sabotage::StolenLease;
                !renewed.iter().any(|(own, _)| own == *account)
                    && (steals || !others(account).as_ref().is_some_and(runs))
            };
            let next = accounts.iter().filter_map(others).filter(runs).min();
            Ok(Renewal {
                free: accounts.iter().filter(free).cloned().collect(),
                share: accounts.len().div_ceil(living),
                next_expiry: next.map(|end| end.since(now)),
                held: renewed,
            })
        })
        .await
    }

    async fn acquire(&self, account: &Arc<str>) -> Result<Option<i64>, StoreError> {
        let account = account.clone();
        let now = self.database.clock.monotonic();
        self.on("acquire", move |rows| {
            let runs = rows
                .leases
                .get(&account)
                .is_some_and(|own| own.expires_at > now);
            if runs && self.database.sabotage != Sabotage::StolenLease {
                return Ok(None);
            }
            let last = rows.epochs.entry(account.clone()).or_insert(0);
            *last += 1;
            let epoch = *last;
            let lease = Lease {
                process: self.process,
                epoch,
                expires_at: now + self.lease,
            };
            rows.leases.insert(account, lease);
            Ok(Some(epoch))
        })
        .await
    }

    async fn give_back(&self, held: Vec<(Arc<str>, i64)>) -> Result<(), StoreError> {
        let now = self.database.clock.monotonic();
        self.on("give_back", move |rows| {
            for (account, _) in held {
                let lease = rows.leases.get_mut(&account);
                if let Some(lease) = lease.filter(|own| own.process == self.process) {
                    lease.expires_at = now;
                }
            }
            Ok(())
        })
        .await
    }

    async fn leave(&self) -> Result<(), StoreError> {
        self.on("leave", move |rows| {
            // The replica is known for 30 days; the process is not alive.
            if let Some(own) = rows.processes.get_mut(&self.process) {
                own.lives = false;
            }
            Ok(())
        })
        .await
    }
}
