//! What became of a message on the configured test devices: `GET /v4/status/message`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::has_shape;
use crate::{
    model::{AppMetric, AppMetricKind},
    providers::json::{Object, Text},
    secret::Secret,
};

/// The vendor takes 1000 ids; a URL of so many is more than many servers take.
pub(in crate::providers::engagelab) const DEVICES: usize = 200;
/// The status of a device that the vendor answers with an error text.
const ERROR: &str = "error";
/// The status of a device that the answer leaves out.
const UNKNOWN: &str = "unknown";

/// How many devices are in each status.
#[derive(Default)]
pub(in crate::providers::engagelab) struct Tally(BTreeMap<Arc<str>, u64>);

impl Tally {
    /// Counts the devices that were asked for; others in the answer are none of ours. An answer
    /// with others alone is about something else.
    pub(in crate::providers::engagelab) fn take(
        &mut self,
        answer: &Object<'_>,
        asked: &[Secret],
        unknown: &mut dyn FnMut(&str),
    ) -> Result<(), String> {
        if !has_shape(answer, asked.iter().map(Secret::expose)) {
            return Err("no device that was asked for is in the answer".to_owned());
        }
        for device in asked {
            let status = match answer.get(device.expose()) {
                Some(raw) => status(raw, unknown),
                None => Arc::from(UNKNOWN),
            };
            *self.0.entry(status).or_default() += 1;
        }
        Ok(())
    }

    /// Adds what was counted of other devices.
    pub(in crate::providers::engagelab) fn add(&mut self, other: Tally) {
        for (status, count) in other.0 {
            *self.0.entry(status).or_default() += count;
        }
    }

    pub(in crate::providers::engagelab) fn figures(self, message_id: &Arc<str>) -> Vec<AppMetric> {
        let figure = |(status, count): (Arc<str>, u64)| {
            #[expect(clippy::cast_precision_loss, reason = "devices are few")]
            let value = count as f64;
            let message_id = message_id.clone();
            AppMetric {
                kind: AppMetricKind::CanaryDevices { message_id, status },
                value,
            }
        };
        self.0.into_iter().map(figure).collect()
    }
}

/// Either `status` or `error_message`; `error_code` says nothing (it stands beside good ones). What
/// is no object says nothing about the device.
fn status(raw: &RawValue, unknown: &mut dyn FnMut(&str)) -> Arc<str> {
    let Ok(device) = serde_json::from_str::<Option<Object<'_>>>(raw.get()) else {
        // The device is not named.
        unknown("*");
        return Arc::from(UNKNOWN);
    };
    let device = device.unwrap_or_default();
    let text = |name: &str| -> Option<String> {
        let text: Text = serde_json::from_str(device.get(name)?.get()).ok()?;
        text.get().map(str::to_lowercase)
    };
    match (text("status"), text("error_message")) {
        (Some(status), _) => Arc::from(status),
        (None, Some(_)) => Arc::from(ERROR),
        (None, None) => Arc::from(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Object<'_> {
        serde_json::from_str(body).unwrap()
    }

    #[test]
    fn devices_are_counted_by_status_and_strangers_are_left_out() {
        let body = include_str!("../fixtures/lifecycle-example.json");
        let devices = [
            "1507bfd3a7c568d4761",
            "1618cfd3a7c568d4761",
            "17259fd3a7c568d4371",
            "missing",
        ];
        let mut tally = Tally::default();
        let devices = devices.map(Secret::new);
        tally.take(&answer(body), &devices, &mut |_| {}).unwrap();
        let found: Vec<_> = tally
            .0
            .iter()
            .map(|(own, count)| (own.as_ref(), *count))
            .collect();
        assert_eq!(
            found,
            [("error", 1), ("impression", 1), ("plan", 1), ("unknown", 1)]
        );
    }

    #[test]
    fn a_device_that_is_no_object_is_unknown_alone() {
        let devices = ["1507bfd3a7c568d4761", "1618cfd3a7c568d4761"].map(Secret::new);
        let mut fields = Vec::new();
        let mut tally = Tally::default();
        let body = r#"{"1507bfd3a7c568d4761": "sent", "1618cfd3a7c568d4761": {"status": "sent"}}"#;
        let mut note = |field: &str| fields.push(field.to_owned());
        tally.take(&answer(body), &devices, &mut note).unwrap();
        let found: Vec<_> = tally.0.into_iter().collect();
        assert_eq!(found, [(Arc::from("sent"), 1), (Arc::from("unknown"), 1)]);
        assert_eq!(fields, ["*"]);
        for body in [
            r#"{"data": {}}"#,
            r#"{"17259fd3a7c568d4xxx": []}"#,
            r#"{"17259fd3a7c568d4xxx": {"status": "sent"}}"#,
        ] {
            let mut tally = Tally::default();
            assert!(
                tally.take(&answer(body), &devices, &mut |_| {}).is_err(),
                "{body}"
            );
        }
        assert!(
            Tally::default()
                .take(&answer("{}"), &devices, &mut |_| {})
                .is_ok()
        );
    }
}
