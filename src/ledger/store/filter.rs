//! Filters that tell which closed partitions of deduplication data can contain a digest, without reading
//! them.

use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter as _, FilterRef as _};

use crate::providers::Digest;

/// A filter with nine bits per digest of a partition and a false-positive rate of 1/256.
pub(super) struct Filter(Box<[u8]>);

/// A digest is uniformly distributed, so eight of its bytes are enough here.
fn key(digest: &[u8]) -> Option<u64> {
    let first = digest.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*first))
}

impl Filter {
    /// Builds the filter of a partition's digests.
    pub(super) fn build<'a>(digests: impl Iterator<Item = &'a [u8]>) -> Option<Filter> {
        let mut keys: Vec<u64> = digests.filter_map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let filter = BinaryFuse8::try_from(keys).ok()?;
        let mut bytes = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut bytes);
        bytes.extend_from_slice(filter.dma_fingerprints());
        Some(Filter(bytes.into()))
    }

    /// A filter as it was stored.
    pub(super) fn from_bytes(bytes: Vec<u8>) -> Option<Filter> {
        (bytes.len() > BinaryFuse8::DESCRIPTOR_LEN).then(|| Filter(bytes.into()))
    }

    /// The filter as it is stored.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the partition can contain the digest.
    pub(super) fn can_hold(&self, digest: &Digest) -> bool {
        let (descriptor, fingerprints) = self.0.split_at(BinaryFuse8::DESCRIPTOR_LEN);
        let filter = BinaryFuse8Ref::from_dma(descriptor, fingerprints);
        key(digest).is_some_and(|key| filter.contains(&key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u64) -> Digest {
        let mut digest = [0; 16];
        // As a hash spreads it.
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        digest[..8].copy_from_slice(&spread.to_le_bytes());
        digest
    }

    #[test]
    fn a_filter_holds_what_it_was_built_from_and_little_else() {
        let digests: Vec<Digest> = (0..10_000).map(digest).collect();
        let built = Filter::build(digests.iter().map(|own| own.as_slice())).unwrap();
        let filter = Filter::from_bytes(built.as_bytes().to_vec()).unwrap();
        assert!(digests.iter().all(|own| filter.can_hold(own)));
        let false_hits = (10_000..20_000).filter(|n| filter.can_hold(&digest(*n)));
        assert!(false_hits.count() < 100);
    }
}
