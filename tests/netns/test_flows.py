#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""peerflow flows and peerflow top over the archive of a running daemon. What is true say those who sent it, and a
collector that got the same flows.

    sudo tests/netns/test_flows.py [CASE ...]     PEERFLOWD, PEERFLOW: the programs, if not those in build/"""

import collections
import csv
import io
import json
import pathlib
import socket
import subprocess
import sys
import time

import lib
import packets
import stand

PEERS = {"10.20.0.20": "alice", "10.20.0.21": "bob", "10.20.0.22": "carol", stand.SERVER: "crm-db"}
NAT = """table ip nat {
    chain post {
        type nat hook postrouting priority 100;
        oifname eth1 ip saddr 10.20.0.20-10.20.0.21 masquerade
    }
}
"""
SETTINGS = {f"net__netfilter__nf_conntrack_{name}": value for name, value in
            {"acct": 1, "timestamp": 1, "events": 1, "udp_timeout": 60, "udp_timeout_stream": 60}.items()}
FIRST_PORT, PORTS = 7000, 5


class World:
    """A router with an archive between three peers, two of them translated, and a server that answers with twice as
    much."""

    def __init__(self, lab, conntrack="active-timeout = 60"):
        self.where = stand.Stand(lab)
        self.where.sides()
        self.where.router.nft(NAT)
        self.where.router.sysctl(**SETTINGS)
        peers = lab.directory / "peers"
        peers.write_text("".join(f"{a} {name} user={name}@example.org\n" for a, name in PEERS.items()),
                         encoding="utf-8")
        self.sink = self.where.udp()
        text = self.where.configuration(
            [stand.collector("one", self.sink, records="biflow", template="default")],
            conntrack=f"flows = all\n{conntrack}",
            netbird=f"status = off\nwireguard = off\npeers-file = {peers}\n[archive]\nrotate = 2s\n")
        self.daemon = stand.Daemon(lab, self.where.router, text)
        self.archive = f"{self.daemon.run}-state/archive"
        self.servers = [packets.opened(self.where.server, socket.SOCK_DGRAM, 0, stand.SERVER, FIRST_PORT + n)
                        for n in range(PORTS)]

    def talk(self, address, port, server, octets):
        """One datagram and its answer, from a new socket."""
        with packets.opened(self.where.client, socket.SOCK_DGRAM, 0, address, port) as one:
            one.sendto(bytes(octets), (stand.SERVER, FIRST_PORT + server))
            data, peer = self.servers[server].recvfrom(3000)
            self.servers[server].sendto(data * 2, peer)
            assert len(one.recv(6000)) == 2 * octets

    def flush(self):
        self.where.router.run("conntrack -F")

    def run(self, command, *options, archive=None):
        """Exit status, what it prints as octets, and what it complains of."""
        with self.where.router.entered():
            done = subprocess.run([stand.PEERFLOW, command, "--config", str(self.daemon.path), "--archive",
                                   str(archive or self.archive), *map(str, options)], capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr.decode()

    def flows(self, *options, archive=None, command="flows"):
        """Rows of CSV as dictionaries."""
        status, text, complaint = self.run(command, "--format", "csv", *options, archive=archive)
        if status or complaint:
            raise RuntimeError(f"{options}: {status} {complaint}")
        return list(csv.DictReader(io.StringIO(text.decode())))

    def wait_archived(self, count):
        def there():
            return int(self.run("flows", "--count", "not reason active")[1] or 0) >= count
        lib.wait_until(there, 60, f"{count} flows in the archive")


def key(row):
    return row["source_address"], int(row["source_port"]), int(row["destination_port"])


def counts(row):
    return tuple(int(row[f"{what}_from_{who}"]) for what in ("octets", "packets") for who in ("initiator", "responder"))


def told(sink):
    """The same as CSV has them, of what the collector got."""
    return sorted(((r["sourceIPv4Address"], r["sourceTransportPort"], r["destinationTransportPort"]),
                   tuple(r[name] for name in ("octetDeltaCount", "reverseOctetDeltaCount", "packetDeltaCount",
                                              "reversePacketDeltaCount")))
                  for r in sink.flows() if r.get("destinationIPv4Address") == stand.SERVER)


def shown(rows):
    return sorted((key(row), counts(row)) for row in rows)


def many(checks, lab):
    """Every flow once with what it counted; queries, orders, tops and formats over them."""
    world = World(lab)
    began = time.time()
    truth = []
    for n in range(150):
        address = f"10.20.0.{20 + n % 3}"
        world.talk(address, 40000 + n, n % PORTS, 10 + 7 * n % 1000)
        truth.append(((address, 40000 + n, FIRST_PORT + n % PORTS), (10 + 7 * n % 1000 + 28, 1)))
    world.flush()
    world.wait_archived(150)
    asked = f"dst host {stand.SERVER}"
    rows = world.flows(asked)
    checks.equal("each flow once, and all it sent", sorted(truth), sorted((key(r), counts(r)[::2]) for r in rows))
    world.sink.wait_flows(150)
    checks.equal("what the collector got", told(world.sink), shown(rows))
    checks.equal("who it was", {(a, PEERS[a], f"{PEERS[a]}@example.org", "crm-db") for a in PEERS if a != stand.SERVER},
                 {(r["source_address"], r["initiator"], r["initiator_user"], r["responder"]) for r in rows})
    checks.equal("who was translated", {("snat", "10.30.0.1"), ("", "")},
                 {(r["translation"], r["translated_source_address"]) for r in rows})
    queries(checks, world, asked, rows)
    orders(checks, world, asked, rows)
    periods(checks, world, asked, rows, began)
    formats(checks, world, asked, rows, lab)
    tops(checks, world, asked, rows)
    damage(checks, world, lab)


def queries(checks, world, asked, rows):
    tests = {
        "src peer bob": lambda r: r["initiator"] == "bob",
        "src host 10.20.0.21 and port 7003": lambda r: r["initiator"] == "bob" and r["destination_port"] == "7003",
        "host 10.20.0.20 or host 10.20.0.22": lambda r: r["initiator"] in ("alice", "carol"),
        "nat host 10.30.0.1": lambda r: r["translation"],
        "not snat and sent bytes > 500": lambda r: not r["translation"] and int(r["octets_from_initiator"]) > 500,
        "src user carol@example.org and dst port 7000-7001": lambda r: r["initiator"] == "carol"
                                                             and r["destination_port"] in ("7000", "7001"),
        "host 10.99.99.99": lambda r: False,
    }
    for text, matches in tests.items():
        wanted = sorted(filter(lambda item, m=matches: m(item[2]), ((key(r), counts(r), r) for r in rows)),
                        key=lambda item: item[:2])
        checks.equal(f"query {text}", [item[:2] for item in wanted], shown(world.flows(f"{asked} and ({text})")))
        counted = world.run("flows", "--count", f"{asked} and ({text})")[1].decode()
        checks.equal(f"count {text}", f"{len(wanted)}\n", counted)


def orders(checks, world, asked, rows):
    total = {key(r): sum(counts(r)[:2]) for r in rows}
    for suffix, reverse in (("", False), (":desc", True)):
        for limit in (0, 1, 20):
            found = [total[key(r)] for r in world.flows("--order", f"bytes{suffix}", "--limit", limit, asked)]
            checks.equal(f"the {limit or 'whole'} {suffix or 'least'} by bytes",
                         sorted(total.values(), reverse=reverse)[:limit or None], found)
    found = [r["initiator"] for r in world.flows("--order", "initiator", asked)]
    checks.equal("by name", sorted(r["initiator"] for r in rows), found)
    checks.equal("limit without order", 7, len(world.flows("--limit", 7, asked)))


def periods(checks, world, asked, rows, began):
    checks.equal("nothing before", [], world.flows("--to", f"{int(began) - 60}", asked))
    checks.equal("all since", shown(rows), shown(world.flows("--from", f"{int(began) - 1}", asked)))
    found = world.flows("--from", "yesterday", "--to", "now", asked)
    checks.equal("all of today and yesterday", shown(rows), shown(found))
    some = rows[70]
    at = int(some["start_ms"])
    found = world.flows("--at", at, asked)
    open_then = [r for r in rows if int(r["start_ms"]) <= at <= max(int(r["end_ms"]), int(r["stop_ms"] or 0))]
    checks.equal("at one moment", shown(open_then), shown(found))
    status, _, complaint = world.run("flows", "--from", "noonish")
    checks.true("a time that is none", status == 64 and '"noonish": no time' in complaint, complaint)


def formats(checks, world, asked, rows, lab):
    lines = [json.loads(line) for line in world.run("flows", "--format", "json", asked)[1].splitlines()]
    checks.equal("json", sorted(key(r) for r in rows), sorted(map(key, lines)))
    table = world.run("flows", asked)[1].decode().splitlines()
    checks.equal("table", len(rows) + 1, len(table))
    print("# " + "\n# ".join(table[:4]))
    chosen = world.run("flows", "--format", "csv", "--fields", "initiator,source_port,tcp_flags", "--limit", 1,
                       "--order", "source_port", f"{asked} and src peer bob")[1]
    checks.equal("fields", ["initiator,source_port,tcp_flags", "bob,40001,"], chosen.decode().splitlines())
    again = lab.directory / "again.ipfix"
    again.write_bytes(world.run("flows", "--format", "ipfix", asked)[1])
    found = world.flows(archive=again)
    checks.equal("IPFIX, read again", sorted(map(json.dumps, rows)), sorted(map(json.dumps, found)))
    seen = subprocess.run(["tshark", "-r", again, "-V"], capture_output=True, text=True, check=True).stdout
    checks.true("IPFIX for tshark", seen.count("Flow Id:") == len(rows) and "alformed" not in seen, seen[-1000:])


def tops(checks, world, asked, rows):
    sums = collections.Counter()
    for row in rows:
        for who in (row["initiator"], row["responder"]):
            sums[who] += sum(counts(row)[:2])
    found = {r["peer"]: int(r["octets"]) for r in world.flows("peers", "--limit", 0, asked, command="top")}
    checks.equal("top peers", dict(sums), found)
    ports = collections.Counter(f"udp/{row['destination_port']}" for row in rows)
    found = {r["port"]: int(r["flows"]) for r in world.flows("ports", "--by", "flows", asked, command="top")}
    checks.equal("top ports", dict(ports), found)
    found = world.flows("pairs", "--limit", 1, asked, command="top")
    checks.equal("top pair", 1, len(found))
    print("# " + "\n# ".join(world.run("top", "pairs", asked)[1].decode().splitlines()))


def damage(checks, world, lab):
    """A compressed file, for in a plain one an octet may be any other."""
    lib.wait_until(lambda: list(pathlib.Path(world.archive).glob("*.ipfix.columns")), 20, "a file is compressed")
    name = max(pathlib.Path(world.archive).glob("*.ipfix.columns"), key=lambda path: path.stat().st_size)
    copy = lab.directory / name.name
    octets = bytearray(name.read_bytes())
    octets[len(octets) // 3] ^= 0x55
    copy.write_bytes(octets)
    status, _, complaint = world.run("flows", "--count", archive=copy)
    checks.true("a wrong octet is told", status == 65 and name.name in complaint and "octet" in complaint,
                f"{status} {complaint}")
    status, _, complaint = world.run("flows", archive=lab.directory / "nowhere")
    checks.true("an archive that is not there", status == 66 and "nowhere" in complaint, f"{status} {complaint}")


def joined(checks, lab):
    """A flow that goes on for seconds has many records and is one flow."""
    world = World(lab, conntrack="active-timeout = 1\nreap-share = 100")
    with packets.opened(world.where.client, socket.SOCK_DGRAM, 0, "10.20.0.20", 40000) as one:
        for _ in range(5):
            one.sendto(bytes(100), (stand.SERVER, FIRST_PORT))
            data, peer = world.servers[0].recvfrom(3000)
            world.servers[0].sendto(data, peer)
            time.sleep(1.1)
    world.talk("10.20.0.22", 40001, 1, 10)
    lib.wait_until(lambda: len(world.flows("src port 40000")) >= 3, 20, "several records")
    open_one = world.flows("--join", "src port 40000")
    checks.equal("one flow, still open", ["active"], [r["end_reason"] for r in open_one])
    world.flush()
    world.wait_archived(2)
    rows = world.flows("src port 40000")
    checks.true("many records", len(rows) >= 4, f"{len(rows)}")
    whole = world.flows("--join", f"dst host {stand.SERVER}", "--order", "source_port")
    checks.equal("two flows", [40000, 40001], [int(r["source_port"]) for r in whole])
    checks.equal("all it sent", (5 * 128, 5 * 128, 5, 5), counts(whole[0]))
    checks.equal("from its first packet to its last", (min(int(r["start_ms"]) for r in rows),
                                                       max(int(r["end_ms"]) for r in rows)),
                 (int(whole[0]["start_ms"]), int(whole[0]["end_ms"])))
    checks.equal("asked of the whole", 1, len(world.flows("--join", "sent bytes = 640")))
    checks.equal("and not of parts", 0, len(world.flows("sent bytes = 640")))
    top = world.flows("sources", "--by", "flows", f"dst host {stand.SERVER}", command="top")
    found = {r["source"]: r["flows"] for r in top}
    checks.equal("top counts flows once", {"10.20.0.20": "1", "10.20.0.22": "1"}, found)


if __name__ == "__main__":
    sys.exit(stand.run([many, joined]))
