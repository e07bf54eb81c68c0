//! What is lost, what was before, what is none of TLS.

use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::testing::{recv, run, send};
use crate::record::Status;

fn gap(direction: Direction, length: u64) -> Step {
    Step::Gap(direction, length, Cause::RingFull)
}

#[test]
fn attached_in_the_middle_records_are_counted_and_the_handshake_is_unseen() {
    let setup = Setup { mid_stream: true, ..Setup::default() };
    // The trace begins amid a record of each direction.
    let steps = [
        send(&data(400)[100..]),
        recv(&data(500)[77..]),
        send([data(100), data(200)].concat()),
        recv([data(1), data(2), data(3)].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, setup);
    assert_eq!(
        outcome.summaries(),
        ["application data (handshake unseen): 2 records 300 B -> 3 records 6 B"]
    );
    let skipped: u64 = outcome.skipped.iter().map(|skip| skip.1.len()).sum();
    assert_eq!(skipped, 305 + 428);
}

#[test]
fn a_record_with_a_hole_keeps_its_place() {
    let steps = [
        send(handshake(hello13("example.org"))),
        recv([handshake(answer13(&[])), data(900)].concat()),
        send([data(53), data(1000)[..300].to_vec()].concat()),
        gap(Direction::Send, 200),
        send([data(1000)[500..].to_vec(), data(7)].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    assert_eq!(outcome.records[0].status, Status::Complete);
    assert_eq!(outcome.summaries()[1], "application data: 3 records 1.1 kB -> 1 record 900 B [truncated]");
    assert_eq!(outcome.records[1].causes(), [Cause::RingFull]);
    assert!(outcome.skipped.is_empty());
}

#[test]
fn behind_a_gap_of_many_records_the_next_one_is_found_by_those_behind_it() {
    let lost = [data(600), data(700)].concat();
    let steps = [
        send(handshake(hello13("example.org"))),
        recv([handshake(answer13(&[])), data(900)].concat()),
        send([data(53), lost[..100].to_vec()].concat()),
        gap(Direction::Send, 1000),
        send([lost[1100..].to_vec(), data(8), data(9)].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    assert_eq!(outcome.summaries()[1], "application data: 4 records 670 B -> 1 record 900 B [truncated]");
    let skipped: Vec<_> = outcome.skipped.iter().map(|skip| (skip.1.len(), skip.2)).collect();
    assert_eq!(skipped, [(lost.len() as u64 - 1100, Cause::ResyncSkipped)]);
}

#[test]
fn encrypted_messages_behind_a_gap_are_not_taken_for_clear_ones() {
    let hello = client_hello(&[], &[0xc02f], &[server_name("example.org")]);
    let key = [handshake(message(16, [4; 33])), change_cipher()].concat();
    // As AES-GCM begins: a nonce that counts from 0, which two HelloRequests would look like.
    let finished = handshake([&[0; 8][..], &ciphertext(32)].concat());
    let steps = [
        send(handshake(hello)),
        recv(handshake([server_hello(&[0x22; 32], &[0xbb; 32], 0xc02f, &[]), message(14, [])].concat())),
        gap(Direction::Send, key.len() as u64),
        send([finished, data(10)].concat()),
        recv([change_cipher(), handshake(ciphertext(40)), data(20)].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    let line = "ClientHello example.org -> TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 [truncated]";
    assert_eq!(outcome.summaries()[0], line);
    // The server has not sent its own, so it is the client's Finished.
    let messages = words(&["ClientHello", "Finished (encrypted)"]);
    assert_eq!(*value(request(&outcome.records[0]), "messages"), messages);
    assert_eq!(outcome.summaries()[1], "application data: 1 record 10 B -> 1 record 20 B");
}

/// A handshake of TLS 1.2, whose flights are those of the client and those of the server.
fn handshake12() -> [Vec<u8>; 5] {
    let hello = client_hello(&[], &[0xc02f], &[server_name("example.org")]);
    [
        handshake(hello),
        handshake([server_hello(&[0x22; 32], &[0xbb; 32], 0xc02f, &[]), message(14, [])].concat()),
        [handshake(message(16, [4; 33])), change_cipher()].concat(),
        handshake(ciphertext(40)),
        [change_cipher(), handshake(ciphertext(40))].concat(),
    ]
}

#[test]
fn what_is_encrypted_tells_that_finished_was_before_it() {
    let [hello, answer, key, finished, server] = handshake12();
    let protected_alert = cut(21, 0x0303, ciphertext(26));
    let heartbeat = cut(24, 0x0303, ciphertext(60));
    let line = "ClientHello example.org -> TLS 1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 [truncated]";
    let all = (key.len() + finished.len()) as u64;
    let rows = [
        // What is lost, what came of it, and what follows.
        (vec![gap(Direction::Send, all)], &protected_alert, "none, 1 alert"),
        (vec![send(&key), gap(Direction::Send, finished.len() as u64)], &protected_alert, "none, 1 alert"),
        (vec![send(&key), gap(Direction::Send, finished.len() as u64)], &heartbeat, "none, 1 heartbeat"),
    ];
    for (lost, next, what) in rows {
        let mut steps = vec![send(&hello), recv(&answer)];
        steps.extend(lost);
        steps.extend([recv(&server), send(next)]);
        let outcome = run(&PROTOCOL, &steps, Setup::default());
        assert_eq!(outcome.summaries(), [line, &format!("application data: {what} [truncated]")]);
        assert_eq!(*value(request(&outcome.records[1]), "lost_records"), Value::Text("unknown".into()));
    }
    // ChangeCipherSpec alone is lost: there was no room for Finished.
    let steps = [
        send(&hello),
        recv(&answer),
        send(&key[..key.len() - change_cipher().len()]),
        gap(Direction::Send, change_cipher().len() as u64),
        send(&finished),
        recv(&server),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    assert_eq!(outcome.summaries(), [line]);
    let messages = words(&["ClientHello", "ClientKeyExchange", "Finished (encrypted)"]);
    assert_eq!(*value(request(&outcome.records[0]), "messages"), messages);
}

#[test]
fn a_short_record_of_tls_13_behind_a_lost_finished_is_no_alert_in_place_of_it() {
    let begin =
        [send(handshake(hello13("example.org"))), recv([handshake(answer13(&[])), data(900)].concat())];
    let talk = |lost: u64| {
        let steps = [&begin[..], &[gap(Direction::Send, lost), send(data(19))]].concat();
        run(&PROTOCOL, &steps, Setup::default()).summaries()
    };
    let line = "ClientHello example.org (h2, http/1.1) -> TLS 1.3 TLS_AES_256_GCM_SHA384";
    assert_eq!(talk(6 + 74)[0], format!("{line} [truncated]"));
    // Of ChangeCipherSpec alone nothing follows.
    assert_eq!(talk(6)[0], format!("{line}; client: encrypted alert [truncated]"));
}

#[test]
fn a_loss_between_whole_records_and_one_that_the_end_cuts_is_theirs() {
    let steps = [
        send(handshake(hello13("example.org"))),
        recv([handshake(answer13(&[])), data(900)].concat()),
        send([data(53), data(100)].concat()),
        gap(Direction::Send, 105),
        send(&data(500)[..300]),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    assert_eq!(outcome.summaries()[1], "application data: 2 records 153 B -> 1 record 900 B [truncated]");
}

#[test]
fn a_hello_that_a_gap_cuts_is_shown_as_far_as_it_came() {
    let hello = handshake(hello13("example.org"));
    let server = [handshake(answer13(&[])), data(900)].concat();
    let steps = [send(&hello[..hello.len() - 20]), gap(Direction::Send, 20), recv(server), send(data(53))];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    let line = "ClientHello example.org (h2, http/1.1) -> TLS 1.3 TLS_AES_256_GCM_SHA384 [truncated]";
    assert_eq!(outcome.summaries()[0], line);
    let fields = &request(&outcome.records[0]).fields;
    assert!(fields.iter().all(|field| field.name != "ja4"), "a fingerprint of half a hello");
    assert_eq!(outcome.records[0].latency(), Some(0), "all at one moment");
}

#[test]
fn an_answer_in_clear_text_is_no_record() {
    let steps = [send(handshake(hello13("example.org"))), recv("HTTP/1.1 400 Bad Request\r\n\r\n")];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    assert_eq!(outcome.summaries(), ["ClientHello example.org (h2, http/1.1) [no-response]"]);
    let (_, range, cause, reason) = &outcome.skipped[0];
    assert_eq!((range.from, *cause), (0, Cause::ParseError));
    assert_eq!(reason, "no type of record: it looks like text");
}
