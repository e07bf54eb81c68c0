//! Whom a trace follows: real processes that fork, exec, change their names, enter and leave cgroups. What each of
//! them sent is known from the peer; every byte is delivered, with the pid of the process that sent it.

mod common;

use common::events::{json, text};
use common::peer::{Python, eventually, listen};
use common::trace::{Report, Seen, Trace, What, cause_of_others, require_bpf};
use common::watcher::Watcher;
use sockdbg::event::{Address, CloseReason, Comm, Direction, Opened};
use sockdbg::process::cgroup::Cgroup;
use sockdbg::process::container::Container;
use sockdbg::source::live::Options;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// What programs here share: `say(word)` sends its process id and the word on a connection of its own.
const SAY: &str = "
def say(word):
    s = connect(); s.sendall(b'%d %s' % (os.getpid(), word)); return s
def child(work):
    pid = os.fork()
    if pid == 0:
        work(); os._exit(0)
    return pid
";

/// Options that begin with these processes.
fn following(pid: u32) -> Options {
    Options { pids: vec![pid], follow: true, ..Options::default() }
}

/// Starts a program that waits; it has what SAY defines.
fn start(program: &str, port: u16) -> Python {
    let mut python = Python::start(&format!("{SAY}\n{program}"), port);
    python.paused();
    python
}

/// What came on connections, each with the address of its other end. Ports of those that ended may come again.
type Truth = Vec<(SocketAddr, Vec<u8>)>;

/// Accepts `count` connections one after the other.
fn gather(listener: &TcpListener, count: usize) -> Truth {
    let connection = |_| {
        let (mut stream, address) = listener.accept().expect("the workload connects");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the workload writes and closes");
        (address, received)
    };
    (0..count).map(connection).collect()
}

/// The words of `say`, without the process ids.
fn words(truth: &Truth) -> BTreeSet<String> {
    truth
        .iter()
        .map(|(_, bytes)| text(bytes).split_once(' ').expect("a pid and a word").1.to_owned())
        .collect()
}

/// Checks that the trace saw these connections and no others, each byte of them, done by the process that says so.
fn check(report: &Report, truth: &Truth) {
    assert_eq!((report.summary.dropped, &report.summary.warnings[..]), (0, &[][..]));
    let mut seen = Truth::new();
    for connection in report.all() {
        let sent = connection.bytes(Direction::Send);
        let pid: u32 = text(&sent).split(' ').next().expect("a pid").parse().expect("a pid");
        for seen in connection.0.iter().filter(|seen| matches!(seen.what, What::Data(_))) {
            assert_eq!(seen.task.map(|task| task.pid), Some(pid), "{seen:?}");
        }
        assert_eq!(connection.open().opened, Opened::Fresh);
        seen.push((connection.open().local.and_then(Address::ip).expect("an address"), sent));
    }
    let mut truth = truth.clone();
    seen.sort();
    truth.sort();
    assert!(seen == truth, "{} connections were seen, {} there were", seen.len(), truth.len());
}

fn sends(seen: &Seen, bytes: &[u8]) -> bool {
    matches!(&seen.what, What::Data(data) if data.direction == Direction::Send && data.payload == bytes)
}

#[test]
fn children_and_theirs_are_traced_from_their_first_instruction() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
import subprocess
pause()
def family():
    say(b'child')
    os.waitpid(child(lambda: say(b'grandchild')), 0)
say(b'parent')
os.waitpid(child(family), 0)
thread = threading.Thread(target=lambda: say(b'thread').close()); thread.start(); thread.join()
of_thread = threading.Thread(target=lambda: os.waitpid(child(lambda: say(b'child of a thread')), 0))
of_thread.start(); of_thread.join()
code = 'import os,socket,sys; s=socket.create_connection((\"127.0.0.1\",int(sys.argv[1]))); s.sendall(b\"%d exec\" % os.getpid())'
subprocess.run([sys.executable, '-c', code, str(port)], check=True)
subprocess.run(['sh', '-c', 'true | \"$0\" -c \"$1\" \"$2\" | cat', sys.executable, code.replace('exec', 'pipeline'), str(port)], check=True)
";
    let mut python = start(program, port);
    let trace = Trace::with(following(python.pid()));
    python.go();
    let truth = gather(&listener, 7);
    python.ended();
    let expected = ["child", "child of a thread", "exec", "grandchild", "parent", "pipeline", "thread"];
    assert_eq!(words(&truth), expected.map(str::to_owned).into());
    check(&trace.ended(), &truth);
}

#[test]
fn storm_of_short_lived_children_misses_none() {
    if !require_bpf() {
        return;
    }
    const CHILDREN: usize = 500;
    let (listener, port) = listen();
    let program = format!(
        "pause()\npids = [child(lambda: say(b'x' * (i * 7 % 3000))) for i in range({CHILDREN})]\n\
         for pid in pids: assert os.waitpid(pid, 0)[1] == 0"
    );
    let mut python = start(&program, port);
    let trace = Trace::with(following(python.pid()));
    python.go();
    let truth = gather(&listener, CHILDREN);
    python.ended();
    let lengths: BTreeSet<_> = words(&truth).iter().map(String::len).collect();
    assert_eq!(lengths, (0..CHILDREN).map(|i| i * 7 % 3000).collect());
    check(&trace.ended(), &truth);
}

#[test]
fn without_following_children_are_nobody() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python = start("pause()\nos.waitpid(child(lambda: say(b'child')), 0); say(b'parent')", port);
    let trace = Trace::of(python.pid());
    python.go();
    let mut truth = gather(&listener, 2);
    python.ended();
    truth.retain(|(_, sent)| sent.ends_with(b"parent"));
    check(&trace.ended(), &truth);
}

#[test]
fn connection_shared_with_a_child_stays_one() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
s = connect(); pause()
s.sendall(b'parent,'); pid = child(lambda: s.sendall(b'child,')); print(pid, flush=True); os.waitpid(pid, 0)
s.sendall(b'parent')";
    let mut python = start(program, port);
    let (pid, trace) = (python.pid(), Trace::with(following(python.pid())));
    python.go();
    let child: u32 = python.line().parse().expect("a pid");
    let truth = gather(&listener, 1);
    python.ended();
    let report = trace.ended();
    let connection = report.only();
    assert_eq!(truth[0].1, connection.bytes(Direction::Send));
    let data = connection.0.iter().filter(|seen| matches!(seen.what, What::Data(_)));
    let pids: Vec<_> = data.map(|seen| seen.task.expect("a task").pid).collect();
    assert_eq!(pids, [pid, child, pid]);
}

#[test]
fn trace_goes_on_as_long_as_a_descendant_lives() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    // The child's child outlives both, waits for the test, and is nobody's child any more.
    let program = "
def orphan():
    s = connect(); s.recv(1); s.sendall(b'%d orphan' % os.getpid())
pause(); child(lambda: child(orphan))";
    let mut python = start(program, port);
    let trace = Trace::with(following(python.pid()));
    python.go();
    let (mut orphan, address) = listener.accept().expect("the workload connects");
    python.ended();
    orphan.write_all(b"!").expect("the workload reads");
    let mut received = Vec::new();
    orphan.read_to_end(&mut received).expect("the workload writes and ends");
    assert!(received.ends_with(b" orphan"));
    let report = trace.ended();
    check(&report, &vec![(address, received)]);
    assert_eq!(report.only().bytes(Direction::Recv), b"!");
}

#[test]
fn name_is_that_of_the_process_now() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let folder = tempfile::tempdir().expect("room for files");
    let (name, link) = ("sd-by-name", folder.path().join("sd-by-name"));
    // Called otherwise first, then so by exec, then otherwise again by itself. Its child is called like it.
    let later = "
import os, socket, sys
port, used = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
def wait(): print('ready', flush=True); sys.stdin.readline()
used.sendall(b'after,')
new = socket.create_connection(('127.0.0.1', port)); new.sendall(b'%d new' % os.getpid()); new.close()
if os.fork() == 0:
    c = socket.create_connection(('127.0.0.1', port)); c.sendall(b'%d forked' % os.getpid()); os._exit(0)
os.wait(); wait()
open('/proc/self/comm', 'w').write('sd-otherwise')
used.sendall(b'never seen'); wait()
";
    let program = format!(
        "used = connect(); used.sendall(b'before,'); idle = connect(); idle.sendall(b'idle')\n\
         for s in used, idle: os.set_inheritable(s.fileno(), True)\n\
         os.symlink(os.path.realpath(sys.executable), {link:?}); pause()\n\
         os.execv({link:?}, [{link:?}, '-c', {later:?}, str(port), str(used.fileno())])"
    );
    let mut python = start(&program, port);
    let (mut used, used_address) = listener.accept().expect("the workload connects");
    let (_idle, idle_address) = listener.accept().expect("the workload connects");
    let trace = Trace::with(Options { names: vec![Comm::new(name.as_bytes())], ..Options::default() });
    python.go();
    let truth = gather(&listener, 2);
    python.paused();
    assert_eq!(words(&truth), ["forked", "new"].map(str::to_owned).into());
    eventually("the idle connection is listed", || {
        let idle = Some(idle_address.into());
        trace.so_far().iter().any(|seen| matches!(&seen.what, What::Open(open) if open.local == idle))
    });
    python.go();
    python.paused();
    python.go();
    python.ended();
    let mut received = Vec::new();
    used.read_to_end(&mut received).expect("the workload writes and ends");
    assert_eq!(received, b"before,after,never seen");
    let report = trace.stop();
    let of = |address: SocketAddr| {
        let mut all = report.all();
        all.find(|connection| connection.open().local == Some(address.into()))
            .expect("the connection is known")
    };
    for (address, sent) in truth {
        assert_eq!(of(address).bytes(Direction::Send), sent);
    }
    assert_eq!((of(idle_address).open().opened, of(idle_address).open().start[0].offset), (Opened::Found, 4));
    let used = of(used_address);
    assert_eq!((used.open().opened, used.open().start[0].offset), (Opened::Found, 7));
    let stream = used.stream(Direction::Send);
    assert_eq!(stream[..6].iter().copied().collect::<Option<Vec<u8>>>().expect("captured"), b"after,");
    assert_eq!(used.losses(Direction::Send), [(sockdbg::event::Range::new(13, 23), cause_of_others())]);
    assert_eq!(report.connections.len(), 4);
}

#[test]
fn processes_that_have_the_name_already_are_found() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program = "
open('/proc/self/comm', 'w').write('sd-found'); s = connect(); s.sendall(b'before'); pause()
threading.Thread(target=lambda: s.sendall(b'%d thread' % os.getpid())).start()";
    let mut python = start(program, port);
    let other = start("open('/proc/self/comm', 'w').write('sd-foun'); s = connect(); pause()", port);
    let trace = Trace::with(Options { names: vec![Comm::new(b"sd-found")], ..Options::default() });
    python.go();
    let (pid, address) = (python.pid(), listener.accept().expect("the workload connects"));
    python.ended();
    let report = trace.stop();
    let connection = report.only();
    assert_eq!((connection.open().opened, connection.open().local), (Opened::Found, Some(address.1.into())));
    assert_eq!(connection.open().start[0].offset, 6);
    assert_eq!(connection.bytes(Direction::Send), format!("{pid} thread").as_bytes());
    other.kill();
}

/// A cgroup of the test's own, taken away at the end.
struct Scratch(PathBuf);

impl Scratch {
    /// One in version 2 and one in version 1, whichever there are.
    fn all(name: &str) -> Vec<Scratch> {
        let roots = ["", "unified", "freezer", "systemd"].map(|name| Path::new("/sys/fs/cgroup").join(name));
        let made = roots.iter().filter(|root| root.join("cgroup.procs").exists()).filter_map(|root| {
            let path = root.join(name);
            fs::create_dir(&path).ok().map(|()| Scratch(path))
        });
        let all: Vec<_> = made.collect();
        let required = std::env::var_os("SOCKDBG_REQUIRE_BPF").is_some_and(|value| value == "1");
        assert!(!all.is_empty() || !required, "no cgroup can be made");
        all
    }

    fn take(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("the process may move");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Its processes have ended, or the test has failed.
        let _ = fs::remove_dir(self.0.join("below"));
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn cgroup_holds_who_is_in_it_and_below() {
    if !require_bpf() {
        return;
    }
    for scratch in Scratch::all(&format!("sockdbg-holds-{}", std::process::id())) {
        let below = scratch.0.join("below");
        fs::create_dir(&below).expect("a cgroup below");
        let (listener, port) = listen();
        let program = "pause()\nsay(b'parent')\nos.waitpid(child(lambda: say(b'child')), 0)";
        let mut inside = start(program, port);
        let mut deeper = start("pause(); say(b'deeper')", port);
        let mut outside = start("pause(); say(b'outside')", port);
        scratch.take(inside.pid());
        fs::write(below.join("cgroup.procs"), deeper.pid().to_string()).expect("the process may move");
        let cgroups = Cgroup::named(&scratch.0).expect("a cgroup");
        assert_eq!(cgroups[0].pids(), [inside.pid(), deeper.pid()]);
        let trace = Trace::with(Options { cgroups, ..Options::default() });
        for python in [&mut inside, &mut deeper, &mut outside] {
            python.go();
        }
        let mut truth = gather(&listener, 4);
        for python in [inside, deeper, outside] {
            python.ended();
        }
        truth.retain(|(_, sent)| !sent.ends_with(b"outside"));
        assert_eq!(truth.len(), 3);
        check(&trace.stop(), &truth);
    }
}

#[test]
fn cgroup_is_entered_and_left() {
    if !require_bpf() {
        return;
    }
    for scratch in Scratch::all(&format!("sockdbg-entered-{}", std::process::id())) {
        let (listener, port) = listen();
        let program = "
s = connect(); s.sendall(b'before,'); pause(); s.sendall(b'inside,'); pause(); s.sendall(b'after')";
        let mut python = start(program, port);
        let cgroups = Cgroup::named(&scratch.0).expect("a cgroup");
        let trace = Trace::with(Options { cgroups, ..Options::default() });
        scratch.take(python.pid());
        python.go();
        python.paused();
        let root = scratch.0.parent().expect("the root of the hierarchy").join("cgroup.procs");
        fs::write(root, python.pid().to_string()).expect("the process may move");
        python.go();
        let truth = gather(&listener, 1);
        python.ended();
        assert_eq!(truth[0].1, b"before,inside,after");
        let report = trace.stop();
        let connection = report.only();
        assert_eq!((connection.open().opened, connection.open().start[0].offset), (Opened::Found, 7));
        assert!(connection.0.iter().any(|seen| sends(seen, b"inside,")));
        connection.stream(Direction::Send);
        let missing = sockdbg::event::Range::new(14, 19);
        assert_eq!(connection.losses(Direction::Send), [(missing, cause_of_others())]);
    }
}

#[test]
fn container_is_found_by_the_beginning_of_its_id() {
    if !require_bpf() {
        return;
    }
    // What Docker calls the cgroup of a container where systemd manages it.
    let beginning = format!("{:012x}", u64::from(std::process::id()) << 16 | 0xd0cc);
    let scratches = Scratch::all(&format!("docker-{beginning}{:052x}.scope", 1));
    for scratch in &scratches {
        let (listener, port) = listen();
        let mut inside = start("pause()\nos.waitpid(child(lambda: say(b'child')), 0)", port);
        let mut outside = start("pause(); say(b'outside')", port);
        scratch.take(inside.pid());
        let cgroups = Container::cgroups(&beginning).expect("the only one");
        assert_eq!(cgroups.iter().map(|it| &it.path).collect::<Vec<_>>(), [&scratch.0]);
        let trace = Trace::with(Options { cgroups, ..Options::default() });
        inside.go();
        outside.go();
        let mut truth = gather(&listener, 2);
        inside.ended();
        outside.ended();
        truth.retain(|(_, sent)| sent.ends_with(b"child"));
        check(&trace.stop(), &truth);
    }
}

/// Starts sockdbg on a container out of a cgroup, behind `prepare`, a command that takes another as its arguments.
fn watch_from(scratch: &Scratch, prepare: &str, container: &str) -> Watcher {
    let script = format!("echo $$ > \"$0\" && exec {prepare} \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).arg(scratch.0.join("cgroup.procs")).arg(env!("CARGO_BIN_EXE_sockdbg"));
    command.args(["events", "--format", "json", "--container", container]);
    Watcher::start(&mut command)
}

#[test]
fn container_is_found_from_a_cgroup_namespace_within_it() {
    if !require_bpf() {
        return;
    }
    let beginning = format!("{:012x}", u64::from(std::process::id()) << 16 | 0xc9);
    for scratch in Scratch::all(&format!("docker-{beginning}{:052x}.scope", 2)) {
        let (listener, port) = listen();
        let mut inside = start("pause(); say(b'inside')", port);
        let mut outside = start("pause(); say(b'outside')", port);
        scratch.take(inside.pid());
        // There the cgroup of both is /, and that of the other one is above it.
        let watcher = watch_from(&scratch, "unshare --cgroup", &beginning).wait_for("watching");
        inside.go();
        outside.go();
        gather(&listener, 2);
        let pid = inside.pid();
        inside.ended();
        outside.ended();
        watcher.signal(nix::sys::signal::Signal::SIGINT);
        let output = watcher.end();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (events, _) = json(&output.stdout);
        assert!(events.iter().any(|event| event["type"] == "data"), "{}", text(&output.stdout));
        assert!(events.iter().filter(|event| !event["pid"].is_null()).all(|event| event["pid"] == pid));
    }
}

#[test]
fn container_whose_cgroup_can_t_be_seen_is_refused() {
    if !require_bpf() {
        return;
    }
    let beginning = format!("{:012x}", u64::from(std::process::id()) << 16 | 0xca);
    for scratch in Scratch::all(&format!("docker-{beginning}{:052x}.scope", 3)) {
        let prepare =
            "unshare --mount sh -c 'umount --recursive --lazy /sys/fs/cgroup && exec \"$0\" \"$@\"'";
        let output = watch_from(&scratch, prepare, &beginning).end();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("no cgroup file system that is mounted here shows it"), "{said}");
    }
}

#[test]
fn slices_hold_the_units_below() {
    if !require_bpf() {
        return;
    }
    let name = format!("sockdbg{}.slice", std::process::id());
    for scratch in Scratch::all(&name) {
        let below = scratch.0.join("below");
        fs::create_dir(&below).expect("a cgroup below");
        let (_listener, port) = listen();
        let mut inside = start("pause()", port);
        fs::write(below.join("cgroup.procs"), inside.pid().to_string()).expect("the process may move");
        for wanted in [&name[..], name.strip_suffix(".slice").expect("its name")] {
            let cgroups = Container::cgroups(wanted).expect("the only one");
            assert_eq!(cgroups.iter().map(|it| &it.path).collect::<Vec<_>>(), [&scratch.0]);
            assert_eq!(cgroups[0].pids(), [inside.pid()]);
        }
        inside.go();
        inside.ended();
    }
}

#[test]
fn all_processes_but_this_one() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let program =
        "s = connect(); s.sendall(b'before'); pause(); say(b'one'); s.sendall(b'%d two' % os.getpid())";
    let mut python = start(program, port);
    let filter = sockdbg::source::filter::Filter {
        ports: port.to_string().parse().expect("a port"),
        ..Default::default()
    };
    let trace = Trace::with(Options { all: true, filter, ..Options::default() });
    python.go();
    let truth = gather(&listener, 2);
    python.ended();
    let report = trace.stop();
    // Others may be at work on this machine; of the test's connections both ends pass the filter, but this
    // process's own is not traced.
    let of_port = |connection: &common::trace::Connection<'_>| {
        let open = connection.open();
        [open.local, open.remote].into_iter().flatten().filter_map(Address::ip).any(|end| end.port() == port)
    };
    let seen: Vec<_> = report.all().filter(of_port).collect();
    assert_eq!(seen.len(), 2);
    for connection in seen {
        let open = connection.open();
        let (_, sent) =
            truth.iter().find(|(address, _)| Some(Address::Ip(*address)) == open.local).expect("one of ours");
        let already = if open.opened == Opened::Found { b"before".len() } else { 0 };
        assert_eq!(connection.bytes(Direction::Send), sent[already..]);
        assert_eq!(connection.reason(), CloseReason::Closed);
    }
}

#[test]
fn command_with_its_children_by_the_program() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let code = "import os,socket,sys; s=socket.create_connection((\"127.0.0.1\",int(sys.argv[1]))); \
                s.sendall(b\"%d pipeline\" % os.getpid())";
    let script = "python3 -c \"$0\" \"$1\" | cat >/dev/null; python3 -c \"$0\" \"$1\" & wait";
    let args = ["events", "-f", "--format", "json", "--", "sh", "-c", script, code, &port.to_string()];
    let watcher = Watcher::sockdbg(&args);
    let truth = gather(&listener, 2);
    let output = watcher.end();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let (events, summary) = json(&output.stdout);
    assert_eq!(summary["verdict"], "complete");
    let data: Vec<_> = events.iter().filter(|event| event["type"] == "data").collect();
    let sent: BTreeSet<_> = data
        .iter()
        .map(|event| {
            let payload = event["payload"].as_str().expect("a payload");
            let bytes = data_encoding::BASE64.decode(payload.as_bytes()).expect("base64");
            assert!(text(&bytes).starts_with(&format!("{} ", event["pid"])), "{event}");
            bytes
        })
        .collect();
    assert_eq!(sent, truth.into_iter().map(|(_, sent)| sent).collect());
}
