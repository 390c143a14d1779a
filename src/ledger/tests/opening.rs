//! Stores that cannot be used: a clear word, and not one byte is touched.

use std::{
    fs,
    io::ErrorKind,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;

use super::*;

/// A directory with a configuration whose store is `ledger.db`.
struct Place {
    directory: tempfile::TempDir,
    config: Config,
}

impl Place {
    fn new() -> Place {
        let directory = in_memory();
        let path = directory.path().join("config.yaml");
        let text = format!("store: {{url: 'sqlite:ledger.db'}}\nproviders: [{MAIL}]");
        let config = config::parse(&path, &text, &|_| None).unwrap();
        Place { directory, config }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("ledger.db")
    }

    async fn open(&self) -> Result<Ledger, LedgerError> {
        let (clock, _) = Clock::manual(at("10:00:00"));
        Ledger::open(&self.config, clock, Arc::<Notes>::default(), Purpose::Serve).await
    }

    /// A ledger that a process left behind, large enough to have pages in the middle.
    async fn with_ledger() -> Place {
        let place = Place::new();
        let ledger = place.open().await.unwrap();
        let account = ledger
            .account((&place.config, &place.config.accounts[0]))
            .unwrap();
        let own = &place.config.accounts[0];
        account
            .open(&own.applications, &own.collect, true)
            .await
            .unwrap();
        let messages = (0..2000).map(|number| Message {
            application: Arc::from(""),
            id: Arc::from(format!("a message with a long name, number {number}")),
            campaign: None,
            sent_at: None,
        });
        let messages = messages.map(|message| (message, at("10:00:00"))).collect();
        account.load_messages(messages).await.unwrap();
        drop((account, ledger));
        // The thread that writes it closes it a moment later.
        let wal = place.directory.path().join("ledger.db-wal");
        for _ in 0..500 {
            if !wal.exists() {
                return place;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} stays", wal.display());
    }

    /// The store is refused in these words, and is what it was.
    async fn refused(&self, words: &[&str]) {
        let before = fs::read(self.store()).ok();
        let said = self.open().await.err().map(|error| error.to_string());
        let said = said.unwrap_or_else(|| panic!("it was opened, not refused with {words:?}"));
        let path = self.store().display().to_string();
        for word in words.iter().copied().chain([path.as_str()]) {
            assert!(said.contains(word), "{word:?} is missing: {said}");
        }
        assert!(fs::read(self.store()).ok() == before, "{said}");
        for beside in ["ledger.db-wal", "ledger.db-shm", "ledger.db-journal"] {
            let beside = self.directory.path().join(beside);
            let length = fs::metadata(&beside).map_or(0, |own| own.len());
            assert!(
                length == 0 || beside.ends_with("ledger.db-shm"),
                "{beside:?}"
            );
        }
    }
}

const DAMAGED: [&str; 2] = ["damaged", "restore it from a backup, or move it away"];

#[tokio::test]
async fn garbage_in_the_middle_of_a_page_is_found() {
    let place = Place::with_ledger().await;
    let whole = fs::read(place.store()).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 20, "{pages}");
    for page in (2..pages).step_by(5) {
        let mut bytes = whole.clone();
        // Where a page says what it holds.
        bytes[page * 4096..page * 4096 + 64].fill(0xA5);
        fs::write(place.store(), &bytes).unwrap();
        place.refused(&DAMAGED).await;
    }
    fs::write(place.store(), &whole).unwrap();
    assert!(place.open().await.is_ok());
}

#[tokio::test]
async fn a_truncated_file_is_found_wherever_it_ends() {
    let place = Place::with_ledger().await;
    let whole = fs::read(place.store()).unwrap();
    for length in [
        16,
        64,
        99,
        100,
        1000,
        4096,
        5000,
        whole.len() / 2,
        whole.len() - 4096,
    ] {
        fs::write(place.store(), &whole[..length]).unwrap();
        place.refused(&["damaged"]).await;
    }
}

#[tokio::test]
async fn what_is_no_database_is_left_alone() {
    let place = Place::new();
    for bytes in [&b"x"[..], b"name: prices\n", &[0; 8192]] {
        fs::write(place.store(), bytes).unwrap();
        place
            .refused(&[
                "is not an SQLite database",
                "store.url names the wrong file",
            ])
            .await;
    }
}

#[tokio::test]
async fn an_empty_file_is_one_that_lost_its_ledger() {
    let place = Place::with_ledger().await;
    fs::write(place.store(), b"").unwrap();
    place
        .refused(&["is empty", "restore it from a backup, or remove it"])
        .await;
    // A start that was broken off leaves no such file, and nothing in the way of the next one.
    fs::remove_file(place.store()).unwrap();
    let half = place.directory.path().join("ledger.db.new");
    fs::write(&half, b"half of a ledger").unwrap();
    assert!(place.open().await.is_ok());
    assert!(!half.exists());
    let rights = fs::metadata(place.store()).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
}

#[tokio::test]
async fn a_ledger_is_opened_once_under_all_its_names() {
    let place = Place::with_ledger().await;
    let at_name = |name: &str| place.directory.path().join(name);
    let mut names = vec!["ledger.db"];
    // Not every file system has hard links.
    if fs::hard_link(place.store(), at_name("hard.db")).is_ok() {
        names.push("hard.db");
    }
    std::os::unix::fs::symlink("ledger.db", at_name("link.db")).unwrap();
    names.push("link.db");
    for first in &names {
        for second in &names {
            let opened = async |name: &str, spool: &str| {
                let config = Config {
                    store: StoreUrl::Sqlite(at_name(name)),
                    spool: at_name(spool),
                    ..place.config.clone()
                };
                let (clock, _) = Clock::manual(at("10:00:00"));
                Ledger::open(&config, clock, Arc::<Notes>::default(), Purpose::Serve).await
            };
            let held = opened(first, "spool-1").await.unwrap();
            let said = opened(second, "spool-2").await.err();
            let said = said.map(|error| error.to_string());
            let said = said.unwrap_or_else(|| panic!("{first} is opened again as {second}"));
            assert!(
                said.contains("another delivery-exporter uses this store"),
                "{said}"
            );
            drop(held);
            // The thread that writes it gives it up a moment later.
            let mut patience = 500;
            while opened(second, "spool-2").await.is_err() {
                patience -= 1;
                assert!(patience > 0, "{second} stays locked");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn a_link_to_a_ledger_that_is_not_there_yet_is_followed() {
    let place = Place::new();
    fs::create_dir(place.directory.path().join("disk")).unwrap();
    std::os::unix::fs::symlink("disk/real.db", place.store()).unwrap();
    drop(place.open().await.unwrap());
    assert!(place.directory.path().join("disk/real.db").is_file());
    assert!(fs::symlink_metadata(place.store()).unwrap().is_symlink());
}

#[tokio::test]
async fn a_pipe_in_place_of_the_file_holds_nobody_up() {
    let place = Place::new();
    let made = Command::new("mkfifo").arg(place.store()).status().unwrap();
    assert!(made.success());
    let said = place.open().await.err().unwrap().to_string();
    assert!(
        said.contains("not a regular file") && said.contains("store.url"),
        "{said}"
    );
}

#[tokio::test]
async fn another_programs_database_is_left_alone() {
    let place = Place::new();
    let connection = Connection::open(place.store()).unwrap();
    let tables =
        "CREATE TABLE counters (name TEXT, value INTEGER); INSERT INTO counters VALUES ('a', 1);";
    connection.execute_batch(tables).unwrap();
    place
        .refused(&["the database of another program", "store.url"])
        .await;
    connection
        .execute_batch("PRAGMA application_id = 1196444487; PRAGMA user_version = 1;")
        .unwrap();
    drop(connection);
    place
        .refused(&["the database of another program", "store.url"])
        .await;
}

#[tokio::test]
async fn a_later_versions_ledger_is_left_alone() {
    let place = Place::with_ledger().await;
    let connection = Connection::open(place.store()).unwrap();
    connection
        .execute_batch("PRAGMA user_version = 2;")
        .unwrap();
    connection.close().unwrap();
    place
        .refused(&[
            "was written by a later version",
            "use that version or a later one",
        ])
        .await;
}

#[tokio::test]
async fn a_directory_in_place_of_the_file_is_named() {
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    place.refused(&["directory", "store.url"]).await;
    // And a file in place of the directory.
    let place = Place::new();
    let beside = place.directory.path().join("file");
    fs::write(&beside, "x").unwrap();
    let config = Config {
        store: StoreUrl::Sqlite(beside.join("ledger.db")),
        ..place.config
    };
    let (clock, _) = Clock::manual(at("10:00:00"));
    let said = Ledger::open(&config, clock, Arc::<Notes>::default(), Purpose::Serve).await;
    let said = said.err().unwrap().to_string();
    assert!(said.contains(&beside.display().to_string()), "{said}");
    assert_eq!(fs::read(beside).unwrap(), b"x");
}

const UNPRIVILEGED: &str = "ledger::tests::opening::what_cannot_be_written_to_is_named";

/// Permissions do not bind the administrator, so the test is run again as somebody else.
fn as_somebody_else() {
    let once = "DELIVERY_TEST_SOMEBODY";
    assert!(std::env::var_os(once).is_none(), "nothing binds this user");
    let ran = Command::new(std::env::current_exe().unwrap())
        .args([UNPRIVILEGED, "--exact"])
        .env(once, "1")
        .current_dir("/")
        .uid(65_534)
        .output();
    match ran {
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stdout);
            assert!(said.contains("1 passed"), "{said}");
        }
        // Not where only the administrator reaches the tests.
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}"),
    }
}

#[tokio::test]
async fn what_cannot_be_written_to_is_named() {
    let forbid = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    let place = Place::with_ledger().await;
    forbid(&place.store(), 0o444).unwrap();
    if File::options().write(true).open(place.store()).is_ok() {
        return as_somebody_else();
    }
    place
        .refused(&["needs to write to the file and its directory"])
        .await;
    let place = Place::new();
    fs::create_dir(place.directory.path().join("data")).unwrap();
    fs::create_dir(&place.config.spool).unwrap();
    forbid(place.directory.path(), 0o555).unwrap();
    place.refused(&["needs to write there", "store.url"]).await;
    fs::remove_file(place.config.spool.join("lock")).unwrap();
    forbid(&place.config.spool, 0o555).unwrap();
    let said = place.open().await.err().unwrap().to_string();
    assert!(
        said.contains("store.spool") && said.contains("needs to write there"),
        "{said}"
    );
    for path in [place.directory.path(), &place.config.spool] {
        forbid(path, 0o755).unwrap();
    }
}

#[tokio::test]
async fn a_message_whose_numbers_cannot_be_read_is_not_taken_for_a_new_one() {
    let place = Place::with_ledger().await;
    let id = |number: u16| format!("a message with a long name, number {number}");
    let store = Connection::open(place.store()).unwrap();
    let harm = "UPDATE messages SET state = x'ff' WHERE id = ?1";
    assert_eq!(store.execute(harm, [id(7)]).unwrap(), 1);
    drop(store);
    let ledger = place.open().await.unwrap();
    let own = &place.config.accounts[0];
    let account = ledger.account((&place.config, own)).unwrap();
    account
        .open(&own.applications, &own.collect, true)
        .await
        .unwrap();
    let message = |number| {
        let message = Message {
            application: Arc::from(""),
            id: id(number).into(),
            campaign: None,
            sent_at: None,
        };
        vec![(message, at("11:00:00"))]
    };
    for _ in 0..2 {
        let said = account
            .load_messages(message(7))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            said.contains(&id(7)) && said.contains("restore it from a backup"),
            "{said}"
        );
    }
    let met = account.load_messages(message(8)).await.unwrap();
    assert_eq!(met[0].first_seen, at("10:00:00"));
}
