//! OP_COMPRESSED: a message within a message
//! (<https://github.com/mongodb/specifications/blob/master/source/compression/OP_COMPRESSED.md>).

use crate::protocol::cursor::Cursor;
use flate2::read::ZlibDecoder;
use std::io::Read;

/// How many bytes of the message within are looked at, whatever it says to be long.
pub const INFLATED_MAX: usize = 1 << 20;

/// Snappy can only be undone as a whole: a message that is longer stays compressed.
const SNAPPY_MAX: usize = 4 << 20;

/// Length of what is in front of the compressed bytes.
const PREFIX: usize = 9;

/// The message within.
#[derive(Debug)]
pub struct Inner {
    pub op_code: i32,
    /// The name of how it was compressed.
    pub compressor: &'static str,
    /// Its body, without a header, or the beginning of it.
    pub body: Vec<u8>,
    /// Why `body` is not all of it.
    pub short: Option<Short>,
}

/// Why a message within could not be looked at to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// It is longer than what is looked at.
    Limit,
    /// Nobody knows how it is compressed.
    Unsupported,
    /// Bytes of it are missing.
    Missing,
}

/// Undoes the compression of what follows the header. `is_cut` where bytes of it are missing, `is_limited` where it
/// is longer than what was kept of it.
///
/// # Errors
/// It is not what it says to be.
pub fn inflate(bytes: &[u8], is_cut: bool, is_limited: bool) -> Result<Inner, String> {
    let mut cursor = Cursor::new(bytes);
    let (op_code, size, id) = (cursor.i32_le(), cursor.u32_le(), cursor.u8());
    let (Some(op_code), Some(size), Some(id)) = (op_code, size, id) else {
        let none = Inner { op_code: 0, compressor: "unknown", body: Vec::new(), short: Some(Short::Missing) };
        return if is_cut { Ok(none) } else { Err(format!("OP_COMPRESSED of less than {PREFIX} bytes")) };
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let wanted = size.min(INFLATED_MAX);
    let compressed = cursor.rest();
    let is_partial = is_cut || is_limited;
    let (compressor, body) = match id {
        0 => ("noop", Some(compressed[..compressed.len().min(wanted)].to_vec())),
        1 if size > SNAPPY_MAX || is_partial => ("snappy", None),
        1 => ("snappy", Some(snappy(compressed, size)?)),
        2 => ("zlib", Some(prefix(ZlibDecoder::new(compressed), wanted, is_partial)?)),
        3 => ("zstd", Some(zstd(compressed, wanted, is_partial)?)),
        _ => {
            let body = Vec::new();
            return Ok(Inner { op_code, compressor: "unknown", body, short: Some(Short::Unsupported) });
        }
    };
    let mut body = body.unwrap_or_default();
    let is_short = body.len() < size;
    body.truncate(INFLATED_MAX);
    let short = match is_short || size > INFLATED_MAX {
        true if is_cut => Some(Short::Missing),
        true if is_limited || size > INFLATED_MAX => Some(Short::Limit),
        true => return Err(format!("{compressor} gives fewer bytes than the message says")),
        false => None,
    };
    Ok(Inner { op_code, compressor, body, short })
}

fn snappy(compressed: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let length = snap::raw::decompress_len(compressed).map_err(|error| error.to_string())?;
    if length != size {
        return Err("snappy gives another number of bytes than the message says".to_owned());
    }
    snap::raw::Decoder::new().decompress_vec(compressed).map_err(|error| error.to_string())
}

fn zstd(compressed: &[u8], wanted: usize, is_partial: bool) -> Result<Vec<u8>, String> {
    match ruzstd::decoding::StreamingDecoder::new(compressed) {
        Ok(decoder) => prefix(decoder, wanted, is_partial),
        Err(_) if is_partial => Ok(Vec::new()),
        Err(error) => Err(format!("zstd: {error}")),
    }
}

/// The first bytes of what a decoder gives.
fn prefix(mut decoder: impl Read, wanted: usize, is_partial: bool) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    let mut part = [0; 8192];
    while body.len() < wanted {
        let most = part.len().min(wanted - body.len());
        match decoder.read(&mut part[..most]) {
            Ok(0) => break,
            Ok(count) => body.extend_from_slice(&part[..count]),
            Err(_) if is_partial => break,
            Err(error) => return Err(format!("the compressed bytes are damaged: {error}")),
        }
    }
    Ok(body)
}
