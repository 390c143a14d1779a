//! Clicks on links in e-mails (`emails/linksInteractions`) and the devices that clicked
//! (`emails/linksInteractionsDevices`).

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{
    BATCH, Endpoint, Pushwoosh, date, later,
    list::unreadable,
    vendor,
    wire::{
        answer::Answer,
        links::{Click, DeviceClick, Link, bare, words},
        messages::fold,
    },
};
use crate::{
    model::{AppMetric, AppMetricKind, Message},
    providers::{
        Digest, Failure, FailureKind, Observation, WholeQuery,
        decode::decode,
        digest::digest,
        json::Count,
        paging::{Page, PageRequest, Paging, RowKeys, read_windows},
    },
};

const LINKS: Endpoint = Endpoint {
    path: "/api/v2/statistics/emails/linksInteractions",
    word: "Api",
    fields: &["items"],
};
const LINK_DEVICES: Endpoint = Endpoint {
    path: "/api/v2/statistics/emails/linksInteractionsDevices",
    word: "Api",
    fields: &["total", "items"],
};
const PAGING: Paging = Paging {
    first_page: 0,
    // The vendor's limit.
    per_page: 1000,
    max_pages: 5000,
    // Two clicks of one device on one link in one second look alike. Devices are counted, so that
    // one of them is enough.
    keys: RowKeys::Content,
};
/// Clicks of so long are kept.
const LINKS_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Whether the bounds of dates are inclusive, and their zone, is not documented.
const MARGIN: SignedDuration = SignedDuration::from_hours(24);
/// What stands for the links that are clicked less than others.
const OTHER: &str = "other";

/// The answer about the e-mails in `filters`. If the vendor knows one of them no longer, the halves
/// of the filters are `waiting`; an e-mail that it does not know has no clicks.
fn known_emails<T>(
    asked: Result<T, Failure>,
    filters: &Value,
    waiting: &mut Vec<Value>,
) -> Result<Option<T>, Failure> {
    let failure = match asked {
        Ok(answer) => return Ok(Some(answer)),
        Err(failure) if failure.kind == FailureKind::NotFound => failure,
        Err(failure) => return Err(failure),
    };
    tracing::debug!(%failure, "the vendor does not know all of these e-mails");
    for field in ["messages_codes", "messages_ids"] {
        let Some(names) = filters[field].as_array().filter(|names| names.len() > 1) else {
            continue;
        };
        let (first, second) = names.split_at(names.len() / 2);
        for names in [second, first] {
            let mut half = filters.clone();
            half[field] = json!(names);
            waiting.push(half);
        }
    }
    Ok(None)
}

/// A link of an e-mail: the template's name, the link without its query, and the link's title.
type LinkKey = (Arc<str>, Arc<str>, Arc<str>);

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
    /// The filters that name the e-mails among the messages, as many as fit in a request.
    fn email_filters(&self, messages: &[Message]) -> Vec<Value> {
        let emails = self.emails.lock().unwrap_or_else(PoisonError::into_inner);
        let names = messages.iter().map(|message| &message.id);
        let names: BTreeSet<Arc<str>> = names
            .filter(|name| emails.contains(fold(name).as_str()))
            .map(|name| self.spellings.of(name))
            .collect();
        drop(emails);
        let is_id = |name: &Arc<str>| name.bytes().all(|byte| byte.is_ascii_digit());
        let (ids, codes): (Vec<_>, Vec<_>) = names.into_iter().partition(is_id);
        let ids: Vec<Value> = ids
            .iter()
            .map(|id| id.parse::<u64>().map_or(json!(&**id), |id| json!(id)))
            .collect();
        let codes: Vec<Value> = codes.iter().map(|code| json!(&**code)).collect();
        let now = self.http.clock().now();
        let (from, to) = (later(later(now, -LINKS_KEPT), -MARGIN), later(now, MARGIN));
        let filters = [("messages_codes", codes), ("messages_ids", ids)];
        let chunks = filters
            .iter()
            .flat_map(|(name, values)| values.chunks(BATCH).map(move |values| (*name, values)));
        chunks
            .map(|(name, values)| {
                json!({"date_range": {"date_from": date(from), "date_to": date(to)}, name: values})
            })
            .collect()
    }

    /// Clicks on the links of the application's e-mails.
    pub(super) async fn links(
        &self,
        query: &WholeQuery<'_>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let (messages, patience) = (query.messages, query.patience);
        let all_filters = self.email_filters(messages);
        if all_filters.is_empty() {
            observations.push(Observation::NothingToQuery);
            return Ok(());
        }
        let mut sums: BTreeMap<LinkKey, Count> = BTreeMap::new();
        let mut broken = 0;
        let mut waiting = all_filters;
        while let Some(filters) = waiting.pop() {
            let body = json!({"filters": filters, "params": {"with_full_links": false}});
            let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
                let rows = answer.list("items")?;
                let rows = rows
                    .iter()
                    .map(|raw| decode::<Link>(raw.get().as_bytes(), unknown));
                Ok(rows.collect::<Vec<_>>())
            };
            let asked = self.post(vendor::LINKS, &LINKS, &body, patience, read);
            let Some((rows, _)) = known_emails(asked.await, &filters, &mut waiting)? else {
                continue;
            };
            for row in rows {
                match row {
                    Ok(row) if row.link.get().is_some() => {
                        let key = (words(&row.template), bare(&row.link), words(&row.title));
                        let sum = sums.entry(key).or_default();
                        *sum = std::mem::take(sum).plus(row.clicks);
                    }
                    _ => broken += 1,
                }
            }
        }
        // Of a link with one bad row, the sum of the others would be a wrong number.
        let all = sums.len();
        let good = sums
            .into_iter()
            .filter_map(|(key, sum)| Some((key, sum.get("clicks").ok()?.unwrap_or(0))));
        let sums: BTreeMap<LinkKey, u64> = good.collect();
        broken += all - sums.len();
        let (named, rest) = largest(sums, self.max_links);
        let empty: Arc<str> = Arc::from("");
        let other = (!rest.is_empty()).then(|| {
            let clicks = rest.iter().map(|(_, clicks)| *clicks);
            let sum = clicks.fold(0, u64::saturating_add);
            ((empty.clone(), Arc::from(OTHER), empty.clone()), sum)
        });
        let figure = |((template, link, title), clicks): (LinkKey, u64)| {
            #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
            let value = clicks as f64;
            let kind = AppMetricKind::LinkClicks {
                template,
                link,
                title,
            };
            AppMetric { kind, value }
        };
        observations.push(Observation::Figures {
            asked: None,
            part: "",
            figures: named.into_iter().chain(other).map(figure).collect(),
        });
        unreadable(broken, "links")
    }

    /// How many devices clicked on each link.
    pub(super) async fn link_devices(
        &self,
        query: &WholeQuery<'_>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let (messages, patience) = (query.messages, query.patience);
        let windows = self.email_filters(messages);
        if windows.is_empty() {
            observations.push(Observation::NothingToQuery);
            return Ok(());
        }
        let mut devices: BTreeMap<Arc<str>, HashSet<Digest>> = BTreeMap::new();
        let fetch = |filters: &Value, request: PageRequest| {
            let body =
                json!({"filters": filters, "per_page": request.per_page, "page": request.page});
            async move {
                let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
                    let rows = answer.list("items")?;
                    let rows = rows.iter().map(|raw| {
                        let click = decode::<Click>(raw.get().as_bytes(), unknown);
                        match click.and_then(|click| click.read()) {
                            Ok((key, click)) => (key, Some(click)),
                            Err(_) => (digest(&[raw.get()]), None),
                        }
                    });
                    Ok((rows.collect::<Vec<_>>(), answer.total()))
                };
                let asked = self.post(vendor::LINK_DEVICES, &LINK_DEVICES, &body, patience, read);
                let ((rows, total), _) = asked.await?;
                Ok(Page { rows, total })
            }
            .boxed()
        };
        let broken = AtomicUsize::new(0);
        let mut rows = |rows: Vec<Option<DeviceClick>>| {
            for row in rows {
                match row {
                    Some((link, device)) => {
                        devices.entry(link).or_default().insert(device);
                    }
                    None => {
                        broken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        };
        // The numbers of a list that is not complete would be too low: the ones before stay.
        let mut waiting = windows;
        while let Some(filters) = waiting.pop() {
            let window = vec![filters.clone()];
            let read = read_windows(window, PAGING, &fetch, |_| None, &mut rows).await;
            known_emails(read, &filters, &mut waiting)?;
        }
        let counts = devices.iter().map(|(link, own)| (link.clone(), own.len()));
        let (named, rest) = largest(counts.collect(), self.max_links);
        let rest: HashSet<&Digest> = rest.iter().flat_map(|(link, _)| &devices[link]).collect();
        let other = (!rest.is_empty()).then(|| (Arc::from(OTHER), rest.len()));
        let figure = |(link, count): (Arc<str>, usize)| {
            #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
            let value = count as f64;
            let kind = AppMetricKind::LinkDevices { link };
            AppMetric { kind, value }
        };
        observations.push(Observation::Figures {
            asked: None,
            part: "",
            figures: named.into_iter().chain(other).map(figure).collect(),
        });
        unreadable(broken.into_inner(), "clicks")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_clicked_keep_their_names() {
        let all = BTreeMap::from([("a", 1), ("b", 9), ("c", 5), ("d", 5)]);
        let (named, rest) = largest(all, 2);
        assert_eq!(
            (named, rest),
            (vec![("b", 9), ("c", 5)], vec![("d", 5), ("a", 1)])
        );
    }
}
