//! Infobip push statistics: `GET /push/1/statistics`, one bulk a request.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Access,
    errors::{self, Class, VendorError},
};
use crate::{
    model::{ErrorReason, Measure, Message, Snapshot, Totals},
    providers::{
        Answer, Checkup, CheckupQuery, Failure, MessagesQuery, Observation, Provider,
        ProviderOptions, Refusal,
        decode::decode,
        encode::percent_encode,
        http::{Http, HttpAnswer, Verdict},
        json::{Count, Object, counts},
        verdict::undecodable,
    },
};

/// The documented fields: an answer without any of them is no answer.
const FIELDS: [&str; 5] = ["totalSent", "delivered", "seen", "errors", "delivery"];

/// Infobip's push statistics of one account.
pub(crate) struct InfobipPush {
    pub(super) http: Http,
    pub(super) access: Access,
}

impl InfobipPush {
    pub(crate) fn new(http: Http, options: &ProviderOptions) -> InfobipPush {
        InfobipPush {
            http,
            access: Access::new(&options.credentials),
        }
    }

    pub(super) async fn statistics(
        &self,
        query: &MessagesQuery<'_>,
        message: &Message,
    ) -> Result<Observation, Failure> {
        let (dataset, patience) = (query.dataset, query.patience);
        let path = format!(
            "/push/1/statistics?bulkId={}&applicationCode={}",
            percent_encode(&message.id),
            percent_encode(&query.application.id)
        );
        let judge = |answer: &HttpAnswer| {
            let error = errors::read(&answer.body);
            if !answer.status.is_success() {
                let status = answer.status.as_u16();
                return match error {
                    Some(error) => self.failed(answer, &error),
                    // Nothing is said about anything but the bulk that was asked for.
                    None if matches!(status, 404 | 410) && answer.body.trim_ascii().is_empty() => {
                        Verdict::Done(Answered::Refused(Arc::from("not_found")))
                    }
                    None => self.access.refused(answer),
                };
            }
            if let Some(error) = error.as_ref().filter(|error| error.documented) {
                return self.failed(answer, error);
            }
            let mut fields = Vec::new();
            let read = Statistics::read(&answer.body, &mut |field| fields.push(field.to_owned()));
            let read = read.map(|read| read.filter(|own| !own.says_nothing()));
            let error = error.or_else(|| match &read {
                Ok(None) => errors::in_place_of_counts(&answer.body),
                _ => None,
            });
            match (read, error) {
                (Ok(Some(statistics)), _) => {
                    for field in &fields {
                        self.http.observer().unknown_field(dataset, field);
                    }
                    Verdict::Done(Answered::Statistics(statistics))
                }
                (_, Some(error)) => self.failed(answer, &error),
                (Ok(None), None) => {
                    let problem = "the answer has none of the documented numbers";
                    Verdict::Fail(undecodable(answer, problem))
                }
                (Err(problem), None) => Verdict::Fail(undecodable(answer, &problem)),
            }
        };
        let (answered, asked_at) = self
            .http
            .call(
                dataset,
                patience,
                || self.access.get(path.clone()),
                judge,
                || self.access.refresh(),
            )
            .await?;
        let asked = message.id.clone();
        let statistics = match answered {
            Answered::Statistics(statistics) => statistics,
            Answered::Refused(reason) => {
                return Ok(Observation::MessageRejected {
                    asked,
                    reason,
                    // It may not be known everywhere at the vendor yet.
                    then: Refusal::UnlessNew,
                });
            }
        };
        Ok(match statistics.totals() {
            Ok(totals) => Observation::MessageSnapshot(Box::new(Snapshot {
                asked: asked.clone(),
                id: asked,
                campaign: None,
                sent_at: None,
                asked_at,
                totals: vec![totals],
                breakdown: Vec::new(),
                types: Vec::new(),
            })),
            Err(problem) => Observation::MessageFailed {
                asked,
                failure: Failure::bad_count(&problem),
            },
        })
    }
}

impl InfobipPush {
    /// The verdict on an error in one of the vendor's shapes. That a bulk is not known, or not taken,
    /// concerns that bulk alone; a page or an empty answer with the same status would not say so.
    fn failed(&self, answer: &HttpAnswer, error: &VendorError) -> Verdict<Answered> {
        let status = answer.status.as_u16();
        match error.class(status) {
            Class::NotFound | Class::BadRequest => {
                let reason = error.code.as_deref().unwrap_or("not_found");
                Verdict::Done(Answered::Refused(Arc::from(reason)))
            }
            _ => self.access.failed(status, error),
        }
    }
}

/// What the vendor said about a bulk.
enum Answered {
    Statistics(Statistics),
    /// It does not know the bulk or does not take it, with the vendor's code.
    Refused(Arc<str>),
}

impl Provider for InfobipPush {
    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        async move {
            Answer::one_by_one(query.messages, |message| self.statistics(&query, message)).await
        }
        .boxed()
    }

    fn check_up<'a>(&'a self, query: CheckupQuery<'a>) -> BoxFuture<'a, Checkup> {
        self.questions(query).boxed()
    }
}

/// The answer, as the vendor documents it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire<'a> {
    total_sent: Count,
    delivered: Count,
    seen: Count,
    #[serde(borrow)]
    errors: Option<&'a RawValue>,
    #[serde(borrow)]
    delivery: Option<&'a RawValue>,
}

/// The numbers of an answer.
#[derive(Debug, Default)]
struct Statistics {
    total_sent: Count,
    delivered: Count,
    seen: Count,
    errors: Errors,
    delivery: Delivery,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Errors {
    registration: Count,
    expired: Count,
    cloud: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delivery {
    /// Delivered / sent in percent, 0 to 100.
    rate: Rate,
}

/// A number that may come as text; anything else (`null`, `"NaN"`) is none.
#[derive(Debug, Default)]
struct Rate(Option<f64>);

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        let text = crate::providers::json::Text::deserialize(deserializer)?;
        let number = text.get().and_then(|text| text.trim().parse::<f64>().ok());
        Ok(Rate(number.filter(|rate| rate.is_finite() && *rate >= 0.0)))
    }
}

/// A part of the answer that is an object. One of another shape says nothing that could be
/// understood, and the others' numbers are taken all the same.
fn part<'a, T: Deserialize<'a> + Default>(
    raw: Option<&'a RawValue>,
    name: &str,
    unknown: &mut dyn FnMut(&str),
) -> T {
    let Some(text) = raw.map(RawValue::get).filter(|text| *text != "null") else {
        return T::default();
    };
    let mut inside = Vec::new();
    let read = decode(text.as_bytes(), &mut |field| {
        inside.push(format!("{name}.{field}"))
    });
    match read {
        Ok(value) => {
            inside.iter().for_each(|field| unknown(field));
            value
        }
        Err(_) => {
            unknown(name);
            T::default()
        }
    }
}

impl Statistics {
    /// The numbers of an answer; `None`: it has none of the documented fields.
    fn read(body: &[u8], unknown: &mut dyn FnMut(&str)) -> Result<Option<Statistics>, String> {
        let wire: Wire<'_> = decode(body, unknown)?;
        let names: Object<'_> = serde_json::from_slice(body).unwrap_or_default();
        if !FIELDS.iter().any(|field| names.contains_key(*field)) {
            return Ok(None);
        }
        Ok(Some(Statistics {
            errors: part(wire.errors, "errors", unknown),
            delivery: part(wire.delivery, "delivery", unknown),
            total_sent: wire.total_sent,
            delivered: wire.delivered,
            seen: wire.seen,
        }))
    }

    /// Whether no documented number is there: then it is no answer. A number that cannot be counted
    /// is one.
    fn says_nothing(&self) -> bool {
        let totals = self.totals();
        totals.is_ok_and(|own| own.counts.is_empty() && own.reported_ratio.is_none())
    }

    fn totals(&self) -> Result<Totals, String> {
        let errors = &self.errors;
        let counts = counts(&[
            (Measure::Sent, "totalSent", &self.total_sent),
            (Measure::Delivered, "delivered", &self.delivered),
            (Measure::Displayed, "seen", &self.seen),
            (
                Measure::Errors(ErrorReason::Registration),
                "errors.registration",
                &errors.registration,
            ),
            (
                Measure::Errors(ErrorReason::Expired),
                "errors.expired",
                &errors.expired,
            ),
            (
                Measure::Errors(ErrorReason::Cloud),
                "errors.cloud",
                &errors.cloud,
            ),
        ])?;
        let reported_ratio = self.delivery.rate.0.map(|percent| percent / 100.0);
        Ok(Totals {
            channel: "push",
            counts,
            reported_ratio,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(json: &str) -> Result<Totals, String> {
        let read = Statistics::read(json.as_bytes(), &mut |_| {});
        read.unwrap().unwrap().totals()
    }

    const EXAMPLE: &str = r#"{"totalSent": 31569, "delivered": 29568, "seen": 25632,
        "errors": {"registration": 1654, "expired": 301, "cloud": 46}, "delivery": {"rate": 93.66}}"#;

    #[test]
    fn every_declared_field_is_read_as_its_measure() {
        for field in super::super::vendor::PUSH.channels[0].fields {
            let json = match field.name.split_once('.') {
                Some((outer, inner)) => format!(r#"{{"{outer}": {{"{inner}": 7}}}}"#),
                None => format!(r#"{{"{}": 7}}"#, field.name),
            };
            assert_eq!(
                totals(&json).unwrap().counts,
                [(field.measure, 7)],
                "{json}"
            );
        }
    }

    #[test]
    fn the_vendors_example_is_read_whole() {
        let totals = totals(EXAMPLE).unwrap();
        assert_eq!(
            totals.counts,
            [
                (Measure::Sent, 31569),
                (Measure::Delivered, 29568),
                (Measure::Displayed, 25632),
                (Measure::Errors(ErrorReason::Registration), 1654),
                (Measure::Errors(ErrorReason::Expired), 301),
                (Measure::Errors(ErrorReason::Cloud), 46),
            ]
        );
        assert_eq!(totals.reported_ratio, Some(0.9366));
    }

    #[test]
    fn what_is_missing_or_null_is_absent() {
        for rate in ["null", "\"NaN\"", "{}"] {
            let json =
                format!(r#"{{"totalSent": 0, "errors": null, "delivery": {{"rate": {rate}}}}}"#);
            let totals = totals(&json).unwrap();
            assert_eq!((totals.counts.len(), totals.reported_ratio), (1, None));
        }
        assert_eq!(
            totals(r#"{"delivery": {"rate": 0}}"#)
                .unwrap()
                .reported_ratio,
            Some(0.0)
        );
        assert_eq!(totals(r#"{"errors": null}"#).unwrap().counts, []);
    }

    #[test]
    fn new_fields_are_noted_and_bad_counts_refused() {
        let mut fields = Vec::new();
        let json = r#"{"totalSent": "5", "errors": {"quota": 1}, "x": {"y": 1}}"#;
        Statistics::read(json.as_bytes(), &mut |field| fields.push(field.to_owned())).unwrap();
        fields.sort();
        assert_eq!(fields, ["errors.quota", "x"]);
        assert!(
            totals(r#"{"totalSent": -5}"#)
                .unwrap_err()
                .contains("totalSent")
        );
    }

    #[test]
    fn an_answer_has_a_documented_field() {
        for json in ["{}", r#"{"x": 1}"#, r#"{"total_sent": 5}"#] {
            let read = Statistics::read(json.as_bytes(), &mut |_| {}).unwrap();
            assert!(read.is_none(), "{json}");
        }
        for json in ["[5, 4, 3]", "null", "7", "<html>", ""] {
            let read = Statistics::read(json.as_bytes(), &mut |_| {});
            assert!(!matches!(read, Ok(Some(_))), "{json}");
        }
    }

    #[test]
    fn a_part_of_another_shape_costs_the_others_nothing_and_is_noted() {
        for part in [
            "[1654, 301, 46]",
            "7",
            "\"none\"",
            "true",
            "[{\"rate\": 5}]",
        ] {
            let json = format!(r#"{{"totalSent": 9, "errors": {part}, "delivery": {part}}}"#);
            let mut fields = Vec::new();
            let unknown = &mut |field: &str| fields.push(field.to_owned());
            let read = Statistics::read(json.as_bytes(), unknown).unwrap().unwrap();
            let totals = read.totals().unwrap();
            assert_eq!(totals.counts, [(Measure::Sent, 9)], "{part}");
            assert_eq!(totals.reported_ratio, None, "{part}");
            assert_eq!(fields, ["errors", "delivery"], "{part}");
        }
    }
}
