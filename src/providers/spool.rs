//! Where a provider puts bodies that will not come again.

use std::sync::Arc;

use futures_util::future::BoxFuture;

/// Where bodies are kept that will not come again.
pub trait Spool: Send + Sync {
    /// A new body, on disk from its first byte.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>>;

    /// Returns once no further request shall be made: what is arriving is still taken.
    fn closed(&self) -> BoxFuture<'_, ()>;
}

/// A body that is being written to the spool.
pub trait SpoolWriter: Send {
    /// Appends to the body.
    fn write<'a>(&'a mut self, chunk: &'a [u8]) -> BoxFuture<'a, Result<(), SpoolError>>;

    /// Makes the body durable. Nothing in it may be used before this has returned.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<SpooledBody, SpoolError>>;

    /// Throws the body away: only for bodies that hold nothing (an answer that is an error, not a
    /// hand-out; exactly no reports).
    fn discard(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The name of a body in the spool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpooledBody(pub Arc<str>);

/// The spool could not take a body. The text says which file, and what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SpoolError(pub String);
