/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * How a connection ends: what is said of it last, by whom, and where it stands when the trace ends before.
 */
#ifndef SD_ENDING_H
#define SD_ENDING_H

/* Sends a close event, for a final one after the losses that no later event would carry. False: refused. */
static __noinline bool send_close(struct conn *conn, u32 reason, const struct sd_head *head)
{
	struct sd_close *close;

	if (!announce(conn))
		return false;
	if (reason != SD_DESCRIPTOR && (!report(conn, SD_SEND, head) || !report(conn, SD_RECV, head)))
		return false;
	close = bpf_ringbuf_reserve(&events, sizeof(*close), 0);
	if (!close)
		return false;
	close->head = *head;
	close->head.kind = SD_CLOSE;
	close->head.inode = conn->inode;
	close->head.opened = conn->opened;
	close->head.direction = 0;
	close->head.flags = 0;
	close->head.padding = 0;
	close->reason = reason;
	close->padding = 0;
	close->total[SD_SEND] = conn->total[SD_SEND];
	close->total[SD_RECV] = conn->total[SD_RECV];
	conn->ended = reason != SD_DESCRIPTOR;
	bpf_ringbuf_submit(close, wakeup(sizeof(*close)));
	return true;
}

/*
 * Sends a close event. Where the ring refuses a final one, the connection has not ended, and the next hook on its way
 * out tries again, in the name of the first.
 */
static __always_inline bool send_end(struct conn *conn, u32 reason, const struct sd_head *head)
{
	if (conn->reason)
		return send_close(conn, conn->reason, &conn->end);
	if (send_close(conn, reason, head))
		return true;
	if (reason != SD_DESCRIPTOR) {
		conn->reason = reason;
		conn->end = *head;
	}
	return false;
}

/*
 * Ends that are being told of now. While a trace ends, a processor that lists connections and one on which a socket ends may
 * come to the same one at once; what a hash map takes, or has already, is decided under a lock (the result of an atomic
 * operation would do, from 5.12 on).
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u64); /* see number_of */
	__type(value, u8);
} ends SEC(".maps");

/* A number that no other connection has. */
static __always_inline u64 number_of(const struct conn *conn)
{
	return (u64)conn->opened << 32 | (u32)conn->inode;
}

/* False: another processor is telling of this end. */
static __always_inline bool claim_end(u64 claim)
{
	u8 value = 1;

	return bpf_map_update_elem(&ends, &claim, &value, BPF_NOEXIST) != -EEXIST;
}

static __always_inline void give_up_end(u64 claim)
{
	bpf_map_delete_elem(&ends, &claim);
}

/* True where it is for the one that came second to an end: it is being told of. A listing looks again. */
static __always_inline bool leaves_it(const struct sd_head *head)
{
	return head->call != SD_LISTING;
}

static __always_inline bool tell_end(struct sock *sk, struct conn *conn, u32 reason, const struct sd_head *head)
{
	bool told = conn->over == OVER_WHOLE;

	/* It was open when the trace ended. */
	if (told)
		reason = SD_STILL_OPEN;
	if (conn->connecting)
		identify(sk, conn);
	if (head->pid)
		note_io_uring(conn, current_task());
	if (reason != SD_DESCRIPTOR && !told) {
		settle(sk, conn, SD_SEND);
		settle(sk, conn, SD_RECV);
	}
	measure(sk, conn, SD_SEND, told);
	measure(sk, conn, SD_RECV, told);
	return send_end(conn, reason, head);
}

/* Reports a close. False: the ring refused it. */
static __noinline bool finish(struct sock *sk, struct conn *conn, u32 reason, const struct sd_head *head)
{
	/* Before the end of the trace no listing ends a connection of TCP. */
	bool claimed = *(volatile u32 *)&ending;
	bool told = true;

	if (conn->ended)
		return true;
	if (claimed && !claim_end(number_of(conn)))
		return leaves_it(head);
	if (!*(volatile u8 *)&conn->ended)
		told = tell_end(sk, conn, reason, head);
	if (claimed)
		give_up_end(number_of(conn));
	return told;
}

/* Bytes have moved that no call told of: it has not returned yet, or it is none that is traced. */
static __noinline bool is_behind(struct sock *sk, struct conn *conn)
{
	struct account *send = &conn->account[SD_SEND];
	struct account *recv = &conn->account[SD_RECV];

	return (send->known && send_anchor(sk, conn) != send->seq) || (recv->known && recv_anchor(sk) != recv->seq);
}

/*
 * At the end of the trace, decides where a connection ends. True once the call that was being told of then is, so that its
 * end can be: at the next look, for the call may not have seen the decision.
 */
static __always_inline bool is_settled(struct conn *conn, bool behind)
{
	if (conn->over)
		return !conn->telling;
	if (!behind || !waiting)
		conn->over = behind ? OVER_BEHIND : OVER_WHOLE;
	return false;
}

/*
 * Keeps what is to be said of a connection whose socket is no more, until the ring has room. Addresses of the
 * kernel have the highest bit set, these keys have not.
 */
static __always_inline bool keep(struct conn *conn)
{
	u64 key = number_of(conn) & ~(1ULL << 63);

	conn->gone = 1;
	return bpf_map_update_elem(&conns, &key, conn, BPF_ANY) == 0;
}

/*
 * TCP has put a socket to rest (CLOSE) that a descriptor still refers to. It may become another connection's, whose
 * counters say nothing of this one: how far it has come is kept.
 */
static __always_inline void on_rest(struct sock *sk, struct conn *conn)
{
	if (READ(sk, sk_err))
		conn->reset = 1;
	measure(sk, conn, SD_SEND, false);
	measure(sk, conn, SD_RECV, false);
}

/* Brings the totals of a connection at rest up to date with the calls that came since, by what these have told alone. */
static __always_inline void conclude(struct conn *conn, u32 direction)
{
	struct account *account = &conn->account[direction];
	struct sd_total *total = &conn->total[direction];
	u64 since;

	total->moved = account->moved;
	if (!total->known)
		return;
	if (account->next < total->end) {
		note(conn, direction, account->next, total->end, cause_of_untold(conn));
		return;
	}
	since = account->next - total->end;
	total->end = account->next;
	total->pending = total->pending > since ? total->pending - since : 0;
}

/* Reports the end of what the socket was: it begins another connection, having been disconnected (connect(2), AF_UNSPEC). */
static __noinline int end_former(struct conn *conn)
{
	struct sd_head head = {};

	if (conn->ended || conn->connecting || conn->over)
		return 0;
	conclude(conn, SD_SEND);
	conclude(conn, SD_RECV);
	head_of_nobody(&head);
	if (!send_end(conn, conn->reset ? SD_RESET : SD_CLOSED, &head)) {
		count(refused_ends, 1);
		if (!keep(conn))
			count(lost_ends, 1);
	}
	conn->ended = 1;
	return 0;
}

#endif
