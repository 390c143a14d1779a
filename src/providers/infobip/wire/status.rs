//! What the vendor's statuses and errors mean for a message.

use serde::Deserialize;

use crate::{
    model::{BounceKind, ErrorReason},
    providers::{
        Outcome,
        json::{Skipped, Text, whole_digits},
    },
};

/// `status` of a report.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StatusFields {
    group_id: Text,
    group_name: Text,
    id: Text,
    name: Text,
    description: Skipped,
    action: Skipped,
}

/// `error` of a report.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ErrorFields {
    group_id: Text,
    group_name: Text,
    id: Text,
    name: Text,
    description: Skipped,
    permanent: Truth,
}

/// A truth value that may come as a text.
#[derive(Clone, Copy, Debug, Default)]
struct Truth(Option<bool>);

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Truth, D::Error> {
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?.get();
        let word = raw.trim_matches('"').trim().to_ascii_lowercase();
        Ok(Truth(word.parse().ok()))
    }
}

/// The vendor's status groups by number, for reports that lack the name.
const STATUS_GROUPS: [&str; 6] = [
    "ACCEPTED",
    "PENDING",
    "UNDELIVERABLE",
    "DELIVERED",
    "EXPIRED",
    "REJECTED",
];

/// The vendor's table of statuses: number and name. The group is the beginning of the name, except
/// for the last ones, which are rejections.
const STATUSES: [(&str, &str); 26] = [
    ("2", "DELIVERED_TO_OPERATOR"),
    ("3", "PENDING_WAITING_DELIVERY"),
    ("4", "UNDELIVERABLE_REJECTED_OPERATOR"),
    ("5", "DELIVERED_TO_HANDSET"),
    ("6", "REJECTED_NETWORK"),
    ("7", "PENDING_ENROUTE"),
    ("8", "REJECTED_PREFIX_MISSING"),
    ("9", "UNDELIVERABLE_NOT_DELIVERED"),
    ("10", "REJECTED_DND"),
    ("11", "REJECTED_SOURCE"),
    ("12", "REJECTED_NOT_ENOUGH_CREDITS"),
    ("13", "REJECTED_SENDER"),
    ("14", "REJECTED_DESTINATION_BLOCK"),
    ("15", "EXPIRED_EXPIRED"),
    ("17", "REJECTED_PREPAID_PACKAGE_EXPIRED"),
    ("18", "REJECTED_DESTINATION_NOT_REGISTERED"),
    ("19", "REJECTED_ROUTE_NOT_AVAILABLE"),
    ("20", "REJECTED_FLOODING_FILTER"),
    ("21", "REJECTED_SYSTEM_ERROR"),
    ("23", "REJECTED_DUPLICATE_MESSAGE_ID"),
    ("24", "REJECTED_INVALID_UDH"),
    ("25", "REJECTED_MESSAGE_TOO_LONG"),
    ("26", "PENDING_ACCEPTED"),
    ("29", "EXPIRED_DLR_UNKNOWN"),
    ("51", "MISSING_TO"),
    ("52", "REJECTED_DESTINATION"),
];

/// Errors of group 2 that are hard where the report does not say whether they are permanent.
const HARD: [&str; 3] = [
    "EC_INVALID_EMAIL_ADDRESS",
    "EC_MAILBOX_UNAVAILABLE",
    "EC_HARD_BOUNCE",
];

/// A word of the vendor, however it is spelled.
fn word(text: &Text) -> Option<String> {
    let text = text.get()?.trim();
    (!text.is_empty()).then(|| text.to_ascii_uppercase())
}

/// A number of the vendor, however it is written.
fn digits(text: &Text) -> Option<&str> {
    text.get().map(|text| whole_digits(text.trim()))
}

/// A status in the vendor's words.
#[derive(Debug, Default)]
pub(super) struct Status {
    /// The group's name; the number of one that has no known name; empty: there is none.
    pub(super) group: String,
    /// The name; the number of one that has no known name; empty: there is none.
    pub(super) name: String,
    /// The name as version 0.1 put it into digests: as the text has it, or the number.
    pub(super) former: String,
    /// The report has a status with something in it.
    is_there: bool,
}

impl Status {
    /// The status of a report that has these fields.
    pub(super) fn of(fields: &StatusFields) -> Status {
        let id = digits(&fields.id);
        let known = STATUSES.iter().find(|(own, _)| Some(*own) == id);
        let name = word(&fields.name)
            .or_else(|| known.map(|(_, name)| (*name).to_owned()))
            .or_else(|| id.map(str::to_owned))
            .unwrap_or_default();
        let number = digits(&fields.group_id);
        let by_number = number.and_then(|id| STATUS_GROUPS.get(id.parse::<usize>().ok()?));
        let by_name = || {
            let begins = |group: &&&str| {
                let rest = name.strip_prefix(**group);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
            };
            let missing = (name == "MISSING_TO").then_some(&"REJECTED");
            STATUS_GROUPS.iter().find(begins).or(missing)
        };
        let group = word(&fields.group_name)
            .or_else(|| by_number.map(|own| (*own).to_owned()))
            .or_else(|| number.map(str::to_owned))
            .or_else(|| by_name().map(|own| (*own).to_owned()))
            .unwrap_or_default();
        Status {
            is_there: !(group.is_empty() && name.is_empty()),
            former: fields
                .name
                .get()
                .or(fields.id.get())
                .unwrap_or("")
                .to_owned(),
            group,
            name,
        }
    }

    /// Whether it says anything.
    pub(super) fn is_there(&self) -> bool {
        self.is_there
    }

    /// Whether nothing else is to come. Everything unknown is final.
    fn is_final(&self) -> bool {
        self.name != "DELIVERED_TO_OPERATOR"
            && !matches!(self.group.as_str(), "ACCEPTED" | "PENDING")
    }
}

/// An error in the vendor's words.
#[derive(Debug, Default)]
pub(super) struct Error {
    /// The group's name; its number where there is none.
    pub(super) group: String,
    /// The name; the number where there is none.
    pub(super) name: String,
    /// Whether the vendor calls it permanent.
    pub(super) permanent: Option<bool>,
    meaning: ErrorGroup,
    is_there: bool,
}

/// What an error's group means for e-mail, whatever its name says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ErrorGroup {
    Ok,
    Dropped,
    Bounced,
    System,
    #[default]
    Unknown,
}

impl Error {
    /// The error of a report that has these fields.
    pub(super) fn of(fields: &ErrorFields) -> Error {
        let number = digits(&fields.group_id);
        let group = word(&fields.group_name);
        let meaning = match (number, group.as_deref()) {
            (Some("0"), _) => ErrorGroup::Ok,
            (Some("1"), _) => ErrorGroup::Dropped,
            (Some("2"), _) => ErrorGroup::Bounced,
            (Some("3"), _) => ErrorGroup::System,
            (_, Some("OK")) => ErrorGroup::Ok,
            (_, Some("HANDSET_ERRORS")) => ErrorGroup::Dropped,
            (_, Some("USER_ERRORS")) => ErrorGroup::Bounced,
            (_, Some("OPERATOR_ERRORS" | "SYSTEM_ERRORS")) => ErrorGroup::System,
            _ if digits(&fields.id) == Some("0") => ErrorGroup::Ok,
            _ => ErrorGroup::Unknown,
        };
        let id = digits(&fields.id).map(str::to_owned);
        let name = word(&fields.name).or(id).unwrap_or_default();
        let group = group.or(number.map(str::to_owned)).unwrap_or_default();
        Error {
            is_there: !(group.is_empty() && name.is_empty()),
            group,
            name,
            permanent: fields.permanent.0,
            meaning,
        }
    }

    /// Hard if permanent; where the report does not say, by the names that are known to be hard.
    fn bounce(&self) -> Outcome {
        let hard = self
            .permanent
            .unwrap_or_else(|| HARD.contains(&self.name.as_str()));
        Outcome::Bounced(if hard {
            BounceKind::Hard
        } else {
            BounceKind::Soft
        })
    }
}

/// What a report means for its message. Never by `error.id`: the vendor has renumbered them.
pub(super) fn outcome(status: &Status, error: &Error) -> Outcome {
    // A report that says nothing about the message's fate: it was reported on, and that is all.
    let silent = matches!(error.meaning, ErrorGroup::Ok) || !error.is_there;
    if !status.is_there && silent {
        return Outcome::Pending;
    }
    if !status.is_final() {
        return Outcome::Pending;
    }
    let group = status.group.as_str();
    if group == "DELIVERED" {
        return Outcome::Delivered;
    }
    let expired_or_rejected = matches!(group, "EXPIRED" | "REJECTED");
    if error.meaning == ErrorGroup::Ok && !expired_or_rejected {
        return Outcome::Other;
    }
    let name = error.name.as_str();
    match error.meaning {
        ErrorGroup::Bounced => error.bounce(),
        ErrorGroup::Dropped
            if name.contains("SUPPRESSED") || name == "EC_BOUNCED_EMAIL_ADDRESS" =>
        {
            Outcome::Failed(ErrorReason::Suppressed)
        }
        ErrorGroup::Dropped => Outcome::Failed(ErrorReason::Dropped),
        ErrorGroup::System => Outcome::Failed(ErrorReason::System),
        ErrorGroup::Ok | ErrorGroup::Unknown => match group {
            "EXPIRED" => Outcome::Failed(ErrorReason::Expired),
            "REJECTED" => Outcome::Failed(ErrorReason::Rejected),
            _ if name.contains("BOUNCE") => error.bounce(),
            _ => Outcome::Failed(ErrorReason::Other),
        },
    }
}
