//! The other end: a forked process that shares no socket with the workload, so that a trace of the workload alone
//! does not see it. It checks the truth from its side.

use super::sys;
use super::truth::{Id, Truth, Way};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use sha2::{Digest, Sha256};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Two pipes between workload and peer, for steps that must follow one another.
pub struct Link {
    input: PipeReader,
    output: PipeWriter,
}

impl Link {
    /// Tells the other side that a step is done.
    pub fn tell(&mut self, value: u64) {
        self.output.write_all(&value.to_ne_bytes()).expect("the other side lives");
    }

    /// Waits for the other side's step.
    pub fn hear(&mut self) -> u64 {
        let mut value = [0; 8];
        self.input.read_exact(&mut value).expect("the other side lives");
        u64::from_ne_bytes(value)
    }
}

/// A forked process.
pub struct Peer {
    pid: Pid,
    pub link: Link,
}

impl Peer {
    /// Forks a process that does `work` and ends. It has a copy of every descriptor that is open now.
    pub fn fork(work: impl FnOnce(&mut Link)) -> Peer {
        let (input, their_output) = std::io::pipe().expect("a pipe");
        let (their_input, output) = std::io::pipe().expect("a pipe");
        // SAFETY: the workload has one thread when it forks, so the child may do what it likes.
        match unsafe { fork() }.expect("a process") {
            ForkResult::Child => {
                drop((input, output));
                let mut link = Link { input: their_input, output: their_output };
                let done = catch_unwind(AssertUnwindSafe(|| work(&mut link)));
                // SAFETY: always sound. The parent's exit handlers are not the child's.
                unsafe { nix::libc::_exit(i32::from(done.is_err())) }
            }
            ForkResult::Parent { child } => Peer { pid: child, link: Link { input, output } },
        }
    }

    /// A process without sockets of the workload that accepts one connection on `host` and does `work`; and where it listens.
    pub fn server(host: &str, work: impl FnOnce(TcpStream, &mut Link)) -> (Peer, SocketAddr) {
        let mut peer = Peer::fork(|link| {
            sys::close_sockets();
            let listener = TcpListener::bind((host, 0)).expect("a free port");
            link.tell(u64::from(listener.local_addr().expect("bound").port()));
            let (stream, _) = listener.accept().expect("the workload connects");
            work(stream, link);
        });
        let port = peer.link.hear() as u16;
        (peer, SocketAddr::new(host.parse().expect("an address"), port))
    }

    /// A process without sockets of the workload that waits for a port, connects to it and does `work`.
    pub fn client(host: &str, work: impl FnOnce(TcpStream, &mut Link)) -> Peer {
        let host = host.to_owned();
        Peer::fork(move |link| {
            sys::close_sockets();
            let port = link.hear() as u16;
            work(TcpStream::connect((host.as_str(), port)).expect("the workload listens"), link);
        })
    }

    /// Waits for a good end.
    pub fn ended(self) {
        let status = waitpid(self.pid, None).expect("a child");
        assert_eq!(status, WaitStatus::Exited(self.pid, 0), "the peer failed");
    }

    /// Waits for the end of a peer that did [`converse`], which must have got what the truth says was sent.
    pub fn agrees(mut self, truth: &Truth, id: Id) {
        let length = self.link.hear();
        let mut digest = [0; 32];
        self.link.input.read_exact(&mut digest).expect("the peer lives");
        assert!((length, digest) == truth.digest(id, Way::Send), "the peer got {length} bytes, or others");
        self.ended();
    }
}

/// Sends `bytes` and closes that half, takes all that comes, and tells what it was.
pub fn converse(stream: &TcpStream, bytes: &[u8], link: &mut Link) {
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut stream = stream;
            stream.write_all(bytes).expect("the workload reads");
            stream.shutdown(Shutdown::Write).expect("an open connection");
        });
        receive(stream)
    });
    tell_received(&received, link);
}

/// All that comes, to the end of the stream.
pub fn receive(mut stream: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("the workload closes");
    received
}

/// What [`Peer::agrees`] waits for.
pub fn tell_received(received: &[u8], link: &mut Link) {
    link.tell(received.len() as u64);
    link.output.write_all(&Sha256::digest(received)).expect("the workload lives");
}

/// A connection to a peer that sends `bytes` and takes all that comes.
pub fn connected(truth: &mut Truth, bytes: &[u8]) -> (TcpStream, Id, Peer) {
    let (peer, address) = Peer::server("127.0.0.1", |stream, link| converse(&stream, bytes, link));
    let stream = TcpStream::connect(address).expect("the peer listens");
    let id = truth.socket(&stream, "tcp");
    (stream, id, peer)
}
