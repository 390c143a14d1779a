//! Checks users and their passwords.
//!
//! A check takes a tenth of a second of CPU time, so checks run one at a time, and there are two ways to get one.
//! The first is the allowance of the client's address. Behind a proxy all clients have one address, and whoever
//! guesses there uses its allowance up; so each user name has a small allowance of its own besides, and a flood with
//! other names does not keep a user out whose password is right.
//!
//! Nothing may reveal which users exist. Unknown names pass the same limits as known ones, and their check costs the
//! same: that of the most expensive hash. Where a name uses its own allowance there can be more unknown names than
//! checks fit in; so each wrong password is then refused after the same fixed time, whether it was checked or not.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::web::guesses::{Guesses, Names};

/// The number of wrong passwords to remember.
const MAX_WRONG: usize = 100;
/// The number of concurrent checks: guessing must not take CPU time from scrapes.
const MAX_CHECKS: usize = 1;
/// The number of passwords that may wait for a check by their address's allowance.
const WAITING: usize = 16;
/// bcrypt reads no more of a password, here as in the exporter-toolkit.
const MAX_PASSWORD_BYTES: usize = 72;
/// The hash to check for unknown users; the cost is replaced.
const NOBODY: &str = "$2b$10$sXEDeiah7OpOsn33r.YfhOqbcD/UX5D/VsxbhIFFDONYfJ1mNimzS";
/// The costs that bcrypt allows.
const COSTS: std::ops::RangeInclusive<u32> = 4..=31;
/// A check of this cost takes a tenth of [`LEAST_PAUSE`], which leaves room for those before it and for a busy machine.
const USUAL_COST: u32 = 10;
/// The time after which a wrong password is refused that only its name's allowance let in.
const LEAST_PAUSE: Duration = Duration::from_secs(1);

/// The result of authenticating a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// The user is missing or wrong.
    Refuse,
    /// Too many passwords were tried, so this one was not checked.
    Later,
}

/// The users of the file.
#[derive(Default)]
pub(super) struct Users {
    hashes: HashMap<Arc<str>, Arc<str>>,
    /// The highest cost of their hashes.
    highest: u32,
}

/// Checks passwords, and remembers what it found.
pub(super) struct Passwords {
    known: Mutex<Known>,
    guesses: Guesses,
    names: Names,
    waiting: AtomicUsize,
    /// One of those that wait by their address's allowance is next.
    next: Semaphore,
    checks: Arc<Semaphore>,
}

/// Digests of the passwords that were checked.
#[derive(Default)]
struct Known {
    /// At most one per user, apart from the wrong ones, so that guessing evicts none of them.
    right: HashMap<Arc<str>, [u8; 32]>,
    wrong: HashSet<[u8; 32]>,
}

impl Users {
    /// Users with the hashes of their passwords.
    pub(super) fn new(hashes: HashMap<Arc<str>, Arc<str>>) -> Users {
        let costs = hashes.values().filter_map(|hash| cost(hash));
        let highest = costs.max().unwrap_or(*COSTS.start());
        Users { hashes, highest }
    }

    /// The time from a wrong password to its refusal where it was not the address's allowance that let it in.
    fn pause(&self) -> Duration {
        LEAST_PAUSE * (1 << self.highest.saturating_sub(USUAL_COST).min(5))
    }
}

impl Passwords {
    pub(super) fn new() -> Passwords {
        Passwords {
            known: Mutex::default(),
            guesses: Guesses::default(),
            names: Names::default(),
            waiting: AtomicUsize::new(0),
            next: Semaphore::new(1),
            checks: Arc::new(Semaphore::new(MAX_CHECKS)),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users have been read again. Users whose hash is the same stay known.
    pub(super) fn reload(&self, old: &Users, new: &Users) {
        if old.hashes != new.hashes {
            let mut known = self.known();
            let same = |name: &Arc<str>| old.hashes.get(name) == new.hashes.get(name);
            known.right.retain(|name, _| same(name));
            // All of them, as to forget only those of changed users would tell who they are.
            known.wrong.clear();
        }
    }

    /// Authenticates a user. A password that is already known to be right or wrong is not checked again.
    pub(super) async fn authenticate(
        &self,
        users: &Users,
        user: Option<(String, String)>,
        address: Option<IpAddr>,
    ) -> Verdict {
        if users.hashes.is_empty() {
            return Verdict::Pass;
        }
        let Some((name, password)) = user else {
            return Verdict::Refuse;
        };
        // bcrypt ends a password with a NUL and repeats it: "a" and "a\0a" would be the same.
        if password.contains('\0') {
            return Verdict::Refuse;
        }
        let mut password = password.into_bytes();
        password.truncate(MAX_PASSWORD_BYTES);
        let user = users.hashes.get_key_value(name.as_str());
        let hash = user.map(|(_, hash)| hash.clone());
        let digest = digest(&name, hash.as_deref().unwrap_or(NOBODY), &password);
        {
            let known = self.known();
            if user.is_some_and(|(name, _)| known.right.get(name) == Some(&digest)) {
                return Verdict::Pass;
            }
            if known.wrong.contains(&digest) {
                return Verdict::Refuse;
            }
        }
        let now = Instant::now();
        let place = if self.guesses.allow(address, now) {
            WaitingTurn::take(&self.waiting)
        } else {
            None
        };
        let right = if let Some(_place) = place {
            // Of those who wait here only one is before those whose name lets them in.
            let _next = self.next.acquire().await;
            let permit = self.checks.clone().acquire_owned().await;
            run(permit.ok(), hash, password, users.highest).await
        } else if self.names.allow(&name, now) {
            self.check_by_name(users, hash, password).await
        } else {
            return Verdict::Later;
        };
        let mut known = self.known();
        if let (true, Some((name, _))) = (right, user) {
            known.right.insert(name.clone(), digest);
            self.guesses.right(address);
            return Verdict::Pass;
        }
        if known.wrong.len() >= MAX_WRONG {
            known.wrong.clear();
        }
        known.wrong.insert(digest);
        Verdict::Refuse
    }

    /// Checks a password that only its name's allowance lets in. There are a few checks a minute for each user, but
    /// there may be thousands of unknown names, which are not to keep the users waiting.
    async fn check_by_name(
        &self,
        users: &Users,
        hash: Option<Arc<str>>,
        password: Vec<u8>,
    ) -> bool {
        let refuse_at = tokio::time::Instant::now() + users.pause();
        let right = if hash.is_some() {
            let permit = self.checks.clone().acquire_owned().await;
            run(permit.ok(), hash, password, users.highest).await
        } else {
            // It takes as much CPU time as for a user, if nobody waits for that.
            if let Ok(permit) = self.checks.clone().try_acquire_owned() {
                tokio::spawn(run(Some(permit), None, password, users.highest));
            }
            false
        };
        if !right {
            tokio::time::sleep_until(refuse_at).await;
        }
        right
    }
}

/// A place in the queue of passwords to check.
struct WaitingTurn<'a>(&'a AtomicUsize);

impl WaitingTurn<'_> {
    fn take(waiting: &AtomicUsize) -> Option<WaitingTurn<'_>> {
        let place = WaitingTurn(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for WaitingTurn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A digest of a password of a user. Neither names nor hashes have a colon.
fn digest(name: &str, hash: &str, password: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [name.as_bytes(), b":", hash.as_bytes(), b":", password] {
        digest.update(part);
    }
    digest.finalize().into()
}

/// Checks a password away from the threads that serve. The permit is held to the check's end, even if the client
/// does not wait for it.
async fn run(
    permit: Option<OwnedSemaphorePermit>,
    hash: Option<Arc<str>>,
    password: Vec<u8>,
    highest: u32,
) -> bool {
    let Some(permit) = permit else {
        // The semaphore is never closed.
        return false;
    };
    let check = move || {
        let _permit = permit;
        is_right(hash.as_deref(), &password, highest)
    };
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}

/// Whether the password matches. Unless it does, it takes as long as a check of the highest cost; for an unknown
/// user too.
fn is_right(hash: Option<&str>, password: &[u8], highest: u32) -> bool {
    let spent = match hash.map(|hash| (cost(hash), bcrypt::verify(password, hash))) {
        Some((_, Ok(true))) => return true,
        Some((cost, Ok(false))) => cost,
        Some((_, Err(_))) | None => None,
    };
    for cost in left_costs(spent, highest) {
        let _ = bcrypt::verify(password, &nobody(cost));
    }
    false
}

/// The costs of the checks to add to one that was `spent`, so that all take as long as one of the highest cost: each
/// cost takes twice as long as the one before.
fn left_costs(spent: Option<u32>, highest: u32) -> std::ops::Range<u32> {
    match spent {
        Some(cost) => cost..highest,
        None => highest..highest + 1,
    }
}

fn cost(hash: &str) -> Option<u32> {
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    Some(parts.get_cost()).filter(|cost| COSTS.contains(cost))
}

/// A hash of nobody's password.
fn nobody(cost: u32) -> String {
    format!("$2b${cost:02}{}", &NOBODY[6..])
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    const ADDRESS: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn users(users: &[(&str, &str, u32)]) -> Users {
        let hashed = users.iter().map(|(name, password, cost)| {
            let hash = bcrypt::hash(password, *cost).unwrap();
            (Arc::from(*name), Arc::from(hash))
        });
        Users::new(hashed.collect())
    }

    fn of(name: &str, password: &str) -> Option<(String, String)> {
        Some((name.to_owned(), password.to_owned()))
    }

    /// What follows is let in by names alone.
    async fn use_up_the_address(passwords: &Passwords, users: &Users) {
        for number in 0.. {
            let guess = of("x", &number.to_string());
            if passwords.authenticate(users, guess, ADDRESS).await == Verdict::Later {
                break;
            }
        }
    }

    #[tokio::test]
    async fn passwords_are_checked_once_and_unknown_users_never_pass() {
        let hash: Arc<str> = bcrypt::hash("right", 4).unwrap().into();
        let hashes = ["a", "b"].map(|name| (Arc::from(name), hash.clone()));
        let users = Users::new(hashes.into());
        let passwords = Passwords::new();
        let lets = async |user| passwords.authenticate(&users, user, None).await;
        for _ in 0..2 {
            assert_eq!(lets(of("a", "right")).await, Verdict::Pass);
            assert_eq!(lets(of("b", "right")).await, Verdict::Pass);
            assert_eq!(lets(of("a", "wrong")).await, Verdict::Refuse);
            assert_eq!(lets(of("c", "right")).await, Verdict::Refuse);
            assert_eq!(lets(None).await, Verdict::Refuse);
            let known = passwords.known();
            assert_eq!((known.right.len(), known.wrong.len()), (2, 2));
        }
        let nobody = Users::default();
        let open = passwords.authenticate(&nobody, None, None).await;
        assert_eq!(open, Verdict::Pass);
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_shuts_nobody_out_who_knows_the_password() {
        let users = users(&[("a", "right", 4)]);
        let passwords = Passwords::new();
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let lets = async |password: &str, last| {
            let user = of("a", password);
            passwords.authenticate(&users, user, address(last)).await
        };
        assert_eq!(lets("right", 1).await, Verdict::Pass);
        let mut later = 0;
        for number in 0..2 * MAX_WRONG {
            match lets(&number.to_string(), 2).await {
                Verdict::Pass => panic!("a wrong password passes"),
                Verdict::Refuse => {}
                Verdict::Later => later += 1,
            }
        }
        assert!(later > MAX_WRONG, "{later}");
        assert!(passwords.known().wrong.len() <= MAX_WRONG);
        // The same address, which all clients have behind a proxy.
        assert_eq!(lets("right", 2).await, Verdict::Pass);
        // A wrong password from another address is checked.
        assert_eq!(lets("wrong", 3).await, Verdict::Refuse);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_guesses_with_other_names_keeps_no_user_out_who_was_never_there() {
        let users = users(&[("a", "right", 4)]);
        let passwords = Passwords::new();
        let flood = (0..300).map(|number| of(&format!("x{number}"), "wrong"));
        let all = flood.chain([of("a", "right")]);
        let verdicts = join_all(all.map(|user| passwords.authenticate(&users, user, ADDRESS)));
        let verdicts = verdicts.await;
        assert_eq!(verdicts.last(), Some(&Verdict::Pass));
        let refused = verdicts.iter().filter(|own| **own == Verdict::Refuse);
        assert_eq!(refused.count(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_name_is_answered_like_a_known_one() {
        let users = users(&[("a", "right", 4), ("b", "right", 5)]);
        let passwords = Passwords::new();
        let guess = of("nobody", "guess");
        let first = passwords.authenticate(&users, guess, ADDRESS).await;
        assert_eq!(first, Verdict::Refuse);
        use_up_the_address(&passwords, &users).await;
        let mut seen = Vec::new();
        for name in ["a", "b", "c", "nobody else"] {
            let mut answers = Vec::new();
            for password in ["guess", "guess", "other", "third", "guess"] {
                let began = tokio::time::Instant::now();
                let user = of(name, password);
                let verdict = passwords.authenticate(&users, user, ADDRESS).await;
                answers.push((verdict, began.elapsed().as_secs()));
            }
            seen.push(answers);
        }
        let expected = [
            (Verdict::Refuse, 1),
            (Verdict::Refuse, 0),
            (Verdict::Refuse, 1),
            (Verdict::Later, 0),
            (Verdict::Refuse, 0),
        ];
        assert!(seen.iter().all(|own| *own == expected), "{seen:?}");
    }

    #[test]
    fn each_wrong_password_costs_as_much_as_the_highest() {
        let users = users(&[("a", "right", 4), ("b", "right", 6)]);
        assert_eq!(users.highest, 6);
        for cost in 4..=6 {
            assert_eq!(super::cost(&nobody(cost)), Some(cost));
        }
        let time = |spent: Option<u32>| -> u32 {
            let left = left_costs(spent, 6).map(|cost| 1 << cost);
            spent.map_or(0, |cost| 1 << cost) + left.sum::<u32>()
        };
        for spent in [None, Some(4), Some(5), Some(6)] {
            assert_eq!(time(spent), 1 << 6, "{spent:?}");
        }
        assert_eq!(users.pause(), LEAST_PAUSE);
        let highest = 12;
        let slow = Users { highest, ..users };
        assert_eq!(slow.pause(), 4 * LEAST_PAUSE);
    }

    #[tokio::test]
    async fn a_password_with_nul_is_refused_and_a_long_one_is_known_once() {
        let long = "x".repeat(80);
        let users = users(&[("a", "right", 4), ("b", &long, 4)]);
        let passwords = Passwords::new();
        let lets = async |name: &str, password: &str| {
            let user = of(name, password);
            passwords.authenticate(&users, user, None).await
        };
        assert_eq!(lets("a", "right\0right").await, Verdict::Refuse);
        assert_eq!(lets("a", "right\0").await, Verdict::Refuse);
        assert_eq!(lets("a", "right").await, Verdict::Pass);
        for more in 0..20 {
            let password = format!("{long}{more}");
            assert_eq!(lets("b", &password).await, Verdict::Pass);
        }
        assert_eq!(lets("b", &long[..71]).await, Verdict::Refuse);
        assert_eq!(passwords.known().right.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn users_with_the_same_hash_stay_known_when_the_file_changes() {
        let old = users(&[("a", "right", 4), ("b", "right", 4)]);
        let passwords = Passwords::new();
        for name in ["a", "b"] {
            let verdict = passwords.authenticate(&old, of(name, "right"), ADDRESS);
            assert_eq!(verdict.await, Verdict::Pass);
        }
        let mut hashes = old.hashes.clone();
        hashes.insert("b".into(), bcrypt::hash("other", 4).unwrap().into());
        hashes.insert("c".into(), bcrypt::hash("new", 4).unwrap().into());
        let new = Users::new(hashes);
        passwords.reload(&old, &new);
        assert_eq!(passwords.known().right.len(), 1);
        use_up_the_address(&passwords, &new).await;
        while passwords.names.allow("a", Instant::now()) {}
        let lets = async |name, password| {
            let user = of(name, password);
            passwords.authenticate(&new, user, ADDRESS).await
        };
        assert_eq!(lets("a", "right").await, Verdict::Pass);
        assert_eq!(lets("b", "right").await, Verdict::Refuse);
        assert_eq!(lets("b", "other").await, Verdict::Pass);
    }
}
