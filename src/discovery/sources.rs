//! Lists of messages outside the configuration: files that are watched for changes, and HTTP lists that are
//! polled. If a list cannot be read, the previous one stays in force.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use delivery_clock::Clock;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    config::{self, Account, ConfigErrors, HttpList, MessageEntry, Problem},
    files,
    model::{Application, Source},
    redact::shown_lines,
    tls,
};

/// How often files are checked for changes.
const LOOK: Duration = Duration::from_secs(2);
/// The maximum size of a list, in bytes.
const MAX_BYTES: usize = 64 << 20;
/// The number of lists that can be queued.
const WAITING: usize = 16;

/// A source was read.
#[derive(Debug)]
pub struct Update {
    /// Which.
    pub source: Source,
    /// The entries that could be read.
    pub entries: Vec<MessageEntry>,
    /// What could not be read, with the reason.
    pub problem: Option<String>,
    /// Whether it was read for the first time, so that the send times of its messages are unknown.
    pub first: bool,
}

/// The sources of an account. They stop when this is dropped.
pub struct Sources {
    updates: mpsc::Receiver<Update>,
    /// Kept so that an account without sources waits forever.
    _sender: mpsc::Sender<Update>,
    _tasks: JoinSet<()>,
}

impl Sources {
    /// Reads the account's files and HTTP lists from now on.
    pub fn start(account: &Account, clock: &Clock) -> Sources {
        let (sender, updates) = mpsc::channel(WAITING);
        let mut tasks = JoinSet::new();
        let applications: Arc<[Application]> = account.applications.as_slice().into();
        if !account.messages.files.is_empty() {
            let files = Files::new(account.messages.files.clone(), applications.clone());
            tasks.spawn(watch(files, clock.clone(), sender.clone()));
        }
        for list in &account.messages.http {
            let list = Http::new(list, account.timeout, applications.clone());
            tasks.spawn(refresh(list, clock.clone(), sender.clone()));
        }
        Sources {
            updates,
            _sender: sender,
            _tasks: tasks,
        }
    }

    /// Waits for the next list.
    pub async fn next(&mut self) -> Update {
        match self.updates.recv().await {
            Some(update) => update,
            // Cannot happen, because this value holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Reads each source once, immediately.
    pub async fn once(account: &Account) -> Vec<Update> {
        let applications: Arc<[Application]> = account.applications.as_slice().into();
        let mut updates = Vec::new();
        if !account.messages.files.is_empty() {
            let mut files = Files::new(account.messages.files.clone(), applications.clone());
            updates.extend(files.read(true));
        }
        for list in &account.messages.http {
            let mut list = Http::new(list, account.timeout, applications.clone());
            updates.push(list.read().await);
        }
        updates
    }
}

/// What is in the files that an account names, and what is wrong with them, without watching them.
pub fn check(account: &Account) -> (Vec<MessageEntry>, Vec<Problem>) {
    let applications: Arc<[Application]> = account.applications.as_slice().into();
    let files = Files::new(account.messages.files.clone(), applications);
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for path in files.paths() {
        match read_file(&path, &files.applications) {
            Ok(more) => entries.extend(more),
            Err(errors) => problems.extend(errors.0),
        }
    }
    (entries, problems)
}

/// The files of an account.
struct Files {
    patterns: Vec<PathBuf>,
    applications: Arc<[Application]>,
    seen: BTreeMap<PathBuf, FileState>,
    first: bool,
    /// The last reading failed.
    failing: bool,
}

/// The state of a file at the last check.
#[derive(Clone, PartialEq)]
struct FileState {
    /// The target of a symbolic link, because Kubernetes replaces a link to change files.
    target: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
    /// Whether it was read in this state.
    read: bool,
}

impl Files {
    fn new(patterns: Vec<PathBuf>, applications: Arc<[Application]>) -> Files {
        Files {
            patterns,
            applications,
            seen: BTreeMap::new(),
            first: true,
            failing: false,
        }
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self
            .patterns
            .iter()
            .filter_map(|pattern| glob::glob(&pattern.to_string_lossy()).ok())
            .flatten()
            .flatten()
            .filter(|path| path.is_file())
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Reads the files that have changed and are stable since the last check, or with `now` all files. `None`
    /// if there is nothing new.
    fn read(&mut self, now: bool) -> Option<Update> {
        let mut changed = self.first;
        let (mut entries, mut problems) = (Vec::new(), Vec::new());
        let mut seen = BTreeMap::new();
        for path in self.paths() {
            let Ok(metadata) = fs::metadata(&path) else {
                // It has just been replaced; the next check finds the new file.
                continue;
            };
            let state = FileState {
                target: fs::canonicalize(&path).unwrap_or_else(|_| path.clone()),
                modified: metadata.modified().ok(),
                length: metadata.len(),
                read: false,
            };
            let before = self.seen.get(&path);
            let same = |own: &FileState| {
                (&own.target, own.modified, own.length)
                    == (&state.target, state.modified, state.length)
            };
            let still = before.is_some_and(same);
            let read = before.is_some_and(|own| own.read && same(own));
            if read && !self.failing {
                seen.insert(path, FileState { read, ..state });
                continue;
            }
            // A file that is being written is skipped until it is stable.
            if !still && !now {
                seen.insert(path, state);
                continue;
            }
            changed = true;
            match read_file(&path, &self.applications) {
                Ok(more) => entries.extend(more),
                Err(problem) => problems.push(problem.to_string()),
            }
            seen.insert(
                path,
                FileState {
                    read: true,
                    ..state
                },
            );
        }
        self.seen = seen;
        if !changed {
            return None;
        }
        self.failing = !problems.is_empty();
        let first = self.first;
        // Until a load has succeeded, new messages cannot be distinguished.
        self.first &= self.failing;
        Some(Update {
            source: Source::File,
            entries,
            problem: self.failing.then(|| problems.join("\n")),
            first,
        })
    }
}

fn read_file(path: &Path, applications: &[Application]) -> Result<Vec<MessageEntry>, ConfigErrors> {
    let text = files::read_text(path, MAX_BYTES as u64)
        .map_err(|error| config::unreadable(path, &error.to_string(), ""))?;
    config::message_list(path, &text, applications)
}

async fn watch(mut files: Files, clock: Clock, updates: mpsc::Sender<Update>) {
    let mut now = true;
    loop {
        let looked = tokio::task::spawn_blocking(move || {
            let update = files.read(now);
            (files, update)
        });
        let Ok((own, update)) = looked.await else {
            return;
        };
        (files, now) = (own, false);
        if let Some(update) = update
            && updates.send(update).await.is_err()
        {
            return;
        }
        clock.sleep(LOOK).await;
    }
}

/// An HTTP list.
struct Http {
    list: HttpList,
    client: Result<reqwest::Client, String>,
    applications: Arc<[Application]>,
    first: bool,
}

impl Http {
    fn new(list: &HttpList, timeout: Duration, applications: Arc<[Application]>) -> Http {
        tls::choose_cryptography();
        let client = reqwest::Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string());
        Http {
            list: list.clone(),
            client,
            applications,
            first: true,
        }
    }

    async fn read(&mut self) -> Update {
        let first = self.first;
        let (entries, problem) = match self.ask().await {
            Ok(entries) => (entries, None),
            // The parser's error quotes the list's contents, which are untrusted.
            Err(problem) => (Vec::new(), Some(shown_lines(&problem))),
        };
        self.first &= problem.is_some();
        Update {
            source: Source::Http,
            entries,
            problem,
            first,
        }
    }

    async fn ask(&self) -> Result<Vec<MessageEntry>, String> {
        let client = self.client.as_ref().map_err(Clone::clone)?;
        // Without user, password and query, which can be secrets.
        let mut place = self.list.url.clone();
        let _ = place.set_username("");
        let _ = place.set_password(None);
        place.set_query(None);
        let said = |error: reqwest::Error| format!("{place}: {}", error.without_url());
        let mut answer = client
            .get(self.list.url.clone())
            .header(reqwest::header::ACCEPT, "application/json")
            .send()
            .await
            .map_err(said)?;
        if !answer.status().is_success() {
            return Err(format!("{place}: status {}", answer.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(said)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!(
                    "{place}: the list is larger than {} MiB",
                    MAX_BYTES >> 20
                ));
            }
            body.extend_from_slice(&chunk);
        }
        let text = String::from_utf8(body)
            .map_err(|_| format!("{place}: the list is not text in UTF-8"))?;
        // YAML accepts more than JSON, but an error page must not become a message.
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map_err(|error| format!("{place}: the list is not valid JSON: {error}"))?;
        let applications = self.applications.clone();
        let name = PathBuf::from(place.as_str());
        let parsed = tokio::task::spawn_blocking(move || {
            config::message_list(&name, &text, &applications).map_err(|errors| errors.to_string())
        });
        parsed.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

async fn refresh(mut list: Http, clock: Clock, updates: mpsc::Sender<Update>) {
    loop {
        if updates.send(list.read().await).await.is_err() {
            return;
        }
        clock.sleep(list.list.refresh_interval).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(directory: &Path) -> Files {
        let application = Application {
            id: Arc::from("app"),
            name: Arc::from("app"),
        };
        Files::new(vec![directory.join("*.yaml")], [application].into())
    }

    fn ids(update: Option<Update>) -> Option<Vec<String>> {
        let update = update?;
        assert_eq!(update.problem, None);
        Some(
            update
                .entries
                .iter()
                .map(|own| own.id.to_string())
                .collect(),
        )
    }

    #[test]
    fn files_are_taken_when_they_stand_still_however_they_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.yaml");
        let mut own = files(directory.path());
        assert_eq!(
            ids(own.read(true)),
            Some(Vec::new()),
            "no file is an empty list"
        );
        fs::write(&path, "- \"1\"\n").unwrap();
        assert!(own.read(false).is_none(), "it may still be written");
        let update = own.read(false).unwrap();
        assert!(!update.first);
        assert_eq!(ids(Some(update)), Some(vec!["1".into()]));
        assert!(own.read(false).is_none(), "nothing is new");
        // Replaced as a whole.
        fs::write(directory.path().join("next"), "- \"1\"\n- {id: \"22\"}\n").unwrap();
        fs::rename(directory.path().join("next"), &path).unwrap();
        own.read(false);
        assert_eq!(ids(own.read(false)), Some(vec!["1".into(), "22".into()]));
        // Half-written: the list before is kept, and it is tried again.
        fs::write(&path, "- \"1\"\n- {id: \"22\n").unwrap();
        own.read(false);
        let broken = own.read(false).unwrap().problem.unwrap();
        assert!(broken.contains("a.yaml:"), "{broken}");
        fs::write(&path, "- \"333\"\n").unwrap();
        own.read(false);
        assert_eq!(ids(own.read(false)), Some(vec!["333".into()]));
    }

    #[test]
    fn a_swapped_symbolic_link_is_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let (mounted, one, two) = ("messages.yaml", "..one", "..two");
        for (name, text) in [(one, "- \"1\"\n"), (two, "- \"2\"\n")] {
            fs::create_dir(directory.path().join(name)).unwrap();
            fs::write(directory.path().join(name).join(mounted), text).unwrap();
        }
        let data = directory.path().join("..data");
        std::os::unix::fs::symlink(one, &data).unwrap();
        std::os::unix::fs::symlink(
            Path::new("..data").join(mounted),
            directory.path().join(mounted),
        )
        .unwrap();
        let mut own = files(directory.path());
        assert_eq!(ids(own.read(true)), Some(vec!["1".into()]));
        std::os::unix::fs::symlink(two, directory.path().join("..tmp")).unwrap();
        fs::rename(directory.path().join("..tmp"), &data).unwrap();
        own.read(false);
        assert_eq!(ids(own.read(false)), Some(vec!["2".into()]));
    }
}
