//! Proves that man/ and completions/ are what the command-line definition generates. With
//! SOCKDBG_GENERATE set (`make generate`) it writes them instead.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const FOLDERS: [&str; 2] = ["man", "completions"];

#[test]
fn committed_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("SOCKDBG_GENERATE").is_some() {
        for folder in FOLDERS {
            remove_files(&root.join(folder));
        }
        sockdbg::cli::generate(root).unwrap();
        return;
    }
    let fresh = tempfile::tempdir().unwrap();
    sockdbg::cli::generate(fresh.path()).unwrap();
    for folder in FOLDERS {
        let (wanted, committed) = (files(&fresh.path().join(folder)), files(&root.join(folder)));
        let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&committed), names(&wanted), "{folder}/ is stale: run make generate");
        for (name, text) in &wanted {
            assert!(&committed[name] == text, "{folder}/{name} is stale: run make generate");
        }
    }
}

#[test]
fn every_subcommand_has_a_page_and_every_shell_a_script() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for command in sockdbg::cmd::root().get_subcommands() {
        let page = format!("man/sockdbg-{}.1", command.get_name());
        assert!(root.join(&page).exists(), "{page} is missing: run make generate");
    }
    assert!(root.join("man/sockdbg.1").exists());
    assert_eq!(files(&root.join("completions")).len(), 5);
}

fn files(folder: &Path) -> BTreeMap<String, String> {
    let Ok(entries) = fs::read_dir(folder) else { return BTreeMap::new() };
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.unwrap();
        (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

/// A page of a subcommand that is gone must not stay.
fn remove_files(folder: &Path) {
    for name in files(folder).into_keys() {
        fs::remove_file(folder.join(name)).unwrap();
    }
}
