//! The user's `-p` and `--fd` on events that come from a file. For a live trace the kernel filters.

use super::options::{FdList, Targets};
use crate::event::{ConnId, Event, Kind};
use rustc_hash::FxHashMap;

/// Keeps the events of the wanted processes and descriptors.
#[derive(Debug)]
pub struct Filter {
    pids: Vec<u32>,
    fds: Option<FdList>,
    /// What the last event with a descriptor decided, for events of the connection that have none.
    kept: FxHashMap<ConnId, bool>,
}

impl Filter {
    /// The filter that the target options ask for.
    pub fn new(targets: &Targets) -> Filter {
        Filter { pids: targets.pids.clone(), fds: targets.fd.clone(), kept: FxHashMap::default() }
    }

    /// True where the event is wanted. An event without task or descriptor (the kernel closed the
    /// connection, say) follows the last event of its connection that had one.
    pub fn keeps(&mut self, event: &Event<'_>) -> bool {
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
    use crate::event::{Close, CloseReason, Open, Task, Timestamp, Total};

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
        Filter::new(&Targets { pids: pids.to_vec(), fd: fd.map(|list| list.parse().unwrap()) })
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
