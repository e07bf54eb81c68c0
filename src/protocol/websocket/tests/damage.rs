//! Losses: gaps, and what is found behind them.

use super::{DEFLATE, PLAIN, all, client, server, setup};
use crate::event::{Cause, Direction};
use crate::protocol::testing::{Step, field, recv, run, send, word};
use crate::record::Status;

fn lost(length: u64) -> Step {
    Step::Gap(Direction::Recv, length, Cause::RingFull)
}

#[test]
fn a_gap_inside_a_payload_leaves_its_end_known() {
    let whole = server(0x82, [b'x'; 1000]);
    let steps = [recv(&whole[..100]), lost(800), recv(all(&[whole[900..].to_vec(), server(0x81, "next")]))];
    let outcome = run(&PLAIN, &steps, setup());
    assert_eq!(outcome.summaries(), ["binary 1000 bytes [truncated]", "text 4 bytes: next"]);
    assert_eq!(outcome.skipped, []);
    assert_eq!(outcome.records[0].causes(), [Cause::RingFull]);
}

#[test]
fn a_gap_across_frames_ends_the_message_and_the_next_is_found() {
    let steps = [
        recv(all(&[server(0x81, "before"), server(0x01, "begun")])),
        lost(50),
        // The rest of a frame, the end of a message whose beginning is lost, and whole ones.
        recv(all(&[
            b"rest of a payload".to_vec(),
            server(0x80, "end"),
            server(0x81, "a first whole message"),
        ])),
        recv(all(&[server(0x81, "and a second one"), server(0x82, "2")])),
    ];
    let outcome = run(&PLAIN, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        [
            "text 6 bytes: before",
            "text 5 bytes: begun [truncated]",
            "unknown 3 bytes [truncated]",
            "text 21 bytes: a first whole message",
            "text 16 bytes: and a second one",
            "binary 1 bytes",
        ]
    );
    assert_eq!(field(&outcome.records[2], "opcode"), Some(&word("unknown")));
    assert_eq!(outcome.skipped[0].1.len(), 17);
}

#[test]
fn behind_a_loss_a_lone_header_proves_nothing() {
    // Any of these bytes could begin a frame.
    let noise: Vec<u8> = (0..400).map(|n| [0x81, 0x01, 0x82, 0x02, 0x80, 0x00][n * 7 % 6]).collect();
    let steps = [recv(server(0x81, "a")), lost(10), recv(&noise)];
    let outcome = run(&PLAIN, &steps, setup());
    assert_eq!(outcome.summaries(), ["text 1 bytes: a"]);
    let zeros = [recv(server(0x81, "a")), lost(10), recv([0; 4000])];
    assert_eq!(run(&PLAIN, &zeros, setup()).summaries(), ["text 1 bytes: a"]);
}

#[test]
fn pings_are_not_paired_across_a_loss() {
    let steps = [
        send(client(0x89, "")),
        lost(2),
        recv(all(&[server(0x8a, ""), server(0x81, "long enough to be believed")])),
    ];
    let outcome = run(&PLAIN, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        [
            "ping 0 bytes [no-response]",
            "pong 0 bytes [no-request]",
            "text 26 bytes: long enough to be believed"
        ]
    );
    assert_eq!(outcome.records[0].causes(), [Cause::RingFull, Cause::NoResponse]);
}

#[test]
fn a_continuation_behind_a_loss_may_be_compressed() {
    let steps = [
        recv(server(0x41, [0xf2, 0x48])),
        lost(10),
        recv(all(&[server(0x80, "?"), server(0x81, "long enough to be believed")])),
    ];
    let outcome = run(&DEFLATE, &steps, setup());
    assert_eq!(outcome.records[1].status, Status::Truncated);
    let why = word("its first frame is missing, which says whether it is compressed");
    assert_eq!(field(&outcome.records[1], "undecoded"), Some(&why));
    assert_eq!(field(&outcome.records[1], "payload"), None);
}

#[test]
fn the_end_of_the_stream_cuts_what_is_open() {
    let steps = [recv(all(&[server(0x01, "begun"), server(0x81, "12345")[..4].to_vec()]))];
    let outcome = run(&PLAIN, &steps, setup());
    assert_eq!(outcome.summaries(), ["text 5 bytes: begun [truncated]"]);
    let steps = [recv(&server(0x81, "12345")[..4])];
    let outcome = run(&PLAIN, &steps, setup());
    assert_eq!(outcome.summaries(), ["text 5 bytes: 12 [truncated]"]);
    assert_eq!(outcome.records[0].causes(), [Cause::Incomplete]);
}
