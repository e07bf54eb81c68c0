//! Two sockets in a BPF sockmap, with a program that redirects what moves on the one to the other.

use libbpf_rs::libbpf_sys::{
    BPF_MAP_TYPE_SOCKMAP, BPF_PROG_TYPE_SK_MSG, BPF_PROG_TYPE_SK_SKB, BPF_SK_MSG_VERDICT,
    BPF_SK_SKB_STREAM_VERDICT, bpf_attach_type, bpf_insn, bpf_map_create, bpf_map_delete_elem,
    bpf_map_update_elem, bpf_prog_attach, bpf_prog_load, bpf_prog_type,
};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

/// As long as it lives, the program is in place.
pub struct Sockmap {
    map: OwnedFd,
    _program: OwnedFd,
}

/// Places in the map.
const TO: u32 = 0;
const FROM: u32 = 1;

/// BPF_FUNC_sk_redirect_map and BPF_FUNC_msg_redirect_map, include/uapi/linux/bpf.h.
const SK_REDIRECT_MAP: i32 = 52;
const MSG_REDIRECT_MAP: i32 = 60;

/// BPF_F_INGRESS, the same file.
const INGRESS: i32 = 1;

impl Sockmap {
    /// What `from` receives is sent on `to`.
    pub fn redirecting_received(from: &TcpStream, to: &TcpStream) -> Sockmap {
        Sockmap::new(from, to, BPF_PROG_TYPE_SK_SKB, BPF_SK_SKB_STREAM_VERDICT, SK_REDIRECT_MAP, 0)
    }

    /// What is sent on `from` is what `to` receives.
    pub fn redirecting_sent(from: &TcpStream, to: &TcpStream) -> Sockmap {
        Sockmap::new(from, to, BPF_PROG_TYPE_SK_MSG, BPF_SK_MSG_VERDICT, MSG_REDIRECT_MAP, INGRESS)
    }

    fn new(
        from: &TcpStream,
        to: &TcpStream,
        kind: bpf_prog_type,
        hook: bpf_attach_type,
        helper: i32,
        flags: i32,
    ) -> Sockmap {
        // SAFETY: the kernel reads no name, and no options.
        let map = owned(unsafe { bpf_map_create(BPF_MAP_TYPE_SOCKMAP, ptr::null(), 4, 4, 2, ptr::null()) });
        let program = [
            instruction(0x18, 2, 1, map.as_raw_fd()), // r2 = the map, in two parts
            instruction(0, 0, 0, 0),
            instruction(0xb7, 3, 0, TO as i32), // r3 = the place in it
            instruction(0xb7, 4, 0, flags),     // r4 = flags
            instruction(0x85, 0, 0, helper),    // r0 = helper(r1: what moves, r2, r3, r4)
            instruction(0x95, 0, 0, 0),         // return r0
        ];
        // SAFETY: the program is as long as it says; no name, no options; the licence is a string.
        let program = owned(unsafe {
            let (name, options) = (ptr::null(), ptr::null_mut());
            bpf_prog_load(
                kind,
                name,
                c"Dual MIT/GPL".as_ptr(),
                program.as_ptr(),
                program.len() as u64,
                options,
            )
        });
        // SAFETY: takes numbers.
        let attached = unsafe { bpf_prog_attach(program.as_raw_fd(), map.as_raw_fd(), hook, 0) };
        assert_eq!(attached, 0, "{}", std::io::Error::last_os_error());
        for (place, socket) in [(TO, to), (FROM, from)] {
            let socket: RawFd = socket.as_raw_fd();
            let (key, value) = ((&raw const place).cast(), (&raw const socket).cast());
            // SAFETY: key and value have the four bytes that the map was made for.
            let added = unsafe { bpf_map_update_elem(map.as_raw_fd(), key, value, 0) };
            assert_eq!(added, 0, "{}", std::io::Error::last_os_error());
        }
        Sockmap { map, _program: program }
    }
}

impl Drop for Sockmap {
    /// A map takes its time to go; a socket that is taken out is TCP's again at once.
    fn drop(&mut self) {
        for place in [TO, FROM] {
            // SAFETY: the key has the four bytes that the map was made for.
            let removed = unsafe { bpf_map_delete_elem(self.map.as_raw_fd(), (&raw const place).cast()) };
            assert_eq!(removed, 0, "{}", std::io::Error::last_os_error());
        }
    }
}

fn owned(fd: i32) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just returned it to us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn instruction(code: u8, destination: u8, source: u8, imm: i32) -> bpf_insn {
    let mut instruction = bpf_insn { code, imm, ..Default::default() };
    instruction.set_dst_reg(destination);
    instruction.set_src_reg(source);
    instruction
}
