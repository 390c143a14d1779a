//! Writes a write set with statements over columns.

use tokio_postgres::{Transaction, types::ToSql};

use super::{
    super::{ReadSet, WriteSet},
    Trouble,
    parts::remember,
    text,
};

/// Executes a statement on columns of rows; does nothing without rows.
async fn each<const N: usize>(
    transaction: &Transaction<'_>,
    rows: usize,
    statement: &str,
    parameters: [&(dyn ToSql + Sync); N],
) -> Result<(), Trouble> {
    if rows > 0 {
        transaction.execute(statement, &parameters).await?;
    }
    Ok(())
}

/// Writes a write set.
pub(super) async fn apply(
    transaction: &Transaction<'_>,
    ask: &ReadSet,
    batch: &WriteSet,
) -> Result<(), Trouble> {
    let account = text(&ask.account);
    let replica = text(&ask.replica);
    let column = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<String>>();
    each(
        transaction,
        batch.births.len(),
        "INSERT INTO delivery_exporter.births
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[])
         ON CONFLICT (account, application, dataset) DO UPDATE SET at = excluded.at
         WHERE births.at > excluded.at OR births.at < 1577836800000",
        [
            &account,
            &column(&mut batch.births.iter().map(|own| text(&own.0))),
            &column(&mut batch.births.iter().map(|own| own.1.clone())),
            &batch.births.iter().map(|own| own.2).collect::<Vec<i64>>(),
        ],
    )
    .await?;
    each(
        transaction,
        batch.cursors.len(),
        "INSERT INTO delivery_exporter.cursors
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[])
         ON CONFLICT (account, application, dataset) DO UPDATE SET at = excluded.at",
        [
            &account,
            &column(&mut batch.cursors.iter().map(|own| text(&own.0))),
            &column(&mut batch.cursors.iter().map(|own| own.1.clone())),
            &batch.cursors.iter().map(|own| own.2).collect::<Vec<i64>>(),
        ],
    )
    .await?;
    each(
        transaction,
        batch.names.len(),
        "INSERT INTO delivery_exporter.names
         SELECT $1, * FROM unnest($2::text[], $3::text[]) ON CONFLICT DO NOTHING",
        [
            &account,
            &column(&mut batch.names.iter().map(|own| text(&own.0))),
            &column(&mut batch.names.iter().map(|own| text(&own.1))),
        ],
    )
    .await?;
    each(
        transaction,
        batch.counters.len(),
        "INSERT INTO delivery_exporter.counters
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[])
         ON CONFLICT (account, key) DO UPDATE
         SET total = excluded.total, pending = excluded.pending, changed_at = excluded.changed_at",
        [
            &account,
            &column(&mut batch.counters.iter().map(|own| text(&own.key))),
            &column(&mut batch.counters.iter().map(|own| own.total.to_text())),
            &column(&mut batch.counters.iter().map(|own| own.pending.to_text())),
            &batch
                .counters
                .iter()
                .map(|own| own.changed_at)
                .collect::<Vec<i64>>(),
        ],
    )
    .await?;
    each(
        transaction,
        batch.releases.len(),
        "INSERT INTO delivery_exporter.releases
         SELECT $1, $2, * FROM unnest($3::text[], $4::text[], $5::bigint[])
         ON CONFLICT (account, replica, key) DO UPDATE SET shown = excluded.shown",
        [
            &account,
            &replica,
            &column(&mut batch.releases.iter().map(|own| text(&own.key))),
            &column(&mut batch.releases.iter().map(|own| own.shown.to_text())),
            &batch
                .releases
                .iter()
                .map(|own| own.born_at)
                .collect::<Vec<i64>>(),
        ],
    )
    .await?;
    each(
        transaction,
        batch.messages.len(),
        "INSERT INTO delivery_exporter.messages
         SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bytea[], $5::bigint[])
         ON CONFLICT (account, application, id) DO UPDATE
         SET state = excluded.state, since = excluded.since",
        [
            &account,
            &column(&mut batch.messages.iter().map(|own| text(&own.id.0))),
            &column(&mut batch.messages.iter().map(|own| text(&own.id.1))),
            &batch
                .messages
                .iter()
                .map(|own| own.state.as_slice())
                .collect::<Vec<&[u8]>>(),
            &batch
                .messages
                .iter()
                .map(|own| own.since)
                .collect::<Vec<i64>>(),
        ],
    )
    .await?;
    let gone = column(&mut batch.gone_counters.iter().map(|key| text(key)));
    for table in ["counters", "releases"] {
        let statement =
            format!("DELETE FROM delivery_exporter.{table} WHERE account = $1 AND key = ANY($2)");
        each(transaction, gone.len(), &statement, [&account, &gone]).await?;
    }
    each(
        transaction,
        batch.gone_names.len(),
        "DELETE FROM delivery_exporter.names
         WHERE account = $1 AND (label, value) IN (SELECT * FROM unnest($2::text[], $3::text[]))",
        [
            &account,
            &column(&mut batch.gone_names.iter().map(|own| text(&own.0))),
            &column(&mut batch.gone_names.iter().map(|own| text(&own.1))),
        ],
    )
    .await?;
    each(
        transaction,
        batch.gone_messages.len(),
        "DELETE FROM delivery_exporter.messages
         WHERE account = $1 AND (application, id) IN (SELECT * FROM unnest($2::text[], $3::text[]))",
        [
            &account,
            &column(&mut batch.gone_messages.iter().map(|own| text(&own.0))),
            &column(&mut batch.gone_messages.iter().map(|own| text(&own.1))),
        ],
    )
    .await?;
    each(
        transaction,
        batch.inbox.len(),
        "INSERT INTO delivery_exporter.inbox (account, key, amount)
         SELECT $1, * FROM unnest($2::text[], $3::text[])",
        [
            &account,
            &column(&mut batch.inbox.iter().map(|own| text(&own.0))),
            &column(&mut batch.inbox.iter().map(|own| own.1.to_text())),
        ],
    )
    .await?;
    each(
        transaction,
        batch.absorbed.len(),
        "DELETE FROM delivery_exporter.inbox WHERE id = ANY($1)",
        [&batch.absorbed],
    )
    .await?;
    remember(transaction, batch).await
}
