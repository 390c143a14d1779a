//! Who sends a request.

use std::net::SocketAddr;

/// The other end of a request's connection; each request carries it as an extension.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);
