//! The paging core against a scripted vendor.

use std::{cell::RefCell, collections::BTreeSet};

use futures_util::FutureExt;

use super::*;

/// A vendor's list of the numbers below `len`.
struct Vendor {
    len: u64,
    /// The most rows in a page, whatever was asked for.
    cap: u64,
    /// Offsets are counted by the length asked for, not by the real one.
    offset_by_asked: bool,
    total: Option<u64>,
    /// What the vendor answers to a page behind the end.
    behind: Behind,
    /// `page` is ignored.
    only_first: bool,
    /// Rows that are not in a page of this attempt, by the number of the request.
    hidden: fn(request: usize, row: u64) -> bool,
    requests: RefCell<Vec<PageRequest>>,
}

enum Behind {
    Empty,
    Refused(u16),
    LastPage,
}

impl Vendor {
    fn new(len: u64, cap: u64) -> Vendor {
        Vendor {
            len,
            cap,
            offset_by_asked: false,
            total: Some(len),
            behind: Behind::Empty,
            only_first: false,
            hidden: |_, _| false,
            requests: RefCell::default(),
        }
    }

    fn page(
        &self,
        (from, to): (u64, u64),
        request: PageRequest,
    ) -> Result<Page<u64, u64>, Failure> {
        let number = self.requests.borrow().len();
        self.requests.borrow_mut().push(request);
        let to = to.min(self.len);
        let held = request.per_page.min(self.cap);
        let step = if self.offset_by_asked {
            request.per_page
        } else {
            held
        };
        let mut page = if self.only_first { 0 } else { request.page };
        let last = (to - from).saturating_sub(1) / step.max(1);
        if page > last || to == from {
            match self.behind {
                Behind::Empty => {}
                Behind::LastPage => page = last,
                Behind::Refused(status) => {
                    let failure = Failure::new(FailureKind::Vendor, "no such page");
                    return Err(Failure {
                        status: Some(status),
                        ..failure
                    });
                }
            }
        }
        let rows = (from..to).skip(usize::try_from(page * step).unwrap());
        let rows = rows.take(usize::try_from(held).unwrap());
        let rows = rows
            .filter(|row| !(self.hidden)(number, *row))
            .map(|row| (row, row));
        let rows = rows.collect();
        let total = self.total.map(|total| {
            if to == self.len && from == 0 {
                total
            } else {
                to - from
            }
        });
        Ok(Page { rows, total })
    }

    /// What was handed over, each time that it was, and how the reading ended.
    fn read(&self, per_page: u64, keys: RowKeys) -> (Vec<u64>, Result<(), Failure>) {
        let paging = Paging {
            first_page: 0,
            per_page,
            max_pages: 50,
            keys,
        };
        let mut found = Vec::new();
        let fetch = |window: &(u64, u64), request| {
            let page = self.page(*window, request);
            std::future::ready(page).boxed()
        };
        let split = |(from, to): &(u64, u64)| {
            let middle = from.midpoint(*to);
            (to - from > 60).then_some(((*from, middle), (middle, *to)))
        };
        let take = |rows: Vec<u64>| found.extend(rows);
        let windows = vec![(0, self.len)];
        let reading = read_windows(windows, paging, fetch, split, take);
        let result = reading.now_or_never().unwrap();
        (found, result)
    }

    /// All rows, each once.
    #[track_caller]
    fn check(&self, per_page: u64) {
        let (found, result) = self.read(per_page, RowKeys::Ids);
        result.unwrap();
        assert_eq!(found.len() as u64, self.len);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len() as u64, self.len);
    }
}

#[test]
fn pages_shorter_than_asked_for_are_read_to_the_end() {
    for (len, cap) in [(0, 10), (1, 10), (10, 10), (25, 10), (250, 100), (49, 7)] {
        for total in [Some(len), None] {
            for behind in [Behind::Empty, Behind::LastPage] {
                // Full pages that repeat cannot be told from pages that do not end.
                if total.is_none() && matches!(behind, Behind::LastPage) && len == 10 {
                    continue;
                }
                Vendor {
                    total,
                    behind,
                    ..Vendor::new(len, cap)
                }
                .check(1000);
            }
        }
        Vendor::new(len, 1000).check(10);
    }
    let vendor = Vendor {
        behind: Behind::Refused(400),
        ..Vendor::new(25, 10)
    };
    vendor.check(10);
}

#[test]
fn a_full_page_is_followed_by_one_more_even_if_total_is_reached() {
    let vendor = Vendor {
        total: Some(20),
        ..Vendor::new(25, 10)
    };
    vendor.check(10);
    let vendor = Vendor {
        total: Some(0),
        ..Vendor::new(25, 10)
    };
    vendor.check(10);
}

#[test]
fn rows_that_move_are_found_by_one_more_attempt() {
    // Row 15 slips from the second page to the first while the first attempt reads them.
    let vendor = Vendor {
        hidden: |request, row| request < 4 && row == 15,
        ..Vendor::new(25, 10)
    };
    vendor.check(10);
    // A page in the middle is empty, once.
    let vendor = Vendor {
        hidden: |request, _| request == 1,
        ..Vendor::new(35, 10)
    };
    vendor.check(10);
}

#[test]
fn offsets_counted_by_the_length_asked_for_are_met_with_the_real_length() {
    let vendor = Vendor {
        offset_by_asked: true,
        ..Vendor::new(25, 7)
    };
    vendor.check(1000);
    assert_eq!(vendor.requests.borrow().last().unwrap().per_page, 7);
}

#[test]
fn a_list_that_stays_shorter_than_its_total_is_a_failure_with_all_its_rows() {
    let vendor = Vendor {
        total: Some(27),
        ..Vendor::new(25, 10)
    };
    let (found, result) = vendor.read(10, RowKeys::Ids);
    assert_eq!(found.len(), 25);
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.kind, &*failure.text),
        (FailureKind::Vendor, "the list holds 25 of 27 rows")
    );
    // It ends also if the vendor promises very many.
    let vendor = Vendor {
        total: Some(400),
        ..Vendor::new(25, 10)
    };
    assert!(vendor.read(10, RowKeys::Ids).1.is_err());
    assert!(vendor.requests.borrow().len() < 40);
    // The refusal of a page is no end while rows are missing.
    let vendor = Vendor {
        behind: Behind::Refused(400),
        total: Some(27),
        ..Vendor::new(25, 10)
    };
    let (found, result) = vendor.read(10, RowKeys::Ids);
    assert_eq!((found.len(), result.unwrap_err().status), (25, Some(400)));
    // A failing server is no refusal.
    let vendor = Vendor {
        behind: Behind::Refused(503),
        ..Vendor::new(25, 10)
    };
    assert!(vendor.read(10, RowKeys::Ids).1.is_err());
}

#[test]
fn a_vendor_that_ignores_page_has_one_page_unless_it_is_full() {
    let short = Vendor {
        only_first: true,
        total: None,
        ..Vendor::new(25, 1000)
    };
    short.check(1000);
    let full = Vendor {
        only_first: true,
        total: None,
        ..Vendor::new(25, 1000)
    };
    let (found, result) = full.read(10, RowKeys::Ids);
    assert_eq!(
        (found.len(), &*result.unwrap_err().text),
        (10, "the vendor's pages do not end")
    );
}

#[test]
fn a_window_with_too_many_pages_is_read_in_halves() {
    // 50 pages of 2 rows are the most of a window.
    let vendor = Vendor::new(300, 2);
    let (found, result) = vendor.read(1000, RowKeys::Ids);
    result.unwrap();
    let distinct: BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), 300);
    // Without a total, that is known only after the 50 pages.
    let vendor = Vendor {
        total: None,
        ..Vendor::new(300, 2)
    };
    let (found, result) = vendor.read(1000, RowKeys::Ids);
    result.unwrap();
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 300);
    // What cannot be divided any more is read as far as possible, and fails.
    let vendor = Vendor::new(60, 1);
    let (found, result) = vendor.read(1000, RowKeys::Ids);
    assert_eq!((found.len(), result.is_err()), (50, true));
}

#[test]
fn rows_that_cannot_be_told_apart_are_one_only_where_rows_have_no_ids() {
    for keys in [RowKeys::Ids, RowKeys::Content] {
        let paging = Paging {
            first_page: 1,
            per_page: 10,
            max_pages: 50,
            keys,
        };
        let mut found = Vec::new();
        let fetch = |(): &(), request: PageRequest| {
            // Row 3 comes twice, for it is two rows.
            let rows: &[u32] = if request.page == 1 {
                &[1, 2, 3, 3]
            } else {
                &[]
            };
            let rows = rows.iter().map(|row| (*row, *row)).collect();
            std::future::ready(Ok(Page {
                rows,
                total: Some(4),
            }))
            .boxed()
        };
        let take = |rows: Vec<u32>| found.extend(rows);
        let reading = read_windows(vec![()], paging, fetch, |()| None, take);
        let result = reading.now_or_never().unwrap();
        assert_eq!(
            (found, result.is_ok()),
            (vec![1, 2, 3], keys == RowKeys::Content)
        );
    }
}
