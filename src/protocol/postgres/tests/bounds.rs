//! What hostile bytes can grow, at its bounds.

use super::*;
use crate::event::{Cause, Direction};
use crate::protocol::postgres::pairing::REQUESTS_MAX;
use crate::protocol::testing::{run, run_counted};

fn causes(outcome: &Outcome, cause: Cause) -> usize {
    outcome.records.iter().filter(|record| record.causes().contains(&cause)).count()
}

#[test]
fn a_long_statement_is_shown_in_part_with_its_length() {
    let options = Options { max_field: 0, ..Options::default() };
    let long = format!("SELECT '{}'", "x".repeat(5000));
    let steps = [login(), vec![send(query(&long)), recv([done("SELECT 1"), ready('I')].concat())]].concat();
    let record = run(&PROTOCOL, &steps, Setup { options, ..Setup::default() }).records.remove(1);
    assert_eq!(text(&record, "query").len(), 1024);
    assert_eq!(text(&record, "query_length"), long.len().to_string());
    assert_eq!(record.causes(), [Cause::FieldTruncated]);
}

#[test]
fn rows_are_counted_beyond_what_is_kept() {
    let rows: Vec<u8> = (0..1000).flat_map(|_| row(&[Some(&[b'x'; 100])])).collect();
    let steps = [
        login(),
        vec![
            send(query("SELECT 1")),
            recv([columns(&["a"]), rows, done("SELECT 1000"), ready('I')].concat()),
        ],
    ]
    .concat();
    let record = run(&PROTOCOL, &steps, setup()).records.remove(1);
    assert_eq!(text(&record, "rows"), "1000");
    let Some(Value::List(kept)) = field(&record, "values") else { panic!("values") };
    assert_eq!(kept.len(), 41, "4096 bytes of rows of 100 bytes");
    assert_eq!(record.causes(), [Cause::FieldTruncated]);
}

#[test]
fn a_copy_of_any_size_streams_through() {
    // 64 messages of 1 MiB, in pieces of 64 KiB, each of which is taken as it comes.
    let header = [&b"d"[..], &((1u32 << 20) + 4).to_be_bytes()].concat();
    let mut steps = login();
    steps.extend([send(query("COPY t FROM STDIN")), recv(msg(b'G', [0, 0, 0]))]);
    for _ in 0..64 {
        steps.push(send(&header));
        steps.extend((0..16).map(|_| send(vec![0; 64 << 10])));
    }
    steps.extend([send(msg(b'c', "")), recv([done("COPY 64"), ready('I')].concat())]);
    let moved: u64 =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() as u64 } else { 0 }).sum();
    let (mut outcome, offered) = run_counted(&PROTOCOL, &steps, setup());
    assert_eq!(offered, moved, "no byte is offered twice: none is held back");
    assert_eq!(outcome.summaries()[1], "COPY t FROM STDIN (64 CopyData, 67108864 bytes) -> COPY 64");
    assert_eq!(outcome.records.remove(1).causes(), []);
}

#[test]
fn requests_that_wait_are_bounded() {
    let one = [bind("", "s", 0, &[Some(b"x")]), execute("", 0)].concat();
    let steps = [login(), vec![send(one.repeat(REQUESTS_MAX + 10))]].concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records.len(), 1 + REQUESTS_MAX + 10);
    assert_eq!(causes(&outcome, Cause::Limit), REQUESTS_MAX);
    assert_eq!(causes(&outcome, Cause::NoResponse), REQUESTS_MAX + 10);
}

#[test]
fn fields_of_waiting_requests_are_bounded_and_pairing_stays_right() {
    let large = vec![b'x'; 4000];
    let one =
        [parse("", "SELECT $1", &[]), bind("", "", 0, &[Some(&large)]), execute("", 0), sync()].concat();
    let answer = [bare("12"), done("SELECT 0"), ready('I')].concat();
    let count = 3000;
    let steps = [
        login(),
        vec![
            send(one.repeat(count)),
            recv(answer.repeat(count)),
            send(query("SELECT 1")),
            recv([done("SELECT 1"), ready('I')].concat()),
        ],
    ]
    .concat();
    let options = Options { max_field: 1 << 20, ..Options::default() };
    let outcome = run(&PROTOCOL, &steps, Setup { options, ..Setup::default() });
    assert_eq!(outcome.records.len(), count + 2);
    assert!(outcome.records.iter().all(|record| record.response.is_some()));
}

#[test]
fn many_messages_without_an_end_are_several_requests() {
    let steps = [login(), vec![send(parse("", "SELECT 1", &[]).repeat(1000))]].concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records.len(), 1 + 1000usize.div_ceil(super::super::request::MESSAGES_MAX));
}

#[test]
fn what_is_passed_over_in_a_copy_does_not_grow_it() {
    let steps = [
        login(),
        vec![
            send(query("COPY t FROM STDIN")),
            recv(msg(b'G', [0, 0, 0])),
            send([flush(), sync()].concat().repeat(1000)),
            send(msg(b'c', "")),
            recv([done("COPY 0"), ready('I')].concat()),
        ],
    ]
    .concat();
    let record = run(&PROTOCOL, &steps, setup()).records.remove(1);
    assert_eq!(record.summary, "COPY t FROM STDIN -> COPY 0");
    let Some(Value::List(messages)) = field(&record, "messages") else { panic!("messages") };
    assert_eq!(messages.len(), super::super::request::MESSAGES_MAX + 1);
}

#[test]
fn hostile_lengths_and_counts_are_harmless() {
    let bodies: [&[u8]; 6] = [
        b"\xff\xff\xff\xff\x00\x00\xff\xff",
        b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"a\0b\0\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\x7f\xff\xff\xff",
        b"no end",
        b"\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\xff\xff",
    ];
    for kind in 0..=u8::MAX {
        for body in bodies {
            for direction in Direction::BOTH {
                let steps =
                    [login(), vec![Step::Bytes(direction, [msg(kind, body), msg(kind, "")].concat())]]
                        .concat();
                run(&PROTOCOL, &steps, setup());
            }
        }
    }
}
