//! System calls as the kernel offers them: each function makes exactly one, so that a mode knows what was called.

use nix::libc::{self, c_int, c_void, iovec, mmsghdr, msghdr};
use std::io::{IoSlice, IoSliceMut};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

/// Bytes or descriptor, or `errno`.
pub type Outcome = Result<usize, i32>;

fn outcome(result: isize) -> Outcome {
    usize::try_from(result).map_err(|_| nix::errno::Errno::last_raw())
}

fn owned(result: isize) -> OwnedFd {
    let fd = outcome(result).expect("a descriptor");
    // SAFETY: the call has just made it, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

// SAFETY of the calls below: each is given pointers into slices that live until it returns, with their lengths.
// IoSlice and IoSliceMut are guaranteed to have the layout of iovec.

pub fn write(fd: RawFd, bytes: &[u8]) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) })
}

pub fn read(fd: RawFd, room: &mut [u8]) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) })
}

pub fn send(fd: RawFd, bytes: &[u8], flags: c_int) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

pub fn recv(fd: RawFd, room: &mut [u8], flags: c_int) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::recv(fd, room.as_mut_ptr().cast(), room.len(), flags) })
}

/// recv(2) whose bytes the kernel throws away, see MSG_TRUNC in tcp(7).
pub fn discard(fd: RawFd, length: usize) -> Outcome {
    // SAFETY: the kernel writes nothing to the buffer, so none is needed.
    outcome(unsafe { libc::recv(fd, null_mut(), length, libc::MSG_TRUNC | libc::MSG_WAITALL) })
}

pub fn sendto(fd: RawFd, bytes: &[u8], to: &(libc::sockaddr_storage, u32), flags: c_int) -> Outcome {
    let (address, length) = (&raw const to.0, to.1);
    // SAFETY: see above; the address is as long as it says.
    outcome(unsafe { libc::sendto(fd, bytes.as_ptr().cast(), bytes.len(), flags, address.cast(), length) })
}

pub fn recvfrom(fd: RawFd, room: &mut [u8]) -> Outcome {
    // SAFETY: zero is a valid address of no family, and it is as long as it says.
    let mut from: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of_val(&from) as u32;
    let at = (&raw mut from).cast();
    // SAFETY: see above.
    outcome(unsafe { libc::recvfrom(fd, room.as_mut_ptr().cast(), room.len(), 0, at, &raw mut length) })
}

pub fn writev(fd: RawFd, parts: &[IoSlice<'_>]) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::writev(fd, parts.as_ptr().cast(), parts.len() as c_int) })
}

pub fn readv(fd: RawFd, rooms: &mut [IoSliceMut<'_>]) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::readv(fd, rooms.as_mut_ptr().cast(), rooms.len() as c_int) })
}

/// At the current position: the only one that sockets have.
pub fn pwritev2(fd: RawFd, parts: &[IoSlice<'_>]) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::pwritev2(fd, parts.as_ptr().cast(), parts.len() as c_int, -1, 0) })
}

/// At the current position, see [`pwritev2`].
pub fn preadv2(fd: RawFd, rooms: &mut [IoSliceMut<'_>]) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::preadv2(fd, rooms.as_mut_ptr().cast(), rooms.len() as c_int, -1, 0) })
}

fn header(parts: *mut c_void, count: usize, control: &mut [u8]) -> msghdr {
    // SAFETY: zero is a valid header of an empty message.
    let mut header: msghdr = unsafe { zeroed() };
    header.msg_iov = parts.cast::<iovec>();
    header.msg_iovlen = count;
    header.msg_control = if control.is_empty() { null_mut() } else { control.as_mut_ptr().cast() };
    header.msg_controllen = control.len();
    header
}

pub fn sendmsg(fd: RawFd, parts: &[IoSlice<'_>], flags: c_int) -> Outcome {
    let header = header(parts.as_ptr().cast_mut().cast(), parts.len(), &mut []);
    // SAFETY: see above.
    outcome(unsafe { libc::sendmsg(fd, &raw const header, flags) })
}

/// With room for control messages; gives also their length and the message's flags.
pub fn recvmsg(
    fd: RawFd,
    rooms: &mut [IoSliceMut<'_>],
    flags: c_int,
    control: &mut [u8],
) -> (Outcome, usize, c_int) {
    let mut header = header(rooms.as_mut_ptr().cast(), rooms.len(), control);
    // SAFETY: see above.
    let result = outcome(unsafe { libc::recvmsg(fd, &raw mut header, flags) });
    (result, header.msg_controllen, header.msg_flags)
}

/// Sends a descriptor along with `bytes` (SCM_RIGHTS).
pub fn send_descriptor(fd: RawFd, bytes: &[u8], descriptor: &impl AsRawFd) -> Outcome {
    let parts = [IoSlice::new(bytes)];
    let mut control = [0u64; 3]; // aligned like cmsghdr
    // SAFETY: any u64 may be looked at as bytes.
    let room = unsafe { std::slice::from_raw_parts_mut(control.as_mut_ptr().cast::<u8>(), 24) };
    let header = header(parts.as_ptr().cast_mut().cast(), 1, room);
    // SAFETY: the control buffer has room for one header and one descriptor.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        (*message).cmsg_level = libc::SOL_SOCKET;
        (*message).cmsg_type = libc::SCM_RIGHTS;
        (*message).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(message).cast::<c_int>().write_unaligned(descriptor.as_raw_fd());
        outcome(libc::sendmsg(fd, &raw const header, 0))
    }
}

/// Receives one descriptor with its bytes.
pub fn receive_descriptor(fd: RawFd, room: &mut [u8]) -> (usize, OwnedFd) {
    let mut control = [0u8; 24];
    let (count, length, _) = recvmsg(fd, &mut [IoSliceMut::new(room)], 0, &mut control);
    assert!(length >= 20, "no descriptor came");
    let descriptor = i32::from_ne_bytes([control[16], control[17], control[18], control[19]]);
    (count.expect("a message"), owned(descriptor as isize))
}

/// Sends every message with one call; how long each was.
pub fn sendmmsg(fd: RawFd, messages: &[Vec<IoSlice<'_>>]) -> Result<Vec<usize>, i32> {
    let header = |parts: &Vec<IoSlice<'_>>| mmsghdr {
        msg_hdr: header(parts.as_ptr().cast_mut().cast(), parts.len(), &mut []),
        msg_len: 0,
    };
    let mut headers: Vec<mmsghdr> = messages.iter().map(header).collect();
    // SAFETY: see above.
    let count =
        outcome(unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as u32, 0) } as isize)?;
    Ok(headers[..count].iter().map(|header| header.msg_len as usize).collect())
}

/// Receives up to one message for each room with one call; how long each was.
pub fn recvmmsg(fd: RawFd, rooms: &mut [Vec<IoSliceMut<'_>>], flags: c_int) -> Result<Vec<usize>, i32> {
    let header = |parts: &mut Vec<IoSliceMut<'_>>| mmsghdr {
        msg_hdr: header(parts.as_mut_ptr().cast(), parts.len(), &mut []),
        msg_len: 0,
    };
    let mut headers: Vec<mmsghdr> = rooms.iter_mut().map(header).collect();
    let (first, room) = (headers.as_mut_ptr(), headers.len() as u32);
    // SAFETY: see above.
    let count = outcome(unsafe { libc::recvmmsg(fd, first, room, flags, null_mut()) } as isize)?;
    Ok(headers[..count].iter().map(|header| header.msg_len as usize).collect())
}

/// A file in memory with this content, at its beginning.
pub fn file(bytes: &[u8]) -> OwnedFd {
    // SAFETY: the name ends with NUL.
    let file = owned(unsafe { libc::memfd_create(c"workload".as_ptr(), 0) } as isize);
    assert_eq!(write(file.as_raw_fd(), bytes), Ok(bytes.len()));
    file
}

/// From `offset` of a file.
pub fn sendfile(fd: RawFd, file: &OwnedFd, mut offset: i64, length: usize) -> Outcome {
    // SAFETY: see above.
    outcome(unsafe { libc::sendfile(fd, file.as_raw_fd(), &raw mut offset, length) })
}

pub fn splice(from: RawFd, to: RawFd, length: usize) -> Outcome {
    // SAFETY: no memory is involved.
    outcome(unsafe { libc::splice(from, null_mut(), to, null_mut(), length, 0) })
}

pub fn tee(from: RawFd, to: RawFd, length: usize) -> Outcome {
    // SAFETY: no memory is involved.
    outcome(unsafe { libc::tee(from, to, length, 0) })
}

/// Puts pages of memory into a pipe, which must be read while `bytes` live.
pub fn vmsplice(pipe: RawFd, bytes: &[u8]) -> Outcome {
    let part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: see above. The bytes are only read.
    outcome(unsafe { libc::vmsplice(pipe, &raw const part, 1, 0) })
}

/// A new socket, not connected.
pub fn socket(family: c_int, kind: c_int) -> OwnedFd {
    // SAFETY: no memory is involved.
    owned(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) } as isize)
}

pub fn socketpair(kind: c_int) -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: there is room for two descriptors.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) };
    assert_eq!(made, 0);
    (owned(fds[0] as isize), owned(fds[1] as isize))
}

pub fn bind(fd: &impl AsRawFd, to: &(libc::sockaddr_storage, u32)) -> Outcome {
    // SAFETY: the address is as long as it says.
    outcome(unsafe { libc::bind(fd.as_raw_fd(), (&raw const to.0).cast(), to.1) } as isize)
}

pub fn listen(fd: &impl AsRawFd) -> Outcome {
    listen_for(fd, 16)
}

/// With room for so many connections that nobody has accepted.
pub fn listen_for(fd: &impl AsRawFd, backlog: c_int) -> Outcome {
    // SAFETY: no memory is involved.
    outcome(unsafe { libc::listen(fd.as_raw_fd(), backlog) } as isize)
}

pub fn accept(fd: &impl AsRawFd) -> OwnedFd {
    // SAFETY: no address is asked for.
    owned(unsafe { libc::accept4(fd.as_raw_fd(), null_mut(), null_mut(), libc::SOCK_CLOEXEC) } as isize)
}

pub fn connect(fd: &impl AsRawFd, to: &(libc::sockaddr_storage, u32)) -> Outcome {
    // SAFETY: the address is as long as it says.
    outcome(unsafe { libc::connect(fd.as_raw_fd(), (&raw const to.0).cast(), to.1) } as isize)
}

/// connect(2) to no address (AF_UNSPEC): the socket is connected to nobody any more.
pub fn disconnect(fd: &impl AsRawFd) -> Outcome {
    // SAFETY: zero is a valid address, of this family.
    connect(fd, &(unsafe { zeroed() }, size_of::<libc::sockaddr>() as u32))
}

/// An IPv4 or IPv6 address as the kernel takes it.
pub fn inet(address: std::net::SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: zero is a valid address of no family; both structures fit into the storage.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let length = match address {
            std::net::SocketAddr::V4(v4) => {
                let at = &mut *(&raw mut storage).cast::<libc::sockaddr_in>();
                at.sin_family = libc::AF_INET as u16;
                at.sin_port = v4.port().to_be();
                at.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            std::net::SocketAddr::V6(v6) => {
                let at = &mut *(&raw mut storage).cast::<libc::sockaddr_in6>();
                at.sin6_family = libc::AF_INET6 as u16;
                at.sin6_port = v6.port().to_be();
                at.sin6_addr.s6_addr = v6.ip().octets();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, length as u32)
    }
}

/// A Unix address: a path, or an abstract name that begins with NUL.
pub fn unix(name: &[u8]) -> (libc::sockaddr_storage, u32) {
    // SAFETY: zero is a valid address of no family; the structure fits into the storage.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let at = &mut *(&raw mut storage).cast::<libc::sockaddr_un>();
        at.sun_family = libc::AF_UNIX as u16;
        for (to, &from) in at.sun_path.iter_mut().zip(name) {
            *to = from as _;
        }
        (storage, 2 + name.len() as u32)
    }
}

/// Sets an option to a number.
pub fn set_option(fd: &impl AsRawFd, level: c_int, name: c_int, value: c_int) {
    let at = (&raw const value).cast();
    // SAFETY: the value is as long as it says.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at, 4) };
    assert_eq!(outcome(set as isize), Ok(0));
}

/// Has the kernel make TLS of what goes one way (`TLS_TX`, `TLS_RX`): records of TLS 1.2, encrypted with AES-128-GCM by a key
/// that both ends know. See tls(7) of the kernel's documentation (networking/tls.rst).
pub fn tls(fd: &impl AsRawFd, way: c_int) {
    assert!(has_tls(fd), "a kernel with TLS");
    let secrets = libc::tls12_crypto_info_aes_gcm_128 {
        info: libc::tls_crypto_info {
            version: libc::TLS_1_2_VERSION,
            cipher_type: libc::TLS_CIPHER_AES_GCM_128,
        },
        iv: [1; 8],
        key: [2; 16],
        salt: [3; 4],
        rec_seq: [0; 8],
    };
    let (at, length) = ((&raw const secrets).cast(), size_of_val(&secrets) as u32);
    // SAFETY: the value is as long as it says.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_TLS, way, at, length) };
    assert_eq!(outcome(set as isize), Ok(0));
}

/// Puts TLS above TCP on a connection, unless it is there already. False: this kernel was built without.
pub fn has_tls(fd: &impl AsRawFd) -> bool {
    let name = c"tls";
    // SAFETY: the value is as long as it says.
    let set = unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_ULP, name.as_ptr().cast(), 4)
    };
    match outcome(set as isize) {
        Ok(_) | Err(libc::EEXIST) => true,
        Err(libc::ENOENT) => false,
        Err(errno) => panic!("TLS on a socket: {errno}"),
    }
}

/// Has close(2) reset the connection.
pub fn reset_on_close(fd: &impl AsRawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let (at, length) = ((&raw const linger).cast(), size_of_val(&linger) as u32);
    // SAFETY: the value is as long as it says.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, length) };
    assert_eq!(outcome(set as isize), Ok(0));
}

pub fn dup(fd: &impl AsRawFd) -> OwnedFd {
    // SAFETY: no memory is involved.
    owned(unsafe { libc::dup(fd.as_raw_fd()) } as isize)
}

/// A duplicate at this very number.
pub fn dup2(fd: &impl AsRawFd, number: RawFd) -> OwnedFd {
    // SAFETY: no memory is involved; the caller gives up what was open there.
    owned(unsafe { libc::dup2(fd.as_raw_fd(), number) } as isize)
}

/// A duplicate at this very number, closed by exec.
pub fn dup3(fd: &impl AsRawFd, number: RawFd) -> OwnedFd {
    // SAFETY: see dup2.
    owned(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) } as isize)
}

/// A duplicate at this number or above.
pub fn dup_above(fd: &impl AsRawFd, number: RawFd) -> OwnedFd {
    // SAFETY: no memory is involved.
    owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, number) } as isize)
}

/// A duplicate of another process's descriptor.
pub fn pidfd_getfd(pid: i32, number: RawFd) -> OwnedFd {
    // SAFETY: no memory is involved.
    unsafe {
        let process = owned(libc::syscall(libc::SYS_pidfd_open, pid, 0) as isize);
        owned(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) as isize)
    }
}

/// Closes one descriptor the long way.
pub fn close_range(fd: OwnedFd) {
    let number = std::os::fd::IntoRawFd::into_raw_fd(fd) as u32;
    // SAFETY: the descriptor was given up by its owner.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, number, number, 0) };
    assert_eq!(outcome(closed as isize), Ok(0));
}

/// What SO_ERROR says, which clears it.
pub fn pending_error(fd: &impl AsRawFd) -> i32 {
    option::<c_int>(fd, libc::SOL_SOCKET, libc::SO_ERROR)
}

fn option<T: Copy>(fd: &impl AsRawFd, level: c_int, name: c_int) -> T {
    // SAFETY: used for integers and structures of integers only, for which zero is a value.
    let mut value: T = unsafe { zeroed() };
    let got = get_option(fd, level, name, &mut value);
    assert!(got.is_ok(), "{got:?}");
    value
}

/// How much of the value the kernel has set.
fn get_option<T>(fd: &impl AsRawFd, level: c_int, name: c_int, value: &mut T) -> Result<usize, i32> {
    let mut length = size_of::<T>() as u32;
    // SAFETY: it is as long as is said.
    let got = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, std::ptr::from_mut(value).cast(), &raw mut length)
    };
    outcome(got as isize).map(|_| length as usize)
}

/// struct iocb of linux/aio_abi.h, on a machine of little endian.
#[derive(Default)]
#[repr(C)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    resfd: u32,
}

/// struct io_event of linux/aio_abi.h.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct IoEvent {
    data: u64,
    object: u64,
    result: i64,
    result2: i64,
}

/// Has the kernel do it by io_submit(2), and waits until it has.
fn io_submit(opcode: u16, fd: RawFd, buffer: u64, bytes: usize) -> Result<usize, i32> {
    let mut request = Iocb { opcode, fd: fd as u32, buffer, bytes: bytes as u64, ..Iocb::default() };
    let mut requests = [&raw mut request];
    let (mut context, mut event) = (0u64, IoEvent::default());
    // SAFETY: what is pointed to lives until the context is gone.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_io_setup, 1, &raw mut context), 0);
        assert_eq!(libc::syscall(libc::SYS_io_submit, context, 1, requests.as_mut_ptr()), 1);
        let none = std::ptr::null::<libc::timespec>();
        assert_eq!(libc::syscall(libc::SYS_io_getevents, context, 1, 1, &raw mut event, none), 1);
        assert_eq!(libc::syscall(libc::SYS_io_destroy, context), 0);
    }
    usize::try_from(event.result).map_err(|_| -event.result as i32)
}

pub fn io_submit_read(fd: RawFd, room: &mut [u8]) -> Result<usize, i32> {
    const IOCB_CMD_PREAD: u16 = 0;
    io_submit(IOCB_CMD_PREAD, fd, room.as_mut_ptr() as u64, room.len())
}

pub fn io_submit_write(fd: RawFd, bytes: &[u8]) -> Result<usize, i32> {
    const IOCB_CMD_PWRITE: u16 = 1;
    io_submit(IOCB_CMD_PWRITE, fd, bytes.as_ptr() as u64, bytes.len())
}

/// struct tcp_zerocopy_receive of linux/tcp.h.
#[derive(Default)]
#[repr(C)]
struct ZerocopyReceive {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
    inq: u32,
    err: i32,
    copybuf_address: u64,
    copybuf_len: i32,
    flags: u32,
    msg_control: u64,
    msg_controllen: u64,
    msg_flags: u32,
    reserved: u32,
}

/// True where [`zerocopy_receive`] can be had.
pub fn zerocopy_receives_copy() -> bool {
    let stream = socket(libc::AF_INET, libc::SOCK_STREAM);
    let mut receive = ZerocopyReceive::default();
    let known = get_option(&stream, libc::IPPROTO_TCP, libc::TCP_ZEROCOPY_RECEIVE, &mut receive);
    // Older ones know of nothing but pages that are mapped, and refuse the address.
    known.is_ok_and(|known| known > std::mem::offset_of!(ZerocopyReceive, copybuf_len))
}

/// TCP_ZEROCOPY_RECEIVE of all that waits, where that is no more than the room: it is copied. How much it was, perhaps nothing.
pub fn zerocopy_receive(fd: &impl AsRawFd, room: &mut [u8]) -> usize {
    let mut receive = ZerocopyReceive {
        copybuf_address: room.as_mut_ptr() as u64,
        copybuf_len: room.len() as i32,
        ..ZerocopyReceive::default()
    };
    let got = get_option(fd, libc::IPPROTO_TCP, libc::TCP_ZEROCOPY_RECEIVE, &mut receive);
    assert!(got.is_ok(), "{got:?}");
    assert_eq!((receive.length, receive.err), (0, 0), "nothing is mapped");
    usize::try_from(receive.copybuf_len).expect("what was copied")
}

/// True where the peer has acknowledged data of the SYN (TCP fast open).
pub fn syn_carried_data(fd: &impl AsRawFd) -> bool {
    const TCPI_OPT_SYN_DATA: u8 = 32;
    option::<libc::tcp_info>(fd, libc::IPPROTO_TCP, libc::TCP_INFO).tcpi_options & TCPI_OPT_SYN_DATA != 0
}

/// Where an IPv4 socket is bound.
pub fn local_address(fd: &impl AsRawFd) -> std::net::SocketAddr {
    // SAFETY: zero is a valid address, and it is as long as it says.
    unsafe {
        let mut address: libc::sockaddr_in = zeroed();
        let mut length = size_of_val(&address) as u32;
        let got = libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length);
        assert_eq!(outcome(got as isize), Ok(0));
        let host = address.sin_addr.s_addr.to_ne_bytes();
        std::net::SocketAddr::from((host, u16::from_be(address.sin_port)))
    }
}

/// Has the loopback interface of a new network namespace work.
pub fn bring_up_loopback(fd: &impl AsRawFd) {
    // SAFETY: zero is a valid request, and the kernel takes it as long as it is.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[0] = b'l' as _;
        request.ifr_name[1] = b'o' as _;
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        let set = libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request);
        assert_eq!(outcome(set as isize), Ok(0));
    }
}

/// Closes every socket that this process has, which may be one that it inherited.
pub fn close_sockets() {
    let open = std::fs::read_dir("/proc/self/fd").expect("/proc");
    let is_socket = |link: &std::path::Path| {
        std::fs::read_link(link).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    let open: Vec<_> = open.flatten().filter(|entry| is_socket(&entry.path())).collect();
    for entry in open {
        let number = entry.file_name().to_string_lossy().parse().expect("a number");
        // SAFETY: the child of a fork has copies, and touches none of the objects that own them.
        unsafe { libc::close(number) };
    }
}
