/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Sockets that a process uses which is not traced, while a traced one has a descriptor of them, too: inherited from it by
 * fork, or one of a pair that it made. TCP's counters tell later what moved there; of others nothing does, so they have to
 * be known by their first use. What else is shared (a listed or passed descriptor of any other origin) shows when the traced
 * process uses it, or from the next listing on.
 */
#ifndef SD_SHARED_H
#define SD_SHARED_H

/* How many descriptors of the traced process are looked at. What is above them is left to the listing. */
#define DESCRIPTORS_MAX 1024

/* Sockets that no traced process has, though one that is related to its user might. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, u64); /* address of struct sock */
	__type(value, u64); /* its inode */
} foreign SEC(".maps");

/*
 * The descriptor by which a task knows the file, -1: none that is looked at. Not static: the verifier looks into it once, and
 * takes only numbers for arguments. What READ gives is a pointer to it, what a helper reads is a number.
 */
__noinline int descriptor_of(u64 task, u64 file)
{
	struct files_struct *open_files = READ((struct task_struct *)task, files);
	struct fdtable *table;
	struct file **files;
	u32 count;

	if (!open_files)
		return -1;
	table = READ(open_files, fdt);
	files = READ(table, fd);
	count = READ(table, max_fds);
	for (u32 fd = 0; fd < DESCRIPTORS_MAX && fd < count; fd++)
		if ((u64)read_pointer(files + fd) == file)
			return fd;
	return -1;
}

/* First thread of the process that made the Unix socket as one of a pair (init_peercred, net/unix/af_unix.c). */
static __always_inline u64 maker_of(struct sock *sk)
{
	struct pid *pid = READ(sk, sk_peer_pid);
	void *lists = (void *)pid + bpf_core_field_offset(struct pid, tasks);
	u64 link = 0;

	if (!pid || bpf_probe_read_kernel(&link, sizeof(link), lists + PIDTYPE_TGID * sizeof(struct hlist_head)) || !link)
		return 0;
	return link - bpf_core_field_offset(struct task_struct, pid_links) - PIDTYPE_TGID * sizeof(struct hlist_node);
}

static __always_inline bool is_of_target(u64 task)
{
	return task && is_target(READ((struct task_struct *)task, tgid));
}

/* Makes the socket known where the task, of a traced process, has a descriptor of it. */
static __noinline bool adopt(struct sock *sk, u64 inode, u64 holder, u32 direction)
{
	struct task_struct *task = (struct task_struct *)holder;
	struct socket *socket = READ(sk, sk_socket);
	struct sd_head head = {};
	u64 file = 0;

	BPF_CORE_READ_INTO(&file, socket, file);
	head.fd = descriptor_of(holder, file);
	if (head.fd < 0)
		return false;
	head.time = bpf_ktime_get_ns();
	head.pid = head.tid = READ(task, tgid);
	head.call = SD_OTHER;
	head.direction = direction;
	BPF_CORE_READ_INTO(&head.comm, task, comm);
	return new_counted(sk, inode, &head, transport_of(sk), scratch_of_data()) != NULL;
}

/* No descriptor but the one that is being used: whoever shared the socket has closed it. */
static __always_inline bool is_used_by_one(struct sock *sk)
{
	struct socket *socket = READ(sk, sk_socket);
	struct file *file = socket ? READ(socket, file) : NULL;

	return !file || file_references(file) <= 1;
}

/*
 * A socket without sequence numbers that the current task uses, which is not traced, and that has other descriptors, is also
 * a traced process's. No state tells of the end of such a socket: what is known may be of an earlier one in the same memory.
 */
static __noinline bool is_shared(struct sock *sk, u32 direction)
{
	u32 transport = transport_of(sk);
	u64 inode = inode_of(sk);
	u64 parent = 0, maker = 0, key = (u64)sk;
	u64 *known;

	if (transport == SD_UNSUPPORTED)
		return false;
	if (counted_of(sk, inode))
		return true;
	BPF_CORE_READ_INTO(&parent, current_task(), real_parent);
	if (is_unix(transport))
		maker = maker_of(sk);
	if (!is_of_target(parent))
		parent = 0;
	if (!is_of_target(maker))
		maker = 0;
	if (!parent && !maker)
		return false;
	known = bpf_map_lookup_elem(&foreign, &key);
	if (known && *known == inode)
		return false;
	if ((parent && adopt(sk, inode, parent, direction)) || (maker && adopt(sk, inode, maker, direction)))
		return true;
	bpf_map_update_elem(&foreign, &key, &inode, BPF_ANY);
	return false;
}

#endif
