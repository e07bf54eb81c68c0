//! Conversations of MQTT 5.0.

use super::*;
use crate::protocol::testing::{bytes, recv, run, send, word};

#[test]
fn a_connection_with_all_its_packets() {
    let steps = [
        send(CONNECT_5),
        // Session present; Receive Maximum 20, Topic Alias Maximum 10, Assigned Client Identifier "x".
        recv(b"\x20\x0d\x01\0\x0a\x21\0\x14\x22\0\x0a\x12\0\x01x"),
        // Subscription Identifier 300; QoS 1, no local, retain as published, retain handling 2.
        send(b"\x82\x0c\0\x0a\x03\x0b\xac\x02\0\x03a/b\x2d"),
        recv(b"\x90\x04\0\x0a\0\x01"),
        // Content Type "t", Message Expiry Interval 60, User Property "k": "v".
        send(b"\x32\x1a\0\x03a/b\0\x01\x10\x03\0\x01t\x02\0\0\0\x3c\x26\0\x01k\0\x01vhi"),
        // No matching subscribers, without properties.
        recv(b"\x40\x03\0\x01\x10"),
        send(b"\x34\x08\0\x03a/b\0\x02\0"),
        // Quota exceeded, Reason String "no".
        recv(b"\x50\x09\0\x02\x97\x05\x1f\0\x02no"),
        send(b"\x34\x08\0\x03a/b\0\x02\0"),
        recv(b"\x50\x02\0\x02"),
        send(b"\x62\x02\0\x02"),
        // Packet Identifier not found, and no properties.
        recv(b"\x70\x04\0\x02\x92\0"),
        send(b"\xa2\x08\0\x0b\0\0\x03a/b"),
        recv(b"\xb0\x04\0\x0b\0\x11"),
        send(b"\xc0\0"),
        recv(b"\xd0\0"),
        // Server shutting down; Server Reference "s".
        recv(b"\xe0\x06\x8b\x04\x1c\0\x01s"),
    ];
    let outcome = check(
        &steps,
        &[
            "CONNECT c MQTT 5.0 -> CONNACK Success session present",
            "SUBSCRIBE a/b -> SUBACK Granted QoS 1",
            "PUBLISH a/b QoS 1 2 bytes -> PUBACK No matching subscribers",
            "PUBLISH a/b QoS 2 0 bytes -> PUBREC Quota exceeded",
            "PUBLISH a/b QoS 2 0 bytes -> PUBREC",
            "PUBREL 2 -> PUBCOMP Packet Identifier not found",
            "UNSUBSCRIBE a/b -> UNSUBACK No subscription existed",
            "PINGREQ -> PINGRESP",
            "DISCONNECT Server shutting down",
        ],
    );
    let routine: Vec<bool> =
        outcome.records.iter().map(|record| crate::protocol::mqtt::PROTOCOL.is_routine(record)).collect();
    assert_eq!(routine, [false, false, false, false, false, false, false, true, false]);
    assert_eq!(value(&outcome, 0, "clean_start"), Value::Flag(true));
    let connack = answered(&outcome, 0, "properties");
    let expected = [
        ("Receive Maximum", Value::Number(20)),
        ("Topic Alias Maximum", Value::Number(10)),
        ("Assigned Client Identifier", bytes("x")),
    ];
    let named = |(name, value): (&'static str, Value)| (word(name), value);
    assert_eq!(connack, Some(Value::Map(expected.map(named).to_vec())));
    assert_eq!(property(&outcome, 1, "Subscription Identifier"), Some(Value::Number(300)));
    let options = [
        ("qos", Value::Number(1)),
        ("no_local", Value::Flag(true)),
        ("retain_as_published", Value::Flag(true)),
        ("retain_handling", Value::Number(2)),
    ];
    let options = Value::List(vec![Value::Map(options.map(named).to_vec())]);
    assert_eq!(value(&outcome, 1, "subscription_options"), options);
    assert_eq!(property(&outcome, 2, "Content Type"), Some(bytes("t")));
    assert_eq!(property(&outcome, 2, "Message Expiry Interval"), Some(Value::Number(60)));
    assert_eq!(property(&outcome, 2, "User Property"), Some(Value::Map(vec![(bytes("k"), bytes("v"))])));
    assert_eq!(value(&outcome, 2, "payload"), bytes("hi"));
    assert_eq!(answered(&outcome, 2, "reason_code"), Some(Value::Number(0x10)));
    assert_eq!(answered(&outcome, 2, "error"), None, "nobody listened, and that is no failure");
    assert_eq!(answered(&outcome, 3, "error"), Some(word("Quota exceeded")));
    assert_eq!(
        answered(&outcome, 3, "properties"),
        Some(Value::Map(vec![(word("Reason String"), bytes("no"))]))
    );
    assert!(outcome.records[8].request.is_none(), "the server ends the connection");
}

#[test]
fn an_alias_stands_for_its_topic_in_its_direction() {
    let steps = [
        send(CONNECT_5),
        recv(CONNACK_5),
        send(b"\x30\x0a\0\x03a/b\x03\x23\0\x01x"),
        send(b"\x30\x07\0\0\x03\x23\0\x01y"),
        recv(b"\x30\x07\0\0\x03\x23\0\x01z"),
        // Another topic for the same alias.
        send(b"\x30\x07\0\x01c\x03\x23\0\x01"),
        send(b"\x30\x06\0\0\x03\x23\0\x01"),
    ];
    let outcome = check(
        &steps,
        &[
            "CONNECT c MQTT 5.0 -> CONNACK Success",
            "PUBLISH a/b QoS 0 1 bytes",
            "PUBLISH a/b QoS 0 1 bytes",
            "PUBLISH (topic: unknown) QoS 0 1 bytes",
            "PUBLISH c QoS 0 0 bytes",
            "PUBLISH c QoS 0 0 bytes",
        ],
    );
    assert_eq!(value(&outcome, 2, "topic"), bytes("a/b"));
    assert_eq!(property(&outcome, 2, "Topic Alias"), Some(Value::Number(1)));
    assert_eq!(value(&outcome, 3, "topic"), word("unknown"));
}

/// Properties of CONNECT: Authentication Method "m", Authentication Data "s3cret", User Property "token": "s3cret".
/// Those of the will: Will Delay Interval 5.
const AUTHENTICATED: &[u8] = b"\x10\x3e\0\x04MQTT\x05\xc6\0\x3c\
    \x1d\x15\0\x01m\x16\0\x06s3cret\x26\0\x05token\0\x06s3cret\0\x01c\
    \x05\x18\0\0\0\x05\0\x01w\0\0\0\x01u\0\x03pwd";

#[test]
fn an_authentication_in_steps_shows_no_secret() {
    let steps = [
        send(AUTHENTICATED),
        recv(b"\xf0\x0f\x18\x0d\x15\0\x01m\x16\0\x06s3cret"),
        send(b"\xf0\x0f\x18\x0d\x15\0\x01m\x16\0\x06s3cret"),
        recv(CONNACK_5),
        send(b"\xf0\x06\x19\x04\x15\0\x01m"),
        recv(b"\xf0\0"),
    ];
    let expected = [
        "AUTH Continue authentication",
        "AUTH Continue authentication",
        "CONNECT c user=u MQTT 5.0 -> CONNACK Success",
        "AUTH Re-authenticate",
        "AUTH",
    ];
    let outcome = check(&steps, &expected);
    assert_eq!(shown(&outcome, "s3cret") + shown(&outcome, "pwd"), 0);
    assert_eq!(value(&outcome, 2, "password"), word("***"));
    let Value::Map(properties) = value(&outcome, 2, "properties") else { panic!("properties are a map") };
    let masked = Value::Map(vec![(bytes("token"), word("***"))]);
    assert_eq!(properties[1], (word("Authentication Data"), word("***")));
    assert_eq!(properties[2], (word("User Property"), masked));
    let delay = Value::Map(vec![(word("Will Delay Interval"), Value::Number(5))]);
    assert_eq!(value(&outcome, 2, "will_properties"), delay);
    let mut open = setup();
    open.options.show_secrets = true;
    let outcome = run(&PROTOCOL, &steps, open);
    assert_eq!((shown(&outcome, "s3cret"), shown(&outcome, "pwd")), (4, 1));
}

#[test]
fn a_server_of_before_refuses_as_before() {
    let expected = "CONNECT c MQTT 5.0 -> CONNACK Connection Refused, unacceptable protocol version";
    let outcome = check(&[send(CONNECT_5), recv(b"\x20\x02\0\x01")], &[expected]);
    assert_eq!(answered(&outcome, 0, "return_code"), Some(Value::Number(1)));
}

#[test]
fn every_property_has_its_name() {
    // CONNACK with each of its properties once, but for those of the authentication.
    let properties = b"\x11\0\0\0\x01\x12\0\x01a\x13\0\x02\x1a\0\x01r\x1c\0\x01s\x1f\0\x01t\
        \x21\0\x03\x22\0\x04\x24\x01\x25\0\x27\0\0\x10\0\x28\x01\x29\0\x2a\x01";
    let mut connack = vec![0x20, 3 + properties.len() as u8, 0, 0, properties.len() as u8];
    connack.extend_from_slice(properties);
    let outcome = check(&[send(CONNECT_5), recv(connack)], &["CONNECT c MQTT 5.0 -> CONNACK Success"]);
    let Some(Value::Map(list)) = answered(&outcome, 0, "properties") else { panic!("no properties") };
    let names: Vec<Value> = list.into_iter().map(|(name, _)| name).collect();
    let expected = [
        "Session Expiry Interval",
        "Assigned Client Identifier",
        "Server Keep Alive",
        "Response Information",
        "Server Reference",
        "Reason String",
        "Receive Maximum",
        "Topic Alias Maximum",
        "Maximum QoS",
        "Retain Available",
        "Maximum Packet Size",
        "Wildcard Subscription Available",
        "Subscription Identifier Available",
        "Shared Subscription Available",
    ];
    assert_eq!(names, expected.map(word));
    // PUBLISH likewise.
    let properties = b"\x01\x01\x02\0\0\0\x01\x03\0\x01c\x08\0\x01r\x09\0\x01d\x0b\x01\x0b\x02\x23\0\x01";
    let mut publish = vec![0x30, 4 + properties.len() as u8, 0, 1, b't', properties.len() as u8];
    publish.extend_from_slice(properties);
    let steps = [send(CONNECT_5), recv(CONNACK_5), recv(publish)];
    let outcome = check(&steps, &["CONNECT c MQTT 5.0 -> CONNACK Success", "PUBLISH t QoS 0 0 bytes"]);
    let Value::Map(list) = value(&outcome, 1, "properties") else { panic!("no properties") };
    let names: Vec<Value> = list.into_iter().map(|(name, _)| name).collect();
    let expected = [
        "Payload Format Indicator",
        "Message Expiry Interval",
        "Content Type",
        "Response Topic",
        "Correlation Data",
        "Subscription Identifier",
        "Subscription Identifier",
        "Topic Alias",
    ];
    assert_eq!(names, expected.map(word));
    // And what only CONNECT has.
    let connect = b"\x10\x13\0\x04MQTT\x05\x02\0\x3c\x04\x17\0\x19\x01\0\x02id";
    let outcome = check(&[send(connect)], &["CONNECT id MQTT 5.0 [no-response]"]);
    assert_eq!(property(&outcome, 0, "Request Problem Information"), Some(Value::Number(0)));
    assert_eq!(property(&outcome, 0, "Request Response Information"), Some(Value::Number(1)));
}
