//! The reference of all families, made from their table.

use std::fmt::Write;

use super::help;
use crate::catalog::{Family, families};

/// `docs/metrics.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
        This page is made from the exporter's own table of families; a test keeps it current. Every family with the\n\
        label `account` carries the accounts' own `labels` too. A value that the vendor did not send is an absent\n\
        series, not 0. The last column is the name and unit by OTLP.\n\n\
        | family | type | labels | meaning | OTLP |\n|---|---|---|---|---|\n",
    );
    for family in families() {
        let unit = if family.unit.is_empty() {
            String::new()
        } else {
            format!(", `{}`", family.unit)
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | `{}`{unit} |",
            family.name,
            family.kind.as_str(),
            labels(&family),
            help(family),
            family.otlp_name
        );
    }
    text
}

/// `docs/families.json`: what dashboards and rules are made from.
pub fn machine_readable() -> String {
    let all: Vec<_> = families()
        .map(|family| {
            let labels: Vec<_> = family.labels.iter().map(|label| label.name).collect();
            serde_json::json!({
                "name": family.name,
                "type": family.kind.as_str(),
                "unit": family.unit,
                "labels": labels,
                "help": help(family),
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(all))
}

fn labels(family: &Family) -> String {
    let labels: Vec<_> = family
        .labels
        .iter()
        .map(|label| format!("`{}`", label.name))
        .collect();
    labels.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::assert_current;

    #[test]
    fn the_reference_page_and_families_json_are_current() {
        assert_current("docs/metrics.md", &reference());
        assert_current("docs/families.json", &machine_readable());
    }
}
