#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks export messages octet by octet against the rules of RFC 7011 (IPFIX), 7012, 5103, 5610 and 3954 (NetFlow v9),
and of what collectors in use survive. It shares nothing with the exporter and uses no library.

    validate.py [--port N ...] [--refresh SECONDS] [--size OCTETS] [--json] FILE ...

FILE is a capture of tcpdump (UDP and TCP) or a file of IPFIX messages (RFC 5655). Each violation is one line: rule,
session, message, offset, what is wrong; then exit status 1. With --json every record is printed as one line of JSON:
elements by name, addresses as text, times in ms since 1970. RULES says what each rule asks."""

import argparse
import collections
import ipaddress
import itertools
import json
import struct
import sys

import pcap

RULES = {
    "H1": "version 10 or 9 (RFC 7011 3.1, RFC 3954 5.1)",
    "H2": "length is that of the whole message, sets fill it exactly (7011 3.1, 3.3.2)",
    "H3": "export time is the second at which the message leaves (7011 3.1)",
    "H4": "sequence counts the data records of the domain sent before, from 0 in a new session (7011 3.1, 10.3.2)",
    "S1": "set ids 2, 3 and from 256; one kind of record a set (7011 3.3.2)",
    "S2": "no empty set (7011 3.3.1)",
    "S3": "padding is zero and shorter than any record of the set (7011 3.3.1)",
    "T1": "template ids from 256, unique among templates and options templates (7011 3.4.1)",
    "T2": "scope fields: at least one, at most all (7011 3.4.2.2)",
    "T3": "enterprise bit with a number that is not 0, element not 0 (7011 3.2)",
    "T4": "a template comes before its data (7011 8)",
    "T5": "a template has fields and no element twice, but those that refer to others",
    "D1": "field lengths suit the type, full or reduced (7011 6.2)",
    "D3": "strings are valid UTF-8 without NUL (7011 6.1.6)",
    "D5": "variable lengths end inside the set, the short form below 255 (7011 7)",
    "D6": "values make sense: start <= end <= export time, directions and reasons as registered",
    "D7": "no deprecated element: 34, 84, 100 (7013 5.3)",
    "M1": "UDP: every template again within the refresh interval (7011 8.4)",
    "M2": "UDP: two copies of a template, in separate messages, before the first data (7011 8.4)",
    "M3": "no template withdrawal (7011 8.4: never on UDP; TCP sessions end instead)",
    "M4": "a template id never changes its content (7011 8; Wireshark and others decode with the first)",
    "B1": "reverse elements are reversible and have their forward element beside them (RFC 5103 6)",
    "I1": "type records (RFC 5610): scope 346 and 303, no NUL, default semantics where there is no choice",
    "O1": "options: scope is one of 149 144 143 145 141 130 131 10 303 346 (7011 3.4.2.1)",
    "O2": "reliability: scopes 149 and 143, or 144, the time twice, totals that never shrink (7011 4.2, 4.3)",
    "O3": "whom prefixes stand for: scopes prefix and length, enterprise elements, no bit beyond the length",
    "X3": "UDP message fits the path (7011 10.3.3)",
    "C5": "no 230 233 283, in NetFlow v9 no 148 either: collectors then lose counters or call the record an event",
    "C7": "no empty string: FastNetMon throws the rest of the message away",
    "C10": "options data of fixed length, one options template a set, statistics in domain 0: nfdump miscounts else",
    "V1": "NetFlow v9 header counts the records of all kinds (RFC 3954 5.1)",
    "V2": "NetFlow v9 sequence counts packets of the source id (3954 5.1)",
    "V3": "NetFlow v9 set ids 0, 1 and from 256; no enterprise, no variable length (3954 5.2, 5.3)",
    "V4": "NetFlow v9 options: octets of scopes and of options, scope types 1 to 5 (3954 6.1)",
    "V5": "NetFlow v9 sets end on a multiple of four octets (3954 5.3)",
    "V6": "NetFlow v9 flows are not later than the header's sysUpTime: nfacctd then shows them 49.7 days early",
}

REVERSE = 29305
VARIABLE = 65535
UNSIGNED, MILLISECONDS, UPTIME, IPV4, IPV6, STRING, BYTES = "u", "ms", "up", "4", "6", "s", "o"

ELEMENTS = {number: (name, kind, size) for number, name, kind, size in (
    (1, "octetDeltaCount", UNSIGNED, 8), (2, "packetDeltaCount", UNSIGNED, 8), (4, "protocolIdentifier", UNSIGNED, 1),
    (5, "ipClassOfService", UNSIGNED, 1), (6, "tcpControlBits", UNSIGNED, 2), (7, "sourceTransportPort", UNSIGNED, 2),
    (8, "sourceIPv4Address", IPV4, 4), (9, "sourceIPv4PrefixLength", UNSIGNED, 1),
    (10, "ingressInterface", UNSIGNED, 4),
    (11, "destinationTransportPort", UNSIGNED, 2), (12, "destinationIPv4Address", IPV4, 4),
    (14, "egressInterface", UNSIGNED, 4), (21, "flowEndSysUpTime", UPTIME, 4), (22, "flowStartSysUpTime", UPTIME, 4),
    (23, "postOctetDeltaCount", UNSIGNED, 8), (24, "postPacketDeltaCount", UNSIGNED, 8),
    (27, "sourceIPv6Address", IPV6, 16), (28, "destinationIPv6Address", IPV6, 16),
    (29, "sourceIPv6PrefixLength", UNSIGNED, 1), (44, "sourceIPv4Prefix", IPV4, 4),
    (170, "sourceIPv6Prefix", IPV6, 16), (349, "virtualStationUUID", STRING, 0),
    (350, "virtualStationName", STRING, 0),
    (32, "icmpTypeCodeIPv4", UNSIGNED, 2), (36, "flowActiveTimeout", UNSIGNED, 2),
    (37, "flowIdleTimeout", UNSIGNED, 2), (40, "exportedOctetTotalCount", UNSIGNED, 8),
    (41, "exportedMessageTotalCount", UNSIGNED, 8), (42, "exportedFlowRecordTotalCount", UNSIGNED, 8),
    (61, "flowDirection", UNSIGNED, 1), (82, "interfaceName", STRING, 0), (83, "interfaceDescription", STRING, 0),
    (95, "applicationId", BYTES, 0), (130, "exporterIPv4Address", IPV4, 4), (131, "exporterIPv6Address", IPV6, 16),
    (136, "flowEndReason", UNSIGNED, 1), (137, "commonPropertiesId", UNSIGNED, 8),
    (139, "icmpTypeCodeIPv6", UNSIGNED, 2), (141, "lineCardId", UNSIGNED, 4),
    (143, "meteringProcessId", UNSIGNED, 4), (144, "exportingProcessId", UNSIGNED, 4),
    (145, "templateId", UNSIGNED, 2), (148, "flowId", UNSIGNED, 8), (149, "observationDomainId", UNSIGNED, 4),
    (152, "flowStartMilliseconds", MILLISECONDS, 8), (153, "flowEndMilliseconds", MILLISECONDS, 8),
    (160, "systemInitTimeMilliseconds", MILLISECONDS, 8), (163, "observedFlowTotalCount", UNSIGNED, 8),
    (164, "ignoredPacketTotalCount", UNSIGNED, 8), (165, "ignoredOctetTotalCount", UNSIGNED, 8),
    (166, "notSentFlowTotalCount", UNSIGNED, 8), (167, "notSentPacketTotalCount", UNSIGNED, 8),
    (168, "notSentOctetTotalCount", UNSIGNED, 8), (173, "flowKeyIndicator", UNSIGNED, 8),
    (225, "postNATSourceIPv4Address", IPV4, 4),
    (226, "postNATDestinationIPv4Address", IPV4, 4), (227, "postNAPTSourceTransportPort", UNSIGNED, 2),
    (228, "postNAPTDestinationTransportPort", UNSIGNED, 2), (229, "natOriginatingAddressRealm", UNSIGNED, 1),
    (230, "natEvent", UNSIGNED, 1), (233, "firewallEvent", UNSIGNED, 1), (239, "biflowDirection", UNSIGNED, 1),
    (281, "postNATSourceIPv6Address", IPV6, 16), (282, "postNATDestinationIPv6Address", IPV6, 16),
    (283, "natPoolId", UNSIGNED, 4), (297, "natType", UNSIGNED, 1), (300, "observationDomainName", STRING, 0),
    (303, "informationElementId", UNSIGNED, 2), (323, "observationTimeMilliseconds", MILLISECONDS, 8),
    (339, "informationElementDataType", UNSIGNED, 1),
    (340, "informationElementDescription", STRING, 0), (341, "informationElementName", STRING, 0),
    (342, "informationElementRangeBegin", UNSIGNED, 8), (343, "informationElementRangeEnd", UNSIGNED, 8),
    (344, "informationElementSemantics", UNSIGNED, 1), (345, "informationElementUnits", UNSIGNED, 2),
    (346, "privateEnterpriseNumber", UNSIGNED, 4), (371, "userName", STRING, 0), (40000, "ciscoUserName", STRING, 0),
)}
SCOPES9 = {1: "scopeSystem", 2: "scopeInterface", 3: "scopeLineCard", 4: "scopeCache", 5: "scopeTemplate"}
SCOPES10 = {149, 144, 143, 145, 141, 130, 131, 10, 303, 346}
NEVER_REVERSED = {148, 145, 149, 137, 239, 210, 40, 41, 42, 163, 164, 165}    # RFC 5103 6.1
EVENTS = {9: {230, 233, 283, 148}, 10: {230, 233, 283}}
DEPRECATED = {34, 84, 100}
STATISTICS = {40, 41, 42, 164, 165, 166, 167, 168}
PREFIXES = {(44, 9), (170, 29)}
COMMON = (137,)                                         # RFC 5473
PADDED = {"interfaceDescription", "interfaceName", "observationDomainName"}     # of fixed length in options
RELIABILITY = {164, 165, 166, 167, 168}
OBSERVED = 323
RANGES = {"flowDirection": {0, 1}, "biflowDirection": {1, 2}, "flowEndReason": {1, 2, 3, 4, 5},
          "reverseFlowDirection": {0, 1}}

Field = collections.namedtuple("Field", "element enterprise length scope")


def meaning(field, version, described):
    """Name, kind and full size of a field."""
    if field.scope and version == 9:
        return SCOPES9.get(field.element, f"scope{field.element}"), BYTES, 0
    if field.enterprise == 0:
        return ELEMENTS.get(field.element, (f"element{field.element}", BYTES, 0))
    if field.enterprise == REVERSE:
        name, kind, size = ELEMENTS.get(field.element, (f"element{field.element}", BYTES, 0))
        return "reverse" + name[0].upper() + name[1:], kind, size
    return described.get((field.enterprise, field.element), (f"{field.enterprise}/{field.element}", BYTES, 0))


def distinct(names):
    """The second of two equal names gets a 2, and so on."""
    return [name + (str(before + 1) if (before := names[:place].count(name)) else "") for place, name in enumerate(names)]


class Template:
    """A template and how its records are read."""

    def __init__(self, version, number, fields, options, described):
        self.version, self.number, self.fields, self.options = version, number, fields, options
        self.meanings = [meaning(f, version, described) for f in fields]
        self.names = distinct([m[0] for m in self.meanings])
        self.reliability = options and any(f.element in RELIABILITY and not f.enterprise for f in fields)
        self.who = options and tuple(f.element for f in fields if f.scope and not f.enterprise) in PREFIXES
        self.common = options and tuple(f.element for f in fields if f.scope) == COMMON
        self.minimum = sum(1 if f.length == VARIABLE else f.length for f in fields)
        self.segments = self._segments()
        self.readers = [READERS[m[1]] for m in self.meanings]

    def _segments(self):
        """Runs of fixed fields as one struct each, None for a field of variable length."""
        runs = []
        for variable, group in itertools.groupby(self.fields, lambda f: f.length == VARIABLE):
            if variable:
                runs += [None] * len(list(group))
            else:
                runs.append(struct.Struct("!" + "".join(f"{f.length}s" for f in group)))
        return runs

    def raw(self, data, offset, end):
        """The fields of one record as octets, and where the next begins; raises ValueError if it does not fit."""
        values = []
        for segment in self.segments:
            if segment is None:
                value, offset = variable_length(data, offset, end)
                values.append(value)
            else:
                if offset + segment.size > end:
                    raise ValueError("record is longer than its set")
                values += segment.unpack_from(data, offset)
                offset += segment.size
        return values, offset

    def record(self, values):
        return {name: read(value) for name, read, value in zip(self.names, self.readers, values)}


def variable_length(data, offset, end):
    if offset >= end:
        raise ValueError("no room for a length")
    length, offset = data[offset], offset + 1
    if length == 255:
        if offset + 2 > end:
            raise ValueError("no room for a long length")
        length, offset = struct.unpack_from("!H", data, offset)[0], offset + 2
        if length < 255:
            raise ValueError(f"long form for a length of {length}")
    if offset + length > end:
        raise ValueError(f"a string of {length} octets is longer than its set")
    return data[offset:offset + length], offset + length


def address(value):
    return str(ipaddress.ip_address(value)) if len(value) in (4, 16) else value.hex()


def number(value):
    return int.from_bytes(value, "big")


READERS = {UNSIGNED: number, MILLISECONDS: number, UPTIME: number, IPV4: address, IPV6: address,
           STRING: lambda value: value.rstrip(b"\0").decode("utf-8", "replace"), BYTES: bytes.hex}

# RFC 5610 section 3.1 numbers the types so.
TYPES5610 = {0: (BYTES, 0), 1: (UNSIGNED, 1), 2: (UNSIGNED, 2), 3: (UNSIGNED, 4), 4: (UNSIGNED, 8),
             11: (UNSIGNED, 1), 12: (BYTES, 6), 13: (STRING, 0), 15: (MILLISECONDS, 8), 18: (IPV4, 4), 19: (IPV6, 16)}
WITHOUT_SEMANTICS = {0, 11, 12, 13, 14, 15, 16, 17, 18, 19}


class Domain:
    """What a collector remembers of one observation domain of one session."""

    def __init__(self):
        self.templates = {}
        self.copies = collections.Counter()     # messages that carried the template
        self.sent = {}                          # ns of its last copy
        self.contents = {}
        self.records = self.next = None         # next expected sequence


class Validator:
    """Takes messages in the order they were sent. violations: list of (rule, where, text); records() yields what the
    messages said, whether valid or not."""

    def __init__(self, refresh=60, size=1232):
        self.refresh, self.size = refresh, size
        self.violations = []
        self.records = []
        self.messages = 0
        self._domains = collections.defaultdict(Domain)
        self._sequences = {}
        self._described = {}
        self._told = {}                         # last totals of each scope
        self._counts = collections.Counter()

    def message(self, session, transport, time, data):
        """time: ns since 1970, or None if unknown. transport: udp, tcp or file."""
        self.messages += 1
        self._counts[session] += 1
        self.session, self.transport, self.time, self.data = session, transport, time, data
        self.where = f"{session} message {self._counts[session]}"
        if len(data) < 4:
            return self.wrong("H2", 0, f"{len(data)} octets")
        self.version, = struct.unpack_from("!H", data)
        start = {10: self._header10, 9: self._header9}.get(self.version)
        if not start:
            return self.wrong("H1", 0, f"version {self.version}")
        if transport == "udp" and len(data) > self.size:
            self.wrong("X3", 0, f"{len(data)} octets, more than {self.size}")
        return start()

    def wrong(self, rule, offset, text):
        self.violations.append((rule, f"{self.where} offset {offset}", text))

    def _header10(self):
        if len(self.data) < 16:
            return self.wrong("H2", 0, "no whole header")
        length, self.exported, sequence, self.number = struct.unpack_from("!2xHIII", self.data)
        if length != len(self.data):
            self.wrong("H2", 2, f"length {length}, octets {len(self.data)}")
        self.base = None
        self._export_time(4, (0, 1))
        counted = self._sets(16, min(length, len(self.data)))
        return self._sequence("H4", 8, sequence, counted[0], 0)

    def _header9(self):
        if len(self.data) < 20:
            return self.wrong("H2", 0, "no whole header")
        count, uptime, self.exported, sequence, self.number = struct.unpack_from("!2xHIIII", self.data)
        self.base = self.exported * 1000 - uptime
        self.uptime = uptime
        self._export_time(8, (-1, 0, 1))        # the second may be rounded up, so that no flow is later
        counted = self._sets(20, len(self.data))
        if count != sum(counted):
            self.wrong("V1", 2, f"count {count}, records {sum(counted)}")
        return self._sequence("V2", 12, sequence, 1, None)

    def _export_time(self, offset, allowed):
        if self.time is None:
            return
        late = self.time // 10**9 - self.exported
        if late not in allowed:
            self.wrong("H3", offset, f"export time {self.exported} is {late} s before the packet")

    def _sequence(self, rule, offset, sequence, step, first):
        key = (self.session, self.version, self.number)
        expected = self._sequences.get(key, first)
        if expected is not None and sequence != expected:
            self.wrong(rule, offset, f"sequence {sequence}, expected {expected} in domain {self.number}")
        self._sequences[key] = (sequence + step) & 0xffffffff

    def _sets(self, offset, end):
        """Reads all sets; returns how many data records and how many template records there were."""
        data_records = templates = 0
        self.domain = self._domains[self.session, self.version, self.number]
        self.carried = set()
        while offset < end:
            if offset + 4 > end:
                self.wrong("H2", offset, f"{end - offset} octets after the last set")
                break
            kind, length = struct.unpack_from("!HH", self.data, offset)
            if length < 4 or offset + length > end:
                self.wrong("H2", offset + 2, f"set length {length}, {end - offset} octets left")
                break
            if self.version == 9 and length % 4:
                self.wrong("V5", offset + 2, f"set length {length}")
            if length == 4:
                self.wrong("S2", offset, f"set {kind} is empty")
            elif kind >= 256:
                data_records += self._data(kind, offset + 4, offset + length)
            else:
                templates += self._templates(kind, offset + 4, offset + length)
            offset += length
        return data_records, templates

    # Templates

    def _templates(self, kind, offset, end):
        parse = {(10, 2): self._template10, (10, 3): self._options10,
                 (9, 0): self._template9, (9, 1): self._options9}.get((self.version, kind))
        if not parse:
            self.wrong("S1" if self.version == 10 else "V3", offset - 4, f"set id {kind}")
            return 0
        count = 0
        while end - offset >= 4 and (any(self.data[offset:end]) or end - offset > 8):
            after = parse(offset, end)
            if after is None:
                return count
            count, offset = count + 1, after
        if any(self.data[offset:end]):
            self.wrong("S3", offset, "padding is not zero")
        if kind in (1, 3) and count > 1:
            self.wrong("C10", offset, f"{count} options templates in one set")
        return count

    def _template10(self, offset, end):
        number_, count = struct.unpack_from("!HH", self.data, offset)
        if count == 0:
            self.wrong("M3", offset, f"withdrawal of {number_}")
            return offset + 4
        return self._fields10(offset, offset + 4, end, number_, count, 0, False)

    def _options10(self, offset, end):
        number_, count = struct.unpack_from("!HH", self.data, offset)
        if count == 0:
            self.wrong("M3", offset, f"withdrawal of {number_}")
            return offset + 4
        if offset + 6 > end:
            return self.wrong("H2", offset, "options template is longer than its set")
        scopes, = struct.unpack_from("!H", self.data, offset + 4)
        if not 1 <= scopes <= count:
            self.wrong("T2", offset + 4, f"{scopes} scopes of {count} fields")
        return self._fields10(offset, offset + 6, end, number_, count, scopes, True)

    def _fields10(self, start, offset, end, number_, count, scopes, options):
        fields = []
        for position in range(count):
            size = 8 if offset + 4 <= end and self.data[offset] & 0x80 else 4
            if offset + size > end:
                return self.wrong("H2", offset, f"template {number_} is longer than its set")
            element, length = struct.unpack_from("!HH", self.data, offset)
            enterprise = struct.unpack_from("!I", self.data, offset + 4)[0] if size == 8 else 0
            if size == 8 and enterprise == 0 or element & 0x7fff == 0:
                self.wrong("T3", offset, f"element {element & 0x7fff} enterprise {enterprise}")
            fields.append(Field(element & 0x7fff, enterprise, length, position < scopes))
            offset += size
        self._learn(start, number_, fields, options)
        return offset

    def _template9(self, offset, end):
        number_, count = struct.unpack_from("!HH", self.data, offset)
        if count == 0:
            self.wrong("M3", offset, f"withdrawal of {number_}")
            return offset + 4
        if offset + 4 + 4 * count > end:
            return self.wrong("H2", offset, f"template {number_} is longer than its set")
        pairs = struct.iter_unpack("!HH", self.data[offset + 4:offset + 4 + 4 * count])
        self._learn(offset, number_, [Field(element, 0, length, False) for element, length in pairs], False)
        return offset + 4 + 4 * count

    def _options9(self, offset, end):
        if offset + 6 > end:
            return self.wrong("H2", offset, "options template is longer than its set")
        number_, scopes, options = struct.unpack_from("!HHH", self.data, offset)
        after = offset + 6 + scopes + options
        if scopes % 4 or options % 4 or not scopes or not options or after > end:
            return self.wrong("V4", offset + 2, f"scopes of {scopes} and options of {options} octets")
        pairs = struct.iter_unpack("!HH", self.data[offset + 6:after])
        fields = [Field(element, 0, length, position < scopes // 4)
                  for position, (element, length) in enumerate(pairs)]
        for field in fields[:scopes // 4]:
            if field.element not in SCOPES9:
                self.wrong("V4", offset + 6, f"scope type {field.element}")
        self._learn(offset, number_, fields, True)
        return after

    def _learn(self, offset, number_, fields, options):
        template = Template(self.version, number_, fields, options, self._described)
        if number_ < 256:
            self.wrong("T1", offset, f"template id {number_}")
        if self.domain.contents.setdefault(number_, (fields, options)) != (fields, options):
            other = self.domain.contents[number_][1] != options
            self.wrong("T1" if other else "M4", offset, f"template {number_} means something else than before")
        for field, known in zip(fields, template.meanings):
            self._field(offset, template, field, known)
        repeated = (OBSERVED, 0) if template.reliability else (COMMON[0], 0)
        plain = [f[:2] for f in fields if not f.scope and f[:2] != repeated]
        if len(set(plain)) != len(plain):
            self.wrong("T5", offset, f"template {number_} has an element twice")
        self.domain.templates[number_] = template
        if number_ not in self.carried:
            self.carried.add(number_)
            self.domain.copies[number_] += 1
        self.domain.sent[number_] = self.time

    def _field(self, offset, template, field, known):
        name, kind, size = known
        what = f"template {template.number} {name}"
        if self.version == 9 and field.length == VARIABLE:
            self.wrong("V3", offset, f"{what}: variable length")
        if not fits(kind, size, field.length) and not (self.version == 9 and field.scope):
            self.wrong("D1", offset, f"{what}: {field.length} octets")
        if field.enterprise == 0 and field.element in DEPRECATED:
            self.wrong("D7", offset, what)
        if not template.options and field.enterprise == 0 and field.element in EVENTS[self.version]:
            self.wrong("C5", offset, what)
        if field.enterprise == REVERSE and (field.element in NEVER_REVERSED or not any(
                f.element == field.element and f.enterprise == 0 for f in template.fields)):
            self.wrong("B1", offset, what)
        if template.options:
            self._option(offset, template, field, what)
        if template.reliability and field == template.fields[0]:
            self._reliability(offset, template)

    def _reliability(self, offset, template):
        scopes = {f.element for f in template.fields if f.scope and not f.enterprise}
        times = sum(f.element == OBSERVED and not f.enterprise for f in template.fields)
        own = any(f.scope and f.enterprise for f in template.fields)
        if scopes != {149} | (set() if own else {143}) and scopes != {144} or times != 2:
            self.wrong("O2", offset, f"template {template.number}: scopes {sorted(scopes)}, {times} times")

    def _option(self, offset, template, field, what):
        describes = {346, 303} <= {f.element for f in template.fields}
        other = field.element not in SCOPES10 or field.enterprise
        if self.version == 10 and field.scope and other and not (template.who or template.common) and not (
                field.enterprise and template.reliability):
            self.wrong("O1", offset, what)
        if template.who and field == template.fields[0] and not any(f.enterprise for f in template.fields):
            self.wrong("O3", offset, f"template {template.number}: nothing of an enterprise")
        if field.length == VARIABLE and not describes and not (template.who or template.common):
            self.wrong("C10", offset, f"{what}: variable length")
        if describes and field.scope != (field.element in (346, 303)):
            self.wrong("I1", offset, what)
        if field.element in STATISTICS and self.number != 0 and self.version == 10:
            self.wrong("C10", offset, f"{what} in domain {self.number}")

    # Data

    def _data(self, number_, offset, end):
        template = self.domain.templates.get(number_)
        if not template:
            self.wrong("T4", offset - 4, f"data of template {number_}, which was not sent before")
            return 0
        self._announced(offset, number_)
        count = 0
        while end - offset >= template.minimum:
            try:
                values, after = template.raw(self.data, offset, end)
            except ValueError as error:
                self.wrong("D5", offset, f"template {number_}: {error}")
                return count
            self._record(template, values, offset)
            count, offset = count + 1, after
        if any(self.data[offset:end]):
            self.wrong("S3", offset, "padding is not zero")
        if not count:
            self.wrong("S2", offset, f"set {number_} holds no record")
        return count

    def _announced(self, offset, number_):
        if self.transport != "udp":
            return
        copies = self.domain.copies[number_] - (number_ in self.carried)
        if copies < 2:
            self.wrong("M2", offset, f"{copies} copies of template {number_} before its data")
            self.domain.copies[number_] += 2        # say it once
        if self.time is not None and self.time - self.domain.sent[number_] > (self.refresh + 2) * 10**9:
            age = (self.time - self.domain.sent[number_]) / 1e9
            self.wrong("M1", offset, f"template {number_} was last sent {age:.1f} s ago")

    def _record(self, template, values, offset):
        for (name, kind, _), value in zip(template.meanings, values):
            if kind == STRING:
                self._string(name, value, offset)
        record = template.record(values)
        if self.base is not None:
            self._absolute(record, offset)
        self._sense(record, offset)
        if template.reliability:
            self._totals(template, values, record, offset)
        if "privateEnterpriseNumber" in record:
            self._describe(record, offset)
        if template.who:
            self._prefix(values, offset)
        self.records.append({"session": self.session, "version": self.version, "domain": self.number,
                             "exported": self.exported, "template": template.number, "options": template.options,
                             **record})

    def _prefix(self, values, offset):
        bits, length = 8 * len(values[0]), values[1][0]
        if length > bits or number(values[0]) & ((1 << (bits - length)) - 1):
            self.wrong("O3", offset, f"{address(values[0])}/{length}")

    def _string(self, name, value, offset):
        text = value.rstrip(b"\0") if self.version == 9 or name in PADDED else value
        if not text:
            self.wrong("C7", offset, f"{name} is empty")
        try:
            if b"\0" in text:
                self.wrong("D3", offset, f"{name} holds NUL")
            text.decode("utf-8")
        except UnicodeDecodeError as error:
            self.wrong("D3", offset, f"{name}: {error}")

    def _absolute(self, record, offset):
        """NetFlow v9 counts from sysUpTime zero; the header says when that was."""
        for uptime, name in (("flowStartSysUpTime", "flowStartMilliseconds"),
                             ("flowEndSysUpTime", "flowEndMilliseconds")):
            if uptime in record:
                back = (self.uptime - record[uptime]) & 0xffffffff
                if back >= 2**31:
                    back -= 2**32
                    self.wrong("V6", offset, f"{uptime} {record[uptime]}, header {self.uptime}")
                record[name] = self.exported * 1000 - back

    def _sense(self, record, offset):
        start, end = record.get("flowStartMilliseconds"), record.get("flowEndMilliseconds")
        if start is not None and end is not None and not start <= end < (self.exported + 1) * 1000:
            self.wrong("D6", offset, f"start {start} end {end} exported {self.exported}")
        for name, allowed in RANGES.items():
            if record.get(name, min(allowed)) not in allowed:
                self.wrong("D6", offset, f"{name} {record[name]}")

    def _totals(self, template, values, record, offset):
        first, last = (record.get(f"observationTimeMilliseconds{n}", 0) for n in ("", "2"))
        if first > last:
            self.wrong("O2", offset, f"first {first} last {last}")
        scopes = tuple(value for field, value in zip(template.fields, values) if field.scope)
        now = [record.get(ELEMENTS[element][0], 0) for element in sorted(RELIABILITY)] + [last]
        before = self._told.setdefault((self.session, template.number, scopes), now)
        if any(a < b for a, b in zip(now, before)):
            self.wrong("O2", offset, f"totals {now} after {before}")
        self._told[self.session, template.number, scopes] = now

    def _describe(self, record, offset):
        kind, semantics = record.get("informationElementDataType"), record.get("informationElementSemantics", 0)
        if kind in WITHOUT_SEMANTICS and semantics:
            self.wrong("I1", offset, f"semantics {semantics} for type {kind}")
        key = record["privateEnterpriseNumber"], record.get("informationElementId", 0)
        value = (record.get("informationElementName", "?"), *TYPES5610.get(kind, (BYTES, 0)))
        if self._described.setdefault(key, value) != value:
            self.wrong("I1", offset, f"element {key} is described in two ways")
        for domain in self._domains.values():           # templates that came before their description
            for known in domain.templates.values():
                known.__init__(known.version, known.number, known.fields, known.options, self._described)


def fits(kind, size, length):
    """May a field of this kind have this length?"""
    if kind in (STRING, BYTES):
        return length > 0
    if kind == UNSIGNED:
        return 1 <= length <= size
    return length == size


def stream(path):
    """Messages of a file (RFC 5655) or of what a TCP collector saved."""
    with open(path, "rb") as file:
        data = file.read()
    offset = 0
    while offset < len(data):
        length = struct.unpack_from("!H", data, offset + 2)[0] if offset + 4 <= len(data) else 0
        if length < 16:
            yield path, "file", None, data[offset:]
            return
        yield path, "file", None, data[offset:offset + length]
        offset += length


PCAP = (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d")


def validate(paths, ports, refresh=60, size=1232):
    """A Validator that has seen everything in the files."""
    validator = Validator(refresh, size)
    for path in paths:
        with open(path, "rb") as file:
            captured = file.read(4) in PCAP
        for message in pcap.sessions(path, ports) if captured else stream(path):
            validator.message(*message)
    return validator


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, action="append", help="of a collector in a capture (default: 4739, 2055)")
    parser.add_argument("--refresh", type=float, default=60, help="template refresh in seconds (default 60)")
    parser.add_argument("--size", type=int, default=1232, help="largest UDP payload in octets (default 1232)")
    parser.add_argument("--json", action="store_true", help="print all records")
    parser.add_argument("file", nargs="+")
    arguments = parser.parse_args()
    validator = validate(arguments.file, set(arguments.port or (4739, 2055)), arguments.refresh, arguments.size)
    if arguments.json:
        for record in validator.records:
            print(json.dumps(record, ensure_ascii=False))
    for rule, where, text in validator.violations:
        print(f"{rule} {where}: {text} [{RULES[rule]}]", file=sys.stderr)
    print(f"{validator.messages} messages, {len(validator.records)} records, {len(validator.violations)} violations",
          file=sys.stderr)
    return 1 if validator.violations or not validator.messages else 0


if __name__ == "__main__":
    sys.exit(main())
