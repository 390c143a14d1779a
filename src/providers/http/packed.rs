//! Bodies that are compressed, whatever their headers say.

use std::io::Read;

use flate2::read::MultiGzDecoder;

/// What gzip data begin with.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether a body looks like gzip data. No text begins like this.
pub(crate) fn is_packed(body: &[u8]) -> bool {
    body.starts_with(&MAGIC)
}

/// The content of gzip data; `None`: they are none, are not whole, or hold more than `limit` bytes.
pub(crate) fn unpacked(body: &[u8], limit: u64) -> Option<Vec<u8>> {
    if !is_packed(body) {
        return None;
    }
    let mut content = Vec::new();
    let mut bounded = MultiGzDecoder::new(body).take(limit.saturating_add(1));
    bounded.read_to_end(&mut content).ok()?;
    (content.len() as u64 <= limit).then_some(content)
}
