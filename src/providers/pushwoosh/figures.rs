//! Figures: conversions (`totalsByIntervals`), clicks on links (`emails/linksInteractions`) and the
//! devices that clicked (`emails/linksInteractionsDevices`).

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, PoisonError},
};

use delivery_clock::Moment;
use jiff::SignedDuration;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BATCH, Endpoint, MAX_PAGES, PER_PAGE, Page, Pushwoosh, date, later};
use crate::{
    model::{Dataset, Figure, FigureKind, Message},
    providers::{
        Digest, Failure, FailureKind, Grown, Observation,
        digest::digest,
        json::{Count, Skipped, Text},
    },
};

const TOTALS: Endpoint = ("/api/v2/statistics/messages/totalsByIntervals", "Api");
const LINKS: Endpoint = ("/api/v2/statistics/emails/linksInteractions", "Api");
const LINK_DEVICES: Endpoint = ("/api/v2/statistics/emails/linksInteractionsDevices", "Api");
/// Clicks of so long are told.
const LINKS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// What stands for the links that are clicked less than others.
const OTHER: &str = "other";

/// The conversions of a message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conversion {
    sends: Skipped,
    opens: Skipped,
    events: Option<Vec<Event>>,
}

/// One kind of conversion; its name is the customer's choice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    name: Text,
    hits: Count,
    /// A ratio relative to opens, or an older API's `"100%"`.
    conversion: Value,
    /// Without a currency.
    revenue: Value,
}

/// A number, in whatever form; a percent sign divides by a hundred.
fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match text.trim().strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
            None => text.trim().parse().ok()?,
        },
        _ => return None,
    };
    number.is_finite().then_some(number)
}

fn conversions(json: &str, message: &Message) -> Result<Vec<Figure>, String> {
    let conversion: Option<Conversion> =
        serde_json::from_str(json).map_err(|error| crate::providers::json::problem(&error))?;
    let campaign = message.campaign.clone().unwrap_or_default();
    let mut figures = Vec::new();
    for own in conversion.unwrap_or_default().events.unwrap_or_default() {
        let Some(name) = own.name.get() else {
            continue;
        };
        let (event, message_id): (Arc<str>, _) = (Arc::from(name), message.id.clone());
        if let Some(hits) = own.hits.get("conversion.events.hits")? {
            #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
            let value = hits as f64;
            let kind = FigureKind::ConversionHits {
                campaign: campaign.clone(),
                message_id: message_id.clone(),
                event: event.clone(),
            };
            figures.push(Figure { kind, value });
        }
        if let Some(value) = number(&own.conversion) {
            let kind = FigureKind::ConversionRatio {
                campaign: campaign.clone(),
                message_id: message_id.clone(),
                event: event.clone(),
            };
            figures.push(Figure { kind, value });
        }
        if let Some(value) = number(&own.revenue) {
            let kind = FigureKind::ConversionRevenue {
                campaign: campaign.clone(),
                message_id,
                event,
            };
            figures.push(Figure { kind, value });
        }
    }
    Ok(figures)
}

/// A link with its clicks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Link {
    template: Text,
    link: Text,
    title: Text,
    clicks: Count,
    /// These carry recipients' parameters, and are not asked for.
    full_links: Skipped,
}

/// A click.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Click {
    timestamp: Skipped,
    link: Text,
    /// The recipient's address.
    hwid: Text,
}

/// A link without its query, which can hold tokens.
fn bare(link: &Text) -> Arc<str> {
    let link = link.get().unwrap_or_default();
    Arc::from(link.split(['?', '#']).next().unwrap_or_default())
}

/// A link of an e-mail: the template's name, the link without its query, and the link's title.
type Place = (Arc<str>, Arc<str>, Arc<str>);

/// Pairs in the order of their values, the largest first.
type Ranked<K, V> = Vec<(K, V)>;

/// Keeps the `max` largest by name, and gives the rest.
fn largest<K: Ord, V: Ord + Copy>(all: BTreeMap<K, V>, max: usize) -> (Ranked<K, V>, Ranked<K, V>) {
    let mut sorted: Ranked<K, V> = all.into_iter().collect();
    sorted.sort_by(|(left_key, left), (right_key, right)| {
        right.cmp(left).then_with(|| left_key.cmp(right_key))
    });
    let rest = sorted.split_off(max.min(sorted.len()));
    (sorted, rest)
}

impl Pushwoosh {
    /// The conversions of one message.
    pub(super) async fn conversions(
        &self,
        message: &Message,
        deadline: Moment,
    ) -> Result<Observation, Failure> {
        let asked = message.id.clone();
        let body = json!({"message_code": &*message.id});
        let read = |page: &Page<'_>, _: &mut dyn FnMut(&str)| {
            let figures = page.conversion().map(|json| conversions(json, message));
            Ok(figures.transpose()?.unwrap_or_default())
        };
        match self
            .post(Dataset::Intervals, TOTALS, &body, deadline, read)
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
                Ok(Observation::NotYet { asked, asked_at })
            }
            Err(failure) => Err(failure),
        }
    }

    /// What came to the numbers of one message, hour by hour; the current hour's still grow.
    pub(super) async fn hours(
        &self,
        message: &Message,
        deadline: Moment,
    ) -> Result<Vec<Grown>, Failure> {
        let body = json!({"message_code": &*message.id});
        let read = |page: &Page<'_>, unknown: &mut dyn FnMut(&str)| page.hours(unknown);
        let asked = self.post(Dataset::Messages, TOTALS, &body, deadline, read);
        match asked.await {
            Ok((hours, _)) => Ok(hours),
            // A message that has not been sent, or that has no code.
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// The codes of the e-mails among the watched messages, as many as fit in a request.
    fn emails(&self, messages: &[Message]) -> Vec<Vec<Arc<str>>> {
        let emails = self.emails.lock().unwrap_or_else(PoisonError::into_inner);
        let codes: Vec<Arc<str>> = messages
            .iter()
            .filter(|message| emails.contains(&message.id))
            .map(|message| message.id.clone())
            .collect();
        codes.chunks(BATCH).map(<[_]>::to_vec).collect()
    }

    fn link_filters(&self, codes: &[Arc<str>]) -> Value {
        let now = self.http.clock().now();
        json!({
            "date_range": {"date_from": date(later(now, -LINKS_KEPT)), "date_to": date(now)},
            "messages_codes": codes,
        })
    }

    /// Clicks on the links of the application's e-mails.
    pub(super) async fn links(
        &self,
        messages: &[Message],
        deadline: Moment,
    ) -> Result<Observation, Failure> {
        let mut sums: BTreeMap<Place, u64> = BTreeMap::new();
        for codes in self.emails(messages) {
            let body =
                json!({"filters": self.link_filters(&codes), "params": {"with_full_links": false}});
            let rows: Vec<Link> = self.rows(Dataset::Links, LINKS, &body, deadline).await?;
            for row in rows {
                let clicks = row.clicks.get("clicks");
                let clicks = clicks.map_err(|problem| Failure::bad_count(&problem))?;
                let key = (row.template.shared(), bare(&row.link), row.title.shared());
                let sum = sums.entry(key).or_default();
                *sum = sum.saturating_add(clicks.unwrap_or(0));
            }
        }
        let (named, rest) = largest(sums, self.max_links);
        let empty: Arc<str> = Arc::from("");
        let other = (!rest.is_empty()).then(|| {
            let sum = rest.iter().map(|(_, clicks)| clicks).sum();
            ((empty.clone(), Arc::from(OTHER), empty.clone()), sum)
        });
        let figure = |((template, link, title), clicks): (Place, u64)| {
            #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
            let value = clicks as f64;
            let kind = FigureKind::LinkClicks {
                template,
                link,
                title,
            };
            Figure { kind, value }
        };
        Ok(Observation::Figures {
            asked: None,
            part: "",
            figures: named.into_iter().chain(other).map(figure).collect(),
        })
    }

    /// How many devices clicked on each link.
    pub(super) async fn link_devices(
        &self,
        messages: &[Message],
        deadline: Moment,
    ) -> Result<Observation, Failure> {
        let mut devices: BTreeMap<Arc<str>, HashSet<Digest>> = BTreeMap::new();
        for codes in self.emails(messages) {
            for page in 0..MAX_PAGES {
                let body = json!({"filters": self.link_filters(&codes), "per_page": PER_PAGE, "page": page});
                let rows: Vec<Click> = self
                    .rows(Dataset::LinkDevices, LINK_DEVICES, &body, deadline)
                    .await?;
                let count = rows.len();
                for row in rows {
                    let device = digest(&[row.hwid.get().unwrap_or_default()]);
                    devices.entry(bare(&row.link)).or_default().insert(device);
                }
                if count < PER_PAGE {
                    break;
                }
            }
        }
        let counts = devices.iter().map(|(link, own)| (link.clone(), own.len()));
        let (named, rest) = largest(counts.collect(), self.max_links);
        let rest: HashSet<&Digest> = rest.iter().flat_map(|(link, _)| &devices[link]).collect();
        let other = (!rest.is_empty()).then(|| (Arc::from(OTHER), rest.len()));
        let figure = |(link, count): (Arc<str>, usize)| {
            #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
            let value = count as f64;
            let kind = FigureKind::LinkDevices { link };
            Figure { kind, value }
        };
        Ok(Observation::Figures {
            asked: None,
            part: "",
            figures: named.into_iter().chain(other).map(figure).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_read_in_every_form() {
        let message = Message {
            application: Arc::from("app"),
            id: Arc::from("A444"),
            campaign: Some(Arc::from("spring")),
            sent_at: None,
        };
        let json = r#"{"sends":"55902","opens":"772","events":[
            {"name":"cart_add","hits":"96","conversion":0.12,"revenue":0},
            {"name":"buy","hits":3,"conversion":"100%","revenue":"12.5"}, {"hits":1}]}"#;
        let found: Vec<f64> = conversions(json, &message)
            .unwrap()
            .iter()
            .map(|own| own.value)
            .collect();
        assert_eq!(found, [96.0, 0.12, 0.0, 3.0, 1.0, 12.5]);
        assert!(conversions("null", &message).unwrap().is_empty());
        assert!(conversions(r#"{"events":[{"name":"x","hits":-1}]}"#, &message).is_err());
    }

    #[test]
    fn the_most_clicked_keep_their_names() {
        let all = BTreeMap::from([("a", 1), ("b", 9), ("c", 5), ("d", 5)]);
        let (named, rest) = largest(all, 2);
        assert_eq!(
            (named, rest),
            (vec![("b", 9), ("c", 5)], vec![("d", 5), ("a", 1)])
        );
        let link: Link =
            serde_json::from_str(r#"{"link":"https://example.com/a?token=1#x"}"#).unwrap();
        assert_eq!(&*bare(&link.link), "https://example.com/a");
    }
}
