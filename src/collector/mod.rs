//! When to ask for what: a queue of due times per message and data set, and the loop that works
//! it off for each account by itself.
//!
//! This room knows neither a vendor's JSON nor a metric's name. What it finds out goes through its
//! door on the right, [`Recorder`].

mod recorder;

pub use recorder::{DatasetOutcome, PassOutcome, Recorder, Source};
