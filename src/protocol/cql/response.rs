//! What a server answers, or tells by itself (native_protocol_v5.spec, section 4.2; what v3 and v4 have otherwise).

use super::envelope::{Header, Opcode};
use super::read::{self, Column};
use super::request::Asked;
use super::show::{Shown, consistency, word};
use super::statement::{Prepared, Statements};
use super::values;
use crate::protocol::Options;
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};

/// What a row costs of what may be shown, besides its bytes: values are larger in memory.
const VALUE_COST: usize = 16;

/// Names of error codes (section 9 of v5, 7 of v3).
const ERRORS: [(u32, &str); 20] = [
    (0x0000, "Server error"),
    (0x000a, "Protocol error"),
    (0x0100, "Authentication error"),
    (0x1000, "Unavailable"),
    (0x1001, "Overloaded"),
    (0x1002, "Is_bootstrapping"),
    (0x1003, "Truncate_error"),
    (0x1100, "Write_timeout"),
    (0x1200, "Read_timeout"),
    (0x1300, "Read_failure"),
    (0x1400, "Function_failure"),
    (0x1500, "Write_failure"),
    (0x1600, "CDC_WRITE_FAILURE"),
    (0x1700, "CAS_WRITE_UNKNOWN"),
    (0x2000, "Syntax_error"),
    (0x2100, "Unauthorized"),
    (0x2200, "Invalid"),
    (0x2300, "Config_error"),
    (0x2400, "Already_exists"),
    (0x2500, "Unprepared"),
];

/// Reads the bodies of answers and events.
pub struct Reader<'a> {
    pub header: Header,
    pub options: Options,
    pub statements: &'a Statements,
    /// What was asked, where that matters and is known.
    pub asked: Option<&'a Asked>,
    /// What was read; more is added on the way.
    pub shown: &'a mut Shown,
    /// A statement that was prepared.
    pub prepared: Option<Prepared>,
}

impl Reader<'_> {
    /// Reads a body. None where bytes of it are missing.
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let opcode = self.header.opcode;
        opcode.name().clone_into(&mut self.shown.summary);
        match opcode {
            Opcode::Error => self.error(cursor),
            Opcode::Authenticate => {
                let class = read::string(cursor)?;
                self.shown.text("authenticator", class);
                let name = word(class);
                let name = name.rsplit('.').next().unwrap_or_default();
                self.shown.summary.push_str(&format!(" {name}"));
                Some(())
            }
            Opcode::Supported => {
                let options = read::string_multimap(cursor)?;
                let list = |values: Vec<&[u8]>| {
                    Value::List(values.into_iter().map(|value| Value::Bytes(value.to_vec())).collect())
                };
                let pairs =
                    options.into_iter().map(|(name, values)| (Value::Bytes(name.to_vec()), list(values)));
                self.shown.fields.push(Field::new("options", Value::Map(pairs.collect())));
                Some(())
            }
            Opcode::Result => self.result(cursor),
            Opcode::Event => self.event(cursor),
            Opcode::AuthChallenge | Opcode::AuthSuccess => {
                let token = read::bytes(cursor)?;
                self.shown.token(token, self.options);
                Some(())
            }
            _ => Some(()),
        }
    }

    fn error(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let code = cursor.u32()?;
        let name = ERRORS.iter().find(|(number, _)| *number == code).map_or("unknown", |(_, name)| name);
        self.shown.number("code", code);
        self.shown.word("error", name);
        self.shown.summary = format!("ERROR 0x{code:04x} {name}");
        let message = read::string(cursor)?;
        self.shown.text("message", message);
        self.shown.summary.push_str(&format!(": {}", word(message)));
        match code {
            0x1000 => {
                self.level(cursor)?;
                self.numbers(cursor, &["required", "alive"])
            }
            0x1100 | 0x1700 => {
                self.level(cursor)?;
                self.numbers(cursor, &["received", "blockfor"])?;
                if code == 0x1700 {
                    return Some(());
                }
                let kind = read::string(cursor)?;
                self.shown.text("write_type", kind);
                Some(())
            }
            0x1200 => {
                self.level(cursor)?;
                self.numbers(cursor, &["received", "blockfor"])?;
                self.flag(cursor, "data_present")
            }
            0x2400 => {
                for name in ["ks", "table"] {
                    let value = read::string(cursor)?;
                    self.shown.text(name, value);
                }
                Some(())
            }
            0x2500 => {
                let id = read::string(cursor)?;
                self.shown.word("id", data_encoding::HEXLOWER.encode(id));
                Some(())
            }
            // What the others add has changed with the versions, and the message says it, too.
            _ => Some(()),
        }
    }

    fn level(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let level = cursor.u16()?;
        self.shown.word("cl", consistency(level));
        Some(())
    }

    fn numbers(&mut self, cursor: &mut Cursor<'_>, names: &[&'static str]) -> Option<()> {
        for name in names {
            let number = cursor.i32()?;
            self.shown.number(name, number);
        }
        Some(())
    }

    fn flag(&mut self, cursor: &mut Cursor<'_>, name: &'static str) -> Option<()> {
        let flag = cursor.u8()? != 0;
        self.shown.fields.push(Field::new(name, Value::Flag(flag)));
        Some(())
    }

    fn result(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let kind = cursor.u32()?;
        let name = match kind {
            1 => "Void",
            2 => "Rows",
            3 => "Set_keyspace",
            4 => "Prepared",
            5 => "Schema_change",
            _ => "unknown",
        };
        self.shown.word("kind", name);
        name.to_ascii_lowercase().clone_into(&mut self.shown.summary);
        match kind {
            2 => self.rows(cursor),
            3 => {
                let keyspace = read::string(cursor)?;
                self.shown.text("keyspace", keyspace);
                self.shown.summary = format!("keyspace {}", word(keyspace));
                Some(())
            }
            4 => self.statement(cursor),
            5 => self.schema_change(cursor),
            _ => Some(()),
        }
    }

    fn rows(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let metadata = read::metadata(cursor, false, self.header.version)?;
        self.shown.is_limited |= metadata.is_limited;
        self.shown.number("columns_count", metadata.count);
        if let Some((keyspace, table)) = metadata.table {
            self.shown.text("keyspace", keyspace);
            self.shown.text("table", table);
        }
        let known = match self.asked {
            Some(Asked::Execute(id)) => self.statements.get(id).map(|known| known.columns.clone()),
            _ => None,
        };
        let columns = if metadata.columns.is_empty() { known.unwrap_or_default() } else { metadata.columns };
        match columns.is_empty() && metadata.count > 0 {
            // Whoever executes a prepared statement knows its columns from before.
            true => self.shown.word("columns", "unknown"),
            false => self.shown.columns("columns", &columns),
        }
        let count = cursor.u32()?;
        let ending = if count == 1 { "" } else { "s" };
        let more = if metadata.has_more_pages { ", more" } else { "" };
        self.shown.summary = format!("{count} row{ending}{more}");
        self.shown.number("rows_count", count);
        if metadata.has_more_pages {
            self.shown.fields.push(Field::new("has_more_pages", Value::Flag(true)));
        }
        if self.options.max_field > 0 && count > 0 {
            self.contents(cursor, &columns, metadata.count, count);
        }
        Some(())
    }

    /// The rows themselves, as far as they are wanted and there.
    fn contents(&mut self, cursor: &mut Cursor<'_>, columns: &[Column], width: u32, count: u32) {
        let mut budget = self.options.max_field;
        let mut rows = Vec::new();
        'rows: for _ in 0..count {
            let mut row = Vec::new();
            for index in 0..width {
                let column = columns.get(index as usize);
                let Some(value) = read::value(cursor) else { break 'rows };
                let (value, is_all) = values::shown(value, column.map(|column| &column.kind), budget);
                self.shown.is_cut |= !is_all;
                let name = column.map_or_else(|| index.to_string(), |column| column.name.clone());
                let cost = VALUE_COST + name.len() + size(&value);
                row.push((Value::Bytes(name.into_bytes()), value));
                let Some(left) = budget.checked_sub(cost) else {
                    self.shown.is_cut = true;
                    rows.push(Value::Map(row));
                    break 'rows;
                };
                budget = left;
            }
            if width == 0 {
                break;
            }
            rows.push(Value::Map(row));
        }
        self.shown.list("rows", rows);
    }

    fn statement(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let version = self.header.version;
        let id = read::string(cursor)?.to_vec();
        self.shown.word("id", data_encoding::HEXLOWER.encode(&id));
        let statement = match self.asked {
            Some(Asked::Prepare(statement)) => Some(statement.clone()),
            _ => None,
        };
        let prepared = self.prepared.insert(Prepared { id, statement, ..Prepared::default() });
        if version >= 5 {
            let id = read::string(cursor)?;
            self.shown.word("result_metadata_id", data_encoding::HEXLOWER.encode(id));
        }
        let variables = read::metadata(cursor, true, version)?;
        let columns = read::metadata(cursor, false, version)?;
        self.shown.is_limited |= variables.is_limited || columns.is_limited;
        let ending = if variables.count == 1 { "" } else { "s" };
        self.shown.summary = format!("prepared, {} variable{ending}", variables.count);
        self.shown.columns("variables", &variables.columns);
        self.shown.columns("columns", &columns.columns);
        (prepared.variables, prepared.columns) = (variables.columns, columns.columns);
        Some(())
    }

    /// `<change_type><target><options>`.
    fn schema_change(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let (change, target) = (read::string(cursor)?, read::string(cursor)?);
        self.shown.text("change_type", change);
        self.shown.text("target", target);
        let keyspace = read::string(cursor)?;
        self.shown.text("keyspace", keyspace);
        let mut name = word(keyspace);
        if target != b"KEYSPACE" {
            let what = read::string(cursor)?;
            self.shown.text("name", what);
            name.push_str(&format!(".{}", word(what)));
            if matches!(target, b"FUNCTION" | b"AGGREGATE") {
                let arguments = read::string_list(cursor)?;
                self.shown.strings("arguments", &arguments);
            }
        }
        self.shown.summary = format!("{} {} {name}", word(change), word(target));
        Some(())
    }

    fn event(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let kind = read::string(cursor)?;
        self.shown.text("event", kind);
        let line = if kind == b"SCHEMA_CHANGE" {
            self.schema_change(cursor)?;
            std::mem::take(&mut self.shown.summary)
        } else {
            let change = read::string(cursor)?;
            self.shown.text("change", change);
            let length = usize::from(cursor.u8()?);
            let address = cursor.bytes(length)?;
            let port = cursor.i32()?;
            let address = match length {
                4 => <[u8; 4]>::try_from(address).ok().map(|bytes| std::net::IpAddr::from(bytes).to_string()),
                _ => <[u8; 16]>::try_from(address)
                    .ok()
                    .map(|bytes| format!("[{}]", std::net::IpAddr::from(bytes))),
            };
            let address = format!("{}:{port}", address.unwrap_or_default());
            self.shown.word("address", address.clone());
            format!("{} {address}", word(change))
        };
        self.shown.summary = format!("EVENT {} {line}", word(kind));
        Some(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Text(text) => text.len(),
        _ => 8,
    }
}
