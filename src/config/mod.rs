//! The configuration: the file's schema, its validation with places, and secrets.
//!
//! serde_yaml, the usual reader, is no longer maintained by its author, and serde stops at the
//! first error and knows no places. So the file is read with saphyr-parser into a tree that knows
//! the place of everything (`tree`), and walked along one table of keys (`schema`), from which the
//! defaults and the reference documentation come too.

mod account;
mod docs;
mod duration;
mod errors;
mod excerpt;
mod keys;
mod load;
mod messages;
mod otlp;
mod permissions;
mod read;
mod schema;
mod secrets;
#[cfg(test)]
mod tests;
mod tls;
mod tree;
mod types;
mod unique;
mod vendor_keys;
mod vendors;
mod web;

pub use account::is_own_label;
pub use docs::reference;
pub use duration::show as show_duration;
pub use errors::{ConfigErrors, Position, Problem};
pub use load::{STATE_DIRECTORY, load, parse, parse_with, summary, unreadable};
pub use messages::message_list;
pub use types::*;
pub use web::{ClientAuth, Pem, WebConfig, WebRateLimit, WebTls, web};
