# SPDX-License-Identifier: GPL-3.0-or-later
"""Collectors as operators run them, and what each of them shows, in one vocabulary.

A record is a dict of these words; a collector leaves out those it cannot show. Addresses are text, times ms since 1970,
NAT words None where there was no translation."""

import calendar
import io
import ipaddress
import json
import pathlib
import signal
import shutil
import subprocess
import time
from xml.etree import ElementTree

import lib
import mesh

WORDS = ("source", "destination", "source_port", "destination_port", "protocol", "octets", "packets", "reverse_octets",
         "reverse_packets", "start", "end", "ingress", "egress", "ingress_name", "egress_name", "icmp", "nat_source",
         "nat_destination", "nat_source_port", "nat_destination_port", "name", "direction", "biflow_direction",
         "reason", "flow_id", "mark")
ENDS = tuple(f"{end}_{word}" for end in ("source", "destination") for word in mesh.Who._fields)
WORDS += ENDS
ENTERPRISE = 32473          # RFC 5612: for documentation
HINTS = str(pathlib.Path(lib.PEERFLOWD).parent / "peerflow")
NAT_ADDRESSES = ("nat_source", "nat_destination")
NAT_PORTS = ("nat_source_port", "nat_destination_port")


def hints(collector):
    """What the manual tells an operator to give that collector."""
    return subprocess.run([HINTS, "hints", "--enterprise", str(ENTERPRISE), collector], check=True,
                          capture_output=True, text=True).stdout


def milliseconds(text):
    """2026-11-22 02:52:53.500, also with a T or as tshark writes it, in UTC."""
    whole, _, fraction = text.replace("T", " ").removesuffix(" UTC").partition(".")
    form = "%b %d, %Y %H:%M:%S" if whole[0].isalpha() else "%Y-%m-%d %H:%M:%S"
    return calendar.timegm(time.strptime(whole, form)) * 1000 + int(fraction[:3].ljust(3, "0"))


class Collector:
    """One receiver of one kind of export. Subclasses run it and read what it shows."""

    protocol, records, transport = "ipfix", "uniflow", "udp"
    reply = "mirror"
    ipv6 = False                # how the daemon reaches it
    mtu = None                  # configured; None: the daemon takes the path's
    full = False                # gets full.template
    seconds = False             # shows times rounded up to whole seconds
    cannot = {}                 # word: why it is not shown
    needs = ()                  # programs

    @classmethod
    def missing(cls):
        return [program for program in cls.needs if not shutil.which(program)]

    def __init__(self, port):
        self.port = port
        self.template = "full" if self.full else "default" if self.protocol == "ipfix" else "nfdump"

    @property
    def name(self):
        return (f"{self.program} {self.protocol}{' biflow' if self.records == 'biflow' else ''}"
                f"{' full' if self.full else ''}")

    def group(self, host):
        """Its part of the daemon's configuration."""
        return (f"[collector {self.name.replace(' ', '-')}]\nhost = {host}\nport = {self.port}\n"
                f"transport = {self.transport}\nprotocol = {self.protocol}\ntemplate = {self.template}\n"
                f"records = {self.records}\nreply-tuple = {self.reply}\n"
                + (f"mtu = {self.mtu}\n" if self.mtu else "") + "\n")

    def start(self, lab, namespace):
        pass

    def stop(self):
        pass

    def problems(self):
        """Lines of its log that should not be there."""
        return []

    def shown(self):
        """The records it shows; router is the address they came from."""
        raise NotImplementedError


class Nfcapd(Collector):
    """One directory a router, as its table of interface names knows no router."""
    program = "nfdump"
    needs = ("nfcapd", "nfdump")
    ROUTERS = ("192.0.2.1", "192.0.2.5")
    cannot = {"flow_id": "not kept", "name": "userName 371 is not read, only NetFlow v9's 40000",
              "nat_source6": "281 and 282 are not read in IPFIX (1.7.1)"}
    FORMAT = {"router": "ra", "source": "sa", "destination": "da", "source_port": "sp", "destination_port": "dp",
              "protocol": "pr", "icmp_type": "it", "icmp_code": "ic", "start": "ts", "end": "te", "packets": "ipkt",
              "octets": "ibyt", "reverse_packets": "opkt", "reverse_octets": "obyt", "ingress": "in", "egress": "out",
              "nat_source": "nsa", "nat_destination": "nda", "nat_source_port": "nsp", "nat_destination_port": "ndp",
              "name": "uname", "biflow_direction": "bfd", "reason": "end", "direction": "dir",
              "ingress_name": "inam", "egress_name": "onam"}

    def start(self, lab, namespace):
        self.directories = [lab.directory / f"nfcapd-{self.port}-{address}" for address in self.ROUTERS]
        sources = []
        for address, directory in zip(self.ROUTERS, self.directories):
            directory.mkdir()
            sources += ["-n", f"from-{address},{address},{directory}"]
        self.daemon = lab.start(namespace, "nfcapd", *sources, "-p", self.port, "-t", "3600", "-B", "4194304")
        self.daemon.wait_for("Startup nfcapd")

    def stop(self):
        self.daemon.stop(signal.SIGTERM)

    def problems(self):
        text = self.daemon.text()
        bad = [line for line in text.splitlines() if any(word in line.lower() for word in (
            "error", "fail", "skip", "unknown", "unexpected", "malformed")) and "Sequence Errors: 0, Bad Packets: 0"
            not in line]
        # A line for each router when it ends, and one more each for every hour that begins meanwhile.
        clean = text.count("Sequence Errors: 0, Bad Packets: 0")
        return bad + ([] if clean and clean % len(self.ROUTERS) == 0 else ["summary: " + text[-300:]])

    def shown(self, *options):
        form = "|".join("%" + tag for tag in self.FORMAT.values())
        lines = []
        for directory in self.directories:
            done = subprocess.run(["nfdump", "-R", str(directory), *options, "-q", "-6", "-N", "-o", "fmt:" + form],
                                  check=True, capture_output=True, text=True,
                                  env={"TZ": "UTC", "PATH": "/usr/bin:/bin"})
            lines += [line for line in done.stdout.splitlines() if "|" in line]
        return [self._record(dict(zip(self.FORMAT, (v.strip() for v in line.split("|")))), bool(options))
                for line in lines]

    def _record(self, text, both):
        names = {w: text[w] for w in ("router", "source", "destination")}
        numbers = {w: int(text[w]) for w in ("packets", "octets", "reverse_packets", "reverse_octets", "ingress",
                                             "egress", "protocol", "source_port", "biflow_direction", "reason")}
        icmp = numbers["protocol"] in (1, 58)
        record = {**names, **numbers, "start": milliseconds(text["start"]), "end": milliseconds(text["end"]),
                  "destination_port": 0 if icmp else int(text["destination_port"]),
                  "direction": {"I": 0, "E": 1}[text["direction"]],
                  "icmp": int(text["icmp_type"]) * 256 + int(text["icmp_code"]) if icmp else None,
                  "ingress_name": text["ingress_name"], "egress_name": text["egress_name"], "name": text["name"]}
        for word in NAT_ADDRESSES:
            record[word] = None if text[word] in ("0.0.0.0", "::") else text[word]
        for word in NAT_PORTS:
            record[word] = int(text[word]) or None
        if self.records == "uniflow" and not both:
            del record["reverse_packets"], record["reverse_octets"]
        for word in self.cannot:
            record.pop(word, None)
        if "nat_source6" in self.cannot and ":" in record["source"]:
            del record["nat_source"], record["nat_destination"]
        return record


class NfcapdBiflow(Nfcapd):
    records = "biflow"


class NfcapdFull(Nfcapd):
    full = True


class Nfcapd9(Nfcapd):
    protocol = "netflow9"
    cannot = {"flow_id": "148 would make it an event, so it is not sent", "biflow_direction": "not in the template",
              "reason": "136 is not read in NetFlow v9"}


class Nfcapd9Biflow(Nfcapd9):
    records = "biflow"


class Nfacctd(Collector):
    program = "nfacctd"
    needs = ("nfacctd",)
    AGGREGATE = ("src_host,dst_host,src_port,dst_port,proto,post_nat_src_host,post_nat_dst_host,post_nat_src_port,"
                 "post_nat_dst_port,timestamp_start,timestamp_end,in_iface,out_iface,peer_src_ip,icmp_type_code_ipv4,"
                 "icmp_type_code_ipv6,flow_end_reason,biflow_direction,flow_direction,flow_id,"
                 "post_nat_source_ipv6_address,post_nat_destination_ipv6_address,cisco_user_name")
    PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ipv6-icmp": 58, "sctp": 132, "udplite": 136,
                 "dccp": 33}
    cannot = {"reverse_octets": "dropped, so it gets uniflows", "name": "no primitive for a variable length below 384",
              "ingress_name": "not read", "egress_name": "not read"}

    def start(self, lab, namespace):
        self.output = lab.directory / f"nfacctd-{self.port}.json"
        self.log = lab.directory / f"nfacctd-{self.port}.log"
        primitives = lab.directory / f"nfacctd-{self.port}.primitives"
        primitives.write_text(hints("pmacct"), encoding="ascii")
        configuration = lab.directory / f"nfacctd-{self.port}.conf"
        configuration.write_text(
            f"nfacctd_ip: 0.0.0.0\nnfacctd_port: {self.port}\nplugins: print[p]\naggregate_primitives: {primitives}\n"
            f"aggregate[p]: {self.AGGREGATE}\nprint_output[p]: json\nprint_output_file[p]: {self.output}\n"
            "print_output_file_append[p]: true\nprint_refresh_time[p]: 1\ntimestamps_since_epoch: true\n"
            f"logfile: {self.log}\n", encoding="ascii")
        self.daemon = lab.start(namespace, "nfacctd", "-f", configuration)
        end = time.monotonic() + 10
        while not self.log.exists() or "JSON: setting object handlers" not in self.log.read_text(errors="replace"):
            if time.monotonic() > end:
                raise TimeoutError("nfacctd does not start")
            time.sleep(0.05)

    def stop(self):
        time.sleep(2.2)         # its plugin writes once a second
        self.daemon.stop(signal.SIGINT)

    def problems(self):
        return [line for line in self.log.read_text(errors="replace").splitlines()
                if any(word in line for word in ("WARN", "ERR", "DEBUG")) or "equence" in line]

    def shown(self):
        with open(self.output, encoding="utf-8") as file:
            return [self._record(json.loads(line)) for line in file if line.startswith("{")]

    def _record(self, values):
        protocol = self.PROTOCOLS.get(values["ip_proto"]) or int(values["ip_proto"])
        six = ":" in values["ip_src"]
        nat = (values["post_nat_source_ipv6_address"], values["post_nat_destination_ipv6_address"]) if six else \
            (values["post_nat_ip_src"], values["post_nat_ip_dst"])
        record = {
            "router": values["peer_ip_src"], "source": values["ip_src"], "destination": values["ip_dst"],
            "source_port": values["port_src"], "destination_port": values["port_dst"], "protocol": protocol,
            "octets": values["bytes"], "packets": values["packets"], "start": self._time(values["timestamp_start"]),
            "end": self._time(values["timestamp_end"]), "ingress": values["iface_in"], "egress": values["iface_out"],
            "icmp": self._icmp(values, protocol), "direction": int(values["flow_direction"]),
            "reason": int(values["flow_end_reason"]), "biflow_direction": int(values["biflow_direction"]),
            "flow_id": int(values["flow_id"]), "name": values["cisco_user_name"],
            "nat_source": None if nat[0] in ("", "::") else nat[0],
            "nat_destination": None if nat[1] in ("", "::") else nat[1],
            "nat_source_port": values["post_nat_port_src"] or None,
            "nat_destination_port": values["post_nat_port_dst"] or None,
        }
        return {word: value for word, value in record.items() if word not in self.cannot}

    @staticmethod
    def _time(text):
        seconds, _, fraction = text.partition(".")
        return int(seconds) * 1000 + int(fraction[:3])

    def _icmp(self, values, protocol):
        word = "icmp_type_code_ipv6" if protocol == 58 else "icmp_type_code_ipv4"
        return int(values[word]) if protocol in (1, 58) else None


class NfacctdFull(Nfacctd):
    full = True
    ABOUT = {f"{end}_{shown}": f"{end}_{word}" for end in ("source", "destination") for shown, word in (
        ("peer_name", "name"), ("peer_id", "id"), ("user_name", "user"), ("group_names", "groups"),
        ("via_peer_name", "via"))}
    AGGREGATE = Nfacctd.AGGREGATE.replace("cisco_user_name", ",".join([*ABOUT, "conntrack_mark"]))

    def _record(self, values):
        record = super()._record({**values, "cisco_user_name": ""})
        return {**record, **{word: values[shown] for shown, word in self.ABOUT.items()},
                "mark": int(values["conntrack_mark"])}


class Nfacctd9(Nfacctd):
    protocol = "netflow9"
    seconds = True
    cannot = {"reverse_octets": "dropped, so it gets uniflows", "biflow_direction": "not in the template",
              "flow_id": "not in the template", "ingress_name": "not read", "egress_name": "not read"}

    def _icmp(self, values, protocol):
        return int(values["icmp_type_code_ipv4"]) if protocol in (1, 58) else None


class Sink(Collector):
    """Nobody listens: the capture is what is read, by tshark, python3-ipfix and our own validator."""
    program = "capture"


class SinkBiflow(Sink):
    records = "biflow"


class SinkFull(Sink):
    full = True


class SinkFullBiflow(Sink):
    full, records = True, "biflow"


class Sink9(Sink):
    protocol = "netflow9"


class Sink9Biflow(Sink):
    protocol, records = "netflow9", "biflow"


class SinkWire(Sink):
    reply = "wire"
    mtu = 1280

    @property
    def name(self):
        return "capture ipfix wire tuples"


class Sink6(Sink):
    ipv6 = True

    @property
    def name(self):
        return "capture ipfix over ipv6"


class SinkTcp(Sink):
    transport = "tcp"

    @property
    def name(self):
        return "capture ipfix tcp"


WIRE = {
    "sourceIPv4Address": "source", "sourceIPv6Address": "source", "destinationIPv4Address": "destination",
    "destinationIPv6Address": "destination", "sourceTransportPort": "source_port",
    "destinationTransportPort": "destination_port", "protocolIdentifier": "protocol", "octetDeltaCount": "octets",
    "packetDeltaCount": "packets", "reverseOctetDeltaCount": "reverse_octets", "postOctetDeltaCount": "reverse_octets",
    "reversePacketDeltaCount": "reverse_packets", "postPacketDeltaCount": "reverse_packets",
    "flowStartMilliseconds": "start", "flowEndMilliseconds": "end", "ingressInterface": "ingress",
    "egressInterface": "egress", "icmpTypeCodeIPv4": "icmp", "icmpTypeCodeIPv6": "icmp",
    "postNATSourceIPv4Address": "nat_source", "postNATDestinationIPv4Address": "nat_destination",
    "postNATSourceIPv6Address": "nat_source", "postNATDestinationIPv6Address": "nat_destination",
    "postNAPTSourceTransportPort": "nat_source_port", "postNAPTDestinationTransportPort": "nat_destination_port",
    "userName": "name", "ciscoUserName": "name", "flowDirection": "direction", "biflowDirection": "biflow_direction",
    "flowEndReason": "reason", "flowId": "flow_id", "conntrackMark": "mark",
}
ABOUT = {"PeerName": "name", "PeerId": "id", "UserName": "user", "GroupNames": "groups", "ViaPeerName": "via"}
WIRE.update({end + element: f"{end}_{word}" for end in ("source", "destination") for element, word in ABOUT.items()})
SIZES = {"string": 65535, "octetArray": 16, "unsigned8": 1, "unsigned16": 2, "unsigned32": 4, "unsigned64": 8}
ABSENT = {"source_port": 0, "destination_port": 0, "icmp": None, "nat_source": None, "nat_destination": None,
          "nat_source_port": None, "nat_destination_port": None}


def address_of(session):
    """The exporter's address in "192.0.2.1:4711>192.0.2.2:9001"."""
    return session.rsplit(">", maxsplit=1)[0].rsplit(":", maxsplit=1)[0]


def wire_records(records):
    """Flow records as the validator decoded them."""
    return [{**ABSENT, "router": address_of(r["session"]), **{WIRE[k]: v for k, v in r.items() if k in WIRE}}
            for r in records if not r["options"]]


def wire_interfaces(records):
    """(router, domain): {index: name} from the interface tables."""
    tables = {}
    for record in records:
        if record["options"] and "interfaceDescription" in record:
            tables.setdefault(address_of(record["session"]), {})[record["ingressInterface"]] = \
                record["interfaceDescription"]
    return tables


WHO = {"virtualStationName": "name", "virtualStationUUID": "id", "peerUserName": "user", "groupNames": "groups",
       "viaPeerName": "via"}


def wire_who(records):
    """{router: {(prefix, length): Who}} from the tables of peers and resources."""
    tables = {}
    for record in records:
        family = "IPv6" if "sourceIPv6Prefix" in record else "IPv4"
        if record["options"] and f"source{family}Prefix" in record:
            tables.setdefault(address_of(record["session"]), {})[
                record[f"source{family}Prefix"], record[f"source{family}PrefixLength"]] = mesh.Who(
                    **{word: record[element] for element, word in WHO.items()})
    return tables


def own_elements():
    """What python3-ipfix must know of ours, as it wants to be told, from the file for libfds."""
    scope, *elements = ElementTree.fromstring(hints("libfds"))
    for element in elements:
        number, name, kind = (element.findtext(tag) for tag in ("id", "name", "dataType"))
        yield f"{name}({scope.findtext('pen')}/{number})<{kind}>[{SIZES[kind]}]"


def python_ipfix(exports):
    """What python3-ipfix makes of the messages, session by session."""
    import ipfix.ie
    import ipfix.reader
    ipfix.ie.use_iana_default()
    ipfix.ie.use_5103_default()
    for spec in own_elements():
        ipfix.ie.for_spec(spec)
    streams = {}
    for session, _, _, octets in exports:
        streams.setdefault(session, []).append(octets)
    shown = []
    for session, messages in streams.items():
        reader = ipfix.reader.from_stream(io.BytesIO(b"".join(messages)))
        for values in reader.namedict_iterator():
            if "octetDeltaCount" in values:
                shown.append({**ABSENT, "router": address_of(session),
                              **{WIRE[k]: _plain(v) for k, v in values.items() if k in WIRE}})
    return shown


def _plain(value):
    if isinstance(value, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return str(value)
    if hasattr(value, "utctimetuple"):
        return calendar.timegm(value.utctimetuple()) * 1000 + value.microsecond // 1000
    return value


TSHARK = {
    "cflow.srcaddr": "source", "cflow.srcaddrv6": "source", "cflow.dstaddr": "destination",
    "cflow.dstaddrv6": "destination", "cflow.srcport": "source_port", "cflow.dstport": "destination_port",
    "cflow.protocol": "protocol", "cflow.octets": "octets", "cflow.packets": "packets",
    "cflow.post_octets": "reverse_octets", "cflow.post_packets": "reverse_packets",
    "cflow.reverse_octet_delta_count": "reverse_octets", "cflow.reverse_packet_delta_count": "reverse_packets",
    "cflow.inputint": "ingress", "cflow.outputint": "egress", "cflow.direction": "direction",
    "cflow.flow_end_reason": "reason", "cflow.flow_id": "flow_id", "cflow.biflow_direction": "biflow_direction",
    "cflow.post_natsource_ipv4_address": "nat_source", "cflow.post_natdestination_ipv4_address": "nat_destination",
    "cflow.post_nat_source_ipv6_address": "nat_source", "cflow.post_nat_destination_ipv6_address": "nat_destination",
    "cflow.post_naptsource_transport_port": "nat_source_port",
    "cflow.post_naptdestination_transport_port": "nat_destination_port",
    "cflow.user_name": "name", "cflow.aaa_username": "name", "cflow.icmp_type_code_ipv4": "icmp",
}
TSHARK.update({f"peerflow.{element}": word for element, word in WIRE.items()
               if element == "conntrackMark" or word in ENDS})
TSHARK_TEXT = {"source", "destination", "nat_source", "nat_destination", "name", *ENDS}


class Tshark:
    """tshark over the capture of everything that was exported."""

    def __init__(self, lab, capture, ports, tcp_ports=()):
        script = lab.directory / "peerflow.lua"
        script.write_text(hints("tshark"), encoding="ascii")
        self.arguments = ["tshark", "-n", "-o", "udp.check_checksum:TRUE", "-X", f"lua_script:{script}",
                          "-r", str(capture)]
        for port in ports:
            self.arguments += ["-d", f"udp.port=={port},cflow"]
        for port in tcp_ports:
            self.arguments += ["-d", f"tcp.port=={port},cflow"]

    def run(self, *arguments):
        return subprocess.run([*self.arguments, *arguments], check=True, capture_output=True, text=True,
                              env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"},
                              ).stdout

    def complaints(self):
        """Anything at all over UDP; over TCP, remarks on the stream itself (a SYN is one) from a warning up."""
        return self.run("-Y", "_ws.malformed || (udp && _ws.expert) || _ws.expert.severity >= 0x600000").splitlines()

    def shown(self):
        """{port: records}."""
        ports = {}
        text = self.run("-Y", "cflow", "-T", "json", "-J", "ip ipv6 udp tcp cflow peerflow")
        packets = json.loads(text, object_pairs_hook=list)
        for packet in packets:
            layers = dict(dict(packet)["_source"])["layers"]
            named = dict(layers)
            transport = dict(named.get("udp") or named["tcp"])
            port = int(transport.get("udp.dstport") or transport["tcp.dstport"])
            router = dict(named["ip"])["ip.src"] if "ip" in named else dict(named["ipv6"])["ipv6.src"]
            own = [dict(value) for key, value in layers if key == "peerflow"]
            for message in (value for key, value in layers if key == "cflow"):
                ports.setdefault(port, []).extend(self._records(router, message, own))
        return ports

    def _records(self, router, message, own):
        """own: what our script shows beside the records, those of options too, in the same order."""
        header = dict(message)
        base = None
        if header["cflow.version"] == "9":
            base = int(dict(header["cflow.timestamp_tree"])["cflow.unix_secs"]) * 1000 - round(
                float(header["cflow.sysuptime"]) * 1000)
        for key, sets in message:
            if "Set " in key and isinstance(sets, list):
                for name, flow in sets:
                    if name.startswith("Flow ") and any(k == "cflow.octets" for k, _ in flow):
                        beside = own.pop(0) if any(k == "cflow.enterprise_private_entry" for k, _ in flow) else {}
                        yield self._record(router, [*flow, *beside.items()], base)

    @staticmethod
    def _record(router, flow, base):
        record = {**ABSENT, "router": router}
        for key, value in flow:
            word = TSHARK.get(key)
            if word in record and word in ("octets", "packets"):
                word = "reverse_" + word
            if word:
                record[word] = value if word in TSHARK_TEXT else int(value, 0)
        values = dict(flow)
        if "cflow.icmp_ipv6_type" in values:
            record["icmp"] = int(values["cflow.icmp_ipv6_type"]) * 256 + int(values["cflow.icmp_ipv6_code"])
        times = dict(values["cflow.timedelta_tree"])
        for word, absolute, uptime in (("start", "cflow.abstimestart", "cflow.timestart"),
                                       ("end", "cflow.abstimeend", "cflow.timeend")):
            record[word] = milliseconds(times[absolute]) if absolute in times else \
                base + round(float(times[uptime]) * 1000)
        return record

