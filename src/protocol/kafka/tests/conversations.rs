//! What is said, and what belongs together.

use super::*;
use crate::event::{Cause, Role};
use crate::protocol::testing::{recv, run, send};

#[test]
fn versions_are_asked_for_and_told() {
    let steps = [
        send(request(18, 3, 1, b"\x00", b"\x04lib\x041.0\x00")),
        // The header has no tags; one tagged field with the epoch, and one that nobody knows.
        recv(response(
            1,
            b"",
            b"\x00\x00\x02\x00\x00\x00\x03\x00\x0d\x00\x00\x00\x00\x00\x02\x01\x08\x00\x00\x00\x00\x00\x00\x00\x09\x63\x02xy",
        )),
        // Newer than the broker: it answers in the first version.
        send(request(18, 9, 2, b"\x00", b"\x04lib\x041.0\x00")),
        recv(response(2, b"", b"\x00\x23\x00\x00\x00\x01\x00\x12\x00\x00\x00\x03")),
        send(request(18, 0, 3, b"", b"")),
        recv(response(3, b"", b"\x00\x00\x00\x00\x00\x00")),
    ];
    let outcome = check(
        &steps,
        &["ApiVersions v3 lib 1.0 -> ok", "ApiVersions v9 -> UNSUPPORTED_VERSION", "ApiVersions v0 -> ok"],
    );
    let first = &outcome.records[0];
    let keys = map(&[
        ("api_key", Value::Number(0)),
        ("min_version", Value::Number(3)),
        ("max_version", Value::Number(13)),
    ]);
    assert_eq!(field(first, "api_keys"), Some(&Value::List(vec![keys])));
    assert_eq!(field(first, "finalized_features_epoch"), Some(&Value::Number(9)));
    assert_eq!(field(first, "client_id"), Some(&bytes("me")));
    assert_eq!(outcome.records[1].causes(), [Cause::Unsupported], "the request's version");
}

#[test]
fn records_are_counted() {
    let steps = [
        send(produce(1, -1, &[batch(3, 0), batch(2, 0)].concat())),
        recv(produced(1, 0)),
        send(produce(2, 1, &batch(7, 4))),
        recv(produced(2, 6)),
        // Nothing answers that.
        send(produce(3, 0, &batch(1, 0))),
        send(heartbeat(4)),
        recv(alive(4)),
    ];
    let outcome = check(
        &steps,
        &[
            "Produce v3 t 5 records -> ok",
            "Produce v3 t 7 records -> NOT_LEADER_OR_FOLLOWER",
            "Produce v3 t 1 record",
            "Heartbeat v0 group=g -> ok",
        ],
    );
    let records = map(&[
        ("size", Value::Number(batch(7, 4).len() as i64)),
        ("batches", Value::Number(1)),
        ("count", Value::Number(7)),
        ("compression", Value::Text("zstd".into())),
        ("magic", Value::Number(2)),
    ]);
    let partition = map(&[("index", Value::Number(0)), ("records", records)]);
    let topic = map(&[("name", bytes("t")), ("partition_data", Value::List(vec![partition]))]);
    assert_eq!(field(&outcome.records[1], "topic_data"), Some(&Value::List(vec![topic])));
    let partition = map(&[
        ("index", Value::Number(0)),
        ("error_code", Value::Number(6)),
        ("error", Value::Text("NOT_LEADER_OR_FOLLOWER".into())),
        ("base_offset", Value::Number(7)),
        ("log_append_time_ms", Value::Number(-1)),
    ]);
    let topic = map(&[("name", bytes("t")), ("partition_responses", Value::List(vec![partition]))]);
    assert_eq!(field(&outcome.records[1], "responses"), Some(&Value::List(vec![topic])));
}

#[test]
fn old_message_sets_are_counted_and_packed_ones_are_said_to_be_unknown() {
    // Offset, size, checksum, version 1, codec, timestamp, no key, a value.
    let old = |codec: u8| {
        [
            &[0; 8][..],
            b"\x00\x00\x00\x17\xde\xad\xbe\xef\x01",
            &[codec],
            &[0; 8],
            b"\xff\xff\xff\xff\x00\x00\x00\x01v",
        ]
        .concat()
    };
    let steps = [
        send(produce(1, 1, &[old(0), old(0)].concat())),
        recv(produced(1, 0)),
        send(produce(2, 1, &old(1))),
        recv(produced(2, 0)),
    ];
    let outcome = check(&steps, &["Produce v3 t 2 records -> ok", "Produce v3 t packed records -> ok"]);
    assert_eq!(outcome.records[1].causes(), [Cause::Unsupported]);
}

#[test]
fn requests_are_answered_in_order_and_by_number() {
    let fetch = [
        // replica, wait, bytes, bytes, isolation, session, epoch
        &b"\xff\xff\xff\xff\x00\x00\x01\xf4\x00\x00\x00\x01\x03\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"[..],
        // A topic with a partition: index, leader's epoch, offset, last epoch, log start, bytes; tags of each.
        b"\x02\x02t\x02\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x00\x10\x00\x00\x00\x00",
        // Nothing forgotten, no rack.
        b"\x01\x01\x00",
    ]
    .concat();
    let records = batch(4, 2);
    let fetched = [
        &b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x02t\x02\x00\x00\x00\x00\x00\x00"[..],
        // High watermark, last stable offset, log start, no aborted transactions, no preferred replica.
        &[0; 24],
        b"\x00\xff\xff\xff\xff",
        &[records.len() as u8 + 1],
        &records,
        // The leader, tagged.
        b"\x01\x01\x09\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00",
    ]
    .concat();
    let steps = [
        send([request(1, 12, 7, b"\x00", &fetch), request(3, 1, 8, b"", b"\xff\xff\xff\xff"), heartbeat(9)].concat()),
        recv(response(7, b"\x00", &fetched)),
        recv(
            [
                response(8, b"", b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01h\x00\x00\x23\x84\xff\xff\x00\x00\x00\x01\x00\x00\x00\x00"),
                alive(9),
            ]
            .concat(),
        ),
        send([heartbeat(10), heartbeat(11)].concat()),
        // That to 10 never comes.
        recv(alive(11)),
        recv(alive(99)),
    ];
    let outcome = check(
        &steps,
        &[
            "Fetch v12 t -> ok 4 records",
            "Metadata v1 -> ok",
            "Heartbeat v0 group=g -> ok",
            "Heartbeat v0 group=g [no-response]",
            "Heartbeat v0 group=g -> ok",
            "response (api: unknown) 6 bytes [no-request]",
        ],
    );
    let Some(Value::List(topics)) = field(&outcome.records[0], "responses") else { panic!("topics") };
    let leader = map(&[("leader_id", Value::Number(1)), ("leader_epoch", Value::Number(2))]);
    assert!(format!("{topics:?}").contains(&format!("{leader:?}")), "{topics:?}");
    assert_eq!(field(&outcome.records[5], "api"), Some(&Value::Text("unknown".into())));
    assert_eq!(field(&outcome.records[5], "correlation_id"), Some(&Value::Number(99)));
}

#[test]
fn members_of_a_group_join_and_are_refused_by_name() {
    let join = b"\x02g\x00\x00\x75\x30\x00\x04\x93\xe0\x01\x00\x09consumer\x02\x06range\x03ab\x00\x00";
    let steps = [
        send(request(11, 7, 1, b"\x00", join)),
        recv(response(1, b"\x00", b"\x00\x00\x00\x00\x00\x4f\xff\xff\xff\xff\x00\x01\x01\x03m1\x01\x00")),
        send(request(10, 4, 2, b"\x00", b"\x00\x02\x02g\x00")),
        recv(response(
            2,
            b"\x00",
            b"\x00\x00\x00\x00\x02\x02g\x00\x00\x00\x01\x02h\x00\x00\x23\x84\x00\x0f\x00\x00\x00",
        )),
        send(request(13, 3, 3, b"", b"\x00\x01g\x00\x00\x00\x01\x00\x02m1\xff\xff")),
        recv(response(3, b"", b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x02m1\xff\xff\x00\x00")),
    ];
    check(
        &steps,
        &[
            "JoinGroup v7 group=g -> MEMBER_ID_REQUIRED",
            "FindCoordinator v4 g -> COORDINATOR_NOT_AVAILABLE",
            "LeaveGroup v3 group=g -> ok",
        ],
    );
}

#[test]
fn secrets_are_masked_unless_wanted() {
    let login = b"\x00me\x00hunter2";
    let steps = [
        send(request(17, 1, 1, b"", b"\x00\x05PLAIN")),
        recv(response(1, b"", b"\x00\x00\x00\x00\x00\x01\x00\x05PLAIN")),
        send(request(36, 0, 2, b"", &[&b"\x00\x00\x00\x0b"[..], login].concat())),
        recv(response(2, b"", b"\x00\x00\xff\xff\x00\x00\x00\x00")),
        // The first version of the handshake: what follows has no headers.
        send(request(17, 0, 3, b"", b"\x00\x05PLAIN")),
        recv(response(3, b"", b"\x00\x00\x00\x00\x00\x01\x00\x05PLAIN")),
        send(message(&[login])),
        recv(message(&[])),
        send(heartbeat(4)),
        recv(alive(4)),
    ];
    let expected = [
        "SaslHandshake v1 PLAIN -> ok",
        "SaslAuthenticate v0 -> ok",
        "SaslHandshake v0 PLAIN -> ok",
        "SASL 11 bytes -> SASL 0 bytes",
        "Heartbeat v0 group=g -> ok",
    ];
    let outcome = check(&steps, &expected);
    assert!(!format!("{outcome:?}").contains("hunter2"));
    assert_eq!(field(&outcome.records[1], "auth_bytes"), Some(&Value::Text("***".into())));
    let options = Options { show_secrets: true, role: Role::Client, ..setup().options };
    let outcome = run(&PROTOCOL, &steps, Setup { options, ..setup() });
    assert_eq!(outcome.summaries(), expected);
    for record in [1, 3] {
        assert_eq!(field(&outcome.records[record], "auth_bytes"), Some(&bytes("\0me\0hunter2")));
    }
}

#[test]
fn newer_versions_and_apis_are_named_and_not_failed() {
    let steps = [
        send(request(1, 30, 1, b"\x00", b"who knows")),
        recv(response(1, b"\x00", b"what")),
        send(request(60, 0, 2, b"\x00", b"\x00\x01\x00")),
        recv(response(2, b"\x00", b"what")),
        send(request(120, 0, 3, b"\x00", b"who knows")),
        recv(response(3, b"", b"what")),
    ];
    let outcome =
        check(&steps, &["Fetch v30 -> 9 bytes", "DescribeCluster v0 -> 9 bytes", "api 120 v0 -> 8 bytes"]);
    for (record, why) in outcome.records.iter().zip(["a newer version", "the body", "the body"]) {
        assert_eq!(record.causes(), [Cause::Unsupported]);
        assert_eq!(field(record, "undecoded"), Some(&Value::Text(why.into())));
    }
}

#[test]
fn which_end_is_the_client_is_told_by_content() {
    for role in [Role::Client, Role::Server, Role::Unknown] {
        let options = Options { role, ..setup().options };
        let outcome = run(&PROTOCOL, &[send(heartbeat(1)), recv(alive(1))], Setup { options, ..setup() });
        assert_eq!(outcome.summaries(), ["Heartbeat v0 group=g -> ok"], "{role:?}");
    }
}
