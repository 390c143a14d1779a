//! The spool: bodies that a vendor delivers only once, which are durable before they are parsed.
//!
//! There is one directory per account and one file per body, numbered in the order of arrival. The part of a
//! body that cannot be parsed is kept below `quarantine/`, under the body's name. Of bodies without a report
//! (an error, a web page), one sample of each kind is kept there, and of identical bodies one.

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

use crate::{
    blocking,
    files::{create_private_directory, private, sync_directory},
    providers::{SpoolError, SpoolWriter, SpooledBody},
};

/// The extension of a body's file name.
const BODY: &str = "body";
const QUARANTINE: &str = "quarantine";
/// The prefix of a sample's file name, followed by its kind.
const SAMPLE: &str = "sample-";
/// The number of bytes to reserve on disk before a body is requested.
const RESERVED: u64 = 8 << 20;

/// The spool of one account.
pub(super) struct AccountSpool {
    directory: PathBuf,
    next: AtomicU64,
    notes: Arc<dyn super::StoreObserver>,
}

/// Adds the path to an I/O error.
fn at(path: &Path) -> impl Fn(io::Error) -> SpoolError + '_ {
    move |error| SpoolError(super::disk(path, &error))
}

impl AccountSpool {
    /// Opens the account's directory below `root`, and continues numbering after its last body.
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
            directory,
            next: AtomicU64::new(0),
            notes,
        };
        let last = spool.numbers()?.last().copied().unwrap_or(0);
        // The number of a quarantined body stays in use.
        let quarantined = numbers_in(&quarantine)?.last().copied().unwrap_or(0);
        spool
            .next
            .store(last.max(quarantined).saturating_add(1), Ordering::Relaxed);
        Ok(spool)
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

    /// All bodies, in the order of arrival. Empty ones are removed: the process ended before anything
    /// arrived.
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

    /// Removes a body that contains nothing.
    pub(super) fn remove(&self, body: &SpooledBody) -> Result<(), SpoolError> {
        let path = self.path(body);
        fs::remove_file(&path).map_err(at(&path))
    }

    /// Quarantines the rest of a body, durably. Returns `false` if it was already quarantined, or if the same
    /// bytes already are, so that a vendor that gives the same answer every minute does not fill the disk.
    pub(super) fn quarantine(&self, body: &SpooledBody, rest: &[u8]) -> Result<bool, SpoolError> {
        if self.quarantine_path(body).exists() || self.is_kept(rest)? {
            return Ok(false);
        }
        self.set_aside(body, rest)?;
        Ok(true)
    }

    /// Whether the same bytes are already in quarantine. Reads only files of the same length.
    fn is_kept(&self, rest: &[u8]) -> Result<bool, SpoolError> {
        for body in self.quarantined()? {
            let path = self.quarantine_path(&body);
            let is_as_long = |own: fs::Metadata| own.len() == rest.len() as u64;
            // A file that cannot be read, or was removed in the meantime, counts as different.
            if fs::metadata(&path).is_ok_and(is_as_long)
                && fs::read(&path).is_ok_and(|own| own == rest)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Keeps one sample of the bodies of a kind that contain no report, for inspection. Returns `false` if
    /// there already is one.
    pub(super) fn keep_sample(&self, kind: &str, body: &[u8]) -> Result<bool, SpoolError> {
        self.quarantine(&SpooledBody(format!("{SAMPLE}{kind}.{BODY}").into()), body)
    }

    /// The bodies of which a part is in quarantine, in the order of arrival, and the samples.
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

    /// Reads the quarantined part of a body.
    pub(super) fn read_quarantined(&self, body: &SpooledBody) -> Result<Vec<u8>, SpoolError> {
        let path = self.quarantine_path(body);
        fs::read(&path).map_err(at(&path))
    }

    /// Removes a body from quarantine.
    pub(super) fn redeem(&self, body: &SpooledBody) -> Result<(), SpoolError> {
        let path = self.quarantine_path(body);
        fs::remove_file(&path).map_err(at(&path))
    }

    /// Replaces the quarantined part of a body by `rest`, durably.
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

    /// The size of all bodies, including quarantined ones, in bytes, and the number of quarantined ones.
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
        // A file that is still being written does not count as a body.
        let bodies = quarantined.iter().filter(|(_, is_body)| *is_body);
        (bytes.sum(), bodies.count() as u64)
    }
}

fn file_name(number: u64) -> String {
    format!("{number:020}.{BODY}")
}

/// The number in a body's file name; `None` for other files.
fn number_of(name: &OsStr) -> Option<u64> {
    let name = name.to_str()?;
    let number = name.strip_suffix(BODY)?.strip_suffix('.')?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Whether a file name is that of a sample.
fn is_sample(name: &str) -> bool {
    name.starts_with(SAMPLE) && name.ends_with(&format!(".{BODY}"))
}

/// The numbers of the bodies in a directory, in order.
fn numbers_in(directory: &Path) -> Result<Vec<u64>, SpoolError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        let number = number_of(&entry.file_name());
        // Other files do not belong to the exporter.
        if let Some(number) = number
            && entry.file_type().is_ok_and(|kind| kind.is_file())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reserves disk space before a body is requested: an answer with a thousand reports takes one or a few
/// megabytes. On file systems that cannot reserve space, a full disk is noticed only while the body arrives.
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

impl AccountSpool {
    /// A new body, on disk from its first byte.
    pub(super) fn begin(&self) -> BoxFuture<'_, Result<Box<dyn SpoolWriter>, SpoolError>> {
        async move {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let body = SpooledBody(file_name(number).into());
            let (path, directory) = (self.path(&body), self.directory.clone());
            let notes = self.notes.clone();
            let opened = on_disk(move || {
                let file = private().create_new(true).open(&path).map_err(at(&path))?;
                if let Err(error) = reserve(&file) {
                    // The file is empty.
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
                // Releases the reserved space that was not used.
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
            // If this fails, an empty file remains, or the text of an error, which will be quarantined.
            let _ = on_disk(move || fs::remove_file(&self.path).map_err(at(&self.path))).await;
        }
        .boxed()
    }
}
