//! What is wrong on the way to a vendor, whichever it is: names, connections, proxies, pages in place of
//! answers.

use hyper_util::client::proxy::matcher::Matcher;

use crate::{
    config::Account,
    providers::{Failure, FailureKind},
};

/// The proxy through which an account's requests go.
pub(super) struct Proxy {
    /// Its host and port, without a password; `None`: there is none.
    host: Option<String>,
    /// Where it is set.
    source: &'static str,
}

impl Proxy {
    /// The proxy of an account: its own, else that of the environment.
    pub(super) fn of(account: &Account) -> Proxy {
        if let Some(own) = &account.proxy_url {
            let url = reqwest::Url::parse(own.expose()).ok();
            return Proxy {
                host: url.as_ref().and_then(host),
                source: "proxy_url",
            };
        }
        let target = account.base_url.as_str().parse::<http::Uri>().ok();
        let found = target.and_then(|target| Matcher::from_env().intercept(&target));
        Proxy {
            host: found.and_then(|found| found.uri().authority().map(|own| own.to_string())),
            source: "HTTPS_PROXY or ALL_PROXY of the environment",
        }
    }
}

fn host(url: &reqwest::Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// What a failure means and what helps, where the vendor's own codes say nothing of it.
pub(super) fn explain(account: &Account, failure: &Failure, proxy: &Proxy) -> (String, String) {
    let vendor = account.vendor.title;
    let address = host(&account.base_url).unwrap_or_default();
    if let Some(found) = of_proxy(failure, proxy, &address) {
        return found;
    }
    let said = |problem: String, help: &str| (problem, help.to_owned());
    match failure.kind {
        FailureKind::Dns => said(
            format!("the name {address} has no address"),
            &format!(
                "check base_url for a slip; this machine has to resolve the name: getent hosts {}",
                account.base_url.host_str().unwrap_or_default()
            ),
        ),
        FailureKind::Tls => said(
            format!("the TLS connection to {address} fails"),
            "a certificate of an authority that this machine does not know is named by tls.ca_file (some networks inspect TLS with one of their own); another name in the certificate means another base_url",
        ),
        FailureKind::Connect => said(
            format!("{address} cannot be reached"),
            "check base_url and its port; a firewall may refuse the connection, or the network wants a proxy: proxy_url",
        ),
        FailureKind::Timeout => said(
            format!("{address} does not answer"),
            "a firewall may drop the packets, or the network wants a proxy: proxy_url; where the vendor is slow, raise timeout",
        ),
        FailureKind::Redirect => said(
            format!("{address} sends elsewhere, and credentials are not carried along"),
            "check base_url: https in place of http, and the host without a path",
        ),
        FailureKind::Decode | FailureKind::Body | FailureKind::TooLarge => said(
            format!("{address} gives no answer of {vendor}'s API"),
            "check base_url; a proxy or a login page of the network may answer in the vendor's place",
        ),
        FailureKind::RateLimited => said(
            format!("{vendor} refuses more requests for now"),
            &format!(
                "ask again later; if it stays, lower rate_limit (now {} a second), or see what else uses these credentials",
                account.rate_limit.requests_per_second
            ),
        ),
        FailureKind::Unauthorized => said(
            format!("{vendor} refuses the credentials"),
            "check credentials and base_url",
        ),
        FailureKind::Forbidden => said(
            format!("{vendor} knows the credentials, and they lack a right"),
            "add the right in the vendor's console",
        ),
        FailureKind::NotFound => said(
            format!("{vendor} has nothing at this address"),
            "check base_url, which ends before the path of the API",
        ),
        FailureKind::Request => said(
            "the question cannot be sent".to_owned(),
            "an id or a secret has a character that no URL or header takes, such as a line end",
        ),
        FailureKind::Vendor | FailureKind::Store
            if failure.status.is_some_and(|own| own >= 500) =>
        {
            said(
                format!("{vendor} has trouble of its own"),
                "ask again later, and see the vendor's status page",
            )
        }
        FailureKind::Vendor | FailureKind::Store => said(
            format!("{vendor} does not take the question"),
            "look the vendor's code up in its documentation",
        ),
    }
}

/// What is the proxy's fault, or may be.
fn of_proxy(failure: &Failure, proxy: &Proxy, address: &str) -> Option<(String, String)> {
    let host = proxy.host.as_deref()?;
    let source = proxy.source;
    let text = failure.text.to_string().to_lowercase();
    let wants_password =
        failure.status == Some(407) || text.contains("proxy auth") || text.contains("407");
    let (problem, help) = match failure.kind {
        _ if wants_password => (
            format!("the proxy {host} wants a user and a password"),
            format!("write them into the URL of {source}: http://user:password@{host}"),
        ),
        // The vendor's name is resolved by the proxy.
        FailureKind::Dns => (
            format!("the name of the proxy {host} has no address"),
            format!("check {source}"),
        ),
        FailureKind::Connect | FailureKind::Timeout => (
            format!("{address} cannot be reached through the proxy {host}"),
            format!(
                "check that the proxy runs and lets this host through: {source}; without a need for it, take it out or add the host to NO_PROXY"
            ),
        ),
        FailureKind::Tls => (
            format!("the TLS connection to {address} through the proxy {host} fails"),
            "a proxy that inspects TLS has an authority of its own: name it with tls.ca_file"
                .to_owned(),
        ),
        _ => return None,
    };
    Some((problem, help))
}
