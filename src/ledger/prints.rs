//! What is kept of datagrams, so that those of two vantages can be told to be the same: length, address and digests.

use crate::event::{Address, Range, Timestamp};
use crate::protocol::Datagram;
use std::hash::{DefaultHasher, Hasher};

/// How many first bytes of a datagram have a digest of their own: what a snap length leaves tells that much.
pub const HEAD: usize = 32;

/// How many first bytes are kept themselves: they are compared where a datagram was cut within its head.
const FIRST: usize = 8;

/// Datagrams that one book remembers; each takes 72 bytes.
pub const PRINTS_MAX: usize = 1 << 19;

/// Peers that are looked through before one counts as new.
const PEERS_LOOK: usize = 64;

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    /// Its place in its direction.
    pub range: Range,
    /// When it moved.
    pub time: Timestamp,
    /// How many of its bytes were captured.
    pub captured: u64,
    /// Its first captured bytes.
    first: [u8; FIRST],
    /// The digest of its first [`HEAD`] bytes, or of all where it has fewer; absent where not all of them were captured.
    pub head: Option<u64>,
    /// The digest of what was captured.
    pub whole: u64,
    /// The other end, where it is known and not that of the connection. The book has it once for many.
    pub peer: Option<u32>,
}

impl Print {
    /// The print of a datagram.
    pub fn of(datagram: &Datagram<'_>, peer: Option<u32>) -> Print {
        let (range, data) = (datagram.range, datagram.data);
        let wanted = HEAD.min(usize::try_from(range.len()).unwrap_or(HEAD));
        let head = data.get(..wanted).map(digest);
        let mut first = [0; FIRST];
        first.iter_mut().zip(data).for_each(|(kept, &byte)| *kept = byte);
        let captured = data.len() as u64;
        Print { range, time: datagram.time, captured, first, head, whole: digest(data), peer }
    }

    /// True where another one, which is longer, can begin with it.
    pub fn begins(&self, other: &Print) -> bool {
        let both = usize::try_from(self.captured.min(other.captured)).unwrap_or(FIRST).min(FIRST);
        self.range.len() < other.range.len() && self.first[..both] == other.first[..both]
    }

    /// True where nothing speaks against two prints being of one datagram: same length, same bytes as far as both tell.
    pub fn is_like(&self, other: &Print) -> bool {
        let both = usize::try_from(self.captured.min(other.captured)).unwrap_or(FIRST).min(FIRST);
        let heads = self.head.zip(other.head).is_none_or(|(one, other)| one == other);
        let wholes = self.captured != other.captured || self.whole == other.whole;
        self.range.len() == other.range.len() && self.first[..both] == other.first[..both] && heads && wholes
    }
}

/// The same at every vantage.
fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The datagrams of one connection.
#[derive(Clone, Debug, Default)]
pub struct Prints {
    /// By direction, in the order in which they moved.
    pub lists: [Vec<Print>; 2],
    /// The other ends that they name.
    pub peers: Vec<Address>,
    /// Datagrams that were not remembered.
    pub left_out: u64,
}

impl Prints {
    /// Remembers a datagram.
    pub fn add(&mut self, datagram: &Datagram<'_>) {
        let peer = datagram.peer.map(|peer| self.number(peer));
        let print = Print::of(datagram, peer.and_then(|index| u32::try_from(index).ok()));
        self.lists[datagram.direction.index()].push(print);
    }

    /// Number of a peer. A socket of a server has many, most of them for a while: those that came last are looked at.
    fn number(&mut self, peer: Address) -> usize {
        let recent = self.peers.iter().enumerate().rev().take(PEERS_LOOK);
        let known = recent.into_iter().find(|(_, one)| **one == peer).map(|(index, _)| index);
        known.unwrap_or_else(|| {
            self.peers.push(peer);
            self.peers.len() - 1
        })
    }

    /// The other end of a datagram.
    pub fn peer(&self, print: &Print) -> Option<Address> {
        self.peers.get(print.peer? as usize).copied()
    }
}
