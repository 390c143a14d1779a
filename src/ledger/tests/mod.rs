//! Worked cases, the plain model, and the spool with the store.

mod amounts;
mod before;
mod bench;
mod cases;
mod clocks;
mod cut;
mod daily;
mod edges;
mod faulty;
mod identity;
mod model;
mod opening;
mod property;
mod spooled;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use delivery_clock::ManualClock;
use futures_util::FutureExt;

use super::{
    samples::{at_age, counter, measured},
    *,
};
use crate::{
    catalog::{self, CohortPart, FamilyId, LATENCY_BOUNDS},
    config::{self, Account, Config},
    model::{
        Application, BounceKind, Counts, Dataset, ErrorReason, Measure, Message, Snapshot, Totals,
    },
    providers::{Damage, Outcome, Pushed, Report, ReportsRead, SpoolWriter, SpooledBody},
};
use bench::*;
