//! Compression and the segments of v5. What the client sends was made by Cassandra's own Python driver (cassandra-driver
//! 3.30, `ProtocolHandler.encode_message` and `SegmentCodec.encode`).

use super::super::segment::Format;
use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::testing::{cut, run};

/// A segment with QUERY (stream 3) and PREPARE (stream 4).
const PLAIN: &str = "6a000279341a0500000307000000340000002653454c454354202a2046524f4d2073686f702e6f7264657273205748455245206964203d2037000600000004000000640500000409000000240000001c494e5345525420494e544f2074202861292056414c55455320283f2900000000b0ba9d83";

/// A segment with QUERY (stream 3) twice, compressed.
const LZ4: &str = "4800f40004a1cdc6ff2e0500000307000000340000002653454c454354202a2046524f4d2073686f702e6f7264657273205748455245206964203d2037000600000004000000643d00255004000000643b04358d";

/// A segment with PREPARE (stream 4) where compression was agreed on, and does not help.
const LZ4_STORED: &str = "2d0000000430c1d40500000409000000240000001c494e5345525420494e544f2074202861292056414c55455320283f290000000087e483b3";

/// QUERY (stream 1) of v4, its body compressed by LZ4 and by Snappy.
const BODY_LZ4: &str = "0401000107000000350000002ff0200000002853454c4543542072656c656173655f76657273696f6e2046524f4d2073797374656d2e6c6f63616c000100";
const BODY_SNAPPY: &str = "0401000107000000312fb80000002853454c4543542072656c656173655f76657273696f6e2046524f4d2073797374656d2e6c6f63616c000100";

fn hex(digits: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(digits.as_bytes()).expect("digits")
}

/// A segment, its checksums bit by bit as the specification has them.
fn segment(payload: &[u8], is_self_contained: bool, format: Format) -> Vec<u8> {
    let length = u64::try_from(payload.len()).expect("a payload");
    let flag = u64::from(is_self_contained);
    let (word, count) = match format {
        Format::Uncompressed => (length | flag << 17, 3),
        Format::Compressed => (length | flag << 34, 5),
    };
    let header = &word.to_le_bytes()[..count];
    let crc24 = header.iter().fold(0x87_5060u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let crc = crc << 1;
            if crc & 0x100_0000 != 0 { crc ^ 0x197_4f0b } else { crc }
        })
    });
    let crc32 = !b"\xfa\x2d\x55\xca".iter().chain(payload).fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    });
    [header, &crc24.to_le_bytes()[..3], payload, &crc32.to_le_bytes()].concat()
}

fn done(stream: i16) -> Vec<u8> {
    envelope(0x85, 0, stream, 8, &[0, 0, 0, 1])
}

#[test]
fn segments_hold_several_messages() {
    let answers =
        [done(3), envelope(0x85, 0, 4, 0, &[&[0, 0, 0x20, 0][..], &string("no")].concat())].concat();
    let steps = [
        send(startup(5, None)),
        recv(ready(5)),
        send(hex(PLAIN)),
        recv(segment(&answers, true, Format::Uncompressed)),
    ];
    check(
        &steps,
        &[
            "STARTUP CQL 3.0.0 -> READY",
            "SELECT * FROM shop.orders WHERE id = 7 -> void",
            "PREPARE INSERT INTO t (a) VALUES (?) -> ERROR 0x2000 Syntax_error: no",
        ],
    );
}

#[test]
fn segments_are_compressed_or_not_where_lz4_was_agreed_on() {
    let steps = [
        send(startup(5, Some("lz4"))),
        recv(ready(5)),
        send(hex(LZ4_STORED)),
        recv(segment(&done(4), true, Format::Compressed)),
        send(hex(LZ4)),
        recv(segment(&done(3), true, Format::Compressed)),
    ];
    check(
        &steps,
        &[
            "STARTUP CQL 3.0.0 lz4 -> READY",
            "PREPARE INSERT INTO t (a) VALUES (?) -> void",
            // The same stream twice: the first was never answered.
            "SELECT * FROM shop.orders WHERE id = 7 [no-response]",
            "SELECT * FROM shop.orders WHERE id = 7 -> void",
        ],
    );
}

/// An envelope in as many segments as it takes.
fn large(envelope: &[u8], format: Format) -> Vec<u8> {
    envelope.chunks(131_071).map(|part| segment(part, false, format)).collect::<Vec<_>>().concat()
}

#[test]
fn a_message_goes_over_several_segments() {
    let statement = format!("SELECT '{}' FROM t", "x".repeat(300_000));
    let query = envelope(5, 0, 5, 7, &[&long_string(&statement)[..], &[0, 1, 0, 0, 0, 0]].concat());
    for format in [Format::Uncompressed, Format::Compressed] {
        let steps = [
            send(startup(5, None)),
            recv(ready(5)),
            send(large(&query, format)),
            recv(segment(&done(5), true, format)),
        ];
        for length in [1000, 131_081] {
            let outcome = run(&PROTOCOL, &cut(&steps, || length), setup());
            assert_eq!(outcome.skipped, []);
            let record = &outcome.records[1];
            assert!(record.summary.starts_with("SELECT 'xxx") && record.summary.ends_with(" -> void"));
            let request = record.request.as_ref().expect("a request");
            let length = u64::try_from(large(&query, format).len()).expect("a length");
            assert_eq!(request.range.len(), length, "all of its segments");
            assert_eq!(record.causes(), [Cause::FieldTruncated], "the statement is longer than is shown");
        }
    }
}

#[test]
fn a_lost_segment_takes_its_message_and_no_other() {
    let statement = format!("SELECT '{}' FROM t", "x".repeat(300_000));
    let query = envelope(5, 0, 5, 7, &[&long_string(&statement)[..], &[0, 1, 0, 0, 0, 0]].concat());
    let parts: Vec<Vec<u8>> =
        query.chunks(131_071).map(|part| segment(part, false, Format::Uncompressed)).collect();
    let lost = |part: &Vec<u8>| {
        Step::Gap(Direction::Send, u64::try_from(part.len()).expect("a length"), Cause::RingFull)
    };
    let end =
        [send(hex(PLAIN)), recv(segment(&[done(5), done(3), done(4)].concat(), true, Format::Uncompressed))];
    let others =
        ["SELECT * FROM shop.orders WHERE id = 7 -> void", "PREPARE INSERT INTO t (a) VALUES (?) -> void"];
    // Its middle.
    let steps = [
        &[send(startup(5, None)), recv(ready(5)), send(&parts[0]), lost(&parts[1]), send(&parts[2])],
        &end[..],
    ];
    let outcome = run(&PROTOCOL, &steps.concat(), setup());
    let summaries = outcome.summaries();
    assert!(summaries[1].starts_with("QUERY -> void [truncated]"), "{}", &summaries[1][..40]);
    assert_eq!(summaries[2..], others);
    assert_eq!(outcome.records[1].causes(), [Cause::RingFull]);
    // Its beginning.
    let steps = [
        &[send(startup(5, None)), recv(ready(5)), lost(&parts[0]), send(&parts[1]), send(&parts[2])],
        &end[..],
    ];
    let outcome = run(&PROTOCOL, &steps.concat(), setup());
    assert_eq!(outcome.summaries()[1..], ["void [no-request]", others[0], others[1]]);
}

#[test]
fn a_segment_with_a_wrong_checksum_is_refused() {
    let mut wrong = hex(PLAIN);
    let end = wrong.len() - 1;
    wrong[end] ^= 1;
    let steps = [
        send(startup(5, None)),
        recv(ready(5)),
        send(wrong),
        send(hex(PLAIN)),
        recv(segment(&done(3), true, Format::Uncompressed)),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
    assert_eq!(outcome.summaries()[1], "SELECT * FROM shop.orders WHERE id = 7 -> void");
}

#[test]
fn in_the_middle_of_a_connection_segments_are_known_by_their_checksums() {
    let middle = Setup { mid_stream: true, ..setup() };
    let steps = [send(hex(PLAIN)), recv(segment(&[done(3), done(4)].concat(), true, Format::Uncompressed))];
    let outcome = run(&PROTOCOL, &steps, middle);
    assert_eq!(outcome.skipped, []);
    assert_eq!(outcome.summaries()[0], "SELECT * FROM shop.orders WHERE id = 7 -> void");
}

#[test]
fn bodies_are_compressed_as_startup_says() {
    for (name, body) in [("lz4", BODY_LZ4), ("snappy", BODY_SNAPPY)] {
        let steps = [&joined(Some(name))[..], &[send(hex(body)), recv(void(1))]].concat();
        let outcome = check(
            &steps,
            &[
                &format!("STARTUP CQL 3.0.0 {name} -> READY"),
                "SELECT release_version FROM system.local -> void",
            ],
        );
        assert_eq!(field(&outcome.records[1], "compression"), Some(&Value::Text(name.into())));
        // Attached in the middle: STARTUP was not seen.
        let outcome = check(&steps[2..], &["SELECT release_version FROM system.local -> void"]);
        let expected = format!("{name} (STARTUP was not seen)");
        assert_eq!(field(&outcome.records[0], "compression"), Some(&Value::Text(expected.into())));
    }
}

#[test]
fn a_compression_that_nobody_knows_is_named() {
    let steps = [&joined(Some("zip"))[..], &[send(hex(BODY_LZ4)), recv(void(1))]].concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries()[1], "QUERY -> void");
    assert_eq!(outcome.records[1].causes(), [Cause::Unsupported]);
}

#[test]
fn a_body_that_says_to_be_too_long_is_not_undone() {
    let body = [&u32::MAX.to_be_bytes()[..], &[0; 20]].concat();
    let steps = [&joined(Some("lz4"))[..], &[send(envelope(4, 1, 1, 7, &body)), recv(void(1))]].concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records[1].causes(), [Cause::Limit]);
}
