//! Tolerant reading of vendors' JSON: numbers that come as strings, ids that are numbers, fields
//! that are new. Tolerant of what surrounds a count, strict about the count itself.

mod count;
mod fields;
mod levels;
mod text;
mod time;

pub(super) use count::{Count, counts};
pub(super) use fields::{Fields, Name, Object, RawFields, Skipped, lenient};
pub(super) use levels::{Levels, sort_by_name};
pub(super) use text::{Text, whole_digits};
pub(super) use time::{any_time, is_time, time};

/// A decode error of serde, without the content that it quotes.
pub(super) fn problem(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "cannot be read",
        serde_json::error::Category::Syntax => "is no JSON",
        serde_json::error::Category::Data => "has an unexpected shape",
        serde_json::error::Category::Eof => "ends too early",
    };
    format!(
        "the answer {what} (line {}, column {})",
        error.line(),
        error.column()
    )
}
