//! The tables, and the check for damage.

use std::{path::Path, thread};

use super::{StoreError, failed, read_only, refuse};

/// Marks the file as a ledger in its header: "DELV".
pub(super) const APPLICATION_ID: i32 = 0x4445_4C56;
/// The version of the tables.
pub(super) const SCHEMA: i32 = 1;

/// The statements that create the tables of a new ledger.
pub(super) const TABLES: &str = "
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

/// The tables to check for damage, in two groups of about the same size for two threads. The deduplication
/// data is not included: it is large, and damage shows when a partition is read.
const EXAMINED: [&[&str]; 2] = [
    &["counters"],
    &[
        "births",
        "cursors",
        "names",
        "releases",
        "messages",
        "registered",
        "parts",
    ],
];

/// Checks for damage without writing.
pub(super) fn examine(path: &Path) -> Result<(), StoreError> {
    let halves = EXAMINED.map(|tables| move || examine_tables(path, tables));
    let [first, second] = thread::scope(|scope| {
        halves.map(|half| scope.spawn(half)).map(|half| {
            half.join()
                .unwrap_or_else(|_| Err(refuse(path, "cannot be checked for damage")))
        })
    });
    first.and(second)
}

fn examine_tables(path: &Path, tables: &[&str]) -> Result<(), StoreError> {
    let failed = failed(path);
    let connection = read_only(path)?;
    for table in tables {
        let found: String = connection
            .query_row(&format!("PRAGMA quick_check({table})"), [], |row| {
                row.get(0)
            })
            .map_err(&failed)?;
        if found != "ok" {
            let text = format!(
                "is damaged ({}); restore it from a backup, or move it away to start a new ledger",
                found.lines().next().unwrap_or_default()
            );
            return Err(refuse(path, &text));
        }
    }
    Ok(())
}

/// The statement that creates the table of one partition.
pub(in crate::ledger::store) fn part_table(name: &str) -> String {
    format!("CREATE TABLE {name} (digest BLOB PRIMARY KEY, memory BLOB NOT NULL) WITHOUT ROWID")
}
