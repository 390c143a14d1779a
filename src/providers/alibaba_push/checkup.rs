//! `check --online`: the statistics of one message and the newest records of each application; both are
//! free, and each needs a permission of its own. Where an AppKey is refused, the ones that exist are
//! asked for.

use std::time::Duration;

use jiff::SignedDuration;

use super::{AlibabaPush, Asked, errors, time, vendor};
use crate::{
    model::Application,
    providers::{
        Checkup, CheckupQuery, Failure, FailureKind,
        checkup::Explained,
        json::{Object, Text},
    },
};

const STATISTICS: &str = "QueryPushStatByMsg";
const RECORDS: &str = "QueryPushRecords";
const APPLICATIONS: &str = "ListSummaryApps";
/// The vendor answers with nothing for a message that it does not have.
const MADE_UP: &str = "1";
/// The time of which records are asked for.
const SPAN: SignedDuration = SignedDuration::from_mins(1);
/// So many AppKeys are named.
const MAX_NAMED: usize = 20;

impl AlibabaPush {
    pub(super) async fn questions(&self, query: CheckupQuery<'_>) -> Checkup {
        let mut checkup = Checkup::default();
        for application in query.applications {
            let actions = [(STATISTICS, true), (RECORDS, query.lists)];
            for (action, _) in actions.into_iter().filter(|(_, is_asked)| *is_asked) {
                if checkup.is_over() {
                    break;
                }
                let what = match action {
                    STATISTICS => format!("statistics of {}", application.name),
                    _ => format!("list of {}", application.name),
                };
                let newest = query.newest(application);
                let message = newest.map_or(MADE_UP, |message| &message.id);
                let asked = self.action(action, application, message, query.patience);
                match asked.await {
                    Ok(()) => checkup.good(&what, "AccessKey and AppKey are accepted"),
                    Err(failure) => {
                        let is_unknown = failure.code.as_deref() == Some("PermissionDenied");
                        let explained = if is_unknown {
                            Some(self.unknown(application, query.patience).await)
                        } else {
                            explain(action, &failure)
                        };
                        checkup.bad(&what, failure, explained);
                        if is_unknown {
                            break;
                        }
                    }
                }
            }
        }
        checkup.clock_ahead = self.http.clock_ahead();
        checkup
    }

    async fn action(
        &self,
        action: &str,
        application: &Application,
        message: &str,
        patience: Duration,
    ) -> Result<(), Failure> {
        let now = self.http.clock().now();
        let (from, to) = (time(now.checked_sub(SPAN).unwrap_or(now)), time(now));
        let app_key = ("AppKey", &*application.id);
        let parameters = match action {
            STATISTICS => vec![app_key, ("MessageId", message)],
            _ => vec![
                app_key,
                ("StartTime", from.as_str()),
                ("EndTime", to.as_str()),
                ("Page", "1"),
                ("PageSize", "1"),
            ],
        };
        let read = |_: &Object<'_>, _: &mut dyn FnMut(&str)| ();
        let asked = self.operation(vendor::MESSAGES, action, &parameters, patience, read);
        // A message that is refused, or whose numbers are being made, was looked for: that is enough.
        asked.await.map(|(asked, _)| match asked {
            Asked::Answer(()) | Asked::Refused(_) => {}
        })
    }

    /// What is to be said of an application that the vendor does not know, with those that it does.
    async fn unknown(&self, application: &Application, patience: Duration) -> (String, String) {
        let problem = format!(
            "AppKey {} is not one of this Alibaba Cloud account",
            application.id
        );
        let read = |answer: &Object<'_>, _: &mut dyn FnMut(&str)| applications(answer);
        let asked = self.operation(vendor::MESSAGES, APPLICATIONS, &[], patience, read);
        let existing = match asked.await {
            Ok((Asked::Answer(existing), _)) => existing,
            _ => Vec::new(),
        };
        let help = if existing.is_empty() {
            "take the AppKey from the EMAS console (the application's settings), or an AccessKey of the account that has it".to_owned()
        } else {
            let more = existing.len().saturating_sub(MAX_NAMED);
            let mut named = existing;
            named.truncate(MAX_NAMED);
            let rest = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("there are {}{rest}", named.join(", "))
        };
        (problem, help)
    }
}

/// The applications of the account, as `AppKey (name)`.
fn applications(answer: &Object<'_>) -> Vec<String> {
    let list = errors::field(answer, &["SummaryAppInfos"])
        .and_then(|raw| serde_json::from_str::<Object<'_>>(raw.get()).ok())
        .and_then(|outer| {
            let raw = errors::field(&outer, &["SummaryAppInfo"])?.get();
            serde_json::from_str::<Vec<Object<'_>>>(raw).ok()
        });
    let name = |own: &Object<'_>, key: &str| -> Option<String> {
        let text: Text = serde_json::from_str(errors::field(own, &[key])?.get()).ok()?;
        text.get().map(crate::redact::shown)
    };
    let named = |own: &Object<'_>| {
        let is_key = |key: &String| key.bytes().all(|byte| byte.is_ascii_digit());
        let key = name(own, "AppKey").filter(is_key)?;
        Some(match name(own, "AppName") {
            Some(name) => format!("{key} ({name})"),
            None => key,
        })
    };
    list.unwrap_or_default().iter().filter_map(named).collect()
}

/// What a failure means for who sets the account up, by the vendor's codes.
fn explain(action: &str, failure: &Failure) -> Explained {
    let code = failure.code.as_deref().unwrap_or_default();
    let said = |problem: &str, help: &str| Some((problem.to_owned(), help.to_owned()));
    match code {
        "SignatureDoesNotMatch" => said(
            "access_key_secret is not the secret of access_key_id",
            "make a new AccessKey in the RAM console if the secret is lost: it is shown once",
        ),
        "AccountDisabled" | "AccountNotSupport" => said(
            "the Alibaba Cloud account is disabled, or cannot use Mobile Push",
            "see the account's overdue payments and the state of EMAS in the console",
        ),
        "InvalidTimeStamp.Expired" => said(
            "this machine's clock is wrong by more than 15 minutes, and the signature is refused for it",
            "set the clock, and let NTP keep it: timedatectl set-ntp true",
        ),
        _ if code.starts_with("InvalidAccessKeyId") => said(
            "access_key_id does not exist, or is disabled",
            "see the AccessKeys of the RAM user in the RAM console",
        ),
        _ if code == "MissingSecurityToken" || code.starts_with("InvalidSecurityToken") => said(
            "the credentials are temporary ones, without a security_token that is valid",
            "give the security_token of the same AssumeRole answer, or an AccessKey of a RAM user",
        ),
        _ if code == "NoPermission" || code == "Forbidden" || code.starts_with("Forbidden.") => {
            Some((
                format!("the RAM user lacks the permission mpush:{action}"),
                format!(
                    "add the action mpush:{action} to a policy of the RAM user (RAM console > Policies); AliyunMPushReadOnlyAccess alone is not enough for the API"
                ),
            ))
        }
        "InvalidApi.NotFound" | "InvalidProduct.NotFound" | "InvalidProtocol.NeedSsl" => said(
            "Mobile Push does not answer at this address",
            "take base_url out: https://cloudpush.aliyuncs.com is right for every region",
        ),
        _ if failure.kind == FailureKind::RateLimited => said(
            "Alibaba Cloud refuses more requests for now",
            "the limit (50 a second for statistics, 10 for the list) is shared by the whole account: ask again later, and lower rate_limit if it stays",
        ),
        _ => None,
    }
}
