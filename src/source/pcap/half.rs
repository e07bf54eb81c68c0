//! One direction of a flow: where its bytes lie, which are missing, which the peer acknowledged.
//!
//! Pure arithmetic on sequence numbers; events are made in `flow`.

use super::recent::Link;
use crate::event::{Cause, FinOrByte, Range, Timestamp};
use std::cmp::Ordering;

/// A sequence number further than this from the next expected one belongs to no window: RFC 7323
/// (section 2.3) limits windows to 1 GiB.
const MAX_DISTANCE: i64 = 1 << 30;

/// How far a late segment of a stream that is over may be from its end: more than any window that is in use.
const MAX_LATE: u64 = 64 << 20;

/// A missing range that the peer acknowledged is a loss after this many more packets of the flow. Captures
/// from several queues show packets a little out of order, hardly ever by more.
const REORDER_PACKETS: u64 = 64;

/// The same in capture time, nanoseconds.
const REORDER_TIME: u64 = 1_000_000_000;

/// Missing ranges that one direction may have open. Beyond it, the oldest becomes a loss at once.
const MAX_HOLES: usize = 1024;

/// So many bytes may follow a missing range that nobody acknowledges; then it is given up. Who puts the bytes in order keeps
/// but a little more (`conn::stream::HOLD_LIMIT`), and would not know why.
const BEHIND_MAX: u64 = 15 << 20;

/// So often the same is acknowledged by who lacks what comes next (RFC 5681, section 3.2).
const DUPLICATE_ACKS: u64 = 3;

/// A missing range.
#[derive(Clone, Copy, Debug)]
struct Hole {
    range: Range,
    /// Why it is missing.
    cause: Cause,
    /// When it was first known to be acknowledged: time, and number of the flow's packet.
    acked: Option<(Timestamp, u64)>,
}

/// What is known of one direction's stream. Offsets count from `base`.
#[derive(Debug, Default)]
pub struct Half {
    /// Sequence number of offset 0.
    pub base: Option<u32>,
    /// Offset after the last byte that was seen or acknowledged.
    pub top: u64,
    /// Offset of the end, from a FIN.
    pub fin: Option<u64>,
    /// The peer acknowledged the FIN.
    pub fin_acked: bool,
    /// Bytes given up as lost.
    pub lost: u64,
    /// The latest segment kept for comparison.
    pub latest: Link,
    /// There was a packet of the sender, whatever it was.
    pub shown: bool,
    /// A packet of the sender told where the stream stands, so that what is missing from there on was sent while
    /// the capture ran.
    pub placed: bool,
    /// Of a packet that brought nothing, while nothing but acknowledgements was seen: its number.
    pub idle: Option<u32>,
    /// Offset up to which the peer acknowledged.
    acked: u64,
    /// How often it acknowledged no more than that.
    repeated: u64,
    /// Sorted, disjoint, all below `top`.
    holes: Vec<Hole>,
}

impl Half {
    /// Offset of a sequence number; negative before the start. Absent for a number that can't belong to the
    /// stream, or where nothing of the stream is known yet.
    pub fn offset(&self, seq: u32) -> Option<i64> {
        let next = self.base?.wrapping_add(self.top as u32);
        let distance = i64::from(seq.wrapping_sub(next) as i32);
        (distance.abs() <= MAX_DISTANCE).then(|| self.top as i64 + distance)
    }

    /// True for a sequence number that can't be of this stream once it is over.
    pub fn is_far(&self, seq: u32) -> bool {
        self.base.is_some()
            && self.offset(seq).is_none_or(|offset| offset.abs_diff(self.top as i64) > MAX_LATE)
    }

    /// True for a sequence number behind that of the FIN: nothing of this stream is there.
    pub fn is_behind_fin(&self, seq: u32) -> bool {
        self.fin.zip(self.offset(seq)).is_some_and(|(fin, offset)| offset > fin as i64 + 1)
    }

    /// Sequence number of an offset.
    pub fn seq(&self, offset: u64) -> Option<u32> {
        Some(self.base?.wrapping_add(offset as u32))
    }

    /// Bytes that were seen, each once.
    pub fn moved(&self) -> u64 {
        self.top - self.lost - self.missing()
    }

    /// True where ranges are missing.
    pub fn has_holes(&self) -> bool {
        !self.holes.is_empty()
    }

    /// True where every byte of `range` was seen before or given up.
    pub fn is_old(&self, range: Range) -> bool {
        range.to <= self.top && !self.holes.iter().any(|hole| hole.range.intersection(range).is_some())
    }

    /// How many bytes of `range` were seen before, those given up included.
    pub fn seen(&self, range: Range) -> u64 {
        let below = Range::new(range.from, range.to.min(self.top.max(range.from)));
        let missing = |hole: &Hole| hole.range.intersection(below).map_or(0, Range::len);
        below.len() - self.holes.iter().map(missing).sum::<u64>()
    }

    /// Notes the number that a packet of the stream's own sender bears, and whether it brings anything. What the
    /// peer's acknowledgement left open before the first such packet may have been on its way when the capture began:
    /// nothing shows that the capture could have had it.
    pub fn place(&mut self, offset: i64, brings: bool) {
        let from = self.top;
        if self.placed || offset < from as i64 {
            self.placed |= brings;
            return;
        }
        self.placed = true;
        if offset > from as i64 {
            self.top = offset as u64;
            self.open_hole(from, Cause::WireStartedLate);
        }
    }

    /// True where the peer acknowledged everything before `offset`.
    pub fn is_acknowledged(&self, offset: u64) -> bool {
        self.acked >= offset
    }

    /// What lies between `from` and the top is missing.
    fn open_hole(&mut self, from: u64, cause: Cause) {
        self.holes.push(Hole { range: Range::new(from, self.top), cause, acked: None });
    }

    /// Notes the bytes of a segment. True where some of them are new at the top.
    pub fn arrive(&mut self, range: Range) -> bool {
        if range.from > self.top {
            let range = Range::new(self.top, range.from);
            self.holes.push(Hole { range, cause: Cause::WireNotCaptured, acked: None });
        } else if !self.holes.is_empty() && range.from < self.top {
            self.fill(range);
        }
        let grows = range.to > self.top;
        self.top = self.top.max(range.to);
        grows
    }

    /// Notes the end of the stream. False where it was known, or contradicts what was seen.
    pub fn finish(&mut self, offset: u64) -> bool {
        if self.fin.is_some() {
            return false;
        }
        // The FIN's own number was acknowledged before the FIN came into view: no byte is missing there.
        if self.top == offset + 1 && self.take_unclear_end().is_some() {
            self.fin_acked = self.acked > offset;
            self.acked = self.acked.min(offset);
        }
        if offset < self.top {
            return false;
        }
        self.arrive(Range::new(offset, offset));
        self.fin = Some(offset);
        true
    }

    /// Notes an acknowledgement by the peer of everything before `offset`. What it covers beyond the
    /// top was sent and not seen: with `early`, maybe before the capture began, unless a packet of the sender told before
    /// where the stream stands.
    pub fn acknowledge(&mut self, offset: u64, early: bool) {
        let mut offset = offset;
        if let Some(fin) = self.fin.filter(|&fin| offset > fin) {
            self.fin_acked = true;
            offset = fin;
        }
        match offset.cmp(&self.acked) {
            Ordering::Less => {}
            Ordering::Equal => self.repeated += 1,
            Ordering::Greater => (self.acked, self.repeated) = (offset, 0),
        }
        if offset > self.top {
            let from = std::mem::replace(&mut self.top, offset);
            let on_its_way = early && !self.placed;
            let cause = if on_its_way { Cause::WireStartedLate } else { Cause::WireNotCaptured };
            self.open_hole(from, cause);
        }
    }

    /// The next missing range that can be given up: acknowledged, and not filled in the time it may take.
    /// With `all`, every missing range. Gives the cause with it. What would be missing for a late beginning waits longer,
    /// while its sender may yet show. Until then, the last number before the top is not given up
    /// while it may be a FIN. Where too much follows the first one, or there are too many, that one is given up whether it was
    /// acknowledged or not.
    pub fn settle(&mut self, now: Timestamp, packet: u64, all: bool) -> Option<(Range, Cause)> {
        let overflow = self.holes.len() > MAX_HOLES || self.behind_first() > BEHIND_MAX;
        let unclear = !all && self.ends_unclear();
        let (last, shown) = (self.holes.len().wrapping_sub(1), self.shown);
        let ripe = self.holes.iter_mut().enumerate().position(|(index, hole)| {
            if unclear && index == last && hole.range.len() == 1 {
                return false;
            }
            if all || (overflow && index == 0) {
                return true;
            }
            if hole.range.to > self.acked {
                return false;
            }
            let (since, first) = *hole.acked.get_or_insert((now, packet));
            let (packets, time) = (packet - first >= REORDER_PACKETS, now.since(since) >= REORDER_TIME);
            let may_show = !shown && hole.cause == Cause::WireStartedLate;
            if may_show { packets && time } else { packets || time }
        })?;
        let mut hole = self.holes.remove(ripe);
        if unclear && ripe == last {
            hole.range.to -= 1;
            self.holes.push(Hole { range: Range::new(hole.range.to, self.top), ..hole });
        }
        // What the peer has of it was sent.
        if !all && hole.range.from < self.acked && self.acked < hole.range.to {
            let rest = Range::new(self.acked, hole.range.to);
            self.holes.insert(ripe, Hole { range: rest, ..hole });
            hole.range.to = self.acked;
        }
        self.lost += hole.range.len();
        let too_early = !all && hole.cause == Cause::WireNotCaptured && self.is_waited_for(hole.range);
        let cause = if too_early { Cause::BufferLimit } else { self.why_missing(hole.cause) };
        Some((hole.range, cause))
    }

    /// Bytes that were seen behind the first missing range.
    fn behind_first(&self) -> u64 {
        let Some((first, later)) = self.holes.split_first() else { return 0 };
        self.top - first.range.to - later.iter().map(|hole| hole.range.len()).sum::<u64>()
    }

    /// True where the peer says again and again that it lacks `range`: it will be sent again, so no byte of it is
    /// missing yet. Who never says a word was not captured, as the range was not.
    fn is_waited_for(&self, range: Range) -> bool {
        self.repeated >= DUPLICATE_ACKS && range.from == self.acked
    }

    /// Why bytes are missing that a late beginning would explain: it does not where its sender never showed, who had to
    /// acknowledge, at least. The capture has but one direction of the connection.
    fn why_missing(&self, cause: Cause) -> Cause {
        let one_way = cause == Cause::WireStartedLate && !self.shown;
        if one_way { Cause::WireNotCaptured } else { cause }
    }

    /// True where what is missing reaches to the top, with no FIN in view: the last number is a byte or the FIN, which
    /// counts as one (RFC 9293, section 3.4), and no byte comes behind a FIN.
    fn ends_unclear(&self) -> bool {
        self.fin.is_none() && self.holes.last().is_some_and(|hole| hole.range.to == self.top)
    }

    /// Which number, at the stream's end, is a byte or the FIN. It no longer counts as missing.
    pub fn end_unclear(&mut self, fresh: bool) -> Option<FinOrByte> {
        let nothing = !fresh && self.top == 0 && self.fin.is_none() && self.base.is_some();
        let at_end = self.take_unclear_end().map(|cause| FinOrByte::AtEnd(self.why_missing(cause)));
        at_end.or_else(|| nothing.then_some(FinOrByte::BeforeStart))
    }

    /// Takes out the last missing number, where it is a byte or the FIN. Gives why it would be missing as a byte.
    fn take_unclear_end(&mut self) -> Option<Cause> {
        if !self.ends_unclear() {
            return None;
        }
        let hole = self.holes.last_mut()?;
        let cause = hole.cause;
        hole.range.to -= 1;
        self.top -= 1;
        if hole.range.is_empty() {
            self.holes.pop();
        }
        Some(cause)
    }

    fn missing(&self) -> u64 {
        self.holes.iter().map(|hole| hole.range.len()).sum()
    }

    /// Takes `range` out of the missing ranges.
    fn fill(&mut self, range: Range) {
        let first = self.holes.partition_point(|hole| hole.range.to <= range.from);
        let Some(hole) = self.holes.get(first).copied() else { return };
        if hole.range.from < range.from && range.to < hole.range.to {
            self.holes[first].range.to = range.from;
            self.holes.insert(first + 1, Hole { range: Range::new(range.to, hole.range.to), ..hole });
            return;
        }
        for hole in &mut self.holes[first..] {
            let Some(filled) = hole.range.intersection(range) else { break };
            if filled.from == hole.range.from {
                hole.range.from = filled.to;
            } else {
                hole.range.to = filled.from;
            }
        }
        self.holes.retain(|hole| !hole.range.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half() -> Half {
        Half { base: Some(u32::MAX - 99), ..Half::default() }
    }

    type Lost = (Range, Cause);

    fn lost(from: u64, to: u64) -> Lost {
        (Range::new(from, to), Cause::WireNotCaptured)
    }

    fn losses(half: &mut Half) -> Vec<Range> {
        std::iter::from_fn(|| half.settle(Timestamp(0), 0, true)).map(|(range, _)| range).collect()
    }

    #[test]
    fn offsets_pass_the_wrap_of_sequence_numbers() {
        let mut half = half();
        half.arrive(Range::new(0, 300));
        assert_eq!(half.offset(0), Some(100));
        assert_eq!(half.offset(200), Some(300));
        assert_eq!(half.offset(u32::MAX - 100), Some(-1));
        assert_eq!(half.offset(1 << 31), None);
        assert_eq!(half.seq(150), Some(50));
    }

    #[test]
    fn a_hole_is_filled_from_both_sides_and_from_the_middle() {
        let mut half = half();
        half.arrive(Range::new(100, 110));
        half.arrive(Range::new(40, 50));
        half.arrive(Range::new(0, 10));
        half.arrive(Range::new(90, 105));
        assert_eq!(losses(&mut half), [Range::new(10, 40), Range::new(50, 90)]);
        assert_eq!((half.moved(), half.lost), (40, 70));
    }

    #[test]
    fn an_acknowledged_hole_waits_for_packets_in_disorder() {
        let mut half = half();
        half.arrive(Range::new(10, 20));
        assert_eq!(half.settle(Timestamp(0), 0, false), None, "not acknowledged");
        half.acknowledge(20, false);
        assert_eq!(half.settle(Timestamp(5), 1, false), None);
        assert_eq!(half.settle(Timestamp(5), REORDER_PACKETS, false), None);
        assert_eq!(half.settle(Timestamp(5), REORDER_PACKETS + 1, false), Some(lost(0, 10)));
        assert_eq!(half.settle(Timestamp(5), REORDER_PACKETS + 2, false), None, "once only");
    }

    #[test]
    fn what_precedes_the_first_packet_of_its_sender_may_precede_the_capture() {
        let early = |from, to| (Range::new(from, to), Cause::WireStartedLate);
        let mut half = Half { shown: true, ..half() };
        half.acknowledge(10, true);
        half.acknowledge(20, false);
        half.place(19, false); // a keep-alive tells nothing
        half.place(54, true);
        half.arrive(Range::new(54, 60));
        half.acknowledge(65, true); // sent after the stream's place was told
        half.place(70, true);
        half.arrive(Range::new(70, 80));
        let seen: Vec<_> = std::iter::from_fn(|| half.settle(Timestamp(0), 0, true)).collect();
        assert_eq!(seen, [early(0, 10), lost(10, 20), early(20, 54), lost(60, 65), lost(65, 70)]);
    }

    #[test]
    fn a_late_beginning_does_not_explain_a_sender_who_never_shows() {
        let first = |steps: fn(&mut Half)| {
            let mut half = half();
            half.acknowledge(10, true);
            half.acknowledge(20, true);
            half.settle(Timestamp(0), 0, false);
            let soon = half.settle(Timestamp(REORDER_TIME), REORDER_PACKETS - 1, false);
            let many = half.settle(Timestamp(REORDER_TIME - 1), REORDER_PACKETS, false);
            assert_eq!((soon, many), (None, None), "it may yet show");
            steps(&mut half);
            half.settle(Timestamp(REORDER_TIME), REORDER_PACKETS, false)
        };
        assert_eq!(first(|_| ()), Some(lost(0, 10)));
        assert_eq!(first(|half| half.shown = true), Some((Range::new(0, 10), Cause::WireStartedLate)));
        let mut half = half();
        half.acknowledge(10, true);
        assert_eq!(half.end_unclear(false), Some(FinOrByte::AtEnd(Cause::WireNotCaptured)));
        assert_eq!(half.settle(Timestamp(0), 0, true), Some(lost(0, 9)));
    }

    #[test]
    fn the_number_of_an_unseen_fin_is_no_byte() {
        let mut half = half();
        half.arrive(Range::new(0, 10));
        half.acknowledge(11, false);
        half.settle(Timestamp(0), 0, false);
        assert_eq!(half.settle(Timestamp(REORDER_TIME), 1, false), None);
        assert!(half.finish(10), "the FIN comes late");
        assert!(half.fin_acked);
        assert_eq!(half.top, 10);
    }

    #[test]
    fn the_last_number_of_what_is_missing_may_be_the_fin() {
        let with = |steps: fn(&mut Half)| {
            let mut half = half();
            half.arrive(Range::new(0, 10));
            half.acknowledge(20, false);
            half.settle(Timestamp(0), 0, false);
            let at_once = half.settle(Timestamp(REORDER_TIME), 1, false);
            assert_eq!(at_once, Some(lost(10, 19)), "what is a byte in any case");
            steps(&mut half);
            let unclear = half.take_unclear_end();
            (losses(&mut half), unclear, half.top, half.fin_acked)
        };
        assert_eq!(with(|_| ()), (vec![], Some(Cause::WireNotCaptured), 19, false));
        assert_eq!(with(|half| assert!(half.finish(19))), (vec![], None, 19, true));
        let goes_on = with(|half| assert!(half.arrive(Range::new(20, 30))));
        assert_eq!(goes_on, (vec![Range::new(19, 20)], None, 30, false));
    }

    #[test]
    fn holes_are_bounded() {
        let mut half = half();
        for n in 0..=MAX_HOLES as u64 {
            assert_eq!(half.settle(Timestamp(0), 0, false), None);
            half.arrive(Range::new(n * 10 + 5, n * 10 + 10));
        }
        assert_eq!(half.settle(Timestamp(0), 0, false), Some(lost(0, 5)));
    }

    /// What is given up of the bytes from 100 to 200 while more and more follow them; `acks` is what the peer acknowledges
    /// meanwhile.
    fn given_up(acks: &[u64]) -> Vec<Lost> {
        const SEGMENT: u64 = 64 << 10;
        let mut half = half();
        half.arrive(Range::new(0, 100));
        half.arrive(Range::new(200, 200 + SEGMENT));
        acks.iter().for_each(|&ack| half.acknowledge(ack, false));
        while half.top - 200 <= BEHIND_MAX {
            assert_eq!(half.settle(Timestamp(0), 0, false), None);
            half.arrive(Range::new(half.top, half.top + SEGMENT));
        }
        std::iter::from_fn(|| half.settle(Timestamp(0), 0, false)).collect()
    }

    #[test]
    fn too_much_behind_a_hole_is_a_loss_unless_the_peer_waits_for_it() {
        let limit = |from, to| (Range::new(from, to), Cause::BufferLimit);
        let rows: [(&[u64], &[Lost]); 6] = [
            (&[], &[lost(100, 200)]),
            (&[0, 0, 0, 0, 50], &[lost(100, 200)]), // before what is missing
            (&[100, 100, 100], &[lost(100, 200)]),  // twice is no sign of a loss
            (&[100, 100, 100, 100], &[limit(100, 200)]),
            (&[90, 150, 150, 150, 150], &[lost(100, 150), limit(150, 200)]), // a part of it arrived
            (&[100, 100, 100, 100, 120], &[lost(100, 120), lost(120, 200)]),
        ];
        for (acks, expected) in rows {
            assert_eq!(given_up(acks), expected, "{acks:?}");
        }
    }

    proptest::proptest! {
        /// Against a bitmap: in whatever order segments come, each byte below the top is either seen or given
        /// up, and given up once.
        #[test]
        fn what_is_missing_is_what_was_not_seen(
            steps in proptest::collection::vec((0..400u64, 1..40u64, proptest::bool::weighted(0.2)), 1..60),
        ) {
            let mut half = half();
            let (mut seen, mut top) = ([false; 500], 0);
            for (from, length, acknowledges) in steps {
                if acknowledges {
                    half.acknowledge(from, false);
                    top = top.max(from);
                    continue;
                }
                let to = from + length;
                let old = (from..to).all(|byte| seen[byte as usize]);
                proptest::prop_assert_eq!(half.is_old(Range::new(from, to)), old);
                proptest::prop_assert_eq!(half.arrive(Range::new(from, to)), to > top);
                (from..to).for_each(|byte| seen[byte as usize] = true);
                top = top.max(to);
            }
            let count = seen.iter().filter(|&&seen| seen).count() as u64;
            proptest::prop_assert_eq!((half.top, half.moved()), (top, count));
            if half.take_unclear_end().is_some() {
                top -= 1; // it may be a FIN: a test of its own
            }
            for range in losses(&mut half) {
                for byte in range.from..range.to {
                    proptest::prop_assert!(!std::mem::replace(&mut seen[byte as usize], true), "byte {}", byte);
                }
            }
            proptest::prop_assert!(seen[..top as usize].iter().all(|&seen| seen));
        }
    }
}
