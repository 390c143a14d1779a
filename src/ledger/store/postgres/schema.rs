//! The tables, and their creation.

use tokio_postgres::Client;

use super::{Postgres, StoreError};

/// The version of the tables.
const SCHEMA: i32 = 1;
/// The advisory lock for creating the tables.
const MIGRATION_LOCK: i64 = 0x4445_4C56_0001;

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

impl Postgres {
    pub(super) async fn migrate(&self, client: &mut Client) -> Result<(), StoreError> {
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
                    "{}: the tables were created by a later version of delivery-exporter (version {version}, this one knows {SCHEMA}); use that version or a later one",
                    self.place
                )));
            }
            return Ok(());
        }
        if there.get(1) {
            return Err(StoreError::Failed(format!(
                "{}: the schema delivery_exporter belongs to another program (it has no table meta); use another database",
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
}

/// The statement that creates the table of one partition.
pub(in crate::ledger::store) fn part_table(name: &str) -> String {
    format!(
        "CREATE TABLE delivery_exporter.{name} (digest BYTEA PRIMARY KEY, memory BYTEA NOT NULL)"
    )
}
