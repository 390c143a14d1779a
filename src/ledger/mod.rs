//! What is counted, once: delivery reports that are handed out once, and the spool that keeps
//! their bodies.
//!
//! Reports go in, [`Increment`]s come out. This room knows neither HTTP nor a metric's name.

mod reports;
mod spool;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rust_decimal::Decimal;

use crate::{
    model::Measure,
    providers::{Damage, ReportsRead, Spool, SpoolError, SpooledBody},
};
use reports::Reports;
use spool::AccountSpool;

/// Told what becomes of the store.
pub trait StoreNotes: Send + Sync {
    /// Whether it could be written to when it was last tried.
    fn up(&self, up: bool);
    /// A write failed.
    fn error(&self);
    /// Bytes of all bodies in an account's spool, and how many are quarantined.
    fn size(&self, account: &Arc<str>, bytes: u64, quarantined: u64);
}

/// A ledger that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("store.spool: {0}")]
pub struct LedgerError(String);

/// The ledger of this process: the spool, and what was counted from it.
pub struct Ledger {
    root: PathBuf,
    notes: Arc<dyn StoreNotes>,
    accounts: Mutex<HashMap<Arc<str>, Arc<AccountLedger>>>,
    /// Held as long as the process lives: two of them would count everything twice.
    _lock: File,
}

/// The ledger of one account.
pub struct AccountLedger {
    name: Arc<str>,
    spool: AccountSpool,
    reports: Mutex<Reports>,
    notes: Arc<dyn StoreNotes>,
}

impl Ledger {
    /// Opens the spool's directory, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or written to, or another process has it.
    pub fn open(root: &Path, notes: Arc<dyn StoreNotes>) -> Result<Ledger, LedgerError> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            LedgerError(format!("{}: {error}", path.display()))
        };
        fs::create_dir_all(root).map_err(|error| failed(root, &error))?;
        let path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| failed(&path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = "another delivery-exporter has this spool; stop it, or give each its own store.spool";
                return Err(failed(root, &text));
            }
            Err(TryLockError::Error(error)) => return Err(failed(&path, &error)),
        }
        notes.up(true);
        Ok(Ledger {
            root: root.to_owned(),
            notes,
            accounts: Mutex::default(),
            _lock: lock,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<AccountLedger>>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of the spool.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ledger of an account. The first time, everything in its spool is counted again: these
    /// increments come with it.
    ///
    /// # Errors
    ///
    /// The account's directory cannot be read.
    pub fn account(
        &self,
        name: &Arc<str>,
        read: &dyn Fn(&[u8]) -> ReportsRead,
    ) -> Result<(Arc<AccountLedger>, Vec<Increment>), SpoolError> {
        if let Some(known) = self.lock().get(name) {
            return Ok((known.clone(), Vec::new()));
        }
        let spool = AccountSpool::open(&self.root, name, self.notes.clone())?;
        let account = Arc::new(AccountLedger {
            name: name.clone(),
            spool,
            reports: Mutex::default(),
            notes: self.notes.clone(),
        });
        let mut increments = Vec::new();
        for body in account.spool.bodies()? {
            let read = read(&account.spool.read(&body)?);
            account.count_into(&body, &read, &mut increments)?;
        }
        // A repeat within the spool was seen, and shown, by the process that fetched it.
        increments.retain(|increment| *increment != Increment::Duplicate);
        self.lock().insert(name.clone(), account.clone());
        account.measure();
        Ok((account, increments))
    }
}

impl AccountLedger {
    /// Tells the size of the account's spool.
    pub fn measure(&self) {
        let (bytes, quarantined) = self.spool.size();
        self.notes.size(&self.name, bytes, quarantined);
    }

    /// Says whether anything more shall be asked for; what is arriving is taken all the same.
    pub fn close(&self, closed: bool) {
        self.spool.close(closed);
    }

    /// Where the account's bodies go.
    pub fn spool(&self) -> &dyn Spool {
        &self.spool
    }

    /// Counts the reports of a body that is in the spool, and sets aside what could not be read.
    ///
    /// # Errors
    ///
    /// The rest cannot be set aside. The body is still in the spool, and is read again at the next
    /// start.
    pub async fn count(
        self: &Arc<Self>,
        body: SpooledBody,
        read: ReportsRead,
    ) -> Result<Vec<Increment>, SpoolError> {
        let account = self.clone();
        let counted = tokio::task::spawn_blocking(move || {
            let mut increments = Vec::new();
            account
                .count_into(&body, &read, &mut increments)
                .map(|()| increments)
        });
        let counted = counted
            .await
            .unwrap_or_else(|error| Err(SpoolError(error.to_string())));
        if counted.is_err() {
            self.notes.error();
        }
        counted
    }

    fn count_into(
        &self,
        body: &SpooledBody,
        read: &ReportsRead,
        increments: &mut Vec<Increment>,
    ) -> Result<(), SpoolError> {
        if let Some(Damage { at, what }) = &read.damage
            && self.spool.quarantine(body, *at)?
        {
            let body = body.0.as_ref();
            tracing::warn!(
                body,
                at,
                what,
                "a body of reports cannot be read whole; the rest is quarantined"
            );
            increments.push(Increment::Quarantined);
        }
        if read.empty {
            return self.spool.remove(body);
        }
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        for report in &read.reports {
            reports.count(report, increments);
        }
        Ok(())
    }
}

/// Something that was counted for the first time, of one application.
#[derive(Clone, Debug, PartialEq)]
pub enum Increment {
    /// A delivery report (contract 4.3: this counts reports, not messages).
    Report {
        /// The label `channel`.
        channel: &'static str,
        /// The label `status_group`.
        status_group: Arc<str>,
        /// The label `status`.
        status: Arc<str>,
        /// The label `error_group`.
        error_group: Arc<str>,
        /// The label `error`.
        error: Arc<str>,
        /// The label `permanent`; `None`: empty.
        permanent: Option<bool>,
    },
    /// A message reached a state.
    Message {
        /// Which.
        measure: Measure,
        /// The label `channel`.
        channel: &'static str,
        /// The campaign, where the report that made the count names one.
        campaign: Option<Arc<str>>,
    },
    /// The time from sending to the first final report.
    Latency {
        /// The label `channel`.
        channel: &'static str,
        /// The label `status_group`.
        status_group: Arc<str>,
        /// The time.
        seconds: f64,
    },
    /// What a message cost.
    Cost {
        /// The label `channel`.
        channel: &'static str,
        /// The label `currency`.
        currency: Arc<str>,
        /// The exact amount.
        amount: Decimal,
    },
    /// A report that was counted before.
    Duplicate,
    /// A body, or the rest of one, that could not be read and was set aside.
    Quarantined,
}
