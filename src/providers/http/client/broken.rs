//! Attempts without a usable answer: what each is called, and what may help.

use std::error::Error;

use super::Http;
use crate::providers::{Failure, FailureKind, RequestCode, Scope};

/// How an attempt ended without a usable answer.
pub(super) struct Broken {
    pub(super) code: RequestCode,
    /// The request may have reached the vendor.
    pub(super) is_sent: bool,
    pub(super) failure: Failure,
}

impl Http {
    pub(super) fn timed_out(&self) -> Broken {
        let text = format!("no answer within {} ms", self.timeout.as_millis());
        let failure = Failure::new(FailureKind::Timeout, &text);
        Broken {
            code: RequestCode::Timeout,
            is_sent: true,
            failure,
        }
    }

    pub(super) fn too_large(&self) -> Broken {
        let text = format!("the answer is larger than {} bytes", self.max_bytes);
        let failure = Failure::new(FailureKind::TooLarge, &text)
            .advise("limits.max_response_bytes is the limit");
        Broken {
            code: RequestCode::Body,
            is_sent: true,
            failure,
        }
    }

    pub(super) fn too_many_values(&self) -> Broken {
        let failure = Failure::new(FailureKind::TooLarge, "the answer holds too many values")
            .advise("no answer of this vendor is known to be so long: is base_url right?");
        Broken {
            code: RequestCode::Body,
            is_sent: true,
            failure,
        }
    }

    /// What a broken connection is called.
    pub(super) fn broken(&self, error: &reqwest::Error) -> Broken {
        let text = chain(error);
        let (code, kind, advice) = if error.is_builder() {
            // What is asked for makes no URL or header.
            (RequestCode::Request, FailureKind::Request, None)
        } else if error.is_timeout() {
            (RequestCode::Timeout, FailureKind::Timeout, None)
        } else if error.is_connect() {
            if has_source::<rustls::Error>(error) {
                (
                    RequestCode::Tls,
                    FailureKind::Tls,
                    Some("check the certificates and tls.ca_file"),
                )
            } else if text.contains("dns error") || text.contains("failed to lookup") {
                (
                    RequestCode::Dns,
                    FailureKind::Dns,
                    Some("check the host of base_url"),
                )
            } else {
                (RequestCode::Connect, FailureKind::Connect, None)
            }
        } else if error.is_body() || error.is_decode() {
            (RequestCode::Body, FailureKind::Body, None)
        } else {
            (RequestCode::Connect, FailureKind::Connect, None)
        };
        let mut failure = Failure::new(kind, &text);
        failure.advice = advice;
        let is_sent = !error.is_connect() && !error.is_builder();
        Broken {
            code,
            is_sent,
            failure,
        }
    }
}

/// The exporter's own disk does not take a body.
pub(super) fn store_failure(text: &str) -> Failure {
    Failure {
        scope: Scope::Account,
        ..Failure::new(FailureKind::Store, text)
    }
}

/// An error with its causes, without the URL: its query can hold ids and signatures.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() {
        "the connection failed".to_owned()
    } else if error.is_timeout() {
        "the time limit is over".to_owned()
    } else if error.is_body() || error.is_decode() {
        "the answer was cut off".to_owned()
    } else {
        "the request failed".to_owned()
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) && !cause_text.contains("://") {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn has_source<E: Error + 'static>(error: &reqwest::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if is_or_wraps::<E>(cause) {
            return true;
        }
        source = cause.source();
    }
    false
}

/// An I/O error shows its inner error's cause, not the inner error, which can be an I/O error again.
fn is_or_wraps<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<E>() || inner.is_some_and(|inner| is_or_wraps::<E>(inner))
}
