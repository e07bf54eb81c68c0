//! The head of a message: start line and header lines, and what they say about the body.
//!
//! Written for watching, not for serving: `httparse`, the oracle of the tests, refuses obs-fold in
//! requests and odd names, while a server that refuses such a request answers it, and the answer needs
//! its request. What would make the end of the body a guess is still refused ([`Framing::Faulty`]).

use super::start_line::{self, StartLine};
use crate::protocol::MASKED;
use crate::protocol::secrets::{self, is_secret_name};
use crate::record::Value;
use memchr::{memchr, memchr_iter};

/// Longest head, and longest trailer section, that is waited for. Servers stop at 8 to 64 KiB.
pub(super) const MAX_HEAD: usize = 256 * 1024;

/// Most header lines of one head. Servers stop at 100 or so.
pub(super) const MAX_HEADERS: usize = 1024;

/// How the end of a body is known (RFC 9112, section 6.3), as far as the head alone tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Neither Content-Length nor Transfer-Encoding.
    Unsaid,
    /// Content-Length.
    Length(u64),
    /// Transfer-Encoding that ends with `chunked`.
    Chunked,
    /// Transfer-Encoding that does not: ends with the stream.
    UntilClose,
    /// The head contradicts itself: nobody can tell where the message ends. Says why.
    Faulty(&'static str),
}

/// A parsed head.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) start: StartLine<'a>,
    /// Names with values in order, secrets masked.
    pub(super) headers: Vec<(Value, Value)>,
    pub(super) framing: Framing,
    /// Codings that the body went through, in order: Content-Encoding, then Transfer-Encoding but its
    /// `chunked`. Lower case.
    pub(super) codings: Vec<String>,
    /// Value of the Upgrade header.
    pub(super) upgrade: Option<&'a [u8]>,
    /// The request waits for a 100 (Continue).
    pub(super) expects_continue: bool,
}

/// Bytes of empty lines before a message (RFC 9112, section 2.2).
pub(super) fn empty_lines(data: &[u8]) -> usize {
    let mut at = 0;
    loop {
        match data[at..] {
            [b'\n', ..] => at += 1,
            [b'\r', b'\n', ..] => at += 2,
            _ => return at,
        }
    }
}

/// `line` without the CR before its LF; RFC 9112, section 2.2 lets a lone LF end a line.
pub(super) fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// True for `field-name ":" ...`, as RFC 9112, section 5 wants it.
pub(super) fn is_header_line(line: &[u8]) -> bool {
    memchr(b':', line)
        .is_some_and(|colon| colon > 0 && line[..colon].iter().all(|&b| start_line::is_token(b)))
}

/// Where the section of lines that `data` begins with is over: after its first empty line. `searched`
/// bytes were looked at before.
pub(super) fn section_end(data: &[u8], searched: usize) -> Option<usize> {
    // The line break before the empty line may lie up to two bytes before what is new.
    let from = searched.saturating_sub(2).min(data.len());
    if from == 0 && empty_lines(data) > 0 {
        return Some(if data[0] == b'\n' { 1 } else { 2 });
    }
    memchr_iter(b'\n', &data[from..]).map(|at| from + at).find_map(|at| match data[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Parses a whole head, from its start line to its empty line.
pub(super) fn parse(data: &[u8], show_secrets: bool) -> Result<Head<'_>, String> {
    let line_end = memchr(b'\n', data).ok_or("no line break")?;
    let start = start_line::parse(without_cr(&data[..line_end]))?;
    let fields = fields(&data[line_end + 1..])?;
    let mut facts = Facts::default();
    for field in &fields {
        facts.learn(field);
    }
    let (framing, transfer_codings) = facts.framing();
    let is_request = matches!(start, StartLine::Request { .. });
    let framing = match framing {
        // RFC 9112, section 6.3, item 4: in a request there is no end to wait for.
        Framing::UntilClose if is_request => Framing::Faulty("Transfer-Encoding does not end with chunked"),
        framing => framing,
    };
    let codings = facts.content_codings.into_iter().chain(transfer_codings).collect();
    Ok(Head {
        start,
        headers: fields.into_iter().map(|field| field.into_value(show_secrets)).collect(),
        framing,
        codings,
        upgrade: facts.upgrade,
        expects_continue: facts.expects_continue,
    })
}

/// Parses the trailer section of a chunked body.
pub(super) fn parse_trailers(data: &[u8], show_secrets: bool) -> Result<Vec<(Value, Value)>, String> {
    Ok(fields(data)?.into_iter().map(|field| field.into_value(show_secrets)).collect())
}

/// One header line, with the lines that continue it.
struct HeaderLine<'a> {
    name: &'a [u8],
    value: &'a [u8],
    /// Lines that continue it: obs-fold of RFC 9112, section 5.2.
    folded: Vec<&'a [u8]>,
}

impl HeaderLine<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    fn into_value(self, show_secrets: bool) -> (Value, Value) {
        let name = Value::Bytes(self.name.to_vec());
        if !show_secrets && is_secret_name(self.name) {
            return (name, MASKED);
        }
        let value = self.unfolded();
        let is_url = !show_secrets && secrets::holds_url(self.name);
        (name, Value::Bytes(if is_url { secrets::url(&value) } else { value }))
    }

    /// The value with each obs-fold replaced by one space, as RFC 9112, section 5.2 asks for.
    fn unfolded(&self) -> Vec<u8> {
        let mut value = self.value.to_vec();
        for line in &self.folded {
            value.push(b' ');
            value.extend_from_slice(line);
        }
        value
    }
}

/// Cuts a section into header lines, up to its empty line.
fn fields(data: &[u8]) -> Result<Vec<HeaderLine<'_>>, String> {
    let mut fields: Vec<HeaderLine<'_>> = Vec::new();
    let mut start = 0;
    for end in memchr_iter(b'\n', data) {
        let line = without_cr(&data[start..end]);
        start = end + 1;
        if line.is_empty() {
            break;
        }
        if let (b' ' | b'\t', Some(last)) = (line[0], fields.last_mut()) {
            last.folded.push(line.trim_ascii());
            continue;
        }
        if fields.len() == MAX_HEADERS {
            return Err(format!("more than {MAX_HEADERS} header lines"));
        }
        fields.push(header_line(line));
    }
    Ok(fields)
}

/// A line without a colon is kept as a name without value: it changes nothing of the message's extent.
fn header_line(line: &[u8]) -> HeaderLine<'_> {
    let colon = memchr(b':', line).unwrap_or(line.len());
    let value = line.get(colon + 1..).unwrap_or_default();
    // White space before the colon (RFC 9112, section 5.1 forbids it) is not part of the name.
    HeaderLine { name: line[..colon].trim_ascii(), value: value.trim_ascii(), folded: Vec::new() }
}

/// What the header lines say about the message's extent and coding.
#[derive(Default)]
struct Facts<'a> {
    length: Option<Result<u64, &'static str>>,
    /// Transfer codings in order, where there is a Transfer-Encoding.
    transfer: Option<Vec<String>>,
    content_codings: Vec<String>,
    upgrade: Option<&'a [u8]>,
    expects_continue: bool,
}

impl<'a> Facts<'a> {
    fn learn(&mut self, field: &HeaderLine<'a>) {
        // Lengths first: nearly no header is any of these.
        match field.name.len() {
            6 if field.is("expect") => {
                self.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue")
            }
            7 if field.is("upgrade") => self.upgrade = Some(field.value),
            14 if field.is("content-length") => self.learn_length(&field.unfolded()),
            16 if field.is("content-encoding") => self.content_codings.extend(codings(&field.unfolded())),
            17 if field.is("transfer-encoding") => {
                self.transfer.get_or_insert_default().extend(codings(&field.unfolded()));
            }
            _ => {}
        }
    }

    /// Equal values may repeat, as a list or as several lines (RFC 9110, section 8.6).
    fn learn_length(&mut self, value: &[u8]) {
        for item in value.split(|&byte| byte == b',') {
            let length = decimal(item.trim_ascii()).ok_or("Content-Length is not a number");
            self.length = match self.length {
                Some(Ok(known)) if length != Ok(known) => {
                    Some(length.and(Err("Content-Length values differ")))
                }
                Some(Err(reason)) => Some(Err(reason)),
                _ => Some(length),
            };
        }
    }

    /// The framing, and the transfer codings under `chunked`. Transfer-Encoding overrides Content-Length
    /// (RFC 9112, section 6.3, item 3).
    fn framing(&mut self) -> (Framing, Vec<String>) {
        let Some(mut codings) = self.transfer.take() else {
            let framing = match self.length {
                None => Framing::Unsaid,
                Some(Ok(length)) => Framing::Length(length),
                Some(Err(reason)) => Framing::Faulty(reason),
            };
            return (framing, Vec::new());
        };
        if codings.last().is_some_and(|last| last == "chunked") {
            codings.retain(|coding| coding != "chunked");
            return (Framing::Chunked, codings);
        }
        if codings.is_empty() {
            // Only `identity`, which RFC 2616 knew: as if it were not there.
            return self.framing();
        }
        (Framing::UntilClose, codings)
    }
}

/// The codings of a list, lower case, without `identity`.
pub(in crate::protocol) fn codings(value: &[u8]) -> Vec<String> {
    let items = value.split(|&byte| byte == b',').map(|item| item.trim_ascii().to_ascii_lowercase());
    let items = items.filter(|item| !item.is_empty() && item != b"identity");
    items.map(|item| String::from_utf8_lossy(&item).into_owned()).collect()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| match byte {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}
