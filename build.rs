//! Compiles the probes with the machine's clang and generates their loader.

use libbpf_cargo::SkeletonBuilder;
use std::path::PathBuf;
use std::process::{Command, Stdio, exit};
use std::{env, fs};

const SOURCES: &str = "src/bpf";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for build scripts"));
    let clang = env::var_os("CLANG").unwrap_or_else(|| "clang".into());
    println!("cargo:rerun-if-env-changed=CLANG");
    println!("cargo:rerun-if-changed={SOURCES}");
    for file in fs::read_dir(SOURCES).into_iter().flatten().flatten() {
        println!("cargo:rerun-if-changed={}", file.path().display());
    }
    if Command::new(&clang).arg("--version").stdout(Stdio::null()).status().is_err() {
        fail(
            "clang is needed to compile the BPF programs: install it (apt install clang) or set CLANG to its path",
        );
    }
    let build = |name: &str| {
        let mut builder = SkeletonBuilder::new();
        builder.source(format!("{SOURCES}/{name}.bpf.c")).clang(&clang);
        builder.clang_args(["-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]);
        builder
    };
    // The hooks that are only tried need no loader of their own: each is loaded by its section's name.
    let built = build("socket")
        .build_and_generate(out.join("socket.skel.rs"))
        .and_then(|()| build("hooks").obj(out.join("hooks.bpf.o")).build().map(|_| ()));
    if let Err(error) = built {
        fail(&format!("{error:#}"));
    }
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    exit(1)
}
