//! What a vendor declares for a provider of its own: credentials, and keys that others lack.

use super::{
    read::{Context, Map},
    schema::Section,
    types::{Credentials, VendorKeys},
    vendors::{names, owners},
};
use crate::{
    providers::{
        Vendor,
        vendor::{ConfigKey, KeyKind},
    },
    secret::Secret,
};

/// `credentials`: exactly one of the vendor's forms, whole.
pub(super) fn credentials(
    context: &Context,
    map: &Map<'_>,
    vendor: &Vendor,
) -> Option<Credentials> {
    let section = map.section("credentials", Section::Credentials);
    let forms = vendor.credentials;
    let form_names = |form: &[ConfigKey]| {
        let names: Vec<_> = form.iter().map(|key| key.name).collect();
        names.join(" and ")
    };
    let wanted = || {
        let forms: Vec<_> = forms.iter().map(|form| form_names(form)).collect();
        forms.join(", or ")
    };
    let own = || {
        forms
            .iter()
            .copied()
            .flatten()
            .chain(vendor.optional_credentials)
    };
    for name in section.key_names() {
        if section.has(name) && !own().any(|key| key.name == name) {
            let text = format!("{vendor} has no credential {name}; it takes {}", wanted());
            context.error(section.place_of(name), text);
            return None;
        }
    }
    let given: Vec<_> = forms
        .iter()
        .filter(|form| form.iter().any(|key| section.has(key.name)))
        .collect();
    let [form] = given.as_slice() else {
        let text = if given.is_empty() {
            format!(
                "credentials are missing: {vendor} takes {} (each also as a file, with _file)",
                wanted()
            )
        } else {
            format!(
                "credentials of more than one kind; keep one of: {}",
                wanted()
            )
        };
        context.error(&section.place, text);
        return None;
    };
    for key in form.iter() {
        if !section.has(key.name) {
            let hint = format!(": {vendor} takes {}", form_names(form));
            section.missing(key.name, &hint);
        }
    }
    let mut credentials = Credentials::default();
    let mut is_whole = true;
    for key in form.iter() {
        match section.secret(key.name) {
            Some(secret) => credentials.form.push((key.name, secret)),
            None => is_whole = false,
        }
    }
    for key in vendor.optional_credentials {
        match key.kind {
            KeyKind::Word(words) => {
                let word = section.word(key.name);
                credentials.words.extend(word_of(key, words, word));
            }
            _ => {
                let secret = section.secret(key.name);
                credentials
                    .optional
                    .extend(secret.map(|own| (key.name, own)));
            }
        }
    }
    is_whole.then_some(credentials)
}

/// The word of a key, else its default, as it stands among `words`.
fn word_of(
    key: &ConfigKey,
    words: &[&'static str],
    word: Option<&'static str>,
) -> Option<(&'static str, &'static str)> {
    let default = || words.iter().copied().find(|word| *word == key.default);
    Some((key.name, word.or_else(default)?))
}

/// The vendors' own keys. Those that this vendor does not declare are checked too: they may come
/// from `provider_defaults`. Where the vendor cannot do what they are for, they are errors.
pub(super) fn vendor_keys(context: &Context, map: &Map<'_>, vendor: &Vendor) -> VendorKeys {
    let mut keys = VendorKeys::default();
    let mut seen = Vec::new();
    let others = context.vendors.iter().flat_map(|other| other.keys);
    for key in vendor.keys.iter().chain(others) {
        if seen.contains(&key.name) {
            continue;
        }
        seen.push(key.name);
        let is_own = vendor.keys.iter().any(|own| own.name == key.name);
        if let Some(lack) = key.lack.filter(|_| !is_own && map.has(key.name)) {
            let owners = owners(context.vendors, Section::Provider, key.name).join(", ");
            let node = map.node_of(key.name);
            let place = node.map_or(&map.place, |node| &node.place);
            let verb = match key.kind {
                KeyKind::Secrets { .. } => "are",
                _ => "is",
            };
            let text = format!("{} {verb} for {owners}: {vendor} {lack}", key.name);
            context.error(place, text);
        }
        match key.kind {
            KeyKind::Secret => {
                let secret = map.secret(key.name);
                let secrets = secret.map(|own| own.value).into_iter().collect();
                keys.secrets.insert(key.name, secrets);
            }
            KeyKind::Secrets { item } => {
                let secrets = secrets(context, map, key.name, item);
                keys.secrets.insert(key.name, secrets);
            }
            KeyKind::Count => {
                keys.counts.insert(key.name, map.count(key.name));
            }
            KeyKind::Word(words) => {
                let word = map.word(key.name);
                keys.words.extend(word_of(key, words, word));
            }
        }
    }
    keys
}

/// A list of texts that are never shown.
fn secrets(context: &Context, map: &Map<'_>, key: &str, item: &str) -> Vec<Secret> {
    let Some(node) = map.get(key) else {
        return Vec::new();
    };
    let items = context.list(key, node).iter();
    items
        .filter_map(|node| context.text(item, node))
        .map(Secret::new)
        .collect()
}

/// `webhook_token`, of vendors that push.
pub(super) fn webhook_token(context: &Context, map: &Map<'_>, vendor: &Vendor) -> Option<Secret> {
    let token = map.secret("webhook_token")?;
    if vendor.webhook().is_some() {
        return Some(token.value);
    }
    let owners = names(context.vendors, |vendor| vendor.webhook().is_some()).join(", ");
    let text = format!("webhook_token is for {owners}: {vendor} pushes no reports");
    context.error(&map.place, text);
    None
}
