//! A scraper that does nothing with what it gets, and what the kernel says of a process.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

/// A target that is scraped.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) path: String,
    pub(super) pid: u32,
}

/// How a scrape went.
pub(super) struct Scraped {
    pub(super) lasted: Duration,
    pub(super) body: usize,
}

/// The median of repeated scrapes, with the CPU time of the target for one.
pub(super) struct Repeated {
    pub(super) median: f64,
    pub(super) cpu: f64,
}

impl Target {
    /// Scrapes once. With `keep`, the answer's body goes there.
    pub(super) fn scrape(&self, encoding: &str, keep: Option<&mut Vec<u8>>) -> Scraped {
        let start = Instant::now();
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET {} HTTP/1.1\r\nHost: bench\r\nAccept: text/plain;version=0.0.4\r\n\
             Accept-Encoding: {encoding}\r\nConnection: close\r\n\r\n",
            self.path
        )
        .unwrap();
        let mut buffer = vec![0; 256 << 10];
        let (mut total, mut head) = (0, Vec::new());
        let mut whole = Vec::new();
        loop {
            let read = stream.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            if head.len() < 512 {
                head.extend_from_slice(&buffer[..read.min(512)]);
            }
            if keep.is_some() {
                whole.extend_from_slice(&buffer[..read]);
            }
            total += read;
        }
        let lasted = start.elapsed();
        assert!(
            head.starts_with(b"HTTP/1.1 200"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        if let Some(keep) = keep {
            let end = whole
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
                .unwrap();
            *keep = whole.split_off(end + 4);
        }
        Scraped {
            lasted,
            body: total,
        }
    }

    /// How long curl takes for a scrape that it throws away, from its connecting to the last byte.
    fn curl(&self, encoding: &str) -> f64 {
        let output = Command::new("curl")
            .args(["--silent", "--fail", "--output", "/dev/null"])
            .args(["--write-out", "%{time_total}"])
            .args(["--header", "Accept: text/plain;version=0.0.4"])
            .args(["--header", &format!("Accept-Encoding: {encoding}")])
            .arg(format!("http://{}{}", self.address, self.path))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().parse().unwrap()
    }

    /// Scrapes again and again.
    pub(super) fn repeat(&self, encoding: &str) -> Repeated {
        let before = cpu_of(self.pid);
        let mut times = again(|| self.scrape(encoding, None).lasted.as_secs_f64());
        let cpu = (cpu_of(self.pid) - before) / times.len() as f64;
        Repeated {
            median: median(&mut times),
            cpu,
        }
    }

    /// The median of scrapes by curl.
    pub(super) fn repeat_curl(&self, encoding: &str) -> f64 {
        median(&mut again(|| self.curl(encoding)))
    }
}

/// What something says at least three times, and for a second or two.
fn again(mut once: impl FnMut() -> f64) -> Vec<f64> {
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (start.elapsed() < Duration::from_secs(2) && times.len() < 500) {
        times.push(once());
    }
    times
}

pub(super) fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The CPU time of a process and of those that it has started, in seconds.
pub(super) fn cpu_of(pid: u32) -> f64 {
    let own = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let Some((_, fields)) = own.rsplit_once(')') else {
        return 0.0;
    };
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // utime and stime, in hundredths.
    (11..13)
        .map(|index| fields[index].parse::<f64>().unwrap() / 100.0)
        .sum()
}

/// A line of `/proc/PID/status` that is in KiB, in MB.
pub(super) fn memory(pid: u32, name: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    kib.map_or(f64::NAN, |kib| kib.parse::<f64>().unwrap() * 1024.0 / 1e6)
}

/// Forgets the peak of a process's memory; where the kernel does not, it stays.
pub(super) fn reset_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}
