/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * How the probes read kernel memory: one macro, the fastest way that the running kernel has.
 */
#ifndef SD_READ_H
#define SD_READ_H

/* Tells the verifier what a pointer points to (since Linux 6.2). Loads through it are checked by the processor. */
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/*
 * One field of a kernel object, 0 where the object can't be read. A plain load where the verifier can be told the
 * object's type; before that a call of bpf_probe_read_kernel for each field, which costs several times as much.
 * Loads stay in the order in which they are written: the compiler can't see into bpf_rdonly_cast.
 */
#define READ(object, field)                                                                       \
	({                                                                                        \
		typeof((object)->field) value_;                                                   \
		if (bpf_ksym_exists(bpf_rdonly_cast)) {                                           \
			typeof(object) typed_ = bpf_rdonly_cast(                                  \
				(object), bpf_core_type_id_kernel(typeof(*(object))));            \
			value_ = typed_->field;                                                   \
		} else {                                                                          \
			value_ = BPF_CORE_READ(object, field);                                    \
		}                                                                                 \
		value_;                                                                           \
	})

/* The pointer that an element of an array of pointers holds. */
static __always_inline void *read_pointer(void *element)
{
	return READ((struct list_head *)element, next);
}

#endif
