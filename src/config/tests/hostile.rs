//! Files that are made to take long or to give a secret away.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use super::{good, with};
use crate::{config::message_list, model::Application};

/// How much of a processor reading takes, whatever else the machine does; the least of three.
fn time(read: impl Fn()) -> Duration {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            now.tv_sec.unsigned_abs(),
            u32::try_from(now.tv_nsec).unwrap_or_default(),
        )
    };
    let times = (0..3).map(|_| {
        let begun = now();
        read();
        now().saturating_sub(begun)
    });
    times.min().unwrap_or_default()
}

/// A text made of `count` parts.
fn text(begin: &str, count: usize, part: impl Fn(usize) -> String, end: &str) -> String {
    let parts: String = (0..count).map(part).collect();
    format!("{begin}{parts}{end}")
}

#[test]
fn twice_the_file_takes_twice_the_time() {
    let applications = [Application {
        id: "app".into(),
        name: "app".into(),
    }];
    type Shape = (&'static str, fn(usize) -> String);
    let shapes: [Shape; 12] = [
        ("a mapping", |count| {
            text("", count, |n| format!("key{n}: {n}\n"), "")
        }),
        ("a mapping in braces", |count| {
            text("{", count, |n| format!("\"key{n}\": {n}, "), "}")
        }),
        ("a mapping in braces and lines", |count| {
            text("{", count, |n| format!("key{n}: {n},\n"), "}")
        }),
        ("a list of objects", |count| {
            text(
                "[",
                count,
                |n| format!("{{\"id\":\"{n}\"}},"),
                "{\"id\":\"x\"}]",
            )
        }),
        ("one key again and again", |count| {
            text("", count, |n| format!("key: {n}\n"), "")
        }),
        ("a list", |count| {
            text("", count, |n| format!("- \"{n}\"\n"), "")
        }),
        ("a list of bad messages", |count| {
            text("", count, |_| "- {idd: 1}\n".into(), "")
        }),
        ("aliases", |count| {
            text("- &a x\n", count, |_| "- *a\n".into(), "")
        }),
        ("anchors", |count| {
            text("", count, |n| format!("- &a{n} x\n"), "")
        }),
        ("one long text", |count| {
            text("- \"", count, |_| "abcdefgh ".into(), "\"\n")
        }),
        ("depth", |count| text("", count, |_| "[".into(), "")),
        ("comments", |count| {
            text("", count, |_| "# nothing\n".into(), "")
        }),
    ];
    let mut slow = Vec::new();
    for (name, shape) in shapes {
        let read = |count| {
            let text = shape(count);
            time(|| {
                drop(message_list(
                    Path::new("messages.yaml"),
                    &text,
                    &applications,
                ))
            })
        };
        let (half, whole) = (read(20_000), read(40_000));
        // What is quadratic takes four times as long, and minutes with a million keys.
        let most = half.mul_f64(3.0) + Duration::from_millis(50);
        if whole > most {
            slow.push(format!("{name}: {half:?}, then {whole:?}"));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
}

#[test]
fn a_configuration_of_a_hundred_thousand_keys_is_refused_soon() {
    for text in [
        text("", 100_000, |n| format!("key{n}: {n}\n"), ""),
        text(
            "provider_defaults:\n",
            100_000,
            |n| format!("  key{n}: {n}\n"),
            "providers:\n- {name: a}\n- {name: b}\n",
        ),
        text(
            "providers:\n",
            100_000,
            |n| format!("- {{name: a{n}, kind: x}}\n"),
            "",
        ),
        text("x: &a y\nproviders:\n", 200_000, |_| "- *a\n".into(), ""),
    ] {
        let begun = Instant::now();
        let errors = with(&text, &[]).unwrap_err();
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{:?}",
            begun.elapsed()
        );
        assert!(errors.0.len() <= 1100, "{}", errors.0.len());
    }
}

#[test]
fn a_wrong_url_is_not_repeated() {
    let password = "hunter2-of-the-proxy";
    let provider = |key: &str, url: &str| {
        format!(
            "providers: [{{name: a, type: engagelab, base_url: 'https://x.example', credentials: {{app_key: a, master_secret: b}}, {key}: \"{url}\"}}]"
        )
    };
    let otlp = |url: &str| format!("otlp: {{endpoint: \"{url}\"}}");
    let list = |url: &str| {
        format!(
            "providers: [{{name: a, type: infobip_push, credentials: {{api_key: k}}, applications: [{{id: x}}], messages: {{http: [{{url: \"{url}\"}}]}}}}]"
        )
    };
    for url in [
        format!("htps://user:{password}@proxy:3128"),
        format!("user:{password}@proxy:3128"),
        format!("//user:{password}@proxy:3128"),
        format!("http//user:{password}@proxy"),
        format!("http://user:{password}@"),
        format!("http://user:{password}@proxy:99999"),
        format!("http://user:{password}@pro xy"),
        format!("ftp://proxy/?token={password}"),
    ] {
        for text in [
            provider("proxy_url", &url),
            provider("max_links", &url),
            provider("collect", &url),
            provider("interval", &url),
            format!("store: {{url: \"{url}\"}}"),
            otlp(&url),
            list(&url),
        ] {
            let errors = with(&text, &[]).unwrap_err().to_string();
            assert!(!errors.contains(password), "{text}: {errors}");
        }
    }
    let text = provider("proxy_url", "htps://proxy:3128");
    let errors = with(&text, &[]).unwrap_err().to_string();
    assert!(
        errors.contains("proxy_url has the scheme htps; there are http, https"),
        "{errors}"
    );
    for scheme in ["socks5", "socks5h", "socks4"] {
        let text = provider("proxy_url", &format!("{scheme}://proxy:1080"));
        assert!(with(&text, &[]).is_err(), "{scheme} is not built in");
    }
    good(&provider("proxy_url", "http://user:p@proxy:3128"));
    good(&provider("proxy_url", "https://proxy"));
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for path in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/")] {
        let path = path.display();
        for text in [
            format!("server: {{api_token_file: {path}}}"),
            format!("otlp: {{headers_file: {path}}}"),
            format!("otlp: {{tls: {{ca_file: {path}}}}}"),
            format!("store: {{url_file: {path}}}"),
            format!("provider_files: ['{path}']"),
        ] {
            let errors = with(&text, &[]).unwrap_err().to_string();
            assert!(
                errors.contains("not a regular file") || errors.contains("is a directory"),
                "{text}: {errors}"
            );
        }
        let error = super::super::load(Path::new(&path.to_string()), &|_| None).unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}
