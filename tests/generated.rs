//! Proves that man/, completions/ and the table of causes in README.md are what the program generates.
//! With SOCKDBG_GENERATE set (`make generate`) it writes them instead.

use sockdbg::ledger::catalogue;
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
        fs::write(root.join("README.md"), readme_with_causes()).unwrap();
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
fn committed_table_of_causes_is_fresh() {
    if std::env::var_os("SOCKDBG_GENERATE").is_none() {
        let fresh = readme_with_causes() == readme();
        assert!(fresh, "the table of causes in README.md is stale: run make generate");
    }
}

fn readme() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// README.md with a new table between the two marks.
fn readme_with_causes() -> String {
    let readme = readme();
    let (before, rest) = readme.split_once("<!-- causes: written by make generate -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /causes -->\n").unwrap();
    let row = |entry: catalogue::Entry| {
        format!("| {} | `{}` | {} |\n", entry.cause.stage().name(), entry.cause.slug(), entry.meaning)
    };
    let rows: String = catalogue::all().map(row).collect();
    let table = format!("| stage | cause | what happened |\n|---|---|---|\n{rows}");
    format!("{before}<!-- causes: written by make generate -->\n{table}<!-- /causes -->\n{after}")
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
