//! What is taken for MQTT, and what is not.

use super::*;
use crate::event::{Direction, Role};
use crate::protocol::{ALL, Sample, Verdict};

fn judge(send: &[u8], recv: &[u8], from_start: bool) -> Verdict {
    let sample = Sample { data: [send, recv], from_start: [from_start; 2], role: Role::Client };
    assert_eq!(Direction::Send.index(), 0);
    (PROTOCOL.detect)(&sample)
}

#[test]
fn a_connection_is_known_by_the_name_that_connect_says() {
    for connect in [CONNECT, CONNECT_5, b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c"] {
        for end in 0..connect.len() {
            let verdict = judge(&connect[..end], b"", true);
            let name = if connect[3] == 4 { 8 } else { 10 };
            match end > name {
                true => assert_eq!(verdict, Verdict::Match(100), "{end}"),
                false => assert!(matches!(verdict, Verdict::Maybe(_)), "{end}: {verdict:?}"),
            }
        }
        assert_eq!(judge(connect, CONNACK, true), Verdict::Match(100));
    }
}

#[test]
fn what_is_no_connect_is_refused_at_once() {
    let rows: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"\x11",
        b"\x10\x0d\0\x05",
        b"\x10\x02",
        b"\x10\xff\xff\xff\xff",
        b"\x10\x0d\0\x04MQTT\x7f",
        CONNACK,
    ];
    for data in rows {
        assert!(matches!(judge(data, b"", true), Verdict::No(_)), "{data:?}");
    }
    assert!(matches!(judge(b"", CONNACK, true), Verdict::No(_)), "the server speaks first");
}

#[test]
fn a_connection_that_was_open_is_known_by_enough_of_it() {
    let publish = b"\x30\x17\0\x10sensors/kitchen1hello";
    assert_eq!(judge(publish, b"", false), Verdict::Match(60));
    assert_eq!(judge(&[publish.as_slice(), publish].concat(), b"", false), Verdict::Match(95));
    assert_eq!(judge(b"\xc0\0", b"\xd0\0", false), Verdict::Match(60));
    assert_eq!(judge(b"\x32\x07\0\x01t\0\x01hi", b"\x40\x02\0\x01", false), Verdict::Match(60));
    // What was under way, then packets.
    let inside = [&b"te of a payload"[..], publish, publish].concat();
    assert_eq!(judge(&inside, b"", false), Verdict::Match(95));
    assert_eq!(judge(b"te of a payload", &[publish.as_slice(), publish].concat(), false), Verdict::Match(95));
}

#[test]
fn one_short_packet_is_no_evidence() {
    for data in [&b"\xc0\0"[..], b"\xe0\0", b"\x40\x02\0\x01", b"\x30\x03\0\x01t", b"\x00", b"0", b"\x82"] {
        assert!(matches!(judge(data, b"", false), Verdict::No(_)), "{data:?}");
    }
    // Wrong directions.
    assert!(matches!(judge(b"\xd0\0", b"\xc0\0", false), Verdict::No(_)));
    // BER, text, zeros.
    assert!(matches!(
        judge(b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0", b"", false),
        Verdict::No(_)
    ));
    assert!(matches!(judge(b"0123456789 and so on\r\n", b"", false), Verdict::No(_)));
    assert!(matches!(judge(&[0; 100], b"", false), Verdict::No(_)));
}

#[test]
fn no_other_protocol_claims_a_connect() {
    for connect in [CONNECT, CONNECT_5] {
        let sample = Sample { data: [connect, b""], from_start: [true; 2], role: Role::Unknown };
        let claims = ALL.iter().filter(|protocol| matches!((protocol.detect)(&sample), Verdict::Match(90..)));
        let names: Vec<&str> = claims.map(|protocol| protocol.name).collect();
        assert_eq!(names, ["mqtt"]);
    }
}
