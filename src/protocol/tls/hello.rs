//! ClientHello and ServerHello (RFC 8446, sections 4.1.2 and 4.1.3; RFC 5246, section 7.4.1), as bytes of numbers.
//! What is cut is read as far as it came.

use super::names::{is_13, is_grease};
use crate::protocol::cursor::Cursor;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// Numbers of extensions.
pub mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const STATUS_REQUEST: u16 = 5;
    pub const SUPPORTED_GROUPS: u16 = 10;
    pub const EC_POINT_FORMATS: u16 = 11;
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    pub const ALPN: u16 = 16;
    pub const SESSION_TICKET: u16 = 35;
    pub const PRE_SHARED_KEY: u16 = 41;
    pub const EARLY_DATA: u16 = 42;
    pub const SUPPORTED_VERSIONS: u16 = 43;
    pub const KEY_SHARE: u16 = 51;
    /// Key shares before draft 23.
    pub const OLD_KEY_SHARE: u16 = 40;
    pub const ENCRYPTED_CLIENT_HELLO: u16 = 65037;
    pub const ENCRYPTED_SERVER_NAME: u16 = 65486;
}

/// Either hello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello<'a> {
    /// `legacy_version`.
    pub version: u16,
    pub random: &'a [u8],
    pub session_id: &'a [u8],
    /// Those offered, or the one chosen.
    pub cipher_suites: Vec<u16>,
    pub compression: &'a [u8],
    /// By number, in order.
    pub extensions: Vec<(u16, &'a [u8])>,
    /// Its lengths contradict each other, or its end is missing.
    pub is_odd: bool,
}

impl<'a> Hello<'a> {
    /// Reads a ClientHello. None where not even its version is there.
    pub fn client(body: &'a [u8]) -> Option<Hello<'a>> {
        let mut cursor = Cursor::new(body);
        let mut hello = Hello { version: cursor.u16()?, is_odd: true, ..Hello::default() };
        if hello.read_client(&mut cursor).is_some() {
            hello.is_odd = !cursor.is_empty();
        }
        Some(hello)
    }

    fn read_client(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        self.random = cursor.bytes(32)?;
        let length = cursor.u8()?;
        self.session_id = cursor.bytes(length.into())?;
        let length = usize::from(cursor.u16()?);
        let whole = length <= cursor.len();
        self.cipher_suites = numbers(cursor.bytes(length.min(cursor.len()))?);
        whole.then_some(())?;
        let length = cursor.u8()?;
        self.compression = cursor.bytes(length.into())?;
        self.read_extensions(cursor)
    }

    /// Reads a ServerHello. None where not even its version is there.
    pub fn server(body: &'a [u8]) -> Option<Hello<'a>> {
        let mut cursor = Cursor::new(body);
        let mut hello = Hello { version: cursor.u16()?, is_odd: true, ..Hello::default() };
        if hello.read_server(&mut cursor).is_some() {
            hello.is_odd = !cursor.is_empty();
        }
        Some(hello)
    }

    fn read_server(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        self.random = cursor.bytes(32)?;
        // Drafts of TLS 1.3 before 22 left out session id and compression; those behind it, and the standard, give
        // themselves out for TLS 1.2.
        if is_13(self.version) {
            self.cipher_suites = vec![cursor.u16()?];
            return self.read_extensions(cursor);
        }
        let length = cursor.u8()?;
        self.session_id = cursor.bytes(length.into())?;
        self.cipher_suites = vec![cursor.u16()?];
        self.compression = cursor.bytes(1)?;
        self.read_extensions(cursor)
    }

    /// Reads a HelloRetryRequest of a draft before 22, a message of its own.
    pub fn retry(body: &'a [u8]) -> Option<Hello<'a>> {
        let mut cursor = Cursor::new(body);
        let mut hello = Hello { version: cursor.u16()?, random: &RETRY, is_odd: true, ..Hello::default() };
        // The cipher suite came with draft 19.
        if hello.version & 0xff >= 19 {
            hello.cipher_suites = cursor.u16().into_iter().collect();
        }
        if hello.read_extensions(&mut cursor).is_some() {
            hello.is_odd = !cursor.is_empty();
        }
        Some(hello)
    }

    /// Extensions, which SSL 3 and old clients leave out.
    fn read_extensions(&mut self, cursor: &mut Cursor<'a>) -> Option<()> {
        if cursor.is_empty() {
            return Some(());
        }
        let length = usize::from(cursor.u16()?);
        let whole = length <= cursor.len();
        let mut list = cursor.part(length.min(cursor.len()))?;
        while !list.is_empty() {
            let (number, length) = (list.u16()?, usize::from(list.u16()?));
            let Some(data) = list.bytes(length) else {
                self.extensions.push((number, list.rest()));
                return None;
            };
            self.extensions.push((number, data));
        }
        whole.then_some(())
    }

    /// The body of an extension.
    pub fn extension(&self, number: u16) -> Option<&'a [u8]> {
        self.extensions.iter().find(|(of, _)| *of == number).map(|(_, data)| *data)
    }

    /// The versions that the client speaks: those that the extension lists, else those up to `version`.
    pub fn offered_versions(&self) -> Vec<u16> {
        match self.extension(extension::SUPPORTED_VERSIONS) {
            Some(data) => numbers(list8(data)),
            None => vec![self.version],
        }
    }

    /// The version that the server chose.
    pub fn chosen_version(&self) -> u16 {
        let chosen = self.extension(extension::SUPPORTED_VERSIONS).and_then(|data| Cursor::new(data).u16());
        chosen.unwrap_or(self.version)
    }

    /// True of a ServerHello that asks for another ClientHello.
    pub fn is_retry(&self) -> bool {
        self.random == RETRY
    }

    /// The host that the client wants (RFC 6066, section 3).
    pub fn server_name(&self) -> Option<&'a [u8]> {
        let mut list = Cursor::new(list16(self.extension(extension::SERVER_NAME)?));
        while let (Some(kind), Some(length)) = (list.u8(), list.u16()) {
            let name = list.bytes(usize::from(length).min(list.len()))?;
            if kind == 0 {
                return Some(name);
            }
        }
        None
    }

    /// Application protocols, offered or chosen (RFC 7301).
    pub fn alpn(&self) -> Vec<&'a [u8]> {
        let mut list = Cursor::new(list16(self.extension(extension::ALPN).unwrap_or_default()));
        let mut names = Vec::new();
        while let Some(name) = list.u8().and_then(|length| list.bytes(length.into())) {
            names.push(name);
        }
        names
    }

    /// Groups for key exchange that the client knows.
    pub fn groups(&self) -> Vec<u16> {
        self.extension(extension::SUPPORTED_GROUPS).map_or_else(Vec::new, |data| numbers(list16(data)))
    }

    /// Formats of points on elliptic curves.
    pub fn point_formats(&self) -> &'a [u8] {
        self.extension(extension::EC_POINT_FORMATS).map_or(&[], list8)
    }

    /// Signature schemes that the client knows.
    pub fn signatures(&self) -> Vec<u16> {
        self.extension(extension::SIGNATURE_ALGORITHMS).map_or_else(Vec::new, |data| numbers(list16(data)))
    }

    /// The groups of which the client brings keys.
    pub fn client_shares(&self) -> Vec<u16> {
        let old = || self.extension(extension::OLD_KEY_SHARE);
        let data = self.extension(extension::KEY_SHARE).or_else(old).unwrap_or_default();
        let mut list = Cursor::new(list16(data));
        let mut groups = Vec::new();
        while let (Some(group), Some(length)) = (list.u16(), list.u16()) {
            groups.push(group);
            if list.skip(length.into()).is_none() {
                break;
            }
        }
        groups
    }

    /// The group that the server chose, or asks a key of.
    pub fn server_share(&self) -> Option<u16> {
        let old = || self.extension(extension::OLD_KEY_SHARE);
        Cursor::new(self.extension(extension::KEY_SHARE).or_else(old)?).u16()
    }

    /// How many sessions the client wants to go on with (RFC 8446, section 4.2.11).
    pub fn identities(&self) -> usize {
        let mut list = Cursor::new(list16(self.extension(extension::PRE_SHARED_KEY).unwrap_or_default()));
        let mut count = 0;
        while let Some(length) = list.u16() {
            if list.skip(usize::from(length) + 4).is_none() {
                break;
            }
            count += 1;
        }
        count
    }
}

/// Numbers of two bytes each.
pub fn numbers(data: &[u8]) -> Vec<u16> {
    data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

/// Without values that only keep servers from choking.
pub fn without_grease(numbers: &[u16]) -> impl Iterator<Item = u16> + '_ {
    numbers.iter().copied().filter(|&number| !is_grease(number))
}

/// What follows a length of one byte, or what came of it.
fn list8(data: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(data);
    let length = cursor.u8().map_or(0, usize::from);
    &cursor.rest()[..length.min(cursor.len())]
}

/// What follows a length of two bytes, or what came of it.
fn list16(data: &[u8]) -> &[u8] {
    let mut cursor = Cursor::new(data);
    let length = cursor.u16().map_or(0, usize::from);
    &cursor.rest()[..length.min(cursor.len())]
}
