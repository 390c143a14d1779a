"""Alerts on the exporter, its vendors' APIs and its ledger."""

from .writing import REPLICA, Rules


def exporter_alerts(rules: Rules) -> None:
    """The exporter, its vendors' APIs, its ledger."""
    rules.group("delivery-exporter", "1m")
    account = "{{ $labels.account }}"
    part = "{{ $labels.account }}/{{ $labels.application }} ({{ $labels.dataset }})"

    rules.alert(
        "DeliveryExporterDown",
        'up{job=~".*delivery.*"} == 0',
        "page",
        "The exporter {{ $labels.instance }} is down",
        """
        Prometheus cannot scrape the exporter. Until it can, no other delivery alert fires. Reports that a vendor delivers
        only once wait at the vendor, so none are lost.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryAccountFailing",
        f"""
        max without({REPLICA}) (avg_over_time(delivery_up[30m])) < 0.5
        and max without({REPLICA}) (delivery_up) == 0""",
        "page",
        account + " ({{ $labels.provider }}): the vendor answered only {{ $value | humanizePercentage }} of the passes",
        """
        In the last half hour the vendor answered {{ $value | humanizePercentage }} of the exporter's passes over this
        account, and the latest pass failed. See the reasons in delivery_exporter_collect_failures_total: unauthorized and
        forbidden point to the credentials; timeout, connect, dns and tls to the network; vendor to an error of the vendor.""",
        wait="10m",
    )
    rules.alert(
        "DeliveryCredentialsRefused",
        f"""
        sum without({REPLICA}, reason) (increase(delivery_exporter_collect_failures_total{{reason=~"unauthorized|forbidden"}}[15m])) > 2
        and max without({REPLICA}) (delivery_exporter_collect_success) == 0""",
        "page",
        part + ": the vendor refuses the credentials",
        """
        The vendor refused {{ $value | humanize }} requests in fifteen minutes because the key is wrong, has expired, or
        lacks a permission. Renew it in the vendor's console, store it where the configuration reads it, and reload.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryRateLimited",
        f"sum without({REPLICA}) (increase(delivery_exporter_rate_limited_total[30m])) > 10",
        "warning",
        account + ": the vendor refuses requests because of its rate limit ({{ $labels.dataset }})",
        """
        In half an hour the vendor refused {{ $value | humanize }} requests of this account because of its rate limit.
        Another program may use the same limit. If none does, lower rate_limit or raise interval for this account.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryDataOld",
        f"time() - max without({REPLICA}) (delivery_exporter_due_timestamp_seconds > 0) > 900",
        "warning",
        part + ": the figures are {{ $value | humanizeDuration }} overdue",
        """
        A query that was due {{ $value | humanizeDuration }} ago has no answer. Either the vendor fails for this data set, or
        the account has more messages than its rate limit allows it to query: see delivery_exporter_api_requests_total by
        code.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryLedgerDown",
        "delivery_exporter_store_up == 0",
        "page",
        "{{ $labels.instance }} cannot write its ledger",
        """
        The exporter cannot reach or write its store (the disk is full or read-only, the file is locked, or the database is
        down). Counters do not increase. Reports that a vendor delivers only once are not fetched, so none are lost. The log has
        the error.""",
        wait="2m",
    )
    rules.alert(
        "DeliveryLedgerErrors",
        "increase(delivery_exporter_store_errors_total[30m]) > 3",
        "warning",
        "{{ $labels.instance }}: {{ $value | humanize }} transactions of the ledger failed in half an hour",
        """
        {{ $value | humanize }} transactions of the ledger failed in half an hour and were retried. Check the space and speed
        of the disk, or the database.""",
        wait="5m",
    )
    rules.alert(
        "DeliverySpoolGrows",
        "delivery_exporter_spool_bytes > 1e8 and deriv(delivery_exporter_spool_bytes[30m]) > 0",
        "warning",
        "{{ $labels.instance }}: {{ $value | humanize1024 }}B of delivery reports wait to be counted",
        """
        {{ $value | humanize1024 }}B of delivery reports wait in the spool, and the amount is growing: reports are fetched
        faster than the ledger counts them, or the ledger cannot count at all.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryReportsQuarantined",
        f"sum without({REPLICA}) (increase(delivery_exporter_reports_quarantined_total[1h])) > 0",
        "warning",
        account + ": delivery reports could not be parsed",
        """
        Some delivery reports of the last hour do not match the vendor's documentation, or an answer was truncated. What
        could be parsed is counted. The rest is in quarantine: run `delivery-exporter replay` after an update of the
        exporter.""",
    )
    rules.alert(
        "DeliverySeriesDropped",
        f"sum without({REPLICA}, family) (increase(delivery_exporter_series_dropped_total[1h])) > 0",
        "warning",
        account + ": {{ $value | humanize }} series were left out in an hour ({{ $labels.reason }})",
        """
        The account has reached a limit of the configuration (max_series_per_account, max_label_values or
        max_campaigns_per_account). Totals stay correct, but some label values are counted as "other". Raise the limit, or track
        fewer messages.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryOtlpRejected",
        'sum without(outcome) (increase(delivery_exporter_otlp_points_total{outcome=~"rejected|failed"}[15m])) > 0',
        "warning",
        "{{ $labels.instance }}: {{ $value | humanize }} points did not reach the OTLP receiver",
        """
        In fifteen minutes {{ $value | humanize }} points that were pushed over OTLP were rejected or could not be delivered.
        /metrics is not affected. The log has the receiver's answer.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryDiscoveryFailing",
        f"max without({REPLICA}) (delivery_exporter_discovery_success) == 0",
        "warning",
        account + ": new messages are not discovered ({{ $labels.source }})",
        """
        The exporter cannot read a source of messages of this account: a file, an HTTP list, or the vendor's list. It still
        collects the messages that it knows. New messages are missing everywhere, and rate alerts evaluate only old ones.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryAccountUnheld",
        "sum by(job, account) (delivery_exporter_lease_held) == 0",
        "page",
        account + ": no replica collects this account",
        """
        No running replica holds the lease of this account. Check that the replicas use the same database and that it
        answers.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryScrapedTooSeldom",
        "delivery_exporter_zero_hold_sufficient == 0",
        "warning",
        "{{ $labels.instance }} is scraped less often than collection.zero_hold",
        """
        Prometheus scrapes the exporter less often than collection.zero_hold. A new counter can grow before Prometheus sees it
        at 0, and increase() loses that growth. Raise collection.zero_hold above the scrape interval.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryReloadFailed",
        "delivery_exporter_config_last_reload_successful == 0",
        "warning",
        "{{ $labels.instance }} could not reload its configuration",
        """
        The last reload failed, and the exporter runs with the previous configuration. Run `delivery-exporter check`: it
        names each error with its line.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryCohortsMissed",
        f"""
        sum without({REPLICA}, age, reason) (increase(delivery_exporter_cohort_missed_total{{reason="late"}}[6h])) > 20""",
        "warning",
        account + ": {{ $value | humanize }} messages were queried too late to be compared",
        """
        In six hours {{ $value | humanize }} messages had no answer when they reached an age at which messages are compared,
        so rate alerts do not include them. Either the account's requests are rate-limited, or the exporter was down.""",
        wait="15m",
    )
