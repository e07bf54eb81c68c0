/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Bytes that io_uring moves. No call names them; but on its way to the socket's protocol the kernel's own description of
 * the message (struct msghdr) passes a hook, which keeps where its bytes are until the socket tells how many have moved;
 * where sockets do not tell (before 6.3), the functions of their protocols do when they return. The work is done in the
 * process's own memory, whichever task does it.
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

/* Without room to say more: the bytes of a socket that counts them are named. Those of TCP will be, by its counters. */
static __noinline int note_moved(struct sock *sk, s64 result, u32 direction)
{
	struct conn *conn = is_tcp(sk) ? NULL : counted_of(sk, inode_of(sk));
	struct account *account;
	u64 offset;

	if (!conn || result <= 0)
		return 0;
	account = &conn->account[direction & 1];
	account->moved += result;
	offset = add_to_account(account, result);
	note(conn, direction, offset, offset + result, SD_THROUGH_IO_URING);
	return 0;
}

/* A protocol's function has moved what io_uring had it move, or failed to. */
static __always_inline int on_moved(struct socket *socket, s64 result, u32 direction, u32 flags)
{
	struct call call = { .number = SD_IO_URING, .direction = direction, .flags = message_flags(flags) };
	struct sock *sk = READ(socket, sk);
	struct walk *walk;

	if (!sk)
		return 0;
	if (!claim_room())
		return flags & MSG_PEEK ? 0 : note_moved(sk, result, direction);
	walk = begin(sk, &call, result, -1);
	if (walk)
		deliver_message(sk, walk, SD_THROUGH_IO_URING);
	give_back();
	return 0;
}

/* Those of one protocol call those of another: the outer one tells. */
static __always_inline bool is_of_type(struct socket *socket, u16 type)
{
	struct sock *sk = READ(socket, sk);

	return sk && READ(sk, sk_type) == type;
}

#define ON_SENT(function, types)                                                                                   \
	SEC("fexit/" #function)                                                                                    \
	int BPF_PROG(on_##function, struct socket *socket, struct msghdr *header, u64 size, int result)            \
	{                                                                                                          \
		return is_traced_io_uring() && (types) ? on_moved(socket, result, SD_SEND, 0) : 0;                 \
	}

#define ON_RECEIVED(function, types)                                                                               \
	SEC("fexit/" #function)                                                                                    \
	int BPF_PROG(on_##function, struct socket *socket, struct msghdr *header, u64 size, int flags, int result) \
	{                                                                                                          \
		return is_traced_io_uring() && (types) ? on_moved(socket, result, SD_RECV, flags) : 0;             \
	}

ON_SENT(inet_sendmsg, true)
ON_SENT(inet6_sendmsg, true)
ON_SENT(unix_stream_sendmsg, true)
ON_SENT(unix_dgram_sendmsg, is_of_type(socket, SOCK_DGRAM))
ON_SENT(unix_seqpacket_sendmsg, true)
ON_RECEIVED(inet_recvmsg, true)
ON_RECEIVED(inet6_recvmsg, true)
ON_RECEIVED(unix_stream_recvmsg, true)
ON_RECEIVED(unix_dgram_recvmsg, is_of_type(socket, SOCK_DGRAM))
ON_RECEIVED(unix_seqpacket_recvmsg, true)

#endif
