//! The records of the kernel's ring buffer, as `src/bpf/abi.h` lays them out. [`crate::source::live`] asserts that the
//! compiled probes have the same layout; [`crate::source::decode`] says what they mean.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct sd_head`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct Head {
    pub(super) time: u64,
    pub(super) inode: u64,
    pub(super) opened: u32,
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) fd: i32,
    pub(super) comm: [u8; 16],
    pub(super) kind: u8,
    pub(super) call: u8,
    pub(super) direction: u8,
    pub(super) flags: u8,
    pub(super) padding: u32,
}

/// `struct sd_start`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawStart {
    pub(super) offset: u64,
    pub(super) seq: u32,
    pub(super) known: u32,
}

/// `struct sd_open`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawOpen {
    pub(super) head: Head,
    pub(super) start: [RawStart; 2],
    pub(super) local: [u8; 16],
    pub(super) remote: [u8; 16],
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub(super) family: u16,
    pub(super) role: u16,
    pub(super) error: i32,
    pub(super) transport: u32,
}

/// `struct sd_peer`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawPeer {
    pub(super) head: Head,
    pub(super) address: [u8; 112],
    pub(super) length: u32,
    pub(super) padding: u32,
}

/// `struct sd_names`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawNames {
    pub(super) head: Head,
    pub(super) local: [u8; 112],
    pub(super) remote: [u8; 112],
    pub(super) local_length: u32,
    pub(super) remote_length: u32,
}

/// `struct sd_data`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawData {
    pub(super) head: Head,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) wanted: u64,
    pub(super) at: u64,
    pub(super) captured: u32,
    pub(super) seq: u32,
    pub(super) error: i32,
    pub(super) cause: u32,
}

/// `struct sd_loss`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawLoss {
    pub(super) head: Head,
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) cause: u32,
    pub(super) padding: u32,
}

/// `struct sd_total`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawTotal {
    pub(super) moved: u64,
    pub(super) end: u64,
    pub(super) pending: u32,
    pub(super) known: u32,
}

/// `struct sd_close`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub(super) struct RawClose {
    pub(super) head: Head,
    pub(super) total: [RawTotal; 2],
    pub(super) reason: u32,
    pub(super) padding: u32,
}
