"""Messages, for campaign managers: how did mine do, against its own past and the others?"""

from . import frame
from .panels import Board, Column, Panel, Query, Row, Steps
from .queries import LABELS, grown, largest, per_bar, select, share

CAMPAIGN = 'campaign=~"$campaign"'
# A campaign of one application: the same name elsewhere is another campaign.
BY = "provider, account, application, campaign"
ONE = 'job=~"$job",account=~"$account",message_id="$message"'
# In points of a rate, against the campaign's own past.
CHANGE: Steps = [(None, "red"), (-0.1, "orange"), (-0.03, "text"), (0.03, "green")]


def _rate(part: str, whole: str, window: str, offset: str = "") -> str:
    families_ = (f"delivery_campaign_{part}_total", f"delivery_campaign_{whole}_total")
    return share(*(grown(family, BY, LABELS, CAMPAIGN, window=window, offset=offset) for family in families_))


def _campaigns() -> Row:
    # Of those that sent anything.
    sent = grown("delivery_campaign_sent_total", BY, LABELS, CAMPAIGN, window="$__range")
    top = f" and on({BY}) topk(40, {sent} >= 1)"
    now, past = _rate("delivered", "sent", "$__range"), _rate("delivered", "sent", "7d", "$__range")
    return Row("How did my campaigns do?", [
        Panel(
            "table", "Campaigns compared with their own past",
            "Delivered by sent of each campaign within the time range, the same over the seven days before, and the difference in percentage points; at least 30 sends. The 40 largest campaigns, the largest drop first. "
            "Possible: -100 to 100 %.",
            [
                Query(sent + top, "sent"),
                Query(now + top, "rate"),
                Query(past + top, "past"),
                Query(f"({now}) - ({past})" + top, "change"),
                Query(_rate("opened", "delivered", "$__range") + top, "opened"),
            ],
            width=24, height=11,
            columns=[
                Column("campaign", "Campaign", 230, link=("This campaign", "/d/delivery-messages?var-campaign=${__value.raw}&var-account=${__data.fields.Account}&${datasource:queryparam}&${job:queryparam}&${__url_time_range}")),
                Column("application", "Application", 150),
                Column("account", "Account", 150),
                Column("sent", "Sent", 120, "locale", 0),
                Column("rate", "Delivered", None, "percentunit", 1, gauge=True),
                Column("past", "7 days before", 130, "percentunit", 1),
                Column("change", "Change", 130, "percentunit", 1, steps=CHANGE),
                Column("opened", "Opened", None, "percentunit", 1, gauge=True),
            ],
            sort=[("Change", False), ("Sent", True)],
        ),
        Panel(
            "gauges", "Funnel", "Counts of the selected campaigns within the time range. Not every vendor reports every stage.",
            [Query(f"{grown(f'delivery_campaign_{measure}_total', '', LABELS, CAMPAIGN, window='$__range')} > 0", measure) for measure in ("targeted", "accepted", "sent", "delivered", "displayed", "opened")],
            "locale", 8, 10, decimals=0, empty="Nothing was sent.",
        ),
        Panel(
            "bars", "Sent by campaign", "Messages sent; the 15 largest campaigns.",
            [Query(per_bar("delivery_campaign_sent_total", BY, LABELS, CAMPAIGN) + largest(15, BY, "delivery_campaign_sent_total", LABELS, CAMPAIGN), "{{campaign}} ({{application}})")], "short", 16, 10,
        ),
    ])


def _newest() -> Row:
    labels = "provider, account, application, campaign, channel, message_id"
    wanted = select("delivery_message_sent", LABELS, CAMPAIGN)
    top = f" and on({labels}) topk(40, sum by({labels}) ({wanted}))"

    def gauge(measure: str) -> str:
        return f"sum by({labels}) ({select(f'delivery_message_{measure}', LABELS, CAMPAIGN)}){top}"

    one = (
        "/d/delivery-messages?var-message=${__value.raw}&var-account=${__data.fields.Account}&var-campaign=$__all"
        "&${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
    )
    return Row("Messages", [
        Panel(
            "table", "Largest tracked messages",
            "As of the last pass. A click on an id shows only that message in the row below.",
            [
                Query(f"sum by({labels}) ({wanted}){top}", "sent"), Query(gauge("delivered"), "delivered"),
                Query(f"max by({labels}) ({select('delivery_message_delivery_ratio', LABELS, CAMPAIGN)}){top}", "rate"),
                Query(gauge("opened"), "opened"), Query(gauge("errors"), "errors"),
            ],
            width=24, height=11, bounds=(0, 100),
            columns=[
                Column("message_id", "Message", 260, "string", link=("This message", one)),
                Column("campaign", "Campaign", 190),
                Column("application", "Application", 140),
                Column("account", "Account", 150),
                Column("channel", "Channel", 90),
                Column("sent", "Sent", 110, "locale", 0),
                Column("delivered", "Delivered", 110, "locale", 0),
                Column("rate", "Delivery rate", None, "percentunit", 1, gauge=True),
                Column("opened", "Opened", 110, "locale", 0),
                Column("errors", "Errors", 110, "locale", 0),
            ],
            sort=[("Sent", True)],
        ),
    ])


def _one() -> list[Row]:
    leaf = "platform, vendor_channel"

    def gauge(measure: str, by: str = "channel") -> str:
        return f"sum by({by}) ({select(f'delivery_message_{measure}', ONE)})"

    def channel(measure: str) -> str:
        return f"sum by({leaf}) ({select(f'delivery_message_channel_{measure}', ONE)})"

    return [
        Row("One message: $message", [
            Panel(
                "stat", "Delivery rate", "Delivered by sent of this message so far. It rises while the message is being delivered.",
                [Query(f"max by(channel) ({select('delivery_message_delivery_ratio', ONE)})", "{{channel}}")], "percentunit", 4, 5, bounds=(0, 100), decimals=1, name_shown=True, empty="No sends yet",
            ),
            Panel(
                "gauges", "Counts", "As of the last pass.",
                [Query(f"sum({select(f'delivery_message_{measure}', ONE)})", measure) for measure in ("targeted", "accepted", "sent", "delivered", "displayed", "opened")],
                "locale", 8, 10, decimals=0, at=(4, 0),
            ),
            Panel(
                "table", "Channels", "Deliveries of this message by vendor channel, as EngageLab and Pushwoosh report them. The rate needs at least 30 sends.",
                [Query(channel("sent"), "sent"), Query(channel("delivered"), "delivered"), Query(share(channel("delivered"), channel("sent")), "rate"), Query(channel("opened"), "opened")],
                width=12, height=10, bounds=(0, 100), empty="The vendor reports no channels for this message.",
                columns=[
                    Column("vendor_channel", "Channel", 150),
                    Column("platform", "Platform", 110),
                    Column("sent", "Sent", 110, "locale", 0),
                    Column("delivered", "Delivered", 110, "locale", 0),
                    Column("rate", "Delivery rate", None, "percentunit", 1, gauge=True),
                    Column("opened", "Opened", 90, "locale", 0),
                ],
                sort=[("Sent", True)], at=(12, 0),
            ),
            Panel(
                "stat", "Errors", "Failed sends of this message, by reason; of an e-mail, bounces by kind.",
                [Query(f"sum({select('delivery_message_errors', ONE)}) or sum({select('delivery_message_bounces', ONE)})", "errors")], "locale", 4, 5, decimals=0, at=(0, 5), empty="None",
            ),
            Panel(
                "line", "Counts over time", "As of each pass.",
                [Query(gauge(measure), f"{measure} {{{{channel}}}}") for measure in ("sent", "delivered", "displayed", "opened")], "short", 16, 9,
            ),
            Panel(
                "line", "Errors and bounces", "By reason and kind.",
                [Query(gauge("errors", "reason"), "{{reason}}"), Query(gauge("bounces", "kind"), "{{kind}} bounce")], "short", 8, 9, empty="None",
            ),
        ]),
        Row("More of this message", [
            Panel(
                "line", "Other counts", "Dismissed, opened from the inbox, unshowable, confirmed, unsubscribed, complaints, skipped.",
                [Query(gauge(measure), f"{measure} {{{{channel}}}}") for measure in ("dismissed", "inbox_opened", "unshowable", "confirmed", "unsubscribed", "complaints", "skipped")], "short", 8, 9, empty="None",
            ),
            Panel(
                "stat", "Rate reported by the vendor", "The vendor's own delivery rate, if it reports one.",
                [Query(f"max by(channel) ({select('delivery_message_reported_delivery_ratio', ONE)})", "{{channel}}")], "percentunit", 8, 9, bounds=(0, 100), decimals=1, empty="The vendor reports none.",
            ),
            Panel(
                "table", "By type (EngageLab)", "Notification, in-app message and other types.",
                [Query(f"sum by(message_type) ({select(f'delivery_message_type_{measure}', ONE)})", measure) for measure in ("targeted", "sent", "delivered", "displayed", "opened")],
                width=8, height=9, empty="The vendor reports no types for this message.",
                columns=[Column("message_type", "Type", 130)] + [Column(measure, measure.capitalize(), None, "locale", 0) for measure in ("sent", "delivered", "displayed", "opened")], sort=[("Sent", True)],
            ),
            Panel(
                "table", "Other counts by channel", "Further counts that EngageLab and Pushwoosh report.",
                [Query(channel(measure), measure) for measure in ("targeted", "displayed", "inbox_opened", "unshowable", "errors")],
                width=24, height=9, empty="The vendor reports no channels for this message.",
                columns=[Column("vendor_channel", "Channel"), Column("platform", "Platform")] + [Column(measure, measure.replace("_", " ").capitalize(), None, "locale", 0) for measure in ("targeted", "displayed", "inbox_opened", "unshowable", "errors")],
                sort=[("Channel", False)],
            ),
        ], closed=True),
    ]


def _more() -> list[Row]:
    by = "campaign, application"
    name = "{{campaign}} ({{application}})"
    top = largest(6, by, "delivery_campaign_sent_total", LABELS, CAMPAIGN)

    def bars(title: str, description: str, *measures: str) -> Panel:
        return Panel("bars", title, description, [Query(per_bar(f"delivery_campaign_{measure}_total", by, LABELS, CAMPAIGN) + top, f"{measure.replace('_', ' ')} {name}") for measure in measures], "short", 12, 9)

    def table(title: str, description: str, by_: str, queries: list[tuple[str, str, str, str]], headers: list[tuple[str, str]], sort: str, width: int = 12) -> Panel:
        # The rows of the first column's largest values; a table of hundreds is not read.
        first = f" and on({by_}) topk(30, sum by({by_}) ({select(queries[0][1], LABELS)}))"
        return Panel(
            "table", title, description, [Query(f"{how} by({by_}) ({select(family, LABELS)}){first}", column) for how, family, column, _ in queries], width=width, height=9, bounds=(0, 100),
            columns=[Column(label, header) for label, header in headers] + [Column(column, column.capitalize(), None, unit, 1 if unit == "percentunit" else 0) for _, _, column, unit in queries], sort=[(sort, True)],
        )

    return [
        Row("Errors, bounces and other campaign counts", [
            Panel("bars", "Errors by campaign", "Failed sends, of the six largest campaigns.", [Query(f"{per_bar('delivery_campaign_errors_total', by, LABELS, CAMPAIGN)}{top}", name)], "short", 12, 9),
            Panel("bars", "Bounces by campaign and kind", "Of the six largest campaigns by e-mail.", [Query(per_bar("delivery_campaign_bounces_total", f"{by}, kind", LABELS, CAMPAIGN) + largest(6, by, "delivery_campaign_bounces_total", LABELS, CAMPAIGN), f"{name} {{{{kind}}}}")], "short", 12, 9),
            bars("Complaints and unsubscribes", "Of the six largest campaigns.", "complaints", "unsubscribed"),
            bars("Other campaign counts", "Dismissed, unshowable and confirmed, of the six largest campaigns.", "dismissed", "unshowable", "confirmed"),
            bars("Skipped and from the inbox", "Supplementary SMS that were not needed, and opens from an inbox, of the six largest campaigns.", "skipped", "inbox_opened"),
        ], closed=True),
        Row("Pushwoosh: links and conversions", [
            table("Links", "The most clicked links, and how many devices clicked them.", "link", [("sum", "delivery_link_clicks", "clicks", "locale"), ("sum", "delivery_link_devices", "devices", "locale")], [("link", "Link")], "Clicks"),
            table("Link titles", "Clicks by template and title.", "template, title", [("sum", "delivery_link_clicks", "clicks", "locale")], [("template", "Template"), ("title", "Title")], "Clicks"),
            table("Conversions", "Events after a message: how many, the vendor's own ratio, and the revenue in the application's currency.", "message_id, campaign, event",
                  [("sum", "delivery_conversion_hits", "hits", "locale"), ("max", "delivery_conversion_ratio", "ratio", "percentunit"), ("sum", "delivery_conversion_revenue", "revenue", "locale")],
                  [("message_id", "Message"), ("campaign", "Campaign"), ("event", "Event")], "Hits", 24),
        ], closed=True),
        Row("EngageLab: canary devices", [
            table("Canary devices", "How many of the test devices are in each state, by message; 30 rows.", "message_id, status", [("sum", "delivery_canary_devices", "devices", "locale")], [("message_id", "Message"), ("status", "State")], "Devices", 24),
        ], closed=True),
    ]


def board() -> Board:
    """Campaigns, the largest messages, and one message in depth."""
    return Board(
        "delivery-messages", "Delivery / Messages",
        "For campaign managers: how did my campaign do, compared with its own past and with the others? A click opens one message.",
        [_campaigns(), _newest(), *_one(), *_more()],
        [
            frame.query_variable("campaign", "Campaign", "delivery_campaign_sent_total", 'job=~"$job",account=~"$account",application=~"$application"', "campaign", all_value=".*"),
            frame.query_variable("message", "Message", "delivery_message_sent", 'job=~"$job",account=~"$account",application=~"$application",campaign=~"$campaign"', "message_id", every=False),
        ],
        window=False,
    )
