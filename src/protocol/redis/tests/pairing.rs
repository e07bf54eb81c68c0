//! Pairing over losses: what is lost is named, and nothing is ever paired wrongly.

use super::driver::{Outcome, Random, Setup, Step, command, cut, recv, run, send};
use crate::event::{Cause, Direction};
use crate::record::{Record, Status, Value};

const SECOND: u64 = 1_000_000_000;

/// Which bytes of a conversation are lost, where they lie.
fn with_hole(steps: &[Step], index: usize, from: usize, to: usize) -> Vec<Step> {
    let mut holed = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        match step {
            Step::Bytes(direction, bytes) if at == index => {
                let lost = (to - from) as u64;
                holed.push(Step::Bytes(*direction, bytes[..from].to_vec()));
                holed.push(Step::Gap(*direction, lost, Cause::RingFull));
                holed.push(Step::Bytes(*direction, bytes[to..].to_vec()));
            }
            step => holed.push(step.clone()),
        }
    }
    holed.retain(|step| !matches!(step, Step::Bytes(_, bytes) if bytes.is_empty()));
    holed
}

/// The number that a command and its reply share, where both are visible in the record.
fn number(record: &Record) -> Option<(u64, u64)> {
    let (command, reply) = record.summary.split_once(" -> ")?;
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok();
    Some((digits(command)?, digits(reply)?))
}

/// Commands and replies that carry the same number, so that a wrong pair shows. Replies are of all lengths.
fn exchange(number: u64) -> (Vec<u8>, Vec<u8>) {
    let key = format!("key:{number:06}");
    let text = format!("{number:06}");
    match number % 4 {
        0 => (command(&["GET", &key]), format!("+{text}\r\n").into_bytes()),
        1 => (command(&["SET", &key, &"x".repeat(30)]), format!("-ERR {text}\r\n").into_bytes()),
        2 => (command(&["INCR", &key]), format!(":1{text}\r\n").into_bytes()),
        _ => (command(&["APPEND", &key, "some value"]), format!("+v {text}\r\n").into_bytes()),
    }
}

/// Batches of the given sizes, one after the other: all commands, then all replies.
fn turns(sizes: &[usize]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut next = 1;
    for &size in sizes {
        let exchanges: Vec<_> = (next..next + size as u64).map(exchange).collect();
        next += size as u64;
        steps.push(send(exchanges.iter().flat_map(|exchange| exchange.0.clone()).collect::<Vec<u8>>()));
        steps.push(recv(exchanges.iter().flat_map(|exchange| exchange.1.clone()).collect::<Vec<u8>>()));
    }
    steps
}

/// Panics if any record pairs a command with the reply of another.
fn assert_true_pairs(outcome: &Outcome) -> usize {
    let mut pairs = 0;
    for record in &outcome.records {
        if let Some((command, reply)) = number(record) {
            let reply = if record.summary.starts_with("INCR") { reply % 1_000_000 } else { reply };
            let cut = record.status == Status::Truncated;
            assert!(
                command == reply || cut,
                "wrong pair: {} among {:#?}",
                record.summary,
                outcome.summaries()
            );
            pairs += 1;
        }
    }
    pairs
}

/// Every single hole of the lengths given, at every place.
fn every_hole(steps: &[Step], lengths: &[usize], mut check: impl FnMut(&Outcome, &str)) {
    for (index, step) in steps.iter().enumerate() {
        let Step::Bytes(direction, bytes) = step else { continue };
        for &length in lengths {
            for from in 0..(bytes.len() + 1).saturating_sub(length) {
                let holed = with_hole(steps, index, from, from + length);
                let outcome = run(&holed, Setup { pause: 1_000, ..Setup::default() });
                let place = format!("{} of step {index}, [{from}, {})", direction.name(), from + length);
                check(&outcome, &place);
            }
        }
    }
}

#[test]
fn no_single_hole_leads_to_a_wrong_pair_or_to_silence() {
    let sizes = [1, 1, 3, 1, 2, 1, 1, 1];
    let steps = turns(&sizes);
    let total: usize = sizes.iter().sum();
    assert_eq!(assert_true_pairs(&run(&steps, Setup::default())), total);
    every_hole(&steps, &[1, 2, 7, 20, 60], |outcome, place| {
        let pairs = assert_true_pairs(outcome);
        // At most the turn with the hole and the two after it can be without pairs.
        assert!(pairs + 6 >= total, "{place}: {:#?}", outcome.summaries());
        let complete = outcome.records.iter().filter(|record| record.status == Status::Complete).count();
        assert!(complete < total, "{place}: nothing shows the hole: {:#?}", outcome.summaries());
        let named = outcome.records.iter().any(|record| record.causes().contains(&Cause::RingFull));
        assert!(
            named || outcome.records.iter().all(|record| record.status == Status::Complete) || pairs < total
        );
    });
}

#[test]
fn a_hole_inside_a_value_costs_only_that_value() {
    let value = "v".repeat(100);
    let steps = [
        send(command(&["SET", "a", &value])),
        recv("+OK\r\n"),
        send(command(&["GET", "a"])),
        recv(format!("$100\r\n{value}\r\n")),
        send(command(&["GET", "b"])),
        recv("$-1\r\n"),
    ];
    for (index, from, to) in [(0, 35, 120), (0, 26, 128), (3, 10, 90), (3, 6, 108)] {
        let outcome = run(&with_hole(&steps, index, from, to), Setup::default());
        let statuses: Vec<Status> = outcome.records.iter().map(|record| record.status).collect();
        let mut expected = [Status::Complete; 3];
        expected[index / 2] = Status::Truncated;
        assert_eq!(statuses, expected, "{index} {from} {:?}", outcome.summaries());
        assert_eq!(outcome.summaries()[1].split(" [").next(), Some("GET a -> 100 B"));
        assert_eq!(outcome.records[index / 2].causes(), [Cause::RingFull]);
        assert_eq!(outcome.skipped, vec![]);
    }
}

#[test]
fn fields_of_a_holed_value_end_at_the_hole() {
    let steps = [send(command(&["SET", "a", "0123456789"])), recv("+OK\r\n")];
    let options = crate::protocol::Options { max_field: 100, ..Default::default() };
    let outcome = run(&with_hole(&steps, 0, 29, 31), Setup { options, ..Setup::default() });
    let request = outcome.records[0].request.as_ref().unwrap();
    let args = request.fields.iter().find(|field| field.name == "args").unwrap();
    let texts = [&b"a"[..], b"0123"].map(|text| Value::Bytes(text.to_vec()));
    assert_eq!(args.value, Value::List(texts.to_vec()));
}

#[test]
fn a_hole_uncovers_no_secret() {
    let commands: [&[&str]; 4] = [
        &["AUTH", "s3cret"],
        &["CONFIG", "SET", "requirepass", "s3cret"],
        &["HELLO", "3", "AUTH", "me", "s3cret"],
        &["ACL", "SETUSER", "me", ">s3cret"],
    ];
    let options = crate::protocol::Options { max_field: 1000, ..Default::default() };
    for words in commands {
        let bytes = command(words);
        let end = bytes.len() - "s3cret\r\n".len();
        for from in 0..end {
            for to in from + 1..end {
                let outcome =
                    run(&with_hole(&[send(&bytes)], 0, from, to), Setup { options, ..Setup::default() });
                let shown = format!("{:?}", outcome.records);
                let secret = format!("{:?}", b"s3cret").replace(['[', ']'], "");
                assert!(!shown.contains(&secret), "{words:?} [{from}, {to}): {shown}");
            }
        }
    }
}

#[test]
fn commands_before_a_lost_reply_go_without() {
    let steps = [
        send([command(&["GET", "a"]), command(&["GET", "b"]), command(&["GET", "c"])].concat()),
        recv("$1\r\na\r\n"),
        Step::Gap(Direction::Recv, 7, Cause::Snaplen),
        recv("$3\r\nccc\r\n"),
        send(command(&["GET", "d"])),
        recv("$4\r\ndddd\r\n"),
    ];
    let outcome = run(&steps, Setup::default());
    let expected =
        ["GET a -> 1 B", "GET b [no-response]", "GET c [no-response]", "3 B [no-request]", "GET d -> 4 B"];
    assert_eq!(outcome.summaries(), expected);
    assert_eq!(outcome.records[1].causes(), [Cause::Snaplen, Cause::NoResponse]);
    assert_eq!(outcome.records[3].causes(), [Cause::Snaplen, Cause::NoRequest]);
}

#[test]
fn replies_to_lost_commands_are_not_given_to_others() {
    let steps = [
        send(command(&["GET", "a"])),
        Step::Gap(Direction::Send, 40, Cause::RingFull),
        send(command(&["GET", "c"])),
        recv("$1\r\na\r\n$2\r\nbb\r\n$3\r\nccc\r\n"),
        send(command(&["GET", "d"])),
        recv("$4\r\ndddd\r\n"),
    ];
    let outcome = run(&steps, Setup::default());
    let expected =
        ["GET a -> 1 B", "2 B [no-request]", "3 B [no-request]", "GET c [no-response]", "GET d -> 4 B"];
    assert_eq!(outcome.summaries(), expected);
}

#[test]
fn confirmations_of_a_lost_subscription_lack_their_request() {
    let subscribe = command(&["SUBSCRIBE", "a", "b"]);
    let confirmations =
        ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n";
    for confirmations in [confirmations.to_owned(), confirmations.replace('>', "*")] {
        let steps = [
            send(command(&["GET", "k"])),
            recv("$1\r\nv\r\n"),
            Step::Gap(Direction::Send, subscribe.len() as u64, Cause::RingFull),
            recv(&confirmations),
            recv(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$3\r\nxyz\r\n"),
        ];
        let outcome = run(&steps, Setup::default());
        let expected = [
            "GET k -> 1 B",
            "push subscribe a 1 [no-request]",
            "push subscribe b 2 [no-request]",
            "push message a 3 B",
        ];
        assert_eq!(outcome.summaries(), expected);
        assert_eq!(outcome.records[1].causes(), [Cause::RingFull, Cause::NoRequest]);
    }
}

#[test]
fn a_reply_that_names_its_command_starts_the_count_anew() {
    let subscribe = command(&["SUBSCRIBE", "a"]);
    let lost = Step::Gap(Direction::Send, subscribe.len() as u64, Cause::RingFull);
    let confirm = |channel: &str| format!("*3\r\n$9\r\nsubscribe\r\n$1\r\n{channel}\r\n:1\r\n");
    let rest = [command(&["SUBSCRIBE", "b"]), command(&["PING"])].concat();
    let steps =
        [lost.clone(), send(rest), recv([confirm("a"), confirm("b"), "+PONG\r\n".to_owned()].concat())];
    let expected = ["push subscribe a 1 [no-request]", "SUBSCRIBE b -> push subscribe b 1", "PING -> PONG"];
    assert_eq!(run(&steps, Setup::default()).summaries(), expected);

    // Of two that are alike nobody knows which is answered.
    let twice = [command(&["SUBSCRIBE", "b"]), command(&["SUBSCRIBE", "b"])].concat();
    let outcome = run(&[lost.clone(), send(twice), recv(confirm("b"))], Setup::default());
    assert!(outcome.summaries().iter().all(|line| !line.contains("->")), "{:?}", outcome.summaries());

    let steps = [lost, send(command(&["RESET"])), recv([&confirm("a"), "+RESET\r\n"].concat())];
    let expected = ["push subscribe a 1 [no-request]", "RESET -> RESET"];
    assert_eq!(run(&steps, Setup::default()).summaries(), expected);
}

#[test]
fn a_client_that_overlaps_is_paired_again_after_a_pause() {
    let overlapping = [
        send([command(&["GET", "a"]), command(&["GET", "b"])].concat()),
        recv("$1\r\na\r\n"),
        send(command(&["GET", "c"])),
        recv("$2\r\nbb\r\n$3\r\nccc\r\n"),
        send(command(&["GET", "d"])),
        Step::Gap(Direction::Send, 22, Cause::RingFull),
        recv("$4\r\ndddd\r\n"),
        send(command(&["GET", "f"])),
        recv("$5\r\neeeee\r\n"),
        recv("$6\r\nffffff\r\n"),
        send(command(&["GET", "g"])),
        recv("$7\r\nggggggg\r\n"),
    ];
    let hasty = run(&overlapping, Setup { pause: 1_000, ..Setup::default() });
    let last = &hasty.summaries()[4..];
    assert_eq!(
        last,
        [
            "5 B [no-request]",
            "6 B [no-request]",
            "7 B [no-request]",
            "GET f [no-response]",
            "GET g [no-response]"
        ]
    );
    let slow = run(&overlapping, Setup { pause: SECOND, ..Setup::default() });
    assert!(slow.summaries().contains(&"GET g -> 7 B".to_owned()), "{:?}", slow.summaries());
}

#[test]
fn a_pause_with_an_open_command_proves_nothing() {
    let steps = [
        send([command(&["GET", "a"]), command(&["GET", "b"])].concat()),
        recv("$1\r\na\r\n"),
        send(command(&["GET", "c"])),
        recv("$2\r\nbb\r\n$3\r\nccc\r\n"),
        Step::Gap(Direction::Send, 22, Cause::RingFull),
        // It blocks: its reply is not the next.
        send(command(&["BLPOP", "q", "0"])),
        recv("$1\r\nx\r\n"),
        send(command(&["GET", "f"])),
        recv("*2\r\n$1\r\nq\r\n$1\r\ny\r\n$6\r\nffffff\r\n"),
    ];
    let outcome = run(&steps, Setup { pause: SECOND, ..Setup::default() });
    let unpaired = outcome.summaries()[3..].iter().all(|summary| !summary.contains(" -> "));
    assert!(unpaired, "{:#?}", outcome.summaries());
}

#[test]
fn a_connection_found_open_is_paired_from_its_next_turn() {
    let setup = Setup { mid_stream: true, ..Setup::default() };
    let quiet =
        [send(command(&["GET", "a"])), recv("$1\r\na\r\n"), send(command(&["GET", "b"])), recv("$-1\r\n")];
    assert_eq!(run(&quiet, setup).summaries(), ["GET a -> 1 B", "GET b -> (nil)"]);

    let busy = [
        recv("orld\r\n$2\r\nbb\r\n"),
        send(command(&["GET", "c"])),
        recv("$3\r\nccc\r\n"),
        send(command(&["GET", "d"])),
        recv("$4\r\ndddd\r\n"),
    ];
    let outcome = run(&busy, setup);
    assert_eq!(outcome.summaries(), ["GET c -> 3 B", "GET d -> 4 B"]);
    assert!(outcome.skipped.iter().all(|skip| skip.2 == Cause::ResyncSkipped));
}

#[test]
fn a_client_that_overlaps_loses_the_trust_of_a_late_start() {
    let setup = Setup { mid_stream: true, pause: 1_000, ..Setup::default() };
    // The reply to a command before the start is on its way: nothing can show that at first.
    let steps = [
        send([command(&["GET", "a"]), command(&["GET", "b"])].concat()),
        recv("$9\r\nearlier:1\r\n"),
        send(command(&["GET", "c"])),
        recv("$1\r\na\r\n$2\r\nbb\r\n$3\r\nccc\r\n"),
    ];
    let outcome = run(&steps, setup);
    let expected = [
        "GET a -> 9 B",
        "GET b [no-response]",
        "1 B [no-request]",
        "2 B [no-request]",
        "3 B [no-request]",
        "GET c [no-response]",
    ];
    assert_eq!(outcome.summaries(), expected);
}

#[test]
fn more_open_commands_than_the_bound_are_counted_not_kept() {
    let bound = super::super::pairing::MAX_OWED;
    let count = bound + 3;
    let mut steps = vec![send(command(&["GET", "k"]).repeat(count))];
    steps.push(recv(b":1\r\n".repeat(count)));
    steps.push(send(command(&["GET", "last"])));
    steps.push(recv(":2\r\n"));
    let outcome = run(&steps, Setup::default());
    let with = |status: Status| outcome.records.iter().filter(|record| record.status == status).count();
    assert_eq!(
        (with(Status::Complete), with(Status::NoResponse), with(Status::NoRequest)),
        (bound + 1, 3, 3)
    );
    let limited = outcome.records.iter().filter(|record| record.causes() == [Cause::Limit]).count();
    assert_eq!(limited, 6);
    assert_eq!(outcome.summaries().last().map(String::as_str), Some("GET last -> 2"));
}

#[test]
fn many_holes_and_cuts_lead_to_no_wrong_pair() {
    let mut random = Random(0x0123_4567_89ab);
    for _ in 0..3000 {
        let sizes: Vec<usize> = (0..12).map(|_| 1 + random.below(4)).collect();
        let mut steps = turns(&sizes);
        for _ in 0..1 + random.below(3) {
            let index = random.below(steps.len());
            if let Step::Bytes(_, bytes) = &steps[index] {
                let from = random.below(bytes.len());
                let to = from + 1 + random.below(bytes.len() - from);
                steps = with_hole(&steps, index, from, to);
            }
        }
        let length = 1 + random.below(200);
        let pieces = cut(&steps, || 1 + random.below(length));
        let setup = Setup { pause: 1_000, mid_stream: random.below(4) == 0, ..Setup::default() };
        let outcome = run(&pieces, setup);
        assert_true_pairs(&outcome);
    }
}
