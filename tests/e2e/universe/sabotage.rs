//! Faults that are put in on purpose, to see that the universe finds them. None of them is in the
//! product: they are in the store of the universe and in how a replica is killed.

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sabotage {
    /// Nothing.
    #[default]
    None,
    /// A sync is left out: what was committed last before a kill is gone.
    LostCommit,
    /// Whoever has lost an account may still write to it.
    NoFence,
    /// A lease is given to whoever asks for it, over or not.
    StolenLease,
    /// What one replica has released is left to be released by the next one too.
    DoubleRelease,
    /// What a replica counts for the holder of an account does not reach it.
    ForgottenInbox,
    /// Of a transaction that fails, how far things were read is kept.
    EarlyWatermark,
    /// What is handed out once is counted before it is durable: a kill takes the body away.
    UnsyncedSpool,
}

impl Sabotage {
    /// All kinds, by their names in `UNIVERSE_SABOTAGE`.
    pub const ALL: [(&str, Sabotage); 7] = [
        ("lost_commit", Sabotage::LostCommit),
        ("no_fence", Sabotage::NoFence),
        ("stolen_lease", Sabotage::StolenLease),
        ("double_release", Sabotage::DoubleRelease),
        ("forgotten_inbox", Sabotage::ForgottenInbox),
        ("early_watermark", Sabotage::EarlyWatermark),
        ("unsynced_spool", Sabotage::UnsyncedSpool),
    ];

    /// The kind of a name.
    pub fn named(name: &str) -> Sabotage {
        let known = Sabotage::ALL.iter().find(|(own, _)| *own == name);
        known
            .unwrap_or_else(|| panic!("no sabotage is called {name}"))
            .1
    }
}
