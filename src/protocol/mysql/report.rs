//! What ends an answer or a part of it: OK, ERR and EOF packets; and MariaDB's reports of progress.
//!
//! Source: MySQL Source Code Documentation, "OK_Packet", "ERR_Packet", "EOF_Packet"; MariaDB Knowledge Base,
//! "Progress Reporting".

use super::handshake::{short, shown};
use super::packet::{self, Agreed, Packet, bytes, capability, number, rest, status, status_flags};
use super::sql;
use crate::protocol::cursor::Cursor;
use crate::record::{Field, Value};

/// How many changes of the session's state are kept of one packet.
const CHANGES_MAX: usize = 64;

/// An OK packet, or the EOF packet of a result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Okay {
    /// Not in an EOF packet.
    pub affected_rows: Option<u64>,
    pub last_insert_id: u64,
    pub status: u16,
    pub warnings: u16,
    pub info: Vec<u8>,
    /// What changed of the session's state.
    pub changes: Vec<Value>,
}

impl Okay {
    /// Reads an OK packet, or what is there of it.
    pub fn read(packet: &Packet<'_>, agreed: Agreed) -> Okay {
        let mut cursor = Cursor::new(packet.body());
        let mut okay = Okay {
            affected_rows: packet::integer(&mut cursor),
            last_insert_id: packet::integer(&mut cursor).unwrap_or(0),
            status: cursor.u16_le().unwrap_or(0),
            warnings: cursor.u16_le().unwrap_or(0),
            ..Okay::default()
        };
        // Servers set that bit only where both ends agreed to track the state.
        let tracked = okay.status & status::SESSION_STATE_CHANGED != 0;
        if !agreed.has(capability::SESSION_TRACK).unwrap_or(tracked) {
            // The specification has a text to the end of the packet here; servers write its length in front of it.
            let mut ahead = cursor;
            okay.info = match packet::string(&mut ahead).filter(|_| ahead.is_empty()) {
                Some(info) => short(info).to_vec(),
                None => short(rest(&mut cursor)).to_vec(),
            };
            return okay;
        }
        okay.info = short(packet::string(&mut cursor).unwrap_or_default()).to_vec();
        if okay.status & status::SESSION_STATE_CHANGED != 0 {
            okay.changes = changes(packet::string(&mut cursor).unwrap_or_default());
        }
        okay
    }

    /// Reads an EOF packet.
    pub fn read_eof(packet: &Packet<'_>) -> Okay {
        let mut cursor = Cursor::new(packet.body());
        let warnings = cursor.u16_le().unwrap_or(0);
        Okay { warnings, status: cursor.u16_le().unwrap_or(0), ..Okay::default() }
    }

    /// What ends rows: an EOF packet, or an OK packet in its stead, which is longer.
    pub fn read_end(packet: &Packet<'_>, agreed: Agreed) -> Okay {
        if packet.length <= 5 {
            return Okay::read_eof(packet);
        }
        Okay { affected_rows: None, ..Okay::read(packet, agreed) }
    }

    /// Another result follows.
    pub fn has_more(&self) -> bool {
        self.status & status::MORE_RESULTS != 0
    }

    /// What is remarkable, in brackets: `(2 affected, 1 warning)`.
    pub fn remarks(&self) -> String {
        let mut remarks = Vec::new();
        match self.affected_rows {
            None | Some(0) => {}
            Some(count) => remarks.push(format!("{count} affected")),
        }
        match self.warnings {
            0 => {}
            1 => remarks.push("1 warning".to_owned()),
            count => remarks.push(format!("{count} warnings")),
        }
        if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) }
    }

    /// Its fields.
    pub fn fields(self) -> Vec<Field> {
        let mut fields = Vec::new();
        if let Some(affected) = self.affected_rows {
            fields.push(number("affected_rows", affected));
            if self.last_insert_id != 0 {
                fields.push(number("last_insert_id", self.last_insert_id));
            }
        }
        fields.push(number("warnings", self.warnings.into()));
        fields.push(status_flags(self.status));
        if !self.info.is_empty() {
            fields.push(bytes("info", &self.info));
        }
        if !self.changes.is_empty() {
            fields.push(Field::new("session_state_info", Value::List(self.changes)));
        }
        fields
    }
}

/// Session state information: each change by its type.
fn changes(data: &[u8]) -> Vec<Value> {
    let mut cursor = Cursor::new(data);
    let mut all = Vec::new();
    while all.len() < CHANGES_MAX
        && let (Some(kind), Some(data)) = (cursor.u8(), packet::string(&mut cursor))
    {
        let mut data = Cursor::new(data);
        let mut next = || Value::Bytes(short(packet::string(&mut data).unwrap_or_default()).to_vec());
        let (name, value) = match kind {
            0 => (next(), next()),
            1 => (Value::Text("SESSION_TRACK_SCHEMA".into()), next()),
            2 => (Value::Text("SESSION_TRACK_STATE_CHANGE".into()), next()),
            3 => {
                let _encoding = data.u8();
                let gtids = short(packet::string(&mut data).unwrap_or_default()).to_vec();
                (Value::Text("SESSION_TRACK_GTIDS".into()), Value::Bytes(gtids))
            }
            4 => (Value::Text("SESSION_TRACK_TRANSACTION_CHARACTERISTICS".into()), next()),
            5 => (Value::Text("SESSION_TRACK_TRANSACTION_STATE".into()), next()),
            _ => (Value::Text("unknown".into()), Value::Bytes(short(data.rest()).to_vec())),
        };
        all.push(Value::Map(vec![(name, value)]));
    }
    all
}

/// An ERR packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    pub code: u16,
    pub state: Vec<u8>,
    pub message: Vec<u8>,
}

impl Failure {
    /// Reads what is there of it. Its message may quote the end of a statement, with the passwords there.
    pub fn read(packet: &Packet<'_>, show_secrets: bool) -> Failure {
        let mut cursor = Cursor::new(packet.body());
        let code = cursor.u16_le().unwrap_or(0);
        let state = match cursor.rest() {
            [b'#', rest @ ..] if rest.len() >= 5 => {
                let _ = cursor.skip(6);
                rest[..5].to_vec()
            }
            _ => Vec::new(),
        };
        let message = short(cursor.rest());
        let message = if show_secrets { message.to_vec() } else { sql::masked_error(message) };
        Failure { code, state, message }
    }

    /// `ERROR 1146 (42S02) Table 'test.nowhere' doesn't exist`.
    pub fn summary(&self) -> String {
        let state = String::from_utf8_lossy(&self.state);
        let state = if state.is_empty() { String::new() } else { format!(" ({state})") };
        format!("ERROR {}{state} {}", self.code, String::from_utf8_lossy(&self.message))
    }

    /// Its fields.
    pub fn fields(&self) -> Vec<Field> {
        let mut fields = vec![number("error_code", self.code.into())];
        if !self.state.is_empty() {
            fields.push(bytes("sql_state", &self.state));
        }
        fields.push(bytes("error_message", &self.message));
        fields
    }
}

/// Whether this is an ERR packet with which MariaDB reports progress.
pub fn is_progress(packet: &Packet<'_>) -> bool {
    matches!(packet.data.as_ref(), [packet::ERR, 0xff, 0xff, ..])
}

/// What a report of progress says: `stage 1 of 2, 50.000%: copy to tmp table`.
pub fn progress(packet: &Packet<'_>) -> String {
    let mut cursor = Cursor::new(packet.data.get(3..).unwrap_or_default());
    let _strings = cursor.u8();
    let (stage, stages) = (cursor.u8().unwrap_or(0), cursor.u8().unwrap_or(0));
    let thousandths = cursor.u24_le().unwrap_or(0);
    let info = packet::string(&mut cursor).unwrap_or_default();
    format!("stage {stage} of {stages}, {}.{:03}%: {}", thousandths / 1000, thousandths % 1000, shown(info))
}
