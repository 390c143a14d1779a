//! The series of all accounts, by family: the root of the tree that a scrape walks.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::{
    catalog::{self, FamilyId},
    series::{ByAge, Concat, Node, View, ViewNumber},
};

/// The last combined tree of all accounts. A reader that finds it outdated combines the views again, without
/// a lock.
#[derive(Default)]
pub(super) struct Latest(ArcSwapOption<Whole>);

/// The families of some accounts.
pub(super) struct Whole {
    views: Box<[Part]>,
    /// By the index of the family.
    families: Box<[ByAge]>,
}

/// The part of one view.
#[derive(Clone)]
struct Part {
    number: ViewNumber,
    families: Arc<[ByAge]>,
}

impl Part {
    fn of(view: &View) -> Part {
        Part {
            number: view.number(),
            families: view.families().clone(),
        }
    }

    fn is_same(&self, other: &Part, family: FamilyId, age: usize) -> bool {
        let node = |own: &Part| Arc::as_ptr(&own.families[family.index()][age]);
        Arc::ptr_eq(&self.families, &other.families) || node(self) == node(other)
    }
}

impl Latest {
    /// Combines the views. The encoded bytes of a family are kept if no account's part has changed.
    pub(super) fn of(&self, views: &[&View]) -> Arc<Whole> {
        let latest = self.0.load_full();
        let is_of = |whole: &&Arc<Whole>| {
            let both = whole.views.iter().zip(views);
            whole.views.len() == views.len()
                && both
                    .into_iter()
                    .all(|(own, view)| own.number == view.number())
        };
        if let Some(whole) = latest.as_ref().filter(is_of) {
            return whole.clone();
        }
        let views = views.iter().map(|view| Part::of(view)).collect();
        let whole = Arc::new(Whole::new(views, latest.as_deref()));
        self.0.store(Some(whole.clone()));
        whole
    }

    /// Replaces a view by its successor, so that outdated segments are not kept in memory until the next
    /// scrape.
    pub(super) fn renew(&self, view: &View) {
        let Some(before) = view.replaces() else {
            return;
        };
        self.0.rcu(|latest| {
            let latest = latest.as_ref()?;
            let place = latest.views.iter().position(|own| own.number == before);
            let Some(place) = place else {
                return Some(latest.clone());
            };
            let mut views = latest.views.clone();
            views[place] = Part::of(view);
            Some(Arc::new(Whole::new(views, Some(latest))))
        });
    }

    /// Drops everything, because there are no readers.
    pub(super) fn clear(&self) {
        if self.0.load().is_some() {
            self.0.store(None);
        }
    }
}

impl Whole {
    fn new(views: Box<[Part]>, before: Option<&Whole>) -> Whole {
        let before = before.filter(|before| before.views.len() == views.len());
        let node = |family: FamilyId, age: usize| {
            let kept = before.filter(|before| {
                let mut both = before.views.iter().zip(&views);
                both.all(|(old, new)| old.is_same(new, family, age))
            });
            if let Some(kept) = kept {
                return kept.family(family)[age].clone();
            }
            let parts = views.iter().map(|own| &own.families[family.index()][age]);
            let parts = parts.filter(|part| !part.children().is_empty());
            Concat::of(family, parts.cloned().map(Node::Concat).collect(), None)
        };
        let by_age = |family| std::array::from_fn(|age| node(family, age));
        Whole {
            families: catalog::all().map(by_age).collect(),
            views,
        }
    }

    /// A family, by age.
    pub(super) fn family(&self, family: FamilyId) -> &ByAge {
        &self.families[family.index()]
    }
}
