//! The secrets of a configuration, so that none of them is shown.

use super::{tree::Environment, types::Config};
use crate::{
    redact::{register, register_url, register_user},
    store_url::StoreUrl,
};

/// The usual variables of proxies, which can hold a password too.
const PROXY_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Registers all of them.
pub(super) fn register_all(config: &Config, environment: &Environment<'_>) {
    for value in PROXY_VARIABLES.iter().filter_map(|name| environment(name)) {
        register_url(&value);
    }
    register(config.api_token.iter().map(|token| token.expose()));
    if let StoreUrl::Postgres(url) = &config.store {
        let url = url.expose();
        register_url(url);
        // In any of the forms that the database's own library reads.
        if let Ok(read) = url.parse::<tokio_postgres::Config>()
            && let Some(password) = read.get_password()
        {
            let password = String::from_utf8_lossy(password);
            register_user(read.get_user().unwrap_or_default(), &password);
        }
    }
    if let Some(otlp) = &config.otlp {
        register(otlp.headers.iter().map(|(_, value)| value.expose()));
        for url in [&otlp.metrics_endpoint, &otlp.traces_endpoint] {
            register_url(url.as_str());
        }
    }
    for account in &config.accounts {
        let secrets = account.credentials.secrets();
        let single = match secrets.as_slice() {
            // Basic authentication makes a pair of them.
            [user, password, rest @ ..] => {
                register_user(user.value.expose(), password.value.expose());
                rest
            }
            single => single,
        };
        register(single.iter().map(|own| own.value.expose()));
        let others = account.keys.all_secrets().chain(&account.webhook_token);
        register(others.map(|own| own.expose()));
        if let Some(proxy) = &account.proxy_url {
            register_url(proxy.expose());
        }
        for list in &account.messages.http {
            register_url(list.url.as_str());
        }
    }
}
