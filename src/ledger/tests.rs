use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{
    model::BounceKind,
    providers::{Outcome, Report, SpoolWriter},
};

#[derive(Default)]
struct Notes {
    up: AtomicU64,
    errors: AtomicU64,
    quarantined: AtomicU64,
}

impl StoreNotes for Notes {
    fn up(&self, up: bool) {
        self.up.store(up.into(), Ordering::Relaxed);
    }

    fn error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    fn size(&self, _: &Arc<str>, _: u64, quarantined: u64) {
        self.quarantined.store(quarantined, Ordering::Relaxed);
    }
}

/// A body is a letter per report; a capital one is damage that ends it.
fn read(body: &[u8]) -> ReportsRead {
    let good = body
        .iter()
        .take_while(|byte| byte.is_ascii_lowercase())
        .count();
    let reports = body[..good].iter().map(|byte| Report {
        report: [*byte; 16],
        message: [*byte; 16],
        channel: "email",
        campaign: None,
        status_group: Arc::from(""),
        status: Arc::from(""),
        error_group: Arc::from(""),
        error: Arc::from(""),
        permanent: None,
        outcome: Outcome::Bounced(BounceKind::Soft),
        latency: None,
        cost: None,
    });
    let damage = (good < body.len()).then(|| Damage {
        at: good,
        what: "a capital".into(),
    });
    ReportsRead {
        reports: reports.collect(),
        empty: body == b"".as_slice(),
        damage,
    }
}

fn sent(increments: &[Increment]) -> usize {
    let is_sent = |own: &&Increment| {
        matches!(
            own,
            Increment::Message {
                measure: Measure::Sent,
                ..
            }
        )
    };
    increments.iter().filter(is_sent).count()
}

async fn spool(account: &AccountLedger, body: &[u8]) -> SpooledBody {
    let mut writer: Box<dyn SpoolWriter> = account.spool().begin().await.unwrap();
    for chunk in body.chunks(3) {
        writer.write(chunk).await.unwrap();
    }
    writer.finish().await.unwrap()
}

#[tokio::test]
async fn what_was_spooled_and_not_counted_is_counted_at_the_next_start_once() {
    let directory = tempfile::tempdir().unwrap();
    let name: Arc<str> = Arc::from("mail");
    {
        let ledger = Ledger::open(directory.path(), Arc::new(Notes::default())).unwrap();
        let (account, before) = ledger.account(&name, &read).unwrap();
        assert_eq!(before, []);
        let body = spool(&account, b"abc").await;
        assert_eq!(sent(&account.count(body, read(b"abc")).await.unwrap()), 3);
        // The process dies here: the next body is durable, and nobody has read it.
        spool(&account, b"cde").await;
        // One more is being written.
        let mut unfinished = account.spool().begin().await.unwrap();
        unfinished.write(b"fgX").await.unwrap();
        account.spool().begin().await.unwrap();
    }
    for _ in 0..2 {
        let notes = Arc::new(Notes::default());
        let ledger = Ledger::open(directory.path(), notes.clone()).unwrap();
        let (account, counted) = ledger.account(&name, &read).unwrap();
        assert_eq!(sent(&counted), 7);
        assert!(!counted.contains(&Increment::Duplicate));
        assert_eq!(notes.quarantined.load(Ordering::Relaxed), 1);
        // The rest alone is set aside, under the body's own name.
        let rest = std::fs::read(
            directory
                .path()
                .join("mail/quarantine/00000000000000000003.body"),
        );
        assert_eq!(rest.unwrap(), b"X");
        // And a repeat is known.
        let body = spool(&account, b"g").await;
        assert_eq!(
            account.count(body, read(b"g")).await.unwrap(),
            [Increment::Duplicate]
        );
    }
}

#[tokio::test]
async fn a_body_without_reports_is_removed_and_a_rest_is_quarantined_once() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(directory.path(), Arc::new(Notes::default())).unwrap();
    let (account, _) = ledger.account(&Arc::from("mail"), &read).unwrap();
    let bodies = || {
        std::fs::read_dir(directory.path().join("mail"))
            .unwrap()
            .count()
            - 1
    };
    let empty = ReportsRead {
        empty: true,
        ..ReportsRead::default()
    };
    let body = spool(&account, b"{}").await;
    assert_eq!(bodies(), 1);
    assert_eq!(account.count(body, empty).await.unwrap(), []);
    assert_eq!(bodies(), 0);
    let body = spool(&account, b"aXY").await;
    let first = account.count(body.clone(), read(b"aXY")).await.unwrap();
    assert!(first.contains(&Increment::Quarantined));
    let again = account.count(body, read(b"aXY")).await.unwrap();
    assert!(!again.contains(&Increment::Quarantined));
    assert_eq!(bodies(), 1, "nothing else is ever removed");
}

#[tokio::test]
async fn a_spool_belongs_to_one_process_and_numbers_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let first = Ledger::open(directory.path(), Arc::new(Notes::default())).unwrap();
    let (account, _) = first.account(&Arc::from("mail"), &read).unwrap();
    let body = spool(&account, b"a").await;
    let second = Ledger::open(directory.path(), Arc::new(Notes::default()));
    assert!(
        second
            .err()
            .unwrap()
            .to_string()
            .contains("another delivery-exporter")
    );
    drop((first, account));
    let again = Ledger::open(directory.path(), Arc::new(Notes::default())).unwrap();
    let (account, _) = again.account(&Arc::from("mail"), &read).unwrap();
    assert!(spool(&account, b"b").await > body);
}
