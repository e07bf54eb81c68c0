/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Bytes that io_uring moves. No call names them; but on its way to the socket's protocol the kernel's own description of
 * the message (struct msghdr) passes a hook, which keeps where its bytes are until the socket tells how many have moved;
 * where sockets do not tell (before 6.3), the functions of their protocols do when they return (returns.h). The work is
 * done in the process's own memory, whichever task does it.
 *
 * Buffers that were registered (IORING_REGISTER_BUFFERS) are pages to the kernel, not addresses: out of reach.
 */
#ifndef SD_URING_H
#define SD_URING_H

/* Where a message began. */
struct message {
	u64 sk;
	u64 header; /* the kernel's struct msghdr */
	u64 base;   /* user address of the first byte; 0: in buffers */
	u64 iov;
	u64 iov_left;
	u64 offset; /* in the first buffer */
	u64 count;  /* bytes */
};

/* The one that io_uring moves now, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32);
	__type(value, struct message);
} messages SEC(".maps");

/* Keeps where the message begins, of which nothing has moved yet. */
static __noinline int keep_message(struct sock *sk, struct msghdr *header)
{
	u32 thread = ids_of_current(current_task());
	u64 offset = READ(header, msg_iter.iov_offset);
	struct message message = {};

	message.sk = (u64)sk;
	message.header = (u64)header;
	message.count = READ(header, msg_iter.count);
	if (is_in_one_piece(header)) {
		message.base = (u64)READ(header, msg_iter.ubuf) + offset;
	} else if (is_in_pieces(header)) {
		message.iov = (u64)iovec_of(header);
		message.iov_left = READ(header, msg_iter.nr_segs);
		message.offset = offset;
	} else {
		return 0;
	}
	bpf_map_update_elem(&messages, &thread, &message, BPF_ANY);
	return 0;
}

/* It is io_uring that moves bytes of a traced process. Asked of every message of the machine: the likeliest no first. */
static __always_inline bool is_traced_io_uring(void)
{
	struct task_struct *task = current_task();

	return uses_io_uring(task) && is_traced(task) && io_uring_is_at_work(task);
}

SEC("fentry/security_socket_sendmsg")
int BPF_PROG(on_send_begin, struct socket *socket, struct msghdr *header)
{
	return is_traced_io_uring() ? keep_message(READ(socket, sk), header) : 0;
}

SEC("fentry/security_socket_recvmsg")
int BPF_PROG(on_receive_begin, struct socket *socket, struct msghdr *header)
{
	return is_traced_io_uring() ? keep_message(READ(socket, sk), header) : 0;
}

/* Where functions can't be hooked: TCP tells of each piece that it is about to take, the first one of a message included. */
SEC("tp_btf/tcp_sendmsg_locked")
int BPF_PROG(on_send_piece, struct sock *sk, struct msghdr *header)
{
	struct message *message;
	u32 thread;

	if (!is_traced_io_uring())
		return 0;
	thread = ids_of_current(current_task());
	message = bpf_map_lookup_elem(&messages, &thread);
	if (message && message->sk == (u64)sk && message->header == (u64)header)
		return 0;
	return keep_message(sk, header);
}

/*
 * Has the walk go through the message that its thread has just moved. False: it is not known, or has moved otherwise than
 * its buffers say.
 */
static __noinline bool take_kept_message(struct sock *sk, struct walk *walk)
{
	u32 thread = ids_of_current(current_task());
	struct message *message = bpf_map_lookup_elem(&messages, &thread);
	u64 result = walk->call.result;
	struct msghdr *header;
	bool known;

	if (!message)
		return false;
	header = (struct msghdr *)message->header;
	known = message->sk == (u64)sk && walk->call.result >= 0 &&
		(message->count - READ(header, msg_iter.count) == result || walk->call.flags & MSG_TRUNC);
	if (known) {
		walk->base = message->base;
		walk->left = message->base ? message->count : 0;
		walk->iov = message->iov;
		walk->iov_left = message->iov_left;
		walk->offset = message->offset;
		walk->name = (u64)READ(header, msg_name);
		walk->name_length = READ(header, msg_namelen);
		walk->in_kernel = true;
	}
	bpf_map_delete_elem(&messages, &thread);
	return known;
}

/* Reports what a call, or io_uring in place of one, has moved; `cause`: why its payload is out of reach, 0 where it is not. */
static __always_inline int deliver_message(struct sock *sk, struct walk *walk, u32 cause)
{
	struct call *call = &walk->call;

	if (cause != SD_THROUGH_IO_URING || !take_kept_message(sk, walk))
		walk->data.cause = cause;
	if (is_aside(call->direction, call->flags) || (walk->data.cause && call->flags & MSG_PEEK))
		return 0;
	return deliver(sk);
}

#endif
