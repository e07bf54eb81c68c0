//! The rules of ARCHITECTURE.md and CONTRIBUTING.md that a search can enforce. Each test names every
//! place that breaks its rule.
//!
//! The scanner knows lines, not Rust: comments are cut at `//` and unit tests at `#[cfg(test)]`.

use sockdbg::event::Cause;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each top-level module may import of the crate. Everything points downwards.
const LAYERS: &[(&str, &[&str])] = &[
    ("event", &[]),
    ("record", &["event"]),
    ("redact", &["event", "record"]),
    ("signals", &[]),
    ("recording", &["event", "redact"]),
    ("process", &["event"]),
    ("source", &["event", "recording", "process", "redact"]),
    ("protocol", &["event", "record"]),
    ("conn", &["event", "record", "protocol"]),
    ("ledger", &["event", "record", "protocol", "conn"]),
    ("compare", &["event", "record", "protocol", "conn", "ledger"]),
    // Of `source` only what a source says of itself at its end.
    (
        "output",
        &["event", "record", "protocol", "conn", "ledger", "compare", "recording", "redact", "source"],
    ),
    ("exit", &["output", "source"]),
    (
        "cmd",
        &[
            "event",
            "record",
            "protocol",
            "conn",
            "ledger",
            "compare",
            "recording",
            "redact",
            "source",
            "process",
            "output",
            "exit",
            "signals",
        ],
    ),
    ("cli", &["cmd", "exit"]),
];

/// Layers without clock, file, socket, environment and terminal: what they know is in the events.
const CORE: [&str; 7] = ["event", "record", "redact", "protocol", "conn", "ledger", "compare"];

const LONGEST_FILE: usize = 700;

#[test]
fn imports_point_downwards() {
    let mut broken = Vec::new();
    for file in sources("src", "rs") {
        let module = file.module();
        if matches!(module, "bin" | "lib") {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            broken.push(format!("{}: module {module} has no line in LAYERS", file.name));
            continue;
        };
        for import in imports(&file.code()) {
            if import != module && !allowed.contains(&import.as_str()) {
                broken.push(format!("{}: {module} imports {import}", file.name));
            }
        }
    }
    report(broken);
}

#[test]
fn outside_crates_stay_in_their_layers() {
    let rules: &[(&str, &[&str])] = &[
        ("clap", &["cmd", "cli", "bin"]),
        ("clap_complete", &["cmd", "cli"]),
        ("libbpf_rs", &["source", "process", "cmd"]),
        ("pcap", &["source", "process", "cmd"]),
        ("anyhow", &["cmd", "cli", "exit"]),
    ];
    let mut broken = Vec::new();
    for file in sources("src", "rs") {
        for (number, line) in file.code().lines().enumerate() {
            for (name, layers) in rules {
                if uses_crate(line, name) && !layers.contains(&file.module()) {
                    broken.push(format!("{}:{}: uses {name}", file.name, number + 1));
                }
            }
        }
    }
    report(broken);
}

#[test]
fn the_core_does_no_io() {
    let banned = [
        "SystemTime",
        "Instant",
        "std::fs",
        "std::io::std",
        "std::env",
        "std::thread",
        "std::process",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "unix::net", // the standard library's; event::Transport has words like its types
        "println!",
        "print!(",
        "dbg!",
    ];
    report(find(&banned, |file| CORE.contains(&file.module())));
}

#[test]
fn only_output_layers_print() {
    let banned = ["println!", "eprintln!", "dbg!(", "io::stdout", "io::stderr"];
    report(find(&banned, |file| !matches!(file.module(), "output" | "cmd" | "exit" | "cli")));
}

#[test]
fn nothing_is_left_unfinished() {
    report(find(&["todo!", "unimplemented!", "FIXME", "XXX"], |_| true));
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut broken = Vec::new();
    let rust = ["src", "tests", "benches"].into_iter().flat_map(|folder| sources(folder, "rs"));
    for file in rust {
        if !file.text.starts_with("//! ") {
            broken.push(format!("{}: begins without a header comment", file.name));
        }
        broken.extend(file.too_long());
    }
    for file in sources("src/bpf", "c").into_iter().chain(sources("src/bpf", "h")) {
        let first = file.text.lines().next().unwrap_or("");
        if !["SPDX-License-Identifier:", "MIT", "GPL-2.0"].iter().all(|word| first.contains(word)) {
            broken.push(format!("{}: the first line is not its SPDX licence", file.name));
        }
        broken.extend(file.too_long());
    }
    report(broken);
}

/// A test that sleeps is slow on a fast machine and wrong on a slow one. A loop that waits for a condition
/// may sleep between its looks, and sleep(0) only yields.
#[test]
fn tests_await_conditions() {
    let mut broken = Vec::new();
    for file in sources("tests", "rs").into_iter().chain(sources("src", "rs")) {
        let tests = if file.name.starts_with("tests/") { &file.text[..] } else { file.unit_tests() };
        let lines: Vec<&str> = tests.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let around = &lines[number.saturating_sub(10)..(number + 4).min(lines.len())];
            let loops = number > 0 && lines[number - 1].trim().starts_with("while ");
            let polls = loops || around.iter().any(|line| line.contains("deadline"));
            let sleeps = line.contains(concat!("sle", "ep(")) && !line.contains(concat!("sle", "ep(0)"));
            if sleeps && !polls {
                broken.push(format!("{}: {}", file.name, line.trim()));
            }
        }
    }
    report(broken);
}

#[test]
fn every_cause_is_explained_to_users_and_developers() {
    let readme = read("README.md");
    let lacking = |cause: &&Cause| !readme.contains(&format!("| `{}` |", cause.slug()));
    let slugs = Cause::ALL.iter().filter(lacking).map(|cause| format!("README.md lacks `{}`", cause.slug()));
    report(slugs.collect());
}

#[test]
fn every_subcommand_is_in_the_readme() {
    let readme = read("README.md");
    let root = sockdbg::cmd::root();
    let commands = root.get_subcommands().filter(|command| !command.is_hide_set());
    let lacking = commands.filter(|command| !readme.contains(&format!("`sockdbg {}", command.get_name())));
    report(lacking.map(|command| format!("README.md lacks `sockdbg {}`", command.get_name())).collect());
}

/// Paths of somebody's machine mean nothing elsewhere.
#[test]
fn no_file_names_a_machine() {
    let banned =
        [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tmp/", "wt")];
    let extensions = ["rs", "c", "h", "md", "toml", "sh", "py", "yml", "txt", ""];
    let mut broken = Vec::new();
    for file in extensions.into_iter().flat_map(|extension| sources("", extension)) {
        let hits = file.text.lines().filter(|line| banned.iter().any(|word| line.contains(word)));
        broken.extend(hits.map(|line| format!("{}: {}", file.name, line.trim())));
    }
    report(broken);
}

/// One text file, by its path from the root of the repository.
struct File {
    name: String,
    text: String,
}

impl File {
    /// The top-level module it belongs to: `conn` for src/conn/stream.rs and for src/conn.rs.
    fn module(&self) -> &str {
        let rest = self.name.strip_prefix("src/").unwrap_or(&self.name);
        let end = rest.find('/').unwrap_or(rest.len() - ".rs".len());
        &rest[..end]
    }

    /// Its code without comments and unit tests, one line for each.
    fn code(&self) -> String {
        let end = self.text.len() - self.unit_tests().len();
        let line = |line: &str| line.split("//").next().unwrap_or("").to_owned() + "\n";
        self.text[..end].lines().map(line).collect()
    }

    /// Its unit tests: all of a file that is called tests.rs or lies in a folder tests/.
    fn unit_tests(&self) -> &str {
        if self.name.ends_with("/tests.rs") || self.name.contains("/tests/") {
            return &self.text;
        }
        self.text.find("#[cfg(test)]\nmod tests {").map_or("", |start| &self.text[start..])
    }

    fn too_long(&self) -> Option<String> {
        let lines = self.text.lines().count();
        (lines > LONGEST_FILE).then(|| format!("{}: {lines} lines, split it by subject", self.name))
    }
}

/// Every file below `folder` with this extension, outside target/, .git/ and generated folders.
fn sources(folder: &str, extension: &str) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    collect(&root.join(folder), extension, &mut files);
    let relative = |path: PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    files.into_iter().map(|(path, text)| File { name: relative(path), text }).collect()
}

fn collect(folder: &Path, extension: &str, files: &mut BTreeMap<PathBuf, String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && !["target", ".git", "completions"].iter().any(|skip| name == *skip) {
            collect(&path, extension, files);
        } else if path.is_file() && name != ".git" && path.extension().unwrap_or_default() == extension {
            // What is not text (a recording without extension, say) is of no interest here.
            files.extend(fs::read_to_string(&path).ok().map(|text| (path, text)));
        }
    }
}

/// The modules of the crate that `code` names: `crate::a::b` and `crate::{a, b::c}`.
fn imports(code: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => found.push(word(rest)),
            Some(group) => found.extend(top_level_items(group).iter().map(|item| word(item.trim()))),
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// Splits `a, b::{c, d}, e}...` at the commas outside inner braces, up to the closing brace.
fn top_level_items(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut items) = (0, 0, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

/// True where `line` names the crate, and not a module or a word that ends alike.
fn uses_crate(line: &str, name: &str) -> bool {
    let path = format!("{name}::");
    line.match_indices(&path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn find(banned: &[&str], applies: impl Fn(&File) -> bool) -> Vec<String> {
    let mut broken = Vec::new();
    for file in sources("src", "rs").into_iter().filter(applies) {
        for (number, line) in file.code().lines().enumerate() {
            let words = banned.iter().filter(|word| line.contains(**word));
            broken.extend(words.map(|word| format!("{}:{}: {word}", file.name, number + 1)));
        }
    }
    broken
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn the_scanner_sees_every_form_of_import() {
    let code =
        "use crate::event::Event;\nuse crate::{conn, ledger::{a, b}, output};\nlet x = crate::exit::y();";
    assert_eq!(imports(code), ["event", "conn", "ledger", "output", "exit"]);
    assert!(uses_crate("use clap::Args;", "clap") && uses_crate("fn f(x: pcap::Device)", "pcap"));
    assert!(!uses_crate("use crate::source::pcap::Pcap;", "pcap") && !uses_crate("my_pcap::x", "pcap"));
    let file = File { name: "src/conn/stream.rs".into(), text: "//! x\nuse a; // crate::b\n".into() };
    assert_eq!((file.module(), file.code()), ("conn", "\nuse a; \n".to_owned()));
}
