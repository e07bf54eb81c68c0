//! The capture in a bundle (`--bundle`): exactly the packets of the connections that the report is about, as they came, with
//! what tshark finds as the truth; and the same report of them.

mod common;

use common::captures;
use common::report::Report;
use common::watcher::{Watcher, program};
use serde_json::Value;
use sockdbg::event::{Call, Close, CloseReason, Comm, ConnId, Data, Event, Kind, Open, Task, Transport};
use sockdbg::output::recording::Writer;
use sockdbg::source::pcap::{Capture, Options};
use sockdbg::source::{Source, Summary};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Captures with fragments (IPv4, IPv6, out of order), tunnels (GRE, ERSPAN, VXLAN, Geneve, IPIP, 6in4, 4in6), tags (VLAN,
/// QinQ, MPLS), several link types, TCP and UDP.
const CAPTURES: &[&str] = &[
    "dns/dnscap--frags.pcap",
    "link/arkime--gre-erspan-vxlan.pcap",
    "link/deepflow--common--ipip.pcap",
    "link/ndpi--4in6tunnel.pcap",
    "link/ndpi--6in4tunnel.pcap",
    "link/ndpi--vxlan.pcap",
    "link/pcpp--ip4_fragments.pcap",
    "link/pcpp--many_interfaces-1.pcapng",
    "link/pcpp--nanosecs_big_endian.pcap",
    "link/pcpp--null_loopback.pcap",
    "link/pcpp--pkt--nflogPacket.pcap",
    "link/pcpp--sll2.pcap",
    "link/zeek--http-qinq-0.pcap",
    "link/zeek--ipv4--fragmented-1.pcap",
    "link/zeek--ipv4--fragmented-2.pcap",
    "link/zeek--ipv4--fragmented-4.pcap",
    "link/zeek--ipv4--fragmented-syn.pcap",
    "link/zeek--mixed-vlan-mpls.pcap",
    "link/zeek--raw_packets.pcap",
    "link/zeek--tunnels--geneve.pcap",
    "link/zeek--tunnels--gre-sample.pcap",
    "link/zeek--vlan-collisions.pcap",
    "link/zeek--wikipedia.pcap",
    "tcp/pcpp--frag_http_req.pcap",
];

/// Both ends of a flow: TCP or not, client, server.
type Tuple = (bool, SocketAddr, SocketAddr);

/// Time, value and sequence number of a byte.
type Byte = (u64, u8, Option<u32>);

/// Time, offset, sequence number and bytes of a call.
type Run = (u64, u64, Option<u32>, Vec<u8>);

/// One connection of a capture.
struct Flow {
    open: Open,
    events: Vec<(u64, Kind<'static>)>,
    /// By direction: for each byte its time, its value and its sequence number.
    bytes: [BTreeMap<u64, Byte>; 2],
}

impl Flow {
    fn tuple(&self) -> Tuple {
        let ends = [self.open.local, self.open.remote].map(|end| end.unwrap().ip().unwrap());
        (self.open.transport == Transport::Tcp, ends[0], ends[1])
    }

    fn moves(&self) -> bool {
        !self.bytes.iter().all(BTreeMap::is_empty)
            || self.events.iter().any(|(_, kind)| matches!(kind, Kind::Data(data) if data.length > 0))
    }

    /// What the client's process would have told: its calls move bytes in order, a thousand at most.
    fn told(mut self) -> Vec<(u64, Kind<'static>)> {
        for (direction, bytes) in sockdbg::event::Direction::BOTH.into_iter().zip(&self.bytes) {
            let (mut pieces, mut latest): (Vec<Run>, u64) = (Vec::new(), 0);
            for (&offset, &(time, byte, seq)) in bytes {
                latest = latest.max(time);
                match pieces.last_mut() {
                    Some((_, from, _, piece))
                        if *from + piece.len() as u64 == offset && piece.len() < 1000 =>
                    {
                        piece.push(byte);
                    }
                    _ => pieces.push((latest, offset, seq, vec![byte])),
                }
            }
            for (time, offset, tcp_seq, piece) in pieces {
                let payload: &'static [u8] = piece.leak();
                let length = payload.len() as u64;
                let (call, peer) = (Call::Sendto, None);
                let data = Data {
                    direction,
                    offset,
                    length,
                    payload,
                    tcp_seq,
                    peer,
                    call,
                    cause: None,
                    peek: false,
                    past_tcp: false,
                    acked: None,
                    error: None,
                };
                self.events.push((time, Kind::Data(data)));
            }
        }
        self.events.sort_by_key(|(time, kind)| {
            let order = match kind {
                Kind::Open(_) => 0,
                Kind::Close(_) => 2,
                _ => 1,
            };
            (order, *time)
        });
        self.events
    }
}

/// The flows of a capture, in order.
fn flows(capture: &Path) -> (Vec<Flow>, Summary) {
    let (mut order, mut flows): (Vec<ConnId>, BTreeMap<ConnId, Flow>) = Default::default();
    let mut take = |event: &Event<'_>| {
        let time = event.time.0;
        match &event.kind {
            Kind::Open(open) => {
                order.push(event.conn);
                let told = Open { exact: true, call: Some(Call::Connect), ..open.clone() };
                let events = vec![(time, Kind::Open(told))];
                flows.insert(event.conn, Flow { open: open.clone(), events, bytes: Default::default() });
            }
            Kind::Data(data) => {
                let flow = flows.get_mut(&event.conn).unwrap();
                if flow.open.transport == Transport::Udp {
                    let payload: &'static [u8] = data.payload.to_vec().leak();
                    let cause = data.cause.map(|_| sockdbg::event::Cause::Snaplen);
                    let data = Data { payload, call: Call::Sendto, cause, peer: data.peer, ..data.clone() };
                    flow.events.push((time, Kind::Data(data)));
                }
                let bytes = &mut flow.bytes[data.direction.index()];
                for (index, &byte) in
                    (0u32..).zip(data.payload).filter(|_| flow.open.transport == Transport::Tcp)
                {
                    let seq = data.tcp_seq.map(|seq| seq.wrapping_add(index));
                    bytes.entry(data.offset + u64::from(index)).or_insert((time, byte, seq));
                }
            }
            Kind::Close(close) => {
                let flow = flows.get_mut(&event.conn).unwrap();
                let reason = CloseReason::Closed;
                flow.events.push((time, Kind::Close(Close { reason, call: Some(Call::Close), ..*close })));
            }
            Kind::Loss(_) => {}
        }
        ControlFlow::Continue(())
    };
    let summary = Capture::open(capture, Options::default()).unwrap().run(&mut take).unwrap();
    (order.iter().map(|conn| flows.remove(conn).unwrap()).collect(), summary)
}

/// Records every other flow of a capture as its client would see it. Gives which these are.
fn record(capture: &Path, recording: &Path) -> BTreeSet<Tuple> {
    let (flows, summary) = flows(capture);
    let mut tuples = BTreeSet::new();
    let mut writer = Writer::create(recording).unwrap();
    let task = Task { pid: 70, tid: 70, comm: Comm::new(b"test") };
    // What moves no byte is no part of a report.
    let moved = flows.into_iter().filter(Flow::moves);
    for (number, flow) in (1u32..).zip(moved).step_by(2) {
        tuples.insert(flow.tuple());
        let conn = ConnId { socket: 1000 + u64::from(number), opened: number };
        for (time, kind) in flow.told() {
            let time = sockdbg::event::Timestamp(time);
            writer.event(&Event { time, conn, task: Some(task), fd: Some(5), kind }).unwrap();
        }
    }
    writer.finish(&Summary { first: summary.first, last: summary.last, ..Summary::default() }).unwrap();
    tuples
}

fn tshark(capture: &Path, args: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(capture).args(args).output();
    let output = output.expect("tshark has to be installed (package tshark)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("cut short"), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A packet: time, length on the wire, the captured bytes in hexadecimal.
type Packet = (String, String, String);

/// Every packet of a capture.
fn packets(capture: &Path) -> Vec<Packet> {
    let fields = tshark(capture, &["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len"]);
    let raw: Vec<Value> = serde_json::from_str(&tshark(capture, &["-T", "jsonraw", "-j", "frame"])).unwrap();
    assert_eq!(raw.len(), fields.lines().count());
    let packets = fields.lines().zip(raw).map(|(line, raw)| {
        let (time, length) = line.split_once('\t').unwrap();
        let bytes = raw["_source"]["layers"]["frame_raw"][0].as_str().unwrap();
        (time.to_owned(), length.to_owned(), bytes.to_owned())
    });
    packets.collect()
}

/// The numbers of the packets of connections, fragments included, by tshark.
fn frames(capture: &Path, tuples: &BTreeSet<Tuple>) -> BTreeSet<usize> {
    let filters = tuples.iter().map(|(is_tcp, client, server)| {
        let (ip, transport) =
            (if client.is_ipv4() { "ip" } else { "ipv6" }, if *is_tcp { "tcp" } else { "udp" });
        let ends = [client, server]
            .map(|end| format!("{ip}.addr == {} && {transport}.port == {}", end.ip(), end.port()));
        format!("({})", ends.join(" && "))
    });
    let filter = filters.collect::<Vec<_>>().join(" || ");
    // What an error quotes of a packet is none.
    let filter = format!("({filter}) && !icmp && !icmpv6");
    let number = |text: &str| text.parse::<usize>().unwrap();
    let listed = tshark(capture, &["-Y", &filter, "-T", "fields", "-e", "frame.number"]);
    let mut frames: BTreeSet<usize> = listed.lines().map(number).collect();
    let within =
        ["-2", "-Y", "ip.reassembled_in || ipv6.reassembled.in", "-T", "fields", "-e", "frame.number"];
    let within = [&within[..], &["-e", "ip.reassembled_in", "-e", "ipv6.reassembled.in"]].concat();
    for line in tshark(capture, &within).lines() {
        let [frame, places @ ..] = &line.split('\t').collect::<Vec<_>>()[..] else { unreachable!() };
        if places.iter().any(|place| !place.is_empty() && frames.contains(&number(place))) {
            frames.insert(number(frame));
        }
    }
    // What comes again of a packet that is complete tshark assigns to none.
    let fields = ["ip.src", "ip.dst", "ip.proto", "ip.id", "ip.frag_offset", "frame.len"];
    let fields: Vec<&str> = fields.into_iter().flat_map(|field| ["-e", field]).collect();
    let args = [
        &["-Y", "ip.frag_offset > 0 || ip.flags.mf == 1", "-T", "fields", "-e", "frame.number"],
        &fields[..],
    ];
    let listed = tshark(capture, &args.concat());
    let fragments: Vec<(&str, &str)> = listed.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let kept: BTreeSet<&str> =
        fragments.iter().filter(|one| frames.contains(&number(one.0))).map(|one| one.1).collect();
    frames.extend(fragments.iter().filter(|one| kept.contains(one.1)).map(|one| number(one.0)));
    frames
}

/// Compares; the process's connections without what is of the file alone, and the summary.
fn compare(folder: &Path, args: &[&str]) -> (Vec<Value>, Value) {
    let fixed = ["pcap-compare", "--format", "json"];
    let output =
        Watcher::start(Command::new(program("sockdbg")).current_dir(folder).args(fixed).args(args)).end();
    let report = Report::of(&output);
    let mut ours: Vec<Value> =
        report.connections.into_iter().filter(|one| one["of_process"] == true).collect();
    for one in &mut ours {
        // Numbers of flows are those of the file.
        one.as_object_mut().unwrap().remove("flow");
        for finding in one["findings"].as_array_mut().unwrap() {
            finding.as_object_mut().unwrap().remove("edges");
        }
    }
    let fields = ["verdict", "records", "bytes", "residual", "bytes_not_compared"];
    (ours, fields.into_iter().map(|field| (field.to_owned(), report.summary[field].clone())).collect())
}

/// All of [`CAPTURES`] in one file, with their interfaces and link types.
fn merge(folder: &Path) -> PathBuf {
    let merged = folder.join("merged.pcapng");
    let files = CAPTURES.iter().map(|file| captures::folder().join(file));
    let output = Command::new("mergecap").arg("-w").arg(&merged).args(files).output();
    let output = output.expect("mergecap has to be installed (package wireshark-common)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    merged
}

#[test]
fn a_slice_has_the_packets_that_tshark_finds_of_the_compared_connections() {
    let folder = tempfile::tempdir().unwrap();
    let capture = merge(folder.path());
    let tuples = record(&capture, &folder.path().join("recording.pcapng"));
    assert!(tuples.len() > 50 && tuples.iter().any(|tuple| !tuple.0), "{tuples:?}");
    let original = compare(folder.path(), &["recording.pcapng", "merged.pcapng", "--bundle", "b"]);
    let (all, frames) = (packets(&capture), frames(&capture, &tuples));
    let expected: Vec<&Packet> =
        (1..).zip(&all).filter(|(number, _)| frames.contains(number)).map(|(_, packet)| packet).collect();
    let sliced = packets(&folder.path().join("b/capture.pcapng"));
    if !sliced.iter().eq(expected.iter().copied()) {
        let number: BTreeMap<&Packet, usize> = all.iter().zip(1..).collect();
        let surplus: Vec<usize> =
            sliced.iter().filter(|one| !expected.contains(one)).map(|one| number[one]).collect();
        let missing: Vec<usize> =
            expected.iter().filter(|one| !sliced.contains(one)).map(|one| number[one]).collect();
        panic!("packets too many: {surplus:?}, missing: {missing:?}, or in another order");
    }
    assert!(expected.len() > 500 && expected.len() < all.len(), "{} of {}", expected.len(), all.len());
    assert_eq!(compare(folder.path(), &["b/recording.pcapng", "b/capture.pcapng"]), original);
}

/// In fragments and tunnels, too: streams are zeros, and of datagrams 32 bytes are hashes.
#[test]
fn a_redacted_slice_has_as_many_packets_and_no_payload() {
    const HEAD: usize = 32;
    let folder = tempfile::tempdir().unwrap();
    let capture = merge(folder.path());
    let tuples = record(&capture, &folder.path().join("recording.pcapng"));
    compare(folder.path(), &["recording.pcapng", "merged.pcapng", "--redact", "--bundle", "b"]);
    let slice = folder.path().join("b/capture.pcapng");
    let lengths = |capture: &Path, filter: &str| -> Vec<String> {
        let args = ["-Y", filter, "-T", "fields", "-e", "frame.time_epoch", "-e", "frame.len"];
        tshark(capture, &args).lines().map(str::to_owned).collect()
    };
    let all = lengths(&capture, "frame");
    let expected: Vec<&String> = frames(&capture, &tuples).iter().map(|number| &all[number - 1]).collect();
    assert_eq!(lengths(&slice, "frame").iter().collect::<Vec<_>>(), expected);
    let fields = ["-2", "-T", "fields", "-e", "tcp.payload", "-e", "udp.payload", "-e", "tcp.srcport"];
    let mut payloads = 0;
    for line in tshark(&slice, &fields).lines() {
        let [tcp, udp, port] = line.split('\t').collect::<Vec<_>>()[..] else { unreachable!("{line}") };
        let bytes = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        for payload in tcp.split(',').map(bytes) {
            payloads += usize::from(!payload.is_empty());
            assert!(payload.iter().all(|&byte| byte == 0), "{line}");
        }
        // The outer datagram of a tunnel is first, and holds headers.
        let udp = udp.split(',').next_back().map(bytes).unwrap_or_default();
        payloads += usize::from(!udp.is_empty());
        assert!(!port.is_empty() || udp.iter().skip(HEAD).all(|&byte| byte == 0), "{line}");
    }
    assert!(payloads > 200, "{payloads}");
}

/// What the connection below carries.
const SECRET: &[u8] = b"a secret word, ";

/// The checksum of RFC 1071 over parts of even length, but for the last.
fn sum(parts: &[&[u8]]) -> [u8; 2] {
    let bytes = parts.concat();
    let word = |pair: &[u8]| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}

/// An IPv4 packet between 10.0.`net`.1 and .2, or a fragment of one: where it begins, and whether others follow.
fn ipv4(net: u8, back: bool, protocol: u8, id: u16, place: (usize, bool), payload: &[u8]) -> Vec<u8> {
    let more = if place.1 { 0x2000 } else { 0 };
    let (length, at) = (20 + payload.len() as u16, (place.0 as u16 / 8) | more);
    let [from, to] = if back { [2, 1] } else { [1, 2] };
    let mut head = vec![0x45, 0];
    head.extend([length, id, at].map(u16::to_be_bytes).concat());
    head.extend([64, protocol, 0, 0, 10, 0, net, from, 10, 0, net, to]);
    let sum = sum(&[&head]);
    head[10..12].copy_from_slice(&sum);
    [&head, payload].concat()
}

/// The pseudo header of such a packet.
fn pseudo(net: u8, back: bool, protocol: u8, length: usize) -> Vec<u8> {
    let [from, to] = if back { [2, 1] } else { [1, 2] };
    let [high, low] = (length as u16).to_be_bytes();
    vec![10, 0, net, from, 10, 0, net, to, 0, protocol, high, low]
}

/// The payload of an IP packet: a segment of TCP.
fn segment(back: bool, seq: u32, ack: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports: [u16; 2] = if back { [80, 4000] } else { [4000, 80] };
    let mut head = ports.map(u16::to_be_bytes).concat();
    head.extend([seq, ack].map(u32::to_be_bytes).concat());
    head.extend([0x50, flags, 0xff, 0, 0, 0, 0, 0]);
    let sum = sum(&[&pseudo(1, back, 6, 20 + payload.len()), &head, payload]);
    head[16..18].copy_from_slice(&sum);
    [&head, payload].concat()
}

fn ethernet(kind: u16, packet: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes(), packet].concat()
}

/// A datagram of VXLAN with its checksum, `pseudo` being the beginning of its pseudo header.
fn vxlan(pseudo: &[u8], packet: &[u8]) -> Vec<u8> {
    let payload = [&[8, 0, 0, 0, 0, 0, 9, 0][..], &ethernet(0x0800, packet)].concat();
    let length = 8 + payload.len() as u16;
    let mut head = [50_000, 4789, length, 0].map(u16::to_be_bytes).concat();
    let sum = sum(&[pseudo, &[0, 17], &length.to_be_bytes(), &head, &payload]);
    head[6..8].copy_from_slice(&sum);
    [head, payload].concat()
}

/// How a segment comes to be in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Vxlan,
    Vxlan6,
    Gre,
    /// Each fragment of the packet in a datagram of its own.
    Inside,
    /// The second one of each of the answer's is not captured.
    InsideIncomplete,
    /// The datagram in fragments.
    Outside,
}

fn frames_of(way: Way, id: u16, back: bool, segment: &[u8]) -> Vec<Vec<u8>> {
    let packet = ipv4(1, back, 6, id, (0, false), segment);
    let outer = pseudo(2, back, 17, 0)[..8].to_vec();
    let in_vxlan = |packet: &[u8]| ipv4(2, back, 17, id, (0, false), &vxlan(&outer, packet));
    let half = segment.len() / 16 * 8;
    let halves = || [((0, true), &segment[..half]), ((half, false), &segment[half..])];
    let inside = || halves().map(|(place, part)| in_vxlan(&ipv4(1, back, 6, id, place, part)));
    let frames = match way {
        Way::Plain => vec![packet],
        Way::Vxlan => vec![in_vxlan(&packet)],
        Way::Vxlan6 => {
            let ends: [u8; 32] = std::array::from_fn(|at| match at {
                0 | 16 => 0xfd,
                15 | 31 => 1 + u8::from((at == 31) != back),
                _ => 0,
            });
            let datagram = vxlan(&ends, &packet);
            let length = (datagram.len() as u16).to_be_bytes();
            let packet = [&[0x60, 0, 0, 0][..], &length, &[17, 64], &ends, &datagram].concat();
            return vec![ethernet(0x86dd, &packet)];
        }
        Way::Gre => {
            let mut head = [0x8000u16, 0x0800, 0, 0].map(u16::to_be_bytes).concat();
            let sum = sum(&[&head, &packet]);
            head[4..6].copy_from_slice(&sum);
            vec![ipv4(2, back, 47, id, (0, false), &[head, packet].concat())]
        }
        _ if segment.len() < 100 => vec![in_vxlan(&packet)],
        Way::Inside => inside().to_vec(),
        Way::InsideIncomplete => inside()[..if back { 1 } else { 2 }].to_vec(),
        Way::Outside => {
            let datagram = vxlan(&outer, &packet);
            let half = datagram.len() / 16 * 8;
            let parts = [((0, true), &datagram[..half]), ((half, false), &datagram[half..])];
            parts.map(|(place, part)| ipv4(2, back, 17, id, place, part)).to_vec()
        }
    };
    frames.iter().map(|packet| ethernet(0x0800, packet)).collect()
}

/// A connection with a request of 300 bytes and an answer of 1200, in frames.
fn conversation(way: Way) -> Vec<Vec<u8>> {
    let [request, answer] =
        [300, 1200].map(|length| SECRET.iter().copied().cycle().take(length).collect::<Vec<u8>>());
    let segments = [
        (false, 100, 0, 2, &b""[..]),
        (true, 500, 101, 0x12, b""),
        (false, 101, 501, 0x10, b""),
        (false, 101, 501, 0x18, &request),
        (true, 501, 401, 0x18, &answer),
        (false, 401, 1701, 0x11, b""),
        (true, 1701, 402, 0x11, b""),
        (false, 402, 1702, 0x10, b""),
    ];
    let frames = (1..).zip(segments).flat_map(|(id, (back, seq, ack, flags, payload))| {
        frames_of(way, id, back, &segment(back, seq, ack, flags, payload))
    });
    frames.collect()
}

/// Writes a capture of these frames as pcapng in either byte order, each with these options.
fn write(capture: &Path, frames: &[Vec<u8>], big_endian: bool, options: &[(u16, Vec<u8>)]) {
    let number = |value: u32, length: usize| {
        let bytes = value.to_be_bytes()[4 - length..].to_vec();
        if big_endian { bytes } else { bytes.into_iter().rev().collect() }
    };
    let padded = |bytes: &[u8]| [bytes, &vec![0; bytes.len().next_multiple_of(4) - bytes.len()]].concat();
    let block = |kind: u32, body: &[u8]| {
        let total = number(12 + body.len() as u32, 4);
        [&number(kind, 4), &total, body, &total].concat()
    };
    let mut file =
        block(0x0a0d_0d0a, &[number(0x1a2b_3c4d, 4), number(1, 2), number(0, 2), vec![0xff; 8]].concat());
    file.extend(block(1, &[number(1, 2), vec![0; 6]].concat()));
    let options: Vec<u8> = options
        .iter()
        .flat_map(|(code, value)| {
            [number(u32::from(*code), 2), number(value.len() as u32, 2), padded(value)].concat()
        })
        .chain([0; 4])
        .collect();
    for (index, frame) in (0u32..).zip(frames) {
        let head = [0, 400_000, 1_000_000 * index, frame.len() as u32, frame.len() as u32];
        let head = head.map(|value| number(value, 4)).concat();
        file.extend(block(6, &[&head[..], &padded(frame), &options].concat()));
    }
    std::fs::write(capture, file).unwrap();
}

/// Compares with the recording of the connection's client, and gives the bundle's capture.
fn bundle(folder: &Path, capture: &str, more: &[&str]) -> PathBuf {
    assert_eq!(record(&folder.join(capture), &folder.join("recording.pcapng")).len(), 1);
    let name = format!("bundle-{capture}{}", more.len());
    compare(folder, &[&["recording.pcapng", capture, "--bundle", &name], more].concat());
    folder.join(name).join("capture.pcapng")
}

/// The checksums of transports and of GRE that tshark computes of whole packets: none is wrong.
fn check_checksums(capture: &Path, what: &str) -> usize {
    let fields = ["tcp.checksum.status", "udp.checksum.status", "gre.checksum.status"];
    let checks = ["tcp", "udp"].map(|name| format!("{name}.check_checksum:TRUE"));
    let mut args = vec!["-2"];
    args.extend(checks.iter().flat_map(|check| ["-o", check]));
    args.extend(["-T", "fields"]);
    args.extend(fields.iter().flat_map(|field| ["-e", field]));
    let statuses = tshark(capture, &args);
    let is_known = |status: &&str| ["1", "2", "3"].contains(status);
    let all: Vec<&str> = statuses.split([',', '\t', '\n']).filter(|status| !status.is_empty()).collect();
    assert!(all.iter().all(is_known), "{what}: {statuses}");
    all.iter().filter(|&&status| status == "1").count()
}

/// Those of tunnels cover what they carry: as they were, they would be wrong, and a guess of the payload could be tried by
/// them.
#[test]
fn checksums_of_a_redacted_slice_are_those_of_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    for way in
        [Way::Plain, Way::Vxlan, Way::Vxlan6, Way::Gre, Way::Inside, Way::InsideIncomplete, Way::Outside]
    {
        let frames = conversation(way);
        let name = format!("{way:?}.pcapng");
        let capture = folder.path().join(&name);
        write(&capture, &frames, false, &[]);
        let good = check_checksums(&capture, &name);
        assert!(good >= frames.len(), "{way:?}: the test's own checksums: {good}");
        let slice = bundle(folder.path(), &name, &["--redact"]);
        let lengths =
            |capture: &Path| tshark(capture, &["-T", "fields", "-e", "frame.len", "-e", "frame.time_epoch"]);
        assert_eq!(lengths(&slice), lengths(&capture), "{way:?}");
        assert_eq!(check_checksums(&slice, &name), good, "{way:?}");
        let bytes = std::fs::read(&slice).unwrap();
        assert!(!bytes.windows(6).any(|window| SECRET.windows(6).any(|secret| secret == window)), "{way:?}");
        // Without it, all is as it was.
        let whole = bundle(folder.path(), &name, &[]);
        assert_eq!(packets(&whole), packets(&capture), "{way:?}");
    }
}

#[test]
fn what_a_capture_says_of_its_packets_stays() {
    const FIELDS: [&str; 8] = [
        "frame.comment",
        "frame.packet_flags",
        "frame.drop_count",
        "frame.packet_id",
        "frame.interface_queue",
        "frame.verdict.ebpf_xdp",
        "frame.verdict.hw",
        "frame.len",
    ];
    let folder = tempfile::tempdir().unwrap();
    let frames = conversation(Way::Plain);
    let fields: Vec<&str> = FIELDS.iter().flat_map(|field| ["-e", field]).collect();
    for big_endian in [false, true] {
        let number =
            |bytes: &[u8]| if big_endian { bytes.to_vec() } else { bytes.iter().rev().copied().collect() };
        let custom = [number(&12345u32.to_be_bytes()), b"of somebody".to_vec()].concat();
        let options = [
            (1, "first comment: \u{e9}\"".as_bytes().to_vec()),
            (1, b"second".to_vec()),
            (2, number(&0x0000_0205u32.to_be_bytes())),
            (3, vec![2, 1, 2, 3, 4]),
            (4, number(&7u64.to_be_bytes())),
            (5, number(&0x1122_3344_5566_7788u64.to_be_bytes())),
            (6, number(&3u32.to_be_bytes())),
            (7, [vec![2], number(&2u64.to_be_bytes())].concat()),
            (7, vec![0, 0xca, 0xfe, 1]),
            (2988, custom.clone()),
            // Not to be copied.
            (19372, custom),
        ];
        let capture = format!("{big_endian}.pcapng");
        write(&folder.path().join(&capture), &frames, big_endian, &options);
        let list = |capture: &Path| tshark(capture, &[&["-T", "fields"], &fields[..]].concat());
        let before = list(&folder.path().join(&capture));
        let line = "first comment: \u{e9}\",second\t";
        assert!(before.starts_with(line), "{before}");
        assert!(before.contains("\t7\t1234605616436508552\t3\t2\tca fe 01\t"), "{before}");
        let slice = bundle(folder.path(), &capture, &[]);
        assert_eq!(list(&slice), before);
        let bytes = std::fs::read(&slice).unwrap();
        let count = |wanted: &[u8]| bytes.windows(wanted.len()).filter(|window| *window == wanted).count();
        // Custom options and hashes, which this tshark does not show.
        let custom =
            [&2988u16.to_le_bytes()[..], &15u16.to_le_bytes(), &12345u32.to_le_bytes(), b"of somebody"]
                .concat();
        let hash = [3, 0, 5, 0, 2, 1, 2, 3, 4, 0, 0, 0];
        assert_eq!([count(&custom), count(b"of somebody"), count(&hash)], [frames.len(); 3]);
        // Words and hashes may tell of the payload.
        let redacted = bundle(folder.path(), &capture, &["--redact"]);
        let expected: String =
            before.lines().map(|line| format!("\t{}\n", line.split_once('\t').unwrap().1)).collect();
        assert_eq!(list(&redacted), expected);
        let bytes = std::fs::read(&redacted).unwrap();
        let has = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(!has(b"of somebody") && !has(&hash) && !has(b"comment"));
    }
}

/// The checksum of a segment tells of its payload, whether that was captured or not.
#[test]
fn checksums_over_payload_that_was_not_captured_are_not_in_a_redacted_slice() {
    let folder = tempfile::tempdir().unwrap();
    let demo = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("demo").join(name);
    let checksums = |capture: &Path| {
        let fields = ["-T", "fields", "-e", "tcp.len", "-e", "frame.cap_len", "-e", "tcp.checksum"];
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
            None => text.parse().unwrap(),
        };
        let lines = tshark(capture, &fields);
        lines.lines().map(|line| line.split('\t').map(number).collect::<Vec<u64>>()).collect::<Vec<_>>()
    };
    std::fs::copy(demo("recording.pcapng"), folder.path().join("recording.pcapng")).unwrap();
    // Behind 14 bytes of Ethernet, 20 of IP and 20 of TCP are 12 of timestamps: within them, behind them, within the payload.
    for length in [54, 60, 66, 70] {
        let (cut, bundle) = (format!("cut-{length}.pcap"), format!("bundle-{length}"));
        let size = length.to_string();
        let editcap = Command::new("editcap")
            .args(["-F", "pcap", "-s", &size])
            .arg(demo("capture.pcap"))
            .arg(folder.path().join(&cut))
            .output()
            .unwrap();
        assert!(editcap.status.success(), "{editcap:?}");
        compare(folder.path(), &["recording.pcapng", &cut, "--bundle", &bundle, "--redact"]);
        let before = checksums(&folder.path().join(&cut));
        let after = checksums(&folder.path().join(&bundle).join("capture.pcapng"));
        assert_eq!(before.len(), after.len(), "{length}");
        let mut cut_off = 0;
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before[..2], after[..2]);
            // What is cut off has the least length that there is.
            if before[0] > 0 && before[1] < 66 + before[0] {
                assert!(before[2] != 0, "{length}: {before:?} had none before");
                assert_eq!(after[2], 0, "{length}: {before:?}");
                cut_off += 1;
            }
        }
        assert!(cut_off > 10, "{length}: {cut_off} packets");
    }
}
