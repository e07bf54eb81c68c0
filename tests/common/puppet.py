"""A process that does to its sockets what it is told, one command a line, and answers each with a line.

The tests trace it: they decide call by call which bytes move, and so know the truth.
"""
import ctypes
import fcntl
import mmap
import os
import socket
import struct
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


def send32(fd, data):
    """Sends up to a page by write(2) as a 32-bit program calls it: int 0x80, number 4 (x86_64 kernels only)."""
    low = 0x40  # MAP_32BIT: the call has 32-bit pointers
    room = mmap.mmap(-1, 8192, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | low,
                     prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    payload = bytes.fromhex(data)
    room[4096:4096 + len(payload)] = payload
    # push rbx; mov eax, 4; mov ebx, fd; mov ecx, payload; mov edx, length; int 0x80; pop rbx; ret
    code = b"\x53\xb8" + struct.pack("<I", 4) + b"\xbb" + struct.pack("<I", int(fd))
    code += b"\xb9" + struct.pack("<I", address + 4096) + b"\xba" + struct.pack("<I", len(payload))
    room[:len(code) + 4] = code + b"\xcd\x80\x5b\xc3"
    return ctypes.CFUNCTYPE(ctypes.c_int)(address)()


def fill(fd, data):
    """Sends again and again until the kernel takes no more and has sent what the peer has room for. How many bytes it
    took, and how many of them it has not sent."""
    outq, outqnsd = 0x5411, 0x894B  # SIOCOUTQ: not acknowledged, SIOCOUTQNSD: not sent (tcp(7), linux/sockios.h)
    sock, data, sent = sockets[int(fd)], bytes.fromhex(data), 0
    sock.setblocking(False)
    while True:
        try:
            sent += sock.send(data)
        except BlockingIOError:
            left = [struct.unpack("i", fcntl.ioctl(sock, one, bytes(4)))[0] for one in (outq, outqnsd)]
            if left[0] == left[1]:
                return f"{sent} {left[1]}"


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
    "send32": send32,
    "fill": fill,
    "shutdown": shutdown,
    "close": close,
}

for line in sys.stdin:
    name, *arguments = line.split()
    print(COMMANDS[name](*arguments), flush=True)
