//! `backup`: a copy of the ledger, while the exporter runs.

use super::{FAILED, OK, prepared};
use crate::{
    cli::{Backup, Cli},
    ledger,
    store_url::StoreUrl,
};

pub(super) async fn run(cli: &Cli, wanted: &Backup) -> u8 {
    let Some(config) = prepared(cli) else {
        return FAILED;
    };
    let StoreUrl::Sqlite(from) = config.store else {
        eprintln!(
            "delivery-exporter: backup: the ledger is in PostgreSQL; use pg_dump --schema=delivery_exporter"
        );
        return FAILED;
    };
    let (source, to) = (from.clone(), wanted.file.clone());
    let copied = tokio::task::spawn_blocking(move || ledger::backup(&source, &to)).await;
    match copied
        .map_err(|error| error.to_string())
        .and_then(|own| own.map_err(|error| error.to_string()))
    {
        Ok(bytes) => {
            println!(
                "{} is a copy of {} ({bytes} bytes)",
                wanted.file.display(),
                from.display()
            );
            OK
        }
        Err(error) => {
            eprintln!("delivery-exporter: backup: {error}");
            FAILED
        }
    }
}
