//! Frames of the connection as a whole, detection, what happens in the middle of a connection.

use super::*;
use crate::event::{Direction, Role};
use crate::protocol::http2::frame::{ACK, GOAWAY, PING, PRIORITY, SETTINGS, WINDOW_UPDATE};
use crate::protocol::testing::run;
use crate::protocol::{Sample, Verdict};

#[test]
fn settings_and_pings_are_paired_with_their_acknowledgements() {
    let steps = [
        opening(),
        vec![
            send(cut(SETTINGS, ACK, 0, b"")),
            recv(cut(SETTINGS, ACK, 0, b"")),
            send([cut(PING, 0, 0, b"12345678"), cut(PING, 0, 0, b"abcdefgh")].concat()),
            recv([cut(PING, ACK, 0, b"abcdefgh"), cut(PING, ACK, 0, b"12345678")].concat()),
        ],
    ]
    .concat();
    let outcome = run_in_cuts(&PROTOCOL, &steps, Setup::default());
    let expected = [
        "SETTINGS -> ACK",
        "SETTINGS MAX_CONCURRENT_STREAMS=100 -> ACK",
        "PING (keep-alive) -> ACK",
        "PING (keep-alive) -> ACK",
    ];
    assert_eq!(outcome.summaries(), expected);
    // The preface is shown with the frame behind it.
    let client = outcome.records[1].request.as_ref().expect("the client's");
    assert_eq!((client.range.from, client.range.to), (0, 24 + 15));
    assert_eq!(value(&outcome.records[2].request, "data"), &bytes("abcdefgh"));
}

#[test]
fn frames_that_only_steer_are_counted() {
    let window = |stream| cut(WINDOW_UPDATE, 0, stream, [0, 0, 1, 0]);
    let records = check(
        &[
            send([cut(PRIORITY, 0, 3, [0, 0, 0, 0, 9]), window(0), window(1), window(1)].concat()),
            recv(cut(GOAWAY, 0, 0, b"\0\0\0\x05\0\0\0\x0bslow down")),
            recv(cut(0xa, 0, 0, b"\0\0h2=\":443\"")),
        ],
        &[
            "GOAWAY ENHANCE_YOUR_CALM, last stream 5: slow down",
            "ALTSVC of stream 0, 11 bytes",
            "1 PRIORITY, 3 WINDOW_UPDATE",
        ],
    );
    assert_eq!(value(&records[2].request, "WINDOW_UPDATE"), &Value::Number(3));
}

fn judge(send: &[u8], recv: &[u8], from_start: bool) -> Verdict {
    let sample = Sample { data: [send, recv], from_start: [from_start; 2], role: Role::Unknown };
    (PROTOCOL.detect)(&sample)
}

#[test]
fn the_preface_and_settings_are_proof() {
    assert_eq!(judge(PREFACE, b"", true), Verdict::Match(100));
    assert!(matches!(judge(b"PRI * HT", b"", true), Verdict::Maybe(_)));
    assert!(matches!(judge(b"PRI * HTTP/1.1\r\n", b"", true), Verdict::No(_)));
    let settings = cut(SETTINGS, 0, 0, b"\0\x04\0\x01\0\0");
    assert_eq!(judge(b"", &settings, true), Verdict::Match(95));
    assert!(matches!(judge(b"", &settings[..12], true), Verdict::Maybe(_)));
    // A message of four zeros behind its length looks like this.
    assert_eq!(judge(b"", &cut(SETTINGS, 0, 0, b""), true), Verdict::Match(60));
    assert!(matches!(judge(b"GET / HTTP/1.1\r\n\r\n", &settings, true), Verdict::No(_)));
}

#[test]
fn a_connection_in_the_middle_is_told_by_frames_that_follow_each_other() {
    let request = [headers(END_STREAM, 5, get("/x")), cut(PING, 0, 0, b"12345678")].concat();
    assert_eq!(judge(&request, b"", false), Verdict::Match(95));
    let inside = [b"the end of some body".to_vec(), request.clone()].concat();
    assert_eq!(judge(&inside, b"", false), Verdict::Match(92));
    let windows = [cut(WINDOW_UPDATE, 0, 0, [0, 0, 1, 0]), cut(WINDOW_UPDATE, 0, 5, [0, 0, 1, 0])].concat();
    assert_eq!(judge(b"", &windows, false), Verdict::Match(95));
    let [ping, pong] = [0, ACK].map(|flags| cut(PING, flags, 0, b"12345678"));
    assert_eq!(
        (judge(&ping, b"", false), judge(&ping, &pong, false)),
        (Verdict::Match(60), Verdict::Match(92))
    );
    // CQL's header of nine bytes, seen from its seventh byte on: DATA of wild streams.
    let query = b"\x04\0\0\x5d\x07\0\0\0\x0c\0\0\0\x05SELEC\0\x01\0";
    assert!(matches!(judge(&query.repeat(20), b"", false), Verdict::No(_)));
    for other in
        [&b"*1\r\n$4\r\nPING\r\n"[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", &[0; 100], &[0xff; 100]]
    {
        assert!(matches!(judge(other, b"", false), Verdict::No(_)), "{other:?}");
    }
}

#[test]
fn the_clients_direction_is_learnt_from_what_is_said() {
    let steps = [
        recv(headers(END_STREAM, 5, [get("/"), field("a", "b")].concat())),
        send([headers(0, 5, [0x88]), data(END_STREAM, 5, "x")].concat()),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..Setup::default() });
    assert_eq!(outcome.summaries(), ["200 GET / 1 B"]);
    assert_eq!(outcome.records[0].request.as_ref().map(|one| one.direction), Some(Direction::Recv));
}

#[test]
fn records_begin_with_the_first_whole_message() {
    let steps = [
        recv(
            [
                b"the rest of a body that is longer than this".to_vec(),
                data(0, 3, "more"),
                data(END_STREAM, 3, "end"),
            ]
            .concat(),
        ),
        send(headers(END_STREAM, 5, [get("/next"), vec![0xbe]].concat())),
        recv(headers(END_STREAM, 5, [0x89, 0xc1])),
        send(headers(END_STREAM, 7, [get("/last"), indexed("x-new", "1")].concat())),
        recv(headers(END_STREAM, 7, [0x89])),
        // An entry that is known again.
        send(headers(END_STREAM, 9, [get("/again"), vec![0xbe]].concat())),
        recv(headers(END_STREAM, 9, [0x89])),
    ];
    let outcome = run(&PROTOCOL, &steps, Setup { mid_stream: true, ..Setup::default() });
    let expected = [
        "204 GET /next 0 B",
        "204 GET /last 0 B",
        "204 GET /again 0 B",
        "(unknown) (request not seen) 7 B [truncated]",
    ];
    let mut found = outcome.summaries();
    found.sort_by_key(|line| line.contains("not seen"));
    assert_eq!(found, expected);
    let again = outcome.records.iter().find(|record| record.summary.contains("/again")).expect("a record");
    assert_eq!(value(&again.request, "headers"), &map(&[("x-new", "1")]));
    let next = outcome.records.iter().find(|record| record.summary.contains("/next")).expect("a record");
    assert_eq!(value(&next.request, "unknown_fields"), &Value::Number(1));
}
