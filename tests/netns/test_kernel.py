#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does peerflowd get along with the kernel: its settings, its filters, labels, zones and marks, what was there before,
and what comes too fast?

    sudo tests/netns/test_kernel.py [CASE ...]      PEERFLOWD: the program, if not build/peerflowd"""

import json
import pathlib
import re
import signal
import sys
import time

import lib
import packets
import stand
from stand import collector

SETTINGS = ("acct", "timestamp", "events")
READ_ONLY = ("unshare", "-m", "sh", "-c",
             'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$0" "$@"')

# The export itself stays out of the table.
QUIET = """
table inet quiet {
  chain in { type filter hook prerouting priority raw; iifname "exp0" notrack;
  }
  chain out { type filter hook output priority raw; oifname "exp0" notrack;
  }
  chain track { type filter hook forward priority 0; ct state new accept;
  }
}
"""


def quiet_stand(lab):
    where = stand.Stand(lab)
    where.router.nft(QUIET)
    where.sides()
    return where


def values(where):
    with where.router.entered():
        return {name: int(pathlib.Path(f"/proc/sys/net/netfilter/nf_conntrack_{name}").read_text(encoding="ascii"))
                for name in SETTINGS}


def switch(where, **names):
    where.router.sysctl(**{f"net__netfilter__nf_conntrack_{name}": value for name, value in names.items()})


def exchange(where, source=stand.CLIENT, port=7000, source_port=40000, sent=(100,), back=(200,)):
    server = stand.SERVER6 if ":" in source else stand.SERVER
    return packets.udp(where.client, (source, source_port), (server, port), where.server, (server, port), sent, back)


def settings(checks, lab):
    """Off at start, and switched off behind the daemon's back; and beside it one that may not write them."""
    where, other = quiet_stand(lab), stand.Stand(lab)
    sink, read_only_sink = where.udp(), other.udp()
    switch(where, acct=0, timestamp=0, events=0)
    switch(other, acct=0, timestamp=1, events=1)
    daemon = where.daemon([collector("one", sink)], await_sinks=[sink])
    read_only = other.daemon([collector("one", read_only_sink)], wrap=READ_ONLY, await_sinks=[read_only_sink])
    checks.equal("settings after the start", dict.fromkeys(SETTINGS, 1), values(where))
    for name in SETTINGS:
        checks.equal(f"{name} off at start: said", 1, len(daemon.lines(f"nf_conntrack_{name} was 0, set to 1")))
    exchange(where)
    where.router.run("conntrack -F")
    checks.equal("flow after the start: packets there and back", [1, 1], [
        r["packetDeltaCount"] for r in sink.wait_flows(2)])
    switch(where, acct=0, events=0, timestamp=0)
    began = time.monotonic()
    for name in SETTINGS:
        text = f"nf_conntrack_{name} had been switched off, set to 1 again"
        checks.true(f"{name} switched off: put back and said",
                    stand.wait_time(daemon, text, began + 33 - time.monotonic()), daemon.text())
    print(f"# put back after {time.monotonic() - began:.1f} s")
    checks.equal("settings put back", dict.fromkeys(SETTINGS, 1), values(where))
    exchange(where, source_port=40001, sent=(1, 2, 3))
    where.router.run("conntrack -F")
    checks.equal("flow after that: packets there and back", [3, 1], [
        r["packetDeltaCount"] for r in sink.wait_flows(4)[2:]])
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "settings", sink)
    # The other daemon has looked at the settings again meanwhile, too.
    checks.equal("read-only: warnings", 1, len(read_only.lines("cannot be set to 1 (Read-only file system)")))
    checks.equal("read-only: value", 0, values(other)["acct"])
    made = other.generate(100)
    stand.each_once(checks, "read-only: flows go on", read_only_sink.wait_flows(made), made)
    checks.equal("read-only: exit status", 0, read_only.stop())


MARKS = """
table inet marks {
  chain in { type filter hook prerouting priority mangle;
    udp dport 7001 ct mark set 0x12
    udp dport 7002 ct mark set 0x1bd10
    tcp dport 7004 ct mark set 0x12
  }
}
"""

# name: options of [conntrack], and which flows (protocol, source, destination port, mark) pass
FILTERS = {
    "all": ("", lambda protocol, source, port, mark: True),
    "ignore one": ("ignore = 10.20.0.21", lambda protocol, source, port, mark: source != "10.20.0.21"),
    "ignore prefixes": ("ignore = 10.20.0.20/31, fd20::/64",
                        lambda protocol, source, port, mark: source == "10.20.0.22"),
    "ignore none": ("ignore = none", lambda protocol, source, port, mark: True),
    "one mark": ("marks = 0x12", lambda protocol, source, port, mark: mark == 0x12),
    "NetBird's marks": ("marks = 0x1bd10, 0x1bd11", lambda protocol, source, port, mark: mark == 0x1bd10),
    "mark and mask": ("marks = 0x10/0xf0", lambda protocol, source, port, mark: mark & 0xf0 == 0x10),
    "no mark": ("marks = 0", lambda protocol, source, port, mark: mark == 0),
    "TCP": ("protocols = tcp", lambda protocol, source, port, mark: protocol == 6),
    "UDP and ICMP": ("protocols = udp, icmp", lambda protocol, source, port, mark: protocol in (1, 17)),
    "ICMPv6 by number": ("protocols = 58", lambda protocol, source, port, mark: protocol == 58),
    "all three": ("protocols = udp\nmarks = 0x12, 0\nignore = 10.20.0.21", lambda protocol, source, port, mark:
                  protocol == 17 and mark in (0x12, 0) and source != "10.20.0.21"),
}


def send_marked(where):
    """One flow of each kind: {(protocol, source, destination port, mark)}."""
    sent = set()
    for source in ("10.20.0.20", "10.20.0.21", "10.20.0.22", stand.CLIENT6):
        server = stand.SERVER6 if ":" in source else stand.SERVER
        for port, mark in ((7001, 0x12), (7002, 0x1bd10), (7003, 0)):
            exchange(where, source, port, 40000 + port)
            sent.add((17, source, port, mark))
        packets.tcp(where.client, (source, 47004), (server, 7004), where.server, (server, 7004))
        sent.add((6, source, 7004, 0x12))
        six = ":" in source
        packets.icmp(where.client, source, server, server, 4242, 128 if six else 8)
        sent.add((58 if six else 1, source, 0, 0))
    return sent


def shown(record):
    source, _, _, port, protocol = stand.ends(record)
    return protocol, source, port or 0


def filters(checks, lab):
    """Several daemons on one router, each with a filter of its own: exactly the right flows come."""
    where = quiet_stand(lab)
    where.router.nft(MARKS)
    sinks = {name: where.udp() for name in FILTERS}
    daemons = [where.daemon([collector("one", sinks[name], records="biflow")], conntrack=FILTERS[name][0],
                            await_sinks=[sinks[name]]) for name in FILTERS]
    sent = send_marked(where)
    where.router.run("conntrack -F")
    for name, (_, passes) in FILTERS.items():
        expected = sorted(flow[:3] for flow in sent if passes(*flow))
        checks.equal(f"filter, {name}", expected, sorted(shown(r) for r in sinks[name].wait_flows(len(expected))))
    # What should not have come would have come by now: the last flow of all has.
    exchange(where, "10.20.0.22", 7001, 49999)
    where.router.run("conntrack -F")
    checks.true("filter: the last flow", sinks["one mark"].wait_flows(9)[8:], "expected one more flow")
    for name, (_, passes) in FILTERS.items():
        expected = sum(passes(*flow) for flow in sent) + passes(17, "10.20.0.22", 7001, 0x12)
        checks.equal(f"filter, {name}: nothing else", expected, len(sinks[name].wait_flows(expected)))
        stand.valid(checks, f"filter, {name}", sinks[name])
    checks.equal("exit statuses", [0] * len(daemons), [daemon.stop() for daemon in daemons])


LABELS = """
table inet labels {
  chain out { type filter hook forward priority 10;
    udp dport 7001 ct label set 5
    udp dport 7002 ct label set 127
    udp dport 7003 ct packets > 1 ct label set 64
    udp dport 7000 ct label set 0
  }
}
"""
LABELLED = {7000: (0,), 7001: (5,), 7002: (127,), 7003: (64,), 7004: ()}


def octets_of(labels):
    octets = bytearray(16)
    for label in labels:
        octets[label // 8] |= 1 << label % 8
    return octets


def labels(checks, lab):
    """Connection labels, set with the first packet, later, or before the daemon came."""
    where = quiet_stand(lab)
    where.router.nft(LABELS)
    # The first flow is there before anybody listens; without this the kernel would not tell of its end.
    switch(where, events=1)
    full, without = where.udp(), where.udp()
    exchange(where, port=7000, source_port=47000)
    form = {"template": "full", "records": "biflow"}
    daemon = where.daemon([collector("full", full, **form)], exporter="enterprise-number = 32473",
                          conntrack="labels = yes", await_sinks=[full])
    other = where.daemon([collector("full", without, **form)], exporter="enterprise-number = 32473",
                         await_sinks=[without])
    stand.wait_time(daemon, "flows were there already", 5)
    viewer = stand.viewer(lab, where, daemon.live, "--format", "json", "--count", str(len(LABELLED)))
    for port in (7001, 7002, 7003, 7004):
        exchange(where, port=port, source_port=40000 + port, sent=(10, 20, 30))
    where.router.run("conntrack -F")
    expected = {port: octets_of(bits).hex() for port, bits in LABELLED.items()}
    checks.equal("labels in the full template", expected, {
        r["destinationTransportPort"]: r.get("conntrackLabels") for r in full.wait_flows(len(expected))})
    checks.equal("labels = no: none", {port: bytes(16).hex() for port in expected}, {
        r["destinationTransportPort"]: r.get("conntrackLabels") for r in without.wait_flows(len(expected))})
    checks.equal("viewer's exit status", 0, viewer.process.wait(10))
    lines = [json.loads(line) for line in viewer.text().splitlines() if line.startswith("{")]
    checks.equal("labels at the viewer", {port: int.from_bytes(octets_of(bits), "little")
                                          for port, bits in LABELLED.items()},
                 {line["destination_port"]: int(line.get("labels") or "0", 16) for line in lines})
    checks.equal("32473 is warned of", 1, len(daemon.lines("32473 is reserved")))
    checks.equal("exit statuses", (0, 0), (daemon.stop(), other.stop()))
    stand.valid(checks, "labels", full)


ZONES = """
table inet zones {
  chain in { type filter hook prerouting priority raw; udp dport 7009 ct zone set 9
    udp sport 7009 ct zone set 9
  }
  chain marks { type filter hook forward priority 0; ct state new udp dport 7009 ct mark set 0xdeadbeef
  }
}
"""


def zones(checks, lab):
    """The same tuple in two zones is two flows; marks are those of the flow."""
    where = quiet_stand(lab)
    where.router.nft(ZONES)
    sink = where.udp()
    daemon = where.daemon([collector("full", sink, template="full", records="biflow")],
                          exporter="enterprise-number = 32473", await_sinks=[sink])
    for zone, mark in ((1, 7), (2, 8), (65535, 9)):
        where.router.run(f"conntrack -I -w {zone} -m {mark} -s 10.1.1.1 -d 10.2.2.2 -p udp --sport 1000 --dport 2000 "
                         "-t 60")
    exchange(where, port=7009)
    where.router.run("conntrack -F")
    records = sink.wait_flows(4)
    checks.equal("zones and marks", [(1, 7), (2, 8), (9, 0xdeadbeef), (65535, 9)],
                 sorted((r.get("conntrackZone"), r.get("conntrackMark")) for r in records))
    checks.equal("same tuple in three zones", 3, sum(stand.ends(r) == ("10.1.1.1", 1000, "10.2.2.2", 2000, 17)
                                                     for r in records))
    checks.equal("flow ids differ", 4, len({r["flowId"] for r in records}))
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "zones", sink)


def existing(checks, lab):
    """Flows that were there before: told in a sentence, and reported once, with all that they ever sent."""
    where = quiet_stand(lab)
    switch(where, acct=0, timestamp=0, events=1)
    for n in range(3):
        exchange(where, source_port=41000 + n)
    switch(where, acct=1)
    for n in range(2):
        exchange(where, source_port=42000 + n, sent=(10,) * 4)
    switch(where, timestamp=1)
    began = time.time()
    for n in range(5):
        exchange(where, source_port=43000 + n, sent=(10,) * (n + 1))
    ready = time.time()
    sink = where.udp()
    daemon = where.daemon([collector("full", sink, template="full", records="biflow")],
                          exporter="enterprise-number = 32473", conntrack="count-from = start", await_sinks=[sink])
    stand.wait_time(daemon, "flows were there already", 5)
    checks.equal("census", [("10", "3", "5")], re.findall(
        r"(\d+) flows were there already; of (\d+) the counters and of (\d+) the start cannot be known", daemon.text()))
    checks.equal("events were on: no warning", [], daemon.lines("nobody listened"))
    exchange(where, source_port=43004, sent=(10,) * 7)
    exchange(where, source_port=44000)
    checks.equal("nothing is reported before it ends", 0, len(sink.flows()))
    where.router.run("conntrack -F")
    expected = {41000: (None, 3), 41001: (None, 3), 41002: (None, 3), 42000: (4, 2), 42001: (4, 2), 43000: (1, 0),
                43001: (2, 0), 43002: (3, 0), 43003: (4, 0), 43004: (12, 0), 44000: (1, 0)}
    records = sink.wait_flows(len(expected))
    stand.each_once(checks, "flows that were there", records, len(expected))
    checks.equal("their packets and what is not known of them", expected, {
        r["sourceTransportPort"]: (None if r["recordGaps"] & 1 else r["packetDeltaCount"], r["recordGaps"])
        for r in records})
    starts = [r["flowStartMilliseconds"] / 1000 for r in records if r["sourceTransportPort"] // 1000 == 43]
    checks.true("where the start is known it is the true one", all(began - 0.01 < s < ready for s in starts),
                f"expected {began} to {ready}, got {starts}")
    checks.equal("exit status", 0, daemon.stop())
    stand.valid(checks, "flows that were there", sink)


def dropped(daemon):
    """How many flow ends the daemon said the kernel had dropped."""
    return sum(int(n) for n in re.findall(r"the kernel dropped (\d+) flow ends", daemon.text()))


def overrun(checks, lab):
    """More than the kernel may hold for us, in plain delivery: the loss is said to the flow, and the rest goes on."""
    where = stand.Stand(lab)
    sink = where.udp()
    daemon = where.daemon([collector("one", sink)], conntrack="receive-buffer = 128K\nreliable = no",
                          await_sinks=[sink])
    made = 0
    for burst in (1, 2):
        daemon.process.send_signal(signal.SIGSTOP)
        made += where.generate(20000, "--tcp")
        daemon.process.send_signal(signal.SIGCONT)
        lib.wait_until(lambda b=burst: len(sink.flows()) >= b * 100, 10, f"flows of burst {burst}")
        time.sleep(0.5)
    checks.true("said", stand.wait_time(daemon, "the kernel dropped", 5), daemon.text())
    made += where.generate(50)
    lib.wait_until(lambda: sum(r["protocolIdentifier"] == 17 for r in sink.flows()) >= 50, 10, "flows after the bursts")
    checks.equal("flows after the bursts", 50, sum(r["protocolIdentifier"] == 17 for r in sink.flows()))
    checks.equal("warned of at once, once", 1, len(daemon.lines("the kernel dropped")))
    checks.equal("exit status", 0, daemon.stop())
    checks.equal("and of what came since, at the end", 2, len(daemon.lines("the kernel dropped")))
    stand.each_once(checks, "what came", sink.flows(), len(sink.flows()))
    checks.equal("what came and what was said to be lost", made, len(sink.flows()) + dropped(daemon))
    stand.valid(checks, "overrun", sink)


CASES = (settings, filters, labels, zones, existing, overrun)

if __name__ == "__main__":
    sys.exit(stand.run(CASES))
