# SPDX-License-Identifier: GPL-3.0-or-later
"""Exact packets: every function here sends a known number of octets between two namespaces and says what both ends saw.

What the ends saw is the truth about translation: the original tuple is what the client sent, the reply tuple is what
the server answers to. Nothing is computed from the rules of the router."""

import dataclasses
import functools
import socket
import struct
import time

ICMP, TCP, UDP, GRE, DCCP, ESP, ICMPV6, SCTP, UDPLITE = 1, 6, 17, 47, 33, 50, 58, 132, 136
TIMEOUT = 3


@dataclasses.dataclass(frozen=True)
class Tuple:
    source: str
    destination: str
    source_port: int = 0
    destination_port: int = 0

    def inverse(self):
        return Tuple(self.destination, self.source, self.destination_port, self.source_port)

    def __str__(self):
        return f"{self.source}:{self.source_port} -> {self.destination}:{self.destination_port}"


@dataclasses.dataclass
class Seen:
    """What the two ends of an exchange saw. octets are of whole IP packets, header included; None if not known from
    the sender alone (TCP decides itself how many acknowledgements it sends)."""
    protocol: int
    original: Tuple
    reply: Tuple
    packets: tuple = None
    octets: tuple = None
    icmp: tuple = (0, 0)
    began: int = 0              # ns since 1970, before the first packet and after the last call returned
    ended: int = 0


def timed(exchange):
    @functools.wraps(exchange)
    def wrapper(*arguments, **keywords):
        began = time.time_ns()
        seen = exchange(*arguments, **keywords)
        seen.began, seen.ended = began, time.time_ns()
        return seen
    return wrapper


def header(address):
    return 40 if ":" in address else 20


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def opened(namespace, kind, protocol, address, port=0):
    handle = namespace.socket(family(address), kind, protocol)
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    handle.settimeout(TIMEOUT)
    handle.bind((address, port))
    return handle


@timed
def udp(client, source, dial, server, listen, forward=(100,), back=(200,), pause=0.0):
    """Datagrams with payloads of the given sizes: all forward, then all back; None answers nothing. pause: seconds
    before each datagram but the first."""
    with opened(client, socket.SOCK_DGRAM, 0, *source) as one, opened(server, socket.SOCK_DGRAM, 0, *listen) as other:
        for number, size in enumerate(forward):
            time.sleep(pause if number else 0)
            one.sendto(bytes(size), dial)
            data, peer = other.recvfrom(65535)
            assert len(data) == size
        for size in back:
            time.sleep(pause)
            other.sendto(bytes(size), peer[:2])
            data, answered = one.recvfrom(65535)
            assert len(data) == size and answered[:2] == dial, answered
        original = Tuple(source[0], dial[0], one.getsockname()[1], dial[1])
    over = header(source[0]) + 8
    return Seen(UDP, original, Tuple(listen[0], peer[0], listen[1], peer[1]), (len(forward), len(back)),
                (sum(forward) + over * len(forward), sum(back) + over * len(back)))


@timed
def tcp(client, source, dial, server, listen, forward=(100,), back=(1000,), reset=False):
    """A connection with writes of the given sizes; ends in order, or by the client's reset."""
    with opened(server, socket.SOCK_STREAM, 0, *listen) as listener, \
            opened(client, socket.SOCK_STREAM, 0, *source) as one:
        listener.listen()
        one.connect(dial)
        other, peer = listener.accept()
        with other:
            other.settimeout(TIMEOUT)
            for writer, reader, sizes in ((one, other, forward), (other, one, back)):
                for size in sizes:
                    writer.sendall(bytes(size))
                    _read(reader, size)
            original = Tuple(source[0], dial[0], one.getsockname()[1], dial[1])
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                one.shutdown(socket.SHUT_WR)
                assert other.recv(1) == b""
                other.shutdown(socket.SHUT_WR)
                assert one.recv(1) == b""
    return Seen(TCP, original, Tuple(listen[0], peer[0], listen[1], peer[1]))


def _read(reader, size):
    while size:
        data = reader.recv(size)
        assert data, "connection ended early"
        size -= len(data)


@timed
def tcp_refused(client, source, dial):
    """A connection to a port where nobody listens: one packet each way."""
    with opened(client, socket.SOCK_STREAM, 0, *source) as one:
        assert one.connect_ex(dial)
        original = Tuple(source[0], dial[0], one.getsockname()[1], dial[1])
    return Seen(TCP, original, original.inverse())


def internet_checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


@timed
def icmp(client, source, dial, answers, identifier, kind=8, sizes=(56,)):
    """Echo (8) or time stamp (13) requests, or ICMPv6 echo (128); the kernel at the other end answers. answers: its
    address. The client cannot see the translated source, so the reply tuple's destination is left empty."""
    protocol = ICMPV6 if ":" in source else ICMP
    wanted = {8: 0, 13: 14, 128: 129}[kind]
    with opened(client, socket.SOCK_RAW, protocol, source) as one:
        for number, size in enumerate(sizes):
            body = struct.pack("!HH", identifier, number) + bytes(size)
            check = 0 if protocol == ICMPV6 else internet_checksum(struct.pack("!BBH", kind, 0, 0) + body)
            one.sendto(struct.pack("!BBH", kind, 0, check) + body, (dial, 0))
            while not _is_answer(one.recv(65535)[20 * (protocol == ICMP):], wanted, identifier, number):
                pass
    octets = sum(sizes) + (8 + header(source)) * len(sizes)
    return Seen(protocol, Tuple(source, dial), Tuple(answers, ""), (len(sizes),) * 2, (octets,) * 2,
                (kind * 256, wanted * 256))


def _is_answer(data, kind, identifier, number):
    return data[0] == kind and data[4:8] == struct.pack("!HH", identifier, number)


def raw(protocol, client, source, dial, server, listen, forward, back, ports=(0, 0), check=None):
    """Packets of a protocol of which the kernel knows no sockets, with the given payloads; the port of the other end is
    patched into answers by the functions in back, which are given the port the server saw. check verifies what
    arrives."""
    with opened(client, socket.SOCK_RAW, protocol, source) as one, \
            opened(server, socket.SOCK_RAW, protocol, listen) as other:
        for payload in forward:
            one.sendto(payload, (dial, 0))
            data, peer = other.recvfrom(65535)
            assert len(data) == 20 + len(payload), "not what was sent"
            seen = struct.unpack("!H", data[20:22])[0] if any(ports) else 0
            assert check is None or check(data[20:], peer[0], listen), "the router broke the checksum"
        answers = [build(peer[0], seen) for build in back]
        for payload in answers:
            other.sendto(payload, (peer[0], 0))
            data, _ = one.recvfrom(65535)
            assert check is None or check(data[20:], dial, source), "the router broke the checksum"
    return Seen(protocol, Tuple(source, dial, *ports), Tuple(listen, peer[0], ports[1], seen),
                (len(forward), len(back)), (sum(len(p) + 20 for p in forward), sum(len(p) + 20 for p in answers)))


@timed
def gre(client, source, dial, server, listen, forward=(60, 60), back=(80,)):
    """GRE version 0 without a key."""
    top = struct.pack("!HH", 0, 0x0800)
    return raw(GRE, client, source, dial, server, listen, [top + bytes(n) for n in forward],
               [lambda _address, _port, n=n: top + bytes(n) for n in back])


@timed
def esp(client, source, dial, server, listen, forward=(96,), back=(112, 112)):
    top = struct.pack("!II", 0x01020304, 1)
    return raw(ESP, client, source, dial, server, listen, [top + bytes(n) for n in forward],
               [lambda _address, _port, n=n: top + bytes(n) for n in back])


def pseudo(source, destination, protocol, length):
    return socket.inet_aton(source) + socket.inet_aton(destination) + struct.pack("!BBH", 0, protocol, length)


def udplite_packet(source, destination, ports, size):
    """The checksum covers header and data alike (coverage 0)."""
    data = bytes(size)
    top = struct.pack("!HHH", *ports, 0)
    check = internet_checksum(pseudo(source, destination, UDPLITE, 8 + size) + top + b"\0\0" + data)
    return top + struct.pack("!H", check or 0xffff) + data


def udplite_right(data, source, destination):
    return internet_checksum(pseudo(source, destination, UDPLITE, len(data)) + data) == 0


@timed
def udplite(client, source, dial, server, listen, ports, forward=(50, 60), back=(70,)):
    return raw(UDPLITE, client, source, dial, server, listen,
               [udplite_packet(source, dial, ports, n) for n in forward],
               [lambda address, port, n=n: udplite_packet(listen, address, (ports[1], port), n) for n in back],
               ports, udplite_right)


def dccp_packet(ports, size):
    """A DCCP-Request with a short header; this project never needs a valid handshake, only its protocol number."""
    return struct.pack("!HHBBHBBHI", *ports, 4, 0, 0, 0x01, 0, 0, 1) + bytes(size)


@timed
def dccp(client, source, dial, server, listen, ports, forward=(20, 20), back=(40,)):
    seen = raw(DCCP, client, source, dial, server, listen, [dccp_packet(ports, n) for n in forward],
               [lambda _address, _port, n=n: dccp_packet(ports[::-1], n) for n in back])
    return seen


def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82f63b78 if value & 1 else 0)
        table.append(value)
    return table


CRC32C = _crc32c_table()


def crc32c(data):
    value = 0xffffffff
    for octet in data:
        value = (value >> 8) ^ CRC32C[(value ^ octet) & 0xff]
    return value ^ 0xffffffff


def sctp_packet(ports, tag, *chunks):
    body = b"".join(chunks)
    top = struct.pack("!HHI", *ports, tag)
    return top + struct.pack("<I", crc32c(top + bytes(4) + body)) + body


def sctp_right(data, _source, _destination):
    return struct.unpack("<I", data[8:12])[0] == crc32c(data[:8] + bytes(4) + data[12:])


def chunk(kind, value=b"", flags=0):
    return struct.pack("!BBH", kind, flags, 4 + len(value)) + value + bytes(-len(value) % 4)


SCTP_TAGS = (0x11111111, 0x22222222)


@timed
def sctp(client, source, dial, server, listen, ports):
    """A whole association of four packets each way: handshake, one DATA, shutdown."""
    here, there = SCTP_TAGS
    init = struct.pack("!IIHHI", here, 65536, 1, 1, 1)
    init_ack = struct.pack("!IIHHI", there, 65536, 1, 1, 1) + struct.pack("!HH", 7, 8) + b"cook"
    data = struct.pack("!IHHI", 1, 0, 0, 0) + b"twelve bytes"
    sack = struct.pack("!IIHH", 1, 65536, 0, 0)
    steps = (
        (True, 0, chunk(1, init)), (False, here, chunk(2, init_ack)),
        (True, there, chunk(10, b"cook")), (False, here, chunk(11)),
        (True, there, chunk(0, data, 3)), (False, here, chunk(3, sack)),
        (True, there, chunk(7, struct.pack("!I", 1))), (False, here, chunk(8)),
        (True, there, chunk(14)),
    )
    packets, octets = [0, 0], [0, 0]
    with opened(client, socket.SOCK_RAW, SCTP, source) as one, opened(server, socket.SOCK_RAW, SCTP, listen) as other:
        seen, peer = ports[0], ("", 0)
        for forward, tag, piece in steps:
            packet = sctp_packet(ports if forward else (ports[1], seen), tag, piece)
            (one if forward else other).sendto(packet, (dial, 0) if forward else (peer[0], 0))
            arrived, sender = (other if forward else one).recvfrom(65535)
            assert sctp_right(arrived[20:], None, None), "the router broke the CRC32c"
            if forward:
                peer, seen = sender, struct.unpack("!H", arrived[20:22])[0]
            packets[not forward] += 1
            octets[not forward] += 20 + len(packet)
    return Seen(SCTP, Tuple(source, dial, *ports), Tuple(listen, peer[0], ports[1], seen), tuple(packets),
                tuple(octets))
