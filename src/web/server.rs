//! The accept loop: listens, limits, and stops in good order.
//!
//! `axum::serve` can neither limit the time for a request's head nor the number of connections,
//! so connections are served by hyper-util's builder, with TLS where the guard asks for it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::Request};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::util::MapRequest;

use super::guard::Guard;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The most connections at a time. Prometheus keeps one or two per server.
const MAX_CONNECTIONS: usize = 512;
/// The pause after a failed accept: it fails while the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The answer to a request that comes without TLS.
const PLAIN: &[u8] = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis server speaks HTTPS.\n";

/// Who is at the other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

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
    /// Somebody else listens there, or the address is not of this machine.
    #[error("--web.listen-address={address:?}: {source}")]
    Bind {
        /// As it was given.
        address: String,
        /// What the system says.
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
        // The wildcard of IPv6 takes IPv4 too; a machine without IPv6 has only the other.
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

/// Serves `router` on all `listeners` until `stop` turns true; then takes no new connection, and
/// lets requests that are being answered end within `grace`.
pub async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    guard: Arc<Guard>,
    stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
}

async fn accept(
    listener: TcpListener,
    router: Router,
    guard: Arc<Guard>,
    mut stop: watch::Receiver<bool>,
    connections: Arc<Semaphore>,
    grace: Duration,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIMEOUT);
    let open = GracefulShutdown::new();
    loop {
        let next = async {
            // The semaphore is never closed, so that a permit always comes.
            let permit = connections.clone().acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = next => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        prepare(&stream);
        let service = MapRequest::new(router.clone(), move |mut request: Request<_>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let service = TowerToHyperService::new(service);
        let (builder, watcher, guard) = (builder.clone(), open.watcher(), guard.clone());
        tokio::spawn(async move {
            let rules = guard.rules().await;
            // A client that goes away, or speaks no TLS, is its own affair.
            match &rules.tls {
                None => {
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    let _ = watcher.watch(connection.into_owned()).await;
                }
                Some(tls) => {
                    if let Some(stream) = handshake(stream, tls).await {
                        let connection = builder.serve_connection(TokioIo::new(stream), service);
                        let _ = watcher.watch(connection.into_owned()).await;
                    }
                }
            }
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(grace, open.shutdown()).await;
}

/// TLS, unless the client takes too long for it or speaks none: one that speaks HTTP is told.
async fn handshake(mut stream: TcpStream, tls: &Arc<ServerConfig>) -> Option<TlsStream<TcpStream>> {
    let work = async {
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? > 0 && first[0].is_ascii_uppercase() {
            let _ = stream.write_all(PLAIN).await;
            return None;
        }
        TlsAcceptor::from(tls.clone()).accept(stream).await.ok()
    };
    tokio::time::timeout(HEAD_TIMEOUT, work).await.ok()?
}

/// Answers are written at once: a scrape is one big write, a health check a small one.
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
