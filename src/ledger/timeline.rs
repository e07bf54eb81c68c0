//! When the bytes of a direction moved: some of the moments, evenly spread over the bytes.

use crate::event::Timestamp;

/// How many moments are kept. When there are more, every other one goes.
const MOMENTS_MAX: usize = 256;

/// Moments at which a direction had moved so many bytes.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    moments: Vec<(u64, Timestamp)>,
    /// How many bytes lie between two moments at least.
    step: u64,
    /// The newest, kept or not.
    last: Option<(u64, Timestamp)>,
}

impl Timeline {
    /// At `time`, the bytes up to the one at `offset` had moved.
    pub fn note(&mut self, offset: u64, time: Timestamp) {
        self.last = Some((offset, time));
        if self.moments.last().is_some_and(|&(last, _)| offset < last.saturating_add(self.step.max(1))) {
            return;
        }
        self.moments.push((offset, time));
        if self.moments.len() == MOMENTS_MAX {
            let mut index = 0;
            self.moments.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            let span = self.moments.last().map_or(0, |last| last.0) - self.moments[0].0;
            self.step = span / (MOMENTS_MAX as u64 / 2);
        }
    }

    /// The moments that are kept: offset and time, in order.
    pub fn moments(&self) -> impl Iterator<Item = (u64, Timestamp)> + '_ {
        self.moments.iter().copied()
    }

    /// When the newest bytes moved. Absent where nothing moved.
    pub fn last(&self) -> Option<Timestamp> {
        self.last.map(|(_, time)| time)
    }

    /// When the byte before `offset` had moved and the one at it had not, where that moment is kept.
    pub fn at(&self, offset: u64) -> Option<Timestamp> {
        let index = self.moments.binary_search_by_key(&offset, |&(at, _)| at).ok()?;
        Some(self.moments[index].1)
    }

    /// The last known moment at which the byte at `offset` had not moved yet, or the first there is. Absent where nothing
    /// moved.
    pub fn before(&self, offset: u64) -> Option<Timestamp> {
        let index = self.moments.partition_point(|&(at, _)| at <= offset);
        self.moments.get(index.saturating_sub(1)).map(|&(_, time)| time)
    }

    /// The first known moment at which the bytes before `offset` had moved, or the last there is.
    pub fn after(&self, offset: u64) -> Option<Timestamp> {
        let index = self.moments.partition_point(|&(at, _)| at < offset);
        self.moments.get(index).or(self.last.as_ref()).map(|&(_, time)| time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_stay_few_and_close_to_the_truth() {
        let mut timeline = Timeline::default();
        (0..100_000).for_each(|n| timeline.note(n * 10, Timestamp(n)));
        assert!(timeline.moments.len() < MOMENTS_MAX && timeline.moments.len() >= MOMENTS_MAX / 4);
        for n in (0..100_000u64).step_by(97) {
            let [before, after] = [timeline.before(n * 10), timeline.after(n * 10)].map(Option::unwrap);
            assert!(before.0 <= n && n <= after.0, "{n}: {before:?} {after:?}");
            assert!(n - before.0 < 2000, "{n}: {before:?}");
        }
    }

    #[test]
    fn what_never_moved_has_no_time() {
        let mut timeline = Timeline::default();
        assert_eq!((timeline.before(5), timeline.after(5), timeline.last()), (None, None, None));
        timeline.note(10, Timestamp(7));
        assert_eq!((timeline.before(5), timeline.after(50)), (Some(Timestamp(7)), Some(Timestamp(7))));
        timeline.note(10, Timestamp(9));
        assert_eq!(timeline.last(), Some(Timestamp(9)));
    }
}
