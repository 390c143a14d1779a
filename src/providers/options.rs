//! What a provider is made of: the part of an account's configuration that vendors see.

use std::{collections::BTreeMap, sync::Arc};

use reqwest::Url;

use crate::{
    model::DailyPublication,
    secret::{Secret, SecretSource},
};

/// What a provider needs of its account's configuration, besides its client's part.
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// The label `account`.
    pub account: Arc<str>,
    /// The vendor's address.
    pub base_url: Url,
    /// How the vendor knows us, in one of its forms.
    pub credentials: Credentials,
    /// The vendor's own keys.
    pub keys: VendorKeys,
    /// When the vendor publishes, where it does so once a day.
    pub daily: Option<DailyPublication>,
}

/// `credentials`: one of the vendor's forms, whole, and what stands beside it.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// The form's keys, in its order.
    pub(crate) form: Vec<(&'static str, SecretSource)>,
    /// Secrets that the form does not need.
    pub(crate) optional: Vec<(&'static str, SecretSource)>,
    /// Words, with their defaults.
    pub(crate) words: Vec<(&'static str, &'static str)>,
}

impl Credentials {
    /// The names of the form's keys, in the vendor's order.
    pub fn form(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.form.iter().map(|(name, _)| *name)
    }

    /// The form's keys with their secrets.
    pub fn form_secrets(&self) -> impl Iterator<Item = (&'static str, &SecretSource)> {
        self.form.iter().map(|(name, source)| (*name, source))
    }

    /// All secrets: those of the form in its order, then those that stand beside it.
    pub fn secrets(&self) -> Vec<SecretSource> {
        let all = self.form.iter().chain(&self.optional);
        all.map(|(_, source)| source.clone()).collect()
    }

    /// The word of a key.
    pub fn word(&self, key: &str) -> Option<&'static str> {
        let mut words = self.words.iter();
        words.find(|(name, _)| *name == key).map(|(_, word)| *word)
    }
}

/// The values of a vendor's own keys.
#[derive(Clone, Debug, Default)]
pub struct VendorKeys {
    pub(crate) secrets: BTreeMap<&'static str, Vec<Secret>>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) words: BTreeMap<&'static str, &'static str>,
}

impl VendorKeys {
    /// Whether a key has a value, or a default.
    pub fn is_given(&self, key: &str) -> bool {
        !self.secrets(key).is_empty()
            || self.counts.contains_key(key)
            || self.words.contains_key(key)
    }

    /// The secrets of a key: none if it is not there.
    pub fn secrets(&self, key: &str) -> &[Secret] {
        self.secrets.get(key).map_or(&[], Vec::as_slice)
    }

    /// All secrets.
    pub fn all_secrets(&self) -> impl Iterator<Item = &Secret> {
        self.secrets.values().flatten()
    }

    /// The number of a key, or its default; 0 if it has none.
    pub fn count(&self, key: &str) -> u64 {
        self.counts.get(key).copied().unwrap_or_default()
    }

    /// The word of a key, or its default.
    pub fn word(&self, key: &str) -> Option<&'static str> {
        self.words.get(key).copied()
    }
}
