//! `demo`: simulators of all vendors on loopback, with eight days of history and new messages every minute,
//! and an exporter that collects from them with the same HTTP, authentication and signing as from the real
//! vendors. Incidents can be switched on and off while it runs.

mod config;
mod control;
mod directory;
mod greeting;
mod keys;
mod prometheus;
mod sender;

use std::{path::Path, sync::Arc, time::Duration};

use delivery_clock::Clock;
use delivery_simulators::{Options, World};
use futures_util::FutureExt;
use tokio::sync::Mutex;

use self::{control::Control, directory::Directory, prometheus::Prometheus};
use super::{
    FAILED,
    serve::{self, Extras},
};
use crate::{
    cli::{Cli, Demo},
    config as configuration, telemetry,
};

/// Short enough that a campaign is always being delivered, long enough for the vendors' rate limits.
const CAMPAIGN_EVERY: Duration = Duration::from_secs(3600);
/// Ensures that counters increase every minute.
const MESSAGE_EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(cli: &Cli, demo: &Demo) -> u8 {
    // The simulators and the exporter share one log; the demo pushes no traces.
    let _ = telemetry::start(&cli.flags, None);
    match start(cli, demo).await {
        Ok(status) => status,
        Err(problem) => {
            eprintln!("delivery-exporter: demo: {problem}");
            FAILED
        }
    }
}

/// Runs the demo until it ends; the error says why it cannot start.
async fn start(cli: &Cli, demo: &Demo) -> Result<u8, String> {
    if demo.with_prometheus {
        prometheus::find().await?;
    }
    let clock = Clock::system();
    let options = Options {
        gap: CAMPAIGN_EVERY,
        steady: Some(MESSAGE_EVERY),
        ..Options::default()
    };
    let world = World::start(options, &clock).await;
    let world = Arc::new(world.map_err(|error| format!("the simulators cannot start: {error}"))?);
    // The collected data is useless after the demo.
    let directory = Directory::create()
        .map_err(|error| format!("cannot create a temporary directory: {error}"))?;
    let sender = sender::start(world.clone())
        .await
        .map_err(|error| format!("the list of messages cannot be served: {error}"))?;
    let text = config::configuration(&world, directory.path(), sender.address()).to_string();
    let config = configuration::parse(Path::new("demo"), &text, &|_| None)
        .map_err(|errors| format!("the demo's own configuration is invalid:\n{errors}"))?;
    for (server, name) in world
        .servers
        .iter()
        .zip(["Infobip", "EngageLab", "Pushwoosh", "Alibaba"])
    {
        tracing::debug!(vendor = name, url = server.base_url(), "simulated");
    }
    let control = Control::new(world.incidents.clone());
    for incident in &demo.incident {
        control.set(*incident, true);
    }
    let prometheus: Arc<Mutex<Option<Prometheus>>> = Arc::default();
    let keys = keys::Keys::take();
    let listening = {
        let (control, slot) = (control.clone(), prometheus.clone());
        let data = demo.with_prometheus.then(|| directory.path().to_owned());
        let has_keys = keys.is_some();
        let telemetry_path = cli.flags.telemetry_path.clone();
        move |listening: serve::Listening| {
            async move {
                let base = greeting::base(&listening);
                let started = match data {
                    None => None,
                    Some(data) => Some(prometheus::start(&data, &base, &telemetry_path).await),
                };
                let url = started.as_ref().map(|own| match own {
                    Ok(prometheus) => Ok(prometheus.url().to_owned()),
                    Err(problem) => Err(problem.clone()),
                });
                *slot.lock().await = started.and_then(Result::ok);
                let text = greeting::text(&base, &telemetry_path, url.as_ref(), has_keys);
                control.say(&text);
                control.say_what_is_on();
            }
            .boxed()
        }
    };
    if let Some(keys) = &keys {
        keys.listen(control.clone());
    }
    let extras = Extras {
        routes: control::routes(control),
        on_listening: Box::new(listening),
    };
    let status = serve::serve(cli, &config, clock, None, Some(extras)).await;
    if let Some(prometheus) = prometheus.lock().await.take() {
        prometheus.stop().await;
    }
    Ok(status)
}
