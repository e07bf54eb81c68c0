//! Messages under way: a method that content follows, its header, and its body in any number of frames
//! (section 4.2.6). Each channel has one in each direction; frames of other channels may lie between.

use super::method::Method;
use super::values::Reader;
use crate::event::Cause;
use crate::protocol::Options;
use crate::protocol::cursor::Cursor;
use crate::protocol::exchange::Half;
use crate::protocol::framed::Frame;
use crate::record::{Field, Value};

/// A message whose end has not come.
pub struct Content {
    /// Of its method, or of what was seen of it first.
    pub half: Half,
    /// Absent where it was not seen.
    pub method: Option<&'static Method>,
    /// What it answers.
    pub request: Option<Half>,
    /// The number by which it will be confirmed.
    pub tag: Option<u64>,
    /// What its header says; absent where that was not seen yet, or never.
    body_size: Option<u64>,
    received: u64,
    properties: Vec<(Value, Value)>,
    body: Vec<u8>,
    cut: bool,
}

impl Content {
    /// A message that begins with `half`.
    pub fn new(half: Half, method: Option<&'static Method>) -> Content {
        Content {
            half,
            method,
            request: None,
            tag: None,
            body_size: None,
            received: 0,
            properties: Vec::new(),
            body: Vec::new(),
            cut: false,
        }
    }

    /// True where a header can follow.
    pub fn wants_header(&self) -> bool {
        self.method.is_some() && self.body_size.is_none() && self.received == 0
    }

    /// True where a body can follow.
    pub fn wants_body(&self) -> bool {
        self.body_size.is_some() || self.method.is_none()
    }

    /// True where its method or its header tells how much of it is to come.
    pub fn has_known_end(&self) -> bool {
        self.method.is_some() || self.body_size.is_some()
    }

    /// True where all of it came.
    pub fn is_complete(&self) -> bool {
        self.body_size.is_some_and(|size| self.received >= size)
    }

    /// Takes its header in, as far as it is in `payload`.
    pub fn header(&mut self, mut payload: Cursor<'_>, frame: &Frame<'_>, options: Options) {
        let _class_and_weight = payload.u32();
        self.body_size = payload.u64();
        let mut reader = Reader::new(payload, options.show_secrets);
        let is_read = reader.properties(&mut self.properties).is_some();
        self.cut |= reader.cut || !is_read && !frame.is_cut();
    }

    /// Takes a part of the body in, of which the beginning is in `payload`.
    pub fn body(&mut self, payload: &[u8], size: u32, options: Options) {
        let is_gapless = self.body.len() as u64 == self.received;
        self.received += u64::from(size);
        if is_gapless {
            let room = options.max_field.saturating_sub(self.body.len());
            self.body.extend_from_slice(&payload[..payload.len().min(room)]);
        }
    }

    /// All that came of it.
    pub fn finish(mut self, options: Options) -> (Half, Option<Half>, Option<u64>, Option<&'static Method>) {
        let half = &mut self.half;
        let size = self.body_size.unwrap_or(self.received);
        half.summary.push_str(&format!(" {size} bytes"));
        let fields = &mut half.message.fields;
        match self.body_size {
            Some(size) => {
                fields.push(Field::new("body_size", Value::Number(i64::try_from(size).unwrap_or(i64::MAX))));
                fields.push(Field::new("properties", Value::Map(self.properties)));
            }
            None => fields.push(Field::new("header", Value::Text("unknown".into()))),
        }
        if self.received != size {
            let received = i64::try_from(self.received).unwrap_or(i64::MAX);
            fields.push(Field::new("body_received", Value::Number(received)));
        }
        if options.max_field > 0 && self.received > 0 {
            self.cut |=
                (self.body.len() as u64) < self.received.min(size) && self.body.len() >= options.max_field;
            fields.push(Field::new("body", Value::Bytes(self.body)));
        }
        if self.cut {
            half.add_cause(Cause::FieldTruncated);
        }
        (self.half, self.request, self.tag, self.method)
    }
}
