//! Reading a page-numbered list to its end, for every vendor that has one.
//!
//! No vendor documents the order of its rows, whether a bound is inclusive, or what the page behind
//! the last one looks like, and rows move between pages while they are read. So nothing of that is
//! assumed: a short page is not the last one, the `total` of the answer is held against the rows
//! that came, and a list that stays shorter than its `total` is a failure.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use futures_util::future::BoxFuture;

use super::{Failure, FailureKind};

/// So many pages in a row without a new row end an attempt, even if rows are missing.
const MAX_BARREN_PAGES: u32 = 10;
/// So many messages of all windows of a list are read: one that goes on beyond does not end.
const MAX_ROWS: usize = 1_000_000;
/// A vendor without a `total` that repeats rows so often has no more.
const MAX_REPEATED_PAGES: u32 = 3;

/// What is known of a list before its first page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    /// The number of the first page: 0 or 1.
    pub(super) first_page: u64,
    /// How many rows to ask for in a page. A page may hold fewer.
    pub(super) per_page: u64,
    /// The most pages of one window in one attempt.
    pub(super) max_pages: u64,
    /// What the keys of rows are made of.
    pub(super) keys: RowKeys,
}

/// What the keys of rows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKeys {
    /// The vendor's ids: two rows with one key are one row.
    Ids,
    /// The content of the rows, which have no ids: two rows with one key may be two rows that
    /// cannot be told apart. Where two attempts find the same keys in exactly `total` rows, none
    /// is missing.
    Content,
}

/// Which page to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// Its number, counted from [`Paging::first_page`].
    pub(super) page: u64,
    /// How many rows to ask for.
    pub(super) per_page: u64,
}

/// A page as the vendor sent it.
#[derive(Clone, Debug)]
pub(super) struct Page<K, T> {
    /// Its rows, each with a key made of normalised values. Rows that cannot be read are here too,
    /// for `total` counts them.
    pub(super) rows: Vec<(K, T)>,
    /// How many rows the whole list has, if the vendor says so.
    pub(super) total: Option<u64>,
}

/// The first attempt at a window, or the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AttemptNumber {
    First,
    Second,
}

/// How a window ended.
#[derive(Debug)]
pub(super) enum WindowEnd {
    /// All rows were handed over.
    Complete,
    /// It has more pages than one window may have.
    TooLong(Failure),
    /// The vendor did not hand out all rows; those that it did were handed over.
    Incomplete(Failure),
}

/// One reading of a window from its first page on.
#[derive(Debug)]
struct Attempt {
    request: PageRequest,
    /// How many pages were read.
    pages: u64,
    /// How many rows came, repeats included.
    rows: u64,
    /// The most rows that one page held.
    longest_page: u64,
    /// The highest `total` that any page told: the page behind the end may say 0.
    total: Option<u64>,
    /// How many pages in a row had no row that is new to the attempt.
    barren_pages: u32,
    /// How many pages in a row had the same rows as the page before, in any order.
    same_pages: u32,
    last_page: Option<(usize, u64)>,
}

impl Attempt {
    fn new(first_page: u64, per_page: u64) -> Attempt {
        Attempt {
            request: PageRequest {
                page: first_page,
                per_page,
            },
            pages: 0,
            rows: 0,
            longest_page: 0,
            total: None,
            barren_pages: 0,
            same_pages: 0,
            last_page: None,
        }
    }
}

/// The course of one window: which page to ask for next, and which rows are new. It makes no
/// requests itself; [`read_windows`] drives it.
#[derive(Debug)]
pub(super) struct Pager<K> {
    paging: Paging,
    /// Whether the window can be split when it is too long.
    divisible: bool,
    /// The rows of both attempts, each with the attempt that saw it last.
    keys: HashMap<K, AttemptNumber>,
    attempt: Attempt,
    /// Of the first attempt, once the second has begun: whether exactly `total` rows came, and how
    /// many keys they had.
    first_attempt: Option<(bool, usize)>,
    end: Option<WindowEnd>,
}

impl<K: Eq + Hash> Pager<K> {
    pub(super) fn new(paging: Paging, divisible: bool) -> Pager<K> {
        Pager {
            paging,
            divisible,
            keys: HashMap::new(),
            attempt: Attempt::new(paging.first_page, paging.per_page),
            first_attempt: None,
            end: None,
        }
    }

    /// The page to ask for; `None`: the window has ended.
    pub(super) fn next(&self) -> Option<PageRequest> {
        self.end.is_none().then_some(self.attempt.request)
    }

    /// How the window ended; complete, if the caller has stopped because it needs no more rows.
    pub(super) fn into_end(self) -> WindowEnd {
        self.end.unwrap_or(WindowEnd::Complete)
    }

    /// Takes the page that was asked for, and gives its rows that are new in this window.
    pub(super) fn take<T>(&mut self, page: Page<K, T>) -> Vec<T> {
        let count = page.rows.len();
        let hash_sum = page.rows.iter().fold(0_u64, |sum, (key, _)| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            sum.wrapping_add(hasher.finish())
        });
        let current = match self.first_attempt {
            None => AttemptNumber::First,
            Some(_) => AttemptNumber::Second,
        };
        let (mut new, mut barren) = (Vec::new(), true);
        for (key, row) in page.rows {
            match self.keys.insert(key, current) {
                None => {
                    barren = false;
                    new.push(row);
                }
                Some(seen_by) => barren &= seen_by == current,
            }
        }
        let attempt = &mut self.attempt;
        attempt.pages += 1;
        attempt.rows += count as u64;
        attempt.longest_page = attempt.longest_page.max(count as u64);
        attempt.total = attempt.total.max(page.total);
        let same = attempt.last_page.replace((count, hash_sum)) == Some((count, hash_sum));
        attempt.same_pages = if same { attempt.same_pages + 1 } else { 0 };
        attempt.barren_pages = if barren { attempt.barren_pages + 1 } else { 0 };
        self.judge(count as u64, barren);
        new
    }

    /// The vendor refused the page that was asked for: behind the last page that is the end.
    ///
    /// # Errors
    ///
    /// It is no such refusal: the failure itself.
    pub(super) fn refused(&mut self, failure: Failure) -> Result<(), Failure> {
        let refusal = matches!(failure.kind, FailureKind::NotFound | FailureKind::Vendor)
            && failure.status.is_some_and(|status| status < 500);
        if !refusal || self.attempt.pages == 0 || !self.is_satisfied() {
            return Err(failure);
        }
        self.end = Some(WindowEnd::Complete);
        Ok(())
    }

    /// Whether as many rows are known as the vendor says that there are.
    fn is_satisfied(&self) -> bool {
        let total = self.attempt.total;
        total.is_some_and(|total| self.keys.len() as u64 >= total)
    }

    /// Decides how to go on after a page with `count` rows, none of them new to the attempt if it is `barren`.
    fn judge(&mut self, count: u64, barren: bool) {
        let attempt = &self.attempt;
        match attempt.total {
            Some(_) if barren && self.is_satisfied() => self.end = Some(WindowEnd::Complete),
            Some(total) if barren => {
                // A page without rows in the middle is passed over, and so is one that repeats
                // rows, for they may have moved.
                let rows_per_page = match attempt.longest_page {
                    0 => attempt.request.per_page,
                    longest => longest,
                };
                let past_total = (attempt.pages - 1).saturating_mul(rows_per_page) > total;
                if past_total || attempt.barren_pages >= MAX_BARREN_PAGES {
                    self.attempt_ended(total);
                } else {
                    self.turn_page();
                }
            }
            None if count == 0 => self.end = Some(WindowEnd::Complete),
            None if attempt.barren_pages >= MAX_REPEATED_PAGES => {
                let one_page = attempt.same_pages + 1 >= MAX_REPEATED_PAGES;
                self.end = Some(if one_page && count < attempt.request.per_page {
                    // The vendor knows no pages, or has only this one.
                    WindowEnd::Complete
                } else {
                    WindowEnd::Incomplete(endless())
                });
            }
            _ => self.turn_page(),
        }
    }

    fn turn_page(&mut self) {
        let attempt = &mut self.attempt;
        attempt.request.page += 1;
        let hopeless = attempt.total.is_some_and(|total| {
            let most = attempt.longest_page.saturating_mul(self.paging.max_pages);
            self.divisible && attempt.longest_page > 0 && total > most
        });
        if hopeless || attempt.pages >= self.paging.max_pages {
            self.end = Some(WindowEnd::TooLong(endless()));
        }
    }

    /// The attempt is over with fewer rows than `total`: rows moved while they were read, or the
    /// vendor counts its pages by another length. One more attempt follows.
    fn attempt_ended(&mut self, total: u64) {
        let exact = self.attempt.rows == total;
        let Some((first_exact, first_keys)) = self.first_attempt else {
            self.first_attempt = Some((exact, self.keys.len()));
            let asked = self.attempt.request.per_page;
            let per_page = match self.attempt.longest_page {
                0 => asked,
                longest => longest.min(asked),
            };
            self.attempt = Attempt::new(self.paging.first_page, per_page);
            return;
        };
        let no_more = first_exact && exact && first_keys == self.keys.len();
        self.end = Some(if self.paging.keys == RowKeys::Content && no_more {
            WindowEnd::Complete
        } else {
            let text = format!("the list holds {} of {total} rows", self.keys.len());
            WindowEnd::Incomplete(Failure::new(FailureKind::Vendor, &text))
        });
    }
}

fn endless() -> Failure {
    Failure::new(FailureKind::Vendor, "the vendor's pages do not end")
}

/// Reads windows of a list as [`read_windows_apart`], and fails also if a window is not complete.
///
/// # Errors
///
/// A request failed: at once. A window is not complete: after all windows were read.
pub(super) async fn read_windows<'f, W, K, T>(
    windows: Vec<W>,
    paging: Paging,
    fetch: impl FnMut(&W, PageRequest) -> BoxFuture<'f, Result<Page<K, T>, Failure>>,
    split: impl Fn(&W) -> Option<(W, W)>,
    take: impl FnMut(Vec<T>),
) -> Result<(), Failure>
where
    K: Eq + Hash,
{
    let incomplete = read_windows_apart(windows, paging, fetch, split, take).await?;
    incomplete.map_or(Ok(()), Err)
}

/// Reads windows of a list one after the other, each to its end, and hands over the rows of each
/// page that are new in their window. Windows may share rows: to hand over each once is up to
/// `take`. A window that is too long is read in halves, as far as `split` divides it. Gives what is
/// wrong with the first window that is not complete.
///
/// # Errors
///
/// A request failed: nothing more was read.
pub(super) async fn read_windows_apart<'f, W, K, T>(
    windows: Vec<W>,
    paging: Paging,
    mut fetch: impl FnMut(&W, PageRequest) -> BoxFuture<'f, Result<Page<K, T>, Failure>>,
    split: impl Fn(&W) -> Option<(W, W)>,
    mut take: impl FnMut(Vec<T>),
) -> Result<Option<Failure>, Failure>
where
    K: Eq + Hash,
{
    let mut incomplete = None;
    let is_of_messages = paging.keys == RowKeys::Ids;
    let mut waiting = windows;
    waiting.reverse();
    let mut row_count = 0;
    while let Some(window) = waiting.pop() {
        let halves = split(&window);
        let mut pager = Pager::new(paging, halves.is_some());
        while let Some(request) = pager.next() {
            match fetch(&window, request).await {
                Ok(page) => {
                    let new = pager.take(page);
                    row_count += new.len();
                    if !new.is_empty() {
                        take(new);
                    }
                    if is_of_messages && row_count > MAX_ROWS {
                        return Err(endless());
                    }
                }
                Err(failure) => pager.refused(failure)?,
            }
        }
        match (pager.into_end(), halves) {
            (WindowEnd::Complete, _) => {}
            (WindowEnd::TooLong(_), Some((first, second))) => waiting.extend([second, first]),
            (WindowEnd::TooLong(failure) | WindowEnd::Incomplete(failure), _) => {
                incomplete = incomplete.or(Some(failure));
            }
        }
    }
    Ok(incomplete)
}

#[cfg(test)]
mod tests;
