//! What the running kernel must have for a mode.

use super::sys;
use io_uring::{IoUring, Probe, opcode};
use std::net::{TcpListener, TcpStream};

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
        "uring/send-bundle" | "uring/recv-bundle" | "uring/recv-multishot-bundle"
            if !kernel_has_bundles() =>
        {
            return Some("IORING_RECVSEND_BUNDLE (6.10)");
        }
        "kernel/tls-send" | "kernel/tls-recv" if !kernel_has_tls() => {
            return Some("TLS within the kernel (CONFIG_TLS)");
        }
        _ => return None,
    };
    let mut probe = Probe::new();
    let ring = IoUring::new(1).expect("a kernel with io_uring");
    ring.submitter().register_probe(&mut probe).expect("a kernel that tells of its operations (5.6)");
    (!probe.is_supported(operation)).then_some(lacks)
}

/// A flag of operations, of which the ring tells.
fn kernel_has_bundles() -> bool {
    IoUring::new(1).expect("a kernel with io_uring").params().is_feature_recvsend_bundle()
}

/// Asked of a connection, for it can be put on no other socket.
fn kernel_has_tls() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let stream = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    sys::has_tls(&stream)
}
