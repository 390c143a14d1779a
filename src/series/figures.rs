//! The gauges that are no counts of messages: users, canaries, conversions, links.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    families::{FamilyId, Key, id},
    groups::{Draft, Name, Shapes},
    values::Number,
};
use crate::model::{Figure, FigureKind};

/// Adds the series of figures. Values whose labels coincide are added up; of ratios, one is left out.
pub(super) fn add(draft: &mut Draft, shapes: &mut Shapes, figures: &[Figure], name: Name<'_>) {
    let mut sums: BTreeMap<(FamilyId, Vec<Arc<str>>), Option<f64>> = BTreeMap::new();
    for figure in figures {
        let (family, labels, lost) = place(&figure.kind, name);
        let is_ratio = figure.kind.is_ratio();
        sums.entry((family, labels))
            .and_modify(|sum| *sum = sum.map(|sum| sum + figure.value).filter(|_| !is_ratio))
            .or_insert(Some(figure.value));
        if lost {
            draft.lose(family);
        }
    }
    for ((family, labels), value) in sums {
        if let Some(value) = value {
            let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
            draft.add(family, shapes.tuple(&labels), number(value));
        }
    }
}

/// Whole numbers are written as such.
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

pub(super) fn place(kind: &FigureKind, name: Name<'_>) -> (FamilyId, Vec<Arc<str>>, bool) {
    let users = |key: Key, platform: &Arc<str>, time_unit: &'static str| {
        let (platform, lost) = name("platform", platform);
        (id(key), vec![platform, Arc::from(time_unit)], lost)
    };
    let conversion = |key: Key, labels: [&Arc<str>; 3]| {
        let (campaign, campaign_lost) = name("campaign", labels[0]);
        let (event, event_lost) = name("event", labels[2]);
        let labels = vec![campaign, name("message_id", labels[1]).0, event];
        (id(key), labels, campaign_lost || event_lost)
    };
    match kind {
        FigureKind::UsersNew {
            platform,
            time_unit,
        } => users(Key::AppUsersNew, platform, time_unit),
        FigureKind::UsersActive {
            platform,
            time_unit,
        } => users(Key::AppUsersActive, platform, time_unit),
        FigureKind::UsersOnline {
            platform,
            time_unit,
        } => users(Key::AppUsersOnline, platform, time_unit),
        FigureKind::CanaryDevices { message_id, status } => {
            let (status, lost) = name("status", status);
            (
                id(Key::CanaryDevices),
                vec![name("message_id", message_id).0, status],
                lost,
            )
        }
        FigureKind::ConversionHits {
            campaign,
            message_id,
            event,
        } => conversion(Key::ConversionHits, [campaign, message_id, event]),
        FigureKind::ConversionRatio {
            campaign,
            message_id,
            event,
        } => conversion(Key::ConversionRatio, [campaign, message_id, event]),
        FigureKind::ConversionRevenue {
            campaign,
            message_id,
            event,
        } => conversion(Key::ConversionRevenue, [campaign, message_id, event]),
        // Links are bounded by max_links, where the most clicked are known.
        FigureKind::LinkClicks {
            template,
            link,
            title,
        } => (
            id(Key::LinkClicks),
            vec![
                name("template", template).0,
                name("link", link).0,
                name("title", title).0,
            ],
            false,
        ),
        FigureKind::LinkDevices { link } => {
            (id(Key::LinkDevices), vec![name("link", link).0], false)
        }
    }
}
