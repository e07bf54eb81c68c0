#!/usr/bin/env bash
# Boots other kernels under qemu and has each run the self-test: every program is loaded there, every hook that is
# used has to fire, and every byte to arrive. Called by `make test-kernels`, after the build.
#
# KERNELS ("5.10 6.1 6.12 6.18 7.3"): which ones.   VMTEST (../shared/tools/vmtest): what boots them.
set -euo pipefail
cd "$(dirname "$0")/.."

vmtest="${VMTEST:-../shared/tools/vmtest}"
[ -x "$vmtest" ] || { echo "kernels: $vmtest is missing: set VMTEST to where it is" >&2; exit 2; }
"$vmtest" --setup >/dev/null

failed=
for kernel in ${KERNELS:-5.10 6.1 6.12 6.18 7.3}; do
    # Emulated: some twenty times slower than the machine itself.
    if report=$("$vmtest" --kernel "$kernel" --timeout 300 -- target/debug/sockdbg doctor --self-test 2>&1 </dev/null); then
        echo "$kernel: $(tail -n 1 <<<"$report")"
    else
        failed="$failed $kernel"
        printf '%s: FAILED\n%s\n' "$kernel" "$(grep -v '^  ok ' <<<"$report")"
    fi
done
[ -z "$failed" ] || { echo "kernels: failed on$failed" >&2; exit 1; }
