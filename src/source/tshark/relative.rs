//! Makes relative sequence numbers tell one connection from the next between the same ports.
//!
//! tshark's relative numbers begin at 0 for every connection. The flows tell connections apart by their
//! initial numbers, so each gets one of its own.

use crate::source::pcap::link::flag;
use rustc_hash::FxHashMap;
use std::net::SocketAddr;

/// Pairs of ends that are remembered. Connections between further ones are not told apart.
const MAX_PAIRS: usize = 1 << 20;

/// Distance between the initial numbers of two connections, in no window of each other (RFC 7323, section 2.3:
/// at most 1 GiB).
const STEP: u32 = 0x9e37_79b9;

/// The connections so far.
#[derive(Default)]
pub struct Relative {
    pairs: FxHashMap<(SocketAddr, SocketAddr), Life>,
}

#[derive(Default)]
struct Life {
    /// Connections before this one.
    number: u32,
    /// A segment other than a SYN was seen.
    established: bool,
}

impl Relative {
    /// What to add to the numbers of a segment.
    pub fn base(&mut self, source: SocketAddr, destination: SocketAddr, flags: u8) -> u32 {
        let pair = (source.min(destination), source.max(destination));
        if self.pairs.len() == MAX_PAIRS && !self.pairs.contains_key(&pair) {
            return 0;
        }
        let life = self.pairs.entry(pair).or_default();
        let syn = flags & (flag::SYN | flag::ACK) == flag::SYN;
        if syn && std::mem::take(&mut life.established) {
            life.number = life.number.wrapping_add(1);
        }
        life.established |= flags & flag::SYN == 0;
        life.number.wrapping_mul(STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_begins_with_a_syn_after_anything_else() {
        let (a, b) = ("10.0.0.1:4000".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        let mut relative = Relative::default();
        for (source, destination, flags, number) in [
            (a, b, flag::SYN, 0),
            (a, b, flag::SYN, 0),
            (b, a, flag::SYN | flag::ACK, 0),
            (a, b, flag::ACK, 0),
            (b, a, flag::SYN | flag::ACK, 0),
            (a, b, flag::SYN, 1),
            (b, a, flag::RST, 1),
            (a, b, flag::SYN, 2),
        ] {
            assert_eq!(relative.base(source, destination, flags), STEP.wrapping_mul(number));
        }
    }
}
