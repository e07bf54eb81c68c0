//! Streams of HTTP/2 (RFC 9113, sections 5.1 and 8.1): from header blocks and payload to messages, from both directions
//! to a record.

use super::fields::{self, Fields};
use super::frame;
use super::grpc;
use super::hpack::Block;
use super::payload::{Payload, add_payload, grpc_payload, likely_grpc, plain_payload};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::protocol::exchange::{self, Half};
use crate::protocol::http1::pairing::size;
use crate::protocol::{Options, Output, secrets};
use crate::record::{Field, Value};
use std::fmt::Write;

/// How many interim responses are listed. More than a few are not seen in practice.
const INTERIM_MAX: usize = 64;

/// One stream: what each direction sent on it.
#[derive(Default)]
pub(super) struct Stream {
    id: u32,
    drafts: [Option<Draft>; 2],
    /// The request of a pushed response: which way it went, and what it says.
    promise: Option<(Direction, Draft)>,
    /// Who ended it before its time.
    reset: Option<Direction>,
    /// A loss may have taken frames of it, by direction, before others came.
    lost: [Option<Cause>; 2],
}

/// One message under way.
#[derive(Default)]
pub(super) struct Draft {
    /// Its frames; absent before the first.
    half: Option<Half>,
    /// Its header section; absent before its end, or where it was not seen.
    fields: Option<Fields>,
    interim: Vec<Value>,
    trailers: Option<Fields>,
    payload: Payload,
    /// Bytes of payload, those that are missing included.
    length: u64,
    /// It is whole, or nothing more of it will come.
    ended: bool,
    /// Code of RST_STREAM.
    reset: Option<u32>,
    /// The request came with HTTP/1.1 (RFC 7540, section 3.2): fields as they were there.
    upgraded: Vec<Field>,
}

impl Draft {
    /// Takes in a frame.
    pub(super) fn extend(
        &mut self,
        direction: Direction,
        range: Range,
        [started, ended]: [Timestamp; 2],
        causes: &[Cause],
    ) {
        match &mut self.half {
            Some(half) => half.extend(range, ended, causes),
            None => {
                let mut half = Half::new(direction, range, [started, ended], "", Vec::new());
                causes.iter().for_each(|&cause| half.add_cause(cause));
                self.half = Some(half);
            }
        }
    }

    fn add_cause(&mut self, cause: Cause) {
        if let Some(half) = &mut self.half {
            half.add_cause(cause);
        }
    }

    /// Takes a header block: the header section, an interim response or trailers. True for a header section.
    pub(super) fn block(&mut self, block: Block, ends: bool, options: &Options) -> bool {
        if block.fault.is_some() {
            self.add_cause(Cause::ParseError);
        }
        let fields = Fields::new(block, options.show_secrets);
        if fields.left_out > 0 {
            self.add_cause(Cause::Unsupported);
        }
        let has_body = !matches!(self.payload, Payload::Empty);
        let is_first = self.fields.is_none() && !has_body;
        if self.ended {
            return false;
        }
        if let Some(status) = fields.status().filter(|status| (100..200).contains(status) && !ends) {
            if self.interim.len() < INTERIM_MAX {
                self.interim.push(Value::Number(status.into()));
            }
            return false;
        }
        if is_first || fields.is_request() || fields.status().is_some() {
            self.fields = Some(fields);
            return true;
        }
        self.trailers = Some(fields);
        false
    }

    /// Takes payload.
    fn push(&mut self, data: &[u8], asks: bool, options: &Options) {
        self.length += data.len() as u64;
        if matches!(self.payload, Payload::Empty) {
            self.payload = self.begin_payload(asks, options);
        }
        let Payload::Undecided(first) = &mut self.payload else { return self.payload.push(data) };
        first.extend_from_slice(data);
        let Some(is_grpc) = grpc::begins(first) else { return };
        let first = std::mem::take(first);
        self.payload = match is_grpc {
            true => likely_grpc(self.fields.as_ref(), options),
            false => plain_payload(self.fields.as_ref(), options),
        };
        self.payload.push(&first);
    }

    /// `asks`: the other direction speaks gRPC.
    fn begin_payload(&self, asks: bool, options: &Options) -> Payload {
        let fields = self.fields.as_ref();
        match fields.and_then(|fields| fields.content_type.as_deref()) {
            Some(content) if grpc::is_content_type(content) => grpc_payload(fields, options),
            Some(_) => plain_payload(fields, options),
            None if asks => likely_grpc(fields, options),
            None if fields.is_none_or(Fields::may_hide) => Payload::Undecided(Vec::new()),
            None => plain_payload(fields, options),
        }
    }

    /// Payload is missing. What comes behind it does not tell what a payload is.
    fn miss(&mut self, length: u64, options: &Options) {
        self.length += length;
        if matches!(self.payload, Payload::Empty) {
            self.payload = self.begin_payload(false, options);
        }
        if let Payload::Undecided(first) = &mut self.payload {
            let first = std::mem::take(first);
            self.payload = plain_payload(self.fields.as_ref(), options);
            self.payload.push(&first);
        }
        self.payload.miss(length);
    }

    fn is_grpc(&self) -> bool {
        let content_type = self.fields.as_ref().and_then(|fields| fields.content_type.as_deref());
        matches!(self.payload, Payload::Grpc(..) | Payload::Likely(..))
            || content_type.is_some_and(grpc::is_content_type)
    }

    /// What is known of it can't be gRPC's.
    fn speaks_against_grpc(&self, is_request: bool) -> bool {
        let Some(fields) = &self.fields else { return false };
        let is_other = fields.content_type.as_deref().is_some_and(|content| !grpc::is_content_type(content));
        let asks_other = fields.pseudo("method").is_some_and(|method| method != b"POST")
            || fields.pseudo("path").is_some_and(|path| !grpc::is_path(path));
        is_other || is_request && asks_other
    }

    /// Its header section was not seen; `asks`: a request, which has one whatever else comes of it.
    fn lacks_headers(&self, asks: bool) -> bool {
        let has_more = self.length > 0 || self.trailers.is_some() || self.reset.is_none();
        self.fields.is_none() && self.upgraded.is_empty() && (asks || has_more)
    }

    /// The status may be a field that is not known.
    fn hides_status(&self, is_grpc: bool) -> bool {
        let last = self.trailers.as_ref().filter(|_| is_grpc).or(self.fields.as_ref());
        match last {
            Some(fields) => fields.may_hide(),
            None => self.lacks_headers(false),
        }
    }

    /// A field of gRPC's status: in the trailers, or in the only block of a response that has no message.
    fn status_field(&self, of: fn(&Fields) -> Option<&Vec<u8>>) -> Option<&Vec<u8>> {
        let sections = [self.trailers.as_ref(), self.fields.as_ref()];
        sections.into_iter().flatten().find_map(of)
    }

    /// The half of a record that this became.
    fn into_half(mut self, id: u32, is_request: bool) -> Option<Half> {
        let mut half = self.half.take()?;
        let mut fields = vec![Field::new("stream_id", Value::Number(id.into()))];
        let status = self.status_field(|fields| fields.grpc_status.as_ref()).cloned();
        let message = self.status_field(|fields| fields.grpc_message.as_ref()).cloned();
        let path = self.fields.as_ref().and_then(|fields| fields.pseudo("path")).map(<[u8]>::to_vec);
        let is_grpc = self.is_grpc();
        let is_status_unknown = is_grpc && !is_request && status.is_none() && self.hides_status(true);
        let is_coding_unknown = match &self.fields {
            Some(fields) => fields.codings.is_empty() && fields.may_hide(),
            None => self.upgraded.is_empty(),
        };
        let masks_form = self.fields.as_ref().is_some_and(|fields| !fields.shows_secrets);
        match self.fields.take() {
            Some(section) => fields.extend(section.into_record(is_request)),
            None if self.upgraded.is_empty() && self.reset.is_none() => {
                fields.push(Field::new("headers", Value::Text(fields::UNKNOWN.into())));
            }
            None => {}
        }
        fields.append(&mut self.upgraded);
        if !self.interim.is_empty() {
            fields.push(Field::new("interim", Value::List(self.interim)));
        }
        if let (true, Some(path)) = (is_grpc && is_request, path) {
            fields.extend(call_fields(&path));
        }
        let length = i64::try_from(self.length).unwrap_or(i64::MAX);
        fields.push(Field::new("body_length", Value::Number(length)));
        add_payload(self.payload, is_coding_unknown, &mut half, &mut fields);
        if masks_form {
            secrets::mask_form(&mut fields);
        }
        if let Some(trailers) = self.trailers {
            let unknown = trailers.unknown_count();
            fields.push(Field::new("trailers", Value::Map(trailers.headers)));
            fields.extend(unknown.map(|count| Field::new("unknown_trailers", count)));
        }
        if is_status_unknown {
            fields.push(Field::new("grpc_status", Value::Text(fields::UNKNOWN.into())));
        }
        if let Some(status) = status {
            let code = fields::number(status);
            if let Value::Number(code) = code
                && let Some(name) = grpc::status_name(code)
            {
                fields.push(Field::new("grpc_status_name", Value::Text(name.into())));
            }
            fields.push(Field::new("grpc_status", code));
        }
        if let Some(message) = message {
            fields.push(Field::new("grpc_message", Value::Bytes(grpc::percent_decoded(&message))));
        }
        if let Some(code) = self.reset {
            fields.push(Field::new("reset", Value::Text(frame::error_name(code))));
        }
        half.message.fields = fields;
        Some(half)
    }
}

/// `/package.Service/Method` in its parts.
fn call_fields(path: &[u8]) -> Vec<Field> {
    let Some(at) = path.iter().rposition(|&byte| byte == b'/').filter(|&at| at > 0) else {
        return Vec::new();
    };
    let service = path[..at].strip_prefix(b"/").unwrap_or(&path[..at]);
    vec![
        Field::new("grpc_service", Value::Bytes(service.to_vec())),
        Field::new("grpc_method", Value::Bytes(path[at + 1..].to_vec())),
    ]
}

impl Stream {
    /// Nothing came on it yet.
    pub(super) fn new(id: u32) -> Stream {
        Stream { id, ..Stream::default() }
    }

    /// The stream of a request that came with HTTP/1.1, as `half`.
    pub(super) fn upgraded(half: Half, fields: Vec<Field>) -> Stream {
        let mut stream = Stream::new(1);
        let direction = half.message.direction;
        let length = fields.iter().find_map(|field| match (&*field.name, &field.value) {
            ("body_length", Value::Number(length)) => u64::try_from(*length).ok(),
            _ => None,
        });
        let upgraded = fields.into_iter().filter(|field| field.name != "body_length").collect();
        let length = length.unwrap_or(0);
        let draft = Draft { half: Some(half), upgraded, length, ended: true, ..Draft::default() };
        stream.drafts[direction.index()] = Some(draft);
        stream
    }

    /// What a direction sends on it.
    pub(super) fn draft(&mut self, direction: Direction) -> &mut Draft {
        self.drafts[direction.index()].get_or_insert_default()
    }

    /// The request that a server promises to answer on it.
    pub(super) fn promise(&mut self, direction: Direction) -> &mut Draft {
        &mut self.promise.get_or_insert_with(|| (direction, Draft::default())).1
    }

    /// True where a direction has said all it will.
    pub(super) fn has_ended(&self, direction: Direction) -> bool {
        self.drafts[direction.index()].as_ref().is_some_and(|draft| draft.ended)
    }

    /// A direction says nothing more on it.
    pub(super) fn end(&mut self, direction: Direction) {
        self.draft(direction).ended = true;
    }

    /// Takes payload of a direction.
    pub(super) fn push(&mut self, direction: Direction, data: &[u8], options: &Options) {
        let asks = self.drafts[direction.reverse().index()].as_ref().is_some_and(Draft::is_grpc);
        self.draft(direction).push(data, asks, options);
    }

    /// Payload of a direction is missing.
    pub(super) fn miss(&mut self, direction: Direction, length: u64, options: &Options) {
        if length > 0 {
            self.draft(direction).miss(length, options);
        }
    }

    /// Notes that a direction gives it up.
    pub(super) fn reset(&mut self, direction: Direction, code: u32) {
        let draft = self.draft(direction);
        draft.reset = Some(code);
        draft.ended = true;
        self.reset = Some(direction);
    }

    /// Frames of a direction are lost, and some may have been its own.
    pub(super) fn lose(&mut self, direction: Direction, cause: Cause) {
        match &mut self.drafts[direction.index()] {
            Some(draft) if draft.ended => {}
            Some(draft) => draft.add_cause(cause),
            None => self.lost[direction.index()] = Some(cause),
        }
    }

    /// Gives it up for a bound.
    pub(super) fn give_up(&mut self, cause: Cause) {
        let promise = self.promise.iter_mut().map(|(_, draft)| draft);
        self.drafts.iter_mut().flatten().chain(promise).for_each(|draft| draft.add_cause(cause));
    }

    /// True where its record can be made. `lacks`: requests may be missing that responses answer.
    pub(super) fn is_complete(&self, client: Option<Direction>, lacks: bool) -> bool {
        let ended = Direction::BOTH.map(|direction| self.has_ended(direction));
        if self.reset.is_some() || ended == [true; 2] {
            return true;
        }
        let Some(server) = client.map(Direction::reverse) else { return false };
        let is_answered = ended[server.index()];
        // Of a request of which no more came than the end of its header section it is not known whether it has ended.
        let is_begun = |draft: &Draft| draft.length > 0 || !draft.lacks_headers(true);
        let is_asked = self.drafts[server.reverse().index()].as_ref().is_some_and(is_begun);
        is_answered && !is_asked && (self.promise.is_some() || lacks)
    }

    /// The direction of its request.
    fn asking(&self, client: Option<Direction>) -> Direction {
        let is = |direction: &Direction, of: fn(&Fields) -> bool| {
            let draft = self.drafts[direction.index()].as_ref();
            draft.and_then(|draft| draft.fields.as_ref()).is_some_and(of)
        };
        let asks = Direction::BOTH.into_iter().find(|direction| is(direction, Fields::is_request));
        let answers =
            Direction::BOTH.into_iter().find(|direction| is(direction, |one| one.status().is_some()));
        let first = || {
            let started = |direction: &Direction| {
                let half = self.drafts[direction.index()].as_ref().and_then(|draft| draft.half.as_ref());
                half.map_or(Timestamp(u64::MAX), |half| half.message.started)
            };
            let first = Direction::BOTH.into_iter().min_by_key(started).unwrap_or(Direction::Send);
            // Streams of even numbers are opened by servers.
            if self.id.is_multiple_of(2) { first.reverse() } else { first }
        };
        client.or(asks).or(answers.map(Direction::reverse)).unwrap_or_else(first)
    }

    /// It ends as what came of it. `cut`: the end came from outside. `lost`: what was lost of each direction.
    pub(super) fn into_record(
        mut self,
        client: Option<Direction>,
        cut: bool,
        lost: [Option<Cause>; 2],
        out: &mut dyn Output,
    ) {
        let asking = self.asking(client);
        self.find_missing(asking, lost);
        let [mut request, mut response] =
            [asking, asking.reverse()].map(|direction| self.drafts[direction.index()].take());
        if let Some((_, promise)) = self.promise.take() {
            request = Some(Draft { ended: true, ..promise });
        }
        let is_open = |draft: &&mut Draft| !draft.ended;
        if cut && self.reset.is_none() {
            let drafts = request.iter_mut().chain(response.iter_mut());
            drafts.filter(is_open).for_each(|draft| draft.add_cause(Cause::Incomplete));
        }
        let may_be = !request.as_ref().is_some_and(|draft| draft.speaks_against_grpc(true))
            && !response.as_ref().is_some_and(|draft| draft.speaks_against_grpc(false));
        let drafts = request.iter_mut().chain(response.iter_mut());
        drafts.for_each(|draft| draft.payload.decide(may_be, draft.ended));
        let is_grpc = request.iter().chain(&response).any(Draft::is_grpc);
        let protocol = if is_grpc { super::GRPC } else { super::NAME };
        let summary = self.summary(request.as_ref(), response.as_ref(), is_grpc, asking);
        let given_up = self.reset == Some(asking);
        let halves = [(request, true), (response, false)]
            .map(|(draft, is_request)| draft.and_then(|draft| draft.into_half(self.id, is_request)));
        let named = |half: Half| Half { summary: summary.clone(), ..half };
        match halves {
            [Some(request), Some(response)] => exchange::pair(protocol, named(request), response, out),
            // Nobody owes an answer to who does not want it any more.
            [Some(request), None] if given_up => exchange::lone(protocol, named(request), true, out),
            [Some(request), None] => {
                let lost = self.lost[asking.reverse().index()];
                exchange::unanswered_because(protocol, named(request), lost, out);
            }
            [None, Some(response)] => exchange::unasked(protocol, named(response), out),
            [None, None] => {}
        }
    }

    /// A message whose header section was not seen lacks it, where a loss can have taken it.
    fn find_missing(&mut self, asking: Direction, lost: [Option<Cause>; 2]) {
        for direction in Direction::BOTH {
            let before = self.lost[direction.index()];
            let Some(draft) = &mut self.drafts[direction.index()] else { continue };
            let cause = match draft.lacks_headers(direction == asking) {
                true => before.or(lost[direction.index()]),
                // Given up before it began, or behind what is lost.
                false if draft.fields.is_none() && draft.upgraded.is_empty() => before,
                false => None,
            };
            cause.into_iter().for_each(|cause| draft.add_cause(cause));
        }
    }

    /// `200 GET /a?b=1 12.3 kB`, `OK /helloworld.Greeter/SayHello 1 -> 1 messages`.
    fn summary(
        &self,
        request: Option<&Draft>,
        response: Option<&Draft>,
        is_grpc: bool,
        asking: Direction,
    ) -> String {
        let mut line = match is_grpc {
            true => grpc_summary(request, response),
            false => http_summary(request, response),
        };
        if self.id.is_multiple_of(2) {
            line.push_str(" (pushed)");
        }
        let code = |draft: Option<&Draft>| draft.and_then(|draft| draft.reset);
        if let Some(by) = self.reset {
            let (draft, who) = if by == asking { (request, "client") } else { (response, "server") };
            let name = frame::error_name(code(draft).unwrap_or(0));
            // Writing to a string can't fail.
            let _ = write!(line, " reset by {who}: {name}");
        }
        line
    }
}

fn upgraded<'a>(draft: &'a Draft, name: &str) -> Option<&'a [u8]> {
    draft.upgraded.iter().find(|field| field.name == name).and_then(|field| match &field.value {
        Value::Bytes(bytes) => Some(bytes.as_slice()),
        _ => None,
    })
}

fn http_summary(request: Option<&Draft>, response: Option<&Draft>) -> String {
    let status = response.and_then(|draft| draft.fields.as_ref()).and_then(Fields::status);
    let is_hidden = response.is_some_and(|draft| draft.hides_status(false));
    let absent = || if is_hidden { "(unknown)" } else { "---" }.to_owned();
    let status = status.map_or_else(absent, |status| status.to_string());
    let asked = match request.map(|draft| (draft, draft.fields.as_ref())) {
        Some((_, Some(fields)))
            if fields.pseudo("method") == Some(b"CONNECT") && fields.pseudo("path").is_none() =>
        {
            format!("CONNECT {}", fields.text("authority"))
        }
        Some((_, Some(fields))) => format!("{} {}", fields.text("method"), fields.text("path")),
        Some((draft, None)) => match (upgraded(draft, "method"), upgraded(draft, "path")) {
            (Some(method), Some(path)) => {
                format!("{} {}", String::from_utf8_lossy(method), String::from_utf8_lossy(path))
            }
            _ => "(headers not seen)".to_owned(),
        },
        None => "(request not seen)".to_owned(),
    };
    match response {
        Some(draft) => {
            let length = i64::try_from(draft.length).unwrap_or(i64::MAX);
            format!("{status} {asked} {}", size(length))
        }
        None => format!("{status} {asked}"),
    }
}

fn grpc_summary(request: Option<&Draft>, response: Option<&Draft>) -> String {
    let status = response.and_then(|draft| draft.status_field(|fields| fields.grpc_status.as_ref()));
    let code = status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    let status = match (code, code.and_then(grpc::status_name)) {
        (_, Some(name)) => name.to_owned(),
        (Some(code), None) => code.to_string(),
        (None, None) if response.is_some_and(|draft| draft.hides_status(true)) => "(unknown)".to_owned(),
        (None, None) => "---".to_owned(),
    };
    let path = match request.map(|draft| draft.fields.as_ref()) {
        Some(Some(fields)) => fields.text("path").into_owned(),
        Some(None) => "(headers not seen)".to_owned(),
        None => "(request not seen)".to_owned(),
    };
    let count = |draft: Option<&Draft>| match draft.map(|draft| &draft.payload) {
        Some(Payload::Grpc(messages, _)) => messages.count,
        _ => 0,
    };
    let (sent, received) = (count(request), count(response));
    let mut line = format!("{status} {path} {sent} -> {received} messages");
    if let Some(message) =
        response.and_then(|draft| draft.status_field(|fields| fields.grpc_message.as_ref()))
        && !message.is_empty()
    {
        let message = grpc::percent_decoded(message);
        let _ = write!(line, ": {}", String::from_utf8_lossy(&message));
    }
    line
}
