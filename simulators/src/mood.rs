//! The moods of a vendor: plausible ways in which a real one differs from its documentation, or
//! from what the documentation leaves open.
//!
//! A [`Mood`] is a set of independent dimensions. [`Mood::calm`] (the default) has none of them and
//! answers as documented; [`Mood::from_seed`] draws each one by itself, off about half the time.
//! What a mood does is a pure function of its seed, the endpoint, what is asked for, how often the
//! same was asked before, and the identity of a row: no wall clock and no global chance.
//!
//! # Use
//!
//! - [`Options::moods`](crate::Options::moods) takes [`Moods`], one mood for each [`Account`]:
//!   [`Moods::calm`], [`Moods::from_seed`], [`Moods::all`], or field by field.
//! - [`World::set_mood`](crate::World::set_mood) changes the mood of an account that runs;
//!   [`World::mood`](crate::World::mood) tells it.
//! - [`Mood::set`] takes a `key` and a `value` as text ([`Mood::KEYS`], [`Mood::settings`]); `Display` prints what is
//!   unusual as `key=value`, in one line, in the form that `set` reads.
//!
//! # What a judge can ask
//!
//! - [`World::books`](crate::World::books): what is true now, in the documented form, whatever the
//!   mood.
//! - [`World::told`](crate::World::told): what stood in good answers, in the documented form: the
//!   highest value of each number of each message, the distinct events, the distinct reports. A
//!   number that only came in a place or a type where it is not documented is not in it. What a
//!   client shows lies between `told` and `books`.
//! - [`World::refused`](crate::World::refused): ids that the vendor refuses for good.
//! - [`World::requests`](crate::World::requests), [`World::last_errors`](crate::World::last_errors),
//!   [`World::acted`](crate::World::acted): requests by endpoint, the time of each endpoint's last
//!   answer that was an error, and how often each unusual thing was really done.
//!
//! All but the number of requests is kept from the moment a mood is not calm, or where
//! [`Options::record`](crate::Options::record) says so.

mod acting;
pub(crate) mod lists;
mod setting;
pub(crate) mod shape;
mod told;
pub(crate) mod transport;

use std::fmt;

pub use acting::Acting;
pub(crate) use acting::{Call, text_hash};
pub use setting::Setting;
use setting::choice;
pub use told::Told;

use crate::traffic::mix;

choice! {
    /// In which order rows are listed.
    pub enum Order {
        /// As the calm vendor has it.
        Usual = "usual",
        /// The newest first.
        Newest = "newest",
        /// The oldest first.
        Oldest = "oldest",
        /// In no order, which stays the same.
        Shuffled = "shuffled",
        /// In no order, and in another one at every request.
        Reshuffled = "reshuffled",
    }
}

choice! {
    /// Which ends of a range of dates or times belong to it.
    pub enum Bounds {
        /// As the calm vendor has it.
        Usual = "usual",
        /// Both.
        Both = "both",
        /// The first only.
        First = "first",
        /// The last only.
        Last = "last",
        /// Neither.
        Neither = "neither",
    }
}

choice! {
    /// Rows that are listed twice.
    pub enum Repeats {
        /// None.
        Never = "never",
        /// Next to each other.
        InPage = "in_page",
        /// On two pages.
        OverPages = "over_pages",
    }
}

choice! {
    /// The number of rows over all pages.
    pub enum Total {
        /// Is right.
        Right = "right",
        /// Is left out.
        Missing = "missing",
        /// Is a text.
        Text = "text",
        /// Is a little too high.
        High = "high",
        /// Is a little too low.
        Low = "low",
    }
}

choice! {
    /// The token of the last page of a list.
    pub enum LastToken {
        /// As the calm vendor has it: a new one, and the page after it is empty.
        Usual = "usual",
        /// Is not there.
        Missing = "missing",
        /// Is `null`.
        Null = "null",
        /// Is an empty text.
        Empty = "empty",
        /// Is the one that was asked with.
        Same = "same",
    }
}

choice! {
    /// How numbers are written.
    pub enum Digits {
        /// As documented.
        Usual = "usual",
        /// As texts.
        Text = "text",
        /// With a fraction: `17.0`.
        Fraction = "fraction",
        /// As texts with a fraction: `"17.0"`.
        TextFraction = "text_fraction",
        /// In one way in one answer and in another in the next.
        Mixed = "mixed",
    }
}

choice! {
    /// What an error looks like.
    pub enum ErrorForm {
        /// One of the others each time.
        Any = "any",
        /// `{"code": …, "message": …}`, or the vendor's flat form.
        Flat = "flat",
        /// The vendor's form with an object around it.
        Nested = "nested",
        /// `{"message": …}` and nothing else.
        Message = "message",
        /// A page in HTML.
        Html = "html",
        /// A document in XML.
        Xml = "xml",
        /// Nothing.
        Empty = "empty",
    }
}

choice! {
    /// The HTTP status of an error.
    pub enum ErrorStatus {
        /// One of the others each time.
        Any = "any",
        /// 200.
        Ok = "200",
        /// 400.
        BadRequest = "400",
        /// 403.
        Forbidden = "403",
        /// 404.
        NotFound = "404",
        /// 500.
        Internal = "500",
        /// 502.
        BadGateway = "502",
        /// 503.
        Unavailable = "503",
    }
}

choice! {
    /// `Retry-After` on answers that ask the client to wait.
    pub enum RetryAfter {
        /// Is not there (Alibaba's own header has milliseconds, as the calm vendor has it).
        Absent = "absent",
        /// In seconds.
        Seconds = "seconds",
        /// As an HTTP date.
        Date = "date",
        /// 10^12 seconds.
        Huge = "huge",
        /// Below zero.
        Negative = "negative",
        /// Words.
        Text = "text",
    }
}

choice! {
    /// Messages in their first minutes.
    pub enum Unknown {
        /// Are known at once.
        Never = "never",
        /// Are refused, and the whole request with them.
        Refused = "refused",
        /// Are left out of the answer.
        LeftOut = "left_out",
    }
}

choice! {
    /// When a vendor that counts by day publishes its numbers.
    pub enum Publication {
        /// As the calm vendor has it.
        Usual = "usual",
        /// Once a night, at an hour that is another every day, from 00:10 to 05:50 UTC+8.
        AnyHour = "any_hour",
        /// The same, and some of the numbers earlier that night than all.
        TwoSteps = "two_steps",
    }
}

choice! {
    /// `Content-Type` of JSON.
    pub enum ContentType {
        /// `application/json`.
        Usual = "usual",
        /// Is not there.
        Missing = "missing",
        /// `text/plain`.
        TextPlain = "text_plain",
        /// `text/json`.
        TextJson = "text_json",
    }
}

choice! {
    /// Hand-outs of e-mail reports that are no reports: an error, a page, a document, or nothing
    /// under HTTP 200.
    pub enum Spoiled {
        /// None.
        Never = "never",
        /// The reports stay in the queue.
        Kept = "kept",
        /// The reports have left the queue, and are lost.
        Lost = "lost",
    }
}

/// One of `values`.
fn one_of<T: Copy>(values: &[T], luck: u64) -> T {
    values[(luck % values.len() as u64) as usize]
}

/// A value of a dimension that is not usual.
fn drawn<T>(draw: fn(u64) -> T, luck: u64) -> T {
    draw(luck)
}

setting::mood! {
    /// The order of rows in lists and pages.
    order: Order = Order::unusual,
    /// The ends of ranges.
    bounds: Bounds = Bounds::unusual,
    /// At most so many rows in a page, whatever was asked for; 0: as many as were asked for.
    page_cap: u32 = |luck| one_of(&[100, 20, 7], luck),
    /// A row moves to another page while the pages are read.
    moving_rows: bool = |_| true,
    /// A message is sent between the requests for two pages (twelve times at most).
    new_between_pages: bool = |_| true,
    /// Rows that come twice.
    repeats: Repeats = Repeats::unusual,
    /// The number of rows over all pages.
    total: Total = Total::unusual,
    /// How a list that is read by token ends.
    last_token: LastToken = LastToken::unusual,
    /// How numbers are written.
    digits: Digits = Digits::unusual,
    /// Documented fields that have no value are `null`.
    nulls: bool = |_| true,
    /// Optional fields are left out now and then, and numbers that are 0.
    absent_fields: bool = |_| true,
    /// Fields that are not documented: texts, numbers, objects and lists.
    new_fields: bool = |_| true,
    /// Values that are not documented: platforms, channels, kinds of messages, statuses.
    new_values: bool = |_| true,
    /// Now and then a scalar or a list stands where an object is documented.
    odd_shapes: bool = |_| true,
    /// A list of one row is the row itself.
    single_rows: bool = |_| true,
    /// So many of 1,000 requests are answered with an error.
    errors: u32 = |luck| one_of(&[20, 50, 100, 200], luck),
    /// What these errors look like.
    error_form: ErrorForm = ErrorForm::unusual,
    /// Their HTTP status.
    error_status: ErrorStatus = ErrorStatus::unusual,
    /// So many of 1,000 requests are throttled, in one of the vendor's forms.
    throttled: u32 = |luck| one_of(&[20, 50, 150], luck),
    /// `Retry-After` on 429 and 503, and on what Alibaba throttles.
    retry_after: RetryAfter = RetryAfter::unusual,
    /// Messages in their first minutes.
    unknown: Unknown = Unknown::unusual,
    /// For how many seconds these are not known; 0: 180.
    unknown_seconds: u32 = |luck| one_of(&[45, 120, 290, 600], luck),
    /// When Alibaba publishes.
    publication: Publication = Publication::unusual,
    /// By how many seconds the vendor's clock is ahead of the world's: ten minutes at most.
    skew_seconds: i32 = |luck| one_of(&[-600, -240, -61, -5, 5, 61, 240, 600], luck),
    /// Some answers come late, by [`Options::slow_by`](crate::Options::slow_by) of real time.
    slow: bool = |_| true,
    /// The connection is closed after each answer.
    close: bool = |_| true,
    /// Answers are compressed if the client accepts it.
    gzip: bool = |_| true,
    /// Answers are sent in chunks, without their length.
    chunked: bool = |_| true,
    /// JSON begins with a byte order mark.
    byte_order_mark: bool = |_| true,
    /// There is whitespace around JSON.
    whitespace: bool = |_| true,
    /// The content type of JSON.
    content_type: ContentType = ContentType::unusual,
    /// One row is spelled in two ways in two answers: times, names, addresses, ids.
    respelled: bool = |_| true,
    /// Some messages that the customer knows are refused for good, and the request with them.
    refused_ids: bool = |_| true,
    /// An e-mail report comes again in a later answer, in another spelling.
    repeated_reports: bool = |_| true,
    /// Some e-mail reports have a `status.id` without a name.
    unnamed_status: bool = |_| true,
    /// Hand-outs of e-mail reports that are no reports.
    spoiled_reports: Spoiled = Spoiled::unusual,
}

impl Mood {
    /// As documented: every answer is, byte for byte, what the simulator says without moods.
    pub fn calm() -> Mood {
        Mood::default()
    }

    /// Whether a campaign of this number is refused for good.
    pub(crate) fn refuses(&self, number: u64) -> bool {
        self.refused_ids && number % 16 == self.seed % 4
    }

    /// For how many seconds a message is not known.
    pub(crate) fn unknown_for(&self) -> i64 {
        match self.unknown_seconds {
            0 => 180,
            seconds => seconds.into(),
        }
    }

    /// Whether nothing is unusual.
    pub fn is_calm(&self) -> bool {
        *self
            == Mood {
                seed: self.seed,
                ..Mood::default()
            }
    }
}

/// The accounts of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Push of Infobip.
    InfobipPush,
    /// E-mail of Infobip.
    InfobipEmail,
    /// EngageLab.
    Engagelab,
    /// Pushwoosh.
    Pushwoosh,
    /// Alibaba.
    Alibaba,
}

impl Account {
    /// All of them.
    pub const ALL: [Account; 5] = [
        Account::InfobipPush,
        Account::InfobipEmail,
        Account::Engagelab,
        Account::Pushwoosh,
        Account::Alibaba,
    ];

    /// The name of the account's kind.
    pub fn name(self) -> &'static str {
        match self {
            Account::InfobipPush => "infobip_push",
            Account::InfobipEmail => "infobip_email",
            Account::Engagelab => "engagelab",
            Account::Pushwoosh => "pushwoosh",
            Account::Alibaba => "alibaba_push",
        }
    }
}

/// The moods of all accounts of a world.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moods([Mood; 5]);

impl Moods {
    /// Every vendor answers as documented.
    pub fn calm() -> Moods {
        Moods::default()
    }

    /// A mood of its own for each account.
    pub fn from_seed(seed: u64) -> Moods {
        Moods(Account::ALL.map(|account| Mood::from_seed(mix(seed, 0x6d6f_6f64 + account as u64))))
    }

    /// One mood for all.
    pub fn all(mood: Mood) -> Moods {
        Moods([mood; 5])
    }

    /// These moods, with another one for one account.
    pub fn with(mut self, account: Account, mood: Mood) -> Moods {
        *self.of_mut(account) = mood;
        self
    }

    /// The mood of an account.
    pub fn of(&self, account: Account) -> &Mood {
        &self.0[account as usize]
    }

    /// The mood of an account, to change it.
    pub fn of_mut(&mut self, account: Account) -> &mut Mood {
        &mut self.0[account as usize]
    }
}

impl fmt::Display for Moods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, account) in Account::ALL.into_iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{}: {}", account.name(), self.of(account))?;
        }
        Ok(())
    }
}
