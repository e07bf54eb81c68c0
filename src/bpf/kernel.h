/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The kernel types and fields that the probes read, and nothing else. Offsets are relocated when the
 * programs are loaded (CO-RE), so order and size here mean nothing; names and types do.
 * Leaves to fixes.h what is called differently in different kernels, to abi.h what goes to user space.
 */
#ifndef SD_KERNEL_H
#define SD_KERNEL_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* include/uapi/linux/bpf.h */
enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_F_NO_PREALLOC = 1,
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
	BPF_RB_AVAIL_DATA = 0,
};

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_SEQPACKET 5
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define S_IFMT 00170000
#define S_IFSOCK 0140000
#define SOCK_DONE 1 /* enum sock_flags, include/net/sock.h: the peer's FIN arrived */
#define RCV_SHUTDOWN 1
#define PF_EXITING 0x00000004
#define PF_IO_WORKER 0x00000010 /* a thread of io_uring's own, include/linux/sched.h */
#define PF_KTHREAD 0x00200000
#define X86_THREAD_SIZE 16384 /* arch/x86/include/asm/page_64_types.h, but for kernels with KASAN */
#define X86_PT_REGS_SIZE 168 /* arch/x86/include/asm/ptrace.h */
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define EINTR 4
#define EEXIST 17
#define EAGAIN 11
#define ENOSYS 38
#define EISCONN 106
#define EALREADY 114
#define EINPROGRESS 115
#define ERESTARTSYS 512
#define ERESTART_RESTARTBLOCK 516

/* include/net/tcp_states.h */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_FIN_WAIT2 = 5,
	TCP_TIME_WAIT = 6,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
	TCP_CLOSING = 11,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct hlist_node {
	struct hlist_node *next;
	struct hlist_node **pprev;
};

struct hlist_head {
	struct hlist_node *first;
};

/* Kinds of process numbers: include/linux/pid_types.h. */
#define PIDTYPE_TGID 1
#define PIDTYPE_MAX 4

struct pid {
	struct hlist_head tasks[PIDTYPE_MAX];
};

struct thread_info {
	u32 status; /* x86: TS_COMPAT while in a 32-bit call */
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r10;
	unsigned long r9;
	unsigned long r8;
	unsigned long ax;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long orig_ax;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	u64 orig_x0;
	s32 syscallno;
};
#else
#error "sockdbg's probes know x86_64 and arm64"
#endif

struct in6_addr {
	union {
		__u8 u6_addr8[16];
	} in6_u;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	struct socket *sk_socket;
	void *sk_user_data;
	struct pid *sk_peer_pid;
	u16 sk_type;
	u16 sk_protocol;
	u8 sk_shutdown;
};

struct tcp_ulp_ops {
	int id;
};

struct inet_connection_sock {
	const struct tcp_ulp_ops *icsk_ulp_ops;
};

struct tcp_sock {
	u32 copied_seq;
	u32 rcv_nxt;
	u32 write_seq;
	u32 snd_nxt;
	u32 snd_una;
	u64 bytes_sent;
	u64 bytes_retrans;
	u64 bytes_received;
	u64 bytes_acked;
};

struct sockaddr_un {
	u16 sun_family;
};

struct unix_address {
	int len; /* bytes of the name, the family included */
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct unix_address *addr;
	struct sock *peer;
};

/* What a bpf_sock_addr is in the kernel. */
struct bpf_sock_addr_kern {
	void *uaddr;
	u32 uaddrlen; /* Linux 6.7 */
};

/* Which kind of memory an iov_iter goes through; the numbers differ between kernels. */
enum iter_type {
	ITER_UBUF, /* Linux 6.0 */
	ITER_IOVEC,
};

struct iov_iter {
	u8 iter_type;
	u64 iov_offset;
	void *ubuf;
	const void *__iov; /* of struct iovec, in kernel memory */
	u64 count;
	unsigned long nr_segs;
};

struct msghdr {
	void *msg_name; /* in kernel memory */
	int msg_namelen;
	struct iov_iter msg_iter;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct inode {
	u16 i_mode;
	unsigned long i_ino;
};

struct file {
	void *private_data;
	struct inode *f_inode;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct kernfs_node {
	u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

/* Any type of the kernel's whose first member is a pointer. */
struct list_head {
	struct list_head *next;
};

struct css_set {
	struct list_head cgrp_links;
};

struct cgrp_cset_link {
	struct cgroup *cgrp;
	struct list_head cgrp_link;
};

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	int pid;
	int tgid;
	u64 start_time;
	char comm[16];
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct hlist_node pid_links[PIDTYPE_MAX];
	struct files_struct *files;
	struct io_uring_task *io_uring;
	void *stack;
	struct css_set *cgroups;
};

struct bpf_map;

struct bpf_iter__task {
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct task_struct *task;
	u32 fd;
	struct file *file;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_map *map;
	void *key;
	void *value;
};

struct trace_event_raw_sys_enter {
	unsigned long args[6];
};

struct trace_event_raw_sock_msg_length {
	const void *sk;
	int ret;
	int flags;
};

struct trace_event_raw_tcp_event_sk {
	const void *skaddr;
};

#pragma clang attribute pop

/* Context of the programs at cgroup/recvmsg4 and the like: fixed (include/uapi/linux/bpf.h). */
struct bpf_sock_addr {
	u32 user_family;
	u32 user_ip4;
	u32 user_ip6[4];
	u32 user_port;
};

/* Layouts of the system call interface: fixed, read from user memory. */
struct user_iovec {
	u64 base;
	u64 length;
};

struct user_sockaddr_in {
	u16 family;
	u16 port; /* network order */
	u32 address;
	u8 zero[8];
};

struct user_sockaddr_in6 {
	u16 family;
	u16 port; /* network order */
	u32 flow;
	u32 address[4];
	u32 scope;
};

struct user_msghdr {
	u64 name;
	u32 name_length;
	u32 padding;
	u64 iov;
	u64 iov_count;
	u64 control;
	u64 control_length;
	u32 flags;
	u32 padding2;
};

struct user_mmsghdr {
	struct user_msghdr header;
	u32 length; /* what was moved */
	u32 padding;
};

#endif
