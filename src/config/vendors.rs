//! The keys that vendors declare, beside those of every provider, and what the reference says about
//! vendors. All of it is made from their list: no vendor is named here.

use super::{
    duration,
    keys::{Holds, Key, Section},
};
use crate::providers::{
    Vendor, Vendors,
    vendor::{Applications, BaseUrl, ConfigKey, DEFAULT_MAX_AGE, KeyKind},
};

/// The keys of vendors in a section, each once.
pub(super) fn keys(vendors: Vendors, section: Section) -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for own in vendors.iter().flat_map(|vendor| declared(vendor, section)) {
        if !keys.iter().any(|key| key.name == own.name) {
            keys.push(Key {
                section,
                name: own.name,
                holds: match own.kind {
                    KeyKind::Secret => Holds::Secret,
                    KeyKind::Secrets { .. } => Holds::List,
                    KeyKind::Count => Holds::Count,
                    KeyKind::Word(words) => Holds::Word(words),
                },
                default: own.default,
                text: own.help,
            });
        }
    }
    keys
}

/// Whether a vendor's own key of this name holds secrets.
pub(super) fn holds_secrets(vendors: Vendors, name: &str) -> bool {
    let sections = [Section::Provider, Section::Credentials];
    let mut all = vendors
        .iter()
        .flat_map(|vendor| sections.map(|section| declared(vendor, section)))
        .flatten();
    all.any(|own| own.name == name && matches!(own.kind, KeyKind::Secret | KeyKind::Secrets { .. }))
}

/// What a vendor declares in a section.
fn declared(vendor: &'static Vendor, section: Section) -> Vec<&'static ConfigKey> {
    match section {
        Section::Provider => vendor.keys.iter().collect(),
        Section::Credentials => {
            let forms = vendor.credentials.iter().copied().flatten();
            forms.chain(vendor.optional_credentials).collect()
        }
        _ => Vec::new(),
    }
}

/// The names of the vendors that declare a key.
pub(super) fn owners(vendors: Vendors, section: Section, key: &str) -> Vec<&'static str> {
    let vendors = vendors.iter().filter(|vendor| {
        let own = declared(vendor, section);
        own.iter().any(|own| own.name == key)
    });
    vendors.map(|vendor| vendor.name).collect()
}

/// The names of the vendors of which `is` holds.
pub(super) fn names(vendors: Vendors, is: impl Fn(&Vendor) -> bool) -> Vec<&'static str> {
    let vendors = vendors.iter().filter(|vendor| is(vendor));
    vendors.map(|vendor| vendor.name).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// The vendors' parts of a sentence, one after another.
fn parts(vendors: Vendors, part: impl Fn(&Vendor) -> Option<String>) -> String {
    let parts: Vec<String> = vendors.iter().filter_map(|vendor| part(vendor)).collect();
    parts.join(", ")
}

/// The default of a key for the reference: the vendor's, where a key is for some vendors.
pub(super) fn default(vendors: Vendors, key: &Key) -> String {
    if (key.section, key.name) != (Section::Provider, "daily_complete_at") {
        return key.default.to_owned();
    }
    let daily = vendors.iter().find_map(|vendor| vendor.daily());
    daily.map_or(String::new(), |daily| {
        let minutes = daily.complete_at.as_secs() / 60;
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    })
}

/// What a key means, for the reference, with what it depends on at each vendor.
pub(super) fn text(vendors: Vendors, key: &Key) -> String {
    let own = own_texts(vendors, key);
    if !own.is_empty() {
        return own;
    }
    let text = key.text;
    match (key.section, key.name) {
        (Section::Provider, "base_url") => format!("{text} {}", base_urls(vendors)),
        (Section::Provider, "daily_complete_at") => format!("{}: {text}", daily(vendors)),
        (Section::Provider, "collect") => format!("{text} {}", datasets(vendors)),
        (Section::Provider, "applications") => format!("{text} {}", applications(vendors)),
        (Section::Provider, "messages") => {
            let without = names(vendors, |vendor| !vendor.has_messages());
            format!("{text}; not for {}.", listed(&without))
        }
        (Section::Provider, "webhook_token") => webhooks(vendors, text),
        (Section::Application, "id") => format!("{text} {}", ids(vendors)),
        (Section::Messages, "list") => {
            let with = listed(&names(vendors, |vendor| vendor.can_list));
            format!("{text} Default: true for {with}, whose APIs have one; the others have none.")
        }
        (Section::Messages, "max_age") => format!("{text}{}", ages(vendors)),
        _ => text.to_owned(),
    }
}

/// What a key of vendors is, at each of them: those that say the same stand together.
fn own_texts(vendors: Vendors, key: &Key) -> String {
    let mut texts: Vec<(&str, Vec<&str>)> = Vec::new();
    for vendor in vendors {
        let declared = declared(vendor, key.section);
        let Some(own) = declared.iter().find(|own| own.name == key.name) else {
            continue;
        };
        match texts.iter_mut().find(|(help, _)| *help == own.help) {
            Some((_, names)) => names.push(vendor.name),
            None => texts.push((own.help, vec![vendor.name])),
        }
    }
    let texts = texts.into_iter().map(|(help, names)| match help {
        "" => format!("{}.", names.join(", ")),
        help => format!("{}: {help}", names.join(", ")),
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn base_urls(vendors: Vendors) -> String {
    let mut defaults = Vec::new();
    for vendor in vendors {
        if let Some(url) = vendor.base_url.default() {
            let url = format!("`{url}`");
            if !defaults.contains(&url) {
                defaults.push(url);
            }
        }
    }
    let is_required = |vendor: &Vendor| matches!(vendor.base_url, BaseUrl::Required(_));
    let required = parts(vendors, |vendor| {
        is_required(vendor).then(|| format!("`{vendor}`"))
    });
    let defaults = defaults.join(", ");
    format!("Default by type: {defaults}; {required} has none, it is required there.")
}

fn daily(vendors: Vendors) -> String {
    parts(vendors, |vendor| {
        let offset = vendor.daily()?.utc_offset;
        Some(format!("{vendor} (UTC{:+})", offset.as_hours()))
    })
}

fn datasets(vendors: Vendors) -> String {
    let of = |is_default: bool| {
        parts(vendors, |vendor| {
            let own = vendor.datasets.iter();
            let own = own.filter(|dataset| dataset.is_default == is_default);
            let own: Vec<_> = own.map(|dataset| format!("`{dataset}`")).collect();
            (!own.is_empty()).then(|| format!("{} ({vendor})", listed(&own)))
        })
    };
    let (default, others) = (of(true), of(false));
    format!("Default: {default}. By choice besides: {others}.")
}

fn applications(vendors: Vendors) -> String {
    let needing = listed(&names(vendors, Vendor::needs_applications));
    format!(
        "required, one or more, for {needing}; at most one for the others, where only its `name` matters (default: the account's name)."
    )
}

fn webhooks(vendors: Vendors, text: &str) -> String {
    let owners = listed(&names(vendors, |vendor| vendor.webhook().is_some()));
    let paths = parts(vendors, |vendor| {
        let (_, path) = vendor.webhook()?;
        Some(format!("`{path}/<account>`"))
    });
    format!("{owners}: {}", text.replace("{paths}", &paths))
}

fn ids(vendors: Vendors) -> String {
    let ids = parts(vendors, |vendor| match vendor.applications {
        Applications::One => None,
        Applications::Several { id, .. } => Some(format!("{id} ({})", vendor.short_title)),
    });
    format!("{ids}.")
}

fn ages(vendors: Vendors) -> String {
    let others = vendors
        .iter()
        .filter(|vendor| vendor.max_age != DEFAULT_MAX_AGE);
    let others = others.map(|vendor| {
        let age = duration::show(vendor.max_age);
        format!(" {age} for {vendor}, {}.", vendor.max_age_reason)
    });
    others.collect()
}
