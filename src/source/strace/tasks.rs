//! Who has which descriptors: threads, the tables of descriptors that they share, fork and execve.

use rustc_hash::FxHashMap;

/// Threads and descriptors that are kept at most: a log may be anything. What is beyond is counted.
pub(super) const MOST: usize = 1 << 20;

/// Threads in clone that are kept in mind, and bytes of calls that wait for their second half.
const MOST_CLONING: usize = 1024;
const MOST_HELD: usize = 256 << 20;

/// What a descriptor refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A socket, by its number among those seen.
    Socket(u64),
    /// A socket of a kind that is not traced.
    OtherSocket,
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Descriptor {
    target: Target,
    /// Closed by execve.
    cloexec: bool,
}

/// A table of descriptors, and how many threads share it.
#[derive(Clone, Debug, Default)]
struct Table {
    descriptors: FxHashMap<i32, Descriptor>,
    users: u32,
}

/// A thread.
#[derive(Debug, Default)]
pub(super) struct Thread {
    /// Its process.
    pub(super) pid: u32,
    /// Its name, where the log tells it.
    pub(super) comm: Vec<u8>,
    table: u64,
    /// The beginning of the call that it is in.
    pub(super) pending: Option<Vec<u8>>,
    /// The thread that began while this one was in clone, taken for its child.
    adopted: Option<u32>,
}

/// Every thread that is alive.
#[derive(Debug, Default)]
pub(super) struct Threads {
    threads: FxHashMap<u32, Thread>,
    tables: FxHashMap<u64, Table>,
    next_table: u64,
    /// Threads that are in clone or its like, the longest first; at most [`MOST_CLONING`].
    cloning: Vec<u32>,
    /// Bytes of calls that wait for their second half.
    held: usize,
    /// Threads that came up without anybody having made them.
    pub(super) roots: usize,
    /// Sockets that lost a descriptor in a way that no call of the thread told, for the caller to let go.
    pub(super) dropped: Vec<u64>,
    /// Sockets that got one more.
    pub(super) shared: Vec<u64>,
    /// Threads and descriptors that had no room.
    pub(super) refused: u64,
}

impl Threads {
    /// The thread with this id; 0 where the log does not tell it. One that was not heard of before begins in the
    /// middle, or is the child of one that is in clone.
    pub(super) fn get(&mut self, tid: u32) -> &mut Thread {
        if !self.threads.contains_key(&tid) {
            self.appear(tid);
        }
        self.threads.entry(tid).or_default() // there by now
    }

    /// True for a thread that is known.
    pub(super) fn knows(&self, tid: u32) -> bool {
        self.threads.contains_key(&tid)
    }

    /// Gives the thread another id: the log tells it later than it told of the thread.
    pub(super) fn rename(&mut self, from: u32, to: u32) {
        if let Some(mut thread) = self.threads.remove(&from) {
            thread.pid = to;
            self.threads.insert(to, thread);
            self.cloning.iter_mut().filter(|tid| **tid == from).for_each(|tid| *tid = to);
        }
    }

    /// The only thread that there is.
    pub(super) fn only(&self) -> Option<u32> {
        let mut ids = self.threads.keys();
        ids.next().copied().filter(|_| ids.next().is_none())
    }

    fn appear(&mut self, tid: u32) {
        let parent = self.cloning.iter().copied().find(|parent| {
            self.threads
                .get(parent)
                .is_some_and(|thread| thread.adopted.is_none() && thread.pending.is_some())
        });
        match parent {
            Some(parent) => {
                let call =
                    self.threads.get(&parent).and_then(|thread| thread.pending.clone()).unwrap_or_default();
                self.fork(parent, tid, Flags::of(&call));
                self.threads.entry(parent).and_modify(|thread| thread.adopted = Some(tid));
            }
            None => {
                if self.threads.len() >= MOST {
                    self.refused += 1;
                    (self.threads, self.tables) = (FxHashMap::default(), FxHashMap::default());
                    (self.held, self.cloning) = (0, Vec::new());
                }
                self.roots += 1;
                let table = self.new_table(Table { users: 1, ..Table::default() });
                self.threads.insert(tid, Thread { pid: tid, table, ..Thread::default() });
            }
        }
    }

    fn new_table(&mut self, table: Table) -> u64 {
        self.next_table += 1;
        self.tables.insert(self.next_table, table);
        self.next_table
    }

    /// The thread began a call, which goes on while others do theirs.
    pub(super) fn begin(&mut self, tid: u32, call: &[u8]) {
        self.resume(tid);
        if self.held + call.len() > MOST_HELD {
            self.refused += 1;
            return;
        }
        self.held += call.len();
        let thread = self.get(tid);
        (thread.pending, thread.adopted) = (Some(call.to_vec()), None);
        if Flags::begins_a_thread(call) {
            if self.cloning.len() >= MOST_CLONING {
                self.cloning.remove(0);
            }
            self.cloning.push(tid);
        }
    }

    /// The beginning of the call that the thread is in: it goes on now.
    pub(super) fn resume(&mut self, tid: u32) -> Option<Vec<u8>> {
        let call = self.get(tid).pending.take()?;
        self.held -= call.len();
        self.cloning.retain(|&other| other != tid);
        Some(call)
    }

    /// The thread's clone returned the id of the child.
    pub(super) fn cloned(&mut self, parent: u32, child: u32, flags: Flags) {
        let taken = self.get(parent).adopted.take();
        if taken == Some(child) {
            return;
        }
        if self.threads.contains_key(&child) {
            // It was taken for another's child.
            self.forget(child);
        }
        self.fork(parent, child, flags);
    }

    fn fork(&mut self, parent: u32, child: u32, flags: Flags) {
        if self.threads.len() >= MOST {
            self.refused += 1;
            return;
        }
        let Thread { pid, comm, table, .. } = self.get(parent);
        let (pid, comm, table) = (*pid, comm.clone(), *table);
        let pid = if flags.thread { pid } else { child };
        let table = if flags.files {
            self.tables.entry(table).and_modify(|table| table.users += 1);
            table
        } else {
            self.copied(table)
        };
        self.threads.insert(child, Thread { pid, comm, table, ..Thread::default() });
    }

    fn copied(&mut self, table: u64) -> u64 {
        let descriptors = self.tables.get(&table).map(|table| table.descriptors.clone()).unwrap_or_default();
        self.shared.extend(descriptors.values().filter_map(|one| socket(one.target)));
        self.new_table(Table { descriptors, users: 1 })
    }

    /// The thread is gone.
    pub(super) fn forget(&mut self, tid: u32) {
        self.cloning.retain(|&other| other != tid);
        if let Some(thread) = self.threads.remove(&tid) {
            self.held -= thread.pending.map_or(0, |call| call.len());
            self.leave(thread.table);
        }
    }

    fn leave(&mut self, table: u64) {
        let Some(left) = self.tables.get_mut(&table) else { return };
        left.users -= 1;
        if left.users == 0 {
            let sockets =
                self.tables.remove(&table).into_iter().flat_map(|table| table.descriptors.into_values());
            self.dropped.extend(sockets.filter_map(|one| socket(one.target)));
        }
    }

    /// Has a table of its own from now on (execve, unshare, close_range).
    pub(super) fn unshare(&mut self, tid: u32) {
        let table = self.get(tid).table;
        if self.tables.get(&table).is_some_and(|table| table.users > 1) {
            let copy = self.copied(table);
            self.leave(table);
            self.get(tid).table = copy;
        }
    }

    /// The thread runs another program.
    pub(super) fn executed(&mut self, tid: u32) {
        self.unshare(tid);
        self.close_where(tid, |_, cloexec| cloexec);
    }

    /// Thread `from` takes over the process `tid`, whose other threads are gone.
    pub(super) fn supersede(&mut self, tid: u32, from: u32) {
        if tid == from || !self.threads.contains_key(&from) {
            return;
        }
        self.forget(tid);
        if let Some(mut thread) = self.threads.remove(&from) {
            thread.pid = tid;
            self.threads.insert(tid, thread);
        }
    }

    /// close_range(2).
    pub(super) fn close_range(&mut self, tid: u32, first: i64, last: i64, flags: &[u8]) {
        let inside = |fd: i32| (first..=last).contains(&i64::from(fd));
        if super::syntax::has_flag(flags, "CLOSE_RANGE_UNSHARE", 2) {
            self.unshare(tid);
        }
        if super::syntax::has_flag(flags, "CLOSE_RANGE_CLOEXEC", 4) {
            self.descriptors(tid)
                .iter_mut()
                .filter(|(fd, _)| inside(**fd))
                .for_each(|(_, one)| one.cloexec = true);
        } else {
            self.close_where(tid, |fd, _| inside(fd));
        }
    }

    fn close_where(&mut self, tid: u32, closes: impl Fn(i32, bool) -> bool) {
        let mut gone = Vec::new();
        self.descriptors(tid).retain(|&fd, one| {
            let stays = !closes(fd, one.cloexec);
            if !stays {
                gone.extend(socket(one.target));
            }
            stays
        });
        self.dropped.extend(gone);
    }

    fn descriptors(&mut self, tid: u32) -> &mut FxHashMap<i32, Descriptor> {
        let table = self.get(tid).table;
        &mut self.tables.entry(table).or_default().descriptors
    }

    /// What a descriptor of the thread refers to, as far as the log told.
    pub(super) fn target(&mut self, tid: u32, fd: i32) -> Option<Target> {
        self.descriptors(tid).get(&fd).map(|one| one.target)
    }

    /// A descriptor refers to this now. What it referred to before was closed, and not by a call in the log.
    pub(super) fn set(&mut self, tid: u32, fd: i32, target: Target, cloexec: bool) {
        if self.descriptors(tid).len() >= MOST {
            self.refused += 1;
            return;
        }
        let before = self.descriptors(tid).insert(fd, Descriptor { target, cloexec });
        self.dropped.extend(before.and_then(|one| socket(one.target)));
        self.shared.extend(socket(target));
    }

    /// FD_CLOEXEC was set or cleared.
    pub(super) fn set_cloexec(&mut self, tid: u32, fd: i32, cloexec: bool) {
        self.descriptors(tid).entry(fd).and_modify(|one| one.cloexec = cloexec);
    }

    /// A descriptor was closed; gives what it referred to.
    pub(super) fn close(&mut self, tid: u32, fd: i32) -> Option<Target> {
        self.descriptors(tid).remove(&fd).map(|one| one.target)
    }
}

fn socket(target: Target) -> Option<u64> {
    match target {
        Target::Socket(socket) => Some(socket),
        Target::OtherSocket | Target::Other => None,
    }
}

/// What clone shares between parent and child.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// CLONE_FILES: the table of descriptors.
    files: bool,
    /// CLONE_THREAD: the process.
    thread: bool,
}

impl Flags {
    /// Those of a call to clone or clone3, as it stands in the log; fork and vfork have none.
    pub(super) fn of(call: &[u8]) -> Flags {
        let Some(at) = memchr::memmem::find(call, b"flags=") else { return Flags::default() };
        let flags = call[at + "flags=".len()..].split(|&byte| byte == b',').next().unwrap_or_default();
        Flags {
            files: super::syntax::has_flag(flags, "CLONE_FILES", 0x400),
            thread: super::syntax::has_flag(flags, "CLONE_THREAD", 0x10000),
        }
    }

    fn begins_a_thread(call: &[u8]) -> bool {
        ["clone(", "clone3(", "fork(", "vfork("].iter().any(|name| call.starts_with(name.as_bytes()))
    }
}
