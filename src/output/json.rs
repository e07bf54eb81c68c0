//! Events as JSON Lines with stable field names (design: one object per line, `type` and `time` first).
//!
//! Times are RFC 3339 in UTC with nanoseconds, payload is base64. Fields that do not apply or are not
//! known are absent. Characters that a terminal would obey are written as `\uXXXX`.

use super::View;
use super::escape::{escape, is_harmful};
use super::sockets::{Socket, Sockets};
use super::tally::Tally;
use super::time::rfc3339;
use crate::event::{Address, Close, Data, Event, Kind, Loss, Open, Opened, Task, Total, Vantage};
use crate::redact::Content;
use data_encoding::BASE64;
use nix::errno::Errno;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use std::borrow::Cow;
use std::io::{self, Write};

/// The JSON view of events.
#[derive(Debug)]
pub struct JsonView {
    vantage: Vantage,
    sockets: Sockets,
    base64: String,
    content: Content,
}

impl JsonView {
    /// A view of events that were seen at `vantage`.
    pub fn new(vantage: Vantage) -> JsonView {
        JsonView::with_content(vantage, Content::Whole)
    }

    /// As [`JsonView::new`], where payload may have to be taken out, or was.
    pub fn with_content(vantage: Vantage, content: Content) -> JsonView {
        JsonView { vantage, sockets: Sockets::default(), base64: String::new(), content }
    }
}

impl View for JsonView {
    fn event(&mut self, event: &Event<'_>, out: &mut dyn Write) -> io::Result<()> {
        let socket = self.sockets.of(event);
        let line = Line::new(event, socket);
        match &event.kind {
            Kind::Open(open) => write_line(&line.open(open), out),
            Kind::Data(data) => {
                let line = line.data(data, self.vantage);
                if !matches!(self.content, Content::Whole) {
                    let payload_hash = match &self.content {
                        Content::Hashed(redaction) => Some(redaction.hash(data.payload)),
                        _ => None,
                    };
                    return write_line(&Line { redacted: true, payload_hash, ..line }, out);
                }
                self.base64.clear();
                BASE64.encode_append(data.payload, &mut self.base64);
                write_line(&Line { payload: Some(&self.base64), ..line }, out)
            }
            Kind::Close(close) => write_line(&line.close(close), out),
            Kind::Loss(loss) => write_line(&line.loss(loss), out),
        }
    }

    fn end(&mut self, tally: &Tally, out: &mut dyn Write) -> io::Result<()> {
        write_line(&tally.summary(), out)
    }
}

/// Writes one value as one line, safe for a terminal.
///
/// # Errors
/// `out` can't be written, or `value` is no JSON (a map with keys that are no strings).
pub fn write_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, Harmless(CompactFormatter)))?;
    out.write_all(b"\n")
}

/// Text of an outside name: as it is where it is UTF-8, else escaped.
pub fn name(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(escape(bytes).to_string()),
    }
}

/// An address, or the name of a Unix socket as /proc/net/unix shows it: empty where it has none.
fn address(address: Address) -> String {
    match address {
        Address::Ip(address) => address.to_string(),
        Address::Unix(unix) => name(&unix.text()).into_owned(),
    }
}

/// The fields that every line about a connection begins with.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Connection<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i32>,
    socket: u64,
    /// Tells sockets apart that got the same inode one after the other.
    socket_opened: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    transport: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    role: &'static str,
}

impl<'a> Connection<'a> {
    /// Of a socket, and the task and descriptor that used it.
    pub fn new(socket: Socket, task: Option<&'a Task>, fd: Option<i32>) -> Connection<'a> {
        Connection {
            pid: task.map(|task| task.pid),
            tid: task.map(|task| task.tid),
            comm: task.map(|task| name(task.comm.as_bytes())),
            fd,
            socket: socket.conn.socket,
            socket_opened: socket.conn.opened,
            family: socket.family(),
            transport: socket.transport.name(),
            local: socket.local.map(address),
            remote: socket.remote.map(address),
            role: socket.role.name(),
        }
    }
}

/// One event. Which of the optional fields are there depends on its type.
#[derive(Default, Serialize)]
struct Line<'a> {
    r#type: &'static str,
    time: String,
    #[serde(flatten)]
    connection: Connection<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    syscall: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vantage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captured: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_seq: Option<u32>,
    /// The other end of a datagram, where it is not the connection's.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exact: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send_start: Option<Start>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recv_start: Option<Start>,
    #[serde(skip_serializing_if = "is_false")]
    filtered: bool,
    #[serde(skip_serializing_if = "is_false")]
    peek: bool,
    #[serde(skip_serializing_if = "is_false")]
    past_tcp: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_end: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_end: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unacknowledged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// The payload is left out.
    #[serde(skip_serializing_if = "is_false")]
    redacted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hash: Option<String>,
}

#[derive(Serialize)]
struct Start {
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_seq: Option<u32>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl<'a> Line<'a> {
    fn new(event: &'a Event<'_>, socket: Socket) -> Line<'a> {
        let connection = Connection::new(socket, event.task.as_ref(), event.fd);
        Line { time: rfc3339(event.time), connection, ..Line::default() }
    }

    fn open(self, open: &Open) -> Line<'a> {
        let [send, recv] = open.start.map(|start| Start { offset: start.offset, tcp_seq: start.seq });
        Line {
            r#type: "open",
            syscall: open.call.map(|call| call.name()),
            found: Some(open.opened == Opened::Found),
            exact: Some(open.exact),
            send_start: Some(send),
            recv_start: Some(recv),
            filtered: open.filtered,
            error: open.error.map(errno_name),
            ..self
        }
    }

    fn data(self, data: &Data<'_>, vantage: Vantage) -> Line<'a> {
        Line {
            r#type: "data",
            direction: Some(data.direction.name()),
            syscall: Some(data.call.name()),
            vantage: Some(vantage.name()),
            offset: Some(data.offset),
            length: Some(data.length),
            captured: Some(data.payload.len() as u64),
            tcp_seq: data.tcp_seq,
            peer: data.peer.map(address),
            stage: data.cause.map(|cause| cause.stage().name()),
            cause: data.cause.map(|cause| cause.slug()),
            peek: data.peek,
            past_tcp: data.past_tcp,
            error: data.error.map(errno_name),
            ..self
        }
    }

    fn close(self, close: &Close) -> Line<'a> {
        let [send, recv] = close.totals;
        let pending = |total: Total| (total.pending > 0).then_some(total.pending);
        Line {
            r#type: "close",
            syscall: close.call.map(|call| call.name()),
            reason: Some(close.reason.name()),
            sent: Some(send.moved),
            received: Some(recv.moved),
            sent_end: send.end,
            received_end: recv.end,
            unacknowledged: pending(send),
            unread: pending(recv),
            ..self
        }
    }

    fn loss(self, loss: &Loss) -> Line<'a> {
        Line {
            r#type: "loss",
            direction: Some(loss.direction.name()),
            offset: Some(loss.range.from),
            length: Some(loss.range.len()),
            stage: Some(loss.cause.stage().name()),
            cause: Some(loss.cause.slug()),
            ..self
        }
    }
}

/// `ECONNREFUSED`, or the number where it has no name.
fn errno_name(number: i32) -> String {
    match Errno::from_raw(number) {
        Errno::UnknownErrno => number.to_string(),
        errno => format!("{errno:?}"),
    }
}

/// Compact JSON in which characters that a terminal would obey are escaped. (RFC 8259 section 7 demands
/// it only below U+0020, and allows it for any.)
struct Harmless(CompactFormatter);

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, text: &str) -> io::Result<()> {
        let mut plain = 0;
        for (at, character) in text.char_indices().filter(|&(_, c)| is_harmful(c)) {
            out.write_all(&text.as_bytes()[plain..at])?;
            plain = at + character.len_utf8();
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
        }
        self.0.write_string_fragment(out, &text[plain..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Call, Cause, CloseReason, Comm, ConnId, Direction, Range, Role, Timestamp};
    use serde_json::{Value, json};

    fn event(kind: Kind<'_>) -> Event<'_> {
        Event {
            time: Timestamp(1_795_382_401_000_000_001),
            conn: ConnId { socket: 77, opened: 2 },
            task: Some(Task { pid: 123, tid: 124, comm: Comm::new(b"nginx") }),
            fd: Some(5),
            kind,
        }
    }

    fn open() -> Open {
        Open {
            local: Some("10.0.0.1:443".parse().unwrap()),
            remote: Some("10.0.0.2:51000".parse().unwrap()),
            role: Role::Server,
            call: Some(Call::Accept),
            exact: true,
            ..Open::default()
        }
    }

    /// Shows `kind` after an open and checks the fields beside those of the connection.
    fn check(kind: Kind<'_>, expected: Value) {
        let mut view = JsonView::new(Vantage::Syscall);
        let mut out = Vec::new();
        view.event(&event(Kind::Open(open())), &mut io::sink()).unwrap();
        view.event(&event(kind), &mut out).unwrap();
        assert_eq!(out.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let mut all = json!({
            "time": "2026-11-22T21:20:01.000000001Z", "pid": 123, "tid": 124, "comm": "nginx", "fd": 5,
            "socket": 77, "socket_opened": 2, "family": "ipv4", "transport": "tcp",
            "local": "10.0.0.1:443", "remote": "10.0.0.2:51000", "role": "server",
        });
        all.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
        assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), all);
    }

    #[test]
    fn every_type_has_its_fields() {
        check(
            Kind::Open(open()),
            json!({"type": "open", "syscall": "accept", "found": false, "exact": true,
                   "send_start": {"offset": 0}, "recv_start": {"offset": 0}}),
        );
        check(
            Kind::Loss(Loss { direction: Direction::Send, range: Range::new(5, 9), cause: Cause::RingFull }),
            json!({"type": "loss", "direction": "send", "offset": 5, "length": 4,
                   "stage": "delivery", "cause": "ring-full"}),
        );
        let totals = [(1, Some(1), 0), (2, None, 3)].map(|(moved, end, pending)| Total {
            moved,
            end,
            pending,
            ..Total::default()
        });
        check(
            Kind::Close(Close { reason: CloseReason::Closed, call: Some(Call::Close), totals }),
            json!({"type": "close", "syscall": "close", "reason": "closed", "sent": 1, "received": 2,
                   "sent_end": 1, "unread": 3}),
        );
    }

    #[test]
    fn data_has_base64_payload_and_says_why_it_is_short() {
        check(
            Kind::Data(Data {
                direction: Direction::Recv,
                offset: 3,
                length: 9,
                payload: b"\0\xffhi",
                tcp_seq: Some(4_000_000_000),
                peer: Some("192.0.2.1:53".parse().unwrap()),
                call: Call::Recvmsg,
                cause: Some(Cause::Snaplen),
                peek: true,
                past_tcp: false,
                acked: None,
                error: None,
            }),
            json!({"type": "data", "direction": "recv", "syscall": "recvmsg", "vantage": "syscall",
                   "offset": 3, "length": 9, "captured": 4, "tcp_seq": 4_000_000_000u32,
                   "peer": "192.0.2.1:53", "peek": true,
                   "stage": "capture", "cause": "snaplen", "payload": "AP9oaQ=="}),
        );
    }

    #[test]
    fn type_and_time_come_first() {
        let mut out = Vec::new();
        JsonView::new(Vantage::Wire).event(&event(Kind::Open(open())), &mut out).unwrap();
        let start = "{\"type\":\"open\",\"time\":\"2026-11-22T21:20:01.000000001Z\",\"pid\":123,";
        assert!(String::from_utf8(out).unwrap().starts_with(start));
    }

    #[test]
    fn no_string_reaches_a_terminal_as_a_control() {
        let text = "a\u{9b}2J\u{7f}\u{202e}\u{e0001}\n\"é";
        let mut out = Vec::new();
        write_line(&json!({ "name": text }), &mut out).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(!line.trim_end().chars().any(is_harmful), "{line:?}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["name"], text);
    }
}
