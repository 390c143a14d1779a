//! A chart of a rate over up to 24 hours, with the usual range as a band.

use std::fmt::Write;

use super::{
    rates::{AccountRates, Usual},
    words::percent,
};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 120.0;
/// The margin above the highest and below the lowest value.
const MARGIN: f64 = 6.0;
/// The minimum span of the scale, so that small changes look small.
const MIN_SPAN: f64 = 0.1;

/// A chart as the page draws it.
pub(super) struct Chart {
    /// The parts of the line as SVG points, with gaps where too little was sent.
    pub(super) lines: Vec<String>,
    /// The parts of the band.
    pub(super) bands: Vec<String>,
    /// The newest rate.
    pub(super) dot: (String, String),
    /// The labels at the ends of the scale.
    pub(super) top: String,
    pub(super) bottom: String,
    /// The time span, in words.
    pub(super) span: String,
    /// The ages of the grid lines, the oldest first.
    pub(super) hours: [String; 4],
    /// The chart in words, for screen readers.
    pub(super) words: String,
}

/// The possible time spans of a chart, in hours: a short history would be hard to see on a scale of a whole
/// day.
const SPANS: [usize; 4] = [2, 6, 12, 24];

/// The chart of an account that has been observed for `observed_for` seconds; `None` if there is too little
/// to show.
pub(super) fn chart(rates: &AccountRates, what: &str, observed_for: i64) -> Option<Chart> {
    let hours = usize::try_from(observed_for / 3600 + 1).unwrap_or(1);
    let span = SPANS.into_iter().find(|span| *span >= hours).unwrap_or(24);
    let line = &rates.rates[rates.rates.len().saturating_sub(4 * span)..];
    let band = &rates.band[rates.band.len().saturating_sub(span + 1)..];
    if line.iter().flatten().count() < 2 {
        return None;
    }
    let known = || line.iter().flatten().copied();
    let last = known().last()?;
    let bands = || band.iter().flatten();
    let fold =
        |values: &mut dyn Iterator<Item = f64>, pick: fn(f64, f64) -> f64| values.fold(last, pick);
    let low = fold(&mut known().chain(bands().map(|band| band.low)), f64::min);
    let high = fold(&mut known().chain(bands().map(|band| band.high)), f64::max);
    let (low_rate, high_rate) = (fold(&mut known(), f64::min), fold(&mut known(), f64::max));
    let missing_span = (MIN_SPAN - (high - low)).max(0.0) / 2.0;
    let top = (high + missing_span).min(high.max(1.0));
    let bottom = (low - missing_span).max(0.0).min(top - MIN_SPAN);
    #[expect(clippy::cast_precision_loss, reason = "there are few points")]
    let place = |index: usize, rate: f64| {
        let x = index as f64 / (line.len() - 1) as f64 * WIDTH;
        let y = (top - rate) / (top - bottom);
        (
            format!("{x:.0}"),
            format!("{:.1}", MARGIN + y * (HEIGHT - 2.0 * MARGIN)),
        )
    };
    let points = line.iter().enumerate();
    let points: Vec<_> = points
        .map(|(index, rate)| rate.map(|rate| place(index, rate)))
        .collect();
    let dot = points.iter().flatten().last().cloned()?;
    let lines = points
        .split(Option::is_none)
        .filter(|piece| !piece.is_empty())
        .map(|piece| join(piece.iter().flatten()))
        .collect();
    let hours: Vec<_> = band.iter().enumerate().collect();
    let index = |hour: usize| (hour * 4).min(line.len() - 1);
    let outline = |piece: &[(usize, &Option<Usual>)]| {
        let edge = |pick: fn(&Usual) -> f64| -> Vec<(String, String)> {
            let known = piece
                .iter()
                .filter_map(|(hour, usual)| Some((hour, usual.as_ref()?)));
            known
                .map(|(hour, usual)| place(index(*hour), pick(usual)))
                .collect()
        };
        let (upper, lower) = (edge(|usual| usual.high), edge(|usual| usual.low));
        join(upper.iter().chain(lower.iter().rev()))
    };
    let bands_drawn = hours
        .split(|(_, usual)| usual.is_none())
        .filter(|piece| piece.len() > 1)
        .map(outline)
        .collect();
    let usual = rates.now.and_then(|now| now.usual);
    let usual = usual.map_or_else(String::new, |usual| {
        format!(
            "; usual now {} to {}",
            percent(usual.low),
            percent(usual.high)
        )
    });
    Some(Chart {
        lines,
        bands: bands_drawn,
        dot,
        words: format!(
            "{what}, last {span} hours: {} at the end, between {} and {}{usual}.",
            percent(last),
            percent(low_rate),
            percent(high_rate)
        ),
        top: percent(top),
        bottom: percent(bottom),
        span: format!("last {span} hours"),
        hours: [4, 3, 2, 1].map(|quarters| ago(span * quarters * 15)),
    })
}

/// The age of a grid line, given in minutes, in words.
fn ago(minutes: usize) -> String {
    if minutes >= 120 || minutes == 60 {
        format!("{} h", minutes / 60)
    } else {
        format!("{minutes} min")
    }
}

/// Points in the form of SVG.
fn join<'p>(points: impl Iterator<Item = &'p (String, String)>) -> String {
    let mut text = String::new();
    for (x, y) in points {
        // Writing to a string does not fail.
        let _ = write!(text, "{x},{y} ");
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::rates::{Basis, Window},
        *,
    };

    fn rates(rates: Vec<Option<f64>>, band: Vec<Option<Usual>>) -> AccountRates {
        AccountRates {
            basis: Basis::Cohorts,
            window: Window::HOUR,
            now: None,
            rates,
            band,
            parts: Vec::new(),
            counted: Default::default(),
        }
    }

    #[test]
    fn a_gap_parts_the_line_and_the_band() {
        let usual = Some(Usual {
            low: 0.8,
            middle: 0.85,
            high: 0.9,
            days: 7,
        });
        let mut line = vec![Some(0.85); 96];
        line[10] = None;
        line[95] = Some(0.5);
        let mut band = vec![usual; 25];
        band[12] = None;
        let chart = chart(&rates(line, band), "Delivered", 86_400).unwrap();
        assert_eq!((chart.lines.len(), chart.bands.len()), (2, 2));
        assert_eq!(
            (chart.top.as_str(), chart.bottom.as_str()),
            ("90.0\u{202f}%", "50.0\u{202f}%")
        );
        assert_eq!(chart.dot, ("960".to_owned(), "114.0".to_owned()));
        assert_eq!(
            chart.words,
            "Delivered, last 24 hours: 50.0\u{202f}% at the end, between 50.0\u{202f}% and 85.0\u{202f}%."
        );
    }

    #[test]
    fn small_changes_look_small_and_nothing_is_no_chart() {
        let chart = super::chart(&rates(vec![Some(0.99), Some(1.0)], vec![]), "x", 60).unwrap();
        assert_eq!(
            (chart.top.as_str(), chart.bottom.as_str()),
            ("100.0\u{202f}%", "90.0\u{202f}%")
        );
        assert!(super::chart(&rates(vec![None; 96], vec![None; 25]), "x", 60).is_none());
    }
}
