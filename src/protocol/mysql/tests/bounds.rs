//! What hostile bytes can grow, at its bounds.

use super::*;
use crate::event::Cause;
use crate::protocol::mysql::pairing::REQUESTS_MAX;
use crate::protocol::mysql::statements::STATEMENTS_MAX;
use crate::protocol::testing::{run, run_counted};

fn causes(outcome: &Outcome, cause: Cause) -> usize {
    outcome.records.iter().filter(|record| record.causes().contains(&cause)).count()
}

#[test]
fn a_long_statement_is_shown_in_part_with_its_length() {
    let options = Options { max_field: 0, ..Options::default() };
    let long = format!("SELECT '{}'", "x".repeat(5000));
    let steps = [login_with(FLAGS), vec![send(query(&long)), recv(packet(1, ok(0, 0, 2)))]].concat();
    let record = run(&PROTOCOL, &steps, Setup { options, ..Setup::default() }).records.remove(2);
    assert_eq!(text(&record, "query").len(), 1024);
    assert_eq!(text(&record, "query_length"), long.len().to_string());
    assert_eq!(record.causes(), [Cause::FieldTruncated]);
}

#[test]
fn rows_are_counted_beyond_what_is_kept() {
    let long = "x".repeat(100);
    let rows = vec![long.as_str(); 1000];
    let steps =
        [login_with(FLAGS), vec![send(query("SELECT 1")), recv(result(1, &rows, AUTOCOMMIT))]].concat();
    let record = run(&PROTOCOL, &steps, setup()).records.remove(2);
    assert_eq!((text(&record, "rows"), record.causes()), ("1000".to_owned(), vec![Cause::FieldTruncated]));
    let Some(Value::List(kept)) = field(&record, "values") else { panic!("values") };
    assert_eq!(kept.len(), 41, "4096 bytes of rows of 100 bytes");
    // NULL counts, too: a row of nothing else is not free.
    let nulls: Vec<Vec<u8>> = (0..5000u32).map(|n| packet((n + 4) as u8, b"\xfb")).collect();
    let head = packets(1, &[b"\x01", &column("a", 253), &eof(2)]);
    let last = packet((5004 % 256) as u8, eof(2));
    let steps =
        [login_with(FLAGS), vec![send(query("SELECT 2")), recv([head, nulls.concat(), last].concat())]]
            .concat();
    let record = run(&PROTOCOL, &steps, setup()).records.remove(2);
    let Some(Value::List(kept)) = field(&record, "values") else { panic!("values") };
    assert_eq!((text(&record, "rows").as_str(), kept.len()), ("5000", 512));
}

/// The contents of `length` bytes, which begin so, in packets that count from `seq`, in pieces of 64 KiB.
fn long(seq: u8, begin: &[u8], length: usize) -> (Vec<Vec<u8>>, u8) {
    let (mut pieces, mut left, mut seq) = (Vec::new(), length, seq);
    let mut begin = begin.to_vec();
    loop {
        let size = left.min(0xff_ffff);
        pieces.push([&(size as u32).to_le_bytes()[..3], &[seq]].concat());
        seq = seq.wrapping_add(1);
        let mut rest = size;
        if !begin.is_empty() {
            rest -= begin.len();
            pieces.push(std::mem::take(&mut begin));
        }
        while rest > 0 {
            let piece = rest.min(64 << 10);
            pieces.push(vec![b'x'; piece]);
            rest -= piece;
        }
        left -= size;
        if size < 0xff_ffff {
            return (pieces, seq);
        }
    }
}

#[test]
fn what_is_longer_than_a_packet_streams_through() {
    const LENGTH: usize = 64 << 20;
    // Exactly twice as much as fits: an empty packet ends it.
    const EXACT: usize = 2 * 0xff_ffff;
    let mut steps = login_with(FLAGS);
    let (pieces, seq) = long(0, b"\x03INSERT INTO t VALUES ('", LENGTH);
    assert_eq!(seq, 5);
    steps.extend(pieces.iter().map(send));
    steps.push(recv(packet(seq, ok(1, 0, AUTOCOMMIT))));
    let (pieces, seq) = long(0, b"\x03SELECT '", EXACT);
    steps.extend(pieces.iter().map(send));
    assert_eq!(seq, 3);
    steps.push(recv(packets(seq, &[b"\x01", &column("a", 252), &eof(2)])));
    // One row, as long; and one that begins as an EOF packet would.
    let (pieces, seq) = long(seq + 3, &[&[0xfe][..], &(LENGTH as u64 - 9).to_le_bytes()].concat(), LENGTH);
    steps.extend(pieces.iter().map(recv));
    steps.push(recv(packet(seq, eof(AUTOCOMMIT))));
    let moved: u64 =
        steps.iter().map(|step| if let Step::Bytes(_, bytes) = step { bytes.len() as u64 } else { 0 }).sum();
    let (outcome, offered) = run_counted(&PROTOCOL, &steps, setup());
    // Headers of four bytes, without the contents' first byte, are offered again with it.
    assert!(offered - moved <= 4 * 20, "no byte is held back: {offered} {moved}");
    assert_eq!((outcome.skipped.len(), outcome.records.len()), (0, 4));
    let [_, _, insert, select] = &outcome.records[..] else { panic!("four records") };
    assert_eq!(text(insert, "query_length"), (LENGTH - 1).to_string());
    assert!(insert.summary.ends_with("\u{2026} -> OK (1 affected)"), "{}", insert.summary);
    assert_eq!(insert.causes(), [Cause::FieldTruncated]);
    assert_eq!(text(select, "query_length"), (EXACT - 1).to_string());
    assert_eq!((text(select, "rows").as_str(), select.causes()), ("1", vec![Cause::FieldTruncated]));
}

#[test]
fn a_column_count_that_lies_costs_nothing() {
    let steps = [
        login_with(FLAGS),
        vec![
            send(query("SELECT 1")),
            recv(packets(1, &[b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f", &column("a", 253)])),
        ],
    ]
    .concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries()[2], "SELECT 1 -> 0 rows [truncated]");
    assert_eq!(text(&outcome.records[2], "column_count"), i64::MAX.to_string());
    // And so with the number of parameters of a statement that is executed.
    let mut hostile = vec![1, 0, 0, 0, 8, 1, 0, 0, 0];
    hostile.extend(b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\0\x01");
    let flags = FLAGS | capability::QUERY_ATTRIBUTES as u32;
    let steps = [login_with(flags), vec![send(command(0x17, hostile))]].concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries()[2], "unknown statement 1 [no-response]");
    assert_eq!(text(&outcome.records[2], "parameters"), "unknown");
}

#[test]
fn requests_that_nobody_answers_are_given_up_at_the_bound() {
    let mut steps = login_with(FLAGS);
    steps.push(send(command(0x0e, "").repeat(REQUESTS_MAX + 10)));
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.records.len(), 2 + REQUESTS_MAX + 10);
    assert_eq!(causes(&outcome, Cause::Limit), REQUESTS_MAX + 1);
}

#[test]
fn statements_beyond_the_bound_are_unknown() {
    let mut steps = login_with(FLAGS);
    for id in 1..=(STATEMENTS_MAX as u32 + 1) {
        let head = [&[0][..], &id.to_le_bytes(), &[0; 7]].concat();
        steps.extend([send(command(0x16, "DO 1")), recv(packet(1, head))]);
    }
    let last = (STATEMENTS_MAX as u32 + 1).to_le_bytes();
    steps.push(send(command(0x19, last)));
    steps.push(send(command(0x19, 1u32.to_le_bytes())));
    let outcome = run(&PROTOCOL, &steps, setup());
    let said = outcome.summaries();
    assert_eq!(
        said[said.len() - 2..],
        [
            format!("COM_STMT_CLOSE unknown statement {}", STATEMENTS_MAX + 1),
            "COM_STMT_CLOSE DO 1".to_owned()
        ]
    );
    assert_eq!(causes(&outcome, Cause::Limit), 1);
}

#[test]
fn more_results_than_are_shown_are_counted() {
    let mut answer: Vec<u8> = (1..=99).flat_map(|seq| packet(seq, ok(0, 0, MORE))).collect();
    answer.extend(packet(100, ok(0, 0, AUTOCOMMIT)));
    let steps = [login_with(FLAGS), vec![send(query("CALL p()")), recv(answer)]].concat();
    let outcome = run(&PROTOCOL, &steps, setup());
    assert_eq!(outcome.summaries()[2], "CALL p() -> OK; OK; OK; OK; 96 more results");
    assert_eq!(text(&outcome.records[2], "more_results"), "36");
}

#[test]
fn names_of_columns_are_kept_up_to_a_bound() {
    let name = "n".repeat(250);
    let bodies: Vec<Vec<u8>> = (0..6000).map(|_| column(&name, 253)).collect();
    let mut answer: Vec<&[u8]> = vec![b"\xfc\x70\x17"];
    answer.extend(bodies.iter().map(Vec::as_slice));
    let (eof, last) = (eof(AUTOCOMMIT), eof(AUTOCOMMIT));
    answer.extend([&eof[..], &last]);
    let steps = [login_with(FLAGS), vec![send(query("SELECT *")), recv(packets(1, &answer))]].concat();
    let record = run(&PROTOCOL, &steps, setup()).records.remove(2);
    assert_eq!(
        (record.summary.as_str(), record.causes()),
        ("SELECT * -> 0 rows", vec![Cause::FieldTruncated])
    );
    assert_eq!(text(&record, "column_count"), "6000");
    let Some(Value::List(columns)) = field(&record, "columns") else { panic!("columns") };
    let named = columns.iter().filter(|column| **column == Value::Bytes(name.clone().into_bytes())).count();
    assert_eq!((columns.len(), named), (4096, (256 << 10) / 250));
}

#[test]
fn requests_for_files_are_shown_up_to_a_bound() {
    let answer: Vec<u8> = (1..=100).flat_map(|seq| packet(seq, b"\xfbfile")).collect();
    let steps = [login_with(FLAGS), vec![send(query("LOAD DATA LOCAL")), recv(answer)]].concat();
    let record = run(&PROTOCOL, &steps, setup()).records.remove(2);
    assert_eq!(record.summary.matches("LOCAL INFILE file").count(), 16);
    assert!(record.causes().contains(&Cause::FieldTruncated));
}
