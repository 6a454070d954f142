#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests the judge: good messages must pass, and each bad one must be caught by the rule that it breaks and no other."""

import random
import struct
import sys

import validate

NOW = 1_800_000_000
BASE = (NOW - 1000) * 1000          # ms since 1970 at which NetFlow v9's sysUpTime was zero


def fields(*items):
    """Field specifiers: (element, length) or (element, length, enterprise)."""
    return b"".join(struct.pack("!HH", i[0], i[1]) if len(i) == 2 else struct.pack("!HHI", i[0] | 0x8000, *i[1:])
                    for i in items)


def pieces(kind, *records, pad=b""):
    body = b"".join(records) + pad
    return struct.pack("!HH", kind, 4 + len(body)) + body


def template(number, *items):
    return struct.pack("!HH", number, len(items)) + fields(*items)


def options(number, scopes, *items):
    return struct.pack("!HHH", number, len(items), scopes) + fields(*items)


def options9(number, scopes, *items):
    return struct.pack("!HHH", number, 4 * scopes, 4 * (len(items) - scopes)) + fields(*items)


def ten(sequence, *sets, domain=7, exported=NOW, version=10, length=None):
    body = b"".join(sets)
    return struct.pack("!HHIII", version, 16 + len(body) if length is None else length, exported, sequence,
                       domain) + body


def nine(sequence, count, *sets, exported=NOW, source=7):
    return struct.pack("!HHIIII", 9, count, exported * 1000 - BASE, exported, sequence, source) + b"".join(sets)


KEY = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (152, 8), (153, 8), (371, 65535))
T = pieces(2, template(256, *KEY))


def flow(name=b"\x05alice", start=NOW * 1000 - 5, end=NOW * 1000, short=0):
    data = bytes((10, 0, 0, 1, 10, 0, 0, 2)) + struct.pack("!HHBQQQQ", 1, 2, 17, 100, 1, start, end) + name
    return data[:len(data) - short]


def after(*messages):
    """Two messages with the template, then these."""
    return (ten(0, T), ten(0, T), *messages)


def with_template(*items, data=b"", number=256):
    announced = ten(0, pieces(2, template(number, *items)))
    return (announced, announced, *([ten(0, pieces(number, data))] if data else []))


def with_options(number, scopes, *items, data=b"", domain=0):
    announced = ten(0, pieces(3, options(number, scopes, *items)), domain=domain)
    return (announced, announced, *([ten(0, pieces(number, data), domain=domain)] if data else []))


KEY9 = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (22, 4), (21, 4), (40000, 32))
T9 = pieces(0, template(320, *KEY9))


def flow9(name=b"alice", start=995_000, end=999_000):
    return (bytes((10, 0, 0, 1, 10, 0, 0, 2)) + struct.pack("!HHBQQII", 1, 2, 17, 100, 1, start, end)
            + name.ljust(32, b"\0"))


def padded(number, *records):
    return pieces(number, *records, pad=bytes(-sum(map(len, records)) % 4))


def after9(*messages):
    return (nine(0, 1, T9), nine(1, 1, T9), *messages)


ICMP = ((8, 4), (12, 4), (32, 2), (4, 1), (1, 8), (2, 8))
REVERSE = validate.REVERSE
LONG = b"\xff" + struct.pack("!H", 300) + b"x" * 300
TYPES = ((346, 4), (303, 2), (339, 1), (344, 1), (341, 65535))

# Reliability of the Metering Process, of the Exporting Process, and the first by kinds.
METERING = ((149, 4), (143, 4), (166, 8), (164, 8), (165, 8), (323, 8), (323, 8))
EXPORTING = ((144, 4), (166, 8), (167, 8), (168, 8), (323, 8), (323, 8))
KINDS = ((149, 4), (1031, 1, 32473), (1032, 1, 32473), (166, 8), (323, 8), (323, 8))


def lost(flows, first=NOW * 1000 - 5, last=NOW * 1000, scope=1):
    return struct.pack("!IQQQQQ", scope, flows, 0, 0, first, last)


def kind(number, flows):
    return struct.pack("!IBBQQQ", 7, number, 0, flows, NOW * 1000, NOW * 1000)


WHO = ((44, 4), (9, 1), (350, 65535), (1042, 65535, 32473))


def who(prefix, length, *words):
    return bytes(prefix) + bytes([length]) + b"".join(bytes([len(word)]) + word for word in words)


GOOD = {
    "one flow": after(ten(0, pieces(256, flow()))),
    "two flows, then a third": after(ten(0, pieces(256, flow(), flow())), ten(2, pieces(256, flow()))),
    "template and data in one message": after(ten(0, T, pieces(256, flow()))),
    "padding of three octets": after(ten(0, pieces(256, flow(), pad=bytes(3)))),
    "names of 254, 255 and 300 octets": after(ten(0, pieces(256, flow(b"\xfe" + b"x" * 254)), pieces(
        256, flow(b"\xff\x00\xff" + b"x" * 255))), ten(2, pieces(256, flow(LONG)))),
    "name beyond ASCII": after(ten(0, pieces(256, flow(b"\x03t\xc3\xa9")))),
    "interface table": with_options(280, 1, (149, 4), (10, 4), (83, 32),
                                    data=struct.pack("!II32s", 7, 2, b"wt0")),
    "options data are counted": (*with_options(281, 1, (144, 4), (40, 8), (41, 8), (42, 8), data=bytes(28)),
                                 ten(1, pieces(281, bytes(28)), domain=0)),
    "lost in the metering process": with_options(283, 2, *METERING, data=bytes(8) + lost(5)[4:]),
    "lost in the exporting process, then more": (*with_options(284, 1, *EXPORTING, data=lost(5)),
                                                 ten(1, pieces(284, lost(6, last=NOW * 1000 + 9)), domain=0)),
    "less lost of another scope": with_options(284, 1, *EXPORTING, data=lost(5) + lost(1, scope=2)),
    "lost of two kinds": with_options(285, 2, *KINDS, data=kind(1, 5) + kind(2, 3)),
    "what a domain is called": with_options(279, 1, (149, 4), (300, 64),
                                            data=struct.pack("!I64s", 7, "büro".encode())),
    "whom prefixes stand for": with_options(286, 2, *WHO, data=who((10, 1, 0, 0), 16, b"alice", b"-") + who(
        (10, 1, 2, 3), 32, b"bob", b"a, b")),
    "reverse counters": with_template((1, 8), (2, 8), (1, 8, REVERSE), (2, 8, REVERSE), data=bytes(32)),
    "type record": with_options(300, 2, *TYPES, data=struct.pack("!IHBB", 32473, 1001, 13, 0) + b"\x04name"),
    "reduced length": with_template((1, 4), (2, 4), data=bytes(8)),
    "v9 flow": after9(nine(2, 1, padded(320, flow9()))),
    "v9 two flows and a template": after9(nine(2, 3, T9, padded(320, flow9(), flow9()))),
    "v9 interface table": (nine(0, 1, pieces(1, options9(280, 1, (1, 4), (10, 4), (83, 32)), pad=b"\0\0")),
                           nine(1, 1, pieces(1, options9(280, 1, (1, 4), (10, 4), (83, 32)), pad=b"\0\0")),
                           nine(2, 1, pieces(280, struct.pack("!II32s", 0, 2, b"wt0")))),
    "v9 second rounded up": after9(nine(2, 1, padded(320, flow9()), exported=NOW + 1)),
    "v9 name of all 32 octets": after9(nine(2, 1, padded(320, flow9(b"x" * 32)))),
}

BAD = (
    ("H1", "version 5", (ten(0, T, version=5),)),
    ("H2", "length one short", (ten(0, T, length=16 + len(T) - 1), )),
    ("H2", "set longer than the message", after(ten(0, struct.pack("!HH", 256, 200) + flow()))),
    ("H2", "set length 3", after(ten(0, struct.pack("!HH", 256, 3)))),
    ("H2", "two octets after the last set", after(ten(0, pieces(256, flow()), b"\0\0"))),
    ("H2", "template longer than its set", (ten(0, pieces(2, template(256, *KEY)[:-4])),)),
    ("H3", "export time two seconds old", after(ten(0, pieces(256, flow(end=NOW * 1000 - 2000,
                                                                       start=NOW * 1000 - 2000)), exported=NOW - 2))),
    ("H3", "export time ahead", after(ten(0, pieces(256, flow()), exported=NOW + 1))),
    ("H4", "first sequence not 0", (ten(5, T), ten(5, T))),
    ("H4", "sequence counts messages", after(ten(0, pieces(256, flow(), flow())), ten(1, pieces(256, flow())))),
    ("H4", "sequence counts templates", (ten(0, T), ten(1, T))),
    ("H4", "sequence repeats", after(ten(0, pieces(256, flow())), ten(0, pieces(256, flow())))),
    ("S1", "set id 4", after(ten(0, pieces(4, b"\0\0\0\1")))),
    ("S1", "set id 0, NetFlow's", (ten(0, pieces(0, template(256, *KEY))),)),
    ("S2", "set of four octets", after(ten(0, pieces(256)))),
    ("S2", "set too short for a record", after(ten(0, pieces(256, bytes(3))))),
    ("S3", "padding of ones", after(ten(0, pieces(256, flow(), pad=b"\1\1\1")))),
    ("T1", "template id 255", (ten(0, pieces(2, template(255, *ICMP))),)),
    ("T1", "one id for a template and an options template",
     (*with_template(*ICMP), ten(0, pieces(3, options(256, 1, (149, 4), (10, 4)))))),
    ("T2", "no scope", (ten(0, pieces(3, options(280, 0, (149, 4), (10, 4)))),)),
    ("T2", "more scopes than fields", (ten(0, pieces(3, options(280, 3, (149, 4), (10, 4)))),)),
    ("T3", "enterprise number 0", (ten(0, pieces(2, template(256, (8, 4), (12, 4, 0)))),)),
    ("T3", "element 0", (ten(0, pieces(2, template(256, (8, 4), (0, 4)))),)),
    ("T4", "data without template", (ten(0, pieces(256, flow())),)),
    ("T4", "data before its template in one message", (ten(0, pieces(256, flow()), T),)),
    ("T5", "an element twice", (ten(0, pieces(2, template(256, (8, 4), (8, 4)))),)),
    ("D1", "address of three octets", with_template((8, 3), data=bytes(3))),
    ("D1", "time of four octets", with_template((152, 4), data=bytes(4))),
    ("D1", "port of four octets", with_template((7, 4), data=bytes(4))),
    ("D1", "counter of nine octets", with_template((1, 9), data=bytes(9))),
    ("D3", "name with 0xff", after(ten(0, pieces(256, flow(b"\x02a\xff"))))),
    ("D3", "name cut inside a character", after(ten(0, pieces(256, flow(b"\x02a\xc3"))))),
    ("D3", "name with NUL", after(ten(0, pieces(256, flow(b"\x03a\0b"))))),
    ("D5", "name longer than the set", after(ten(0, pieces(256, flow(b"\x09alice"))))),
    ("D5", "long form for a short name", after(ten(0, pieces(256, flow(b"\xff\0\5alice"))))),
    ("D6", "end before start", after(ten(0, pieces(256, flow(end=NOW * 1000 - 9))))),
    ("D6", "end after export", after(ten(0, pieces(256, flow(end=NOW * 1000 + 1000))))),
    ("D6", "biflowDirection 0", with_template((239, 1), (61, 1), data=b"\0\0")),
    ("D6", "flowEndReason 0", with_template((136, 1), (61, 1), data=b"\0\0")),
    ("D7", "sampling interval", with_template((8, 4), (34, 4))),
    ("M2", "one copy of the template", (ten(0, T), ten(0, pieces(256, flow())))),
    ("M2", "two copies, but in one message", (ten(0, T, T), ten(0, pieces(256, flow())))),
    ("M3", "withdrawal", after(ten(0, pieces(2, struct.pack("!HH", 256, 0))))),
    ("M3", "withdrawal of all", after(ten(0, pieces(2, struct.pack("!HH", 2, 0))))),
    ("M3", "withdrawal of an options template", after(ten(0, pieces(3, struct.pack("!HH", 280, 0))))),
    ("M4", "id with another content", (*with_template(*ICMP), ten(0, T))),
    ("B1", "reverse of flowId", with_template((148, 8), (148, 8, REVERSE))),
    ("B1", "reverse without forward", with_template((1, 8), (2, 8, REVERSE))),
    ("I1", "description outside the scope", with_options(300, 1, *TYPES)),
    ("I1", "semantics for a string",
     with_options(300, 2, *TYPES, data=struct.pack("!IHBB", 32473, 1001, 13, 4) + b"\x04name")),
    ("O1", "scope is an address", with_options(280, 1, (8, 4), (10, 4))),
    ("O2", "metering process without its id", with_options(283, 1, (149, 4), *METERING[2:])),
    ("O2", "exporting process with one time", with_options(284, 1, *EXPORTING[:-1])),
    ("O2", "less lost than before", (*with_options(284, 1, *EXPORTING, data=lost(5)),
                                     ten(1, pieces(284, lost(4)), domain=0))),
    ("O2", "last before first", with_options(284, 1, *EXPORTING, data=lost(5, last=NOW * 1000 - 6))),
    ("O1", "enterprise scope", with_options(284, 2, (149, 4), (1031, 1, 32473), (10, 4))),
    ("T5", "three counters, one twice", with_options(284, 1, (144, 4), (166, 8), (166, 8), (323, 8), (323, 8))),
    ("C10", "what was lost in a flow domain", with_options(284, 1, *EXPORTING, domain=7)),
    ("O3", "prefixes without an enterprise", with_options(286, 2, *WHO[:3])),
    ("O3", "a bit beyond the prefix", with_options(286, 2, *WHO, data=who((10, 1, 2, 0), 16, b"alice", b"-"))),
    ("O3", "longer than an address", with_options(286, 2, *WHO, data=who((10, 1, 2, 0), 33, b"alice", b"-"))),
    ("O1", "a prefix without its length", with_options(286, 1, *WHO[:1], (10, 4))),
    ("C7", "nobody at a prefix", with_options(286, 2, *WHO, data=who((10, 1, 0, 0), 16, b"", b"-"))),
    ("X3", "message of 1300 octets", after(ten(0, *[pieces(256, flow(LONG))] * 4))),
    ("C5", "natEvent in a flow", with_template((8, 4), (230, 1))),
    ("C7", "empty name", after(ten(0, pieces(256, flow(b"\0"))))),
    ("C10", "variable length in options", with_options(280, 1, (149, 4), (83, 65535))),
    ("C10", "statistics in a flow domain",
     with_options(281, 1, (144, 4), (40, 8), (41, 8), (42, 8), domain=7)),
    ("C10", "two options templates in a set",
     (ten(0, pieces(3, options(280, 1, (149, 4), (10, 4)), options(281, 1, (149, 4), (14, 4)))),)),
    ("V1", "count without templates", (nine(0, 0, T9),)),
    ("V1", "count of sets", after9(nine(2, 1, padded(320, flow9(), flow9())))),
    ("V2", "sequence counts records", after9(nine(2, 2, padded(320, flow9(), flow9())),
                                             nine(4, 1, padded(320, flow9())))),
    ("V3", "set id 2, IPFIX's", (nine(0, 0, pieces(2, template(320, *KEY9))),)),
    ("V3", "variable length", (nine(0, 1, pieces(0, template(320, (8, 4), (40000, 65535)))),)),
    ("V4", "counts for octets", (nine(0, 0, pieces(1, struct.pack("!HHH", 280, 1, 2)
                                                   + fields((1, 4), (10, 4), (83, 32)), pad=b"\0\0")),)),
    ("V4", "scope type 149", (nine(0, 1, pieces(1, options9(280, 1, (149, 4), (10, 4)), pad=b"\0\0")),)),
    ("V5", "set of 77 octets", after9(nine(2, 1, pieces(320, flow9())))),
    ("C5", "v9 flow id", (nine(0, 1, pieces(0, template(320, (8, 4), (148, 8)))),)),
    ("C7", "v9 empty name", after9(nine(2, 1, padded(320, flow9(b""))))),
    ("D3", "v9 name cut inside a character", after9(nine(2, 1, padded(320, flow9(b"x" * 31 + b"\xc3"))))),
    ("V6", "v9 end after the header's uptime", after9(nine(2, 1, padded(320, flow9(end=1_000_500))))),
    ("S3", "v9 padding of ones", after9(nine(2, 1, pieces(320, flow9(), pad=b"\1" * (-len(flow9()) % 4))))),
)


def judge(messages, seconds=0, **options_):
    """The rules that these messages break; seconds passes between the copies of the template and the rest."""
    validator = validate.Validator(**options_)
    for position, message in enumerate(messages):
        validator.message("test", "udp", (NOW + (seconds if position > 1 else 0)) * 10**9 + 5, message)
    return validator


def survive(dice, rounds=3000):
    """Damaged messages must be judged, whatever is in them; an exception ends the test."""
    seeds = [m for messages in GOOD.values() for m in messages]
    for _ in range(rounds):
        damaged = []
        for message in dice.sample(seeds, 3):
            octets = bytearray(message[:dice.randrange(len(message) + 1)] if dice.random() < 0.2 else message)
            for _ in range(dice.randrange(4)):
                if octets:
                    octets[dice.randrange(len(octets))] = dice.choice((0, 1, 4, 255, dice.randrange(256)))
            damaged.append(bytes(octets))
        judge(damaged)


def main():
    passed = failed = 0

    def expect(what, rules, messages, **keywords):
        nonlocal passed, failed
        shown = {violation[0] for violation in judge(messages, **keywords).violations}
        good = shown == rules
        passed, failed = passed + good, failed + (not good)
        print(f"ok {what}" if good else f"FAIL {what}: expected {rules or '{}'} shown {shown or '{}'}")

    for what, messages in GOOD.items():
        expect(what, set(), messages)
    for rule, what, messages in BAD:
        expect(f"{rule} {what}", {rule}, messages)
    late = after(ten(0, pieces(256, flow()), exported=NOW + 63))
    expect("M1 template 63 s ago, refresh 60 s", {"M1"}, late, seconds=63)
    expect("template 63 s ago, refresh 600 s", set(), late, seconds=63, refresh=600)
    untested = set(validate.RULES) - {rule for rule, _, _ in BAD} - {"M1"}
    expect(f"every rule has a bad message: {sorted(untested)}", untested, ())
    survive(random.Random(1))
    values = judge(GOOD["v9 flow"]).records[0]
    times = values["flowStartMilliseconds"], values["flowEndMilliseconds"]
    assert times == (BASE + 995_000, BASE + 999_000), times
    assert values["ciscoUserName"] == "alice" and values["sourceIPv4Address"] == "10.0.0.1", values
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
