//! What really moved, as the workload knows it: written as JSON for the test that compares a recording with it.

use nix::sys::stat::fstat;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Which way bytes move, seen from the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Send,
    Recv,
}

use Way::{Recv, Send};

/// A socket of the truth.
#[derive(Clone, Copy, Debug)]
pub struct Id(usize);

/// All sockets of a run.
pub struct Truth {
    file: PathBuf,
    sockets: Vec<Socket>,
}

struct Socket {
    inode: u64,
    transport: &'static str,
    /// Reason of the final close.
    end: &'static str,
    /// `errno` of a connect that failed.
    failed: Option<i32>,
    /// Local and remote address, where a mode cares.
    addresses: Option<[String; 2]>,
    sides: [Side; 2],
}

#[derive(Default)]
struct Side {
    whole: Sha256,
    length: u64,
    segments: Vec<Segment>,
    datagrams: Vec<Value>,
    peeks: Vec<Value>,
    /// `errno` of each failed call that is worth an event.
    errors: Vec<i32>,
    /// Reads that told of the end of the stream.
    ends: u32,
    /// Descriptors used, in order, where a mode cares.
    fds: Vec<i32>,
    /// The only system call used, where a mode cares.
    call: Option<&'static str>,
}

/// Bytes that are captured or not for the same reason.
struct Segment {
    length: u64,
    digest: Sha256,
    cause: Option<&'static str>,
    /// The cause counts only where no hook of the kernel has the payload.
    hooked: bool,
}

impl Truth {
    /// Of a run that writes it into `file`.
    pub fn new(file: &Path) -> Truth {
        Truth { file: file.to_owned(), sockets: Vec::new() }
    }

    /// Writes it down, also for a process that does not return to its beginning.
    pub fn write(&self) {
        std::fs::write(&self.file, self.json().to_string()).expect("room for the truth");
    }

    /// Where it is written.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Takes a socket in. Each socket that the process has ever had must be, also one on which nothing moves.
    pub fn socket(&mut self, fd: impl AsFd, transport: &'static str) -> Id {
        let inode = fstat(fd).expect("an open socket").st_ino;
        self.add(inode, transport)
    }

    /// The same socket again, as another connection.
    pub fn again(&mut self, id: Id) -> Id {
        let Socket { inode, transport, .. } = self.sockets[id.0];
        self.add(inode, transport)
    }

    /// A socket that this program knows by its number only: it is closed, or another program had it.
    pub fn former(&mut self, inode: u64, transport: &'static str) -> Id {
        self.add(inode, transport)
    }

    fn add(&mut self, inode: u64, transport: &'static str) -> Id {
        let sides = [Side::default(), Side::default()];
        let socket = Socket { inode, transport, end: "closed", failed: None, addresses: None, sides };
        self.sockets.push(socket);
        Id(self.sockets.len() - 1)
    }

    /// Its inode.
    pub fn inode(&self, id: Id) -> u64 {
        self.sockets[id.0].inode
    }

    /// Between which addresses it moves bytes.
    pub fn addresses(&mut self, id: Id, local: String, remote: String) {
        self.sockets[id.0].addresses = Some([local, remote]);
    }

    /// A call moved these bytes, which can be captured.
    pub fn moved(&mut self, id: Id, way: Way, bytes: &[u8]) {
        self.side(id, way).add(bytes, None);
    }

    /// These bytes moved where their payload may be out of reach, for this cause.
    pub fn hidden(&mut self, id: Id, way: Way, bytes: &[u8], cause: &'static str) {
        self.side(id, way).add(bytes, Some(cause));
    }

    /// io_uring moved these bytes: a hook of the kernel may have their payload.
    pub fn uring(&mut self, id: Id, way: Way, bytes: &[u8]) {
        self.side(id, way).add_to(bytes, Some("io-uring"), true);
    }

    /// The same as a datagram.
    pub fn uring_datagram(&mut self, id: Id, way: Way, bytes: &[u8], peer: Option<String>) {
        let side = self.side(id, way);
        side.add_to(bytes, Some("io-uring"), true);
        side.datagrams.push(json!({ "length": bytes.len(), "sha256": hex(Sha256::digest(bytes)),
            "peer": peer, "hooked": true }));
    }

    /// A datagram moved.
    pub fn datagram(&mut self, id: Id, way: Way, bytes: &[u8], peer: Option<String>) {
        let side = self.side(id, way);
        side.add(bytes, None);
        side.datagrams
            .push(json!({ "length": bytes.len(), "sha256": hex(Sha256::digest(bytes)), "peer": peer }));
    }

    /// A datagram of which the buffer took only a part: the rest has a cause.
    pub fn cut_datagram(&mut self, id: Id, way: Way, bytes: &[u8], kept: usize, cause: &'static str) {
        let side = self.side(id, way);
        side.add(&bytes[..kept], None);
        side.add(&bytes[kept..], Some(cause));
        side.datagrams.push(json!({ "length": bytes.len(), "kept": kept, "peer": null,
            "sha256": hex(Sha256::digest(&bytes[..kept])) }));
    }

    /// A datagram moved whose payload is out of reach, for this cause: another process moved it, or a call that is not
    /// hooked. Where nothing but calls is hooked nothing tells of it.
    pub fn hidden_datagram(&mut self, id: Id, way: Way, bytes: &[u8], cause: &'static str) {
        let side = self.side(id, way);
        side.add(bytes, Some(cause));
        side.datagrams.push(json!({ "length": bytes.len(), "sha256": hex(Sha256::digest(b"")),
            "peer": null, "counted": true }));
    }

    /// Bytes that are next in the stream were looked at and not taken.
    pub fn peeked(&mut self, id: Id, bytes: &[u8]) {
        let side = self.side(id, Recv);
        let peek =
            json!({ "offset": side.length, "length": bytes.len(), "sha256": hex(Sha256::digest(bytes)) });
        side.peeks.push(peek);
    }

    /// A call failed. EAGAIN and EINTR are no events: nothing happened, and the program tries again.
    pub fn failed(&mut self, id: Id, way: Way, errno: i32) {
        self.side(id, way).errors.push(errno);
    }

    /// A read told of the end of the stream.
    pub fn end_of_stream(&mut self, id: Id) {
        self.side(id, Recv).ends += 1;
    }

    /// The following calls use this descriptor.
    pub fn via(&mut self, id: Id, way: Way, fd: i32) {
        self.side(id, way).fds.push(fd);
    }

    /// All calls in this direction are of this name.
    pub fn called(&mut self, id: Id, way: Way, call: &'static str) {
        self.side(id, way).call = Some(call);
    }

    /// How the connection ends; as long as nothing is said: `closed`.
    pub fn ends(&mut self, id: Id, reason: &'static str) {
        self.sockets[id.0].end = reason;
    }

    /// The connect failed: there is no connection that could end.
    pub fn not_connected(&mut self, id: Id, errno: i32) {
        self.sockets[id.0].failed = Some(errno);
    }

    /// No connection: a listener, or a socket that is closed without having had a peer.
    pub fn idle(&mut self, id: Id) {
        self.sockets[id.0].end = "none";
    }

    /// Length and SHA-256 of all that moved so far.
    pub fn digest(&self, id: Id, way: Way) -> (u64, [u8; 32]) {
        let side = &self.sockets[id.0].sides[way as usize];
        (side.length, side.whole.clone().finalize().into())
    }

    fn side(&mut self, id: Id, way: Way) -> &mut Side {
        &mut self.sockets[id.0].sides[way as usize]
    }

    fn json(&self) -> Value {
        json!({ "sockets": self.sockets.iter().map(Socket::json).collect::<Vec<_>>() })
    }
}

impl Socket {
    fn json(&self) -> Value {
        json!({
            "inode": self.inode,
            "transport": self.transport,
            "end": self.end,
            "failed": self.failed,
            "addresses": self.addresses,
            "send": self.sides[Send as usize].json(),
            "recv": self.sides[Recv as usize].json(),
        })
    }
}

impl Side {
    /// Neighbours without a cause are one segment. Others stay apart: a call is out of reach as a whole.
    fn add(&mut self, bytes: &[u8], cause: Option<&'static str>) {
        self.add_to(bytes, cause, false);
    }

    fn add_to(&mut self, bytes: &[u8], cause: Option<&'static str>, hooked: bool) {
        self.whole.update(bytes);
        self.length += bytes.len() as u64;
        match self.segments.last_mut() {
            Some(last) if last.cause.is_none() && cause.is_none() => {
                last.digest.update(bytes);
                last.length += bytes.len() as u64;
            }
            _ if bytes.is_empty() => {}
            _ => {
                let digest = Sha256::new_with_prefix(bytes);
                self.segments.push(Segment { length: bytes.len() as u64, digest, cause, hooked });
            }
        }
    }

    fn json(&self) -> Value {
        let segments = self.segments.iter().map(|segment| {
            let sha256 = hex(segment.digest.clone().finalize());
            json!({ "length": segment.length, "sha256": sha256, "cause": segment.cause,
                "hooked": segment.hooked })
        });
        json!({
            "length": self.length,
            "sha256": hex(self.whole.clone().finalize()),
            "segments": segments.collect::<Vec<_>>(),
            "datagrams": self.datagrams,
            "peeks": self.peeks,
            "errors": self.errors,
            "ends": self.ends,
            "fds": self.fds,
            "call": self.call,
        })
    }
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    data_encoding::HEXLOWER.encode(digest.as_ref())
}
