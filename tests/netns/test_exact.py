#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Is the sum of all records of a flow what the kernel counted, for each of a hundred thousand real flows?

Sockets talk through a router that translates sources, destinations or both. Long time-outs keep every entry in the
table, conntrack(8) reads it: that is the truth. Then all flows end at once, and what a UDP and a TCP collector got must
be the same flows, each once, with the same octets and packets in each direction and the same translation.

    sudo tests/netns/test_exact.py [--flows N]      PEERFLOWD, TRAFFIC: the programs, if not those in build/"""

import argparse
import collections
import json
import os
import pathlib
import re
import socket
import sys
import threading
import time

import lib

sys.path.insert(0, str(lib.REPOSITORY / "collector-test"))
import validate             # noqa: E402

TRAFFIC = os.environ.get("TRAFFIC", str(lib.REPOSITORY / "build" / "tests" / "traffic"))
LEG = 50000                 # flows to one destination: within one round of source ports, so that no entry is reused
UDP_PORT, TCP_PORT = 4739, 4740
COLLECTOR = "192.0.2.2"

# share of the flows, protocol, destination, port dialled, port served, options of traffic(1)
UDP = ("--datagrams", "1-5", "--answered", "0-5", "--size", "8-400", "--answer", "1-700")
TCP = ("--request", "8-3000", "--response", "0-9000")
LEGS = (
    (0.35, "udp", "10.30.0.30", 7001, 7001, UDP),
    (0.15, "udp", "10.20.0.1", 7002, 7102, UDP),        # the router's address: destination and port are translated
    (0.10, "udp", "fd30::30", 7003, 7003, UDP),
    (0.20, "tcp", "10.30.0.30", 7004, 7004, TCP),
    (0.10, "tcp", "10.20.0.1", 7005, 7105, TCP),
    (0.10, "tcp", "10.30.0.30", 7006, 7006, (*TCP, "--reset")),
)

RULES = """
table ip nat {
  chain prerouting { type nat hook prerouting priority -100;
    ip daddr 10.20.0.1 udp dport 7002 dnat to 10.30.0.30:7102
    ip daddr 10.20.0.1 tcp dport 7005 dnat to 10.30.0.30:7105
  }
  chain postrouting { type nat hook postrouting priority 100;
    oifname "eth1" udp dport { 7001, 7102 } masquerade
    oifname "eth1" tcp dport 7004 masquerade
  }
}
table ip6 nat {
  chain postrouting { type nat hook postrouting priority 100; oifname "eth1" masquerade; }
}
"""

KEPT = ("udp_timeout", "udp_timeout_stream", "tcp_timeout_time_wait", "tcp_timeout_close", "tcp_timeout_fin_wait",
        "tcp_timeout_close_wait", "tcp_timeout_last_ack", "tcp_timeout_established", "tcp_timeout_syn_sent",
        "tcp_timeout_syn_recv")

ENTRY = re.compile(r"^\S+\s+\d+ (\S+)\s+(\d+) .*?src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) packets=(\d+) bytes=(\d+)"
                   r".*? src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+) packets=(\d+) bytes=(\d+).* id=(\d+)")

# What is known of one direction of one flow. nat: the tuple behind the translation, or None.
Key = collections.namedtuple("Key", "id protocol source source_port destination destination_port")
Value = collections.namedtuple("Value", "packets octets nat")


class UdpSink(threading.Thread):
    def __init__(self, namespace):
        super().__init__(daemon=True)
        self.messages = []
        self.socket = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 256 << 20)            # SO_RCVBUFFORCE
        self.socket.bind((COLLECTOR, UDP_PORT))
        self.start()

    def run(self):
        while True:
            data, peer = self.socket.recvfrom(65535)
            self.messages.append((f"udp {peer}", "udp", time.time_ns(), data))

    def drops(self, namespace):
        """Datagrams the sink was too slow for: its own loss, not the exporter's."""
        lines = namespace.run("cat /proc/net/udp").splitlines()[1:]
        return sum(int(line.split()[-1]) for line in lines if f":{UDP_PORT:04X} " in line.split("00000000:0000")[0])


class TcpSink(threading.Thread):
    def __init__(self, namespace):
        super().__init__(daemon=True)
        self.messages = []
        self.socket = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.bind((COLLECTOR, TCP_PORT))
        self.socket.listen()
        self.start()

    def run(self):
        while True:
            connection, peer = self.socket.accept()
            buffer = b""
            while data := connection.recv(1 << 20):
                buffer += data
                buffer = self._split(f"tcp {peer}", buffer)

    def _split(self, session, buffer):
        offset = 0
        while len(buffer) - offset >= 4:
            length = int.from_bytes(buffer[offset + 2:offset + 4], "big")
            if len(buffer) - offset < length:
                break
            self.messages.append((session, "tcp", None, buffer[offset:offset + length]))
            offset += length
        return buffer[offset:]


def build(lab):
    spaces = client, router, server, collector = [lab.namespace(n) for n in ("client", "router", "server", "collector")]
    router.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1,
                  **{f"net__netfilter__nf_conntrack_{key}": 1 for key in ("acct", "timestamp", "events")},
                  **{f"net__netfilter__nf_conntrack_{key}": 3600 for key in KEPT})
    lab.wire(client, "eth0", router, "eth0")
    lab.wire(router, "eth1", server, "eth0")
    lab.wire(router, "exp0", collector, "eth0")
    client.address("eth0", *(f"10.20.0.{n}/24" for n in (20, 21, 22)), "fd20::20/64")
    router.address("eth0", "10.20.0.1/24", "fd20::1/64")
    router.address("eth1", "10.30.0.1/24", "fd30::1/64")
    router.address("exp0", "192.0.2.1/30")
    server.address("eth0", "10.30.0.30/24", "fd30::30/64")
    collector.address("eth0", f"{COLLECTOR}/30")
    client.route("default via 10.20.0.1", "default via fd20::1")
    server.route("default via 10.30.0.1", "default via fd30::1")
    router.nft(RULES)
    return spaces


def configuration():
    group = (f"host = {COLLECTOR}\nprotocol = ipfix\ntemplate = default\nrecords = uniflow\nreply-tuple = mirror\n"
             "queue = 256M\n")
    return (f"[exporter]\nobservation-domain-id = 1\ntemplate-directory = {lib.TEMPLATES}\nlive-socket = off\n"
            f"[conntrack]\nflows = all\n[collector udp]\ntransport = udp\nport = {UDP_PORT}\n{group}"
            f"[collector tcp]\ntransport = tcp\nport = {TCP_PORT}\n{group}")


def send(lab, client, server, wanted):
    """Makes the flows, leg by leg. Returns what the sender knows of each UDP leg: (address, port, its report)."""
    reports = []
    for share, protocol, address, dialled, served, options in LEGS:
        flows = int(wanted * share)
        assert flows <= LEG, f"--flows: at most {int(LEG / max(leg[0] for leg in LEGS))}"
        listen = "fd30::30" if ":" in address else "10.30.0.30"
        echo = lab.start(server, TRAFFIC, "serve", f"--{protocol}", "--time", "300", listen, served)
        echo.wait_for("ready")
        sources = ("fd20::20",) if ":" in address else ("10.20.0.20", "10.20.0.21", "10.20.0.22")
        said = client.run([TRAFFIC, "send", f"--{protocol}", str(flows), *options, "--open", "400", "--time", "120",
                           *(w for s in sources for w in ("--source", s)), address, str(dialled)], timeout=150)
        if protocol == "udp":
            reports.append((address, dialled, json.loads(said)["udp"]))
        print(f"# {flows} flows {protocol} to {address} port {dialled} in {json.loads(said)['seconds']} s", flush=True)
        echo.stop()
    return reports


def check_sender(checks, reports, wanted):
    """The kernel counted what the sender sent. TCP's packets are its own business; datagrams are known."""
    for address, port, said in reports:
        mine = {True: [0, 0], False: [0, 0]}
        for key, value in wanted.items():
            ends = (key.source, key.source_port), (key.destination, key.destination_port)
            if key.protocol == socket.IPPROTO_UDP and (address, port) in ends:
                counted = mine[ends[1] == (address, port)]
                counted[0] += value.packets
                counted[1] += value.octets - value.packets * (48 if ":" in address else 28)
        checks.equal(f"sender to {address} port {port}: packets and octets there and back",
                     [[said["sent_packets"], said["sent_octets"]], [said["received_packets"], said["received_octets"]]],
                     [mine[True], mine[False]])


def truth(router):
    """Every entry of the table but the export itself: how many, and {Key: Value} of both directions."""
    entries, directions = 0, {}
    for line in router.conntrack():
        if "192.0.2." in line:
            continue
        found = ENTRY.match(line)
        assert found, f"conntrack says: {line}"
        protocol, identifier = int(found[2]), int(found[15])
        original, reply = found.groups()[2:8], found.groups()[8:14]
        entries += 1
        translated = (original[0], original[2], original[1], original[3]) != (reply[1], reply[3], reply[0], reply[2])
        forward, back = (original[0], original[2], original[1], original[3]), \
                        (original[1], original[3], original[0], original[2])
        beyond = (reply[1], reply[3], reply[0], reply[2]) if translated else None
        mirror = (reply[0], reply[2], reply[1], reply[3]) if translated else None
        add(directions, identifier, protocol, forward, original, beyond)
        if int(reply[4]):
            add(directions, identifier, protocol, back, reply, mirror)
    return entries, directions


def add(directions, identifier, protocol, way, counted, nat):
    key = Key(identifier, protocol, way[0], int(way[1]), way[2], int(way[3]))
    assert key not in directions, f"the table has {key} twice"
    directions[key] = Value(int(counted[4]), int(counted[5]), nat and (nat[0], int(nat[1]), nat[2], int(nat[3])))


def told(record):
    """The same of an exported record."""
    family = "IPv6" if "sourceIPv6Address" in record else "IPv4"
    key = Key(record["flowId"] >> 32, record["protocolIdentifier"], record[f"source{family}Address"],
              record["sourceTransportPort"], record[f"destination{family}Address"], record["destinationTransportPort"])
    nat = (record[f"postNATSource{family}Address"], record["postNAPTSourceTransportPort"],
           record[f"postNATDestination{family}Address"], record["postNAPTDestinationTransportPort"]) \
        if "postNAPTSourceTransportPort" in record else None
    return key, Value(record["packetDeltaCount"], record["octetDeltaCount"], nat)


def compare(checks, name, wanted, messages):
    judge = validate.Validator(size=1472)
    for message in messages:
        judge.message(*message)
    for rule, where, text in judge.violations[:10]:
        print(f"# {rule} {where}: {text}")
    checks.equal(f"{name}: violations of the protocol in {judge.messages} messages", 0, len(judge.violations))
    sums, times = {}, collections.Counter()
    for record in judge.records:
        if record["options"]:
            continue
        key, value = told(record)
        times[key] += 1
        before = sums.get(key)
        sums[key] = Value(value.packets + before.packets, value.octets + before.octets, value.nat) if before else value
    listed(checks, f"{name}: missing flow directions of {len(wanted)}", [k for k in wanted if k not in sums])
    listed(checks, f"{name}: flow directions exported more than once", [k for k, n in times.items() if n > 1])
    listed(checks, f"{name}: exported, but never in the table", [k for k in sums if k not in wanted])
    listed(checks, f"{name}: octets, packets or translation differ",
           [(k, wanted[k], v) for k, v in sums.items() if k in wanted and wanted[k] != v])
    for field in ("packets", "octets"):
        checks.equal(f"{name}: sum of {field}", sum(getattr(v, field) for v in wanted.values()),
                     sum(getattr(v, field) for v in sums.values()))


def listed(checks, what, things):
    for thing in things[:20]:
        print(f"# {what}: {thing}")
    checks.equal(what, 0, len(things))


def settle(sinks, seconds=20):
    """Waits until nothing has come for two seconds."""
    end = time.monotonic() + seconds
    before, since = None, time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < 2:
        now = [len(sink.messages) for sink in sinks]
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--flows", type=int, default=100_000)
    arguments = parser.parse_args()
    limit = int(pathlib.Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text(encoding="ascii"))
    if arguments.flows > limit * 0.9:
        parser.error(f"--flows {arguments.flows}: nf_conntrack_max is {limit}")
    checks = lib.Checks()
    with lib.Lab() as lab:
        client, router, server, collector = build(lab)
        sinks = UdpSink(collector), TcpSink(collector)
        daemon = lab.daemon(router, configuration())
        reports = send(lab, client, server, arguments.flows)
        time.sleep(1)
        entries, wanted = truth(router)
        checks.equal("flows in the table", sum(int(arguments.flows * leg[0]) for leg in LEGS), entries)
        check_sender(checks, reports, wanted)
        print(f"# {len(wanted)} flow directions, {sum(v.octets for v in wanted.values())} octets", flush=True)
        checks.true("the kernel counts no more", truth(router)[1] == wanted, "counters moved between two dumps")
        began = time.monotonic()
        router.run("conntrack -D -p tcp")
        router.run("conntrack -F")
        settle(sinks)
        print(f"# ended and exported within {time.monotonic() - began - 2:.1f} s", flush=True)
        checks.equal("peerflowd: exit status", 0, daemon.stop())
        settle(sinks, 5)
        print("# " + daemon.text().replace("\n", "\n# "))
        checks.equal("datagrams the sink itself lost", 0, sinks[0].drops(collector))
        for name, sink in zip(("udp", "tcp"), sinks):
            compare(checks, name, wanted, sink.messages)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
