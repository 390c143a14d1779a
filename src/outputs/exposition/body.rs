//! A response body made of prepared parts, with a known length.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec::IntoIter,
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};

use super::{Format, forms};
use crate::series::Segment;

/// Parts are combined up to this size, so that a body of many small parts needs few system calls; larger
/// parts are sent unchanged.
const CHUNK: usize = 64 << 10;
/// A part of at least this size is sent separately.
const LARGE: usize = 8 << 10;

/// A part of a body.
pub(super) enum Part {
    /// Ready bytes.
    Ready(Bytes),
    /// A segment whose text, of this length, is rendered when it is sent.
    Text(Arc<Segment>, Format, u64),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Part::Ready(bytes) => bytes.len() as u64,
            Part::Text(.., length) => *length,
        }
    }

    fn bytes(self) -> Bytes {
        match self {
            Part::Ready(bytes) => bytes,
            Part::Text(segment, format, length) => {
                let mut text = String::with_capacity(usize::try_from(length).unwrap_or_default());
                forms::write(&segment, None, format, &mut text);
                text.into()
            }
        }
    }
}

/// Parts of a body, one after another.
pub struct Parts {
    parts: IntoIter<Part>,
    /// The part that did not fit into the last chunk.
    next: Option<Bytes>,
    left: u64,
}

impl Parts {
    pub(super) fn new(parts: Vec<Part>) -> Parts {
        let left = parts.iter().map(Part::length).sum();
        Parts {
            parts: parts.into_iter(),
            next: None,
            left,
        }
    }

    /// The combined parts.
    #[cfg(test)]
    pub(super) fn into_parts(self) -> Vec<Bytes> {
        self.parts.map(Part::bytes).collect()
    }

    fn chunk(&mut self) -> Option<Bytes> {
        let first = self
            .next
            .take()
            .or_else(|| self.parts.next().map(Part::bytes))?;
        if first.len() >= LARGE {
            return Some(first);
        }
        let mut chunk = BytesMut::with_capacity(CHUNK);
        chunk.extend_from_slice(&first);
        for part in self.parts.by_ref().map(Part::bytes) {
            if part.len() >= LARGE || chunk.len() + part.len() > CHUNK {
                self.next = Some(part);
                break;
            }
            chunk.extend_from_slice(&part);
        }
        Some(chunk.freeze())
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunk();
        self.left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
