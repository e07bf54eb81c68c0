//! Takes content out of events and records, for files that are given to others: lengths stay, and a hash by which equal
//! content is told within one run.
//!
//! What stays is a list: numbers, and words of the parsers' own vocabulary, in fields that say what kind of message it is
//! and how it ended. All else is content. Hashes are SHA-256 over a key and the content, cut to 64 bits; the key is drawn
//! for each run and kept nowhere, so that no guess at a password or a name can be tried against them.
//!
//! Bytes of streams become zeros: two vantages stay comparable, since both have the same zeros. Datagrams have no sequence
//! numbers and are told apart by content; so each of their first [`HEAD`] bytes becomes one byte of a hash over the
//! payload up to it, which is the same at both vantages, whatever a snap length left.

use crate::event::Cause;
use crate::record::{Field, Message, Record, Value};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt;

/// How many first bytes of a datagram are told by hashes. What a comparison tells datagrams apart by is among them.
pub const HEAD: usize = 32;

/// Fields that say what kind of message it is, how it ended, or how many and how long: names as in the protocols'
/// standards. Numbers and words of the parsers' own in them stay.
const KEPT: &[&str] = &[
    "ack",
    "api",
    "api_key",
    "api_version",
    "arg_count",
    "body_length",
    "body_received",
    "body_size",
    "certificate_count",
    "channel",
    "command",
    "correlation_id",
    "count",
    "error",
    "error_code",
    "format",
    "grpc_status",
    "grpc_status_name",
    "has_more_pages",
    "last_stream_id",
    "length",
    "message_count",
    "method",
    "newest_protocol",
    "op",
    "opCode",
    "opcode",
    "progress",
    "protocol_version",
    "qclass",
    "qtype",
    "rcode",
    "repeated",
    "reset",
    "resumed",
    "retransmissions",
    "size",
    "sqlstate",
    "status",
    "stream_id",
    "ticket_lifetime_hint",
    "transaction_status",
    "type",
    "version",
];

/// Methods of HTTP (RFC 9110, RFC 5789, RFC 4918): what else stands in the place of one may be content.
const METHODS: &[&[u8]] = &[
    b"CONNECT",
    b"COPY",
    b"DELETE",
    b"GET",
    b"HEAD",
    b"LOCK",
    b"MKCOL",
    b"MOVE",
    b"OPTIONS",
    b"PATCH",
    b"POST",
    b"PROPFIND",
    b"PROPPATCH",
    b"PUT",
    b"TRACE",
    b"UNLOCK",
];

/// Commands of Redis, MongoDB and MySQL that are no secret, in small letters: what else stands in the place of one may be
/// content.
const COMMANDS: &[&str] = &[
    "aggregate",
    "append",
    "auth",
    "bgsave",
    "blpop",
    "brpop",
    "client",
    "cluster",
    "com_binlog_dump",
    "com_change_user",
    "com_debug",
    "com_field_list",
    "com_init_db",
    "com_ping",
    "com_process_kill",
    "com_query",
    "com_quit",
    "com_reset_connection",
    "com_set_option",
    "com_statistics",
    "com_stmt_close",
    "com_stmt_execute",
    "com_stmt_fetch",
    "com_stmt_prepare",
    "com_stmt_reset",
    "com_stmt_send_long_data",
    "command",
    "config",
    "count",
    "create",
    "createindexes",
    "dbsize",
    "decr",
    "decrby",
    "del",
    "delete",
    "discard",
    "distinct",
    "drop",
    "echo",
    "endsessions",
    "eval",
    "evalsha",
    "exec",
    "exists",
    "expire",
    "explain",
    "find",
    "findandmodify",
    "flushall",
    "flushdb",
    "get",
    "getdel",
    "getex",
    "getmore",
    "getrange",
    "getset",
    "hdel",
    "hello",
    "hget",
    "hgetall",
    "hincrby",
    "hkeys",
    "hlen",
    "hmget",
    "hmset",
    "hset",
    "incr",
    "incrby",
    "info",
    "insert",
    "ismaster",
    "keys",
    "killcursors",
    "lindex",
    "listcollections",
    "listdatabases",
    "llen",
    "lpop",
    "lpush",
    "lrange",
    "lrem",
    "ltrim",
    "mget",
    "monitor",
    "mset",
    "multi",
    "object",
    "pexpire",
    "ping",
    "psetex",
    "psubscribe",
    "psync",
    "pttl",
    "publish",
    "quit",
    "rename",
    "replconf",
    "rpop",
    "rpush",
    "sadd",
    "saslcontinue",
    "saslstart",
    "scan",
    "scard",
    "script",
    "select",
    "set",
    "setex",
    "setnx",
    "setrange",
    "sismember",
    "smembers",
    "spop",
    "srem",
    "strlen",
    "subscribe",
    "sync",
    "time",
    "ttl",
    "type",
    "unlink",
    "unsubscribe",
    "unwatch",
    "update",
    "wait",
    "watch",
    "xack",
    "xadd",
    "xread",
    "xreadgroup",
    "zadd",
    "zcard",
    "zincrby",
    "zrange",
    "zrangebyscore",
    "zrem",
    "zscore",
];

/// The longest word that stays.
const WORD_MAX: usize = 40;

/// Tells runs apart: files that one run wrote have one, and the same hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(pub [u8; 8]);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl RunId {
    /// The id that is written like this.
    pub fn parse(text: &str) -> Option<RunId> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        Some(RunId(bytes.try_into().ok()?))
    }
}

/// How one run takes content out.
#[derive(Clone)]
pub struct Redaction {
    /// Has taken in the key.
    seed: Sha256,
}

impl fmt::Debug for Redaction {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redaction({})", self.id())
    }
}

/// What is to become of payload.
#[derive(Clone, Debug, Default)]
pub enum Content {
    /// It stays.
    #[default]
    Whole,
    /// It is taken out.
    Hashed(Redaction),
    /// A run before took it out: zeros stand for it.
    Gone(RunId),
}

impl Content {
    /// Of a source whose payload that run took out, if one did, with what is to be done in this run.
    pub fn of(before: Option<RunId>, redaction: Option<Redaction>) -> Content {
        match (before, redaction) {
            (Some(run), _) => Content::Gone(run),
            (None, Some(redaction)) => Content::Hashed(redaction),
            (None, None) => Content::Whole,
        }
    }

    /// The run that takes it out, or did.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Content::Whole => None,
            Content::Hashed(redaction) => Some(redaction.id()),
            Content::Gone(run) => Some(*run),
        }
    }

    /// What is said in the place of a payload; absent where it stays.
    pub fn instead(&self, payload: &[u8]) -> Option<String> {
        match self {
            Content::Whole => None,
            Content::Hashed(redaction) => {
                Some(format!("redacted: {} bytes, hash {}", payload.len(), redaction.hash(payload)))
            }
            Content::Gone(_) => Some(format!("redacted: {} bytes", payload.len())),
        }
    }
}

/// What a hash is made for: one for one purpose tells nothing for another.
#[derive(Clone, Copy)]
enum Purpose {
    Id,
    Content,
    Head,
}

impl Redaction {
    /// With a key of 256 random bits, which nobody else may know.
    pub fn new(key: [u8; 32]) -> Redaction {
        Redaction { seed: Sha256::new().chain_update(key) }
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        RunId(self.digest(Purpose::Id, &[]))
    }

    fn hasher(&self, purpose: Purpose) -> Sha256 {
        self.seed.clone().chain_update([purpose as u8])
    }

    fn digest(&self, purpose: Purpose, bytes: &[u8]) -> [u8; 8] {
        first(self.hasher(purpose).chain_update(bytes))
    }

    /// The hash of content: 16 hexadecimal digits.
    pub fn hash(&self, content: &[u8]) -> String {
        RunId(self.digest(Purpose::Content, content)).to_string()
    }

    /// What stands in a payload's place, in as many bytes.
    pub fn fill(&self, payload: &[u8], is_stream: bool) -> Vec<u8> {
        let mut filled = vec![0; payload.len()];
        if !is_stream {
            let mut hasher = self.hasher(Purpose::Head);
            for (place, byte) in filled.iter_mut().zip(payload).take(HEAD) {
                hasher.update([*byte]);
                [*place, ..] = first(hasher.clone());
            }
        }
        filled
    }

    /// The record without content. Its summary is made anew.
    pub fn record(&self, record: Record) -> Record {
        let summary = summary(&record);
        let Record { protocol, status, request, response, .. } = record;
        let [request, response] = [request, response].map(|message| message.map(|one| self.message(one)));
        Record { protocol, status, summary, request, response }
    }

    fn message(&self, message: Message) -> Message {
        let fields = message.fields.into_iter().map(|field| self.field(field)).collect();
        Message { fields, ..message }
    }

    fn field(&self, field: Field) -> Field {
        // A name that was put together may hold what came from outside.
        let name = match field.name {
            Cow::Owned(name) => Cow::Owned(self.hash(name.as_bytes())),
            name => name,
        };
        let value = if is_kept(&name, &field.value) { field.value } else { self.value(&field.value) };
        Field { name, value }
    }

    /// Length and hash of a value.
    fn value(&self, value: &Value) -> Value {
        let bytes = match value {
            Value::Null => return Value::Null,
            Value::Bytes(bytes) => bytes.clone(),
            Value::Text(text) => text.as_bytes().to_vec(),
            // Of what has structure, all of it, as it is written in Rust: a name for each level, and every byte.
            other => format!("{other:?}").into_bytes(),
        };
        let (unit, length) = match value {
            Value::List(values) => ("entries", values.len()),
            Value::Map(entries) => ("entries", entries.len()),
            _ => ("length", bytes.len()),
        };
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        let hash = Value::Text(self.hash(&bytes).into());
        Value::Map(vec![
            (Value::Text(unit.into()), Value::Number(length)),
            (Value::Text("hash".into()), hash),
        ])
    }
}

fn first(hasher: Sha256) -> [u8; 8] {
    *hasher.finalize().first_chunk().expect("8 bytes of the 32 of a digest")
}

/// True where the value of a field says what kind of message it is, in words that are not the peer's.
fn is_kept(name: &str, value: &Value) -> bool {
    KEPT.contains(&name)
        && match value {
            Value::Number(_) | Value::Flag(_) | Value::Null => true,
            Value::Text(text) if name == "command" => is_command(text),
            Value::Text(text) => {
                text.len() <= WORD_MAX && !matches!(name, "error" | "newest_protocol" | "progress")
            }
            Value::Bytes(bytes) => match name {
                "command" => std::str::from_utf8(bytes).is_ok_and(is_command),
                "method" => METHODS.contains(&&bytes[..]),
                "status" => bytes.len() == 3 && bytes.iter().all(u8::is_ascii_digit),
                "version" => bytes.starts_with(b"HTTP/") && bytes.len() == 8,
                // ISO 9075: five letters or digits, of which the first two are the class.
                "sqlstate" => bytes.len() == 5 && bytes.iter().all(u8::is_ascii_alphanumeric),
                _ => false,
            },
            Value::Float(_) | Value::List(_) | Value::Map(_) => false,
        }
}

fn is_command(word: &str) -> bool {
    COMMANDS.contains(&&*word.to_ascii_lowercase())
}

/// What a record is, in what stays of it.
fn summary(record: &Record) -> String {
    const ASKED: [&str; 8] = ["method", "command", "op", "opCode", "opcode", "api", "type", "qtype"];
    const ANSWERED: [&str; 7] =
        ["status", "rcode", "grpc_status_name", "error_code", "sqlstate", "type", "op"];
    let words = |message: &Option<Message>, names: &[&str]| {
        let fields = message.iter().flat_map(|message| &message.fields);
        let kept = fields.filter(|field| names.contains(&&*field.name) && is_kept(&field.name, &field.value));
        let mut words: Vec<String> = kept.filter_map(|field| word(&field.value)).collect();
        words.dedup();
        words.push(message.as_ref().map_or("none".into(), |one| format!("{} bytes", one.range.len())));
        words.join(" ")
    };
    format!("{} -> {}", words(&record.request, &ASKED), words(&record.response, &ANSWERED))
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone().into_owned()),
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// True where what is said about bytes that stopped for this cause may quote them: parsers say why.
pub fn may_quote(cause: Cause) -> bool {
    use crate::event::Stage;
    matches!(cause.stage(), Stage::Stream | Stage::Frame | Stage::Record | Stage::Output)
}

/// True where a step of the tracker's reasoning tells of calls, ranges and causes, and quotes no content.
pub fn is_harmless(step: &str) -> bool {
    matches!(step, "bytes" | "close" | "descriptor" | "filtered" | "gap" | "open")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Direction, Range, Timestamp};

    fn redaction() -> Redaction {
        Redaction::new([7; 32])
    }

    fn message(fields: Vec<Field>) -> Message {
        Message {
            direction: Direction::Send,
            range: Range::new(0, 55),
            parts: Vec::new(),
            started: Timestamp(0),
            ended: Timestamp(0),
            fields,
            causes: Vec::new(),
        }
    }

    fn bytes(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    #[test]
    fn what_kind_it_is_and_how_it_ended_stays_and_all_else_goes() {
        let secrets = ["/secret/path", "secret-key", "secret-value"];
        let headers = Value::Map(vec![(bytes(secrets[1]), bytes(secrets[2]))]);
        let asked = message(vec![
            Field::new("method", bytes("GET")),
            Field::new("target", bytes(secrets[0])),
            Field::new("headers", headers),
        ]);
        let answered = message(vec![Field::new("status", Value::Number(404))]);
        let summary = format!("404 GET {}", secrets[0]);
        let (request, response) = (Some(asked), Some(answered));
        let record =
            Record { protocol: "http1", status: crate::record::Status::Complete, summary, request, response };
        let redacted = redaction().record(record);
        assert_eq!(redacted.summary, "GET 55 bytes -> 404 55 bytes");
        let shown = format!("{redacted:?}");
        assert!(secrets.iter().all(|secret| !shown.contains(&format!("{:?}", secret.as_bytes()))));
        let request = redacted.request.unwrap();
        assert_eq!(request.field("method"), Some(&bytes("GET")));
        let Some(Value::Map(target)) = request.field("target") else { panic!("{request:?}") };
        assert_eq!(target[0], (Value::Text("length".into()), Value::Number(12)));
        assert_eq!(target[1].1, Value::Text(redaction().hash(b"/secret/path").into()));
    }

    #[test]
    fn a_word_in_the_place_of_a_method_or_a_command_is_content() {
        for (name, word) in
            [("method", "HUNTER2"), ("command", "hunter2"), ("status", "12345"), ("sqlstate", "a b")]
        {
            assert!(!is_kept(name, &bytes(word)), "{name} {word}");
        }
        assert!(!is_kept("command", &Value::Text("hunter2".into())));
        assert!(is_kept("command", &bytes("SET")) && is_kept("method", &bytes("POST")));
    }

    #[test]
    fn a_stream_becomes_zeros_and_a_datagram_is_told_by_its_first_bytes() {
        let redaction = redaction();
        assert_eq!(redaction.fill(b"secret", true), [0; 6]);
        let [one, cut, other] =
            [&[1; 50][..], &[1; 20], &[2; 50]].map(|payload| redaction.fill(payload, false));
        assert_eq!((one.len(), one[..20] == cut, one[HEAD..] == [0; 50 - HEAD]), (50, true, true));
        assert_ne!(one[..HEAD], other[..HEAD]);
        assert!(one[..HEAD].windows(2).all(|pair| pair != [1, 1]));
    }

    #[test]
    fn another_key_gives_other_hashes_and_another_id() {
        let other = Redaction::new([8; 32]);
        assert_ne!(redaction().hash(b"secret"), other.hash(b"secret"));
        assert_ne!(redaction().id(), other.id());
        assert_eq!(RunId::parse(&other.id().to_string()), Some(other.id()));
        assert_eq!(RunId::parse("secret"), None);
    }
}
