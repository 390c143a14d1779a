//! The list of messages, and messages by name.

use super::*;
use crate::providers::{Refusal, Scope};

#[tokio::test]
async fn the_list_finds_every_message_whatever_the_order_and_the_length_of_pages() {
    for (cap, newest_first, total) in [
        (1000, true, json!(250)),
        (7, true, json!("250")),
        (100, false, json!(250.0)),
        (100, false, Value::Null),
    ] {
        let mut rows: Vec<Value> = (0..250)
            .map(|index| item(index, &format!("2026-11-{:02} 10:00:00", 1 + index / 10)))
            .collect();
        if newest_first {
            rows.reverse();
        }
        let script = move |path: &str, request: &Value| {
            assert_eq!(path, "messages:list");
            let range = &request["filters"]["date_range"];
            let (from, to) = (
                range["date_from"].as_str().unwrap(),
                range["date_to"].as_str().unwrap(),
            );
            // Neither bound is inclusive.
            let within = |row: &&Value| {
                let day = &row["send_date"].as_str().unwrap()[..10];
                day > from && day < to
            };
            let rows: Vec<Value> = rows.iter().filter(within).cloned().collect();
            let total = if total.is_null() || rows.len() == 250 {
                total.clone()
            } else {
                json!(rows.len())
            };
            (
                200,
                json!({"total": total, "items": page(request, &rows, cap)}),
            )
        };
        let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
        let (observed, result) = bench.list("2026-10-27T08:00:00Z").await;
        result.unwrap();
        let found: BTreeSet<&str> = listed(&observed).into_iter().collect();
        assert_eq!((listed(&observed).len(), found.len()), (250, 250), "{cap}");
        let snapshots = observed
            .iter()
            .filter(|own| matches!(own, Observation::MessageSnapshot(_)));
        assert_eq!(snapshots.count(), 250);
        assert_eq!(
            observed[0],
            Observation::Named {
                alias: Arc::from(observed_id(&observed)),
                id: Arc::from(listed(&observed)[0])
            }
        );
    }
}

fn observed_id(observed: &[Observation]) -> String {
    let index: usize = listed(observed)[0]
        .trim_start_matches("C-")
        .parse()
        .unwrap();
    (1000 + index).to_string()
}

#[tokio::test]
async fn a_list_shorter_than_its_total_fails_after_all_its_messages() {
    let script = |_: &str, request: &Value| {
        let rows: Vec<Value> = (0..25)
            .map(|index| item(index, "2026-11-25 10:00:00"))
            .collect();
        (200, json!({"total": 27, "items": page(request, &rows, 10)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.list("2026-11-25T08:00:00Z").await;
    assert_eq!(listed(&observed).len(), 25);
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.kind, &*failure.text),
        (FailureKind::Vendor, "the list holds 25 of 27 rows")
    );
}

#[tokio::test]
async fn old_messages_are_passed_over_and_one_named_in_two_ways_is_one() {
    let script = |_: &str, request: &Value| {
        let mut by_id = item(1, "2026-11-25 10:00:00");
        by_id.as_object_mut().unwrap().remove("code");
        let rows = [
            by_id,
            item(1, "2026-11-25 10:00:00"),
            item(2, "2026-11-20 10:00:00"),
            json!({"code": "C-3", "created_date": "2026-11-25 12:00:00"}),
        ];
        (200, json!({"items": page(request, &rows, 1)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.list("2026-11-25T08:00:00Z").await;
    result.unwrap();
    assert_eq!(listed(&observed), ["1001", "C-3"]);
    let created = observed.iter().find_map(|own| match own {
        Observation::ListedMessage(message) if &*message.id == "C-3" => message.sent_at,
        _ => None,
    });
    assert_eq!(created, "2026-11-25T12:00:00Z".parse().ok());
}

#[tokio::test]
async fn a_row_without_a_name_costs_no_other_and_is_a_failure() {
    let script = |_: &str, request: &Value| {
        let rows = [
            json!([1]),
            item(1, "2026-11-25 10:00:00"),
            json!({"code": "B", "push_info": 7}),
        ];
        (
            200,
            json!({"total": 3, "items": page(request, &rows, 100), "took": 3}),
        )
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.list("2026-11-25T08:00:00Z").await;
    assert_eq!(listed(&observed), ["C-1", "B"]);
    assert!(matches!(
        observed.last(),
        Some(Observation::MessageFailed { .. })
    ));
    assert_eq!(result.unwrap_err().kind, FailureKind::Decode);
    assert!(bench.unknown().contains("took"));
}

#[tokio::test]
async fn a_refused_name_is_found_by_halving_and_costs_no_other() {
    for (status, answer, reason) in [
        (404, json!({"code": 5, "message": "no such message"}), "5"),
        (400, json!({"error": "no such message"}), "http_400"),
        (200, json!({"code": 3, "message": "no such message"}), "3"),
        (404, json!({"error": "no such message"}), "not_found"),
    ] {
        let script = move |_: &str, request: &Value| {
            let codes = request["filters"]["messages_codes"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            if codes.iter().any(|code| code == "C-5") {
                return (status, answer.clone());
            }
            let rows: Vec<Value> = (0..8)
                .map(|index| item(index, "2026-11-25 10:00:00"))
                .collect();
            let wanted = rows
                .into_iter()
                .filter(|row| codes.contains(&row["code"]) && row["code"] != "C-6");
            let rows: Vec<Value> = wanted.collect();
            (
                200,
                json!({"total": rows.len(), "items": page(request, &rows, 2)}),
            )
        };
        let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
        let names: Vec<String> = (0..8).map(|index| format!("C-{index}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (observed, result) = bench.named(vendor::MESSAGES, &names).await;
        result.unwrap();
        let snapshots = observed
            .iter()
            .filter(|own| matches!(own, Observation::MessageSnapshot(_)));
        assert_eq!(snapshots.count(), 6);
        let not_yet = observed.iter().filter(
            |own| matches!(own, Observation::NotYetAvailable { asked, .. } if &**asked == "C-6"),
        );
        assert_eq!(not_yet.count(), 1);
        let refused = Observation::MessageRejected {
            asked: Arc::from("C-5"),
            reason: Arc::from(reason),
            then: Refusal::UnlessNew,
        };
        assert_eq!(observed.iter().filter(|own| **own == refused).count(), 1);
    }
}

#[tokio::test]
async fn an_application_that_is_refused_costs_no_message_its_place() {
    let script = |_: &str, _: &Value| (400, json!({"code": 3, "message": "application not found"}));
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.named(vendor::MESSAGES, &["A", "B", "7"]).await;
    assert_eq!(observed, []);
    assert_eq!(result.unwrap_err().scope, Scope::Application);
    assert_eq!(bench.requests().len(), 2);
}

#[tokio::test]
async fn names_are_matched_by_their_normalised_form_and_asked_for_in_short_requests() {
    let script = |_: &str, request: &Value| {
        let ids = request["filters"]["messages_ids"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let rows: Vec<Value> = ids
            .iter()
            .map(|id| json!({"id": format!("{id}.0"), "code": format!("M{id}"), "push_info": {"metrics": {"sends": 1}}}))
            .map(|mut row| {
                row["id"] = serde_json::from_str(row["id"].as_str().unwrap()).unwrap();
                row
            })
            .collect();
        (200, json!({"items": page(request, &rows, 10)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.named(vendor::MESSAGES, &["12345678900"]).await;
    result.unwrap();
    let Some(Observation::MessageSnapshot(snapshot)) = observed.last() else {
        panic!("{observed:?}");
    };
    assert_eq!(
        (&*snapshot.asked, &*snapshot.id),
        ("12345678900", "M12345678900")
    );
    bench.requests();
    let long: Vec<String> = (0..100).map(|index| format!("{index:0>500}x")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    bench.named(vendor::MESSAGES, &long).await.1.unwrap();
    let longest = bench
        .requests()
        .iter()
        .map(|body| body.to_string().len())
        .max();
    assert!(longest.unwrap() < 10_000, "{longest:?}");
}

#[tokio::test]
async fn a_message_is_one_in_upper_and_lower_case() {
    // The list and the message by its name spell one code in two ways.
    let script = |_: &str, request: &Value| {
        let mut row = item(1, "2026-11-25 10:00:00");
        if request["filters"].get("date_range").is_some() {
            row["code"] = json!("c-1");
        }
        (200, json!({"items": page(request, &[row], 100)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let named = |alias: &str| Observation::Named {
        alias: Arc::from(alias),
        id: Arc::from("C-1"),
    };
    let (observed, result) = bench.list("2026-11-25T08:00:00Z").await;
    result.unwrap();
    assert_eq!(observed[..2], [named("1001"), named("c-1")]);
    assert_eq!(listed(&observed), ["C-1"]);
    let Some(Observation::MessageSnapshot(snapshot)) = observed.last() else {
        panic!("{observed:?}");
    };
    assert_eq!(&*snapshot.id, "C-1");
    bench.requests();
    // By the folded name it is asked for as the vendor spelled it last.
    for sent in ["c-1", "C-1"] {
        let (observed, result) = bench.named(vendor::MESSAGES, &["C-1"]).await;
        result.unwrap();
        assert_eq!(observed[0], named("1001"));
        assert!(matches!(
            observed.last(),
            Some(Observation::MessageSnapshot(_))
        ));
        let request = bench.requests().remove(0);
        assert_eq!(request["filters"]["messages_codes"], json!([sent]));
    }
    // Watched in two spellings, it is answered under both.
    let (observed, result) = bench.named(vendor::MESSAGES, &["C-1", "c-1"]).await;
    result.unwrap();
    let asked: Vec<_> = observed
        .iter()
        .filter_map(|own| match own {
            Observation::MessageSnapshot(snapshot) => Some((&*snapshot.asked, &*snapshot.id)),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [("C-1", "C-1"), ("c-1", "C-1")]);
    assert!(bench.provider.may_be_another_name("c-1"));
    assert!(!bench.provider.may_be_another_name("C-1"));
}

#[tokio::test]
async fn a_message_that_is_queried_by_its_code_may_be_answered_by_its_id_alone() {
    let script = |_: &str, request: &Value| {
        let mut row = item(7, "2026-11-25 10:00:00");
        row["id"] = json!(12_345_678_900_u64);
        // The first answer names both, the second the id alone.
        let codes = &request["filters"]["messages_codes"];
        if codes.as_array().is_some_and(|codes| codes.len() == 1) {
            row.as_object_mut().unwrap().remove("code");
        }
        (200, json!({"total": 1, "items": page(request, &[row], 10)}))
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    // As long as nothing tells whose row it is, that is a failure and no "not yet".
    let (observed, _) = bench.named(vendor::MESSAGES, &["C-7"]).await;
    assert!(
        matches!(observed[..], [Observation::MessageFailed { .. }]),
        "{observed:?}"
    );
    bench
        .named(vendor::MESSAGES, &["C-7", "C-8"])
        .await
        .1
        .unwrap();
    let (observed, result) = bench.named(vendor::MESSAGES, &["C-7"]).await;
    result.unwrap();
    let [Observation::MessageSnapshot(snapshot)] = &observed[..] else {
        panic!("{observed:?}");
    };
    assert_eq!((&*snapshot.asked, &*snapshot.id), ("C-7", "C-7"));
}
