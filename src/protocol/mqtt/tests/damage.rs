//! What is lost, what is not well-formed, what was before, and what is long.

use super::*;
use crate::event::{Cause, Direction, Range};
use crate::protocol::testing::{Random, bytes, cut, recv, run, run_counted, run_in_cuts, send, word};

fn gap(direction: Direction, length: u64) -> Step {
    Step::Gap(direction, length, Cause::RingFull)
}

fn summaries(steps: &[Step], setup: Setup) -> Vec<String> {
    run(&PROTOCOL, steps, setup).summaries()
}

#[test]
fn what_breaks_the_standard_is_a_parse_error() {
    // The bytes, how many of them prove it, and the reason.
    let rows: [(&[u8], u64, &str); 16] = [
        (b"\x00\x00", 1, "a control packet of the reserved type 0"),
        (b"\x36\x05\0\x01t\0\x01", 1, "PUBLISH with the flags 0110"),
        (b"\x38\x03\0\x01t", 1, "PUBLISH with the flags 1000"),
        (b"\x60\x02\0\x01", 1, "PUBREL with the flags 0000"),
        (b"\x80\x06\0\x01\0\x01t\0", 1, "SUBSCRIBE with the flags 0000"),
        (b"\xc1\0", 1, "PINGREQ with the flags 0001"),
        (b"\x30\xff\xff\xff\xff\x01", 5, "a remaining length of PUBLISH that never ends"),
        (b"\xc0\x01x", 2, "PINGREQ with the remaining length 1"),
        (b"\xf0\0", 1, "AUTH in a version before 5.0"),
        (b"\x40\x03\0\x01\0", 2, "PUBACK with the remaining length 3"),
        (b"\x30\x03\0\x09t", 5, "PUBLISH: a topic that goes beyond the packet"),
        (b"\x30\x03\0\0t", 5, "PUBLISH: neither a topic nor an alias of one"),
        (b"\x82\x06\0\x01\0\x01t\x03", 8, "SUBSCRIBE: a requested QoS that there is not"),
        (b"\x82\x07\0\x01\0\x01t\0\0", 9, "SUBSCRIBE: it ends inside a field"),
        (b"\xa2\x05\0\x01\0\0x", 7, "UNSUBSCRIBE: a topic filter without a character"),
        (b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01c", 15, "CONNECT: the reserved connect flag"),
    ];
    for (broken, proof, reason) in rows {
        let outcome = run_in_cuts(&PROTOCOL, &[send([CONNECT, broken].concat())], setup());
        let from = CONNECT.len() as u64;
        let expected =
            (Direction::Send, Range::new(from, from + proof), Cause::ParseError, reason.to_owned());
        assert_eq!(outcome.skipped[0], expected);
        assert_eq!(outcome.records.len(), 1, "{reason}: {:?}", outcome.summaries());
    }
}

#[test]
fn what_breaks_5_0_is_a_parse_error() {
    let rows: [(&[u8], u64, &str); 9] = [
        (b"\xc0\x80\0", 3, "a remaining length of PINGREQ in more bytes than it takes"),
        (b"\x30\x05\0\x01t\x01\x7f", 7, "PUBLISH: a property that is not known"),
        (b"\x30\x07\0\x01t\x03\x21\0\x01", 9, "PUBLISH: a property of other packets"),
        (b"\x30\x08\0\x01t\x04\x01\0\x01\0", 10, "PUBLISH: a property twice"),
        (b"\x30\x06\0\x01t\x02\x01\x02", 8, "PUBLISH: a property that is neither 0 nor 1"),
        (b"\x30\x06\0\x01t\x02\x03\0", 8, "PUBLISH: a property that goes beyond the length of all"),
        (b"\x30\x05\0\x01t\x09\x01", 7, "PUBLISH: it ends inside a field"),
        (b"\x30\x06\0\x01t\x80\0x", 8, "PUBLISH: a variable byte integer in more bytes than it takes"),
        (b"\x82\x07\0\x01\0\0\x01t\x40", 9, "SUBSCRIBE: subscription options that are reserved"),
    ];
    for (broken, proof, reason) in rows {
        let outcome = run_in_cuts(&PROTOCOL, &[send([CONNECT_5, broken].concat())], setup());
        let from = CONNECT_5.len() as u64;
        let expected =
            (Direction::Send, Range::new(from, from + proof), Cause::ParseError, reason.to_owned());
        assert_eq!(outcome.skipped[0], expected);
    }
}

#[test]
fn a_longer_length_than_needed_was_allowed_before() {
    let steps = [send(CONNECT), send(b"\xc0\x80\0"), recv(b"\xd0\0")];
    let expected = ["PINGREQ -> PINGRESP", "CONNECT c MQTT 3.1.1 [no-response]"];
    assert_eq!(run_in_cuts(&PROTOCOL, &steps, setup()).summaries(), expected);
}

#[test]
fn a_large_payload_streams_through() {
    // 268,435,455 bytes, the most there can be: a topic "t" and the payload.
    let mut steps = vec![send(CONNECT), send(b"\x30\xff\xff\xff\x7f\0\x01t")];
    let piece = vec![b'x'; 1 << 20];
    let mut left = 268_435_455 - 3;
    while left > 0 {
        let count = piece.len().min(left);
        steps.push(send(&piece[..count]));
        left -= count;
    }
    steps.push(send(b"\xc0\0"));
    let few = Options { max_field: 4, ..Options::default() };
    let (outcome, offered) = run_counted(&PROTOCOL, &steps, Setup { options: few, ..Setup::default() });
    assert_eq!(outcome.summaries()[0], "PUBLISH t QoS 0 268435452 bytes");
    assert_eq!(value(&outcome, 0, "payload_length"), Value::Number(268_435_452));
    assert_eq!(value(&outcome, 0, "payload"), bytes("xxxx"));
    assert_eq!(outcome.records[0].causes(), [Cause::FieldTruncated]);
    assert!(outcome.summaries().contains(&"PINGREQ [no-response]".to_owned()));
    assert!(offered < 270_000_000, "bytes are offered again and again: {offered}");
}

#[test]
fn a_gap_inside_a_payload_leaves_its_end_known() {
    let steps = [
        send(CONNECT),
        recv(CONNACK),
        send(b"\x32\x0a\0\x01t\0\x07ab"),
        gap(Direction::Send, 2),
        send(b"e"),
        recv(b"\x40\x02\0\x07"),
        send(b"\xc0\0"),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected = [
        "CONNECT c MQTT 3.1.1 -> CONNACK Connection Accepted",
        "PUBLISH t QoS 1 5 bytes -> PUBACK [truncated]",
        "PINGREQ [no-response]",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(value(&outcome, 1, "payload"), bytes("ab"));
    assert_eq!(outcome.skipped, []);
}

#[test]
fn behind_a_gap_identifiers_tell_what_is_answered() {
    let steps = [
        send(CONNECT),
        recv(CONNACK),
        send(b"\x32\x05\0\x01t\0\x01"),
        gap(Direction::Recv, 4),
        // The identifier is used again: the answer to the first was in the gap.
        send(b"\x32\x06\0\x01t\0\x01x"),
        recv(b"\x40\x02\0\x01"),
        gap(Direction::Send, 7),
        recv(b"\x40\x02\0\x02"),
    ];
    let expected = [
        "CONNECT c MQTT 3.1.1 -> CONNACK Connection Accepted",
        "PUBLISH t QoS 1 0 bytes [no-response]",
        "PUBLISH t QoS 1 1 bytes -> PUBACK",
        "PUBACK [no-request]",
    ];
    assert_eq!(summaries(&steps, setup()), expected);
}

#[test]
fn an_alias_is_unknown_behind_a_gap() {
    let steps = [
        send(CONNECT_5),
        recv(CONNACK_5),
        send(b"\x30\x0a\0\x03a/b\x03\x23\0\x01x"),
        gap(Direction::Send, 12),
        send(b"\x30\x06\0\0\x03\x23\0\x01\xc0\0"),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries()[2], "PUBLISH (topic: unknown) QoS 0 0 bytes");
    assert_eq!(value(&outcome, 2, "topic"), word("unknown"));
    assert_eq!(property(&outcome, 2, "Topic Alias"), Some(Value::Number(1)));
}

#[test]
fn the_next_packet_is_found_by_several_and_never_by_one() {
    // Behind the gap comes the rest of a payload that itself looks like PINGREQ, then whole packets.
    let whole = b"\x30\x0e\0\x05topicpayload\x32\x0b\0\x05topic\0\x05hi\xc0\0";
    let rest = [&b"some text 0 \xc0\0 and more"[..], whole].concat();
    let steps = [send(CONNECT), gap(Direction::Send, 100), send(&rest)];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected = [
        "CONNECT c MQTT 3.1.1 [no-response]",
        "PUBLISH topic QoS 0 7 bytes",
        "PUBLISH topic QoS 1 2 bytes [no-response]",
        "PINGREQ [no-response]",
    ];
    let mut all = outcome.summaries();
    all.sort_by_key(|one| expected.iter().position(|other| other == one));
    assert_eq!(all, expected);
    // A lone short one is not taken out of the middle of something.
    let steps = [send(CONNECT), gap(Direction::Send, 100), send(b"some text 0 \xc0\0")];
    assert_eq!(summaries(&steps, setup()), ["CONNECT c MQTT 3.1.1 [no-response]"]);
}

/// What each version makes certain, in a connection of which the beginning was not seen.
#[test]
fn the_version_is_learned_from_what_only_one_has() {
    let publish = b"\x30\x05\0\x01t\0x";
    let unknown = "PUBLISH t QoS 0 2 bytes";
    // Before, and after a packet that tells.
    let rows: [(&[u8], &str); 6] = [
        (b"\x82\x07\0\x01\0\0\x01a\0", "PUBLISH t QoS 0 1 bytes"),
        (b"\x82\x06\0\x01\0\x01a\0", "PUBLISH t QoS 0 2 bytes"),
        (b"\x40\x04\0\x01\0\0", "PUBLISH t QoS 0 1 bytes"),
        (b"\xa2\x08\0\x01\0\0\x03a/b", "PUBLISH t QoS 0 1 bytes"),
        (b"\x30\x07\0\0\x03\x23\0\x01y", "PUBLISH t QoS 0 1 bytes"),
        (b"\x30\x07\0\x03a/bhi", "PUBLISH t QoS 0 2 bytes"),
    ];
    for (telling, after) in rows {
        let steps = [send([&publish[..], publish, telling, publish].concat())];
        let outcome = run(&PROTOCOL, &steps, inside());
        let publishes: Vec<usize> = (0..outcome.records.len())
            .filter(|&at| outcome.summaries()[at].starts_with("PUBLISH t "))
            .collect();
        let [first, .., last] = publishes[..] else { panic!("{:?}", outcome.summaries()) };
        assert_eq!(outcome.summaries()[first], unknown);
        assert_eq!(value(&outcome, first, "protocol_version"), word("unknown"));
        assert_eq!(value(&outcome, first, "properties_and_payload"), bytes("\0x"));
        assert_eq!(outcome.summaries()[last], after, "{telling:?}");
        assert_eq!(field(&outcome.records[last], "protocol_version"), None);
    }
}

/// A line end in a text is no reason to take a version for the other.
#[test]
fn a_version_is_not_guessed() {
    let publish = b"\x30\x0c\0\x01t\x08\x26\0\x02\n\n\0\x01v";
    let outcome = run(&PROTOCOL, &[send([&publish[..], publish].concat())], inside());
    assert_eq!(outcome.summaries(), ["PUBLISH t QoS 0 9 bytes"; 2]);
    assert_eq!(value(&outcome, 1, "protocol_version"), word("unknown"));
}

#[test]
fn an_answer_of_either_version_says_that_its_codes_are_unknown() {
    // A property length of 0 and two codes, or three codes.
    let steps = [recv(b"\x90\x05\0\x01\0\x01\x01\x90\x05\0\x02\0\x01\x01")];
    let outcome = run(&PROTOCOL, &steps, inside());
    assert_eq!(outcome.summaries(), ["SUBACK [no-request]", "SUBACK [no-request]"]);
    assert_eq!(value(&outcome, 0, "reason_codes"), word("unknown"));
}

#[test]
fn topics_of_aliases_have_a_bound() {
    let topic = vec![b'a'; 65535];
    let mut data = CONNECT_5.to_vec();
    for alias in 1..=20u8 {
        // A remaining length of 65541 or so, in three bytes.
        let remaining = 2 + topic.len() + 4;
        data.extend([
            0x30,
            remaining as u8 & 0x7f | 0x80,
            (remaining >> 7) as u8 | 0x80,
            (remaining >> 14) as u8,
        ]);
        data.extend(b"\xff\xff");
        data.extend(&topic);
        data.extend([3, 0x23, 0, alias]);
    }
    data.extend(b"\x30\x06\0\0\x03\x23\0\x01\x30\x06\0\0\x03\x23\0\x14");
    let outcome = run(&PROTOCOL, &[send(data)], setup());
    assert!(outcome.summaries()[20].starts_with("PUBLISH aaaa"));
    assert_eq!(outcome.summaries()[21], "PUBLISH (topic: unknown) QoS 0 0 bytes");
    assert_eq!(outcome.records[20].causes(), [Cause::FieldTruncated]);
}

/// As Mosquitto reads: a byte, a byte, and the rest.
#[test]
fn a_packet_that_is_read_in_pieces_begins_where_the_first_call_did() {
    let message = b"\x32\x1f\0\x1bsensors/kitchen/temperature\0\x01".as_slice();
    let steps = [recv(message), send(b"\x40"), send(b"\x02"), send(b"\0\x01"), send(b"\xe0"), send(b"\0")];
    let outcome = run(&PROTOCOL, &steps, inside());
    let expected = ["PUBLISH sensors/kitchen/temperature QoS 1 0 bytes -> PUBACK", "DISCONNECT"];
    assert_eq!((outcome.summaries().as_slice(), outcome.skipped), (&expected.map(str::to_owned)[..], vec![]));
    // A large one, of which the beginning comes byte by byte.
    let mut steps = [b"\x30\x80\x80\x04\0\x08sensors/".as_slice()].map(send).to_vec();
    steps = cut(&steps, || 1);
    steps.push(send(vec![b'x'; 65536 - 10]));
    let outcome = run(&PROTOCOL, &steps, inside());
    assert_eq!(outcome.summaries(), ["PUBLISH sensors/ QoS 0 65526 bytes"]);
}

/// [`run`] checks that every byte is accounted for once.
#[test]
fn any_bytes_are_accounted_for() {
    let connection = [
        &b"\x82\x0c\0\x0a\x03\x0b\xac\x02\0\x03a/b\x2d\x32\x1a\0\x03a/b\0\x01\x10\x03\0\x01t\x02\0\0\0\x3c"[..],
        b"\x26\0\x01k\0\x01vhi\x40\x03\0\x01\x10\x30\x07\0\0\x03\x23\0\x01y\x90\x04\0\x0a\0\x01",
        b"\x62\x02\0\x02\xb0\x04\0\x0b\0\x11\xc0\0\xf0\x06\x19\x04\x15\0\x01m\xe0\x06\x8b\x04\x1c\0\x01s",
    ]
    .concat();
    let mut random = Random(0x4d51_5454);
    let mut records = 0;
    for round in 0..600 {
        let mut data = [CONNECT, CONNECT_5, b""][round % 3].to_vec();
        data.extend(&connection);
        for _ in 0..1 + random.below(6) {
            let at = random.below(data.len());
            data[at] = [random.below(256) as u8, data[at].wrapping_add(1), 0, 0xff][random.below(4)];
        }
        let steps = [send(&data), recv(&data)];
        for setup in [setup(), inside()] {
            let pieces = cut(&steps, || 1 + random.below(32));
            records += run(&PROTOCOL, &pieces, setup).records.len();
        }
    }
    assert!(records > 600, "nothing is read of what is damaged: {records}");
}
