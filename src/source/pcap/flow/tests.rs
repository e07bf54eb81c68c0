//! Segments made by hand, events written down as short lines.

use super::super::link::{Segment, flag};
use super::*;

const C: &str = "10.0.0.1:50000";
const S: &str = "10.0.0.2:80";
const MS: u64 = 1_000_000;

/// A capture under construction; `lines` are the events so far.
struct Wire {
    flows: Flows,
    time: u64,
    lines: Vec<String>,
}

impl Wire {
    fn new() -> Wire {
        Wire { flows: Flows::default(), time: 1_000 * MS, lines: Vec::new() }
    }

    /// A client's connection after its handshake: both streams begin at number 101.
    fn connected() -> Wire {
        let mut wire = Wire::new();
        wire.send(C, S, "S", 100, 0, b"").send(S, C, "SA", 100, 101, b"").send(C, S, "A", 101, 101, b"");
        assert_eq!(wire.take(), ["1 open fresh 10.0.0.1:50000 client"]);
        wire
    }

    fn send(&mut self, from: &str, to: &str, flags: &str, seq: u32, ack: u32, payload: &[u8]) -> &mut Wire {
        self.time += MS;
        let bit = |letter| match letter {
            'S' => flag::SYN,
            'A' => flag::ACK,
            'F' => flag::FIN,
            _ => flag::RST,
        };
        let segment = Segment {
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            seq,
            ack,
            flags: flags.chars().map(bit).sum(),
            header: 20,
            length: payload.len(),
            payload,
        };
        let lines = &mut self.lines;
        let sink = &mut |event: &Event<'_>| {
            lines.push(line(event));
            ControlFlow::Continue(())
        };
        assert!(self.flows.segment(Timestamp(self.time), &segment, sink).is_continue());
        self
    }

    fn wait(&mut self, milliseconds: u64) -> &mut Wire {
        self.time += milliseconds * MS;
        self
    }

    fn end(&mut self) -> Vec<String> {
        let lines = &mut self.lines;
        let sink = &mut |event: &Event<'_>| {
            lines.push(line(event));
            ControlFlow::Continue(())
        };
        assert!(self.flows.end(sink).is_continue());
        self.take()
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

fn line(event: &Event<'_>) -> String {
    let what = match &event.kind {
        Kind::Open(open) => {
            let how = if open.opened == Opened::Fresh { "fresh" } else { "found" };
            assert_eq!(open.exact, open.opened == Opened::Fresh);
            format!("open {how} {} {}", open.local.unwrap(), open.role.name())
        }
        Kind::Data(data) if data.length == 0 => format!("{} {} end", data.direction.name(), data.offset),
        Kind::Data(data) => {
            let text = String::from_utf8_lossy(data.payload);
            format!("{} {} {text}", data.direction.name(), data.offset)
        }
        Kind::Loss(loss) => format!("loss {} {}", loss.direction.name(), loss.range),
        Kind::Close(close) => {
            let [sent, received] = close.totals.map(|total| total.moved);
            format!("{} {sent} {received}", close.reason.name())
        }
    };
    format!("{} {what}", event.conn.socket)
}

#[test]
fn a_connection_from_handshake_to_fin() {
    let mut wire = Wire::connected();
    wire.send(C, S, "A", 101, 101, b"hello").send(S, C, "A", 101, 106, b"world!");
    wire.send(C, S, "FA", 106, 107, b"").send(S, C, "FA", 107, 107, b"");
    assert_eq!(wire.take(), ["1 send 0 hello", "1 recv 0 world!", "1 send 5 end", "1 recv 6 end"]);
    wire.send(C, S, "A", 107, 108, b"");
    assert_eq!(wire.take(), ["1 fin 5 6"]);
    // Retransmissions open nothing, and the end reports it no second time.
    wire.send(S, C, "FA", 107, 107, b"").send(C, S, "A", 101, 107, b"hello").send(S, C, "R", 108, 0, b"");
    assert_eq!(wire.end(), [""; 0]);
    assert_eq!(wire.flows.ignored.late, 0);
}

/// Where both directions begin is known although the server never sends a byte; and when, which is the SYN's time.
#[test]
fn a_connection_is_told_of_with_both_numbers_of_its_handshake() {
    let opening = |answer: &str| {
        let mut wire = Wire::new();
        wire.send(C, S, "S", 100, 0, b"").send(C, S, "S", 100, 0, b"");
        assert_eq!(wire.take(), [""; 0], "the same SYN again brings nothing");
        let mut seen = None;
        let segment = Segment {
            source: S.parse().unwrap(),
            destination: C.parse().unwrap(),
            seq: 700,
            ack: 101,
            flags: if answer == "SA" { SYN_ACK } else { flag::RST | flag::ACK },
            header: 20,
            length: 0,
            payload: b"",
        };
        let time = Timestamp(wire.time + MS);
        let step = wire.flows.segment(time, &segment, &mut |event| {
            let Kind::Open(open) = &event.kind else { panic!("{event:?}") };
            seen = Some((event.time.0, open.start.map(|start| start.seq)));
            ControlFlow::Continue(())
        });
        assert!(step.is_continue());
        seen
    };
    let at = 1_001 * MS;
    assert_eq!(opening("SA"), Some((at, [Some(101), Some(701)])));
    assert_eq!(opening("RA"), Some((at, [Some(101), None])));
    let mut wire = Wire::new();
    wire.send(C, S, "S", 100, 0, b"").send(C, S, "S", 900, 0, b"");
    let lines = ["1 open fresh 10.0.0.1:50000 client", "1 closed 0 0"];
    assert_eq!(wire.take(), lines, "nobody answered, and the ports are used again");
    assert_eq!(wire.end(), ["2 open fresh 10.0.0.1:50000 client", "2 still-open 0 0"]);
}

#[test]
fn ports_used_again_are_another_connection() {
    let mut wire = Wire::connected();
    wire.send(C, S, "S", 100, 0, b""); // the same SYN again is the same connection
    assert_eq!(wire.take(), [""; 0]);
    wire.send(C, S, "S", 9000, 0, b"").send(S, C, "SA", 500, 9001, b"").send(C, S, "A", 9001, 501, b"new");
    assert_eq!(wire.take(), ["1 closed 0 0", "2 open fresh 10.0.0.1:50000 client", "2 send 0 new"]);
    assert_eq!(wire.end(), ["2 still-open 3 0"]);
}

#[test]
fn data_in_flight_at_a_reset_counts() {
    let mut wire = Wire::connected();
    wire.send(C, S, "R", 101, 0, b"").send(S, C, "A", 101, 101, b"late");
    assert_eq!(wire.take(), ["1 recv 0 late"]);
    wire.wait(2000).send("1.1.1.1:1", "2.2.2.2:2", "A", 1, 1, b"");
    assert_eq!(wire.take(), ["1 reset 0 4"]);
    wire.send(S, C, "A", 105, 101, b"too late");
    assert_eq!(wire.take(), [""; 0]);
    assert_eq!(wire.flows.ignored.late, 1);
}

#[test]
fn a_reset_whose_sender_goes_on_was_none() {
    let mut wire = Wire::connected();
    wire.send(C, S, "R", 101, 0, b"").send(C, S, "A", 101, 101, b"on").wait(5000);
    wire.send(C, S, "A", 103, 101, b"ward");
    assert_eq!(wire.take(), ["1 send 0 on", "1 send 2 ward"]);
    assert_eq!(wire.end(), ["1 still-open 6 0"]);
}

#[test]
fn a_reset_outside_any_window_is_ignored() {
    let mut wire = Wire::connected();
    wire.send(S, C, "R", 0x7fff_0000, 0, b"");
    assert_eq!(wire.end(), ["1 still-open 0 0"]);
    assert_eq!(wire.flows.ignored.wild, 1);
    // Before the server said anything, a reset has to acknowledge the SYN.
    let mut wire = Wire::new();
    wire.send(C, S, "S", 100, 0, b"").send(S, C, "RA", 0, 100, b"");
    assert_eq!(wire.end(), ["1 open fresh 10.0.0.1:50000 client", "1 still-open 0 0"]);
    let mut wire = Wire::new();
    wire.send(C, S, "S", 100, 0, b"").send(S, C, "RA", 0, 101, b"");
    assert_eq!(wire.end(), ["1 open fresh 10.0.0.1:50000 client", "1 reset 0 0"]);
}

#[test]
fn wild_numbers_make_no_loss() {
    let mut wire = Wire::connected();
    wire.send(C, S, "A", 0x7000_0000, 101, b"wild").send(S, C, "A", 101, 0x7000_0000, b"");
    wire.send(C, S, "A", 101, 101, b"good");
    assert_eq!(wire.end(), ["1 send 0 good", "1 still-open 4 0"]);
    assert_eq!(wire.flows.ignored.wild, 2);
}

#[test]
fn a_hole_is_lost_once_it_is_acknowledged_and_a_second_has_passed() {
    let mut wire = Wire::connected();
    wire.send(C, S, "A", 111, 101, b"behind").wait(5000).send(C, S, "A", 117, 101, b"!");
    assert_eq!(wire.take(), ["1 send 10 behind", "1 send 16 !"], "nobody acknowledged it");
    wire.send(S, C, "A", 101, 118, b"").wait(999).send(S, C, "A", 101, 118, b"");
    assert_eq!(wire.take(), ["1 loss send [0, 10)"]);
    assert_eq!(wire.end(), ["1 still-open 7 0"]);
}

#[test]
fn acknowledgements_before_their_data_are_no_loss() {
    let mut wire = Wire::connected();
    wire.send(S, C, "A", 101, 106, b"").send(C, S, "A", 101, 101, b"hello");
    assert_eq!(wire.end(), ["1 send 0 hello", "1 still-open 5 0"]);
}

#[test]
fn bytes_acknowledged_and_never_seen_are_lost_at_the_end() {
    let mut wire = Wire::connected();
    wire.send(S, C, "A", 101, 201, b"").send(C, S, "FA", 201, 101, b"").send(S, C, "FA", 101, 202, b"");
    assert_eq!(wire.take(), ["1 send 100 end", "1 recv 0 end"]);
    wire.send(C, S, "A", 202, 102, b"").wait(2000).send("1.1.1.1:1", "2.2.2.2:2", "A", 1, 1, b"");
    assert_eq!(wire.take(), ["1 loss send [0, 100)", "1 fin 0 0"]);
}

#[test]
fn keep_alives_are_no_data() {
    let mut wire = Wire::connected();
    wire.send(C, S, "A", 100, 101, b"").send(C, S, "A", 100, 101, b"\0");
    wire.send(C, S, "A", 101, 101, b"x").send(C, S, "A", 101, 101, b"\0").send(S, C, "A", 101, 102, b"");
    assert_eq!(wire.end(), ["1 send 0 x", "1 still-open 1 0"]);
}

#[test]
fn data_on_a_syn_begins_the_stream() {
    let mut wire = Wire::new();
    wire.send(C, S, "S", 100, 0, b"GET").send(S, C, "SA", 7, 104, b"").send(C, S, "A", 104, 8, b" /");
    assert_eq!(
        wire.end()[1..],
        ["1 send 0 GET", "1 send 3 /", "1 still-open 5 0"].map(|line| line.replace("3 /", "3  /"))
    );
}

#[test]
fn without_a_handshake_the_lower_port_is_the_server() {
    let mut wire = Wire::new();
    wire.send(S, C, "A", 500, 900, b"answer").send(C, S, "A", 900, 506, b"next");
    wire.send("9.9.9.9:7", "8.8.8.8:7", "A", 1, 1, b"?");
    let found = ["1 open found 10.0.0.1:50000 client", "1 recv 0 answer", "1 send 0 next"];
    assert_eq!(wire.lines[..3], found);
    assert_eq!(wire.take()[3..], ["2 open found 9.9.9.9:7 unknown", "2 send 0 ?"]);
}

#[test]
fn the_first_acknowledgement_tells_where_the_other_direction_begins() {
    let mut wire = Wire::new();
    wire.send(C, S, "A", 1000, 5000, b"")
        .send(C, S, "A", 1000, 5000, b"ask")
        .send(S, C, "A", 5004, 1003, b"er");
    wire.send(C, S, "A", 1003, 5006, b"");
    let found = "1 open found 10.0.0.1:50000 client";
    assert_eq!(wire.end(), [found, "1 send 0 ask", "1 recv 4 er", "1 loss recv [0, 4)", "1 still-open 3 2"]);
}

#[test]
fn a_flow_of_acknowledgements_alone_is_reported_at_the_end() {
    let mut wire = Wire::new();
    wire.send(C, S, "A", 1000, 5000, b"").send(S, C, "A", 5000, 1000, b"").send(C, S, "R", 1000, 0, b"");
    assert_eq!(wire.take(), [""; 0], "what came before the first acknowledgement can still be the start");
    assert_eq!(wire.end(), ["1 open found 10.0.0.1:50000 client", "1 still-open 0 0"]);
}

#[test]
fn acknowledgements_soon_after_the_beginning_are_of_what_was_on_its_way() {
    let losses = |first: u64| {
        let mut wire = Wire::new();
        let mut causes = Vec::new();
        let began = 1_000 * MS;
        let times = [began, began + first, began + first + 1];
        let (mut flows, from) = (std::mem::take(&mut wire.flows), [(S, C), (S, C), (C, S)]);
        for (index, time) in times.into_iter().enumerate() {
            let (source, destination) = from[index];
            let segment = Segment {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                seq: [5000, 5000, 1050][index],
                ack: [1000, 1040, 5000][index],
                flags: flag::ACK,
                header: 20,
                length: [0, 0, 2][index],
                payload: [&b""[..], b"", b"hi"][index],
            };
            let sink = &mut |event: &Event<'_>| {
                if let Kind::Loss(loss) = &event.kind {
                    causes.push((loss.cause, loss.range));
                }
                ControlFlow::Continue(())
            };
            assert!(flows.segment(Timestamp(time), &segment, sink).is_continue());
        }
        let sink = &mut |event: &Event<'_>| {
            if let Kind::Loss(loss) = &event.kind {
                causes.push((loss.cause, loss.range));
            }
            ControlFlow::Continue(())
        };
        assert!(flows.end(sink).is_continue());
        causes
    };
    let (early, sent) = ((Cause::WireStartedLate, Range::new(40, 50)), Range::new(0, 40));
    assert_eq!(losses(200 * MS), [(Cause::WireStartedLate, sent), early]);
    assert_eq!(losses(IN_FLIGHT_TIME + 1), [(Cause::WireNotCaptured, sent), early]);
}

#[test]
fn a_handshake_of_which_only_the_answer_was_seen_is_fresh() {
    let mut wire = Wire::new();
    wire.send(S, C, "SA", 100, 101, b"").send(C, S, "A", 101, 101, b"hi");
    assert_eq!(wire.end(), ["1 open fresh 10.0.0.1:50000 client", "1 send 0 hi", "1 still-open 2 0"]);
}

#[test]
fn closed_flows_are_forgotten() {
    let mut wire = Wire::new();
    for port in 0..MAX_WAITING as u32 * 2 + 10 {
        let client = format!("10.0.{}.1:{}", port >> 15, 1024 + (port & 0x7fff));
        wire.send(&client, S, "S", 100, 0, b"").send(S, &client, "RA", 0, 101, b"");
    }
    // Some wait for the end of their reset, as many again are remembered closed, no more.
    assert!(wire.flows.table.len() <= 2 * MAX_WAITING + 2, "{}", wire.flows.table.len());
    wire.wait(CLOSING_TIME / MS + CLOSED_TIME / MS).send(C, S, "S", 1, 0, b"");
    wire.wait(CLOSED_TIME / MS + 1).send(C, S, "S", 1, 0, b"");
    assert_eq!(wire.flows.table.len(), 1);
}
