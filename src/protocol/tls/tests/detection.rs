//! What is taken for TLS, and what is not.

use super::*;
use crate::event::Role;
use crate::protocol::{Sample, Verdict};

fn judge(data: [&[u8]; 2], from_start: bool) -> Verdict {
    (PROTOCOL.detect)(&Sample { data, from_start: [from_start; 2], role: Role::Unknown })
}

#[test]
fn a_hello_is_proof_from_its_eleventh_byte_on() {
    let hello = cut(22, TLS10, hello13("example.org"));
    for length in 1..hello.len() {
        let verdict = judge([&hello[..length], &[]], true);
        match length {
            0..11 => assert!(matches!(verdict, Verdict::Maybe(_)), "{length}: {verdict:?}"),
            _ => assert_eq!(verdict, Verdict::Match(100), "{length}"),
        }
        assert_eq!(judge([&[], &hello[..length]], true), verdict);
    }
    let answer = handshake(answer13(&[]));
    assert_eq!(judge([&[], &answer], true), Verdict::Match(100));
}

#[test]
fn records_in_a_row_are_enough_in_the_middle_wherever_it_is() {
    let stream = [data(1400), data(300), data(20)].concat();
    for cut in [0, 1, 4, 5, 700, 1404] {
        assert_eq!(judge([&stream[cut..], &[]], false), Verdict::Match(95), "{cut}");
    }
    assert!(matches!(judge([&data(300), &[]], false), Verdict::Match(85)));
    assert!(matches!(judge([&data(300)[..200], &[]], false), Verdict::Match(60)));
    // A client reads the header by itself.
    assert!(matches!(judge([&data(300)[..5], &[]], false), Verdict::Match(60)));
    assert!(matches!(judge([&ciphertext(9000), &[]], false), Verdict::No(_)));
    // Of a direction that begins amid a long record there is nothing to tell yet.
    assert_eq!(judge([&ciphertext(9000), &data(300)], false), Verdict::Match(85));
    assert!(matches!(judge([b"220 mail.example.org ESMTP\r\n", &alert(2, 40)], true), Verdict::No(_)));
}

#[test]
fn a_connection_can_begin_without_hello() {
    // As the further connections of Multipath TCP do.
    let stream = [change_cipher(), data(48)].concat();
    for length in 1..stream.len() {
        let verdict = judge([&stream[..length], &[]], true);
        match length {
            // A record, and the whole header of the next one.
            6 | 11.. => assert!(matches!(verdict, Verdict::Match(85..)), "{length}: {verdict:?}"),
            _ => assert!(matches!(verdict, Verdict::Maybe(_)), "{length}: {verdict:?}"),
        }
    }
}

#[test]
fn other_protocols_are_none() {
    let others: [&[u8]; 9] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"INFO {\"server_id\":\"x\"}\r\n",
        // SSLRequest of PostgreSQL, a greeting of MySQL, SSH, a query by DNS over TCP, a call of Kafka.
        &[0, 0, 0, 8, 4, 210, 22, 47],
        b"\x4a\0\0\0\x0a8.0.31\0\x08\0\0\0",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0\x1d\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01",
        b"\0\0\0\x1a\0\x12\0\x03\0\0\0\x01",
    ];
    for other in others {
        for from_start in [true, false] {
            let verdict = judge([other, &[]], from_start);
            assert!(matches!(verdict, Verdict::No(_)), "{other:?}: {verdict:?}");
        }
    }
}
