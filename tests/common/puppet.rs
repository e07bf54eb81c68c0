//! A traced process that does to its sockets what a test tells it.
//!
//! The test is the peer at the other end of the connection: both streams are known to it byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The traced process.
pub struct Puppet {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Puppet {
    /// Starts one.
    pub fn new() -> Puppet {
        Puppet::by(&[])
    }

    /// Starts one by a command in front, such as `ip netns exec NAME`.
    pub fn by(prefix: &[&str]) -> Puppet {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/puppet.py");
        let mut words = prefix.iter().copied().chain(["python3", script]);
        let mut command = Command::new(words.next().unwrap());
        let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        Puppet { child, stdin, stdout }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives a command and waits for the answer.
    pub fn tell(&mut self, command: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the puppet failed at {command}");
        answer.trim_end().to_owned()
    }

    /// Listens on a free port: its descriptor and the port.
    pub fn listen(&mut self) -> (i32, u16) {
        let answer = self.tell("listen");
        let (fd, port) = answer.split_once(' ').unwrap();
        (fd.parse().unwrap(), port.parse().unwrap())
    }

    /// A connection that the puppet accepted: its descriptor, and the test's end.
    pub fn accepted(&mut self) -> (i32, TcpStream) {
        let (listener, port) = self.listen();
        let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let fd = self.tell(&format!("accept {listener}")).parse().unwrap();
        self.tell(&format!("close {listener}"));
        (fd, peer)
    }

    /// A connection that the puppet made: its descriptor, and the test's end.
    pub fn connected(&mut self) -> (i32, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let fd = self.tell(&format!("connect {port}")).parse().unwrap();
        (fd, listener.accept().unwrap().0)
    }

    /// Lets the puppet send bytes, and receives them at the other end.
    pub fn send(&mut self, fd: i32, peer: &mut TcpStream, bytes: &[u8]) {
        let hex = data_encoding::HEXLOWER.encode(bytes);
        self.tell(&format!("send {fd} {hex}"));
        let mut received = vec![0; bytes.len()];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(received, bytes);
    }

    /// Sends bytes from the other end, and lets the puppet receive them.
    pub fn recv(&mut self, fd: i32, peer: &mut TcpStream, bytes: &[u8]) {
        peer.write_all(bytes).unwrap();
        let hex = self.tell(&format!("recv {fd} {}", bytes.len()));
        assert_eq!(data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap(), bytes);
    }

    /// Ends the process; the kernel closes its sockets.
    pub fn end(&mut self) {
        drop(self.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.end();
    }
}
