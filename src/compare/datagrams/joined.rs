//! Datagrams that the capture has as one and the process as several: the kernel splits what was sent with UDP_SEGMENT after a
//! capture has seen it, and puts together what calls gave it with UDP_CORK or MSG_MORE before. And those of which a process has
//! the beginning alone: its buffer was too small, or its socket had no room for the last parts.

use super::{Datagrams, is_udp, peer};
use crate::event::{Cause, Direction, Range};

impl Datagrams<'_> {
    /// Looks for what no datagram of the capture is alone: first for those that are one together, then for those that one
    /// begins with.
    pub(super) fn look_for_joined(&mut self) {
        let process = self.process;
        for whole in [true, false] {
            for (number, socket) in process.iter().enumerate().filter(|(_, ledger)| is_udp(ledger)) {
                for way in Direction::BOTH.into_iter().filter(|&way| whole || way == Direction::Recv) {
                    let mut index = 0;
                    while index < socket.prints.lists[way.index()].len() {
                        index += self.take_joined(number, way, index, whole).max(1);
                    }
                }
            }
        }
    }

    /// Takes the datagram of the capture that some of the process, from one on, are together; or, where it need not be `whole`,
    /// that they begin. Gives their count; 0: there is none.
    fn take_joined(&mut self, number: usize, way: Direction, index: usize, whole: bool) -> usize {
        let socket = &self.process[number];
        let matched = &self.matched[&number][way.index()];
        let first = &socket.prints.lists[way.index()][index];
        let other = peer(socket, first);
        let rest = socket.prints.lists[way.index()][index..].iter().zip(&matched[index..]);
        // They follow on one another, between the same ends; those that are split have one length.
        let rest = rest.take_while(|(print, place)| {
            let is_like = whole || print.range.len() == first.range.len();
            place.is_none() && is_like && peer(socket, print) == other
        });
        // By their offsets: what was lost between them belongs to it.
        let mut parts: Vec<Range> = rest.take(PARTS_MAX).map(|(print, _)| print.range).collect();
        let from = first.range.from;
        let ends: Vec<u64> = parts.iter().map(|part| part.to - from).collect();
        if ends.len() < if whole { 2 } else { 1 } {
            return 0;
        }
        let fits = |length: u64| !whole || ends.binary_search(&length).is_ok();
        let place = self.left(number, way, other).into_iter().find(|&place| {
            let print = self.print(place);
            first.begins(print) && fits(print.range.len())
        });
        let Some(place) = place else { return 0 };
        let length = self.print(place).range.len();
        parts.truncate(ends.iter().take_while(|&&end| end <= length).count());
        let lists = self.matched.entry(number).or_default();
        for (part, range) in parts.iter().enumerate() {
            lists[way.index()][index + part] = Some(place);
            self.begins.insert((number, way, index + part), range.from - from);
        }
        let taken = parts.last().map_or(0, |last| last.to - from);
        self.joined.entry((number, way)).or_default().push((Range::new(from, from + taken), place));
        if taken < length {
            let cause = if parts.len() == 1 { Cause::DatagramTruncated } else { Cause::Unread };
            self.left_over.insert(place, (taken, cause));
        }
        *self.is_found(place, way) = true;
        parts.len()
    }
}

/// As many datagrams as one may be split into (UDP_MAX_SEGMENTS, include/linux/udp.h: 64, from Linux 6.9 on 128).
const PARTS_MAX: usize = 128;
