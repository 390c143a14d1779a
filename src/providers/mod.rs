//! The vendors: how each is asked, and what its answers mean.
//!
//! The door of this room is [`Provider`]: a query goes in, an [`Answer`] of [`Observation`]s comes
//! out. There is one method per way of querying; a vendor has those that its data sets name. A vendor
//! is one folder here, which declares a [`Vendor`], and one line in [`VENDORS`]. Providers know
//! neither the store nor a metric's name; what they measure about themselves goes to an
//! [`Observer`].

mod alibaba_push;
#[cfg(test)]
mod apart;
mod bisect;
mod checkup;
mod decode;
pub(crate) mod digest;
mod door;
mod encode;
mod engagelab;
mod failure;
#[cfg(test)]
mod fixtures;
pub mod help;
mod history;
pub mod http;
mod infobip;
mod json;
mod observation;
mod options;
mod paging;
mod pushwoosh;
mod report;
mod salvage;
#[cfg(test)]
mod scripted;
mod secrets;
mod spool;
pub mod vendor;
mod verdict;

use std::{future::ready, sync::Arc};

use delivery_clock::Clock;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::model::{Dataset, Message};
pub use checkup::{CheckAnswer, CheckOutcome, Checkup, CheckupQuery, Explained};
pub use door::{Answer, DrainQuery, HistoryQuery, ListQuery, Listing, MessagesQuery, WholeQuery};
pub use failure::{Failure, FailureKind, Observer, RequestCode, Scope};
pub use history::{HistoryIncrease, HistoryRecord};
use http::{BuildError, Http, HttpOptions};
pub(crate) use json::{MAX_VALUES, has_too_many_values};
pub use observation::{Observation, Refusal};
pub use options::{Credentials, ProviderOptions, VendorKeys};
pub use report::{Damage, Digest, Outcome, Pushed, Report, ReportsRead};
pub use spool::{Spool, SpoolError, SpoolWriter, SpooledBody};
pub use vendor::{ListCost, ProviderParts, Vendor};

/// Every vendor, in the order of the documentation. A new one is one line here.
pub static VENDORS: Vendors = &[
    &infobip::vendor::PUSH,
    &infobip::vendor::EMAIL,
    &engagelab::vendor::VENDOR,
    &pushwoosh::vendor::VENDOR,
    &alibaba_push::vendor::VENDOR,
];

/// The data set of that name, of the first of [`VENDORS`] that has one.
pub fn dataset(name: &str) -> Option<Dataset> {
    VENDORS.iter().find_map(|vendor| vendor.dataset(name))
}

/// A list of vendors. Programs that use this one as a library, and tests, can add their own to
/// [`VENDORS`] and read a configuration with them (`config::parse_with`).
pub type Vendors = &'static [&'static Vendor];

/// A vendor's statistics API, with the credentials of one account.
pub trait Provider: Send + Sync {
    /// Whether the vendor's list of messages has their numbers too, so that a message that is due
    /// can wait for a list that is on its way.
    fn list_has_numbers(&self) -> bool {
        false
    }

    /// Whether `id` may be another name of a message than the one that it is known by: then the
    /// ledger is asked for that one before anything of it is counted.
    fn may_be_another_name(&self, id: &str) -> bool {
        let _ = id;
        false
    }

    /// The first moment at which the vendor can have numbers of `message`; `None`: at once.
    fn first_numbers(&self, message: &Message) -> Option<Timestamp> {
        let _ = message;
        None
    }

    /// Queries the numbers of some messages: data sets of [`QueryMethod::Messages`].
    ///
    /// [`QueryMethod::Messages`]: crate::model::QueryMethod::Messages
    fn messages<'a>(&'a self, query: MessagesQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Queries the vendor's own list of messages: vendors that can list.
    fn list<'a>(&'a self, query: ListQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Queries a data set of an application: those of [`QueryMethod::Whole`].
    ///
    /// [`QueryMethod::Whole`]: crate::model::QueryMethod::Whole
    fn whole<'a>(&'a self, query: WholeQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Takes what is in a queue: data sets of [`QueryMethod::Drain`].
    ///
    /// [`QueryMethod::Drain`]: crate::model::QueryMethod::Drain
    fn drain<'a>(&'a self, query: DrainQuery<'a>) -> BoxFuture<'a, Answer> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Queries the history of a data set that has one.
    fn history<'a>(&'a self, query: HistoryQuery<'a>) -> BoxFuture<'a, Answer<HistoryRecord>> {
        let _ = query;
        Box::pin(ready(Answer::unsupported()))
    }

    /// Asks harmless questions, for `check --online`: whether the credentials are good, whether the applications
    /// exist, and whether the account may read what is collected. Nothing that the vendor hands out once is asked
    /// for.
    fn check_up<'a>(&'a self, query: CheckupQuery<'a>) -> BoxFuture<'a, Checkup> {
        let _ = query;
        let mut checkup = Checkup::default();
        checkup.unclear("the account", "this version knows no harmless question", "");
        Box::pin(ready(checkup))
    }

    /// What is in a body that the vendor pushed, or handed out once: every whole report and event,
    /// and what was left over. Pure, so that spooled bodies can be read again at a start.
    fn read_pushed(&self, body: &[u8]) -> Pushed {
        let reports = ReportsRead {
            damage: Some(Damage {
                at: 0,
                what: "no reports are known for this vendor".into(),
                rest: body.into(),
                sample_of: None,
            }),
            empty: body.is_empty(),
            ..ReportsRead::default()
        };
        Pushed {
            reports,
            ..Pushed::default()
        }
    }
}

/// The provider of an account.
///
/// # Errors
///
/// A certificate or proxy of the account cannot be used.
pub fn build(
    account: impl Into<HttpOptions> + Into<ProviderOptions> + Into<&'static Vendor> + Copy,
    clock: Clock,
    observer: Arc<dyn Observer>,
) -> Result<Arc<dyn Provider>, BuildError> {
    Ok(build_on(Http::new(account, clock, observer)?, account))
}

/// The provider of an account, on a client that is already there.
pub fn build_on(
    http: Http,
    account: impl Into<ProviderOptions> + Into<&'static Vendor> + Copy,
) -> Arc<dyn Provider> {
    let vendor: &'static Vendor = account.into();
    let options: ProviderOptions = account.into();
    (vendor.build)(ProviderParts { http, options })
}
