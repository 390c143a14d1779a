//! The demo's temporary directory for its store, removed at the end. The next demo removes directories of
//! demos that were killed.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use tempfile::TempDir;

const PREFIX: &str = "delivery-exporter-demo-";
/// Locked for as long as the demo lives.
const LOCK: &str = "lock";

/// The directory of a running demo.
pub(super) struct Directory {
    directory: TempDir,
    _lock: File,
}

impl Directory {
    /// Creates a directory, and removes those of demos that were killed.
    pub(super) fn create() -> io::Result<Directory> {
        let parent = std::env::temp_dir();
        remove_abandoned(&parent);
        Directory::create_in(&parent)
    }

    fn create_in(parent: &Path) -> io::Result<Directory> {
        let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::create(directory.path().join(LOCK))?;
        lock.lock()?;
        Ok(Directory {
            directory,
            _lock: lock,
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories whose lock is free. Directories of other users cannot be opened, and are left
/// alone.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        // A symbolic link could point anywhere.
        let is_directory = entry.file_type().is_ok_and(|own| own.is_dir());
        if !is_directory || !name.to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else {
            continue;
        };
        match lock.try_lock() {
            Ok(()) => {
                // What cannot be removed is tried again by the next demo.
                let _ = fs::remove_dir_all(entry.path());
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_demo_left_is_removed_and_what_a_running_one_has_stays() {
        let parent = tempfile::tempdir().unwrap();
        let running = Directory::create_in(parent.path()).unwrap();
        let killed = parent.path().join(format!("{PREFIX}killed"));
        let unknown = parent.path().join("something-else");
        for directory in [&killed, &unknown] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join(LOCK), "").unwrap();
        }
        remove_abandoned(parent.path());
        assert!(running.path().exists() && unknown.exists());
        assert!(!killed.exists());
        let path = running.path().to_owned();
        drop(running);
        assert!(!path.exists());
    }
}
