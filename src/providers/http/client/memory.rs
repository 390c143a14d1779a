//! Answers from memory, in place of the network.

use std::{io, sync::Arc};

use futures_util::future::BoxFuture;

use super::{Http, Request, broken::Broken};
use crate::providers::{Failure, FailureKind, RequestCode};

/// Answers a request in memory. An error is a connection that breaks before the answer begins; the
/// answer's body may end with one.
pub type Answers = Arc<dyn Fn(Request) -> Answering + Send + Sync>;

/// An answer on its way.
pub type Answering = BoxFuture<'static, io::Result<http::Response<reqwest::Body>>>;

impl Http {
    /// The same, answered in memory: for tests that try what no network would bring in time, or twice in the
    /// same order.
    pub fn answered_by(self, answers: Answers) -> Http {
        Http {
            answers: Some(answers),
            ..self
        }
    }
}

/// A connection that broke before its answer began.
pub(super) fn broken(error: &io::Error) -> Broken {
    let text = format!("the request failed: {error}");
    Broken {
        code: RequestCode::Connect,
        is_sent: true,
        failure: Failure::new(FailureKind::Connect, &text),
    }
}
