//! How a socket carries bytes, and what its ends are called.

use std::fmt;
use std::net::{AddrParseError, SocketAddr};
use std::str::FromStr;

/// How a socket carries bytes. The discriminants are part of the recording format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Transport {
    /// TCP over IPv4 or IPv6.
    #[default]
    Tcp = 0,
    /// UDP over IPv4 or IPv6.
    Udp = 1,
    /// A Unix socket of type SOCK_STREAM.
    UnixStream = 2,
    /// A Unix socket of type SOCK_DGRAM.
    UnixDgram = 3,
    /// A Unix socket of type SOCK_SEQPACKET.
    UnixSeqpacket = 4,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Transport; 5] = [
        Transport::Tcp,
        Transport::Udp,
        Transport::UnixStream,
        Transport::UnixDgram,
        Transport::UnixSeqpacket,
    ];

    /// The transport with this discriminant.
    pub fn from_number(number: u32) -> Option<Transport> {
        Transport::ALL.into_iter().find(|&transport| transport as u32 == number)
    }

    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::UnixStream => "unix-stream",
            Transport::UnixDgram => "unix-dgram",
            Transport::UnixSeqpacket => "unix-seqpacket",
        }
    }

    /// True where bytes follow each other; false where each event is a message of its own, which may be empty.
    pub fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::UnixStream)
    }

    /// True where both ends are on one machine, and no network carries the bytes.
    pub fn is_unix(self) -> bool {
        !matches!(self, Transport::Tcp | Transport::Udp)
    }
}

/// What one end of a socket is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// The name of a Unix socket.
    Unix(UnixName),
}

/// The name of a Unix socket (unix(7)): a path, an abstract name, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixName {
    /// As the kernel keeps it: an abstract name begins with NUL.
    bytes: [u8; UnixName::MAX],
    length: u8,
}

impl UnixName {
    /// The longest name in bytes, the NUL that begins an abstract one included.
    pub const MAX: usize = 108;

    /// A socket that has no name.
    pub const UNNAMED: UnixName = UnixName { bytes: [0; UnixName::MAX], length: 0 };

    /// Takes the bytes of `sun_path`, as many as the address is long. A path ends before its first NUL.
    pub fn new(bytes: &[u8]) -> UnixName {
        let bytes = &bytes[..bytes.len().min(UnixName::MAX)];
        let is_abstract = bytes.first() == Some(&0);
        let end = bytes.iter().position(|&byte| byte == 0).filter(|_| !is_abstract);
        let bytes = &bytes[..end.unwrap_or(bytes.len())];
        let mut name = UnixName { length: bytes.len() as u8, ..UnixName::UNNAMED };
        name.bytes[..bytes.len()].copy_from_slice(bytes);
        name
    }

    /// The bytes, as [`UnixName::new`] takes them. Empty: no name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// As /proc/net/unix shows it: `@` for each NUL of an abstract name. May hold any byte but NUL: escape before
    /// showing it.
    pub fn text(&self) -> Vec<u8> {
        self.as_bytes().iter().map(|&byte| if byte == 0 { b'@' } else { byte }).collect()
    }
}

impl Address {
    /// The IP address and port, where it is one.
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(address),
            Address::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl FromStr for Address {
    type Err = AddrParseError;

    /// Takes an IP address with a port, such as `192.0.2.1:80`.
    fn from_str(text: &str) -> Result<Address, AddrParseError> {
        text.parse().map(Address::Ip)
    }
}

/// What is not printable ASCII in a Unix name is escaped.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(name) => name.text().escape_ascii().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_names_are_what_the_kernel_keeps() {
        let shown = |bytes: &[u8]| Address::Unix(UnixName::new(bytes)).to_string();
        assert_eq!(shown(b"/run/x\0"), "/run/x");
        assert_eq!(shown(b"\0abs\0tract"), "@abs@tract");
        assert_eq!(shown(b"/\x1b[2J"), "/\\x1b[2J");
        assert_eq!(UnixName::new(b""), UnixName::UNNAMED);
        assert_eq!(UnixName::new(&[b'a'; 200]).as_bytes(), [b'a'; UnixName::MAX]);
        let name = UnixName::new(b"\0abs\0tract\0");
        assert_eq!(UnixName::new(name.as_bytes()), name);
    }
}
