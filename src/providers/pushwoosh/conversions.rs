//! Conversions of a message, and its history by the hour (`totalsByIntervals`).

use std::time::Duration;

use serde_json::json;

use super::{
    Endpoint, Pushwoosh,
    errors::{is_refusal, refusal_reason},
    vendor,
    wire::{answer::Answer, conversions::conversions, metrics},
};
use crate::{
    model::Message,
    providers::{Failure, FailureKind, HistoryIncrease, Observation, Refusal},
};

const TOTALS: Endpoint = Endpoint {
    path: "/api/v2/statistics/messages/totalsByIntervals",
    word: "Api",
    fields: &["metrics", "conversion"],
};

impl Pushwoosh {
    /// The conversions of one message.
    pub(super) async fn conversions(
        &self,
        message: &Message,
        patience: Duration,
    ) -> Result<Observation, Failure> {
        let asked = message.id.clone();
        let body = json!({"message_code": &*self.spellings.of(&message.id)});
        let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
            let conversion = answer.field("conversion");
            let figures = conversion.map(|raw| conversions(raw.get(), message, unknown));
            Ok(figures.transpose()?.unwrap_or_default())
        };
        match self
            .post(vendor::INTERVALS, &TOTALS, &body, patience, read)
            .await
        {
            Ok((figures, _)) => {
                let asked = Some(asked);
                Ok(Observation::Figures {
                    asked,
                    part: "",
                    figures,
                })
            }
            // A message that has not been sent, or that has no code.
            Err(failure) if failure.kind == FailureKind::NotFound => {
                let asked_at = self.http.clock().now();
                Ok(Observation::NotYetAvailable { asked, asked_at })
            }
            Err(failure) if is_refusal(&failure) => Ok(Observation::MessageRejected {
                asked,
                reason: refusal_reason(&failure),
                then: Refusal::UnlessNew,
            }),
            Err(failure) => Err(failure),
        }
    }

    /// What came to the numbers of one message, hour by hour; the current hour's still grow.
    pub(super) async fn hours(
        &self,
        message: &Message,
        patience: Duration,
    ) -> Result<Vec<HistoryIncrease>, Failure> {
        let body = json!({"message_code": &*self.spellings.of(&message.id)});
        let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
            metrics::hours(&answer.list("metrics")?, unknown)
        };
        let asked = self.post(vendor::MESSAGES, &TOTALS, &body, patience, read);
        match asked.await {
            Ok((hours, _)) => Ok(hours),
            // A message that has not been sent, or that has no code.
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }
}
