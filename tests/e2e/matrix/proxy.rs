//! A TCP proxy that stands between the exporter and what it talks to, and goes wrong on demand. It
//! keeps what it has forwarded, so that a test knows which bytes the exporter can have seen.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// What the proxy does to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything.
    Pass,
    /// Nobody listens; connections that were there are reset.
    Refuse,
    /// Connections are reset when the first byte of a request arrives.
    Reset,
    /// A few bytes of an answer, and then silence. Such a connection stays silent for ever.
    Hang,
    /// Takes whatever is sent, and forwards nothing. Such a connection stays silent for ever.
    BlackHole,
    /// Forwards answers at one byte a second, for as long as this lasts.
    Trickle,
    /// The same, but for the heads of HTTP, which are forwarded at once.
    TrickleBody,
    /// Ends a connection at a random byte of an answer.
    Cut,
    /// Random bytes in place of an answer.
    Garbage,
    /// A certificate for another host.
    TlsWrongName,
    /// A certificate whose time is over.
    TlsExpired,
    /// A certificate of an authority that the exporter does not know.
    TlsUnknownAuthority,
}

impl Mode {
    /// What is wrong with the certificate, as whoever refuses it says.
    pub fn refused_as(self) -> Option<&'static str> {
        match self {
            Mode::TlsWrongName => Some("not valid for name"),
            Mode::TlsExpired => Some("xpired"),
            Mode::TlsUnknownAuthority => Some("UnknownIssuer"),
            _ => None,
        }
    }

    /// Whether it needs TLS.
    pub fn is_tls(self) -> bool {
        self.refused_as().is_some()
    }

    /// Whether connections that are there already are reset when it begins.
    fn resets(self) -> bool {
        self.is_tls() || matches!(self, Mode::Refuse | Mode::Reset)
    }
}

/// The proxy's side of TLS, one for each certificate.
pub struct Certificates {
    pub good: TlsAcceptor,
    pub wrong_name: TlsAcceptor,
    pub expired: TlsAcceptor,
    pub unknown_authority: TlsAcceptor,
}

/// How PostgreSQL's protocol asks for TLS: a length, and a number.
const POSTGRES_TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// So many bytes of a connection are kept: an answer without an end has nothing to count.
const KEPT: usize = 1 << 20;

/// What was forwarded to a client on one connection.
#[derive(Default)]
pub struct Transcript {
    pub bytes: Vec<u8>,
    /// When the bytes up to this length were forwarded.
    pub times: Vec<(usize, Instant)>,
}

struct Shared {
    target: SocketAddr,
    tls: Option<Arc<Certificates>>,
    /// Clients ask for TLS in PostgreSQL's protocol.
    is_postgres: bool,
    transcripts: Mutex<Vec<Transcript>>,
    random: Mutex<StdRng>,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Proxy {
    /// Forwards to `target`; with certificates, by TLS on the exporter's side.
    pub async fn start(target: SocketAddr, seed: u64, tls: Option<Arc<Certificates>>) -> Proxy {
        Proxy::start_as(target, seed, tls, false).await
    }

    /// Forwards to PostgreSQL at `target`; with certificates, by TLS on the exporter's side.
    pub async fn start_postgres(
        target: SocketAddr,
        seed: u64,
        tls: Option<Arc<Certificates>>,
    ) -> Proxy {
        let is_postgres = tls.is_some();
        Proxy::start_as(target, seed, tls, is_postgres).await
    }

    async fn start_as(
        target: SocketAddr,
        seed: u64,
        tls: Option<Arc<Certificates>>,
        is_postgres: bool,
    ) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, modes) = watch::channel(Mode::Pass);
        let shared = Arc::new(Shared {
            target,
            tls,
            is_postgres,
            transcripts: Mutex::default(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        });
        let task = tokio::spawn(accept(listener, shared.clone(), modes));
        Proxy {
            address,
            mode,
            shared,
            task,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Goes wrong in this way from now on, or is well again.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Looks at everything that was forwarded to the exporter, connection by connection.
    pub fn transcripts<T>(&self, look: impl FnOnce(&[Transcript]) -> T) -> T {
        look(&lock(&self.shared.transcripts))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut modes: watch::Receiver<Mode>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if *modes.borrow_and_update() == Mode::Refuse {
            listener = None;
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let Some(open) = &listener else {
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    let (shared, modes) = (shared.clone(), modes.clone());
                    // A client that goes away is the exporter's affair.
                    connections.spawn(async move { let _ = connection(client, &shared, modes).await; });
                }
            }
            changed = modes.changed() => if changed.is_err() { return },
        }
    }
}

/// One connection: the socket ends by a reset where the mode says so.
async fn connection(
    client: TcpStream,
    shared: &Shared,
    mut modes: watch::Receiver<Mode>,
) -> io::Result<()> {
    let _ = client.set_nodelay(true);
    let mode = *modes.borrow_and_update();
    if mode == Mode::Reset {
        client.readable().await?;
    }
    // What is closed from now on with bytes unread or unsent is reset by the system; the rest by this.
    if mode.resets() && shared.tls.is_none() {
        client.set_zero_linger()?;
        return Ok(());
    }
    let Some(tls) = &shared.tls else {
        let mut client = client;
        if forward(&mut client, shared, modes).await? == End::Reset {
            client.set_zero_linger()?;
        }
        return Ok(());
    };
    let acceptor = match mode {
        Mode::TlsWrongName => &tls.wrong_name,
        Mode::TlsExpired => &tls.expired,
        Mode::TlsUnknownAuthority => &tls.unknown_authority,
        _ => &tls.good,
    };
    let mut client = client;
    if shared.is_postgres {
        let mut request = [0; 8];
        client.read_exact(&mut request).await?;
        assert_eq!(request, POSTGRES_TLS, "the exporter asks for TLS");
        client.write_all(b"S").await?;
    }
    let mut client = acceptor.accept(client).await?;
    forward(&mut client, shared, modes).await.map(drop)
}

#[derive(PartialEq)]
enum End {
    Closed,
    Reset,
}

async fn forward(
    client: &mut dyn Stream,
    shared: &Shared,
    mut modes: watch::Receiver<Mode>,
) -> io::Result<End> {
    let mut server = TcpStream::connect(shared.target).await?;
    server.set_nodelay(true)?;
    let number = {
        let mut transcripts = lock(&shared.transcripts);
        transcripts.push(Transcript::default());
        transcripts.len() - 1
    };
    let (mut asked, mut answered) = (vec![0; 16 << 10], vec![0; 64 << 10]);
    loop {
        let mode = *modes.borrow_and_update();
        tokio::select! {
            length = client.read(&mut asked) => {
                let length = length?;
                match mode {
                    _ if length == 0 => return Ok(End::Closed),
                    Mode::Reset => return Ok(End::Reset),
                    Mode::BlackHole => return silence(client).await,
                    _ => server.write_all(&asked[..length]).await?,
                }
            }
            length = server.read(&mut answered) => {
                let length = length?;
                let bytes = &answered[..length];
                match mode {
                    _ if length == 0 => return Ok(End::Closed),
                    Mode::Reset => return Ok(End::Reset),
                    Mode::Hang => {
                        tell(client, shared, number, &bytes[..length.min(20)]).await?;
                        return silence(client).await;
                    }
                    Mode::BlackHole => return silence(client).await,
                    Mode::Trickle | Mode::TrickleBody => {
                        let head = bytes.windows(4).position(|own| own == b"\r\n\r\n");
                        let at = match head {
                            Some(head) if mode == Mode::TrickleBody => head + 4,
                            _ => 0,
                        };
                        tell(client, shared, number, &bytes[..at]).await?;
                        let slow = Slow { client, server: &mut server, shared, number, mode };
                        if !trickle(slow, &bytes[at..], &mut modes).await? {
                            return Ok(End::Closed);
                        }
                    }
                    Mode::Cut => {
                        let at = lock(&shared.random).random_range(0..length);
                        tell(client, shared, number, &bytes[..at]).await?;
                        client.flush().await?;
                        return Ok(if at % 2 == 0 { End::Closed } else { End::Reset });
                    }
                    Mode::Garbage => {
                        let mut garbage = vec![0_u8; length];
                        lock(&shared.random).fill(&mut garbage[..]);
                        if garbage[0] % 2 == 0 {
                            // In the shape of HTTP: the garbage is a body.
                            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
                            client.write_all(head.as_bytes()).await?;
                        }
                        client.write_all(&garbage).await?;
                        client.flush().await?;
                        return Ok(End::Closed);
                    }
                    _ => tell(client, shared, number, bytes).await?,
                }
            }
            changed = modes.changed() => {
                if changed.is_err() || modes.borrow().resets() {
                    return Ok(End::Reset);
                }
            }
        }
    }
}

/// Nothing more, until the client has had enough.
async fn silence(client: &mut dyn Stream) -> io::Result<End> {
    let mut nowhere = vec![0; 4096];
    while client.read(&mut nowhere).await? > 0 {}
    Ok(End::Closed)
}

/// A connection whose answers are slow.
struct Slow<'a> {
    client: &'a mut dyn Stream,
    server: &'a mut TcpStream,
    shared: &'a Shared,
    number: usize,
    mode: Mode,
}

/// One byte a second, and the rest at once when the fault is over. `false`: the client has gone, and cannot
/// have seen the rest.
async fn trickle(
    slow: Slow<'_>,
    bytes: &[u8],
    modes: &mut watch::Receiver<Mode>,
) -> io::Result<bool> {
    let mut rest = bytes;
    let mut asked = [0; 4096];
    while !rest.is_empty() && *modes.borrow_and_update() == slow.mode {
        tell(slow.client, slow.shared, slow.number, &rest[..1]).await?;
        rest = &rest[1..];
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            _ = modes.changed() => {}
            length = slow.client.read(&mut asked) => match length? {
                0 => return Ok(false),
                length => slow.server.write_all(&asked[..length]).await?,
            },
        }
    }
    tell(slow.client, slow.shared, slow.number, rest).await?;
    Ok(true)
}

/// Forwards a part of an answer, and notes it.
async fn tell(
    client: &mut dyn Stream,
    shared: &Shared,
    number: usize,
    bytes: &[u8],
) -> io::Result<()> {
    client.write_all(bytes).await?;
    client.flush().await?;
    let mut transcripts = lock(&shared.transcripts);
    let own = &mut transcripts[number];
    if own.bytes.len() > KEPT {
        return Ok(());
    }
    own.bytes.extend_from_slice(bytes);
    own.times.push((own.bytes.len(), Instant::now()));
    Ok(())
}
