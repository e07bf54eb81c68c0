//! Close frames: status codes (RFC 6455, section 7.4.1, and the registry it founded) and reasons.

use super::super::cursor::Cursor;

/// The payload of a close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Close<'a> {
    /// Absent where the frame is empty.
    pub(super) code: Option<u16>,
    pub(super) reason: &'a [u8],
}

/// Reads the payload of a close frame; what is wrong with it comes beside it.
pub(super) fn read(payload: &[u8]) -> (Close<'_>, Option<&'static str>) {
    let mut cursor = Cursor::new(payload);
    let code = cursor.u16();
    let wrong = match code {
        None if payload.is_empty() => None,
        None => Some("a status code of one byte"),
        Some(0..=999) => Some("a status code below 1000"),
        Some(1005 | 1006 | 1015) => Some("a status code that is never sent"),
        Some(1004 | 1016..=2999) => Some("a reserved status code"),
        Some(5000..) => Some("a status code above 4999"),
        Some(_) if str::from_utf8(cursor.rest()).is_err() => Some("a reason that is not UTF-8"),
        Some(_) => None,
    };
    let reason = if code.is_some() { cursor.rest() } else { &[] };
    (Close { code, reason }, wrong)
}

/// What a status code is called.
pub(super) fn name(code: u16) -> &'static str {
    match code {
        1000 => "Normal Closure",
        1001 => "Going Away",
        1002 => "Protocol error",
        1003 => "Unsupported Data",
        1005 => "No Status Rcvd",
        1006 => "Abnormal Closure",
        1007 => "Invalid frame payload data",
        1008 => "Policy Violation",
        1009 => "Message Too Big",
        1010 => "Mandatory Ext.",
        1011 => "Internal Error",
        1012 => "Service Restart",
        1013 => "Try Again Later",
        1014 => "Bad gateway",
        1015 => "TLS handshake",
        3000..=3999 => "registered for a library",
        4000..=4999 => "private use",
        _ => "reserved",
    }
}

/// True where nothing went wrong: no status, or one that says that the work is done.
pub(super) fn is_orderly(code: Option<u16>) -> bool {
    matches!(code, None | Some(1000 | 1001))
}
