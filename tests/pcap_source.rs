//! The capture source against captures that nobody of this project wrote, with tshark's reassembly of
//! them as the truth (captures/README.md).

mod common;

use common::captures;
use common::random::Random;
use sha2::{Digest, Sha256};
use sockdbg::event::{Cause, CloseReason, ConnId, Event, Kind, Opened, Range};
use sockdbg::source::pcap::{Capture, Options};
use sockdbg::source::{Error, Source, Summary};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn run(path: &Path, mut each: impl FnMut(&Event<'_>)) -> Result<Summary, Error> {
    Capture::open(path, Options::default())?.run(&mut |event| {
        each(event);
        ControlFlow::Continue(())
    })
}

/// One direction, put together in the plainest way: the first to claim a byte wins.
#[derive(Default)]
struct Stream {
    bytes: BTreeMap<u64, u8>,
    /// What the capture lacks, though it ran when the bytes were sent.
    lost: Vec<Range>,
    /// What may have been sent before it began.
    early: Vec<Range>,
}

impl Stream {
    fn data(&mut self, offset: u64, payload: &[u8]) {
        for (offset, &byte) in (offset..).zip(payload) {
            if !self.lost.iter().any(|range| range.from <= offset && offset < range.to) {
                self.bytes.entry(offset).or_insert(byte);
            }
        }
    }

    fn known(&self) -> Vec<u8> {
        self.bytes.values().copied().collect()
    }

    /// Lost bytes before, and after, the last byte seen.
    fn missing(&self) -> (u64, u64) {
        let end = self.bytes.last_key_value().map_or(0, |(&last, _)| last + 1);
        let (inside, tail): (Vec<Range>, Vec<Range>) = self.lost.iter().partition(|range| range.to <= end);
        let sum = |ranges: Vec<Range>| ranges.iter().map(|range| range.len()).sum();
        (sum(inside), sum(tail))
    }
}

#[derive(Default)]
struct Flow {
    /// `client -> server`, `server -> client`.
    names: [String; 2],
    streams: [Stream; 2],
    opened: Option<Opened>,
    closed: Option<CloseReason>,
}

impl Flow {
    /// The direction called `name`.
    fn stream(&self, name: &str) -> Option<&Stream> {
        let index = self.names.iter().position(|candidate| candidate == name)?;
        Some(&self.streams[index])
    }
}

/// Follows the events of a capture and asserts what holds for every one of them.
fn flows(path: &Path) -> Result<(Vec<Flow>, Summary), Error> {
    let mut flows: BTreeMap<ConnId, Flow> = BTreeMap::new();
    let summary = run(path, |event| {
        let context = || format!("{}: {event:?}", path.display());
        let flow = flows.entry(event.conn).or_default();
        assert!(flow.closed.is_none(), "after the end: {}", context());
        assert!(flow.opened.is_some() || matches!(event.kind, Kind::Open(_)), "no open: {}", context());
        match &event.kind {
            Kind::Open(open) => {
                let (client, server) = (open.local.unwrap(), open.remote.unwrap());
                flow.names = [format!("{client} -> {server}"), format!("{server} -> {client}")];
                assert!(flow.opened.replace(open.opened).is_none(), "opened twice: {}", context());
            }
            Kind::Data(data) => {
                assert_eq!(data.cause.is_some(), (data.payload.len() as u64) < data.length, "{}", context());
                flow.streams[data.direction.index()].data(data.offset, data.payload);
            }
            Kind::Loss(loss) => {
                let stream = &mut flow.streams[loss.direction.index()];
                let twice = stream.lost.iter().any(|range| range.intersection(loss.range).is_some());
                let twice =
                    twice || stream.early.iter().any(|range| range.intersection(loss.range).is_some());
                assert!(!twice && !loss.range.is_empty(), "lost twice: {}", context());
                let had = stream.bytes.range(loss.range.from..loss.range.to).count();
                assert_eq!(had, 0, "lost, though seen: {}", context());
                match loss.cause {
                    Cause::WireNotCaptured => stream.lost.push(loss.range),
                    Cause::WireStartedLate => stream.early.push(loss.range),
                    _ => panic!("{}", context()),
                }
            }
            Kind::Close(close) => flow.closed = Some(close.reason),
        }
    })?;
    assert!(flows.values().all(|flow| flow.closed.is_some()));
    Ok((flows.into_values().collect(), summary))
}

struct Row {
    stream: u32,
    direction: String,
    bytes: u64,
    sha256: String,
    missing: u64,
    same: bool,
}

fn rows() -> BTreeMap<String, Vec<Row>> {
    let table = std::fs::read_to_string(captures::folder().join("streams.tsv")).unwrap();
    let mut rows: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let field: Vec<&str> = line.split('\t').collect();
        rows.entry(field[0].to_string()).or_default().push(Row {
            stream: field[1].parse().unwrap(),
            direction: field[2].to_string(),
            bytes: field[3].parse().unwrap(),
            sha256: field[4].to_string(),
            missing: field[6].parse().unwrap(),
            same: field[8] == "same",
        });
    }
    rows
}

/// Why our answer for a direction is another than tshark's.
const ACKNOWLEDGED: &str = "the peer acknowledges 44 bytes, 300 s after an acknowledgement without them and 300 s before \
     the first byte seen: they were sent while the capture ran; tshark begins at the first byte seen";
const KEEP_ALIVE: &str = "the first packet is a keep-alive without data, whose number is one before the next byte: its \
     answer acknowledges the next number; tshark takes the number before it for a byte that is missing";

/// Bytes, and missing bytes before the last one.
type Amounts = (u64, u64);

/// File, stream, our bytes and missing bytes per direction that differs in the order of streams.tsv, reason.
#[rustfmt::skip]
const DIFFERENT: &[(&str, u32, &[Amounts], &str)] = &[
    ("kafka/ndpi--kafka.pcap", 1, &[(44, 44)], ACKNOWLEDGED),
    ("mysql/deepflow--mysql--mysql-statement.pcap", 1, &[(31, 0)], KEEP_ALIVE),
    ("mysql/deepflow--mysql--mysql-statement.pcap", 3, &[(75, 0)], KEEP_ALIVE),
    ("mysql/deepflow--mysql--mysql-statement.pcap", 4, &[(31, 0)], KEEP_ALIVE),
    ("mysql/deepflow--mysql--mysql-statement.pcap", 7, &[(48, 0)], KEEP_ALIVE),
    ("mysql/deepflow--mysql--mysql-statement.pcap", 8, &[(48, 0)], KEEP_ALIVE),
    ("mysql/deepflow--mysql--mysql-statement.pcap", 9, &[(75, 0)], KEEP_ALIVE),
    ("mysql/deepflow--mysql--mysql-statement.pcap", 10, &[(283, 0)], KEEP_ALIVE),
];

/// Files that can't be read, with words of the message.
const REFUSED: &[(&str, &str)] = &[
    ("format/libpcap--pcap-invalid-version-1.pcap", "unknown version 1.4"),
    ("link/pcpp--solaris.snoop", "Solaris snoop"),
];

fn refused(file: &str) -> Option<&'static str> {
    REFUSED.iter().find(|row| row.0 == file).map(|row| row.1)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn streams_hold_the_bytes_that_tshark_finds() {
    let mut wrong = Vec::new();
    let mut ambiguous = 0;
    let mut different: BTreeMap<(&str, u32), Vec<Amounts>> = BTreeMap::new();
    let table = rows();
    for (file, rows) in &table {
        if refused(file).is_some() {
            continue;
        }
        let (flows, _) = flows(&captures::folder().join(file)).unwrap();
        // Flows of the same ends come in the same order in both.
        let mut next: BTreeMap<&str, usize> = BTreeMap::new();
        for row in rows {
            let number = next.entry(&row.direction).or_default();
            let empty = Stream::default();
            let stream =
                flows.iter().filter_map(|flow| flow.stream(&row.direction)).nth(*number).unwrap_or(&empty);
            *number += 1;
            let (known, (missing, _)) = (stream.known(), stream.missing());
            let bytes = known.len() as u64;
            let same = bytes == row.bytes && hex(&Sha256::digest(&known)) == row.sha256;
            if same && missing == row.missing {
                continue;
            }
            if !row.same {
                ambiguous += 1;
            } else if same && DIFFERENT.iter().any(|known| known.0 == file && known.1 == row.stream) {
                different.entry((file, row.stream)).or_default().push((bytes, missing));
            } else {
                let Row { stream, direction, bytes: truth, missing: lost, .. } = row;
                wrong.push(format!(
                    "{file} {stream} {direction}: {bytes} bytes, {missing} missing; tshark {truth}, {lost} missing"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    for (file, stream, expected, reason) in DIFFERENT {
        let seen = different.get(&(*file, *stream)).map(Vec::as_slice);
        assert_eq!(seen, Some(*expected), "{file} {stream} no longer differs as noted: {reason}");
    }
    assert!(ambiguous <= 6, "streams.tsv has 6 rows on whose truth two references disagree");
}

/// Bytes that were acknowledged after the last one seen: tshark's stream does not show them. The truth here is
/// the highest acknowledgement in `tshark -T fields -e tcp.ack_raw`, less the last byte or FIN that
/// `-e tcp.seq_raw -e tcp.len` show, and less 1 for a FIN that was acknowledged and not captured.
#[test]
fn bytes_acknowledged_after_the_last_one_seen_are_lost() {
    // One less than what is acknowledged where nothing tells whether the last number is that of a FIN (RFC 9293, 3.4).
    let table = [
        ("http/deepflow--http--client-ip.pcap", "192.168.2.1:54034 -> 192.168.10.37:8080", 307),
        ("http/suricata--http-async-srv.pcap", "127.0.0.1:50215 -> 127.0.0.1:8080", 80),
        ("kafka/ndpi--kafka.pcap", "172.16.17.101:49280 -> 172.30.0.237:9092", 43),
        ("link/zeek--raw_packets.pcap", "74.125.21.138:443 -> 192.168.1.103:49171", 59),
        ("mysql/pcpp--pkt--mysql.pcapng", "127.0.0.1:59463 -> 127.0.0.1:3306", 78),
        // All within 13 ms of the capture's beginning, of a sender who never shows: a late beginning does not explain that.
        ("tcp/deepflow--xiangdao-retrans.pcap", "10.191.12.14:44526 -> 10.191.0.179:6379", 1539),
        ("tcp/zeek--smtp-one-side-only.pcap", "192.150.186.11:25 -> 192.150.187.22:57722", 763),
        ("tls/ipfixprobe--tls.pcap", "192.168.0.228:52636 -> 54.226.148.116:443", 2529),
        ("tls/ndpi--tls_1.2_unidirectional_client.pcapng", "216.58.209.42:443 -> 192.168.12.156:43854", 5975),
        ("tls/ndpi--tls_2_reasms.pcapng", "25.137.80.32:38134 -> 192.91.186.174:443", 114),
    ];
    for (file, direction, tail) in table {
        let (flows, _) = flows(&captures::folder().join(file)).unwrap();
        let stream = flows.iter().find_map(|flow| flow.stream(direction)).unwrap();
        assert_eq!(stream.missing().1, tail, "{file} {direction}");
    }
}

/// Every file of a folder that is a capture, by its name.
fn files(folder: &str) -> Vec<String> {
    let names = std::fs::read_dir(captures::folder().join(folder)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = names
        .filter(|name| [".pcap", ".pcapng", ".snoop"].iter().any(|ending| name.ends_with(ending)))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[test]
fn every_format_and_link_type_opens_or_is_refused_by_name() {
    let mut refusals = Vec::new();
    for file in files("format").into_iter().chain(files("link")) {
        match (flows(&captures::folder().join(&file)), refused(&file)) {
            (Ok(_), None) => {}
            (Err(Error::Input(message)), Some(word)) => {
                let name = Path::new(&file).file_name().unwrap().to_str().unwrap();
                assert!(
                    message.contains(name) && message.contains(word) && !message.contains('\n'),
                    "{message}"
                );
            }
            (result, _) => refusals.push(format!("{file}: {:?}", result.map(|_| ()))),
        }
    }
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
}

#[test]
fn as_many_packets_are_read_as_capinfos_counts() {
    let table = std::fs::read_to_string(captures::folder().join("expected.tsv")).unwrap();
    let mut files = 0;
    for line in table.lines() {
        let field: Vec<&str> = line.split('\t').collect();
        if field[2] != "capinfos.packets" || refused(field[0]).is_some() {
            continue;
        }
        let mut capture = Capture::open(&captures::folder().join(field[0]), Options::default()).unwrap();
        capture
            .run(&mut |_| ControlFlow::Continue(()))
            .unwrap_or_else(|error| panic!("{}: {error}", field[0]));
        assert_eq!(capture.counts().packets.to_string(), field[3], "{}", field[0]);
        files += 1;
    }
    assert!(files > 600, "only {files} files in expected.tsv");
}

/// Why flows are others than tshark's.
const TEARDROP: &str = "the fragments contradict each other about where their packet ends, so it is none (RFC 791 has no such \
     packet); tshark shows one that is malformed";
const TEREDO: &str =
    "Teredo (RFC 4380) is not opened, its datagrams count as they are; tshark looks into them";

const TEREDO_OUTSIDE: &[&str] =
    &["udp 192.168.2.16:3797 65.55.158.80:3544", "udp 192.168.2.16:3797 65.55.158.81:3544"];
const TEREDO_INSIDE: &[&str] =
    &["udp [2001:0:4137:9e50:8000:f12a:b9c8:2815]:3797 [fe80::708d:fe83:4114:a512]:3544"];

/// Files whose flows are others than tshark's: those that only tshark has, those that only we have, the reason.
const OTHER_FLOWS: &[(&str, &[&str], &[&str], &str)] = &[
    ("link/zeek--ipv4--fragmented-1.pcap", &["udp 164.1.123.163:123 164.1.123.61:137"], &[], TEARDROP),
    ("link/zeek--tunnels--Teredo.pcap", TEREDO_INSIDE, TEREDO_OUTSIDE, TEREDO),
    ("link/zeek--tunnels--teredo_bubble_with_payload.pcap", TEREDO_INSIDE, TEREDO_OUTSIDE, TEREDO),
];

/// The flows of a capture, the lesser end first: those of TCP as often as they are, those of UDP once each.
fn own_flows(path: &Path) -> Result<Vec<String>, Error> {
    let mut flows = Vec::new();
    run(path, |event| {
        let Kind::Open(open) = &event.kind else { return };
        let [a, b] = [open.local, open.remote].map(|end| end.unwrap().to_string());
        flows.push(format!("{} {} {}", open.transport.name(), a.clone().min(b.clone()), a.max(b)));
    })?;
    flows.sort();
    // A pair of ends that is silent for long is two flows of UDP.
    flows.dedup_by(|a, b| a == b && a.starts_with("udp"));
    Ok(flows)
}

/// The same by tshark: `streams` of TCP as expected.tsv has them, and the innermost datagrams of each packet.
fn flows_of_tshark(path: &Path) -> Vec<String> {
    let fields = ["frame.protocols", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.stream", "tcp.srcport"];
    let fields = fields.iter().chain(&["tcp.dstport", "udp.srcport", "udp.dstport"]);
    let mut tshark = Command::new("tshark");
    tshark.arg("-2").arg("-r").arg(path).args(["-T", "fields"]).args(fields.flat_map(|field| ["-e", field]));
    // An error quotes a packet; of a tunnel only the inside counts.
    let filter = "(udp || tcp) && !icmp && !icmpv6";
    let output = tshark.args(["-Y", filter]).output().expect("tshark has to be installed (package tshark)");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut flows = BTreeSet::new();
    for line in text.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let last = |column: usize| columns[column].rsplit(',').next().unwrap();
        let layers: Vec<&str> = columns[0].split(':').collect();
        let place = |name: &str| layers.iter().rposition(|layer| *layer == name);
        let inner = place("tcp").max(place("udp")).expect("a packet of TCP or UDP");
        if layers[inner..].iter().any(|layer| ["vxlan", "geneve"].contains(layer)) {
            continue; // what is in it is neither TCP nor UDP
        }
        let is_tcp = layers[inner] == "tcp";
        let addresses = if place("ipv6") > place("ip") { [3, 4] } else { [1, 2] }.map(last);
        let ports = if is_tcp { [6, 7] } else { [8, 9] }.map(last);
        let end = |index: usize| match addresses[index].contains(':') {
            true => format!("[{}]:{}", addresses[index], ports[index]),
            false => format!("{}:{}", addresses[index], ports[index]),
        };
        let (name, number) = if is_tcp { ("tcp", last(5)) } else { ("udp", "") };
        flows.insert((format!("{name} {} {}", end(0).min(end(1)), end(0).max(end(1))), number.to_owned()));
    }
    flows.into_iter().map(|(flow, _)| flow).collect()
}

/// Every flow that tshark finds in a file is one of ours, and no other is.
#[test]
fn every_format_and_link_type_has_the_flows_that_tshark_finds() {
    let (mut wrong, mut found) = (Vec::new(), 0);
    for file in files("format").into_iter().chain(files("link")).filter(|file| refused(file).is_none()) {
        let path = captures::folder().join(&file);
        let (ours, theirs) = (own_flows(&path).unwrap(), flows_of_tshark(&path));
        let beyond = |some: &[String], others: &[String]| -> Vec<String> {
            let mut others = others.to_vec();
            let is_new = |flow: &&String| match others.iter().position(|other| other == *flow) {
                Some(index) => {
                    others.swap_remove(index);
                    false
                }
                None => true,
            };
            some.iter().filter(is_new).cloned().collect()
        };
        let differences = (beyond(&theirs, &ours), beyond(&ours, &theirs));
        found += ours.len();
        let known = OTHER_FLOWS.iter().find(|known| known.0 == file);
        let (theirs_alone, ours_alone, why) =
            known.map_or((&[][..], &[][..], "no reason is known"), |known| (known.1, known.2, known.3));
        if differences.0 != theirs_alone || differences.1 != ours_alone {
            wrong.push(format!(
                "{file}: tshark alone {:?}, sockdbg alone {:?} ({why})",
                differences.0, differences.1
            ));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(found > 200, "{found} flows");
}

const SAMPLES: &[&str] = &[
    "http/zeek--http--entity_gap.pcap",
    "tls/ndpi--tls_2_reasms.pcapng",
    "link/zeek--vlan-collisions.pcap",
    "link/pcpp--many_interfaces-1.pcapng",
    "link/pcpp--nanosecs_big_endian.pcap",
    "link/zeek--wikipedia.pcap",
    "format/pcapnggen--be--advanced--test101.pcapng",
];

fn write(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("cut.pcap");
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The events as text, and the summary.
fn lines(path: &Path) -> Result<(Vec<String>, Summary), Error> {
    let mut lines = Vec::new();
    let summary = run(path, |event| lines.push(format!("{event:?}")))?;
    Ok((lines, summary))
}

#[test]
fn a_capture_cut_anywhere_gives_the_same_events_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(1);
    let mut cuts = 0;
    for sample in SAMPLES {
        let bytes = std::fs::read(captures::folder().join(sample)).unwrap();
        let (whole, summary) = lines(&captures::folder().join(sample)).unwrap();
        assert_eq!(summary.cut, None, "{sample}");
        for _ in 0..60 {
            let length = random.below(bytes.len());
            let (events, summary) = match lines(&write(&folder, &bytes[..length])) {
                Ok(result) => result,
                Err(Error::Input(message)) => {
                    assert!(
                        length < 200 && message.contains("cut.pcap"),
                        "{sample} cut at {length}: {message}"
                    );
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let same = events.iter().zip(&whole).take_while(|(cut, whole)| cut == whole).count();
            // A SYN waits for its answer, until the file ends.
            let ends = |event: &String| {
                let is_unanswered = event.contains("kind: Open") && event.contains("seq: None");
                event.contains("kind: Close") || event.contains("kind: Loss") || is_unanswered
            };
            assert!(events[same..].iter().all(ends), "{sample} cut at {length}");
            if let Some(reason) = summary.cut {
                assert!(reason.ends_with(&format!("at byte {length}")), "{sample} cut at {length}: {reason}");
                cuts += 1;
            }
        }
    }
    assert!(cuts > 200, "only {cuts} cuts fell inside a packet");
}

#[test]
fn damaged_captures_neither_panic_nor_break_the_order_of_events() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random(2);
    for sample in SAMPLES {
        let bytes = std::fs::read(captures::folder().join(sample)).unwrap();
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random.below(20) {
                let at = 24 + random.below(damaged.len() - 24);
                damaged[at] = random.below(256) as u8;
            }
            let hole = random.below(damaged.len());
            damaged.drain(hole..(hole + random.below(100)).min(bytes.len()));
            // `flows` asserts: open first, nothing after the end, no byte lost twice, none lost that was seen.
            if let Err(Error::Attach(message)) = flows(&write(&folder, &damaged)) {
                panic!("{message}");
            }
        }
    }
}

#[test]
fn a_growing_capture_is_followed_to_its_end() {
    let bytes = std::fs::read(captures::folder().join(SAMPLES[0])).unwrap();
    let (whole, _) = lines(&captures::folder().join(SAMPLES[0])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // At first not even the header is there; the second piece ends inside a packet.
    let path = write(&folder, &bytes[..10]);
    let stop = Arc::new(AtomicBool::new(false));
    let (seen, first_event) = std::sync::mpsc::channel();
    let writer = std::thread::spawn({
        let (path, stop) = (path.clone(), stop.clone());
        move || {
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(&bytes[10..3001]).unwrap();
            first_event.recv_timeout(Duration::from_secs(20)).expect("an event of the first piece");
            file.write_all(&bytes[3001..]).unwrap();
            stop.store(true, Ordering::Release);
        }
    });
    let mut events = Vec::new();
    let summary = Capture::open(&path, Options { follow: Some(stop) }).unwrap().run(&mut |event| {
        events.push(format!("{event:?}"));
        let _ = seen.send(()); // the writer stops listening after the first
        ControlFlow::Continue(())
    });
    writer.join().unwrap();
    assert_eq!(summary.unwrap().cut, None);
    assert!(events == whole);
}

#[test]
fn a_sink_that_breaks_stops_the_source() {
    let mut events = 0;
    let mut capture = Capture::open(&captures::folder().join(SAMPLES[0]), Options::default()).unwrap();
    let summary = capture.run(&mut |_| {
        events += 1;
        if events == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(summary.is_ok());
    assert_eq!(events, 3);
}

/// Time stamps come in several resolutions, byte orders and offsets, one per interface.
#[test]
fn times_are_those_that_tshark_reads() {
    let files = [
        "format/pcapnggen--be--advanced--test100.pcapng",
        "format/pcapnggen--le--advanced--test101.pcapng",
        "format/pcapnggen--be--basic--test018.pcapng",
        "link/pcpp--nanosecs_big_endian.pcap",
        "link/pcapfileex--sample_multi_nanosecond.pcapng",
        "link/pcpp--many_interfaces-1.pcapng",
    ];
    for file in files {
        let path = captures::folder().join(file);
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(&path).args(["-T", "fields", "-e", "frame.time_epoch"]);
        let output = tshark.output().expect("tshark has to be installed (package tshark)");
        let text = String::from_utf8(output.stdout).unwrap();
        // A Simple Packet Block has no time.
        let times: Vec<u64> = text.lines().filter(|line| !line.is_empty()).map(nanoseconds).collect();
        let summary = run(&path, |_| {}).unwrap();
        assert_eq!(summary.last.map(|time| time.0), times.iter().max().copied(), "{file}");
        assert_eq!(summary.first.map(|time| time.0), times.iter().min().copied(), "{file}");
    }
}

/// Of seconds with nine decimals.
fn nanoseconds(seconds: &str) -> u64 {
    let (seconds, fraction) = seconds.split_once('.').unwrap();
    assert_eq!(fraction.len(), 9);
    seconds.parse::<u64>().unwrap() * 1_000_000_000 + fraction.parse::<u64>().unwrap()
}
