//! The thread that owns the connection, and what it does.

use std::{fs::File, path::PathBuf, sync::mpsc};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::{
    ReadSet, StoreError, Work, failed,
    parts::{self, Part},
    rows::{apply, tell},
};

/// So many transactions share a commit at most.
const SHARED: usize = 64;

/// Who waits for a transaction.
pub(super) type Reply = oneshot::Sender<Result<(), StoreError>>;

/// What the thread does.
pub(super) enum Job {
    Transact(ReadSet, Work, Reply),
    /// Anything else, by itself.
    Run(Box<dyn FnOnce(&mut Writer) + Send>),
}

/// The connection, and what is known of the parts of the memory.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Oldest first; the last one is open.
    pub(super) parts: Vec<Part>,
    /// Held until the connection is closed, which stands above: closing any file of a database takes
    /// the connection's own locks away.
    pub(super) _lock: Option<File>,
}

impl Writer {
    /// Works until nobody can send a job any more.
    pub(super) fn work(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut next = Some(first);
            while let Some(job) = next.take() {
                match job {
                    Job::Run(work) => work(&mut self),
                    Job::Transact(ask, work, reply) => {
                        let mut group = vec![(ask, work, reply)];
                        while group.len() < SHARED {
                            match queue.try_recv() {
                                Ok(Job::Transact(ask, work, reply)) => {
                                    group.push((ask, work, reply));
                                }
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

    fn commit(&mut self, group: Vec<(ReadSet, Work, Reply)>) {
        let (mut asked, mut replies) = (Vec::new(), Vec::new());
        for (ask, work, reply) in group {
            asked.push((ask, work));
            replies.push(reply);
        }
        let outcome = self.try_commit(asked).map_err(failed(&self.path));
        if outcome.is_err() {
            // What is known of the parts may be what was not committed.
            if let Ok(parts) = parts::load(&self.connection) {
                self.parts = parts;
            }
        }
        for reply in replies {
            // Whoever asked may have gone.
            let _ = reply.send(outcome.clone());
        }
    }

    fn try_commit(&mut self, group: Vec<(ReadSet, Work)>) -> rusqlite::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut wrote = false;
        for (ask, work) in group {
            let told = tell(&transaction, &self.parts, &ask)?;
            let batch = work(told);
            if !batch.is_empty() {
                wrote = true;
                apply(&transaction, &mut self.parts, &ask, &batch)?;
            }
        }
        if wrote {
            transaction.commit()
        } else {
            transaction.rollback()
        }
    }
}
