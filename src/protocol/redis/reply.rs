//! Replies and pushes: what the records show of them, and which are out of band.

use super::command::{mask_acl, mask_config, mask_refused_rule, shorten};
use super::element::{Element, Kind, Piece};
use super::pairing::Class;
use crate::record::{Field, Value};

/// The shapes of a reply that pairing has to know apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Confirms one channel of a SUBSCRIBE or UNSUBSCRIBE and its kin.
    Confirmation {
        /// Of channels, patterns or shard channels.
        class: Class,
        /// It ends the subscription.
        ends: bool,
        /// Subscriptions that remain, as the server counts them.
        remaining: u64,
    },
    /// A message of a channel in the form of a RESP2 array: out of band for a subscriber.
    MessageArray,
    /// A RESP3 push.
    Push,
    /// A line of MONITOR's output: `+1339518083.107412 [0 127.0.0.1:60866] "GET" "x"`.
    MonitorLine,
    /// Anything else.
    Plain,
}

/// What the records show of a reply.
pub struct Reply {
    /// Its fields.
    pub fields: Vec<Field>,
    /// Its part of the summary: `12 B`, `(nil)`, `ERR unknown command`.
    pub summary: String,
    /// Its shape.
    pub shape: Shape,
    /// Its type, absent where its first byte is missing.
    pub kind: Option<Kind>,
    /// Bytes of the value were left out.
    pub cut: bool,
    /// The channel that a confirmation names, as much of it as commands keep.
    pub channel: Option<Vec<u8>>,
}

impl Reply {
    /// What RESET is answered by, and nothing else.
    pub fn is_reset(&self) -> bool {
        self.shape == Shape::Plain && self.kind == Some(Kind::SimpleString) && self.summary == "RESET"
    }

    /// Describes the reply that `element` holds.
    pub fn new(element: &mut Element) -> Reply {
        let shape = shape(element);
        let mut fields = Vec::with_capacity(4);
        if let Some(kind) = element.kind {
            let name = if element.is_null { Kind::Null.name() } else { kind.name() };
            fields.push(Field::new("type", Value::Text(name.into())));
        }
        fields.extend(extent(element));
        if let Some(attributes) = element.take_attributes() {
            fields.push(Field::new("attributes", attributes));
        }
        let summary = summary(element, shape);
        let is_confirmation = matches!(shape, Shape::Confirmation { .. });
        let channel = element.piece(1).filter(|_| is_confirmation).map(|piece| piece.bytes().to_vec());
        let error = matches!(element.kind, Some(Kind::Error | Kind::BulkError));
        let value = element.take_value().or_else(|| scalar(element));
        if error {
            fields.push(Field::new("error", Value::Bytes(element.text.clone())));
        } else if let Some(value) = value {
            fields.push(Field::new("value", value));
        }
        Reply { fields, summary, shape, kind: element.kind, cut: element.cut, channel }
    }

    /// Masks the secrets that a server shows in the reply to CONFIG GET.
    pub fn mask_config(&mut self) {
        for field in self.fields.iter_mut().filter(|field| field.name == "value") {
            mask_config(&mut field.value);
        }
    }

    /// Masks what the reply to a command of ACL shows.
    pub fn mask_acl(&mut self) {
        self.summary = mask_refused_rule(&self.summary);
        for field in &mut self.fields {
            match &mut field.value {
                Value::Bytes(error) if field.name == "error" => {
                    *error = mask_refused_rule(&String::from_utf8_lossy(error)).into_bytes();
                }
                value if field.name == "value" => mask_acl(value),
                _ => {}
            }
        }
    }
}

/// How much there is of a value that can be long.
fn extent(element: &Element) -> Option<Field> {
    let number = |count: u64| Value::Number(i64::try_from(count).unwrap_or(i64::MAX));
    match element.kind? {
        _ if element.is_null => None,
        Kind::Bulk | Kind::Verbatim => Some(Field::new("length", number(element.length))),
        Kind::Map => Some(Field::new("count", number(count(element) / 2))),
        Kind::Array | Kind::Set | Kind::Push => Some(Field::new("count", number(count(element)))),
        _ => None,
    }
}

/// Elements as declared, or as seen where the aggregate is streamed.
fn count(element: &Element) -> u64 {
    element.count.unwrap_or(element.seen)
}

/// The value of a type that is always short, for records that show no others.
fn scalar(element: &Element) -> Option<Value> {
    let text = String::from_utf8_lossy(&element.text);
    match element.kind? {
        _ if element.is_null => Some(Value::Null),
        Kind::Null => Some(Value::Null),
        Kind::SimpleString | Kind::BigNumber => Some(Value::Bytes(element.text.clone())),
        Kind::Integer => text.parse().ok().map(Value::Number),
        Kind::Double => text.parse().ok().map(Value::Float),
        Kind::Boolean => Some(Value::Flag(text == "t")),
        _ => None,
    }
}

fn summary(element: &Element, shape: Shape) -> String {
    let Some(kind) = element.kind else { return "reply".to_owned() };
    if shape != Shape::Plain && shape != Shape::MonitorLine {
        return push(element);
    }
    let text = || {
        let more = if element.length > element.text.len() as u64 { "\u{2026}" } else { "" };
        format!("{}{more}", String::from_utf8_lossy(&element.text))
    };
    let counted = |count: u64, word: &str| format!("({count} {word}{})", if count == 1 { "" } else { "s" });
    match kind {
        _ if element.is_null => "(nil)".to_owned(),
        Kind::Null => "(nil)".to_owned(),
        Kind::Bulk | Kind::Verbatim => size(element.length),
        Kind::Boolean => if element.text == b"t" { "true" } else { "false" }.to_owned(),
        Kind::Array | Kind::Push | Kind::Attribute => counted(count(element), "element"),
        Kind::Set => counted(count(element), "member"),
        Kind::Map => counted(count(element) / 2, "field"),
        Kind::SimpleString | Kind::Error | Kind::Integer => text(),
        Kind::Double | Kind::BigNumber | Kind::BulkError => text(),
    }
}

/// `push message news 5 B`: the kind of push, what it is about, and its last element.
fn push(element: &Element) -> String {
    let mut summary = "push".to_owned();
    let last = count(element).saturating_sub(1);
    for index in 0..super::element::PIECES {
        let Some(piece) = element.piece(index) else { break };
        let text = match piece.kind {
            Kind::Bulk if index > 0 && index as u64 == last => size(piece.length),
            Kind::Bulk | Kind::SimpleString | Kind::Integer => shorten(piece),
            _ => continue,
        };
        if !text.is_empty() {
            summary.push(' ');
            summary.push_str(&text);
        }
    }
    summary
}

/// A number of bytes as people write it: `12 B`, `12.3 kB`, `4.5 MB`.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

fn shape(element: &Element) -> Shape {
    match element.kind {
        Some(Kind::Array | Kind::Push) => {}
        Some(Kind::SimpleString) if is_monitor_line(&element.text) => return Shape::MonitorLine,
        _ => return Shape::Plain,
    }
    if let Some(confirmation) = confirmation(element) {
        return confirmation;
    }
    if element.kind == Some(Kind::Push) {
        return Shape::Push;
    }
    let texts = |count: usize| {
        (0..count).all(|index| element.piece(index).is_some_and(|piece| piece.kind == Kind::Bulk))
    };
    match (word(element), element.count) {
        (Some(b"message" | b"smessage"), Some(3)) if texts(3) => Shape::MessageArray,
        (Some(b"pmessage"), Some(4)) if texts(4) => Shape::MessageArray,
        _ => Shape::Plain,
    }
}

/// The first element, if it is a string seen whole.
fn word(element: &Element) -> Option<&[u8]> {
    element.piece(0).and_then(Piece::text)
}

/// `[subscribe, channel, 1]`; the channel is null where there was nothing to unsubscribe from.
fn confirmation(element: &Element) -> Option<Shape> {
    let (class, ends) = match word(element)? {
        b"subscribe" => (Class::Channel, false),
        b"psubscribe" => (Class::Pattern, false),
        b"ssubscribe" => (Class::Shard, false),
        b"unsubscribe" => (Class::Channel, true),
        b"punsubscribe" => (Class::Pattern, true),
        b"sunsubscribe" => (Class::Shard, true),
        _ => return None,
    };
    let count = element.piece(2).filter(|piece| piece.kind == Kind::Integer && element.count == Some(3))?;
    let remaining = std::str::from_utf8(count.text()?).ok()?.parse().ok()?;
    Some(Shape::Confirmation { class, ends, remaining })
}

fn is_monitor_line(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some((b'.', rest)) = text[digits..].split_first() else { return false };
    let micros = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && micros == 6 && rest[micros..].starts_with(b" [")
}
