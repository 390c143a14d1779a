//! Runbooks: each has the same sections, names only series that exist, and each of its queries runs
//! on a real Prometheus that scrapes the demo with the shipped rules.
//!
//! A query stands in a code block marked `promql`, and has to return something on the healthy demo.
//! Other marks say why it need not:
//!
//! | mark | |
//! |---|---|
//! | `promql empty-when-healthy` | it looks for trouble, and must return nothing |
//! | `promql needs-history` | it compares with days that the demo has not seen |
//! | `promql needs-objectives` | it is about objectives, which the shipped rules do not have |
//! | `promql needs-otlp` | it is about the push by OTLP, which the demo does not use |

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use delivery_exporter::providers::VENDORS;
use serde_json::Value;

use super::{
    demo,
    harness::{client, eventually_within},
};

const SECTIONS: [&str; 5] = ["Meaning", "Impact", "Diagnosis", "Remedy", "Silence"];
/// What a remedy says that holds for all vendors alike.
const FOR_ALL: [&str; 3] = ["For every vendor", "No vendor", "at each vendor"];
/// Recording rules are evaluated once a minute, and some look at what others have recorded.
const FIRST_EVALUATIONS: Duration = Duration::from_secs(240);

/// What a query has to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Something,
    Nothing,
    Anything,
}

#[derive(Debug)]
struct Query {
    runbook: String,
    text: String,
    expected: Expected,
}

/// The names and texts of all runbooks.
fn runbooks() -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks");
    let mut found: Vec<(String, String)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() >= 31, "{}", found.len());
    found
}

/// The code blocks of a text: what they are marked with, and their lines.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in text.lines() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(mark)) => open = Some((mark.trim().to_owned(), String::new())),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, lines)), None) => {
                lines.push_str(line.trim());
                lines.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a code block has no end:\n{text}");
    blocks
}

fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for (runbook, text) in runbooks() {
        for (mark, text) in blocks(&text) {
            let expected = match mark.as_str() {
                "promql" => Expected::Something,
                "promql empty-when-healthy" => Expected::Nothing,
                "promql needs-history" | "promql needs-objectives" | "promql needs-otlp" => {
                    Expected::Anything
                }
                "sh" => continue,
                other => panic!("{runbook}: a code block is marked {other:?}"),
            };
            assert!(
                !text.contains('$'),
                "{runbook}: a variable cannot be pasted: {text}"
            );
            queries.push(Query {
                runbook: runbook.clone(),
                text,
                expected,
            });
        }
    }
    queries
}

#[test]
fn every_runbook_has_the_same_sections_and_says_how_to_look_what_to_do_and_how_to_silence() {
    let mut silent_about = Vec::new();
    for (name, text) in runbooks() {
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('#')).collect();
        let mut expected = vec![format!("# {name}")];
        expected.extend(SECTIONS.map(|section| format!("## {section}")));
        assert_eq!(headings, expected, "{name}");
        let (_, rest) = text.split_once("## Diagnosis\n").unwrap();
        let (diagnosis, rest) = rest.split_once("## Remedy\n").unwrap();
        let (remedy, silence) = rest.split_once("## Silence\n").unwrap();
        let (before, _) = text.split_once("## Diagnosis\n").unwrap();
        let is_query = |(mark, _): &(String, String)| mark.starts_with("promql");
        assert!(blocks(diagnosis).iter().any(is_query), "{name}: no query");
        assert!(!blocks(before).iter().any(is_query), "{name}");
        // Every vendor is spoken of, if only to say that it has no part in it.
        if !FOR_ALL.iter().any(|words| remedy.contains(words)) {
            let vendors = VENDORS.iter().map(|vendor| vendor.short_title);
            let missing = vendors.filter(|title| !remedy.contains(title));
            silent_about.extend(missing.map(|title| format!("{name}: {title}")));
        }
        let command = format!("alertname={name}");
        assert!(
            silence.contains("amtool silence add") && silence.contains(&command),
            "{name}: {silence}"
        );
        for (_, link) in text
            .match_indices("](")
            .map(|(at, _)| text.split_at(at + 2))
        {
            let link = link.split(')').next().unwrap();
            let other = link
                .strip_suffix(".md")
                .unwrap_or_else(|| panic!("{name}: {link}"));
            assert!(
                runbooks().iter().any(|(own, _)| own == other),
                "{name}: {link}"
            );
        }
    }
    assert_eq!(
        silent_about,
        Vec::<String>::new(),
        "Remedy says what to do at each vendor, or one of {FOR_ALL:?}"
    );
}

#[test]
fn queries_name_series_that_the_exporter_has_or_the_rules_record() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = fs::read_to_string(root.join("dashboards/alerts/delivery.rules.yml")).unwrap();
    let recorded: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- record: "))
        .collect();
    let families: BTreeSet<String> = delivery_exporter::catalog::families()
        .map(|family| family.base_name().to_owned())
        .collect();
    let is_part = |character: char| character.is_ascii_alphanumeric() || "_:".contains(character);
    for Query { runbook, text, .. } in queries() {
        for name in text.split(|character| !is_part(character)) {
            let is_known = match name {
                // Those of objectives are recorded where there are objectives.
                _ if name.starts_with("delivery:slo_") => true,
                _ if name.starts_with("delivery:") => recorded.contains(name),
                _ if name.starts_with("delivery_") => ["", "_total", "_bucket", "_count", "_sum"]
                    .iter()
                    .filter_map(|suffix| name.strip_suffix(suffix))
                    .any(|base| families.contains(base)),
                _ => true,
            };
            assert!(is_known, "{runbook}: {name} does not exist");
        }
    }
}

/// The result of a query: its samples, or the error.
async fn run(base: &str, query: &str) -> Result<Vec<Value>, String> {
    let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let url = format!("{base}/api/v1/query?query={query}");
    let answer = client()
        .get(url)
        .send()
        .await
        .map_err(|error| error.to_string())?;
    let text = answer.text().await.map_err(|error| error.to_string())?;
    let mut answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match answer["data"]["result"].take() {
        Value::Array(samples) => Ok(samples),
        _ => Err(answer.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_runs_on_the_demos_prometheus_and_returns_what_it_is_marked_for() {
    let directory = tempfile::tempdir().unwrap();
    let exporter = demo::start(directory.path(), &["--with-prometheus"]).await;
    let base = demo::prometheus(&exporter);
    let mut waiting = queries();
    assert!(waiting.len() > 80, "{}", waiting.len());
    for Query { runbook, text, .. } in &waiting {
        if let Err(error) = run(&base, text).await {
            panic!("{runbook}: {error}\n{text}");
        }
    }
    // What looks for trouble is asked at the end, when there was time for trouble.
    let (silent, rest): (Vec<_>, Vec<_>) = waiting
        .drain(..)
        .partition(|query| query.expected == Expected::Nothing);
    waiting = rest;
    waiting.retain(|query| query.expected == Expected::Something);
    let mut missing = String::new();
    eventually_within(FIRST_EVALUATIONS, "queries have results", async || {
        let mut empty = Vec::new();
        for query in waiting.drain(..) {
            match run(&base, &query.text).await {
                Ok(samples) if samples.is_empty() => empty.push(query),
                Ok(_) => {}
                Err(error) => panic!("{}: {error}", query.runbook),
            }
        }
        waiting = empty;
        let shown = waiting
            .iter()
            .map(|own| format!("{}: {}", own.runbook, own.text));
        let shown: String = shown.collect();
        if shown != missing {
            eprintln!("{} queries have no result yet:\n{shown}", waiting.len());
            missing = shown;
        }
        waiting.is_empty().then_some(())
    })
    .await;
    for Query { runbook, text, .. } in silent {
        let samples = run(&base, &text).await.unwrap();
        assert_eq!(samples, Vec::<Value>::new(), "{runbook}: {text}");
    }
    // Its Prometheus ends with it.
    assert!(exporter.terminate().success());
}
