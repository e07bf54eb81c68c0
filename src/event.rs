//! What is seen at a vantage: the one vocabulary between sources and everything above them.
//!
//! A live kernel, a recording and a packet capture all yield [`Event`]s. This module imports nothing
//! of the crate, holds no clock and does no I/O: time is a field.

mod address;

pub use address::{Address, Transport, UnixName};

use std::fmt;

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Nanoseconds from `earlier` to `self`; 0 where the order is the other way round.
    pub fn since(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A place where the bytes of a connection are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vantage {
    /// A packet capture.
    Wire,
    /// eBPF at the socket system calls of a process.
    Syscall,
    /// A log of strace: the same calls, without sequence numbers.
    Strace,
}

impl Vantage {
    /// The word used in JSON, in recordings and in the manual.
    pub fn name(self) -> &'static str {
        match self {
            Vantage::Wire => "wire",
            Vantage::Syscall => "syscall",
            Vantage::Strace => "strace",
        }
    }

    /// True where system calls are observed, which come in stream order, and not packets.
    pub fn is_process(self) -> bool {
        self != Vantage::Wire
    }
}

/// Which way bytes move, seen from the traced process; for a capture, from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the process to its peer.
    Send,
    /// From the peer to the process.
    Recv,
}

impl Direction {
    /// Both directions, in the order of [`Direction::index`].
    pub const BOTH: [Direction; 2] = [Direction::Send, Direction::Recv];

    /// 0 for send, 1 for receive: the index of per-direction arrays.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The opposite direction.
    pub fn reverse(self) -> Direction {
        match self {
            Direction::Send => Direction::Recv,
            Direction::Recv => Direction::Send,
        }
    }

    /// `send` or `recv`.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Send => "send",
            Direction::Recv => "recv",
        }
    }
}

/// A half-open range `[from, to)` of offsets in one direction's stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Range {
    /// Offset of the first byte.
    pub from: u64,
    /// Offset after the last byte.
    pub to: u64,
}

impl Range {
    /// The range `[from, to)`; empty where `to <= from`.
    pub fn new(from: u64, to: u64) -> Range {
        Range { from, to: to.max(from) }
    }

    /// Bytes in the range.
    pub fn len(self) -> u64 {
        self.to - self.from
    }

    /// True where the range holds no byte.
    pub fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// The bytes that both ranges hold, if any.
    pub fn intersection(self, other: Range) -> Option<Range> {
        let (from, to) = (self.from.max(other.from), self.to.min(other.to));
        (from < to).then_some(Range { from, to })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.from, self.to)
    }
}

/// One connection: a socket, whichever descriptors and processes hold it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Socket inode, as in `socket:[12345]`; for a packet capture the number of the flow, from 1.
    pub socket: u64,
    /// Tells sockets apart that got the same inode one after the other.
    pub opened: u32,
}

/// A task's name as the kernel keeps it (`comm`), at most 15 bytes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// Takes the first 15 bytes of `name`.
    pub fn new(name: &[u8]) -> Comm {
        let mut comm = [0; 16];
        let length = name.len().min(15);
        comm[..length].copy_from_slice(&name[..length]);
        Comm(comm)
    }

    /// The name without its padding. May hold any byte but NUL: escape before showing it.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(16);
        &self.0[..end]
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

/// The task that made a system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Task {
    /// Process id (the kernel's tgid).
    pub pid: u32,
    /// Thread id (the kernel's pid).
    pub tid: u32,
    /// The thread's name.
    pub comm: Comm,
}

/// Which end of the connection the observed process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// It connected.
    Client,
    /// It accepted.
    Server,
    /// Not known: the socket was open already and its port says nothing.
    #[default]
    Unknown,
}

impl Role {
    /// The word used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Server => "server",
            Role::Unknown => "unknown",
        }
    }
}

/// A call or other happening that an event comes from. The discriminants are part of the recording format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // the names are those of the manual pages in section 2
pub enum Call {
    Read = 1,
    Write = 2,
    Readv = 3,
    Writev = 4,
    Sendto = 5,
    Recvfrom = 6,
    Sendmsg = 7,
    Recvmsg = 8,
    Connect = 9,
    Accept = 10,
    Accept4 = 11,
    Close = 12,
    /// Seen when the process's sockets were listed, not by a call.
    Listing = 13,
    /// The process ended and the kernel closed its sockets.
    Exit = 14,
    /// A packet of a capture.
    Packet = 15,
    /// The kernel changed the state of the connection by itself, e.g. after a reset by the peer.
    Kernel = 16,
    Sendmmsg = 17,
    Recvmmsg = 18,
    Preadv2 = 19,
    Pwritev2 = 20,
    Sendfile = 21,
    Splice = 22,
    /// An operation of io_uring, whichever task of the process carried it out.
    IoUring = 23,
    /// A call of another kind, or one of a 32-bit program.
    Other = 24,
}

impl Call {
    const ALL: [Call; 24] = [
        Call::Read,
        Call::Write,
        Call::Readv,
        Call::Writev,
        Call::Sendto,
        Call::Recvfrom,
        Call::Sendmsg,
        Call::Recvmsg,
        Call::Connect,
        Call::Accept,
        Call::Accept4,
        Call::Close,
        Call::Listing,
        Call::Exit,
        Call::Packet,
        Call::Kernel,
        Call::Sendmmsg,
        Call::Recvmmsg,
        Call::Preadv2,
        Call::Pwritev2,
        Call::Sendfile,
        Call::Splice,
        Call::IoUring,
        Call::Other,
    ];

    /// The call with this discriminant.
    pub fn from_number(number: u8) -> Option<Call> {
        Call::ALL.into_iter().find(|&call| call as u8 == number)
    }

    /// The system calls that move bytes.
    pub fn data_calls() -> impl Iterator<Item = Call> + Clone {
        let opens = [Call::Connect, Call::Accept, Call::Accept4];
        let others = [Call::Close, Call::Listing, Call::Exit, Call::Packet, Call::Kernel];
        Call::ALL.into_iter().filter(move |call| !opens.contains(call) && !others.contains(call))
    }

    /// The system call's name, or one word for what is not a call.
    pub fn name(self) -> &'static str {
        match self {
            Call::Read => "read",
            Call::Write => "write",
            Call::Readv => "readv",
            Call::Writev => "writev",
            Call::Sendto => "sendto",
            Call::Recvfrom => "recvfrom",
            Call::Sendmsg => "sendmsg",
            Call::Recvmsg => "recvmsg",
            Call::Connect => "connect",
            Call::Accept => "accept",
            Call::Accept4 => "accept4",
            Call::Close => "close",
            Call::Listing => "listing",
            Call::Exit => "exit",
            Call::Packet => "packet",
            Call::Kernel => "kernel",
            Call::Sendmmsg => "sendmmsg",
            Call::Recvmmsg => "recvmmsg",
            Call::Preadv2 => "preadv2",
            Call::Pwritev2 => "pwritev2",
            Call::Sendfile => "sendfile",
            Call::Splice => "splice",
            Call::IoUring => "io_uring",
            Call::Other => "other",
        }
    }
}

/// One thing seen at a vantage. Borrows its payload from the source's buffer.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// When: at the end of the call, or the packet's time.
    pub time: Timestamp,
    /// On which socket.
    pub conn: ConnId,
    /// By whom; absent in a packet capture.
    pub task: Option<Task>,
    /// Through which descriptor; absent in a packet capture and where no call was made.
    pub fd: Option<i32>,
    /// What.
    pub kind: Kind<'a>,
}

/// The kinds of [`Event`].
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    /// The connection is seen for the first time.
    Open(Open),
    /// Bytes moved, or an attempt to move them.
    Data(Data<'a>),
    /// A descriptor was closed, the connection ended, or the trace did.
    Close(Close),
    /// Bytes that are known to have moved without a [`Data`] event.
    Loss(Loss),
}

/// How a connection came to be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Opened {
    /// Its handshake was seen: connect, accept, or the SYN in a capture.
    #[default]
    Fresh,
    /// It was open before the trace or the capture began, or its first event was lost.
    Found,
}

/// Where in its stream a vantage begins to see a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Start {
    /// Bytes that had moved before: 0 for a fresh connection. In a capture without handshake the count
    /// starts at the first byte seen, see [`Open::exact`].
    pub offset: u64,
    /// TCP sequence number of the byte at `offset` (the anchor); absent until the peer's is known.
    pub seq: Option<u32>,
}

/// A connection is seen for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// Fresh or found.
    pub opened: Opened,
    /// How it is carried.
    pub transport: Transport,
    /// Address of the observed end. In a capture: the client's.
    pub local: Option<Address>,
    /// Address of the other end; absent where the socket is not connected to one.
    pub remote: Option<Address>,
    /// Which end is observed.
    pub role: Role,
    /// Where each direction begins to be seen.
    pub start: [Start; 2],
    /// False where offsets count from the first byte seen because nothing tells how many came before.
    pub exact: bool,
    /// The user's filter leaves this connection's payload out; only its totals are reported.
    pub filtered: bool,
    /// What it was learnt from.
    pub call: Option<Call>,
    /// `errno` of a failed connect (positive). A connect in progress (EINPROGRESS) is no failure.
    pub error: Option<i32>,
}

/// Bytes moved in one call or packet: of a datagram socket, one datagram.
#[derive(Clone, Debug)]
pub struct Data<'a> {
    /// Which way.
    pub direction: Direction,
    /// Offset of the first byte in its direction's stream.
    pub offset: u64,
    /// Bytes moved. 0 with no error: in receive direction the end of the stream was read (or a FIN seen), or the
    /// datagram is empty.
    pub length: u64,
    /// The captured bytes: a prefix of what moved.
    pub payload: &'a [u8],
    /// TCP sequence number of the first byte.
    pub tcp_seq: Option<u32>,
    /// The other end of this datagram, where it is not the connection's and the call tells.
    pub peer: Option<Address>,
    /// The call.
    pub call: Call,
    /// Why `payload` is shorter than `length`; absent where it is not.
    pub cause: Option<Cause>,
    /// MSG_PEEK: the bytes were looked at and will be read again.
    pub peek: bool,
    /// The kernel handed the bytes from one TCP socket of the machine to another (BPF sockmap): no packet has them, and
    /// they have no sequence numbers.
    pub past_tcp: bool,
    /// The sender had got all bytes of the other direction before this offset, where a packet says so.
    pub acked: Option<u64>,
    /// `errno` of a failed call (positive).
    pub error: Option<i32>,
}

impl Data<'_> {
    /// The range of offsets that moved.
    pub fn range(&self) -> Range {
        Range::new(self.offset, self.offset + self.length)
    }
}

/// Why a [`Close`] was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// A descriptor was closed while others still refer to the socket: the connection goes on.
    Descriptor,
    /// The last descriptor was closed, by a call or by the end of the process.
    Closed,
    /// A FIN in both directions (captures).
    Fin,
    /// A reset.
    Reset,
    /// The trace or capture ended first: totals so far.
    StillOpen,
}

impl CloseReason {
    /// The word used in JSON and in trace lines.
    pub fn name(self) -> &'static str {
        match self {
            CloseReason::Descriptor => "descriptor",
            CloseReason::Closed => "closed",
            CloseReason::Fin => "fin",
            CloseReason::Reset => "reset",
            CloseReason::StillOpen => "still-open",
        }
    }

    /// True where no byte can move after it.
    pub fn is_final(self) -> bool {
        matches!(self, CloseReason::Closed | CloseReason::Fin | CloseReason::Reset)
    }
}

/// Where one direction stood when a [`Close`] was reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Total {
    /// Bytes that traced calls moved since the start of the trace.
    pub moved: u64,
    /// Stream offset after the last byte moved, by whatever path, where the vantage knows it.
    pub end: Option<u64>,
    /// Bytes that the kernel still holds: received and not read, or written and not acknowledged.
    pub pending: u64,
    /// Which number of a flow was acknowledged and is not known to be a byte.
    pub fin_or_byte: Option<FinOrByte>,
}

/// A number that is a byte or the FIN, which counts as one (RFC 9293, section 3.4): it was acknowledged, and a capture has
/// neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinOrByte {
    /// The one before the first offset: the capture saw nothing of this direction but acknowledgements of what came before.
    BeforeStart,
    /// The one at [`Total::end`]. As a byte it is missing for this cause.
    AtEnd(Cause),
}

/// A descriptor was closed, the connection ended, or the trace did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Which of them.
    pub reason: CloseReason,
    /// What it was learnt from.
    pub call: Option<Call>,
    /// Totals by [`Direction::index`].
    pub totals: [Total; 2],
}

/// Bytes that are known to have moved without a [`Data`] event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Which way.
    pub direction: Direction,
    /// Which bytes.
    pub range: Range,
    /// Why.
    pub cause: Cause,
}

/// Bytes that a capture has twice, with different content. The first to arrive are those of the [`Data`] event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// In which flow.
    pub conn: ConnId,
    /// Which way they went.
    pub direction: Direction,
    /// From the first to the last offset that differs.
    pub range: Range,
}

/// A step of the pipeline, in order. Bytes in = bytes out + bytes by cause, at each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Stage {
    Wire,
    Syscall,
    Capture,
    Delivery,
    Tls,
    Stream,
    Frame,
    Record,
    Output,
}

impl Stage {
    /// The word used in JSON and in the manual.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Wire => "wire",
            Stage::Syscall => "syscall",
            Stage::Capture => "capture",
            Stage::Delivery => "delivery",
            Stage::Tls => "tls",
            Stage::Stream => "stream",
            Stage::Frame => "frame",
            Stage::Record => "record",
            Stage::Output => "output",
        }
    }
}

/// Defines [`Cause`]: variant, number in recordings, slug and stage, once each.
macro_rules! causes {
    ($($variant:ident = $number:literal $slug:literal $stage:ident,)*) => {
        /// Why a byte did not become a record. `sockdbg explain` prints the catalogue. The discriminants
        /// are part of the recording format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // the catalogue (ledger::catalogue) says what each means
        pub enum Cause { $($variant = $number,)* }

        impl Cause {
            /// Every cause, in pipeline order.
            pub const ALL: &'static [Cause] = &[$(Cause::$variant,)*];

            /// The stable name: what JSON, text and `explain` use.
            pub fn slug(self) -> &'static str {
                match self { $(Cause::$variant => $slug,)* }
            }

            /// The stage at which the byte stopped.
            pub fn stage(self) -> Stage {
                match self { $(Cause::$variant => Stage::$stage,)* }
            }
        }
    };
}

causes! {
    WireNotCaptured = 1 "wire-not-captured" Wire,
    WireSnaplen = 2 "wire-snaplen" Wire,
    WireStartedLate = 3 "wire-started-late" Wire,
    WireEndedEarly = 4 "wire-ended-early" Wire,
    WireNoVantage = 5 "wire-no-vantage" Wire,
    WireUnsent = 6 "wire-unsent" Wire,
    WireNotCompared = 7 "wire-not-compared" Wire,
    WireAddressTranslated = 8 "wire-address-translated" Wire,
    WirePayloadLeftOut = 9 "wire-payload-left-out" Wire,
    // The numbers from 80 on are the wire's, too.
    WireAmbiguous = 80 "wire-ambiguous" Wire,
    WireOverlapDiffers = 81 "wire-overlap-differs" Wire,
    WireContentDiffers = 82 "wire-content-differs" Wire,
    WireEncrypted = 83 "wire-encrypted" Wire,
    StraceNoAddress = 84 "strace-no-address" Wire,
    BeforeAttach = 10 "before-attach" Syscall,
    AfterDetach = 11 "after-detach" Syscall,
    UntracedSyscall = 12 "untraced-syscall" Syscall,
    NotThisProcess = 13 "not-this-process" Syscall,
    Unread = 14 "unread" Syscall,
    IoUring = 15 "io-uring" Syscall,
    InKernelTransfer = 16 "in-kernel-transfer" Syscall,
    OtherProcess = 17 "other-process" Syscall,
    DatagramTruncated = 18 "datagram-truncated" Syscall,
    Filtered = 20 "filtered" Capture,
    Snaplen = 21 "snaplen" Capture,
    IovecLimit = 22 "iovec-limit" Capture,
    UserMemoryFault = 23 "user-memory-fault" Capture,
    TableFull = 24 "table-full" Capture,
    StraceStringLimit = 25 "strace-string-limit" Capture,
    StraceNoPayload = 26 "strace-no-payload" Capture,
    RingFull = 30 "ring-full" Delivery,
    RecordingCut = 31 "recording-cut" Delivery,
    BufferLimit = 40 "buffer-limit" Stream,
    ProtocolUnknown = 50 "protocol-unknown" Frame,
    ParseError = 51 "parse-error" Frame,
    ResyncSkipped = 52 "resync-skipped" Frame,
    Unsupported = 53 "unsupported" Frame,
    Incomplete = 54 "incomplete" Frame,
    Redacted = 55 "redacted" Frame,
    NoResponse = 60 "no-response" Record,
    NoRequest = 61 "no-request" Record,
    Limit = 62 "limit" Record,
    FieldTruncated = 70 "field-truncated" Output,
}

/// In pipeline order.
impl Ord for Cause {
    fn cmp(&self, other: &Cause) -> std::cmp::Ordering {
        (self.stage(), *self as u8).cmp(&(other.stage(), *other as u8))
    }
}

impl PartialOrd for Cause {
    fn partial_cmp(&self, other: &Cause) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Cause {
    /// The cause with this discriminant.
    pub fn from_number(number: u8) -> Option<Cause> {
        Cause::ALL.iter().copied().find(|&cause| cause as u8 == number)
    }

    /// The cause with this slug.
    pub fn from_slug(slug: &str) -> Option<Cause> {
        Cause::ALL.iter().copied().find(|cause| cause.slug() == slug)
    }

    /// Adds it to a list that holds each cause once.
    pub fn note_in(self, causes: &mut Vec<Cause>) {
        if !causes.contains(&self) {
            causes.push(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_slugs_lead_back_to_their_cause() {
        for &cause in Cause::ALL {
            assert_eq!(Cause::from_number(cause as u8), Some(cause));
            assert_eq!(Cause::from_slug(cause.slug()), Some(cause));
        }
        for call in Call::ALL {
            assert_eq!(Call::from_number(call as u8), Some(call));
        }
    }

    #[test]
    fn ranges_intersect_where_they_share_bytes() {
        let range = Range::new(10, 20);
        assert_eq!(range.intersection(Range::new(15, 30)), Some(Range::new(15, 20)));
        assert_eq!(range.intersection(Range::new(20, 30)), None);
        assert!(Range::new(5, 5).is_empty());
    }
}
