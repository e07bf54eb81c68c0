//! What the decoder remembers of a connection without sequence numbers.

use crate::event::{Address, Direction, Range};

/// A connection without sequence numbers. Threads that use it at once may have been given one offset twice, so
/// its bytes are numbered here, in the order of the ring.
#[derive(Debug)]
pub(super) struct Counted {
    /// The other end of those of its datagrams that have none of their own.
    pub(super) remote: Option<Address>,
    next: [u64; 2],
}

impl Counted {
    /// One of which nothing has come yet.
    pub(super) fn new(remote: Option<Address>) -> Counted {
        Counted { remote, next: [0; 2] }
    }

    /// The place of the next `length` bytes, if there are so many; they have moved unless they are only looked at.
    pub(super) fn place(&mut self, direction: Direction, length: u64, peek: bool) -> Option<Range> {
        let next = &mut self.next[direction.index()];
        let range = Range::new(*next, next.checked_add(length)?);
        *next = if peek { range.from } else { range.to };
        Some(range)
    }
}
