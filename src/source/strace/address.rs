//! What a log says of sockets: socket addresses in arguments, and what -y and -yy add to descriptors. Pure.

use super::syntax::{argument, field, has_flag, inside, items, number, text, unescape, value};
use crate::event::{Address, Transport, UnixName};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The address families (address_families(7)) that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ip,
    Unix,
    Other,
}

/// The family that an item like `AF_INET`, `0x2 /* AF_INET */` or `0x2` names.
pub(super) fn family(item: &[u8]) -> Family {
    let named = |name: &str| item.starts_with(name.as_bytes()) && item.get(name.len()) != Some(&b'6');
    match value(item) {
        Some(1) => Family::Unix,
        Some(2 | 10) => Family::Ip,
        Some(_) => Family::Other,
        None if named("AF_UNIX") || named("AF_LOCAL") => Family::Unix,
        None if named("AF_INET") || item.starts_with(b"AF_INET6") => Family::Ip,
        None => Family::Other,
    }
}

/// How a socket of these arguments of socket(2) carries bytes; `None` for one of a kind that is not traced.
pub(super) fn transport(domain: &[u8], kind: &[u8], protocol: &[u8]) -> Option<Transport> {
    let number = value(kind).map(|kind| kind & 0xf);
    let kind = |name: &str, value: i64| has_flag(kind, name, 0) || number == Some(value);
    let protocol = |names: &[&str], values: &[i64]| match value(protocol) {
        Some(number) => values.contains(&number),
        None => names.iter().any(|name| has_flag(protocol, name, 0)),
    };
    match family(domain) {
        Family::Ip if kind("SOCK_STREAM", 1) && protocol(&["IPPROTO_IP", "IPPROTO_TCP"], &[0, 6]) => {
            Some(Transport::Tcp)
        }
        Family::Ip if kind("SOCK_DGRAM", 2) && protocol(&["IPPROTO_IP", "IPPROTO_UDP"], &[0, 17]) => {
            Some(Transport::Udp)
        }
        Family::Unix if kind("SOCK_STREAM", 1) => Some(Transport::UnixStream),
        Family::Unix if kind("SOCK_DGRAM", 2) => Some(Transport::UnixDgram),
        Family::Unix if kind("SOCK_SEQPACKET", 5) => Some(Transport::UnixSeqpacket),
        _ => None,
    }
}

/// A socket address in the arguments of a call: `{sa_family=AF_INET, ...}`. `None` where there is none, or of another
/// family.
pub(super) fn sockaddr(item: &[u8]) -> Option<Address> {
    let items = items(inside(item)?);
    let of = field(&items, "sa_family")?;
    match family(of) {
        Family::Unix => Some(Address::Unix(unix_name(field(&items, "sun_path").unwrap_or(b"\"\"")))),
        Family::Ip => {
            let v4 = field(&items, "sin_port");
            let port = port(v4.or_else(|| field(&items, "sin6_port"))?)?;
            let ip = match v4 {
                Some(_) => IpAddr::V4(ipv4(field(&items, "sin_addr")?)?),
                None => IpAddr::V6(ipv6(&items)?).to_canonical(),
            };
            Some(SocketAddr::new(ip, port).into())
        }
        Family::Other => None,
    }
}

/// `htons(80)`, or the two bytes as they are on the wire.
fn port(item: &[u8]) -> Option<u16> {
    if let Some(number) = argument(item, "htons") {
        return u16::try_from(value(number)?).ok();
    }
    Some(u16::from_be_bytes(text(item)?.bytes.try_into().ok()?))
}

fn ipv4(item: &[u8]) -> Option<Ipv4Addr> {
    if let Some(address) = argument(item, "inet_addr") {
        return String::from_utf8(text(address)?.bytes).ok()?.parse().ok();
    }
    let bytes: [u8; 4] = text(item)?.bytes.try_into().ok()?;
    Some(bytes.into())
}

/// `inet_pton(AF_INET6, "::1", &sin6_addr)`, alone or as a value, or the bytes.
fn ipv6(fields: &[&[u8]]) -> Option<Ipv6Addr> {
    let given = field(fields, "sin6_addr");
    let pton = fields.iter().chain(given.iter()).find_map(|item| argument(item, "inet_pton"));
    if let Some(arguments) = pton {
        let address = items(arguments).get(1).copied().and_then(text)?;
        return String::from_utf8(address.bytes).ok()?.parse().ok();
    }
    let bytes: [u8; 16] = text(given?)?.bytes.try_into().ok()?;
    Some(bytes.into())
}

/// `"/run/x"`, or `@"abstract"` for a name that begins with NUL.
fn unix_name(item: &[u8]) -> UnixName {
    match item.strip_prefix(b"@") {
        Some(rest) => {
            let name = text(rest).unwrap_or_default().bytes;
            UnixName::new(&[&[0], &name[..]].concat())
        }
        None => UnixName::new(&text(item).unwrap_or_default().bytes),
    }
}

/// What -y and -yy say of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// A socket with this inode, and what else is known of it.
    Socket { inode: u64, transport: Option<Transport>, local: Option<Address> },
    /// A socket by its addresses.
    Ends { transport: Transport, local: Address, remote: Option<Address> },
    /// A socket of a kind that is not traced.
    OtherSocket,
    /// A file, a pipe, or whatever else is no socket.
    NoSocket,
}

/// A descriptor in the arguments or the result of a call: its number, and what is added to it.
pub(super) fn descriptor(item: &[u8]) -> Option<(i32, Option<Nature>)> {
    let (fd, rest) = number(item)?;
    let fd = i32::try_from(fd).ok().filter(|&fd| fd >= 0)?;
    let inner = rest
        .strip_prefix(b"<")
        .and_then(|rest| rest.strip_suffix(b"(deleted)").unwrap_or(rest).strip_suffix(b">"));
    Some((fd, inner.map(nature)))
}

/// Descriptors in the notation of -yy, without those of the next field: `5<...>`, `[4, 5]`.
pub(super) fn nature(decoration: &[u8]) -> Nature {
    let Some(open) = memchr::memmem::find(decoration, b":[") else { return Nature::NoSocket };
    let (word, rest) = (&decoration[..open], &decoration[open + 2..]);
    let Some(content) = closing_bracket(rest) else { return Nature::NoSocket };
    match word {
        b"socket" => with_inode(content, None),
        b"TCP" | b"TCPv6" => ends(content, Transport::Tcp),
        b"UDP" | b"UDPv6" => ends(content, Transport::Udp),
        b"UNIX" => with_inode(content, None),
        b"UNIX-STREAM" => with_inode(content, Some(Transport::UnixStream)),
        b"UNIX-DGRAM" => with_inode(content, Some(Transport::UnixDgram)),
        b"UNIX-SEQPACKET" => with_inode(content, Some(Transport::UnixSeqpacket)),
        // Paths begin with a slash, anonymous inodes and pipes with a small letter.
        [b'A'..=b'Z', ..] => Nature::OtherSocket,
        _ => Nature::NoSocket,
    }
}

/// What stands before the last bracket: addresses of version 6 have brackets of their own.
fn closing_bracket(text: &[u8]) -> Option<&[u8]> {
    Some(&text[..memchr::memrchr(b']', text)?])
}

/// `12345`, `1->2`, `1->2,"/run/x"`, `1,@"name"`.
fn with_inode(content: &[u8], transport: Option<Transport>) -> Nature {
    let Some((inode, rest)) = number(content) else { return Nature::OtherSocket };
    let name = memchr::memchr(b',', rest).map(|at| unix_name(&rest[at + 1..]));
    Nature::Socket { inode: inode as u64, transport, local: name.map(Address::Unix) }
}

/// `127.0.0.1:80->127.0.0.1:51000`, `[::1]:80`, or an inode.
fn ends(content: &[u8], transport: Transport) -> Nature {
    let socket = |bytes: &[u8]| -> Option<Address> {
        // With -xx strace escapes addresses here as well in some releases.
        let address: SocketAddr = String::from_utf8(unescape(bytes)).ok()?.parse().ok()?;
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()).into())
    };
    let (local, remote) = match memchr::memmem::find(content, b"->") {
        Some(at) => (&content[..at], Some(&content[at + 2..])),
        None => (content, None),
    };
    match (socket(local), remote.map(socket)) {
        (Some(local), None) => Nature::Ends { transport, local, remote: None },
        (Some(local), Some(Some(remote))) => Nature::Ends { transport, local, remote: Some(remote) },
        _ => with_inode(content, Some(transport)),
    }
}

/// Both descriptors of `[4, 5]`.
pub(super) fn pair(item: &[u8]) -> Option<[&[u8]; 2]> {
    items(inside(item)?).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_every_notation() {
        let check = |item: &str, expected: &str| {
            assert_eq!(sockaddr(item.as_bytes()).unwrap().to_string(), expected, "{item}");
        };
        check(r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}"#, "127.0.0.1:80");
        check(
            r#"{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("\x31\x32\x37\x2e\x30\x2e\x30\x2e\x31")}"#,
            "127.0.0.1:80",
        );
        check(r#"{sa_family=0x2, sin_port="\x00\x50", sin_addr="\x7f\x00\x00\x01"}"#, "127.0.0.1:80");
        check(
            r#"{sa_family=0x2 /* AF_INET */, sin_port="\x94\xa7" /* htons(38055) */, sin_addr="\x7f\x00\x00\x01" /* inet_addr("127.0.0.1") */}"#,
            "127.0.0.1:38055",
        );
        check(
            r#"{sa_family=AF_INET6, sin6_port=htons(9), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}"#,
            "[::1]:9",
        );
        check(
            r#"{sa_family=AF_INET6, sin6_port=htons(9), inet_pton(AF_INET6, "::ffff:192.0.2.1", &sin6_addr)}"#,
            "192.0.2.1:9",
        );
        check(r#"{sa_family=AF_UNIX, sun_path="/run/x"}"#, "/run/x");
        check(r#"{sa_family=AF_UNIX, sun_path=@"abs"}"#, "@abs");
        assert_eq!(sockaddr(b"NULL"), None);
        assert_eq!(sockaddr(b"{sa_family=AF_NETLINK, nl_pid=0}"), None);
    }

    #[test]
    fn descriptors_with_what_is_added_to_them() {
        let ends = |local: &str, remote: Option<&str>| Nature::Ends {
            transport: Transport::Tcp,
            local: local.parse().unwrap(),
            remote: remote.map(|remote| remote.parse().unwrap()),
        };
        let inode = |inode, transport, local: Option<&[u8]>| {
            let local = local.map(|name| Address::Unix(UnixName::new(name)));
            Nature::Socket { inode, transport, local }
        };
        let check =
            |item: &str, expected| assert_eq!(descriptor(item.as_bytes()), Some((5, expected)), "{item}");
        check("5", None);
        check("5<socket:[123]>", Some(inode(123, None, None)));
        check("5<TCP:[123]>", Some(inode(123, Some(Transport::Tcp), None)));
        check("5<TCP:[127.0.0.1:80]>", Some(ends("127.0.0.1:80", None)));
        check("5<TCP:[127.0.0.1:80->127.0.0.1:9]>", Some(ends("127.0.0.1:80", Some("127.0.0.1:9"))));
        check("5<TCPv6:[[::1]:80->[::1]:9]>", Some(ends("[::1]:80", Some("[::1]:9"))));
        check(
            "5<TCPv6:[[::ffff:10.0.0.1]:80->[::ffff:10.0.0.2]:9]>",
            Some(ends("10.0.0.1:80", Some("10.0.0.2:9"))),
        );
        check("5<UNIX-STREAM:[1->2]>", Some(inode(1, Some(Transport::UnixStream), None)));
        check(
            r#"5<UNIX-DGRAM:[1->2,"/run/x"]>"#,
            Some(inode(1, Some(Transport::UnixDgram), Some(b"/run/x"))),
        );
        check(r#"5<UNIX-STREAM:[1,@"x"]>"#, Some(inode(1, Some(Transport::UnixStream), Some(b"\0x"))));
        check("5<NETLINK:[ROUTE:1]>", Some(Nature::OtherSocket));
        check("5<pipe:[9]>", Some(Nature::NoSocket));
        check("5<anon_inode:[eventpoll]>", Some(Nature::NoSocket));
        check("5</a:[b]>", Some(Nature::NoSocket));
        assert_eq!(descriptor(b"AT_FDCWD"), None);
        assert_eq!(pair(b"[4<UNIX-STREAM:[1->2]>, 5]").unwrap(), [&b"4<UNIX-STREAM:[1->2]>"[..], b"5"]);
    }
}
