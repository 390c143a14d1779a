//! The configuration of an account's series, and the mapping of its counters to series.

use std::{collections::HashMap, sync::Arc};

use crate::{
    catalog::FamilyId,
    config::{Account, Limits, PerMessage},
    ledger::{CounterKey, shortened},
    series::{chunks::Own, values::Identity},
};

/// A counter's name and labels, without those that the configuration adds.
pub type NamedCounter = (&'static str, Vec<(&'static str, Arc<str>)>);

/// Why a counter of the ledger has no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::series) enum Unplaced {
    /// The application is not configured.
    NotConfigured,
    /// The family has no series.
    NoSeries(FamilyId),
}

/// The configuration of the account's series.
pub(in crate::series) struct Settings {
    pub(in crate::series) identity: Arc<Identity>,
    pub(super) per_message: PerMessage,
    pub(super) max_series: usize,
    max_label_length: usize,
    pub(super) applications: HashMap<Arc<str>, Arc<str>>,
}

/// The labels of the previous counter: the counters of one campaign have the same labels, and mostly follow
/// each other.
#[derive(Default)]
pub(in crate::series) struct LastLabels {
    application: Arc<str>,
    labels: Arc<[Arc<str>]>,
    /// Without the application.
    shown: usize,
    own: Own,
}

impl Settings {
    /// The family and labels of a counter of the ledger.
    pub(in crate::series) fn place(&self, key: &CounterKey) -> Result<(FamilyId, Own), Unplaced> {
        self.place_after(&mut LastLabels::default(), key)
    }

    /// The same for a sequence of counters: consecutive ones with equal labels share them.
    pub(in crate::series) fn place_after(
        &self,
        last: &mut LastLabels,
        key: &CounterKey,
    ) -> Result<(FamilyId, Own), Unplaced> {
        let application = self.applications.get(&key.application);
        let application = application.ok_or(Unplaced::NotConfigured)?;
        let family = key.family;
        if !family.is_exposed {
            return Err(Unplaced::NoSeries(family));
        }
        let shown = family.shown_labels().min(key.labels.len());
        let is_same = |last: &LastLabels| {
            !last.own.is_empty()
                && last.shown == shown
                && last.application == key.application
                && last.labels.get(..shown) == key.labels.get(..shown)
        };
        if !is_same(last) {
            // An earlier version stored texts of unlimited length.
            let own = [application].into_iter().chain(&key.labels[..shown]);
            *last = LastLabels {
                application: key.application.clone(),
                labels: key.labels.clone(),
                shown,
                own: own.map(|value| self.short(value)).collect(),
            };
        }
        Ok((family, last.own.clone()))
    }

    /// A text as the value of a label.
    pub(in crate::series) fn short(&self, text: &Arc<str>) -> Arc<str> {
        shortened(text, self.max_label_length)
    }

    pub(in crate::series) fn new(
        account: &Account,
        label_names: &[Arc<str>],
        limits: &Limits,
    ) -> Settings {
        let empty: Arc<str> = Arc::from("");
        let extra = label_names
            .iter()
            .map(|name| {
                (
                    name.clone(),
                    account.labels.get(name).unwrap_or(&empty).clone(),
                )
            })
            .collect();
        Settings {
            identity: Arc::new(Identity {
                provider: account.vendor.name,
                account: account.name.clone(),
                extra,
            }),
            per_message: account.per_message,
            max_series: limits.max_series_per_account,
            max_label_length: limits.max_label_length,
            applications: account
                .applications
                .iter()
                .map(|application| (application.id.clone(), application.name.clone()))
                .collect(),
        }
    }
}
