//! Which end of a connection a process is, where no call told: by the ports it listens on.

use crate::event::{Address, Event, Kind, Open, Opened, Role};
use crate::process::listening_ports;
use rustc_hash::FxHashMap;
use std::collections::HashSet;

/// Which ports a process listens on: tells servers from clients among sockets that were open already.
#[derive(Default)]
pub(super) struct Roles {
    listening: FxHashMap<u32, HashSet<u16>>,
}

impl Roles {
    /// The event, an open with its role where that can be told.
    pub(super) fn complete<'a>(&mut self, mut event: Event<'a>) -> Event<'a> {
        let pid = event.task.map(|task| task.pid);
        if let (Kind::Open(open), Some(pid)) = (&mut event.kind, pid)
            && open.opened == Opened::Found
            && open.role == Role::Unknown
        {
            open.role = self.role(pid, open);
        }
        event
    }

    fn role(&mut self, pid: u32, open: &Open) -> Role {
        let Some(local) = open.local.and_then(Address::ip) else { return Role::Unknown };
        let remote = open.remote.and_then(Address::ip);
        if !open.transport.is_stream() {
            // Bound to a port that somebody chose, and not connected.
            return if is_ephemeral(local.port()) { Role::Unknown } else { Role::Server };
        }
        // A process that has ended since: nothing tells any more.
        let listening = self.listening.entry(pid).or_insert_with(|| listening_ports(pid).unwrap_or_default());
        if listening.contains(&local.port()) {
            Role::Server
        } else if is_ephemeral(local.port()) && remote.is_some_and(|remote| !is_ephemeral(remote.port())) {
            Role::Client
        } else {
            Role::Unknown
        }
    }
}

/// The kernel's default of net.ipv4.ip_local_port_range: where connect takes a port from.
fn is_ephemeral(port: u16) -> bool {
    (32768..=60999).contains(&port)
}
