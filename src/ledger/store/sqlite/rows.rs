//! What a transaction reads and writes.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    AccountRows, CounterRow, ReadRows, ReadSet, ReleaseRow, WriteSet,
    parts::{Part, recall, remember},
};
use crate::ledger::amount::Amount;

pub(super) fn tell(
    transaction: &Transaction<'_>,
    parts: &[Part],
    ask: &ReadSet,
) -> rusqlite::Result<ReadRows> {
    let mut told = ReadRows::default();
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

pub(super) fn apply(
    transaction: &Transaction<'_>,
    parts: &mut Vec<Part>,
    ask: &ReadSet,
    batch: &WriteSet,
) -> rusqlite::Result<()> {
    let account = &ask.account;
    for (application, dataset, at) in &batch.births {
        transaction
            .prepare_cached(
                // A stored time that is later, or from an unset clock, was wrong.
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

pub(super) fn amount(text: &str, column: usize) -> rusqlite::Result<Amount> {
    Amount::parse(text).ok_or_else(|| {
        let problem = format!("{text:?} is not an amount");
        rusqlite::Error::FromSqlConversionFailure(
            column,
            rusqlite::types::Type::Text,
            problem.into(),
        )
    })
}

pub(super) fn rows_of(
    connection: &Connection,
    account: &str,
    replica: &str,
) -> rusqlite::Result<AccountRows> {
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
