//! The SQLite side of a move.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, Row, ToSql, params_from_iter, types::ToSqlOutput};

use super::{CHUNK_ROWS, Inbox, Kind, Table, Value};
use crate::{
    files::{create_private_directory, put_in_place, remove_if_there, with_suffix},
    ledger::{
        amount::Amount,
        store::{
            StoreError,
            sqlite::{UNFINISHED, create, failed, is_ledger, lock_file, part_table, refuse},
        },
    },
};

/// The source ledger, locked against writes.
pub(super) struct Source {
    connection: Connection,
    path: PathBuf,
    _lock: File,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Source, StoreError> {
        if !is_ledger(path)? {
            return Err(refuse(path, "does not exist"));
        }
        let lock =
            lock_file(path).map_err(|_| refuse(path, "an exporter uses it; stop it first"))?;
        let connection = Connection::open(path).map_err(failed(path))?;
        // A consistent snapshot; the lock excludes other writers.
        connection.execute_batch("BEGIN").map_err(failed(path))?;
        Ok(Source {
            connection,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub(super) fn part_ids(&self) -> Result<Vec<i64>, StoreError> {
        let read = || -> rusqlite::Result<Vec<i64>> {
            let mut statement = self
                .connection
                .prepare("SELECT id FROM parts ORDER BY id")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect()
        };
        read().map_err(failed(&self.path))
    }

    pub(super) fn rows(
        &self,
        table: &Table,
        after: Option<&[Value]>,
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        let (names, key) = (table.names(), table.key_names());
        let beyond = match after {
            Some(_) => format!("WHERE ({key}) > ({})", vec!["?"; table.key].join(", ")),
            None => String::new(),
        };
        let text = format!(
            "SELECT {names} FROM {} {beyond} ORDER BY {key} LIMIT {CHUNK_ROWS}",
            table.name
        );
        let read = || -> rusqlite::Result<Vec<Vec<Value>>> {
            let mut statement = self.connection.prepare_cached(&text)?;
            let after = params_from_iter(after.unwrap_or_default());
            let rows = statement.query_map(after, |row| values(row, table))?;
            rows.collect()
        };
        read().map_err(failed(&self.path))
    }
}

fn values(row: &Row<'_>, table: &Table) -> rusqlite::Result<Vec<Value>> {
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (_, kind))| {
            Ok(match kind {
                Kind::Text => Value::Text(row.get(at)?),
                Kind::Number => Value::Number(row.get(at)?),
                Kind::Bytes => Value::Bytes(row.get(at)?),
            })
        })
        .collect()
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Value::Text(text) => text.to_sql(),
            Value::Number(number) => number.to_sql(),
            Value::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

/// The target ledger, which is renamed to its final name once it is complete.
pub(super) struct Target {
    connection: Connection,
    path: PathBuf,
    unfinished: PathBuf,
}

impl Target {
    pub(super) fn open(path: &Path) -> Result<Target, StoreError> {
        if path.exists() {
            return Err(refuse(path, "already exists; name a new file"));
        }
        if let Some(directory) = path.parent().filter(|own| !own.as_os_str().is_empty()) {
            create_private_directory(directory)
                .map_err(|error| refuse(directory, &error.to_string()))?;
        }
        let unfinished = with_suffix(path, UNFINISHED);
        remove_if_there(&unfinished).map_err(|error| refuse(&unfinished, &error.to_string()))?;
        create(&unfinished)?;
        let connection = Connection::open(&unfinished).map_err(failed(&unfinished))?;
        connection
            .execute_batch("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
            .map_err(failed(&unfinished))?;
        Ok(Target {
            connection,
            path: path.to_owned(),
            unfinished,
        })
    }

    pub(super) fn make_part(&self, table: &Table) -> Result<(), StoreError> {
        self.connection
            .execute_batch(&part_table(&table.name))
            .map_err(failed(&self.unfinished))
    }

    pub(super) fn write(&self, table: &Table, rows: &[Vec<Value>]) -> Result<(), StoreError> {
        let places = vec!["?"; table.columns.len()].join(", ");
        let text = format!(
            "INSERT INTO {} ({}) VALUES ({places})",
            table.name,
            table.names()
        );
        let write = || {
            let mut statement = self.connection.prepare_cached(&text)?;
            for row in rows {
                statement.execute(params_from_iter(row))?;
            }
            Ok(())
        };
        write().map_err(failed(&self.unfinished))
    }

    pub(super) fn add(&self, inbox: Inbox) -> Result<(), StoreError> {
        for (account, key, amount) in inbox {
            let read = || {
                self.connection.query_row(
                    "SELECT total, pending FROM counters WHERE account = ?1 AND key = ?2",
                    [&account, &key],
                    |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
                )
            };
            let parse = |text: &str| {
                Amount::parse(text).ok_or_else(|| refuse(&self.path, "a counter has no amount"))
            };
            let (mut total, mut pending) = match read() {
                Ok((total, pending)) => (parse(&total)?, parse(&pending)?),
                Err(rusqlite::Error::QueryReturnedNoRows) => (amount.zero(), amount.zero()),
                Err(error) => return Err(failed(&self.unfinished)(error)),
            };
            total.add(&amount);
            pending.add(&amount);
            self.connection
                .execute(
                    "INSERT INTO counters VALUES (?1, ?2, ?3, ?4, 0)
                     ON CONFLICT (account, key) DO UPDATE SET total = excluded.total, pending = excluded.pending",
                    [&account, &key, &total.to_text(), &pending.to_text()],
                )
                .map_err(failed(&self.unfinished))?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<(), StoreError> {
        let disk = |error: std::io::Error| refuse(&self.path, &error.to_string());
        self.connection
            .execute_batch("COMMIT")
            .map_err(failed(&self.unfinished))?;
        self.connection
            .close()
            .map_err(|(_, error)| failed(&self.unfinished)(error))?;
        put_in_place(&self.unfinished, &self.path).map_err(disk)
    }
}
