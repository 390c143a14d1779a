//! Compressed bodies that unpack to far more than anybody sent, from every vendor and to every door: bounded memory
//! and time, and a failure that shows.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, Instant},
};

use delivery_exporter::providers::{VENDORS, Vendor};
use flate2::{Compress, Compression, FlushCompress, write::GzEncoder};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{
    harness::{Exporter, Metrics, client, eventually},
    matrix::status,
    sample,
};

/// A gigabyte of zeros by brotli.
const BROTLI: &[u8] = include_bytes!("bombs/zeros.br");
/// What the other whole bombs unpack to.
const UNPACKED_BYTES: usize = 256 << 20;
const BLOCK_BYTES: usize = 1 << 20;
/// `limits.max_response_bytes`.
const LIMIT_BYTES: usize = 1 << 20;
/// What the process may take at the most. One bomb that is unpacked whole takes as much.
const MAX_MEMORY_MIB: u64 = 200;
/// The length of a body of small values, and what the process may take at the most while three accounts get one:
/// the bodies themselves, with room to grow.
const CROWD_BYTES: usize = 48 << 20;
const MAX_CROWD_MIB: u64 = 300;
/// So soon every failure shows.
const SEEN_WITHIN: Duration = Duration::from_secs(40);
/// An endless body arrives at so many bytes each time; it is slower than the network, so that others get their turn.
const PIECE_BYTES: usize = 64 << 10;
const PIECE_PAUSE: Duration = Duration::from_millis(4);

/// A compressed body.
struct Bomb {
    name: &'static str,
    status: &'static str,
    /// The values of `Content-Encoding`, one header each.
    encodings: &'static [&'static str],
    first: Vec<u8>,
    /// What follows again and again, without an end.
    again: Vec<u8>,
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The shortest head of gzip data; with this flag.
fn head(flag: u8) -> Vec<u8> {
    vec![0x1f, 0x8b, 8, flag, 0, 0, 0, 0, 0, 3]
}

/// A block of deflated zeros that can be followed by itself.
fn block() -> Vec<u8> {
    let mut compress = Compress::new(Compression::best(), false);
    let (zeros, mut block) = (vec![0; BLOCK_BYTES], Vec::with_capacity(1 << 16));
    let flush = FlushCompress::Full;
    compress.compress_vec(&zeros, &mut block, flush).unwrap();
    assert_eq!(compress.total_in(), zeros.len() as u64);
    block
}

/// [`UNPACKED_BYTES`] zeros, deflated.
fn deflated() -> Vec<u8> {
    let mut blocks = block().repeat(UNPACKED_BYTES / BLOCK_BYTES);
    // The last block: it is empty.
    blocks.extend([3, 0]);
    blocks
}

/// The same as gzip data.
fn gzipped() -> Vec<u8> {
    let (mut checksum, zeros) = (crc32fast::Hasher::new(), vec![0; BLOCK_BYTES]);
    for _ in 0..UNPACKED_BYTES / BLOCK_BYTES {
        checksum.update(&zeros);
    }
    let length = u32::try_from(UNPACKED_BYTES).unwrap();
    let ends = [checksum.finalize().to_le_bytes(), length.to_le_bytes()];
    [head(0), deflated(), ends.concat()].concat()
}

/// The same as `deflate` of HTTP, which has a checksum of its own.
fn zlib() -> Vec<u8> {
    let checksum = u32::try_from(UNPACKED_BYTES % 65_521).unwrap() << 16 | 1;
    [vec![0x78, 0xda], deflated(), checksum.to_be_bytes().into()].concat()
}

fn bombs() -> Vec<Bomb> {
    let packed = gzipped();
    let mut whole_content = flate2::read::GzDecoder::new(&packed[..]);
    let unpacked = std::io::copy(&mut whole_content, &mut std::io::sink());
    assert_eq!(unpacked.unwrap(), UNPACKED_BYTES as u64);
    let twice = gzip(&packed);
    let zstd = zstd::bulk::compress(&vec![0; UNPACKED_BYTES], 3).unwrap();
    let empty = gzip(b"");
    let whole = |name, encodings, first: &[u8]| Bomb {
        name,
        status: "200 OK",
        encodings,
        first: first.to_vec(),
        again: Vec::new(),
    };
    let endless = |name, first: Vec<u8>, again: &[u8]| Bomb {
        name,
        status: "200 OK",
        encodings: &["gzip"],
        first,
        again: again.repeat((PIECE_BYTES / again.len()).max(1)),
    };
    vec![
        whole("gzip", &["gzip"], &packed),
        Bomb {
            status: "503 Service Unavailable",
            ..whole("gzip-of-an-error", &["gzip"], &packed)
        },
        whole("undeclared", &[], &packed),
        whole("gzip-twice", &["gzip, gzip"], &twice),
        whole("gzip-in-two-headers", &["gzip", "gzip"], &twice),
        whole("deflate", &["deflate"], &zlib()),
        whole("brotli", &["br"], BROTLI),
        whole("zstd", &["zstd"], &zstd),
        endless("endless-zeros", head(0), &block()),
        // What unpacks to nothing never reaches a limit of bytes.
        endless("endless-members", Vec::new(), &empty),
        endless("endless-blocks", head(0), &[0, 0, 0, 0xff, 0xff]),
        endless("endless-name", head(8), b"x"),
    ]
}

/// Answers every request with a bomb.
async fn serve(bomb: Bomb) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let bomb = Arc::new(bomb);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let bomb = bomb.clone();
            // A client that has had enough closes the connection.
            tokio::spawn(async move { answer(stream, &bomb).await });
        }
    });
    format!("http://{address}")
}

async fn answer(mut stream: TcpStream, bomb: &Bomb) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|own| own == b"\r\n\r\n") {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let encodings = bomb.encodings.iter();
    let encodings: String = encodings
        .map(|own| format!("content-encoding: {own}\r\n"))
        .collect();
    let head = format!(
        "HTTP/1.1 {}\r\ncontent-type: application/json\r\n{encodings}connection: close\r\n\r\n",
        bomb.status
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&bomb.first).await?;
    while !bomb.again.is_empty() {
        stream.write_all(&bomb.again).await?;
        tokio::time::sleep(PIECE_PAUSE).await;
    }
    stream.shutdown().await
}

/// The vendor's own sample as an account of this name at this address, with the times of the test. Its list of messages is
/// left as it is.
fn account(vendor: &Vendor, name: &str, base_url: &str) -> String {
    let mut keys = vec![("base_url", json!(base_url))];
    for (key, value) in [
        ("interval", "4s"),
        ("timeout", "1500ms"),
        ("stale_after", "1h"),
    ] {
        keys.push((key, json!(value)));
    }
    keys.push(("dataset_intervals", json!({})));
    sample::account(vendor, name, &keys)
}

/// Why the queries of an account failed.
fn reasons(metrics: &Metrics, account: &str) -> Vec<String> {
    let own = [("account", account)];
    let failures = metrics.find("delivery_exporter_collect_failures_total", &own);
    failures
        .filter(|(_, count)| *count > 0.0)
        .map(|(labels, _)| labels["reason"].clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_compressed_answer_of_any_vendor_fills_memory_or_stays_unseen() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = format!(
        "store: {{spool: spool}}\ncollection: {{zero_hold: 0s}}\n\
         limits: {{max_response_bytes: {LIMIT_BYTES}}}\nproviders:\n"
    );
    let mut accounts = Vec::new();
    for bomb in bombs() {
        let kind = bomb.name;
        let base_url = serve(bomb).await;
        for vendor in VENDORS {
            let name = format!("{}-{kind}", vendor.name);
            config.push_str(&account(vendor, &name, &base_url));
            accounts.push(name);
        }
    }
    let began = Instant::now();
    let exporter = Exporter::start(directory.path(), &config).await;
    let mut slowest = Duration::ZERO;
    let mut scrape = async || {
        let asked = Instant::now();
        let metrics = exporter.metrics().await;
        slowest = slowest.max(asked.elapsed());
        metrics
    };
    let metrics = eventually("every account fails", async || {
        let metrics = scrape().await;
        let failed = |name: &String| {
            let own = [("account", name.as_str())];
            let mut success = metrics.find("delivery_exporter_collect_success", &own);
            let is_down = metrics.get("delivery_up", &own) == Some(0.0);
            is_down && success.any(|own| own.1 == 0.0) && !reasons(&metrics, name).is_empty()
        };
        let left: Vec<_> = accounts.iter().filter(|own| !failed(own)).collect();
        if left.is_empty() {
            return Some(metrics);
        }
        assert!(began.elapsed() < SEEN_WITHIN, "{left:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        None
    })
    .await;
    for name in &accounts {
        println!("{name}: {:?}", reasons(&metrics, name));
    }
    // Once more, with everything that the first failures have left behind.
    tokio::time::sleep(Duration::from_secs(5)).await;
    scrape().await;
    let peak = status(exporter.id(), "VmHWM:") >> 10;
    println!("peak {peak} MiB, slowest scrape {slowest:?}");
    assert!(peak < MAX_MEMORY_MIB, "{peak} MiB");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert!(exporter.terminate().success());
}

/// A body below the default `max_response_bytes` whose values would take many times its length.
fn crowd(name: &'static str, begin: &str, value: &str) -> Bomb {
    let text = format!("{begin}{}", value.repeat(CROWD_BYTES / value.len()));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    Bomb {
        name,
        status: "200 OK",
        encodings: &["gzip"],
        first: encoder.finish().unwrap(),
        again: Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_crowd_of_small_values_fills_memory() {
    for vendor in VENDORS {
        let directory = tempfile::tempdir().unwrap();
        let mut config =
            "store: {spool: spool}\ncollection: {zero_hold: 0s}\nproviders:\n".to_owned();
        let crowds = [
            crowd("reports", r#"{"results":["#, r#"{"messageId":"1"},"#),
            crowd("items", r#"{"total":9,"items":["#, r#"{"id":1},"#),
            crowd("lists", "", "["),
        ];
        let names: Vec<String> = crowds.iter().map(|own| own.name.to_owned()).collect();
        for crowd in crowds {
            let name = crowd.name;
            let base_url = serve(crowd).await;
            let account = account(vendor, name, &base_url);
            config.push_str(&account.replace("1500ms", "10s"));
        }
        let exporter = Exporter::start(directory.path(), &config).await;
        eventually("every account fails", async || {
            let metrics = exporter.metrics().await;
            let failed = |name: &String| !reasons(&metrics, name).is_empty();
            names.iter().all(failed).then_some(())
        })
        .await;
        let peak = status(exporter.id(), "VmHWM:") >> 10;
        println!("{}: peak {peak} MiB", vendor.name);
        assert!(peak < MAX_CROWD_MIB, "{}: {peak} MiB", vendor.name);
        assert!(exporter.terminate().success());
        // What was handed out once is kept, and read again by the next process.
        let again = Exporter::start(directory.path(), &config).await;
        again.metrics().await;
        let peak = status(again.id(), "VmHWM:") >> 10;
        assert!(peak < MAX_CROWD_MIB, "{}: {peak} MiB again", vendor.name);
        assert!(again.terminate().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_compressed_request_fills_memory() {
    const TOKEN: &str = "a-token-of-the-door";
    let directory = tempfile::tempdir().unwrap();
    let mut config = format!(
        "server: {{api_token: {TOKEN}}}\nstore: {{spool: spool}}\ncollection: {{zero_hold: 0s}}\n\
         limits: {{max_response_bytes: {LIMIT_BYTES}}}\nproviders:\n"
    );
    let mut doors = vec![
        ("/api/v1/messages".to_owned(), 400),
        ("/-/reload".to_owned(), 200),
    ];
    for vendor in VENDORS {
        let name = format!("own-{}", vendor.name);
        config.push_str(&account(vendor, &name, "http://127.0.0.1:9"));
        if let Some((_, path)) = vendor.webhook() {
            config.push_str(&format!("    webhook_token: {TOKEN}\n"));
            // What cannot be read is kept.
            doors.push((format!("{path}/{name}"), 200));
        }
    }
    let flags = ["--web.enable-lifecycle"];
    let exporter = Exporter::start_with(directory.path(), &config, &flags).await;
    for bomb in bombs().iter().filter(|own| own.again.is_empty()) {
        for (path, expected) in &doors {
            let mut request = client()
                .post(format!("{}{path}", exporter.base))
                .bearer_auth(TOKEN)
                .body(bomb.first.clone());
            for encoding in bomb.encodings {
                request = request.header("content-encoding", *encoding);
            }
            let asked = Instant::now();
            let answer = request.send().await.unwrap().status().as_u16();
            let took = asked.elapsed();
            assert_eq!(answer, *expected, "{path}: {}", bomb.name);
            assert!(took < Duration::from_secs(10), "{path}: {took:?}");
        }
    }
    let peak = status(exporter.id(), "VmHWM:") >> 10;
    println!("peak {peak} MiB");
    assert!(peak < MAX_MEMORY_MIB, "{peak} MiB");
    let metrics = exporter.metrics().await;
    let kept = metrics.sum("delivery_exporter_quarantined_bodies", &[]);
    assert!(kept >= 1.0, "{kept}");
    assert!(exporter.terminate().success());
}
