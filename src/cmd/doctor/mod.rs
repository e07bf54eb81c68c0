//! `sockdbg doctor`: what would keep a trace from being whole, before anything is traced.

mod check;
mod kernel;
mod missed;
mod process;
mod self_test;
mod workload;

use super::options::{Color, Format, Processes};
use crate::exit::Outcome;
use crate::output::paint::Paint;
use check::Printer;

/// Check what this kernel offers, and what would be missed of a process
///
/// Without options: what sockdbg needs of this machine, whether it is there, and what is used instead
/// where it is not. Each hook is tried, not guessed from the kernel's version. With -p: the sockets of
/// a process, who else holds them, what runs in it, and which bytes a trace of it would lack and why.
///
/// Exit status: 0 where sockdbg can trace, 3 where it can't; of --self-test 0 where every byte arrived, else 1.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    processes: Processes,

    /// Send known bytes through private sockets by each call, and check that each byte arrives
    #[arg(long, conflicts_with = "pids")]
    self_test: bool,

    /// Show as text, or as JSON Lines with stable field names
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,

    /// Colour the text: auto means where stdout is a terminal and NO_COLOR is not set
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,

    /// Be the process that the self-test traces.
    #[arg(long, hide = true)]
    workload: bool,
}

/// Prints what was found.
///
/// # Errors
/// sockdbg can't trace here, or a process does not exist ([`crate::source::Error::Attach`]); stdout can't be
/// written.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    if args.workload {
        return workload::run().map(|()| Outcome::Well);
    }
    let mut printer = Printer::new(args.format, Paint::new(args.color.wanted()));
    if args.self_test {
        return self_test::run(&mut printer);
    }
    match &args.processes.pids[..] {
        [] => kernel::run(&mut printer),
        pids => process::run(pids, &mut printer),
    }
}
