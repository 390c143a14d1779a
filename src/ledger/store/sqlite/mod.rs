//! The embedded store: one SQLite file, one thread that owns it.
//!
//! Transactions that wait together share one commit, and so one sync of the disk.

mod backup;
mod file;
mod parts;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};
use tokio::sync::oneshot;

use super::{
    AccountRows, Ask, Batch, CounterRow, MessageId, RegisteredRow, ReleaseRow, StateRow, Store,
    StoreError, Told, Work,
};
use crate::{files::create_private_directory, ledger::amount::Amount};
pub(in crate::ledger) use backup::backup;
use parts::{Part, recall, remember};

/// Says in the file's header that it is a ledger: "DELV".
const APPLICATION_ID: i32 = 0x4445_4C56;
/// The version of the tables.
const SCHEMA: i32 = 1;
/// So many transactions share a commit at most.
const SHARED: usize = 64;
/// How long another program's lock is waited for.
const BUSY: Duration = Duration::from_secs(2);

const TABLES: &str = "
CREATE TABLE births (
    account TEXT NOT NULL, application TEXT NOT NULL, dataset TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (account, application, dataset)
) WITHOUT ROWID;
CREATE TABLE cursors (
    account TEXT NOT NULL, application TEXT NOT NULL, dataset TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (account, application, dataset)
) WITHOUT ROWID;
CREATE TABLE names (
    account TEXT NOT NULL, label TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (account, label, value)
) WITHOUT ROWID;
CREATE TABLE counters (
    account TEXT NOT NULL, key TEXT NOT NULL, total TEXT NOT NULL, pending TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;
CREATE TABLE releases (
    account TEXT NOT NULL, replica TEXT NOT NULL, key TEXT NOT NULL, shown TEXT NOT NULL,
    born_at INTEGER NOT NULL,
    PRIMARY KEY (account, replica, key)
) WITHOUT ROWID;
CREATE TABLE messages (
    account TEXT NOT NULL, application TEXT NOT NULL, id TEXT NOT NULL, state BLOB NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (account, application, id)
) WITHOUT ROWID;
CREATE INDEX messages_since ON messages (account, since);
CREATE TABLE registered (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, application TEXT NOT NULL,
    id TEXT NOT NULL, campaign TEXT, sent_at INTEGER NOT NULL,
    UNIQUE (account, application, id)
);
CREATE INDEX registered_account ON registered (account, sequence);
CREATE TABLE parts (
    id INTEGER PRIMARY KEY, opened_at INTEGER NOT NULL, touched_at INTEGER NOT NULL, filter BLOB
);
";

/// The store.
pub(in crate::ledger) struct Sqlite {
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
}

/// Who waits for a transaction.
type Reply = oneshot::Sender<Result<(), StoreError>>;

/// What the thread does.
enum Job {
    Transact(Ask, Work, Reply),
    /// Anything else, by itself.
    Run(Box<dyn FnOnce(&mut Memory) + Send>),
}

/// The connection, and what is known of the parts of the memory.
struct Memory {
    connection: Connection,
    path: PathBuf,
    /// Oldest first; the last one is open.
    parts: Vec<Part>,
    /// Held until the connection is closed, which stands above: closing any file of a database takes
    /// the connection's own locks away.
    _lock: Option<File>,
}

fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + '_ {
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
                "; it is damaged: restore it from a backup, or move it away to begin a new ledger"
            }
            _ => "",
        };
        StoreError::Failed(format!("{}: {error}{hint}", path.display()))
    }
}

fn refuse(path: &Path, text: &str) -> StoreError {
    StoreError::Failed(format!("{}: {text}", path.display()))
}

impl Sqlite {
    /// Opens the file, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// It is damaged, another program's, of a later version, or cannot be written to; then it is
    /// left as it is.
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

    /// Opens the file to read it, while another process may write to it; `None`: there is none.
    ///
    /// # Errors
    ///
    /// It is another program's, of a later version, or cannot be read.
    pub(in crate::ledger) fn open_to_read(path: &Path) -> Result<Option<Sqlite>, StoreError> {
        if !file::check(path)? {
            return Ok(None);
        }
        let connection = read_only(path)?;
        Sqlite::start(path, connection, Vec::new(), None).map(Some)
    }

    /// Gives the connection to a thread of its own.
    fn start(
        path: &Path,
        connection: Connection,
        parts: Vec<Part>,
        lock: Option<File>,
    ) -> Result<Sqlite, StoreError> {
        let memory = Memory {
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
        work: impl FnOnce(&mut Memory) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Run(Box::new(move |memory| {
            // Whoever asked may have gone.
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
            "the thread that writes it has ended; restart the exporter",
        )
    }
}

/// A connection that writes nothing.
fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let failed = failed(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags).map_err(&failed)?;
    connection.busy_timeout(BUSY).map_err(&failed)?;
    Ok(connection)
}

/// Looks for damage without writing.
fn examine(path: &Path) -> Result<(), StoreError> {
    let failed = failed(path);
    let connection = read_only(path)?;
    // Not the memory of reports: it is large, and a damaged part shows itself when it is read.
    for table in [
        "births",
        "cursors",
        "names",
        "counters",
        "releases",
        "messages",
        "registered",
        "parts",
    ] {
        let found: String = connection
            .query_row(&format!("PRAGMA quick_check({table})"), [], |row| {
                row.get(0)
            })
            .map_err(&failed)?;
        if found != "ok" {
            let text = format!(
                "is damaged ({}); restore it from a backup, or move it away to begin a new ledger",
                found.lines().next().unwrap_or_default()
            );
            return Err(refuse(path, &text));
        }
    }
    Ok(())
}

impl Memory {
    fn work(mut self, queue: &mpsc::Receiver<Job>) {
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

    fn commit(&mut self, group: Vec<(Ask, Work, Reply)>) {
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

    fn try_commit(&mut self, group: Vec<(Ask, Work)>) -> rusqlite::Result<()> {
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

fn tell(transaction: &Transaction<'_>, parts: &[Part], ask: &Ask) -> rusqlite::Result<Told> {
    let mut told = Told::default();
    if !ask.messages.is_empty() {
        let mut statement = transaction.prepare_cached(
            "SELECT state FROM messages WHERE account = ?1 AND application = ?2 AND id = ?3",
        )?;
        for id in &ask.messages {
            let row = statement
                .query_row(params![ask.account, id.0, id.1], |row| row.get(0))
                .optional()?;
            if let Some(row) = row {
                told.messages.insert(id.clone(), row);
            }
        }
    }
    for digest in &ask.digests {
        if let Some(memory) = recall(transaction, parts, digest)? {
            told.memories.insert(*digest, memory);
        }
    }
    Ok(told)
}

fn apply(
    transaction: &Transaction<'_>,
    parts: &mut Vec<Part>,
    ask: &Ask,
    batch: &Batch,
) -> rusqlite::Result<()> {
    let account = &ask.account;
    for (application, dataset, at) in &batch.births {
        transaction
            .prepare_cached(
                // One that is later, or of a clock that was not set, was wrong.
                "INSERT INTO births VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (account, application, dataset) DO UPDATE SET at = excluded.at
                 WHERE at > excluded.at OR at < 1577836800000",
            )?
            .execute(params![account, application, dataset, at])?;
    }
    for (application, dataset, at) in &batch.cursors {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO cursors VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![account, application, dataset, at])?;
    }
    for (label, value) in &batch.names {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO names VALUES (?1, ?2, ?3)")?
            .execute(params![account, label, value])?;
    }
    for row in &batch.counters {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO counters VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                account,
                row.key,
                row.total.to_text(),
                row.pending.to_text(),
                row.changed_at
            ])?;
    }
    for row in &batch.releases {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO releases VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                account,
                ask.replica,
                row.key,
                row.shown.to_text(),
                row.born_at
            ])?;
    }
    for row in &batch.messages {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO messages VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![account, row.id.0, row.id.1, row.state, row.since])?;
    }
    for key in &batch.gone_counters {
        for table in ["counters", "releases"] {
            transaction
                .prepare_cached(&format!(
                    "DELETE FROM {table} WHERE account = ?1 AND key = ?2"
                ))?
                .execute(params![account, key])?;
        }
    }
    for (label, value) in &batch.gone_names {
        transaction
            .prepare_cached("DELETE FROM names WHERE account = ?1 AND label = ?2 AND value = ?3")?
            .execute(params![account, label, value])?;
    }
    for (application, id) in &batch.gone_messages {
        transaction
            .prepare_cached(
                "DELETE FROM messages WHERE account = ?1 AND application = ?2 AND id = ?3",
            )?
            .execute(params![account, application, id])?;
    }
    for row in &batch.registered {
        transaction
            .prepare_cached(
                "INSERT INTO registered (account, application, id, campaign, sent_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (account, application, id) DO UPDATE
                 SET campaign = excluded.campaign, sequence = (SELECT max(sequence) + 1 FROM registered)
                 WHERE campaign IS NULL AND excluded.campaign IS NOT NULL",
            )?
            .execute(params![row.account, row.id.0, row.id.1, row.campaign, row.sent_at])?;
    }
    remember(transaction, parts, batch)
}

fn amount(text: &str, column: usize) -> rusqlite::Result<Amount> {
    Amount::parse(text).ok_or_else(|| {
        let problem = format!("{text:?} is no amount");
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            problem.into(),
        )
    })
}

fn rows_of(connection: &Connection, account: &str, replica: &str) -> rusqlite::Result<AccountRows> {
    let mut found = AccountRows::default();
    let mut statement = connection.prepare_cached(
        "SELECT key, total, pending, changed_at FROM counters WHERE account = ?1",
    )?;
    let mut rows = statement.query([account])?;
    while let Some(row) = rows.next()? {
        found.counters.push(CounterRow {
            key: row.get(0)?,
            total: amount(row.get_ref(1)?.as_str()?, 1)?,
            pending: amount(row.get_ref(2)?.as_str()?, 2)?,
            changed_at: row.get(3)?,
        });
    }
    let mut statement = connection.prepare_cached(
        "SELECT key, shown, born_at FROM releases WHERE account = ?1 AND replica = ?2",
    )?;
    let mut rows = statement.query([account, replica])?;
    while let Some(row) = rows.next()? {
        found.releases.push(ReleaseRow {
            key: row.get(0)?,
            shown: amount(row.get_ref(1)?.as_str()?, 1)?,
            born_at: row.get(2)?,
        });
    }
    for (table, own) in [
        ("births", &mut found.births),
        ("cursors", &mut found.cursors),
    ] {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT application, dataset, at FROM {table} WHERE account = ?1"
        ))?;
        let mut rows = statement.query([account])?;
        while let Some(row) = rows.next()? {
            own.push((row.get(0)?, row.get(1)?, row.get(2)?));
        }
    }
    let mut statement =
        connection.prepare_cached("SELECT label, value FROM names WHERE account = ?1")?;
    let mut rows = statement.query([account])?;
    while let Some(row) = rows.next()? {
        found.names.push((row.get(0)?, row.get(1)?));
    }
    Ok(found)
}

impl Store for Sqlite {
    fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> BoxFuture<'_, Result<AccountRows, StoreError>> {
        let (account, replica) = (account.clone(), replica.clone());
        self.run(move |memory| rows_of(&memory.connection, &account, &replica))
            .boxed()
    }

    fn transact(&self, ask: Ask, work: Work) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let (reply, answer) = oneshot::channel();
            self.send(Job::Transact(ask, work, reply))?;
            answer.await.unwrap_or_else(|_| Err(self.gone()))
        }
        .boxed()
    }

    fn states(&self, account: &Arc<str>) -> BoxFuture<'_, Result<Vec<StateRow>, StoreError>> {
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
        .boxed()
    }

    fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> BoxFuture<'_, Result<Vec<MessageId>, StoreError>> {
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
        .boxed()
    }

    fn register(&self, rows: Vec<RegisteredRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        let batch = Batch {
            registered: rows,
            ..Batch::default()
        };
        // As a transaction, it shares its commit with others that wait.
        self.transact(Ask::default(), Box::new(move |_| batch))
    }

    fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> BoxFuture<'_, Result<Vec<RegisteredRow>, StoreError>> {
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
        .boxed()
    }

    fn unregister(&self, account: &Arc<str>, before: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        let account = account.clone();
        self.run(move |memory| {
            memory
                .connection
                .prepare_cached("DELETE FROM registered WHERE account = ?1 AND sent_at < ?2")?
                .execute(params![account, before])
                .map(drop)
        })
        .boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        let name = self.path.clone();
        let length = |path: &Path| fs::metadata(path).map_or(0, |own| own.len());
        let mut wal = name.clone().into_os_string();
        wal.push("-wal");
        let size = length(&name) + length(Path::new(&wal));
        std::future::ready(Ok(size)).boxed()
    }

    fn tend(&self, before: i64, _: i64) -> BoxFuture<'_, Result<(), StoreError>> {
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
        .boxed()
    }
}
