//! `/probe`: the multi-target pattern. One message of a configured account, asked for now.

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::Site;
use crate::outputs::exposition;

#[derive(Deserialize)]
pub(super) struct Target {
    account: Option<String>,
    message_id: Option<String>,
    application: Option<String>,
}

pub(super) async fn probe(
    State(site): State<Site>,
    Query(target): Query<Target>,
    headers: HeaderMap,
) -> Response {
    let bad = |text: String| (StatusCode::BAD_REQUEST, format!("{text}\n")).into_response();
    let Some(name) = target.account else {
        return bad("account is missing: /probe?account=<name>&message_id=<id>".into());
    };
    let accounts = site.backend.accounts();
    let Some(account) = accounts.iter().find(|own| own.name.as_ref() == name) else {
        let text = format!("there is no account {name}\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    if !account.provider.has_messages() {
        return bad(format!(
            "{} hands its reports out once; a probe would lose them",
            account.provider
        ));
    }
    let Some(message) = target.message_id.filter(|id| !id.trim().is_empty()) else {
        return bad("message_id is missing".into());
    };
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
    let probed = site.backend.probe(account, application, &message).await;
    super::answer(exposition::answer(&headers, |visitor| {
        site.backend.show_probe(account, &probed, visitor);
    }))
}
