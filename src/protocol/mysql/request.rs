//! What a client asks: its commands, with what they hold.
//!
//! Source: MySQL Source Code Documentation, "Command Phase"
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_command_phase.html>); MariaDB Knowledge Base,
//! "COM_STMT_BULK_EXECUTE".

use super::handshake::{self, secret, short, shown};
use super::packet::{
    self, Agreed, Packet, bytes, capability, command, command_name, number, rest, text, until_zero,
};
use super::sql::line;
use super::statements::{PARAMETERS_MAX, Query, Statements};
use super::values::{self, Kind, Values};
use crate::event::Cause;
use crate::protocol::Options;
use crate::protocol::cursor::Cursor;
use crate::protocol::exchange::Half;
use crate::record::{Field, Value};
use std::sync::Arc;

/// The least bytes of a statement that are kept, whatever fields may show.
const QUERY_MIN: usize = 1024;

/// In the flags of COM_STMT_EXECUTE: the number of parameters follows.
const PARAMETER_COUNT_AVAILABLE: u8 = 8;

/// In the flags of COM_STMT_BULK_EXECUTE: types follow.
const SEND_TYPES: u16 = 128;

/// What answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A login or a change of user: authentication up to OK or ERR.
    Login,
    /// Results of statements as text.
    Query,
    /// Results in binary form of the statement with this number.
    Execute(u32),
    /// Rows of a cursor of the statement with this number.
    Fetch(u32),
    /// What the server prepared.
    Prepare(Arc<Query>),
    /// Columns of a table.
    FieldList,
    /// OK, ERR or EOF.
    Simple,
    /// A line of text.
    Statistics,
    /// Events of a binary log.
    Binlog,
    /// It is not known what.
    Unknown,
}

/// The contents of a local file that the client sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Infile {
    pub packets: u64,
    pub bytes: u64,
    /// The empty packet at its end came.
    pub over: bool,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Request {
    pub half: Half,
    pub op: Op,
    /// The sequence number of the answer's first packet.
    pub first_seq: u8,
    /// The sequence number behind that of the last packet of the client, and what was asked of it.
    pub next_seq: u8,
    pub infile: Option<Infile>,
    /// How many packets of the client followed the first one of a login.
    pub proofs: u64,
    /// It's not certain that what comes next answers it, or is the beginning of its answer.
    pub lenient: bool,
    /// Of a login, in which both sides count on: why packets may be missing since the last one, and whether the server's.
    pub lost: Option<(bool, Cause)>,
    /// Why the beginning of its answer is missing, where the client's next packet has told that.
    pub beheaded: Option<Cause>,
}

impl Request {
    /// One that its first packet begins.
    pub fn new(packet: &Packet<'_>, op: Op, said: Said) -> Request {
        let mut half = packet.half(said.summary, said.fields);
        said.causes.iter().for_each(|&cause| half.add_cause(cause));
        let seq = packet.next_seq();
        Request {
            half,
            op,
            first_seq: seq,
            next_seq: seq,
            infile: None,
            proofs: 0,
            lenient: false,
            lost: None,
            beheaded: None,
        }
    }

    /// A further packet of the client belongs to it.
    pub fn extend(&mut self, packet: &Packet<'_>) {
        self.half.extend(packet.range, packet.times[1], &packet.causes);
        self.next_seq = packet.next_seq();
    }

    /// Why packets of a login are missing before that with this sequence number, and whether the server's: nobody else
    /// counts on.
    pub fn missing(&mut self, seq: u8) -> Option<(bool, Cause)> {
        let (of_server, cause) = self.lost.take().filter(|_| self.op == Op::Login && seq != self.next_seq)?;
        if !of_server {
            self.half.add_cause(cause);
        }
        Some((of_server, cause))
    }

    /// A packet of the server belongs to a login; why some of the server's before it are missing, if they are.
    pub fn count(&mut self, packet: &Packet<'_>) -> Option<Cause> {
        let missing = self.missing(packet.seqs[0]);
        self.next_seq = packet.next_seq();
        let before = self.beheaded.take();
        missing.and_then(|(of_server, cause)| of_server.then_some(cause)).or(before)
    }

    /// The message, with what followed its first packet.
    pub fn finish(mut self) -> Half {
        if let Some(Infile { packets, bytes, .. }) = self.infile {
            self.half.summary.push_str(&format!(" ({bytes} bytes of a local file)"));
            self.half.message.fields.push(number("infile_packets", packets));
            self.half.message.fields.push(number("infile_bytes", bytes));
        }
        if self.proofs > 0 {
            self.half.message.fields.push(number("authentication_packets", self.proofs));
        }
        self.half
    }
}

/// What a message shows.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub summary: String,
    pub fields: Vec<Field>,
    pub causes: Vec<Cause>,
}

impl Said {
    fn cut(mut self, cut: bool) -> Said {
        self.causes.extend(cut.then_some(Cause::FieldTruncated));
        self
    }
}

/// Reads a command: what answers it (None: nothing does), and what to show. Notes what it does to statements.
pub fn command(
    packet: &Packet<'_>,
    statements: &mut Statements,
    agreed: Agreed,
    options: Options,
) -> (Option<Op>, Said) {
    let code = packet.kind().unwrap_or_default();
    let name = command_name(code).unwrap_or("unknown command");
    let mut reader = Reader { packet, statements, agreed, options };
    let (op, mut said) = reader.read(code, name);
    said.fields.insert(0, text("command", name));
    (op, said)
}

struct Reader<'a, 'p> {
    packet: &'a Packet<'p>,
    statements: &'a mut Statements,
    agreed: Agreed,
    options: Options,
}

impl Reader<'_, '_> {
    fn read(&mut self, code: u8, name: &'static str) -> (Option<Op>, Said) {
        let body = self.packet.body();
        let mut cursor = Cursor::new(body);
        match code {
            command::QUERY => (Some(Op::Query), self.query()),
            command::STMT_PREPARE => {
                let query = self.statement_text(body, self.packet.length.saturating_sub(1));
                self.statements.preparing(query.clone());
                let summary = format!("{name} {}", line(&query.text));
                (Some(Op::Prepare(query.clone())), query_said(summary, &query, Vec::new()))
            }
            command::STMT_EXECUTE => {
                let id = cursor.u32_le().unwrap_or(0);
                (Some(Op::Execute(id)), self.execute(id, cursor))
            }
            command::STMT_BULK_EXECUTE => {
                let id = cursor.u32_le().unwrap_or(0);
                (Some(Op::Execute(id)), self.bulk(id, cursor))
            }
            command::STMT_FETCH => {
                let id = cursor.u32_le().unwrap_or(0);
                let rows = cursor.u32_le().unwrap_or(0);
                let mut said = self.of_statement(&format!("{name} {rows} rows of"), id);
                said.fields.push(number("num_rows", rows.into()));
                (Some(Op::Fetch(id)), said)
            }
            command::STMT_CLOSE => {
                let id = cursor.u32_le().unwrap_or(0);
                let said = self.of_statement(name, id);
                self.statements.close(id);
                (None, said)
            }
            command::STMT_RESET => {
                let id = cursor.u32_le().unwrap_or(0);
                let said = self.of_statement(name, id);
                self.statements.update(id, |statement| statement.long.clear());
                (Some(Op::Simple), said)
            }
            command::STMT_SEND_LONG_DATA => (None, self.long_data(name, cursor)),
            command::CHANGE_USER => {
                self.statements.clear();
                let (summary, fields) =
                    handshake::change_user(body, self.agreed.flags, self.options.show_secrets);
                (Some(Op::Login), Said { summary, fields, ..Said::default() })
            }
            command::FIELD_LIST => {
                let table = until_zero(&mut cursor);
                let wildcard = rest(&mut cursor);
                let fields = vec![bytes("table", short(table)), bytes("wildcard", short(wildcard))];
                let summary = format!("{name} {}", shown(table));
                (Some(Op::FieldList), Said { summary, fields, ..Said::default() })
            }
            command::PROCESS_INFO => (Some(Op::Query), plain(name, Vec::new())),
            command::STATISTICS => (Some(Op::Statistics), plain(name, Vec::new())),
            command::PING => (Some(Op::Simple), plain("COM_PING (keep-alive)", Vec::new())),
            command::RESET_CONNECTION => {
                self.statements.clear();
                (Some(Op::Simple), plain(name, Vec::new()))
            }
            command::BINLOG_DUMP | command::BINLOG_DUMP_GTID | command::TABLE_DUMP => {
                (Some(Op::Binlog), replication(code, name, cursor))
            }
            command::REGISTER_SLAVE => (Some(Op::Simple), register(name, cursor, self.options.show_secrets)),
            command::SEMI_SYNC_ACK => (None, acknowledgement(name, cursor)),
            command::QUIT => (None, plain(name, Vec::new())),
            command::CLONE | command::SUBSCRIBE_GROUP_REPLICATION_STREAM | command::MULTI => {
                let mut said = plain(name, Vec::new());
                said.causes.push(Cause::Unsupported);
                (Some(Op::Unknown), said)
            }
            _ => (Some(Op::Simple), simple(code, name, cursor)),
        }
    }

    /// What is kept of a statement's text.
    fn statement_text(&self, text: &[u8], length: u64) -> Arc<Query> {
        let most = self.options.max_field.max(QUERY_MIN);
        Arc::new(Query::new(text, length, most, self.options.show_secrets))
    }

    fn query(&self) -> Said {
        let body = self.packet.body();
        let mut cursor = Cursor::new(body);
        let attributes = self.attributes(&mut cursor);
        let skipped = (body.len() - cursor.len()) as u64;
        let length = self.packet.length.saturating_sub(1 + skipped);
        let query = self.statement_text(cursor.rest(), length);
        let (fields, cut) = attributes.unwrap_or_default();
        query_said(line(&query.text), &query, fields).cut(cut)
    }

    /// Query attributes, which stand before the text. Where it is not known whether they do: a text can't begin so.
    fn attributes(&self, cursor: &mut Cursor<'_>) -> Option<(Vec<Field>, bool)> {
        let begins = matches!(cursor.rest(), [0..=250, 1, ..]);
        if !self.agreed.has(capability::QUERY_ATTRIBUTES).unwrap_or(begins) {
            return None;
        }
        let mut ahead = *cursor;
        let count = usize::try_from(packet::integer(&mut ahead)?).ok()?;
        let sets = packet::integer(&mut ahead)?;
        if sets != 1 || count > PARAMETERS_MAX {
            return None;
        }
        if count == 0 {
            *cursor = ahead;
            return Some((Vec::new(), false));
        }
        let nulls = ahead.bytes(count.div_ceil(8))?;
        let (kinds, names) = if ahead.u8()? == 1 { kinds(&mut ahead, count, true)? } else { return None };
        let values = Values::read(&kinds, nulls, &mut ahead, self.options.max_field, |_| false);
        *cursor = ahead;
        let cut = values.cut;
        Some((attribute_fields(names, values.values, count as u64), cut))
    }

    /// A command with the statement that it is about.
    fn of_statement(&self, what: &str, id: u32) -> Said {
        let fields = vec![number("statement_id", id.into()), self.statement_field(id)];
        let summary = match self.statements.query(id) {
            Some(query) => format!("{what} {}", line(&query.text)),
            None => format!("{what} unknown statement {id}"),
        };
        Said { summary, fields, ..Said::default() }
    }

    /// The statement's text, or that it was prepared before the trace.
    fn statement_field(&self, id: u32) -> Field {
        match self.statements.query(id) {
            Some(query) => Field::new("statement", Value::Bytes(query.text.clone())),
            None => text("statement", "unknown"),
        }
    }

    fn execute(&mut self, id: u32, mut cursor: Cursor<'_>) -> Said {
        let flags = cursor.u8().unwrap_or(0);
        let iterations = cursor.u32_le();
        let mut said = self.of_statement("", id);
        said.summary = said.summary.trim_start().to_owned();
        if flags & 7 != 0 {
            let names = ["CURSOR_TYPE_READ_ONLY", "CURSOR_TYPE_FOR_UPDATE", "CURSOR_TYPE_SCROLLABLE"];
            let set = names.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1);
            let set = set.map(|(_, name)| Value::Text((*name).into())).collect();
            said.fields.push(Field::new("flags", Value::List(set)));
        }
        if iterations.is_none() {
            return said.cut(true);
        }
        let attributes = self.agreed.has(capability::QUERY_ATTRIBUTES);
        let has_count = flags & PARAMETER_COUNT_AVAILABLE != 0 && attributes != Some(false);
        let known = self.statements.get(id);
        let own = known.map(|statement| usize::from(statement.parameters));
        let count = if has_count { packet::integer(&mut cursor).map(|count| count as usize) } else { own };
        let Some(count) = count.filter(|&count| count <= PARAMETERS_MAX) else {
            if !cursor.is_empty() {
                said.fields.push(text("parameters", "unknown"));
            }
            return said;
        };
        if count == 0 {
            return said;
        }
        self.parameters(id, (count, own), attributes == Some(true) || has_count, cursor, said)
    }

    /// Parameters of an execution: `count` in all, of which the first `own` are those of the statement.
    fn parameters(
        &mut self,
        id: u32,
        (count, own): (usize, Option<usize>),
        named: bool,
        mut cursor: Cursor<'_>,
        mut said: Said,
    ) -> Said {
        let (Some(nulls), Some(told)) = (cursor.bytes(count.div_ceil(8)), cursor.u8()) else {
            return said.cut(true);
        };
        let statement = self.statements.get(id);
        let (kinds, names) = match told {
            1 => match kinds(&mut cursor, count, named) {
                Some(told) => told,
                None => return said.cut(true),
            },
            _ => (statement.map(|statement| statement.kinds.clone()).unwrap_or_default(), Vec::new()),
        };
        if kinds.len() < count {
            // An execution before the trace has told them.
            said.fields.push(text("parameters", "unknown"));
            return said;
        }
        let is_long =
            |index: usize| statement.is_some_and(|statement| statement.long.contains(&(index as u16)));
        let mut values = Values::read(&kinds, nulls, &mut cursor, self.options.max_field, is_long);
        let own = own.unwrap_or(count).min(count);
        let cut = values.cut;
        let others = values.values.split_off(own.min(values.values.len()));
        let names: Vec<Vec<u8>> = names.into_iter().skip(own).collect();
        values.briefs.truncate(own);
        values.count = own as u64;
        said.summary.push_str(&values.line());
        said.fields.push(number("parameter_count", own as u64));
        if self.options.max_field > 0 {
            said.fields.push(Field::new("parameters", Value::List(values.values)));
        }
        if count > own {
            said.fields.extend(attribute_fields(names, others, (count - own) as u64));
        }
        self.statements.update(id, |statement| {
            statement.kinds = kinds;
            statement.long.clear();
        });
        said.cut(cut)
    }

    /// Executions of one statement in one packet, of MariaDB.
    fn bulk(&mut self, id: u32, mut cursor: Cursor<'_>) -> Said {
        let mut said = self.of_statement("bulk", id);
        let flags = cursor.u16_le().unwrap_or(0);
        said.fields.push(number("bulk_flags", flags.into()));
        let Some(statement) = self.statements.get(id) else {
            said.fields.push(text("parameters", "unknown"));
            return said;
        };
        let count = usize::from(statement.parameters);
        let told = if flags & SEND_TYPES == 0 {
            Some(statement.kinds.clone())
        } else {
            kinds(&mut cursor, count, false).map(|(kinds, _)| kinds)
        };
        let Some(kinds) = told.filter(|kinds| kinds.len() == count && count > 0) else {
            return said.cut(!self.packet.is_all());
        };
        let (sets, shown, cut) = sets(&kinds, &mut cursor, self.options.max_field);
        let more = if self.packet.is_all() { "" } else { "at least " };
        said.summary.push_str(&format!(" ({more}{sets} sets of parameters)"));
        said.fields.push(number("parameter_sets", sets));
        if self.options.max_field > 0 {
            said.fields.push(Field::new("parameters", Value::List(shown)));
        }
        self.statements.update(id, |statement| statement.kinds = kinds);
        said.cut(cut || !self.packet.is_all())
    }

    fn long_data(&mut self, name: &'static str, mut cursor: Cursor<'_>) -> Said {
        let id = cursor.u32_le().unwrap_or(0);
        let parameter = cursor.u16_le().unwrap_or(0);
        let length = self.packet.length.saturating_sub(7);
        let mut said = self.of_statement(&format!("{name} {length} bytes for parameter {parameter} of"), id);
        said.fields.push(number("param_id", parameter.into()));
        said.fields.push(number("data_length", length));
        self.statements.update(id, |statement| {
            statement.long.insert(parameter);
        });
        if self.options.max_field == 0 {
            return said;
        }
        let data = cursor.rest();
        let kept = &data[..data.len().min(self.options.max_field)];
        said.fields.push(bytes("data", kept));
        let cut = (kept.len() as u64) < length;
        said.cut(cut)
    }
}

/// A type and, where `named`, a name for each parameter.
fn kinds(cursor: &mut Cursor<'_>, count: usize, named: bool) -> Option<(Vec<Kind>, Vec<Vec<u8>>)> {
    let (mut kinds, mut names) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (code, flags) = (cursor.u8()?, cursor.u8()?);
        kinds.push(Kind { code, unsigned: flags & 0x80 != 0 });
        if named {
            names.push(short(packet::string(cursor)?).to_vec());
        }
    }
    Some((kinds, names))
}

/// The sets of a bulk execution: how many, what may be shown of them, and whether that is less than came.
fn sets(kinds: &[Kind], cursor: &mut Cursor<'_>, room: usize) -> (u64, Vec<Value>, bool) {
    let (mut sets, mut shown, mut left, mut cut) = (0, Vec::new(), room, false);
    while !cursor.is_empty() {
        let mut set = Vec::new();
        for kind in kinds {
            let value = match cursor.u8() {
                Some(0) => match values::binary(*kind, cursor) {
                    Some(read) => {
                        let (value, whole) = values::shown(&read, left);
                        cut |= !whole && left > 0;
                        value
                    }
                    None => return (sets, shown, true),
                },
                Some(1) => Value::Null,
                Some(2) => Value::Text("DEFAULT".into()),
                Some(3) => Value::Text("IGNORE".into()),
                _ => return (sets, shown, true),
            };
            if left > 0 {
                left = left.saturating_sub(values::size(&value));
                set.push(value);
            } else {
                cut |= room > 0;
            }
        }
        sets += 1;
        if !set.is_empty() {
            shown.push(Value::List(set));
        }
    }
    (sets, shown, cut)
}

fn attribute_fields(names: Vec<Vec<u8>>, values: Vec<Value>, count: u64) -> Vec<Field> {
    let mut fields = vec![number("query_attribute_count", count)];
    if !values.is_empty() {
        let pairs = names.into_iter().map(Value::Bytes).zip(values);
        fields.push(Field::new("query_attributes", Value::Map(pairs.collect())));
    }
    fields
}

fn query_said(summary: String, query: &Query, mut fields: Vec<Field>) -> Said {
    fields.insert(0, Field::new("query", Value::Bytes(query.text.clone())));
    if query.cut {
        fields.push(number("query_length", query.length));
    }
    Said { summary, fields, ..Said::default() }.cut(query.cut)
}

fn plain(summary: &str, fields: Vec<Field>) -> Said {
    Said { summary: summary.to_owned(), fields, ..Said::default() }
}

/// Commands with one argument, or with none.
fn simple(code: u8, name: &'static str, mut cursor: Cursor<'_>) -> Said {
    match code {
        command::INIT_DB | command::CREATE_DB | command::DROP_DB => {
            let schema = rest(&mut cursor);
            plain(&format!("{name} {}", shown(schema)), vec![bytes("schema", short(schema))])
        }
        command::PROCESS_KILL => {
            let id = cursor.u32_le().unwrap_or(0);
            plain(&format!("{name} {id}"), vec![number("connection_id", id.into())])
        }
        command::SET_OPTION => {
            let option = match cursor.u16_le() {
                Some(0) => "MYSQL_OPTION_MULTI_STATEMENTS_ON",
                Some(1) => "MYSQL_OPTION_MULTI_STATEMENTS_OFF",
                _ => "unknown option",
            };
            plain(&format!("{name} {option}"), vec![text("option_operation", option)])
        }
        command::REFRESH => plain(name, vec![number("sub_command", cursor.u8().unwrap_or(0).into())]),
        command::SHUTDOWN => plain(name, vec![number("shutdown_type", cursor.u8().unwrap_or(0).into())]),
        _ => plain(name, Vec::new()),
    }
}

/// COM_BINLOG_DUMP, COM_BINLOG_DUMP_GTID and COM_TABLE_DUMP.
fn replication(code: u8, name: &'static str, mut cursor: Cursor<'_>) -> Said {
    if code == command::TABLE_DUMP {
        let database = byte_string(&mut cursor);
        let table = byte_string(&mut cursor);
        let summary = format!("{name} {}.{}", shown(database), shown(table));
        return plain(
            &summary,
            vec![bytes("database_name", short(database)), bytes("table_name", short(table))],
        );
    }
    let (position, flags, server, file);
    if code == command::BINLOG_DUMP {
        position = u64::from(cursor.u32_le().unwrap_or(0));
        flags = cursor.u16_le().unwrap_or(0);
        server = cursor.u32_le().unwrap_or(0);
        file = rest(&mut cursor);
    } else {
        flags = cursor.u16_le().unwrap_or(0);
        server = cursor.u32_le().unwrap_or(0);
        let length = (cursor.u32_le().unwrap_or(0) as usize).min(cursor.len());
        file = cursor.bytes(length).unwrap_or_default();
        position = cursor.u64_le().unwrap_or(0);
    }
    let fields = vec![
        bytes("binlog_filename", short(file)),
        number("binlog_pos", position),
        number("flags", flags.into()),
        number("server_id", server.into()),
    ];
    plain(&format!("{name} {} at {position} for server {server}", shown(file)), fields)
}

/// COM_REGISTER_SLAVE.
fn register(name: &'static str, mut cursor: Cursor<'_>, show_secrets: bool) -> Said {
    let server = cursor.u32_le().unwrap_or(0);
    let host = byte_string(&mut cursor);
    let user = byte_string(&mut cursor);
    let password = byte_string(&mut cursor);
    let port = cursor.u16_le().unwrap_or(0);
    let fields = vec![
        number("server_id", server.into()),
        bytes("slaves_hostname", short(host)),
        bytes("slaves_user", short(user)),
        Field::new("slaves_password", secret(password, show_secrets)),
        number("slaves_mysql_port", port.into()),
    ];
    plain(&format!("{name} server {server}"), fields)
}

fn acknowledgement(name: &'static str, mut cursor: Cursor<'_>) -> Said {
    let position = cursor.u64_le().unwrap_or(0);
    let file = until_zero(&mut cursor);
    let fields = vec![bytes("binlog_filename", short(file)), number("binlog_pos", position)];
    plain(&format!("{name} {} at {position}", shown(file)), fields)
}

/// A string behind one byte of length.
fn byte_string<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    let length = usize::from(cursor.u8().unwrap_or(0)).min(cursor.len());
    cursor.bytes(length).unwrap_or_default()
}
