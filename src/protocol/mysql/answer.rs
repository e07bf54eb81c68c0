//! What a server answers to one request, packet by packet: results with their columns and rows, prepared statements,
//! steps of authentication.
//!
//! Source: MySQL Source Code Documentation, "Text Resultset", "COM_QUERY Response", "COM_STMT_PREPARE Response",
//! "Binary Protocol Resultset".

use super::handshake::{self, short, shown};
use super::packet::{
    self, Agreed, EOF, EOF_BELOW, ERR, HEADER, LOCAL_INFILE, OK, PAYLOAD_MAX, Packet, bytes, capability,
    number, status,
};
use super::report::{self, Failure, Okay};
use super::request::Op;
use super::result::{Outcome, Room};
use super::sql;
use super::statements::{Column, Statement, Statements};
use super::values::Kind;
use crate::event::Cause;
use crate::protocol::Options;
use crate::protocol::cursor::Cursor;
use crate::protocol::exchange::Half;
use crate::record::{Field, Value};

/// How many results of one answer are shown by themselves.
const RESULTS_MAX: usize = 64;

/// How many steps of authentication are shown, and how many requests for a local file.
const STEPS_MAX: usize = 16;

/// The most columns that are kept of a result (the most that a table can have).
pub const COLUMNS_MAX: usize = 4096;

/// How many bytes of the names of columns are kept of one answer.
const NAMES_MAX: usize = 256 << 10;

/// What the next packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first of an answer, or of a further result.
    Start,
    /// One of so many parameters that were prepared; so many columns come behind them.
    Parameters(u64, u64),
    /// What ends these, if anything does.
    ParametersEnd(u64),
    /// One of so many columns.
    Columns(u64),
    /// What ends these, if anything does; then rows, or of a prepared statement nothing.
    ColumnsEnd {
        rows: bool,
    },
    Rows,
    /// It's not known what, for something is missing. Whether the last that came was a column.
    Unknown {
        column: bool,
    },
}

/// One answer, as far as it came.
#[derive(Debug)]
pub struct Answer {
    half: Half,
    op: Op,
    options: Options,
    phase: Phase,
    /// The sequence number of its next packet, where that is known.
    pub next_seq: Option<u8>,
    /// What has come can be all of it.
    pub may_be_done: bool,
    results: Vec<Outcome>,
    /// How many more there were.
    more_results: u64,
    current: Outcome,
    failure: Option<Failure>,
    prepared: Option<[u64; 3]>,
    text: Option<Vec<u8>>,
    /// What the summary says besides.
    said: Vec<String>,
    extra: Vec<Field>,
    progress: (u64, String),
    room: Room,
    /// How many bytes of the names of columns are kept.
    names: usize,
}

impl Answer {
    /// One that begins with this packet, which is to be added, too. `inside`: it may not be the first.
    pub fn new(packet: &Packet<'_>, op: Op, inside: bool, options: Options) -> Answer {
        Answer {
            half: Half::new(packet.direction, packet.range, packet.times, String::new(), Vec::new()),
            op,
            options,
            phase: if inside { Phase::Unknown { column: false } } else { Phase::Start },
            next_seq: None,
            may_be_done: false,
            results: Vec::new(),
            more_results: 0,
            current: Outcome::default(),
            failure: None,
            prepared: None,
            text: None,
            said: Vec::new(),
            extra: Vec::new(),
            progress: (0, String::new()),
            room: Room::new(options.max_field),
            names: 0,
        }
    }

    /// Packets of it were lost.
    pub fn lose(&mut self, cause: Cause) {
        self.half.add_cause(cause);
        self.phase = match self.phase {
            Phase::Rows => Phase::Rows,
            _ => Phase::Unknown { column: false },
        };
        self.next_seq = None;
    }

    /// Packets before its next one are missing, which is read all the same.
    pub fn miss(&mut self, cause: Cause) {
        self.half.add_cause(cause);
    }

    /// How many bytes of the next packet are wanted if it is a row.
    pub fn wants_of_row(&self) -> Option<usize> {
        matches!(self.phase, Phase::Rows).then(|| HEADER + 16 + self.room.left())
    }

    /// Takes in a packet; true where it is the last. Contents that are not as they should be count as unknown.
    pub fn add(&mut self, packet: &Packet<'_>, agreed: &mut Agreed, statements: &mut Statements) -> bool {
        self.half.extend(packet.range, packet.times[1], &packet.causes);
        self.next_seq = Some(packet.next_seq());
        self.may_be_done = false;
        if report::is_progress(packet) {
            self.progress = (self.progress.0 + 1, report::progress(packet));
            return false;
        }
        if packet.kind() == Some(ERR) && !matches!(self.phase, Phase::Start if self.op == Op::Statistics) {
            self.failure = Some(Failure::read(packet, self.options.show_secrets));
            return true;
        }
        match self.phase {
            Phase::Start => self.start(packet, agreed, statements),
            Phase::Parameters(left, columns) => {
                let left = left.saturating_sub(1);
                self.phase = Phase::Parameters(left, columns);
                left == 0 && self.parameters_end(columns, agreed)
            }
            Phase::ParametersEnd(columns) => {
                self.learn_end(packet, agreed);
                if is_eof(packet) {
                    return self.prepared_columns(columns);
                }
                self.phase = Phase::Columns(columns);
                self.add_column(packet, agreed, statements)
            }
            Phase::Columns(_) => self.add_column(packet, agreed, statements),
            Phase::ColumnsEnd { rows } => self.columns_end(packet, rows, agreed),
            Phase::Rows => self.row(packet, agreed),
            Phase::Unknown { column } => self.unknown(packet, column, agreed),
        }
    }

    fn start(&mut self, packet: &Packet<'_>, agreed: &mut Agreed, statements: &mut Statements) -> bool {
        match (&self.op, packet.kind()) {
            (Op::Login, Some(OK)) => self.okay(packet, *agreed),
            (Op::Login, _) => {
                self.step(packet);
                false
            }
            (Op::Statistics, _) => {
                self.text = Some(short(&packet.data).to_vec());
                true
            }
            (Op::Prepare(_), Some(OK)) => self.prepare(packet, statements),
            (Op::Unknown, Some(OK)) if packet.length == 12 && packet.data.get(9) == Some(&0) => {
                self.prepare(packet, statements)
            }
            (Op::FieldList, Some(kind)) if kind != EOF || !is_end(packet, *agreed) => {
                self.take_column(packet, *agreed);
                false
            }
            (Op::Fetch(id), _) => {
                let known = statements.get(*id).map(|statement| statement.columns.clone());
                self.current.begin(known.unwrap_or_default(), true);
                self.phase = Phase::Rows;
                self.row(packet, agreed)
            }
            (_, Some(EOF)) if is_end(packet, *agreed) => self.end_result(Okay::read_end(packet, *agreed)),
            (_, Some(OK)) => self.okay(packet, *agreed),
            (_, Some(LOCAL_INFILE)) if self.said.len() >= STEPS_MAX => {
                self.room.cut = true;
                false
            }
            (_, Some(LOCAL_INFILE)) => {
                self.said.push(format!("LOCAL INFILE {}", shown(packet.body())));
                self.extra.push(bytes("filename", short(packet.body())));
                false
            }
            (Op::Simple, _) | (_, None) => {
                // Nothing that the specification knows; what answers a simple command is one packet.
                self.said.push(format!("{} bytes", packet.length));
                true
            }
            _ => self.columns_begin(packet, agreed, statements),
        }
    }

    fn okay(&mut self, packet: &Packet<'_>, agreed: Agreed) -> bool {
        let okay = Okay::read(packet, agreed);
        let more = okay.has_more() && self.op != Op::Login;
        let result = Outcome { okay: Some(okay), ..Outcome::default() };
        self.push_result(result);
        self.phase = Phase::Start;
        !more
    }

    /// How many columns there are, and whether they follow.
    fn columns_begin(&mut self, packet: &Packet<'_>, agreed: &Agreed, statements: &Statements) -> bool {
        let mut cursor = Cursor::new(&packet.data);
        let mut follow = true;
        if packet.length == 2 && agreed.has(capability::CACHE_METADATA) != Some(true) {
            let is_mysql = agreed.has(capability::OPTIONAL_METADATA);
            if is_mysql.unwrap_or(packet.data.get(1).is_none_or(|&last| last > 1)) {
                follow = cursor.u8() != Some(0);
            }
        }
        let Some(count) = packet::integer(&mut cursor) else {
            self.phase = Phase::Unknown { column: false };
            return false;
        };
        if cursor.u8() == Some(0) {
            follow = false;
        }
        let binary = match self.op {
            Op::Execute(_) => Some(true),
            Op::Query => Some(false),
            _ => None,
        };
        self.current = Outcome { binary, column_count: count, has_columns: true, ..Outcome::default() };
        if follow && count > 0 {
            self.phase = Phase::Columns(count);
            return false;
        }
        if let Op::Execute(id) = self.op
            && let Some(statement) = statements.get(id)
        {
            self.current.columns = statement.columns.clone();
        }
        self.phase = Phase::ColumnsEnd { rows: true };
        false
    }

    /// Keeps a column, without its name where there is no room for more of them.
    fn take_column(&mut self, packet: &Packet<'_>, agreed: Agreed) {
        let mut column = column(packet, agreed);
        self.names += column.name.len();
        if self.names > NAMES_MAX {
            column.name.clear();
            self.room.cut = true;
        }
        self.current.add_column(column, COLUMNS_MAX);
    }

    fn add_column(&mut self, packet: &Packet<'_>, agreed: &mut Agreed, statements: &mut Statements) -> bool {
        let Phase::Columns(left) = self.phase else { return false };
        self.take_column(packet, *agreed);
        if left > 1 {
            self.phase = Phase::Columns(left - 1);
            return false;
        }
        let id = match self.op {
            Op::Execute(id) => Some(id),
            _ => self.prepared.and_then(|[id, ..]| u32::try_from(id).ok()),
        };
        if let Some(id) = id {
            let columns = self.current.columns.clone();
            statements.update(id, |statement| statement.columns = columns);
        }
        let rows = self.prepared.is_none();
        self.phase = Phase::ColumnsEnd { rows };
        self.may_be_done = !rows && agreed.deprecate_eof.is_none();
        !rows && agreed.deprecate_eof == Some(true)
    }

    /// Behind columns: an EOF packet, unless both ends agreed to leave it out.
    fn columns_end(&mut self, packet: &Packet<'_>, rows: bool, agreed: &mut Agreed) -> bool {
        self.learn_end(packet, agreed);
        if !rows {
            return true;
        }
        self.phase = Phase::Rows;
        if !is_eof(packet) {
            return self.row(packet, agreed);
        }
        let okay = Okay::read_eof(packet);
        if okay.status & status::CURSOR_EXISTS != 0 {
            return self.end_result(okay);
        }
        false
    }

    /// Whether both ends agreed to leave out EOF packets can be seen where one would stand.
    fn learn_end(&mut self, packet: &Packet<'_>, agreed: &mut Agreed) {
        agreed.deprecate_eof.get_or_insert(!is_eof(packet));
    }

    fn row(&mut self, packet: &Packet<'_>, agreed: &Agreed) -> bool {
        if is_end(packet, *agreed) {
            return self.end_result(Okay::read_end(packet, *agreed));
        }
        self.current.add_row(packet, &mut self.room);
        false
    }

    fn end_result(&mut self, okay: Okay) -> bool {
        let more = okay.has_more();
        let mut result = std::mem::take(&mut self.current);
        result.okay = Some(okay);
        self.push_result(result);
        self.phase = Phase::Start;
        !more
    }

    fn push_result(&mut self, result: Outcome) {
        if self.results.len() < RESULTS_MAX {
            self.results.push(result);
        } else {
            self.more_results += 1;
        }
    }

    /// The first packet of the answer to COM_STMT_PREPARE.
    fn prepare(&mut self, packet: &Packet<'_>, statements: &mut Statements) -> bool {
        let mut cursor = Cursor::new(packet.body());
        let (Some(id), Some(columns), Some(parameters)) = (cursor.u32_le(), cursor.u16_le(), cursor.u16_le())
        else {
            return true;
        };
        let _filler = cursor.u8();
        let warnings = cursor.u16_le().unwrap_or(0);
        let follows = cursor.u8() != Some(0);
        self.prepared = Some([id.into(), parameters.into(), columns.into()]);
        if warnings > 0 {
            self.extra.push(number("warnings", warnings.into()));
        }
        if let Op::Prepare(query) = &self.op {
            let statement = Statement { query: query.clone(), parameters, ..Statement::default() };
            if !statements.prepared(id, statement) {
                self.half.add_cause(Cause::Limit);
            }
        }
        match (parameters, columns) {
            _ if !follows => true,
            (0, columns) => self.prepared_columns(columns.into()),
            (parameters, columns) => {
                self.phase = Phase::Parameters(parameters.into(), columns.into());
                false
            }
        }
    }

    fn parameters_end(&mut self, columns: u64, agreed: &Agreed) -> bool {
        if agreed.deprecate_eof == Some(true) {
            return self.prepared_columns(columns);
        }
        self.phase = Phase::ParametersEnd(columns);
        self.may_be_done = columns == 0 && agreed.deprecate_eof.is_none();
        false
    }

    fn prepared_columns(&mut self, columns: u64) -> bool {
        self.phase = Phase::Columns(columns);
        columns == 0
    }

    /// A step of authentication.
    fn step(&mut self, packet: &Packet<'_>) {
        let (name, said, fields) = handshake::exchange(packet, self.options.show_secrets);
        if self.said.len() >= STEPS_MAX {
            self.room.cut = true;
            return;
        }
        self.said.push(said.map_or(name.to_owned(), |said| format!("{name} ({said})")));
        self.extra.extend(fields);
    }

    /// After a loss, or in an answer whose beginning was not seen.
    fn unknown(&mut self, packet: &Packet<'_>, column: bool, agreed: &mut Agreed) -> bool {
        let begins_with_def = packet.data.starts_with(b"\x03def");
        match packet.kind() {
            Some(OK) if self.op == Op::Simple || self.op == Op::Login => self.okay(packet, *agreed),
            Some(OK) if self.op == Op::Unknown && !self.current.is_begun() && is_bare_okay(packet) => {
                self.okay(packet, *agreed)
            }
            _ if self.op == Op::Login => {
                self.step(packet);
                false
            }
            Some(EOF) if is_end(packet, *agreed) => {
                let prepares = matches!(self.op, Op::Prepare(_));
                let ends_columns = is_eof(packet) && agreed.deprecate_eof != Some(true);
                if ends_columns && (column || prepares) && self.op != Op::FieldList {
                    // It ends columns, or parameters behind which columns can follow.
                    self.may_be_done = prepares;
                    self.phase = if prepares { Phase::Unknown { column: false } } else { Phase::Rows };
                    return false;
                }
                if ends_columns && self.current.rows == 0 {
                    // It ends columns that were lost, or rows that were lost.
                    self.may_be_done = true;
                    return false;
                }
                self.end_result(Okay::read_end(packet, *agreed))
            }
            _ if begins_with_def => {
                self.take_column(packet, *agreed);
                self.phase = Phase::Unknown { column: true };
                self.may_be_done = matches!(self.op, Op::Prepare(_));
                false
            }
            _ => {
                self.current.rows += 1;
                false
            }
        }
    }

    /// The message with its fields and summary.
    pub fn finish(mut self) -> Half {
        if self.current.is_begun() && self.prepared.is_none() {
            let rest = std::mem::take(&mut self.current);
            self.push_result(rest);
        }
        self.half.summary = self.summary();
        let mut fields = Vec::new();
        if let Some([id, parameters, columns]) = self.prepared {
            fields.push(number("statement_id", id));
            fields.push(number("num_params", parameters));
            fields.push(number("num_columns", columns));
        }
        match std::mem::take(&mut self.results) {
            results if results.is_empty() => {}
            mut results if results.len() == 1 => fields.extend(results.remove(0).fields()),
            results => {
                let maps = results.into_iter().map(|result| {
                    let pairs = result.fields().into_iter();
                    Value::Map(pairs.map(|field| (Value::Text(field.name), field.value)).collect())
                });
                fields.push(Field::new("results", Value::List(maps.collect())));
            }
        }
        if !self.options.show_secrets {
            fields.iter_mut().for_each(|field| mask_names(&field.name, &mut field.value));
        }
        fields.extend(self.failure.iter().flat_map(Failure::fields));
        fields.extend(self.text.map(|text| Field::new("message", Value::Bytes(text))));
        fields.append(&mut self.extra);
        if self.progress.0 > 0 {
            fields.push(number("progress_reports", self.progress.0));
            fields.push(Field::new("progress", Value::Text(self.progress.1.into())));
        }
        if self.more_results > 0 {
            fields.push(number("more_results", self.more_results));
        }
        self.half.message.fields = fields;
        if self.room.cut || self.more_results > 0 {
            self.half.add_cause(Cause::FieldTruncated);
        }
        self.half
    }

    fn summary(&self) -> String {
        let mut parts = self.said.clone();
        if let Some([id, ..]) = self.prepared {
            parts.push(format!("statement {id}"));
        }
        let lists_fields = self.op == Op::FieldList;
        parts.extend(self.results.iter().take(4).map(|result| result.summary(lists_fields)));
        let more = self.results.len().saturating_sub(4) as u64 + self.more_results;
        if more > 0 {
            parts.push(format!("{more} more results"));
        }
        parts.extend(self.failure.iter().map(Failure::summary));
        parts.extend(self.text.iter().map(|text| shown(text)));
        if self.progress.0 > 0 {
            parts.push(format!("progress reports: {}", self.progress.0));
        }
        parts.join("; ")
    }

    /// True where the server refused.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }
}

/// An EOF packet, as it was before OK packets took its place.
fn is_eof(packet: &Packet<'_>) -> bool {
    packet.kind() == Some(EOF) && packet.length <= 5
}

/// An OK packet that says nothing but that.
fn is_bare_okay(packet: &Packet<'_>) -> bool {
    packet.length == 7 && packet.is_all() && super::shape::is_okay(&packet.data, true)
}

/// What ends rows.
pub fn is_end(packet: &Packet<'_>, agreed: Agreed) -> bool {
    let below = if agreed.deprecate_eof == Some(false) { EOF_BELOW } else { PAYLOAD_MAX };
    packet.kind() == Some(EOF) && packet.length < below
}

/// Reads a column's name and type.
fn column(packet: &Packet<'_>, agreed: Agreed) -> Column {
    let mut cursor = Cursor::new(&packet.data);
    let unknown = Column { name: Vec::new(), kind: Kind { code: u8::MAX, unsigned: false } };
    let mut strings = [&b""[..]; 6];
    for string in &mut strings {
        match packet::string(&mut cursor) {
            Some(read) => *string = read,
            None => return unknown,
        }
    }
    // MariaDB can tell more of a type: in a string in front of the fixed part, which is 12 bytes behind its length, the last
    // two of them zero. Behind it COM_FIELD_LIST has a default value.
    let is_fixed = matches!(cursor.rest(), [12, _, _, _, _, _, _, _, _, _, _, 0, 0, ..]);
    let extended = agreed.has(capability::EXTENDED_TYPES).unwrap_or(!is_fixed);
    if extended && packet::string(&mut cursor).is_none() {
        return unknown;
    }
    let (Some(_), Some(code), Some(flags)) = (cursor.skip(7), cursor.u8(), cursor.u16_le()) else {
        return unknown;
    };
    Column { name: short(strings[4]).to_vec(), kind: Kind { code, unsigned: flags & 0x20 != 0 } }
}

/// Masks the passwords in names of columns: without a name of its own, a column has that of its expression.
fn mask_names(name: &str, value: &mut Value) {
    match value {
        Value::List(values) => values.iter_mut().for_each(|value| mask_names(name, value)),
        Value::Map(pairs) => pairs.iter_mut().for_each(|(key, value)| {
            if let Value::Text(key) = key {
                mask_names(key, value);
            }
        }),
        Value::Bytes(column) if name == "columns" => *column = sql::masked(column),
        _ => {}
    }
}
