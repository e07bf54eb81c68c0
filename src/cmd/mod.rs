//! The subcommands: the table of all of them, and the root of the command line.
//!
//! A subcommand is one file here with `Args` (its doc comment is the help text) and
//! `run(Args) -> anyhow::Result<Outcome>`, and one line in `commands!`. It wires a source through the
//! core to an output and leaves the work to them.

pub mod anchored;
mod blanked;
pub mod bundle;
pub mod comparison;
pub mod drive;
pub mod filter;
pub mod open;
pub mod options;
mod private;
pub mod progress;
pub mod recorder;
pub mod screen;
pub mod spool;
pub mod subject;
mod versions;

use crate::exit::Outcome;
use clap::{CommandFactory, Parser, Subcommand};

/// Declares the modules, the enum that clap parses into, and the dispatch.
macro_rules! commands {
    ($($module:ident: $variant:ident,)*) => {
        $(pub mod $module;)*

        /// Every subcommand with its arguments.
        #[derive(Debug, Subcommand)]
        #[allow(missing_docs)] // the doc comment of each Args is its documentation
        pub enum Command { $($variant($module::Args),)* }

        impl Command {
            /// Runs the subcommand.
            pub fn run(self) -> anyhow::Result<Outcome> {
                match self { $(Command::$variant(args) => $module::run(args),)* }
            }
        }
    };
}

commands! {
    verify: Verify,
    pcap_compare: PcapCompare,
    conn_trace: ConnTrace,
    events: Events,
    doctor: Doctor,
    explain: Explain,
    completions: Completions,
    demo: Demo,
}

/// Find out where the bytes of a request got lost
///
/// sockdbg watches the socket calls of a process with eBPF, keeps account of every byte from the wire
/// to the protocol record, and names the range, the stage and the cause of each byte that did not make
/// it. Data goes to stdout, everything else to stderr.
#[derive(Debug, Parser)]
#[command(
    name = "sockdbg",
    version,
    max_term_width = 100,
    after_long_help = "Exit status: 0 all well; 1 differences found; 2 wrong usage, unreadable input or \
                       unwritable output; 3 cannot attach."
)]
pub struct Root {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The definition that help, manual pages and completions are made from.
pub fn root() -> clap::Command {
    Root::command()
}
