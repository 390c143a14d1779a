//! Vendors, proxies and receivers that send back what they were sent: no credential comes out.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE},
};
use rand::RngExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::harness::{Exporter, client, eventually_within};

/// How the request is encoded in the answer.
type Encoding = fn(&str) -> String;

const ENCODINGS: [(&str, Encoding); 10] = [
    ("raw", str::to_owned),
    ("base64", |text| STANDARD.encode(text)),
    ("base64 at an offset", |text| {
        STANDARD_NO_PAD.encode(format!("x{text}"))
    }),
    ("URL-safe base64", |text| {
        URL_SAFE.encode(format!("xy{text}"))
    }),
    ("percent", percent),
    ("percent twice", |text| percent(&percent(text))),
    ("JSON escapes", |text| {
        text.encode_utf16()
            .map(|unit| format!("\\u{unit:04X}"))
            .collect()
    }),
    ("HTML escapes", |text| {
        text.chars()
            .map(|c| format!("&#{};", u32::from(c)))
            .collect()
    }),
    ("hexadecimal digits", |text| hex(text.as_bytes())),
    ("upper case", str::to_ascii_uppercase),
];

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What of the request is sent back.
const PARTS: usize = 4;
/// The shapes of answers.
const SHAPES: usize = 12;

/// A server that echoes, and says what it was asked how often.
struct Echo {
    address: String,
    asked: Arc<AtomicUsize>,
}

impl Echo {
    async fn start(statuses: &'static [&'static str]) -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(answer(stream, number, statuses));
            }
        });
        Echo { address, asked }
    }
}

async fn answer(mut stream: TcpStream, number: usize, statuses: &[&str]) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let head = loop {
        match stream.read(&mut buffer).await {
            Ok(read) if read > 0 => request.extend_from_slice(&buffer[..read]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            break head.to_owned();
        }
    };
    // Every combination comes once the server has been asked often enough.
    let (encoding, rest) = (number % ENCODINGS.len(), number / ENCODINGS.len());
    let (part, rest) = (rest % PARTS, rest / PARTS);
    let (shape, rest) = ((rest + number) % SHAPES, rest / SHAPES);
    let status = statuses[(rest + number / 3) % statuses.len()];
    let credentials: Vec<&str> = head
        .lines()
        .filter(|line| {
            let line = line.to_ascii_lowercase();
            ["authorization", "proxy-authorization", "x-acs-", "x-secret"]
                .iter()
                .any(|name| line.starts_with(name))
        })
        .collect();
    let first = head.lines().next().unwrap_or_default();
    let value = credentials.iter().find_map(|line| line.split_once(": "));
    let value = value.map_or(first, |(_, value)| value);
    let text = match part {
        0 => value.to_owned(),
        1 => value.rsplit([' ', '=']).next().unwrap_or(value).to_owned(),
        2 => format!("{}\r\n{first}", credentials.join("\r\n")),
        _ => String::from_utf8_lossy(&request).into_owned(),
    };
    let echo = ENCODINGS[encoding].1(&text);
    let body = match shape {
        0 => echo.clone(),
        1 => format!("<html><body>{echo}</body></html>"),
        2 => json!({"requestError": {"serviceException": {"messageId": echo, "text": echo}}}).to_string(),
        3 => json!({"error": {"code": 21004, "message": echo}}).to_string(),
        4 => json!({"code": 3, "message": echo}).to_string(),
        5 => json!({"Code": "SignatureDoesNotMatch", "Message": echo, "RequestId": echo}).to_string(),
        6 => json!({"code": echo, "message": "x", "Code": echo, "Message": "y"}).to_string(),
        7 => json!({"error": echo}).to_string(),
        8 => json!({echo.clone(): 1, "results": [], "messages": echo}).to_string(),
        // A good answer of one vendor, with the request in its texts.
        9 => json!({"results": [{"bulkId": "b", "messageId": number.to_string(), "to": "somebody@example.com",
            "sentAt": "2026-11-30T10:00:00.000+0000", "doneAt": "2026-11-30T10:00:01.000+0000",
            "status": {"groupName": echo, "name": echo, "id": 5}, "error": {"groupName": echo, "name": echo, "id": 1, "permanent": true}}]}).to_string(),
        10 => format!("{{\"results\": \"{echo}\", \"sent\": \"{echo}\", \"totalSent\": \"{echo}\""),
        _ => json!({"items": [{"code": echo, "id": 1, "title": echo, "send_date": "2026-11-30 10:00:00"}], "total": 1,
            "PushStats": {"PushStat": [{"MessageId": echo, "SentCount": echo}]}}).to_string(),
    };
    let line: String = echo
        .chars()
        .filter(|c| !c.is_control())
        .take(2000)
        .collect();
    let kind = if shape == 1 {
        "text/html"
    } else {
        "application/json"
    };
    let answer = format!(
        "HTTP/1.1 {status} {line}\r\ncontent-type: {kind}\r\nlocation: http://elsewhere.example/{line}\r\nsunset: {line}\r\nwww-authenticate: Basic realm=\"{}\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        line.replace('"', ""),
        body.len()
    );
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// A secret that no other text has.
fn secret(letters: &str) -> String {
    let letters: Vec<char> = letters.chars().collect();
    let mut rng = rand::rng();
    let mut secret: String = (0..24)
        .map(|_| letters[rng.random_range(0..letters.len())])
        .collect();
    secret.push_str("7x");
    secret
}

/// Every way in which a secret can be read out of a text, found without the exporter's own means.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![
        secret.to_owned(),
        secret.to_ascii_uppercase(),
        secret.to_ascii_lowercase(),
        percent(secret),
        percent(secret).to_uppercase(),
        percent(&percent(secret)),
        hex(secret.as_bytes()),
        hex(secret.as_bytes()).to_uppercase(),
        serde_json::to_string(secret)
            .unwrap()
            .trim_matches('"')
            .to_owned(),
        secret
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04X}"))
            .collect(),
        secret
            .chars()
            .map(|c| format!("&#{};", u32::from(c)))
            .collect(),
        secret[..16].to_owned(),
        secret[secret.len() - 16..].to_owned(),
    ];
    for offset in 0..3 {
        // What does not depend on the bytes before and after it.
        let encoded = STANDARD.encode(format!("{}{secret}", &"xyz"[..offset]));
        let inner = &encoded[4..encoded.len() - 4];
        forms.push(inner.to_owned());
        forms.push(inner.replace('+', "-").replace('/', "_"));
        forms.push(inner.to_ascii_uppercase());
        forms.push(percent(inner));
        forms.push(percent(&percent(inner)));
        forms.push(hex(inner.as_bytes()));
        forms.push(
            inner
                .encode_utf16()
                .map(|unit| format!("\\u{unit:04X}"))
                .collect(),
        );
        forms.push(
            inner
                .chars()
                .map(|c| format!("&#{};", u32::from(c)))
                .collect(),
        );
        for second in 0..3 {
            let twice = STANDARD.encode(format!("{}{inner}", &"xyz"[..second]));
            forms.push(twice[4..twice.len() - 4].to_owned());
        }
    }
    forms
}

const LETTERS: &str = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789";
const SIGNS: &str =
    "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ0123456789!$&*+./:=?@^_~%<>,;";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_is_never_shown_however_it_comes_back() {
    const ERRORS: &[&str] = &[
        "400", "401", "403", "404", "429", "500", "200", "200", "302",
    ];
    let vendor = Echo::start(ERRORS).await;
    let proxy = Echo::start(&["407", "502", "403", "200"]).await;
    let receiver = Echo::start(&["400", "500", "200"]).await;
    let list = Echo::start(&["200", "401", "500"]).await;
    let directory = tempfile::tempdir().unwrap();
    let base = format!("http://{}", vendor.address);
    let mut secrets: HashMap<String, String> = HashMap::new();
    let mut new = |name: &str, letters: &str| {
        let own = secret(letters);
        secrets.insert(name.to_owned(), own.clone());
        own
    };
    let encoded = |text: &str| percent(text);
    let mut providers: Vec<Value> = Vec::new();
    let mut add = |name: String, kind: &str, credentials: Value, more: Value| {
        let mut provider = json!({"name": name, "type": kind, "base_url": base, "credentials": credentials,
            "timeout": "2s", "rate_limit": {"requests_per_second": 100, "burst": 100}, "max_concurrency": 8});
        if !matches!(kind, "infobip_email" | "engagelab") {
            provider["applications"] = json!([{"id": "4711", "name": "shop"}]);
        }
        if kind != "infobip_email" {
            let ids: Vec<String> = (0..3)
                .map(|number| format!("{}", 38_138 + number))
                .collect();
            provider["messages"] = json!({"static": ids});
        }
        for (key, value) in more.as_object().unwrap() {
            provider[key] = value.clone();
        }
        providers.push(provider);
    };
    for (round, more) in [
        json!({}),
        json!({"proxy_url": format!("http://proxyuser:{}@{}", encoded(&new("proxy", SIGNS)), proxy.address)}),
        json!({"base_url": "https://vendor.example", "proxy_url": format!("http://proxyuser:{}@{}", encoded(&new("proxy of https", SIGNS)), proxy.address)}),
    ]
    .into_iter()
    .enumerate()
    {
        let mut own = |name: &str, letters| new(&format!("{name} {round}"), letters);
        let basic = json!({"username": "somebody-1", "password": own("password", SIGNS)});
        add(format!("push-{round}"), "infobip_push", basic, more.clone());
        let key = json!({"api_key": own("API key", LETTERS)});
        add(format!("mail-{round}"), "infobip_email", key, more.clone());
        let token = json!({"token": format!("IBSSO {}", own("token", LETTERS))});
        add(format!("tok-{round}"), "infobip_push", token, more.clone());
        let pair = json!({"app_key": "an-app-key-1", "master_secret": own("master secret", LETTERS)});
        add(format!("engage-{round}"), "engagelab", pair, more.clone());
        let token = json!({"api_token": own("API token", SIGNS)});
        add(format!("woosh-{round}"), "pushwoosh", token, more.clone());
        for signature in ["v1", "v3"] {
            let key = json!({"access_key_id": "LTAI-an-id-1", "access_key_secret": own(&format!("key {signature}"), LETTERS),
                "security_token": own(&format!("security token {signature}"), SIGNS), "signature": signature});
            add(format!("ali-{signature}-{round}"), "alibaba_push", key, more.clone());
        }
    }
    let url = format!(
        "http://lister:{}@{}/messages?key={}",
        encoded(&new("list", SIGNS)),
        list.address,
        new("list's query", LETTERS)
    );
    providers[0]["messages"]["http"] = json!([{"url": url, "refresh_interval": "1s"}]);
    let api_token = new("token of the API", LETTERS);
    let config = json!({
        "server": {"api_token": api_token},
        "collection": {"zero_hold": "0s", "interval": "1s", "stale_after": "1h"},
        "otlp": {"endpoint": format!("http://{}", receiver.address), "interval": "1s", "compression": "none",
            "headers": {"Authorization": format!("Bearer {}", new("header of OTLP", LETTERS)), "x-secret": new("other header of OTLP", LETTERS)}},
        "providers": providers,
    });
    let flags = ["--log.level=debug"];
    let exporter = Exporter::start_with(directory.path(), &config.to_string(), &flags).await;
    let mut texts: Vec<(String, String)> = Vec::new();
    let wanted = ENCODINGS.len() * PARTS * SHAPES;
    let all_came = || {
        vendor.asked.load(Ordering::Relaxed) > 2 * wanted
            && proxy.asked.load(Ordering::Relaxed) > wanted / 4
            && list.asked.load(Ordering::Relaxed) > 5
            && receiver.asked.load(Ordering::Relaxed) > 5
    };
    let patience = Duration::from_secs(240);
    eventually_within(patience, "every echo has come", async || {
        for path in [
            "/metrics",
            "/",
            "/?account=push-0",
            "/api/v1/status",
            "/api/v1/messages?account=push-0",
            "/api/v1/messages?account=woosh-0",
        ] {
            let asked = client()
                .get(format!("{}{path}", exporter.base))
                .bearer_auth(&api_token);
            let answer = asked.send().await.unwrap();
            let head = format!("{:?}", answer.headers());
            texts.push((path.to_owned(), head + &answer.text().await.unwrap()));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        all_came().then_some(())
    })
    .await;
    // A reload that is refused, with a URL that is wrong.
    let password = new("wrong URL", LETTERS);
    let mut wrong = config.clone();
    wrong["providers"][1]["proxy_url"] = json!(format!("htps://user:{password}@proxy"));
    fs::write(directory.path().join("config.yaml"), wrong.to_string()).unwrap();
    exporter.signal("HUP");
    eventually_within(patience, "the reload is refused", async || {
        exporter
            .log()
            .contains("the old one stays in force")
            .then_some(())
    })
    .await;
    texts.push(("/ after a reload".into(), exporter.get("/").await.1));
    let log = exporter.log();
    assert!(log.contains("querying the vendor failed"), "{log}");
    texts.extend(log.lines().map(|line| ("log".to_owned(), line.to_owned())));
    drop(exporter);
    for (name, secret) in &secrets {
        for form in forms(secret) {
            for (place, text) in &texts {
                if let Some(at) = text.find(&form) {
                    let start = text.floor_char_boundary(at.saturating_sub(300));
                    let end = text.ceil_char_boundary((at + form.len() + 100).min(text.len()));
                    panic!(
                        "{name} ({secret}) is in {place} as {form}: {}",
                        &text[start..end]
                    );
                }
            }
        }
    }
    for pair in ["somebody-1:", "proxyuser:"] {
        let encoded = STANDARD.encode(pair);
        let encoded = &encoded[..encoded.len() - 4];
        assert!(
            !texts.iter().any(|(_, text)| text.contains(encoded)),
            "{pair}"
        );
    }
}
