//! `doctor -p`: the sockets of a process and what runs in it. What follows from that is in [`super::missed`].

use super::check::Printer;
use super::kernel::can_trace;
use crate::exit::Outcome;
use crate::output::escape::escape;
use crate::output::paint::Paint;
use crate::output::tally::plural;
use crate::process::image::{Image, Tls};
use crate::process::sockets::{self, Descriptors, Holder, Listed, Sharing, Socket};
use crate::process::{Process, children};
use crate::source::{Error, live};
use procfs::ProcError;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs;

/// Looks at each process, and prints what was found.
///
/// # Errors
/// A process does not exist or may not be looked at; sockdbg can't trace here.
pub fn run(pids: &[u32], printer: &mut Printer) -> anyhow::Result<Outcome> {
    let processes = pids.iter().map(|&pid| live::open_process(pid)).collect::<Result<Vec<_>, _>>()?;
    for (number, process) in processes.iter().enumerate() {
        let subject = Subject::of(process)?;
        printer.item(&subject.line(), |paint| subject.text(number == 0, paint))?;
        for socket in &subject.sockets {
            let holders = subject.holders(socket);
            printer.item(&socket_line(subject.pid, socket, holders), |paint| {
                socket_text(socket, holders, paint)
            })?;
        }
        for (number, missed) in subject.missed(pids).iter().enumerate() {
            printer.item(&missed.line(subject.pid), |paint| missed.text(number == 0, paint))?;
        }
    }
    let tried = can_trace();
    match &tried {
        Ok(way) => printer.end("can-trace", way)?,
        Err(error) => printer.end("cannot-trace", &error.to_string())?,
    }
    Ok(tried.map(|_| Outcome::Well)?)
}

/// A process, as far as it concerns a trace of it.
pub(super) struct Subject {
    pid: u32,
    comm: String,
    /// Absent for a task of the kernel's own.
    pub(super) image: Option<Image>,
    /// Number of the network namespace, and whether sockdbg is in the same.
    namespace: Option<(u64, bool)>,
    pub(super) descriptors: Descriptors,
    pub(super) sockets: Vec<Socket>,
    pub(super) sharing: Sharing,
    pub(super) children: Vec<u32>,
}

impl Subject {
    fn of(process: &Process) -> Result<Subject, Error> {
        let pid = process.pid();
        let refused = |error: ProcError| {
            Error::Attach(match error {
                _ if process.has_ended() => format!("process {pid} has ended"),
                ProcError::PermissionDenied(_) => {
                    format!("process {pid} may not be looked at: run as root, or with CAP_SYS_PTRACE")
                }
                error => format!("process {pid}: {error}"),
            })
        };
        let descriptors = sockets::descriptors(pid).map_err(refused)?;
        Ok(Subject {
            pid,
            comm: String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/comm")).unwrap_or_default())
                .trim_end()
                .to_owned(),
            image: Image::of(pid).ok(),
            namespace: namespace(&pid.to_string()).map(|number| (number, namespace("self") == Some(number))),
            sockets: sockets::sockets(pid, &descriptors).map_err(refused)?,
            sharing: sockets::sharing(pid, &descriptors).map_err(refused)?,
            children: children(pid).map_err(refused)?,
            descriptors,
        })
    }

    /// The other processes that hold one of its sockets.
    pub(super) fn holders(&self, socket: &Socket) -> &[Holder] {
        self.sharing.holders.get(&socket.inode).map_or(&[], Vec::as_slice)
    }

    /// The implementations of TLS in its memory.
    pub(super) fn tls(&self) -> &[Tls] {
        self.image.as_ref().map_or(&[], |image| &image.tls)
    }

    fn line(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Line<'a> {
            r#type: &'static str,
            pid: u32,
            comm: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            program: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            bits: Option<u8>,
            #[serde(skip_serializing_if = "Option::is_none")]
            network_namespace: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            same_network_namespace: Option<bool>,
            tls: Vec<TlsLine>,
            /// Mapped files of which nothing is known.
            unreadable: Vec<String>,
            io_uring_fds: &'a [i32],
            children: &'a [u32],
        }
        #[derive(Serialize)]
        struct TlsLine {
            name: &'static str,
            file: String,
            linked: bool,
        }
        let tls = self.tls().iter().map(|tls| TlsLine {
            name: tls.name,
            file: tls.file.display().to_string(),
            linked: tls.linked,
        });
        let unreadable = self.image.iter().flat_map(|image| &image.unreadable);
        Line {
            r#type: "process",
            pid: self.pid,
            comm: &self.comm,
            program: self.image.as_ref().map(|image| image.program.display().to_string()),
            bits: self.image.as_ref().and_then(|image| image.bits),
            network_namespace: self.namespace.map(|(number, _)| number),
            same_network_namespace: self.namespace.map(|(_, same)| same),
            tls: tls.collect(),
            unreadable: unreadable.map(|path| path.display().to_string()).collect(),
            io_uring_fds: &self.descriptors.io_urings,
            children: &self.children,
        }
    }

    fn text(&self, first: bool, paint: Paint) -> String {
        let program = match &self.image {
            Some(image) => {
                let bits = image.bits.map_or(String::new(), |bits| format!(", {bits}-bit"));
                format!("{}{bits}", escape(image.program.as_os_str().as_encoded_bytes()))
            }
            None => "its program can't be read".into(),
        };
        let namespace = match self.namespace {
            Some((_, true)) => "the same as sockdbg's".into(),
            Some((number, false)) => format!("net:[{number}], not sockdbg's own; verify captures inside it"),
            None => "can't be read".into(),
        };
        let rings = match self.descriptors.io_urings.as_slice() {
            [] => "no".to_owned(),
            fds => format!("yes, {}", fds_text(fds)),
        };
        let count = match self.sockets.len() {
            0 => "none".to_owned(),
            count => count.to_string(),
        };
        let lines = [
            ("network namespace", namespace),
            ("TLS", self.tls_text()),
            ("io_uring", rings),
            ("child processes", list(&self.children, "none")),
            ("sockets", count),
        ];
        let who = format!("{}[{}]", escape(self.comm.as_bytes()), self.pid);
        let gap = if first { "" } else { "\n" };
        let mut text = format!("{gap}{} {program}", paint.word(who));
        for (name, value) in lines {
            // Writing to a String does not fail.
            let _ = write!(text, "\n  {} {value}", paint.quiet(format!("{name:18}")));
        }
        text
    }

    fn tls_text(&self) -> String {
        let one = |tls: &Tls| {
            let file = tls.file.file_name().unwrap_or_default();
            let place = if tls.linked { "linked into " } else { "" };
            format!("{} ({place}{})", tls.name, escape(file.as_encoded_bytes()))
        };
        let found = list(&self.tls().iter().map(one).collect::<Vec<_>>(), "none found");
        match self.image.as_ref().map_or(0, |image| image.unreadable.len()) {
            0 => found,
            count => format!("{found}; {} can't be read", plural(count as u64, "mapped file")),
        }
    }
}

pub(super) fn state(socket: &Socket) -> Option<&'static str> {
    socket.listed.as_ref()?.state
}

/// The number of a network namespace, which its link under /proc shows.
fn namespace(process: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{process}/ns/net")).ok()?;
    link.to_str()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

fn socket_line<'a>(pid: u32, socket: &'a Socket, holders: &'a [Holder]) -> impl Serialize + 'a {
    #[derive(Serialize)]
    struct Line<'a> {
        r#type: &'static str,
        pid: u32,
        fds: &'a [i32],
        socket: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        family: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        transport: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        state: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        local: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        remote: Option<&'a str>,
        shared_with: Vec<HolderLine<'a>>,
    }
    #[derive(Serialize)]
    struct HolderLine<'a> {
        pid: u32,
        comm: &'a str,
        fds: &'a [i32],
    }
    let holder = |holder: &'a Holder| HolderLine { pid: holder.pid, comm: &holder.comm, fds: &holder.fds };
    let listed = socket.listed.as_ref();
    Line {
        r#type: "socket",
        pid,
        fds: &socket.fds,
        socket: socket.inode,
        family: listed.map(|listed| listed.family),
        transport: listed.map(|listed| listed.transport),
        state: listed.and_then(|listed| listed.state),
        local: listed.and_then(|listed| listed.local.as_deref()),
        remote: listed.and_then(|listed| listed.remote.as_deref()),
        shared_with: holders.iter().map(holder).collect(),
    }
}

/// As strace -yy shows it, with state, inode and the other holders.
fn socket_text(socket: &Socket, holders: &[Holder], paint: Paint) -> String {
    let Socket { inode, fds, listed } = socket;
    let what = listed.as_ref().map_or(format!("socket:[{inode}]"), |listed| listed_text(*inode, listed));
    let state = state(socket).map_or(String::new(), |state| format!(" {state}"));
    let mut text = format!("    {}<{what}>{state} {}", comma(fds), paint.quiet(format!("inode {inode}")));
    if listed.is_none() {
        text.push_str(", without address, or of another namespace or family");
    }
    for Holder { pid, comm, fds } in holders {
        // Writing to a String does not fail.
        let _ = write!(text, "\n      also held by {}[{pid}] as {}", escape(comm.as_bytes()), fds_text(fds));
    }
    text
}

fn listed_text(inode: u64, listed: &Listed) -> String {
    let version = if listed.family == "ipv6" { "v6" } else { "" };
    let name = format!("{}{version}", listed.transport.to_uppercase());
    let own = listed.local.as_ref().map_or(inode.to_string(), |local| escape(local.as_bytes()).to_string());
    match &listed.remote {
        Some(remote) => format!("{name}:[{own}->{remote}]"),
        None => format!("{name}:[{own}]"),
    }
}

/// `fd 5` or `fds 5,6`.
fn fds_text(fds: &[i32]) -> String {
    format!("{} {}", if fds.len() == 1 { "fd" } else { "fds" }, comma(fds))
}

pub(super) fn comma(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn list(items: &[impl ToString], none: &str) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    if items.is_empty() { none.to_owned() } else { items.join(", ") }
}
