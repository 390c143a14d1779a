//! `demo`: simulators of all vendors on loopback, with traffic that already has eight days of
//! history, and the exporter on them, through the same HTTP, authentication and signing as with
//! the real ones.

use std::{path::Path, time::Duration};

use delivery_clock::Clock;
use delivery_simulators::{Known, Options, World, credentials, engagelab};
use serde_json::{Value, json};

use super::{FAILED, serve};
use crate::{cli::Cli, config, telemetry};

/// Often enough that a campaign is always under way, seldom enough for the vendors' rate limits.
const CAMPAIGN_EVERY: Duration = Duration::from_secs(3600);

pub(super) async fn run(cli: &Cli) -> u8 {
    // One log for both: the demo pushes no traces.
    let _ = telemetry::start(&cli.flags, None);
    let clock = Clock::system();
    let options = Options {
        gap: CAMPAIGN_EVERY,
        ..Options::default()
    };
    let world = match World::start(options, &clock).await {
        Ok(world) => world,
        Err(error) => {
            tracing::error!(%error, "the simulators cannot start");
            return FAILED;
        }
    };
    let data = std::env::temp_dir().join(format!("delivery-exporter-demo-{}", std::process::id()));
    // JSON is YAML.
    let text = configuration(&world, &data).to_string();
    let config = match config::parse(Path::new("demo"), &text, &|_| None) {
        Ok(config) => config,
        Err(errors) => {
            tracing::error!(%errors, "the demo's own configuration is wrong");
            return FAILED;
        }
    };
    for (server, name) in world
        .servers
        .iter()
        .zip(["Infobip", "EngageLab", "Pushwoosh", "Alibaba"])
    {
        tracing::info!(vendor = name, url = server.base_url(), "simulated");
    }
    let status = serve::serve(cli, &config, clock, None).await;
    // What the simulators handed out is worth nothing to anybody.
    let _ = std::fs::remove_dir_all(&data);
    status
}

/// What a customer of the simulated vendors would write.
fn configuration(world: &World, data: &Path) -> Value {
    let [infobip, engagelab, pushwoosh, alibaba] = &world.servers;
    let infobip_credentials = json!({
        "username": credentials::INFOBIP_USERNAME,
        "password": credentials::INFOBIP_PASSWORD,
    });
    json!({
        "store": {
            "url": format!("sqlite:{}", data.join("delivery.db").display()),
            "spool": data.join("spool"),
        },
        // Soon enough for somebody who looks.
        "collection": {"zero_hold": "10s"},
        "providers": [
            {
                "name": "shop-push",
                "type": "infobip_push",
                "base_url": infobip.base_url(),
                "credentials": infobip_credentials,
                "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
                "messages": {"static": entries(&world.infobip.messages())},
            },
            {
                "name": "shop-mail",
                "type": "infobip_email",
                "base_url": infobip.base_url(),
                "interval": "15s",
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
                "messages": {"static": entries(&world.engagelab.messages())},
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

fn entries(messages: &[Known]) -> Vec<Value> {
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
