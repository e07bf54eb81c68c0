//! gRPC over HTTP/2 (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>): length-prefixed messages, status
//! codes.

use super::protobuf;
use crate::protocol::http1::body::Body;
use crate::record::Value;

/// Compressed-Flag and Message-Length.
const PREFIX: usize = 5;

/// How many messages of one direction of a call are shown; all are counted.
const SHOWN_MAX: usize = 100;

/// The longest message that a stream whose header fields are not known is believed to begin with: what servers and
/// clients accept unless they are told otherwise.
const LIKELY_MAX: u32 = 4 << 20;

/// What the header fields say of the messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Coding {
    /// Messages are protocol buffers.
    pub(super) is_protobuf: bool,
    /// `grpc-encoding`: how messages with the flag are compressed.
    pub(super) encoding: Option<String>,
}

/// True for what the path of a call can be: `/Service-Name/{method name}`.
pub(super) fn is_path(path: &[u8]) -> bool {
    path.strip_prefix(b"/").is_some_and(|rest| rest.contains(&b'/') && !rest.contains(&b'?'))
}

/// True for the content types of gRPC, but not for those of gRPC-Web.
pub(super) fn is_content_type(value: &[u8]) -> bool {
    let rest = value.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// True where messages are protocol buffers, which they are unless the content type says otherwise.
pub(super) fn is_protobuf(content_type: &[u8]) -> bool {
    matches!(content_type.strip_prefix(b"application/grpc"), Some(b"" | b"+proto"))
        || content_type.starts_with(b"application/grpc;")
        || content_type.starts_with(b"application/grpc+proto;")
}

/// True where a body can be one of gRPC by its first bytes; none where they are too few.
pub(super) fn begins(data: &[u8]) -> Option<bool> {
    match data.first_chunk::<PREFIX>() {
        Some([flag, length @ ..]) => Some(*flag <= 1 && u32::from_be_bytes(*length) <= LIKELY_MAX),
        None => data.first().is_some_and(|&flag| flag > 1).then_some(false),
    }
}

/// The messages of one direction of a call.
#[derive(Debug)]
pub(super) struct Messages {
    coding: Coding,
    /// The part of a prefix that came.
    prefix: Vec<u8>,
    /// The message under way.
    open: Option<Open>,
    /// How many came to their end.
    pub(super) count: u64,
    /// Why what follows can't be cut into messages.
    pub(super) fault: Option<&'static str>,
    /// Anything is to be shown.
    shows: bool,
    /// How many bytes may still be kept.
    room: usize,
    shown: Vec<Value>,
    /// Some of a message is not shown.
    pub(super) cut: bool,
    /// Bytes are missing.
    missed: bool,
    /// A message is compressed in a way that is not undone.
    pub(super) unsupported: bool,
}

#[derive(Debug)]
struct Open {
    compressed: bool,
    length: u64,
    left: u64,
    kept: Vec<u8>,
    /// Bytes of it are missing: `kept` ends there.
    missing: bool,
}

impl Messages {
    /// Messages of which `max_field` bytes are shown.
    pub(super) fn new(coding: Coding, max_field: usize) -> Messages {
        Messages {
            coding,
            prefix: Vec::new(),
            open: None,
            count: 0,
            fault: None,
            shows: max_field > 0,
            room: max_field,
            shown: Vec::new(),
            cut: false,
            missed: false,
            unsupported: false,
        }
    }

    /// True where all that came can be cut into messages, of which at least one is whole. `ended`: nothing more will come.
    pub(super) fn add_up(&self, ended: bool) -> bool {
        let inside = self.open.is_some() || !self.prefix.is_empty();
        self.count > 0 && (self.missed || self.fault.is_none() && !(ended && inside))
    }

    /// Takes payload of DATA frames.
    pub(super) fn push(&mut self, mut data: &[u8]) {
        while !data.is_empty() && self.fault.is_none() {
            if let Some(open) = &mut self.open {
                let taken = open.left.min(data.len() as u64) as usize;
                let kept = if open.missing { 0 } else { taken.min(self.room) };
                open.kept.extend_from_slice(&data[..kept]);
                self.cut |= self.shows && kept < taken && !open.missing;
                self.room -= kept;
                open.left -= taken as u64;
                data = &data[taken..];
            } else {
                let taken = (PREFIX - self.prefix.len()).min(data.len());
                self.prefix.extend_from_slice(&data[..taken]);
                data = &data[taken..];
                self.begin();
            }
            self.end_whole();
        }
    }

    /// Counts payload that is missing.
    pub(super) fn miss(&mut self, length: u64) {
        self.missed |= length > 0;
        match &mut self.open {
            Some(open) if length <= open.left => {
                open.left -= length;
                open.missing = true;
                self.end_whole();
            }
            _ if length > 0 => {
                self.end();
                self.fault = Some("where a message begins behind a gap is not known");
            }
            _ => {}
        }
    }

    fn begin(&mut self) {
        let Ok([flag, length @ ..]) = <[u8; PREFIX]>::try_from(self.prefix.as_slice()) else { return };
        self.prefix.clear();
        if flag > 1 {
            self.fault = Some("no message: the flag for compression is neither 0 nor 1");
            return;
        }
        let length = u64::from(u32::from_be_bytes(length));
        self.open =
            Some(Open { compressed: flag == 1, length, left: length, kept: Vec::new(), missing: false });
    }

    fn end_whole(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.left == 0) {
            self.count += 1;
            self.end();
        }
    }

    /// The open message ends with what came of it.
    fn end(&mut self) {
        let Some(open) = self.open.take() else { return };
        if !self.shows || (open.kept.is_empty() && open.length > 0) {
            return;
        }
        if self.shown.len() >= SHOWN_MAX {
            self.cut = true;
            return;
        }
        let text = |text: &'static str| Value::Text(text.into());
        let length = i64::try_from(open.length).unwrap_or(i64::MAX);
        let mut fields = vec![(text("length"), Value::Number(length))];
        if open.compressed {
            fields.push((text("compressed"), Value::Flag(true)));
        }
        let (name, value) = self.content(&open);
        fields.push((text(name), value));
        self.shown.push(Value::Map(fields));
    }

    /// What is shown of a message, and as what.
    fn content(&mut self, open: &Open) -> (&'static str, Value) {
        let mut data = open.kept.clone();
        if open.compressed && !open.kept.is_empty() {
            let coding: Vec<String> = self.coding.encoding.iter().cloned().collect();
            let mut body = Body::new(&coding, self.room.max(open.kept.len()));
            body.push(&data);
            self.unsupported |= coding.is_empty() || body.unsupported.is_some();
            match body.take_shown() {
                Some(shown) if shown.decoded => {
                    self.cut |= shown.cut;
                    data = shown.bytes;
                }
                _ => return ("data", Value::Bytes(data)),
            }
        }
        let message = if self.coding.is_protobuf {
            protobuf::decode(&data)
        } else {
            return ("data", Value::Bytes(data));
        };
        match message.fields.is_empty() && !data.is_empty() {
            true => ("data", Value::Bytes(data)),
            false => ("protobuf", Value::Map(message.fields)),
        }
    }

    /// The end of the stream, or of what came of it: what is shown. True where it lies inside a message.
    pub(super) fn finish(&mut self) -> (Vec<Value>, bool) {
        let inside = self.open.is_some() || !self.prefix.is_empty();
        self.end();
        (std::mem::take(&mut self.shown), inside)
    }
}

/// Name of a status code (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>).
pub(super) fn status_name(code: i64) -> Option<&'static str> {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code).ok().and_then(|code| NAMES.get(code).copied())
}

/// `grpc-message` without its percent-encoding. What is no encoding stays as it is.
pub(super) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let coded = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match coded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                rest = &more[2..];
            }
            _ => {
                decoded.push(byte);
                rest = more;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(max_field: usize, parts: &[&[u8]]) -> Messages {
        let mut messages = Messages::new(Coding { is_protobuf: true, encoding: None }, max_field);
        parts.iter().for_each(|part| messages.push(part));
        messages
    }

    #[test]
    fn messages_are_cut_wherever_frames_are() {
        let stream = b"\0\0\0\0\x02\x08\x01\0\0\0\0\0\0\0\0\0\x02\x08\x02";
        for size in 1..=stream.len() {
            let mut found = messages(100, &stream.chunks(size).collect::<Vec<_>>());
            let (shown, inside) = found.finish();
            assert_eq!((found.count, shown.len(), inside, found.cut), (3, 3, false, false), "{size}");
        }
        let mut cut = messages(100, &[&stream[..6]]);
        assert_eq!((cut.finish().1, cut.count), (true, 0));
    }

    #[test]
    fn what_is_not_shown_is_counted() {
        let mut found = messages(1, &[&b"\0\0\0\0\x02\x08\x01".repeat(3)]);
        assert_eq!((found.finish().0.len(), found.count, found.cut), (1, 3, true));
        let mut found = messages(10_000, &[&b"\0\0\0\0\x02\x08\x01".repeat(SHOWN_MAX + 1)]);
        assert_eq!(
            (found.finish().0.len(), found.count as usize, found.cut),
            (SHOWN_MAX, SHOWN_MAX + 1, true)
        );
    }

    #[test]
    fn a_gap_inside_a_message_leaves_the_next_one_known() {
        let mut found = messages(100, &[b"\0\0\0\0\x08\x08\x01"]);
        found.miss(4);
        found.push(b"xx\0\0\0\0\0");
        assert_eq!((found.count, found.fault), (2, None));
        found.miss(1);
        found.push(b"\0\0\0\0\0");
        assert_eq!((found.count, found.fault.is_some()), (2, true));
    }

    #[test]
    fn messages_of_status_are_percent_decoded() {
        assert_eq!(percent_decoded(b"no %E2%82%AC, 100% sure%2"), "no €, 100% sure%2".as_bytes());
        assert_eq!([status_name(5), status_name(17), status_name(-1)], [Some("NOT_FOUND"), None, None]);
    }

    #[test]
    fn content_types_of_grpc_are_told() {
        let grpc = ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"];
        assert!(grpc.iter().all(|value| is_content_type(value.as_bytes()) && is_protobuf(value.as_bytes())));
        assert!(is_content_type(b"application/grpc+json") && !is_protobuf(b"application/grpc+json"));
        assert!(!is_content_type(b"application/grpc-web") && !is_content_type(b"application/json"));
    }
}
