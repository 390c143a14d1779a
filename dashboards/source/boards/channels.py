"""Channels, for the person on call: which vendor channel, at which vendor, at which application."""

from . import frame
from .panels import USUAL, Board, Column, Panel, Query, Row
from .queries import AGE, LABELS, cohort_rate, grown, largest, of_usual, per_bar, select, share

PART = "provider, account, application, vendor_channel"
# A vendor that reports no channels has one part, its application, which the Overview shows.
CHANNELS = (LABELS, AGE, 'vendor_channel!=""')


def _where() -> Row:
    largest_parts = f" and on({PART}) topk(40, sum by({PART}) (increase({select('delivery_cohort_channel_sent_total', LABELS, AGE)}[$__range] @ end())))"
    return Row("Which channel, and since when", [
        Panel(
            "matrix", "Vendor channels, share of their usual delivery",
            "Deliveries of each vendor channel of an application, as a share of what is expected from its own past at the same age. Red in one channel of all applications points to the channel, in all channels of one application to the application, in all of an account to the vendor. "
            "Cells with fewer than 30 expected deliveries are left out, so that quiet nights cause no noise. Values above 150 % are shown as 150 %. The 40 largest.",
            [Query(of_usual(PART, "part", "15m", 30, *CHANNELS) + largest_parts, "{{vendor_channel}} · {{application}} ({{account}})")],
            "percentunit", 24, 16, USUAL, bounds=(0, 150), decimals=0, empty="No past yet: the rules need two days.",
        ),
    ])


def _compare() -> Row:
    by = "vendor_channel"
    table_by = "vendor_channel, provider"
    missing = f"sum by({table_by}) ({select('delivery:part_missing:increase1h', *CHANNELS)})"
    return Row("The channel, or the vendor", [
        Panel(
            "line", "Channels across all vendors, share of their usual",
            "If a channel is low at every vendor, the channel itself has a problem. At least 100 expected deliveries per hour.",
            [Query(of_usual(by, "part", "1h", 100, *CHANNELS), "{{vendor_channel}}")], "percentunit", 12, 10, USUAL, bounds=(0, 150), soft_max=1.2, empty="No past yet: the rules need two days.",
        ),
        Panel(
            "line", "Delivery rate by vendor and channel",
            "Delivered by sent, of messages that reached the selected age within the window, at least 30 sends. If a channel is low at one vendor only, look at that vendor and at the application's credentials. The 20 largest.",
            [Query(cohort_rate(table_by, True) + f" and on({table_by}) topk(20, sum by({table_by}) (increase({select('delivery_cohort_channel_sent_total', LABELS, AGE)}[$__range] @ end())))", "{{vendor_channel}} ({{provider}})")],
            "percentunit", 12, 10, bounds=(0, 100), soft_max=1,
        ),
        Panel(
            "table", "Channels in the last hour",
            "Each channel of each vendor: its share of the usual delivery, its delivery rate, and the number of missing deliveries. Possible of the usual: up to 150 %.",
            [
                Query(grown("delivery_cohort_channel_sent_total", table_by, LABELS, AGE, window="1h"), "sent"),
                Query(share(grown("delivery_cohort_channel_delivered_total", table_by, LABELS, AGE, window="1h"), grown("delivery_cohort_channel_sent_total", table_by, LABELS, AGE, window="1h")), "rate"),
                Query(of_usual(table_by, "part", "1h", 30, *CHANNELS), "usual"),
                Query(f"clamp_min({missing}, 0)", "missing"),
            ],
            width=24, height=10, bounds=(0, 150),
            columns=[
                Column("vendor_channel", "Channel", 200),
                Column("provider", "Provider", 200),
                Column("sent", "Sent", 160, "locale", 0),
                Column("usual", "Share of usual", None, "percentunit", 0, gauge=True, steps=USUAL),
                Column("rate", "Delivery rate", None, "percentunit", 1, gauge=True),
                Column("missing", "Missing", 160, "locale", 0),
            ],
            sort=[("Missing", True)],
        ),
    ])


def _traffic() -> list[Row]:
    by = "vendor_channel, provider"
    name = "{{vendor_channel}} ({{provider}})"

    def bars(title: str, description: str, *families_: tuple[str, str], width: int = 8) -> Panel:
        some = 9 // len(families_)
        queries = [
            Query(per_bar(f"delivery_channel_{family}_total", "vendor_channel") + largest(some, "vendor_channel", f"delivery_channel_{family}_total", LABELS), f"{prefix} {{{{vendor_channel}}}}".strip())
            for family, prefix in families_
        ]
        return Panel("bars", title, f"{description} The {some} largest channels.", queries, "short", width, 9)

    top = largest(12, by, "delivery_channel_sent_total", LABELS)
    return [
        Row("Traffic", [
            Panel("bars", "Sent by channel", "Sends of each channel at each vendor; the 12 largest.", [Query(per_bar("delivery_channel_sent_total", by) + top, name)], "short", 12, 10),
            Panel(
                "line", "Share of the traffic", "Sends of each channel within the window, as a share of all sends. A changed mix explains a changed rate.",
                [Query(f"{grown('delivery_channel_sent_total', 'vendor_channel')} / on() group_left() ({grown('delivery_channel_sent_total', '')} >= 30)", "{{vendor_channel}}")],
                "percentunit", 12, 10, bounds=(0, 100),
            ),
        ]),
        Row("Delivered, displayed, opened", [
            bars("Delivered", "Deliveries of each channel.", ("delivered", "")),
            bars("Displayed", "Notifications shown.", ("displayed", "")),
            bars("Opened", "Opens or clicks.", ("opened", "")),
            Panel("line", "Messages behind the rates", "Messages that reached the selected age within the window: the rate of a single message says little.", [Query(grown("delivery_cohort_channel_messages_total", "vendor_channel", LABELS, AGE), "{{vendor_channel}}")], "short", 24, 9),
        ], closed=True),
        Row("EngageLab and Pushwoosh", [
            bars("Targeted (EngageLab)", "Intended recipients.", ("targeted", "")),
            bars("Errors (Pushwoosh)", "Failed sends of each platform.", ("errors", "")),
            bars("Unshowable and inbox (Pushwoosh)", "Sends to users who switched notifications off, and opens from the application's inbox.", ("unshowable", "unshowable"), ("inbox_opened", "inbox")),
            Panel("bars", "Events of the log (Pushwoosh)", "Events by action and platform; the 20 most frequent.", [Query(per_bar("delivery_log_events_total", "action, platform, status") + largest(20, "action, platform, status", "delivery_log_events_total", LABELS), "{{action}} {{platform}} {{status}}")], "short", 24, 9),
        ], closed=True),
    ]


def board() -> Board:
    """Vendor channels beside each other."""
    return Board(
        "delivery-channels", "Delivery / Channels",
        "For the person on call: FCM, APNs and the handset makers' channels, by application and vendor, compared with their own past.",
        [_where(), _compare(), *_traffic()],
        [frame.age_variable()],
    )
