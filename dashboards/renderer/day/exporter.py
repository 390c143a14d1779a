"""What the exporter says of itself in the last day."""

import numpy as np

from .traffic import APPLICATIONS, BEGIN, DAY, END, MINUTES, Series

DATASETS = {
    "infobip_push": ("statistics",), "engagelab": ("messages", "users"), "pushwoosh": ("messages", "bounces"),
    "alibaba_push": ("messages",), "infobip_email": ("reports",),
}
STARTED = END - 6 * 86400


def add(rng: np.random.Generator, series: Series, key_expired: tuple[str, int] | None) -> None:
    """Adds every account's passes and the process."""
    clock = END - DAY * 60 + np.arange(DAY + 1) * 60.0
    minutes = np.arange(MINUTES)
    accounts = {}
    for application in APPLICATIONS:
        accounts.setdefault((application.provider, application.account), []).append(application.name)
    for (provider, account), applications in accounts.items():
        failing = np.zeros(MINUTES, bool)
        if key_expired and key_expired[0] == account:
            failing[MINUTES - key_expired[1]:] = True
        bad = np.concatenate([[False], failing[-DAY:]])
        since = END - key_expired[1] * 60 if key_expired else END
        own = {"account": account}
        series.gauge("delivery_up", {"provider": provider} | own, 1.0 - bad)
        for dataset in DATASETS[provider]:
            named = own | {"dataset": dataset}
            interval = 3600 if provider == "alibaba_push" else 60
            for name in applications:
                labels = named | {"application": name}
                series.gauge("delivery_exporter_collect_success", labels, 1.0 - bad)
                success = np.where(bad, since - 20, clock - clock % interval - 20)
                series.gauge("delivery_exporter_last_success_timestamp_seconds", labels, success)
                due = np.where(bad, since + 40, clock + interval - clock % interval)
                series.gauge("delivery_exporter_due_timestamp_seconds", labels, due)
                failed = failing if bad.any() else (rng.random(MINUTES) < 0.001)
                reason = "unauthorized" if bad.any() else "timeout"
                series.count("delivery_exporter_collect_failures_total", labels | {"reason": reason}, failed * 1, recent=True)
            requests = rng.poisson(3.0, MINUTES)
            series.count("delivery_exporter_api_requests_total", named | {"code": "200"}, requests * ~failing, recent=True)
            series.count("delivery_exporter_api_requests_total", named | {"code": "401" if bad.any() else "503"}, requests * failing + (rng.random(MINUTES) < 0.002), recent=True)
            series.count("delivery_exporter_api_retries_total", named, (rng.random(MINUTES) < 0.004) * 1, recent=True)
            for bound, share in (("0.1", 0.2), ("0.5", 0.7), ("1.0", 0.9), ("5.0", 0.99), ("10.0", 1.0), ("+Inf", 1.0)):
                amount = (minutes % 10 < 10 * share) * 1
                series.count("delivery_exporter_collect_duration_seconds_bucket", named | {"le": bound}, amount, recent=True)
        source = "list" if provider in ("pushwoosh", "alibaba_push") else "api"
        if provider != "infobip_email":
            series.gauge("delivery_exporter_discovery_success", own | {"source": source}, 1.0 - bad)
            series.gauge("delivery_exporter_discovery_last_success_timestamp_seconds", own | {"source": source}, np.where(bad, since - 20, clock - 20))
            series.count("delivery_exporter_discovered_messages_total", own | {"source": source}, rng.poisson(0.2, MINUTES), recent=True)
        series.gauge("delivery_exporter_tracked_messages", own, 400 + 20 * len(account))
        series.gauge("delivery_exporter_series", own, 900 + 100 * len(account))
        series.gauge("delivery_exporter_held_increments", own, 0)
        series.gauge("delivery_exporter_lease_held", own, 1)
        series.count("delivery_exporter_cohort_missed_total", own | {"age": "5m", "reason": "late"}, (rng.random(MINUTES) < 0.002) * 1, recent=True)
        series.count("delivery_exporter_snapshot_decreases_total", own, np.zeros(MINUTES), recent=True)
    series.gauge("delivery_exporter_build_info", {"version": "1.0.0", "revision": "0000000", "rustc": "1.90.0"}, 1)
    for name, value in (
        ("store_up", 1), ("store_size_bytes", 48e6), ("spool_bytes", 16384), ("quarantined_bodies", 0), ("zero_hold_sufficient", 1),
        ("config_last_reload_successful", 1),
    ):
        series.gauge(f"delivery_exporter_{name}", {}, value)
    # A reload in the morning.
    series.gauge("delivery_exporter_config_last_reload_success_timestamp_seconds", {}, np.where(clock < END - 6 * 3600, STARTED, END - 6 * 3600))
    series.count("delivery_exporter_store_errors_total", {}, np.zeros(MINUTES), recent=True)
    series.count("delivery_exporter_otlp_points_total", {"outcome": "accepted"}, np.full(MINUTES, 1400), recent=True)
    series.gauge("process_resident_memory_bytes", {}, 62e6 + 4e6 * np.sin(np.arange(DAY + 1) / 200))
    series.gauge("process_open_fds", {}, 41)
    series.gauge("process_max_fds", {}, 1024)
    series.gauge("process_threads", {}, 9)
    series.gauge("process_start_time_seconds", {}, STARTED)
    series.count("process_cpu_seconds_total", {}, np.full(MINUTES, 1.3), recent=True)
    series.count("process_network_receive_bytes_total", {}, np.full(MINUTES, 180000), recent=True)
    series.count("process_network_transmit_bytes_total", {}, np.full(MINUTES, 90000), recent=True)
    series.gauge("delivery_app_users_online", {"provider": "engagelab", "account": "asia-news", "application": "asia-news", "platform": "android", "time_unit": "hour"}, 41000 + 9000 * np.sin((clock - BEGIN) / 13750))
    for name, value in (("active", 181000), ("new", 2300)):
        series.gauge(f"delivery_app_users_{name}", {"provider": "engagelab", "account": "asia-news", "application": "asia-news", "platform": "android", "time_unit": "day"}, value)
    series.gauge("up", {}, 1)
