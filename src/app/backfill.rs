//! `backfill`: writes the history that vendors provide to a file for `promtool tsdb create-blocks-from
//! openmetrics`. It reads the ledger, so that nothing is both in the file and in a live counter.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use delivery_clock::{Clock, later};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};

use super::{FAILED, OK, PARTLY, observers::NoopObserver, prepared};
use crate::{
    cli::{Backfill, Cli},
    collector::Progress,
    config::{self, Account, Config, MessageEntry},
    discovery::{Sources, Update},
    files::with_suffix,
    ledger::{Increase, PreBaseline},
    model::{Application, Dataset, HistoryMethod, Message, QueryMethod},
    outputs::exposition,
    progress::Bar,
    providers::{
        self, Failure, HistoryQuery, HistoryRecord, ListQuery, MessagesQuery, Observation,
        Provider, Scope,
    },
    series::History,
};

/// How long a message's counts can grow after it was sent.
const GROWS: SignedDuration = SignedDuration::from_hours(30 * 24);
/// The maximum time for the retries of a request.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a list, which takes many requests.
const LIST_PATIENCE: Duration = Duration::from_secs(600);
/// After this number of consecutive failures, the remaining messages are skipped.
const ENOUGH: usize = 10;
/// Prometheus keeps newer samples in memory, and blocks of that period would overlap with them.
const HEAD: SignedDuration = SignedDuration::from_hours(3);

pub(super) async fn run(cli: &Cli, wanted: &Backfill) -> u8 {
    let Some(config) = prepared(cli) else {
        return FAILED;
    };
    match backfill(&config, wanted).await {
        Ok(problems) if problems.is_empty() => OK,
        Ok(problems) => {
            eprintln!("{}", problems.join("\n"));
            PARTLY
        }
        Err(error) => {
            eprintln!("delivery-exporter: {error}");
            FAILED
        }
    }
}

/// Writes the file, and returns what could not be fetched.
async fn backfill(config: &Config, wanted: &Backfill) -> Result<Vec<String>, String> {
    let clock = Clock::system();
    let now = clock.now();
    if let Some((name, _)) = wanted
        .labels
        .iter()
        .find(|(name, _)| is_taken(config, name))
    {
        return Err(format!(
            "--label {name}: the exporter sets this label itself"
        ));
    }
    let mut names = HashSet::new();
    if let Some((name, _)) = wanted.labels.iter().find(|(name, _)| !names.insert(name)) {
        return Err(format!("--label {name}: given twice"));
    }
    let to = wanted.to.min(now);
    if wanted.from >= to {
        return Err("--from must be before --to, and before now".into());
    }
    if later(to, HEAD) > now {
        eprintln!(
            "warning: Prometheus still has the last three hours in memory, and blocks of that period would overlap with it; use --to {} to avoid this",
            later(now, -HEAD).strftime("%Y-%m-%dT%H:00:00Z")
        );
    }
    let own: Vec<_> = config
        .accounts
        .iter()
        .map(|account| (config, account).into())
        .collect();
    let before = PreBaseline::read(&config.into(), &own, &clock).await;
    let before = before.map_err(|error| error.to_string())?;
    if before.iter().any(|own| !own.is_there()) {
        eprintln!(
            "warning: there is no ledger at store.url yet; assuming that the exporter starts counting now"
        );
    }
    let output = Output::create(&wanted.output)
        .map_err(|error| format!("--output {}: {error}", wanted.output.display()))?;
    let progress = Bar::recalling();
    let recalls = config
        .accounts
        .iter()
        .zip(&before)
        .map(|(account, before)| {
            let history = History::new(account, config, &wanted.labels, wanted.from, to);
            Recall {
                account,
                before,
                clock: &clock,
                progress: &progress,
                from: wanted.from,
                to,
                history,
                updates: Vec::new(),
                problems: BTreeMap::new(),
            }
            .run()
        });
    let (mut histories, mut problems) = (Vec::new(), Vec::new());
    for recalled in futures_util::future::join_all(recalls).await {
        let (history, own) = recalled?;
        histories.push(history);
        problems.extend(own);
    }
    drop(progress);
    let (series, samples) = output
        .write(&histories)
        .map_err(|error| format!("--output {}: {error}", wanted.output.display()))?;
    println!(
        "wrote {series} series with {samples} samples to {}; now run (Prometheus may keep running): promtool tsdb create-blocks-from openmetrics {} DATA-DIRECTORY",
        wanted.output.display(),
        wanted.output.display()
    );
    Ok(problems)
}

fn is_taken(config: &Config, name: &str) -> bool {
    let added = config.label_names.iter().any(|own| **own == *name);
    added || (!matches!(name, "job" | "instance") && config::is_own_label(name))
}

/// The output file, which appears complete or not at all.
struct Output<'a> {
    path: &'a Path,
    unfinished: PathBuf,
    file: File,
}

impl<'a> Output<'a> {
    fn create(path: &'a Path) -> io::Result<Output<'a>> {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let unfinished = with_suffix(path, ".part");
        let file = File::create(&unfinished)?;
        Ok(Output {
            path,
            unfinished,
            file,
        })
    }

    /// Writes the file, and returns the numbers of series and samples.
    fn write(&self, histories: &[History]) -> io::Result<(usize, usize)> {
        let mut output = BufWriter::new(&self.file);
        let sizes = exposition::write_history(histories, &mut output)?;
        output.flush()?;
        self.file.sync_all()?;
        fs::rename(&self.unfinished, self.path)?;
        Ok(sizes)
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        // By now the file was either renamed or is not wanted.
        let _ = fs::remove_file(&self.unfinished);
    }
}

fn query<'a>(
    dataset: Dataset,
    application: &'a Application,
    message: Option<&'a Message>,
    (from, to): (Timestamp, Timestamp),
) -> HistoryQuery<'a> {
    HistoryQuery {
        dataset,
        application,
        message,
        from,
        to,
        patience: PATIENCE,
    }
}

/// Fetches the history of one account.
struct Recall<'a> {
    account: &'a Account,
    before: &'a PreBaseline,
    clock: &'a Clock,
    progress: &'a Bar,
    from: Timestamp,
    to: Timestamp,
    history: History,
    /// The messages from the configuration's sources, if a data set is fetched message by message.
    updates: Vec<Update>,
    /// Failures by data set, application and text, with their number.
    problems: BTreeMap<(Dataset, Arc<str>, String), usize>,
}

impl Recall<'_> {
    async fn run(mut self) -> Result<(History, Vec<String>), String> {
        let provider = providers::build(self.account, self.clock.clone(), Arc::new(NoopObserver));
        let provider = provider.map_err(|error| error.to_string())?;
        let plans = self.account.collect.iter();
        if plans
            .clone()
            .any(|own| own.history == Some(HistoryMethod::Message))
        {
            self.updates = Sources::once(self.account).await;
        }
        for dataset in plans {
            let Some(method) = dataset.history else {
                continue;
            };
            for application in &self.account.applications {
                match method {
                    HistoryMethod::Message => {
                        self.messages(provider.as_ref(), *dataset, application)
                            .await;
                    }
                    HistoryMethod::Whole { reach } => {
                        self.whole(provider.as_ref(), *dataset, application, reach)
                            .await;
                    }
                }
            }
        }
        let name = &self.account.name;
        let problems = self
            .problems
            .iter()
            .map(|((dataset, application, text), count)| {
                let dataset = dataset.as_str();
                match count {
                    1 => format!("{name}, {dataset} of {application}: {text}"),
                    count => format!("{name}, {dataset} of {application}: {text} ({count} times)"),
                }
            });
        let problems = problems.collect();
        Ok((self.history, problems))
    }

    fn failed(&mut self, dataset: Dataset, application: &Application, failure: &Failure) {
        self.problem(dataset, application, failure.to_string());
    }

    fn problem(&mut self, dataset: Dataset, application: &Application, text: String) {
        let key = (dataset, application.name.clone(), text);
        *self.problems.entry(key).or_default() += 1;
    }

    fn count(&mut self, dataset: Dataset, application: &Application, increases: Vec<Increase>) {
        let birth = self.before.birth(application, dataset);
        for own in increases {
            self.history.grown(&own, birth);
        }
    }

    /// Fetches a data set with one query.
    async fn whole(
        &mut self,
        provider: &dyn Provider,
        dataset: Dataset,
        application: &Application,
        reach: Duration,
    ) {
        let birth = self.before.birth(application, dataset);
        let span = (self.from, self.to.min(birth));
        let query = query(dataset, application, None, span);
        if query.from >= query.to {
            return;
        }
        self.progress.planned(1);
        let answer = provider.history(query).await;
        self.progress.answered(1);
        if let Err(failure) = answer.result {
            self.failed(dataset, application, &failure);
        }
        let (mut days, mut seen) = (Vec::new(), HashSet::new());
        for record in answer.observations {
            match record {
                HistoryRecord::Increase(day) => days.push(day),
                HistoryRecord::Events(events) => {
                    let before = self.before;
                    let increases =
                        before.of_happenings(application, dataset, &events, reach, &mut seen);
                    self.count(dataset, application, increases);
                }
                HistoryRecord::Newest { from, to, figures } => {
                    let to = to.min(birth);
                    self.history.newest(application, &figures, from, to);
                }
            }
        }
        if days.is_empty() {
            return;
        }
        // The days cover all messages, so only the time separates them from what the counters contain.
        if !self.account.messages.list {
            self.problem(
                dataset,
                application,
                "the daily totals cover all messages, but without messages.list the counters do not"
                    .into(),
            );
            return;
        }
        let fixed = self.account.messages.fixed.iter();
        let fixed = fixed
            .filter(|entry| entry.sent_at.is_none())
            .map(|entry| &entry.id);
        let undated = self.before.undated(application).map(|message| &message.id);
        if let Some(id) = fixed.chain(undated).next() {
            self.problem(dataset, application, format!("message {id} has no sent_at and is counted completely; the daily totals, which include it, are left out"));
            return;
        }
        let increases = self.before.of_application(application, dataset, days);
        self.count(dataset, application, increases);
    }

    /// Fetches a data set message by message.
    async fn messages(
        &mut self,
        provider: &dyn Provider,
        dataset: Dataset,
        application: &Application,
    ) {
        let birth = self.before.birth(application, dataset);
        if self.from >= birth {
            return;
        }
        let mut messages = self.known(provider, dataset, application).await;
        let (oldest, to) = (later(self.from, -GROWS), self.to);
        messages.retain(|message| {
            message.sent_at.is_none_or(|at| (oldest..to).contains(&at))
                && self.before.has_history(application, dataset, message)
        });
        self.progress.planned(messages.len());
        let asked = messages.iter().map(|message| {
            let query = query(dataset, application, Some(message), (self.from, to));
            async move {
                let answer = provider.history(query).await;
                let hours = answer
                    .observations
                    .into_iter()
                    .filter_map(|record| match record {
                        HistoryRecord::Increase(hour) => Some(hour),
                        _ => None,
                    });
                let hours: Vec<_> = hours.collect();
                answer.result.map(|()| (message, hours))
            }
        });
        // In a fixed order, so that each run keeps the same names.
        let asked: Vec<_> = asked.collect();
        let mut answers = futures_util::stream::iter(asked).buffered(self.account.max_concurrency);
        let mut failures = 0;
        while let Some(answer) = answers.next().await {
            self.progress.answered(1);
            match answer {
                Ok((message, hours)) => {
                    failures = 0;
                    let before = self.before;
                    let increases = before.of_message(application, dataset, message, hours);
                    self.count(dataset, application, increases);
                }
                Err(failure) => {
                    self.failed(dataset, application, &failure);
                    failures += 1;
                    if failures >= ENOUGH || failure.scope == Scope::Account {
                        let text = "the remaining messages were skipped";
                        self.problem(dataset, application, text.into());
                        return;
                    }
                }
            }
        }
    }

    /// Collects the messages known to the ledger, the configuration's sources and the vendor.
    async fn known(
        &mut self,
        provider: &dyn Provider,
        dataset: Dataset,
        application: &Application,
    ) -> Vec<Message> {
        let mut known = Known::default();
        let messages = self.before.messages().iter();
        messages
            .filter(|message| message.application == application.id)
            .for_each(|message| known.add(message.clone()));
        if self.account.messages.list {
            let query = ListQuery {
                dataset,
                application,
                oldest: later(self.from, -GROWS),
                since: later(self.from, -GROWS),
                max_messages: usize::MAX,
                with_numbers: false,
                patience: LIST_PATIENCE,
            };
            let answer = provider.list(query).await;
            for observation in answer.observations {
                if let Observation::ListedMessage(message) = observation {
                    known.add(message);
                }
            }
            if let Err(failure) = answer.result {
                self.failed(dataset, application, &failure);
            }
        }
        let problems = self.updates.iter().filter_map(|own| own.problem.clone());
        for problem in problems.collect::<Vec<_>>() {
            self.problem(dataset, application, problem);
        }
        // A message that only the configuration's sources name may have another id at the vendor, which also
        // knows when it was sent.
        let (others, more): (Vec<_>, Vec<_>) = self
            .named(application)
            .into_iter()
            .partition(|message| known.0.contains_key(&message.id));
        others.into_iter().for_each(|message| known.add(message));
        let batch = match dataset.method {
            QueryMethod::Messages { batch } => batch,
            QueryMethod::Whole | QueryMethod::Drain => 1,
        };
        for messages in more.chunks(batch) {
            let query = MessagesQuery {
                dataset,
                application,
                messages,
                patience: LIST_PATIENCE,
            };
            let answer = provider.messages(query).await;
            for observation in answer.observations {
                if let Observation::MessageSnapshot(snapshot) = observation
                    && let Some(own) = messages.iter().find(|own| own.id == snapshot.asked)
                {
                    known.add(Message {
                        id: snapshot.id.clone(),
                        sent_at: own.sent_at.or(snapshot.sent_at),
                        ..own.clone()
                    });
                }
            }
            if let Err(failure) = answer.result {
                self.failed(dataset, application, &failure);
            }
        }
        known.0.into_values().collect()
    }

    /// The messages of an application from the configuration's sources; those whose campaign takes precedence
    /// come first.
    fn named(&self, application: &Application) -> Vec<Message> {
        let entries = self.updates.iter().flat_map(|update| &update.entries);
        let own = |entry: &&MessageEntry| {
            let of = self.account.applications.get(entry.application);
            of.is_some_and(|of| of.id == application.id)
        };
        let named = entries.chain(&self.account.messages.fixed).filter(own);
        let named = named.map(|entry| Message {
            application: application.id.clone(),
            id: entry.id.clone(),
            campaign: entry.campaign.clone(),
            sent_at: entry.sent_at,
        });
        named.collect()
    }
}

/// Messages by id, merged from several sources.
#[derive(Default)]
struct Known(BTreeMap<Arc<str>, Message>);

impl Known {
    fn add(&mut self, message: Message) {
        let own = self.0.entry(message.id.clone());
        let own = own.or_insert_with(|| message.clone());
        own.campaign = own.campaign.take().or(message.campaign);
        own.sent_at = own.sent_at.or(message.sent_at);
    }
}
