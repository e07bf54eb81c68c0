//! What a gap does to the message it lies in, and to the pairing behind it.

use super::driver::{Driver, Log, Piece};
use super::{KEEP, field, summaries};
use crate::event::{Cause, Direction};
use crate::protocol::http1::PROTOCOL;
use crate::protocol::{End, Input, Options, Progress, Then};
use crate::record::{Status, Value};

/// Plays events: `>` request bytes, `<` response bytes, `)` and `(` lost ones of the same directions.
fn play(cause: Cause, events: &[(char, &str)]) -> Log {
    let mut driver = Driver::new(KEEP);
    driver.cause = cause;
    for &(who, text) in events {
        let direction = if ">)".contains(who) { Direction::Send } else { Direction::Recv };
        driver.push(&Piece { direction, bytes: text.as_bytes().to_vec(), lost: "()".contains(who) });
    }
    driver.end(End::Closed)
}

const NEXT: [(char, &str); 2] =
    [('>', "GET /next HTTP/1.1\r\nHost: x\r\n\r\n"), ('<', "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")];

#[test]
fn a_gap_inside_a_body_of_known_extent_costs_nothing_else() {
    let bodies: [&[(char, &str)]; 3] = [
        &[('<', "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123"), ('(', "45"), ('<', "6789")],
        &[('<', "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123"), ('(', "456789")],
        &[
            ('<', "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n01\r\n8\r\n23"),
            ('(', "45"),
            ('<', "6789\r\n0\r\n\r\n"),
        ],
    ];
    for body in bodies {
        let events = [&[('>', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")], body, &NEXT].concat();
        let log = play(Cause::Snaplen, &events);
        assert_eq!(summaries(&log), ["truncated: 200 GET /1 10 B", "complete: 200 GET /next 2 B"]);
        assert_eq!(log.records[0].causes(), [Cause::Snaplen]);
        // What comes after the hole is not shown as if it followed what comes before.
        assert_eq!(field(&log.records[0], "response", "body"), Some(&Value::Bytes(b"0123".to_vec())));
        assert!(log.accounts.iter().all(|account| account.2.is_none()), "no byte is skipped");
    }
}

#[test]
fn a_body_until_the_end_of_the_stream_goes_on_after_a_gap() {
    let events =
        [('>', "GET /1 HTTP/1.0\r\n\r\n"), ('<', "HTTP/1.0 200 OK\r\n\r\n0123"), ('(', "4567"), ('<', "89")];
    let log = play(Cause::RingFull, &events);
    assert_eq!(summaries(&log), ["truncated: 200 GET /1 10 B"]);
    assert_eq!(log.records[0].causes(), [Cause::RingFull]);
}

#[test]
fn a_cut_head_is_a_message_once_its_first_line_is_known() {
    let events = [
        ('>', "GET /1 HTTP/1.1\r\nHost: x\r\nX: "),
        (')', "y\r\n\r\n"),
        ('<', "HTTP/1.1 404 Not Found\r\nContent-Le"),
        ('(', "ngth: 0\r\n\r\n"),
    ];
    let log = play(Cause::Snaplen, &[&events[..], &NEXT].concat());
    assert_eq!(summaries(&log), ["truncated: 404 GET /1 0 B", "complete: 200 GET /next 2 B"]);
    let headers = Value::Map(vec![(Value::Bytes(b"Host".to_vec()), Value::Bytes(b"x".to_vec()))]);
    assert_eq!(field(&log.records[0], "request", "headers"), Some(&headers));
}

/// Each call's payload is cut: the exchanges are still told from one another.
#[test]
fn calls_that_are_all_cut_keep_their_pairs() {
    let mut events = Vec::new();
    for (target, status) in [("/1", "201"), ("/2", "202"), ("/3", "203")] {
        events.push(('>', format!("GET {target} HTTP/1.1\r\nHost: x\r\n")));
        events.push((')', "User-Agent: long\r\n\r\n".to_string()));
        events.push(('<', format!("HTTP/1.1 {status} Fine\r\nContent-Length: 2\r\n")));
        events.push(('(', "\r\nok".to_string()));
    }
    let events: Vec<(char, &str)> = events.iter().map(|(who, text)| (*who, text.as_str())).collect();
    let log = play(Cause::Snaplen, &events);
    assert_eq!(
        summaries(&log),
        ["truncated: 201 GET /1 0 B", "truncated: 202 GET /2 0 B", "truncated: 203 GET /3 0 B"]
    );
}

#[test]
fn a_lost_request_leaves_its_response_alone() {
    let turn = |target, length| [('>', target), ('<', length)];
    let first = turn("GET /1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n");
    let lost =
        [(')', "GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"), ('<', "HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n")];
    let log = play(Cause::RingFull, &[&first[..], &first, &lost, &NEXT].concat());
    let statuses: Vec<Status> = log.records.iter().map(|record| record.status).collect();
    assert_eq!(statuses, [Status::Complete, Status::Complete, Status::NoRequest, Status::Complete]);
    assert_eq!(log.records[2].causes(), [Cause::NoRequest]);
    assert_eq!(log.records[3].summary, "200 GET /next 2 B");
}

/// It has no room for two, and its answer came before the client went on.
#[test]
fn behind_a_lost_first_request_the_next_one_has_its_response() {
    let lost =
        [(')', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"), ('<', "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")];
    let log = play(Cause::RingFull, &[&lost[..], &NEXT, &NEXT].concat());
    let next = "complete: 200 GET /next 2 B";
    assert_eq!(summaries(&log), ["no-request: 201 (request not seen) 0 B", next, next]);
    // Where there is room for two, the next response may be that of the second one.
    let lost = [(')', "GET /1 HTTP/1.1\r\nHost: x\r\nReferer: http://x/somewhere/else\r\n\r\n"), lost[1]];
    let log = play(Cause::RingFull, &[&lost[..], &NEXT].concat());
    assert!(log.records.iter().all(|record| record.status != Status::Complete), "{:?}", summaries(&log));
}

/// The server is ahead of its client: which of its answers was lost is not known.
#[test]
fn behind_a_lost_response_that_nobody_asked_for_nothing_is_paired() {
    let ahead = |who| (who, "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n");
    for lost in [&[ahead('(')][..], &[('<', "HTTP/1.1 201 OK\r\nContent-Le"), ('(', "ngth: 0\r\n\r\n")]] {
        let log = play(Cause::RingFull, &[&NEXT[..], lost, &NEXT, &NEXT].concat());
        let complete = log.records.iter().filter(|record| record.status == Status::Complete).count();
        assert_eq!(complete, 1, "{:?}", summaries(&log));
    }
}

/// That responses are lost is known before it is known which way they go, and before any request: they are not the answers to
/// those that come later.
#[test]
fn responses_that_are_lost_at_the_beginning_answer_no_request_behind_it() {
    let response = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (two, three) = (response("22"), response("333"));
    let events = [
        (')', "GET /0 HTTP/1.1\r\n\r\nGET /1 HTTP/1.1\r\n\r\n"),
        ('(', "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n"),
        ('<', "Content-Length: 1\r\n\r\n1"),
        ('>', "POST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"),
        ('>', "GET /3 HTTP/1.1\r\n\r\n"),
        ('<', &two),
        ('<', &three),
    ];
    let log = play(Cause::UntracedSyscall, &events);
    // Nobody can tell how many requests are lost, so what the client pipelines behind them stays unpaired.
    let lone = |what: &str| format!("no-request: 200 (request not seen) {what}");
    let asked = ["no-response: --- POST /2", "no-response: --- GET /3"].map(str::to_owned);
    assert_eq!(summaries(&log), [asked, [lone("2 B"), lone("3 B")]].concat());
}

#[test]
fn a_lost_response_leaves_its_request_alone() {
    let events =
        [('>', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"), ('(', "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n")];
    let log = play(Cause::RingFull, &[&events[..], &NEXT].concat());
    assert_eq!(summaries(&log), ["no-response: --- GET /1", "complete: 200 GET /next 2 B"]);
    assert_eq!(log.records[0].causes(), [Cause::RingFull, Cause::NoResponse]);
}

/// Nobody can tell how many requests are lost, so the rest of a pipeline stays unpaired.
#[test]
fn an_empty_response_without_its_request_is_whole_at_the_end() {
    let log = play(
        Cause::RingFull,
        &[(')', "GET /1 HTTP/1.1\r\nHost: x\r\n\r\n"), ('<', "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")],
    );
    assert!(
        log.records.iter().all(|record| !record.causes().contains(&Cause::Incomplete)),
        "{:?}",
        summaries(&log)
    );
    assert_eq!(log.records.len(), 1);
}

/// The end of a request head can be found missing only when the next call jumps: its response is over then.
#[test]
fn a_torn_request_is_not_given_the_next_response() {
    let answers: [&[(char, &str)]; 2] = [
        &[('(', "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")],
        &[('<', "HTTP/1.1 200 OK\r\n"), ('(', "Content-Length: 0\r\n\r\n")],
    ];
    for answer in answers {
        let torn = [('>', "GET /1 HTTP/1.1\r\nHo")];
        let events = [&torn, answer, &[(')', "st: x\r\n\r\n")], &NEXT].concat();
        let log = play(Cause::UntracedSyscall, &events);
        let paired =
            log.records.iter().filter(|record| record.request.is_some() && record.response.is_some());
        assert!(paired.clone().all(|record| record.summary.contains("/next")), "{:?}", summaries(&log));
    }
}

#[test]
fn behind_a_lost_request_a_pipeline_is_not_paired() {
    let request = |number| format!("GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n");
    let response = |number| format!("HTTP/1.1 20{number} OK\r\nContent-Length: 0\r\n\r\n");
    let texts: Vec<(char, String)> = vec![
        ('>', request(1)),
        (')', request(2)),
        ('>', request(3)),
        ('<', response(1)),
        ('<', response(2)),
        ('<', response(3)),
    ];
    let events: Vec<(char, &str)> = texts.iter().map(|(who, text)| (*who, text.as_str())).collect();
    let log = play(Cause::RingFull, &events);
    let mut found = summaries(&log);
    found.sort();
    assert_eq!(
        found,
        [
            "complete: 201 GET /1 0 B",
            "no-request: 202 (request not seen) 0 B",
            "no-request: 203 (request not seen) 0 B",
            "no-response: --- GET /3",
        ]
    );
}

/// Every byte of a large body is taken when it is offered: nothing has to be buffered, nothing is copied.
#[test]
fn a_body_of_512_mib_is_taken_as_it_comes() {
    let mut parser = (PROTOCOL.parser)(Options::default());
    let mut log = Log::default();
    let block = vec![b'x'; 1 << 20];
    let mut feed = |direction, offset, data| {
        let time = Default::default();
        parser.feed(Input { direction, offset, time, data }, &mut log)
    };
    feed(Direction::Send, 0, b"GET / HTTP/1.1\r\n\r\n");
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 536870912\r\n\r\n";
    feed(Direction::Recv, 0, head);
    for number in 0..512u64 {
        let taken = feed(Direction::Recv, head.len() as u64 + (number << 20), &block);
        let then = Then::More(if number < 511 { "the rest of the body" } else { "a message" });
        assert_eq!(taken, Progress { taken: block.len(), then });
    }
    assert_eq!(summaries(&log), ["complete: 200 GET / 536.9 MB"]);
}
