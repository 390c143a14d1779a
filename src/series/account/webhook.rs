//! Outcomes of requests to webhooks.

/// How a request to a webhook ended: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// It contained something new.
    Counted,
    /// Everything in it had already been counted.
    Duplicate,
    /// It reports something that is not counted.
    Unsupported,
    /// A part of it could not be parsed and was quarantined.
    Quarantined,
    /// Refused, because the token is wrong, the body is too large, or it could not be stored durably; the
    /// vendor retries.
    Refused,
}

impl WebhookOutcome {
    #[cfg(test)]
    pub(in crate::series) const ALL: [WebhookOutcome; 5] = [
        WebhookOutcome::Counted,
        WebhookOutcome::Duplicate,
        WebhookOutcome::Unsupported,
        WebhookOutcome::Quarantined,
        WebhookOutcome::Refused,
    ];

    pub(in crate::series) fn as_str(self) -> &'static str {
        match self {
            WebhookOutcome::Counted => "counted",
            WebhookOutcome::Duplicate => "duplicate",
            WebhookOutcome::Unsupported => "unsupported",
            WebhookOutcome::Quarantined => "quarantined",
            WebhookOutcome::Refused => "refused",
        }
    }
}
