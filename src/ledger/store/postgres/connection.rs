//! Connections: opening them, choosing a free one, and replacing failed ones.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::{Client, Config, NoTls, config::Host, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Postgres, StoreError};
use crate::{redact::shown, tls};

/// The number of connections for transactions; renewals have a separate one.
const CONNECTIONS: usize = 4;

/// Advice for a refused server certificate.
const TLS_ADVICE: &str = "; the certificate must match the URL's host, and its authority must be trusted by this machine \
    (SSL_CERT_FILE names others); sslmode=disable does without TLS";

/// Whether an error is a TLS error, or an I/O error caused by one.
fn is_of_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|own| own.is::<rustls::Error>())
}

/// Why an operation on a connection failed.
pub(super) enum Trouble {
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

impl Postgres {
    /// Checks the database, and creates the tables if they do not exist.
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
            .map_err(|error| refuse(format!("not a PostgreSQL URL: {error}")))?;
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
            // The default mode: loopback connections cannot be intercepted.
            SslMode::Prefer => !local,
            _ => true,
        };
        let tls = if encrypted {
            tls::choose_cryptography();
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

    pub(in crate::ledger::store) fn failed(&self, error: &tokio_postgres::Error) -> StoreError {
        let detail = match error.as_db_error() {
            Some(own) => format!("{} ({})", shown(own.message()), own.code().code()),
            None => {
                let mut text = error.to_string();
                let (mut source, mut is_tls) = (std::error::Error::source(error), false);
                while let Some(cause) = source {
                    let cause_text = cause.to_string();
                    // The text of an I/O error already contains that of its cause.
                    if !text.ends_with(&cause_text) {
                        text.push_str(&format!(": {cause_text}"));
                    }
                    is_tls |= is_of_tls(cause);
                    source = cause.source();
                }
                if is_tls {
                    text.push_str(TLS_ADVICE);
                }
                text
            }
        };
        StoreError::Failed(format!("{}: {detail}", self.place))
    }

    /// An error of the database.
    pub(in crate::ledger::store) fn problem(&self, text: &str) -> StoreError {
        StoreError::Failed(format!("{}: {text}", self.place))
    }

    /// Opens a separate connection.
    pub(in crate::ledger::store) async fn client(&self) -> Result<Client, StoreError> {
        let connected = tokio::time::timeout(self.lease, self.connect()).await;
        connected
            .map_err(|_| self.late())?
            .map_err(|error| self.failed(&error))
    }

    pub(super) fn late(&self) -> StoreError {
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
        // A replica that hangs inside a transaction must not lock the account's row for longer than its
        // lease.
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

    /// The connection, reopened if it was closed.
    pub(super) async fn ready<'c>(
        &self,
        slot: &'c mut MutexGuard<'_, Option<Client>>,
    ) -> Result<&'c mut Client, StoreError> {
        if slot.as_ref().is_none_or(Client::is_closed) {
            **slot = Some(self.client().await?);
        }
        slot.as_mut().ok_or_else(|| self.late())
    }

    /// An unused connection, or else the first one that becomes free.
    pub(super) async fn connection(&self) -> MutexGuard<'_, Option<Client>> {
        for slot in &self.connections {
            if let Ok(free) = slot.try_lock() {
                return free;
            }
        }
        let waiting = self.connections.iter().map(|slot| slot.lock().boxed());
        futures_util::future::select_all(waiting).await.0
    }

    /// Runs `work` on a connection, and discards a connection that failed or hung.
    pub(super) async fn on<T>(
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
}
