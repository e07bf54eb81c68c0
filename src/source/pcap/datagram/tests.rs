//! UDP flows by their events.

use super::*;
use crate::event::Range;

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

/// The events of the datagrams `(time, from port, to port, identification, place, payload)`, one line each: flow, then
/// addresses, or direction and range.
fn check(datagrams: &[(u64, u16, u16, u32, u64, &str)], expected: &[&str]) -> Ignored {
    let (mut flows, mut numbers, mut lines) =
        (DatagramFlows::default(), Numbers::default(), Vec::<String>::new());
    let mut sink = |event: &Event<'_>| {
        let flow = event.conn.socket;
        lines.push(match &event.kind {
            Kind::Open(open) => {
                let port = |end: Option<crate::event::Address>| end.and_then(|end| end.ip()).unwrap().port();
                format!("{flow} open {} {} {}", port(open.local), port(open.remote), open.role.name())
            }
            Kind::Data(data) => {
                let range = Range::new(data.offset, data.offset + data.length);
                let payload = String::from_utf8_lossy(data.payload);
                let cause = data.cause.map_or("", Cause::slug);
                format!("{flow} {} {range} {payload} {cause}", data.direction.name()).trim_end().to_owned()
            }
            Kind::Close(close) => {
                let moved = close.totals.map(|total| total.moved);
                format!("{flow} {} {moved:?} at {}", close.reason.name(), event.time.0 / SECOND)
            }
            Kind::Loss(_) => unreachable!("UDP loses nothing that shows"),
        });
        ControlFlow::Continue(())
    };
    for &(time, from, to, id, place, payload) in datagrams {
        let end = |port: u16| SocketAddr::from(([10, 0, 0, (port % 251) as u8], port));
        let (source, destination) = (end(from), end(to));
        let (payload, length) = match payload.split_once('+') {
            Some((captured, more)) => (captured, captured.len() + more.len()),
            None => (payload, payload.len()),
        };
        let datagram = Datagram { source, destination, id, length, payload: payload.as_bytes() };
        assert!(flows.datagram(Timestamp(time), &datagram, place, &mut numbers, &mut sink).is_continue());
    }
    assert!(flows.end(&mut sink).is_continue());
    assert_eq!(lines, expected);
    flows.ignored
}

#[test]
fn ports_tell_the_server_and_where_they_do_not_the_first_sender_is_the_client() {
    check(
        &[
            (0, 53, 40_000, 1, 0, "response"),
            (0, 40_000, 53, 2, 0, ""),
            (0, 40_001, 8053, 3, 0, "query"),
            (0, 50_000, 40_002, 4, 0, "a"),
            (0, 40_002, 50_000, 5, 0, "bc+de"),
        ],
        &[
            "1 open 40000 53 client",
            "1 recv [0, 8) response",
            "1 send [0, 0)",
            "2 open 40001 8053 client",
            "2 send [0, 5) query",
            "3 open 50000 40002 unknown",
            "3 send [0, 1) a",
            "3 recv [0, 4) bc wire-snaplen",
            "1 still-open [0, 8] at 0",
            "2 still-open [5, 0] at 0",
            "3 still-open [1, 4] at 0",
        ],
    );
}

#[test]
fn a_copy_is_left_out_and_a_repetition_is_not() {
    let ignored = check(
        &[
            (0, 40_000, 53, 7, 1, "ab"),
            (MILLISECOND, 40_000, 53, 7, 1, "ab"), // mirrored
            (MILLISECOND, 40_000, 53, 7, 2, "ab"), // at the next interface
            (2 * MILLISECOND, 40_000, 53, 8, 1, "ab"),
            (SECOND, 40_000, 53, 7, 1, "ab"),
            (SECOND, 40_000, 53, 7, 1, "cd"),
            (2 * SECOND, 40_000, 53, 0, 1, "ef"),
            (2 * SECOND, 40_000, 53, 0, 1, "ef"), // without identification, at one interface: sent twice
            (2 * SECOND, 40_000, 53, 0, 2, "ef"),
        ],
        &[
            "1 open 40000 53 client",
            "1 send [0, 2) ab",
            "1 send [2, 4) ab",
            "1 send [4, 6) ab",
            "1 send [6, 8) cd",
            "1 send [8, 10) ef",
            "1 send [10, 12) ef",
            "1 still-open [12, 0] at 2",
        ],
    );
    assert_eq!(ignored, Ignored { copies: 3, crowded: 0 });
}

#[test]
fn a_flow_that_is_idle_for_long_is_over() {
    check(
        &[
            (0, 40_000, 53, 1, 0, "a"),
            (SECOND, 40_001, 53, 2, 0, "b"),
            (200 * SECOND, 40_000, 53, 3, 0, "c"),
            (400 * SECOND, 40_002, 53, 4, 0, "d"),
            (600 * SECOND, 40_000, 53, 5, 0, "e"),
        ],
        &[
            "1 open 40000 53 client",
            "1 send [0, 1) a",
            "2 open 40001 53 client",
            "2 send [0, 1) b",
            "1 send [1, 2) c",
            "2 closed [1, 0] at 1",
            "3 open 40002 53 client",
            "3 send [0, 1) d",
            "1 closed [2, 0] at 200",
            "4 open 40000 53 client",
            "4 send [0, 1) e",
            "3 still-open [1, 0] at 600",
            "4 still-open [1, 0] at 600",
        ],
    );
}
