//! `sockdbg doctor` on the running kernel and on real processes, held against what the processes themselves and
//! the kernel's own tables say.

mod common;

use assert_cmd::cargo::cargo_bin;
use common::killed::Killed;
use common::peer::{Python, eventually, listen};
use common::trace::{has_uring, require_bpf, tells_of_connects};
use serde_json::{Value, json};
use sockdbg::event::{Cause, Direction};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn doctor(args: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin("sockdbg"));
    command.env_clear().arg("doctor").args(args).stdin(Stdio::null());
    command.output().expect("sockdbg is built")
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What doctor says of processes, which must succeed.
fn process(pids: &str) -> Vec<Value> {
    let output = doctor(&["-p", pids, "--format", "json"]);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    lines(&output)
}

fn of_type<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["type"] == name).collect()
}

/// The causes that a trace would name, each of which must be in the catalogue.
fn causes(lines: &[Value]) -> Vec<&str> {
    let causes: Vec<&str> =
        of_type(lines, "missed").iter().filter_map(|line| line["cause"].as_str()).collect();
    for slug in &causes {
        assert!(Cause::from_slug(slug).is_some(), "{slug} is no cause");
    }
    causes
}

fn only<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    let found = of_type(lines, name);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0]
}

/// Starts a program written in C that does nothing.
fn idle_program(folder: &Path, source: &str, flags: &[&str]) -> Killed {
    let (code, program) = (folder.join("x.c"), folder.join("x"));
    fs::write(&code, source).unwrap();
    let built = Command::new("clang").args(flags).arg("-o").arg(&program).arg(&code).status().unwrap();
    assert!(built.success());
    let child = Killed(Command::new(&program).spawn().unwrap());
    // Until then it is the test's own program.
    let runs = || fs::read_link(format!("/proc/{}/exe", child.0.id())).is_ok_and(|exe| exe == program);
    eventually("the program runs", runs);
    child
}

#[test]
fn hooks_are_granted_where_the_kernel_has_what_they_need() {
    if !require_bpf() {
        return;
    }
    let output = doctor(&["--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output);
    assert_eq!(only(&lines, "summary")["verdict"], "can-trace");
    let check = |name: &str| {
        let found: Vec<&Value> = lines.iter().filter(|line| line["name"] == name).collect();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        found[0]["state"].as_str().unwrap()
    };
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let kernel_has = |symbol: &str| symbols.lines().any(|line| line.split(' ').nth(2) == Some(symbol));
    for (name, symbol) in [
        ("tp_btf/sock_send_length", "__traceiter_sock_send_length"),
        ("tp_btf/sock_recv_length", "__traceiter_sock_recv_length"),
        ("tp_btf/tcp_sendmsg_locked", "__traceiter_tcp_sendmsg_locked"),
        ("bpf_rdonly_cast", "bpf_rdonly_cast"),
        ("kprobe/tcp_sendmsg", "register_kprobe"),
    ] {
        assert_eq!(check(name) == "ok", kernel_has(symbol), "{name}: {}", check(name));
    }
    for name in ["tp_btf/inet_sock_set_state", "tp_btf/tcp_destroy_sock", "iter/task_file", "BTF"] {
        assert_eq!(check(name), "ok", "{name}");
    }
    assert!(lines.iter().all(|line| line["detail"].as_str().is_some_and(|text| !text.is_empty())));
}

#[test]
fn text_is_a_line_for_each_check_and_a_verdict() {
    if !require_bpf() {
        return;
    }
    let output = doctor(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n  ok        iter/task_file  "), "{text}");
    assert!(text.lines().last().unwrap().starts_with("can trace: "), "{text}");
    assert!(output.stderr.is_empty());
}

#[test]
fn every_byte_of_the_self_test_arrives_and_every_hook_fires() {
    if !require_bpf() {
        return;
    }
    let output = doctor(&["--self-test", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = lines(&output);
    let group = |name: &str| {
        let of_group = lines.iter().filter(|line| line["group"] == name);
        of_group.map(|line| (line["name"].as_str().unwrap(), line["state"].as_str().unwrap())).collect()
    };
    let calls: Vec<(&str, &str)> = group("calls");
    let ipv6 = TcpListener::bind("[::1]:0").is_ok();
    let over_ipv6 = if ipv6 { "ok" } else { "unknown" };
    let ip = [("tcp4", "ok"), ("tcp6", over_ipv6), ("udp4", "ok"), ("udp6", over_ipv6)];
    let unix = ["unix-stream", "unix-dgram", "unix-seqpacket"].map(|transport| (transport, "ok"));
    let plain = ["write", "read", "writev", "readv", "sendto", "recvfrom", "sendmsg", "recvmsg"];
    for (transport, state) in ip.into_iter().chain(unix) {
        for call in plain.into_iter().chain(["sendmmsg", "recvmmsg", "pwritev2", "preadv2"]) {
            assert!(calls.contains(&(format!("{transport} {call}").as_str(), state)), "{call}: {calls:?}");
        }
        for direction in Direction::BOTH {
            let name = format!("{transport} io_uring {}", direction.name());
            let hooked = has_uring(direction, transport.starts_with("tcp"));
            let state = if state == "ok" && !hooked { "absent" } else { state };
            assert!(calls.contains(&(name.as_str(), state)), "{name}: {calls:?}");
        }
    }
    let hooks: Vec<(&str, &str)> = group("hooks");
    assert!(hooks.contains(&("tp_btf/inet_sock_set_state", "ok")), "{hooks:?}");
    let connections: Vec<(&str, &str)> = group("connections");
    assert_eq!(connections.len(), 5);
    let expected = |name: &str| {
        // No state of these sockets tells of it, only the return of the kernel's functions.
        let told = name != "connect of UDP and Unix sockets" || tells_of_connects();
        if told { "ok" } else { "fallback" }
    };
    let as_expected = |(name, state): &(&str, &str)| *state == expected(name);
    assert!(hooks.iter().chain(&connections).all(as_expected), "{hooks:?} {connections:?}");
    assert_eq!(only(&lines, "summary")["verdict"], "passed");
}

/// Programs of the kernel see its own process ids, so a trace from here would see nothing.
#[test]
fn a_pid_namespace_of_its_own_is_what_keeps_it_from_tracing() {
    if !require_bpf() {
        return;
    }
    let run = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]).arg(cargo_bin("sockdbg")).arg("doctor");
        command.args(args).output().expect("util-linux is installed")
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("host's pid namespace"));
    // And so it is: the bytes don't arrive.
    let output = run(&["--self-test", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let lines = lines(&output);
    let calls: Vec<&Value> = lines.iter().filter(|line| line["group"] == "calls").collect();
    assert!(!calls.is_empty() && calls.iter().all(|line| line["state"] == "failed"), "{calls:?}");
    assert_eq!(only(&lines, "summary")["verdict"], "failed");
}

#[test]
fn sockets_and_who_shares_them_are_what_the_process_says() {
    if !require_bpf() {
        return;
    }
    let (listener, port) = listen();
    let mut python = Python::start(
        r#"
s = connect(); l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen(); u, v = socket.socketpair()
d = os.dup(s.fileno()); unbound = socket.socket()
r, w = os.pipe()
child = os.fork()
if child == 0:
    os.close(w); l.close(); u.close(); unbound.close(); os.close(d)
    os.read(r, 1); os._exit(0)
os.close(r)
# The child is as it should be when it has closed the duplicate.
while os.path.exists(f"/proc/{child}/fd/{d}"):
    time.sleep(0.001)
inode = lambda s: os.fstat(s.fileno()).st_ino
print(*(x for s in (s, l, u, v, unbound) for x in (s.fileno(), inode(s))), d, child)
print(*s.getsockname(), *l.getsockname())
pause()
"#,
        port,
    );
    let numbers: Vec<u64> = python.line().split(' ').map(|word| word.parse().unwrap()).collect();
    let names = python.line();
    python.paused();
    let [s, s_inode, l, l_inode, u, u_inode, v, v_inode, unbound, unbound_inode, duplicate, child] =
        numbers[..]
    else {
        panic!("{numbers:?}")
    };
    let [own_host, own_port, listener_host, listener_port] = names.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{names}")
    };
    let pid = python.pid();

    let lines = process(&pid.to_string());
    let shown: Vec<Value> = of_type(&lines, "socket").into_iter().cloned().collect();
    let unix = |fd: u64, inode: u64, shared_with: Value| {
        json!({
            "type": "socket", "pid": pid, "fds": [fd], "socket": inode, "family": "unix",
            "transport": "unix-stream", "state": "connected", "shared_with": shared_with,
        })
    };
    let expected = [
        json!({
            "type": "socket", "pid": pid, "fds": [s, duplicate], "socket": s_inode, "family": "ipv4",
            "transport": "tcp", "state": "established", "local": format!("{own_host}:{own_port}"),
            "remote": listener.local_addr().unwrap().to_string(),
            "shared_with": [{"pid": child, "comm": "python3", "fds": [s]}],
        }),
        json!({
            "type": "socket", "pid": pid, "fds": [l], "socket": l_inode, "family": "ipv4",
            "transport": "tcp", "state": "listen", "local": format!("{listener_host}:{listener_port}"),
            "shared_with": [],
        }),
        unix(u, u_inode, json!([])),
        unix(v, v_inode, json!([{"pid": child, "comm": "python3", "fds": [v]}])),
        json!({"type": "socket", "pid": pid, "fds": [unbound], "socket": unbound_inode, "shared_with": []}),
    ];
    for socket in &expected {
        assert!(shown.contains(socket), "{socket} is not among {shown:#?}");
    }
    assert_eq!(shown.len(), expected.len());
    let subject = only(&lines, "process");
    assert_eq!((&subject["children"], &subject["io_uring_fds"]), (&json!([child]), &json!([])));
    assert_eq!(subject["same_network_namespace"], true);
    assert!(subject["program"].as_str().unwrap().contains("python"));

    let missed = causes(&lines);
    assert!(missed.contains(&"before-attach") && missed.contains(&"not-this-process"), "{missed:?}");
    let details: Vec<&str> =
        of_type(&lines, "missed").iter().map(|line| line["detail"].as_str().unwrap()).collect();
    let other = format!("shared connections that python3[{child}] may move; trace all: -p {pid},{child}");
    assert!(details.iter().any(|detail| detail.contains(&other)), "{details:?}");
    let other =
        format!("shared UDP and Unix sockets that python3[{child}] may move; trace all: -p {pid},{child}");
    assert!(details.iter().any(|detail| detail.contains(&other)), "{details:?}");

    // Tracing both leaves nothing of that.
    let both = process(&format!("{pid},{child}"));
    assert_eq!(of_type(&both, "process").len(), 2);
    assert!(!causes(&both).contains(&"not-this-process"));
    assert!(
        !of_type(&both, "missed").iter().any(|line| line["detail"].as_str().unwrap().contains("may move"))
    );

    let text = String::from_utf8(doctor(&["-p", &pid.to_string()]).stdout).unwrap();
    let socket = format!(
        "\n    {s},{duplicate}<TCP:[{own_host}:{own_port}->127.0.0.1:{port}]> established inode {s_inode}\n      \
         also held by python3[{child}] as fd {s}\n"
    );
    assert!(text.contains(&socket), "{text}");
    python.go();
    python.ended();
}

#[test]
fn a_mapped_tls_library_is_named_with_its_file() {
    if !require_bpf() {
        return;
    }
    let mut python = Python::start("import ssl\nprint(ssl.OPENSSL_VERSION)\npause()", 0);
    assert!(python.line().starts_with("OpenSSL "));
    python.paused();
    let maps = fs::read_to_string(format!("/proc/{}/maps", python.pid())).unwrap();
    let library =
        maps.split_whitespace().find(|word| word.contains("/libssl")).expect("python's ssl maps it");
    let lines = process(&python.pid().to_string());
    let expected = json!([{"name": "OpenSSL", "file": library, "linked": false}]);
    assert_eq!(only(&lines, "process")["tls"], expected);
    assert!(causes(&lines).contains(&"wire-encrypted"));
    python.go();
    python.ended();
}

#[test]
fn tls_that_is_linked_into_the_program_is_found() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = "#include <unistd.h>\n\
                  __attribute__((used)) int SSL_write(void *s, const void *b, int n) { return n; }\n\
                  int main(void) { for (;;) pause(); }\n";
    let child = idle_program(folder.path(), source, &[]);
    let lines = process(&child.0.id().to_string());
    let subject = only(&lines, "process");
    let file = folder.path().join("x");
    assert_eq!(subject["tls"], json!([{"name": "OpenSSL", "file": file.to_str().unwrap(), "linked": true}]));
    assert_eq!(subject["bits"], 64);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_32_bit_process_would_be_missed() {
    if !require_bpf() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // pause(2) is call 29 there.
    let source = "void _start(void) { for (;;) __asm__ volatile(\"int $0x80\" :: \"a\"(29)); }\n";
    let child = idle_program(folder.path(), source, &["-m32", "-nostdlib", "-static"]);
    let lines = process(&child.0.id().to_string());
    assert_eq!(only(&lines, "process")["bits"], 32);
    assert_eq!(causes(&lines), ["untraced-syscall"]);
}

#[test]
fn io_uring_in_use_is_seen_by_its_descriptors() {
    if !require_bpf() {
        return;
    }
    // io_uring_setup(2) has the same number everywhere; struct io_uring_params is 120 bytes.
    let program = "import ctypes\n\
                   libc = ctypes.CDLL(None, use_errno=True)\n\
                   print(libc.syscall(425, 4, ctypes.create_string_buffer(120)))\n\
                   pause()";
    let mut python = Python::start(program, 0);
    let fd: i32 = python.line().parse().unwrap();
    assert!(fd >= 0, "io_uring is switched off (kernel.io_uring_disabled)");
    python.paused();
    let lines = process(&python.pid().to_string());
    assert_eq!(only(&lines, "process")["io_uring_fds"], json!([fd]));
    let missed = of_type(&lines, "missed");
    let of_ring = missed.iter().find(|line| line["detail"].as_str().unwrap().contains("io_uring"));
    assert_eq!(of_ring.expect("it is told")["cause"], "io-uring");
    python.go();
    python.ended();
}

#[test]
fn another_network_namespace_is_told_apart() {
    if !require_bpf() {
        return;
    }
    let child = Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let child = Killed(child);
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let other = child.0.id();
    let comm = || fs::read_to_string(format!("/proc/{other}/comm")).unwrap();
    eventually("it runs in its own namespace", || comm() == "cat\n");
    let lines = process(&other.to_string());
    let subject = only(&lines, "process");
    assert_eq!(subject["same_network_namespace"], false);
    let expected = format!("net:[{}]", subject["network_namespace"]);
    assert_eq!(namespace(other).to_str().unwrap(), expected);
    assert_ne!(namespace(std::process::id()), namespace(other));
}

#[test]
fn a_process_that_does_not_exist_is_one_line_and_3() {
    // Above the largest pid the kernel gives (PID_MAX_LIMIT, 2^22).
    let output = doctor(&["-p", "8388608"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(3), &b""[..]));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "sockdbg: process 8388608 does not exist\n");
}

#[test]
fn without_privileges_it_says_which_and_3() {
    if !nix::unistd::geteuid().is_root() {
        return assert_unprivileged(&doctor(&["--format", "json"]));
    }
    // Where nobody else may go into the build's folder.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("sockdbg");
    fs::copy(cargo_bin("sockdbg"), &program).unwrap();
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).arg("doctor");
        command.args(args).output().expect("util-linux is installed")
    };
    assert_unprivileged(&as_nobody(&["--format", "json"]));
    let output = as_nobody(&["-p", &std::process::id().to_string()]);
    let expected = format!("sockdbg: process {} may not be looked at: ", std::process::id());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(3), 1));
    assert!(stderr.starts_with(&expected), "{stderr}");
}

#[track_caller]
fn assert_unprivileged(output: &Output) {
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.lines().count() == 1 && stderr.contains("CAP_BPF and CAP_PERFMON"), "{stderr}");
    let lines = lines(output);
    let state = |name: &str| {
        lines.iter().find(|line| line["name"] == name).map(|line| line["state"].as_str().unwrap())
    };
    assert_eq!(state("CAP_BPF and CAP_PERFMON"), Some("missing"));
    assert_eq!(state("iter/task_file"), Some("unknown"));
    assert_eq!(only(&lines, "summary")["verdict"], "cannot-trace");
}
