//! Infobip push statistics: `GET /push/1/statistics`, one bulk a request.

use delivery_clock::Moment;
use futures_util::{FutureExt, future::BoxFuture};
use serde::Deserialize;

use super::Access;
use crate::{
    config,
    model::{Application, Dataset, ErrorReason, Measure, Message, Snapshot, Totals},
    providers::{
        Failure, Observation, Plan, Provider, Query,
        decode::decode,
        encode::percent_encode,
        http::{Answer, Http, Verdict},
        json::{Count, counts},
        verdict::undecodable,
    },
};

/// Infobip's push statistics of one account.
pub(crate) struct InfobipPush {
    http: Http,
    access: Access,
}

impl InfobipPush {
    pub(crate) fn new(http: Http, account: &config::Account) -> InfobipPush {
        InfobipPush {
            http,
            access: Access::new(&account.credentials),
        }
    }

    async fn statistics(
        &self,
        dataset: Dataset,
        application: &Application,
        message: &Message,
        deadline: Moment,
    ) -> Result<Observation, Failure> {
        let path = format!(
            "/push/1/statistics?bulkId={}&applicationCode={}",
            percent_encode(&message.id),
            percent_encode(&application.id)
        );
        let judge = |answer: &Answer| {
            if !answer.status.is_success() {
                return self.access.refused(answer);
            }
            let unknown = &mut |field: &str| self.http.observer().unknown_field(dataset, field);
            match decode::<Statistics>(&answer.body, unknown) {
                Ok(statistics) => Verdict::Done(statistics),
                Err(problem) => Verdict::Fail(undecodable(answer, &problem)),
            }
        };
        let (statistics, asked_at) = self
            .http
            .call(
                dataset,
                deadline,
                || self.access.get(path.clone()),
                judge,
                || self.access.refresh(),
            )
            .await?;
        let asked = message.id.clone();
        Ok(match statistics.totals() {
            Ok(totals) if totals.counts.is_empty() && totals.reported_ratio.is_none() => {
                Observation::NotYet { asked, asked_at }
            }
            Ok(totals) => Observation::Snapshot(Box::new(Snapshot {
                asked: asked.clone(),
                id: asked,
                campaign: None,
                sent_at: None,
                asked_at,
                totals: vec![totals],
                breakdown: Vec::new(),
                types: Vec::new(),
            })),
            Err(problem) => Observation::Failed {
                asked,
                failure: Failure::bad_count(&problem),
            },
        })
    }
}

impl Provider for InfobipPush {
    fn plan(&self, _: Dataset) -> Plan {
        Plan::Messages { batch: 1 }
    }

    fn ask<'a>(
        &'a self,
        query: Query<'a>,
        take: &'a mut (dyn FnMut(Observation) + Send),
    ) -> BoxFuture<'a, Result<(), Failure>> {
        async move {
            let Query::Messages {
                dataset,
                application,
                messages,
                deadline,
            } = query
            else {
                return Err(Failure::unsupported());
            };
            for message in messages {
                take(
                    self.statistics(dataset, application, message, deadline)
                        .await?,
                );
            }
            Ok(())
        }
        .boxed()
    }
}

/// The answer, as the vendor documents it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Statistics {
    total_sent: Count,
    delivered: Count,
    seen: Count,
    errors: Option<Errors>,
    delivery: Option<Delivery>,
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

impl Statistics {
    fn totals(&self) -> Result<Totals, String> {
        let none = Errors::default();
        let errors = self.errors.as_ref().unwrap_or(&none);
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
        let rate = self.delivery.as_ref().and_then(|delivery| delivery.rate.0);
        let reported_ratio = rate.map(|percent| percent / 100.0);
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
        decode::<Statistics>(json.as_bytes(), &mut |_| {})
            .unwrap()
            .totals()
    }

    const EXAMPLE: &str = r#"{"totalSent": 31569, "delivered": 29568, "seen": 25632,
        "errors": {"registration": 1654, "expired": 301, "cloud": 46}, "delivery": {"rate": 93.66}}"#;

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
        assert_eq!(totals("{}").unwrap().counts, []);
    }

    #[test]
    fn new_fields_are_noted_and_bad_counts_refused() {
        let mut fields = Vec::new();
        let json = r#"{"totalSent": "5", "errors": {"quota": 1}, "x": {"y": 1}}"#;
        decode::<Statistics>(json.as_bytes(), &mut |field| fields.push(field.to_owned())).unwrap();
        assert_eq!(fields, ["errors.quota", "x"]);
        assert!(
            totals(r#"{"totalSent": -5}"#)
                .unwrap_err()
                .contains("totalSent")
        );
    }
}
