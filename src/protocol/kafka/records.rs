//! Record batches (<https://kafka.apache.org/documentation/#recordbatch>) and the message sets before them: counted, not
//! unpacked.

use crate::protocol::cursor::Cursor;

/// What is in a field of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Batches; in versions 0 and 1 of the format messages, compressed or not.
    pub batches: u64,
    pub records: u64,
    /// Messages of versions 0 and 1 that are compressed: how many are in them is not known.
    pub is_packed: bool,
    /// How the first batch is compressed.
    pub compression: Option<&'static str>,
    /// The version of the format.
    pub magic: Option<u8>,
    /// The last batch is cut: brokers send as many bytes as were asked for, or the rest was not kept.
    pub is_cut: bool,
    /// Bytes that are no batch follow.
    pub is_damaged: bool,
}

const COMPRESSION: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Offset and length before each batch.
const LOG_OVERHEAD: usize = 12;

/// Counts what is in `data`.
pub fn read(data: &[u8]) -> Summary {
    let mut summary = Summary::default();
    let mut rest = data;
    while !rest.is_empty() {
        let Some(batch) = batch(rest) else {
            summary.is_cut = true;
            break;
        };
        let Some(compression) = COMPRESSION.get(batch.compression) else {
            summary.is_damaged = true;
            break;
        };
        summary.batches += 1;
        summary.records += batch.records;
        summary.is_packed |= batch.magic < 2 && batch.compression != 0;
        summary.compression.get_or_insert(compression);
        summary.magic.get_or_insert(batch.magic);
        let Some(length) = batch.length else {
            summary.is_damaged = true;
            break;
        };
        match rest.get(length..) {
            Some(behind) => rest = behind,
            None => {
                summary.is_cut = true;
                break;
            }
        }
    }
    summary
}

struct Batch {
    /// Absent where the length is none that a batch can have.
    length: Option<usize>,
    magic: u8,
    compression: usize,
    records: u64,
}

/// The head of the batch or message at the front. None where it is not all there.
fn batch(data: &[u8]) -> Option<Batch> {
    let mut cursor = Cursor::new(data);
    cursor.skip(8)?;
    let length = cursor.i32()?;
    let length = usize::try_from(length).ok().and_then(|length| length.checked_add(LOG_OVERHEAD));
    // In both formats the version is the seventeenth byte: before it lie the leader's epoch or the checksum.
    cursor.skip(4)?;
    let magic = cursor.u8()?;
    let (attributes, records) = if magic < 2 {
        (u16::from(cursor.u8()?), 1)
    } else {
        cursor.skip(4)?;
        let attributes = cursor.u16()?;
        cursor.skip(4 + 8 + 8 + 8 + 2 + 4)?;
        (attributes, u64::try_from(cursor.i32()?).unwrap_or(0))
    };
    let compression = usize::from(if magic > 2 { u16::MAX } else { attributes & 7 });
    Some(Batch { length, magic, compression, records })
}
