//! Python with the packages that the tests need, as `scripts/setup.sh` installs them.

use std::path::PathBuf;

/// The interpreter for which Debian and Ubuntu install Python packages. One that comes first in PATH may not find them.
pub const SYSTEM_PYTHON: &str = "/usr/bin/python3";

/// A program that one of the packages brings.
pub fn script(name: &str) -> PathBuf {
    let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin")).join(name);
    assert!(program.exists(), "{} is missing: run scripts/setup.sh test", program.display());
    program
}

/// The interpreter that finds the packages of PyPI.
pub fn python() -> PathBuf {
    script("python3")
}
