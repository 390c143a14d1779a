//! Keeps secrets and other people's texts out of what is logged and shown.

use crate::secret::Secret;

/// The most characters of a vendor's text that are shown.
const MAX_CHARACTERS: usize = 200;

/// A vendor's text as it may be shown: in one line, not too long, and without any of `secrets`.
pub(crate) fn redact(text: &str, secrets: &[Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets
        .iter()
        .map(Secret::expose)
        .filter(|secret| secret.len() > 3)
    {
        text = text.replace(secret, "***");
    }
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_CHARACTERS)
        .collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_line_ends_and_length_are_taken_away() {
        let secrets = [Secret::new("hunter2!")];
        assert_eq!(
            redact("bad\npassword hunter2! here", &secrets),
            "bad password *** here"
        );
        assert!(redact(&"x".repeat(1000), &[]).chars().count() <= MAX_CHARACTERS + 1);
    }
}
