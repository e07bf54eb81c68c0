//! What a client asks for in one go: a Query, or the messages of the extended protocol up to an Execute, a Flush or a
//! Sync. Each becomes one record.
//!
//! A request knows which answers are due to it ([`Op`]), in order.

use super::sql;
use super::statements::{Bound, Query, Statement};
use super::values;
use crate::event::Cause;
use crate::protocol::exchange::Half;
use crate::protocol::framed::Frame;
use crate::record::{Field, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// How many messages one request is made of at most; a longer row of them is several requests.
pub const MESSAGES_MAX: usize = 64;

/// How many actions (`Parse "a" SELECT 1`) a summary shows.
const ACTIONS_MAX: usize = 4;

/// What the server owes for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// One byte for an SSLRequest or GSSENCRequest; what follows if it says yes.
    Negotiate(&'static str),
    /// A request for a password, or all that follows when there is none.
    Login,
    /// Results up to ReadyForQuery.
    Query,
    /// The value of a function up to ReadyForQuery.
    Function,
    /// ParseComplete, for the statement of this name.
    Parse(Vec<u8>),
    /// BindComplete.
    Bind,
    /// ParameterDescription and RowDescription or NoData, for the statement of this name.
    DescribeStatement(Vec<u8>),
    /// RowDescription or NoData.
    DescribePortal,
    /// Rows up to CommandComplete, PortalSuspended or EmptyQueryResponse.
    Execute,
    /// CloseComplete.
    Close,
    /// ReadyForQuery.
    Sync,
    /// The end of a COPY whose beginning was not seen, up to ReadyForQuery.
    CopyEnd,
    /// The end of replication, which can tell where to go on, up to ReadyForQuery.
    StreamEnd,
}

/// Where the data of a COPY FROM STDIN stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyIn {
    /// The server asked for it, or it came.
    pub begun: bool,
    /// CopyDone or CopyFail came.
    pub over: bool,
    /// CopyData messages.
    pub messages: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// Its message, without the fields that [`Request::finish`] adds.
    pub half: Half,
    /// What is owed for it.
    pub ops: VecDeque<Op>,
    /// Its messages' names.
    messages: Vec<&'static str>,
    /// What it does besides executing, for the summary.
    actions: Vec<String>,
    /// The statement it is about.
    query: Option<Arc<Query>>,
    /// What is known of the statement: nothing where it is as it should be.
    doubt: Option<&'static str>,
    statement_name: Vec<u8>,
    portal_name: Vec<u8>,
    bound: Arc<Bound>,
    max_rows: u32,
    /// The data of a COPY that belongs to it.
    pub copy: CopyIn,
    /// It has an Execute.
    pub executes: bool,
    /// No more messages belong to it, but for a Sync or Flush behind an Execute, and the data of a COPY.
    pub ended: bool,
    /// It is of the extended protocol, and its Sync or Flush may still come.
    pub takes_end: bool,
    /// It has its Sync.
    pub synced: bool,
    /// Messages of it may be missing: what is owed is not known exactly.
    pub lenient: bool,
    /// It came behind a loss, so that nothing tells which answer is its own.
    pub orphan: bool,
    /// The server passes over it, because of an error before.
    pub discarded: bool,
    /// How many bytes of it are counted against the bound.
    pub counted: usize,
}

impl Request {
    /// One that begins with a message called `name`.
    pub fn new(frame: &Frame<'_>, name: &'static str) -> Request {
        let mut half = Half::new(frame.direction, frame.range, frame.times, String::new(), Vec::new());
        frame.causes.iter().for_each(|&cause| half.add_cause(cause));
        Request {
            half,
            ops: VecDeque::new(),
            messages: vec![name],
            actions: Vec::new(),
            query: None,
            doubt: None,
            statement_name: Vec::new(),
            portal_name: Vec::new(),
            bound: Arc::default(),
            max_rows: 0,
            copy: CopyIn::default(),
            executes: false,
            ended: false,
            takes_end: false,
            synced: false,
            lenient: frame.is_cut(),
            orphan: false,
            discarded: false,
            counted: 0,
        }
    }

    /// One that is a single message, with what is shown of it.
    pub fn single(
        frame: &Frame<'_>,
        name: &'static str,
        op: Op,
        action: String,
        fields: Vec<Field>,
    ) -> Request {
        let mut request = Request::new(frame, name);
        request.actions.push(action);
        request.half.message.fields = fields;
        request.ops.push_back(op);
        request.ended = true;
        request
    }

    /// One more message of it.
    pub fn extend(&mut self, frame: &Frame<'_>, name: &'static str) {
        self.half.extend(frame.range, frame.times[1], &frame.causes);
        self.lenient |= frame.is_cut();
        // The data of a COPY come in any number, and Sync and Flush among them count for nothing.
        if name != "CopyData" && self.messages.len() <= MESSAGES_MAX {
            self.messages.push(name);
        }
        self.ended |= self.messages.len() >= MESSAGES_MAX;
    }

    /// Notes what a message of it does.
    pub fn act(&mut self, action: impl FnOnce() -> String) {
        match self.actions.len() {
            0..ACTIONS_MAX => self.actions.push(action()),
            ACTIONS_MAX => self.actions.push("\u{2026}".to_owned()),
            _ => {}
        }
    }

    /// It prepares, describes or executes a statement; `None`: which one is not known.
    pub fn about(&mut self, name: &[u8], statement: Option<&Statement>) {
        self.statement_name = name.to_vec();
        self.doubt = match statement {
            None => Some("unknown"),
            Some(statement) => (!statement.sure).then_some("uncertain"),
        };
        self.query = statement.map(|statement| statement.query.clone());
    }

    /// It holds the statement itself.
    pub fn asks(&mut self, query: Arc<Query>) {
        (self.query, self.doubt) = (Some(query), None);
    }

    /// It is about a portal.
    pub fn uses(&mut self, portal: &[u8], bound: &Arc<Bound>) {
        (self.portal_name, self.bound) = (portal.to_vec(), bound.clone());
    }

    /// It executes what it is about.
    pub fn execute(&mut self, max_rows: u32) {
        (self.executes, self.ended, self.max_rows) = (true, true, max_rows);
    }

    /// A cycle of the protocol ends with it: ReadyForQuery is due behind it.
    pub fn ends_cycle(&self) -> bool {
        let ends = |op: &Op| {
            matches!(op, Op::Sync | Op::Query | Op::Function | Op::CopyEnd | Op::StreamEnd | Op::Login)
        };
        self.synced || self.ops.back().is_some_and(ends)
    }

    /// What it holds that hostile bytes could make large: bytes of fields.
    pub fn held(&self) -> usize {
        // Texts are shared with the table of statements where they are in it.
        self.query.as_ref().map_or(0, |query| query.text.len())
            + self.bound.values.len() * size_of::<Value>()
            + self.bound.briefs.iter().map(String::len).sum::<usize>()
    }

    /// Forgets what makes it large.
    pub fn lighten(&mut self) {
        self.bound = Arc::default();
        self.query = None;
        self.half.add_cause(Cause::Limit);
    }

    /// The message with its fields and summary.
    pub fn finish(mut self, max_field: usize) -> Half {
        let mut fields = vec![Field::new("type", Value::Text(self.kind().into()))];
        if self.messages.len() > 1 {
            let names = self.messages.iter().map(|&name| Value::Text(name.into()));
            fields.push(Field::new("messages", Value::List(names.collect())));
        }
        self.half.summary = self.summary();
        if let Some(query) = &self.query {
            fields.push(Field::new("query", Value::Bytes(query.text.clone())));
            if query.cut {
                if let Some(length) = query.length {
                    fields.push(number("query_length", length));
                }
                self.half.add_cause(Cause::FieldTruncated);
            }
        }
        for (name, value) in [("statement_name", &self.statement_name), ("portal", &self.portal_name)] {
            if !value.is_empty() {
                fields.push(Field::new(name, Value::Bytes(value.clone())));
            }
        }
        fields.extend(self.doubt.map(|doubt| Field::new("statement", Value::Text(doubt.into()))));
        if self.bound.count > 0 {
            if max_field > 0 {
                fields.push(Field::new("parameters", Value::List(self.bound.values.clone())));
            }
            fields.push(number("parameter_count", self.bound.count));
            if self.bound.cut {
                self.half.add_cause(Cause::FieldTruncated);
            }
        }
        if self.max_rows > 0 {
            fields.push(number("max_rows", self.max_rows.into()));
        }
        if self.copy.messages > 0 {
            fields.push(number("copy_messages", self.copy.messages));
            fields.push(number("copy_bytes", self.copy.bytes));
        }
        if self.discarded {
            fields.push(text("passed_over", "after an error"));
        }
        fields.append(&mut self.half.message.fields);
        self.half.message.fields = fields;
        self.half
    }

    fn kind(&self) -> &'static str {
        if self.executes && !self.messages.contains(&"Query") {
            return "Execute";
        }
        self.messages.first().copied().unwrap_or_default()
    }

    fn summary(&self) -> String {
        let mut summary = if self.executes {
            let text = match &self.query {
                Some(query) if query.text.is_empty() => "(empty query)".to_owned(),
                Some(query) => sql::line(&query.text),
                None if self.statement_name.is_empty() => "unknown statement".to_owned(),
                None => format!("unknown statement {}", quoted(&self.statement_name)),
            };
            let list = values::list(&self.bound.briefs, self.bound.count);
            [text, list].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        } else if self.actions.is_empty() {
            self.kind().to_owned()
        } else {
            self.actions.join(", ")
        };
        if self.discarded {
            summary.push_str(" (passed over after an error)");
        }
        if self.copy.messages > 0 {
            summary.push_str(&format!(" ({} CopyData, {} bytes)", self.copy.messages, self.copy.bytes));
        }
        summary
    }
}

/// A count as a field.
pub fn number(name: &'static str, value: u64) -> Field {
    Field::new(name, Value::Number(i64::try_from(value).unwrap_or(i64::MAX)))
}

/// A name in double quotes, a long one in part.
pub fn quoted(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let shown: String = text.chars().take(64).collect();
    let more = if shown.len() < text.len() { "\u{2026}" } else { "" };
    format!("\"{shown}{more}\"")
}

/// A word of ours as a field.
pub fn text(name: &'static str, value: &'static str) -> Field {
    Field::new(name, Value::Text(value.into()))
}
