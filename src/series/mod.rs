//! What is exposed: the families, their current values, limits and staleness.
//!
//! A collector records into an [`AccountSeries`]; the outputs walk the [`Table`]. Nothing here
//! knows where a value came from.

mod account;
mod bounds;
mod chunks;
mod concat;
pub mod docs;
mod figures;
mod groups;
mod help;
mod history;
mod layout;
mod probe;
mod process;
mod segments;
mod values;
mod view;

use std::sync::Arc;

use arc_swap::ArcSwap;
use delivery_clock::{Clock, Moment};
use jiff::Timestamp;

pub use account::{AccountSeries, AccountView, NamedCounter, WebhookOutcome};
pub use concat::{Concat, Node};
pub use help::help;
pub use history::{Dated, History, walk};
pub use probe::{Probed, show as show_probe};
pub use process::{PointOutcome, ProcessSeries};
pub use segments::{Checksum, EncodedSegment, FORMS, FormSet, Remembered, Segment};
pub use values::{Histogram, Identity, Labels, Number, Value, Visitor};

pub use view::{AGES, ByAge, Prepare, Unprepared, View, ViewNumber};

use crate::{
    catalog::{self, FamilyId},
    config::Config,
    ledger::Lease,
};
use values::Show;

/// All series of this process.
pub struct Table {
    clock: Clock,
    process: Arc<ProcessSeries>,
    prepare: Arc<dyn Prepare>,
    accounts: ArcSwap<Vec<Arc<AccountSeries>>>,
}

impl Table {
    /// The table of a process that starts now. `prepare` makes what is read of it beforehand.
    pub fn new(clock: Clock, prepare: Arc<dyn Prepare>) -> Table {
        let process = Arc::new(ProcessSeries::new(clock.clone()));
        Table {
            clock,
            process,
            prepare,
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
                let kept = before.iter().find(|old| {
                    old.name() == &account.name && old.provider() == account.vendor.name
                });
                match kept {
                    Some(kept) => {
                        let relabelled =
                            kept.reconfigure(account, &config.label_names, &config.limits);
                        (kept.clone(), relabelled)
                    }
                    None => {
                        let clock = self.clock.clone();
                        let lease = lease(&account.name);
                        let prepare = self.prepare.clone();
                        let new = AccountSeries::new(account, config, lease, clock, prepare);
                        (Arc::new(new), true)
                    }
                }
            })
            .collect();
        let shown = accounts.iter().map(|(account, _)| account.clone());
        self.accounts.store(Arc::new(shown.collect()));
        accounts
    }

    /// What is shown now: one state of each account, whatever its collector does meanwhile.
    pub fn shown(&self) -> ShownSeries {
        let accounts = self.accounts.load();
        ShownSeries {
            accounts: accounts.iter().map(|account| account.view()).collect(),
            process: self.process.collect(),
        }
    }

    /// Walks all series as they are at `now`, without a gauge that is stale by then.
    pub fn visit(&self, now: Timestamp, visitor: &mut dyn Visitor) {
        self.shown().visit(self.moment_of(now), visitor);
    }

    /// When the monotonic clock, by which gauges become stale, reaches a wall time.
    pub fn moment_of(&self, now: Timestamp) -> Moment {
        self.clock.moment_of(now)
    }
}

/// All series at one moment; what is recorded later does not change it.
pub struct ShownSeries {
    accounts: Vec<AccountView>,
    /// In the order of the families.
    process: Vec<Arc<Segment>>,
}

impl ShownSeries {
    /// The accounts, in the order of the configuration.
    pub fn accounts(&self) -> &[AccountView] {
        &self.accounts
    }

    /// The process's segments of a family.
    pub fn process(&self, family: FamilyId) -> &[Arc<Segment>] {
        segments::of_family(&self.process, family)
    }

    /// Families with their segments, in the order of the exposition. The accounts come in the order
    /// of the configuration.
    pub fn families(
        &self,
    ) -> impl Iterator<Item = (FamilyId, impl Iterator<Item = &Arc<Segment>>)> {
        catalog::families().map(|family| {
            let accounts = self.accounts.iter();
            let of_accounts = accounts.flat_map(move |account| account.segments(family));
            (family, of_accounts.chain(self.process(family)))
        })
    }

    /// Which series these are at `now`.
    pub fn remember(&self, now: Moment) -> Remembered {
        Remembered::new(self.families().flat_map(|(_, segments)| segments), now)
    }

    /// Walks all series as they are at `now`, without a gauge that is stale by then.
    pub fn visit(&self, now: Moment, visitor: &mut dyn Visitor) {
        for (family, segments) in self.families() {
            if visitor.wants(family) {
                let mut show = Show::new(visitor, family);
                for segment in segments {
                    segment.visit(Some(now), &mut |labels, value| show.sample(labels, value));
                }
            }
        }
    }
}
