//! Answers as messages: one line, or the items or list up to the line that ends them.

use super::answer::{Code, Line};
use super::command::Verb;
use super::meta;
use super::request::{self, Ask, count, decimal, letters, short, shortened};
use crate::event::{Cause, Range};
use crate::protocol::Options;
use crate::protocol::exchange::Half;
use crate::protocol::framed::Frame;
use crate::record::{Field, Value};

/// How many items, or lines of a list, of one answer are shown.
const LISTED_MAX: usize = 4096;

/// How many bytes of the items or lines of one answer are shown in all.
const SHOWN_MAX: usize = 1 << 20;

/// An answer, as far as it came.
#[derive(Debug)]
pub struct Reply {
    half: Half,
    /// What its first line is.
    pub first: Code,
    /// What its last line is, once it has come.
    pub last: Option<Code>,
    /// How many items or lines of a list it has.
    pub entries: u64,
    /// Bytes of its items.
    bytes: u64,
    /// The keys of its items, as far as they are kept.
    pub hits: Vec<Vec<u8>>,
    listed: Vec<Value>,
    statistics: Vec<(Value, Value)>,
    /// The fields of its last line.
    fields: Vec<Field>,
    /// How much of items and lines is shown.
    shown: usize,
    cut: bool,
    /// The last line.
    pub text: String,
    /// The flags of an answer to a meta command, a bit for each letter.
    pub flags: u128,
    pub opaque: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
}

impl Reply {
    /// An answer that begins, and perhaps ends, with this line.
    pub fn new(line: &Line<'_>, frame: &Frame<'_>, options: Options) -> Reply {
        let half = Half::new(frame.direction, frame.range, frame.times, "", Vec::new());
        let mut reply = Reply {
            half,
            first: line.code,
            last: None,
            entries: 0,
            bytes: 0,
            hits: Vec::new(),
            listed: Vec::new(),
            statistics: Vec::new(),
            fields: Vec::new(),
            shown: 0,
            cut: false,
            text: String::new(),
            flags: 0,
            opaque: None,
            key: None,
        };
        reply.take(line, frame, options);
        reply
    }

    /// Whether a line belongs to an answer whose end has not come.
    pub fn goes_on_with(&self, line: &Line<'_>) -> bool {
        match line.code {
            code if code.goes_on() => code == self.first,
            Code::End => true,
            // `lru_crawler mgdump` ends so.
            Code::En => self.first == Code::Listed && line.words.is_empty(),
            code => code.is_error(),
        }
    }

    /// Takes in the next line.
    pub fn add(&mut self, line: &Line<'_>, frame: &Frame<'_>, options: Options) {
        self.half.extend(frame.range, frame.times[1], &[]);
        self.take(line, frame, options);
    }

    /// Its bytes are at these places, in order, and at no other.
    pub fn lies_in(&mut self, places: &[Range]) {
        let Some((&first, more)) = places.split_first() else { return };
        let ended = self.half.message.ended;
        (self.half.message.range, self.half.message.parts) = (first, Vec::new());
        more.iter().for_each(|&place| self.half.extend(place, ended, &[]));
    }

    /// Has a further field, behind those of its last line.
    pub fn note(&mut self, field: Field) {
        self.fields.push(field);
    }

    /// Notes why a part of it is missing.
    pub fn add_cause(&mut self, cause: Cause) {
        self.half.add_cause(cause);
    }

    fn take(&mut self, line: &Line<'_>, frame: &Frame<'_>, options: Options) {
        frame.causes.iter().for_each(|&cause| self.half.add_cause(cause));
        match line.code {
            Code::Value => self.item(line, frame, options),
            Code::Stat => {
                let (name, value) = (line.words[0], line.words[1..].join(&b' '));
                if self.has_room(name.len() + value.len(), self.statistics.len()) {
                    self.statistics.push((Value::Bytes(name.to_vec()), decimal(&value)));
                }
                self.entries += 1;
            }
            Code::Listed => {
                if self.has_room(line.text.len(), self.listed.len()) {
                    self.listed.push(Value::Bytes(line.text.to_vec()));
                }
                self.entries += 1;
            }
            _ => self.end(line, frame, options),
        }
    }

    fn item(&mut self, line: &Line<'_>, frame: &Frame<'_>, options: Options) {
        let (key, bytes) = (line.words[0], line.block.unwrap_or_default());
        let body = frame.data.get(line.length..).unwrap_or_default();
        let data = request::data(body, bytes, frame, options, &mut self.cut).unwrap_or_default();
        if self.has_room(key.len() + data.len(), self.listed.len()) {
            let name = |name: &'static str| Value::Text(name.into());
            let mut item = vec![
                (name("key"), Value::Bytes(key.to_vec())),
                (name("flags"), decimal(line.words[1])),
                (name("bytes"), count(bytes)),
            ];
            item.extend(line.words.get(3).map(|cas| (name("cas_unique"), decimal(cas))));
            if !data.is_empty() {
                item.push((name("data"), Value::Bytes(data.to_vec())));
            }
            self.listed.push(Value::Map(item));
            self.hits.push(key.to_vec());
        }
        self.entries += 1;
        self.bytes += bytes;
    }

    fn has_room(&mut self, bytes: usize, entries: usize) -> bool {
        let fits = self.shown + bytes <= SHOWN_MAX && entries < LISTED_MAX;
        self.shown += if fits { bytes } else { 0 };
        self.cut |= !fits;
        fits
    }

    /// The line that ends the answer.
    fn end(&mut self, line: &Line<'_>, frame: &Frame<'_>, options: Options) {
        self.last = Some(line.code);
        self.text = shortened(&String::from_utf8_lossy(line.text));
        let flags = line.meta_flags();
        self.flags = letters(flags);
        self.opaque = meta::token(flags, b'O').map(short);
        self.key = meta::token(flags, b'k').map(short);
        let fields = &mut self.fields;
        match line.code {
            code if code.is_error() => fields.push(Field::new("error", Value::Bytes(short(line.text)))),
            Code::Number => fields.push(Field::new("value", decimal(line.word()))),
            Code::Version => {
                let version = line.words.join(&b' ');
                fields.push(Field::new("version", Value::Bytes(version)));
            }
            Code::Me => {
                self.key = Some(short(line.words[0]));
                let pair = |word: &&[u8]| {
                    let at = memchr::memchr(b'=', word).unwrap_or(word.len());
                    let value = word.get(at + 1..).unwrap_or_default();
                    (Value::Bytes(word[..at].to_vec()), decimal(value))
                };
                fields.push(Field::new("status", Value::Bytes(b"ME".to_vec())));
                fields.push(Field::new("key", Value::Bytes(short(line.words[0]))));
                fields.push(Field::new("metadata", Value::Map(line.words[1..].iter().map(pair).collect())));
            }
            Code::Other => fields.push(Field::new("status", Value::Bytes(short(line.text)))),
            _ => fields.push(Field::new("status", Value::Bytes(short(line.word())))),
        }
        if !flags.is_empty() {
            fields.push(Field::new("flags", meta::values(flags, meta::answered, Verb::Unknown)));
        }
        if let Some(bytes) = line.block {
            fields.push(Field::new("bytes", count(bytes)));
            self.bytes = bytes;
            let body = frame.data.get(line.length..).unwrap_or_default();
            let data = request::data(body, bytes, frame, options, &mut self.cut);
            fields.extend(data.map(|data| Field::new("data", Value::Bytes(data.to_vec()))));
        }
    }

    /// The answer as a message; to `ask`, where that is known.
    pub fn half(mut self, ask: Option<&Ask>) -> Half {
        let mut fields = Vec::new();
        let failed = self.last.is_some_and(Code::is_error);
        let retrieved = ask.map_or(self.first == Code::Value, |ask| ask.verb.retrieves());
        let mut summary = self.text.clone();
        if retrieved && !failed {
            summary = self.hits_and_misses(ask, &mut fields);
        }
        if self.first == Code::Value {
            fields.push(Field::new("values", Value::List(std::mem::take(&mut self.listed))));
        } else if !self.listed.is_empty() {
            fields.push(Field::new("lines", Value::List(std::mem::take(&mut self.listed))));
        }
        if !self.statistics.is_empty() {
            fields.push(Field::new("stats", Value::Map(std::mem::take(&mut self.statistics))));
        }
        match self.first {
            Code::Stat if !failed => summary = format!("{} statistics", self.entries),
            Code::Listed if !failed => summary = format!("{} lines", self.entries),
            Code::Va => summary = format!("VA {} bytes{}", self.bytes, self.flags_text()),
            _ => {}
        }
        fields.append(&mut self.fields);
        self.half.message.fields = fields;
        self.half.summary = summary;
        if self.cut {
            self.half.add_cause(Cause::FieldTruncated);
        }
        self.half
    }

    /// Behind `VA size`.
    fn flags_text(&self) -> String {
        let flags: Vec<&str> = self.text.split(' ').filter(|word| !word.is_empty()).skip(2).collect();
        if flags.is_empty() { String::new() } else { format!(" {}", flags.join(" ")) }
    }

    /// Which keys were there and which were not. An answer holds the items in the order of the keys.
    fn hits_and_misses(&self, ask: Option<&Ask>, fields: &mut Vec<Field>) -> String {
        let hits = self.entries;
        fields.push(Field::new("hits", count(hits)));
        let plural = |count: u64| if count == 1 { "" } else { "s" };
        let bytes = self.bytes;
        let Some(ask) = ask.filter(|_| self.last == Some(Code::End)) else {
            return format!("{hits} value{}, {bytes} bytes", plural(hits));
        };
        let missing = (ask.keys_total as u64).saturating_sub(hits);
        if missing > 0 {
            let mut found = self.hits.iter().peekable();
            let misses = ask.keys.iter().filter(|key| found.next_if_eq(key).is_none());
            let misses: Vec<Value> = misses.map(|key| Value::Bytes(key.clone())).collect();
            fields.push(Field::new("misses", Value::List(misses)));
        }
        match (ask.keys_total, hits) {
            (1, 0) => "miss".to_owned(),
            (1, 1) => format!("hit, {bytes} bytes"),
            _ => {
                let misses = if missing == 1 { "1 miss".to_owned() } else { format!("{missing} misses") };
                format!("{hits} hit{}, {misses}, {bytes} bytes", plural(hits))
            }
        }
    }
}
