//! Tracks all open connections and what each of them is doing, and decides which to close.
//!
//! Clients can be slow, silent or hostile. So each phase of a connection has a deadline, and the numbers of
//! connections and of unread responses are bounded. When a limit is reached, the connection that has been
//! silent for longest is closed, among those of the address with the most connections.

mod bodies;
mod stream;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::body::Body;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub(super) use bodies::{Answering, Reading};
pub(super) use stream::Watched;

/// The maximum number of connections. Prometheus keeps one or two per server.
const MAX_CONNECTIONS: usize = 512;
/// The maximum number of responses that clients have not read completely, over all connections.
const MAX_ANSWERS: usize = 256;
/// The deadline from accepting a connection to the first complete request head, including handshakes, and
/// from the first to the last byte of each later head.
const HEAD: Duration = Duration::from_secs(10);
/// The deadline from a request's head to the end of its body.
const BODY: Duration = Duration::from_secs(30);
/// The deadline from the end of the body to the head of the response. A reload may take a minute.
const WORK: Duration = Duration::from_secs(120);
/// A response counts as abandoned if the client reads none of it for this long.
const STALL: Duration = Duration::from_secs(20);
/// The deadline from the head of a response to its last byte.
const ANSWER: Duration = Duration::from_secs(120);
/// The deadline between two requests, longer than the usual scrape intervals so that scrapers need not
/// reconnect.
const IDLE: Duration = Duration::from_secs(180);
/// A connection counts as silent after this time.
const FRESH: Duration = Duration::from_secs(1);
/// How often the deadlines are checked.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The memory for the bodies of all requests in progress, in bytes.
const BODIES: usize = 64 << 20;
/// The unit in which that memory is allocated, in bytes.
const UNIT: usize = 1 << 10;
/// The minimum time between two log messages about closed connections.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// All open connections.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    answers: AtomicUsize,
    bodies: Arc<Semaphore>,
    told: Mutex<Told>,
}

/// What has been logged about closed connections.
#[derive(Default)]
struct Told {
    at: Option<Instant>,
    since: u64,
}

/// One connection.
pub(super) struct Connection {
    number: u64,
    peer: IpAddr,
    state: Mutex<State>,
    end: Notify,
}

struct State {
    opened: Instant,
    /// The first bytes that were read.
    first: [u8; 3],
    first_length: usize,
    /// When the first byte of a still incomplete head arrived (HTTP/1).
    head_began: Option<Instant>,
    /// The end of the last request.
    last_request: Option<Instant>,
    requests: HashMap<u64, Progress>,
}

/// The state of a request in progress.
struct Progress {
    phase: Phase,
    began: Instant,
    /// When the client last read a part of the response.
    moved: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The body is being received.
    Body,
    /// The response is being prepared.
    Work,
    /// The response is being sent.
    Answer,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Connections {
    pub(super) fn new() -> Arc<Connections> {
        Arc::new(Connections {
            open: Mutex::default(),
            next: AtomicU64::new(0),
            answers: AtomicUsize::new(0),
            bodies: Arc::new(Semaphore::new(BODIES / UNIT)),
            told: Mutex::default(),
        })
    }

    /// Admits a new connection, and closes another one if the limit is reached.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Admitted {
        let now = Instant::now();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            number,
            // IPv4-mapped IPv6 addresses count as IPv4 addresses.
            peer: peer.to_canonical(),
            state: Mutex::new(State {
                opened: now,
                first: [0; 3],
                first_length: 0,
                head_began: None,
                last_request: None,
                requests: HashMap::new(),
            }),
            end: Notify::new(),
        });
        let mut open = lock(&self.open);
        if open.len() >= MAX_CONNECTIONS {
            self.give_way(&mut open, now);
        }
        open.insert(number, connection.clone());
        Admitted {
            connections: self.clone(),
            connection,
        }
    }

    /// Closes one connection because the process has run out of file descriptors.
    pub(super) fn make_room(&self) {
        self.give_way(&mut lock(&self.open), Instant::now());
    }

    /// Closes the connection that has been silent for longest, among those of the address with the most
    /// connections.
    fn give_way(&self, open: &mut HashMap<u64, Arc<Connection>>, now: Instant) {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for own in open.values() {
            *held.entry(own.peer).or_default() += 1;
        }
        let most = held.iter().max_by_key(|(_, count)| **count);
        let Some((&address, _)) = most else {
            return;
        };
        let of_address = open.values().filter(|own| own.peer == address);
        let all: Vec<_> = of_address.collect();
        let silent = all.iter().filter_map(|own| {
            let stands = lock(&own.state).stands(now)?;
            Some((stands, own.number))
        });
        // A new connection may be about to send its request. If none is silent, any of them is closed:
        // otherwise the client that connects fastest would displace all others before they are served.
        let victim = silent.min().map(|(_, number)| number);
        let victim = victim.or_else(|| {
            let any = rand::random_range(0..all.len().max(1));
            all.get(any).map(|own| own.number)
        });
        if let Some(number) = victim {
            self.end(open, number, now);
        }
    }

    /// Closes a connection. It no longer counts, even before it is actually closed.
    fn end(&self, open: &mut HashMap<u64, Arc<Connection>>, number: u64, now: Instant) {
        if let Some(own) = open.remove(&number) {
            own.end.notify_one();
            self.tell(now);
        }
    }

    fn tell(&self, now: Instant) {
        let mut told = lock(&self.told);
        told.since += 1;
        let due = told
            .at
            .is_none_or(|at| now.duration_since(at) >= TELL_EVERY);
        if due {
            tracing::warn!(
                closed = told.since,
                "too many connections or unread responses: closing the connections that have been silent for longest"
            );
            *told = Told {
                at: Some(now),
                since: 0,
            };
        }
    }

    /// Closes the connections that have passed a deadline.
    pub(super) fn look(&self) {
        let now = Instant::now();
        lock(&self.open).retain(|_, own| {
            let Some(what) = lock(&own.state).overdue(now) else {
                return true;
            };
            tracing::debug!(peer = %own.peer, what, "connection closed");
            own.end.notify_one();
            false
        });
    }

    /// Closes the connections whose responses have been stalled for longest, until the limit is met.
    fn make_room_for_answer(&self, connection: &Connection, now: Instant) {
        let mut open = lock(&self.open);
        let answers = |open: &HashMap<u64, Arc<Connection>>| -> usize {
            open.values().map(|own| lock(&own.state).answers()).sum()
        };
        while answers(&open) > MAX_ANSWERS {
            let others = open.values().filter(|own| own.number != connection.number);
            let waits = |own: &&Arc<Connection>| lock(&own.state).answer_stands_since();
            let stuck = others.filter(|own| waits(own).is_some()).min_by_key(waits);
            let Some(number) = stuck.map(|own| own.number) else {
                return;
            };
            self.end(&mut open, number, now);
        }
    }

    /// Starts a request on a connection.
    fn begin(self: &Arc<Self>, connection: &Arc<Connection>, has_body: bool) -> Arc<InProgress> {
        let now = Instant::now();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut state = lock(&connection.state);
        state.head_began = None;
        let phase = if has_body { Phase::Body } else { Phase::Work };
        let progress = Progress {
            phase,
            began: now,
            moved: now,
        };
        state.requests.insert(number, progress);
        Arc::new(InProgress {
            connections: self.clone(),
            connection: connection.clone(),
            number,
            held: Mutex::default(),
        })
    }
}

impl State {
    fn is_http2(&self) -> bool {
        self.first_length == 3 && self.first == *b"PRI"
    }

    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().take(3 - self.first_length) {
            self.first[self.first_length] = *byte;
            self.first_length += 1;
        }
        if self.requests.is_empty() && !self.is_http2() && !bytes.is_empty() {
            self.head_began.get_or_insert_with(Instant::now);
        }
    }

    fn moved(&mut self) {
        let now = Instant::now();
        for own in self.requests.values_mut() {
            if own.phase == Phase::Answer {
                own.moved = now;
            }
        }
    }

    /// For a silent connection: whether a request is in progress, and since when it has been silent. Waiting
    /// for a response does not count as silence.
    fn stands(&self, now: Instant) -> Option<(bool, Instant)> {
        let waits_for_client = |own: &&Progress| own.phase != Phase::Work;
        let (busy, since) = if self.requests.is_empty() {
            (false, self.last_request.unwrap_or(self.opened))
        } else {
            let waiting = self.requests.values().filter(waits_for_client);
            (true, waiting.map(|own| own.moved).min()?)
        };
        (now.saturating_duration_since(since) >= FRESH).then_some((busy, since))
    }

    fn answering(&self) -> impl Iterator<Item = &Progress> {
        let all = self.requests.values();
        all.filter(|own| own.phase == Phase::Answer)
    }

    fn answers(&self) -> usize {
        self.answering().count()
    }

    fn answer_stands_since(&self) -> Option<Instant> {
        self.answering().map(|own| own.moved).min()
    }

    /// The deadline that has passed, if any.
    fn overdue(&self, now: Instant) -> Option<&'static str> {
        let passed = |since: Instant| now.saturating_duration_since(since);
        for own in self.requests.values() {
            let what = match own.phase {
                Phase::Body if passed(own.began) > BODY => "a request's body took too long",
                Phase::Work if passed(own.began) > WORK => "a response took too long",
                Phase::Answer if passed(own.moved) > STALL => "the client does not read a response",
                Phase::Answer if passed(own.began) > ANSWER => {
                    "the client reads a response too slowly"
                }
                _ => continue,
            };
            return Some(what);
        }
        if !self.requests.is_empty() {
            return None;
        }
        let head_began = self.head_began;
        match self.last_request {
            None if passed(self.opened) > HEAD => Some("no request arrived"),
            _ if head_began.is_some_and(|since| passed(since) > HEAD) => {
                Some("a request's head took too long")
            }
            Some(last) if passed(last) > IDLE => Some("no further request arrived"),
            _ => None,
        }
    }
}

/// An admitted connection; it counts as open until this value is dropped.
pub(super) struct Admitted {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Admitted {
    /// Returns when the connection must be closed.
    pub(super) async fn must_end(&self) {
        self.connection.end.notified().await;
    }

    /// Starts a request after its head has been received, and returns its wrapped body and the guard for its
    /// response.
    pub(super) fn begin<B: Body<Data = Bytes>>(&self, body: B) -> (Reading<B>, Arc<InProgress>) {
        let own = self
            .connections
            .begin(&self.connection, !body.is_end_stream());
        let room = self.connections.bodies.clone();
        (Reading::new(body, room, own.clone()), own)
    }

    /// Wraps the stream to track reads and writes.
    pub(super) fn watch<S>(&self, stream: S) -> Watched<S> {
        Watched::new(stream, self.connection.clone())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.connection.number);
    }
}

/// A request in progress, until its response has been sent.
pub(super) struct InProgress {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    number: u64,
    /// The memory allocated for its body.
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl InProgress {
    /// Enters a phase, and returns whether the request was in another one before.
    fn enter(&self, phase: Phase) -> bool {
        let now = Instant::now();
        let mut state = lock(&self.connection.state);
        match state.requests.get_mut(&self.number) {
            Some(own) if own.phase != phase && own.phase != Phase::Answer => {
                *own = Progress {
                    phase,
                    began: now,
                    moved: now,
                };
                true
            }
            _ => false,
        }
    }

    fn moved(&self) {
        if let Some(own) = lock(&self.connection.state).requests.get_mut(&self.number) {
            own.moved = Instant::now();
        }
    }

    /// Starts sending the response. If there are too many, the one that has been stalled for longest is
    /// dropped.
    pub(super) fn answer<B>(self: Arc<Self>, body: B) -> Answering<B> {
        if self.enter(Phase::Answer)
            && self.connections.answers.fetch_add(1, Ordering::Relaxed) >= MAX_ANSWERS
        {
            let now = Instant::now();
            self.connections.make_room_for_answer(&self.connection, now);
        }
        Answering::new(body, self)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut state = lock(&self.connection.state);
        let ended = state.requests.remove(&self.number);
        state.last_request = Some(Instant::now());
        drop(state);
        if ended.is_some_and(|own| own.phase == Phase::Answer) {
            self.connections.answers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
