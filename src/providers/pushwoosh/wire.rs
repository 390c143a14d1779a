//! What the vendor sends, decoded: bytes in, numbers, events and figures out. Nothing in here asks
//! for anything, or decides what an error means for a query.

pub(super) mod answer;
pub(super) mod bounces;
pub(super) mod conversions;
mod identity;
mod labels;
pub(super) mod links;
pub(super) mod log;
pub(super) mod messages;
pub(super) mod metrics;
mod platform;
mod reasons;
