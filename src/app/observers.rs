//! Observers for HTTP clients of accounts that have no series, or none yet.

use std::sync::{Arc, OnceLock};

use crate::{
    model::Dataset,
    providers::{Observer, RequestCode},
};

/// The observer of a client that was created before its account had series. The client sends no requests
/// until the observer is set.
#[derive(Default)]
pub(super) struct DeferredObserver(OnceLock<Arc<dyn Observer>>);

impl DeferredObserver {
    /// Forwards to this observer from now on.
    pub(super) fn set(&self, observer: Arc<dyn Observer>) {
        // It is set only once.
        let _ = self.0.set(observer);
    }
}

impl Observer for DeferredObserver {
    fn request(&self, dataset: Dataset, code: RequestCode) {
        if let Some(own) = self.0.get() {
            own.request(dataset, code);
        }
    }

    fn retry(&self, dataset: Dataset) {
        if let Some(own) = self.0.get() {
            own.retry(dataset);
        }
    }

    fn rate_limited(&self, dataset: Dataset) {
        if let Some(own) = self.0.get() {
            own.rate_limited(dataset);
        }
    }

    fn unknown_field(&self, dataset: Dataset, field: &str) {
        if let Some(own) = self.0.get() {
            own.unknown_field(dataset, field);
        }
    }
}

/// The observer of a client that is only used for a test.
pub(super) struct NoopObserver;

impl Observer for NoopObserver {
    fn request(&self, _: Dataset, _: RequestCode) {}
    fn retry(&self, _: Dataset) {}
    fn rate_limited(&self, _: Dataset) {}
    fn unknown_field(&self, _: Dataset, _: &str) {}
}
