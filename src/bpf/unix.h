/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What Unix sockets are called.
 */
#ifndef SD_UNIX_H
#define SD_UNIX_H

static __always_inline struct unix_address *unix_name(struct sock *sk)
{
	return READ((struct unix_sock *)sk, addr);
}

/* The socket at the other end, where there is one. */
static __always_inline struct sock *unix_peer(struct sock *sk)
{
	return READ((struct unix_sock *)sk, peer);
}

/* Copies a name, as a struct sockaddr_un. Gives its length: of a socket without a name only the family. */
static __always_inline u32 copy_unix_name(struct sock *sk, u8 *to)
{
	struct unix_address *name = unix_name(sk);
	u64 length = name ? READ(name, len) : 0;

	*(u16 *)to = AF_UNIX;
	asm volatile("" : "+r"(length));
	if (length <= sizeof(u16) || length > SOCKADDR_MAX ||
	    bpf_probe_read_kernel(to, length, __builtin_preserve_access_index(&name->name)))
		return sizeof(u16);
	return length;
}

/*
 * Tells the names of a connection ahead of its open event. Where the ring refuses them, they are absent there.
 * `opening`: a connect that failed; the socket has no peer then.
 */
static __always_inline void send_unix_names(struct sock *sk, const struct conn *conn, const struct opening *opening)
{
	struct sd_names *names = bpf_ringbuf_reserve(&events, sizeof(*names), 0);
	struct sock *peer = unix_peer(sk);

	if (!names)
		return;
	names->head = conn->open.head;
	names->head.kind = SD_NAMES;
	names->local_length = copy_unix_name(sk, names->local);
	if (opening)
		names->remote_length = copy_given(opening, names->remote, SOCKADDR_MAX);
	else
		names->remote_length = peer ? copy_unix_name(peer, names->remote) : 0;
	bpf_ringbuf_submit(names, wakeup(sizeof(*names)));
}

/* An accepted socket has the name of its listener, and mostly whoever connected has none. */
static __always_inline u32 unix_role(struct sock *sk)
{
	struct sock *peer = unix_peer(sk);
	bool named = unix_name(sk);
	bool to_named = peer && unix_name(peer);

	if (!peer || named == to_named)
		return SD_UNKNOWN;
	return named ? SD_SERVER : SD_CLIENT;
}

#endif
