# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what tcpdump wrote: packets with time and direction, and the messages that UDP and TCP carried."""

import collections
import ipaddress
import struct

ETHERNET, RAW, SLL, SLL2 = 1, 101, 113, 276
OUTGOING = 4

# link type: (octets of its header, offset of the ether type, offset of the direction or None, its struct)
LINKS = {
    ETHERNET: (14, 12, None, None),
    SLL: (16, 14, 0, "!H"),
    SLL2: (20, 0, 10, "!B"),
    RAW: (0, None, None, None),
}

Packet = collections.namedtuple("Packet", "time outgoing source destination protocol source_port destination_port "
                                          "length payload device")


def packets(path):
    """Every IP packet: time in ns since 1970, addresses as text, length of the whole IP packet, payload after the
    header of the transport (TCP, UDP) or of IP. device is the ifIndex of a cooked capture, else zero."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 24:
        return
    magic = data[:4]
    order, scale = {b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\x4d\x3c\xb2\xa1": ("<", 1),
                    b"\xa1\xb2\xc3\xd4": (">", 1000), b"\xa1\xb2\x3c\x4d": (">", 1)}[magic]
    link = struct.unpack_from(order + "I", data, 20)[0] & 0xffff
    offset, record = 24, struct.Struct(order + "IIII")
    while offset + 16 <= len(data):
        seconds, fraction, captured, _ = record.unpack_from(data, offset)
        offset += 16
        if offset + captured > len(data):
            return
        packet = _packet(seconds * 10**9 + fraction * scale, link, data[offset:offset + captured])
        offset += captured
        if packet:
            yield packet


def _packet(time, link, frame):
    size, kind_at, direction_at, direction = LINKS[link]
    outgoing = bool(direction) and struct.unpack_from(direction, frame, direction_at)[0] == OUTGOING
    kind = struct.unpack_from("!H", frame, kind_at)[0] if kind_at is not None else {4: 0x800, 6: 0x86dd}[frame[0] >> 4]
    device = struct.unpack_from("!I", frame, 4)[0] if link == SLL2 else 0
    parse = {0x800: _ipv4, 0x86dd: _ipv6}.get(kind)
    return parse(time, outgoing, device, frame[size:]) if parse else None


def _ipv4(time, outgoing, device, data):
    length, source, destination = struct.unpack_from("!2xH8x4s4s", data)
    return _transport(time, outgoing, device, source, destination, data[9], length,
                      data[(data[0] & 15) * 4:length])


def _ipv6(time, outgoing, device, data):
    length, protocol, source, destination = struct.unpack_from("!4xHBx16s16s", data)
    return _transport(time, outgoing, device, source, destination, protocol, 40 + length, data[40:40 + length])


def _transport(time, outgoing, device, source, destination, protocol, length, data):
    ports = struct.unpack_from("!HH", data) if protocol in (6, 17, 132, 136) and len(data) >= 4 else (0, 0)
    return Packet(time, outgoing, str(ipaddress.ip_address(source)), str(ipaddress.ip_address(destination)), protocol,
                  *ports, length, data[8:] if protocol == 17 else data, device)


def sessions(path, ports):
    """The export messages in a capture, in order: (session, transport, time, octets). ports: those of collectors; a
    packet seen twice (once a device) counts once."""
    streams = {}
    for packet in packets(path):
        if packet.outgoing or packet.destination_port not in ports or packet.protocol not in (6, 17):
            continue
        name = f"{packet.source}:{packet.source_port}>{packet.destination}:{packet.destination_port}"
        if packet.protocol == 17:
            yield name, "udp", packet.time, packet.payload
        else:
            yield from _segment(streams, name, packet)


def _segment(streams, name, packet):
    sequence, = struct.unpack_from("!I", packet.payload, 4)
    flags = packet.payload[13]
    data = packet.payload[(packet.payload[12] >> 4) * 4:]
    if flags & 2:
        streams[name] = [(sequence + 1) & 0xffffffff, b"", packet.time]
    stream = streams.get(name)
    if not stream or not data:
        return
    known = (stream[0] - sequence) & 0xffffffff     # octets of it that came before
    if known >= len(data):
        return
    stream[0] = (sequence + len(data)) & 0xffffffff
    stream[1] += data[known:]
    yield from _framed(stream, name, packet.time)


def _framed(stream, name, time):
    while len(stream[1]) >= 4:
        length, = struct.unpack_from("!H", stream[1], 2)
        if len(stream[1]) < length or length < 16:
            return
        yield name, "tcp", time, stream[1][:length]
        stream[1] = stream[1][length:]
