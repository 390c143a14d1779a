//! A world of simulated vendors, and the configuration of a customer of all of them.

use std::{path::Path, time::Duration};

use delivery_clock::Clock;
use delivery_simulators::{Known, Options, World, credentials, engagelab};
use serde_json::{Value, json};

/// EngageLab's example with every level.
pub const ENGAGELAB_EXAMPLE: &str =
    include_str!("../../src/providers/engagelab/fixtures/messages-example.json");

/// Starts the vendors, with a little traffic and the vendors' own examples in it.
pub async fn start(clock: &Clock) -> World {
    let options = Options {
        gap: Duration::from_secs(6 * 3600),
        ..Options::default()
    };
    let world = World::start(options, clock)
        .await
        .expect("the simulators start");
    world.infobip.put_bulk(
        "3813836816344707101",
        json!({"totalSent": 31569, "delivered": 29568, "seen": 25632,
            "errors": {"registration": 1654, "expired": 301, "cloud": 46}, "delivery": {"rate": 93.66}}),
    );
    let examples: Value = serde_json::from_str(ENGAGELAB_EXAMPLE).expect("the example is JSON");
    for (id, numbers) in examples.as_object().expect("an object") {
        world.engagelab.put_message(id, numbers.clone());
    }
    world.alibaba.put_message(
        "510427",
        json!({"DeletedCount": 10, "OpenedCount": 30, "SmsReceiveSuccessCount": 0, "SmsSkipCount": 0,
            "SmsReceiveFailedCount": 0, "SmsFailedCount": 0, "ReceivedCount": 60, "SentCount": 100,
            "SmsSentCount": 0, "AcceptCount": 120}),
    );
    let sent = clock.now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    world.pushwoosh.put_message(
        credentials::PUSHWOOSH_APPLICATIONS[0],
        json!({"id": 12_345_678_900_u64, "code": "A444-AAABBBCC-00112233", "send_date": sent, "status": "DONE",
            "push_info": {"metrics": [
                {"sends": 5000, "opens": 120, "deliveries": 0, "inbox_opens": 4, "unshowable_sends": 900, "errors": 3, "platform": 1},
                {"sends": 55902, "opens": 382, "deliveries": 22931, "inbox_opens": 0, "unshowable_sends": 2, "errors": 0, "platform": 3},
                {"sends": 40, "opens": 1, "deliveries": 22, "inbox_opens": 0, "unshowable_sends": 0, "errors": 1, "platform": 17}]}}),
    );
    world.pushwoosh.put_message(
        credentials::PUSHWOOSH_APPLICATIONS[0],
        json!({"id": 12_345_678_901_u64, "code": "B555-AAABBBCC-00112234", "send_date": sent, "status": "PROCESSING",
            "push_info": null, "email_info": {"metrics": [{"sends": "1000", "opens": "210", "deliveries": "940",
                "hard_bounces": "12", "soft_bounces": "31", "rejects": "2", "confirmed_sends": "985", "unsubs": "1",
                "complaints": "1", "errors": "0"}]}}),
    );
    world
}

/// The bulks and messages that the customer names.
pub fn named(messages: &[Known], more: &[&str]) -> Vec<Value> {
    let known = messages.iter().map(|message| {
        let mut entry = json!({"id": message.id});
        if let Some(campaign) = &message.campaign {
            entry["campaign"] = json!(campaign);
        }
        if let Some(sent_at) = message.sent_at {
            entry["sent_at"] = json!(sent_at.to_string());
        }
        entry
    });
    known
        .chain(more.iter().map(|id| json!({"id": id})))
        .collect()
}

/// A store below a directory.
pub fn store(directory: &Path) -> Value {
    json!({
        "url": format!("sqlite:{}", directory.join("delivery.db").display()),
        "spool": directory.join("spool"),
        "replica": "replica-1",
    })
}

/// The customer's configuration: every number counts, and is shown at once. With `more` at the top level. JSON is YAML.
pub fn configuration(world: &World, directory: &Path, more: &Value) -> String {
    let [infobip, engagelab, pushwoosh, alibaba] = &world.servers;
    let password = json!({
        "username": credentials::INFOBIP_USERNAME,
        "password": credentials::INFOBIP_PASSWORD,
    });
    let mut config = json!({
        "store": store(directory),
        "collection": {"zero_hold": "0s", "adopt_age": "0s", "max_interval": "1s"},
        "provider_defaults": {
            "per_message": {"max_messages": 10_000},
            "rate_limit": {"requests_per_second": 10_000, "burst": 10_000},
            "max_concurrency": 8,
        },
        "providers": [
            {"name": "push", "type": "infobip_push", "base_url": infobip.base_url(), "credentials": password,
             "labels": {"team": "crm"},
             "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
             "messages": {"static": named(&world.infobip.messages(), &["3813836816344707101"])}},
            {"name": "mail", "type": "infobip_email", "base_url": infobip.base_url(), "credentials": password},
            {"name": "news", "type": "engagelab", "base_url": engagelab.base_url(),
             "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
             "collect": ["messages", "users", "lifecycle"], "canaries": engagelab::CANARIES,
             "dataset_intervals": {"users": "60s", "lifecycle": "60s"},
             "messages": {"static": named(&world.engagelab.messages(), &["1229760629", "1613113584"])}},
            {"name": "loyalty", "type": "pushwoosh", "base_url": pushwoosh.base_url(),
             "credentials": {"api_token": credentials::PUSHWOOSH_API_TOKEN},
             "applications": [{"id": credentials::PUSHWOOSH_APPLICATIONS[0], "name": "loyalty"},
                              {"id": credentials::PUSHWOOSH_APPLICATIONS[1], "name": "partner"}],
             "messages": {"list": true}},
            {"name": "china", "type": "alibaba_push", "base_url": alibaba.base_url(),
             "credentials": {"access_key_id": credentials::ALIBABA_KEY_ID, "access_key_secret": credentials::ALIBABA_KEY_SECRET},
             "applications": [{"id": credentials::ALIBABA_APP_KEY, "name": "cn"}],
             "messages": {"list": true, "static": ["510427"]}},
        ],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    config.to_string()
}
