//! `--web.config.file` at work: TLS for every connection, and users for every request but those that
//! bring a token of their own.
//!
//! The file and what it names are looked at again once a second while somebody connects, so that
//! renewed certificates and changed users need no restart. A bad file leaves the old one in force.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::tokens;
use crate::config::{self, ClientAuth, Pem, WebConfig, WebTls};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many passwords are remembered as right or wrong: a check takes a tenth of a second.
const REMEMBERED: usize = 100;
/// So many are checked at a time: guessing must not take the processor from scrapes.
const AT_A_TIME: usize = 1;
/// Stands for the hash of a user that does not exist, so that the time tells nobody so.
const NOBODY: &str = "$2b$10$sXEDeiah7OpOsn33r.YfhOqbcD/UX5D/VsxbhIFFDONYfJ1mNimzS";

/// What every connection and request passes.
pub struct Guard {
    path: Option<PathBuf>,
    now: ArcSwap<Rules>,
    looked: Mutex<Looked>,
    /// By digest of hash and password.
    known: Mutex<HashMap<[u8; 32], bool>>,
    checks: Semaphore,
}

/// What the file says, ready to be used.
#[derive(Default)]
pub struct Rules {
    /// TLS; without it, connections are plain.
    pub tls: Option<Arc<ServerConfig>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: HashMap<Arc<str>, Arc<str>>,
    files: Vec<PathBuf>,
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

    fn new(path: Option<PathBuf>, rules: Rules) -> Guard {
        Guard {
            path,
            now: ArcSwap::from_pointee(rules),
            looked: Mutex::default(),
            known: Mutex::default(),
            checks: Semaphore::new(AT_A_TIME),
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
            Ok(rules) => {
                tracing::info!("the web configuration is read again");
                let files = state(&rules.files);
                self.now.store(Arc::new(rules));
                self.known().clear();
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

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], bool>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the user may pass.
    async fn lets(&self, rules: &Rules, user: Option<(String, String)>) -> bool {
        if rules.users.is_empty() {
            return true;
        }
        let Some((user, password)) = user else {
            return false;
        };
        let hash = rules.users.get(user.as_str());
        let exists = hash.is_some();
        let hash = hash.cloned().unwrap_or_else(|| Arc::from(NOBODY));
        let mut digest = Sha256::new();
        digest.update(hash.as_bytes());
        digest.update([0]);
        digest.update(password.as_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let known = self.known().get(&digest).copied();
        if let Some(known) = known {
            return known && exists;
        }
        // The semaphore is never closed.
        let _one = self.checks.acquire().await;
        let check = move || bcrypt::verify(password, &hash).unwrap_or(false);
        let right = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        let mut known = self.known();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(digest, right);
        right && exists
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

/// Asks each request for its user, and adds the headers of the file to the answer. What brings a
/// token of its own (`/api/`, `/webhooks/`) has no room for a user.
pub async fn watch(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let rules = guard.rules().await;
    let path = request.uri().path();
    let has_token = path.starts_with("/api/") || path.starts_with("/webhooks/");
    let user = tokens::basic(request.headers());
    let mut response = if has_token || guard.lets(&rules, user).await {
        next.run(request).await
    } else {
        let ask = [(
            header::WWW_AUTHENTICATE,
            "Basic realm=\"delivery-exporter\"",
        )];
        (StatusCode::UNAUTHORIZED, ask, "Unauthorized\n").into_response()
    };
    for (name, value) in &rules.headers {
        response.headers_mut().insert(name.clone(), value.clone());
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
                let tls = server(tls, config.http2);
                Some(Arc::new(tls.map_err(|problem| {
                    format!("{}: tls_server_config: {problem}", path.display())
                })?))
            }
            None => None,
        };
        let WebConfig { headers, users, .. } = config;
        let headers = headers.iter().filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        });
        Ok(Rules {
            tls,
            headers: headers.collect(),
            users: users.into_iter().collect(),
            files,
        })
    }
}

fn bytes(pem: &Pem) -> Result<Vec<u8>, String> {
    match pem {
        Pem::Text(text) => Ok(text.expose().as_bytes().to_vec()),
        Pem::File(path) => {
            std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

fn name(pem: &Pem) -> String {
    match pem {
        Pem::Text(_) => "the text".into(),
        Pem::File(path) => path.display().to_string(),
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(pem)?).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{} has no certificate", name(pem))),
        Err(error) => Err(format!("{}: {error}", name(pem))),
    }
}

fn server(tls: &WebTls, http2: bool) -> Result<ServerConfig, String> {
    let provider = Arc::new(provider(tls)?);
    let versions: Vec<_> = [
        (tls.tls12, &rustls::version::TLS12),
        (tls.tls13, &rustls::version::TLS13),
    ]
    .into_iter()
    .filter_map(|(spoken, version)| spoken.then_some(version))
    .collect();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?;
    let builder = match tls.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        ClientAuth::Request | ClientAuth::RequireAny => {
            let mandatory = tls.client_auth == ClientAuth::RequireAny;
            builder.with_client_cert_verifier(Arc::new(AnyCertificate {
                provider,
                mandatory,
            }))
        }
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
            let mut roots = RootCertStore::empty();
            for own in tls.client_ca.iter().map(certificates) {
                for certificate in own? {
                    roots
                        .add(certificate)
                        .map_err(|error| format!("client_ca_file: {error}"))?;
                }
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match tls.client_auth {
                ClientAuth::VerifyIfGiven => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier
                .build()
                .map_err(|error| format!("client_ca_file: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(&bytes(&tls.key)?)
        .map_err(|error| format!("{}: {error}", name(&tls.key)))?;
    let mut config = builder
        .with_single_cert(certificates(&tls.certificate)?, key)
        .map_err(|error| format!("{}: {error}", name(&tls.certificate)))?;
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(config)
}

/// What is spoken, of what the library can.
fn provider(tls: &WebTls) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    let is_chosen = |suite: &SupportedCipherSuite| match suite {
        // Those of TLS 1.3 cannot be chosen, as with Go.
        SupportedCipherSuite::Tls13(_) => true,
        SupportedCipherSuite::Tls12(_) => tls.cipher_suites.iter().any(|own| **own == *name(suite)),
    };
    let all: Vec<_> = provider.cipher_suites.iter().map(name).collect();
    for own in &tls.cipher_suites {
        // Go calls those of TLS 1.3 otherwise.
        let of_tls13 = own.replacen("TLS_", "TLS13_", 1);
        if !all
            .iter()
            .any(|known| **known == **own || *known == of_tls13)
        {
            return Err(format!(
                "cipher_suites: {own} is none of {}",
                all.join(", ")
            ));
        }
    }
    if !tls.cipher_suites.is_empty() {
        provider.cipher_suites.retain(is_chosen);
    }
    if !tls.curves.is_empty() {
        let groups = [
            ("X25519", rustls::NamedGroup::X25519),
            ("CurveP256", rustls::NamedGroup::secp256r1),
            ("CurveP384", rustls::NamedGroup::secp384r1),
        ];
        let mut chosen = Vec::new();
        for own in &tls.curves {
            let Some((_, group)) = groups.iter().find(|(name, _)| **name == **own) else {
                let names = groups.map(|(name, _)| name).join(", ");
                return Err(format!("curve_preferences: {own} is none of {names}"));
            };
            chosen.extend(
                provider
                    .kx_groups
                    .iter()
                    .copied()
                    .find(|own| own.name() == *group),
            );
        }
        provider.kx_groups = chosen;
    }
    Ok(provider)
}

/// Takes any certificate whose key the client has.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
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
            guard
                .lets(&rules, Some((user.to_owned(), password.to_owned())))
                .await
        };
        for _ in 0..2 {
            assert!(lets("a", "right").await && lets("b", "right").await);
            assert!(!lets("a", "wrong").await && !lets("c", "right").await);
            assert!(!guard.lets(&rules, None).await);
            // Of two users with one hash, of a wrong password, and of a user that is not there.
            assert_eq!(guard.known().len(), 3);
        }
        for number in 0..2 * REMEMBERED {
            assert!(!lets("a", &number.to_string()).await);
        }
        assert!(guard.known().len() <= REMEMBERED);
        assert!(NOBODY.parse::<bcrypt::HashParts>().is_ok());
        let open = Guard::open();
        assert!(open.lets(&open.now.load(), None).await);
    }
}
