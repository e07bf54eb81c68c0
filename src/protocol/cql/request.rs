//! What a client asks for (native_protocol_v5.spec, section 4.1; what v3 and v4 have otherwise).

use super::envelope::{Header, Opcode};
use super::read::{self, Column};
use super::show::{Given, Shown, consistency, word};
use super::statement::{self, Statements};
use crate::protocol::Options;
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};

/// How many statements of a batch are looked at.
const BATCH_MAX: u16 = 1024;

/// The longest id of a prepared statement that is remembered.
const ID_MAX: usize = 256;

const VALUES: u32 = 0x01;
const SKIP_METADATA: u32 = 0x02;
const PAGE_SIZE: u32 = 0x04;
const PAGING_STATE: u32 = 0x08;
const SERIAL_CONSISTENCY: u32 = 0x10;
const DEFAULT_TIMESTAMP: u32 = 0x20;
const NAMES: u32 = 0x40;
const KEYSPACE: u32 = 0x80;
const NOW: u32 = 0x100;

/// What an answer has to know of its request.
#[derive(Clone, Debug)]
pub enum Asked {
    /// PREPARE of a statement.
    Prepare(String),
    /// EXECUTE of one that was prepared.
    Execute(Vec<u8>),
    /// STARTUP with this compression.
    Startup(Option<String>),
}

/// Reads the bodies of requests.
pub struct Reader<'a> {
    pub header: Header,
    pub options: Options,
    pub statements: &'a Statements,
    /// What was read; more is added on the way.
    pub shown: &'a mut Shown,
    pub asked: Option<Asked>,
}

impl Reader<'_> {
    /// Reads a body. None where bytes of it are missing.
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let opcode = self.header.opcode;
        opcode.name().clone_into(&mut self.shown.summary);
        match opcode {
            Opcode::Startup => self.startup(cursor),
            Opcode::Query => self.query(cursor),
            Opcode::Prepare => self.prepare(cursor),
            Opcode::Execute => self.execute(cursor),
            Opcode::Batch => self.batch(cursor),
            Opcode::Register => {
                let events = read::string_list(cursor)?;
                let line = events.iter().map(|event| word(event)).collect::<Vec<_>>().join(", ");
                self.shown.summary.push_str(&format!(" {line}"));
                self.shown.strings("events", &events);
                Some(())
            }
            Opcode::AuthResponse => {
                let token = read::bytes(cursor)?;
                self.shown.token(token, self.options);
                Some(())
            }
            _ => Some(()),
        }
    }

    fn startup(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let pairs = read::string_map(cursor)?;
        let mut compression = None;
        for (name, value) in &pairs {
            match *name {
                b"CQL_VERSION" => self.shown.summary.push_str(&format!(" CQL {}", word(value))),
                b"COMPRESSION" => {
                    self.shown.summary.push_str(&format!(" {}", word(value)));
                    compression = Some(word(value).to_ascii_lowercase());
                }
                _ => {}
            }
        }
        let pair =
            |(name, value): &(&[u8], &[u8])| (Value::Bytes(name.to_vec()), Value::Bytes(value.to_vec()));
        self.shown.fields.push(Field::new("options", Value::Map(pairs.iter().map(pair).collect())));
        self.asked = Some(Asked::Startup(compression));
        Some(())
    }

    fn statement(&mut self, statement: &[u8]) -> String {
        let Options { max_field, show_secrets, .. } = self.options;
        let (text, is_all) = statement::shown(statement, max_field, show_secrets);
        self.shown.is_cut |= !is_all;
        text
    }

    fn query(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let statement = read::long_string(cursor)?;
        let text = self.statement(statement);
        self.shown.summary = statement::brief(&text);
        self.shown.fields.push(Field::new("query", Value::Bytes(text.into_bytes())));
        self.parameters(cursor, &[])
    }

    fn prepare(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let statement = read::long_string(cursor)?;
        let text = self.statement(statement);
        self.shown.summary = format!("PREPARE {}", statement::brief(&text));
        self.shown.fields.push(Field::new("query", Value::Bytes(text.clone().into_bytes())));
        self.asked = Some(Asked::Prepare(text));
        if self.header.version >= 5 && cursor.u32()? & 1 != 0 {
            let keyspace = read::string(cursor)?;
            self.shown.text("keyspace", keyspace);
        }
        Some(())
    }

    /// Names the prepared statement; returns what is known of its variables.
    fn prepared(&mut self, id: &[u8]) -> (String, Option<String>, Vec<Column>) {
        let known = self.statements.get(id);
        let hex = data_encoding::HEXLOWER.encode(id);
        let statement = known.and_then(|known| known.statement.clone());
        (hex, statement, known.map(|known| known.variables.clone()).unwrap_or_default())
    }

    fn execute(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let id = read::string(cursor)?;
        // Servers take a digest of 16 bytes; others are not worth remembering.
        self.asked = (id.len() <= ID_MAX).then(|| Asked::Execute(id.to_vec()));
        let (hex, statement, variables) = self.prepared(id);
        let short = &hex[..hex.len().min(8)];
        self.shown.summary = match &statement {
            Some(statement) => statement::brief(statement),
            None => format!("EXECUTE {short} (statement unknown)"),
        };
        self.shown.word("id", hex);
        match statement {
            Some(statement) => {
                self.shown.fields.push(Field::new("query", Value::Bytes(statement.into_bytes())))
            }
            None => self.shown.word("statement", "unknown"),
        }
        if self.header.version >= 5 {
            let id = read::string(cursor)?;
            self.shown.word("result_metadata_id", data_encoding::HEXLOWER.encode(id));
        }
        self.parameters(cursor, &variables)
    }

    fn flags(&self, cursor: &mut Cursor<'_>) -> Option<u32> {
        if self.header.version >= 5 { cursor.u32() } else { cursor.u8().map(u32::from) }
    }

    /// `<query_parameters>`.
    fn parameters(&mut self, cursor: &mut Cursor<'_>, variables: &[Column]) -> Option<()> {
        let level = cursor.u16()?;
        self.shown.word("consistency", consistency(level));
        let flags = self.flags(cursor)?;
        if flags & VALUES != 0 {
            let given = self.values(cursor, flags & NAMES != 0, variables)?;
            self.shown.summary.push_str(&given.line());
            if !given.values.is_empty() {
                self.shown.list("values", given.values);
            }
        }
        if flags & SKIP_METADATA != 0 {
            self.shown.fields.push(Field::new("skip_metadata", Value::Flag(true)));
        }
        if flags & PAGE_SIZE != 0 {
            let size = cursor.i32()?;
            self.shown.number("result_page_size", size);
        }
        if flags & PAGING_STATE != 0 {
            let state = read::bytes(cursor)?;
            let state = state.map(|state| data_encoding::HEXLOWER.encode(&state[..state.len().min(64)]));
            self.shown.word("paging_state", state.unwrap_or_default());
        }
        self.rest(cursor, flags)
    }

    /// What ends the parameters of queries and batches alike.
    fn rest(&mut self, cursor: &mut Cursor<'_>, flags: u32) -> Option<()> {
        if flags & SERIAL_CONSISTENCY != 0 {
            let level = cursor.u16()?;
            self.shown.word("serial_consistency", consistency(level));
        }
        if flags & DEFAULT_TIMESTAMP != 0 {
            let time = cursor.i64()?;
            self.shown.number("timestamp", time);
        }
        if self.header.version >= 5 {
            if flags & KEYSPACE != 0 {
                let keyspace = read::string(cursor)?;
                self.shown.text("keyspace", keyspace);
            }
            if flags & NOW != 0 {
                let now = cursor.i32()?;
                self.shown.number("now_in_seconds", now);
            }
        }
        Some(())
    }

    fn values(&mut self, cursor: &mut Cursor<'_>, with_names: bool, variables: &[Column]) -> Option<Given> {
        let mut given = Given::default();
        for index in 0..usize::from(cursor.u16()?) {
            let name = if with_names { Some(read::string(cursor)?) } else { None };
            let bound = read::value(cursor)?;
            let named = |variable: &&Column| name.is_some_and(|name| variable.name.as_bytes() == name);
            let variable = match name {
                Some(_) => variables.iter().find(named),
                None => variables.get(index),
            };
            given.add(name, bound, variable, self.options, self.shown);
        }
        Some(given)
    }

    fn batch(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let kind = match cursor.u8()? {
            0 => "LOGGED",
            1 => "UNLOGGED",
            2 => "COUNTER",
            _ => "unknown",
        };
        self.shown.word("type", kind);
        let count = cursor.u16()?;
        let ending = if count == 1 { "" } else { "s" };
        self.shown.summary = format!("BATCH {kind} {count} statement{ending}");
        self.shown.number("queries_count", count);
        let mut queries = Vec::new();
        for index in 0..count {
            let (text, is_known, variables) = if cursor.u8()? == 0 {
                let statement = read::long_string(cursor)?;
                (self.statement(statement), true, Vec::new())
            } else {
                let id = read::string(cursor)?;
                let (hex, statement, variables) = self.prepared(id);
                let is_known = statement.is_some();
                (statement.unwrap_or_else(|| format!("{hex} (statement unknown)")), is_known, variables)
            };
            let given = self.values(cursor, false, &variables)?;
            if index == 0 {
                self.shown.summary.push_str(&format!(": {}{}", statement::brief(&text), given.line()));
            }
            if index >= BATCH_MAX {
                self.shown.is_limited = true;
                continue;
            }
            let name = if is_known { "query" } else { "id" };
            let mut pairs = vec![(Value::Text(name.into()), Value::Bytes(text.into_bytes()))];
            if !is_known {
                pairs.push((Value::Text("statement".into()), Value::Text("unknown".into())));
            }
            if !given.values.is_empty() {
                pairs.push((Value::Text("values".into()), Value::List(given.values)));
            }
            queries.push(Value::Map(pairs));
        }
        self.shown.list("queries", queries);
        let level = cursor.u16()?;
        self.shown.word("consistency", consistency(level));
        let flags = self.flags(cursor)?;
        self.rest(cursor, flags)
    }
}
