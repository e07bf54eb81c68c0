//! Where events come from: a live kernel, a recording, a packet capture, a log of strace.
//!
//! A source pushes [`Event`]s, in the order of its vantage, into a sink. Nothing above this module can
//! tell one source from another. Sources know [`crate::event`], the recording format
//! ([`crate::recording`]), and nothing else of the crate.

mod cgroup;
mod compressed;
mod counted;
pub mod decode;
pub mod filter;
pub mod hooks;
mod input;
pub mod interface;
pub mod live;
mod mounted;
pub mod pcap;
mod raw;
pub mod recording;
mod roles;
mod sockaddr;
mod strace;
pub mod tracepoint;
mod tshark;
mod unsupported;

pub use input::bytes_read;

use crate::event::{Conflict, Event, Timestamp, Vantage};
use crate::redact::RunId;
use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Takes the events of a source; breaks to stop it.
pub type Sink<'a> = dyn FnMut(&Event<'_>) -> ControlFlow<()> + 'a;

/// What a source says of itself when it ends.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Time of the first event or packet, or when the probes were in place.
    pub first: Option<Timestamp>,
    /// Time of the last event or packet, or when the probes were removed.
    pub last: Option<Timestamp>,
    /// Why the input ends in the middle, and at which byte; absent where it ends properly.
    pub cut: Option<String>,
    /// Packets that the capture itself reports as dropped, or events refused by a full ring.
    pub dropped: u64,
    /// Bytes that came twice with different content; of a capture only, and no more than it keeps.
    pub conflicts: Vec<Conflict>,
    /// Things the user should know, one line each.
    pub warnings: Vec<String>,
    /// How the probes and their reader kept up; of a live trace only.
    pub pace: Option<Pace>,
    /// Times are in order, but not those of a calendar: a log has none, or no dates.
    pub undated: bool,
    /// Nothing but streams is read of this kind of source.
    pub streams_only: bool,
}

/// How the probes and their reader kept up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Bytes of the ring buffer.
    pub ring_size: u64,
    /// The most bytes that waited in it when the reader came.
    pub ring_peak: u64,
    /// The longest that an event waited for the reader, in nanoseconds.
    pub lag: u64,
    /// What a run of a probe takes on average, in nanoseconds, measured in samples of 100 ms; absent where none ran
    /// meanwhile, or the kernel does not measure (before 5.8).
    pub run_time: Option<u64>,
    /// Runs that the kernel left out, because the same probe was running on that processor already.
    pub missed: u64,
}

/// What time it is, on the clock by which events of live sources are dated.
pub fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(now.as_nanos() as u64)
}

/// A source of events.
pub trait Source {
    /// Where it observes.
    fn vantage(&self) -> Vantage;

    /// The run that took the payload out of what it reads: zeros stand for it.
    fn redacted(&self) -> Option<RunId> {
        None
    }

    /// Pushes every event into `sink`, until the input ends or the sink breaks.
    fn run(&mut self, sink: &mut Sink<'_>) -> Result<Summary, Error>;
}

/// Opens the file at `path` (`-`: standard input) as what its content says: a recording, a log of strace, or a
/// capture. Where there is no such file, the files `path.TID` that strace -ff wrote are.
///
/// # Errors
/// [`Error::Input`] where it can't be read or is none of them.
pub fn open(path: &Path) -> Result<Box<dyn Source>, Error> {
    if let (false, Some(log)) = (path.exists(), strace::open_split(path)?) {
        return Ok(Box::new(log));
    }
    let mut input = input::Input::open(path, None)?;
    if recording::is_recording(&mut input)? {
        return Ok(Box::new(recording::Recording::from_input(input)));
    }
    if strace::is_log(&mut input)? {
        return Ok(Box::new(strace::Log::from_input(input)));
    }
    capture(input)
}

/// Opens the file at `path` as a packet capture: pcap, pcapng, or the JSON of tshark.
///
/// # Errors
/// [`Error::Input`] where it can't be read or is none.
pub fn open_capture(path: &Path) -> Result<Box<dyn Source>, Error> {
    capture(input::Input::open(path, None)?)
}

/// True where the file at `path` is a capture of packets (pcap, pcapng) or a recording, and no text.
///
/// # Errors
/// [`Error::Input`] where it can't be read.
pub fn is_packets(path: &Path) -> Result<bool, Error> {
    let mut input = input::Input::open(path, None)?;
    Ok(!tshark::is_json(&mut input)? && !strace::is_log(&mut input)?)
}

fn capture(mut input: input::Input) -> Result<Box<dyn Source>, Error> {
    if tshark::is_json(&mut input)? {
        return Ok(Box::new(tshark::Capture::from_input(input)?));
    }
    Ok(Box::new(pcap::Capture::from_input(input)?))
}

/// Why a source yields nothing (more). What came before it was delivered and stands.
#[derive(Debug)]
pub enum Error {
    /// The input can't be read, or is not what it was taken for. Exit status 2.
    Input(String),
    /// The kernel does not let us observe: root or capabilities, BTF, a feature, the process itself.
    /// Exit status 3.
    Attach(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Input(message) | Error::Attach(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}
