//! Deduplication data by digest, in tables partitioned by age. A closed partition never changes, and has a
//! filter that excludes most digests that it does not contain.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    super::{PART_AGE, PART_ROWS, WriteSet, filter::Filter},
    part_table,
};
use crate::providers::Digest;

/// One partition.
pub(super) struct Part {
    pub(super) id: i64,
    opened_at: i64,
    pub(super) touched_at: i64,
    /// The first bytes of the digests in the open partition, because most lookups find nothing.
    open: HashSet<u64>,
    /// The filter of a closed partition.
    filter: Option<Filter>,
}

/// Loads the partitions of a file, oldest first; the last one is open.
pub(super) fn load(connection: &Connection) -> rusqlite::Result<Vec<Part>> {
    let mut parts = Vec::new();
    {
        let mut statement = connection
            .prepare("SELECT id, opened_at, touched_at, filter FROM parts ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let filter: Option<Vec<u8>> = row.get(3)?;
            parts.push(Part {
                id: row.get(0)?,
                opened_at: row.get(1)?,
                touched_at: row.get(2)?,
                open: HashSet::new(),
                filter: filter.and_then(Filter::from_bytes),
            });
        }
    }
    for part in &mut parts {
        if part.filter.is_none() {
            let mut statement =
                connection.prepare(&format!("SELECT digest FROM seen_{}", part.id))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                part.open.extend(first_bytes(row.get_ref(0)?.as_blob()?));
            }
        }
    }
    Ok(parts)
}

/// A digest is uniformly distributed, so its first eight bytes distinguish nearly all digests.
fn first_bytes(digest: &[u8]) -> Option<u64> {
    digest
        .first_chunk::<8>()
        .map(|own| u64::from_le_bytes(*own))
}

/// The data of a digest, from the newest partition that contains it.
pub(super) fn recall(
    transaction: &Transaction<'_>,
    parts: &[Part],
    digest: &Digest,
) -> rusqlite::Result<Option<Vec<u8>>> {
    for part in parts.iter().rev() {
        let can_hold = match &part.filter {
            Some(filter) => filter.can_hold(digest),
            None => first_bytes(digest).is_some_and(|own| part.open.contains(&own)),
        };
        if !can_hold {
            continue;
        }
        let mut statement = transaction.prepare_cached(&format!(
            "SELECT memory FROM seen_{} WHERE digest = ?1",
            part.id
        ))?;
        let found = statement
            .query_row(params![digest], |row| row.get(0))
            .optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Stores data in the open partition, sorted by digest for better use of the cache.
pub(super) fn remember(
    transaction: &Transaction<'_>,
    parts: &mut Vec<Part>,
    batch: &WriteSet,
) -> rusqlite::Result<()> {
    if batch.memories.is_empty() {
        return Ok(());
    }
    if let Some(part) = parts.last_mut()
        && part.filter.is_none()
        && (part.open.len() as u64 >= PART_ROWS || batch.now - part.opened_at >= PART_AGE)
    {
        close(transaction, part)?;
    }
    if parts.last().is_none_or(|part| part.filter.is_some()) {
        let id = parts.last().map_or(1, |part| part.id + 1);
        transaction.execute_batch(&part_table(&format!("seen_{id}")))?;
        transaction.execute(
            "INSERT INTO parts VALUES (?1, ?2, ?2, NULL)",
            params![id, batch.now],
        )?;
        parts.push(Part {
            id,
            opened_at: batch.now,
            touched_at: batch.now,
            open: HashSet::new(),
            filter: None,
        });
    }
    let Some(part) = parts.last_mut() else {
        return Ok(());
    };
    let mut sorted: Vec<_> = batch.memories.iter().collect();
    sorted.sort_unstable_by_key(|(digest, _)| *digest);
    let mut statement = transaction.prepare_cached(&format!(
        "INSERT OR REPLACE INTO seen_{} VALUES (?1, ?2)",
        part.id
    ))?;
    for (digest, memory) in sorted {
        statement.execute(params![digest, memory])?;
    }
    let digests = batch.memories.iter();
    part.open
        .extend(digests.filter_map(|(digest, _)| first_bytes(digest)));
    if part.touched_at < batch.now {
        part.touched_at = batch.now;
        transaction
            .prepare_cached("UPDATE parts SET touched_at = ?2 WHERE id = ?1")?
            .execute(params![part.id, batch.now])?;
    }
    Ok(())
}

/// Closes the partition, and builds its filter.
fn close(transaction: &Transaction<'_>, part: &mut Part) -> rusqlite::Result<()> {
    let mut digests: Vec<Vec<u8>> = Vec::new();
    {
        let mut statement = transaction.prepare(&format!("SELECT digest FROM seen_{}", part.id))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            digests.push(row.get(0)?);
        }
    }
    if let Some(filter) = Filter::build(digests.iter().map(Vec::as_slice)) {
        transaction.execute(
            "UPDATE parts SET filter = ?2 WHERE id = ?1",
            params![part.id, filter.as_bytes()],
        )?;
        part.filter = Some(filter);
        part.open = HashSet::new();
    }
    Ok(())
}
