//! Delivery reports, each counted once (contract 4.3).

use std::sync::Arc;

use super::{
    amount::{Amount, Times},
    image::Draft,
    key::{Counter, CounterKey},
};
use crate::{
    model::Measure,
    providers::{Outcome, Report},
};

/// What is remembered of one message: no address, only what was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    delivered: bool,
    /// A final report was counted: no bounce and no error can follow.
    ended: bool,
    priced: bool,
    /// The reports that were counted, as the first bytes of their digests.
    reports: Vec<[u8; 8]>,
}

impl Memory {
    /// Reads the stored form.
    pub(super) fn parse(bytes: &[u8]) -> Memory {
        let flags = bytes.first().copied().unwrap_or(0);
        let rest = bytes.get(1..).unwrap_or_default();
        Memory {
            delivered: flags & 1 != 0,
            ended: flags & 2 != 0,
            priced: flags & 4 != 0,
            reports: rest.as_chunks::<8>().0.to_vec(),
        }
    }

    /// A byte of flags, then eight bytes a report.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let flags =
            u8::from(self.delivered) | u8::from(self.ended) << 1 | u8::from(self.priced) << 2;
        let mut bytes = Vec::with_capacity(1 + 8 * self.reports.len());
        bytes.push(flags);
        bytes.extend(self.reports.iter().flatten());
        bytes
    }

    /// Counts a report; `false`: it was counted before.
    pub(super) fn count(
        &mut self,
        application: &Arc<str>,
        report: &Report,
        bounds: &[f64],
        draft: &mut Draft<'_>,
    ) -> bool {
        let own = report
            .report
            .first_chunk::<8>()
            .copied()
            .unwrap_or_default();
        if self.reports.contains(&own) {
            return false;
        }
        let first = self.reports.is_empty();
        self.reports.push(own);
        let channel: Arc<str> = Arc::from(report.channel);
        add(
            draft,
            application,
            Counter::Report {
                channel: channel.clone(),
                status_group: report.status_group.clone(),
                status: report.status.clone(),
                error_group: report.error_group.clone(),
                error: report.error.clone(),
                permanent: report.permanent,
            },
            &Amount::Count(1),
        );
        let mut message = |measure| {
            let total = Counter::Total {
                channel: channel.clone(),
                measure,
            };
            add(draft, application, total, &Amount::Count(1));
            if let Some(campaign) = &report.campaign {
                let own = Counter::Campaign {
                    channel: channel.clone(),
                    campaign: campaign.clone(),
                    measure,
                };
                add(draft, application, own, &Amount::Count(1));
            }
        };
        if first {
            message(Measure::Sent);
        }
        match report.outcome {
            // Delivered is the one thing that can follow a bounce.
            Outcome::Delivered if !self.delivered => {
                self.delivered = true;
                message(Measure::Delivered);
            }
            Outcome::Bounced(kind) if !self.ended => message(Measure::Bounces(kind)),
            Outcome::Failed(reason) if !self.ended => message(Measure::Errors(reason)),
            _ => {}
        }
        let is_final = report.outcome != Outcome::Pending;
        if is_final
            && !std::mem::replace(&mut self.ended, true)
            && let Some(latency) = report.latency
        {
            let counter = Counter::Latency {
                channel: channel.clone(),
                status_group: report.status_group.clone(),
            };
            let times = Times::observe(latency, bounds);
            add(draft, application, counter, &Amount::Times(times));
        }
        if let Some((money, currency)) = &report.cost
            && !std::mem::replace(&mut self.priced, true)
        {
            let currency = currency.clone();
            let counter = Counter::Cost { channel, currency };
            add(draft, application, counter, &Amount::Money(*money));
        }
        true
    }
}

fn add(draft: &mut Draft<'_>, application: &Arc<str>, counter: Counter, amount: &Amount) {
    let key: CounterKey = draft.bounded(application, counter);
    draft.add(key, amount);
}
