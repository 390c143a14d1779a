//! Counters for tests, of an application without a name.

use std::sync::Arc;

use super::CounterKey;
use crate::{
    catalog::{CohortFamilies, CohortPart, FamilyId, MeasureFamilies},
    model::{Age, Measure},
};

fn texts(texts: &[&str]) -> Vec<Arc<str>> {
    texts.iter().map(|text| Arc::from(*text)).collect()
}

pub(crate) fn counter(family: FamilyId, labels: &[&str]) -> CounterKey {
    let labels = texts(labels);
    CounterKey::new(&Arc::from(""), family, &labels.iter().collect::<Vec<_>>())
}

pub(crate) fn measured(families: MeasureFamilies, measure: Measure, labels: &[&str]) -> CounterKey {
    let labels = texts(labels);
    let labels: Vec<_> = labels.iter().collect();
    CounterKey::measured(&Arc::from(""), families, measure, &labels)
}

pub(crate) fn at_age(
    families: CohortFamilies,
    part: CohortPart,
    labels: &[&str],
    age: Age,
) -> CounterKey {
    let labels = texts(labels);
    let labels: Vec<_> = labels.iter().collect();
    CounterKey::at_age(&Arc::from(""), families, part, &labels, age)
}

impl CounterKey {
    /// The same of an application.
    pub(crate) fn of(self, application: &str) -> CounterKey {
        CounterKey {
            application: Arc::from(application),
            ..self
        }
    }
}
