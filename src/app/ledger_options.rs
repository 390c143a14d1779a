//! Extracts the ledger's options from the configuration.

use crate::{
    config::{Account, Config},
    ledger::{AccountOptions, LabelLimits, LedgerOptions, Windows},
};

impl From<&Config> for LedgerOptions {
    fn from(config: &Config) -> LedgerOptions {
        LedgerOptions {
            store: config.store.clone(),
            spool: config.spool.clone(),
            replica: config.replica.clone(),
            lease: config.lease,
        }
    }
}

impl From<&Account> for Windows {
    fn from(account: &Account) -> Windows {
        let (ages, interval) = (&account.cohort_ages, account.snapshot_interval());
        Windows::new(ages, interval, account.daily)
    }
}

impl From<(&Config, &Account)> for AccountOptions {
    fn from((config, account): (&Config, &Account)) -> AccountOptions {
        AccountOptions {
            name: account.name.clone(),
            zero_hold: config.zero_hold,
            adopt_age: config.adopt_age,
            max_age: account.messages.max_age,
            windows: Windows::from(account),
            channels: account.vendor.channels,
            limits: LabelLimits::from(&config.limits),
        }
    }
}
