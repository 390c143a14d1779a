//! A transaction, with a typed result for its caller and type-erased for the store.

use tokio::sync::oneshot;

use super::{ReadRows, ReadSet, StoreError, WriteSet};

/// A transaction in a store. The store reads the rows for [`Transaction::reads`], calls
/// [`Transaction::decide`] once, makes the write set durable, and then calls [`Transaction::finish`].
///
/// If a store drops the transaction, the caller gets an error.
pub trait Transaction: Send {
    /// What it reads.
    fn reads(&self) -> &ReadSet;

    /// Decides about the changes. Only the first call has an effect.
    fn decide(&mut self, rows: ReadRows) -> WriteSet;

    /// Reports the outcome to the caller. The result of `decide` is passed on only if all changes are
    /// durable.
    fn finish(self: Box<Self>, outcome: Result<(), StoreError>);
}

/// A transaction whose caller waits for `R`.
struct Waiting<F, R> {
    reads: ReadSet,
    decide: Option<F>,
    result: Option<R>,
    caller: oneshot::Sender<Result<R, StoreError>>,
}

/// Erases the type of the result, so that a thread or a test can execute the transaction. The caller waits on
/// the receiver.
pub(super) fn erased<R, F>(
    reads: ReadSet,
    decide: F,
) -> (
    Box<dyn Transaction>,
    oneshot::Receiver<Result<R, StoreError>>,
)
where
    R: Send + 'static,
    F: FnOnce(ReadRows) -> (WriteSet, R) + Send + 'static,
{
    let (caller, answer) = oneshot::channel();
    let waiting = Waiting {
        reads,
        decide: Some(decide),
        result: None,
        caller,
    };
    (Box::new(waiting), answer)
}

impl<F, R> Transaction for Waiting<F, R>
where
    R: Send,
    F: FnOnce(ReadRows) -> (WriteSet, R) + Send,
{
    fn reads(&self) -> &ReadSet {
        &self.reads
    }

    fn decide(&mut self, rows: ReadRows) -> WriteSet {
        let Some(decide) = self.decide.take() else {
            return WriteSet::default();
        };
        let (writes, result) = decide(rows);
        self.result = Some(result);
        writes
    }

    fn finish(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Waiting {
            decide,
            result,
            caller,
            ..
        } = *self;
        let answer = match outcome {
            Ok(()) => result.ok_or_else(|| StoreError::Failed("the store did nothing".into())),
            Err(error) => {
                // Frees their resources before the caller is notified.
                drop((decide, result));
                Err(error)
            }
        };
        // If the caller was cancelled, the result is dropped here.
        let _ = caller.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Answer = oneshot::Receiver<Result<Arc<()>, StoreError>>;

    /// A transaction whose result is `held`.
    fn transaction(held: &Arc<()>) -> (Box<dyn Transaction>, Answer) {
        let held = held.clone();
        let reads = ReadSet {
            inbox: true,
            ..ReadSet::default()
        };
        erased(reads, move |rows: ReadRows| {
            let writes = WriteSet {
                absorbed: rows.inbox.iter().map(|row| row.0).collect(),
                ..WriteSet::default()
            };
            (writes, held)
        })
    }

    fn rows() -> ReadRows {
        let row = (7, "counter".to_owned(), crate::ledger::Amount::Count(1));
        ReadRows {
            inbox: vec![row],
            ..ReadRows::default()
        }
    }

    #[test]
    fn the_result_goes_out_once_the_rows_are_durable() {
        let held = Arc::new(());
        let (mut waiting, mut answer) = transaction(&held);
        assert!(waiting.reads().inbox);
        assert_eq!(waiting.decide(rows()).absorbed, [7]);
        assert!(answer.try_recv().is_err(), "nothing is durable yet");
        assert!(waiting.decide(rows()).is_empty(), "it has decided");
        waiting.finish(Ok(()));
        assert!(Arc::ptr_eq(&answer.try_recv().unwrap().unwrap(), &held));
    }

    #[test]
    fn a_result_of_what_is_not_durable_is_dropped() {
        let held = Arc::new(());
        let (mut waiting, mut answer) = transaction(&held);
        waiting.decide(rows());
        waiting.finish(Err(StoreError::Fenced));
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(matches!(
            answer.try_recv().unwrap(),
            Err(StoreError::Fenced)
        ));

        // Its turn never came.
        let (waiting, mut answer) = transaction(&held);
        waiting.finish(Err(StoreError::Fenced));
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(answer.try_recv().unwrap().is_err());

        // Nobody waits any more.
        let (mut waiting, answer) = transaction(&held);
        drop(answer);
        waiting.decide(rows());
        assert_eq!(Arc::strong_count(&held), 2);
        waiting.finish(Ok(()));
        assert_eq!(Arc::strong_count(&held), 1);

        // The store has done nothing, or has lost it.
        let (waiting, mut answer) = transaction(&held);
        waiting.finish(Ok(()));
        assert!(matches!(
            answer.try_recv().unwrap(),
            Err(StoreError::Failed(_))
        ));
        let (waiting, mut answer) = transaction(&held);
        drop(waiting);
        assert!(answer.try_recv().is_err());
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
