//! The accept loop: listens, enforces limits, and shuts down gracefully.
//!
//! `axum::serve` can limit neither the time that a client takes nor the number of connections. So
//! hyper-util's builder serves the connections, with TLS if the guard requires it, under the deadlines of
//! `web::connections`.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::ServiceExt;

use super::{
    connections::{Admitted, Connections, LOOK_EVERY},
    guard::Guard,
    peer::Peer,
};

/// The interval of HTTP/2 keep-alive pings.
const PING_EVERY: Duration = Duration::from_secs(20);
/// The maximum number of concurrent requests on an HTTP/2 connection. Prometheus uses one, a browser a few.
const MAX_STREAMS: u32 = 8;
/// The maximum number of bytes of a response to buffer before the client reads them.
const SEND_BUFFER: usize = 64 << 10;
/// The maximum size of a request's head over HTTP/2, in bytes.
const MAX_HEAD: u32 = 16 << 10;
/// The number of connections to accept before the accepted ones are served.
const HEARD_AFTER: usize = 16;
/// The pause after a failed accept, which fails while the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The response to a request without TLS.
const PLAIN: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis server speaks HTTPS.\n";

/// A server that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be read.
    #[error("--web.listen-address={address:?}: {what}; write host:port, [ipv6]:port or :port")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        what: String,
    },
    /// Another process listens there, or the address does not belong to this machine.
    #[error("--web.listen-address={address:?}: {source}")]
    Bind {
        /// As it was given.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Listens on one address: `:9847` (all addresses, IPv6 and IPv4), `127.0.0.1:0`, `[::1]:9847`,
/// `localhost:9847`.
///
/// # Errors
///
/// The address cannot be read or listened on.
pub async fn listen(address: &str) -> Result<Vec<TcpListener>, ListenError> {
    let unreadable = |what: &str| ListenError::Address {
        address: address.to_owned(),
        what: what.to_owned(),
    };
    let bind_failed = |source| ListenError::Bind {
        address: address.to_owned(),
        source,
    };
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| unreadable("has no port"))?;
    let port: u16 = port
        .parse()
        .map_err(|_| unreadable("has no port between 0 and 65535"))?;
    if host.is_empty() {
        // The IPv6 wildcard also accepts IPv4; a machine without IPv6 has only the IPv4 wildcard.
        let both = SocketAddr::from(([0u16; 8], port));
        let listener = match TcpListener::bind(both).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(bind_failed(error));
            }
            Err(_) => TcpListener::bind(SocketAddr::from(([0u8; 4], port)))
                .await
                .map_err(bind_failed)?,
        };
        return Ok(vec![listener]);
    }
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(bind_failed)?
        .collect();
    let mut listeners = Vec::new();
    for socket in addresses {
        listeners.push(TcpListener::bind(socket).await.map_err(bind_failed)?);
    }
    if listeners.is_empty() {
        Err(unreadable("names no address"))
    } else {
        Ok(listeners)
    }
}

/// Serves `router` on all `listeners` until `stop` becomes true. Then it accepts no new connections, and
/// gives requests in progress `grace` to finish.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    guard: Arc<Guard>,
    stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let connections = Connections::new();
    let looking = tokio::spawn({
        let connections = connections.clone();
        async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                connections.look();
            }
        }
    });
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(accept(
            listener,
            router.clone(),
            guard.clone(),
            stop.clone(),
            connections.clone(),
            grace,
        ));
    }
    while loops.join_next().await.is_some() {}
    looking.abort();
}

async fn accept(
    listener: TcpListener,
    router: Router,
    guard: Arc<Guard>,
    mut stop: watch::Receiver<bool>,
    connections: Arc<Connections>,
    grace: Duration,
) {
    // The deadlines for heads are those of `connections`: hyper's timeout would also close idle connections.
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD);
    let open = GracefulShutdown::new();
    let mut accepted_at_once = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                connections.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        prepare(&stream);
        let admitted = Arc::new(connections.admit(peer.ip()));
        let client = Client {
            builder: builder.clone(),
            router: router.clone(),
            watcher: open.watcher(),
            peer: Peer(peer),
        };
        let guard = guard.clone();
        tokio::spawn(async move {
            let work = async {
                let rules = guard.rules().await;
                // A client that disconnects or does not use TLS is not an error of the server.
                match &rules.tls {
                    None => client.serve(stream, &admitted).await,
                    Some(tls) => {
                        if let Some(stream) = handshake(stream, tls).await {
                            client.serve(stream, &admitted).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = work => {}
                () = admitted.must_end() => {}
            }
        });
        accepted_at_once += 1;
        if accepted_at_once == HEARD_AFTER {
            accepted_at_once = 0;
            // Serves accepted connections before accepting others, which may displace them.
            tokio::task::yield_now().await;
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(grace, open.shutdown()).await;
}

/// What serves one connection.
struct Client {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    watcher: Watcher,
    peer: Peer,
}

impl Client {
    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        admitted: &Arc<Admitted>,
    ) {
        let (router, peer, own) = (self.router, self.peer, admitted.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let (mut head, body) = request.into_parts();
            head.extensions.insert(peer);
            let (body, in_progress) = own.begin(body);
            let answer = router
                .clone()
                .oneshot(Request::from_parts(head, Body::new(body)));
            async move { Ok::<_, Infallible>(answer.await?.map(|body| in_progress.answer(body))) }
        });
        let stream = TokioIo::new(admitted.watch(stream));
        let connection = self.builder.serve_connection(stream, service);
        let _ = self.watcher.watch(connection.into_owned()).await;
    }
}

/// The TLS handshake. A client that sends plain HTTP gets a response that says so.
async fn handshake(mut stream: TcpStream, tls: &Arc<ServerConfig>) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? > 0 && first[0].is_ascii_uppercase() {
        let _ = stream.write_all(PLAIN).await;
        return None;
    }
    TlsAcceptor::from(tls.clone()).accept(stream).await.ok()
}

/// Disables Nagle's algorithm: a scrape is one large write, a health check a small one.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_in_the_forms_of_the_ecosystem_are_taken() {
        for address in ["127.0.0.1:0", "[::1]:0", "localhost:0", ":0"] {
            match listen(address).await {
                Ok(listeners) => {
                    assert!(listeners[0].local_addr().unwrap().port() > 0, "{address}")
                }
                // A machine without IPv6 has no ::1.
                Err(error) => assert_eq!(address, "[::1]:0", "{error}"),
            }
        }
    }

    #[tokio::test]
    async fn bad_addresses_are_refused_with_what_to_write() {
        for address in ["9847", "127.0.0.1:", "127.0.0.1:99999", "127.0.0.1:http"] {
            let error = listen(address).await.unwrap_err().to_string();
            assert!(
                error.contains(address) && error.contains("host:port"),
                "{error}"
            );
        }
        let taken = listen("127.0.0.1:0").await.unwrap();
        let address = taken[0].local_addr().unwrap().to_string();
        assert!(
            listen(&address)
                .await
                .unwrap_err()
                .to_string()
                .contains("in use")
        );
    }
}
