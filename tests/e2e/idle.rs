//! What tests share that move the time themselves: runtimes of few threads, and whether the process
//! still does anything.

use std::{fs, path::Path};

use tokio::runtime::Runtime;

/// A runtime with one thread, so that few threads have to be looked at.
pub fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Memory instead of a disk, where there is such a place: a sync costs nothing there.
pub fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(directory) = tempfile::tempdir_in(memory)
    {
        return directory;
    }
    tempfile::tempdir().expect("a directory")
}

/// Whether another thread of this process runs, or waits for a processor or a disk.
pub fn others_run() -> bool {
    let own = fs::read_link("/proc/thread-self").expect("Linux");
    let own = own.file_name().expect("a thread").to_owned();
    let threads = fs::read_dir("/proc/self/task").expect("Linux");
    threads.flatten().any(|thread| {
        if thread.file_name() == own {
            return false;
        }
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in brackets.
        let state = stat.rsplit(')').next().map(str::trim_start);
        state.is_some_and(|state| state.starts_with(['R', 'D']))
    })
}
