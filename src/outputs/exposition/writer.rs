//! The writer of both text formats. They differ in a few places, and each has its method here.

use std::fmt::Write;

use super::Format;
use crate::series::{Family, Histogram, Kind, Labels, Number, Value, Visitor};

/// Writes what it visits.
pub(super) struct Writer {
    format: Format,
    text: String,
    family: Option<&'static Family>,
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
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// `name{labels} value`, with one more label (of a histogram's bucket) where there is one.
    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<f64>,
        value: Number,
    ) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels.pairs() {
            self.text.push(separator);
            separator = ',';
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(&mut self.text, value, true);
            self.text.push('"');
        }
        if let Some(bound) = bound {
            self.text.push(separator);
            separator = ',';
            self.text.push_str("le=\"");
            self.bound(bound);
            self.text.push('"');
        }
        if separator == ',' {
            self.text.push('}');
        }
        self.text.push(' ');
        self.number(value);
        self.text.push('\n');
    }

    /// OpenMetrics wants bounds in one canonical form, in which they always look like doubles.
    fn bound(&mut self, bound: f64) {
        let open_metrics = self.format == Format::OpenMetrics;
        if open_metrics && bound.is_finite() && bound.fract() == 0.0 {
            // Writing to a string does not fail.
            let _ = write!(self.text, "{bound:.1}");
        } else {
            self.number(Number::Float(bound));
        }
    }

    fn number(&mut self, number: Number) {
        // Writing to a string does not fail.
        let _ = match number {
            Number::Count(count) => write!(self.text, "{count}"),
            Number::Decimal(decimal) => write!(self.text, "{}", decimal.normalize()),
            Number::Float(f64::INFINITY) => self.text.write_str("+Inf"),
            Number::Float(f64::NEG_INFINITY) => self.text.write_str("-Inf"),
            Number::Float(float) if float.is_nan() => self.text.write_str("NaN"),
            Number::Float(float) => write!(self.text, "{float}"),
        };
    }

    fn histogram(&mut self, name: &str, labels: Labels<'_>, histogram: &Histogram) {
        for (bound, count) in histogram.cumulative() {
            self.line(name, "_bucket", labels, Some(bound), Number::Count(count));
        }
        let count = Number::Count(histogram.count());
        self.line(name, "_bucket", labels, Some(f64::INFINITY), count);
        self.line(name, "_sum", labels, None, Number::Float(histogram.sum));
        self.line(name, "_count", labels, None, count);
    }
}

impl Visitor for Writer {
    fn family(&mut self, family: &'static Family) {
        self.family = Some(family);
        let open_metrics = self.format == Format::OpenMetrics;
        let name = if open_metrics {
            family.base_name()
        } else {
            &family.name
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        // The classic text knows no escaped quote in a help text, OpenMetrics does.
        escape(&mut self.text, &family.help, open_metrics);
        // Writing to a string does not fail.
        let _ = write!(self.text, "\n# TYPE {name} {}\n", family.kind.as_str());
        if let Some(unit) = family.open_metrics_unit().filter(|_| open_metrics) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    fn sample(&mut self, labels: Labels<'_>, value: &Value) {
        let Some(family) = self.family else { return };
        debug_assert!(matches!(
            (family.kind, value),
            (Kind::Gauge, Value::Gauge(_))
                | (Kind::Counter, Value::Counter(..))
                | (Kind::Histogram(_), Value::Histogram(..))
        ));
        match value {
            Value::Gauge(number) | Value::Counter(number, _) => {
                self.line(&family.name, "", labels, None, *number);
            }
            Value::Histogram(histogram, _) => self.histogram(&family.name, labels, histogram),
        }
    }
}

fn escape(text: &mut String, value: &str, quotes: bool) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}
