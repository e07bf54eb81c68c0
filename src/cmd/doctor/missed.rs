//! What a trace of a process would lack, and by which cause, concluded from what [`super::process`] found.

use super::process::{Subject, comma, state};
use crate::event::Cause;
use crate::output::escape::escape;
use crate::output::paint::Paint;
use crate::output::tally::plural;
use crate::process::sockets::Socket;
use crate::source::live::{UringReach, sockets_tell_of_traffic};
use serde::Serialize;
use std::collections::BTreeSet;

/// Bytes that a trace would lack.
pub(super) struct Missed {
    /// The cause that a report would name; absent where nothing would be reported at all.
    cause: Option<Cause>,
    what: String,
}

impl Missed {
    /// As JSON.
    pub(super) fn line(&self, pid: u32) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Line<'a> {
            r#type: &'static str,
            pid: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            stage: Option<&'static str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            cause: Option<&'static str>,
            detail: &'a str,
        }
        let stage = self.cause.map(|cause| cause.stage().name());
        Line { r#type: "missed", pid, stage, cause: self.cause.map(Cause::slug), detail: &self.what }
    }

    /// As text; the first one of a process brings the title.
    pub(super) fn text(&self, first: bool, paint: Paint) -> String {
        let title = format!("  {}\n", paint.quiet("would be missed, by cause (see sockdbg explain CAUSE)"));
        let cause = format!("{:18}", self.cause.map_or("not reported", Cause::slug));
        let what = escape(self.what.as_bytes());
        format!("{}    {} {what}", if first { &title } else { "" }, paint.word(cause))
    }
}

/// Functions of the C library that move bytes inside the kernel.
const TRANSFERS: [&str; 3] = ["sendfile", "sendfile64", "splice"];

impl Subject {
    /// What a trace of `traced`, of which this process is one, would lack of it.
    pub(super) fn missed(&self, traced: &[u32]) -> Vec<Missed> {
        let mut missed = Vec::new();
        let mut add = |cause: Option<Cause>, what: String| missed.push(Missed { cause, what });
        let open: Vec<&Socket> = self.sockets.iter().filter(|socket| is_tcp(socket)).collect();
        let (listeners, connections): (Vec<&Socket>, Vec<&Socket>) =
            open.into_iter().partition(|socket| state(socket) == Some("listen"));
        if !connections.is_empty() {
            let what =
                format!("what has moved already on {}", plural(connections.len() as u64, "open connection"));
            add(Some(Cause::BeforeAttach), what);
        }
        if !self.descriptors.io_urings.is_empty() {
            let what = match UringReach::of_kernel() {
                UringReach::Everything => "payload that io_uring moves through registered buffers",
                UringReach::TcpSends => {
                    "payload that io_uring receives, sends through registered buffers, or sends by other than TCP"
                }
                UringReach::Nothing => {
                    "payload that goes through io_uring; before Linux 6.3 all that it moves on UDP and Unix sockets"
                }
            };
            add(Some(Cause::IoUring), what.into());
        }
        if self.image.as_ref().is_some_and(|image| image.bits == Some(32)) {
            add(Some(Cause::UntracedSyscall), "payload of its calls, which are 32-bit ones".into());
        }
        if let Some((who, all)) = self.others(&connections, traced) {
            let what = format!("payload on shared connections that {who} may move; trace all: -p {all}");
            add(Some(Cause::OtherProcess), what);
        }
        if let Some((who, all)) = self.others(&self.counted(), traced) {
            // Hooks on calls see those of the traced processes only.
            let told = sockets_tell_of_traffic() || UringReach::of_kernel() == UringReach::Everything;
            let untold =
                if told { "" } else { ", before Linux 6.3 not even counted where functions can't be hooked" };
            let what = format!("payload on shared UDP and Unix sockets that {who} may move{untold}");
            add(told.then_some(Cause::OtherProcess), format!("{what}; trace all: -p {all}"));
        }
        if let Some(calls) = self.transfers() {
            let what = format!("payload that goes through {calls}, which its program imports");
            add(Some(Cause::InKernelTransfer), what);
        }
        if let Some((who, all)) = self.others(&listeners, traced) {
            let what = format!("connections of a shared listener that {who} may accept; trace all: -p {all}");
            add(Some(Cause::NotThisProcess), what);
        }
        let children: Vec<u32> =
            self.children.iter().copied().filter(|child| !traced.contains(child)).collect();
        if !children.is_empty() {
            let what =
                format!("connections of its child processes; trace them as well: -p {}", comma(&children));
            add(Some(Cause::NotThisProcess), what);
        }
        if !self.tls().is_empty() {
            let what =
                "what encrypted connections carry: of TLS the handshake is told, and ciphertext counted";
            add(Some(Cause::WireEncrypted), what.into());
        }
        if self.sharing.unreadable > 0 {
            let count = self.sharing.unreadable;
            let what = format!("who else holds its sockets: {count} of the processes may not be looked at");
            add(None, what);
        }
        missed
    }

    /// The sockets on which nothing but calls tells what has moved.
    fn counted(&self) -> Vec<&Socket> {
        let moves = |socket: &&Socket| {
            let transport = socket.listed.as_ref().map_or("", |listed| listed.transport);
            (transport == "udp" || transport.starts_with("unix-")) && state(socket) != Some("listen")
        };
        self.sockets.iter().filter(moves).collect()
    }

    /// The processes outside `traced` that hold one of `sockets`, by name, and the ids of them and `traced`.
    fn others(&self, sockets: &[&Socket], traced: &[u32]) -> Option<(String, String)> {
        let holders = sockets.iter().flat_map(|socket| self.holders(socket));
        let outside = holders.filter(|holder| !traced.contains(&holder.pid));
        let unique: BTreeSet<(u32, &str)> =
            outside.map(|holder| (holder.pid, holder.comm.as_str())).collect();
        let names: Vec<String> = unique.iter().map(|(pid, comm)| format!("{comm}[{pid}]")).collect();
        let pids: Vec<u32> = traced.iter().copied().chain(unique.iter().map(|(pid, _)| *pid)).collect();
        (!names.is_empty()).then(|| (names.join(" or "), comma(&pids)))
    }

    fn transfers(&self) -> Option<String> {
        let imports = &self.image.as_ref()?.imports;
        let calls: Vec<&str> = TRANSFERS.into_iter().filter(|call| imports.contains(*call)).collect();
        (!calls.is_empty()).then(|| calls.join(", "))
    }
}

fn is_tcp(socket: &Socket) -> bool {
    socket.listed.as_ref().is_some_and(|listed| listed.transport == "tcp")
}
