"""Writes a capture of HTTP traffic as clients and a server would make it, of a given size.

Keep-alive connections that come and go, several at a time with their packets interleaved; GET and POST;
bodies from 100 B to 64 kB, plain and chunked; handshakes, acknowledgements, FINs; valid checksums. The same
arguments give the same file.

Usage: generate.py FILE MEGABYTES
"""

import random
import struct
import sys

SEGMENT = 1448
CLIENTS = 40
FIN, SYN, PUSH, ACK = 1, 2, 8, 16


def checksum(data):
    """The Internet checksum (RFC 1071): 2^16 is 1 modulo 2^16 - 1, so the sum of words is a remainder."""
    if len(data) % 2:
        data += b"\0"
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF)


class Capture:
    """A pcap file (nanoseconds, Ethernet)."""

    def __init__(self, path):
        self.file = open(path, "wb", buffering=1 << 20)
        self.file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        self.time = 1_700_000_000_000_000_000
        self.size = 24
        self.identification = 0

    def packet(self, source, target, seq, ack, flags, payload=b""):
        self.time += random.randrange(2_000, 60_000)
        self.identification = (self.identification + 1) & 0xFFFF
        (address, port), (peer, peer_port) = source, target
        tcp = struct.pack(">HHIIBBHHH", port, peer_port, seq, ack, 5 << 4, flags, 65535, 0, 0)
        pseudo = address + peer + struct.pack(">HH", 6, len(tcp) + len(payload))
        tcp = tcp[:16] + struct.pack(">H", checksum(pseudo + tcp + payload)) + tcp[18:]
        total = 20 + len(tcp) + len(payload)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, total, self.identification, 0x4000, 64, 6, 0) + address + peer
        ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
        frame = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + tcp + payload
        seconds, nanoseconds = divmod(self.time, 1_000_000_000)
        self.file.write(struct.pack("<IIII", seconds, nanoseconds, len(frame), len(frame)))
        self.file.write(frame)
        self.size += 16 + len(frame)


def text(length):
    """A piece of the pool: few are alike."""
    start = random.randrange(len(POOL) - length)
    return POOL[start : start + length]


def body_length():
    """From 100 B to 64 kB, as many small ones for each large one as the web has."""
    return int(100 * 640 ** (random.random() ** 2))


def request(number):
    host = b"Host: api.example.test\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n"
    if random.random() < 0.2:
        body = text(body_length() // 4 + 1)
        head = b"POST /v1/items/%d HTTP/1.1\r\n" % number
        return head + host + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    return b"GET /v1/items/%d?page=%d HTTP/1.1\r\n" % (number, number % 17) + host + b"\r\n"


def response():
    body = text(body_length())
    head = b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
    head += b"Content-Type: application/json\r\nCache-Control: no-store\r\n"
    if random.random() < 0.2:
        pieces = [body[at : at + 4096] for at in range(0, len(body), 4096)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def connection(capture, number, limit):
    """One connection, which comes to its end soon after the file is full: yields after each packet."""
    client = (bytes([10, 1, number >> 8 & 255, number & 255]), 20_000 + number % 40_000)
    server = (bytes([10, 0, 0, 1]), 80)
    seqs = [random.getrandbits(32), random.getrandbits(32)]
    ends = (client, server)

    def packet(end, flags, payload=b""):
        ack = seqs[1 - end] if flags & ACK else 0
        capture.packet(ends[end], ends[1 - end], seqs[end], ack, flags, payload)
        seqs[end] = seqs[end] + len(payload) + bool(flags & (SYN | FIN)) & 0xFFFFFFFF

    def message(end, data):
        for count, at in enumerate(range(0, len(data), SEGMENT), 1):
            piece = data[at : at + SEGMENT]
            packet(end, ACK | PUSH if at + SEGMENT >= len(data) else ACK, piece)
            yield
            if count % 2 == 0:
                packet(1 - end, ACK)
                yield

    for end, flags in ((0, SYN), (1, SYN | ACK), (0, ACK)):
        packet(end, flags)
        yield
    for _ in range(random.randrange(1, 200)):
        if capture.size >= limit:
            break
        yield from message(0, request(random.randrange(1_000_000)))
        yield from message(1, response())
    for end, flags in ((0, FIN | ACK), (1, FIN | ACK), (0, ACK)):
        packet(end, flags)
        yield


def main():
    path, megabytes = sys.argv[1], int(sys.argv[2])
    capture = Capture(path)
    limit = megabytes * 1_000_000
    number = 0
    open_connections = []
    while capture.size < limit or open_connections:
        while len(open_connections) < CLIENTS and capture.size < limit:
            number += 1
            open_connections.append(connection(capture, number, limit))
        turn = random.randrange(len(open_connections))
        try:
            # A few packets at a time, as they arrive in reality.
            for _ in range(random.randrange(1, 8)):
                next(open_connections[turn])
        except StopIteration:
            open_connections.pop(turn)


random.seed(4711)
POOL = bytes(random.choice(b"abcdefghijklmnopqrstuvwxyz      {}[]\",:0123456789") for _ in range(1 << 18))
main()
