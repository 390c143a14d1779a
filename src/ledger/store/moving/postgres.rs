//! The PostgreSQL side of a move.

use std::{sync::Arc, time::Duration};

use tokio_postgres::{Client, Row, types::ToSql};

use super::{CHUNK_ROWS, Inbox, Kind, Table, Value};
use crate::ledger::{
    amount::Amount,
    store::{
        StoreError,
        postgres::{Postgres, part_table, text},
    },
};

/// How long the database may take to connect.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tables that are empty in an unused ledger.
const USED: [&str; 7] = [
    "births",
    "counters",
    "releases",
    "messages",
    "registered",
    "names",
    "inbox",
];

/// A connection with a transaction that has exclusive use of the ledger.
struct Session {
    store: Postgres,
    client: Client,
}

impl Session {
    async fn open(url: &str) -> Result<Session, StoreError> {
        let store = Postgres::open(url, PATIENCE, Arc::from("migrate")).await?;
        let client = store.client().await?;
        let session = Session { store, client };
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let holders = session
            .one("SELECT count(*) FROM delivery_exporter.leases WHERE expires_at > clock_timestamp()")
            .await?;
        if holders > 0 {
            return Err(session.store.problem(
                "an exporter holds accounts in it; stop all replicas, and wait until their leases have expired",
            ));
        }
        Ok(session)
    }

    async fn run(&self, statements: &str) -> Result<(), StoreError> {
        let done = self.client.batch_execute(statements).await;
        done.map_err(|error| self.store.failed(&error))
    }

    async fn one(&self, query: &str) -> Result<i64, StoreError> {
        let row = self.client.query_one(query, &[]).await;
        row.map(|row| row.get(0))
            .map_err(|error| self.store.failed(&error))
    }
}

/// The source ledger.
pub(super) struct Source(Session);

impl Source {
    pub(super) async fn open(url: &str) -> Result<Source, StoreError> {
        Session::open(url).await.map(Source)
    }

    async fn query(
        &self,
        query: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let rows = self.0.client.query(query, parameters).await;
        rows.map_err(|error| self.0.store.failed(&error))
    }

    pub(super) async fn part_ids(&self) -> Result<Vec<i64>, StoreError> {
        let query = "SELECT id FROM delivery_exporter.parts ORDER BY id";
        let rows = self.query(query, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(super) async fn rows(
        &self,
        table: &Table,
        after: Option<&[Value]>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let (names, key) = (table.names(), table.key_names());
        let places: Vec<String> = (1..=table.key).map(|own| format!("${own}")).collect();
        let beyond = match after {
            Some(_) => format!("WHERE ({key}) > ({})", places.join(", ")),
            None => String::new(),
        };
        let query = format!(
            "SELECT {names} FROM delivery_exporter.{} {beyond} ORDER BY {key} LIMIT {CHUNK_ROWS}",
            table.name
        );
        let parameters: Vec<&(dyn ToSql + Sync)> =
            after.unwrap_or_default().iter().map(parameter).collect();
        let rows = self.query(&query, &parameters).await?;
        Ok(rows.iter().map(|row| values(row, table)).collect())
    }

    pub(super) async fn inbox(&self) -> Result<Inbox, StoreError> {
        let query = "SELECT account, key, amount FROM delivery_exporter.inbox ORDER BY id";
        let rows = self.query(query, &[]).await?;
        let of_row = |row: &Row| {
            let amount = Amount::parse(row.get(2));
            let amount = amount.ok_or_else(|| self.0.store.problem("the inbox has no amount"))?;
            Ok((row.get(0), row.get(1), amount))
        };
        rows.iter().map(of_row).collect()
    }
}

fn parameter(value: &Value) -> &(dyn ToSql + Sync) {
    match value {
        Value::Text(text) => text,
        Value::Number(number) => number,
        Value::Bytes(bytes) => bytes,
    }
}

fn values(row: &Row, table: &Table) -> Vec<Value> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (_, kind))| match kind {
            Kind::Text => Value::Text(row.get(at)),
            Kind::Number => Value::Number(row.get(at)),
            Kind::Bytes => Value::Bytes(row.get(at)),
        })
        .collect()
}

/// The target ledger.
pub(super) struct Target(Session);

impl Target {
    pub(super) async fn open(url: &str) -> Result<Target, StoreError> {
        let session = Session::open(url).await?;
        for table in USED {
            let rows = format!("SELECT count(*) FROM delivery_exporter.{table}");
            if session.one(&rows).await? > 0 {
                return Err(session.store.problem(
                    "it already contains a ledger; use an empty database, or drop the schema delivery_exporter",
                ));
            }
        }
        // An exporter that was started with an empty ledger has created a partition.
        let parts = session
            .client
            .query("SELECT id FROM delivery_exporter.parts", &[])
            .await
            .map_err(|error| session.store.failed(&error))?;
        for row in parts {
            let id: i64 = row.get(0);
            session
                .run(&format!("DROP TABLE delivery_exporter.seen_{id}"))
                .await?;
        }
        session.run("DELETE FROM delivery_exporter.parts").await?;
        Ok(Target(session))
    }

    pub(super) async fn make_part(&self, table: &Table) -> Result<(), StoreError> {
        self.0.run(&part_table(&table.name)).await
    }

    /// Writes rows with one statement: a list for each column.
    pub(super) async fn write(
        &self,
        table: &Table,
        rows: Vec<Vec<Value>>,
    ) -> Result<(), StoreError> {
        let mut lists: Vec<List> = table.columns.iter().map(|own| List::of(own.1)).collect();
        for row in rows {
            for (list, value) in lists.iter_mut().zip(row) {
                list.push(value);
            }
        }
        let places: Vec<String> = lists
            .iter()
            .enumerate()
            .map(|(at, list)| format!("${}::{}[]", at + 1, list.name()))
            .collect();
        let statement = format!(
            "INSERT INTO delivery_exporter.{} ({}) SELECT * FROM unnest({})",
            table.name,
            table.names(),
            places.join(", ")
        );
        let parameters: Vec<&(dyn ToSql + Sync)> = lists.iter().map(List::parameter).collect();
        let written = self.0.client.execute(&statement, &parameters).await;
        written
            .map(|_| ())
            .map_err(|error| self.0.store.failed(&error))
    }

    pub(super) async fn finish(self) -> Result<(), StoreError> {
        // The next registration must get a higher number than the moved ones.
        self.0
            .run(
                "SELECT setval('delivery_exporter.registrations',
                     (SELECT coalesce(max(sequence), 0) + 1 FROM delivery_exporter.registered), false);
                 COMMIT",
            )
            .await
    }
}

/// The values of one column.
enum List {
    Text(Vec<Option<String>>),
    Number(Vec<i64>),
    Bytes(Vec<Option<Vec<u8>>>),
}

impl List {
    fn of(kind: Kind) -> List {
        match kind {
            Kind::Text => List::Text(Vec::new()),
            Kind::Number => List::Number(Vec::new()),
            Kind::Bytes => List::Bytes(Vec::new()),
        }
    }

    fn push(&mut self, value: Value) {
        match (self, value) {
            (List::Text(own), Value::Text(value)) => own.push(value.map(|own| text(&own))),
            (List::Number(own), Value::Number(value)) => own.push(value),
            (List::Bytes(own), Value::Bytes(value)) => own.push(value),
            _ => debug_assert!(false, "a value is of its column's type"),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            List::Text(_) => "text",
            List::Number(_) => "bigint",
            List::Bytes(_) => "bytea",
        }
    }

    fn parameter(&self) -> &(dyn ToSql + Sync) {
        match self {
            List::Text(own) => own,
            List::Number(own) => own,
            List::Bytes(own) => own,
        }
    }
}
