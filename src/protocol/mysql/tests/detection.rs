//! What is taken for MySQL, what may still be, and what is not.

use super::*;
use crate::event::{Direction, Role};
use crate::protocol::{Sample, Verdict};

fn judge(sent: &[u8], answered: &[u8], from_start: bool) -> Verdict {
    let mut data = [&b""[..]; 2];
    data[Direction::Send.index()] = sent;
    data[Direction::Recv.index()] = answered;
    let judged = |role| (PROTOCOL.detect)(&Sample { data, from_start: [from_start; 2], role });
    let known = judged(Role::Client);
    // Where nothing tells which end is the client, content does.
    if let Verdict::Match(confidence) = known {
        assert!(matches!(judged(Role::Unknown), Verdict::Match(also) if also >= confidence));
    }
    known
}

#[track_caller]
fn sure(verdict: Verdict) {
    assert!(matches!(verdict, Verdict::Match(90..)), "{verdict:?}");
}

#[test]
fn a_greeting_is_proof_and_its_beginning_may_become_one() {
    let greeting = greeting(FLAGS);
    assert_eq!(judge(b"", &greeting, true), Verdict::Match(100));
    for length in 1..greeting.len() {
        let verdict = judge(b"", &greeting[..length], true);
        assert!(matches!(verdict, Verdict::Maybe(_)), "{length}: {verdict:?}");
    }
    sure(judge(b"", &packet(0, b"\xff\x10\x04Too many connections"), true));
    assert_eq!(judge(&response(FLAGS), b"", true), Verdict::Match(100));
}

#[test]
fn what_begins_otherwise_is_not() {
    for (sent, answered) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], &b""[..]),
        (b"", b"220 mail.example.com ESMTP\r\n"),
        (b"", b"SSH-2.0-OpenSSH_9.6\r\n"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b""),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", b""),
        (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
        (b"", b"INFO {\"server_id\":\"N\"}\r\n"),
        (b"", b"\x4a\0\0\0\x0a\x01\x02\x03\x04\x05\x06\x07"),
        (b"PING\r\n", b""),
    ] {
        let verdict = judge(sent, answered, true);
        assert!(matches!(verdict, Verdict::No(_)), "{sent:?} {answered:?}: {verdict:?}");
    }
}

#[test]
fn from_the_middle_contents_have_to_agree() {
    let fine = packet(1, ok(0, 0, AUTOCOMMIT));
    sure(judge(&query("SELECT 1"), b"", false));
    sure(judge(&command(0x0e, ""), &fine, false));
    sure(judge(&command(0x16, "DELETE FROM t"), b"", false));
    sure(judge(b"", &result(1, &["a long value"], AUTOCOMMIT), false));
    let cut = [&b"ow in the middle"[..], &result(1, &["a long value", "b"], AUTOCOMMIT)].concat();
    sure(judge(b"", &cut, false));
    assert!(matches!(judge(&command(0x0e, ""), b"", false), Verdict::Match(50..90)));
    sure(judge(b"\x0d\0\0\0\0\0\0\x09\0\0\0\x03SELECT 1", b"", false));
    for other in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\0", b"\x01\0\0\0\x99", b"+OK\r\n", &[0xff; 64], &[0; 64]]
    {
        let verdict = judge(other, b"", false);
        assert!(matches!(verdict, Verdict::No(_)), "{other:?}: {verdict:?}");
        let verdict = judge(b"", other, false);
        assert!(matches!(verdict, Verdict::No(_)), "{other:?}: {verdict:?}");
    }
}
