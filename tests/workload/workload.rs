//! A workload of many modes: each moves bytes over sockets in one way, knows what it moved, and writes that down.
//!
//! `workload list` names the modes, `workload run --truth FOLDER MODE...` runs some one after the other, each of which
//! leaves a file in the folder. A mode that `list` marks so has to be the only one, or the last; one that lacks something
//! can't run on this kernel. The data is pseudo-random, so a byte
//! that a tracer misplaces shows. What a trace must tell of each mode is checked by tests/live_table.rs.

mod calls;
mod exec;
mod features;
mod flags;
mod iovecs;
mod kernel;
mod life;
mod many;
#[path = "../common/noise.rs"]
mod noise;
mod peer;
mod sharing;
mod sockmap;
mod sys;
mod truth;
mod udp;
mod unix;
mod uring;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use truth::Truth;

/// A name, of the form `SUBJECT/MODE`, and what it does.
pub type Mode = (&'static str, fn(&mut Truth));

const SUBJECTS: [&[Mode]; 10] = [
    calls::MODES,
    flags::MODES,
    iovecs::MODES,
    udp::MODES,
    unix::MODES,
    sharing::MODES,
    life::MODES,
    many::MODES,
    uring::MODES,
    kernel::MODES,
];

fn modes() -> impl Iterator<Item = &'static Mode> {
    SUBJECTS.into_iter().flatten()
}

/// Modes after which the process is gone, another program, or in another network; one that may take long; and one that
/// needs a trace that has not seen a Unix socket before.
const ALONE: [&str; 11] = [
    "sharing/scm-rights-by-other-only",
    "many/connect-storm",
    "sharing/exec-keeps",
    "sharing/exec-closes",
    "life/fast-open",
    "life/fast-open-connect",
    "life/fast-open-nonblocking",
    "life/fast-open-late",
    "life/fast-open-accept",
    "life/exit",
    "life/kill-9",
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => list(),
        ["run", "--truth", folder, names @ ..] => names.iter().for_each(|name| run(name, Path::new(folder))),
        // What `sharing/exec-*` becomes: the same process, after execve(2).
        ["after-exec", fd, inode, file] => exec::after(fd, inode, Path::new(file)),
        _ => usage("usage: workload list | workload run --truth FOLDER MODE..."),
    }
}

fn usage(message: &str) -> ! {
    eprintln!("{message}");
    std::process::exit(2);
}

fn list() {
    for (name, _) in modes() {
        let alone = if ALONE.contains(name) { " alone" } else { "" };
        let missing = features::missing(name).map_or(String::new(), |what| format!(" lacks {what}"));
        println!("{name}{alone}{missing}");
    }
}

/// Runs a mode. One that fails says so, leaves no truth, and does not keep the others from running.
fn run(name: &str, folder: &Path) {
    let Some((_, run)) = modes().find(|mode| mode.0 == name) else {
        usage(&format!("workload: no mode {name}; `workload list` names them"));
    };
    let mut truth = Truth::new(&folder.join(name.replace('/', "-")).with_extension("json"));
    if catch_unwind(AssertUnwindSafe(|| run(&mut truth))).is_ok() {
        truth.write();
    } else {
        eprintln!("workload: {name} failed");
    }
}
