//! Leases of accounts: renewals and takeovers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio_postgres::{Client, Transaction};

use super::{Postgres, Renewal, connection::Trouble};

/// The number of days after which an unseen replica is deleted.
const REPLICA_DAYS: i32 = 30;

impl Postgres {
    pub(super) async fn cycle(
        &self,
        client: &mut Client,
        accounts: &[Arc<str>],
        held: &[(Arc<str>, i64)],
        joins: bool,
    ) -> Result<Renewal, Trouble> {
        let lease = self.lease.as_secs_f64();
        let names: Vec<&str> = held.iter().map(|(account, _)| account.as_ref()).collect();
        let epochs: Vec<i64> = held.iter().map(|(_, epoch)| *epoch).collect();
        let renewed = client
            .query(
                "UPDATE delivery_exporter.leases AS own
                 SET expires_at = clock_timestamp() + make_interval(secs => $4)
                 FROM unnest($1::text[], $2::bigint[]) AS wanted (account, epoch)
                 WHERE own.account = wanted.account AND own.epoch = wanted.epoch AND own.process = $3
                 RETURNING own.account, own.epoch",
                &[&names, &epochs, &self.process, &lease],
            )
            .await?;
        let held: Vec<(Arc<str>, i64)> = renewed
            .iter()
            .map(|row| (Arc::from(row.get::<_, &str>(0)), row.get(1)))
            .collect();
        if joins {
            client
                .execute(
                    "INSERT INTO delivery_exporter.processes VALUES ($1, $2, clock_timestamp())
                     ON CONFLICT (process) DO UPDATE SET seen_at = clock_timestamp()",
                    &[&self.process, &&*self.replica],
                )
                .await?;
        }
        let living: i64 = client
            .query_one(
                "SELECT count(*) FROM delivery_exporter.processes
                 WHERE seen_at > clock_timestamp() - make_interval(secs => $1)",
                &[&lease],
            )
            .await?
            .get(0);
        let living = usize::try_from(living).unwrap_or(1).max(1);
        let names: Vec<&str> = accounts.iter().map(AsRef::as_ref).collect();
        let others = client
            .query(
                "SELECT account, extract(epoch FROM expires_at - clock_timestamp())::float8
                 FROM delivery_exporter.leases WHERE account = ANY($1) AND process <> $2",
                &[&names, &self.process],
            )
            .await?;
        let others: HashMap<&str, f64> =
            others.iter().map(|row| (row.get(0), row.get(1))).collect();
        let free = |account: &&Arc<str>| {
            !held.iter().any(|(own, _)| own == *account)
                && others.get(account.as_ref()).is_none_or(|left| *left <= 0.0)
        };
        let next = others.values().copied().filter(|left| *left > 0.0);
        Ok(Renewal {
            free: accounts.iter().filter(free).cloned().collect(),
            share: accounts.len().div_ceil(living),
            next_expiry: next.min_by(f64::total_cmp).map(Duration::from_secs_f64),
            held,
        })
    }

    /// Acquires an account whose lease has expired or that never had one.
    pub(super) async fn take(
        &self,
        client: &mut Client,
        account: &str,
    ) -> Result<Option<i64>, Trouble> {
        let lease = self.lease.as_secs_f64();
        let transaction = client.transaction().await?;
        // The previous holder may be in the middle of a transaction, which must end, or be terminated, first.
        let epoch: i64 = transaction
            .query_one(
                "INSERT INTO delivery_exporter.accounts VALUES ($1, 1)
                 ON CONFLICT (account) DO UPDATE SET epoch = delivery_exporter.accounts.epoch + 1
                 RETURNING epoch",
                &[&account],
            )
            .await?
            .get(0);
        let taken = transaction
            .execute(
                "INSERT INTO delivery_exporter.leases
                 VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
                 ON CONFLICT (account) DO UPDATE
                 SET process = $2, replica = $3, epoch = $4,
                     expires_at = clock_timestamp() + make_interval(secs => $5)
                 WHERE delivery_exporter.leases.expires_at <= clock_timestamp()",
                &[&account, &self.process, &&*self.replica, &epoch, &lease],
            )
            .await?;
        if taken == 0 {
            // Another process was faster.
            transaction.rollback().await?;
            return Ok(None);
        }
        transaction.commit().await?;
        Ok(Some(epoch))
    }
}

/// Deletes replicas that have not been seen for long. If such a replica comes back, its series start at 0.
pub(super) async fn forget_replicas(
    transaction: &Transaction<'_>,
) -> Result<(), tokio_postgres::Error> {
    transaction
        .execute(
            "DELETE FROM delivery_exporter.releases WHERE replica IN (
                SELECT replica FROM delivery_exporter.processes
                GROUP BY replica HAVING max(seen_at) < clock_timestamp() - make_interval(days => $1))",
            &[&REPLICA_DAYS],
        )
        .await?;
    transaction
        .execute(
            "DELETE FROM delivery_exporter.processes WHERE seen_at < clock_timestamp() - make_interval(days => $1)",
            &[&REPLICA_DAYS],
        )
        .await?;
    Ok(())
}
