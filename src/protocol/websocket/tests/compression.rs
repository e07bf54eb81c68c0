//! permessage-deflate: contexts, what is missing of them, and bounds.

use super::super::content::INFLATED_MAX;
use super::{ALONE, DEFLATE, PROTOCOL, all, client, server, setup};
use crate::event::Cause;
use crate::protocol::testing::{Setup, Step, bytes, check_whole, field, recv, run, send, word};
use crate::record::{Status, Value};
use flate2::{Compress, Compression, FlushCompress};

/// The compressor of one side, with its context.
struct Deflater(Compress);

impl Deflater {
    fn new() -> Deflater {
        Deflater(Compress::new(Compression::best(), false))
    }

    /// One message, as RFC 7692, section 7.2.1 makes it.
    fn message(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(text.len() + 1024);
        self.0.compress_vec(text, &mut out, FlushCompress::Sync).expect("compressed");
        assert!(out.ends_with(&[0, 0, 0xff, 0xff]), "flushed");
        out.truncate(out.len() - 4);
        out
    }
}

#[test]
fn the_examples_of_rfc_7692_are_understood() {
    let hello = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    let steps = [
        // Section 7.2.3.1: one block, whole and in fragments.
        recv([&[0xc1, 0x07][..], &hello].concat()),
        recv([0x41, 0x03, 0xf2, 0x48, 0xcd]),
        recv([0x80, 0x04, 0xc9, 0xc9, 0x07, 0x00]),
        // Section 7.2.3.2: the second message refers to the first.
        recv([0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00]),
        // Section 7.2.3.3: a block without compression.
        recv([0xc1, 0x0b, 0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00]),
        // Section 7.2.3.4: a block that says to be the last; what follows still refers to what came before.
        recv([0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00]),
        recv([0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00]),
        // Section 7.2.3.5: two blocks in one message.
        recv([0xc1, 0x0d, 0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00]),
        // Section 7.2.3.6: an empty message.
        recv([0xc1, 0x01, 0x00]),
        // Not compressed.
        recv(server(0x81, "Hello")),
    ];
    let outcome = check_whole(
        &DEFLATE,
        &steps,
        setup(),
        &[
            "text 5 bytes (7 compressed): Hello",
            "text 5 bytes (7 compressed): Hello",
            "text 5 bytes (5 compressed): Hello",
            "text 5 bytes (11 compressed): Hello",
            "text 5 bytes (8 compressed): Hello",
            "text 5 bytes (5 compressed): Hello",
            "text 5 bytes (13 compressed): Hello",
            "text 0 bytes (1 compressed)",
            "text 5 bytes: Hello",
        ],
    );
    let first = &outcome.records[0];
    assert_eq!(field(first, "extension"), Some(&bytes("permessage-deflate")));
    assert_eq!(field(first, "payload_length"), Some(&Value::Number(7)));
    assert_eq!(field(first, "inflated_length"), Some(&Value::Number(5)));
    assert!(outcome.records.iter().all(|record| record.causes().is_empty()));
}

#[test]
fn each_direction_has_its_own_context() {
    let (mut ours, mut theirs) = (Deflater::new(), Deflater::new());
    let mut steps = Vec::new();
    let mut expected = Vec::new();
    for n in 0..20 {
        let text = format!("{{\"id\":{n},\"method\":\"subscribe\",\"channel\":\"prices\"}}");
        let message = ours.message(text.as_bytes());
        let length = message.len();
        steps.push(send(client(0xc1, &message)));
        expected.push(format!("text {} bytes ({length} compressed): {text}", text.len()));
        let text = format!("prices {n} {n} {n}");
        let message = theirs.message(text.as_bytes());
        let length = message.len();
        steps.push(recv(server(0xc1, &message)));
        expected.push(format!("text {} bytes ({length} compressed): {text}", text.len()));
    }
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_whole(&DEFLATE, &steps, setup(), &expected);
}

/// Three messages of one context: the second refers to the first, the third only to itself and the second.
fn related() -> [Vec<u8>; 3] {
    let mut deflater = Deflater::new();
    [
        &b"The quick brown fox jumps"[..],
        b"The quick brown fox jumps again",
        b"The quick brown fox jumps again",
    ]
    .map(|text| server(0xc1, deflater.message(text)))
}

#[test]
fn behind_a_loss_what_refers_to_it_is_not_guessed() {
    let [first, second, third] = related();
    let lost = Step::Gap(crate::event::Direction::Recv, first.len() as u64, Cause::RingFull);
    let steps =
        [lost.clone(), recv(all(&[second.clone(), third.clone(), server(0x81, "not compressed, and read")]))];
    let outcome = run(&DEFLATE, &steps, setup());
    for record in &outcome.records[..2] {
        assert_eq!(field(record, "undecoded"), Some(&word("what it refers to was lost")));
        assert_eq!((record.causes(), record.status), (vec![Cause::Unsupported], Status::Complete));
        assert_eq!(field(record, "payload"), None);
    }
    assert_eq!(outcome.summaries()[2], "text 24 bytes: not compressed, and read");
    // A message that refers to nothing is right, and so is what refers to it.
    let mut deflater = Deflater::new();
    let fresh = ["A message of its own", "A message of its own, twice"]
        .map(|text| server(0xc1, deflater.message(text.as_bytes())));
    let steps =
        [lost.clone(), recv(all(&[second, fresh.concat(), server(0x81, "plain text to be found by")]))];
    let summaries = run(&DEFLATE, &steps, setup()).summaries();
    assert!(summaries[0].ends_with("bytes compressed"), "{summaries:?}");
    assert!(summaries[1].ends_with(": A message of its own"), "{summaries:?}");
    assert!(summaries[2].ends_with(": A message of its own, twice"), "{summaries:?}");
    // Without a context that is taken over, nothing is missing.
    let alone: Vec<Vec<u8>> = ["one one one", "two two two", "three three three", "four", "five", "six"]
        .map(|text| server(0xc1, Deflater::new().message(text.as_bytes())))
        .to_vec();
    let outcome = run(&ALONE, &[lost, recv(all(&alone))], setup());
    assert!(outcome.summaries()[0].ends_with(": one one one"), "{:?}", outcome.summaries());
    assert!(outcome.records.iter().all(|record| record.causes().is_empty()));
}

#[test]
fn a_gap_inside_a_compressed_message_breaks_the_context() {
    let [first, second, third] = related();
    let hole = Step::Gap(crate::event::Direction::Recv, 4, Cause::RingFull);
    let (head, tail) = (&first[..6], &first[10..]);
    let steps = [recv(head), hole, recv(all(&[tail.to_vec(), second, third]))];
    let outcome = run(&DEFLATE, &steps, setup());
    assert_eq!(
        (outcome.records[0].status, outcome.records[0].causes()),
        (Status::Truncated, vec![Cause::RingFull])
    );
    for record in &outcome.records[1..] {
        let why = word("bytes of a message before it are missing");
        assert_eq!(field(record, "undecoded"), Some(&why));
    }
}

#[test]
fn what_is_not_deflate_is_named() {
    let steps = [recv(all(&[server(0xc1, [0xff; 8]), server(0xc1, [0xff; 8]), server(0x81, "on")]))];
    let outcome = run(&DEFLATE, &steps, setup());
    assert_eq!(field(&outcome.records[0], "error"), Some(&word("not DEFLATE data")));
    assert!(outcome.records[0].causes().contains(&Cause::ParseError));
    let why = word("a message before it could not be inflated");
    assert_eq!(field(&outcome.records[1], "undecoded"), Some(&why));
    assert_eq!(outcome.summaries()[2], "text 2 bytes: on");
}

#[test]
fn compressed_text_is_checked() {
    let steps = [recv(server(0xc1, Deflater::new().message(b"ab\xffcd")))];
    let outcome = run(&DEFLATE, &steps, setup());
    assert_eq!(field(&outcome.records[0], "error"), Some(&word("the text is not UTF-8")));
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let mut deflater = Deflater::new();
    let zeros = vec![0; 1 << 20];
    let [first, next] = [(); 2].map(|()| [deflater.message(&zeros), vec![0, 0, 0xff, 0xff]].concat());
    // Behind as many zeros, more of them look the same.
    let bomb = [first, next.repeat((INFLATED_MAX >> 20) as usize)].concat();
    assert!(bomb.len() < 1 << 18, "{}", bomb.len());
    let steps = [recv(all(&[server(0xc2, bomb), server(0xc2, deflater.message(&zeros[..100]))]))];
    let outcome = run(&DEFLATE, &steps, setup());
    assert_eq!(outcome.records[0].causes(), [Cause::Limit]);
    assert_eq!(field(&outcome.records[0], "undecoded"), Some(&word("it inflates to more than the limit")));
    let why = word("a message before it inflates to more than the limit");
    assert_eq!(field(&outcome.records[1], "undecoded"), Some(&why));
}

#[test]
fn a_long_message_is_shown_in_part_and_keeps_its_context() {
    let text: Vec<u8> = (0..200_000u32).map(|n| b'a' + (u64::from(n) * u64::from(n) % 23) as u8).collect();
    let mut deflater = Deflater::new();
    let steps =
        [recv(server(0xc1, deflater.message(&text))), recv(server(0xc1, deflater.message(&text[190_000..])))];
    let outcome = run(&DEFLATE, &steps, setup());
    assert_eq!(field(&outcome.records[0], "inflated_length"), Some(&Value::Number(200_000)));
    assert_eq!(outcome.records[0].causes(), [Cause::FieldTruncated]);
    let payload = Value::Bytes(text[190_000..][..4096].to_vec());
    assert_eq!(field(&outcome.records[1], "payload"), Some(&payload));
}

#[test]
fn without_the_handshake_the_extension_is_unknown() {
    let [first, second, third] = related();
    let own = Deflater::new().message(b"understood by itself");
    let steps = [
        recv(all(&[second, third, server(0x81, "text that is found by what it says")])),
        recv(all(&[server(0xc1, own), first])),
        send(client(0x81, "text of the client, long enough to be found")),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..setup() });
    let unknown = word("unknown");
    assert_eq!(field(&outcome.records[0], "extension"), Some(&unknown));
    assert_eq!(field(&outcome.records[0], "subprotocol"), Some(&unknown));
    let why = word("what it refers to came before the trace");
    assert_eq!(field(&outcome.records[0], "undecoded"), Some(&why));
    let own = &outcome.records[3];
    assert_eq!(
        (field(own, "extension"), field(own, "payload")),
        (Some(&unknown), Some(&bytes("understood by itself")))
    );
}
