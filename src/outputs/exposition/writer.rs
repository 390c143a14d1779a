//! The writer of both text formats. They differ in a few places, which are separate functions here.

use std::fmt::Write;

use super::Format;
use crate::{
    catalog::{Family, FamilyId, Kind},
    series::{Dated, Histogram, Labels, Number, Value, Visitor, help},
};

/// The end of a text in OpenMetrics.
pub(super) const END: &str = "# EOF\n";

/// A visitor that writes series as text.
pub(super) struct Writer {
    format: Format,
    text: String,
    family: Option<FamilyId>,
}

impl Writer {
    pub(super) fn new(format: Format) -> Writer {
        Writer {
            format,
            text: String::new(),
            family: None,
        }
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str(END);
        }
        self.text
    }
}

impl Visitor for Writer {
    fn family(&mut self, family: FamilyId) {
        self.family = Some(family);
        head(&mut self.text, self.format, family);
    }

    fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        if let Some(family) = self.family {
            sample(&mut self.text, self.format, &family, labels, value);
        }
    }
}

/// The metadata lines before a family's samples.
pub(super) fn head(text: &mut String, format: Format, family: FamilyId) {
    let open_metrics = format == Format::OpenMetrics;
    let name = if open_metrics {
        family.base_name()
    } else {
        family.name
    };
    text.push_str("# HELP ");
    text.push_str(name);
    text.push(' ');
    // Only OpenMetrics escapes quotes in help texts.
    escape(text, help(family), open_metrics);
    // Writing to a string does not fail.
    let _ = write!(text, "\n# TYPE {name} {}\n", family.kind.as_str());
    if let Some(unit) = family.open_metrics_unit().filter(|_| open_metrics) {
        let _ = writeln!(text, "# UNIT {name} {unit}");
    }
}

/// Writes the lines of consecutive series of one family and account. The text that all lines share is built
/// once, and text that a line shares with the previous line is copied from it.
pub(super) struct Lines {
    /// The text up to the value of the first own label, or to the end of the labels.
    begin: String,
    /// The text between the values of own labels.
    between: Vec<String>,
    /// The text after the last one.
    end: String,
    /// The first own labels of the previous line: the addresses of their values, and where in the line each
    /// value, with the text after it, ends.
    before: Vec<(Place, usize)>,
    /// The number of own labels that the previous line shared with its predecessor.
    same: usize,
    /// Where the previous line starts in the text.
    line: usize,
    /// Line ends in this run: the last values of own labels, and their range in `tail`.
    tails: Vec<(Vec<Place>, std::ops::Range<usize>)>,
    /// The text of those ends.
    tail: String,
    /// The index of the previous line's end.
    last_tail: usize,
}

/// The address and length of a label's value: values with the same address are equal. It is meaningless once
/// the value may have been dropped.
type Place = (usize, usize);

fn place(value: &str) -> Place {
    (value.as_ptr() as usize, value.len())
}

/// The maximum number of line ends to search.
const TAILS: usize = 32;

impl Lines {
    /// Starts with the labels of the first series.
    pub(super) fn new(family: &Family, first: Labels<'_>) -> Lines {
        let own = first.own_range();
        let mut pieces = vec![family.name.to_owned()];
        let mut separator = "{";
        for (index, (name, value)) in first.pairs().enumerate() {
            let mut last = pieces.pop().unwrap_or_default();
            last.push_str(separator);
            separator = "\",";
            last.push_str(name);
            last.push_str("=\"");
            if own.contains(&index) {
                pieces.extend([last, String::new()]);
            } else {
                escape(&mut last, value, true);
                pieces.push(last);
            }
        }
        let mut end = pieces.pop().unwrap_or_default();
        end.push_str(if separator == "{" { " " } else { "\"} " });
        let mut pieces = pieces.into_iter();
        Lines {
            begin: pieces.next().unwrap_or_default(),
            between: pieces.collect(),
            end,
            before: Vec::new(),
            same: 0,
            line: 0,
            tails: Vec::new(),
            tail: String::new(),
            last_tail: 0,
        }
    }

    /// Writes a line. The labels' values must stay in memory until the last line is written.
    pub(super) fn write(&mut self, text: &mut String, labels: Labels<'_>, value: Number) {
        let own = labels.own();
        let line = text.len();
        let both = own.iter().zip(&self.before);
        let same = both.take_while(|(value, before)| place(value) == before.0);
        let same = same.count();
        match same.checked_sub(1).and_then(|last| self.before.get(last)) {
            Some((_, end)) => text.extend_from_within(self.line..self.line + end),
            None => text.push_str(&self.begin),
        }
        self.line = line;
        self.before.truncate(same);
        // With fewer shared labels, another message starts, whose labels do not end other lines.
        let goes_on = same >= std::mem::replace(&mut self.same, same);
        if same == 0 || !goes_on || !self.write_tail(text, &own[same..]) {
            let begin = text.len();
            for value in &own[same..] {
                self.push(text, value);
            }
            text.push_str(&self.end);
            if same > 0 && goes_on {
                self.keep_tail(&own[same..], &text[begin..]);
            }
        }
        number(text, value);
        text.push('\n');
    }

    /// Writes a value, and the text between it and the next one.
    fn push(&mut self, text: &mut String, value: &str) {
        escape(text, value, true);
        if let Some(next) = self.between.get(self.before.len()) {
            text.push_str(next);
        }
        self.before.push((place(value), text.len() - self.line));
    }

    /// Writes the last values and the end of the labels by copying, if a line of another message had the same
    /// end.
    fn write_tail(&mut self, text: &mut String, values: &[&str]) -> bool {
        let is_same = |(places, _): &(Vec<Place>, _)| {
            places.len() == values.len()
                && places
                    .iter()
                    .zip(values)
                    .all(|(own, value)| *own == place(value))
        };
        let next = self.last_tail + 1;
        let known = match self.tails.get(next).filter(|tail| is_same(tail)) {
            Some(_) => Some(next),
            None => self.tails.iter().position(is_same),
        };
        let Some(known) = known else {
            return false;
        };
        self.last_tail = known;
        text.push_str(&self.tail[self.tails[known].1.clone()]);
        true
    }

    /// Records the end of a line. A single value is not recorded, because writing it is as fast as finding
    /// it.
    fn keep_tail(&mut self, values: &[&str], end: &str) {
        if values.len() > 1 && self.tails.len() < TAILS {
            let from = self.tail.len();
            self.tail.push_str(end);
            let places = values.iter().map(|value| place(value)).collect();
            self.last_tail = self.tails.len();
            self.tails.push((places, from..self.tail.len()));
        }
    }
}

/// The lines of a series.
pub(super) fn sample(
    text: &mut String,
    format: Format,
    family: &Family,
    labels: Labels<'_>,
    value: &Value,
) {
    debug_assert!(matches!(
        (family.kind, value),
        (Kind::Gauge, Value::Gauge(_))
            | (Kind::Counter, Value::Counter(..))
            | (Kind::Histogram(_), Value::Histogram(..))
    ));
    match value {
        Value::Gauge(value) | Value::Counter(value, _) => {
            line(text, [family.name, ""], labels, None, *value);
        }
        Value::Histogram(own, _) => histogram(text, format, family.name, labels, own),
    }
}

/// Writes `name{labels} value`, with one more label for a histogram's bucket.
fn line(
    text: &mut String,
    name: [&str; 2],
    labels: Labels<'_>,
    bound: Option<(Format, f64)>,
    value: Number,
) {
    begin(text, name, labels, bound);
    number(text, value);
    text.push('\n');
}

/// Writes a line up to its value.
fn begin(text: &mut String, name: [&str; 2], labels: Labels<'_>, bound: Option<(Format, f64)>) {
    name.into_iter().for_each(|part| text.push_str(part));
    let mut separator = "{";
    for (name, value) in labels.pairs() {
        text.push_str(separator);
        separator = "\",";
        text.push_str(name);
        text.push_str("=\"");
        escape(text, value, true);
    }
    if let Some((format, bound)) = bound {
        text.push_str(separator);
        separator = "\",";
        text.push_str("le=\"");
        write_bound(text, format, bound);
    }
    text.push_str(if separator == "{" { " " } else { "\"} " });
}

/// Writes the lines of a historic series: one for each sample, with its time in seconds.
pub(super) fn dated(text: &mut String, family: &Family, dated: &Dated<'_>) {
    let mut series = String::new();
    begin(&mut series, [family.name, ""], dated.labels, None);
    for (at, value) in &dated.samples {
        text.push_str(&series);
        number(text, *value);
        // Writing to a string does not fail.
        let _ = match at.subsec_millisecond() {
            0 => writeln!(text, " {}", at.as_second()),
            milliseconds => writeln!(text, " {}.{milliseconds:03}", at.as_second()),
        };
    }
}

/// OpenMetrics requires a canonical form of bounds, which always contains a decimal point.
fn write_bound(text: &mut String, format: Format, bound: f64) {
    if format == Format::OpenMetrics && bound.is_finite() && bound.fract() == 0.0 {
        // Writing to a string does not fail.
        let _ = write!(text, "{bound:.1}");
    } else {
        number(text, Number::Float(bound));
    }
}

fn number(text: &mut String, number: Number) {
    // Writing to a string does not fail.
    let _ = match number {
        Number::Count(count) => {
            text.push_str(itoa::Buffer::new().format(count));
            Ok(())
        }
        Number::Decimal(decimal) => write!(text, "{}", decimal.normalize()),
        Number::Float(f64::INFINITY) => text.write_str("+Inf"),
        Number::Float(f64::NEG_INFINITY) => text.write_str("-Inf"),
        Number::Float(float) if float.is_nan() => text.write_str("NaN"),
        Number::Float(float) => write!(text, "{float}"),
    };
}

fn histogram(
    text: &mut String,
    format: Format,
    name: &str,
    labels: Labels<'_>,
    histogram: &Histogram,
) {
    let count = histogram.count();
    let last = (f64::INFINITY, count);
    for (bound, count) in histogram.cumulative().chain([last]) {
        let bound = Some((format, bound));
        line(text, [name, "_bucket"], labels, bound, Number::Count(count));
    }
    let sum = Number::Float(histogram.sum);
    line(text, [name, "_sum"], labels, None, sum);
    line(text, [name, "_count"], labels, None, Number::Count(count));
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    let escaped = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'"');
    if !value.as_bytes().iter().any(escaped) {
        text.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}
