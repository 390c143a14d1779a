//! The ledger's file: checking it, creating it, and locking it.

use std::{
    fs::{self, File, TryLockError},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::Connection;

use super::{
    StoreError, failed, refuse,
    schema::{APPLICATION_ID, SCHEMA, TABLES},
};
use crate::files::{put_in_place, remove_if_there, with_suffix};

/// How long to wait for the lock of the file.
const PATIENCE: Duration = Duration::from_secs(2);

/// Checks the file's header without SQLite, and returns whether the file exists.
pub(in crate::ledger::store) fn check(path: &Path) -> Result<bool, StoreError> {
    // Opening a pipe would block until another process writes to it.
    if let Ok(metadata) = fs::metadata(path)
        && !metadata.is_file()
    {
        let what = if metadata.is_dir() {
            "a directory"
        } else {
            "not a regular file"
        };
        let text = format!("is {what}; store.url names the ledger's file");
        return Err(refuse(path, &text));
    }
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(refuse(path, &error.to_string())),
    };
    let mut header = Vec::new();
    let read = file.by_ref().take(100).read_to_end(&mut header);
    read.map_err(|error| refuse(path, &format!("{error}; store.url names the ledger's file")))?;
    if header.is_empty() {
        let text = "is empty: it was truncated (was the disk full?) or created by hand; restore it from a backup, or remove it to start a new ledger with counters at 0";
        return Err(refuse(path, text));
    }
    let number = |at: usize| {
        let bytes = header
            .get(at..at + 4)
            .and_then(|own| own.first_chunk::<4>());
        bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes))
    };
    if !header.starts_with(b"SQLite format 3\0") {
        return Err(refuse(
            path,
            "is not an SQLite database; it is damaged, or store.url names the wrong file",
        ));
    }
    if header.len() < 100 {
        let text = "is damaged (it ends within its header); restore it from a backup, or move it away to start a new ledger";
        return Err(refuse(path, text));
    }
    if number(68) != APPLICATION_ID {
        return Err(refuse(
            path,
            "is the database of another program; store.url must name a separate file",
        ));
    }
    match number(60) {
        SCHEMA => {}
        version if version > SCHEMA => {
            let text = format!(
                "was written by a later version of delivery-exporter (tables of version {version}, this one knows {SCHEMA}); use that version or a later one"
            );
            return Err(refuse(path, &text));
        }
        version => {
            return Err(refuse(
                path,
                &format!("has tables of an unknown version {version}"),
            ));
        }
    }
    File::options().write(true).open(path).map_err(|error| {
        refuse(
            path,
            &format!(
                "{error}; the exporter needs to write to the file and its directory (store.url)"
            ),
        )
    })?;
    Ok(true)
}

/// Creates a new ledger. It gets its final name only once it is complete and on disk, so that an empty file
/// of that name has always lost its contents.
pub(in crate::ledger::store) fn create(path: &Path) -> Result<(), StoreError> {
    let path = &target(path);
    let new = &with_suffix(path, ".new");
    let disk = |error: std::io::Error| {
        refuse(
            path,
            &format!(
                "{error}; the exporter needs to write to the file and its directory (store.url)"
            ),
        )
    };
    // Removes an unfinished file of an earlier start.
    remove_if_there(new).map_err(disk)?;
    let make = || {
        let connection = Connection::open(new)?;
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;
             BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; COMMIT;"
        ))?;
        connection.close().map_err(|(_, error)| error)
    };
    make().map_err(failed(path))?;
    // Only the owner may read the ledger; SQLite gives its auxiliary files the same permissions.
    fs::set_permissions(new, fs::Permissions::from_mode(0o600)).map_err(disk)?;
    put_in_place(new, path).map_err(disk)
}

/// Resolves symbolic links, including those to a file that does not exist yet.
fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // The operating system has the same limit.
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// Locks the file itself, so that different names (links) of the file share one lock.
pub(in crate::ledger::store) fn lock(path: &Path) -> Result<File, StoreError> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|error| refuse(path, &error.to_string()))?;
    // A ledger that this process has just closed may be unlocked a moment later.
    let patience = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(refuse(
                    path,
                    "another delivery-exporter uses this store under another name (a link to it); stop it first, and give each its own store.url",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(refuse(path, &error.to_string())),
        }
    }
}
