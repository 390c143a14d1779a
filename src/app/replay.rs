//! `replay`: parses quarantined bodies again. It queries no vendor and exposes nothing: the exporter that
//! starts next, or the replica that holds the account, releases what is counted here.

use std::sync::Arc;

use delivery_clock::Clock;

use super::{
    Exporter, FAILED, OK, PARTLY, StartError, exporter::of_store, observers::NoopObserver, prepared,
};
use crate::{
    cli::Cli,
    collector::Progress,
    config::{Account, Config},
    ledger::{AccountLedger, Purpose, Replayed, StoreError},
    progress::Bar,
    providers::{self, SpooledBody},
};

pub(super) async fn run(cli: &Cli) -> u8 {
    let Some(config) = prepared(cli) else {
        return FAILED;
    };
    match all(&config).await {
        Ok(all) => {
            println!("{}", all.text());
            match all {
                All { failed: 1.., .. } => FAILED,
                All { left: 1.., .. } => PARTLY,
                _ => OK,
            }
        }
        Err(error) => {
            eprintln!("delivery-exporter: {error}");
            FAILED
        }
    }
}

/// The outcome of a replay.
#[derive(Default)]
struct All {
    bodies: usize,
    counted: u64,
    left: usize,
    failed: usize,
}

impl All {
    fn text(&self) -> String {
        match self {
            All {
                failed: failed @ 1..,
                counted,
                ..
            } => format!("{counted} reports counted; {failed} bodies failed"),
            All { bodies: 0, .. } => "the quarantine is empty".into(),
            All {
                counted, left: 0, ..
            } => format!("{counted} reports counted; the quarantine is empty"),
            All { counted, left, .. } => format!(
                "{counted} reports counted; {left} bodies remain in quarantine, wholly or in part: a later version may be able to parse them, and those that never will be parsed can be deleted"
            ),
        }
    }
}

async fn all(config: &Config) -> Result<All, StartError> {
    let exporter = Exporter::idle(config, Clock::system(), Purpose::Replay).await?;
    let mut waiting = Vec::new();
    let progress = Bar::replaying();
    for account in &config.accounts {
        let ledger = exporter.ledger().account((config, account))?;
        let bodies = ledger.quarantine()?;
        progress.planned(bodies.len());
        waiting.push((account, ledger, bodies));
    }
    let mut all = All::default();
    for (account, ledger, bodies) in waiting {
        if !bodies.is_empty() {
            replay(account, &ledger, bodies, &progress, &mut all).await?;
        }
    }
    exporter.stop().await;
    Ok(all)
}

async fn replay(
    account: &Account,
    ledger: &AccountLedger,
    bodies: Vec<SpooledBody>,
    progress: &Bar,
    all: &mut All,
) -> Result<(), StartError> {
    let provider = providers::build(account, Clock::system(), Arc::new(NoopObserver))?;
    // Reports belong to the whole account, which has one application.
    let Some(application) = account.applications.first() else {
        return Ok(());
    };
    // The account's name may have belonged to another vendor, whose bodies cannot be parsed.
    let reports = account.vendor.reports();
    if let Some(dataset) = reports {
        let applications = std::slice::from_ref(application);
        match ledger.open(applications, &[dataset], false).await {
            // If another replica holds the account, that replica releases what is counted here.
            Ok(_) | Err(StoreError::Fenced) => {}
            Err(error) => return Err(of_store(error)),
        }
    }
    let read = |body: &[u8]| provider.read_pushed(body);
    let dataset = reports.or(account.collect.first().copied());
    let Some(dataset) = dataset else {
        return Ok(());
    };
    for body in bodies {
        let replayed = ledger.replay(application, dataset, &body, &read).await;
        progress.answered(1);
        let replayed = match replayed {
            Ok(replayed) => replayed,
            // The other bodies can still be replayed.
            Err(error) => {
                progress.suspend_bars(|| eprintln!("{} {}: {error}", account.name, body.0));
                all.failed += 1;
                continue;
            }
        };
        progress.suspend_bars(|| println!("{} {}: {}", account.name, body.0, words(&replayed)));
        all.bodies += 1;
        all.counted += replayed.counted;
        all.left += usize::from(replayed.left.is_some());
    }
    Ok(())
}

fn words(replayed: &Replayed) -> String {
    let Replayed {
        counted,
        duplicates,
        left,
    } = replayed;
    let mut text = format!("{counted} reports counted");
    if *duplicates > 0 {
        text.push_str(&format!(", {duplicates} already counted"));
    }
    match left {
        None => text.push_str("; everything could be parsed"),
        Some(why) => text.push_str(&format!("; a part remains in quarantine: {why}")),
    }
    text
}
