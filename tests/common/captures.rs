//! Captures that nobody of this project made, with what other tools make of them, and their way through the tracker:
//! as they are, in other cuts, with losses, and with garbage.

use super::random::Random;
use sockdbg::conn::{Entry, Info, Observer, Options, Tracker};
use sockdbg::event::{Cause, ConnId, Data, Direction, Event, Kind, Opened, Range, Timestamp, Vantage};
use sockdbg::record::{Message, Record, Value};
use sockdbg::source::Source;
use sockdbg::source::pcap::{self, Capture};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Where they are.
pub fn folder() -> PathBuf {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/captures"));
    assert!(
        folder.is_dir(),
        "the captures are missing: the tests need {} beside the repository",
        folder.display()
    );
    folder.to_path_buf()
}

/// The figures of one kind (third column of `expected.tsv`), by file.
pub fn expected(kind: &str) -> BTreeMap<String, String> {
    let table = fs::read_to_string(folder().join("expected.tsv")).expect("expected.tsv");
    let rows = table.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    rows.filter(|row| row.len() > 3 && row[2] == kind)
        .map(|row| (row[0].to_owned(), row[3].to_owned()))
        .collect()
}

/// Every capture of a protocol's folder.
pub fn files(protocol: &str) -> BTreeSet<String> {
    let prefix = format!("{protocol}/");
    let all = expected("capinfos.packets").into_keys();
    let files: BTreeSet<String> = all.filter(|file| file.starts_with(&prefix)).collect();
    assert!(!files.is_empty(), "no capture of {protocol}");
    files
}

/// Reads `GET:2,POST:1`.
pub fn histogram(value: &str) -> BTreeMap<String, usize> {
    let pairs = value.split(',').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.rsplit_once(':').expect("name:count"));
    pairs.map(|(name, count)| (name.to_owned(), count.parse().expect("a count"))).collect()
}

/// How often each word comes.
pub fn count(words: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    counts
}

/// What a tracker made of a capture.
#[derive(Default)]
pub struct Seen {
    /// The records, with their connections.
    pub records: Vec<(ConnId, Record)>,
    /// The protocol that each connection was found to speak, at its end.
    pub protocols: BTreeMap<ConnId, Option<&'static str>>,
    /// Bytes that arrived, and those that were framed or skipped, of each direction.
    accounts: BTreeMap<(ConnId, Direction), [u64; 2]>,
    /// Ranges lost, which frames may span, of the connections that are open: where events come out of order, data may
    /// follow the close of its connection, and is that of a new one.
    lost: BTreeMap<(ConnId, Direction), Vec<Range>>,
    /// Connections that something of is lost.
    lossy: BTreeSet<ConnId>,
    skipped: BTreeMap<Cause, u64>,
    /// The same of datagrams.
    aside: BTreeMap<Cause, u64>,
}

impl Observer for Seen {
    fn record(&mut self, info: &Info, _: Timestamp, record: Record) {
        self.records.push((info.id, record));
    }

    fn account(&mut self, info: &Info, direction: Direction, entry: Entry<'_>) {
        let key = (info.id, direction);
        let lost = self.lost.entry(key).or_default();
        let account = self.accounts.entry(key).or_default();
        match entry {
            Entry::Delivered(range) => {
                account[0] += range.len();
                // Where events come in a wrong order a connection can end first, and with that lose what comes then.
                lost.retain(|gap| gap.intersection(range).is_none());
            }
            Entry::Framed(range) => {
                let inside = lost.iter().filter_map(|gap| gap.intersection(range));
                account[1] += range.len() - inside.map(Range::len).sum::<u64>();
            }
            Entry::Skipped(range, cause, _) => {
                account[1] += range.len();
                let skipped =
                    if info.open.transport.is_stream() { &mut self.skipped } else { &mut self.aside };
                *skipped.entry(cause).or_default() += range.len();
            }
            Entry::Lost(range, _) => {
                lost.push(range);
                self.lossy.insert(info.id);
            }
        }
    }

    fn closed(&mut self, info: &Info, _: sockdbg::protocol::End, _: Option<&sockdbg::event::Close>) {
        self.protocols.insert(info.id, info.protocol);
        self.lost.retain(|(conn, _), _| *conn != info.id);
    }
}

impl Seen {
    /// The records of one protocol.
    pub fn of(&self, protocol: &str) -> Vec<&Record> {
        self.records.iter().map(|(_, record)| record).filter(|record| record.protocol == protocol).collect()
    }

    /// Bytes of a connection that arrived.
    pub fn arrived(&self, conn: ConnId) -> u64 {
        let of = |direction| self.accounts.get(&(conn, direction)).map_or(0, |[arrived, _]| *arrived);
        Direction::BOTH.map(of).iter().sum()
    }

    /// Bytes of streams that belong to no frame, for a cause.
    pub fn skipped(&self, cause: Cause) -> u64 {
        self.skipped.get(&cause).copied().unwrap_or(0)
    }

    /// The same of datagrams.
    pub fn skipped_datagrams(&self, cause: Cause) -> u64 {
        self.aside.get(&cause).copied().unwrap_or(0)
    }

    /// Every byte that arrived was framed or skipped, once.
    pub fn assert_balanced(&self, what: &str) {
        for (key, [arrived, settled]) in &self.accounts {
            assert_eq!(arrived, settled, "{what}: {key:?}");
        }
    }
}

/// Settings with which every field is shown whole.
pub fn options() -> Options {
    let mut options = Options::default();
    options.protocol.max_field = 1 << 20;
    options.protocol.show_secrets = true;
    options
}

/// An event with its payload.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) event: Event<'static>,
    pub(super) payload: Vec<u8>,
}

impl Kept {
    pub(super) fn new(event: &Event<'_>) -> Kept {
        let (kind, payload) = match &event.kind {
            Kind::Data(data) => (Kind::Data(Data { payload: &[], ..data.clone() }), data.payload.to_vec()),
            Kind::Open(open) => (Kind::Open(open.clone()), Vec::new()),
            Kind::Close(close) => (Kind::Close(*close), Vec::new()),
            Kind::Loss(loss) => (Kind::Loss(loss.clone()), Vec::new()),
        };
        Kept {
            event: Event { time: event.time, conn: event.conn, task: event.task, fd: event.fd, kind },
            payload,
        }
    }

    /// Without its payload.
    pub(super) fn lose(&mut self) {
        if let Kind::Data(data) = &mut self.event.kind
            && data.cause.is_none()
            && !self.payload.is_empty()
        {
            data.cause = Some(Cause::WireNotCaptured);
            self.payload.clear();
        }
    }

    pub(super) fn has_payload(&self) -> bool {
        !self.payload.is_empty()
    }
}

/// The events of a capture. None where the file is none.
pub(super) fn events(path: &Path) -> Option<Vec<Kept>> {
    let mut kept = Vec::new();
    let mut capture = Capture::open(path, pcap::Options::default()).ok()?;
    let mut sink = |event: &Event<'_>| {
        kept.push(Kept::new(event));
        ControlFlow::Continue(())
    };
    capture.run(&mut sink).ok()?;
    Some(kept)
}

pub(super) fn track(events: &[Kept]) -> Seen {
    let mut tracker = Tracker::new(Vantage::Wire, options(), Seen::default());
    for Kept { event, payload } in events {
        let mut event = event.clone();
        if let Kind::Data(data) = &mut event.kind {
            data.payload = payload;
        }
        tracker.event(&event);
    }
    tracker.finish()
}

/// What the tracker makes of a capture. None where the file is none.
pub fn try_run(path: &Path) -> Option<Seen> {
    events(path).map(|events| track(&events))
}

/// What the tracker makes of one of the captures.
pub fn run(file: &str) -> Seen {
    let seen = try_run(&folder().join(file)).unwrap_or_else(|| panic!("{file} is no capture"));
    seen.assert_balanced(file);
    seen
}

/// A field of a message.
pub fn field<'a>(message: &'a Message, name: &str) -> Option<&'a Value> {
    message.field(name)
}

/// A field of a message as text.
pub fn text(message: &Message, name: &str) -> Option<String> {
    field(message, name).map(|value| match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Text(text) => text.to_string(),
        Value::Number(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// The connections that are seen whole. Of others, that an event begins at some byte is evidence for a boundary, which
/// cuts take away.
fn certain(events: &[Kept]) -> BTreeSet<ConnId> {
    let open = events
        .iter()
        .filter(|kept| matches!(&kept.event.kind, Kind::Open(open) if open.opened == Opened::Fresh));
    let mut conns: BTreeSet<ConnId> = open.map(|kept| kept.event.conn).collect();
    for conn in &track(events).lossy {
        conns.remove(conn);
    }
    conns
}

/// A record without its times, which cuts may change.
pub(super) fn timeless(record: &Record) -> Record {
    let mut record = record.clone();
    for message in record.request.iter_mut().chain(record.response.iter_mut()) {
        (message.started, message.ended) = Default::default();
    }
    record
}

/// The same events, each one's payload in pieces as long as `length` says. Datagrams stay whole.
fn cut(events: &[Kept], mut length: impl FnMut() -> usize) -> Vec<Kept> {
    let (mut pieces, mut datagrams) = (Vec::new(), BTreeSet::new());
    for kept in events {
        if matches!(&kept.event.kind, Kind::Open(open) if !open.transport.is_stream()) {
            datagrams.insert(kept.event.conn);
        }
        let data = match &kept.event.kind {
            Kind::Data(data) if !datagrams.contains(&kept.event.conn) => data,
            _ => {
                pieces.push(kept.clone());
                continue;
            }
        };
        let (mut at, end) = (0, kept.payload.len());
        loop {
            let to = if data.cause.is_some() { end } else { (at + length().max(1)).min(end) };
            let mut piece = kept.clone();
            piece.payload = kept.payload[at..to].to_vec();
            if let Kind::Data(part) = &mut piece.event.kind {
                part.offset += at as u64;
                part.tcp_seq = part.tcp_seq.map(|seq| seq.wrapping_add(at as u32));
                part.length = if to == end { data.length - at as u64 } else { (to - at) as u64 };
            }
            pieces.push(piece);
            at = to;
            if at == end {
                break;
            }
        }
    }
    pieces
}

/// How many losses of single segments are tried of one capture; of a longer one a sample.
const LOSSES_MAX: usize = 100;

/// Runs a capture byte by byte and in random cuts: the same records of connections that are seen whole. Then with
/// each segment lost in turn, with random holes, in reversed order of its data, and with garbage in front: no panic,
/// and every byte is accounted for once.
pub fn assert_robust(file: &str) {
    let all = events(&folder().join(file)).unwrap_or_else(|| panic!("{file} is no capture"));
    let certain = certain(&all);
    let sorted = |seen: &Seen| {
        let records = seen.records.iter().filter(|(conn, _)| certain.contains(conn));
        let mut records: Vec<String> =
            records.map(|(conn, record)| format!("{conn:?} {:?}", timeless(record))).collect();
        records.sort();
        records
    };
    let assert_same = |events: &[Kept], how: &str| {
        let (found, whole) = (sorted(&track(events)), sorted(&track(&all)));
        let [more, less] = [(&found, &whole), (&whole, &found)]
            .map(|(these, others)| these.iter().find(|record| !others.contains(record)));
        assert!(
            found == whole,
            "{file} {how}: {} records, not {}: {more:?}, not {less:?}",
            found.len(),
            whole.len()
        );
    };
    let mut random = Random(0x0051_77e5_7ab1_e5e5);
    let total: usize = all.iter().map(|kept| kept.payload.len()).sum();
    if total < 200_000 {
        assert_same(&cut(&all, || 1), "byte by byte");
    }
    for round in 0..8 {
        assert_same(&cut(&all, || 1 + random.below(16 << round)), &format!("in random cuts, round {round}"));
    }
    let with_payload: Vec<usize> = (0..all.len()).filter(|&index| all[index].has_payload()).collect();
    let step = with_payload.len().div_ceil(LOSSES_MAX).max(1);
    for &index in with_payload.iter().step_by(step) {
        let mut damaged = all.clone();
        damaged[index].lose();
        track(&damaged).assert_balanced(&format!("{file} without event {index}"));
    }
    for round in 0..10 {
        let mut damaged = cut(&all, || 1 + random.below(2000));
        damaged.iter_mut().filter(|_| random.below(6) == 0).for_each(Kept::lose);
        track(&damaged).assert_balanced(&format!("{file} with holes, round {round}"));
        let mut noisy = all.clone();
        for kept in &mut noisy {
            if random.below(4) == 0 {
                kept.payload
                    .iter_mut()
                    .take(1 + random.below(40))
                    .for_each(|byte| *byte = random.below(256) as u8);
            }
        }
        track(&noisy).assert_balanced(&format!("{file} with garbage, round {round}"));
    }
    // The payload of each connection the other way round, in the places where there is some.
    let mut reversed = all.clone();
    let conns: BTreeSet<ConnId> = with_payload.iter().map(|&index| all[index].event.conn).collect();
    for conn in conns {
        let places = with_payload.iter().filter(|&&index| all[index].event.conn == conn);
        places.clone().zip(places.rev()).for_each(|(&to, &from)| reversed[to] = all[from].clone());
    }
    track(&reversed).assert_balanced(&format!("{file} in reversed order"));
}
