/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * How a connection comes to be known: by the call that opens it, by TCP's change of state, or later, by what it does.
 */
#ifndef SD_BEGINNING_H
#define SD_BEGINNING_H

/*
 * Sockets whose handshake a listener has completed since the probes are in place, whoever will accept them. Which
 * process that is shows when one uses its descriptor. One that falls out of the table is found, as if it were older.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, u64); /* address of struct sock */
	__type(value, u8);
} accepted SEC(".maps");

/* How many are in that table, at most: user space lists the open descriptors as long as there are some. */
s32 unclaimed;

static __noinline bool is_accepted(struct sock *sk)
{
	u64 key = (u64)sk;

	return cfg_traffic && bpf_map_lookup_elem(&accepted, &key);
}

static __always_inline void on_accepted(struct sock *sk)
{
	u64 key = (u64)sk;
	u8 value = 1;

	if (!bpf_map_update_elem(&accepted, &key, &value, BPF_NOEXIST))
		__sync_fetch_and_add(&unclaimed, 1);
}

/* It is known as a connection now, or is no more. */
static __always_inline void forget_accepted(struct sock *sk)
{
	u64 key = (u64)sk;

	if (!bpf_map_delete_elem(&accepted, &key))
		__sync_fetch_and_add(&unclaimed, -1);
}

/* Where the stream begins to be seen: `bytes` before the present, or where the connection is new, with its first one. */
static __always_inline void start_before(struct sock *sk, struct conn *conn, u32 direction, u64 bytes, bool fresh)
{
	u32 seq = anchor(sk, NULL, direction);
	u64 offset = offset_of(sk, direction, seq);

	if (fresh)
		bytes = offset;
	start(conn, direction, offset - bytes, seq - (u32)bytes);
}

/*
 * A connection whose opening no call told. Where a call made it known, the `bytes` that the call moved in the
 * direction of `head` are the first ones seen: they lie before what is the present now.
 */
static __noinline struct conn *found(struct sock *sk, u64 inode, const struct sd_head *head, u32 slot,
				     u64 bytes)
{
	u64 received = head->direction == SD_RECV ? bytes : 0;
	bool fresh = is_accepted(sk);
	struct conn *conn;

	if (ending)
		return NULL;
	conn = blank(slot, sk, inode, head);
	if (!conn)
		return NULL;
	if (fresh) {
		conn->open.role = SD_SERVER;
		conn->open.head.call = SD_ACCEPT;
	} else {
		conn->open.head.flags |= SD_FOUND;
	}
	if (state_of(sk) == TCP_SYN_SENT) {
		/* What the peer will begin with shows when it has answered. */
		conn->open.role = SD_CLIENT;
		if (head->call != SD_LISTING)
			conn->open.head.flags &= ~SD_FOUND; /* its first bytes travel with the SYN */
		if (is_syn_sent(sk))
			start_sending(sk, conn);
	} else {
		start_before(sk, conn, SD_SEND, bytes - received, fresh);
		start_before(sk, conn, SD_RECV, received, fresh);
	}
	conn = enter(sk, conn);
	if (fresh)
		forget_accepted(sk);
	return conn;
}

/* Not a failure: nothing happened, and the program tries again or the kernel does it for the program. */
static __always_inline bool is_retry(s64 result)
{
	return result == -EAGAIN || result == -EINTR ||
	       (result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK);
}

/* A connection that begins now, in the scratch area. What the socket was before is over. */
static __always_inline struct conn *anew(struct sock *sk, u64 inode, const struct sd_head *head)
{
	u64 key = (u64)sk;

	if (entry_of(key))
		bpf_map_delete_elem(&conns, &key);
	return blank(SCRATCH_CALL, sk, inode, head);
}

/* A connect or accept that has returned. */
struct opening {
	struct sd_head head;
	s64 result;
	u64 address; /* that a connect was given, a struct sockaddr */
	u32 length;  /* of it */
	u32 user;    /* 1: it is in user memory, 0: the kernel has copied it */
};

/* Copies what a connect was given into `room` bytes. Gives the length of what was copied; 0: nothing. */
static __always_inline u32 copy_given(const struct opening *opening, void *to, u64 room)
{
	u64 length = opening->length;
	const void *from = (const void *)opening->address;

	if (length > room)
		length = room;
	asm volatile("" : "+r"(length));
	if (!length || length > room)
		return 0;
	if (opening->user ? bpf_probe_read_user(to, length, from) : bpf_probe_read_kernel(to, length, from))
		return 0;
	return length;
}

/*
 * Of a connect that failed the socket keeps no peer. Inlined: the verifier of 7.3 loses what is on the stack of the
 * caller's caller.
 */
static __always_inline void take_given(struct conn *conn, const struct opening *opening)
{
	struct user_sockaddr_in6 address = {};
	struct user_sockaddr_in *ipv4 = (void *)&address;

	copy_given(opening, &address, sizeof(address));
	if (conn->open.remote_port || address.family != conn->open.family)
		return;
	conn->open.remote_port = bpf_ntohs(address.port);
	if (address.family == AF_INET)
		__builtin_memcpy(conn->open.remote, &ipv4->address, sizeof(ipv4->address));
	else
		__builtin_memcpy(conn->open.remote, address.address, sizeof(address.address));
	judge(conn);
}

/* A connection whose handshake this call made or began. */
static __noinline int on_open(struct sock *sk, u64 inode, const struct opening *opening)
{
	const struct sd_head *head = &opening->head;
	bool client = head->call == SD_CONNECT;
	s64 result = opening->result;
	struct conn *conn = conn_of(sk);
	u8 state = state_of(sk);
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (ending || (conn && !conn->ended))
		return 0;
	conn = anew(sk, inode, head);
	if (!conn)
		return 0;
	conn->open.role = client ? SD_CLIENT : SD_SERVER;
	conn->open.error = result < 0 && result != -EINPROGRESS && !is_retry(result) ? -result : 0;
	if (client && state == TCP_CLOSE && !conn->open.error)
		conn->open.error = READ(sk, sk_err); /* refused before the call returned */
	if (client && conn->open.error)
		take_given(conn, opening);
	if (state == TCP_SYN_SENT && is_syn_sent(sk))
		start_sending(sk, conn);
	else if (state != TCP_CLOSE && state != TCP_SYN_SENT)
		start(conn, SD_SEND, 0, READ(tp, write_seq));
	if (state != TCP_CLOSE && state != TCP_SYN_SENT)
		start(conn, SD_RECV, 0, READ(tp, copied_seq));
	conn = enter(sk, conn);
	/* A connect that failed leaves no connection; the next one on this socket is another. */
	if (conn && conn->open.error)
		conn->ended = 1;
	return 0;
}

/* Our SYN is about to be sent. What the connection is called and where it begins shows when the handshake ends. */
static __always_inline struct conn *on_connecting(struct sock *sk, const struct sd_head *head)
{
	struct conn *conn = anew(sk, inode_of(sk), head);
	u64 key = (u64)sk;

	if (!conn)
		return NULL;
	conn->open.role = SD_CLIENT;
	conn->connecting = 1;
	if (bpf_map_update_elem(&conns, &key, conn, BPF_NOEXIST))
		count(table_full, 1);
	return conn_of(sk);
}

/* The handshake that on_connecting saw begin has ended, in the state `new`. */
static __always_inline void on_connected(struct sock *sk, struct conn *conn, int new)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	conn->connecting = 0;
	if (conn->announced && new == TCP_CLOSE)
		return; /* bytes that were to go with the SYN have made it known */
	identify(sk, conn);
	if (new == TCP_CLOSE) {
		conn->open.error = READ(sk, sk_err);
	} else {
		start_sending(sk, conn);
		start(conn, SD_RECV, 0, READ(tp, copied_seq));
	}
	announce(conn);
	/* A connect that failed leaves no connection; the next one on this socket is another. */
	conn->ended = conn->refused = conn->open.error != 0;
}

#endif
