//! Connections that were open before, and losses.

use super::*;
use crate::event::{Cause, Direction, Role};
use crate::protocol::testing::run;

fn gap(direction: Direction, length: usize) -> Step {
    Step::Gap(direction, length as u64, Cause::RingFull)
}

fn answer(tag: &str) -> Vec<u8> {
    [columns(&["a"]), row(&[Some(b"1")]), done(tag), ready('I')].concat()
}

/// Replaces a step by a gap of its length.
fn lose(steps: &[Step], index: usize) -> Vec<Step> {
    let mut steps = steps.to_vec();
    if let Step::Bytes(direction, bytes) = &steps[index] {
        steps[index] = gap(*direction, bytes.len());
    }
    steps
}

#[track_caller]
fn check_damaged(steps: &[Step], expected: &[&str]) -> Outcome {
    let outcome = run(&PROTOCOL, steps, setup());
    assert_eq!(outcome.summaries(), expected);
    outcome
}

/// Four turns behind the login.
fn turns() -> Vec<Step> {
    let turn =
        |number: u32| [send(query(&format!("SELECT {number}"))), recv(answer(&format!("SELECT {number}")))];
    [login(), (1..=3).flat_map(turn).collect()].concat()
}

#[test]
fn what_was_prepared_before_is_unknown() {
    let steps = [
        send([bind("", "S_1", 0, &[Some(b"7")]), execute("", 0), sync()].concat()),
        recv([bare("2"), row(&[Some(b"1")]), done("SELECT 1"), ready('I')].concat()),
        send([parse("", "SELECT 1", &[]), bind("", "", 0, &[]), execute("", 0), sync()].concat()),
        recv([bare("12"), row(&[Some(b"1")]), done("SELECT 1"), ready('I')].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..setup() });
    let expected = ["unknown statement \"S_1\" [7] -> 1 row (SELECT 1)", "SELECT 1 -> 1 row (SELECT 1)"];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(text(&outcome.records[0], "statement"), "unknown");
    assert_eq!(outcome.skipped, []);
}

#[test]
fn records_begin_with_the_first_whole_message() {
    let rows: Vec<u8> = (0..3).flat_map(|_| row(&[Some(b"some text"), None])).collect();
    let steps = [
        recv([&rows[7..], &done("SELECT 9"), &ready('I')].concat()),
        send([&query("SELECT 0")[8..], &query("SELECT 1"), &query("SELECT 2")].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..setup() });
    let expected = ["2 rows (SELECT 9) [no-request]", "SELECT 1 [no-response]", "SELECT 2 [no-response]"];
    assert_eq!(outcome.summaries(), expected);
    let skipped: Vec<_> = outcome.skipped.iter().map(|(_, range, cause, _)| (range.len(), *cause)).collect();
    let rest = row(&[Some(b"some text"), None]).len() as u64 - 7;
    assert_eq!(
        skipped,
        [(rest, Cause::ResyncSkipped), (query("SELECT 0").len() as u64 - 8, Cause::ResyncSkipped)]
    );
}

#[test]
fn a_copy_under_way_is_told_without_its_statement() {
    let steps = [
        send([msg(b'd', "1\n"), msg(b'd', "2\n"), msg(b'c', "")].concat()),
        recv([done("COPY 9"), ready('I')].concat()),
        send(query("SELECT 1")),
        recv(answer("SELECT 1")),
    ];
    let options = Options { role: Role::Client, ..setup().options };
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, options, ..setup() });
    let expected = ["CopyData (2 CopyData, 4 bytes) -> COPY 9 [truncated]", "SELECT 1 -> 1 row (SELECT 1)"];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(text(&outcome.records[0], "statement"), "unknown");
}

#[test]
fn a_lost_answer_costs_one_record() {
    let outcome = check_damaged(
        &lose(&turns(), 3),
        &[LOGIN, "SELECT 1 [no-response]", "SELECT 2 -> 1 row (SELECT 2)", "SELECT 3 -> 1 row (SELECT 3)"],
    );
    assert!(outcome.records[1].causes().contains(&Cause::NoResponse));
}

#[test]
fn a_lost_query_costs_one_record() {
    check_damaged(
        &lose(&turns(), 4),
        &[
            LOGIN,
            "SELECT 1 -> 1 row (SELECT 1)",
            "1 row (SELECT 2) [no-request]",
            "SELECT 3 -> 1 row (SELECT 3)",
        ],
    );
}

#[test]
fn a_hole_inside_an_answer_leaves_it_truncated() {
    let mut steps = turns();
    let whole = answer("SELECT 1");
    let head = columns(&["a"]).len();
    let cut = row(&[Some(b"1")]).len();
    steps.splice(3..4, [recv(&whole[..head]), gap(Direction::Recv, cut), recv(&whole[head + cut..])]);
    let outcome = check_damaged(
        &steps,
        &[
            LOGIN,
            "SELECT 1 -> 0 rows (SELECT 1) [truncated]",
            "SELECT 2 -> 1 row (SELECT 2)",
            "SELECT 3 -> 1 row (SELECT 3)",
        ],
    );
    assert_eq!(outcome.records[1].causes(), [Cause::RingFull]);
}

#[test]
fn an_answer_whose_loss_is_known_late_is_not_given_to_the_next_query() {
    // The gap shows only when the next bytes of the server come: behind the next query.
    let mut steps = lose(&turns(), 3);
    steps.swap(3, 4);
    check_damaged(
        &steps,
        &[LOGIN, "SELECT 1 [no-response]", "SELECT 2 -> 1 row (SELECT 2)", "SELECT 3 -> 1 row (SELECT 3)"],
    );
}

#[test]
fn behind_a_loss_named_statements_are_uncertain_and_unnamed_ones_unknown() {
    let run_it = |name: &str| {
        [
            send([bind("", name, 0, &[]), execute("", 0), sync()].concat()),
            recv([bare("2"), done("UPDATE 1"), ready('I')].concat()),
        ]
    };
    let prepare = [parse("s", "UPDATE a", &[]), parse("", "UPDATE b", &[]), sync()].concat();
    let steps = [
        login(),
        vec![send(prepare), recv([bare("11"), ready('I')].concat())],
        run_it("s").to_vec(),
        vec![gap(Direction::Send, 100), recv(answer("SELECT 5"))],
        run_it("s").to_vec(),
        run_it("").to_vec(),
    ]
    .concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    let summaries = outcome.summaries();
    assert_eq!(
        summaries[2..],
        [
            "UPDATE a -> UPDATE 1",
            "1 row (SELECT 5) [no-request]",
            "UPDATE a -> UPDATE 1",
            "unknown statement -> UPDATE 1",
        ]
    );
    let doubts: Vec<_> = outcome.records[2..].iter().map(|record| text(record, "statement")).collect();
    assert_eq!(doubts, ["None", "None", "uncertain", "unknown"]);
}

#[test]
fn a_client_that_sends_ahead_is_not_paired_by_guess_behind_a_loss() {
    let one = |number: u32| query(&format!("SELECT {number}"));
    let steps = [
        login(),
        vec![
            send([one(1), one(2)].concat()),
            recv([answer("SELECT 1"), answer("SELECT 2")].concat()),
            send([one(3), one(4), one(5)].concat()),
            gap(Direction::Recv, answer("SELECT 3").len()),
            recv([answer("SELECT 4"), answer("SELECT 5")].concat()),
            send(one(6)),
            recv(answer("SELECT 6")),
        ],
    ]
    .concat();
    let expected = [
        LOGIN,
        "SELECT 1 -> 1 row (SELECT 1)",
        "SELECT 2 -> 1 row (SELECT 2)",
        "SELECT 3 [no-response]",
        "SELECT 4 [no-response]",
        "SELECT 5 [no-response]",
        "1 row (SELECT 4) [no-request]",
        "1 row (SELECT 5) [no-request]",
    ];
    let hurried = run(&PROTOCOL, &steps, setup()).summaries();
    assert_eq!(hurried[..8], expected);
    assert_eq!(hurried[8..], ["1 row (SELECT 6) [no-request]", "SELECT 6 [no-response]"]);
    // With pauses it is certain again once the server is ready and nothing moves.
    let paused = run(&PROTOCOL, &steps, Setup { pause: 2_000_000_000, ..setup() }).summaries();
    assert_eq!(paused[8..], ["SELECT 6 -> 1 row (SELECT 6)"]);
}

#[test]
fn an_answer_that_the_end_cuts_is_incomplete() {
    let steps = [login(), vec![send(query("SELECT 1")), recv(columns(&["a"]))]].concat();
    let outcome = check_damaged(&steps, &[LOGIN, "SELECT 1 -> 0 rows [truncated]"]);
    assert_eq!(outcome.records[1].causes(), [Cause::Incomplete]);
}

#[test]
fn what_is_no_message_is_named_and_passed_over() {
    let steps = [login(), vec![send(b"\xff"), send(query("SELECT 1")), recv(answer("SELECT 1"))]].concat();
    let outcome = check_damaged(&steps, &[LOGIN, "SELECT 1 -> 1 row (SELECT 1)"]);
    assert_eq!(outcome.skipped[0].2, Cause::ParseError);
    let steps = [login(), vec![recv(msg(b'Z', "IIII"))]].concat();
    let reason = run(&PROTOCOL, &steps, setup()).skipped[0].3.clone();
    assert_eq!(reason, "a ReadyForQuery of length 8");
}

#[test]
fn the_answer_to_a_lost_request_to_encrypt_is_one_byte() {
    let start = startup("user\0me\0\0");
    let welcome = [auth(0, &[]), ready('I')].concat();
    let steps = [
        gap(Direction::Send, 8),
        recv("N"),
        send(start),
        recv(welcome),
        send(query("SELECT 1")),
        recv(answer("SELECT 1")),
    ];
    let expected = [
        "N (refused) [no-request]",
        "StartupMessage user=me -> AuthenticationOk",
        "SELECT 1 -> 1 row (SELECT 1)",
    ];
    let outcome = check_damaged(&steps, &expected);
    assert_eq!(outcome.skipped, []);
}

#[test]
fn behind_the_end_of_a_login_the_count_is_certain_again() {
    let start = startup("user\0me\0\0");
    let password = msg(b'p', "secret\0");
    let welcome = [auth(0, &[]), ready('I')].concat();
    // Two at a time, which a client that takes turns does not do.
    let ahead = [query("SELECT 1"), query("SELECT 2")].concat();
    let tail = [send(ahead), recv(answer("SELECT 1")), recv(answer("SELECT 2"))];
    let begin = [send(start), recv(auth(3, &[])), send(password), recv(welcome)];
    let both = ["SELECT 1 -> 1 row (SELECT 1)", "SELECT 2 -> 1 row (SELECT 2)"];
    for index in 0..begin.len() {
        let steps = [lose(&begin, index), tail.to_vec()].concat();
        let outcome = run(&PROTOCOL, &steps, setup());
        assert!(
            outcome.summaries().ends_with(&both.map(str::to_owned)),
            "{index}: {:?}",
            outcome.summaries()
        );
    }
}

#[test]
fn a_notice_behind_lost_queries_belongs_to_the_answer_that_it_begins() {
    let notice = msg(b'N', "SNOTICE\0C00000\0Mskipping\0\0");
    let steps = [
        login(),
        vec![
            gap(Direction::Send, 29),
            recv([notice, done("DROP TABLE"), ready('I')].concat()),
            send(query("SELECT 1")),
            recv(answer("SELECT 1")),
        ],
    ];
    let outcome = run(&PROTOCOL, &steps.concat(), setup());
    let lines = outcome.summaries();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("DROP TABLE") && lines[1].ends_with("[no-request]"), "{lines:?}");
}
