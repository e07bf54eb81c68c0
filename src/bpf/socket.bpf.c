// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The probes on socket calls: which hooks, and what each of them reports. The account of bytes is in conn.h, the
 * copying of payload in payload.h.
 *
 * Only hooks that every kernel from 5.10 on grants: tp_btf, one tracepoint, iterators; no kprobe, no fentry.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include "abi.h"
#include "read.h"
#include "fixes.h"
#include "ring.h"
#include "conn.h"
#include "payload.h"

/* Makes the record types part of the object's type information. */
const struct sd_open *type_open __attribute__((unused));
const struct sd_data *type_data __attribute__((unused));
const struct sd_loss *type_loss __attribute__((unused));
const struct sd_close *type_close __attribute__((unused));

/* Not a failure: nothing happened, and the program tries again or the kernel does it for the program. */
static __always_inline bool is_retry(s64 result)
{
	return result == -EAGAIN || result == -EINTR ||
	       (result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK);
}

/* The kernel took no record of the call: note its bytes, so that the next record says so. */
static __always_inline void refuse(struct conn *conn, const struct walk *walk, bool peek)
{
	u64 from = walk->data.offset + walk->data.at;
	u64 to = walk->data.offset + walk->data.length;

	count(refused_calls, 1);
	count(refused_bytes, to - from);
	if (!peek)
		note(conn, walk->data.head.direction, from, to, SD_RING_FULL);
}

/* The end of the stream, not a read into a buffer of no length. */
static __always_inline bool is_end_of_stream(struct sock *sk)
{
	bool ended = fin_received(sk) || (READ(sk, sk_shutdown) & RCV_SHUTDOWN) ||
		     state_of(sk) == TCP_CLOSE;

	return ended && !held(sk, SD_RECV, recv_anchor(sk));
}

/* Brings a connection's account up to date with a call, and sends what the call moved. */
static __noinline void account_for(struct sock *sk, struct conn *conn, struct walk *walk)
{
	const struct call *call = &walk->call;
	struct sd_data *data = &walk->data;
	bool peek = call->flags & MSG_PEEK;
	u32 direction = call->direction & 1;
	u64 bytes = call->result > 0 ? call->result : 0;
	u64 moved = peek ? 0 : bytes;
	u32 seq;

	seq = anchor(sk, conn, direction);
	learn(sk, conn, direction, seq);
	data->head.inode = conn->inode;
	data->head.opened = conn->opened;
	data->head.flags = peek ? SD_PEEK : 0;
	data->error = call->result < 0 ? -call->result : 0;
	if (conn->account[direction].known) {
		walk->skip = advance(conn, direction, seq, moved);
		if (moved && walk->skip >= moved)
			return;
		moved -= walk->skip;
		bytes -= walk->skip;
		data->seq = conn->account[direction].seq - (u32)moved;
		data->head.flags |= SD_SEQ;
	}
	data->length = bytes;
	data->wanted = bytes < cfg_snaplen ? bytes : cfg_snaplen;
	data->offset = conn->account[direction].next - moved;
	if (conn->filtered) {
		note(conn, direction, data->offset, data->offset + moved, SD_FILTERED);
		if (conn->account[direction].pending >= PENDING_MAX / 2 && announce(conn))
			report(conn, direction, &data->head);
		return;
	}
	if (!announce(conn) || !report(conn, direction, &data->head)) {
		refuse(conn, walk, peek);
		return;
	}
	if (call->flags & MSG_TRUNC && call->direction == SD_RECV)
		data->head.flags |= SD_FAULT; /* thrown away by the kernel, see tcp(7): never in user memory */
	if (data->wanted && !(data->head.flags & SD_FAULT))
		send_payload(walk);
	else
		send_bare(walk);
	if (walk->refused)
		refuse(conn, walk, peek);
}

static __noinline int on_data(struct sock *sk, u64 inode, struct walk *walk)
{
	const struct call *call = &walk->call;
	struct conn *conn = conn_of(sk);
	u64 moved = call->result > 0 && !(call->flags & MSG_PEEK) ? call->result : 0;

	walk->data.head.kind = SD_DATA;
	walk->data.head.direction = call->direction;
	if (!conn) {
		if (!is_connected(sk) || (call->result <= 0 && state_of(sk) == TCP_CLOSE))
			return 0;
		conn = found(sk, inode, &walk->data.head, 0, moved);
		if (!conn)
			return 0;
	}
	if (conn->ended && (call->result <= 0 || ending))
		return 0;
	account_for(sk, conn, walk);
	end_if_reset(sk, conn);
	return 0;
}

/* A connection whose handshake this call made or began. */
static __noinline int on_open(struct sock *sk, u64 inode, const struct sd_head *head, s64 result)
{
	bool client = head->call == SD_CONNECT;
	struct conn *conn = conn_of(sk);
	u8 state = state_of(sk);
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	u64 key = (u64)sk;

	if (ending || (conn && !conn->ended))
		return 0;
	if (conn)
		bpf_map_delete_elem(&conns, &key);
	conn = blank(0, sk, inode, head);
	if (!conn)
		return 0;
	conn->open.role = client ? SD_CLIENT : SD_SERVER;
	conn->open.error = result < 0 && result != -EINPROGRESS && !is_retry(result) ? -result : 0;
	if (client && state == TCP_CLOSE && !conn->open.error)
		conn->open.error = READ(sk, sk_err); /* refused before the call returned */
	if (state != TCP_CLOSE)
		start(conn, SD_SEND, 0, READ(tp, write_seq));
	if (state != TCP_CLOSE && state != TCP_SYN_SENT)
		start(conn, SD_RECV, 0, READ(tp, copied_seq));
	conn = enter(sk, conn);
	/* A connect that failed leaves no connection; the next one on this socket is another. */
	if (conn && conn->open.error)
		conn->ended = 1;
	return 0;
}

static __always_inline u32 message_flags(u64 flags)
{
	return flags & (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE);
}

/* Reads where a message's buffers are. */
static __always_inline void take_message(struct walk *walk, u64 address)
{
	struct user_msghdr message = {};

	bpf_probe_read_user(&message, sizeof(message), (void *)address);
	walk->iov = message.iov;
	walk->iov_left = message.iov_count;
}

static __always_inline void set_call(struct call *call, u8 number, u8 direction)
{
	call->number = number;
	call->direction = direction;
}

/* Which of the calls it is, if any. */
static __always_inline bool classify(struct call *call, long number)
{
	switch (number) {
	case NR_read: set_call(call, SD_READ, SD_RECV); return true;
	case NR_write: set_call(call, SD_WRITE, SD_SEND); return true;
	case NR_readv: set_call(call, SD_READV, SD_RECV); return true;
	case NR_writev: set_call(call, SD_WRITEV, SD_SEND); return true;
	case NR_sendto: set_call(call, SD_SENDTO, SD_SEND); return true;
	case NR_recvfrom: set_call(call, SD_RECVFROM, SD_RECV); return true;
	case NR_sendmsg: set_call(call, SD_SENDMSG, SD_SEND); return true;
	case NR_recvmsg: set_call(call, SD_RECVMSG, SD_RECV); return true;
	case NR_connect: set_call(call, SD_CONNECT, SD_SEND); return true;
	case NR_accept: set_call(call, SD_ACCEPT, SD_SEND); return true;
	case NR_accept4: set_call(call, SD_ACCEPT4, SD_SEND); return true;
	default: return false;
	}
}

/* Reads from the arguments where the call's buffers are, and its flags. */
static __always_inline void take_arguments(struct walk *walk, struct pt_regs *regs)
{
	switch (walk->call.number) {
	case SD_READ:
	case SD_WRITE:
		walk->base = call_argument(regs, 1);
		walk->left = call_argument(regs, 2);
		break;
	case SD_SENDTO:
	case SD_RECVFROM:
		walk->base = call_argument(regs, 1);
		walk->left = call_argument(regs, 2);
		walk->call.flags = message_flags(call_argument(regs, 3));
		break;
	case SD_READV:
	case SD_WRITEV:
		walk->iov = call_argument(regs, 1);
		walk->iov_left = call_argument(regs, 2);
		break;
	default:
		take_message(walk, call_argument(regs, 1));
		walk->call.flags = message_flags(call_argument(regs, 2));
	}
}

/* Nothing moved and nothing failed. */
static __always_inline bool is_idle(struct sock *sk, const struct call *call)
{
	if (call->result)
		return is_retry(call->result);
	return call->direction == SD_SEND || !is_end_of_stream(sk);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long result)
{
	struct task_struct *task;
	struct call call = {};
	struct walk *walk;
	struct file *file;
	struct sock *sk;
	u64 inode = 0;
	bool opens;
	s32 fd;

	/* Most calls end here: the number is at hand, while the table of targets has to be searched. */
	if (!classify(&call, call_number(regs)) || !is_target(bpf_get_current_pid_tgid() >> 32))
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	walk = is_compat(task) ? NULL : new_walk();
	if (!walk)
		return 0;
	walk->call = call;
	fd = call_argument(regs, 0);
	if (walk->call.number == SD_ACCEPT || walk->call.number == SD_ACCEPT4)
		fd = result; /* of a failed accept: none */
	file = file_of_fd(task, fd);
	if (!file)
		return 0;
	sk = socket_of_file(file, &inode);
	if (!sk || !is_tcp(sk))
		return 0;
	opens = walk->call.number >= SD_CONNECT;
	walk->call.result = result;
	if (!opens && is_idle(sk, &walk->call))
		return 0;
	head_of_current(&walk->data.head, walk->call.number, fd);
	if (opens)
		return on_open(sk, inode, &walk->data.head, result);
	take_arguments(walk, regs);
	if (walk->call.direction == SD_RECV && walk->call.flags & (MSG_ERRQUEUE | MSG_OOB))
		return 0; /* copies of sent packets, errors, urgent bytes: not the stream */
	return on_data(sk, inode, walk);
}

/* The descriptor is gone when the call returns, so it is looked at before. */
static __noinline int on_close(u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct file *file = file_of_fd(task, fd);
	struct sd_head head = {};
	struct conn *conn;
	struct sock *sk;
	u64 inode = 0;
	u32 reason;

	if (!file)
		return 0;
	sk = socket_of_file(file, &inode);
	if (!sk || !is_tcp(sk))
		return 0;
	head_of_current(&head, SD_CLOSE_CALL, fd);
	conn = conn_of(sk);
	if (!conn && is_connected(sk) && state_of(sk) != TCP_CLOSE)
		conn = found(sk, inode, &head, 0, 0);
	if (!conn)
		return 0;
	reason = SD_DESCRIPTOR;
	if (file_references(file) == 1)
		reason = conn->reset ? SD_RESET : SD_CLOSED;
	finish(sk, conn, reason, &head);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_close")
int on_sys_enter_close(struct trace_event_raw_sys_enter *ctx)
{
	return is_target(bpf_get_current_pid_tgid() >> 32) ? on_close(ctx->args[0]) : 0;
}

/* The same where tracefs is not mounted, at a cost for every call of the machine. */
SEC("tp_btf/sys_enter")
int BPF_PROG(on_sys_enter, struct pt_regs *regs, long number)
{
	if (number != NR_close || !is_target(bpf_get_current_pid_tgid() >> 32))
		return 0;
	if (is_compat((struct task_struct *)bpf_get_current_task()))
		return 0;
	return on_close(call_argument(regs, 0));
}

/* No descriptor refers to the socket any more: its file is being released. */
static __always_inline bool is_released(struct sock *sk)
{
	struct socket *socket = READ(sk, sk_socket);
	struct file *file;

	if (!socket)
		return true;
	file = READ(socket, file);
	return !file || file_references(file) <= 0;
}

/* Names the task where it is one of the targets' own doing, e.g. the end of the process. */
static __always_inline void head_of_end(struct sd_head *head)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	head_of_nobody(head);
	if (is_target(bpf_get_current_pid_tgid() >> 32)) {
		head_of_current(head, SD_KERNEL, -1);
		if (READ(task, flags) & PF_EXITING)
			head->call = SD_EXIT;
	}
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int old, int new)
{
	struct conn *conn = conn_of(sk);
	struct sd_head head = {};

	if (!conn)
		return 0;
	/* A connection that was found may have been past its FIN already. */
	if (is_after_fin(new) || is_after_fin(old))
		conn->fin_queued = 1;
	if (conn->ended)
		return 0;
	if (is_released(sk)) {
		head_of_end(&head);
		finish(sk, conn, conn->reset ? SD_RESET : SD_CLOSED, &head);
		return 0;
	}
	if (new == TCP_CLOSE && READ(sk, sk_err)) {
		conn->reset = 1;
		end_if_reset(sk, conn);
	}
	return 0;
}

/* Every TCP socket passes here before its memory is freed. */
SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	struct conn *conn = conn_of(sk);
	struct sd_head head = {};
	u64 key = (u64)sk;

	if (!conn)
		return 0;
	head_of_end(&head);
	if (!finish(sk, conn, conn->reset ? SD_RESET : SD_CLOSED, &head)) {
		count(refused_ends, 1);
		if (!keep(conn))
			count(lost_ends, 1);
	}
	bpf_map_delete_elem(&conns, &key);
	return 0;
}

/* Set by user space: list the descriptors that --fd leaves out, too. Those it names must come first, for a socket
 * that has several descriptors is filtered when the first one seen is.
 */
u32 list_filtered;

/* Finds the sockets that are open already. */
SEC("iter/task_file")
int list_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct sd_head head = {};
	struct sock *sk;
	u64 inode = 0;

	if (!task || !file)
		return 0;
	head.pid = READ(task, tgid);
	if (!is_target(head.pid) || (!list_filtered && fd_filtered(ctx->fd)))
		return 0;
	sk = socket_of_file(file, &inode);
	if (!sk || !is_tcp(sk) || !is_connected(sk) || state_of(sk) == TCP_CLOSE || conn_of(sk))
		return 0;
	head.time = bpf_ktime_get_ns();
	head.tid = READ(task, pid);
	head.fd = ctx->fd;
	head.call = SD_LISTING;
	BPF_CORE_READ_INTO(&head.comm, task, comm);
	found(sk, inode, &head, 1, 0);
	return 0;
}

/* Connections that the ring had no room for in this listing. Set to 0 by user space before. */
u32 unlisted;

/* Reports what the ring refused before. At the end of the trace: where each connection stands. */
SEC("iter/bpf_map_elem")
int list_conns(struct bpf_iter__bpf_map_elem *ctx)
{
	struct sd_head head = {};
	struct conn *conn;
	u64 *element = ctx->key;
	struct sock *sk;
	u64 key;

	if (!element)
		return 0;
	key = *element;
	sk = (struct sock *)key;
	conn = conn_of(sk);
	if (!conn || conn->ended)
		return 0;
	if (conn->gone) {
		if (send_close(conn, conn->reason, &conn->end))
			bpf_map_delete_elem(&conns, &key);
		else
			unlisted++;
		return 0;
	}
	if (!ending)
		return 0;
	head_of_nobody(&head);
	head.call = SD_LISTING;
	if (!finish(sk, conn, SD_STILL_OPEN, &head))
		unlisted++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
