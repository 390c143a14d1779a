//! Why e-mails bounced: the receiving server's free text as one of a few classes.

/// A class of reasons: words anywhere in the text, whole codes, and the beginnings of codes.
type Class = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

/// The reason is the receiving server's free text, often with the address in it: it becomes a class.
const CLASSES: [Class; 5] = [
    (
        "mailbox_full",
        &["quota", "mailbox full", "is full", "over limit"],
        &["4.2.2", "5.2.2", "552"],
        &[],
    ),
    (
        "invalid_recipient",
        &[
            "invalid",
            "unknown user",
            "user unknown",
            "no such",
            "does not exist",
            "not found",
        ],
        &["5.1.1", "5.1.10"],
        &[],
    ),
    (
        "blocked",
        &[
            "block",
            "blacklist",
            "denylist",
            "spamhaus",
            "reputation",
            "spam",
        ],
        &[],
        &[],
    ),
    (
        "policy",
        &["policy", "dmarc", "spf", "dkim", "authentication"],
        &[],
        &["5.7"],
    ),
    (
        "timeout",
        &["timeout", "timed out", "expired", "deferred", "temporarily"],
        &[],
        &["4.4"],
    ),
];

pub(super) fn reason_of(reason: &str) -> &'static str {
    let text = reason.to_lowercase();
    let codes: Vec<&str> = text
        .split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|code| code.trim_matches('.'))
        .filter(|code| !code.is_empty())
        .collect();
    let begins = |code: &str, with: &str| {
        code.strip_prefix(with)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let fits = |(_, words, whole, beginnings): &&Class| {
        words.iter().any(|word| text.contains(word))
            || codes
                .iter()
                .any(|code| whole.contains(code) || beginnings.iter().any(|own| begins(code, own)))
    };
    CLASSES.iter().find(fits).map_or("other", |class| class.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_become_classes() {
        for (reason, class) in [
            ("Invalid recipient address", "invalid_recipient"),
            ("552 5.2.2 <a@example.com> over quota", "mailbox_full"),
            ("550 5.1.1 The email account", "invalid_recipient"),
            ("smtp; 550 5.7.26 unauthenticated mail", "policy"),
            ("IP on Spamhaus", "blocked"),
            ("421 4.4.2 connection dropped", "timeout"),
            ("15.7 nothing", "other"),
            ("45.71.1 nothing", "other"),
            ("", "other"),
        ] {
            assert_eq!(reason_of(reason), class, "{reason}");
        }
    }
}
