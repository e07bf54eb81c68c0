//! Records and the tracker's reasoning as text: one line each, grep one connection by its socket.
//!
//! `TIME COMM[PID] FD<SOCKET> PROTOCOL SUMMARY LATENCY [STATUS: CAUSES]`; fields below it where asked for.

use super::escape::escape;
use super::head::Head;
use super::hexdump::Views;
use super::paint::Paint;
use super::time::{Clock, duration};
use crate::conn::Info;
use crate::event::Timestamp;
use crate::record::{Message, Record, Status, Value};
use std::fmt;
use std::io::{self, Write};

/// Shows records and steps, one after the other.
pub trait RecordView {
    /// Writes a record.
    ///
    /// # Errors
    /// `out` can't be written.
    fn record(
        &mut self,
        info: &Info,
        time: Timestamp,
        record: &Record,
        out: &mut dyn Write,
    ) -> io::Result<()>;

    /// Writes a step of the tracker.
    ///
    /// # Errors
    /// `out` can't be written.
    fn trace(&mut self, info: &Info, step: &Step<'_>, out: &mut dyn Write) -> io::Result<()>;
}

/// A step of the tracker's reasoning.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// When.
    pub time: Timestamp,
    /// 1: a change of the connection's state; 2: a step of processing.
    pub level: u8,
    /// One word for it.
    pub step: &'static str,
    /// The sentence.
    pub message: fmt::Arguments<'a>,
}

/// The text view of records.
#[derive(Debug)]
pub struct TextRecords {
    clock: Clock,
    paint: Paint,
    payload: Views,
}

impl TextRecords {
    /// A view with times of `clock`, in `paint`'s colours; fields and bodies are shown where `payload`
    /// asks for a view of them.
    pub fn new(clock: Clock, paint: Paint, payload: Views) -> TextRecords {
        TextRecords { clock, paint, payload }
    }

    fn head<'a>(&'a self, info: &'a Info, time: Timestamp) -> Head<'a> {
        Head::of_connection(&self.clock, self.paint, info, time)
    }

    fn fields(&self, mark: &str, message: &Message, out: &mut dyn Write) -> io::Result<()> {
        for field in &message.fields {
            let name = escape(field.name.as_bytes());
            match &field.value {
                Value::Map(entries) => {
                    for (key, value) in entries {
                        writeln!(out, "\t{mark} {name}.{}: {}", Shown(key), Shown(value))?;
                    }
                }
                Value::Bytes(bytes) if field.name == "body" => {
                    writeln!(out, "\t{mark} body: {} bytes shown", bytes.len())?;
                    self.payload.write(0, bytes, out)?;
                }
                value => writeln!(out, "\t{mark} {name}: {}", Shown(value))?,
            }
        }
        Ok(())
    }
}

impl RecordView for TextRecords {
    fn record(&mut self, info: &Info, _: Timestamp, record: &Record, out: &mut dyn Write) -> io::Result<()> {
        let head = self.head(info, record.started());
        let protocol = self.paint.word(record.protocol);
        write!(out, "{head} {protocol} {}", escape(record.summary.as_bytes()))?;
        if let Some(latency) = record.latency() {
            write!(out, " {}", duration(latency))?;
        }
        if record.status != Status::Complete {
            write!(out, " {}", self.paint.alarm(Flaw(record)))?;
        }
        writeln!(out)?;
        if self.payload.is_on() {
            record.request.iter().try_for_each(|message| self.fields(">", message, out))?;
            record.response.iter().try_for_each(|message| self.fields("<", message, out))?;
        }
        Ok(())
    }

    fn trace(&mut self, info: &Info, step: &Step<'_>, out: &mut dyn Write) -> io::Result<()> {
        let head = self.head(info, step.time);
        let message = step.message.to_string();
        writeln!(out, "{head} {}: {}", self.paint.quiet(step.step), escape(message.as_bytes()))
    }
}

/// `[truncated: ring-full]`.
struct Flaw<'a>(&'a Record);

impl fmt::Display for Flaw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.0.status.name())?;
        let causes = self.0.causes();
        let others = causes.iter().map(|cause| cause.slug()).filter(|&slug| slug != self.0.status.name());
        for (index, slug) in others.enumerate() {
            write!(f, "{}{slug}", if index == 0 { ": " } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// A value on one line.
struct Shown<'a>(&'a Value);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Bytes(bytes) => write!(f, "{}", escape(bytes)),
            Value::Text(text) => write!(f, "{}", escape(text.as_bytes())),
            Value::Number(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Flag(flag) => flag.fmt(f),
            Value::Null => f.write_str("(nil)"),
            Value::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { ", " }, Shown(value))?;
                }
                f.write_str("]")
            }
            Value::Map(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{}: {}", if index == 0 { "" } else { ", " }, Shown(key), Shown(value))?;
                }
                f.write_str("}")
            }
        }
    }
}
