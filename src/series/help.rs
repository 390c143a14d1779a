//! Help texts, with what the vendors' declarations say about their fields.

use std::sync::LazyLock;

use crate::{
    catalog::{FamilyId, Fields, all},
    providers::{VENDORS, help},
};

static TEXTS: LazyLock<Vec<String>> = LazyLock::new(|| all().map(text).collect());

/// The help text of a family, with the vendors' fields.
pub fn help(family: FamilyId) -> &'static str {
    TEXTS.get(family.index()).map_or("", String::as_str)
}

fn text(family: FamilyId) -> String {
    let (fields, notes) = match family.fields {
        Fields::OfFamily => (help::family_fields(VENDORS, family.name), String::new()),
        Fields::Named(name) => (help::family_fields(VENDORS, name), String::new()),
        Fields::Measure(word) => (
            help::measure_fields(VENDORS, word),
            help::measure_notes(VENDORS, word),
        ),
    };
    family
        .help
        .replace("{fields}", &fields)
        .replace("{notes}", &notes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_whole() {
        for family in crate::catalog::families() {
            let text = help(family);
            assert!(
                text.ends_with('.') && !text.contains(['{', '}', '\n']) && !text.contains("()"),
                "{}: {text}",
                family.name
            );
        }
    }
}
