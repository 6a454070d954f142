#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who it was: names that are true for the flow's own time, over reloads and restarts, and which flows are the mesh's.

    sudo tests/netns/test_names.py [CASE ...]   PEERFLOWD: the program, if not build/peerflowd"""

import contextlib
import socket
import sys
import time

import lib
import mesh
import packets
import stand
from stand import collector

ENTERPRISE = "enterprise-number = 32473"
# Only what the peers-file says: nobody else is asked.
ALONE = "status = off\nwireguard = off\npeers-file = {peers}\n"
INTERVALS = "flows = all\nactive-timeout = 1\nreap-share = 100\n"
PORT = 7000
SETTINGS = {f"net__netfilter__nf_conntrack_{name}": value for name, value in
            {"acct": 1, "timestamp": 1, "events": 1, "udp_timeout": 60, "udp_timeout_stream": 60}.items()}


class World:
    """A client and a server with a router between them, whose daemon has names for both."""

    def __init__(self, lab):
        self.lab, self.where = lab, stand.Stand(lab)
        self.where.router.nft(stand.TRACK.replace("hook input", "hook forward"))
        self.where.sides()
        self.where.router.sysctl(**SETTINGS)
        self.sink = self.where.udp()
        self.peers = lab.directory / "peers"
        self.server = self.where.server.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind((stand.SERVER, PORT))
        self.server.settimeout(5)
        self.flows = {}

    def names(self, client, server="server"):
        self.peers.write_text(f"{stand.CLIENT} {client} user={client}@example.org\n10.30.0.0/24 {server}\n",
                              encoding="utf-8")

    def configuration(self, state="@RUN@-state"):
        text = self.where.configuration([collector("one", self.sink, template="full")], exporter=ENTERPRISE,
                                        conntrack=INTERVALS, netbird=ALONE.format(peers=self.peers))
        return text.replace("@RUN@-state", str(state)).replace("@RUN@", str(self.lab.directory / "run"))

    def daemon(self, configuration):
        messages = len(self.sink.messages)
        daemon = stand.Daemon(self.lab, self.where.router, configuration)
        lib.wait_until(lambda: len(self.sink.messages) > messages, 10, "templates at the collector")
        return daemon

    def send(self, port):
        """A datagram there and back, of a flow that goes on or of a new one."""
        if port not in self.flows:
            self.flows[port] = self.where.client.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.flows[port].bind((stand.CLIENT, port))
            self.flows[port].settimeout(5)
        self.flows[port].sendto(bytes(100), (stand.SERVER, PORT))
        _, peer = self.server.recvfrom(65535)
        self.server.sendto(bytes(200), peer)
        self.flows[port].recv(65535)

    def seen(self, port):
        """(source, destination, the initiator's user) as the records of the flow's original direction have them."""
        return [(r["sourcePeerName"], r["destinationPeerName"], r["sourceUserName"]) for r in self.sink.flows()
                if r.get("sourceTransportPort") == port and r["biflowDirection"] == 1]

    def wait_seen(self, port, more=0):
        with contextlib.suppress(TimeoutError):
            lib.wait_until(lambda: len(self.seen(port)) > more, 10, f"a record of port {port}")
        return self.seen(port)

    def end(self):
        """Every flow ends, and its last record comes."""
        before = {port: len(self.seen(port)) for port in self.flows}
        for port in self.flows:
            self.send(port)
        self.where.router.run("conntrack -D -p udp")
        for port, records in before.items():
            self.wait_seen(port, records)


def named(name, server="server"):
    return (name, server, f"{name}@example.org")


def reassigned(checks, lab):
    """An address changes hands between two flows: the old one keeps the old name, however late it ends."""
    world = World(lab)
    world.names("alice", "first site")
    daemon = world.daemon(world.configuration())
    world.send(6001)
    checks.equal("before", {named("alice", "first site")}, set(world.wait_seen(6001)))
    world.names("bob", "second site")
    checks.true("reload", daemon.reload(), daemon.text())
    world.send(6002)
    world.send(6001)
    checks.equal("the new flow", {named("bob", "second site")}, set(world.wait_seen(6002)))
    world.peers.write_text("10.30.0.0/24 second site\n", encoding="utf-8")
    checks.true("the peer is gone: reload", daemon.reload(), daemon.text())
    world.send(6003)
    world.wait_seen(6003)
    world.end()
    checks.equal("the old flow to its end", {named("alice", "first site")}, set(world.seen(6001)))
    checks.equal("the second flow to its end", {named("bob", "second site")}, set(world.seen(6002)))
    checks.equal("a flow of nobody's", {("-", "second site", "-")}, set(world.seen(6003)))
    checks.true("each was told in intervals", min(len(world.seen(port)) for port in (6001, 6002)) > 1,
                f"got {len(world.seen(6001))} and {len(world.seen(6002))} records")
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "reassigned", world.sink)


def restarted(checks, lab):
    """The same over a restart, during which the file changed; and that without a state directory it cannot be known."""
    world = World(lab)
    for state, kept in (("@RUN@-state", True), ("off", False)):
        first, second = (6101, 6102) if kept else (6111, 6112)
        world.names("alice")
        daemon = world.daemon(world.configuration(state))
        world.send(first)
        checks.equal(f"state {kept}: before", {named("alice")}, set(world.wait_seen(first)))
        checks.equal(f"state {kept}: exit status", 0, daemon.stop())
        told = len(world.seen(first))
        world.names("bob")
        daemon = world.daemon(world.configuration(state))
        world.send(second)
        world.end()
        after = world.wait_seen(first, told)[told:]
        checks.equal(f"state {kept}: the old flow after it", {named("alice" if kept else "bob")}, set(after))
        checks.equal(f"state {kept}: the new flow", {named("bob")}, set(world.seen(second)))
        checks.equal(f"state {kept}: exit status", 0, daemon.stop())
    names = lab.directory / "run-state" / "names"
    checks.equal("the file is for nobody else", 0o600, names.stat().st_mode & 0o777)


def torn(checks, lab):
    """A machine that stopped in the middle of a line, and two daemons with one state directory."""
    world = World(lab)
    world.names("alice")
    daemon = world.daemon(world.configuration())
    world.send(6201)
    world.wait_seen(6201)
    daemon.process.kill()
    daemon.process.wait()
    names = lab.directory / "run-state" / "names"
    with open(names, "ab") as file:
        file.write(b"1763776800000\tfile\t10.20.0.2")
    world.names("bob")
    daemon = world.daemon(world.configuration())
    checks.equal("said once", 1, len(daemon.lines("1 lines make no sense")))
    other = world.configuration().replace(str(lab.directory / "run") + "\n", str(lab.directory / "run2") + "\n")
    second = stand.Daemon(lab, world.where.router, other)
    checks.equal("the second daemon cannot keep names", 1, len(second.lines("another process keeps its names")))
    checks.equal("its exit status", 0, second.stop())
    told = len(world.seen(6201))
    world.end()
    checks.equal("the old flow", {named("alice")}, set(world.wait_seen(6201, told)))
    checks.equal("exit status", 0, daemon.stop())
    checks.true("the file is whole again", names.read_bytes().endswith(b"\n"), repr(names.read_bytes()[-80:]))


def selection(checks, lab):
    """flows = mesh takes what has to do with the mesh, by its mark or without one, and nothing else."""
    net = mesh.Mesh(lab)
    peers = lab.directory / "peers"
    peers.write_text(mesh.PEERS + "10.30.0.0/24 site-b\n", encoding="utf-8")
    sink = stand.UdpSink(net.collector, "192.0.2.2", 4739)
    daemon = stand.Daemon(lab, net.router_a, (
        f"[exporter]\nobservation-domain-id = 77\ntemplate-directory = {lib.TEMPLATES}\nlive-socket = off\n"
        f"runtime-directory = @RUN@\nstate-directory = @RUN@-state\n[netbird]\n{ALONE.format(peers=peers)}"
        + collector("one", sink)))
    checks.equal("what is selected, in words", 1, len(daemon.lines(
        "flows = mesh selects flows with a mark of NetBird's, through wt0, with an end in 100.90.0.0/16, "
        "fd12:3456:789a:1::/64, or with an end that is a known peer or lies behind one")))
    host, alice, bob, wan = mesh.HOST, mesh.ALICE, mesh.BOB, "198.51.100.254"
    packets.udp(net.alice, (alice, 6301), (host, 5301), net.lan_a, (host, 5301))
    packets.udp(net.lan_a, (host, 6302), (wan, 5302), net.wan, (wan, 5302), (5,), ())
    packets.udp(net.lan_a, (host, 6303), ("10.30.0.30", 5303), net.lan_b, ("10.30.0.30", 5303))
    net.masquerade(True, marks=False)
    packets.udp(net.bob, (bob, 6304), (host, 5304), net.lan_a, (host, 5304))
    packets.udp(net.lan_a, (host, 6305), (bob, 5305), net.bob, (bob, 5305))
    packets.udp(net.lan_a, (host, 6306), (wan, 5306), net.wan, (wan, 5306), (5,), ())
    net.router_a.run("conntrack -D -p udp")
    sink.wait_flows(8)
    checks.equal("exit status", 0, daemon.stop())
    came = {r["sourceTransportPort"] for r in sink.flows() if r["biflowDirection"] == 1}
    checks.equal("which flows", {6301, 6303, 6304, 6305}, came)
    stand.valid(checks, "selection", sink)


def newcomer(checks, lab):
    """A host without any mesh shows all its flows and says so; once there is a mesh, only those of the mesh."""
    where = stand.Stand(lab, tracking=True)
    sink = where.udp()
    daemon = where.daemon([collector("one", sink)], conntrack="", netbird="status = off\nwireguard = off",
                          await_sinks=[sink])
    checks.equal("said", 1, len(daemon.lines("finds no mesh yet")))
    count = where.generate(20)
    stand.each_once(checks, "without a mesh", sink.wait_flows(count), count)
    lab.wire(where.router, "wt0", where.collector, "wt0")
    where.router.address("wt0", "100.64.9.1/24")
    checks.true("the mesh is found", stand.wait_time(daemon, "through wt0, with an end in 100.64.9.0/24", 10),
                daemon.text())
    where.generate(20)
    time.sleep(1)
    checks.equal("with a mesh: flows of others", count, len(sink.flows()))
    where.router.ip("link del wt0")
    lib.wait_until(lambda: len(daemon.lines("finds no mesh yet")) == 2, 10, "the mesh is gone")
    more = where.generate(20)
    stand.each_once(checks, "without a mesh again", sink.wait_flows(count + more), count + more)
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "newcomer", sink)


if __name__ == "__main__":
    sys.exit(stand.run((reassigned, restarted, torn, selection, newcomer)))
