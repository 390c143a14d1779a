//! The catalogue: every family of metrics, declared once. The exposition, OTLP, the ledger's stored form, the
//! limits on label values, the initial zeros of series, the status page and the reference documentation are
//! all derived from these declarations. `docs/adding-a-metric.md` walks through one.

/// Declares the families of a section, and a constant for each.
macro_rules! families {
    ($all:ident of $section:ident; $($id:ident = $family:expr;)*) => {
        #[allow(
            non_camel_case_types,
            clippy::upper_case_acronyms,
            reason = "they are the names of the constants"
        )]
        #[repr(u16)]
        enum Place {
            $($id,)*
        }

        $(
            #[allow(missing_docs, reason = "the family's help says what it is")]
            pub const $id: crate::catalog::FamilyId = crate::catalog::FamilyId::at(crate::catalog::Section::$section, Place::$id as u16);
        )*

        pub(super) const $all: &[Family] = &[$($family,)*];
    };
}

mod exporter;
mod family;
pub(crate) mod label;
mod measures;
mod process;
mod stored;
#[cfg(test)]
mod tests;
mod vendors;

use std::{fmt, ops::Deref};

pub use exporter::*;
pub use family::{Family, Fields, Kind, StoredForm, Zeros};
pub use label::{Label, Limit, Origin, combinations};
pub use measures::*;
pub use process::*;
pub use stored::stored_as;
pub use vendors::*;

/// Families that are declared together, in the order of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Message,
    MessageRatio,
    MessageByChannel,
    MessageByType,
    Total,
    TotalByCampaign,
    TotalByChannel,
    Cohort,
    CohortByChannel,
    Vendors,
    Exporter,
    Process,
}

impl Section {
    const ALL: [Section; 12] = [
        Section::Message,
        Section::MessageRatio,
        Section::MessageByChannel,
        Section::MessageByType,
        Section::Total,
        Section::TotalByCampaign,
        Section::TotalByChannel,
        Section::Cohort,
        Section::CohortByChannel,
        Section::Vendors,
        Section::Exporter,
        Section::Process,
    ];

    const fn families(self) -> &'static [Family] {
        match self {
            Section::Message => measures::MESSAGES,
            Section::MessageRatio => measures::RATIOS,
            Section::MessageByChannel => measures::MESSAGE_CHANNELS,
            Section::MessageByType => measures::MESSAGE_TYPES,
            Section::Total => measures::TOTALS,
            Section::TotalByCampaign => measures::CAMPAIGNS,
            Section::TotalByChannel => measures::CHANNELS,
            Section::Cohort => measures::COHORTS,
            Section::CohortByChannel => measures::COHORT_CHANNELS,
            Section::Vendors => vendors::FAMILIES,
            Section::Exporter => exporter::FAMILIES,
            Section::Process => process::FAMILIES,
        }
    }

    /// The number of families before this section.
    const fn start(self) -> usize {
        let (mut start, mut index) = (0, 0);
        while index < self as usize {
            start += Section::ALL[index].families().len();
            index += 1;
        }
        start
    }

    fn has(self, family: FamilyId) -> bool {
        let start = self.start();
        (start..start + self.families().len()).contains(&family.index())
    }
}

const COUNT: usize = Section::Process.start() + Section::Process.families().len();

/// All families, in the order of the exposition.
static FAMILIES: [Family; COUNT] = {
    let mut all = [Section::Message.families()[0]; COUNT];
    let (mut section, mut next) = (0, 0);
    while section < Section::ALL.len() {
        let families = Section::ALL[section].families();
        let mut index = 0;
        while index < families.len() {
            all[next] = families[index];
            next += 1;
            index += 1;
        }
        section += 1;
    }
    all
};

/// A family of the catalogue.
///
/// ```
/// use delivery_exporter::catalog::{UP, families};
///
/// assert_eq!(UP.name, "delivery_up");
/// assert!(families().any(|family| family == UP));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FamilyId(u16);

impl FamilyId {
    const fn at(section: Section, index: u16) -> FamilyId {
        #[expect(clippy::cast_possible_truncation, reason = "there are few families")]
        FamilyId(section.start() as u16 + index)
    }

    /// Its index among all families, less than [`FamilyId::COUNT`].
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The number of families, including those without series.
    pub const COUNT: usize = COUNT;

    /// Its declaration.
    pub fn family(self) -> &'static Family {
        &FAMILIES[self.index()]
    }
}

impl fmt::Debug for FamilyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Deref for FamilyId {
    type Target = Family;

    fn deref(&self) -> &'static Family {
        self.family()
    }
}

/// All families, including those without series, in the order of the exposition.
pub fn all() -> impl Iterator<Item = FamilyId> {
    (0..COUNT).filter_map(|index| index.try_into().ok().map(FamilyId))
}

/// The families that have series, in the order of the exposition.
pub fn families() -> impl Iterator<Item = FamilyId> {
    all().filter(|family| family.is_exposed)
}

/// Whether a family has a label of this name.
pub fn is_label(name: &str) -> bool {
    families().any(|family| family.labels.iter().any(|label| label.name == name))
}
