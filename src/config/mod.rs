//! The configuration: the file's schema, its validation with places, and secrets.

mod types;

pub use types::*;
