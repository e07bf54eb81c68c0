/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Whom a datagram went to or came from, where the call tells: as a struct sockaddr of user space.
 *
 * A socket tells of what it received before the peer's address is copied to user memory. So the address is
 * taken a moment earlier, where the kernel asks control groups about it: only of calls that want to know it.
 */
#ifndef SD_PEER_H
#define SD_PEER_H

struct peer {
	u64 address[14]; /* struct sockaddr_in, sockaddr_in6 or sockaddr_un */
	u32 length;
	u32 padding;
};

/* Of the datagram that each thread is receiving now, by its id. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct peer);
} senders SEC(".maps");

/* In a program of a control group, which can't look into a task. */
static __always_inline int take_peer(const struct peer *peer)
{
	u64 id = bpf_get_current_pid_tgid();

	if (is_target(id >> 32))
		bpf_map_update_elem(&senders, &id, peer, BPF_ANY);
	return 1;
}

SEC("cgroup/recvmsg4")
int on_receive_ipv4(struct bpf_sock_addr *ctx)
{
	struct peer peer = { .length = sizeof(struct user_sockaddr_in) };
	struct user_sockaddr_in *address = (void *)peer.address;

	address->family = AF_INET;
	address->port = ctx->user_port;
	address->address = ctx->user_ip4;
	return take_peer(&peer);
}

SEC("cgroup/recvmsg6")
int on_receive_ipv6(struct bpf_sock_addr *ctx)
{
	struct peer peer = { .length = sizeof(struct user_sockaddr_in6) };
	struct user_sockaddr_in6 *address = (void *)peer.address;

	address->family = AF_INET6;
	address->port = ctx->user_port;
	address->address[0] = ctx->user_ip6[0];
	address->address[1] = ctx->user_ip6[1];
	address->address[2] = ctx->user_ip6[2];
	address->address[3] = ctx->user_ip6[3];
	return take_peer(&peer);
}

/* From the context of such a program to what it is in the kernel (since Linux 6.2). */
extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym __weak;

/* Since Linux 6.7. Of a sender without a name there is none. */
SEC("cgroup/recvmsg_unix")
int on_receive_unix(struct bpf_sock_addr *ctx)
{
	struct bpf_sock_addr_kern *context = bpf_cast_to_kern_ctx(ctx);
	struct peer peer = {};
	u64 length = context->uaddrlen;

	asm volatile("" : "+r"(length));
	if (!length || length > SOCKADDR_MAX || bpf_probe_read_kernel(peer.address, length, context->uaddr))
		return 1;
	peer.length = length;
	return take_peer(&peer);
}

/* What the program of the control group has kept for this call. */
static __always_inline void peer_from_group(struct walk *walk)
{
	u64 id = (u64)walk->data.head.pid << 32 | walk->data.head.tid;
	struct peer *peer = bpf_map_lookup_elem(&senders, &id);

	if (!peer)
		return;
	__builtin_memcpy(walk->peer, peer->address, sizeof(peer->address));
	walk->peer_length = peer->length;
	bpf_map_delete_elem(&senders, &id);
}

/* What the call's arguments name; behind a received datagram the kernel has put it there. */
static __always_inline void peer_from_call(struct walk *walk)
{
	u64 length = walk->name_length;

	if (!walk->name || !length)
		return;
	asm volatile("" : "+r"(length));
	if (length > SOCKADDR_MAX)
		length = SOCKADDR_MAX;
	if (read_description(walk, walk->peer, length, walk->name))
		walk->peer_length = length;
}

/* A socket that was connected to another end since it became known: of datagrams whose call names none. */
static __noinline void peer_from_socket(struct sock *sk, const struct conn *conn, struct walk *walk)
{
	struct sd_open now = {};
	const u64 *now_at = (const u64 *)now.remote;
	const u64 *known_at = (const u64 *)conn->open.remote;

	read_addresses(sk, &now);
	if (!now.remote_port || (now.remote_port == conn->open.remote_port && now_at[0] == known_at[0] &&
				 now_at[1] == known_at[1]))
		return;
	if (now.family == AF_INET) {
		struct user_sockaddr_in *address = (void *)walk->peer;

		address->family = AF_INET;
		address->port = bpf_htons(now.remote_port);
		__builtin_memcpy(&address->address, now.remote, sizeof(address->address));
		walk->peer_length = sizeof(*address);
	} else {
		struct user_sockaddr_in6 *address = (void *)walk->peer;

		address->family = AF_INET6;
		address->port = bpf_htons(now.remote_port);
		address->flow = 0;
		__builtin_memcpy(address->address, now.remote, sizeof(address->address));
		address->scope = 0;
		walk->peer_length = sizeof(*address);
	}
}

static __always_inline void find_peer(struct sock *sk, const struct conn *conn, struct walk *walk)
{
	if (walk->call.direction == SD_RECV && !walk->told)
		peer_from_group(walk);
	if (!walk->peer_length && (walk->call.direction == SD_SEND || walk->told || walk->in_kernel))
		peer_from_call(walk);
	if (!walk->peer_length)
		peer_from_socket(sk, conn, walk);
}

#endif
