//! Whole conversations, written from RFC 8446, RFC 5246 and the description of SSL 2.

mod bounds;
mod conversations;
mod damage;
mod detection;
mod fingerprints;

use super::PROTOCOL;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, run_damaged, run_in_cuts};
use crate::record::{Message, Record, Value};

/// A record of the record layer.
fn cut(content: u8, version: u16, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = (payload.len() as u16).to_be_bytes();
    [&[content][..], &version.to_be_bytes(), &length, payload].concat()
}

const TLS10: u16 = 0x0301;
const TLS12: u16 = 0x0303;

fn handshake(payload: impl AsRef<[u8]>) -> Vec<u8> {
    cut(22, TLS12, payload)
}

fn change_cipher() -> Vec<u8> {
    cut(20, TLS12, [1])
}

fn alert(level: u8, description: u8) -> Vec<u8> {
    cut(21, TLS12, [level, description])
}

/// Ciphertext of a length: bytes that begin no message.
fn data(length: usize) -> Vec<u8> {
    cut(23, TLS12, ciphertext(length))
}

fn ciphertext(length: usize) -> Vec<u8> {
    (0..length).map(|at| 0x80 | (at as u8).wrapping_mul(31)).collect()
}

/// A handshake message.
fn message(kind: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = (body.len() as u32).to_be_bytes();
    [&[kind], &length[1..], body].concat()
}

/// What follows its length of two bytes.
fn list16(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// What follows its length of one byte.
fn list8(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&[bytes.len() as u8], bytes].concat()
}

fn numbers(all: &[u16]) -> Vec<u8> {
    all.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn extensions(all: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let one = |(number, body): &(u16, Vec<u8>)| [number.to_be_bytes().to_vec(), list16(body)].concat();
    list16(all.iter().flat_map(one).collect::<Vec<u8>>())
}

fn server_name(name: &str) -> (u16, Vec<u8>) {
    (0, list16([&[0], &list16(name)[..]].concat()))
}

fn alpn(names: &[&str]) -> (u16, Vec<u8>) {
    (16, list16(names.iter().flat_map(list8).collect::<Vec<u8>>()))
}

const RANDOM: [u8; 32] = [0x11; 32];

/// The random by which a ServerHello is a HelloRetryRequest: SHA-256 of these words (RFC 8446, section 4.1.3).
fn retry_random() -> Vec<u8> {
    use sha2::{Digest, Sha256};
    Sha256::digest(b"HelloRetryRequest").to_vec()
}

fn client_hello(session: &[u8], suites: &[u16], list: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let parts = [
        TLS12.to_be_bytes().to_vec(),
        RANDOM.to_vec(),
        list8(session),
        list16(numbers(suites)),
        list8([0]),
        extensions(list),
    ];
    message(1, parts.concat())
}

fn server_hello(random: &[u8], session: &[u8], suite: u16, list: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let parts = [
        TLS12.to_be_bytes().to_vec(),
        random.to_vec(),
        list8(session),
        suite.to_be_bytes().to_vec(),
        vec![0],
        extensions(list),
    ];
    message(2, parts.concat())
}

/// The ClientHello of TLS 1.3 for a host.
fn hello13(name: &str) -> Vec<u8> {
    let list = [
        server_name(name),
        (10, list16(numbers(&[29, 23]))),
        (13, list16(numbers(&[0x0403, 0x0804]))),
        alpn(&["h2", "http/1.1"]),
        (43, list8(numbers(&[0x0304, 0x0303]))),
        (45, list8([1])),
        (51, list16([numbers(&[29]), list16([7; 32])].concat())),
    ];
    client_hello(&[0xaa; 32], &[0x1301, 0x1302, 0xc02f], &list)
}

/// The ServerHello of TLS 1.3 with further extensions.
fn answer13(more: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let own = [(51, [numbers(&[29]), list16([8; 32])].concat()), (43, numbers(&[0x0304]))];
    server_hello(&[0x22; 32], &[0xaa; 32], 0x1302, &[&own[..], more].concat())
}

/// An element of DER.
fn der(tag: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = content.len();
    let head = if length < 128 {
        vec![tag, length as u8]
    } else {
        [&[tag, 0x82], &(length as u16).to_be_bytes()[..]].concat()
    };
    [&head[..], content].concat()
}

/// A certificate for a host, with another name and an address, by `Test CA`.
fn certificate(host: &str) -> Vec<u8> {
    let common_name = |name: &str| {
        let attribute = der(0x30, [der(0x06, [0x55, 4, 3]), der(0x0c, name)].concat());
        der(0x30, der(0x31, attribute))
    };
    let algorithm = der(0x30, der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let curve =
        [der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])];
    let key = der(0x30, [der(0x30, curve.concat()), der(0x03, [0, 4, 1, 2])].concat());
    let names = der(0x30, [der(0x82, host), der(0x82, "*.example.net"), der(0x87, [192, 0, 2, 1])].concat());
    let alternative = der(0x30, [der(0x06, [0x55, 0x1d, 0x11]), der(0x04, names)].concat());
    let body = [
        der(0xa0, der(0x02, [2])),
        der(0x02, [0x01, 0xff]),
        algorithm.clone(),
        common_name("Test CA"),
        der(0x30, [der(0x17, "240101000000Z"), der(0x18, "20500101000000Z")].concat()),
        common_name(host),
        key,
        der(0xa3, der(0x30, alternative)),
    ];
    der(0x30, [der(0x30, body.concat()), algorithm, der(0x03, [0, 9, 9])].concat())
}

/// A Certificate message of TLS 1.2.
fn certificates(chain: &[Vec<u8>]) -> Vec<u8> {
    let list16_with_zero = |bytes: &[u8]| [&[0], &list16(bytes)[..]].concat();
    let list: Vec<u8> = chain.iter().flat_map(|one| list16_with_zero(one)).collect();
    message(11, list16_with_zero(&list))
}

/// Runs a conversation in cuts and damaged; gives what it made.
fn talk(steps: &[Step]) -> Outcome {
    let setup = Setup { options: Options { max_field: 100, ..Options::default() }, ..Setup::default() };
    run_damaged(&PROTOCOL, steps, setup);
    let outcome = run_in_cuts(&PROTOCOL, steps, setup);
    assert!(outcome.skipped.is_empty(), "{:?}", outcome.skipped);
    outcome
}

fn value<'a>(message: &'a Message, name: &str) -> &'a Value {
    let found = message.fields.iter().find(|field| field.name == name);
    &found.unwrap_or_else(|| panic!("no {name} in {message:?}")).value
}

fn request(record: &Record) -> &Message {
    record.request.as_ref().expect("a request")
}

fn response(record: &Record) -> &Message {
    record.response.as_ref().expect("a response")
}

fn words(all: &[&'static str]) -> Value {
    Value::List(all.iter().map(|&word| Value::Text(word.into())).collect())
}
