//! Reads files that a configuration names: only regular files, and only up to a maximum size.
//!
//! A pipe without a writer, a terminal or `/dev/zero` would block the start, a reload or a rotation forever.
//! Symbolic links to regular files are allowed, because Kubernetes mounts secrets that way.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

/// The maximum size of a file with a secret or with headers, in bytes.
pub(crate) const MAX_SECRET: u64 = 64 << 10;
/// The maximum size of a file with certificates or keys, in bytes.
pub(crate) const MAX_PEM: u64 = 16 << 20;
/// The maximum size of `--web.config.file`, in bytes.
pub(crate) const MAX_WEB_CONFIG: u64 = 4 << 20;
/// The maximum size of a configuration file, in bytes.
pub(crate) const MAX_CONFIG: u64 = 64 << 20;

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
///
/// It cannot be read, is not a regular file, or is larger.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    // Checked before opening, because opening a device can have side effects, and after opening, because the
    // file may have been replaced in between. Opening a pipe in non-blocking mode returns immediately.
    refuse_special(&fs::metadata(path)?)?;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    refuse_special(&metadata)?;
    let too_large = || {
        let text = format!("the file is larger than {most} bytes");
        io::Error::new(io::ErrorKind::FileTooLarge, text)
    };
    if metadata.len() > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    // The file may grow while it is read, and kernel files have no length.
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Creates a directory and its parents that only the owner can access, because bodies in the spool and in
/// quarantine contain addresses of people. An existing directory is not changed.
///
/// # Errors
///
/// It cannot be created.
pub(crate) fn create_private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Options for creating a file that only the owner can read.
pub(crate) fn private() -> fs::OpenOptions {
    let mut options = File::options();
    options.write(true).mode(0o600);
    options
}

/// A path with a suffix added to the file name, such as `delivery.db.unfinished`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes an unfinished file of an earlier run, if it exists.
///
/// # Errors
///
/// It exists and cannot be removed.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the entries of a directory durable.
///
/// # Errors
///
/// It cannot be read, or the disk fails.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Durably renames a complete file, which is already on disk, to its final name.
///
/// # Errors
///
/// It cannot be renamed, or the disk fails.
pub(crate) fn put_in_place(complete: &Path, path: &Path) -> io::Result<()> {
    fs::rename(complete, path)?;
    let directory = path.parent().filter(|own| !own.as_os_str().is_empty());
    sync_directory(directory.unwrap_or(Path::new(".")))
}

/// Like [`read`], as text.
///
/// # Errors
///
/// Those of [`read`], and `InvalidData` if it is not text in UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not text in UTF-8"))
}

fn refuse_special(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let text = if metadata.is_dir() {
        "is a directory, not a file"
    } else {
        "is not a regular file (but a pipe, a socket or a device)"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::{fs::symlink, net::UnixListener},
        sync::mpsc,
        time::Duration,
    };

    use super::*;

    /// What reading says; a read that hangs fails the test.
    fn outcome(path: &Path) -> Result<usize, String> {
        let (sender, answer) = mpsc::channel();
        let path = path.to_owned();
        std::thread::spawn(move || {
            let read = read(&path, 100).map(|bytes| bytes.len());
            let _ = sender.send(read.map_err(|error| error.to_string()));
        });
        let answer = answer.recv_timeout(Duration::from_secs(20));
        answer.expect("reading ends")
    }

    #[test]
    fn only_regular_files_are_read_and_none_without_end() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "text").unwrap();
        fs::create_dir(at("..data")).unwrap();
        fs::write(at("..data/secret"), "12345").unwrap();
        symlink("..data/secret", at("link")).unwrap();
        fs::write(at("large"), [b'x'; 101]).unwrap();
        let status = std::process::Command::new("mkfifo")
            .arg(at("fifo"))
            .status();
        assert!(status.unwrap().success());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        symlink("/dev/zero", at("zero")).unwrap();
        assert_eq!(outcome(&at("file")), Ok(4));
        assert_eq!(outcome(&at("link")), Ok(5));
        for (name, text) in [
            ("large", "larger than 100 bytes"),
            ("fifo", "not a regular file"),
            ("socket", "not a regular file"),
            ("zero", "not a regular file"),
            (".", "is a directory"),
        ] {
            let error = outcome(&at(name)).unwrap_err();
            assert!(error.contains(text), "{name}: {error}");
        }
        // A regular file without a length of its own.
        let kernels = outcome(Path::new("/proc/self/stat"));
        assert!(kernels.is_err_and(|error| error.contains("larger")));
        assert!(read(Path::new("/proc/self/stat"), 1 << 20).unwrap().len() > 10);
    }
}
