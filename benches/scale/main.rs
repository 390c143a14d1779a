//! The exporter at scale.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark may panic"
)]

mod render;

const ACCOUNTS: usize = 20;

#[tokio::main]
async fn main() {
    for series in [10_000, 100_000, 1_000_000] {
        let costs = render::costs(series).await;
        println!(
            "{} series, text {} gzip {}: {:?} zlib {:.3}: {:?}",
            costs.series,
            costs.text,
            costs.gzip,
            costs.passes,
            costs.zlib,
            costs.passes.map(|pass| pass / costs.zlib)
        );
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        println!(
            "{:?}",
            status
                .lines()
                .filter(|l| l.starts_with("VmHWM") || l.starts_with("VmRSS"))
                .collect::<Vec<_>>()
        );
    }
}
