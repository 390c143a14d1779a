//! Messages with their numbers: the list (`messages:list`) from a date on, and messages by name.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Endpoint, Pushwoosh,
    errors::{is_refusal, refusal_reason},
    names::{MAX_REMEMBERED, MessageKeys},
    wire::{
        answer::Answer,
        messages::{Item, fold, items},
    },
};
use crate::{
    model::{Application, Dataset, Message},
    providers::{
        Failure, FailureKind, ListQuery, Listing, MessagesQuery, Observation, Refusal,
        bisect::Halves,
        digest::digest,
        paging::{Page, PageRequest, Pager, Paging, RowKeys, WindowEnd, read_windows},
    },
};

/// With its colon as it is.
const MESSAGES_LIST: Endpoint = Endpoint {
    path: "/api/v2/messages:list",
    word: "Api",
    fields: &["total", "items"],
};
const DAY: i64 = 86_400;
/// The days in one request, without the margins: with them it asks for at most 30 days. A longest
/// range is not documented.
const WINDOW_DAYS: i64 = 28;
const PAGING: Paging = Paging {
    first_page: 0,
    // The vendor's limit.
    per_page: 1000,
    max_pages: 1000,
    keys: RowKeys::Ids,
};
/// How long the names in one request may be together; the vendor's limit is not documented.
const MAX_NAMES_BYTES: usize = 8 * 1024;

/// Days since 1970 in UTC: the first, and the one after the last.
type Days = (i64, i64);

/// An item with the start of the request that brought it; `None`: a row that names no message.
type Row = (Option<Item>, Timestamp);

impl Pushwoosh {
    /// One page of messages that fit `filters`, whole items and broken ones.
    async fn messages_page(
        &self,
        dataset: Dataset,
        filters: &Value,
        request: PageRequest,
        patience: Duration,
        keys: &Mutex<MessageKeys>,
    ) -> Result<Page<Arc<str>, Row>, Failure> {
        let body = json!({
            "filters": filters,
            "params": {"with_details": false, "with_metrics": true},
            "per_page": request.per_page,
            "page": request.page,
        });
        let read = |answer: &Answer<'_>, unknown: &mut dyn FnMut(&str)| {
            let raw = answer.list("items")?;
            let items = items(&raw, unknown).into_iter().zip(raw);
            // A row without a name is known by its text, of which a digest is enough.
            let rows = items.map(|(item, raw)| match item.name() {
                Some(_) => Ok(item),
                None => Err(Arc::from(format!("{:x?}", digest(&[raw.get()])))),
            });
            Ok((rows.collect::<Vec<_>>(), answer.total()))
        };
        let ((items, total), asked_at) = self
            .post(dataset, &MESSAGES_LIST, &body, patience, read)
            .await?;
        let mut emails = self.emails.lock().unwrap_or_else(PoisonError::into_inner);
        let found = items.iter().flatten().filter(|item| item.is_email());
        if emails.len() >= MAX_REMEMBERED {
            emails.clear();
        }
        emails.extend(found.filter_map(Item::name));
        drop(emails);
        for item in items.iter().flatten() {
            item.code().inspect(|code| self.spellings.learn(code));
            if let (Some(id), Some(code)) = (item.id(), item.code()) {
                self.codes.learn(&fold(id), &fold(code));
            }
        }
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = items.into_iter().map(|item| match item {
            Ok(item) => {
                let key = keys.key(&item).unwrap_or_default();
                (key, (Some(item), asked_at))
            }
            Err(raw) => (raw, (None, asked_at)),
        });
        let rows = rows.collect();
        if keys.is_full() {
            let text = "the list does not end: its names take more memory than those of a million messages";
            return Err(Failure::new(FailureKind::TooLarge, text));
        }
        Ok(Page { rows, total })
    }

    /// All messages of the days from `since` on, page by page to the end. Whether a date means
    /// creation or sending, its zone, and whether the bounds are inclusive, is not documented: each
    /// request asks for a day more on either side.
    pub(super) async fn read_list(
        &self,
        query: &ListQuery<'_>,
        listing: &mut Listing,
    ) -> Result<(), Failure> {
        let ListQuery {
            dataset,
            application,
            oldest,
            since,
            patience,
            ..
        } = *query;
        let day = |time: Timestamp| time.as_second().div_euclid(DAY);
        let (first, end) = (day(since), day(self.http.clock().now()) + 1);
        let step = usize::try_from(WINDOW_DAYS).unwrap_or(1);
        let starts = (first..end).step_by(step);
        let windows: Vec<Days> = starts
            .map(|from| (from, (from + WINDOW_DAYS).min(end)))
            .collect();
        let keys = Mutex::new(MessageKeys::default());
        let keys = &keys;
        let fetch = |days: &Days, request: PageRequest| {
            let (from, to) = *days;
            let date =
                |day: i64| super::date(Timestamp::from_second(day * DAY).unwrap_or_default());
            let filters = json!({
                "application": &*application.id,
                "date_range": {"date_from": date(from - 1), "date_to": date(to)},
            });
            async move {
                self.messages_page(dataset, &filters, request, patience, keys)
                    .await
            }
            .boxed()
        };
        let split = |(from, to): &Days| {
            let middle = from.midpoint(*to);
            (to - from > 1).then_some(((*from, middle), (middle, *to)))
        };
        // Windows share days.
        let mut listed: HashSet<Arc<str>> = HashSet::new();
        let mut nameless = 0_usize;
        let rows = |rows: Vec<Row>| {
            for (item, asked_at) in rows {
                let Some((item, id)) = item.and_then(|item| {
                    let id = item.name()?;
                    Some((item, id))
                }) else {
                    nameless += 1;
                    continue;
                };
                let key = keys
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .key(&item);
                if key.is_some_and(|key| !listed.insert(key)) {
                    continue;
                }
                let sent_at = item.sent_at();
                if sent_at.is_some_and(|sent_at| sent_at < oldest) {
                    continue;
                }
                for observation in names_of(&item) {
                    listing.push(observation);
                }
                let application = application.id.clone();
                listing.push(Observation::ListedMessage(Message {
                    application,
                    id: id.clone(),
                    campaign: None,
                    sent_at,
                }));
                listing.push(item.observation(id, asked_at));
            }
        };
        read_windows(windows, PAGING, fetch, split, rows).await?;
        unreadable(nameless, "messages")
    }

    /// Some messages by their names. One that the vendor refuses costs no other its numbers.
    pub(super) async fn named(
        &self,
        query: &MessagesQuery<'_>,
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let (dataset, application, patience) = (query.dataset, query.application, query.patience);
        // Digits alone are the vendor's `id`, anything else its `code`.
        let is_id = |message: &Message| message.id.bytes().all(|byte| byte.is_ascii_digit());
        let (ids, codes): (Vec<_>, Vec<_>) = query.messages.iter().cloned().partition(is_id);
        let mut probed = false;
        for (filter, messages) in [("messages_ids", ids), ("messages_codes", codes)] {
            for batch in batches(&messages) {
                let mut halves = Halves::new(batch);
                while let Some(batch) = halves.next() {
                    let asked = self.batch(query, filter, batch, observations);
                    match asked.await {
                        Ok(()) => {}
                        Err(failure) if is_refusal(&failure) => {
                            if !std::mem::replace(&mut probed, true) {
                                self.probe(dataset, application, patience).await?;
                            }
                            if let Some(message) = halves.refused(batch) {
                                observations.push(Observation::MessageRejected {
                                    asked: message.id.clone(),
                                    reason: refusal_reason(&failure),
                                    then: Refusal::UnlessNew,
                                });
                            }
                        }
                        Err(failure) => return Err(failure),
                    }
                }
            }
        }
        Ok(())
    }

    /// A request that names no message: if it is refused too, then not for a message's sake.
    pub(super) async fn probe(
        &self,
        dataset: Dataset,
        application: &Application,
        patience: Duration,
    ) -> Result<(), Failure> {
        let today = super::date(self.http.clock().now());
        let filters = json!({
            "application": &*application.id,
            "date_range": {"date_from": &today, "date_to": &today},
        });
        let request = PageRequest {
            page: 0,
            per_page: 1,
        };
        let keys = Mutex::default();
        let asked = self.messages_page(dataset, &filters, request, patience, &keys);
        asked.await.map(|_| ())
    }

    /// One batch of names, paged until each was found or the pages end.
    async fn batch(
        &self,
        query: &MessagesQuery<'_>,
        filter: &str,
        messages: &[Message],
        observations: &mut Vec<Observation>,
    ) -> Result<(), Failure> {
        let (dataset, application, patience) = (query.dataset, query.application, query.patience);
        let value = |message: &Message| match message.id.parse::<u64>() {
            Ok(id) if filter == "messages_ids" => json!(id),
            _ => json!(&*self.spellings.of(&message.id)),
        };
        let mut values: Vec<Value> = Vec::with_capacity(messages.len());
        // A message can be watched by two spellings until its first answer.
        let mut missing: HashMap<String, Vec<Arc<str>>> = HashMap::new();
        for message in messages {
            let same = missing.entry(normalized(&message.id)).or_default();
            same.push(message.id.clone());
            let value = value(message);
            if !values.contains(&value) {
                values.push(value);
            }
        }
        let filters = json!({"application": &*application.id, filter: values});
        let keys = Mutex::default();
        let mut pager = Pager::new(PAGING, false);
        let (mut nameless, mut last_asked_at) = (false, self.http.clock().now());
        while let Some(request) = pager.next().filter(|_| !missing.is_empty()) {
            let asked = self.messages_page(dataset, &filters, request, patience, &keys);
            let page = match asked.await {
                Ok(page) => page,
                Err(failure) => {
                    pager.refused(failure)?;
                    continue;
                }
            };
            for (item, asked_at) in pager.take(page) {
                last_asked_at = asked_at;
                let Some(item) = item else {
                    nameless = true;
                    continue;
                };
                // It may be named by its id alone where it was queried by its code.
                let by_id = item.id().and_then(|id| self.codes.of(&fold(id)));
                let names = [item.code(), item.id(), by_id.as_deref()];
                let found: Vec<_> = names
                    .into_iter()
                    .flatten()
                    .filter_map(|name| missing.remove(&normalized(name)))
                    .flatten()
                    .collect();
                nameless |= found.is_empty() && item.code().is_none();
                for asked in found {
                    observations.extend(names_of(&item));
                    if let (None, Some(id)) = (item.code(), item.id()) {
                        // The answer that named both may have been lost. What was counted by the id must
                        // not be counted again by the code.
                        let name = by_id.as_deref().map_or(asked.clone(), Arc::from);
                        if normalized(id) != normalized(&name) {
                            let alias = Arc::from(id);
                            observations.push(Observation::Named { alias, id: name });
                        }
                    }
                    let mut observation = item.observation(asked.clone(), asked_at);
                    if let Observation::MessageSnapshot(snapshot) = &mut observation
                        && item.code().is_none()
                    {
                        snapshot.id = asked;
                    }
                    observations.push(observation);
                }
            }
        }
        match pager.into_end() {
            WindowEnd::TooLong(failure) | WindowEnd::Incomplete(failure) if !missing.is_empty() => {
                return Err(failure);
            }
            _ => {}
        }
        for asked in missing.into_values().flatten() {
            observations.push(if nameless {
                let failure = Failure::new(FailureKind::Decode, "a message without a name");
                Observation::MessageFailed { asked, failure }
            } else {
                let asked_at = last_asked_at;
                Observation::NotYetAvailable { asked, asked_at }
            });
        }
        Ok(())
    }
}

/// A name as it is compared: a number without leading zeros.
fn normalized(name: &str) -> String {
    let folded = fold(name);
    match folded.parse::<u64>() {
        Ok(number) => number.to_string(),
        Err(_) => folded,
    }
}

/// Batches whose names are short enough together for one request.
fn batches(messages: &[Message]) -> Vec<&[Message]> {
    let (mut batches, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (index, message) in messages.iter().enumerate() {
        if index > start && bytes + message.id.len() > MAX_NAMES_BYTES {
            batches.push(&messages[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += message.id.len();
    }
    batches.extend(messages.get(start..).filter(|rest| !rest.is_empty()));
    batches
}

/// The names of an item that are not the one that it is known by: its id, and its code as the
/// vendor spells it.
fn names_of(item: &Item) -> Vec<Observation> {
    let (Some(code), Some(name)) = (item.code(), item.name()) else {
        return Vec::new();
    };
    let aliases = [item.id(), Some(code)].into_iter().flatten();
    let others = aliases.filter(|alias| *alias != &*name);
    let named = others.map(|alias| Observation::Named {
        alias: Arc::from(alias),
        id: name.clone(),
    });
    named.collect()
}

/// The failure of an answer of which some rows cannot be read; the others were handed over.
pub(super) fn unreadable(count: usize, what: &str) -> Result<(), Failure> {
    if count == 0 {
        return Ok(());
    }
    let text = format!("{count} of the {what} cannot be read");
    Err(Failure::new(FailureKind::Decode, &text))
}
