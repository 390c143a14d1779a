//! What a real Chromium finds on the exporter's pages.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use super::super::harness::Exporter;

/// Begins a task of `browser.py`.
pub fn browser(task: &str, address: &str, arguments: &[&str]) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(root.join("target/python/bin/python"))
        .arg(root.join("tests/e2e/browser.py"))
        .args([task, address])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts")
}

/// What Chromium finds.
pub fn found(browser: Child) -> Value {
    let done = browser.wait_with_output().expect("it ends");
    let problems = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{problems}");
    serde_json::from_slice(&done.stdout).expect("it prints JSON")
}

/// What every view of a page has to fulfil.
pub fn accept(views: &Value) {
    for (view, own) in views.as_object().unwrap() {
        assert_eq!(own["console"], json!([]), "{view}");
        assert_eq!(own["violations"], json!([]), "{view}");
        assert_eq!(own["width"], own["wanted_width"], "{view}");
    }
}

/// Looks at the page in all views; `STATUS_PICTURES` is where they are drawn.
pub fn look(exporter: &Exporter, name: &str) -> Value {
    let pictures = std::env::var("STATUS_PICTURES").unwrap_or_else(|_| "-".to_owned());
    let views = found(browser(
        "views",
        &format!("{}/", exporter.base),
        &[name, &pictures],
    ));
    accept(&views);
    for (view, own) in views.as_object().unwrap() {
        assert_eq!(own["outside"], json!([]), "{view}");
        // Not even inside the page, on a phone.
        if view.starts_with("phone") {
            assert_eq!(own["inner"], json!([]), "{view}");
        }
        // Times are the reader's, nine hours ahead of their titles in UTC.
        let times = own["times"].as_array().unwrap();
        assert!(!times.is_empty(), "{view}");
        for time in times {
            let (text, title) = (time[0].as_str().unwrap(), time[1].as_str().unwrap());
            let utc: i64 = title[11..13].parse().unwrap();
            let hour = format!("{:02}:{}", (utc + 9) % 24, &title[14..16]);
            assert!(
                text.contains(&hour) && title.ends_with("UTC"),
                "{view}: {text}, {title}"
            );
        }
    }
    views
}

/// A list of texts.
pub fn strings(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|own| own.as_str().unwrap())
        .collect()
}

/// A number as the page writes it.
pub fn number(text: &str) -> f64 {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
