/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the user leaves out: connections by descriptor, port, peer and family, and calls by name and direction. What
 * is left out moves all the same; conn.h accounts for it.
 */
#ifndef SD_FILTER_H
#define SD_FILTER_H

#define BOTH (1 << SD_SEND | 1 << SD_RECV)

/* The descriptors of --fd. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, s32);
	__type(value, u8);
} fds SEC(".maps");

enum { FDS_ALL = 0, FDS_LISTED = 1, FDS_NOT_LISTED = 2 };

const volatile u32 cfg_fds = FDS_ALL;

/* One set of ports for each of the options --port, --local-port, --remote-port. */
enum { EITHER_PORT = 0, LOCAL_PORT = 1, REMOTE_PORT = 2 };

struct ports {
	u64 bits[65536 / 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, u32);
	__type(value, struct ports);
} ports SEC(".maps");

const volatile u32 cfg_ports = 0; /* a bit for each set that was given */

/* IPv4 as IPv6 has it, in ::ffff:0:0/96. */
struct network {
	u32 prefix; /* bits */
	u32 address[4]; /* network order */
};

/* The networks of --peer. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network);
	__type(value, u8);
} peers SEC(".maps");

const volatile bool cfg_peers = false;
const volatile u32 cfg_family = 0;	  /* AF_INET, AF_INET6 or AF_UNIX; 0: all */
const volatile u64 cfg_calls = ~0ULL;	  /* a bit for each enum sd_call */
const volatile u32 cfg_directions = BOTH; /* a bit for each enum sd_direction */

/* True where --fd leaves this descriptor out. */
static __always_inline bool fd_filtered(s32 fd)
{
	if (cfg_fds == FDS_ALL)
		return false;
	return (bpf_map_lookup_elem(&fds, &fd) != NULL) == (cfg_fds == FDS_NOT_LISTED);
}

static __always_inline bool has_port(u32 set, u16 port)
{
	struct ports *listed = bpf_map_lookup_elem(&ports, &set);

	return listed && listed->bits[(port >> 6) & 1023] & (1ULL << (port & 63));
}

static __always_inline bool ports_filtered(u16 local, u16 remote)
{
	if (cfg_ports & (1 << EITHER_PORT) && !has_port(EITHER_PORT, local) && !has_port(EITHER_PORT, remote))
		return true;
	if (cfg_ports & (1 << LOCAL_PORT) && !has_port(LOCAL_PORT, local))
		return true;
	return cfg_ports & (1 << REMOTE_PORT) && !has_port(REMOTE_PORT, remote);
}

/* An IPv4 address in an IPv6 socket counts as IPv4. A Unix socket has no address that could be in a network. */
static __always_inline bool peer_filtered(const struct sd_open *open)
{
	const u32 *address = (const u32 *)open->remote;
	struct network peer = { .prefix = 128 };
	u32 family = open->family;

	if (!cfg_family && !cfg_peers)
		return false;
	if (family == AF_UNIX)
		return cfg_peers || cfg_family != AF_UNIX;
	if (family == AF_INET) {
		peer.address[2] = bpf_htonl(0xffff);
		peer.address[3] = address[0];
	} else {
		__builtin_memcpy(peer.address, address, sizeof(peer.address));
		if (!address[0] && !address[1] && address[2] == bpf_htonl(0xffff))
			family = AF_INET;
	}
	if (cfg_family && family != cfg_family)
		return true;
	return cfg_peers && !bpf_map_lookup_elem(&peers, &peer);
}

/* True where a filter leaves this connection out. */
static __always_inline bool is_left_out(const struct sd_open *open)
{
	return fd_filtered(open->head.fd) || ports_filtered(open->local_port, open->remote_port) ||
	       peer_filtered(open);
}

/* True where a filter leaves such calls out. Without a filter nothing of it is left once the program is loaded. */
static __always_inline bool call_filtered(u32 call, u32 direction)
{
	return (cfg_calls != ~0ULL && !(cfg_calls >> (call & 63) & 1)) ||
	       (cfg_directions != BOTH && !(cfg_directions >> (direction & 1) & 1));
}

#endif
