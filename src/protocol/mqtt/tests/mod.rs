//! The parser under whole conversations, written by hand from the standards.

mod conversations;
mod damage;
mod detection;
mod older;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, check_whole, field};
use crate::record::Value;

/// CONNECT of 3.1.1: clean session, 60 seconds, client identifier "c".
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c";

/// CONNECT of 5.0: clean start, 60 seconds, no properties, client identifier "c".
const CONNECT_5: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c";

/// CONNACK of 3.1.1, accepted.
const CONNACK: &[u8] = b"\x20\x02\0\0";

/// CONNACK of 5.0, success, no properties.
const CONNACK_5: &[u8] = b"\x20\x03\0\0\0";

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

fn inside() -> Setup {
    Setup { mid_stream: true, ..setup() }
}

/// All cuts and all damage, then what came out of the whole.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_whole(&PROTOCOL, steps, setup(), expected)
}

/// The fields of a record's request, or of its response.
#[track_caller]
fn value(outcome: &Outcome, record: usize, name: &str) -> Value {
    let record = &outcome.records[record];
    field(record, name).unwrap_or_else(|| panic!("{name} is missing: {record:?}")).clone()
}

fn answered(outcome: &Outcome, record: usize, name: &str) -> Option<Value> {
    outcome.records[record].response.as_ref()?.field(name).cloned()
}

fn property(outcome: &Outcome, record: usize, name: &str) -> Option<Value> {
    let Value::Map(list) = value(outcome, record, "properties") else { return None };
    let is_it = |key: &Value| *key == Value::Text(name.to_owned().into());
    list.into_iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
}

/// How many times records show a text.
fn shown(outcome: &Outcome, text: &str) -> usize {
    let all = format!("{:?}", outcome.records);
    let bytes = format!("{:?}", text.as_bytes());
    all.matches(bytes.trim_matches(['[', ']'])).count() + all.matches(text).count()
}
