//! What the user leaves out, as sources understand it: connections by port, peer and family, calls by name and
//! direction. A live kernel filters by itself ([`crate::source::live`]); for files it is decided here.

use crate::event::{Address, Call, Data, Direction, Open};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What to keep. Empty lists and absent values keep everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Ports of which a connection has one, at either end.
    pub ports: Ports,
    /// Ports at the observed end.
    pub local_ports: Ports,
    /// Ports at the other end.
    pub remote_ports: Ports,
    /// Networks of which the other end is in one.
    pub peers: Vec<Network>,
    /// The family of addresses.
    pub family: Option<Family>,
    /// The calls that move bytes.
    pub calls: Vec<Call>,
    /// The only direction.
    pub direction: Option<Direction>,
}

/// A set of ports; the empty one stands for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(pub Vec<RangeInclusive<u16>>);

/// An IPv4 or IPv6 address, or all that begin like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address, IPv4 as IPv6 has it (::ffff:0:0/96).
    pub address: Ipv6Addr,
    /// Bits of it that count, of 128.
    pub prefix: u8,
}

/// A family of addresses. IPv4 in an IPv6 socket is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// Unix sockets, whatever they are called.
    Unix,
}

impl Filter {
    /// True where the connection called so is kept. One whose addresses are not known has no port and no family.
    pub fn keeps_connection(&self, open: &Open) -> bool {
        let [local, remote] = [open.local, open.remote].map(|address| address.and_then(Address::ip));
        let ip = remote.map(|remote| remote.ip().to_canonical());
        let [local, remote] = [local, remote].map(|address| address.map_or(0, |address| address.port()));
        (self.ports.keep(local) || self.ports.keep(remote))
            && self.local_ports.keep(local)
            && self.remote_ports.keep(remote)
            && (self.peers.is_empty() || ip.is_some_and(|ip| self.peers.iter().any(|peer| peer.contains(ip))))
            && self.family.is_none_or(|family| Family::of(open) == Some(family))
    }

    /// True where the bytes of such a call are kept.
    pub fn keeps_call(&self, data: &Data<'_>) -> bool {
        (self.calls.is_empty() || self.calls.contains(&data.call))
            && self.direction.is_none_or(|direction| direction == data.direction)
    }

    /// True where it keeps everything.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

impl Ports {
    fn keep(&self, port: u16) -> bool {
        self.0.is_empty() || self.0.iter().any(|range| range.contains(&port))
    }
}

impl FromStr for Ports {
    type Err = String;

    /// Parses `80`, `80,443` and `8000-8999`.
    fn from_str(text: &str) -> Result<Ports, String> {
        let port = |text: &str| text.trim().parse::<u16>().ok();
        let range = |item: &str| {
            let (from, to) = item.split_once('-').unwrap_or((item, item));
            match (port(from), port(to)) {
                (Some(from), Some(to)) if from <= to => Ok(from..=to),
                _ => Err(format!("{item:?} is no port: expected numbers as in 80,443 or 8000-8999")),
            }
        };
        Ok(Ports(text.split(',').map(range).collect::<Result<_, _>>()?))
    }
}

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
        (u128::from(mapped(ip)) ^ u128::from(self.address)) & mask == 0
    }
}

/// The address as an IPv6 socket would have it.
fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

impl FromStr for Network {
    type Err = String;

    /// Parses `10.0.0.1`, `10.0.0.0/8`, `::1` and `fd00::/8`.
    fn from_str(text: &str) -> Result<Network, String> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = address
            .parse()
            .map_err(|_| format!("{address:?} is no address: expected 10.0.0.1, 10.0.0.0/8 or fd00::/8"))?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits)
                .ok_or_else(|| format!("{text:?} is no prefix: expected 0 to {bits} bits"))?,
        };
        Ok(Network { address: mapped(ip), prefix: 128 - bits + prefix })
    }
}

impl Family {
    /// Of a socket that may have any peer, what its own address is written as.
    fn of(open: &Open) -> Option<Family> {
        if open.transport.is_unix() {
            return Some(Family::Unix);
        }
        let ip = |address: Option<Address>| address.and_then(Address::ip).map(|address| address.ip());
        let ip = ip(open.remote).map(|ip| ip.to_canonical()).or(ip(open.local))?;
        Some(if ip.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Transport;

    fn open(local: &str, remote: &str) -> Open {
        Open { local: Some(local.parse().unwrap()), remote: Some(remote.parse().unwrap()), ..Open::default() }
    }

    #[test]
    fn ports_are_numbers_and_ranges() {
        let ports: Ports = "80, 8000-8999,443".parse().unwrap();
        for (port, kept) in
            [(80, true), (443, true), (7999, false), (8000, true), (8999, true), (9000, false)]
        {
            assert_eq!(ports.keep(port), kept, "{port}");
        }
        for bad in ["", "80,", "65536", "-1", "90-80", "http", "1-2-3", "-"] {
            assert!(bad.parse::<Ports>().is_err(), "{bad:?} was taken");
        }
        assert!("0-65535".parse::<Ports>().unwrap().keep(65535));
    }

    #[test]
    fn ends_are_told_apart() {
        let filter = |ports: &str, local: &str, remote: &str| {
            let parse = |text: &str| if text.is_empty() { Ports::default() } else { text.parse().unwrap() };
            let (ports, local_ports, remote_ports) = (parse(ports), parse(local), parse(remote));
            Filter { ports, local_ports, remote_ports, ..Filter::default() }
        };
        let connection = open("10.0.0.1:443", "10.0.0.2:51000");
        for (ports, local, remote, kept) in [
            ("443", "", "", true),
            ("51000", "", "", true),
            ("80", "", "", false),
            ("", "443", "", true),
            ("", "51000", "", false),
            ("", "", "51000", true),
            ("", "", "443", false),
            ("443", "", "1-50000", false),
        ] {
            let filter = filter(ports, local, remote);
            assert_eq!(filter.keeps_connection(&connection), kept, "{filter:?}");
        }
    }

    #[test]
    fn networks_hold_addresses_of_their_family() {
        let contains = |network: &str, ip: &str| {
            network.parse::<Network>().unwrap().contains(ip.parse::<IpAddr>().unwrap())
        };
        assert!(contains("10.0.0.1", "10.0.0.1") && !contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("10.128.0.0/9", "10.128.0.0") && !contains("10.128.0.0/9", "10.127.255.255"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "1.2.3.4") && contains("::/0", "2001:db8::1"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe00::1"));
        assert!(contains("::ffff:127.0.0.1", "127.0.0.1"));
        for bad in ["", "host", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "10.0.0"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn families_are_those_of_the_addresses_shown() {
        let unconnected = |local| Open { remote: None, transport: Transport::Udp, ..open(local, local) };
        let unix = Open { transport: Transport::UnixDgram, ..Open::default() };
        for (connection, family) in [
            (open("127.0.0.1:1", "127.0.0.1:2"), Some(Family::Ipv4)),
            (open("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2"), Some(Family::Ipv4)),
            (open("[::1]:1", "[::1]:2"), Some(Family::Ipv6)),
            (unconnected("0.0.0.0:53"), Some(Family::Ipv4)),
            (unconnected("[::]:53"), Some(Family::Ipv6)),
            (unix, Some(Family::Unix)),
            (Open::default(), None),
        ] {
            for wanted in [Family::Ipv4, Family::Ipv6, Family::Unix] {
                let filter = Filter { family: Some(wanted), ..Filter::default() };
                assert_eq!(filter.keeps_connection(&connection), family == Some(wanted), "{connection:?}");
            }
        }
    }
}
