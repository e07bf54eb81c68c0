//! From arguments to exit status: parses, runs the subcommand, reports. Also writes the generated files
//! (manual pages and completions), because both come from the whole definition.

use crate::{cmd, exit};
use anyhow::Context;
use clap::Parser;
use clap_complete::Shell;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command line `args`, program name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // What libraries (libbpf) say goes to stderr, SOCKDBG_LOG=debug shows more of it.
    env_logger::Builder::from_env(env_logger::Env::new().filter_or("SOCKDBG_LOG", "warn"))
        .format_timestamp(None)
        .init();
    match cmd::Root::try_parse_from(args) {
        Ok(root) => exit::status(root.command.run()),
        Err(answer) => {
            // Help and version are answers as well: they go to stdout and are well. If the reader is
            // gone there is nobody to tell.
            let _ = answer.print();
            if answer.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
        }
    }
}

/// Writes `man/` and `completions/` below `directory`: what `make generate` does and a test compares.
///
/// # Errors
/// A file can't be written.
pub fn generate(directory: &Path) -> anyhow::Result<()> {
    let (manual, completions) = (directory.join("man"), directory.join("completions"));
    for folder in [&manual, &completions] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    clap_mangen::generate_to(cmd::root(), &manual).context("cannot write the manual pages")?;
    for &shell in <Shell as clap::ValueEnum>::value_variants() {
        clap_complete::generate_to(shell, &mut cmd::root(), "sockdbg", &completions)
            .with_context(|| format!("cannot write the completions for {shell}"))?;
    }
    Ok(())
}
