//! The record layer (RFC 8446, section 5.1; RFC 5246, section 6.2; RFC 6520 for heartbeats).

/// Bytes of a record's header.
pub const HEADER: usize = 5;

/// The most bytes that a record may carry: those of TLS 1.2, which expands most (RFC 5246, section 6.2.3).
pub const PAYLOAD_MAX: u16 = (1 << 14) + 2048;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
    Heartbeat,
}

impl Content {
    fn new(number: u8) -> Option<Content> {
        Some(match number {
            20 => Content::ChangeCipherSpec,
            21 => Content::Alert,
            22 => Content::Handshake,
            23 => Content::ApplicationData,
            24 => Content::Heartbeat,
            _ => return None,
        })
    }

    /// As the standard writes it.
    pub fn name(self) -> &'static str {
        match self {
            Content::ChangeCipherSpec => "change_cipher_spec",
            Content::Alert => "alert",
            Content::Handshake => "handshake",
            Content::ApplicationData => "application_data",
            Content::Heartbeat => "heartbeat",
        }
    }

    /// The fewest bytes that such a record carries: only application data may be empty.
    fn least(self) -> u16 {
        match self {
            Content::ApplicationData => 0,
            Content::ChangeCipherSpec | Content::Handshake => 1,
            Content::Alert => 2,
            Content::Heartbeat => 3,
        }
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub content: Content,
    /// Its version, which of TLS 1.3 is that of TLS 1.2, and of a first ClientHello often that of TLS 1.0.
    pub version: u16,
    /// Bytes behind the header.
    pub length: u16,
}

/// Reads a header. `Ok(None)` where the bytes are the beginning of one.
///
/// # Errors
/// No record begins with these bytes. Says why.
pub fn header(data: &[u8]) -> Result<Option<Header>, &'static str> {
    let Some(&kind) = data.first() else { return Ok(None) };
    let content = Content::new(kind).ok_or("no type of record")?;
    match data.get(1..data.len().min(3)) {
        Some([3, 0..=4] | [3] | []) | None => {}
        _ => return Err("no version of a record"),
    }
    let Some(&[_, major, minor, high, low]) = data.first_chunk::<HEADER>() else { return Ok(None) };
    let length = u16::from_be_bytes([high, low]);
    if length > PAYLOAD_MAX || length < content.least() {
        return Err("no length of a record");
    }
    Ok(Some(Header { content, version: u16::from_be_bytes([major, minor]), length }))
}

/// What records in a row make of some bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Whole headers in a row, each where the one before it says.
    pub headers: usize,
    /// What follows is no record.
    pub broken: bool,
    /// The bytes end where a record does.
    pub is_even: bool,
}

/// How many records in a row are looked at.
const ENOUGH: usize = 4;

/// Follows records from the first byte on. All have one version: within a connection it changes with the first answer
/// only.
pub fn chain(data: &[u8]) -> Chain {
    let mut chain = Chain::default();
    let (mut rest, mut version) = (data, None);
    while chain.headers < ENOUGH {
        if rest.is_empty() {
            chain.is_even = chain.headers > 0;
            break;
        }
        match header(rest) {
            Ok(Some(found)) if version.is_none_or(|version| version == found.version) => {
                chain.headers += 1;
                version = Some(found.version);
                match rest.get(HEADER + usize::from(found.length)..) {
                    Some(behind) => rest = behind,
                    None => break,
                }
            }
            Ok(None) => break,
            _ => {
                chain.broken = true;
                break;
            }
        }
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_by_type_version_and_length() {
        let read =
            |data: &[u8]| header(data).map(|found| found.map(|one| (one.content, one.version, one.length)));
        assert_eq!(read(&[22, 3, 1, 2, 0, 1]), Ok(Some((Content::Handshake, 0x0301, 512))));
        assert_eq!(read(&[23, 3, 3, 0x48, 0]), Ok(Some((Content::ApplicationData, 0x0303, PAYLOAD_MAX))));
        assert_eq!(read(&[23, 3, 3, 0, 0]), Ok(Some((Content::ApplicationData, 0x0303, 0))));
        for begun in [&[][..], &[20], &[24, 3], &[21, 3, 0], &[21, 3, 4, 0]] {
            assert_eq!(read(begun), Ok(None), "{begun:?}");
        }
        for wrong in [&[19][..], &[25, 3], &[22, 2], &[22, 3, 5], &[23, 3, 3, 0x48, 1], &[22, 3, 3, 0, 0]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_chain_is_as_long_as_each_record_leads_to_the_next() {
        let record = [23, 3, 3, 0, 2, 7, 7];
        let two = [record, record].concat();
        assert_eq!(chain(&two), Chain { headers: 2, broken: false, is_even: true });
        assert_eq!(chain(&two[..9]), Chain { headers: 1, broken: false, is_even: false });
        let other = [&record[..], &[23, 3, 1, 0, 0]].concat();
        assert_eq!(chain(&other), Chain { headers: 1, broken: true, is_even: false });
    }
}
