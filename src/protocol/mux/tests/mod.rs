//! The parser under whole conversations, written by hand from the specification.

mod conversations;
mod detection;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{
    Outcome, Setup, Step, bytes, check_whole, field, recv, run, run_in_cuts, send, word,
};
use crate::record::Value;

fn setup() -> Setup {
    Setup { options: Options { max_field: 4096, ..Options::default() }, ..Setup::default() }
}

/// A conversation, by its summaries; in all cuts and with all damage.
#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_whole(&PROTOCOL, steps, setup(), expected)
}

/// A message: size, type, tag, body.
fn message(kind: i8, tag: u32, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 4).expect("a short body").to_be_bytes();
    [&size[..], &kind.to_be_bytes(), &tag.to_be_bytes()[1..], body].concat()
}

/// A key or a value with its length in two bytes.
fn short(text: impl AsRef<[u8]>) -> Vec<u8> {
    let text = text.as_ref();
    let length = u16::try_from(text.len()).expect("a short text").to_be_bytes();
    [&length[..], text].concat()
}

/// The same in four bytes.
fn long(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text").to_be_bytes();
    [&length[..], text].concat()
}

/// The body of a Tdispatch: contexts, destination, delegations, and what is asked.
fn dispatch(contexts: &[(&str, &[u8])], dst: &str, dtab: &[(&str, &str)], rest: &[u8]) -> Vec<u8> {
    let count = |count: usize| u16::try_from(count).expect("few").to_be_bytes().to_vec();
    let contexts_bytes = contexts.iter().map(|(key, value)| [short(key), short(value)].concat());
    let dtab_bytes = dtab.iter().map(|(from, to)| [short(from), short(to)].concat());
    [
        count(contexts.len()),
        contexts_bytes.collect::<Vec<_>>().concat(),
        short(dst),
        count(dtab.len()),
        dtab_bytes.collect::<Vec<_>>().concat(),
        rest.to_vec(),
    ]
    .concat()
}

fn tdispatch(tag: u32, dst: &str) -> Vec<u8> {
    message(2, tag, &dispatch(&[], dst, &[], b"ask"))
}

/// An Rdispatch without contexts.
fn rdispatch(tag: u32, status: u8, rest: &[u8]) -> Vec<u8> {
    message(-2, tag, &[&[status, 0, 0][..], rest].concat())
}
