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
    assert_eq!(*value(request(&outcome.records[0]), "messages"), words(&["ClientHello"]));
    let line = "application data: 1 record 10 B, 1 handshake message -> 1 record 20 B";
    assert_eq!(outcome.summaries()[1], line);
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
