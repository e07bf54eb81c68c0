//! Conversations of MQTT 3.1.1 and 3.1.

use super::*;
use crate::event::Role;
use crate::protocol::testing::{bytes, recv, run, send, word};

#[test]
fn a_connection_with_all_its_packets() {
    let steps = [
        send(CONNECT),
        recv(CONNACK),
        // Two filters, QoS 1 and 0, with the packet identifier 10.
        send(b"\x82\x0e\0\x0a\0\x03a/b\x01\0\x03c/#\0"),
        recv(b"\x90\x04\0\x0a\x01\x80"),
        send(b"\x30\x08\0\x03a/bhey"),
        recv(b"\x31\x07\0\x03a/b\0\xff"),
        // QoS 1 in both directions, with the same identifier.
        send(b"\x32\x09\0\x03a/b\0\x01xy"),
        recv(b"\x32\x08\0\x03a/b\0\x01z"),
        send(b"\x40\x02\0\x01"),
        recv(b"\x40\x02\0\x01"),
        // QoS 2, sent again.
        send(b"\x34\x07\0\x03a/b\0\x02"),
        recv(b"\x50\x02\0\x02"),
        send(b"\x62\x02\0\x02"),
        recv(b"\x70\x02\0\x02"),
        send(b"\x3d\x08\0\x03a/b\0\x03!"),
        recv(b"\x50\x02\0\x03"),
        send(b"\xa2\x07\0\x0b\0\x03a/b"),
        recv(b"\xb0\x02\0\x0b"),
        send(b"\xc0\0"),
        recv(b"\xd0\0"),
        send(b"\xe0\0"),
    ];
    let outcome = check(
        &steps,
        &[
            "CONNECT c MQTT 3.1.1 -> CONNACK Connection Accepted",
            "SUBSCRIBE a/b, c/# -> SUBACK Granted QoS 1, Failure",
            "PUBLISH a/b QoS 0 3 bytes",
            "PUBLISH a/b QoS 0 retain 2 bytes",
            "PUBLISH a/b QoS 1 1 bytes -> PUBACK",
            "PUBLISH a/b QoS 1 2 bytes -> PUBACK",
            "PUBLISH a/b QoS 2 0 bytes -> PUBREC",
            "PUBREL 2 -> PUBCOMP",
            "PUBLISH a/b QoS 2 retain dup 1 bytes -> PUBREC",
            "UNSUBSCRIBE a/b -> UNSUBACK",
            "PINGREQ -> PINGRESP",
            "DISCONNECT",
        ],
    );
    assert_eq!(value(&outcome, 0, "protocol_version"), word("3.1.1"));
    assert_eq!(value(&outcome, 0, "keep_alive"), Value::Number(60));
    assert_eq!(value(&outcome, 0, "clean_session"), Value::Flag(true));
    assert_eq!(answered(&outcome, 0, "session_present"), Some(Value::Flag(false)));
    assert_eq!(answered(&outcome, 0, "return_code"), Some(Value::Number(0)));
    assert_eq!(value(&outcome, 1, "topic_filters"), Value::List(vec![bytes("a/b"), bytes("c/#")]));
    assert_eq!(answered(&outcome, 1, "error"), Some(word("Failure")));
    assert_eq!(value(&outcome, 2, "payload"), bytes("hey"));
    assert_eq!(value(&outcome, 3, "payload"), Value::Bytes(vec![0, 0xff]));
    assert!(outcome.records[3].request.is_none(), "the server's is no request of the client");
    assert_eq!(value(&outcome, 8, "dup"), Value::Flag(true));
    assert_eq!(value(&outcome, 8, "packet_identifier"), Value::Number(3));
}

/// User name "me", password "hunter2", and a will of QoS 1 that is retained.
const WITH_ALL: &[u8] = b"\x10\x26\0\x04MQTT\x04\xee\0\x0a\0\x02id\0\x03w/t\0\x04gone\0\x02me\0\x07hunter2";

#[test]
fn a_login_has_all_its_fields_and_no_password() {
    let steps = [send(WITH_ALL), recv(b"\x20\x02\0\x04")];
    let summary = "CONNECT id user=me MQTT 3.1.1 -> CONNACK Connection Refused, bad user name or password";
    let outcome = check(&steps, &[summary]);
    assert_eq!(value(&outcome, 0, "client_identifier"), bytes("id"));
    assert_eq!(value(&outcome, 0, "will_topic"), bytes("w/t"));
    assert_eq!(value(&outcome, 0, "will_qos"), Value::Number(1));
    assert_eq!(value(&outcome, 0, "will_retain"), Value::Flag(true));
    assert_eq!(value(&outcome, 0, "will_payload"), bytes("gone"));
    assert_eq!(value(&outcome, 0, "user_name"), bytes("me"));
    assert_eq!(value(&outcome, 0, "password"), word("***"));
    assert_eq!(answered(&outcome, 0, "error"), Some(word("Connection Refused, bad user name or password")));
    assert_eq!(shown(&outcome, "hunter2"), 0);
    let mut open = setup();
    open.options.show_secrets = true;
    assert_eq!(value(&run(&PROTOCOL, &steps, open), 0, "password"), bytes("hunter2"));
}

#[test]
fn what_came_before_the_standard_is_read() {
    // The name MQIsdp, level 3; a user name is announced and left out.
    let connect = b"\x10\x0f\0\x06MQIsdp\x03\x82\0\x3c\0\x01c";
    // The DUP flag of SUBSCRIBE and PUBREL, which 3.1.1 took away.
    let steps = [
        send(connect),
        recv(CONNACK),
        send(b"\x8a\x06\0\x01\0\x01t\x02"),
        recv(b"\x90\x03\0\x01\x02"),
        send(b"\x6a\x02\0\x02"),
        recv(b"\x70\x02\0\x02"),
    ];
    let outcome = check(
        &steps,
        &[
            "CONNECT c MQTT 3.1 -> CONNACK Connection Accepted",
            "SUBSCRIBE t -> SUBACK Granted QoS 2",
            "PUBREL 2 -> PUBCOMP",
        ],
    );
    assert_eq!(value(&outcome, 0, "protocol_name"), bytes("MQIsdp"));
    assert!(field(&outcome.records[0], "user_name").is_none());
}

#[test]
fn bridges_say_that_they_are_bridges() {
    let connect = b"\x10\x0d\0\x04MQTT\x84\x02\0\x3c\0\x01c";
    let outcome = check(&[send(connect)], &["CONNECT c MQTT 3.1.1 [no-response]"]);
    assert_eq!(value(&outcome, 0, "bridge"), Value::Flag(true));
}

#[test]
fn a_version_that_is_not_known_is_said() {
    let connect = b"\x10\x0d\0\x04MQTT\x06\x02\0\x3c\0\x01c";
    let outcome = check(
        &[send(connect), recv(b"\x20\x02\0\x01")],
        &["CONNECT protocol version 6 -> CONNACK Connection Refused, unacceptable protocol version"],
    );
    assert_eq!(value(&outcome, 0, "protocol_version"), Value::Number(6));
}

#[test]
fn the_server_is_seen_likewise() {
    let mut of_server = setup();
    of_server.options.role = Role::Server;
    let steps = [recv(CONNECT), send(CONNACK), recv(b"\x30\x03\0\x01t"), send(b"\x30\x03\0\x01t")];
    let expected = [
        "CONNECT c MQTT 3.1.1 -> CONNACK Connection Accepted",
        "PUBLISH t QoS 0 0 bytes",
        "PUBLISH t QoS 0 0 bytes",
    ];
    let outcome = check_whole(&PROTOCOL, &steps, of_server, &expected);
    let is_request: Vec<bool> = outcome.records.iter().map(|record| record.request.is_some()).collect();
    assert_eq!(is_request, [true, true, false]);
}

#[test]
fn records_count_by_packet_and_topic() {
    let steps = [
        send(CONNECT),
        recv(b"\x20\x02\0\x05"),
        send(b"\x82\x08\0\x0a\0\x03a/#\x01"),
        recv(b"\x90\x03\0\x0a\x80"),
        send(b"\x30\x06\0\x04a/17"),
        recv(b"\x30\x06\0\x04a/18"),
        send(b"\xc0\0"),
        recv(b"\xd0\0"),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let endpoints = outcome.records.iter().map(|record| (PROTOCOL.endpoint)(record));
    let endpoints: Vec<(String, bool)> = endpoints.map(|one| (one.name, one.failed)).collect();
    let expected = [
        ("CONNECT", true),
        ("SUBSCRIBE a/#", true),
        ("PUBLISH a/*", false),
        ("PUBLISH a/*", false),
        ("PINGREQ", false),
    ];
    assert_eq!(endpoints, expected.map(|(name, failed)| (name.to_owned(), failed)));
}
