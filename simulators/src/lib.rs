//! Simulators of the statistics APIs of five message vendors.
//!
//! Each speaks its vendor's protocol over HTTP on this machine: documented requests, answers, error
//! codes, authentication and limits. The traffic looks like that of real campaigns, and is a pure
//! function of a seed and the time of a [`Clock`], so that the books can be asked for any moment.
//! Faults come on demand. Nothing here knows a program that uses these APIs.

pub mod alibaba;
pub mod engagelab;
pub mod faults;
pub mod incident;
pub mod infobip;
pub mod mood;
pub mod pushwoosh;
mod server;
pub mod traffic;

use std::{collections::BTreeMap, io, net::SocketAddr, time::Duration};

use delivery_clock::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

pub use incident::{Incident, Incidents};
pub use mood::{Account, Mood, Moods};
pub use server::{Received, Running, Service};
use traffic::{Steady, Traffic};

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
    /// What goes wrong at them.
    pub incidents: Incidents,
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
    /// Besides, one small message of each vendor in every such time, from a quarter of an hour ago
    /// on, and twenty e-mails in it; `None`: campaigns alone.
    pub steady: Option<Duration>,
    /// The first of four ports in a row; 0: free ones.
    pub port: u16,
    /// How each account's vendor differs from its documentation.
    pub moods: Moods,
    /// Whether what the vendors say is kept for [`World::told`]. Where a mood is not calm, it is in
    /// any case.
    pub record: bool,
    /// By how much the slow answers of a mood are late, in real time.
    pub slow_by: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            seed: 1,
            history: Duration::from_secs(8 * 86_400),
            gap: Duration::from_secs(2 * 3600),
            steady: None,
            port: 0,
            moods: Moods::calm(),
            record: false,
            slow_by: Duration::from_millis(5),
        }
    }
}

/// Small messages were sent for so long before the world started.
const STEADY_BEFORE: SignedDuration = SignedDuration::from_mins(15);
/// So many e-mails are sent in the time of one small message.
const EMAILS: u32 = 20;

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
            seed,
            gap,
            steady,
            port,
            moods,
            record,
            slow_by,
            ..
        } = options;
        let own = || clock.clone();
        let incidents = Incidents::new(own());
        let small = steady.map(|every| Steady {
            begin: clock.now() - STEADY_BEFORE,
            every: SignedDuration::try_from(every).unwrap_or(STEADY_BEFORE),
        });
        let traffic = |place: u64| {
            Traffic::new(seed + place, begin, gap)
                .with_steady(small)
                .with_incidents(incidents.clone())
        };
        let mut account =
            infobip::Options::basic(INFOBIP_USERNAME, INFOBIP_PASSWORD, INFOBIP_APPLICATION);
        if let Some(every) = steady {
            account.email_every = every / EMAILS;
        }
        let infobip = infobip::Infobip::with_traffic(own(), traffic(1), account);
        let account = engagelab::Options::new(ENGAGELAB_APP_KEY, ENGAGELAB_MASTER_SECRET);
        let engagelab = engagelab::Engagelab::with_traffic(own(), traffic(2), account);
        let account = pushwoosh::Options::new(PUSHWOOSH_API_TOKEN, &PUSHWOOSH_APPLICATIONS);
        let pushwoosh = pushwoosh::Pushwoosh::with_traffic(own(), traffic(3), account);
        let account = alibaba::Options::new(ALIBABA_KEY_ID, ALIBABA_KEY_SECRET, &[ALIBABA_APP_KEY]);
        let alibaba = alibaba::Alibaba::with_traffic(own(), traffic(4), account);
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
        let world = World {
            infobip,
            engagelab,
            pushwoosh,
            alibaba,
            incidents,
            servers,
        };
        for account in Account::ALL {
            world.acting(account).set_slow_by(slow_by);
            world.set_mood(account, *moods.of(account));
            if record {
                world.acting(account).record();
            }
        }
        Ok(world)
    }

    /// The mood of an account, and what was done in it.
    pub fn acting(&self, account: Account) -> &mood::Acting {
        match account {
            Account::InfobipPush => self.infobip.acting_push(),
            Account::InfobipEmail => self.infobip.acting_email(),
            Account::Engagelab => self.engagelab.acting(),
            Account::Pushwoosh => self.pushwoosh.acting(),
            Account::Alibaba => self.alibaba.acting(),
        }
    }

    /// The mood of an account.
    pub fn mood(&self, account: Account) -> Mood {
        self.acting(account).mood()
    }

    /// Changes the mood of an account.
    pub fn set_mood(&self, account: Account, mood: Mood) {
        self.acting(account).set_mood(mood);
    }

    /// What is true now at an account's vendor, in the documented form. Both of Infobip's accounts
    /// have one book.
    pub fn books(&self, account: Account) -> Value {
        match account {
            Account::InfobipPush | Account::InfobipEmail => self.infobip.books(),
            Account::Engagelab => self.engagelab.books(),
            Account::Pushwoosh => self.pushwoosh.books(),
            Account::Alibaba => self.alibaba.books(),
        }
    }

    /// What an account's vendor said in good answers, in the documented form.
    pub fn told(&self, account: Account) -> Value {
        match account {
            Account::InfobipPush | Account::InfobipEmail => self.infobip.told(),
            Account::Engagelab => self.engagelab.told(),
            Account::Pushwoosh => self.pushwoosh.told(),
            Account::Alibaba => self.alibaba.told(),
        }
    }

    /// The ids that an account's vendor refuses for good.
    pub fn refused(&self, account: Account) -> Vec<String> {
        match account {
            Account::InfobipPush => self.infobip.refused(),
            Account::InfobipEmail => Vec::new(),
            Account::Engagelab => self.engagelab.refused(),
            Account::Pushwoosh => self.pushwoosh.refused(),
            Account::Alibaba => self.alibaba.refused(),
        }
    }

    /// How many requests each endpoint of an account has had.
    pub fn requests(&self, account: Account) -> BTreeMap<String, u64> {
        self.acting(account).requests()
    }

    /// When each endpoint of an account last answered with an error.
    pub fn last_errors(&self, account: Account) -> BTreeMap<String, Timestamp> {
        self.acting(account).last_errors()
    }

    /// How often each unusual thing was done, by the name of the mood's dimension.
    pub fn acted(&self, account: Account) -> BTreeMap<&'static str, u64> {
        self.acting(account).acted()
    }
}
