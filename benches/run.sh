#!/usr/bin/env bash
# Measures sockdbg side by side with other tools, on this machine and in one run: live against strace
# (live.py), offline against tshark (offline.py). Called by `make bench`, after the release build.
#
# BENCH_SECONDS (1): how long each live round lasts.   BENCH_ROUNDS (30): how many traced ones.
# BENCH_MB (300): size of the capture.                 BENCH_DIR: where its files go (a new directory).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
export SOCKDBG="${SOCKDBG:-$here/../target/release/sockdbg}"
PATH="$PATH:/usr/sbin:/sbin"

for tool in python3 nginx wrk strace tshark; do
    command -v "$tool" >/dev/null || { echo "bench: $tool is missing: run scripts/setup.sh test bench" >&2; exit 2; }
done
[ -x "$SOCKDBG" ] || { echo "bench: $SOCKDBG is missing: run cargo build --release" >&2; exit 2; }

directory=$(mktemp -d "${BENCH_DIR:-${TMPDIR:-/tmp}}/sockdbg-bench.XXXXXX")
# The workers of nginx run as another user.
chmod 755 "$directory"
trap 'rm -rf "$directory"' EXIT

if [ "$(id -u)" -eq 0 ]; then
    python3 "$here/live.py" "$directory"
else
    echo "live: left out, tracing needs root"
fi
python3 "$here/offline.py" "$directory"
