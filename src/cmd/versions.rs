//! What a bug report has to say of where it came from: program, kernel, system, libraries, command line.

use crate::output::escape::escape;
use std::ffi::{CStr, c_char};
use std::fs;
use std::io::{self, Write};

unsafe extern "C" {
    /// pcap_lib_version(3PCAP). The pcap crate links the library and lacks the function.
    fn pcap_lib_version() -> *const c_char;
}

/// Writes one line for each. Of a redacted one the command that was traced is counted only: its words may be secrets.
///
/// # Errors
/// `out` can't be written.
pub fn write(is_redacted: bool, out: &mut dyn Write) -> io::Result<()> {
    // SAFETY: both functions take nothing and give a string that lives as long as the program.
    let [libbpf, libpcap] = unsafe {
        [libbpf_rs::libbpf_sys::libbpf_version_string(), pcap_lib_version()].map(|text| CStr::from_ptr(text))
    };
    writeln!(out, "sockdbg: {}", env!("CARGO_PKG_VERSION"))?;
    if let Ok(system) = nix::sys::utsname::uname() {
        let words = [system.sysname(), system.release(), system.version(), system.machine()];
        let words = words.map(|word| escape(word.as_encoded_bytes()).to_string());
        writeln!(out, "kernel: {}", words.join(" "))?;
    }
    writeln!(out, "system: {}", escape(system().as_bytes()))?;
    writeln!(out, "libbpf: {}", escape(libbpf.to_bytes()))?;
    writeln!(out, "libpcap: {}", escape(libpcap.to_bytes()))?;
    let mut words = std::env::args_os();
    write!(out, "command:")?;
    for word in words.by_ref() {
        write!(out, " {}", escape(word.as_encoded_bytes()))?;
        if is_redacted && word == "--" {
            break;
        }
    }
    match words.count() {
        0 => writeln!(out),
        more => writeln!(out, " ({more} words redacted)"),
    }
}

/// The name that the distribution gives itself (os-release(5)).
fn system() -> String {
    let text =
        ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| fs::read_to_string(path).ok());
    let line = text.as_deref().unwrap_or_default().lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map_or("unknown".to_owned(), |name| name.trim_matches('"').to_owned())
}
