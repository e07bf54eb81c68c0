//! Control lines: which operation they are, and what their words mean.
//!
//! Source: NATS documentation, "Client Protocol" (<https://docs.nats.io/reference/reference-protocols/nats-protocol>),
//! and ADR-4 for headers. Operations are written in any case, words are parted by blanks and tabs, and a line ends with
//! CR LF (servers take a lone LF as well).

/// The longest control line that is looked at. Servers take 4 KiB unless told otherwise; INFO and CONNECT can be longer.
pub const LINE_MAX: usize = 64 << 10;

/// The largest payload that is believed: servers allow 64 MiB at most.
const PAYLOAD_MAX: u64 = 64 << 20;

/// Who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A client.
    Client,
    /// A server.
    Server,
}

impl Side {
    /// Both.
    pub const BOTH: [Side; 2] = [Side::Client, Side::Server];
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Op {
    Info,
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Msg,
    Hmsg,
    Ping,
    Pong,
    Ok,
    Err,
}

impl Op {
    /// All.
    pub const ALL: [Op; 12] = [
        Op::Info,
        Op::Connect,
        Op::Pub,
        Op::Hpub,
        Op::Sub,
        Op::Unsub,
        Op::Msg,
        Op::Hmsg,
        Op::Ping,
        Op::Pong,
        Op::Ok,
        Op::Err,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Op::Info => "INFO",
            Op::Connect => "CONNECT",
            Op::Pub => "PUB",
            Op::Hpub => "HPUB",
            Op::Sub => "SUB",
            Op::Unsub => "UNSUB",
            Op::Msg => "MSG",
            Op::Hmsg => "HMSG",
            Op::Ping => "PING",
            Op::Pong => "PONG",
            Op::Ok => "+OK",
            Op::Err => "-ERR",
        }
    }

    /// Whether this side sends it.
    pub fn is_of(self, side: Side) -> bool {
        match self {
            Op::Ping | Op::Pong => true,
            Op::Connect | Op::Pub | Op::Hpub | Op::Sub | Op::Unsub => side == Side::Client,
            Op::Info | Op::Msg | Op::Hmsg | Op::Ok | Op::Err => side == Side::Server,
        }
    }
}

/// A control line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The operation.
    pub op: Op,
    /// What follows it, without blanks around.
    pub rest: &'a [u8],
    /// Bytes of the line with its end.
    pub length: usize,
    /// What the words say, for operations that have some.
    pub words: Words<'a>,
}

/// The words of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words<'a> {
    /// Where a message goes.
    pub subject: Option<&'a [u8]>,
    /// Where an answer to it should go.
    pub reply: Option<&'a [u8]>,
    /// The subscription.
    pub sid: Option<&'a [u8]>,
    /// The group that shares a subscription.
    pub queue: Option<&'a [u8]>,
    /// After how many messages a subscription ends.
    pub max: Option<u64>,
    /// Bytes of headers.
    pub header: u64,
    /// Bytes of headers and payload; absent where none follow the line.
    pub total: Option<u64>,
}

impl Line<'_> {
    /// Bytes of the whole message.
    pub fn whole(&self) -> u64 {
        self.length as u64 + self.words.total.map_or(0, |total| total + 2)
    }
}

/// What the front of some bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// A control line.
    Line(Line<'a>),
    /// The beginning of one.
    Begun,
    /// None, and up to where that is proven.
    No(usize),
}

/// Reads a control line of one side.
pub fn read(side: Side, data: &[u8]) -> Read<'_> {
    let window = &data[..data.len().min(LINE_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < LINE_MAX && can_begin(side, window) { Read::Begun } else { Read::No(1) };
    };
    let text = window[..end].strip_suffix(b"\r").unwrap_or(&window[..end]);
    match parse(side, text, end + 1) {
        Some(line) => Read::Line(line),
        None => Read::No(end + 1),
    }
}

/// Whether bytes without a line's end can be the beginning of an operation.
fn can_begin(side: Side, data: &[u8]) -> bool {
    let word = data.split(|byte| b" \t\r".contains(byte)).next().unwrap_or_default();
    let is_all = word.len() == data.len();
    Op::ALL.into_iter().filter(|op| op.is_of(side)).any(|op| {
        let name = op.name().as_bytes();
        let begins = name.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word));
        begins && (is_all || word.len() == name.len())
    })
}

fn parse(side: Side, text: &[u8], length: usize) -> Option<Line<'_>> {
    let split = text.iter().position(|byte| b" \t".contains(byte)).unwrap_or(text.len());
    let (word, rest) = text.split_at(split);
    let op = Op::ALL.into_iter().find(|op| op.name().as_bytes().eq_ignore_ascii_case(word))?;
    if !op.is_of(side) {
        return None;
    }
    let rest = rest.trim_ascii();
    let words: Vec<&[u8]> =
        rest.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty()).collect();
    let words = match (op, words.as_slice()) {
        (Op::Info | Op::Connect, _) => {
            (rest.first() == Some(&b'{') && rest.last() == Some(&b'}')).then(Words::default)?
        }
        (Op::Ping | Op::Pong | Op::Ok, []) => Words::default(),
        (Op::Err, _) => Words::default(),
        (Op::Pub, [subject, reply @ .., total]) => {
            Words { subject: subject_of(subject), reply: one(reply)?, total: size(total), ..Words::default() }
        }
        (Op::Hpub, [subject, reply @ .., header, total]) => Words {
            subject: subject_of(subject),
            reply: one(reply)?,
            header: size(header)?,
            total: size(total),
            ..Words::default()
        },
        (Op::Sub, [subject, queue @ .., sid]) => {
            Words { subject: subject_of(subject), queue: one(queue)?, sid: Some(sid), ..Words::default() }
        }
        (Op::Unsub, [sid]) => Words { sid: Some(sid), ..Words::default() },
        (Op::Unsub, [sid, max]) => Words { sid: Some(sid), max: Some(number(max)?), ..Words::default() },
        (Op::Msg, [subject, sid, reply @ .., total]) => Words {
            subject: subject_of(subject),
            sid: Some(sid),
            reply: one(reply)?,
            total: size(total),
            ..Words::default()
        },
        (Op::Hmsg, [subject, sid, reply @ .., header, total]) => Words {
            subject: subject_of(subject),
            sid: Some(sid),
            reply: one(reply)?,
            header: size(header)?,
            total: size(total),
            ..Words::default()
        },
        _ => return None,
    };
    let has_payload = matches!(op, Op::Pub | Op::Hpub | Op::Msg | Op::Hmsg);
    let has_subject = has_payload || op == Op::Sub;
    let fits = (!has_payload || words.total.is_some_and(|total| words.header <= total))
        && (!has_subject || words.subject.is_some());
    fits.then_some(Line { op, rest, length, words })
}

/// At most one word more.
fn one<'a>(words: &[&'a [u8]]) -> Option<Option<&'a [u8]>> {
    match words {
        [] => Some(None),
        [word] => Some(Some(word)),
        _ => None,
    }
}

fn subject_of(word: &[u8]) -> Option<&[u8]> {
    word.iter().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii()).then_some(word)
}

fn size(word: &[u8]) -> Option<u64> {
    number(word).filter(|&size| size <= PAYLOAD_MAX)
}

fn number(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.len() <= 18 && word.iter().all(u8::is_ascii_digit);
    digits.then(|| word.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn words(side: Side, line: &str) -> (Op, [Option<String>; 4], Option<u64>, u64, Option<u64>) {
        let Read::Line(line) = read(side, line.as_bytes()) else { panic!("{line}") };
        let text = |word: Option<&[u8]>| word.map(|word| String::from_utf8_lossy(word).into_owned());
        let Words { subject, reply, sid, queue, max, header, total } = line.words;
        (line.op, [text(subject), text(reply), text(sid), text(queue)], max, header, total)
    }

    #[test]
    fn words_mean_what_their_place_says() {
        let some = |text: &str| Some(text.to_owned());
        let (client, server) = (Side::Client, Side::Server);
        assert_eq!(words(client, "PUB a 5\r\n"), (Op::Pub, [some("a"), None, None, None], None, 0, Some(5)));
        assert_eq!(
            words(client, "hpub\ta  r 22 33\r\n"),
            (Op::Hpub, [some("a"), some("r"), None, None], None, 22, Some(33))
        );
        assert_eq!(
            words(client, "SUB a.* q 9\n"),
            (Op::Sub, [some("a.*"), None, some("9"), some("q")], None, 0, None)
        );
        assert_eq!(
            words(client, "UNSUB 9 3\r\n"),
            (Op::Unsub, [None, None, some("9"), None], Some(3), 0, None)
        );
        assert_eq!(
            words(server, "MSG a 9 r 0\r\n"),
            (Op::Msg, [some("a"), some("r"), some("9"), None], None, 0, Some(0))
        );
        assert_eq!(
            words(server, "HMSG a 9 12 12\r\n"),
            (Op::Hmsg, [some("a"), None, some("9"), None], None, 12, Some(12))
        );
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for line in [
            "DEADBEEF\r\n",
            "PUB a\r\n",
            "PUB a -1\r\n",
            "PUB a b c 1\r\n",
            "HPUB a 9 8\r\n",
            "PUB a 99999999999\r\n",
            "PING x\r\n",
            "CONNECT x\r\n",
            "MSG a 1 5\r\n",
        ] {
            assert!(matches!(read(Side::Client, line.as_bytes()), Read::No(_)), "{line}");
        }
        for begun in ["", "P", "PUB", "hpub a", "CONNECT {"] {
            assert_eq!(read(Side::Client, begun.as_bytes()), Read::Begun, "{begun}");
        }
        assert_eq!(read(Side::Client, b"PUBX"), Read::No(1));
    }
}
