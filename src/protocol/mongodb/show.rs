//! What messages mean: their fields and summaries, secrets masked.

use super::bson::{Document, Place, Shower};
use super::message::{
    self, Body, Header, OP_COMMAND, OP_COMMANDREPLY, OP_DELETE, OP_GET_MORE, OP_INSERT, OP_KILL_CURSORS,
    OP_MSG, OP_QUERY, OP_REPLY, OP_UPDATE,
};
use crate::protocol::Options;
use crate::record::{Field, Value};

/// How many characters of a document a summary shows.
const BRIEF_MAX: usize = 120;

/// How many bytes of a name or an error message are shown.
const TEXT_MAX: usize = 512;

/// Commands whose first member names no collection.
const OF_NO_COLLECTION: [&[u8]; 14] = [
    b"createUser",
    b"updateUser",
    b"dropUser",
    b"usersInfo",
    b"grantRolesToUser",
    b"revokeRolesFromUser",
    b"createRole",
    b"updateRole",
    b"dropRole",
    b"getLog",
    b"getParameter",
    b"configureFailPoint",
    b"renameCollection",
    b"enableSharding",
];

/// The member of a command that a summary shows, by the command.
const TELLING: [(&[u8], &str); 8] = [
    (b"find", "filter"),
    (b"aggregate", "pipeline"),
    (b"count", "query"),
    (b"distinct", "query"),
    (b"findAndModify", "query"),
    (b"findandmodify", "query"),
    (b"mapReduce", "query"),
    (b"createIndexes", "indexes"),
];

/// What a command says of many documents: its member, what one of them is, and the member that a summary shows of one.
const MANY: [(&[u8], &str, &str, &str); 3] = [
    (b"insert", "documents", "document", ""),
    (b"update", "updates", "update", "q"),
    (b"delete", "deletes", "delete", "q"),
];

/// A message with what it was cut from.
#[derive(Debug)]
pub struct Message<'a> {
    pub header: Header,
    /// The operation, of the message within where it is compressed.
    pub op_code: i32,
    pub compressor: Option<&'static str>,
    pub body: Body<'a>,
    /// Whether its checksum is right; absent where it has none.
    pub checksum: Option<&'static str>,
}

/// What is shown of a message.
#[derive(Debug, Default)]
pub struct Shown {
    pub summary: String,
    pub fields: Vec<Field>,
    /// Something is shown shorter than it came.
    pub is_cut: bool,
}

impl<'a> Message<'a> {
    /// The command that it asks for, with the database.
    pub fn command(&self) -> Option<Command<'a>> {
        let document = self.body.document?;
        match self.op_code {
            OP_MSG => {
                let db = document.get("$db").and_then(|member| member.text());
                Command::new(document, db.unwrap_or_default())
            }
            OP_COMMAND => Command::new(document, self.body.namespace?),
            OP_QUERY => {
                let db = self.body.namespace?.strip_suffix(b".$cmd")?;
                let first = document.first();
                let wrapped = first.filter(|member| matches!(member.name, b"$query" | b"query"));
                Command::new(wrapped.and_then(|member| member.document()).unwrap_or(document), db)
            }
            _ => None,
        }
    }

    fn common(&self, shown: &mut Shown) {
        let header = &self.header;
        match message::name(self.op_code) {
            Some(name) => shown.fields.push(Field::new("opCode", Value::Text(name.into()))),
            None => shown.fields.push(number("opCode", self.op_code)),
        }
        shown.fields.push(number("requestID", header.request_id));
        if header.response_to != 0 {
            shown.fields.push(number("responseTo", header.response_to));
        }
        let flags = self.body.flag_names(self.op_code);
        if !flags.is_empty() {
            let flags = flags.into_iter().map(|name| Value::Text(name.into())).collect();
            shown.fields.push(Field::new("flagBits", Value::List(flags)));
        }
        let words = [("compressor", self.compressor), ("checksum", self.checksum)];
        let words = words.into_iter().filter_map(|(name, word)| word.map(|word| (name, word)));
        shown.fields.extend(words.map(|(name, word)| Field::new(name, Value::Text(word.into()))));
    }

    /// Its documents as values, as far as they are wanted.
    fn contents(&self, place: Place, options: Options, shown: &mut Shown) {
        if options.max_field == 0 {
            return;
        }
        let Options { max_field: budget, show_secrets, .. } = options;
        let mut shower = Shower { budget, is_cut: false, show_secrets };
        let body = [("body", self.body.document, place), ("update", self.body.update, Place::Content)];
        for (name, document, place) in body {
            let value = document.map(|document| shower.document(document, place));
            shown.fields.extend(value.map(|value| Field::new(name, value)));
        }
        let mut sequences = Vec::new();
        for sequence in &self.body.sequences {
            let mut list = Vec::new();
            for document in sequence.documents() {
                if shower.budget == 0 {
                    shower.is_cut = true;
                    break;
                }
                list.push(shower.document(document, Place::Content));
            }
            sequences.push((Value::Bytes(sequence.identifier.to_vec()), Value::List(list)));
        }
        if !sequences.is_empty() {
            shown.fields.push(Field::new("documentSequences", Value::Map(sequences)));
        }
        shown.is_cut |= shower.is_cut;
    }

    /// What it asks for.
    pub fn request(&self, options: Options) -> Shown {
        let mut shown = Shown::default();
        self.common(&mut shown);
        let mut place = Place::Body;
        match self.command() {
            Some(command) => {
                command.fields(&mut shown.fields);
                shown.summary = command.summary(self, options);
                if command.name == b"authenticate" {
                    place = Place::Authenticate;
                }
            }
            None => {
                self.operation(options, &mut shown);
                place = Place::Content;
            }
        }
        self.contents(place, options, &mut shown);
        shown
    }

    /// An operation that is no command.
    fn operation(&self, options: Options, shown: &mut Shown) {
        let body = &self.body;
        let mut words =
            vec![message::name(self.op_code).map_or(format!("opCode {}", self.op_code), str::to_owned)];
        if let Some(namespace) = body.namespace {
            words.push(text(namespace));
            shown.fields.push(Field::new("fullCollectionName", Value::Bytes(short(namespace).to_vec())));
        }
        match self.op_code {
            OP_QUERY | OP_UPDATE | OP_DELETE => {
                words.extend(body.document.map(|document| brief(document, options)));
            }
            OP_INSERT => words.push(self.counted("documents", "document").unwrap_or_default()),
            OP_GET_MORE => words.extend(body.cursor.map(|cursor| format!("cursor {cursor}"))),
            OP_KILL_CURSORS => words.extend(body.number.map(|count| plural(count.into(), "cursor", ""))),
            _ => {}
        }
        for (name, value) in [("numberToSkip", body.skipped), ("numberToReturn", body.number)] {
            let is_of_query = matches!(self.op_code, OP_QUERY | OP_GET_MORE);
            shown.fields.extend(value.filter(|_| is_of_query).map(|value| number(name, value)));
        }
        if let Some(cursor) = body.cursor {
            shown.fields.push(number("cursorID", cursor));
        }
        shown.summary = words.join(" ");
    }

    /// How many documents there are under a name, in the body or behind it: `3 documents`.
    fn counted(&self, name: &str, what: &str) -> Option<String> {
        let (count, _, is_cut) = self.many(name)?;
        Some(plural(count, what, if is_cut { "+" } else { "" }))
    }

    /// The documents under a name: how many there are, the first, and whether more are missing.
    fn many(&self, name: &str) -> Option<(i64, Option<Document<'a>>, bool)> {
        let mut sequences = self.body.sequences.iter();
        if let Some(sequence) = sequences.find(|sequence| sequence.identifier == name.as_bytes()) {
            let is_cut = sequence.is_cut || self.body.is_limited;
            let count = sequence.documents().count();
            return Some((i64::try_from(count).unwrap_or(i64::MAX), sequence.documents().next(), is_cut));
        }
        let member = self.body.document?.get(name)?;
        let array = member.document().filter(|_| member.is_array())?;
        let count = i64::try_from(array.readable().count()).unwrap_or(i64::MAX);
        Some((count, array.first().and_then(|one| one.document()), array.is_cut))
    }

    /// What it answers. `to_query` where it answers a query that is no command, so that all in it is the user's.
    pub fn response(&self, to_query: bool, options: Options) -> Shown {
        let mut shown = Shown::default();
        self.common(&mut shown);
        let is_documents = self.op_code == OP_REPLY
            && (to_query || self.body.document.is_none_or(|document| document.get("ok").is_none()));
        if is_documents {
            self.reply(&mut shown);
        } else if let Some(document) = self.body.document {
            answer(document, &mut shown);
        }
        let place = if is_documents { Place::Content } else { Place::Body };
        self.contents(place, options, &mut shown);
        shown
    }

    fn reply(&self, shown: &mut Shown) {
        let body = &self.body;
        shown.fields.extend(body.cursor.map(|cursor| number("cursorID", cursor)));
        shown.fields.extend(body.number.map(|count| number("numberReturned", count)));
        let flags = body.flag_names(self.op_code);
        let error = body.document.and_then(|document| document.get("$err")?.text());
        shown.summary = match error {
            Some(error) if flags.contains(&"queryFailure") => {
                shown.fields.push(Field::new("$err", Value::Bytes(short(error).to_vec())));
                format!("error {}", text(error))
            }
            _ if flags.contains(&"cursorNotFound") => "error: cursor not found".to_owned(),
            _ => {
                let more = if body.cursor.is_some_and(|cursor| cursor != 0) { ", more" } else { "" };
                let count =
                    body.number.map_or_else(|| "documents".to_owned(), |n| plural(n.into(), "document", ""));
                format!("{count}{more}")
            }
        };
    }

    /// The cursor that an answer leaves open, or closes; absent where it has none.
    pub fn cursor(&self) -> Option<i64> {
        if self.op_code == OP_REPLY && self.body.cursor.is_some_and(|cursor| cursor != 0) {
            return self.body.cursor;
        }
        self.body.document?.get("cursor")?.document()?.get("id")?.number()
    }

    /// The cursor that a request goes on with.
    pub fn continued(&self) -> Option<i64> {
        match self.op_code {
            OP_GET_MORE => self.body.cursor,
            _ => {
                let document = self.command().filter(|command| command.name == b"getMore")?.document;
                document.first()?.number()
            }
        }
    }

    /// True where an answer to it comes.
    pub fn wants_answer(&self) -> bool {
        let has_none = [OP_UPDATE, OP_INSERT, OP_DELETE, OP_KILL_CURSORS].contains(&self.op_code);
        !has_none && !self.body.more_to_come(self.op_code)
    }

    /// Whether it is a request, where it tells by itself.
    pub fn is_request(&self) -> Option<bool> {
        match self.op_code {
            OP_REPLY | OP_COMMANDREPLY => Some(false),
            OP_MSG => {
                let document = self.body.document?;
                if document.get("$db").is_some() {
                    return Some(true);
                }
                document.get("ok").map(|_| false)
            }
            _ => message::name(self.op_code).map(|_| true),
        }
    }
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    document: Document<'a>,
    pub name: &'a [u8],
    db: &'a [u8],
}

impl<'a> Command<'a> {
    fn new(document: Document<'a>, db: &'a [u8]) -> Option<Command<'a>> {
        let name = document.first()?.name;
        Some(Command { document, name, db })
    }

    fn collection(&self) -> Option<&'a [u8]> {
        if self.name == b"getMore" {
            return self.document.get("collection").filter(|name| !name.is_cut)?.text();
        }
        self.argument().filter(|_| !OF_NO_COLLECTION.contains(&self.name))
    }

    /// The value of the first member, where it is text.
    fn argument(&self) -> Option<&'a [u8]> {
        self.document.first().filter(|first| !first.is_cut)?.text()
    }

    fn fields(&self, fields: &mut Vec<Field>) {
        let names = [("command", Some(self.name)), ("db", Some(self.db)), ("collection", self.collection())];
        for (name, value) in names {
            let value = value.filter(|value| !value.is_empty()).map(short);
            fields.extend(value.map(|value| Field::new(name, Value::Bytes(value.to_vec()))));
        }
    }

    fn summary(&self, message: &Message<'a>, options: Options) -> String {
        let mut words = vec![text(self.name)];
        match (self.collection(), self.argument()) {
            (Some(collection), _) => words.push(format!("{}.{}", text(self.db), text(collection))),
            (None, argument) => {
                words.push(text(self.db));
                words.extend(argument.map(text));
            }
        }
        words.retain(|word| !word.is_empty());
        if self.name == b"explain"
            && let Some(inner) = self.document.first().and_then(|member| member.document())
            && let Some(inner) = Command::new(inner, self.db)
        {
            words.truncate(1);
            words.push(inner.brief(options));
            return words.join(" ");
        }
        if self.name == b"getMore" {
            words.extend(
                self.document.first().and_then(|member| member.number()).map(|id| format!("cursor {id}")),
            );
        }
        if self.name == b"distinct" {
            words.extend(self.document.get("key").and_then(|member| member.text()).map(text));
        }
        if let Some((_, member, what, telling)) = MANY.iter().find(|(name, ..)| *name == self.name) {
            let one = message.many(member).filter(|(count, _, is_cut)| *count == 1 && !is_cut);
            let one = one.and_then(|(_, first, _)| first?.get(telling)?.document());
            match one {
                Some(document) => words.push(brief(document, options)),
                None => words.extend(message.counted(member, what)),
            }
        }
        words.extend(self.telling(options));
        words.join(" ")
    }

    /// Name, collection and what is asked.
    fn brief(&self, options: Options) -> String {
        let collection = self.collection().map(|name| format!(".{}", text(name))).unwrap_or_default();
        let telling = self.telling(options).map(|telling| format!(" {telling}")).unwrap_or_default();
        format!("{} {}{collection}{telling}", text(self.name), text(self.db))
    }

    fn telling(&self, options: Options) -> Option<String> {
        let (_, member) = TELLING.iter().find(|(name, _)| *name == self.name)?;
        let member = self.document.get(member)?;
        let document = member.document().filter(|document| !document.is_empty())?;
        Some(if member.is_array() { brief_list(document, options) } else { brief(document, options) })
    }
}

/// The answer to a command.
fn answer(document: Document<'_>, shown: &mut Shown) {
    let get = |name: &str| document.get(name);
    let ok = get("ok").map(|member| member.is_true());
    shown.fields.extend(ok.map(|ok| number("ok", i32::from(ok))));
    if ok == Some(false) {
        let error = Error::of(document);
        error.fields(&mut shown.fields);
        shown.summary = format!("error {}", error.text());
        return;
    }
    let mut words = Vec::new();
    if let Some(cursor) = get("cursor").and_then(|member| member.document()) {
        let id = cursor.get("id").and_then(|member| member.number());
        let batch = cursor.get("firstBatch").or_else(|| cursor.get("nextBatch"));
        shown.fields.extend(id.map(|id| number("cursorID", id)));
        if let Some(batch) = batch.and_then(|member| member.document()) {
            let count = i64::try_from(batch.readable().count()).unwrap_or(i64::MAX);
            shown.fields.push(number("returned", count));
            words.push(plural(count, "document", if batch.is_cut { "+" } else { "" }));
        }
        words.extend(id.filter(|&id| id != 0).map(|_| "more".to_owned()));
    }
    if let Some(values) = get("values").and_then(|member| member.document()) {
        let count = i64::try_from(values.readable().count()).unwrap_or(i64::MAX);
        words.push(plural(count, "value", if values.is_cut { "+" } else { "" }));
    }
    for name in ["n", "nModified"] {
        if let Some(count) = get(name).and_then(|member| member.number()) {
            shown.fields.push(number(name, count));
            words.push(format!("{name}={count}"));
        }
    }
    if let Some(errors) = get("writeErrors").and_then(|member| member.document()) {
        let count = i64::try_from(errors.readable().count()).unwrap_or(i64::MAX);
        shown.fields.push(number("writeErrors", count));
        if let Some(first) = errors.first().and_then(|member| member.document()) {
            let error = Error::of(first);
            error.fields(&mut shown.fields);
            words.push(format!("{}: {}", plural(count, "write error", ""), error.text()));
        }
    }
    if let Some(error) = get("writeConcernError").and_then(|member| member.document()) {
        let error = Error::of(error);
        error.fields(&mut shown.fields);
        words.push(format!("write concern error: {}", error.text()));
    }
    shown.summary = if words.is_empty() { "ok".to_owned() } else { words.join(", ") };
}

/// What went wrong, in the words of the server.
struct Error<'a> {
    code: Option<i64>,
    name: Option<&'a [u8]>,
    message: Option<&'a [u8]>,
}

impl<'a> Error<'a> {
    fn of(document: Document<'a>) -> Error<'a> {
        Error {
            code: document.get("code").and_then(|member| member.number()),
            name: document.get("codeName").and_then(|member| member.text()),
            message: document.get("errmsg").and_then(|member| member.text()),
        }
    }

    fn fields(&self, fields: &mut Vec<Field>) {
        fields.extend(self.code.map(|code| number("code", code)));
        for (name, value) in [("codeName", self.name), ("errmsg", self.message)] {
            fields.extend(value.map(|value| Field::new(name, Value::Bytes(short(value).to_vec()))));
        }
    }

    fn text(&self) -> String {
        let words = [self.code.map(|code| code.to_string()), self.name.map(text), self.message.map(text)];
        words.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

fn plural(count: i64, what: &str, more: &str) -> String {
    let ending = if count == 1 && more.is_empty() { "" } else { "s" };
    format!("{count}{more} {what}{ending}")
}

/// A document on a line: `{"age": {"$gt": 3}}`.
fn brief(document: Document<'_>, options: Options) -> String {
    let mut shower = Shower { budget: 4 * BRIEF_MAX, is_cut: false, show_secrets: options.show_secrets };
    let value = shower.document(document, Place::Content);
    cut_off(&value)
}

fn brief_list(array: Document<'_>, options: Options) -> String {
    let mut shower = Shower { budget: 4 * BRIEF_MAX, is_cut: false, show_secrets: options.show_secrets };
    let Value::Map(pairs) = shower.document(array, Place::Content) else { return String::new() };
    cut_off(&Value::List(pairs.into_iter().map(|(_, value)| value).collect()))
}

fn cut_off(value: &Value) -> String {
    let mut line = String::new();
    write(value, &mut line);
    match line.char_indices().nth(BRIEF_MAX) {
        Some((end, _)) => format!("{}\u{2026}", &line[..end]),
        None => line,
    }
}

fn write(value: &Value, line: &mut String) {
    if line.len() > 4 * BRIEF_MAX {
        return;
    }
    let quoted = |text: &str| format!("{text:?}");
    match value {
        Value::Bytes(bytes) => line.push_str(&quoted(&String::from_utf8_lossy(bytes))),
        Value::Text(text) => line.push_str(&quoted(text)),
        Value::Number(number) => line.push_str(&number.to_string()),
        Value::Float(number) => line.push_str(&number.to_string()),
        Value::Flag(flag) => line.push_str(&flag.to_string()),
        Value::Null => line.push_str("null"),
        Value::List(list) => {
            line.push('[');
            for (index, value) in list.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { ", " });
                write(value, line);
            }
            line.push(']');
        }
        Value::Map(pairs) => {
            line.push('{');
            for (index, (name, value)) in pairs.iter().enumerate() {
                line.push_str(if index == 0 { "" } else { ", " });
                write(name, line);
                line.push_str(": ");
                write(value, line);
            }
            line.push('}');
        }
    }
}

fn short(text: &[u8]) -> &[u8] {
    &text[..text.len().min(TEXT_MAX)]
}

fn text(text: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(short(text)).chars().take(BRIEF_MAX).collect();
    shown
}

fn number(name: &'static str, value: impl Into<i64>) -> Field {
    Field::new(name, Value::Number(value.into()))
}
