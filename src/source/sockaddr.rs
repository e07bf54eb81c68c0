//! Addresses as the kernel lays them out -> [`Address`]. Pure.

use super::decode::Malformed;
use crate::event::{Address, UnixName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(super) const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// IPv4-mapped IPv6 addresses are shown as the IPv4 they carry (RFC 4291, 2.5.5.2).
pub(super) fn address(family: u16, bytes: &[u8; 16], port: u16) -> Result<Address, Malformed> {
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        AF_INET6 => IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical(),
        _ => return Err(Malformed),
    };
    Ok(SocketAddr::new(ip, port).into())
}

/// The other end, where there is one.
pub(super) fn remote(family: u16, bytes: &[u8; 16], port: u16) -> Result<Option<Address>, Malformed> {
    let address = address(family, bytes, port)?;
    Ok((port != 0).then_some(address))
}

/// A `struct sockaddr` of user space (ip(7), ipv6(7), unix(7)). `None` for a family that no traced socket has: a program may
/// pass anything.
pub(super) fn sockaddr(bytes: &[u8]) -> Option<Address> {
    let array = |at: usize| bytes.get(at..at + 2)?.try_into().ok();
    let family = u16::from_ne_bytes(array(0)?);
    if family == AF_UNIX {
        return Some(Address::Unix(UnixName::new(&bytes[2..])));
    }
    let port = u16::from_be_bytes(array(2)?);
    let (family, at, length) = match family {
        AF_INET => (AF_INET, 4, 4),
        AF_INET6 => (AF_INET6, 8, 16),
        _ => return None,
    };
    let mut ip = [0; 16];
    ip[..length].copy_from_slice(bytes.get(at..at + length)?);
    address(family, &ip, port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 7]);
        assert_eq!(address(AF_INET6, &mapped, 5).unwrap().to_string(), "192.0.2.7:5");
        let mut six = [0; 16];
        (six[0], six[15]) = (0x20, 1);
        assert_eq!(address(AF_INET6, &six, 5).unwrap().to_string(), "[2000::1]:5");
        assert_eq!(address(1, &six, 5), Err(Malformed));
        assert_eq!(remote(AF_INET6, &six, 0), Ok(None));
    }

    #[test]
    fn what_programs_pass_as_an_address() {
        let mut four = AF_INET.to_ne_bytes().to_vec();
        four.extend([0, 53, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sockaddr(&four).unwrap().to_string(), "192.0.2.1:53");
        let mut six = AF_INET6.to_ne_bytes().to_vec();
        six.extend([0x1f, 0x90, 1, 2, 3, 4]);
        six.extend(Ipv6Addr::LOCALHOST.octets());
        assert_eq!(sockaddr(&six).unwrap().to_string(), "[::1]:8080");
        let unix = [&AF_UNIX.to_ne_bytes()[..], b"/run/x\0rest"].concat();
        assert_eq!(sockaddr(&unix).unwrap().to_string(), "/run/x");
        assert_eq!(sockaddr(&unix[..2]), Some(Address::Unix(UnixName::UNNAMED)));
        for length in 0..8 {
            assert_eq!(sockaddr(&four[..length]), None);
            assert_eq!(sockaddr(&six[..length]), None);
        }
        assert_eq!(sockaddr(&[0xff; 110]), None);
    }
}
