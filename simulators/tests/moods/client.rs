//! A customer of the simulated vendors who asks for everything there is.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use delivery_clock::Clock;
use delivery_simulators::{Running, World, credentials, engagelab::CANARIES};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha1::Sha1;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    /// As it came, without chunks.
    pub raw: Vec<u8>,
}

impl Answer {
    /// The body, unpacked.
    pub fn body(&self) -> Vec<u8> {
        if self
            .headers
            .get("content-encoding")
            .is_some_and(|own| own == "gzip")
        {
            let mut body = Vec::new();
            flate2::read::GzDecoder::new(&self.raw[..])
                .read_to_end(&mut body)
                .unwrap();
            return body;
        }
        self.raw.clone()
    }

    /// The body as JSON, if it is any.
    pub fn json(&self) -> Option<Value> {
        let body = self.body();
        let text = String::from_utf8_lossy(&body);
        serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()
    }
}

/// One request on a connection of its own.
pub async fn ask(
    server: &Running,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let mut text = format!(
        "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\naccept-encoding: gzip\r\ncontent-length: {}\r\n",
        server.address(),
        body.len()
    );
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text += body;
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap()[9..12].parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut raw = all[end + 4..].to_vec();
    if headers.contains_key("transfer-encoding") {
        raw = without_chunks(&raw);
    }
    Answer {
        status,
        headers,
        raw,
    }
}

fn without_chunks(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let length = std::str::from_utf8(&rest[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..][..length]);
        rest = &rest[end + 2 + length + 2..];
    }
}

fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            (byte as char).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A request to Alibaba with the older signature.
pub async fn alibaba(world: &World, clock: &Clock, action: &str, more: &[(&str, &str)]) -> Answer {
    static NONCE: AtomicU64 = AtomicU64::new(0);
    let nonce = NONCE.fetch_add(1, Ordering::Relaxed).to_string();
    let time = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut parameters = vec![
        ("AccessKeyId", credentials::ALIBABA_KEY_ID),
        ("Action", action),
        ("AppKey", credentials::ALIBABA_APP_KEY),
        ("Format", "JSON"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", &nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", &time),
        ("Version", "2016-08-01"),
    ];
    parameters.extend(more);
    parameters.sort_unstable();
    let pair = |(name, value): &(&str, &str)| format!("{}={}", encode(name), encode(value));
    let query = parameters.iter().map(pair).collect::<Vec<_>>().join("&");
    let to_sign = format!("POST&%2F&{}", encode(&query));
    let key = format!("{}&", credentials::ALIBABA_KEY_SECRET);
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(to_sign.as_bytes());
    let signature = encode(&STANDARD.encode(mac.finalize().into_bytes()));
    let target = format!("/?{query}&Signature={signature}");
    ask(&world.servers[3], "POST", &target, &[], "").await
}

pub async fn infobip(world: &World, target: &str) -> Answer {
    let pair = format!(
        "{}:{}",
        credentials::INFOBIP_USERNAME,
        credentials::INFOBIP_PASSWORD
    );
    let authorization = format!("Basic {}", STANDARD.encode(pair));
    let headers = [("authorization", authorization.as_str())];
    ask(&world.servers[0], "GET", target, &headers, "").await
}

pub async fn engagelab(world: &World, target: &str) -> Answer {
    let (key, secret) = (
        credentials::ENGAGELAB_APP_KEY,
        credentials::ENGAGELAB_MASTER_SECRET,
    );
    let authorization = format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")));
    let headers = [("authorization", authorization.as_str())];
    ask(&world.servers[1], "GET", target, &headers, "").await
}

pub async fn pushwoosh(world: &World, path: &str, body: &Value) -> Answer {
    let word = if path.ends_with("Log") { "Key" } else { "Api" };
    let authorization = format!("{word} {}", credentials::PUSHWOOSH_API_TOKEN);
    let headers = [("authorization", authorization.as_str())];
    let target = format!("/api/v2/{path}");
    ask(
        &world.servers[2],
        "POST",
        &target,
        &headers,
        &body.to_string(),
    )
    .await
}

/// Asks everything once; at most so many pages of a list. Returns all answers.
pub async fn round(world: &World, clock: &Clock, pages: usize) -> Vec<Answer> {
    let mut answers = Vec::new();
    let now = clock.now();
    let day = |back: i64| {
        (now - SignedDuration::from_hours(24 * back))
            .strftime("%Y-%m-%d")
            .to_string()
    };
    for known in world.infobip.messages() {
        let target = format!(
            "/push/1/statistics?applicationCode={}&bulkId={}",
            known.application, known.id
        );
        answers.push(infobip(world, &target).await);
    }
    for limit in [1, 1000, 1000] {
        let target = format!("/email/1/reports?limit={limit}");
        answers.push(infobip(world, &target).await);
    }
    let ids: Vec<String> = world
        .engagelab
        .messages()
        .into_iter()
        .map(|known| known.id)
        .collect();
    answers.push(
        engagelab(
            world,
            &format!("/v4/status/detail?message_ids={}", ids.join(",")),
        )
        .await,
    );
    for id in &ids {
        answers.push(engagelab(world, &format!("/v4/status/detail?message_ids={id}")).await);
    }
    let users = format!("time_unit=DAY&start={}&duration=4", day(3));
    answers.push(engagelab(world, &format!("/v4/status/users?{users}")).await);
    let users = format!("time_unit=HOUR&start={}%2000&duration=24", day(0));
    answers.push(engagelab(world, &format!("/v4/status/users?{users}")).await);
    if let Some(id) = ids.first() {
        let devices = CANARIES.join(",");
        let target = format!("/v4/status/message?message_id={id}&registration_ids={devices}");
        answers.push(engagelab(world, &target).await);
    }
    round_of_pushwoosh(world, now, pages, &mut answers).await;
    let time = |back: i64| {
        let time = now - SignedDuration::from_hours(24 * back);
        time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let mut pushes = Vec::new();
    for page in 1..=pages {
        let page = page.to_string();
        let (from, to) = (time(8), time(-1));
        let more = [
            ("StartTime", from.as_str()),
            ("EndTime", &to),
            ("Page", &page),
            ("PageSize", "10"),
        ];
        let answer = alibaba(world, clock, "QueryPushRecords", &more).await;
        let body = answer.json().unwrap_or_default();
        let rows = body["PushInfos"]["PushInfo"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let id = |row: &Value| row["MessageId"].as_str().map(str::to_owned);
        let is_end = rows.is_empty() && answer.status == 200;
        pushes.extend(rows.iter().filter_map(id));
        answers.push(answer);
        if is_end {
            break;
        }
    }
    pushes.sort_unstable();
    pushes.dedup();
    for id in pushes.iter().take(20) {
        let more = [("MessageId", id.as_str())];
        answers.push(alibaba(world, clock, "QueryPushStatByMsg", &more).await);
    }
    let (from, to) = (time(5), time(0));
    let more = [
        ("StartTime", from.as_str()),
        ("EndTime", &to),
        ("Granularity", "DAY"),
    ];
    answers.push(alibaba(world, clock, "QueryPushStatByApp", &more).await);
    answers
}

async fn round_of_pushwoosh(
    world: &World,
    now: Timestamp,
    pages: usize,
    answers: &mut Vec<Answer>,
) {
    let at = |back: i64, form: &str| {
        (now - SignedDuration::from_hours(24 * back))
            .strftime(form)
            .to_string()
    };
    let mut codes = Vec::new();
    for application in credentials::PUSHWOOSH_APPLICATIONS {
        for page in 0..pages {
            let body = json!({"filters": {"application": application,
                "date_range": {"date_from": at(4, "%Y-%m-%d"), "date_to": at(0, "%Y-%m-%d")}},
                "params": {"with_metrics": true}, "per_page": 10, "page": page});
            let answer = pushwoosh(world, "messages:list", &body).await;
            let body = answer.json().unwrap_or_default();
            let rows = body["items"].as_array().cloned().unwrap_or_default();
            let is_end = rows.is_empty() && answer.status == 200;
            for row in rows {
                if let Some(code) = row["code"].as_str() {
                    codes.push((code.to_owned(), row["email_info"].is_object()));
                }
            }
            answers.push(answer);
            if is_end {
                break;
            }
        }
        for page in 0..pages {
            let form = "%Y-%m-%dT00:00:00.000Z";
            let body = json!({"application": application, "date_from": at(9, form),
                "date_to": at(-1, form), "per_page": 20, "page": page});
            answers.push(pushwoosh(world, "statistics/emails/bouncedEmails", &body).await);
        }
        let mut token = Value::Null;
        for _ in 0..pages {
            let form = "%Y-%m-%d %H:%M:%S";
            let mut body = json!({"application_code": application, "date_from": at(2, form),
                "date_to": at(0, form), "limit": 1000});
            if !token.is_null() {
                body["pagination_token"] = token;
            }
            let answer = pushwoosh(world, "statistics/getMessageLog", &body).await;
            token = answer.json().unwrap_or_default()["pagination_token"].take();
            answers.push(answer);
        }
    }
    codes.sort_unstable();
    codes.dedup();
    for (code, _) in codes.iter().take(6) {
        let body = json!({"message_code": code});
        answers.push(pushwoosh(world, "statistics/messages/totalsByIntervals", &body).await);
    }
    let emails: Vec<&String> = codes.iter().filter(|own| own.1).map(|own| &own.0).collect();
    for code in emails {
        let filters = json!({"messages_codes": [code]});
        let body = json!({"filters": filters});
        answers.push(pushwoosh(world, "statistics/emails/linksInteractions", &body).await);
        for page in 0..2 {
            let body = json!({"filters": filters, "per_page": 5, "page": page});
            let path = "statistics/emails/linksInteractionsDevices";
            answers.push(pushwoosh(world, path, &body).await);
        }
    }
}
