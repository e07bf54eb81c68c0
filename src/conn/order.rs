//! Both directions of a connection in the order in which they spoke. Where bytes of one are missing, what came after them
//! waits in the other, too, until they come or are known to be lost: so what was said because of lost bytes is read
//! after the word of their loss, as if that had been known at once.
//!
//! Order is told by arrival, and by what packets acknowledge: an answer acknowledges its request. Waiting has bounds, behind
//! which each direction goes on by itself.

use super::stream::{Came, Piece, Stream};
use crate::event::{Cause, Direction, Timestamp};

/// How long one direction may wait for missing bytes of the other, in nanoseconds of the trace. What is known to be lost is
/// told sooner; what was never acknowledged is never told.
const WAIT_TIME: u64 = 3_000_000_000;

/// What comes next in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Bytes, or their loss.
    Piece(Piece<'a>),
    /// No more.
    End,
}

/// Takes what comes next, with the offset and the time it came.
pub type Release<'a> = dyn FnMut(Direction, u64, Next<'_>, Timestamp) + 'a;

/// The end of a direction, not told yet.
struct Fin {
    offset: u64,
    came: Came,
}

/// The reassembly of both directions.
#[derive(Default)]
pub struct Streams {
    streams: [Stream; 2],
    fins: [Option<Fin>; 2],
    /// The end of a direction was told.
    ended: [bool; 2],
    /// Pieces that had to wait so far.
    turns: u64,
    /// When the latest one came.
    last: Timestamp,
}

impl Streams {
    /// Streams whose first bytes of interest are at `offsets`.
    pub fn new(offsets: [u64; 2]) -> Streams {
        Streams { streams: offsets.map(Stream::new), ..Streams::default() }
    }

    /// Offset after the last byte of a direction that was released.
    pub fn next(&self, direction: Direction) -> u64 {
        self.streams[direction.index()].next()
    }

    /// Goes on at an offset.
    pub fn jump(&mut self, direction: Direction, offset: u64) {
        self.streams[direction.index()] = Stream::new(offset);
    }

    /// Adds a piece, of which the first bytes to arrive win. Its sender had got what came before `acked` of the other
    /// direction. What is in order now is released.
    pub fn insert(
        &mut self,
        direction: Direction,
        (offset, piece): (u64, Piece<'_>),
        acked: Option<u64>,
        time: Timestamp,
        release: &mut Release<'_>,
    ) {
        let Some((offset, piece)) = self.streams[direction.index()].news(offset, piece) else { return };
        if offset == self.next(direction) && self.is_idle() && !self.lacks(direction, acked) {
            self.streams[direction.index()].pass(piece);
            self.last = time;
            return release(direction, offset, Next::Piece(piece), time);
        }
        let is_overdue = self.is_overdue();
        let came = self.came(acked, time);
        self.streams[direction.index()].hold(offset, piece, came);
        self.go_on(release);
        if is_overdue {
            self.let_go(release);
        }
        for direction in Direction::BOTH {
            while self.streams[direction.index()].is_full() {
                if !self.is_ready(direction) {
                    self.streams[direction.index()].give_up_first_hole(Cause::BufferLimit, time);
                }
                self.release(direction, release);
            }
        }
        self.go_on(release);
    }

    /// Notes where a direction ends, unless that is known.
    pub fn finish(
        &mut self,
        direction: Direction,
        offset: u64,
        acked: Option<u64>,
        time: Timestamp,
        release: &mut Release<'_>,
    ) {
        let is_overdue = self.is_overdue();
        let came = self.came(acked, time);
        self.fins[direction.index()].get_or_insert(Fin { offset, came });
        self.go_on(release);
        if is_overdue {
            self.let_go(release);
        }
    }

    /// Nothing more will come: what is missing is lost, up to the directions' `ends` where these are known.
    pub fn end(&mut self, ends: [Option<u64>; 2], cause: Cause, time: Timestamp, release: &mut Release<'_>) {
        for (stream, end) in self.streams.iter_mut().zip(ends) {
            let top = stream.top();
            if let Some(end) = end.filter(|&end| end > top) {
                let turn = self.turns + 1;
                stream.hold(top, Piece::Gap(end - top, cause), Came { time, turn, acked: None });
            }
        }
        self.go_on(release);
        while let Some(first) = self.first() {
            // Where it waits for the other direction, a hole there is what it waits for.
            let other = first.reverse();
            let waits = self.is_ready(first) && self.waiting(other).is_some();
            let direction = if waits { other } else { first };
            if !self.is_ready(direction) {
                self.streams[direction.index()].give_up_first_hole(cause, time);
            }
            if !self.release(direction, release) {
                self.fins[direction.index()] = None;
            }
            self.go_on(release);
        }
    }

    fn came(&mut self, acked: Option<u64>, time: Timestamp) -> Came {
        self.turns += 1;
        self.last = time;
        Came { time, turn: self.turns, acked }
    }

    /// True where nothing waits.
    fn is_idle(&self) -> bool {
        self.streams.iter().all(Stream::is_empty) && self.fins.iter().all(Option::is_none)
    }

    /// True where bytes of the other direction did not come that the sender had got.
    fn lacks(&self, direction: Direction, acked: Option<u64>) -> bool {
        let other = direction.reverse();
        acked.is_some_and(|acked| acked > self.next(other)) && !self.ended[other.index()]
    }

    /// The end of a direction, where all before it was released.
    fn due_fin(&self, direction: Direction) -> Option<Came> {
        let fin = self.fins[direction.index()].as_ref()?;
        (fin.offset <= self.next(direction)).then_some(fin.came)
    }

    /// How what can be released of a direction came.
    fn head(&self, direction: Direction) -> Option<Came> {
        self.due_fin(direction).or_else(|| self.streams[direction.index()].head())
    }

    fn is_ready(&self, direction: Direction) -> bool {
        self.head(direction).is_some()
    }

    /// How the first came that waits in a direction.
    fn waiting(&self, direction: Direction) -> Option<Came> {
        let fin = self.fins[direction.index()].as_ref().map(|fin| fin.came);
        let first = self.streams[direction.index()].first();
        first.into_iter().chain(fin).min_by_key(|came| came.turn)
    }

    /// The direction whose turn it is.
    fn first(&self) -> Option<Direction> {
        let waiting = Direction::BOTH.into_iter().filter_map(|way| Some((self.waiting(way)?.turn, way)));
        waiting.min_by_key(|(turn, _)| *turn).map(|(_, direction)| direction)
    }

    /// The direction that can go on: the one whose turn it is, or the other where it has to come first.
    fn upcoming(&self) -> Option<Direction> {
        let direction = self.first()?;
        let lacks = self.head(direction).is_some_and(|head| self.lacks(direction, head.acked));
        let direction = if lacks { direction.reverse() } else { direction };
        self.is_ready(direction).then_some(direction)
    }

    fn go_on(&mut self, release: &mut Release<'_>) {
        while let Some(direction) = self.upcoming() {
            self.release(direction, release);
        }
    }

    /// True where what waits has waited too long by the time of the latest piece. That of the next one says little: the
    /// loss may be told right behind it.
    fn is_overdue(&self) -> bool {
        let since = self.first().and_then(|direction| self.waiting(direction));
        since.is_some_and(|since| self.last.since(since.time) > WAIT_TIME)
    }

    /// Releases all that is not behind missing bytes of its own direction.
    fn let_go(&mut self, release: &mut Release<'_>) {
        loop {
            let ready = Direction::BOTH.into_iter().filter_map(|way| Some((self.head(way)?.turn, way)));
            let Some((_, direction)) = ready.min_by_key(|(turn, _)| *turn) else { break };
            self.release(direction, release);
        }
    }

    /// Releases one thing of a direction. False where nothing of it can be.
    fn release(&mut self, direction: Direction, release: &mut Release<'_>) -> bool {
        if let Some(came) = self.due_fin(direction) {
            self.fins[direction.index()] = None;
            self.ended[direction.index()] = true;
            release(direction, self.next(direction), Next::End, came.time);
            return true;
        }
        // Bytes that the other side acknowledged, or that are lost, were sent before what waits for them.
        let other = direction.reverse();
        let later = self.streams[other.index()].first();
        let acked = later.is_some_and(|later| self.lacks(other, later.acked));
        self.streams[direction.index()].release(&mut |offset, piece, time| {
            let earlier = later.filter(|_| acked || matches!(piece, Piece::Gap(..)));
            let time = earlier.map_or(time, |later| time.min(later.time));
            release(direction, offset, Next::Piece(piece), time);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::stream::HOLD_LIMIT;
    use proptest::prelude::*;

    const SEND: Direction = Direction::Send;
    const RECV: Direction = Direction::Recv;
    const SECOND: u64 = 1_000_000_000;

    /// What was released so far, a word each.
    #[derive(Default)]
    struct Told {
        streams: Streams,
        words: Vec<String>,
        now: u64,
    }

    impl Told {
        fn does(&mut self, action: impl FnOnce(&mut Streams, Timestamp, &mut Release<'_>)) -> Vec<String> {
            let mut words = Vec::new();
            action(&mut self.streams, Timestamp(self.now), &mut |direction, offset, next, _| {
                let what = match next {
                    Next::Piece(Piece::Bytes(bytes)) => {
                        String::from_utf8_lossy(&bytes[..bytes.len().min(9)]).into()
                    }
                    Next::Piece(Piece::Gap(length, _)) => format!("-{length}"),
                    Next::End => "end".to_owned(),
                };
                words.push(format!("{} {offset} {what}", direction.name()));
            });
            self.words.extend(words.iter().cloned());
            words
        }

        fn says(&mut self, way: Direction, offset: u64, text: &str, acked: u64) -> Vec<String> {
            let piece = (offset, Piece::Bytes(text.as_bytes()));
            self.does(|streams, now, release| streams.insert(way, piece, Some(acked), now, release))
        }

        fn loses(&mut self, way: Direction, offset: u64, length: u64) -> Vec<String> {
            let piece = (offset, Piece::Gap(length, Cause::WireNotCaptured));
            self.does(|streams, now, release| streams.insert(way, piece, None, now, release))
        }
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn an_answer_waits_for_word_of_what_it_acknowledges() {
        let mut told = Told::default();
        assert_eq!(told.says(RECV, 0, "yes", 8), NOTHING);
        assert_eq!(told.says(SEND, 8, "then", 3), NOTHING);
        assert_eq!(told.says(RECV, 3, "so", 12), NOTHING);
        assert_eq!(told.loses(SEND, 0, 8), ["send 0 -8", "recv 0 yes", "send 8 then", "recv 3 so"]);
        assert_eq!(told.says(SEND, 12, "on", 5), ["send 12 on"]);
    }

    #[test]
    fn what_came_before_a_hole_showed_does_not_wait() {
        let mut told = Told::default();
        assert_eq!(told.says(RECV, 0, "hello", 0), ["recv 0 hello"]);
        assert_eq!(told.says(SEND, 3, "two", 5), NOTHING);
        assert_eq!(told.says(RECV, 5, "more", 0), NOTHING);
        let end = told.does(|streams, now, release| streams.finish(RECV, 9, Some(6), now, release));
        assert_eq!(end, NOTHING);
        assert_eq!(told.says(SEND, 0, "one", 5), ["send 0 one", "send 3 two", "recv 5 more", "recv 9 end"]);
        assert_eq!(told.says(SEND, 6, "bye", 10), ["send 6 bye"], "the end counts as one");
    }

    #[test]
    fn bytes_that_never_come_are_not_waited_for_longer_than_their_loss_takes() {
        let mut told = Told::default();
        assert_eq!(told.says(SEND, 99, "stray", 0), NOTHING);
        assert_eq!(told.says(RECV, 0, "a", 0), NOTHING);
        told.now = 10 * SECOND;
        assert_eq!(told.says(RECV, 1, "b", 0), NOTHING, "its loss may be told right behind it");
        told.now += 1;
        assert_eq!(told.says(RECV, 2, "c", 0), ["recv 0 a", "recv 1 b", "recv 2 c"]);
        assert_eq!(told.says(RECV, 3, "d", 0), ["recv 3 d"]);
        let end = told.does(|streams, now, release| {
            streams.end([Some(110), None], Cause::WireNotCaptured, now, release);
        });
        assert_eq!(end, ["send 0 -99", "send 99 stray", "send 104 -6"]);
    }

    #[test]
    fn what_waits_for_the_other_direction_is_bounded_and_not_lost() {
        let mut told = Told::default();
        let block = "x".repeat(1 << 20);
        assert_eq!(told.says(SEND, 5, "behind", 0), NOTHING);
        let blocks = (HOLD_LIMIT >> 20) as u64;
        for index in 0..blocks {
            assert_eq!(told.says(RECV, index << 20, &block, 0), NOTHING);
        }
        assert_eq!(told.says(RECV, blocks << 20, &block, 0), ["recv 0 xxxxxxxxx"]);
        assert_eq!(told.loses(SEND, 0, 5)[..3], ["send 0 -5", "send 5 behind", "recv 1048576 xxxxxxxxx"]);
    }

    proptest! {
        /// Two talk, each after all that the other said. Some of it is not captured, which is told some words later: whatever is read is read behind all that was said before it.
        #[test]
        fn losses_told_late_are_read_in_their_place(
            words in prop::collection::vec((any::<bool>(), 1u64..5, prop::option::of(1usize..4)), 1..40)
        ) {
            let mut told = Told::default();
            let (mut ends, mut due) = ([0u64; 2], Vec::<(usize, Direction, u64, u64)>::new());
            let mut expected = Vec::new();
            for (index, &(sends, length, lost)) in words.iter().enumerate() {
                let way = if sends { SEND } else { RECV };
                let (from, acked) = (ends[way.index()], ends[way.reverse().index()]);
                ends[way.index()] += length;
                match lost {
                    Some(later) => due.push((index + later, way, from, length)),
                    None => {
                        told.says(way, from, &"x".repeat(length as usize), acked);
                        expected.push((way, from, acked));
                    }
                }
                for (_, way, from, length) in due.extract_if(.., |due| due.0 <= index).collect::<Vec<_>>() {
                    told.loses(way, from, length);
                }
            }
            for (_, way, from, length) in due {
                told.loses(way, from, length);
            }
            let last = ends.map(Some);
            told.does(|streams, now, release| streams.end(last, Cause::WireNotCaptured, now, release));
            // Each word finds the other direction where its sender saw it.
            let (mut at, mut found) = ([0u64; 2], Vec::new());
            for word in &told.words {
                let parts: Vec<&str> = word.split(' ').collect();
                let way = if parts[0] == "send" { SEND } else { RECV };
                let offset: u64 = parts[1].parse().unwrap();
                prop_assert_eq!(at[way.index()], offset, "in order and once");
                at[way.index()] += match parts[2].strip_prefix('-') {
                    Some(length) => length.parse().unwrap(),
                    None => {
                        found.push((way, offset, at[way.reverse().index()]));
                        parts[2].len() as u64
                    }
                };
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(at, ends);
        }
    }
}
