//! When the bytes of one direction arrived: so that a message that waited in the buffer keeps its time.

use crate::event::Timestamp;
use crate::protocol::Input;
use std::collections::VecDeque;

/// Most arrivals remembered; beyond it the oldest but one is forgotten, which blurs a little the times of
/// messages in the middle of what waits.
const MAX_ARRIVALS: usize = 64;

/// The arrival of some bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrival {
    pub(super) time: Timestamp,
    /// Orders arrivals of both directions.
    pub(super) order: u64,
}

/// Arrivals of the bytes that were offered and not yet taken.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Offset of the first byte of each, ascending.
    marks: VecDeque<(u64, Arrival)>,
    end: u64,
    /// Order of the newest.
    newest: u64,
}

impl Arrivals {
    /// Notes what is new in `input`.
    pub(super) fn note(&mut self, input: &Input<'_>, order: u64) {
        let end = input.offset + input.data.len() as u64;
        if self.end < end {
            // Bytes that came at once, and nothing of the other direction between them, came as one.
            let time = self.marks.back().map(|(_, last)| last.time);
            let at_once = time == Some(input.time) && order <= self.newest + 1;
            self.newest = order;
            if at_once {
                self.end = end;
                return;
            }
            if self.marks.len() == MAX_ARRIVALS {
                self.marks.remove(1);
            }
            self.marks.push_back((self.end.max(input.offset), Arrival { time: input.time, order }));
            self.end = end;
        }
    }

    /// When the byte at `offset` arrived.
    pub(super) fn at(&self, offset: u64) -> Arrival {
        let later = self.marks.partition_point(|&(first, _)| first <= offset);
        self.marks.get(later.saturating_sub(1)).map_or(Arrival::default(), |&(_, arrival)| arrival)
    }

    /// Forgets what only concerns bytes before `offset`.
    pub(super) fn forget_before(&mut self, offset: u64) {
        while self.marks.get(1).is_some_and(|&(first, _)| first <= offset) {
            self.marks.pop_front();
        }
    }
}
