//! A message's counts. Tracked messages rarely change, so unchanged ones stay in their packed, stored form,
//! which takes a tenth of the memory.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeTuple};

use crate::model::Measure;

/// The high-water marks of all counts of a message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tables {
    /// The totals per channel.
    pub(super) totals: Vec<(String, Vec<Cell>)>,
    /// The breakdown, by message type, platform and vendor channel.
    pub(super) rows: Vec<(String, String, String, Vec<Cell>)>,
    /// The totals per message type.
    pub(super) types: Vec<(String, Vec<Cell>)>,
}

/// One count of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cell {
    /// Its index in [`Measure::ALL`].
    pub(super) measure: u8,
    /// The highest value that the vendor ever reported.
    pub(super) highest: u64,
    /// The part of it that is history and counts nowhere.
    pub(super) base: u64,
}

impl Cell {
    /// The measure; `None` if a later version wrote it.
    pub(super) fn measure(&self) -> Option<Measure> {
        Measure::ALL.get(usize::from(self.measure)).copied()
    }

    /// The part of it that is in the counters.
    pub(super) fn counted(&self) -> u64 {
        self.highest.saturating_sub(self.base)
    }
}

/// [`Tables`], either unpacked for changes or packed.
#[derive(Clone, Debug)]
pub(super) enum Numbers {
    Open(Tables),
    /// The stored form.
    Packed(Box<[u8]>),
}

impl Default for Numbers {
    fn default() -> Numbers {
        Numbers::Open(Tables::default())
    }
}

fn pack(tables: &Tables) -> Option<Box<[u8]>> {
    postcard::to_allocvec(tables)
        .ok()
        .map(Vec::into_boxed_slice)
}

/// Only reads what [`pack`] has written, so it cannot fail.
fn unpack(packed: &[u8]) -> Tables {
    postcard::from_bytes(packed).unwrap_or_default()
}

impl Numbers {
    pub(super) fn read(&self) -> Cow<'_, Tables> {
        match self {
            Numbers::Open(tables) => Cow::Borrowed(tables),
            Numbers::Packed(packed) => Cow::Owned(unpack(packed)),
        }
    }

    pub(super) fn open(&mut self) -> &mut Tables {
        if let Numbers::Packed(packed) = self {
            *self = Numbers::Open(unpack(packed));
        }
        match self {
            Numbers::Open(tables) => tables,
            Numbers::Packed(_) => unreachable!("they were opened"),
        }
    }

    pub(super) fn pack(&mut self) {
        if let Numbers::Open(tables) = self
            && let Some(packed) = pack(tables)
        {
            *self = Numbers::Packed(packed);
        }
    }
}

impl PartialEq for Numbers {
    fn eq(&self, other: &Numbers) -> bool {
        match (self, other) {
            // Equal tables have equal packed forms.
            (Numbers::Packed(own), Numbers::Packed(other)) => own == other,
            _ => self.read() == other.read(),
        }
    }
}

/// Both forms serialise to the bytes of [`Tables`].
impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Numbers::Open(tables) => tables.serialize(serializer),
            // The store's format writes a tuple of bytes as those bytes.
            Numbers::Packed(packed) => {
                let mut tuple = serializer.serialize_tuple(packed.len())?;
                for byte in packed {
                    tuple.serialize_element(byte)?;
                }
                tuple.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Numbers, D::Error> {
        Tables::deserialize(deserializer).map(Numbers::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_numbers_are_the_same_numbers_and_the_same_bytes() {
        let cell = |measure, highest, base| Cell {
            measure,
            highest,
            base,
        };
        let tables = Tables {
            totals: vec![("push".into(), vec![cell(0, u64::MAX, 3), cell(200, 0, 0)])],
            rows: vec![(
                "notification".into(),
                "".into(),
                "华为".into(),
                vec![cell(2, 1 << 40, 1 << 40)],
            )],
            types: vec![("message".into(), Vec::new())],
        };
        let open = Numbers::Open(tables.clone());
        let mut packed = open.clone();
        packed.pack();
        assert!(matches!(packed, Numbers::Packed(_)));
        assert_eq!(packed, open);
        assert_eq!(open, packed);
        let stored = postcard::to_allocvec(&(1_u8, &packed, "after")).unwrap();
        assert_eq!(
            stored,
            postcard::to_allocvec(&(1_u8, &tables, "after")).unwrap()
        );
        let (_, read, _): (u8, Numbers, String) = postcard::from_bytes(&stored).unwrap();
        assert_eq!(read, packed);
        packed.open().totals[0].1[0].base = 4;
        assert_ne!(packed, open);
        packed.pack();
        assert_ne!(packed, open);
        assert_eq!(packed.read().totals[0].1[0].base, 4);
    }
}
