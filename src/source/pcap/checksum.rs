//! The checksums that payload goes into, of TCP, UDP and GRE: where they are, and what they are once the payload is another.

use super::ip::Header;
use super::link::{address, protocol};
use super::tunnel;
use std::net::IpAddr;
use std::ops::Range;

/// The 16-bit checksum of a header and what follows it (RFC 1071).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// What it covers and was captured: where it is in memory, or in a packet.
    pub covered: Range<usize>,
    /// All that it covers was captured.
    pub is_whole: bool,
    /// Where it is, from the beginning of what it covers.
    pub at: usize,
    /// What it covers besides: addresses, protocol and length (RFC 9293, section 3.1; RFC 768; RFC 8200, section 8.1).
    pub pseudo: Option<(IpAddr, IpAddr, u8, usize)>,
}

impl Sum {
    /// That of the header which follows an IP header, in memory; absent where there is none.
    pub fn of(header: &Header<'_>) -> Option<Sum> {
        const GRE_HAS_CHECKSUM: u16 = 0x8000;
        let part = header.payload;
        let (part, at) = match header.protocol {
            protocol::TCP => (part, 16),
            protocol::UDP => (part.limit(tunnel::datagram_length(part.be16(4)?, part)), 6),
            protocol::GRE if part.be16(0)? & GRE_HAS_CHECKSUM != 0 => (part, 4),
            _ => return None,
        };
        let pseudo = (header.source, header.destination, header.protocol, part.length);
        let pseudo = (header.protocol != protocol::GRE).then_some(pseudo);
        let is_whole = part.bytes.len() == part.length;
        Some(Sum { covered: address(part.bytes), is_whole, at, pseudo })
    }

    fn is_udp(&self) -> bool {
        self.pseudo.is_some_and(|pseudo| pseudo.2 == protocol::UDP)
    }

    /// Where it is in `data`, that is as long as what it was found in. What was not captured of it is no part.
    pub fn place(&self) -> Range<usize> {
        let at = (self.covered.start + self.at).min(self.covered.end);
        at..(at + 2).min(self.covered.end)
    }

    /// Makes it fit `data`, which it covers. One over bytes that were not captured becomes 0: it would tell of them.
    pub fn renew(&self, data: &mut [u8]) {
        let place = self.place();
        let before = data[place.clone()].to_vec();
        data[place.clone()].fill(0);
        // A datagram without a checksum has none afterwards.
        let none = self.is_udp() && before == [0, 0];
        if !self.is_whole || none || place.len() < 2 {
            return;
        }
        let value = match self.compute(&data[self.covered.clone()]) {
            0 if self.is_udp() => 0xffff, // 0 stands for none
            value => value,
        };
        data[place].copy_from_slice(&value.to_be_bytes());
    }

    fn compute(&self, covered: &[u8]) -> u16 {
        let mut sum = words(covered);
        if let Some((source, destination, protocol, length)) = self.pseudo {
            for end in [source, destination] {
                sum += match end {
                    IpAddr::V4(end) => words(&end.octets()),
                    IpAddr::V6(end) => words(&end.octets()),
                };
            }
            sum += u64::from(protocol) + words(&(length as u32).to_be_bytes());
        }
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }
}

/// The sum of 16-bit words, the last one filled up with zero.
fn words(bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let sum: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    sum + rest.first().map_or(0, |&last| u64::from(last) << 8)
}
