//! A mood that is being acted out, and what was done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Mood, Unknown};
use crate::traffic::{Campaign, mix};

/// The mood of one account, and what the account has done. Clones are one.
#[derive(Clone, Default)]
pub struct Acting(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    mood: Mood,
    records: bool,
    slow_by: Duration,
    requests: BTreeMap<String, u64>,
    /// How often the same thing was asked for, by endpoint and target.
    asked: HashMap<u64, u64>,
    last_errors: BTreeMap<String, Timestamp>,
    acted: BTreeMap<&'static str, u64>,
}

impl Acting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mood.
    pub fn mood(&self) -> Mood {
        self.lock().mood
    }

    /// Changes the mood. One that is not calm begins to record.
    pub fn set_mood(&self, mood: Mood) {
        let mut state = self.lock();
        state.records |= !mood.is_calm();
        state.mood = mood;
    }

    /// By how much slow answers are late.
    pub fn set_slow_by(&self, slow_by: Duration) {
        self.lock().slow_by = slow_by;
    }

    pub(crate) fn slow_by(&self) -> Duration {
        self.lock().slow_by
    }

    /// How many requests each endpoint has had.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.lock().requests.clone()
    }

    /// When each endpoint last answered with an error, by the world's clock.
    pub fn last_errors(&self) -> BTreeMap<String, Timestamp> {
        self.lock().last_errors.clone()
    }

    /// How often each unusual thing was done.
    pub fn acted(&self) -> BTreeMap<&'static str, u64> {
        self.lock().acted.clone()
    }

    /// The vendor's clock, if the world's says `now`.
    pub(crate) fn clock(&self, now: Timestamp) -> Timestamp {
        let skew = self.lock().mood.skew_seconds;
        if skew == 0 {
            return now;
        }
        self.note("skew_seconds");
        now + SignedDuration::from_secs(skew.into())
    }

    /// Something unusual was done.
    pub(crate) fn note(&self, what: &'static str) {
        *self.lock().acted.entry(what).or_default() += 1;
    }

    /// An endpoint answered with an error.
    pub(crate) fn failed(&self, endpoint: &str, at: Timestamp) {
        self.lock().last_errors.insert(endpoint.to_owned(), at);
    }

    /// Whether what is said is kept.
    pub(crate) fn records(&self) -> bool {
        self.lock().records
    }

    /// Keeps what is said from now on, in every mood.
    pub fn record(&self) {
        self.lock().records = true;
    }

    /// A request came to `endpoint`; `request` and what makes it unlike any other request (such as
    /// a nonce) is read only if something depends on it.
    pub(crate) fn call(
        &self,
        endpoint: &'static str,
        request: impl FnOnce() -> Value,
        volatile: &[&str],
    ) -> Option<Call> {
        let mut state = self.lock();
        match state.requests.get_mut(endpoint) {
            Some(count) => *count += 1,
            None => {
                state.requests.insert(endpoint.to_owned(), 1);
            }
        }
        let mood = state.mood;
        if mood.is_calm() && !state.records {
            return None;
        }
        let request = request();
        let mut target = request.clone();
        if let Some(fields) = target.as_object_mut() {
            fields.retain(|name, _| !volatile.contains(&name.as_str()));
        }
        let what = mix(text_hash(endpoint), text_hash(&target.to_string()));
        let asked = state.asked.entry(what).or_default();
        *asked += 1;
        let number = *asked;
        drop(state);
        Some(Call {
            endpoint,
            request,
            acting: self.clone(),
            mood,
            seed: mix(mix(mood.seed, what), number),
        })
    }
}

/// A request to an endpoint in a mood, and its chance.
#[derive(Clone)]
pub(crate) struct Call {
    /// The endpoint.
    pub endpoint: &'static str,
    /// What was asked: the parameters, or the body.
    pub request: Value,
    /// The account's mood and what was done in it.
    pub acting: Acting,
    /// The mood.
    pub mood: Mood,
    seed: u64,
}

impl Call {
    /// A number for one purpose, another one at every request.
    pub(crate) fn luck(&self, purpose: &str) -> u64 {
        mix(self.seed, text_hash(purpose))
    }

    /// A number for one purpose and one row, another one at every request.
    pub(crate) fn row(&self, purpose: &str, row: u64) -> u64 {
        mix(self.luck(purpose), row)
    }

    /// A number for one purpose and one row, the same at every request.
    pub(crate) fn fixed(&self, purpose: &str, row: u64) -> u64 {
        mix(mix(self.mood.seed, text_hash(purpose)), row)
    }

    /// True in so many of 1,000 requests.
    pub(crate) fn happens(&self, purpose: &str, per_mille: u32) -> bool {
        per_mille > 0 && self.luck(purpose) % 1000 < u64::from(per_mille)
    }

    /// How a message is known at `now` by the vendor's clock.
    pub(crate) fn unknown(&self, campaign: &Campaign, now: Timestamp) -> Unknown {
        if self.mood.refuses(campaign.number) {
            self.note("refused_ids");
            return Unknown::Refused;
        }
        let age = now.duration_since(campaign.sent_at).as_secs();
        if self.mood.unknown == Unknown::Never || age >= self.mood.unknown_for() {
            return Unknown::Never;
        }
        self.note_unknown();
        self.mood.unknown
    }

    fn note_unknown(&self) {
        self.note("unknown");
        if self.mood.unknown_seconds != 0 {
            self.note("unknown_seconds");
        }
    }

    /// Whether a list has a message at `now`.
    pub(crate) fn lists_now(&self, campaign: &Campaign, now: Timestamp) -> bool {
        let age = now.duration_since(campaign.sent_at).as_secs();
        let is_listed = self.mood.unknown == Unknown::Never || age >= self.mood.unknown_for();
        if !is_listed {
            self.note_unknown();
        }
        is_listed
    }

    /// A parameter or field of the request as text; empty: there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.request[name].as_str().unwrap_or_default()
    }

    /// Something unusual is done.
    pub(crate) fn note(&self, what: &'static str) {
        self.acting.note(what);
    }

    /// Where the answer is noted, if it is.
    pub(crate) fn records(&self) -> bool {
        self.acting.records()
    }
}

/// A number that is the same whenever it is asked for (FNV-1a, mixed).
pub(crate) fn text_hash(text: &str) -> u64 {
    let spread = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, spread), 0)
}
