//! What a pass costs the table: writing and compressing what has changed.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Buf;
use delivery_clock::Clock;
use delivery_exporter::{
    collector::Recorder,
    config::{self, Config},
    ledger::Lease,
    model::{Measure, Message, Row, Snapshot, Totals},
    outputs::exposition::Exposition,
    series::{AccountSeries, Table},
};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};

use super::ACCOUNTS;

/// The vendor channels of a message, as EngageLab has them.
pub(super) const CHANNELS: [(&str, &str); 9] = [
    ("android", "engagelab"),
    ("android", "huawei"),
    ("android", "honor"),
    ("android", "xiaomi"),
    ("android", "oppo"),
    ("android", "vivo"),
    ("android", "fcm"),
    ("ios", "apns"),
    ("hmos", "harmonyos"),
];
const MEASURES: [Measure; 5] = [
    Measure::Targeted,
    Measure::Sent,
    Measure::Delivered,
    Measure::Displayed,
    Measure::Opened,
];
/// Each measure of each channel and of the whole, and the delivery rate.
pub(super) const SERIES_OF_A_MESSAGE: usize = (CHANNELS.len() + 1) * MEASURES.len() + 1;

/// A table of many accounts, as their collectors fill it.
struct Filled {
    config: Config,
    table: Table,
    exposition: Arc<Exposition>,
    accounts: Vec<Arc<AccountSeries>>,
    messages: usize,
    start: Timestamp,
}

/// What the passes cost, in seconds of CPU time.
pub(super) struct Costs {
    /// Passes that change nothing, 1 % and all.
    pub(super) passes: [f64; 3],
    /// The whole body through `zlib -1`.
    pub(super) zlib: f64,
}

fn filled(messages: usize) -> Filled {
    let mut text = String::from(
        "limits: {max_series_per_account: 10000000, max_campaigns_per_account: 10000000}\nproviders:\n",
    );
    for account in 0..ACCOUNTS {
        writeln!(
            text,
            "- {{name: account-{account:02}, type: engagelab, base_url: 'http://localhost', \
             credentials: {{app_key: k, master_secret: s}}, per_message: {{max_messages: 10000000}}}}"
        )
        .unwrap();
    }
    let config = config::parse(Path::new("bench"), &text, &|_| None).unwrap();
    let clock = Clock::system();
    let exposition = Arc::new(Exposition::new(clock.clone()));
    let table = Table::new(clock.clone(), exposition.clone());
    let accounts = table.configure(&config, &|_| Lease::always(clock.clone()));
    let accounts = accounts.into_iter().map(|(account, _)| account).collect();
    Filled {
        config,
        table,
        exposition,
        accounts,
        messages,
        start: Timestamp::now(),
    }
}

impl Filled {
    /// One pass over all accounts: `changed` of the newest messages of each have new numbers. Gives
    /// the CPU time of publishing.
    fn pass(&self, round: u64, changed: usize) -> f64 {
        let stale_at = delivery_clock::Moment::MAX;
        let mut spent = 0.0;
        for (account, own) in self.accounts.iter().zip(&self.config.accounts) {
            for number in 0..changed {
                // The newest first.
                let sent_at = self.start - SignedDuration::from_secs(number as i64);
                let id: Arc<str> = Arc::from((1_000_000_000 + number).to_string());
                let counts = |row: u64| {
                    let base = 1000 + (number as u64 * 7 + row * 13 + round * 3) % 9000;
                    let counts = MEASURES.iter().enumerate();
                    counts
                        .map(move |(index, of)| (*of, base / (index as u64 + 1)))
                        .collect()
                };
                let breakdown = (1..).zip(CHANNELS).map(|(row, (platform, channel))| Row {
                    message_type: Arc::from("notification"),
                    platform: Arc::from(platform),
                    vendor_channel: Arc::from(channel),
                    counts: counts(row),
                });
                let campaign: Arc<str> = Arc::from(format!("campaign-{}", number / 10));
                let snapshot = Snapshot {
                    asked: id.clone(),
                    id: id.clone(),
                    campaign: Some(campaign.clone()),
                    sent_at: None,
                    asked_at: self.start,
                    totals: vec![Totals {
                        channel: "push",
                        counts: counts(0),
                        reported_ratio: None,
                    }],
                    breakdown: breakdown.collect(),
                    types: Vec::new(),
                };
                let application = &own.applications[0];
                let message = Message {
                    application: application.id.clone(),
                    id,
                    campaign: Some(campaign),
                    sent_at: Some(sent_at),
                };
                account.snapshot(
                    delivery_exporter::providers::dataset("messages").unwrap(),
                    application,
                    &message,
                    sent_at,
                    &snapshot,
                    stale_at,
                );
            }
            let before = cpu();
            account.publish();
            spent += (cpu() - before).as_secs_f64();
        }
        spent
    }

    async fn scrape(&self) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("application/openmetrics-text"),
        );
        let (_, parts) = self.exposition.scrape(&self.table, &headers).answer();
        let mut body = parts.collect().await.unwrap().aggregate();
        body.copy_to_bytes(body.remaining()).to_vec()
    }
}

/// The time that this thread has had a processor.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// The CPU seconds that zlib, the original, needs for a text at its fastest level.
pub(super) fn zlib(text: &[u8]) -> f64 {
    const PROGRAM: &str = "import sys, time, zlib\ntext = sys.stdin.buffer.read()\n\
        start = time.process_time()\nzlib.compress(text, 1)\nprint(time.process_time() - start)";
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Passes over a table of about so many series.
pub(super) async fn costs(series: usize) -> Costs {
    let messages = (series / ACCOUNTS / SERIES_OF_A_MESSAGE).max(1);
    let filled = filled(messages);
    filled.pass(0, messages);
    let body = filled.scrape().await;
    let mut text = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(body.as_slice()),
        &mut text,
    )
    .unwrap();
    // Each share several times, and the best of them: the processor is not ours alone.
    let share = |round: u64, changed: usize| {
        let mut spent: Vec<f64> = (0..7)
            .map(|turn| filled.pass(round + turn, changed))
            .collect();
        spent.sort_by(f64::total_cmp);
        spent[0]
    };
    let passes = [
        share(1, 0),
        share(10, messages.div_ceil(100)),
        share(20, filled.messages),
    ];
    Costs {
        passes,
        zlib: zlib(&text),
    }
}
