//! Streaming replication: what CopyData holds while a connection streams in both directions.
//!
//! Source: PostgreSQL documentation, "Streaming Replication Protocol"
//! (<https://www.postgresql.org/docs/current/protocol-replication.html>).

use super::message::Side;
use super::request::number;
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};

/// How much of such a message is needed to name it.
pub const KEEP: usize = 40;

/// A message's summary and fields. `length` is that of the contents, `body` what is there of them.
pub fn describe(side: Side, body: &[u8], length: u64) -> (String, Vec<Field>) {
    let mut cursor = Cursor::new(body);
    let kind = cursor.u8();
    let read = match (side, kind) {
        (Side::Server, Some(b'w')) => wal(cursor, length),
        (Side::Server, Some(b'k')) => keepalive(cursor),
        (Side::Client, Some(b'r')) => status(cursor),
        (Side::Client, Some(b'h')) => feedback(cursor),
        _ => None,
    };
    let (name, said, mut fields) =
        read.unwrap_or_else(|| ("CopyData", format!("{length} bytes"), vec![number("length", length)]));
    fields.insert(0, Field::new("type", Value::Text(name.into())));
    (format!("{name} {said}"), fields)
}

/// Whether CopyData whose request was not seen is of replication: its length is that of the kind it says to be.
pub fn is_replication(side: Side, body: &[u8], length: u64) -> bool {
    match (side, body.first()) {
        (Side::Server, Some(b'k')) => length == 18 && body.get(17).is_some_and(|&byte| byte <= 1),
        (Side::Client, Some(b'r')) => length == 34 && body.get(33).is_some_and(|&byte| byte <= 1),
        _ => false,
    }
}

type Described = (&'static str, String, Vec<Field>);

fn wal(mut cursor: Cursor<'_>, length: u64) -> Option<Described> {
    let (start, end, _clock) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let size = length.saturating_sub(25);
    let fields = vec![lsn_field("wal_start", start), lsn_field("wal_end", end), number("wal_bytes", size)];
    Some(("XLogData", format!("{} {size} bytes", lsn(start)), fields))
}

fn keepalive(mut cursor: Cursor<'_>) -> Option<Described> {
    let (end, _clock, reply) = (cursor.u64()?, cursor.u64()?, cursor.u8()?);
    let said = if reply == 1 { ", reply requested" } else { "" };
    let fields = vec![lsn_field("wal_end", end), Field::new("reply_requested", Value::Flag(reply == 1))];
    Some(("PrimaryKeepalive", format!("{}{said}", lsn(end)), fields))
}

fn status(mut cursor: Cursor<'_>) -> Option<Described> {
    let (written, flushed, applied) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
    let (_clock, reply) = (cursor.u64()?, cursor.u8()?);
    let fields = vec![
        lsn_field("written", written),
        lsn_field("flushed", flushed),
        lsn_field("applied", applied),
        Field::new("reply_requested", Value::Flag(reply == 1)),
    ];
    let said = format!("written {}, flushed {}, applied {}", lsn(written), lsn(flushed), lsn(applied));
    Some(("StandbyStatusUpdate", said, fields))
}

fn feedback(mut cursor: Cursor<'_>) -> Option<Described> {
    let (_clock, xmin) = (cursor.u64()?, cursor.u32()?);
    Some(("HotStandbyFeedback", format!("xmin {xmin}"), vec![number("xmin", xmin.into())]))
}

fn lsn_field(name: &'static str, position: u64) -> Field {
    Field::new(name, Value::Text(lsn(position).into()))
}

/// A position in the log as PostgreSQL writes it.
fn lsn(position: u64) -> String {
    format!("{:X}/{:X}", position >> 32, position & 0xffff_ffff)
}
