//! Segments of v5, which hold envelopes with checksums around them (native_protocol_v5.spec, section 2.2).

use crc::{Algorithm, CRC_32_ISO_HDLC, Crc};

/// CRC-24 over the header.
const CRC24: Crc<u32> = Crc::<u32>::new(&Algorithm {
    width: 24,
    poly: 0x97_4f0b,
    init: 0x87_5060,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0,
    residue: 0,
});

/// CRC-32 over these bytes and the payload.
const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const CRC32_BEGIN: [u8; 4] = [0xfa, 0x2d, 0x55, 0xca];

/// Length of the checksum behind the payload.
const TRAILER: usize = 4;

/// How many bytes tell whether a segment begins: those of the longer header.
pub const HEADER_MAX: usize = 8;

/// How segments begin on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Uncompressed,
    /// LZ4 was agreed on. Payloads that it does not make shorter are sent as they are.
    Compressed,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub format: Format,
    /// Bytes of the payload as sent.
    pub length: usize,
    /// Bytes of the payload uncompressed; 0 where it is not compressed.
    pub inflated: usize,
    /// It holds whole envelopes; else it is a part of one.
    pub is_self_contained: bool,
}

impl Segment {
    /// Reads a header in one of `formats`. None where none begins here, or bytes are missing.
    pub fn read(data: &[u8], formats: &[Format]) -> Option<Segment> {
        formats.iter().find_map(|&format| Segment::read_as(data, format))
    }

    fn read_as(data: &[u8], format: Format) -> Option<Segment> {
        let count = match format {
            Format::Uncompressed => 3,
            Format::Compressed => 5,
        };
        let bytes = data.get(..count)?;
        let sum = data.get(count..count + 3)?;
        let sum = u32::from_le_bytes([sum[0], sum[1], sum[2], 0]);
        if CRC24.checksum(bytes) != sum {
            return None;
        }
        let mut word = [0; 8];
        word[..count].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        let part = |shift: u32| ((word >> shift) & 0x1_ffff) as usize;
        let (inflated, flag) = match format {
            Format::Uncompressed => (0, 17),
            Format::Compressed => (part(17), 34),
        };
        // Padding is zero.
        let is_sane = word >> (flag + 1) == 0;
        let is_self_contained = word >> flag & 1 == 1;
        is_sane.then_some(Segment { format, length: part(0), inflated, is_self_contained })
    }

    pub fn header(&self) -> usize {
        match self.format {
            Format::Uncompressed => 6,
            Format::Compressed => 8,
        }
    }

    /// Bytes of the whole segment.
    pub fn whole(&self) -> usize {
        self.header() + self.length + TRAILER
    }

    /// Takes the payload out of a whole segment.
    ///
    /// # Errors
    /// Its checksum or its compression is wrong.
    pub fn payload(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let payload = bytes.get(self.header()..self.header() + self.length).ok_or("a segment that is cut")?;
        let trailer = bytes.get(self.header() + self.length..).unwrap_or_default();
        let mut digest = CRC32.digest();
        digest.update(&CRC32_BEGIN);
        digest.update(payload);
        if trailer != digest.finalize().to_le_bytes() {
            return Err("a segment whose checksum is wrong".to_owned());
        }
        if self.inflated == 0 {
            return Ok(payload.to_vec());
        }
        lz4(payload, self.inflated)
    }
}

/// Undoes a block of LZ4 that gives exactly so many bytes.
///
/// # Errors
/// It does not.
pub fn lz4(block: &[u8], inflated: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; inflated];
    match lz4_flex::block::decompress_into(block, &mut bytes) {
        Ok(count) if count == inflated => Ok(bytes),
        Ok(_) => Err("LZ4 gives another number of bytes than the message says".to_owned()),
        Err(error) => Err(format!("LZ4: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's algorithm, bit by bit (section 2.2.2 has the polynomial and the initial value).
    fn crc24(bytes: &[u8]) -> u32 {
        let mut crc: u32 = 0x87_5060;
        for byte in bytes {
            crc ^= u32::from(*byte) << 16;
            for _ in 0..8 {
                crc <<= 1;
                if crc & 0x100_0000 != 0 {
                    crc ^= 0x197_4f0b;
                }
            }
        }
        crc
    }

    #[test]
    fn the_checksum_of_headers_is_that_of_the_specification() {
        for bytes in [&[0u8, 0, 2][..], &[9, 0, 2], &[0xff; 5], &[1, 2, 3, 4, 5]] {
            assert_eq!(CRC24.checksum(bytes), crc24(bytes));
        }
    }
}
