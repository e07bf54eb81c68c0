//! A pair that is being damaged, and the two files that come of it.

use super::packets::{self, Packet};
use super::pair::{Conn, Pair};
use sockdbg::event::{Direction, Event, Kind, Open, Range, Timestamp};
use sockdbg::output::recording::Writer;
use sockdbg::source::Summary;
use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

/// Why the capture lacks a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    NotCaptured,
    StartedLate,
    EndedEarly,
    /// With all others of its flow.
    WholeFlow,
}

/// What is left of a connection.
pub struct State {
    /// The process's side.
    pub events: Vec<Event<'static>>,
    /// The capture has it under other addresses.
    pub translated: bool,
    /// Bytes that are others in the capture, by side.
    pub rewritten: [Vec<Range>; 2],
    /// Bytes that no further fault may touch: of the process's side, of the capture's.
    pub taken: [Vec<(usize, Range)>; 2],
}

pub struct Case<'a> {
    pub pair: &'a Pair,
    pub states: Vec<State>,
    pub packets: Vec<Packet>,
    pub lacks: Vec<(Lack, Packet)>,
    /// When the probes were in place.
    pub span: [u64; 2],
    /// The window of each vantage was changed: a second time would hide the first.
    pub windowed: [bool; 2],
    /// Bytes of each file that are left.
    pub recording_cut: Option<usize>,
    pub capture_cut: Option<usize>,
    /// How far the capture's clock is ahead, in ns.
    pub ahead: i64,
    pub log: Vec<String>,
}

/// Both files.
pub struct Files {
    pub recording: Vec<u8>,
    pub capture: Vec<u8>,
    /// The file ends in the middle.
    pub cut: [bool; 2],
    /// Not even its beginning is left.
    pub hopeless: [bool; 2],
}

impl<'a> Case<'a> {
    pub fn new(pair: &'a Pair) -> Case<'a> {
        let state = |conn: &Conn| State {
            events: conn.events.clone(),
            translated: false,
            rewritten: Default::default(),
            taken: Default::default(),
        };
        Case {
            pair,
            states: pair.conns.iter().map(state).collect(),
            packets: pair.packets.clone(),
            lacks: Vec::new(),
            span: pair.span,
            windowed: [false; 2],
            recording_cut: None,
            capture_cut: None,
            ahead: 0,
            log: Vec::new(),
        }
    }

    /// All events of the process's side, in the order of time.
    fn events(&self) -> Vec<(usize, Event<'static>)> {
        let of_conn = |(index, state): (usize, &State)| -> Vec<(usize, Event<'static>)> {
            state.events.iter().map(|event| (index, event.clone())).collect()
        };
        let mut events: Vec<_> = self.states.iter().enumerate().flat_map(of_conn).collect();
        events.sort_by_key(|(_, event)| event.time);
        events
    }

    /// Writes both files and cuts them; what was cut off is no longer in the case.
    pub fn files(&mut self) -> Files {
        let (recording, cut_recording, no_recording) = self.recording();
        let (capture, cut_capture, no_capture) = self.capture();
        Files { recording, capture, cut: [cut_recording, cut_capture], hopeless: [no_recording, no_capture] }
    }

    /// How long the recording would be without a cut.
    pub fn recording_length(&self) -> usize {
        write_recording(&self.events(), self.span).0.len()
    }

    /// How long the capture would be without a cut.
    pub fn capture_length(&self) -> usize {
        packets::write(self.pair.link, &self.packets, 0).0.len()
    }

    fn recording(&mut self) -> (Vec<u8>, bool, bool) {
        let events = self.events();
        let (mut file, head, ends) = write_recording(&events, self.span);
        let Some(at) = self.recording_cut else { return (file, false, false) };
        file.truncate(at);
        self.states.iter_mut().for_each(|state| state.events.clear());
        for ((index, event), end) in events.into_iter().zip(ends) {
            if end <= at {
                self.states[index].events.push(event);
            }
        }
        (file, true, at < head)
    }

    fn capture(&mut self) -> (Vec<u8>, bool, bool) {
        let (mut file, ends) = packets::write(self.pair.link, &self.packets, self.ahead);
        let Some(at) = self.capture_cut else { return (file, false, false) };
        file.truncate(at);
        let left = ends.iter().filter(|&&end| end <= at).count();
        let off = self.packets.split_off(left);
        self.lacks.extend(off.into_iter().map(|packet| (Lack::EndedEarly, packet)));
        const FILE_HEADER: usize = 24;
        // Between two packets nothing shows that the file goes on.
        (file, !(at == FILE_HEADER || ends.contains(&at)), at < FILE_HEADER)
    }
}

/// Bytes that are written, which can be looked at meanwhile.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A recording, the length of what comes before the first event, and where the last block of each event ends. A handshake
/// that is shown to Wireshark behind the event's block does not count.
pub fn write_recording(events: &[(usize, Event<'static>)], span: [u64; 2]) -> (Vec<u8>, usize, Vec<usize>) {
    let file = Shared::default();
    let length = || file.0.borrow().len();
    let mut writer = Writer::new(file.clone()).unwrap();
    let (head, mut ends) = (length(), Vec::new());
    for (_, event) in events {
        let begin = length();
        writer.event(event).unwrap();
        let first = u32::from_le_bytes(file.0.borrow()[begin + 4..begin + 8].try_into().unwrap()) as usize;
        let whole = matches!(event.kind, Kind::Data(_));
        ends.push(if whole { length() } else { begin + first });
    }
    let [first, last] = span.map(|time| Some(Timestamp(time)));
    writer.finish(&Summary { first, last, ..Summary::default() }).unwrap();
    (file.0.take(), head, ends)
}

/// How a connection came to be known at the process.
pub fn opening<'e>(events: &'e [Event<'_>]) -> Option<(u64, &'e Open)> {
    events.iter().find_map(|event| match &event.kind {
        Kind::Open(open) => Some((event.time.0, open)),
        _ => None,
    })
}

/// The bytes that an event moved.
pub fn moved(event: &Event<'_>) -> Option<(Direction, Range)> {
    match &event.kind {
        Kind::Data(data) if data.length > 0 && !data.peek && data.error.is_none() => {
            Some((data.direction, data.range()))
        }
        Kind::Loss(loss) => Some((loss.direction, loss.range)),
        _ => None,
    }
}
