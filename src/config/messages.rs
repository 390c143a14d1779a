//! Which messages of a provider are watched, and lists of them from elsewhere.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    errors::ConfigErrors,
    excerpt::Rules,
    read::{Context, Map, choices},
    schema::Section,
    tree::{self, Node, Tree},
    types::{HttpList, MessageEntry, Messages, PerMessage},
    unique::UniqueValues,
};
use crate::{
    model::{Application, MAX_REGISTERED_BYTES},
    providers::Vendor,
};

pub(super) fn messages(
    context: &Context,
    map: &Map<'_>,
    vendor: &Vendor,
    applications: &[Application],
) -> Messages {
    let section = map.section("messages", Section::Messages);
    let list = section.optional_truth("list").unwrap_or(vendor.can_list);
    if list && !vendor.can_list {
        let text = format!("{vendor} cannot list its messages; name them under static");
        context.error(&section.place, text);
    }
    if map.get("messages").is_some() && !vendor.has_messages() {
        context.error(
            &section.place,
            format!("{vendor} has no messages to name: its reports come by themselves"),
        );
    }
    let max_age = match section.optional_duration("max_age") {
        Some(age) if age.is_zero() => {
            context.error(&section.place, "max_age has to be longer than 0s");
            age
        }
        Some(age) => age,
        None => vendor.max_age,
    };
    let mut fixed: Vec<MessageEntry> = Vec::new();
    let mut seen = UniqueValues::new(context);
    if let Some(node) = section.get("static") {
        for item in context.list("static", node) {
            if let Some(entry) = message(context, item, applications) {
                let name = format!("{}{}", entry.id, of(applications, &entry));
                if seen.first("the message", &name, &item.place) {
                    fixed.push(entry);
                }
            }
        }
    }
    let mut files = Vec::new();
    if let Some(node) = section.get("files") {
        for item in context.list("files", node) {
            if let Some(text) = context.text("files", item) {
                let pattern = context.path(text);
                match glob::Pattern::new(&pattern.to_string_lossy()) {
                    Ok(_) => files.push(pattern),
                    Err(error) => {
                        context.error(&item.place, format!("{text:?} is no pattern: {error}"));
                    }
                }
            }
        }
    }
    let mut http = Vec::new();
    if let Some(node) = section.get("http") {
        for item in context.list("http", node) {
            let map = Map::new(context, Section::HttpList, Some(item), &item.place);
            let refresh_interval = map.duration("refresh_interval");
            if refresh_interval.is_zero() {
                context.error(&item.place, "refresh_interval has to be longer than 0s");
            }
            match map.url("url") {
                Some(url) => http.push(HttpList {
                    url,
                    refresh_interval,
                }),
                None if map.get("url").is_none() => map.missing("url", " in an HTTP list"),
                None => {}
            }
        }
    }
    Messages {
        fixed,
        files,
        http,
        list,
        max_age,
    }
}

/// A list of messages from elsewhere, in YAML or JSON. `place` is what errors call it.
///
/// # Errors
///
/// Every problem found; then none of it should be taken.
pub fn message_list(
    place: &Path,
    text: &str,
    applications: &[Application],
) -> Result<Vec<MessageEntry>, ConfigErrors> {
    let file: Arc<Path> = place.into();
    let mut errors = Vec::new();
    let root = tree::parse(&file, text, None, &mut errors);
    let context = Context::new(&[], PathBuf::new(), errors);
    let mut entries = Vec::new();
    if let Some(root) = root {
        for item in context.list("the file", &root) {
            entries.extend(message(&context, item, applications));
        }
    }
    let (errors, _) = context.into_problems(place, text, Rules::Configuration(&[]));
    if errors.is_empty() {
        return Ok(entries);
    }
    Err(ConfigErrors(errors))
}

/// ` of <application>`, where there are several.
fn of(applications: &[Application], entry: &MessageEntry) -> String {
    match applications.get(entry.application) {
        Some(application) if applications.len() > 1 => format!(" of {}", application.name),
        _ => String::new(),
    }
}

fn message(context: &Context, item: &Node, applications: &[Application]) -> Option<MessageEntry> {
    let several = |place| {
        if applications.len() > 1 {
            let names: Vec<_> = applications.iter().map(|own| own.name.as_ref()).collect();
            let text = format!(
                "the message needs an application: one of {}",
                names.join(", ")
            );
            context.error(place, text);
        }
    };
    if matches!(item.value, Tree::Scalar { .. } | Tree::Null) {
        let id = Arc::from(context.text("a message's id", item)?);
        several(&item.place);
        let id = short(context, "id", Some(id), &item.place)?;
        return Some(MessageEntry {
            id,
            application: 0,
            campaign: None,
            sent_at: None,
        });
    }
    let map = Map::new(context, Section::Message, Some(item), &item.place);
    if map.get("id").is_none() {
        map.missing("id", " in a message");
    }
    let id = map.text("id");
    let place = |name: &str| map.get(name).map_or(&map.place, |node| &node.place);
    let application = match map.text("application") {
        None => {
            several(&item.place);
            0
        }
        Some(name) => {
            let found = applications
                .iter()
                .position(|own| own.name == name || own.id == name);
            if found.is_none() {
                let names: Vec<_> = applications.iter().map(|own| own.name.as_ref()).collect();
                let text = format!("there is no application {name}; {}", choices(&names, &name));
                context.error(place("application"), text);
            }
            found?
        }
    };
    let campaign = map.text("campaign");
    let is_long = campaign.is_some();
    let campaign = short(context, "campaign", campaign, place("campaign"));
    if is_long && campaign.is_none() {
        return None;
    }
    Some(MessageEntry {
        id: short(context, "id", id, place("id"))?,
        application,
        campaign,
        sent_at: map.time("sent_at"),
    })
}

/// A text of a message, if it is not too long.
fn short(
    context: &Context,
    name: &str,
    text: Option<Arc<str>>,
    place: &crate::config::errors::Position,
) -> Option<Arc<str>> {
    let text = text?;
    if text.len() > MAX_REGISTERED_BYTES {
        let problem = format!(
            "{name} is {} bytes long; it may have {MAX_REGISTERED_BYTES}",
            text.len()
        );
        context.error(place, problem);
        return None;
    }
    Some(text)
}

pub(super) fn per_message(map: &Map<'_>) -> PerMessage {
    PerMessage {
        max_messages: map.size("max_messages"),
        min_sent: map.count("min_sent"),
        channels: map.truth("channels"),
    }
}
