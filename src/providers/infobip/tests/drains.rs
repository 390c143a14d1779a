//! Hand-outs that are lost, come under an error's status, or come compressed.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;

/// Sends each of these once, to one request after the other, and closes the connection; the last
/// one again and again.
async fn serve_bytes(replies: Vec<Vec<u8>>) -> String {
    serve_later(replies, Duration::ZERO).await
}

/// The same; until `pause` is over, connections are refused.
async fn serve_later(replies: Vec<Vec<u8>>, pause: Duration) -> String {
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = first.local_addr().unwrap();
    let mut listener = Some(first).filter(|_| pause.is_zero());
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let listener = match listener.take() {
            Some(listener) => listener,
            None => TcpListener::bind(address).await.unwrap(),
        };
        let mut next = 0;
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket
                .write_all(&replies[next.min(replies.len() - 1)])
                .await;
            next += 1;
        }
    });
    format!("http://{address}")
}

fn reply(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What comes of one drain that may be tried again, and what is in the spool then.
async fn drained(replies: Vec<Vec<u8>>) -> (Vec<Observation>, Result<(), Failure>, Vec<Vec<u8>>) {
    drained_from(&serve_bytes(replies).await).await
}

async fn drained_from(base: &str) -> (Vec<Observation>, Result<(), Failure>, Vec<Vec<u8>>) {
    let account = account("infobip_email", "api_key: k", base);
    let provider = build(&account, Clock::system(), Arc::new(Notes::default())).unwrap();
    let spool = MemorySpool::default();
    let query = DrainQuery {
        dataset: vendor::REPORTS,
        spool: &spool,
        patience: Duration::from_secs(20),
    };
    let answer = provider.drain(query).await;
    let bodies = spool.bodies.lock().unwrap().clone();
    (answer.observations, answer.result, bodies)
}

const NONE: &[u8] = br#"{"results":[]}"#;

#[tokio::test]
async fn a_hand_out_that_may_be_lost_is_a_failure_though_the_next_attempt_succeeds() {
    for (first, kind) in [
        (Vec::new(), Some(FailureKind::Connect)),
        (b"HTTP/1.1 20".to_vec(), Some(FailureKind::Connect)),
        (reply(503, "", b"busy"), Some(FailureKind::Vendor)),
        (
            reply(500, "", br#"{"results":[],"errorCode":"E500"}"#),
            Some(FailureKind::Vendor),
        ),
        // Nothing was handed out.
        (reply(429, "", b""), None),
    ] {
        for second in [NONE, REPORTS.as_bytes()] {
            let (seen, result, bodies) = drained(vec![first.clone(), reply(200, "", second)]).await;
            let [
                Observation::DrainedBody {
                    read, cut: None, ..
                },
            ] = seen.as_slice()
            else {
                panic!("{seen:?}");
            };
            assert_eq!(read.empty, second == NONE);
            assert_eq!(bodies, [second.to_vec()]);
            assert_eq!(result.err().map(|own| own.kind), kind, "{first:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_connection_loses_nothing() {
    let base = serve_later(vec![reply(200, "", NONE)], Duration::from_millis(200)).await;
    let (seen, result, _) = drained_from(&base).await;
    assert_eq!((seen.len(), result), (1, Ok(())));
}

#[tokio::test]
async fn reports_under_an_errors_status_are_read_and_the_query_has_failed() {
    for (status, kind) in [
        (400, FailureKind::Vendor),
        (404, FailureKind::NotFound),
        (429, FailureKind::RateLimited),
        (502, FailureKind::Vendor),
    ] {
        let replies = vec![reply(status, "", REPORTS.as_bytes()), reply(200, "", NONE)];
        let (seen, result, bodies) = drained(replies).await;
        let [
            Observation::DrainedBody {
                read,
                cut: Some(cut),
                ..
            },
        ] = seen.as_slice()
        else {
            panic!("{seen:?}");
        };
        assert_eq!((read.reports.len(), cut.kind, result), (1, kind, Ok(())));
        assert_eq!(bodies, [REPORTS.as_bytes()]);
    }
}

#[tokio::test]
async fn the_body_says_whether_it_is_compressed_and_the_header_does_not() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(REPORTS.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let header = "Content-Encoding: gzip\r\n";
    for body in [REPORTS.as_bytes(), &packed] {
        for headers in ["", header] {
            let (seen, result, bodies) = drained(vec![reply(200, headers, body)]).await;
            let [
                Observation::DrainedBody {
                    read, cut: None, ..
                },
            ] = seen.as_slice()
            else {
                panic!("{seen:?}");
            };
            assert_eq!(
                (read.reports.len(), &read.damage, result),
                (1, &None, Ok(()))
            );
            assert_eq!(bodies, [body]);
        }
    }
    // What does not unpack is kept as it is.
    let broken = &packed[..packed.len() - 9];
    let (seen, result, _) = drained(vec![reply(200, header, broken)]).await;
    let [Observation::DrainedBody { read, .. }] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(read.damage.as_ref().map(|own| &*own.rest), Some(broken));
    assert_eq!(result.unwrap_err().kind, FailureKind::Decode);
}

#[test]
fn what_unpacks_to_more_than_an_answer_may_have_is_not_unpacked() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&[b' '; 1000]).unwrap();
    let packed = encoder.finish().unwrap();
    let unpacked = crate::providers::http::unpacked;
    assert_eq!(unpacked(&packed, 1000).map(|own| own.len()), Some(1000));
    assert_eq!(unpacked(&packed, 999), None);
    assert_eq!(unpacked(b"plain", 999), None);
}
