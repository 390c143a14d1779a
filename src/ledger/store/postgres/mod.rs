//! The shared store: PostgreSQL, for several replicas.
//!
//! Each transaction on an account first locks the account's row and compares its epoch, which every takeover
//! increments. So a replica that was paused for longer than its lease changes nothing when it resumes.
//! Renewing a lease updates another row, so that it never waits for a long transaction.

mod apply;
mod connection;
mod leases;
mod parts;
mod schema;

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    AccountRows, CounterRow, MessageId, ReadRows, ReadSet, RegisteredRow, ReleaseRow, Renewal,
    StateRow, StoreError, WriteSet, filter::Filter,
};
use crate::ledger::amount::Amount;
use connection::Trouble;
use leases::forget_replicas;
pub(in crate::ledger::store) use schema::part_table;

/// The advisory lock for registrations.
const REGISTRATION_LOCK: i64 = 0x4445_4C56_0003;

/// The store.
pub struct Postgres {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// The name of the database in error texts, without the password.
    place: String,
    lease: Duration,
    /// The id of this process: a lease belongs to a process, not to a replica's name.
    process: String,
    replica: Arc<str>,
    connections: Vec<Mutex<Option<Client>>>,
    renewals: Mutex<Option<Client>>,
    /// Filters of closed parts: a closed part never changes.
    filters: RwLock<HashMap<i64, Arc<Filter>>>,
}

/// A text without characters that the database refuses.
pub(in crate::ledger::store) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

impl Postgres {
    async fn execute<R>(
        &self,
        client: &mut Client,
        ask: &ReadSet,
        decide: impl FnOnce(ReadRows) -> (WriteSet, R),
    ) -> Result<R, Trouble> {
        let transaction = client.transaction().await?;
        let row = transaction
            .query_opt(
                "SELECT epoch FROM delivery_exporter.accounts WHERE account = $1 FOR UPDATE",
                &[&&*ask.account],
            )
            .await?;
        let epoch: Option<i64> = row.map(|row| row.get(0));
        if epoch.is_none() {
            // Inserting the row also locks it.
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
        let mut told = ReadRows::default();
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
        let (writes, result) = decide(told);
        if writes.is_empty() {
            transaction.rollback().await?;
        } else {
            apply::apply(&transaction, ask, &writes).await?;
            transaction.commit().await?;
        }
        Ok(result)
    }
}

fn amount(text: &str) -> Result<Amount, Trouble> {
    Amount::parse(text).ok_or_else(|| Trouble::Row(format!("{text:?} is not an amount")))
}

/// The methods are documented at [`super::Store`].
impl Postgres {
    pub(in crate::ledger) fn renew(
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

    pub(in crate::ledger) fn acquire(
        &self,
        account: &Arc<str>,
    ) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        let account = text(account);
        async move {
            // Not the connection for renewals, because this may wait for another replica's transaction.
            let slot = self.connection().await;
            let work = async |client: &mut Client| self.take(client, &account).await;
            self.on(slot, self.lease, work).await
        }
        .boxed()
    }

    pub(in crate::ledger) fn give_back(
        &self,
        held: Vec<(Arc<str>, i64)>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
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

    pub(in crate::ledger) fn leave(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let slot = self.renewals.lock().await;
            let work = async |client: &mut Client| {
                // The replica stays known for 30 days, but the process no longer counts as alive.
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

    pub(in crate::ledger) fn account(
        &self,
        account: &Arc<str>,
        replica: &Arc<str>,
    ) -> BoxFuture<'_, Result<AccountRows, StoreError>> {
        let (account, replica) = (text(account), text(replica));
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let mut found = AccountRows::default();
                // The transaction of a cancelled caller may still be running, and then it has locked the row.
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

    pub(in crate::ledger) fn transact<'a, R: Send + 'a>(
        &'a self,
        reads: ReadSet,
        decide: impl FnOnce(ReadRows) -> (WriteSet, R) + Send + 'a,
    ) -> BoxFuture<'a, Result<R, StoreError>> {
        async move {
            let slot = self.connection().await;
            let limit = self.lease * 2;
            let run = async |client: &mut Client| self.execute(client, &reads, decide).await;
            self.on(slot, limit, run).await
        }
        .boxed()
    }

    pub(in crate::ledger) fn states(
        &self,
        account: &Arc<str>,
    ) -> BoxFuture<'_, Result<Vec<StateRow>, StoreError>> {
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

    pub(in crate::ledger) fn old_messages(
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

    pub(in crate::ledger) fn register(
        &self,
        rows: Vec<RegisteredRow>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
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
                // Readers by sequence must never see a later number before an earlier one.
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

    pub(in crate::ledger) fn registered(
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

    pub(in crate::ledger) fn unregister(
        &self,
        account: &Arc<str>,
        before: i64,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
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

    pub(in crate::ledger) fn size(&self) -> BoxFuture<'_, Result<u64, StoreError>> {
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

    pub(in crate::ledger) fn maintain(
        &self,
        before: i64,
        now: i64,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        async move {
            let slot = self.connection().await;
            let work = async |client: &mut Client| {
                let transaction = client.transaction().await?;
                parts::maintain(&transaction, before, now).await?;
                forget_replicas(&transaction).await?;
                transaction.commit().await?;
                Ok(())
            };
            self.on(slot, self.lease * 4, work).await
        }
        .boxed()
    }
}
