//! Lists and pages in a mood: their order, their length, rows that come twice or move, and the
//! number of rows over all pages.

use serde_json::Value;

use super::{Bounds, Call, Order, Repeats, Total, text_hash};
use crate::traffic::mix;

/// What a page is cut from.
pub(crate) struct Wanted {
    /// The number of the page, from 0.
    pub page: usize,
    /// How many rows were asked for.
    pub size: usize,
}

/// A page of rows, and the number of rows over all pages.
pub(crate) struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// How many rows there are over all pages.
    pub total: usize,
    /// How many rows a page has at most.
    pub size: usize,
    /// The number of the first row that is not in this page or one before it.
    pub next: usize,
    /// Whether no row comes after this page, repeated ones included.
    pub is_last: bool,
}

/// Cuts a page from all rows, which are in the calm vendor's order; `identity` tells when a row was
/// and what names it.
pub(crate) fn page<T: Clone>(
    rows: Vec<T>,
    wanted: &Wanted,
    call: Option<&Call>,
    identity: impl Fn(&T) -> (i64, u64),
) -> Page<T> {
    let start = |size: usize| wanted.page.saturating_mul(size);
    let Some(call) = call else {
        return cut(rows, start(wanted.size), wanted.size);
    };
    let size = capped(wanted.size, call);
    listed(rows, start(size), size, call, identity)
}

/// A page that begins at a row.
pub(crate) fn page_from<T: Clone>(
    rows: Vec<T>,
    skip: usize,
    size: usize,
    call: Option<&Call>,
    identity: impl Fn(&T) -> (i64, u64),
) -> Page<T> {
    match call {
        None => cut(rows, skip, size),
        Some(call) => listed(rows, skip, capped(size, call), call, identity),
    }
}

/// The vendor's own limit of a page.
pub(crate) fn capped(size: usize, call: &Call) -> usize {
    let cap = call.mood.page_cap as usize;
    if cap == 0 || size <= cap {
        return size;
    }
    call.note("page_cap");
    cap
}

fn listed<T: Clone>(
    mut rows: Vec<T>,
    skip: usize,
    size: usize,
    call: &Call,
    identity: impl Fn(&T) -> (i64, u64),
) -> Page<T> {
    let mood = &call.mood;
    if rows.len() > 1 && mood.order != Order::Usual {
        call.note("order");
        let salt = match mood.order {
            Order::Reshuffled => call.luck("order"),
            _ => mood.seed,
        };
        match mood.order {
            Order::Usual => {}
            Order::Oldest => rows.sort_by_key(|row| identity(row)),
            Order::Newest => rows.sort_by_key(|row| std::cmp::Reverse(identity(row))),
            Order::Shuffled | Order::Reshuffled => {
                rows.sort_by_cached_key(|row| mix(salt, identity(row).1));
            }
        }
    }
    let distinct = rows.len();
    if mood.repeats != Repeats::Never && !rows.is_empty() {
        rows = repeated(rows, size, call, &identity);
    }
    if mood.moving_rows && skip > 0 && skip < rows.len() && call.happens("moving_rows", 400) {
        // The first row of this page has gone to the front meanwhile.
        call.note("moving_rows");
        rows[..=skip].rotate_right(1);
    }
    let counts_repeats = call.fixed("total", 0).is_multiple_of(2);
    let mut page = cut(rows, skip, size);
    if !counts_repeats {
        page.total = distinct;
    }
    page
}

fn repeated<T: Clone>(
    rows: Vec<T>,
    size: usize,
    call: &Call,
    identity: &impl Fn(&T) -> (i64, u64),
) -> Vec<T> {
    call.note("repeats");
    let mut all = Vec::with_capacity(rows.len() * 5 / 4);
    let mut later = std::collections::VecDeque::new();
    for (index, row) in rows.into_iter().enumerate() {
        let twice = index == 0 || call.fixed("repeats", identity(&row).1).is_multiple_of(5);
        all.push(row.clone());
        if twice {
            let at = match call.mood.repeats {
                Repeats::OverPages => all.len().saturating_add(size),
                _ => all.len(),
            };
            later.push_back((at, row));
        }
        while let Some((_, row)) = later.pop_front_if(|(at, _)| *at <= all.len()) {
            all.push(row);
        }
    }
    all.extend(later.into_iter().map(|(_, row)| row));
    all
}

fn cut<T>(rows: Vec<T>, skip: usize, size: usize) -> Page<T> {
    let total = rows.len();
    let rows: Vec<T> = rows.into_iter().skip(skip).take(size).collect();
    let next = skip.saturating_add(rows.len());
    Page {
        rows,
        total,
        size,
        next,
        is_last: next >= total,
    }
}

/// The number of rows over all pages, as it is written; `None`: it is not.
pub(crate) fn total(total: usize, call: Option<&Call>) -> Option<Value> {
    let Some(call) = call.filter(|call| call.mood.total != Total::Right) else {
        return Some(total.into());
    };
    call.note("total");
    let off = 1 + (call.luck("total off") % 3) as usize;
    match call.mood.total {
        Total::Missing => None,
        Total::Right => Some(total.into()),
        Total::Text => Some(total.to_string().into()),
        Total::High => Some((total + off).into()),
        Total::Low => Some(total.saturating_sub(off).into()),
    }
}

/// Whether something lies in a range whose ends belong to it or not; `usual` is for the calm vendor.
/// An end that is not named does not exist.
pub(crate) fn within<T: Ord + ?Sized>(
    at: &T,
    from: Option<&T>,
    to: Option<&T>,
    usual: (bool, bool),
    call: Option<&Call>,
) -> bool {
    let bounds = call.map_or(Bounds::Usual, |call| call.mood.bounds);
    let (first, last) = match bounds {
        Bounds::Usual => usual,
        Bounds::Both => (true, true),
        Bounds::First => (true, false),
        Bounds::Last => (false, true),
        Bounds::Neither => (false, false),
    };
    if let Some(call) = call
        && (first, last) != usual
        && (from == Some(at) || to == Some(at))
    {
        call.note("bounds");
    }
    from.is_none_or(|from| from < at || (first && from == at))
        && to.is_none_or(|to| at < to || (last && to == at))
}

/// What names a row that has no number.
pub(crate) fn named(text: &str) -> u64 {
    text_hash(text)
}
