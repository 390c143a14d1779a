//! What vendors do when they are not well, and the reasons of failures that fit.

use std::collections::BTreeSet;

use delivery_simulators::{Mood, faults::Fault as VendorFault};

/// A name, what the vendor does, and the reasons that fit.
pub type Outage = (&'static str, VendorFault, &'static [&'static str]);

/// What a vendor does in an outage.
pub fn outages() -> Vec<Outage> {
    let answer = |status: u16, headers: &[(&str, &str)], body: &str| VendorFault::Answer {
        status,
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_owned(),
    };
    let page = [("content-type", "text/html")];
    vec![
        ("500", answer(500, &[], "{}"), &["vendor"]),
        (
            "401",
            answer(401, &[], r#"{"code": 16, "message": "no"}"#),
            &["unauthorized"],
        ),
        (
            "403",
            answer(403, &[], r#"{"message": "no"}"#),
            &["forbidden"],
        ),
        (
            "429",
            answer(429, &[("retry-after", "5")], "{}"),
            &["rate_limited"],
        ),
        ("reset", VendorFault::Reset, &["connect", "body"]),
        ("cut", VendorFault::Cut(17), &["body", "decode", "connect"]),
        (
            "a page under 200",
            answer(200, &page, "<html><body>Sign in</body></html>"),
            &["decode"],
        ),
        ("nothing under 200", answer(200, &[], ""), &["decode"]),
        ("a list under 200", answer(200, &[], "[]"), &["decode"]),
        (
            "a flat error under 200",
            answer(200, &[], r#"{"code": 23100, "message": "internal"}"#),
            &["vendor", "decode"],
        ),
        (
            "a page under 503",
            answer(503, &[page[0], ("retry-after", "1000000000000")], "<html>"),
            &["vendor", "rate_limited"],
        ),
    ]
}

/// Where an account's vendor is: the server, and the paths of the account.
pub(super) fn place(account: usize) -> (usize, &'static str) {
    [(0, "/push"), (0, "/email"), (1, "/"), (2, "/"), (3, "/")][account]
}

/// The reasons that failures of an account in this mood may have.
pub(super) fn reasons(mood: &Mood) -> BTreeSet<&'static str> {
    use delivery_simulators::mood::{ErrorStatus, Spoiled};
    let mut all = BTreeSet::new();
    if mood.errors > 0 {
        let by_status: &[&'static str] = match mood.error_status {
            ErrorStatus::Ok => &[
                "vendor",
                "decode",
                "unauthorized",
                "forbidden",
                "not_found",
                "rate_limited",
            ],
            ErrorStatus::BadRequest => &["vendor", "decode"],
            ErrorStatus::Forbidden => &["forbidden"],
            ErrorStatus::NotFound => &["not_found"],
            ErrorStatus::Internal | ErrorStatus::BadGateway | ErrorStatus::Unavailable => {
                &["vendor", "rate_limited"]
            }
            ErrorStatus::Any => &[
                "vendor",
                "decode",
                "forbidden",
                "not_found",
                "unauthorized",
                "rate_limited",
            ],
        };
        all.extend(by_status);
        // A code of the vendor's in the body decides before the status.
        all.extend(["vendor", "rate_limited", "unauthorized"]);
    }
    if mood.throttled > 0 {
        all.insert("rate_limited");
    }
    if mood.spoiled_reports != Spoiled::Never {
        all.extend(["decode", "vendor", "body"]);
    }
    // What was listed is less than what was announced, or is in no shape that is known.
    all.extend(["decode", "vendor"]);
    if mood.refused_ids || mood.unknown_seconds > 0 {
        all.extend(["not_found"]);
    }
    all
}
