//! Losses, garbage, and connections that were open before.

use super::super::PROTOCOL;
use super::setup;
use crate::event::{Cause, Direction};
use crate::protocol::testing::{Outcome, Setup, Step, recv, run, send};

fn gap(direction: Direction, length: u64) -> Step {
    Step::Gap(direction, length, Cause::RingFull)
}

fn inside(steps: &[Step]) -> Outcome {
    run(&PROTOCOL, steps, Setup { mid_stream: true, ..setup() })
}

#[test]
fn records_begin_with_the_first_whole_command_or_answer() {
    let steps = [
        recv("rest of a data block\r\nEND\r\n"),
        send("get a\r\n"),
        recv("VALUE a 0 1\r\nx\r\nEND\r\n"),
        send("get b\r\n"),
        recv("END\r\n"),
    ];
    let outcome = inside(&steps);
    assert_eq!(outcome.summaries(), ["get a -> hit, 1 bytes", "get b -> miss"]);
    let whole = [recv("END\r\n"), send("set a 0 0 1\r\nx\r\n"), recv("STORED\r\n")];
    assert_eq!(inside(&whole).summaries(), ["END [no-request]", "set a 1 bytes -> STORED"]);
    let tail = [send("of a data block\r\nset a 0 0 1\r\nx\r\nget a\r\n"), recv("STORED\r\nEND\r\n")];
    assert_eq!(inside(&tail).summaries(), ["set a 1 bytes -> STORED", "get a -> miss"]);
}

#[test]
fn text_in_a_data_block_is_no_boundary() {
    // What follows the gap is a data block that holds a command, and answers.
    let steps = [send("get z\r\n"), recv("END\r\n"), send("set a 0 0 100\r\n"), recv("STORED\r\n")];
    let mut damaged = steps[..2].to_vec();
    damaged.extend([
        gap(Direction::Send, 50),
        send("a protocol\r\nget stuff\r\nand more\r\n"),
        recv("STORED\r\n"),
        send("set b 0 0 2\r\nhi\r\n"),
        recv("STORED\r\n"),
    ]);
    let outcome = run(&PROTOCOL, &damaged, setup());
    assert_eq!(outcome.summaries(), ["get z -> miss", "STORED [no-request]", "set b 2 bytes -> STORED"]);
    let mut damaged = vec![send("get a\r\n"), gap(Direction::Recv, 30)];
    damaged.extend([
        recv("some text\r\nSTORED\r\nmore text\r\n"),
        recv("END\r\n"),
        send("get b\r\n"),
        recv("VALUE b 0 2\r\nhi\r\nEND\r\n"),
    ]);
    let outcome = run(&PROTOCOL, &damaged, setup());
    assert_eq!(outcome.summaries(), ["get a [no-response]", "END [no-request]", "get b -> hit, 2 bytes"]);
}

#[test]
fn a_gap_inside_a_data_block_leaves_its_end_known() {
    let steps = [
        send("set a 0 0 10\r\nab"),
        gap(Direction::Send, 6),
        send("ij\r\nget a\r\n"),
        recv("STORED\r\nVALUE a 0 10\r\n"),
        gap(Direction::Recv, 10),
        recv("\r\nEND\r\n"),
        send("get b\r\n"),
        recv("END\r\n"),
    ];
    let expected =
        ["set a 10 bytes -> STORED [truncated]", "get a -> hit, 10 bytes [truncated]", "get b -> miss"];
    assert_eq!(run(&PROTOCOL, &steps, setup()).summaries(), expected);
}

#[test]
fn behind_lost_commands_nothing_is_paired_by_order_until_the_next_turn() {
    let steps = [
        send("set a 0 0 1\r\nx\r\n"),
        gap(Direction::Send, 20),
        send("set b 0 0 1\r\ny\r\n"),
        // The first is known to be that of a; the second can be that of what was lost.
        recv("STORED\r\nSTORED\r\nSTORED\r\n"),
        send("set c 0 0 1\r\nz\r\n"),
        recv("STORED\r\n"),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected = [
        "set a 1 bytes -> STORED",
        "STORED [no-request]",
        "STORED [no-request]",
        "set b 1 bytes [no-response]",
        "set c 1 bytes -> STORED",
    ];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(outcome.records[3].causes(), [Cause::RingFull, Cause::NoResponse]);
}

#[test]
fn behind_lost_commands_names_still_pair() {
    let steps = [
        send("mg a v O1\r\n"),
        gap(Direction::Send, 20),
        send("mg c v O3\r\nget d\r\nmg e k\r\n"),
        recv("VA 1 O1\r\na\r\nVA 1 O2\r\nb\r\nVA 1 O3\r\nc\r\nVALUE d 0 1\r\nd\r\nEND\r\nHD ke\r\n"),
    ];
    let expected = [
        "mg a v O1 -> VA 1 bytes O1",
        "VA 1 bytes O2 [no-request]",
        "mg c v O3 -> VA 1 bytes O3",
        "get d -> hit, 1 bytes",
        "mg e k -> HD ke",
    ];
    assert_eq!(run(&PROTOCOL, &steps, setup()).summaries(), expected);
}

#[test]
fn a_lost_end_of_items_ends_them() {
    let steps = [
        send("get a b\r\n"),
        recv("VALUE a 0 1\r\nx\r\n"),
        gap(Direction::Recv, 12),
        recv("STORED\r\nSTORED\r\n"),
        send("get c\r\n"),
        recv("END\r\n"),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    let expected = [
        "get a b -> 1 value, 1 bytes [truncated]",
        "STORED [no-request]",
        "STORED [no-request]",
        "get c -> miss",
    ];
    assert_eq!(outcome.summaries(), expected);
}

#[test]
fn the_end_of_a_connection_leaves_what_it_cuts() {
    let steps = [send("get a\r\nset b 0 0 5\r\nab"), recv("VALUE a 0 5\r\nab")];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries(), ["get a -> 1 value, 5 bytes [truncated]", "set b 5 bytes [truncated]"]);
}

#[test]
fn garbage_is_named_and_passed_over() {
    let steps = [
        send("get a\r\n"),
        recv("END\r\n"),
        send(b"\x00\x01\x02\r\n"),
        send("get b\r\n"),
        recv("END\r\n"),
        send("get c\r\n"),
        recv("END\r\n"),
    ];
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(
        outcome.summaries(),
        ["get a -> miss", "END [no-request]", "get b [no-response]", "get c -> miss"]
    );
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
}
