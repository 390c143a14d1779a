//! `check --online`: one row of each data set that has an endpoint of its own, for each application. What
//! is asked for by message (conversions, links) has the same token and the same rights as the messages.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::{
    Pushwoosh, bounces::BOUNCED_EMAILS, errors::code_number, log::MESSAGE_LOG, vendor,
    wire::answer::Answer as WireAnswer,
};
use crate::{
    model::{Application, Dataset},
    providers::{Checkup, CheckupQuery, Failure, FailureKind, checkup::Explained},
};

const TOKENS_PAGE: &str = "Pushwoosh's Control Panel under Settings > API Access";
/// The time of which a row is asked for.
const SPAN: SignedDuration = SignedDuration::from_mins(1);

impl Pushwoosh {
    pub(super) async fn questions(&self, query: CheckupQuery<'_>) -> Checkup {
        let mut checkup = Checkup::default();
        for application in query.applications {
            // The list first: it shows whether token and application are good.
            let own = [vendor::MESSAGES, vendor::BOUNCES, vendor::LOG];
            let own = own
                .into_iter()
                .filter(|dataset| *dataset == vendor::MESSAGES || query.datasets.contains(dataset));
            for dataset in own {
                if checkup.is_over() {
                    break;
                }
                let what = format!("{dataset} of {}", application.name);
                match self.row(dataset, application, query.patience).await {
                    Ok(()) => checkup.good(&what, "token and application are accepted"),
                    Err(failure) => {
                        let explained = explain(dataset, application, &failure);
                        checkup.bad(&what, failure, explained);
                        if dataset == vendor::MESSAGES {
                            // The others would fail alike.
                            break;
                        }
                    }
                }
            }
        }
        checkup.clock_ahead = self.http.clock_ahead();
        checkup
    }

    /// Asks for one row of a data set.
    async fn row(
        &self,
        dataset: Dataset,
        application: &Application,
        patience: Duration,
    ) -> Result<(), Failure> {
        if dataset == vendor::MESSAGES {
            return self.probe(dataset, application, patience).await;
        }
        let now = self.http.clock().now();
        let since = now.checked_sub(SPAN).unwrap_or(now);
        let (endpoint, field, body) = if dataset == vendor::LOG {
            let time = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S").to_string();
            let body = json!({
                "application_code": &*application.id,
                "date_from": time(since),
                "date_to": time(now),
                "limit": 1,
            });
            (&MESSAGE_LOG, "data", body)
        } else {
            let time = |at: jiff::Timestamp| at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
            let body = json!({
                "application": &*application.id,
                "date_from": time(since),
                "date_to": time(now),
                "per_page": 1,
                "page": 0,
            });
            (&BOUNCED_EMAILS, "bounced_emails", body)
        };
        let read =
            |answer: &WireAnswer<'_>, _: &mut dyn FnMut(&str)| answer.list(field).map(|_| ());
        let asked = self.post(dataset, endpoint, &body, patience, read).await;
        asked.map(|_| ())
    }
}

/// What a failure means for who sets the account up, by the vendor's codes.
fn explain(dataset: Dataset, application: &Application, failure: &Failure) -> Explained {
    let number = failure.code.as_deref().and_then(code_number);
    let is_refused = matches!(number, Some(3 | 5 | 9 | 11 | 400 | 404))
        || number.is_none() && matches!(failure.status, Some(400 | 404));
    let said = |problem: String, help: String| Some((problem, help));
    match failure.kind {
        FailureKind::Unauthorized => said(
            "Pushwoosh refuses the token".to_owned(),
            format!("api_token has to be a token of the type Server, not Device: {TOKENS_PAGE}"),
        ),
        FailureKind::Forbidden if dataset == vendor::LOG => said(
            "the token or the plan does not have the log of messages".to_owned(),
            "Pushwoosh has it in Custom Plan subscriptions alone: take log out of collect, or ask Pushwoosh for it"
                .to_owned(),
        ),
        FailureKind::Forbidden => said(
            format!("the token may not read {dataset} of application {}", application.name),
            format!("give the token access to the application: {TOKENS_PAGE}, the menu beside the token"),
        ),
        FailureKind::Vendor | FailureKind::NotFound
            if is_refused && dataset == vendor::MESSAGES =>
        {
            said(
                format!(
                    "Pushwoosh does not know application {}, or this token does not",
                    application.name
                ),
                "check the id: the application code, such as XXXXX-XXXXX, stands beside the application's name in Pushwoosh's Control Panel".to_owned(),
            )
        }
        _ => None,
    }
}
