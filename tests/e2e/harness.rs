//! What the end-to-end tests share: the exporter as a process of its own, other programs beside
//! it, and a reader of expositions.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long anything may take that should take a moment, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is stopped when the test ends, however it ends.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both its outputs in `log`.
    pub fn start(command: &mut Command, log: &Path) -> Process {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log opens");
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("the log is shared"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?} does not start: {error}; tests/run says what to install")
            });
        Process {
            child,
            log: log.to_owned(),
        }
    }

    /// The id of the process.
    #[allow(dead_code, reason = "benchmarks ask for it")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .expect("kill runs");
        assert!(status.success(), "kill -{name} failed");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            assert!(
                Instant::now() < end,
                "it does not end; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// Asks again until `check` gives something, and panics with `what` if it never does.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, check).await
}

/// The same with another patience.
pub async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The HTTP client of the tests.
pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .expect("a client")
}

/// The exporter as a process.
pub struct Exporter {
    process: Process,
    /// Where it listens.
    pub base: String,
    client: reqwest::Client,
}

impl Exporter {
    /// Starts `serve` with this configuration, whose relative paths are below `dir`.
    pub async fn start(dir: &Path, config: &str) -> Exporter {
        Exporter::start_with(dir, config, &[]).await
    }

    /// The same with more flags.
    pub async fn start_with(dir: &Path, config: &str, flags: &[&str]) -> Exporter {
        let file = dir.join("config.yaml");
        fs::write(&file, config).expect("the configuration is written");
        let mut arguments = vec![format!("--config.file={}", file.display())];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        Exporter::spawn(dir, &arguments).await
    }

    /// Starts the binary with a free port and these arguments.
    pub async fn spawn(dir: &Path, arguments: &[String]) -> Exporter {
        Exporter::spawn_on(0, dir, arguments).await
    }

    /// Starts `serve` on a port that stays the same over restarts.
    pub async fn start_on(port: u16, dir: &Path, config: &str) -> Exporter {
        let file = dir.join("config.yaml");
        fs::write(&file, config).expect("the configuration is written");
        Exporter::spawn_on(port, dir, &[format!("--config.file={}", file.display())]).await
    }

    async fn spawn_on(port: u16, dir: &Path, arguments: &[String]) -> Exporter {
        let mut command = binary();
        command
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .args(arguments);
        Exporter::run(command, dir).await
    }

    /// Starts a command that runs the binary, on `config.yaml` in `dir` and a free port.
    pub async fn spawn_command(mut command: Command, dir: &Path) -> Exporter {
        let file = dir.join("config.yaml");
        command
            .arg("--web.listen-address=127.0.0.1:0")
            .arg(format!("--config.file={}", file.display()));
        Exporter::run(command, dir).await
    }

    /// Starts a command that runs the binary, with nothing added.
    pub async fn spawn_bare(command: Command, dir: &Path) -> Exporter {
        Exporter::run(command, dir).await
    }

    async fn run(mut command: Command, dir: &Path) -> Exporter {
        let log = dir.join("exporter.log");
        let seen = fs::read_to_string(&log).unwrap_or_default().len();
        command.current_dir(dir);
        let mut process = Process::start(&mut command, &log);
        let base = eventually("the exporter says where it listens", async || {
            if let Some(status) = process
                .child
                .try_wait()
                .expect("the child can be waited for")
            {
                panic!("the exporter ended with {status}:\n{}", process.log());
            }
            let text = process.log();
            let address = text.get(seen..)?.split_once("address=127.0.0.1:")?.1;
            let port: String = address.chars().take_while(char::is_ascii_digit).collect();
            // A whole line has been written once something follows the number.
            (address.len() > port.len()).then(|| format!("http://127.0.0.1:{port}"))
        })
        .await;
        Exporter {
            process,
            base,
            client: client(),
        }
    }

    /// The id of the process.
    #[allow(dead_code, reason = "benchmarks ask for it")]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Asks for a path; status and text.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .expect(path);
        (answer.status().as_u16(), answer.text().await.expect(path))
    }

    /// Posts nothing to a path; status and text.
    pub async fn post(&self, path: &str) -> (u16, String) {
        let answer = self
            .client
            .post(format!("{}{path}", self.base))
            .send()
            .await
            .expect(path);
        (answer.status().as_u16(), answer.text().await.expect(path))
    }

    /// Everything on `/metrics`, read as OpenMetrics.
    pub async fn metrics(&self) -> Metrics {
        let answer = self
            .client
            .get(format!("{}/metrics", self.base))
            .header("accept", "application/openmetrics-text; version=1.0.0")
            .send()
            .await
            .expect("a scrape");
        Metrics::read(&answer.text().await.expect("a scrape's body"))
    }

    /// Waits until a scrape satisfies `check`.
    pub async fn wait_for(&self, what: &str, mut check: impl FnMut(&Metrics) -> bool) -> Metrics {
        let end = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics().await;
            if check(&metrics) {
                return metrics;
            }
            assert!(
                Instant::now() < end,
                "waited in vain: {what}\n{}\nlog:\n{}",
                metrics.text,
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// SIGTERM, and the exit status.
    pub fn terminate(mut self) -> ExitStatus {
        self.process.signal("TERM");
        self.process.wait()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }
}

/// The binary under test, without this environment's proxies and OTLP settings.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_delivery-exporter"));
    for (name, _) in std::env::vars() {
        let proxy = name.to_ascii_lowercase().ends_with("_proxy");
        if proxy || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// The labels of a series, sorted by name.
pub type Labels = BTreeMap<String, String>;

/// An exposition, read by a reader that is not the exporter's.
pub struct Metrics {
    /// As it came.
    pub text: String,
    /// Every sample.
    pub samples: BTreeMap<(String, Labels), f64>,
    /// The type of every family.
    pub types: BTreeMap<String, String>,
}

impl Metrics {
    /// Reads OpenMetrics or the classic text.
    pub fn read(text: &str) -> Metrics {
        let mut samples = BTreeMap::new();
        let mut types = BTreeMap::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                let before = types.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "two families {name}");
            } else if !line.starts_with('#') && !line.is_empty() {
                let (name, labels, value) = sample(line);
                let before = samples.insert((name.clone(), labels), value);
                assert!(before.is_none(), "a series is there twice: {line}");
            }
        }
        Metrics {
            text: text.to_owned(),
            samples,
            types,
        }
    }

    /// The value of the one series of that name with at least these labels.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.find(name, labels);
        let first = found.next();
        assert!(found.next().is_none(), "more than one {name}{labels:?}");
        first.map(|(_, value)| value)
    }

    /// All series of that name with at least these labels.
    pub fn find<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a Labels, f64)> + 'a {
        self.samples
            .range((name.to_owned(), Labels::new())..)
            .take_while(move |((other, _), _)| other == name)
            .filter(move |((_, own), _)| {
                labels
                    .iter()
                    .all(|(key, value)| own.get(*key).map(String::as_str) == Some(*value))
            })
            .map(|((_, own), value)| (own, *value))
    }

    /// The sum over all series of that name with at least these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).map(|(_, value)| value).sum()
    }
}

/// One sample line: name, labels, value. A timestamp or exemplar is not expected.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("no value in {line:?}"));
    let name = line[..end].to_owned();
    let mut labels = Labels::new();
    let mut rest = &line[end..];
    if let Some(mut inner) = rest.strip_prefix('{') {
        while !inner.starts_with('}') {
            let (key, after) = inner
                .split_once("=\"")
                .unwrap_or_else(|| panic!("{line:?}"));
            let mut value = String::new();
            let mut characters = after.char_indices();
            let end = loop {
                let (at, character) = characters.next().unwrap_or_else(|| panic!("{line:?}"));
                match character {
                    '"' => break at + 1,
                    '\\' => match characters.next() {
                        Some((_, 'n')) => value.push('\n'),
                        Some((_, other)) => value.push(other),
                        None => panic!("{line:?}"),
                    },
                    other => value.push(other),
                }
            };
            assert!(
                labels.insert(key.to_owned(), value).is_none(),
                "a label twice in {line:?}"
            );
            inner = &after[end..];
            inner = inner.strip_prefix(',').unwrap_or(inner);
        }
        rest = &inner[1..];
    }
    let value = rest.trim();
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other
            .parse()
            .unwrap_or_else(|_| panic!("no value in {line:?}")),
    };
    (name, labels, value)
}
