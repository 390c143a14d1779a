//! The exposed series: their current values, limits and staleness.
//!
//! A collector records into an [`AccountSeries`]; the outputs walk the [`Table`]. This module does not depend
//! on the origin of a value.

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
    /// The table of a process that starts now. `prepare` encodes views in advance.
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

    /// Exposes the accounts of this configuration from now on, and returns their series in its order. An
    /// account that existed before, with the same provider, keeps its values. Each entry says whether the
    /// labels of the account's series have changed.
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

    /// A consistent snapshot of all series, independent of later changes by the collectors.
    pub fn shown(&self) -> ShownSeries {
        let accounts = self.accounts.load();
        ShownSeries {
            accounts: accounts.iter().map(|account| account.view()).collect(),
            process: self.process.collect(),
        }
    }

    /// Visits all series at `now`, without stale gauges.
    pub fn visit(&self, now: Timestamp, visitor: &mut dyn Visitor) {
        self.shown().visit(self.moment_of(now), visitor);
    }

    /// The moment on the monotonic clock, which determines staleness, for a wall time.
    pub fn moment_of(&self, now: Timestamp) -> Moment {
        self.clock.moment_of(now)
    }
}

/// A snapshot of all series at one moment.
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

    /// Families with their segments, in the order of the exposition, with accounts in the order of the
    /// configuration.
    pub fn families(
        &self,
    ) -> impl Iterator<Item = (FamilyId, impl Iterator<Item = &Arc<Segment>>)> {
        catalog::families().map(|family| {
            let accounts = self.accounts.iter();
            let of_accounts = accounts.flat_map(move |account| account.segments(family));
            (family, of_accounts.chain(self.process(family)))
        })
    }

    /// Remembers which series exist at `now`.
    pub fn remember(&self, now: Moment) -> Remembered {
        Remembered::new(self.families().flat_map(|(_, segments)| segments), now)
    }

    /// Visits all series at `now`, without stale gauges.
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
