//! The gauges of one message: they are made together, and vanish together.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    account::{Own, Sample},
    bounds::Bounds,
    families::{FamilyId, Key, id},
    values::{Number, Value},
};
use crate::model::{Counts, Measure, Snapshot};

/// A message's latest state.
pub(super) struct Group {
    pub(super) application: Arc<str>,
    pub(super) id: Arc<str>,
    pub(super) campaign: Option<Arc<str>>,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) first_seen: Timestamp,
    pub(super) snapshot: Snapshot,
    pub(super) stale_at: Timestamp,
}

impl Group {
    /// Orders messages by age.
    pub(super) fn age_key(&self) -> Timestamp {
        self.sent_at.unwrap_or(self.first_seen)
    }

    /// How many were sent on all channels.
    pub(super) fn sent(&self) -> u64 {
        self.snapshot
            .totals
            .iter()
            .filter_map(|totals| get(&totals.counts, Measure::Sent))
            .sum()
    }
}

fn get(counts: &Counts, measure: Measure) -> Option<u64> {
    counts
        .iter()
        .find(|(own, _)| *own == measure)
        .map(|(_, count)| *count)
}

/// The series of a message. Values whose labels coincide (both became `other`) are added up.
pub(super) fn samples(
    group: &Group,
    channels: bool,
    bounds: &mut Bounds,
) -> Vec<(FamilyId, Sample)> {
    let mut sums: BTreeMap<(FamilyId, Own), Number> = BTreeMap::new();
    let mut add = |family: FamilyId, own: Vec<Arc<str>>, number: Number| {
        let sum = sums
            .entry((family, own.into_boxed_slice()))
            .or_insert(Number::Count(0));
        *sum = match (*sum, number) {
            (Number::Count(sum), Number::Count(count)) => Number::Count(sum.saturating_add(count)),
            (_, number) => number,
        };
    };
    let campaign = group.campaign.clone().unwrap_or_default();
    for totals in &group.snapshot.totals {
        let mut own = |family| {
            let campaign = bounds.value(family, "campaign", &campaign);
            vec![
                group.application.clone(),
                Arc::from(totals.channel),
                campaign,
                group.id.clone(),
            ]
        };
        for (measure, count) in &totals.counts {
            let family = super::families::message(*measure);
            let mut own = own(family);
            own.extend(measure.detail().map(Arc::from));
            add(family, own, Number::Count(*count));
        }
        let sent = get(&totals.counts, Measure::Sent).filter(|sent| *sent > 0);
        let delivered = get(&totals.counts, Measure::Delivered);
        if let (Some(sent), Some(delivered)) = (sent, delivered) {
            let ratio = Number::Count(delivered).as_f64() / Number::Count(sent).as_f64();
            let family = id(Key::MessageDeliveryRatio);
            add(family, own(family), Number::Float(ratio));
        }
        if let Some(ratio) = totals.reported_ratio {
            let family = id(Key::MessageReportedRatio);
            add(family, own(family), Number::Float(ratio));
        }
    }
    if channels {
        for row in &group.snapshot.breakdown {
            for (measure, count) in &row.counts {
                let family = id(Key::Channel(measure.as_str()));
                let own = vec![
                    group.application.clone(),
                    bounds.value(family, "campaign", &campaign),
                    group.id.clone(),
                    bounds.value(family, "message_type", &row.message_type),
                    bounds.value(family, "platform", &row.platform),
                    bounds.value(family, "vendor_channel", &row.vendor_channel),
                ];
                add(family, own, Number::Count(*count));
            }
        }
        for totals in &group.snapshot.types {
            for (measure, count) in &totals.counts {
                let family = id(Key::Type(measure.as_str()));
                let own = vec![
                    group.application.clone(),
                    bounds.value(family, "campaign", &campaign),
                    group.id.clone(),
                    bounds.value(family, "message_type", &totals.message_type),
                ];
                add(family, own, Number::Count(*count));
            }
        }
    }
    let stale_at = Some(group.stale_at);
    sums.into_iter()
        .map(|((family, own), number)| {
            (
                family,
                Sample {
                    own,
                    value: Value::Gauge(number),
                    stale_at,
                },
            )
        })
        .collect()
}
