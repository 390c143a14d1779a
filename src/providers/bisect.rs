//! Finding the one bad id for which a vendor refuses a whole batch.

use crate::model::Message;

/// Batches that are still to be asked for. One that is refused is halved until the bad ids stand
/// alone: with one among n that takes about 2 log2(n) requests more.
pub(super) struct Halves<'m> {
    waiting: Vec<&'m [Message]>,
}

impl<'m> Halves<'m> {
    pub(super) fn new(messages: &'m [Message]) -> Halves<'m> {
        Halves {
            waiting: vec![messages],
        }
    }

    /// The next batch to ask for; never empty.
    pub(super) fn next(&mut self) -> Option<&'m [Message]> {
        self.waiting.pop().filter(|batch| !batch.is_empty())
    }

    /// The vendor refused `batch`: if it was one message, that is the one; else its halves follow.
    pub(super) fn refused(&mut self, batch: &'m [Message]) -> Option<&'m Message> {
        if let [message] = batch {
            return Some(message);
        }
        let (first, second) = batch.split_at(batch.len() / 2);
        self.waiting.extend([second, first]);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_bad_id_among_a_hundred_costs_a_logarithm_of_requests() {
        let messages: Vec<Message> = (0..100)
            .map(|id| Message {
                application: Arc::from(""),
                id: id.to_string().into(),
                campaign: None,
                sent_at: None,
            })
            .collect();
        let (mut requests, mut answered, mut alone) = (0, 0, Vec::new());
        let mut halves = Halves::new(&messages);
        while let Some(batch) = halves.next() {
            requests += 1;
            if batch.iter().any(|message| &*message.id == "37") {
                alone.extend(halves.refused(batch).map(|message| message.id.clone()));
            } else {
                answered += batch.len();
            }
        }
        assert_eq!((answered, alone), (99, vec![Arc::from("37")]));
        assert!(requests <= 15, "{requests}");
        assert!(Halves::new(&[]).next().is_none());
    }
}
