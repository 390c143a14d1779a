//! The history's file, next to the spool. It is replaced atomically, so that after a crash it is either the
//! old or the new one.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{history::History, rates::AccountRates};
use crate::files::{private, put_in_place, remove_if_there};

/// The file's name in the spool's directory. It cannot collide with an account's directory, whose name has no
/// dot.
const FILE_NAME: &str = "status.history";
/// The start of the file: its type and the version of its format.
const MAGIC: [u8; 8] = *b"DELVHIS\x01";
/// The maximum size of the file, in bytes; a larger file was not written by the exporter.
const MAX_BYTES: u64 = 64 << 20;

/// The history's file on disk.
pub(super) struct HistoryFile {
    path: PathBuf,
    failing: AtomicBool,
}

impl HistoryFile {
    pub(super) fn new(directory: &Path) -> HistoryFile {
        HistoryFile {
            path: directory.join(FILE_NAME),
            failing: AtomicBool::new(false),
        }
    }

    /// Loads the saved history, which is empty if there is no file. A file that cannot be read is set aside;
    /// only the page's history is lost.
    pub(super) fn load(&self) -> History {
        let bytes = match read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return History::default(),
            Err(error) => {
                self.warn(&error.to_string());
                return History::default();
            }
        };
        match decode(&bytes) {
            Ok(history) => history,
            Err(problem) => {
                self.warn(problem);
                let aside = self.path.with_extension("history.unreadable");
                if let Err(error) = fs::rename(&self.path, &aside) {
                    self.warn(&error.to_string());
                }
                History::default()
            }
        }
    }

    fn warn(&self, problem: &str) {
        let path = self.path.display();
        tracing::warn!(%path, problem, "the status page's history cannot be read; starting with an empty history");
    }

    /// Saves the history; a failure is logged once.
    pub(super) fn save(&self, history: &History) {
        match self.try_save(history) {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "the status page's history cannot be saved, and would be lost at a restart");
                }
            }
        }
    }

    fn try_save(&self, history: &History) -> io::Result<()> {
        let bytes = encode(history).map_err(io::Error::other)?;
        let part = self.path.with_extension("history.new");
        // A file left over from a crash may have other permissions.
        remove_if_there(&part)?;
        let mut file = private().create_new(true).open(&part)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        put_in_place(&part, &self.path)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn encode(history: &History) -> Result<Vec<u8>, postcard::Error> {
    let body = postcard::to_allocvec(history)?;
    let mut bytes = Vec::with_capacity(body.len() + 12);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<History, &'static str> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("it is too large");
    }
    let Some((head, rest)) = bytes.split_at_checked(MAGIC.len()) else {
        return Err("it is cut off");
    };
    if head[..7] != MAGIC[..7] {
        return Err("another program wrote it");
    }
    if head != MAGIC {
        return Err("it has another format version");
    }
    let Some((sum, body)) = rest.split_at_checked(4) else {
        return Err("it is cut off");
    };
    if sum != crc32fast::hash(body).to_le_bytes() {
        return Err("it is damaged");
    }
    postcard::from_bytes(body).map_err(|_| "it is damaged")
}

/// Parses the part of a file after its checksum, and computes rates from it; the entry point for fuzzing.
/// Returns whether the file can be read.
///
/// # Panics
///
/// If the history changes when it is saved and read again.
pub fn read_history(body: &[u8]) -> bool {
    let sum = crc32fast::hash(body).to_le_bytes();
    let Ok(history) = decode(&[&MAGIC[..], &sum[..], body].concat()) else {
        return false;
    };
    let again = encode(&history).map(|bytes| decode(&bytes));
    assert!(
        again.is_ok_and(|again| again.as_ref() == Ok(&history)),
        "a history changes when it is saved and read again"
    );
    for account in history.accounts.values() {
        let newest = account.parts.values().flatten().map(|(bucket, _)| *bucket);
        let newest = newest.max().unwrap_or_default();
        for is_daily in [false, true] {
            AccountRates::new(account, newest, is_daily);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{
        super::history::{AccountHistory, Counts, PartKey},
        *,
    };

    fn history() -> History {
        let part = PartKey {
            channel: "push".into(),
            vendor_channel: "fcm".into(),
            platform: "android".into(),
        };
        let counts = Counts {
            sent: 7,
            delivered: 5,
            ..Counts::default()
        };
        let account = AccountHistory {
            since: 4,
            last_success: 9,
            parts: [(part, vec![(3, counts)])].into(),
        };
        History {
            since: 2,
            accounts: [("shop".to_owned(), account)].into(),
            last: [(1, 2)].into(),
        }
    }

    #[test]
    fn what_is_kept_is_there_again_and_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = HistoryFile::new(directory.path());
        assert_eq!(file.load(), History::default());
        file.save(&history());
        assert_eq!(file.load(), history());
        let rights = fs::metadata(&file.path).unwrap().permissions().mode();
        assert_eq!(rights & 0o777, 0o600);
        // What a crash in the middle leaves is in nobody's way.
        fs::write(directory.path().join("status.history.new"), "x").unwrap();
        file.save(&History::default());
        assert_eq!(file.load(), History::default());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_set_aside() {
        let good = encode(&history()).unwrap();
        let mut other_version = good.clone();
        other_version[7] = 9;
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        let cut = good[..good.len() - 1].to_vec();
        for bad in [
            other_version,
            damaged,
            cut,
            b"hello".to_vec(),
            b"hello, this is a text".to_vec(),
            Vec::new(),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let file = HistoryFile::new(directory.path());
            fs::write(&file.path, &bad).unwrap();
            assert_eq!(file.load(), History::default());
            let aside = directory.path().join("status.history.unreadable");
            assert_eq!(fs::read(aside).unwrap(), bad);
            file.save(&history());
            assert_eq!(file.load(), history());
        }
    }
}
