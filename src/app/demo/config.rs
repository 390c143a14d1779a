//! The demo's configuration: what a customer of the simulated vendors would write.

use std::{net::SocketAddr, path::Path};

use delivery_simulators::{Known, World, credentials, engagelab};
use serde_json::{Value, json};

/// The paths of the lists of sent messages.
pub(super) const SHOP_MESSAGES: &str = "/messages/shop-push";
pub(super) const NEWS_MESSAGES: &str = "/messages/news-push";

/// The configuration, in JSON, which is YAML. `sender` is the address that serves the lists of sent messages.
pub(super) fn configuration(world: &World, data: &Path, sender: SocketAddr) -> Value {
    let [infobip, engagelab, pushwoosh, alibaba] = &world.servers;
    let infobip_credentials = json!({
        "username": credentials::INFOBIP_USERNAME,
        "password": credentials::INFOBIP_PASSWORD,
    });
    let list =
        |path: &str| json!({"url": format!("http://{sender}{path}"), "refresh_interval": "5s"});
    json!({
        "store": {
            "url": format!("sqlite:{}", data.join("delivery.db").display()),
            "spool": data.join("spool"),
        },
        // Short enough for interactive use, but longer than the scrape interval of most Prometheus servers,
        // which must see new counters at 0.
        "collection": {"interval": "15s", "zero_hold": "20s"},
        // Some vendors need one request per message: more than two hundred at the start, and about sixty
        // later. Alibaba, also when simulated, refuses more than fifty requests per second.
        "provider_defaults": {"rate_limit": {"requests_per_second": 20, "burst": 20}},
        "providers": [
            {
                "name": "shop-push",
                "type": "infobip_push",
                "base_url": infobip.base_url(),
                "credentials": infobip_credentials,
                "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
                "messages": {"http": [list(SHOP_MESSAGES)]},
            },
            {
                "name": "shop-mail",
                "type": "infobip_email",
                "base_url": infobip.base_url(),
                "credentials": infobip_credentials,
            },
            {
                "name": "news-push",
                "type": "engagelab",
                "base_url": engagelab.base_url(),
                "credentials": {
                    "app_key": credentials::ENGAGELAB_APP_KEY,
                    "master_secret": credentials::ENGAGELAB_MASTER_SECRET,
                },
                "collect": ["messages", "users", "lifecycle"],
                "canaries": engagelab::CANARIES,
                "messages": {"http": [list(NEWS_MESSAGES)]},
            },
            {
                "name": "loyalty",
                "type": "pushwoosh",
                "base_url": pushwoosh.base_url(),
                "credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
                "applications": [
                    {"id": credentials::PUSHWOOSH_APPLICATIONS[0], "name": "loyalty"},
                    {"id": credentials::PUSHWOOSH_APPLICATIONS[1], "name": "partner"},
                ],
                "collect": ["messages", "bounces", "intervals", "log", "links", "link_devices"],
                "dataset_intervals": {"bounces": "30s", "log": "1m"},
                "messages": {"list": true},
            },
            {
                "name": "china",
                "type": "alibaba_push",
                "base_url": alibaba.base_url(),
                "credentials": {
                    "access_key_id": credentials::ALIBABA_KEY_ID,
                    "access_key_secret": credentials::ALIBABA_KEY_SECRET,
                },
                "applications": [{"id": credentials::ALIBABA_APP_KEY, "name": "china"}],
                "messages": {"list": true},
            },
        ],
    })
}

/// Builds the entries of a list of sent messages.
pub(super) fn entries(messages: &[Known]) -> Vec<Value> {
    let entry = |message: &Known| {
        let mut entry = json!({"id": message.id});
        if let Some(campaign) = &message.campaign {
            entry["campaign"] = json!(campaign);
        }
        if let Some(sent_at) = message.sent_at {
            entry["sent_at"] = json!(sent_at.to_string());
        }
        entry
    };
    messages.iter().map(entry).collect()
}
