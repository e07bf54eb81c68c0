/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * The records that go through the ring buffer, as user space reads them (src/source/decode.rs).
 * Fixed widths, widest first, padding named; every record begins with struct sd_head.
 */
#ifndef SD_ABI_H
#define SD_ABI_H

enum sd_kind {
	SD_OPEN = 1,
	SD_DATA = 2,
	SD_CLOSE = 3,
	SD_LOSS = 4,
	SD_PEER = 5,
	SD_NAMES = 6,
};

/* Numbers of event::Transport. */
enum sd_transport {
	SD_TCP = 0,
	SD_UDP = 1,
	SD_UNIX_STREAM = 2,
	SD_UNIX_DGRAM = 3,
	SD_UNIX_SEQPACKET = 4,
	SD_UNSUPPORTED = 255,
};

enum sd_direction {
	SD_SEND = 0,
	SD_RECV = 1,
};

/* Numbers of event::Call. */
enum sd_call {
	SD_READ = 1,
	SD_WRITE = 2,
	SD_READV = 3,
	SD_WRITEV = 4,
	SD_SENDTO = 5,
	SD_RECVFROM = 6,
	SD_SENDMSG = 7,
	SD_RECVMSG = 8,
	SD_CONNECT = 9,
	SD_ACCEPT = 10,
	SD_ACCEPT4 = 11,
	SD_CLOSE_CALL = 12,
	SD_LISTING = 13,
	SD_EXIT = 14,
	SD_KERNEL = 16,
	SD_SENDMMSG = 17,
	SD_RECVMMSG = 18,
	SD_PREADV2 = 19,
	SD_PWRITEV2 = 20,
	SD_SENDFILE = 21,
	SD_SPLICE = 22,
	SD_IO_URING = 23,
	SD_OTHER = 24,
};

/* Numbers of event::Cause. */
enum sd_cause {
	SD_UNTRACED_SYSCALL = 12,
	SD_THROUGH_IO_URING = 15,
	SD_IN_KERNEL_TRANSFER = 16,
	SD_OTHER_PROCESS = 17,
	SD_FILTERED = 20,
	SD_RING_FULL = 30,
};

enum sd_reason {
	SD_DESCRIPTOR = 1,
	SD_CLOSED = 2,
	SD_RESET = 3,
	SD_STILL_OPEN = 4,
};

enum sd_role {
	SD_UNKNOWN = 0,
	SD_CLIENT = 1,
	SD_SERVER = 2,
};

/* sd_head.flags */
enum sd_flags {
	SD_PEEK = 1,      /* data: MSG_PEEK */
	SD_SEQ = 2,       /* data: seq is known */
	SD_FAULT = 4,     /* data: user memory could not be read; no chunk follows */
	SD_LIMIT = 8,     /* data: more buffers than one call's walk may visit; no chunk follows */
	SD_FOUND = 16,    /* open: was open before the trace */
	SD_NOT_SENT = 32, /* open: the payload is filtered out */
	SD_WITH_PEER = 16, /* data: the sd_peer before it tells the datagram's peer */
	SD_TRUNCATED = 32, /* data: a datagram longer than the call's buffers; no chunk follows */
	SD_PAST_TCP = 64,  /* data: handed from socket to socket, on no wire */
	SD_INEXACT = 64,   /* open: nothing tells how many bytes moved before */
};

#define COMM_LENGTH 16

struct sd_head {
	__u64 time;   /* CLOCK_MONOTONIC, ns */
	__u64 inode;  /* of the socket */
	__u32 opened; /* tells sockets apart that had the same inode */
	__u32 pid;    /* 0: no task of the targets made this happen */
	__u32 tid;
	__s32 fd;     /* -1: none */
	__u8 comm[COMM_LENGTH];
	__u8 kind;
	__u8 call;
	__u8 direction;
	__u8 flags;
	__u32 padding;
};

struct sd_start {
	__u64 offset;
	__u32 seq;
	__u32 known; /* 1: seq holds the anchor of offset */
};

struct sd_open {
	struct sd_head head;
	struct sd_start start[2];
	__u8 local[16]; /* network order; IPv4 in the first four bytes */
	__u8 remote[16];
	__u16 local_port;  /* host order */
	__u16 remote_port; /* host order */
	__u16 family;
	__u16 role;
	__s32 error; /* errno of a failed connect, else 0 */
	__u32 transport;
};

#define SOCKADDR_MAX 110 /* struct sockaddr_un */

/* The other end of the datagram in the next data record of this thread, as a struct sockaddr of user space. */
struct sd_peer {
	struct sd_head head;
	__u8 address[112];
	__u32 length; /* bytes of the address */
	__u32 padding;
};

/* One chunk of a call's bytes; the payload follows. */
struct sd_data {
	struct sd_head head;
	__u64 offset; /* of the call's first byte in its stream */
	__u64 length; /* bytes that the call moved */
	__u64 wanted; /* bytes of them to be captured: less than length where snaplen cuts */
	__u64 at;     /* where in the call this chunk begins */
	__u32 captured; /* bytes in this chunk */
	__u32 seq;    /* anchor of offset */
	__s32 error;  /* errno of a failed call, else 0 */
	__u32 cause;  /* why none of the payload can be captured; 0: it can */
};

struct sd_loss {
	struct sd_head head;
	__u64 from;
	__u64 to;
	__u32 cause;
	__u32 padding;
};

struct sd_total {
	__u64 moved;
	__u64 end;
	__u32 pending;
	__u32 known; /* 1: end is exact */
};

struct sd_close {
	struct sd_head head;
	struct sd_total total[2];
	__u32 reason;
	__u32 padding;
};

/* Both ends of the Unix socket that the next open record is of, as struct sockaddr_un. */
struct sd_names {
	struct sd_head head;
	__u8 local[112];
	__u8 remote[112];
	__u32 local_length;
	__u32 remote_length; /* 0: it is not connected */
};

/* Sockets that are not traced: of which kind they are, and what the targets did with them. */
struct sd_unsupported {
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u16 padding;
};

struct sd_traffic {
	__u64 calls;
	__u64 bytes;
};

/* What went wrong without an event of its own. */
struct sd_counters {
	__u64 refused_calls;
	__u64 refused_bytes;
	__u64 refused_ends; /* connections whose end is sent later than it happened */
	__u64 lost_ends;    /* connections whose end is not reported at all */
	__u64 table_full;
	__u64 targets_full; /* processes that should be targets */
	__u64 misplaced; /* calls whose anchor lay before bytes that were reported already */
	__u64 past_tcp;	 /* calls whose bytes the kernel handed from socket to socket, past TCP */
};

#endif
