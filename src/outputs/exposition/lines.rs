//! A deflate compressor for short texts. A general compressor clears its tables before each segment, which
//! takes longer than compressing a few nearly identical lines. So each line is encoded relative to the
//! previous one, with the fixed codes of RFC 1951, 3.2.6. The result is larger than with dynamic codes, but
//! takes a tenth of the time.

/// The minimum length of a back-reference that saves space.
const LEAST: usize = 4;
/// The maximum length of a back-reference.
const MOST: usize = 258;
/// The maximum distance of a back-reference.
const REACH: usize = 32 << 10;
const END: u16 = 256;

/// The first lengths of the codes 257 to 285, and their extra bits.
#[rustfmt::skip]
const LENGTHS: [(u16, u8); 29] = [
    (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1),
    (15, 1), (17, 1), (19, 2), (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3), (59, 3),
    (67, 4), (83, 4), (99, 4), (115, 4), (131, 5), (163, 5), (195, 5), (227, 5), (258, 0),
];

/// Writes bits, least significant first.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    waiting: u64,
    count: u32,
}

impl Bits<'_> {
    /// Writes the lowest `count` bits, at most 32.
    fn put(&mut self, bits: u32, count: u32) {
        self.waiting |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.out.extend_from_slice(&self.waiting.to_le_bytes()[..4]);
            self.waiting >>= 32;
            self.count -= 32;
        }
    }

    fn symbol(&mut self, symbol: u16) {
        let (code, count) = SYMBOLS[usize::from(symbol)];
        self.put(code.into(), count.into());
    }

    /// Writes a back-reference to `length` bytes, `distance` bytes ago.
    fn reference(&mut self, length: usize, distance: usize) {
        let index = LENGTHS.partition_point(|(first, _)| usize::from(*first) <= length) - 1;
        let (first, extra) = LENGTHS[index];
        #[expect(clippy::cast_possible_truncation, reason = "at most 258 and 32,768")]
        let (index, length, distance) = (index as u16, length as u32, distance as u32 - 1);
        self.symbol(END + 1 + index);
        self.put(length - u32::from(first), extra.into());
        // Two codes for each power of 2, from 4 on; each has five bits, the highest first.
        let (code, extra) = if distance < 4 {
            (distance, 0)
        } else {
            let power = distance.ilog2();
            (2 * power + ((distance >> (power - 1)) & 1), power - 1)
        };
        self.put(code.reverse_bits() >> 27, 5);
        self.put(distance & ((1 << extra) - 1), extra);
    }
}

/// The fixed codes of literals and lengths, least significant bit first.
static SYMBOLS: [(u16, u8); 288] = symbols();

const fn symbols() -> [(u16, u8); 288] {
    let mut all = [(0, 0); 288];
    let mut symbol = 0;
    while symbol < 288 {
        let (code, count) = match symbol {
            0..144 => (0x30 + symbol, 8),
            144..256 => (0x190 + symbol - 144, 9),
            256..280 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        all[symbol as usize] = ((code as u16).reverse_bits() >> (16 - count), count);
        symbol += 1;
    }
    all
}

/// The length of the common prefix of two texts.
fn common(left: &[u8], right: &[u8]) -> usize {
    let words = left.chunks_exact(8).zip(right.chunks_exact(8));
    let whole = words.take_while(|(left, right)| left == right).count() * 8;
    let rest = left[whole..].iter().zip(&right[whole..]);
    whole + rest.take_while(|(left, right)| left == right).count()
}

/// Deflates a text, and ends with an empty stored block, at a byte boundary.
pub(super) fn deflate(text: &[u8], out: &mut Vec<u8>) {
    let mut bits = Bits {
        out,
        waiting: 0,
        count: 0,
    };
    // Not the last block, fixed codes.
    bits.put(0b010, 3);
    let mut before = 0..0;
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let begin = at;
        at += line.len();
        write(&mut bits, &text[before.clone()], line, begin - before.start);
        before = begin..at;
    }
    bits.symbol(END);
    // Not the last block, stored; then the length of 0, and its complement.
    bits.put(0b000, 3);
    let padding = (8 - bits.count % 8) % 8;
    bits.put(0, padding);
    bits.put(0xffff_0000, 32);
    let rest = bits.count.div_ceil(8) as usize;
    let bytes = bits.waiting.to_le_bytes();
    bits.out.extend_from_slice(&bytes[..rest]);
}

/// Writes a line relative to the previous one, which starts `distance` bytes before it.
fn write(bits: &mut Bits<'_>, before: &[u8], line: &[u8], distance: usize) {
    let (mut here, mut there) = (0, 0);
    while here < line.len() {
        let mut length = common(&line[here..], &before[there..]);
        let back = distance + here - there;
        if length >= LEAST && back <= REACH {
            while length > 0 {
                // The remainder must be long enough for its own back-reference.
                let part = match length {
                    ..=MOST => length,
                    _ => MOST.min(length - LEAST),
                };
                bits.reference(part, back);
                here += part;
                there += part;
                length -= part;
            }
            continue;
        }
        // If the lines become equal again, it is after the label value that differs here.
        let ends = |text: &[u8]| {
            let end = text
                .iter()
                .position(|byte| matches!(byte, b'"' | b' ' | b'\n'));
            end.unwrap_or(text.len())
        };
        let own = ends(&line[here..]).max(1);
        for byte in &line[here..here + own] {
            bits.symbol((*byte).into());
        }
        here += own;
        there = before.len().min(there + ends(&before[there..]));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn inflated(mut deflated: Vec<u8>) -> Vec<u8> {
        // An empty last block.
        deflated.extend([3, 0]);
        let mut text = Vec::new();
        let mut reader = flate2::read::DeflateDecoder::new(deflated.as_slice());
        reader.read_to_end(&mut text).unwrap();
        text
    }

    fn round(text: &[u8]) -> usize {
        let mut out = Vec::new();
        deflate(text, &mut out);
        let size = out.len();
        // Two segments, one after the other.
        deflate(text, &mut out);
        assert_eq!(inflated(out), [text, text].concat());
        size
    }

    #[test]
    fn lines_become_small() {
        let line = |number: u32| {
            format!(
                "delivery_message_channel_sent{{provider=\"engagelab\",account=\"asia\",application=\"news\",message_id=\"{}\",vendor_channel=\"huawei\"}} {}\n",
                1_748_328_000 + number / 9,
                number * number
            )
        };
        let text: String = (0..100).map(line).collect();
        let size = round(text.as_bytes());
        assert!(size * 12 < text.len(), "{size} of {}", text.len());
    }

    #[test]
    fn every_length_and_distance_is_written_as_the_rfc_has_it() {
        for length in 1..600 {
            let line = "x".repeat(length);
            round(format!("{line}\n{line}\n").as_bytes());
        }
        for length in [1000, 32_766, 32_767, 32_768, 40_000] {
            let line: String = (0..length)
                .map(|n| char::from(b'a' + (n * n % 23) as u8))
                .collect();
            round(format!("{line}\n{line}\n").as_bytes());
        }
        let bytes: Vec<u8> = (0..=255).collect();
        round(&bytes);
        round(b"");
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in prop::collection::vec(prop::sample::select(&b"ab\" \n\xff"[..]), 0..400)) {
            round(&text);
        }
    }
}
