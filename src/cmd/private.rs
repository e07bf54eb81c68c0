//! Files that hold payload: readable for their owner only.

use nix::fcntl::AtFlags;
use nix::unistd::linkat;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

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

/// Writes a file, which gets its name when it is whole: until then what was there before stays, and whatever ends this
/// process leaves nothing half written. Devices and pipes get what is written at once.
///
/// # Errors
/// Those of `write`; the file can't be made.
pub fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let is_other = fs::metadata(path).is_ok_and(|there| !there.is_file());
    // The file that a symbolic link names is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let unnamed = if is_other { None } else { unnamed_beside(&target) };
    let Some(file) = unnamed else {
        // The folder may belong to somebody else, or its file system know no files without a name.
        return fill(create(path)?, write).map(drop);
    };
    let file = fill(file, write)?;
    let beside = with_suffix(&target, &format!(".{}.tmp", std::process::id()));
    let here = own_descriptor(&file);
    linkat(nix::fcntl::AT_FDCWD, here.as_str(), nix::fcntl::AT_FDCWD, &beside, AtFlags::AT_SYMLINK_FOLLOW)?;
    fs::rename(&beside, &target).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// A file without a name among the temporary ones: gone with this process, whatever ends that.
pub struct Unnamed {
    file: File,
    path: PathBuf,
}

impl Unnamed {
    /// An empty one.
    ///
    /// # Errors
    /// There is no folder for temporary files that can be written to.
    pub fn new() -> io::Result<Unnamed> {
        let file = tempfile::tempfile()?;
        let path = own_descriptor(&file).into();
        Ok(Unnamed { file, path })
    }

    /// To write to it.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// How this process can open it.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The path of an open file, for the process itself.
fn own_descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn fill(file: File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<File> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)
}

/// A file in the folder of `target` that has no name yet, and is gone with this process if it gets none.
fn unnamed_beside(target: &Path) -> Option<File> {
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = nix::libc::O_TMPFILE;
    OpenOptions::new().write(true).mode(0o600).custom_flags(flags).open(folder).ok()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let [page, link] = ["page", "link"].map(|name| folder.path().join(name));
        // A process that is killed here leaves what is seen here.
        let write = |name: &Path, seen: &[&str], end: io::Result<()>| {
            write_whole(name, |out| {
                out.write_all(&[b'x'; 100_000])?;
                assert_eq!(names(folder.path()), seen);
                end
            })
        };
        write(&page, &[], Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(names(folder.path()), [""; 0]);
        write(&page, &[], Ok(())).unwrap();
        assert_eq!(names(folder.path()), ["page"]);
        fs::write(&page, "before").unwrap();
        fs::set_permissions(&page, Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink("page", &link).unwrap();
        let both = ["link", "page"];
        write(&link, &both, Err(io::ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(fs::read(&page).unwrap(), b"before");
        write(&link, &both, Ok(())).unwrap();
        assert!(fs::read(&page).unwrap() == [b'x'; 100_000] && link.is_symlink());
        assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), both);
    }

    #[test]
    fn pipes_are_written_to_and_folders_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write_whole(&pipe, |out| out.write_all(b"page")).unwrap();
        assert_eq!(reader.join().unwrap(), b"page");
        assert_eq!(write_whole(folder.path(), |_| Ok(())).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }
}
