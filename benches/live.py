"""Requests per second of nginx: untraced, under `sockdbg events -w`, under strace.

One worker, its own configuration, a free port. The three variants take turns, so that whatever else the
machine does hits all of them. strace gets the same task: every payload byte into a file.

Usage: live.py DIRECTORY
"""

import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOCKDBG = os.environ["SOCKDBG"]
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
BODY = 1024
CONNECTIONS = 32
CALLS = "network,read,write,readv,writev,pread64,sendfile,close"
DEADLINE = 20

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile off;
    keepalive_requests 1000000000;
    open_file_cache max=10;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port}; root {directory}/root; }}
}}
"""


def until(condition, what):
    """Waits for the condition to give something, and returns that."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.01)
    sys.exit(f"bench: waited {DEADLINE} s in vain for {what}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """A server with one worker."""

    def __init__(self, directory):
        self.port = free_port()
        root = directory / "root"
        root.mkdir()
        (root / "index.html").write_text("x" * (BODY - 1) + "\n")
        # The worker runs as another user.
        directory.chmod(0o755)
        directory.parent.chmod(0o755)
        configuration = directory / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(directory=directory, port=self.port))
        command = ["nginx", "-c", configuration, "-e", directory / "error.log", "-p", directory]
        self.master = subprocess.Popen(command)
        self.url = f"http://127.0.0.1:{self.port}/"
        try:
            until(self.answers, "nginx to answer")
            children = Path(f"/proc/{self.master.pid}/task/{self.master.pid}/children")
            self.worker = until(lambda: children.read_text().split(), "the worker of nginx")[0]
        except BaseException:
            self.stop()
            raise

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return connection.recv(12).endswith(b"200")
        except ConnectionError:
            return False

    def cpu(self):
        """CPU seconds of the worker so far, those that tracing costs it included."""
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.master.send_signal(signal.SIGQUIT)
        self.master.wait()


def load(nginx):
    """One round: requests per second, and microseconds of the worker's CPU time for each request. The
    second figure stands even where other programs compete for the machine."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", nginx.url]
    before = nginx.cpu()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    cpu = nginx.cpu() - before
    if errors := re.search(r"(Socket errors|Non-2xx).*", output):
        sys.exit(f"bench: wrk: {errors.group()}")
    requests = int(re.search(r"(\d+) requests in", output).group(1))
    return float(re.search(r"Requests/sec:\s*([\d.]+)", output).group(1)), cpu / requests * 1e6


def is_traced(pid):
    """True once a process has a tracer in the sense of ptrace."""
    return "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text()


def bpf_links(pid):
    """How many BPF programs a process has attached."""
    count = 0
    for entry in Path(f"/proc/{pid}/fdinfo").glob("*"):
        try:
            count += "link_type:" in entry.read_text()
        except OSError:
            pass  # closed meanwhile
    return count


def stable(count):
    """A condition: `count` gives the same number, not 0, ten times in a row."""
    seen = []

    def condition():
        seen.append(count())
        return len(seen) >= 10 and seen[-1] and len(set(seen[-10:])) == 1

    return condition


def untraced(nginx, _):
    return load(nginx), None


def under_sockdbg(nginx, directory):
    recording = directory / "events.pcapng"
    command = [SOCKDBG, "events", "-p", nginx.worker, "-w", recording]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        until(stable(lambda: bpf_links(tracer.pid)), "sockdbg to attach")
        rate = load(nginx)
    finally:
        tracer.send_signal(signal.SIGINT)
        summary = tracer.communicate()[1].strip().splitlines()
    if tracer.returncode != 0:
        sys.exit(f"bench: sockdbg ended with {tracer.returncode}: {summary}")
    size = recording.stat().st_size
    recording.unlink()
    return rate, f"{summary[-1] if summary else 'no summary'} ({size / 1e6:.0f} MB)"


def under_strace(nginx, directory):
    log = directory / "strace.log"
    command = ["strace", "-f", "-qq", "-p", nginx.worker, "-e", f"trace={CALLS}", "-s", "1048576", "-o", log]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_traced(nginx.worker), "strace to attach")
        rate = load(nginx)
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    log.unlink()
    return rate, None


VARIANTS = {"untraced": untraced, "sockdbg events -w": under_sockdbg, "strace -f": under_strace}


def main():
    directory = Path(sys.argv[1]) / "live"
    directory.mkdir()
    nginx = Nginx(directory)
    rates = {name: [] for name in VARIANTS}
    costs = {name: [] for name in VARIANTS}
    lossless = True
    try:
        print(f"live: nginx, 1 worker, {BODY} B bodies; wrk, {CONNECTIONS} connections, {SECONDS} s a round")
        for number in range(1, ROUNDS + 1):
            for name, variant in VARIANTS.items():
                os.sync()  # what was written before is not to be written during this round
                (rate, cost), remark = variant(nginx, directory)
                rates[name].append(rate)
                costs[name].append(cost)
                if remark:
                    lossless &= "nothing lost" in remark
                print(f"  round {number}: {name:18} {rate:9.0f} requests/s  {cost:6.1f} us CPU each", flush=True)
                if remark:
                    print(f"    {remark}")
    finally:
        nginx.stop()
    print("  medians:")
    base = statistics.median(rates["untraced"])
    for name in VARIANTS:
        rate, cost = statistics.median(rates[name]), statistics.median(costs[name])
        print(f"    {name:18} {rate:9.0f} requests/s  {rate / base:6.1%} of untraced  {cost:6.1f} us CPU each")
    print(f"  sockdbg lost {'nothing in any round' if lossless else 'EVENTS'}")


main()
