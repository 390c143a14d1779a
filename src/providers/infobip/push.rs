//! Infobip push statistics: `GET /push/1/statistics`, one bulk a request.

use std::sync::Arc;

use super::{
    Access,
    errors::{self, Class, VendorError},
    wire::statistics::Statistics,
};
use crate::{
    model::{Message, Snapshot},
    providers::{
        Answer, Checkup, CheckupQuery, Failure, MessagesQuery, Observation, Provider,
        ProviderOptions, Refusal,
        encode::percent_encode,
        http::{Http, HttpAnswer, Verdict},
        json::RawFields,
        verdict::undecodable,
    },
};
use futures_util::{FutureExt, future::BoxFuture};

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
            let fields = RawFields::parse(&answer.body);
            let error = fields.as_ref().ok().and_then(errors::find);
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
            let mut new = Vec::new();
            let note = &mut |field: &str| new.push(field.to_owned());
            let read = fields.as_ref().map_err(String::clone);
            let read = read.and_then(|fields| Statistics::read(fields, note));
            let read = read.map(|read| read.filter(|own| !own.says_nothing()));
            let error = error.or_else(|| match (&read, &fields) {
                (Ok(None), Ok(fields)) => errors::in_place_of_counts(fields),
                _ => None,
            });
            match (read, error) {
                (Ok(Some(statistics)), _) => {
                    for field in &new {
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
