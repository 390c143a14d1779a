//! Deduplication data by digest, in tables partitioned by age. A closed partition never changes, and has a
//! filter that excludes most digests that it does not contain.

use std::sync::{Arc, PoisonError};

use tokio_postgres::Transaction;

use super::{
    super::{PART_AGE, PART_ROWS, ReadRows, WriteSet, filter::Filter},
    Postgres, Trouble, part_table,
};
use crate::providers::Digest;

/// The advisory lock for partitions: exclusive for opening, closing and dropping, shared for reading and
/// writing.
const PARTS_LOCK: i64 = 0x4445_4C56_0002;

impl Postgres {
    fn filter(&self, id: i64) -> Option<Arc<Filter>> {
        let filters = self.filters.read().unwrap_or_else(PoisonError::into_inner);
        filters.get(&id).cloned()
    }

    /// Reads the data of digests, and the open partition.
    pub(super) async fn recall(
        &self,
        transaction: &Transaction<'_>,
        digests: &[Digest],
        told: &mut ReadRows,
    ) -> Result<(), Trouble> {
        // No other process can close or drop a partition during this transaction.
        transaction
            .execute("SELECT pg_advisory_xact_lock_shared($1)", &[&PARTS_LOCK])
            .await?;
        let parts = transaction
            .query(
                "SELECT id, filter IS NOT NULL FROM delivery_exporter.parts ORDER BY id DESC",
                &[],
            )
            .await?;
        let mut open: Vec<&Digest> = digests.iter().collect();
        for part in parts {
            let (id, closed): (i64, bool) = (part.get(0), part.get(1));
            let mut wanted: Vec<&[u8]> = Vec::new();
            if closed {
                if self.filter(id).is_none() {
                    let row = transaction
                        .query_one(
                            "SELECT filter FROM delivery_exporter.parts WHERE id = $1",
                            &[&id],
                        )
                        .await?;
                    if let Some(filter) = Filter::from_bytes(row.get(0)) {
                        let mut filters =
                            self.filters.write().unwrap_or_else(PoisonError::into_inner);
                        filters.insert(id, Arc::new(filter));
                    }
                }
                let filter = self.filter(id);
                for digest in &open {
                    if filter.as_ref().is_none_or(|filter| filter.can_hold(digest)) {
                        wanted.push(digest.as_slice());
                    }
                }
            } else {
                wanted.extend(open.iter().map(|digest| digest.as_slice()));
            }
            if wanted.is_empty() {
                continue;
            }
            let rows = transaction
                .query(
                    &format!("SELECT digest, memory FROM delivery_exporter.seen_{id} WHERE digest = ANY($1)"),
                    &[&wanted],
                )
                .await?;
            for row in rows {
                if let Ok(digest) = Digest::try_from(row.get::<_, &[u8]>(0)) {
                    told.memories.insert(digest, row.get(1));
                }
            }
            open.retain(|digest| !told.memories.contains_key(*digest));
        }
        Ok(())
    }
}

/// Stores data in the open partition.
pub(super) async fn remember(
    transaction: &Transaction<'_>,
    batch: &WriteSet,
) -> Result<(), Trouble> {
    if batch.memories.is_empty() {
        return Ok(());
    }
    let open = transaction
        .query_opt(
            "SELECT id, touched_at FROM delivery_exporter.parts WHERE filter IS NULL ORDER BY id DESC LIMIT 1",
            &[],
        )
        .await?;
    let id = match open {
        Some(row) => {
            let id: i64 = row.get(0);
            // At most once a minute, because every transaction would otherwise write this row.
            if batch.now - row.get::<_, i64>(1) > 60_000 {
                transaction
                    .execute(
                        "UPDATE delivery_exporter.parts SET touched_at = $2 WHERE id = $1",
                        &[&id, &batch.now],
                    )
                    .await?;
            }
            id
        }
        None => {
            return Err(Trouble::Row(
                "no partition of the deduplication data is open".into(),
            ));
        }
    };
    let mut sorted: Vec<_> = batch.memories.iter().collect();
    sorted.sort_unstable_by_key(|(digest, _)| *digest);
    let digests: Vec<&[u8]> = sorted.iter().map(|(digest, _)| digest.as_slice()).collect();
    let memories: Vec<&[u8]> = sorted.iter().map(|(_, memory)| memory.as_slice()).collect();
    transaction
        .execute(
            &format!(
                "INSERT INTO delivery_exporter.seen_{id} SELECT * FROM unnest($1::bytea[], $2::bytea[])
                 ON CONFLICT (digest) DO UPDATE SET memory = excluded.memory"
            ),
            &[&digests, &memories],
        )
        .await?;
    Ok(())
}

/// Ensures that the open partition is neither full nor old, and drops partitions that are older than
/// `before`.
pub(super) async fn maintain(
    transaction: &Transaction<'_>,
    before: i64,
    now: i64,
) -> Result<(), Trouble> {
    // No other transaction can store data at the same time.
    transaction
        .execute("SELECT pg_advisory_xact_lock($1)", &[&PARTS_LOCK])
        .await?;
    let parts = transaction
        .query(
            "SELECT id, opened_at, touched_at, filter IS NULL FROM delivery_exporter.parts ORDER BY id",
            &[],
        )
        .await?;
    let last: i64 = parts.last().map_or(0, |row| row.get(0));
    let mut open = false;
    for row in parts {
        let (id, opened_at, touched_at): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let is_open: bool = row.get(3);
        if touched_at < before {
            transaction
                .batch_execute(&format!(
                    "DROP TABLE delivery_exporter.seen_{id}; DELETE FROM delivery_exporter.parts WHERE id = {id}"
                ))
                .await?;
            continue;
        }
        if !is_open {
            continue;
        }
        let rows: i64 = transaction
            .query_one(
                &format!("SELECT count(*) FROM delivery_exporter.seen_{id}"),
                &[],
            )
            .await?
            .get(0);
        if rows.unsigned_abs() < PART_ROWS && now - opened_at < PART_AGE {
            open = true;
            continue;
        }
        let digests = transaction
            .query(
                &format!("SELECT digest FROM delivery_exporter.seen_{id}"),
                &[],
            )
            .await?;
        match Filter::build(digests.iter().map(|row| row.get::<_, &[u8]>(0))) {
            Some(filter) => {
                transaction
                    .execute(
                        "UPDATE delivery_exporter.parts SET filter = $2 WHERE id = $1",
                        &[&id, &filter.as_bytes()],
                    )
                    .await?;
            }
            None => open = true,
        }
    }
    if !open {
        let id = last + 1;
        transaction
            .batch_execute(&part_table(&format!("seen_{id}")))
            .await?;
        transaction
            .execute(
                "INSERT INTO delivery_exporter.parts VALUES ($1, $2, $2, NULL)",
                &[&id, &now],
            )
            .await?;
    }
    Ok(())
}
