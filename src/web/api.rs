//! `/api/v1`: sending systems register their messages here, and programs read the exporter's state.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::to_bytes,
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AppState, tokens};
use crate::{
    config::Account,
    ledger::{Registration, StoreError},
    model::{MAX_REGISTERED_BYTES, Message},
};

/// The maximum number of entries in one request.
const MAX_ENTRIES: usize = 10_000;
/// The maximum size of a request's body, in bytes.
const MAX_BYTES: usize = 8 << 20;

/// The routes.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/api/v1/messages", post(register).get(messages))
        .route("/api/v1/status", get(status))
}

/// An error response.
fn refuse(status: StatusCode, text: impl Into<String>) -> Response {
    (status, Json(json!({"error": text.into()}))).into_response()
}

/// `None` if the request is authorised, otherwise the response that refuses it.
fn allowed(app: &AppState, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let Some(token) = app.backend.api_token() else {
        let text = "there is no API: set server.api_token_file";
        return Err(Box::new(refuse(StatusCode::NOT_FOUND, text)));
    };
    if tokens::is_right(tokens::bearer(headers).as_deref(), &token) {
        return Ok(());
    }
    let mut answer = refuse(
        StatusCode::UNAUTHORIZED,
        "send the API's token: Authorization: Bearer <token>",
    );
    let scheme = axum::http::HeaderValue::from_static("Bearer");
    answer
        .headers_mut()
        .insert(axum::http::header::WWW_AUTHENTICATE, scheme);
    Err(Box::new(answer))
}

fn of_store(error: &StoreError) -> Response {
    tracing::error!(%error, "the API cannot reach the store");
    refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        "the store cannot be reached; try again",
    )
}

async fn register(State(app): State<AppState>, headers: HeaderMap, request: Request) -> Response {
    if let Err(answer) = allowed(&app, &headers) {
        return *answer;
    }
    let Ok(body) = to_bytes(request.into_body(), MAX_BYTES).await else {
        let text = format!(
            "the body is larger than {} MiB; send several lists",
            MAX_BYTES >> 20
        );
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, text);
    };
    let entries = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Array(entries)) => entries,
        Ok(object @ Value::Object(_)) => vec![object],
        Ok(_) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                "send one message as an object, or a list of them",
            );
        }
        Err(error) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                format!("the body is not valid JSON: {error}"),
            );
        }
    };
    if entries.len() > MAX_ENTRIES {
        let text = format!(
            "too many entries: {}; send at most {MAX_ENTRIES}",
            entries.len()
        );
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, text);
    }
    let accounts = app.backend.accounts();
    let now = app.clock.now();
    let mut messages = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        match read(entry, &accounts, now) {
            Ok(message) => messages.push(message),
            Err(fault) => {
                if let Fault::TooOld(account) = &fault {
                    app.backend.rejected(account, "max_age");
                }
                let text = format!("entry {index}: {}", fault.text());
                return refuse(fault.status(), text);
            }
        }
    }
    let accepted = messages.len();
    match app.backend.register(messages).await {
        Ok(()) => Json(json!({"accepted": accepted})).into_response(),
        Err(error) => of_store(&error),
    }
}

/// What is wrong with an entry.
enum Fault {
    /// A field with a bad value, and what is wrong with it.
    Field(&'static str, String),
    /// An unknown field.
    Unknown(String),
    /// No account has this name.
    NoAccount(String),
    /// The message was sent longer ago than the account's `max_age`.
    TooOld(Arc<str>),
}

impl Fault {
    fn status(&self) -> StatusCode {
        match self {
            Fault::NoAccount(_) => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn text(&self) -> String {
        match self {
            Fault::Field(field, problem) => format!("{field}: {problem}"),
            Fault::Unknown(field) => {
                format!(
                    "{field}: unknown field; the known ones are account, id, application, campaign, sent_at"
                )
            }
            Fault::NoAccount(name) => format!("account: there is no account {name}"),
            Fault::TooOld(_) => "sent_at: longer ago than the account's max_age".to_owned(),
        }
    }
}

fn read(entry: Value, accounts: &[Arc<Account>], now: Timestamp) -> Result<Registration, Fault> {
    let Value::Object(mut entry) = entry else {
        return Err(Fault::Field(
            "account",
            "the entry must be an object".into(),
        ));
    };
    let name =
        text(&mut entry, "account")?.ok_or_else(|| Fault::Field("account", "is missing".into()))?;
    let account = accounts
        .iter()
        .find(|own| own.name.as_ref() == name)
        .ok_or(Fault::NoAccount(name))?;
    if !account.vendor.has_messages() {
        let problem = format!("messages cannot be registered for {}", account.vendor);
        return Err(Fault::Field("account", problem));
    }
    let id = match entry.remove("id") {
        // The digits as they were sent: ids can have more digits than a double can hold.
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        other => {
            if let Some(other) = other {
                entry.insert("id".into(), other);
            }
            text(&mut entry, "id")?.ok_or_else(|| Fault::Field("id", "is missing".into()))?
        }
    };
    let application = match text(&mut entry, "application")? {
        Some(name) => account
            .applications
            .iter()
            .find(|own| own.name.as_ref() == name || own.id.as_ref() == name)
            .ok_or_else(|| {
                Fault::Field("application", format!("there is no application {name}"))
            })?,
        None if account.applications.len() > 1 => {
            let problem = "is missing, and the account has several".to_owned();
            return Err(Fault::Field("application", problem));
        }
        None => account
            .applications
            .first()
            .ok_or_else(|| Fault::Field("application", "the account has none".into()))?,
    };
    let campaign = text(&mut entry, "campaign")?;
    let sent_at = match text(&mut entry, "sent_at")? {
        Some(text) => text.parse().map_err(|_| {
            let problem = format!("{text:?} is not a time; write it like 2026-11-01T10:00:00Z");
            Fault::Field("sent_at", problem)
        })?,
        // Senders register a message when they send it.
        None => now,
    };
    if let Some((mut field, _)) = entry.into_iter().next() {
        if field.len() > MAX_REGISTERED_BYTES {
            field = "a field with a long name".to_owned();
        }
        return Err(Fault::Unknown(field));
    }
    let age = now.duration_since(sent_at);
    if std::time::Duration::try_from(age).is_ok_and(|age| age > account.messages.max_age) {
        return Err(Fault::TooOld(account.name.clone()));
    }
    Ok(Registration {
        account: account.name.clone(),
        message: Message {
            application: application.id.clone(),
            id: Arc::from(id),
            campaign: campaign.map(Arc::from),
            sent_at: Some(sent_at),
        },
    })
}

/// A string field of an entry; `null` and the empty string count as missing.
fn text(entry: &mut Map<String, Value>, field: &'static str) -> Result<Option<String>, Fault> {
    match entry.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) if text.len() > MAX_REGISTERED_BYTES => {
            let problem = format!("is longer than {MAX_REGISTERED_BYTES} bytes");
            Err(Fault::Field(field, problem))
        }
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Fault::Field(field, "must be a string".into())),
    }
}

#[derive(Deserialize)]
struct Which {
    account: Option<String>,
}

async fn messages(
    State(app): State<AppState>,
    Query(which): Query<Which>,
    headers: HeaderMap,
) -> Response {
    if let Err(answer) = allowed(&app, &headers) {
        return *answer;
    }
    let Some(name) = which.account else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "account: is missing: ?account=<name>",
        );
    };
    if !app
        .backend
        .accounts()
        .iter()
        .any(|own| own.name.as_ref() == name)
    {
        return refuse(StatusCode::NOT_FOUND, format!("there is no account {name}"));
    }
    match app.backend.messages(&name).await {
        Ok(messages) => Json(messages).into_response(),
        Err(error) => of_store(&error),
    }
}

async fn status(State(app): State<AppState>, headers: HeaderMap) -> Response {
    if let Err(answer) = allowed(&app, &headers) {
        return *answer;
    }
    match app.backend.status().await {
        Ok(status) => Json(status).into_response(),
        Err(error) => of_store(&error),
    }
}
