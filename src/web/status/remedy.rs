//! Why an account is in trouble, in plain words, and what to do about it.

use crate::{
    config::{Account, Credentials},
    model::ProviderType,
    providers::FailureKind,
    secret::SecretSource,
};

/// What is wrong, and what helps.
pub(super) struct Remedy {
    pub(super) why: String,
    pub(super) what_to_do: String,
    /// The runbook that says more.
    pub(super) runbook: &'static str,
}

/// The vendor, as people call it.
pub(super) fn vendor(provider: ProviderType) -> &'static str {
    match provider {
        ProviderType::InfobipPush | ProviderType::InfobipEmail => "Infobip",
        ProviderType::Engagelab => "EngageLab",
        ProviderType::Pushwoosh => "Pushwoosh",
        ProviderType::AlibabaPush => "Alibaba Cloud",
    }
}

/// Which keys of the configuration the vendor knows the account by, and where they are read from.
fn credentials(account: &Account) -> String {
    let keys: Vec<(&str, &SecretSource)> = match (&account.credentials, account.provider) {
        (Credentials::Basic { username, password }, ProviderType::Engagelab) => {
            vec![("app_key", username), ("master_secret", password)]
        }
        (Credentials::Basic { username, password }, _) => {
            vec![("username", username), ("password", password)]
        }
        (Credentials::ApiKey(key), _) => vec![("api_key", key)],
        (Credentials::Token(token), _) => vec![("token", token)],
        (Credentials::ApiToken(token), _) => vec![("api_token", token)],
        (Credentials::AccessKey { id, secret, .. }, _) => {
            vec![("access_key_id", id), ("access_key_secret", secret)]
        }
    };
    let keys = keys.iter().map(|(key, source)| match &source.file {
        Some(file) => format!("credentials.{key}_file ({})", file.display()),
        None => format!("credentials.{key}"),
    });
    keys.collect::<Vec<_>>().join(" and ")
}

/// Explains a failure of an account.
pub(super) fn remedy(account: &Account, kind: FailureKind) -> Remedy {
    let vendor = vendor(account.provider);
    let host = account.base_url.host_str().unwrap_or_default();
    let (why, what_to_do, runbook) = match kind {
        FailureKind::Unauthorized => (
            format!("{vendor} refuses the credentials: the key is wrong, revoked or expired."),
            format!(
                "Make a new key in {vendor}'s console, write it to {}, and reload the configuration. \
                 A secret that is read from a file needs no reload.{}",
                credentials(account),
                if account.provider == ProviderType::AlibabaPush {
                    " Check the clock of this machine too: signed requests are refused when it is \
                     wrong by more than 15 minutes."
                } else {
                    ""
                }
            ),
            "DeliveryCredentialsRefused",
        ),
        FailureKind::Forbidden => (
            format!("{vendor} knows the key, but the key may not read this data set."),
            format!(
                "Give the key the right to read it in {vendor}'s console, and this machine's address \
                 if the key is bound to addresses; or take the data set out of this account's collect."
            ),
            "DeliveryCredentialsRefused",
        ),
        FailureKind::NotFound => (
            format!("{vendor} does not know what it is asked for."),
            "Compare the id of the application and base_url in the configuration with the vendor's console."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::RateLimited => (
            format!("{vendor} refuses requests because there are too many."),
            format!(
                "Lower rate_limit.requests_per_second (now {}) or raise interval of this account. If \
                 another program uses the same key, give the exporter its own.",
                account.rate_limit.requests_per_second
            ),
            "DeliveryRateLimited",
        ),
        FailureKind::Timeout => (
            format!("{vendor} does not answer within {} s.", account.timeout.as_secs()),
            format!(
                "See whether {host} answers from this machine (curl) and what {vendor}'s status page \
                 says. If it is only slow, raise timeout."
            ),
            "DeliveryAccountFailing",
        ),
        FailureKind::Dns => (
            format!("The name {host} does not resolve."),
            "Check base_url for a typing error, and the name server of this machine or container."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Connect => (
            format!("No connection to {host}."),
            "Check the network of this machine: firewall, outgoing rules, proxy_url. If other hosts \
             can be reached, the vendor is down."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Tls => (
            format!("The certificate of {host} is not trusted."),
            "If a proxy intercepts TLS, name its authority in tls.ca_file. Otherwise check base_url and \
             the clock of this machine."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Body => (
            format!("Answers of {vendor} break off in the middle."),
            "Check a proxy or firewall in between. If it stays, raise timeout, or report it to the \
             vendor."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Request => (
            format!("A request to {vendor} cannot be built of what the configuration says."),
            "Look at the log for what is wrong, and check base_url and the ids of applications."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::TooLarge => (
            format!("An answer of {vendor} is larger than limits.max_response_bytes."),
            "Raise limits.max_response_bytes.".to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Redirect => (
            format!("{host} redirects to another address, and redirects are not followed."),
            "Write the final address to base_url. A login page of a proxy redirects too.".to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Decode => (
            format!("The exporter does not understand an answer of {vendor}."),
            "Check that base_url leads to the vendor's API and not to a web page. If it does, the \
             vendor has changed its API: look for a newer version of the exporter."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Vendor => (
            format!("{vendor} answers with an error of its own."),
            format!("Read the vendor's words; look at {vendor}'s status page, and write to its support."),
            "DeliveryAccountFailing",
        ),
        FailureKind::Store => (
            "The exporter cannot write to its ledger or its spool.".to_owned(),
            "Check the disk of store.spool and the database of store.url: space, rights, reachability. \
             Reports that a vendor hands out once are not fetched meanwhile, so none is lost."
                .to_owned(),
            "DeliveryLedgerDown",
        ),
    };
    Remedy {
        why,
        what_to_do,
        runbook,
    }
}

/// Why a vendor channel without deliveries may be well; `None`: it should have some.
pub(super) fn receipts(
    provider: ProviderType,
    platform: &str,
    vendor_channel: &str,
) -> Option<&'static str> {
    match (provider, platform, vendor_channel) {
        (ProviderType::Engagelab, "ios", _) | (ProviderType::Engagelab, _, "huawei" | "meizu") => {
            Some(
                "no receipts: EngageLab learns of deliveries through iOS, Huawei and Meizu only with a \
                 callback that you set up in its console and in the app",
            )
        }
        (ProviderType::Pushwoosh, "ios" | "macos", _) => Some(
            "no receipts: on Apple devices Pushwoosh learns of deliveries only from an app with a \
             Notification Service Extension",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::super::runbooks, *};
    use crate::config;

    #[test]
    fn every_failure_has_a_remedy_and_a_runbook() {
        let text = "providers: [{name: a, type: engagelab, base_url: \"https://api.example.com\", \
                    credentials: {app_key: k, master_secret: hidden}, messages: {static: [\"1\"]}}]";
        let config = config::parse(Path::new("config.yaml"), text, &|_| None).unwrap();
        let account = &config.accounts[0];
        assert_eq!(account.place.line, 1);
        for kind in FailureKind::ALL {
            let remedy = remedy(account, kind);
            assert!(runbooks::exists(remedy.runbook), "{}", remedy.runbook);
            for sentence in [&remedy.why, &remedy.what_to_do] {
                assert!(
                    sentence.ends_with('.') && !sentence.contains("hidden"),
                    "{sentence}"
                );
                assert!(!sentence.contains("  "), "{sentence}");
            }
        }
        let refused = remedy(account, FailureKind::Unauthorized).what_to_do;
        assert!(
            refused.contains("credentials.app_key and credentials.master_secret"),
            "{refused}"
        );
    }

    #[test]
    fn channels_that_cannot_report_deliveries_are_named() {
        for (provider, platform, channel, has_note) in [
            (ProviderType::Engagelab, "ios", "apns", true),
            (ProviderType::Engagelab, "android", "huawei", true),
            (ProviderType::Engagelab, "android", "fcm", false),
            (ProviderType::Pushwoosh, "ios", "apns", true),
            (ProviderType::Pushwoosh, "android", "huawei", false),
        ] {
            let note = receipts(provider, platform, channel);
            assert_eq!(note.is_some(), has_note, "{provider} {channel}");
        }
    }
}
