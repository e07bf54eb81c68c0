//! Packets, and what they are made of: lengths, sequence numbers, length-encoded integers and strings, capability and
//! status flags, the names of commands.
//!
//! Source: MySQL Source Code Documentation, "Protocol Basics"
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>); MariaDB Knowledge Base,
//! "Client/Server Protocol" (<https://mariadb.com/kb/en/clientserver-protocol/>).

use crate::event::{Cause, Direction, Range, Timestamp};
use crate::protocol::cursor::Cursor;
use crate::protocol::exchange::Half;
use crate::record::{Field, Value};
use std::borrow::Cow;

/// Bytes of a header: the length of what follows it (three, least significant first) and the sequence number.
pub const HEADER: usize = 4;

/// The length of a packet whose contents go on in the next one.
pub const PAYLOAD_MAX: u64 = 0xff_ffff;

/// What begins an OK packet, an ERR packet, an EOF packet (also an OK packet that stands for one), and a request for
/// a local file.
pub const OK: u8 = 0x00;
pub const ERR: u8 = 0xff;
pub const EOF: u8 = 0xfe;
pub const LOCAL_INFILE: u8 = 0xfb;

/// An EOF packet is shorter than this; what is longer and begins like one is a row, or an OK packet.
pub const EOF_BELOW: u64 = 9;

/// The error number with which MariaDB marks a report of progress.
pub const PROGRESS: u16 = 0xffff;

/// Length of the contents, and sequence number.
pub fn header(data: &[u8]) -> Option<(u64, u8)> {
    let mut cursor = Cursor::new(data);
    Some((cursor.u24_le()?.into(), cursor.u8()?))
}

/// Contents of one packet, or of several that belong together since they are longer than [`PAYLOAD_MAX`].
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    pub direction: Direction,
    /// Headers included.
    pub range: Range,
    /// The sequence number of the first, and of the last.
    pub seqs: [u8; 2],
    /// The beginning of its contents.
    pub data: Cow<'a, [u8]>,
    /// Bytes of its contents.
    pub length: u64,
    pub times: [Timestamp; 2],
    pub causes: Vec<Cause>,
}

impl Packet<'_> {
    /// The first byte of its contents.
    pub fn kind(&self) -> Option<u8> {
        self.data.first().copied()
    }

    /// True where `data` is all of it.
    pub fn is_all(&self) -> bool {
        self.data.len() as u64 == self.length
    }

    /// What is there behind the first byte.
    pub fn body(&self) -> &[u8] {
        self.data.get(1..).unwrap_or_default()
    }

    /// The number that the next packet of the exchange has.
    pub fn next_seq(&self) -> u8 {
        self.seqs[1].wrapping_add(1)
    }

    /// As a message of its own.
    pub fn half(&self, summary: impl Into<String>, fields: Vec<Field>) -> Half {
        let mut half = Half::new(self.direction, self.range, self.times, summary, fields);
        self.causes.iter().for_each(|&cause| half.add_cause(cause));
        half
    }
}

/// A length-encoded integer. None also for what stands for NULL or an error there.
pub fn integer(cursor: &mut Cursor<'_>) -> Option<u64> {
    match cursor.u8()? {
        small @ 0..=0xfa => Some(small.into()),
        0xfc => cursor.u16_le().map(u64::from),
        0xfd => cursor.u24_le().map(u64::from),
        0xfe => cursor.u64_le(),
        _ => None,
    }
}

/// A length-encoded string, all of it.
pub fn string<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = integer(cursor)?;
    cursor.bytes(usize::try_from(length).ok()?)
}

/// Likewise, or what is there of it, with the length that it has.
pub fn string_begun<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], u64)> {
    let length = integer(cursor)?;
    let here = usize::try_from(length).unwrap_or(usize::MAX).min(cursor.len());
    Some((cursor.bytes(here)?, length))
}

/// A string that a zero ends, or the end of what is there.
pub fn until_zero<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    match cursor.until(0) {
        Some(text) => text,
        None => rest(cursor),
    }
}

/// All that is left.
pub fn rest<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    cursor.bytes(cursor.len()).unwrap_or_default()
}

/// Capability flags, by their bits; those of MariaDB alone begin at bit 32.
pub mod capability {
    pub const MYSQL: u64 = 1;
    pub const CONNECT_WITH_DB: u64 = 1 << 3;
    pub const COMPRESS: u64 = 1 << 5;
    pub const PROTOCOL_41: u64 = 1 << 9;
    pub const SSL: u64 = 1 << 11;
    pub const SECURE_CONNECTION: u64 = 1 << 15;
    pub const PLUGIN_AUTH: u64 = 1 << 19;
    pub const CONNECT_ATTRS: u64 = 1 << 20;
    pub const PLUGIN_AUTH_LENENC: u64 = 1 << 21;
    pub const SESSION_TRACK: u64 = 1 << 23;
    pub const DEPRECATE_EOF: u64 = 1 << 24;
    pub const OPTIONAL_METADATA: u64 = 1 << 25;
    pub const ZSTD: u64 = 1 << 26;
    pub const QUERY_ATTRIBUTES: u64 = 1 << 27;
    pub const EXTENDED_TYPES: u64 = 1 << 35;
    pub const CACHE_METADATA: u64 = 1 << 36;
}

const CAPABILITIES: [&str; 37] = [
    "CLIENT_LONG_PASSWORD",
    "CLIENT_FOUND_ROWS",
    "CLIENT_LONG_FLAG",
    "CLIENT_CONNECT_WITH_DB",
    "CLIENT_NO_SCHEMA",
    "CLIENT_COMPRESS",
    "CLIENT_ODBC",
    "CLIENT_LOCAL_FILES",
    "CLIENT_IGNORE_SPACE",
    "CLIENT_PROTOCOL_41",
    "CLIENT_INTERACTIVE",
    "CLIENT_SSL",
    "CLIENT_IGNORE_SIGPIPE",
    "CLIENT_TRANSACTIONS",
    "CLIENT_RESERVED",
    "CLIENT_SECURE_CONNECTION",
    "CLIENT_MULTI_STATEMENTS",
    "CLIENT_MULTI_RESULTS",
    "CLIENT_PS_MULTI_RESULTS",
    "CLIENT_PLUGIN_AUTH",
    "CLIENT_CONNECT_ATTRS",
    "CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA",
    "CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS",
    "CLIENT_SESSION_TRACK",
    "CLIENT_DEPRECATE_EOF",
    "CLIENT_OPTIONAL_RESULTSET_METADATA",
    "CLIENT_ZSTD_COMPRESSION_ALGORITHM",
    "CLIENT_QUERY_ATTRIBUTES",
    "MULTI_FACTOR_AUTHENTICATION",
    "CLIENT_CAPABILITY_EXTENSION",
    "CLIENT_SSL_VERIFY_SERVER_CERT",
    "CLIENT_REMEMBER_OPTIONS",
    "MARIADB_CLIENT_PROGRESS",
    "MARIADB_CLIENT_COM_MULTI",
    "MARIADB_CLIENT_STMT_BULK_OPERATIONS",
    "MARIADB_CLIENT_EXTENDED_METADATA",
    "MARIADB_CLIENT_CACHE_METADATA",
];

/// Status flags that change what comes next.
pub mod status {
    pub const MORE_RESULTS: u16 = 0x0008;
    pub const CURSOR_EXISTS: u16 = 0x0040;
    pub const SESSION_STATE_CHANGED: u16 = 0x4000;
}

const STATUSES: [&str; 16] = [
    "SERVER_STATUS_IN_TRANS",
    "SERVER_STATUS_AUTOCOMMIT",
    "SERVER_STATUS_RESERVED",
    "SERVER_MORE_RESULTS_EXISTS",
    "SERVER_QUERY_NO_GOOD_INDEX_USED",
    "SERVER_QUERY_NO_INDEX_USED",
    "SERVER_STATUS_CURSOR_EXISTS",
    "SERVER_STATUS_LAST_ROW_SENT",
    "SERVER_STATUS_DB_DROPPED",
    "SERVER_STATUS_NO_BACKSLASH_ESCAPES",
    "SERVER_STATUS_METADATA_CHANGED",
    "SERVER_QUERY_WAS_SLOW",
    "SERVER_PS_OUT_PARAMS",
    "SERVER_STATUS_IN_TRANS_READONLY",
    "SERVER_SESSION_STATE_CHANGED",
    "SERVER_STATUS_ANSI_QUOTES",
];

/// The names of the flags that are set.
fn names(bits: u64, all: &[&'static str]) -> Value {
    let set = all.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    Value::List(set.map(|(_, name)| Value::Text((*name).into())).collect())
}

/// Capability flags as a field's value.
pub fn capabilities(bits: u64) -> Value {
    names(bits, &CAPABILITIES)
}

/// Status flags as a field.
pub fn status_flags(bits: u16) -> Field {
    Field::new("status_flags", names(bits.into(), &STATUSES))
}

/// A field of a number.
pub fn number(name: &'static str, number: u64) -> Field {
    // Numbers beyond i64 are ids at most; what a field can hold is a signed one.
    match i64::try_from(number) {
        Ok(number) => Field::new(name, Value::Number(number)),
        Err(_) => Field::new(name, Value::Text(number.to_string().into())),
    }
}

/// A field of text that the parser chose.
pub fn text(name: &'static str, text: impl Into<Cow<'static, str>>) -> Field {
    Field::new(name, Value::Text(text.into()))
}

/// A field of bytes.
pub fn bytes(name: &'static str, bytes: &[u8]) -> Field {
    Field::new(name, Value::Bytes(bytes.to_vec()))
}

/// Commands, by the first byte of what a client sends.
pub mod command {
    pub const QUIT: u8 = 0x01;
    pub const INIT_DB: u8 = 0x02;
    pub const QUERY: u8 = 0x03;
    pub const FIELD_LIST: u8 = 0x04;
    pub const CREATE_DB: u8 = 0x05;
    pub const DROP_DB: u8 = 0x06;
    pub const REFRESH: u8 = 0x07;
    pub const SHUTDOWN: u8 = 0x08;
    pub const STATISTICS: u8 = 0x09;
    pub const PROCESS_INFO: u8 = 0x0a;
    pub const PROCESS_KILL: u8 = 0x0c;
    pub const DEBUG: u8 = 0x0d;
    pub const PING: u8 = 0x0e;
    pub const CHANGE_USER: u8 = 0x11;
    pub const BINLOG_DUMP: u8 = 0x12;
    pub const TABLE_DUMP: u8 = 0x13;
    pub const REGISTER_SLAVE: u8 = 0x15;
    pub const STMT_PREPARE: u8 = 0x16;
    pub const STMT_EXECUTE: u8 = 0x17;
    pub const STMT_SEND_LONG_DATA: u8 = 0x18;
    pub const STMT_CLOSE: u8 = 0x19;
    pub const STMT_RESET: u8 = 0x1a;
    pub const SET_OPTION: u8 = 0x1b;
    pub const STMT_FETCH: u8 = 0x1c;
    pub const BINLOG_DUMP_GTID: u8 = 0x1e;
    pub const RESET_CONNECTION: u8 = 0x1f;
    pub const CLONE: u8 = 0x20;
    pub const SUBSCRIBE_GROUP_REPLICATION_STREAM: u8 = 0x21;
    pub const SEMI_SYNC_ACK: u8 = 0xef;
    pub const STMT_BULK_EXECUTE: u8 = 0xfa;
    pub const MULTI: u8 = 0xfe;
}

/// The name of a command, as in the header `my_command.h`; None where there is no such command.
pub fn command_name(code: u8) -> Option<&'static str> {
    Some(match code {
        0x00 => "COM_SLEEP",
        command::QUIT => "COM_QUIT",
        command::INIT_DB => "COM_INIT_DB",
        command::QUERY => "COM_QUERY",
        command::FIELD_LIST => "COM_FIELD_LIST",
        command::CREATE_DB => "COM_CREATE_DB",
        command::DROP_DB => "COM_DROP_DB",
        command::REFRESH => "COM_REFRESH",
        command::SHUTDOWN => "COM_SHUTDOWN",
        command::STATISTICS => "COM_STATISTICS",
        command::PROCESS_INFO => "COM_PROCESS_INFO",
        0x0b => "COM_CONNECT",
        command::PROCESS_KILL => "COM_PROCESS_KILL",
        command::DEBUG => "COM_DEBUG",
        command::PING => "COM_PING",
        0x0f => "COM_TIME",
        0x10 => "COM_DELAYED_INSERT",
        command::CHANGE_USER => "COM_CHANGE_USER",
        command::BINLOG_DUMP => "COM_BINLOG_DUMP",
        command::TABLE_DUMP => "COM_TABLE_DUMP",
        0x14 => "COM_CONNECT_OUT",
        command::REGISTER_SLAVE => "COM_REGISTER_SLAVE",
        command::STMT_PREPARE => "COM_STMT_PREPARE",
        command::STMT_EXECUTE => "COM_STMT_EXECUTE",
        command::STMT_SEND_LONG_DATA => "COM_STMT_SEND_LONG_DATA",
        command::STMT_CLOSE => "COM_STMT_CLOSE",
        command::STMT_RESET => "COM_STMT_RESET",
        command::SET_OPTION => "COM_SET_OPTION",
        command::STMT_FETCH => "COM_STMT_FETCH",
        0x1d => "COM_DAEMON",
        command::BINLOG_DUMP_GTID => "COM_BINLOG_DUMP_GTID",
        command::RESET_CONNECTION => "COM_RESET_CONNECTION",
        command::CLONE => "COM_CLONE",
        command::SUBSCRIBE_GROUP_REPLICATION_STREAM => "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM",
        // The acknowledgement of a replica that is semi-synchronous, where a command would stand.
        command::SEMI_SYNC_ACK => "SEMI_SYNC_ACK",
        command::STMT_BULK_EXECUTE => "COM_STMT_BULK_EXECUTE",
        0xfb => "COM_SLAVE_WORKER",
        0xfc => "COM_SLAVE_IO",
        0xfd => "COM_SLAVE_SQL",
        command::MULTI => "COM_MULTI",
        _ => return None,
    })
}

/// What is known of what both ends have agreed to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Agreed {
    /// The capability flags of both; absent where the login was not seen.
    pub flags: Option<u64>,
    /// Whether columns end without an EOF packet; learnt from an answer where the login was not seen.
    pub deprecate_eof: Option<bool>,
}

impl Agreed {
    /// Whether all of these flags are set; None where that is not known.
    pub fn has(self, flags: u64) -> Option<bool> {
        self.flags.map(|all| all & flags == flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_length_encoded() {
        for (bytes, expected) in [
            (&[0xfa][..], Some(250)),
            (&[0xfc, 0xfb, 0x00], Some(251)),
            (&[0xfd, 0, 0, 1], Some(0x1_0000)),
            (&[0xfe, 0, 0, 0, 1, 0, 0, 0, 0], Some(0x100_0000)),
            (&[0xfb], None),
            (&[0xff], None),
            (&[0xfc, 1], None),
        ] {
            assert_eq!(integer(&mut Cursor::new(bytes)), expected, "{bytes:?}");
        }
        assert_eq!(string(&mut Cursor::new(b"\x03abcd")), Some(&b"abc"[..]));
        assert_eq!(string(&mut Cursor::new(b"\x03ab")), None);
        assert_eq!(string_begun(&mut Cursor::new(b"\x03ab")), Some((&b"ab"[..], 3)));
    }

    #[test]
    fn flags_have_names() {
        assert_eq!(
            capabilities(capability::SSL | capability::CACHE_METADATA),
            Value::List(vec![
                Value::Text("CLIENT_SSL".into()),
                Value::Text("MARIADB_CLIENT_CACHE_METADATA".into())
            ])
        );
    }
}
