//! What becomes of the records of a capture where segments are missing: those that have nothing of the missing bytes have to
//! stay as they are, and none may come out as whole that is not.

use super::captures::{Kept, Seen, events, folder, timeless, track};
use super::removed;
use sockdbg::event::{Call, ConnId, Data, Direction, Event, Kind, Open, Range, Role, Timestamp};
use sockdbg::record::{Message, Record, Status, Value};
use std::collections::BTreeMap;

/// In which way records differ from those of the whole capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// A record that has nothing of the lost bytes is not there, or not as it was; and no part of it is said to be unknown.
    Missing,
    /// A record said to be complete, of a request and a response that belong to others.
    Mispaired,
    /// A record said to be complete, of other bytes than any of the whole capture.
    Invented,
    /// A record said to be complete, of the same bytes, with another value in a field where it could say that it is unknown.
    Altered,
}

/// What the losses of a capture did.
#[derive(Default)]
pub struct Losses {
    /// Records that have nothing of what is lost, over all runs, and how many of them came out just the same.
    pub unaffected: usize,
    pub kept: usize,
    /// Those of which parts are said to be unknown, for the state that they depend on was lost.
    pub unknown: usize,
    /// Packets of files of which nothing in the rest tells that they are missing: the first or the last bytes of a direction.
    pub untold: usize,
    /// What is wrong, and where.
    pub wrong: BTreeMap<Wrong, Vec<String>>,
}

/// Tracks a capture without each of its segments in turn, or at most `most` of them, and compares the records of the
/// connection with those of the whole capture.
pub fn lose_each(file: &str, most: usize) -> Losses {
    let all = events(&folder().join(file)).unwrap_or_else(|| panic!("{file} is no capture"));
    lose_each_of(file, &all, most)
}

/// The same of a conversation in which each step is a segment, and comes a millisecond after the one before.
pub fn lose_each_step(name: &str, steps: &[(Direction, &[u8])]) -> Losses {
    let conn = ConnId { socket: 1, opened: 1 };
    let event = |at: usize, kind| {
        Kept::new(&Event { time: Timestamp(at as u64 * 1_000_000), conn, task: None, fd: None, kind })
    };
    let open = Open { exact: true, role: Role::Client, ..Open::default() };
    let mut all = vec![event(0, Kind::Open(open))];
    let mut ends = [0u64; 2];
    for (at, &(direction, payload)) in steps.iter().enumerate() {
        let end = &mut ends[direction.index()];
        let data = Data {
            direction,
            offset: *end,
            length: payload.len() as u64,
            payload,
            tcp_seq: None,
            peer: None,
            call: Call::Packet,
            cause: None,
            peek: false,
            past_tcp: false,
            acked: None,
            error: None,
        };
        *end += data.length;
        all.push(event(at + 1, Kind::Data(data)));
    }
    lose_each_of(name, &all, usize::MAX)
}

fn lose_each_of(file: &str, all: &[Kept], most: usize) -> Losses {
    let whole = track(all);
    let with_payload: Vec<usize> = (0..all.len()).filter(|&index| all[index].has_payload()).collect();
    let step = with_payload.len().div_ceil(most).max(1);
    let mut losses = Losses::default();
    for &index in with_payload.iter().step_by(step) {
        let Kind::Data(data) = &all[index].event.kind else { continue };
        let lost = (data.direction, Range::new(data.offset, data.offset + data.length));
        let mut damaged = all.to_vec();
        damaged[index].lose();
        let [before, after] = [&whole, &track(&damaged)].map(|seen| {
            let of_connection = seen.records.iter().filter(|(conn, _)| *conn == all[index].event.conn);
            of_connection.map(|(_, record)| timeless(record)).collect::<Vec<_>>()
        });
        // Where nothing was recognised, what a loss lets stand out may be the protocol that the rest hid.
        if before.is_empty() {
            continue;
        }
        losses.compare(
            &before,
            &after,
            lost,
            &format!("{file} without {} [{}, {})", name(lost.0), lost.1.from, lost.1.to),
        );
    }
    losses
}

/// Removes packets of a capture file, each one in turn or at most `most` of them, reads what is left, and compares the
/// records of the connection with those of the whole file. None where the file has no packet that could be removed.
pub fn remove_each(file: &str, most: usize) -> Option<Losses> {
    let path = folder().join(file);
    let (all, bytes) = (events(&path)?, std::fs::read(&path).ok()?);
    let records = removed::records(&bytes)?;
    let (mut removable, mut from) = (Vec::new(), 0);
    let ends_of: BTreeMap<_, _> = all
        .iter()
        .filter_map(|kept| match &kept.event.kind {
            Kind::Open(open) => Some((kept.event.conn, [open.local, open.remote])),
            _ => None,
        })
        .collect();
    for (index, kept) in all.iter().enumerate().filter(|(_, kept)| kept.has_payload()) {
        let ends = ends_of.get(&kept.event.conn).copied().unwrap_or_default();
        if let Some(record) = removed::record_of(&bytes, &records, from, kept, ends) {
            removable.push((index, record));
            from = record;
        }
    }
    let whole = track(&all);
    let before_by_ends = removed::connections(&all);
    let scratch = tempfile::tempdir().expect("a folder");
    let left = scratch.path().join("left.pcap");
    let step = removable.len().div_ceil(most).max(1);
    let mut losses = None;
    for &(index, record) in removable.iter().step_by(step) {
        let Kept { event, .. } = &all[index];
        let Kind::Data(data) = &event.kind else { continue };
        let lost = (data.direction, data.range());
        let part = &records[record];
        std::fs::write(&left, [&bytes[..part.start], &bytes[part.end..]].concat()).expect("a file");
        let rest = events(&left).expect("a capture");
        let (ends, _) = before_by_ends.iter().find(|(_, conn)| **conn == event.conn).expect("an open one");
        let of = |seen: &Seen, conn: ConnId| -> Vec<Record> {
            let own = seen.records.iter().filter(|(of, _)| *of == conn);
            own.map(|(_, record)| timeless(record)).collect()
        };
        let before = of(&whole, event.conn);
        if before.is_empty() {
            continue;
        }
        let conn = removed::connections(&rest).get(ends).copied();
        let losses = losses.get_or_insert_with(Losses::default);
        if removed::is_at_an_edge(&all, event.conn, lost)
            && !conn.is_some_and(|conn| removed::tells(&rest, conn))
        {
            losses.untold += 1;
            continue;
        }
        let after = conn.map_or_else(Vec::new, |conn| {
            let bases = [removed::bases(&all, event.conn), removed::bases(&rest, conn)];
            let mut after = of(&track(&rest), conn);
            after.iter_mut().for_each(|record| shift(record, bases));
            after
        });
        losses.compare(
            &before,
            &after,
            lost,
            &format!(
                "{file} without packet {}, {} [{}, {})",
                record + 1,
                name(lost.0),
                lost.1.from,
                lost.1.to
            ),
        );
    }
    losses
}

/// Gives a record the offsets that it has where the streams begin with other bytes.
fn shift(record: &mut Record, [to, from]: [[Option<u32>; 2]; 2]) {
    for message in record.request.iter_mut().chain(record.response.iter_mut()) {
        let index = message.direction.index();
        let (Some(to), Some(from)) = (to[index], from[index]) else { continue };
        let by = i64::from(from.wrapping_sub(to) as i32);
        for range in message.parts.iter_mut().chain([&mut message.range]) {
            *range = Range::new(range.from.wrapping_add_signed(by), range.to.wrapping_add_signed(by));
        }
    }
}

impl Losses {
    fn compare(&mut self, before: &[Record], after: &[Record], lost: (Direction, Range), what: &str) {
        for record in before.iter().filter(|record| !touches(record, lost)) {
            self.unaffected += 1;
            match () {
                () if after.contains(record) => self.kept += 1,
                () if after.iter().any(|other| places(other) == places(record) && admits(other, record)) => {
                    self.unknown += 1;
                }
                // Bytes that say nothing, such as empty lines, can be all that is missing, and what is told of other messages.
                () if after.iter().any(|other| is_whole_rest(other, record)) => self.unknown += 1,
                () => self.add(Wrong::Missing, what, record, &instead(record, after)),
            }
        }
        for record in
            after.iter().filter(|record| record.status == Status::Complete && !before.contains(record))
        {
            let [request, response] = places(record);
            let has = |index: usize, place: Option<(Direction, Range)>| {
                place.is_some() && before.iter().any(|one| places(one)[index] == place)
            };
            match before.iter().find(|one| places(one) == [request, response]) {
                Some(one) if admits(record, one) && !touches(record, lost) => {}
                None if before.iter().any(|one| touches(one, lost) && is_part_of_several(record, one)) => {}
                None if before.iter().any(|one| is_whole_rest(record, one)) => {}
                Some(_) => self.add(Wrong::Altered, what, record, &instead(record, before)),
                None if has(0, request) && has(1, response) => self.add(Wrong::Mispaired, what, record, ""),
                None => self.add(Wrong::Invented, what, record, &instead(record, before)),
            }
        }
    }

    /// `other`: what to say of the records of the other run.
    fn add(&mut self, wrong: Wrong, what: &str, record: &Record, other: &str) {
        self.wrong.entry(wrong).or_default().push(format!("{what}: {}{other}", shown(record)));
    }
}

/// What stands in `others` where a record is, and in which fields it differs.
fn instead(record: &Record, others: &[Record]) -> String {
    let is_there = |other: &&Record| {
        let overlap = |message: &Message| touches(other, (message.direction, message.range));
        record.messages().any(overlap)
    };
    let Some(other) = others.iter().find(is_there) else { return "; nothing in the other run".to_owned() };
    let mut text = format!("; in the other run {}", shown(other));
    for (one, two) in record.messages().flat_map(|one| other.messages().map(move |two| (one, two))) {
        if one.direction != two.direction {
            continue;
        }
        for field in one.fields.iter().filter(|field| two.field(&field.name) != Some(&field.value)) {
            let cut = |value: String| value.chars().take(200).collect::<String>();
            let (here, there) = (format!("{:?}", field.value), format!("{:?}", two.field(&field.name)));
            text.push_str(&format!("; {} {} there {}", field.name, cut(here), cut(there)));
        }
        let more = two.fields.iter().filter(|field| one.field(&field.name).is_none());
        more.for_each(|field| text.push_str(&format!("; there also {}", field.name)));
    }
    text
}

/// Where a record is, its state and its first words.
fn shown(record: &Record) -> String {
    let place = |message: Option<(Direction, Range)>| {
        message
            .map_or("none".to_owned(), |(way, range)| format!("{} [{}, {})", name(way), range.from, range.to))
    };
    let [request, response] = places(record).map(place);
    let summary: String = record.summary.chars().take(100).collect();
    format!("{request}, {response}, {:?}: {}", record.status, summary.escape_debug())
}

fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Send => "send",
        Direction::Recv => "recv",
    }
}

fn touches(record: &Record, (direction, range): (Direction, Range)) -> bool {
    record
        .messages()
        .any(|message| message.direction == direction && message.range.intersection(range).is_some())
}

/// Where request and response are.
fn places(record: &Record) -> [Option<(Direction, Range)>; 2] {
    let place =
        |message: &Option<Message>| message.as_ref().map(|message| (message.direction, message.range));
    [place(&record.request), place(&record.response)]
}

/// Each field of `record` is as in `whole`, or says that it is unknown, or is one that only such records have; a message
/// that says how much of it is unknown may lack fields, and members of them.
fn admits(record: &Record, whole: &Record) -> bool {
    let is_half = record.request.is_none() || record.response.is_none();
    record.messages().zip(whole.messages()).all(|(message, whole)| {
        // That a half is alone may have got a cause.
        let same = message == whole || is_half && message.fields == whole.fields;
        let says = message.fields.iter().any(|field| is_unknown(&field.name, &field.value));
        same || says
            && message.fields.iter().all(|field| match whole.field(&field.name) {
                Some(value) => {
                    *value == field.value
                        || is_unknown(&field.name, &field.value)
                        || is_part(&field.value, value)
                        || message.field(&format!("{}_coding", field.name)).is_some_and(says_unknown)
                }
                None => is_unknown(&field.name, &field.value),
            })
    })
}

fn is_unknown(name: &str, value: &Value) -> bool {
    name.contains("unknown") || says_unknown(value)
}

fn says_unknown(value: &Value) -> bool {
    matches!(value, Value::Text(text) if text.starts_with("unknown"))
}

/// Nothing in it is other than in the whole, but for what is said to be unknown.
fn is_part(value: &Value, whole: &Value) -> bool {
    let is = |one: &Value, other: &Value| one == other || says_unknown(one);
    match (value, whole) {
        (Value::List(some), Value::List(all)) => some.iter().all(|one| all.contains(one)),
        (Value::Map(some), Value::Map(all)) => some
            .iter()
            .all(|(name, value)| all.iter().any(|(other, of_other)| is(name, other) && is(value, of_other))),
        _ => false,
    }
}

/// Fields of a message that tell of others: how often it was sent in all.
const OF_OTHERS: [&str; 1] = ["retransmissions"];

/// It says all that the whole says, of bytes that lie within.
fn is_whole_rest(record: &Record, whole: &Record) -> bool {
    let is_same = |message: &Message, of: &Message| {
        let fields = |message: &Message| -> Vec<_> {
            let own = message.fields.iter().filter(|field| !OF_OTHERS.contains(&&*field.name));
            own.cloned().collect()
        };
        lies_in(message, of) && fields(message) == fields(of) && message.causes == of.causes
    };
    let same = |one: &Option<Message>, other: &Option<Message>| match (one, other) {
        (Some(one), Some(other)) => is_same(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    record.status == whole.status
        && record.summary == whole.summary
        && same(&record.request, &whole.request)
        && same(&record.response, &whole.response)
}

/// Of frames that are told together, though each is whole by itself, those are left that came: the preface of HTTP/2, or
/// frames that are counted.
fn is_part_of_several(record: &Record, whole: &Record) -> bool {
    let is_alone = whole.messages().count() == 1;
    let is_left = |message: &Message, of: &Message| {
        let is_preface = message.field("type") == Some(&Value::Text("preface".into()));
        let is_counted = |name: &str, value: &Value| match (of.field(name), value) {
            (Some(Value::Number(all)), Value::Number(some)) => some <= all,
            _ => false,
        };
        let are_counted = || message.fields.iter().all(|field| is_counted(&field.name, &field.value));
        lies_in(message, of) && (is_preface || is_alone && are_counted())
    };
    record.protocol == whole.protocol
        && record.messages().all(|message| whole.messages().any(|of| is_left(message, of)))
}

/// Each part of it lies in one of the other.
fn lies_in(message: &Message, other: &Message) -> bool {
    let is_inside = |part: Range| other.ranges().any(|all| all.intersection(part) == Some(part));
    message.direction == other.direction && message.ranges().all(is_inside)
}
