"""CPU time and peak memory of `sockdbg conn-trace -r` and of tshark on the same HTTP capture, and the memory
of sockdbg on a tenth of it.

Usage: offline.py DIRECTORY
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOCKDBG = os.environ["SOCKDBG"]
MEGABYTES = int(os.environ.get("BENCH_MB", "300"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
HERE = Path(__file__).parent


def sockdbg(capture):
    return [SOCKDBG, "conn-trace", "-r", capture]


def tshark(capture):
    fields = ["http.request.method", "http.request.uri", "http.response.code", "http.content_length"]
    return ["tshark", "-n", "-r", capture, "-Y", "http", "-T", "fields", *(word for f in fields for word in ("-e", f))]


def peak_memory(pid):
    """The most memory that the process had resident so far, in MiB; None once it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def measure(command, output):
    """CPU seconds, peak memory in MiB and the number of lines printed.

    The memory is read from /proc while the process runs: getrusage would count that of this interpreter,
    from which the process was forked, as its own.
    """
    peak = 0.0
    with open(output, "wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.DEVNULL)
        while True:
            peak = max(peak, peak_memory(process.pid) or 0.0)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.003)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"bench: {command[0]} ended with {process.returncode}")
    with open(output, "rb") as lines:
        count = sum(1 for _ in lines)
    os.unlink(output)
    return usage.ru_utime + usage.ru_stime, peak, count


def main():
    directory = Path(sys.argv[1])
    captures = {}
    for megabytes in (MEGABYTES // 10, MEGABYTES):
        captures[megabytes] = directory / f"http-{megabytes}.pcap"
        command = [sys.executable, HERE / "generate.py", captures[megabytes], str(megabytes)]
        subprocess.run(command, check=True)
    small, large = captures.values()
    print(f"offline: HTTP capture of {large.stat().st_size / 1e6:.0f} MB", flush=True)
    tools = {"sockdbg conn-trace -r": sockdbg, "tshark -Y http -T fields": tshark}
    results = {name: [] for name in tools}
    counts = set()
    for number in range(1, ROUNDS + 1):
        for name, command in tools.items():
            cpu, peak, lines = measure(command(large), directory / "output")
            results[name].append((cpu, peak))
            # tshark prints a line for the request and one for the response.
            counts.add(lines if command is sockdbg else lines / 2)
            print(f"  round {number}: {name:25} {cpu:7.2f} s CPU  {peak:7.1f} MiB  {lines} lines", flush=True)
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in results.items()}
    (own_cpu, own_peak), (other_cpu, other_peak) = medians.values()
    if len(counts) > 1:
        sys.exit(f"bench: the tools, or two runs of one, do not agree on the number of requests: {counts}")
    print("  medians:")
    for name, (cpu, peak) in medians.items():
        print(f"    {name:25} {cpu:7.2f} s CPU  {peak:7.1f} MiB")
    print(f"    tshark takes {other_cpu / own_cpu:.1f} x the CPU time and {other_peak / own_peak:.1f} x the memory")
    small_peak = measure(sockdbg(small), directory / "output")[1]
    size = small.stat().st_size / 1e6
    print(f"    sockdbg on {size:.0f} MB: {small_peak:.1f} MiB; on {large.stat().st_size / 1e6:.0f} MB: {own_peak:.1f} MiB")


main()
