/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What differs between kernels and architectures, one accessor each.
 */
#ifndef SD_FIXES_H
#define SD_FIXES_H

#if defined(__TARGET_ARCH_x86)
#define NR_read 0
#define NR_write 1
#define NR_close 3
#define NR_readv 19
#define NR_writev 20
#define NR_connect 42
#define NR_accept 43
#define NR_sendfile 40
#define NR_sendto 44
#define NR_recvfrom 45
#define NR_sendmsg 46
#define NR_recvmsg 47
#define NR_splice 275
#define NR_accept4 288
#define NR_recvmmsg 299
#define NR_sendmmsg 307
#define NR_preadv2 327
#define NR_pwritev2 328
#else
#define NR_close 57
#define NR_read 63
#define NR_write 64
#define NR_readv 65
#define NR_writev 66
#define NR_sendfile 71
#define NR_splice 76
#define NR_accept 202
#define NR_connect 203
#define NR_sendto 206
#define NR_recvfrom 207
#define NR_sendmsg 211
#define NR_recvmsg 212
#define NR_accept4 242
#define NR_recvmmsg 243
#define NR_sendmmsg 269
#define NR_preadv2 286
#define NR_pwritev2 287
#endif

#define NR_io_uring_enter 426

/* Number of the system call. `regs` are a tracepoint's own: the verifier knows what they point to. */
static __always_inline long call_number(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return regs->orig_ax;
#else
	return regs->syscallno;
#endif
}

/*
 * True while the call is being carried out. What the kernel does for the task on its way back to user mode, such as the
 * work of io_uring, sees the result of the call in its place.
 */
static __always_inline bool in_call(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return (s64)regs->ax == -ENOSYS; /* set at the entry: arch/x86/entry/entry_64.S */
#else
	return regs->regs[0] == regs->orig_x0;
#endif
}

/* True in a 32-bit task's call: its numbers mean other calls. */
static __always_inline bool is_compat(struct task_struct *task)
{
#if defined(__TARGET_ARCH_x86)
	const u32 TS_COMPAT = 0x0002; /* arch/x86/include/asm/thread_info.h */

	return READ(task, thread_info.status) & TS_COMPAT;
#else
	return false;
#endif
}

/*
 * The arguments as the program passed them. At the exit of a call they are still in pt_regs, but for the
 * first one on arm64, whose register holds the result by then.
 */
static __always_inline u64 call_argument(struct pt_regs *regs, int index)
{
#if defined(__TARGET_ARCH_x86)
	switch (index) {
	case 0: return regs->di;
	case 1: return regs->si;
	case 2: return regs->dx;
	case 3: return regs->r10;
	case 4: return regs->r8;
	default: return regs->r9;
	}
#else
	switch (index) {
	case 0: return regs->orig_x0;
	case 1: return regs->regs[1];
	default: return regs->regs[index];
	}
#endif
}

/*
 * The registers of the call that the task is in, or of the one that a task of the kernel's own was made in. `task` is
 * what bpf_get_current_task_btf gave. For kernels from 5.15 on.
 */
static __always_inline struct pt_regs *registers_of(struct task_struct *task)
{
	return (struct pt_regs *)bpf_task_pt_regs(task);
}

/* The descriptor that the current task's call is about, where that is the call `number`; else -1, none. */
static __always_inline s32 fd_of_call(long number)
{
	struct pt_regs *regs = registers_of(bpf_get_current_task_btf());

	return call_number(regs) == number ? (s32)call_argument(regs, 0) : -1;
}

/* The task has submitted something to io_uring, or is one of its workers. */
static __always_inline bool uses_io_uring(struct task_struct *task)
{
	return (bpf_core_field_exists(task->io_uring) && READ(task, io_uring)) || READ(task, flags) & PF_IO_WORKER;
}

/* Up to 6.3 the buffers of an iov_iter are called `iov`. */
struct msghdr___until_6_3 {
	struct {
		const void *iov;
	} msg_iter;
} __attribute__((preserve_access_index));

/* Address of the first struct iovec that the message has not filled or emptied yet. */
static __always_inline const void *iovec_of(struct msghdr *message)
{
	struct msghdr___until_6_3 *old = (void *)message;

	if (bpf_core_field_exists(old->msg_iter.iov))
		return READ(old, msg_iter.iov);
	return READ(message, msg_iter.__iov);
}

/* Up to 5.13 the kind of an iov_iter shares its number with two flags (include/linux/uio.h). */
struct msghdr___until_5_13 {
	struct {
		unsigned int type;
	} msg_iter;
} __attribute__((preserve_access_index));

static __always_inline u32 iter_type_of(struct msghdr *message)
{
	struct msghdr___until_5_13 *old = (void *)message;

	if (bpf_core_field_exists(old->msg_iter.type))
		return READ(old, msg_iter.type) & ~3U;
	return READ(message, msg_iter.iter_type);
}

/* The message's bytes are in one piece of user memory. */
static __always_inline bool is_in_one_piece(struct msghdr *message)
{
	return bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	       iter_type_of(message) == bpf_core_enum_value(enum iter_type, ITER_UBUF);
}

/* They are in several. */
static __always_inline bool is_in_pieces(struct msghdr *message)
{
	return iter_type_of(message) == bpf_core_enum_value(enum iter_type, ITER_IOVEC);
}

/*
 * True where it is io_uring that moves bytes in the task now: in its workers, within the call that submits, or on the way
 * back to user mode.
 */
static __always_inline bool is_of_io_uring(struct task_struct *task, struct pt_regs *regs)
{
	return uses_io_uring(task) && (!in_call(regs) || call_number(regs) == NR_io_uring_enter);
}

enum bpf_func_id___since_5_15 {
	BPF_FUNC_task_pt_regs___since_5_15 = 175,
};

/*
 * The registers of the call that the current task is in, also before 5.15, where no helper tells: they are at the upper end
 * of its stack (task_pt_regs, arch/x86/include/asm/processor.h). Functions of arm64 kernels of that age can't be hooked,
 * so no program asks there.
 */
static __always_inline struct pt_regs *registers_of_current(struct task_struct *task)
{
	if (bpf_core_enum_value_exists(enum bpf_func_id___since_5_15, BPF_FUNC_task_pt_regs___since_5_15))
		return registers_of(bpf_get_current_task_btf());
#if defined(__TARGET_ARCH_x86)
	return (struct pt_regs *)((u64)READ(task, stack) + X86_THREAD_SIZE - X86_PT_REGS_SIZE);
#else
	return NULL;
#endif
}

/* The number of the call that the current task is in, also before 5.15. */
static __always_inline long number_of_current(struct task_struct *task)
{
	struct pt_regs *regs = registers_of_current(task);

#if defined(__TARGET_ARCH_x86)
	return READ(regs, orig_ax);
#else
	return READ(regs, syscallno);
#endif
}

/* The same as is_of_io_uring, of the current task. */
static __always_inline bool io_uring_is_at_work(struct task_struct *task)
{
	struct pt_regs *regs;

	if (!uses_io_uring(task))
		return false;
	if (READ(task, flags) & PF_IO_WORKER)
		return true;
	regs = registers_of_current(task);
#if defined(__TARGET_ARCH_x86)
	return (s64)READ(regs, ax) != -ENOSYS || number_of_current(task) == NR_io_uring_enter;
#else
	return READ(regs, regs[0]) != READ(regs, orig_x0) || number_of_current(task) == NR_io_uring_enter;
#endif
}

/* Up to 6.12 the reference count is `f_count`, which holds the number of references. */
struct file___until_6_12 {
	struct {
		s64 counter;
	} f_count;
} __attribute__((preserve_access_index));

/* From 6.13 on it is `f_ref` (include/linux/file_ref.h), which holds the number less one. */
struct file___from_6_13 {
	struct {
		struct {
			s64 counter;
		} refcnt;
	} f_ref;
} __attribute__((preserve_access_index));

/* How many references to the file there are; 0 (or less) while it is being released. */
static __always_inline s64 file_references(struct file *file)
{
	struct file___from_6_13 *new = (void *)file;
	struct file___until_6_12 *old = (void *)file;

	if (bpf_core_field_exists(new->f_ref))
		return READ(new, f_ref.refcnt.counter) + 1;
	return READ(old, f_count.counter);
}

#endif
