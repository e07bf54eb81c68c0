//! The offset of the two vantages' clocks, estimated from bytes that both saw move.
//!
//! A call that sends ends right after its packet was made, so the two moments lie apart by the clocks' offset and the
//! duration of a call: of many such pairs the middle one stands. Bytes that the process received were on the wire some
//! time before it read them, so they tell less, and count only where it sent none. Between the two ends of a connection
//! the way takes as long there as back, near enough, and half of the difference is the clocks' (RFC 5905, section 8).

use super::align::Alignment;
use crate::event::{Cause, Direction, Timestamp};
use crate::ledger::{Account, Ledger};

/// Offsets below it are within the precision of the estimate, and count as none, in ns.
pub const PRECISION: u64 = 10_000_000;

/// As above where the process only received: how long it let bytes wait is not known.
const PRECISION_RECV: u64 = 1_000_000_000;

/// Moments of one direction of a connection that are looked at.
const MOMENTS: usize = 16;

/// Moments that are looked at in all.
const MOMENTS_MAX: usize = 1 << 16;

/// How two clocks differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// How far the second vantage's clock is ahead of the process's, in ns.
    pub ahead: i64,
    /// Taken to be the same clock: the difference is within the precision.
    pub same: bool,
}

impl Clock {
    /// A time of the second vantage as the process's clock has it.
    pub fn to_process(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add_signed(if self.same { 0 } else { self.ahead.saturating_neg() }))
    }
}

/// Collects moments of pairs whose connection is certain.
#[derive(Debug, Default)]
pub struct Estimate {
    /// Differences by [`Direction::index`].
    differences: [Vec<i64>; 2],
    /// The second vantage is the other end of the connection.
    of_ends: bool,
}

impl Estimate {
    /// Adds the moments of a connection and its flow.
    pub fn add(&mut self, process: &Ledger, flow: &Ledger, alignment: Alignment) {
        self.of_ends |= flow.info.task.is_some() && alignment.flipped;
        for direction in Direction::BOTH {
            let differences = &mut self.differences[direction.index()];
            if differences.len() >= MOMENTS_MAX {
                continue;
            }
            let ours = &process.accounts[direction.index()];
            let theirs = &flow.accounts[alignment.flow_direction(direction).index()];
            differences.extend(common(ours, theirs, alignment.shift[direction.index()]).take(MOMENTS));
        }
    }

    /// Adds moments of single messages that went one way: the second vantage's, then the process's.
    pub fn moments(&mut self, direction: Direction, moments: impl Iterator<Item = (Timestamp, Timestamp)>) {
        let differences = &mut self.differences[direction.index()];
        let room = MOMENTS_MAX.saturating_sub(differences.len());
        let moments = moments.map(|(theirs, ours)| theirs.0.wrapping_sub(ours.0) as i64);
        differences.extend(moments.take(room));
    }

    /// The offset; `None` where no moment is known from both.
    pub fn clock(&self) -> Option<Clock> {
        let mut differences = self.differences.clone();
        differences.iter_mut().for_each(|list| list.sort_unstable());
        let [send, recv] = &differences;
        let (ahead, precision, spread) = match (send.is_empty(), recv.is_empty()) {
            (true, true) => return None,
            (false, false) if self.of_ends => {
                let middle = |part| midpoint(at(send, part), at(recv, part));
                (middle(50), PRECISION, [middle(10), middle(90)])
            }
            (false, _) => (at(send, 50), PRECISION, [at(send, 10), at(send, 90)]),
            (true, false) => (at(recv, 50), PRECISION_RECV, [at(recv, 10), at(recv, 90)]),
        };
        let [low, high] = spread;
        let precision = precision as i64;
        // Where the moments disagree so much that some speak for one clock, it is one clock.
        Some(Clock { ahead, same: low < precision && high > -precision })
    }
}

/// By how much the flow's moments are later, of those at the same byte.
fn common(ours: &Account, theirs: &Account, shift: i64) -> impl Iterator<Item = i64> {
    ours.timeline.moments().filter_map(move |(offset, time)| {
        let other = offset.checked_add_signed(shift.checked_neg()?)?;
        let at = theirs.timeline.at(other)?;
        let timely = is_timely(ours, offset) && is_timely(theirs, other);
        timely.then(|| at.0.wrapping_sub(time.0) as i64)
    })
}

/// True where the moment at `offset` is that at which its bytes moved. A loss of these causes is told of later, which may be
/// at the connection's end.
fn is_timely(account: &Account, offset: u64) -> bool {
    let first = account.lost.partition_point(|lost| lost.range.to < offset);
    let lost = account.lost.get(first).filter(|lost| lost.range.from < offset);
    !lost.is_some_and(|lost| {
        let late = [Cause::Filtered, Cause::RingFull, Cause::UntracedSyscall, Cause::WireNotCaptured];
        late.contains(&lost.cause)
    })
}

/// What so many percent of a sorted list, not empty, are below.
fn at(list: &[i64], percent: usize) -> i64 {
    list[(list.len() - 1) * percent / 100]
}

fn midpoint(a: i64, b: i64) -> i64 {
    ((i128::from(a) + i128::from(b)) / 2) as i64 // between the two, so it fits
}

#[cfg(test)]
mod tests {
    use super::super::align::Told;
    use super::*;
    use crate::event::Range;
    use crate::ledger::Stopped;

    const ALIGNED: Alignment = Alignment { flow: 0, flipped: false, shift: [100, 0], told: Told::Addresses };

    fn ledger(moments: [&[(u64, u64)]; 2]) -> Ledger {
        let mut ledger = Ledger::default();
        for (account, moments) in ledger.accounts.iter_mut().zip(moments) {
            moments.iter().for_each(|&(offset, time)| account.timeline.note(offset, Timestamp(time)));
        }
        ledger
    }

    fn check(process: [&[(u64, u64)]; 2], flow: [&[(u64, u64)]; 2], expected: Option<Clock>) {
        let mut estimate = Estimate::default();
        estimate.add(&ledger(process), &ledger(flow), ALIGNED);
        assert_eq!(estimate.clock(), expected);
    }

    #[test]
    fn of_moments_at_the_same_byte_the_middle_difference_stands() {
        const HOUR: u64 = 3_600_000_000_000;
        let process = [(110, HOUR), (120, HOUR + 10), (130, HOUR + 20)];
        let flow = [(10, 2 * HOUR), (15, 7), (20, 2 * HOUR + 9), (30, 2 * HOUR + 900)];
        check([&process, &[]], [&flow, &[]], Some(Clock { ahead: HOUR as i64, same: false }));
        let behind = Clock { ahead: -(HOUR as i64), same: false };
        check([&[(110, 2 * HOUR)], &[(5, 1)]], [&[(10, HOUR)], &[(5, 2 * HOUR)]], Some(behind));
        assert_eq!(behind.to_process(Timestamp(5)), Timestamp(HOUR + 5));
    }

    #[test]
    fn a_loss_that_is_told_of_later_is_no_moment() {
        let estimate = |cause| {
            let (mut process, flow) = (ledger([&[(110, 9_000_000_000)], &[]]), ledger([&[(10, 5)], &[]]));
            let range = Range::new(90, 110);
            process.accounts[0].lost.push(Stopped { range, cause, detail: String::new() });
            let mut estimate = Estimate::default();
            estimate.add(&process, &flow, ALIGNED);
            estimate.clock()
        };
        assert_eq!(estimate(Cause::Filtered), None);
        let ahead = -8_999_999_995;
        assert_eq!(estimate(Cause::Snaplen), Some(Clock { ahead, same: false }));
    }

    #[test]
    fn what_is_within_the_precision_counts_as_none() {
        let near = Clock { ahead: 9_999_999, same: true };
        check([&[(110, 5)], &[]], [&[(10, 10_000_004)], &[]], Some(near));
        assert_eq!(near.to_process(Timestamp(5)), Timestamp(5));
        let read_late = Clock { ahead: -500_000_000, same: true };
        check([&[], &[(10, 500_000_000)]], [&[], &[(10, 0)]], Some(read_late));
        check([&[(50, 5)], &[]], [&[(10, 5)], &[]], None);
    }
}
