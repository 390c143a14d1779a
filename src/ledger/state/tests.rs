use std::time::Duration;

use super::*;
use crate::{
    catalog,
    ledger::{
        LedgerDelta,
        names::LabelLimiter,
        samples::measured,
        store::{CounterRow, ReleaseRow, WriteSet},
    },
    model::Measure,
};

/// When the transactions of these tests are, in milliseconds since 1970.
const NOW: i64 = 1_790_000_000_000;

fn key(campaign: &str) -> CounterKey {
    let family = catalog::TOTAL_BY_CAMPAIGN;
    measured(family, Measure::Sent, &["push", campaign]).of("app")
}

fn moment(seconds: u64) -> Moment {
    Moment::default() + Duration::from_secs(seconds)
}

/// Makes a transaction true: its rows, and what it means for what is shown.
fn change(
    state: &mut AccountState,
    hold: Hold,
    decide: impl FnOnce(&mut StateTransaction<'_>),
) -> (WriteSet, LedgerDelta) {
    let names = Arc::new(LabelLimiter::unlimited());
    let mut transaction = StateTransaction {
        account_state: state,
        names: &names,
        channels: &[],
        ages: &[],
        now: NOW,
        settled: NOW,
        hold,
        changes: StateChanges::default(),
        states: HashMap::new(),
    };
    decide(&mut transaction);
    let writes = transaction.write_set();
    let delta = transaction.changes.apply(state, &names);
    (writes, delta)
}

fn add(state: &mut AccountState, hold: Hold, count: u64) -> (WriteSet, LedgerDelta) {
    change(state, hold, |transaction| {
        transaction.add(key("x"), &Amount::Count(count));
    })
}

fn shown_of(delta: &LedgerDelta) -> Vec<u64> {
    delta.shown.iter().map(|own| own.amount.things()).collect()
}

fn counter(campaign: &str, total: u64, pending: u64) -> CounterRow {
    CounterRow {
        key: key(campaign).to_text(),
        total: Amount::Count(total),
        pending: Amount::Count(pending),
        changed_at: NOW,
    }
}

fn release(campaign: &str, shown: u64) -> ReleaseRow {
    ReleaseRow {
        key: key(campaign).to_text(),
        shown: Amount::Count(shown),
        born_at: NOW,
    }
}

#[test]
fn what_is_counted_under_a_hold_is_shown_with_its_release() {
    let mut state = AccountState::default();
    let hold = Hold::Until(moment(120));
    let (writes, delta) = add(&mut state, hold, 3);
    assert_eq!(writes.counters, [counter("x", 3, 3)]);
    assert_eq!(writes.releases, [release("x", 0)]);
    assert_eq!(
        (shown_of(&delta), delta.born, delta.held),
        (vec![0], true, Some(3))
    );
    assert_eq!(state.next_release, Some(moment(120)));

    // A later hold is that of counters that come later.
    let (writes, delta) = add(&mut state, Hold::Until(moment(500)), 2);
    assert_eq!(writes.counters, [counter("x", 5, 5)]);
    assert_eq!(writes.releases, []);
    assert_eq!(
        (shown_of(&delta), delta.born, delta.held),
        (vec![], false, Some(5))
    );
    assert_eq!(state.next_release, Some(moment(120)));

    let (writes, delta) = change(&mut state, hold, |transaction| {
        transaction.release(&key("x"))
    });
    assert_eq!(writes.counters, [counter("x", 5, 0)]);
    assert_eq!(writes.releases, [release("x", 5)]);
    assert_eq!((shown_of(&delta), delta.held), (vec![5], Some(0)));
    assert_eq!(state.next_release, None);

    // From now on it is shown as it is counted.
    let (writes, delta) = add(&mut state, hold, 1);
    assert_eq!(writes.counters, [counter("x", 6, 0)]);
    assert_eq!((shown_of(&delta), delta.held), (vec![6], Some(0)));
    let (writes, delta) = add(&mut state, hold, 0);
    assert!(writes.is_empty() && delta.shown.is_empty());
}

#[test]
fn a_hold_of_the_process_does_not_end() {
    let mut state = AccountState::default();
    add(&mut state, Hold::Process, 3);
    let (_, delta) = add(&mut state, Hold::Process, 4);
    assert_eq!((shown_of(&delta), delta.held), (vec![], Some(7)));
    assert_eq!(
        (state.next_release, state.shown()[0].amount.things()),
        (None, 0)
    );
}

#[test]
fn counters_that_are_loaded_again_keep_their_holds_and_those_that_are_gone_are_told() {
    let mut state = AccountState::default();
    let before = [Hold::Open, Hold::Until(moment(9))];
    for (campaign, hold) in ["gone", "kept"].into_iter().zip(before) {
        change(&mut state, hold, |transaction| {
            transaction.add(key(campaign), &Amount::Count(1));
        });
    }
    let rows = AccountRows {
        counters: vec![
            counter("new", 8, 2),
            counter("kept", 4, 3),
            counter("shown", 5, 0),
        ],
        releases: vec![release("shown", 5), release("kept", 1)],
        ..AccountRows::default()
    };
    let hold = |shown_before| match shown_before {
        true => Hold::Open,
        false => Hold::Until(moment(30)),
    };
    state.load(rows, hold, NOW + 7).unwrap();
    let found = |campaign: &str| {
        let own = &state.counters[&key(campaign)];
        (own.hold, own.shown.things(), own.stored, own.born_at)
    };
    assert_eq!(found("kept"), (before[1], 1, true, NOW));
    assert_eq!(found("shown"), (Hold::Open, 5, true, NOW));
    // This replica has not shown it: it begins now, at 0.
    assert_eq!(found("new"), (Hold::Until(moment(30)), 0, false, NOW + 7));
    assert_eq!(state.gone, [key("gone")]);
    assert_eq!((state.held, state.next_release), (5, Some(moment(9))));

    let rows = AccountRows {
        counters: vec![CounterRow {
            key: "a later version's".into(),
            ..counter("x", 1, 0)
        }],
        ..AccountRows::default()
    };
    assert!(state.load(rows, hold, NOW).is_err());
}
