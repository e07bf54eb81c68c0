//! memcached over UDP (doc/protocol.txt, "UDP protocol"): a header of 8 bytes in front of the text protocol.
//!
//! A request is one datagram. Its answer is one or more, which have its request id, their place and how many there are;
//! they may come in any order, or not at all. The answer is put together when all have come, up to a bound.

use super::answer;
use super::command::{self, Read, Verb};
use super::pairing::Pairing;
use super::reply::Reply;
use super::request::{self, Ask};
use super::{NAME, detect};
use crate::event::{Address, Cause, Direction, Range, Timestamp};
use crate::protocol::exchange::{self, Half};
use crate::protocol::framed::Frame;
use crate::protocol::{Datagram, Options, Output, Verdict};
use crate::record::{Field, Value};
use std::collections::{BTreeMap, VecDeque};

/// Bytes of the header: request id, sequence number, how many datagrams, and two that are zero.
const HEADER: usize = 8;

/// How many requests may wait for their answers.
const OPEN_MAX: usize = 1024;

/// How long an answer is waited for, in nanoseconds. Clients wait for seconds at most.
const PATIENCE: u64 = 60_000_000_000;

/// How many bytes of one answer are put together. Those behind it are counted.
const ANSWER_MAX: usize = 1 << 20;

/// How many datagrams of one answer are told apart. A server sends up to 65535.
const CHUNKS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    id: u16,
    seq: u16,
    total: u16,
}

fn header(data: &[u8]) -> Option<Header> {
    let head: &[u8; HEADER] = data.first_chunk()?;
    let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (id, seq, total, reserved) = (number(0), number(2), number(4), number(6));
    (reserved == 0 && seq < total).then_some(Header { id, seq, total })
}

/// Judges a datagram by itself: the beginning of a request, or of an answer.
pub fn detect(datagram: &Datagram<'_>) -> Verdict {
    let Some(header) = header(datagram.data) else { return Verdict::No("no header of a datagram") };
    if header.seq > 0 {
        return Verdict::No("its beginning is not known");
    }
    let body = &datagram.data[HEADER..];
    if header.total == 1 && detect::begins_commands(body) {
        return Verdict::Match(90);
    }
    match detect::begins_answers(body, header.total == 1) {
        true => Verdict::Match(90),
        false => Verdict::No("neither a command nor an answer begins here"),
    }
}

/// A datagram of an answer.
#[derive(Debug)]
struct Chunk {
    direction: Direction,
    range: Range,
    /// What it has behind the header, as far as it is kept.
    data: Vec<u8>,
    time: Timestamp,
    /// Why that is not all.
    cause: Option<Cause>,
}

/// A request and what came of its answer.
#[derive(Debug)]
struct Exchange {
    peer: Option<Address>,
    id: u16,
    begun: Timestamp,
    pairing: Pairing,
    total: u16,
    chunks: BTreeMap<u16, Chunk>,
    bytes: usize,
}

/// All that goes through a socket.
#[derive(Debug, Default)]
pub struct Udp {
    /// The direction in which requests go, once known.
    client: Option<Direction>,
    open: VecDeque<Exchange>,
}

impl Udp {
    /// Whether a datagram continues an answer, or is one, whose request is known.
    pub fn continues(&self, datagram: &Datagram<'_>) -> bool {
        let Some(header) = header(datagram.data) else { return false };
        self.client != Some(datagram.direction)
            && self.find(datagram.peer, header.id).is_some_and(|at| {
                let open = &self.open[at];
                !open.pairing.is_idle() || !open.chunks.is_empty() && open.total == header.total
            })
    }

    fn find(&self, peer: Option<Address>, id: u16) -> Option<usize> {
        self.open.iter().rposition(|open| (open.peer, open.id) == (peer, id))
    }

    /// Takes a datagram that [`detect()`] or [`Udp::continues`] is sure of. `client`: the direction of the client if its
    /// content does not tell.
    pub fn take(
        &mut self,
        client: Direction,
        datagram: &Datagram<'_>,
        options: Options,
        out: &mut dyn Output,
    ) {
        let refuse = |out: &mut dyn Output| {
            let reason = format_args!("no header of a datagram of memcached");
            out.skip(datagram.direction, datagram.captured(), Cause::ParseError, reason);
        };
        let Some(header) = header(datagram.data) else { return refuse(out) };
        let body = &datagram.data[HEADER..];
        self.give_up_old(datagram.time, options, out);
        // Who sends which says more than who was first seen to send.
        let is_single = header.total == 1;
        let said = (is_single && detect::begins_commands(body), detect::begins_answers(body, is_single));
        let from_client = match said {
            _ if header.seq > 0 => false,
            (true, false) => true,
            (false, true) => false,
            _ => self.client.unwrap_or(client) == datagram.direction,
        };
        if from_client && (!is_single || !matches!(command::read(body), Read::Line(_))) {
            return refuse(out);
        }
        let sender = if from_client { datagram.direction } else { datagram.direction.reverse() };
        self.client.get_or_insert(sender);
        if from_client {
            self.request(header.id, body, datagram, options, out);
        } else {
            self.answer(header, body, datagram, options, out);
        }
    }

    fn request(
        &mut self,
        id: u16,
        body: &[u8],
        datagram: &Datagram<'_>,
        options: Options,
        out: &mut dyn Output,
    ) {
        if let Some(old) = self.find(datagram.peer, id).and_then(|at| self.open.remove(at)) {
            old.end(options, out);
        }
        let mut pairing = Pairing::default();
        let mut at = 0;
        let mut from = datagram.range.from;
        while let Read::Line(command) = command::read(&body[at..]) {
            let whole = usize::try_from(command.whole()).unwrap_or(usize::MAX).min(body.len() - at);
            let (data, next) = (&body[at..at + whole], at + whole);
            // What is behind the last command belongs to it: a server takes no more than whole ones.
            let is_last = !matches!(command::read(&body[next..]), Read::Line(_));
            let to = if is_last { datagram.range.to } else { datagram.range.from + (HEADER + next) as u64 };
            let cause = datagram.cause.filter(|_| is_last);
            let frame = Frame {
                direction: datagram.direction,
                range: Range::new(from, to),
                data: &data[..data.len().min(command.length + options.max_field)],
                length: command.whole(),
                times: [datagram.time; 2],
                causes: cause.into_iter().collect(),
            };
            out.frame(frame.direction, frame.range, format_args!("request {id}: {:?}", command.verb));
            let mut half = request::half(&command, &frame, options, false);
            half.message.fields.push(Field::new("request_id", Value::Number(id.into())));
            let bad_block = command.block.is_some() && cause.is_none() && !data.ends_with(b"\r\n");
            if command.noreply || command.verb == Verb::Quit {
                exchange::lone(NAME, half, true, out);
            } else {
                pairing.command(Ask::new(&command, bad_block), half, out);
            }
            (at, from) = (next, to);
        }
        if pairing.is_idle() {
            return;
        }
        if self.open.len() >= OPEN_MAX
            && let Some(mut oldest) = self.open.pop_front()
        {
            oldest.pairing.lost_answers(Cause::Limit, out);
            oldest.end(options, out);
        }
        let (peer, begun) = (datagram.peer, datagram.time);
        let (chunks, bytes) = (BTreeMap::new(), 0);
        self.open.push_back(Exchange { peer, id, begun, pairing, total: 0, chunks, bytes });
    }

    fn answer(
        &mut self,
        header: Header,
        body: &[u8],
        datagram: &Datagram<'_>,
        options: Options,
        out: &mut dyn Output,
    ) {
        let known = self.find(datagram.peer, header.id);
        let mut open = known.and_then(|at| self.open.remove(at)).unwrap_or_else(|| Exchange {
            peer: datagram.peer,
            id: header.id,
            begun: datagram.time,
            pairing: Pairing::default(),
            total: 0,
            chunks: BTreeMap::new(),
            bytes: 0,
        });
        let is_new = open.chunks.is_empty();
        let is_foreign = !is_new && open.total != header.total || open.chunks.contains_key(&header.seq);
        if is_foreign || open.chunks.len() >= CHUNKS_MAX {
            let words = format!("datagram {} of {} of an answer, again", header.seq + 1, header.total);
            let cause = if is_foreign { None } else { Some(Cause::Limit) };
            lone(datagram.direction, &[datagram.range], datagram.time, words, cause, out);
        } else {
            open.total = header.total;
            let fits = open.bytes + body.len() <= ANSWER_MAX;
            let (data, cut) =
                if fits { (body.to_vec(), None) } else { (Vec::new(), Some(Cause::FieldTruncated)) };
            open.bytes += data.len();
            let cause = datagram.cause.or(cut);
            let Datagram { direction, range, time, .. } = *datagram;
            open.chunks.insert(header.seq, Chunk { direction, range, data, time, cause });
        }
        if open.chunks.len() == usize::from(open.total) {
            return open.end(options, out);
        }
        if self.open.len() >= OPEN_MAX
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.end(options, out);
        }
        self.open.push_back(open);
    }

    fn give_up_old(&mut self, now: Timestamp, options: Options, out: &mut dyn Output) {
        while let Some(oldest) = self.open.front()
            && now.since(oldest.begun) > PATIENCE
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.end(options, out);
        }
    }

    /// The socket, or the trace, is over.
    pub fn close(&mut self, options: Options, out: &mut dyn Output) {
        self.open.drain(..).for_each(|open| open.end(options, out));
    }
}

impl Exchange {
    /// What came of the answer is read, and what has none becomes a record without.
    fn end(mut self, options: Options, out: &mut dyn Output) {
        let chunks = std::mem::take(&mut self.chunks);
        if let Some(first) = chunks.values().next() {
            let direction = first.direction;
            let mut text = Assembled { at: Vec::new(), data: Vec::new() };
            let mut cause = None;
            let mut behind = Vec::new();
            for (index, (seq, chunk)) in chunks.iter().enumerate() {
                if cause.is_none() && usize::from(*seq) != index {
                    cause = Some(Cause::Incomplete);
                }
                if cause.is_some() {
                    behind.push(chunk.range);
                    continue;
                }
                text.at.push((text.data.len(), chunk.range));
                text.data.extend_from_slice(&chunk.data);
                cause = chunk.cause;
            }
            let is_short = chunks.len() < usize::from(self.total);
            cause = cause.or(is_short.then_some(Cause::Incomplete));
            let ended = chunks.values().map(|chunk| chunk.time).max().unwrap_or(first.time);
            self.read(direction, &text, &behind, [first.time, ended], cause, options, out);
        }
        self.pairing.close(out);
    }

    /// Reads the lines of an answer. `cause`: why it ends early; `behind`: the datagrams behind that place.
    #[expect(clippy::too_many_arguments, reason = "what an answer is put together from")]
    fn read(
        &mut self,
        direction: Direction,
        text: &Assembled,
        behind: &[Range],
        times: [Timestamp; 2],
        cause: Option<Cause>,
        options: Options,
        out: &mut dyn Output,
    ) {
        let mut replies: Vec<(Reply, Vec<Range>)> = Vec::new();
        let mut at = 0;
        while let Read::Line(line) = answer::read(&text.data[at..]) {
            let whole = usize::try_from(line.whole()).unwrap_or(usize::MAX).min(text.data.len() - at);
            let data = &text.data[at..at + whole];
            let is_cut = (whole as u64) < line.whole();
            let parts = text.parts(at, at + whole);
            let Some(&range) = parts.first() else { break };
            let frame = Frame {
                direction,
                range,
                data: &data[..data.len().min(line.length + options.max_field)],
                length: line.whole(),
                times,
                causes: cause.filter(|_| is_cut).into_iter().collect(),
            };
            let is_open = |last: &Reply| last.last.is_none() && last.goes_on_with(&line);
            match replies.last_mut().filter(|(last, _)| is_open(last)) {
                Some((open, ranges)) => {
                    open.add(&line, &frame, options);
                    ranges.extend(parts);
                }
                None => replies.push((Reply::new(&line, &frame, options), parts)),
            }
            at += whole;
        }
        let mut rest = text.parts(at, text.data.len());
        rest.extend_from_slice(behind);
        let Some((last, ranges)) = replies.last_mut() else {
            let words = "an answer that can't be read".to_owned();
            let mut all: Vec<Range> =
                text.at.iter().map(|(_, range)| *range).chain(behind.to_vec()).collect();
            all.sort_by_key(|range| range.from);
            return lone(direction, &all, times[1], words, cause.or(Some(Cause::ParseError)), out);
        };
        if last.last.is_none() || at < text.data.len() || !behind.is_empty() {
            last.add_cause(cause.unwrap_or(Cause::ParseError));
        }
        ranges.extend(rest);
        for (mut reply, mut ranges) in replies {
            // Datagrams need not come in their order.
            ranges.sort_by_key(|range| range.from);
            for &range in &ranges {
                out.frame(direction, range, format_args!("answer {}: {:?}", self.id, reply.first));
            }
            reply.lies_in(&ranges);
            reply.note(Field::new("request_id", Value::Number(self.id.into())));
            reply.note(Field::new("datagrams", Value::Number(self.total.into())));
            self.pairing.answer(reply, false, out);
        }
    }
}

/// The text of an answer, and where its datagrams are: from which byte of the text on, and all of each.
struct Assembled {
    at: Vec<(usize, Range)>,
    data: Vec<u8>,
}

impl Assembled {
    /// Where bytes of the text are in the stream, with the headers in front of them.
    fn parts(&self, from: usize, to: usize) -> Vec<Range> {
        let mut parts = Vec::new();
        for (index, &(begin, range)) in self.at.iter().enumerate() {
            let end = self.at.get(index + 1).map_or(self.data.len(), |next| next.0);
            let (first, last) = (from.max(begin), to.min(end));
            if first >= last {
                continue;
            }
            let place = |at: usize| range.from + (HEADER + at - begin) as u64;
            let start = if first == begin { range.from } else { place(first) };
            // What was cut of a datagram goes with its end.
            let stop = if last == end { range.to } else { place(last) };
            parts.push(Range::new(start, stop));
        }
        parts.sort_by_key(|part| part.from);
        parts
    }
}

/// Datagrams that make no answer.
fn lone(
    direction: Direction,
    parts: &[Range],
    time: Timestamp,
    words: String,
    cause: Option<Cause>,
    out: &mut dyn Output,
) {
    let Some((&first, more)) = parts.split_first() else { return };
    parts.iter().for_each(|&part| out.frame(direction, part, format_args!("{words}")));
    let mut half = Half::new(direction, first, [time; 2], words, Vec::new());
    more.iter().for_each(|&part| half.extend(part, time, &[]));
    cause.into_iter().for_each(|cause| half.add_cause(cause));
    exchange::unasked(NAME, half, out);
}
