//! Recordings: what is read is what was written, and tshark sees the same bytes.

use proptest::prelude::*;
use sockdbg::event::{
    Address, Call, Cause, Close, CloseReason, Comm, ConnId, Data, Direction, Event, Kind, Loss, Open, Opened,
    Range, Role, Start, Task, Timestamp, Total, Transport, UnixName,
};
use sockdbg::output::recording::Writer;
use sockdbg::source::recording::Recording;
use sockdbg::source::{Error, Source, Summary};
use std::cell::RefCell;
use std::io::{self, Write};
use std::net::{SocketAddr, SocketAddrV6};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

/// An event that owns its payload.
#[derive(Clone, Debug)]
struct Owned {
    event: Event<'static>,
    payload: Vec<u8>,
}

impl Owned {
    fn of(event: &Event<'_>) -> Owned {
        let Event { time, conn, task, fd, .. } = *event;
        let (kind, payload) = match &event.kind {
            Kind::Open(open) => (Kind::Open(open.clone()), &[][..]),
            Kind::Close(close) => (Kind::Close(*close), &[][..]),
            Kind::Loss(loss) => (Kind::Loss(loss.clone()), &[][..]),
            Kind::Data(data) => (Kind::Data(Data { payload: &[], ..data.clone() }), data.payload),
        };
        Owned { event: Event { time, conn, task, fd, kind }, payload: payload.to_vec() }
    }

    fn borrow(&self) -> Event<'_> {
        let mut event: Event<'_> = self.event.clone();
        if let Kind::Data(data) = &mut event.kind {
            data.payload = &self.payload;
        }
        event
    }

    /// Every field. `Debug` shows all of them but the bytes of `comm`, which it may replace.
    fn fields(&self) -> (String, Option<[u8; 16]>, &[u8]) {
        (format!("{:?}", self.event), self.event.task.map(|task| task.comm.0), &self.payload)
    }
}

fn record(path: &Path, events: &[Owned], summary: &Summary) {
    let mut writer = Writer::create(path).unwrap();
    for event in events {
        writer.event(&event.borrow()).unwrap();
    }
    writer.finish(summary).unwrap();
}

fn read(path: &Path) -> Result<(Vec<Owned>, Summary), Error> {
    let mut events = Vec::new();
    let summary = Recording::open(path)?.run(&mut |event| {
        events.push(Owned::of(event));
        ControlFlow::Continue(())
    })?;
    Ok((events, summary))
}

#[track_caller]
fn assert_same(read: &[Owned], written: &[Owned]) {
    for (index, (read, written)) in read.iter().zip(written).enumerate() {
        let (read, written) = (read.fields(), written.fields());
        assert!(read == written, "event {index}: read {:?}\nwritten {:?}", read.0, written.0);
    }
    assert_eq!(read.len(), written.len());
}

fn address() -> impl Strategy<Value = Option<Address>> {
    let v6 = (any::<u128>(), any::<u16>(), any::<u32>(), any::<u32>());
    let name = proptest::collection::vec(any::<u8>(), 0..UnixName::MAX + 1);
    proptest::option::of(prop_oneof![
        name.prop_map(|name| Address::Unix(UnixName::new(&name))),
        (any::<u32>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(
            std::net::Ipv4Addr::from(ip).into(),
            port
        )
        .into()),
        v6.prop_map(|(ip, port, flow, scope)| SocketAddr::from(SocketAddrV6::new(
            ip.into(),
            port,
            flow,
            scope
        ))
        .into()),
    ])
}

fn call() -> impl Strategy<Value = Call> {
    (1..=16u8).prop_map(|number| Call::from_number(number).unwrap())
}

fn cause() -> impl Strategy<Value = Cause> {
    proptest::sample::select(Cause::ALL)
}

fn direction() -> impl Strategy<Value = Direction> {
    proptest::sample::select(&Direction::BOTH[..])
}

fn start() -> impl Strategy<Value = Start> {
    (any::<u64>(), any::<Option<u32>>()).prop_map(|(offset, seq)| Start { offset, seq })
}

fn open() -> impl Strategy<Value = Kind<'static>> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let transport = proptest::sample::select(&Transport::ALL[..]);
    let role = proptest::sample::select(vec![Role::Client, Role::Server, Role::Unknown]);
    let call = proptest::option::of(call());
    (flags, transport, [address(), address()], role, [start(), start()], call, any::<Option<i32>>()).prop_map(
        |((found, exact, filtered), transport, [local, remote], role, start, call, error)| {
            let opened = if found { Opened::Found } else { Opened::Fresh };
            Kind::Open(Open { opened, transport, local, remote, role, start, exact, filtered, call, error })
        },
    )
}

/// Payload lengths around the size of one packet are tried as often as all others together.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let near = |length: usize| length - 2..=length + 2;
    let length = prop_oneof![0..50usize, 0..3000usize, near(65_495), near(2 * 65_495), Just(300_000)];
    (length, any::<u8>())
        .prop_map(|(length, seed)| (0..length).map(|i| seed.wrapping_add((i * i) as u8)).collect())
}

fn data() -> impl Strategy<Value = (Kind<'static>, Vec<u8>)> {
    let more = prop_oneof![Just(0u64), 0..100u64, any::<u32>().prop_map(u64::from)];
    let position = (0..u64::MAX / 2, any::<Option<u32>>());
    let rest = (call(), proptest::option::of(cause()), any::<[bool; 2]>(), any::<Option<i32>>(), address());
    (direction(), position, more, payload(), rest).prop_map(
        |(direction, (offset, tcp_seq), more, bytes, (call, cause, [peek, past_tcp], error, peer))| {
            let length = bytes.len() as u64 + more;
            let data = Data {
                direction,
                offset,
                length,
                payload: &[],
                tcp_seq,
                peer,
                call,
                cause,
                peek,
                past_tcp,
                acked: None,
                error,
            };
            (Kind::Data(data), bytes)
        },
    )
}

fn total() -> impl Strategy<Value = Total> {
    let fields = (any::<u64>(), any::<Option<u64>>(), any::<u64>());
    fields.prop_map(|(moved, end, pending)| Total { moved, end, pending, ..Total::default() })
}

fn close() -> impl Strategy<Value = Kind<'static>> {
    use CloseReason::{Closed, Descriptor, Fin, Reset, StillOpen};
    let reason = proptest::sample::select(vec![Descriptor, Closed, Fin, Reset, StillOpen]);
    (reason, proptest::option::of(call()), [total(), total()])
        .prop_map(|(reason, call, totals)| Kind::Close(Close { reason, call, totals }))
}

fn loss() -> impl Strategy<Value = Kind<'static>> {
    (direction(), any::<u64>(), any::<u64>(), cause()).prop_map(|(direction, one, other, cause)| {
        Kind::Loss(Loss { direction, range: Range::new(one.min(other), one.max(other)), cause })
    })
}

fn event() -> impl Strategy<Value = Owned> {
    let nothing = Vec::new;
    let kind = prop_oneof![
        1 => open().prop_map(move |kind| (kind, nothing())),
        4 => data(),
        1 => close().prop_map(move |kind| (kind, nothing())),
        1 => loss().prop_map(move |kind| (kind, nothing())),
    ];
    let task = proptest::option::of((any::<u32>(), any::<u32>(), any::<[u8; 16]>()));
    (any::<u64>(), 0..4u64, any::<u32>(), task, any::<Option<i32>>(), kind).prop_map(
        |(time, socket, opened, task, fd, (kind, payload))| Owned {
            event: Event {
                time: Timestamp(time),
                conn: ConnId { socket, opened: opened % 2 },
                task: task.map(|(pid, tid, comm)| Task { pid, tid, comm: Comm(comm) }),
                fd,
                kind,
            },
            payload,
        },
    )
}

fn summary() -> impl Strategy<Value = Summary> {
    let times = (any::<Option<u64>>(), any::<Option<u64>>());
    (times, any::<u64>(), proptest::collection::vec("[a-zä€ ]{0,40}", 0..3)).prop_map(
        |((first, last), dropped, warnings)| Summary {
            conflicts: Vec::new(),
            first: first.map(Timestamp),
            last: last.map(Timestamp),
            cut: None,
            dropped,
            warnings,
            pace: None,
            undated: false,
            ..Summary::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_event_is_read_as_it_was_written(
        events in proptest::collection::vec(event(), 0..12),
        summary in summary(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rec.pcapng");
        record(&path, &events, &summary);
        let (read, said) = read(&path).unwrap();
        assert_same(&read, &events);
        prop_assert_eq!(said.cut, None);
        prop_assert_eq!((said.dropped, said.warnings), (summary.dropped, summary.warnings));
        // Times that the writer's source did not know are those of the events.
        prop_assert_eq!(said.first, summary.first.or(events.iter().map(|owned| owned.event.time).min()));
        prop_assert_eq!(said.last, summary.last.or(events.iter().map(|owned| owned.event.time).max()));
    }
}

const CLIENT: &str = "10.0.0.1:51000";
const SERVER: &str = "10.0.0.2:80";

/// Events of one HTTP client, with its offsets.
struct Client {
    conn: ConnId,
    /// Sequence numbers that data events carry; the open has the others.
    anchors: [Option<u32>; 2],
    time: u64,
    offset: [u64; 2],
    events: Vec<Owned>,
}

impl Client {
    fn connect(socket: u64, local: &str, remote: &str) -> Client {
        // The first wraps in the middle of the traffic.
        Client::anchored(socket, local, remote, [Some(0xffff_ff00), Some(77_000)], [None; 2])
    }

    /// `known` at the open, `anchors` by data.
    fn anchored(
        socket: u64,
        local: &str,
        remote: &str,
        known: [Option<u32>; 2],
        anchors: [Option<u32>; 2],
    ) -> Client {
        let conn = ConnId { socket, opened: 0 };
        let mut client =
            Client { conn, anchors, time: 1_700_000_000_000_000_000, offset: [0; 2], events: Vec::new() };
        client.add(
            Kind::Open(Open {
                local: Some(local.parse().unwrap()),
                remote: Some(remote.parse().unwrap()),
                role: Role::Client,
                start: known.map(|seq| Start { offset: 0, seq }),
                exact: true,
                call: Some(Call::Connect),
                ..Open::default()
            }),
            Vec::new(),
        );
        client
    }

    fn add(&mut self, kind: Kind<'static>, payload: Vec<u8>) {
        self.time += 1_000_000;
        let task = Some(Task { pid: 42, tid: 43, comm: Comm::new(b"curl") });
        let event = Event { time: Timestamp(self.time), conn: self.conn, task, fd: Some(5), kind };
        self.events.push(Owned { event, payload });
    }

    fn data(&mut self, direction: Direction, length: usize, payload: &[u8]) {
        let offset = self.offset[direction.index()];
        self.offset[direction.index()] += length as u64;
        let call = if direction == Direction::Send { Call::Write } else { Call::Read };
        let tcp_seq = self.anchors[direction.index()].map(|seq| seq.wrapping_add(offset as u32));
        let data = Data {
            direction,
            offset,
            length: length as u64,
            payload: &[],
            tcp_seq,
            peer: None,
            call,
            cause: (payload.len() < length).then_some(Cause::Snaplen),
            peek: false,
            past_tcp: false,
            acked: None,
            error: None,
        };
        self.add(Kind::Data(data), payload.to_vec());
    }

    fn send(&mut self, payload: &[u8]) {
        self.data(Direction::Send, payload.len(), payload);
    }

    fn receive(&mut self, payload: &[u8]) {
        self.data(Direction::Recv, payload.len(), payload);
    }

    fn lose(&mut self, direction: Direction, length: u64) {
        let from = self.offset[direction.index()];
        self.offset[direction.index()] += length;
        let range = Range::new(from, from + length);
        self.add(Kind::Loss(Loss { direction, range, cause: Cause::RingFull }), Vec::new());
    }

    fn close(&mut self) {
        let totals = self.offset.map(|end| Total { moved: end, end: Some(end), ..Total::default() });
        self.add(
            Kind::Close(Close { reason: CloseReason::Closed, call: Some(Call::Close), totals }),
            Vec::new(),
        );
    }
}

fn response(length: usize) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    bytes.extend((0..length).map(|i| b'a' + (i % 23) as u8));
    bytes
}

fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

/// Runs tshark on a recording; gives what it prints.
fn tshark(path: &Path, arguments: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(path).args(arguments).output();
    let output = output.expect("tshark has to be installed (package tshark)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The bytes of both directions, by tshark: it indents those of the second sender with a tab.
fn followed(path: &Path, stream: usize) -> [Vec<u8>; 2] {
    let text = tshark(path, &["-q", "-z", &format!("follow,tcp,raw,{stream}")]);
    let mut bytes = [Vec::new(), Vec::new()];
    for line in text.lines().filter(|line| line.trim().bytes().all(|byte| byte.is_ascii_hexdigit())) {
        let side = usize::from(line.starts_with('\t'));
        let digits = line.trim().as_bytes();
        bytes[side].extend(
            digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()),
        );
    }
    bytes
}

#[test]
fn tshark_reads_requests_and_streams_of_a_recording() {
    for (client_end, server_end) in [(CLIENT, SERVER), ("[fd00::1]:51000", "[fd00::2]:80")] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rec.pcapng");
        let mut client = Client::connect(7, client_end, server_end);
        client.send(&request("/small"));
        client.receive(&response(10));
        client.send(&request("/large"));
        client.receive(&response(300_000));
        client.send(&request("/last"));
        client.receive(&response(0));
        client.close();
        record(&path, &client.events, &Summary::default());

        let uris = tshark(&path, &["-Y", "http.request", "-T", "fields", "-e", "http.request.uri"]);
        assert_eq!(uris.lines().collect::<Vec<_>>(), ["/small", "/large", "/last"]);
        let codes = tshark(&path, &["-Y", "http.response", "-T", "fields", "-e", "http.response.code"]);
        assert_eq!(codes.lines().collect::<Vec<_>>(), ["200", "200", "200"]);
        let sent = ["/small", "/large", "/last"].map(request).concat();
        let received = [response(10), response(300_000), response(0)].concat();
        assert!(followed(&path, 0) == [sent, received], "{client_end}");
        let odd =
            "_ws.malformed || tcp.analysis.flags || ip.checksum.status == 0 || _ws.expert.severity == error";
        assert_eq!(tshark(&path, &["-o", "ip.check_checksum:TRUE", "-Y", odd]), "");
        let first = tshark(&path, &["-c", "1", "-T", "fields", "-e", "tcp.flags.syn", "-e", "frame.comment"]);
        assert_eq!(first, "1\topen as client; socket 7 fd 5 of 42 (curl)\n");
    }
}

#[test]
fn tshark_sees_gaps_and_cut_payload_as_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rec.pcapng");
    let mut client = Client::connect(8, CLIENT, SERVER);
    client.send(&request("/cut"));
    let whole = response(5000);
    client.data(Direction::Recv, whole.len(), &whole[..100]);
    client.send(&request("/gap"));
    client.lose(Direction::Recv, 1234);
    client.send(&request("/far"));
    client.data(Direction::Recv, 1 << 20, &[]);
    client.send(&request("/end"));
    client.close();
    record(&path, &client.events, &Summary::default());

    let uris = tshark(&path, &["-Y", "http.request", "-T", "fields", "-e", "http.request.uri"]);
    assert_eq!(uris.lines().collect::<Vec<_>>(), ["/cut", "/gap", "/far", "/end"]);
    assert_eq!(tshark(&path, &["-Y", "_ws.malformed"]), "");
    let cut = ["-Y", "tcp.len == 5041", "-T", "fields", "-e", "frame.cap_len", "-e", "frame.len"];
    assert_eq!(whole.len(), 5041, "the filter above");
    assert_eq!(tshark(&path, &cut), "140\t5081\n");
    // Each request acknowledges what was received before it: cut, lost, or too long for one packet.
    let acks = tshark(&path, &["-Y", "http.request", "-T", "fields", "-e", "tcp.ack_raw"]);
    let expected = [0, 5041, 6275, 6275 + (1 << 20)].map(|received| (77_000 + received).to_string());
    assert_eq!(acks.lines().collect::<Vec<_>>(), expected);
    let lost =
        tshark(&path, &["-Y", "frame.comment contains \"lost\"", "-T", "fields", "-e", "frame.comment"]);
    assert_eq!(lost, "lost in recv direction: [5041, 6275) (ring-full); socket 8 fd 5 of 42 (curl)\n");
    let (read, _) = read(&path).unwrap();
    assert_same(&read, &client.events);
}

#[test]
fn tshark_sees_the_datagrams_of_a_recording_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rec.pcapng");
    for (local, peer) in [("192.0.2.1:5300", "192.0.2.2:51000"), ("[fd00::1]:5300", "[fd00::2]:51000")] {
        let mut server = Client::connect(9, local, peer);
        let Kind::Open(open) = &mut server.events[0].event.kind else { unreachable!("opened first") };
        (open.transport, open.remote) = (Transport::Udp, None);
        let payloads = [b"question".to_vec(), Vec::new(), vec![b'x'; 65_507]];
        for payload in &payloads {
            for direction in Direction::BOTH {
                server.data(direction, payload.len(), payload);
            }
        }
        server.data(Direction::Send, 100, b"cut");
        server.lose(Direction::Recv, 1234);
        for event in &mut server.events[1..] {
            if let Kind::Data(data) = &mut event.event.kind {
                (data.peer, data.tcp_seq) = (Some(peer.parse().unwrap()), None);
            }
        }
        server.close();
        record(&path, &server.events, &Summary::default());

        let fields = ["-e", "udp.srcport", "-e", "udp.dstport", "-e", "udp.length", "-e", "udp.payload"];
        let shown = tshark(
            &path,
            &[&["-d", "udp.port==5300,data", "-T", "fields", "-Y", "udp"], &fields[..]].concat(),
        );
        let mut expected = String::new();
        for payload in &payloads {
            let (length, hex) = (payload.len() + 8, data_encoding::HEXLOWER.encode(payload));
            for ports in ["5300\t51000", "51000\t5300"] {
                expected.push_str(&format!("{ports}\t{length}\t{hex}\n"));
            }
        }
        expected.push_str("5300\t51000\t108\t637574\n");
        assert!(shown == expected, "{local}");
        let odd = "_ws.malformed || _ws.expert.severity == error || udp.checksum.status == 0";
        let odd = ["-o", "udp.check_checksum:TRUE", "-Y", odd, "-T", "fields", "-e", "udp.length"];
        // Of a datagram that was cut no checksum is known.
        assert!(["", "108\n"].contains(&tshark(&path, &odd).as_str()));
        let others = tshark(&path, &["-Y", "!udp", "-T", "fields", "-e", "frame.comment"]);
        let what = ["open as client", "lost in recv direction: [65515, 66749) (ring-full)", "closed: sent"];
        assert_eq!(others.lines().count(), what.len(), "{others}");
        assert!(others.lines().zip(what).all(|(line, what)| line.starts_with(what)), "{others}");
        assert_same(&read(&path).unwrap().0, &server.events);
    }
}

#[test]
fn tshark_follows_a_unix_stream_and_shows_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rec.pcapng");
    let mut events = Vec::new();
    // Two connections to one name, at once.
    for socket in [70, 71] {
        let mut client = Client::anchored(socket, CLIENT, SERVER, [None; 2], [None; 2]);
        let Kind::Open(open) = &mut client.events[0].event.kind else { unreachable!("opened first") };
        open.transport = Transport::UnixStream;
        open.local = Some(Address::Unix(UnixName::UNNAMED));
        open.remote = Some(Address::Unix(UnixName::new(b"/run/web.sock")));
        client.send(&request(&format!("/{socket}")));
        client.receive(&response(100_000));
        client.close();
        events.extend(client.events);
    }
    events.sort_by_key(|owned| owned.event.time);
    record(&path, &events, &Summary::default());

    for (stream, socket) in [70, 71].into_iter().enumerate() {
        assert!(followed(&path, stream) == [request(&format!("/{socket}")), response(100_000)], "{socket}");
    }
    let first = tshark(&path, &["-c", "1", "-T", "fields", "-e", "frame.comment"]);
    assert_eq!(
        first,
        "open as client, unix-stream from \"\" to \"/run/web.sock\"; socket 70 fd 5 of 42 (curl)\n"
    );
    let odd = "_ws.malformed || tcp.analysis.flags || _ws.expert.severity == error";
    assert_eq!(tshark(&path, &["-Y", odd]), "");
    assert_same(&read(&path).unwrap().0, &events);
}

#[test]
fn sequence_numbers_may_be_known_late_or_never() {
    for (known, anchors, expected) in
        [([Some(1000), None], [None, Some(5000)], "5000\n"), ([None, None], [None, None], "1\n")]
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rec.pcapng");
        let mut client = Client::anchored(7, CLIENT, SERVER, known, anchors);
        client.send(&request("/one"));
        client.receive(&response(100));
        client.send(&request("/two"));
        client.receive(&response(100));
        client.close();
        record(&path, &client.events, &Summary::default());
        let uris = tshark(&path, &["-Y", "http.request", "-T", "fields", "-e", "http.request.uri"]);
        assert_eq!(uris, "/one\n/two\n");
        let sent = ["/one", "/two"].map(request).concat();
        assert!(followed(&path, 0) == [sent, response(100).repeat(2)]);
        let first = ["-Y", "http.response && tcp.seq == 1", "-T", "fields", "-e", "tcp.seq_raw"];
        assert_eq!(tshark(&path, &first), expected);
        assert_same(&read(&path).unwrap().0, &client.events);
    }
}

/// Memory that can be looked at while a writer has it.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_recording_cut_at_any_byte_gives_the_events_before_and_says_so() {
    let mut client = Client::connect(9, CLIENT, SERVER);
    client.send(&request("/"));
    client.receive(&response(30));
    client.lose(Direction::Recv, 10);
    client.data(Direction::Send, 500, b"cut");
    client.close();
    let shared = Shared::default();
    let mut writer = Writer::new(shared.clone()).unwrap();
    writer.flush().unwrap();
    let head = shared.0.borrow().len();
    let mut ends = Vec::new();
    for event in &client.events {
        writer.event(&event.borrow()).unwrap();
        writer.flush().unwrap();
        ends.push(shared.0.borrow().len());
    }
    writer.finish(&Summary::default()).unwrap();
    let bytes = shared.0.borrow().clone();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.pcapng");
    for length in 0..bytes.len() {
        std::fs::write(&path, &bytes[..length]).unwrap();
        if length < head {
            assert!(matches!(read(&path), Err(Error::Input(message)) if message.contains("cut.pcapng")));
            continue;
        }
        let (events, summary) = read(&path).unwrap();
        let complete = ends.iter().filter(|&&end| end <= length).count();
        // A SYN-ACK follows the open: the event is whole before all its packets are.
        let open = usize::from(complete == 0 && length > head && events.len() == 1);
        assert_eq!(events.len(), complete + open, "cut at {length}");
        assert_same(&events, &client.events[..events.len()]);
        let reason = summary.cut.unwrap_or_else(|| panic!("cut at {length} not told"));
        assert!(reason.ends_with(&format!("at byte {length}")), "cut at {length}: {reason}");
    }
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(read(&path).unwrap().1.cut, None);
}

#[test]
fn an_event_of_several_packets_that_is_cut_is_not_delivered() {
    let mut client = Client::connect(9, CLIENT, SERVER);
    client.receive(&response(200_000));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rec.pcapng");
    record(&path, &client.events, &Summary::default());
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..150_000]).unwrap();
    let (events, summary) = read(&path).unwrap();
    assert_same(&events, &client.events[..1]);
    assert!(summary.cut.unwrap().contains("inside an event"));
}

#[test]
fn damaged_recordings_do_not_panic() {
    let mut client = Client::connect(9, CLIENT, SERVER);
    client.send(&request("/"));
    client.receive(&response(70_000));
    client.close();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pcapng");
    record(&path, &client.events, &Summary::default());
    let bytes = std::fs::read(&path).unwrap();
    let mut state = 3u64;
    let mut random = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let mut told = 0;
    for round in 0..500 {
        let mut damaged = bytes.clone();
        for _ in 0..=round % 5 {
            // Half of the damage goes where the headers are.
            let at = if random(2) == 0 { random(900) } else { random(damaged.len()) };
            damaged[at] = random(256) as u8;
        }
        std::fs::write(&path, &damaged).unwrap();
        match read(&path) {
            Ok((events, summary)) => {
                told += usize::from(summary.cut.is_some());
                for owned in &events {
                    if let Kind::Data(data) = &owned.borrow().kind {
                        assert!(data.payload.len() as u64 <= data.range().len());
                    }
                }
            }
            Err(Error::Input(message)) => assert!(message.contains("damaged.pcapng")),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(told > 50, "{told}");
}

#[test]
fn a_recording_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rec.pcapng");
    record(&path, &[], &Summary::default());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(read(&path).unwrap().0.is_empty());
}

#[test]
fn content_tells_recordings_from_captures() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rec.pcapng");
    let mut client = Client::connect(9, CLIENT, SERVER);
    client.send(&request("/"));
    record(&path, &client.events, &Summary { dropped: 3, ..Summary::default() });
    let vantage = |path: &Path| sockdbg::source::open(path).map(|source| source.vantage().name());
    assert_eq!(vantage(&path).unwrap(), "syscall");
    // As a capture, a recording is one like any other.
    let as_capture =
        sockdbg::source::pcap::Capture::open(&path, Default::default()).unwrap().run(&mut |event| {
            if let Kind::Data(data) = &event.kind {
                assert_eq!((data.offset, data.payload), (0, &request("/")[..]));
            }
            ControlFlow::Continue(())
        });
    let as_capture = as_capture.unwrap();
    assert_eq!((as_capture.dropped, as_capture.warnings, as_capture.cut), (3, vec![], None));

    let refused = |name: &str, bytes: &[u8], word: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        for error in [vantage(&path).unwrap_err(), Recording::open(&path).err().unwrap()] {
            let Error::Input(message) = error else { panic!("{error}") };
            assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
            assert!(message.lines().count() == 1, "{message}");
        }
        let message = vantage(&path).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    };
    refused("empty", b"", "is empty");
    refused("text", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "neither a capture");
    refused("gzip", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], "compressed");
    refused("short", &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], "before its header is complete");
    refused("short.pcapng", &std::fs::read(&path).unwrap()[..20], "header");
    let message = vantage(folder.path()).unwrap_err().to_string();
    assert!(message.contains("is a directory"), "{message}");
    let message = vantage(&folder.path().join("none")).unwrap_err().to_string();
    assert!(message.contains("none: no such file"), "{message}");
}
