//! A copy of the file, while an exporter writes to it.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{StoreError, failed, file, refuse};
use crate::files::{private, put_in_place, remove_if_there, with_suffix};

/// What a ledger that is being written is called besides its name.
pub(in crate::ledger::store) const UNFINISHED: &str = ".unfinished";
/// How long a lock of the file is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Copies the ledger at `from` to the new file `to`, as it is at one moment, and returns the copy's size in
/// bytes. An exporter may write to `from` meanwhile; the copy has all of each transaction or nothing. It has
/// its name only once it is complete and on disk.
///
/// # Errors
///
/// There is no ledger at `from`, there is a file at `to`, or one of them cannot be read or written.
pub(in crate::ledger) fn backup(from: &Path, to: &Path) -> Result<u64, StoreError> {
    if !file::check(from)? {
        return Err(refuse(from, "is not there; store.url names the ledger"));
    }
    let disk = |error: std::io::Error| refuse(to, &error.to_string());
    // The name is taken first, so that two backups do not write to one file.
    if let Err(error) = private().create_new(true).open(to) {
        return Err(match error.kind() {
            std::io::ErrorKind::AlreadyExists => refuse(
                to,
                "is there already; name a new file, or move that one away",
            ),
            _ => disk(error),
        });
    }
    let unfinished = with_suffix(to, UNFINISHED);
    let copied = copy(from, to, &unfinished);
    if copied.is_err() {
        for path in [&unfinished, to] {
            // What is wrong is told already.
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
        .ok_or_else(|| refuse(to, "is no name in UTF-8"))?;
    let read = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(from, flags)?;
        connection.busy_timeout(PATIENCE)?;
        // One read transaction: page by page, a busy writer would make the copy begin again and again.
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
