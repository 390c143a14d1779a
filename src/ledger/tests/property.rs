//! Any sequence of answers, repeats, failures and starts against [`super::model`].

mod rig;
mod steps;

use proptest::prelude::*;

use super::{faulty::Fault, *};
use rig::*;
use steps::*;

async fn run(case: &Case) {
    let mut rig = Rig::new(case);
    rig.start(&[], None).await;
    rig.settle(None).await;
    for (step, fault) in &case.steps {
        rig.step(step, *fault).await;
        let later = matches!(step, Step::Wait(_)).then_some(*fault).flatten();
        rig.settle(later).await;
    }
    rig.hand.advance(Duration::from_secs(121));
    rig.settle(None).await;
    for side in &rig.sides {
        for counted in side.model.counters.values() {
            assert_eq!(counted.shown, counted.total);
        }
    }
    rig.stored().await;
}

/// The first hand-over of an answer was stored, and nobody was told: the second one knows from the
/// end of the answer when the message was sent, and closes the window that the first left open.
#[tokio::test]
async fn an_answer_that_is_handed_over_twice_can_close_a_window() {
    let numbers = Numbers {
        totals: vec![(0, vec![Some(3), Some(2)])],
        rows: Vec::new(),
        types: Vec::new(),
    };
    let asked = |numbers: Option<&Numbers>, sent_at| Asked {
        message: 0,
        numbers: numbers.cloned(),
        ago: 0,
        campaign: 0,
        sent_at,
        vendor: false,
    };
    let first = Step::Answer(vec![asked(Some(&numbers), false)]);
    let both = Step::Answer(vec![asked(Some(&numbers), false), asked(None, true)]);
    run(&Case {
        zero_hold: "0s",
        adopt_age: "1h",
        sent: vec![-10; MESSAGES.len()],
        steps: vec![
            (first, None),
            (Step::Wait(500), None),
            (both, Some(Fault::Unanswered)),
            (Step::Start(Vec::new(), 0), None),
        ],
    })
    .await;
}

/// Nothing is counted for two days, and the process started on the first of them: its clock was right then.
#[tokio::test]
async fn an_idle_account_forgets_its_campaigns() {
    let numbers = Numbers {
        totals: vec![(0, vec![Some(0)])],
        rows: Vec::new(),
        types: Vec::new(),
    };
    let asked = Asked {
        message: 3,
        numbers: Some(numbers),
        ago: 0,
        campaign: 1,
        sent_at: false,
        vendor: false,
    };
    run(&Case {
        zero_hold: "0s",
        adopt_age: "0s",
        sent: vec![-3602; MESSAGES.len()],
        steps: vec![
            (Step::Answer(vec![asked]), None),
            (Step::Wait(86_328), None),
            (Step::Start(Vec::new(), 190), None),
            (Step::Wait(86_103), None),
            (Step::Forgotten(3), None),
            (Step::Wait(180), None),
        ],
    })
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn every_counter_is_what_a_plain_model_says(case in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&case));
    }
}
