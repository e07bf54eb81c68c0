//! The parser under whole conversations, written by hand from the specification.

mod commands;
mod compression;
mod detection;
mod legacy;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, check_whole, field, run_in_cuts};
use crate::record::Value;

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

/// A conversation, by its summaries; in all cuts and with all damage.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_whole(&PROTOCOL, steps, setup(), expected)
}

/// A message: its header and what follows.
fn message(request_id: i32, response_to: i32, op_code: i32, body: &[u8]) -> Vec<u8> {
    let length = 16 + i32::try_from(body.len()).expect("a short message");
    let header = [length, request_id, response_to, op_code].map(i32::to_le_bytes).concat();
    [&header, body].concat()
}

/// OP_MSG with a body, and what is put behind it.
fn msg(ids: [i32; 2], flags: u32, body: &[u8], behind: &[u8]) -> Vec<u8> {
    message(ids[0], ids[1], 2013, &[&flags.to_le_bytes()[..], &[0], body, behind].concat())
}

/// A document sequence.
fn sequence(identifier: &str, documents: &[Vec<u8>]) -> Vec<u8> {
    let inner = [identifier.as_bytes(), &[0], &documents.concat()].concat();
    let size = i32::try_from(inner.len() + 4).expect("a short sequence");
    [&[1][..], &size.to_le_bytes(), &inner].concat()
}

/// A document of elements.
fn doc(elements: &[Vec<u8>]) -> Vec<u8> {
    let inner = elements.concat();
    let length = i32::try_from(inner.len() + 5).expect("a short document");
    [&length.to_le_bytes()[..], &inner, &[0]].concat()
}

fn element(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
    [&[kind][..], name.as_bytes(), &[0], value].concat()
}

fn int(name: &str, value: i32) -> Vec<u8> {
    element(0x10, name, &value.to_le_bytes())
}

fn long(name: &str, value: i64) -> Vec<u8> {
    element(0x12, name, &value.to_le_bytes())
}

fn double(name: &str, value: f64) -> Vec<u8> {
    element(0x01, name, &value.to_le_bytes())
}

fn text(name: &str, value: &str) -> Vec<u8> {
    let length = i32::try_from(value.len() + 1).expect("a short text");
    element(0x02, name, &[&length.to_le_bytes()[..], value.as_bytes(), &[0]].concat())
}

fn inner(name: &str, elements: &[Vec<u8>]) -> Vec<u8> {
    element(0x03, name, &doc(elements))
}

fn array(name: &str, documents: &[Vec<u8>]) -> Vec<u8> {
    let one = |(index, document): (usize, &Vec<u8>)| element(0x03, &index.to_string(), document);
    element(0x04, name, &doc(&documents.iter().enumerate().map(one).collect::<Vec<_>>()))
}

fn binary(name: &str, bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).expect("few bytes");
    element(0x05, name, &[&length.to_le_bytes()[..], &[0], bytes].concat())
}

/// A command that asks for nothing but an answer.
fn ping(request_id: i32) -> Vec<u8> {
    msg([request_id, 0], 0, &doc(&[int("ping", 1), text("$db", "admin")]), &[])
}

/// An answer that all is well.
fn ok(request_id: i32, response_to: i32) -> Vec<u8> {
    msg([request_id, response_to], 0, &doc(&[double("ok", 1.0)]), &[])
}
