//! A client that keeps every byte that it sent and got: the truth about both streams of its connection.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

/// A client's connection.
pub struct Client {
    stream: TcpStream,
    /// Its own port, by which the server's end knows it.
    pub port: u16,
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        let port = stream.local_addr().expect("connected").port();
        Client { stream, port, sent: Vec::new(), received: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
        self.sent.extend_from_slice(bytes);
    }

    /// Receives until `done` is true of what came since the call, which it returns.
    pub fn receive_until(&mut self, done: impl Fn(&[u8]) -> bool) -> &[u8] {
        let start = self.received.len();
        let mut part = [0; 65536];
        while !done(&self.received[start..]) {
            let count = self.stream.read(&mut part).expect("the server answers");
            assert!(count > 0, "the server closed: {}", String::from_utf8_lossy(&self.received[start..]));
            self.received.extend_from_slice(&part[..count]);
        }
        &self.received[start..]
    }

    /// A request without body and its response, which has Content-Length.
    pub fn get(&mut self, method: &str, target: &str) -> &[u8] {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes());
        let has_body = method != "HEAD";
        self.receive_until(|bytes| http_length(bytes, has_body) == Some(bytes.len()))
    }

    /// A Redis command as redis-cli sends it, and the whole of its reply.
    pub fn redis(&mut self, command: &[&str], reply: &str) {
        self.send(&resp(command));
        self.reply(reply);
    }

    /// The whole of what the server has to say now.
    pub fn reply(&mut self, reply: &str) {
        let got = self.receive_until(|bytes| bytes.len() >= reply.len());
        assert_eq!(String::from_utf8_lossy(got), reply);
    }

    /// Ends its side, and waits until the server ended the other: the server has done all its calls then.
    pub fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection");
        self.stream.read_to_end(&mut self.received).expect("the server closes");
    }
}

/// Length of an HTTP response with Content-Length, once its head is there.
fn http_length(bytes: &[u8], has_body: bool) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let (_, value) = text.split_once("content-length: ").expect("a response with Content-Length");
    let length: usize = value.split_once("\r\n")?.0.parse().expect("a number");
    Some(head + if has_body { length } else { 0 })
}

/// A command as an array of bulk strings (RESP specification, "Sending commands to a Redis server").
pub fn resp(command: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len());
    for word in command {
        bytes += &format!("${}\r\n{word}\r\n", word.len());
    }
    bytes.into_bytes()
}
