/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Settings, the ring buffer, and the head that every record begins with.
 */
#ifndef SD_RING_H
#define SD_RING_H

/* The ring's size is set before loading. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} events SEC(".maps");

const volatile bool cfg_traffic = false; /* sockets tell of their traffic, no call is hooked */
const volatile bool cfg_returns = false; /* functions of protocols tell what moved, at their return */
const volatile u64 cfg_snaplen = ~0ULL;
const volatile u64 cfg_chunk_max = 65536; /* a quarter of the ring at most, or large chunks never fit */
const volatile u64 cfg_wakeup = 65536;	  /* bytes waiting in the ring before the reader is woken */
const volatile u64 cfg_look = 4096;	  /* bytes after which a processor looks how many are waiting */

/* Set by user space: the trace is ending. No connection is added any more; those known are reported, and are over. */
u32 ending;

/* Set by user space while the trace is ending: a call may be about to tell of what has moved already. */
u32 waiting;

/*
 * Sets the first `size` bytes of an object to zero. What is stored there afterwards goes through the result: clang 14 has
 * been seen to move such stores in front of the zeros.
 */
#define CLEARED(object, size)                                \
	({                                                   \
		typeof(object) object_ = (object);           \
		__builtin_memset(object_, 0, size);          \
		asm volatile("" : "+r"(object_) : : "memory"); \
		object_;                                     \
	})

/* Bytes that each processor has put into the ring since it last looked how many are waiting. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} unseen SEC(".maps");

/*
 * The reader looks by itself once in a while. It is woken before that only when much is waiting, and each
 * processor looks at how much only after so many bytes of its own.
 */
static __always_inline u64 wakeup(u64 size)
{
	u32 zero = 0;
	u64 *bytes = bpf_map_lookup_elem(&unseen, &zero);

	if (!bytes)
		return BPF_RB_FORCE_WAKEUP;
	*bytes += size;
	if (*bytes < cfg_look)
		return BPF_RB_NO_WAKEUP;
	*bytes = 0;
	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) >= cfg_wakeup ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* The helper pads and measures; where its caller may look into a task, two loads do. */
static __always_inline void comm_of_current(struct task_struct *task, u8 *comm)
{
	if (bpf_ksym_exists(bpf_rdonly_cast)) {
		task = bpf_rdonly_cast(task, bpf_core_type_id_kernel(struct task_struct));
		((u64 *)comm)[0] = ((u64 *)task->comm)[0];
		((u64 *)comm)[1] = ((u64 *)task->comm)[1];
	} else {
		bpf_get_current_comm(comm, COMM_LENGTH);
	}
}

/* The current task made it happen, now. */
static __always_inline void head_of_current(struct sd_head *head, struct task_struct *task, u8 call, s32 fd)
{
	u64 id = ids_of_current(task);

	head->time = bpf_ktime_get_ns();
	head->pid = id >> 32;
	head->tid = id;
	head->fd = fd;
	head->call = call;
	comm_of_current(task, head->comm);
}

/* The kernel did it by itself. */
static __always_inline void head_of_nobody(struct sd_head *head)
{
	head->call = SD_KERNEL;
	head->fd = -1;
	head->time = bpf_ktime_get_ns();
}

#endif
