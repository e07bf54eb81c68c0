//! The JSON of tshark against the capture that it was made of: the same events, whatever form it has.
//!
//! tshark runs in the test, on captures that nobody of this project wrote (captures/README.md).

mod common;

use common::captures;
use common::packets::{ACK, FIN, RST, SYN, ip, pcap, tcp};
use common::random::Random;
use common::tshark::{Form, tshark};
use sha2::{Digest, Sha256};
use sockdbg::event::{Cause, ConnId, Event, Kind, Opened};
use sockdbg::source::{self, Error, Summary};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Runs a file as a capture.
fn run(path: &Path, mut each: impl FnMut(&Event<'_>)) -> Result<Summary, Error> {
    source::open_capture(path)?.run(&mut |event| {
        each(event);
        ControlFlow::Continue(())
    })
}

/// The events as text, and the summary.
fn lines(path: &Path) -> Result<(Vec<String>, Summary), Error> {
    let mut lines = Vec::new();
    let summary = run(path, |event| lines.push(format!("{event:?}")))?;
    Ok((lines, summary))
}

/// A file with the given content, for the life of the test.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// Captures of a protocol, by name.
fn files(protocol: &str) -> Vec<String> {
    let names = std::fs::read_dir(captures::folder().join(protocol)).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_capture = |name: &String| name.ends_with(".pcap") || name.ends_with(".pcapng");
    let mut files: Vec<_> = names.filter(is_capture).map(|name| format!("{protocol}/{name}")).collect();
    files.sort();
    files
}

/// Where IP claims more bytes than the frame has, tshark shows those that are there. The layers tell the
/// claim too; a list of fields, as it is made here, does not.
const OVERSTATED: &[&str] = &[
    "link/zeek--pppoe-over-qinq.pcap",
    "tcp/deepflow--xiangdao-retrans.pcap",
    "tcp/ndpi--reasm_crash_anon.pcapng",
    "tcp/zeek--tcp--reassembly.pcap",
];

/// tshark puts IP fragments together, and shows the whole with the last of them.
const FRAGMENTED: &str = "link/zeek--ipv4--fragmented-4.pcap";

/// The same fragments with the same identification, six times: a capture takes the later ones for copies.
const REPEATED: &str = "link/deepflow--ip-fragment.pcap";

/// tshark looks behind the headers of Cisco's FabricPath, which are not read in a capture: each packet is in this one with
/// and without.
const FABRIC_PATH: &str = "link/zeek--cisco-fabric-path.pcap";

/// True for a capture that tshark is known to read otherwise, for the reasons above.
fn is_read_otherwise(file: &str) -> bool {
    [FRAGMENTED, REPEATED, FABRIC_PATH].contains(&file) || OVERSTATED.contains(&file)
}

#[test]
fn what_tshark_alone_sees_is_in_its_json() {
    let scratch = Scratch::new();
    for (file, of_capture, of_json) in [(REPEATED, 1, 6), (FABRIC_PATH, 16, 24)] {
        let path = captures::folder().join(file);
        let json = scratch.file("x.json", tshark(&path, &Form::Ek.args()));
        assert_eq!((datagrams(&path).0.len(), datagrams(&json).0.len()), (of_capture, of_json), "{file}");
    }
}

#[test]
fn a_claim_of_ip_beyond_the_frame_is_in_the_layers_only() {
    let scratch = Scratch::new();
    for file in OVERSTATED {
        let path = captures::folder().join(file);
        let (expected, _) = lines(&path).unwrap();
        for form in [Form::Json, Form::Ek, Form::Merged] {
            let json = scratch.file("x.json", tshark(&path, &form.args()));
            assert!(lines(&json).unwrap().0 == expected, "{file} {form:?}");
        }
        let json = scratch.file("x.json", tshark(&path, &Form::Fields.args()));
        assert!(lines(&json).unwrap().0 != expected, "{file}: a list tells what it did not");
    }
}

#[test]
fn fragments_are_put_together_by_both() {
    let path = captures::folder().join(FRAGMENTED);
    let json = Scratch::new();
    let json = json.file("x.json", tshark(&path, &Form::Json.args()));
    let sum = |path: &Path| streams(path).0.values().flatten().map(|stream| stream.0).sum::<usize>();
    // streams.tsv has 69 bytes for the direction that came in fragments.
    assert_eq!((sum(&json), sum(&path) >= 69), (sum(&path), true));
}

/// Every capture in one form; which one goes round.
#[test]
fn every_capture_gives_the_same_events_as_its_json() {
    let all: Vec<String> = ["tcp", "link", "redis", "dns"].iter().flat_map(|folder| files(folder)).collect();
    let queue = Mutex::new(all.iter().zip(Form::WHOLE.iter().cycle()));
    let (compared, wrong) = (Mutex::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let scratch = Scratch::new();
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some((file, form)) = next else { break };
                    let path = captures::folder().join(file);
                    // Some are of link types that are not read; the pcap source's own tests say which.
                    let Ok((expected, _)) = lines(&path) else { continue };
                    if expected.is_empty() || is_read_otherwise(file) {
                        continue;
                    }
                    let json = scratch.file("x.json", tshark(&path, &form.args()));
                    let (found, _) = lines(&json).unwrap_or_else(|error| panic!("{file} {form:?}: {error}"));
                    *compared.lock().unwrap() += 1;
                    if found != expected {
                        wrong.lock().unwrap().push(format!("{file} {form:?}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let compared = compared.into_inner().unwrap();
    assert!(compared >= 110, "only {compared} captures had events to compare");
}

/// Some of every kind: a gap, IPv6, VLAN, cut packets, IP in IP, no handshake, disorder, both ends of time.
const SAMPLES: &[&str] = &[
    "http/zeek--http--entity_gap.pcap",
    "http/zeek--http--byteranges.pcap",
    "link/deepflow--common--ipip.pcap",
    "link/ndpi--6in4tunnel.pcap",
    "link/zeek--vlan-collisions.pcap",
    "link/pcapfileex--new_test.pcap",
    "link/pcpp--nanosecs_big_endian.pcap",
    "dns/dnscap--dns.pcap",
    "redis/deepflow--redis--redis.pcap",
    "tls/ndpi--tls_2_reasms.pcapng",
    "tls/ndpi--http_ipv6.pcap",
];

#[test]
fn every_form_gives_the_same_events() {
    let scratch = Scratch::new();
    for sample in SAMPLES {
        let path = captures::folder().join(sample);
        let (expected, _) = lines(&path).unwrap();
        for form in Form::WHOLE {
            let json = scratch.file("x.json", tshark(&path, &form.args()));
            let (found, summary) = lines(&json).unwrap();
            let same = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
            assert!(
                found == expected,
                "{sample} {form:?}, event {same}:\n{:?}\n{:?}",
                found.get(same),
                expected.get(same)
            );
            assert_eq!(summary.cut, None, "{sample} {form:?}");
        }
    }
}

/// Source and destination, length, the payload that is there, and why the rest is not.
type Datagram = (String, u64, Vec<u8>, Option<Cause>);

/// The datagrams of a file.
fn datagrams(path: &Path) -> (Vec<Datagram>, Summary) {
    let mut names: BTreeMap<ConnId, [String; 2]> = BTreeMap::new();
    let mut datagrams = Vec::new();
    let summary = run(path, |event| match &event.kind {
        Kind::Open(open) if !open.transport.is_stream() => {
            let (client, server) = (open.local.unwrap(), open.remote.unwrap());
            names.insert(event.conn, [format!("{client} -> {server}"), format!("{server} -> {client}")]);
        }
        Kind::Data(data) => {
            if let Some(names) = names.get(&event.conn) {
                let ends = names[data.direction.index()].clone();
                datagrams.push((ends, data.length, data.payload.to_vec(), data.cause));
            }
        }
        _ => {}
    });
    (datagrams, summary.unwrap())
}

/// `-e ip.src -e ip.dst -e udp.srcport -e udp.dstport`, and the payload by one name or the other.
#[test]
fn addresses_ports_and_payload_are_enough_for_datagrams() {
    let scratch = Scratch::new();
    for file in ["dns/dnscap--dns.pcap", "dns/dnscap--vlan11.pcap", "dns/ndpi--dns_exfiltration.pcap"] {
        let path = captures::folder().join(file);
        let (expected, _) = datagrams(&path);
        assert!(expected.len() > 80 && expected.iter().all(|one| one.3.is_none()), "{file}");
        for format in ["json", "ek"] {
            for payload in ["udp.payload", "data", "data.data"] {
                let fields = "-e ip.src -e ip.dst -e udp.srcport -e udp.dstport -e";
                let mut args = vec!["-T", format];
                args.extend(fields.split(' '));
                // Nobody dissects it, so it is data.
                args.extend([payload, "-d", "udp.port==53,data"]);
                let (found, summary) = datagrams(&scratch.file("x.json", tshark(&path, &args)));
                assert_eq!(found, expected, "{file} {format} {payload}");
                let lacks = ["lacks udp.length: a datagram that was cut looks whole", "lacks ip.id"];
                assert_lacks(&summary, &lacks);
                // `-T ek` has a time of its own.
                let untimed = summary.warnings.join("\n").contains("lacks frame.time_epoch");
                assert_eq!((untimed, summary.streams_only), (format == "json", false));
            }
        }
    }
}

#[test]
fn datagrams_without_payload_have_their_lengths() {
    let scratch = Scratch::new();
    let path = captures::folder().join("dns/dnscap--dns.pcap");
    let (expected, _) = datagrams(&path);
    let fields = "-T json -e ip.src -e ip.dst -e ip.id -e udp.srcport -e udp.dstport -e udp.length -e frame.time_epoch";
    let args: Vec<&str> = fields.split(' ').collect();
    let (found, summary) = datagrams(&scratch.file("x.json", tshark(&path, &args)));
    let left_out = |one: &(String, u64, Vec<u8>, Option<Cause>)| {
        (one.0.clone(), one.1, Vec::new(), Some(Cause::WirePayloadLeftOut))
    };
    assert_eq!(found, expected.iter().map(left_out).collect::<Vec<_>>());
    assert_lacks(&summary, &["lacks udp.payload: datagrams are told by their lengths alone"]);
    // A snap length is told from payload that was left out.
    let cut = scratch.0.path().join("cut.pcap");
    let editcap = std::process::Command::new("editcap").args(["-s", "60"]).arg(&path).arg(&cut).status();
    assert!(editcap.expect("editcap has to be installed (package wireshark-common)").success());
    let (expected, _) = datagrams(&cut);
    assert!(expected.iter().all(|one| one.3 == Some(Cause::WireSnaplen) && one.2.len() == 18));
    for form in Form::WHOLE {
        let json = scratch.file("x.json", tshark(&cut, &form.args()));
        assert_eq!(datagrams(&json).0, expected, "{form:?}");
    }
}

#[test]
fn datagrams_that_can_t_be_compared_are_refused_or_counted_with_what_they_lack() {
    let scratch = Scratch::new();
    let path = captures::folder().join("dns/dnscap--dns.pcap");
    for (fields, lacks) in [
        (
            "-e udp.srcport -e udp.dstport -e udp.payload",
            "lacks ip.src and ip.dst (or ipv6.src and ipv6.dst)",
        ),
        ("-e ip.src -e ip.dst -e udp.length -e udp.payload", "lacks udp.srcport and udp.dstport"),
        ("-e ip.addr -e udp.port", "lacks udp.length and udp.payload"),
        ("-e ip.src -e frame.protocols", "lacks udp.srcport and udp.dstport"),
    ] {
        let args = [vec!["-T", "json"], fields.split(' ').collect()].concat();
        let message = refusal(&scratch.file("x.json", tshark(&path, &args)));
        assert!(message.contains(lacks) && message.contains("run: tshark -r CAPTURE"), "{message}");
    }
    // Fields of TCP alone: the protocols tell that datagrams were there.
    let mixed = captures::folder().join("link/zeek--wikipedia.pcap");
    let args = [&Form::Few.args()[..], &["-e", "frame.protocols"]].concat();
    let (found, summary) = datagrams(&scratch.file("x.json", tshark(&mixed, &args)));
    assert_eq!((found.len(), summary.streams_only), (0, true));
    assert_lacks(&summary, &["UDP datagrams not read: they lack udp.srcport and udp.dstport"]);
}

/// Length and digest of what is known of each direction of TCP that has bytes, by its ends.
fn streams(path: &Path) -> (BTreeMap<String, Vec<(usize, String)>>, Summary) {
    let mut names: BTreeMap<ConnId, [String; 2]> = BTreeMap::new();
    let mut bytes: BTreeMap<(ConnId, usize), BTreeMap<u64, u8>> = BTreeMap::new();
    let summary = run(path, |event| match &event.kind {
        Kind::Open(open) if open.transport.is_stream() => {
            let (client, server) = (open.local.unwrap(), open.remote.unwrap());
            names.insert(event.conn, [format!("{client} -> {server}"), format!("{server} -> {client}")]);
        }
        Kind::Data(data) if names.contains_key(&event.conn) => {
            let stream = bytes.entry((event.conn, data.direction.index())).or_default();
            for (offset, &byte) in (data.offset..).zip(data.payload) {
                stream.entry(offset).or_insert(byte);
            }
        }
        _ => {}
    });
    let mut streams: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    for ((conn, direction), stream) in bytes.into_iter().filter(|(_, stream)| !stream.is_empty()) {
        let known: Vec<u8> = stream.into_values().collect();
        let digest = Sha256::digest(&known).iter().map(|byte| format!("{byte:02x}")).collect();
        streams.entry(names[&conn][direction].clone()).or_default().push((known.len(), digest));
    }
    (streams, summary.unwrap())
}

/// What the summary of a run complains of has to have each of `words`.
fn assert_lacks(summary: &Summary, words: &[&str]) {
    let warnings = summary.warnings.join("\n");
    for word in words {
        assert!(warnings.contains(word), "{word:?} is not in: {warnings}");
    }
    assert!(warnings.contains("run: tshark -r CAPTURE"), "{warnings}");
}

#[test]
fn addresses_ports_number_length_and_payload_are_enough_for_the_streams() {
    let scratch = Scratch::new();
    for sample in [
        "http/zeek--http--entity_gap.pcap",
        "link/zeek--vlan-collisions.pcap",
        "redis/deepflow--redis--redis.pcap",
    ] {
        let path = captures::folder().join(sample);
        let json = scratch.file("x.json", tshark(&path, &Form::Few.args()));
        let (found, summary) = streams(&json);
        assert_eq!(found, streams(&path).0, "{sample}");
        assert_lacks(&summary, &["lacks tcp.ack_raw", "lacks tcp.flags", "lacks frame.time_epoch"]);
    }
}

/// `-e ip -e tcp -e data`: the summaries of the layers, and the payload where no dissector took it.
#[test]
fn summaries_and_undissected_data_give_the_streams() {
    let path = captures::folder().join("http/zeek--http--entity_gap.pcap");
    let scratch = Scratch::new();
    for form in [Form::Summaries, Form::EkSummaries] {
        let undissected = [form.args(), vec!["-d", "tcp.port==80,data"]].concat();
        let json = scratch.file("x.json", tshark(&path, &undissected));
        let (found, summary) = streams(&json);
        assert_eq!(found, streams(&path).0);
        assert_lacks(&summary, &["lacks tcp.seq_raw", "lacks tcp.flags"]);
        run(&json, |event| match &event.kind {
            Kind::Open(open) => {
                assert_eq!(open.opened, Opened::Fresh);
                assert!(open.start.iter().all(|start| start.seq.is_none()), "{event:?}");
            }
            Kind::Data(data) => assert_eq!(data.tcp_seq, None),
            _ => {}
        })
        .unwrap();
    }
}

#[test]
fn where_the_payload_is_left_out_its_length_stays() {
    let path = captures::folder().join("http/zeek--http--entity_gap.pcap");
    let mut expected = Vec::new();
    run(&path, |event| {
        if let Kind::Data(data) = &event.kind {
            expected.push((data.direction, data.range()));
        }
    })
    .unwrap();
    let scratch = Scratch::new();
    let form: Vec<&str> =
        "-T json -e ip.src -e ip.dst -e tcp.srcport -e tcp.dstport -e tcp.seq_raw -e tcp.ack_raw \
                           -e tcp.flags -e tcp.len -e frame.time"
            .split_whitespace()
            .collect();
    let json = scratch.file("x.json", tshark(&path, &form));
    let mut found = Vec::new();
    let summary = run(&json, |event| {
        if let Kind::Data(data) = &event.kind {
            found.push((data.direction, data.range()));
            let cause = (data.length > 0).then_some(Cause::WirePayloadLeftOut);
            assert_eq!((data.payload.len(), data.cause), (0, cause), "{event:?}");
        }
    });
    assert_eq!(found, expected);
    assert_lacks(&summary.unwrap(), &["lacks tcp.payload: content can't be compared"]);
}

/// A snap length is told from payload that was left out.
#[test]
fn packets_that_the_capture_cut_have_the_cause_of_the_capture() {
    let scratch = Scratch::new();
    let whole = captures::folder().join("http/zeek--http--entity_gap.pcap");
    for (snaplen, form) in
        [("100", Form::Json), ("54", Form::Ek), ("54", Form::Fields), ("100", Form::EkFields)]
    {
        let cut = scratch.0.path().join("cut.pcap");
        let editcap =
            std::process::Command::new("editcap").args(["-s", snaplen]).arg(&whole).arg(&cut).status();
        assert!(editcap.expect("editcap has to be installed (package wireshark-common)").success());
        let (expected, _) = lines(&cut).unwrap();
        assert!(expected.iter().any(|event| event.contains("WireSnaplen")));
        let json = scratch.file("x.json", tshark(&cut, &form.args()));
        assert_eq!(lines(&json).unwrap().0, expected, "{snaplen} {form:?}");
    }
}

/// Why a file can't be opened, or run to its end.
fn refusal(path: &Path) -> String {
    match lines(path) {
        Err(Error::Input(message)) => {
            let name = path.display().to_string();
            assert!(message.starts_with(&name) && !message.contains('\n'), "{message}");
            message
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn what_can_t_be_compared_at_all_is_refused_with_the_field_that_is_missing() {
    let scratch = Scratch::new();
    let path = captures::folder().join("http/zeek--http--entity_gap.pcap");
    for (fields, lacks) in [
        (
            "-e tcp.srcport -e tcp.dstport -e tcp.seq_raw -e tcp.len",
            "lacks ip.src and ip.dst (or ipv6.src and ipv6.dst)",
        ),
        ("-e ip.src -e ip.dst -e tcp.seq_raw -e tcp.len", "lacks tcp.srcport and tcp.dstport"),
        ("-e ip.src -e ip.dst -e tcp.srcport -e tcp.dstport -e tcp.len", "lacks tcp.seq_raw"),
        ("-e ip.addr -e tcp.port -e tcp.seq_raw", "lacks tcp.len and tcp.payload"),
    ] {
        for format in ["json", "ek"] {
            let args = [vec!["-T", format], fields.split(' ').collect()].concat();
            let message = refusal(&scratch.file("x.json", tshark(&path, &args)));
            assert!(message.contains(lacks) && message.contains("run: tshark -r CAPTURE"), "{message}");
        }
    }
    let message = refusal(&scratch.file("x.json", tshark(&path, &["-T", "jsonraw"])));
    assert!(message.contains("lacks"), "{message}");
}

/// A list of fields does not tell which addresses are within the other ones.
#[test]
fn ipv6_in_ipv4_needs_the_protocols() {
    let scratch = Scratch::new();
    let path = captures::folder().join("link/ndpi--6in4tunnel.pcap");
    let ipv6 = ["-e", "ipv6.src", "-e", "ipv6.dst"];
    let few = [&Form::Few.args()[..], &ipv6].concat();
    let message = refusal(&scratch.file("x.json", tshark(&path, &few)));
    assert!(
        message.contains("lacks frame.protocols, which tells IPv6 in IPv4 from the reverse"),
        "{message}"
    );
    let enough = [&few[..], &["-e", "frame.protocols"]].concat();
    let (found, _) = streams(&scratch.file("x.json", tshark(&path, &enough)));
    assert_eq!(found, streams(&path).0);
    assert!(found.keys().all(|ends| ends.starts_with('[')) && !found.is_empty(), "{found:?}");
}

/// The command that messages give has to give what they promise.
#[test]
fn the_command_in_the_messages_leaves_nothing_to_complain_of() {
    let scratch = Scratch::new();
    let path = captures::folder().join("link/pcapfileex--new_test.pcap");
    let message = refusal(&scratch.file("x.json", tshark(&path, &["-T", "json", "-e", "tcp.len"])));
    let (_, command) = message.split_once("run: tshark -r CAPTURE ").unwrap();
    let (args, _) = command.split_once(" > ").unwrap();
    let json = scratch.file("x.json", tshark(&path, &args.split(' ').collect::<Vec<_>>()));
    let ((found, summary), (expected, of_capture)) = (lines(&json).unwrap(), lines(&path).unwrap());
    assert_eq!(found, expected);
    assert_eq!(summary.warnings.len(), of_capture.warnings.len(), "{:?}", summary.warnings);
}

#[test]
fn other_json_and_other_text_are_refused_by_name() {
    let scratch = Scratch::new();
    let mut utf_16 = vec![0xff, 0xfe];
    utf_16.extend("[\r\n]".encode_utf16().flat_map(u16::to_le_bytes));
    let neither = b"is JSON, but not what `tshark -T json` or `tshark -T ek` writes";
    for (content, word) in [
        (&b"{\"log\": {\"entries\": []}}"[..], &neither[..]),
        (b"[1, 2]", neither),
        (b"[[]]", neither),
        (b"{\"_source\": {}}", neither),
        (b"{\"type\": \"data\", \"time\": \"x\"}", b"record with `sockdbg events -w`"),
        (b"{\"layers\": {\"ip.src\" []}}", b"damaged JSON in the object at byte 0"),
        (&utf_16, b"is UTF-16, as PowerShell writes"),
        (b"[pid 12] connect(3, ...", b"neither a capture"),
        (b"{hello}", b"neither a capture"),
    ] {
        let message = refusal(&scratch.file("x.json", content));
        assert!(message.contains(std::str::from_utf8(word).unwrap()), "{message}");
    }
}

#[test]
fn an_array_without_packets_is_an_empty_capture() {
    let scratch = Scratch::new();
    let path = captures::folder().join("http/zeek--http--entity_gap.pcap");
    let none = tshark(&path, &["-T", "json", "-Y", "frame.number==0"]);
    let (events, summary) = lines(&scratch.file("x.json", &none)).unwrap();
    assert_eq!((events.len(), summary.cut, summary.warnings.len()), (0, None, 0));
    // A byte order mark, as editors on Windows write it.
    let marked = [b"\xef\xbb\xbf", &none[..]].concat();
    assert_eq!(lines(&scratch.file("x.json", marked)).unwrap().0.len(), 0);
    let without = tshark(&path, &["-T", "json", "-e", "ip.src"]);
    let (_, summary) = lines(&scratch.file("x.json", without)).unwrap();
    assert_lacks(&summary, &["neither TCP nor UDP among"]);
}

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

/// An ICMP message holds the packet that it is about; that packet was not sent again.
#[test]
fn a_segment_quoted_by_icmp_and_an_inner_one_are_told_apart() {
    let hello = ip(6, CLIENT, SERVER, &tcp(40000, 9999, 1001, 5001, ACK, b"\x01hello"));
    let quote = [&[3, 3, 0, 0, 0, 0, 0, 0], &hello[..]].concat();
    let inner = ip(6, [1, 1, 1, 1], [2, 2, 2, 2], &tcp(41000, 9999, 77, 1, ACK, b"\x02inner"));
    let capture = pcap(&[
        ip(6, CLIENT, SERVER, &tcp(40000, 9999, 1000, 0, SYN, b"")),
        ip(1, SERVER, CLIENT, &quote),
        hello,
        ip(4, CLIENT, SERVER, &inner),
    ]);
    let scratch = Scratch::new();
    let path = scratch.file("x.pcap", capture);
    let (expected, _) = streams(&path);
    assert_eq!(expected.values().map(|streams| streams[0].0).collect::<Vec<_>>(), [6, 6]);
    for form in Form::WHOLE.into_iter().chain([Form::Few]) {
        let json = scratch.file("x.json", tshark(&path, &form.args()));
        assert_eq!(streams(&json).0, expected, "{form:?}");
    }
}

/// Relative numbers begin anew with each connection, also between the same ports.
#[test]
fn connections_of_the_same_ports_are_told_apart_by_relative_numbers() {
    let client =
        |seq, ack, flags, payload: &[u8]| ip(6, CLIENT, SERVER, &tcp(40000, 9999, seq, ack, flags, payload));
    let server =
        |seq, ack, flags, payload: &[u8]| ip(6, SERVER, CLIENT, &tcp(9999, 40000, seq, ack, flags, payload));
    let exchange = |first: u32, second: u32, text: &[u8]| {
        let after = first + 1 + text.len() as u32;
        [
            client(first, 0, SYN, b""),
            server(second, first + 1, SYN | ACK, b""),
            client(first + 1, second + 1, ACK, text),
            server(second + 1, after, FIN | ACK, b""),
            client(after, second + 2, FIN | ACK, b""),
            server(second + 2, after + 1, ACK, b""),
        ]
    };
    let refused = [client(7_000_000, 0, SYN, b""), server(0, 7_000_001, RST | ACK, b"")];
    let packets: Vec<Vec<u8>> = [
        &exchange(1_000_000_000, 2_000_000_000, b"\x01first")[..],
        &refused,
        &exchange(3_000_000_000, 4_000_000_000, b"\x02second"),
    ]
    .concat();
    let scratch = Scratch::new();
    let path = scratch.file("x.pcap", pcap(&packets));
    let (expected, _) = streams(&path);
    assert_eq!(expected["10.0.0.1:40000 -> 10.0.0.2:9999"].len(), 2);
    let listed =
        "-T json -e ip.addr -e tcp.port -e tcp.seq -e tcp.ack -e tcp.len -e tcp.flags.str -e tcp.payload";
    for args in [Form::Summaries.args(), Form::EkSummaries.args(), listed.split(' ').collect()] {
        let json = scratch.file("x.json", tshark(&path, &args));
        assert_eq!(streams(&json).0, expected, "{args:?}");
    }
    // Without relative numbers, tcp.seq is as good as tcp.seq_raw.
    let absolute = [
        listed.split(' ').collect(),
        vec!["-o", "tcp.relative_sequence_numbers:FALSE", "-e", "frame.time_epoch"],
    ]
    .concat();
    let json = scratch.file("x.json", tshark(&path, &absolute));
    assert_eq!(lines(&json).unwrap().0, lines(&path).unwrap().0);
}

#[test]
fn json_cut_anywhere_gives_the_same_events_up_to_there() {
    let scratch = Scratch::new();
    let path = captures::folder().join("http/zeek--http--entity_gap.pcap");
    let mut random = Random(1);
    for form in [Form::Json, Form::EkBytes, Form::Fields] {
        let json = tshark(&path, &form.args());
        let (whole, _) = lines(&scratch.file("x.json", &json)).unwrap();
        let mut kept = 0;
        for _ in 0..60 {
            let length = 1 + random.below(json.len() - 3);
            let (events, summary) = lines(&scratch.file("x.json", &json[..length])).unwrap();
            let same = events.iter().zip(&whole).take_while(|(cut, whole)| cut == whole).count();
            let ends = |event: &String| event.contains("kind: Close") || event.contains("kind: Loss");
            // A SYN whose answer is cut off: what the answer would have told is not known.
            let unanswered = |event: &String| event.contains("kind: Open") && event.contains("seq: None");
            let rest = &events[same..];
            let rest = if rest.first().is_some_and(unanswered) { &rest[1..] } else { rest };
            assert!(rest.iter().all(ends), "{form:?} cut at {length}: {rest:?}");
            // Lines that follow each other end properly after each of them.
            let complete = form == Form::EkBytes && json[..length].trim_ascii_end().ends_with(b"}}");
            assert!(summary.cut.is_some() || complete, "{form:?} cut at {length}");
            kept = kept.max(same);
        }
        assert!(kept > whole.len() / 2, "{form:?}: of {} events at most {kept} were kept", whole.len());
    }
}

#[test]
fn damaged_json_neither_panics_nor_breaks_the_order_of_events() {
    let scratch = Scratch::new();
    let path = captures::folder().join("http/zeek--http--entity_gap.pcap");
    let mut random = Random(2);
    let mut read = 0;
    for form in [Form::Ek, Form::Fields, Form::Summaries, Form::JsonBytes] {
        let json = tshark(&path, &form.args());
        for _ in 0..80 {
            let mut damaged = json.clone();
            for _ in 0..1 + random.below(20) {
                let at = random.below(damaged.len());
                // Digits more often than not: they leave the JSON valid, and the values wild.
                damaged[at] =
                    if random.below(3) > 0 { b'0' + random.below(10) as u8 } else { random.below(256) as u8 };
            }
            let mut open: BTreeMap<ConnId, bool> = BTreeMap::new();
            let result = run(&scratch.file("x.json", &damaged), |event| match event.kind {
                Kind::Open(_) => assert_eq!(open.insert(event.conn, true), None, "{event:?}"),
                Kind::Close(_) => assert_eq!(open.insert(event.conn, false), Some(true), "{event:?}"),
                _ => assert_eq!(open.get(&event.conn), Some(&true), "{event:?}"),
            });
            match result {
                Ok(_) => read += 1,
                Err(Error::Input(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(read > 100, "only {read} of 320 damaged files were read");
}

/// Values that no packet has.
#[test]
fn wild_values_are_counted_and_cost_nothing() {
    let scratch = Scratch::new();
    let packet = |length: &str| {
        format!(
            r#"{{"layers":{{"ip_src":["10.0.0.1"],"ip_dst":["10.0.0.2"],"tcp_port":["1","2"],"tcp_seq_raw":["1"],
               "tcp_ack_raw":["0"],"tcp_flags":["0x18"],"tcp_len":["{length}"],"tcp_payload":["6"]}}}}"#
        )
    };
    let text =
        format!("{}\n{}\n{}", packet("1"), packet("18446744073709551615"), packet("99999999999999999999"));
    let (_, summary) = lines(&scratch.file("x.json", text)).unwrap();
    let warnings = summary.warnings.join("\n");
    assert!(warnings.contains("1 TCP segments not read: their numbers can't be true"), "{warnings}");
}
