//! The messages of a client, each put into the request it belongs to.

use super::message::{self, HEADER, Side};
use super::request::{Op, Request, quoted, text};
use super::startup;
use super::statements::{Bound, Portal, Query};
use super::values::{self, Raw};
use super::{Postgres, QUERY_MIN, lone, replication, sql, with_type};
use crate::event::Cause;
use crate::protocol::Output;
use crate::protocol::cursor::Cursor;
use crate::protocol::framed::Frame;
use crate::record::{Field, Value};
use std::sync::Arc;

/// How many parameters of an execution are kept.
const PARAMETERS_MAX: usize = 1024;

impl Postgres {
    pub(super) fn client_message(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        let kind = frame.data[0];
        let name = message::name(Side::Client, kind).unwrap_or_default();
        out.frame(frame.direction, frame.range, format_args!("{name} {}", frame.length));
        let body = &frame.data[HEADER.min(frame.data.len())..];
        if matches!(kind, b'd' | b'c' | b'f') {
            return self.copy_message(kind, name, body, frame, out);
        }
        self.pairing.client_moves(frame, out);
        match kind {
            b'Q' => self.query(body, frame, out),
            b'P' => self.parse(body, frame, out),
            b'B' => self.bind(body, frame, out),
            b'D' => self.describe(body, frame, out),
            b'E' => self.execute(body, frame, out),
            b'C' => self.close_name(body, frame, out),
            b'S' => self.sync(frame, out),
            b'H' => self.flush(frame, out),
            b'F' => self.function_call(body, frame, out),
            b'p' => {
                let may_lack = self.pairing.is_uncertain();
                let (name, summary, fields) =
                    startup::proof(self.asked.take(), may_lack, frame.data, self.options.show_secrets);
                self.pairing.push(Request::single(frame, name, Op::Login, summary, fields), out);
            }
            _ => return lone(frame, name.to_owned(), with_type(name, Vec::new()), true, out),
        }
        self.pairing.settle(out);
    }

    /// How much of a statement is kept.
    fn query_max(&self) -> usize {
        self.options.max_field.max(QUERY_MIN)
    }

    fn query(&mut self, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        self.tables.close_unnamed();
        let statement = body.strip_suffix(&[0]).unwrap_or(body);
        let length = (!frame.is_cut()).then_some(frame.length.saturating_sub(HEADER as u64 + 1));
        let query = Query::new(statement, length, self.query_max(), self.options.show_secrets);
        let mut request = Request::new(frame, "Query");
        request.asks(Arc::new(query));
        request.execute(0);
        request.ops.push_back(Op::Query);
        // All that is owed for it is known, however much of its text is.
        request.lenient = false;
        self.pairing.push(request, out);
    }

    /// Adds a message of the extended protocol to the request under way, or begins one with it.
    fn join(&mut self, frame: &Frame<'_>, name: &'static str, out: &mut dyn Output) -> &mut Request {
        if self.pairing.last_is_open() {
            if let Some(last) = self.pairing.last() {
                last.extend(frame, name);
            }
        } else {
            let mut request = Request::new(frame, name);
            request.takes_end = true;
            self.pairing.push(request, out);
        }
        self.pairing.last().expect("one was found or pushed")
    }

    fn parse(&mut self, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let mut cursor = Cursor::new(body);
        let name = cursor.until(0);
        let before = cursor.rest();
        let statement = name.and_then(|_| cursor.until(0));
        let length = statement.map(|statement| statement.len() as u64);
        let (most, show) = (self.query_max(), self.options.show_secrets);
        let query = Arc::new(Query::new(statement.unwrap_or(before), length, most, show));
        let count = cursor.u16().unwrap_or(0);
        let types: Vec<u32> = (0..count).map_while(|_| cursor.u32()).collect();
        let name = name.unwrap_or_default().to_vec();
        let remembered = self.tables.parse(&name, query.clone(), types);
        let request = self.join(frame, "Parse", out);
        request.act(|| {
            let name = if name.is_empty() { String::new() } else { format!(" {}", quoted(&name)) };
            format!("Parse{name} {}", sql::line(&query.text))
        });
        request.about(&name, None);
        request.asks(query);
        if !remembered {
            request.half.add_cause(Cause::Limit);
        }
        request.ops.push_back(Op::Parse(name));
    }

    fn bind(&mut self, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let mut cursor = Cursor::new(body);
        let portal = cursor.until(0).unwrap_or_default();
        let name = cursor.until(0);
        let statement = name.and_then(|name| self.tables.statement(name)).cloned();
        let types = statement.as_ref().map_or(&[][..], |statement| &statement.types);
        let bound = Arc::new(bound(cursor, types, self.options.max_field));
        let name = name.unwrap_or_default();
        let entry = Portal { statement: statement.clone(), name: name.to_vec(), bound: bound.clone() };
        self.tables.bind(portal, entry);
        let request = self.join(frame, "Bind", out);
        request.act(|| format!("Bind {}", quoted(name)));
        request.about(name, statement.as_ref());
        request.uses(portal, &bound);
        request.ops.push_back(Op::Bind);
    }

    fn describe(&mut self, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let (kind, name) = kind_and_name(body);
        if kind == b'S' {
            let statement = self.tables.statement(name).cloned();
            let request = self.join(frame, "Describe", out);
            request.act(|| action("Describe", "statement", name));
            request.about(name, statement.as_ref());
            request.ops.push_back(Op::DescribeStatement(name.to_vec()));
        } else {
            let portal = self.tables.portal(name).cloned();
            let request = self.join(frame, "Describe", out);
            request.act(|| action("Describe", "portal", name));
            refer(request, name, portal.as_ref());
            request.ops.push_back(Op::DescribePortal);
        }
    }

    fn execute(&mut self, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let mut cursor = Cursor::new(body);
        let name = cursor.until(0).unwrap_or_default();
        let max_rows = cursor.u32().unwrap_or(0);
        let portal = self.tables.portal(name).cloned();
        let request = self.join(frame, "Execute", out);
        refer(request, name, portal.as_ref());
        request.execute(max_rows);
        request.ops.push_back(Op::Execute);
    }

    fn close_name(&mut self, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let (kind, name) = kind_and_name(body);
        let what = if kind == b'S' { "statement" } else { "portal" };
        if kind == b'S' {
            self.tables.close_statement(name);
        } else {
            self.tables.close_portal(name);
        }
        let request = self.join(frame, "Close", out);
        request.act(|| action("Close", what, name));
        request.ops.push_back(Op::Close);
    }

    fn sync(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        let takes = self.pairing.last().is_some_and(|last| last.takes_end);
        if let Some(last) = self.pairing.last().filter(|last| takes || last.copy.begun && !last.copy.over) {
            last.extend(frame, "Sync");
            // A server that waits for the data of a COPY passes over it.
            if last.copy.begun && !last.copy.over {
                return;
            }
            last.ops.push_back(Op::Sync);
            (last.synced, last.ended, last.takes_end) = (true, true, false);
            return;
        }
        let mut request = Request::new(frame, "Sync");
        request.ops.push_back(Op::Sync);
        (request.synced, request.ended) = (true, true);
        self.pairing.push(request, out);
    }

    fn flush(&mut self, frame: &Frame<'_>, out: &mut dyn Output) {
        if let Some(last) = self.pairing.last().filter(|last| last.takes_end || last.copy.begun) {
            last.extend(frame, "Flush");
            // More can follow in the same cycle: a Sync, which is a request of its own then.
            last.ended = true;
            last.takes_end = last.copy.begun && last.takes_end;
            return;
        }
        let mut request = Request::new(frame, "Flush");
        request.ended = true;
        self.pairing.push(request, out);
    }

    fn function_call(&mut self, body: &[u8], frame: &Frame<'_>, out: &mut dyn Output) {
        let mut cursor = Cursor::new(body);
        let oid = cursor.u32().unwrap_or(0);
        let bound = bound(cursor, &[], self.options.max_field);
        let list = values::list(&bound.briefs, bound.count);
        let mut fields = vec![Field::new("function", Value::Number(oid.into()))];
        if self.options.max_field > 0 {
            fields.push(Field::new("arguments", Value::List(bound.values)));
        }
        let action = format!("FunctionCall {oid} {list}");
        let mut request =
            Request::single(frame, "FunctionCall", Op::Function, action.trim_end().to_owned(), fields);
        if bound.cut {
            request.half.add_cause(Cause::FieldTruncated);
        }
        self.pairing.push(request, out);
    }

    fn copy_message(
        &mut self,
        kind: u8,
        name: &'static str,
        body: &[u8],
        frame: &Frame<'_>,
        out: &mut dyn Output,
    ) {
        let length = frame.length - HEADER as u64;
        self.streams |=
            kind == b'd' && self.pairing.is_idle() && replication::is_replication(Side::Client, body, length);
        if self.streams && kind == b'd' {
            let (summary, fields) = replication::describe(Side::Client, body, length);
            return lone(frame, summary, fields, true, out);
        }
        if !self.streams && self.pairing.copy_in(frame, kind, name, out) {
            if kind == b'f'
                && let Some(last) = self.pairing.last()
            {
                let reason = body.strip_suffix(&[0]).unwrap_or(body);
                last.half
                    .message
                    .fields
                    .push(Field::new("copy_fail", Value::Bytes(super::answer::short(reason))));
            }
            return;
        }
        // The COPY began before the trace, or its beginning was lost; or it ends replication.
        let mut request = Request::new(frame, name);
        request.ops.push_back(if self.streams { Op::StreamEnd } else { Op::CopyEnd });
        (request.ended, request.lenient) = (true, true);
        request.copy.begun = true;
        request.copy.over = kind != b'd';
        if kind == b'd' {
            request.copy.messages = 1;
            request.copy.bytes = length;
        }
        if !self.streams {
            request.half.message.fields.push(text("statement", "unknown"));
            // Nobody knows how much of its data is missing, too.
            request.half.add_cause(Cause::Incomplete);
        }
        self.pairing.push(request, out);
    }
}

/// A Describe or Close: of a statement (`S`) or a portal (`P`), and which.
fn kind_and_name(body: &[u8]) -> (u8, &[u8]) {
    let mut cursor = Cursor::new(body);
    let kind = cursor.u8().unwrap_or_default();
    (kind, cursor.until(0).unwrap_or_default())
}

fn action(verb: &str, what: &str, name: &[u8]) -> String {
    if name.is_empty() { format!("{verb} {what}") } else { format!("{verb} {what} {}", quoted(name)) }
}

fn refer(request: &mut Request, name: &[u8], portal: Option<&Portal>) {
    match portal {
        Some(portal) => {
            request.about(&portal.name, portal.statement.as_ref());
            request.uses(name, &portal.bound);
        }
        None => {
            request.about(b"", None);
            request.uses(name, &Arc::default());
        }
    }
}

/// The parameters of a Bind or FunctionCall: formats, then values.
fn bound(mut cursor: Cursor<'_>, types: &[u32], max_field: usize) -> Bound {
    let mut bound = Bound::default();
    let format_count = cursor.u16().unwrap_or(0);
    let formats: Vec<u16> = (0..format_count).map_while(|_| cursor.u16()).collect();
    let count = usize::from(cursor.u16().unwrap_or(0));
    bound.count = count as u64;
    for index in 0..count {
        let Some(length) = cursor.i32() else { break };
        let length = usize::try_from(length).ok();
        let bytes = length.map(|length| {
            let have = length.min(cursor.len());
            bound.cut |= have < length;
            cursor.bytes(have).unwrap_or_default()
        });
        // None: all are text. One: all are of this format.
        let format = if formats.len() == 1 { formats[0] } else { formats.get(index).copied().unwrap_or(0) };
        let raw = Raw { bytes, binary: format == 1, oid: types.get(index).copied().unwrap_or(0) };
        if values::has_room(&bound.briefs) {
            bound.briefs.push(raw.brief());
        }
        if max_field > 0 {
            if bound.values.len() < PARAMETERS_MAX {
                let (value, whole) = raw.value(max_field);
                bound.cut |= !whole;
                bound.values.push(value);
            } else {
                bound.cut = true;
            }
        }
    }
    bound.cut |= max_field > 0 && bound.values.len() < count;
    bound
}
