//! The other vantage: tcpdump on the loopback interface.

use super::peer::eventually;
use super::watcher::Watcher;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A capture of the loopback interface by tcpdump, from before [`Wire::begin`] returns.
pub struct Wire {
    tcpdump: Watcher,
    file: PathBuf,
    port: u16,
    marks: usize,
}

impl Wire {
    /// Captures the packets of `port` into `file`, with more arguments (options, the beginning of a filter).
    pub fn begin(file: &Path, port: u16, args: &[&str]) -> Wire {
        let mut command = Command::new("tcpdump");
        // In immediate mode each packet takes a slot of the snap length: the default buffer holds eight.
        command.args(["-i", "lo", "-U", "--immediate-mode", "-B", "65536", "-Z", "root", "-w"]).arg(file);
        command.args(args).arg(format!("port {port}"));
        let tcpdump = Watcher::start(&mut command).wait_for("listening on");
        Wire { tcpdump, file: file.to_owned(), port, marks: 0 }
    }

    /// Puts a refused connection into the capture. Nobody may listen on the port.
    pub fn mark(&mut self) {
        let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        assert!(refused.is_err(), "somebody listens on port {}", self.port);
        self.marks += 1;
    }

    /// Ends the capture when it has everything until now: a mark is the last thing in the file.
    pub fn end(mut self) {
        self.mark();
        let (file, marks) = (self.file.clone(), self.marks);
        eventually("the mark in the capture", || resets(&std::fs::read(&file).unwrap()) == marks);
        self.end_now();
    }

    /// Ends the capture at once.
    pub fn end_now(self) {
        self.tcpdump.signal(nix::sys::signal::Signal::SIGINT);
        self.tcpdump.end();
    }
}

/// TCP segments with RST and sequence number 0 in a pcap file of Ethernet and IPv4: what a port answers at which nobody
/// listens (RFC 9293, section 3.10.7.1), other than those that end a connection.
fn resets(file: &[u8]) -> usize {
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    const TCP: usize = 14 + 20;
    let (mut rest, mut count) = (file.get(FILE_HEADER..).unwrap_or_default(), 0);
    while let Some(length) = rest.get(8..12) {
        let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
        let Some(packet) = rest.get(RECORD_HEADER..RECORD_HEADER + length) else { break };
        let is_reset = packet.get(TCP + 13).is_some_and(|flags| flags & 4 != 0);
        count += usize::from(is_reset && packet[TCP + 4..TCP + 8] == [0; 4]);
        rest = &rest[RECORD_HEADER + length..];
    }
    count
}
