/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Sockets without sequence numbers: what moved on them is what their calls say, added up: UDP and Unix sockets.
 *
 * No state tells of their beginnings and ends. They become known when they are listed or first used; they have
 * ended when the listing no longer finds them, or when their memory is another socket's, which its inode tells.
 * Where two threads send (or receive) on one of them at the same instant, both may see one offset: user space
 * numbers the bytes again, in the order of the ring.
 */
#ifndef SD_COUNTED_H
#define SD_COUNTED_H

/* Sockets of other kinds, and what the targets did with them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, struct sd_unsupported);
	__type(value, struct sd_traffic);
} unsupported SEC(".maps");

/* How many counted sockets are known: user space lists the open descriptors as long as there are some. */
s32 counted_known;

/* Number of the last listing of descriptors that user space began. */
u32 listing;

/* A counted socket's key in the table of connections: the memory may have been a TCP socket's, or become one. */
static __always_inline struct sock *key_of_counted(struct sock *sk)
{
	return (struct sock *)((u64)sk + 1); /* an address is even; the verifier allows no bitwise operation */
}

/* Any socket's key. */
static __always_inline struct sock *key_of(struct sock *sk)
{
	return is_tcp(sk) ? sk : key_of_counted(sk);
}

static __always_inline bool is_key_of_counted(u64 key)
{
	return key >> 63 && key & 1;
}

static __always_inline u32 transport_of(struct sock *sk)
{
	u16 family = READ(sk, __sk_common.skc_family);

	if (family == AF_UNIX) {
		switch (READ(sk, sk_type)) {
		case SOCK_STREAM: return SD_UNIX_STREAM;
		case SOCK_DGRAM: return SD_UNIX_DGRAM;
		default: return SD_UNIX_SEQPACKET;
		}
	}
	if ((family == AF_INET || family == AF_INET6) && READ(sk, sk_type) == SOCK_DGRAM &&
	    READ(sk, sk_protocol) == IPPROTO_UDP)
		return SD_UDP;
	return is_tcp(sk) ? SD_TCP : SD_UNSUPPORTED;
}

static __always_inline bool is_unix(u32 transport)
{
	return transport >= SD_UNIX_STREAM && transport <= SD_UNIX_SEQPACKET;
}

#define LOOKS_MAX 200 /* some microseconds */

/* The socket has been given an address or another end, or has been used. */
static __always_inline bool is_bound(struct sock *sk, u32 transport)
{
	if (!is_unix(transport))
		return READ(sk, __sk_common.skc_num) != 0;
	return unix_peer(sk) || (transport == SD_UNIX_DGRAM && unix_name(sk));
}

static __always_inline bool tell_counted_end(struct sock *key, struct conn *conn, u32 reason, const struct sd_head *head)
{
	for (u32 direction = SD_SEND; direction <= SD_RECV; direction++) {
		struct sd_total *total = &conn->total[direction];

		total->moved = conn->account[direction].moved;
		total->end = conn->account[direction].next;
		total->known = 1;
	}
	if (!send_end(conn, reason, head)) {
		if (reason != SD_CLOSED)
			return false;
		count(refused_ends, 1);
		if (!keep(conn))
			count(lost_ends, 1);
	}
	if (reason == SD_CLOSED) {
		bpf_map_delete_elem(&conns, &key);
		__sync_fetch_and_add(&counted_known, -1);
	}
	return true;
}

/* Reports a close, after which the table no longer holds the connection, unless it goes on. */
static __noinline bool finish_counted(struct sock *key, struct conn *conn, u32 reason, const struct sd_head *head)
{
	u64 claim = number_of(conn);
	bool told = true;

	if (!claim_end(claim))
		return leaves_it(head);
	if (entry_of((u64)key) == conn && !conn->ended)
		told = tell_counted_end(key, conn, reason, head);
	give_up_end(claim);
	return told;
}

/* Which end it is: by the call that opened it, by its addresses, else by who spoke first. */
static __always_inline u32 role_of_counted(struct sock *sk, const struct sd_head *head, u32 transport)
{
	if (head->call == SD_CONNECT)
		return SD_CLIENT;
	if (head->call == SD_ACCEPT || head->call == SD_ACCEPT4)
		return SD_SERVER;
	if (is_unix(transport) && transport != SD_UNIX_DGRAM)
		return unix_role(sk);
	if (READ(sk, __sk_common.skc_dport) || (is_unix(transport) && unix_peer(sk)))
		return SD_CLIENT;
	if (head->call == SD_LISTING)
		return SD_UNKNOWN;
	return head->direction == SD_SEND ? SD_CLIENT : SD_SERVER;
}

/* One that becomes known. By the first listing: it may have moved bytes before, and nothing tells how many. */
static __noinline struct conn *new_counted(struct sock *sk, u64 inode, const struct sd_head *head, u32 transport,
					   u32 slot)
{
	bool listed = head->call == SD_LISTING;
	struct conn *conn;

	if (ending)
		return NULL;
	conn = blank(slot, sk, inode, head);
	if (!conn)
		return NULL;
	if (listed && listing == 1)
		conn->open.head.flags |= SD_FOUND | SD_INEXACT;
	conn->open.role = role_of_counted(sk, head, transport);
	conn->open.transport = transport;
	conn->account[SD_SEND].known = 1;
	conn->account[SD_RECV].known = 1;
	conn->listed = listing;
	if (is_unix(transport))
		send_unix_names(sk, conn, NULL);
	conn = enter(key_of_counted(sk), conn);
	if (conn && conn->inode != inode) {
		count(table_full, 1);
		return NULL;
	}
	if (conn)
		__sync_fetch_and_add(&counted_known, 1);
	return conn;
}

/* A listing on another processor may be telling of the end of what had this key, whose place is free when it has. */
static __always_inline void await_end(struct sock *key, u64 inode)
{
	struct conn *conn;

	for (u32 i = 0; i < LOOKS_MAX; i++) {
		conn = entry_of((u64)key);
		if (!conn || conn->inode == inode)
			return;
	}
}

/* What is known of the socket. */
static __noinline struct conn *counted_of(struct sock *sk, u64 inode)
{
	struct sock *key = key_of_counted(sk);
	struct conn *conn = entry_of((u64)key);
	struct sd_head head = {};

	if (!conn)
		return NULL;
	if (conn->inode == inode) {
		conn->listed = listing;
		return conn;
	}
	head_of_nobody(&head);
	finish_counted(key, conn, SD_CLOSED, &head);
	await_end(key, inode);
	return NULL;
}

/* What the listing found. */
static __always_inline void list_counted(struct sock *sk, u64 inode, const struct sd_head *head, u32 transport)
{
	if (!counted_of(sk, inode) && is_bound(sk, transport))
		new_counted(sk, inode, head, transport, SCRATCH_LISTING);
}

/* The element of the table at the end of a listing, or at the end of the trace. False: the ring refused it. */
static __always_inline bool review_counted(struct sock *key, struct conn *conn)
{
	struct sd_head head = {};

	head_of_nobody(&head);
	head.call = SD_LISTING;
	if (conn->listed != listing)
		return finish_counted(key, conn, SD_CLOSED, &head);
	return !ending || (is_settled(conn, false) && finish_counted(key, conn, SD_STILL_OPEN, &head));
}

static __always_inline void count_unsupported(struct sock *sk, s64 result)
{
	struct sd_unsupported kind = {};
	struct sd_traffic none = {};
	struct sd_traffic *traffic;

	kind.family = READ(sk, __sk_common.skc_family);
	kind.type = READ(sk, sk_type);
	kind.protocol = READ(sk, sk_protocol);
	bpf_map_update_elem(&unsupported, &kind, &none, BPF_NOEXIST);
	traffic = bpf_map_lookup_elem(&unsupported, &kind);
	if (!traffic)
		return;
	__sync_fetch_and_add(&traffic->calls, 1);
	__sync_fetch_and_add(&traffic->bytes, result);
}

/* Brings the account up to date with `moved` bytes. Gives the offset of the first. */
static __always_inline u64 add_to_account(struct account *account, u64 moved)
{
	u64 offset = account->next;

	__sync_fetch_and_add(&account->next, moved);
	return offset;
}

/* Nothing came: neither the end of the stream nor a datagram without bytes. */
static __always_inline bool is_nothing(struct sock *sk, const struct walk *walk, u32 transport)
{
	bool receives = walk->call.direction == SD_RECV;
	bool at_end = receives && (READ(sk, sk_shutdown) & RCV_SHUTDOWN);

	if (walk->call.result)
		return is_retry(walk->call.result);
	if (transport == SD_UNIX_STREAM)
		return !at_end;
	return at_end || (receives && walk->call.number == SD_READ && !walk->left);
}

/* Accounts for a call on a counted socket, whose arguments are in `walk`, and sends what it moved. */
static __always_inline int account_for_counted(struct sock *sk, struct walk *walk, u32 transport)
{
	struct sd_data *data = &walk->data;
	u32 direction = walk->call.direction & 1;
	u64 bytes = walk->call.result > 0 ? walk->call.result : 0;
	bool peek = walk->call.flags & MSG_PEEK;
	u64 inode = inode_of(sk);
	struct conn *conn = counted_of(sk, inode);
	u64 moved = peek ? 0 : bytes;

	if (!conn && (walk->call.result >= 0 || is_bound(sk, transport)))
		conn = new_counted(sk, inode, &data->head, transport, walk->scratch);
	if (!conn || conn->ended || !begin_telling(conn))
		return 0;
	__sync_fetch_and_add(&conn->account[direction].moved, moved);
	describe(conn, walk);
	data->length = bytes;
	data->offset = add_to_account(&conn->account[direction], moved);
	if (transport != SD_UNIX_STREAM)
		walk->over = SD_TRUNCATED;
	if (walk->call.result >= 0 && transport != SD_UNIX_STREAM)
		find_peer(sk, conn, walk);
	tell(conn, walk, moved);
	end_telling(conn);
	return 0;
}

#endif
