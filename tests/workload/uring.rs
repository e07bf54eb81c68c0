//! io_uring: the kernel moves the bytes in a system call that names no socket, in a worker, or in a thread of its own.

use super::Mode;
use super::calls::{receive_all, send_all};
use super::noise::noise;
use super::peer::{Peer, connected, receive, tell_received};
use super::sharing::pair;
use super::sys;
use super::truth::{Truth, Way};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode};
use nix::libc::{self, SOCK_DGRAM, SOCK_SEQPACKET, SOCK_STREAM, iovec, msghdr};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

pub const MODES: &[Mode] = &[
    ("uring/write", |truth| send(truth, ring(), |fd, at, length| opcode::Write::new(fd, at, length).build())),
    ("uring/send", |truth| send(truth, ring(), |fd, at, length| opcode::Send::new(fd, at, length).build())),
    ("uring/sendmsg", |truth| send_message(truth, |fd, at| opcode::SendMsg::new(fd, at).build())),
    ("uring/send-zc", |truth| {
        send(truth, ring(), |fd, at, length| opcode::SendZc::new(fd, at, length).build())
    }),
    ("uring/sendmsg-zc", |truth| send_message(truth, |fd, at| opcode::SendMsgZc::new(fd, at).build())),
    ("uring/writev", |truth| {
        let mut ring = ring();
        send_by(truth, |fd, bytes| {
            let parts = parts(bytes);
            moved(&mut ring, &opcode::Writev::new(Fd(fd), parts.as_ptr(), parts.len() as u32).build())
        });
    }),
    ("uring/write-fixed", write_registered),
    // All of it, in several goes of the kernel.
    ("uring/send-whole", |truth| {
        send(truth, ring(), |fd, at, length| {
            opcode::Send::new(fd, at, length).flags(libc::MSG_WAITALL).build()
        })
    }),
    ("uring/send-linked", linked),
    // By a worker thread of the kernel.
    ("uring/send-async", |truth| {
        send(truth, ring(), |fd, at, length| opcode::Send::new(fd, at, length).build().flags(Flags::ASYNC))
    }),
    ("uring/send-sqpoll", |truth| {
        send(truth, polled(), |fd, at, length| opcode::Send::new(fd, at, length).build())
    }),
    ("uring/send-bundle", send_bundle),
    ("uring/read", |truth| {
        receive_plain(truth, ring(), |fd, at, length| opcode::Read::new(fd, at, length).build())
    }),
    ("uring/recv", |truth| {
        receive_plain(truth, ring(), |fd, at, length| opcode::Recv::new(fd, at, length).build())
    }),
    ("uring/recvmsg", receive_message),
    ("uring/recv-async", |truth| {
        receive_plain(truth, ring(), |fd, at, length| {
            opcode::Recv::new(fd, at, length).build().flags(Flags::ASYNC)
        })
    }),
    ("uring/recv-sqpoll", |truth| {
        receive_plain(truth, polled(), |fd, at, length| opcode::Recv::new(fd, at, length).build())
    }),
    ("uring/readv", |truth| {
        let mut ring = ring();
        receive_by(truth, |fd, room| {
            let parts = parts(room);
            let entry = opcode::Readv::new(Fd(fd), parts.as_ptr(), parts.len() as u32).build();
            let count = moved(&mut ring, &entry);
            room[..count].to_vec()
        });
    }),
    ("uring/recv-late", receive_late),
    ("uring/udp", udp),
    ("uring/unix-stream", |truth| unix(truth, SOCK_STREAM, "unix-stream")),
    ("uring/unix-dgram", |truth| unix(truth, SOCK_DGRAM, "unix-dgram")),
    ("uring/unix-seqpacket", |truth| unix(truth, SOCK_SEQPACKET, "unix-seqpacket")),
    ("uring/recv-provided", |truth| {
        provided(truth, |fd| {
            let entry = opcode::Recv::new(fd, std::ptr::null_mut(), PROVIDED as u32).buf_group(GROUP);
            entry.build().flags(Flags::BUFFER_SELECT)
        })
    }),
    ("uring/recv-multishot", |truth| provided(truth, |fd| opcode::RecvMulti::new(fd, GROUP).build())),
    ("uring/recv-bundle", |truth| receive_bundles(truth, |fd| opcode::RecvBundle::new(fd, GROUP).build())),
    ("uring/recv-multishot-bundle", |truth| {
        receive_bundles(truth, |fd| opcode::RecvMultiBundle::new(fd, GROUP).build())
    }),
];

/// The group of buffers from which the kernel takes some.
const GROUP: u16 = 7;
/// How many buffers the group has, and the length of each where it is for what comes.
const BUFFERS: usize = 4;
const PROVIDED: usize = 4000;

/// Small, around the size up to which payload is gathered, more than a chunk of the probes, and more than the kernel takes
/// at once: a short send.
const SIZES: [usize; 8] = [1, 100, 4095, 4096, 4097, 70_000, 300_000, 2_500_000];

fn ring() -> IoUring {
    IoUring::new(8).expect("a kernel with io_uring")
}

/// A thread of the kernel takes what is submitted.
fn polled() -> IoUring {
    IoUring::builder().setup_sqpoll(100).build(8).expect("a kernel with io_uring")
}

/// Submits one operation, and gives the results of this and earlier ones until it is done.
fn submit(ring: &mut IoUring, entry: &Entry) -> cqueue::Entry {
    // SAFETY: callers keep the memory that the entry points to until the operation is done, which is awaited here
    // or, where there is more to come, by them.
    unsafe { ring.submission().push(entry) }.expect("room");
    next(ring)
}

/// Waits for the next result.
fn next(ring: &mut IoUring) -> cqueue::Entry {
    loop {
        if let Some(result) = ring.completion().next() {
            return result;
        }
        ring.submit_and_wait(1).expect("a ring that works");
    }
}

/// What an operation moved. Zero-copy ones tell a second time, once the pages are free.
fn moved(ring: &mut IoUring, entry: &Entry) -> usize {
    let result = submit(ring, entry);
    let count = usize::try_from(result.result()).expect("an open connection");
    if cqueue::more(result.flags()) {
        next(ring);
    }
    count
}

fn send(truth: &mut Truth, mut ring: IoUring, make: fn(Fd, *const u8, u32) -> Entry) {
    send_by(truth, |fd, bytes| moved(&mut ring, &make(Fd(fd), bytes.as_ptr(), bytes.len() as u32)));
}

fn send_message(truth: &mut Truth, make: fn(Fd, *const msghdr) -> Entry) {
    let mut ring = ring();
    send_by(truth, |fd, bytes| {
        let mut parts = parts(bytes);
        let header = header(&mut parts);
        moved(&mut ring, &make(Fd(fd), &raw const header))
    });
}

fn part(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Twenty buffers of different size, among them an empty one.
fn parts(bytes: &[u8]) -> Vec<iovec> {
    let mut rest = bytes;
    let mut parts = vec![part(&[])];
    for number in 0..18 {
        let (next, after) = rest.split_at(rest.len() * (number % 4) / 12);
        parts.push(part(next));
        rest = after;
    }
    parts.push(part(rest));
    parts
}

fn header(parts: &mut [iovec]) -> msghdr {
    // SAFETY: zero is a valid header of an empty message.
    let mut header: msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len();
    header
}

/// Sends by io_uring between plain calls.
fn send_by(truth: &mut Truth, mut make: impl FnMut(RawFd, &[u8]) -> usize) {
    let (stream, id, peer) = connected(truth, &[]);
    send_all(truth, id, &stream, &noise(1000, 200), sys::write);
    for size in SIZES {
        let bytes = noise(size, 201);
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let sent = make(stream.as_raw_fd(), rest);
            truth.uring(id, Way::Send, &rest[..sent]);
            rest = &rest[sent..];
        }
    }
    send_all(truth, id, &stream, &noise(500, 202), sys::write);
    drop(stream);
    peer.agrees(truth, id);
}

fn receive_plain(truth: &mut Truth, mut ring: IoUring, make: fn(Fd, *mut u8, u32) -> Entry) {
    receive_by(truth, |fd, room| {
        let count = moved(&mut ring, &make(Fd(fd), room.as_mut_ptr(), room.len() as u32));
        room[..count].to_vec()
    });
}

fn receive_message(truth: &mut Truth) {
    let mut ring = ring();
    receive_by(truth, |fd, room| {
        let (first, second) = room.split_at(room.len() / 3);
        let mut parts = [part(first), part(second)];
        let mut header = header(&mut parts);
        let count = moved(&mut ring, &opcode::RecvMsg::new(Fd(fd), &raw mut header).build());
        room[..count].to_vec()
    });
}

/// From memory that was registered: the kernel has its pages, and no address.
fn write_registered(truth: &mut Truth) {
    let ring = ring();
    let memory = noise(50_000, 205);
    // SAFETY: the memory outlives the ring.
    unsafe { ring.submitter().register_buffers(&[part(&memory)]) }.expect("memory that may be locked");
    let (stream, id, peer) = connected(truth, &[]);
    let mut ring = ring;
    send_all(truth, id, &stream, &noise(1000, 206), sys::write);
    let mut rest = &memory[..];
    while !rest.is_empty() {
        let entry =
            opcode::WriteFixed::new(Fd(stream.as_raw_fd()), rest.as_ptr(), rest.len() as u32, 0).build();
        let sent = moved(&mut ring, &entry);
        truth.hidden(id, Way::Send, &rest[..sent], "io-uring");
        rest = &rest[sent..];
    }
    send_all(truth, id, &stream, &noise(500, 207), sys::write);
    drop(ring);
    drop(stream);
    peer.agrees(truth, id);
}

/// Several operations at once, one after the other.
fn linked(truth: &mut Truth) {
    let mut ring = ring();
    let (stream, id, peer) = connected(truth, &[]);
    for round in 0..20 {
        let parts = [100, 5000, 9].map(|size| noise(size, 210 + round));
        for (number, bytes) in parts.iter().enumerate() {
            let entry = opcode::Send::new(Fd(stream.as_raw_fd()), bytes.as_ptr(), bytes.len() as u32).build();
            let entry = if number < 2 { entry.flags(Flags::IO_LINK) } else { entry };
            // SAFETY: the results of all are awaited below.
            unsafe { ring.submission().push(&entry) }.expect("room");
        }
        for bytes in &parts {
            let sent = next(&mut ring).result();
            assert_eq!(sent, bytes.len() as i32, "the peer reads");
            truth.uring(id, Way::Send, bytes);
        }
    }
    drop(stream);
    peer.agrees(truth, id);
}

/// Nothing is there when the operation begins: the kernel carries it out when something comes.
fn receive_late(truth: &mut Truth) {
    let mut ring = ring();
    let parts = [10, 5000, 1].map(|size| noise(size, 220));
    let (mut peer, address) = Peer::server("127.0.0.1", |mut stream, link| {
        for bytes in &parts {
            link.hear();
            stream.write_all(bytes).expect("the workload reads");
        }
        tell_received(&receive(&stream), link);
    });
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    for bytes in &parts {
        let mut room = vec![0u8; bytes.len()];
        let entry = opcode::Recv::new(Fd(stream.as_raw_fd()), room.as_mut_ptr(), room.len() as u32)
            .flags(libc::MSG_WAITALL)
            .build();
        // SAFETY: the result is awaited below.
        unsafe { ring.submission().push(&entry) }.expect("room");
        ring.submit().expect("a ring that works");
        peer.link.tell(0);
        assert_eq!(next(&mut ring).result(), bytes.len() as i32);
        assert_eq!(&room, bytes);
        truth.uring(id, Way::Recv, &room);
    }
    drop(stream);
    peer.agrees(truth, id);
}

/// Datagrams between unconnected sockets, their peers named by each message; an empty one among them.
fn udp(truth: &mut Truth) {
    let mut ring = ring();
    let [a, b] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a free port"));
    let ids = [&a, &b].map(|socket| truth.socket(socket, "udp"));
    let addresses = [&a, &b].map(|socket| socket.local_addr().expect("bound"));
    for (seed, size) in [1, 1472, 0, 4097, 65_507].into_iter().enumerate() {
        let bytes = noise(size, 230 + seed as u64);
        let mut pieces = parts(&bytes);
        let mut to = sys::inet(addresses[1]);
        let mut message = header(&mut pieces);
        (message.msg_name, message.msg_namelen) = ((&raw mut to.0).cast(), to.1);
        assert_eq!(
            moved(&mut ring, &opcode::SendMsg::new(Fd(a.as_raw_fd()), &raw const message).build()),
            size
        );
        truth.uring_datagram(ids[0], Way::Send, &bytes, Some(addresses[1].to_string()));
        let mut room = vec![0u8; 1 << 16];
        let mut pieces = [part(&room)];
        let mut from = sys::inet(addresses[1]);
        let mut message = header(&mut pieces);
        (message.msg_name, message.msg_namelen) = ((&raw mut from.0).cast(), from.1);
        assert_eq!(
            moved(&mut ring, &opcode::RecvMsg::new(Fd(b.as_raw_fd()), &raw mut message).build()),
            size
        );
        room.truncate(size);
        assert_eq!(room, bytes);
        truth.uring_datagram(ids[1], Way::Recv, &bytes, Some(addresses[0].to_string()));
    }
}

fn unix(truth: &mut Truth, kind: i32, transport: &'static str) {
    let mut ring = ring();
    let [(a, a_id), (b, b_id)] = pair(truth, kind, transport);
    for (seed, size) in [1, 4096, 4097, 30_000].into_iter().enumerate() {
        let bytes = noise(size, 240 + seed as u64);
        let entry = opcode::Send::new(Fd(a.as_raw_fd()), bytes.as_ptr(), size as u32).build();
        assert_eq!(moved(&mut ring, &entry), size);
        let mut room = vec![0u8; size];
        let entry = opcode::Recv::new(Fd(b.as_raw_fd()), room.as_mut_ptr(), size as u32).build();
        assert_eq!(moved(&mut ring, &entry), size);
        assert_eq!(room, bytes);
        for (id, way) in [(a_id, Way::Send), (b_id, Way::Recv)] {
            if kind == SOCK_STREAM {
                truth.uring(id, way, &bytes);
            } else {
                truth.uring_datagram(id, way, &bytes, None);
            }
        }
    }
}

/// Receives by io_uring between plain calls.
fn receive_by(truth: &mut Truth, mut make: impl FnMut(RawFd, &mut [u8]) -> Vec<u8>) {
    let bytes = noise(40_000, 203);
    let (stream, id, peer) = connected(truth, &bytes);
    receive_all(truth, id, &stream, &bytes[..1000], sys::read);
    let mut at = 1000;
    let mut room = vec![0; 10_000];
    while at < 39_000 {
        let length = room.len().min(39_000 - at);
        let received = make(stream.as_raw_fd(), &mut room[..length]);
        assert_eq!(received, bytes[at..at + received.len()], "the peer's bytes");
        truth.uring(id, Way::Recv, &received);
        at += received.len();
    }
    receive_all(truth, id, &stream, &bytes[39_000..], sys::read);
    drop(stream);
    peer.agrees(truth, id);
}

/// The kernel chooses the buffer; with multishot, for as many receives as there are buffers.
fn provided(truth: &mut Truth, make: fn(Fd) -> Entry) {
    receive_into(truth, ring(), make, |ring, room| {
        let buffers = opcode::ProvideBuffers::new(room, PROVIDED as i32, BUFFERS as u16, GROUP, 0).build();
        assert!(submit(ring, &buffers).result() >= 0);
    });
}

/// Several buffers in one receive.
fn receive_bundles(truth: &mut Truth, make: fn(Fd) -> Entry) {
    let ring = ring();
    let mut group = Group::new(&ring);
    receive_into(truth, ring, make, |_, room| {
        let buffers = std::array::from_fn(|number| (room.wrapping_add(number * PROVIDED), PROVIDED));
        group.give(buffers);
    });
}

/// Receives into buffers that are given to the kernel, all of them, whenever it has none left.
fn receive_into(
    truth: &mut Truth,
    mut ring: IoUring,
    make: fn(Fd) -> Entry,
    mut give: impl FnMut(&mut IoUring, *mut u8),
) {
    let bytes = noise(8 * PROVIDED, 204);
    let (stream, id, peer) = connected(truth, &bytes);
    let mut room = vec![0u8; BUFFERS * PROVIDED];
    let fd = Fd(stream.as_raw_fd());
    let mut at = 0;
    while at < bytes.len() {
        give(&mut ring, room.as_mut_ptr());
        // As long as there are buffers; then the kernel says ENOBUFS and is done.
        loop {
            let mut result = submit(&mut ring, &make(fd));
            while result.result() > 0 {
                // The first one, if there are several.
                let buffer = usize::from(cqueue::buffer_select(result.flags()).expect("a buffer")) * PROVIDED;
                let received = &room[buffer..buffer + result.result() as usize];
                assert_eq!(received, &bytes[at..at + received.len()], "the peer's bytes");
                truth.uring(id, Way::Recv, received);
                at += received.len();
                if !cqueue::more(result.flags()) {
                    break;
                }
                result = next(&mut ring);
            }
            if at == bytes.len() || result.result() == -libc::ENOBUFS {
                break;
            }
            assert!(result.result() > 0, "{}", result.result());
        }
    }
    drop(stream);
    drop(ring);
    peer.agrees(truth, id);
}

/// Several buffers in one send.
fn send_bundle(truth: &mut Truth) {
    let mut ring = ring();
    let mut group = Group::new(&ring);
    let (stream, id, peer) = connected(truth, &[]);
    send_all(truth, id, &stream, &noise(1000, 208), sys::write);
    for round in 0..20 {
        let mut parts = [1, 4097, 30_000, 5].map(|size| noise(size, 250 + round));
        group.give(parts.each_mut().map(|part| (part.as_mut_ptr(), part.len())));
        let bytes = parts.concat();
        let mut at = 0;
        while at < bytes.len() {
            let entry =
                opcode::SendBundle::new(Fd(stream.as_raw_fd()), GROUP).flags(libc::MSG_WAITALL).build();
            let mut result = submit(&mut ring, &entry);
            loop {
                let sent = usize::try_from(result.result()).expect("an open connection");
                truth.uring(id, Way::Send, &bytes[at..at + sent]);
                at += sent;
                if !cqueue::more(result.flags()) {
                    break;
                }
                result = next(&mut ring);
            }
        }
    }
    drop(stream);
    drop(ring);
    peer.agrees(truth, id);
}

/// A group of buffers in memory that is shared with the kernel: it takes them in the order in which they are given.
struct Group {
    entries: Box<Entries>,
    given: u16,
}

#[repr(C, align(4096))]
struct Entries([BufRingEntry; BUFFERS]);

impl Group {
    /// It has to outlive the ring.
    fn new(ring: &IoUring) -> Group {
        // SAFETY: zero is a valid entry, of no buffer.
        let entries: Box<Entries> = Box::new(unsafe { std::mem::zeroed() });
        let at = entries.0.as_ptr() as u64;
        // SAFETY: the entries stay where they are until the ring is gone.
        unsafe { ring.submitter().register_buf_ring_with_flags(at, BUFFERS as u16, GROUP, 0) }
            .expect("a kernel with buffer rings (5.19)");
        Group { entries, given: 0 }
    }

    /// Gives the kernel as many buffers as there is room for; it has to have taken all that it had.
    fn give(&mut self, buffers: [(*mut u8, usize); BUFFERS]) {
        for (number, (entry, (at, length))) in self.entries.0.iter_mut().zip(buffers).enumerate() {
            entry.set_addr(at as u64);
            entry.set_len(length as u32);
            entry.set_bid(number as u16);
        }
        self.given = self.given.wrapping_add(BUFFERS as u16);
        // SAFETY: the end of the ring stands in its first entry, aligned; the kernel only reads it.
        let end = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(self.entries.0.as_mut_ptr()).cast_mut()) };
        end.store(self.given, Ordering::Release);
    }
}
