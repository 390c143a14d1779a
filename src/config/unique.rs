//! Values of a list that may stand there only once.

use std::collections::BTreeMap;

use super::{errors::Position, read::Context};

/// Which values of a list were seen before, with the place of the first.
pub(super) struct UniqueValues<'c> {
    context: &'c Context,
    places: BTreeMap<String, Position>,
}

impl<'c> UniqueValues<'c> {
    pub(super) fn new(context: &'c Context) -> UniqueValues<'c> {
        UniqueValues {
            context,
            places: BTreeMap::new(),
        }
    }

    /// Notes a value; a second one is an error, and `false`.
    pub(super) fn first(&mut self, what: &str, value: &str, place: &Position) -> bool {
        if let Some(first) = self.places.get(value) {
            let text = format!(
                "{what} {value} is there twice; the first one is in line {}",
                first.line
            );
            self.context.error(place, text);
            return false;
        }
        self.places.insert(value.to_owned(), place.clone());
        true
    }
}
