//! `check --online`. Push: the statistics of one bulk of each application. E-mail: the log of messages,
//! which can be read again and again; the delivery reports are handed out once and are not asked for.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Access, Scheme, email::InfobipEmail, push::InfobipPush, vendor};
use crate::{
    model::{Application, Message},
    providers::{
        Checkup, CheckupQuery, Failure, FailureKind, MessagesQuery, Observation, Scope,
        checkup::Explained,
        http::{HttpAnswer, Verdict},
        json::Object,
        verdict::undecodable,
    },
};

/// The newest entry of the log alone.
const LOGS: &str = "/email/1/logs?limit=1";
/// No bulk has this id.
const MADE_UP: &str = "0";
const KEYS_PAGE: &str = "Infobip's console under Developer tools > API keys";

impl Access {
    /// What a failure means for who sets the account up. `right` is what could not be read.
    fn explain(&self, failure: &Failure, right: &str) -> Explained {
        match failure.kind {
            FailureKind::Unauthorized => {
                let help = match self.scheme {
                    Scheme::Basic => format!(
                        "check username and password; better make a key ({KEYS_PAGE}) and give it as api_key"
                    ),
                    Scheme::ApiKey => format!(
                        "the key has expired, was revoked, or belongs to another account than base_url: see {KEYS_PAGE}"
                    ),
                    Scheme::Token => format!(
                        "a token lasts about an hour: give a key instead, as api_key ({KEYS_PAGE})"
                    ),
                };
                Some(("Infobip refuses the credentials".to_owned(), help))
            }
            FailureKind::Forbidden => Some((
                format!("the credentials are known, and lack the right (scope) to read {right}"),
                format!("add the scope to the key: {KEYS_PAGE}; with a user, its roles decide"),
            )),
            FailureKind::NotFound => Some((
                "Infobip has nothing at this address".to_owned(),
                "check base_url: the one of your account is on the start page of Infobip's console"
                    .to_owned(),
            )),
            _ => None,
        }
    }
}

impl InfobipPush {
    pub(super) async fn questions(&self, query: CheckupQuery<'_>) -> Checkup {
        let mut checkup = Checkup::default();
        for application in query.applications {
            if checkup.is_over() {
                break;
            }
            self.question(&query, application, &mut checkup).await;
        }
        checkup.clock_ahead = self.http.clock_ahead();
        checkup
    }

    async fn question(
        &self,
        query: &CheckupQuery<'_>,
        application: &Application,
        checkup: &mut Checkup,
    ) {
        let what = format!("statistics of {}", application.name);
        let named = query.newest(application);
        let made_up = || Message {
            application: application.id.clone(),
            id: Arc::from(MADE_UP),
            campaign: None,
            sent_at: None,
        };
        let message = named.cloned().unwrap_or_else(made_up);
        let asked = MessagesQuery {
            dataset: vendor::STATISTICS,
            application,
            messages: std::slice::from_ref(&message),
            patience: query.patience,
        };
        let id = &message.id;
        match (self.statistics(&asked, &message).await, named) {
            (Err(failure), _) => {
                let explained = self.access.explain(&failure, "push statistics");
                checkup.bad(&what, failure, explained);
            }
            (Ok(Observation::MessageFailed { failure, .. }), _) => {
                checkup.bad(&what, failure, None);
            }
            (Ok(Observation::MessageRejected { reason, .. }), Some(_)) => {
                let text = format!("the answer for bulk {id} is {reason}");
                let failure = Failure::new(FailureKind::NotFound, &text).of(Scope::Application);
                let problem =
                    format!("Infobip does not know bulk {id} in this application, or not the application");
                let help = "check the id (the applicationCode of Infobip's console), the bulk's id, and that base_url is of the same account";
                checkup.bad(&what, failure, Some((problem, help.to_owned())));
            }
            (Ok(Observation::MessageRejected { .. }), None) => checkup.unclear(
                &what,
                "the credentials are accepted; that the application exists shows only with a message",
                "name one that was sent under messages.static, and check again",
            ),
            (Ok(_), Some(_)) => {
                checkup.good(&what, &format!("accepted, bulk {id} has numbers"));
            }
            (Ok(_), None) => checkup.good(&what, "the credentials are accepted"),
        }
    }
}

impl InfobipEmail {
    pub(super) async fn questions(&self, query: CheckupQuery<'_>) -> Checkup {
        let mut checkup = Checkup::default();
        let what = "e-mail logs, in place of the delivery reports, which are handed out once";
        let judge = |answer: &HttpAnswer| {
            let fields = serde_json::from_slice::<Object<'_>>(&answer.body);
            let is_log = fields.is_ok_and(|fields| {
                let results: Option<&&RawValue> = fields.get("results");
                results.is_some_and(|raw| raw.get().starts_with('['))
            });
            match (answer.status.is_success(), is_log) {
                (true, true) => Verdict::Done(()),
                (true, false) if super::errors::read(&answer.body).is_none() => {
                    Verdict::Fail(undecodable(answer, "the answer is no log of messages"))
                }
                _ => self.access.refused(answer),
            }
        };
        let request = || self.access.get(LOGS.to_owned());
        let refresh = || self.access.refresh();
        let asked = self
            .http
            .call(vendor::REPORTS, query.patience, request, judge, refresh)
            .await;
        match asked {
            Ok(_) => checkup.good(what, "the credentials are accepted"),
            // Neither says anything about the reports.
            Err(failure) if failure.kind == FailureKind::Forbidden => checkup.unclear(
                what,
                &format!(
                    "the credentials are known, and lack the right (scope) to read e-mail logs ({}); the right to read delivery reports cannot be tried without taking some",
                    failure.text
                ),
                &format!("see that the key has the scope of e-mail delivery reports: {KEYS_PAGE}"),
            ),
            Err(failure) => {
                let explained = self.access.explain(&failure, "e-mail logs");
                checkup.bad(what, failure, explained);
            }
        }
        checkup.clock_ahead = self.http.clock_ahead();
        checkup
    }
}
