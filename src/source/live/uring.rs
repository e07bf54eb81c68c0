//! What io_uring moves: which of it the kernel's hooks have, see `src/bpf/uring.h`.

use super::Live;
use super::offered::{attach_loaded, has_tracepoint, select_returns, sockets_tell_of_traffic};
use super::skeleton::{OpenSocketProgs, SocketProgs};
use crate::event::Direction;
use crate::source::{Error, hooks};
use libbpf_rs::Link;

const SEND: &str = "fentry/security_socket_sendmsg";
const RECEIVE: &str = "fentry/security_socket_recvmsg";

/// Whose payload a trace has of what io_uring moves. None has what goes through registered buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UringReach {
    /// Of sockets of every kind, in both directions: functions of the kernel can be hooked.
    Everything,
    /// What is sent on TCP sockets: a tracepoint tells of it (Linux 6.16).
    TcpSends,
    /// Nobody's.
    Nothing,
}

impl UringReach {
    /// What the running kernel grants to a trace by its cheapest hooks; tried, not guessed.
    pub fn of_kernel() -> UringReach {
        UringReach::of(sockets_tell_of_traffic())
    }

    /// `traffic`: sockets tell how much has moved, without which it can't be known how much of a buffer is meant; the
    /// return of a function tells it, too.
    fn of(traffic: bool) -> UringReach {
        if hooks::grants(&[SEND, RECEIVE]) && (traffic || hooks::grants(&[hooks::RETURNS])) {
            UringReach::Everything
        } else if traffic && has_tracepoint("tcp_sendmsg_locked") {
            UringReach::TcpSends
        } else {
            UringReach::Nothing
        }
    }

    /// True where it has what moves in this direction on TCP sockets, or on those of another kind.
    pub fn has(self, direction: Direction, tcp: bool) -> bool {
        match self {
            UringReach::Everything => true,
            UringReach::TcpSends => tcp && direction == Direction::Send,
            UringReach::Nothing => false,
        }
    }
}

impl Live {
    /// Whose payload this trace has of what io_uring moves.
    pub fn uring_reach(&self) -> UringReach {
        let progs = &self.skel.progs;
        if progs.on_receive_begin.autoload() {
            UringReach::Everything
        } else if progs.on_send_piece.autoload() {
            UringReach::TcpSends
        } else {
            UringReach::Nothing
        }
    }
}

/// Loads what the kernel grants, where sockets tell of their `traffic`, or do not. True where functions tell instead.
pub(super) fn select_hooks(progs: &mut OpenSocketProgs<'_>, traffic: bool) -> bool {
    let reach = UringReach::of(traffic);
    progs.on_send_begin.set_autoload(reach == UringReach::Everything);
    progs.on_receive_begin.set_autoload(reach == UringReach::Everything);
    progs.on_send_piece.set_autoload(reach == UringReach::TcpSends);
    let moves = [
        &mut progs.on_inet_sendmsg,
        &mut progs.on_inet_recvmsg,
        &mut progs.on_inet6_sendmsg,
        &mut progs.on_inet6_recvmsg,
        &mut progs.on_unix_stream_sendmsg,
        &mut progs.on_unix_stream_recvmsg,
        &mut progs.on_unix_dgram_sendmsg,
        &mut progs.on_unix_dgram_recvmsg,
        &mut progs.on_unix_seqpacket_sendmsg,
        &mut progs.on_unix_seqpacket_recvmsg,
    ];
    let returns = reach == UringReach::Everything && !traffic;
    select_returns(moves, returns);
    returns
}

/// Puts those in place that were loaded.
pub(super) fn attach_probes(progs: &SocketProgs<'_>) -> Result<Vec<Link>, Error> {
    attach_loaded([
        &progs.on_send_begin,
        &progs.on_receive_begin,
        &progs.on_send_piece,
        &progs.on_inet_sendmsg,
        &progs.on_inet_recvmsg,
        &progs.on_inet6_sendmsg,
        &progs.on_inet6_recvmsg,
        &progs.on_unix_stream_sendmsg,
        &progs.on_unix_stream_recvmsg,
        &progs.on_unix_dgram_sendmsg,
        &progs.on_unix_dgram_recvmsg,
        &progs.on_unix_seqpacket_sendmsg,
        &progs.on_unix_seqpacket_recvmsg,
    ])
}
