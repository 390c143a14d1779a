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
    use crate::model::Measure;

    /// A word that no family asks for would be in no text.
    #[test]
    fn what_vendors_say_about_families_is_about_families_that_exist() {
        for vendor in VENDORS {
            for (name, words) in vendor.family_fields {
                let mut families = all();
                let is_asked = families.any(|family| match family.fields {
                    Fields::OfFamily => family.name == *name && family.help.contains("{fields}"),
                    Fields::Named(group) => group == *name,
                    Fields::Measure(_) => false,
                });
                assert!(is_asked, "{vendor}: family_fields of {name}: {words}");
            }
            for (word, note) in vendor.measure_notes {
                let mut measures = Measure::ALL.iter();
                let is_measure = measures.any(|measure| measure.as_str() == *word);
                assert!(is_measure, "{vendor}: measure_notes of {word}: {note}");
            }
        }
    }

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
