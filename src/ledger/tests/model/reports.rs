//! What delivery reports count.

use super::{super::*, Model, Sum};

impl Model {
    /// A report came, by whatever way.
    pub(in crate::ledger::tests) fn report(&mut self, application: &Arc<str>, report: &Report) {
        let known = self.reports.entry(report.message).or_default();
        if known.iter().any(|own| own.report == report.report) {
            self.own.duplicates += 1;
            return;
        }
        let before = known.clone();
        known.push(report.clone());
        let labels = [
            self.name("status_group", &report.status_group),
            self.name("status", &report.status),
            self.name("error_group", &report.error_group),
            self.name("error", &report.error),
        ];
        let permanent = report.permanent.map(|permanent| permanent.to_string());
        let mut all = vec!["email"];
        all.extend(labels.iter().map(AsRef::as_ref));
        all.push(permanent.as_deref().unwrap_or(""));
        self.count(application, counter(catalog::REPORTS, &all), 1);
        let none = |of: &dyn Fn(&Report) -> bool| !before.iter().any(of);
        let mut measures = Vec::new();
        if before.is_empty() {
            measures.push(Measure::Sent);
        }
        if report.outcome == Outcome::Delivered && none(&|own| own.outcome == Outcome::Delivered) {
            measures.push(Measure::Delivered);
        }
        let is_final = |own: &Report| own.outcome != Outcome::Pending;
        let first_final = is_final(report) && none(&is_final);
        match report.outcome {
            Outcome::Bounced(kind) if first_final => measures.push(Measure::Bounces(kind)),
            Outcome::Failed(reason) if first_final => measures.push(Measure::Errors(reason)),
            _ => {}
        }
        for measure in measures {
            if let Some(campaign) = &report.campaign {
                let campaign = self.name("campaign", campaign);
                let labels = ["email", &campaign];
                let counter = measured(catalog::TOTAL_BY_CAMPAIGN, measure, &labels);
                self.count(application, counter, 1);
            }
            let counter = measured(catalog::TOTAL, measure, &["email"]);
            self.count(application, counter, 1);
        }
        if first_final && let Some(latency) = report.latency {
            let status_group = self.name("status_group", &report.status_group);
            let counter = counter(catalog::REPORT_LATENCY, &["email", &status_group]);
            self.add(application, counter, Sum::time(latency));
        }
        if let Some((money, currency)) = &report.cost
            && none(&|own| own.cost.is_some())
        {
            let currency = self.name("currency", currency);
            let counter = counter(catalog::REPORT_COST, &["email", &currency]);
            self.add(application, counter, Sum::money(*money));
        }
    }
}
