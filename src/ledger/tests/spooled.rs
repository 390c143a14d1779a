//! Bodies that are in the spool and in quarantine.

use super::*;

#[tokio::test]
async fn what_was_spooled_and_not_counted_is_counted_at_the_next_start_once() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let account = bench.account();
    let application = bench.application();
    let body = spool(&account, b"abc").await;
    let counted = account
        .reports(&application, vec![(body, read(b"abc"))])
        .await
        .unwrap();
    bench.take(counted);
    assert_eq!(bench.total(Measure::Sent), Some(3));
    // The process dies here: the next body is durable, and nobody has read it.
    spool(&account, b"cde").await;
    // One more is being written.
    let mut unfinished = account.spool().begin().await.unwrap();
    unfinished.write(b"fgX").await.unwrap();
    account.spool().begin().await.unwrap();
    drop((account, unfinished));
    for _ in 0..2 {
        bench.start().await;
        assert_eq!(bench.total(Measure::Sent), Some(7));
        assert_eq!(bench.duplicates, 0);
        assert_eq!(bench.notes.quarantined.load(Ordering::Relaxed), 1);
        // The rest alone is set aside, under the body's own name.
        let place = "data/spool/mail/quarantine/00000000000000000003.body";
        let rest = std::fs::read(bench.directory.path().join(place));
        assert_eq!(rest.unwrap(), b"X");
    }
    let left = std::fs::read_dir(bench.directory.path().join("data/spool/mail")).unwrap();
    assert_eq!(
        left.count(),
        1,
        "counted bodies are gone, the quarantine stays"
    );
    // And a repeat is known.
    let body = spool(&bench.account(), b"g").await;
    let again = bench
        .account()
        .reports(&application, vec![(body, read(b"g"))])
        .await
        .unwrap();
    assert_eq!(again.duplicates, 1);
}

#[tokio::test]
async fn what_lies_in_quarantine_is_read_again_and_counted_once() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let body = spool(&bench.account(), b"abXcd").await;
    let bodies = vec![(body.clone(), read(b"abXcd"))];
    let counted = bench.account().reports(&application, bodies).await;
    bench.take(counted.unwrap());
    assert_eq!(bench.total(Measure::Sent), Some(2));
    let place = bench.directory.path().join("data/spool/mail/quarantine");
    let place = place.join(body.0.as_ref());
    let rest = || std::fs::read(&place).ok();
    assert_eq!(rest().as_deref(), Some(&b"Xcd"[..]));
    let replay = async |bench: &Bench, read: &(dyn Fn(&[u8]) -> ReportsRead + Sync)| {
        let account = bench.account();
        assert_eq!(account.quarantine().unwrap(), std::slice::from_ref(&body));
        let read = |body: &[u8]| Pushed {
            reports: read(body),
            ..Pushed::default()
        };
        account
            .replay(
                &application,
                crate::providers::dataset("reports").unwrap(),
                &body,
                &read,
            )
            .await
            .unwrap()
    };
    // This version reads no more of it than before.
    let outcome = replay(&bench, &read).await;
    assert_eq!(
        (outcome.counted, outcome.left),
        (0, Some("a capital".into()))
    );
    assert_eq!(rest().as_deref(), Some(&b"Xcd"[..]));
    // One that skips the capital reads all, and leaves it alone. `b` was counted before.
    let skips = |body: &[u8]| ReportsRead {
        damage: Some(Damage {
            at: 0,
            what: "a capital".into(),
            rest: b"X"[..].into(),
            sample_of: None,
        }),
        ..read(&[&body[1..], b"b"].concat())
    };
    let outcome = replay(&bench, &skips).await;
    assert_eq!((outcome.counted, outcome.duplicates), (2, 1));
    assert_eq!(rest().as_deref(), Some(&b"X"[..]));
    // As if the process had died before the file was written: what was counted is known.
    std::fs::write(&place, b"Xcd").unwrap();
    bench.start().await;
    let outcome = replay(&bench, &skips).await;
    assert_eq!((outcome.counted, outcome.duplicates), (0, 3));
    // And one that understands it all leaves nothing.
    let understands = |body: &[u8]| read(&body.to_ascii_lowercase());
    let outcome = replay(&bench, &understands).await;
    assert_eq!((outcome.counted, outcome.left), (1, None));
    assert!(bench.account().quarantine().unwrap().is_empty() && rest().is_none());
    bench.start().await;
    assert_eq!(bench.total(Measure::Sent), Some(5));
}

#[tokio::test]
async fn one_body_of_each_kind_that_holds_no_report_is_kept() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let sample = |kind: &'static str, body: &[u8]| ReportsRead {
        damage: Some(Damage {
            at: 0,
            what: "it is an error".into(),
            rest: body.into(),
            sample_of: Some(kind),
        }),
        ..ReportsRead::default()
    };
    let mut quarantined = 0;
    for (kind, text) in [
        ("error", b"1"),
        ("error", b"2"),
        ("page", b"3"),
        ("error", b"4"),
    ] {
        if text == b"4" {
            bench.start().await;
        }
        let body = spool(&bench.account(), text).await;
        let bodies = vec![(body, sample(kind, text))];
        let delta = bench.account().reports(&application, bodies).await.unwrap();
        quarantined += delta.quarantined;
    }
    assert_eq!(
        (quarantined, bench.notes.quarantined.load(Ordering::Relaxed)),
        (2, 2)
    );
    let kept = bench.account().quarantine().unwrap();
    let names: Vec<&str> = kept.iter().map(|body| body.0.as_ref()).collect();
    assert_eq!(names, ["sample-error.body", "sample-page.body"]);
    let spooled = std::fs::read_dir(bench.directory.path().join("data/spool/mail")).unwrap();
    assert_eq!(spooled.count(), 1, "nothing is left in the spool");
    // What a person has looked at and removed is kept once more.
    let understood = |_: &[u8]| Pushed::default();
    let account = bench.account();
    let replayed = account
        .replay(
            &application,
            crate::providers::dataset("reports").unwrap(),
            &kept[0],
            &understood,
        )
        .await;
    assert_eq!(replayed.unwrap().left, None);
    let body = spool(&bench.account(), b"5").await;
    let bodies = vec![(body, sample("error", b"5"))];
    let delta = bench.account().reports(&application, bodies).await.unwrap();
    assert_eq!(delta.quarantined, 1);
}

#[tokio::test]
async fn of_equal_bodies_in_quarantine_one_is_kept() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let mut stored = Vec::new();
    for text in [b"1", b"1", b"2", b"1", b"2"] {
        if stored.len() == 3 {
            bench.start().await;
        }
        let damage = Damage {
            at: 0,
            what: "unknown".into(),
            rest: text.as_slice().into(),
            sample_of: None,
        };
        let read = ReportsRead {
            damage: Some(damage),
            ..ReportsRead::default()
        };
        let bodies = vec![(spool(&bench.account(), text).await, read)];
        let delta = bench.account().reports(&application, bodies).await.unwrap();
        stored.push(delta.quarantined);
    }
    assert_eq!(stored, [1, 0, 1, 0, 0]);
    assert_eq!(bench.account().quarantine().unwrap().len(), 2);
}

#[tokio::test]
async fn events_in_quarantine_are_counted_by_a_version_that_reads_them() {
    let mut bench = Bench::new(MAIL, "zero_hold: 0s", "10:00:00");
    bench.start().await;
    let application = bench.application();
    let body = spool(&bench.account(), b"X").await;
    let bodies = vec![(body.clone(), read(b"X"))];
    bench.account().reports(&application, bodies).await.unwrap();
    let complaint = crate::model::Event {
        digest: [5; 16],
        former: None,
        kind: crate::model::EventKind::Tracked {
            measure: Measure::Complaints,
            campaign: None,
        },
        at: None,
    };
    let understands = |_: &[u8]| Pushed {
        events: vec![complaint.clone(), complaint.clone()],
        ..Pushed::default()
    };
    let outcome = bench
        .account()
        .replay(
            &application,
            crate::providers::dataset("reports").unwrap(),
            &body,
            &understands,
        )
        .await;
    let outcome = outcome.unwrap();
    assert_eq!(
        (outcome.counted, outcome.duplicates, outcome.left),
        (1, 1, None)
    );
    bench.start().await;
    assert_eq!(bench.total(Measure::Complaints), Some(1));
}

#[tokio::test]
async fn a_store_and_a_spool_belong_to_one_process() {
    let mut bench = Bench::new(MAIL, "", "10:00:00");
    bench.start().await;
    let open = async |config: &Config| {
        let second = Ledger::open(
            config,
            bench.clock.clone(),
            bench.notes.clone(),
            Purpose::Serve,
        )
        .await;
        second.err().unwrap().to_string()
    };
    let said = open(&bench.config).await;
    assert!(
        said.contains("another delivery-exporter uses this spool"),
        "{said}"
    );
    let spool = bench.directory.path().join("elsewhere");
    let other = Config {
        spool,
        ..bench.config.clone()
    };
    let said = open(&other).await;
    assert!(
        said.contains("another delivery-exporter uses this store"),
        "{said}"
    );
}
