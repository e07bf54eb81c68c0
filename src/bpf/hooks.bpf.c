// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * One program for each hook that sockdbg uses or could use, to find out whether the running kernel grants it. They do
 * nothing, are loaded one at a time, and found by the names of their sections (src/source/hooks.rs).
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

#define TRY(section, name)      \
	SEC(section)            \
	int name(void *ctx)     \
	{                       \
		return 0;       \
	}

TRY("tp_btf/sock_send_length", try_send)
TRY("tp_btf/sock_recv_length", try_receive)
TRY("tp_btf/tcp_rcv_space_adjust", try_read)
TRY("tp_btf/inet_sock_set_state", try_set_state)
TRY("tp_btf/tcp_destroy_sock", try_destroy)
TRY("tp_btf/sys_exit", try_sys_exit)
TRY("tp_btf/sys_enter", try_sys_enter)
TRY("tp_btf/tcp_sendmsg_locked", try_sendmsg_locked)
TRY("iter/task_file", try_task_file)
TRY("fentry/security_socket_sendmsg", try_send_begin)
TRY("fentry/security_socket_recvmsg", try_receive_begin)
TRY("fexit/tcp_sendmsg", try_fexit)
TRY("kprobe/tcp_sendmsg", try_kprobe)
TRY("uprobe", try_uprobe)

/* The iterator over a table may be attached to a table only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, u64);
	__type(value, u64);
} table SEC(".maps");

TRY("iter/bpf_map_elem", try_map_elem)

/* Without the function this is a call into nowhere, which the verifier refuses. */
SEC("raw_tp/bpf_rdonly_cast")
int try_rdonly_cast(void *ctx)
{
	return bpf_rdonly_cast(ctx, bpf_core_type_id_kernel(struct task_struct)) != NULL;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
