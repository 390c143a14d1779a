//! Gauges other than counts of messages: users, canaries, conversions, links.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    groups::{GroupBuilder, Name, Shapes},
    values::Number,
};
use crate::{
    catalog::{self, FamilyId},
    model::{AppMetric, AppMetricKind},
};

/// Adds the series of application metrics. Values with equal labels are added up; of ratios, only one is
/// kept.
pub(super) fn add(
    builder: &mut GroupBuilder,
    shapes: &mut Shapes,
    figures: &[AppMetric],
    name: Name<'_>,
) {
    let mut sums: BTreeMap<(FamilyId, Vec<Arc<str>>), Option<f64>> = BTreeMap::new();
    for figure in figures {
        let (family, labels, lost) = place(&figure.kind, name);
        let is_ratio = figure.kind.is_ratio();
        sums.entry((family, labels))
            .and_modify(|sum| *sum = sum.map(|sum| sum + figure.value).filter(|_| !is_ratio))
            .or_insert(Some(figure.value));
        if lost {
            builder.lose(family);
        }
    }
    for ((family, labels), value) in sums {
        if let Some(value) = value {
            let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
            builder.add(family, shapes.tuple(&labels), number(value));
        }
    }
}

/// Whole numbers become counts.
pub(super) fn number(value: f64) -> Number {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number below 2^53"
    )]
    if (0.0..9_007_199_254_740_992.0).contains(&value) && value.fract() == 0.0 {
        Number::Count(value as u64)
    } else {
        Number::Float(value)
    }
}

/// The family of an application metric, the values of its own labels after the application, and whether a
/// limit replaced one of them.
pub(super) fn place(kind: &AppMetricKind, name: Name<'_>) -> (FamilyId, Vec<Arc<str>>, bool) {
    let (family, texts) = texts(kind);
    let mut any_lost = false;
    let labels = family.family().own_labels().iter().skip(1);
    let values = labels.zip(&texts).map(|(label, text)| {
        let (value, lost) = name(label, text);
        any_lost |= lost;
        value
    });
    let values = values.collect();
    (family, values, any_lost)
}

/// The family of an application metric, and the vendor's texts for its labels.
fn texts(kind: &AppMetricKind) -> (FamilyId, Vec<Arc<str>>) {
    match kind {
        AppMetricKind::UsersNew {
            platform,
            time_unit,
        } => (
            catalog::APP_USERS_NEW,
            vec![platform.clone(), Arc::from(*time_unit)],
        ),
        AppMetricKind::UsersActive {
            platform,
            time_unit,
        } => (
            catalog::APP_USERS_ACTIVE,
            vec![platform.clone(), Arc::from(*time_unit)],
        ),
        AppMetricKind::UsersOnline {
            platform,
            time_unit,
        } => (
            catalog::APP_USERS_ONLINE,
            vec![platform.clone(), Arc::from(*time_unit)],
        ),
        AppMetricKind::CanaryDevices { message_id, status } => (
            catalog::CANARY_DEVICES,
            vec![message_id.clone(), status.clone()],
        ),
        AppMetricKind::ConversionHits {
            campaign,
            message_id,
            event,
        } => (
            catalog::CONVERSION_HITS,
            vec![campaign.clone(), message_id.clone(), event.clone()],
        ),
        AppMetricKind::ConversionRatio {
            campaign,
            message_id,
            event,
        } => (
            catalog::CONVERSION_RATIO,
            vec![campaign.clone(), message_id.clone(), event.clone()],
        ),
        AppMetricKind::ConversionRevenue {
            campaign,
            message_id,
            event,
        } => (
            catalog::CONVERSION_REVENUE,
            vec![campaign.clone(), message_id.clone(), event.clone()],
        ),
        // Links are limited by max_links, in the code that knows the most clicked ones.
        AppMetricKind::LinkClicks {
            template,
            link,
            title,
        } => (
            catalog::LINK_CLICKS,
            vec![template.clone(), link.clone(), title.clone()],
        ),
        AppMetricKind::LinkDevices { link } => (catalog::LINK_DEVICES, vec![link.clone()]),
    }
}
