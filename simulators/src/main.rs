//! The simulators as a program: all vendors on loopback, until it is stopped.

use std::{io, time::Duration};

use clap::Parser;
use delivery_clock::Clock;
use delivery_simulators::{Account, Incident, Mood, Moods, Options, World, credentials};

/// Simulators of the statistics APIs of Infobip, EngageLab, Pushwoosh and Alibaba Cloud Mobile Push.
#[derive(Parser)]
#[command(version, after_help = format!("Keys and values of --mood-set:\n{}", Mood::settings()))]
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
    /// Besides, one small message of each vendor in so many seconds; 0: none.
    #[arg(long, default_value_t = 0)]
    steady_seconds: u64,
    /// What goes wrong at the vendors. May be given more than once.
    #[arg(long, value_enum)]
    incident: Vec<Incident>,
    /// The first of four ports in a row; 0: free ones.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Vendors that differ from their documentation, each in its own way, drawn from this seed.
    #[arg(long, value_name = "SEED")]
    mood: Option<u64>,
    /// One way in which they differ, for all vendors or for one: `key=value` or `vendor.key=value`,
    /// such as `order=oldest` or `pushwoosh.page_cap=7`. May be given more than once. Vendors:
    /// infobip_push, infobip_email, engagelab, pushwoosh, alibaba_push. The keys are
    /// listed below.
    #[arg(long, value_name = "KEY=VALUE")]
    mood_set: Vec<String>,
    /// How many milliseconds the answers of a slow vendor are late.
    #[arg(long, default_value_t = 5)]
    slow_ms: u64,
}

/// The moods that the flags describe.
fn moods(seed: Option<u64>, settings: &[String]) -> Result<Moods, String> {
    let mut moods = seed.map_or_else(Moods::calm, Moods::from_seed);
    for setting in settings {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("{setting:?} is not key=value"))?;
        let (vendor, key) = key
            .split_once('.')
            .map_or((None, key), |(vendor, key)| (Some(vendor), key));
        let meant: Vec<Account> = Account::ALL
            .into_iter()
            .filter(|account| vendor.is_none_or(|name| account.name() == name))
            .collect();
        if meant.is_empty() {
            return Err(format!("{setting:?} names no vendor"));
        }
        for account in meant {
            Mood::set(moods.of_mut(account), key, value)?;
        }
    }
    Ok(moods)
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let cli = Cli::parse();
    let options = Options {
        seed: cli.seed,
        history: Duration::from_secs(cli.history_hours * 3600),
        gap: Duration::from_secs(cli.gap_minutes.max(1) * 60),
        steady: (cli.steady_seconds > 0).then(|| Duration::from_secs(cli.steady_seconds)),
        port: cli.port,
        moods: moods(cli.mood, &cli.mood_set).map_err(io::Error::other)?,
        record: true,
        slow_by: Duration::from_millis(cli.slow_ms),
    };
    let world = World::start(options, &Clock::system()).await?;
    for incident in cli.incident {
        world.incidents.set(incident, true);
    }
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
    for account in Account::ALL {
        println!("mood of {}: {}", account.name(), world.mood(account));
    }
    tokio::signal::ctrl_c().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_for_all_vendors_or_for_one() {
        let settings = ["order=oldest".to_owned(), "pushwoosh.page_cap=7".to_owned()];
        let moods = moods(None, &settings).unwrap();
        assert_eq!(
            moods.of(Account::Alibaba).to_string(),
            "seed=0 order=oldest"
        );
        assert_eq!(
            moods.of(Account::Pushwoosh).to_string(),
            "seed=0 order=oldest page_cap=7"
        );
        assert_eq!(super::moods(Some(9), &[]).unwrap(), Moods::from_seed(9));
        for wrong in ["order", "order=best", "mailgun.order=oldest", "colour=red"] {
            assert!(super::moods(None, &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
