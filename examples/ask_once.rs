//! Uses the vendors as a library: queries one account of a configuration once, and prints what the vendor says.
//!
//! ```sh
//! cargo run --example ask_once                             # a simulated Pushwoosh
//! cargo run --example ask_once -- config.yaml shop-push    # an account of a configuration
//! ```
//!
//! Only data sets with the counts of messages are queried: the vendor's own list of messages, or those that the
//! configuration names. Nothing is stored, and nothing that a vendor hands out once is asked for.

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use delivery_clock::Clock;
use delivery_exporter::{
    config::{self, Account, Config},
    model::{Dataset, Message},
    providers::{self, ListQuery, MessagesQuery, Observation, Observer, RequestCode},
};
use delivery_simulators::{Options, World, credentials};

/// Prints each request with how it ended.
struct Printer;

impl Observer for Printer {
    fn request(&self, dataset: Dataset, code: RequestCode) {
        println!("-- a request for {dataset} ended with {code}");
    }

    fn retry(&self, dataset: Dataset) {
        println!("-- {dataset} is queried again");
    }

    fn rate_limited(&self, dataset: Dataset) {
        println!("-- the vendor limits requests for {dataset}");
    }

    fn unknown_field(&self, dataset: Dataset, field: &str) {
        println!("-- {dataset} has a field that is not known: {field}");
    }
}

fn print(observation: &Observation) {
    match observation {
        Observation::MessageSnapshot(snapshot) => {
            for totals in &snapshot.totals {
                let counts: Vec<String> = totals
                    .counts
                    .iter()
                    .map(|(measure, count)| format!("{} {count}", measure.as_str()))
                    .collect();
                println!(
                    "{} on {}: {}",
                    snapshot.id,
                    totals.channel,
                    counts.join(", ")
                );
            }
        }
        Observation::ListedMessage(message) => println!("{} is listed", message.id),
        other => println!("{other:?}"),
    }
}

async fn ask(account: &Account, clock: Clock) -> Result<(), Box<dyn Error>> {
    let provider = providers::build(account, clock.clone(), Arc::new(Printer))?;
    let patience = Duration::from_secs(10);
    for dataset in account.collect.iter().filter(|own| own.has_snapshots()) {
        for (index, application) in account.applications.iter().enumerate() {
            if account.messages.list {
                let oldest = clock.now() - jiff::SignedDuration::from_hours(24);
                let query = ListQuery {
                    dataset: *dataset,
                    application,
                    oldest,
                    since: oldest,
                    max_messages: 100,
                    with_numbers: true,
                    patience,
                };
                let answer = provider.list(query).await;
                answer.observations.iter().for_each(print);
                answer.result?;
                continue;
            }
            let named = account.messages.fixed.iter();
            let named = named.filter(|own| own.application == index);
            let messages: Vec<Message> = named
                .map(|own| Message {
                    application: application.id.clone(),
                    id: own.id.clone(),
                    campaign: own.campaign.clone(),
                    sent_at: own.sent_at,
                })
                .collect();
            for batch in messages.chunks(1) {
                let query = MessagesQuery {
                    dataset: *dataset,
                    application,
                    messages: batch,
                    patience,
                };
                let answer = provider.messages(query).await;
                answer.observations.iter().for_each(print);
                // What was learnt before a failure stays true.
                answer.result?;
            }
        }
    }
    Ok(())
}

/// A configuration for a simulated Pushwoosh.
fn simulated(world: &World) -> Result<Config, config::ConfigErrors> {
    let text = format!(
        "providers: [{{name: loyalty, type: pushwoosh, base_url: '{}', credentials: {{api_token: {}}}, \
         applications: [{{id: {}, name: loyalty}}]}}]",
        world.servers[2].base_url(),
        credentials::PUSHWOOSH_API_TOKEN,
        credentials::PUSHWOOSH_APPLICATIONS[0],
    );
    config::parse(Path::new("simulated"), &text, &|_| None)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let clock = Clock::system();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, name] = arguments.as_slice() else {
        let world = World::start(Options::default(), &clock).await?;
        let config = simulated(&world)?;
        return ask(&config.accounts[0], clock).await;
    };
    let config = config::load(Path::new(file), &|name| std::env::var(name).ok())?;
    let account = config.accounts.iter().find(|own| *own.name == **name);
    let account = account.ok_or_else(|| format!("there is no account {name} in {file}"))?;
    ask(account, clock).await
}
