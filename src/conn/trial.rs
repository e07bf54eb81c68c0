//! A guess on trial: what the parser of a protocol says is held back until enough of it makes sense.
//!
//! Meanwhile the bytes are kept. If the parser meets what can't be its protocol and another one recognises the bytes,
//! that one begins anew, and nobody ever hears of the wrong guess but in the trace.

use super::detect::Detector;
use super::reader::Context;
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::protocol::{Output, Protocol};
use crate::record::{Record, Status};

/// Frames without a complaint that make a guess certain where no record is whole before.
const FRAMES_ENOUGH: usize = 4;

/// What a parser or its reader said while its protocol was on trial.
pub enum Said {
    Frame(Direction, Range, String),
    Skip(Direction, Range, Cause, String),
    Record(Box<Record>),
    Trace(u8, &'static str, String),
}

/// The state of a guess.
pub struct Trial {
    pub protocol: &'static Protocol,
    /// Keeps the bytes, as before the guess.
    pub detector: Detector,
    /// With the time of each.
    pub said: Vec<(Timestamp, Said)>,
}

/// How a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Too early to tell.
    Open,
    /// A record, or several frames, were whole; or as much is kept as may be.
    Confirmed,
    /// Bytes did not follow the protocol.
    Doubtful,
}

impl Trial {
    pub fn new(protocol: &'static Protocol, detector: Detector) -> Trial {
        Trial { protocol, detector, said: Vec::new() }
    }

    /// Weighs what was said so far.
    pub fn standing(&self) -> Standing {
        let mut frames = 0;
        for (_, said) in &self.said {
            match said {
                Said::Skip(_, _, Cause::ParseError, _) => return Standing::Doubtful,
                Said::Record(record)
                    if record.status == Status::Complete
                        && record.request.is_some()
                        && record.response.is_some() =>
                {
                    return Standing::Confirmed;
                }
                Said::Frame(..) => frames += 1,
                _ => {}
            }
        }
        if frames >= FRAMES_ENOUGH || self.detector.is_full() { Standing::Confirmed } else { Standing::Open }
    }
}

/// Says now what was held back.
pub fn say(said: Vec<(Timestamp, Said)>, cx: &mut Context<'_>) {
    let now = cx.time;
    for (time, said) in said {
        cx.time = time;
        match said {
            Said::Frame(direction, range, what) => cx.tell_frame(direction, range, format_args!("{what}")),
            Said::Skip(direction, range, cause, reason) => {
                cx.skip(direction, range, cause, format_args!("{reason}"));
            }
            Said::Record(record) => cx.record(*record),
            Said::Trace(level, step, message) => cx.trace(level, step, format_args!("{message}")),
        }
    }
    cx.time = now;
}
