//! Compares what a trace tells with what the workload (tests/workload) knows: byte for byte, and nothing else.

use super::trace::{Data, Seen, What, calls_are_hooked, cause_of_others, has_uring};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sockdbg::event::{Close, ConnId, Direction, Open, Range};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

/// The connections of a trace that have not been compared yet, by socket and in order.
pub struct Told<'a>(BTreeMap<u64, VecDeque<Vec<&'a Seen>>>);

impl<'a> Told<'a> {
    pub fn new(seen: &'a [Seen]) -> Told<'a> {
        let mut order: Vec<ConnId> = Vec::new();
        let mut events: BTreeMap<ConnId, Vec<&Seen>> = BTreeMap::new();
        for seen in seen {
            events.entry(seen.conn).or_insert_with(|| {
                order.push(seen.conn);
                Vec::new()
            });
            events.get_mut(&seen.conn).expect("just entered").push(seen);
        }
        let mut sockets: BTreeMap<u64, VecDeque<Vec<&Seen>>> = BTreeMap::new();
        for conn in order {
            let events = events.remove(&conn).expect("entered once");
            sockets.entry(conn.socket).or_default().push_back(events);
        }
        Told(sockets)
    }

    /// Every way in which the trace differs from a mode's truth, one line each. Takes the mode's connections out.
    pub fn differences(&mut self, truth: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for socket in list(&truth["sockets"]) {
            let mut lines = Vec::new();
            self.compare(socket, &mut lines);
            let (inode, transport) = (&socket["inode"], text(&socket["transport"]));
            found.extend(lines.into_iter().map(|line| format!("socket {inode} ({transport}) {line}")));
        }
        found
    }

    fn compare(&mut self, socket: &Value, found: &mut Vec<String>) {
        let socket = &within_reach(socket);
        let connections = self.0.entry(number(&socket["inode"])).or_default();
        if socket["end"] == "none" {
            let is_still = |seen: &&Seen| matches!(seen.what, What::Open(_) | What::Close(_));
            if !std::mem::take(connections).iter().flatten().all(is_still) {
                found.push("has no peer, and moves something".to_owned());
            }
            return;
        }
        match connections.pop_front() {
            Some(events) => compare(socket, &events, found),
            // Where no handshake tells of it, a connection shows by its use.
            None if socket["transport"] != "tcp" && is_unused(socket) => {}
            None => found.push("is not reported".to_owned()),
        }
    }

    /// What the trace tells of sockets that no mode had, or more often than it had them.
    pub fn rest(self) -> Vec<String> {
        let rest = self.0.into_iter().filter(|(_, connections)| !connections.is_empty());
        rest.map(|(inode, connections)| format!("socket {inode} is nobody's: {:?}", connections[0][0]))
            .collect()
    }
}

/// What can be told of a socket with the hooks in use. Those on calls see the calls of the traced processes that are known
/// to move data. What others move shows in the counters of TCP, without a name; on other sockets it shows, as what io_uring
/// moves on any, where functions of the kernel can be hooked, and else not at all.
fn within_reach(socket: &Value) -> Value {
    let mut socket = socket.clone();
    if !calls_are_hooked() {
        return socket;
    }
    let counted = socket["transport"] != "tcp";
    for direction in Direction::BOTH {
        let silent = counted && !has_uring(direction, false);
        let side = &mut socket[direction.name()];
        let mut hidden = 0;
        for segment in side["segments"].as_array_mut().expect("a list") {
            let other = segment["cause"] == "other-process";
            if silent && (other || segment["cause"] == "untraced-syscall" || segment["cause"] == "io-uring") {
                hidden += number(&segment["length"]);
                segment["length"] = 0.into();
            } else if other && !counted {
                segment["cause"] = cause_of_others().slug().into();
            }
        }
        if silent && let Some(datagrams) = side["datagrams"].as_array_mut() {
            datagrams.retain(|datagram| datagram["counted"] != true && datagram["hooked"] != true);
        }
        side["length"] = (number(&side["length"]) - hidden).into();
        side["segments"].as_array_mut().expect("a list").retain(|segment| segment["length"] != 0);
    }
    socket
}

fn is_unused(socket: &Value) -> bool {
    let unused = |side: &Value| {
        ["segments", "datagrams", "errors"].iter().all(|&list| side[list] == Value::Array(Vec::new()))
    };
    unused(&socket["send"]) && unused(&socket["recv"]) && socket["recv"]["ends"] == 0
}

/// One connection.
fn compare(socket: &Value, events: &[&Seen], found: &mut Vec<String>) {
    let opens: Vec<&Open> = events.iter().filter_map(|seen| as_open(seen)).collect();
    let [open] = opens[..] else {
        return found.push(format!("is announced {} times", opens.len()));
    };
    if as_open(events[0]).is_none() {
        found.push("has events before it is announced".to_owned());
    }
    expect(found, "transport", open.transport.name(), text(&socket["transport"]));
    let failed = socket["failed"].as_i64().map(|errno| errno as i32);
    expect(found, "error of its connect", open.error, failed);
    if let Some(addresses) = socket["addresses"].as_array() {
        let ends =
            [open.local, open.remote].map(|address| address.map(|address| plain(&address.to_string())));
        let expected = [plain(text(&addresses[0])), plain(text(&addresses[1]))].map(Some);
        expect(found, "addresses", ends, expected);
    }
    let mut totals = None;
    if failed.is_none() {
        let last = as_close(events[events.len() - 1]);
        expect(found, "end", last.map(|close| close.reason.name()), socket["end"].as_str());
        totals = last.map(|close| close.totals);
    }
    let finals =
        events.iter().filter_map(|seen| as_close(seen)).filter(|close| close.reason.is_final()).count();
    if finals > 1 {
        found.push(format!("ends {finals} times"));
    }
    for direction in Direction::BOTH {
        let side = &socket[direction.name()];
        let before = found.len();
        let transport = text(&socket["transport"]);
        let is_stream = matches!(transport, "tcp" | "unix-stream");
        let hooked = has_uring(direction, transport == "tcp");
        Side { side, events, direction, is_stream, hooked }.compare(found);
        if let Some(total) = totals.map(|totals| totals[direction.index()]) {
            let length = number(&side["length"]);
            // A count of what calls moved is enough where the kernel has none of what moved by any path.
            if total.end.is_some() || socket["transport"] == "tcp" {
                expect(found, "total at its end", total.end, Some(length));
            }
            if list(&side["segments"])
                .iter()
                .all(|segment| segment["cause"].is_null() || hooked && segment["hooked"] == true)
            {
                expect(found, "total of calls", total.moved, length);
            }
        }
        for line in &mut found[before..] {
            *line = format!("{}: {line}", direction.name());
        }
    }
}

fn as_open(seen: &Seen) -> Option<&Open> {
    match &seen.what {
        What::Open(open) => Some(open),
        _ => None,
    }
}

fn as_close(seen: &Seen) -> Option<&Close> {
    match &seen.what {
        What::Close(close) => Some(close),
        _ => None,
    }
}

/// One direction of a connection.
struct Side<'a> {
    side: &'a Value,
    events: &'a [&'a Seen],
    direction: Direction,
    is_stream: bool,
    /// A hook of the kernel has the payload that io_uring moves.
    hooked: bool,
}

impl<'a> Side<'a> {
    fn compare(&self, found: &mut Vec<String>) {
        self.compare_what_moves_nothing(found);
        let moves: Vec<(&Seen, &Data)> = self.data().filter(|(_, data)| self.moves(data)).collect();
        if let Some(call) = self.side["call"].as_str()
            && let Some((_, other)) = moves.iter().find(|(_, data)| data.call.name() != call)
        {
            found.push(format!("{} where {call} was called", other.call.name()));
        }
        let fds = list(&self.side["fds"]);
        if !fds.is_empty() {
            let mut expected: Vec<_> = fds.iter().map(|fd| fd.as_i64().map(|fd| fd as i32)).collect();
            // Another process has descriptors of its own.
            let own = moves.iter().filter(|(_, data)| data.cause != Some(cause_of_others()));
            let mut seen: Vec<_> = own.map(|(seen, _)| seen.fd).collect();
            expected.dedup();
            seen.dedup();
            expect(found, "descriptors", seen, expected);
        }
        self.compare_datagrams(&moves, found);
        self.compare_bytes(found);
    }

    fn data(&self) -> impl Iterator<Item = (&'a Seen, &'a Data)> + use<'a> {
        let direction = self.direction;
        self.events.iter().filter_map(move |seen| match &seen.what {
            What::Data(data) if data.direction == direction => Some((*seen, data)),
            _ => None,
        })
    }

    /// Zero bytes of a stream are its end, of a datagram socket a datagram.
    fn moves(&self, data: &Data) -> bool {
        !data.peek && data.error.is_none() && (!self.is_stream || !data.range.is_empty())
    }

    /// Failed calls, the end of the stream, looks at what comes next.
    fn compare_what_moves_nothing(&self, found: &mut Vec<String>) {
        let errors: Vec<i32> = self.data().filter_map(|(_, data)| data.error).collect();
        let expected: Vec<i32> =
            list(&self.side["errors"]).iter().map(|errno| number(errno) as i32).collect();
        expect(found, "failed calls", errors, expected);
        let is_end =
            |data: &Data| self.is_stream && !data.peek && data.error.is_none() && data.range.is_empty();
        let ends = self.data().filter(|(_, data)| is_end(data)).count() as u64;
        expect(found, "reads of the end of the stream", ends, number(&self.side["ends"]));
        let peek = |data: &Data| (data.range.from, data.range.len(), sha256(&data.payload));
        let peeks: Vec<_> = self
            .data()
            .filter(|(_, data)| data.peek && data.error.is_none())
            .map(|(_, data)| peek(data))
            .collect();
        let expected = list(&self.side["peeks"])
            .iter()
            .map(|peek| (number(&peek["offset"]), number(&peek["length"]), text(&peek["sha256"]).to_owned()));
        expect(found, "peeks", peeks, expected.collect());
    }

    fn compare_datagrams(&self, moves: &[(&Seen, &Data)], found: &mut Vec<String>) {
        let datagrams = list(&self.side["datagrams"]);
        if self.is_stream {
            return;
        }
        let seen: Vec<_> = moves.iter().map(|(_, data)| (data.range.len(), sha256(&data.payload))).collect();
        let expected =
            datagrams.iter().map(|datagram| (number(&datagram["length"]), self.digest_of(datagram)));
        expect(found, "datagrams", seen, expected.collect());
        for ((_, data), datagram) in moves.iter().zip(datagrams) {
            // Who sent a datagram is told by other hooks.
            if (self.hooked || self.direction == Direction::Recv)
                && let (Some(peer), Some(true)) = (datagram["peer"].as_str(), datagram["hooked"].as_bool())
            {
                expect(found, "peer", data.peer.map(|peer| peer.to_string()), Some(peer.to_owned()));
            }
        }
    }

    /// Of what is captured.
    fn digest_of(&self, datagram: &Value) -> String {
        let out_of_reach = datagram["hooked"] == true && !self.hooked;
        if out_of_reach { sha256(&[]) } else { text(&datagram["sha256"]).to_owned() }
    }

    /// Every byte comes once, by data or by loss, in its place; it is there, or missing for the right reason.
    fn compare_bytes(&self, found: &mut Vec<String>) {
        let mut pieces: Vec<(Range, &[u8], &str)> = Vec::new();
        for seen in self.events {
            match &seen.what {
                What::Data(data) if data.direction == self.direction && !data.peek => {
                    let cause = data.cause.map_or("no cause", |cause| cause.slug());
                    pieces.push((data.range, &data.payload, cause));
                }
                What::Loss(loss) if loss.direction == self.direction => {
                    pieces.push((loss.range, &[], loss.cause.slug()));
                }
                _ => {}
            }
        }
        pieces.sort_by_key(|(range, ..)| (range.from, range.to));
        let mut bytes = Vec::new();
        let mut missing: Vec<(Range, &str)> = Vec::new();
        for (range, payload, cause) in pieces {
            if range.from != bytes.len() as u64 {
                return found.push(format!("{range} follows on offset {}", bytes.len()));
            }
            bytes.extend_from_slice(payload);
            bytes.resize(range.to as usize, 0);
            let lost = Range::new(range.from + payload.len() as u64, range.to);
            if !lost.is_empty() {
                missing.push((lost, cause));
            }
        }
        let length = number(&self.side["length"]);
        if bytes.len() as u64 != length {
            return found.push(format!("{} bytes where {length} moved", bytes.len()));
        }
        let mut from = 0;
        for segment in list(&self.side["segments"]) {
            let range = Range::new(from, from + number(&segment["length"]));
            from = range.to;
            let lost: Vec<_> = missing
                .iter()
                .filter_map(|&(lost, cause)| Some((lost.intersection(range)?, cause)))
                .collect();
            let digest = sha256(&bytes[range.from as usize..range.to as usize]);
            let cause = segment["cause"].as_str().filter(|_| segment["hooked"] != true || !self.hooked);
            match (cause, lost.first()) {
                (_, None) if digest != text(&segment["sha256"]) => {
                    found.push(format!("{range} has other bytes"))
                }
                (_, None) => {}
                (None, Some((lost, cause))) => found.push(format!("{lost} is missing: {cause}")),
                (Some(expected), Some(_)) => {
                    // Of a part nobody could tell whether it is right.
                    let whole: u64 = lost.iter().map(|(lost, _)| lost.len()).sum();
                    if whole != range.len() || lost.iter().any(|&(_, cause)| cause != expected) {
                        found.push(format!("{range} is missing for {expected}, the trace says {lost:?}"));
                    }
                }
            }
        }
    }
}

fn expect<T: PartialEq + std::fmt::Debug>(found: &mut Vec<String>, what: &str, seen: T, expected: T) {
    if seen != expected {
        let mut line = format!("{what}: {seen:?} where it is {expected:?}");
        if line.len() > 300 {
            line.truncate(line.floor_char_boundary(300));
            line.push_str("...");
        }
        found.push(line);
    }
}

/// An address in one form, whether it is IPv4 within IPv6 or not.
fn plain(address: &str) -> SocketAddr {
    let address: SocketAddr = address.parse().expect("an address");
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn sha256(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
