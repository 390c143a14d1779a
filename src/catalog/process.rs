//! The families of the process, and those of `/probe`.

use super::{
    family::Family,
    label::{POINT_OUTCOME, REVISION, RUSTC, VERSION},
};

families! { FAMILIES of Process;
    BUILD_INFO = Family::gauge(
        "delivery_exporter_build_info", "delivery.exporter.build_info",
        "1, with the version, the source revision and the compiler as labels.",
    )
    .labels(&[VERSION, REVISION, RUSTC]);
    STORE_UP = Family::gauge(
        "delivery_exporter_store_up", "delivery.exporter.store_up",
        "1 if the last attempt to write to the store and to the spool succeeded.",
    );
    STORE_SIZE_BYTES = Family::gauge(
        "delivery_exporter_store_size_bytes", "delivery.exporter.store_size",
        "Size of the store.",
    )
    .unit("By");
    STORE_ERRORS = Family::counter(
        "delivery_exporter_store_errors_total", "delivery.exporter.store_errors",
        "Failed reads and writes of the store and the spool.",
    )
    .unit("{error}");
    ZERO_HOLD_SUFFICIENT = Family::gauge(
        "delivery_exporter_zero_hold_sufficient", "delivery.exporter.zero_hold_sufficient",
        "0 if a scraper scrapes less often than every zero_hold, so that it can miss a counter's initial 0.",
    );
    SPOOL_BYTES = Family::gauge(
        "delivery_exporter_spool_bytes", "delivery.exporter.spool",
        "Size of the bodies in the spool, quarantined ones included.",
    )
    .unit("By");
    QUARANTINED_BODIES = Family::gauge(
        "delivery_exporter_quarantined_bodies", "delivery.exporter.quarantined_bodies",
        "Bodies of delivery reports, or parts of them, in quarantine.",
    )
    .unit("{body}");
    CONFIG_LAST_RELOAD_SUCCESSFUL = Family::gauge(
        "delivery_exporter_config_last_reload_successful", "delivery.exporter.config_last_reload_successful",
        "1 if the last attempt to load the configuration succeeded.",
    );
    CONFIG_LAST_RELOAD_SUCCESS_TIMESTAMP_SECONDS = Family::gauge(
        "delivery_exporter_config_last_reload_success_timestamp_seconds", "delivery.exporter.config_last_reload_success_timestamp",
        "When a configuration was last loaded successfully, in Unix time.",
    )
    .unit("s");
    OTLP_POINTS = Family::counter(
        "delivery_exporter_otlp_points_total", "delivery.exporter.otlp_points",
        "Data points pushed over OTLP, by outcome: accepted, rejected by the receiver, or not delivered.",
    )
    .unit("{point}")
    .labels(&[POINT_OUTCOME]);
    PROCESS_CPU_SECONDS = Family::counter(
        "process_cpu_seconds_total", "process.cpu",
        "User and system CPU time spent.",
    )
    .unit("s");
    PROCESS_OPEN_FDS = Family::gauge(
        "process_open_fds", "process.open_fds",
        "Open file descriptors.",
    )
    .unit("{fd}");
    PROCESS_MAX_FDS = Family::gauge(
        "process_max_fds", "process.max_fds",
        "Maximum number of open file descriptors.",
    )
    .unit("{fd}");
    PROCESS_VIRTUAL_MEMORY_BYTES = Family::gauge(
        "process_virtual_memory_bytes", "process.virtual_memory",
        "Virtual memory.",
    )
    .unit("By");
    PROCESS_RESIDENT_MEMORY_BYTES = Family::gauge(
        "process_resident_memory_bytes", "process.resident_memory",
        "Resident memory.",
    )
    .unit("By");
    PROCESS_START_TIME_SECONDS = Family::gauge(
        "process_start_time_seconds", "process.start_time",
        "When the process started, in Unix time.",
    )
    .unit("s");
    PROCESS_THREADS = Family::gauge(
        "process_threads", "process.threads",
        "Threads.",
    )
    .unit("{thread}");
    PROCESS_NETWORK_RECEIVE_BYTES = Family::counter(
        "process_network_receive_bytes_total", "process.network_receive",
        "Bytes received over the network, of the whole network namespace.",
    )
    .unit("By");
    PROCESS_NETWORK_TRANSMIT_BYTES = Family::counter(
        "process_network_transmit_bytes_total", "process.network_transmit",
        "Bytes sent over the network, of the whole network namespace.",
    )
    .unit("By");

    // Only on `/probe`.
    PROBE_SUCCESS = Family::gauge(
        "probe_success", "probe_success",
        "1 if the vendor has counts for the message; only on /probe.",
    );
    PROBE_DURATION = Family::gauge(
        "probe_duration_seconds", "probe_duration",
        "How long the vendor took to answer; only on /probe.",
    )
    .unit("s");
}
