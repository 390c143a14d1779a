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
        Prometheus::start_on(dir, &[target.to_owned()]).await
    }

    /// The same for several targets.
    pub async fn start_on(dir: &Path, targets: &[String]) -> Prometheus {
        let targets = targets.join("', '");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: delivery\n  static_configs: [{{targets: ['{targets}']}}]\n"
        );
        Prometheus::start_with(dir, &config).await
    }

    /// Starts it with a configuration, on what is below `tsdb` in `dir` already.
    pub async fn start_with(dir: &Path, text: &str) -> Prometheus {
        let port = free_port();
        let config: PathBuf = dir.join("prometheus.yml");
        std::fs::write(&config, text).expect("its configuration is written");
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

    /// The answer of one of its endpoints.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .expect(path);
        serde_json::from_str(&answer.text().await.expect(path)).expect(path)
    }

    /// The result of an instant query.
    async fn result(&self, query: &str) -> Vec<Value> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut answer = self.get(&format!("/api/v1/query?query={query}")).await;
        match answer["data"]["result"].take() {
            Value::Array(result) => result,
            _ => panic!("{answer}"),
        }
    }

    /// Whether an instant query has no answer.
    pub async fn is_silent(&self, query: &str) -> bool {
        self.result(query).await.is_empty()
    }

    /// The samples of an instant query: labels and value.
    pub async fn query(&self, query: &str) -> Vec<(serde_json::Map<String, Value>, f64)> {
        let result = self.result(query).await;
        result
            .iter()
            .map(|sample| {
                let value = sample["value"][1].as_str().expect("a value").parse();
                let labels = sample["metric"].as_object().expect("labels").clone();
                (labels, value.expect("a number"))
            })
            .collect()
    }

    /// The stored samples of a range selector, series by series.
    pub async fn samples(&self, selector: &str) -> Vec<Vec<f64>> {
        let result = self.result(selector).await;
        let values = |series: &Value| {
            let pairs = series["values"].as_array().expect("samples");
            let number = |pair: &Value| pair[1].as_str().and_then(|text| text.parse().ok());
            pairs
                .iter()
                .map(|pair| number(pair).expect("a number"))
                .collect()
        };
        result.iter().map(values).collect()
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

mod tests {
    use std::collections::BTreeMap;

    use delivery_clock::Clock;
    use delivery_simulators::World;
    use serde_json::json;

    use super::*;
    use crate::{
        harness::{Exporter, Labels},
        world,
    };

    /// A world and an exporter on it, after its first passes.
    async fn running(directory: &Path) -> (World, Exporter) {
        let world = world::start(&Clock::system()).await;
        let config = world::configuration(&world, directory, &json!({}));
        let exporter = Exporter::start(directory, &config).await;
        exporter
            .wait_for("all accounts are up", |metrics| {
                metrics.sum("delivery_up", &[]) == 5.0
                    && metrics
                        .get("delivery_message_accepted", &[("message_id", "510427")])
                        .is_some()
            })
            .await;
        (world, exporter)
    }

    /// What Prometheus has of the messages whose numbers never change, without its own labels.
    async fn stored(prometheus: &Prometheus) -> BTreeMap<(String, Labels), f64> {
        let ids = "3813836816344707101|1229760629|1613113584|2001770011|510427|A444-AAABBBCC-00112233|B555-AAABBBCC-00112234";
        let query = format!("{{__name__=~\"delivery_message_.*\",message_id=~\"{ids}\"}}");
        let samples = prometheus.query(&query).await;
        let plain = samples.into_iter().map(|(labels, value)| {
            let mut labels: Labels = labels
                .into_iter()
                .map(|(name, value)| (name, value.as_str().unwrap().to_owned()))
                // Prometheus keeps no empty label.
                .filter(|(name, _)| name != "instance" && name != "job")
                .collect();
            let name = labels.remove("__name__").unwrap();
            ((name, labels), value)
        });
        plain.collect()
    }

    /// The same from the exporter itself.
    fn served(exporter: &crate::harness::Metrics) -> BTreeMap<(String, Labels), f64> {
        let fixed = [
            "3813836816344707101",
            "1229760629",
            "1613113584",
            "2001770011",
            "510427",
            "A444-AAABBBCC-00112233",
            "B555-AAABBBCC-00112234",
        ];
        let own = exporter.samples.iter().filter(|((name, labels), _)| {
            name.starts_with("delivery_message_")
                && labels
                    .get("message_id")
                    .is_some_and(|id| fixed.contains(&id.as_str()))
        });
        own.map(|((name, labels), value)| {
            let labels = labels.iter().filter(|(_, value)| !value.is_empty());
            let labels = labels
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            ((name.clone(), labels), *value)
        })
        .collect()
    }

    async fn check(prometheus: &Prometheus, exporter: &Exporter) {
        eventually("Prometheus has scraped it twice", async || {
            let scrapes = prometheus
                .query("count_over_time(up{job=\"delivery\"}[1m])")
                .await;
            scrapes
                .first()
                .is_some_and(|(_, scrapes)| *scrapes >= 2.0)
                .then_some(())
        })
        .await;
        let target = prometheus.target().await;
        assert_eq!(
            (target["health"].as_str(), target["lastError"].as_str()),
            (Some("up"), Some(""))
        );
        assert_eq!(prometheus.complaints(), Vec::<String>::new());
        let (stored, served) = (stored(prometheus).await, served(&exporter.metrics().await));
        assert!(served.len() > 120, "{}", served.len());
        assert_eq!(stored, served);
        // The values of the vendors' own examples.
        let value = |query: &str| {
            let query = query.to_owned();
            async move {
                prometheus
                    .query(&query)
                    .await
                    .first()
                    .map(|(_, value)| *value)
            }
        };
        assert_eq!(
            value("delivery_message_errors{message_id=\"3813836816344707101\",reason=\"registration\"}").await,
            Some(1654.0)
        );
        assert_eq!(
            value("delivery_message_channel_delivered{message_id=\"1613113584\",vendor_channel=\"huawei\"}").await,
            Some(80.0)
        );
        assert_eq!(
            value("sum(delivery_message_sent{message_id=\"A444-AAABBBCC-00112233\"})").await,
            Some(60942.0)
        );
        assert_eq!(
            value("delivery_message_dismissed{message_id=\"510427\"}").await,
            Some(10.0)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn prometheus_takes_openmetrics_without_a_warning() {
        let directory = tempfile::tempdir().unwrap();
        let (_world, exporter) = running(directory.path()).await;
        let target = exporter.base.trim_start_matches("http://").to_owned();
        let prometheus = Prometheus::start(directory.path(), &target).await;
        check(&prometheus, &exporter).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn prometheus_takes_the_classic_text_and_promtool_finds_nothing_to_say() {
        let directory = tempfile::tempdir().unwrap();
        let (_world, exporter) = running(directory.path()).await;
        let target = exporter.base.trim_start_matches("http://").to_owned();
        let (_nginx, port) = nginx_classic_text(directory.path(), &target);
        let prometheus = Prometheus::start(directory.path(), &format!("127.0.0.1:{port}")).await;
        check(&prometheus, &exporter).await;
        let (status, text) = exporter.get("/metrics").await;
        assert_eq!(status, 200);
        assert!(
            !text.contains("# EOF"),
            "without a wish it is the classic text"
        );
        assert_eq!(promtool_check(&text), "");
    }
}
