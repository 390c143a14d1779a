//! Copies the file while an exporter may write to it.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, failed, file, refuse};
use crate::files::{private, put_in_place, remove_if_there, with_suffix};

/// The suffix of an unfinished ledger's file name.
pub(in crate::ledger::store) const UNFINISHED: &str = ".unfinished";
/// How long to wait for a lock of the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes a consistent copy of the ledger at `from` to the new file `to`, and returns the copy's size in
/// bytes. An exporter may write to `from` at the same time; the copy contains each transaction completely or
/// not at all. The copy gets its final name only once it is complete and on disk.
///
/// # Errors
///
/// There is no ledger at `from`, `to` already exists, or one of them cannot be read or written.
pub(in crate::ledger) fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
    if !file::check(from)? {
        return Err(refuse(from, "does not exist; store.url names the ledger"));
    }
    let disk = |error: std::io::Error| refuse(to, &error.to_string());
    // The name is reserved first, so that two backups do not write to the same file.
    if let Err(error) = private().create_new(true).open(to) {
        return Err(match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                refuse(to, "already exists; name a new file, or move that one away")
            }
            _ => disk(error),
        });
    }
    let unfinished = with_suffix(to, UNFINISHED);
    let copied = copy(from, to, &unfinished);
    if copied.is_err() {
        for path in [&unfinished, to] {
            // The original error is already reported.
            let _ = fs::remove_file(path);
        }
    }
    copied
}

fn copy(from: &Path, to: &Path, unfinished: &Path) -> Result<u64, StoreError> {
    let disk = |error: std::io::Error| refuse(to, &error.to_string());
    remove_if_there(unfinished).map_err(disk)?;
    let text = unfinished
        .to_str()
        .ok_or_else(|| refuse(to, "the file name is not valid UTF-8"))?;
    let read = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(from, flags)?;
        connection.busy_timeout(PATIENCE)?;
        // A single read transaction: copying page by page would start over whenever a busy writer commits.
        connection.execute("VACUUM INTO ?1", [text])?;
        connection.close().map_err(|(_, error)| error)
    };
    read().map_err(failed(from))?;
    fs::set_permissions(unfinished, fs::Permissions::from_mode(0o600)).map_err(disk)?;
    let file = File::open(unfinished).map_err(disk)?;
    file.sync_all().map_err(disk)?;
    put_in_place(unfinished, to).map_err(disk)?;
    file.metadata().map(|own| own.len()).map_err(disk)
}
