//! Families for what vendors report besides measures: delivery reports, users, conversions, links, events.

use super::{
    family::Family,
    label::{
        ACCOUNT, ACTION, APPLICATION, BOUNCED_KIND, BOUNCED_REASON, CAMPAIGN, CHANNEL, CURRENCY,
        ERROR, ERROR_GROUP, EVENT, LINK, MESSAGE_ID, PERMANENT, PLATFORM, PROVIDER, STATUS,
        STATUS_GROUP, TEMPLATE, TIME_UNIT, TITLE,
    },
};

/// The bounds of the times from sending to a message's first final report, in seconds.
pub const LATENCY_BOUNDS: &[f64] = &[
    1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10800.0, 21600.0, 43200.0,
    86400.0, 172800.0,
];

families! { FAMILIES of Vendors;
    REPORTS = Family::counter(
        "delivery_reports_total", "delivery.reports",
        "Delivery reports, each counted once ({fields}). A message can have several, so their sum is not a number of messages.",
    )
    .unit("{report}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, STATUS_GROUP, STATUS, ERROR_GROUP, ERROR, PERMANENT])
    .stored("report");
    REPORT_LATENCY = Family::histogram(
        "delivery_report_latency_seconds", "delivery.report.latency",
        "Time from sending to a message's first final report ({fields}).",
        LATENCY_BOUNDS,
    )
    .unit("s")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, STATUS_GROUP])
    .stored("latency");
    REPORT_COST = Family::counter(
        "delivery_report_cost_total", "delivery.report.cost",
        "Cost of messages in their currency ({fields}).",
    )
    .unit("{currency}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CHANNEL, CURRENCY])
    .stored("cost");
    APP_USERS_NEW = Family::gauge(
        "delivery_app_users_new", "delivery.app.users.new",
        "New users of the newest complete period ({fields}). The same users are counted under every time_unit, so do not sum over it.",
    )
    .unit("{user}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, PLATFORM, TIME_UNIT]);
    APP_USERS_ACTIVE = Family::gauge(
        "delivery_app_users_active", "delivery.app.users.active",
        "Active users of the newest complete period ({fields}). The same users are counted under every time_unit, so do not sum over it.",
    )
    .unit("{user}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, PLATFORM, TIME_UNIT]);
    APP_USERS_ONLINE = Family::gauge(
        "delivery_app_users_online", "delivery.app.users.online",
        "Online users of the newest complete period ({fields}). The same users are counted under every time_unit, so do not sum over it.",
    )
    .unit("{user}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, PLATFORM, TIME_UNIT]);
    CANARY_DEVICES = Family::gauge(
        "delivery_canary_devices", "delivery.canary_devices",
        "Configured test devices in each status of a message, as of the last pass ({fields}).",
    )
    .unit("{device}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, MESSAGE_ID, STATUS]);
    CONVERSION_HITS = Family::gauge(
        "delivery_conversion_hits", "delivery.conversion.hits",
        "Conversions of a message, as of the last pass ({fields}).",
    )
    .unit("{hit}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CAMPAIGN, MESSAGE_ID, EVENT]);
    CONVERSION_RATIO = Family::gauge(
        "delivery_conversion_ratio", "delivery.conversion.ratio",
        "The vendor's own conversion ratio of a message, as of the last pass ({fields}).",
    )
    .unit("1")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CAMPAIGN, MESSAGE_ID, EVENT]);
    CONVERSION_REVENUE = Family::gauge(
        "delivery_conversion_revenue", "delivery.conversion.revenue",
        "Revenue of a message's conversions, as of the last pass ({fields}).",
    )
    .unit("{currency}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, CAMPAIGN, MESSAGE_ID, EVENT]);
    LINK_CLICKS = Family::gauge(
        "delivery_link_clicks", "delivery.link.clicks",
        "Clicks on a link in e-mails, as of the last pass ({fields}): the max_links most clicked links, and the rest under link other.",
    )
    .unit("{click}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, TEMPLATE, LINK, TITLE]);
    LINK_DEVICES = Family::gauge(
        "delivery_link_devices", "delivery.link.devices",
        "Distinct devices that clicked on a link in e-mails, as of the last pass ({fields}).",
    )
    .unit("{device}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, LINK]);
    LOG_EVENTS = Family::counter(
        "delivery_log_events_total", "delivery.log.events",
        "Events from the vendor's log, each counted once ({fields}).",
    )
    .unit("{event}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, ACTION, PLATFORM, STATUS])
    .stored("log");
    BOUNCED_ADDRESSES = Family::counter(
        "delivery_bounced_addresses_total", "delivery.bounced_addresses",
        "Bounced e-mails, each counted once, by kind and class of reason ({fields}).",
    )
    .unit("{bounce}")
    .labels(&[PROVIDER, ACCOUNT, APPLICATION, BOUNCED_KIND, BOUNCED_REASON])
    .stored("bounced_address");
}
