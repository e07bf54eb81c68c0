//! Where a message begins: detection, the middle of a stream, garbage, quoted messages.

use super::conversations::CONVERSATIONS;
use super::driver::{self, Driver, Piece, Random};
use super::{KEEP, summaries, timeless_all, whole};
use crate::event::{Cause, Direction, Role};
use crate::protocol::http1::PROTOCOL;
use crate::protocol::{End, Options, Resync, Sample, Verdict};
use crate::record::Status;

fn detect(data: &[u8], from_start: bool) -> Verdict {
    (PROTOCOL.detect)(&Sample { data: [data, b""], from_start: [from_start, true], role: Role::Unknown })
}

#[test]
fn http_is_told_from_other_protocols() {
    for text in ["GET / HTTP/1.1\r\n", "\r\nBREW pot HTTP/1.0\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\r\n"] {
        assert_eq!(detect(text.as_bytes(), true), Verdict::Match(100), "{text:?}");
        for length in 0..text.len() - 1 {
            let part = &text.as_bytes()[..length];
            assert!(matches!(detect(part, true), Verdict::Maybe(_)), "{:?}", &text[..length]);
        }
    }
    let others: [&[u8]; 14] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n",
        b"DESCRIBE rtsp://x/y RTSP/1.0\r\n",
        b"SIP/2.0 200 OK\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"HTTP/2 200\r\n",
        b"ICY 200 OK\r\n",
        b"PING\r\n",
        b"GET key\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"+OK\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"220 mail ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    for data in others {
        assert!(matches!(detect(data, true), Verdict::No(_)), "{}", data.escape_ascii());
    }
}

#[test]
fn http_is_found_in_the_middle_of_a_stream() {
    assert!(matches!(detect(b"end of a body", false), Verdict::Maybe(_)));
    let response = b"end of a bodyHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(detect(response, false), Verdict::Match(100));
    let request = b"a=1&b=2POST /x HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(detect(request, false), Verdict::Match(100));
}

#[test]
fn a_stream_that_is_joined_in_the_middle_gives_the_rest() {
    let conversation = &CONVERSATIONS[0];
    let pieces = conversation.pieces();
    let truth = timeless_all(&whole(conversation));
    for start in 1..pieces.len() {
        let mut driver = Driver::mid_stream(KEEP);
        pieces[start..].iter().for_each(|piece| driver.push(piece));
        let log = driver.end(End::Closed);
        let complete = log.records.iter().filter(|record| record.status == Status::Complete);
        let summaries: Vec<&String> = complete.map(|record| &record.summary).collect();
        let expected: Vec<&String> =
            truth[start.div_ceil(2)..].iter().map(|record| &record.summary).collect();
        assert_eq!(summaries, expected, "from event {start}: {:#?}", log.steps);
    }
}

#[test]
fn noise_holds_no_boundary() {
    let mut random = Random(42);
    let noise: Vec<u8> = (0..1 << 20).map(|_| random.below(256) as u8).collect();
    let mut parser = (PROTOCOL.parser)(Options::default());
    for at_event in [false, true] {
        let found = parser.resync(Direction::Recv, &noise, at_event);
        assert!(matches!(found, Resync::Skip(skipped) if skipped > noise.len() - (16 << 10)), "{found:?}");
    }
}

/// The known hard case: text that quotes a message. Where the real message begins with an event of its
/// own, a quoted line alone must not be taken for one.
#[test]
fn a_quoted_line_is_no_boundary() {
    let quote =
        b"Send this:\r\nGET / HTTP/1.1\r\nand wait for\r\nHTTP/1.1 200 OK\r\n\x00\x01\x02, then go on\r\n";
    let mut parser = (PROTOCOL.parser)(Options::default());
    for at_event in [false, true] {
        let found = parser.resync(Direction::Recv, quote, at_event);
        assert!(matches!(found, Resync::Skip(_)), "{found:?}");
    }
}

#[test]
fn a_boundary_is_found_however_the_search_is_cut() {
    let data = b"}}}garbage HTTP/1. \r\nFOO\r\nxHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz";
    let boundary = data.windows(12).position(|window| window == b"HTTP/1.1 200").expect("it is there");
    let mut parser = (PROTOCOL.parser)(Options::default());
    for step in 1..data.len() {
        let (mut start, mut end, mut found) = (0, 0, None);
        while found.is_none() && end < data.len() {
            end = (end + step).min(data.len());
            match parser.resync(Direction::Recv, &data[start..end], false) {
                Resync::Found(at) => found = Some(start + at),
                Resync::Skip(count) => start += count,
            }
        }
        assert_eq!(found, Some(boundary), "in steps of {step}");
    }
}

#[test]
fn garbage_in_front_of_a_message_is_a_parse_error() {
    let pieces = [Piece { direction: Direction::Send, bytes: b"\x01\x02\x03\r\n".to_vec(), lost: false }];
    let request = b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec();
    let request = Piece { direction: Direction::Send, bytes: request, lost: false };
    let log = driver::run(&[pieces[0].clone(), request], KEEP, End::Closed);
    assert_eq!(summaries(&log), ["no-response: --- GET /1"]);
    assert_eq!(log.skipped(Cause::ParseError) + log.skipped(Cause::ResyncSkipped), 5);
}

/// Whatever comes: no panic, an end, and every byte accounted for once (the driver checks).
#[test]
fn changed_bytes_lead_to_no_panic() {
    let mut random = Random(7);
    for conversation in CONVERSATIONS {
        for _ in 0..300 {
            let mut pieces = driver::cut(&conversation.pieces(), || 1 + random.below(60));
            for _ in 0..=random.below(4) {
                let piece = random.below(pieces.len());
                let at = random.below(pieces[piece].bytes.len());
                match random.below(4) {
                    0 => pieces[piece].bytes[at] = random.below(256) as u8,
                    1 => pieces[piece].bytes.truncate(at.max(1)),
                    2 => pieces[piece].lost = true,
                    _ => {
                        let copy = pieces[random.below(pieces.len())].bytes.clone();
                        pieces[piece].bytes.splice(at..at, copy);
                    }
                }
            }
            driver::run(&pieces, KEEP, [End::Closed, End::TraceEnded][random.below(2)]);
        }
    }
}
