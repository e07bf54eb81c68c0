/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * Whom to trace: which processes are targets, and how others become targets or cease to be.
 *
 * One process needs no table, all processes need none either. Otherwise the table holds those that are targets
 * now, and hooks keep it up to date: a child is entered before it can run.
 */
#ifndef SD_TARGETS_H
#define SD_TARGETS_H

/* Why a process is in the table; it stays as long as one reason holds. */
enum {
	BY_PID = 1, /* entered by user space */
	BY_FORK = 2,
	BY_NAME = 4,
	BY_CGROUP = 8,
};

struct target {
	u64 began; /* start_time of its first thread, 0: not known; tells it from a later one with the same tgid */
	u32 reasons;
	u32 padding;
};

/* The processes traced, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, u32);
	__type(value, struct target);
} targets SEC(".maps");

struct name {
	char text[COMM_LENGTH]; /* padded with NUL */
};

/* The names of --comm. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct name);
	__type(value, u8);
} names SEC(".maps");

struct cgroup_key {
	u64 id; /* inode of its directory; unique in its hierarchy only */
	u32 hierarchy; /* as in /proc/PID/cgroup; 0: version 2 */
	u32 padding;
};

/* The cgroups of --cgroup and --container. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct cgroup_key);
	__type(value, u8);
} cgroups SEC(".maps");

const volatile u32 cfg_target = 0;   /* the only process traced; 0: see the others */
const volatile bool cfg_all = false; /* every process but this program */
const volatile u32 cfg_self = 0;     /* this program */
const volatile bool cfg_follow = false;	 /* children of targets become targets */
const volatile bool cfg_names = false;	 /* there are some in the table */
const volatile bool cfg_cgroups = false; /* likewise */

/* Children that became targets because their parent is one. */
u32 followed;

/* Processes that became targets with descriptors that may be open already. */
u32 joined;

/*
 * Set by user space once every hook is in place: a connection that one hook made known, while another one did not
 * see it yet, would seem to have lost what moved there.
 */
u32 attached;

static __always_inline bool is_target(u32 tgid)
{
	if (!attached)
		return false;
	if (cfg_target)
		return tgid == cfg_target;
	if (cfg_all)
		return tgid != cfg_self;
	return bpf_map_lookup_elem(&targets, &tgid) != NULL;
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

/* tgid in the upper half, pid in the lower one. */
static __always_inline u64 ids_of_current(struct task_struct *task)
{
	if (bpf_ksym_exists(bpf_rdonly_cast))
		return (u64)READ(task, tgid) << 32 | (u32)READ(task, pid);
	return bpf_get_current_pid_tgid();
}

static __always_inline bool is_traced(struct task_struct *task)
{
	/* The kernel's own threads are no processes; packets that arrive while one is running are nobody's doing. */
	if (cfg_all && READ(task, flags) & PF_KTHREAD)
		return false;
	return is_target(ids_of_current(task) >> 32);
}

#define HIERARCHIES_MAX 32
#define CGROUP_DEPTH_MAX 128

/* This cgroup or one above it was chosen. Not static: the verifier looks into it once. */
__noinline int is_below_chosen(u64 address)
{
	struct cgroup *cgroup = (struct cgroup *)address;
	struct cgroup_root *root = READ(cgroup, root);
	struct cgroup_subsys_state *state;
	struct cgroup_key key = {};
	struct kernfs_node *node;

	key.hierarchy = READ(root, hierarchy_id);
	for (int i = 0; i < CGROUP_DEPTH_MAX; i++) {
		node = READ(cgroup, kn);
		key.id = READ(node, id);
		if (bpf_map_lookup_elem(&cgroups, &key))
			return 1;
		state = READ(cgroup, self.parent);
		if (!state)
			return 0;
		cgroup = READ(state, cgroup);
	}
	return 0;
}

/* A task is in one cgroup of each hierarchy; its set of them has a list of links to them. */
static __always_inline bool is_in_chosen_cgroup(struct task_struct *task)
{
	struct css_set *set = READ(task, cgroups);
	struct list_head *first = (void *)set + bpf_core_field_offset(struct css_set, cgrp_links);
	struct list_head *entry = first;
	struct cgrp_cset_link *link;
	u64 cgroup = 0;

	for (int i = 0; i < HIERARCHIES_MAX; i++) {
		entry = READ(entry, next);
		if (!entry || entry == first)
			return false;
		link = (void *)entry - bpf_core_field_offset(struct cgrp_cset_link, cgrp_link);
		/* Not READ, for which the verifier knows the result as a pointer: those can't be handed on. */
		BPF_CORE_READ_INTO(&cgroup, link, cgrp);
		if (is_below_chosen(cgroup))
			return true;
	}
	return false;
}

/* `text` is of the kernel's memory. */
static __always_inline bool is_chosen_name(const char *text)
{
	struct name name = {};

	/* Before 5.17 what lies behind the end of a task's name may be left of an earlier one. */
	bpf_probe_read_kernel_str(name.text, sizeof(name.text), text);
	return bpf_map_lookup_elem(&names, &name) != NULL;
}

static __always_inline const char *name_of(struct task_struct *task)
{
	return (const char *)task + bpf_core_field_offset(struct task_struct, comm);
}

/* Why a process called `name` is a target where it is now. `leader` is its first thread. */
static __always_inline u32 reasons_of(struct task_struct *leader, const char *name)
{
	u32 reasons = 0;

	if ((u32)READ(leader, tgid) == cfg_self)
		return 0;
	if (cfg_names && is_chosen_name(name))
		reasons |= BY_NAME;
	if (cfg_cgroups && is_in_chosen_cgroup(leader))
		reasons |= BY_CGROUP;
	return reasons;
}

static __always_inline void enlist(struct task_struct *leader, u32 tgid, u32 reasons)
{
	struct target target = {
		.began = READ(leader, start_time),
		.reasons = reasons,
	};

	if (bpf_map_update_elem(&targets, &tgid, &target, BPF_ANY))
		count(targets_full, 1);
}

/* Brings the table up to date with what a process is called, and where it is. */
static __noinline void consider(struct task_struct *leader, const char *name)
{
	u32 tgid = READ(leader, tgid);
	struct target *target = bpf_map_lookup_elem(&targets, &tgid);
	u32 reasons = reasons_of(leader, name);

	if (target)
		reasons |= target->reasons & (BY_PID | BY_FORK);
	if (target && reasons) {
		target->reasons = reasons;
	} else if (target) {
		bpf_map_delete_elem(&targets, &tgid);
	} else if (reasons) {
		enlist(leader, tgid, reasons);
		__sync_fetch_and_add(&joined, 1);
	}
}

/* The child exists and has not run yet. */
static __always_inline int fork(struct task_struct *parent, struct task_struct *child)
{
	u32 parent_tgid = READ(parent, tgid);
	u32 tgid = READ(child, tgid);
	struct target *known;
	bool inherits = false;
	u32 reasons;

	if (tgid == parent_tgid)
		return 0; /* a thread */
	inherits = bpf_map_lookup_elem(&targets, &parent_tgid) != NULL;
	reasons = reasons_of(child, name_of(child));
	if (cfg_follow && inherits)
		reasons |= BY_FORK;
	if (!reasons)
		return 0;
	known = bpf_map_lookup_elem(&targets, &tgid);
	if (known && known->began == READ(child, start_time))
		return 0; /* the other program was here */
	enlist(child, tgid, reasons);
	/* The sockets of a target are known already, and it has no others. */
	__sync_fetch_and_add(inherits ? &followed : &joined, 1);
	return 0;
}

/* A thread's own name is not its process's, which is that of its first thread. */
static __always_inline int rename(struct task_struct *task, const char *name)
{
	if (READ(task, pid) == READ(task, tgid))
		consider(task, name);
	return 0;
}

/* Where a process is moved as a whole, `task` is its first thread; where a thread is moved, only that one counts. */
static __always_inline int move(struct task_struct *task)
{
	struct task_struct *leader = READ(task, group_leader);

	consider(leader, name_of(leader));
	return 0;
}

/*
 * Each of these has two programs, of which the second is loaded where programs on tracepoints may be preempted (7.0 on):
 * the kernel leaves out a run of the one that another task has not finished, and the other stands in. Where both run, the
 * second finds nothing to do.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	return fork(parent, child);
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork_again, struct task_struct *parent, struct task_struct *child)
{
	return fork(parent, child);
}

/* By exec or by itself; an exec leaves the first thread as the only one. */
SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task, const char *name)
{
	return rename(task, name);
}

SEC("tp_btf/task_rename")
int BPF_PROG(on_rename_again, struct task_struct *task, const char *name)
{
	return rename(task, name);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move, struct cgroup *to, const char *path, struct task_struct *task)
{
	return move(task);
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move_again, struct cgroup *to, const char *path, struct task_struct *task)
{
	return move(task);
}

/* The last that is heard of a task. Its end would be too early: its sockets are closed after that. */
SEC("tp_btf/sched_process_free")
int BPF_PROG(on_free, struct task_struct *task)
{
	u32 tgid = READ(task, tgid);
	struct target *target;

	if ((u32)READ(task, pid) != tgid)
		return 0;
	target = bpf_map_lookup_elem(&targets, &tgid);
	if (target && (!target->began || target->began == READ(task, start_time)))
		bpf_map_delete_elem(&targets, &tgid);
	return 0;
}

/* Finds the processes that are called or placed as chosen already. */
SEC("iter/task")
int list_targets(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task && READ(task, pid) == READ(task, tgid))
		consider(task, name_of(task));
	return 0;
}

#endif
