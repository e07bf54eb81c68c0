//! Capture files without one of their packets, as a capture that missed it would have been written.

use super::captures::Kept;
use sockdbg::event::{self, Address, ConnId, Direction, Kind, Opened};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where the packets' records are in a file of pcap or pcapng; absent in another format.
pub fn records(file: &[u8]) -> Option<Vec<Range<usize>>> {
    let magic = file.first_chunk::<4>()?;
    match u32::from_le_bytes(*magic) {
        0x0a0d_0d0a => blocks(file),
        // Either order of bytes, microseconds and nanoseconds (draft-ietf-opsawg-pcap, section 4).
        0xa1b2_c3d4 | 0xa1b2_3c4d => packets(file, u32::from_le_bytes),
        0xd4c3_b2a1 | 0x4d3c_b2a1 => packets(file, u32::from_be_bytes),
        _ => None,
    }
}

fn packets(file: &[u8], number: fn([u8; 4]) -> u32) -> Option<Vec<Range<usize>>> {
    let (mut at, mut all) = (24, Vec::new());
    while let Some(length) = file.get(at + 8..at + 12) {
        let end = at + 16 + number(length.try_into().unwrap()) as usize;
        file.get(at..end)?;
        all.push(at..end);
        at = end;
    }
    Some(all)
}

/// The packet blocks of pcapng (draft-ietf-opsawg-pcapng, section 4): obsolete, simple and enhanced ones.
fn blocks(file: &[u8]) -> Option<Vec<Range<usize>>> {
    let (mut at, mut all, mut number) = (0, Vec::new(), u32::from_le_bytes as fn([u8; 4]) -> u32);
    while let Some(head) = file.get(at..at + 12) {
        let word = |index: usize| -> [u8; 4] { head[index..index + 4].try_into().unwrap() };
        if word(0) == [0x0a, 0x0d, 0x0d, 0x0a] {
            number =
                if word(8) == [0x1a, 0x2b, 0x3c, 0x4d] { u32::from_be_bytes } else { u32::from_le_bytes };
        }
        let end = at + number(word(4)) as usize;
        file.get(at..end).filter(|block| block.len() >= 12)?;
        if [2, 3, 6].contains(&number(word(0))) {
            all.push(at..end);
        }
        at = end;
    }
    Some(all)
}

/// Which record the payload of an event of TCP came in: records behind `from` are looked at. None where its bytes came in
/// several, or changed.
pub(super) fn record_of(
    file: &[u8],
    records: &[Range<usize>],
    from: usize,
    event: &Kept,
    mut ends: [Option<Address>; 2],
) -> Option<usize> {
    let Kind::Data(data) = &event.event.kind else { return None };
    if data.direction == Direction::Recv {
        ends.reverse();
    }
    let [source, destination] = ends.map(|end| match end {
        Some(Address::Ip(end)) => Some(end.port()),
        _ => None,
    });
    // The beginning of a TCP header (RFC 9293, section 3.1).
    let mut begin = [source?, destination?].map(u16::to_be_bytes).concat();
    begin.extend(data.tcp_seq?.to_be_bytes());
    let has = |record: &&Range<usize>| {
        let bytes = &file[(*record).clone()];
        let payload = bytes.windows(event.payload.len()).rposition(|part| part == event.payload);
        payload.is_some_and(|payload| bytes[..payload].windows(8).any(|part| part == begin))
    };
    let found = records[from..].iter().position(|record| has(&record))?;
    Some(from + found)
}

/// Each connection by its ends and its number among those of the same ends.
pub(super) fn connections(events: &[Kept]) -> BTreeMap<(Option<Address>, Option<Address>, usize), ConnId> {
    let (mut all, mut counts) = (BTreeMap::new(), BTreeMap::<_, usize>::new());
    for Kept { event, .. } in events {
        if let Kind::Open(open) = &event.kind {
            let count = counts.entry((open.local, open.remote)).or_default();
            all.insert((open.local, open.remote, *count), event.conn);
            *count += 1;
        }
    }
    all
}

/// The sequence numbers of a connection's first bytes, by [`Direction::index`]. Where a capture begins in the middle of one,
/// they are those of its first packets.
pub(super) fn bases(events: &[Kept], conn: ConnId) -> [Option<u32>; 2] {
    Direction::BOTH.map(|direction| {
        let own = events.iter().filter(|kept| kept.event.conn == conn);
        own.filter_map(|kept| match &kept.event.kind {
            Kind::Data(data) if data.direction == direction => Some(data),
            _ => None,
        })
        .find_map(|data| Some(data.tcp_seq?.wrapping_sub(data.offset as u32)))
    })
}

/// True of the first bytes of a direction that was open before, and of its last ones, with no FIN behind them.
pub(super) fn is_at_an_edge(
    events: &[Kept],
    conn: ConnId,
    (direction, lost): (Direction, event::Range),
) -> bool {
    let mut own = events.iter().filter(|kept| kept.event.conn == conn);
    let is_found =
        own.clone().any(|kept| matches!(&kept.event.kind, Kind::Open(open) if open.opened == Opened::Found));
    let is_last = own.all(|kept| match &kept.event.kind {
        Kind::Data(data) if data.direction == direction => data.length > 0 && data.offset < lost.to,
        _ => true,
    });
    is_last || is_found && lost.from == 0
}

/// True where something of a connection is known to be lost.
pub(super) fn tells(events: &[Kept], conn: ConnId) -> bool {
    events.iter().any(|kept| kept.event.conn == conn && matches!(kept.event.kind, Kind::Loss(_)))
}
