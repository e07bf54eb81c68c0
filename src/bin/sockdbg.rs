//! The program: hands its arguments to [`sockdbg::cli`] and ends with the status it gets back.

use std::process::ExitCode;

fn main() -> ExitCode {
    sockdbg::cli::main(std::env::args_os())
}
