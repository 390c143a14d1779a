//! `/probe`: the multi-target pattern. Queries one message of a configured account now.

use std::time::Duration;

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::AppState;
use crate::{model::MAX_REGISTERED_BYTES, outputs::exposition};

#[derive(Deserialize)]
pub(super) struct Target {
    account: Option<String>,
    message_id: Option<String>,
    application: Option<String>,
}

pub(super) async fn probe(
    State(app): State<AppState>,
    Query(target): Query<Target>,
    headers: HeaderMap,
) -> Response {
    let bad = |text: String| (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response();
    let Some(name) = target.account else {
        return bad("account is missing: /probe?account=<name>&message_id=<id>".into());
    };
    let accounts = app.backend.accounts();
    let Some(account) = accounts.iter().find(|own| own.name.as_ref() == name) else {
        let text = format!("there is no account {name}\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    if !account.vendor.has_messages() {
        return bad(format!(
            "{} delivers its reports only once; a probe would lose them",
            account.vendor
        ));
    }
    let Some(message) = target.message_id.filter(|id| !id.trim().is_empty()) else {
        return bad("message_id is missing".into());
    };
    if message.len() > MAX_REGISTERED_BYTES {
        return bad(format!(
            "message_id is longer than {MAX_REGISTERED_BYTES} bytes"
        ));
    }
    let application = match &target.application {
        Some(name) => account
            .applications
            .iter()
            .position(|own| own.name.as_ref() == name || own.id.as_ref() == name),
        None if account.applications.len() == 1 => Some(0),
        None => return bad("application is missing, and the account has several".into()),
    };
    let Some(application) = application else {
        return bad("there is no such application".into());
    };
    let probed = match app.backend.probe(account, application, &message).await {
        Ok(probed) => probed,
        Err(wait) => return too_many(wait),
    };
    super::answer(exposition::answer(&headers, |visitor| {
        app.backend.show_probe(account, &probed, visitor);
    }))
}

/// Probes have used up their share of the account's rate limit.
fn too_many(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let text = format!(
        "probes have used up their share of the account's rate_limit; try again in {seconds} s\n"
    );
    let retry = [(header::RETRY_AFTER, seconds.max(1).to_string())];
    (StatusCode::TOO_MANY_REQUESTS, retry, text).into_response()
}
