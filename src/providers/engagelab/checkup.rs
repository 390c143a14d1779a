//! `check --online`: the users of a day show whether key and data centre fit together, the numbers of
//! the newest message whether the messages are of this application.

use super::{BatchEnd, Engagelab, users::Unit, vendor};
use crate::providers::{Checkup, CheckupQuery, Failure, FailureKind, checkup::Explained};

/// Where an application can be, and the address there.
const DATA_CENTRES: [(&str, &str); 6] = [
    ("Singapore", "https://pushapi-sgp.engagelab.com"),
    ("Hong Kong", "https://pushapi-hk.engagelab.com"),
    ("Virginia", "https://pushapi-usva.engagelab.com"),
    ("Frankfurt", "https://pushapi-defra.engagelab.com"),
    ("Japan", "https://pushapi-jpn.engagelab.com"),
    ("Brazil", "https://pushapi-bra.engagelab.com"),
];
/// The older names of the first four.
const OLDER: [(&str, &str); 4] = [
    ("Singapore", "push.api.engagelab.cc"),
    ("Hong Kong", "push-hk.api.engagelab.cc"),
    ("Virginia", "push-usva.api.engagelab.cc"),
    ("Frankfurt", "push-defra.api.engagelab.cc"),
];
const INFO_PAGE: &str = "EngageLab's console under Basic Settings > App Information";

impl Engagelab {
    pub(super) async fn questions(&self, query: CheckupQuery<'_>) -> Checkup {
        let mut checkup = Checkup::default();
        let now = self.http.clock().now();
        let what = "users of the last days";
        match self
            .users_by(vendor::USERS, Unit::Day, now, query.patience)
            .await
        {
            Ok(_) => checkup.good(what, "AppKey and Master Secret are accepted"),
            Err(failure) => {
                let explained = self.explain(&failure);
                checkup.bad(what, failure, explained);
            }
        }
        let newest = query.applications.first().and_then(|own| query.newest(own));
        if let Some(message) = newest.filter(|_| !checkup.is_over()) {
            let id = &message.id;
            let what = format!("numbers of message {id}");
            let mut observations = Vec::new();
            let messages = std::slice::from_ref(message);
            let asked = self.batch(
                vendor::MESSAGES,
                messages,
                query.patience,
                &mut observations,
            );
            match asked.await {
                Ok(BatchEnd::Answered { missing, .. }) if missing.is_empty() => {
                    checkup.good(&what, "there are numbers");
                }
                Ok(BatchEnd::Answered { .. }) => checkup.unclear(
                    &what,
                    "the vendor has no numbers of it (yet)",
                    "see that the id is one that sending has returned (msg_id)",
                ),
                Ok(BatchEnd::Refused(refused)) if refused.code == Some(23007) => checkup.unclear(
                    &what,
                    "it is older than 30 days, and the vendor keeps no numbers of it",
                    "take it out of the configuration",
                ),
                Ok(BatchEnd::Refused(refused)) => {
                    let failure = Failure {
                        kind: FailureKind::NotFound,
                        ..refused.failure
                    };
                    let problem =
                        "EngageLab does not know this message in the application of the AppKey";
                    let help = format!(
                        "see that message, AppKey and data centre are of one application: {}",
                        data_centre(self.http.authority())
                    );
                    checkup.bad(&what, failure, Some((problem.to_owned(), help)));
                }
                Err(failure) => {
                    let explained = self.explain(&failure);
                    checkup.bad(&what, failure, explained);
                }
            }
        }
        checkup.clock_ahead = self.http.clock_ahead();
        checkup
    }

    /// What a failure means for who sets the account up, by the vendor's codes.
    fn explain(&self, failure: &Failure) -> Explained {
        let code: Option<u32> = failure.code.as_deref().and_then(|code| code.parse().ok());
        let said = |problem: &str, help: String| Some((problem.to_owned(), help));
        match (code, failure.kind) {
            (Some(21038), _) => said(
                "the application's plan has expired or is not active; AppKey and Master Secret are not at fault",
                "renew the plan in EngageLab's console, or take the account out of the configuration"
                    .to_owned(),
            ),
            (Some(23009), _) => said(
                "the application accepts other IP addresses only",
                "add the address of this machine (or of its proxy) in EngageLab's console under Advanced Settings > IP Whitelist"
                    .to_owned(),
            ),
            (Some(21001), _) | (None, FailureKind::NotFound) => said(
                "EngageLab has no statistics at this address",
                format!("check base_url: {}", data_centre(self.http.authority())),
            ),
            (Some(21008), _) => said(
                "the AppKey is malformed",
                format!("copy it anew, without blanks: {INFO_PAGE}"),
            ),
            (_, FailureKind::Unauthorized) => said(
                "EngageLab refuses AppKey and Master Secret, or knows them at another data centre",
                format!(
                    "compare both with {INFO_PAGE} (a reset Master Secret ends the old one). If they are right, it is another data centre: {}",
                    data_centre(self.http.authority())
                ),
            ),
            (_, FailureKind::RateLimited) => said(
                "EngageLab refuses more requests for now",
                "the limit of 500 requests a second is shared by all that the application sends: ask again later, and lower rate_limit if it stays"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// Which data centre the host of the address is of, and which others there are: lines of their own.
fn data_centre(host: &str) -> String {
    let is_here = |(_, url): &&(&str, &str)| url.trim_start_matches("https://") == host;
    let here = DATA_CENTRES.iter().chain(&OLDER).find(is_here);
    let here = here.map(|(name, _)| *name);
    let others = DATA_CENTRES
        .iter()
        .filter(|(name, _)| Some(*name) != here)
        .map(|(name, url)| format!("\n  {name}: {url}"));
    let others: String = others.collect();
    let named = match here {
        Some(name) => format!("base_url is the data centre {name}; the others are"),
        None => "base_url is none of the known data centres, which are".to_owned(),
    };
    format!("the application's is its Service Endpoint in {INFO_PAGE}; {named}{others}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_centre_of_the_address_is_named_and_the_others_besides() {
        for (host, here) in [
            ("pushapi-hk.engagelab.com", "the data centre Hong Kong"),
            ("push.api.engagelab.cc", "the data centre Singapore"),
            ("127.0.0.1:1", "none of the known data centres"),
        ] {
            let said = data_centre(host);
            assert!(said.contains(here), "{said}");
            let lines = said.lines().count() - 1;
            assert_eq!(
                lines,
                if here.starts_with("none") { 6 } else { 5 },
                "{said}"
            );
        }
        assert!(!data_centre("pushapi-hk.engagelab.com").contains("https://pushapi-hk"));
    }
}
