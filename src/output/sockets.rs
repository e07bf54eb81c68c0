//! Remembers what an `open` told of each socket, because later events carry only its id; and shows
//! sockets as strace -yy does.

use super::escape::escape;
use crate::event::{Address, ConnId, Event, Kind, Open, Role, Transport, UnixName};
use rustc_hash::FxHashMap;
use std::fmt;

/// The sockets that are open. Grows with them and shrinks when they close.
#[derive(Debug, Default)]
pub struct Sockets {
    known: FxHashMap<ConnId, Socket>,
}

/// What is known of one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// Which.
    pub conn: ConnId,
    /// How it carries bytes.
    pub transport: Transport,
    /// Address of the observed end.
    pub local: Option<Address>,
    /// Address of the other end.
    pub remote: Option<Address>,
    /// Which end is observed.
    pub role: Role,
}

impl Sockets {
    /// The socket of `event`, after learning what the event tells. Forgets it with its last event.
    pub fn of(&mut self, event: &Event<'_>) -> Socket {
        match &event.kind {
            Kind::Open(open) => {
                let socket = Socket::new(event.conn, open);
                self.known.insert(event.conn, socket);
                socket
            }
            Kind::Close(close) if close.reason.is_final() => {
                self.known.remove(&event.conn).unwrap_or(Socket::unknown(event.conn))
            }
            _ => self.get(event.conn),
        }
    }

    /// The socket with this id.
    pub fn get(&self, conn: ConnId) -> Socket {
        self.known.get(&conn).copied().unwrap_or(Socket::unknown(conn))
    }
}

impl Socket {
    /// What an `open` tells.
    pub fn new(conn: ConnId, open: &Open) -> Socket {
        let Open { transport, local, remote, role, .. } = *open;
        Socket { conn, transport, local, remote, role }
    }

    fn unknown(conn: ConnId) -> Socket {
        Socket { conn, ..Socket::default() }
    }

    /// `unix`, or `ipv4` or `ipv6` where an address is known.
    pub fn family(&self) -> Option<&'static str> {
        if self.transport.is_unix() {
            return Some("unix");
        }
        let address = self.local.or(self.remote)?.ip()?;
        Some(if address.is_ipv4() { "ipv4" } else { "ipv6" })
    }

    fn unix(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            |address: Option<Address>| address.filter(|&address| address != Address::Unix(UnixName::UNNAMED));
        write!(f, "{name}:[{}", self.conn.socket)?;
        if let Some(local) = named(self.local) {
            write!(f, ",{}", Shown(&local))?;
        }
        if let Some(remote) = named(self.remote) {
            write!(f, "->{}", Shown(&remote))?;
        }
        f.write_str("]")
    }

    /// The socket behind a descriptor: `5<TCP:[10.0.0.1:443->10.0.0.2:51000]>`.
    pub fn with_fd(self, fd: Option<i32>) -> SocketWithFd {
        SocketWithFd { socket: self, fd }
    }
}

/// `TCP:[10.0.0.1:443->10.0.0.2:51000]`, `TCPv6:[[::1]:80->[::1]:51000]`, `UDP:[10.0.0.1:53]`,
/// `UNIX-STREAM:[12345,"/run/x"]` of who listens there, `UNIX-STREAM:[12345->"/run/x"]` of who connects, or `socket:[12345]` where no
/// address is known.
impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (self.transport, self.family()) {
            (Transport::Tcp, Some("ipv6")) => "TCPv6",
            (Transport::Tcp, _) => "TCP",
            (Transport::Udp, Some("ipv6")) => "UDPv6",
            (Transport::Udp, _) => "UDP",
            (Transport::UnixStream, _) => return self.unix("UNIX-STREAM", f),
            (Transport::UnixDgram, _) => return self.unix("UNIX-DGRAM", f),
            (Transport::UnixSeqpacket, _) => return self.unix("UNIX-SEQPACKET", f),
        };
        match (self.local, self.remote) {
            (Some(local), Some(remote)) => write!(f, "{name}:[{local}->{remote}]"),
            (Some(local), None) => write!(f, "{name}:[{local}]"),
            (None, Some(remote)) => write!(f, "{name}:[?->{remote}]"),
            (None, None) => write!(f, "socket:[{}]", self.conn.socket),
        }
    }
}

/// An address as text views show it: the name of a Unix socket in quotes, safe for a terminal.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a Address);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(name) => write!(f, "\"{}\"", escape(&name.text())),
        }
    }
}

/// What [`Socket::with_fd`] returns. Without a descriptor only the socket is shown.
#[derive(Clone, Copy, Debug)]
pub struct SocketWithFd {
    socket: Socket,
    fd: Option<i32>,
}

impl fmt::Display for SocketWithFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fd {
            Some(fd) => write!(f, "{fd}<{}>", self.socket),
            None => self.socket.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Close, CloseReason, Timestamp, Total};

    fn event(kind: Kind<'_>) -> Event<'_> {
        let conn = ConnId { socket: 12345, opened: 1 };
        Event { time: Timestamp(0), conn, task: None, fd: Some(5), kind }
    }

    fn open(local: &str, remote: &str) -> Event<'static> {
        let address = |text: &str| Some(text.parse().unwrap());
        event(Kind::Open(Open { local: address(local), remote: address(remote), ..Open::default() }))
    }

    fn close(reason: CloseReason) -> Event<'static> {
        event(Kind::Close(Close { reason, call: None, totals: [Total::default(); 2] }))
    }

    #[test]
    fn sockets_look_as_in_strace() {
        let mut sockets = Sockets::default();
        let shown = |socket: Socket| socket.with_fd(Some(5)).to_string();
        let v4 = sockets.of(&open("10.0.0.1:443", "10.0.0.2:51000"));
        assert_eq!(shown(v4), "5<TCP:[10.0.0.1:443->10.0.0.2:51000]>");
        let v6 = sockets.of(&open("[::1]:80", "[::1]:51000"));
        assert_eq!(shown(v6), "5<TCPv6:[[::1]:80->[::1]:51000]>");
        assert_eq!(v6.with_fd(None).to_string(), "TCPv6:[[::1]:80->[::1]:51000]");
        let mut udp = open("0.0.0.0:53", "10.0.0.2:51000");
        let Kind::Open(open) = &mut udp.kind else { unreachable!("made as an open") };
        open.transport = Transport::Udp;
        assert_eq!(shown(sockets.of(&udp)), "5<UDP:[0.0.0.0:53->10.0.0.2:51000]>");
        let Kind::Open(open) = &mut udp.kind else { unreachable!("made as an open") };
        open.remote = None;
        assert_eq!(shown(sockets.of(&udp)), "5<UDP:[0.0.0.0:53]>");
        let name = |bytes: &[u8]| Some(Address::Unix(UnixName::new(bytes)));
        let mut unix = |transport, local, remote| {
            shown(sockets.of(&event(Kind::Open(Open { transport, local, remote, ..Open::default() }))))
        };
        let server = unix(Transport::UnixStream, name(b"/run/x\0"), name(b""));
        assert_eq!(server, "5<UNIX-STREAM:[12345,\"/run/x\"]>");
        let client = unix(Transport::UnixSeqpacket, name(b""), name(b"\0\x1b"));
        assert_eq!(client, "5<UNIX-SEQPACKET:[12345->\"@\\x1b\"]>");
        assert_eq!(unix(Transport::UnixDgram, None, None), "5<UNIX-DGRAM:[12345]>");
        assert_eq!(shown(Sockets::default().get(v6.conn)), "5<socket:[12345]>");
    }

    #[test]
    fn a_socket_is_known_until_its_last_event() {
        let mut sockets = Sockets::default();
        sockets.of(&open("10.0.0.1:443", "10.0.0.2:51000"));
        assert!(sockets.of(&close(CloseReason::Descriptor)).local.is_some());
        assert!(sockets.of(&close(CloseReason::Closed)).local.is_some());
        assert_eq!(sockets.known.len(), 0);
        assert!(sockets.of(&close(CloseReason::Closed)).local.is_none());
    }
}
