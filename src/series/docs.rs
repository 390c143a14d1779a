//! Generates the reference of all families.

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

/// `docs/families.json`, from which dashboards and rules are generated.
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
    use crate::golden::{assert_current, assert_part_current};

    #[test]
    fn the_reference_page_and_families_json_are_current() {
        assert_current("docs/metrics.md", &reference());
        assert_current("docs/families.json", &machine_readable());
    }

    /// The values of a family's labels in their order, and its value.
    type Sample = (&'static [&'static str], &'static str);

    /// Some series of the demo, as it showed them on one day.
    #[rustfmt::skip]
    const DEMO: &[(&str, &[Sample])] = &[
        ("delivery_message_sent", &[
            (&["infobip_push", "shop-push", "shop", "push", "basket", "3804927950850437736"], "2367"),
        ]),
        ("delivery_message_errors", &[
            (&["infobip_push", "shop-push", "shop", "push", "basket", "3804927950850437736", "cloud"], "18"),
            (&["infobip_push", "shop-push", "shop", "push", "basket", "3804927950850437736", "expired"], "34"),
            (&["infobip_push", "shop-push", "shop", "push", "basket", "3804927950850437736", "registration"], "121"),
        ]),
        ("delivery_message_delivery_ratio", &[
            (&["infobip_push", "shop-push", "shop", "push", "basket", "3804927950850437736"], "0.9222644697929869"),
        ]),
        ("delivery_message_channel_delivered", &[
            (&["engagelab", "news-push", "news-push", "basket", "1523146136", "notification", "android", "engagelab_android"], "42"),
            (&["engagelab", "news-push", "news-push", "basket", "1523146136", "notification", "android", "fcm"], "62"),
            (&["engagelab", "news-push", "news-push", "basket", "1523146136", "notification", "android", "honor"], "18"),
            (&["engagelab", "news-push", "news-push", "basket", "1523146136", "notification", "android", "huawei"], "45"),
        ]),
        ("delivery_bounces_total", &[
            (&["infobip_email", "shop-mail", "shop-mail", "email", "hard"], "169"),
            (&["infobip_email", "shop-mail", "shop-mail", "email", "soft"], "134"),
        ]),
        ("delivery_up", &[
            (&["infobip_email", "shop-mail"], "1"),
            (&["engagelab", "news-push"], "1"),
            (&["pushwoosh", "loyalty"], "1"),
        ]),
    ];

    /// The excerpt of a scrape on the demo's page: names, help and labels are those of the catalogue and
    /// of the vendors' declarations.
    #[test]
    fn the_demo_pages_excerpt_of_a_scrape_is_current() {
        let mut text = String::from("```text\n");
        for (name, samples) in DEMO {
            let family = families().find(|family| family.name == *name).unwrap();
            let kind = family.kind.as_str();
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", help(family)).unwrap();
            for (values, value) in *samples {
                assert_eq!(family.labels.len(), values.len(), "{name}");
                let labels = family.labels.iter().zip(*values);
                let labels: Vec<_> = labels
                    .map(|(label, value)| format!("{}=\"{value}\"", label.name))
                    .collect();
                writeln!(text, "{name}{{{}}} {value}", labels.join(",")).unwrap();
            }
        }
        text.push_str("```\n");
        assert_part_current("docs/demo.md", "scrape", &text);
    }
}
