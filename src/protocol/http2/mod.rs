//! HTTP/2 (RFC 9113) and gRPC over it: from frames to records, one for each stream.
//!
//! This file leads a connection through its frames. What frames look like is told by [`frame`], what connections and
//! places in them by [`mod@detect`], header blocks by [`hpack`], and what the frames of a stream add up to by [`stream`];
//! frames of no stream are the business of [`control`].
//!
//! A record is a request and its response by the number of their stream, whatever lies between their frames. One whose
//! content is gRPC's has the protocol name `grpc`. Extensions are named, and not decoded.

mod control;
mod detect;
mod fields;
mod frame;
mod grpc;
mod hpack;
mod huffman;
mod payload;
mod protobuf;
mod stream;
#[cfg(test)]
mod tests;

use super::exchange::{Half, PENDING_MAX};
use super::framed::{Driver, Frame, Framed, Head, KEEP_MAX};
use super::{
    Agreement, End, Endpoint, Input, Options, Output, Parser, Protocol, Resync, Sample, Verdict, endpoint,
};
use crate::event::{Cause, Direction, Range, Timestamp};
use crate::record::Record;
use control::Control;
use frame::Header;
use hpack::Decoder;
use std::collections::{BTreeMap, VecDeque};
use stream::Stream;

/// The name in records, filters and traces.
const NAME: &str = "http2";

/// The name of records of gRPC.
const GRPC: &str = "grpc";

/// The most bytes of one header block, CONTINUATION included. Servers stop at 8 to 64 KiB.
const BLOCK_MAX: usize = 256 << 10;

/// How many streams that are over are remembered, for frames that were under way when they ended.
const DONE_MAX: usize = 1024;

/// HTTP/2.
pub static PROTOCOL: Protocol =
    Protocol { name: NAME, detect, parser, datagrams: None, endpoint, keep_alives: &["PING"] };

fn detect(sample: &Sample<'_>) -> Verdict {
    detect::detect(sample)
}

/// A request as in [`http1`](super::http1), a call of gRPC by its path alone; that failed with any status but 0.
fn endpoint(record: &Record) -> Endpoint {
    match endpoint::answered(record, "grpc_status") {
        _ if record.protocol != "grpc" => endpoint::of_http(record, "method", "path"),
        status => Endpoint {
            name: endpoint::asked(record, "path").unwrap_or_default().into_owned(),
            failed: status.is_some_and(|status| status != "0"),
        },
    }
}

fn parser(options: Options) -> Box<dyn Parser + Send> {
    Box::new(Driver::new(Http2 {
        options,
        client: options.client(),
        lanes: Default::default(),
        streams: BTreeMap::new(),
        done: VecDeque::new(),
        control: Control::default(),
    }))
}

/// One connection.
struct Http2 {
    options: Options,
    /// The direction in which the client sends; learnt from the content where it is not known beforehand.
    client: Option<Direction>,
    lanes: [Lane; 2],
    /// By number, which is the order in which each end opens them.
    streams: BTreeMap<u32, Stream>,
    /// Numbers of streams that are over, oldest first.
    done: VecDeque<u32>,
    control: Control,
}

/// One direction.
#[derive(Debug, Default)]
struct Lane {
    hpack: Decoder,
    /// The header block whose end has not come.
    block: Option<OpenBlock>,
    /// The DATA frame that passes.
    data: Option<OpenData>,
    /// The preface, before the frame that it is shown with.
    preface: Option<(Range, Timestamp)>,
    /// The largest stream of even and of odd number that has a header block here.
    largest: [u32; 2],
    /// The trace begins inside, or bytes are lost.
    lossy: bool,
    /// Why bytes are lost that can have been frames.
    lost: Option<Cause>,
}

impl Lane {
    /// A stream has a header block here.
    fn note(&mut self, id: u32) {
        let largest = &mut self.largest[(id % 2) as usize];
        *largest = (*largest).max(id);
    }
}

/// A header block on its way.
#[derive(Debug)]
struct OpenBlock {
    /// The stream of its frames.
    stream: u32,
    target: Target,
    ends_stream: bool,
    data: Vec<u8>,
    /// Not all of it is in `data`.
    cut: bool,
}

/// What a header block belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Stream(u32),
    /// The request of a pushed response.
    Promise(u32),
    /// A stream that is over: the block still changes the table.
    Late,
}

/// A DATA frame whose payload passes.
#[derive(Clone, Copy, Debug)]
struct OpenData {
    stream: u32,
    /// The stream is over, or was never open.
    late: bool,
    /// Where the payload begins and ends, from the first byte of the frame.
    payload: [u64; 2],
    /// How far it came.
    at: u64,
}

impl Framed for Http2 {
    fn head(&mut self, input: Input<'_>) -> Head {
        let seen = input.data.len().min(frame::PREFACE.len());
        if input.data[..seen] == frame::PREFACE[..seen] {
            return match seen == frame::PREFACE.len() {
                true => Head::Frame { length: seen as u64, keep: seen },
                false => Head::More("the rest of the preface"),
            };
        }
        let Some(header) = Header::read(input.data) else { return Head::More("the header of a frame") };
        if let Some(reason) = header.fault() {
            return Head::Malformed { length: frame::HEADER, reason: reason.to_owned() };
        }
        let length = frame::HEADER as u64 + u64::from(header.length);
        if header.kind != frame::DATA {
            return Head::Frame { length, keep: KEEP_MAX };
        }
        let padded = header.has(frame::PADDED) && header.length > 0;
        let keep = frame::HEADER + usize::from(padded);
        let Some(start) = input.data.get(..keep) else { return Head::More("the padding of a frame") };
        let padding = if padded { u64::from(start[frame::HEADER]) } else { 0 };
        self.begin_data(input.direction, header, [keep as u64, length.saturating_sub(padding)]);
        Head::Frame { length, keep }
    }

    fn beyond(&mut self, direction: Direction, at: u64, data: &[u8]) {
        let Some(open) = &mut self.lanes[direction.index()].data else { return };
        let [from, to] = open.payload;
        // `at` and what is kept before `from` leave no byte of the payload out.
        let length = to.saturating_sub(at).min(data.len() as u64);
        let missing = at.min(to).saturating_sub(open.at.max(from));
        open.at = at + data.len() as u64;
        let open = *open;
        if open.late || length + missing == 0 {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&open.stream) {
            stream.miss(direction, missing, &self.options);
            stream.push(direction, &data[..length as usize], &self.options);
        }
    }

    fn frame(&mut self, frame: &Frame<'_>, out: &mut dyn Output) -> Result<(), String> {
        if frame.data.starts_with(frame::PREFACE) {
            self.client.get_or_insert(frame.direction);
            out.frame(frame.direction, frame.range, format_args!("connection preface"));
            self.lane(frame.direction).preface = Some((frame.range, frame.times[0]));
            return Ok(());
        }
        let header = Header::read(frame.data).ok_or("a frame without its header")?;
        self.check(header, frame)?;
        let (kind, stream) = (frame::type_name(header.kind), header.stream);
        let part = self.part(frame);
        let what = format_args!("{kind} of stream {stream}");
        if control::is_counted(header.kind) {
            out.frame_aside(frame.direction, frame.range, what);
        } else {
            out.frame(frame.direction, frame.range, what);
        }
        match header.kind {
            frame::DATA => self.data(header, &part, out),
            frame::HEADERS => self.headers(header, &part, out),
            frame::PUSH_PROMISE => self.push_promise(header, &part, out),
            frame::CONTINUATION => self.continuation(header, &part, out),
            frame::RST_STREAM => self.rst_stream(header, &part, out),
            _ => self.control.frame(header, &part, self.client, &self.options, out),
        }
        Ok(())
    }

    fn begin_inside(&mut self, direction: Direction) {
        let lane = self.lane(direction);
        lane.lossy = true;
        // Streams that were open then may have begun before.
        lane.lost = Some(Cause::BeforeAttach);
        lane.hpack.forget();
    }

    fn resync(&mut self, _: Direction, data: &[u8], at_event: bool) -> Resync {
        detect::resync(data, at_event)
    }

    fn lost(&mut self, direction: Direction, cause: Cause, out: &mut dyn Output) {
        if let Some(block) = &mut self.lane(direction).block {
            block.cut = true;
            self.end_block(direction, out);
        }
        let lane = self.lane(direction);
        lane.lossy = true;
        lane.lost = Some(cause);
        lane.hpack.forget();
        lane.data = None;
        self.streams.values_mut().for_each(|stream| stream.lose(direction, cause));
        self.end_preface(direction, out);
        self.control.lost(direction, cause);
    }

    fn take_over(&mut self, agreement: Agreement) {
        let Some(asked) = agreement.asked else { return };
        let direction = asked.direction;
        self.client = Some(direction);
        self.lane(direction).note(1);
        let (half, fields) = control::upgraded(asked);
        self.streams.insert(1, Stream::upgraded(half, fields));
    }

    fn finish(&mut self, direction: Direction, _: End, _: Timestamp, out: &mut dyn Output) {
        self.lane(direction).block = None;
        self.end_preface(direction, out);
    }

    fn close(&mut self, _: End, _: Timestamp, out: &mut dyn Output) {
        for (_, stream) in std::mem::take(&mut self.streams) {
            stream.into_record(self.client, true, self.lost_of_lanes(), out);
        }
        self.control.close(self.client, out);
    }
}

/// A frame as its message sees it.
struct Part<'a> {
    direction: Direction,
    /// With the preface in front of it, if that is there.
    range: Range,
    times: [Timestamp; 2],
    causes: &'a [Cause],
    /// What was kept of the payload.
    payload: &'a [u8],
    /// `payload` is all of it.
    whole: bool,
}

impl Http2 {
    fn lane(&mut self, direction: Direction) -> &mut Lane {
        &mut self.lanes[direction.index()]
    }

    fn lost_of_lanes(&self) -> [Option<Cause>; 2] {
        [0, 1].map(|index: usize| self.lanes[index].lost)
    }

    /// What makes a frame of a known length no frame (RFC 9113, section 6).
    fn check(&mut self, header: Header, frame: &Frame<'_>) -> Result<(), String> {
        let payload = &frame.data[frame::HEADER.min(frame.data.len())..];
        self.lane(frame.direction).lossy |= frame.is_cut();
        let fault = match header.kind {
            frame::SETTINGS if !frame.is_cut() => frame::settings_fault(payload).map(str::to_owned),
            frame::HEADERS if !frame.is_cut() => frame::unpadded(header, payload).err(),
            frame::PUSH_PROMISE if !frame.is_cut() => match frame::unpadded(header, payload) {
                Err(fault) => Some(fault),
                // RFC 9113, sections 5.1.1 and 6.6: servers open streams of even numbers.
                Ok(payload) if promised(payload).is_some_and(|id| id > 0 && id % 2 == 0) => None,
                Ok(_) => Some("a promise of a stream that a server can't open".to_owned()),
            },
            frame::DATA if header.has(frame::PADDED) => match self.lanes[frame.direction.index()].data {
                Some(OpenData { payload: [from, to], .. }) if to < from => {
                    Some("padding that is longer than its frame".to_owned())
                }
                _ if header.length == 0 => Some("a padded frame without a length of its padding".to_owned()),
                _ => None,
            },
            frame::CONTINUATION => {
                let block = &self.lanes[frame.direction.index()].block;
                let is_known = block.as_ref().is_some_and(|block| block.stream == header.stream);
                let lossy = self.lanes[frame.direction.index()].lossy;
                (!is_known && !lossy).then(|| "CONTINUATION of no header block".to_owned())
            }
            _ => None,
        };
        match fault {
            Some(fault) => {
                let lane = self.lane(frame.direction);
                lane.data = None;
                // A block that is not read leaves the table unknown.
                if matches!(header.kind, frame::HEADERS | frame::PUSH_PROMISE | frame::CONTINUATION) {
                    lane.hpack.forget();
                }
                Err(fault)
            }
            None => Ok(()),
        }
    }

    fn part<'a>(&mut self, frame: &'a Frame<'_>) -> Part<'a> {
        let Frame { direction, mut range, mut times, .. } = *frame;
        if let Some((preface, started)) = self.lane(direction).preface.take() {
            (range.from, times[0]) = (preface.from, started);
        }
        let payload = &frame.data[frame::HEADER.min(frame.data.len())..];
        Part { direction, range, times, causes: &frame.causes, payload, whole: frame.is_all() }
    }

    /// The preface becomes a record of its own where no frame follows it.
    fn end_preface(&mut self, direction: Direction, out: &mut dyn Output) {
        if let Some((range, time)) = self.lane(direction).preface.take() {
            control::lone_preface(direction, range, time, out);
        }
    }

    /// A DATA frame begins to pass.
    fn begin_data(&mut self, direction: Direction, header: Header, payload: [u64; 2]) {
        let [from, to] = payload;
        let late = to < from || self.is_late(direction, header.stream);
        if !late {
            let id = header.stream;
            self.streams.entry(id).or_insert_with(|| Stream::new(id));
        }
        let open = OpenData { stream: header.stream, late, payload, at: payload[0] };
        self.lane(direction).data = Some(open);
    }

    /// True for a stream that is over, or on which `direction` has said all.
    fn is_late(&self, direction: Direction, id: u32) -> bool {
        match self.streams.get(&id) {
            Some(stream) => stream.has_ended(direction),
            None => self.is_done(id),
        }
    }

    fn is_done(&self, id: u32) -> bool {
        // Odd streams are the client's (RFC 9113, section 5.1.1).
        let opener = self.client.map(|client| if id % 2 == 1 { client } else { client.reverse() });
        let is_whole = self.lanes.iter().all(|lane| !lane.lossy);
        let largest = |opener: Direction| self.lanes[opener.index()].largest[(id % 2) as usize];
        let is_passed = opener.is_some_and(|opener| id <= largest(opener));
        (is_whole && is_passed) || self.done.contains(&id)
    }

    /// The stream `id`, which may be new.
    fn stream(&mut self, id: u32, out: &mut dyn Output) -> &mut Stream {
        self.streams.entry(id).or_insert_with(|| Stream::new(id));
        let oldest = self.streams.keys().copied().find(|oldest| *oldest != id);
        if self.streams.len() > PENDING_MAX
            && let Some(mut stream) = oldest.and_then(|oldest| self.streams.remove(&oldest))
        {
            stream.give_up(Cause::Limit);
            oldest.into_iter().for_each(|oldest| self.remember(oldest));
            stream.into_record(self.client, false, self.lost_of_lanes(), out);
        }
        self.streams.entry(id).or_insert_with(|| Stream::new(id))
    }

    fn remember(&mut self, id: u32) {
        if self.done.len() >= DONE_MAX {
            self.done.pop_front();
        }
        self.done.push_back(id);
    }

    /// Makes the record of a stream that is over.
    fn settle(&mut self, id: u32, out: &mut dyn Output) {
        let lacks = self.client.is_none_or(|client| self.lanes[client.index()].lossy);
        if !self.streams.get(&id).is_some_and(|stream| stream.is_complete(self.client, lacks)) {
            return;
        }
        if let Some(stream) = self.streams.remove(&id) {
            self.remember(id);
            stream.into_record(self.client, false, self.lost_of_lanes(), out);
        }
    }

    fn data(&mut self, header: Header, part: &Part<'_>, out: &mut dyn Output) {
        let open = self.lane(part.direction).data.take();
        let Some(open) = open.filter(|open| !open.late) else { return self.late(header, part, out) };
        let [_, to] = open.payload;
        let options = self.options;
        let stream = self.stream(header.stream, out);
        stream.draft(part.direction).extend(part.direction, part.range, part.times, part.causes);
        stream.miss(part.direction, to.saturating_sub(open.at), &options);
        if header.has(frame::END_STREAM) {
            stream.end(part.direction);
            self.settle(header.stream, out);
        }
    }

    fn headers(&mut self, header: Header, part: &Part<'_>, out: &mut dyn Output) {
        let id = header.stream;
        let mut target = Target::Stream(id);
        if self.is_late(part.direction, id) {
            target = Target::Late;
            self.late(header, part, out);
        } else {
            let stream = self.stream(id, out);
            stream.draft(part.direction).extend(part.direction, part.range, part.times, part.causes);
        }
        self.lane(part.direction).note(id);
        // Padding was checked, but for that of a frame that a gap cuts.
        let payload = frame::unpadded(header, part.payload).unwrap_or_default();
        let skipped = if header.has(frame::WITH_PRIORITY) { 5 } else { 0 };
        let fragment = payload.get(skipped..).unwrap_or_default();
        self.begin_block(header, target, header.has(frame::END_STREAM), fragment, part, out);
    }

    fn push_promise(&mut self, header: Header, part: &Part<'_>, out: &mut dyn Output) {
        self.client.get_or_insert(part.direction.reverse());
        let payload = frame::unpadded(header, part.payload).unwrap_or_default();
        let target = match promised(payload).filter(|id| *id != 0 && !self.is_done(*id)) {
            Some(id) => {
                let promise = self.stream(id, out).promise(part.direction);
                promise.extend(part.direction, part.range, part.times, part.causes);
                self.lane(part.direction).note(id);
                Target::Promise(id)
            }
            None => {
                self.late(header, part, out);
                Target::Late
            }
        };
        let fragment = payload.get(4..).unwrap_or_default();
        self.begin_block(header, target, false, fragment, part, out);
    }

    fn begin_block(
        &mut self,
        header: Header,
        target: Target,
        ends_stream: bool,
        fragment: &[u8],
        part: &Part<'_>,
        out: &mut dyn Output,
    ) {
        if self.lane(part.direction).block.take().is_some() {
            // RFC 9113, section 6.10: nothing may come between. What was begun can't be read.
            self.lane(part.direction).hpack.forget();
        }
        let block = OpenBlock { stream: header.stream, target, ends_stream, data: Vec::new(), cut: false };
        self.lane(part.direction).block = Some(block);
        self.add_fragment(header, fragment, part, out);
    }

    fn continuation(&mut self, header: Header, part: &Part<'_>, out: &mut dyn Output) {
        let block = self.lane(part.direction).block.as_ref();
        match block.filter(|block| block.stream == header.stream).map(|block| block.target) {
            Some(Target::Stream(id)) => {
                let stream = self.stream(id, out);
                stream.draft(part.direction).extend(part.direction, part.range, part.times, part.causes);
            }
            Some(Target::Promise(id)) => {
                let promise = self.stream(id, out).promise(part.direction);
                promise.extend(part.direction, part.range, part.times, part.causes);
            }
            Some(Target::Late) => self.late(header, part, out),
            // The end of a block whose beginning is lost.
            None => {
                self.lane(part.direction).hpack.forget();
                if self.is_late(part.direction, header.stream) {
                    return self.late(header, part, out);
                }
                let draft = self.stream(header.stream, out).draft(part.direction);
                draft.extend(part.direction, part.range, part.times, part.causes);
                return;
            }
        }
        self.add_fragment(header, part.payload, part, out);
    }

    fn add_fragment(&mut self, header: Header, fragment: &[u8], part: &Part<'_>, out: &mut dyn Output) {
        let Some(block) = &mut self.lane(part.direction).block else { return };
        let room = if block.cut { 0 } else { BLOCK_MAX - block.data.len() };
        block.data.extend_from_slice(&fragment[..fragment.len().min(room)]);
        block.cut |= !part.causes.is_empty() || !part.whole || fragment.len() > room;
        if header.has(frame::END_HEADERS) || part.causes.contains(&Cause::Incomplete) {
            self.end_block(part.direction, out);
        }
    }

    fn end_block(&mut self, direction: Direction, out: &mut dyn Output) {
        let lane = self.lane(direction);
        let Some(open) = lane.block.take() else { return };
        let mut block = lane.hpack.decode(&open.data);
        if open.cut {
            lane.hpack.forget();
            // The fault is the cut, which has its own cause.
            (block.fault, block.cut) = (None, true);
            block.left_out += usize::from(open.data.len() >= BLOCK_MAX);
        }
        if let Some(fault) = block.fault {
            out.step("header-block", format_args!("stream {}: {fault}", open.stream));
        }
        self.learn(direction, &block);
        let options = self.options;
        match open.target {
            Target::Stream(id) => {
                let stream = self.stream(id, out);
                if stream.draft(direction).block(block, open.ends_stream, &options) {
                    out.step("stream", format_args!("{} of stream {id} begins", direction.name()));
                }
                if open.ends_stream {
                    self.stream(id, out).end(direction);
                    self.settle(id, out);
                }
            }
            Target::Promise(id) => {
                self.stream(id, out).promise(direction).block(block, true, &options);
            }
            Target::Late => {}
        }
    }

    /// Learns from pseudo-header fields which way requests go.
    fn learn(&mut self, direction: Direction, block: &hpack::Block) {
        if self.client.is_some() {
            return;
        }
        let has = |name: &[u8]| block.lines.iter().any(|(known, _)| known.bytes() == Some(name));
        if has(b":status") {
            self.client = Some(direction.reverse());
        } else if has(b":method") || has(b":path") {
            self.client = Some(direction);
        }
    }

    fn rst_stream(&mut self, header: Header, part: &Part<'_>, out: &mut dyn Output) {
        let id = header.stream;
        if !self.streams.contains_key(&id) && self.is_done(id) {
            return self.late(header, part, out);
        }
        let code = part.payload.first_chunk().map_or(0, |code| u32::from_be_bytes(*code));
        let stream = self.stream(id, out);
        stream.draft(part.direction).extend(part.direction, part.range, part.times, part.causes);
        stream.reset(part.direction, code);
        self.settle(id, out);
    }

    /// A frame of a stream that is over.
    fn late(&mut self, header: Header, part: &Part<'_>, out: &mut dyn Output) {
        let kind = frame::type_name(header.kind);
        out.step("late", format_args!("{kind} of stream {}, which is over", header.stream));
        self.control.count(header.kind, true, part, self.client, out);
    }
}

/// The stream that a payload of PUSH_PROMISE promises.
fn promised(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|id| u32::from_be_bytes(*id) & 0x7fff_ffff)
}

/// A half of one frame.
fn half(part: &Part<'_>, summary: String, fields: Vec<crate::record::Field>) -> Half {
    let mut half = Half::new(part.direction, part.range, part.times, summary, fields);
    part.causes.iter().for_each(|&cause| half.add_cause(cause));
    half
}
