/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Copies what one call moved from user memory into the ring, in chunks.
 *
 * A small call is gathered from its buffers in a scratch area, which stays in the processor's cache, and goes to the
 * ring as one chunk of exactly its size. What is larger is copied once, into space reserved in the ring: in sizes
 * known when the program is loaded, so a chunk takes the smallest of the classes below that holds it, and never spans
 * two buffers of an iovec.
 */
#ifndef SD_PAYLOAD_H
#define SD_PAYLOAD_H

/*
 * Chunks and empty buffers one call may take: 1024 buffers (UIO_MAXIOV) and 2 GiB (MAX_RW_COUNT) in chunks of
 * 64 KiB. The verifier of old kernels walks every round of a loop, so the rounds are functions of their own, which
 * it looks into once, and one calls the other.
 */
#define ROUNDS_MAX (1024 + 32768)
#define ROUNDS_AT_ONCE 128

/* A call of at most this many bytes to be captured is small. */
#define SMALL_MAX 4096
/* Buffers that are gathered at once. */
#define SMALL_BUFFERS 8

/* A data call, as its arguments describe it. */
struct call {
	u32 number; /* enum sd_call */
	u32 direction;
	u32 flags; /* MSG_ */
	u32 padding;
	s64 result;
};

struct walk {
	struct call call;
	u64 iov;	     /* address of the next struct user_iovec */
	u64 iov_left;
	u64 base; /* user address of the next byte */
	u64 left; /* bytes in this buffer */
	u64 skip; /* bytes at the buffers' beginning that are not to be sent */
	u64 offset; /* where in the first buffer the call began */
	u64 refused;
	u64 behind;   /* bytes that later messages of the same call have moved already */
	u64 messages; /* user address of the next struct user_mmsghdr */
	u64 messages_left;
	struct user_mmsghdr message;
	u64 sk;
	u64 name; /* address of the struct sockaddr that goes with the message */
	u32 name_length;
	u32 peer_length; /* bytes of `peer`; 0: none, or the connection's */
	u8 told; /* the call has returned: what it received and from whom is in user memory */
	u8 over; /* flag that says what it means when the buffers end before the bytes do */
	u8 in_kernel; /* iov and name are addresses of the kernel's memory, else of the user's */
	u8 scratch;   /* which room it has for a struct conn */
	u8 padding[4];
	struct sd_data data; /* head of the next chunk */
	u8 payload[2 * SMALL_MAX]; /* of a small call; the verifier bounds place and length each on its own */
	struct user_iovec buffers[SMALL_BUFFERS];
	u8 peer[112];
};

/*
 * Not on the stack: a function that the verifier looks into once has no access to its caller's, and what the verifier
 * knows of values there (which call, which direction) would make it follow each call on its own. Probes of calls run
 * with preemption off, so one for each processor is enough; another is for the program that has claimed it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, struct walk);
} walks SEC(".maps");

/* A program on a function runs, and has room. */
static __always_inline bool is_function(void)
{
	return cfg_returns && has_claim();
}

/* The room to build a connection in, of a program that tells what moved. */
static __always_inline u32 scratch_of_data(void)
{
	return is_function() ? SCRATCH_FUNCTION : SCRATCH_CALL;
}

static __always_inline struct walk *this_walk(void)
{
	u32 slot = is_function();

	return bpf_map_lookup_elem(&walks, &slot);
}

static __always_inline struct walk *new_walk(const struct call *call, s64 result)
{
	u32 slot = is_function();
	struct walk *walk = bpf_map_lookup_elem(&walks, &slot);

	if (!walk)
		return NULL;
	walk = CLEARED(walk, offsetof(struct walk, payload));
	walk->call = *call;
	walk->call.result = result;
	walk->scratch = slot ? SCRATCH_FUNCTION : SCRATCH_CALL;
	walk->over = SD_FAULT; /* the call moved more than its buffers hold: they changed under it */
	return walk;
}

/* Copies what describes the call, where it is. False: it can't be read. */
static __always_inline bool read_description(const struct walk *walk, void *to, u32 size, u64 from)
{
	if (walk->in_kernel)
		return !bpf_probe_read_kernel(to, size, (void *)from);
	return !bpf_probe_read_user(to, size, (void *)from);
}

#define SEND_CHUNK(SIZE)                                                                          \
	do {                                                                                      \
		struct {                                                                          \
			struct sd_data data;                                                      \
			u8 payload[SIZE];                                                         \
		} *chunk = bpf_ringbuf_reserve(&events, sizeof(*chunk), 0);                       \
		if (!chunk) {                                                                     \
			walk->refused = 1;                                                        \
			return 1;                                                                 \
		}                                                                                 \
		if (bpf_probe_read_user(chunk->payload, n, (void *)walk->base)) {                 \
			walk->data.head.flags |= SD_FAULT;                                        \
			walk->data.captured = 0;                                                  \
		}                                                                                 \
		chunk->data = walk->data;                                                         \
		bpf_ringbuf_submit(chunk, wakeup(sizeof(*chunk)));                                \
	} while (0)

#define CLASS(SIZE)                                                                               \
	if (n <= (SIZE)) {                                                                        \
		SEND_CHUNK(SIZE);                                                                 \
		goto sent;                                                                        \
	}

/* Sends one chunk. 1: nothing more to send. Not static: see ROUNDS_MAX. */
__noinline int send_chunk(void)
{
	struct walk *walk = this_walk();
	struct user_iovec entry;
	u64 n;

	if (!walk)
		return 1;
	if (!walk->left) {
		if (!walk->iov_left) {
			walk->data.head.flags |= walk->over;
			n = 0;
			goto send;
		}
		if (!read_description(walk, &entry, sizeof(entry), walk->iov)) {
			walk->data.head.flags |= SD_FAULT;
			n = 0;
			goto send;
		}
		walk->iov += sizeof(entry);
		walk->iov_left--;
		walk->base = entry.base;
		walk->left = entry.length;
		if (!walk->left)
			return 0;
	}
	n = walk->skip < walk->left ? walk->skip : walk->left;
	walk->skip -= n;
	walk->base += n;
	walk->left -= n;
	if (!walk->left)
		return 0;
	n = walk->data.wanted - walk->data.at;
	if (n > walk->left)
		n = walk->left;
	if (n > cfg_chunk_max)
		n = cfg_chunk_max;
send:
	walk->data.captured = n;
	/* Compared, never masked: a size of exactly one class must stay what it is. */
	asm volatile("" : "+r"(n));
	CLASS(128);
	CLASS(256);
	CLASS(512);
	CLASS(1024);
	CLASS(2048);
	CLASS(4096);
	CLASS(8192);
	CLASS(16384);
	CLASS(32768);
	CLASS(65536);
	return 1;
sent:
	walk->base += n;
	walk->left -= n;
	walk->data.at += n;
	return walk->data.at >= walk->data.wanted || (walk->data.head.flags & (SD_FAULT | SD_TRUNCATED));
}

__noinline int send_chunks(void)
{
	for (int i = 0; i < ROUNDS_AT_ONCE; i++)
		if (send_chunk())
			return 1;
	return 0;
}

/*
 * Says that the rest of the call was not visited. No call takes that many rounds in chunks of 64 KiB; a small ring has
 * smaller ones, and is full before.
 */
static __noinline void end_at_limit(struct walk *walk)
{
	struct sd_data *data = bpf_ringbuf_reserve(&events, sizeof(*data), 0);

	if (!data) {
		walk->refused = 1;
		return;
	}
	walk->data.head.flags |= SD_LIMIT;
	walk->data.captured = 0;
	*data = walk->data;
	bpf_ringbuf_submit(data, wakeup(sizeof(*data)));
}

/* Reads where the next buffers are. How many; 0: they can't be read. */
static __always_inline u32 take_buffers(struct walk *walk)
{
	u64 count = walk->iov_left < SMALL_BUFFERS ? walk->iov_left : SMALL_BUFFERS;

	asm volatile("" : "+r"(count));
	if (count > SMALL_BUFFERS ||
	    !read_description(walk, walk->buffers, count * sizeof(walk->buffers[0]), walk->iov))
		return 0;
	walk->iov += count * sizeof(walk->buffers[0]);
	walk->iov_left -= count;
	return count;
}

/* Copies `n` bytes behind the `at` that were gathered before. False: they can't be read. */
static __always_inline bool gather(struct walk *walk, u64 at, u64 n)
{
	asm volatile("" : "+r"(at));
	asm volatile("" : "+r"(n));
	if (at >= SMALL_MAX || n > SMALL_MAX)
		return false;
	return bpf_probe_read_user(walk->payload + at, n, (void *)walk->base) == 0;
}

/* Sends the first chunk of a small call, mostly its only one. 1: nothing more to send. Not static: see ROUNDS_MAX. */
__noinline int send_small(void)
{
	struct walk *walk = this_walk();
	u32 buffers = 0;
	u64 size, n, at = 0;

	if (!walk)
		return 1;
	if (walk->iov_left)
		buffers = take_buffers(walk);
	for (u32 i = 0; i <= SMALL_BUFFERS && at < walk->data.wanted; i++) {
		if (!walk->left) {
			if (i >= buffers || i >= SMALL_BUFFERS)
				break;
			walk->base = walk->buffers[i].base;
			walk->left = walk->buffers[i].length;
		}
		n = walk->data.wanted - at;
		if (n > walk->left)
			n = walk->left;
		if (!gather(walk, at, n)) {
			walk->data.head.flags |= SD_FAULT;
			break;
		}
		at += n;
		walk->base += n;
		walk->left -= n;
	}
	if (!at && !(walk->data.head.flags & SD_FAULT))
		return 0; /* left to send_chunk, which tells why */
	walk->data.captured = at;
	size = sizeof(walk->data) + at;
	asm volatile("" : "+r"(size));
	if (size > sizeof(walk->data) + SMALL_MAX)
		return 1;
	if (bpf_ringbuf_output(&events, &walk->data, size, wakeup(size))) {
		walk->refused = 1;
		return 1;
	}
	walk->data.at = at;
	return at >= walk->data.wanted || (walk->data.head.flags & SD_FAULT);
}

/* Sends all chunks of a call. Most calls need one. */
static __always_inline void send_payload(struct walk *walk)
{
	bool small = walk->data.wanted <= SMALL_MAX && !walk->skip;

	if (small ? send_small() : send_chunk())
		return;
	for (int i = 0; i < ROUNDS_MAX / ROUNDS_AT_ONCE; i++)
		if (send_chunks())
			return;
	end_at_limit(walk);
}

/* An event without payload: a failed call, or the end of the stream. */
static __always_inline void send_bare(struct walk *walk)
{
	struct sd_data *data = bpf_ringbuf_reserve(&events, sizeof(*data), 0);

	if (!data) {
		walk->refused = 1;
		return;
	}
	walk->data.captured = 0;
	*data = walk->data;
	bpf_ringbuf_submit(data, wakeup(sizeof(*data)));
}

/* The kernel took no record of the call: note its bytes, so that the next record says so. */
static __always_inline void refuse(struct conn *conn, const struct walk *walk)
{
	u64 from = walk->data.offset + walk->data.at;
	u64 to = walk->data.offset + walk->data.length;

	count(refused_calls, 1);
	count(refused_bytes, to - from);
	if (!(walk->data.head.flags & SD_PEEK))
		note(conn, walk->data.head.direction, from, to, SD_RING_FULL);
}

/* Sends the datagram's peer ahead of its data. Where the ring refuses it, the peer is absent there. */
static __noinline void send_peer(struct walk *walk)
{
	struct sd_peer *peer = bpf_ringbuf_reserve(&events, sizeof(*peer), 0);

	if (!peer)
		return;
	peer->head = walk->data.head;
	peer->head.kind = SD_PEER;
	peer->length = walk->peer_length;
	peer->padding = 0;
	__builtin_memcpy(peer->address, walk->peer, sizeof(peer->address));
	bpf_ringbuf_submit(peer, wakeup(sizeof(*peer)));
	walk->data.head.flags |= SD_WITH_PEER;
}

/* On which connection the call was made, and how it ended. */
static __always_inline void describe(const struct conn *conn, struct walk *walk)
{
	struct sd_data *data = &walk->data;

	data->head.inode = conn->inode;
	data->head.opened = conn->opened;
	data->head.flags = walk->call.flags & MSG_PEEK ? SD_PEEK : 0;
	data->error = walk->call.result < 0 ? -walk->call.result : 0;
}

/* Sends what a call moved, `moved` bytes of it for good, after what has to be told before. */
static __always_inline void tell(struct conn *conn, struct walk *walk, u64 moved)
{
	struct sd_data *data = &walk->data;
	u32 direction = walk->call.direction & 1;

	data->wanted = data->length < cfg_snaplen ? data->length : cfg_snaplen;
	if (data->cause)
		data->wanted = 0;
	if (conn->filtered || call_filtered(walk->call.number, direction)) {
		note(conn, direction, data->offset, data->offset + moved, SD_FILTERED);
		if (conn->account[direction].pending >= PENDING_MAX / 2 && announce(conn))
			report(conn, direction, &data->head);
		return;
	}
	if (!is_told(conn, direction) && !(announce(conn) && report(conn, direction, &data->head))) {
		refuse(conn, walk);
		return;
	}
	if (walk->peer_length)
		send_peer(walk);
	walk->skip += walk->offset;
	if (data->wanted)
		send_payload(walk);
	else
		send_bare(walk);
	if (walk->refused)
		refuse(conn, walk);
}

#endif
