//! Messages, control frames, and rules that peers break.

use super::{PLAIN, PROTOCOL_COPY, after, agreement, all, client, server, setup};
use crate::event::{Cause, Direction, Range};
use crate::protocol::testing::{Setup, Step, bytes, check_whole, field, recv, run, run_counted, send, word};
use crate::protocol::{Agreement, Options, Parser, Protocol};
use crate::record::{Status, Value};

#[test]
fn the_examples_of_rfc_6455_are_understood() {
    // Section 5.7.
    let steps = [
        recv([0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]),
        send([0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]),
        recv([0x01, 0x03, 0x48, 0x65, 0x6c]),
        recv([0x80, 0x02, 0x6c, 0x6f]),
        recv([0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]),
        send([0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]),
        recv([&[0x82, 0x7e, 0x01, 0x00][..], &[7; 256]].concat()),
        recv([&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[7; 65536]].concat()),
    ];
    let outcome = check_whole(
        &PLAIN,
        &steps,
        setup(),
        &[
            "text 5 bytes: Hello",
            "text 5 bytes: Hello",
            "text 5 bytes: Hello",
            "ping 5 bytes -> pong 5 bytes",
            "binary 256 bytes",
            "binary 65536 bytes",
        ],
    );
    let [first, second, third, ping, ..] = &outcome.records[..] else { panic!("records") };
    assert_eq!((&first.request, first.response.as_ref().unwrap().direction), (&None, Direction::Recv));
    assert_eq!((&second.response, second.request.as_ref().unwrap().direction), (&None, Direction::Send));
    for record in [first, second, third] {
        assert_eq!(field(record, "payload"), Some(&bytes("Hello")));
        assert_eq!(field(record, "opcode"), Some(&word("text")));
    }
    assert_eq!(field(third, "fragments"), Some(&Value::Number(2)));
    assert_eq!(ping.request.as_ref().unwrap().direction, Direction::Recv);
    assert!(crate::protocol::websocket::PROTOCOL.is_routine(ping));
    assert!(!crate::protocol::websocket::PROTOCOL.is_routine(third));
    assert_eq!(field(ping, "payload"), Some(&bytes("Hello")));
    assert_eq!(outcome.records[5].causes(), [Cause::FieldTruncated]);
    assert_eq!(outcome.records[5].status, Status::Complete);
}

#[test]
fn control_frames_come_between_fragments() {
    let steps = [
        recv(all(&[
            server(0x01, "a\u{e4}".as_bytes().split_last().unwrap().1),
            server(0x89, "?"),
            server(0x00, [0xa4]),
        ])),
        send(client(0x8a, "?")),
        recv(server(0x80, "c")),
    ];
    let outcome =
        check_whole(&PLAIN, &steps, setup(), &["ping 1 bytes -> pong 1 bytes", "text 4 bytes: aäc"]);
    let message = outcome.records[1].response.as_ref().unwrap();
    assert_eq!(message.parts, [Range::new(0, 4), Range::new(7, 13)]);
    assert_eq!(message.field("fragments"), Some(&Value::Number(3)));
}

#[test]
fn pongs_are_paired_with_their_pings() {
    let steps = [
        recv(all(&[server(0x89, "1"), server(0x89, "2"), server(0x89, "3")])),
        // Only the newest but one is answered, then a heartbeat, then the last.
        send(all(&[client(0x8a, "2"), client(0x8a, "beat"), client(0x8a, "3")])),
        send(all(&[client(0x89, ""), client(0x89, "")])),
        recv(all(&[server(0x8a, ""), server(0x8a, ""), server(0x8a, "")])),
    ];
    check_whole(
        &PLAIN,
        &steps,
        setup(),
        &[
            "ping 1 bytes [no-response]",
            "ping 1 bytes -> pong 1 bytes",
            "pong 4 bytes",
            "ping 1 bytes -> pong 1 bytes",
            "ping 0 bytes -> pong 0 bytes",
            "ping 0 bytes -> pong 0 bytes",
            "pong 0 bytes",
        ],
    );
}

#[test]
fn the_latency_of_a_ping_is_known() {
    let steps = [send(client(0x89, "x")), recv(server(0x8a, "x"))];
    let outcome = run(&PLAIN, &steps, Setup { pause: 1000, ..setup() });
    assert_eq!(outcome.records[0].latency(), Some(1000));
}

#[test]
fn a_close_is_paired_with_the_other_sides() {
    let steps = [send(client(0x88, b"\x03\xe9bye")), recv(server(0x88, b"\x03\xe9"))];
    let summary = "close 1001 Going Away: bye -> close 1001 Going Away";
    let outcome = check_whole(&PLAIN, &steps, setup(), &[summary]);
    let close = outcome.records[0].request.as_ref().unwrap();
    assert_eq!(close.field("code"), Some(&Value::Number(1001)));
    assert_eq!(close.field("code_name"), Some(&word("Going Away")));
    assert_eq!(close.field("reason"), Some(&bytes("bye")));
    assert!(!(super::PROTOCOL.endpoint)(&outcome.records[0]).failed);
    let outcome = check_whole(&PLAIN, &[recv(server(0x88, ""))], setup(), &["close [no-response]"]);
    assert!(!(super::PROTOCOL.endpoint)(&outcome.records[0]).failed);
    let steps = [recv(server(0x88, b"\x03\xf3")), send(client(0x88, b"\x0f\xa1"))];
    let summary = "close 1011 Internal Error -> close 4001 private use";
    let outcome = check_whole(&PLAIN, &steps, setup(), &[summary]);
    let endpoint = (super::PROTOCOL.endpoint)(&outcome.records[0]);
    assert_eq!((endpoint.name.as_str(), endpoint.failed), ("close", true));
}

#[test]
fn a_wrong_close_says_what_is_wrong() {
    let cases: [(&[u8], &str); 7] = [
        (b"\x03", "a status code of one byte"),
        (b"\x03\xe7", "a status code below 1000"),
        (b"\x03\xed", "a status code that is never sent"),
        (b"\x03\xec", "a reserved status code"),
        (b"\x07\xd0", "a reserved status code"),
        (b"\x13\x88", "a status code above 4999"),
        (b"\x03\xe8\xff", "a reason that is not UTF-8"),
    ];
    for (payload, wrong) in cases {
        let outcome = run(&PLAIN, &[recv(server(0x88, payload))], setup());
        assert_eq!(field(&outcome.records[0], "error"), Some(&word(wrong)));
        assert!(outcome.records[0].causes().contains(&Cause::ParseError), "{wrong}");
    }
}

#[test]
fn what_breaks_the_rules_is_named() {
    let long = [&[0x88, 0x7e, 0x00, 0x7e][..], &[b'x'; 126]].concat();
    let cases: [(Vec<u8>, Vec<u8>, &str); 11] = [
        (server(0x81, "x"), server(0x83, "x"), "a reserved opcode"),
        (server(0x81, "x"), server(0x8b, "x"), "a reserved opcode"),
        (server(0x81, "x"), server(0x09, "x"), "a fragmented control frame"),
        (server(0x81, "x"), long, "a control frame of more than 125 bytes"),
        (server(0x81, "x"), server(0xc1, "x"), "a reserved bit (RSV1) that no extension uses"),
        (server(0x81, "x"), server(0xa1, "x"), "a reserved bit (RSV2 or RSV3) that no extension uses"),
        (server(0x81, "x"), server(0x80, "x"), "a continuation of no message"),
        (server(0x01, "x"), server(0x81, "x"), "a new message between the fragments of another"),
        (server(0x88, ""), server(0x81, "x"), "a frame behind the close"),
        (server(0x81, "x"), vec![0x82, 0x7e, 0, 5], "a length in more bytes than it needs"),
        (server(0x81, "x"), vec![0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], "a length with its highest bit set"),
    ];
    for (right, wrong, reason) in cases {
        let outcome = run(&PLAIN, &[recv(right), recv(wrong)], setup());
        let (_, _, cause, said) = &outcome.skipped[0];
        assert_eq!((*cause, said.as_str()), (Cause::ParseError, reason));
    }
}

#[test]
fn behind_a_frame_out_of_place_the_next_one_is_read() {
    let steps = [recv(all(&[server(0x81, "a"), server(0x80, "c"), server(0x81, "d")]))];
    let outcome = run(&PLAIN, &steps, setup());
    assert_eq!(outcome.summaries(), ["text 1 bytes: a", "text 1 bytes: d"]);
    let ranges: Vec<Range> = outcome.skipped.iter().map(|skip| skip.1).collect();
    assert_eq!(ranges, [Range::new(3, 6)]);
}

#[test]
fn a_wrong_mask_is_named_and_the_message_is_read() {
    let steps = [
        recv(all(&[client(0x81, "server"), server(0x81, "right")])),
        send(all(&[server(0x89, "client"), server(0x01, "cl"), client(0x80, "ient")])),
        recv(server(0x8a, "client")),
    ];
    let outcome = run(&PLAIN, &steps, setup());
    let errors: Vec<_> = outcome.records.iter().map(|record| field(record, "error").cloned()).collect();
    let [unmasked, masked] =
        ["a frame of the client that is not masked", "a masked frame of the server"].map(word);
    assert_eq!(errors, [Some(masked), None, Some(unmasked.clone()), Some(unmasked)]);
    assert_eq!(outcome.records[0].causes(), [Cause::ParseError]);
    let said = [
        "text 6 bytes: server",
        "text 5 bytes: right",
        "text 6 bytes: client",
        "ping 6 bytes -> pong 6 bytes",
    ];
    let summaries: Vec<&str> = outcome.records.iter().map(|record| record.summary.as_str()).collect();
    assert_eq!(summaries, said);
    // Who never masks is found again behind a loss all the same.
    let steps = [
        send(server(0x81, "before")),
        Step::Gap(Direction::Send, 10, Cause::RingFull),
        send(all(&[b"tail".to_vec(), server(0x81, "long enough to be believed")])),
    ];
    assert_eq!(run(&PLAIN, &steps, setup()).records[1].summary, "text 26 bytes: long enough to be believed");
}

#[test]
fn text_that_is_not_utf_8_is_named() {
    let wrong = [&b"\xff"[..], b"abc\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"];
    for text in wrong {
        let steps = [recv(server(0x81, text))];
        let outcome = run(&PLAIN, &steps, setup());
        assert_eq!(field(&outcome.records[0], "error"), Some(&word("the text is not UTF-8")), "{text:?}");
        assert_eq!(outcome.records[0].causes(), [Cause::ParseError]);
    }
    // Cut anywhere, this is right.
    let text = "κόσμε €🎉";
    let fragments: Vec<Step> = (0..text.len())
        .map(|at| recv(server(if at == 0 { 0x01 } else { 0x00 }, &text.as_bytes()[at..=at])))
        .chain([recv(server(0x80, ""))])
        .collect();
    let expected = format!("text {} bytes: {text}", text.len());
    check_whole(&PLAIN, &fragments, setup(), &[&expected]);
}

#[test]
fn the_subprotocol_is_shown() {
    let protocol = Protocol { parser: |options| after("", "graphql-ws", options), ..PROTOCOL_COPY };
    let outcome = run(&protocol, &[recv(server(0x81, "x"))], setup());
    assert_eq!(field(&outcome.records[0], "subprotocol"), Some(&bytes("graphql-ws")));
    assert_eq!((super::PROTOCOL.endpoint)(&outcome.records[0]).name, "graphql-ws text");
}

#[test]
fn a_subprotocol_that_was_offered_and_whose_choice_is_lost_is_unknown() {
    fn behind_a_lost_answer(offer: &str, options: Options) -> Box<dyn Parser + Send> {
        // Of the request only its headers matter.
        let Agreement { client, answer: asked, .. } = agreement("", offer);
        let mut parser = (super::PROTOCOL.parser)(options);
        parser.take_over(Agreement { client, asked, answer: None });
        parser
    }
    let offered = Protocol { parser: |options| behind_a_lost_answer("v1, v2", options), ..PROTOCOL_COPY };
    let none = Protocol { parser: |options| behind_a_lost_answer("", options), ..PROTOCOL_COPY };
    let shown = |protocol: &Protocol| {
        let outcome = run(protocol, &[recv(server(0x81, "x"))], setup());
        assert_eq!((super::PROTOCOL.endpoint)(&outcome.records[0]).name, "text");
        field(&outcome.records[0], "subprotocol").cloned()
    };
    assert_eq!(shown(&offered), Some(Value::Text("unknown".into())));
    assert_eq!(shown(&none), None);
}

#[test]
fn what_an_unknown_extension_does_is_not_guessed() {
    let protocol = Protocol { parser: |options| after("x-rot13; level=2", "", options), ..PROTOCOL_COPY };
    let steps = [recv(all(&[server(0xc1, "uryyb"), server(0xa2, "x"), server(0x81, "plain")]))];
    let outcome = run(&protocol, &steps, setup());
    assert_eq!(outcome.summaries(), ["text 5 bytes compressed", "binary 1 bytes", "text 5 bytes: plain"]);
    assert_eq!(field(&outcome.records[0], "extension"), Some(&bytes("x-rot13")));
    assert_eq!(outcome.records[0].causes(), [Cause::Unsupported]);
}

#[test]
fn a_message_of_any_size_streams_through() {
    const SIZE: usize = 512 << 20;
    let key = [0; 4];
    let mut steps = vec![send([&[0x82, 0xff][..], &(SIZE as u64).to_be_bytes(), &key].concat())];
    let piece = vec![b'x'; 1 << 20];
    steps.extend((0..SIZE >> 20).map(|_| send(&piece)));
    steps.push(send(client(0x81, "end")));
    let moved: u64 =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() as u64 } else { 0 }).sum();
    let (outcome, offered) = run_counted(&PLAIN, &steps, setup());
    assert_eq!(offered, moved, "no byte is offered twice: none is held back");
    assert_eq!(outcome.summaries(), ["binary 536870912 bytes", "text 3 bytes: end"]);
    let Some(Value::Bytes(payload)) = field(&outcome.records[0], "payload") else { panic!("a payload") };
    assert_eq!((payload.len(), outcome.records[0].causes()), (4096, vec![Cause::FieldTruncated]));
}

#[test]
fn without_fields_nothing_is_kept() {
    let steps = [recv(all(&[server(0x81, "secret"), server(0x89, "secret")]))];
    let outcome = run(&PLAIN, &steps, Setup { options: Options::default(), ..setup() });
    assert_eq!(outcome.summaries(), ["text 6 bytes", "ping 6 bytes [no-response]"]);
    assert!(!format!("{:?}", outcome.records).contains("secret"));
    assert_eq!(outcome.records[0].causes(), []);
}
