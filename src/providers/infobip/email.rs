//! Infobip e-mail delivery reports: `GET /email/1/reports`, which hands each report out once.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use super::{Access, vendor::REPORTS, wire::body};
use crate::{
    blocking::{LARGE_ANSWER, run_blocking_if_large},
    providers::{
        Answer, Checkup, CheckupQuery, DrainQuery, Failure, FailureKind, Observation, Provider,
        ProviderOptions, Pushed,
        http::{Http, HttpAnswer, is_packed, unpacked},
    },
};

/// The most reports in one answer. Without it the vendor gives 50.
const PATH: &str = "/email/1/reports?limit=1000";

/// Infobip's e-mail reports of one account.
pub(crate) struct InfobipEmail {
    pub(super) http: Http,
    pub(super) access: Access,
    account: Arc<str>,
}

impl InfobipEmail {
    pub(crate) fn new(http: Http, options: &ProviderOptions) -> InfobipEmail {
        let access = Access::new(&options.credentials);
        InfobipEmail {
            http,
            access,
            account: options.account.clone(),
        }
    }
}

impl InfobipEmail {
    /// Takes bodies out of the queue: one, or a second one where the first says that the secret is
    /// an old one. Events come by webhook: one that is in a body here was not acknowledged, and is
    /// sent again.
    async fn hand_out(
        &self,
        query: DrainQuery<'_>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let DrainQuery {
            dataset,
            spool,
            patience,
        } = query;
        let judge = |answer: &HttpAnswer| {
            self.access
                .note_sunset(&answer.headers, &self.account, "/email/1/reports");
            self.access.refused(answer)
        };
        let request = || self.access.get(PATH.to_owned());
        let refresh = || self.access.refresh();
        let mut refreshed = false;
        let mut lost = None;
        loop {
            let drained = self
                .http
                .drain(dataset, patience, request, judge, refresh, spool)
                .await?;
            lost = lost.or(drained.lost);
            let mut read = self.read_pushed(&drained.bytes).reports;
            if drained.cut.is_some() {
                // That is the failure; what a cut body looks like says nothing.
                read.failure = None;
            }
            let failure = read.failure.clone();
            observations.push(Observation::DrainedBody {
                body: drained.body,
                read,
                cut: drained.cut,
            });
            let Some(failure) = failure else {
                return lost.map_or(Ok(()), Err);
            };
            let observer = self.http.observer();
            if failure.kind == FailureKind::RateLimited {
                observer.rate_limited(dataset);
            }
            // As with a status of 401: a rotated secret is read again, once.
            let refused = failure.kind == FailureKind::Unauthorized;
            if !(refused && !std::mem::replace(&mut refreshed, true) && refresh()) {
                return Err(failure);
            }
            observer.retry(dataset);
        }
    }
}

impl Provider for InfobipEmail {
    fn drain<'a>(&'a self, query: DrainQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            let mut observations = Vec::new();
            let result = self.hand_out(query, &mut observations).await;
            Answer::new(observations, result)
        }
        .boxed()
    }

    fn check_up<'a>(&'a self, query: CheckupQuery<'a>) -> BoxFuture<'a, Checkup> {
        self.questions(query).boxed()
    }

    fn read_pushed(&self, body: &[u8]) -> Pushed {
        let packed = is_packed(body);
        run_blocking_if_large(packed || body.len() > LARGE_ANSWER, || {
            // What does not unpack is read, and kept, as it is.
            let content = unpacked(body, self.http.max_bytes());
            let body = content.as_deref().unwrap_or(body);
            let observer = self.http.observer();
            let unknown = &mut |field: &str| observer.unknown_field(REPORTS, field);
            body::read(&self.account, body, unknown)
        })
    }
}
