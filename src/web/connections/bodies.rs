//! Bodies of requests and responses that track their progress.

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::http::StatusCode;
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::{
    sync::Semaphore,
    time::{Sleep, sleep},
};
use tokio_util::sync::PollSemaphore;

use super::{BODIES, InProgress, Phase, UNIT, lock};

/// The memory that a part of a body takes besides its bytes: a body of thousands of parts of one byte each takes far
/// more memory than its length.
const PART: usize = 128;
/// How long a body waits for memory. Two bodies that wait for what the other one holds would wait for ever.
const WAIT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn Error + Send + Sync>;

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum BodyError {
    /// It takes more memory than there is for all bodies.
    TooLarge,
    /// Other bodies take the memory.
    NoRoom,
}

impl fmt::Display for BodyError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            BodyError::TooLarge => "the body takes too much memory",
            BodyError::NoRoom => "other bodies take the memory",
        })
    }
}

impl Error for BodyError {}

/// The status for a body that could not be read whole.
pub(in crate::web) fn status_of(error: &(dyn Error + 'static)) -> StatusCode {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<http_body_util::LengthLimitError>() {
            return StatusCode::PAYLOAD_TOO_LARGE;
        }
        match error.downcast_ref() {
            Some(BodyError::TooLarge) => return StatusCode::PAYLOAD_TOO_LARGE,
            Some(BodyError::NoRoom) => return StatusCode::SERVICE_UNAVAILABLE,
            None => next = error.source(),
        }
    }
    StatusCode::BAD_REQUEST
}

/// A request's body, which waits for a share of the memory for all bodies.
pub(in crate::web) struct Reading<B> {
    body: Pin<Box<B>>,
    /// A part that waits for memory.
    waits: Option<Bytes>,
    room: PollSemaphore,
    /// The bytes of memory that it takes, and the units that it holds for them.
    taken: usize,
    units: usize,
    patience: Option<Pin<Box<Sleep>>>,
    own: Arc<InProgress>,
}

impl<B> Reading<B> {
    pub(super) fn new(body: B, room: Arc<Semaphore>, own: Arc<InProgress>) -> Reading<B> {
        Reading {
            body: Box::pin(body),
            waits: None,
            room: PollSemaphore::new(room),
            taken: 0,
            units: 0,
            patience: None,
            own,
        }
    }

    /// Waits for the memory for so many bytes more.
    fn poll_room(&mut self, context: &mut Context<'_>, more: usize) -> Poll<Result<(), BodyError>> {
        let taken = self.taken + more;
        let units = taken.div_ceil(UNIT);
        if units > BODIES / UNIT {
            return Poll::Ready(Err(BodyError::TooLarge));
        }
        let lacking = u32::try_from(units - self.units).unwrap_or(u32::MAX);
        if lacking > 0 {
            let Poll::Ready(permit) = self.room.poll_acquire_many(context, lacking) else {
                let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(WAIT)));
                ready!(patience.as_mut().poll(context));
                return Poll::Ready(Err(BodyError::NoRoom));
            };
            self.patience = None;
            let mut held = lock(&self.own.held);
            match (held.as_mut(), permit) {
                (Some(held), Some(permit)) => held.merge(permit),
                (None, permit) => *held = permit,
                (Some(_), None) => {}
            }
        }
        (self.taken, self.units) = (taken, units);
        Poll::Ready(Ok(()))
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for Reading<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.waits.is_none() {
            let frame = ready!(self.body.as_mut().poll_frame(context));
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.waits = Some(data),
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    self.own.enter(Phase::Work);
                    return Poll::Ready(None);
                }
            }
        }
        let length = self.waits.as_ref().map_or(0, Buf::remaining);
        if let Err(error) = ready!(self.poll_room(context, length + PART)) {
            // Its reader drops what it has, so others can have the memory.
            self.waits = None;
            *lock(&self.own.held) = None;
            return Poll::Ready(Some(Err(error.into())));
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

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::Ipv4Addr};

    use axum::body::to_bytes;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::timeout;

    use super::{
        super::{Admitted, Connections},
        *,
    };

    fn admitted() -> (Arc<Connections>, Admitted) {
        let connections = Connections::new();
        let admitted = connections.admit(Ipv4Addr::LOCALHOST.into());
        (connections, admitted)
    }

    /// A body of so many parts.
    fn body(parts: usize, length: usize) -> impl Body<Data = Bytes, Error = Infallible> + Send {
        let part = Bytes::from(vec![b' '; length]);
        let frame = move |_| Ok(Frame::data(part.clone()));
        StreamBody::new(stream::iter((0..parts).map(frame)))
    }

    /// What waits for memory waits for longer.
    async fn at_once<T>(work: impl Future<Output = T>) -> T {
        timeout(WAIT / 2, work).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_in_parts_of_one_byte_keeps_no_other_body_waiting() {
        let (connections, admitted) = admitted();
        let (tiny, tiny_in_progress) = admitted.begin(body(70_000, 1));
        let tiny = axum::body::Body::new(tiny);
        let tiny = at_once(to_bytes(tiny, usize::MAX)).await;
        assert_eq!(tiny.unwrap().len(), 70_000);
        let (other, _in_progress) = admitted.begin(body(8, 1 << 20));
        let other = at_once(other.collect()).await;
        assert_eq!(other.unwrap().to_bytes().len(), 8 << 20);
        let free = connections.bodies.available_permits();
        assert!(free > BODIES / UNIT * 3 / 4, "{free}");
        drop(tiny_in_progress);
        assert!(connections.bodies.available_permits() > free);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_never_waits_for_memory_that_it_holds_itself() {
        let (connections, admitted) = admitted();
        // The largest that a webhook takes by default, in the parts of a slow network.
        let (largest, in_progress) = admitted.begin(body((64 << 20) / 4096, 4096));
        assert!(at_once(largest.collect()).await.is_ok());
        drop(in_progress);
        for (parts, length) in [(BODIES >> 20, 1 << 20), (BODIES / PART, 1)] {
            let (large, _in_progress) = admitted.begin(body(parts, length));
            let large = axum::body::Body::new(large);
            let read = at_once(to_bytes(large, usize::MAX)).await;
            let error = read.unwrap_err();
            assert_eq!(status_of(&error), StatusCode::PAYLOAD_TOO_LARGE);
            let free = connections.bodies.available_permits();
            assert_eq!(free, BODIES / UNIT, "all of it is free at once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_bodies_that_wait_for_each_other_one_gives_way() {
        let (_connections, admitted) = admitted();
        let half = (BODIES >> 20) / 2 - 1;
        let (mut one, _one) = admitted.begin(body(half + 10, 1 << 20));
        let (mut other, _other) = admitted.begin(body(half + 10, 1 << 20));
        for _ in 0..half {
            assert!(at_once(one.frame()).await.unwrap().is_ok());
            assert!(at_once(other.frame()).await.unwrap().is_ok());
        }
        let (one, other) = tokio::join!(one.collect(), other.collect());
        let (given_up, whole) = match (one, other) {
            (Err(error), Ok(whole)) | (Ok(whole), Err(error)) => (error, whole),
            both => panic!("one of them gives way: {both:?}"),
        };
        assert_eq!(given_up.downcast_ref(), Some(&BodyError::NoRoom));
        let status = status_of(&axum::Error::new(given_up));
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(whole.to_bytes().len(), 10 << 20);
    }
}
