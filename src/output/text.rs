//! Events as text: one line each in the spirit of strace and tcpdump, a gap on a line of its own.
//!
//! `TIME COMM[PID] FD<SOCKET> CALL N bytes @OFFSET`; payload below it where asked for.

use super::View;
use super::head::Head;
use super::hexdump::Views;
use super::paint::Paint;
use super::sockets::{Shown, Sockets};
use super::tally::Tally;
use super::time::Clock;
use crate::event::{Call, Cause, Close, CloseReason, Data, Direction, Event, Kind, Open, Opened, Range};
use crate::redact::Content;
use nix::errno::Errno;
use std::fmt;
use std::io::{self, Write};

/// The text view of events.
#[derive(Debug)]
pub struct TextView {
    clock: Clock,
    paint: Paint,
    payload: Views,
    sockets: Sockets,
    content: Content,
}

impl TextView {
    /// A view with times of `clock`, in `paint`'s colours, with `payload` below the lines.
    pub fn new(clock: Clock, paint: Paint, payload: Views) -> TextView {
        TextView::with_content(clock, paint, payload, Content::Whole)
    }

    /// As [`TextView::new`], where payload may have to be taken out, or was.
    pub fn with_content(clock: Clock, paint: Paint, payload: Views, content: Content) -> TextView {
        TextView { clock, paint, payload, sockets: Sockets::default(), content }
    }

    fn data(&self, head: &Head<'_>, data: &Data<'_>, is_stream: bool, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{head} {}", DataLine { data, is_stream, paint: self.paint })?;
        match self.content.instead(data.payload).filter(|_| self.payload.is_on()) {
            Some(said) => writeln!(out, "\t{said}")?,
            None if matches!(self.content, Content::Whole) => {
                self.payload.write(data.offset, data.payload, out)?;
            }
            None => {}
        }
        let captured = data.payload.len() as u64;
        match data.cause {
            Some(cause) if captured < data.length => {
                let range = Range::new(data.offset.saturating_add(captured), data.range().to);
                self.gap(head, data.direction, range, cause, out)
            }
            _ => Ok(()),
        }
    }

    fn gap(
        &self,
        head: &Head<'_>,
        direction: Direction,
        range: Range,
        cause: Cause,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let word = self.paint.alarm("gap");
        writeln!(out, "{head} {word} {}", gap(direction, range, cause))
    }
}

impl View for TextView {
    fn event(&mut self, event: &Event<'_>, out: &mut dyn Write) -> io::Result<()> {
        let socket = self.sockets.of(event);
        let time = self.clock.time_of_day(event.time);
        let head = Head::new(time, self.paint, event.task.as_ref(), socket.with_fd(event.fd));
        match &event.kind {
            Kind::Open(open) => writeln!(out, "{head} {}", OpenLine { open, paint: self.paint }),
            Kind::Data(data) => self.data(&head, data, socket.transport.is_stream(), out),
            Kind::Close(close) => writeln!(out, "{head} {}", CloseLine { close, paint: self.paint }),
            Kind::Loss(loss) => self.gap(&head, loss.direction, loss.range, loss.cause, out),
        }
    }

    fn end(&mut self, _: &Tally, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// How every text view words a gap: direction, offset, length, stage, cause.
pub fn gap(direction: Direction, range: Range, cause: Cause) -> String {
    let (direction, stage) = (direction.name(), cause.stage().name());
    format!("{direction} {} bytes @{}, stage {stage}, cause {}", range.len(), range.from, cause.slug())
}

struct OpenLine<'a> {
    open: &'a Open,
    paint: Paint,
}

impl fmt::Display for OpenLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Open { opened, role, start, exact, filtered, call, error, .. } = self.open;
        match call {
            Some(call) => write!(f, "{}", self.paint.word(call.name()))?,
            None => write!(f, "{}", self.paint.word("open"))?,
        }
        if let Some(error) = error {
            return write!(f, " {}", self.paint.alarm(Failure(*error)));
        }
        write!(f, " as {}", role.name())?;
        if *opened == Opened::Found {
            write!(f, ", was open already")?;
            match exact {
                true => write!(f, ", sent {}, received {} before", start[0].offset, start[1].offset)?,
                false => write!(f, ", offsets count from here")?,
            }
        }
        if *filtered {
            write!(f, ", left out by the filter")?;
        }
        Ok(())
    }
}

struct DataLine<'a> {
    data: &'a Data<'a>,
    is_stream: bool,
    paint: Paint,
}

impl fmt::Display for DataLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Data { direction, offset, length, call, peer, peek, past_tcp, error, .. } = self.data;
        match direction {
            Direction::Send => write!(f, "{}", self.paint.send(call.name()))?,
            Direction::Recv => write!(f, "{}", self.paint.recv(call.name()))?,
        }
        // The name of a call tells the direction; that of a packet does not.
        if *call == Call::Packet {
            write!(f, " {}", direction.name())?;
        }
        if let Some(error) = error {
            return write!(f, " {}", self.paint.alarm(Failure(*error)));
        }
        write!(f, " {length} bytes @{offset}")?;
        match (peer, direction) {
            (Some(peer), Direction::Send) => write!(f, " to {}", Shown(peer))?,
            (Some(peer), Direction::Recv) => write!(f, " from {}", Shown(peer))?,
            (None, _) => {}
        }
        if *peek {
            write!(f, ", peek")?;
        }
        if *past_tcp {
            write!(f, ", past TCP")?;
        }
        if *length == 0 && *direction == Direction::Recv && self.is_stream {
            write!(f, ", end of stream")?;
        }
        Ok(())
    }
}

struct CloseLine<'a> {
    close: &'a Close,
    paint: Paint,
}

impl fmt::Display for CloseLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [send, recv] = self.close.totals;
        let call = self.close.call.map_or("close", Call::name);
        write!(f, "{}", self.paint.word(call))?;
        write!(f, " ({}), sent {}, received {}", reason(self.close.reason), send.moved, recv.moved)?;
        if send.pending > 0 {
            write!(f, ", {} not acknowledged", send.pending)?;
        }
        if recv.pending > 0 {
            write!(f, ", {} unread", recv.pending)?;
        }
        Ok(())
    }
}

fn reason(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Descriptor => "one descriptor of several",
        CloseReason::Closed => "last descriptor",
        CloseReason::Fin => "FIN both ways",
        CloseReason::Reset => "reset",
        CloseReason::StillOpen => "trace ends, still open",
    }
}

/// `failed: ECONNREFUSED (Connection refused)`.
struct Failure(i32);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Errno::from_raw(self.0) {
            Errno::UnknownErrno => write!(f, "failed: errno {}", self.0),
            errno => write!(f, "failed: {errno:?} ({})", errno.desc()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Comm, ConnId, Loss, Role, Start, Task, Timestamp, Total, Transport};

    fn event(kind: Kind<'_>) -> Event<'_> {
        Event {
            time: Timestamp(1_795_382_401_123_456_789),
            conn: ConnId { socket: 77, opened: 1 },
            task: Some(Task { pid: 123, tid: 123, comm: Comm::new(b"nginx") }),
            fd: Some(5),
            kind,
        }
    }

    fn open() -> Open {
        Open {
            local: Some("10.0.0.1:443".parse().unwrap()),
            remote: Some("10.0.0.2:51000".parse().unwrap()),
            role: Role::Server,
            call: Some(Call::Accept4),
            ..Open::default()
        }
    }

    fn data(direction: Direction, call: Call, length: u64, payload: &[u8]) -> Data<'_> {
        Data {
            direction,
            offset: 100,
            length,
            payload,
            tcp_seq: None,
            peer: None,
            call,
            cause: None,
            peek: false,
            past_tcp: false,
            acked: None,
            error: None,
        }
    }

    /// Shows `kind` after an open, and compares the lines without the head that all of them share.
    fn check(payload: Views, kind: Kind<'_>, expected: &[&str]) {
        let mut view = TextView::new(Clock::utc(), Paint::new(false), payload);
        let mut out = Vec::new();
        view.event(&event(Kind::Open(open())), &mut io::sink()).unwrap();
        view.event(&event(kind), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let head = "21:20:01.123456 nginx[123] 5<TCP:[10.0.0.1:443->10.0.0.2:51000]> ";
        let lines: Vec<&str> = out.lines().map(|line| line.strip_prefix(head).unwrap_or(line)).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn data_is_one_line_without_payload() {
        let received = data(Direction::Recv, Call::Recvfrom, 5, b"hello");
        check(Views::default(), Kind::Data(received), &["recvfrom 5 bytes @100"]);
        let end = data(Direction::Recv, Call::Read, 0, b"");
        check(Views::default(), Kind::Data(end), &["read 0 bytes @100, end of stream"]);
        let peek = Data { peek: true, ..data(Direction::Recv, Call::Recvmsg, 5, b"hello") };
        check(Views::default(), Kind::Data(peek), &["recvmsg 5 bytes @100, peek"]);
        let packet = data(Direction::Send, Call::Packet, 5, b"hello");
        check(Views::default(), Kind::Data(packet), &["packet send 5 bytes @100"]);
    }

    #[test]
    fn a_datagram_tells_its_peer_and_may_be_empty() {
        let mut view = TextView::new(Clock::utc(), Paint::new(false), Views::default());
        let udp = Open { transport: Transport::Udp, remote: None, ..open() };
        view.event(&event(Kind::Open(udp)), &mut io::sink()).unwrap();
        let mut out = Vec::new();
        for direction in Direction::BOTH {
            let peer = Some("192.0.2.1:53".parse().unwrap());
            let datagram = Data { peer, ..data(direction, Call::Packet, 0, b"") };
            view.event(&event(Kind::Data(datagram)), &mut out).unwrap();
        }
        let head = "21:20:01.123456 nginx[123] 5<UDP:[10.0.0.1:443]> packet";
        let expected =
            format!("{head} send 0 bytes @100 to 192.0.2.1:53\n{head} recv 0 bytes @100 from 192.0.2.1:53\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_failed_call_says_why() {
        let failed = Data { error: Some(104), ..data(Direction::Recv, Call::Read, 0, b"") };
        check(Views::default(), Kind::Data(failed), &["read failed: ECONNRESET (Connection reset by peer)"]);
        let refused = Open { error: Some(111), call: Some(Call::Connect), ..open() };
        check(Views::default(), Kind::Open(refused), &["connect failed: ECONNREFUSED (Connection refused)"]);
    }

    #[test]
    fn cut_payload_gets_a_gap_line_with_its_own_range() {
        let cut = Data { cause: Some(Cause::Snaplen), ..data(Direction::Send, Call::Writev, 50, b"hello") };
        check(
            Views { ascii: true, ..Views::default() },
            Kind::Data(cut),
            &["writev 50 bytes @100", "\thello", "gap send 45 bytes @105, stage capture, cause snaplen"],
        );
    }

    #[test]
    fn a_loss_is_a_gap_line() {
        let loss = Loss { direction: Direction::Recv, range: Range::new(512, 640), cause: Cause::RingFull };
        let expected = "gap recv 128 bytes @512, stage delivery, cause ring-full";
        check(Views::default(), Kind::Loss(loss), &[expected]);
    }

    #[test]
    fn opens_tell_what_came_before() {
        check(Views::default(), Kind::Open(open()), &["accept4 as server"]);
        let start = [10, 20].map(|offset| Start { offset, seq: None });
        let found = Open { opened: Opened::Found, call: Some(Call::Listing), start, exact: true, ..open() };
        let expected = "listing as server, was open already, sent 10, received 20 before";
        check(Views::default(), Kind::Open(found), &[expected]);
    }

    #[test]
    fn closes_tell_totals_and_what_was_left_behind() {
        let totals = [(10, None, 0), (20, Some(25), 5)].map(|(moved, end, pending)| Total {
            moved,
            end,
            pending,
            ..Total::default()
        });
        let close = Close { reason: CloseReason::Closed, call: Some(Call::Close), totals };
        check(
            Views::default(),
            Kind::Close(close),
            &["close (last descriptor), sent 10, received 20, 5 unread"],
        );
    }

    #[test]
    fn a_hostile_name_and_a_thread_are_shown_safely() {
        let mut view = TextView::new(Clock::utc(), Paint::new(false), Views::default());
        let mut hostile = event(Kind::Open(open()));
        hostile.task = Some(Task { pid: 1, tid: 2, comm: Comm::new(b"\x1b[2J\n") });
        let mut out = Vec::new();
        view.event(&hostile, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("21:20:01.123456 \\x1b[2J\\n[1/2] 5<TCP:"), "{out}");
        assert_eq!(out.lines().count(), 1);
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut plain = Vec::new();
        let mut coloured = Vec::new();
        for (on, out) in [(false, &mut plain), (true, &mut coloured)] {
            let mut view = TextView::new(Clock::utc(), Paint::new(on), Views::default());
            view.event(&event(Kind::Open(open())), out).unwrap();
        }
        assert!(coloured.contains(&0x1b) && !plain.contains(&0x1b));
        let stripped = anstream::adapter::strip_bytes(&coloured).into_vec();
        assert_eq!(stripped, plain);
    }
}
