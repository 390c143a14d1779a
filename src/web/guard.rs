//! Applies `--web.config.file`: TLS for every connection, and basic authentication for every request except
//! those that carry their own token.
//!
//! The file and the files that it names are checked for changes once a second while clients connect, so that
//! renewed certificates and changed users need no restart. If a file is invalid, the old configuration stays
//! in force.

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

/// How often the files are checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The number of wrong passwords to remember, because a check takes a tenth of a second. Correct passwords,
/// at most one per user, are kept separately, so that guessing evicts none of them.
const REMEMBERED: usize = 100;
/// The number of concurrent checks: guessing must not take CPU time from scrapes.
const AT_A_TIME: usize = 1;
/// The number of passwords that may wait for a check; further clients are told to retry later.
const WAITING: usize = 16;
/// The hash to check for unknown users, so that the response time does not reveal which users exist.
const NOBODY: &str = "$2b$10$sXEDeiah7OpOsn33r.YfhOqbcD/UX5D/VsxbhIFFDONYfJ1mNimzS";

/// Checks every connection and request.
pub struct Guard {
    path: Option<PathBuf>,
    now: ArcSwap<Rules>,
    looked: Mutex<Looked>,
    known: Mutex<Known>,
    checks: Semaphore,
    waiting: AtomicUsize,
    guesses: Guesses,
}

/// The contents of the file, ready for use.
#[derive(Default)]
pub struct Rules {
    /// TLS; `None` for plain connections.
    pub tls: Option<Arc<ServerConfig>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: HashMap<Arc<str>, Arc<str>>,
    limit: Option<(WebRateLimit, Arc<Limit>)>,
    files: Vec<PathBuf>,
    /// What is odd in the file and no error.
    warnings: Vec<Problem>,
}

/// Checked passwords, by a digest of hash and password.
#[derive(Default)]
struct Known {
    right: HashSet<[u8; 32]>,
    wrong: HashSet<[u8; 32]>,
}

/// The result of authenticating a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// The user is missing or wrong.
    Refuse,
    /// Too many passwords were tried, so this one was not checked.
    Later,
}

/// When the files were last checked, and their state then.
#[derive(Default)]
struct Looked {
    at: Option<Instant>,
    files: Vec<Option<(SystemTime, u64)>>,
}

impl Guard {
    /// A guard that allows everything.
    pub fn open() -> Guard {
        Guard::new(None, Rules::default())
    }

    /// Reads the file, and all files that it names.
    ///
    /// # Errors
    ///
    /// The problems, one per line.
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

    /// The rules according to the current files.
    pub async fn rules(self: &Arc<Self>) -> Arc<Rules> {
        if let Some(path) = &self.path
            && self.is_time()
        {
            let (own, path) = (self.clone(), path.clone());
            let looked = tokio::task::spawn_blocking(move || own.look(&path)).await;
            if let Err(error) = looked {
                tracing::error!(%error, "the web configuration could not be checked");
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
                tracing::info!("the web configuration was reloaded");
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
                        "the web configuration is invalid; the old one stays in force"
                    );
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Authenticates the user. A password that is already known to be right or wrong is not checked again;
    /// others are checked unless the address has guessed too often.
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
            // Only hashes from the file, and the one for unknown users, can match.
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

/// A place in the queue of passwords to check.
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

/// Modification times and sizes of files.
fn state(files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
    let of = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(of).collect()
}

/// Authenticates each request. Routes with their own token are exempt, because a request has only one
/// `Authorization` header. The rules are those that [`headers`] attached to the request.
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
            let text = "too many wrong passwords from this address; try again later\n";
            (StatusCode::TOO_MANY_REQUESTS, wait, text).into_response()
        }
    }
}

/// Adds security headers and the headers from the file to each response. It runs before [`users`].
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
        // A page sets its own policy.
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

    /// Keeps the remaining budget of the rate limit if the limit has not changed.
    fn keep_limit(&mut self, before: &Rules) {
        if let (Some(own), Some(old)) = (&mut self.limit, &before.limit)
            && own.0 == old.0
        {
            own.1 = old.1.clone();
        }
    }

    /// The response to a request above the rate limit. Health checks are exempt: refusing them would restart
    /// the exporter because other clients send too many requests.
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
