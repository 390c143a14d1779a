//! What strangers can do to the web side with connections alone. Whatever they do, others are
//! answered, memory stays bounded, and descriptors come back.
//!
//! Each attack holds more connections than there is room for, plain and over TLS.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

use super::{harness::Exporter, secure::Authority, world};

/// More than the exporter has room for.
const CONNECTIONS: usize = 560;
/// How long an attack goes on.
const ATTACK: Duration = Duration::from_secs(3);
/// Health checks of others are answered within this time: a second, and what a busy machine takes for
/// a connection and its handshake. Unoptimised builds on a busy machine take several times as long.
const HEALTHY: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 2 });
/// Scrapes of others take their turn among those of an attack.
const SCRAPED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 15 } else { 3 });
/// What the process may take at its worst, in MiB: three times what it takes at rest, with room for
/// the buffers of 512 connections.
const MEMORY: u64 = 300;
const TOKEN: &str = "a-token-of-the-api";

/// Anything that bytes go through.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Connects, and says nothing; with TLS, not even a handshake.
    NoByte,
    /// The first bytes of a TLS handshake, also where none is spoken.
    PartOfHandshake,
    /// Nothing after the handshake.
    NoRequest,
    PartOfPreface,
    PartOfHead,
    /// A body that ends never, with the right token.
    PartOfBody,
    /// Asks for `/metrics` again and again, and reads nothing.
    Unread,
    /// HTTP/2, and answers to PINGs, and nothing else.
    IdleHttp2,
    /// Many requests over HTTP/2 with a window of no length.
    NoWindow,
    Continuations,
    Resets,
}

pub const ATTACKS: [Attack; 11] = [
    Attack::NoByte,
    Attack::PartOfHandshake,
    Attack::NoRequest,
    Attack::PartOfPreface,
    Attack::PartOfHead,
    Attack::PartOfBody,
    Attack::Unread,
    Attack::IdleHttp2,
    Attack::NoWindow,
    Attack::Continuations,
    Attack::Resets,
];

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const HEADERS: u8 = 1;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame of HTTP/2 (RFC 9113, 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET /metrics`, in HPACK without its table (RFC 7541, 6.2.2).
pub fn get_metrics() -> Vec<u8> {
    let mut head = vec![0x82, 0x87, 0x04, 8];
    head.extend(b"/metrics");
    head.extend([0x01, 4]);
    head.extend(b"host");
    head
}

/// One connection of an attack, for as long as the server lets it.
pub async fn one(attack: Attack, mut stream: Box<dyn Stream>) -> std::io::Result<()> {
    let head = "GET /metrics HTTP/1.1\r\nHost: host\r\n";
    match attack {
        Attack::NoByte | Attack::NoRequest => {}
        Attack::PartOfHandshake => stream.write_all(&[22, 3, 1, 2, 0, 1]).await?,
        Attack::PartOfPreface => stream.write_all(b"PRI * HT").await?,
        Attack::PartOfHead => stream.write_all(format!("{head}X-").as_bytes()).await?,
        Attack::PartOfBody => {
            let head = format!(
                "POST /api/v1/messages HTTP/1.1\r\nHost: host\r\nAuthorization: Bearer {TOKEN}\r\n\
                 Content-Length: 8000000\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(&[b'['; 8192]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Attack::Unread => {
            for _ in 0..200 {
                stream.write_all(format!("{head}\r\n").as_bytes()).await?;
            }
            stream.flush().await?;
            std::future::pending::<()>().await;
        }
        Attack::IdleHttp2 => {
            stream.write_all(PREFACE).await?;
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
            stream.flush().await?;
            loop {
                let mut head = [0; 9];
                stream.read_exact(&mut head).await?;
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                stream.read_exact(&mut payload).await?;
                if head[4] & ACK == 0 && [SETTINGS, PING].contains(&head[3]) {
                    let payload: &[u8] = if head[3] == PING { &payload } else { &[] };
                    stream.write_all(&frame(head[3], ACK, 0, payload)).await?;
                    stream.flush().await?;
                }
            }
        }
        Attack::NoWindow => {
            let no_window = [0, 4, 0, 0, 0, 0];
            stream.write_all(PREFACE).await?;
            stream.write_all(&frame(SETTINGS, 0, 0, &no_window)).await?;
            for number in 0..200 {
                let flags = END_STREAM | END_HEADERS;
                let request = frame(HEADERS, flags, 2 * number + 1, &get_metrics());
                stream.write_all(&request).await?;
            }
            stream.flush().await?;
            std::future::pending::<()>().await;
        }
        Attack::Continuations => {
            stream.write_all(PREFACE).await?;
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
            let request = frame(HEADERS, END_STREAM, 1, &get_metrics());
            stream.write_all(&request).await?;
            // A header whose value is announced to be long and never comes.
            let more = frame(CONTINUATION, 0, 1, &[0x00, 1, b'x', 127, 0x80, 0x7e]);
            loop {
                stream.write_all(&more).await?;
                stream.flush().await?;
            }
        }
        Attack::Resets => {
            stream.write_all(PREFACE).await?;
            stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
            let mut number = 1;
            loop {
                let flags = END_STREAM | END_HEADERS;
                let request = frame(HEADERS, flags, number, &get_metrics());
                let cancel = frame(RESET, 0, number, &[0, 0, 0, 8]);
                stream.write_all(&[request, cancel].concat()).await?;
                stream.flush().await?;
                number += 2;
            }
        }
    }
    stream.flush().await?;
    // Until the server has had enough.
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Holds the connections of an attack until it is dropped; how many were ended by the server so far.
fn attack(
    attack: Attack,
    address: &str,
    tls: Option<&TlsConnector>,
) -> (JoinSet<()>, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let mut all = JoinSet::new();
    // These keep the processor busy, and it is the processor's speed that they would measure.
    let busy = matches!(attack, Attack::Unread | Attack::NoWindow);
    let count = if busy && cfg!(debug_assertions) {
        CONNECTIONS / 8
    } else {
        CONNECTIONS
    };
    for _ in 0..count {
        let (address, tls, ended) = (address.to_owned(), tls.cloned(), ended.clone());
        all.spawn(async move {
            let work = async {
                let plain = TcpStream::connect(&address).await?;
                let stream: Box<dyn Stream> = match tls {
                    Some(tls) if !matches!(attack, Attack::NoByte | Attack::PartOfHandshake) => {
                        let name = ServerName::try_from("127.0.0.1").unwrap();
                        Box::new(tls.connect(name, plain).await?)
                    }
                    _ => Box::new(plain),
                };
                one(attack, stream).await
            };
            let _ = work.await;
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    (all, ended)
}

/// A number of `/proc/<id>/status`, in its own unit.
fn status(id: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn descriptors(id: u32) -> usize {
    fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
}

/// A client of its own connections, with this authority.
fn client(authority: Option<&Path>) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(Duration::from_secs(20));
    if let Some(directory) = authority {
        let pem = fs::read(directory.join("ca.crt")).unwrap();
        let certificate = reqwest::Certificate::from_pem(&pem).unwrap();
        builder = builder.tls_certs_only([certificate]);
    }
    builder.build().unwrap()
}

async fn withstands(tls: bool) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let config = json!({
        "server": {"api_token": TOKEN},
        "store": world::store(directory),
        "providers": [{"name": "push", "type": "infobip_push", "base_url": "http://127.0.0.1:9",
            "credentials": {"api_key": "k"}, "applications": [{"id": "app"}]}],
    });
    let mut flags = Vec::new();
    let mut connector = None;
    if tls {
        let authority = Authority::new(directory);
        authority.sign("server");
        let web = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";
        fs::write(directory.join("web.yml"), web).unwrap();
        flags.push("--web.config.file=web.yml");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut roots = rustls::RootCertStore::empty();
        for own in authority.certificates() {
            roots.add(own).unwrap();
        }
        let client = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        connector = Some((TlsConnector::from(Arc::new(client.clone())), {
            let mut client = client;
            client.alpn_protocols = vec![b"h2".to_vec()];
            TlsConnector::from(Arc::new(client))
        }));
    }
    let exporter = Exporter::start_with(directory, &config.to_string(), &flags).await;
    let address = exporter.base.replace("http://", "");
    let base = if tls {
        exporter.base.replace("http://", "https://")
    } else {
        exporter.base.clone()
    };
    let client = client(tls.then_some(directory));
    let at_rest = descriptors(exporter.id());
    for kind in ATTACKS {
        let http2 = matches!(
            kind,
            Attack::IdleHttp2 | Attack::NoWindow | Attack::Continuations | Attack::Resets
        );
        let tls = connector.as_ref();
        let tls = tls.map(|(http1, http2_only)| if http2 { http2_only } else { http1 });
        let (connections, ended) = attack(kind, &address, tls);
        let end = Instant::now() + ATTACK;
        let mut slowest = [Duration::ZERO; 2];
        while Instant::now() < end {
            for (path, slowest) in ["/-/healthy", "/metrics"].into_iter().zip(&mut slowest) {
                let began = Instant::now();
                let ask = || client.get(format!("{base}{path}")).send();
                let answer = match ask().await {
                    // A connection that was kept may be closed just then: clients such as Go's ask again.
                    Err(error) if error.is_request() => ask().await,
                    answer => answer,
                };
                let answer = answer.unwrap_or_else(|error| panic!("{kind:?}: {path}: {error:?}"));
                assert_eq!(answer.status(), 200, "{kind:?}: {path}");
                let text = answer.text().await.unwrap();
                assert!(!text.is_empty());
                *slowest = began.elapsed().max(*slowest);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (peak, open) = (
            status(exporter.id(), "VmHWM") >> 10,
            descriptors(exporter.id()),
        );
        println!(
            "{kind:?}, tls {}: slowest answer {slowest:?}, peak {peak} MiB, {open} descriptors, {} of {CONNECTIONS} ended",
            tls.is_some(),
            ended.load(Ordering::Relaxed),
        );
        assert!(slowest[0] < HEALTHY, "{kind:?}: {slowest:?}");
        assert!(slowest[1] < SCRAPED, "{kind:?}: {slowest:?}");
        assert!(peak < MEMORY, "{kind:?}: {peak} MiB");
        drop(connections);
        super::harness::eventually("descriptors come back", async || {
            (descriptors(exporter.id()) <= at_rest + 4).then_some(())
        })
        .await;
    }
    assert!(exporter.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plain_connections_keep_others_out() {
    withstands(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connections_with_tls_keep_others_out() {
    withstands(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_phase_of_a_connection_ends() {
    let directory = tempfile::tempdir().unwrap();
    let config = json!({
        "server": {"api_token": TOKEN},
        "store": world::store(directory.path()),
        "providers": [{"name": "push", "type": "infobip_push", "base_url": "http://127.0.0.1:9",
            "credentials": {"api_key": "k"}, "applications": [{"id": "app"}]}],
    });
    let exporter = Exporter::start(directory.path(), &config.to_string()).await;
    let address = exporter.base.replace("http://", "");
    let began = Instant::now();
    let mut all = JoinSet::new();
    for (kind, within) in [
        (Attack::NoByte, 10..16),
        (Attack::PartOfPreface, 10..16),
        (Attack::PartOfHead, 10..16),
        (Attack::IdleHttp2, 10..16),
        (Attack::PartOfBody, 30..40),
    ] {
        let address = address.clone();
        all.spawn(async move {
            let stream = TcpStream::connect(&address).await.unwrap();
            let _ = one(kind, Box::new(stream)).await;
            let took = began.elapsed().as_secs();
            assert!(within.contains(&took), "{kind:?} ended after {took} s");
        });
    }
    // Where TLS is spoken, a handshake that stands still. Without it such bytes are no request, and
    // the connection ends at once.
    let with_tls = tempfile::tempdir().unwrap();
    let authority = Authority::new(with_tls.path());
    authority.sign("server");
    let web = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n";
    fs::write(with_tls.path().join("web.yml"), web).unwrap();
    let mut config = config;
    config["store"] = world::store(with_tls.path());
    let flags = ["--web.config.file=web.yml"];
    let other = Exporter::start_with(with_tls.path(), &config.to_string(), &flags).await;
    let other = other.base.replace("http://", "");
    let began_handshake = Instant::now();
    all.spawn(async move {
        let stream = TcpStream::connect(&other).await.unwrap();
        let _ = one(Attack::PartOfHandshake, Box::new(stream)).await;
        let took = began_handshake.elapsed().as_secs();
        assert!((10..16).contains(&took), "a handshake ended after {took} s");
    });
    // A scraper may keep its connection between two scrapes.
    let mut scraper = TcpStream::connect(&address).await.unwrap();
    for _ in 0..3 {
        let request = "GET /-/healthy HTTP/1.1\r\nHost: host\r\n\r\n";
        scraper.write_all(request.as_bytes()).await.unwrap();
        let mut buffer = [0; 4096];
        let length = scraper.read(&mut buffer).await.unwrap();
        assert!(buffer[..length].starts_with(b"HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_secs(12)).await;
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
}
