//! Commands as messages: their fields, their summary, and what tells their answers.

use super::command::{Command, Verb, number, signed};
use super::meta;
use crate::event::Cause;
use crate::protocol::exchange::Half;
use crate::protocol::framed::Frame;
use crate::protocol::{MASK, Options};
use crate::record::{Field, Value};

/// How many keys of one command are kept, and how many bytes of them.
const KEYS_MAX: usize = 256;
const KEYS_BYTES: usize = 16 << 10;

/// How many bytes of a word, and of a line that is no command, are kept.
const WORD_MAX: usize = 512;

/// How much of a line a summary shows, in characters.
const SUMMARY_MAX: usize = 160;

/// What a command tells of its answer.
#[derive(Clone, Debug)]
pub struct Ask {
    pub verb: Verb,
    /// The nominal answer is left out.
    pub quiet: bool,
    /// The server refuses it.
    pub malformed: bool,
    /// Its keys, as many as are kept, and how many there are.
    pub keys: Vec<Vec<u8>>,
    pub keys_total: usize,
    /// The flags of a meta command, a bit for each letter.
    pub flags: u128,
    pub opaque: Option<Vec<u8>>,
}

impl Ask {
    /// Reads it off a command. `malformed` where its data block does not end as it should.
    pub fn new(command: &Command<'_>, malformed: bool) -> Ask {
        let keys = command.keys();
        let mut bytes = 0;
        let kept = keys.iter().take(KEYS_MAX).take_while(|key| {
            bytes += key.len();
            bytes <= KEYS_BYTES
        });
        let flags = command.meta_flags();
        Ask {
            verb: command.verb,
            quiet: command.is_quiet(),
            malformed: malformed || command.malformed,
            keys: kept.map(|key| key.to_vec()).collect(),
            keys_total: keys.len(),
            flags: letters(flags),
            opaque: meta::token(flags, b'O').map(|token| token[..token.len().min(WORD_MAX)].to_vec()),
        }
    }

    /// Whether a flag was given.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & 1 << (flag & 0x7f) != 0
    }

    /// Whether all its keys are kept.
    pub fn keeps_all(&self) -> bool {
        self.keys.len() == self.keys_total
    }
}

/// The letters of flags, a bit for each.
pub fn letters(flags: &[&[u8]]) -> u128 {
    let first = flags.iter().filter_map(|flag| flag.first()).filter(|letter| letter.is_ascii_alphabetic());
    first.fold(0, |bits, letter| bits | 1 << letter)
}

/// A command as a message. `credentials`: what it stores can be a name and a password ("Authentication").
pub fn half(command: &Command<'_>, frame: &Frame<'_>, options: Options, credentials: bool) -> Half {
    let ask = Ask::new(command, false);
    let mut cut = !ask.keeps_all();
    let mut fields = vec![Field::new("command", Value::Bytes(short(command.name)))];
    keys(command, &ask, &mut fields);
    arguments(command, &mut fields);
    if command.noreply {
        fields.push(Field::new("noreply", Value::Flag(true)));
    }
    let flags = command.meta_flags();
    if command.verb.is_meta() && !flags.is_empty() {
        let name = |flag| meta::asked(command.verb, flag);
        fields.push(Field::new("flags", meta::values(flags, name, command.verb)));
    }
    if let Some(bytes) = command.block {
        fields.push(Field::new("bytes", count(bytes)));
        let body = frame.data.get(command.length..).unwrap_or_default();
        let data = data(body, bytes, frame, options, &mut cut);
        if let Some(data) = data {
            let masked = if credentials && !options.show_secrets { without_password(data) } else { None };
            let shown = masked.unwrap_or_else(|| data.to_vec());
            fields.push(Field::new("data", Value::Bytes(shown)));
        }
    }
    let mut half = Half::new(frame.direction, frame.range, frame.times, summary(command), fields);
    frame.causes.iter().for_each(|&cause| half.add_cause(cause));
    if cut {
        half.add_cause(Cause::FieldTruncated);
    }
    half
}

/// What is to be shown of a data block that begins `body`, if anything.
pub fn data<'a>(
    body: &'a [u8],
    bytes: u64,
    frame: &Frame<'_>,
    options: Options,
    cut: &mut bool,
) -> Option<&'a [u8]> {
    if options.max_field == 0 || bytes == 0 {
        return None;
    }
    let size = usize::try_from(bytes).unwrap_or(usize::MAX);
    let kept = size.min(options.max_field).min(body.len());
    *cut |= kept < size && !frame.is_cut();
    Some(&body[..kept])
}

/// `name ***` for what looks like a name and a password.
fn without_password(data: &[u8]) -> Option<Vec<u8>> {
    let mut words = data.split(|&byte| byte == b' ');
    let (name, password) = (words.next()?, words.next()?);
    let is_word = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_graphic);
    (is_word(name) && is_word(password) && words.next().is_none())
        .then(|| [name, b" ", MASK.as_bytes()].concat())
}

fn keys(command: &Command<'_>, ask: &Ask, fields: &mut Vec<Field>) {
    let bytes = |key: &Vec<u8>| Value::Bytes(key.clone());
    match ask.keys.as_slice() {
        [] => {}
        [key] if ask.keys_total == 1 => {
            fields.push(Field::new("key", bytes(key)));
            if ask.has(b'b') {
                fields.extend(meta::decoded(key).map(|key| Field::new("key_decoded", Value::Bytes(key))));
            }
        }
        keys => {
            fields.push(Field::new("keys", Value::List(keys.iter().map(bytes).collect())));
            fields.push(Field::new("key_count", count(command.keys().len() as u64)));
        }
    }
}

/// The words of classic commands, by the names that protocol.txt has for them.
fn arguments(command: &Command<'_>, fields: &mut Vec<Field>) {
    let names: &[&'static str] = match command.verb {
        Verb::Gat | Verb::Gats => &["exptime"],
        Verb::Cas => &["", "flags", "exptime", "", "cas_unique"],
        verb if verb.stores() => &["", "flags", "exptime"],
        Verb::Incr | Verb::Decr => &["", "value"],
        Verb::Touch => &["", "exptime"],
        Verb::FlushAll if !command.noreply || command.words.len() > 1 => &["delay"],
        Verb::Verbosity => &["level"],
        Verb::Unknown => &[],
        verb if verb.is_meta() || verb.retrieves() => &[],
        _ => {
            let words = command.words.len() - usize::from(command.noreply);
            if words > 0 {
                let words =
                    command.words[..words].iter().take(KEYS_MAX).map(|word| Value::Bytes(short(word)));
                fields.push(Field::new("arguments", Value::List(words.collect())));
            }
            return;
        }
    };
    for (name, word) in names.iter().zip(&command.words).filter(|(name, _)| !name.is_empty()) {
        fields.push(Field::new(*name, decimal(word)));
    }
}

/// A number as one, where it fits; what does not, as it is written.
pub fn decimal(word: &[u8]) -> Value {
    match signed(word) {
        Some(value) => Value::Number(value),
        None if number(word).is_some() => Value::Text(String::from_utf8_lossy(word).into_owned().into()),
        None => Value::Bytes(short(word)),
    }
}

/// A count as a value.
pub fn count(value: u64) -> Value {
    Value::Number(i64::try_from(value).unwrap_or(i64::MAX))
}

/// As much of a word as is kept.
pub fn short(word: &[u8]) -> Vec<u8> {
    word[..word.len().min(WORD_MAX)].to_vec()
}

fn summary(command: &Command<'_>) -> String {
    if command.verb == Verb::Unknown && command.name.is_empty() {
        return "an empty line".to_owned();
    }
    let mut words: Vec<&[u8]> = vec![command.name];
    // Two words are a summary's end at the latest where each is as long as a key may be.
    words.extend(command.words.iter().take(SUMMARY_MAX / 2));
    let text = |words: &[&[u8]]| {
        let words: Vec<_> =
            words.iter().map(|word| String::from_utf8_lossy(&word[..word.len().min(WORD_MAX)])).collect();
        shortened(&words.join(" "))
    };
    let Some(bytes) = command.block else { return text(&words) };
    let mut summary = format!("{} {bytes} bytes", text(&words[..2]));
    let rest = match command.verb {
        Verb::MetaSet => words.get(3..).unwrap_or_default(),
        _ if command.noreply => &[&b"noreply"[..]],
        _ => &[],
    };
    if !rest.is_empty() {
        summary.push(' ');
        summary.push_str(&text(rest));
    }
    summary
}

/// At most [`SUMMARY_MAX`] characters.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SUMMARY_MAX) {
        Some((at, _)) => format!("{}\u{2026}", &text[..at]),
        None => text.to_owned(),
    }
}
