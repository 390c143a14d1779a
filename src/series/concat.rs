//! The inner nodes of the tree of exposed series: concatenations of segments and of other nodes. The encoded
//! bytes of a node stay valid while its children stay the same, whatever changes elsewhere; only this module
//! decides that.

use std::sync::{Arc, OnceLock};

use super::segments::{EncodedSegment, FORMS, Segment};
use crate::catalog::FamilyId;

/// A node of the tree that a scrape walks.
#[derive(Clone)]
pub enum Node {
    /// A leaf.
    Segment(Arc<Segment>),
    /// A concatenation of other nodes.
    Concat(Arc<Concat>),
}

impl Node {
    fn is_same(&self, other: &Node) -> bool {
        match (self, other) {
            (Node::Segment(own), Node::Segment(other)) => Arc::ptr_eq(own, other),
            (Node::Concat(own), Node::Concat(other)) => Arc::ptr_eq(own, other),
            _ => false,
        }
    }
}

/// A concatenation of nodes of one family; immutable.
pub struct Concat {
    family: FamilyId,
    children: Box<[Node]>,
    /// Its bytes by form; `None` if it is better to use the children's bytes.
    encoded: [OnceLock<Option<Arc<EncodedSegment>>>; FORMS],
}

impl Concat {
    /// The node for these children: the previous node, with its bytes, if its children are the same.
    pub fn of(family: FamilyId, children: Vec<Node>, before: Option<&Arc<Concat>>) -> Arc<Concat> {
        let is_same = |before: &&Arc<Concat>| {
            let both = before.children.iter().zip(&children);
            before.children.len() == children.len() && both.into_iter().all(|(a, b)| a.is_same(b))
        };
        match before.filter(is_same) {
            Some(before) => before.clone(),
            None => Arc::new(Concat {
                family,
                children: children.into(),
                encoded: Default::default(),
            }),
        }
    }

    /// The family of all its series.
    pub fn family(&self) -> FamilyId {
        self.family
    }

    /// Its children, in the order of the exposition.
    pub fn children(&self) -> &[Node] {
        &self.children
    }

    /// Its bytes in a form, which `make` builds at the first call; `None` if they are large and the
    /// children's bytes should be used. Concurrent callers wait.
    pub fn encoded(
        &self,
        form: usize,
        make: impl FnOnce(&Concat) -> Option<Arc<EncodedSegment>>,
    ) -> Option<&Arc<EncodedSegment>> {
        self.encoded[form].get_or_init(|| make(self)).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{
        catalog,
        series::{
            segments::{Checksum, Rows},
            values::{Number, Value},
        },
    };

    const FAMILY: FamilyId = catalog::UP;

    fn segment(number: u64) -> Node {
        let row = (Arc::from([]), Value::Gauge(Number::Count(number)));
        let rows = Rows::Chunk(Arc::new(vec![row]));
        Node::Segment(Arc::new(Segment::new(FAMILY, None, rows)))
    }

    fn made(node: &Concat) -> Option<Arc<EncodedSegment>> {
        let sum = Checksum {
            crc: 0,
            shift: 0,
            length: 1,
        };
        let bytes = Bytes::from(vec![u8::try_from(node.children().len()).unwrap()]);
        Some(Arc::new(EncodedSegment { bytes, sum }))
    }

    #[test]
    fn a_node_whose_children_are_the_same_is_the_same_node_with_its_bytes() {
        let children = [segment(1), segment(2)];
        let first = Concat::of(FAMILY, children.to_vec(), None);
        let bytes = first.encoded(1, made).unwrap().clone();
        let same = Concat::of(FAMILY, children.to_vec(), Some(&first));
        assert!(Arc::ptr_eq(&first, &same));
        let kept = same.encoded(1, |_| panic!("made twice")).unwrap();
        assert!(Arc::ptr_eq(&bytes, kept));

        // Fewer, others, in another order, and one that is equal and not the same.
        for other in [
            vec![children[0].clone()],
            vec![children[0].clone(), segment(2)],
            vec![children[1].clone(), children[0].clone()],
            vec![Node::Concat(first.clone())],
            Vec::new(),
        ] {
            let other = Concat::of(FAMILY, other, Some(&first));
            assert!(!Arc::ptr_eq(&first, &other));
            let made = other.encoded(1, made).unwrap();
            assert_eq!(made.bytes[0], u8::try_from(other.children().len()).unwrap());
        }
    }

    #[test]
    fn each_form_is_made_once_even_if_it_is_none() {
        let node = Concat::of(FAMILY, vec![segment(1)], None);
        assert!(node.encoded(0, |_| None).is_none());
        assert!(node.encoded(0, made).is_none());
        assert!(node.encoded(2, made).is_some());
    }
}
