#!/usr/bin/env bash
# Boots other kernels under qemu. Each runs the self-test (every program is loaded there, every hook that is used has to
# fire, and every byte to arrive) and the table of workloads (tests/live_table.rs), each test in a guest of its own, so
# that one that hangs or takes the kernel down costs no other. Called by `make test-kernels`.
#
# KERNELS ("5.10 6.1 6.12 6.18 7.3"): which ones.   VMTEST (../shared/tools/vmtest): what boots them.
# TESTS (live_table): test programs to run there.   LOGS (a temporary folder): where what each kernel says is kept.
# CPUS (2): processors of a guest.                  PATIENCE (1800): seconds that one guest may take.
set -euo pipefail
cd "$(dirname "$0")/.."

vmtest="${VMTEST:-../shared/tools/vmtest}"
[ -x "$vmtest" ] || { echo "kernels: $vmtest is missing: set VMTEST to where it is" >&2; exit 2; }
"$vmtest" --setup >/dev/null

# Copies: a build that goes on meanwhile must not change what the guests run.
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
logs="${LOGS:-$programs}"
mkdir -p "$logs"
# Emulated processors are some twenty times slower than the machine itself: optimised, and with more patience.
cargo build --quiet --profile optimised --bin sockdbg --example workload
cp -p target/optimised/sockdbg target/optimised/examples/workload "$programs"
for name in ${TESTS:-live_table}; do
    built=$(cargo test --profile optimised --no-run --test "$name" 2>&1 | sed -n 's/.*(\(target[^)]*\))$/\1/p')
    cp -p "$built" "$programs/test-$name"
done
export SOCKDBG_TEST_PROGRAMS="$programs" SOCKDBG_TEST_SLOW=20 SOCKDBG_REQUIRE_BPF=1

on() { # KERNEL NAME COMMAND...: what it says goes to a log; its last line that tells something is shown
    local kernel=$1 log="$logs/$1-$2.txt" name=$2
    shift 2
    if "$vmtest" --kernel "$kernel" --cpus "${CPUS:-2}" --timeout "${PATIENCE:-1800}" -- "$@" >"$log" 2>&1 </dev/null; then
        echo "$kernel: $name: $(grep -v '^$' "$log" | tail -n 1)"
    else
        failed="$failed $kernel($name)"
        printf '%s: %s: FAILED\n%s\n' "$kernel" "$name" "$(grep -v '^  ok \|^test .* ok$' "$log")"
    fi
}

failed=
for kernel in ${KERNELS:-5.10 6.1 6.12 6.18 7.3}; do
    on "$kernel" self-test "$programs/sockdbg" doctor --self-test
    for name in ${TESTS:-live_table}; do
        for one in $("$programs/test-$name" --list --format terse | sed -n 's/: test$//p'); do
            on "$kernel" "$name-$one" "$programs/test-$name" --exact "$one"
        done
    done
done
[ -z "$failed" ] || { echo "kernels: failed on$failed" >&2; exit 1; }
