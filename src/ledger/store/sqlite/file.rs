//! The file: whether it is a ledger, how a new one is made, and who has it.

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

/// How long the lock of the file is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks at the file's header, without SQLite: whether there is one.
pub(in crate::ledger::store) fn check(path: &Path) -> Result<bool, StoreError> {
    // Opening a pipe would wait for somebody to write.
    if let Ok(metadata) = fs::metadata(path)
        && !metadata.is_file()
    {
        let what = if metadata.is_dir() {
            "a directory"
        } else {
            "no regular file"
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
        let text = "is empty: it was cut off (was the disk full?), or was made by hand; restore it from a backup, or remove it to begin a new ledger, with counters from 0";
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
            "is no SQLite database; it is damaged, or store.url names the wrong file",
        ));
    }
    if header.len() < 100 {
        let text = "is damaged (it ends in its header); restore it from a backup, or move it away to begin a new ledger";
        return Err(refuse(path, text));
    }
    if number(68) != APPLICATION_ID {
        return Err(refuse(
            path,
            "is another program's database; store.url has to name a file of its own",
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

/// Makes a new ledger. It has its name only once it is whole and on disk: an empty file of that name
/// is then always one that has lost what was in it.
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
    // What an earlier start left half-made.
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
    // What is counted is nobody else's business; what SQLite puts beside the file gets the same rights.
    fs::set_permissions(new, fs::Permissions::from_mode(0o600)).map_err(disk)?;
    put_in_place(new, path).map_err(disk)
}

/// Where a symbolic link leads, also one to a file that is not there yet.
fn target(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    // The system follows no more of them either.
    for _ in 0..40 {
        let Ok(next) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("")).join(next);
    }
    path
}

/// Locks the file itself, under whatever name it was opened: links lead to the same one.
pub(in crate::ledger::store) fn lock(path: &Path) -> Result<File, StoreError> {
    let file = File::options().read(true).write(true).open(path);
    let file = file.map_err(|error| refuse(path, &error.to_string()))?;
    // One that this process has just left is closed a moment later.
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
                    "another delivery-exporter has this store, under another name (a link to it); stop it first, and give each its own store.url",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(refuse(path, &error.to_string())),
        }
    }
}
