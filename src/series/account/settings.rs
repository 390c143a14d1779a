//! What the configuration says about an account's series, and where its counters stand.

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::{Account, Limits, PerMessage},
    ledger::{Counter, CounterKey, shortened},
    model::Measure,
    series::{
        chunks::Own,
        families::{FamilyId, Key, WordKey, find, id},
        values::Identity,
    },
};

/// A counter's name and labels, without those that the configuration adds.
pub type NamedCounter = (&'static str, Vec<(&'static str, Arc<str>)>);

/// Why a counter of the ledger has no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::series) enum Unplaced {
    /// Its application is not configured.
    NotConfigured,
    /// No family holds its measure.
    NoFamily(WordKey),
}

/// What the configuration says about the account's series.
pub(in crate::series) struct Settings {
    pub(in crate::series) identity: Arc<Identity>,
    pub(super) per_message: PerMessage,
    pub(super) max_series: usize,
    max_label_length: usize,
    pub(super) applications: HashMap<Arc<str>, Arc<str>>,
}

impl Settings {
    /// The family and labels of a counter of the ledger.
    pub(in crate::series) fn place(&self, key: &CounterKey) -> Result<(FamilyId, Own), Unplaced> {
        let application = self.applications.get(&key.application);
        let application = application.ok_or(Unplaced::NotConfigured)?;
        let mut own = vec![application.clone()];
        let measured = |own: &mut Vec<Arc<str>>, measure: &Measure| {
            own.extend(measure.detail().map(Arc::from));
        };
        let found = |key| find(key).ok_or(Unplaced::NoFamily(key));
        let family = match &key.counter {
            Counter::Total { channel, measure } => {
                own.push(channel.clone());
                measured(&mut own, measure);
                found(WordKey::Total(measure.as_str()))?
            }
            Counter::Campaign {
                channel,
                campaign,
                measure,
            } => {
                own.extend([channel.clone(), campaign.clone()]);
                measured(&mut own, measure);
                found(WordKey::Campaign(measure.as_str()))?
            }
            Counter::Channel {
                message_type,
                platform,
                vendor_channel,
                measure,
            } => {
                own.extend([
                    message_type.clone(),
                    platform.clone(),
                    vendor_channel.clone(),
                ]);
                found(WordKey::ChannelTotal(measure.as_str()))?
            }
            Counter::Cohort { channel, age, part } => {
                own.extend([channel.clone(), Arc::from(age.to_string())]);
                found(WordKey::Cohort(part.as_str()))?
            }
            Counter::CohortChannel {
                platform,
                vendor_channel,
                age,
                part,
            } => {
                own.extend([
                    platform.clone(),
                    vendor_channel.clone(),
                    Arc::from(age.to_string()),
                ]);
                found(WordKey::CohortChannel(part.as_str()))?
            }
            Counter::Report {
                channel,
                status_group,
                status,
                error_group,
                error,
                permanent,
            } => {
                let permanent = match permanent {
                    Some(true) => "true",
                    Some(false) => "false",
                    None => "",
                };
                own.extend([
                    channel.clone(),
                    status_group.clone(),
                    status.clone(),
                    error_group.clone(),
                    error.clone(),
                    Arc::from(permanent),
                ]);
                id(Key::Reports)
            }
            Counter::Latency {
                channel,
                status_group,
            } => {
                own.extend([channel.clone(), status_group.clone()]);
                id(Key::ReportLatency)
            }
            Counter::Cost { channel, currency } => {
                own.extend([channel.clone(), currency.clone()]);
                id(Key::ReportCost)
            }
            Counter::Log {
                action,
                platform,
                status,
            } => {
                own.extend([action.clone(), platform.clone(), status.clone()]);
                id(Key::LogEvents)
            }
            Counter::BouncedAddress { kind, reason } => {
                own.extend([kind.clone(), reason.clone()]);
                id(Key::BouncedAddresses)
            }
        };
        // An earlier version stored texts of any length.
        let own = own.iter().map(|value| self.short(value));
        Ok((family, own.collect()))
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
