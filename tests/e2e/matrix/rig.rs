//! The world of one row: vendors, a store and an OTLP receiver behind proxies, the exporter between
//! them, and traffic whose books are known.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use delivery_clock::Clock;
use delivery_simulators::{Running, credentials, engagelab, faults::Fault as Spoiled, infobip};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use super::{
    Fault, Row, Store,
    proxy::{Certificates, Mode, Proxy},
    receiver::Receiver,
};
use crate::{
    crash::reports,
    disks::Disk,
    harness::{Exporter, binary, free_port},
    postgres::Postgres,
};

/// How often everything is asked for.
pub const INTERVAL: Duration = Duration::from_secs(3);
/// How long an answer may take.
pub const TIMEOUT: Duration = Duration::from_millis(2000);
/// How long a lease runs, with PostgreSQL.
pub const LEASE: Duration = Duration::from_secs(8);
/// The database asks for none; one that is in the URL is never shown.
pub const PASSWORD: &str = "hidden-word-1";
const BULK: &str = "3813836816344707101";
const MESSAGE: &str = "1229760629";

/// One customer: Infobip's two accounts and EngageLab's one.
pub struct Side {
    infobip: infobip::Infobip,
    engagelab: engagelab::Engagelab,
    servers: [Running; 2],
    /// What stands before the servers; none: the exporter asks them directly.
    proxies: Vec<Proxy>,
    sent: AtomicU64,
}

impl Side {
    async fn start(seed: u64, tls: Option<&Arc<Certificates>>, proxied: bool) -> Side {
        let (infobip, first) = crate::crash::vendor().await;
        let clock = Clock::system();
        let options = engagelab::Options::new(
            credentials::ENGAGELAB_APP_KEY,
            credentials::ENGAGELAB_MASTER_SECRET,
        );
        let hour = Duration::from_secs(3600);
        let engagelab = engagelab::Engagelab::new(clock.clone(), seed, clock.now(), hour, options);
        let second = engagelab.start(([127, 0, 0, 1], 0).into()).await.unwrap();
        let mut proxies = Vec::new();
        if proxied {
            for server in [&first, &second] {
                proxies.push(Proxy::start(server.address(), seed, tls.cloned()).await);
            }
        }
        let side = Side {
            infobip,
            engagelab,
            servers: [first, second],
            proxies,
            sent: AtomicU64::new(0),
        };
        side.grow();
        side
    }

    /// More of everything: the numbers of the messages grow, and reports wait.
    fn grow(&self) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let statistics = json!({"totalSent": 10 * number, "delivered": 3 * number});
        self.infobip.put_bulk(BULK, statistics);
        let numbers = json!({"targets": 20 * number, "sent": 10 * number, "delivered": 3 * number});
        self.engagelab.put_message(MESSAGE, numbers);
        let first = usize::try_from(number).unwrap() * 3;
        self.infobip.put_reports(reports(first, 3));
    }

    fn url(&self, which: usize) -> String {
        match self.proxies.get(which) {
            None => self.servers[which].base_url(),
            Some(proxy) => format!("http://{}", proxy.address()),
        }
    }

    fn accounts(&self, prefix: &str, tls: bool) -> Vec<Value> {
        let mut accounts = vec![
            json!({"name": format!("{prefix}push"), "type": "infobip_push", "base_url": self.url(0),
                "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD},
                "applications": [{"id": credentials::INFOBIP_APPLICATION, "name": "shop"}],
                "messages": {"static": [BULK], "max_age": "2000d"}}),
            json!({"name": format!("{prefix}mail"), "type": "infobip_email", "base_url": self.url(0),
                "credentials": {"username": credentials::INFOBIP_USERNAME, "password": credentials::INFOBIP_PASSWORD}}),
            json!({"name": format!("{prefix}news"), "type": "engagelab", "base_url": self.url(1),
                "credentials": {"app_key": credentials::ENGAGELAB_APP_KEY, "master_secret": credentials::ENGAGELAB_MASTER_SECRET},
                "collect": ["messages"], "messages": {"static": [MESSAGE], "max_age": "2000d"}}),
        ];
        if tls {
            for account in &mut accounts {
                let url = account["base_url"].as_str().unwrap();
                account["base_url"] = json!(url.replace("http://", "https://"));
                account["tls"] = json!({"ca_file": AUTHORITY});
            }
        }
        accounts
    }

    /// How many messages the books say were delivered, by account: the least, and the most. They
    /// differ by the reports that were on their way when the exporter was killed at `killed`.
    pub fn delivered(&self, prefix: &str, killed: Option<Instant>) -> Vec<(String, f64, f64)> {
        let number = self.sent.load(Ordering::Relaxed) as f64;
        let (mut certain, mut maybe) = (0.0, 0.0);
        let handed = self.infobip.handed_out();
        if let Some(proxy) = self.proxies.first() {
            proxy.transcripts(|transcripts| {
                let texts: Vec<_> = transcripts
                    .iter()
                    .map(|own| (own, String::from_utf8_lossy(&own.bytes)))
                    .filter(|(_, text)| text.contains("messageId"))
                    .collect();
                for report in &handed {
                    let text = report.to_string();
                    let mut found = texts.iter().filter_map(|(own, bytes)| {
                        let at = bytes.find(&text)? + text.len();
                        own.times
                            .iter()
                            .find(|(end, _)| *end >= at)
                            .map(|own| own.1)
                    });
                    let Some(forwarded) = found.next() else {
                        continue;
                    };
                    let doubtful = killed.is_some_and(|killed| {
                        forwarded < killed && killed - forwarded < Duration::from_secs(2)
                    });
                    *if doubtful { &mut maybe } else { &mut certain } += 1.0;
                }
            });
        } else {
            certain = handed.len() as f64;
            maybe = 0.0;
        }
        vec![
            (format!("{prefix}push"), 3.0 * number, 3.0 * number),
            (format!("{prefix}mail"), certain, certain + maybe),
            (format!("{prefix}news"), 3.0 * number, 3.0 * number),
        ]
    }
}

/// Everything of a row.
pub struct Rig {
    directory: tempfile::TempDir,
    pub faulty: Arc<Side>,
    pub well: Arc<Side>,
    pub receiver: Receiver,
    otlp: Proxy,
    database: Option<Proxy>,
    disk: Option<Disk>,
    pub exporter: Mutex<Option<Exporter>>,
    pub base: String,
    port: u16,
    flowing: Arc<AtomicBool>,
    pub killed: Mutex<Option<Instant>>,
}

impl Rig {
    /// `None`: this user may not mount the disk that the row needs.
    pub async fn start(row: &Row, number: usize, postgres: &Postgres) -> Option<Rig> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let tls = matches!(row.fault, Fault::Vendor(mode) if mode.is_tls());
        let certificates = row.fault.is_tls().then(|| Arc::new(certificates(path)));
        let of_vendors = certificates.as_ref().filter(|_| tls);
        let of_store = certificates.clone().filter(|_| !tls);
        let data = path.join("data");
        let disk = match row.fault {
            Fault::DiskFull => Some(Disk::mount_sized(&data, 64)?),
            _ => None,
        };
        let faulty = Arc::new(Side::start(row.seed, of_vendors, true).await);
        // Kills leave doubtful reports behind: only what a proxy has seen is known.
        let well = Arc::new(Side::start(row.seed + 1, None, true).await);
        let receiver = Receiver::start().await;
        let otlp = Proxy::start(receiver.address, row.seed, None).await;
        let mut store = json!({"url": "sqlite:data/delivery.db", "spool": "data/spool", "replica": "replica-1"});
        let mut database = None;
        if row.store == Store::Postgres {
            let name = format!("row_{number}");
            postgres
                .ask(&format!("CREATE DATABASE {name}"))
                .await
                .unwrap();
            let mode = if of_store.is_some() {
                "require"
            } else {
                "disable"
            };
            let proxy = Proxy::start_postgres(postgres.address(), row.seed, of_store).await;
            store["url"] = json!(format!(
                "postgres://postgres:{PASSWORD}@{}/{name}?sslmode={mode}",
                proxy.address()
            ));
            store["lease"] = json!(format!("{}s", LEASE.as_secs()));
            database = Some(proxy);
        }
        let interval = format!("{}s", INTERVAL.as_secs());
        let providers = [faulty.accounts("", tls), well.accounts("well-", false)].concat();
        let config = json!({
            "store": store,
            "collection": {"zero_hold": "0s", "adopt_age": "0s", "interval": interval, "max_interval": interval,
                "timeout": format!("{}ms", TIMEOUT.as_millis()), "stale_after": "9s"},
            "limits": {"max_response_bytes": 4 << 20},
            "otlp": {"endpoint": format!("http://{}", otlp.address()), "interval": interval, "compression": "none"},
            "provider_defaults": {"rate_limit": {"requests_per_second": 1000, "burst": 1000}},
            "providers": providers,
        });
        std::fs::write(path.join("config.yaml"), config.to_string()).unwrap();
        let mut rig = Rig {
            faulty,
            well,
            receiver,
            otlp,
            database,
            disk,
            exporter: Mutex::new(None),
            base: String::new(),
            port: free_port(),
            flowing: Arc::new(AtomicBool::new(true)),
            killed: Mutex::new(None),
            directory,
        };
        rig.set_clock(0);
        let exporter = rig.spawn(matches!(row.fault, Fault::Clock(_))).await;
        rig.base.clone_from(&exporter.base);
        *rig.exporter.lock().unwrap() = Some(exporter);
        for side in [rig.faulty.clone(), rig.well.clone()] {
            let flowing = rig.flowing.clone();
            tokio::spawn(async move {
                while flowing.load(Ordering::Relaxed) {
                    side.grow();
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
            });
        }
        Some(rig)
    }

    async fn spawn(&self, skewed: bool) -> Exporter {
        let path = self.directory.path();
        if !skewed {
            let mut command = binary();
            command
                .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
                .arg("--config.file=config.yaml")
                // The database's authority; vendors name their own.
                .env("SSL_CERT_FILE", path.join(AUTHORITY));
            if !path.join(AUTHORITY).exists() {
                command.env_remove("SSL_CERT_FILE");
            }
            return Exporter::spawn_bare(command, path).await;
        }
        let mut command = binary();
        command
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", self.clock_file())
            .env("FAKETIME_NO_CACHE", "1")
            // A step of the wall clock: what is monotonic stays so, and so do the times of files.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        Exporter::spawn_command(command, path).await
    }

    fn clock_file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }

    fn set_clock(&self, seconds: i64) {
        let unfinished = self.directory.path().join("clock.new");
        std::fs::write(&unfinished, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(unfinished, self.clock_file()).unwrap();
    }

    /// The id of the exporter's process.
    pub fn id(&self) -> Option<u32> {
        self.exporter.lock().unwrap().as_ref().map(Exporter::id)
    }

    /// What the exporter has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("exporter.log")).unwrap_or_default()
    }

    fn limit(&self, limit: &str) {
        let id = self.id().unwrap().to_string();
        let status = Command::new("prlimit")
            .args(["--pid", &id, limit])
            .status()
            .expect("prlimit starts; tests/run says what to install");
        assert!(status.success(), "prlimit {limit}");
    }

    fn signal(&self, name: &str) {
        self.exporter.lock().unwrap().as_ref().unwrap().signal(name);
    }

    /// Lets the fault begin.
    pub fn begin(&self, fault: Fault) {
        match fault {
            Fault::Vendor(mode) => self.faulty.proxies.iter().for_each(|own| own.set(mode)),
            Fault::Store(mode) => self.database.as_ref().unwrap().set(mode),
            Fault::Otlp(mode) => self.otlp.set(mode),
            Fault::Clock(seconds) => self.set_clock(seconds),
            Fault::DiskFull => {
                let file = std::fs::File::create(self.filler()).unwrap();
                let zeros = vec![0; 1 << 16];
                while std::io::Write::write_all(&mut &file, &zeros).is_ok() {}
            }
            Fault::Descriptors => {
                let open = super::descriptors(self.id().unwrap());
                self.limit(&format!("--nofile={open}:"));
            }
            Fault::Memory => {
                for server in &self.faulty.servers {
                    server.faults().add("/", Spoiled::Endless(1 << 30), None);
                }
                let used = super::status(self.id().unwrap(), "VmData:") << 10;
                self.limit(&format!("--data={}:", used + (96 << 20)));
            }
            Fault::Stop => self.signal("STOP"),
            Fault::Kill => {
                *self.killed.lock().unwrap() = Some(Instant::now());
                let exporter = self.exporter.lock().unwrap().take().unwrap();
                exporter.kill();
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.directory.path().join("data/another-program")
    }

    /// Ends the fault.
    pub async fn end(&self, fault: Fault) {
        match fault {
            Fault::Vendor(_) => self
                .faulty
                .proxies
                .iter()
                .for_each(|own| own.set(Mode::Pass)),
            Fault::Store(_) => self.database.as_ref().unwrap().set(Mode::Pass),
            Fault::Otlp(_) => self.otlp.set(Mode::Pass),
            Fault::Clock(_) => self.set_clock(0),
            Fault::DiskFull => std::fs::remove_file(self.filler()).unwrap(),
            Fault::Descriptors => self.limit(&format!(
                "--nofile={}:",
                super::most_descriptors(self.id().unwrap())
            )),
            Fault::Memory => {
                for server in &self.faulty.servers {
                    server.faults().clear();
                }
                self.limit("--data=unlimited:");
            }
            Fault::Stop => self.signal("CONT"),
            Fault::Kill => {
                let exporter = self.spawn(false).await;
                *self.exporter.lock().unwrap() = Some(exporter);
            }
        }
    }

    /// No more traffic: the books stay as they are.
    pub fn quiet(&self) {
        self.flowing.store(false, Ordering::Relaxed);
    }

    /// The books of all accounts.
    pub fn books(&self) -> Vec<(String, f64, f64)> {
        let killed = *self.killed.lock().unwrap();
        let mut books = self.faulty.delivered("", killed);
        books.extend(self.well.delivered("well-", killed));
        books
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.quiet();
        // Before its disk goes.
        self.exporter.lock().unwrap().take();
        self.disk.take();
    }
}

/// The library that shifts a program's clock.
fn faketime() -> PathBuf {
    let mut found = glob::glob("/usr/lib/*/faketime/libfaketimeMT.so.1").unwrap();
    let found = found.find_map(Result::ok);
    found.expect("libfaketime is installed; tests/run says what to install")
}

/// The file of the authority that is known.
pub const AUTHORITY: &str = "authority.pem";

/// Certificates that are right and wrong, and [`AUTHORITY`], which has signed all but one.
pub fn certificates(directory: &Path) -> Certificates {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = |name: &str| {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    };
    let (known, unknown) = (authority("known"), authority("unknown"));
    std::fs::write(directory.join(AUTHORITY), known.pem()).unwrap();
    let acceptor = |issuer: &CertifiedIssuer<'static, KeyPair>, host: &str, expired: bool| {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![host.to_owned()]).unwrap();
        if expired {
            parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let certificate = parameters.signed_by(&key, issuer).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    };
    Certificates {
        good: acceptor(&known, "127.0.0.1", false),
        wrong_name: acceptor(&known, "another.example", false),
        expired: acceptor(&known, "127.0.0.1", true),
        unknown_authority: acceptor(&unknown, "127.0.0.1", false),
    }
}
