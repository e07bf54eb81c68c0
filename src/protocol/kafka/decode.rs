//! Reads a message by its schema: values with their names, and what a summary wants to know of them. Secrets are masked.

use super::errors;
use super::records;
use super::schema::{Field, Kind};
use crate::protocol::MASKED;
use crate::protocol::cursor::Cursor;
use crate::record::{self, Value};

/// How much of all values of one message is kept, in bytes, each value counted with [`VALUE_COST`] besides.
const KEEP_MAX: usize = 32 << 10;

/// What a value costs by itself.
const VALUE_COST: usize = 64;

/// How many bytes of one text are kept.
const TEXT_MAX: usize = 4096;

/// How many topics, groups and errors are told in a summary.
const NOTES_MAX: usize = 4;

/// Why reading ended before the end of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The rest is not at hand.
    Short,
    /// It can't be such a message.
    Bad(&'static str),
}

/// What a summary wants to know.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    pub topics: Vec<String>,
    /// How many topics there are in all.
    pub topic_count: usize,
    pub groups: Vec<String>,
    pub errors: Vec<String>,
    pub records: Option<u64>,
    pub acks: Option<i64>,
    /// Records that can't be counted.
    pub is_packed: bool,
}

/// Reads one message.
pub struct Decoder<'a> {
    pub cursor: Cursor<'a>,
    /// How many bytes of the message are not at hand.
    pub beyond: usize,
    version: i16,
    is_flexible: bool,
    show_secrets: bool,
    max_field: usize,
    room: usize,
    /// Something is shown shorter than it is.
    pub cut: bool,
    pub notes: Notes,
}

impl<'a> Decoder<'a> {
    /// Reads `data`, which is the beginning of a message of `data.len() + beyond` bytes.
    pub fn new(data: &'a [u8], beyond: usize, show_secrets: bool, max_field: usize) -> Decoder<'a> {
        Decoder {
            cursor: Cursor::new(data),
            beyond,
            version: 0,
            is_flexible: false,
            show_secrets,
            max_field,
            room: KEEP_MAX,
            cut: false,
            notes: Notes::default(),
        }
    }

    /// Reads a body. What was read before it stopped is in `into`.
    pub fn body(
        &mut self,
        schema: &[Field],
        version: i16,
        is_flexible: bool,
        into: &mut Vec<record::Field>,
    ) -> Result<(), Stop> {
        (self.version, self.is_flexible) = (version, is_flexible);
        let mut values = Vec::new();
        let result = self.fields("", schema, &mut values);
        into.extend(values.into_iter().map(|(name, value)| record::Field::new(name, value)));
        result
    }

    /// Passes over tagged fields of a header.
    pub fn skip_tags(&mut self) -> Result<(), Stop> {
        for _ in 0..self.count_of_tags()? {
            self.uvarint()?;
            let size = self.uvarint()? as usize;
            self.take(size)?;
        }
        Ok(())
    }

    fn count_of_tags(&mut self) -> Result<u32, Stop> {
        let count = self.uvarint()?;
        // Each takes two bytes at least.
        match count as usize <= (self.cursor.len() + self.beyond) / 2 {
            true => Ok(count),
            false => Err(Stop::Bad("more tagged fields than it has room for")),
        }
    }

    fn fields(
        &mut self,
        parent: &'static str,
        schema: &[Field],
        into: &mut Vec<(&'static str, Value)>,
    ) -> Result<(), Stop> {
        let version = self.version;
        for field in schema.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            self.field(parent, field, into)?;
        }
        if !self.is_flexible {
            return Ok(());
        }
        for _ in 0..self.count_of_tags()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let known = schema.iter().find(|field| field.tag == Some(tag) && field.is_in(version));
            let Some(field) = known else {
                self.take(size)?;
                continue;
            };
            let end = (self.cursor.len() + self.beyond).checked_sub(size);
            let end = end.ok_or(Stop::Bad("a tagged field that is longer than its message"))?;
            self.field(parent, field, into)?;
            if self.cursor.len() + self.beyond != end {
                return Err(Stop::Bad("a tagged field of another length than it says"));
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        parent: &'static str,
        field: &Field,
        into: &mut Vec<(&'static str, Value)>,
    ) -> Result<(), Stop> {
        let (value, result) = self.value(field.name, field.kind);
        if let Some(value) = value {
            self.note(parent, field.name, &value);
            let error = match (&value, field.name) {
                (Value::Number(code), "error_code") if *code != 0 => Some(error_name(*code)),
                _ => None,
            };
            if self.has_room() {
                into.push((field.name, self.masked(field.name, value)));
                into.extend(error.map(|name| ("error", Value::Text(name.into()))));
            }
        }
        result
    }

    fn masked(&self, name: &str, value: Value) -> Value {
        if name == "auth_bytes" && !self.show_secrets && value != Value::Null { MASKED } else { value }
    }

    /// Keeps what a summary tells.
    fn note(&mut self, parent: &str, name: &str, value: &Value) {
        let notes = &mut self.notes;
        match (parent, name, value) {
            ("topics" | "topic_data", "name" | "topic" | "topic_id", Value::Bytes(_) | Value::Text(_))
                if *value != uuid([0; 16]) =>
            {
                notes.topic_count += 1;
                add(&mut notes.topics, shown(value));
            }
            (_, "topic_names" | "coordinator_keys", Value::List(names)) => {
                notes.topic_count += names.len();
                names.iter().for_each(|name| add(&mut notes.topics, shown(name)));
            }
            (_, "group_id", Value::Bytes(_)) => add(&mut notes.groups, shown(value)),
            (_, "acks", Value::Number(acks)) => notes.acks = Some(*acks),
            (_, "error_code" | "topic_config_error_code", Value::Number(code)) if *code != 0 => {
                add(&mut notes.errors, error_name(*code));
            }
            _ => {}
        }
    }

    /// A value, or as much of it as there is, and why it ended before its end.
    fn value(&mut self, name: &'static str, kind: Kind) -> (Option<Value>, Result<(), Stop>) {
        let value = match kind {
            Kind::Rows(schema) => return self.rows(name, schema),
            Kind::Struct(schema) => {
                let mut members = Vec::new();
                let result = self.fields(name, schema, &mut members);
                return (Some(map(members)), result);
            }
            Kind::Records => return self.records(),
            Kind::Ints => self.list(|decoder| decoder.array().map(i32::from_be_bytes).map(number)),
            Kind::Longs => self.list(|decoder| decoder.array().map(i64::from_be_bytes).map(Value::Number)),
            Kind::Strs => self.list(Decoder::text),
            Kind::Bool => self.array().map(|[byte]| Value::Flag(byte != 0)),
            Kind::I8 => self.array().map(i8::from_be_bytes).map(number),
            Kind::I16 => self.array().map(i16::from_be_bytes).map(number),
            Kind::I32 => self.array().map(i32::from_be_bytes).map(number),
            Kind::I64 => self.array().map(i64::from_be_bytes).map(Value::Number),
            Kind::Uuid => self.array().map(uuid),
            Kind::Str => self.text(),
            Kind::Bytes => self.opaque(),
        };
        match value {
            Ok(value) => (Some(value), Ok(())),
            Err(stop) => (None, Err(stop)),
        }
    }

    fn rows(&mut self, name: &'static str, schema: &'static [Field]) -> (Option<Value>, Result<(), Stop>) {
        let count = match self.count() {
            Ok(Some(count)) => count,
            Ok(None) => return (Some(Value::Null), Ok(())),
            Err(stop) => return (None, Err(stop)),
        };
        let mut rows = Vec::new();
        for _ in 0..count {
            let mut members = Vec::new();
            let result = self.fields(name, schema, &mut members);
            if !members.is_empty() && self.has_room() {
                rows.push(map(members));
            }
            if result.is_err() {
                return (Some(Value::List(rows)), result);
            }
        }
        (Some(Value::List(rows)), Ok(()))
    }

    fn list(&mut self, item: impl Fn(&mut Self) -> Result<Value, Stop>) -> Result<Value, Stop> {
        let Some(count) = self.count()? else { return Ok(Value::Null) };
        let mut items = Vec::new();
        for _ in 0..count {
            let value = item(self)?;
            if self.has_room() {
                items.push(value);
            }
        }
        Ok(Value::List(items))
    }

    /// How many elements an array has, or None for null.
    fn count(&mut self) -> Result<Option<usize>, Stop> {
        let count = self.length(4)?;
        // Each takes a byte at least.
        match count {
            Some(count) if count > self.cursor.len() + self.beyond => {
                Err(Stop::Bad("an array that is longer than its message"))
            }
            count => Ok(count),
        }
    }

    /// A length, of `width` bytes where it is not compact; None for null.
    fn length(&mut self, width: usize) -> Result<Option<usize>, Stop> {
        let length = match (self.is_flexible, width) {
            (true, _) => i64::from(self.uvarint()?) - 1,
            (false, 2) => self.array().map(i16::from_be_bytes)?.into(),
            (false, _) => self.array().map(i32::from_be_bytes)?.into(),
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| Stop::Bad("a length below zero")),
        }
    }

    fn text(&mut self) -> Result<Value, Stop> {
        let Some(length) = self.length(2)? else { return Ok(Value::Null) };
        let bytes = self.take(length)?;
        if std::str::from_utf8(bytes).is_err() {
            return Err(Stop::Bad("a text that is none"));
        }
        Ok(self.kept(bytes, TEXT_MAX))
    }

    fn opaque(&mut self) -> Result<Value, Stop> {
        let Some(length) = self.length(4)? else { return Ok(Value::Null) };
        let bytes = self.take(length)?;
        Ok(self.kept(bytes, self.max_field.min(TEXT_MAX)))
    }

    fn kept(&mut self, bytes: &[u8], most: usize) -> Value {
        let kept = bytes.len().min(most).min(self.room);
        self.room -= kept;
        self.cut |= kept < bytes.len();
        Value::Bytes(bytes[..kept].to_vec())
    }

    /// Counts records, also those of a field of which only the beginning is at hand.
    fn records(&mut self) -> (Option<Value>, Result<(), Stop>) {
        let length = match self.length(4) {
            Ok(Some(length)) => length,
            Ok(None) => return (Some(Value::Null), Ok(())),
            Err(stop) => return (None, Err(stop)),
        };
        if length > self.cursor.len() + self.beyond {
            return (None, Err(Stop::Bad("records that are longer than their message")));
        }
        let at_hand = length.min(self.cursor.len());
        let data = self.cursor.bytes(at_hand).unwrap_or_default();
        let found = records::read(data);
        let total = self.notes.records.get_or_insert(0);
        *total += found.records;
        self.notes.is_packed |= found.is_packed;
        let number = |count: u64| Value::Number(i64::try_from(count).unwrap_or(i64::MAX));
        let mut members = vec![("size", number(length as u64)), ("batches", number(found.batches))];
        let count = if found.is_packed { Value::Text("unknown".into()) } else { number(found.records) };
        members.push(("count", count));
        members.extend(found.compression.map(|name| ("compression", Value::Text(name.into()))));
        members.extend(found.magic.map(|magic| ("magic", Value::Number(magic.into()))));
        if found.is_cut {
            members.push(("cut", Value::Flag(true)));
        }
        if found.is_damaged {
            members.push(("damaged", Value::Flag(true)));
        }
        let result = if at_hand < length { Err(Stop::Short) } else { Ok(()) };
        (Some(map(members)), result)
    }

    /// Makes room for a value; false where there is none.
    fn has_room(&mut self) -> bool {
        let has_room = self.room >= VALUE_COST;
        self.room -= if has_room { VALUE_COST } else { 0 };
        self.cut |= !has_room;
        has_room
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        if count > self.cursor.len() + self.beyond {
            return Err(Stop::Bad("a value that is longer than its message"));
        }
        self.cursor.bytes(count).ok_or(Stop::Short)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        if N > self.cursor.len() + self.beyond {
            return Err(Stop::Bad("it ends too early"));
        }
        self.cursor.array().ok_or(Stop::Short)
    }

    /// An unsigned number of seven bits a byte, least significant first.
    fn uvarint(&mut self) -> Result<u32, Stop> {
        let mut number = 0u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(number).map_err(|_| Stop::Bad("a number of more than 32 bits"));
            }
        }
        Err(Stop::Bad("a number of more than five bytes"))
    }
}

fn number(number: impl Into<i64>) -> Value {
    Value::Number(number.into())
}

fn map(members: Vec<(&'static str, Value)>) -> Value {
    Value::Map(members.into_iter().map(|(name, value)| (Value::Text(name.into()), value)).collect())
}

/// As RFC 9562 writes it.
fn uuid(bytes: [u8; 16]) -> Value {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| hex[from..to].concat();
    let text = [part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 16)].join("-");
    Value::Text(text.into())
}

fn error_name(code: i64) -> String {
    let known = i16::try_from(code).ok().and_then(errors::name);
    known.map_or_else(|| format!("error {code}"), str::to_owned)
}

fn add(notes: &mut Vec<String>, note: String) {
    if notes.len() < NOTES_MAX && !note.is_empty() && !notes.contains(&note) {
        notes.push(note);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).chars().take(64).collect(),
        Value::Text(text) => text.chars().take(64).collect(),
        _ => String::new(),
    }
}
