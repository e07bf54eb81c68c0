//! The sockets of a log, and the events that their calls make.

use super::call::Part;
use super::tasks::MOST;
use crate::event::{
    Address, Call, Cause, Close, CloseReason, ConnId, Data, Direction, Event, Kind, Open, Opened, Role,
    Start, Task, Timestamp, Total, Transport,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// Where an event comes from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    pub(super) time: Timestamp,
    pub(super) task: Option<Task>,
    pub(super) fd: Option<i32>,
}

/// A socket.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    conn: ConnId,
    inode: Option<u64>,
    pub(super) transport: Option<Transport>,
    pub(super) local: Option<Address>,
    pub(super) remote: Option<Address>,
    role: Role,
    opened: Opened,
    call: Option<Call>,
    /// It has a peer, or had one.
    connected: bool,
    /// connect has not told its result yet.
    connecting: bool,
    announced: bool,
    /// Where it came up.
    first: At,
    next: [u64; 2],
    /// Descriptors that refer to it.
    references: u32,
}

/// A data call.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) direction: Direction,
    pub(super) call: Call,
    pub(super) peer: Option<Address>,
    pub(super) peek: bool,
    pub(super) error: Option<i32>,
}

/// Every socket that is open, and events to hand on.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    sockets: FxHashMap<u64, Socket>,
    by_inode: FxHashMap<u64, u64>,
    by_ends: FxHashMap<(Address, Address), u64>,
    /// Ports that somebody listens on.
    listening: FxHashSet<u16>,
    keys: u64,
    unnamed: u64,
    /// Sockets whose transport was not known when bytes moved.
    pub(super) guessed: u64,
    /// Sockets given up since there were too many at once, and the key below which none is left.
    pub(super) refused: u64,
    oldest: u64,
    /// Events and their payload, in order.
    pub(super) queue: Vec<(Event<'static>, Vec<u8>)>,
}

impl Sockets {
    /// A socket that came up here: by a call, or open already.
    pub(super) fn create(
        &mut self,
        at: At,
        opened: Opened,
        transport: Option<Transport>,
        inode: Option<u64>,
    ) -> u64 {
        while self.sockets.len() >= MOST {
            // The oldest: nothing in the log closed it.
            self.oldest += 1;
            if let Some(socket) = self.sockets.get_mut(&self.oldest) {
                self.refused += 1;
                socket.references = 0;
                self.release(self.oldest, at, None);
            }
        }
        self.keys += 1;
        let number = inode.unwrap_or_else(|| {
            self.unnamed += 1;
            self.unnamed
        });
        let socket = Socket {
            // Every connection gets a number of its own: an inode may come again.
            conn: ConnId { socket: number, opened: self.keys as u32 },
            inode,
            transport,
            local: None,
            remote: None,
            role: Role::Unknown,
            opened,
            call: None,
            connected: opened == Opened::Found,
            connecting: false,
            announced: false,
            first: at,
            next: [0; 2],
            references: 0,
        };
        self.sockets.insert(self.keys, socket);
        if let Some(inode) = inode {
            self.by_inode.insert(inode, self.keys);
        }
        self.keys
    }

    pub(super) fn get(&mut self, key: u64) -> Option<&mut Socket> {
        self.sockets.get_mut(&key)
    }

    /// The socket with this inode.
    pub(super) fn with_inode(&self, inode: u64) -> Option<u64> {
        self.by_inode.get(&inode).copied()
    }

    /// The socket with these addresses.
    pub(super) fn with_ends(&self, local: Address, remote: Address) -> Option<u64> {
        self.by_ends.get(&(local, remote)).copied()
    }

    /// True where the socket may have this inode; it has it from now on.
    pub(super) fn is_inode(&mut self, key: u64, inode: u64) -> bool {
        let Some(socket) = self.sockets.get_mut(&key) else { return false };
        if socket.inode.is_none() {
            socket.inode = Some(inode);
            if !socket.announced {
                socket.conn.socket = inode;
            }
            self.by_inode.insert(inode, key);
        }
        socket.inode == Some(inode)
    }

    /// True where the socket may have these ends; it has them from now on.
    pub(super) fn is_at(
        &mut self,
        key: u64,
        transport: Transport,
        local: Address,
        remote: Option<Address>,
    ) -> bool {
        let Some(socket) = self.sockets.get_mut(&key) else { return false };
        if socket.transport.is_some_and(|own| own != transport) {
            return false;
        }
        if transport == Transport::Tcp {
            let same_local = socket.local.is_none_or(|own| own == local || is_any(own, local));
            let same_remote = match remote {
                Some(remote) => socket.remote.is_none_or(|own| own == remote),
                None => socket.remote.is_none(),
            };
            if !same_local || !same_remote {
                return false;
            }
        }
        self.learn(key, Some(transport), Some(local), remote);
        true
    }

    /// More is known of the socket: what is not known stays.
    pub(super) fn learn(
        &mut self,
        key: u64,
        transport: Option<Transport>,
        local: Option<Address>,
        remote: Option<Address>,
    ) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        remove(&mut self.by_ends, socket.local.zip(socket.remote), key);
        socket.transport = socket.transport.or(transport);
        socket.local = local.or(socket.local);
        if let Some(remote) = remote {
            socket.remote = Some(remote);
            if !socket.connected && !socket.connecting && transport == Some(Transport::Tcp) {
                // It was made within the log, and its connect is not in it.
                socket.role = Role::Client;
            }
            socket.connected |= !socket.connecting;
        }
        if let (Some(local), Some(remote)) = (socket.local, socket.remote) {
            self.by_ends.insert((local, remote), key);
        }
    }

    /// Nothing was known of the socket's address family, and this call tells that it is a Unix socket.
    pub(super) fn is_unix(&mut self, key: u64) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.transport.get_or_insert(Transport::UnixStream);
        }
    }

    /// The socket listens.
    pub(super) fn listen(&mut self, key: u64) {
        let port = self.sockets.get(&key).and_then(|socket| socket.local?.ip()).map(|local| local.port());
        self.listening.extend(port);
    }

    /// A connection that `listener` accepted.
    pub(super) fn accepted(&mut self, at: At, listener: u64, call: Call, peer: Option<Address>) -> u64 {
        let (transport, local) =
            self.sockets.get(&listener).map_or((None, None), |one| (one.transport, one.local));
        let of_peer =
            peer.map(|peer| if peer.ip().is_some() { Transport::Tcp } else { Transport::UnixStream });
        let key = self.create(at, Opened::Fresh, transport.or(of_peer), None);
        self.listen(listener);
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.role = Role::Server;
            socket.call = Some(call);
            socket.connected = true;
        }
        self.learn(key, None, local, peer);
        key
    }

    /// A connect that succeeded, goes on, or failed with an error.
    pub(super) fn connect(&mut self, key: u64, at: At, remote: Option<Address>, error: Option<i32>) {
        const IN_PROGRESS: [i32; 4] =
            [nix::libc::EINPROGRESS, nix::libc::EALREADY, nix::libc::EISCONN, nix::libc::EAGAIN];
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        if remote.is_none() && error.is_none() {
            remove(&mut self.by_ends, socket.local.zip(socket.remote), key);
            socket.remote = None; // AF_UNSPEC: no longer connected
            return;
        }
        let is_stream = socket.transport.is_none_or(Transport::is_stream);
        if socket.announced && is_stream {
            return;
        }
        socket.role = Role::Client;
        socket.call = Some(Call::Connect);
        if !socket.announced {
            socket.first = At { time: socket.first.time.max(at.time), ..at };
        }
        match error {
            Some(error) if !IN_PROGRESS.contains(&error) => self.failed(key, at, remote, error),
            _ => {
                if let (Some(socket), None) = (self.sockets.get_mut(&key), error) {
                    (socket.connected, socket.connecting) = (true, false);
                } else if let Some(socket) = self.sockets.get_mut(&key) {
                    socket.connecting = !socket.connected;
                }
                let transport = remote
                    .map(|remote| if remote.ip().is_some() { Transport::Tcp } else { Transport::UnixStream });
                self.learn(key, transport, None, remote);
            }
        }
    }

    /// Its connect failed, as the call said or getsockopt did later.
    pub(super) fn failed(&mut self, key: u64, at: At, remote: Option<Address>, error: i32) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        if socket.connected || socket.announced {
            return;
        }
        socket.connecting = false;
        remove(&mut self.by_ends, socket.local.zip(socket.remote), key);
        let remote = remote.or(socket.remote.take());
        let transport = socket.transport.unwrap_or_default();
        let open = Open {
            transport,
            local: socket.local,
            remote,
            role: Role::Client,
            exact: true,
            call: Some(Call::Connect),
            error: Some(error),
            ..Open::default()
        };
        let conn = socket.conn;
        self.push(at, conn, Kind::Open(open), Vec::new());
        // Another attempt is another connection.
        self.keys += 1;
        let opened = self.keys as u32;
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.conn.opened = opened;
        }
    }

    /// True while a connect has not told its result.
    pub(super) fn is_connecting(&self, key: u64) -> bool {
        self.sockets.get(&key).is_some_and(|socket| socket.connecting)
    }

    /// Both ends of a pair.
    pub(super) fn paired(&mut self, key: u64) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.connected = true;
        }
    }

    fn push(&mut self, at: At, conn: ConnId, kind: Kind<'static>, payload: Vec<u8>) {
        self.queue.push((Event { time: at.time, conn, task: at.task, fd: at.fd, kind }, payload));
    }

    /// Tells of the connection, once. Waits for its first bytes or its end, since calls in between tell addresses.
    fn announce(&mut self, key: u64) {
        let Some(socket) = self.sockets.get_mut(&key).filter(|socket| !socket.announced) else { return };
        socket.announced = true;
        if socket.transport.is_none() {
            self.guessed += 1;
        }
        let transport = *socket.transport.get_or_insert_default();
        let port = socket.local.and_then(Address::ip).map(|local| local.port());
        if socket.role == Role::Unknown && port.is_some_and(|port| self.listening.contains(&port)) {
            socket.role = Role::Server;
        }
        let open = Open {
            opened: socket.opened,
            transport,
            local: socket.local,
            remote: socket.remote,
            role: socket.role,
            start: [Start::default(); 2],
            exact: socket.opened == Opened::Fresh,
            filtered: false,
            call: socket.call,
            error: None,
        };
        let (at, conn) = (socket.first, socket.conn);
        self.push(at, conn, Kind::Open(open), Vec::new());
    }

    /// Bytes moved: of a stream part after part, of a datagram or of bytes that are only looked at as one.
    pub(super) fn data(&mut self, key: u64, at: At, moved: &Moved, parts: Vec<Part>) {
        self.announce(key);
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        let (conn, remote) = (socket.conn, socket.remote);
        let peer = moved
            .peer
            .filter(|&peer| Some(peer) != remote && !socket.transport.is_some_and(Transport::is_stream));
        let index = moved.direction.index();
        let mut offset = socket.next[index];
        if !moved.peek {
            let length = parts.iter().map(|part| part.length).fold(0, u64::saturating_add);
            // A log may claim any number. Behind the end of all offsets nothing moves.
            let Some(next) = offset.checked_add(length).filter(|&next| next <= i64::MAX as u64) else {
                return;
            };
            socket.next[index] = next;
        }
        for part in parts {
            let data = Data {
                direction: moved.direction,
                offset,
                length: part.length,
                payload: &[],
                tcp_seq: None,
                peer,
                call: moved.call,
                cause: part.cause,
                peek: moved.peek,
                past_tcp: false,
                acked: None,
                error: moved.error,
            };
            offset = offset.saturating_add(part.length);
            self.push(at, conn, Kind::Data(data), part.bytes);
        }
    }

    /// How the socket carries bytes, as far as is known.
    pub(super) fn is_stream(&self, key: u64) -> bool {
        self.sockets.get(&key).and_then(|socket| socket.transport).is_none_or(Transport::is_stream)
    }

    /// One more descriptor refers to the socket.
    pub(super) fn retain(&mut self, key: u64) {
        if let Some(socket) = self.sockets.get_mut(&key) {
            socket.references = socket.references.saturating_add(1);
        }
    }

    /// One descriptor less does. `call` where a call closed it.
    pub(super) fn release(&mut self, key: u64, at: At, call: Option<Call>) {
        let Some(socket) = self.sockets.get_mut(&key) else { return };
        socket.references = socket.references.saturating_sub(1);
        if socket.references > 0 {
            if socket.announced && call.is_some() {
                self.close(key, at, CloseReason::Descriptor, call);
            }
            return;
        }
        if socket.announced || socket.connected && socket.opened == Opened::Fresh {
            self.announce(key);
            self.close(key, at, CloseReason::Closed, call);
        }
        if let Some(socket) = self.sockets.remove(&key) {
            remove(&mut self.by_inode, socket.inode, key);
            remove(&mut self.by_ends, socket.local.zip(socket.remote), key);
        }
    }

    fn close(&mut self, key: u64, at: At, reason: CloseReason, call: Option<Call>) {
        let Some(socket) = self.sockets.get(&key) else { return };
        let totals = socket.next.map(|moved| Total { moved, ..Total::default() });
        let conn = socket.conn;
        self.push(at, conn, Kind::Close(Close { reason, call, totals }), Vec::new());
    }

    /// The log is over: says of each connection how far it came.
    pub(super) fn finish(&mut self, time: Timestamp) {
        let mut open: Vec<u64> = self.sockets.keys().copied().collect();
        open.sort_unstable();
        for key in open {
            let Some(socket) = self.sockets.get(&key) else { continue };
            if socket.announced || socket.connected && socket.opened == Opened::Fresh {
                let at = At { time, ..socket.first };
                self.announce(key);
                self.close(key, at, CloseReason::StillOpen, None);
            }
        }
    }

    /// The payload of an event that moves no byte: a call that failed.
    pub(super) fn error(&mut self, key: u64, at: At, moved: &Moved) {
        // A failed call tells of no new connection.
        if self.sockets.get(&key).is_some_and(|socket| socket.announced) {
            self.data(key, at, moved, vec![Part::default()]);
        }
    }
}

/// What made payload shorter, where it is.
pub(super) fn in_kernel(length: u64) -> Part {
    Part { length, bytes: Vec::new(), cause: Some(Cause::InKernelTransfer) }
}

/// True where `own` is the wildcard address with the port of `other`.
fn is_any(own: Address, other: Address) -> bool {
    match (own.ip(), other.ip()) {
        (Some(own), Some(other)) => own.ip().is_unspecified() && own.port() == other.port(),
        _ => false,
    }
}

fn remove<K: std::hash::Hash + Eq>(map: &mut FxHashMap<K, u64>, entry: Option<K>, key: u64) {
    if let Some(entry) = entry
        && map.get(&entry) == Some(&key)
    {
        map.remove(&entry);
    }
}
