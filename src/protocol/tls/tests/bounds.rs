//! What hostile bytes can grow, and does not.

use super::*;
use crate::event::Cause;
use crate::protocol::testing::{recv, run, send};

#[test]
fn a_message_of_sixteen_megabytes_is_passed_over_and_the_next_one_is_read() {
    let long = message(11, vec![0; 0xff_ffff]);
    let mut steps = vec![send(handshake(hello13("example.org")))];
    steps.extend(long.chunks(16_384).map(|piece| recv(handshake(piece))));
    steps.push(recv(handshake(message(14, []))));
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    let answer = response(&outcome.records[0]);
    assert_eq!(*value(answer, "messages"), words(&["Certificate", "ServerHelloDone"]));
    assert_eq!(answer.causes, [Cause::FieldTruncated]);
}

#[test]
fn lists_are_cut_and_say_so() {
    let many: Vec<u16> = (0..1000).collect();
    let steps = [send(handshake(client_hello(&[], &many, &[server_name(&"x".repeat(5000))])))];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    let hello = request(&outcome.records[0]);
    assert!(matches!(value(hello, "cipher_suites"), Value::List(list) if list.len() == 256));
    assert!(matches!(value(hello, "server_name"), Value::Bytes(name) if name.len() == 1024));
    assert!(hello.causes.contains(&Cause::FieldTruncated));
    assert!(outcome.records[0].summary.len() < 400);
}

#[test]
fn messages_without_end_are_counted_up_to_a_bound() {
    let steps = [send(handshake(hello13("x"))), recv(handshake(message(14, []).repeat(500)))];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    let answer = response(&outcome.records[0]);
    assert!(matches!(value(answer, "messages"), Value::List(list) if list.len() == 64));
    assert!(answer.causes.contains(&Cause::FieldTruncated));
}

#[test]
fn a_chain_of_very_many_certificates_is_read_up_to_a_bound() {
    let steps = [send(handshake(hello13("x"))), recv(handshake(certificates(&vec![certificate("y"); 40])))];
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    let answer = response(&outcome.records[0]);
    assert!(matches!(value(answer, "certificates"), Value::List(list) if list.len() == 16));
    assert_eq!(*value(answer, "certificate_count"), Value::Number(40));
    assert!(answer.causes.contains(&Cause::FieldTruncated));
}

#[test]
fn bytes_under_protection_are_counted_and_not_kept() {
    let record = data(16_384);
    let mut steps = vec![
        send(handshake(hello13("x"))),
        recv([handshake(answer13(&[])), data(9)].concat()),
        send(data(53)),
    ];
    steps.extend((0..2000).map(|_| recv(&record)));
    let outcome = run(&PROTOCOL, &steps, Setup::default());
    assert_eq!(outcome.summaries()[1], "application data: 1 record 53 B -> 2001 records 32.8 MB");
    assert!(response(&outcome.records[1]).parts.is_empty(), "one range");
}
