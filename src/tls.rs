//! TLS towards others: vendors, receivers, databases, lists of messages.

use std::path::Path;

use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::files;

/// Chooses the implementation of cryptography for this process. Everything here chooses the same, so
/// it does not matter who comes first.
pub(crate) fn choose_cryptography() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Reads a file of certificates or keys in PEM.
///
/// # Errors
///
/// The file and why it cannot be read.
pub(crate) fn pem(path: &Path) -> Result<Vec<u8>, String> {
    files::read(path, files::MAX_PEM).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a `ca_file`: the authorities of which one has to have signed the other side's certificate.
///
/// # Errors
///
/// The file and why it cannot be read; also where it holds no certificate, as nobody would be trusted
/// then, and every request would fail.
pub(crate) fn authorities(path: &Path) -> Result<Vec<u8>, String> {
    let text = pem(path)?;
    let mut certificates = CertificateDer::pem_slice_iter(&text);
    match certificates.next() {
        Some(Ok(_)) => Ok(text),
        Some(Err(error)) => Err(format!("{}: {error}", path.display())),
        None => Err(format!("{} has no certificate", path.display())),
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
            (String::new(), Some("ca.pem has no certificate")),
            (key, Some("ca.pem has no certificate")),
            (certificate.replace("MII", "?II"), Some("ca.pem: ")),
        ] {
            std::fs::write(&path, &text).unwrap();
            match (authorities(&path), problem) {
                (Ok(own), None) => assert_eq!(own, text.as_bytes()),
                (Err(error), Some(problem)) => assert!(error.contains(problem), "{error}"),
                (other, _) => panic!("{text}: {other:?}"),
            }
        }
        assert!(authorities(directory.path()).is_err(), "no regular file");
    }
}
