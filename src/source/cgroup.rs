//! Programs at the root of the control groups, which every process belongs to.

use super::mounted;
use libbpf_rs::{ErrorExt, Link, ProgramMut, ProgramType};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

/// True where such programs may ask which task runs them, as ours have to.
pub(super) fn know_their_task() -> bool {
    let helper = libbpf_rs::libbpf_sys::BPF_FUNC_get_current_pid_tgid;
    ProgramType::CgroupSockAddr.is_helper_supported(helper).unwrap_or(false)
}

/// Attaches the programs. Several programs of different tools can be attached to one control group.
///
/// # Errors
/// The kernel has no control groups of version 2, or refuses the attachment.
pub(super) fn attach(programs: &[&ProgramMut<'_>]) -> libbpf_rs::Result<Vec<Link>> {
    let root = root().map_err(libbpf_rs::Error::from).context("no control groups of version 2")?;
    programs.iter().map(|program| program.attach_cgroup(root.as_raw_fd())).collect()
}

fn root() -> std::io::Result<OwnedFd> {
    mounted::look_into("cgroup2", |root| Ok(File::open(root)?.into()))
}
