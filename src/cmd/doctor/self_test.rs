//! `doctor --self-test`: traces a process of its own that moves known bytes, and compares what arrives.

use super::check::{Check, Printer, State};
use super::workload::{DONE, PAIRS, Said, TOTAL, TRANSPORTS, payload};
use crate::event::{Call, Cause, CloseReason, Data, Direction, Event, Kind, Opened};
use crate::exit::Outcome;
use crate::source::live::{self, Live, UringReach};
use crate::source::{Source, hooks};
use anyhow::Context;
use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How long all of it may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it and prints a line for each check. Differences: something did not arrive as it was sent.
///
/// # Errors
/// sockdbg can't trace here, or the traced process fails.
pub fn run(printer: &mut Printer) -> anyhow::Result<Outcome> {
    let test = Test::run()?;
    let checks = [test.calls(), test.beginnings_and_ends(), test.hooks(), test.warnings()].concat();
    for check in &checks {
        printer.check(check)?;
    }
    let failed = checks.iter().filter(|check| check.state == State::Failed).count();
    if failed > 0 {
        printer.end("failed", &format!("{failed} of {} checks", checks.len()))?;
        return Ok(Outcome::Differences);
    }
    let absent = checks.iter().filter(|check| check.state == State::Absent).count();
    let detail = match absent {
        0 => format!("{} checks, every byte arrived", checks.len()),
        _ => format!(
            "{} checks, every byte arrived but for {absent} that no hook of this kernel has",
            checks.len()
        ),
    };
    printer.end("passed", &detail)?;
    Ok(Outcome::Well)
}

/// What the traced process said, and what was seen of it.
struct Test {
    /// Inode of the connection that was open before.
    open: u64,
    /// By transport, then by pair.
    said: Vec<Said>,
    seen: HashMap<u64, Seen>,
    /// What of io_uring the trace has.
    reach: UringReach,
    /// Sockets told of their traffic.
    in_sockets: bool,
    /// How often each hook's program ran; absent where the kernel does not count for us.
    runs: Option<Vec<(String, u64)>>,
    /// What the trace says went wrong with it.
    warnings: Vec<String>,
}

/// What was seen of one socket.
#[derive(Default)]
struct Seen {
    opened: Option<(Opened, Option<Call>)>,
    calls: [BTreeSet<&'static str>; 2],
    bytes: [Vec<u8>; 2],
    /// How many bytes are known to have moved without their payload.
    missing: [u64; 2],
    /// Causes of bytes that did not arrive.
    causes: BTreeSet<&'static str>,
    ended: Option<CloseReason>,
}

impl Seen {
    fn add(&mut self, event: &Event<'_>) {
        match &event.kind {
            Kind::Open(open) => self.opened = Some((open.opened, open.call)),
            Kind::Data(data) => self.add_data(data),
            Kind::Loss(loss) => {
                self.missing[loss.direction.index()] += loss.range.len();
                self.causes.insert(loss.cause.slug());
            }
            Kind::Close(close) => self.ended = Some(close.reason),
        }
    }

    fn add_data(&mut self, data: &Data<'_>) {
        let direction = data.direction.index();
        self.causes.extend(data.cause.map(|cause| cause.slug()));
        if data.length > 0 {
            self.calls[direction].insert(data.call.name());
            self.bytes[direction].extend_from_slice(data.payload);
            self.missing[direction] += data.length - data.payload.len() as u64;
        }
    }
}

impl Test {
    fn run() -> anyhow::Result<Test> {
        let mut workload = Workload::start()?;
        let open = workload.line()?.parse().context("the traced process names no socket")?;
        let counting = hooks::count_runs().ok();
        let stop = Arc::new(AtomicBool::new(false));
        let mut live = Live::attach(live::Options {
            pids: vec![workload.child.id()],
            duration: Some(PATIENCE),
            stop: Arc::clone(&stop),
            ..live::Options::default()
        })?;
        let conversation = thread::spawn(move || {
            let said = workload.converse();
            // The process is still there: its connections are asked for at the end of the trace.
            stop.store(true, Ordering::Relaxed);
            said.map(|said| (said, workload))
        });
        let mut seen: HashMap<u64, Seen> = HashMap::new();
        let summary = live.run(&mut |event| {
            seen.entry(event.conn.socket).or_default().add(event);
            ControlFlow::Continue(())
        })?;
        let runs: Vec<(String, u64)> = live.runs().into_iter().map(|runs| (runs.hook, runs.count)).collect();
        let runs = counting.is_some().then_some(runs);
        let conversation =
            conversation.join().map_err(|_| anyhow::anyhow!("the self-test's conversation failed"))?;
        let (said, _workload) = conversation.context("the traced process")?;
        Ok(Test {
            open,
            said,
            seen,
            reach: live.uring_reach(),
            in_sockets: live.is_in_sockets(),
            runs,
            warnings: summary.warnings,
        })
    }

    /// A line for each call on each transport.
    fn calls(&self) -> Vec<Check> {
        let numbers = (0..TRANSPORTS.len()).flat_map(|at| (0..PAIRS.len()).map(move |pair| (at, pair)));
        let rows = numbers.zip(&self.said);
        rows.flat_map(|((at, number), said)| {
            let (transport, pair) = (&TRANSPORTS[at], &PAIRS[number]);
            let expected = payload(at, number);
            let ends = [(Direction::Send, pair.send, 0), (Direction::Recv, pair.recv, 1)];
            ends.map(|(direction, call, end)| {
                let (state, detail) = match said {
                    Ok(ends) if call == Call::IoUring && !self.reach.has(direction, transport.is_tcp) => {
                        self.judge_out_of_reach([ends.0, ends.1][end], direction, transport.is_tcp)
                    }
                    Ok(ends) => self.judge([ends.0, ends.1][end], direction, call, &expected),
                    Err(error) => (State::Unknown, format!("no such connection: {error}")),
                };
                let which =
                    if pair.send == pair.recv { format!(" {}", direction.name()) } else { String::new() };
                Check::new("calls", format!("{} {}{which}", transport.name, call.name()), state, detail)
            })
        })
        .collect()
    }

    fn judge(&self, inode: u64, direction: Direction, call: Call, expected: &[u8]) -> (State, String) {
        let Some(seen) = self.seen.get(&inode) else {
            return (State::Failed, format!("nothing was seen of socket {inode}"));
        };
        let (bytes, calls) = (&seen.bytes[direction.index()], &seen.calls[direction.index()]);
        let of_other_calls: Vec<&str> = calls.iter().copied().filter(|name| *name != call.name()).collect();
        let same = bytes.iter().zip(expected).take_while(|(one, other)| one == other).count();
        if same < expected.len() || bytes.len() > expected.len() {
            let causes: Vec<&str> = seen.causes.iter().copied().collect();
            let why = if causes.is_empty() { "no cause was told".into() } else { causes.join(", ") };
            let counts = format!("{} of {TOTAL} bytes arrived, {same} as they were sent", bytes.len());
            return (State::Failed, format!("{counts}: {why}"));
        }
        if !of_other_calls.is_empty() {
            return (State::Failed, format!("every byte arrived, but as {}", of_other_calls.join(", ")));
        }
        (State::Ok, format!("{} {} bytes, each as it was sent", direction.name(), bytes.len()))
    }

    /// Of what io_uring moves where no hook has its payload.
    fn judge_out_of_reach(&self, inode: u64, direction: Direction, tcp: bool) -> (State, String) {
        let Some(seen) = self.seen.get(&inode) else {
            // Neither sequence numbers nor the sockets tell.
            return if tcp || self.in_sockets {
                (State::Failed, format!("nothing was seen of socket {inode}"))
            } else {
                (State::Absent, "no hook of this kernel tells of it".into())
            };
        };
        let (missing, bytes) = (seen.missing[direction.index()], seen.bytes[direction.index()].len());
        let causes: Vec<&str> = seen.causes.iter().copied().collect();
        if bytes > 0 || missing != TOTAL as u64 || causes != [Cause::IoUring.slug()] {
            let detail =
                format!("{bytes} bytes arrived, {missing} of {TOTAL} are named: {}", causes.join(", "));
            return (State::Failed, detail);
        }
        (State::Absent, format!("{missing} bytes, named io-uring: no hook of this kernel has their payload"))
    }

    /// Lines for what tells of connections rather than of bytes.
    fn beginnings_and_ends(&self) -> Vec<Check> {
        let check = |name: &str, well: bool, good: String, bad: &str| {
            let (state, detail) = if well { (State::Ok, good) } else { (State::Failed, bad.to_owned()) };
            Check::new("connections", name, state, detail)
        };
        let of = |inode: &u64| self.seen.get(inode);
        let open = of(&self.open);
        let connections = self.said.iter().enumerate().filter(|(at, _)| TRANSPORTS[at / PAIRS.len()].is_tcp);
        let pairs: Vec<&(u64, u64)> = connections.filter_map(|(_, said)| said.as_ref().ok()).collect();
        let opened = |inode: &u64, calls: &[Call]| {
            let known = of(inode).and_then(|seen| seen.opened);
            matches!(known, Some((Opened::Fresh, Some(call))) if calls.contains(&call))
        };
        let accepts = [Call::Accept, Call::Accept4];
        let both =
            |(client, server): &(u64, u64)| opened(client, &[Call::Connect]) && opened(server, &accepts);
        let closed = |inode: &u64| of(inode).and_then(|seen| seen.ended) == Some(CloseReason::Closed);
        vec![
            check(
                "open before",
                open.is_some_and(|seen| matches!(seen.opened, Some((Opened::Found, _)))),
                "found by the listing of open sockets".into(),
                "the listing of open sockets did not show it",
            ),
            check(
                "connect and accept",
                !pairs.is_empty() && pairs.iter().all(|pair| both(pair)),
                format!("{} of each were seen as they happened", pairs.len()),
                "some were not seen as they happened",
            ),
            self.other_connects(),
            check(
                "close",
                !pairs.is_empty() && pairs.iter().all(|(client, server)| closed(client) && closed(server)),
                format!("{} were seen", 2 * pairs.len()),
                "some were not seen",
            ),
            check(
                "open at the end",
                open.is_some_and(|seen| seen.ended == Some(CloseReason::StillOpen)),
                "its totals were told".into(),
                "its totals were not told",
            ),
        ]
    }

    /// They may be the reason of what failed.
    fn warnings(&self) -> Vec<Check> {
        let warnings = self.warnings.iter();
        warnings.map(|text| Check::new("trace", "warning", State::Fallback, text.clone())).collect()
    }

    /// Of sockets that no state tells of.
    fn other_connects(&self) -> Check {
        let clients = self.said.iter().enumerate().filter(|(at, _)| !TRANSPORTS[at / PAIRS.len()].is_tcp);
        let clients: Vec<u64> = clients.filter_map(|(_, said)| Some(said.as_ref().ok()?.0)).collect();
        let opened =
            |inode: &&u64| self.seen.get(inode).and_then(|seen| seen.opened?.1) == Some(Call::Connect);
        let (state, detail) = match clients.iter().filter(opened).count() {
            0 if clients.is_empty() => (State::Failed, "none was made".to_owned()),
            0 => (State::Fallback, "they show when first used".to_owned()),
            count if count == clients.len() => (State::Ok, format!("{count} were seen as they happened")),
            count => (State::Failed, format!("{count} of {} were seen", clients.len())),
        };
        Check::new("connections", "connect of UDP and Unix sockets", state, detail)
    }

    fn hooks(&self) -> Vec<Check> {
        let Some(runs) = &self.runs else {
            let detail = "the kernel counts runs for root (CAP_SYS_ADMIN) only";
            return vec![Check::new("hooks", "runs", State::Unknown, detail)];
        };
        let ran = |name: &str| runs.iter().any(|(other, count)| other == name && *count > 0);
        // Of these two the second one is used where the first can't be.
        let stands_by = |name: &str| {
            name == "tp_btf/sys_enter" && ran("tracepoint/syscalls/sys_enter_close")
                || name == "tracepoint/syscalls/sys_enter_close" && ran("tp_btf/sys_enter")
        };
        let used = runs.iter().filter(|(name, _)| !stands_by(name));
        used.map(|(name, count)| {
            let (state, detail) = match count {
                0 => (State::Failed, "is in place and did not run once".to_owned()),
                1 => (State::Ok, "ran once".to_owned()),
                _ => (State::Ok, format!("ran {count} times")),
            };
            Check::new("hooks", name.as_str(), state, detail)
        })
        .collect()
    }
}

/// The traced process, and how one speaks with it. It ends with its stdin.
struct Workload {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Workload {
    fn start() -> anyhow::Result<Workload> {
        let program = std::env::current_exe().context("own program file")?;
        let mut command = Command::new(program);
        command.args(["doctor", "--workload"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the process to be traced")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the traced process has no output")?;
        Ok(Workload { child, input, output: BufReader::new(output) })
    }

    /// The next line it says.
    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        let length = self.output.read_line(&mut line)?;
        anyhow::ensure!(length > 0, "the traced process failed");
        Ok(line.trim_end().to_owned())
    }

    /// Lets it begin, and takes down what it says until it is done.
    fn converse(&mut self) -> anyhow::Result<Vec<Said>> {
        if let Some(input) = &mut self.input {
            input.write_all(b"\n")?;
        }
        let mut said = Vec::new();
        loop {
            let line = self.line()?;
            if line == DONE {
                return Ok(said);
            }
            said.push(serde_json::from_str(&line)?);
        }
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        drop(self.input.take());
        // Where it can't even end, there is nobody to tell.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges what was seen of the first transport's first pair after `change`.
    fn check(change: impl FnOnce(&mut Seen), state: State, part: &str) {
        let mut seen = Seen::default();
        seen.bytes[0] = payload(0, 0);
        seen.calls[0].insert("write");
        change(&mut seen);
        let test = Test {
            open: 1,
            said: Vec::new(),
            seen: HashMap::from([(5, seen)]),
            reach: UringReach::Nothing,
            in_sockets: true,
            runs: None,
            warnings: Vec::new(),
        };
        let (found, detail) = test.judge(5, Direction::Send, Call::Write, &payload(0, 0));
        assert_eq!(found, state, "{detail}");
        assert!(detail.contains(part), "{detail}");
    }

    #[test]
    fn only_what_arrives_as_it_was_sent_is_ok() {
        check(|_| {}, State::Ok, "20481 bytes");
        check(|seen| seen.bytes[0][20_480] ^= 1, State::Failed, "20481 of 20481 bytes arrived, 20480 as");
        check(|seen| seen.bytes[0].truncate(7), State::Failed, "7 of 20481 bytes arrived, 7 as");
        check(|seen| seen.bytes[0].push(0), State::Failed, "20482 of 20481");
        check(|seen| *seen = Seen::default(), State::Failed, "no cause was told");
        let full = |seen: &mut Seen| {
            seen.bytes[0].clear();
            seen.causes.insert("ring-full");
        };
        check(full, State::Failed, ": ring-full");
        check(|seen| seen.calls[0] = BTreeSet::from(["sendto"]), State::Failed, "but as sendto");
    }

    #[test]
    fn what_is_out_of_reach_is_named_whole_and_alone() {
        let check = |change: fn(&mut Seen), state: State| {
            let mut seen = Seen::default();
            seen.missing[1] = TOTAL as u64;
            seen.causes.insert("io-uring");
            change(&mut seen);
            let seen = HashMap::from([(5, seen)]);
            let reach = UringReach::Nothing;
            let test = Test {
                open: 1,
                said: Vec::new(),
                seen,
                reach,
                in_sockets: false,
                runs: None,
                warnings: Vec::new(),
            };
            assert_eq!(test.judge_out_of_reach(5, Direction::Recv, true).0, state);
            assert_eq!(test.judge_out_of_reach(6, Direction::Recv, true).0, State::Failed);
            assert_eq!(test.judge_out_of_reach(6, Direction::Recv, false).0, State::Absent);
        };
        check(|_| {}, State::Absent);
        check(|seen| seen.missing[1] -= 1, State::Failed);
        check(|seen| seen.bytes[1].push(0), State::Failed);
        check(|seen| seen.causes.extend(["ring-full"]), State::Failed);
    }

    #[test]
    fn a_socket_or_a_hook_that_was_not_seen_fails() {
        let runs = Some(vec![("iter/task_file".into(), 0), ("tp_btf/tcp_destroy_sock".into(), 1)]);
        let test = Test {
            open: 1,
            said: vec![Ok((2, 3))],
            seen: HashMap::new(),
            reach: UringReach::Nothing,
            in_sockets: true,
            runs,
            warnings: Vec::new(),
        };
        let states = |checks: Vec<Check>| checks.iter().map(|check| check.state).collect::<Vec<_>>();
        assert_eq!(states(test.calls()), [State::Failed; 2]);
        assert_eq!(states(test.beginnings_and_ends()), [State::Failed; 5]);
        assert_eq!(states(test.hooks()), [State::Failed, State::Ok]);
    }
}
