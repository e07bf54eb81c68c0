//! The user's `-p` and filters on events that come from a file. For a live trace the kernel filters.

use super::options::{FdList, Targets};
use crate::event::{Cause, ConnId, Event, Kind, Loss};
use crate::source::filter;
use rustc_hash::{FxHashMap, FxHashSet};

/// Keeps the events of the wanted processes, descriptors, connections and calls.
#[derive(Debug)]
pub struct Filter {
    pids: Vec<u32>,
    fds: Option<FdList>,
    rest: filter::Filter,
    /// What the last event with a descriptor decided, for events of the connection that have none.
    kept: FxHashMap<ConnId, bool>,
    /// Connections that are left out by what they are called.
    left_out: FxHashSet<ConnId>,
}

impl Filter {
    /// The filter that the target options ask for.
    pub fn new(targets: &Targets) -> Filter {
        Filter {
            pids: targets.processes.pids.clone(),
            fds: targets.filters.fd.clone(),
            rest: targets.filters.filter(),
            kept: FxHashMap::default(),
            left_out: FxHashSet::default(),
        }
    }

    /// True where the event is wanted. An event without task or descriptor (the kernel closed the
    /// connection, say) follows the last event of its connection that had one.
    pub fn keeps(&mut self, event: &Event<'_>) -> bool {
        if !self.keeps_connection(event) || self.is_bare(event) {
            return false;
        }
        if self.pids.is_empty() && self.fds.is_none() {
            return true;
        }
        let decided = self.decide(event);
        let kept = decided.unwrap_or_else(|| self.kept.get(&event.conn).copied().unwrap_or(false));
        match (&event.kind, decided) {
            (Kind::Close(close), _) if close.reason.is_final() => drop(self.kept.remove(&event.conn)),
            (_, Some(kept)) => drop(self.kept.insert(event.conn, kept)),
            _ => {}
        }
        kept
    }

    /// What is to be seen of a wanted event whose bytes are left out: that they moved. `None`: the event as it is.
    pub fn account<'a>(&self, event: &Event<'a>) -> Option<Event<'a>> {
        let Kind::Data(data) = &event.kind else { return None };
        if self.rest.keeps_call(data) {
            return None;
        }
        let loss = Loss { direction: data.direction, range: data.range(), cause: Cause::Filtered };
        Some(Event { kind: Kind::Loss(loss), ..event.clone() })
    }

    fn keeps_connection(&mut self, event: &Event<'_>) -> bool {
        if self.rest.is_empty() {
            return true;
        }
        if let Kind::Open(open) = &event.kind
            && !self.rest.keeps_connection(open)
        {
            self.left_out.insert(event.conn);
        }
        match &event.kind {
            Kind::Close(close) if close.reason.is_final() => !self.left_out.remove(&event.conn),
            _ => !self.left_out.contains(&event.conn),
        }
    }

    /// A call that is left out and has moved nothing.
    fn is_bare(&self, event: &Event<'_>) -> bool {
        let Kind::Data(data) = &event.kind else { return false };
        (data.peek || data.length == 0) && !self.rest.keeps_call(data)
    }

    fn decide(&self, event: &Event<'_>) -> Option<bool> {
        let pid = match (&self.pids[..], event.task) {
            ([], _) => true,
            (pids, Some(task)) => pids.contains(&task.pid),
            (_, None) => return None,
        };
        let fd = match (&self.fds, event.fd) {
            (None, _) => true,
            (Some(fds), Some(fd)) => fds.keeps(u32::try_from(fd).ok()?),
            (Some(_), None) => return None,
        };
        Some(pid && fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::options::{Filters, Processes};
    use crate::event::{Call, Close, CloseReason, Data, Direction, Open, Task, Timestamp, Total};

    fn event(socket: u64, pid: Option<u32>, fd: Option<i32>, kind: Kind<'static>) -> Event<'static> {
        let task = pid.map(|pid| Task { pid, tid: pid, ..Task::default() });
        Event { time: Timestamp(0), conn: ConnId { socket, opened: 1 }, task, fd, kind }
    }

    fn open() -> Kind<'static> {
        Kind::Open(Open::default())
    }

    fn close() -> Kind<'static> {
        Kind::Close(Close { reason: CloseReason::Reset, call: None, totals: [Total::default(); 2] })
    }

    fn filter(pids: &[u32], fd: Option<&str>) -> Filter {
        let filters = Filters { fd: fd.map(|list| list.parse().unwrap()), ..Filters::default() };
        let processes = Processes { pids: pids.to_vec() };
        Filter::new(&Targets { processes, filters, ..Targets::default() })
    }

    fn data(direction: Direction, call: Call, length: u64, peek: bool) -> Kind<'static> {
        let payload = &b"hello"[..length as usize];
        let (tcp_seq, cause, error) = (None, None, None);
        Kind::Data(Data {
            direction,
            offset: 10,
            length,
            payload,
            tcp_seq,
            call,
            cause,
            peek,
            past_tcp: false,
            acked: None,
            error,
            peer: None,
        })
    }

    #[test]
    fn a_connection_is_left_out_whole_by_what_it_is_called() {
        let filters = Filters { port: Some("80".parse().unwrap()), ..Filters::default() };
        let mut port = Filter::new(&Targets { filters, ..Targets::default() });
        let open = |local: &str| {
            let remote = Some("10.0.0.2:51000".parse().unwrap());
            Kind::Open(Open { local: Some(local.parse().unwrap()), remote, ..Open::default() })
        };
        assert!(port.keeps(&event(1, Some(7), Some(3), open("10.0.0.1:80"))));
        assert!(!port.keeps(&event(2, Some(7), Some(4), open("10.0.0.1:81"))));
        for (socket, kept) in [(1, true), (2, false)] {
            let sent = data(Direction::Send, Call::Write, 5, false);
            assert_eq!(port.keeps(&event(socket, Some(7), Some(3), sent)), kept);
            assert_eq!(port.keeps(&event(socket, None, None, close())), kept);
        }
        assert!(port.left_out.is_empty());
    }

    #[test]
    fn bytes_of_calls_left_out_are_still_accounted_for() {
        let filters = Filters { syscall: vec![Call::Read, Call::Write], ..Filters::default() };
        let mut calls = Filter::new(&Targets { filters, ..Targets::default() });
        let kept = event(1, Some(7), Some(3), data(Direction::Recv, Call::Read, 5, false));
        assert!(calls.keeps(&kept) && calls.account(&kept).is_none());
        let left = event(1, Some(7), Some(3), data(Direction::Recv, Call::Recvfrom, 5, false));
        assert!(calls.keeps(&left));
        let instead = calls.account(&left).map(|event| event.kind);
        let Some(Kind::Loss(loss)) = instead else { panic!("{instead:?}") };
        assert_eq!((loss.direction, loss.cause), (Direction::Recv, Cause::Filtered));
        assert_eq!((loss.range.from, loss.range.to), (10, 15));
        for (length, peek) in [(0, false), (5, true)] {
            let moved_nothing = data(Direction::Recv, Call::Recvfrom, length, peek);
            assert!(!calls.keeps(&event(1, Some(7), Some(3), moved_nothing)));
        }
    }

    #[test]
    fn without_options_everything_passes() {
        assert!(filter(&[], None).keeps(&event(1, None, None, open())));
    }

    #[test]
    fn processes_and_descriptors_both_have_to_fit() {
        let mut both = filter(&[7], Some("3,4"));
        assert!(both.keeps(&event(1, Some(7), Some(3), open())));
        assert!(!both.keeps(&event(2, Some(7), Some(5), open())));
        assert!(!both.keeps(&event(3, Some(8), Some(3), open())));
    }

    #[test]
    fn an_event_without_descriptor_follows_its_connection_to_the_end() {
        let mut fds = filter(&[], Some("!3"));
        assert!(!fds.keeps(&event(1, Some(7), Some(3), open())));
        assert!(fds.keeps(&event(2, Some(7), Some(4), open())));
        assert!(!fds.keeps(&event(1, None, None, close())));
        assert!(fds.keeps(&event(2, None, None, close())));
        assert!(fds.kept.is_empty());
    }
}
