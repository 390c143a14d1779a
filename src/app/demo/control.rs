//! Incidents, which keys and HTTP requests from this machine switch on and off:
//!
//! | endpoint | |
//! |---|---|
//! | `GET /demo/incidents` | all of them, and which are on |
//! | `POST /demo/incidents/NAME` | switches one on |
//! | `DELETE /demo/incidents/NAME` | switches it off |

use std::io::Write;

use axum::{
    Extension, Json, Router,
    extract::{Path, Request},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use delivery_simulators::{Incident, Incidents};
use serde_json::{Value, json};

use crate::{progress, web::peer::Peer};

/// Switches incidents, and reports changes on the terminal.
#[derive(Clone)]
pub(super) struct Control {
    incidents: Incidents,
}

/// What an incident does, in a few words.
pub(super) fn effect(incident: Incident) -> &'static str {
    match incident {
        Incident::FcmOutage => "FCM delivers nothing: shop-push, news-push, loyalty",
        Incident::BounceStorm => "a third of the e-mails bounce: shop-mail, loyalty",
        Incident::VendorDown => "Pushwoosh's API answers 503: loyalty",
        Incident::KeyExpired => "EngageLab refuses the key: news-push",
    }
}

/// The effects of an incident on `/metrics`.
fn signs(incident: Incident) -> &'static [&'static str] {
    match incident {
        Incident::FcmOutage => &[
            "delivery_channel_delivered_total{vendor_channel=\"fcm\"} stops increasing",
            "delivery_errors_total{reason=\"cloud\"} grows",
        ],
        Incident::BounceStorm => &["delivery_bounces_total{kind=\"hard\"} grows"],
        Incident::VendorDown => &["delivery_up{account=\"loyalty\"} is 0"],
        Incident::KeyExpired => &[
            "delivery_up{account=\"news-push\"} is 0",
            "delivery_exporter_collect_failures_total{reason=\"unauthorized\"} grows",
        ],
    }
}

impl Control {
    /// Controls these incidents.
    pub(super) fn new(incidents: Incidents) -> Control {
        Control { incidents }
    }

    /// Switches an incident on or off.
    pub(super) fn set(&self, incident: Incident, on: bool) {
        self.incidents.set(incident, on);
    }

    /// Switches an incident, and reports it.
    pub(super) fn switch(&self, incident: Incident, on: bool) {
        self.set(incident, on);
        self.say(&told(incident, on));
    }

    /// Toggles an incident, and reports it.
    pub(super) fn toggle(&self, incident: Incident) {
        self.switch(incident, !self.incidents.is_on(incident));
    }

    /// Ends all incidents.
    pub(super) fn end_all(&self) {
        for incident in Incident::ALL {
            if self.incidents.is_on(incident) {
                self.switch(incident, false);
            }
        }
    }

    /// Reports which incidents are on.
    pub(super) fn say_what_is_on(&self) {
        for incident in Incident::ALL {
            if self.incidents.is_on(incident) {
                self.say(&told(incident, true));
            }
        }
    }

    /// Writes to standard output, which may be closed.
    pub(super) fn say(&self, text: &str) {
        // Skipped in unit tests, which can only capture output that a macro prints.
        if cfg!(test) {
            return;
        }
        progress::suspend_bars(|| {
            let mut output = std::io::stdout().lock();
            let _ = output.write_all(text.as_bytes());
            let _ = output.flush();
        });
    }

    fn list(&self) -> Value {
        let row = |incident: Incident| {
            json!({
                "name": incident.name(),
                "on": self.incidents.is_on(incident),
                "effect": effect(incident),
                "metrics": signs(incident),
            })
        };
        Incident::ALL.into_iter().map(row).collect()
    }
}

/// The report on an incident that was switched.
fn told(incident: Incident, on: bool) -> String {
    if !on {
        return format!("{incident} is off.\n");
    }
    let mut text = format!("{incident} is on: {}.\n", effect(incident));
    text += "In a minute or two, on /metrics:\n";
    for sign in signs(incident) {
        text += &format!("  {sign}\n");
    }
    text
}

/// The endpoints.
pub(super) fn routes(control: Control) -> Router {
    let switch = |on: bool| {
        async move |Extension(control): Extension<Control>, Path(name): Path<String>| {
            let Some(incident) = Incident::from_name(&name) else {
                let names = Incident::ALL.map(Incident::name).join(", ");
                let text = format!("there is no incident {name:?}; there are: {names}\n");
                return (StatusCode::NOT_FOUND, text).into_response();
            };
            control.switch(incident, on);
            told(incident, on).into_response()
        }
    };
    let list = async |Extension(control): Extension<Control>| Json(control.list());
    Router::new()
        .route("/demo/incidents", get(list))
        .route(
            "/demo/incidents/{name}",
            post(switch(true)).delete(switch(false)),
        )
        .layer(Extension(control))
        .layer(middleware::from_fn(only_from_here))
}

/// The demo accepts requests from everywhere, but only this machine may switch incidents.
async fn only_from_here(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>();
    if peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback()) {
        return next.run(request).await;
    }
    let text = "incidents can only be switched from the machine that runs the demo\n";
    (StatusCode::FORBIDDEN, text).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Method};
    use delivery_clock::Clock;
    use tower::ServiceExt;

    use super::*;

    async fn status(control: &Control, method: Method, path: &str, peer: &str) -> StatusCode {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        let address = peer.parse().unwrap();
        request.extensions_mut().insert(Peer(address));
        let answer = routes(control.clone()).oneshot(request).await;
        answer.unwrap().status()
    }

    #[tokio::test]
    async fn incidents_are_switched_over_http_from_this_machine_alone() {
        let (clock, _hand) = Clock::manual("2026-11-01T00:00:00Z".parse().unwrap());
        let control = Control::new(Incidents::new(clock));
        let path = "/demo/incidents/key-expired";
        let is_on = || control.incidents.is_on(Incident::KeyExpired);
        for other in ["192.0.2.1:4711", "[2001:db8::1]:4711"] {
            let refused = status(&control, Method::POST, path, other).await;
            assert_eq!(refused, StatusCode::FORBIDDEN);
            assert!(!is_on());
        }
        for own in ["127.0.0.1:4711", "[::1]:4711", "[::ffff:127.0.0.1]:4711"] {
            assert_eq!(status(&control, Method::POST, path, own).await, 200);
            assert!(is_on());
            assert_eq!(status(&control, Method::DELETE, path, own).await, 200);
            assert!(!is_on());
        }
        let here = "127.0.0.1:1";
        let unknown = status(&control, Method::POST, "/demo/incidents/flood", here).await;
        assert_eq!(unknown, StatusCode::NOT_FOUND);
        let list = status(&control, Method::GET, "/demo/incidents", here).await;
        assert_eq!(list, StatusCode::OK);
    }
}
