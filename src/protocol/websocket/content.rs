//! The payload of a message of data, as it passes: counted, inflated, checked, and kept up to a bound.

use super::deflate::{Failure, Inflater};
use super::frame::{self, Opcode};
use crate::event::Cause;
use crate::record::{Field, Value};

/// The most bytes that one message is inflated to. Of a bomb no more is made.
pub(super) const INFLATED_MAX: u64 = 128 << 20;

/// How many bytes are unmasked at once.
const STEP: usize = 4 << 10;

/// How the payload is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Plain,
    Deflate,
    /// By what is not known; nothing is decoded.
    Unknown(&'static str),
}

/// The payload of one message.
pub(super) struct Content {
    /// Absent where the first frame is missing.
    pub(super) opcode: Option<Opcode>,
    /// Bytes of payload in its frames, also those that are missing.
    pub(super) length: u64,
    coding: Coding,
    limit: usize,
    kept: Vec<u8>,
    /// Bytes after inflation.
    inflated: u64,
    utf8: Utf8,
    /// Nothing behind this is decoded. Says why.
    stopped: Option<Stop>,
}

/// Why decoding ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Bytes are missing.
    Hole,
    Failure(Failure),
}

impl Content {
    /// Of which up to `limit` bytes are shown.
    pub(super) fn new(opcode: Option<Opcode>, coding: Coding, limit: usize) -> Content {
        Content {
            opcode,
            length: 0,
            coding,
            limit,
            kept: Vec::new(),
            inflated: 0,
            utf8: Utf8::default(),
            stopped: None,
        }
    }

    /// True where the content of what passes is not looked at.
    fn is_indifferent(&self) -> bool {
        self.stopped.is_some()
            || match self.coding {
                Coding::Plain => self.opcode != Some(Opcode::Text) && self.kept.len() >= self.limit,
                // Without anything to show no context is kept up, and so nothing is checked.
                Coding::Deflate => self.limit == 0,
                Coding::Unknown(_) => true,
            }
    }

    /// Takes bytes of payload that begin `at` in their frame.
    pub(super) fn push(&mut self, data: &[u8], key: Option<[u8; 4]>, at: u64, inflater: &mut Inflater) {
        let mut at = at;
        for piece in data.chunks(STEP) {
            self.length += piece.len() as u64;
            if !self.is_indifferent() {
                let mut plain = [0; STEP];
                let plain = &mut plain[..piece.len()];
                plain.copy_from_slice(piece);
                frame::unmask(plain, key, at);
                self.decode(plain, inflater);
            }
            at += piece.len() as u64;
        }
    }

    /// Counts bytes of payload that are missing. What comes behind them is not shown: a hole must not be hidden.
    pub(super) fn miss(&mut self, count: u64, inflater: &mut Inflater) {
        if count == 0 {
            return;
        }
        self.length += count;
        self.stopped.get_or_insert(Stop::Hole);
        if self.coding == Coding::Deflate {
            inflater.forget("bytes of a message before it are missing");
        }
    }

    fn decode(&mut self, plain: &[u8], inflater: &mut Inflater) {
        let result = match self.coding {
            Coding::Deflate => inflater.push(plain, &mut |bytes| self.take(bytes)),
            _ => {
                self.take(plain);
                Ok(())
            }
        };
        self.stop_if(result);
    }

    fn stop_if(&mut self, result: Result<(), Failure>) {
        if let Err(failure) = result {
            self.stopped.get_or_insert(Stop::Failure(failure));
        }
    }

    /// Takes decoded bytes; false where no more are wanted.
    fn take(&mut self, bytes: &[u8]) -> bool {
        if self.coding == Coding::Deflate {
            self.inflated += bytes.len() as u64;
        }
        if self.opcode == Some(Opcode::Text) {
            self.utf8.push(bytes);
        }
        let room = self.limit.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        self.inflated <= INFLATED_MAX
    }

    /// No more comes; `whole` where the last frame did. Gives what is to be shown, and why some of it is not.
    pub(super) fn end(mut self, whole: bool, inflater: &mut Inflater) -> Ended {
        let is_inflating = self.coding == Coding::Deflate && self.limit > 0;
        if is_inflating && self.stopped.is_none() {
            match whole {
                true => {
                    let result = inflater.end(&mut |bytes| self.take(bytes));
                    self.stop_if(result);
                }
                false => {
                    self.stopped = Some(Stop::Hole);
                    inflater.forget("bytes of a message before it are missing");
                }
            }
        }
        let mut ended = Ended { fields: Vec::new(), causes: Vec::new(), text: None };
        let (mut undecoded, mut error) = (None, None);
        match self.stopped {
            Some(Stop::Failure(Failure::Missing(why))) => {
                undecoded = Some(why);
                ended.causes.push(Cause::Unsupported);
                self.kept.clear();
            }
            Some(Stop::Failure(Failure::Corrupt)) => error = Some("not DEFLATE data"),
            Some(Stop::Failure(Failure::Refused)) => {
                undecoded = Some("it inflates to more than the limit");
                ended.causes.push(Cause::Limit);
            }
            Some(Stop::Hole) => {}
            None if whole && self.opcode == Some(Opcode::Text) && !self.utf8.is_whole() => {
                error = Some("the text is not UTF-8");
            }
            None => {}
        }
        if self.stopped == Some(Stop::Hole) && self.utf8.is_wrong {
            error = Some("the text is not UTF-8");
        }
        if let Coding::Unknown(why) = self.coding {
            undecoded = Some(why);
            ended.causes.push(Cause::Unsupported);
        }
        if is_inflating && self.stopped.is_none() {
            ended.fields.push(Field::new("inflated_length", number(self.inflated)));
        }
        if self.limit > 0 && undecoded.is_none_or(|_| !self.kept.is_empty()) {
            let all = if self.coding == Coding::Deflate { self.inflated } else { self.length };
            if self.stopped.is_none() && self.kept.len() as u64 != all {
                ended.causes.push(Cause::FieldTruncated);
            }
            if self.opcode == Some(Opcode::Text) {
                ended.text = Some(String::from_utf8_lossy(&self.kept).into_owned());
            }
            ended.fields.push(Field::new("payload", Value::Bytes(self.kept)));
        }
        if let Some(why) = undecoded {
            ended.fields.push(Field::new("undecoded", Value::Text(why.into())));
        }
        if let Some(what) = error {
            ended.causes.push(Cause::ParseError);
            ended.fields.push(Field::new("error", Value::Text(what.into())));
        }
        ended
    }
}

/// What became of a payload.
pub(super) struct Ended {
    pub(super) fields: Vec<Field>,
    pub(super) causes: Vec<Cause>,
    /// The beginning of a text.
    pub(super) text: Option<String>,
}

/// A number of bytes as a field's value.
pub(super) fn number(bytes: u64) -> Value {
    Value::Number(i64::try_from(bytes).unwrap_or(i64::MAX))
}

/// Checks text that comes in pieces (RFC 6455, section 8.1; RFC 3629).
#[derive(Default)]
struct Utf8 {
    /// The beginning of a character whose rest has not come.
    begun: Vec<u8>,
    is_wrong: bool,
}

impl Utf8 {
    fn push(&mut self, mut data: &[u8]) {
        while let (false, false, [byte, rest @ ..]) = (self.is_wrong, self.begun.is_empty(), data) {
            self.begun.push(*byte);
            data = rest;
            match str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) => self.is_wrong = error.error_len().is_some(),
            }
        }
        if self.is_wrong || !self.begun.is_empty() {
            return;
        }
        if let Err(error) = str::from_utf8(data) {
            self.is_wrong = error.error_len().is_some();
            if !self.is_wrong {
                // Three bytes at most: the beginning of one character.
                self.begun.extend_from_slice(&data[error.valid_up_to()..]);
            }
        }
    }

    fn is_whole(&self) -> bool {
        !self.is_wrong && self.begun.is_empty()
    }
}
