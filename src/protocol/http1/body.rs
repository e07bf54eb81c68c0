//! The body of a message: where it ends (Content-Length, chunks, end of the stream) and what of it is
//! shown.
//!
//! Payload is never copied unless a record is to show it, and then up to a bound: a body of any size
//! passes in constant memory.

use super::head::{self, MAX_HEAD};
use crate::record::Value;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use memchr::memchr;
use std::io::{self, Write};

/// Longest line of a chunk's size with its extensions.
const MAX_CHUNK_LINE: usize = 16 * 1024;

/// Where in its body a message is.
#[derive(Debug)]
pub(super) enum Extent {
    /// This many bytes are still to come; 0: the message is whole.
    Length(u64),
    /// Before a chunk's size.
    ChunkSize,
    /// This many bytes of a chunk are still to come.
    ChunkData(u64),
    /// Before the line break after a chunk's data.
    ChunkEnd,
    /// In the trailer section, of which so many bytes are known to hold no end.
    Trailers(usize),
    /// Up to the end of the stream.
    UntilClose,
}

/// What [`Extent::advance`] did.
#[derive(Debug)]
pub(super) enum Advance {
    /// So many bytes were taken; go on after them.
    Taken(usize),
    /// The message is whole after so many bytes.
    Whole(usize),
    /// Nothing can be taken before more bytes come. Says of what.
    More(&'static str),
    /// The next so many bytes are not what they should be.
    Bad(usize, String),
}

impl Extent {
    /// Takes one part of the body from the front of `data`.
    pub(super) fn advance(
        &mut self,
        data: &[u8],
        body: &mut Body,
        trailers: &mut Vec<(Value, Value)>,
        show_secrets: bool,
    ) -> Advance {
        match self {
            Extent::Length(0) => Advance::Whole(0),
            _ if data.is_empty() => Advance::More(self.waits_for()),
            Extent::Length(left) => {
                let taken = take_payload(left, data, body);
                if *left == 0 { Advance::Whole(taken) } else { Advance::Taken(taken) }
            }
            Extent::UntilClose => {
                body.push(data);
                Advance::Taken(data.len())
            }
            Extent::ChunkData(left) => {
                let taken = take_payload(left, data, body);
                if *left == 0 {
                    *self = Extent::ChunkEnd;
                }
                Advance::Taken(taken)
            }
            Extent::ChunkEnd => match data {
                [b'\r', b'\n', ..] => self.then(Extent::ChunkSize, 2),
                [b'\n', ..] => self.then(Extent::ChunkSize, 1),
                [b'\r'] => Advance::More(self.waits_for()),
                _ => Advance::Bad(1, "no line break after a chunk's data".into()),
            },
            Extent::ChunkSize => self.chunk_size(data),
            Extent::Trailers(searched) => match head::section_end(data, *searched) {
                Some(end) => match head::parse_trailers(&data[..end], show_secrets) {
                    Ok(fields) => {
                        *trailers = fields;
                        Advance::Whole(end)
                    }
                    Err(reason) => Advance::Bad(end, reason),
                },
                None if data.len() > MAX_HEAD => {
                    Advance::Bad(MAX_HEAD, format!("no end of the trailers within {MAX_HEAD} bytes"))
                }
                None => {
                    *searched = data.len();
                    Advance::More(self.waits_for())
                }
            },
        }
    }

    fn then(&mut self, next: Extent, taken: usize) -> Advance {
        *self = next;
        Advance::Taken(taken)
    }

    fn chunk_size(&mut self, data: &[u8]) -> Advance {
        let Some(end) = memchr(b'\n', &data[..data.len().min(MAX_CHUNK_LINE)]) else {
            // Garbage without a line break is told by its first byte, not after 16 KiB.
            if !data[0].is_ascii_hexdigit() {
                return Advance::Bad(1, "no chunk size".into());
            }
            if data.len() >= MAX_CHUNK_LINE {
                return Advance::Bad(MAX_CHUNK_LINE, format!("no chunk size within {MAX_CHUNK_LINE} bytes"));
            }
            return Advance::More(self.waits_for());
        };
        match parse_chunk_size(head::without_cr(&data[..end])) {
            Some(0) => self.then(Extent::Trailers(0), end + 1),
            Some(size) => self.then(Extent::ChunkData(size), end + 1),
            None => Advance::Bad(end + 1, "no chunk size".into()),
        }
    }

    /// What the next bytes are waited for to be.
    pub(super) fn waits_for(&self) -> &'static str {
        match self {
            Extent::Length(_) => "the rest of the body",
            Extent::ChunkSize => "a chunk's size",
            Extent::ChunkData(_) => "the rest of a chunk",
            Extent::ChunkEnd => "the line break after a chunk",
            Extent::Trailers(_) => "the end of the trailers",
            Extent::UntilClose => "the end of the stream",
        }
    }

    /// Bytes of payload that are known to come next; a gap inside them changes nothing of the extent.
    pub(super) fn known_ahead(&self) -> u64 {
        match self {
            Extent::Length(left) | Extent::ChunkData(left) => *left,
            Extent::UntilClose => u64::MAX,
            Extent::ChunkSize | Extent::ChunkEnd | Extent::Trailers(_) => 0,
        }
    }

    /// Passes over `length` missing bytes of payload, at most [`Extent::known_ahead`].
    pub(super) fn pass_over(&mut self, length: u64) {
        match self {
            Extent::Length(left) => *left = left.saturating_sub(length),
            Extent::ChunkData(left) => {
                *left = left.saturating_sub(length);
                if *left == 0 {
                    *self = Extent::ChunkEnd;
                }
            }
            _ => {}
        }
    }
}

fn take_payload(left: &mut u64, data: &[u8], body: &mut Body) -> usize {
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
    body.push(&data[..taken]);
    *left -= taken as u64;
    taken
}

/// `chunk-size [ chunk-ext ]` (RFC 9112, section 7.1); white space after the size is tolerated.
fn parse_chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let rest = line[digits..].trim_ascii_start();
    if digits == 0 || !(rest.is_empty() || rest[0] == b';') {
        return None;
    }
    line[..digits].iter().try_fold(0u64, |size, &byte| {
        // Is a hexadecimal digit, as just counted.
        let digit = char::from(byte).to_digit(16)?;
        size.checked_mul(16)?.checked_add(u64::from(digit))
    })
}

/// The payload of one message: counted, and kept up to a bound where a record is to show it.
pub(in crate::protocol) struct Body {
    /// Bytes of payload, also those that are missing or not kept.
    pub(in crate::protocol) length: u64,
    keep: Keep,
    /// The coding that is not undone, if any.
    pub(in crate::protocol) unsupported: Option<String>,
}

/// What is kept of a body.
enum Keep {
    Nothing,
    Plain(Bounded),
    /// Compressed, as the header says; the first two bytes decide whether that is true. Holds the first
    /// where it came alone, and the bound.
    Undecided(Coding, Option<u8>, usize),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Zlib(Box<ZlibDecoder<Bounded>>),
    Deflate(Box<DeflateDecoder<Bounded>>),
    /// Nothing more is wanted: the bound is reached, the data is corrupt or lacks bytes.
    Done(Shown),
}

#[derive(Clone, Copy, Debug)]
enum Coding {
    Gzip,
    Deflate,
}

/// What is shown of a body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Shown {
    /// A prefix of the payload, decompressed where `decoded` says so.
    pub(in crate::protocol) bytes: Vec<u8>,
    pub(in crate::protocol) decoded: bool,
    /// There is more than the bound let through.
    pub(in crate::protocol) cut: bool,
}

impl Body {
    /// A body that went through `codings`, of which up to `limit` bytes are kept.
    pub(in crate::protocol) fn new(codings: &[String], limit: usize) -> Body {
        let (keep, unsupported) = match codings {
            _ if limit == 0 => (Keep::Nothing, None),
            [] => (Keep::Plain(Bounded::new(limit)), None),
            [one] if one == "gzip" || one == "x-gzip" => (Keep::Undecided(Coding::Gzip, None, limit), None),
            [one] if one == "deflate" => (Keep::Undecided(Coding::Deflate, None, limit), None),
            _ => (Keep::Plain(Bounded::new(limit)), Some(codings.join(", "))),
        };
        Body { length: 0, keep, unsupported }
    }

    /// Takes payload.
    pub(in crate::protocol) fn push(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        self.keep(data);
    }

    /// Counts payload that is missing. What comes after it is not shown: a hole must not be hidden.
    pub(in crate::protocol) fn miss(&mut self, length: u64) {
        self.length += length;
        let shown = self.take_shown();
        if let Some(shown) = shown {
            self.keep = Keep::Done(shown);
        }
    }

    /// What is to be shown; none where nothing was asked for.
    pub(in crate::protocol) fn take_shown(&mut self) -> Option<Shown> {
        let (bounded, decoded) = match std::mem::replace(&mut self.keep, Keep::Nothing) {
            Keep::Nothing => return None,
            Keep::Done(shown) => return Some(shown),
            Keep::Plain(kept) => (kept, false),
            // At most one byte, and the bound is not 0.
            Keep::Undecided(_, first, limit) => {
                (Bounded { bytes: first.into_iter().collect(), limit, over: false }, false)
            }
            // Errors end a decoder; what it gave until then is the decodable prefix.
            Keep::Gzip(mut decoder) => (drain(&mut *decoder, |decoder| decoder.get_mut()), true),
            Keep::Zlib(mut decoder) => (drain(&mut *decoder, |decoder| decoder.get_mut()), true),
            Keep::Deflate(mut decoder) => (drain(&mut *decoder, |decoder| decoder.get_mut()), true),
        };
        Some(Shown { bytes: bounded.bytes, decoded, cut: bounded.over })
    }

    fn keep(&mut self, data: &[u8]) {
        let result = match &mut self.keep {
            Keep::Nothing | Keep::Done(_) => return,
            Keep::Undecided(coding, first, limit) => match (*first, data) {
                (_, []) => return,
                (None, [only]) => {
                    *first = Some(*only);
                    return;
                }
                (None, [one, two, ..]) => {
                    self.keep = Keep::decide(*coding, [*one, *two], *limit);
                    return self.keep(data);
                }
                (Some(one), [two, ..]) => {
                    self.keep = Keep::decide(*coding, [one, *two], *limit);
                    self.keep(&[one]);
                    return self.keep(data);
                }
            },
            Keep::Plain(kept) => kept.write_all(data),
            Keep::Gzip(decoder) => decoder.write_all(data),
            Keep::Zlib(decoder) => decoder.write_all(data),
            Keep::Deflate(decoder) => decoder.write_all(data),
        };
        if result.is_err() {
            self.stop();
        }
    }

    fn stop(&mut self) {
        if let Some(shown) = self.take_shown() {
            self.keep = Keep::Done(shown);
        }
    }
}

impl Keep {
    /// Chooses by the first two bytes. Servers are known to announce gzip and send plain text, and to
    /// send raw DEFLATE for `deflate`, which means the zlib format (RFC 9110, section 8.4.1.2).
    fn decide(coding: Coding, first: [u8; 2], limit: usize) -> Keep {
        let kept = Bounded::new(limit);
        let is_zlib = first[0] & 0x0f == 8 && u16::from_be_bytes(first).is_multiple_of(31); // RFC 1950, section 2.2
        match coding {
            Coding::Gzip if first == [0x1f, 0x8b] => Keep::Gzip(Box::new(MultiGzDecoder::new(kept))),
            Coding::Gzip => Keep::Plain(kept),
            Coding::Deflate if is_zlib => Keep::Zlib(Box::new(ZlibDecoder::new(kept))),
            Coding::Deflate => Keep::Deflate(Box::new(DeflateDecoder::new(kept))),
        }
    }
}

/// Gets out of a decoder what it made of the bytes so far.
fn drain<D: Write>(decoder: &mut D, kept: fn(&mut D) -> &mut Bounded) -> Bounded {
    // Fails where the data is corrupt or the bound reached: what came out before is what is shown.
    let _ = decoder.flush();
    std::mem::take(kept(decoder))
}

/// Keeps the first bytes written to it; fails at its bound, which stops a decompression bomb.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
    over: bool,
}

impl Bounded {
    fn new(limit: usize) -> Bounded {
        Bounded { bytes: Vec::new(), limit, over: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = self.limit - self.bytes.len();
        self.bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            self.over = true;
            return Err(io::Error::other("the bound is reached"));
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
