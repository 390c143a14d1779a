//! How an account's connections are made: certificates, proxy, and what is never followed.

use super::broken::chain;
use crate::{
    providers::http::{HttpOptions, Tls},
    tls,
};

/// What the exporter calls itself.
const USER_AGENT: &str = concat!("delivery-exporter/", env!("CARGO_PKG_VERSION"));

/// What the clients of an account have in common.
pub(super) fn builder_of(options: &HttpOptions) -> Result<reqwest::ClientBuilder, String> {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(options.max_concurrency);
    let builder = with_tls(builder, &options.tls)?;
    match &options.proxy_url {
        Some(proxy) => {
            // The error of the proxy's URL would show its password.
            let proxy = reqwest::Proxy::all(proxy.expose())
                .map_err(|_| "proxy_url cannot be used as a proxy".to_owned())?;
            Ok(builder.proxy(proxy))
        }
        None => Ok(builder),
    }
}

/// The client's certificates, on top of a builder.
pub(crate) fn with_tls(
    builder: reqwest::ClientBuilder,
    options: &Tls,
) -> Result<reqwest::ClientBuilder, String> {
    tls::choose_cryptography();
    let mut builder = builder;
    if let Some(path) = &options.ca_file {
        let authorities = reqwest::Certificate::from_pem_bundle(&tls::authorities(path)?)
            .map_err(|error| format!("{}: {}", path.display(), chain(&error)))?;
        builder = builder.tls_certs_only(authorities);
    }
    if let (Some(certificate), Some(key)) = (&options.cert_file, &options.key_file) {
        let mut pem = tls::pem(certificate)?;
        pem.push(b'\n');
        pem.extend(tls::pem(key)?);
        let identity = reqwest::Identity::from_pem(&pem)
            .map_err(|error| format!("{}: {}", certificate.display(), chain(&error)))?;
        builder = builder.identity(identity);
    }
    Ok(builder)
}
