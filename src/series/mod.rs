//! What is exposed: the contract's families, their current values, limits and staleness.
//!
//! A collector records into an [`AccountSeries`]; the outputs walk the [`Table`]. Nothing here
//! knows where a value came from.

mod account;
mod bounds;
mod catalogue;
pub mod docs;
mod families;
mod figures;
mod groups;
mod probe;
mod process;
mod values;

use std::sync::Arc;

use arc_swap::ArcSwap;
use delivery_clock::Clock;
use jiff::Timestamp;

pub use account::{AccountSeries, NamedCounter, WebhookOutcome};
pub use families::{Family, FamilyId, Key, Kind, families, id};
pub use probe::{Probed, show as show_probe};
pub use process::{PointOutcome, ProcessSeries};
pub use values::{Histogram, Identity, Labels, Number, Value, Visitor};

use crate::{config::Config, ledger::Lease};
use values::Show;

/// All series of this process.
pub struct Table {
    clock: Clock,
    process: Arc<ProcessSeries>,
    accounts: ArcSwap<Vec<Arc<AccountSeries>>>,
}

impl Table {
    /// The table of a process that starts now.
    pub fn new(clock: Clock) -> Table {
        let process = Arc::new(ProcessSeries::new(clock.now()));
        Table {
            clock,
            process,
            accounts: ArcSwap::default(),
        }
    }

    /// The series of the process itself.
    pub fn process(&self) -> &Arc<ProcessSeries> {
        &self.process
    }

    /// Shows the accounts of this configuration from now on, and gives their series in its order.
    /// An account that was there before, with the same provider, goes on with what it has. With
    /// each comes whether its series have labels that they did not have before.
    pub fn configure(
        &self,
        config: &Config,
        lease: &dyn Fn(&Arc<str>) -> Lease,
    ) -> Vec<(Arc<AccountSeries>, bool)> {
        let before = self.accounts.load_full();
        let accounts: Vec<_> = config
            .accounts
            .iter()
            .map(|account| {
                let kept = before
                    .iter()
                    .find(|old| old.name() == &account.name && old.provider() == account.provider);
                match kept {
                    Some(kept) => {
                        let relabelled =
                            kept.reconfigure(account, &config.label_names, &config.limits);
                        (kept.clone(), relabelled)
                    }
                    None => {
                        let clock = self.clock.clone();
                        let new = AccountSeries::new(account, config, lease(&account.name), clock);
                        (Arc::new(new), true)
                    }
                }
            })
            .collect();
        let shown = accounts.iter().map(|(account, _)| account.clone());
        self.accounts.store(Arc::new(shown.collect()));
        accounts
    }

    /// Walks all series as they are at `now`: one state of each account, whatever its collector
    /// does meanwhile, and no gauge that is stale by then.
    pub fn visit(&self, now: Timestamp, visitor: &mut dyn Visitor) {
        let accounts = self.accounts.load_full();
        let views: Vec<_> = accounts.iter().map(|account| account.view()).collect();
        let process = self.process.collect();
        for family in families::ids() {
            if !visitor.wants(family.family()) {
                continue;
            }
            if family.family().of_account() {
                let mut show = Show::new(visitor, family.family());
                for (account, view) in accounts.iter().zip(&views) {
                    account.show(view, family, now, &mut show);
                }
            } else {
                process::show(&process, family, visitor);
            }
        }
    }
}
