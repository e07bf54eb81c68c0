//! Python with the packages that the tests need, as `scripts/setup.sh` installs it.

use std::path::PathBuf;

/// A program that one of the packages brings.
pub fn script(name: &str) -> PathBuf {
    let program = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin")).join(name);
    assert!(program.exists(), "{} is missing: run scripts/setup.sh test", program.display());
    program
}

/// The interpreter.
pub fn python() -> PathBuf {
    script("python3")
}
