//! Makes foreign text safe to show in logs, pages, responses and labels.
//!
//! This is centralised because foreign text arrives in many ways: a vendor's or proxy's error can quote the
//! request with its credentials, in any encoding, completely or in part. So every secret is registered when
//! it is read, and [`shown`] and [`masked`] search for all of them, in the text and in everything that it can
//! be decoded to. Data that cannot be registered, such as a person's address or a device's token, is removed
//! by its form.

mod forms;
mod index;
mod views;

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{HashSet, VecDeque},
    fmt,
    ops::Range,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use forms::without_credentials;
pub use forms::{without_addresses, without_user};
use index::{Care, Index};
use views::View;

/// Replaces a secret.
const MASK: &str = "***";
/// The maximum number of characters of a foreign text to show.
const MAX_CHARACTERS: usize = 200;
/// The maximum number of characters of a line about a failure.
const MAX_LINE: usize = 500;
/// The number of bytes of a foreign text to examine; anything after them is never shown.
const MAX_READ: usize = 8 << 10;
/// The maximum depth of nested encodings to decode.
const MAX_DEPTH: usize = 4;
/// The maximum total length of decoded forms, as a multiple of the text's length. Four nested encodings need
/// about 24. A text that needs more was built to do so, and is not shown at all.
const MAX_WORK: usize = 64;
/// The budget of comparisons with secrets, per byte of the text and as a minimum: thousands of secrets with
/// the same prefix are each compared wherever the prefix occurs.
const MAX_COMPARISONS: usize = 64;
const MIN_COMPARISONS: usize = 1_000_000;
/// The number of signatures to remember: those of requests that may still be answered.
const MAX_SIGNATURES: usize = 64;
/// The maximum number of forms of secrets to remember over all reloads and rotations, about ten per secret.
const MAX_SECRETS: usize = 100_000;
/// Shorter values do not count as secrets, because they would match everywhere.
const MIN_SECRET: usize = 4;
/// Shorter user names are likely to match other things.
const MIN_USER: usize = 6;
/// Words that occur in vendors' errors, which are not masked even if they are used as a password.
const WORDS: [&str; 16] = [
    "access", "account", "admin", "basic", "bearer", "client", "error", "exporter", "invalid",
    "password", "public", "secret", "test", "token", "user", "username",
];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::default);

/// The secrets of this process.
struct Registry {
    known: Mutex<Known>,
    /// The index of the known secrets, outdated if `is_stale`.
    index: ArcSwap<Index>,
    is_stale: AtomicBool,
    signatures: Mutex<Signatures>,
}

impl Default for Registry {
    fn default() -> Registry {
        Registry {
            known: Mutex::default(),
            index: ArcSwap::from_pointee(Index::new([])),
            is_stale: AtomicBool::new(false),
            signatures: Mutex::default(),
        }
    }
}

/// Secrets in the order of registration.
#[derive(Default)]
struct Known {
    order: VecDeque<(Vec<u8>, Care)>,
    all: HashSet<(Vec<u8>, Care)>,
}

/// The most recent signatures.
#[derive(Default)]
struct Signatures {
    last: VecDeque<Vec<u8>>,
    index: Option<Arc<Index>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Registers secrets (passwords, tokens, keys), which are masked from now on.
pub fn register<'a>(secrets: impl IntoIterator<Item = &'a str>) {
    let mut entries = Vec::new();
    for secret in secrets {
        add_secret(secret, &mut entries);
        // A value that is sent with an authentication scheme is also a secret without it.
        if let Some((_, token)) = secret.split_once(' ') {
            add_secret(token.trim(), &mut entries);
            // Basic credentials contain a user and a password.
            if let Ok(pair) = STANDARD.decode(token.trim())
                && let Ok(pair) = String::from_utf8(pair)
                && let Some((user, password)) = pair.split_once(':')
            {
                add_pair(user, password, &mut entries);
            }
        }
    }
    REGISTRY.add(entries);
}

/// Registers a user with a password, each alone and both together, as Basic authentication sends
/// them.
pub fn register_user(user: &str, password: &str) {
    let mut entries = Vec::new();
    add_pair(user, password, &mut entries);
    REGISTRY.add(entries);
}

/// Registers the user, the password and the query's values of a URL.
pub fn register_url(url: &str) {
    let mut entries = Vec::new();
    if let Ok(url) = reqwest::Url::parse(url) {
        let password = url.password().unwrap_or_default();
        add_pair(url.username(), password, &mut entries);
        add_pair(&decoded(url.username()), &decoded(password), &mut entries);
        for (_, value) in url.query_pairs() {
            if value.len() >= 16 {
                add_secret(&value, &mut entries);
            }
        }
    }
    REGISTRY.add(entries);
}

/// Remembers the signature of a request that is about to be sent.
pub fn note_signature(signature: &str) {
    let mut signatures = lock(&REGISTRY.signatures);
    // Its bytes, because it can come back in another encoding.
    let view = View::new(signature);
    view.packed(true, |run, decoded| {
        if run.start == 0 && decoded.bytes.len() >= 16 {
            signatures.last.push_back(decoded.bytes);
        }
    });
    signatures.last.push_back(signature.as_bytes().to_vec());
    while signatures.last.len() > MAX_SIGNATURES {
        signatures.last.pop_front();
    }
    signatures.index = None;
}

fn decoded(text: &str) -> String {
    let view = View::new(text);
    let bytes = view.unescaped().map_or(view.bytes, |own| own.bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn add_pair(user: &str, password: &str, entries: &mut Vec<(Vec<u8>, Care)>) {
    add_secret(password, entries);
    let is_word = WORDS.contains(&user.to_ascii_lowercase().as_str());
    if user.len() >= MIN_USER && !is_word {
        entries.push((user.into(), Care::InTexts));
    }
    let pair = format!("{user}:{password}");
    if pair.len() > MIN_SECRET {
        entries.push((pair.into(), Care::Whole));
    }
}

fn add_secret(secret: &str, entries: &mut Vec<(Vec<u8>, Care)>) {
    let is_word = WORDS.contains(&secret.to_ascii_lowercase().as_str());
    if secret.len() < MIN_SECRET || is_word {
        return;
    }
    let is_letters = secret.bytes().all(|byte| byte.is_ascii_alphabetic());
    let care = match secret.len() {
        0..8 => Care::InTexts,
        8..16 if is_letters => Care::InTexts,
        _ => Care::Pieces,
    };
    entries.push((secret.into(), care));
    if care == Care::Pieces {
        // Base64 with changed case can no longer be decoded, only compared.
        for before in ["", "x", "xx"] {
            let encoded = STANDARD.encode(format!("{before}{secret}"));
            // The first and last characters depend on the bytes next to the secret.
            let inner = &encoded[4..encoded.len() - 4];
            if inner.len() >= 8 {
                entries.push((inner.into(), care));
                entries.push((inner.replace('+', "-").replace('/', "_").into(), care));
            }
        }
    }
    // A password's digest is masked too, because it would allow offline guessing.
    entries.push((Sha256::digest(secret).to_vec(), Care::Pieces));
    entries.push((Sha1::digest(secret).to_vec(), Care::Pieces));
}

impl Registry {
    fn add(&self, entries: Vec<(Vec<u8>, Care)>) {
        let mut known = lock(&self.known);
        let before = known.order.len();
        for entry in entries {
            if known.all.insert(entry.clone()) {
                known.order.push_back(entry);
            }
        }
        if known.order.len() == before {
            return;
        }
        while known.order.len() > MAX_SECRETS
            && let Some(oldest) = known.order.pop_front()
        {
            known.all.remove(&oldest);
        }
        // The index is rebuilt lazily, because a configuration registers many secrets at once.
        self.is_stale.store(true, Ordering::Release);
    }

    fn index(&self) -> Arc<Index> {
        if self.is_stale.load(Ordering::Acquire) {
            let known = lock(&self.known);
            if self.is_stale.load(Ordering::Acquire) {
                let secrets = known.order.iter();
                let secrets = secrets.map(|(own, care)| (own.as_slice(), *care));
                self.index.store(Arc::new(Index::new(secrets)));
                self.is_stale.store(false, Ordering::Release);
            }
        }
        self.index.load_full()
    }

    fn signatures(&self) -> Arc<Index> {
        let mut signatures = lock(&self.signatures);
        let Signatures { last, index } = &mut *signatures;
        let new = || {
            Arc::new(Index::new(
                last.iter().map(|own| (own.as_slice(), Care::Pieces)),
            ))
        };
        index.get_or_insert_with(new).clone()
    }
}

/// A search for secrets in one text.
struct Search {
    indices: [Arc<Index>; 2],
    /// Whether the text is foreign and not the exporter's own.
    in_text: bool,
    work: usize,
    comparisons: usize,
    found: Vec<Range<usize>>,
}

fn comparisons_for(text: &[u8]) -> usize {
    let for_each = text.len().saturating_mul(MAX_COMPARISONS);
    for_each.max(MIN_COMPARISONS)
}

impl Search {
    /// The ranges of secrets in a text; `None` if the search takes too long.
    fn run(text: &str, in_text: bool) -> Option<Vec<Range<usize>>> {
        let mut search = Search {
            indices: [REGISTRY.index(), REGISTRY.signatures()],
            in_text,
            work: (text.len() + 64).saturating_mul(MAX_WORK),
            comparisons: comparisons_for(text.as_bytes()),
            found: Vec::new(),
        };
        search.look(&View::new(text), MAX_DEPTH)?;
        Some(search.found)
    }

    /// Whether an undecoded text contains no secret that must not occur in any text.
    fn finds_nothing_in(text: &[u8]) -> bool {
        let mut is_clean = true;
        for index in [REGISTRY.index(), REGISTRY.signatures()] {
            let mut left = comparisons_for(text);
            let told = index.find(text, false, &mut left, |_| is_clean = false);
            is_clean &= told.is_some();
        }
        is_clean
    }

    fn look(&mut self, view: &View, depth: usize) -> Option<()> {
        self.work = self.work.checked_sub(view.bytes.len() + 1)?;
        for index in self.indices.clone() {
            let found = |range| self.found.push(view.source(range));
            index.find(&view.bytes, self.in_text, &mut self.comparisons, found)?;
        }
        if depth == 0 {
            return Some(());
        }
        if let Some(plain) = view.unescaped() {
            self.look(&plain, depth - 1)?;
        }
        if self.indices[0].has_space
            && let Some(plain) = view.with_spaces()
        {
            self.look(&plain, depth - 1)?;
        }
        let mut in_time = Some(());
        view.packed(self.in_text, |run, decoded| {
            let before = self.found.len();
            in_time = in_time.and_then(|()| {
                if decoded.is_text() {
                    return self.look(&decoded, depth - 1);
                }
                self.look(&decoded, 0)?;
                // Adjacent characters were decoded as garbage.
                let mut texts = decoded.texts();
                texts.try_for_each(|text| self.look(&text, depth - 1))
            });
            if self.found.len() > before {
                // The rest of the run belongs to the secret.
                self.found.push(view.source(run));
            }
        });
        in_time
    }
}

/// Masks the registered secrets in the exporter's own texts. Ambiguous names (a user's name, a short
/// password) are kept.
pub fn masked(text: &str) -> Cow<'_, str> {
    mask(text, false)
}

/// A label's value without the registered secrets; `None` if it contains none.
pub fn masked_label(text: &str) -> Option<String> {
    // Shorter than any secret in the index.
    if text.len() < 8 {
        return None;
    }
    // Labels are checked each time their counter changes, and very few of them can be decoded.
    if !views::may_be_encoded(text.as_bytes()) && Search::finds_nothing_in(text.as_bytes()) {
        return None;
    }
    match masked(text) {
        Cow::Borrowed(own) if own == text => None,
        other => Some(other.into_owned()),
    }
}

fn mask(text: &str, in_text: bool) -> Cow<'_, str> {
    let Some(mut found) = Search::run(text, in_text) else {
        return Cow::Borrowed("(a text that cannot be shown)");
    };
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_unstable_by_key(|range| (range.start, range.end));
    let mut masked = String::with_capacity(text.len());
    let mut at = 0;
    for range in found {
        let start = text.floor_char_boundary(range.start);
        let end = text.ceil_char_boundary(range.end);
        if end <= at {
            continue;
        }
        if start > at || at == 0 {
            masked.push_str(&text[at..start.max(at)]);
            masked.push_str(MASK);
        }
        at = end;
    }
    masked.push_str(&text[at..]);
    Cow::Owned(masked)
}

/// A foreign text that is safe to show: without secrets and addresses of people and devices, on one line,
/// with at most 200 characters.
pub fn shown(text: &str) -> String {
    shown_within(text, MAX_CHARACTERS)
}

/// Like [`shown`], with another limit in characters.
pub fn shown_within(text: &str, most: usize) -> String {
    show(text, most, true)
}

fn show(text: &str, most: usize, in_text: bool) -> String {
    let read = &text[..text.floor_char_boundary(MAX_READ.max(2 * most))];
    let masked = mask(read, in_text);
    let masked = without_credentials(&masked);
    let masked = without_addresses(&masked);
    let mut shown: String = masked
        .chars()
        .map(|c| if hides(c) { ' ' } else { c })
        .take(most)
        .collect();
    if read.len() < text.len() || masked.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown.trim().to_owned()
}

/// Several lines of a foreign text, each safe to show.
pub fn shown_lines(text: &str) -> String {
    let lines = text.lines().take(100);
    let lines = lines.map(|line| shown_within(line, 1000));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether a character changes the display of its neighbours, or controls the terminal.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A foreign text on one line that is safe to show. It can only be created by masking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShownText(String);

impl ShownText {
    /// Masks a text. Quotes from a vendor must already have passed through [`shown`], which removes more: in
    /// the exporter's own words, a user's name may be that of a directory.
    pub fn new(text: &str) -> ShownText {
        ShownText(show(text, MAX_LINE, false))
    }
}

impl From<&str> for ShownText {
    fn from(text: &str) -> ShownText {
        ShownText::new(text)
    }
}

impl From<String> for ShownText {
    fn from(text: String) -> ShownText {
        ShownText::new(&text)
    }
}

impl std::ops::Deref for ShownText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShownText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<str> for ShownText {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for ShownText {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}
