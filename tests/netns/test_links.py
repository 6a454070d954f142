#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does every collector get what it asked for, whatever happens to it and to the others?

    sudo tests/netns/test_links.py [CASE ...]       PEERFLOWD: the program, if not build/peerflowd"""

import collections
import struct
import sys
import time

import lib
import packets
import stand
from stand import collector

import pcap             # its folder is on the path since stand was imported

TEMPLATE_SETS = {10: (2, 3), 9: (0, 1)}


def begins_with_templates(data):
    version, = struct.unpack_from("!H", data)
    return struct.unpack_from("!H", data, {10: 16, 9: 20}[version])[0] in TEMPLATE_SETS[version]


def tcp_away(checks, lab):
    """A TCP collector that is away at start, comes, resets the session in the middle, goes and comes again."""
    where = stand.Stand(lab)
    udp = where.udp()
    port = next(where.ports)
    daemon = where.daemon([collector("tcp", (stand.COLLECTOR, port), transport="tcp", retry="1s"),
                           collector("udp", udp)], await_sinks=[udp])
    stand.wait_time(daemon, "collector tcp: ", 5)
    held = where.generate(100)
    udp.wait_flows(held)
    tcp = where.tcp(port=port)
    stand.each_once(checks, "what ended before the collector came", tcp.wait_flows(held), held)
    first = held + where.generate(300)
    stand.each_once(checks, "after the collector came", tcp.wait_flows(first), first)
    tcp.reset()
    lib.wait_until(lambda: len(tcp.sessions()) == 2, 10, "a session after RST")
    second = where.generate(200)
    stand.each_once(checks, "after RST", tcp.wait_flows(first + second), first + second)
    checks.equal("after RST: domain sequence begins at 0, templates come first", (0, True), (lambda data: (
        struct.unpack_from("!I", data, 8)[0], begins_with_templates(data)))(
            next(m[3] for m in tcp.messages if m[0] == tcp.sessions()[1])))
    for word in ("Connection refused; next try in 1 s", "sending to 192.0.2.2 port", "lost 192.0.2.2 port"):
        checks.true(f"log: {word}", any("collector tcp: " in line for line in daemon.lines(word)), daemon.text())
    tcp.close()
    stand.wait_time(daemon, "closed by the other end", 5)
    again = where.tcp(port=port)
    lib.wait_until(lambda: again.messages, 10, "a session after the collector was closed")
    third = where.generate(50)
    stand.each_once(checks, "after it was closed and came again", again.wait_flows(third), third)
    total = first + second + third
    stand.each_once(checks, "meanwhile over UDP", udp.wait_flows(total), total)
    checks.equal("exit status", 0, daemon.stop())
    checks.equal("nothing was lost", 0, daemon.lost("tcp"))
    for name, sink in (("TCP", tcp), ("TCP again", again), ("UDP", udp)):
        stand.valid(checks, name, sink)


def tcp_reset_loss(checks, lab):
    """RST while flows end: each record is either at the collector, or was on its way into the broken session."""
    where = stand.Stand(lab)
    udp, tcp = where.udp(), where.tcp()
    daemon = where.daemon([collector("tcp", tcp, retry="1s"), collector("udp", udp)], await_sinks=[udp, tcp])
    load = lab.start(where.router, stand.CTGEN, "--count", "16000", "--window", "500", "--rate", "4000")
    tcp.wait_flows(4000)
    tcp.reset()
    lib.wait_until(lambda: len(tcp.sessions()) == 2, 10, "a session after RST")
    load.process.wait(30)
    stand.each_once(checks, "RST under load: UDP", udp.wait_flows(16000), 16000)
    checks.equal("exit status", 0, daemon.stop())
    keys = [stand.ends(r) for r in tcp.flows()]
    checks.equal("RST under load: records that came twice", 0, len(keys) - len(set(keys)))
    checks.true("RST under load: the new session goes on", len(tcp.flows()) > 5000, f"got {len(tcp.flows())} flows")
    stand.valid(checks, "RST under load", tcp)


def tcp_stuck(checks, lab):
    """A collector that accepts and never reads costs its own flows, a bounded memory, and nobody else anything."""
    where = stand.Stand(lab)
    udp, tcp, stuck = where.udp(), where.tcp(), where.tcp(buffer=65536)
    stuck.reading.clear()
    daemon = where.daemon([collector("stuck", stuck, queue="256K"), collector("tcp", tcp), collector("udp", udp)],
                          await_sinks=[udp, tcp])
    lib.wait_until(lambda: stuck.accepted, 10, "the stuck collector accepts")
    where.generate(1000)
    udp.wait_flows(1000)
    before = daemon.resident()
    began = time.monotonic()
    where.generate(40000, "--rate", "40000")
    made = time.monotonic() - began
    lib.wait_until(lambda: udp.sequence() > 41000 - 50, 20, "the last message at the UDP collector")
    late = time.monotonic() - began - made
    after = daemon.resident()
    stand.each_once(checks, "beside a stuck collector, UDP", udp.wait_flows(41000), 41000)
    stand.each_once(checks, "beside a stuck collector, TCP", tcp.wait_flows(41000), 41000)
    checks.true("beside a stuck collector: nothing is late", late < 1, f"expected less than 1 s, got {late:.2f}")
    if not stand.SANITIZED:
        checks.true("memory is bounded", after - before < 8192,
                    f"expected less than 8192 KiB more, got {after - before}")
    print(f"# {before} KiB before, {after} after; the last flow arrived {late:.2f} s after it ended")
    checks.equal("the kernel dropped nothing", [], daemon.lines("the kernel dropped"))
    checks.equal("exit status", 0, daemon.stop())
    dropped = daemon.lost("stuck", "its queue was full")
    waiting = daemon.left("stuck")
    stuck.reading.set()
    lib.wait_until(lambda: stuck.ends, 10, "end of the stuck session")
    checks.true("stuck: some were dropped", dropped > 1000, f"got {dropped}")
    checks.equal("stuck: records that came, were said to be lost, or stay", 41000,
                 len(stuck.flows()) + dropped + waiting)


def udp_restart(checks, lab):
    """A UDP collector that is restarted gets the templates as soon as it is back."""
    where = stand.Stand(lab)
    first = where.udp()
    daemon = where.daemon([collector("udp", first, template_refresh="1d", retry="1s")], await_sinks=[first])
    first.wait_flows(where.generate(20))
    first.close()
    where.generate(20)
    checks.true("refusal is said", stand.wait_time(daemon, "Connection refused", 5), daemon.text())
    second = where.udp(port=first.port)
    feed = lab.start(where.router, stand.CTGEN, "--count", "3000", "--rate", "1000", "--batch", "1")
    began = time.monotonic()
    lib.wait_until(lambda: any(begins_with_templates(m[3]) for m in list(second.messages)), 10, "templates")
    took = time.monotonic() - began
    feed.process.wait(20)
    checks.true("templates come soon", took < 2.5, f"expected less than 2.5 s, got {took:.2f}")
    checks.true("flows can be read after them", second.wait_flows(400), "expected flows, got none")
    print(f"# templates {took:.2f} s after the collector came back")
    where.generate(10)
    checks.true("recovery is said", stand.wait_time(daemon, "takes messages again", 15), daemon.text())
    checks.equal("the refusal is said once", 1, len(daemon.lines("Connection refused")))
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "before", first)


def udp_addresses(checks, lab):
    """IPv6, and the address to send from."""
    where = stand.Stand(lab)
    six, tcp_six, from_other, tcp_other = (where.udp(stand.COLLECTOR6), where.tcp(stand.COLLECTOR6), where.udp(),
                                           where.tcp())
    daemon = where.daemon([collector("six", six), collector("tcp-six", tcp_six),
                           collector("from", from_other, source_address="192.0.2.11"),
                           collector("tcp-from", tcp_other, source_address="192.0.2.11")],
                          await_sinks=[six, tcp_six, from_other, tcp_other])
    made = where.generate(500, "--ipv6") + where.generate(500)
    for name, sink, address in (("UDP over IPv6", six, "fd99::1"), ("TCP over IPv6", tcp_six, "fd99::1"),
                                ("UDP with source-address", from_other, "192.0.2.11"),
                                ("TCP with source-address", tcp_other, "192.0.2.11")):
        stand.each_once(checks, name, sink.wait_flows(made), made)
        checks.equal(f"{name}: comes from", [address], [s.rsplit(":", 1)[0] for s in sink.sessions()])
        stand.valid(checks, name, sink)
    checks.equal("exit status", 0, daemon.stop())


def udp_name(checks, lab):
    """A name that moves to another address: the next look-up finds it."""
    where = stand.Stand(lab)
    hosts = lab.directory / "hosts"
    hosts.write_text("192.0.2.2 collector.example\n", encoding="ascii")
    old, new = where.udp("192.0.2.2", 4739), where.udp("192.0.2.3", 4739)
    tcp_old, tcp_new = where.tcp("192.0.2.2", 4739), where.tcp("192.0.2.3", 4739)
    daemon = where.daemon([collector("udp", ("collector.example", 4739), resolve="10s"),
                           collector("tcp", ("collector.example", 4739), resolve="10s", transport="tcp")],
                          wrap=("unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(hosts)),
                          await_sinks=[old, tcp_old])
    first = where.generate(50)
    old.wait_flows(first)
    hosts.write_text("192.0.2.3 collector.example\n", encoding="ascii")
    lib.wait_until(lambda: new.messages and tcp_new.messages, 15, "the new address")
    second = where.generate(70)
    for name, sink, expected in (("UDP, old address", old, first), ("UDP, new address", new, second),
                                 ("TCP, old address", tcp_old, first), ("TCP, new address", tcp_new, second)):
        stand.each_once(checks, name, sink.wait_flows(expected), expected)
        stand.valid(checks, name, sink)
    checks.equal("end of the TCP session with the old address", ["FIN"], tcp_old.ends)
    checks.equal("exit status", 0, daemon.stop())


def udp_size(checks, lab):
    """The option mtu, and a path that takes less: no fragments, nothing lost."""
    where = stand.Stand(lab)
    where.router.route("192.0.2.5/32 dev exp0 mtu 700", "192.0.2.6/32 dev exp0 mtu 1400")
    sinks = {"none": where.udp("192.0.2.2", 4739), "option": where.udp("192.0.2.3", 4739),
             "large option": where.udp("192.0.2.4", 4739), "path": where.udp("192.0.2.5", 4739),
             "changing path": where.udp("192.0.2.6", 4739), "option over IPv6": where.udp(stand.COLLECTOR6, 4739)}
    most = {"none": 1500, "option": 600, "large option": 1500, "path": 700, "changing path": 1400,
            "option over IPv6": 620}
    options = {"option": {"mtu": 600}, "large option": {"mtu": 9000}, "option over IPv6": {"mtu": 620}}
    traces = [lab.capture(where.collector, lab.directory / "whole.pcap", "udp", device="eth0", direction="in"),
              lab.capture(where.collector, lab.directory / "torn.pcap",
                          "ip[6:2] & 0x3fff != 0 or (ip6 and ip6[6] == 44)", device="eth0", direction="in")]
    daemon = where.daemon([collector(name.replace(" ", "-"), sink, **options.get(name, {}))
                           for name, sink in sinks.items()], await_sinks=list(sinks.values()))
    made = where.generate(2000)
    for name, sink in sinks.items():
        stand.each_once(checks, f"size, {name}", sink.wait_flows(made), made)
    time.sleep(0.1)         # tcpdump's own buffer; what it lacks would only make the check below weaker
    lengths = collections.defaultdict(int)
    for packet in pcap.packets(lab.directory / "whole.pcap"):
        lengths[packet.destination] = max(lengths[packet.destination], packet.length)
    for name, sink in sinks.items():
        checks.true(f"size, {name}: at most {most[name]} octets, and not far from it",
                    most[name] - 150 < lengths[sink.address] <= most[name], f"got {lengths[sink.address]}")
    checks.equal("fragments", 0, len(list(pcap.packets(lab.directory / "torn.pcap"))))
    where.router.run("ip route replace 192.0.2.6/32 dev exp0 mtu 576")
    made += where.generate(1000)
    for name, sink in sinks.items():
        stand.each_once(checks, f"size after the path shrank, {name}", sink.wait_flows(made), made)
    before = len(sinks["changing path"].messages)
    made += where.generate(1000)
    sinks["changing path"].wait_flows(made)
    longest = max(len(m[3]) for m in sinks["changing path"].messages[before:]) + 28
    checks.true("after the path shrank: messages fit it", longest <= 576, f"expected at most 576 octets, got {longest}")
    checks.equal("exit status", 0, daemon.stop())
    for trace in traces:
        trace.stop()
    for name, sink in sinks.items():
        stand.valid(checks, f"size, {name}", sink)


def directions(sink):
    """{direction: (octets, packets)} of all records, whatever their form."""
    sums = collections.Counter()
    for r in sink.flows():
        key = stand.ends(r)
        back = (key[2], key[3], key[0], key[1], key[4])
        sums[key, "octets"] += r["octetDeltaCount"]
        sums[key, "packets"] += r["packetDeltaCount"]
        for octets, count in (("reverseOctetDeltaCount", "reversePacketDeltaCount"),
                              ("postOctetDeltaCount", "postPacketDeltaCount")):
            if r.get(count):
                sums[back, "octets"] += r[octets]
                sums[back, "packets"] += r[count]
    return dict(sums)


def kinds(checks, lab):
    """Collectors of every kind at once: each gets its own protocol, template and form, and all the same flows."""
    where = stand.Stand(lab, tracking=True)
    where.sides()
    where.router.nft('table ip nat { chain out { type nat hook postrouting priority 100; '
                     'ip saddr 10.20.0.20 oifname "eth1" masquerade; }\n}\n')
    forms = {
        "ipfix": {}, "ipfix-biflow": {"records": "biflow"}, "ipfix-wire": {"reply_tuple": "wire"},
        "v9": {"protocol": "netflow9"}, "v9-biflow": {"protocol": "netflow9", "records": "biflow"},
        "full": {"template": "full"}, "full-biflow": {"template": "full", "records": "biflow"},
        "tcp": {}, "tcp-full-biflow": {"template": "full", "records": "biflow"},
    }
    sinks = {name: where.tcp() if name.startswith("tcp") else where.udp() for name in forms}
    daemon = where.daemon([collector(name, sinks[name], **options) for name, options in forms.items()],
                          exporter="enterprise-number = 32473", await_sinks=list(sinks.values()))
    for n in range(12):
        translated = n % 2 == 0
        packets.udp(where.client, ("10.20.0.20" if translated else "10.20.0.21", 40000 + n), (stand.SERVER, 7000),
                    where.server, (stand.SERVER, 7000), (100 + n,) * (n + 1), (50,) * (n % 3))
    where.router.run("conntrack -D -p udp --dport 7000")
    both = sum(2 if n % 3 else 1 for n in range(12))
    seen = {}
    for name, sink in sinks.items():
        expected = 12 if "biflow" in name else both
        checks.equal(f"{name}: records", expected, len(sink.wait_flows(expected)))
        checks.equal(f"{name}: protocol", {9 if name.startswith("v9") else 10}, {r["version"] for r in sink.flows()})
        checks.equal(f"{name}: enterprise fields", "full" in name, any("conntrackMark" in r for r in sink.flows()))
        checks.equal(f"{name}: translated", 6, len({
            stand.ends(r) for r in sink.flows()
            if "postNATSourceIPv4Address" in r and r["sourceIPv4Address"] == "10.20.0.20"}))
        seen[name] = directions(sink)
        stand.valid(checks, name, sink)
    for name in forms:
        if name != "ipfix-wire":
            checks.equal(f"{name}: same flows, same counters", seen["ipfix"], seen[name])
    truth = {((f"10.20.0.{20 + n % 2}", 40000 + n, stand.SERVER, 7000, 17), "packets"): n + 1 for n in range(12)}
    checks.equal("counters are those that were sent", truth, {k: v for k, v in seen["ipfix"].items() if k in truth})
    wire = [r for r in sinks["ipfix-wire"].flows() if r["sourceIPv4Address"] == stand.SERVER]
    checks.equal("wire: replies go to the translated address or the true one", {"10.30.0.1": 4, "10.20.0.21": 4},
                 dict(collections.Counter(r["destinationIPv4Address"] for r in wire)))
    checks.equal("wire: the octets are the same", sum(seen["ipfix"].values()), sum(seen["ipfix-wire"].values()))
    checks.equal("exit status", 0, daemon.stop())


def own_traffic(checks, lab):
    """The export itself is a flow of this router, and is never reported, also not that of sessions gone by."""
    where = stand.Stand(lab, tracking=True)
    udp, tcp, six = where.udp(), where.tcp(), where.udp(stand.COLLECTOR6)
    daemon = where.daemon([collector("udp", udp), collector("tcp", tcp, retry="1s"), collector("six", six)],
                          await_sinks=[udp, tcp, six])
    total = 0
    for session in range(1, 3):
        total += where.generate(100)
        tcp.wait_flows(total)
        tracked = [line for line in where.router.conntrack()
                   if f"dport={tcp.port}" in line or f"dport={udp.port}" in line]
        checks.true(f"session {session}: the kernel tracks the export", len(tracked) >= 2, f"got {tracked}")
        where.router.run("conntrack -D -p udp")
        tcp.reset()
        lib.wait_until(lambda s=session: len(tcp.sessions()) == s + 1, 10, "a session after RST")
        where.router.run("conntrack -D -p tcp")
    groups = [collector("udp", udp, template_refresh="61s"), collector("tcp", tcp, retry="2s"), collector("six", six)]
    checks.true("reload of changed collectors", daemon.reload(where.configuration(groups)), daemon.text())
    lib.wait_until(lambda: len(udp.sessions()) == 2 and len(tcp.sessions()) == 4, 10, "sessions after the reload")
    where.router.run("conntrack -D -p udp")
    where.router.run("conntrack -D -p tcp")
    # Whatever is wrongly reported of the export would be tracked and reported again; so the last word is a flow.
    last = where.generate(7)
    for name, sink in (("UDP", udp), ("TCP", tcp), ("IPv6", six)):
        found = {stand.ends(r) for r in sink.wait_flows(total + last)}
        own = (udp.port, tcp.port, six.port)
        checks.equal(f"own traffic, {name}: reported", set(), {e for e in found if e[1] in own or e[3] in own})
        stand.each_once(checks, f"own traffic, {name}: all others are there", sink.flows(), total + last)
    # A flow to the collector that is not the export's is somebody else's.
    packets.udp(where.router, (stand.ROUTER, 5555), (stand.COLLECTOR, 5556), where.collector, (stand.COLLECTOR, 5556))
    where.router.run("conntrack -D -p udp --dport 5556")
    checks.true("another flow to the collector's host is reported", any(
        r["destinationTransportPort"] == 5556 for r in udp.wait_flows(total + last + 1)), "expected it, got nothing")
    checks.equal("exit status", 0, daemon.stop())


CASES = (tcp_away, tcp_reset_loss, tcp_stuck, udp_restart, udp_addresses, udp_name, udp_size, kinds, own_traffic)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
