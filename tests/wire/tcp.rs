//! TCP as it is (RFC 9293): whatever the segments, the streams are what the two ends sent.

use super::formats::compress;
use super::packets::{CLIENT, RAW, SERVER, Tape, read, segment};
use sockdbg::event::{Cause, CloseReason, Range};

#[test]
fn a_retransmission_may_have_other_segments() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"hello ").send("A", 107, 101, b"world");
    tape.send("A", 101, 101, b"hello world").send("A", 104, 101, b"lo wo").send("A", 111, 101, b"d, again");
    tape.read().only().sent("hello world, again", "");
}

#[test]
fn an_overlap_with_other_content_is_reported_with_its_range() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"GET /real").answer("A", 101, 110, b"");
    tape.send("A", 105, 101, b"/fake and more");
    let expected = "10.0.0.1:50000 -> 10.0.0.2:80 sent the bytes [5, 9) (TCP sequence number 106) again with other \
                    content; the first to arrive stand";
    // The first copy is read again in the file, or was kept where that is not possible.
    for bytes in [tape.pcap(), compress("gzip", &tape.pcap())] {
        let seen = read(&bytes);
        assert_eq!(seen.summary.warnings.len(), 1);
        let warning = &seen.summary.warnings[0];
        assert!(warning.ends_with(expected), "{warning}");
        assert_eq!(seen.one().sent[0], "GET /real and more");
    }
}

#[test]
fn many_overlaps_are_counted() {
    let mut tape = Tape::connected();
    for _ in 0..20 {
        tape.send("A", 101, 101, b"aa").send("A", 101, 101, b"bb").send("A", 103, 101, b"c");
    }
    let warnings = tape.read().summary.warnings;
    assert_eq!(warnings.len(), 17);
    assert!(warnings[16].ends_with(": 4 further retransmissions with other content"), "{}", warnings[16]);
}

#[test]
fn segments_come_in_any_order() {
    let text = "the quick brown fox jumps over the lazy dog";
    for seed in 1..40 {
        let mut tape = Tape::connected();
        let mut pieces: Vec<usize> = (0..text.len()).step_by(5).collect();
        pieces.sort_by_key(|at| (at * 7919 + 13) * seed % 101);
        for at in pieces {
            tape.send("A", 101 + at as u32, 101, &text.as_bytes()[at..(at + 5).min(text.len())]);
        }
        tape.read().only().sent(text, "");
    }
}

#[test]
fn keep_alives_are_no_data() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"x").answer("A", 101, 102, b"");
    // Without data, with one byte of garbage, with the byte itself.
    for probe in [&b""[..], b"\0", b"x"] {
        tape.wait(5000).send("A", 101, 101, probe).answer("A", 101, 102, b"");
    }
    tape.send("A", 102, 101, b"yz");
    tape.read().only().sent("xyz", "");
}

#[test]
fn a_keep_alive_does_not_fill_a_hole() {
    let mut tape = Tape::connected();
    tape.answer("A", 101, 102, b"")
        .send("A", 101, 101, b"\0")
        .send("A", 102, 101, b"bc")
        .answer("A", 101, 104, b"");
    let conn = tape.read().only();
    assert_eq!((conn.sent[0].as_str(), conn.moved), ("?bc", [2, 0]));
    assert_eq!(conn.missing, [(false, Range::new(0, 1), Cause::WireNotCaptured)]);
}

#[test]
fn a_capture_may_begin_with_a_keep_alive() {
    let mut tape = Tape::new(RAW);
    tape.send("A", 100, 501, b"").answer("A", 501, 101, b"").send("A", 101, 501, b"go");
    tape.read().only().sent("go", "");
}

/// Linux probes a closed window like an idle connection; others send the next byte, and send it again later.
#[test]
fn zero_window_probes_bring_no_byte_twice() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"full").answer("A", 101, 105, b"");
    tape.send("A", 104, 101, b"").answer("A", 101, 105, b"");
    tape.send("A", 105, 101, b"n").answer("A", 101, 105, b"").wait(500).send("A", 105, 101, b"n");
    tape.answer("A", 101, 106, b"").send("A", 105, 101, b"next");
    tape.read().only().sent("fullnext", "");
}

#[test]
fn data_on_the_handshake_begins_the_streams() {
    let mut tape = Tape::new(RAW);
    tape.send("S", 100, 0, b"GET").answer("SA", 900, 104, b"HTTP").send("A", 104, 905, b" /");
    tape.read().only().sent("GET /", "HTTP");
    // The server does not know the cookie: it acknowledges the SYN alone, and the data comes again (RFC 7413).
    let mut tape = Tape::new(RAW);
    tape.send("S", 100, 0, b"GET").answer("SA", 900, 101, b"").send("A", 101, 901, b"GET /");
    tape.read().only().sent("GET /", "");
}

#[test]
fn a_reset_leaves_data_in_flight_its_place() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"ask").send("R", 104, 0, b"a reason, not data");
    tape.answer("A", 101, 104, b"lat").answer("A", 104, 104, b"er");
    let conn = tape.read().only();
    conn.sent("ask", "later");
    assert_eq!(conn.end, Some(CloseReason::Reset));
}

#[test]
fn sequence_numbers_wrap() {
    let mut tape = Tape::new(RAW);
    let start = u32::MAX - 3;
    tape.send("S", start - 1, 0, b"").answer("SA", 7, start, b"").send("A", start, 8, b"wr");
    tape.send("A", 4, 8, b"und").send("A", start + 2, 8, b"ap aro");
    tape.answer("A", 8, 7, b"");
    tape.read().only().sent("wrap around", "");
}

/// More than 4 GiB in segments as large as offload makes them, of which the capture kept the headers.
#[test]
fn a_stream_may_be_longer_than_its_sequence_numbers() {
    const SEGMENT: u64 = 65_000;
    const COUNT: u64 = (4 << 30) / SEGMENT + 5000;
    let mut tape = Tape::connected();
    for number in 0..COUNT {
        let seq = 101u32.wrapping_add((number * SEGMENT) as u32);
        tape.send("A", seq, 101, &[]);
        let last = tape.packets.last_mut().unwrap();
        last.bytes[2..4].copy_from_slice(&(40 + SEGMENT as u16).to_be_bytes());
        last.length += SEGMENT as usize;
    }
    tape.answer("A", 101, 101u32.wrapping_add((COUNT * SEGMENT) as u32), b"ok");
    let conn = tape.read().only();
    assert_eq!(conn.moved, [COUNT * SEGMENT, 2]);
    assert!(COUNT * SEGMENT > 1 << 32 && conn.missing.is_empty());
}

#[test]
fn ports_used_again_are_another_connection() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"one")
        .send("FA", 104, 101, b"")
        .answer("FA", 101, 105, b"")
        .send("A", 105, 102, b"");
    // The next one, with a number inside the window of the first.
    tape.send("S", 200, 0, b"").answer("SA", 300, 201, b"").send("A", 201, 301, b"two");
    // And one more, although the second never ended.
    tape.wait(70_000).send("S", 90_000, 0, b"").answer("SA", 7, 90_001, b"").send("A", 90_001, 8, b"three");
    let seen = tape.read();
    let sent: Vec<&str> = seen.conns.iter().map(|conn| conn.sent[0].as_str()).collect();
    let ends: Vec<_> = seen.conns.iter().map(|conn| conn.end.unwrap()).collect();
    assert_eq!(sent, ["one", "two", "three"]);
    assert_eq!(ends, [CloseReason::Fin, CloseReason::Closed, CloseReason::StillOpen]);
    assert_eq!(seen.summary.warnings, [""; 0]);
}

/// The SYN is not in the capture: that ports are used again shows in numbers far from those of the first connection.
#[test]
fn ports_used_again_are_another_connection_without_its_handshake() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"one").send("R", 104, 0, b"").wait(3000);
    let (ours, theirs) = (0x9000_0000, 0xa000_0000);
    tape.send("A", ours, theirs, b"and ").answer("A", theirs, ours + 4, b"ok").send(
        "A",
        ours + 4,
        theirs + 2,
        b"two",
    );
    tape.answer("A", theirs + 2, ours + 7, b"");
    let seen = tape.read();
    assert_eq!(seen.conns.len(), 2, "{:?}", seen.conns);
    seen.conns[0].sent("one", "");
    assert_eq!(seen.conns[1].sent, ["and two", "ok"]);
}

/// The same, soon after: Linux begins a little further each time it uses the ports again (net/core/secure_seq.c). Behind the
/// ends of both directions there is nothing of the first connection.
#[test]
fn ports_used_again_at_once_are_another_connection_without_its_handshake() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"one")
        .send("FA", 104, 101, b"")
        .answer("FA", 101, 105, b"")
        .send("A", 105, 102, b"");
    // The last acknowledgement again is of the first one still.
    tape.send("A", 105, 102, b"").send("A", 90_000, 70_000, b"two").answer("A", 70_000, 90_003, b"ok");
    let seen = tape.read();
    assert_eq!(seen.summary.warnings, [""; 0]);
    let sent: Vec<_> = seen.conns.iter().map(|conn| conn.sent.each_ref().map(String::as_str)).collect();
    assert_eq!(sent, [["one", ""], ["two", "ok"]]);
}

/// Nothing of it is the process's to read.
#[test]
fn a_keep_alive_behind_a_fin_is_no_byte_of_the_stream() {
    let mut tape = Tape::connected();
    tape.send("FA", 101, 101, b"all").answer("A", 101, 105, b"");
    tape.send("A", 104, 101, b"\0").answer("A", 101, 105, b"");
    tape.answer("A", 101, 105, b"answer").read().only().sent("all", "answer");
}

#[test]
fn one_direction_may_end_before_the_other() {
    let mut tape = Tape::connected();
    tape.send("FA", 101, 101, b"all").answer("A", 101, 105, b"").wait(9000);
    tape.answer("A", 101, 105, b"slow ")
        .wait(9000)
        .answer("FA", 106, 105, b"answer")
        .send("A", 105, 113, b"");
    let conn = tape.read().only();
    conn.sent("all", "slow answer");
    assert_eq!(conn.end, Some(CloseReason::Fin));
}

#[test]
fn both_ends_may_open() {
    let mut tape = Tape::new(RAW);
    tape.send("S", 100, 0, b"")
        .answer("S", 900, 0, b"")
        .send("SA", 100, 901, b"")
        .answer("SA", 900, 101, b"");
    tape.send("A", 101, 901, b"hi").answer("A", 901, 103, b"ho");
    let conn = tape.read().only();
    conn.sent("hi", "ho");
    assert_eq!((conn.client.as_str(), conn.server.as_str()), (CLIENT, SERVER));
}

/// A bridge, or the interface `any`, shows each packet at every interface that it passes.
#[test]
fn the_same_packet_seen_twice_counts_once() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"ask").answer("A", 101, 104, b"answer").send("A", 104, 107, b"");
    tape.send("FA", 104, 107, b"").answer("FA", 107, 105, b"").send("A", 105, 108, b"");
    let once = tape.read().only();
    once.sent("ask", "answer");
    // Packet by packet, and with the copies a little later, after others.
    for distance in [1, 3] {
        let mut twice = Tape::new(RAW);
        let mut waiting = std::collections::VecDeque::new();
        for packet in &tape.packets {
            twice.packet(packet.bytes.clone());
            waiting.push_back(packet.bytes.clone());
            if waiting.len() == distance {
                twice.packet(waiting.pop_front().unwrap());
            }
        }
        for packet in waiting {
            twice.packet(packet);
        }
        assert_eq!(twice.read().only(), once, "{distance}");
    }
}

#[test]
fn what_was_acknowledged_and_never_seen_is_missing_on_the_wire() {
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"seen").answer("A", 101, 125, b"ok").send("A", 125, 103, b"");
    let conn = tape.read().only();
    // The last number that was acknowledged may be the FIN's (RFC 9293, section 3.4) until something comes behind it.
    assert_eq!(conn.missing, [(false, Range::new(4, 23), Cause::WireNotCaptured)]);
    let mut tape = Tape::connected();
    tape.send("A", 101, 101, b"seen").answer("A", 101, 125, b"ok").send("A", 125, 103, b"more");
    let conn = tape.read().only();
    assert_eq!(conn.missing, [(false, Range::new(4, 24), Cause::WireNotCaptured)]);
    // A capture that begins amid the connection: what the first acknowledgement leaves open may have been under way.
    let mut tape = Tape::new(RAW);
    tape.answer("A", 501, 101, b"next ").send("A", 121, 506, b"behind").answer("A", 506, 127, b"");
    let conn = tape.read().only();
    assert_eq!(conn.missing, [(false, Range::new(0, 20), Cause::WireStartedLate)]);
    // With a handshake, even half of it, it was not.
    let mut tape = Tape::new(RAW);
    tape.send("S", 100, 0, b"")
        .send("A", 101, 501, b"")
        .answer("A", 521, 101, b"behind")
        .send("A", 101, 527, b"");
    let conn = tape.read().only();
    assert_eq!(conn.missing, [(true, Range::new(0, 20), Cause::WireNotCaptured)]);
    // What was acknowledged within a round trip of the beginning may have been, too.
    let mut tape = Tape::new(RAW);
    tape.answer("A", 501, 101, b"next ").answer("A", 506, 121, b"").send("A", 121, 506, b"behind");
    let conn = tape.read().only();
    assert_eq!(conn.missing, [(false, Range::new(0, 20), Cause::WireStartedLate)]);
}

#[test]
fn ipv6_is_the_same() {
    let (client, server) = ("[2001:db8::1]:50000", "[2001:db8::2]:80");
    let mut tape = Tape::new(RAW);
    tape.packet(segment(client, server, "S", 100, 0, b"")).packet(segment(server, client, "SA", 7, 101, b""));
    tape.packet(segment(client, server, "A", 101, 8, b"six"));
    let conn = tape.read().only();
    conn.sent("six", "");
    assert_eq!((conn.client.as_str(), conn.server.as_str()), (client, server));
}
