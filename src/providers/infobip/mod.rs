//! Infobip: what its push statistics and its e-mail reports have in common, authentication and
//! errors.

mod checkup;
mod email;
mod errors;
mod push;
#[cfg(test)]
mod tests;
pub(super) mod vendor;
mod wire;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;

use errors::{Class, VendorError};

use super::{
    Credentials, Provider,
    http::{HttpAnswer, Request, Verdict},
    secrets::Secrets,
    vendor::ProviderParts,
    verdict::by_status,
};
use crate::{redact::shown, secret::Secret};

/// The provider of push statistics.
fn build_push(parts: ProviderParts) -> Arc<dyn Provider> {
    Arc::new(push::InfobipPush::new(parts.http, &parts.options))
}

/// The provider of e-mail reports.
fn build_email(parts: ProviderParts) -> Arc<dyn Provider> {
    Arc::new(email::InfobipEmail::new(parts.http, &parts.options))
}

/// How an account of this vendor is known to it.
pub(super) struct Access {
    scheme: Scheme,
    secrets: Secrets,
    /// The vendor's warning that an endpoint goes away is logged once.
    sunset: AtomicBool,
}

enum Scheme {
    Basic,
    ApiKey,
    Token,
}

impl Access {
    /// From the configuration, which has checked that the credentials are of this vendor's kind.
    pub(super) fn new(credentials: &Credentials) -> Access {
        let scheme = match credentials.form().next() {
            Some("api_key") => Scheme::ApiKey,
            Some("token") => Scheme::Token,
            _ => Scheme::Basic,
        };
        Access {
            scheme,
            secrets: Secrets::new(credentials.secrets()),
            sunset: AtomicBool::new(false),
        }
    }

    /// A GET with the account's authorization.
    fn get(&self, path_and_query: String) -> Request {
        let secrets = self.secrets.current();
        let first = secrets.first().map_or("", Secret::expose);
        let value = match self.scheme {
            Scheme::Basic => {
                let password = secrets.get(1).map_or("", Secret::expose);
                format!("Basic {}", STANDARD.encode(format!("{first}:{password}")))
            }
            // The vendor's word for an API key is App, not Bearer.
            Scheme::ApiKey => format!("App {first}"),
            Scheme::Token if first.starts_with("Bearer ") || first.starts_with("IBSSO ") => {
                first.to_owned()
            }
            Scheme::Token => format!("Bearer {first}"),
        };
        // Unless JSON is asked for, this vendor may answer in XML.
        Request::json(path_and_query, &value)
    }

    fn refresh(&self) -> bool {
        self.secrets.refresh()
    }

    /// The verdict on an answer that is no success.
    fn refused<T>(&self, answer: &HttpAnswer) -> Verdict<T> {
        match errors::read(&answer.body) {
            Some(error) => self.failed(answer.status.as_u16(), &error),
            None => by_status(answer, None, ""),
        }
    }

    /// The verdict on an error of the vendor, whatever the status it came under: what may go away is
    /// tried again.
    fn failed<T>(&self, status: u16, error: &VendorError) -> Verdict<T> {
        let failure = error.failure(status);
        match error.class(status) {
            Class::RateLimited | Class::Server => Verdict::Retry(failure, None),
            _ => Verdict::Fail(failure),
        }
    }

    /// Logs once that the endpoint will go away.
    fn note_sunset(&self, headers: &HeaderMap, account: &str, endpoint: &str) {
        let Some(sunset) = headers.get("sunset").or(headers.get("deprecation")) else {
            return;
        };
        if !self.sunset.swap(true, Ordering::Relaxed) {
            let sunset = shown(&String::from_utf8_lossy(sunset.as_bytes()));
            tracing::warn!(
                account,
                endpoint,
                sunset,
                "the vendor says that this endpoint goes away"
            );
        }
    }
}
