//! A mood that is being acted out, and what was done.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::Mood;
use crate::traffic::mix;

/// The mood of one account, and what the account has done. Clones are one.
#[derive(Clone, Default)]
pub struct Acting(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    mood: Mood,
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

    /// Changes the mood.
    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
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

    /// A request for `target` came to `endpoint`: the source of its chance.
    pub(crate) fn request(&self, endpoint: &str, target: &str) -> Chance {
        let mut state = self.lock();
        *state.requests.entry(endpoint.to_owned()).or_default() += 1;
        let what = mix(text_hash(endpoint), text_hash(target));
        let asked = state.asked.entry(what).or_default();
        *asked += 1;
        let number = *asked;
        Chance {
            seed: mix(mix(state.mood.seed, what), number),
            number,
        }
    }
}

/// The chance of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    seed: u64,
    /// How many times the same was asked for, with this time.
    pub number: u64,
}

impl Chance {
    /// A number for one purpose.
    pub(crate) fn luck(self, purpose: &str) -> u64 {
        mix(self.seed, text_hash(purpose))
    }

    /// True in so many of 1,000 requests.
    pub(crate) fn happens(self, purpose: &str, per_mille: u32) -> bool {
        self.luck(purpose) % 1000 < u64::from(per_mille)
    }
}

/// A number that is the same whenever it is asked for (FNV-1a, mixed).
pub(crate) fn text_hash(text: &str) -> u64 {
    let spread = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, spread), 0)
}
