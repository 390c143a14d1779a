//! TLS of the endpoints: certificate, versions, cipher suites, groups, and client authentication.

mod clients;

use std::sync::Arc;

use rustls::{
    ServerConfig, SupportedCipherSuite,
    crypto::{CryptoProvider, SupportedKxGroup, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::p521::P521;
use crate::{
    config::{Pem, WebTls},
    files,
};

fn bytes(pem: &Pem) -> Result<Vec<u8>, String> {
    match pem {
        Pem::Text(text) => Ok(text.expose().as_bytes().to_vec()),
        Pem::File(path) => files::read(path, files::MAX_PEM)
            .map_err(|error| format!("{}: {error}", path.display())),
    }
}

fn name(pem: &Pem) -> String {
    match pem {
        Pem::Text(_) => "the text".into(),
        Pem::File(path) => path.display().to_string(),
    }
}

/// The certificates of a file or text, one or more.
pub(super) fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(pem)?).collect();
    match read {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{} contains no certificate", name(pem))),
        Err(error) => Err(format!("{}: {error}", name(pem))),
    }
}

/// The TLS configuration of the server.
///
/// # Errors
///
/// A certificate, key or choice cannot be used.
pub(super) fn server(tls: &WebTls, http2: bool) -> Result<ServerConfig, String> {
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
    let builder = match clients::verifier(tls, &provider)? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
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

/// The library's cipher suites and groups, restricted to the configured ones.
fn provider(tls: &WebTls) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    let is_chosen = |suite: &SupportedCipherSuite| match suite {
        // The suites of TLS 1.3 cannot be chosen, as in Go.
        SupportedCipherSuite::Tls13(_) => true,
        SupportedCipherSuite::Tls12(_) => tls.cipher_suites.iter().any(|own| **own == *name(suite)),
    };
    let all: Vec<_> = provider.cipher_suites.iter().map(name).collect();
    let of_tls13 = |own: &str| !own.contains("_WITH_");
    let unspoken: Vec<_> = tls
        .cipher_suites
        .iter()
        .filter(|own| !of_tls13(own) && !all.iter().any(|known| **known == ***own))
        .map(AsRef::as_ref)
        .collect();
    if !unspoken.is_empty() {
        let suites = unspoken.join(", ");
        tracing::warn!(
            suites,
            "cipher suites with CBC are not supported; the others are used"
        );
    }
    if !tls.cipher_suites.is_empty() {
        provider.cipher_suites.retain(is_chosen);
        let is_tls12 = |own: &SupportedCipherSuite| matches!(own, SupportedCipherSuite::Tls12(_));
        if !tls.tls13 && !provider.cipher_suites.iter().any(is_tls12) {
            let all = all.join(", ");
            return Err(format!(
                "cipher_suites: none of them is supported; supported are {all}"
            ));
        }
    }
    if !tls.curves.is_empty() {
        let mut chosen: Vec<&'static dyn SupportedKxGroup> = Vec::new();
        for own in &tls.curves {
            chosen.push(match own.as_ref() {
                "X25519" => ring::kx_group::X25519,
                "CurveP256" => ring::kx_group::SECP256R1,
                "CurveP384" => ring::kx_group::SECP384R1,
                "CurveP521" => &P521,
                other => return Err(format!("curve_preferences: {other} is not supported")),
            });
        }
        provider.kx_groups = chosen;
    }
    Ok(provider)
}
