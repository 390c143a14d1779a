//! The thread that owns the connection, and its jobs.

use std::{fs::File, path::PathBuf, sync::mpsc};

use rusqlite::{Connection, TransactionBehavior};

use super::{
    Transaction, failed,
    parts::{self, Part},
    rows::{apply, tell},
};

/// The maximum number of transactions that share a commit.
const SHARED: usize = 64;

/// A job of the thread.
pub(super) enum Job {
    Transact(Box<dyn Transaction>),
    /// Any other work, executed on its own.
    Run(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// The connection, and the state of the partitions.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Oldest first; the last one is open.
    pub(super) parts: Vec<Part>,
    /// Must be dropped after the connection, which is declared above: closing any file descriptor of the
    /// database releases the connection's own locks.
    pub(super) _lock: Option<File>,
}

impl Writer {
    /// Works until all senders are dropped.
    pub(super) fn work(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Run(work) => work(&mut self),
                    Job::Transact(transaction) => {
                        let mut group = vec![transaction];
                        while group.len() < SHARED {
                            match queue.try_recv() {
                                Ok(Job::Transact(transaction)) => group.push(transaction),
                                Ok(other) => {
                                    next = Some(other);
                                    break;
                                }
                                Err(_) => break,
                            }
                        }
                        self.commit(group);
                    }
                }
            }
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Transaction>>) {
        let outcome = self.try_commit(&mut group).map_err(failed(&self.path));
        if outcome.is_err() {
            // The state of the partitions may include uncommitted changes.
            if let Ok(parts) = parts::load(&self.connection) {
                self.parts = parts;
            }
        }
        for transaction in group {
            transaction.finish(outcome.clone());
        }
    }

    fn try_commit(&mut self, group: &mut [Box<dyn Transaction>]) -> rusqlite::Result<()> {
        let shared = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut wrote = false;
        for transaction in group {
            let rows = tell(&shared, &self.parts, transaction.reads())?;
            let writes = transaction.decide(rows);
            if !writes.is_empty() {
                wrote = true;
                apply(&shared, &mut self.parts, transaction.reads(), &writes)?;
            }
        }
        if wrote {
            shared.commit()
        } else {
            shared.rollback()
        }
    }
}
