//! What is taken for Redis, and what is not.

use super::super::PROTOCOL;
use crate::event::Role;
use crate::protocol::{Sample, Verdict};

fn verdict(sent: &str, received: &str, role: Role, from_start: bool) -> Verdict {
    let data = [sent.as_bytes(), received.as_bytes()];
    (PROTOCOL.detect)(&Sample { data, from_start: [from_start; 2], role })
}

/// The confidence for a client's connection from its start.
fn confidence(sent: &str, received: &str) -> Option<u8> {
    match verdict(sent, received, Role::Client, true) {
        Verdict::Match(confidence) => Some(confidence),
        _ => None,
    }
}

#[test]
fn a_known_command_is_proof_in_either_direction() {
    let get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    assert_eq!(verdict(get, "", Role::Client, true), Verdict::Match(95));
    assert_eq!(verdict("", get, Role::Server, true), Verdict::Match(95));
    assert_eq!(verdict(get, "", Role::Unknown, true), Verdict::Match(95));
    assert_eq!(verdict("", get, Role::Unknown, false), Verdict::Match(95));
    let middle = format!("ue of a key\r\n{get}");
    assert_eq!(verdict(&middle, "", Role::Client, false), Verdict::Match(95));
    // The value is still on its way.
    assert!(confidence("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\nxxx", "") >= Some(90));
}

#[test]
fn every_beginning_of_a_command_is_at_least_possible() {
    let get = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    for end in 0..get.len() {
        let verdict = verdict(&get[..end], "", Role::Client, true);
        assert!(!matches!(verdict, Verdict::No(_)), "{:?}: {verdict:?}", &get[..end]);
    }
}

#[test]
fn replies_alone_are_weaker_evidence_than_commands() {
    let value = confidence("", "$5\r\nhello\r\n");
    let two = confidence("", "$5\r\nhello\r\n:1\r\n");
    assert!(value.is_some() && value < two && two < Some(90), "{value:?} {two:?}");
    assert_eq!(confidence("", "+OK\r\n"), None);
    assert_eq!(confidence("", "+OK\r\n+OK\r\n"), None);
}

#[test]
fn inline_commands_need_their_reply() {
    assert_eq!(confidence("PING\r\n", ""), None);
    assert!(confidence("PING\r\n", "+PONG\r\n") >= Some(70));
    assert!(confidence("\r\nget k\n\nget l\n", "$-1\r\n$-1\r\n") >= Some(80));
    // A server's own words are proof whatever it was sent.
    assert!(confidence("$0\r\n", "-ERR unknown command '$0'\r\n") >= Some(90));
    assert!(confidence("", "+OK\r\n:1\r\n-ERR Protocol error: unbalanced quotes in request\r\n") >= Some(90));
    assert_eq!(confidence("", "+OK POP3 server ready\r\n-ERR unknown command 'x'\r\n"), None);
    // So are words that only its clients know, which ask for no reply at all.
    assert!(confidence("ping\r\nclient reply off\r\n", "") >= Some(90));
    assert_eq!(confidence("ping\r\nclient list\r\n", ""), None);
}

#[test]
fn other_protocols_are_not_taken_for_redis() {
    let others = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", ""),
        // memcached
        ("get key\r\n", "VALUE key 0 1\r\nx\r\nEND\r\n"),
        ("get key\r\n", "END\r\n"),
        ("set k 0 0 5\r\nhello\r\n", "STORED\r\n"),
        ("incr k 1\r\n", "5\r\n"),
        // NATS
        ("", "INFO {\"server_id\":\"x\"}\r\n"),
        ("PING\r\n", "PONG\r\n"),
        ("CONNECT {\"verbose\":true}\r\nPING\r\n", "INFO {\"server_id\":\"x\"}\r\n+OK\r\nPONG\r\n"),
        ("SUB a 1\r\n", "+OK\r\n"),
        ("PUB a 5\r\nhello\r\n", "-ERR 'Unknown Protocol Operation'\r\n"),
        // SMTP, POP3, FTP
        ("QUIT\r\n", "221 Bye\r\n"),
        ("EHLO me\r\n", "220 mail ESMTP\r\n250 fine\r\n"),
        ("AUTH PLAIN\r\n", "+OK POP3 ready\r\n+OK\r\n"),
        ("USER me\r\n", "+OK POP3 ready\r\n+OK\r\n"),
        ("USER me\r\n", "331 password\r\n"),
        // TLS, MySQL
        ("\u{16}\u{3}\u{1}\u{0}\u{5}\u{1}\u{0}\u{0}\u{1}\u{3}", ""),
        ("", "J\u{0}\u{0}\u{0}\n8.0.32\u{0}"),
        ("", "*\u{0}\u{0}\u{0}\n8.0.32\u{0}"),
        ("\u{0}\u{0}\u{0}\u{8}\u{4}\u{d2}\u{16}/", "N"),
    ];
    for (sent, received) in others {
        for role in [Role::Client, Role::Unknown] {
            let verdict = verdict(sent, received, role, true);
            assert!(!matches!(verdict, Verdict::Match(_)), "{sent:?} {received:?} {role:?}: {verdict:?}");
        }
    }
}
