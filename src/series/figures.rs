//! The gauges that are no counts of messages: users, canaries, conversions, links.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

use super::{
    account::{Own, Sample},
    bounds::Bounds,
    families::{FamilyId, Key, id},
    values::{Number, Value},
};
use crate::model::{Figure, FigureKind};

/// Figures that were told together.
pub(super) struct Figures {
    pub(super) application: Arc<str>,
    pub(super) figures: Vec<Figure>,
    pub(super) stale_at: Timestamp,
}

/// Their series. Values whose labels coincide are added up; of ratios, one is left out.
pub(super) fn samples(own: &Figures, bounds: &mut Bounds) -> Vec<(FamilyId, Sample)> {
    let mut sums: BTreeMap<(FamilyId, Own), Option<f64>> = BTreeMap::new();
    for figure in &own.figures {
        let (family, labels) = place(&figure.kind, bounds);
        let labels = std::iter::once(own.application.clone()).chain(labels);
        let is_ratio = figure.kind.is_ratio();
        sums.entry((family, labels.collect()))
            .and_modify(|sum| *sum = sum.map(|sum| sum + figure.value).filter(|_| !is_ratio))
            .or_insert(Some(figure.value));
    }
    let stale_at = Some(own.stale_at);
    sums.into_iter()
        .filter_map(|((family, own), value)| {
            let value = Value::Gauge(number(value?));
            let sample = Sample {
                own,
                value,
                stale_at,
            };
            Some((family, sample))
        })
        .collect()
}

/// Whole numbers are written as such.
fn number(value: f64) -> Number {
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

fn place(kind: &FigureKind, bounds: &mut Bounds) -> (FamilyId, Vec<Arc<str>>) {
    let users = |key: Key, platform: &Arc<str>, time_unit: &'static str, bounds: &mut Bounds| {
        let family = id(key);
        let platform = bounds.value(family, "platform", platform);
        (family, vec![platform, Arc::from(time_unit)])
    };
    let conversion = |key: Key, labels: [&Arc<str>; 3], bounds: &mut Bounds| {
        let family = id(key);
        let campaign = bounds.value(family, "campaign", labels[0]);
        let event = bounds.value(family, "event", labels[2]);
        (family, vec![campaign, labels[1].clone(), event])
    };
    match kind {
        FigureKind::UsersNew {
            platform,
            time_unit,
        } => users(Key::AppUsersNew, platform, time_unit, bounds),
        FigureKind::UsersActive {
            platform,
            time_unit,
        } => users(Key::AppUsersActive, platform, time_unit, bounds),
        FigureKind::UsersOnline {
            platform,
            time_unit,
        } => users(Key::AppUsersOnline, platform, time_unit, bounds),
        FigureKind::CanaryDevices { message_id, status } => {
            let family = id(Key::CanaryDevices);
            let status = bounds.value(family, "status", status);
            (family, vec![message_id.clone(), status])
        }
        FigureKind::ConversionHits {
            campaign,
            message_id,
            event,
        } => conversion(Key::ConversionHits, [campaign, message_id, event], bounds),
        FigureKind::ConversionRatio {
            campaign,
            message_id,
            event,
        } => conversion(Key::ConversionRatio, [campaign, message_id, event], bounds),
        FigureKind::ConversionRevenue {
            campaign,
            message_id,
            event,
        } => conversion(
            Key::ConversionRevenue,
            [campaign, message_id, event],
            bounds,
        ),
        // Links are bounded by max_links, where the most clicked are known.
        FigureKind::LinkClicks {
            template,
            link,
            title,
        } => (
            id(Key::LinkClicks),
            vec![template.clone(), link.clone(), title.clone()],
        ),
        FigureKind::LinkDevices { link } => (id(Key::LinkDevices), vec![link.clone()]),
    }
}
