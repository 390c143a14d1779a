//! What the vendor sends, decoded: bytes in, numbers, reports and events out. Nothing in here asks
//! for anything, or decides what an error means for a query.

pub(super) mod body;
mod events;
mod reports;
pub(super) mod statistics;
mod status;
