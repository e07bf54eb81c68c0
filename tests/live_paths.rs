//! Bytes that move by calls with many messages, through io_uring, and by calls of 32-bit programs: captured, or named
//! with exact range and cause.

mod common;

use common::peer::{Python, exchange, listen, noise};
use common::trace::{self, Connection, Report, Trace, has_uring, hooks, require_bpf};
use sockdbg::event::{Call, Cause, Direction, Range};
use sockdbg::source::live::Hooks;

/// System calls that Python has no function for, and io_uring (io_uring_setup(2), include/uapi/linux/io_uring.h).
const LIBRARY: &str = r#"
import ctypes, mmap, struct
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
X86 = os.uname().machine == 'x86_64'
SENDMMSG, RECVMMSG, PREADV2, PWRITEV2 = (307, 299, 327, 328) if X86 else (269, 243, 286, 287)
U64 = ctypes.c_uint64

def syscall(*args):
    result = libc.syscall(*[U64(arg & 0xffffffffffffffff) for arg in args])
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def address(buffer): return ctypes.addressof(buffer)

kept = []
def iovec(buffers):
    "A list of buffers as struct iovec."
    words = (U64 * (2 * len(buffers)))(*[word for b in buffers for word in (address(b), len(b))])
    kept.append((words, buffers))
    return words

def messages(groups):
    "struct mmsghdr: each of them seven words of struct msghdr, and the length."
    words = (U64 * (8 * len(groups)))()
    for number, buffers in enumerate(groups):
        words[8 * number + 2] = address(iovec(buffers)); words[8 * number + 3] = len(buffers)
    return words

def mutable(data): return (ctypes.c_char * len(data)).from_buffer_copy(data)
def empty(size): return (ctypes.c_char * size)()

class Uring:
    def __init__(self, flags=0):
        parameters = (ctypes.c_uint32 * 30)(); parameters[2] = flags; parameters[4] = 50
        self.fd = syscall(425, 8, address(parameters))
        sq, cq = parameters[10:20], parameters[20:30]
        size = max(sq[6] + 4 * parameters[0], cq[5] + 16 * parameters[1])
        self.ring = mmap.mmap(self.fd, size, offset=0)
        self.cq = mmap.mmap(self.fd, size, offset=0x8000000)
        self.sqes = mmap.mmap(self.fd, 64 * parameters[0], offset=0x10000000)
        self.tail_at, self.array_at = sq[1], sq[6]
        self.flags_at = sq[4]
        self.head_at, self.cqes_at, self.mask = cq[0], cq[5], parameters[1] - 1
        self.cq_tail_at, self.polled = cq[1], flags & 2
    def word(self, memory, at): return struct.unpack_from('<I', memory, at)[0]
    def run(self, opcode, fd, buffer, length, flags=0):
        "One operation; waits for its result."
        tail = self.word(self.ring, self.tail_at); slot = tail % 8
        struct.pack_into('<BBHiQQIIQQQQ', self.sqes, 64 * slot, opcode, flags, 0, fd, 0xffffffffffffffff if opcode in (22, 23) else 0, buffer, length, 0, 0, 0, 0, 0)
        struct.pack_into('<I', self.ring, self.array_at + 4 * slot, slot)
        struct.pack_into('<I', self.ring, self.tail_at, tail + 1)
        head = self.word(self.cq, self.head_at)
        if self.polled and self.word(self.ring, self.flags_at) & 1: syscall(426, self.fd, 0, 0, 2, 0, 0)
        while self.word(self.cq, self.cq_tail_at) == head:
            syscall(426, self.fd, 0 if self.polled else 1, 1, 1, 0, 0)
        _, result, _ = struct.unpack_from('<QiI', self.cq, self.cqes_at + 16 * (head & self.mask))
        struct.pack_into('<I', self.cq, self.head_at, head + 1)
        if result < 0: raise OSError(-result, os.strerror(-result))
        return result
    def send(self, s, data, flags=0):
        buffer = mutable(data)
        assert self.run(26, s.fileno(), address(buffer), len(data), flags) == len(data)
    def receive(self, s, size, flags=0):
        buffer = empty(size)
        count = self.run(27, s.fileno(), address(buffer), size, flags)
        return buffer.raw[:count]
"#;

/// Runs `program`, traced from its `pause()` on, against a peer that sends `reply`.
fn traced(program: &str, reply: &[u8]) -> (Report, Vec<u8>) {
    trace::traced(&format!("{LIBRARY}\n{program}"), reply)
}

/// The calls that moved bytes, with their lengths.
fn calls(connection: Connection<'_>, direction: Direction) -> Vec<(Call, u64)> {
    connection
        .data(direction)
        .filter(|data| !data.range.is_empty())
        .map(|data| (data.call, data.range.len()))
        .collect()
}

#[test]
fn every_message_of_sendmmsg() {
    if !require_bpf() {
        return;
    }
    // The same array twice, and once cut short by a message that can't be read.
    let program = "
pause(); s = connect()
words = messages([[mutable(b'a' * 10), mutable(b'b' * 5000)], [mutable(b'c' * 3)], [], [mutable(b'd' * 70000), mutable(b'e')]])
for _ in range(2): assert syscall(SENDMMSG, s.fileno(), address(words), 4, 0) == 4
words[8 * 1 + 2] = 8
assert syscall(SENDMMSG, s.fileno(), address(words), 4, 0) == 1
s.send(b'tail'); receive(s); s.close()";
    let (report, received) = traced(program, b"");
    let one = [&[b'a'; 10][..], &[b'b'; 5000], b"ccc", &[b'd'; 70_000], b"e"].concat();
    let expected = [&one[..], &one, &one[..5010], b"tail"].concat();
    assert_eq!(received, expected);
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), expected);
    let messages = [5010, 3, 70_001].map(|length| (Call::Sendmmsg, length));
    let all = [&messages[..], &messages, &messages[..1], &[(Call::Sendto, 4)]].concat();
    assert_eq!(calls(connection, Direction::Send), all);
}

#[test]
fn a_message_sent_in_part_ends_its_sendmmsg() {
    if !require_bpf() {
        return;
    }
    // The peer does not read before all is written: the second message fits in part.
    let program = "
pause(); s = connect(); s.setblocking(False)
parts = [bytes([65 + n]) * size for n, size in enumerate((1000, 40000000, 7))]
words = messages([[mutable(part)] for part in parts])
assert syscall(SENDMMSG, s.fileno(), address(words), 3, 0) == 2
done = words[8 + 7] & 0xffffffff; assert 0 < done < 40000000
s.setblocking(True); words[7] = words[15] = 0
assert syscall(SENDMMSG, s.fileno(), address(words), 1, 0) == 1
s.sendall(b'%d' % done); s.shutdown(1); receive(s); s.close()";
    let (listener, port) = listen();
    let mut python = Python::start(&format!("{LIBRARY}\n{program}"), port);
    python.paused();
    let trace = Trace::of(python.pid());
    python.go();
    let received = exchange(&listener, b"");
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), received);
    let lengths: Vec<u64> = calls(connection, Direction::Send).iter().map(|call| call.1).collect();
    assert_eq!((lengths[0], lengths[2]), (1000, 1000));
    assert!(lengths[1] > 0 && lengths[1] < 40_000_000);
}

#[test]
fn every_message_of_recvmmsg() {
    if !require_bpf() {
        return;
    }
    let program = "
pause(); s = connect()
groups = [[empty(3), empty(7)], [empty(100)], [empty(5000)]]; words = messages(groups)
assert syscall(RECVMMSG, s.fileno(), address(words), 3, socket.MSG_WAITALL, 0) == 3
assert syscall(RECVMMSG, s.fileno(), address(words), 2, socket.MSG_WAITALL, 0) == 2
assert syscall(RECVMMSG, s.fileno(), address(words), 1, socket.MSG_PEEK | socket.MSG_WAITALL, 0) == 1
s.sendall(receive(s)); s.close()";
    let reply = noise(6000, 4);
    let (report, received) = traced(program, &reply);
    let connection = report.only();
    assert_eq!(received, reply[5220..]);
    assert_eq!(connection.bytes(Direction::Recv), reply);
    let lengths: Vec<_> =
        connection.data(Direction::Recv).map(|data| (data.range.len(), data.peek)).collect();
    let expected = [(10, false), (100, false), (5000, false), (10, false), (100, false), (10, true)];
    assert_eq!(lengths[..6], expected);
}

#[test]
fn a_time_limit_hides_which_message_of_recvmmsg_it_is() {
    if !require_bpf() {
        return;
    }
    let program = "
pause(); s = connect(); limit = (U64 * 2)(5, 0)
words = messages([[empty(10)], [empty(20)]])
assert syscall(RECVMMSG, s.fileno(), address(words), 2, socket.MSG_WAITALL, address(limit)) == 2
assert len(receive(s)) == 12; s.close()";
    let (report, _) = traced(program, &noise(42, 5));
    let connection = report.only();
    // At the exit of the call the kernel has written down what each message got.
    let losses: &[_] =
        if hooks() == Hooks::Calls { &[] } else { &[(Range::new(0, 30), Cause::UntracedSyscall)] };
    assert_eq!(connection.losses(Direction::Recv), losses);
    assert_eq!(connection.stream(Direction::Recv).len(), 42);
}

#[test]
fn preadv2_and_pwritev2_at_no_offset() {
    if !require_bpf() {
        return;
    }
    let program = "
pause(); s = connect()
out = iovec([mutable(b'x' * 9), mutable(b'y' * 9000)])
assert syscall(PWRITEV2, s.fileno(), address(out), 2, -1, -1, 0) == 9009
buffers = [empty(4), empty(96)]
assert syscall(PREADV2, s.fileno(), address(iovec(buffers)), 2, -1, -1, 0) == 100
s.shutdown(1); receive(s); s.close()";
    let reply = noise(100, 6);
    let (report, received) = traced(program, &reply);
    let connection = report.only();
    assert_eq!(connection.bytes(Direction::Send), received);
    assert_eq!(connection.bytes(Direction::Recv), reply);
    assert_eq!(calls(connection, Direction::Send), [(Call::Pwritev2, 9009)]);
    assert_eq!(calls(connection, Direction::Recv), [(Call::Preadv2, 100)]);
}

/// Every byte is there, but for those that io_uring moved in `ranges` where no hook of this kernel has them.
fn assert_uring(connection: Connection<'_>, direction: Direction, moved: &[u8], ranges: &[(u64, u64)]) {
    let hidden = if has_uring(direction, true) { &[] } else { ranges };
    let losses: Vec<_> = hidden.iter().map(|&(from, to)| (Range::new(from, to), Cause::IoUring)).collect();
    assert_eq!(connection.losses(direction), losses, "{direction:?}");
    let is_hidden = |at: u64| hidden.iter().any(|&(from, to)| (from..to).contains(&at));
    let expected: Vec<_> = (0..).zip(moved).map(|(at, &byte)| (!is_hidden(at)).then_some(byte)).collect();
    assert_eq!(connection.stream(direction), expected, "{direction:?}");
}

#[test]
fn io_uring_is_named_with_exact_ranges() {
    if !require_bpf() {
        return;
    }
    // Carried out within the call that submits; by a worker (IOSQE_ASYNC); by the thread that polls (SQPOLL).
    for (setup, flags) in [(0, 0), (0, 16), (2, 0)] {
        let program = format!(
            "
pause(); s = connect(); s.send(b'head'); ring = Uring({setup})
ring.send(s, b'u' * 3000, {flags}); s.send(b'middle'); ring.send(s, b'v' * 10, {flags})
assert s.recv(10, socket.MSG_WAITALL) == b'0123456789'
assert ring.receive(s, 5, {flags}) == b'abcde'
assert s.recv(6, socket.MSG_WAITALL) == b'fghijk'
s.send(b'tail'); s.close()"
        );
        let (report, received) = traced(&program, b"0123456789abcdefghijk");
        let connection = report.only();
        assert_eq!(received.len(), 4 + 3000 + 6 + 10 + 4);
        assert_uring(connection, Direction::Send, &received, &[(4, 3004), (3010, 3020)]);
        assert_uring(connection, Direction::Recv, b"0123456789abcdefghijk", &[(10, 15)]);
    }
}

#[test]
fn io_uring_alone_on_a_socket() {
    if !require_bpf() {
        return;
    }
    // No call of the process touches the connection between its beginning and its end.
    let program = "
pause(); s = connect(); ring = Uring(); ring.send(s, b'u' * 300)
while ring.receive(s, 100): pass
s.close()";
    let (report, received) = traced(program, &noise(250, 7));
    let connection = report.only();
    assert_eq!(received, [b'u'; 300]);
    assert_uring(connection, Direction::Send, &received, &[(0, 300)]);
    assert_uring(connection, Direction::Recv, &noise(250, 7), &[(0, 250)]);
}
