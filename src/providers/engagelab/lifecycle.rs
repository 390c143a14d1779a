//! What became of a message on the configured test devices: `GET /v4/status/message`.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;

use super::wire::parse;
use crate::{
    model::{Figure, FigureKind},
    providers::json::{Object, Text},
    secret::Secret,
};

/// The vendor takes 1000 ids; a URL of so many is more than many servers take.
pub(super) const DEVICES: usize = 200;
/// The status of a device that the vendor answers with an error text.
const ERROR: &str = "error";
/// The status of a device that the answer leaves out.
const UNKNOWN: &str = "unknown";

/// How many devices are in each status.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<Arc<str>, u64>);

impl Tally {
    /// Counts the devices that were asked for; others in the answer are none of ours.
    pub(super) fn take(&mut self, body: &[u8], asked: &[Secret]) -> Result<(), String> {
        let answer: Object<'_> = serde_json::from_slice(body)
            .map_err(|error| crate::providers::json::problem(&error))?;
        for device in asked {
            let status = match answer.get(device.expose()) {
                Some(raw) => status(raw)?,
                None => Arc::from(UNKNOWN),
            };
            *self.0.entry(status).or_default() += 1;
        }
        Ok(())
    }

    pub(super) fn figures(self, message_id: &Arc<str>) -> Vec<Figure> {
        let figure = |(status, count): (Arc<str>, u64)| {
            #[expect(clippy::cast_precision_loss, reason = "devices are few")]
            let value = count as f64;
            let message_id = message_id.clone();
            Figure {
                kind: FigureKind::CanaryDevices { message_id, status },
                value,
            }
        };
        self.0.into_iter().map(figure).collect()
    }
}

/// Either `status` or `error_message`; `error_code` says nothing (it stands beside good ones).
fn status(raw: &RawValue) -> Result<Arc<str>, String> {
    // The place is not named: it is a device.
    let device = super::wire::object(raw, "a device")?;
    let text = |name: &str| -> Result<Option<String>, String> {
        let Some(raw) = device.get(name) else {
            return Ok(None);
        };
        let text: Text = parse(raw, name)?;
        Ok(text.get().map(str::to_lowercase))
    };
    if let Some(status) = text("status")? {
        return Ok(Arc::from(status));
    }
    let failed = text("error_message")?.is_some();
    Ok(Arc::from(if failed { ERROR } else { UNKNOWN }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_counted_by_status_and_strangers_are_left_out() {
        let body = br#"{
            "1507bfd3a7c568d4761": {"status": "plan"},
            "1618cfd3a7c568d4761": {"error_message": "The `registration_id` does not belong to the appkey"},
            "17259fd3a7c568d4371": {"status": "Impression", "error_code": 1},
            "17259fd3a7c568d4xxx": {"error_message": "regid illegal"}}"#;
        let devices = [
            "1507bfd3a7c568d4761",
            "1618cfd3a7c568d4761",
            "17259fd3a7c568d4371",
            "missing",
        ];
        let mut tally = Tally::default();
        tally.take(body, &devices.map(Secret::new)).unwrap();
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
}
