//! Conversions and clicks.

use super::*;

#[tokio::test]
async fn links_wait_for_an_email_and_count_what_can_be_read() {
    let script = |path: &str, request: &Value| match path {
        "messages:list" => {
            let mail = json!({"id": 9, "code": "M", "email_info": {"metrics": [{"sends": 1}]}});
            (
                200,
                json!({"items": page(request, &[mail, item(1, "2026-11-25 10:00:00")], 10)}),
            )
        }
        "linksInteractions" => {
            assert_eq!(request["filters"]["messages_codes"], json!(["M"]));
            let range = json!({"date_from": "2026-10-26", "date_to": "2026-11-27"});
            assert_eq!(request["filters"]["date_range"], range);
            (
                200,
                json!({"items": [{"link": "https://a.example/x?1", "clicks": "3"}, 5, {"link": "https://a.example/x", "clicks": 4.0},
                {"link": "https://a.example/y", "clicks": 4}, {"link": "https://a.example/y", "clicks": -4}]}),
            )
        }
        _ => {
            let click = |second: u32, device: &str| json!({"timestamp": format!("2026-11-25 10:00:{second:02}"), "link": "https://a.example/x?1", "hwid": device});
            let mut rows: Vec<Value> = (0..25)
                .map(|second| click(second, &format!("d{}", second % 4)))
                .collect();
            // Two clicks that cannot be told apart, and one that cannot be read.
            rows.push(click(0, "D0"));
            rows.push(json!({"link": "https://a.example/x"}));
            (
                200,
                json!({"total": rows.len(), "items": page(request, &rows, 7)}),
            )
        }
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    for dataset in [vendor::LINKS, vendor::LINK_DEVICES] {
        assert!(dataset.is_about_listed_messages());
        let (observed, result) = bench.whole(dataset, &["M", "C-1"], None).await;
        assert_eq!(
            (observed, result),
            (vec![Observation::NothingToQuery], Ok(()))
        );
    }
    bench.list("2026-11-25T08:00:00Z").await.1.unwrap();
    let values = |observed: &[Observation]| -> Vec<f64> {
        let [Observation::Figures { figures, .. }] = observed else {
            panic!("{observed:?}");
        };
        figures.iter().map(|figure| figure.value).collect()
    };
    let (observed, result) = bench.whole(vendor::LINKS, &["M", "C-1"], None).await;
    assert_eq!(values(&observed), [7.0]);
    assert_eq!(&*result.unwrap_err().text, "2 of the links cannot be read");
    let (observed, result) = bench.whole(vendor::LINK_DEVICES, &["M", "C-1"], None).await;
    assert_eq!(values(&observed), [4.0]);
    assert_eq!(&*result.unwrap_err().text, "1 of the clicks cannot be read");
}

#[tokio::test]
async fn a_message_without_conversions_is_not_yet_and_a_refused_one_is_its_own() {
    for (status, answer, refused) in [
        (404, json!({"code": 5, "message": "no such message"}), false),
        (400, json!({"code": 3, "message": "bad code"}), true),
        (200, json!({"code": 9, "message": "bad code"}), true),
    ] {
        let bench = Bench::new("2026-11-26T08:00:00Z", move |_: &str, _: &Value| {
            (status, answer.clone())
        })
        .await;
        let (observed, result) = bench.named(vendor::INTERVALS, &["A"]).await;
        result.unwrap();
        assert_eq!(
            matches!(observed[0], Observation::MessageRejected { .. }),
            refused,
            "{observed:?}"
        );
        assert_eq!(
            matches!(observed[0], Observation::NotYetAvailable { .. }),
            !refused
        );
    }
    let script = |_: &str, _: &Value| {
        (
            200,
            json!({"metrics": [], "conversion": {"events": {"x": {"hits": "7", "new": 1}}}}),
        )
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    let (observed, result) = bench.named(vendor::INTERVALS, &["A"]).await;
    result.unwrap();
    assert!(matches!(&observed[0], Observation::Figures { figures, .. } if figures.len() == 1));
    assert!(bench.unknown().contains("conversion.events.new"));
}

#[tokio::test]
async fn an_email_that_the_vendor_knows_no_longer_costs_no_other_its_clicks() {
    let script = |path: &str, request: &Value| {
        if path == "messages:list" {
            let mail =
                |index: usize| json!({"code": format!("M-{index}"), "email_info": {"metrics": []}});
            let mails: Vec<Value> = (0..5).map(mail).collect();
            return (200, json!({"items": page(request, &mails, 10)}));
        }
        let codes = request["filters"]["messages_codes"].as_array().unwrap();
        if codes.iter().any(|code| code == "M-3") {
            return (404, json!({"code": 5, "message": "message not found"}));
        }
        let row = |code: &Value| json!({"link": "https://a.example/x", "clicks": 1, "hwid": code});
        let rows: Vec<Value> = codes.iter().map(row).collect();
        if path == "linksInteractions" {
            return (200, json!({"items": rows}));
        }
        (
            200,
            json!({"total": rows.len(), "items": page(request, &rows, 10)}),
        )
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    bench.list("2026-11-25T08:00:00Z").await.1.unwrap();
    let names = ["M-0", "M-1", "M-2", "M-3", "M-4"];
    for dataset in [vendor::LINKS, vendor::LINK_DEVICES] {
        let (observed, result) = bench.whole(dataset, &names, None).await;
        result.unwrap();
        let [Observation::Figures { figures, .. }] = &observed[..] else {
            panic!("{observed:?}");
        };
        assert_eq!(figures[0].value, 4.0);
    }
}

#[tokio::test]
async fn links_are_grouped_without_addresses() {
    let script = |path: &str, request: &Value| match path {
        "messages:list" => {
            let mail = json!({"id": 9, "code": "M", "email_info": {"metrics": [{"sends": 1}]}});
            (200, json!({"items": page(request, &[mail], 10)}))
        }
        _ => {
            let row = |person: &str, clicks: u32| {
                json!({"template": format!("t {person}@x.org"), "title": format!("Hi {person}@x.org"),
                    "link": format!("https://a.example/u/{person}%40x.org/1?a"), "clicks": clicks})
            };
            (200, json!({"items": [row("joe", 3), row("ann", 4)]}))
        }
    };
    let bench = Bench::new("2026-11-26T08:00:00Z", script).await;
    bench.list("2026-11-25T08:00:00Z").await.1.unwrap();
    let (observed, result) = bench.whole(vendor::LINKS, &["M"], None).await;
    result.unwrap();
    let [Observation::Figures { figures, .. }] = &observed[..] else {
        panic!("{observed:?}");
    };
    let kind = crate::model::AppMetricKind::LinkClicks {
        template: Arc::from("t *"),
        link: Arc::from("https://a.example/u/*/1"),
        title: Arc::from("Hi *"),
    };
    let values: Vec<_> = figures.iter().map(|own| (&own.kind, own.value)).collect();
    assert_eq!(values, [(&kind, 7.0)]);
}
