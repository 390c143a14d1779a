//! The simulators as a program: all vendors on loopback, until it is stopped.

use std::{io, time::Duration};

use clap::Parser;
use delivery_clock::Clock;
use delivery_simulators::{Options, World, credentials};

/// Simulators of the statistics APIs of Infobip, EngageLab, Pushwoosh and Alibaba Cloud Mobile Push.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Another seed, another world.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many hours back the traffic goes.
    #[arg(long, default_value_t = 192)]
    history_hours: u64,
    /// One campaign of each vendor in so many minutes.
    #[arg(long, default_value_t = 120)]
    gap_minutes: u64,
    /// The first of four ports in a row; 0: free ones.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let cli = Cli::parse();
    let options = Options {
        seed: cli.seed,
        history: Duration::from_secs(cli.history_hours * 3600),
        gap: Duration::from_secs(cli.gap_minutes.max(1) * 60),
        port: cli.port,
    };
    let world = World::start(options, &Clock::system()).await?;
    let [infobip, engagelab, pushwoosh, alibaba] = &world.servers;
    println!(
        "infobip    {}  username {:?}, password {:?}, applicationCode {}",
        infobip.base_url(),
        credentials::INFOBIP_USERNAME,
        credentials::INFOBIP_PASSWORD,
        credentials::INFOBIP_APPLICATION
    );
    println!(
        "engagelab  {}  app_key {}, master_secret {}",
        engagelab.base_url(),
        credentials::ENGAGELAB_APP_KEY,
        credentials::ENGAGELAB_MASTER_SECRET
    );
    println!(
        "pushwoosh  {}  api_token {}, applications {}",
        pushwoosh.base_url(),
        credentials::PUSHWOOSH_API_TOKEN,
        credentials::PUSHWOOSH_APPLICATIONS.join(" ")
    );
    println!(
        "alibaba    {}  access_key_id {}, access_key_secret {}, AppKey {}",
        alibaba.base_url(),
        credentials::ALIBABA_KEY_ID,
        credentials::ALIBABA_KEY_SECRET,
        credentials::ALIBABA_APP_KEY
    );
    println!("faults: POST /_simulator/faults, DELETE; books: GET /_simulator/books");
    tokio::signal::ctrl_c().await
}
