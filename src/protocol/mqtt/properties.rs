//! Properties by their names (MQTT 5.0, section 2.2.2.2), secrets masked.

use super::head::Kind as Packet;
use super::values::{Read, Reader, Stop};
use crate::protocol::MASKED;
use crate::protocol::secrets::is_secret_name;
use crate::record::Value;

/// Of what type a property is.
#[derive(Clone, Copy)]
enum Type {
    Byte,
    Two,
    Four,
    Variable,
    Text,
    Binary,
    Pair,
}

/// Where properties may be: a bit for each type of packet, by its number; the lowest for those of a will.
const WILL: u16 = 1;
const CONNECT: u16 = 1 << 1;
const CONNACK: u16 = 1 << 2;
const PUBLISH: u16 = 1 << 3;
const SUBSCRIBE: u16 = 1 << 8;
const DISCONNECT: u16 = 1 << 14;
const AUTH: u16 = 1 << 15;
/// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK.
const ANSWERS: u16 = 0b1010_1111_0000;
const ANY: u16 = u16::MAX;

/// By identifier: the name, the type, and where it may be.
fn property(identifier: u8) -> Option<(&'static str, Type, u16)> {
    Some(match identifier {
        0x01 => ("Payload Format Indicator", Type::Byte, PUBLISH | WILL),
        0x02 => ("Message Expiry Interval", Type::Four, PUBLISH | WILL),
        0x03 => ("Content Type", Type::Text, PUBLISH | WILL),
        0x08 => ("Response Topic", Type::Text, PUBLISH | WILL),
        0x09 => ("Correlation Data", Type::Binary, PUBLISH | WILL),
        SUBSCRIPTION => ("Subscription Identifier", Type::Variable, PUBLISH | SUBSCRIBE),
        0x11 => ("Session Expiry Interval", Type::Four, CONNECT | CONNACK | DISCONNECT),
        0x12 => ("Assigned Client Identifier", Type::Text, CONNACK),
        0x13 => ("Server Keep Alive", Type::Two, CONNACK),
        0x15 => ("Authentication Method", Type::Text, CONNECT | CONNACK | AUTH),
        AUTHENTICATION => ("Authentication Data", Type::Binary, CONNECT | CONNACK | AUTH),
        0x17 => ("Request Problem Information", Type::Byte, CONNECT),
        0x18 => ("Will Delay Interval", Type::Four, WILL),
        0x19 => ("Request Response Information", Type::Byte, CONNECT),
        0x1a => ("Response Information", Type::Text, CONNACK),
        0x1c => ("Server Reference", Type::Text, CONNACK | DISCONNECT),
        0x1f => ("Reason String", Type::Text, CONNACK | ANSWERS | DISCONNECT | AUTH),
        0x21 => ("Receive Maximum", Type::Two, CONNECT | CONNACK),
        0x22 => ("Topic Alias Maximum", Type::Two, CONNECT | CONNACK),
        ALIAS => ("Topic Alias", Type::Two, PUBLISH),
        0x24 => ("Maximum QoS", Type::Byte, CONNACK),
        0x25 => ("Retain Available", Type::Byte, CONNACK),
        USER => ("User Property", Type::Pair, ANY),
        0x27 => ("Maximum Packet Size", Type::Four, CONNECT | CONNACK),
        0x28 => ("Wildcard Subscription Available", Type::Byte, CONNACK),
        0x29 => ("Subscription Identifier Available", Type::Byte, CONNACK),
        0x2a => ("Shared Subscription Available", Type::Byte, CONNACK),
        _ => return None,
    })
}

const SUBSCRIPTION: u8 = 0x0b;
const AUTHENTICATION: u8 = 0x16;
const ALIAS: u8 = 0x23;
const USER: u8 = 0x26;

/// Whose properties are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Packet(Packet),
    Will,
}

/// What a packet's properties say.
#[derive(Debug, Default)]
pub struct Properties {
    /// All of them by name, in order. User properties are together, where the first of them is.
    pub list: Vec<(Value, Value)>,
    /// What stands for the topic.
    pub alias: Option<u16>,
}

/// Reads the length of properties, and the properties, into `into`: as far as they are there.
pub fn read(reader: &mut Reader<'_>, owner: Owner, show_secrets: bool, into: &mut Properties) -> Read<()> {
    let length = reader.length()?;
    match reader.part(length) {
        Some(part) => reader.within(part, |reader| match list(reader, owner, show_secrets, into) {
            Err(Stop::End) => Err(Stop::Bad("a property that goes beyond the length of all")),
            result => result,
        }),
        None => {
            let part = reader.rest();
            reader.within(part, |reader| list(reader, owner, show_secrets, into))?;
            Err(Stop::End)
        }
    }
}

fn list(reader: &mut Reader<'_>, owner: Owner, show_secrets: bool, into: &mut Properties) -> Read<()> {
    let place = match owner {
        Owner::Packet(kind) => 1 << kind.number(),
        Owner::Will => WILL,
    };
    // Identifiers are below 64; all are of one byte, though they are variable byte integers.
    let mut seen = 0u64;
    let mut user: Option<usize> = None;
    while !reader.is_empty() {
        let identifier = reader.u8()?;
        let Some((name, kind, places)) = property(identifier) else {
            return Err(Stop::Bad("a property that is not known"));
        };
        if places & place == 0 {
            return Err(Stop::Bad("a property of other packets"));
        }
        let can_repeat = identifier == USER || identifier == SUBSCRIPTION && place == PUBLISH;
        if seen >> identifier & 1 == 1 && !can_repeat {
            return Err(Stop::Bad("a property twice"));
        }
        seen |= 1 << identifier;
        let value = match kind {
            Type::Byte => match reader.u8()? {
                value @ (0 | 1) => Value::Number(value.into()),
                _ => return Err(Stop::Bad("a property that is neither 0 nor 1")),
            },
            Type::Two => {
                let value = reader.u16()?;
                if identifier == ALIAS {
                    into.alias = Some(value);
                    reader.is_plausible &= value != 0;
                }
                Value::Number(value.into())
            }
            Type::Four => Value::Number(reader.u32()?.into()),
            Type::Variable => Value::Number(reader.length()?.into()),
            Type::Text => {
                let text = reader.text()?;
                reader.keep(text)
            }
            Type::Binary => {
                let bytes = reader.binary()?;
                let is_secret = identifier == AUTHENTICATION && !show_secrets;
                if is_secret { MASKED } else { reader.keep(bytes) }
            }
            Type::Pair => {
                let (key, value) = (reader.text()?, reader.text()?);
                let is_secret = is_secret_name(key);
                if !reader.has_room() {
                    continue;
                }
                let key = reader.keep(key);
                let value = if is_secret && !show_secrets { MASKED } else { reader.keep(value) };
                match user.and_then(|at| into.list.get_mut(at)) {
                    Some((_, Value::Map(pairs))) => pairs.push((key, value)),
                    _ => {
                        user = Some(into.list.len());
                        into.list.push((Value::Text(name.into()), Value::Map(vec![(key, value)])));
                    }
                }
                continue;
            }
        };
        if reader.has_room() {
            into.list.push((Value::Text(name.into()), value));
        }
    }
    Ok(())
}
