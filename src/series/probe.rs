//! The series of a single message, for `/probe`.

use std::{sync::Arc, time::Duration};

use delivery_clock::{Clock, Moment};

use super::{AccountSeries, Labels, Number, Unprepared, Value, Visitor, values::Show};
use crate::{
    catalog::{self, Origin},
    collector::Recorder,
    config::{Account, Config, PerMessage},
    ledger::Lease,
    model::{Application, Message, Snapshot},
};

/// The result of querying one message.
#[derive(Clone, Debug)]
pub struct Probed {
    /// The message's application.
    pub application: Application,
    /// The message.
    pub message: Message,
    /// Its counts; `None` if the vendor has none or did not answer.
    pub snapshot: Option<Snapshot>,
    /// The duration of the query.
    pub lasted: Duration,
}

/// Writes the message's series and the outcome of the probe.
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
    for family in catalog::families() {
        if family.has(Origin::Message) {
            let mut show = Show::new(visitor, family);
            for segment in view.segments(family) {
                segment.visit(None, &mut |labels, value| show.sample(labels, value));
            }
        }
    }
    let success = Number::Count(probed.snapshot.is_some().into());
    let lasted = Number::Float(probed.lasted.as_secs_f64());
    for (family, number) in [
        (catalog::PROBE_SUCCESS, success),
        (catalog::PROBE_DURATION, lasted),
    ] {
        let labels = Labels::new(family.family(), None, &[]);
        Show::new(visitor, family).sample(labels, &Value::Gauge(number));
    }
}
