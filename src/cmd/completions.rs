//! `sockdbg completions`: the completion script of one shell.

use crate::exit::Outcome;
use clap_complete::Shell;
use std::io::{self, Write};

/// Print the completion script of a shell
///
/// For bash, for example: sockdbg completions bash > /etc/bash_completion.d/sockdbg
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

/// Prints it.
///
/// # Errors
/// Stdout can't be written.
pub fn run(args: Args) -> anyhow::Result<Outcome> {
    // Into memory first: the generator panics where writing fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::root(), "sockdbg", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(Outcome::Well)
}
