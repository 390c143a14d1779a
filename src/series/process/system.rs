//! The operating system's view of this process, from `/proc`.

use std::{
    fs::{self, File},
    io::Read,
};

use rustix::process::{Resource, getrlimit};

use crate::catalog::{self, FamilyId};

/// The kernel's unit of CPU time for programs, fixed on Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// The page size of every platform that the exporter is built for.
const PAGE_BYTES: f64 = 4096.0;

/// Reads the values, reusing its buffers.
#[derive(Default)]
pub(super) struct System {
    text: String,
    boot_time: Option<f64>,
}

impl System {
    /// Calls `give` with each value that can be read, and its family.
    pub(super) fn read(&mut self, give: &mut dyn FnMut(FamilyId, f64)) {
        let boot = self.boot_time();
        if self.load("/proc/self/stat").is_some() {
            // The command's name, in parentheses, can contain blanks, so fields are counted after it.
            let rest = self.text.rsplit_once(')').map_or("", |(_, rest)| rest);
            // The fields from the third one in the manual (proc(5)).
            let mut fields = [None; 22];
            for (field, text) in fields.iter_mut().zip(rest.split_ascii_whitespace()) {
                *field = Some(text.parse().unwrap_or(0.0));
            }
            let field = |number: usize| fields[number - 3];
            let mut give = |family, value: Option<f64>| {
                if let Some(value) = value {
                    give(family, value);
                }
            };
            let cpu = field(14).zip(field(15));
            let cpu = cpu.map(|(user, system)| (user + system) / TICKS_PER_SECOND);
            give(catalog::PROCESS_CPU_SECONDS, cpu);
            give(catalog::PROCESS_THREADS, field(20));
            let start = boot.zip(field(22));
            let start = start.map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND);
            give(catalog::PROCESS_START_TIME_SECONDS, start);
            give(catalog::PROCESS_VIRTUAL_MEMORY_BYTES, field(23));
            let resident = field(24).map(|pages| pages * PAGE_BYTES);
            give(catalog::PROCESS_RESIDENT_MEMORY_BYTES, resident);
        }
        #[expect(clippy::cast_precision_loss, reason = "a process has few descriptors")]
        {
            if let Some(open) = open_descriptors() {
                give(catalog::PROCESS_OPEN_FDS, open as f64);
            }
            if let Some(most) = getrlimit(Resource::Nofile).current {
                give(catalog::PROCESS_MAX_FDS, most as f64);
            }
        }
        if let Some((received, sent)) = self.network() {
            give(catalog::PROCESS_NETWORK_RECEIVE_BYTES, received);
            give(catalog::PROCESS_NETWORK_TRANSMIT_BYTES, sent);
        }
    }

    /// Reads a file of `/proc` in one read, because the kernel generates the contents again for each read.
    fn load(&mut self, path: &str) -> Option<()> {
        self.text.clear();
        self.text.reserve(4096);
        File::open(path).ok()?.read_to_string(&mut self.text).ok()?;
        Some(())
    }

    /// The boot time, read once: the kernel's value changes when the clock is set, but the start of a process
    /// does not.
    fn boot_time(&mut self) -> Option<f64> {
        if self.boot_time.is_none() {
            self.load("/proc/stat")?;
            let mut lines = self.text.lines();
            let line = lines.find_map(|line| line.strip_prefix("btime "))?;
            self.boot_time = line.trim().parse().ok();
        }
        self.boot_time
    }

    fn network(&mut self) -> Option<(f64, f64)> {
        self.load("/proc/self/net/dev")?;
        let mut sums = (0.0, 0.0);
        for line in self.text.lines().skip(2) {
            let mut fields = line.split_once(':')?.1.split_ascii_whitespace();
            let mut field = |place| Some(fields.nth(place)?.parse().unwrap_or(0.0));
            let (received, sent): (f64, f64) = (field(0)?, field(7)?);
            sums.0 += received;
            sums.1 += sent;
        }
        Some(sums)
    }
}

/// Kernels since 6.2 report the number of directory entries as the size; earlier ones report 0.
fn open_descriptors() -> Option<u64> {
    let path = "/proc/self/fd";
    match fs::metadata(path).ok()?.len() {
        0 => Some(fs::read_dir(path).ok()?.count() as u64),
        open => Some(open),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, process::Command};

    use super::*;

    #[test]
    fn the_values_are_those_that_the_kernel_shows_others() {
        let mut values = BTreeMap::new();
        System::default().read(&mut |family, value| {
            assert!(
                values.insert(family.name, value).is_none(),
                "{}",
                family.name
            );
        });
        let names: Vec<_> = values.keys().copied().collect();
        let expected = [
            "process_cpu_seconds_total",
            "process_max_fds",
            "process_network_receive_bytes_total",
            "process_network_transmit_bytes_total",
            "process_open_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_threads",
            "process_virtual_memory_bytes",
        ];
        assert_eq!(names, expected);
        let limit = Command::new("sh")
            .args(["-c", "ulimit -n"])
            .output()
            .unwrap();
        let limit: f64 = String::from_utf8(limit.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert_eq!(
            values["process_max_fds"].total_cmp(&limit),
            std::cmp::Ordering::Equal
        );
        let now = jiff::Timestamp::now().as_duration().as_secs_f64();
        let age = now - values["process_start_time_seconds"];
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
        assert!(values["process_open_fds"] >= 3.0);
        assert!(values["process_threads"] >= 2.0);
        assert!(values["process_resident_memory_bytes"] > 1e6);
        assert!(values["process_virtual_memory_bytes"] > values["process_resident_memory_bytes"]);
    }
}
