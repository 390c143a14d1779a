//! `--web.config.file` at work: TLS for every connection, and users for every request but those that
//! bring a token of their own.
//!
//! The file and what it names are looked at again once a second while somebody connects, so that
//! renewed certificates and changed users need no restart. A bad file leaves the old one in force.

mod limit;
mod p521;
mod tls;
#[cfg(test)]
mod toolkit;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{guesses::Guesses, peer::Peer, tokens};
use crate::{
    config::{self, Pem, Problem, WebConfig, WebRateLimit},
    redact,
};
use limit::Limit;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many wrong passwords are remembered: a check takes a tenth of a second. Right ones, of which there
/// are no more than users, are remembered apart, so that guessing drives none of them out.
const REMEMBERED: usize = 100;
/// So many are checked at a time: guessing must not take the processor from scrapes.
const AT_A_TIME: usize = 1;
/// So many may wait to be checked; who comes then is told to come later.
const WAITING: usize = 16;
/// Stands for the hash of a user that does not exist, so that the time tells nobody so.
const NOBODY: &str = "$2b$10$sXEDeiah7OpOsn33r.YfhOqbcD/UX5D/VsxbhIFFDONYfJ1mNimzS";

/// What every connection and request passes.
pub struct Guard {
    path: Option<PathBuf>,
    now: ArcSwap<Rules>,
    looked: Mutex<Looked>,
    known: Mutex<Known>,
    checks: Semaphore,
    waiting: AtomicUsize,
    guesses: Guesses,
}

/// What the file says, ready to be used.
#[derive(Default)]
pub struct Rules {
    /// TLS; without it, connections are plain.
    pub tls: Option<Arc<ServerConfig>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: HashMap<Arc<str>, Arc<str>>,
    limit: Option<(WebRateLimit, Arc<Limit>)>,
    files: Vec<PathBuf>,
    /// What is odd in the file and no error.
    warnings: Vec<Problem>,
}

/// Passwords that were checked, by digest of hash and password.
#[derive(Default)]
struct Known {
    right: HashSet<[u8; 32]>,
    wrong: HashSet<[u8; 32]>,
}

/// Whether a request may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// The user is missing or wrong.
    Refuse,
    /// Too many passwords were tried; this one was not looked at.
    Later,
}

/// When the files were looked at, and how they were.
#[derive(Default)]
struct Looked {
    at: Option<Instant>,
    files: Vec<Option<(SystemTime, u64)>>,
}

impl Guard {
    /// Lets everything pass.
    pub fn open() -> Guard {
        Guard::new(None, Rules::default())
    }

    /// Reads the file, and all that it names.
    ///
    /// # Errors
    ///
    /// What is wrong, a line for each problem.
    pub fn read(path: &Path) -> Result<Guard, String> {
        let rules = Rules::read(path)?;
        let files = state(&rules.files);
        let guard = Guard::new(Some(path.to_owned()), rules);
        let at = Some(Instant::now());
        *guard.looked.lock().unwrap_or_else(PoisonError::into_inner) = Looked { at, files };
        Ok(guard)
    }

    /// What is odd in the file and no error, as it was read last.
    pub fn warnings(&self) -> Vec<Problem> {
        self.now.load().warnings.clone()
    }

    fn new(path: Option<PathBuf>, rules: Rules) -> Guard {
        Guard {
            path,
            now: ArcSwap::from_pointee(rules),
            looked: Mutex::default(),
            known: Mutex::default(),
            checks: Semaphore::new(AT_A_TIME),
            waiting: AtomicUsize::new(0),
            guesses: Guesses::default(),
        }
    }

    /// The rules as the files have them now.
    pub async fn rules(self: &Arc<Self>) -> Arc<Rules> {
        if let Some(path) = &self.path
            && self.is_time()
        {
            let (own, path) = (self.clone(), path.clone());
            let looked = tokio::task::spawn_blocking(move || own.look(&path)).await;
            if let Err(error) = looked {
                tracing::error!(%error, "the web configuration could not be looked at");
            }
        }
        self.now.load_full()
    }

    fn is_time(&self) -> bool {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let due = looked
            .at
            .is_none_or(|at| now.duration_since(at) >= LOOK_EVERY);
        if due {
            looked.at = Some(now);
        }
        due
    }

    fn look(&self, path: &Path) {
        let files = state(&self.now.load().files);
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.files == files {
                return;
            }
            looked.files = files;
        }
        match Rules::read(path) {
            Ok(mut rules) => {
                rules.keep_limit(&self.now.load());
                tracing::info!("the web configuration is read again");
                let files = state(&rules.files);
                self.now.store(Arc::new(rules));
                *self.known() = Known::default();
                self.looked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .files = files;
            }
            Err(problems) => {
                for problem in problems.lines() {
                    tracing::error!(
                        problem,
                        "the web configuration is not taken; the old one stays"
                    );
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the user may pass. A password that is known to be right or wrong is not checked again;
    /// others are, as long as the address has not guessed too often.
    async fn lets(
        &self,
        rules: &Rules,
        user: Option<(String, String)>,
        address: Option<IpAddr>,
    ) -> Verdict {
        if rules.users.is_empty() {
            return Verdict::Pass;
        }
        let Some((user, password)) = user else {
            return Verdict::Refuse;
        };
        let hash = rules.users.get(user.as_str());
        let exists = hash.is_some();
        let hash = hash.cloned().unwrap_or_else(|| Arc::from(NOBODY));
        let mut digest = Sha256::new();
        digest.update(hash.as_bytes());
        digest.update([0]);
        digest.update(password.as_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        {
            let known = self.known();
            if known.right.contains(&digest) && exists {
                return Verdict::Pass;
            }
            if known.wrong.contains(&digest) || known.right.contains(&digest) {
                return Verdict::Refuse;
            }
        }
        if !self.guesses.allow(address, Instant::now()) {
            return Verdict::Later;
        }
        let Some(_place) = WaitingTurn::take(&self.waiting) else {
            return Verdict::Later;
        };
        // The semaphore is never closed.
        let _one = self.checks.acquire().await;
        let check = move || bcrypt::verify(password, &hash).unwrap_or(false);
        let right = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        let mut known = self.known();
        if right {
            // Only hashes of the file are ever found right, and that of nobody.
            known.right.insert(digest);
        } else {
            if known.wrong.len() >= REMEMBERED {
                known.wrong.clear();
            }
            known.wrong.insert(digest);
        }
        if right && exists {
            self.guesses.right(address);
            Verdict::Pass
        } else {
            Verdict::Refuse
        }
    }
}

/// A place in the line of passwords that are to be checked.
struct WaitingTurn<'a>(&'a AtomicUsize);

impl WaitingTurn<'_> {
    fn take(waiting: &AtomicUsize) -> Option<WaitingTurn<'_>> {
        let place = WaitingTurn(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for WaitingTurn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// When files were changed last, and how large they are.
fn state(files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
    let of = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(of).collect()
}

/// Asks each request for its user. Routes that ask for a token of their own have no room for a user.
/// The rules are those with which [`headers`] took the request in.
pub async fn users(
    State(guard): State<Arc<Guard>>,
    Extension(rules): Extension<Arc<Rules>>,
    request: Request,
    next: Next,
) -> Response {
    let user = tokens::basic(request.headers());
    let peer = request.extensions().get::<Peer>();
    let address = peer.map(|Peer(address)| address.ip().to_canonical());
    match guard.lets(&rules, user, address).await {
        Verdict::Pass => next.run(request).await,
        Verdict::Refuse => {
            let ask = [(
                header::WWW_AUTHENTICATE,
                "Basic realm=\"delivery-exporter\"",
            )];
            (StatusCode::UNAUTHORIZED, ask, "Unauthorized\n").into_response()
        }
        Verdict::Later => {
            let wait = [(header::RETRY_AFTER, "10")];
            let text = "too many wrong passwords from here; try again later\n";
            (StatusCode::TOO_MANY_REQUESTS, wait, text).into_response()
        }
    }
}

/// Adds to each answer what keeps browsers from misreading it, and the headers of the file. It comes
/// before [`users`].
pub async fn headers(
    State(guard): State<Arc<Guard>>,
    mut request: Request,
    next: Next,
) -> Response {
    let rules = guard.rules().await;
    request.extensions_mut().insert(rules.clone());
    let mut response = match rules.refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        // A page says itself what it needs.
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    for (name, value) in &rules.headers {
        headers.insert(name.clone(), value.clone());
    }
    response
}

impl Rules {
    fn read(path: &Path) -> Result<Rules, String> {
        let config = config::web(path).map_err(|errors| errors.to_string())?;
        let mut files = vec![path.to_owned()];
        let tls = match &config.tls {
            Some(tls) => {
                let pems = [
                    Some(&tls.certificate),
                    Some(&tls.key),
                    tls.client_ca.as_ref(),
                ];
                for pem in pems.into_iter().flatten() {
                    if let Pem::File(path) = pem {
                        files.push(path.clone());
                    }
                }
                let tls = tls::server(tls, config.http2);
                Some(Arc::new(tls.map_err(|problem| {
                    format!("{}: tls_server_config: {problem}", path.display())
                })?))
            }
            None => None,
        };
        let WebConfig {
            headers,
            users,
            rate_limit,
            warnings,
            ..
        } = config;
        redact::register(users.values().map(AsRef::as_ref));
        let headers = headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        Ok(Rules {
            tls,
            headers: headers.collect(),
            users: users.into_iter().collect(),
            limit: rate_limit.map(|limit| (limit, Arc::new(Limit::new(limit, Instant::now())))),
            files,
            warnings,
        })
    }

    /// What is left of the rate limit, where it has not changed.
    fn keep_limit(&mut self, before: &Rules) {
        if let (Some(own), Some(old)) = (&mut self.limit, &before.limit)
            && own.0 == old.0
        {
            own.1 = old.1.clone();
        }
    }

    /// The answer to a request that is one too many. Health checks are none: they would restart the
    /// exporter because others ask too often.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let (rate, limit) = self.limit.as_ref()?;
        let is_health = matches!(request.uri().path(), "/-/healthy" | "/-/ready");
        if is_health || limit.allow(Instant::now()) {
            return None;
        }
        let seconds = rate.interval.as_secs_f64().ceil().max(1.0);
        let wait = [(header::RETRY_AFTER, format!("{seconds:.0}"))];
        Some((StatusCode::TOO_MANY_REQUESTS, wait, "Too Many Requests\n").into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(users: &str) -> Guard {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        std::fs::write(&path, format!("basic_auth_users: {{{users}}}")).unwrap();
        Guard::read(&path).unwrap()
    }

    #[tokio::test]
    async fn passwords_are_checked_once_and_unknown_users_never_pass() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let guard = guard(&format!("a: '{hash}', b: '{hash}'"));
        let rules = guard.now.load_full();
        let lets = async |user: &str, password: &str| {
            let user = Some((user.to_owned(), password.to_owned()));
            guard.lets(&rules, user, None).await
        };
        for _ in 0..2 {
            assert_eq!(lets("a", "right").await, Verdict::Pass);
            assert_eq!(lets("b", "right").await, Verdict::Pass);
            assert_eq!(lets("a", "wrong").await, Verdict::Refuse);
            assert_eq!(lets("c", "right").await, Verdict::Refuse);
            assert_eq!(guard.lets(&rules, None, None).await, Verdict::Refuse);
            // Of two users with one hash; of a wrong password, and of a user that is not there.
            let known = guard.known();
            assert_eq!((known.right.len(), known.wrong.len()), (1, 2));
        }
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
        let open = Guard::open();
        assert_eq!(open.lets(&open.now.load(), None, None).await, Verdict::Pass);
    }

    #[tokio::test]
    async fn guessing_shuts_nobody_out_who_knows_the_password() {
        let hash = bcrypt::hash("right", 4).unwrap();
        let guard = guard(&format!("a: '{hash}'"));
        let rules = guard.now.load_full();
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let lets = async |password: &str, last| {
            let user = Some(("a".to_owned(), password.to_owned()));
            guard.lets(&rules, user, address(last)).await
        };
        assert_eq!(lets("right", 1).await, Verdict::Pass);
        let mut later = 0;
        for number in 0..2 * REMEMBERED {
            match lets(&number.to_string(), 2).await {
                Verdict::Pass => panic!("a wrong password passes"),
                Verdict::Refuse => {}
                Verdict::Later => later += 1,
            }
        }
        assert!(later > REMEMBERED, "{later}");
        assert!(guard.known().wrong.len() <= REMEMBERED);
        // The same address too, as behind a proxy everybody has one.
        assert_eq!(lets("right", 2).await, Verdict::Pass);
        // Another one is checked, and found wrong.
        assert_eq!(lets("wrong", 3).await, Verdict::Refuse);
    }
}
