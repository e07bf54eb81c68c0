//! A workload of many modes: each moves bytes over sockets in one way, knows what it moved, and writes that down.
//!
//! `workload list` names the modes, `workload run MODE --truth FILE` runs one. The data is pseudo-random, so a byte
//! that a tracer misplaces shows. What a trace must tell of each mode is checked by tests/live_table.rs.

mod calls;
mod exec;
mod flags;
mod iovecs;
mod life;
mod many;
mod noise;
mod peer;
mod sharing;
mod sys;
mod truth;
mod udp;
mod unix;
mod uring;

use std::path::Path;
use truth::Truth;

/// A name, of the form `SUBJECT/MODE`, and what it does.
pub type Mode = (&'static str, fn(&mut Truth));

const SUBJECTS: [&[Mode]; 9] = [
    calls::MODES,
    flags::MODES,
    iovecs::MODES,
    udp::MODES,
    unix::MODES,
    sharing::MODES,
    life::MODES,
    many::MODES,
    uring::MODES,
];

fn modes() -> impl Iterator<Item = &'static Mode> {
    SUBJECTS.into_iter().flatten()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => modes().for_each(|(name, _)| println!("{name}")),
        ["run", name, "--truth", file] => run(name, Path::new(file)),
        // What `sharing/exec-*` becomes: the same process, after execve(2).
        ["after-exec", fd, truth, file] => exec::after(fd, truth, Path::new(file)),
        _ => {
            eprintln!("usage: workload list | workload run MODE --truth FILE");
            std::process::exit(2);
        }
    }
}

fn run(name: &str, file: &Path) {
    let Some((_, run)) = modes().find(|mode| mode.0 == name) else {
        eprintln!("workload: no mode {name}; `workload list` names them");
        std::process::exit(2);
    };
    let mut truth = Truth::new(file);
    run(&mut truth);
    truth.write();
}
