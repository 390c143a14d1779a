//! The shared store: PostgreSQL, for several replicas.
//!
//! Each transaction about an account first locks the account's row and compares its epoch, which
//! whoever takes the account over has raised: a replica that was paused past its lease changes
//! nothing when it wakes up. Renewing a lease touches another row, so that it never waits for a
//! long transaction.

mod apply;
mod parts;

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, Config, NoTls, Transaction, config::Host, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    AccountRows, Ask, CounterRow, MessageId, RegisteredRow, ReleaseRow, Renewal, StateRow, Store,
    StoreError, Told, Work, filter::Filter,
};
use crate::{ledger::amount::Amount, redact::shown};

/// The version of the tables.
const SCHEMA: i32 = 1;
/// Connections for transactions; renewals have one of their own.
const CONNECTIONS: usize = 4;
/// Locks of this application in the database's space of advisory locks.
const MIGRATION_LOCK: i64 = 0x4445_4C56_0001;
const REGISTRATION_LOCK: i64 = 0x4445_4C56_0003;
/// A replica that nobody has seen for so long is forgotten.
const REPLICA_DAYS: i32 = 30;

const TABLES: &str = "
CREATE TABLE delivery_exporter.meta (version INTEGER NOT NULL);
CREATE TABLE delivery_exporter.accounts (account TEXT PRIMARY KEY, epoch BIGINT NOT NULL);
CREATE TABLE delivery_exporter.leases (
    account TEXT PRIMARY KEY, process TEXT NOT NULL, replica TEXT NOT NULL, epoch BIGINT NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE delivery_exporter.processes (
    process TEXT PRIMARY KEY, replica TEXT NOT NULL, seen_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE delivery_exporter.births (
    account TEXT NOT NULL, application TEXT NOT NULL, dataset TEXT NOT NULL, at BIGINT NOT NULL,
    PRIMARY KEY (account, application, dataset)
);
CREATE TABLE delivery_exporter.cursors (
    account TEXT NOT NULL, application TEXT NOT NULL, dataset TEXT NOT NULL, at BIGINT NOT NULL,
    PRIMARY KEY (account, application, dataset)
);
CREATE TABLE delivery_exporter.names (
    account TEXT NOT NULL, label TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (account, label, value)
);
CREATE TABLE delivery_exporter.counters (
    account TEXT NOT NULL, key TEXT NOT NULL, total TEXT NOT NULL, pending TEXT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE TABLE delivery_exporter.releases (
    account TEXT NOT NULL, replica TEXT NOT NULL, key TEXT NOT NULL, shown TEXT NOT NULL,
    born_at BIGINT NOT NULL,
    PRIMARY KEY (account, replica, key)
);
CREATE TABLE delivery_exporter.inbox (
    id BIGSERIAL PRIMARY KEY, account TEXT NOT NULL, key TEXT NOT NULL, amount TEXT NOT NULL
);
CREATE INDEX inbox_account ON delivery_exporter.inbox (account);
CREATE TABLE delivery_exporter.messages (
    account TEXT NOT NULL, application TEXT NOT NULL, id TEXT NOT NULL, state BYTEA NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (account, application, id)
);
CREATE INDEX messages_since ON delivery_exporter.messages (account, since);
CREATE SEQUENCE delivery_exporter.registrations;
CREATE TABLE delivery_exporter.registered (
    sequence BIGINT PRIMARY KEY, account TEXT NOT NULL, application TEXT NOT NULL,
    id TEXT NOT NULL, campaign TEXT, sent_at BIGINT NOT NULL,
    UNIQUE (account, application, id)
);
CREATE INDEX registered_account ON delivery_exporter.registered (account, sequence);
CREATE TABLE delivery_exporter.parts (
    id BIGINT PRIMARY KEY, opened_at BIGINT NOT NULL, touched_at BIGINT NOT NULL, filter BYTEA
);
";

/// The store.
pub(in crate::ledger) struct Postgres {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// Without a password.
    place: String,
    lease: Duration,
    /// This process: a lease belongs to it, not to a replica's name.
    process: String,
    replica: Arc<str>,
    connections: Vec<Mutex<Option<Client>>>,
    renewals: Mutex<Option<Client>>,
    /// Filters of closed parts: a closed part never changes.
    filters: RwLock<HashMap<i64, Arc<Filter>>>,
}

/// A text that the database takes.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Postgres {
    /// Looks at the database, and makes the tables if they are not there.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or its tables are of a later version.
    pub(in crate::ledger) async fn open(
        url: &str,
        lease: Duration,
        replica: Arc<str>,
    ) -> Result<Postgres, StoreError> {
        let refuse = |problem: String| StoreError::Failed(problem);
        let mut config: Config = url
            .parse()
            .map_err(|error| refuse(format!("the URL is no PostgreSQL URL: {error}")))?;
        // The system counts keepalives in whole seconds.
        let tick = (lease / 3).max(Duration::from_secs(1));
        config
            .application_name("delivery-exporter")
            .connect_timeout(tick)
            .keepalives_idle(tick)
            .keepalives_interval(tick)
            .keepalives_retries(2)
            .tcp_user_timeout(lease);
        let local = config.get_hosts().iter().all(|host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
        });
        let encrypted = match config.get_ssl_mode() {
            SslMode::Disable => false,
            // As it is by default: over loopback nobody listens.
            SslMode::Prefer => !local,
            _ => true,
        };
        let tls = if encrypted {
            let _ = rustls::crypto::ring::default_provider().install_default();
            config.ssl_mode(SslMode::Require);
            let (tls, _) = MakeRustlsConnect::with_native_certs().map_err(|errors| {
                refuse(format!(
                    "the system's certificates cannot be read: {errors:?}"
                ))
            })?;
            Some(tls)
        } else {
            config.ssl_mode(SslMode::Disable);
            None
        };
        let hosts: Vec<_> = config
            .get_hosts()
            .iter()
            .map(|host| match host {
                Host::Unix(path) => path.display().to_string(),
                Host::Tcp(name) => name.clone(),
            })
            .collect();
        let place = format!(
            "PostgreSQL at {}, database {}",
            hosts.join(","),
            config.get_dbname().unwrap_or("by the user's name")
        );
        let store = Postgres {
            config,
            tls,
            place,
            lease,
            process: format!("{:032x}", rand::random::<u128>()),
            replica,
            connections: (0..CONNECTIONS).map(|_| Mutex::default()).collect(),
            renewals: Mutex::default(),
            filters: RwLock::default(),
        };
        let mut client = store.renewals.lock().await;
        let ready = store.ready(&mut client).await?;
        store.migrate(ready).await?;
        drop(client);
        Ok(store)
    }

    fn failed(&self, error: &tokio_postgres::Error) -> StoreError {
        let detail = match error.as_db_error() {
            Some(own) => format!("{} ({})", shown(own.message()), own.code().code()),
            None => {
                let mut text = error.to_string();
                let mut source = std::error::Error::source(error);
                while let Some(cause) = source {
                    text.push_str(&format!(": {cause}"));
                    source = cause.source();
                }
                text
            }
        };
        StoreError::Failed(format!("{}: {detail}", self.place))
    }

    fn late(&self) -> StoreError {
        StoreError::Failed(format!("{}: no answer in time", self.place))
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let client = match &self.tls {
            Some(tls) => {
                let (client, connection) = self.config.connect(tls.clone()).await?;
                tokio::spawn(connection.map(drop));
                client
            }
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection.map(drop));
                client
            }
        };
        // A replica that hangs inside a transaction must not hold the account's row for longer
        // than its lease.
        let limit = (self.lease / 3).as_millis();
        client
            .batch_execute(&format!(
                "SET idle_in_transaction_session_timeout = {limit};
                 SET lock_timeout = {};
                 SET synchronous_commit = on;
                 SET default_transaction_isolation = 'read committed'",
                self.lease.as_millis() * 2
            ))
            .await?;
        Ok(client)
    }

    /// The connection, made anew if it has ended.
    async fn ready<'c>(
        &self,
        slot: &'c mut MutexGuard<'_, Option<Client>>,
    ) -> Result<&'c mut Client, StoreError> {
        if slot.as_ref().is_none_or(Client::is_closed) {
            let connected = tokio::time::timeout(self.lease, self.connect()).await;
            let client = connected
                .map_err(|_| self.late())?
                .map_err(|error| self.failed(&error))?;
            **slot = Some(client);
        }
        slot.as_mut().ok_or_else(|| self.late())
    }

    /// A connection that nobody uses, else the first that becomes free.
    async fn connection(&self) -> MutexGuard<'_, Option<Client>> {
        for slot in &self.connections {
            if let Ok(free) = slot.try_lock() {
                return free;
            }
        }
        let waiting = self.connections.iter().map(|slot| slot.lock().boxed());
        futures_util::future::select_all(waiting).await.0
    }

    /// Runs `work` on a connection; one that failed or hung is thrown away.
    async fn on<T>(
        &self,
        mut slot: MutexGuard<'_, Option<Client>>,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Client) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let client = self.ready(&mut slot).await?;
        match tokio::time::timeout(limit, work(client)).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Trouble::Fenced)) => Err(StoreError::Fenced),
            Ok(Err(Trouble::Row(problem))) => {
                Err(StoreError::Failed(format!("{}: {problem}", self.place)))
            }
            Ok(Err(Trouble::Database(error))) => {
                *slot = None;
                Err(self.failed(&error))
            }
            Err(_) => {
                *slot = None;
                Err(self.late())
            }
        }
    }

    async fn migrate(&self, client: &mut Client) -> Result<(), StoreError> {
        let failed = |error| self.failed(&error);
        let transaction = client.transaction().await.map_err(failed)?;
        transaction
            .execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])
            .await
            .map_err(failed)?;
        let there = transaction
            .query_one(
                "SELECT to_regclass('delivery_exporter.meta') IS NOT NULL, to_regnamespace('delivery_exporter') IS NOT NULL",
                &[],
            )
            .await
            .map_err(failed)?;
        if there.get(0) {
            let version: i32 = transaction
                .query_one("SELECT version FROM delivery_exporter.meta", &[])
                .await
                .map_err(failed)?
                .get(0);
            if version > SCHEMA {
                return Err(StoreError::Failed(format!(
                    "{}: the tables were made by a later version of delivery-exporter (version {version}, this one knows {SCHEMA}); use that version or a later one",
                    self.place
                )));
            }
            return Ok(());
        }
        if there.get(1) {
            return Err(StoreError::Failed(format!(
                "{}: the schema delivery_exporter is somebody else's: it has no table meta; use another database",
                self.place
            )));
        }
        transaction
            .batch_execute("CREATE SCHEMA delivery_exporter")
            .await
            .map_err(failed)?;
        transaction.batch_execute(TABLES).await.map_err(failed)?;
        transaction
            .execute("INSERT INTO delivery_exporter.meta VALUES ($1)", &[&SCHEMA])
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    async fn work(&self, client: &mut Client, ask: &Ask, work: Work) -> Result<(), Trouble> {
        let transaction = client.transaction().await?;
        let row = transaction
            .query_opt(
                "SELECT epoch FROM delivery_exporter.accounts WHERE account = $1 FOR UPDATE",
                &[&&*ask.account],
            )
            .await?;
        let epoch: Option<i64> = row.map(|row| row.get(0));
        if epoch.is_none() {
            // Its row is locked by having been made.
            transaction
                .execute(
                    "INSERT INTO delivery_exporter.accounts VALUES ($1, 0) ON CONFLICT DO NOTHING",
                    &[&&*ask.account],
                )
                .await?;
        }
        if ask.fence.is_some() && ask.fence != epoch {
            return Err(Trouble::Fenced);
        }
        let mut told = Told::default();
        if !ask.messages.is_empty() {
            let (applications, ids): (Vec<_>, Vec<_>) = ask
                .messages
                .iter()
                .map(|(application, id)| (text(application), text(id)))
                .unzip();
            let rows = transaction
                .query(
                    "SELECT application, id, state FROM delivery_exporter.messages
                     WHERE account = $1 AND (application, id) IN (SELECT * FROM unnest($2::text[], $3::text[]))",
                    &[&&*ask.account, &applications, &ids],
                )
                .await?;
            let mut states: HashMap<(String, String), Vec<u8>> = rows
                .iter()
                .map(|row| ((row.get(0), row.get(1)), row.get(2)))
                .collect();
            for (id, stored) in ask.messages.iter().zip(applications.into_iter().zip(ids)) {
                if let Some(state) = states.remove(&stored) {
                    told.messages.insert(id.clone(), state);
                }
            }
        }
        if !ask.digests.is_empty() {
            self.recall(&transaction, &ask.digests, &mut told).await?;
        }
        if ask.inbox {
            let rows = transaction
                .query(
                    "SELECT id, key, amount FROM delivery_exporter.inbox WHERE account = $1 ORDER BY id",
                    &[&&*ask.account],
                )
                .await?;
            for row in rows {
                told.inbox
                    .push((row.get(0), row.get(1), amount(row.get(2))?));
            }
        }
        let batch = work(told);
        if batch.is_empty() {
            transaction.rollback().await?;
            return Ok(());
        }
        apply::apply(&transaction, ask, &batch).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn cycle(
        &self,
        client: &mut Client,
        accounts: &[Arc<str>],
        held: &[(Arc<str>, i64)],
        joins: bool,
    ) -> Result<Renewal, Trouble> {
        let lease = self.lease.as_secs_f64();
        let names: Vec<&str> = held.iter().map(|(account, _)| account.as_ref()).collect();
        let epochs: Vec<i64> = held.iter().map(|(_, epoch)| *epoch).collect();
        let renewed = client
            .query(
                "UPDATE delivery_exporter.leases AS own
                 SET expires_at = clock_timestamp() + make_interval(secs => $4)
                 FROM unnest($1::text[], $2::bigint[]) AS wanted (account, epoch)
                 WHERE own.account = wanted.account AND own.epoch = wanted.epoch AND own.process = $3
                 RETURNING own.account, own.epoch",
                &[&names, &epochs, &self.process, &lease],
            )
            .await?;
        let held: Vec<(Arc<str>, i64)> = renewed
            .iter()
            .map(|row| (Arc::from(row.get::<_, &str>(0)), row.get(1)))
            .collect();
        if joins {
            client
                .execute(
                    "INSERT INTO delivery_exporter.processes VALUES ($1, $2, clock_timestamp())
                     ON CONFLICT (process) DO UPDATE SET seen_at = clock_timestamp()",
                    &[&self.process, &&*self.replica],
                )
                .await?;
        }
        let living: i64 = client
            .query_one(
                "SELECT count(*) FROM delivery_exporter.processes
                 WHERE seen_at > clock_timestamp() - make_interval(secs => $1)",
                &[&lease],
            )
            .await?
            .get(0);
        let living = usize::try_from(living).unwrap_or(1).max(1);
        let names: Vec<&str> = accounts.iter().map(AsRef::as_ref).collect();
        let others = client
            .query(
                "SELECT account, extract(epoch FROM expires_at - clock_timestamp())::float8
                 FROM delivery_exporter.leases WHERE account = ANY($1) AND process <> $2",
                &[&names, &self.process],
            )
            .await?;
        let others: HashMap<&str, f64> =
            others.iter().map(|row| (row.get(0), row.get(1))).collect();
        let free = |account: &&Arc<str>| {
            !held.iter().any(|(own, _)| own == *account)
                && others.get(account.as_ref()).is_none_or(|left| *left <= 0.0)
        };
        let next = others.values().copied().filter(|left| *left > 0.0);
        Ok(Renewal {
            free: accounts.iter().filter(free).cloned().collect(),
            share: accounts.len().div_ceil(living),
            next_expiry: next.min_by(f64::total_cmp).map(Duration::from_secs_f64),
            held,
        })
    }

    /// Takes an account whose lease is over, or that never had one.
    async fn take(&self, client: &mut Client, account: &str) -> Result<Option<i64>, Trouble> {
        let lease = self.lease.as_secs_f64();
        let transaction = client.transaction().await?;
        // The one before may be in the middle of a transaction: it ends, or is ended, first.
        let epoch: i64 = transaction
            .query_one(
                "INSERT INTO delivery_exporter.accounts VALUES ($1, 1)
                 ON CONFLICT (account) DO UPDATE SET epoch = delivery_exporter.accounts.epoch + 1
                 RETURNING epoch",
                &[&account],
            )
            .await?
            .get(0);
        let taken = transaction
            .execute(
                "INSERT INTO delivery_exporter.leases
                 VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
                 ON CONFLICT (account) DO UPDATE
                 SET process = $2, replica = $3, epoch = $4,
                     expires_at = clock_timestamp() + make_interval(secs => $5)
                 WHERE delivery_exporter.leases.expires_at <= clock_timestamp()",
                &[&account, &self.process, &&*self.replica, &epoch, &lease],
            )
            .await?;
        if taken == 0 {
            // Somebody was faster.
            transaction.rollback().await?;
            return Ok(None);
        }
        transaction.commit().await?;
        Ok(Some(epoch))
    }
}

/// Why work on a connection ended.
enum Trouble {
    Fenced,
    /// A row that this version cannot read.
    Row(String),
    Database(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Trouble {
        Trouble::Database(error)
    }
}

fn amount(text: &str) -> Result<Amount, Trouble> {
    Amount::parse(text).ok_or_else(|| Trouble::Row(format!("{text:?} is no amount")))
}

/// Who has not been seen for long starts at 0 when it comes back.
async fn forget_replicas(transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
    transaction
        .execute(
            "DELETE FROM delivery_exporter.releases WHERE replica IN (
                SELECT replica FROM delivery_exporter.processes
                GROUP BY replica HAVING max(seen_at) < clock_timestamp() - make_interval(days => $1))",
            &[&REPLICA_DAYS],
        )
        .await?;
    transaction
        .execute(
            "DELETE FROM delivery_exporter.processes WHERE seen_at < clock_timestamp() - make_interval(days => $1)",
            &[&REPLICA_DAYS],
        )
        .await?;
    Ok(())
}

impl Store for Postgres {
    fn shared(&self) -> bool {
        true
    }

    fn renew(
        &self,
        accounts: Vec<Arc<str>>,
        held: Vec<(Arc<str>, i64)>,
        joins: bool,
    ) -> BoxFuture<'_, Result<Renewal, StoreError>> {
        async move {
            let slot = self.renewals.lock().await;
            let work =
                async |client: &mut Client| self.cycle(client, &accounts, &held, joins).await;
            self.on(slot, self.lease / 3, work).await
        }
        .boxed()
    }

    fn acquire(&self, account: &Arc<str>) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        let account = text(account);
        async move {
            // Not the connection of the renewals: this may wait for another replica's transaction.
            let slot = self.connection().await;
            let work = async |client: &mut Client| self.take(client, &account).await;
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn give_back(&self, held: Vec<(Arc<str>, i64)>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let slot = self.renewals.lock().await;
            let names: Vec<&str> = held.iter().map(|(account, _)| account.as_ref()).collect();
            let work = async |client: &mut Client| {
                let statement = "UPDATE delivery_exporter.leases SET expires_at = clock_timestamp()
                     WHERE account = ANY($1) AND process = $2";
                client.execute(statement, &[&names, &self.process]).await?;
                Ok(())
            };
            self.on(slot, self.lease / 3, work).await
        }
        .boxed()
    }

    fn leave(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let slot = self.renewals.lock().await;
            let work = async |client: &mut Client| {
                // The replica is known for 30 days; the process is not alive.
                let statement = "UPDATE delivery_exporter.processes
                     SET seen_at = least(seen_at, clock_timestamp() - make_interval(secs => $2))
                     WHERE process = $1";
                let lease = self.lease.as_secs_f64();
                client.execute(statement, &[&self.process, &lease]).await?;
                Ok(())
            };
            self.on(slot, self.lease / 3, work).await
        }
        .boxed()
    }

    fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> BoxFuture<'_, Result<AccountRows, StoreError>> {
        let (account, replica) = (text(account), text(replica));
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let mut found = AccountRows::default();
                // A transaction whose caller has gone may still be on its way: it has the row.
                let transaction = client.transaction().await?;
                transaction
                    .execute(
                        "SELECT 1 FROM delivery_exporter.accounts WHERE account = $1 FOR SHARE",
                        &[&account],
                    )
                    .await?;
                let counters = transaction
                    .query(
                        "SELECT key, total, pending, changed_at FROM delivery_exporter.counters WHERE account = $1",
                        &[&account],
                    )
                    .await?;
                for row in counters {
                    found.counters.push(CounterRow {
                        key: row.get(0),
                        total: amount(row.get(1))?,
                        pending: amount(row.get(2))?,
                        changed_at: row.get(3),
                    });
                }
                let releases = transaction
                    .query(
                        "SELECT key, shown, born_at FROM delivery_exporter.releases WHERE account = $1 AND replica = $2",
                        &[&account, &replica],
                    )
                    .await?;
                for row in releases {
                    found.releases.push(ReleaseRow {
                        key: row.get(0),
                        shown: amount(row.get(1))?,
                        born_at: row.get(2),
                    });
                }
                for (table, own) in [("births", &mut found.births), ("cursors", &mut found.cursors)] {
                    let rows = transaction
                        .query(
                            &format!("SELECT application, dataset, at FROM delivery_exporter.{table} WHERE account = $1"),
                            &[&account],
                        )
                        .await?;
                    for row in rows {
                        own.push((Arc::from(row.get::<_, &str>(0)), row.get(1), row.get(2)));
                    }
                }
                let names = transaction
                    .query(
                        "SELECT label, value FROM delivery_exporter.names WHERE account = $1",
                        &[&account],
                    )
                    .await?;
                for row in names {
                    let (label, value): (&str, &str) = (row.get(0), row.get(1));
                    found.names.push((Arc::from(label), Arc::from(value)));
                }
                Ok(found)
            };
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn transact(&self, ask: Ask, work: Work) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let slot = self.connection().await;
            let limit = self.lease * 2;
            let run = async |client: &mut Client| self.work(client, &ask, work).await;
            self.on(slot, limit, run).await
        }
        .boxed()
    }

    fn states(&self, account: &Arc<str>) -> BoxFuture<'_, Result<Vec<StateRow>, StoreError>> {
        let account = text(account);
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let rows = client
                    .query(
                        "SELECT application, id, state FROM delivery_exporter.messages WHERE account = $1",
                        &[&account],
                    )
                    .await?;
                let state = |row: &tokio_postgres::Row| {
                    let (application, id): (&str, &str) = (row.get(0), row.get(1));
                    ((Arc::from(application), Arc::from(id)), row.get(2))
                };
                Ok(rows.iter().map(state).collect())
            };
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn old_messages(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> BoxFuture<'_, Result<Vec<MessageId>, StoreError>> {
        let account = text(account);
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let rows = client
                    .query(
                        "SELECT application, id FROM delivery_exporter.messages WHERE account = $1 AND since < $2",
                        &[&account, &before],
                    )
                    .await?;
                let id = |row: &tokio_postgres::Row| {
                    let (application, id): (&str, &str) = (row.get(0), row.get(1));
                    (Arc::from(application), Arc::from(id))
                };
                Ok(rows.iter().map(id).collect())
            };
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn register(&self, rows: Vec<RegisteredRow>) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let slot = self.connection().await;
            let column = |of: fn(&RegisteredRow) -> &str| -> Vec<String> {
                rows.iter().map(|row| text(of(row))).collect()
            };
            let accounts = column(|row| &row.account);
            let applications = column(|row| &row.id.0);
            let ids = column(|row| &row.id.1);
            let campaigns: Vec<Option<String>> =
                rows.iter().map(|row| row.campaign.as_deref().map(text)).collect();
            let times: Vec<i64> = rows.iter().map(|row| row.sent_at).collect();
            let work = async |client: &mut Client| {
                let transaction = client.transaction().await?;
                // Whoever reads by sequence must not see a later number before an earlier one.
                transaction
                    .execute("SELECT pg_advisory_xact_lock($1)", &[&REGISTRATION_LOCK])
                    .await?;
                transaction
                    .execute(
                        "INSERT INTO delivery_exporter.registered AS own
                         SELECT nextval('delivery_exporter.registrations'), * FROM (
                            SELECT DISTINCT ON (a, p, i) a, p, i, c, t
                            FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[]) AS new (a, p, i, c, t)
                         ) AS new
                         ON CONFLICT (account, application, id) DO UPDATE
                         SET campaign = excluded.campaign, sequence = excluded.sequence
                         WHERE own.campaign IS NULL AND excluded.campaign IS NOT NULL",
                        &[&accounts, &applications, &ids, &campaigns, &times],
                    )
                    .await?;
                transaction.commit().await?;
                Ok(())
            };
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn registered(
        &self,
        account: &Arc<str>,
        after: i64,
    ) -> BoxFuture<'_, Result<Vec<RegisteredRow>, StoreError>> {
        let account = account.clone();
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let rows = client
                    .query(
                        "SELECT application, id, campaign, sent_at, sequence FROM delivery_exporter.registered
                         WHERE account = $1 AND sequence > $2 ORDER BY sequence",
                        &[&text(&account), &after],
                    )
                    .await?;
                let read = |row: &tokio_postgres::Row| {
                    let (application, id): (&str, &str) = (row.get(0), row.get(1));
                    RegisteredRow {
                        account: account.clone(),
                        id: (Arc::from(application), Arc::from(id)),
                        campaign: row.get::<_, Option<&str>>(2).map(Arc::from),
                        sent_at: row.get(3),
                        sequence: row.get(4),
                    }
                };
                Ok(rows.iter().map(read).collect())
            };
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn unregister(&self, account: &Arc<str>, before: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        let account = text(account);
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let statement =
                    "DELETE FROM delivery_exporter.registered WHERE account = $1 AND sent_at < $2";
                client.execute(statement, &[&account, &before]).await?;
                Ok(())
            };
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn size(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let row = client
                    .query_one(
                        "SELECT coalesce(sum(pg_total_relation_size(own.oid)), 0)::bigint FROM pg_class AS own
                         JOIN pg_namespace AS space ON space.oid = own.relnamespace
                         WHERE space.nspname = 'delivery_exporter' AND own.relkind = 'r'",
                        &[],
                    )
                    .await?;
                Ok(row.get::<_, i64>(0).unsigned_abs())
            };
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    fn tend(&self, before: i64, now: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let transaction = client.transaction().await?;
                parts::tend(&transaction, before, now).await?;
                forget_replicas(&transaction).await?;
                transaction.commit().await?;
                Ok(())
            };
            self.on(slot, self.lease * 4, work).await
        }
        .boxed()
    }
}
