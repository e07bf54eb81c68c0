//! Logs in and events out, each as a line. The logs are those of strace 6.1, shortened.

use super::*;
use crate::event::{Data, Event};
use std::io::Cursor;

fn log(text: &str) -> Log {
    Log::from_input(Input::new("log".into(), Box::new(Cursor::new(text.as_bytes().to_vec())), None).unwrap())
}

fn line(event: &Event<'_>) -> String {
    let who = event.task.map_or_else(String::new, |task| {
        format!("{}/{} {} ", task.pid, task.tid, String::from_utf8_lossy(task.comm.as_bytes()))
    });
    let fd = event.fd.map_or_else(|| "-".to_owned(), |fd| fd.to_string());
    let at = format!("{who}{fd} {}", event.conn.socket);
    match &event.kind {
        Kind::Open(open) => {
            let end = |end: Option<crate::event::Address>| end.map_or("?".to_owned(), |end| end.to_string());
            let (opened, transport, role) = (open.opened, open.transport.name(), open.role.name());
            let error = open.error.map_or_else(String::new, |error| format!(" errno {error}"));
            format!("{at} {opened:?} {transport} {}->{} {role}{error}", end(open.local), end(open.remote))
        }
        Kind::Data(data) => {
            let Data { direction, call, payload, .. } = data;
            let cause = data.cause.map_or_else(String::new, |cause| format!(" {}", cause.slug()));
            let error = data.error.map_or_else(String::new, |error| format!(" errno {error}"));
            let peer = data.peer.map_or_else(String::new, |peer| format!(" {peer}"));
            let peek = if data.peek { " peek" } else { "" };
            let (name, call, range) = (direction.name(), call.name(), data.range());
            format!("{at} {name} {call} {range} {}{cause}{error}{peer}{peek}", payload.escape_ascii())
        }
        Kind::Close(close) => {
            let moved = close.totals.map(|total| total.moved);
            format!("{at} {} {moved:?}", close.reason.name())
        }
        Kind::Loss(_) => "loss".into(),
    }
}

/// Runs a log: its events, and what it says at its end.
fn run(text: &str) -> (Vec<String>, Summary) {
    let mut lines = Vec::new();
    let summary = log(text).run(&mut |event| {
        lines.push(line(event));
        ControlFlow::Continue(())
    });
    (lines, summary.unwrap())
}

#[track_caller]
fn check(text: &str, expected: &[&str]) -> Summary {
    let (lines, summary) = run(text);
    assert_eq!(lines, expected);
    summary
}

#[test]
fn a_client_without_decorations_learns_its_address_from_getsockname() {
    let summary = check(
        r#"socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 5
connect(5, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 EINPROGRESS (Operation now in progress)
getsockopt(5, SOL_SOCKET, SO_ERROR, [0], [4]) = 0
getsockname(5, {sa_family=AF_INET, sin_port=htons(4000), sin_addr=inet_addr("127.0.0.1")}, [128 => 16]) = 0
write(5, "ping", 4)     = 4
read(5, 0x7ffd, 100)    = -1 EAGAIN (Resource temporarily unavailable)
read(5, "po", 100)      = 2
read(5, "ng\n", 100)    = 3
read(5, "", 100)        = 0
write(5, "x", 1)        = -1 EPIPE (Broken pipe)
close(5)                = 0
"#,
        &[
            "5 1 Fresh tcp 127.0.0.1:4000->127.0.0.1:80 client",
            "5 1 send write [0, 4) ping",
            "5 1 recv read [0, 2) po",
            "5 1 recv read [2, 5) ng\\n",
            "5 1 recv read [5, 5) ",
            "5 1 send write [4, 4)  errno 32",
            "5 1 closed [4, 5]",
        ],
    );
    assert!(summary.undated && summary.cut.is_none());
    let said = summary.warnings.join("\n");
    assert!(said.contains("lines have no times"), "{said}");
}

#[test]
fn connects_that_fail_at_once_or_later() {
    check(
        r#"socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 5
connect(5, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 ECONNREFUSED (Connection refused)
close(5)                = 0
socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 5
connect(5, {sa_family=AF_INET, sin_port=htons(81), sin_addr=inet_addr("127.0.0.1")}, 16) = -1 EINPROGRESS (x)
getsockopt(5, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4]) = 0
close(5)                = 0
"#,
        &["5 1 Fresh tcp ?->127.0.0.1:80 client errno 111", "5 2 Fresh tcp ?->127.0.0.1:81 client errno 111"],
    );
}

#[test]
fn a_call_in_two_halves_and_a_child_that_shares_the_listener() {
    check(
        r#"10 bind(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("0.0.0.0")}, 16) = 0
10 fork( <unfinished ...>
11 accept4(3,  <unfinished ...>
10 <... fork resumed>) = 11
10 close(3) = 0
11 <... accept4 resumed>{sa_family=AF_INET, sin_port=htons(4000), sin_addr=inet_addr("192.0.2.1")}, [16], SOCK_CLOEXEC) = 4
11 recvfrom(4,  <unfinished ...>
11 <... recvfrom resumed>"hello", 100, 0, NULL, NULL) = 5
11 execve("/usr/bin/program", ["program"], 0x7ffd /* 3 vars */) = 0
11 exit_group(0) = ?
11 +++ exited with 0 +++
10 +++ exited with 0 +++
"#,
        &[
            "11/11  4 2 Fresh tcp 0.0.0.0:80->192.0.2.1:4000 server",
            "11/11  4 2 recv recvfrom [0, 5) hello",
            "11/11  - 2 closed [0, 5]",
        ],
    );
}

#[test]
fn threads_share_descriptors_and_processes_have_copies() {
    check(
        r#"10 socketpair(AF_UNIX, SOCK_STREAM, 0, [3, 4]) = 0
10 clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD, child_tid=0x7f, exit_signal=0} => {parent_tid=[12]}, 88) = 12
12 prctl(PR_SET_NAME, "worker") = 0
12 dup2(3, 9) = 9
10 close(3) = 0
10 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 13
13 write(9, "from the child", 14) = 14
12 close(9) = 0
10 close_range(3, 4294967295, 0) = 0
12 write(4, "x", 1) = -1 EBADF (Bad file descriptor)
13 +++ killed by SIGKILL +++
"#,
        &[
            "10/10  3 1 Fresh unix-stream ?->? unknown",
            "13/13  9 1 send write [0, 14) from the child",
            "10/12 worker 9 1 descriptor [14, 0]",
            "13/13  - 1 closed [14, 0]",
            "10/10  4 2 Fresh unix-stream ?->? unknown",
            "13/13  - 2 closed [0, 0]",
        ],
    );
}

#[test]
fn messages_of_every_kind() {
    check(
        r#"1 socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP) = 3<UDP:[77]>
1 sendmmsg(3<UDP:[77]>, [{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, msg_namelen=16, msg_iov=[{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=1}], msg_iovlen=2, msg_controllen=0, msg_flags=0}, msg_len=3}, {msg_hdr={msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="unsent", iov_len=6}], msg_iovlen=1, msg_controllen=0, msg_flags=0}}], 2, 0) = 1
1 recvmsg(3<UDP:[77]>, {msg_name={sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, msg_namelen=128 => 16, msg_iov=[{iov_base="abcd", iov_len=4}], msg_iovlen=1, msg_controllen=0, msg_flags=MSG_TRUNC}, MSG_TRUNC) = 10
1 recvfrom(3<UDP:[77]>, "", 10, 0, NULL, NULL) = 0
1 recvfrom(3<UDP:[77]>, "pe"..., 10, MSG_PEEK, NULL, NULL) = 4
1 socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE) = 4<NETLINK:[ROUTE:1]>
1 sendto(4<NETLINK:[ROUTE:1]>, [{nlmsg_len=20}, {rtgen_family=AF_UNSPEC}], 20, 0, NULL, 0) = 20
"#,
        &[
            "1/1  3 77 Fresh udp ?->? unknown",
            "1/1  3 77 send sendmmsg [0, 3) abc 192.0.2.1:53",
            "1/1  3 77 recv recvmsg [0, 10) abcd datagram-truncated 192.0.2.1:53",
            "1/1  3 77 recv recvfrom [10, 10) ",
            "1/1  3 77 recv recvfrom [10, 14) pe strace-string-limit peek",
            "1/1  3 77 still-open [3, 10]",
        ],
    );
}

#[test]
fn bytes_within_the_kernel_and_descriptors_of_unknown_kind() {
    let summary = check(
        r#"9 sendfile(5<TCP:[192.0.2.1:80->192.0.2.2:4000]>, 8</www/body>, [0] => [100], 100) = 100
9 splice(5<TCP:[192.0.2.1:80->192.0.2.2:4000]>, NULL, 11<pipe:[1]>, NULL, 65536, SPLICE_F_MOVE) = 30
9 read(8</www/body>, "file", 100) = 4
9 read(12, "what", 100) = 4
9 recvfrom(5<TCP:[192.0.2.1:80->192.0.2.2:4000]>, "thrown", 6, MSG_TRUNC, NULL, NULL) = 6
9 sendto(6, "abc", 3, 0, NULL, 0) = 3
9 <... read resumed>"lost", 100) = 4
9 io_uring_enter(4, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8) = 1
"#,
        &[
            "9/9  5 1 Found tcp 192.0.2.1:80->192.0.2.2:4000 unknown",
            "9/9  5 1 send sendfile [0, 100)  in-kernel-transfer",
            "9/9  5 1 recv splice [0, 30)  in-kernel-transfer",
            "9/9  5 1 recv recvfrom [30, 36)  in-kernel-transfer",
            "9/9  6 2 Found tcp ?->? unknown",
            "9/9  6 2 send sendto [0, 3) abc",
            "9/9  5 1 still-open [100, 36]",
            "9/9  6 2 still-open [3, 0]",
        ],
    );
    let said = summary.warnings.join("\n");
    for expected in [
        "1 calls with 4 bytes on descriptors that may be sockets or not, ignored: 12 of 9 (1 calls, 4 bytes)",
        "1 sockets were open before and nothing tells of what kind: taken for TCP",
        "1 calls with 4 bytes ignored: the log begins in their middle",
        "1 calls to io_uring_enter",
    ] {
        assert!(said.contains(expected), "{expected:?} is not in\n{said}");
    }
}

#[test]
fn a_number_that_is_used_again_is_another_socket() {
    // No close in the log: what -yy says tells.
    check(
        r#"9 read(5<TCP:[192.0.2.1:80->192.0.2.2:4000]>, "a", 1) = 1
9 read(5<TCP:[192.0.2.1:80->192.0.2.2:4001]>, "b", 1) = 1
9 read(5</etc/passwd>, "c", 1) = 1
"#,
        &[
            "9/9  5 1 Found tcp 192.0.2.1:80->192.0.2.2:4000 unknown",
            "9/9  5 1 recv read [0, 1) a",
            "9/9  5 1 closed [0, 1]",
            "9/9  5 2 Found tcp 192.0.2.1:80->192.0.2.2:4001 unknown",
            "9/9  5 2 recv read [0, 1) b",
            "9/9  5 2 closed [0, 1]",
        ],
    );
}

#[test]
fn threads_of_unknown_origin_meet_at_a_socket_that_yy_names() {
    check(
        r#"[pid    21] read(5<TCP:[192.0.2.1:80->192.0.2.2:4000]>, "a", 1) = 1
[pid    22] write(6<TCP:[192.0.2.1:80->192.0.2.2:4000]>, "b", 1) = 1
[pid    22] read(6<TCP:[192.0.2.1:80->192.0.2.2:4000]>, "c", 1) = 1
"#,
        &[
            "21/21  5 1 Found tcp 192.0.2.1:80->192.0.2.2:4000 unknown",
            "21/21  5 1 recv read [0, 1) a",
            "22/22  6 1 send write [0, 1) b",
            "22/22  6 1 recv read [1, 2) c",
            "21/21  5 1 still-open [1, 2]",
        ],
    );
}

#[test]
fn strace_speaks_in_the_middle_of_a_line() {
    check(
        r#"socketpair(AF_UNIX, SOCK_DGRAM, 0, [3, 4]) = 0
vfork(strace: Process 31 attached
 <unfinished ...>
[pid    31] close(4) = 0
[pid    31] write(3, "child", 5) = 5
[pid    31] +++ exited with 0 +++
<... vfork resumed>) = 31
read(4, "child", 100) = 5
"#,
        &[
            "3 1 Fresh unix-dgram ?->? unknown",
            "31/31  3 1 send write [0, 5) child",
            "4 2 Fresh unix-dgram ?->? unknown",
            "4 2 recv read [0, 5) child",
            "3 1 still-open [5, 0]",
            "4 2 still-open [0, 5]",
        ],
    );
}

#[test]
fn an_execve_of_a_thread_takes_over_the_process() {
    check(
        r#"40 socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, [3, 4]) = 0
40 dup(3) = 7
40 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 41
41 execve("/bin/other", ["other"], 0x7f /* 1 var */ <unfinished ...>
40 +++ superseded by execve in pid 41 +++
40 <... execve resumed>) = 0
40 write(7, "kept", 4) = 4
40 write(3, "gone", 4) = 4
40 +++ exited with 0 +++
"#,
        &[
            "40/40  4 2 Fresh unix-stream ?->? unknown",
            "40/40  - 2 closed [0, 0]",
            "40/40  3 1 Fresh unix-stream ?->? unknown",
            "40/40 other 7 1 send write [0, 4) kept",
            "40/40 other - 1 closed [4, 0]",
        ],
    );
}

#[test]
fn a_dump_has_what_the_string_lacks() {
    check(
        r#"8 socketpair(AF_UNIX, SOCK_STREAM, 0, [3, 4]) = 0
8 write(3, "01"..., 18) = 18
 | 00000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef |
 | 00010  67 68                                             gh               |
8 +++ exited with 0 +++
"#,
        &[
            "8/8  3 1 Fresh unix-stream ?->? unknown",
            "8/8  3 1 send write [0, 18) 0123456789abcdefgh",
            "8/8  - 1 closed [18, 0]",
            "8/8  4 2 Fresh unix-stream ?->? unknown",
            "8/8  - 2 closed [0, 0]",
        ],
    );
}

#[test]
fn times_of_day_go_on_behind_midnight() {
    let times = |text: &str| {
        let mut times = Vec::new();
        let summary = log(text).run(&mut |event| {
            times.push(event.time.0);
            ControlFlow::Continue(())
        });
        (times, summary.unwrap().undated)
    };
    let lines = |a: &str, b: &str| {
        format!("{a} socketpair(AF_UNIX, SOCK_STREAM, 0, [3, 4]) = 0\n{b} write(3, \"x\", 1) = 1 <0.5>\n")
    };
    let (second, night) = (1_000_000_000, DAY - 1_000_000_000);
    let (found, undated) = times(&lines("23:59:59", "00:00:01.25"));
    assert_eq!((&found[..2], undated), (&[night, DAY + second + second * 3 / 4][..], true));
    let (found, undated) = times(&lines("1795640999.5", "1795641000.25"));
    assert_eq!((&found[..2], undated), (&[1_795_640_999_500_000_000, 1_795_641_000_750_000_000][..], false));
    let (found, undated) = times(&lines("     0.000000", "     2.000000"));
    assert_eq!((&found[..2], undated), (&[0, 2 * second + second / 2][..], true));
}

#[test]
fn what_is_no_log_is_not_taken_for_one() {
    let is = |text: &str| {
        let mut input =
            Input::new("x".into(), Box::new(Cursor::new(text.as_bytes().to_vec())), None).unwrap();
        is_log(&mut input).unwrap()
    };
    assert!(is("strace: Process 1 attached\nclose(3) = 0\n"));
    assert!(is("1  +++ exited with 0 +++\n"));
    for other in [
        "",
        "[{\"_index\": \"packets\"}]\n",
        "GET / HTTP/1.1\r\n\r\n",
        "int main(void) {\n  return f(x);\n}\n",
        "\0\0close(3) = 0\n",
    ] {
        assert!(!is(other), "{other:?}");
    }
}

#[test]
fn a_log_that_ends_inside_a_line_says_so() {
    let (_, summary) = run("1 close(3) = 0\n1 read(5, \"abc");
    assert_eq!(summary.cut.as_deref(), Some("log: the log ends inside line 2"));
    let (_, summary) = run("1 close(3) = 0\n1 close(4) = 0");
    assert_eq!(summary.cut, None);
}

#[test]
fn a_log_without_the_calls_says_how_to_get_them() {
    let (events, summary) = run("1 openat(AT_FDCWD, \"/x\", O_RDONLY) = 3\n1 close(3) = 0\n1 ???\n");
    assert!(events.is_empty());
    let said = summary.warnings.join("\n");
    assert!(said.contains("no call moved bytes on a socket") && said.contains(notes::COMMAND), "{said}");
    assert!(said.contains("1 lines not understood, the first is line 3"), "{said}");
}

#[test]
fn absurd_numbers_are_survived() {
    let most = "0x7fffffffffffffff";
    let mut text = String::from("1 23:59:59 socket(AF_NETLINK, SOCK_RAW, 0) = 4\n");
    for round in 0..4 {
        for call in [
            format!("sendto(3, \"a\"..., {most}, 0, NULL, 0) = {most}"),
            format!(
                "recvmsg(3, {{msg_iov=[{{iov_base=0x1, iov_len={most}}}, {{iov_base=\"\", iov_len=-1}}]}}, 0) = {most}"
            ),
            format!("sendto(4, 0x1, 1, 0, NULL, 0) = {most}"),
            format!("read(9, 0x1, 1) = {most}"),
            format!("sendmmsg(3, [], 1, 0) = {most}"),
            format!("<... read resumed>\"a\", 1) = {most}"),
            format!("close_range({most}, -1, 0) = 0"),
            format!("clone(flags={most}) = {most}"),
            format!("clone(flags={most}) = 1"),
            format!("dup2(3, {most}) = {most}"),
        ] {
            let clock = if round % 2 == 0 { "23:59:59" } else { "00:00:00" };
            text += &format!("1 {clock} {call} <9999999999.999999999>\n");
        }
    }
    let (events, summary) = run(&text);
    // The first send fills all offsets that there are; the others find no place.
    assert!(events.iter().any(|event| event.contains("[0, 9223372036854775807)")), "{events:?}");
    assert!(summary.warnings.iter().any(|line| line.contains("18446744073709551615 bytes")), "{summary:?}");
}
