//! What the running kernel must have for a mode.

use super::sys;
use io_uring::{IoUring, Probe, opcode};

/// What the kernel lacks that the mode needs, and the release that brought it.
pub fn missing(mode: &str) -> Option<&'static str> {
    let (operation, lacks) = match mode {
        "uring/send-zc" => (opcode::SendZc::CODE, "IORING_OP_SEND_ZC (6.0)"),
        "uring/sendmsg-zc" => (opcode::SendMsgZc::CODE, "IORING_OP_SENDMSG_ZC (6.1)"),
        // A flag, of which no probe tells, of the same release as this operation.
        "uring/recv-multishot" => (opcode::SendZc::CODE, "IORING_RECV_MULTISHOT (6.0)"),
        "calls/zerocopy-receive" if !sys::zerocopy_receives_copy() => {
            return Some("TCP_ZEROCOPY_RECEIVE that copies (5.11)");
        }
        _ => return None,
    };
    let mut probe = Probe::new();
    let ring = IoUring::new(1).expect("a kernel with io_uring");
    ring.submitter().register_probe(&mut probe).expect("a kernel that tells of its operations (5.6)");
    (!probe.is_supported(operation)).then_some(lacks)
}
