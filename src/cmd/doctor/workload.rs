//! What the self-test traces: a process that sends bytes known beforehand to itself, by each data call.
//!
//! It speaks with the tracer on stdin and stdout: says the inode of a connection that is open already, waits until it
//! is traced, says the inodes of each pair of sockets it used, and keeps the first connection until stdin ends.

use crate::event::Call;
use anyhow::Context;
use io_uring::types::Fd;
use io_uring::{IoUring, opcode, squeue};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, UnixAddr, accept4, bind, connect,
    getsockname, listen, recv, recvmsg, send, sendmsg, setsockopt, socket,
};
use nix::sys::stat::fstat;
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::uio::{readv, writev};
use nix::unistd::{read, write};
use std::io::{self, BufRead, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Bytes of each message: around the size up to which payload is gathered, and around that of a page.
const SIZES: [usize; 5] = [1, 4095, 4096, 4097, 8192];

/// Bytes that a pair of sockets moves.
pub const TOTAL: usize = {
    let (mut sum, mut at) = (0, 0);
    while at < SIZES.len() {
        sum += SIZES[at];
        at += 1;
    }
    sum
};

/// What is said last, before stdin is waited for.
pub const DONE: &str = "done";

/// A receiver that waits longer has lost bytes: nothing else is on these sockets.
const PATIENCE: Duration = Duration::from_secs(10);

/// Two ends of a connection: what one sends the other receives.
type Ends = (OwnedFd, OwnedFd);

/// A way to carry bytes.
pub struct Transport {
    /// As the self-test's table names it.
    pub name: &'static str,
    /// Its sockets become two ends by connect and accept.
    pub is_tcp: bool,
    connect: fn() -> io::Result<Ends>,
}

/// A call that sends, and one that receives.
pub struct Pair {
    /// The call that sends.
    pub send: Call,
    /// The call that receives.
    pub recv: Call,
    sender: fn(&OwnedFd, &[u8]) -> nix::Result<usize>,
    receiver: fn(&OwnedFd, &mut [u8]) -> nix::Result<usize>,
}

/// Every transport is tried with every pair.
pub const TRANSPORTS: &[Transport] = &[
    Transport { name: "tcp4", is_tcp: true, connect: || tcp((Ipv4Addr::LOCALHOST, 0).into()) },
    Transport { name: "tcp6", is_tcp: true, connect: || tcp((Ipv6Addr::LOCALHOST, 0).into()) },
    Transport { name: "udp4", is_tcp: false, connect: || udp((Ipv4Addr::LOCALHOST, 0).into()) },
    Transport { name: "udp6", is_tcp: false, connect: || udp((Ipv6Addr::LOCALHOST, 0).into()) },
    Transport { name: "unix-stream", is_tcp: false, connect: || unix(SockType::Stream) },
    Transport { name: "unix-dgram", is_tcp: false, connect: || unix(SockType::Datagram) },
    Transport { name: "unix-seqpacket", is_tcp: false, connect: || unix(SockType::SeqPacket) },
];

/// Every call that is traced.
pub const PAIRS: &[Pair] = &[
    Pair {
        send: Call::Write,
        recv: Call::Read,
        sender: |fd, bytes| write(fd, bytes),
        receiver: |fd, room| read(fd, room),
    },
    Pair {
        send: Call::Writev,
        recv: Call::Readv,
        sender: |fd, bytes| {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            writev(fd, &[IoSlice::new(one), IoSlice::new(two)])
        },
        receiver: |fd, room| {
            let (one, two) = room.split_at_mut(room.len() / 2);
            readv(fd, &mut [IoSliceMut::new(one), IoSliceMut::new(two)])
        },
    },
    Pair {
        send: Call::Sendto,
        recv: Call::Recvfrom,
        // send and recv are the calls sendto and recvfrom without an address.
        sender: |fd, bytes| send(fd.as_raw_fd(), bytes, MsgFlags::empty()),
        receiver: |fd, room| recv(fd.as_raw_fd(), room, MsgFlags::empty()),
    },
    Pair {
        send: Call::Sendmsg,
        recv: Call::Recvmsg,
        sender: |fd, bytes| {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            let buffers = [IoSlice::new(one), IoSlice::new(two)];
            sendmsg::<()>(fd.as_raw_fd(), &buffers, &[], MsgFlags::empty(), None)
        },
        receiver: |fd, room| {
            let (one, two) = room.split_at_mut(room.len() / 2);
            let mut buffers = [IoSliceMut::new(one), IoSliceMut::new(two)];
            let received = recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut buffers, None, MsgFlags::empty())?;
            Ok(received.bytes)
        },
    },
    Pair {
        send: Call::Sendmmsg,
        recv: Call::Recvmmsg,
        sender: |fd, bytes| {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            let mut buffers = [part(one), part(two)];
            let mut messages = buffers.each_mut().map(message);
            // SAFETY: two messages, each of one buffer, both of which live through the call; it writes to no buffer.
            let count = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
            moved(&messages, count)
        },
        receiver: |fd, room| {
            let (one, two) = room.split_at_mut(room.len() / 2);
            let mut buffers = [part(one), part(two)];
            let mut messages = buffers.each_mut().map(message);
            // What was sent in two parts is received in two, each of them whole.
            let flags = libc::MSG_WAITALL as _;
            // SAFETY: as above, and the buffers are exclusively ours.
            let count = unsafe {
                libc::recvmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), 2, flags, std::ptr::null_mut())
            };
            moved(&messages, count)
        },
    },
    Pair {
        send: Call::Pwritev2,
        recv: Call::Preadv2,
        sender: |fd, bytes| {
            let buffer = part(bytes);
            // SAFETY: one buffer, which lives through the call.
            let count = unsafe { libc::pwritev2(fd.as_raw_fd(), &buffer, 1, NO_OFFSET, 0) };
            Errno::result(count).map(|count| count as usize)
        },
        receiver: |fd, room| {
            let buffer = part(room);
            // SAFETY: one buffer, which lives through the call and is exclusively ours.
            let count = unsafe { libc::preadv2(fd.as_raw_fd(), &buffer, 1, NO_OFFSET, 0) };
            Errno::result(count).map(|count| count as usize)
        },
    },
    Pair {
        send: Call::IoUring,
        recv: Call::IoUring,
        sender: |fd, bytes| {
            let (one, two) = bytes.split_at(bytes.len() / 2);
            let mut buffers = [part(one), part(two)];
            // SAFETY: all zero is a message without address, buffers and control data.
            let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
            (message.msg_iov, message.msg_iovlen) = (buffers.as_mut_ptr(), buffers.len());
            through_ring(&opcode::SendMsg::new(Fd(fd.as_raw_fd()), &raw const message).build())
        },
        receiver: |fd, room| {
            let length = room.len() as u32;
            through_ring(&opcode::Recv::new(Fd(fd.as_raw_fd()), room.as_mut_ptr(), length).build())
        },
    },
];

/// Has io_uring carry out one operation, whose memory must live until this returns.
fn through_ring(entry: &squeue::Entry) -> nix::Result<usize> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
    let mut ring = IoUring::new(1).map_err(errno)?;
    // SAFETY: the operation is over before the memory goes, see above.
    unsafe { ring.submission().push(entry) }.map_err(|_| Errno::EBUSY)?;
    loop {
        if let Some(done) = ring.completion().next() {
            return usize::try_from(done.result()).map_err(|_| Errno::from_raw(-done.result()));
        }
        // Work of the kernel's own interrupts the wait, also that of an earlier ring.
        match ring.submit_and_wait(1).map_err(errno) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// preadv2(2): at the file's own position, and sockets have no other.
const NO_OFFSET: libc::off_t = -1;

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// A message with one buffer.
fn message(buffer: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zero is a message without address, buffers and control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (buffer, 1);
    message
}

/// Bytes of the messages that the kernel has moved, where it has moved any.
fn moved(messages: &[libc::mmsghdr], count: libc::c_int) -> nix::Result<usize> {
    let count = Errno::result(count)? as usize;
    Ok(messages[..count].iter().map(|message| message.msg_len as usize).sum())
}

/// The bytes that transport number `transport` carries with pair number `pair`: no stretch repeats, and no two
/// are alike.
pub fn payload(transport: usize, pair: usize) -> Vec<u8> {
    let number = (transport * PAIRS.len() + pair + 1) as u64;
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(TOTAL + 8);
    while bytes.len() < TOTAL {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(TOTAL);
    bytes
}

/// What is said of a transport with a pair: the inodes of the two ends, or why there are none.
pub type Said = Result<(u64, u64), String>;

/// Is the traced process, until stdin ends.
///
/// # Errors
/// Its own sockets do not carry what they should, or whoever started it is gone.
pub fn run() -> anyhow::Result<()> {
    let open = (TRANSPORTS[0].connect)().context("a loopback connection")?;
    println!("{}", inode(&open.0)?);
    let mut lines = io::stdin().lock().lines();
    lines.next().transpose()?;
    exchange(&open, &PAIRS[0], &payload(TRANSPORTS.len(), 0))?;
    for (at, transport) in TRANSPORTS.iter().enumerate() {
        for (number, pair) in PAIRS.iter().enumerate() {
            let said: Said = match usable(pair).and_then(|()| (transport.connect)()) {
                Ok(ends) => {
                    exchange(&ends, pair, &payload(at, number)).with_context(|| {
                        format!("{}, {} to {}", transport.name, pair.send.name(), pair.recv.name())
                    })?;
                    Ok((inode(&ends.0)?, inode(&ends.1)?))
                }
                // IPv6 and io_uring may be switched off.
                Err(error) => Err(error.to_string()),
            };
            println!("{}", serde_json::to_string(&said)?);
        }
    }
    println!("{DONE}");
    lines.next().transpose()?;
    Ok(())
}

/// Makes the call again where it was interrupted and has moved nothing: io_uring, also when it ends, has work done by the
/// task that used it, for which waiting calls with a time limit are interrupted.
fn uninterrupted(mut call: impl FnMut() -> nix::Result<usize>) -> nix::Result<usize> {
    loop {
        let result = call();
        if result != Err(Errno::EINTR) {
            return result;
        }
    }
}

/// An error where the kernel has no such calls.
fn usable(pair: &Pair) -> io::Result<()> {
    if pair.send == Call::IoUring { IoUring::new(1).map(drop) } else { Ok(()) }
}

/// Sends message by message, each received before the next: nothing has to fit into the sockets' buffers.
fn exchange((sender, receiver): &Ends, pair: &Pair, bytes: &[u8]) -> anyhow::Result<()> {
    let mut rest = bytes;
    for size in SIZES {
        let (message, after) = rest.split_at(size);
        rest = after;
        let (mut sent, mut received) = (0, vec![0; size]);
        while sent < size {
            let next = uninterrupted(|| (pair.sender)(sender, &message[sent..]))?;
            let mut came = 0;
            while came < next {
                match uninterrupted(|| (pair.receiver)(receiver, &mut received[sent + came..sent + next]))? {
                    0 => anyhow::bail!("the connection ended"),
                    count => came += count,
                }
            }
            sent += next;
        }
        anyhow::ensure!(received == message, "other bytes arrived than were sent");
    }
    Ok(())
}

fn tcp(address: SocketAddr) -> io::Result<Ends> {
    let listener = TcpListener::bind(address)?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    Ok((client.into(), server.into()))
}

fn udp(address: SocketAddr) -> io::Result<Ends> {
    let (one, two) = (UdpSocket::bind(address)?, UdpSocket::bind(address)?);
    one.connect(two.local_addr()?)?;
    two.connect(one.local_addr()?)?;
    two.set_read_timeout(Some(PATIENCE))?;
    Ok((one.into(), two.into()))
}

fn unix(kind: SockType) -> io::Result<Ends> {
    let make = || socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None);
    let (client, mut server) = (make()?, make()?);
    // The kernel gives it an abstract name that nobody else has (unix(7), autobind).
    bind(server.as_raw_fd(), &UnixAddr::new_unnamed())?;
    let name: UnixAddr = getsockname(server.as_raw_fd())?;
    if kind != SockType::Datagram {
        listen(&server, Backlog::new(1)?)?;
    }
    connect(client.as_raw_fd(), &name)?;
    if kind != SockType::Datagram {
        let accepted = accept4(server.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: the kernel has just returned this descriptor to us alone.
        server = unsafe { OwnedFd::from_raw_fd(accepted) };
    }
    setsockopt(&server, ReceiveTimeout, &TimeVal::seconds(PATIENCE.as_secs() as i64))?;
    Ok((client, server))
}

fn inode(socket: &OwnedFd) -> nix::Result<u64> {
    let stat: libc::stat = fstat(socket)?;
    Ok(stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::SigSet;
    use std::collections::HashSet;

    #[test]
    fn every_transport_carries_every_pair() {
        // Other tests of this program raise signals, and calls with a time limit are not restarted (signal(7)).
        SigSet::all().thread_block().unwrap();
        for transport in TRANSPORTS {
            let ends = (transport.connect)().unwrap();
            for (number, pair) in PAIRS.iter().enumerate() {
                exchange(&ends, pair, &payload(7, number)).unwrap();
            }
        }
    }

    #[test]
    fn payloads_differ_in_every_stretch() {
        let all = (0..3).flat_map(|transport| (0..4).map(move |pair| payload(transport, pair)));
        let stretches: Vec<Vec<u8>> =
            all.flat_map(|bytes| bytes.chunks_exact(8).map(<[u8]>::to_vec).collect::<Vec<_>>()).collect();
        assert_eq!(stretches.iter().collect::<HashSet<_>>().len(), stretches.len());
    }
}
