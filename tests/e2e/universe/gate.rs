//! Between a replica and the store: partitions, failures, and operations in the middle of which a
//! replica stands still.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use delivery_exporter::ledger::store::StoreError;
use tokio::sync::watch;

use super::super::luck::mix;

/// How the way to the store is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing reaches it.
    Refused,
    /// Everything reaches it, and no answer comes back.
    Unanswered,
}

/// Where an operation stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Before the store does anything.
    Before,
    /// Once it is done, before the replica knows.
    After,
}

/// What becomes of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Cut(Cut),
    Hang(Stop),
}

#[derive(Default)]
struct State {
    cut: Option<Cut>,
    /// So many of 1,000 operations fail.
    flaky: u64,
    seed: u64,
    /// By account: after so many operations more, where.
    stops: BTreeMap<Arc<str>, (u64, Stop)>,
    /// By account: how many operations there were.
    counts: BTreeMap<Arc<str>, u64>,
}

/// The gate of one replica.
pub struct Gate {
    state: Mutex<State>,
    opened: watch::Sender<u64>,
}

impl Gate {
    /// An open gate; which operations fail on it, where some do, depends on the seed.
    pub fn new(seed: u64) -> Arc<Gate> {
        let state = State {
            seed,
            ..State::default()
        };
        Arc::new(Gate {
            state: Mutex::new(state),
            opened: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the way to the store.
    pub fn cut(&self, cut: Cut) {
        self.state().cut = Some(cut);
    }

    /// Lets so many of 1,000 operations fail, half of them after they were done.
    pub fn make_flaky(&self, per_mille: u64) {
        self.state().flaky = per_mille;
    }

    /// Lets the operation of an account that follows so many others stand still.
    pub fn stop_at(&self, account: &Arc<str>, operation: u64, stop: Stop) {
        self.state()
            .stops
            .insert(account.clone(), (operation, stop));
    }

    /// Whatever stands still goes on, and nothing fails any more.
    pub fn open(&self) {
        let mut state = self.state();
        (state.cut, state.flaky) = (None, 0);
        state.stops.clear();
        drop(state);
        self.opened.send_modify(|times| *times += 1);
    }

    /// An operation of an account comes to the gate. Only transactions stand still.
    pub fn enter(&self, account: &str, transaction: bool) -> Passage<'_> {
        let mut state = self.state();
        let state = &mut *state;
        let account: Arc<str> = account.into();
        let count = state.counts.entry(account.clone()).or_default();
        *count += 1;
        let luck = mix(mix(state.seed, *count), hash(&account));
        let stop = state.stops.get_mut(&account).filter(|_| transaction);
        let verdict = match stop {
            Some((0, stop)) => Verdict::Hang(*stop),
            Some((left, _)) => {
                *left -= 1;
                Verdict::Pass
            }
            None => match state.cut {
                Some(cut) => Verdict::Cut(cut),
                None if luck % 1000 < state.flaky => {
                    let cuts = [Cut::Refused, Cut::Unanswered];
                    Verdict::Cut(cuts[(luck >> 32) as usize % 2])
                }
                None => Verdict::Pass,
            },
        };
        Passage {
            gate: self,
            verdict,
        }
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(7, |all, byte| mix(all, byte.into()))
}

/// One operation on its way.
pub struct Passage<'a> {
    gate: &'a Gate,
    verdict: Verdict,
}

impl Passage<'_> {
    async fn wait(&self) {
        let mut opened = self.gate.opened.subscribe();
        // The gate lives as long as its replica.
        let _ = opened.changed().await;
    }

    /// Before the store does anything.
    pub async fn before(&self) -> Result<(), StoreError> {
        match self.verdict {
            Verdict::Cut(Cut::Refused) => Err(failed()),
            Verdict::Hang(Stop::Before) => {
                self.wait().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Once it is done.
    pub async fn after(&self) -> Result<(), StoreError> {
        match self.verdict {
            Verdict::Cut(Cut::Unanswered) => Err(failed()),
            Verdict::Hang(Stop::After) => {
                self.wait().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn failed() -> StoreError {
    StoreError::Failed("the store cannot be reached".to_owned())
}
