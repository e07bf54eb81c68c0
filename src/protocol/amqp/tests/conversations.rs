//! What is said, and what belongs together.

use super::*;
use crate::event::{Cause, Direction, Role};
use crate::protocol::testing::{recv, run, send};

const HEARTBEAT: &[u8] = b"\x08\x00\x00\x00\x00\x00\x00\xce";

/// connection.start of a server called R, version 3; product and a table in its properties.
fn start() -> Vec<u8> {
    let table = b"\x07productS\x00\x00\x00\x01R\x07versionS\x00\x00\x00\x013\x0ccapabilitiesF\x00\x00\x00\x07\x04nackt\x01\x01aV";
    // The table of one flag is 4 + 1 + 2 octets long; what follows it is a void member.
    let mut arguments = vec![0, 9];
    arguments.extend((table.len() as u32).to_be_bytes());
    arguments.extend(table);
    arguments.extend(b"\x00\x00\x00\x0ePLAIN AMQPLAIN\x00\x00\x00\x05en_US");
    method(0, 10, 10, &arguments)
}

fn start_ok() -> Vec<u8> {
    method(0, 10, 11, b"\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0b\x00me\x00hunter2\x05en_US")
}

#[test]
fn a_connection_is_opened_and_closed() {
    let steps = [
        send(HEADER),
        recv(start()),
        send(start_ok()),
        recv(method(0, 10, 30, b"\x07\xff\x00\x02\x00\x00\x00\x3c")),
        send(
            [
                method(0, 10, 31, b"\x07\xff\x00\x02\x00\x00\x00\x3c"),
                method(0, 10, 40, b"\x01/\x00\x00"),
                HEARTBEAT.to_vec(),
            ]
            .concat(),
        ),
        recv([method(0, 10, 41, b"\x00"), HEARTBEAT.to_vec()].concat()),
        send(method(1, 20, 10, b"\x00")),
        recv(method(1, 20, 11, b"\x00\x00\x00\x00")),
        recv(method(0, 10, 60, b"\x06memory")),
        recv(method(0, 10, 61, b"")),
        send(method(0, 10, 70, b"\x00\x00\x00\x03new\x03old")),
        recv(method(0, 10, 71, b"")),
        send(method(0, 10, 50, b"\x00\xc8\x07goodbye\x00\x00\x00\x00")),
        recv(method(0, 10, 51, b"")),
    ];
    let outcome = check(
        &steps,
        &[
            "protocol header 0-0-9-1",
            "connection.start R 3 -> connection.start-ok mechanism=PLAIN user=me",
            "connection.tune frame_max=131072 heartbeat=60 -> connection.tune-ok frame_max=131072 heartbeat=60",
            "heartbeat",
            "connection.open virtual_host=/ -> connection.open-ok",
            "heartbeat",
            "channel.open -> channel.open-ok",
            "connection.blocked reason=memory",
            "connection.unblocked",
            "connection.update-secret reason=old -> connection.update-secret-ok",
            "connection.close 200 goodbye -> connection.close-ok",
        ],
    );
    let start = &outcome.records[1];
    assert_eq!(start.request.as_ref().unwrap().direction, Direction::Recv);
    let capabilities = Value::Map(vec![(bytes("nack"), Value::Flag(true))]);
    let properties = Value::Map(vec![
        (bytes("product"), bytes("R")),
        (bytes("version"), bytes("3")),
        (bytes("capabilities"), capabilities),
        (bytes("a"), Value::Null),
    ]);
    assert_eq!(field(start, "server_properties"), Some(&properties));
    assert_eq!(field(start, "response"), Some(&Value::Text("***".into())));
    assert_eq!(field(&outcome.records[9], "new_secret"), Some(&Value::Text("***".into())));
    assert_eq!(field(&outcome.records[10], "reply_code"), Some(&Value::Number(200)));
    let options = Options { show_secrets: true, ..setup().options };
    let shown = run(&PROTOCOL, &steps, Setup { options, ..setup() });
    assert_eq!(field(&shown.records[1], "response"), Some(&bytes("\0me\0hunter2")));
}

#[test]
fn the_user_of_amqplain_is_told_and_the_password_is_not() {
    let response = b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x06s3cret";
    let mut arguments = b"\x00\x00\x00\x00\x08AMQPLAIN".to_vec();
    arguments.extend((response.len() as u32).to_be_bytes());
    arguments.extend(response);
    arguments.extend(b"\x05en_US");
    let steps = [send(HEADER), recv(start()), send(method(0, 10, 11, &arguments))];
    let outcome = check(
        &steps,
        &[
            "protocol header 0-0-9-1",
            "connection.start R 3 -> connection.start-ok mechanism=AMQPLAIN user=guest",
        ],
    );
    assert!(!format!("{outcome:?}").contains("s3cret"));
}

#[test]
fn a_server_refuses_a_version_by_its_own() {
    let steps = [send(b"AMQP\x01\x01\x00\x09"), recv(HEADER)];
    check(&steps, &["protocol header 1-1-0-9 -> protocol header 0-0-9-1"]);
}

#[test]
fn methods_are_paired_on_their_channel_in_any_order_of_channels() {
    let declare = |channel, queue: &[u8], bits| {
        method(channel, 50, 10, &[b"\x00\x00\x01", queue, &[bits], b"\x00\x00\x00\x00"].concat())
    };
    let declared = |channel, queue: &[u8]| {
        method(channel, 50, 11, &[b"\x01", queue, b"\x00\x00\x00\x02\x00\x00\x00\x01"].concat())
    };
    let steps = [
        send([declare(1, b"a", 0b00010), declare(2, b"b", 0), declare(1, b"c", 0)].concat()),
        recv([declared(2, b"b"), declared(1, b"a"), declared(1, b"c")].concat()),
        // no_wait is the fifth bit.
        send(declare(1, b"d", 0b10000)),
        send(method(1, 40, 10, b"\x00\x00\x01x\x06fanout\x02\x00\x00\x00\x00")),
        recv(method(1, 40, 11, b"")),
        send(method(1, 40, 40, b"\x00\x00\x01y\x01x\x01k\x00\x00\x00\x00\x00")),
        recv(method(1, 40, 51, b"")),
        send(method(1, 50, 20, b"\x00\x00\x01a\x01x\x01k\x00\x00\x00\x00\x00")),
        recv(method(1, 50, 21, b"")),
        send(method(1, 60, 20, b"\x00\x00\x01a\x00\x00\x00\x00\x00\x00")),
        recv(method(1, 60, 21, b"\x02t1")),
        // The server tells that a queue is gone, and does not wait.
        recv(method(1, 60, 30, b"\x02t1\x01")),
        send(method(1, 20, 20, b"\x01")),
        recv(method(1, 20, 21, b"\x01")),
        send(method(1, 90, 10, b"")),
        recv(method(1, 90, 11, b"")),
        recv(method(1, 90, 21, b"")),
        send(method(1, 60, 110, b"\x01")),
    ];
    let outcome = check(
        &steps,
        &[
            "queue.declare queue=b -> queue.declare-ok queue=b message_count=2 consumer_count=1",
            "queue.declare queue=a -> queue.declare-ok queue=a message_count=2 consumer_count=1",
            "queue.declare queue=c -> queue.declare-ok queue=c message_count=2 consumer_count=1",
            "queue.declare queue=d",
            "exchange.declare exchange=x type=fanout -> exchange.declare-ok",
            "exchange.unbind destination=y source=x routing_key=k -> exchange.unbind-ok",
            "queue.bind queue=a exchange=x routing_key=k -> queue.bind-ok",
            "basic.consume queue=a -> basic.consume-ok consumer_tag=t1",
            "basic.cancel consumer_tag=t1",
            "channel.flow active=true -> channel.flow-ok active=true",
            "tx.select -> tx.select-ok",
            "tx.commit-ok [no-request]",
            "basic.recover [no-response]",
        ],
    );
    assert_eq!(field(&outcome.records[1], "durable"), Some(&Value::Flag(true)));
    assert_eq!(field(&outcome.records[0], "durable"), Some(&Value::Flag(false)));
    assert_eq!(outcome.records[3].request.as_ref().map(|one| one.direction), Some(Direction::Send));
    assert!(outcome.records[8].request.is_none(), "the server's");
}

#[test]
fn messages_are_joined_across_frames_and_channels() {
    // content_type, headers, delivery_mode, timestamp.
    let properties = b"\xb0\x40\x0atext/plain\x00\x00\x00\x0e\x01ni\x00\x00\x00\x07\x01vA\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x09";
    let steps = [
        send(
            [publish(1), header(1, 6, properties), body(1, b"abc"), publish(2), header(2, 0, b"\x00\x00")]
                .concat(),
        ),
        send([body(1, b"def")].concat()),
        recv(
            [
                method(1, 60, 60, b"\x02t1\x00\x00\x00\x00\x00\x00\x00\x05\x01\x00\x01k"),
                header(1, 2, b"\x00\x00"),
                body(1, b"hi"),
            ]
            .concat(),
        ),
        send(method(1, 60, 80, b"\x00\x00\x00\x00\x00\x00\x00\x05\x00")),
        send(method(1, 60, 70, b"\x00\x00\x01q\x00")),
        recv(
            [
                method(1, 60, 71, b"\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01x\x01k\x00\x00\x00\x03"),
                header(1, 1, b"\x00\x00"),
                body(1, b"m"),
            ]
            .concat(),
        ),
        send(method(1, 60, 70, b"\x00\x00\x01q\x00")),
        recv(method(1, 60, 72, b"\x00")),
        recv(
            [method(1, 60, 50, b"\x01\x38\x08NO_ROUTE\x01x\x01k"), header(1, 1, b"\x00\x00"), body(1, b"r")]
                .concat(),
        ),
    ];
    let outcome = check(
        &steps,
        &[
            "basic.publish exchange=x routing_key=k 0 bytes",
            "basic.publish exchange=x routing_key=k 6 bytes",
            "basic.deliver consumer_tag=t1 delivery_tag=5 routing_key=k 2 bytes",
            "basic.ack delivery_tag=5",
            "basic.get queue=q -> basic.get-ok delivery_tag=6 exchange=x routing_key=k message_count=3 1 bytes",
            "basic.get queue=q -> basic.get-empty",
            "basic.return 312 NO_ROUTE exchange=x routing_key=k 1 bytes",
        ],
    );
    let message = &outcome.records[1];
    assert_eq!(field(message, "body"), Some(&bytes("abcdef")));
    assert_eq!(message.request.as_ref().unwrap().parts.len(), 2, "another channel's lies between");
    let headers = Value::Map(vec![(bytes("n"), Value::Number(7)), (bytes("v"), Value::List(Vec::new()))]);
    let expected = Value::Map(vec![
        (Value::Text("content_type".into()), bytes("text/plain")),
        (Value::Text("headers".into()), headers),
        (Value::Text("delivery_mode".into()), Value::Number(2)),
        (Value::Text("timestamp".into()), Value::Number(9)),
    ]);
    assert_eq!(field(message, "properties"), Some(&expected));
    assert!(outcome.records[2].request.is_none(), "the server's");
}

#[test]
fn confirms_are_linked_by_number() {
    let message = |channel| [publish(channel), header(channel, 1, b"\x00\x00"), body(channel, b"m")].concat();
    let ack = |tag: u8, multiple: u8| method(1, 60, 80, &[0, 0, 0, 0, 0, 0, 0, tag, multiple]);
    let steps = [
        send([message(1), method(1, 85, 10, b"\x00")].concat()),
        recv(method(1, 85, 11, b"")),
        send([message(1), message(2), message(1), message(1), message(1)].concat()),
        recv(
            [ack(2, 0), ack(3, 1), method(1, 60, 120, b"\x00\x00\x00\x00\x00\x00\x00\x04\x00"), ack(9, 0)]
                .concat(),
        ),
        send([message(1), message(1), method(1, 20, 40, b"\x00\xc8\x00\x00\x00\x00\x00")].concat()),
        recv([ack(5, 0), method(1, 20, 41, b"")].concat()),
    ];
    let publish = "basic.publish exchange=x routing_key=k 1 bytes";
    let expected = [
        publish.to_owned(),
        "confirm.select -> confirm.select-ok".to_owned(),
        publish.to_owned(),
        format!("{publish} -> basic.ack delivery_tag=2"),
        format!("{publish} -> basic.ack delivery_tag=3"),
        format!("{publish} -> basic.ack delivery_tag=3"),
        format!("{publish} -> basic.nack delivery_tag=4"),
        "basic.ack delivery_tag=9".to_owned(),
        format!("{publish} -> basic.ack delivery_tag=5"),
        format!("{publish} [no-response]"),
        "channel.close 200 -> channel.close-ok".to_owned(),
    ];
    check(&steps, &expected.each_ref().map(String::as_str));
    // Numbers are certain for as long as no message of the client is lost.
    let confirms = [
        send([method(1, 85, 10, b"\x01"), message(1)].concat()),
        Step::Gap(Direction::Recv, 10, Cause::RingFull),
        recv(ack(1, 0)),
        Step::Gap(Direction::Send, 10, Cause::RingFull),
        send(message(1)),
        recv(ack(2, 0)),
    ];
    let outcome = run(&PROTOCOL, &confirms, setup());
    let expected = [
        "confirm.select".to_owned(),
        format!("{publish} -> basic.ack delivery_tag=1"),
        publish.to_owned(),
        "basic.ack delivery_tag=2".to_owned(),
    ];
    assert_eq!(outcome.summaries(), expected);
}

#[test]
fn a_server_that_closes_tells_which_method_it_refuses() {
    let steps = [
        send(method(1, 50, 10, b"\x00\x00\x04nope\x01\x00\x00\x00\x00")),
        recv(method(1, 20, 40, b"\x01\x94\x09NOT_FOUND\x00\x32\x00\x0a")),
        send(method(1, 20, 41, b"")),
    ];
    let outcome = check(
        &steps,
        &[
            "queue.declare queue=nope (refused: 404) [no-response]",
            "channel.close 404 NOT_FOUND -> channel.close-ok",
        ],
    );
    assert_eq!(outcome.records[1].request.as_ref().unwrap().direction, Direction::Recv);
}

#[test]
fn methods_that_nobody_knows_are_named_by_number() {
    let outcome = check(&[send(method(1, 70, 10, b"abc"))], &["class 70 method 10"]);
    assert_eq!(outcome.records[0].causes(), [Cause::Unsupported]);
}

#[test]
fn which_end_is_the_client_is_told_by_content() {
    let steps = [
        send([method(1, 85, 10, b"\x01"), publish(1), header(1, 0, b"\x00\x00")].concat()),
        recv(method(1, 60, 80, b"\x00\x00\x00\x00\x00\x00\x00\x01\x00")),
    ];
    for role in [Role::Client, Role::Server, Role::Unknown] {
        let options = Options { role, ..setup().options };
        let outcome = run(&PROTOCOL, &steps, Setup { options, ..setup() });
        let expected =
            ["confirm.select", "basic.publish exchange=x routing_key=k 0 bytes -> basic.ack delivery_tag=1"];
        assert_eq!(outcome.summaries(), expected, "{role:?}");
        assert!(outcome.records[0].request.is_some(), "the client's");
    }
}
