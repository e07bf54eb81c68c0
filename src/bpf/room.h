/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Who may use what on a processor: programs need room that does not fit on their stack, and may interrupt one another.
 */
#ifndef SD_ROOM_H
#define SD_ROOM_H

/* Whose room it is, for each of those that may interrupt one another. */
enum {
	SCRATCH_CALL,
	SCRATCH_LISTING,
	SCRATCH_CHANGE, /* of TCP's state */
	SCRATCH_NESTED_CHANGE,
	SCRATCH_FUNCTION, /* for a program that has claimed it */
	SCRATCHES
};

const volatile bool cfg_preemptible = false; /* set by user space: see UNDISTURBED */

extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

/*
 * What a program on a tracepoint does while no other task's may come between. Up to Linux 6.19 the kernel itself sees to
 * it; from 7.0 on programs on tracepoints may be preempted as those on functions are, and where sockets are used while a
 * listing looks at them, iterators must not be either. They all still are just before they are over, and the kernel leaves
 * out the runs of a program of which one is not over on the processor. What must see every run comes by way of perf there,
 * or has a second program that stands in.
 */
#define UNDISTURBED(work)                                                             \
	({                                                                            \
		bool held_ = cfg_preemptible && bpf_ksym_exists(bpf_preempt_disable); \
		int code_;                                                            \
		if (held_)                                                            \
			bpf_preempt_disable();                                        \
		code_ = (work);                                                       \
		if (held_)                                                            \
			bpf_preempt_enable();                                         \
		code_;                                                                \
	})

/*
 * Programs on functions of the kernel, unlike the work of those on tracepoints, run with preemption on: another task's
 * program may come between, on the same processor. So they share nothing with those on tracepoints, and of them one at a
 * time has room on each processor: the thread named here; 0: none.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} claims SEC(".maps");

static __always_inline u32 *claim_here(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&claims, &zero);
}

/* The current task's program on a function has the room of this processor. */
static __always_inline bool has_claim(void)
{
	u32 *claim = claim_here();

	return claim && *claim == (u32)bpf_get_current_pid_tgid();
}

/* False: another task's program has it. To be given back with give_back. */
static __always_inline bool claim_room(void)
{
	u32 *claim = claim_here();

	if (!claim || *(volatile u32 *)claim)
		return false;
	*(volatile u32 *)claim = bpf_get_current_pid_tgid();
	return true;
}

static __always_inline void give_back(void)
{
	u32 *claim = claim_here();

	if (claim)
		*(volatile u32 *)claim = 0;
}

#endif
