//! TLS of outgoing connections: to vendors, OTLP receivers, databases and lists of messages.

use std::path::Path;

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::files;

/// Installs the cryptography provider of this process. All callers install the same one, so the order does
/// not matter.
pub(crate) fn choose_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads a file of certificates or keys in PEM.
///
/// # Errors
///
/// The file, and why it cannot be read.
pub(crate) fn pem(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path, files::MAX_PEM).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a `ca_file`: the authorities, one of which must have signed the server's certificate.
///
/// # Errors
///
/// The file, and why it cannot be read. A file without a certificate is an error too, because nothing would
/// be trusted and every request would fail.
pub(crate) fn authorities(path: &Path) -> Result<Vec<u8>, String> {
    let text = pem(path)?;
    let mut certificates = CertificateDer::pem_slice_iter(&text);
    match certificates.next() {
        Some(Ok(_)) => Ok(text),
        Some(Err(error)) => Err(format!("{}: {error}", path.display())),
        None => Err(format!("{} contains no certificate", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_authority_is_refused_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        for (text, problem) in [
            (certificate.clone(), None),
            (format!("{key}{certificate}"), None),
            (String::new(), Some("ca.pem contains no certificate")),
            (key, Some("ca.pem contains no certificate")),
            (certificate.replace("MII", "?II"), Some("ca.pem: ")),
        ] {
            std::fs::write(&path, &text).unwrap();
            match (authorities(&path), problem) {
                (Ok(own), None) => assert_eq!(own, text.as_bytes()),
                (Err(error), Some(problem)) => assert!(error.contains(problem), "{error}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
        assert!(authorities(directory.path()).is_err(), "not a regular file");
    }
}
