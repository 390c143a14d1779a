//! Simulators of the statistics APIs of five message vendors.
//!
//! Each speaks its vendor's protocol over HTTP on this machine: documented requests, answers, error
//! codes, authentication and limits. The traffic looks like that of real campaigns, and is a pure
//! function of a seed and the time of a [`Clock`], so that the books can be asked for any moment.
//! Faults come on demand. Nothing here knows a program that uses these APIs.

pub mod alibaba;
pub mod engagelab;
pub mod faults;
pub mod infobip;
pub mod pushwoosh;
mod server;
pub mod traffic;

use std::{io, net::SocketAddr, time::Duration};

use delivery_clock::Clock;
use jiff::{SignedDuration, Timestamp};

pub use server::{Received, Running};

/// A message that the customer has sent, as the customer's own systems know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The vendor's id of the application; empty where there is none.
    pub application: String,
    /// The vendor's id of the message.
    pub id: String,
    /// The campaign.
    pub campaign: Option<String>,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
}

/// All vendors, with traffic.
pub struct World {
    /// Infobip, push and e-mail.
    pub infobip: infobip::Infobip,
    /// EngageLab.
    pub engagelab: engagelab::Engagelab,
    /// Pushwoosh.
    pub pushwoosh: pushwoosh::Pushwoosh,
    /// Alibaba.
    pub alibaba: alibaba::Alibaba,
    /// The servers, in the same order.
    pub servers: [Running; 4],
}

/// The credentials of the simulated accounts. They open nothing but these simulators.
pub mod credentials {
    /// Infobip's user name.
    pub const INFOBIP_USERNAME: &str = "Aladdin";
    /// Infobip's password.
    pub const INFOBIP_PASSWORD: &str = "open sesame";
    /// Infobip's application code.
    pub const INFOBIP_APPLICATION: &str = "15f5e3f8ef4018d73a6822eff5dc38a9";
    /// EngageLab's AppKey.
    pub const ENGAGELAB_APP_KEY: &str = "7d431e42dfa6a6d693ac2d04";
    /// EngageLab's master secret.
    pub const ENGAGELAB_MASTER_SECRET: &str = "5e987ac6d2e04d95a9d8f0d1";
    /// Pushwoosh's server token.
    pub const PUSHWOOSH_API_TOKEN: &str = "simulated-server-token";
    /// Pushwoosh's applications.
    pub const PUSHWOOSH_APPLICATIONS: [&str; 2] = ["AAAAA-11111", "BBBBB-22222"];
    /// The id of Alibaba's key.
    pub const ALIBABA_KEY_ID: &str = "testid";
    /// Its secret.
    pub const ALIBABA_KEY_SECRET: &str = "testsecret";
    /// Alibaba's AppKey.
    pub const ALIBABA_APP_KEY: &str = "23267207";
}

/// What a world is like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Another seed, another world.
    pub seed: u64,
    /// How far back the traffic goes.
    pub history: Duration,
    /// One campaign of each vendor in every such time.
    pub gap: Duration,
    /// The first of four ports in a row; 0: free ones.
    pub port: u16,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 1,
            history: Duration::from_secs(8 * 86_400),
            gap: Duration::from_secs(2 * 3600),
            port: 0,
        }
    }
}

impl World {
    /// Starts all vendors on loopback.
    ///
    /// # Errors
    ///
    /// A port cannot be listened on.
    pub async fn start(options: Options, clock: &Clock) -> io::Result<World> {
        use credentials::*;
        let history = SignedDuration::try_from(options.history).unwrap_or_default();
        let begin = clock.now() - history;
        let Options {
            seed, gap, port, ..
        } = options;
        let own = || clock.clone();
        let account =
            infobip::Options::basic(INFOBIP_USERNAME, INFOBIP_PASSWORD, INFOBIP_APPLICATION);
        let infobip = infobip::Infobip::new(own(), seed + 1, begin, gap, account);
        let account = engagelab::Options::new(ENGAGELAB_APP_KEY, ENGAGELAB_MASTER_SECRET);
        let engagelab = engagelab::Engagelab::new(own(), seed + 2, begin, gap, account);
        let account = pushwoosh::Options::new(PUSHWOOSH_API_TOKEN, &PUSHWOOSH_APPLICATIONS);
        let pushwoosh = pushwoosh::Pushwoosh::new(own(), seed + 3, begin, gap, account);
        let account = alibaba::Options::new(ALIBABA_KEY_ID, ALIBABA_KEY_SECRET, &[ALIBABA_APP_KEY]);
        let alibaba = alibaba::Alibaba::new(own(), seed + 4, begin, gap, account);
        let address = |place: u16| {
            let port = if port == 0 { 0 } else { port + place };
            SocketAddr::from(([127, 0, 0, 1], port))
        };
        let servers = [
            infobip.start(address(0)).await?,
            engagelab.start(address(1)).await?,
            pushwoosh.start(address(2)).await?,
            alibaba.start(address(3)).await?,
        ];
        Ok(World {
            infobip,
            engagelab,
            pushwoosh,
            alibaba,
            servers,
        })
    }
}
