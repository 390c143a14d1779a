//! The spool: bodies that a vendor hands out once, durable before anything in them is read.
//!
//! One directory per account, one file per body, numbered in the order of their arrival. The rest
//! of a body that cannot be read lies below `quarantine/`, under the body's name. Of bodies that hold
//! no report (an error, a page) one of each kind lies there, and of equal bodies one.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use rustix::fs::FallocateFlags;
use tokio::sync::watch;

use crate::{
    blocking,
    files::{create_private_directory, private, sync_directory},
    providers::{Spool, SpoolError, SpoolWriter, SpooledBody},
};

/// The end of a body's name.
const BODY: &str = "body";
const QUARANTINE: &str = "quarantine";
/// The beginning of a sample's name; its kind follows.
const SAMPLE: &str = "sample-";
/// So many bytes are reserved for a body before it is asked for.
const RESERVED: u64 = 8 << 20;

/// The spool of one account.
pub(super) struct AccountSpool {
    /// Nothing more shall be asked for.
    closed: watch::Sender<bool>,
    directory: PathBuf,
    next: AtomicU64,
    notes: Arc<dyn super::StoreObserver>,
}

/// What happened to a file, in words that name it.
fn at(path: &Path) -> impl Fn(io::Error) -> SpoolError + '_ {
    move |error| SpoolError(super::disk(path, &error))
}

impl AccountSpool {
    /// Opens the account's directory below `root`, and goes on after its last body.
    pub(super) fn open(
        root: &Path,
        account: &str,
        notes: Arc<dyn super::StoreObserver>,
    ) -> Result<AccountSpool, SpoolError> {
        let directory = root.join(account);
        let quarantine = directory.join(QUARANTINE);
        create_private_directory(&quarantine).map_err(at(&quarantine))?;
        for path in [root, &directory] {
            sync_directory(path).map_err(at(path))?;
        }
        let spool = AccountSpool {
            closed: watch::Sender::new(false),
            directory,
            next: AtomicU64::new(0),
            notes,
        };
        let last = spool.numbers()?.last().copied().unwrap_or(0);
        // A quarantined rest keeps its body's number taken.
        let quarantined = numbers_in(&quarantine)?.last().copied().unwrap_or(0);
        spool
            .next
            .store(last.max(quarantined).saturating_add(1), Ordering::Relaxed);
        Ok(spool)
    }

    /// Says whether anything more shall be asked for.
    pub(super) fn close(&self, closed: bool) {
        self.closed.send_replace(closed);
    }

    fn numbers(&self) -> Result<Vec<u64>, SpoolError> {
        numbers_in(&self.directory)
    }

    fn path(&self, body: &SpooledBody) -> PathBuf {
        self.directory.join(body.0.as_ref())
    }

    fn quarantine_path(&self, body: &SpooledBody) -> PathBuf {
        self.directory.join(QUARANTINE).join(body.0.as_ref())
    }

    /// Every body, in the order of arrival. One without a byte is removed: the process ended
    /// before anything arrived.
    pub(super) fn bodies(&self) -> Result<Vec<SpooledBody>, SpoolError> {
        let mut bodies = Vec::new();
        for number in self.numbers()? {
            let body = SpooledBody(file_name(number).into());
            let path = self.path(&body);
            if fs::metadata(&path).map_err(at(&path))?.len() == 0 {
                fs::remove_file(&path).map_err(at(&path))?;
            } else {
                bodies.push(body);
            }
        }
        Ok(bodies)
    }

    /// A body's bytes.
    pub(super) fn read(&self, body: &SpooledBody) -> Result<Vec<u8>, SpoolError> {
        let path = self.path(body);
        fs::read(&path).map_err(at(&path))
    }

    /// Removes a body that holds nothing.
    pub(super) fn remove(&self, body: &SpooledBody) -> Result<(), SpoolError> {
        let path = self.path(body);
        fs::remove_file(&path).map_err(at(&path))
    }

    /// Sets the rest of a body aside, durably. `false`: it was set aside before, or the same bytes
    /// lie there already. A vendor that answers the same thing every minute fills no disk.
    pub(super) fn quarantine(&self, body: &SpooledBody, rest: &[u8]) -> Result<bool, SpoolError> {
        if self.quarantine_path(body).exists() || self.is_kept(rest)? {
            return Ok(false);
        }
        self.set_aside(body, rest)?;
        Ok(true)
    }

    /// Whether the same bytes lie in quarantine. Only files of the same length are read.
    fn is_kept(&self, rest: &[u8]) -> Result<bool, SpoolError> {
        for body in self.quarantined()? {
            let path = self.quarantine_path(&body);
            let is_as_long = |own: fs::Metadata| own.len() == rest.len() as u64;
            // One that cannot be read, or was removed meanwhile, is no reason to keep nothing.
            if fs::metadata(&path).is_ok_and(is_as_long)
                && fs::read(&path).is_ok_and(|own| own == rest)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps one copy of the bodies of a kind that hold no report, to be looked at. `false`: there
    /// is one.
    pub(super) fn keep_sample(&self, kind: &str, body: &[u8]) -> Result<bool, SpoolError> {
        self.quarantine(&SpooledBody(format!("{SAMPLE}{kind}.{BODY}").into()), body)
    }

    /// The bodies of which something lies in quarantine, in the order of arrival, and the samples.
    pub(super) fn quarantined(&self) -> Result<Vec<SpooledBody>, SpoolError> {
        let directory = self.directory.join(QUARANTINE);
        let numbers = numbers_in(&directory)?;
        let named = numbers
            .into_iter()
            .map(|own| SpooledBody(file_name(own).into()));
        let mut samples = Vec::new();
        for entry in fs::read_dir(&directory).map_err(at(&directory))? {
            let entry = entry.map_err(at(&directory))?;
            if let Some(name) = entry.file_name().to_str().filter(|name| is_sample(name)) {
                samples.push(SpooledBody(name.into()));
            }
        }
        samples.sort();
        Ok(named.chain(samples).collect())
    }

    /// What of a body lies in quarantine.
    pub(super) fn read_quarantined(&self, body: &SpooledBody) -> Result<Vec<u8>, SpoolError> {
        let path = self.quarantine_path(body);
        fs::read(&path).map_err(at(&path))
    }

    /// Nothing of a body needs to lie in quarantine any more.
    pub(super) fn redeem(&self, body: &SpooledBody) -> Result<(), SpoolError> {
        let path = self.quarantine_path(body);
        fs::remove_file(&path).map_err(at(&path))
    }

    /// Lets `rest` be what of a body lies in quarantine, durably.
    pub(super) fn set_aside(&self, body: &SpooledBody, rest: &[u8]) -> Result<(), SpoolError> {
        let path = self.quarantine_path(body);
        let unfinished = path.with_extension("part");
        let mut file = private()
            .create(true)
            .truncate(true)
            .open(&unfinished)
            .map_err(at(&unfinished))?;
        file.write_all(rest).map_err(at(&unfinished))?;
        file.sync_all().map_err(at(&unfinished))?;
        fs::rename(&unfinished, &path).map_err(at(&path))?;
        sync_directory(&self.directory.join(QUARANTINE)).map_err(at(&path))
    }

    /// Bytes of all bodies, quarantined rests included, and how many of the latter there are.
    pub(super) fn size(&self) -> (u64, u64) {
        let files = |directory: &Path| {
            fs::read_dir(directory)
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(|entry| {
                    let metadata = entry.metadata().ok()?;
                    let name = entry.file_name();
                    let is_body =
                        number_of(&name).is_some() || name.to_str().is_some_and(is_sample);
                    metadata.is_file().then_some((metadata.len(), is_body))
                })
                .collect::<Vec<_>>()
        };
        let quarantined = files(&self.directory.join(QUARANTINE));
        let all = files(&self.directory);
        let bytes = all.iter().chain(&quarantined).map(|(bytes, _)| bytes);
        // One that is being written is no body yet.
        let bodies = quarantined.iter().filter(|(_, is_body)| *is_body);
        (bytes.sum(), bodies.count() as u64)
    }
}

fn file_name(number: u64) -> String {
    format!("{number:020}.{BODY}")
}

/// The number in a body's name; `None`: it is another's name.
fn number_of(name: &OsStr) -> Option<u64> {
    let name = name.to_str()?;
    let number = name.strip_suffix(BODY)?.strip_suffix('.')?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Whether it is the name of a sample.
fn is_sample(name: &str) -> bool {
    name.starts_with(SAMPLE) && name.ends_with(&format!(".{BODY}"))
}

/// The numbers of the bodies in a directory, in order.
fn numbers_in(directory: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        let number = number_of(&entry.file_name());
        // Anything else is none of ours.
        if let Some(number) = number
            && entry.file_type().is_ok_and(|kind| kind.is_file())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes room on the disk before anything is asked for: an answer of a thousand reports is a
/// megabyte or a few. Where the file system cannot, a full disk shows itself while the body arrives.
fn reserve(file: &File) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, RESERVED) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, SpoolError> {
    blocking::on_disk(work)
        .await
        .unwrap_or_else(|error| Err(SpoolError(error.to_string())))
}

impl Spool for AccountSpool {
    fn closed(&self) -> BoxFuture<'_, ()> {
        async move {
            let mut closed = self.closed.subscribe();
            // The sender is this spool's own: it outlives the wait.
            let _ = closed.wait_for(|closed| *closed).await;
        }
        .boxed()
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>> {
        async move {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let body = SpooledBody(file_name(number).into());
            let (path, directory) = (self.path(&body), self.directory.clone());
            let notes = self.notes.clone();
            let opened = on_disk(move || {
                let file = private().create_new(true).open(&path).map_err(at(&path))?;
                if let Err(error) = reserve(&file) {
                    // Nothing is in it.
                    let _ = fs::remove_file(&path);
                    return Err(at(&path)(error));
                }
                sync_directory(&directory).map_err(at(&directory))?;
                Ok((file, path))
            })
            .await;
            notes.up(super::Volume::Spool, opened.is_ok());
            if opened.is_err() {
                notes.error();
            }
            let (file, path) = opened?;
            let writer = Writer {
                file: Arc::new(file),
                path,
                body,
                notes,
            };
            Ok(Box::new(writer) as Box<dyn SpoolWriter>)
        }
        .boxed()
    }
}

/// A body that is being written.
struct Writer {
    file: Arc<File>,
    path: PathBuf,
    body: SpooledBody,
    notes: Arc<dyn super::StoreObserver>,
}

impl Writer {
    async fn work(
        &self,
        work: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
    ) -> Result<(), SpoolError> {
        let (file, path) = (self.file.clone(), self.path.clone());
        let done = on_disk(move || work(&file).map_err(at(&path))).await;
        if done.is_err() {
            self.notes.up(super::Volume::Spool, false);
            self.notes.error();
        }
        done
    }
}

impl SpoolWriter for Writer {
    fn write<'a>(&'a mut self, chunk: &'a [u8]) -> BoxFuture<'a, Result<(), SpoolError>> {
        let chunk = chunk.to_vec();
        self.work(move |mut file| file.write_all(&chunk)).boxed()
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<SpooledBody, SpoolError>> {
        async move {
            self.work(|file| {
                // What was reserved and not used is given back.
                file.set_len(file.metadata()?.len())?;
                file.sync_data()
            })
            .await?;
            Ok(self.body)
        }
        .boxed()
    }

    fn discard(self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            // What stays behind is an empty file, or an error's text that will be quarantined.
            let _ = on_disk(move || fs::remove_file(&self.path).map_err(at(&self.path))).await;
        }
        .boxed()
    }
}
