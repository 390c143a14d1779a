//! `--with-prometheus`: starts a Prometheus next to the demo, with the shipped rules.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

const PROGRAM: &str = "prometheus";
/// The default port of Prometheus.
const USUAL_PORT: u16 = 9090;
/// The recording rules and alerts of `dashboards/`.
const RULES: &str = include_str!("../../../dashboards/alerts/delivery.rules.yml");
/// The base of the alerts' runbook links, unless the exporter listens elsewhere.
const RUNBOOKS: &str = "http://localhost:9847/runbooks/";
/// How long it may take to start.
const START: Duration = Duration::from_secs(15);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// A running Prometheus.
pub(super) struct Prometheus {
    child: Child,
    url: String,
}

/// Checks whether `prometheus` is installed.
pub(super) async fn find() -> Result<(), String> {
    let mut command = Command::new(PROGRAM);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match command.status().await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "--with-prometheus: the program `prometheus` cannot be run ({error}). Install it \
             (Debian and Ubuntu: apt install prometheus; else https://prometheus.io/download/) so \
             that it is on the PATH, or leave the flag out."
        )),
    }
}

/// Starts Prometheus, which scrapes the exporter at `base` and keeps its files below `data`.
pub(super) async fn start(
    data: &Path,
    base: &str,
    telemetry_path: &str,
) -> Result<Prometheus, String> {
    let data = data.join("prometheus");
    let written = write(&data, base, telemetry_path);
    written.map_err(|error| format!("its files cannot be written: {error}"))?;
    let port = port().await.map_err(|error| error.to_string())?;
    let log_path = data.join("prometheus.log");
    let log = File::create(&log_path).map_err(|error| error.to_string())?;
    let copy = log.try_clone().map_err(|error| error.to_string())?;
    let file = |name: &str| data.join(name).display().to_string();
    let mut child = Command::new(PROGRAM)
        .arg(format!("--config.file={}", file("prometheus.yml")))
        .arg(format!("--storage.tsdb.path={}", file("tsdb")))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(copy)
        // Ctrl-C must reach only the demo, which stops both in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    let url = format!("http://localhost:{port}");
    let end = Instant::now() + START;
    let client = reqwest::Client::builder().no_proxy().build();
    let client = client.map_err(|error| error.to_string())?;
    loop {
        let ready = client.get(format!("http://127.0.0.1:{port}/-/ready"));
        let answer = ready.timeout(Duration::from_secs(1)).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(Prometheus { child, url });
        }
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || Instant::now() > end {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(5)..];
            return Err(format!("its last lines are:\n{}", last.join("\n")));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

impl Prometheus {
    /// Its address in a browser.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Stops it, and waits for its end.
    pub(super) async fn stop(mut self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            let _ = kill_process(id, Signal::TERM);
        }
        if timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// The default port, or a free one if it is in use.
async fn port() -> std::io::Result<u16> {
    let listener = match TcpListener::bind(("127.0.0.1", USUAL_PORT)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await?,
    };
    Ok(listener.local_addr()?.port())
}

/// Writes the rules and the configuration.
fn write(data: &Path, base: &str, telemetry_path: &str) -> std::io::Result<()> {
    fs::create_dir_all(data)?;
    let rules = RULES.replace(RUNBOOKS, &format!("{base}/runbooks/"));
    fs::write(data.join("delivery.rules.yml"), rules)?;
    let (scheme, target) = base.split_once("://").unwrap_or(("http", base));
    let config = json!({
        // Shorter than the demo's `zero_hold`.
        "global": {"scrape_interval": "5s", "evaluation_interval": "15s"},
        "rule_files": ["delivery.rules.yml"],
        "scrape_configs": [{
            // The alerts match jobs whose name contains "delivery".
            "job_name": "delivery",
            "scheme": scheme,
            // The demo may use any certificate; the target is on this machine.
            "tls_config": {"insecure_skip_verify": true},
            "metrics_path": telemetry_path,
            "static_configs": [{"targets": [target]}],
        }],
    });
    // JSON is YAML.
    fs::write(data.join("prometheus.yml"), config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_link_to_the_runbooks_of_this_exporter() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "http://localhost:1234", "/metrics").unwrap();
        let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
        let rules = read("delivery.rules.yml");
        assert!(rules.contains("http://localhost:1234/runbooks/DeliveryExporterDown"));
        assert!(!rules.contains(RUNBOOKS));
        assert!(read("prometheus.yml").contains("\"localhost:1234\""));
    }
}
