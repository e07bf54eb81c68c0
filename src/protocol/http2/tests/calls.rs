//! gRPC: calls of every kind.

use super::*;
use crate::event::Cause;

/// A request's header section.
fn call(path: &str) -> Vec<u8> {
    let start = [&[0x83, 0x86, 0x04, path.len() as u8][..], path.as_bytes()].concat();
    [start, field("content-type", "application/grpc"), field("te", "trailers")].concat()
}

fn answer() -> Vec<u8> {
    [&[0x88][..], &field("content-type", "application/grpc+proto")].concat()
}

/// A length-prefixed message.
fn message(flag: u8, content: &[u8]) -> Vec<u8> {
    [&[flag][..], &(content.len() as u32).to_be_bytes(), content].concat()
}

fn map_of(pairs: &[(i64, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(number, value)| (Value::Number(*number), value.clone())).collect())
}

/// The contents of the messages that are shown, by the name under which they are.
fn contents(message: &Option<Message>, name: &str) -> Vec<Value> {
    let Value::List(messages) = value(message, "messages") else { panic!("no list") };
    let find = |message: &Value| match message {
        Value::Map(fields) => {
            fields.iter().find(|(key, _)| *key == Value::Text(name.to_owned().into())).cloned()
        }
        _ => None,
    };
    messages.iter().filter_map(find).map(|(_, value)| value).collect()
}

#[test]
fn a_unary_call_shows_its_messages_by_field_number() {
    let records = check(
        &[
            send(headers(0, 1, call("/hello.Greeter/SayHello"))),
            send(data(END_STREAM, 1, message(0, b"\x0a\x05world\x10\x07"))),
            recv([headers(0, 1, answer()), data(0, 1, message(0, b"\x0a\x02hi"))].concat()),
            recv(headers(END_STREAM, 1, field("grpc-status", "0"))),
        ],
        &["OK /hello.Greeter/SayHello 1 -> 1 messages"],
    );
    let Record { request, response, protocol, .. } = &records[0];
    assert_eq!(*protocol, "grpc");
    assert_eq!(value(request, "grpc_service"), &bytes("hello.Greeter"));
    assert_eq!(value(request, "grpc_method"), &bytes("SayHello"));
    let sent = map_of(&[(1, bytes("world")), (2, Value::Number(7))]);
    assert_eq!(contents(request, "protobuf"), [sent]);
    assert_eq!(contents(response, "protobuf"), [map_of(&[(1, bytes("hi"))])]);
    assert_eq!(value(response, "grpc_status"), &Value::Number(0));
    assert_eq!(value(response, "grpc_status_name"), &Value::Text("OK".into()));
}

#[test]
fn streams_of_messages_are_counted_wherever_frames_cut_them() {
    let stream: Vec<u8> = (0..5).flat_map(|number| message(0, &[0x08, number])).collect();
    let records = check(
        &[
            send([headers(0, 1, call("/s/Bidi")), data(0, 1, &stream[..9])].concat()),
            recv([headers(0, 1, answer()), data(0, 1, message(0, b""))].concat()),
            send([data(0, 1, &stream[9..10]), data(END_STREAM, 1, &stream[10..])].concat()),
            recv([data(0, 1, &stream[..20]), data(0, 1, &stream[20..])].concat()),
            recv(headers(END_STREAM, 1, field("grpc-status", "0"))),
        ],
        &["OK /s/Bidi 5 -> 6 messages"],
    );
    assert_eq!(value(&records[0].response, "message_count"), &Value::Number(6));
}

#[test]
fn errors_come_in_trailers_or_alone() {
    let status = [field("grpc-status", "5"), field("grpc-message", "no such user%3A 7")].concat();
    let alone = [answer(), field("grpc-status", "12"), field("grpc-message", "")].concat();
    let records = check(
        &[
            send([headers(0, 1, call("/s/Find")), data(END_STREAM, 1, message(0, b""))].concat()),
            recv([headers(0, 1, answer()), headers(END_STREAM, 1, status)].concat()),
            send([headers(0, 3, call("/s/None")), data(END_STREAM, 3, message(0, b""))].concat()),
            recv(headers(END_STREAM, 3, alone)),
        ],
        &["NOT_FOUND /s/Find 1 -> 0 messages: no such user: 7", "UNIMPLEMENTED /s/None 1 -> 0 messages"],
    );
    assert_eq!(value(&records[0].response, "grpc_message"), &bytes("no such user: 7"));
    assert!(records.iter().all(|record| record.protocol == "grpc"));
}

#[test]
fn compressed_messages_are_decompressed_where_the_coding_is_known() {
    // RFC 1952 around a stored block: 08 96 01.
    let gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01\x03\0\xfc\xff\x08\x96\x01";
    let request = |coding: &str| [call("/s/Zip"), field("grpc-encoding", coding)].concat();
    let records = check(
        &[
            send([headers(0, 1, request("gzip")), data(END_STREAM, 1, message(1, gzip))].concat()),
            recv(headers(END_STREAM, 1, [answer(), field("grpc-status", "0")].concat())),
            send([headers(0, 3, request("snappy")), data(END_STREAM, 3, message(1, b"xyz"))].concat()),
            recv(headers(END_STREAM, 3, [answer(), field("grpc-status", "0")].concat())),
        ],
        &["OK /s/Zip 1 -> 0 messages", "OK /s/Zip 1 -> 0 messages"],
    );
    assert_eq!(contents(&records[0].request, "protobuf"), [map_of(&[(1, Value::Number(150))])]);
    assert_eq!(contents(&records[1].request, "data"), [bytes("xyz")]);
    assert_eq!(records[1].causes(), [Cause::Unsupported]);
}

#[test]
fn a_connection_that_was_open_before_says_what_it_can_not_know() {
    // All header fields are indices of entries from before the trace.
    let steps = [
        send(
            [headers(0, 7, [0x83, 0x86, 0xc0, 0xc1, 0xbe]), data(END_STREAM, 7, message(0, b"\x08\x01"))]
                .concat(),
        ),
        recv([headers(0, 7, [0x88, 0xbe]), data(0, 7, message(0, b"\x08\x02"))].concat()),
        recv(headers(END_STREAM, 7, [0xbf])),
    ];
    let options = Options { max_field: 100, ..Options::default() };
    let outcome =
        crate::protocol::testing::run(&PROTOCOL, &steps, Setup { mid_stream: true, options, pause: 0 });
    assert_eq!(outcome.summaries(), ["(unknown) (unknown) 1 -> 1 messages"]);
    let Record { request, response, protocol, .. } = &outcome.records[0];
    assert_eq!(*protocol, "grpc");
    assert_eq!(value(request, "path"), &Value::Text("unknown".into()));
    assert_eq!(value(request, "method"), &bytes("POST"));
    assert_eq!(value(request, "unknown_fields"), &Value::Number(3));
    assert_eq!(value(request, "grpc"), &Value::Text("by its first bytes".into()));
    assert_eq!(contents(response, "protobuf"), [map_of(&[(1, Value::Number(2))])]);
    assert_eq!(value(response, "unknown_trailers"), &Value::Number(1));
    assert_eq!(value(response, "grpc_status"), &Value::Text("unknown".into()));
}

/// One exchange behind a loss of header blocks in both directions: what came of the payloads of request and response.
fn behind_a_loss(request: &[u8], response: &[u8], path: &str) -> Record {
    let lost = |direction| Step::Gap(direction, 40, Cause::RingFull);
    // POST and the path are known, all else is an index of the lost table.
    let head = [&[0x83, 0x86, 0x04, path.len() as u8][..], path.as_bytes(), &[0xbe]].concat();
    let steps = [
        lost(crate::event::Direction::Send),
        lost(crate::event::Direction::Recv),
        send([headers(0, 7, head), data(END_STREAM, 7, request)].concat()),
        recv([headers(0, 7, [0x88, 0xbe]), data(0, 7, response), data(END_STREAM, 7, "")].concat()),
    ];
    let options = Options { max_field: 100, ..Options::default() };
    let setup = Setup { options, ..Setup::default() };
    let outcome = crate::protocol::testing::run(&PROTOCOL, &[opening(), steps.to_vec()].concat(), setup);
    let of_stream = |record: &&Record| record.request.as_ref().is_some_and(|one| one.field("path").is_some());
    outcome.records.iter().find(of_stream).expect("a record").clone()
}

#[test]
fn first_bytes_make_no_grpc_where_its_messages_do_not_add_up_or_the_path_is_none() {
    // A question of DNS (RFC 8484) begins as a message of 64 KiB would.
    let question = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03www\0\0\x01\0\x01";
    let cases = [
        (&question[..], &question[..], "/dns/query", "http2"),
        (&message(0, b"\x08\x01"), &message(0, b""), "/s/Find", "grpc"),
        (&message(0, b"\x08\x01"), &message(0, b""), "/upload", "http2"),
        (&message(0, b"\x08\x01"), &message(0, b""), "/a/b?c", "http2"),
    ];
    for (request, response, path, protocol) in cases {
        let record = behind_a_loss(request, response, path);
        assert_eq!(record.protocol, protocol, "{path}");
        let is_shown = record
            .request
            .as_ref()
            .is_some_and(|one| one.field("body") == Some(&Value::Bytes(request.to_vec())));
        assert_eq!(is_shown, protocol == "http2", "{path}");
    }
}
