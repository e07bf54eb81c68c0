//! Files that hold payload: readable for their owner only.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Creates a file, or empties the one there, and takes it away from others. Devices and pipes stay as they are.
///
/// # Errors
/// It can't be opened for writing.
pub fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    if file.metadata()?.is_file() {
        // It may have been there before, open to others.
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
