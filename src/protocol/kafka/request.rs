//! The header of a request (<https://kafka.apache.org/protocol#protocol_messages>), and whether bytes are a request.

use super::SIZE_MAX;
use super::api::{self, Api};
use super::decode::{Decoder, Stop};
use crate::record::Value;

/// The largest key of an API that is taken for one that is newer than the table.
const KEY_MAX: i16 = 255;

/// The largest version likewise.
const VERSION_MAX: i16 = 63;

/// The longest name of a client that is taken for one.
const CLIENT_ID_MAX: usize = 1024;

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    pub key: i16,
    /// Absent where it is newer than the table.
    pub api: Option<&'static Api>,
    pub version: i16,
    pub correlation: i32,
    pub client_id: Option<&'a [u8]>,
}

impl Header<'_> {
    /// The API's name, or its number.
    pub fn name(&self) -> String {
        self.api.map_or_else(|| format!("api {}", self.key), |api| api.name.to_owned())
    }
}

/// Reads the header at the front of a message.
///
/// # Errors
/// It is not all there, or no request begins like this.
pub fn header<'a>(decoder: &mut Decoder<'a>) -> Result<Header<'a>, Stop> {
    let mut number = || decoder.take(2).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]));
    let (key, version) = (number()?, number()?);
    let is_known = (0..=KEY_MAX).contains(&key) && (0..=VERSION_MAX).contains(&version);
    if !is_known {
        return Err(Stop::Bad("no api's key and version"));
    }
    let correlation = correlation(decoder)?;
    let api = api::find(key);
    let mut client_id = None;
    if api.is_none_or(|api| api.has_client_id(version)) {
        let length = decoder.take(2).map(|bytes| i16::from_be_bytes([bytes[0], bytes[1]]))?;
        if length != -1 {
            let length = usize::try_from(length).map_err(|_| Stop::Bad("a client's name that is none"))?;
            if length > CLIENT_ID_MAX {
                return Err(Stop::Bad("a client's name that is too long"));
            }
            let bytes = decoder.take(length)?;
            let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(char::is_control));
            if !is_text {
                return Err(Stop::Bad("a client's name that is no text"));
            }
            client_id = Some(bytes);
        }
    }
    if api.is_none_or(|api| api.is_flexible(version)) {
        decoder.skip_tags()?;
    }
    Ok(Header { key, api, version, correlation, client_id })
}

/// The number by which a response is found to its request.
///
/// # Errors
/// As above.
pub fn correlation(decoder: &mut Decoder<'_>) -> Result<i32, Stop> {
    decoder.take(4).map(|bytes| i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// What some bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A request that long in all, its number, and how sure that is.
    Whole(usize, i32, u8),
    /// The beginning of one, how long that is, and how sure.
    Begun(u64, i32, u8),
    /// Too short to tell.
    Short,
    No,
}

impl At {
    /// True for a request that is all there and surely one.
    pub fn is_surely_whole(&self) -> bool {
        matches!(self, At::Whole(_, _, 90..))
    }
}

/// Judges the bytes at the front.
pub fn at(data: &[u8]) -> At {
    let Some((size, rest)) = data.split_first_chunk() else { return At::Short };
    let Some(size) = size_of(*size).filter(|&size| size >= 8) else { return At::No };
    let at_hand = size.min(rest.len());
    let mut decoder = Decoder::new(&rest[..at_hand], size - at_hand, false, 0);
    let header = match header(&mut decoder) {
        Ok(header) => header,
        Err(Stop::Short) => return At::Short,
        Err(Stop::Bad(_)) => return At::No,
    };
    let Some(api) = header.api else { return At::No };
    let named = header.client_id.is_some_and(|name| !name.is_empty());
    let mut sure = if named { 60 } else { 30 };
    if let Some([schema, _]) = api.schemas.filter(|_| header.version <= api.newest) {
        let mut fields: Vec<crate::record::Field> = Vec::new();
        let is_flexible = api.is_flexible(header.version);
        match decoder.body(schema, header.version, is_flexible, &mut fields) {
            Ok(()) if at_hand == size && !api.ends(header.version, decoder.cursor.rest()) => return At::No,
            Ok(()) => sure = if named || !fields.is_empty() { 95 } else { 80 },
            Err(Stop::Bad(_)) => return At::No,
            // Records that begin are as good as a whole.
            Err(Stop::Short) if fields.len() > 2 && named => sure = 90,
            Err(Stop::Short) => {}
        }
    }
    match at_hand == size {
        true => At::Whole(size + 4, header.correlation, sure),
        false => At::Begun(size as u64 + 4, header.correlation, sure),
    }
}

/// The size that a message says to have, where it can have it.
pub fn size_of(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(i32::from_be_bytes(bytes)).ok().filter(|&size| size <= SIZE_MAX)
}

/// As text, for a field.
pub fn text(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec()))
}
