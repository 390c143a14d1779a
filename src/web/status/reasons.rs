//! Why an account is in trouble: what fails, which rates are low, and the alert that belongs to it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    AccountStatus,
    alerts::Pending,
    history::{BUCKET_SECONDS, bucket_of},
    monitor::Observed,
    rates::{AccountRates, Measured, PartRates},
    remedy::{receipts, remedy},
    words::{Stamp, count, redact, whole_percent},
};
use crate::{config::Account, providers::Vendor};

/// An account is in trouble below this share of its usual rate, if at least this number of deliveries is
/// missing. The thresholds are those of `DeliveryRateDropped`.
const LOW_ACCOUNT: (f64, f64) = (0.85, 50.0);
/// The same for a vendor channel, as in `DeliveryVendorChannelDropped`.
const LOW_CHANNEL: (f64, f64) = (0.7, 30.0);

/// One reason.
pub(super) struct Reason {
    /// What is wrong.
    pub(super) why: String,
    /// The affected data sets or other parts; empty for the whole account.
    pub(super) about: String,
    /// The error texts of the vendor or of the operating system.
    pub(super) details: Vec<String>,
    pub(super) what_to_do: String,
    pub(super) runbook: &'static str,
    pub(super) since: Option<Stamp>,
    /// The alert that evaluates the same condition in Prometheus, over a longer history than the exporter
    /// has.
    pub(super) judged_by: Option<&'static str>,
}

/// Whether a rate is below both thresholds.
fn is_low(measured: &Measured, (share, missing): (f64, f64)) -> bool {
    let below_band = measured
        .usual
        .is_some_and(|usual| measured.rate() < usual.low);
    below_band && measured.share.is_some_and(|own| own < share) && measured.missing() >= missing
}

/// Whether the rate of the whole account is low.
pub(super) fn is_low_account(rates: &AccountRates) -> bool {
    rates
        .now
        .as_ref()
        .is_some_and(|now| is_low(now, LOW_ACCOUNT))
}

/// Whether a vendor channel is low.
pub(super) fn is_low_channel(part: &PartRates) -> bool {
    part.now
        .as_ref()
        .is_some_and(|now| is_low(now, LOW_CHANNEL))
}

/// The reason why a channel has no receipts, if it has none: a rate of 0 % then means nothing.
pub(super) fn without_receipts(vendor: &Vendor, part: &PartRates) -> Option<&'static str> {
    let note = receipts(vendor, &part.key.platform, &part.key.vendor_channel)?;
    let has_had = part
        .now
        .and_then(|now| now.usual)
        .is_some_and(|usual| usual.middle > 0.02);
    let rated = if part.rated.sent > 0.0 {
        part.rated
    } else {
        part.counted
    };
    let has_none = rated.sent > 0.0 && rated.delivered < 0.02 * rated.sent;
    (has_none && !has_had).then_some(note)
}

/// The vendor channels that are low, with the vendors at which they are low.
pub(super) type LowChannels = BTreeMap<String, BTreeSet<&'static Vendor>>;

/// The vendor channels that are low in any account.
pub(super) fn low_channels(notes: &[AccountStatus], observed: &[Observed]) -> LowChannels {
    let mut low = LowChannels::new();
    for (note, observed) in notes.iter().zip(observed) {
        let parts = observed
            .rates
            .parts
            .iter()
            .filter(|part| is_low_channel(part));
        for part in parts.filter(|part| !part.key.vendor_channel.is_empty()) {
            let vendors = low.entry(part.key.vendor_channel.clone()).or_default();
            vendors.insert(note.account.vendor);
        }
    }
    low
}

/// Every reason why an account is in trouble.
pub(super) fn reasons(
    note: &AccountStatus,
    observed: &Observed,
    low_elsewhere: &LowChannels,
    now: Timestamp,
) -> Vec<Reason> {
    let mut reasons = failures(note, now);
    for (source, problem) in &note.broken_sources {
        reasons.push(Reason {
            why: "New messages of this account are not discovered: a list of messages cannot be read."
                .to_owned(),
            about: source.as_str().to_owned(),
            details: vec![redact(problem)],
            what_to_do:
                "Check that the file or address under messages exists and that the exporter may \
                         read it. Messages that are already known are still collected."
                    .to_owned(),
            runbook: "DeliveryDiscoveryFailing",
            since: None,
            judged_by: None,
        });
    }
    reasons.extend(low(&note.account, observed, low_elsewhere, now));
    let explained: BTreeSet<&str> = reasons.iter().map(|own| own.runbook).collect();
    let is_failing = !note.troubles.is_empty();
    let of_alerts: Vec<_> = observed
        .pending
        .iter()
        .filter(|own| !explained.contains(own.rule.name))
        // A failing account also has old data, which is not a separate reason.
        .filter(|own| !is_failing || !FOLLOWS_FAILURE.contains(&own.rule.name))
        .filter_map(|own| of_alert(own, now))
        .collect();
    reasons.extend(of_alerts);
    reasons
}

/// Alerts that follow from any failure.
const FOLLOWS_FAILURE: [&str; 4] = [
    "DeliveryAccountFailing",
    "DeliveryDataOld",
    "DeliveryDiscoveryFailing",
    "DeliveryCohortsMissed",
];

/// The failures of an account, grouped by kind.
fn failures(note: &AccountStatus, now: Timestamp) -> Vec<Reason> {
    let mut by_kind: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for trouble in &note.troubles {
        by_kind.entry(trouble.kind).or_default().push(trouble);
    }
    let mut reasons: Vec<_> = by_kind
        .into_iter()
        .map(|(kind, troubles)| {
            let remedy = remedy(&note.account, kind);
            let about: BTreeSet<String> = troubles
                .iter()
                .map(|own| {
                    if own.application.is_empty() || *own.application == *note.account.name {
                        own.dataset.to_string()
                    } else {
                        format!("{} of {}", own.dataset, own.application)
                    }
                })
                .collect();
            let details: BTreeSet<String> = troubles.iter().map(|own| redact(&own.text)).collect();
            let since = troubles.iter().map(|own| own.since).min();
            Reason {
                why: remedy.why,
                about: about.into_iter().collect::<Vec<_>>().join(", "),
                details: details.into_iter().take(3).collect(),
                what_to_do: remedy.what_to_do,
                runbook: remedy.runbook,
                since: since.map(|at| Stamp::new(at, now)),
                judged_by: None,
            }
        })
        .collect();
    if let (true, Some(error)) = (reasons.is_empty(), &note.last_error) {
        let remedy = remedy(&note.account, crate::providers::FailureKind::Store);
        reasons.push(Reason {
            why: if note.opened {
                "The last pass failed.".to_owned()
            } else {
                "The ledger of this account cannot be opened.".to_owned()
            },
            about: String::new(),
            details: vec![redact(error)],
            what_to_do: remedy.what_to_do,
            runbook: remedy.runbook,
            since: None,
            judged_by: None,
        });
    }
    reasons
}

/// Since when the rate has been below its usual, as the chart shows it.
fn low_since(rates: &AccountRates, now: Timestamp) -> Option<Stamp> {
    let last = rates.rates.len().checked_sub(1)?;
    let is_below = |index: &usize| {
        let usual = rates.band.get(index.div_ceil(4)).copied().flatten();
        let rate = rates.rates.get(*index).copied().flatten();
        rate.zip(usual)
            .is_some_and(|(rate, usual)| rate < usual.low)
    };
    let first = (0..=last).rev().take_while(is_below).last()?;
    let bucket = i64::from(bucket_of(now)) - i64::try_from(last - first).ok()?;
    Some(Stamp::of_unix(bucket * BUCKET_SECONDS, now))
}

/// The reason for a low delivery rate, if it is low.
fn low(
    account: &Account,
    observed: &Observed,
    low_elsewhere: &LowChannels,
    now: Timestamp,
) -> Option<Reason> {
    let rates = &observed.rates;
    let is_low_account = is_low_account(rates);
    let low: Vec<_> = rates
        .parts
        .iter()
        .filter(|part| is_low_channel(part))
        .collect();
    let names: Vec<&str> = low
        .iter()
        .map(|part| part.key.vendor_channel.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    if !is_low_account && low.is_empty() {
        return None;
    }
    let share = rates.now.and_then(|now| now.share).unwrap_or(1.0);
    let missing = rates.now.map_or(0.0, |now| now.missing());
    let period = rates.window.name();
    let is_one_channel = !names.is_empty() && names.len() < rates.parts.len();
    let list = names.join(", ");
    let elsewhere = names.iter().any(|name| {
        low_elsewhere
            .get(*name)
            .is_some_and(|vendors| vendors.len() > 1)
    });
    let details = low
        .iter()
        .filter(|part| !part.key.vendor_channel.is_empty())
        .filter_map(|part| {
            let now = part.now?;
            Some(format!(
                "{}: {} of its usual, {} of {} delivered",
                part.key.vendor_channel,
                whole_percent(now.share?),
                count(now.delivered),
                count(now.sent)
            ))
        })
        .collect();
    let why = if is_low_account {
        let because = match (is_one_channel, &low[..]) {
            (true, [part]) => part.now.and_then(|now| now.share).map(|share| {
                format!(
                    ", because of {list} ({} of its usual)",
                    whole_percent(share)
                )
            }),
            _ => None,
        };
        format!(
            "Fewer messages are delivered than usual: {} of the usual rate at this time of day. About {} \
             deliveries are missing in the last {period}{}.",
            whole_percent(share),
            count(missing),
            because.unwrap_or_default()
        )
    } else {
        format!("A vendor channel delivers far less than usual: {list}.")
    };
    let needs_callback = low.iter().any(|part| {
        receipts(account.vendor, &part.key.platform, &part.key.vendor_channel).is_some()
    });
    let vendor = account.vendor.title;
    let (what_to_do, runbook) = if elsewhere {
        (
            format!(
                "{list} is low at other vendors too, so the channel itself is failing. Look at its \
                 status page; move urgent messages to another channel."
            ),
            "DeliveryVendorChannelOutage",
        )
    } else if is_one_channel {
        (
            format!(
                "Only {list} is low. Check what this application uses for it at {vendor}: certificate or \
                 key, service account, quota. Then look at the channel's own status page.{}",
                if needs_callback {
                    " Its receipts arrive through a callback: check whether it still works."
                } else {
                    ""
                }
            ),
            "DeliveryVendorChannelDropped",
        )
    } else {
        (
            format!(
                "Look at {vendor}'s status page first, then at what was sent: a new app release, a new \
                 audience, one large campaign."
            ),
            "DeliveryRateDropped",
        )
    };
    Some(Reason {
        why,
        about: String::new(),
        details,
        what_to_do,
        runbook,
        since: low_since(rates, now).filter(|_| is_low_account),
        judged_by: Some(runbook),
    })
}

/// The reason for a pending alert that no other reason explains.
fn of_alert(pending: &Pending, now: Timestamp) -> Option<Reason> {
    let (why, what_to_do) = match pending.rule.name {
        "DeliveryAccountFailing" => (
            "Most passes of the last half hour got no successful answer.",
            "If queries succeed again, wait until the average recovers. Otherwise follow the runbook.",
        ),
        "DeliveryCredentialsRefused" => (
            "The vendor has refused the credentials several times.",
            "Check the key and its rights in the vendor's console.",
        ),
        "DeliveryRateLimited" => (
            "The vendor refuses some requests because there are too many. The exporter retries them.",
            "Lower rate_limit or raise interval for this account, and give the exporter its own key.",
        ),
        "DeliveryDataOld" => (
            "Some queries have been overdue for more than 15 minutes.",
            "The account may have more messages than its rate_limit allows it to query: raise rate_limit if \
             the vendor allows it, or lower messages.max_age.",
        ),
        "DeliveryDiscoveryFailing" => (
            "New messages are not discovered: a list of messages cannot be read.",
            "Check the source that is named here. Messages that are already known are still collected.",
        ),
        "DeliveryReportsQuarantined" => (
            "Some delivery reports could not be parsed. They are kept in quarantine.",
            "Update the exporter, then run `delivery-exporter replay` to count them.",
        ),
        "DeliverySeriesDropped" => (
            "Some series are left out because a limit is reached. Totals stay correct.",
            "Raise the limit in the configuration, or track fewer messages or campaigns.",
        ),
        "DeliveryCohortsMissed" => (
            "Some messages were not queried at the age at which they are compared.",
            "Requests are rate-limited or late: raise rate_limit, or check whether the exporter was \
             down.",
        ),
        _ => return None,
    };
    Some(Reason {
        why: why.to_owned(),
        about: pending.about.clone(),
        details: Vec::new(),
        what_to_do: what_to_do.to_owned(),
        runbook: pending.rule.name,
        since: Some(Stamp::of_unix(pending.since, now)),
        judged_by: None,
    })
}
