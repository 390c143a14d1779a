//! A real Prometheus, and promtool, as the other side.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use super::harness::{Process, client, eventually, free_port};

/// A running Prometheus that scrapes one target every second.
pub struct Prometheus {
    process: Process,
    base: String,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts it in `dir`, on `target` (host and port).
    pub async fn start(dir: &Path, target: &str) -> Prometheus {
        let port = free_port();
        let config: PathBuf = dir.join("prometheus.yml");
        std::fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: delivery\n  static_configs: [{{targets: ['{target}']}}]\n"
            ),
        )
        .expect("its configuration is written");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=debug")
            .current_dir(dir);
        let process = Process::start(&mut command, &dir.join("prometheus.log"));
        let prometheus = Prometheus {
            process,
            base: format!("http://127.0.0.1:{port}"),
            client: client(),
        };
        eventually("Prometheus is ready", async || {
            let answer = prometheus
                .client
                .get(format!("{}/-/ready", prometheus.base))
                .send()
                .await;
            answer
                .is_ok_and(|answer| answer.status().is_success())
                .then_some(())
        })
        .await;
        prometheus
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .expect(path);
        serde_json::from_str(&answer.text().await.expect(path)).expect(path)
    }

    /// The samples of an instant query: labels and value.
    pub async fn query(&self, query: &str) -> Vec<(serde_json::Map<String, Value>, f64)> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={query}")).await;
        let result = answer["data"]["result"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"));
        result
            .iter()
            .map(|sample| {
                let value = sample["value"][1].as_str().expect("a value").parse();
                let labels = sample["metric"].as_object().expect("labels").clone();
                (labels, value.expect("a number"))
            })
            .collect()
    }

    /// The one target's state: `health`, `lastError` and so on.
    pub async fn target(&self) -> Value {
        let answer = self.get("/api/v1/targets").await;
        answer["data"]["activeTargets"][0].clone()
    }

    /// The lines of its log that are about this target and are no mere debugging.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.process.log();
        log.lines()
            .filter(|line| line.contains("level=warn") || line.contains("level=error"))
            .filter(|line| line.contains("scrape") || line.contains("target"))
            .map(str::to_owned)
            .collect()
    }
}

/// What `promtool check metrics` says about an exposition in the classic text; empty: it is clean.
pub fn promtool_check(text: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts; tests/run says what to install");
    let mut input = promtool.stdin.take().expect("its input");
    input.write_all(text.as_bytes()).expect("promtool reads");
    drop(input);
    let output = promtool.wait_with_output().expect("promtool ends");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if !output.status.success() && said.is_empty() {
        said = format!("it ended with {}", output.status);
    }
    said
}

/// An nginx in front of `target` that asks for the classic text, whatever its own client accepts.
pub fn nginx_classic_text(dir: &Path, target: &str) -> (Process, u16) {
    let port = free_port();
    let config = dir.join("nginx.conf");
    std::fs::write(
        &config,
        format!(
            "daemon off; pid {dir}/nginx.pid; error_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n  client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{target}; proxy_set_header Accept 'text/plain;version=0.0.4'; }} }}\n}}\n",
            dir = dir.display()
        ),
    )
    .expect("its configuration is written");
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(&config);
    (Process::start(&mut command, &dir.join("nginx.log")), port)
}
