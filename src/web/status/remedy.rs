//! Explains why an account is in trouble, and what to do about it.

use crate::{
    config::Account,
    providers::{FailureKind, Vendor},
};

/// What is wrong, and how to fix it.
pub(super) struct Remedy {
    pub(super) why: String,
    pub(super) what_to_do: String,
    /// The runbook that says more.
    pub(super) runbook: &'static str,
}

/// The configuration keys of the account's credentials, and where their values are read from.
fn credentials(account: &Account) -> String {
    let keys = account.credentials.form_secrets();
    let keys = keys.map(|(key, source)| match &source.file {
        Some(file) => format!("credentials.{key}_file ({})", file.display()),
        None => format!("credentials.{key}"),
    });
    keys.collect::<Vec<_>>().join(" and ")
}

/// Explains a failure of an account.
pub(super) fn remedy(account: &Account, kind: FailureKind) -> Remedy {
    let vendor = account.vendor.title;
    let host = account.base_url.host_str().unwrap_or_default();
    let (why, what_to_do, runbook) = match kind {
        FailureKind::Unauthorized => (
            format!("{vendor} refuses the credentials: the key is wrong, revoked or expired."),
            format!(
                "Make a new key in {vendor}'s console, write it to {}, and reload the configuration. \
                 A secret that is read from a file needs no reload.{}",
                credentials(account),
                match account.vendor.remedies.credentials {
                    "" => String::new(),
                    more => format!(" {more}"),
                }
            ),
            "DeliveryCredentialsRefused",
        ),
        FailureKind::Forbidden => (
            format!("{vendor} accepts the key, but the key has no permission to read this data set."),
            format!(
                "Give the key the right to read it in {vendor}'s console, and this machine's address \
                 if the key is bound to addresses; or take the data set out of this account's collect."
            ),
            "DeliveryCredentialsRefused",
        ),
        FailureKind::NotFound => (
            format!("{vendor} does not know the requested data (not found)."),
            "Compare the application's id and base_url in the configuration with the vendor's console."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::RateLimited => (
            format!("{vendor} refuses requests because there are too many."),
            format!(
                "Lower rate_limit.requests_per_second (now {}) or raise interval for this account. If \
                 another program uses the same key, give the exporter its own.",
                account.rate_limit.requests_per_second
            ),
            "DeliveryRateLimited",
        ),
        FailureKind::Timeout => (
            format!("{vendor} does not answer within {} s.", account.timeout.as_secs()),
            format!(
                "Check whether {host} can be reached from this machine (curl) and what {vendor}'s status page \
                 says. If the vendor is only slow, raise timeout."
            ),
            "DeliveryAccountFailing",
        ),
        FailureKind::Dns => (
            format!("The name {host} does not resolve."),
            "Check base_url for a typo, and the DNS settings of this machine or container."
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
            "If a proxy intercepts TLS, name its certificate authority in tls.ca_file. Otherwise check base_url and \
             the clock of this machine."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Body => (
            format!("Answers from {vendor} are cut off."),
            "Check any proxy or firewall in between. If the problem persists, raise timeout, or report it to the \
             vendor."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Request => (
            format!("No valid request to {vendor} can be built from the configuration."),
            "Look in the log for the problem, and check base_url and the ids of applications."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::TooLarge => (
            format!("An answer from {vendor} is larger than limits.max_response_bytes."),
            "Raise limits.max_response_bytes.".to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Redirect => (
            format!("{host} redirects to another address, and redirects are not followed."),
            "Set base_url to the final address. A proxy's login page also redirects.".to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Decode => (
            format!("The exporter cannot parse an answer from {vendor}."),
            "Check that base_url points to the vendor's API and not to a web page. If it does, the \
             vendor has changed its API: look for a newer version of the exporter."
                .to_owned(),
            "DeliveryAccountFailing",
        ),
        FailureKind::Vendor => (
            format!("{vendor} answers with its own error."),
            format!("Read the vendor's error text, look at {vendor}'s status page, and contact its support."),
            "DeliveryAccountFailing",
        ),
        FailureKind::Store => (
            "The exporter cannot write to its ledger or its spool.".to_owned(),
            "Check the disk of store.spool and the database of store.url: free space, permissions, connectivity. \
             Meanwhile the exporter does not fetch reports that a vendor delivers only once, so none are lost."
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

/// Why a vendor channel can have no reported deliveries although it works; `None` if it must have some.
pub(super) fn receipts(
    vendor: &Vendor,
    platform: &str,
    vendor_channel: &str,
) -> Option<&'static str> {
    let mut exceptions = vendor.remedies.no_receipts.iter();
    let found = exceptions.find(|own| {
        own.platforms.contains(&platform) || own.vendor_channels.contains(&vendor_channel)
    });
    found.map(|own| own.why)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::super::runbooks, *};
    use crate::{config, providers::VENDORS};

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
        for (name, platform, channel, has_note) in [
            ("engagelab", "ios", "apns", true),
            ("engagelab", "android", "huawei", true),
            ("engagelab", "android", "fcm", false),
            ("pushwoosh", "ios", "apns", true),
            ("pushwoosh", "android", "huawei", false),
        ] {
            let mut vendors = VENDORS.iter();
            let vendor = vendors.find(|own| own.name == name).unwrap();
            let note = receipts(vendor, platform, channel);
            assert_eq!(note.is_some(), has_note, "{name} {channel}");
        }
    }
}
