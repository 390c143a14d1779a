//! The series of one message alone, for `/probe`.

use std::{sync::Arc, time::Duration};

use delivery_clock::{Clock, Moment};

use super::{
    AccountSeries, Key, Labels, Number, Unprepared, Value, Visitor,
    families::{self, id},
    values::Show,
};
use crate::{
    collector::Recorder,
    config::{Account, Config, PerMessage},
    ledger::Lease,
    model::{Application, Message, Snapshot},
};

/// What the vendor said of one message.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Whose.
    pub application: Application,
    /// Which, with what is known of it.
    pub message: Message,
    /// Its numbers; `None`: the vendor has none, or did not answer.
    pub snapshot: Option<Snapshot>,
    /// How long it took.
    pub lasted: Duration,
}

/// Shows the message's series, and how the probe went.
pub fn show(
    account: &Account,
    config: &Config,
    clock: &Clock,
    probed: &Probed,
    visitor: &mut dyn Visitor,
) {
    let account = Account {
        per_message: PerMessage {
            max_messages: 1,
            min_sent: 0,
            channels: true,
        },
        ..account.clone()
    };
    let lease = Lease::always(clock.clone());
    let unprepared = Arc::new(Unprepared);
    let series = AccountSeries::new(&account, config, lease, clock.clone(), unprepared);
    let now = clock.now();
    if let (Some(snapshot), Some(dataset)) = (&probed.snapshot, account.snapshots()) {
        series.snapshot(
            dataset,
            &probed.application,
            &probed.message,
            now,
            snapshot,
            Moment::MAX,
        );
        series.publish();
    }
    let view = series.view();
    for family in families::ids() {
        if family.family().labels.contains(&"message_id") {
            let mut show = Show::new(visitor, family.family());
            for piece in view.pieces(family) {
                piece.visit(None, &mut |labels, value| show.sample(labels, value));
            }
        }
    }
    let success = Number::Count(probed.snapshot.is_some().into());
    let lasted = Number::Float(probed.lasted.as_secs_f64());
    for (key, number) in [(Key::ProbeSuccess, success), (Key::ProbeDuration, lasted)] {
        let family = id(key).family();
        let labels = Labels::new(family, None, &[]);
        Show::new(visitor, family).sample(labels, &Value::Gauge(number));
    }
}
