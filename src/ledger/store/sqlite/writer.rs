//! The thread that owns the connection, and its jobs.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::mpsc,
};

use rusqlite::{Connection, TransactionBehavior};

use super::{
    StoreError, Transaction, failed,
    parts::{self, Part},
    refuse,
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
    pub(super) lock: Option<File>,
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

    /// Fails if the file was removed, replaced or emptied while it is open: SQLite would go on writing to a
    /// file that no later process finds, or to one that is no database any more.
    pub(super) fn in_place(&self) -> Result<(), StoreError> {
        let Some(open) = &self.lock else {
            return Ok(());
        };
        let of = |file: &fs::Metadata| (file.dev(), file.ino());
        let is_same = match (open.metadata(), fs::metadata(&self.path)) {
            (Ok(open), Ok(named)) => of(&open) == of(&named) && named.len() > 0,
            // A file system that fails is reported by SQLite.
            (Err(_), _) => true,
            (_, Err(error)) => error.kind() != std::io::ErrorKind::NotFound,
        };
        if is_same {
            return Ok(());
        }
        let text = "was removed, replaced or emptied while it is in use; stop the exporter, put the ledger back, and start it";
        Err(refuse(&self.path, text))
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Transaction>>) {
        let outcome = self.in_place();
        let outcome =
            outcome.and_then(|()| self.try_commit(&mut group).map_err(failed(&self.path)));
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
