//! Datagrams that the capture has as one and the process as several: the kernel splits what was sent with UDP_SEGMENT after a
//! capture has seen it, and puts together what calls gave it with UDP_CORK or MSG_MORE before.

use super::{Datagrams, LOOK_MAX, Place, is_udp, peer, port};
use crate::event::{Direction, Range};

impl Datagrams<'_> {
    /// Looks for what no datagram of the capture is alone.
    pub(super) fn look_for_joined(&mut self) {
        let process = self.process;
        for (number, socket) in process.iter().enumerate().filter(|(_, ledger)| is_udp(ledger)) {
            for way in Direction::BOTH {
                let mut index = 0;
                while index < socket.prints.lists[way.index()].len() {
                    index += self.take_joined(number, way, index).max(1);
                }
            }
        }
    }

    /// Takes the datagram of the capture that some of the process are together, from one on. Gives their count; 0: there is
    /// none.
    fn take_joined(&mut self, number: usize, way: Direction, index: usize) -> usize {
        let socket = &self.process[number];
        let matched = &self.matched[&number][way.index()];
        let first = &socket.prints.lists[way.index()][index];
        let other = peer(socket, first);
        let rest = socket.prints.lists[way.index()][index..].iter().zip(&matched[index..]);
        // They follow on one another, between the same ends.
        let rest = rest.take_while(|(print, place)| place.is_none() && peer(socket, print) == other);
        // By their offsets: what was lost between them belongs to it.
        let parts: Vec<Range> = rest.take(PARTS_MAX).map(|(print, _)| print.range).collect();
        let from = first.range.from;
        let ends: Vec<u64> = parts.iter().map(|part| part.to - from).collect();
        let Some(place) = self.is_joined(number, way, index, &ends) else { return 0 };
        let whole = self.print(place).range.len();
        let count = ends.iter().take_while(|&&end| end <= whole).count();
        let lists = self.matched.entry(number).or_default();
        for (part, range) in parts.iter().take(count).enumerate() {
            lists[way.index()][index + part] = Some(place);
            self.begins.insert((number, way, index + part), range.from - from);
        }
        self.joined.entry((number, way)).or_default().push((Range::new(from, from + whole), place));
        *self.is_found(place, way) = true;
        count
    }

    /// The first in order that begins as the process's datagram does, and is as long as some from there on.
    fn is_joined(&mut self, number: usize, way: Direction, index: usize, ends: &[u64]) -> Option<Place> {
        let socket = &self.process[number];
        let first = &socket.prints.lists[way.index()][index];
        let other = peer(socket, first);
        if ends.len() < 2 {
            return None;
        }
        let mut queue = self.by_port.remove(&(port(socket), way))?;
        while queue.front().is_some_and(|&place| *self.is_found(place, way)) {
            queue.pop_front();
        }
        let place = queue.iter().copied().take(LOOK_MAX).find(|&place| {
            let print = self.print(place);
            !*self.is_found(place, way)
                && first.begins(print)
                && ends.binary_search(&print.range.len()).is_ok()
                && self.is_between(place, socket, way, other)
        });
        self.by_port.insert((port(socket), way), queue);
        place
    }
}

/// As many datagrams as one may be split into (UDP_MAX_SEGMENTS, include/linux/udp.h: 64, from Linux 6.9 on 128).
const PARTS_MAX: usize = 128;
