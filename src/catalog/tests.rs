use std::collections::{BTreeSet, HashSet};

use super::*;
use crate::{
    model::{ErrorReason, Measure},
    providers::VENDORS,
};

#[test]
fn the_house_rules_hold_for_every_family() {
    let mut names = HashSet::new();
    for family in all() {
        let name = family.name;
        assert!(names.insert(name), "{name} is there twice");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(plain), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            family.kind == Kind::Counter,
            "{name}"
        );
        assert!(
            family.help.trim_end_matches("{notes}").ends_with('.') && !family.help.contains('\n'),
            "{name}"
        );
        for (unit, suffix) in [("s", "_seconds"), ("By", "_bytes"), ("1", "_ratio")] {
            assert_eq!(
                family.unit == unit,
                family.base_name().ends_with(suffix),
                "{name}"
            );
        }
        let labels: HashSet<_> = family.labels.iter().map(|label| label.name).collect();
        assert_eq!(
            labels.len(),
            family.labels.len(),
            "{name} has a label twice"
        );
    }
}

#[test]
fn the_name_in_opentelemetry_is_that_of_prometheus_without_its_suffixes() {
    for family in all() {
        let name = family.base_name();
        let suffixes = ["_seconds", "_bytes"];
        let name = suffixes
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .unwrap_or(name);
        assert_eq!(family.otlp_name.replace('.', "_"), name);
    }
    assert_eq!(UP.otlp_name, "delivery.up");
    assert_eq!(TOTAL.of(Measure::Sent).otlp_name, "delivery.sent");
    assert_eq!(
        MESSAGE_BY_CHANNEL.of(Measure::InboxOpened).otlp_name,
        "delivery.message.channel.inbox_opened"
    );
    assert_eq!(REPORT_LATENCY.otlp_name, "delivery.report.latency");
}

#[test]
fn constants_name_the_families_that_they_say() {
    assert_eq!(UP.name, "delivery_up");
    assert_eq!(
        MESSAGE_DELIVERY_RATIO.name,
        "delivery_message_delivery_ratio"
    );
    assert_eq!(REPORTS.name, "delivery_reports_total");
    assert_eq!(PROCESS_CPU_SECONDS.name, "process_cpu_seconds_total");
    assert_eq!(PROBE_DURATION.name, "probe_duration_seconds");
    assert_eq!(PROBE_DURATION.index() + 1, FamilyId::COUNT);
    for (place, section) in Section::ALL.into_iter().enumerate() {
        assert_eq!(section as usize, place);
    }
    for measure in Measure::ALL {
        let word = measure.as_str();
        assert_eq!(MESSAGE.of(measure).name, format!("delivery_message_{word}"));
        assert_eq!(
            MESSAGE_BY_CHANNEL.of(measure).name,
            format!("delivery_message_channel_{word}")
        );
        assert_eq!(
            MESSAGE_BY_TYPE.of(measure).name,
            format!("delivery_message_type_{word}")
        );
        assert_eq!(TOTAL.of(measure).name, format!("delivery_{word}_total"));
        assert_eq!(
            TOTAL_BY_CAMPAIGN.of(measure).name,
            format!("delivery_campaign_{word}_total")
        );
        assert_eq!(
            TOTAL_BY_CHANNEL.of(measure).name,
            format!("delivery_channel_{word}_total")
        );
        assert!(TOTAL.has(TOTAL.of(measure)) && !TOTAL.has(TOTAL_BY_CHANNEL.of(measure)));
    }
    for (part, word) in CohortPart::ALL
        .into_iter()
        .zip(["sent", "delivered", "messages"])
    {
        assert_eq!(
            COHORT.of(part).name,
            format!("delivery_cohort_{word}_total")
        );
        assert_eq!(
            COHORT_BY_CHANNEL.of(part).name,
            format!("delivery_cohort_channel_{word}_total")
        );
    }
}

#[test]
fn what_a_measure_is_told_apart_by_is_a_label() {
    for measure in Measure::ALL {
        for family in [
            TOTAL.of(measure),
            TOTAL_BY_CAMPAIGN.of(measure),
            TOTAL_BY_CHANNEL.of(measure),
        ] {
            let details = family
                .counter_labels()
                .filter_map(|label| match label.origin {
                    Origin::Detail(words) => Some(words),
                    _ => None,
                });
            let details: Vec<_> = details.collect();
            match measure.detail() {
                Some(detail) => assert!(details.len() == 1 && details[0].contains(&detail)),
                None => assert!(details.is_empty(), "{}", family.name),
            }
        }
    }
}

/// The measures of the breakdown and of the message types that the decoders can give.
const BREAKDOWN: [(Measure, bool); 8] = [
    (Measure::Targeted, true),
    (Measure::Sent, true),
    (Measure::Delivered, true),
    (Measure::Displayed, true),
    (Measure::Opened, true),
    (Measure::InboxOpened, false),
    (Measure::Unshowable, false),
    (Measure::Errors(ErrorReason::Rejected), false),
];

#[test]
fn what_the_decoders_give_has_series() {
    for vendor in VENDORS {
        for measure in vendor.measures() {
            for level in [MESSAGE, TOTAL, TOTAL_BY_CAMPAIGN] {
                assert!(level.of(measure).is_exposed, "{vendor}: {measure:?}");
            }
        }
    }
    for (measure, of_types) in BREAKDOWN {
        for level in [MESSAGE_BY_CHANNEL, TOTAL_BY_CHANNEL] {
            assert!(level.of(measure).is_exposed, "{measure:?}");
        }
        assert_eq!(
            MESSAGE_BY_TYPE.of(measure).is_exposed,
            of_types,
            "{measure:?}"
        );
    }
    let bounces = Measure::Bounces(crate::model::BounceKind::Hard);
    assert!(!TOTAL_BY_CHANNEL.of(bounces).is_exposed);
}

#[test]
fn a_stored_form_names_one_family() {
    let mut forms = HashSet::new();
    for family in all() {
        let Some(form) = family.stored else { continue };
        let (word, place) = form.word.unzip();
        assert!(forms.insert((form.kind, word)), "{}", family.name);
        let labels = family.counter_labels().count();
        assert!(place.is_none_or(|place| place <= labels), "{}", family.name);
        let mut fields = vec!["x"; labels];
        if let (Some(place), Some(word)) = (place, word) {
            fields.insert(place, word);
        }
        assert_eq!(stored_as(form.kind, &fields), Some((family, place)));
    }
}

/// Labels that accounts must not have, as series had them when this was written.
#[test]
fn no_label_has_gone() {
    let names: BTreeSet<_> = families()
        .flat_map(|family| family.labels.iter().map(|label| label.name))
        .collect();
    let expected = "account action age application campaign channel code currency dataset error \
        error_group event family field kind link message_id message_type outcome permanent platform \
        provider reason revision rustc source status status_group template time_unit title \
        vendor_channel version";
    assert_eq!(names.into_iter().collect::<Vec<_>>().join(" "), expected);
}
