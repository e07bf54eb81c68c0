/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Which system call moves bytes, and where its arguments say that they are.
 */
#ifndef SD_CALLS_H
#define SD_CALLS_H

/* Messages that one call may have (UIO_MAXIOV), and buffers that one message may have. */
#define MESSAGES_MAX 1024
#define BUFFERS_MAX 1024

static __always_inline u32 message_flags(u64 flags)
{
	return flags & (MSG_OOB | MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE);
}

/* What was received is no part of the stream: copies of sent packets, errors, urgent bytes. */
static __always_inline bool is_aside(u32 direction, u32 flags)
{
	return direction == SD_RECV && (flags & (MSG_ERRQUEUE | MSG_OOB));
}

static __always_inline void set_call(struct call *call, u8 number, u8 direction)
{
	call->number = number;
	call->direction = direction;
}

/* Which of the calls it is, if any. */
static __always_inline bool classify(struct call *call, long number)
{
	switch (number) {
	case NR_read: set_call(call, SD_READ, SD_RECV); return true;
	case NR_write: set_call(call, SD_WRITE, SD_SEND); return true;
	case NR_readv: set_call(call, SD_READV, SD_RECV); return true;
	case NR_writev: set_call(call, SD_WRITEV, SD_SEND); return true;
	case NR_preadv2: set_call(call, SD_PREADV2, SD_RECV); return true;
	case NR_pwritev2: set_call(call, SD_PWRITEV2, SD_SEND); return true;
	case NR_sendto: set_call(call, SD_SENDTO, SD_SEND); return true;
	case NR_recvfrom: set_call(call, SD_RECVFROM, SD_RECV); return true;
	case NR_sendmsg: set_call(call, SD_SENDMSG, SD_SEND); return true;
	case NR_recvmsg: set_call(call, SD_RECVMSG, SD_RECV); return true;
	case NR_sendmmsg: set_call(call, SD_SENDMMSG, SD_SEND); return true;
	case NR_recvmmsg: set_call(call, SD_RECVMMSG, SD_RECV); return true;
	case NR_connect: set_call(call, SD_CONNECT, SD_SEND); return true;
	case NR_accept: set_call(call, SD_ACCEPT, SD_SEND); return true;
	case NR_accept4: set_call(call, SD_ACCEPT4, SD_SEND); return true;
	case NR_sendfile: set_call(call, SD_SENDFILE, SD_SEND); return true;
	case NR_splice: set_call(call, SD_SPLICE, SD_SEND); return true;
	default: return false;
	}
}

static __always_inline bool opens(const struct call *call)
{
	return call->number >= SD_CONNECT && call->number <= SD_ACCEPT4;
}

/* It moves bytes between descriptors, none of them through the memory of the process; each may be the socket. */
static __always_inline bool transfers(const struct call *call)
{
	return call->number == SD_SENDFILE || call->number == SD_SPLICE;
}

static __always_inline bool has_messages(const struct call *call)
{
	return call->number == SD_SENDMMSG || call->number == SD_RECVMMSG;
}

/* Reads where a message's buffers are. */
static __always_inline void take_message(struct walk *walk, u64 address)
{
	struct user_msghdr message = {};

	bpf_probe_read_user(&message, sizeof(message), (void *)address);
	walk->iov = message.iov;
	walk->iov_left = message.iov_count;
	walk->name = message.name;
	walk->name_length = message.name_length;
}

/* Reads how long an address is that the kernel has put into user memory. */
static __always_inline u32 length_at(u64 address)
{
	u32 length = 0;

	bpf_probe_read_user(&length, sizeof(length), (void *)address);
	return length;
}

/* Reads from the arguments where the call's buffers are, and its flags. `index`: of a call's messages, which one. */
static __always_inline void take_arguments(struct walk *walk, struct pt_regs *regs, u32 index)
{
	u64 at = call_argument(regs, 1);

	switch (walk->call.number) {
	case SD_READ:
	case SD_WRITE:
		walk->base = at;
		walk->left = call_argument(regs, 2);
		break;
	case SD_SENDTO:
	case SD_RECVFROM:
		walk->base = at;
		walk->left = call_argument(regs, 2);
		walk->call.flags = message_flags(call_argument(regs, 3));
		walk->name = call_argument(regs, 4);
		if (walk->name)
			walk->name_length = walk->call.number == SD_SENDTO ? call_argument(regs, 5) :
									     length_at(call_argument(regs, 5));
		break;
	case SD_READV:
	case SD_WRITEV:
	case SD_PREADV2:
	case SD_PWRITEV2:
		walk->iov = at;
		walk->iov_left = call_argument(regs, 2);
		break;
	case SD_SENDMMSG:
	case SD_RECVMMSG:
		take_message(walk, at + index * sizeof(struct user_mmsghdr));
		walk->call.flags = message_flags(call_argument(regs, 3));
		break;
	default:
		take_message(walk, at);
		walk->call.flags = message_flags(call_argument(regs, 2));
	}
}

/*
 * sendmmsg or recvmmsg, message by message: which one comes next is not in its arguments. Each thread has one such
 * call at a time.
 */
struct batch {
	u64 sk;
	u64 messages; /* user address */
	u32 count;
	u32 next; /* 0: the call is over */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u32); /* thread */
	__type(value, struct batch);
} batches SEC(".maps");

/* Whether the walk's buffers hold more than its call has moved. Not static: see ROUNDS_MAX. */
__noinline int has_room(void)
{
	struct walk *walk = this_walk();
	struct user_iovec entry;
	u64 bytes, moved;

	if (!walk)
		return 0;
	bytes = walk->left;
	moved = walk->call.result;
	for (u32 i = 0; i < BUFFERS_MAX && bytes <= moved; i++) {
		if (i >= walk->iov_left ||
		    bpf_probe_read_user(&entry, sizeof(entry), (void *)(walk->iov + i * sizeof(entry))))
			break;
		bytes += entry.length;
	}
	return bytes > moved;
}

/*
 * The index of the message that the call under way has just moved. Another call begins at 0 again; the kernel ends
 * one (net/socket.c) behind its last message, at an error, where a message was sent in part, and at urgent bytes.
 */
static __always_inline u32 begin_message(struct sock *sk, struct pt_regs *regs, u32 thread)
{
	struct batch *batch = bpf_map_lookup_elem(&batches, &thread);

	if (!batch || batch->sk != (u64)sk || batch->messages != call_argument(regs, 1) ||
	    batch->count != (u32)call_argument(regs, 2) || batch->next >= batch->count)
		return 0;
	return batch->next;
}

static __always_inline void end_message(struct sock *sk, struct pt_regs *regs, u32 thread, u32 index, bool last)
{
	struct batch batch = {
		.sk = (u64)sk,
		.messages = call_argument(regs, 1),
		.count = call_argument(regs, 2),
		.next = last ? 0 : index + 1,
	};

	bpf_map_update_elem(&batches, &thread, &batch, BPF_ANY);
}

/* A time limit ends recvmmsg between any two messages, and nothing tells that it did. */
static __always_inline bool is_limited(const struct call *call, struct pt_regs *regs)
{
	return call->number == SD_RECVMMSG && call_argument(regs, 4);
}

#endif
