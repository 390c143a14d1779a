//! The families that exist for every measure; one line of the table below declares all families of a measure.

use super::{
    FamilyId, Section,
    family::{Family, Fields},
    label::{
        ACCOUNT, AGE, APPLICATION, CAMPAIGN, CHANNEL, KIND, MESSAGE_ID, MESSAGE_TYPE, PLATFORM,
        PROVIDER, REASON, VENDOR_CHANNEL,
    },
};
use crate::model::Measure;

/// A set of families with one family per measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasureFamilies(Section);

/// Gauges of single messages.
pub const MESSAGE: MeasureFamilies = MeasureFamilies(Section::Message);
/// Gauges of messages by vendor channel.
pub const MESSAGE_BY_CHANNEL: MeasureFamilies = MeasureFamilies(Section::MessageByChannel);
/// Gauges of messages by message type.
pub const MESSAGE_BY_TYPE: MeasureFamilies = MeasureFamilies(Section::MessageByType);
/// Counters over all messages.
pub const TOTAL: MeasureFamilies = MeasureFamilies(Section::Total);
/// Counters over the messages of a campaign.
pub const TOTAL_BY_CAMPAIGN: MeasureFamilies = MeasureFamilies(Section::TotalByCampaign);
/// Counters over all messages by vendor channel.
pub const TOTAL_BY_CHANNEL: MeasureFamilies = MeasureFamilies(Section::TotalByChannel);

impl MeasureFamilies {
    /// The family of a measure; some measures have no series at this level.
    pub const fn of(self, measure: Measure) -> FamilyId {
        FamilyId::at(self.0, Index::of(measure) as u16)
    }

    /// Whether a family is one of these.
    pub fn has(self, family: FamilyId) -> bool {
        self.0.has(family)
    }
}

/// What is counted for messages at an age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CohortPart {
    /// Sends.
    Sent,
    /// Deliveries.
    Delivered,
    /// Messages.
    Messages,
}

impl CohortPart {
    /// All parts.
    pub const ALL: [CohortPart; 3] = [
        CohortPart::Sent,
        CohortPart::Delivered,
        CohortPart::Messages,
    ];
}

/// A set of families with one family per part of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CohortFamilies(Section);

/// Counters of messages at an age.
pub const COHORT: CohortFamilies = CohortFamilies(Section::Cohort);
/// The same by vendor channel.
pub const COHORT_BY_CHANNEL: CohortFamilies = CohortFamilies(Section::CohortByChannel);

impl CohortFamilies {
    /// The family of a part.
    pub const fn of(self, part: CohortPart) -> FamilyId {
        FamilyId::at(self.0, part as u16)
    }
}

/// The families of the measures: each line of the list below makes one of each kind, whose names are
/// `delivery_message_<word>`, `delivery_message_channel_<word>`, `delivery_message_type_<word>`,
/// `delivery_<word>_total`, `delivery_campaign_<word>_total` and `delivery_channel_<word>_total`.
macro_rules! measures {
    ($(
        $index:ident $measure:pat, $word:literal, $unit:literal, [$($detail:ident),*],
        by_channel: $by_channel:literal, by_type: $by_type:literal,
        $meaning:literal;
    )*) => {
        /// The order of the measures in each of the levels.
        #[derive(Clone, Copy)]
        enum Index {
            $($index,)*
        }

        impl Index {
            const fn of(measure: Measure) -> Index {
                match measure {
                    $($measure => Index::$index,)*
                }
            }
        }

        pub(super) const MESSAGES: &[Family] = &[$(
            Family::gauge(
                concat!("delivery_message_", $word),
                concat!("delivery.message.", $word),
                concat!($meaning, ", as of the last pass ({fields})."),
            )
            .fields(Fields::Measure($word))
            .unit($unit)
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, CAMPAIGN, MESSAGE_ID, $($detail),*]),
        )*];

        pub(super) const MESSAGE_CHANNELS: &[Family] = &[$(
            Family::gauge(
                concat!("delivery_message_channel_", $word),
                concat!("delivery.message.channel.", $word),
                concat!($meaning, " by vendor channel, as of the last pass ({fields}). Does not add up to the message's totals."),
            )
            .fields(Fields::Named("breakdown"))
            .unit($unit)
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, CAMPAIGN, MESSAGE_ID, MESSAGE_TYPE, PLATFORM, VENDOR_CHANNEL])
            .breakdown()
            .exposed($by_channel),
        )*];

        pub(super) const MESSAGE_TYPES: &[Family] = &[$(
            Family::gauge(
                concat!("delivery_message_type_", $word),
                concat!("delivery.message.type.", $word),
                concat!($meaning, " by message type, as of the last pass ({fields}). Does not add up to the message's totals."),
            )
            .fields(Fields::Named("types"))
            .unit($unit)
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, CAMPAIGN, MESSAGE_ID, MESSAGE_TYPE])
            .breakdown()
            .exposed($by_type),
        )*];

        pub(super) const TOTALS: &[Family] = &[$(
            Family::counter(
                concat!("delivery_", $word, "_total"),
                concat!("delivery.", $word),
                concat!($meaning, ", added up over all messages ({fields}).{notes}"),
            )
            .fields(Fields::Measure($word))
            .unit($unit)
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, $($detail),*])
            .stored_with("total", $word, 1),
        )*];

        pub(super) const CAMPAIGNS: &[Family] = &[$(
            Family::counter(
                concat!("delivery_campaign_", $word, "_total"),
                concat!("delivery.campaign.", $word),
                concat!($meaning, ", added up over the messages of a campaign ({fields}).{notes}"),
            )
            .fields(Fields::Measure($word))
            .unit($unit)
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, CAMPAIGN, $($detail),*])
            .stored_with("campaign", $word, 2),
        )*];

        pub(super) const CHANNELS: &[Family] = &[$(
            Family::counter(
                concat!("delivery_channel_", $word, "_total"),
                concat!("delivery.channel.", $word),
                concat!($meaning, " by vendor channel, added up over all messages ({fields}). Does not add up to the totals."),
            )
            .fields(Fields::Named("breakdown"))
            .unit($unit)
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, MESSAGE_TYPE, PLATFORM, VENDOR_CHANNEL])
            .summed(&[$($detail),*])
            .stored_with("channel", $word, 3)
            .exposed($by_channel),
        )*];
    };
}

// The measure, its word in names, its unit, the label for its reason or kind, whether it is exposed by vendor
// channel and by message type, and its meaning.
measures! {
    Targeted Measure::Targeted, "targeted", "{recipient}", [], by_channel: true, by_type: true,
        "Intended recipients of a message";
    Accepted Measure::Accepted, "accepted", "{message}", [], by_channel: false, by_type: false,
        "Sends that the vendor's server accepted";
    Sent Measure::Sent, "sent", "{message}", [], by_channel: true, by_type: true,
        "Sends of a message";
    Delivered Measure::Delivered, "delivered", "{message}", [], by_channel: true, by_type: true,
        "Deliveries of a message";
    Displayed Measure::Displayed, "displayed", "{message}", [], by_channel: true, by_type: true,
        "Displays of a message";
    Opened Measure::Opened, "opened", "{message}", [], by_channel: true, by_type: true,
        "Opens or clicks of a message";
    Dismissed Measure::Dismissed, "dismissed", "{message}", [], by_channel: false, by_type: false,
        "Notifications dismissed without being opened";
    InboxOpened Measure::InboxOpened, "inbox_opened", "{message}", [], by_channel: true, by_type: false,
        "Opens from the application's inbox";
    Unshowable Measure::Unshowable, "unshowable", "{message}", [], by_channel: true, by_type: false,
        "Sends to users who switched notifications off";
    Confirmed Measure::Confirmed, "confirmed", "{message}", [], by_channel: false, by_type: false,
        "Sends that the receiving server confirmed";
    Unsubscribed Measure::Unsubscribed, "unsubscribed", "{recipient}", [], by_channel: false, by_type: false,
        "Recipients who unsubscribed";
    Complaints Measure::Complaints, "complaints", "{recipient}", [], by_channel: false, by_type: false,
        "Recipients who complained";
    Skipped Measure::Skipped, "skipped", "{message}", [], by_channel: false, by_type: false,
        "Text messages that were not attempted";
    Errors Measure::Errors(_), "errors", "{error}", [REASON], by_channel: true, by_type: false,
        "Failed sends of a message per reason";
    Bounces Measure::Bounces(_), "bounces", "{bounce}", [KIND], by_channel: false, by_type: false,
        "Bounces of a message, hard or soft";
}

macro_rules! cohorts {
    ($($word:literal, $meaning:literal;)*) => {
        pub(super) const COHORTS: &[Family] = &[$(
            Family::counter(
                concat!("delivery_cohort_", $word, "_total"),
                concat!("delivery.cohort.", $word),
                concat!($meaning, " that have reached an age, each as of that age. Sent and delivered cover the same messages, so their ratio is the delivery rate at equal age."),
            )
            .unit("{message}")
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, AGE])
            .stored_with("cohort", $word, 2),
        )*];

        pub(super) const COHORT_CHANNELS: &[Family] = &[$(
            Family::counter(
                concat!("delivery_cohort_channel_", $word, "_total"),
                concat!("delivery.cohort.channel.", $word),
                concat!($meaning, " by vendor channel that have reached an age, each as of that age."),
            )
            .unit("{message}")
            .labels(&[PROVIDER, ACCOUNT, APPLICATION, PLATFORM, VENDOR_CHANNEL, AGE])
            .stored_with("cohort_channel", $word, 3),
        )*];
    };
}

// In the order of `CohortPart`.
cohorts! {
    "sent", "Sends of messages";
    "delivered", "Deliveries of messages";
    "messages", "Messages";
}

families! { RATIOS of MessageRatio;
    MESSAGE_DELIVERY_RATIO = Family::gauge(
        "delivery_message_delivery_ratio", "delivery.message.delivery_ratio",
        "Delivered / sent of a message, as of the last pass; not clamped to 1, and absent while sent is 0.",
    )
    .unit("1")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, CAMPAIGN, MESSAGE_ID]);
    MESSAGE_REPORTED_RATIO = Family::gauge(
        "delivery_message_reported_delivery_ratio", "delivery.message.reported_delivery_ratio",
        "The vendor's own delivery ratio of a message, as of the last pass ({fields}).",
    )
    .unit("1")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, CAMPAIGN, MESSAGE_ID]);
}
