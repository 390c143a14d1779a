//! Bodies of requests and responses that track their progress.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

use super::{BODIES, InProgress, Phase, UNIT, lock};

/// A request's body, which waits for a share of the memory for all bodies.
pub(in crate::web) struct Reading<B> {
    body: Pin<Box<B>>,
    /// A part that waits for memory.
    waits: Option<Bytes>,
    room: PollSemaphore,
    own: Arc<InProgress>,
}

impl<B> Reading<B> {
    pub(super) fn new(body: B, room: Arc<Semaphore>, own: Arc<InProgress>) -> Reading<B> {
        Reading {
            body: Box::pin(body),
            waits: None,
            room: PollSemaphore::new(room),
            own,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Reading<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.waits.is_none() {
            let frame = ready!(self.body.as_mut().poll_frame(context));
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.waits = Some(data),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.own.enter(Phase::Work);
                    return Poll::Ready(None);
                }
            }
        }
        let length = self.waits.as_ref().map_or(0, Buf::remaining);
        let units = u32::try_from(length.div_ceil(UNIT).min(BODIES / UNIT)).unwrap_or(u32::MAX);
        if units > 0
            && let Some(permit) = ready!(self.room.poll_acquire_many(context, units))
        {
            let mut held = lock(&self.own.held);
            match held.as_mut() {
                Some(held) => held.merge(permit),
                None => *held = Some(permit),
            }
        }
        Poll::Ready(self.waits.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.waits.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Reading<B> {
    fn drop(&mut self) {
        self.own.enter(Phase::Work);
    }
}

/// A response's body, which records when the client reads from it.
pub(in crate::web) struct Answering<B> {
    body: B,
    own: Arc<InProgress>,
}

impl<B> Answering<B> {
    pub(super) fn new(body: B, own: Arc<InProgress>) -> Answering<B> {
        Answering { body, own }
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.own.moved();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
