//! A look into a file system of the kernel's that may not be mounted, as in many containers and small systems.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::path::Path;
use std::thread;

/// Mounts a file system of this kind out of everybody's sight, in a mount namespace of one thread that ends with it,
/// and gives its root to `look`.
///
/// # Errors
/// The kernel refuses the namespace or the mount, or what `look` says.
pub(super) fn look_into<T: Send>(
    kind: &str,
    look: impl FnOnce(&Path) -> io::Result<T> + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let looking = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let nothing: Option<&str> = None;
            mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
            // Any directory will do: nobody else sees what is mounted over it.
            mount(Some(kind), "/sys", Some(kind), MsFlags::MS_RDONLY, nothing)?;
            look(Path::new("/sys"))
        });
        looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
