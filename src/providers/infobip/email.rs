//! Infobip e-mail delivery reports: `GET /email/1/reports`, which hands each report out once.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use super::{Access, events, reports};
use crate::{
    aside::{LARGE_ANSWER, aside},
    config,
    model::Dataset,
    providers::{
        Failure, Observation, Plan, Provider, Pushed, Query, ReportsRead,
        http::{Answer, Http},
    },
};

/// The most reports in one answer. Without it the vendor gives 50.
const PATH: &str = "/email/1/reports?limit=1000";

/// Infobip's e-mail reports of one account.
pub(crate) struct InfobipEmail {
    http: Http,
    access: Access,
    account: Arc<str>,
}

impl InfobipEmail {
    pub(crate) fn new(http: Http, account: &config::Account) -> InfobipEmail {
        let access = Access::new(&account.credentials);
        InfobipEmail {
            http,
            access,
            account: account.name.clone(),
        }
    }
}

impl Provider for InfobipEmail {
    fn plan(&self, _: Dataset) -> Plan {
        Plan::Drain
    }

    fn ask<'a>(
        &'a self,
        query: Query<'a>,
        take: &'a mut (dyn FnMut(Observation) + Send),
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let Query::Drain {
                dataset,
                spool,
                deadline,
            } = query
            else {
                return Err(Failure::unsupported());
            };
            let judge = |answer: &Answer| {
                self.access
                    .note_sunset(&answer.headers, &self.account, "/email/1/reports");
                self.access.refused(answer)
            };
            let request = || self.access.get(PATH.to_owned());
            let refresh = || self.access.refresh();
            let drained = self
                .http
                .drain(dataset, deadline, request, judge, refresh, spool)
                .await?;
            let read = self.read_reports(&drained.bytes);
            take(Observation::Drained {
                body: drained.body,
                read,
                cut: drained.cut,
            });
            Ok(())
        }
        .boxed()
    }

    fn read_reports(&self, body: &[u8]) -> ReportsRead {
        aside(body.len() > LARGE_ANSWER, || {
            reports::read(&self.account, body)
        })
    }

    fn read_pushed(&self, body: &[u8]) -> Pushed {
        events::read(&self.account, body)
            .unwrap_or_else(|| Pushed::Reports(self.read_reports(body)))
    }
}
