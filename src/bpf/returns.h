/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the functions of the sockets' protocols tell when they return, where sockets do not tell of their traffic (before
 * 6.3) and functions can be hooked: all that no hook on a call hears of. That is what io_uring moves, and on sockets that
 * nothing counts (UDP, Unix) also what calls move that are not hooked (io_submit, 32-bit ones), and other processes.
 */
#ifndef SD_RETURNS_H
#define SD_RETURNS_H

/* Without room to say more: the bytes of a socket that counts them are named. Those of TCP will be, by its counters. */
static __noinline int note_moved(struct sock *sk, s64 result, u32 direction, u32 cause)
{
	struct conn *conn = is_tcp(sk) ? NULL : counted_of(sk, inode_of(sk));
	struct account *account;
	u64 offset;

	if (!conn || result <= 0)
		return 0;
	account = &conn->account[direction & 1];
	account->moved += result;
	offset = add_to_account(account, result);
	note(conn, direction, offset, offset + result, cause);
	return 0;
}

/* Why no hook on a call tells of what the current task has moved on the socket; 0: one does, or it is nobody's business. */
static __noinline u32 cause_of_silence(struct socket *socket)
{
	struct task_struct *task = current_task();
	struct sock *sk = READ(socket, sk);
	struct call call = {};

	if (!sk)
		return 0;
	if (is_traced_io_uring())
		return SD_THROUGH_IO_URING;
	/* TCP's counters tell. What has no file is the kernel's own, below a socket or a file of another kind. */
	if (is_tcp(sk) || !READ(socket, file))
		return 0;
	if (!is_traced(task))
		return attached && !is_used_by_one(sk) ? SD_OTHER_PROCESS : 0;
	if (!is_compat(task) && classify(&call, number_of_current(task)) && !opens(&call))
		return 0;
	return SD_UNTRACED_SYSCALL;
}

/* A protocol's function has moved bytes, or failed to. */
static __always_inline int on_moved(struct socket *socket, s64 result, u32 direction, u32 flags)
{
	struct call call = { .number = SD_OTHER, .direction = direction, .flags = message_flags(flags) };
	u32 cause = cause_of_silence(socket);
	struct sock *sk = READ(socket, sk);
	struct walk *walk;

	if (!cause || (cause == SD_OTHER_PROCESS && result <= 0))
		return 0;
	if (cause == SD_THROUGH_IO_URING)
		call.number = SD_IO_URING;
	if (!claim_room())
		return flags & MSG_PEEK ? 0 : note_moved(sk, result, direction, cause);
	if (cause != SD_OTHER_PROCESS || is_shared(sk, direction)) {
		walk = begin(sk, &call, result, -1);
		if (walk)
			deliver_message(sk, walk, cause);
	}
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
		return (types) ? on_moved(socket, result, SD_SEND, 0) : 0;                                         \
	}

#define ON_RECEIVED(function, types)                                                                               \
	SEC("fexit/" #function)                                                                                    \
	int BPF_PROG(on_##function, struct socket *socket, struct msghdr *header, u64 size, int flags, int result) \
	{                                                                                                          \
		return (types) ? on_moved(socket, result, SD_RECV, flags) : 0;                                     \
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
