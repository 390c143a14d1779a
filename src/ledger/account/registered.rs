//! Messages that were registered over the API, on this replica or another.

use std::time::Duration;

use delivery_clock::is_plausible;
use jiff::Timestamp;

use super::AccountLedger;
use crate::{ledger::store::StoreError, model::Message};

/// How often to look for registrations on other replicas.
const LOOK_FOR_REGISTRATIONS: Duration = Duration::from_secs(2);

impl AccountLedger {
    /// Signals that messages of the account were registered on this replica.
    pub fn registered_now(&self) {
        self.registrations.notify_one();
    }

    /// Returns when there may be new registrations: immediately after one on this replica, and periodically
    /// for those on other replicas.
    pub async fn registration(&self) {
        if self.store.shared() {
            tokio::select! {
                () = self.registrations.notified() => {}
                () = self.clock.sleep(LOOK_FOR_REGISTRATIONS) => {}
            }
        } else {
            self.registrations.notified().await;
        }
    }

    /// The messages that were registered after a sequence number, and the last sequence number among them.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn registered(&self, after: i64) -> Result<(Vec<Message>, i64), StoreError> {
        let rows = self.store.registered(&self.name, after).await?;
        let last = rows.last().map_or(after, |row| row.sequence);
        let messages = rows.into_iter().map(|row| Message {
            application: row.id.0,
            id: row.id.1,
            campaign: row.campaign,
            // For a message that was registered before the clock was set, the time of reading is used as the
            // send time.
            sent_at: Timestamp::from_millisecond(row.sent_at)
                .ok()
                .filter(|sent_at| is_plausible(*sent_at)),
        });
        Ok((messages.collect(), last))
    }

    /// Deletes registrations of messages that were sent before a time, if the clock is trusted.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn unregister(&self, before: Timestamp) -> Result<(), StoreError> {
        if self.trust.is_doubted() {
            return Ok(());
        }
        let before = before.as_millisecond();
        self.store.unregister(&self.name, before).await
    }
}
