//! Chance that comes from a seed.

/// Mixes two numbers into one that looks like chance (the finalizer of SplitMix64).
pub fn mix(seed: u64, what: u64) -> u64 {
    let mut mixed = seed ^ what.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Draws one number after another.
pub struct Luck {
    seed: u64,
    drawn: u64,
}

impl Luck {
    /// Draws from a seed.
    pub fn new(seed: u64) -> Luck {
        Luck { seed, drawn: 0 }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.drawn += 1;
        mix(self.seed, self.drawn) >> 8
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True in `share` of 100 cases.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}
