//! Applies `--web.config.file`: TLS for every connection, and basic authentication for every request except
//! those that carry their own token.
//!
//! The file and the files that it names are checked for changes once a second while clients connect, so that
//! renewed certificates and changed users need no restart. If a file is invalid, the old configuration stays
//! in force.

mod limit;
mod p521;
mod passwords;
mod tls;
#[cfg(test)]
mod toolkit;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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

use super::{peer::Peer, tokens};
use crate::{
    config::{self, Pem, Problem, WebConfig, WebRateLimit},
    redact,
};
use limit::Limit;
use passwords::{Passwords, Users, Verdict};

/// How often the files are checked for changes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Checks every connection and request.
pub struct Guard {
    path: Option<PathBuf>,
    now: ArcSwap<Rules>,
    looked: Mutex<Looked>,
    passwords: Passwords,
}

/// The contents of the file, ready for use.
#[derive(Default)]
pub struct Rules {
    /// TLS; `None` for plain connections.
    pub tls: Option<Arc<ServerConfig>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: Users,
    limit: Option<(WebRateLimit, Arc<Limit>)>,
    files: Vec<PathBuf>,
    /// What is odd in the file and no error.
    warnings: Vec<Problem>,
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
            passwords: Passwords::new(),
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
                let before = self.now.load_full();
                rules.keep_limit(&before);
                tracing::info!("the web configuration was reloaded");
                let files = state(&rules.files);
                let rules = Arc::new(rules);
                self.now.store(rules.clone());
                self.passwords.reload(&before.users, &rules.users);
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
}

/// The modification time and size of each file.
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
    let passwords = &guard.passwords;
    match passwords.authenticate(&rules.users, user, address).await {
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
            let text =
                "too many wrong passwords from this address and for this user; try again later\n";
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
            users: Users::new(users.into_iter().collect()),
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

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_elsewhere_forgets_no_password() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web.yml");
        let hash = bcrypt::hash("right", 4).unwrap();
        let text = format!("basic_auth_users: {{a: '{hash}'}}\n");
        std::fs::write(&path, &text).unwrap();
        let guard = Guard::read(&path).unwrap();
        let lets = async |password: &str| {
            let (rules, user) = (guard.now.load_full(), Some(("a".into(), password.into())));
            let passwords = &guard.passwords;
            passwords.authenticate(&rules.users, user, None).await
        };
        assert_eq!(lets("right").await, Verdict::Pass);
        std::fs::write(
            &path,
            format!("{text}http_server_config: {{http2: false}}\n"),
        )
        .unwrap();
        let before = guard.now.load_full();
        guard.look(&path);
        assert!(!Arc::ptr_eq(&before, &guard.now.load_full()), "it was read");
        for number in 0.. {
            if lets(&number.to_string()).await == Verdict::Later {
                break;
            }
        }
        assert_eq!(lets("right").await, Verdict::Pass);
    }
}
