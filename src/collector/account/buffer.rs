//! What one query brings, until all of it is there: bounded also where a vendor's list does not end.

use std::{cmp::Reverse, collections::HashSet, sync::Arc};

use jiff::Timestamp;

use crate::providers::Observation;

/// The observations of one query.
pub(super) struct Buffer {
    max_messages: usize,
    observations: Vec<Observation>,
    /// How many of them list a message.
    listed: usize,
    given_up: usize,
}

impl Buffer {
    /// For an account that may watch so many messages.
    pub(super) fn new(max_messages: usize) -> Buffer {
        Buffer {
            max_messages,
            observations: Vec::new(),
            listed: 0,
            given_up: 0,
        }
    }

    /// Takes an observation. Of a list that has more than twice as many messages as may be watched,
    /// only the newest stay.
    pub(super) fn push(&mut self, observation: Observation) {
        self.listed += usize::from(matches!(observation, Observation::Listed(_)));
        self.observations.push(observation);
        if self.listed > self.max_messages.saturating_mul(2) {
            self.keep_newest();
        }
    }

    /// What is left, and how many messages are not in it.
    pub(super) fn finish(self) -> (Vec<Observation>, usize) {
        (self.observations, self.given_up)
    }

    fn keep_newest(&mut self) {
        let mut listed: Vec<(Reverse<Timestamp>, Arc<str>)> = self
            .observations
            .iter()
            .filter_map(|observation| match observation {
                Observation::Listed(message) => {
                    let sent_at = message.sent_at.unwrap_or(Timestamp::MAX);
                    Some((Reverse(sent_at), message.id.clone()))
                }
                _ => None,
            })
            .collect();
        if self.max_messages < listed.len() {
            listed.select_nth_unstable(self.max_messages);
        }
        listed.truncate(self.max_messages);
        let kept: HashSet<Arc<str>> = listed.into_iter().map(|(_, id)| id).collect();
        self.observations.retain(|observation| match observation {
            Observation::Listed(message) => kept.contains(&message.id),
            Observation::Snapshot(snapshot) => {
                kept.contains(&snapshot.id) || kept.contains(&snapshot.asked)
            }
            Observation::Named { id, .. } => kept.contains(id),
            _ => true,
        });
        let before = self.listed;
        self.listed = self
            .observations
            .iter()
            .filter(|observation| matches!(observation, Observation::Listed(_)))
            .count();
        self.given_up += before - self.listed;
    }
}
