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
#include "counters.h"
#include "targets.h"
#include "filter.h"
#include "ring.h"
#include "room.h"
#include "conn.h"
#include "ending.h"
#include "beginning.h"
#include "payload.h"
#include "calls.h"
#include "peer.h"
#include "unix.h"
#include "counted.h"
#include "opening.h"
#include "deliver.h"
#include "uring.h"
#include "shared.h"
#include "returns.h"

/* Makes these types part of the object's type information. */
const struct sd_open *type_open __attribute__((unused));
const struct sd_data *type_data __attribute__((unused));
const struct sd_loss *type_loss __attribute__((unused));
const struct sd_close *type_close __attribute__((unused));
const struct target *type_target __attribute__((unused));
const struct sd_peer *type_peer __attribute__((unused));
const struct sd_names *type_names __attribute__((unused));

/* The socket that a descriptor refers to, if it does. */
static __always_inline struct sock *socket_of_fd(struct task_struct *task, s32 fd)
{
	struct file *file = file_of_fd(task, fd);
	u64 inode = 0;

	return file ? socket_of_file(file, &inode) : NULL;
}

/* Which end of sendfile or splice is the socket, if one is: the other end is a file or a pipe. */
static __always_inline struct sock *end_of_transfer(struct task_struct *task, struct pt_regs *regs, struct call *call,
						    s32 *fd)
{
	bool is_splice = call->number == SD_SPLICE;
	struct sock *sk;

	*fd = call_argument(regs, is_splice ? 2 : 0);
	call->direction = SD_SEND;
	sk = socket_of_fd(task, *fd);
	if (sk || !is_splice)
		return sk;
	*fd = call_argument(regs, 0);
	call->direction = SD_RECV;
	return socket_of_fd(task, *fd);
}

/* Adds up what the messages of the walk moved, as the kernel has written it into each. Not static: see ROUNDS_MAX. */
__noinline int add_messages(void)
{
	struct walk *walk = this_walk();
	u32 length;

	if (!walk)
		return 0;
	for (u32 i = 0; i < MESSAGES_MAX; i++) {
		struct user_mmsghdr *message = (void *)(walk->messages + i * sizeof(*message));

		if (i >= walk->messages_left || bpf_probe_read_user(&length, sizeof(length), &message->length))
			break;
		walk->behind += length;
	}
	return 0;
}

/* Reports the next message of a call at its exit. False: there is none. */
static __always_inline bool send_message(struct walk *walk)
{
	if (!walk->messages_left ||
	    bpf_probe_read_user(&walk->message, sizeof(walk->message), (void *)walk->messages))
		return false;
	walk->messages += sizeof(walk->message);
	walk->messages_left--;
	walk->behind -= walk->message.length;
	walk->call.result = walk->message.length;
	walk->iov = walk->message.header.iov;
	walk->iov_left = walk->message.header.iov_count;
	walk->name = walk->message.header.name;
	walk->name_length = walk->message.header.name_length;
	walk->peer_length = 0;
	walk->over = SD_FAULT;
	walk->base = walk->left = walk->skip = walk->refused = 0;
	walk->data.at = walk->data.captured = walk->data.cause = 0;
	deliver((struct sock *)walk->sk);
	return true;
}

/* sendmmsg or recvmmsg, at its exit: `count` messages. */
static __always_inline int on_messages(struct sock *sk, struct pt_regs *regs, const struct call *call, u64 count, s32 fd)
{
	struct walk *walk = begin(sk, call, 0, fd);

	if (!walk)
		return 0;
	walk->call.flags = message_flags(call_argument(regs, 3));
	if (is_aside(call->direction, walk->call.flags))
		return 0;
	walk->messages = call_argument(regs, 1);
	walk->messages_left = count;
	add_messages();
	for (int i = 0; i < MESSAGES_MAX; i++)
		if (!send_message(walk))
			break;
	return 0;
}

static __always_inline int on_exit(struct pt_regs *regs, s64 result)
{
	struct task_struct *task = current_task();
	struct call call = {};
	struct sock *sk;
	s32 fd;

	/* Most calls end here: the number is at hand, while the table of targets has to be searched. */
	if (!classify(&call, call_number(regs)) || !is_traced(task) || is_compat(task))
		return 0;
	if (transfers(&call)) {
		sk = end_of_transfer(task, regs, &call, &fd);
		return sk ? on_unreachable(sk, &call, result, fd, SD_IN_KERNEL_TRANSFER) : 0;
	}
	fd = call_argument(regs, 0);
	if (call.number == SD_ACCEPT || call.number == SD_ACCEPT4)
		fd = result; /* of a failed accept: none */
	sk = socket_of_fd(task, fd);
	if (!sk)
		return 0;
	if (has_messages(&call) && result > 0)
		return on_messages(sk, regs, &call, result, fd);
	if (!opens(&call))
		return on_data(sk, regs, &call, result, fd);
	return on_opening(sk, regs, call.number, result, fd);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_sys_exit, struct pt_regs *regs, long result)
{
	return UNDISTURBED(on_exit(regs, result));
}

/* The descriptor refers to this socket. */
static __always_inline bool is_fd_of(struct task_struct *task, s32 fd, struct sock *sk)
{
	struct file *file = file_of_fd(task, fd);

	return file && READ(file, private_data) == (void *)READ(sk, sk_socket);
}

/* The message of sendmmsg or recvmmsg that has just been moved. */
static __always_inline int on_message(struct sock *sk, struct pt_regs *regs, const struct call *call, s64 result, s32 fd)
{
	u32 thread = ids_of_current(current_task());
	struct walk *walk = begin(sk, call, result, fd);
	u32 index;
	bool last;

	if (!walk)
		return 0;
	index = begin_message(sk, regs, thread);
	take_arguments(walk, regs, index);
	last = result < 0 || (call->direction == SD_SEND && has_room()) || walk->call.flags & MSG_OOB;
	end_message(sk, regs, thread, index, last);
	return is_aside(call->direction, walk->call.flags) ? 0 : deliver(sk);
}

/* Something else than a data call on this socket's descriptor moved bytes in the name of the current task. */
static __noinline int on_other_traffic(struct sock *sk, s64 result, u32 direction, u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = registers_of(task);
	struct call call = { .number = SD_OTHER, .direction = direction, .flags = message_flags(flags) };
	u32 cause = SD_UNTRACED_SYSCALL;
	long number = call_number(regs);
	struct walk *walk;
	s32 fd = -1;

	if (!inode_of(sk))
		return 0; /* the kernel's own, below a socket of another kind */
	if (is_of_io_uring(task, regs)) {
		call.number = SD_IO_URING;
		cause = SD_THROUGH_IO_URING;
	} else if (!is_compat(task) && (number == NR_sendfile || number == NR_splice)) {
		call.number = number == NR_sendfile ? SD_SENDFILE : SD_SPLICE;
		cause = SD_IN_KERNEL_TRANSFER;
		fd = call_argument(regs, number == NR_splice && direction == SD_SEND ? 2 : 0);
		if (!is_fd_of(task, fd, sk))
			fd = -1;
	}
	walk = begin(sk, &call, result, fd);
	return walk ? deliver_message(sk, walk, cause) : 0;
}

/* A process that is not traced uses a socket that it shares with one that is. */
static __noinline int on_foreign_traffic(struct sock *sk, s64 result, u32 direction, u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = registers_of(task);
	u32 cause = READ(task, flags) & PF_KTHREAD ? SD_IN_KERNEL_TRANSFER : SD_OTHER_PROCESS;
	struct call call = { .number = SD_OTHER };
	s32 fd = call_argument(regs, 0);

	if (result <= 0)
		return 0;
	if (!is_tcp(sk) && !is_shared(sk, direction))
		return 0;
	classify(&call, call_number(regs));
	call.direction = direction;
	call.flags = message_flags(flags);
	return on_unreachable(sk, &call, result, is_fd_of(task, fd, sk) ? fd : -1, cause);
}

/* Asked of all that others do on the machine. */
static __always_inline bool may_be_shared(struct sock *sk)
{
	return is_tcp(sk) ? conn_of(sk) != NULL : !is_used_by_one(sk);
}

/* A socket's own word of what was sent or received through it, while the call is still under way. */
static __always_inline int on_traffic(struct sock *sk, s64 result, u32 direction, u32 flags)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call = {};
	struct pt_regs *regs;
	s32 fd;

	if (!is_traced(task))
		return attached && may_be_shared(sk) ? on_foreign_traffic(sk, result, direction, flags) : 0;
	regs = registers_of(task);
	fd = call_argument(regs, 0);
	if (!classify(&call, call_number(regs)) || opens(&call) || transfers(&call) || call.direction != direction ||
	    is_compat(task) || (uses_io_uring(task) && !in_call(regs)) || is_limited(&call, regs) ||
	    !is_fd_of(task, fd, sk))
		return on_other_traffic(sk, result, direction, flags);
	if (has_messages(&call))
		return on_message(sk, regs, &call, result, fd);
	return on_data(sk, regs, &call, result, fd);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(on_send, struct sock *sk, int result)
{
	return UNDISTURBED(on_traffic(sk, result, SD_SEND, 0));
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(on_receive, struct sock *sk, int result, int flags)
{
	return UNDISTURBED(on_traffic(sk, result, SD_RECV, flags));
}

/*
 * The same by way of perf, which keeps preemption off around the whole of them: see UNDISTURBED, which does not. Only the
 * words of tasks come this way, of which none comes between: the kernel runs one program of perf's on a processor at a time.
 */
SEC("tracepoint/sock/sock_send_length")
int on_send_perf(struct trace_event_raw_sock_msg_length *ctx)
{
	return on_traffic((struct sock *)ctx->sk, ctx->ret, SD_SEND, 0);
}

SEC("tracepoint/sock/sock_recv_length")
int on_receive_perf(struct trace_event_raw_sock_msg_length *ctx)
{
	return on_traffic((struct sock *)ctx->sk, ctx->ret, SD_RECV, ctx->flags);
}

/* Bytes were read from the socket into a pipe, of which sock_recv_length does not tell. */
static __noinline int on_splice(struct sock *sk, struct task_struct *task, struct pt_regs *regs)
{
	struct call call = { .number = SD_SPLICE, .direction = SD_RECV };
	s32 fd = call_argument(regs, 0);
	struct conn *conn = conn_of(sk);
	struct sd_head head = {};
	s64 bytes;

	if (!conn) {
		head_of_current(&head, task, call.number, fd);
		conn = found(sk, inode_of(sk), &head, SCRATCH_CALL, 0);
	}
	if (!conn || !conn->account[SD_RECV].known)
		return 0;
	bytes = (s32)(recv_anchor(sk) - conn->account[SD_RECV].seq);
	return bytes > 0 ? on_unreachable(sk, &call, bytes, fd, SD_IN_KERNEL_TRANSFER) : 0;
}

static __always_inline int read(struct sock *sk)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs;

	if (!is_traced(task))
		return 0;
	regs = registers_of(task);
	if (call_number(regs) != NR_splice || is_compat(task) || !is_tcp(sk) || !is_connected(sk))
		return 0;
	return on_splice(sk, task, regs);
}

SEC("tp_btf/tcp_rcv_space_adjust")
int BPF_PROG(on_read, struct sock *sk)
{
	return UNDISTURBED(read(sk));
}

SEC("tracepoint/tcp/tcp_rcv_space_adjust")
int on_read_perf(struct trace_event_raw_tcp_event_sk *ctx)
{
	return read((struct sock *)ctx->skaddr);
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
		conn = found(sk, inode, &head, SCRATCH_CALL, 0);
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
	return is_traced(current_task()) ? UNDISTURBED(on_close(ctx->args[0])) : 0;
}

/* The same where tracefs is not mounted, at a cost for every call of the machine. */
SEC("tp_btf/sys_enter")
int BPF_PROG(on_sys_enter, struct pt_regs *regs, long number)
{
	struct task_struct *task = current_task();

	if (number != NR_close || !is_traced(task) || is_compat(task))
		return 0;
	return UNDISTURBED(on_close(call_argument(regs, 0)));
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

static __always_inline bool is_connecting(const struct conn *conn)
{
	return conn && conn->connecting && !conn->ended;
}

/* What is known of the socket that changes its state; where its state was all that told of it, from now on. */
static __noinline struct conn *conn_of_change(struct sock *sk, int old, int new, u32 slot)
{
	struct conn *conn = conn_of(sk);
	struct sd_head head = {};

	if (!cfg_traffic || !attached || ending)
		return conn;
	if (old == TCP_SYN_RECV && new == TCP_ESTABLISHED) {
		on_accepted(sk);
	} else if (new == TCP_SYN_SENT && !is_connecting(conn) && is_traced(current_task())) {
		head_of_current(&head, current_task(), SD_CONNECT, fd_of_call(NR_connect));
		conn = on_connecting(sk, &head);
	} else if (old == TCP_SYN_SENT && conn && conn->connecting) {
		on_connected(sk, conn, new);
	} else if (!conn && is_unused(sk)) {
		head_of_end(&head);
		conn = found(sk, inode_of(sk), &head, slot, 0);
	}
	return conn;
}

/*
 * The kernel leaves out a run of a program that is running on that processor already, and TCP changes states in a
 * softirq as well as in calls, which it may interrupt. So there are two programs on these hooks, of which one always
 * runs: what interrupts the one finds the other at rest. Where both run, the second finds nothing left to do.
 */
static __always_inline int change(struct sock *sk, int old, int new, u32 slot)
{
	struct sd_head head = {};
	struct conn *conn;

	if (!is_tcp(sk))
		return 0;
	conn = new == TCP_SYN_SENT ? conn_of(sk) : NULL;
	if (conn)
		end_former(conn);
	conn = conn_of_change(sk, old, new, slot);
	if (!conn)
		return 0;
	note_kernel(sk, conn);
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
	if (new == TCP_CLOSE)
		on_rest(sk, conn);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int old, int new)
{
	return UNDISTURBED(change(sk, old, new, SCRATCH_CHANGE));
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state_nested, struct sock *sk, int old, int new)
{
	return UNDISTURBED(change(sk, old, new, SCRATCH_NESTED_CHANGE));
}

/* Every TCP socket passes here before its memory is freed, which is another one's next. */
static __always_inline int destroy(struct sock *sk)
{
	u64 key = (u64)sk;
	struct conn *conn = entry_of(key);
	struct sd_head head = {};

	if (cfg_traffic)
		forget_accepted(sk);
	if (!conn)
		return 0;
	head_of_end(&head);
	if (!finish(sk, conn, conn->reset ? SD_RESET : SD_CLOSED, &head)) {
		count(refused_ends, 1);
		if (!keep(conn))
			count(lost_ends, 1);
		conn->ended = 1;
	}
	bpf_map_delete_elem(&conns, &key);
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy, struct sock *sk)
{
	return UNDISTURBED(destroy(sk));
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(on_destroy_nested, struct sock *sk)
{
	return UNDISTURBED(destroy(sk));
}

/* Set by user space: list the descriptors that --fd leaves out, too. Those it names must come first, for a socket
 * that has several descriptors is filtered when the first one seen is.
 */
u32 list_filtered;

/* What a descriptor refers to, at a listing. */
static __always_inline int list_socket(struct task_struct *task, struct file *file, u32 fd)
{
	struct sd_head head = {};
	struct sock *sk;
	u64 inode = 0;
	u32 transport;

	head.pid = READ(task, tgid);
	if (!is_target(head.pid) || (!list_filtered && fd_filtered(fd)))
		return 0;
	sk = socket_of_file(file, &inode);
	if (!sk)
		return 0;
	transport = transport_of(sk);
	if (transport == SD_TCP && (!is_connected(sk) || state_of(sk) == TCP_CLOSE || conn_of(sk)))
		return 0;
	head.time = bpf_ktime_get_ns();
	head.tid = READ(task, pid);
	head.fd = fd;
	head.call = SD_LISTING;
	BPF_CORE_READ_INTO(&head.comm, task, comm);
	if (transport == SD_TCP)
		found(sk, inode, &head, SCRATCH_LISTING, 0);
	else if (transport != SD_UNSUPPORTED)
		list_counted(sk, inode, &head, transport);
	return 0;
}

/* Finds the sockets that are open already. */
SEC("iter/task_file")
int list_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;

	if (!task || !file)
		return 0;
	return UNDISTURBED(list_socket(task, file, ctx->fd));
}

/* Connections that this listing left out, also for want of room in the ring. Set to 0 by user space before. */
u32 unlisted;

/* An element of the table, at a listing. */
static __always_inline int list_conn(u64 key)
{
	struct sock *sk = (struct sock *)key;
	struct conn *conn = entry_of(key);
	struct sd_head head = {};

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
	if (!is_settled(conn, is_behind(sk, conn))) {
		unlisted++;
		return 0;
	}
	head_of_nobody(&head);
	head.call = SD_LISTING;
	if (!finish(sk, conn, conn->reset ? SD_RESET : SD_STILL_OPEN, &head))
		unlisted++;
	return 0;
}

/* Reports what the ring refused before. At the end of the trace: where each connection stands. */
SEC("iter/bpf_map_elem")
int list_conns(struct bpf_iter__bpf_map_elem *ctx)
{
	u64 *element = ctx->key;

	return element ? UNDISTURBED(list_conn(*element)) : 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
