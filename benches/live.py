"""Requests per second of nginx: untraced, under `sockdbg events -w`, under strace.

Two set-ups, each with one worker, a configuration of its own and a free port. "stock": nginx and wrk with their
built-in defaults (an access log, the file opened for each request; 2 threads, 10 connections). "bare": whatever can
be saved is saved (no log, the file kept open; 1 thread, 32 connections that last), so a request costs nginx as
little as it can and tracing it weighs the most.

Traced and untraced rounds take turns and are short and many, for the machine may be faster or slower a few seconds
later; what is compared is the mean of all. strace gets the same task: every payload byte into a file.

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
SECONDS = int(os.environ.get("BENCH_SECONDS", "1"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "30"))
BODY = 1024
CALLS = "network,read,write,readv,writev,pread64,sendfile,close"
DEADLINE = 20

CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log {directory}/access.log;
    {settings}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{ listen 127.0.0.1:{port}; root {directory}/root; }}
}}
"""

# Settings of nginx beyond its defaults, options of wrk beyond its own.
SETUPS = {
    "stock": ("", []),
    "bare": ("access_log off; open_file_cache max=10; keepalive_requests 1000000000;", ["-t1", "-c32"]),
}


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

    def __init__(self, directory, settings):
        self.port = free_port()
        root = directory / "root"
        root.mkdir()
        (root / "index.html").write_text("x" * (BODY - 1) + "\n")
        configuration = directory / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(directory=directory, port=self.port, settings=settings))
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


class Load:
    """What drives the server, one round after the other."""

    def __init__(self, nginx, options):
        self.nginx = nginx
        self.command = ["wrk", *options, f"-d{SECONDS}s", nginx.url]

    def round(self):
        """Requests per second, and microseconds of the worker's CPU time for each request."""
        before = self.nginx.cpu()
        output = subprocess.run(self.command, check=True, capture_output=True, text=True).stdout
        cpu = self.nginx.cpu() - before
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


def under_sockdbg(load, directory):
    """One round, and what sockdbg says at its end."""
    recording = directory / "events.pcapng"
    command = [SOCKDBG, "events", "-p", load.nginx.worker, "-w", recording]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        until(stable(lambda: bpf_links(tracer.pid)), "sockdbg to attach")
        result = load.round()
    finally:
        tracer.send_signal(signal.SIGINT)
        summary = tracer.communicate()[1].strip().splitlines()
    if tracer.returncode != 0:
        sys.exit(f"bench: sockdbg ended with {tracer.returncode}: {summary}")
    recording.unlink()
    return result, summary[-1] if summary else "no summary"


def under_strace(load, directory):
    log = directory / "strace.log"
    command = ["strace", "-f", "-qq", "-p", load.nginx.worker, "-e", f"trace={CALLS}", "-s", "1048576", "-o", log]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_traced(load.nginx.worker), "strace to attach")
        result = load.round()
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
    log.unlink()
    return result


def settled(variant):
    """A round after which nothing of what was written before is still to be written."""
    os.sync()
    return variant()


def compare(name, directory):
    """All rounds of one set-up."""
    settings, options = SETUPS[name]
    directory = directory / name
    directory.mkdir()
    nginx = Nginx(directory, settings)
    losses = []
    try:
        load = Load(nginx, options)
        print(f"live, {name}: nginx, 1 worker, {BODY} B bodies; wrk {' '.join(load.command[1:-1])}; {ROUNDS} rounds")
        untraced, traced = [settled(load.round)], []
        for _ in range(ROUNDS):
            result, remark = settled(lambda: under_sockdbg(load, directory))
            traced.append(result)
            if "nothing lost" not in remark:
                losses.append(remark)
            untraced.append(settled(load.round))
        straced = [settled(lambda: under_strace(load, directory)) for _ in range(3)]
    finally:
        nginx.stop()
    base = statistics.mean(rate for rate, _ in untraced)
    for variant, rounds in {"untraced": untraced, "sockdbg events -w": traced, "strace -f": straced}.items():
        rates, costs = zip(*rounds)
        rate = statistics.mean(rates)
        # How far the mean may be off, from how far the rounds are.
        error = statistics.stdev(rates) / len(rates) ** 0.5 if len(rates) > 1 else 0
        print(
            f"  {variant:18} {rate:9.0f} +- {error:4.0f} requests/s  {rate / base:6.1%} of untraced"
            f"  {statistics.mean(costs):6.1f} us CPU each",
            flush=True,
        )
    print("  sockdbg lost nothing in any round" if not losses else f"  sockdbg lost EVENTS: {losses}")


def main():
    directory = Path(sys.argv[1]) / "live"
    directory.mkdir()
    for name in SETUPS:
        compare(name, directory)


main()
