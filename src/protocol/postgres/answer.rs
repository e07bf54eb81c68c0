//! What a server answers to one request: results, errors, notices, and what it tells of its state on the way.

use super::message;
use super::request::{number, quoted};
use super::values::Raw;
use crate::event::Cause;
use crate::protocol::cursor::Cursor;
use crate::protocol::exchange::Half;
use crate::protocol::framed::Frame;
use crate::protocol::{MASKED, Options};
use crate::record::{Field, Value};

/// How many results of one answer are shown by themselves (a Query can hold any number of statements).
const RESULTS_MAX: usize = 64;

/// How many notices of one answer are kept, and how many notifications.
const NOTICES_MAX: usize = 16;

/// How many parameters of the server's state are kept of one answer.
const PARAMETERS_MAX: usize = 64;

/// How many bytes of a message of the server, of a name or of another short text are kept.
const TEXT_MAX: usize = 1024;

/// The most columns whose names are kept.
const COLUMNS_MAX: usize = 256;

/// One answer, as far as it came.
#[derive(Debug)]
pub struct Answer {
    half: Half,
    options: Options,
    /// Names of messages without a result, for the summary of an answer that has none.
    names: Vec<&'static str>,
    results: Vec<Outcome>,
    /// How many more results there were.
    more_results: u64,
    /// The result under way.
    current: Outcome,
    error: Option<Report>,
    notices: Vec<(String, Value)>,
    notifications: Vec<(String, Value)>,
    parameters: Vec<(Value, Value)>,
    extra: Vec<Field>,
    /// What the summary says besides.
    said: Vec<String>,
    status: Option<u8>,
    /// How many bytes of rows may still be kept.
    room: usize,
    cut: bool,
}

/// One result.
#[derive(Debug, Default)]
struct Outcome {
    columns: Vec<Column>,
    has_columns: bool,
    rows: u64,
    /// What is kept of the rows, where fields are wanted.
    values: Vec<Value>,
    copy: Option<Copy>,
    tag: Vec<u8>,
}

#[derive(Debug)]
struct Column {
    name: Vec<u8>,
    oid: u32,
    binary: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Copy {
    out: bool,
    messages: u64,
    bytes: u64,
}

impl Answer {
    /// One that begins with this frame, which is to be added, too.
    pub fn new(frame: &Frame<'_>, options: Options) -> Answer {
        Answer {
            half: Half::new(frame.direction, frame.range, frame.times, String::new(), Vec::new()),
            options,
            names: Vec::new(),
            results: Vec::new(),
            more_results: 0,
            current: Outcome::default(),
            error: None,
            notices: Vec::new(),
            notifications: Vec::new(),
            parameters: Vec::new(),
            extra: Vec::new(),
            said: Vec::new(),
            status: None,
            room: options.max_field,
            cut: false,
        }
    }

    /// Notes why a part of it is missing.
    pub fn add_cause(&mut self, cause: Cause) {
        self.half.add_cause(cause);
    }

    /// How many bytes of the next row are wanted.
    pub fn wants_of_row(&self) -> usize {
        self.room
    }

    /// True where it ends the connection: nothing comes behind it.
    pub fn is_fatal(&self) -> bool {
        self.error.as_ref().is_some_and(|error| matches!(error.severity.as_slice(), b"FATAL" | b"PANIC"))
    }

    /// Takes in a frame. Contents that are not as they should be count as unknown.
    pub fn add(&mut self, kind: u8, frame: &Frame<'_>) {
        self.half.extend(frame.range, frame.times[1], &frame.causes);
        let body = frame.data.get(message::HEADER..).unwrap_or_default();
        let length = frame.length.saturating_sub(message::HEADER as u64);
        let mut cursor = Cursor::new(body);
        match kind {
            b'T' => self.columns(cursor),
            b'D' => self.row(cursor, frame.is_all()),
            b'C' => {
                self.current.tag = short(cursor.until(0).unwrap_or(body));
                self.end_result();
            }
            b'I' => self.end_with("empty query"),
            b's' => self.end_with("portal suspended"),
            b'E' => self.error = Some(Report::new(body)),
            b'N' if self.notices.len() < NOTICES_MAX => {
                let notice = Report::new(body);
                self.notices.push((notice.summary(), notice.value()));
            }
            b'N' => self.cut = true,
            b'A' => self.notification(body),
            b'S' => self.parameter(cursor),
            b'K' => self.key(cursor),
            b'R' => {
                let (summary, fields) = super::startup::authentication(frame.data, self.options.show_secrets);
                // What only leads to AuthenticationOk need not be told beside it.
                self.said.retain(|said| said != "AuthenticationSASLFinal");
                self.said.push(summary);
                self.extra.extend(fields);
            }
            b'Z' => self.status = cursor.u8(),
            b'G' => self.current.copy = Some(Copy::default()),
            b'H' => self.current.copy = Some(Copy { out: true, ..Copy::default() }),
            b'd' => {
                let copy = self.current.copy.get_or_insert(Copy { out: true, ..Copy::default() });
                copy.messages += 1;
                copy.bytes += length;
            }
            b'W' => self.said.push("streaming in both directions".to_owned()),
            b'V' => self.function_value(cursor, length),
            b'v' => self.negotiated(cursor),
            b't' => self.parameter_types(cursor),
            b'1' | b'2' | b'3' | b'n' => self.name(message::name(message::Side::Server, kind)),
            _ => {}
        }
    }

    fn name(&mut self, name: Option<&'static str>) {
        if let Some(name) = name
            && self.names.len() < 4
            && !self.names.contains(&name)
        {
            self.names.push(name);
        }
    }

    fn columns(&mut self, mut cursor: Cursor<'_>) {
        self.current.has_columns = true;
        self.current.columns.clear();
        let count = cursor.u16().unwrap_or(0);
        for _ in 0..count {
            let Some(name) = cursor.until(0) else { break };
            if self.current.columns.len() >= COLUMNS_MAX {
                self.cut = true;
                break;
            }
            let (Some(_), Some(oid), Some(_), Some(format)) =
                (cursor.skip(6), cursor.u32(), cursor.skip(6), cursor.u16())
            else {
                break;
            };
            self.current.columns.push(Column { name: short(name), oid, binary: format == 1 });
        }
    }

    fn row(&mut self, mut cursor: Cursor<'_>, is_all: bool) {
        self.current.rows += 1;
        if self.options.max_field == 0 {
            return;
        }
        if self.room == 0 {
            self.cut = true;
            return;
        }
        let mut values = Vec::new();
        let count = usize::from(cursor.u16().unwrap_or(0));
        for index in 0..count {
            let Some(length) = cursor.i32() else { break };
            let length = usize::try_from(length).ok();
            let bytes = length.map(|length| {
                let have = length.min(cursor.len());
                cursor.bytes(have).unwrap_or_default()
            });
            let column = self.current.columns.get(index);
            let raw = Raw {
                bytes,
                binary: column.is_some_and(|column| column.binary),
                oid: column.map_or(0, |column| column.oid),
            };
            let (value, whole) = raw.value(self.room);
            self.cut |= !whole;
            self.room = self.room.saturating_sub(bytes.map_or(0, <[u8]>::len).max(1));
            values.push(value);
            if self.room == 0 && index + 1 < count {
                break;
            }
        }
        if values.len() < count || !is_all {
            // This row is shown in part, and none behind it.
            (self.cut, self.room) = (true, 0);
        }
        if !values.is_empty() || count == 0 {
            self.current.values.push(Value::List(values));
        }
    }

    fn end_with(&mut self, tag: &str) {
        self.current.tag = tag.as_bytes().to_vec();
        self.end_result();
    }

    fn end_result(&mut self) {
        let result = std::mem::take(&mut self.current);
        if self.results.len() < RESULTS_MAX {
            self.results.push(result);
        } else {
            self.more_results += 1;
        }
    }

    fn notification(&mut self, body: &[u8]) {
        if self.notifications.len() < NOTICES_MAX {
            let (summary, fields) = notification(body);
            let fields = fields.into_iter().map(|field| (Value::Text(field.name), field.value));
            self.notifications.push((summary, Value::Map(fields.collect())));
        } else {
            self.cut = true;
        }
    }

    fn parameter(&mut self, mut cursor: Cursor<'_>) {
        if self.parameters.len() >= PARAMETERS_MAX {
            self.cut = true;
        } else if let (Some(name), Some(value)) = (cursor.until(0), cursor.until(0)) {
            self.parameters.push((Value::Bytes(short(name)), Value::Bytes(short(value))));
        }
    }

    fn key(&mut self, mut cursor: Cursor<'_>) {
        let Some(pid) = cursor.u32() else { return };
        let key = if self.options.show_secrets {
            Value::Bytes(data_encoding::HEXLOWER.encode(cursor.rest()).into_bytes())
        } else {
            MASKED
        };
        self.extra.push(Field::new("process_id", Value::Number(pid.into())));
        self.extra.push(Field::new("secret_key", key));
    }

    fn function_value(&mut self, mut cursor: Cursor<'_>, length: u64) {
        let null = cursor.u32() == Some(u32::MAX);
        self.said.push(if null {
            "NULL".to_owned()
        } else {
            format!("a value of {} bytes", length.saturating_sub(4))
        });
        if self.options.max_field > 0 && !null {
            let bytes = cursor.rest();
            let shown = &bytes[..bytes.len().min(self.options.max_field)];
            self.cut |= (shown.len() as u64) < length.saturating_sub(4);
            self.extra.push(Field::new("value", Value::Bytes(shown.to_vec())));
        }
    }

    fn negotiated(&mut self, mut cursor: Cursor<'_>) {
        let Some(version) = cursor.u32() else { return };
        // Servers before 18 told the minor version alone.
        let (major, minor) =
            if version >> 16 == 0 { (3, version) } else { (version >> 16, version & 0xffff) };
        let count = cursor.u32().unwrap_or(0);
        let mut options = Vec::new();
        while options.len() < PARAMETERS_MAX
            && let Some(option) = cursor.until(0)
        {
            options.push(Value::Bytes(short(option)));
        }
        self.cut |= (options.len() as u64) < u64::from(count);
        self.said.push(format!("protocol {major}.{minor} at most"));
        self.extra.push(Field::new("newest_protocol", Value::Text(format!("{major}.{minor}").into())));
        if !options.is_empty() {
            self.extra.push(Field::new("unrecognized_options", Value::List(options)));
        }
    }

    fn parameter_types(&mut self, mut cursor: Cursor<'_>) {
        let count = cursor.u16().unwrap_or(0);
        let types: Vec<Value> = (0..count.min(COLUMNS_MAX as u16))
            .map_while(|_| cursor.u32())
            .map(|oid| Value::Number(oid.into()))
            .collect();
        self.cut |= types.len() < usize::from(count);
        self.extra.push(Field::new("parameter_types", Value::List(types)));
    }

    /// The message with its fields and summary.
    pub fn finish(mut self) -> Half {
        let copies = self.current.copy.is_some_and(|copy| copy.out);
        let describes = self.current.has_columns && self.error.is_none();
        if self.current.rows > 0 || copies || describes {
            self.end_result();
        }
        self.half.summary = self.summary();
        let mut fields = Vec::new();
        match self.results.as_mut_slice() {
            [] => {}
            [result] => fields.extend(result.fields()),
            results => {
                let maps = results.iter_mut().map(|result| {
                    let pairs = result.fields().into_iter();
                    Value::Map(pairs.map(|field| (Value::Text(field.name), field.value)).collect())
                });
                fields.push(Field::new("results", Value::List(maps.collect())));
            }
        }
        if self.more_results > 0 {
            fields.push(number("result_count", self.results.len() as u64 + self.more_results));
        }
        if let Some(error) = &self.error {
            fields.push(Field::new("severity", Value::Bytes(error.severity.clone())));
            fields.push(Field::new("sqlstate", Value::Bytes(error.sqlstate.clone())));
            fields.push(Field::new("error", error.value()));
        }
        if !self.notices.is_empty() {
            let all = self.notices.into_iter().map(|(_, value)| value);
            fields.push(Field::new("notices", Value::List(all.collect())));
        }
        if !self.notifications.is_empty() {
            let all = self.notifications.into_iter().map(|(_, value)| value);
            fields.push(Field::new("notifications", Value::List(all.collect())));
        }
        if !self.parameters.is_empty() {
            fields.push(Field::new("parameter_status", Value::Map(self.parameters)));
        }
        fields.append(&mut self.extra);
        if let Some(status) = self.status.and_then(transaction_status) {
            fields.push(Field::new("transaction_status", Value::Text(status.into())));
        }
        self.half.message.fields = fields;
        if self.cut || self.more_results > 0 {
            self.half.add_cause(Cause::FieldTruncated);
        }
        self.half
    }

    fn summary(&self) -> String {
        let results = self.results.iter().take(4).map(Outcome::summary);
        let mut parts: Vec<String> = results.filter(|summary| !summary.is_empty()).collect();
        let more = self.results.len().saturating_sub(4) as u64 + self.more_results;
        if more > 0 {
            parts.push(format!("{more} more results"));
        }
        parts.extend(self.said.iter().cloned());
        parts.extend(self.error.iter().map(Report::summary));
        parts.extend(self.notifications.iter().map(|(summary, _)| summary.clone()));
        parts.extend(self.notices.first().map(|(summary, _)| summary.clone()));
        if parts.is_empty() {
            parts.extend(self.names.iter().map(|&name| name.to_owned()));
        }
        if parts.is_empty()
            && let Some(status) = self.status.and_then(transaction_status)
        {
            parts.push(format!("ReadyForQuery ({status})"));
        }
        if parts.is_empty() && !self.parameters.is_empty() {
            parts.push("ParameterStatus".to_owned());
        }
        parts.join("; ")
    }
}

impl Outcome {
    fn fields(&mut self) -> Vec<Field> {
        let mut fields = Vec::new();
        if !self.tag.is_empty() {
            fields.push(Field::new("command_tag", Value::Bytes(std::mem::take(&mut self.tag))));
        }
        if self.has_columns {
            let names = self.columns.drain(..).map(|column| Value::Bytes(column.name));
            fields.push(Field::new("columns", Value::List(names.collect())));
        }
        if self.has_columns || self.rows > 0 {
            fields.push(number("rows", self.rows));
        }
        if !self.values.is_empty() {
            fields.push(Field::new("values", Value::List(std::mem::take(&mut self.values))));
        }
        if let Some(copy) = self.copy.filter(|copy| copy.out) {
            fields.push(number("copy_messages", copy.messages));
            fields.push(number("copy_bytes", copy.bytes));
        }
        fields
    }

    fn summary(&self) -> String {
        let tag = String::from_utf8_lossy(&self.tag);
        let what = match self.copy {
            Some(copy) if copy.out => format!("{} CopyData, {} bytes", copy.messages, copy.bytes),
            None if self.has_columns || self.rows > 0 => {
                format!("{} {}", self.rows, if self.rows == 1 { "row" } else { "rows" })
            }
            None if tag == "SELECT" || tag.starts_with("SELECT ") => format!("{} rows", self.rows),
            _ => return tag.into_owned(),
        };
        if tag.is_empty() { what } else { format!("{what} ({tag})") }
    }
}

/// What ReadyForQuery tells.
pub fn transaction_status(status: u8) -> Option<&'static str> {
    match status {
        b'I' => Some("idle"),
        b'T' => Some("in transaction"),
        b'E' => Some("failed transaction"),
        _ => None,
    }
}

/// An ErrorResponse or NoticeResponse
/// (<https://www.postgresql.org/docs/current/protocol-error-fields.html>).
#[derive(Debug)]
pub struct Report {
    severity: Vec<u8>,
    sqlstate: Vec<u8>,
    fields: Vec<(&'static str, Vec<u8>)>,
}

impl Report {
    /// Reads what is there of it.
    pub fn new(body: &[u8]) -> Report {
        let mut report = Report { severity: Vec::new(), sqlstate: Vec::new(), fields: Vec::new() };
        let mut localized = Vec::new();
        let mut cursor = Cursor::new(body);
        while let Some(code) = cursor.u8().filter(|&code| code != 0) {
            let text = match cursor.until(0) {
                Some(text) => short(text),
                None if cursor.is_empty() => break,
                None => {
                    let rest = short(cursor.rest());
                    cursor = Cursor::new(&[]);
                    rest
                }
            };
            let name = match code {
                b'S' => {
                    localized = text;
                    continue;
                }
                b'V' => {
                    report.severity = text;
                    continue;
                }
                b'C' => {
                    report.sqlstate.clone_from(&text);
                    "code"
                }
                b'M' => "message",
                b'D' => "detail",
                b'H' => "hint",
                b'P' => "position",
                b'p' => "internal_position",
                b'q' => "internal_query",
                b'W' => "where",
                b's' => "schema",
                b't' => "table",
                b'c' => "column",
                b'd' => "data_type",
                b'n' => "constraint",
                b'F' => "file",
                b'L' => "line",
                b'R' => "routine",
                _ => continue, // the documentation demands that unknown ones are passed over
            };
            if report.fields.len() < 32 {
                report.fields.push((name, text));
            }
        }
        if report.severity.is_empty() {
            report.severity = localized;
        }
        report
    }

    /// `ERROR 42P01 relation "x" does not exist`.
    pub fn summary(&self) -> String {
        let message =
            self.fields.iter().find(|(name, _)| *name == "message").map(|(_, text)| text.as_slice());
        let parts = [self.severity.as_slice(), self.sqlstate.as_slice(), message.unwrap_or_default()];
        let parts = parts.iter().filter(|part| !part.is_empty()).map(|part| String::from_utf8_lossy(part));
        parts.collect::<Vec<_>>().join(" ")
    }

    /// All its fields.
    pub fn value(&self) -> Value {
        let severity = (Value::Text("severity".into()), Value::Bytes(self.severity.clone()));
        let others =
            self.fields.iter().map(|(name, text)| (Value::Text((*name).into()), Value::Bytes(text.clone())));
        Value::Map(std::iter::once(severity).chain(others).collect())
    }
}

/// A NotificationResponse: its summary and fields.
pub fn notification(body: &[u8]) -> (String, Vec<Field>) {
    let mut cursor = Cursor::new(body);
    let pid = cursor.u32().unwrap_or(0);
    let channel = cursor.until(0).unwrap_or(cursor.rest());
    let payload = cursor.until(0).unwrap_or_default();
    let shown = if payload.is_empty() { String::new() } else { format!(" {}", quoted(payload)) };
    let summary = format!("NotificationResponse {}{shown} from process {pid}", quoted(channel));
    let fields = vec![
        Field::new("channel", Value::Bytes(short(channel))),
        Field::new("payload", Value::Bytes(short(payload))),
        Field::new("process_id", Value::Number(pid.into())),
    ];
    (summary, fields)
}

/// At most [`TEXT_MAX`] bytes.
pub fn short(text: &[u8]) -> Vec<u8> {
    text[..text.len().min(TEXT_MAX)].to_vec()
}
