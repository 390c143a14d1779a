//! How requests to webhooks end.

/// How a request to a webhook ended: the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// Something in it was new.
    Counted,
    /// All of it was counted before.
    Duplicate,
    /// It tells something that is not counted.
    Unsupported,
    /// Some of it could not be read, and was set aside.
    Quarantined,
    /// Without the right token, too large, or not durable: the vendor tries again.
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
