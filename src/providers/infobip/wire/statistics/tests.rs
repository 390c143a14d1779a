//! Statistics as the vendor documents them, and as it could send them.

use super::*;

fn read(json: &str, unknown: &mut dyn FnMut(&str)) -> Result<Option<Statistics>, String> {
    Statistics::read(&RawFields::parse(json.as_bytes())?, unknown)
}

fn totals(json: &str) -> Result<Totals, String> {
    let read = read(json, &mut |_| {});
    read.unwrap().unwrap().totals()
}

const EXAMPLE: &str = include_str!("../../fixtures/statistics-example.json");

#[test]
fn every_declared_field_is_read_as_its_measure() {
    for field in crate::providers::infobip::vendor::PUSH.channels[0].fields {
        let json = match field.name.split_once('.') {
            Some((outer, inner)) => format!(r#"{{"{outer}": {{"{inner}": 7}}}}"#),
            None => format!(r#"{{"{}": 7}}"#, field.name),
        };
        assert_eq!(
            totals(&json).unwrap().counts,
            [(field.measure, 7)],
            "{json}"
        );
    }
}

#[test]
fn the_vendors_example_is_read_whole() {
    let totals = totals(EXAMPLE).unwrap();
    assert_eq!(
        totals.counts,
        [
            (Measure::Sent, 31569),
            (Measure::Delivered, 29568),
            (Measure::Displayed, 25632),
            (Measure::Errors(ErrorReason::Registration), 1654),
            (Measure::Errors(ErrorReason::Expired), 301),
            (Measure::Errors(ErrorReason::Cloud), 46),
        ]
    );
    assert_eq!(totals.reported_ratio, Some(0.9366));
}

#[test]
fn what_is_missing_or_null_is_absent() {
    for rate in ["null", "\"NaN\"", "{}"] {
        let json = format!(r#"{{"totalSent": 0, "errors": null, "delivery": {{"rate": {rate}}}}}"#);
        let totals = totals(&json).unwrap();
        assert_eq!((totals.counts.len(), totals.reported_ratio), (1, None));
    }
    assert_eq!(
        totals(r#"{"delivery": {"rate": 0}}"#)
            .unwrap()
            .reported_ratio,
        Some(0.0)
    );
    assert_eq!(totals(r#"{"errors": null}"#).unwrap().counts, []);
}

#[test]
fn new_fields_are_noted_and_bad_counts_refused() {
    let mut fields = Vec::new();
    let json = r#"{"totalSent": "5", "errors": {"quota": 1}, "x": {"y": 1}}"#;
    read(json, &mut |field| fields.push(field.to_owned())).unwrap();
    fields.sort();
    assert_eq!(fields, ["errors.quota", "x"]);
    assert!(
        totals(r#"{"totalSent": -5}"#)
            .unwrap_err()
            .contains("totalSent")
    );
}

#[test]
fn an_answer_has_a_documented_field() {
    for json in ["{}", r#"{"x": 1}"#, r#"{"total_sent": 5}"#] {
        let read = read(json, &mut |_| {}).unwrap();
        assert!(read.is_none(), "{json}");
    }
    for json in ["[5, 4, 3]", "null", "7", "<html>", ""] {
        let read = read(json, &mut |_| {});
        assert!(!matches!(read, Ok(Some(_))), "{json}");
    }
}

#[test]
fn a_part_of_another_shape_costs_the_others_nothing_and_is_noted() {
    for part in [
        "[1654, 301, 46]",
        "7",
        "\"none\"",
        "true",
        "[{\"rate\": 5}]",
    ] {
        let json = format!(r#"{{"totalSent": 9, "errors": {part}, "delivery": {part}}}"#);
        let mut fields = Vec::new();
        let unknown = &mut |field: &str| fields.push(field.to_owned());
        let read = read(&json, unknown).unwrap().unwrap();
        let totals = read.totals().unwrap();
        assert_eq!(totals.counts, [(Measure::Sent, 9)], "{part}");
        assert_eq!(totals.reported_ratio, None, "{part}");
        assert_eq!(fields, ["errors", "delivery"], "{part}");
    }
}

#[test]
fn a_number_that_comes_twice_is_none() {
    assert!(
        read(
            r#"{"seen": 1, "totalSent": 9, "totalSent": 5}"#,
            &mut |_| {}
        )
        .is_err()
    );
    let mut fields = Vec::new();
    let json = r#"{"totalSent": 9, "x": 1, "x": 2, "1234.a.7": 3}"#;
    let read = read(json, &mut |field| fields.push(field.to_owned()));
    assert_eq!(
        read.unwrap().unwrap().totals().unwrap().counts,
        [(Measure::Sent, 9)]
    );
    assert_eq!(fields, ["x", "x", "a"]);
}
