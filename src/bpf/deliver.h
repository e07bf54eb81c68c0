/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * From a call to its event: brings the account of its socket up to date, and sends what the call moved.
 */
#ifndef SD_DELIVER_H
#define SD_DELIVER_H

/* The end of the stream, not a read into a buffer of no length. */
static __always_inline bool is_end_of_stream(struct sock *sk)
{
	bool ended = fin_received(sk) || (READ(sk, sk_shutdown) & RCV_SHUTDOWN) ||
		     state_of(sk) == TCP_CLOSE;

	return ended && !held(sk, SD_RECV, recv_anchor(sk));
}

/* What goes over the wire is made in the kernel (TLS): other bytes than those that calls move, and more. */
static __always_inline bool is_transformed(struct sock *sk)
{
	return READ((struct inet_connection_sock *)sk, icsk_ulp_ops) != NULL;
}

/* Brings a connection's account up to date with a call, and sends what the call moved. */
static __always_inline void account_for(struct sock *sk, struct conn *conn, struct walk *walk)
{
	const struct call *call = &walk->call;
	struct sd_data *data = &walk->data;
	bool peek = call->flags & MSG_PEEK;
	u32 direction = call->direction & 1;
	u64 bytes = call->result > 0 ? call->result : 0;
	u64 moved = peek ? 0 : bytes;
	u32 seq;

	seq = anchor(sk, conn, direction) - (u32)walk->behind;
	learn(sk, conn, direction, seq);
	if (is_transformed(sk) && conn->account[direction].known) {
		data->cause = SD_IN_KERNEL_TRANSFER;
		bytes = moved = seq - conn->account[direction].seq;
		if (!moved || peek)
			return;
	}
	describe(conn, walk);
	note_kernel(sk, conn);
	if (conn->account[direction].known && is_past_tcp(conn, direction, seq, moved)) {
		count(past_tcp, 1);
		data->head.flags |= SD_PAST_TCP;
		conn->account[direction].next += moved;
		conn->account[direction].moved += moved;
		if ((s32)(seq - conn->account[direction].seq) > 0)
			conn->account[direction].seq = seq;
	} else if (conn->account[direction].known) {
		walk->skip = advance(conn, direction, seq, moved);
		if (moved && walk->skip >= moved)
			return;
		moved -= walk->skip;
		bytes -= walk->skip;
		data->seq = conn->account[direction].seq - (u32)moved;
		data->head.flags |= SD_SEQ;
	}
	if (call->flags & MSG_TRUNC && call->direction == SD_RECV)
		data->cause = SD_IN_KERNEL_TRANSFER; /* thrown away by the kernel, see tcp(7): never in user memory */
	data->length = bytes;
	data->offset = conn->account[direction].next - moved;
	if (conn->connecting)
		identify(sk, conn);
	tell(conn, walk, moved);
}

/* A connection that a data call makes known. */
static __noinline struct conn *found_by_call(struct sock *sk, struct walk *walk)
{
	const struct call *call = &walk->call;
	u64 moved = call->result > 0 && !(call->flags & MSG_PEEK) ? call->result + walk->behind : 0;

	if (!is_tcp(sk) || !is_connected(sk) || (call->result <= 0 && state_of(sk) == TCP_CLOSE))
		return NULL;
	return found(sk, inode_of(sk), &walk->data.head, walk->scratch, moved);
}

/* Nothing moved and nothing failed. */
static __noinline bool is_idle(struct sock *sk, const struct call *call)
{
	if (call->result)
		return is_retry(call->result);
	return call->direction == SD_SEND || !is_end_of_stream(sk);
}

/* Who made the call, now; its descriptor is there already. */
static __always_inline void head_of_call(struct walk *walk, struct task_struct *task)
{
	struct sd_head *head = &walk->data.head;

	head_of_current(head, task, walk->call.number, head->fd);
	head->kind = SD_DATA;
	head->direction = walk->call.direction;
}

/* Reports what the call of the walk did on its socket, which has no sequence numbers. Not static: see deliver_tcp. */
__noinline int deliver_counted(void)
{
	struct walk *walk = this_walk();
	struct sock *sk;
	u32 transport;

	if (!walk)
		return 0;
	sk = (struct sock *)walk->sk;
	transport = transport_of(sk);
	if (transport == SD_UNSUPPORTED) {
		if (walk->call.result >= 0)
			count_unsupported(sk, walk->call.result);
		return 0;
	}
	if (is_nothing(sk, walk, transport))
		return 0;
	head_of_call(walk, current_task());
	return account_for_counted(sk, walk, transport);
}

/*
 * Reports what the call of the walk did on its TCP socket: it moved bytes, failed, or met the end of the stream. Not static:
 * the verifier looks into it once, and not for each of its callers.
 */
__noinline int deliver_tcp(void)
{
	struct task_struct *task = current_task();
	struct walk *walk = this_walk();
	struct conn *conn;
	struct sock *sk;
	s64 result;

	if (!walk)
		return 0;
	sk = (struct sock *)walk->sk;
	result = walk->call.result;
	if (result <= 0 && is_idle(sk, &walk->call))
		return 0;
	head_of_call(walk, task);
	conn = conn_of(sk);
	if (!conn)
		conn = found_by_call(sk, walk);
	if (!conn || (conn->ended && (result <= 0 || ending)))
		return 0;
	if (!begin_telling(conn))
		return 0;
	note_io_uring(conn, task);
	account_for(sk, conn, walk);
	end_telling(conn);
	return 0;
}

/* The one or the other, as the socket is. */
static __always_inline int deliver(struct sock *sk)
{
	return is_tcp(sk) ? deliver_tcp() : deliver_counted();
}

/* A walk for a call of `fd` on the socket. */
static __always_inline struct walk *begin(struct sock *sk, const struct call *call, s64 result, s32 fd)
{
	struct walk *walk = new_walk(call, result);

	if (walk) {
		walk->sk = (u64)sk;
		walk->data.head.fd = fd;
		walk->told = !cfg_traffic;
	}
	return walk;
}

/* Reports a call whose buffers its arguments name. */
static __always_inline int on_data(struct sock *sk, struct pt_regs *regs, const struct call *call, s64 result, s32 fd)
{
	struct walk *walk = begin(sk, call, result, fd);

	if (!walk)
		return 0;
	take_arguments(walk, regs, 0);
	return is_aside(call->direction, walk->call.flags) ? 0 : deliver(sk);
}

/* The same of bytes that are in no buffer which the call names, or which can't be found there. */
static __always_inline int on_unreachable(struct sock *sk, const struct call *call, s64 result, s32 fd, u32 cause)
{
	struct walk *walk = begin(sk, call, result, fd);

	if (!walk || is_aside(call->direction, call->flags) || call->flags & MSG_PEEK)
		return 0;
	walk->data.cause = cause;
	return deliver(sk);
}

#endif
