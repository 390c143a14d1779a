//! `/webhooks`: vendors push delivery reports here, into the same ledger as the polled ones.

use axum::{
    Router,
    body::to_bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};

use super::{AppState, tokens};

/// The routes. The vendor may be unable to send a header: the token can be the path's end, which
/// nobody logs.
pub(super) fn router() -> Router<AppState> {
    Router::new()
        .route("/webhooks/infobip/email/{account}", post(by_header))
        .route("/webhooks/infobip/email/{account}/{token}", post(by_path))
}

async fn by_header(
    State(app): State<AppState>,
    Path(account): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let token = tokens::bearer(&headers).or_else(|| tokens::basic_password(&headers));
    take(&app, &account, token.as_deref(), request).await
}

async fn by_path(
    State(app): State<AppState>,
    Path((account, token)): Path<(String, String)>,
    request: Request,
) -> Response {
    take(&app, &account, Some(&token), request).await
}

async fn take(app: &AppState, account: &str, token: Option<&str>, request: Request) -> Response {
    let accounts = app.backend.accounts();
    let known = accounts.iter().find(|own| own.name.as_ref() == account);
    let Some(secret) = known.and_then(|own| own.webhook_token.as_ref()) else {
        return (StatusCode::NOT_FOUND, "there is no such webhook\n").into_response();
    };
    if !tokens::is_right(token, secret) {
        app.backend.refused(account);
        let scheme = [(header::WWW_AUTHENTICATE, "Bearer, Basic realm=\"webhook\"")];
        let text = "send the account's webhook_token: as bearer token, as password, or at the end of the path\n";
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
            return (status, "the body cannot be taken\n").into_response();
        }
    };
    match app.backend.pushed(account, body).await {
        Ok(_) => StatusCode::OK.into_response(),
        Err(error) => {
            app.backend.refused(account);
            tracing::error!(
                account,
                error,
                "a pushed body cannot be kept; the vendor will send it again"
            );
            (StatusCode::SERVICE_UNAVAILABLE, "try again\n").into_response()
        }
    }
}
