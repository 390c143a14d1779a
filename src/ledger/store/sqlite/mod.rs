//! The embedded store: an SQLite file, which one thread owns.
//!
//! Waiting transactions share one commit, and so one sync to disk.

mod backup;
mod file;
mod parts;
mod rows;
mod schema;
mod writer;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use tokio::{sync::oneshot, task::JoinError};

use super::{
    AccountRows, CounterRow, MessageId, ReadRows, ReadSet, RegisteredRow, ReleaseRow, StateRow,
    StoreError, Transaction, WriteSet, transaction::erased,
};
use crate::{
    blocking::on_disk,
    files::{create_private_directory, with_suffix},
};
pub(in crate::ledger::store) use backup::UNFINISHED;
pub(in crate::ledger) use backup::backup;
pub(in crate::ledger::store) use file::{check as is_ledger, create, lock as lock_file};
use parts::Part;
use rows::rows_of;
use schema::examine;
pub(in crate::ledger::store) use schema::part_table;
use writer::{Job, Writer};

/// How long to wait for another program's lock.
const BUSY: Duration = Duration::from_secs(2);

/// The store.
pub struct Sqlite {
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
}

pub(in crate::ledger::store) fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
    move |error| {
        let hint = match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => "; make room on the disk",
            Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::CannotOpen) => {
                "; the exporter needs to write to the file and its directory (store.url)"
            }
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                "; another program holds it: end that program's transaction"
            }
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                "; it is damaged: restore it from a backup, or move it away to start a new ledger"
            }
            _ => "",
        };
        StoreError::Failed(format!("{}: {error}{hint}", path.display()))
    }
}

pub(in crate::ledger::store) fn refuse(path: &Path, text: &str) -> StoreError {
    StoreError::Failed(format!("{}: {text}", path.display()))
}

impl Sqlite {
    /// Opens the file, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// The file is damaged, belongs to another program or a later version, or cannot be written to; then it
    /// is not changed.
    pub(in crate::ledger) fn open(path: &Path) -> Result<Sqlite, StoreError> {
        let exists = file::check(path)?;
        if let Some(directory) = path.parent().filter(|own| !own.as_os_str().is_empty()) {
            create_private_directory(directory)
                .map_err(|error| refuse(directory, &error.to_string()))?;
        }
        if exists {
            examine(path)?;
        } else {
            file::create(path)?;
        }
        let lock = file::lock(path)?;
        let failed = failed(path);
        let connection = Connection::open(path).map_err(&failed)?;
        connection.busy_timeout(BUSY).map_err(&failed)?;
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
                 PRAGMA wal_autocheckpoint = 8192; PRAGMA temp_store = MEMORY;",
            )
            .map_err(&failed)?;
        connection.set_prepared_statement_cache_capacity(256);
        let parts = parts::load(&connection).map_err(&failed)?;
        Sqlite::start(path, connection, parts, Some(lock))
    }

    /// Opens the file for reading while another process may write to it; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// The file belongs to another program or a later version, or cannot be read.
    pub(in crate::ledger) fn open_to_read(path: &Path) -> Result<Option<Sqlite>, StoreError> {
        if !file::check(path)? {
            return Ok(None);
        }
        let connection = read_only(path)?;
        Sqlite::start(path, connection, Vec::new(), None).map(Some)
    }

    /// Moves the connection to its own thread.
    fn start(
        path: &Path,
        connection: Connection,
        parts: Vec<Part>,
        lock: Option<File>,
    ) -> Result<Sqlite, StoreError> {
        let memory = Writer {
            _lock: lock,
            parts,
            connection,
            path: path.to_owned(),
        };
        let (jobs, queue) = mpsc::channel();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || memory.work(&queue))
            .map_err(|error| refuse(path, &error.to_string()))?;
        Ok(Sqlite {
            jobs,
            path: path.to_owned(),
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Run(Box::new(move |memory| {
            // The caller may have been cancelled.
            let _ = reply.send(work(memory));
        }));
        self.send(job)?;
        match answer.await {
            Ok(outcome) => outcome.map_err(failed(&self.path)),
            Err(_) => Err(self.gone()),
        }
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        self.jobs.send(job).map_err(|_| self.gone())
    }

    fn gone(&self) -> StoreError {
        refuse(
            &self.path,
            "its writer thread has ended; restart the exporter",
        )
    }
}

/// A read-only connection.
fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let failed = failed(path);
    // Each connection is used by one thread, so SQLite's mutex is unnecessary; locking it for every column
    // takes half of the time of reading a ledger.
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(BUSY).map_err(&failed)?;
    Ok(connection)
}

/// The methods are documented at [`super::Store`].
impl Sqlite {
    pub(in crate::ledger) async fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> Result<AccountRows, StoreError> {
        // Waits for all queued writes, including those of cancelled callers.
        self.run(|_| Ok(())).await?;
        let (account, replica) = (account.clone(), replica.clone());
        let path = self.path.clone();
        // On a separate connection, so that a starting process reads its accounts in parallel.
        let read = on_disk(move || {
            let mut connection = read_only(&path)?;
            let transaction = connection.transaction().map_err(failed(&path))?;
            rows_of(&transaction, &account, &replica).map_err(failed(&path))
        });
        let ended = |error: JoinError| refuse(&self.path, &error.to_string());
        read.await.map_err(ended)?
    }

    pub(in crate::ledger) async fn transact<R: Send + 'static>(
        &self,
        reads: ReadSet,
        decide: impl FnOnce(ReadRows) -> (WriteSet, R) + Send + 'static,
    ) -> Result<R, StoreError> {
        let (transaction, answer) = erased(reads, decide);
        self.enqueue(transaction)?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Sends a transaction to the writer thread, which finishes it.
    pub(in crate::ledger) fn enqueue(
        &self,
        transaction: Box<dyn Transaction>,
    ) -> Result<(), StoreError> {
        self.send(Job::Transact(transaction))
    }

    pub(in crate::ledger) async fn states(
        &self,
        account: &Arc<str>,
    ) -> Result<Vec<StateRow>, StoreError> {
        let account = account.clone();
        self.run(move |memory| {
            let mut statement = memory
                .connection
                .prepare_cached("SELECT application, id, state FROM messages WHERE account = ?1")?;
            let rows = statement.query_map(params![account], |row| {
                Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
            })?;
            rows.collect()
        })
        .await
    }

    pub(in crate::ledger) async fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> Result<Vec<MessageId>, StoreError> {
        let account = account.clone();
        self.run(move |memory| {
            let mut statement = memory.connection.prepare_cached(
                "SELECT application, id FROM messages WHERE account = ?1 AND since < ?2",
            )?;
            let rows = statement.query_map(params![account, before], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect()
        })
        .await
    }

    pub(in crate::ledger) async fn register(
        &self,
        rows: Vec<RegisteredRow>,
    ) -> Result<(), StoreError> {
        let writes = WriteSet {
            registered: rows,
            ..WriteSet::default()
        };
        // Runs as a transaction, to share its commit with other waiting ones.
        self.transact(ReadSet::default(), move |_| (writes, ()))
            .await
    }

    pub(in crate::ledger) async fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> Result<Vec<RegisteredRow>, StoreError> {
        let account = account.clone();
        self.run(move |memory| {
            let mut statement = memory.connection.prepare_cached(
                "SELECT application, id, campaign, sent_at, sequence FROM registered
                 WHERE account = ?1 AND sequence > ?2 ORDER BY sequence",
            )?;
            let rows = statement.query_map(params![account, after], |row| {
                Ok(RegisteredRow {
                    account: account.clone(),
                    id: (row.get(0)?, row.get(1)?),
                    campaign: row.get(2)?,
                    sent_at: row.get(3)?,
                    sequence: row.get(4)?,
                })
            })?;
            rows.collect()
        })
        .await
    }

    pub(in crate::ledger) async fn unregister(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> Result<(), StoreError> {
        let account = account.clone();
        self.run(move |memory| {
            memory
                .connection
                .prepare_cached("DELETE FROM registered WHERE account = ?1 AND sent_at < ?2")?
                .execute(params![account, before])
                .map(drop)
        })
        .await
    }

    pub(in crate::ledger) async fn size(&self) -> Result<u64, StoreError> {
        let length = |path: &Path| fs::metadata(path).map_or(0, |own| own.len());
        Ok(length(&self.path) + length(&with_suffix(&self.path, "-wal")))
    }

    pub(in crate::ledger) async fn maintain(&self, before: i64, _: i64) -> Result<(), StoreError> {
        self.run(move |memory| {
            let old: Vec<i64> = memory
                .parts
                .iter()
                .filter(|part| part.touched_at < before)
                .map(|part| part.id)
                .collect();
            if old.is_empty() {
                return Ok(());
            }
            let transaction = memory
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            for id in &old {
                transaction.execute_batch(&format!(
                    "DROP TABLE seen_{id}; DELETE FROM parts WHERE id = {id};"
                ))?;
            }
            transaction.commit()?;
            memory.parts.retain(|part| !old.contains(&part.id));
            Ok(())
        })
        .await
    }
}
