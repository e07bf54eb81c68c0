//! The sockets of a process: descriptors, addresses, state, and which other processes hold the same ones.
//!
//! All of it comes from /proc, so a socket that is closed while this looks may be missing or without an address.

use super::listing::{Row, rows};
use procfs::net::{TcpState, UdpState};
use procfs::process::{FDTarget, Process, all_processes};
use procfs::{ProcError, ProcResult};
use std::collections::{BTreeMap, HashMap};

/// A socket that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// The number in `socket:[12345]`.
    pub inode: u64,
    /// The process's descriptors for it, in ascending order.
    pub fds: Vec<i32>,
    /// What it is; absent where the tables of the process's network namespace don't list it: a TCP or UDP socket
    /// without a port, one of another namespace, or one of a family that has no table.
    pub listed: Option<Listed>,
}

/// What the kernel's tables say of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// `ipv4`, `ipv6`, `unix`, `netlink`, `packet`.
    pub family: &'static str,
    /// `tcp`, `udp`, `raw`, `unix-stream`, `unix-dgram`, `unix-seqpacket`, `netlink`, `packet`.
    pub transport: &'static str,
    /// `listen`, `established`, ...; absent where its kind has none.
    pub state: Option<&'static str>,
    /// Its own address or path; `@` stands before an abstract name.
    pub local: Option<String>,
    /// The address of its peer.
    pub remote: Option<String>,
}

/// Another process that holds a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name, as the kernel keeps it.
    pub comm: String,
    /// Its descriptors for the socket.
    pub fds: Vec<i32>,
}

/// Who else holds sockets.
#[derive(Debug, Default)]
pub struct Sharing {
    /// The other processes, by inode.
    pub holders: HashMap<u64, Vec<Holder>>,
    /// Processes whose descriptors may not be looked at.
    pub unreadable: usize,
}

/// What the descriptors of a process refer to, as far as it concerns bytes on sockets.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Descriptors by socket inode.
    pub sockets: BTreeMap<u64, Vec<i32>>,
    /// Descriptors of io_uring instances.
    pub io_urings: Vec<i32>,
}

/// Looks at the descriptors of a process.
///
/// # Errors
/// The process is gone, or belongs to another user.
pub fn descriptors(pid: u32) -> ProcResult<Descriptors> {
    let mut found = Descriptors::default();
    // One that was closed meanwhile can't be read, and is of no interest.
    for descriptor in Process::new(pid as i32)?.fd()?.flatten() {
        match descriptor.target {
            FDTarget::Socket(inode) => found.sockets.entry(inode).or_default().push(descriptor.fd),
            FDTarget::AnonInode(name) if name.contains("io_uring") => found.io_urings.push(descriptor.fd),
            _ => {}
        }
    }
    found.sockets.values_mut().for_each(|fds| fds.sort_unstable());
    found.io_urings.sort_unstable();
    Ok(found)
}

/// The sockets behind `descriptors` of the process, by their first descriptor.
///
/// # Errors
/// The process is gone.
pub fn sockets(pid: u32, descriptors: &Descriptors) -> ProcResult<Vec<Socket>> {
    let mut tables = tables(pid)?;
    let socket =
        |(&inode, fds): (&u64, &Vec<i32>)| Socket { inode, fds: fds.clone(), listed: tables.remove(&inode) };
    let mut sockets: Vec<Socket> = descriptors.sockets.iter().map(socket).collect();
    sockets.sort_by(|a, b| a.fds.cmp(&b.fds));
    Ok(sockets)
}

/// Which processes other than `pid` hold one of the sockets in `wanted`.
///
/// # Errors
/// /proc can't be listed.
pub fn sharing(pid: u32, wanted: &Descriptors) -> ProcResult<Sharing> {
    let mut sharing = Sharing::default();
    for process in all_processes()?.flatten().filter(|process| process.pid() as u32 != pid) {
        let other = process.pid() as u32;
        match descriptors(other) {
            Ok(held) => {
                for (inode, fds) in held.sockets {
                    if wanted.sockets.contains_key(&inode) {
                        let comm = process.stat().map(|stat| stat.comm).unwrap_or_default();
                        sharing.holders.entry(inode).or_default().push(Holder { pid: other, comm, fds });
                    }
                }
            }
            Err(ProcError::PermissionDenied(_)) => sharing.unreadable += 1,
            // It has ended.
            Err(_) => {}
        }
    }
    Ok(sharing)
}

/// Every socket of the network namespace of `pid`, by inode.
fn tables(pid: u32) -> ProcResult<HashMap<u64, Listed>> {
    let process = Process::new(pid as i32)?;
    let mut found = HashMap::new();
    // IPv6 may be disabled: then it has no tables.
    for (family, sockets) in [("ipv4", process.tcp()), ("ipv6", process.tcp6())] {
        for socket in sockets.unwrap_or_default() {
            let remote = (socket.state != TcpState::Listen).then(|| socket.remote_address.to_string());
            let local = Some(socket.local_address.to_string());
            let state = Some(tcp_state(&socket.state));
            found.insert(socket.inode, Listed { family, transport: "tcp", state, local, remote });
        }
    }
    for (family, sockets) in [("ipv4", process.udp()), ("ipv6", process.udp6())] {
        for socket in sockets.unwrap_or_default() {
            let connected = socket.state == UdpState::Established;
            let remote = connected.then(|| socket.remote_address.to_string());
            let local = Some(socket.local_address.to_string());
            let state = Some(if connected { "connected" } else { "unconnected" });
            found.insert(socket.inode, Listed { family, transport: "udp", state, local, remote });
        }
    }
    found.extend(rows(pid, "unix").iter().filter_map(unix));
    for (table, family, transport, column) in OTHERS {
        let listed = Listed { family, transport, ..Listed::default() };
        let inodes = rows(pid, table).into_iter().filter_map(|row| row.number(*column));
        found.extend(inodes.map(|inode| (inode, listed.clone())));
    }
    Ok(found)
}

/// Tables of /proc/net for sockets of other kinds: name, family, transport, column of the inode.
const OTHERS: &[(&str, &str, &str, usize)] = &[
    ("raw", "ipv4", "raw", 9),
    ("raw6", "ipv6", "raw", 9),
    ("netlink", "netlink", "netlink", 9),
    ("packet", "packet", "packet", 8),
];

/// A row of /proc/net/unix: Num RefCount Protocol Flags Type St Inode Path, see proc_pid_net(5).
fn unix(row: &Row) -> Option<(u64, Listed)> {
    const LISTENS: u64 = 1 << 16;
    let transport = match row.hexadecimal(4)? {
        1 => "unix-stream",
        2 => "unix-dgram",
        5 => "unix-seqpacket",
        _ => return None,
    };
    let state = match (row.hexadecimal(3)? & LISTENS, row.hexadecimal(5)?) {
        (LISTENS, _) => "listen",
        (_, 3) => "connected",
        _ => "unconnected",
    };
    let listed = Listed { family: "unix", transport, state: Some(state), local: row.rest(7), remote: None };
    Some((row.number(6)?, listed))
}

fn tcp_state(state: &TcpState) -> &'static str {
    match state {
        TcpState::Established => "established",
        TcpState::SynSent => "syn-sent",
        TcpState::SynRecv | TcpState::NewSynRecv => "syn-recv",
        TcpState::FinWait1 => "fin-wait-1",
        TcpState::FinWait2 => "fin-wait-2",
        TcpState::TimeWait => "time-wait",
        TcpState::Close => "close",
        TcpState::CloseWait => "close-wait",
        TcpState::LastAck => "last-ack",
        TcpState::Listen => "listen",
        TcpState::Closing => "closing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    /// What the tables say of the socket of this process that has descriptor `fd`.
    fn listed(fd: i32) -> Listed {
        let pid = std::process::id();
        let sockets = sockets(pid, &descriptors(pid).unwrap()).unwrap();
        let socket = sockets.into_iter().find(|socket| socket.fds.contains(&fd)).unwrap();
        socket.listed.unwrap()
    }

    #[test]
    fn addresses_and_states_are_those_of_the_sockets() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = TcpStream::connect(&address).unwrap();
        let expected = Listed {
            family: "ipv6",
            transport: "tcp",
            state: Some("listen"),
            local: Some(address.clone()),
            remote: None,
        };
        assert_eq!(listed(listener.as_raw_fd()), expected);
        let own = client.local_addr().unwrap().to_string();
        let expected =
            Listed { state: Some("established"), local: Some(own), remote: Some(address), ..expected };
        assert_eq!(listed(client.as_raw_fd()), expected);

        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!((listed(udp.as_raw_fd()).transport, listed(udp.as_raw_fd()).remote), ("udp", None));
        udp.connect("127.0.0.1:9").unwrap();
        assert_eq!(listed(udp.as_raw_fd()).remote, Some("127.0.0.1:9".into()));
    }

    #[test]
    fn a_path_of_a_unix_socket_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a name with spaces");
        let listener = UnixListener::bind(&path).unwrap();
        let expected = Listed {
            family: "unix",
            transport: "unix-stream",
            state: Some("listen"),
            local: Some(path.to_str().unwrap().into()),
            remote: None,
        };
        assert_eq!(listed(listener.as_raw_fd()), expected);
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!((listed(one.as_raw_fd()).state, listed(one.as_raw_fd()).local), (Some("connected"), None));
    }
}
