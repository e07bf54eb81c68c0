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
}

impl Transport {
    /// Every transport.
    pub const ALL: [Transport; 2] = [Transport::Tcp, Transport::Udp];

    /// The transport with this discriminant.
    pub fn from_number(number: u32) -> Option<Transport> {
        Transport::ALL.into_iter().find(|&transport| transport as u32 == number)
    }

    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }

    /// True where bytes follow each other; false where each event is a message of its own, which may be empty.
    pub fn is_stream(self) -> bool {
        match self {
            Transport::Tcp => true,
            Transport::Udp => false,
        }
    }
}

/// What one end of a socket is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Ip(SocketAddr),
}

impl Address {
    /// The IP address and port, where it is one.
    pub fn ip(self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(address),
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

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
        }
    }
}
