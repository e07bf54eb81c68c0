//! Bytes that the vantages have, and do not agree on: real pairs of a recording and a capture, changed at known places.

mod common;

use common::noise::noise;
use common::pcap_file::{Packet, PcapFile};
use common::peer::Server;
use common::random::Random;
use common::report::{Report, findings_of};
use common::watcher::Watcher;
use common::wire::Wire;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the demo: real traffic, served by the traced process.
fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(name)
}

/// The capture with some of its packets sent again a little later, with other bytes in them, or with other bytes where they
/// are; and where these are, by the client's port, in the words of the report.
fn contradict(random: &mut Random, path: &Path, again: bool) -> BTreeMap<u16, Vec<String>> {
    let cause = if again { "wire-overlap-differs" } else { "wire-content-differs" };
    let mut file = PcapFile::read(&demo("capture.pcap"));
    let mut first: BTreeMap<[u16; 2], u32> = BTreeMap::new();
    for packet in file.packets.iter().filter(|packet| packet.is_syn()) {
        first.insert(packet.ports(), packet.seq().wrapping_add(1));
    }
    let mut expected: BTreeMap<u16, Vec<(u8, u32, u32)>> = BTreeMap::new();
    let mut packets = Vec::new();
    for packet in &file.packets {
        packets.push(packet.clone());
        let payload = packet.payload();
        if payload.is_empty() || random.below(2) == 0 {
            continue;
        }
        let mut other = packet.clone();
        let from = random.below(payload.len());
        let to = from + 1 + random.below(payload.len() - from);
        for byte in &mut other.bytes[payload][from..to] {
            *byte ^= 0x55;
        }
        if !again {
            packets.pop();
        }
        packets.push(other);
        let offset = packet.seq().wrapping_sub(first[&packet.ports()]);
        let [source, destination] = packet.ports();
        // The server is traced: its client has the higher port here.
        let (client, order) = if source > destination { (source, 1) } else { (destination, 0) };
        expected.entry(client).or_default().push((order, offset + from as u32, offset + to as u32));
    }
    file.packets = packets;
    file.write(path);
    let words = |mut list: Vec<(u8, u32, u32)>| {
        list.sort_unstable();
        if !again {
            // Ranges that touch are one.
            list.dedup_by(|next, last| {
                let touches = next.0 == last.0 && next.1 <= last.2;
                last.2 = if touches { last.2.max(next.2) } else { last.2 };
                touches
            });
        }
        let way = |order| if order == 0 { "send" } else { "recv" };
        list.iter().map(|(order, from, to)| format!("{} {from} {to} wire {cause}", way(*order))).collect()
    };
    expected.into_iter().map(|(client, list)| (client, words(list))).collect()
}

/// The range in a finding's words.
fn span(finding: &str) -> [u64; 2] {
    let mut words = finding.split(' ').skip(1);
    [(); 2].map(|()| words.next().unwrap().parse().unwrap())
}

/// What is said of a changed capture is what was changed, in the report of `pcap-compare`.
fn check(again: bool) {
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("capture.pcap");
    let mut found = 0;
    for seed in 0..20 {
        let expected = contradict(&mut Random(seed), &capture, again);
        let files = [demo("recording.pcapng"), capture.clone()].map(|file| file.to_str().unwrap().to_owned());
        let output = Watcher::sockdbg(&["pcap-compare", &files[0], &files[1], "--format", "json"]).end();
        let report = Report::of(&output);
        assert_eq!((report.status, &report.summary["residual"]), (1, &0.into()));
        assert_eq!(report.summary["bytes_not_compared"], 0);
        for connection in &report.connections {
            let remote = connection["remote"].as_str().unwrap();
            let port = remote.rsplit(':').next().unwrap().parse().unwrap();
            let all = findings_of(connection);
            let actual: Vec<&String> = all.iter().filter(|one| one.contains("differs")).collect();
            // What sendfile moved is no payload of the process: there is nothing to compare.
            let unseen: Vec<[u64; 2]> =
                all.iter().filter(|one| one.contains("in-kernel")).map(|one| span(one)).collect();
            let is_seen = |one: &&String| {
                let [from, to] = span(one);
                again || unseen.iter().all(|gap| to <= gap[0] || gap[1] <= from)
            };
            let nothing = Vec::new();
            let expected: Vec<&String> =
                expected.get(&port).unwrap_or(&nothing).iter().filter(is_seen).collect();
            assert_eq!(actual, expected, "seed {seed}, port {port}");
            found += actual.len();
        }
    }
    assert!(found > 50, "{found} differences");
    let files = [demo("recording.pcapng"), capture].map(|file| file.to_str().unwrap().to_owned());
    let text =
        String::from_utf8(Watcher::sockdbg(&["pcap-compare", &files[0], &files[1]]).end().stdout).unwrap();
    let detail = match again {
        true => "sent again with other bytes; the first to arrive stand",
        false => "the other vantage has other bytes",
    };
    assert!(text.contains("differs") && text.contains(detail), "{text}");
}

#[test]
fn every_overlap_with_other_content_is_a_finding_with_its_range() {
    check(true);
}

#[test]
fn every_byte_that_differs_between_the_vantages_is_found() {
    check(false);
}

/// A log of strace tells the content of its calls, too.
#[test]
fn bytes_that_differ_from_those_of_a_log_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (log, capture) = (folder.path().join("strace.log"), folder.path().join("capture.pcap"));
    let nginx = Server::nginx(&noise(5000, 12), false);
    let port = nginx.address.port();
    let wire = Wire::begin(&capture, port, &[]);
    let url = format!("http://{}/body", nginx.address);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "-yy", "-xx", "-s", "1000000", "-e", "trace=%network,%desc", "-o"]).arg(&log);
    let fetched = strace.args(["curl", "-s", "-o", "/dev/null", &url]).output().unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    nginx.end();
    wire.end();
    let compare = || {
        let files = [&log, &capture].map(|file| file.to_str().unwrap());
        Report::of(&Watcher::sockdbg(&["pcap-compare", files[0], files[1], "--format", "json"]).end())
    };
    let report = compare();
    report.assert_complete();
    assert_eq!(findings_of(report.with_peer(port)), [""; 0]);
    let mut file = PcapFile::read(&capture);
    let is_syn = |packet: &&Packet| packet.ports()[0] == port && packet.is_syn();
    let first = file.packets.iter().find(is_syn).unwrap().seq().wrapping_add(1);
    let is_long = |packet: &&mut Packet| packet.ports()[0] == port && packet.payload().len() > 1000;
    let packet = file.packets.iter_mut().find(is_long).unwrap();
    let from = packet.seq().wrapping_sub(first) + 500;
    let place = packet.payload().start + 500;
    packet.bytes[place..place + 7].iter_mut().for_each(|byte| *byte ^= 0x55);
    file.write(&capture);
    let report = compare();
    assert_eq!(report.summary["verdict"], "incomplete");
    let expected = [format!("recv {from} {} wire wire-content-differs", from + 7)];
    assert_eq!(findings_of(report.with_peer(port)), expected);
}
