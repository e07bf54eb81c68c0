//! The parser under whole conversations, written by hand from the specification.

mod bounds;
mod conversations;
mod damage;
mod detection;
mod replication;

use super::PROTOCOL;
use super::packet::capability;
use crate::protocol::Options;
use crate::protocol::testing::{Outcome, Setup, Step, field, recv, run_damaged, run_in_cuts, send};
use crate::record::{Record, Value};

/// A packet: length (three bytes, least significant first), sequence number, contents.
fn packet(seq: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = u32::try_from(body.len()).expect("a short packet").to_le_bytes();
    [&length[..3], &[seq], body].concat()
}

/// Packets that count from `seq`.
fn packets(seq: u8, bodies: &[&[u8]]) -> Vec<u8> {
    let numbered = bodies.iter().zip(u32::from(seq)..);
    numbered.flat_map(|(body, seq)| packet(seq as u8, body)).collect()
}

/// What servers of MySQL 8 and clients of today agree to, but for the end of columns.
const FLAGS: u32 = (capability::MYSQL
    | capability::PROTOCOL_41
    | capability::SECURE_CONNECTION
    | capability::PLUGIN_AUTH
    | capability::CONNECT_WITH_DB) as u32;

const DEPRECATE_EOF: u32 = capability::DEPRECATE_EOF as u32;

/// HandshakeV10 of a server with these flags.
fn greeting(flags: u32) -> Vec<u8> {
    let [a, b, c, d] = flags.to_le_bytes();
    let body = [
        b"\x0a8.0.36\0\x07\0\0\0saltsalt\0".as_slice(),
        &[a, b, 0xff, 2, 0, c, d, 21],
        &[0; 10],
        b"saltsaltsalt\0mysql_native_password\0",
    ];
    packet(0, body.concat())
}

/// HandshakeResponse41 of a client with these flags.
fn response(flags: u32) -> Vec<u8> {
    let body = [
        &flags.to_le_bytes()[..],
        &[0, 0, 0, 1, 45],
        &[0; 23],
        b"me\0\x14ppppppppppppppppppppdb\0mysql_native_password\0",
    ];
    packet(1, body.concat())
}

/// OK: rows affected, last id, status, warnings.
fn ok(affected: u8, id: u8, status: u16) -> Vec<u8> {
    [&[0, affected, id], &status.to_le_bytes()[..], &[0, 0]].concat()
}

/// EOF: warnings, status.
fn eof(status: u16) -> Vec<u8> {
    [&[0xfe, 0, 0][..], &status.to_le_bytes()].concat()
}

/// OK in place of EOF.
fn end(status: u16) -> Vec<u8> {
    [&[0xfe, 0, 0], &status.to_le_bytes()[..], &[0, 0]].concat()
}

const AUTOCOMMIT: u16 = 2;
const MORE: u16 = 8 | 2;

fn error(code: u16, state: &str, message: &str) -> Vec<u8> {
    [&[0xff][..], &code.to_le_bytes(), format!("#{state}{message}").as_bytes()].concat()
}

/// ColumnDefinition41 of a column with this name and type.
fn column(name: &str, kind: u8) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a short name");
    let names =
        [b"\x03def\x02db\x01t\x01t".as_slice(), &[length], name.as_bytes(), &[length], name.as_bytes()];
    [&names.concat()[..], &[0x0c, 63, 0, 11, 0, 0, 0, kind, 0, 0, 0, 0, 0]].concat()
}

/// A command: its first byte, and what follows.
fn command(code: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    packet(0, [&[code], body.as_ref()].concat())
}

fn query(text: &str) -> Vec<u8> {
    command(3, text)
}

/// A result with one column of text, as COM_QUERY gives it; columns end with EOF.
fn result(seq: u8, rows: &[&str], status: u16) -> Vec<u8> {
    let rows: Vec<Vec<u8>> = rows.iter().map(|row| [&[row.len() as u8], row.as_bytes()].concat()).collect();
    let (column, eof, last) = (column("a", 253), eof(AUTOCOMMIT), eof(status));
    let mut bodies: Vec<&[u8]> = vec![b"\x01", &column, &eof];
    bodies.extend(rows.iter().map(Vec::as_slice));
    bodies.push(&last);
    packets(seq, &bodies)
}

/// What comes before everything else.
fn login_with(flags: u32) -> Vec<Step> {
    vec![recv(greeting(flags)), send(response(flags)), recv(packet(2, ok(0, 0, AUTOCOMMIT)))]
}

const LOGIN: [&str; 2] = ["HandshakeV10 8.0.36 thread 7", "HandshakeResponse41 user=me database=db -> OK"];

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
fn check_with(flags: u32, steps: &[Step], expected: &[&str]) -> Outcome {
    let mut outcome = converse(&[login_with(flags), steps.to_vec()].concat());
    let summaries = outcome.summaries();
    assert_eq!(summaries[..2], LOGIN);
    assert_eq!(summaries[2..], *expected);
    outcome.records.drain(..2);
    outcome
}

#[track_caller]
fn check(steps: &[Step], expected: &[&str]) -> Outcome {
    check_with(FLAGS, steps, expected)
}

/// A field as text.
fn text(record: &Record, name: &str) -> String {
    fn plain(value: &Value) -> String {
        match value {
            Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Text(text) => text.to_string(),
            Value::Number(number) => number.to_string(),
            Value::List(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
            Value::Map(pairs) => {
                let pairs = pairs.iter().map(|(name, value)| format!("{}={}", plain(name), plain(value)));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(" "))
            }
            other => format!("{other:?}"),
        }
    }
    field(record, name).map_or("absent".to_owned(), plain)
}
