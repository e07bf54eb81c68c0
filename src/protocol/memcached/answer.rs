//! What servers send: lines, each of which tells by itself what it is, and how long the data block behind it is.
//!
//! Source: memcached, doc/protocol.txt; lines that it does not list (of `stats detail dump`, `lru_crawler metadump` and
//! settings) are those of proto_text.c, crawler.c and stats_prefix.c.

use super::command::{self, KEY_MAX, Read, number};

/// The longest line of a server: log lines of `watch` hold a whole command line.
pub const LINE_MAX: usize = 8192;

/// The largest data block that is believed: items have at most 1 GiB.
const BLOCK_MAX: u64 = 1 << 30;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Code {
    /// `VALUE key flags bytes [cas unique]`, an item with its data.
    Value,
    /// One of the lines of `stats`.
    Stat,
    /// A line of another list: `ITEM`, `PREFIX`, `key=...`, `mg key`.
    Listed,
    /// The end of items or of a list.
    End,
    Stored,
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Touched,
    Reset,
    Ok,
    Version,
    /// The new value of `incr` and `decr`.
    Number,
    /// An item with its data, to a meta command.
    Va,
    Hd,
    En,
    Nf,
    Ns,
    Ex,
    Mn,
    Me,
    Error,
    ClientError,
    ServerError,
    /// A line of `watch`.
    Log,
    /// Another word in capitals, such as `BUSY`, with a text.
    Other,
}

const WORDS: [(&str, Code); 26] = [
    ("VALUE", Code::Value),
    ("STAT", Code::Stat),
    ("ITEM", Code::Listed),
    ("PREFIX", Code::Listed),
    ("END", Code::End),
    ("STORED", Code::Stored),
    ("NOT_STORED", Code::NotStored),
    ("EXISTS", Code::Exists),
    ("NOT_FOUND", Code::NotFound),
    ("DELETED", Code::Deleted),
    ("TOUCHED", Code::Touched),
    ("RESET", Code::Reset),
    ("OK", Code::Ok),
    ("VERSION", Code::Version),
    ("VA", Code::Va),
    ("HD", Code::Hd),
    ("EN", Code::En),
    ("NF", Code::Nf),
    ("NS", Code::Ns),
    ("EX", Code::Ex),
    ("MN", Code::Mn),
    ("ME", Code::Me),
    ("ERROR", Code::Error),
    ("ERROR:", Code::Error),
    ("CLIENT_ERROR", Code::ClientError),
    ("SERVER_ERROR", Code::ServerError),
];

impl Code {
    /// Others of the same answer follow.
    pub fn goes_on(self) -> bool {
        matches!(self, Code::Value | Code::Stat | Code::Listed)
    }

    /// Says that the command failed.
    pub fn is_error(self) -> bool {
        matches!(self, Code::Error | Code::ClientError | Code::ServerError)
    }

    /// An answer to a meta command, which can have flags.
    pub fn is_meta(self) -> bool {
        matches!(self, Code::Va | Code::Hd | Code::En | Code::Nf | Code::Ns | Code::Ex)
    }
}

/// A line of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// What it is.
    pub code: Code,
    /// All of it, without its end.
    pub text: &'a [u8],
    /// The words behind the first one.
    pub words: Vec<&'a [u8]>,
    /// Bytes of the line with its end.
    pub length: usize,
    /// Bytes of the data block, without its line's end; absent where none follows.
    pub block: Option<u64>,
}

impl<'a> Line<'a> {
    /// Bytes of the line with its data block.
    pub fn whole(&self) -> u64 {
        self.length as u64 + self.block.map_or(0, |bytes| bytes + 2)
    }

    /// The first word.
    pub fn word(&self) -> &'a [u8] {
        self.text.split(|&byte| byte == b' ').next().unwrap_or_default()
    }

    /// The flags of an answer to a meta command.
    pub fn meta_flags(&self) -> &[&'a [u8]] {
        match self.code {
            Code::Va => self.words.get(1..).unwrap_or_default(),
            code if code.is_meta() || code == Code::Ok => &self.words,
            _ => &[],
        }
    }
}

/// Reads the line at the front.
pub fn read(data: &[u8]) -> Read<Line<'_>> {
    match command::line(data, LINE_MAX) {
        Read::Line((text, length)) => match parse(text, length) {
            Some(line) => Read::Line(line),
            None => Read::No(length),
        },
        Read::Begun if can_begin(data) => Read::Begun,
        Read::Begun => Read::No(1),
        Read::No(proof) => Read::No(proof),
    }
}

/// Whether bytes without a line's end can begin a line: a word in capitals, a number, a line of a list or a log.
fn can_begin(data: &[u8]) -> bool {
    let word = data.split(|&byte| byte == b' ' || byte == b'\r').next().unwrap_or_default();
    let is_all = word.len() == data.len();
    let is_word = word.iter().all(|&byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b':'));
    let is_number = word.iter().all(u8::is_ascii_digit);
    let is_listed = [&b"key="[..], b"ts=", b"mg"]
        .iter()
        .any(|begin| word.starts_with(begin) || is_all && begin.starts_with(word));
    is_word || is_number || is_listed
}

fn parse(text: &[u8], length: usize) -> Option<Line<'_>> {
    let mut words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let first = words.next()?;
    let words: Vec<&[u8]> = words.collect();
    let known = WORDS.iter().find(|(name, _)| name.as_bytes() == first);
    let code = match known {
        Some(&(_, code)) => code,
        None if number(first).is_some() && words.is_empty() => Code::Number,
        None if first.starts_with(b"key=") => Code::Listed,
        None if first == b"mg" && words.len() == 1 => Code::Listed,
        None if first.starts_with(b"ts=") => Code::Log,
        None if is_status(first) => Code::Other,
        None => return None,
    };
    let size = |at: usize| number(words.get(at)?).filter(|&size| size <= BLOCK_MAX);
    let is_number = |at: usize| words.get(at).is_some_and(|word| number(word).is_some());
    let has_flags = |from: usize| words.iter().skip(from).all(|flag| flag[0].is_ascii_alphabetic());
    let mut block = None;
    let fits = match code {
        Code::Value => {
            block = size(2);
            let is_whole = words.len() == 3 || words.len() == 4 && is_number(3);
            is_whole && words[0].len() <= KEY_MAX && is_number(1) && block.is_some()
        }
        Code::Va => {
            block = size(0);
            block.is_some() && has_flags(1)
        }
        Code::Stat => !words.is_empty(),
        Code::Hd | Code::En | Code::Nf | Code::Ns | Code::Ex | Code::Ok => has_flags(0),
        Code::End
        | Code::Stored
        | Code::NotStored
        | Code::Exists
        | Code::NotFound
        | Code::Deleted
        | Code::Touched
        | Code::Reset
        | Code::Mn => words.is_empty(),
        Code::Version => words.len() <= 2,
        Code::Me => words.len() >= 2,
        _ => true,
    };
    fits.then_some(Line { code, text, words, length, block })
}

/// A word in capitals, such as `BADCLASS` or `WATCHER_TOO_MANY`.
fn is_status(word: &[u8]) -> bool {
    word.len() >= 4 && word.iter().all(|&byte| byte.is_ascii_uppercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: Code, block: Option<u64>) {
        let Read::Line(line) = read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!((line.code, line.block, line.length), (code, block, text.len()), "{text}");
    }

    #[test]
    fn lines_tell_what_they_are() {
        check("VALUE k 0 5\r\n", Code::Value, Some(5));
        check("VALUE k 4294967295 0 18446744073709551615\r\n", Code::Value, Some(0));
        check("VA 12 t-1 Oabc k!? W\r\n", Code::Va, Some(12));
        check("HD\r\n", Code::Hd, None);
        check("EN O5 kabc b\r\n", Code::En, None);
        check("42\r\n", Code::Number, None);
        check("42  \r\n", Code::Number, None);
        check("ERROR\r\n", Code::Error, None);
        check("ERROR: shutdown not enabled\r\n", Code::Error, None);
        check("SERVER_ERROR object too large for cache\r\n", Code::ServerError, None);
        check("STAT version 1.6.18\r\n", Code::Stat, None);
        check("PREFIX a get 1 hit 0 set 1 del 0\r\n", Code::Listed, None);
        check("key=a exp=-1 la=5 cas=1 fetch=no cls=1 size=63\r\n", Code::Listed, None);
        check("ts=1.5 gid=1 type=item_get key=a\r\n", Code::Log, None);
        check("BADCLASS invalid src or dst class id\r\n", Code::Other, None);
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in [
            "VALUE k 0\r\n",
            "VALUE k 0 -1\r\n",
            "VALUE k 0 1073741825\r\n",
            "VALUE k 0 5 x\r\n",
            "VA\r\n",
            "STORED now\r\n",
            "get a\r\n",
            "hello\r\n",
            "\r\n",
            "a\0b\r\n",
        ] {
            assert!(matches!(read(text.as_bytes()), Read::No(_)), "{text}");
        }
        for begun in ["V", "VALUE a", "STORED\r", "12", "k", "key=", "ts=1", "ERROR:"] {
            assert_eq!(read(begun.as_bytes()), Read::Begun, "{begun}");
        }
        assert_eq!(read(b"hello"), Read::No(1));
    }
}
