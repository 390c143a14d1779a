//! What HELP texts and the documentation say about vendors, made from their declarations.

use std::fmt::Write;

use super::{Vendor, Vendors};

/// The vendors' fields for a measure's word: each vendor's short title, and its fields.
///
/// ```
/// use delivery_exporter::providers::{VENDORS, help};
///
/// let fields = help::measure_fields(VENDORS, "displayed");
/// assert!(fields.starts_with(VENDORS[0].short_title));
/// ```
pub fn measure_fields(vendors: Vendors, word: &str) -> String {
    of_each(vendors, |vendor| {
        let fields = vendor.fields(word);
        (!fields.is_empty()).then(|| fields.join(" and "))
    })
}

/// What a family (or the group `breakdown` or `types`) is made of in the vendors' answers.
pub fn family_fields(vendors: Vendors, family: &str) -> String {
    of_each(vendors, |vendor| {
        let mut fields = vendor.family_fields.iter();
        let found = fields.find(|(name, _)| *name == family);
        found.map(|(_, words)| (*words).to_owned())
    })
}

/// What a counter means beyond its fields, for vendors that count it themselves: sentences, each
/// with a space before it.
pub fn measure_notes(vendors: Vendors, word: &str) -> String {
    let notes = vendors.iter().flat_map(|vendor| vendor.measure_notes);
    let notes = notes.filter(|(name, _)| *name == word);
    notes.map(|(_, note)| format!(" {note}")).collect()
}

/// The README's table of vendors.
pub fn table(vendors: Vendors) -> String {
    let mut text = String::from("| type | vendor | what it tells |\n|---|---|---|\n");
    for vendor in vendors {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| `{vendor}` | [{}]({}) | {} |",
            vendor.product, vendor.documentation, vendor.summary
        );
    }
    text
}

/// The tables of `docs/vendors.md`: the data sets, and the fields that are counted.
pub fn tables(vendors: Vendors) -> String {
    let mut text = String::from(
        "| `type` | data set | by default | every | history | pushed to |\n|---|---|---|---|---|---|\n",
    );
    for vendor in vendors {
        for dataset in vendor.datasets {
            let every = dataset
                .interval
                .map_or("`interval`".to_owned(), |interval| {
                    format!("{} min", interval.as_secs() / 60)
                });
            let yes = |is: bool| if is { "yes" } else { "" };
            let path = dataset
                .webhook_path
                .map_or(String::new(), |path| format!("`{path}/<account>`"));
            let _ = writeln!(
                text,
                "| `{vendor}` | `{dataset}` | {} | {every} | {} | {path} |",
                yes(dataset.is_default),
                yes(dataset.history.is_some()),
            );
        }
    }
    text.push_str("\n| `type` | `channel` | the vendor's field: our measure |\n|---|---|---|\n");
    for vendor in vendors {
        for channel in vendor.channels {
            let fields = channel.fields.iter().map(|field| {
                let word = field.measure.as_str();
                let measure = match field.measure.detail() {
                    Some(detail) => format!("`{word}` ({detail})"),
                    None => format!("`{word}`"),
                };
                match field.name {
                    "" => measure,
                    name => format!("`{name}`: {measure}"),
                }
            });
            let fields: Vec<String> = fields.collect();
            let name = channel.name;
            let _ = writeln!(text, "| `{vendor}` | `{name}` | {} |", fields.join(", "));
        }
    }
    text
}

fn of_each(vendors: Vendors, part: impl Fn(&Vendor) -> Option<String>) -> String {
    let parts = vendors.iter().filter_map(|vendor| {
        let part = part(vendor)?;
        Some(format!("{} {part}", vendor.short_title))
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{golden::assert_part_current, model::Measure, providers::VENDORS};

    #[test]
    fn the_tables_of_vendors_are_current() {
        assert_part_current("README.md", "vendors", &table(VENDORS));
        assert_part_current("docs/vendors.md", "vendors", &tables(VENDORS));
    }

    #[test]
    fn the_house_rules_hold_for_every_vendor() {
        let mut names = HashSet::new();
        for vendor in VENDORS {
            assert!(names.insert(vendor.name), "{vendor} is there twice");
            if let Some(url) = vendor.base_url.default() {
                assert!(url.starts_with("https://"), "{vendor}");
            }
            assert!(!vendor.credentials.is_empty(), "{vendor}");
            assert!(!vendor.channels.is_empty(), "{vendor}");
            let defaults = vendor.datasets.iter().filter(|own| own.is_default);
            assert!(defaults.count() > 0, "{vendor} collects nothing");
            let mut datasets = HashSet::new();
            for dataset in vendor.datasets {
                assert!(datasets.insert(dataset.as_str()), "{vendor} {dataset}");
                if let Some((key, _)) = dataset.needs_key {
                    let mut keys = vendor.keys.iter();
                    assert!(keys.any(|own| own.name == key), "{vendor} {dataset}");
                }
            }
            for channel in vendor.channels {
                let mut measures = HashSet::new();
                for field in channel.fields {
                    assert!(Measure::ALL.contains(&field.measure));
                    assert!(measures.insert(field.measure), "{vendor} {}", field.name);
                }
            }
        }
    }

    #[test]
    fn vendors_that_share_a_key_mean_the_same_by_it() {
        let keys = || {
            VENDORS.iter().flat_map(|vendor| {
                let forms = vendor.credentials.iter().copied().flatten();
                forms.chain(vendor.optional_credentials).chain(vendor.keys)
            })
        };
        for key in keys() {
            for other in keys().filter(|other| other.name == key.name) {
                assert_eq!(
                    (key.kind, key.default),
                    (other.kind, other.default),
                    "{}",
                    key.name
                );
            }
        }
    }
}
