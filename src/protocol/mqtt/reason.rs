//! Names of reason codes (MQTT 5.0, section 2.4) and of the return codes before them (3.1.1, sections 3.2.2.3 and 3.9.3).

use super::head::{Kind, Version};
use std::borrow::Cow;

/// From here on codes say that something failed.
const FAILURE: u8 = 0x80;

/// Names of codes that say the same in every packet.
const FAILURES: [&str; 35] = [
    "Unspecified error",
    "Malformed Packet",
    "Protocol Error",
    "Implementation specific error",
    "Unsupported Protocol Version",
    "Client Identifier not valid",
    "Bad User Name or Password",
    "Not authorized",
    "Server unavailable",
    "Server busy",
    "Banned",
    "Server shutting down",
    "Bad authentication method",
    "Keep Alive timeout",
    "Session taken over",
    "Topic Filter invalid",
    "Topic Name invalid",
    "Packet Identifier in use",
    "Packet Identifier not found",
    "Receive Maximum exceeded",
    "Topic Alias invalid",
    "Packet too large",
    "Message rate too high",
    "Quota exceeded",
    "Administrative action",
    "Payload format invalid",
    "Retain not supported",
    "QoS not supported",
    "Use another server",
    "Server moved",
    "Shared Subscriptions not supported",
    "Connection rate exceeded",
    "Maximum connect time",
    "Subscription Identifiers not supported",
    "Wildcard Subscriptions not supported",
];

/// Return codes of a CONNACK before 5.0.
const REFUSALS: [&str; 6] = [
    "Connection Accepted",
    "Connection Refused, unacceptable protocol version",
    "Connection Refused, identifier rejected",
    "Connection Refused, Server unavailable",
    "Connection Refused, bad user name or password",
    "Connection Refused, not authorized",
];

/// What a code says in a packet of that type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: u8,
    pub name: Cow<'static, str>,
    pub is_known: bool,
    pub is_failure: bool,
}

/// Reads a code.
pub fn reason(kind: Kind, code: u8, version: Version) -> Reason {
    let is_old = version != Version::V5;
    let name = match (kind, code) {
        (Kind::Connack, _) if is_old => REFUSALS.get(usize::from(code)).copied(),
        (Kind::Suback, 0x80) if is_old => Some("Failure"),
        (Kind::Suback, 0) => Some("Granted QoS 0"),
        (Kind::Suback, 1) => Some("Granted QoS 1"),
        (Kind::Suback, 2) => Some("Granted QoS 2"),
        (Kind::Suback, _) if is_old => None,
        (Kind::Disconnect, 0) => Some("Normal disconnection"),
        (Kind::Disconnect, 4) => Some("Disconnect with Will Message"),
        (Kind::Puback | Kind::Pubrec, 0x10) => Some("No matching subscribers"),
        (Kind::Unsuback, 0x11) => Some("No subscription existed"),
        (Kind::Auth, 0x18) => Some("Continue authentication"),
        (Kind::Auth, 0x19) => Some("Re-authenticate"),
        (_, 0) => Some("Success"),
        (_, FAILURE..) => FAILURES.get(usize::from(code - FAILURE)).copied(),
        _ => None,
    };
    let is_failure = if is_old && kind == Kind::Connack { code != 0 } else { code >= FAILURE };
    let is_known = name.is_some();
    let name = name.map_or_else(|| Cow::Owned(format!("reason {code:#04x}")), Cow::Borrowed);
    Reason { code, name, is_known, is_failure }
}
