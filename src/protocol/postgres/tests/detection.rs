//! Whether a connection speaks PostgreSQL.

use super::*;
use crate::event::Role;
use crate::protocol::{Sample, Verdict};

fn verdict(send: &[u8], recv: &[u8], from_start: bool) -> Verdict {
    let sample = Sample { data: [send, recv], from_start: [from_start; 2], role: Role::Unknown };
    (PROTOCOL.detect)(&sample)
}

#[track_caller]
fn check_middle(send: &[u8], recv: &[u8], least: u8) {
    match verdict(send, recv, false) {
        Verdict::Match(confidence) => assert!(confidence >= least, "{confidence}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_a_client_sends_first_is_proof() {
    let firsts = [
        startup("user\0me\0database\0db\0\0"),
        packet(0x0003_0002, b"user\0me\0\0"),
        packet(80_877_103, &[]),
        packet(80_877_104, &[]),
        packet(80_877_102, &[0, 0, 0, 1, 2, 3, 4, 5]),
    ];
    for first in firsts {
        assert_eq!(verdict(&first, &[], true), Verdict::Match(100));
        for length in 1..first.len() {
            let begun = verdict(&first[..length], &[], true);
            // The code of a CancelRequest is enough.
            let is_enough = first.len() == 16 && length >= 8;
            assert!(is_enough || matches!(begun, Verdict::Maybe(_)), "{length}: {begun:?}");
        }
        let sample = Sample { data: [&[], &first], from_start: [true; 2], role: Role::Server };
        assert_eq!((PROTOCOL.detect)(&sample), Verdict::Match(100));
    }
}

#[test]
fn what_only_looks_like_it_is_none() {
    // Kafka: Metadata, version 0, has the same eight bytes in front.
    let kafka = [&[0, 0, 0, 16, 0, 3, 0, 0, 0, 0, 0, 1, 0, 2][..], b"ab\0\0\0\0"].concat();
    let refused: [&[u8]; 7] = [
        &kafka,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        // No user; a length that is too short; protocol 2.
        &startup("database\0db\0\0"),
        &[0, 0, 0, 3, 0, 3, 0, 0, b'u', b's', b'e', b'r', 0, b'a', 0, 0],
        &[0, 0, 1, 40, 0, 2, 0, 0],
        &packet(80_877_200, &[]),
    ];
    for data in refused {
        assert!(matches!(verdict(data, &[], true), Verdict::No(_)), "{data:?}");
    }
    let banner: &[u8] = b"INFO {\"server_id\":\"x\"}\r\n";
    assert!(matches!(verdict(&[], banner, true), Verdict::No(_)));
    assert!(matches!(verdict(banner, b"PONG\r\n", false), Verdict::No(_)));
}

#[test]
fn the_middle_of_a_connection_is_known_by_whole_messages() {
    check_middle(&query("SELECT 1"), &[], 90);
    check_middle(&[], &[done("SELECT 1"), ready('I')].concat(), 95);
    check_middle(&[bind("", "S_1", 0, &[]), execute("", 0), sync()].concat(), &[], 95);
    check_middle(&[], &[&row(&[Some(b"abc")])[4..], &done("SELECT 1"), &ready('I')].concat(), 90);
    check_middle(&[], &error("ERROR", "42601", "syntax error"), 90);
    check_middle(&sync(), &[], 50);
}
