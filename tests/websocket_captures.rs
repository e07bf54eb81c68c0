//! WebSocket records of captures that nobody of this project made, against tshark's frames. They lie in the folders
//! of HTTP, from which their connections switch, and of what is within.

mod common;

use common::captures::{assert_robust, expected, folder, run, text, try_run};
use common::random::Random;
use sockdbg::event::{ConnId, Direction, Event, Kind, Role};
use sockdbg::protocol::{ALL, Sample, Verdict};
use sockdbg::source::Source;
use sockdbg::source::pcap::{self, Capture};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::Command;

/// The captures in which a connection switches to WebSocket. In wstunnel-http the client does not mask.
const FILES: [&str; 8] = [
    "http/zeek--websocket--broker-websocket.pcap",
    "http/zeek--websocket--message-too-big-status.pcap",
    "http/zeek--websocket--oversized-close-frame.pcapng",
    "http/zeek--websocket--reply-ping-separate.pcap",
    "http/zeek--websocket--wrong-accept-header.pcap",
    "http/zeek--websocket--wstunnel-http.pcap",
    "http/zeek--websocket--wstunnel-ssh.pcap",
    "tls/ndpi--tls_heur__vmess-websocket.pcapng",
];

/// Refused here: a close frame of 258 bytes, which RFC 6455, section 5.5 forbids.
const OVERSIZED: &str = "http/zeek--websocket--oversized-close-frame.pcapng";

/// A frame as both see it: opcode, length of the payload, status code of a close.
type Frame = (String, u64, Option<u64>);

/// What tshark finds: the frames of each direction of each connection, in order.
fn theirs(file: &str) -> Vec<Vec<Frame>> {
    let fields = [
        "tcp.stream",
        "tcp.srcport",
        "websocket.opcode",
        "websocket.payload_length",
        "websocket.payload_length_ext_16",
        "websocket.payload_length_ext_64",
        "websocket.payload.close.status_code",
    ];
    let mut command = Command::new("tshark");
    command.arg("-r").arg(folder().join(file)).args(["-Y", "websocket", "-T", "fields"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is installed");
    assert!(output.status.success(), "{output:?}");
    let mut frames: BTreeMap<[String; 2], Vec<Frame>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        let mut columns = line.split('\t').map(|column| column.split(',').filter(|one| !one.is_empty()));
        let mut column =
            || columns.next().expect("a column").map(str::to_owned).collect::<Vec<_>>().into_iter();
        let sender = [column(), column()].map(|mut one| one.next().expect("a number"));
        let (opcodes, lengths) = (column(), column());
        let (mut medium, mut long, mut codes) = (column(), column(), column());
        let number = |text: Option<String>| text.expect("a value").parse::<u64>().expect("a number");
        for (opcode, length) in opcodes.zip(lengths) {
            let length = match length.as_str() {
                "126" => number(medium.next()),
                "127" => number(long.next()),
                _ => number(Some(length)),
            };
            let name = match opcode.as_str() {
                "1" => "text",
                "2" => "binary",
                "8" => "close",
                "9" => "ping",
                "10" => "pong",
                other => panic!("{file}: opcode {other}"),
            };
            let code = if name == "close" { codes.next().map(|code| number(Some(code))) } else { None };
            frames.entry(sender.clone()).or_default().push((name.to_owned(), length, code));
        }
    }
    let mut all: Vec<_> = frames.into_values().collect();
    all.sort();
    all
}

/// The same of our records; none of these captures has a fragmented message.
fn ours(file: &str) -> Vec<Vec<Frame>> {
    let seen = run(file);
    let mut frames: BTreeMap<(ConnId, Direction), Vec<(u64, Frame)>> = BTreeMap::new();
    for (conn, record) in seen.records.iter().filter(|(_, record)| record.protocol == "websocket") {
        for message in record.messages() {
            let number = |name| text(message, name).map(|value| value.parse::<u64>().expect("a number"));
            let opcode = text(message, "opcode").expect("an opcode");
            let frame = (opcode, number("payload_length").expect("a length"), number("code"));
            frames.entry((*conn, message.direction)).or_default().push((message.range.from, frame));
        }
    }
    let mut all: Vec<Vec<Frame>> = Vec::new();
    for mut frames in frames.into_values() {
        frames.sort();
        all.push(frames.into_iter().map(|(_, frame)| frame).collect());
    }
    all.sort();
    all
}

#[test]
fn frames_are_those_of_tshark() {
    let mut total = 0;
    for file in FILES {
        let (ours, theirs) = (ours(file), theirs(file));
        if file == OVERSIZED {
            assert_eq!((ours, theirs.concat()), (Vec::new(), vec![("close".to_owned(), 258, Some(1000))]));
            continue;
        }
        total += theirs.concat().len();
        assert_eq!(ours, theirs, "{file}");
    }
    assert!(total > 50, "captures are missing: {total} frames");
}

#[test]
fn messages_say_what_was_sent() {
    let summaries = |file: &str| -> Vec<String> {
        run(file).of("websocket").iter().map(|record| record.summary.clone()).collect()
    };
    let said = summaries("http/zeek--websocket--reply-ping-separate.pcap");
    let expected = [
        "ping 4 bytes -> pong 4 bytes",
        "text 11 bytes: Hello Zeek!",
        "text 12 bytes: Hello there!",
        "close 1000 Normal Closure -> close 1000 Normal Closure",
    ];
    assert_eq!(said, expected);
}

#[test]
fn no_other_protocol_is_taken_for_websocket() {
    let all = expected("capinfos.packets").into_keys();
    let others = all.filter(|file| !FILES.contains(&file.as_str()) && !file.starts_with("format/"));
    let mut read = 0;
    for file in others {
        // Files that are damaged, or no captures, are the business of the capture source's tests.
        let Some(seen) = try_run(&folder().join(&file)) else { continue };
        read += 1;
        assert!(seen.of("websocket").is_empty(), "{file}: {:?}", seen.of("websocket")[0]);
    }
    assert!(read > 500, "captures are missing: {read} were read");
}

/// Both directions of each stream of a capture, as far as they come in order.
fn streams(file: &str) -> Vec<[Vec<u8>; 2]> {
    let mut streams: BTreeMap<ConnId, [Vec<u8>; 2]> = BTreeMap::new();
    let Ok(mut capture) = Capture::open(&folder().join(file), pcap::Options::default()) else {
        return Vec::new();
    };
    let mut sink = |event: &Event<'_>| {
        if let Kind::Data(data) = &event.kind {
            streams.entry(event.conn).or_default()[data.direction.index()].extend_from_slice(data.payload);
        }
        ControlFlow::Continue(())
    };
    // What is damaged is read up to the damage.
    let _ = capture.run(&mut sink);
    streams.into_values().collect()
}

#[test]
fn nothing_else_looks_like_frames_from_the_middle() {
    let websocket = ALL.iter().find(|protocol| protocol.name == "websocket").expect("in the table");
    let all = expected("capinfos.packets").into_keys();
    let mut random = Random(0x0005_eed0_f3a3_e5e5);
    let mut judged = 0;
    for file in all.filter(|file| !FILES.contains(&file.as_str())) {
        for [sent, received] in streams(&file).iter().take(20) {
            for _ in 0..4 {
                let mut cut = |data: &[u8]| {
                    let from = random.below(data.len().max(1));
                    data[from..data.len().min(from + 20_000)].to_vec()
                };
                let (sent, received) = (cut(sent), cut(received));
                let data = [sent.as_slice(), received.as_slice()];
                let verdict =
                    (websocket.detect)(&Sample { data, from_start: [false; 2], role: Role::Unknown });
                assert!(!matches!(verdict, Verdict::Match(_)), "{file}: {verdict:?}");
                judged += 1;
            }
        }
    }
    assert!(judged > 2000, "captures are missing: {judged} places were judged");
}

#[test]
fn cuts_change_nothing_and_losses_are_accounted_for() {
    FILES.iter().for_each(|file| assert_robust(file));
}
