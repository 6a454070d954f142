#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two sites whose routers both translate, joined by tunnels of the real wireguard-go: does every flow that a mesh of
NetBird knows carry the right names at both ends, on both routers, and the right direction, interfaces and policy? All
sources of names speak: a NetBird client, the management server, and the tunnel itself.

    sudo tests/netns/test_site.py [CASE ...]      PEERFLOWD: the program, if not build/peerflowd"""

import contextlib
import ipaddress
import socket
import sys
import time
import typing

import lib
import management
import mesh
import netbird
import stand
import wireguard
from packets import ICMP, ICMPV6

ENTERPRISE = 32473
SLACK = 20                  # ms between what the sender's clock and the router's packets say
PORT = 51000                # of the tunnels; no flow of the lab has it
# Whose tunnel ends where; addresses that the lab takes for none of the mesh's.
UNDERLAY = {"router_a": "192.0.2.129", "router_b": "192.0.2.130", "alice": "192.0.2.131", "bob": "192.0.2.132"}
OVERLAY6 = "fd12:3456:789a:1::"


class Who(typing.NamedTuple):
    """All there is to say of one end of a flow; "-" is not known."""
    name: str = "-"
    id: str = "-"
    user: str = "-"
    groups: str = "-"
    via: str = "-"
    resource: str = "-"
    network: str = "-"
    domain: str = "-"


WORDS = {"name": "PeerName", "id": "PeerId", "user": "UserName", "groups": "GroupNames", "via": "ViaPeerName",
         "resource": "ResourceName", "network": "NetworkName", "domain": "DomainName"}


def peer(name, user="-", groups="All"):
    return Who(name, management.identity("p", name), user, groups)


PEERS = {"100.90.0.1": peer("router-a", groups="All, routers"), "100.90.0.2": peer("router-b", groups="All, routers"),
         "100.90.0.7": peer("alice-laptop", "alice@example.org", "All, engineers"),
         "100.90.0.8": peer("bob-desktop", "bob@example.org")}
PREFIXES = {"10.20.0.20/32": Who(groups="crm", via="router-a", resource="crm-db", network="site-a"),
            "10.20.0.0/24": Who(via="router-a", resource="lan-a", network="site-a"),
            "fd20::/64": Who(via="router-a", resource="lan6-a", network="site-a"),
            "10.30.0.0/24": Who(groups="databases", via="router-b", resource="lan-b", network="site-b")}
# What router a resolved a domain to, of which site b has a resource.
DOMAIN, DATABASE = "db.example.com", Who(groups="databases", via="router-b", resource="db", network="site-b",
                                         domain="db.example.com")
# (name, of whom, to whom, protocol, port)
POLICIES = (("engineers-to-crm", "engineers", "crm", "tcp", 443), ("sites", "routers", "databases", "tcp", 5432))


def who(address, router):
    """Whom that router has to see behind that address."""
    if address == mesh.ALICE and router == "b":
        return PEERS[address]._replace(via="router-a")      # as its tunnel has it
    if address == mesh.REMOTE and router == "a":
        return DATABASE
    if address.startswith(OVERLAY6):
        return PEERS.get("100.90.0." + address.rsplit(":", 1)[1], Who())
    if address in PEERS:
        return PEERS[address]
    one = ipaddress.ip_address(address)
    found = [p for p in map(ipaddress.ip_network, PREFIXES) if p.version == one.version and one in p]
    return PREFIXES[str(max(found, key=lambda p: p.prefixlen))] if found else Who()


def called(one):
    """Its peer, or else the one behind which it lies."""
    return one.name if one.name != "-" else one.via


def policy(flow):
    """The one policy that lets it pass, or "-"."""
    groups = [set(w.groups.split(", ")) for w in (
        who(flow.seen.original.source, flow.router), who(flow.seen.reply.source, flow.router))]
    found = [name for name, source, destination, _, port in POLICIES if source in groups[0]
             and destination in groups[1] and flow.protocol == 6 and port == flow.seen.reply.source_port]
    return found[0] if len(found) == 1 else "-"


class Tunnels(mesh.Mesh):
    """The lab, but each wt0 is wireguard-go's, and what joins them carries nothing but its packets."""

    def _wire(self):
        self.tunnel = {}
        self.mesh.ip("link add bridge type bridge", "link set bridge up")
        for number, (name, address) in enumerate(UNDERLAY.items()):
            namespace = getattr(self, name)
            self.lab.wire(namespace, "under0", self.mesh, f"port{number}")
            self.mesh.ip(f"link set port{number} master bridge")
            namespace.address("under0", f"{address}/28")
            self.tunnel[name] = wireguard.Interface(self.lab, namespace, "wt0", PORT)
        for one, device, other, port in (("router_a", "eth0", "lan_a", "eth0"), ("router_b", "eth0", "lan_b", "eth0"),
                                         ("router_a", "wan0", "wan", "eth0"), ("router_a", "exp0", "collector", "a0"),
                                         ("router_b", "exp0", "collector", "b0")):
            self.lab.wire(getattr(self, one), device, getattr(self, other), port)
        self._peer()

    def _peer(self):
        """Own address first, as NetBird has it, then what lies behind."""
        own = {name: (f"100.90.0.{n}/32", f"{OVERLAY6}{n}/128") for name, n in
               (("router_a", 1), ("router_b", 2), ("alice", 7), ("bob", 8))}
        for name, other, *behind in (
                ("router_a", "router_b", "10.30.0.0/24"), ("router_a", "alice"), ("router_a", "bob"),
                ("router_b", "router_a", "10.20.0.0/24", "100.90.0.7/32"), ("router_b", "bob"),
                ("alice", "router_a", "0.0.0.0/0", "::/0"), ("bob", "router_a", "10.20.0.0/24"),
                ("bob", "router_b", "10.30.0.0/24")):
            self.tunnel[name].peer(self.tunnel[other], *own[other], *behind, endpoint=f"{UNDERLAY[other]}:{PORT}")


def account():
    """What the management server knows."""
    known = management.Account()
    for address, one in PEERS.items():
        known.peer(one.name, address, OVERLAY6 + address.rsplit(".", 1)[1], None if one.user == "-" else one.user,
                   one.groups.split(", ")[1:])
    for site, router in (("site-a", "router-a"), ("site-b", "router-b")):
        known.network(site, router, [
            (one.resource, "subnet", prefix, [] if one.groups == "-" else one.groups.split(", "))
            for prefix, one in PREFIXES.items() if one.network == site]
            + [(DATABASE.resource, "domain", DOMAIN, [DATABASE.groups])] * (site == DATABASE.network))
    for name, source, destination, protocol, port in POLICIES:
        known.policy(name, [source], [destination], protocol, [port])
    return known


def client(net, key):
    """The NetBird client of a router: it knows the peers, and what lies behind them."""
    own = {"a": "100.90.0.1", "b": "100.90.0.2"}[key]
    known = netbird.Mesh(PEERS[own].name, f"{own}/16", f"{OVERLAY6}{own[-1]}/64",
                         [prefix for prefix in mesh.LAN[key] if prefix], kernel=False)
    for address, one in PEERS.items():
        if address != own:
            site = {"100.90.0.1": "a", "100.90.0.2": "b"}.get(address)
            known.peer(one.name, address, OVERLAY6 + address.rsplit(".", 1)[1],
                       [prefix for prefix in mesh.LAN[site] if prefix] if site else [])
    if key == "a":
        known.route("db", "192.0.2.0/32", {DOMAIN: [mesh.REMOTE]})
    return netbird.Gateway(net.lab.directory / f"netbird-{key}.sock", known)


class Site:
    """A router with its daemon, its collector, and everybody it asks for names."""

    COLLECTOR = {"a": "192.0.2.2", "b": "192.0.2.6"}

    def __init__(self, net, key):
        self.net, self.key, self.router = net, key, net.routers[key]
        self.gateway = client(net, key)
        self.server = management.Server(self.router, "127.0.0.1", account())
        token = net.lab.directory / f"token-{key}"
        token.write_text(management.TOKEN, encoding="ascii")
        token.chmod(0o600)
        self.sink = stand.UdpSink(net.collector, self.COLLECTOR[key], 4739)
        with self.router.entered():
            self.own = {line.split()[3].split("/")[0] for line in self.router.run("ip -o addr").splitlines()}
        self.daemon = stand.Daemon(
            net.lab, self.router, f"[exporter]\nobservation-domain-id = 77\ntemplate-directory = {lib.TEMPLATES}\n"
            f"live-socket = @LIVE@\nruntime-directory = @RUN@\nstate-directory = @RUN@-state\n"
            f"enterprise-number = {ENTERPRISE}\n[netbird]\nstatus = socket\nsocket = {self.gateway.path}\n"
            f"refresh = 1s\napi-url = {self.server.url}\napi-token-file = {token}\n"
            + stand.collector("one", self.sink, template="full"), net.tunnel[f"router_{key}"].wrap)

    def await_names(self):
        for source in ("netbird: 3 peers", "api: 4 peers", "wireguard: "):
            lib.wait_until(lambda s=source: f"names from {s}" in self.daemon.text(), 20,
                           f"names at router {self.key} from {source}; {self.daemon.text()}")
        lib.wait_until(lambda: self.sink.messages, 10, "templates")
        time.sleep(0.5)     # the directory that is made of them

    def find(self, flow, way):
        """The records of that flow in that direction."""
        seen = flow.seen
        wanted = seen.original if way == 1 else seen.original.inverse()
        family = "IPv6" if ":" in wanted.source else "IPv4"
        low, high = seen.began // 10**6 - SLACK, seen.ended // 10**6 + SLACK
        return [r for r in self.sink.flows() if r["biflowDirection"] == way and r["protocolIdentifier"] == seen.protocol
                and (r.get(f"source{family}Address"), r.get(f"destination{family}Address"))
                == (wanted.source, wanted.destination)
                and (seen.protocol in (ICMP, ICMPV6) or (r.get("sourceTransportPort"), r.get(
                    "destinationTransportPort")) == (wanted.source_port, wanted.destination_port))
                and (seen.protocol not in (ICMP, ICMPV6) or r.get(f"icmpTypeCode{family}") == seen.icmp[way - 1])
                and low <= r["flowStartMilliseconds"] <= high]

    def close(self):
        status = self.daemon.stop()
        self.gateway.stop()
        self.server.close()
        return status


def is_of_mesh(flow):
    """Does flows = mesh mean it?"""
    return flow.mark or "wt0" in (flow.ingress, flow.egress)


def direction(flow, way):
    """0 what enters the mesh's interface, 1 what leaves by it; those of the initiator as NetBird marks them."""
    outbound = flow.mark == mesh.OUTBOUND if flow.mark else flow.egress == "wt0"
    return int(outbound) ^ (way == 2)


def expected(site, flow, way):
    """What a record of the flow has to say of it."""
    seen = flow.seen
    ends = [who(seen.original.source, site.key), who(seen.reply.source, site.key)]
    initiator = ends[0]
    devices = [flow.ingress, flow.egress]
    if way == 2:
        ends.reverse()
        devices.reverse()
    words = {f"{end}{element}": getattr(one, word) for end, one in zip(("source", "destination"), ends)
             for word, element in WORDS.items()}
    words |= {f"{end}PeerName": called(one) for end, one in zip(("source", "destination"), ends)}
    into, out = (site.router.index(device) if device else 0 for device in devices)
    masked = seen.reply.destination != seen.original.source or \
        seen.reply.destination_port != seen.original.source_port
    return {**words, "ingressInterface": into, "egressInterface": out, "flowDirection": direction(flow, way),
            "conntrackMark": flow.mark, "policyName": policy(flow),
            "masqueraded": int(masked and seen.reply.destination in site.own),
            "userName": called(initiator)}


def check_flow(checks, site, flow):
    what = f"{flow.case}, router {flow.router}"
    if not is_of_mesh(flow):
        checks.equal(f"{what}: is no flow of the mesh", [], site.find(flow, 1) + site.find(flow, 2))
        return
    for way in (1, 2) if not flow.seen.packets or flow.seen.packets[1] else (1,):
        found = site.find(flow, way)
        if not checks.equal(f"{what}, {'original' if way == 1 else 'reply'}: one record", 1, len(found)):
            continue
        wanted = expected(site, flow, way)
        shown = {word: found[0].get(word) for word in wanted}
        wrong = {word: (wanted[word], shown[word]) for word in wanted if wanted[word] != shown[word]}
        checks.equal(f"{what}, {'original' if way == 1 else 'reply'}: {len(wanted)} fields (expected, shown)", {}, wrong)
        if flow.seen.packets:
            checks.equal(f"{what}, {'original' if way == 1 else 'reply'}: packets", flow.seen.packets[way - 1],
                         found[0]["packetDeltaCount"])


def dropped(net):
    """L: what the firewall drops never was a connection."""
    net.router_a.nft("table ip deny { chain forward { type filter hook forward priority 0; tcp dport 6666 drop; }\n}\n")
    with net.alice.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.settimeout(1.5)
        with contextlib.suppress(TimeoutError):
            one.connect((mesh.HOST, 6666))


def site_to_site(checks, lab):
    """Every kind of flow, on both routers."""
    net = Tunnels(lab)
    sites = {key: Site(net, key) for key in net.routers}
    for site in sites.values():
        site.await_names()
    flows = list(mesh.traffic(net))
    dropped(net)
    net.await_end(60)
    for key, site in sites.items():
        mine = [f for f in flows if f.router == key and is_of_mesh(f)]
        with contextlib.suppress(TimeoutError):
            lib.wait_until(lambda s=site, m=mine: all(s.find(f, 1) for f in m), 20, "all flows")
    for flow in flows:
        check_flow(checks, sites[flow.router], flow)
    for key, site in sites.items():
        ports = {r.get("destinationTransportPort") for r in site.sink.flows()}
        checks.true(f"L dropped in the way, router {key}: no record", 6666 not in ports, "got one")
        checks.true(f"the tunnel's own packets, router {key}: no record", PORT not in ports, "got one")
        checks.true(f"how the mesh runs, router {key}", "belongs to NetBird's wireguard-go with its rules"
                    in site.daemon.text(), site.daemon.text())
        stand.valid(checks, f"router {key}", site.sink)
        checks.equal(f"router {key}: exit status", 0, site.close())


CASES = (site_to_site,)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
