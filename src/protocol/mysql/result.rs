//! One result: its columns, how many rows it has, and what may be shown of them.

use super::packet::{Packet, number};
use super::report::Okay;
use super::statements::Column;
use super::values;
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};
use std::sync::Arc;

/// What may still be kept of rows.
#[derive(Debug, Default)]
pub struct Room {
    all: usize,
    left: usize,
    /// Less is kept than came.
    pub cut: bool,
}

impl Room {
    /// Room for so many bytes.
    pub fn new(all: usize) -> Room {
        Room { all, left: all, cut: false }
    }

    /// How many bytes may still be kept.
    pub fn left(&self) -> usize {
        self.left
    }

    fn end(&mut self) {
        (self.left, self.cut) = (0, true);
    }
}

/// One result.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub columns: Arc<Vec<Column>>,
    pub column_count: u64,
    pub has_columns: bool,
    /// Whether its rows are binary; None where that is not known.
    pub binary: Option<bool>,
    pub rows: u64,
    pub values: Vec<Value>,
    /// What ended it.
    pub okay: Option<Okay>,
}

impl Outcome {
    /// Rows of these columns come.
    pub fn begin(&mut self, columns: Arc<Vec<Column>>, binary: bool) {
        *self = Outcome {
            column_count: columns.len() as u64,
            columns,
            has_columns: true,
            binary: Some(binary),
            ..Outcome::default()
        };
    }

    /// True where something of it came.
    pub fn is_begun(&self) -> bool {
        self.has_columns || self.rows > 0
    }

    /// A column more. Of those beyond `most` the number is known, not more.
    pub fn add_column(&mut self, column: Column, most: usize) {
        self.has_columns = true;
        let columns = Arc::make_mut(&mut self.columns);
        if columns.len() < most {
            columns.push(column);
        }
        self.column_count = self.column_count.max(columns.len() as u64);
    }

    /// A row more.
    pub fn add_row(&mut self, packet: &Packet<'_>, room: &mut Room) {
        self.rows += 1;
        if room.all == 0 {
            return;
        }
        if room.left == 0 {
            room.cut = true;
            return;
        }
        let values = match self.binary {
            Some(false) => text_row(packet, room),
            Some(true) => self.binary_row(packet, room),
            None => None,
        };
        match values {
            Some(values) => self.values.push(Value::List(values)),
            None => room.end(),
        }
    }

    fn binary_row(&self, packet: &Packet<'_>, room: &mut Room) -> Option<Vec<Value>> {
        if self.columns.is_empty() || self.columns.len() as u64 != self.column_count {
            return None;
        }
        let mut cursor = Cursor::new(packet.body());
        // Its bits begin with the third.
        let nulls = cursor.bytes((self.columns.len() + 2).div_ceil(8))?;
        let mut row = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let bit = index + 2;
            if nulls[bit / 8] >> (bit % 8) & 1 == 1 {
                keep(&mut row, Value::Null, true, room);
                continue;
            }
            let Some(read) = values::binary(column.kind, &mut cursor) else {
                room.end();
                break;
            };
            let (value, whole) = values::shown(&read, room.left);
            keep(&mut row, value, whole, room);
            if room.left == 0 {
                break;
            }
        }
        room.cut |= row.len() < self.columns.len();
        Some(row)
    }

    /// Its fields.
    pub fn fields(self) -> Vec<Field> {
        let mut fields = Vec::new();
        if self.has_columns {
            let names = self.columns.iter().map(|column| Value::Bytes(column.name.clone()));
            fields.push(Field::new("columns", Value::List(names.collect())));
            if self.columns.len() as u64 != self.column_count {
                fields.push(number("column_count", self.column_count));
            }
        }
        if self.is_begun() {
            fields.push(number("rows", self.rows));
        }
        if !self.values.is_empty() {
            fields.push(Field::new("values", Value::List(self.values)));
        }
        fields.extend(self.okay.into_iter().flat_map(Okay::fields));
        fields
    }

    /// `3 rows`, `OK (1 affected)`.
    pub fn summary(&self, lists_fields: bool) -> String {
        let remarks = self.okay.as_ref().map(Okay::remarks).unwrap_or_default();
        let many = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let has_cursor =
            self.okay.as_ref().is_some_and(|okay| okay.status & super::packet::status::CURSOR_EXISTS != 0);
        match self.is_begun() {
            true if lists_fields => many(self.column_count, "column"),
            true if has_cursor && self.rows == 0 => format!("cursor{remarks}"),
            true => format!("{}{remarks}", many(self.rows, "row")),
            false => format!("OK{remarks}"),
        }
    }
}

/// The values of a row of text; None where nothing of it is there.
fn text_row(packet: &Packet<'_>, room: &mut Room) -> Option<Vec<Value>> {
    let mut cursor = Cursor::new(&packet.data);
    let mut row = Vec::new();
    while !cursor.is_empty() && room.left > 0 {
        if cursor.rest()[0] == 0xfb {
            let _ = cursor.u8();
            keep(&mut row, Value::Null, true, room);
            continue;
        }
        let Some((bytes, length)) = super::packet::string_begun(&mut cursor) else { break };
        let kept = &bytes[..bytes.len().min(room.left)];
        let whole = kept.len() as u64 == length;
        keep(&mut row, Value::Bytes(kept.to_vec()), whole, room);
    }
    if !cursor.is_empty() || !packet.is_all() {
        // This row is shown in part, and none behind it.
        room.end();
    }
    Some(row)
}

fn keep(row: &mut Vec<Value>, value: Value, whole: bool, room: &mut Room) {
    room.left = room.left.saturating_sub(values::size(&value));
    if !whole {
        room.end();
    }
    row.push(value);
}
