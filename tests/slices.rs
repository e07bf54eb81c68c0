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
