//! Combines the CRC-32 checksums of parts into the checksum of the whole text, which ends a gzip file. The
//! parts were compressed much earlier.
//!
//! A checksum is a remainder modulo the CRC's polynomial, with the lowest power of x in the highest bit.
//! Appending n bytes multiplies the checksum of the preceding text by x to the power of 8n.

use crate::series::Checksum;

/// The polynomial of gzip (RFC 1952, 8), bit by bit.
const POLYNOMIAL: u32 = 0xedb8_8320;
/// x to the power of 0.
const ONE: u32 = 1 << 31;

/// x to the power of 2 to the power of the index.
static POWERS: [u32; 32] = powers();

const fn multiply(mut left: u32, mut right: u32) -> u32 {
    let mut product = 0;
    while left != 0 {
        if left & ONE != 0 {
            product ^= right;
        }
        left <<= 1;
        right = (right >> 1) ^ if right & 1 == 0 { 0 } else { POLYNOMIAL };
    }
    product
}

const fn powers() -> [u32; 32] {
    let mut powers = [ONE >> 1; 32];
    let mut index = 1;
    while index < 32 {
        powers[index] = multiply(powers[index - 1], powers[index - 1]);
        index += 1;
    }
    powers
}

/// x to the power of eight times `length`.
fn shift(mut length: u64) -> u32 {
    let (mut found, mut index) = (ONE, 3);
    while length != 0 {
        if length & 1 != 0 {
            found = multiply(POWERS[index % 32], found);
        }
        length >>= 1;
        index += 1;
    }
    found
}

/// The checksum of an empty text.
pub(super) const EMPTY: Checksum = Checksum {
    crc: 0,
    shift: ONE,
    length: 0,
};

/// The checksum of a text.
pub(super) fn of(text: &[u8]) -> Checksum {
    let length = text.len() as u64;
    Checksum {
        crc: crc32fast::hash(text),
        shift: shift(length),
        length,
    }
}

/// Updates the checksum of a text for another text after it. Does not update `shift`.
pub(super) fn append(first: &mut Checksum, second: Checksum) {
    first.crc = multiply(second.shift, first.crc) ^ second.crc;
    first.length += second.length;
}

/// The checksum of one text followed by another.
pub(super) fn join(first: Checksum, second: Checksum) -> Checksum {
    let mut both = first;
    append(&mut both, second);
    both.shift = multiply(second.shift, first.shift);
    both
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_parts_are_the_sum_of_the_whole() {
        let text: Vec<u8> = (0..100_000_u64).map(|n| (n * n % 251) as u8).collect();
        let whole = of(&text);
        for cut in [0, 1, 7, 255, 256, 65_535, 99_999, 100_000] {
            let (first, second) = text.split_at(cut);
            assert_eq!(join(of(first), of(second)), whole, "cut at {cut}");
        }
        let parts = text.chunks(1013).map(of);
        assert_eq!(parts.fold(EMPTY, join), whole);
    }
}
