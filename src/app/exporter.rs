//! A running exporter: everything except the command line and the sockets, so that tests can run one with
//! their own clock.

use std::{
    sync::{Arc, PoisonError, RwLockReadGuard},
    time::Duration,
};

use delivery_clock::{Clock, Moment};
use tokio::sync::Mutex;

use super::{
    observers::DeferredObserver,
    probes::Probes,
    substitutes::{AnswersOf, Substitutes, provider},
};
use crate::{
    collector::{self, CollectorDeps, CollectorHandle, Progress},
    config::{Account, Config},
    ledger::{AccountLedger, Ledger, LedgerError, Purpose, StoreError, store::Store},
    outputs::{exposition::Exposition, otlp::Pusher},
    progress::{Bar, Opening},
    providers::{self, Provider, http::BuildError},
    series::{AccountSeries, Table},
    web::{AccountStatus, ConfigurationStatus, ExporterStatus},
};

/// After this time, an account without an answer no longer delays readiness.
const READY_AFTER: Duration = Duration::from_secs(60);

/// How often the store's size is measured and unused memory is dropped.
const TEND_EVERY: Duration = Duration::from_secs(60);

/// Why an exporter cannot start, or cannot load a configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// An account's spool cannot be read.
    #[error("store.spool: {0}")]
    Spool(#[from] providers::SpoolError),
    /// A certificate or proxy cannot be used.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The OTLP connection cannot be set up.
    #[error("otlp: {0}")]
    Otlp(String),
    /// A setting that cannot change while the process runs.
    #[error("{0} cannot be changed by a reload; restart the exporter")]
    Fixed(&'static str),
    /// The request came while the process was stopping.
    #[error("the exporter is stopping")]
    Stopping,
}

/// A running exporter.
pub struct Exporter {
    table: Arc<Table>,
    exposition: Arc<Exposition>,
    clock: Clock,
    started: Moment,
    ledger: Ledger,
    running: Mutex<Running>,
    /// The current state for readers, who do not wait for a reload.
    now: std::sync::RwLock<Now>,
    probes: Probes,
    /// The outcome of the last reloads, for the status page.
    configuration: std::sync::Mutex<ConfigurationStatus>,
    /// Substitutes for the vendors, if any.
    answers: Option<AnswersOf>,
}

/// What a reload replaces.
struct Running {
    collectors: Vec<Arc<CollectorHandle>>,
    pusher: Option<Pusher>,
    /// A reload that was waiting while the exporter stopped must not start anything.
    stopped: bool,
}

/// The current configuration and its accounts.
struct Now {
    config: Arc<Config>,
    collectors: Vec<Arc<CollectorHandle>>,
    live: Vec<Arc<ActiveAccount>>,
}

/// An account that is being collected.
pub(super) struct ActiveAccount {
    pub(super) account: Arc<Account>,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) series: Arc<AccountSeries>,
    pub(super) ledger: Arc<AccountLedger>,
}

type Collected = (Vec<Arc<CollectorHandle>>, Vec<Arc<ActiveAccount>>);

/// One account for which every step that can fail is done. Nothing of it is exposed yet.
struct CheckedAccount {
    account: Arc<Account>,
    provider: Arc<dyn Provider>,
    observer: Arc<DeferredObserver>,
    ledger: Arc<AccountLedger>,
}

/// One account, ready to be collected.
struct PreparedAccount {
    account: Arc<Account>,
    provider: Arc<dyn Provider>,
    series: Arc<AccountSeries>,
    ledger: Arc<AccountLedger>,
    relabelled: bool,
}

impl Exporter {
    /// Starts collecting and pushing.
    ///
    /// # Errors
    ///
    /// The spool, a certificate or a connection cannot be used.
    pub async fn start(config: &Config, clock: Clock) -> Result<Exporter, StartError> {
        Exporter::idle(config, clock, Purpose::Serve)
            .await?
            .begin(config)
    }

    /// As [`Exporter::start`], with a store and vendors in memory.
    ///
    /// # Errors
    ///
    /// As of [`Exporter::start`].
    #[doc(hidden)]
    pub async fn start_on(
        config: &Config,
        clock: Clock,
        substitutes: Substitutes,
    ) -> Result<Exporter, StartError> {
        Exporter::idle_on(config, clock, Purpose::Serve, Some(substitutes))
            .await?
            .begin(config)
    }

    fn begin(self, config: &Config) -> Result<Exporter, StartError> {
        let exporter = self;
        let checked = exporter.check(config)?;
        let pusher = exporter.push(config)?;
        let ready = exporter.prepare(config, checked);
        let (collectors, live) = exporter.collect(config, ready);
        exporter.note(config, &collectors, live);
        let running = Running {
            collectors,
            pusher,
            stopped: false,
        };
        Ok(Exporter {
            running: Mutex::new(running),
            ..exporter
        })
    }

    /// Creates an exporter that does nothing yet.
    pub(super) async fn idle(
        config: &Config,
        clock: Clock,
        purpose: Purpose,
    ) -> Result<Exporter, StartError> {
        Exporter::idle_on(config, clock, purpose, None).await
    }

    async fn idle_on(
        config: &Config,
        clock: Clock,
        purpose: Purpose,
        substitutes: Option<Substitutes>,
    ) -> Result<Exporter, StartError> {
        let (store, answers) = substitutes
            .map(|own| (Store::Substitute(own.store), own.answers))
            .unzip();
        let exposition = Arc::new(Exposition::new(clock.clone()));
        let table = Arc::new(Table::new(clock.clone(), exposition.clone()));
        let notes = table.process().clone();
        let ledger = Ledger::open_on(config.into(), clock.clone(), notes, purpose, store).await?;
        table.process().reloaded(true, clock.now());
        Ok(Exporter {
            started: clock.monotonic(),
            configuration: std::sync::Mutex::new(ConfigurationStatus {
                loaded_at: clock.now(),
                refused: None,
                warnings: config.warnings.iter().map(ToString::to_string).collect(),
            }),
            table,
            exposition,
            clock,
            ledger,
            running: Mutex::new(Running {
                collectors: Vec::new(),
                pusher: None,
                stopped: false,
            }),
            now: std::sync::RwLock::new(Now {
                config: Arc::new(config.clone()),
                collectors: Vec::new(),
                live: Vec::new(),
            }),
            probes: Probes::default(),
            answers,
        })
    }

    /// Queries every account once, and returns the result.
    ///
    /// # Errors
    ///
    /// As of [`Exporter::start`].
    pub async fn once(config: &Config, clock: Clock) -> Result<(Exporter, bool), StartError> {
        let exporter = Exporter::idle(config, clock, Purpose::Collect).await?;
        let mut tasks = tokio::task::JoinSet::new();
        let checked = exporter.check(config)?;
        let all = exporter.prepare(config, checked);
        exporter.ledger.hold_all(names(config)).await?;
        let progress: Arc<dyn Progress> = Arc::new(Bar::asking());
        for ready in all {
            let parts = exporter.parts(config, ready, &progress);
            tasks.spawn(collector::run_once(parts));
        }
        let mut all = true;
        while let Some(ended) = tasks.join_next().await {
            all &= matches!(ended, Ok(Ok(())));
        }
        Ok((exporter, all))
    }

    /// The renderer for scrapes.
    pub fn exposition(&self) -> &Arc<Exposition> {
        &self.exposition
    }

    /// All series.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Does every step that can fail, without changing what runs or what is exposed.
    fn check(&self, config: &Config) -> Result<Vec<CheckedAccount>, StartError> {
        let accounts = config.accounts.iter().map(|account| {
            let observer = Arc::new(DeferredObserver::default());
            Ok(CheckedAccount {
                provider: provider(account, &self.clock, observer.clone(), &self.answers)?,
                observer,
                ledger: self.ledger.open_account((config, account))?,
                account: Arc::new(account.clone()),
            })
        });
        accounts.collect()
    }

    /// Exposes the accounts, and prepares them for collecting.
    fn prepare(&self, config: &Config, checked: Vec<CheckedAccount>) -> Vec<PreparedAccount> {
        self.ledger.want(names(config));
        let series = self
            .table
            .configure(config, &|account| self.ledger.lease(account));
        let ready = checked.into_iter().zip(series);
        let ready = ready.map(|(checked, (series, relabelled))| {
            checked.observer.set(series.clone());
            PreparedAccount {
                account: checked.account,
                provider: checked.provider,
                series,
                ledger: checked.ledger,
                relabelled,
            }
        });
        ready.collect()
    }

    fn parts(
        &self,
        config: &Config,
        ready: PreparedAccount,
        progress: &Arc<dyn Progress>,
    ) -> CollectorDeps {
        self.ledger
            .set_policy((config, ready.account.as_ref()), &ready.ledger);
        let lease = self.ledger.lease(&ready.account.name);
        CollectorDeps {
            account: ready.account,
            provider: ready.provider,
            recorder: ready.series,
            ledger: ready.ledger,
            relabelled: ready.relabelled,
            lease,
            clock: self.clock.clone(),
            progress: progress.clone(),
        }
    }

    fn collect(&self, config: &Config, ready: Vec<PreparedAccount>) -> Collected {
        let progress: Arc<dyn Progress> = Arc::new(Opening::new(ready.len()));
        let (mut collectors, mut live) = (Vec::new(), Vec::new());
        for ready in ready {
            live.push(Arc::new(ActiveAccount {
                account: ready.account.clone(),
                provider: ready.provider.clone(),
                series: ready.series.clone(),
                ledger: ready.ledger.clone(),
            }));
            let parts = self.parts(config, ready, &progress);
            collectors.push(Arc::new(collector::spawn(parts)));
        }
        (collectors, live)
    }

    fn push(&self, config: &Config) -> Result<Option<Pusher>, StartError> {
        let Some(otlp) = &config.otlp else {
            return Ok(None);
        };
        let pusher = Pusher::start(
            otlp,
            &config.replica,
            self.table.clone(),
            self.clock.clone(),
        );
        pusher.map(Some).map_err(StartError::Otlp)
    }

    fn note(
        &self,
        config: &Config,
        collectors: &[Arc<CollectorHandle>],
        live: Vec<Arc<ActiveAccount>>,
    ) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Now {
            config: Arc::new(config.clone()),
            collectors: collectors.to_vec(),
            live,
        };
    }

    fn now(&self) -> RwLockReadGuard<'_, Now> {
        self.now.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current configuration.
    pub(super) fn config(&self) -> Arc<Config> {
        self.now().config.clone()
    }

    /// The accounts that are collected.
    pub(super) fn all_live(&self) -> Vec<Arc<ActiveAccount>> {
        self.now().live.clone()
    }

    /// The ledger.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The recent results of probes.
    pub(super) fn probes(&self) -> &Probes {
        &self.probes
    }

    /// Replaces the configuration. On an error the old one stays in force.
    ///
    /// # Errors
    ///
    /// As of [`Exporter::start`].
    pub async fn reload(&self, config: &Config) -> Result<(), StartError> {
        if let Some(fixed) = self.ledger.fixed(&config.into()) {
            return Err(StartError::Fixed(fixed));
        }
        let mut running = self.running.lock().await;
        if running.stopped {
            return Err(StartError::Stopping);
        }
        // Everything that can fail comes before the first change.
        let checked = self.check(config)?;
        let pusher = self.push(config)?;
        let ready = self.prepare(config, checked);
        stop_all(std::mem::take(&mut running.collectors)).await;
        let (collectors, live) = self.collect(config, ready);
        running.collectors = collectors;
        if let Some(old) = std::mem::replace(&mut running.pusher, pusher) {
            old.replaced().await;
        }
        self.note(config, &running.collectors, live);
        self.table.process().reloaded(true, self.clock.now());
        *self.configuration() = ConfigurationStatus {
            loaded_at: self.clock.now(),
            refused: None,
            warnings: config.warnings.iter().map(ToString::to_string).collect(),
        };
        Ok(())
    }

    /// Records that a new configuration was refused.
    pub fn refused(&self, problems: &str) {
        let now = self.clock.now();
        self.table.process().reloaded(false, now);
        self.configuration().refused = Some((now, problems.to_owned()));
    }

    fn configuration(&self) -> std::sync::MutexGuard<'_, ConfigurationStatus> {
        self.configuration
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes the work that must not be interrupted, and pushes once more.
    pub async fn stop(&self) {
        let mut running = self.running.lock().await;
        running.stopped = true;
        stop_all(std::mem::take(&mut running.collectors)).await;
        if let Some(pusher) = running.pusher.take() {
            pusher.stop().await;
        }
        self.ledger.stop().await;
    }

    /// Maintains the store periodically while the exporter exists.
    pub async fn maintain(&self) {
        loop {
            self.clock.sleep(TEND_EVERY).await;
            self.ledger.maintain().await;
        }
    }

    /// How long a new counter is exposed as 0.
    pub fn zero_hold(&self) -> Duration {
        self.now().config.zero_hold
    }

    /// The part of the status page that the series do not contain.
    pub fn current_status(&self) -> ExporterStatus {
        let (collectors, live, replica) = {
            let now = self.now();
            let replica = now.config.replica.clone();
            (now.collectors.clone(), now.live.clone(), replica)
        };
        let waited = self.clock.monotonic().since(self.started) >= READY_AFTER;
        let accounts = collectors.iter().filter_map(|collector| {
            let status = collector.status();
            let name = collector.account();
            let own = live.iter().find(|own| own.account.name == *name)?;
            // Accounts of other replicas do not delay readiness.
            let ready = if self.ledger.lease(name).runs() {
                status.opened && (status.answered || waited)
            } else {
                self.ledger.leases_are_settled()
            };
            Some(AccountStatus {
                account: own.account.clone(),
                opened: status.opened,
                good_at: status.good_at,
                ready,
                next: status.next,
                last_error: status.last_error,
                troubles: status.troubles,
                broken_sources: status.broken_sources,
            })
        });
        ExporterStatus {
            accounts: accounts.collect(),
            replica,
            configuration: self.configuration().clone(),
        }
    }
}

/// The names of the accounts that are configured.
fn names(config: &Config) -> impl Iterator<Item = Arc<str>> {
    config.accounts.iter().map(|account| account.name.clone())
}

async fn stop_all(collectors: Vec<Arc<CollectorHandle>>) {
    let stops = collectors.iter().map(|collector| collector.stop());
    futures_util::future::join_all(stops).await;
}

/// The error for a store that failed while its ledger was open.
pub(super) fn of_store(error: StoreError) -> StartError {
    LedgerError::from(error).into()
}
