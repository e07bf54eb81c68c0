//! Undoes permessage-deflate (RFC 7692, section 7.2.2) for one direction, message by message.
//!
//! Where what came before is missing, a message is read with an empty window: what refers to what is missing then fails,
//! and what does not is right. So a context that was broken mends by itself, and nothing is decoded wrongly.

use flate2::{Decompress, FlushDecompress, Status};

/// Bytes that end each message and are not sent (section 7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// How far back a reference can reach (RFC 1951, section 2).
const WINDOW: usize = 32 << 10;

/// How many bytes are inflated at once.
const STEP: usize = 8 << 10;

/// Why a message can't be inflated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It is not DEFLATE.
    Corrupt,
    /// It refers to what came before and is missing; says why that is.
    Missing(&'static str),
    /// Who takes the bytes wants no more.
    Refused,
}

/// The decompressor of one direction.
#[derive(Default)]
pub(super) struct Inflater {
    running: Option<Box<Running>>,
    /// Why a part of what was said before is not known; absent where nothing is missing.
    missing: Option<&'static str>,
}

struct Running {
    inflate: Decompress,
    /// What came out last, at least [`WINDOW`] of it: flate2 does not show its own.
    history: Vec<u8>,
}

impl Running {
    fn new() -> Box<Running> {
        Box::new(Running { inflate: Decompress::new(false), history: Vec::new() })
    }

    /// Makes room for what comes out next.
    fn make_room(&mut self) {
        if self.history.len() >= 2 * WINDOW {
            self.history.drain(..self.history.len() - WINDOW);
        }
        self.history.reserve_exact(STEP);
    }

    /// Goes on behind a block that said to be the last (section 7.2.3.4): the window stays.
    fn restart(&mut self) -> Result<(), Failure> {
        self.inflate = Decompress::new(false);
        let from = self.history.len().saturating_sub(WINDOW);
        match self.history[from..] {
            [] => Ok(()),
            ref window => self.inflate.set_dictionary(window).map(drop).map_err(|_| Failure::Corrupt),
        }
    }
}

impl Inflater {
    /// A message begins. `alone`: without the context of those before it.
    pub(super) fn begin(&mut self, alone: bool) {
        if alone {
            self.running = None;
            self.missing = None;
        }
    }

    /// What comes next can't lean on what came before. Says why.
    pub(super) fn forget(&mut self, why: &'static str) {
        self.running = None;
        self.missing = Some(why);
    }

    /// Inflates a part of a message, and gives what comes out to `take`, which says whether it wants more.
    pub(super) fn push(&mut self, data: &[u8], take: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Failure> {
        let result = self.inflate(data, take);
        match result {
            Err(Failure::Refused) => self.forget("a message before it inflates to more than the limit"),
            Err(Failure::Corrupt) => self.forget("a message before it could not be inflated"),
            Err(Failure::Missing(_)) => self.running = None,
            // All that a reference can reach is there again.
            Ok(()) if self.running.as_ref().is_some_and(|running| running.history.len() >= WINDOW) => {
                self.missing = None;
            }
            Ok(()) => {}
        }
        result
    }

    /// The message is whole.
    pub(super) fn end(&mut self, take: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Failure> {
        self.push(&TAIL, take)
    }

    fn inflate(&mut self, mut data: &[u8], take: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Failure> {
        let failure = self.missing.map_or(Failure::Corrupt, Failure::Missing);
        let running = self.running.get_or_insert_with(Running::new);
        loop {
            running.make_room();
            let (before, known) = (running.inflate.total_in(), running.history.len());
            let status = running.inflate.decompress_vec(data, &mut running.history, FlushDecompress::None);
            let status = status.map_err(|_| failure)?;
            // Bounded by the length of the slice.
            let taken = (running.inflate.total_in() - before) as usize;
            data = &data[taken..];
            let made = &running.history[known..];
            let (is_idle, is_full) = (taken == 0 && made.is_empty(), made.len() >= STEP);
            if !made.is_empty() && !take(made) {
                return Err(Failure::Refused);
            }
            match status {
                Status::StreamEnd => running.restart()?,
                // With room left in the output there is nothing more in the input.
                _ if is_idle || data.is_empty() && !is_full => return Ok(()),
                _ => {}
            }
        }
    }
}
