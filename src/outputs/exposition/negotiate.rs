//! Content negotiation with `Accept` and `Accept-Encoding`.

use http::{HeaderMap, header};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Text,
}

impl Format {
    /// The answer's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// None.
    Identity,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Encoding {
    /// The answer's `Content-Encoding`.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Encoding::Identity => None,
            Encoding::Gzip => Some("gzip"),
            Encoding::Zstd => Some("zstd"),
        }
    }
}

/// One choice in a header: its value, its parameters, and its weight from 0 to 1000.
struct Choice<'a> {
    what: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    weight: u16,
}

impl Choice<'_> {
    fn parameter(&self, name: &str) -> Option<&str> {
        let found = self
            .parameters
            .iter()
            .find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

/// The choices of all headers of that name.
fn choices<'a>(headers: &'a HeaderMap, name: header::HeaderName) -> Vec<Choice<'a>> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .filter_map(choice)
        .collect()
}

fn choice(text: &str) -> Option<Choice<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let what = parts.next().filter(|what| !what.is_empty())?;
    let mut weight = 1000;
    let mut parameters = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (name.trim(), value.trim().trim_matches('"'));
        if name.eq_ignore_ascii_case("q") {
            weight = thousandths(value)?;
        } else {
            parameters.push((name, value));
        }
    }
    Some(Choice {
        what,
        parameters,
        weight,
    })
}

/// A weight in thousandths; `None` if it is invalid, and then the choice is ignored.
fn thousandths(value: &str) -> Option<u16> {
    let value: f32 = value.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1000"
    )]
    (0.0..=1.0)
        .contains(&value)
        .then(|| (value * 1000.0).round() as u16)
}

/// The format for these headers. The default is the classic text, which every client can read. It is also
/// used if no requested format is available, as in other exporters.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let wish = choices(headers, header::ACCEPT)
        .into_iter()
        .filter(|choice| choice.weight > 0)
        .filter_map(|choice| {
            let what = choice.what.to_ascii_lowercase();
            let format = match what.as_str() {
                "application/openmetrics-text" => match choice.parameter("version") {
                    None | Some("1.0.0" | "0.0.1") => Format::OpenMetrics,
                    Some(_) => return None,
                },
                "text/plain" => match choice.parameter("version") {
                    None | Some("0.0.4") => Format::Text,
                    Some(_) => return None,
                },
                "text/*" | "*/*" => Format::Text,
                _ => return None,
            };
            Some((choice.weight, format))
        })
        // Among equal weights, the first one.
        .reduce(|best, next| if next.0 > best.0 { next } else { best });
    wish.map_or(Format::Text, |(_, format)| format)
}

/// The encoding for these headers; among equal weights, the one that takes less time.
pub(super) fn encoding(headers: &HeaderMap) -> Encoding {
    let choices = choices(headers, header::ACCEPT_ENCODING);
    let weight = |name: &str| {
        let by = |what: &str| {
            choices
                .iter()
                .find(|choice| choice.what.eq_ignore_ascii_case(what))
        };
        by(name)
            .or_else(|| by("*"))
            .map_or(0, |choice| choice.weight)
    };
    let best = [
        (Encoding::Zstd, weight("zstd")),
        (Encoding::Gzip, weight("gzip")),
    ]
    .into_iter()
    .reduce(|best, next| if next.1 > best.1 { next } else { best });
    match best {
        Some((encoding, weight)) if weight > 0 => encoding,
        _ => Encoding::Identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn the_format_is_what_the_scraper_wants_most() {
        let format = |value| format(&with(header::ACCEPT, value));
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(format(prometheus_2), Format::OpenMetrics);
        assert_eq!(format(prometheus_3), Format::OpenMetrics);
        assert_eq!(format("text/plain;version=0.0.4"), Format::Text);
        assert_eq!(
            format("application/openmetrics-text;q=0.2, text/plain;q=0.9"),
            Format::Text
        );
        assert_eq!(
            format("application/openmetrics-text;q=0, */*"),
            Format::Text
        );
        assert_eq!(
            format("application/openmetrics-text; version=2.0.0"),
            Format::Text
        );
        assert_eq!(
            format("text/html,application/xhtml+xml,*/*;q=0.8"),
            Format::Text
        );
        assert_eq!(
            format("application/openmetrics-text;q=nonsense"),
            Format::Text
        );
        assert_eq!(super::format(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn the_answer_says_how_names_are_escaped() {
        // Prometheus 3 reads the parameters of the type as those of its own Accept header.
        let own = choice(Format::OpenMetrics.content_type()).unwrap();
        assert_eq!(own.what, "application/openmetrics-text");
        for (name, value) in [
            ("version", "1.0.0"),
            ("charset", "utf-8"),
            ("escaping", "underscores"),
        ] {
            assert_eq!(own.parameter(name), Some(value));
        }
        let classic = choice(Format::Text.content_type()).unwrap();
        assert_eq!(classic.parameter("version"), Some("0.0.4"));
    }

    #[test]
    fn the_encoding_is_what_the_scraper_wants_most() {
        let encoding = |value| encoding(&with(header::ACCEPT_ENCODING, value));
        assert_eq!(encoding("gzip"), Encoding::Gzip);
        assert_eq!(encoding("zstd,gzip"), Encoding::Zstd);
        assert_eq!(encoding("gzip, deflate, br, zstd"), Encoding::Zstd);
        assert_eq!(encoding("gzip;q=1.0, zstd;q=0.5"), Encoding::Gzip);
        assert_eq!(encoding("gzip;q=0"), Encoding::Identity);
        assert_eq!(encoding("*;q=0"), Encoding::Identity);
        assert_eq!(encoding("*"), Encoding::Zstd);
        assert_eq!(encoding("zstd;q=0, *"), Encoding::Gzip);
        assert_eq!(encoding("identity"), Encoding::Identity);
        assert_eq!(super::encoding(&HeaderMap::new()), Encoding::Identity);
    }
}
