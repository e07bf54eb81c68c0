"""A process that does to its sockets what it is told, one command a line, and answers each with a line.

The tests trace it: they decide call by call which bytes move, and so know the truth.
"""
import os
import socket
import sys
import tempfile

sockets = {}


def keep(sock):
    sockets[sock.fileno()] = sock
    return sock.fileno()


def listen():
    sock = socket.socket(socket.AF_INET)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    keep(sock)
    return f"{sock.fileno()} {sock.getsockname()[1]}"


def accept(fd):
    return keep(sockets[int(fd)].accept()[0])


def connect(port):
    return keep(socket.create_connection(("127.0.0.1", int(port))))


def recv(fd, count):
    """Receives exactly so many bytes; fewer at the end of the stream."""
    received = b""
    while len(received) < int(count):
        part = sockets[int(fd)].recv(int(count) - len(received))
        if not part:
            break
        received += part
    return received.hex() or "-"


def send(fd, data):
    sockets[int(fd)].sendall(bytes.fromhex(data))
    return "ok"


def send_file(fd, count):
    """Sends so many bytes of 'f' by sendfile(2)."""
    with tempfile.TemporaryFile() as file:
        file.write(b"f" * int(count))
        file.flush()
        sent = 0
        while sent < int(count):
            sent += os.sendfile(int(fd), file.fileno(), sent, int(count) - sent)
    return "ok"


def shutdown(fd):
    sockets[int(fd)].shutdown(socket.SHUT_WR)
    return "ok"


def close(fd):
    sockets.pop(int(fd)).close()
    return "ok"


COMMANDS = {
    "listen": listen,
    "accept": accept,
    "connect": connect,
    "recv": recv,
    "send": send,
    "sendfile": send_file,
    "shutdown": shutdown,
    "close": close,
}

for line in sys.stdin:
    name, *arguments = line.split()
    print(COMMANDS[name](*arguments), flush=True)
