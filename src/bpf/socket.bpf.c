// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The probes on socket calls: which hooks, and what each of them reports. The account of bytes is in conn.h, the
 * copying of payload in payload.h.
 *
 * Only hooks that need neither kprobe nor fentry: tp_btf, tracepoints, iterators. A hook on the exit of every system
 * call (5.10 on) costs each call of the machine, whoever makes it. Where sockets tell of their own traffic (6.3 on)
 * no call is hooked at all: data is seen there, and TCP's change of state tells of beginnings and ends.
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
#include "beginning.h"
#include "payload.h"
#include "peer.h"
#include "unix.h"
#include "counted.h"

/* Makes the record types part of the object's type information. */
const struct sd_open *type_open __attribute__((unused));
const struct sd_data *type_data __attribute__((unused));
const struct sd_loss *type_loss __attribute__((unused));
const struct sd_close *type_close __attribute__((unused));
const struct sd_peer *type_peer __attribute__((unused));
const struct sd_names *type_names __attribute__((unused));

/* The end of the stream, not a read into a buffer of no length. */
static __always_inline bool is_end_of_stream(struct sock *sk)
{
	bool ended = fin_received(sk) || (READ(sk, sk_shutdown) & RCV_SHUTDOWN) ||
		     state_of(sk) == TCP_CLOSE;

	return ended && !held(sk, SD_RECV, recv_anchor(sk));
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
	if (conn->connecting)
		read_addresses(sk, &conn->open);
	if (call->flags & MSG_TRUNC && call->direction == SD_RECV)
		walk->gone = 1; /* thrown away by the kernel, see tcp(7): never in user memory */
	tell(conn, walk, moved);
}

/* A connection that a data call makes known. */
static __noinline struct conn *found_by_call(struct sock *sk, struct walk *walk)
{
	const struct call *call = &walk->call;
	u64 moved = call->result > 0 && !(call->flags & MSG_PEEK) ? call->result : 0;

	if (!is_tcp(sk) || !is_connected(sk) || (call->result <= 0 && state_of(sk) == TCP_CLOSE))
		return NULL;
	return found(sk, inode_of(sk), &walk->data.head, 0, moved);
}

/* Nothing moved and nothing failed. */
static __noinline bool is_idle(struct sock *sk, const struct call *call)
{
	if (call->result)
		return is_retry(call->result);
	return call->direction == SD_SEND || !is_end_of_stream(sk);
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
	walk->name = message.name;
	walk->name_length = message.name_length;
}

/* Reads how long an address is that the kernel has put into user memory. */
static __always_inline u32 length_at(u64 address)
{
	u32 length = 0;

	bpf_probe_read_user(&length, sizeof(length), (void *)address);
	return length;
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

/* Reads from the arguments where the call's buffers are, and its flags. False: what it moved is not the stream. */
static __always_inline bool take_arguments(struct walk *walk, struct pt_regs *regs)
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
		walk->name = call_argument(regs, 4);
		if (walk->name)
			walk->name_length = walk->call.number == SD_SENDTO ? call_argument(regs, 5) :
									     length_at(call_argument(regs, 5));
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
	/* Copies of sent packets, errors, urgent bytes. */
	return walk->call.direction == SD_SEND || !(walk->call.flags & (MSG_ERRQUEUE | MSG_OOB));
}

/* A call of `fd` that moved bytes on the socket, failed, or met the end of the stream. */
static __always_inline int on_data(struct sock *sk, struct task_struct *task, struct pt_regs *regs,
				   const struct call *call, s64 result, s32 fd)
{
	struct walk *walk = new_walk(call, result);
	struct conn *conn;

	if (!walk || !take_arguments(walk, regs) || (result <= 0 && is_idle(sk, &walk->call)))
		return 0;
	head_of_current(&walk->data.head, task, call->number, fd);
	walk->data.head.kind = SD_DATA;
	walk->data.head.direction = call->direction;
	conn = conn_of(sk);
	if (!conn)
		conn = found_by_call(sk, walk);
	if (!conn || (conn->ended && (result <= 0 || ending)))
		return 0;
	account_for(sk, conn, walk);
	if (conn->reset)
		end_if_reset(sk, conn);
	return 0;
}

/* A call of `fd` on a socket without sequence numbers. `told`: it has returned. */
static __always_inline int on_other(struct sock *sk, struct task_struct *task, struct pt_regs *regs,
				    const struct call *call, s64 result, s32 fd, bool told)
{
	u32 transport = transport_of(sk);
	struct walk *walk;

	if (transport == SD_UNSUPPORTED) {
		if (result >= 0)
			count_unsupported(sk, result);
		return 0;
	}
	walk = new_walk(call, result);
	if (!walk || !take_arguments(walk, regs) || is_nothing(sk, walk, transport))
		return 0;
	head_of_current(&walk->data.head, task, call->number, fd);
	walk->data.head.kind = SD_DATA;
	walk->data.head.direction = call->direction;
	return account_for_counted(sk, walk, transport, told);
}

static __always_inline bool opens(const struct call *call)
{
	return call->number >= SD_CONNECT;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long result)
{
	struct task_struct *task = current_task();
	struct sd_head head = {};
	struct call call = {};
	struct file *file;
	struct sock *sk;
	u64 inode = 0;
	s32 fd;

	/* Most calls end here: the number is at hand, while the table of targets has to be searched. */
	if (!classify(&call, call_number(regs)) || !is_traced(task) || is_compat(task))
		return 0;
	fd = call_argument(regs, 0);
	if (call.number == SD_ACCEPT || call.number == SD_ACCEPT4)
		fd = result; /* of a failed accept: none */
	file = file_of_fd(task, fd);
	if (!file)
		return 0;
	sk = socket_of_file(file, &inode);
	if (!sk)
		return 0;
	if (!is_tcp(sk))
		return opens(&call) ? 0 : on_other(sk, task, regs, &call, result, fd, true);
	if (!opens(&call))
		return on_data(sk, task, regs, &call, result, fd);
	head_of_current(&head, task, call.number, fd);
	return on_open(sk, inode, &head, result);
}

/*
 * The system call that the current task is in moved bytes on this socket: it is a data call, and it was not
 * made on something else whose driver has the socket in use.
 */
static __always_inline bool is_own(struct task_struct *task, struct sock *sk, const struct call *call, s32 fd)
{
	struct socket *socket = READ(sk, sk_socket);
	struct file *file;

	if (call->number >= SD_SENDTO)
		return true; /* these are made on sockets only */
	file = file_of_fd(task, fd);
	return file && (struct socket *)READ(file, private_data) == socket;
}

/* A socket's own word of what was sent or received through it, while the call is still under way. */
static __always_inline int on_traffic(struct sock *sk, s64 result, int flags, u32 direction)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};
	struct pt_regs *regs;
	s32 fd;

	if (!is_traced(task))
		return 0;
	regs = registers_of(task);
	if (!classify(&call, call_number(regs)) || opens(&call) || call.direction != direction || is_compat(task))
		return is_tcp(sk) || flags & MSG_PEEK ? 0 : miss_counted(sk, task, result, direction);
	fd = call_argument(regs, 0);
	if (!is_own(task, sk, &call, fd))
		return 0;
	return is_tcp(sk) ? on_data(sk, task, regs, &call, result, fd) :
			    on_other(sk, task, regs, &call, result, fd, false);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int result, int flags)
{
	return on_traffic(sk, result, flags, SD_SEND);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk, int result, int flags)
{
	return on_traffic(sk, result, flags, SD_RECV);
}

/* The descriptor is gone when the call returns, so it is looked at before. */
static __noinline int on_close(u32 fd)
{
	struct task_struct *task = current_task();
	struct file *file = file_of_fd(task, fd);
	struct sd_head head = {};
	struct conn *conn;
	struct sock *sk;
	u64 inode = 0;
	u32 reason;

	if (!file)
		return 0;
	sk = socket_of_file(file, &inode);
	if (!sk)
		return 0;
	head_of_current(&head, task, SD_CLOSE_CALL, fd);
	if (!is_tcp(sk)) {
		conn = counted_of(sk, inode);
		reason = file_references(file) == 1 ? SD_CLOSED : SD_DESCRIPTOR;
		if (conn)
			finish_counted(key_of_counted(sk), conn, reason, &head);
		return 0;
	}
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
	return is_traced(current_task()) ? on_close(ctx->args[0]) : 0;
}

/* The same where tracefs is not mounted, at a cost for every call of the machine. */
SEC("tp_btf/sys_enter")
int BPF_PROG(on_sys_enter, struct pt_regs *regs, long number)
{
	struct task_struct *task = current_task();

	if (number != NR_close || !is_traced(task) || is_compat(task))
		return 0;
	return on_close(call_argument(regs, 0));
}

/* The last descriptor is gone: the socket's file is being released. */
static __always_inline bool is_released(struct socket *socket)
{
	struct file *file = READ(socket, file);

	return !file || file_references(file) <= 0;
}

/* No descriptor refers to the socket any more, or none has yet. */
static __always_inline bool is_orphan(struct sock *sk)
{
	struct socket *socket = READ(sk, sk_socket);

	return !socket || is_released(socket);
}

/* It was accepted, and is released without any call that would have made it known. */
static __always_inline bool is_unused(struct sock *sk)
{
	struct socket *socket = READ(sk, sk_socket);

	return socket && is_released(socket) && is_accepted(sk) && is_traced(current_task());
}

/* Names the task where it is one of the targets' own doing: a close, or the end of the process. */
static __always_inline void head_of_end(struct sd_head *head)
{
	struct task_struct *task = current_task();

	head_of_nobody(head);
	if (!is_traced(task))
		return;
	head_of_current(head, task, SD_KERNEL, -1);
	if (READ(task, flags) & PF_EXITING) {
		head->call = SD_EXIT;
	} else if (cfg_traffic) {
		head->fd = fd_of_call(NR_close);
		if (head->fd >= 0)
			head->call = SD_CLOSE_CALL;
	}
}

/* What is known of the socket that changes its state; where its state was all that told of it, from now on. */
static __noinline struct conn *conn_of_change(struct sock *sk, int old, int new)
{
	struct conn *conn = conn_of(sk);
	struct sd_head head = {};

	if (!cfg_traffic || !attached || ending)
		return conn;
	if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		on_accepted(sk);
	} else if (new == TCP_SYN_SENT && is_traced(current_task())) {
		head_of_current(&head, current_task(), SD_CONNECT, fd_of_call(NR_connect));
		conn = on_connecting(sk, &head);
	} else if (old == TCP_SYN_SENT && conn && conn->connecting) {
		on_connected(sk, conn, new);
	} else if (!conn && is_unused(sk)) {
		head_of_end(&head);
		conn = found(sk, inode_of(sk), &head, 0, 0);
	}
	return conn;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int old, int new)
{
	struct sd_head head = {};
	struct conn *conn;

	if (!is_tcp(sk))
		return 0;
	conn = conn_of_change(sk, old, new);
	if (!conn)
		return 0;
	/* A connection that was found may have been past its FIN already. */
	if (is_after_fin(new) || is_after_fin(old))
		conn->fin_queued = 1;
	if (conn->ended)
		return 0;
	if (is_orphan(sk)) {
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

	if (cfg_traffic)
		forget_accepted(sk);
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
	u32 transport;

	if (!task || !file)
		return 0;
	head.pid = READ(task, tgid);
	if (!is_target(head.pid) || (!list_filtered && fd_filtered(ctx->fd)))
		return 0;
	sk = socket_of_file(file, &inode);
	if (!sk)
		return 0;
	transport = transport_of(sk);
	if (transport == SD_TCP && (!is_connected(sk) || state_of(sk) == TCP_CLOSE || conn_of(sk)))
		return 0;
	head.time = bpf_ktime_get_ns();
	head.tid = READ(task, pid);
	head.fd = ctx->fd;
	head.call = SD_LISTING;
	BPF_CORE_READ_INTO(&head.comm, task, comm);
	if (transport == SD_TCP)
		found(sk, inode, &head, 1, 0);
	else if (transport != SD_UNSUPPORTED)
		list_counted(sk, inode, &head, transport);
	return 0;
}

/* Connections that this listing left out, also for want of room in the ring. Set to 0 by user space before. */
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
	if (is_key_of_counted(key)) {
		if (!review_counted(sk, conn))
			unlisted++;
		return 0;
	}
	if (!ending)
		return 0;
	if (waiting && is_behind(sk, conn)) {
		unlisted++;
		return 0;
	}
	head_of_nobody(&head);
	head.call = SD_LISTING;
	if (!finish(sk, conn, SD_STILL_OPEN, &head))
		unlisted++;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
