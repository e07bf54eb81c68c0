//! The parser under whole conversations, written by hand from the specification.

mod bounds;
mod conversations;
mod damage;
mod detection;
mod secrets;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, field, recv, run_damaged, run_in_cuts, send};
use crate::record::{Record, Value};

/// A message: type, length (of itself and the contents), contents.
fn msg(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = u32::try_from(body.len() + 4).expect("a short message");
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// A packet without type byte.
fn packet(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("a short packet");
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

fn startup(parameters: &str) -> Vec<u8> {
    packet(0x0003_0000, parameters.as_bytes())
}

fn auth(code: u32, body: &[u8]) -> Vec<u8> {
    msg(b'R', [&code.to_be_bytes()[..], body].concat())
}

fn query(text: &str) -> Vec<u8> {
    msg(b'Q', format!("{text}\0"))
}

fn parse(name: &str, text: &str, types: &[u32]) -> Vec<u8> {
    let mut body = format!("{name}\0{text}\0").into_bytes();
    body.extend((types.len() as u16).to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    msg(b'P', body)
}

/// Parameters, all of one format.
fn bind(portal: &str, statement: &str, format: u16, values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0").into_bytes();
    body.extend([0, 1]);
    body.extend(format.to_be_bytes());
    body.extend((values.len() as u16).to_be_bytes());
    values.iter().for_each(|value| body.extend(cell(*value)));
    body.extend([0, 0]);
    msg(b'B', body)
}

fn cell(value: Option<&[u8]>) -> Vec<u8> {
    match value {
        None => (-1i32).to_be_bytes().to_vec(),
        Some(bytes) => [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat(),
    }
}

fn describe(kind: char, name: &str) -> Vec<u8> {
    msg(b'D', format!("{kind}{name}\0"))
}

fn execute(portal: &str, rows: u32) -> Vec<u8> {
    msg(b'E', [format!("{portal}\0").as_bytes(), &rows.to_be_bytes()].concat())
}

fn close(kind: char, name: &str) -> Vec<u8> {
    msg(b'C', format!("{kind}{name}\0"))
}

fn sync() -> Vec<u8> {
    msg(b'S', "")
}

fn flush() -> Vec<u8> {
    msg(b'H', "")
}

/// Columns of type text, in text format.
fn columns(names: &[&str]) -> Vec<u8> {
    let mut body = (names.len() as u16).to_be_bytes().to_vec();
    for name in names {
        body.extend(format!("{name}\0").as_bytes());
        body.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    }
    msg(b'T', body)
}

fn row(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = (values.len() as u16).to_be_bytes().to_vec();
    values.iter().for_each(|value| body.extend(cell(*value)));
    msg(b'D', body)
}

fn done(tag: &str) -> Vec<u8> {
    msg(b'C', format!("{tag}\0"))
}

fn ready(status: char) -> Vec<u8> {
    msg(b'Z', status.to_string())
}

fn error(severity: &str, code: &str, message: &str) -> Vec<u8> {
    msg(b'E', format!("S{severity}\0V{severity}\0C{code}\0M{message}\0\0"))
}

/// An empty message of the server by its type, as `1` for ParseComplete.
fn bare(kinds: &str) -> Vec<u8> {
    kinds.bytes().flat_map(|kind| msg(kind, "")).collect()
}

/// What comes before everything else where the server trusts the client.
fn login() -> Vec<Step> {
    vec![
        send(startup("user\0me\0database\0db\0\0")),
        recv([auth(0, &[]), msg(b'K', [0, 0, 0, 9, 1, 2, 3, 4]), ready('I')].concat()),
    ]
}

const LOGIN: &str = "StartupMessage user=me database=db -> AuthenticationOk";

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

/// Runs a conversation in all cuts and with all damage; gives what came of it whole.
fn converse(steps: &[Step]) -> Outcome {
    run_damaged(&PROTOCOL, steps, setup());
    let outcome = run_in_cuts(&PROTOCOL, steps, setup());
    assert_eq!(outcome.skipped, []);
    outcome
}

/// A conversation behind the login, by its summaries.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    let mut outcome = converse(&[login(), steps.to_vec()].concat());
    let summaries = outcome.summaries();
    assert_eq!(summaries[0], LOGIN);
    assert_eq!(summaries[1..], *expected);
    outcome.records.remove(0);
    outcome
}

/// A field as text.
fn text(record: &Record, name: &str) -> String {
    match field(record, name) {
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Value::Text(text)) => text.to_string(),
        Some(Value::Number(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
