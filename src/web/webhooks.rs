//! `/webhooks`: vendors push delivery reports here, which are counted in the same ledger as polled ones.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router,
    body::to_bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use super::{AppState, tokens};
use crate::{config::Account, providers::Vendors};

/// The routes of the vendors that push. Some vendors cannot send a header, so the token can also be the end
/// of the path, which is never logged.
pub(super) fn router(vendors: Vendors) -> Router<AppState> {
    let paths: BTreeSet<&'static str> = vendors
        .iter()
        .filter_map(|vendor| Some(vendor.webhook()?.1))
        .collect();
    let route = |router: Router<AppState>, own: &'static str| {
        let by_header = async move |app: State<AppState>,
                                    Path(account): Path<String>,
                                    headers: HeaderMap,
                                    request: Request| {
            let token = tokens::bearer(&headers).or_else(|| tokens::basic_password(&headers));
            take(&app, own, &account, token.as_deref(), request).await
        };
        let by_path = async move |app: State<AppState>,
                                  Path((account, token)): Path<(String, String)>,
                                  request: Request| {
            take(&app, own, &account, Some(&token), request).await
        };
        router
            .route(&format!("{own}/{{account}}"), post(by_header))
            .route(&format!("{own}/{{account}}/{{token}}"), post(by_path))
    };
    paths.into_iter().fold(Router::new(), route)
}

async fn take(
    app: &AppState,
    path: &str,
    account: &str,
    token: Option<&str>,
    request: Request,
) -> Response {
    let accounts = app.backend.accounts();
    let known = accounts.iter().find(|own| own.name.as_ref() == account);
    let pushes_here = |own: &&Arc<Account>| {
        let webhook = own.vendor.webhook();
        webhook.is_some_and(|(_, own)| own == path)
    };
    let known = known.filter(pushes_here);
    let Some(secret) = known.and_then(|own| own.webhook_token.as_ref()) else {
        return (StatusCode::NOT_FOUND, "no such webhook\n").into_response();
    };
    if !tokens::is_right(token, secret) {
        app.backend.refused(account);
        let scheme = [(header::WWW_AUTHENTICATE, "Bearer, Basic realm=\"webhook\"")];
        let text = "send the account's webhook_token as a bearer token, as a password, or at the end of the path\n";
        return (StatusCode::UNAUTHORIZED, scheme, text).into_response();
    }
    let body = match to_bytes(request.into_body(), app.backend.max_body()).await {
        Ok(body) => body,
        Err(error) => {
            app.backend.refused(account);
            let error: &dyn std::error::Error = &error;
            let too_long = std::iter::successors(Some(error), |own| own.source())
                .any(|own| own.is::<http_body_util::LengthLimitError>());
            let status = if too_long {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            return (status, "the body cannot be accepted\n").into_response();
        }
    };
    match app.backend.pushed(account, body).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(error) => {
            app.backend.refused(account);
            tracing::error!(
                account,
                error,
                "a pushed body cannot be stored; the vendor will send it again"
            );
            (StatusCode::SERVICE_UNAVAILABLE, "try again\n").into_response()
        }
    }
}
