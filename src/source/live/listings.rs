//! When the open sockets are listed.

use std::time::{Duration, Instant};

/// How long after one listing of the open sockets the next one comes, where processes have become targets since or
/// there are connections of which it is not known who accepted them: after one that showed some, and at most.
const LISTING_INTERVAL: Duration = Duration::from_millis(500);
const LISTING_INTERVAL_MAX: Duration = Duration::from_secs(8);

/// When the open sockets were listed, and are to be again.
pub(super) struct Listings {
    last: Instant,
    interval: Duration,
    /// How many processes had joined the targets by then.
    joined: u32,
}

impl Listings {
    pub(super) fn new() -> Listings {
        Listings { last: Instant::now(), interval: LISTING_INTERVAL, joined: 0 }
    }

    /// `unclaimed`: there are connections of which it is not known who accepted them.
    pub(super) fn is_due(&self, joined: u32, unclaimed: bool) -> bool {
        let elapsed = self.last.elapsed();
        (unclaimed && elapsed >= self.interval) || (joined != self.joined && elapsed >= LISTING_INTERVAL)
    }

    pub(super) fn made(&mut self, joined: u32, showed: bool) {
        let longer = (self.interval * 2).min(LISTING_INTERVAL_MAX);
        let interval = if showed { LISTING_INTERVAL } else { longer };
        *self = Listings { last: Instant::now(), interval, joined };
    }
}
