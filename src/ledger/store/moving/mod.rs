//! Moves a ledger from one store to another, row by row, and either completely or not at all.

mod postgres;
mod sqlite;

use std::collections::BTreeMap;

use super::StoreError;
use crate::{ledger::amount::Amount, store_url::StoreUrl};

/// The maximum number of rows in memory.
const CHUNK_ROWS: usize = 2000;

/// The numbers of moved rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Rows, by table.
    pub rows: BTreeMap<String, u64>,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(Option<String>),
    Number(i64),
    Bytes(Option<Vec<u8>>),
}

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Bytes,
}

/// A table that exists in both stores, with the same columns in the same order.
#[derive(Clone, Debug)]
struct Table {
    name: String,
    columns: Vec<(&'static str, Kind)>,
    /// The number of leading columns that form the primary key.
    key: usize,
}

fn table(name: &str, key: usize, columns: &[(&'static str, Kind)]) -> Table {
    Table {
        name: name.to_owned(),
        columns: columns.to_vec(),
        key,
    }
}

impl Table {
    /// The names of all columns.
    fn names(&self) -> String {
        let names: Vec<&str> = self.columns.iter().map(|own| own.0).collect();
        names.join(", ")
    }

    /// The names of the key's columns.
    fn key_names(&self) -> String {
        let names: Vec<&str> = self.columns[..self.key].iter().map(|own| own.0).collect();
        names.join(", ")
    }
}

/// All tables except those for single partitions of deduplication data.
fn tables() -> Vec<Table> {
    use Kind::{Bytes, Number, Text};
    let account = ("account", Text);
    let application = ("application", Text);
    let dataset = ("dataset", Text);
    let of_dataset = [account, application, dataset, ("at", Number)];
    vec![
        table("births", 3, &of_dataset),
        table("cursors", 3, &of_dataset),
        table("names", 3, &[account, ("label", Text), ("value", Text)]),
        table(
            "counters",
            2,
            &[
                account,
                ("key", Text),
                ("total", Text),
                ("pending", Text),
                ("changed_at", Number),
            ],
        ),
        table(
            "releases",
            3,
            &[
                account,
                ("replica", Text),
                ("key", Text),
                ("shown", Text),
                ("born_at", Number),
            ],
        ),
        table(
            "messages",
            3,
            &[
                account,
                application,
                ("id", Text),
                ("state", Bytes),
                ("since", Number),
            ],
        ),
        table(
            "registered",
            1,
            &[
                ("sequence", Number),
                account,
                application,
                ("id", Text),
                ("campaign", Text),
                ("sent_at", Number),
            ],
        ),
        table(
            "parts",
            1,
            &[
                ("id", Number),
                ("opened_at", Number),
                ("touched_at", Number),
                ("filter", Bytes),
            ],
        ),
    ]
}

/// The table of one partition of deduplication data.
fn part(id: i64) -> Table {
    table(
        &format!("seen_{id}"),
        1,
        &[("digest", Kind::Bytes), ("memory", Kind::Bytes)],
    )
}

/// What replicas have counted for the holder of an account, and what is not yet in the account's counters:
/// account, key, amount.
type Inbox = Vec<(String, String, Amount)>;

/// The source of rows.
enum Source {
    Sqlite(sqlite::Source),
    Postgres(Box<postgres::Source>),
}

impl Source {
    async fn part_ids(&mut self) -> Result<Vec<i64>, StoreError> {
        match self {
            Source::Sqlite(own) => own.part_ids(),
            Source::Postgres(own) => own.part_ids().await,
        }
    }

    async fn inbox(&mut self) -> Result<Inbox, StoreError> {
        match self {
            Source::Sqlite(_) => Ok(Vec::new()),
            Source::Postgres(own) => own.inbox().await,
        }
    }

    /// The rows of a table after one with a key, in the order of the key, at most [`CHUNK_ROWS`].
    async fn rows(
        &mut self,
        table: &Table,
        after: Option<&[Value]>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        match self {
            Source::Sqlite(own) => own.rows(table, after),
            Source::Postgres(own) => own.rows(table, after).await,
        }
    }
}

/// The target of rows.
enum Target {
    Sqlite(sqlite::Target),
    Postgres(Box<postgres::Target>),
}

impl Target {
    async fn make_part(&mut self, table: &Table) -> Result<(), StoreError> {
        match self {
            Target::Sqlite(own) => own.make_part(table),
            Target::Postgres(own) => own.make_part(table).await,
        }
    }

    async fn write(&mut self, table: &Table, rows: Vec<Vec<Value>>) -> Result<(), StoreError> {
        match self {
            Target::Sqlite(own) => own.write(table, &rows),
            Target::Postgres(own) => own.write(table, rows).await,
        }
    }

    /// Adds what no holder has taken over yet to the counters, so that it is released like the rest.
    async fn add(&mut self, inbox: Inbox) -> Result<(), StoreError> {
        match self {
            Target::Sqlite(own) => own.add(inbox),
            Target::Postgres(_) => Ok(()),
        }
    }

    async fn finish(self) -> Result<(), StoreError> {
        match self {
            Target::Sqlite(own) => own.finish(),
            Target::Postgres(own) => own.finish().await,
        }
    }
}

/// Moves a ledger to another, empty store, and reports the number of moved rows after each step. The target
/// receives everything or nothing; the source is not changed. The spool is not part of the ledger.
///
/// # Errors
///
/// An exporter uses one of them, the target is not empty, both are of the same kind, or one of them
/// cannot be read or written.
pub async fn migrate(
    from: &StoreUrl,
    to: &StoreUrl,
    mut progress: impl FnMut(u64),
) -> Result<Moved, StoreError> {
    let same = |what: &str| Err(StoreError::Failed(what.to_owned()));
    let mut source = match (from, to) {
        (StoreUrl::Sqlite(_), StoreUrl::Sqlite(_)) => {
            return same("both are SQLite: copy the ledger with backup");
        }
        (StoreUrl::Postgres(_), StoreUrl::Postgres(_)) => {
            return same("both are PostgreSQL: use pg_dump and psql");
        }
        (StoreUrl::Sqlite(path), _) => Source::Sqlite(sqlite::Source::open(path)?),
        (StoreUrl::Postgres(url), _) => {
            Source::Postgres(Box::new(postgres::Source::open(url.expose()).await?))
        }
    };
    let mut target = match to {
        StoreUrl::Sqlite(path) => Target::Sqlite(sqlite::Target::open(path)?),
        StoreUrl::Postgres(url) => {
            Target::Postgres(Box::new(postgres::Target::open(url.expose()).await?))
        }
    };
    let mut moved = Moved::default();
    let mut all = tables();
    for id in source.part_ids().await? {
        let table = part(id);
        target.make_part(&table).await?;
        all.push(table);
    }
    for table in &all {
        let mut count = 0;
        let mut last: Option<Vec<Value>> = None;
        loop {
            let rows = source.rows(table, last.as_deref()).await?;
            let read = rows.len();
            if let Some(row) = rows.last() {
                last = Some(row[..table.key].to_vec());
                target.write(table, rows).await?;
            }
            count += read as u64;
            progress(read as u64);
            if read < CHUNK_ROWS {
                break;
            }
        }
        moved.rows.insert(table.name.clone(), count);
    }
    let inbox = source.inbox().await?;
    target.add(inbox).await?;
    target.finish().await?;
    Ok(moved)
}
