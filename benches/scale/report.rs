//! What was measured, as the tables and sentences of docs/performance.md.

use std::fmt::Write;

use super::{Measured, TOGETHER, Together};

/// A time, as people read it.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.2} ms", s * 1e3),
        s if s < 0.1 => format!("{:.1} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// A line of a table: what it is, its value, and how that is shown.
type Line<'a> = (&'a str, &'a dyn Fn(&Measured) -> f64, fn(f64) -> String);

/// A table whose columns are sizes, with the exponent of each row between the second and the last.
fn table(all: &[Measured], rows: &[Line<'_>]) -> String {
    let mut text = String::from("| |");
    for own in all {
        write!(text, " {} series |", own.series).unwrap();
    }
    text.push_str(" exponent |\n|---|");
    text.push_str(&"---|".repeat(all.len() + 1));
    text.push('\n');
    for (name, value, shown) in rows {
        write!(text, "| {name} |").unwrap();
        for own in all {
            write!(text, " {} |", shown(value(own))).unwrap();
        }
        let ends = all.iter().find(|own| own.series >= 8000).zip(all.last());
        match ends.filter(|(small, large)| small.series < large.series) {
            Some((small, large)) => {
                let (from, to) = (value(small), value(large));
                let growth = (to / from).ln() / (large.series as f64 / small.series as f64).ln();
                // CPU is counted in hundredths of a second: what takes less has no growth.
                let shown = format!("{growth:.2}");
                let shown = shown.replace("-0.00", "0.00");
                let shown = if growth.is_finite() { &shown } else { "–" };
                writeln!(text, " {shown} |").unwrap();
            }
            None => text.push_str(" |\n"),
        }
    }
    text
}

/// What a scraper gets.
fn scrapes(all: &[Measured], alone: bool) -> String {
    fn megabytes(value: f64) -> String {
        format!("{value:.0} MB")
    }
    let mut text = table(
        all,
        &[
            ("**exporter**: gzip, first", &|own| own.scrapes[0], time),
            ("gzip, repeated", &|own| own.scrapes[1], time),
            ("gzip, repeated, CPU", &|own| own.scrapes[2], time),
            (
                "gzip, by itself, after 1 % has changed",
                &|own| own.changed[0],
                time,
            ),
            ("identity, first", &|own| own.scrapes[3], time),
            ("identity, repeated", &|own| own.scrapes[4], time),
            ("identity, repeated, CPU", &|own| own.scrapes[5], time),
            ("peak memory, gzip is read", &|own| own.peak[0], megabytes),
            (
                "peak memory, both are read, and OTLP",
                &|own| own.peak[1],
                megabytes,
            ),
            ("**nginx**, the same bytes: gzip", &|own| own.nginx[0], time),
            ("gzip, by itself", &|own| own.changed[1], time),
            ("identity", &|own| own.nginx[1], time),
            ("peak memory", &|own| own.nginx_memory, megabytes),
            (
                "**bare axum handler**, one buffer: gzip",
                &|own| own.bare[0],
                time,
            ),
            ("identity", &|own| own.bare[1], time),
            ("**by curl**: gzip, exporter", &|own| own.curl[0][0], time),
            ("gzip, nginx", &|own| own.curl[1][0], time),
            ("gzip, bare handler", &|own| own.curl[2][0], time),
            ("identity, exporter", &|own| own.curl[0][1], time),
            ("identity, nginx", &|own| own.curl[1][1], time),
            ("identity, bare handler", &|own| own.curl[2][1], time),
        ],
    );
    if !alone {
        let more = table(
            all,
            &[
                (
                    "**node_exporter**, textfile: gzip",
                    &|own| own.others[0][0],
                    time,
                ),
                ("CPU", &|own| own.others[0][1], time),
                ("peak memory", &|own| own.others[0][2], megabytes),
                ("**Pushgateway**: gzip", &|own| own.others[1][0], time),
                ("CPU", &|own| own.others[1][1], time),
                ("peak memory", &|own| own.others[1][2], megabytes),
            ],
        );
        text.extend(more.lines().skip(2).map(|line| format!("{line}\n")));
    }
    text
}

/// What a pass costs.
fn passes(all: &[Measured]) -> String {
    let of_costs = |index: usize| {
        move |own: &Measured| {
            own.costs
                .as_ref()
                .map_or(f64::NAN, |costs| costs.passes[index])
        }
    };
    let zlib = |own: &Measured| own.costs.as_ref().map_or(f64::NAN, |costs| costs.zlib);
    table(
        all,
        &[
            (
                "nothing changes: an account's pass",
                &|own| own.passes[0][0],
                time,
            ),
            ("whole process, CPU", &|own| own.passes[0][1], time),
            (
                "1 % changes: an account's pass",
                &|own| own.passes[1][0],
                time,
            ),
            ("whole process, CPU", &|own| own.passes[1][1], time),
            (
                "all changes: an account's pass",
                &|own| own.passes[2][0],
                time,
            ),
            ("whole process, CPU", &|own| own.passes[2][1], time),
            ("writing and compressing nothing, CPU", &of_costs(0), time),
            ("writing and compressing 1 %, CPU", &of_costs(1), time),
            ("writing and compressing all, CPU", &of_costs(2), time),
            ("`zlib -1` of the whole body, CPU", &zlib, time),
        ],
    )
}

/// All tables and sentences of a run.
pub(super) fn report(
    all: &[Measured],
    cold: &[(f64, usize)],
    together: &Together,
    alone: bool,
) -> String {
    let mut text = scrapes(all, alone);
    text.push('\n');
    text.push_str(&passes(all));
    if let Some(last) = all.last() {
        let of = |value: f64, whole: f64| value / whole;
        writeln!(
            text,
            "\nWith {} series ({:.0} MB of text, {:.1} MB gzipped; {:.0} and {:.1} bytes a series):\n",
            last.series,
            last.bytes[1] as f64 / 1e6,
            last.bytes[0] as f64 / 1e6,
            last.bytes[1] as f64 / last.series as f64,
            last.bytes[0] as f64 / last.series as f64,
        )
        .unwrap();
        let mut line = |name: &str, value: f64, goal: &str| {
            writeln!(text, "- {name}: {value:.3} (goal: {goal})").unwrap();
        };
        line(
            "gzip scrape, of nginx's time",
            of(last.scrapes[1], last.nginx[0]),
            "at most 1.5",
        );
        line(
            "gzip scrape by itself, after 1 % has changed, of nginx's time",
            of(last.changed[0], last.changed[1]),
            "at most 1.5",
        );
        line(
            "identity scrape, of nginx's time",
            of(last.scrapes[4], last.nginx[1]),
            "at most 1.2",
        );
        line(
            "gzip scrape by curl, of nginx's time",
            of(last.curl[0][0], last.curl[1][0]),
            "at most 1.5",
        );
        line(
            "identity scrape by curl, of nginx's time",
            of(last.curl[0][1], last.curl[1][1]),
            "at most 1.2",
        );
        line(
            "gzip scrape, of the bare handler's",
            of(last.scrapes[1], last.bare[0]),
            "none",
        );
        line(
            "identity scrape, of the bare handler's",
            of(last.scrapes[4], last.bare[1]),
            "none",
        );
        if !alone {
            line(
                "times faster than node_exporter",
                of(last.others[0][0], last.scrapes[1]),
                "2,000",
            );
            line(
                "times faster than Pushgateway",
                of(last.others[1][0], last.scrapes[1]),
                "500",
            );
        }
        if let Some(costs) = &last.costs {
            line(
                "a pass of 1 %, of `zlib -1` of the body",
                of(costs.passes[1], costs.zlib),
                "at most 0.03",
            );
            line(
                "a pass of all, of the same",
                of(costs.passes[2], costs.zlib),
                "at most 2.5",
            );
        }
    }
    let Together { passes, scrapes } = together;
    writeln!(
        text,
        "- {TOGETHER} gzip scrapes at once, every second: an account's pass takes {} with them and {} \
         without ({:.2} times; goal: at most 1.1); the scrapes' 99th percentile is {} with passes ({:.1} \
         times their median; goal: at most 5), and {} between them ({:.1})",
        time(passes[1]),
        time(passes[0]),
        passes[1] / passes[0],
        time(scrapes[1][1]),
        scrapes[1][1] / scrapes[1][0],
        time(scrapes[0][1]),
        scrapes[0][1] / scrapes[0][0],
    )
    .unwrap();
    for (seconds, counters) in cold {
        writeln!(
            text,
            "- from the start of the process over a ledger with {counters} counters until all of them are \
             on `/metrics`: {}",
            time(*seconds)
        )
        .unwrap();
    }
    text
}
