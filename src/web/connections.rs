//! Which connections are open, what each of them does, and which has to go.
//!
//! Whoever connects can be slow, silent or hostile. So each phase of a connection has a deadline,
//! and there is room for a bounded number of connections and of answers that are not read; where all
//! is taken, the one that has been silent for longest gives way, of the address that holds most.

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

/// Room for so many connections. Prometheus keeps one or two per server.
const MAX_CONNECTIONS: usize = 512;
/// Room for so many answers that have not been read to their end, over all connections.
const MAX_ANSWERS: usize = 256;
/// From accepting to the first whole head of a request, handshakes included; and from the first
/// byte of a later head to its last.
const HEAD: Duration = Duration::from_secs(10);
/// From a request's head to the end of its body.
const BODY: Duration = Duration::from_secs(30);
/// From there to the head of the answer. A reload may take a minute.
const WORK: Duration = Duration::from_secs(120);
/// An answer of which the client takes nothing for so long is not read any more.
const STALL: Duration = Duration::from_secs(20);
/// From the head of an answer to its last byte.
const ANSWER: Duration = Duration::from_secs(120);
/// Between two requests. More than the usual intervals of scrapers, so that they need not
/// connect again.
const IDLE: Duration = Duration::from_secs(180);
/// Who has been silent for less is not taken for silent.
const FRESH: Duration = Duration::from_secs(1);
/// How often the deadlines are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The bodies of all requests in progress take no more memory than this.
const BODIES: usize = 64 << 20;
/// What of it is taken at a time.
const UNIT: usize = 1 << 10;
/// So often, at most, the log says that connections gave way.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// All open connections.
pub(super) struct Connections {
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    answers: AtomicUsize,
    bodies: Arc<Semaphore>,
    told: Mutex<Told>,
}

/// What the log was told of connections that gave way.
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
    /// The first byte of a head that is not whole yet (HTTP/1).
    head_began: Option<Instant>,
    /// The end of the last request.
    last_request: Option<Instant>,
    requests: HashMap<u64, Progress>,
}

/// What a request in progress does.
struct Progress {
    phase: Phase,
    began: Instant,
    /// When the client took something of the answer last.
    moved: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The body comes in.
    Body,
    /// The answer is being made.
    Work,
    /// The answer goes out.
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

    /// Takes a new connection in; another one gives way if there is no room.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Admitted {
        let now = Instant::now();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            number,
            // IPv4 addresses in the form of IPv6 are those addresses.
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

    /// Ends one connection so that something else has room: it has run out of descriptors.
    pub(super) fn make_room(&self) {
        self.give_way(&mut lock(&self.open), Instant::now());
    }

    /// Ends the connection that has been silent for longest, of the address that holds most.
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
        // Who has only just come may be about to ask. Where nobody is silent it is any of them, or
        // else whoever connects fastest would drive all others out before they are heard.
        let victim = silent.min().map(|(_, number)| number);
        let victim = victim.or_else(|| {
            let any = rand::random_range(0..all.len().max(1));
            all.get(any).map(|own| own.number)
        });
        if let Some(number) = victim {
            self.end(open, number, now);
        }
    }

    /// Ends a connection. It counts no longer, even if it has not gone yet.
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
                "too many connections, or answers that nobody reads: the longest silent connections are closed"
            );
            *told = Told {
                at: Some(now),
                since: 0,
            };
        }
    }

    /// Ends what has passed a deadline.
    pub(super) fn look(&self) {
        let now = Instant::now();
        lock(&self.open).retain(|_, own| {
            let Some(what) = lock(&own.state).overdue(now) else {
                return true;
            };
            tracing::debug!(peer = %own.peer, what, "a connection is closed");
            own.end.notify_one();
            false
        });
    }

    /// Ends the connections whose answers have stood still for longest, until there is room.
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

    /// Begins a request of a connection.
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

    /// If nothing useful has come from the client for a while: whether a request of its is in
    /// progress, and since when. Waiting for an answer is no silence.
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

    /// The deadline that has passed, if one has.
    fn overdue(&self, now: Instant) -> Option<&'static str> {
        let passed = |since: Instant| now.saturating_duration_since(since);
        for own in self.requests.values() {
            let what = match own.phase {
                Phase::Body if passed(own.began) > BODY => "a request's body took too long",
                Phase::Work if passed(own.began) > WORK => "an answer took too long",
                Phase::Answer if passed(own.moved) > STALL => "an answer is not read",
                Phase::Answer if passed(own.began) > ANSWER => "an answer is read too slowly",
                _ => continue,
            };
            return Some(what);
        }
        if !self.requests.is_empty() {
            return None;
        }
        let head_began = self.head_began;
        match self.last_request {
            None if passed(self.opened) > HEAD => Some("no request came"),
            _ if head_began.is_some_and(|since| passed(since) > HEAD) => {
                Some("a request's head took too long")
            }
            Some(last) if passed(last) > IDLE => Some("no further request came"),
            _ => None,
        }
    }
}

/// A connection that was taken in; it is open as long as this lives.
pub(super) struct Admitted {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Admitted {
    /// Returns once the connection has to go.
    pub(super) async fn must_end(&self) {
        self.connection.end.notified().await;
    }

    /// A request's head has come in: the request's body and what its answer has to be wrapped in.
    pub(super) fn begin<B: Body<Data = Bytes>>(&self, body: B) -> (Reading<B>, Arc<InProgress>) {
        let own = self
            .connections
            .begin(&self.connection, !body.is_end_stream());
        let room = self.connections.bodies.clone();
        (Reading::new(body, room, own.clone()), own)
    }

    /// The stream as the server reads and writes it.
    pub(super) fn watch<S>(&self, stream: S) -> Watched<S> {
        Watched::new(stream, self.connection.clone())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        lock(&self.connections.open).remove(&self.connection.number);
    }
}

/// A request in progress, until its answer has gone out.
pub(super) struct InProgress {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    number: u64,
    /// The memory that its body takes.
    held: Mutex<Option<OwnedSemaphorePermit>>,
}

impl InProgress {
    /// Whether the request was in another phase before.
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

    /// The answer goes out; the one that has stood still for longest gives way if there are too many.
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
