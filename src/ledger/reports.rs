//! Delivery reports, each counted once (contract 4.3), in memory: what was counted before a start
//! comes back by reading the spool again.

use std::collections::{HashMap, HashSet};

use super::Increment;
use crate::{
    model::Measure,
    providers::{Digest, Outcome, Report},
};

/// What was counted of one account.
#[derive(Default)]
pub(super) struct Reports {
    seen: HashSet<Digest>,
    messages: HashMap<Digest, MessageState>,
}

/// What was counted of one message.
#[derive(Clone, Copy, Default)]
struct MessageState {
    delivered: bool,
    /// A final report was counted: no bounce and no error can follow.
    ended: bool,
    priced: bool,
}

impl Reports {
    /// Counts a report, and says what is new by it.
    pub(super) fn count(&mut self, report: &Report, increments: &mut Vec<Increment>) {
        if !self.seen.insert(report.report) {
            increments.push(Increment::Duplicate);
            return;
        }
        let channel = report.channel;
        increments.push(Increment::Report {
            channel,
            status_group: report.status_group.clone(),
            status: report.status.clone(),
            error_group: report.error_group.clone(),
            error: report.error.clone(),
            permanent: report.permanent,
        });
        let mut message = |measure| {
            let campaign = report.campaign.clone();
            increments.push(Increment::Message {
                measure,
                channel,
                campaign,
            });
        };
        let known = self.messages.contains_key(&report.message);
        let state = self.messages.entry(report.message).or_default();
        if !known {
            message(Measure::Sent);
        }
        let is_final = report.outcome != Outcome::Pending;
        match report.outcome {
            // Delivered is the one thing that can follow a bounce.
            Outcome::Delivered if !state.delivered => {
                state.delivered = true;
                message(Measure::Delivered);
            }
            Outcome::Bounced(kind) if !state.ended => message(Measure::Bounces(kind)),
            Outcome::Failed(reason) if !state.ended => message(Measure::Errors(reason)),
            _ => {}
        }
        if is_final
            && !std::mem::replace(&mut state.ended, true)
            && let Some(latency) = report.latency
        {
            increments.push(Increment::Latency {
                channel,
                status_group: report.status_group.clone(),
                seconds: latency.as_secs_f64(),
            });
        }
        if let Some((amount, currency)) = &report.cost
            && !std::mem::replace(&mut state.priced, true)
        {
            let (amount, currency) = (*amount, currency.clone());
            increments.push(Increment::Cost {
                channel,
                currency,
                amount,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::model::{BounceKind, ErrorReason};

    fn report(message: u8, status: u8, outcome: Outcome) -> Report {
        Report {
            report: [message, status, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            message: [message; 16],
            channel: "email",
            campaign: None,
            status_group: Arc::from("GROUP"),
            status: Arc::from("STATUS"),
            error_group: Arc::from(""),
            error: Arc::from(""),
            permanent: None,
            outcome,
            latency: Some(Duration::from_secs(510)),
            cost: None,
        }
    }

    /// What the reports counted, without the reports themselves.
    fn counted(reports: &[Report]) -> Vec<String> {
        let (mut ledger, mut increments) = (Reports::default(), Vec::new());
        for report in reports {
            ledger.count(report, &mut increments);
        }
        let word = |increment: &Increment| match increment {
            Increment::Report { .. } => None,
            Increment::Message { measure, .. } => Some(format!("{measure:?}")),
            Increment::Latency { seconds, .. } => Some(format!("latency {seconds}")),
            Increment::Cost {
                amount, currency, ..
            } => Some(format!("{amount} {currency}")),
            other => Some(format!("{other:?}")),
        };
        increments.iter().filter_map(word).collect()
    }

    #[test]
    fn a_message_with_three_reports_a_repeat_and_a_stray_one_is_counted_once() {
        let price = Some(("0.0025".parse().unwrap(), Arc::from("EUR")));
        let r1 = Report {
            cost: price.clone(),
            ..report(1, 1, Outcome::Pending)
        };
        let r2 = Report {
            cost: price,
            ..report(1, 2, Outcome::Pending)
        };
        let r3 = report(1, 3, Outcome::Delivered);
        let r4 = report(1, 4, Outcome::Bounced(BounceKind::Hard));
        assert_eq!(
            counted(&[r1, r2, r3.clone(), r3, r4]),
            [
                "Sent",
                "0.0025 EUR",
                "Delivered",
                "latency 510",
                "Duplicate"
            ]
        );
    }

    #[test]
    fn only_delivered_can_follow_a_bounce() {
        let reports = [
            report(1, 1, Outcome::Bounced(BounceKind::Soft)),
            report(1, 2, Outcome::Failed(ErrorReason::Expired)),
            report(1, 3, Outcome::Delivered),
            report(1, 4, Outcome::Bounced(BounceKind::Hard)),
        ];
        assert_eq!(
            counted(&reports),
            ["Sent", "Bounces(Soft)", "latency 510", "Delivered"]
        );
    }

    #[test]
    fn a_final_report_without_news_ends_the_message_all_the_same() {
        let reports = [
            report(1, 1, Outcome::Other),
            report(1, 2, Outcome::Failed(ErrorReason::Dropped)),
            report(2, 1, Outcome::Failed(ErrorReason::Dropped)),
        ];
        let expected = [
            "Sent",
            "latency 510",
            "Sent",
            "Errors(Dropped)",
            "latency 510",
        ];
        assert_eq!(counted(&reports), expected);
    }
}
