//! What clients send: command lines, and how long the data block behind them is.
//!
//! Source: memcached, doc/protocol.txt; where it leaves something open, what `process_command_ascii` of proto_text.c does.
//! A line that the server can't read as a storage command has no data block, so what follows is the next command line.

use super::meta;

/// The longest command line but those that name many keys. Servers close the connection at 2048 bytes without a line's end.
pub const LINE_MAX: usize = 4096;

/// The longest line that asks for many keys: servers have no bound of their own.
pub const KEYS_LINE_MAX: usize = 1 << 20;

/// Longest key, in bytes ("Keys").
pub const KEY_MAX: usize = 250;

/// The largest data block that a server believes: INT_MAX less the line's end.
const BLOCK_MAX: u64 = i32::MAX as u64 - 2;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Get,
    Gets,
    Gat,
    Gats,
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
    Delete,
    Incr,
    Decr,
    Touch,
    FlushAll,
    Stats,
    Version,
    Verbosity,
    Quit,
    Shutdown,
    Watch,
    LruCrawler,
    /// slabs, lru and other settings, all answered by one line.
    Admin,
    MetaGet,
    MetaSet,
    MetaDelete,
    MetaArithmetic,
    MetaNoop,
    MetaDebug,
    /// No command of memcached.
    Unknown,
}

const VERBS: [(&str, Verb); 36] = [
    ("get", Verb::Get),
    // An old name, undocumented.
    ("bget", Verb::Get),
    ("gets", Verb::Gets),
    ("gat", Verb::Gat),
    ("gats", Verb::Gats),
    ("set", Verb::Set),
    ("add", Verb::Add),
    ("replace", Verb::Replace),
    ("append", Verb::Append),
    ("prepend", Verb::Prepend),
    ("cas", Verb::Cas),
    ("delete", Verb::Delete),
    ("incr", Verb::Incr),
    ("decr", Verb::Decr),
    ("touch", Verb::Touch),
    ("flush_all", Verb::FlushAll),
    ("stats", Verb::Stats),
    ("version", Verb::Version),
    ("verbosity", Verb::Verbosity),
    ("quit", Verb::Quit),
    ("shutdown", Verb::Shutdown),
    ("watch", Verb::Watch),
    ("lru_crawler", Verb::LruCrawler),
    ("slabs", Verb::Admin),
    ("lru", Verb::Admin),
    ("cache_memlimit", Verb::Admin),
    ("extstore", Verb::Admin),
    ("refresh_certs", Verb::Admin),
    ("misbehave", Verb::Admin),
    ("debugtime", Verb::Admin),
    ("mg", Verb::MetaGet),
    ("ms", Verb::MetaSet),
    ("md", Verb::MetaDelete),
    ("ma", Verb::MetaArithmetic),
    ("mn", Verb::MetaNoop),
    ("me", Verb::MetaDebug),
];

impl Verb {
    fn of(word: &[u8]) -> Verb {
        let known = VERBS.iter().find(|(name, _)| name.as_bytes() == word);
        known.map_or(Verb::Unknown, |&(_, verb)| verb)
    }

    /// Asks for one item or several.
    pub fn retrieves(self) -> bool {
        matches!(self, Verb::Get | Verb::Gets | Verb::Gat | Verb::Gats)
    }

    /// A data block follows its line, of a classic command.
    pub fn stores(self) -> bool {
        matches!(self, Verb::Set | Verb::Add | Verb::Replace | Verb::Append | Verb::Prepend | Verb::Cas)
    }

    /// A meta command.
    pub fn is_meta(self) -> bool {
        matches!(
            self,
            Verb::MetaGet
                | Verb::MetaSet
                | Verb::MetaDelete
                | Verb::MetaArithmetic
                | Verb::MetaNoop
                | Verb::MetaDebug
        )
    }

    /// How many of the words that follow it are keys, from which on.
    fn keys_from(self) -> usize {
        usize::from(matches!(self, Verb::Gat | Verb::Gats))
    }

    /// Takes `noreply` as the last of its words.
    fn takes_noreply(self) -> bool {
        self.stores()
            || matches!(
                self,
                Verb::Delete
                    | Verb::Incr
                    | Verb::Decr
                    | Verb::Touch
                    | Verb::FlushAll
                    | Verb::Verbosity
                    | Verb::Admin
            )
    }
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The command.
    pub verb: Verb,
    /// As it is written.
    pub name: &'a [u8],
    /// The words behind it.
    pub words: Vec<&'a [u8]>,
    /// Bytes of the line with its end.
    pub length: usize,
    /// Bytes of the data block, without its line's end; absent where none follows.
    pub block: Option<u64>,
    /// No answer comes.
    pub noreply: bool,
    /// The server refuses it, as far as the line tells.
    pub malformed: bool,
}

impl<'a> Command<'a> {
    /// Bytes of the whole command.
    pub fn whole(&self) -> u64 {
        self.length as u64 + self.block.map_or(0, |bytes| bytes + 2)
    }

    /// The keys that it names.
    pub fn keys(&self) -> &[&'a [u8]] {
        match self.verb {
            verb if verb.retrieves() => self.words.get(verb.keys_from()..).unwrap_or_default(),
            verb if verb.stores() || verb.is_meta() => &self.words[..self.words.len().min(1)],
            Verb::Delete | Verb::Incr | Verb::Decr | Verb::Touch => &self.words[..self.words.len().min(1)],
            _ => &[],
        }
    }

    /// The flags of a meta command, each a letter with its token.
    pub fn meta_flags(&self) -> &[&'a [u8]] {
        match self.verb {
            Verb::MetaSet => self.words.get(2..).unwrap_or_default(),
            verb if verb.is_meta() => self.words.get(1..).unwrap_or_default(),
            _ => &[],
        }
    }

    /// Its nominal answer is left out (flag `q`).
    pub fn is_quiet(&self) -> bool {
        self.meta_flags().iter().any(|flag| flag.first() == Some(&b'q'))
            && !matches!(self.verb, Verb::MetaNoop | Verb::MetaDebug)
    }
}

/// What the front of some bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// A line.
    Line(T),
    /// The beginning of one.
    Begun,
    /// None, and up to where that is proven.
    No(usize),
}

/// The text of the line at the front, and its length with its end. Lines are text without control characters; they end
/// with CR LF, and servers take a lone LF.
pub fn line(data: &[u8], longest: usize) -> Read<(&[u8], usize)> {
    let window = &data[..data.len().min(longest)];
    let end = memchr::memchr(b'\n', window);
    let text = match end {
        Some(end) => window[..end].strip_suffix(b"\r").unwrap_or(&window[..end]),
        None => window.strip_suffix(b"\r").unwrap_or(window),
    };
    if let Some(at) = text.iter().position(u8::is_ascii_control) {
        return Read::No(at + 1);
    }
    match end {
        Some(end) => Read::Line((text, end + 1)),
        None if window.len() < longest => Read::Begun,
        None => Read::No(longest),
    }
}

/// Reads the command line at the front.
pub fn read(data: &[u8]) -> Read<Command<'_>> {
    let asks_for_many = [&b"get "[..], b"gets ", b"gat ", b"gats "].iter().any(|verb| data.starts_with(verb));
    let longest = if asks_for_many { KEYS_LINE_MAX } else { LINE_MAX };
    match line(data, longest) {
        Read::Line((text, length)) => Read::Line(parse(text, length)),
        Read::Begun => Read::Begun,
        Read::No(proof) => Read::No(proof),
    }
}

/// Whether a word is a command of memcached.
pub fn is_known(word: &[u8]) -> bool {
    Verb::of(word) != Verb::Unknown
}

/// Whether bytes without a line's end can be the beginning of a command of memcached.
pub fn can_begin(data: &[u8]) -> bool {
    let word = data.split(|&byte| byte == b' ' || byte == b'\r').next().unwrap_or_default();
    let is_all = word.len() == data.len();
    VERBS
        .iter()
        .any(|(name, _)| if is_all { name.as_bytes().starts_with(word) } else { name.as_bytes() == word })
}

fn parse(text: &[u8], length: usize) -> Command<'_> {
    let mut words: Vec<&[u8]> = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).collect();
    let name = if words.is_empty() { &text[..0] } else { words.remove(0) };
    let verb = Verb::of(name);
    let noreply = verb.takes_noreply() && words.last() == Some(&&b"noreply"[..]);
    let mut command = Command { verb, name, words, length, block: None, noreply, malformed: false };
    let arguments = command.words.len() - usize::from(noreply);
    command.block = block(&command);
    command.malformed = !is_well_formed(&command, arguments);
    command
}

/// How long the data block is that the server reads behind the line.
fn block(command: &Command<'_>) -> Option<u64> {
    let words = &command.words;
    if words.first().is_none_or(|key| key.len() > KEY_MAX) {
        return None;
    }
    let size = |word: &[u8]| number(word).filter(|&size| size <= BLOCK_MAX);
    match command.verb {
        Verb::MetaSet => size(words.get(1)?),
        Verb::Cas if matches!(words.len(), 5 | 6) => {
            number(words[4])?;
            number(words[1]).and(signed(words[2])).and(size(words[3]))
        }
        verb if verb.stores() && verb != Verb::Cas && matches!(words.len(), 4 | 5) => {
            number(words[1]).and(signed(words[2])).and(size(words[3]))
        }
        _ => None,
    }
}

/// Whether the server takes a line, as far as its form tells; `arguments` counts its words without `noreply`.
fn is_well_formed(command: &Command<'_>, arguments: usize) -> bool {
    let words = &command.words;
    let is_number = |at: usize| words.get(at).is_some_and(|word| number(word).is_some());
    let is_signed = |at: usize| words.get(at).is_some_and(|word| signed(word).is_some());
    let keys = command.keys();
    let keys_fit = keys.iter().all(|key| key.len() <= KEY_MAX);
    keys_fit
        && match command.verb {
            Verb::Get | Verb::Gets => !keys.is_empty(),
            Verb::Gat | Verb::Gats => !keys.is_empty() && is_signed(0),
            verb if verb.stores() => command.block.is_some(),
            Verb::Delete => arguments == 1 || arguments == 2 && words[1] == b"0",
            Verb::Incr | Verb::Decr => arguments == 2 && is_number(1),
            Verb::Touch => arguments == 2 && is_signed(1),
            Verb::FlushAll => arguments == 0 || arguments == 1 && is_signed(0),
            Verb::Verbosity => arguments >= 1 && is_number(0),
            // Words behind them are passed over, or are answered by each in its own way.
            Verb::Version | Verb::Quit | Verb::MetaNoop | Verb::Stats => true,
            Verb::Shutdown | Verb::Watch | Verb::LruCrawler | Verb::Admin => true,
            Verb::MetaSet => command.block.is_some() && meta::are_flags(command.meta_flags()),
            Verb::MetaGet | Verb::MetaDelete | Verb::MetaArithmetic | Verb::MetaDebug => {
                arguments >= 1 && meta::are_flags(command.meta_flags())
            }
            _ => false,
        }
}

/// An unsigned decimal number of 64 bits.
pub fn number(word: &[u8]) -> Option<u64> {
    let is_digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    if !is_digits { None } else { std::str::from_utf8(word).ok()?.parse().ok() }
}

/// A decimal number with or without a sign.
pub fn signed(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command<'_> {
        match read(text.as_bytes()) {
            Read::Line(command) => command,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn data_blocks_follow_the_lines_that_the_server_takes() {
        for (line, block) in [
            ("set k 0 0 5\r\n", Some(5)),
            ("set k 4294967295 -1 0 noreply\r\n", Some(0)),
            ("  add  k 1 2   3 \n", Some(3)),
            ("cas k 0 0 7 18446744073709551615\r\n", Some(7)),
            ("cas k 0 0 7 9 noreply\r\n", Some(7)),
            ("ms k 4\r\n", Some(4)),
            ("ms k 4 Zbad T0\r\n", Some(4)),
            ("cas k 0 0 7\r\n", None),
            ("set k 0 0 -5\r\n", None),
            ("set k x 0 5\r\n", None),
            ("set k 0 0 5 6 7\r\n", None),
            ("set k 0 0 2147483646\r\n", None),
            ("ms k S4\r\n", None),
            ("get k 0 0 5\r\n", None),
        ] {
            let command = command(line);
            assert_eq!(command.block, block, "{line}");
            assert_eq!(command.length, line.len());
        }
        let long = "k".repeat(251);
        assert_eq!(command(&format!("set {long} 0 0 5\r\n")).block, None);
        assert_eq!(command(&format!("set {} 0 0 5\r\n", &long[1..])).block, Some(5));
    }

    #[test]
    fn noreply_is_a_word_of_some_commands_and_a_key_of_others() {
        for line in [
            "delete k noreply\r\n",
            "incr k 1 noreply\r\n",
            "flush_all noreply\r\n",
            "verbosity 1 noreply\r\n",
        ] {
            assert!(command(line).noreply && !command(line).malformed, "{line}");
        }
        let get = command("get noreply\r\n");
        assert_eq!((get.noreply, get.keys()), (false, &[&b"noreply"[..]][..]));
        assert!(!command("version noreply\r\n").noreply);
    }

    #[test]
    fn keys_are_where_the_command_has_them() {
        assert_eq!(command("gat 100 a b\r\n").keys(), [b"a", b"b"]);
        assert_eq!(command("mg a v\r\n").keys(), [b"a"]);
        assert_eq!(command("stats items\r\n").keys(), [b""; 0]);
    }

    #[test]
    fn what_the_server_refuses_is_malformed() {
        for line in [
            "get\r\n",
            "gat x a\r\n",
            "incr a -1\r\n",
            "incr a\r\n",
            "touch a\r\n",
            "mg a v v\r\n",
            "mg\r\n",
            "GET a\r\n",
            "\r\n",
            "delete a 5\r\n",
        ] {
            assert!(command(line).malformed, "{line}");
        }
        for line in
            ["get a\r\n", "delete a 0\r\n", "mg a v k Oabc q\r\n", "mn\r\n", "stats\r\n", "touch a -1\r\n"]
        {
            assert!(!command(line).malformed, "{line}");
        }
    }

    #[test]
    fn lines_are_text_and_bounded() {
        assert_eq!(read(b"get a\x01b\r\n"), Read::No(6));
        assert_eq!(read(b"get a"), Read::Begun);
        assert_eq!(read(&[b'x'; LINE_MAX]), Read::No(LINE_MAX));
        let many = format!("get {}", "key ".repeat(LINE_MAX));
        assert_eq!(read(many.as_bytes()), Read::Begun);
        assert_eq!(command(&format!("{many}\r\n")).keys().len(), LINE_MAX);
        assert!(can_begin(b"ge") && can_begin(b"mg a") && !can_begin(b"GE") && !can_begin(b"getx a"));
    }
}
