//! Connections that go on with another protocol, through the tracker with every real protocol: tunnels, upgrades, and gaps
//! where the words were that agree on them. Written by hand from RFC 9110, RFC 6455, RFC 8446 and the documentation of the
//! protocols that begin TLS.

use super::*;
use crate::event::{CloseReason, Loss, Total};
use crate::record::Value;

/// What happens: bytes of a direction, or so many that are lost.
enum Step<'a> {
    Sent(&'a [u8]),
    Received(&'a [u8]),
    LostSent(usize),
    LostReceived(usize),
}
use Step::{LostReceived, LostSent, Received, Sent};

/// Records, and how many bytes of each direction are accounted for as frames, losses, and skipped by cause.
#[derive(Default)]
struct Seen {
    records: Vec<Record>,
    covered: [u64; 2],
    skipped: Vec<(Direction, Range, Cause)>,
    steps: Vec<&'static str>,
}

impl Observer for Seen {
    fn trace_level(&self) -> u8 {
        2
    }

    fn trace(&mut self, _: &Info, _: Timestamp, _: u8, step: &'static str, _: fmt::Arguments<'_>) {
        self.steps.push(step);
    }

    fn record(&mut self, _: &Info, _: Timestamp, record: Record) {
        self.records.push(record);
    }

    fn account(&mut self, _: &Info, direction: Direction, entry: Entry<'_>) {
        let range = match entry {
            Entry::Delivered(_) | Entry::PastTcp(_) => return,
            Entry::Lost(range, _) | Entry::Framed(range) => range,
            Entry::Skipped(range, cause, _) => {
                self.skipped.push((direction, range, cause));
                range
            }
        };
        self.covered[direction.index()] += range.len();
    }
}

impl Seen {
    /// `protocol: summary`, with the status of those that are not complete.
    fn lines(&self) -> Vec<String> {
        let line = |record: &Record| match record.status {
            crate::record::Status::Complete => format!("{}: {}", record.protocol, record.summary),
            status => format!("{}: {} [{}]", record.protocol, record.summary, status.name()),
        };
        self.records.iter().map(line).collect()
    }
}

/// Leads a connection through the steps: as they are, and in small pieces, which have to give the same records.
fn run(steps: &[Step<'_>]) -> Seen {
    let whole = run_cut(steps, usize::MAX);
    for size in [1, 7] {
        assert_eq!(run_cut(steps, size).lines(), whole.lines(), "in pieces of {size}");
    }
    whole
}

fn run_cut(steps: &[Step<'_>], size: usize) -> Seen {
    let mut tracker = Tracker::new(Vantage::Syscall, Options::default(), Seen::default());
    let conn = ConnId { socket: 1, opened: 1 };
    let mut time = 0;
    let mut event = |kind| {
        time += 1000;
        Event { time: Timestamp(time), conn, task: None, fd: Some(3), kind }
    };
    let role = crate::event::Role::Client;
    tracker.event(&event(Kind::Open(Open { exact: true, role, ..Open::default() })));
    let mut ends = [0u64; 2];
    for step in steps {
        let (direction, bytes) = match step {
            Sent(bytes) => (Direction::Send, *bytes),
            Received(bytes) => (Direction::Recv, *bytes),
            LostSent(count) | LostReceived(count) => {
                let direction = if matches!(step, LostSent(_)) { Direction::Send } else { Direction::Recv };
                let end = &mut ends[direction.index()];
                let range = Range::new(*end, *end + *count as u64);
                *end = range.to;
                tracker.event(&event(Kind::Loss(Loss { direction, range, cause: Cause::RingFull })));
                continue;
            }
        };
        for payload in bytes.chunks(size.min(bytes.len().max(1))) {
            let offset = ends[direction.index()];
            ends[direction.index()] += payload.len() as u64;
            tracker.event(&event(Kind::Data(tests::data(direction, offset, payload))));
        }
    }
    let totals = ends.map(|end| Total { end: Some(end), ..Total::default() });
    tracker.event(&event(Kind::Close(Close { reason: CloseReason::Closed, call: None, totals })));
    let seen = tracker.finish();
    assert_eq!(seen.covered, ends, "frames, losses and skipped bytes are all: {:?}", seen.skipped);
    seen
}

/// One record of the record layer (RFC 8446, section 5.1).
fn tls(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind, 3, 3], &(body.len() as u16).to_be_bytes()[..], body].concat()
}

/// The ClientHello for `inner.example`, the least that section 4.1.2 allows.
fn client_hello() -> Vec<u8> {
    let name = b"inner.example";
    let sni = [&[0, 0, 0, 18, 0, 16, 0, 0, 13], &name[..]].concat();
    let versions = [0, 43, 0, 3, 2, 3, 4];
    let extensions = [&sni[..], &versions[..]].concat();
    let body = [
        &[3, 3],
        &[0x11; 32][..],
        &[0, 0, 2, 0x13, 0x01, 1, 0],
        &(extensions.len() as u16).to_be_bytes()[..],
        &extensions,
    ]
    .concat();
    tls(22, &[&[1, 0], &(body.len() as u16).to_be_bytes()[..], &body].concat())
}

fn server_hello() -> Vec<u8> {
    let body = [&[3, 3], &[0x22; 32][..], &[0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4]].concat();
    tls(22, &[&[2, 0], &(body.len() as u16).to_be_bytes()[..], &body].concat())
}

/// A handshake and some ciphertext of both sides, with what comes before on either side.
fn with_tls<'a>(before: Vec<Step<'a>>, hellos: &'a [Vec<u8>; 3]) -> Vec<Step<'a>> {
    let [client, server, data] = hellos;
    let mut steps = before;
    steps.extend([Sent(client), Received(server), Received(data), Sent(data), Received(data)]);
    steps
}

fn hellos() -> [Vec<u8>; 3] {
    [client_hello(), server_hello(), tls(23, &[0x9c; 40])]
}

const CONNECT: &[u8] = b"CONNECT inner.example:443 HTTP/1.1\r\nHost: inner.example:443\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
const GET: &[u8] = b"GET /in HTTP/1.1\r\nHost: inner\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

const TUNNEL: &str = "http1: 200 CONNECT inner.example:443 0 B";

#[test]
fn what_goes_through_a_tunnel_is_known_by_its_content() {
    let hellos = hellos();
    let seen = run(&with_tls(vec![Sent(CONNECT), Received(CONNECTED)], &hellos));
    let lines = seen.lines();
    assert_eq!(lines[0], TUNNEL);
    assert!(lines[1].starts_with("tls: ") && lines[1].contains("inner.example"), "{lines:?}");
    assert_eq!(seen.skipped, []);

    let seen = run(&[Sent(CONNECT), Received(CONNECTED), Sent(GET), Received(OK), Sent(GET), Received(OK)]);
    assert_eq!(seen.lines(), [TUNNEL, "http1: 200 GET /in 2 B", "http1: 200 GET /in 2 B"]);

    // A proxy behind a proxy.
    let seen = run(&[
        Sent(CONNECT),
        Received(CONNECTED),
        Sent(CONNECT),
        Received(CONNECTED),
        Sent(GET),
        Received(OK),
    ]);
    assert_eq!(seen.lines(), [TUNNEL, TUNNEL, "http1: 200 GET /in 2 B"]);

    let seen = run(&[
        Sent(CONNECT),
        Received(CONNECTED),
        Sent(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        Received(b"$1\r\nv\r\n"),
    ]);
    assert_eq!(seen.lines(), [TUNNEL, "redis: GET k -> 1 B"]);
}

#[test]
fn a_server_may_speak_first_in_a_tunnel_and_a_client_early() {
    let answers = [CONNECTED, b"INFO {\"server_id\":\"x\"}\r\n"].concat();
    let seen = run(&[Sent(CONNECT), Received(&answers), Sent(b"PING\r\n"), Received(b"PONG\r\n")]);
    assert_eq!(seen.lines()[0], TUNNEL);
    assert!(seen.lines()[1..].iter().all(|line| line.starts_with("nats: ")), "{:?}", seen.lines());

    let hellos = hellos();
    let early = [CONNECT, &hellos[0]].concat();
    let seen = run(&[Sent(&early), Received(CONNECTED), Received(&hellos[1]), Sent(&hellos[2])]);
    assert!(seen.lines()[1].contains("inner.example"), "{:?}", seen.lines());
    assert_eq!(seen.skipped, []);
}

#[test]
fn what_nobody_knows_in_a_tunnel_is_of_no_known_protocol() {
    let seen = run(&[Sent(CONNECT), Received(CONNECTED), Sent(&[0xff; 9]), Received(&[0xfe; 9])]);
    assert_eq!(seen.lines(), [TUNNEL]);
    assert!(seen.skipped.iter().all(|skip| skip.2 == Cause::ProtocolUnknown));
    assert_eq!(seen.skipped.iter().map(|skip| skip.1.len()).sum::<u64>(), 18);
}

#[test]
fn a_lost_answer_to_connect_does_not_hide_the_tunnel() {
    let hellos = hellos();
    let seen = run(&with_tls(vec![Sent(CONNECT), LostReceived(CONNECTED.len())], &hellos));
    let lines = seen.lines();
    assert_eq!(lines[0], "http1: --- CONNECT inner.example:443 [no-response]");
    assert!(lines[1].starts_with("tls: ") && lines[1].contains("inner.example"), "{lines:?}");
    assert!(seen.steps.contains(&"assumed"), "what is assumed is said");
    assert_eq!(seen.skipped, []);
}

#[test]
fn a_lost_connect_does_not_hide_tls_in_the_tunnel() {
    let hellos = hellos();
    let seen = run(&with_tls(vec![LostSent(CONNECT.len()), Received(CONNECTED)], &hellos));
    let lines = seen.lines();
    assert_eq!(lines[0], "http1: 200 (request not seen) 0 B [no-request]");
    assert!(lines[1].starts_with("tls: ") && lines[1].contains("inner.example"), "{lines:?}");
    assert_eq!(seen.skipped, []);
}

/// Frames of a client (masked with zeros) and of a server, as RFC 6455, section 5.2 has them.
fn frame(from_client: bool, text: &str) -> Vec<u8> {
    let length = text.len() as u8;
    let head = if from_client { vec![0x81, 0x80 | length, 0, 0, 0, 0] } else { vec![0x81, length] };
    [&head, text.as_bytes()].concat()
}

const UPGRADE: &[u8] = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

#[test]
fn frames_behind_a_lost_101_are_websocket_with_unknown_extensions() {
    let (ask, answer) = (frame(true, "question"), frame(false, "answer"));
    // One of a message that is compressed, RFC 7692, section 7.2.3.1: "Hello".
    let compressed = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let frames = [Sent(&ask), Received(&answer), Received(&compressed)];
    let mut lost = vec![Sent(UPGRADE), LostReceived(SWITCHING.len())];
    lost.extend(frames);
    let seen = run_cut(&lost, usize::MAX);
    assert_eq!(seen.lines()[0], "http1: --- GET /ws [no-response]");
    assert!(seen.lines()[1..].iter().all(|line| line.starts_with("websocket: ")), "{:?}", seen.lines());
    assert_eq!((seen.records.len(), &seen.skipped[..]), (4, &[][..]));
    let extension = seen.records[3].response.as_ref().and_then(|message| message.field("extension"));
    assert_eq!(extension, Some(&Value::Text("unknown".into())), "{:?}", seen.records[3]);

    // Only the end of the answer is lost: that it is 101 is known, what it said of extensions is not.
    for kept in [34, 56, SWITCHING.len() - 1] {
        let cut = [Sent(UPGRADE), Received(&SWITCHING[..kept]), LostReceived(SWITCHING.len() - kept)];
        let frames = [Sent(&ask), Received(&answer), Received(&compressed)];
        let steps: Vec<Step<'_>> = cut.into_iter().chain(frames).collect();
        let seen = run_cut(&steps, usize::MAX);
        assert_eq!(seen.lines()[0], "http1: 101 GET /ws 0 B [truncated]", "{kept}");
        assert_eq!((seen.records.len(), &seen.skipped[..]), (4, &[][..]), "{kept}: {:?}", seen.lines());
        let extension = seen.records[3].response.as_ref().and_then(|message| message.field("extension"));
        assert_eq!(extension, Some(&Value::Text("unknown".into())), "{:?}", seen.records[3]);
    }
}

#[test]
fn frames_behind_a_lost_request_to_upgrade_are_not_passed_over() {
    let (ask, answer) = (frame(true, "question"), frame(false, "answer"));
    // The client goes on once it has the answer.
    let steps = [LostSent(UPGRADE.len()), Received(SWITCHING), Sent(&ask), Received(&answer)];
    let seen = run(&steps);
    let expected = [
        "http1: 101 (request not seen) 0 B [no-request]",
        "websocket: text 8 bytes",
        "websocket: text 6 bytes",
    ];
    assert_eq!((seen.lines(), &seen.skipped[..]), (expected.map(str::to_owned).to_vec(), &[][..]));
}

#[test]
fn a_frame_in_several_pieces_behind_a_gap_is_one_where_it_began_with_an_event() {
    let (lost, whole) = (frame(true, "lost"), [&[0x82, 0x80 | 40, 1, 2, 3, 4][..], &[0xa5; 40]].concat());
    let mut steps = vec![Sent(UPGRADE), Received(SWITCHING), LostSent(lost.len())];
    steps.extend(whole.chunks(15).map(Sent));
    let seen = run_cut(&steps, usize::MAX);
    assert_eq!((seen.lines()[1].as_str(), &seen.skipped[..]), ("websocket: binary 40 bytes", &[][..]));
}

#[test]
fn a_gap_that_reaches_into_frames_leads_to_websocket_too() {
    let (ask, answer) = (frame(true, "question"), frame(false, "an answer of the server"));
    let server = [SWITCHING, &answer[..], &answer[..]].concat();
    let gap = SWITCHING.len() + 9;
    let seen = run_cut(&[Sent(UPGRADE), LostReceived(gap), Sent(&ask), Received(&server[gap..])], usize::MAX);
    let lines = seen.lines();
    assert_eq!(lines.iter().filter(|line| line.starts_with("websocket: ")).count(), 2, "{lines:?}");
    assert_eq!(seen.skipped.len(), 1, "the rest of the first answer: {:?}", seen.skipped);
}

#[test]
fn a_lost_refusal_of_an_upgrade_is_no_upgrade() {
    let refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    let seen = run(&[Sent(UPGRADE), LostReceived(refusal.len()), Sent(GET), Received(OK)]);
    assert_eq!(seen.lines(), ["http1: --- GET /ws [no-response]", "http1: 200 GET /in 2 B"]);
    assert_eq!(seen.skipped, []);
}

#[test]
fn an_upgrade_to_tls_goes_on_with_its_handshake() {
    let hellos = hellos();
    let ask = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n";
    // RFC 2817, section 3.3.
    let yes =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: TLS/1.0, HTTP/1.1\r\nConnection: Upgrade\r\n\r\n";
    for answer in [Received(yes), LostReceived(yes.len())] {
        let seen = run(&with_tls(vec![Sent(ask), answer], &hellos));
        assert!(seen.lines()[0].contains("OPTIONS *"), "{:?}", seen.lines());
        assert!(seen.lines()[1].contains("inner.example"), "{:?}", seen.lines());
        assert_eq!(seen.skipped, []);
    }
}

#[test]
fn tls_begins_behind_each_protocol_that_asks_for_it_and_behind_a_gap_over_the_answer() {
    let hellos = hellos();
    let ssl_request = [0, 0, 0, 8, 4, 210, 22, 47];
    let info = b"INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"tls_required\":true}\r\n";
    let greeting = mysql_greeting();
    let cases: [(&str, Vec<Step<'_>>); 5] = [
        ("postgres", vec![Sent(&ssl_request), Received(b"S")]),
        ("postgres", vec![Sent(&ssl_request), LostReceived(1)]),
        ("nats", vec![Received(info)]),
        ("mysql", vec![Received(&greeting), Sent(&MYSQL_SSL_REQUEST)]),
        ("mysql", vec![Received(&greeting), LostSent(MYSQL_SSL_REQUEST.len())]),
    ];
    for (name, before) in cases {
        // Behind a gap it is the beginning of a call that tells a message.
        let seen = run_cut(&with_tls(before, &hellos), usize::MAX);
        let lines = seen.lines();
        assert!(lines[0].starts_with(&format!("{name}: ")), "{lines:?}");
        let handshake = lines.iter().find(|line| line.contains("inner.example"));
        assert!(handshake.is_some_and(|line| line.starts_with("tls: ")), "{name}: {lines:?}");
        assert_eq!(seen.skipped, [], "{name}: {lines:?}");
    }
    // Where INFO is lost, the client begins.
    let seen = run(&with_tls(vec![LostReceived(info.len())], &hellos));
    assert!(seen.lines()[0].contains("inner.example"), "{:?}", seen.lines());
}

#[test]
fn a_handshake_whose_hello_is_lost_right_behind_the_agreement_is_not_complete() {
    let [client_hello, server_hello, _] = hellos();
    let ssl_request = [0, 0, 0, 8, 4, 210, 22, 47];
    let greeting = mysql_greeting();
    // ClientKeyExchange (RFC 5246, section 7.4.7), a whole message.
    let key = tls(22, &[16, 0, 0, 2, 1, 2]);
    let agreements =
        [vec![Sent(&ssl_request), Received(b"S")], vec![Received(&greeting), Sent(&MYSQL_SSL_REQUEST)]];
    for mut steps in agreements {
        steps.extend([LostSent(client_hello.len()), Received(&server_hello), Sent(&key)]);
        let lines = run_cut(&steps, usize::MAX).lines();
        let handshake: Vec<_> = lines.iter().filter(|line| line.starts_with("tls: ")).collect();
        assert_eq!(handshake.len(), 1, "{lines:?}");
        assert!(handshake[0].ends_with("[truncated]"), "{lines:?}");
    }
}

/// Protocol::SSLRequest: CLIENT_SSL among the flags, which are those of a MySQL 8 client.
const MYSQL_SSL_REQUEST: [u8; 36] = {
    let mut packet = [0; 36];
    (packet[0], packet[3]) = (32, 1);
    (packet[4], packet[5], packet[6], packet[7]) = (0x85, 0xae, 0xff, 0x19);
    (packet[11], packet[12]) = (1, 0xff);
    packet
};

/// Protocol::HandshakeV10 of a server with CLIENT_SSL.
fn mysql_greeting() -> Vec<u8> {
    let body = [
        &b"\x0a8.0.36\0"[..],
        &[8, 0, 0, 0],
        b"abcdefgh\0",
        &[0xff, 0xff, 0xff, 2, 0, 0xff, 0xdf, 21],
        &[0; 10],
        b"ijklmnopqrst\0",
        b"caching_sha2_password\0",
    ]
    .concat();
    [&(body.len() as u32).to_le_bytes()[..3], &[0], &body].concat()
}
