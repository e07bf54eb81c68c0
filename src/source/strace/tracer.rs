//! What each call of a log means for descriptors and sockets.

use super::address::{Nature, descriptor, pair, sockaddr, transport};
use super::call::{Message, Outcome, Part, Parts, Syscall, buffers, one_buffer};
use super::notes::Notes;
use super::sockets::{At, Moved, Sockets, in_kernel};
use super::syntax::{field, has_flag, inside, items, text, value};
use super::tasks::{Flags, Target, Threads};
use crate::event::{Address, Call, Cause, Comm, Direction, Opened, Task, Timestamp};

/// Calls that return a descriptor that is no socket.
const OPENERS: [&str; 27] = [
    "open",
    "openat",
    "openat2",
    "creat",
    "eventfd",
    "eventfd2",
    "epoll_create",
    "epoll_create1",
    "timerfd_create",
    "signalfd",
    "signalfd4",
    "inotify_init",
    "inotify_init1",
    "memfd_create",
    "memfd_secret",
    "userfaultfd",
    "perf_event_open",
    "fanotify_init",
    "pidfd_open",
    "io_uring_setup",
    "bpf",
    "fsopen",
    "fsmount",
    "open_tree",
    "mq_open",
    "open_by_handle_at",
    "landlock_create_ruleset",
];

/// Errors after which the same call is made again: nothing happened.
const RETRIES: [i32; 3] = [nix::libc::EAGAIN, nix::libc::EINTR, nix::libc::EINPROGRESS];

/// A descriptor of a call, and what it refers to.
enum Resolved {
    Socket(i32, u64),
    OtherSocket,
    NoSocket,
    /// Nothing tells.
    Unknown(i32),
}

/// Follows the calls of a log.
#[derive(Debug, Default)]
pub(super) struct Tracer {
    pub(super) threads: Threads,
    pub(super) sockets: Sockets,
    pub(super) notes: Notes,
}

impl Tracer {
    /// A call returned. `dump` is what -e read= or -e write= show of its bytes.
    pub(super) fn call(&mut self, tid: u32, call: &Syscall<'_>, time: Timestamp, dump: &[u8]) {
        let at = At { time, task: self.task(tid), fd: None };
        self.effect(tid, call, at, dump);
        self.settle(at);
    }

    /// The thread is gone.
    pub(super) fn exited(&mut self, tid: u32, time: Timestamp) {
        let at = At { time, task: self.task(tid), fd: None };
        self.threads.forget(tid);
        self.settle(at);
    }

    /// Thread `from` took over process `tid` in execve.
    pub(super) fn superseded(&mut self, tid: u32, from: u32, time: Timestamp) {
        let at = At { time, task: self.task(tid), fd: None };
        self.threads.supersede(tid, from);
        self.settle(at);
    }

    fn task(&mut self, tid: u32) -> Option<Task> {
        let thread = self.threads.get(tid);
        (tid != 0).then(|| Task { pid: thread.pid, tid, comm: Comm::new(&thread.comm) })
    }

    /// Counts the references that the call added and took away.
    fn settle(&mut self, at: At) {
        for socket in std::mem::take(&mut self.threads.shared) {
            self.sockets.retain(socket);
        }
        for socket in std::mem::take(&mut self.threads.dropped) {
            self.sockets.release(socket, at, None);
        }
    }

    fn effect(&mut self, tid: u32, call: &Syscall<'_>, at: At, dump: &[u8]) {
        match call.name {
            "socket" => self.socket(tid, call, at),
            "socketpair" => self.socketpair(tid, call, at),
            "accept" => self.accept(tid, call, at, Call::Accept),
            "accept4" => self.accept(tid, call, at, Call::Accept4),
            "connect" => self.connect(tid, call, at),
            "bind" | "getsockname" if call.succeeded() => self.learn(tid, call, at, true),
            "getpeername" if call.succeeded() => self.learn(tid, call, at, false),
            "listen" if call.succeeded() => {
                if let Resolved::Socket(_, socket) = self.resolve(tid, call.arg(0), true, at) {
                    self.sockets.listen(socket);
                }
            }
            "getsockopt" => self.getsockopt(tid, call, at),
            "close" => self.close(tid, call, at),
            "close_range" if call.succeeded() => {
                let [first, last] = [0, 1].map(|index| value(call.arg(index)).unwrap_or(0));
                // ~0U in one notation or another means all.
                let last = if (0..i64::from(i32::MAX)).contains(&last) { last } else { i64::MAX };
                self.notes.saw_close = true;
                self.threads.close_range(tid, first, last, call.arg(2));
            }
            "dup" | "dup2" | "dup3" => {
                self.duplicate(tid, call, at, has_flag(call.arg(2), "O_CLOEXEC", 0x80000))
            }
            "fcntl" | "fcntl64" => self.fcntl(tid, call, at),
            "ioctl" if call.succeeded() => self.ioctl(tid, call),
            "pipe" | "pipe2" if call.succeeded() => {
                for item in pair(call.arg(0)).into_iter().flatten() {
                    self.opened(tid, item, has_flag(call.arg(1), "O_CLOEXEC", 0x80000));
                }
            }
            "clone" | "clone3" | "fork" | "vfork" => {
                if let Some(child) =
                    call.value().and_then(|child| u32::try_from(child).ok()).filter(|&child| child > 0)
                {
                    let flags = call.args.iter().find(|arg| memchr::memmem::find(arg, b"flags=").is_some());
                    self.threads.cloned(tid, child, flags.map_or(Flags::default(), |arg| Flags::of(arg)));
                }
            }
            "unshare" if call.succeeded() && has_flag(call.arg(0), "CLONE_FILES", 0x400) => {
                self.threads.unshare(tid)
            }
            "execve" | "execveat" if call.value() == Some(0) => {
                let path = text(call.arg(usize::from(call.name == "execveat"))).unwrap_or_default();
                self.threads.executed(tid);
                self.rename(tid, path.bytes.rsplit(|&byte| byte == b'/').next().unwrap_or_default());
            }
            "prctl" if call.succeeded() && has_flag(call.arg(0), "PR_SET_NAME", 0) => {
                let name = text(call.arg(1)).unwrap_or_default();
                self.rename(tid, &name.bytes);
            }
            "io_uring_enter" => self.notes.io_uring += 1,
            name if OPENERS.contains(&name) => {
                if let Outcome::Value(0.., item) = call.result {
                    let cloexec = call.args.iter().any(|arg| has_flag(arg, "O_CLOEXEC", 0));
                    self.opened(tid, item, cloexec);
                }
            }
            _ => self.data_call(tid, call, at, dump),
        }
    }

    /// The thread's name changes; an empty one is none.
    pub(super) fn rename(&mut self, tid: u32, name: &[u8]) {
        if !name.is_empty() {
            let length = name.len().min(15);
            self.threads.get(tid).comm = name[..length].to_vec();
        }
    }

    fn opened(&mut self, tid: u32, item: &[u8], cloexec: bool) {
        if let Some((fd, _)) = descriptor(item) {
            self.threads.set(tid, fd, Target::Other, cloexec);
        }
    }

    fn socket(&mut self, tid: u32, call: &Syscall<'_>, at: At) {
        let Outcome::Value(0.., item) = call.result else { return };
        let cloexec = has_flag(call.arg(1), "SOCK_CLOEXEC", 0x80000);
        let transport = transport(call.arg(0), call.arg(1), call.arg(2));
        let Some((fd, nature)) = descriptor(item) else { return };
        let target = match transport {
            Some(_) => {
                let at = At { fd: Some(fd), ..at };
                Target::Socket(self.sockets.create(at, Opened::Fresh, transport, inode(nature.as_ref())))
            }
            None => Target::OtherSocket,
        };
        self.threads.set(tid, fd, target, cloexec);
    }

    fn socketpair(&mut self, tid: u32, call: &Syscall<'_>, at: At) {
        let transport = transport(call.arg(0), call.arg(1), call.arg(2));
        let cloexec = has_flag(call.arg(1), "SOCK_CLOEXEC", 0x80000);
        for item in pair(call.arg(3)).filter(|_| call.succeeded()).into_iter().flatten() {
            let Some((fd, nature)) = descriptor(item) else { continue };
            let at = At { fd: Some(fd), ..at };
            let socket = self.sockets.create(at, Opened::Fresh, transport, inode(nature.as_ref()));
            self.sockets.paired(socket);
            self.threads.set(tid, fd, Target::Socket(socket), cloexec);
        }
    }

    fn accept(&mut self, tid: u32, call: &Syscall<'_>, at: At, by: Call) {
        let Outcome::Value(0.., item) = call.result else { return };
        let Some((fd, nature)) = descriptor(item) else { return };
        self.notes.saw_decoration |= nature.is_some();
        let listener = match self.resolve(tid, call.arg(0), true, at) {
            Resolved::Socket(_, listener) => listener,
            _ => {
                self.threads.set(tid, fd, Target::OtherSocket, false);
                return;
            }
        };
        let at = At { fd: Some(fd), ..at };
        let socket = self.sockets.accepted(at, listener, by, sockaddr(call.arg(1)));
        match nature {
            Some(Nature::Socket { inode, transport, local }) => {
                self.sockets.is_inode(socket, inode);
                self.sockets.learn(socket, transport, local, None);
            }
            Some(Nature::Ends { transport, local, remote }) => {
                self.sockets.learn(socket, Some(transport), Some(local), remote);
            }
            _ => {}
        }
        self.threads.set(tid, fd, Target::Socket(socket), has_flag(call.arg(3), "SOCK_CLOEXEC", 0x80000));
    }

    fn connect(&mut self, tid: u32, call: &Syscall<'_>, at: At) {
        let error = match call.result {
            Outcome::Value(..) => None,
            Outcome::Error(error) => Some(error),
            Outcome::None => return,
        };
        if let Resolved::Socket(fd, socket) = self.resolve(tid, call.arg(0), true, at) {
            self.sockets.connect(socket, At { fd: Some(fd), ..at }, sockaddr(call.arg(1)), error);
        }
    }

    fn learn(&mut self, tid: u32, call: &Syscall<'_>, at: At, is_local: bool) {
        let Some(address) = sockaddr(call.arg(1)) else { return };
        if let Resolved::Socket(_, socket) = self.resolve(tid, call.arg(0), true, at) {
            match is_local {
                true => self.sockets.learn(socket, None, Some(address), None),
                false => self.sockets.learn(socket, None, None, Some(address)),
            }
            if matches!(address, Address::Unix(_)) {
                self.sockets.is_unix(socket);
            }
        }
    }

    /// How a connect that went on for a while ended.
    fn getsockopt(&mut self, tid: u32, call: &Syscall<'_>, at: At) {
        if !call.succeeded() || !has_flag(call.arg(2), "SO_ERROR", 0) && value(call.arg(2)) != Some(4) {
            return;
        }
        let Resolved::Socket(fd, socket) = self.resolve(tid, call.arg(0), true, at) else { return };
        if !self.sockets.is_connecting(socket) {
            return;
        }
        let item = inside(call.arg(3)).unwrap_or_default();
        let error = value(item).map_or_else(|| super::call::errno(item), |error| error as i32);
        let at = At { fd: Some(fd), ..at };
        let remote = self.sockets.get(socket).and_then(|socket| socket.remote);
        match error {
            0 => self.sockets.connect(socket, at, remote, None),
            error => self.sockets.failed(socket, at, None, error),
        }
    }

    fn close(&mut self, tid: u32, call: &Syscall<'_>, at: At) {
        self.notes.saw_close = true;
        // Whatever it returns, the descriptor is gone, unless it never was one.
        if call.result == Outcome::Error(nix::libc::EBADF) || call.result == Outcome::None {
            return;
        }
        // What a decoration tells comes first: the descriptor may be another than the table has.
        let resolved = self.resolve(tid, call.arg(0), false, at);
        self.settle(at);
        if let Some((fd, _)) = descriptor(call.arg(0)) {
            self.threads.close(tid, fd);
            if let Resolved::Socket(_, socket) = resolved {
                self.sockets.release(socket, At { fd: Some(fd), ..at }, Some(Call::Close));
            }
        }
    }

    fn duplicate(&mut self, tid: u32, call: &Syscall<'_>, at: At, cloexec: bool) {
        let Outcome::Value(0.., item) = call.result else { return };
        let Some((to, _)) = descriptor(item) else { return };
        if descriptor(call.arg(0)).is_some_and(|(from, _)| from == to) {
            return;
        }
        match self.resolve(tid, call.arg(0), false, at) {
            Resolved::Socket(_, socket) => self.threads.set(tid, to, Target::Socket(socket), cloexec),
            Resolved::OtherSocket => self.threads.set(tid, to, Target::OtherSocket, cloexec),
            Resolved::NoSocket => self.threads.set(tid, to, Target::Other, cloexec),
            Resolved::Unknown(_) => {
                if let Some(Target::Socket(socket)) = self.threads.close(tid, to) {
                    self.threads.dropped.push(socket);
                }
            }
        }
    }

    fn fcntl(&mut self, tid: u32, call: &Syscall<'_>, at: At) {
        let command = call.arg(1);
        let is = |name: &str, number: i64| has_flag(command, name, 0) || value(command) == Some(number);
        if is("F_DUPFD", 0) || is("F_DUPFD_CLOEXEC", 1030) {
            self.duplicate(tid, call, at, is("F_DUPFD_CLOEXEC", 1030));
        } else if is("F_SETFD", 2)
            && let (Some((fd, _)), true) = (descriptor(call.arg(0)), call.succeeded())
        {
            self.threads.set_cloexec(tid, fd, has_flag(call.arg(2), "FD_CLOEXEC", 1));
        }
    }

    fn ioctl(&mut self, tid: u32, call: &Syscall<'_>) {
        let Some((fd, _)) = descriptor(call.arg(0)) else { return };
        let request = call.arg(1);
        if has_flag(request, "FIOCLEX", 0) || value(request) == Some(0x5451) {
            self.threads.set_cloexec(tid, fd, true);
        } else if has_flag(request, "FIONCLEX", 0) || value(request) == Some(0x5450) {
            self.threads.set_cloexec(tid, fd, false);
        }
    }

    /// What a descriptor refers to. `proof`: the call works on sockets only.
    fn resolve(&mut self, tid: u32, item: &[u8], proof: bool, at: At) -> Resolved {
        let Some((fd, nature)) = descriptor(item) else { return Resolved::NoSocket };
        let known = self.threads.target(tid, fd);
        self.notes.saw_decoration |= nature.is_some();
        let at = At { fd: Some(fd), ..at };
        let found =
            |sockets: &mut Sockets, transport, inode| sockets.create(at, Opened::Found, transport, inode);
        let target = match (nature, known) {
            (None, Some(Target::Other)) if proof => Target::Socket(found(&mut self.sockets, None, None)),
            (None, Some(known)) => known,
            (None, None) if proof => Target::Socket(found(&mut self.sockets, None, None)),
            (None, None) => return Resolved::Unknown(fd),
            (Some(Nature::NoSocket), _) => Target::Other,
            (Some(Nature::OtherSocket), _) | (Some(Nature::Socket { .. }), Some(Target::OtherSocket)) => {
                Target::OtherSocket
            }
            (Some(Nature::Socket { inode, transport, local }), known) => {
                let same = match known {
                    Some(Target::Socket(socket)) if self.sockets.is_inode(socket, inode) => Some(socket),
                    _ => self.sockets.with_inode(inode),
                };
                let socket = same.unwrap_or_else(|| found(&mut self.sockets, transport, Some(inode)));
                self.sockets.learn(socket, transport, local, None);
                Target::Socket(socket)
            }
            (Some(Nature::Ends { transport, local, remote }), known) => {
                let same = match known {
                    Some(Target::Socket(socket)) if self.sockets.is_at(socket, transport, local, remote) => {
                        Some(socket)
                    }
                    _ => remote.and_then(|remote| self.sockets.with_ends(local, remote)),
                };
                let socket = same.unwrap_or_else(|| found(&mut self.sockets, Some(transport), None));
                self.sockets.learn(socket, Some(transport), Some(local), remote);
                Target::Socket(socket)
            }
        };
        if known != Some(target) {
            self.threads.set(tid, fd, target, false);
            self.settle(at);
        }
        match target {
            Target::Socket(socket) => Resolved::Socket(fd, socket),
            Target::OtherSocket => Resolved::OtherSocket,
            Target::Other => Resolved::NoSocket,
        }
    }

    fn data_call(&mut self, tid: u32, call: &Syscall<'_>, at: At, dump: &[u8]) {
        use Direction::{Recv, Send};
        match call.name {
            "read" => self.buffer(tid, call, at, Recv, Call::Read, dump),
            "write" => self.buffer(tid, call, at, Send, Call::Write, dump),
            "recv" | "recvfrom" => self.buffer(tid, call, at, Recv, Call::Recvfrom, dump),
            "send" | "sendto" => self.buffer(tid, call, at, Send, Call::Sendto, dump),
            "readv" => self.vector(tid, call, at, Recv, Call::Readv, dump),
            "preadv2" => self.vector(tid, call, at, Recv, Call::Preadv2, dump),
            "writev" => self.vector(tid, call, at, Send, Call::Writev, dump),
            "pwritev2" => self.vector(tid, call, at, Send, Call::Pwritev2, dump),
            "sendmsg" | "recvmsg" => {
                let send = call.name == "sendmsg";
                let (direction, by) = if send { (Send, Call::Sendmsg) } else { (Recv, Call::Recvmsg) };
                let message = Message::parse(call.arg(1));
                self.message(tid, call, at, direction, by, &message, call.value(), dump);
            }
            "sendmmsg" => self.messages(tid, call, at, Send, Call::Sendmmsg),
            "recvmmsg" | "recvmmsg_time64" => self.messages(tid, call, at, Recv, Call::Recvmmsg),
            "sendfile" | "sendfile64" => self.transfer(tid, call.arg(0), call, at, Send, Call::Sendfile),
            "splice" => {
                self.transfer(tid, call.arg(0), call, at, Recv, Call::Splice);
                self.transfer(tid, call.arg(2), call, at, Send, Call::Splice);
            }
            _ => {}
        }
    }

    fn buffer(&mut self, tid: u32, call: &Syscall<'_>, at: At, direction: Direction, by: Call, dump: &[u8]) {
        let flagged = matches!(by, Call::Recvfrom | Call::Sendto);
        let (flags, name) = if flagged { (call.arg(3), call.arg(4)) } else { (&b""[..], &b""[..]) };
        let size = value(call.arg(2)).map(|size| size.max(0) as u64);
        let peer = sockaddr(name);
        let context = Context { direction, by, flags, peer, asked: size, is_unix: false };
        let shown = |moved: u64| one_buffer(call.arg(1), size, moved);
        self.moved(tid, call, at, &context, call.value(), &shown, dump);
    }

    fn vector(&mut self, tid: u32, call: &Syscall<'_>, at: At, direction: Direction, by: Call, dump: &[u8]) {
        let context = Context { direction, by, flags: b"", peer: None, asked: None, is_unix: false };
        self.moved(tid, call, at, &context, call.value(), &|moved| buffers(call.arg(1), moved), dump);
    }

    #[allow(clippy::too_many_arguments)] // what a message is made of
    fn message(
        &mut self,
        tid: u32,
        call: &Syscall<'_>,
        at: At,
        direction: Direction,
        by: Call,
        message: &Message<'_>,
        moved: Option<i64>,
        dump: &[u8],
    ) {
        let flags = if by == Call::Sendmsg || by == Call::Recvmsg { call.arg(2) } else { call.arg(3) };
        let peer = sockaddr(message.name);
        let context = Context { direction, by, flags, peer, asked: None, is_unix: message.is_unix };
        if has_flag(message.flags, "MSG_ERRQUEUE", 0x2000) {
            return;
        }
        self.moved(tid, call, at, &context, moved, &|moved| buffers(message.buffers, moved), dump);
    }

    fn messages(&mut self, tid: u32, call: &Syscall<'_>, at: At, direction: Direction, by: Call) {
        let Some(count) = call.value().and_then(|count| usize::try_from(count).ok()) else { return };
        let Some(list) = inside(call.arg(1)).map(items) else {
            if count > 0 {
                Notes::add(&mut self.notes.no_length, by.name(), count as u64);
            }
            return;
        };
        let mut seen = 0;
        for item in list.iter().take(count) {
            let fields = inside(item).map(items).unwrap_or_default();
            let (Some(header), Some(length)) = (field(&fields, "msg_hdr"), field(&fields, "msg_len")) else {
                break;
            };
            self.message(tid, call, at, direction, by, &Message::parse(header), value(length), b"");
            seen += 1;
        }
        let left_out = count.saturating_sub(seen) as u64;
        self.notes.messages_left_out = self.notes.messages_left_out.saturating_add(left_out);
    }

    /// Bytes went from one descriptor to another within the kernel.
    fn transfer(
        &mut self,
        tid: u32,
        item: &[u8],
        call: &Syscall<'_>,
        at: At,
        direction: Direction,
        by: Call,
    ) {
        let context = Context { direction, by, flags: b"", peer: None, asked: None, is_unix: false };
        let shown = |moved: u64| Parts(if moved > 0 { vec![in_kernel(moved)] } else { Vec::new() });
        let call = Syscall { args: vec![item], ..call.clone() };
        if call.value().is_some_and(|moved| moved > 0) {
            self.moved(tid, &call, at, &context, call.value(), &shown, b"");
        }
    }

    #[allow(clippy::too_many_arguments)] // the parts of a call
    fn moved(
        &mut self,
        tid: u32,
        call: &Syscall<'_>,
        at: At,
        context: &Context<'_>,
        result: Option<i64>,
        shown: &dyn Fn(u64) -> Parts,
        dump: &[u8],
    ) {
        let flag = |name, bit| has_flag(context.flags, name, bit);
        let bytes = result.and_then(|moved| u64::try_from(moved).ok());
        let proof = !matches!(
            call.name,
            "read"
                | "write"
                | "readv"
                | "writev"
                | "preadv2"
                | "pwritev2"
                | "sendfile"
                | "sendfile64"
                | "splice"
        );
        let failed = matches!(call.result, Outcome::Error(_));
        let (fd, socket) = match self.resolve(tid, call.arg(0), proof && !failed, at) {
            Resolved::Socket(fd, socket) => (fd, socket),
            Resolved::Unknown(fd) => {
                if let Some(bytes) = bytes {
                    self.notes.unknown_fd(tid, fd, bytes);
                }
                return;
            }
            Resolved::OtherSocket => {
                let (calls, sum) = self.notes.other_sockets;
                self.notes.other_sockets = (calls + 1, sum.saturating_add(bytes.unwrap_or(0)));
                return;
            }
            Resolved::NoSocket => return,
        };
        let recv = context.direction == Direction::Recv;
        if recv && (flag("MSG_ERRQUEUE", 0x2000) || flag("MSG_OOB", 1)) {
            return; // no part of the stream
        }
        if context.is_unix || matches!(context.peer, Some(Address::Unix(_))) {
            self.sockets.is_unix(socket);
        }
        let at = At { fd: Some(fd), ..at };
        let mut moved = Moved {
            direction: context.direction,
            call: context.by,
            peer: context.peer,
            peek: recv && flag("MSG_PEEK", 2),
            error: None,
        };
        let Some(bytes) = bytes else {
            if let Outcome::Error(error) = call.result
                && !RETRIES.contains(&error)
            {
                moved.error = Some(error);
                self.sockets.error(socket, at, &moved);
            }
            return;
        };
        let is_stream = self.sockets.is_stream(socket);
        if bytes == 0 && is_stream && (!recv || context.asked == Some(0)) {
            return; // nothing was asked for
        }
        self.notes.data_calls += 1;
        let mut parts = if recv && is_stream && flag("MSG_TRUNC", 0x20) && bytes > 0 {
            Parts(vec![in_kernel(bytes)])
        } else {
            shown(bytes)
        };
        if !dump.is_empty() && parts.0.iter().any(|part| part.cause.is_some()) && dump.len() as u64 == bytes {
            parts = Parts(vec![Part { length: bytes, bytes: dump.to_vec(), cause: None }]);
        }
        let hidden = parts.0.iter().filter(|part| part.cause == Some(Cause::StraceNoPayload));
        let hidden = hidden.fold(0u64, |sum, part| sum.saturating_add(part.length));
        if hidden > 0 {
            Notes::add(&mut self.notes.no_payload, context.by.name(), hidden);
        }
        let parts = match is_stream && !moved.peek && !parts.0.is_empty() {
            true => parts.0,
            false => vec![parts.joined()],
        };
        self.sockets.data(socket, at, &moved, parts);
    }

    /// The second half of a call whose first is not in the log.
    pub(super) fn headless(&mut self, name: &str, result: Outcome<'_>) {
        const DATA: [&str; 12] = [
            "read", "write", "recvfrom", "sendto", "readv", "writev", "sendmsg", "recvmsg", "recv", "send",
            "sendfile", "splice",
        ];
        if let (true, Outcome::Value(bytes @ 1.., _)) = (DATA.contains(&name), result) {
            let (calls, sum) = self.notes.headless;
            self.notes.headless = (calls + 1, sum.saturating_add(bytes as u64));
        }
    }
}

/// What a data call is.
struct Context<'a> {
    direction: Direction,
    by: Call,
    flags: &'a [u8],
    peer: Option<Address>,
    /// Bytes asked for, where one number tells.
    asked: Option<u64>,
    is_unix: bool,
}

fn inode(nature: Option<&Nature>) -> Option<u64> {
    match nature {
        Some(Nature::Socket { inode, .. }) => Some(*inode),
        _ => None,
    }
}
