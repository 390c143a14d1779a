//! The vendor's platforms, which have three spellings: a number in most answers, an upper-case name
//! with underscores in the filters of `messages:list`, a lower-case name with blanks in the log.

use crate::providers::json::whole_digits;

/// What the numbers of a platform belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A part of push: the labels `platform` and `vendor_channel`.
    Push(&'static str, &'static str),
    /// A channel of its own.
    Channel(&'static str),
}

/// A platform: its number, its names in the log's spelling (the documented one first), its kind.
type Platform = (&'static str, &'static [&'static str], Kind);

/// The number of e-mail is in no source of the vendor; 14 is inferred from its neighbours.
const PLATFORMS: [Platform; 15] = [
    ("1", &["ios"], Kind::Push("ios", "apns")),
    ("3", &["android"], Kind::Push("android", "fcm")),
    (
        "7",
        &["osx", "macos", "os x", "mac os x"],
        Kind::Push("macos", "apns"),
    ),
    ("8", &["windows"], Kind::Push("windows", "wns")),
    ("9", &["amazon"], Kind::Push("amazon", "adm")),
    ("10", &["safari"], Kind::Push("web", "safari")),
    ("11", &["chrome"], Kind::Push("web", "chrome")),
    ("12", &["firefox"], Kind::Push("web", "firefox")),
    ("13", &["ie"], Kind::Push("web", "ie")),
    ("14", &["email", "e mail"], Kind::Channel("email")),
    (
        "17",
        &["huawei android", "huawei"],
        Kind::Push("android", "huawei"),
    ),
    ("18", &["sms"], Kind::Channel("sms")),
    (
        "19",
        &["xiaomi", "xiaomi android"],
        Kind::Push("android", "xiaomi"),
    ),
    ("21", &["whatsapp", "whats app"], Kind::Channel("whatsapp")),
    ("150", &["edge"], Kind::Push("web", "edge")),
];

/// A name or number in the log's spelling.
fn fold(text: &str) -> String {
    let text = whole_digits(text.trim());
    text.to_lowercase().replace(['_', '-'], " ")
}

fn find(folded: &str) -> Option<&'static Platform> {
    let mut platforms = PLATFORMS.iter();
    platforms.find(|(code, names, _)| *code == folded || names.contains(&folded))
}

/// What a platform's numbers belong to; `None`: it is not known.
pub(super) fn kind(text: &str) -> Option<Kind> {
    find(&fold(text)).map(|platform| platform.2)
}

/// The one spelling of a platform: the log's, as documented.
pub(super) fn canonical(text: &str) -> String {
    let folded = fold(text);
    find(&folded).map_or(folded, |platform| platform.1[0].to_owned())
}

/// The label `platform` of an event of the log; empty if the event names none.
pub(super) fn label(text: &str) -> &'static str {
    if text.trim().is_empty() {
        return "";
    }
    match kind(text) {
        Some(Kind::Push(platform, _)) => platform,
        Some(Kind::Channel(channel)) => channel,
        None => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_are_one_platform() {
        for (spellings, platform, canonical_name) in [
            (
                ["3", "ANDROID", "android", " Android "],
                "android",
                "android",
            ),
            (
                ["17", "HUAWEI_ANDROID", "huawei android", "Huawei-Android"],
                "android",
                "huawei android",
            ),
            (["14", "EMAIL", "email", "e-mail"], "email", "email"),
            (["18", "SMS", "sms", "18.0"], "sms", "sms"),
            (
                ["21", "WHATSAPP", "whatsapp", "WhatsApp"],
                "whatsapp",
                "whatsapp",
            ),
            (["7", "OSX", "osx", "macOS"], "macos", "osx"),
            (["99", "99", "99", "99"], "other", "99"),
            (["", "", " ", ""], "", ""),
        ] {
            for spelling in spellings {
                assert_eq!(label(spelling), platform, "{spelling}");
                assert_eq!(canonical(spelling), canonical_name, "{spelling}");
            }
        }
    }
}
