//! How the probes and their reader kept up: part of what a trace says at its end.

use crate::source::Pace;
use crate::source::hooks::{self, Runs};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long the run time of the probes is measured, and how often: measuring costs each run of every BPF program of
/// the machine two readings of a clock.
const WINDOW: Duration = Duration::from_millis(100);
const BETWEEN_WINDOWS: Duration = Duration::from_secs(30);

/// Measures run times from time to time.
pub(super) struct Sampling {
    window: Option<OwnedFd>,
    next: Instant,
    /// Records that had come by the end of the last window.
    records: u64,
}

impl Sampling {
    pub(super) fn new() -> Sampling {
        Sampling { window: None, next: Instant::now(), records: 0 }
    }

    /// Opens or closes the window when it is time to; `records` have come so far, and as long as none come there is
    /// nothing to measure. Where the kernel does not measure, there is no figure.
    pub(super) fn turn(&mut self, records: u64) {
        if Instant::now() < self.next || (self.window.is_none() && records == self.records) {
            return;
        }
        let closes = self.window.take().is_some();
        if closes {
            self.records = records;
        } else {
            self.window = hooks::count_runs().ok();
        }
        self.next = Instant::now() + if closes { BETWEEN_WINDOWS } else { WINDOW };
    }
}

/// Puts the figures together; `lag` in nanoseconds.
pub(super) fn of(programs: &[Runs], ring_size: u64, ring_peak: u64, lag: u64) -> Pace {
    let count: u64 = programs.iter().map(|program| program.count).sum();
    let time: u64 = programs.iter().map(|program| program.time).sum();
    let missed = programs.iter().map(|program| program.missed).sum();
    Pace { ring_size, ring_peak, lag, run_time: time.checked_div(count), missed }
}
