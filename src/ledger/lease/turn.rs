//! Decides what a process does after it has renewed its leases.

use std::{sync::Arc, time::Duration};

use crate::ledger::store::Renewal;

/// The delay between the expiry of another process's lease and the next renewal.
const AFTER_EXPIRY: Duration = Duration::from_millis(50);

/// What to do, and when to renew again.
#[derive(Debug, PartialEq)]
pub(super) struct Turn {
    /// Free accounts that this process takes over.
    pub(super) take: Vec<Arc<str>>,
    /// An account beyond the fair share, with its epoch, to release to a replica with fewer accounts. One at
    /// a time.
    pub(super) give: Option<(Arc<str>, i64)>,
    pub(super) pause: Duration,
}

impl Turn {
    /// Decides for leases of this length. A process that is `alone` takes all free accounts.
    pub(super) fn after(renewal: Renewal, length: Duration, alone: bool) -> Turn {
        let share = if alone { usize::MAX } else { renewal.share };
        let room = share.saturating_sub(renewal.held.len());
        let third = length / 3;
        let pause = match renewal.next_expiry {
            Some(next) if room > 0 => third.min(next + AFTER_EXPIRY),
            _ => third,
        };
        let has_more = renewal.held.len() > share;
        Turn {
            take: renewal.free.into_iter().take(room).collect(),
            give: renewal.held.into_iter().next_back().filter(|_| has_more),
            pause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(9);
    const THIRD: Duration = Duration::from_secs(3);

    fn renewal(held: &[&str], free: &[&str], share: usize) -> Renewal {
        let account = |own: &&str| Arc::from(*own);
        Renewal {
            held: held.iter().map(|own| (account(own), 4)).collect(),
            free: free.iter().map(account).collect(),
            share,
            next_expiry: None,
        }
    }

    fn taken(turn: &Turn) -> Vec<&str> {
        turn.take.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn a_process_takes_free_accounts_up_to_its_share() {
        for (held, taken_now) in [
            (&[][..], &["c", "d"][..]),
            (&["a"], &["c"]),
            (&["a", "b"], &[]),
        ] {
            let turn = Turn::after(renewal(held, &["c", "d", "e"], 2), LENGTH, false);
            assert_eq!(taken(&turn), taken_now, "{held:?}");
            assert_eq!((turn.give, turn.pause), (None, THIRD));
        }
        let turn = Turn::after(renewal(&["a"], &["c", "d", "e"], 1), LENGTH, true);
        assert_eq!(taken(&turn), ["c", "d", "e"], "it shares with nobody");
    }

    #[test]
    fn of_more_than_its_share_a_process_gives_one_account_at_a_time() {
        let more = || renewal(&["a", "b", "c"], &["d"], 1);
        let turn = Turn::after(more(), LENGTH, false);
        assert_eq!(
            (taken(&turn), turn.give.clone()),
            (vec![], Some((Arc::from("c"), 4)))
        );
        assert_eq!(Turn::after(more(), LENGTH, true).give, None);
    }

    #[test]
    fn a_process_with_room_looks_again_when_a_lease_of_another_is_over() {
        let pause = |held: &[&str], expiry| {
            let renewal = Renewal {
                next_expiry: Some(expiry),
                ..renewal(held, &[], 1)
            };
            Turn::after(renewal, LENGTH, false).pause
        };
        let second = Duration::from_secs(1);
        assert_eq!(pause(&[], second), second + AFTER_EXPIRY);
        assert_eq!(pause(&[], LENGTH), THIRD, "its own leases are renewed");
        assert_eq!(pause(&["a"], second), THIRD, "it has its share");
    }
}
