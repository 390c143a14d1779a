//! Problems as `check` shows them: with the line of the file, and without a secret of it.

use std::path::PathBuf;

use super::*;
use crate::golden;

/// A file of `tests/data/check`.
fn data(name: &str) -> (PathBuf, String) {
    let path = Path::new("tests/data/check").join(name);
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).unwrap();
    (path, text)
}

fn report(problems: &[Problem], kind: &str) -> String {
    let all = problems.iter().map(|problem| problem.report(kind));
    all.collect::<Vec<_>>().join("\n")
}

/// What `check` says of a text.
fn errors(path: &Path, text: &str) -> String {
    match parse(path, text, &|_| None) {
        Ok(config) => report(&config.warnings, "warning"),
        Err(errors) => report(&errors.0, "error"),
    }
}

#[test]
fn every_problem_is_shown_at_its_place_with_what_helps_and_without_a_secret() {
    for name in ["bad", "broken"] {
        let (path, text) = data(&format!("{name}.yaml"));
        assert!(text.contains("CANARY"));
        let told = errors(Path::new(path.file_name().unwrap()), &text);
        assert!(!told.contains("CANARY"), "{told}");
        golden::assert_current(&format!("tests/data/check/{name}.txt"), &told);
    }
    let (path, text) = data("web.yml");
    assert!(text.contains("CANARY"));
    let told = report(&web(&path).unwrap_err().0, "error");
    // What is no secret but was written in a place without one is quoted in the text.
    assert!(
        !told.replace("\"CANARY-value\"", "").contains("CANARY"),
        "{told}"
    );
    golden::assert_current("tests/data/check/web.txt", &told);
}

#[test]
fn a_secret_is_masked_however_it_is_written() {
    const SECRET: &str = "hunter2-hunter2";
    let keys = [
        "api_key",
        "password",
        "token",
        "api_kye",
        "secret",
        "webhook_token",
        "proxy_url",
    ];
    let styles = [
        SECRET.to_owned(),
        format!("'{SECRET}'"),
        format!("\"{SECRET}\""),
        format!("[{SECRET}]"),
        format!("{{{SECRET}: {SECRET}}}"),
        format!("|\n        {SECRET}\n        interval: {SECRET}"),
        format!(">-\n        {SECRET} {SECRET}"),
        format!("\"{SECRET}\n        {SECRET}\""),
        format!("!tag {SECRET}"),
        format!("&anchor {SECRET}"),
        format!("*{SECRET}"),
        format!("x # {SECRET}"),
        format!("'{SECRET}"),
        format!("{{{SECRET}"),
    ];
    let mut shown = 0;
    for key in keys {
        for style in &styles {
            for line in [
                format!("    credentials:\n      {key}: {style}\n    x: 1\n"),
                format!("    credentials: {{x: 1, {key}: {style}}}\n"),
                format!("    x: 1\n    {key}: {style}\n"),
                format!("    labels: {{job: 1}} # {SECRET}\n    interval: {SECRET} x: {SECRET}\n"),
            ] {
                let text = format!("providers:\n  - name: a\n    type: infobip_email\n{line}");
                let Err(errors) = with(&text, &[]) else {
                    continue;
                };
                for problem in &errors.0 {
                    let told = problem.report("error");
                    let lines = told.lines().filter(|own| own.contains(" | "));
                    let lines: Vec<_> = lines.collect();
                    shown += lines.len();
                    assert!(
                        lines.iter().all(|own| !own.contains("hunter2")),
                        "{text}\n{told}"
                    );
                }
            }
        }
    }
    assert!(shown > 500, "{shown}");
}

#[test]
fn a_long_line_is_shown_around_the_place() {
    let many: Vec<_> = (0..200).map(|id| format!("\"{id}\"")).collect();
    let text = format!(
        "providers: [{{name: a, type: alibaba_push, messages: {{static: [{}], lst: true, max_age: 1d}}}}]",
        many.join(", ")
    );
    let told = errors(Path::new("config.yaml"), &text);
    let problem = told
        .split("\n\n")
        .find(|own| own.contains("unknown key lst"))
        .unwrap();
    let line = problem.lines().nth(3).unwrap();
    let mark = problem.lines().nth(4).unwrap();
    assert!(line.chars().count() < 130, "{line}");
    let start = mark.find('^').unwrap();
    let marked: String = line.chars().skip(start).take(3).collect();
    assert_eq!(
        (marked.as_str(), mark.matches('^').count()),
        ("lst", 3),
        "{problem}"
    );
    assert!(line.contains('…'), "{line}");
}

#[test]
fn infobip_without_its_own_address_is_a_warning_with_the_place_to_find_it() {
    let config = good(MINIMAL);
    assert_eq!(config.warnings.len(), 1);
    assert_eq!(
        config.warnings[0].report("warning"),
        "warning: base_url is missing: https://api.infobip.com is used, but each account has a base URL of its own, which Infobip's console shows when one is logged in
 --> config.yaml:4:11
  |
4 |     type: infobip_email
  |           ^^^^^^^^^^^^^
  = help: write base_url: https://xxxxx.api.infobip.com
"
    );
}
