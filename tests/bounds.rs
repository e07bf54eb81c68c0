//! What bounds stop, in a comparison: real transfers that are larger than what is kept, with packets that a test takes out of
//! the capture.

mod common;

use common::events::text;
use common::pcap_file::{Packet, PcapFile};
use common::puppet::Puppet;
use common::report::Report;
use common::trace::require_bpf;
use common::watcher::{Watcher, program};
use common::wire::Wire;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use tempfile::TempDir;

const REQUEST: &[u8] = b"GET /large HTTP/1.1\r\nHost: test\r\n\r\n";

/// The body of the answer: more than is kept behind a gap.
const BODY: usize = 17 << 20;

/// What is taken out lies about here, in the stream of the answer.
const HOLE: u64 = 100_000;

/// A recording of a server that gave a large answer, and the whole capture of it.
struct Transfer {
    folder: TempDir,
    port: u16,
    file: PcapFile,
}

impl Transfer {
    fn new() -> Transfer {
        let folder = tempfile::tempdir().unwrap();
        let (recording, capture) = (folder.path().join("recording.pcapng"), folder.path().join("whole.pcap"));
        let mut puppet = Puppet::new();
        let (listener, port) = puppet.listen();
        let wire = Wire::begin(&capture, port, &[]);
        let events = Watcher::recording(puppet.pid(), &recording, &["--ring-size", "64M"]); // all of it at once
        let mut peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let fd = puppet.tell(&format!("accept {listener}"));
        peer.write_all(REQUEST).unwrap();
        puppet.tell(&format!("recv {fd} {}", REQUEST.len()));
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").into_bytes();
        answer.extend((0..BODY).map(|index| b'a' + (index % 26) as u8));
        let length = answer.len();
        let reader = thread::spawn(move || {
            let mut received = vec![0; length];
            peer.read_exact(&mut received).unwrap();
            (peer, received)
        });
        puppet.tell(&format!("send {fd} {}", data_encoding::HEXLOWER.encode(&answer)));
        let (peer, received) = reader.join().unwrap();
        assert!(received == answer);
        puppet.end();
        assert!(events.end().status.success());
        drop(peer);
        wire.end();
        let file = PcapFile::read(&capture);
        Transfer { folder, port, file }
    }

    fn is_of_server(&self, packet: &Packet) -> bool {
        packet.ports()[0] == self.port
    }

    /// The offset of a packet of the server.
    fn offset(&self, packet: &Packet) -> u64 {
        let is_syn = |packet: &&Packet| self.is_of_server(packet) && packet.is_syn();
        let first = self.file.packets.iter().find(is_syn).unwrap().seq().wrapping_add(1);
        u64::from(packet.seq().wrapping_sub(first))
    }

    /// The bytes of the answer in a packet.
    fn range(&self, packet: &Packet) -> Option<[u64; 2]> {
        let length = packet.payload().len() as u64;
        let from = (self.is_of_server(packet) && length > 0).then(|| self.offset(packet))?;
        Some([from, from + length])
    }

    /// Takes out the first packet of the answer behind a place in it, and what repeats bytes of it; that, and the bytes that are
    /// missing then.
    fn take_out(&mut self) -> (Packet, [u64; 2]) {
        let is_it = |packet: &Packet| self.range(packet).is_some_and(|range| range[0] >= HOLE);
        let index = self.file.packets.iter().position(is_it).unwrap();
        let packet = self.file.packets[index].clone();
        let [from, to] = self.range(&packet).unwrap();
        let repeats =
            |other: &Packet| self.range(other).is_some_and(|range| range[0] < to && from < range[1]);
        let rest = self.file.packets.iter().filter(|other| !repeats(other)).cloned().collect();
        self.file.packets = rest;
        let ranges: Vec<[u64; 2]> = self.file.packets.iter().filter_map(|one| self.range(one)).collect();
        let before = ranges.iter().map(|range| range[1]).filter(|&end| end <= from).max();
        let behind = ranges.iter().map(|range| range[0]).filter(|&start| start >= to).min();
        (packet, [before.unwrap(), behind.unwrap()])
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `events`, `conn-trace` and `pcap-compare` say of the capture: a range of the answer with stage and cause; what is
    /// said of the request besides, and the record of which the range is missing, where that is not the capture's fault.
    fn check(
        &self,
        [from, to]: [u64; 2],
        stage: &str,
        cause: &str,
        request: &[String],
        record: Option<&str>,
    ) {
        let capture = self.path("capture.pcap");
        self.file.write(&capture);
        let capture = capture.to_str().unwrap();
        let read = |args: &[&str]| {
            let output = Command::new(program("sockdbg")).args(args).output().unwrap();
            let lines = text(&output.stdout);
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        };
        let of_type = |lines: &[Value], name: &str| -> Vec<Value> {
            lines.iter().filter(|line| line["type"] == name).cloned().collect()
        };
        // The capture's client received the answer.
        let events = read(&["events", "-r", capture, "--format", "json"]);
        let losses: Vec<Value> = of_type(&events, "loss")
            .iter()
            .filter(|loss| loss["direction"] == "recv")
            .map(|loss| json!([loss["offset"], loss["length"], loss["cause"]]))
            .collect();
        assert_eq!(losses, [json!([from, to - from, cause])]);
        let traced = read(&["conn-trace", "-v", "1", "-r", capture, "--format", "json"]);
        let gaps: Vec<Value> = of_type(&traced, "trace")
            .iter()
            .filter(|line| line["step"] == "gap")
            .map(|line| line["message"].clone())
            .filter(|message| message.as_str().unwrap().starts_with("recv"))
            .collect();
        let length = to - from;
        assert_eq!(gaps, [json!(format!("recv [{from}, {to}) {length} bytes at {stage}: {cause}"))]);
        let records = of_type(&traced, "record");
        assert_eq!(records.len(), 1);
        let causes = records[0]["causes"].as_array().unwrap();
        assert!(causes.contains(&json!(cause)), "{causes:?}");
        let others = ["wire-not-captured", "buffer-limit"].into_iter().filter(|other| *other != cause);
        assert!(others.into_iter().all(|other| !causes.contains(&json!(other))), "{causes:?}");
        let recording = self.path("recording.pcapng");
        let files = [recording.to_str().unwrap(), capture];
        let output = Watcher::sockdbg(&["pcap-compare", files[0], files[1], "--format", "json"]).end();
        let report = Report::of(&output);
        let missing = format!("send {from} {to} {stage} {cause}");
        assert_eq!(report.findings(), [&[missing], request].concat());
        assert_eq!((report.status, &report.connection()["records"]), (1, &json!(1)));
        let finding = &report.connection()["findings"][0];
        let summary = finding["records"][0]["summary"].as_str();
        assert_eq!(summary.map(|summary| &summary[..14]), record, "{finding}");
    }
}

#[test]
fn what_a_capture_of_one_direction_lacks_was_not_captured_however_much_follows() {
    if !require_bpf() {
        return;
    }
    let mut transfer = Transfer::new();
    let (_, range) = transfer.take_out();
    let port = transfer.port;
    transfer.file.packets.retain(|packet| packet.ports()[0] == port);
    let request = format!("recv 0 {} wire wire-not-captured", REQUEST.len());
    transfer.check(range, "wire", "wire-not-captured", &[request], None);
}

/// The peer says that it lacks the bytes: they are sent again, when more has come than is kept for them.
#[test]
fn bytes_that_come_behind_more_than_is_kept_hit_a_bound() {
    if !require_bpf() {
        return;
    }
    let mut transfer = Transfer::new();
    let (packet, range) = transfer.take_out();
    let port = transfer.port;
    let before = transfer.offset(&packet) - range[0];
    let missing = packet.seq().wrapping_sub(before as u32);
    for other in transfer.file.packets.iter_mut().filter(|packet| packet.ports()[0] != port) {
        if !other.is_syn() && other.ack().wrapping_sub(missing) < 1 << 31 {
            other.acknowledge(missing);
        }
    }
    let last = transfer.file.packets.iter().rposition(|packet| packet.ports()[0] == port).unwrap();
    transfer.file.packets.insert(last, packet);
    transfer.check(range, "stream", "buffer-limit", &[], Some("200 GET /large"));
}
