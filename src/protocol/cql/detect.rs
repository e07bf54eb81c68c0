//! Knows CQL by its content, and where in a damaged stream the next message begins.

use super::Framing;
use super::envelope::{Front, HEADER, Header, Opcode};
use super::request;
use super::response;
use super::segment::{Format, HEADER_MAX, Segment};
use super::show::Shown;
use super::statement::Statements;
use crate::protocol::cursor::Cursor;
use crate::protocol::{Options, Resync, Sample, Verdict};

/// How many bytes are looked at to judge a connection.
const WINDOW: usize = 16 << 10;

/// How sure a message must make where it does not begin with a call or packet.
const SURE: u8 = 95;

/// How sure the beginning of a message makes.
const BEGUN: u8 = 85;

/// What some bytes are, taken for the beginning of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    No,
    /// Too few bytes to say more.
    Short,
    /// The beginning of a message: how sure that is.
    Begun(u8),
    /// A whole message: how sure, and where it ends.
    Whole(u8, usize),
}

fn look(data: &[u8], formats: &[Format], framing: Framing, from_client: Option<bool>) -> Look {
    if let Some(segment) = Segment::read(data, formats) {
        return in_segment(&segment, data);
    }
    let could_be_segment = !formats.is_empty() && data.len() < HEADER_MAX;
    if matches!(framing, Framing::Segments(_)) || !Header::is_possible(data) {
        // Four bytes that begin no envelope are hardly worth waiting for more, unless segments are expected.
        let is_expected = matches!(framing, Framing::Segments(_));
        return if could_be_segment && is_expected { Look::Short } else { Look::No };
    }
    match Header::read(data) {
        None => Look::Short,
        Some(header) if from_client.is_some_and(|from_client| from_client != header.from_client) => Look::No,
        Some(header) => envelope(&header, &data[HEADER..]),
    }
}

fn in_segment(segment: &Segment, data: &[u8]) -> Look {
    let Some(bytes) = data.get(..segment.whole()) else {
        let payload = data.get(segment.header()..).unwrap_or_default();
        let is_envelope = segment.inflated > 0 || Header::is_possible(payload);
        return if is_envelope { Look::Begun(90) } else { Look::Begun(60) };
    };
    match segment.payload(bytes) {
        Ok(payload) if segment.is_self_contained && Header::read(&payload).is_none() => Look::No,
        Ok(_) => Look::Whole(100, segment.whole()),
        Err(_) => Look::No,
    }
}

/// Reads the body of an envelope as far as it is there.
fn envelope(header: &Header, rest: &[u8]) -> Look {
    let length = header.length as usize;
    let body = &rest[..length.min(rest.len())];
    let is_whole = body.len() == length;
    if header.is_compressed() && length > 0 {
        if !is_whole {
            return Look::Begun(60);
        }
        let inflated = super::lz4(body).or_else(|_| super::snappy(body));
        return match inflated {
            Ok(body) => {
                weigh(header, &body, true).map_or(Look::No, |weight| Look::Whole(weight, HEADER + length))
            }
            Err(_) => Look::No,
        };
    }
    match (weigh(header, body, is_whole), is_whole) {
        (None, _) => Look::No,
        (Some(weight), true) => Look::Whole(weight, HEADER + length),
        (Some(weight), false) if body.len() < 16 && weight < BEGUN => Look::Short,
        (Some(weight), false) => Look::Begun(weight.min(BEGUN)),
    }
}

/// How sure a body makes; None where it is none.
fn weigh(header: &Header, body: &[u8], is_whole: bool) -> Option<u8> {
    let mut shown = Shown::default();
    let (statements, options) = (Statements::default(), Options::default());
    let mut cursor = Cursor::new(body);
    let read = Front::take(header, &mut cursor).and_then(|_| {
        let shown = &mut shown;
        if header.from_client {
            request::Reader { header: *header, options, statements: &statements, shown, asked: None }
                .read(&mut cursor)
        } else {
            let statements = &statements;
            response::Reader { header: *header, options, statements, asked: None, shown, prepared: None }
                .read(&mut cursor)
        }
    });
    if is_whole && read.is_none() {
        return None;
    }
    let field = |name: &str| shown.fields.iter().find(|field| field.name == name).map(|field| &field.value);
    let text = |name: &str| match field(name) {
        Some(crate::record::Value::Bytes(bytes)) => std::str::from_utf8(bytes).ok(),
        Some(crate::record::Value::Text(text)) => Some(text.as_ref()),
        _ => None,
    };
    let begins_with_word =
        |text: &str| text.trim_start().chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    // Without its end, what was read so far has to say something.
    let weight = match header.opcode {
        Opcode::Startup => match field("options") {
            Some(options) if format!("{options:?}").contains(&format!("{:?}", b"CQL_VERSION")) => 100,
            Some(_) => return None,
            None => 50,
        },
        Opcode::Query | Opcode::Prepare => match text("query") {
            Some(query) if !begins_with_word(query) => return None,
            Some(_) => 97,
            None => statement_begins(body)?,
        },
        Opcode::Options if cursor.is_empty() => 90,
        Opcode::Ready if cursor.is_empty() => 75,
        Opcode::Options | Opcode::Ready => return None,
        Opcode::Supported => 95,
        Opcode::Authenticate => {
            if text("authenticator").is_some_and(|class| class.contains('.')) {
                97
            } else {
                return None;
            }
        }
        Opcode::Error => match text("error") {
            Some("unknown") => return None,
            Some(_) if text("message").is_some_and(|message| !message.contains(char::is_control)) => 95,
            _ => 60,
        },
        Opcode::Result => match text("kind") {
            Some("unknown") => return None,
            Some("Void") if cursor.is_empty() => SURE,
            Some("Void") => return None,
            Some("Rows") if field("rows_count").is_some() => 95,
            Some("Rows") => 80,
            Some(_) => 90,
            None => 50,
        },
        Opcode::Event => match text("event") {
            Some("TOPOLOGY_CHANGE" | "STATUS_CHANGE" | "SCHEMA_CHANGE") => 100,
            Some(_) => return None,
            None => 60,
        },
        Opcode::Register => 90,
        Opcode::Execute => {
            if is_whole {
                90
            } else {
                60
            }
        }
        Opcode::Batch => match text("type") {
            Some("unknown") => return None,
            _ if is_whole => 95,
            _ => 60,
        },
        Opcode::AuthChallenge | Opcode::AuthResponse | Opcode::AuthSuccess
            if is_whole && cursor.is_empty() =>
        {
            85
        }
        Opcode::AuthChallenge | Opcode::AuthResponse | Opcode::AuthSuccess if is_whole => return None,
        Opcode::AuthChallenge | Opcode::AuthResponse | Opcode::AuthSuccess => 60,
    };
    Some(weight)
}

/// A statement that is not whole: its length, and letters.
fn statement_begins(body: &[u8]) -> Option<u8> {
    match body.get(4..) {
        None | Some([]) => Some(50),
        Some(text) => {
            let text = &text[..text.len().min(64)];
            let is_text = text.iter().all(|&byte| byte >= b' ' || byte.is_ascii_whitespace());
            let starts = text.trim_ascii_start().first().is_none_or(u8::is_ascii_alphabetic);
            (is_text && starts).then_some(if text.len() >= 8 { BEGUN } else { 60 })
        }
    }
}

/// Looks for the next message. Where a call or packet begins, a likely one is enough.
pub fn boundary(
    data: &[u8],
    at_event: bool,
    formats: &[Format],
    framing: Framing,
    from_client: Option<bool>,
) -> Resync {
    for at in 0..data.len() {
        let rest = &data[at..];
        let is_first = at == 0 && at_event;
        // Without a known framing, inside of other bytes only envelopes are looked for: eight bytes of chance are
        // the header of a segment too often.
        let formats = if framing == Framing::Unknown && !is_first { &[] } else { formats };
        match look(rest, formats, framing, from_client) {
            Look::Whole(weight, end) => {
                let next = || look(&rest[end..], formats, framing, from_client);
                let is_sure =
                    weight >= SURE || is_first || matches!(next(), Look::Whole(..) | Look::Begun(_));
                if is_sure {
                    return Resync::Found(at);
                }
            }
            Look::Begun(weight) if is_first && weight >= 60 => return Resync::Found(at),
            Look::Begun(weight) if weight >= BEGUN => return Resync::Found(at),
            Look::Begun(_) | Look::No => {}
            Look::Short if is_first || rest.len() < HEADER => return Resync::Skip(at),
            Look::Short => {}
        }
    }
    Resync::Skip(data.len())
}

/// Judges a connection.
pub fn detect(sample: &Sample<'_>) -> Verdict {
    let [one, other] = [0, 1].map(|index| verdict(sample.data[index], sample.from_start[index]));
    one.or_better(other)
}

/// Whether a connection can begin with such a message, in its direction.
fn is_first(opcode: Opcode) -> bool {
    let first = [
        Opcode::Options,
        Opcode::Startup,
        Opcode::Supported,
        Opcode::Ready,
        Opcode::Authenticate,
        Opcode::Error,
    ];
    first.contains(&opcode)
}

fn verdict(data: &[u8], from_start: bool) -> Verdict {
    const FORMATS: &[Format] = &[Format::Uncompressed, Format::Compressed];
    if data.is_empty() {
        return Verdict::No("nothing was sent");
    }
    let data = &data[..data.len().min(WINDOW)];
    let (at, formats) = match from_start {
        // A connection begins with envelopes.
        true => (0, &[][..]),
        false => match boundary(data, true, FORMATS, Framing::Unknown, None) {
            Resync::Found(at) => (at, FORMATS),
            Resync::Skip(0) => (0, FORMATS),
            Resync::Skip(_) => return Verdict::No("no message begins here"),
        },
    };
    if from_start && Header::read(data).is_some_and(|header| !is_first(header.opcode)) {
        return Verdict::No("no connection begins with this message");
    }
    match look(&data[at..], formats, Framing::Unknown, None) {
        Look::Whole(weight, _) | Look::Begun(weight) => Verdict::Match(weight),
        Look::Short => Verdict::Maybe("more of a message"),
        Look::No => Verdict::No("no message of CQL begins here"),
    }
}
