//! The series of a single message, for `/probe`.

use std::{sync::Arc, time::Duration};

use delivery_clock::{Clock, Moment};

use super::{AccountSeries, Labels, Number, Unprepared, Value, Visitor, values::Show};
use crate::{
    catalog::{self, Origin},
    collector::Recorder,
    config::{Account, Config, PerMessage},
    ledger::Lease,
    model::{Application, Counts, Measure, Message, Row, Snapshot, Totals, TypeTotals},
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

impl Probed {
    /// About how much memory it takes, in bytes.
    pub fn size(&self) -> usize {
        let mut bytes = size_of::<Probed>();
        let Some(snapshot) = &self.snapshot else {
            return bytes;
        };
        for own in &snapshot.totals {
            bytes += size_of::<Totals>() + of_counts(&own.counts);
        }
        for own in &snapshot.breakdown {
            let texts = [&own.message_type, &own.platform, &own.vendor_channel];
            let texts: usize = texts.into_iter().map(|text| TEXT + text.len()).sum();
            bytes += size_of::<Row>() + of_counts(&own.counts) + texts;
        }
        for own in &snapshot.types {
            let text = TEXT + own.message_type.len();
            bytes += size_of::<TypeTotals>() + of_counts(&own.counts) + text;
        }
        let campaign = snapshot.campaign.as_ref();
        let texts = [Some(&snapshot.asked), Some(&snapshot.id), campaign];
        let texts = texts.into_iter().flatten();
        bytes + texts.map(|text| TEXT + text.len()).sum::<usize>()
    }
}

/// The memory of a shared text besides its bytes.
const TEXT: usize = 16;

fn of_counts(counts: &Counts) -> usize {
    counts.capacity() * size_of::<(Measure, u64)>()
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
