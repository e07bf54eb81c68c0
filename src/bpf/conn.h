/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The table of connections and the account of every byte that moved on them.
 *
 * Offsets come from TCP's own counters, not from adding up what the probes saw: `write_seq` grows with
 * every byte written, `copied_seq` with every byte read, whichever call or kernel path does it. The
 * account compares them with what was reported, so a byte that moved unseen is a jump with a range.
 *
 * Known limit: the anchor is read when a call returns, after the socket's lock was released. Where two
 * threads send (or receive) on one socket at the same instant, without a lock of their own, the anchor of
 * one call may include the other's bytes, and which came first cannot be told; nor is the account of a direction
 * locked between them. One thread that sends while another receives is no such case: each direction has its own.
 */
#ifndef SD_CONN_H
#define SD_CONN_H

/* Ranges that moved without an event and have not been reported yet. */
#define PENDING_MAX 4

struct range {
	u64 from;
	u64 to;
	u32 cause;
	u32 padding;
};

struct account {
	u64 next;  /* stream offset after the last byte accounted for */
	u64 moved; /* bytes that traced calls moved */
	u32 seq;   /* anchor of next */
	u32 known; /* 0: seq and next are not known yet (a connect in progress) */
	u32 pending;  /* ranges noted */
	u32 reported; /* of them already sent */
	struct range ranges[PENDING_MAX];
};

enum {
	OVER_WHOLE = 1,	 /* every byte that had moved by then has been told of; those that move later do not count */
	OVER_BEHIND = 2, /* some have not, and their call has been waited for */
};

struct conn {
	u64 inode;
	u32 opened;
	u8 announced; /* the open event is in the ring */
	u8 filtered;
	u8 ended;     /* its final close is in the ring */
	u8 reset;     /* reset by the peer; the end is reported with the socket's: until then calls fail, or read the rest */
	u8 fin_queued; /* our FIN took a sequence number, or is about to */
	u8 gone;       /* TCP destroyed the socket before its end could be reported */
	u8 connecting; /* a handshake of ours is on its way; `open` lacks what only its end tells */
	u8 elsewhere;  /* why bytes move without a hook that tells of it, a cause: io_uring, the kernel itself; 0: not known */
	u32 reason;    /* of an end that the ring refused; 0: none */
	u32 listed;    /* counted sockets: the last listing that found it, or that was under way when it was used */
	u32 telling;   /* calls that are being told of now: no end may come between their chunks */
	u32 over;      /* the trace is over for it: nothing more is told of but its end; see OVER_ */
	u32 refused;   /* TCP's change of state has told that the connect failed; its call has yet to return */
	struct sd_head end; /* who ended it, and when */
	struct sd_open open; /* as sent, or to be sent */
	struct account account[2];
	struct sd_total total[2]; /* as of the last close that was tried */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, u64); /* address of struct sock; see keep */
	__type(value, struct conn);
} conns SEC(".maps");

/* Room to build a struct conn. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCHES);
	__type(key, u32);
	__type(value, struct conn);
} scratch SEC(".maps");

/* Two processors may draw the same number at once; their sockets then have different inodes. */
u32 opened_count;

static __always_inline struct conn *entry_of(u64 key)
{
	return bpf_map_lookup_elem(&conns, &key);
}

static __always_inline bool is_tcp(struct sock *sk)
{
	u16 family = READ(sk, __sk_common.skc_family);

	return (family == AF_INET || family == AF_INET6) && READ(sk, sk_type) == SOCK_STREAM &&
	       READ(sk, sk_protocol) == IPPROTO_TCP;
}

static __always_inline u8 state_of(struct sock *sk)
{
	return READ(sk, __sk_common.skc_state);
}

/* A connection, also one just ended: it has a peer and is no listener. */
static __always_inline bool is_connected(struct sock *sk)
{
	return state_of(sk) != TCP_LISTEN && READ(sk, __sk_common.skc_dport) != 0;
}

static __always_inline struct sock *socket_of_file(struct file *file, u64 *ino)
{
	struct inode *inode = READ(file, f_inode);
	struct socket *socket;

	if ((READ(inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	*ino = READ(inode, i_ino);
	socket = READ(file, private_data);
	return READ(socket, sk);
}

/* Of a socket that a descriptor refers to. */
static __always_inline u64 inode_of(struct sock *sk)
{
	struct socket *socket = READ(sk, sk_socket);
	struct file *file = socket ? READ(socket, file) : NULL;
	struct inode *inode = file ? READ(file, f_inode) : NULL;

	return inode ? READ(inode, i_ino) : 0;
}

/*
 * What is known of a connection of TCP. An entry that the kernel did not remove, because a lock of the table was not to be
 * had (kernel/bpf/hashtab.c, 6.15 on: -ETIMEDOUT, -EDEADLK), has another inode than the socket that has its memory now.
 */
static __always_inline struct conn *conn_of(struct sock *sk)
{
	struct conn *conn = entry_of((u64)sk);
	u64 inode = conn && conn->ended ? inode_of(sk) : 0;

	return inode && conn->inode && conn->inode != inode ? NULL : conn;
}

static __always_inline struct file *file_of_fd(struct task_struct *task, u32 fd)
{
	struct files_struct *open_files = READ(task, files);
	struct fdtable *table = READ(open_files, fdt);
	struct file **files = READ(table, fd);

	return fd < READ(table, max_fds) ? (struct file *)read_pointer(files + fd) : NULL;
}

/* Our FIN has been counted in write_seq in these states (RFC 9293, 3.3.2). In CLOSE it depends on the one before. */
static __always_inline bool is_after_fin(u32 state)
{
	return state == TCP_FIN_WAIT1 || state == TCP_FIN_WAIT2 || state == TCP_TIME_WAIT ||
	       state == TCP_LAST_ACK || state == TCP_CLOSING;
}

static __always_inline bool fin_queued(struct sock *sk, struct conn *conn)
{
	u32 state = state_of(sk);

	return state == TCP_CLOSE ? conn && conn->fin_queued : is_after_fin(state);
}

/* Sequence number after the last byte written. */
static __always_inline u32 send_anchor(struct sock *sk, struct conn *conn)
{
	bool fin = fin_queued(sk, conn);

	return READ((struct tcp_sock *)sk, write_seq) - fin;
}

/* True once the peer's FIN has been counted in rcv_nxt. */
static __always_inline bool fin_received(struct sock *sk)
{
	return READ(sk, __sk_common.skc_flags) & (1UL << SOCK_DONE);
}

/*
 * Sequence number after the last byte read. The peer's FIN counts once it has been read; SOCK_DONE is set
 * after rcv_nxt has passed the FIN (tcp_fin, net/ipv4/tcp_input.c), hence the order of reads.
 */
static __always_inline u32 recv_anchor(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	bool fin = fin_received(sk);
	u32 copied = READ(tp, copied_seq);

	return copied - (fin && copied == READ(tp, rcv_nxt));
}

static __always_inline u32 anchor(struct sock *sk, struct conn *conn, u32 direction)
{
	return direction == SD_SEND ? send_anchor(sk, conn) : recv_anchor(sk);
}

/*
 * Sequence number of stream offset 0 and the offset of a recent sequence number.
 * `bytes_received` grows together with rcv_nxt, the FIN included; `bytes_sent` with snd_nxt, but for the FIN
 * and counting retransmissions (net/ipv4/tcp_input.c, tcp_output.c). Each pair is written under the socket's
 * lock, which is not ours, so it is read until two samples agree.
 */
static __always_inline void sample(struct sock *sk, u32 direction, u64 *bytes, u32 *seq)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (direction == SD_SEND) {
		*bytes = READ(tp, bytes_sent) - READ(tp, bytes_retrans);
		*seq = READ(tp, snd_nxt);
	} else {
		*bytes = READ(tp, bytes_received);
		*seq = READ(tp, rcv_nxt);
	}
}

#define SAMPLES 8

/* Stream offset that the sequence number `seq`, which is near the newest, corresponds to. */
static __noinline u64 offset_of(struct sock *sk, u32 direction, u32 seq)
{
	u64 bytes, again;
	u32 newest, newest_again;

	sample(sk, direction, &bytes, &newest);
	for (int i = 0; i < SAMPLES; i++) {
		sample(sk, direction, &again, &newest_again);
		if (newest - (u32)bytes == newest_again - (u32)again)
			break;
		bytes = again;
		newest = newest_again;
	}
	/* Our FIN is in snd_nxt, but never in bytes_sent; once sent, snd_nxt has reached write_seq. */
	if (direction == SD_SEND && newest == READ((struct tcp_sock *)sk, write_seq) &&
	    fin_queued(sk, conn_of(sk)))
		newest--;
	return bytes + (s32)(seq - newest);
}

static __always_inline void read_addresses(struct sock *sk, struct sd_open *open)
{
	open->family = READ(sk, __sk_common.skc_family);
	open->local_port = READ(sk, __sk_common.skc_num);
	open->remote_port = bpf_ntohs(READ(sk, __sk_common.skc_dport));
	if (open->family == AF_INET) {
		BPF_CORE_READ_INTO((u32 *)open->local, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((u32 *)open->remote, sk, __sk_common.skc_daddr);
	} else if (open->family == AF_INET6) {
		BPF_CORE_READ_INTO(&open->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&open->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	}
}

/* Whether a filter leaves out a connection that is called so. */
static __always_inline void judge(struct conn *conn)
{
	conn->filtered = is_left_out(&conn->open);
	if (conn->filtered)
		conn->open.head.flags |= SD_NOT_SENT;
	else
		conn->open.head.flags &= ~SD_NOT_SENT;
}

/* Reads what the connection is called. */
static __always_inline void identify(struct sock *sk, struct conn *conn)
{
	read_addresses(sk, &conn->open);
	judge(conn);
}

/* Where a direction begins to be seen: here. */
static __always_inline void start(struct conn *conn, u32 direction, u64 offset, u32 seq)
{
	struct account *account = &conn->account[direction];

	account->next = offset;
	account->seq = seq;
	account->known = 1;
	conn->open.start[direction].offset = offset;
	conn->open.start[direction].seq = seq;
	conn->open.start[direction].known = 1;
}

static __always_inline struct conn *blank(u32 slot, struct sock *sk, u64 inode, const struct sd_head *head)
{
	struct conn *conn = bpf_map_lookup_elem(&scratch, &slot);

	if (!conn)
		return NULL;
	conn = CLEARED(conn, sizeof(*conn));
	__sync_fetch_and_add(&opened_count, 1);
	conn->inode = inode;
	conn->opened = opened_count;
	conn->open.head = *head;
	conn->open.head.kind = SD_OPEN;
	conn->open.head.inode = inode;
	conn->open.head.opened = conn->opened;
	conn->open.head.flags = 0;
	identify(sk, conn);
	return conn;
}

/*
 * Puts a connection into the table and announces it. The open event is reserved before the connection can be
 * found by others, so nothing of it can come earlier in the ring. Returns the entry, or the entry that another
 * processor made in the meantime. A connection of TCP that should have been removed gives way; for others, another
 * processor may be about to remove it.
 */
static __always_inline struct conn *enter(struct sock *sk, struct conn *conn)
{
	struct sd_open *open = bpf_ringbuf_reserve(&events, sizeof(*open), 0);
	u64 key = (u64)sk;
	struct conn *former = entry_of(key);
	bool gives_way = former && former->ended && former->inode != conn->inode && conn->open.transport == SD_TCP;
	u64 flags = gives_way ? BPF_ANY : BPF_NOEXIST;

	if (open) {
		conn->announced = 1;
		__builtin_memcpy(open, &conn->open, sizeof(*open));
		if (bpf_map_update_elem(&conns, &key, conn, flags))
			bpf_ringbuf_discard(open, BPF_RB_NO_WAKEUP);
		else
			bpf_ringbuf_submit(open, wakeup(sizeof(*open)));
	} else {
		bpf_map_update_elem(&conns, &key, conn, flags);
	}
	conn = entry_of(key);
	if (!conn)
		count(table_full, 1);
	return conn;
}

/* Sends the open event that the ring refused before. False: refused again. */
static __noinline bool announce(struct conn *conn)
{
	struct sd_open *open;

	if (conn->announced)
		return true;
	open = bpf_ringbuf_reserve(&events, sizeof(*open), 0);
	if (!open)
		return false;
	__builtin_memcpy(open, &conn->open, sizeof(*open));
	conn->announced = 1;
	bpf_ringbuf_submit(open, wakeup(sizeof(*open)));
	return true;
}

/* Neither an open event nor a range waits to be sent: so it is at most calls. */
static __always_inline bool is_told(const struct conn *conn, u32 direction)
{
	return conn->announced && !conn->account[direction & 1].pending;
}

/* Reports the ranges noted. False: the ring refused one; it stays noted. */
static __noinline bool report(struct conn *conn, u32 direction, const struct sd_head *head)
{
	struct account *account = &conn->account[direction & 1];
	struct sd_loss *loss;

	if (!account->pending)
		return true;
	for (u32 i = 0; i < PENDING_MAX; i++) {
		if (i < account->reported || i >= account->pending)
			continue;
		loss = bpf_ringbuf_reserve(&events, sizeof(*loss), 0);
		if (!loss)
			return false;
		loss->head = *head;
		loss->head.kind = SD_LOSS;
		loss->head.inode = conn->inode;
		loss->head.opened = conn->opened;
		loss->head.direction = direction;
		loss->head.flags = 0;
		loss->from = account->ranges[i].from;
		loss->to = account->ranges[i].to;
		loss->cause = account->ranges[i].cause;
		loss->padding = 0;
		account->reported = i + 1;
		bpf_ringbuf_submit(loss, wakeup(sizeof(*loss)));
	}
	account->pending = 0;
	account->reported = 0;
	return true;
}

/* The verifier wants to see the comparison before the address, so the compiler may move neither. */
static __always_inline struct range *range_at(struct account *account, u64 index)
{
	asm volatile("" : "+r"(index));
	if (index >= PENDING_MAX)
		return NULL;
	asm volatile("" : "+r"(index));
	return &account->ranges[index];
}

/*
 * Notes a range that moved without an event. When no more ranges can be noted and the ring takes none, the
 * last one grows over its successor: the bytes stay exact, the cause is that of the earlier range.
 */
static __noinline void note(struct conn *conn, u32 direction, u64 from, u64 to, u32 cause)
{
	struct account *account = &conn->account[direction & 1];
	u32 count = account->pending;
	struct range *last;

	if (from >= to)
		return;
	last = range_at(account, (u64)count - 1);
	if (last && count > account->reported &&
	    (count == PENDING_MAX || (last->cause == cause && last->to == from))) {
		last->to = to;
		return;
	}
	last = range_at(account, count);
	if (!last)
		return;
	last->from = from;
	last->to = to;
	last->cause = cause;
	account->pending = count + 1;
}

static __always_inline u32 cause_of_untold(const struct conn *conn)
{
	return conn->elsewhere ? conn->elsewhere : SD_UNTRACED_SYSCALL;
}

/*
 * Brings the account up to the anchor `seq`, `bytes` of which a traced call moved just now. What lies between
 * the account and those bytes moved by a path that is not traced. Returns how many of the call's bytes the
 * account holds already: those a call had moved before its connection was listed, or see the known limit above.
 * What remains begins at `next` less what remains.
 */
static __noinline u64 advance(struct conn *conn, u32 direction, u32 seq, u64 bytes)
{
	struct account *account = &conn->account[direction & 1];
	s64 jump = (s32)(seq - account->seq - (u32)bytes);
	u64 known = jump < 0 ? -jump : 0;

	if (known > bytes)
		known = bytes;
	if (known && account->next - known >= conn->open.start[direction & 1].offset)
		count(misplaced, 1);
	if (jump > 0)
		note(conn, direction, account->next, account->next + jump, cause_of_untold(conn));
	account->moved += bytes - known;
	if (jump + (s64)bytes > 0) {
		account->next += jump + bytes;
		account->seq = seq;
	}
	return known;
}

/*
 * Sequence number of the first byte sent. With TCP fast open, bytes are written before the handshake has ended; what
 * the peer has acknowledged then begins with our SYN, which has a number of its own (RFC 9293, 3.4; RFC 7413).
 */
static __always_inline u32 first_sent(struct tcp_sock *tp)
{
	return READ(tp, snd_una) - (u32)READ(tp, bytes_acked) + 1;
}

/* Our stream begins with the first byte of ours, which may be written while the handshake is on its way. */
static __always_inline void start_sending(struct sock *sk, struct conn *conn)
{
	if (!conn->account[SD_SEND].known)
		start(conn, SD_SEND, 0, first_sent((struct tcp_sock *)sk));
}

/*
 * With TCP_FASTOPEN_CONNECT (tcp(7)) the state is SYN_SENT when no SYN has been sent yet: the first write sends it, and
 * what was acknowledged is of no connection until then (tcp_connect_init, net/ipv4/tcp_output.c).
 */
static __always_inline bool is_syn_sent(struct sock *sk)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return READ(tp, snd_una) != READ(tp, snd_nxt);
}

/* A connect in progress becomes known with the first bytes that arrive. */
static __always_inline void learn(struct sock *sk, struct conn *conn, u32 direction, u32 seq)
{
	struct account *account = &conn->account[direction & 1];
	u64 offset;

	if (account->known)
		return;
	if (state_of(sk) == TCP_SYN_SENT) {
		if (direction == SD_SEND && is_syn_sent(sk))
			start_sending(sk, conn);
		return;
	}
	/* Nothing was read before: the stream's beginning lies `offset` bytes back. */
	offset = offset_of(sk, direction, seq);
	account->seq = seq - (u32)offset;
	account->next = 0;
	account->known = 1;
}

/* Bytes the kernel still holds: received and not read, or written and not acknowledged. FINs don't count. */
static __always_inline u32 held(struct sock *sk, u32 direction, u32 seq)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	bool fin = fin_received(sk);
	u32 left;

	if (direction == SD_SEND)
		left = seq - READ(tp, snd_una);
	else
		left = READ(tp, rcv_nxt) - fin - seq;
	return (s32)left > 0 ? left : 0;
}

/* Where the sockets tell of what io_uring moves, there is nothing to conclude. */
static __always_inline void note_io_uring(struct conn *conn, struct task_struct *task)
{
	if (!cfg_traffic && uses_io_uring(task))
		conn->elsewhere = SD_THROUGH_IO_URING;
}

/*
 * The kernel itself may move bytes of the socket, past all calls: it is in a BPF sockmap, carries a disk, or the like. The
 * lowest bits are flags (include/net/sock.h).
 */
static __always_inline bool is_used_by_kernel(struct sock *sk)
{
	return (u64)READ(sk, sk_user_data) & ~7ULL;
}

/* Has to be asked while it is: the socket is taken from the kernel's hands before it is closed. */
static __always_inline void note_kernel(struct sock *sk, struct conn *conn)
{
	if (is_used_by_kernel(sk))
		conn->elsewhere = SD_IN_KERNEL_TRANSFER;
}

/*
 * A program redirects what is sent on one socket to the receivers of another one of the machine, or what is received: TCP,
 * whose numbers the anchors are, has no part in it. True: as much was moved so, which has no place on the wire.
 */
static __always_inline bool is_past_tcp(const struct conn *conn, u32 direction, u32 seq, u64 bytes)
{
	return bytes && conn->elsewhere == SD_IN_KERNEL_TRANSFER &&
	       (s32)(seq - conn->account[direction & 1].seq - (u32)bytes) < 0;
}

/* A call is about to be told of. False: the trace is over, and it does not count. */
static __always_inline bool begin_telling(struct conn *conn)
{
	__sync_fetch_and_add(&conn->telling, 1);
	if (!*(volatile u32 *)&conn->over)
		return true;
	__sync_fetch_and_add(&conn->telling, -1);
	return false;
}

static __always_inline void end_telling(struct conn *conn)
{
	__sync_fetch_and_add(&conn->telling, -1);
}

/* `told`: where the last call that was seen has left it, else where it is now. */
static __noinline void measure(struct sock *sk, struct conn *conn, u32 direction, bool told)
{
	struct account *account = &conn->account[direction & 1];
	struct sd_total *total = &conn->total[direction & 1];
	u32 seq = anchor(sk, conn, direction);

	learn(sk, conn, direction, seq);
	total->moved = account->moved;
	total->known = account->known;
	if (!account->known)
		return;
	total->end = account->next + (told ? 0 : (s32)(seq - account->seq));
	total->pending = held(sk, direction, seq);
}

/* Notes what moved after the last call that was seen. */
static __always_inline void settle(struct sock *sk, struct conn *conn, u32 direction)
{
	u32 seq = anchor(sk, conn, direction);

	learn(sk, conn, direction, seq);
	note_kernel(sk, conn);
	if (conn->account[direction & 1].known)
		advance(conn, direction, seq, 0);
}

#endif
