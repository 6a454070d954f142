# SPDX-License-Identifier: GPL-3.0-or-later
"""Two sites joined by a mesh, with NetBird's rules and marks, and one flow of every kind they produce.

        wan 203.0.113.9                                      collector
             |                                              /        \\
        wan0 198.51.100.1                               exp0          exp0
   lan_a --eth0-- router_a --wt0--- mesh ---wt0-- router_b --eth0-- lan_b
   10.20.0.20     10.20.0.1  100.90.0.1   100.90.0.2     10.30.0.1  10.30.0.30
   10.20.0.50     fd20::1               |
   fd20::20                  alice 100.90.0.7, bob 100.90.0.8
"""

import dataclasses
import time
import typing

import packets
from packets import Tuple

INBOUND, OUTBOUND, NO_MARK = 0x1bd10, 0x1bd11, 0
LAN = {"a": ("10.20.0.0/24", "fd20::/64"), "b": ("10.30.0.0/24", None)}



class Who(typing.NamedTuple):
    """All there is to say of an address; "-" is not known."""
    name: str = "-"
    id: str = "-"
    user: str = "-"
    groups: str = "-"
    via: str = "-"


# Who has a name; everybody else is "-". Names beyond ASCII must survive the way as well.
PEERS = """\
# addresses of the mesh
100.90.0.1             router-a        id=peer-1 groups=routers
100.90.0.2             router-b        id=peer-2 groups=routers
100.90.0.7             alice-laptop    id=peer-7 user=alice@example.org groups="all,who calls"
100.90.0.8             bob-téléphone   user="Bob Brüel"
fd12:3456:789a:1::7    alice-laptop
# and a site behind it
10.20.0.0/24           site-a          groups=sites
"""
SITE_A = Who("site-a", groups="sites", via="site-a")
WHO = {"100.90.0.1": Who("router-a", "peer-1", groups="routers"),
       "100.90.0.2": Who("router-b", "peer-2", groups="routers"),
       "100.90.0.7": Who("alice-laptop", "peer-7", "alice@example.org", "all, who calls"),
       "100.90.0.8": Who("bob-téléphone", user="Bob Brüel"), "fd12:3456:789a:1::7": Who("alice-laptop"),
       "10.20.0.20": SITE_A, "10.20.0.50": SITE_A}
# What the table of peers and resources says.
TABLE = {(address, 128 if ":" in address else 32): who for address, who in WHO.items() if who is not SITE_A}
TABLE["10.20.0.0", 24] = SITE_A._replace(name="-")

# Seconds, and a different one for each state, so that an end computed with the wrong one shows.
TIMEOUTS = {
    "udp_timeout": 2, "udp_timeout_stream": 3, "icmp_timeout": 2, "icmpv6_timeout": 3, "generic_timeout": 4,
    "gre_timeout": 3, "gre_timeout_stream": 5, "tcp_timeout_time_wait": 2, "tcp_timeout_close": 3,
    "tcp_timeout_fin_wait": 5, "tcp_timeout_close_wait": 5, "tcp_timeout_last_ack": 5, "tcp_timeout_syn_sent": 5,
    "tcp_timeout_syn_recv": 5, "tcp_timeout_established": 9, "sctp_timeout_closed": 2,
    "sctp_timeout_shutdown_sent": 4, "sctp_timeout_shutdown_recd": 4, "sctp_timeout_shutdown_ack_sent": 3,
    "sctp_timeout_established": 9, "sctp_timeout_cookie_wait": 4, "sctp_timeout_cookie_echoed": 4,
}

RULES = """
table {family} netbird
delete table {family} netbird
table {family} netbird {{
  chain netbird-mangle-prerouting {{ type filter hook prerouting priority -150; policy accept;
    {mark_in}
    {mark_out}
    iifname "wt0" ct state new {set_in}
  }}
  chain netbird-mangle-postrouting {{ type filter hook postrouting priority -150; policy accept;
    oifname "wt0" ct state new {set_out}
  }}
  chain netbird-rt-redirect {{ type nat hook prerouting priority -100; policy accept;
    {redirect}
  }}
  chain netbird-rt-postrouting {{ type nat hook postrouting priority 99; policy accept;
    meta mark 0x0001bd21 oifname != "lo" masquerade
    meta mark 0x0001bd22 oifname "wt0" masquerade
    {masquerade}
  }}
}}
"""

REDIRECT = """
    iifname != "wt0" tcp dport 8080 dnat to 100.90.0.7:80
    iifname "wt0" tcp dport 22 ip daddr 100.90.0.1 dnat to 100.90.0.1:22022
    iifname "wt0" udp dport 5353 ip daddr 100.90.0.1 dnat to 100.90.0.1:22054
    iifname "wt0" tcp dport 8088 ip daddr 100.90.0.1 dnat to 10.20.0.20:80
    iifname "eth0" tcp dport 8081 ip daddr 198.51.100.1 dnat to 10.20.0.20:8080
"""
MASQUERADE = """
    oifname "wt0" ip daddr 100.90.0.7 tcp dport 80 masquerade
    iifname "eth0" oifname "eth0" ip daddr 10.20.0.20 tcp dport 8080 masquerade
"""


def rules(family, lan, masquerade=True, exit_node=False, redirect="", extra="", marks=True):
    word = "ip" if family == "ip" else "ip6"
    inside = "" if exit_node else f"{word} daddr {lan} "
    return RULES.format(
        family=family, redirect=redirect, masquerade=extra,
        set_in="ct mark set 0x0001bd10" if marks else "accept",
        set_out="ct mark set 0x0001bd11" if marks else "accept",
        mark_in=f'iifname "wt0" ct state new {inside}meta mark set 0x0001bd21' if masquerade else "",
        mark_out=f'iifname != "wt0" ct state new {word} saddr {lan} meta mark set 0x0001bd22' if masquerade else "")


class Mesh:
    """The namespaces of the picture, wired, with addresses, routes, settings and rules."""

    ROUTER_SETTINGS = {
        "net__ipv4__ip_forward": 1, "net__ipv6__conf__all__forwarding": 1, "net__ipv4__conf__all__send_redirects": 0,
        "net__ipv4__conf__default__send_redirects": 0,
        "net__netfilter__nf_conntrack_acct": 1, "net__netfilter__nf_conntrack_timestamp": 1,
        "net__netfilter__nf_conntrack_events": 1, "net__netfilter__nf_conntrack_checksum": 1,
    }

    def __init__(self, lab, timeouts=None):
        self.lab = lab
        for name in ("mesh", "router_a", "router_b", "alice", "bob", "lan_a", "lan_b", "wan", "collector"):
            setattr(self, name, lab.namespace(name))
        self.routers = {"a": self.router_a, "b": self.router_b}
        for router in self.routers.values():
            router.sysctl(**self.ROUTER_SETTINGS, **{f"net__netfilter__nf_conntrack_{key}": value for key, value in
                                                     (TIMEOUTS if timeouts is None else timeouts).items()})
        self._wire()
        self._address()
        self._route()
        self.masquerade(True)

    def _wire(self):
        self.mesh.ip("link add bridge type bridge", "link set bridge up")
        for number, name in enumerate(("router_a", "router_b", "alice", "bob")):
            self.lab.wire(getattr(self, name), "wt0", self.mesh, f"port{number}")
            self.mesh.ip(f"link set port{number} master bridge")
        self.lab.wire(self.router_a, "eth0", self.lan_a, "eth0")
        self.lab.wire(self.router_b, "eth0", self.lan_b, "eth0")
        self.lab.wire(self.router_a, "wan0", self.wan, "eth0")
        self.lab.wire(self.router_a, "exp0", self.collector, "a0")
        self.lab.wire(self.router_b, "exp0", self.collector, "b0")

    def _address(self):
        self.router_a.address("wt0", "100.90.0.1/16", "fd12:3456:789a:1::1/64")
        self.router_a.address("eth0", "10.20.0.1/24", "fd20::1/64")
        self.router_a.address("wan0", "198.51.100.1/24")
        self.router_a.address("exp0", "192.0.2.1/30", "2001:db8:a::1/64")
        self.router_b.address("wt0", "100.90.0.2/16", "fd12:3456:789a:1::2/64")
        self.router_b.address("eth0", "10.30.0.1/24")
        self.router_b.address("exp0", "192.0.2.5/30", "2001:db8:b::1/64")
        self.alice.address("wt0", "100.90.0.7/16", "fd12:3456:789a:1::7/64")
        self.bob.address("wt0", "100.90.0.8/16")
        self.lan_a.address("eth0", "10.20.0.20/24", "10.20.0.50/24", "fd20::20/64")
        self.lan_b.address("eth0", "10.30.0.30/24")
        self.wan.address("eth0", "198.51.100.254/24")
        self.wan.address("lo", "203.0.113.9/32")
        self.collector.address("a0", "192.0.2.2/30", "2001:db8:a::2/64")
        self.collector.address("b0", "192.0.2.6/30", "2001:db8:b::2/64")

    def _route(self):
        self.router_a.route("10.30.0.0/24 via 100.90.0.2", "default via 198.51.100.254", "192.0.2.6 via 192.0.2.2")
        self.router_b.route("10.20.0.0/24 via 100.90.0.1", "100.90.0.7/32 via 100.90.0.1", "192.0.2.2 via 192.0.2.6")
        self.alice.route("default via 100.90.0.1", "100.90.0.2/32 via 100.90.0.1", "fd20::/64 via fd12:3456:789a:1::1")
        self.bob.route("10.20.0.0/24 via 100.90.0.1", "10.30.0.0/24 via 100.90.0.2")
        self.lan_a.route("default via 10.20.0.1", "default via fd20::1")
        self.lan_b.route("default via 10.30.0.1")

    def masquerade(self, on, exit_node=False, marks=True):
        """Loads the rules anew; flows that exist keep the translation they have. Without marks it is a mesh of plain
        WireGuard."""
        lan4, lan6 = LAN["a"]
        self.router_a.nft(rules("ip", lan4, on, exit_node, REDIRECT, MASQUERADE, marks))
        self.router_a.nft(rules("ip6", lan6, on, marks=marks))
        self.router_b.nft(rules("ip", LAN["b"][0], on))

    def await_end(self, seconds=30):
        """Waits until the routers' tables are empty, which repeated dumps bring about soon after the timeouts; flows
        with the collector do not count."""
        def ended():
            time.sleep(0.3)
            return all("192.0.2." in line or "2001:db8:" in line
                       for router in self.routers.values() for line in router.conntrack())
        began = time.monotonic()
        while not ended():
            if time.monotonic() > began + seconds:
                raise TimeoutError("flows did not end: " + "\n".join(
                    line for router in self.routers.values() for line in router.conntrack()))


@dataclasses.dataclass
class Flow:
    """One flow as one router must report it."""
    case: str
    router: str
    seen: packets.Seen
    mark: int
    ingress: str = "wt0"        # device the original direction comes in by; "" for the router itself
    egress: str = "eth0"
    table: tuple = None         # original and reply tuple as facts have them, for the rows that the table shows

    @property
    def protocol(self):
        return self.seen.protocol

    @property
    def initiator(self):
        return WHO.get(self.seen.original.source, Who())

    @property
    def responder(self):
        """Whose the address is that answered in truth."""
        return WHO.get(self.seen.reply.source, Who())

    @property
    def name(self):
        return self.initiator.name

    @property
    def translated(self):
        return self.seen.reply != self.seen.original.inverse()


ALICE, BOB, WAN = "100.90.0.7", "100.90.0.8", "203.0.113.9"
HOST, HOST2, REMOTE = "10.20.0.20", "10.20.0.50", "10.30.0.30"
ROUTER, ROUTER_B, OUTSIDE = "100.90.0.1", "100.90.0.2", "198.51.100.1"
ALICE6, HOST6 = "fd12:3456:789a:1::7", "fd20::20"


def row(source, source_port, destination, destination_port, back, back_port, to, to_port):
    return (Tuple(source, destination, source_port, destination_port), Tuple(back, to, back_port, to_port))


def traffic(mesh):
    """Sends every kind of flow once and yields what each router must report of it; the letters name the ways NetBird's
    rules translate. First with masquerade, then without, then as an exit node, at last without any marks."""
    yield from _masqueraded(mesh)
    yield from _protocols(mesh)
    mesh.masquerade(False)
    yield from _untranslated(mesh)
    mesh.masquerade(True, exit_node=True)
    yield from _exit_node(mesh)
    mesh.masquerade(True, marks=False)
    yield from _plain(mesh)
    mesh.masquerade(True)


def _masqueraded(m):
    yield Flow("A peer to LAN", "a", packets.tcp(m.alice, (ALICE, 51820), (HOST, 443), m.lan_a, (HOST, 443)), INBOUND,
               table=row(ALICE, 51820, HOST, 443, HOST, 443, "10.20.0.1", 51820))
    yield Flow("B2 LAN to peer", "a", packets.tcp(m.lan_a, (HOST, 40001), (ALICE, 8443), m.alice, (ALICE, 8443)),
               OUTBOUND, "eth0", "wt0", row(HOST, 40001, ALICE, 8443, ALICE, 8443, ROUTER, 40001))
    yield from _site_to_site(m)
    yield Flow("E ingress gateway", "a", packets.tcp(m.wan, (WAN, 40004), (OUTSIDE, 8080), m.alice, (ALICE, 80)),
               OUTBOUND, "wan0", "wt0", row(WAN, 40004, OUTSIDE, 8080, ALICE, 80, ROUTER, 40004))
    yield Flow("F ssh redirect", "a", packets.tcp(m.alice, (ALICE, 51823), (ROUTER, 22), m.router_a, (ROUTER, 22022)),
               INBOUND, "wt0", "", row(ALICE, 51823, ROUTER, 22, ROUTER, 22022, ALICE, 51823))
    yield Flow("J DNS redirect", "a",
               packets.udp(m.alice, (ALICE, 51900), (ROUTER, 5353), m.router_a, (ROUTER, 22054), (33,), (120,)),
               INBOUND, "wt0", "", row(ALICE, 51900, ROUTER, 5353, ROUTER, 22054, ALICE, 51900))
    yield Flow("Docker port", "a", packets.tcp(m.alice, (ALICE, 51999), (ROUTER, 8088), m.lan_a, (HOST, 80)), INBOUND,
               table=row(ALICE, 51999, ROUTER, 8088, HOST, 80, ALICE, 51999))
    yield Flow("G router's service", "a",
               packets.tcp(m.alice, (ALICE, 51824), (ROUTER, 9100), m.router_a, (ROUTER, 9100)), INBOUND, "wt0", "",
               row(ALICE, 51824, ROUTER, 9100, ROUTER, 9100, ALICE, 51824))
    yield Flow("H router's process", "a",
               packets.tcp(m.router_a, (ROUTER, 56964), (ALICE, 9101), m.alice, (ALICE, 9101)), OUTBOUND, "", "wt0",
               row(ROUTER, 56964, ALICE, 9101, ALICE, 9101, ROUTER, 56964))
    ping = packets.icmp(m.alice, ALICE, HOST, HOST, 4242, 8, (56, 120))
    ping.reply = Tuple(HOST, "10.20.0.1")
    yield Flow("I ICMP echo", "a", ping, INBOUND, table=row(ALICE, 0, HOST, 0, HOST, 0, "10.20.0.1", 0))
    yield Flow("K first peer", "a",
               packets.udp(m.alice, (ALICE, 50000), (HOST, 5000), m.lan_a, (HOST, 5000), (10, 20, 30), (40,)), INBOUND,
               table=row(ALICE, 50000, HOST, 5000, HOST, 5000, "10.20.0.1", 50000))
    second = packets.udp(m.bob, (BOB, 50000), (HOST, 5000), m.lan_a, (HOST, 5000), (11,), (22, 33))
    assert second.reply.destination_port != 50000, "the port was free: nothing had to be changed"
    yield Flow("K second peer, port changed", "a", second, INBOUND,
               table=row(BOB, 50000, HOST, 5000, HOST, 5000, "10.20.0.1", second.reply.destination_port))
    yield Flow("M NAT66", "a", packets.tcp(m.alice, (ALICE6, 50012), (HOST6, 5012), m.lan_a, (HOST6, 5012)), INBOUND,
               table=row(ALICE6, 50012, HOST6, 5012, HOST6, 5012, "fd20::1", 50012))
    yield from _peer_to_peer(m)
    yield Flow("hairpin NAT", "a", packets.tcp(m.lan_a, (HOST2, 6000), (OUTSIDE, 8081), m.lan_a, (HOST, 8080)),
               NO_MARK, "eth0", "eth0", row(HOST2, 6000, OUTSIDE, 8081, HOST, 8080, "10.20.0.1", 6000))


def _site_to_site(m):
    """C: the same connection, translated by both routers."""
    whole = packets.tcp(m.lan_a, (HOST, 40002), (REMOTE, 5432), m.lan_b, (REMOTE, 5432))
    between = Tuple(ROUTER, REMOTE, 40002, 5432)
    first = dataclasses.replace(whole, reply=between.inverse())
    yield Flow("C site to site", "a", first, OUTBOUND, "eth0", "wt0",
               row(HOST, 40002, REMOTE, 5432, REMOTE, 5432, ROUTER, 40002))
    yield Flow("C site to site", "b", dataclasses.replace(whole, original=between), INBOUND,
               table=row(ROUTER, 40002, REMOTE, 5432, REMOTE, 5432, "10.30.0.1", 40002))


def _peer_to_peer(m):
    """P: in and out of the same tunnel; router B is the other peer and sees a service of its own."""
    seen = packets.udp(m.alice, (ALICE, 50005), (ROUTER_B, 5005), m.router_b, (ROUTER_B, 5005), (64,), (65,))
    table = row(ALICE, 50005, ROUTER_B, 5005, ROUTER_B, 5005, ALICE, 50005)
    yield Flow("P peer to peer", "a", seen, OUTBOUND, "wt0", "wt0", table)
    yield Flow("P peer to peer", "b", seen, INBOUND, "wt0", "", table)


def _protocols(m):
    """What the table of examples leaves out: other protocols, one-way flows, every end of a TCP connection."""
    yield Flow("UDP without reply", "a",
               packets.udp(m.alice, (ALICE, 50100), (HOST, 5100), m.lan_a, (HOST, 5100), (77, 78), ()), INBOUND)
    yield Flow("UDP stream of three seconds", "a",
               packets.udp(m.alice, (ALICE, 50101), (HOST, 5101), m.lan_a, (HOST, 5101), (1, 2), (3, 4, 5), 0.75),
               INBOUND)
    yield Flow("UDP over IPv6", "a",
               packets.udp(m.alice, (ALICE6, 50102), (HOST6, 5102), m.lan_a, (HOST6, 5102), (900,), (1200, 9)), INBOUND)
    yield Flow("TCP reset", "a",
               packets.tcp(m.alice, (ALICE, 50103), (HOST, 5103), m.lan_a, (HOST, 5103), reset=True), INBOUND)
    # The kernel drops a refused connection at once: these are exported within the second they happen in.
    for number, port in enumerate((50104, 50114, 50124)):
        refused = packets.tcp_refused(m.alice, (ALICE, port), (HOST, 5104))
        refused.reply = Tuple(HOST, "10.20.0.1", 5104, port)
        yield Flow(f"TCP refused {number + 1}", "a", refused, INBOUND)
        time.sleep(0.35)
    yield Flow("TCP of a hundred writes", "a",
               packets.tcp(m.alice, (ALICE, 50105), (HOST, 5105), m.lan_a, (HOST, 5105), (1000,) * 60, (1400,) * 40),
               INBOUND)
    stamp = packets.icmp(m.alice, ALICE, HOST, HOST, 4243, 13, (12,))
    stamp.reply = Tuple(HOST, "10.20.0.1")
    yield Flow("ICMP time stamp", "a", stamp, INBOUND)
    ping = packets.icmp(m.alice, ALICE6, HOST6, HOST6, 4244, 128, (56, 56, 56))
    ping.reply = Tuple(HOST6, "fd20::1")
    yield Flow("ICMPv6 echo", "a", ping, INBOUND)
    yield Flow("GRE", "a", packets.gre(m.alice, ALICE, HOST, m.lan_a, HOST), INBOUND)
    yield Flow("ESP", "a", packets.esp(m.alice, ALICE, HOST, m.lan_a, HOST), INBOUND)
    yield Flow("SCTP", "a", packets.sctp(m.alice, ALICE, HOST, m.lan_a, HOST, (50106, 5106)), INBOUND)
    # Its check of checksums leaves UDP-Lite's pseudo header out and takes every packet for invalid.
    m.router_a.sysctl(net__netfilter__nf_conntrack_checksum=0)
    yield Flow("UDP-Lite", "a", packets.udplite(m.alice, ALICE, HOST, m.lan_a, HOST, (50107, 5107)), INBOUND)
    m.router_a.sysctl(net__netfilter__nf_conntrack_checksum=1)
    yield Flow("DCCP", "a", packets.dccp(m.alice, ALICE, HOST, m.lan_a, HOST, (50108, 5108)), INBOUND)


def _untranslated(m):
    yield Flow("B peer to LAN, no masquerade", "a",
               packets.tcp(m.alice, (ALICE, 51821), (HOST, 443), m.lan_a, (HOST, 443)), INBOUND,
               table=row(ALICE, 51821, HOST, 443, HOST, 443, ALICE, 51821))
    whole = packets.tcp(m.lan_a, (HOST, 40003), (REMOTE, 5432), m.lan_b, (REMOTE, 5432))
    table = row(HOST, 40003, REMOTE, 5432, REMOTE, 5432, HOST, 40003)
    yield Flow("C2 site to site, no masquerade", "a", whole, OUTBOUND, "eth0", "wt0", table)
    yield Flow("C2 site to site, no masquerade", "b", whole, INBOUND, table=table)
    ping = packets.icmp(m.alice, ALICE, HOST, HOST, 4245)
    ping.reply = Tuple(HOST, ALICE)
    yield Flow("ICMP echo, no masquerade", "a", ping, INBOUND)
    ping = packets.icmp(m.alice, ALICE6, HOST6, HOST6, 4246, 128)
    ping.reply = Tuple(HOST6, ALICE6)
    yield Flow("ICMPv6 echo, no masquerade", "a", ping, INBOUND)
    yield Flow("UDP over IPv6, no masquerade", "a",
               packets.udp(m.alice, (ALICE6, 50110), (HOST6, 5110), m.lan_a, (HOST6, 5110), (1, 2, 3), (4,)), INBOUND)
    yield Flow("UDP to the WAN host, no masquerade", "a",
               packets.udp(m.lan_a, (HOST, 50111), ("198.51.100.254", 5111), m.wan, ("198.51.100.254", 5111), (5,),
                           ()), NO_MARK, "eth0", "wan0")


def _exit_node(m):
    yield Flow("D exit node", "a", packets.tcp(m.alice, (ALICE, 51822), (WAN, 443), m.wan, (WAN, 443)), INBOUND,
               "wt0", "wan0", row(ALICE, 51822, WAN, 443, WAN, 443, OUTSIDE, 51822))


def _plain(m):
    yield Flow("peer to LAN, no marks", "a",
               packets.udp(m.bob, (BOB, 50120), (HOST, 5120), m.lan_a, (HOST, 5120), (44,), (55,)), NO_MARK)
    yield Flow("LAN to peer, no marks", "a",
               packets.udp(m.lan_a, (HOST, 50121), (BOB, 5121), m.bob, (BOB, 5121), (66,), (77, 88)), NO_MARK, "eth0",
               "wt0")
