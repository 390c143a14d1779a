//! A seed's moods and parts of the story, and how they are changed and shrunk.

use std::fmt;

use delivery_simulators::{Account, Mood, Moods};

use super::{super::luck::mix, outages::outages};

/// How the exporter is ended in the middle of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Never,
    Stop,
    Kill,
}

/// One seed: the moods and the story.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub seed: u64,
    pub(super) moods: Moods,
    /// An outage: whose, and which of [`outages`].
    pub(super) outage: Option<(usize, usize)>,
    pub(super) restart: Restart,
    pub(super) midnight: bool,
    pub(super) collect: bool,
    /// `collect` in the middle of an outage.
    pub(super) collect_in_outage: bool,
    pub(super) default_rate: bool,
    pub(super) old_signature: bool,
    pub(super) concurrency: usize,
    /// Minutes between two campaigns of a vendor.
    pub(super) gap: u64,
    /// The hour at which the story begins.
    pub(super) hour: u64,
}

/// Something that can be taken away from a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The whole mood of an account.
    Mood(Account),
    /// One dimension of it.
    Dimension(Account, &'static str),
    /// A part of the story, by its name in `MOOD_SET`.
    Part(&'static str),
}

const PARTS: [&str; 6] = [
    "outage",
    "restart",
    "midnight",
    "collect",
    "default_rate",
    "old_signature",
];

impl Case {
    /// The case of a seed.
    pub fn from_seed(seed: u64) -> Case {
        let luck = |what: u64| mix(mix(seed, 0x73_746f_7279), what) >> 8;
        let mut moods = Moods::from_seed(seed);
        // In a third of the cases one vendor is unusual, and the others must not notice.
        if luck(1) % 3 == 0 {
            let only = Account::ALL[(luck(2) % 5) as usize];
            moods = Moods::calm().with(only, *moods.of(only));
        }
        // In some none is: then `collect` must not ask for anything twice.
        let all_calm = seed.is_multiple_of(8);
        if all_calm {
            moods = Moods::calm();
        }
        let outage = (luck(3) % 2 == 0).then(|| {
            let kind = luck(5) as usize % outages().len();
            ((luck(4) % 5) as usize, kind)
        });
        let midnight = luck(7) % 4 == 0;
        Case {
            seed,
            moods,
            outage,
            restart: [Restart::Never, Restart::Stop, Restart::Kill][(luck(6) % 3) as usize],
            midnight,
            collect: all_calm || luck(8) % 2 == 0,
            collect_in_outage: luck(9) % 3 == 0,
            default_rate: luck(10) % 4 == 0,
            old_signature: luck(11) % 3 == 0,
            concurrency: 1 + (luck(12) % 8) as usize,
            gap: 100 + luck(13) % 80,
            hour: if midnight { 13 } else { luck(14) % 24 },
        }
    }

    /// The case with changes as in `MOOD_SET`: words such as `pushwoosh.order=usual`,
    /// `pushwoosh=calm`, `all=calm`, `outage=off`.
    pub fn changed(mut self, changes: &str) -> Result<Case, String> {
        for word in changes.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or(format!("{word} is no change"))?;
            match key.split_once('.') {
                Some((name, dimension)) => {
                    for account in named(name)? {
                        self.moods.of_mut(account).set(dimension, value)?;
                    }
                }
                None if value == "calm" => {
                    for account in named(key)? {
                        *self.moods.of_mut(account) = Mood::calm();
                    }
                }
                None if key == "outage" && value != "off" => {
                    let (account, kind) = value.split_once(':').ok_or("outage=0:3")?;
                    let number = |text: &str| text.parse::<usize>().map_err(|e| e.to_string());
                    self.outage = Some((number(account)? % 5, number(kind)? % outages().len()));
                }
                None => {
                    let part = PARTS.iter().find(|own| **own == key);
                    let part = part.ok_or(format!("{key} is no part of the story"))?;
                    self.off(part);
                }
            }
        }
        Ok(self)
    }

    fn off(&mut self, part: &str) {
        match part {
            "outage" => self.outage = None,
            "restart" => self.restart = Restart::Never,
            "midnight" => self.midnight = false,
            "collect" => self.collect = false,
            "default_rate" => self.default_rate = false,
            "old_signature" => self.old_signature = false,
            _ => {}
        }
    }

    /// Whether a piece can be taken away.
    pub fn has(&self, piece: &Piece) -> bool {
        self.without(piece) != *self
    }

    /// The case without a piece.
    pub fn without(&self, piece: &Piece) -> Case {
        let mut case = self.clone();
        match piece {
            Piece::Mood(account) => *case.moods.of_mut(*account) = Mood::calm(),
            Piece::Dimension(account, key) => {
                let own = case.moods.of_mut(*account);
                let mut calm = Mood::calm();
                calm.seed = own.seed;
                let mut rest = *own;
                // Without a value of its own to compare with: read the calm one back from its text.
                if let Some(value) = calm_value(key) {
                    let _ = rest.set(key, &value);
                }
                *own = if rest.is_calm() { calm } else { rest };
            }
            Piece::Part(part) => case.off(part),
        }
        case
    }

    /// Everything that can be taken away, the largest first.
    pub fn simpler(&self) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Account::ALL.into_iter().map(Piece::Mood).collect();
        pieces.extend(PARTS.map(Piece::Part));
        for account in Account::ALL {
            let keys = Mood::KEYS.iter();
            pieces.extend(keys.map(|key| Piece::Dimension(account, key)));
        }
        pieces.retain(|piece| self.has(piece));
        pieces
    }
}

/// The accounts that a name in `MOOD_SET` means.
fn named(name: &str) -> Result<Vec<Account>, String> {
    if name == "all" {
        return Ok(Account::ALL.to_vec());
    }
    let found = Account::ALL.into_iter().find(|own| own.name() == name);
    found
        .map(|own| vec![own])
        .ok_or(format!("{name} is no account"))
}

/// The text of a dimension's usual value: the one with which a calm mood stays calm.
fn calm_value(key: &str) -> Option<String> {
    let words = ["false", "0", "usual", "never", "right", "any", "absent"];
    let stays = |word: &&str| {
        let mut mood = Mood::calm();
        mood.set(key, word).is_ok() && mood.is_calm()
    };
    words
        .iter()
        .find(|word| stays(word))
        .map(|own| (*own).to_owned())
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}, {}", self.seed, self.moods)?;
        if let Some((account, kind)) = self.outage {
            write!(f, "; outage={account}:{kind} ({})", outages()[kind].0)?;
        }
        let Case {
            restart,
            midnight,
            collect,
            default_rate,
            old_signature,
            concurrency,
            ..
        } = self;
        write!(
            f,
            "; restart {restart:?}, midnight {midnight}, collect {collect}, default_rate {default_rate}, \
             old_signature {old_signature}, concurrency {concurrency}"
        )
    }
}
