#!/usr/bin/env bash
# Runs every test. Those that load BPF programs need root: without it, the test programs are built as
# the user and run through sudo where that works without a password. Without either, they say what they
# lack, and fail only where SOCKDBG_REQUIRE_BPF=1.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ] && sudo -n true 2>/dev/null; then
    # Cargo runs each test program through this; root must not own files of the target directory.
    triple=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${triple}_RUNNER=sudo -n -E"
fi
cargo test "$@"
if [ $# -eq 0 ]; then
    # Once more with the hooks of kernels that have no better ones.
    SOCKDBG_TEST_HOOKS=calls cargo test --test live_attach --test live_capture --test live_loss --test live_paths \
        --test live_targets --test live_filters --test live_udp --test live_unix --test live_table
fi
