//! OP_COMPRESSED.

use super::*;
use crate::event::Cause;
use crate::protocol::testing::{recv, run, send};
use flate2::Compression;
use flate2::read::ZlibEncoder;
use std::io::Read;

type Compress = fn(&[u8]) -> Vec<u8>;

/// OP_COMPRESSED around a message.
fn compressed(message_within: &[u8], id: u8, size: usize, compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (header, body) = message_within.split_at(16);
    let word = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().expect("4 bytes"));
    let size = i32::try_from(size).expect("a short message");
    let prefix = [&header[12..16], &size.to_le_bytes(), &[id]].concat();
    message(word(4), word(8), 2012, &[prefix, compress(body)].concat())
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ZlibEncoder::new(bytes, Compression::default()).read_to_end(&mut out).expect("memory");
    out
}

fn snappy(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("few bytes")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn every_compressor_is_undone() {
    let compressors: [(u8, &str, Compress); 4] =
        [(0, "noop", |bytes| bytes.to_vec()), (1, "snappy", snappy), (2, "zlib", zlib), (3, "zstd", zstd)];
    for (id, name, compress) in compressors {
        let (ask, answer) = (ping(1), ok(2, 1));
        let steps = [
            send(compressed(&ask, id, ask.len() - 16, compress)),
            recv(compressed(&answer, id, answer.len() - 16, compress)),
        ];
        let outcome = check(&steps, &["ping admin -> ok"]);
        assert_eq!(field(&outcome.records[0], "compressor"), Some(&Value::Text(name.into())));
        assert_eq!(field(&outcome.records[0], "opCode"), Some(&Value::Text("OP_MSG".into())));
    }
}

#[test]
fn snappy_of_the_format_s_own_description_is_undone() {
    // A literal of 32 bytes (format_description.txt of Snappy, section 2.1), written by hand.
    let body = [&[0; 5][..], &doc(&[int("ping", 1), text("$db", "ab")])].concat();
    assert_eq!(body.len(), 32);
    let by_hand = [&[32, 31 << 2][..], &body].concat();
    let steps = [send(compressed(&message(1, 0, 2013, &body), 1, 32, |_| by_hand.clone())), recv(ok(2, 1))];
    check(&steps, &["ping ab -> ok"]);
}

#[test]
fn a_compressor_that_is_not_known_is_named_and_its_messages_are_paired() {
    let steps = [send(compressed(&ping(1), 9, 30, |bytes| bytes.to_vec())), recv(ok(2, 1))];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records.len(), 1);
    assert_eq!(outcome.records[0].causes(), [Cause::Unsupported]);
}

#[test]
fn what_says_to_be_longer_than_it_is_or_is_damaged_is_refused() {
    for (id, bytes) in [(1, snappy(&[0; 30])), (2, zlib(&[0; 30])), (3, zstd(&[0; 30])), (2, vec![7; 30])] {
        let steps = [send(compressed(&ping(1), id, 31, |_| bytes.clone())), send(ping(2)), recv(ok(9, 2))];
        let outcome = run(&PROTOCOL, &steps, setup());
        assert_eq!(outcome.summaries(), ["ping admin -> ok"], "compressor {id}");
        assert_eq!(outcome.skipped[0].2, Cause::ParseError);
    }
}

#[test]
fn a_bomb_is_looked_at_only_as_far_as_its_bound() {
    let rows: Vec<Vec<u8>> =
        (0..40).map(|n| doc(&[int("_id", n), text("x", &"y".repeat(1_000_000))])).collect();
    let whole =
        msg([1, 0], 0, &doc(&[text("insert", "big"), text("$db", "d")]), &sequence("documents", &rows));
    for (id, compress, summary, cause) in [
        (2, zlib as Compress, "insert d.big 2+ documents -> ok", Cause::FieldTruncated),
        (3, zstd, "insert d.big 2+ documents -> ok", Cause::FieldTruncated),
    ] {
        let steps = [send(compressed(&whole, id, whole.len() - 16, compress)), recv(ok(2, 1))];
        let outcome = run(&PROTOCOL, &steps, setup());
        assert_eq!(outcome.summaries(), [summary], "compressor {id}");
        assert_eq!(outcome.records[0].causes(), [cause]);
    }
    let steps = [send(compressed(&whole, 1, whole.len() - 16, snappy)), recv(ok(2, 1))];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records[0].causes(), [Cause::Limit, Cause::FieldTruncated]);
}
