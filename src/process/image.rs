//! What is in the memory of a process: its program, the TLS libraries, and calls that its program can make.
//!
//! Libraries are known by the functions that they define, so that one linked into the program, or one under another
//! name, is found as well, unless its symbols were stripped.

use object::read::{File, ReadCache, ReadRef};
use object::{Object, ObjectSection, ObjectSymbol};
use procfs::ProcResult;
use procfs::process::{MMPermissions, MMapPath, MemoryMap, Process};
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a process runs.
#[derive(Debug)]
pub struct Image {
    /// Its program.
    pub program: PathBuf,
    /// 32 or 64; absent where the program can't be read.
    pub bits: Option<u8>,
    /// Implementations of TLS in its program and libraries.
    pub tls: Vec<Tls>,
    /// Functions of the C library that its program imports, in alphabetical order.
    pub imports: BTreeSet<String>,
    /// Mapped files that could not be read or are no ELF files, so that nothing is known of them.
    pub unreadable: Vec<PathBuf>,
}

/// An implementation of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// `OpenSSL`, `BoringSSL`, `GnuTLS`, `NSS`, `rustls`, `Go crypto/tls`.
    pub name: &'static str,
    /// The file it is in: a library, or the program where it is statically linked.
    pub file: PathBuf,
    /// True where it is part of the program.
    pub linked: bool,
}

impl Image {
    /// Looks at the program and the libraries of a process.
    ///
    /// # Errors
    /// The process is gone, a task of the kernel's own, or belongs to another user.
    pub fn of(pid: u32) -> ProcResult<Image> {
        let process = Process::new(pid as i32)?;
        let program = process.exe()?;
        let mut image =
            Image { program, bits: None, tls: Vec::new(), imports: BTreeSet::new(), unreadable: Vec::new() };
        let mut seen = HashSet::new();
        for map in process.maps()? {
            if let MMapPath::Path(path) = &map.pathname
                && map.perms.contains(MMPermissions::EXECUTE)
                && seen.insert(path.clone())
            {
                image.add(path, open(pid, &map, path));
            }
        }
        Ok(image)
    }

    fn add(&mut self, path: &Path, file: Option<fs::File>) {
        let linked = path == self.program;
        let cache = file.map(ReadCache::new);
        let Some(elf) = cache.as_ref().and_then(|cache| File::parse(cache).ok()) else {
            self.unreadable.push(path.to_owned());
            return;
        };
        if linked {
            self.bits = Some(if elf.is_64() { 64 } else { 32 });
            let imports = elf.dynamic_symbols().filter(|symbol| symbol.is_undefined());
            self.imports.extend(imports.filter_map(|symbol| Some(symbol.name().ok()?.to_owned())));
        }
        self.tls.extend(tls(&elf).map(|name| Tls { name, file: path.to_owned(), linked }));
    }
}

/// Opens what is mapped, also where the file was removed or replaced since; where that is not permitted, the file
/// of the same name as the process sees it.
fn open(pid: u32, map: &MemoryMap, path: &Path) -> Option<fs::File> {
    let (from, to) = map.address;
    let mapped = fs::File::open(format!("/proc/{pid}/map_files/{from:x}-{to:x}"));
    let named = || fs::File::open(format!("/proc/{pid}/root{}", path.display()));
    mapped.or_else(|_| named()).ok()
}

/// The implementation of TLS that a file defines.
fn tls<'data, R: ReadRef<'data>>(elf: &File<'data, R>) -> Option<&'static str> {
    let defined = elf.symbols().chain(elf.dynamic_symbols()).filter(|symbol| symbol.is_definition());
    let (mut openssl, mut boring, mut other) = (false, false, None);
    for name in defined.filter_map(|symbol| symbol.name().ok()) {
        match name {
            "SSL_write" => openssl = true,
            // Generate Random Extensions And Sustain Extensibility: a word of BoringSSL's only.
            "SSL_CTX_set_grease_enabled" => boring = true,
            "gnutls_record_send" => other = Some("GnuTLS"),
            "SSL_ImportFD" => other = Some("NSS"),
            // In both manglings the length of a crate's name stands before it.
            _ if other.is_none() && name.contains("6rustls") => other = Some("rustls"),
            _ => {}
        }
    }
    match (openssl, boring) {
        (true, true) => Some("BoringSSL"),
        (true, false) => Some("OpenSSL"),
        _ => other.or_else(|| has_go_tls(elf).then_some("Go crypto/tls")),
    }
}

/// Go keeps the names of its functions where nothing strips them: the table it unwinds stacks with.
fn has_go_tls<'data, R: ReadRef<'data>>(elf: &File<'data, R>) -> bool {
    let tables = [".gopclntab", ".data.rel.ro.gopclntab"];
    let mut found = tables.iter().filter_map(|name| elf.section_by_name(name)?.data().ok());
    found.any(|table| memchr::memmem::find(table, b"crypto/tls.(*Conn).Write").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Compiles `source` to a shared library and says which TLS is found in it.
    fn tls_of(source: &str, flags: &[&str]) -> Option<&'static str> {
        let directory = tempfile::tempdir().unwrap();
        let (code, library) = (directory.path().join("x.c"), directory.path().join("x.so"));
        fs::write(&code, source).unwrap();
        let mut compiler = Command::new("clang");
        compiler.args(["-shared", "-nostdlib", "-o"]).arg(&library).arg(&code).args(flags);
        assert!(compiler.status().unwrap().success());
        let cache = ReadCache::new(fs::File::open(library).unwrap());
        tls(&File::parse(&cache).unwrap())
    }

    #[test]
    fn tls_is_known_by_what_a_file_defines() {
        let write = "void SSL_write(void) {}";
        assert_eq!(tls_of(write, &[]), Some("OpenSSL"));
        let boring = format!("{write} void SSL_CTX_set_grease_enabled(void) {{}}");
        assert_eq!(tls_of(&boring, &[]), Some("BoringSSL"));
        assert_eq!(tls_of("void gnutls_record_send(void) {}", &[]), Some("GnuTLS"));
        assert_eq!(tls_of("void SSL_ImportFD(void) {}", &[]), Some("NSS"));
        assert_eq!(tls_of("void _ZN6rustls4conn5write17h0E(void) {}", &[]), Some("rustls"));
        assert_eq!(tls_of("void SSL_write(void); void f(void) { SSL_write(); }", &[]), None);
    }

    #[test]
    fn what_is_linked_in_is_found_unless_it_was_stripped() {
        let hidden = "__attribute__((visibility(\"hidden\"))) void SSL_write(void) {}";
        assert_eq!(tls_of(hidden, &[]), Some("OpenSSL"));
        assert_eq!(tls_of(hidden, &["-s"]), None);
    }

    #[test]
    fn go_is_known_by_its_table_of_functions_even_when_stripped() {
        let table = |name: &str| {
            format!(
                "__attribute__((section(\".gopclntab\"), used)) const char table[] = \"main.main\\0{name}\\0\";"
            )
        };
        assert_eq!(tls_of(&table("crypto/tls.(*Conn).Write"), &["-s"]), Some("Go crypto/tls"));
        assert_eq!(tls_of(&table("net/http.Get"), &["-s"]), None);
    }

    #[test]
    fn own_program_is_what_it_is() {
        let image = Image::of(std::process::id()).unwrap();
        assert_eq!(image.program, std::env::current_exe().unwrap());
        assert_eq!(image.bits, Some(if cfg!(target_pointer_width = "64") { 64 } else { 32 }));
        assert_eq!(image.tls, []);
        assert!(image.imports.contains("sendmsg") || image.imports.contains("write"), "{:?}", image.imports);
    }
}
