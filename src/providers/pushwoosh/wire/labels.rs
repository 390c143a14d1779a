//! Texts of the customer's that become labels, without the addresses of recipients that can stand
//! in them: a link of one recipient's to unsubscribe, a title that greets by address.

/// What stands for a part of a text that holds an address.
const HIDDEN: &str = "*";

/// Whether a text holds an at sign: as it is, encoded for URLs once or more often (`%40`, `%2540`),
/// or as HTML has it.
fn has_at_sign(text: &str) -> bool {
    let encoded = |rest: &str| rest.trim_start_matches("25").starts_with("40");
    let lower = text.to_lowercase();
    text.contains(['@', '\u{ff20}', '\u{fe6b}'])
        || text.split('%').skip(1).any(encoded)
        || ["&#64;", "&#x40;", "&commat;"]
            .iter()
            .any(|at| lower.contains(at))
}

/// A link whose parts between slashes are `*` where they hold an address; of a `mailto:` link, all
/// that follows.
pub(super) fn link_label(link: &str) -> String {
    if !has_at_sign(link) {
        return link.to_owned();
    }
    let scheme = link.get(.."mailto:".len());
    if let Some(scheme) = scheme.filter(|scheme| scheme.eq_ignore_ascii_case("mailto:")) {
        return format!("{}{HIDDEN}", scheme.to_ascii_lowercase());
    }
    let parts = link.split('/').map(hidden);
    parts.collect::<Vec<_>>().join("/")
}

/// A text whose words are `*` where they hold an address.
pub(super) fn words_label(text: &str) -> String {
    if !has_at_sign(text) {
        return text.to_owned();
    }
    let words = text.split_whitespace().map(hidden);
    words.collect::<Vec<_>>().join(" ")
}

fn hidden(part: &str) -> &str {
    if has_at_sign(part) { HIDDEN } else { part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_holds_an_address() {
        for (link, label) in [
            ("https://e.x/a%20b/c", "https://e.x/a%20b/c"),
            ("https://e.x/unsub/joe@x.org/1", "https://e.x/unsub/*/1"),
            ("https://e.x/u/joe%40x.org", "https://e.x/u/*"),
            ("https://e.x/u/joe%2540x.org/", "https://e.x/u/*/"),
            ("https://e.x/u/joe%252540x.org", "https://e.x/u/*"),
            ("https://joe@x.org/a", "https://*/a"),
            ("mailto:joe@x.org", "mailto:*"),
            ("MAILTO:a/joe%40x.org", "mailto:*"),
            ("mailto:", "mailto:"),
            ("joe@x.org", "*"),
        ] {
            assert_eq!(link_label(link), label, "{link}");
        }
        for (text, label) in [
            ("Hi  you", "Hi  you"),
            ("Hi joe@x.org", "Hi *"),
            ("Hi <joe&#64;x.org>, 40% off", "Hi * 40% off"),
            ("joe%40x.org", "*"),
        ] {
            assert_eq!(words_label(text), label, "{text}");
        }
    }
}
