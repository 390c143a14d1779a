//! Label values that are known in advance.

use std::sync::Arc;

use crate::{
    catalog::{Label, Origin},
    config::Account,
    ledger::Windows,
    model::{Age, Source},
};

/// The label values that follow from an account's configuration.
pub(super) struct KnownValues<'a> {
    account: &'a Account,
    pub(super) ages: Vec<Age>,
    /// The sources in use; the source for registrations appears with the first registration.
    sources: Vec<Source>,
}

impl KnownValues<'_> {
    pub(super) fn new(account: &Account) -> KnownValues<'_> {
        let sources = [
            (Source::Static, !account.messages.fixed.is_empty()),
            (Source::File, !account.messages.files.is_empty()),
            (Source::Http, !account.messages.http.is_empty()),
            (Source::List, account.messages.list),
        ];
        let in_use = sources.into_iter().filter(|(_, in_use)| *in_use);
        KnownValues {
            account,
            ages: Windows::from(account).ages().to_vec(),
            sources: in_use.map(|(source, _)| source).collect(),
        }
    }

    pub(super) fn of(&self, label: &Label) -> Vec<Arc<str>> {
        let account = self.account;
        match label.origin {
            Origin::Dataset => texts(account.collect.iter().map(|dataset| dataset.as_str())),
            Origin::Application => texts(account.applications.iter().map(|own| own.name.as_ref())),
            Origin::Source => texts(self.sources.iter().map(|source| source.as_str())),
            Origin::Age => self
                .ages
                .iter()
                .map(|age| Arc::from(age.to_string()))
                .collect(),
            Origin::Words(words) => texts(words.iter().copied()),
            _ => Vec::new(),
        }
    }
}

pub(super) fn texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Arc<str>> {
    texts.into_iter().map(Arc::from).collect()
}
