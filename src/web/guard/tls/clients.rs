//! Which clients may connect, by their certificates.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_cert::{
    Certificate,
    der::Decode,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::certificates;
use crate::config::{ClientAuth, WebTls};

/// The verifier of client certificates; `None` if clients are not asked for one.
pub(super) fn verifier(
    tls: &WebTls,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    let authorities = match &tls.client_ca {
        Some(pem) => Some(certificates(pem).map_err(|error| format!("client_ca_file: {error}"))?),
        None => None,
    };
    let verifies = matches!(
        tls.client_auth,
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify
    );
    let mandatory = match tls.client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Request | ClientAuth::VerifyIfGiven => false,
        ClientAuth::RequireAny | ClientAuth::RequireAndVerify => true,
    };
    let trusted = match authorities {
        Some(authorities) => authorities,
        // As in Go: without a configured authority, the system's authorities are used.
        None if verifies => rustls_native_certs::load_native_certs().certs,
        None => Vec::new(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in &trusted {
        let added = roots.add(certificate.clone());
        if let (Err(error), true) = (added, tls.client_ca.is_some()) {
            return Err(format!("client_ca_file: {error}"));
        }
    }
    let hints = roots.subjects();
    let chains = if verifies && !roots.is_empty() {
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let chains = builder.build();
        Some(chains.map_err(|error| format!("client_ca_file: {error}"))?)
    } else {
        None
    };
    Ok(Some(Arc::new(Clients {
        provider: provider.clone(),
        // A client that must match an allowed name needs a certificate.
        mandatory: mandatory || tls.allowed_sans.is_some(),
        verifies,
        chains,
        trusted,
        hints,
        allowed_sans: tls.allowed_sans.clone(),
    })))
}

/// Verifies a client's certificate. The handshake verifies that the client has the key.
#[derive(Debug)]
struct Clients {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
    /// Whether a certificate must be signed by a trusted authority.
    verifies: bool,
    /// The verifier of the chain; `None` if no authority is trusted.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    hints: Vec<DistinguishedName>,
    allowed_sans: Option<Vec<Arc<str>>>,
}

impl Clients {
    /// A certificate that is itself listed as trusted needs no other signature, as in Go: `client_ca_file`
    /// can then consist of the client's self-signed certificate.
    fn is_trusted_itself(&self, own: &CertificateDer<'_>, now: UnixTime) -> bool {
        self.trusted.iter().any(|trusted| trusted == own)
            && Certificate::from_der(own).is_ok_and(|certificate| {
                let validity = certificate.tbs_certificate.validity;
                let now = std::time::Duration::from_secs(now.as_secs());
                let from = validity.not_before.to_unix_duration();
                from <= now && now <= validity.not_after.to_unix_duration()
            })
    }
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.verifies && !self.is_trusted_itself(own, now) {
            let Some(chains) = &self.chains else {
                return Err(CertificateError::UnknownIssuer.into());
            };
            chains.verify_client_cert(own, chain, now)?;
        }
        if let Some(allowed) = &self.allowed_sans {
            let names = subject_alternative_names(own);
            let names = names.ok_or(CertificateError::BadEncoding)?;
            if !names
                .iter()
                .any(|name| allowed.iter().any(|own| **own == **name))
            {
                return Err(CertificateError::NotValidForName.into());
            }
        }
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

/// The names of a certificate in the form of `client_allowed_sans`: hosts, mailboxes, IP addresses and URIs.
/// `None` if the certificate cannot be parsed.
fn subject_alternative_names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let Some((_, names)) = certificate.tbs_certificate.get::<SubjectAltName>().ok()? else {
        return Some(Vec::new());
    };
    let text = |name: &GeneralName| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) => Some(name.to_string()),
        GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let address = address.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            Some(address.ok()?.to_canonical().to_string())
        }
        _ => None,
    };
    Some(names.0.iter().filter_map(text).collect())
}
