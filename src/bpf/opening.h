/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * connect and accept, when they have returned: at the exit of the call, or of the kernel's function behind it where
 * the kernel lets programs be attached there (fexit). What TCP's change of state tells is left to beginning.h.
 */
#ifndef SD_OPENING_H
#define SD_OPENING_H

static __always_inline bool has_peer(struct sock *sk, u32 transport)
{
	return is_unix(transport) ? unix_peer(sk) != NULL : READ(sk, __sk_common.skc_dport) != 0;
}

/* The connect under way goes on, or there was nothing to connect. */
static __always_inline bool is_no_failure(s64 result)
{
	return result >= 0 || is_retry(result) || result == -EINPROGRESS || result == -EALREADY || result == -EISCONN;
}

static __always_inline u32 scratch_of(const struct opening *opening)
{
	return opening->user ? SCRATCH_CALL : SCRATCH_FUNCTION;
}

/* Tells of a connect that failed. It leaves no connection, so nothing is remembered. */
static __noinline int send_failed(struct sock *sk, u64 inode, const struct opening *opening)
{
	struct conn *conn = blank(scratch_of(opening), sk, inode, &opening->head);
	u32 transport = transport_of(sk);
	struct sd_open *open;

	if (!conn)
		return 0;
	conn->open.role = SD_CLIENT;
	conn->open.transport = transport;
	conn->open.error = -opening->result;
	if (is_unix(transport))
		send_unix_names(sk, conn, opening);
	else
		take_given(conn, opening);
	open = bpf_ringbuf_reserve(&events, sizeof(*open), 0);
	if (!open) {
		count(refused_calls, 1);
		return 0;
	}
	__builtin_memcpy(open, &conn->open, sizeof(*open));
	bpf_ringbuf_submit(open, wakeup(sizeof(*open)));
	return 0;
}

/* The same of a socket without sequence numbers. One that is known already keeps its name. */
static __noinline int on_counted_opening(struct sock *sk, const struct opening *opening)
{
	u32 transport = transport_of(sk);
	u64 inode = inode_of(sk);

	if (ending || transport == SD_UNSUPPORTED || counted_of(sk, inode))
		return 0;
	if (!is_no_failure(opening->result))
		return send_failed(sk, inode, opening);
	if (opening->result >= 0 && has_peer(sk, transport))
		new_counted(sk, inode, &opening->head, transport, scratch_of(opening));
	return 0;
}

/* connect or accept, at its exit. */
static __noinline int on_opening(struct sock *sk, struct pt_regs *regs, u32 number, s64 result, s32 fd)
{
	struct opening opening = {
		.result = result,
		.address = call_argument(regs, 1),
		.length = call_argument(regs, 2),
		.user = 1,
	};

	head_of_current(&opening.head, current_task(), number, fd);
	return is_tcp(sk) ? on_open(sk, inode_of(sk), &opening) : on_counted_opening(sk, &opening);
}

/* The kernel's function behind connect has returned. */
static __noinline int on_connect(struct socket *socket, u64 address, u32 length, s64 result)
{
	struct task_struct *task = current_task();
	struct opening opening = { .result = result, .address = address, .length = length };
	struct sock *sk = READ(socket, sk);
	struct conn *conn;

	if (!is_traced(task) || !sk)
		return 0;
	conn = is_tcp(sk) ? conn_of(sk) : NULL;
	if (conn && conn->refused) {
		conn->refused = 0;
		return 0;
	}
	if (!claim_room())
		return 0;
	head_of_current(&opening.head, task, SD_CONNECT, fd_of_call(NR_connect));
	if (!is_tcp(sk))
		on_counted_opening(sk, &opening);
	else if (!is_no_failure(result) && !ending && (!conn || conn->ended))
		/* It failed before TCP's state changed: no route, no address, no port. */
		send_failed(sk, inode_of(sk), &opening);
	give_back();
	return 0;
}

SEC("fexit/inet_stream_connect")
int BPF_PROG(on_stream_connect, struct socket *socket, void *address, int length, int flags, int result)
{
	return on_connect(socket, (u64)address, length, result);
}

SEC("fexit/inet_dgram_connect")
int BPF_PROG(on_dgram_connect, struct socket *socket, void *address, int length, int flags, int result)
{
	return on_connect(socket, (u64)address, length, result);
}

SEC("fexit/unix_stream_connect")
int BPF_PROG(on_unix_stream_connect, struct socket *socket, void *address, int length, int flags, int result)
{
	return on_connect(socket, (u64)address, length, result);
}

SEC("fexit/unix_dgram_connect")
int BPF_PROG(on_unix_dgram_connect, struct socket *socket, void *address, int length, int flags, int result)
{
	return on_connect(socket, (u64)address, length, result);
}

#endif
