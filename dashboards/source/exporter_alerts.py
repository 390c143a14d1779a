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
        "{{ $labels.instance }} does not answer Prometheus",
        """
        The exporter cannot be scraped. Delivery reports that a vendor hands out once wait at the vendor meanwhile; nothing
        is lost, but nobody sees the deliveries, and no other alert of these rules can fire.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryAccountFailing",
        f"""
        max without({REPLICA}) (avg_over_time(delivery_up[30m])) < 0.5
        and max without({REPLICA}) (delivery_up) == 0""",
        "page",
        "{{ $labels.provider }}/" + account + ": no good answer in most passes of half an hour",
        """
        The vendor's API does not answer this account. delivery_exporter_collect_failures_total says why: unauthorized and
        forbidden are credentials, timeout, connect, dns and tls the network, vendor is the vendor.""",
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
        The vendor answers that the key is wrong, expired, or lacks a right. Renew it in the vendor's console, put it where
        the configuration reads it from, and reload.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryRateLimited",
        f"sum without({REPLICA}) (increase(delivery_exporter_rate_limited_total[30m])) > 10",
        "warning",
        account + ": the vendor limits the requests ({{ $labels.dataset }})",
        """
        The vendor refused requests as too many. Another program may share the account's limit; otherwise lower
        rate_limit or raise interval for this account.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryDataOld",
        f"time() - max without({REPLICA}) (delivery_exporter_due_timestamp_seconds > 0) > 900",
        "warning",
        part + " is {{ $value | humanizeDuration }} overdue",
        """
        What should have been asked for by then was not answered. Either the vendor fails for this data set, or the account
        has more messages than its rate limit lets it ask for: see delivery_exporter_api_requests_total by code.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryLedgerDown",
        "delivery_exporter_store_up == 0",
        "page",
        "{{ $labels.instance }}: the ledger cannot be written",
        """
        The store cannot be reached or written (disk full, read-only, locked, database down). Counters stand still; reports
        that a vendor hands out once are not fetched, so they are not lost. The log says what is wrong.""",
        wait="2m",
    )
    rules.alert(
        "DeliveryLedgerErrors",
        "increase(delivery_exporter_store_errors_total[30m]) > 3",
        "warning",
        "{{ $labels.instance }}: the ledger fails now and then",
        """
        Transactions of the ledger fail and are tried again. Look at the disk's space and speed, or at the database.""",
        wait="5m",
    )
    rules.alert(
        "DeliverySpoolGrows",
        "delivery_exporter_spool_bytes > 1e8 and deriv(delivery_exporter_spool_bytes[30m]) > 0",
        "warning",
        "{{ $labels.instance }}: {{ $value | humanize1024 }}B of reports wait to be counted",
        """
        Reports are fetched faster than the ledger counts them, or it cannot count at all.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryReportsQuarantined",
        f"sum without({REPLICA}) (increase(delivery_exporter_reports_quarantined_total[1h])) > 0",
        "warning",
        account + ": bodies of delivery reports could not be read",
        """
        The vendor sent something that is not as its documentation says, or an answer was cut. What could be read is
        counted; the rest is kept in the quarantine for `delivery-exporter replay` after an update.""",
    )
    rules.alert(
        "DeliverySeriesDropped",
        f"sum without({REPLICA}, family) (increase(delivery_exporter_series_dropped_total[1h])) > 0",
        "warning",
        account + ": series are left out ({{ $labels.reason }})",
        """
        A limit of the configuration is reached (max_series_per_account, max_label_values, max_campaigns_per_account).
        Totals stay right; single names are in "other". Raise the limit or track fewer messages.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryOtlpRejected",
        'sum without(outcome) (increase(delivery_exporter_otlp_points_total{outcome=~"rejected|failed"}[15m])) > 0',
        "warning",
        "{{ $labels.instance }}: the OTLP receiver does not take all points",
        """
        Points pushed by OTLP were rejected or could not be delivered. /metrics is not affected. The log has the receiver's
        answer.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryDiscoveryFailing",
        f"max without({REPLICA}) (delivery_exporter_discovery_success) == 0",
        "warning",
        account + ": new messages are not found ({{ $labels.source }})",
        """
        A file, an HTTP list or the vendor's list of messages cannot be read. Known messages go on; new ones are missing
        everywhere, and rate alerts see only old messages.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryAccountUnheld",
        "sum by(job, account) (delivery_exporter_lease_held) == 0",
        "page",
        account + ": no replica collects it",
        """
        No running replica holds the account's lease. Are the replicas on the same database, and does it answer?""",
        wait="5m",
    )
    rules.alert(
        "DeliveryScrapedTooSeldom",
        "delivery_exporter_zero_hold_sufficient == 0",
        "warning",
        "{{ $labels.instance }}: scraped less often than collection.zero_hold",
        """
        A new counter may grow before Prometheus has seen it at 0, and increase() loses that. Raise collection.zero_hold
        above the scrape interval.""",
        wait="15m",
    )
    rules.alert(
        "DeliveryReloadFailed",
        "delivery_exporter_config_last_reload_successful == 0",
        "warning",
        "{{ $labels.instance }}: the configuration could not be loaded again",
        """
        The exporter goes on with the old configuration. `delivery-exporter check` says what is wrong, with its line.""",
        wait="5m",
    )
    rules.alert(
        "DeliveryCohortsMissed",
        f"""
        sum without({REPLICA}, age, reason) (increase(delivery_exporter_cohort_missed_total{{reason="late"}}[6h])) > 20""",
        "warning",
        account + ": messages were not asked for at their ages",
        """
        The rate alerts are blind for these messages. Either the account's requests are limited, or the exporter was down
        when they came of age.""",
        wait="15m",
    )
