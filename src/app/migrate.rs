//! `migrate`: moves a ledger from one store to another.

use super::{FAILED, OK};
use crate::{
    cli::{Cli, Migrate},
    ledger,
    progress::Bar,
    redact,
    store_url::StoreUrl,
    telemetry,
};

/// The store that a URL names.
fn place(flag: &str, url: &str) -> Result<StoreUrl, String> {
    redact::register_url(url);
    StoreUrl::parse(url).ok_or_else(|| {
        format!(
            "{flag} is not the URL of a store; write sqlite:data/delivery.db or postgres://user:password@host/database"
        )
    })
}

pub(super) async fn run(cli: &Cli, wanted: &Migrate) -> u8 {
    let _ = telemetry::start(&cli.flags, None);
    let places =
        place("--from", &wanted.from).and_then(|from| Ok((from, place("--to", &wanted.to)?)));
    let (from, to) = match places {
        Ok(places) => places,
        Err(problem) => {
            eprintln!("delivery-exporter: migrate: {problem}");
            return FAILED;
        }
    };
    let bar = Bar::moving();
    let moved = ledger::migrate(&from, &to, |rows| bar.moved(rows)).await;
    drop(bar);
    match moved {
        Ok(moved) => {
            for (table, rows) in &moved.rows {
                println!("{table}: {rows} rows");
            }
            println!(
                "The ledger has been moved. Set store.url to the new store, and keep store.replica and the spool. The old ledger is unchanged and must not be used again."
            );
            OK
        }
        Err(error) => {
            eprintln!(
                "delivery-exporter: migrate: {}",
                redact::masked(&error.to_string())
            );
            FAILED
        }
    }
}
