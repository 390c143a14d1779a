//! A table of channels by account, each compared with its usual rate.

use std::collections::BTreeMap;

use super::account::{AccountRow, NowCell};

/// The maximum number of channels; those with the fewest messages are left out.
const MAX_CHANNELS: usize = 30;

/// The matrix.
pub(super) struct Matrix {
    /// The columns.
    pub(super) channels: Vec<String>,
    pub(super) rows: Vec<MatrixRow>,
    /// Channels with few messages in all accounts.
    pub(super) quiet: Vec<String>,
}

/// One account.
pub(super) struct MatrixRow {
    pub(super) account: String,
    pub(super) has_section: bool,
    pub(super) cells: Vec<Cell>,
}

/// A channel of an account.
pub(super) struct Cell {
    pub(super) channel: String,
    pub(super) kind: CellKind,
}

/// The content of a cell.
pub(super) enum CellKind {
    /// The account has no such channel.
    Nothing,
    /// The vendor gets no delivery receipts for the channel.
    WithoutReceipts(&'static str),
    /// Too few recent messages.
    Quiet,
    Now(NowCell),
}

impl Matrix {
    /// The matrix of these accounts; `None` if no channel has had messages.
    pub(super) fn new(rows: &[AccountRow]) -> Option<Matrix> {
        let mut volumes: BTreeMap<&str, f64> = BTreeMap::new();
        for row in rows {
            // The channels are sorted by messages sent, so the first ones weigh most.
            for (place, channel) in row.channels.iter().enumerate() {
                #[expect(clippy::cast_precision_loss, reason = "there are few channels")]
                let weight = row.sent_number / (place + 1) as f64;
                *volumes.entry(&channel.name).or_default() += weight.max(1.0);
            }
        }
        let mut channels: Vec<_> = volumes.into_iter().collect();
        channels.sort_by(|left, right| right.1.total_cmp(&left.1));
        channels.truncate(MAX_CHANNELS);
        let is_quiet = |name: &&str| {
            let mut cells = rows.iter().map(|row| cell(row, name).kind);
            cells.all(|kind| matches!(kind, CellKind::Nothing | CellKind::Quiet))
        };
        let names = channels.into_iter().map(|(name, _)| name);
        let (quiet, channels): (Vec<&str>, Vec<&str>) = names.partition(is_quiet);
        let channels: Vec<String> = channels.into_iter().map(str::to_owned).collect();
        let matrix_rows: Vec<_> = rows
            .iter()
            .filter(|row| !row.channels.is_empty())
            .map(|row| MatrixRow {
                account: row.name.clone(),
                has_section: row.has_section,
                cells: channels.iter().map(|channel| cell(row, channel)).collect(),
            })
            .collect();
        (!channels.is_empty()).then_some(Matrix {
            channels,
            rows: matrix_rows,
            quiet: quiet.into_iter().map(str::to_owned).collect(),
        })
    }
}

fn cell(row: &AccountRow, channel: &str) -> Cell {
    let found = row.channels.iter().find(|own| own.name == channel);
    let kind = match found {
        None => CellKind::Nothing,
        Some(own) => match (own.without_receipts, &own.now) {
            (Some(note), _) => CellKind::WithoutReceipts(note),
            (None, Some(now)) if !now.is_small && row.is_stale => CellKind::Now(NowCell {
                level: "none",
                ..now.clone()
            }),
            (None, Some(now)) if !now.is_small => CellKind::Now(now.clone()),
            (None, _) => CellKind::Quiet,
        },
    };
    Cell {
        channel: channel.to_owned(),
        kind,
    }
}
