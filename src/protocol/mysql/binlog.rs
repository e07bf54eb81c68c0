//! Events of a binary log, as a replica gets them: named, not decoded.
//!
//! Source: MySQL Source Code Documentation, "Replication Protocol", section Binlog Event; MariaDB Knowledge Base,
//! "Replication Protocol".

use super::packet::{Packet, number, text};
use crate::protocol::cursor::Cursor;
use crate::protocol::exchange::Half;

/// What begins an event of semi-synchronous replication: this byte, and whether to acknowledge it.
const SEMI_SYNC: u8 = 0xef;

/// The names of the events of MySQL, by their numbers (`Log_event_type`).
const NAMES: [&str; 43] = [
    "UNKNOWN_EVENT",
    "START_EVENT_V3",
    "QUERY_EVENT",
    "STOP_EVENT",
    "ROTATE_EVENT",
    "INTVAR_EVENT",
    "LOAD_EVENT",
    "SLAVE_EVENT",
    "CREATE_FILE_EVENT",
    "APPEND_BLOCK_EVENT",
    "EXEC_LOAD_EVENT",
    "DELETE_FILE_EVENT",
    "NEW_LOAD_EVENT",
    "RAND_EVENT",
    "USER_VAR_EVENT",
    "FORMAT_DESCRIPTION_EVENT",
    "XID_EVENT",
    "BEGIN_LOAD_QUERY_EVENT",
    "EXECUTE_LOAD_QUERY_EVENT",
    "TABLE_MAP_EVENT",
    "PRE_GA_WRITE_ROWS_EVENT",
    "PRE_GA_UPDATE_ROWS_EVENT",
    "PRE_GA_DELETE_ROWS_EVENT",
    "WRITE_ROWS_EVENT_V1",
    "UPDATE_ROWS_EVENT_V1",
    "DELETE_ROWS_EVENT_V1",
    "INCIDENT_EVENT",
    "HEARTBEAT_LOG_EVENT",
    "IGNORABLE_LOG_EVENT",
    "ROWS_QUERY_LOG_EVENT",
    "WRITE_ROWS_EVENT",
    "UPDATE_ROWS_EVENT",
    "DELETE_ROWS_EVENT",
    "GTID_LOG_EVENT",
    "ANONYMOUS_GTID_LOG_EVENT",
    "PREVIOUS_GTIDS_LOG_EVENT",
    "TRANSACTION_CONTEXT_EVENT",
    "VIEW_CHANGE_EVENT",
    "XA_PREPARE_LOG_EVENT",
    "PARTIAL_UPDATE_ROWS_EVENT",
    "TRANSACTION_PAYLOAD_EVENT",
    "HEARTBEAT_LOG_EVENT_V2",
    "GTID_TAGGED_LOG_EVENT",
];

/// Those of MariaDB alone, from 160.
const MARIADB: [&str; 12] = [
    "ANNOTATE_ROWS_EVENT",
    "BINLOG_CHECKPOINT_EVENT",
    "GTID_EVENT",
    "GTID_LIST_EVENT",
    "START_ENCRYPTION_EVENT",
    "QUERY_COMPRESSED_EVENT",
    "WRITE_ROWS_COMPRESSED_EVENT_V1",
    "UPDATE_ROWS_COMPRESSED_EVENT_V1",
    "DELETE_ROWS_COMPRESSED_EVENT_V1",
    "WRITE_ROWS_COMPRESSED_EVENT",
    "UPDATE_ROWS_COMPRESSED_EVENT",
    "DELETE_ROWS_COMPRESSED_EVENT",
];

fn name(kind: u8) -> &'static str {
    let kind = usize::from(kind);
    let found = NAMES.get(kind).or_else(|| MARIADB.get(kind.checked_sub(160)?));
    found.copied().unwrap_or("an unknown event")
}

/// An event as a message of its own.
pub fn event(packet: &Packet<'_>) -> Half {
    let mut body = packet.body();
    let mut semi_sync = false;
    // The most significant byte of a timestamp, not the least, is what tells years apart: 0xef and 0 or 1 there would be
    // a second of chance, and the size would not fit.
    if let [SEMI_SYNC, 0 | 1, rest @ ..] = body
        && has_size(rest, packet.length.saturating_sub(3))
    {
        (body, semi_sync) = (rest, true);
    }
    let mut cursor = Cursor::new(body);
    let timestamp = cursor.u32_le().unwrap_or(0);
    let kind = name(cursor.u8().unwrap_or(0));
    let server = cursor.u32_le().unwrap_or(0);
    let size = cursor.u32_le().unwrap_or(0);
    let position = cursor.u32_le().unwrap_or(0);
    let flags = cursor.u16_le().unwrap_or(0);
    let mut fields = vec![
        text("event_type", kind),
        number("timestamp", timestamp.into()),
        number("server_id", server.into()),
        number("event_size", size.into()),
        number("log_pos", position.into()),
        number("flags", flags.into()),
    ];
    if semi_sync {
        fields.push(text("semi_sync", "yes"));
    }
    packet.half(format!("{kind} {size} bytes to position {position}"), fields)
}

/// Whether an event at the front says to be as long as what is there.
fn has_size(event: &[u8], length: u64) -> bool {
    let mut cursor = Cursor::new(event);
    cursor.skip(9).and_then(|()| cursor.u32_le()).is_some_and(|size| u64::from(size) == length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_have_names() {
        assert_eq!(
            (name(2), name(30), name(42)),
            ("QUERY_EVENT", "WRITE_ROWS_EVENT", "GTID_TAGGED_LOG_EVENT")
        );
        assert_eq!((name(162), name(171)), ("GTID_EVENT", "DELETE_ROWS_COMPRESSED_EVENT"));
        assert_eq!(
            (name(100), name(172), name(255)),
            ("an unknown event", "an unknown event", "an unknown event")
        );
    }
}
