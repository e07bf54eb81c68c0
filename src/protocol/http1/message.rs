//! One message under way: from its parsed head to the finished half of a record.

use super::body::{Advance, Body, Extent};
use super::head::{Framing, Head};
use super::pairing::{Asked, Half};
use super::start_line::{self, StartLine};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::protocol::Options;
use crate::protocol::secrets;
use crate::record::{Field, Message, Value};
use std::fmt;

/// Most interim statuses that are listed. RFC 9110, section 15.2 sets no bound; more than a few are not
/// seen in practice.
const MAX_INTERIM: usize = 64;

/// A response that has begun, before its final head: interim (1xx) responses came, or will it be.
#[derive(Debug)]
pub(super) struct Interim {
    /// The request it answers.
    pub(super) id: Option<u64>,
    asked: Asked,
    /// Offset of the first byte.
    pub(super) start: u64,
    statuses: Vec<Value>,
}

impl Interim {
    pub(super) fn new(id: Option<u64>, asked: Asked, start: u64) -> Interim {
        Interim { id, asked, start, statuses: Vec::new() }
    }

    pub(super) fn add(&mut self, status: u16) {
        if self.statuses.len() < MAX_INTERIM {
            self.statuses.push(Value::Number(status.into()));
        }
    }
}

/// A message whose head is read.
pub(super) struct Draft {
    pub(super) is_request: bool,
    /// The exchange it belongs to.
    pub(super) id: Option<u64>,
    /// Offset of its first byte.
    pub(super) start: u64,
    pub(super) extent: Extent,
    /// A response to an unknown request: if that was HEAD, the next message follows where the head speaks
    /// of a body.
    pub(super) may_lack_body: bool,
    started: Timestamp,
    fields: Vec<Field>,
    body: Body,
    trailers: Vec<(Value, Value)>,
    causes: Vec<Cause>,
    truncated: bool,
    switches_to: Option<Next>,
    /// Passwords of a form are masked.
    masks_form: bool,
}

/// What both directions speak after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Whatever the client wants to say through a tunnel.
    Tunnel,
    /// What the server names, first of what it may name, or what it does not name.
    Upgrade(Option<String>),
}

/// A draft, or one with the reason why nobody can tell where it ends.
pub(super) type Framed = Result<Box<Draft>, (Box<Draft>, &'static str)>;

impl Draft {
    /// A request that begins at `start`.
    pub(super) fn request(
        head: Head<'_>,
        id: u64,
        start: u64,
        started: Timestamp,
        options: &Options,
    ) -> Framed {
        let extent = match head.framing {
            Framing::Unsaid => Ok(Extent::Length(0)),
            framing => extent(framing),
        };
        Draft::new(head, Some(id), start, started, extent, Vec::new(), options)
    }

    /// The final response after `interim` ones. `started` is when the final head began: a 100 (Continue)
    /// comes before the request is whole and would make nonsense of the latency.
    pub(super) fn response(
        head: Head<'_>,
        status: u16,
        interim: Interim,
        started: Timestamp,
        options: &Options,
    ) -> Framed {
        let hit = interim.asked.hit;
        let tunnel = interim.asked.connect && (200..300).contains(&status);
        // RFC 9112, section 6.3, items 1 and 2.
        let bodyless = interim.asked.head || tunnel || matches!(status, 101 | 204 | 304);
        let extent = if bodyless { Ok(Extent::Length(0)) } else { extent(head.framing) };
        let upgrade = head.upgrade.map(|name| String::from_utf8_lossy(name).trim().to_owned());
        let mut draft =
            Draft::new(head, interim.id, interim.start, started, extent, interim.statuses, options);
        if let (Ok(draft), Some(cause)) = (&mut draft, hit) {
            draft.truncate(cause);
        }
        if let (Ok(draft), true) = (&mut draft, tunnel || status == 101) {
            draft.switches_to = match tunnel {
                true => Some(Next::Tunnel),
                false => Some(Next::Upgrade(upgrade)),
            };
        }
        draft
    }

    /// Interim responses whose final one does not come.
    pub(super) fn only_interim(interim: Interim, started: Timestamp) -> Box<Draft> {
        Box::new(Draft {
            is_request: false,
            id: interim.id,
            start: interim.start,
            extent: Extent::Length(0),
            may_lack_body: false,
            started,
            fields: vec![Field::new("interim", Value::List(interim.statuses))],
            body: Body::new(&[], 0),
            trailers: Vec::new(),
            causes: Vec::new(),
            truncated: true,
            switches_to: None,
            masks_form: false,
        })
    }

    /// A response without a head, up to the end of the connection.
    pub(super) fn simple(
        asked: Interim,
        version: &[u8],
        started: Timestamp,
        options: &Options,
    ) -> Box<Draft> {
        Box::new(Draft {
            extent: Extent::UntilClose,
            fields: vec![Field::new("version", Value::Bytes(version.to_vec()))],
            body: Body::new(&[], options.max_field),
            truncated: false,
            ..*Draft::only_interim(asked, started)
        })
    }

    fn new(
        head: Head<'_>,
        id: Option<u64>,
        start: u64,
        started: Timestamp,
        extent: Result<Extent, &'static str>,
        interim: Vec<Value>,
        options: &Options,
    ) -> Framed {
        let mut fields = Vec::with_capacity(8);
        let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
        match head.start {
            StartLine::Request { method, target, version } => {
                fields.push(Field::new("method", bytes(method)));
                let shown = if options.show_secrets { target.to_vec() } else { secrets::url(target) };
                fields.push(Field::new("target", Value::Bytes(shown)));
                fields.push(Field::new("version", bytes(version)));
            }
            StartLine::Response { version, status, reason } => {
                fields.push(Field::new("status", Value::Number(status.into())));
                fields.push(Field::new("reason", bytes(reason)));
                fields.push(Field::new("version", bytes(version)));
            }
        }
        fields.push(Field::new("headers", Value::Map(head.headers)));
        if !interim.is_empty() {
            fields.push(Field::new("interim", Value::List(interim)));
        }
        let (extent, fault) = match extent {
            Ok(extent) => (extent, None),
            Err(reason) => (Extent::Length(0), Some(reason)),
        };
        let has_body = !matches!(extent, Extent::Length(0));
        let draft = Box::new(Draft {
            is_request: matches!(head.start, StartLine::Request { .. }),
            id,
            start,
            extent,
            may_lack_body: has_body && id.is_none(),
            started,
            fields,
            body: Body::new(&head.codings, if has_body { options.max_field } else { 0 }),
            trailers: Vec::new(),
            causes: Vec::new(),
            truncated: false,
            switches_to: None,
            masks_form: !options.show_secrets,
        });
        match fault {
            Some(reason) => Err((draft, reason)),
            None => Ok(draft),
        }
    }

    /// Takes one part of the body.
    pub(super) fn advance(&mut self, data: &[u8], show_secrets: bool) -> Advance {
        if self.may_lack_body && !data.is_empty() {
            match start_line::begins_status_line(data) {
                None => return Advance::More("the first bytes of the body"),
                Some(true) => self.extent = Extent::Length(0),
                Some(false) => {}
            }
            self.may_lack_body = false;
        }
        self.extent.advance(data, &mut self.body, &mut self.trailers, show_secrets)
    }

    /// `length` bytes of payload are missing.
    pub(super) fn miss(&mut self, length: u64) {
        self.body.miss(length);
        self.extent.pass_over(length);
    }

    /// The message lacks bytes.
    pub(super) fn truncate(&mut self, cause: Cause) {
        self.truncated = true;
        self.switches_to = None;
        cause.note_in(&mut self.causes);
    }

    /// The message ends within its head: nothing is known of a body. Its status line is there, and tells whether it is the
    /// last one.
    pub(super) fn cut(&mut self, cause: Cause) {
        let switches_to = self.switches_to.take();
        self.truncate(cause);
        self.switches_to = switches_to;
        self.extent = Extent::Length(0);
        self.body = Body::new(&[], 0);
    }

    /// What both directions speak after this message, if it is whole and says so.
    pub(super) fn switches_to(&self) -> Option<Next> {
        self.switches_to.clone()
    }

    /// The finished message, whose stream bytes end at `to`.
    pub(super) fn into_half(mut self: Box<Self>, direction: Direction, to: u64, ended: Timestamp) -> Half {
        if !self.trailers.is_empty() {
            self.fields.push(Field::new("trailers", Value::Map(self.trailers)));
        }
        let length = i64::try_from(self.body.length).unwrap_or(i64::MAX);
        self.fields.push(Field::new("body_length", Value::Number(length)));
        if let Some(coding) = self.body.unsupported.take() {
            self.fields.push(Field::new("body_coding", Value::Bytes(coding.into_bytes())));
            Cause::Unsupported.note_in(&mut self.causes);
        }
        if let Some(shown) = self.body.take_shown() {
            if shown.cut {
                Cause::FieldTruncated.note_in(&mut self.causes);
            }
            self.fields.push(Field::new("body", Value::Bytes(shown.bytes)));
            if shown.decoded {
                self.fields.push(Field::new("body_decoded", Value::Flag(true)));
            }
        }
        if self.masks_form {
            secrets::mask_form(&mut self.fields);
        }
        let range = Range::new(self.start, to);
        let (started, fields, causes) = (self.started, self.fields, self.causes);
        Half {
            message: Message { direction, range, parts: Vec::new(), started, ended, fields, causes },
            truncated: self.truncated,
        }
    }
}

/// `request GET /a`, `response 200 OK`: what the frame is called.
impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_request { "request" } else { "response" })?;
        for field in self.fields.iter().take(2) {
            match &field.value {
                Value::Bytes(bytes) => write!(f, " {}", bytes.escape_ascii())?,
                Value::Number(number) => write!(f, " {number}")?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn extent(framing: Framing) -> Result<Extent, &'static str> {
    match framing {
        Framing::Unsaid | Framing::UntilClose => Ok(Extent::UntilClose),
        Framing::Length(length) => Ok(Extent::Length(length)),
        Framing::Chunked => Ok(Extent::ChunkSize),
        Framing::Faulty(reason) => Err(reason),
    }
}

/// The first value of a header.
pub(super) fn header(message: &Message, name: &str) -> Option<String> {
    let Some(Value::Map(headers)) = message.field("headers") else { return None };
    headers.iter().find_map(|pair| match pair {
        (Value::Bytes(known), Value::Bytes(value)) if known.eq_ignore_ascii_case(name.as_bytes()) => {
            Some(String::from_utf8_lossy(value).trim().to_owned())
        }
        _ => None,
    })
}
